-- world.lua -- a world in which ReconnectingWebSocket and heartbeat live without a network and without
-- time: the clock goes when it is told to, chance is seeded, and a WebSocket does what the spec says that
-- the other side and the line do to it.
--
--   local world = World.new(7)                                  -- a seed
--   local ws = reconnect.class(world)("ws://h/", nil, { heartbeat = false })
--   local socket = world.sockets[1]                             -- all there ever were, in order
--   socket:open()                                               -- what the world does to it; heard in the next turn
--   world:turn()                                                -- one turn, as lunawire.step(0)
--   world:pass(1000)                                            -- a second goes by, with all its turns
--   world:count()                                               -- timers pending; world:delays() says for how long
--
-- What can be done to a socket: open(protocol), receive(text), receive(bytes, "binary"), ping(data) is its
-- own and pinged(data) the peer's, ponged(data), fail { code =, status =, headers = }, peerClose(code,
-- reason), finish() (the end of the stream), lose() (a reset), block() (the system takes no output by
-- itself any more), take(n) (the system takes n bytes of it), unblock(), refuse(after, problem) (for want of memory).
--
-- A socket here keeps the rules of src/lua_socket.c and src/conn.c. Nothing is ever heard inside a call: events
-- come in the world's turns. reconnect_spec.lua holds it against the real one.

local Random = require "spec.torture.random"
local core = require "lunawire.core"
local target = require "lunawire.target"

local min, remove, unpack = math.min, table.remove, table.unpack
local event, mistake = target.event, target.mistake

local World = {}
World.__index = World
World.__name = "World"

local HANDSHAKE = 200            -- bytes of the request that asks for the upgrade
local CLOSE_TIMEOUT = 5000
local MOST_TURNS = 10000         -- without any time going by: somebody runs in circles

-- --- the stream out -----------------------------------------------------------------------------------

-- A client's header: two bytes, the length beyond 125, the mask (RFC 6455, 5.2).
local function headerSize(n)
  return n < 126 and 6 or n < 65536 and 8 or 14
end

-- One frame behind all others; a control frame has no content that counts.
local function queueFrame(s, n, content)
  local frame = { payload = s.written + headerSize(n), content = content }
  s.written = frame.payload + n
  frame.ends = s.written
  s.frames[#s.frames + 1] = frame
  s.content = s.content + content
  return frame
end

-- Content not handed to the system.
local function queued(s)
  local head = s.frames[1]
  if not head or head.content == 0 or s.sent <= head.payload then return s.content end
  return s.content - (s.sent - head.payload)
end

local function post(s)
  local world = s.world
  if s.posted then return end
  s.posted = true
  world.posted[#world.posted + 1] = s
end

-- The system takes up to n bytes.
local function hand(s, n)
  if s.phase == "connecting" or s.mute then return end
  s.sent = min(s.written, s.sent + n)
  s.most = s.sent
  while s.frames[1] and s.frames[1].ends <= s.sent do
    s.content = s.content - s.frames[1].content
    remove(s.frames, 1)
  end
  if s.wantDrain and queued(s) <= s.highWater / 2 then post(s) end
end

-- --- its end ---------------------------------------------------------------------------------------------

-- The connection is over; what is left is to be told.
local function finish(s, failure)
  if s.phase == "ended" then return end
  s.failure = s.failure or failure
  s.wasOpen = s.phase ~= "connecting"
  s.phase = "ended"
  s.wantDrain, s.deadline = false, nil
  s.tellError, s.tellClose = s.failure ~= nil, true
  post(s)
end

local function beginClosing(s)
  s.phase = "closing"
  s.deadline = s.world.time + (s.options.closeTimeout or CLOSE_TIMEOUT)
end

local function closeEvent(s)
  local fine = not s.failure and s.code
  return event("close", {
    target = s.object,
    code = fine or 1006,
    reason = s.reason or "",
    wasClean = fine and s.closing and s.closing.ends <= s.sent or false,
  })
end

local function errorEvent(s)
  local failed = { target = s.object, message = "connect to " .. s.url }
  for name, value in pairs(s.failure) do failed[name] = value end
  return event("error", failed)
end

-- Nobody is to be told anything any more.
local function bury(s)
  s.unsent, s.content, s.frames = s.unsent + queued(s), 0, {}
  s.gone, s.paused = true, false
  local live = s.world.live
  for i = 1, #live do
    if live[i] == s then
      remove(live, i)
      break
    end
  end
end

-- --- what comes in -----------------------------------------------------------------------------------------

local function heard(s)
  s.received = s.world.time
end

-- What each thing that arrives does; an event, if it is to be told.
local arrivals = {}

function arrivals.open(s, item)
  if s.phase ~= "connecting" then return nil end
  heard(s)
  s.phase, s.deadline, s.protocol = "open", nil, item.protocol
  s.sent = s.sent + HANDSHAKE
  return event("open", { target = s.object })
end

function arrivals.message(s, item)
  heard(s)
  if s.phase ~= "open" then return nil end
  return event("message", { target = s.object, data = item.data, binary = item.binary })
end

function arrivals.ping(s, item)
  heard(s)
  if s.phase ~= "open" then return nil end
  queueFrame(s, #item.data, 0) -- the answer
  return event("ping", { target = s.object, data = item.data })
end

function arrivals.pong(s, item)
  heard(s)
  if s.phase ~= "open" then return nil end
  local latency = s.pinged and s.world.time - s.pinged
  s.pinged = nil
  return event("pong", { target = s.object, data = item.data, latency = latency })
end

function arrivals.close(s, item)
  heard(s)
  s.code, s.reason = item.code, item.reason
  if s.phase == "open" then
    beginClosing(s)
    s.closing = queueFrame(s, 2 + #item.reason, 0)
  end
end

arrivals["end"] = function(s)
  if not s.blocked then hand(s, s.written) end -- what was queued before the last look at the line
  finish(s)
end

function arrivals.reset(s)
  s.mute = true
  finish(s)
end

function arrivals.fail(s, item)
  s.mute = true
  finish(s, item.failure)
end

-- A socket that does not read sees no more than a reset.
local function nextArrival(s)
  local first = s.inbox[1]
  if not first or s.phase == "ended" then return nil end
  if s.phase == "connecting" and first.kind ~= "open" and first.kind ~= "fail" and first.kind ~= "reset" then return nil end
  if not (s.paused and s.phase == "open") then return remove(s.inbox, 1) end
  for i, item in ipairs(s.inbox) do
    if item.kind == "reset" or item.kind == "fail" then return remove(s.inbox, i) end
  end
end

-- The next event of a socket in its turn, or nil.
local function nextEvent(s)
  while true do
    if s.wantDrain and s.phase == "open" and queued(s) <= s.highWater / 2 then
      s.wantDrain = false
      return event("drain", { target = s.object })
    end
    local item = nextArrival(s)
    if not item then break end
    local happened = arrivals[item.kind](s, item)
    if happened then return happened end
  end
  if s.tellError then
    s.tellError, s.closed = false, true
    return errorEvent(s)
  elseif s.tellClose then
    s.tellClose, s.closed = false, true
    return closeEvent(s)
  end
end

-- --- WebSocket ---------------------------------------------------------------------------------------------

local members, setters, methods = {}, {}, { CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3 }

local Socket

function members.url(s) return s.url end
function members.protocol(s) return s.protocol end
function members.extensions() return "" end
function members.binaryType(s) return s.binaryType or "string" end
function members.bytesWritten(s) return s.written end
function members.bytesSent(s) return s.sent end
function members.lastReceived(s) return s.received end
function members.isPaused(s) return s.paused end

function members.lastAlive(s)
  if s.phase == "open" and s.inbox[1] then return s.world.time end -- unread, but here
  return s.received
end

function members.readyState(s)
  if s.closed then return 3 end
  return s.phase == "connecting" and 0 or s.phase == "open" and 1 or 2
end

function members.bufferedAmount(s)
  local amount = queued(s)
  if s.epoch == s.world.epoch and s.epochContent > amount then amount = s.epochContent end
  return s.unsent + amount
end

function setters.binaryType(s, value)
  if value ~= "string" and value ~= "arraybuffer" and value ~= "blob" then mistake("TypeError", "binaryType") end
  s.binaryType = value
end

function methods.send(socket, data, options)
  local s = Socket.state(socket)
  if members.readyState(s) == 0 then mistake("InvalidStateError", "send: the connection is not open yet") end
  local n = core.messageSize(data, options)
  if s.phase == "open" and queued(s) + n > s.mostBuffered then
    s.mute = true
    finish(s, { code = "slow" })
  end
  if s.phase ~= "open" then
    s.unsent = s.unsent + n
    return false
  end
  if s.refusal and #s.messages == s.refusal.after then error(s.refusal.problem, 0) end
  if s.epoch ~= s.world.epoch then s.epoch, s.epochContent = s.world.epoch, 0 end
  s.epochContent = s.epochContent + n
  local frame = queueFrame(s, n, n)
  s.messages[#s.messages + 1] = { data = data, options = options, ends = frame.ends }
  if queued(s) < s.highWater then return true end
  s.wantDrain = true
  return false
end

function methods.close(socket, code, reason)
  local s = Socket.state(socket)
  core.checkClose(code, reason)
  if s.phase == "connecting" then
    finish(s, { code = "aborted" })
  elseif s.phase == "open" then
    s.paused = false
    beginClosing(s)
    s.closing = queueFrame(s, code and 2 + #(reason or "") or 0, 0)
    s.given = { code = code or 1005, reason = reason or "" }
    post(s)
  end
end

function methods.terminate(socket, reason)
  local s = Socket.state(socket)
  if s.phase == "ended" then return end
  s.code, s.reason, s.mute = nil, reason or "", true
  finish(s, s.phase == "connecting" and { code = "aborted" } or nil)
end

function methods.ping(socket, data)
  local s = Socket.state(socket)
  if data ~= nil and type(data) ~= "string" then mistake("TypeError", "ping: a string expected") end
  if #(data or "") > 125 then mistake("SyntaxError", "ping: too much data") end
  if members.readyState(s) == 0 then mistake("InvalidStateError", "ping: the connection is not open yet") end
  if s.phase ~= "open" then return end
  queueFrame(s, #(data or ""), 0)
  s.pings, s.pinged = s.pings + 1, s.world.time
end

function methods.pause(socket)
  local s = Socket.state(socket)
  if s.phase == "connecting" or s.phase == "open" then s.paused = true end
end

function methods.resume(socket)
  local s = Socket.state(socket)
  if s.gone or not s.paused then return end
  s.paused = false
  post(s)
end

-- --- what the world does to it ---------------------------------------------------------------------------------

local function arrive(socket, item)
  local s = Socket.state(socket)
  if s.phase == "ended" then return end
  s.inbox[#s.inbox + 1] = item
  post(s)
end

function methods.open(socket, protocol)
  if Socket.state(socket).phase ~= "connecting" then return end
  arrive(socket, { kind = "open", protocol = protocol or "" })
end

function methods.receive(socket, data, binary)
  arrive(socket, { kind = "message", data = data, binary = binary == "binary" })
end

function methods.pinged(socket, data) arrive(socket, { kind = "ping", data = data or "" }) end
function methods.ponged(socket, data) arrive(socket, { kind = "pong", data = data or "" }) end
function methods.fail(socket, failure) arrive(socket, { kind = "fail", failure = failure }) end
function methods.lose(socket) arrive(socket, { kind = "reset" }) end
function methods.finish(socket) arrive(socket, { kind = "end" }) end

--- The peer's Close frame; or its answer to ours, with the same code when none is named.
function methods.peerClose(socket, code, reason)
  local given = Socket.state(socket).given or {}
  arrive(socket, { kind = "close", code = code or given.code or 1005, reason = reason or not code and given.reason or "" })
end

--- The system takes no more by itself.
function methods.block(socket) Socket.state(socket).blocked = true end
function methods.unblock(socket) Socket.state(socket).blocked = false end
--- After so many messages, a send raises this.
function methods.refuse(socket, after, problem) Socket.state(socket).refusal = { after = after, problem = problem } end
function methods.take(socket, n) hand(Socket.state(socket), n) end

--- The messages that the system has taken whole, in order.
function methods.handed(socket)
  local s, list = Socket.state(socket), {}
  for _, message in ipairs(s.messages) do
    if message.ends <= s.most then list[#list + 1] = message.data end
  end
  return list
end

--- Anything else a spec may want to know: phase, pings, given …
function methods.state(socket) return Socket.state(socket) end

Socket = target.class {
  name = "WebSocket",
  events = { "open", "message", "error", "close", "ping", "pong", "drain" },
  members = members,
  setters = setters,
  methods = methods,
}

-- The URL as a socket tells it. Only as much of the rules as specs need.
local function serialised(url)
  if type(url) ~= "string" then mistake("SyntaxError", "WebSocket: a URL expected, got " .. target.typename(url)) end
  if not url:match "^ws://[%w.]" or url:find("#", 1, true) then
    mistake("SyntaxError", ("WebSocket: the URL \"%s\" does not parse"):format(url))
  end
  return url:match "^ws://[^/]*$" and url .. "/" or url
end

local function newSocket(world, url, protocols, options)
  options = options or {}
  local s = {
    world = world,
    arguments = { url = url, protocols = protocols, options = options },
    options = options,
    url = serialised(url),
    protocol = "",
    phase = "connecting",         -- connecting, open, closing, ended
    closed = false,               -- error or close is being told, or was
    gone = false,                 -- close has been told
    failure = nil,
    code = nil, reason = nil,     -- of the peer's Close frame
    given = nil,                  -- what close() was given
    closing = nil,                -- our own Close frame
    tellError = false, tellClose = false,
    inbox = {},                   -- what has arrived and nobody has looked at
    posted = false,
    paused = false,
    blocked = false,              -- the system takes nothing by itself
    mute = false,                 -- nor ever will
    written = HANDSHAKE, sent = 0,
    frames = {},                  -- of the stream, not yet handed over whole
    messages = {},                -- all that were ever sent
    most = 0,                     -- bytes handed over, also when all is told
    content = 0,
    unsent = 0,                   -- sent after the end
    epoch = -1, epochContent = 0,
    highWater = options.highWaterMark or 1024 * 1024,
    mostBuffered = options.maxBufferedAmount or 64 * 1024 * 1024,
    wantDrain = false,
    received = nil,
    pings = 0, pinged = nil,
    deadline = world.time + (options.handshakeTimeout or 10000),
  }
  local socket = Socket.new(s)
  world.sockets[#world.sockets + 1] = socket
  world.live[#world.live + 1] = s
  return socket
end

-- --- timers --------------------------------------------------------------------------------------------------

local function addTimer(world, fn, ms, interval, ...)
  local arguments = select("#", ...) > 0 and { n = select("#", ...), ... }
  world.order = world.order + 1
  local timer = {
    due = world.time + (interval or ms),
    order = world.order,
    interval = interval,
    call = arguments and function() fn(unpack(arguments, 1, arguments.n)) end or function() fn() end,
  }
  world.timers[#world.timers + 1] = timer
  return timer
end

local function dropTimer(world, timer)
  for i = 1, #world.timers do
    if world.timers[i] == timer then
      remove(world.timers, i)
      return
    end
  end
end

-- As in src/lua_timer.c: when it rings, it is set anew at once.
local function setAlarm(world, alarm, ms)
  dropTimer(world, alarm)
  world.order = world.order + 1
  alarm.due, alarm.order, alarm.again = world.time + ms, world.order, 10
  world.timers[#world.timers + 1] = alarm
end

-- The earliest timer that is due and was there before this turn.
local function dueTimer(world, last)
  local first
  for _, timer in ipairs(world.timers) do
    if timer.due <= world.time and timer.order <= last
      and (not first or timer.due < first.due or timer.due == first.due and timer.order < first.order) then
      first = timer
    end
  end
  return first
end

-- --- turns ---------------------------------------------------------------------------------------------------

-- What is queued goes to the system, as far as that takes it.
local function flush(world)
  for _, s in ipairs(world.live) do
    if not s.blocked and s.written > s.sent then hand(s, s.written) end
  end
end

local function endTurn(world)
  flush(world)
  world.epoch = world.epoch + 1
  world.turning = false
end

-- An error that nobody took leaves the turn; what was not told stays for the next.
local function leave(world, problem)
  endTurn(world)
  error(problem, 0)
end

local function fireTimers(world, last)
  local timer = dueTimer(world, last)
  while timer do
    if timer.again then
      setAlarm(world, timer, timer.again)
    elseif timer.interval then
      timer.due = timer.due + timer.interval
      if timer.due <= world.time then timer.due = world.time + timer.interval end
    else
      dropTimer(world, timer)
    end
    local fine, problem = core.attempt(nil, timer.call)
    world:watch()
    if not fine then leave(world, problem) end
    timer = dueTimer(world, last)
  end
end

local function expire(world)
  for _, s in ipairs(world.live) do
    if s.deadline and s.deadline <= world.time then
      s.mute = true
      finish(s, s.phase == "connecting" and { code = "timeout" } or nil)
    end
  end
end

local function serve(world, s)
  local happened = nextEvent(s)
  while happened do
    local fine, problem = Socket.try(s.object, happened)
    if happened.type == "close" then bury(s) end
    world:watch()
    if not fine then
      post(s)
      leave(world, problem)
    end
    happened = nextEvent(s)
  end
end

--- One turn: due timers, then what has come to the sockets. Work made in it runs in the next.
-- Raises what a handler raised, unless lunawire.onerror took it.
function World:turn()
  assert(not self.turning, "a turn within a turn")
  flush(self)
  self.turning = true
  fireTimers(self, self.order)
  expire(self)
  for _ = 1, #self.posted do
    local s = remove(self.posted, 1)
    if not s then break end
    s.posted = false
    if not s.gone then serve(self, s) end
  end
  endTurn(self)
end

--- When something is due next: now, later, or nil: never.
function World:due()
  if self.posted[1] then return self.time end
  local first
  for _, timer in ipairs(self.timers) do
    if not first or timer.due < first then first = timer.due end
  end
  for _, s in ipairs(self.live) do
    if s.deadline and (not first or s.deadline < first) then first = s.deadline end
  end
  return first
end

--- Turns until nothing is due at this moment.
function World:settle()
  self:turn()
  for _ = 1, MOST_TURNS do
    local due = self:due()
    if not due or due > self.time then return end
    self:turn()
  end
  error("the world turns in circles", 2)
end

--- Time goes by.
function World:pass(ms)
  local last = self.time + (ms or 0)
  self:settle()
  local due = self:due()
  while due and due <= last do
    self.time = due
    self:settle()
    due = self:due()
  end
  self.time = last
end

--- How many timers are pending; a socket's own deadlines are not counted.
function World:count()
  return #self.timers
end

--- For how long each timer still waits, the shortest first.
function World:delays()
  local list = {}
  for i, timer in ipairs(self.timers) do list[i] = timer.due - self.time end
  table.sort(list)
  return list
end

--- The newest socket.
function World:last()
  return self.sockets[#self.sockets]
end

--- How many sockets have not told their end, and how many of these were not yet given up.
function World:alive()
  local told, wanted = 0, 0
  for _, s in ipairs(self.live) do
    told = told + 1
    if s.phase ~= "ended" then wanted = wanted + 1 end
  end
  return told, wanted
end

--- Called after each single thing that has happened: a spec may put its own here.
function World:watch() -- luacheck: ignore 212
end

function World.new(seed)
  local world = setmetatable({
    time = 1000,
    timers = {},
    order = 0,
    sockets = {},      -- all that were ever made
    live = {},         -- the states of those whose close has not been told
    posted = {},
    epoch = 0,
    turning = false,
    chance = Random.new(seed or 1),
  }, World)
  function world.now() return world.time end
  function world.random() return world.chance() end
  function world.setTimeout(fn, ms, ...) return addTimer(world, fn, ms, nil, ...) end
  function world.setInterval(fn, ms, ...) return addTimer(world, fn, nil, math.max(ms, 1), ...) end
  function world.clearTimeout(timer) if timer then dropTimer(world, timer) end end
  function world.alarm(fn, argument) return { call = function() fn(argument) end } end
  function world.setAlarm(alarm, ms) setAlarm(world, alarm, ms) end
  function world.flush() flush(world) end
  function world.WebSocket(...) return newSocket(world, ...) end
  return world
end

return World
