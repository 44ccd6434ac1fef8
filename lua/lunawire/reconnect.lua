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

local huge = math.huge
local event, mistake = target.event, target.mistake
local keep, release = occasion.keep, occasion.release

local CONNECTING, OPEN, CLOSING, CLOSED = 0, 1, 2, 3

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

local lose -- (state, closeEvent)

local function clearTimer(state)
  if state.timer then state.world.clearTimeout(state.timer) end
  state.timer = nil
end

local function isUnreadable(problem) return type(problem) == "table" and problem.name == "NotReadableError" end

--- Hands a message to the socket there is. False when it has fallen behind; its `drain` will follow.
local function hand(state, message)
  local inner = state.inner
  local go = inner:send(message.data, message.options)
  message.ends = inner.bytesWritten
  state.flight:put(message)
  if not go then state.full = true end
  return go
end

--- A file that was queued cannot be read any more: what was accepted and will not go is to be told.
local function giveUp(state, message, problem)
  state.lost = state.lost + message.size
  state.unreadable[#state.unreadable + 1] = event("error", {
    target = state.object, code = "file", message = "queued message: " .. problem.message,
  })
end

local function tellUnreadable(state, errors)
  local events = state.unreadable
  state.unreadable = {}
  for i = 1, #events do keep(errors, ReconnectingWebSocket.try(state.object, events[i])) end
end

local function tellUnreadableAlone(state)
  local errors = {}
  tellUnreadable(state, errors)
  release(errors)
end

--- Hands the queue over as far as the socket takes it without falling behind; the rest waits for its `drain`. Tells
-- nobody anything; raises only when there is no memory, and then has lost nothing.
local function sendQueue(state)
  local inner = state.inner
  while state.queue.count > 0 and inner.readyState == OPEN and (state.stopped or not state.full) do
    local message = state.queue:take()
    local fine, problem = pcall(hand, state, message)
    if not fine and isUnreadable(problem) then
      giveUp(state, message, problem)
    elseif not fine then
      state.queue:putBack { message }
      inner:terminate "send failed" -- what is queued goes over the next connection
      error(problem, 0)
    end
  end
end

local function isThrough(state) return state.queue.count == 0 and not state.full end

--- A sender that was told to wait, by this connection's socket or when there was none, may go on.
local function payDrain(state)
  if not state.owesDrain or state.phase ~= "open" or state.inner.readyState ~= OPEN then return true end
  state.owesDrain = false
  return ReconnectingWebSocket.try(state.object, event("drain", { target = state.object }))
end

local function onopen(state, opened)
  state.phase, state.openedAt = "open", state.world.now()
  state.url = state.inner.url -- where redirects have led
  opened.target = state.object
  state.opening = true -- what the handler sends goes before what has waited: it may have to say who we are
  local errors = {}
  keep(errors, ReconnectingWebSocket.try(state.object, opened))
  state.opening = false
  if state.phase == "open" then sendQueue(state) end
  tellUnreadable(state, errors)
  if isThrough(state) then keep(errors, payDrain(state)) end
  release(errors)
end

local function ondrain(state, drained)
  local errors = {}
  state.full = false
  sendQueue(state)
  tellUnreadable(state, errors)
  if isThrough(state) and state.owesDrain then
    state.owesDrain = false
    drained.target = state.object
    keep(errors, ReconnectingWebSocket.try(state.object, drained))
  end
  release(errors)
end

local function forward(state)
  local object, fire = state.object, ReconnectingWebSocket.fire
  return function(happened)
    happened.target = object
    state.flight:trim(state.inner.bytesSent) -- what has left by now need not be kept
    fire(object, happened)
  end
end

local function listen(state, inner)
  inner.onopen = function(opened) onopen(state, opened) end
  inner.ondrain = function(drained) ondrain(state, drained) end
  inner.onclose = function(closed) lose(state, closed) end
  inner.onerror = function(failed)
    state.failure = failed
    failed.target = state.object
    ReconnectingWebSocket.fire(state.object, failed)
  end
  inner.onmessage = forward(state)
  inner.onping = forward(state)
  inner.onpong = forward(state)
end

local function ask(value)
  if type(value) == "function" then return value() end
  return value
end

local function askBoth(state)
  return ask(state.address), ask(state.protocols)
end

local function newSocket(state, address, protocols)
  local inner = state.world.WebSocket(address, protocols, state.options)
  state.inner, state.url, state.full = inner, inner.url, false
  inner.binaryType = state.binaryType
  if state.paused then inner:pause() end
  if state.held then core.hold(inner, true) end
  listen(state, inner)
  if state.heartbeat then heartbeat.new(inner, state.heartbeat, state.world) end
end

--- The address could not be told, or was none: an attempt that failed before it began.
local function failUnborn(state, problem)
  local message = "connect: " .. tostring(type(problem) == "table" and problem.message or problem)
  state.timer = nil
  state.failure = event("error", { target = state.object, message = message, code = "url" })
  state.ending = true
  lose(state, event("close", { code = 1006, reason = "", wasClean = false }),
    ReconnectingWebSocket.try(state.object, state.failure))
end

--- The next attempt, now. Raises nothing, since nobody may stand above who could take it; but the first attempt, which
-- is within the constructor, raises that its arguments are wrong.
local function connect(state, first)
  clearTimer(state)
  state.phase, state.failure, state.openedAt, state.again = "connecting", nil, nil, false
  state.asking = true
  local fine, address, protocols = pcall(askBoth, state)
  state.asking = false
  if state.stopped then return end -- by who was asked
  local problem = address
  if fine and first then
    newSocket(state, address, protocols)
  elseif fine then
    fine, problem = pcall(newSocket, state, address, protocols)
  end
  if not fine then state.timer = state.world.setTimeout(failUnborn, 0, state, problem) end
end

-- Its end ----------------------------------------------------------------------------------------------------------

--- What will follow this close: true for another attempt.
local function decide(state, closed, errors)
  local failure, should = state.failure, state.settings.shouldReconnect
  if state.stopped then return false end
  if state.again then return true end
  if state.retryCount >= state.settings.maxRetries then return false end
  local again = not (fatalCode[closed.code] or failure and (fatalStatus[failure.status] or failure.code == "protocol"))
  if not should then return again end
  local answer
  keep(errors, core.attempt(state.object, function() answer = should(closed, state.retryCount + 1) end))
  if state.stopped or state.again then return not state.stopped end -- it has said so itself
  if answer == nil then return again end
  return answer and true or false
end

--- Waits for the next attempt, and says so.
local function wait(state, closed)
  local delay = state.again and 0 or backoff(state.settings, state.retryCount + 1, closed, state.failure, state.world.random)
  state.again = false
  state.retryCount = state.retryCount + 1
  state.timer = state.world.setTimeout(connect, delay, state)
  return ReconnectingWebSocket.try(state.object,
    event("reconnecting", { target = state.object, attempt = state.retryCount, delay = delay }))
end

--- What was accepted and will never be sent counts on, and is kept no longer.
local function dropQueue(state)
  state.lost = state.lost + state.queue.bytes
  state.queue:clear()
end

--- An attempt has ended, opened or not. What it accepted and did not hand to the system waits for the next.
function lose(state, closed, ...)
  local errors, world = {}, state.world
  if select("#", ...) > 0 then keep(errors, ...) end
  tellUnreadable(state, errors)
  if state.inner then
    state.flight:trim(state.inner.bytesSent) -- of the others none was ever whole on the other side
    state.queue:putBack(state.flight:takeAll())
    state.protocol, state.extensions = state.inner.protocol, state.inner.extensions
    state.lastReceived = state.inner.lastReceived
    state.bytesWritten, state.bytesSent = state.inner.bytesWritten, state.inner.bytesSent
  end
  state.inner, state.ending, state.phase = nil, true, "waiting"
  if state.openedAt and world.now() - state.openedAt >= state.settings.minUptime then state.retryCount = 0 end
  closed.target, closed.error, closed.unsent = state.object, state.failure, state.queue.bytes
  local again = decide(state, closed, errors)
  closed.unsent, state.ending = state.queue.bytes, false
  state.phase = again and "waiting" or "closed"
  if not again then dropQueue(state) end
  keep(errors, ReconnectingWebSocket.try(state.object, closed))
  if state.phase == "waiting" then keep(errors, wait(state, closed)) end
  release(errors)
end

--- close() between two attempts: nothing is there to be closed, but its end is told.
local function tellEnd(state, reason, unsent)
  ReconnectingWebSocket.fire(state.object,
    event("close", { target = state.object, code = 1006, reason = reason, wasClean = false, unsent = unsent }))
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
  return { data = core.snapshot(data), options = copied(options), size = size, held = held }
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
    if state.phase == "open" then sendQueue(state) end
    if #state.unreadable > 0 then state.world.setTimeout(tellUnreadableAlone, 0, state) end -- nothing is told inside a call
    state.phase = "closing"
    state.inner:close(code, reason)
  elseif state.ending then
    state.phase = "closing" -- its close is about to be told
  else
    local unsent, untold = state.queue.bytes, state.timer or state.phase == "connecting"
    clearTimer(state)
    dropQueue(state)
    state.phase = "closed"
    if untold then state.world.setTimeout(tellEnd, 0, state, reason or "", unsent) end -- else its close is being told
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
    timer = nil,                -- the wait for the next attempt
    stopped = false,            -- close() was called
    again = false,              -- reconnect() was called: no wait this time
    opening = false,            -- `open` is being told
    asking = false,             -- url and protocols are being asked for
    ending = false,             -- an attempt is over, and its `close` not yet told
    full = false,               -- the socket has fallen behind, and will tell its drain
    owesDrain = false,          -- a send was answered with false, and no drain has been told since
    openedAt = nil,             -- when the attempt there is, or was last, came to be open
    failure = nil,              -- its `error` event
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
  connect(state, type(url) ~= "function")
  return object
end

--- The class over a world of one's own: `now`, `random`, `setTimeout`, `clearTimeout`, `setInterval`, `flush`, `WebSocket`.
local function class(world)
  local metatable = { __call = function(_, ...) return new(world, ...) end }
  return setmetatable({ CONNECTING = CONNECTING, OPEN = OPEN, CLOSING = CLOSING, CLOSED = CLOSED }, metatable)
end

return { class = class, ReconnectingWebSocket = class(core) }
