--- ReconnectingWebSocket: a WebSocket that comes back.
--
-- Each attempt is one WebSocket, whose whole life is told: `open`, messages, `error`, `close`. Then either that was
-- the end, and readyState is 3, or `reconnecting` follows and, after a wait, the next attempt. There is never more
-- than one WebSocket, nor more than one wait, for one object:
--
--                 constructor, reconnect()
--                          |
--                          v       open
--     +------------> connecting --------> open --------+
--     |                    |  failed       |   lost    |  close()
--     |  the time is over, |               |           v
--     |  reconnect()       v               v        closing
--     +---------------- waiting <----------+           |
--                          |                           |
--                          |  close(), or no retry     |  its close
--                          +-----------> closed <------+
--
-- What there is no memory for is done later: while something is under way the object's one alarm is set, and calls
-- `ring`, which goes on where an error has thrown out of it (see src/lua_timer.c). So changes come before calls, fields
-- are there from the beginning, and an attempt's end is taken in steps (`steps`). What cannot be repeated ends the
-- connection, which comes back.
--
-- @module lunawire.reconnect
local backoff = require "lunawire.backoff"
local core = require "lunawire.core"
local heartbeat = require "lunawire.heartbeat"
local occasion = require "lunawire.occasion"
local option = require "lunawire.option"
local outbox = require "lunawire.outbox"
local target = require "lunawire.target"
local task = require "lunawire.task"
core.ours()

local huge, max = math.huge, math.max
local remove = table.remove
local event, mistake = target.event, target.mistake
local keep, release = occasion.keep, occasion.release

local CONNECTING, OPEN, CLOSING, CLOSED = 0, 1, 2, 3

-- Steps of an attempt's end.
local NONE = 0    -- none is to be taken
local FAILURE = 1 -- its `error` is to be told, when there was no socket to tell it
local GATHER = 2  -- what it leaves is to be kept
local DECIDE = 3  -- whether another follows
local TELL = 4    -- its `close` is to be told
local WAIT = 5    -- the wait is to be settled
local NOTICE = 6  -- `reconnecting` is to be told

-- Answers to the handshake, and close codes, after which the same attempt would end the same way.
local fatalStatus = { [401] = true, [403] = true, [404] = true, [410] = true }
local fatalCode = { [1002] = true, [1010] = true }

local known = {
  { "minDelay", "duration", 1000 },
  { "maxDelay", "duration", 30000 },
  { "factor", "factor", 1.6 },
  { "jitter", "fraction", 0.5 },
  { "minUptime", "duration", 5000 },
  { "maxRetries", "limit", huge },
  { "maxQueuedMessages", "limit", 1000 },
  { "maxQueuedBytes", "limit", 16 * 1024 * 1024 },
  { "shouldReconnect", "function" },
  { "heartbeat", { "a table, true or false", function(value) return type(value) == "table" or type(value) == "boolean" end } },
}

local ReconnectingWebSocket

-- An attempt -----------------------------------------------------------------------------------------------------

local AGAIN = 10 -- ms until what has failed is tried again

--- What is under way will be gone on with, should an error throw out of it.
local function guard(state) state.world.setAlarm(state.alarm, AGAIN) end

local function clearAlarm(state) state.world.clearTimeout(state.alarm) end

--- Tells an event to everybody, once: if there is no memory for all of them, the next call goes on with the others.
local function tell(state, happened)
  local progress = state.progress
  local fine, problem = ReconnectingWebSocket.try(state.object, happened, progress)
  progress.entries, progress.done = false, 0
  keep(state.errors, fine, problem)
end

local function isUnreadable(problem) return type(problem) == "table" and problem.name == "NotReadableError" end

--- Hands a message to the socket there is. False when it has fallen behind; its `drain` will follow.
local function hand(state, message)
  local inner, flight = state.inner, state.flight
  flight:makeRoom() -- first: what has gone must be known of
  local go = inner:send(message.data, message.options)
  message.ends = inner.bytesWritten
  flight:put(message)
  if not go then state.full = true end
  return go
end

--- The first of the queue is a file that cannot be read any more: what was accepted and will not go is to be told.
local function giveUp(state, problem)
  local events = state.unreadable
  events[#events + 1] = event("error", {
    target = state.object, code = "file", message = "queued message: " .. problem.message,
  })
  state.lost = state.lost + state.queue:take().size
end

local function tellUnreadable(state)
  local events = state.unreadable
  while events[1] do
    tell(state, events[1])
    remove(events, 1)
  end
end

--- Hands the queue over as far as the socket takes it without falling behind; the rest waits for its `drain`. Tells
-- nobody anything; raises only when there is no memory, and then has lost nothing.
local function sendQueue(state)
  local inner = state.inner
  while state.queue.count > 0 and inner.readyState == OPEN and (state.stopped or not state.full) do
    local fine, problem = pcall(hand, state, state.queue:oldest())
    if fine then
      state.queue:take()
    elseif isUnreadable(problem) then
      giveUp(state, problem)
    else
      inner:terminate "send failed" -- what is queued goes over the next connection
      error(problem, 0)
    end
  end
end

local function isThrough(state) return state.queue.count == 0 and not state.full end

--- A sender that was told to wait, by this connection's socket or when there was none, may go on.
local function payDrain(state)
  if not state.owesDrain or state.phase ~= "open" or state.inner.readyState ~= OPEN then return end
  local drained = event("drain", { target = state.object })
  state.owesDrain, state.paying = false, true
  tell(state, drained)
  state.paying = false
end

--- Something of the connection is under way that cannot be done again.
local function begin(state)
  guard(state)
  state.busy = true
end

local function done(state)
  state.busy = false
  clearAlarm(state)
  release(state.errors)
end

--- It was not done: the connection ends for it.
local function breakOff(state)
  state.busy, state.opening = false, false
  if state.paying then state.owesDrain, state.paying = true, false end
  if state.inner then state.inner:terminate "not enough memory" end
end

local function onopen(state, opened)
  begin(state)
  state.phase, state.openedAt = "open", state.world.now()
  state.url = state.inner.url -- where redirects have led
  opened.target = state.object
  state.opening = true -- what the handler sends goes before what has waited: it may have to say who we are
  tell(state, opened)
  state.opening = false
  if state.phase == "open" then sendQueue(state) end
  tellUnreadable(state)
  if isThrough(state) then payDrain(state) end
  done(state)
end

local function ondrain(state)
  begin(state)
  state.full = false
  sendQueue(state)
  tellUnreadable(state)
  if isThrough(state) then payDrain(state) end
  done(state)
end

local function onerror(state, failed)
  state.failure = failed
  failed.target = state.object
  ReconnectingWebSocket.fire(state.object, failed)
end

local function forward(state, happened)
  local inner = state.inner
  happened.target = state.object
  state.flight:trim(inner.bytesSent) -- what has left by now need not be kept
  local told, fine, problem = pcall(ReconnectingWebSocket.try, state.object, happened, nil)
  if not told then
    inner:terminate "not enough memory" -- a message must not be missing among others
    error(fine, 0)
  end
  if not fine then core.raise(problem) end
end

local lose -- (state, closeEvent)

--- A socket that was not finished, for want of memory, is no more heard of.
local function listen(state, inner)
  local function on(fn)
    return function(happened)
      if state.inner == inner then return fn(state, happened) end
    end
  end
  inner.onopen, inner.ondrain, inner.onclose, inner.onerror = on(onopen), on(ondrain), on(lose), on(onerror)
  inner.onmessage = on(forward)
  inner.onping, inner.onpong = inner.onmessage, inner.onmessage
end

local function ask(value)
  if type(value) == "function" then return value() end
  return value
end

local function askBoth(state)
  state.asking = true
  return ask(state.address), ask(state.protocols)
end

local function newSocket(state, address, protocols)
  local inner = state.world.WebSocket(address, protocols, state.options)
  state.unborn = inner
  inner.binaryType = state.binaryType
  if state.paused then inner:pause() end
  if state.held then core.hold(inner, true) end
  listen(state, inner)
  if state.heartbeat then heartbeat.new(inner, state.heartbeat, state.world) end
  state.url = inner.url
  state.inner, state.unborn, state.full = inner, false, false
end

local function dropUnborn(state)
  local inner = state.unborn
  state.unborn = false
  if inner then inner:terminate() end
end

--- The next attempt, now. Raises nothing but a want of memory, since nobody may stand above who could take it; but the
-- first attempt, which is within the constructor, raises that its arguments are wrong.
local function connect(state, first)
  guard(state)
  state.step, state.closed = NONE, false
  state.phase, state.failure, state.openedAt, state.again = "connecting", false, false, false
  local fine, address, protocols = pcall(askBoth, state)
  state.asking = false
  if state.stopped then return end -- by who was asked
  local asked, problem = fine, address
  if fine then fine, problem = pcall(newSocket, state, address, protocols) end
  if fine then return clearAlarm(state) end
  dropUnborn(state)
  if first and asked then
    clearAlarm(state)
    error(problem, 0)
  end
  state.unmade, state.problem = true, problem
  state.world.setAlarm(state.alarm, 0)
end

-- Its end ----------------------------------------------------------------------------------------------------------

-- The end of an attempt is taken in steps. Each can be repeated when an error has thrown out of it; then `step` still
-- names it.

--- What will follow this close: true for another attempt; nil: the program's function is to say.
local function decide(state, closed)
  local failure = state.failure
  if state.stopped then return false end
  if state.again then return true end
  if state.retryCount >= state.settings.maxRetries then return false end
  local again = not (fatalCode[closed.code] or failure and (fatalStatus[failure.status] or failure.code == "protocol"))
  local should = state.settings.shouldReconnect
  if not should then return again end
  local answer
  local fine, problem = core.attempt(state.object, function() answer = should(closed, state.retryCount + 1) end)
  if state.stopped or state.again then again = not state.stopped -- it has said so itself
  elseif answer ~= nil then again = answer and true or false end
  return again, fine, problem
end

--- What was accepted and will never be sent counts on, and is kept no longer.
local function dropQueue(state)
  state.lost = state.lost + state.queue.bytes
  state.queue:clear()
end

local steps = {}

--- The address could not be told, or was none: an attempt that failed before it began.
steps[FAILURE] = function(state)
  tell(state, state.failure)
  state.step = GATHER
end

--- What the attempt accepted and did not hand to the system waits for the next.
steps[GATHER] = function(state, closed)
  local inner = state.inner
  tellUnreadable(state)
  if inner then
    state.flight:trim(inner.bytesSent) -- of the others none was ever whole on the other side
    state.queue:takeBack(state.flight)
    state.protocol, state.extensions = inner.protocol, inner.extensions
    state.lastReceived = inner.lastReceived
    state.bytesWritten, state.bytesSent = inner.bytesWritten, inner.bytesSent
  end
  closed.target, closed.error, closed.unsent = state.object, state.failure or nil, state.queue.bytes
  local now = state.world.now()
  state.inner, state.ending, state.phase, state.step = nil, true, "waiting", DECIDE
  if state.openedAt and now - state.openedAt >= state.settings.minUptime then state.retryCount = 0 end
end

steps[DECIDE] = function(state, closed)
  local again, fine, problem = decide(state, closed)
  closed.unsent, state.ending = state.queue.bytes, false
  state.phase, state.step = again and "waiting" or "closed", TELL
  if not again then dropQueue(state) end
  if fine == false then keep(state.errors, fine, problem) end
end

steps[TELL] = function(state, closed)
  tell(state, closed)
  if state.step ~= TELL then return end -- its handler has called reconnect()
  if state.phase == "waiting" then
    state.step = WAIT
  else
    state.step, state.closed = NONE, false
    clearAlarm(state)
  end
end

--- Waits for the next attempt, and says so.
steps[WAIT] = function(state, closed)
  local world = state.world
  local delay = state.again and 0
    or backoff(state.settings, state.retryCount + 1, closed, state.failure or nil, world.random)
  state.notice = event("reconnecting", { target = state.object, attempt = state.retryCount + 1, delay = delay })
  state.again = false
  state.retryCount = state.retryCount + 1
  state.due = world.now() + delay
  state.step = NOTICE
end

steps[NOTICE] = function(state)
  state.world.setAlarm(state.alarm, max(0, state.due - state.world.now()))
  tell(state, state.notice)
  if state.step ~= NOTICE then return end -- its handler has called reconnect() or close()
  state.step, state.closed, state.notice = NONE, false, false
end

--- Goes on with the steps.
local function goOn(state)
  while state.step ~= NONE do steps[state.step](state, state.closed) end
  release(state.errors)
end

local function start(state, step, closed)
  guard(state)
  state.step, state.closed = step, closed
  state.progress.entries, state.progress.done = false, 0 -- what was told of this connection and not to all
  return goOn(state)
end

--- An attempt has ended, opened or not.
function lose(state, closed)
  if state.busy then breakOff(state) end
  return start(state, GATHER, closed)
end

local function isLack(problem) return type(problem) == "string" and problem:find("not enough memory", 1, true) end

local function failUnmade(state)
  local problem = state.problem
  local message = "connect: " .. tostring(type(problem) == "table" and problem.message or problem)
  local failed = event("error", { target = state.object, message = message, code = "url" })
  if isLack(problem) then failed.code = "memory" end
  local closed = event("close", { code = 1006, reason = "", wasClean = false })
  state.unmade, state.problem = false, false
  state.failure, state.ending = failed, true
  return start(state, FAILURE, closed)
end

--- close() between two attempts: nothing is there to be closed, but its end is told.
local function tellEnd(state)
  local closed = event("close", {
    target = state.object, code = 1006, reason = state.reason, wasClean = false, unsent = state.unsent,
  })
  state.untold = false
  return start(state, TELL, closed)
end

--- The alarm: a wait is over, something is to be told that could not be told within a call, or there was no memory for
-- something.
local function ring(state)
  if state.asking then return end -- a url function that turns the loop
  if state.step == NOTICE then state.step = NONE end -- not all have heard of this wait, which is over
  if state.step ~= NONE then return goOn(state) end
  if state.untold then return tellEnd(state) end
  if state.unmade then return failUnmade(state) end
  if state.busy then breakOff(state) end
  if state.unreadable[1] and state.inner then tellUnreadable(state) end
  if state.phase == "waiting" or state.phase == "connecting" and not state.inner then
    dropUnborn(state)
    return connect(state)
  end
  clearAlarm(state)
  release(state.errors)
end

-- Members ----------------------------------------------------------------------------------------------------------

local members, setters, methods = {}, {}, { CONNECTING = CONNECTING, OPEN = OPEN, CLOSING = CLOSING, CLOSED = CLOSED }

function members.url(state) return state.url end

function members.readyState(state)
  if state.phase == "closed" then return CLOSED end
  if state.phase == "closing" then return CLOSING end
  if state.phase == "open" then return state.inner.readyState == CLOSED and CLOSING or state.inner.readyState end
  return CONNECTING
end

--- A member of the socket there is, or as it was on the last one.
local function ofSocket(name)
  members[name] = function(state)
    if state.inner then return state.inner[name] end
    return state[name]
  end
end
ofSocket "protocol"
ofSocket "extensions"
ofSocket "lastReceived"
ofSocket "bytesWritten"
ofSocket "bytesSent"

function members.lastAlive(state) return state.inner and state.inner.lastAlive or state.lastReceived end
function members.isPaused(state) return state.paused or state.held end
function members.binaryType(state) return state.binaryType end
function members.retryCount(state) return state.retryCount end
function members.queuedMessages(state) return state.queue.count end

function members.bufferedAmount(state)
  return state.queue.bytes + state.lost + (state.inner and state.inner.bufferedAmount or 0)
end

function setters.binaryType(state, value)
  if value ~= "string" and value ~= "arraybuffer" and value ~= "blob" then
    mistake("TypeError", "binaryType: \"string\", \"arraybuffer\" or \"blob\" expected, got "
      .. (type(value) == "string" and value or target.typename(value)))
  end
  if state.inner then state.inner.binaryType = value end
  state.binaryType = value
end

--- What is queued must not change with the caller's table.
local function copied(options)
  if type(options) ~= "table" then return options end
  local copy = {}
  for name, value in pairs(options) do copy[name] = value end
  return copy
end

--- A message beyond this would end every connection it is given to.
local function checkSize(state, bytes)
  local most = state.options.maxBufferedAmount or 64 * 1024 * 1024
  if bytes > most then
    mistake("QuotaExceededError", ("send: %d bytes are too many for a message (option \"maxBufferedAmount\")"):format(bytes))
  end
end

--- Bytes queued here and in the socket are under the high-water mark. If not, a `drain` is owed.
local function mayGoOn(state)
  local queued = state.queue.held + (state.inner and state.inner.bufferedAmount or 0)
  local go = queued < (state.options.highWaterMark or 1024 * 1024)
  if not go then state.owesDrain = true end
  return go
end

local function enqueue(state, message)
  local queue, settings = state.queue, state.settings
  if queue.count >= settings.maxQueuedMessages then
    mistake("QuotaExceededError", ("send: %d messages are queued already (option \"maxQueuedMessages\")"):format(queue.count))
  end
  if queue.held + message.held > settings.maxQueuedBytes then
    mistake("QuotaExceededError", ("send: %d bytes do not fit beside the %d that are queued (option \"maxQueuedBytes\")")
      :format(message.held, queue.held))
  end
  queue:put(message)
end

--- What is kept for a send, now or later. Of a string that goes now the socket itself will check what it is.
local function newMessage(data, options, isString)
  local size, held
  if isString then size, held = #data, #data else size, held = core.messageSize(data, options) end
  return { data = core.snapshot(data), options = copied(options), size = size, held = held, ends = 0 }
end

--- Sends now, or as soon as there is a connection. See WebSocket's; raises QuotaExceededError when the queue is full.
function methods.send(object, data, options)
  local state = ReconnectingWebSocket.state(object)
  local inner = state.inner
  if state.phase == "open" and inner.readyState == OPEN and (state.queue.count == 0 or state.opening) then
    local message = newMessage(data, options, type(data) == "string")
    checkSize(state, message.held)
    state.flight:trim(inner.bytesSent)
    local go = hand(state, message)
    if not go then state.owesDrain = true end -- also when this connection is lost before its own
    return go
  end
  local message = newMessage(data, options)
  if state.stopped or state.phase == "closed" then
    state.lost = state.lost + message.size
    return false
  end
  checkSize(state, message.held)
  enqueue(state, message)
  return mayGoOn(state)
end

--- Forgets what is queued. For a layer above that sends again by itself what did not arrive: called in the `close` of
-- a connection, whose unsent messages are queued again by then. Returns how many bytes that were.
function methods.clearQueue(object)
  local state = ReconnectingWebSocket.state(object)
  local bytes = state.queue.bytes
  state.queue:clear()
  return bytes
end

--- Ends it for good, in every state. What is queued goes first if there is a connection; else `close` says how much
-- was `unsent`.
function methods.close(object, code, reason)
  local state = ReconnectingWebSocket.state(object)
  core.checkClose(code, reason)
  if state.stopped then return end
  state.stopped, state.paused, state.held = true, false, false
  if state.phase == "closed" then return end
  if state.inner then
    local fine, problem = true, nil
    if state.phase == "open" then fine, problem = pcall(sendQueue, state) end
    state.phase = "closing"
    state.inner:close(code, reason)
    if state.unreadable[1] then state.world.setAlarm(state.alarm, 0) end -- nothing is told inside a call
    if not fine then error(problem, 0) end
  elseif state.ending then
    state.phase = "closing" -- its close is about to be told
  else
    state.reason, state.unsent = reason or "", state.queue.bytes
    dropQueue(state)
    state.phase, state.unmade = "closed", false
    if state.step == TELL then return end -- its close is being told
    state.step, state.closed, state.untold = NONE, false, true
    state.world.setAlarm(state.alarm, 0)
  end
end

--- Connects anew, now: what there is (an attempt, a connection, a wait) is given up. Returns true, or false once
-- close() was called.
function methods.reconnect(object)
  local state = ReconnectingWebSocket.state(object)
  if state.stopped then return false end
  state.retryCount = 0
  if state.asking then return true end -- it is under way
  if state.ending then
    state.again = true
  elseif not state.inner then
    connect(state)
  elseif not state.again then
    state.again = true
    state.inner:terminate "reconnect"
  end
  return not state.stopped -- by the url function
end

--- Drops the connection there is, at once; then it comes back, as after any loss.
function methods.terminate(object, reason)
  local state = ReconnectingWebSocket.state(object)
  if state.inner then state.inner:terminate(reason) end
end

function methods.ping(object, data)
  local state = ReconnectingWebSocket.state(object)
  if state.inner then return state.inner:ping(data) end
  if state.phase ~= "closed" then mistake("InvalidStateError", "ping: the connection is not open") end
end

function methods.pause(object)
  local state = ReconnectingWebSocket.state(object)
  state.paused = true
  if state.inner then state.inner:pause() end
end

function methods.resume(object)
  local state = ReconnectingWebSocket.state(object)
  state.paused = false
  if state.inner then state.inner:resume() end
end

--- Its inbox is full, or has room again.
methods[task.HOLD] = function(object, yes)
  local state = ReconnectingWebSocket.state(object)
  state.held = yes and not state.stopped
  if state.inner then core.hold(state.inner, state.held) end
end

methods.receive, methods.messages = task.receive, task.messages

--- Waits until a send may go on: now, unless the last was answered with false and no `drain` has been told since.
function methods.drain(object, timeout)
  return task.drain(object, function() return ReconnectingWebSocket.state(object).owesDrain end, timeout)
end

local stateNames = { [0] = "connecting", "open", "closing", "closed" }

ReconnectingWebSocket = target.class {
  name = "ReconnectingWebSocket",
  events = { "open", "message", "error", "close", "ping", "pong", "drain", "reconnecting" },
  members = members,
  setters = setters,
  methods = methods,
  tostring = function(state)
    local name = state.phase == "waiting" and "waiting" or stateNames[members.readyState(state)]
    return ("ReconnectingWebSocket (%s): %s"):format(name, state.url)
  end,
}

-- Constructor --------------------------------------------------------------------------------------------------------

--- Options `heartbeat`: false: none; true, nil: as it comes; a table: checked here, at once.
local function readHeartbeat(value)
  if value == false then return nil end
  local options = type(value) == "table" and copied(value) or {}
  heartbeat.read(options)
  return options
end

--- A WebSocket that comes back. `url` and `protocols` may be functions, asked at each attempt.
-- Raises SyntaxError for a URL that does not parse, TypeError for options that are wrong.
local function new(world, url, protocols, options)
  local settings, passed = option.read("ReconnectingWebSocket", options, known, core.clientOptions)
  local state = {
    world = world,              -- now, random, timers, flush and WebSocket: specs have their own
    address = url,              -- as given: a string or a function
    protocols = protocols,
    settings = settings,
    options = passed,           -- of each WebSocket
    heartbeat = readHeartbeat(settings.heartbeat),
    phase = "connecting",       -- connecting, open, closing, waiting, closed
    inner = nil,                -- the WebSocket, while there is one
    alarm = nil,                -- the wait for the next attempt; and what is under way goes on by it (below)
    step = NONE,                -- of the end of an attempt
    closed = false,             -- its `close` event
    notice = false,             -- its `reconnecting` event
    due = 0,                    -- when the wait is over
    progress = { entries = false, done = 0 }, -- to whom the event at hand was told
    errors = occasion.new(),    -- of those it was told to
    busy = false,               -- something of the connection is under way that cannot be repeated
    paying = false,             -- a drain that was owed is being told
    unborn = false,             -- a WebSocket that is being made
    unmade = false,             -- it could not be made: why is `problem`
    problem = false,
    untold = false,             -- close() was called between attempts, and its end is not yet told
    reason = "",                -- for that
    unsent = 0,
    stopped = false,            -- close() was called
    again = false,              -- reconnect() was called: no wait this time
    opening = false,            -- `open` is being told
    asking = false,             -- url and protocols are being asked for
    ending = false,             -- an attempt is over, and its `close` not yet told
    full = false,               -- the socket has fallen behind, and will tell its drain
    owesDrain = false,          -- a send was answered with false, and no drain has been told since
    openedAt = false,           -- when the attempt there is, or was last, came to be open
    failure = false,            -- its `error` event
    retryCount = 0,             -- attempts since the last connection that lasted
    paused = false,             -- by the program
    held = false,               -- by the inbox of who receives, which is full
    binaryType = "string",
    queue = outbox.new(),       -- accepted while there was no connection
    flight = outbox.new(),      -- given to the WebSocket, and perhaps not yet to the system
    unreadable = {},            -- `error` events of queued files that could not be read, not yet told
    lost = 0,                   -- bytes that were accepted and will never be sent
    url = type(url) == "string" and url or "",
    protocol = "",
    extensions = "",
    lastReceived = nil,
    bytesWritten = 0,
    bytesSent = 0,
  }
  local object = ReconnectingWebSocket.new(state)
  state.alarm = world.alarm(ring, state)
  connect(state, type(url) ~= "function")
  return object
end

--- The class over a world of one's own: `now`, `random`, `setTimeout`, `clearTimeout`, `setInterval`, `alarm`, `setAlarm`,
-- `flush`, `WebSocket`.
local function class(world)
  local metatable = { __call = function(_, ...) return new(world, ...) end }
  return setmetatable({ CONNECTING = CONNECTING, OPEN = OPEN, CLOSING = CLOSING, CLOSED = CLOSED }, metatable)
end

return { class = class, ReconnectingWebSocket = class(core) }
