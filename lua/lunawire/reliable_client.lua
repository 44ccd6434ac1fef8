--- The client's end of a delivery that survives: one session over a WebSocket, or over one after the other when the
-- socket is a ReconnectingWebSocket.
-- @module lunawire.reliable_client
local core = require "lunawire.core"
local links = require "lunawire.reliable_link"
local occasion = require "lunawire.occasion"
local option = require "lunawire.option"
local target = require "lunawire.target"
core.ours()

local huge, max = math.huge, math.max
local keep, release = occasion.keep, occasion.release
local event, mistake, typename = target.event, target.mistake, target.typename

local KiB = 1024
local MiB = 1024 * KiB

local known = {
  { "greeting", { "a string or a function", function(value)
    return type(value) == "string" or type(value) == "function"
  end }, "" },
  { "session", { "16 to 64 of A-Z a-z 0-9 _ -", function(value)
    return type(value) == "string" and #value >= 16 and #value <= 64 and not value:find "[^A-Za-z0-9_-]"
  end } },
  { "maxQueuedMessages", "count", 1000 },
  { "maxQueuedBytes", "count", 16 * MiB },
  { "maxMessageSize", "count", MiB - 32 }, -- a server of ours takes 1 MiB, and the header line needs 25 bytes
  { "maxAge", "positive", huge },
  { "helloTimeout", "positive", 10000 },
}

-- Close codes after which the same would happen again: nobody comes back.
local final = {
  [1009] = { "tooBig", "the server takes no message of this size" },
  [3000] = { "protocol", "the server says we broke the protocol" },
  [3001] = { "taken", "another connection took this session over" },
}

local Link -- the class, below

-- Receipts ---------------------------------------------------------------------------------------------------------

--- Tells who waits what became of this message; `problem` nil: acknowledged.
local function settle(state, errors, entry, problem)
  local receipt = entry.receipt
  receipt.acknowledged, receipt.error = problem == nil, problem
  if entry.fn then keep(errors, core.attempt(state.object, entry.fn, receipt)) end
  if receipt.ondone ~= nil then keep(errors, core.attempt(state.object, receipt.ondone, receipt)) end
end

--- The same for all that are in `gone`. An error of memory leaves there who has not heard; the next settlement tells
-- them.
local function settleGone(state, errors)
  local gone = state.gone
  while gone and gone[state.place] do
    local entry = gone[state.place]
    state.place = state.place + 1
    settle(state, errors, entry, state.problem or nil)
  end
  state.gone = false
end

local function settleAll(state, errors, entries, problem)
  settleGone(state, errors)
  state.gone, state.place, state.problem = entries, 1, problem or false
  settleGone(state, errors)
end

local function tell(state, errors, kind, fields)
  fields = fields or {}
  fields.target = state.object
  keep(errors, Link.try(state.object, event(kind, fields)))
end

--- There is no memory to go on with this line: another may do better.
local function breakOff(state, problem)
  state.socket:terminate "not enough memory"
  error(problem, 0)
end

-- Alarms (src/lua_timer.c) are there from the beginning. To set and to stop one takes no memory, and one that rings
-- does so again while it is neither set anew nor stopped: until what it is for is done.

-- Age --------------------------------------------------------------------------------------------------------------

local function arm(state)
  local link, maxAge = state.link, state.options.maxAge
  if maxAge == huge then return end
  local oldest = link.queue[link.first]
  if not oldest then
    core.clearTimeout(state.ageAlarm)
    state.aging = false
  elseif not state.aging then
    core.setAlarm(state.ageAlarm, max(0, oldest.at + maxAge - core.now()))
    state.aging = true
  end
end

--- Gives up what is too old. The alarm is not moved by every acknowledgement; it looks back when it rings.
local function expire(state)
  local errors = occasion.new()
  local problem = core.Error("TimeoutError", ("not acknowledged within %g ms"):format(state.options.maxAge))
  local gone = state.link:expire(core.now() - state.options.maxAge)
  state.aging = false
  core.clearTimeout(state.ageAlarm)
  arm(state)
  if gone[1] then
    settleAll(state, errors, gone, problem)
    if state.link:count() == 0 then tell(state, errors, "drain") end
  end
  release(errors)
end

-- The end ----------------------------------------------------------------------------------------------------------

--- Decides that this link will not go on: how is told once the socket has closed.
local function conclude(state, name, message)
  state.outcome = state.outcome or core.Error(name, message)
  state.connected = false
end

--- The socket is closed for good. Without memory the alarm comes here again: what is told is not told twice.
local function finish(state)
  if state.finished then return core.clearTimeout(state.lookAlarm) end
  local errors, closing = state.errors, state.closing
  state.connected = false
  core.clearTimeout(state.ageAlarm)
  core.clearTimeout(state.helloAlarm)
  core.clearTimeout(state.ackAlarm)
  state.link:begin()
  state.outcome = state.outcome or core.Error("NetworkError", "the connection ended, and does not come back")
  state.last = state.last or event("close", {
    target = state.object, code = closing and closing.code or 1006, reason = closing and closing.reason or "",
    wasClean = closing and closing.wasClean or false,
  })
  settleGone(state, errors)
  local entry = state.link:drop()
  while entry do
    settle(state, errors, entry, state.outcome)
    entry = state.link:drop()
  end
  local fine, problem = Link.try(state.object, state.last, state.progress)
  state.finished = true
  core.clearTimeout(state.lookAlarm)
  keep(errors, fine, problem)
  release(errors)
end

--- Whether a socket that closed comes back is known a turn later, whoever heard its `close` first.
local function look(state)
  if state.socket.readyState == 3 then return finish(state) end
  core.clearTimeout(state.lookAlarm)
end

local function lookLater(state) core.setAlarm(state.lookAlarm, 0) end

-- What the socket says ---------------------------------------------------------------------------------------------

--- The server is broken: it hears so, and we stop.
local function refuse(state, errors, reason)
  conclude(state, "NetworkError", "the line does not follow the protocol: " .. reason)
  state.socket:close(3000, reason)
  tell(state, errors, "error", { code = "protocol", message = reason })
end

--- The program's, which may be wrong.
local function askGreeting(state)
  local greeting = state.options.greeting
  if type(greeting) == "function" then greeting = greeting() end
  if type(greeting) ~= "string" then
    mistake("TypeError", "greeting: a string expected, got " .. typename(greeting))
  end
  return greeting
end

local function greet(state, errors)
  local socket = state.socket
  if socket.protocol ~= links.protocol then
    return refuse(state, errors, ("%s was not agreed on: is it among the protocols of this WebSocket, and of the server?")
      :format(links.protocol))
  end
  core.setAlarm(state.helloAlarm, state.options.helloTimeout)
  local fine, greeting = pcall(askGreeting, state)
  if not fine then -- no hello goes out: the alarm ends the line
    return keep(errors, false, greeting)
  end
  socket:send(state.link:hello(greeting), { compress = false }) -- it holds the name, which is all it takes to be the session
end

local function noHello(state)
  core.clearTimeout(state.helloAlarm)
  state.socket:terminate "no hello in time"
end

local function acknowledged(state, errors, entries)
  if not entries[1] then return settleGone(state, errors) end
  arm(state)
  settleAll(state, errors, entries)
  if state.link:count() == 0 then tell(state, errors, "drain") end
end

local function welcomed(state, errors, hello)
  local continued, entries = state.link:meet(hello)
  if continued == nil then return refuse(state, errors, entries) end
  settleGone(state, errors)
  state.gone, state.place, state.problem = entries, 1, false -- to be told after `ready`
  core.clearTimeout(state.helloAlarm)
  state.connected = true
  state.link:write(state.socket)
  tell(state, errors, "ready", { continued = continued })
  if not entries[1] then return end
  arm(state)
  settleGone(state, errors)
  if state.link:count() == 0 then tell(state, errors, "drain") end
end

--- One acknowledgement for all that came in a turn.
local function acknowledge(state)
  if state.saying then state.link:unsaid() end -- the last could not be sent
  state.saying = true
  local data = state.link:acknowledgement()
  if data and state.socket.readyState == 1 then state.socket:send(data) end
  state.saying = false
  core.clearTimeout(state.ackAlarm)
end

--- Delivers a message. One that could not be counts as not taken.
local function deliver(state, errors, n, message)
  local heard, problem = occasion.tell(errors, state.progress, Link.try, state.object, message)
  if not heard then return end
  if heard <= 1 then state.link:untake(n) end
  error(problem, 0)
end

local function dispatch(state, errors, kind, value, payload, binary)
  local message = kind == "message"
    and event("message", { target = state.object, data = payload, binary = binary, number = value })
  local what, more = state.link:take(kind, value)
  if not what then return refuse(state, errors, more) end
  if state.link.due then core.setAlarm(state.ackAlarm, 0) end
  if what == "message" then
    deliver(state, errors, value, message)
  elseif what == "ack" then
    acknowledged(state, errors, more)
  elseif what == "note" then
    tell(state, errors, "note", { data = payload, binary = binary })
  elseif what == "end" then
    conclude(state, "NetworkError", "the server ended the session")
    state.socket:close(1000)
  end
end

local function hear(state, errors, incoming)
  incoming:stopImmediatePropagation()
  if state.outcome then return end
  local kind, value, payload = links.parse(incoming.data, incoming.binary)
  if not kind then return refuse(state, errors, value) end
  if state.link.met then return dispatch(state, errors, kind, value, payload, incoming.binary) end
  if kind ~= "hello" then return refuse(state, errors, "a hello was due") end
  return welcomed(state, errors, value)
end

--- What handlers raise is kept in `errors`; what else is raised is a want of memory.
local function attentive(fn)
  return function(state, incoming)
    local errors = state.errors
    local fine, problem = pcall(fn, state, errors, incoming)
    if not fine then breakOff(state, problem) end
    release(errors)
  end
end

local heard, greeted = attentive(hear), attentive(greet)

local function opened(state, incoming)
  if state.outcome then return end
  state.link:begin()
  return greeted(state, incoming)
end

local function closed(state, closing)
  local was, verdict = state.connected, not state.outcome and final[closing.code]
  state.connected, state.closing = false, closing
  state.link:begin()
  core.clearTimeout(state.helloAlarm)
  lookLater(state)
  -- What did not go is ours to send again, after the next hello: not the socket's, before it.
  if state.socket.clearQueue then state.socket:clearQueue() end
  if verdict then
    state.socket:close() -- do not come back
    conclude(state, "NetworkError", verdict[2])
  end
  local errors = occasion.new()
  if was then tell(state, errors, "lost", { code = closing.code, reason = closing.reason }) end
  if verdict then
    local said = closing.reason ~= "" and ": " .. closing.reason or ""
    tell(state, errors, "error", { code = verdict[1], message = verdict[2] .. said })
  end
  release(errors)
end

local function drained(state)
  state.link.full = false
  local fine, problem = pcall(state.link.write, state.link, state.socket)
  if not fine then breakOff(state, problem) end
end


-- The class --------------------------------------------------------------------------------------------------------

local methods = {}

--- Sends data that will be kept until the server has it. The receipt is { number, acknowledged, error, ondone }.
function methods.send(object, data, options, fn)
  local state = Link.state(object)
  local link, limits = state.link, state.options
  if state.outcome or state.finished then mistake("InvalidStateError", "send: the link is closed") end
  if fn ~= nil and type(fn) ~= "function" then
    mistake("TypeError", "send: a function expected, got " .. typename(fn))
  end
  local size = core.messageSize(data, options)
  if size > limits.maxMessageSize then
    mistake("QuotaExceededError", ("send: %d bytes are more than maxMessageSize (%d)"):format(size, limits.maxMessageSize))
  end
  if link:count() >= limits.maxQueuedMessages or link.bytes + size > limits.maxQueuedBytes then
    mistake("QuotaExceededError", ("send: %d messages of %d bytes wait for their acknowledgement; this one has %d"):format(
      link:count(), link.bytes, size))
  end
  local bytes, binary, plain = links.bytes(data, options)
  local receipt = { number = nil, acknowledged = false, error = nil, ondone = nil }
  link:add { number = nil, data = bytes, binary = binary, plain = plain, at = core.now(), receipt = receipt, fn = fn }
  arm(state)
  -- It is accepted. Without memory to hand it over this line has a hole where it should be, so it goes over the next.
  if not pcall(link.write, link, state.socket) then state.socket:terminate "not enough memory" end
  return receipt
end

--- Sends data that is lost if the line is. True if it was handed to the socket.
function methods.note(object, data, options)
  local state = Link.state(object)
  core.messageSize(data, options)
  if not state.connected or state.socket.readyState ~= 1 then return false end
  local bytes, binary, plain = links.bytes(data, options)
  state.socket:send(links.note(bytes), { binary = binary, compress = not plain })
  return true
end

--- Ends the session: the server forgets it, the socket closes for good.
function methods.close(object, code, reason)
  local state = Link.state(object)
  core.checkClose(code, reason)
  if state.outcome or state.finished then return end
  local socket = state.socket
  if state.connected and socket.readyState == 1 then socket:send(links.farewell) end
  conclude(state, "AbortError", "the link was closed before this was acknowledged")
  socket:close(code or 1000, reason)
  if socket.readyState == 3 then lookLater(state) end -- it may have said its last `close` already
end

Link = target.class {
  name = "ReliableLink",
  events = { "ready", "message", "note", "lost", "drain", "error", "close" },
  members = {
    unacknowledged = function(state) return state.link:count() end,
    bufferedAmount = function(state) return state.link.bytes end,
    session = function(state) return state.link.session end,
    connected = function(state) return state.connected end,
  },
  methods = methods,
}

local client = {}

local taken = setmetatable({}, { __mode = "k" }) -- sockets that have a link

local listeners = { open = opened, message = heard, close = closed, drain = drained }

local function attach(state)
  local socket = state.socket
  taken[socket] = true
  for kind, listener in pairs(listeners) do
    local function own(incoming) return listener(state, incoming) end
    state.listeners[kind] = own
    socket:addEventListener(kind, own, { capture = true })
  end
  if socket.readyState == 1 then
    local errors = occasion.new()
    greet(state, errors)
    if errors.any then error(errors.first, 0) end
  end
  if socket.readyState == 3 then lookLater(state) end
end

--- It has come to nothing.
local function detach(state)
  taken[state.socket] = nil
  for kind, own in pairs(state.listeners) do state.socket:removeEventListener(kind, own, true) end
  core.clearTimeout(state.helloAlarm)
end

--- A link over a socket: a ReconnectingWebSocket, or a WebSocket for one connection only.
function client.new(socket, options)
  local isObject = type(socket) == "userdata" or type(socket) == "table"
  if not isObject or not socket.addEventListener or not socket.terminate then
    mistake("TypeError", "reliable.client: a WebSocket expected, got " .. typename(socket))
  end
  options = option.read("reliable.client", options, known)
  if taken[socket] then mistake("InvalidStateError", "reliable.client: this WebSocket has a link already") end
  local state = {
    socket = socket,
    options = options,
    link = links.new(options.session or links.name(16)),
    listeners = {},     -- of the socket
    connected = false,  -- the hellos of this line are exchanged
    outcome = false,    -- the error of what is not acknowledged, once this will not go on
    closing = false,    -- the socket's last close event
    last = false,       -- our own `close`
    finished = false,   -- it was told
    errors = occasion.new(), -- of those who are told
    progress = { entries = false, done = 0 }, -- to whom the event at hand was told
    gone = false,       -- those whose end is being told, from `place` on, with which `problem`
    place = 1,
    problem = false,
    aging = false,      -- the alarm for it is set
    saying = false,     -- an acknowledgement is being sent
    helloAlarm = nil,   -- theirs is due by then
    ackAlarm = nil,     -- ours goes next turn
    ageAlarm = nil,     -- the oldest expires
    lookAlarm = nil,    -- is the socket closed for good?
  }
  state.helloAlarm, state.ackAlarm = core.alarm(noHello, state), core.alarm(acknowledge, state)
  state.ageAlarm, state.lookAlarm = core.alarm(expire, state), core.alarm(look, state)
  local object = Link.new(state)
  local fine, problem = pcall(attach, state)
  if not fine then
    detach(state)
    error(problem, 0)
  end
  return object
end

return client
