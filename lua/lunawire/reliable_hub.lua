--- The server's end of a delivery that survives: the sessions of all clients, present and away, over a
-- WebSocketServer. Sockets that did not agree on the subprotocol are left alone.
-- @module lunawire.reliable_hub
local core = require "lunawire.core"
local links = require "lunawire.reliable_link"
local occasion = require "lunawire.occasion"
local option = require "lunawire.option"
local target = require "lunawire.target"
core.ours()

local max = math.max
local keep, release = occasion.keep, occasion.release
local event, mistake, typename = target.event, target.mistake, target.typename

local MiB = 1024 * 1024

local known = {
  { "restore", "function" },
  { "sessionTimeout", "positive", 60000 },
  { "helloTimeout", "positive", 10000 },
  { "maxQueuedBytes", "count", MiB },
  { "maxQueuedMessages", "count", 10000 }, -- so that empty ones are bounded, too
  { "maxDeferred", "count", 10000 }, -- ten times what a client of ours keeps
  { "maxSessions", "count", 10000 },
}

local Hub, Session -- the classes, below

-- A line is one socket that speaks the protocol: { hub, socket, request, session, timer }. A session has at most one,
-- a line has none before its hello. A line that was closed says nothing more: its socket sees to that.

-- Telling ----------------------------------------------------------------------------------------------------------

--- To the session's own handler, or the hub's when it has none.
local function try(session, told, progress)
  if Session.wants(session.object, told.type) then return Session.try(session.object, told, progress) end
  return Hub.try(session.hub.object, told, progress)
end

local function newEvent(session, kind, fields)
  fields.target, fields.session = session.object, session.object
  return event(kind, fields)
end

local function tell(session, errors, kind, fields)
  keep(errors, try(session, newEvent(session, kind, fields)))
end

local function tellHub(hub, errors, kind, fields)
  fields.target = hub.object
  keep(errors, Hub.try(hub.object, event(kind, fields)))
end

-- The next turn ----------------------------------------------------------------------------------------------------

-- Sessions with an acknowledgement to send, and those whose end is not told, are chained, so that to stand there takes
-- no memory. An alarm (src/lua_timer.c) rings again until all is done.

local function turnLater(hub) core.setAlarm(hub.turnAlarm, 0) end

local function put(chain, session, after)
  if chain.first then chain.last[after] = session else chain.first = session end
  chain.last, session[after] = session, false
end

local function drop(chain, after)
  local session = chain.first
  chain.first, session[after] = session[after], false
  if not chain.first then chain.last = false end
end

local function acknowledge(hub, session)
  if hub.saying == session then session.link:unsaid() end -- it could not be sent
  hub.saying = session
  local data = session.link:acknowledgement()
  if data and session.line then session.line.socket:send(data) end
  hub.saying = false
end

--- Sends one acknowledgement for all that came, and tells of the sessions that ended.
local function turn(hub)
  local due, ended, errors, progress = hub.due, hub.ended, hub.errors, hub.progress
  local last = due.last
  while due.first do
    local session = due.first
    acknowledge(hub, session)
    session.listed = false
    drop(due, "dueAfter")
    if session == last then break end
  end
  last = ended.last
  while ended.first do
    local session = ended.first
    session.farewell = session.farewell or newEvent(session, "end", { reason = session.over })
    local fine, problem = try(session, session.farewell, progress)
    progress.entries, progress.done = false, 0
    drop(ended, "endAfter")
    keep(errors, fine, problem)
    if session == last then break end
  end
  if due.first or ended.first then turnLater(hub) else core.clearTimeout(hub.turnAlarm) end
  release(errors)
end

local function acknowledgeLater(session)
  if session.listed or not session.link.due then return end
  session.listed = true
  put(session.hub.due, session, "dueAfter")
  turnLater(session.hub)
end

-- Away -------------------------------------------------------------------------------------------------------------

-- The sessions without a line, the one away longest first: hub.oldest → later → hub.latest. All wait equally long, so
-- one timer serves them all.

local finish

local function expire(hub)
  local now, timeout = core.now(), hub.options.sessionTimeout
  while hub.oldest and hub.oldest.since + timeout <= now do finish(hub.oldest, "expired") end
  if hub.oldest then core.setAlarm(hub.awayAlarm, max(0, hub.oldest.since + timeout - now))
  else core.clearTimeout(hub.awayAlarm) end
end

local function goAway(session)
  local hub, latest = session.hub, session.hub.latest
  session.since, session.earlier, session.later = core.now(), latest, false
  if latest then
    latest.later = session
  else
    hub.oldest = session
    core.setAlarm(hub.awayAlarm, hub.options.sessionTimeout)
  end
  hub.latest = session
end

local function comeBack(session)
  if not session.since then return end
  local hub, earlier, later = session.hub, session.earlier, session.later
  if earlier then earlier.later = later else hub.oldest = later end
  if later then later.earlier = earlier else hub.latest = earlier end
  session.since, session.earlier, session.later = false, false, false
  if not hub.oldest then core.clearTimeout(hub.awayAlarm) end
end

-- Lines and sessions -----------------------------------------------------------------------------------------------

--- Takes a line from its session. The session it had, or nil.
local function cut(line)
  local session = line.session
  line.session = false
  core.clearTimeout(line.timer)
  if not session then return nil end
  session.line = false
  session.link:begin()
  return session
end

--- The line is lost: its session waits for the next. That takes no memory; to tell of it does.
local function lose(line, errors, code, reason)
  local session = cut(line)
  if not session then return end
  goAway(session)
  errors = errors or occasion.new()
  tell(session, errors, "away", { code = code, reason = reason })
  return errors
end

--- Ends a session, for "closed", "expired", "overflow" or "server". Its `end` is told next turn. The line it had.
function finish(session, reason)
  if session.over then return nil end
  local hub, line = session.hub, session.line
  session.over = reason
  if line then cut(line) end
  comeBack(session)
  hub.sessions[session.link.session] = nil
  hub.count = hub.count - 1
  while session.link:drop() do end -- luacheck: ignore 542
  put(hub.ended, session, "endAfter")
  turnLater(hub)
  return line
end

--- The client is broken: it hears so, and its session waits for a better one.
local function refuse(line, errors, reason)
  local session = line.session
  line.socket:close(3000, reason)
  lose(line, errors, 3000, reason)
  tellHub(line.hub, errors, "error", { code = "protocol", message = reason, session = session and session.object or nil })
end

--- How far this client's messages are known, from the application; false behind it when that went wrong.
local function restore(hub, errors, id)
  local ask, number, done = hub.options.restore, 0, false
  if not ask then return 0, true end
  keep(errors, core.attempt(hub.object, function()
    local answer = ask(id) or 0
    if type(answer) ~= "number" or answer < 0 or answer >= 2 ^ 53 or answer % 1 ~= 0 then
      mistake("TypeError", "restore: a whole number expected, got " .. typename(answer))
    end
    number, done = tonumber(("%d"):format(answer)), true
  end))
  return number, done
end

local function create(hub, id, received)
  local session = {
    hub = hub,
    link = links.new(id, links.name(8), received),
    line = false,     -- while it is there
    request = false,  -- of its last line
    since = false,    -- when it went away, while it is; with its neighbours in that order
    earlier = false,
    later = false,
    told = false,     -- the application knows of it
    listed = false,   -- in hub.due, before whom
    dueAfter = false,
    over = false,     -- why it ended
    endAfter = false, -- in hub.ended, before whom
    farewell = false, -- its `end`
  }
  Session.new(session)
  hub.sessions[id] = session
  hub.count = hub.count + 1
  goAway(session) -- until its line is attached, should there be no memory for that
  return session
end

--- Makes room for one more session; false if all are there.
local function makeRoom(hub)
  if hub.count < hub.options.maxSessions then return true end
  if not hub.oldest then return false end
  finish(hub.oldest, "overflow")
  return true
end

--- The session a hello asks for, made if it is unknown; nil when the line was closed instead.
local function sessionFor(line, errors, id)
  local hub = line.hub
  local session = hub.sessions[id]
  if session then return session end
  local received, done = restore(hub, errors, id)
  local code, reason = 1013, "too many sessions"
  if not done then code, reason = 1011, "the session could not be restored" end
  if done and makeRoom(hub) then return create(hub, id, received) end
  cut(line)
  line.socket:close(code, reason)
  return nil
end

--- The session's line from now on; an older one ends.
local function attach(session, line)
  local older = session.line
  if older then
    older.session = false
    older.socket:close(3001, "another connection took this session over")
  end
  comeBack(session)
  session.line, session.request, line.session = line, line.request, session
end

local function welcome(line, errors, hello, greeting)
  local hub = line.hub
  core.clearTimeout(line.timer)
  local session = sessionFor(line, errors, hello.session)
  if not session then return end
  local link = session.link
  local continued, problem = link:meet(hello)
  if continued == nil then return refuse(line, errors, problem) end -- a fresh session refuses no hello
  attach(session, line)
  line.socket:send(link:hello(), { compress = false })
  link:write(line.socket)
  local fields = { continued = continued, greeting = greeting, request = line.request, session = session.object }
  if session.told then return tell(session, errors, "resume", fields) end
  fields.target = hub.object
  local fresh = event("session", fields)
  session.told = true
  keep(errors, Hub.try(hub.object, fresh))
end

-- What sockets say -------------------------------------------------------------------------------------------------

--- A client keeps what is not acknowledged, and sends no more than it keeps: one that does is ended. What it was told
-- of holds; it may come back when some of it is acknowledged. (Merely not to read on would keep its pings unanswered.)
local function isTooMuch(line, errors, kind, n)
  local link = line.session.link
  if kind ~= "message" or n <= link.received or #link.deferred < line.hub.options.maxDeferred then return false end
  local reason = "too much is not acknowledged"
  lose(line, errors, 1013, reason)
  line.socket:close(1013, reason)
  return true
end

--- event:defer(): `session:acknowledge(number)` will say when it is taken for good.
local function defer(incoming)
  if type(incoming) ~= "table" then mistake("TypeError", "defer: an event expected, got " .. typename(incoming)) end
  local session = Session.state(incoming.session)
  if session.over then return end
  if not session.link:defer(incoming.number) then
    mistake("InvalidStateError", "defer: only inside the handler of this message")
  end
end

--- Delivers a message. One that could not be counts as not taken.
local function deliver(line, session, errors, n, message)
  local heard, problem = occasion.tell(errors, line.progress, try, session, message)
  if not heard then return end
  if heard <= 1 then session.link:untake(n) end
  error(problem, 0)
end

local function dispatch(line, errors, kind, value, payload, binary)
  local session = line.session
  if isTooMuch(line, errors, kind, value) then return end
  local message = kind == "message"
    and newEvent(session, kind, { data = payload, binary = binary, number = value, defer = defer })
  local what, more = session.link:take(kind, value)
  if not what then return refuse(line, errors, more) end
  if what == "message" then
    deliver(line, session, errors, value, message)
  elseif what == "note" then
    tell(session, errors, "note", { data = payload, binary = binary })
  elseif what == "end" then
    finish(session, "closed")
    line.socket:close(1000)
  end
  acknowledgeLater(session)
end

local function hear(line, errors, incoming)
  incoming:stopImmediatePropagation()
  local kind, value, payload = links.parse(incoming.data, incoming.binary)
  if not kind then return refuse(line, errors, value) end
  if line.session then return dispatch(line, errors, kind, value, payload, incoming.binary) end
  if kind ~= "hello" then return refuse(line, errors, "a hello was due") end
  return welcome(line, errors, value, payload)
end

--- There is no memory to go on with this line: the client may come back.
local function breakOff(line, problem)
  line.socket:terminate "not enough memory" -- it will tell its close
  error(problem, 0)
end

--- What handlers raise is kept in `errors`; what else is raised is a want of memory.
local function heard(line, incoming)
  local errors = line.errors
  local fine, problem = pcall(hear, line, errors, incoming)
  if not fine then breakOff(line, problem) end
  release(errors)
end

local function closed(line, closing)
  local errors = lose(line, nil, closing.code, closing.reason)
  if errors then release(errors) end
end

local function drained(line)
  if not line.session then return end
  local link = line.session.link
  link.full = false
  local fine, problem = pcall(link.write, link, line.socket)
  if not fine then breakOff(line, problem) end
end

local function failed(line, problem)
  local session, errors = line.session, occasion.new()
  tellHub(line.hub, errors, "error", {
    code = problem.code, message = problem.message, session = session and session.object or nil,
  })
  release(errors)
end

local function listen(line)
  local socket = line.socket
  line.timer = core.setTimeout(function()
    socket:close(1013, "no hello in time") -- it may be slow, not broken: it may come back
  end, line.hub.options.helloTimeout)
  -- Messages go no further. The others the socket's own handlers may hear, too, but not the server's: a listener that
  -- only captures would let them pass.
  local listeners = { message = heard, close = closed, drain = drained, error = failed }
  for kind, listener in pairs(listeners) do
    socket:addEventListener(kind, function(incoming) return listener(line, incoming) end, { capture = kind == "message" })
  end
end

local function connected(hub, connection)
  local socket = connection.socket
  if socket.protocol ~= links.protocol then return end
  connection:stopImmediatePropagation()
  local line = {
    hub = hub,
    socket = socket,
    request = connection.request,
    session = false, -- after its hello
    timer = false,   -- its hello is due by then
    progress = { entries = false, done = 0 }, -- to whom the message at hand was told
    errors = occasion.new(),                  -- of those
  }
  local fine, problem = pcall(listen, line)
  if not fine then breakOff(line, problem) end
end

local function serverClosed(hub)
  for _, session in pairs(hub.sessions) do finish(session, "server") end
end

-- The classes ------------------------------------------------------------------------------------------------------

local methods = {}

--- Sends data that will be kept until the client has it, here or away. False if the session has ended.
function methods.send(object, data, options)
  local session = Session.state(object)
  local link, limits = session.link, session.hub.options
  local size = core.messageSize(data, options)
  if size > limits.maxQueuedBytes then
    mistake("QuotaExceededError", ("send: %d bytes are more than maxQueuedBytes (%d)"):format(size, limits.maxQueuedBytes))
  end
  if session.over then return false end
  if link.bytes + size > limits.maxQueuedBytes or link:count() >= limits.maxQueuedMessages then
    local line = finish(session, "overflow")
    if line then line.socket:close(1013, "too much is not acknowledged") end
    return false
  end
  local bytes, binary, plain = links.bytes(data, options)
  link:add { number = nil, data = bytes, binary = binary, plain = plain, at = 0, receipt = nil }
  local line = session.line
  -- It is accepted. Without memory to hand it over this line has a hole where it should be, so it goes over the next.
  if line and not pcall(link.write, link, line.socket) then line.socket:terminate "not enough memory" end
  return true
end

--- Sends data that is lost if the line is. True if it was handed to the socket.
function methods.note(object, data, options)
  local session = Session.state(object)
  core.messageSize(data, options)
  if not session.line or session.line.socket.readyState ~= 1 then return false end
  local bytes, binary, plain = links.bytes(data, options)
  session.line.socket:send(links.note(bytes), { binary = binary, compress = not plain })
  return true
end

--- Ends the session: the client hears so, and does not come back.
function methods.close(object, code, reason)
  local session = Session.state(object)
  core.checkClose(code, reason, true)
  local line = finish(session, "server")
  if not line then return end
  local fine, problem = pcall(line.socket.send, line.socket, links.farewell)
  line.socket:close(code or 1000, reason)
  if not fine then error(problem, 0) end
end

--- The messages deferred up to this number are taken for good.
function methods.acknowledge(object, n)
  local session = Session.state(object)
  if type(n) ~= "number" then
    mistake("TypeError", "acknowledge: a number expected, got " .. typename(n))
  end
  if session.over then return end
  session.link:release(n)
  acknowledgeLater(session)
end

Session = target.class {
  name = "ReliableSession",
  events = { "resume", "message", "note", "away", "end" },
  members = {
    id = function(session) return session.link.session end,
    socket = function(session) return session.line and session.line.socket or nil end,
    request = function(session) return session.request or nil end,
    received = function(session) return session.link.received end,
    unacknowledged = function(session) return session.link:count() end,
    bufferedAmount = function(session) return session.link.bytes end,
    ended = function(session) return session.over or nil end,
  },
  methods = methods,
}

Hub = target.class {
  name = "ReliableServer",
  events = { "session", "resume", "message", "note", "away", "end", "error" },
  members = {
    count = function(hub) return hub.count end,
  },
  methods = {
    --- The sessions, present and away; safe against closing on the way.
    each = function(object)
      local all, i = {}, 0
      for _, session in pairs(Hub.state(object).sessions) do all[#all + 1] = session end
      return function()
        repeat i = i + 1 until not all[i] or not all[i].over
        return all[i] and all[i].object
      end
    end,
  },
}

local server = {}

local taken = setmetatable({}, { __mode = "k" }) -- servers that have a hub

--- The sessions of a WebSocketServer whose `protocols` have ours.
function server.new(socketServer, options)
  local isObject = type(socketServer) == "userdata" or type(socketServer) == "table"
  if not isObject or not socketServer.addEventListener or not socketServer.each then
    mistake("TypeError", "reliable.server: a WebSocketServer expected, got " .. typename(socketServer))
  end
  options = option.read("reliable.server", options, known)
  if taken[socketServer] then mistake("InvalidStateError", "reliable.server: this WebSocketServer has a hub already") end
  taken[socketServer] = true
  local hub = {
    options = options,
    sessions = {},   -- by id
    count = 0,
    oldest = false,  -- of those away
    latest = false,
    due = { first = false, last = false },   -- sessions with an acknowledgement to send
    ended = { first = false, last = false }, -- sessions whose end is not told
    turnAlarm = nil, -- for both
    awayAlarm = nil, -- the oldest expires
    saying = false,  -- whose acknowledgement is being sent
    errors = occasion.new(), -- of those who are told of ends
    progress = { entries = false, done = 0 },
  }
  hub.turnAlarm, hub.awayAlarm = core.alarm(turn, hub), core.alarm(expire, hub)
  local object = Hub.new(hub)
  socketServer:addEventListener("connection", function(connection) return connected(hub, connection) end, { capture = true })
  socketServer:addEventListener("close", function() return serverClosed(hub) end)
  return object
end

return server
