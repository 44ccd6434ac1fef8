-- load.lua -- a server in a process of its own, and crowds of foreign clients (spec/peers/load.py) that are half-open,
-- deaf, rude, slow or too many for it, beside good ones whose waiting is measured. What is told of the server is
-- read from /proc, so it need not take part in that.
--
--   local server = load.server { options = "{ handshakeTimeout = 1000 }" }
--   local good = load.peer("echo", server.port)
--   local crowd = load.peer("halfopen", server.port, { count = 100 })
--   assert(crowd:words().there == 100)      -- the next line it prints, numbers as such
--   good:ask().p99                          -- ms, since it was last asked
--   server:memory(), server:descriptors(), server:cpu()
--   server:heard()["error slow"]            -- how many events of each kind it has had
--   load.clear()

local helper = require "spec.helper"
local wire = require "spec.wire"

local load = {}

local SERVER = [[
  local lunawire = require "lunawire"
  io.stdout:setvbuf "line"
  local heard, servers = {}, {}
  local function note(words) heard[words] = (heard[words] or 0) + 1 end

  local orders = {}
  function orders.tell(socket)
    local words = {}
    for name, count in pairs(heard) do words[#words + 1] = name:gsub(" ", "-") .. "=" .. count end
    socket:send(table.concat(words, " "))
  end
  function orders.answer(socket, size) socket:send(("a"):rep(size)) end
  -- So many numbered messages, `each` at a time with `gap` ms between them.
  function orders.broadcast(_, messages, size, each, gap)
    local i, timer = 0, nil
    timer = lunawire.setInterval(function()
      for _ = 1, each do
        i = i + 1
        servers[1]:broadcast(("%08d"):format(i) .. string.char(97 + i % 26):rep(size - 8))
        if i == messages then return timer:close() end
      end
    end, gap)
  end
  -- Takes all descriptors there are but `left`.
  local hoard = {}
  function orders.hoard(socket, left)
    while true do
      local file = io.open "/dev/null"
      if not file then break end
      hoard[#hoard + 1] = file
    end
    for _ = 1, left do table.remove(hoard):close() end
    socket:send("hoarded=" .. #hoard)
  end
  function orders.release(socket)
    for _, file in ipairs(hoard) do file:close() end
    hoard = {}
    socket:send "hoarded=0"
  end
  function orders.collect(socket)
    collectgarbage()
    collectgarbage()
    socket:send "collected=1"
  end

  local function serve(options)
    local server = lunawire.WebSocketServer(options)
    servers[#servers + 1] = server
    function server.onmessage(event)
      local order, rest = event.data:match "^!(%a+)(.*)$"
      if not order then return event.target:send(event.data, event.binary and "binary" or nil) end
      local arguments = {}
      for word in rest:gmatch "%S+" do arguments[#arguments + 1] = math.tointeger(word) or tonumber(word) end
      orders[order](event.target, table.unpack(arguments))
    end
    function server.onrequest(event) event:respond(200, nil, ("p"):rep(tonumber(event.request.path:match "%d+") or 1)) end
    function server.onconnection() note "connection" end
    function server.onsocketerror(event) note("error " .. event.code) end
    function server.onsocketclose(event) note("close " .. event.code) end
    function server.onerror(event) note("server error " .. event.code) end
    return server.port
  end
  local plain, secure = arg[1], arg[2]
  local file = io.open "/proc/self/stat"
  local pid = file:read "n"
  file:close()
  local port = serve(assert(load("return " .. plain))())
  print(("pid=%d port=%d tls=%d"):format(pid, port, secure and serve(assert(load("return " .. secure))()) or 0))
  lunawire.run()
]]

-- --- peers ----------------------------------------------------------------------------------------------

local running = {}

local function words_of(line)
  local words = {}
  for name, value in line:gmatch "(%S+)=(%S+)" do words[name] = tonumber(value) or value end
  return words
end

local Peer = {}
Peer.__index = Peer
Peer.__name = "load.Peer"

local function start(command, seconds)
  local peer = setmetatable({ program = helper.peer(command, seconds or 300) }, Peer)
  running[#running + 1] = peer
  return peer
end

-- The next line it prints, as a table. `pump` turns what must turn meanwhile.
function Peer:words(seconds)
  return words_of(self.program:line(nil, seconds or 60))
end

-- Tells it to tell.
function Peer:ask()
  self.program:signal "USR1"
  return self:words()
end

function Peer:stop() self.program:stop() end

-- A role of load.py.
function load.peer(role, port, arguments)
  local words = { "exec", helper.python(), helper.quote(helper.root .. "/spec/peers/load.py"), role, port }
  for name, value in pairs(arguments or {}) do words[#words + 1] = helper.quote(("%s=%s"):format(name, value)) end
  return start(table.concat(words, " "))
end

-- --- the server -----------------------------------------------------------------------------------------

local Server = setmetatable({}, { __index = Peer })
Server.__index = Server
Server.__name = "load.Server"

-- given.options, given.tls: Lua expressions of options (tls: of a second server). given.descriptors: their limit (as
-- many as the system allows).
function load.server(given)
  local name = os.tmpname()
  helper.write(name, SERVER)
  local arguments = { helper.quote(name), helper.quote(given.options or "{ heartbeat = false }") }
  if given.tls then arguments[3] = helper.quote(given.tls) end
  local server = start(("ulimit -n %s; exec %s"):format(given.descriptors or "$(ulimit -Hn)",
    helper.lua(table.concat(arguments, " "))))
  for word, value in pairs(server:words()) do server[word] = value end
  os.remove(name)
  return setmetatable(server, Server)
end

-- Says an order to the server, as one more client, and returns the answer's words.
function Server:order(text)
  local peer = wire.client(self.port)
  peer:frame { "text", payload = "!" .. text }
  local answer = assert(peer:next(), "the server has ended").payload
  peer:close()
  return words_of(answer)
end

-- Counts of events: connection, ["error-slow"], ["close-1006"], ["server-error-system"], ...
function Server:heard() return self:order "tell" end

local function status(server, name)
  return tonumber(helper.read(("/proc/%d/status"):format(server.pid)):match("\n" .. name .. ":%s+(%d+)"))
end

-- Resident memory, in KiB.
function Server:memory() return status(self, "VmRSS") end

-- From now on peak() tells the most memory there was.
function Server:mark()
  helper.write(("/proc/%d/clear_refs"):format(self.pid), "5")
  self.marked = self:memory()
end

-- How much more memory there was at most since mark(), in KiB.
function Server:peak() return status(self, "VmHWM") - self.marked end

function Server:descriptors()
  return tonumber((helper.run(("ls /proc/%d/fd | wc -l"):format(self.pid))))
end

-- Processor time used so far, in ms (of the system's tick, mostly 10).
function Server:cpu()
  local fields = helper.read(("/proc/%d/stat"):format(self.pid)):match "%) (.*)$" -- from the third on
  local user, system = fields:match("^" .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
  return (user + system) * 10
end

-- How often it has gone to sleep.
function Server:sleeps() return status(self, "voluntary_ctxt_switches") end

-- --- the end ----------------------------------------------------------------------------------------------

function load.clear()
  for i = #running, 1, -1 do running[i]:stop() end
  running = {}
  wire.done()
end

-- The hard limit of descriptors here.
function load.limit()
  return tonumber((helper.run "ulimit -Hn")) or math.huge
end

-- A figure to be seen, where there is somebody to see it.
function load.print(...) io.stderr:write("  ", string.format(...), "\n") end

return load
