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
local system = require "system"
local wire = require "spec.wire"

local load = {}

local SERVER = [[
  local lunawire = require "lunawire"
  io.stdout:setvbuf "line"
  local heard, servers = {}, {}
  local function note(words) heard[words] = (heard[words] or 0) + 1 end

  local long = setmetatable({}, { __index = function(all, size)
    all[size] = ("p"):rep(size)
    return all[size]
  end })

  local orders = {}
  function orders.tell(socket)
    local words = {}
    for name, count in pairs(heard) do words[#words + 1] = name:gsub(" ", "-") .. "=" .. count end
    socket:send(table.concat(words, " "))
  end
  function orders.answer(socket, size) socket:send(long[size]) end
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
    function server.onrequest(event) event:respond(200, nil, long[tonumber(event.request.path:match "%d+")]) end
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

-- The next line it prints, as a table, waited for.
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
-- many as the system allows). given.measured: it goes before what else this machine does, if that is allowed.
function load.server(given)
  local name = os.tmpname()
  helper.write(name, SERVER)
  local arguments = { helper.quote(name), helper.quote(given.options or "{ heartbeat = false }") }
  if given.tls then arguments[3] = helper.quote(given.tls) end
  local server = start(("ulimit -n %s; exec %s%s"):format(given.descriptors or "$(ulimit -Hn)",
    given.measured and "$(chrt -r 1 true 2>/dev/null && echo chrt -r 1) " or "", helper.lua(table.concat(arguments, " "))))
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
  local user, kernel = fields:match("^" .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
  return (user + kernel) * 10
end

-- How often it has gone to sleep.
function Server:sleeps() return status(self, "voluntary_ctxt_switches") end

-- --- what it has to bear -----------------------------------------------------------------------------------

local function wait(seconds) system.sleep(seconds) end

-- Waits until the server has as many descriptors as before; returns how many more it has in the end.
function Server:settle(before)
  helper.await(function() return self:descriptors() <= before end, function() wait(0.05) end)
  return self:descriptors() - before
end

-- given.count connections that never finish a handshake, given.rounds times, and between the rounds none; always
-- ten clients who echo. given.what: see load.py; given.steady: how many seconds to look at them when all are there.
-- Returns a list of {quiet, coming, steady, ending: of the ten, see ask(); there, gone: of the crowd; memory: KiB more
-- when all are there; left: descriptors in the end}.
function load.halfopen(server, given)
  local good, rounds = load.peer("echo", server.port), {}
  local what = given.what or "head"
  local port = (what == "head" or given.plain) and server.port or server.tls
  good:words()
  for i = 1, given.rounds or 1 do
    local seen = {}
    wait(0.3)
    good:ask()
    wait(given.steady)
    seen.quiet = good:ask()
    local memory, descriptors = server:memory(), server:descriptors()
    local crowd = load.peer("halfopen", port, { count = given.count, what = what, seconds = given.seconds or 60 })
    seen.there = crowd:words()
    seen.coming = good:ask()
    local cpu = server:cpu()
    wait(given.steady)
    seen.steady = good:ask()
    seen.busy = (server:cpu() - cpu) / given.steady / 10 -- percent
    seen.memory = server:memory() - memory
    seen.held = server:descriptors() - descriptors
    seen.first = crowd:words()
    seen.gone = crowd:words()
    seen.ending = good:ask()
    seen.left = server:settle(descriptors)
    crowd:stop()
    rounds[i] = seen
  end
  good:stop()
  return rounds
end

-- A broadcast to deaf and to hearing clients: see load.py. Returns what the readers and the deaf found, and the most
-- memory the server held more than before, in KiB.
function load.broadcast(server, given)
  local peers = load.peer("broadcast", server.port, given)
  peers:words(120)
  server:mark()
  local readers = peers:words(120)
  local peak = server:peak()
  local deaf = peers:words(120)
  peers:stop()
  return readers, deaf, peak
end

-- Connections that end in a reset, beside a good client. Returns what load.py says of them, how the good one fared, and how
-- many descriptors and KiB more there are when they are gone.
function load.storm(server, count)
  local good = load.peer("echo", server.port, { clients = 1, gap = 5 })
  good:words()
  local memory, descriptors = server:memory(), server:descriptors()
  local storm = load.peer("storm", server.port, { count = count, tls = server.tls })
  local said = storm:words(120)
  storm:stop()
  local left = server:settle(descriptors)
  local fared = good:ask()
  good:stop()
  server:order "collect"
  return said, fared, left, server:memory() - memory
end

-- More clients than the server has descriptors: see load.py. Returns its three lines, and how much of a processor the
-- server took, and how often it woke a second, while it was full.
function load.crowd(server, given)
  local peers = load.peer("crowd", server.port, given)
  local full = peers:words()
  local cpu, sleeps, since = server:cpu(), server:sleeps(), system.monotime()
  wait(given.idle - 0.3)
  local took = system.monotime() - since
  local busy, woke = (server:cpu() - cpu) / took / 1000, (server:sleeps() - sleeps) / took
  local served, last = peers:words(), peers:words()
  peers:stop()
  return full, served, last, busy, woke
end

-- Floods at once, each with the arguments of load.py's flood, beside ten who echo. Returns what became of each, how the
-- ten fared, and the most KiB the server held more than before.
function load.flood(server, floods)
  local good, peers, became = load.peer("echo", server.port), {}, {}
  good:words()
  server:mark()
  for i, arguments in ipairs(floods) do peers[i] = load.peer("flood", server.port, arguments) end
  for _, peer in ipairs(peers) do peer:words() end
  good:ask()
  for i, peer in ipairs(peers) do became[i] = peer:words() end
  local fared, peak = good:ask(), server:peak()
  for _, peer in ipairs(peers) do peer:stop() end
  good:stop()
  return became, fared, peak
end

-- A program that connects while it has no descriptor left, or 1 to 6 of them. It prints what each attempt came to; and at
-- the end of each of two rounds, with all its descriptors back, that of one more, and how many were free before and after.
local STARVED = [[
  local lunawire = require "lunawire"
  local url, warm = arg[1], arg[2] == "warm"
  local hoard = {}
  local function take()
    while true do
      local file = io.open "/dev/null"
      if not file then return #hoard end
      hoard[#hoard + 1] = file
    end
  end
  local function release(n)
    for _ = 1, n or #hoard do table.remove(hoard):close() end
  end
  local function try()
    local log = {}
    local function note(words) log[#log + 1] = words end
    local ws = lunawire.WebSocket(url)
    ws.onopen = function() note "open" ws:send "hi" end
    ws.onmessage = function(event) note(event.data) ws:close(1000) end
    ws.onerror = function(event) note("error:" .. event.message:match ": ([^:]*)$":gsub(" ", "-")) end
    ws.onclose = function(event) note("close:" .. event.code) end
    lunawire.run(5000)
    return table.concat(log, ",")
  end
  if warm then print("first=" .. try()) end
  for round = 1, 2 do
    local before = take()
    for left = 0, 6 do
      release(left)
      for _ = 1, 3 do print(("left=%d got=%s"):format(left, try())) end
      take()
    end
    release()
    local got = try()
    print(("round=%d got=%s before=%d after=%d"):format(round, got, before, take()))
    release()
  end
]]

-- Its lines as tables. host: a literal address or a name; warm: it was connected before.
function load.starved(server, host, warm)
  local name = os.tmpname()
  helper.write(name, STARVED)
  local program = start(("ulimit -n 30; exec %s"):format(helper.lua(("%s ws://%s:%d/ %s"):format(
    helper.quote(name), host, server.port, warm and "warm" or "cold"))))
  local lines = {}
  repeat
    lines[#lines + 1] = program:words()
  until lines[#lines].round == 2
  program:stop()
  os.remove(name)
  return lines
end

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
