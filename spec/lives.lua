-- lives.lua -- a ReconnectingWebSocket's life drawn by chance: 5 to 40 things that happen to it, faults, calls
-- of its user, and calls and errors inside its handlers; and after every single one, what must hold then.
--
--   lives.run(seed)        -- raises what did not hold, and after which steps; returns how many there were
--
-- Always: one connection or attempt or wait, never two; after close() nothing begins any more; an attempt opens
-- once at most and closes exactly once; a message that was accepted is handed over whole at most once, those sent
-- outside onopen in their order; drain follows if send said so; what `close` calls `unsent` is all that was accepted
-- and not handed over; the queue keeps its bounds.

local Random = require "spec.torture.random"
local World = require "spec.world"
local reconnect = require "lunawire.reconnect"

local lives = {}

local PLANNED = "planned" -- an error that a handler here raises on purpose

local Life = {}
Life.__index = Life

-- --- what must hold -------------------------------------------------------------------------------------------

local function must(holds, ...)
  if not holds then error("broken: " .. string.format(...), 0) end
end

-- Waits of the object: the heartbeat's timers are not.
local function waits(life)
  local count = 0
  if life.world.turning then return count end -- within a turn the alarm stands for what is under way, too
  for _, timer in ipairs(life.world.timers) do
    if life.own[timer] then count = count + 1 end
  end
  return count
end

-- Connections and attempts that have not come to their close.
local function connections(life)
  local count = 0
  for _, s in ipairs(life.world.live) do
    if not s.closed or s.tellClose then count = count + 1 end
  end
  return count
end

local function check(life)
  local ws, live, waiting = life.ws, connections(life), waits(life)
  must(live <= 1, "%d connections at once", live)
  must(waiting <= 1, "%d waits at once", waiting)
  must(live + waiting <= 1, "a wait beside a connection")
  if life.madeAtClose then
    must(#life.world.sockets == life.madeAtClose, "an attempt after close()")
    must(ws.readyState >= 2, "readyState %d after close()", ws.readyState)
  end
end

-- Looks at what the sockets have handed over since the last time.
local function countHanded(life)
  for i = life.firstOpen, #life.world.sockets do
    local s = life.states[i]
    if not s then
      s = life.world.sockets[i]:state()
      life.states[i], life.seen[i] = s, 0
    end
    local messages, seen = s.messages, life.seen[i]
    while messages[seen + 1] and messages[seen + 1].ends <= s.most do
      seen = seen + 1
      local text = messages[seen].data
      if text ~= "ping" then -- the heartbeat's
        local number = life.numbers[text]
        must(number, "%q was handed over, and never accepted", text)
        must(not life.handed[number], "%q was handed over twice", text)
        life.handed[number], life.handedBytes = true, life.handedBytes + #text
        if not life.hasty[number] then
          must(number > life.newest, "%q was handed over after a newer one", text)
          life.newest = number
        end
      end
    end
    life.seen[i] = seen
    if i == life.firstOpen and s.gone then life.firstOpen = i + 1 end
  end
end

local function outstanding(life)
  countHanded(life)
  return life.acceptedBytes - life.handedBytes - life.droppedBytes
end

-- --- what its user does ---------------------------------------------------------------------------------------

local sizes = { 0, 1, 5, 5, 5, 9, 20, 200 }

local function send(life)
  local ws, random = life.ws, life.random
  local number = life.count + 1
  local text = ("%d."):format(number) .. ("x"):rep(random:pick(sizes))
  local before, dead = ws.queuedMessages, life.madeAtClose or ws.readyState == 3
  if random:chance(0.05) and not life.hadEmpty then text, life.hadEmpty = "", true end
  -- It is accepted while it is called, so it may be handed over before send returns.
  life.numbers[text] = number
  local ok, problem = pcall(ws.send, ws, text)
  if not ok then
    must(problem.name == "QuotaExceededError", "send raised %s", tostring(problem))
    life.numbers[text] = nil
    must(ws.queuedMessages == before, "a message that was refused is queued")
    return
  end
  life.count = number
  if dead then
    life.numbers[text], life.idleBytes = nil, life.idleBytes + #text
    must(problem == false, "send() on what is closed said %s", tostring(problem))
    return
  end
  life.acceptedBytes = life.acceptedBytes + #text
  life.told = life.told or not problem
  life.hasty[number] = life.inOpen
  if ws.queuedMessages > before then
    must(ws.queuedMessages <= life.options.maxQueuedMessages, "%d messages queued", ws.queuedMessages)
    if not life.world.live[1] then
      local bytes = ws.bufferedAmount - life.idleBytes - life.droppedBytes
      must(bytes <= life.options.maxQueuedBytes, "%d bytes queued", bytes)
    end
  end
end

local function close(life)
  if life.madeAtClose then return life.ws:close() end
  life.madeAtClose = #life.world.sockets
  life.ended = life.ws.readyState == 3
  local left = life.inClose and outstanding(life) -- its close is being told: there will be no other
  life.ws:close(4000, "stop")
  if left and life.ws.readyState == 3 then life.droppedBytes, life.ended = life.droppedBytes + left, true end
end

local calls = {
  send, send, send, send, send, send,
  close,
  function(life)
    life.ended = life.ended and life.madeAtClose
    local begun = life.ws:reconnect()
    must(begun == not life.madeAtClose, "reconnect() said %s, closed: %s", tostring(begun), tostring(life.madeAtClose))
  end,
  function(life) life.ws:terminate "drop" end,
  function(life) life.ws:pause() end,
  function(life) life.ws:resume() end,
  function(life) pcall(life.ws.ping, life.ws) end,
}

local function call(life)
  local which = life.random(#calls)
  life.steps[#life.steps + 1] = "call " .. which
  calls[which](life)
  check(life)
end

-- A handler's own doings: seldom a call or two, seldom an error.
local function meddle(life)
  local random = life.random
  while life.meddling > 0 and random:chance(life.meddling) do call(life) end
  if random:chance(life.failing) then
    life.planned = true
    error(PLANNED, 0)
  end
end

-- --- what it hears ---------------------------------------------------------------------------------------------

local heard = {}

function heard.open(life)
  local s = life.world.live[1]
  must(s and not life.opened[s], "open without a connection, or twice")
  must(not life.madeAtClose, "open after close()")
  life.opened[s] = true
  life.inOpen = true
end

function heard.message(life)
  must(not life.madeAtClose, "a message after close()")
  must(life.opened[life.world.live[1]], "a message before open")
end

function heard.close(life, event)
  local s = life.world.live[1]
  if s then
    must(s.closed and not s.tellClose, "close is told of a connection that lives")
    must(not life.closed[s], "close is told twice")
    life.closed[s] = true
  end
  local left = outstanding(life)
  must(event.unsent == left, "%d bytes unsent, close says %s", left, tostring(event.unsent))
  must(not life.ended, "a close after the last")
  if life.ws.readyState == 3 then life.droppedBytes, life.ended = life.droppedBytes + left, true end
  life.inClose = true
end

function heard.reconnecting(life, event)
  must(not life.madeAtClose, "reconnecting after close()")
  must(event.attempt == life.ws.retryCount, "attempt %d is the %dth retry", event.attempt, life.ws.retryCount)
  must(event.attempt <= life.options.maxRetries or event.delay == 0, "a retry too many")
end

function heard.drain(life)
  must(life.told, "drain, and nobody was told to wait")
  life.told = nil
end

local function listen(life)
  for _, kind in ipairs { "open", "message", "error", "close", "reconnecting", "drain" } do
    life.ws["on" .. kind] = function(event)
      life.steps[#life.steps + 1] = "on" .. kind
      must(event.target == life.ws, "an event of somebody else")
      if heard[kind] then heard[kind](life, event) end
      local ok, err = pcall(meddle, life)
      life.inOpen, life.inClose = nil, nil
      if not ok then error(err, 0) end
    end
  end
end

-- --- what happens to it ------------------------------------------------------------------------------------------

local function last(life) return life.world.sockets[#life.world.sockets] end

-- What happens most of the time to a line that holds.
local calmly = {
  send, send, send,
  function(_, socket) socket:receive "hi" end,
  function(_, socket) socket:receive "pong" end,
  function(_, socket) socket:ponged() end,
  function(life, socket) socket:take(life.random(0, 30)) end,
  function(life, socket) socket:take(life.random(0, 60)) end,
}

local happenings = {
  function(_, socket) if socket then socket:open() end end,
  function(_, socket) if socket then socket:receive "hi" end end,
  function(_, socket) if socket then socket:receive "pong" end end,
  function(_, socket) if socket then socket:lose() end end,
  function(_, socket) if socket then socket:finish() end end,
  function(life, socket)
    if socket then socket:fail { code = "http", status = life.random:pick { 500, 503, 502, 404 }, headers = {} } end
  end,
  function(life, socket) if socket then socket:peerClose(life.random:pick { 1000, 1001, 1002, 1012, 1013 }) end end,
  function(_, socket) if socket then socket:block() end end,
  function(_, socket) if socket then socket:unblock() end end,
  function(life, socket) if socket then socket:take(life.random(0, 60)) end end,
  function(life, socket) if socket then socket:take(life.random(0, 30)) end end,
  call, call, call, call,
}
local waitings = { 1, 50, 50, 100, 500, 1000, 12000 }

-- Turns until all is quiet; what handlers raised on purpose is swallowed.
local function settle(life, ms)
  for _ = 1, 200 do
    life.planned = false
    local ok, err = pcall(life.world.pass, life.world, ms)
    countHanded(life)
    check(life)
    if ok then
      must(life.ws.readyState ~= 0 or connections(life) + waits(life) == 1, "it waits for nothing")
      return
    end
    if err ~= PLANNED or not life.planned then error(err, 0) end
    ms = 0
  end
  must(false, "it does not come to rest")
end

local function step(life)
  local random = life.random
  if random:chance(0.3) then
    local ms = random:pick(waitings)
    life.steps[#life.steps + 1] = "time " .. ms
    return settle(life, ms)
  end
  local s = life.world.live[1]
  if s and s.phase == "connecting" and random:chance(0.5) then
    life.steps[#life.steps + 1] = "open"
    s.object:open()
  elseif s and s.phase == "open" and random:chance(life.calm) then
    life.steps[#life.steps + 1] = "calm"
    random:pick(calmly)(life, s.object)
  elseif not s and waits(life) == 1 and random:chance(0.5) then
    life.steps[#life.steps + 1] = "wait"
    return settle(life, life.world:delays()[1])
  else
    local which = random(#happenings)
    life.steps[#life.steps + 1] = "happening " .. which
    happenings[which](life, last(life))
  end
  check(life)
  if random:chance(0.8) then settle(life, 0) end
end

-- --- a life ---------------------------------------------------------------------------------------------------

local function settings(life)
  local random = life.random
  local options = {
    minDelay = random:pick { 0, 10, 100, 1000 },
    maxDelay = random:pick { 100, 2000 },
    jitter = random(),
    minUptime = random:pick { 0, 100, 5000 },
    maxRetries = random:pick { 0, 1, 3, math.huge, math.huge, math.huge },
    maxQueuedMessages = random:pick { 0, 3, 10, 10 },
    maxQueuedBytes = random:pick { 10, 100, 1000, 1000 },
    highWaterMark = random:pick { 10, 10, 50, 1000 },
    maxBufferedAmount = random:pick { 60, 100000 },
    heartbeat = random:pick { false, false, false, { interval = 100, timeout = 60 },
      { interval = 100, timeout = 60, message = "ping" } },
  }
  if random:chance(0.3) then
    options.shouldReconnect = function()
      life.steps[#life.steps + 1] = "shouldReconnect"
      meddle(life)
      return random:pick { true, true, false, "yes" }
    end
  end
  local url = "ws://home/"
  if random:chance(0.3) then
    function url()
      life.steps[#life.steps + 1] = "url"
      life.inClose = nil -- another attempt begins, also when reconnect() was called there
      if life.ws then meddle(life) end
      if random:chance(0.2) then error("no token", 0) end
      return random:chance(0.1) and "none" or "ws://home/"
    end
  end
  return url, options
end

local function new(seed)
  local world = World.new(seed)
  local life = setmetatable({
    world = world,
    random = Random.new(seed):fork "life",
    steps = {},
    own = setmetatable({}, { __mode = "k" }), -- its alarm; the timers are the heartbeat's
    count = 0, numbers = {}, hasty = {},      -- of messages: how many, by text, sent in onopen
    acceptedBytes = 0, handedBytes = 0, droppedBytes = 0, idleBytes = 0,
    handed = {}, newest = 0,
    firstOpen = 1, seen = {}, states = {},    -- how far the sockets' messages have been looked at
    opened = {}, closed = {},
    madeAtClose = nil,                        -- sockets there were when close() was called
    told = nil,                               -- to wait for drain
    ended = false,                            -- its last close was told
  }, Life)
  local alarm = world.alarm
  function world.alarm(...)
    local own = alarm(...)
    life.own[own] = true
    return own
  end
  function world.watch() check(life) end
  local WebSocket = world.WebSocket
  function world.WebSocket(...)
    local socket = WebSocket(...)
    if life.random:chance(life.blocking) then socket:block() end
    return socket
  end
  life.blocking = life.random:pick { 0, 0.5, 1 } -- how often the system takes no output by itself
  life.calm = life.random:pick { 0, 0.5, 0.9 }
  life.meddling = life.random:pick { 0, 0.1, 0.4 }
  life.failing = life.random:pick { 0, 0, 0.1 }
  local url, options = settings(life)
  life.options = options
  life.ws = reconnect.class(world)(url, nil, options)
  listen(life)
  return life
end

-- close(), and all that is left comes to its end. A line that holds has brought all over before, and said so.
local function finish(life)
  life.meddling, life.failing = 0, 0
  local s = life.world.live[1]
  if s then
    s.object:open()
    s.object:unblock()
  end
  for _ = 1, 3 do settle(life, 0) end
  if life.ws.readyState == 1 then
    must(life.ws.queuedMessages == 0, "%d messages are still queued", life.ws.queuedMessages)
    must(not life.told, "no drain came")
  end
  close(life)
  check(life)
  settle(life, 20000)
  must(life.ws.readyState == 3, "readyState %d at the end", life.ws.readyState)
  must(#life.world.timers == 0, "%d timers at the end", #life.world.timers)
  must(#life.world.live == 0, "a connection at the end")
  must(life.ended, "the last close was not told")
  local left = outstanding(life)
  must(left == 0, "%d bytes neither handed over nor told to be unsent", left)
  for i, socket in ipairs(life.world.sockets) do
    must(life.closed[socket:state()], "no close of connection %d", i)
  end
  must(life.ws.queuedMessages == 0, "messages queued at the end")
  must(life.ws.bufferedAmount == life.idleBytes + life.droppedBytes, "bufferedAmount %d at the end, not %d",
    life.ws.bufferedAmount, life.idleBytes + life.droppedBytes)
end

local function run(life)
  for _ = 1, life.random(5, 40) do step(life) end
  finish(life)
end

--- One life. Returns the number of its steps.
function lives.run(seed)
  local life = new(seed)
  local ok, err = pcall(run, life)
  if not ok then error(("SEED=%d: %s\n  %s"):format(seed, tostring(err), table.concat(life.steps, ", ")), 0) end
  return #life.steps
end

return lives
