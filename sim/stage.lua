-- stage.lua -- where scenarios are played: within a state of its own (world.run), one at a time, with one fault or none.
--
-- It is given "ROOT\nSCENARIO\nDIRECTORY\nCOMMAND": where the checkout is, what is played, where certificates and files
-- are. Without COMMAND the commands come from world.branch. They are:
--
--   none                     all goes well: the scenario says whether it saw what it should; and how much it called
--   alloc N once|twice|on|ever  the nth allocation fails; and the next, too, since Lua collects garbage and tries again;
--                            all from there on; these and all until the state is closed
--   crypto N once            the nth of OpenSSL's own
--   places N                 like `none`; the result is which of OpenSSL's own are the first N of their place (the
--                            calls above them), and how many places there are
--   call NAME N ERRNO        the nth call of the system's NAME fails; ERRNO 0: it does one byte only
--
-- The result is "fine", or a line for each problem. See sweep.lua for what is judged.

local world = require "world"

local root, name, directory, given = (...):match "^(.-)\n(.-)\n(.-)\n(.*)$"
package.path = root .. "/?.lua;" .. package.path

local PATIENCE = 30000 -- ms of the world's time that a wait takes at most
local TURNS = 3000     -- turns in which no time passes, and after which there will be no end to them
local RAISED = 40      -- turns that raise, one after the other, while there is no memory

local stage = { directory = directory, world = world }

local lunawire     -- once it is loaded
local starving     -- a fault of memory goes on
local isOpensslHurt -- OpenSSL's own: it may take what it cannot read for want of memory for wrong
local problems = {}
local clients, servers, tasks, peers, handles = {}, {}, {}, {}, {}

-- What is the stage's own neither counts nor fails.
local function spared(fn, ...)
  world.spare(true)
  local results = table.pack(pcall(fn, ...))
  world.spare(false)
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

local function problem(...)
  spared(function(format, ...) problems[#problems + 1] = format:format(...) end, ...)
end

-- Errors -------------------------------------------------------------------------------------------------------------

-- What a lack of memory, or the system, may have raised in a caller.
local sensible = {
  MemoryError = true, SystemError = true, NetworkError = true, AbortError = true, TimeoutError = true, NotReadableError = true,
}

local function isSensible(err)
  if type(err) == "string" then
    return err:find("not enough memory", 1, true) or err:find("on purpose", 1, true)
  end
  if type(err) ~= "table" then return false end
  local own = rawget(err, "name")
  if sensible[own] then return true end
  -- what was named cannot be read
  return own == "TypeError"
    and (err.message:find "tls: ca .*: Permission denied$" or err.message:find "tls: ca .*: No such file or directory$")
end

-- An error that left the library.
function stage.caught(err)
  spared(function()
    if not isSensible(err) then problem("raised: %s", tostring(err)) end
  end)
end

--- Calls what may fail for a fault; true, or false and the error, which is judged.
function stage.try(fn, ...)
  local fine, err = pcall(fn, ...)
  if not fine then stage.caught(err) end
  return fine, err
end

--- What must not be, whatever fails.
stage.wrong = problem

--- What must be so when nothing fails.
local expected = {}
function stage.expect(value, what)
  if not value then spared(function() expected[#expected + 1] = what end) end
  return value
end

-- Peers --------------------------------------------------------------------------------------------------------------

-- A program of somebody else's: a coroutine with sockets that are not the library's, and memory of its own.
local Peer = {}
Peer.__index = Peer

--- Waits for the world to change.
function Peer.pause() coroutine.yield() end

function Peer:accept(listener)
  local fd = world.accept(listener)
  while not fd do
    coroutine.yield()
    fd = world.accept(listener)
  end
  self.fds[#self.fds + 1] = fd
  return fd
end

function Peer:dial(port)
  local fd = assert(world.dial(port))
  self.fds[#self.fds + 1] = fd
  return fd
end

function Peer:listen()
  local fd, port = assert(world.listen())
  self.fds[#self.fds + 1] = fd
  return fd, port
end

--- Some bytes; "" at the end; nil when the connection was reset.
function Peer.some(_, fd)
  while true do
    local bytes, _, err = world.recv(fd)
    if bytes then return bytes end
    if err ~= 11 and err ~= 107 then return nil end -- EAGAIN, ENOTCONN
    coroutine.yield()
  end
end

--- Bytes up to a pattern, which is among them; nil if that never comes. What follows is kept.
function Peer:upTo(fd, pattern)
  local bytes = self.rest[fd] or ""
  while true do
    local _, last = bytes:find(pattern)
    if last then
      self.rest[fd] = bytes:sub(last + 1)
      return bytes:sub(1, last)
    end
    local more = self:some(fd)
    if not more or more == "" then return nil end
    bytes = bytes .. more
  end
end

function Peer:head(fd) return self:upTo(fd, "\r\n\r\n") end

function Peer:bytes(fd, n)
  return self:upTo(fd, ("^" .. ("."):rep(n)))
end

function Peer.send(_, fd, bytes)
  while #bytes > 0 do
    local went, _, err = world.send(fd, bytes)
    if went then
      bytes = bytes:sub(went + 1)
    elseif err ~= 11 and err ~= 107 then
      return nil
    end
    if #bytes > 0 then coroutine.yield() end
  end
  return true
end

function Peer:close(fd)
  for i, mine in ipairs(self.fds) do
    if mine == fd then
      table.remove(self.fds, i)
      self.rest[fd] = nil
      world.close(fd)
    end
  end
end

--- Passes on what comes at either, until both have ended.
function Peer:pump(one, other)
  local left = { [one] = other, [other] = one }
  local first = self.rest[one]
  if first and first ~= "" then self:send(other, first) end
  while next(left) do
    local some = false
    for _, from in ipairs { one, other } do
      local to = left[from]
      local bytes, _, err = nil, nil, 11
      if to then bytes, _, err = world.recv(from) end
      if bytes and bytes ~= "" then
        some = true
        self:send(to, bytes)
      elseif to and (bytes or (err ~= 11 and err ~= 107)) then
        some = true
        left[from] = nil
        if bytes then world.shut(to) else self:close(one) self:close(other) return end
      end
    end
    if not some then coroutine.yield() end
  end
  self:close(one)
  self:close(other)
end

--- Starts one.
function stage.peer(script, ...)
  local arguments = table.pack(...)
  return spared(function()
    local peer = setmetatable({ fds = {}, rest = {} }, Peer)
    peer.co = coroutine.create(function() return script(peer, table.unpack(arguments, 1, arguments.n)) end)
    peers[#peers + 1] = peer
    return peer
  end)
end

local function runPeers()
  for _, peer in ipairs(peers) do
    if coroutine.status(peer.co) == "suspended" then
      local fine, err = coroutine.resume(peer.co)
      if not fine then problem("a peer: %s", tostring(err)) end
    end
  end
end

local function endPeers()
  for _, peer in ipairs(peers) do
    for _, fd in ipairs(peer.fds) do world.close(fd) end
    peer.fds = {}
    coroutine.close(peer.co)
  end
end

-- The loop -----------------------------------------------------------------------------------------------------------

--- Turns the loop until `done()`, but no longer than so many milliseconds. Whether it was.
function stage.wait(done, patience)
  local deadline = world.now() + (patience or PATIENCE)
  local still, raised, last = 0, 0, nil
  while true do
    spared(runPeers)
    if done and done() then return true end
    local now = world.now()
    if deadline - now < 0.001 then return false end -- less than that is not time at all
    if now == last then still = still + 1 else still, last = 0, now end
    if still > TURNS then
      problem "turns without end"
      return false
    end
    local fine, err = pcall(lunawire.step, deadline - now)
    if fine then raised = 0 else raised = raised + 1 end
    if not fine then stage.caught(err) end
    if raised > RAISED then
      if not starving then problem("it raises without end: %s", tostring(err)) end
      return false
    end
  end
end

-- What is made -------------------------------------------------------------------------------------------------------

-- For want of memory OpenSSL may fail in its own words, but nobody's certificate is to be blamed, unless that is what the
-- scenario is about.
local blamed = {}
local function isBlame(message)
  if message:find "the other side" then return false end -- which had no memory, and this one has heard an alert
  for _, words in ipairs(blamed) do
    if message:find(words, 1, true) then return false end
  end
  return message:find "certificate" or message:find "issuer" or message:find "key too"
end

local codes = {
  dns = true, refused = true, timeout = true, tls = true, http = true, protocol = true, slow = true, network = true,
  aborted = true, memory = true, file = true, system = true, url = true, proxy = true,
}

local function newRecord(list, fields)
  return spared(function()
    local record = fields or {}
    record.closes, record.tracked, record.object = 0, false, false -- there, so that the object is not lost on its way into it
    list[#list + 1] = record
    return record
  end)
end

--- Counts the ends that are told of it. `isFinal(event)`: this is one.
local function track(record, object, isFinal)
  record.object = object
  local function onclose(event)
    if isFinal and not isFinal(object) then return end
    record.closes = record.closes + 1
    record.code, record.reason, record.wasClean = event.code, event.reason, event.wasClean
  end
  local function onerror(event)
    record.error = event.code
    if record.closes > 0 then problem "an error behind its close" end
    if isOpensslHurt and event.code == "tls" and isBlame(event.message) then problem("TLS: %s", event.message) end
    if not codes[event.code] then problem("an error with the code %s: %s", tostring(event.code), tostring(event.message)) end
  end
  object:addEventListener("close", onclose, true)
  record.tracked = true
  object:addEventListener("error", onerror, true)
  return object, record
end

--- A client. Returns it and its record: closes, code, reason, wasClean, error.
function stage.client(url, protocols, options)
  local record = newRecord(clients)
  return track(record, lunawire.WebSocket(url, protocols, options))
end

local function isOver(object) return object.readyState == 3 end

--- A ReconnectingWebSocket: of its closes the last counts.
function stage.reconnecting(url, protocols, options)
  local record = newRecord(clients)
  return track(record, lunawire.ReconnectingWebSocket(url, protocols, options), isOver)
end

--- A link of a reliable session, over a socket that is the stage's, too.
function stage.link(socket, options)
  local record = newRecord(clients)
  return track(record, require("lunawire.reliable").client(socket, options))
end

--- A server; all its sockets are tracked. `way`: how it can be reached when all is over: path, protocols, options.
function stage.server(options, way)
  local record = newRecord(servers, { way = way or {} })
  local server = lunawire.WebSocketServer(options)
  record.object = server
  server:addEventListener("connection", function(event)
    if record.checking then event.socket:send "check" end
    track(newRecord(clients, { serverSide = true }), event.socket)
  end, true)
  server:addEventListener("close", function() record.closes = record.closes + 1 end)
  record.tracked = true
  return server, record
end

--- Closes a server of the stage.
function stage.closeServer(server, ...)
  for _, record in ipairs(servers) do
    if record.object == server then record.closing = true end
  end
  server:close(...)
end

--- A task, which must have come to its end when all is closed.
function stage.go(fn, ...)
  local task = lunawire.go(fn, ...)
  spared(function() tasks[#tasks + 1] = task end)
  return task
end

--- A timer or a watch that the scenario may not come to close.
function stage.own(handle)
  world.spare(true)
  handles[#handles + 1] = handle
  world.spare(false)
end

--- True when all sockets that are tracked have told their close.
function stage.allClosed()
  for _, record in ipairs(clients) do
    if record.tracked and record.closes == 0 then return false end
  end
  return true
end

-- Frames of a client, masked with zeros.
function stage.frame(opcode, payload, bits)
  local n = #payload
  local head = string.char((bits or 0x80) | opcode)
  if n < 126 then return head .. string.char(0x80 | n) .. "\0\0\0\0" .. payload end
  return head .. string.char(0x80 | 126, n >> 8, n & 255) .. "\0\0\0\0" .. payload
end

stage.request = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

-- The end ------------------------------------------------------------------------------------------------------------

local function living()
  local list = {}
  for _, record in ipairs(servers) do
    if record.tracked and record.closes == 0 and not record.closing then list[#list + 1] = record end
  end
  return list
end

--- A new client and this server exchange a message.
local function checkServer(record)
  local way, heard, why = record.way, false, "nothing came"
  if way == false then return end
  record.checking = true
  local server = record.object
  local ws = stage.client(way.url or server.url .. (way.path or ""), way.protocols, way.options)
  ws.onmessage = function(event) heard = heard or event.data == "check" end
  ws:addEventListener("error", function(event) why = event.message end)
  if not stage.wait(function() return heard end, 20000) then problem("the next connection: %s", why) end
  ws:close()
end

local function check()
  local list = living()
  if not list[1] then
    stage.server {}
    list = living()
  end
  for _, record in ipairs(list) do checkServer(record) end
end

local function closeClients()
  for _, record in ipairs(clients) do
    if record.object then record.object:close() end
  end
  stage.wait(stage.allClosed, 10000)
end

local function closeAll()
  for _, record in ipairs(servers) do
    if record.object and record.closes == 0 then record.object:close() end
  end
  closeClients()
end

local function allOver()
  if not stage.allClosed() then return false end
  for _, record in ipairs(servers) do
    if record.tracked and record.closes == 0 then return false end
  end
  return true
end

local function nameOf(record)
  return tostring(record.object)
end

local function judge()
  for _, record in ipairs(clients) do
    if record.tracked and record.closes ~= 1 then problem("%s told %d closes", nameOf(record), record.closes) end
  end
  for _, record in ipairs(servers) do
    if record.tracked and record.closes ~= 1 then problem("%s told %d closes", nameOf(record), record.closes) end
  end
end

-- Without any memory the call that would tell a task of what it waits for cannot be made, and nobody makes it later:
-- the error is raised, and that is all.
local function judgeTasks(command)
  if command:find " on$" then return end
  for i, task in ipairs(tasks) do
    if task.status == "waiting" or task.status == "running" then problem("task %d is %s for ever", i, task.status) end
  end
end

local function finish(command)
  world.law { limit = 0 }
  for _, handle in ipairs(handles) do handle:close() end
  for _, record in ipairs(servers) do
    if record.way.clear then stage.try(closeClients) end
  end
  stage.try(check)
  stage.try(closeAll)
  stage.wait(allOver, 60000)
  spared(endPeers)
  stage.wait(allOver, 60000)
  judge()
  local fine, over = stage.try(lunawire.run, 60000)
  if fine and not over then problem "something keeps run from its end" end
  judgeTasks(command)
end

-- The play -----------------------------------------------------------------------------------------------------------

local callNames = {}
for call in pairs(world.calls()) do callNames[#callNames + 1] = call end
table.sort(callNames)

--- How much was called since `before`, a table of world.calls, and these allocations.
local function counted(calls, ours, theirs)
  local now, _, openssl = world.allocations()
  local list, all = { "alloc=" .. now - ours, "crypto=" .. openssl - theirs }, world.calls()
  for _, call in ipairs(callNames) do list[#list + 1] = ("%s=%d"):format(call, all[call] - calls[call]) end
  return table.concat(list, " ")
end

local function places()
  local list, n = world.noteOpenssl()
  return ("places=%d %s"):format(n, table.concat(list, " "))
end

--- Sets the fault up. Returns what lifts it; nil: nothing does, to the end.
local function hurt(command)
  local kind, what, n, more = command:match "^(%l+) ?(%g*) ?(%g*) ?(%g*)"
  if kind == "alloc" then
    local times = ({ once = 1, twice = 2 })[n]
    starving = not times
    world.starve(tonumber(what) - 1, times or -1)
    return n ~= "ever" and function() world.starve(0, 0) end or nil
  elseif kind == "crypto" then
    isOpensslHurt = true
    world.starveOpenssl(tonumber(what) - 1, 1)
    return function() world.starveOpenssl(0, 0) end
  elseif kind == "places" then
    world.noteOpenssl(tonumber(what))
  elseif kind == "call" then
    world.fail(what, tonumber(more), tonumber(n) - 1, 1)
    return function() world.fail(what, 0, 0, 0) end
  end
  return function() end
end

local function report(command, told)
  for _, what in ipairs(command == "none" and expected or {}) do problem("expected: %s", what) end
  return #problems == 0 and (told or "fine") or table.concat(problems, "\n")
end

local function play(scenario, command)
  local calls = world.calls()
  local ours, _, theirs = world.allocations()
  local lift = spared(hurt, command)
  local fine, err = pcall(scenario.run, stage)
  local told = command == "none" and spared(counted, calls, ours, theirs) or command:find "^places" and spared(places) or nil
  if lift then lift() end
  starving = starving and not lift
  if not fine then
    stage.caught(err)
    if command == "none" and isSensible(err) then problem("raised: %s", tostring(err)) end
  end
  if lift and not scenario.leaves and lunawire then finish(command) end
  return spared(report, command, told)
end

local scenarios = require "sim.scenarios"

--- A scenario that loads the library itself says so.
function stage.load()
  lunawire = require "lunawire"
  stage.lunawire = lunawire
  return lunawire
end

world.begin {}
local scenario = assert(scenarios[name], "no such scenario: " .. name)
blamed = scenario.blamed or blamed
if not scenario.loads then
  stage.load()
  require "lunawire.reliable"
end
-- Lua makes its buffers' metatable with the first long string, and is left with half of it when memory ends there,
-- for good. That is Lua's own.
local _ = ("x"):rep(10000)

if given == "" then given = world.branch() end
if given:match "^trace " then
  world.trace(true)
  given = given:match "^trace (.*)"
end
return play(scenario, given)
