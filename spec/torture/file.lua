-- A large file over a socket: read while it is sent, with little of it in memory, judged by the
-- SHA-256 that a foreign reader (spec/peers/sink.js) makes of what has come, and sha256sum of the file.

local assert = require "luassert"
local busted = require "busted"
local helper = require "spec.helper"
local pki = require "spec.pki"

local it, setup, teardown = busted.it, busted.setup, busted.teardown

local SANITIZED = os.getenv "LD_PRELOAD" -- AddressSanitizer keeps what was freed for a while: memory says nothing then

local file = {}

-- A process that sends the file as soon as it has a connection: how much its memory grows meanwhile
-- (KiB, of what the system counts), how many looks at bufferedAmount, and how many of them saw it grow.
local SENDER = [[
local lunawire = require "lunawire"
local role, path, url, cert, key = arg[1], arg[2], arg[3], arg[4], arg[5]
io.stdout:setvbuf "line"
local function resident()
  local file = io.open "/proc/self/status"
  local kib = tonumber(file:read "*a":match "VmRSS:%s*(%d+)")
  file:close()
  return kib
end
local function send(ws)
  collectgarbage()
  local before, most, looks, grew = resident(), 0, 0, 0
  local blob = lunawire.Blob.fromFile(path)
  assert(ws:send(blob))
  assert(ws.bufferedAmount == blob.size)
  local last = ws.bufferedAmount
  local timer = lunawire.setInterval(function()
    looks = looks + 1
    if ws.bufferedAmount > last then grew = grew + 1 end
    last = ws.bufferedAmount
    most = math.max(most, resident() - before)
  end, 5)
  ws:close(1000)
  ws.onclose = function(event)
    lunawire.clearInterval(timer)
    most = math.max(most, resident() - before)
    print("sent", most, looks, grew, event.code, event.wasClean, ws.bufferedAmount)
    lunawire.stop()
  end
end
if role == "client" then
  local ws = lunawire.WebSocket(url, nil, { tls = cert and { ca = cert } })
  ws.onerror = function(event) print(event.message) end
  ws.onopen = function() send(ws) end
else
  local server = lunawire.WebSocketServer { tls = cert and { cert = cert, key = key } }
  server.onconnection = function(event) send(event.socket) end
  print(server.url)
end
lunawire.run()
os.exit(0)
]]

-- A new file of n bytes that no two of its pieces share.
function file.make(path, n)
  helper.run(("openssl enc -aes-128-ctr -nosalt -K 00112233445566778899aabbccddeeff -iv 0 -in /dev/zero 2>/dev/null"
    .. " | head -c %d > %s"):format(n, helper.quote(path)))
end

-- Sends the file by a "client" or a "server" of ours, over TLS with these certificates (spec.pki; nil: without).
-- Returns {growth (bytes), looks, grew, equal, size, fragments, code, clean, left}.
function file.send(folder, path, role, certs, seconds)
  helper.write(folder .. "/sender.lua", SENDER)
  local cert = certs and helper.quote(certs:cert "good") or ""
  local key, root = certs and helper.quote(certs:key "good") or "", certs and helper.quote(certs:cert "root") or ""
  local command = helper.lua(("%s %s %s"):format(helper.quote(folder .. "/sender.lua"), role, helper.quote(path)))
  local sender, sink
  if role == "client" then
    sink = helper.peer(("exec node spec/peers/sink.js listen %s %s"):format(cert, key))
    local url = ("%s://127.0.0.1:%s/"):format(certs and "wss" or "ws", sink:line():match "port (%d+)")
    sender = helper.peer(("exec %s %s %s"):format(command, url, root), seconds)
  else
    sender = helper.peer(("exec %s - %s %s"):format(command, cert, key), seconds)
    sink = helper.peer(("exec node spec/peers/sink.js connect %s %s"):format(sender:line(), root), seconds)
    assert(sink:line() == "open")
  end
  local size, hash, fragments = sink:line(nil, seconds):match "^message (%d+) (%x+) (%d+)"
  local line = sender:line(nil, seconds)
  local growth, looks, grew, code, clean, left = line:match "^sent%s+(%-?%d+)%s+(%d+)%s+(%d+)%s+(%d+)%s+(%a+)%s+(%d+)"
  assert(growth, line)
  sender:stop()
  sink:stop()
  return {
    growth = growth * 1024, looks = tonumber(looks), grew = tonumber(grew), size = tonumber(size),
    equal = hash == helper.run("sha256sum " .. helper.quote(path)):match "^%x+", fragments = tonumber(fragments),
    code = tonumber(code), clean = clean == "true", left = tonumber(left),
  }
end

-- Cases: a file of `size` bytes, by clients and servers, over ws and wss. `tell` is given what was seen.
function file.cases(size, seconds, tell)
  local folder, path, certs
  local MOST = 8 * 1024 * 1024 -- bytes its sender may grow by

  setup(function()
    folder, certs = helper.directory(), pki.new()
    path = folder .. "/file"
    file.make(path, size)
  end)

  teardown(function()
    certs:close()
    helper.remove(folder)
  end)

  for _, role in ipairs { "client", "server" } do
    for _, scheme in ipairs { "ws", "wss" } do
      it(("goes from a %s over %s"):format(role, scheme), function()
        local seen = file.send(folder, path, role, scheme == "wss" and certs or nil, seconds)
        if tell then tell(role, scheme, seen) end
        assert.is_true(seen.equal, "another SHA-256")
        assert.same({ size, size // 65536 }, { seen.size, seen.fragments })
        assert.same({ 1005, true, 0 }, { seen.code, seen.clean, seen.left })
        assert.equal(0, seen.grew)
        assert.is_true(seen.looks > 0)
        if not SANITIZED then assert.is_true(seen.growth < MOST, ("%.1f MiB"):format(seen.growth / 1048576)) end
      end)
    end
  end
end

return file
