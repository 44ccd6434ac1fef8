-- bombs.lua -- compressed messages that come to far more than maxPayload, many at once, against a server in a process
-- of its own: what its memory grows by at most, and what each of those who sent one is told.

local frames = require "spec.frames"
local helper = require "spec.helper"
local wire = require "spec.wire"

local bombs = {}

local OFFER = { ["Sec-WebSocket-Extensions"] = "permessage-deflate" }

-- The server: echoes. "mark" from anybody: what memory is in use now is the beginning; "tell": what the most was
-- since, in KiB, and what is in use now.
local SERVER = [[
  local lunawire = require "lunawire"
  io.stdout:setvbuf "line"
  local function status(name)
    local file = io.open "/proc/self/status"
    local kib = tonumber(file:read "*a":match(name .. ":%s*(%d+)"))
    file:close()
    return kib
  end
  local before = 0
  local server = lunawire.WebSocketServer { perMessageDeflate = true, maxPayload = 1048576, heartbeat = false, backlog = 1000 }
  server.onmessage = function(event)
    if event.data == "mark" then
      collectgarbage()
      local file = assert(io.open("/proc/self/clear_refs", "w")) -- the peak begins here
      file:write "5"
      file:close()
      before = status "VmRSS"
      event.target:send "marked"
    elseif event.data == "tell" then
      event.target:send(("%d %d"):format(status "VmHWM" - before, status "VmRSS" - before))
    else
      event.target:send(event.data)
    end
  end
  server.onsocketerror = function() end
  print(server.port)
  lunawire.run()
]]

-- A payload of so many MiB of zeros, and how many of its bytes come to at most 1 MiB; made by Python's zlib.
local function make(mebibytes)
  local name = os.tmpname()
  local script = ([[
import sys, zlib
context = zlib.compressobj(9, zlib.DEFLATED, -15)
bomb = b"".join(context.compress(bytes(1 << 20)) for _ in range(%d))
bomb = (bomb + context.flush(zlib.Z_SYNC_FLUSH))[:-4]
judge, at, made = zlib.decompressobj(-15), 0, 0
while made <= 1 << 20:
    made += len(judge.decompress(bomb[at:at + 1]))
    at += 1
open(sys.argv[1], "wb").write(bomb)
print(at - 1)
]]):format(mebibytes)
  local output, status = helper.run(("%s -c %s %s"):format(helper.python(), helper.quote(script), name))
  assert(status == 0, output)
  local payload = helper.read(name)
  os.remove(name)
  return { payload = payload, fuse = tonumber(output) }
end

-- What the witness is answered.
local function ask(witness, text)
  witness:frame { "text", payload = text }
  return assert(witness:next(), "the witness was ended").payload
end

-- Throws `count` bombs of these sizes (MiB, in turn) at once. `how`: "whole"; or "held", where each first comes to
-- nearly 1 MiB, and goes on when all have. Returns {codes = {[code] = how many}, peak = KiB at most, rest = KiB in
-- the end}.
function bombs.throw(count, sizes, how)
  local name = os.tmpname()
  helper.write(name, SERVER)
  local program = helper.peer("exec " .. helper.lua(helper.quote(name)))
  local port = tonumber(program:line())
  local made, peers, seen = {}, {}, { codes = {} }
  for i, size in ipairs(sizes) do made[i] = make(size) end
  local witness = wire.client(port)
  for i = 1, count do peers[i] = wire.client(port, OFFER) end
  assert(ask(witness, "mark") == "marked")
  for i, peer in ipairs(peers) do
    local bomb = made[(i - 1) % #made + 1]
    local bytes = frames.build { "binary", payload = bomb.payload, rsv = 4, key = "\0\0\0\0" }
    local head = #bytes - #bomb.payload
    peer.later = how == "held" and bytes:sub(head + bomb.fuse + 1) or ""
    peer:send(how == "held" and bytes:sub(1, head + bomb.fuse) or bytes)
  end
  if how == "held" then
    for _ = 1, 20 do
      wire.settle(5)
      assert(ask(witness, "hello?") == "hello?")
    end
    seen.held = tonumber(ask(witness, "tell"):match "%S+$")
  end
  for _, peer in ipairs(peers) do peer:send(peer.later) end
  for _, peer in ipairs(peers) do
    local frame = wire.await(function() return peer:next() end, "a Close", 60)
    local code = frame.opcode == 8 and frame.payload:byte(1) * 256 + frame.payload:byte(2) or "none"
    seen.codes[code] = (seen.codes[code] or 0) + 1
    peer:close()
  end
  assert(ask(witness, "still there?") == "still there?")
  seen.peak, seen.rest = ask(witness, "tell"):match "^(%S+) (%S+)$"
  seen.peak, seen.rest = tonumber(seen.peak), tonumber(seen.rest)
  witness:close()
  program:stop()
  os.remove(name)
  return seen
end

return bombs
