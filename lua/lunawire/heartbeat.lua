--- A heartbeat: a connection can die without a word from anybody, and this finds out.
--
-- Every `interval` a beat goes out; when no byte has come from the peer `timeout` later, the connection is
-- terminated: `close` says 1006 and "heartbeat timeout". So a dead line is known within interval + timeout.
--
--   local beat = lunawire.heartbeat(ws, { interval = 20000, timeout = 10000 })
--   print(beat.latency)
--   beat:stop()
--
-- @module lunawire.heartbeat
local core = require "lunawire.core"
local option = require "lunawire.option"
local target = require "lunawire.target"
core.ours()

local OPEN, CLOSED = 1, 3

local known = {
  { "interval", "positive", 20000 },
  { "timeout", "positive", 10000 },
  { "message", "text" },
  { "reply", { "a string or a function", function(value) return type(value) == "string" or type(value) == "function" end } },
}

local heartbeat = {}

local Heartbeat = { __name = "lunawire.Heartbeat" }
Heartbeat.__index = Heartbeat

--- Is this the answer to a beat? Without a `reply` named, "pong" is to "ping", and nothing to anything else.
local function isReply(self, event)
  local reply = self.reply
  if not self.message or event.binary then return false end
  if type(reply) == "function" then return reply(event.data) and true or false end
  return event.data == reply
end

--- No beat is awaiting its answer any more.
local function settle(self)
  if self.deadline then self.world.clearTimeout(self.deadline) end
  self.deadline = false
  self.beatAt = false
end

local function rest(self)
  settle(self)
  if self.timer then self.world.clearTimeout(self.timer) end
  self.timer = false
end

--- Was there a sign of life since the last beat? `lastAlive` asks the system for unread bytes, so a loop that is
-- late gives nobody up whose answer is here.
local function isAlive(self)
  local alive = self.ws.lastAlive
  return alive and alive >= self.beatAt
end

--- The deadline after a beat.
local function judge(self)
  local ws = self.ws
  local fine = ws.readyState ~= OPEN or ws.isPaused or isAlive(self)
  settle(self)
  if not fine then ws:terminate("heartbeat timeout") end
end

--- One beat. It leaves at once: the peer has the whole of `timeout`, whatever else this turn of the loop will do.
-- When the last one still awaits its sign of life, that one counts; a sign that is here is read first, since its
-- latency is not this beat's.
local function beat(self)
  local ws, world = self.ws, self.world
  if ws.readyState == CLOSED then return rest(self) end -- its close could not be told, for want of memory
  if ws.readyState ~= OPEN or ws.isPaused then return end
  if self.beatAt then
    if not isAlive(self) then return end
    settle(self)
    self.deadline = world.setTimeout(beat, 0, self)
    return
  end
  if self.message then
    local _ = ws.lastAlive -- what the peer takes of a backlog from now on is news, as it is after a ping
    ws:send(self.message)
  else
    ws:ping()
  end
  world.flush()
  local at = world.now()
  self.deadline = world.setTimeout(judge, self.timeout, self) -- should this fail, the next beat does not wait for it
  self.beatAt, self.askedAt = at, at
end

local function start(self)
  if not self.timer then self.timer = self.world.setInterval(beat, self.interval, self) end
end

--- Stops it for good; the connection is left alone. Twice is once.
function Heartbeat:stop()
  if getmetatable(self) ~= Heartbeat then
    target.mistake("TypeError", "stop: a heartbeat expected, got " .. target.typename(self) .. target.colon(1))
  end
  rest(self)
  for kind, listener in pairs(self.listeners) do
    self.ws:removeEventListener(kind, listener, true)
    self.listeners[kind] = nil
  end
end
Heartbeat.__close = Heartbeat.stop

--- The listeners capture: they look on, and only replies go no further.
local function listen(self)
  self.listeners = {
    open = function() start(self) end,
    close = function() rest(self) end, -- what reconnects may open again, even after its last close
  }
  if self.message then
    self.listeners.message = function(event)
      if not isReply(self, event) then return end
      event:stopImmediatePropagation()
      if not self.askedAt then return end -- unasked, or twice
      self.latency, self.askedAt = self.world.now() - self.askedAt, false
    end
  else
    self.listeners.pong = function(event)
      if event.latency then self.latency = event.latency end
    end
  end
  for kind, listener in pairs(self.listeners) do self.ws:addEventListener(kind, listener, true) end
end

local function begin(self)
  listen(self)
  if self.ws.readyState == OPEN then start(self) end
end

--- The options as they are meant; raises TypeError for those that are wrong.
function heartbeat.read(options)
  local own = option.read("heartbeat", options, known)
  if own.reply and not own.message then
    target.mistake("TypeError", "heartbeat: option \"reply\" goes with \"message\": a ping frame is answered by a pong frame")
  end
  if own.message then core.messageSize(own.message) end
  if own.message == "ping" and own.reply == nil then own.reply = "pong" end
  return own
end

--- A heartbeat on any WebSocket, client or server side; it begins when the socket is open and ends with it.
-- @param ws a WebSocket, open or still connecting, or anything with its members
-- @tparam[opt] table options `interval` (20000 ms), `timeout` (10000 ms); `message`: a text to send instead of a ping
-- frame (RFC 6455, 5.5.2), and `reply`: the text that answers it, or a function that tells by the text whether it
-- does ("pong" for "ping"): replies are not delivered
-- @return an object with `stop()` and `latency` (ms of the last beat that was answered by a pong or a reply; nil: none yet)
-- Raises TypeError for options that are wrong.
function heartbeat.new(ws, options, world)
  local self = heartbeat.read(options)
  local isObject = type(ws) == "userdata" or type(ws) == "table"
  if not isObject or not ws.addEventListener or not ws.terminate then
    target.mistake("TypeError", "heartbeat: a WebSocket expected, got " .. target.typename(ws))
  end
  self.ws, self.world, self.listeners = ws, world or core, {}
  -- false, not nil: a field that is there takes no memory when a timer is put into it
  self.timer, self.deadline, self.beatAt, self.askedAt = false, false, false, false
  setmetatable(self, Heartbeat)
  if ws.readyState == 3 then return self end
  local fine, problem = pcall(begin, self)
  if not fine then -- no memory: there is none, instead of a part of one
    self:stop()
    error(problem, 0)
  end
  return self
end

return heartbeat
