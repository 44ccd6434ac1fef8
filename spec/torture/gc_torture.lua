-- 100,000 client sockets opened and gone, by every way there is, leave memory where it was: both ends in one
-- process, over TCP. 40,000 before them make the process as large as it will be.

local helper = require "spec.helper"

local MOST = 512 * 1024 -- bytes by which the process, and Lua's own part of it, may differ after them

local PROGRAM = [[
local lunawire = require "lunawire"
collectgarbage "incremental" -- the generational mode of lua(1) leaves what has become old until memory has doubled
local server = lunawire.WebSocketServer { host = "*", heartbeat = false, port = 0 }
local opened, ended, names, deadline = 0, 0, {}, os.time() + 200
server.onconnection = function() opened = opened + 1 end
server.onmessage = function(event) event.target:send(event.data, { binary = event.binary }) end
server.onsocketclose = function(event)
  ended = ended + 1
  names[event.name] = (names[event.name] or 0) + 1
end

local function descriptors()
  local count, list = 0, io.popen "ls /proc/$PPID/fd"
  for _ in list:lines() do count = count + 1 end
  list:close()
  return count
end
lunawire.fd() -- the poller's is there from now on
local alone = descriptors()

-- When the clients' ends have gone, too.
local function figures()
  repeat
    collectgarbage() collectgarbage()
    lunawire.step(5)
    if os.time() > deadline then error(("%d descriptors, and %d were there"):format(descriptors(), alone)) end
  until descriptors() == alone
  local file = io.open "/proc/self/status"
  local kib = tonumber(file:read "*a":match "VmRSS:%s*(%d+)")
  file:close()
  return kib * 1024, collectgarbage "count" * 1024, descriptors()
end

-- How a socket lives and goes; nobody refers to it but the loop.
local ways = {
  function(ws) ws.onopen = function() end end, -- then nobody listens: collected, and closed politely
  function(ws) ws.onopen = function() ws:close(1000) end end,
  function(ws) -- a listener keeps it alive until it is taken away
    ws.onmessage = function() ws.onmessage = nil end
    ws.onopen = function() ws:send "x" end
  end,
  function(ws)
    ws.binaryType = "arraybuffer"
    ws:addEventListener("message", function(event) ws:close(3000, event.data:string()) end, { once = true })
    ws:addEventListener("open", function() ws:send(lunawire.ArrayBuffer "bye") end)
  end,
  function(ws) ws.onclose = function() end ws.onopen = function() ws:terminate() end end,
  function(_, url) lunawire.go(function() lunawire.connect(url):receive(1) end) end,
}

local function live(n)
  local made, goal = 0, ended + n
  while ended < goal do
    while made < n and made - (ended - goal + n) < 200 do
      made = made + 1
      local host = ("127.0.%d.%d"):format(made % 16, made % 200 + 1)
      local way, url = made % #ways + 1, ("ws://%s:%d/"):format(host, server.port)
      ways[way](way < #ways and lunawire.WebSocket(url), url)
    end
    lunawire.step(10)
    if made < n then collectgarbage "step" else collectgarbage() end
    if os.time() > deadline then error(("%d of %d ended, %d opened"):format(ended, goal, opened)) end
  end
end

for _ = 1, 2 do -- also what looking takes is there then
  live(20000)
  figures()
end
local rss, lua, files = figures()
live(100000)
local rss2, lua2, files2 = figures()
for name, n in pairs(names) do print(name, n) end
print(opened, ended, rss2 - rss, math.floor(lua2 - lua), files2 - files, rss2)
]]

describe("100,000 sockets opened and closed", function()
  it("leave memory where it was", function()
    local folder = helper.directory()
    finally(function() helper.remove(folder) end)
    helper.write(folder .. "/lives.lua", PROGRAM)
    local text = helper.run(helper.lua(folder .. "/lives.lua"))
    local opened, ended, rss, lua, files, all = text:match "(%d+)%s+(%d+)%s+(%-?%d+)%s+(%-?%d+)%s+(%-?%d+)%s+(%d+)\n$"
    assert.truthy(opened, text)
    io.stderr:write(("  %s opened, %s ended; the process %+d bytes (of %d), Lua %+d, descriptors %+d\n"):format(
      opened, ended, rss, all, lua, files))
    assert.equal("140000", ended)
    assert.is_true(tonumber(rss) < MOST and tonumber(lua) < MOST)
    assert.equal("0", files)
  end)
end)
