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

--- Tells who waits what became of these messages; `problem` nil: acknowledged.
local function settle(state, errors, entries, problem)
  for _, entry in ipairs(entries) do
    local receipt = entry.receipt
    receipt.acknowledged, receipt.error = problem == nil, problem
    if entry.fn then keep(errors, core.attempt(state.object, entry.fn, receipt)) end
    if receipt.ondone ~= nil then keep(errors, core.attempt(state.object, receipt.ondone, receipt)) end
  end
end

local function tell(state, errors, kind, fields)
  fields = fields or {}
  fields.target = state.object
  keep(errors, Link.try(state.object, event(kind, fields)))
end

-- Age --------------------------------------------------------------------------------------------------------------

local arm

--- Gives up what is too old. The timer is not moved by every acknowledgement; it looks back when it fires.
local function expire(state)
  state.ageTimer = nil
  local errors = {}
  local gone = state.link:expire(core.now() - state.options.maxAge)
  arm(state)
  if gone[1] then
    settle(state, errors, gone, core.Error("TimeoutError", ("not acknowledged within %g ms"):format(state.options.maxAge)))
    if state.link:count() == 0 then tell(state, errors, "drain") end
  end
  release(errors)
end

function arm(state)
  local link, maxAge = state.link, state.options.maxAge
  if maxAge == huge then return end
  local oldest = link.queue[link.first]
  if not oldest then
    core.clearTimeout(state.ageTimer)
    state.ageTimer = nil
  elseif not state.ageTimer then
    state.ageTimer = core.setTimeout(expire, max(0, oldest.at + maxAge - core.now()), state)
  end
end

-- The end ----------------------------------------------------------------------------------------------------------

--- Decides that this link will not go on: how is told once the socket has closed.
local function conclude(state, name, message)
  state.outcome = state.outcome or core.Error(name, message)
  state.connected = false
end

--- The socket is closed for good.
local function finish(state)
  if state.finished then return end
  state.finished, state.connected = true, false
  core.clearTimeout(state.ageTimer)
  core.clearTimeout(state.helloTimer)
  state.link:begin()
  local errors, closing = {}, state.closing or {}
  local problem = state.outcome or core.Error("NetworkError", "the connection ended, and does not come back")
  settle(state, errors, state.link:forget(huge), problem)
  tell(state, errors, "close", {
    code = closing.code or 1006, reason = closing.reason or "", wasClean = closing.wasClean or false,
  })
  release(errors)
end

--- Whether a socket that closed comes back is known a turn later, whoever heard its `close` first.
local function look(state)
  state.lookTimer = nil
  if state.socket.readyState == 3 then finish(state) end
end

local function lookLater(state)
  state.lookTimer = state.lookTimer or core.setTimeout(look, 0, state)
end

-- What the socket says ---------------------------------------------------------------------------------------------

--- The server is broken: it hears so, and we stop.
local function refuse(state, reason)
  conclude(state, "NetworkError", "the line does not follow the protocol: " .. reason)
  state.socket:close(3000, reason)
  local errors = {}
  tell(state, errors, "error", { code = "protocol", message = reason })
  release(errors)
end

local function opened(state)
  if state.outcome then return end
  local socket, greeting = state.socket, state.options.greeting
  state.link:begin()
  if socket.protocol ~= links.protocol then
    return refuse(state, ("%s was not agreed on: is it among the protocols of this WebSocket, and of the server?")
      :format(links.protocol))
  end
  core.clearTimeout(state.helloTimer)
  state.helloTimer = core.setTimeout(function() socket:terminate "no hello in time" end, state.options.helloTimeout)
  if type(greeting) == "function" then greeting = greeting() end
  if type(greeting) ~= "string" then
    mistake("TypeError", "greeting: a string expected, got " .. typename(greeting))
  end
  socket:send(state.link:hello(greeting), { compress = false }) -- it holds the name, which is all it takes to be the session
end

local function acknowledged(state, errors, entries)
  if not entries[1] then return end
  arm(state)
  settle(state, errors, entries)
  if state.link:count() == 0 then tell(state, errors, "drain") end
end

local function welcomed(state, hello)
  local continued, entries = state.link:meet(hello)
  if continued == nil then return refuse(state, entries) end
  core.clearTimeout(state.helloTimer)
  state.connected = true
  state.link:write(state.socket)
  local errors = {}
  tell(state, errors, "ready", { continued = continued })
  acknowledged(state, errors, entries)
  release(errors)
end

--- One acknowledgement for all that came in a turn.
local function acknowledge(state)
  state.ackTimer = nil
  local data = state.link:acknowledgement()
  if data and state.socket.readyState == 1 then state.socket:send(data) end
end

local function dispatch(state, errors, kind, value, payload, binary)
  local what, more = state.link:take(kind, value)
  if not what then return refuse(state, more) end
  if state.link.due then state.ackTimer = state.ackTimer or core.setTimeout(acknowledge, 0, state) end
  if what == "message" then
    tell(state, errors, "message", { data = payload, binary = binary, number = value })
  elseif what == "ack" then
    acknowledged(state, errors, more)
  elseif what == "note" then
    tell(state, errors, "note", { data = payload, binary = binary })
  elseif what == "end" then
    conclude(state, "NetworkError", "the server ended the session")
    state.socket:close(1000)
  end
end

local function heard(state, incoming)
  incoming:stopImmediatePropagation()
  if state.outcome then return end
  local kind, value, payload = links.parse(incoming.data, incoming.binary)
  if not kind then return refuse(state, value) end
  if state.link.met then
    local errors = {}
    dispatch(state, errors, kind, value, payload, incoming.binary)
    return release(errors)
  end
  if kind ~= "hello" then return refuse(state, "a hello was due") end
  return welcomed(state, value)
end

local function closed(state, closing)
  local errors, was = {}, state.connected
  state.connected, state.closing = false, closing
  state.link:begin()
  core.clearTimeout(state.helloTimer)
  -- What did not go is ours to send again, after the next hello: not the socket's, before it.
  if state.socket.clearQueue then state.socket:clearQueue() end
  local verdict = not state.outcome and final[closing.code]
  if verdict then
    conclude(state, "NetworkError", verdict[2])
    state.socket:close() -- do not come back
  end
  lookLater(state)
  if was then tell(state, errors, "lost", { code = closing.code, reason = closing.reason }) end
  if verdict then
    local said = closing.reason ~= "" and ": " .. closing.reason or ""
    tell(state, errors, "error", { code = verdict[1], message = verdict[2] .. said })
  end
  release(errors)
end

local function drained(state)
  state.link.full = false
  state.link:write(state.socket)
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
  link:write(state.socket)
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

--- A link over a socket: a ReconnectingWebSocket, or a WebSocket for one connection only.
function client.new(socket, options)
  local isObject = type(socket) == "userdata" or type(socket) == "table"
  if not isObject or not socket.addEventListener or not socket.terminate then
    mistake("TypeError", "reliable.client: a WebSocket expected, got " .. typename(socket))
  end
  options = option.read("reliable.client", options, known)
  if taken[socket] then mistake("InvalidStateError", "reliable.client: this WebSocket has a link already") end
  taken[socket] = true
  local state = {
    socket = socket,
    options = options,
    link = links.new(options.session or links.name(16)),
    connected = false,  -- the hellos of this line are exchanged
    outcome = nil,      -- the error of what is not acknowledged, once this will not go on
    closing = nil,      -- the socket's last close event
    finished = false,   -- our own `close` was told
    helloTimer = nil,   -- theirs is due by then
    ackTimer = nil,     -- ours goes next turn
    ageTimer = nil,     -- the oldest expires
    lookTimer = nil,    -- is the socket closed for good?
  }
  local object = Link.new(state)
  local listeners = { open = opened, message = heard, close = closed, drain = drained }
  for kind, listener in pairs(listeners) do
    socket:addEventListener(kind, function(incoming) return listener(state, incoming) end, { capture = true })
  end
  if socket.readyState == 1 then opened(state) end
  if socket.readyState == 3 then lookLater(state) end
  return object
end

return client
