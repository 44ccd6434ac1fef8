-- life.lua -- a server, its clients, strangers, timers, and the network between them, all drawn from a seed; and what the
-- contract says must hold, looked at in every event and after every turn of the loop.
--
-- world.run("sim/life.lua", "SEED CERTIFICATE") is one life in a Lua state of its own. It raises what did not hold; TRACE in
-- the environment prints each step of it. The same seed is the same life. With the certificate (a PEM file with its key,
-- for all the names below) one life of five speaks TLS.
--
-- Always, for each connection and either end of it: open at most once and before all else; messages in their order, none
-- altered, none twice, and none missing before one that came; pings likewise; an error at most once, and then an unclean close;
-- exactly one close, and nothing after it; states only go forward; a clean end means that all that was said before it
-- was heard. bufferedAmount grows by what is sent, and with what the other end has got it never exceeds what was
-- sent. drain only after send asked for it. Timers are never early, never late by a turn, never after they
-- were cleared, and in order. When the network is quiet, all that was said has been heard, each ping is answered, who was
-- told to wait may go on, and who is gone is noticed; and everything comes to its end by itself.

local world = require "world"
local lunawire = require "lunawire"
local reliable = require "lunawire.reliable"

local seed, certificate = (...):match "^(%d+) ?(.*)$"
world.begin { seed = tonumber(seed) }

local TRACE = os.getenv "TRACE"
local PLANNED = "planned" -- an error that a handler raises on purpose

local random = world.random
local function chance(percent) return random(100) <= percent end
local function pick(list) return list[random(#list)] end

local function trace(...)
  if TRACE then io.stderr:write(("%12.3f "):format(world.now()), string.format(...), "\n") end
end

local function must(holds, ...)
  if not holds then error("broken: " .. string.format(...), 0) end
end

local server -- that is new; nil while there is none

-- --- an end of a connection ---------------------------------------------------------------------------------

local sides = {}        -- all there ever were
local byId = {}         -- a client's number: its two ends
local act               -- something that somebody does; may be called in handlers
local quiet = false     -- nobody says anything any more
local nested = 0        -- acts inside handlers inside acts

local fill = ("0123456789abcdef"):rep(8192)
local sizes = { 0, 1, 5, 20, 125, 126, 127, 300, 1000, 4000, 20000 }

local function other(side) return byId[side.id][side.role == "c" and "s" or "c"] end

local function message(side)
  local size = chance(3) and 70000 or pick(sizes)
  side.count = side.count + 1
  return (("%s%d:%d:"):format(side.role, side.id, side.count) .. fill:sub(1, size))
end

-- Perhaps something more, from within a handler.
local function perhaps(side)
  if quiet then return end
  if nested < 2 and chance(15) then
    nested = nested + 1
    act(side)
    nested = nested - 1
  end
  if chance(1) then
    trace("%s raises in a handler", side.name)
    error(PLANNED)
  end
end

local function look(side)
  local ws = side.ws
  local state, buffered = ws.readyState, ws.bufferedAmount
  must(state >= side.state, "%s went from state %d to %d", side.name, side.state, state)
  side.state = state
  must(buffered >= 0 and buffered <= side.total, "%s: bufferedAmount %s of %d", side.name, buffered, side.total)
  local peer = other(side)
  if peer and state == 1 and not side.estimates then -- of a cork half gone, framing counts as content until it has gone
    must(peer.heard + buffered <= side.total + 14 * (#side.sent + side.pings + 64), "%s: %d heard and %d buffered of %d",
      side.name, peer.heard, buffered, side.total)
  end
end

local function heard(side, event)
  local peer = other(side)
  must(side.opened, "%s: a message before open", side.name)
  must(not side.closed, "%s: a message after close", side.name)
  must(not side.closing, "%s: a message after close()", side.name)
  must(peer, "%s: a message from nobody", side.name)
  local expected = peer.sent[side.received + 1]
  must(expected, "%s: message %d was never sent: %q", side.name, side.received + 1, event.data:sub(1, 30))
  must(event.data == expected.data, "%s: instead of message %d, %q (%d bytes): %q (%d bytes)", side.name,
    side.received + 1, expected.data:sub(1, 20), #expected.data, event.data:sub(1, 20), #event.data)
  must(event.binary == expected.binary, "%s: message %d has the wrong type", side.name, side.received + 1)
  side.received = side.received + 1
  side.heard = side.heard + #event.data
  peer.sent[side.received] = { data = "", binary = false }
  trace("%s hears %d", side.name, side.received)
  perhaps(side)
end

local function pinged(side, event)
  local peer = other(side)
  if not event.data:find "^p%d" then return end -- a heartbeat's
  must(not side.closed and peer, "%s: a ping after close", side.name)
  side.pingsHeard = side.pingsHeard + 1
  must(event.data == "p" .. side.pingsHeard, "%s: instead of ping %d %q", side.name, side.pingsHeard, event.data)
end

local function ponged(side, event)
  local number = tonumber(event.data:match "^p(%d+)$")
  if not number then return end
  must(not side.closed, "%s: a pong after close", side.name)
  must(number > side.ponged and number <= side.pings, "%s: pong %d after %d of %d", side.name, number, side.ponged, side.pings)
  side.ponged = number
end

local function failed(side, event)
  trace("%s error: %s (%s)", side.name, event.message, tostring(event.code))
  must(not side.closed and not side.failed, "%s: a second error, or one after close", side.name)
  side.failed = true
  perhaps(side)
end

local function closed(side, event)
  local peer = byId[side.id] and other(side)
  trace("%s close %d %q clean %s", side.name, event.code, event.reason, tostring(event.wasClean))
  must(not side.closed, "%s: a second close", side.name)
  side.closed = true
  must(side.ws.readyState == 3, "%s: close in state %d", side.name, side.ws.readyState)
  if side.failed then must(event.code == 1006 and not event.wasClean, "%s: an error, and then %d", side.name, event.code) end
  if event.wasClean then must(event.code ~= 1006, "%s: clean 1006", side.name) end
  if event.wasClean and peer and peer.closing and not side.closing then
    must(event.code == peer.closing.code and event.reason == peer.closing.reason, "%s: %d %q instead of %d %q", side.name,
      event.code, event.reason, peer.closing.code, peer.closing.reason)
    must(side.received == #peer.sent, "%s: a clean end after %d of %d messages", side.name, side.received, #peer.sent)
  end
  perhaps(side)
end

-- `estimates`: it compresses or splits, so what is left of a cork is a share.
local function newSide(role, id, ws, estimates)
  local side = {
    role = role, id = id, estimates = estimates, server = role == "s" and server, name = role .. id, ws = ws,
    state = ws.readyState, sent = {}, received = 0, heard = 0, total = 0,
    count = 0, pings = 0, pingsHeard = 0, ponged = 0, opened = role == "s",
  }
  sides[#sides + 1] = side
  byId[id] = byId[id] or {}
  must(not byId[id][role], "%s: a second connection from one client", side.name)
  byId[id][role] = side
  ws.onmessage = function(event) heard(side, event) end
  ws.onping = function(event) pinged(side, event) end
  ws.onpong = function(event) ponged(side, event) end
  ws.onerror = function(event) failed(side, event) end
  ws.onclose = function(event) closed(side, event) end
  ws.ondrain = function()
    must(side.toldToWait and not side.closed, "%s: drain, and nobody waits", side.name)
    side.toldToWait = false
    perhaps(side)
  end
  return side
end

-- --- what is done with one --------------------------------------------------------------------------------

local function note(side, data, binary)
  side.sent[#side.sent + 1] = { data = data, binary = binary or false }
  side.total = side.total + #data
end

local function send(side)
  local ws = side.ws
  local data, binary = message(side), chance(50)
  local state, before = ws.readyState, ws.bufferedAmount
  trace("%s sends %d bytes", side.name, #data)
  local ok, result = pcall(ws.send, ws, data, { binary = binary, compress = chance(80) or nil })
  if state == 0 then
    must(not ok and result.name == "InvalidStateError", "%s: send while connecting: %s", side.name, tostring(result))
    return
  end
  must(ok, "%s: send raised %s", side.name, tostring(result))
  if state == 1 and ws.readyState == 1 then
    note(side, data, binary)
    if not result then side.toldToWait = true end
  else
    side.total = side.total + #data -- too slow, or closed already: it counts, and goes nowhere
  end
  if ws.readyState == 1 or state > 1 then
    must(ws.bufferedAmount == before + #data, "%s: bufferedAmount %d after %d and %d", side.name, ws.bufferedAmount, before,
      #data)
  end
end

local function ping(side)
  if side.ws.readyState ~= 1 then return end
  local ok = pcall(side.ws.ping, side.ws, "p" .. side.pings + 1)
  if ok and side.ws.readyState == 1 then side.pings = side.pings + 1 end
end

local codes = { 1000, 3000, 4999, 4000 }
local function close(side)
  local code, reason
  if chance(70) then code, reason = pick(codes), chance(50) and "for a reason" or nil end
  trace("%s closes %s in state %d", side.name, tostring(code), side.ws.readyState)
  if side.ws.readyState < 2 then side.closing = { code = code or 1005, reason = reason or "" } end
  side.ws:close(code, reason)
  must(side.ws.readyState >= 2, "%s: state %d after close()", side.name, side.ws.readyState)
end

local function drop(side)
  trace("%s terminates", side.name)
  if side.ws.readyState < 2 then side.closing = { code = 1006, reason = "" } end -- else it has closed, or failed, before
  side.ws:terminate "drop"
end

local doings = {
  send, send, send, send, send, send, send, send, ping, ping,
  function(side) side.ws:pause() end,
  function(side) side.ws:resume() end, function(side) side.ws:resume() end,
  function(side) if chance(40) then close(side) end end,
  function(side) if chance(30) then drop(side) end end,
  function(side) if side.role == "s" then side.ws:subscribe "topic" side.subscribed = true end end,
}

-- --- the server -------------------------------------------------------------------------------------------

local port
local secure = chance(20) and certificate ~= ""
local tight = chance(25) -- there are few descriptors
local wantRestart, lost, misfortunes = false, false, 0
local options = {
  port = 0, origins = "*",
  perMessageDeflate = pick { false, true, { serverNoContextTakeover = true, clientNoContextTakeover = true } },
  maxPayload = pick { 1048576, 1048576, 30000 },
  highWaterMark = pick { 100, 65536 },
  maxBufferedAmount = pick { 100000, 16777216, 16777216 },
  heartbeat = pick { false, { interval = 1000, timeout = 500 }, { interval = 30000, timeout = 10000 } },
  handshakeTimeout = pick { 500, 10000 },
  closeTimeout = pick { 300, 5000 },
  maxConnections = pick { 2, 100, 100 },
  fragmentSize = pick { 0, 0, 50 },
  tls = secure and { cert = certificate, key = certificate } or nil,
}

local byPath -- RWS: the numbers that have come, by path
local function serve()
  local mine = lunawire.WebSocketServer(options)
  server, port = mine, mine.port
  options.port = port -- after a restart the same again
  mine.onconnection = function(event)
    local id = tonumber(event.request.path:match "^/c(%d+)$")
    if id then
      local side = newSide("s", id, event.socket, secure or options.perMessageDeflate or options.fragmentSize > 0)
      trace("%s is here", side.name)
      perhaps(side)
      return
    end
    byPath(event)
  end
  mine.onerror = function(event) trace("server error: %s", event.message) end
  mine.onclose = function()
    trace "server close"
    must(mine == server, "a second close of a server")
    server = nil
    lost = wantRestart
    wantRestart = false
  end
end

local function closeServer()
  for _, side in ipairs(sides) do
    if side.role == "s" and side.ws.readyState == 1 then side.closing = { code = 1001, reason = "" } end
  end
  server:close()
end

local function broadcast(publisher)
  local receivers, binary = {}, false
  local data = ("b%d:"):format(random(1000000)) .. fill:sub(1, pick(sizes))
  for _, side in ipairs(sides) do
    if side.role == "s" and side.ws.readyState == 1 and side.server == server and side ~= publisher
      and (not publisher or side.subscribed) then
      receivers[#receivers + 1] = side
    end
  end
  local count
  if publisher then count = publisher.ws:publish("topic", data)
  else count = server:broadcast(data) end
  trace("broadcast of %d bytes to %d", #data, count)
  local reached = 0
  for _, side in ipairs(receivers) do
    if side.ws.readyState == 1 then
      note(side, data, binary)
      side.toldToWait = side.toldToWait or side.ws.bufferedAmount >= options.highWaterMark
      reached = reached + 1
    end
  end
  must(count == reached or publisher == nil and count >= reached, "broadcast to %d, queued for %d", reached, count)
end

-- --- clients ------------------------------------------------------------------------------------------------

local ids = 0
local names = { "localhost", "two.example", "slow.example", "nowhere.example", "127.0.0.1", "[::1]" }

-- A socket by this constructor, or nil: with TLS it looks at files, which the system may not let it.
local function make(constructor, ...)
  local ok, result = pcall(constructor, ...)
  if ok then return result end
  must(secure and (result.name == "MemoryError" or result.message:find "tls: "), "a constructor raised %s", tostring(result))
  trace("no socket: %s", tostring(result))
end

local function connect(host)
  ids = ids + 1
  local id = ids
  host = host or pick(names)
  local deflate, fragmentSize = chance(70), pick { 0, 0, 7 }
  local ws = make(lunawire.WebSocket, ("%s://%s:%d/c%d"):format(secure and "wss" or "ws", host, port, id), nil, {
    handshakeTimeout = pick { 300, 5000 }, closeTimeout = pick { 300, 5000 }, perMessageDeflate = deflate,
    highWaterMark = pick { 100, 65536 }, maxBufferedAmount = pick { 150000, 16777216 },
    maxPayload = pick { 16777216, 16777216, 30000 }, fragmentSize = fragmentSize, tls = secure and { ca = certificate } or nil,
  })
  if not ws then return end
  local side = newSide("c", id, ws, secure or deflate or fragmentSize > 0)
  trace("%s sets out to %s", side.name, host)
  ws.onopen = function()
    must(not side.opened and not side.closed and side.received == 0, "%s: open twice, or late", side.name)
    must(not side.closing, "%s: open after close()", side.name)
    must(ws.readyState == 1, "%s: open in state %d", side.name, ws.readyState)
    side.opened = true
    trace("%s open", side.name)
    perhaps(side)
  end
  return side
end

-- A ReconnectingWebSocket: what it hands over arrives at most once, and on one line in order.
local riders = {}
local function patience(tls)
  return {
    tls = tls, minDelay = 100, maxDelay = 2000, heartbeat = { interval = 2000, timeout = 1000 }, handshakeTimeout = 3000,
    closeTimeout = 1000,
  }
end

local function ride()
  local rider = { number = #riders + 1, count = 0, seen = {} }
  rider.ws = make(lunawire.ReconnectingWebSocket,
    ("%s://two.example:%d/r%d"):format(secure and "wss" or "ws", port, rider.number), nil,
    patience(secure and { ca = certificate } or nil))
  riders[rider.number] = rider.ws and rider
end

byPath = function(event)
  local rider = riders[tonumber(event.request.path:match "^/r(%d+)$")]
  if not rider then return must(event.request.path == "/stranger", "a request for %q", event.request.path) end
  local socket, last = event.socket, 0
  socket.onmessage = function(got)
    local number = tonumber(got.data)
    must(not rider.seen[number], "rider %d: %d a second time", rider.number, number)
    must(number > last, "rider %d: %d after %d", rider.number, number, last)
    rider.seen[number], last = true, number
    if chance(20) then socket:send("echo") end
  end
end

local function rideOn()
  local rider = riders[1] and pick(riders)
  if not rider then return chance(20) and ride() or nil end
  if rider.ws.readyState == 3 then return end
  rider.count = rider.count + 1
  pcall(rider.ws.send, rider.ws, tostring(rider.count))
end

-- A session that survives its lines: each message once and in order, both ways.
local session
local function beginSession()
  local made, mine = pcall(lunawire.WebSocketServer,
    { port = 0, protocols = { reliable.protocol }, heartbeat = { interval = 2000, timeout = 1000 } })
  if not made then return end
  local hub = reliable.server(mine, { sessionTimeout = 1e9 })
  local ws = lunawire.ReconnectingWebSocket(("ws://127.0.0.1:%d/"):format(mine.port), reliable.protocol, patience())
  session = { server = mine, hub = hub, link = reliable.client(ws), up = 0, upHeard = 0, down = 0, downHeard = 0 }
  hub.onsession = function(event) session.far = event.session end
  hub.onmessage = function(event)
    session.upHeard = session.upHeard + 1
    must(event.data == "up" .. session.upHeard, "session: %q instead of up%d", event.data, session.upHeard)
  end
  session.link.onmessage = function(event)
    session.downHeard = session.downHeard + 1
    must(event.data == "down" .. session.downHeard, "session: %q instead of down%d", event.data, session.downHeard)
  end
  session.link.onerror = function(event) must(false, "session: error %s: %s", tostring(event.code), event.message) end
end

local function sessionSend()
  if not session then return chance(10) and beginSession() or nil end
  if chance(60) then
    if pcall(session.link.send, session.link, "up" .. session.up + 1) then session.up = session.up + 1 end
  elseif session.far then
    if pcall(session.far.send, session.far, "down" .. session.down + 1) then session.down = session.down + 1 end
  end
end

-- --- strangers: programs of which nothing is known ------------------------------------------------------------

local strangers = {}
local REQUEST = "GET /stranger HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

local function stranger()
  local fd = #strangers < 3 and world.dial(port)
  if fd then strangers[#strangers + 1] = fd return end
  fd = pick(strangers)
  local what = random(6)
  if what == 1 then world.send(fd, REQUEST:sub(1, random(#REQUEST)))
  elseif what == 2 then world.send(fd, REQUEST .. "\129\131abcd")
  elseif what == 3 then world.send(fd, fill:sub(1, random(2000)))
  elseif what == 4 then world.recv(fd)
  elseif what == 5 then world.shut(fd)
  else
    for i, one in ipairs(strangers) do
      if one == fd then table.remove(strangers, i) break end
    end
    world.close(fd)
  end
end

-- --- timers -------------------------------------------------------------------------------------------------

local timers = {} -- those set and not fired, in the order in which they were set
local turn = 0

local function setTimer()
  local delay = pick { 0, 1, 1, 10, 100, 1000, 20000 }
  local timer = { due = world.now() + delay, turn = turn }
  timer.handle = lunawire.setTimeout(function()
    must(not timer.cleared and not timer.fired, "a timer that was cleared, or has fired")
    must(world.now() >= timer.due, "a timer %g ms early", timer.due - world.now())
    timer.fired = true
    must(timer.turn < turn, "a timer in the turn that set it")
  end, delay)
  timer.latest = world.now() + delay -- a look at the clock takes time
  timers[#timers + 1] = timer
end

local function clearTimer()
  local timer = timers[1] and pick(timers)
  if not timer then return end
  timer.cleared = true
  lunawire.clearTimeout(timer.handle)
end

-- After a turn that began at `began`: all that were due then have fired.
local function lookAtTimers(began)
  local left = {}
  for _, timer in ipairs(timers) do
    if not timer.fired and not timer.cleared then
      -- to a nanosecond or two, which is how milliseconds are rounded
      must(timer.latest + 2e-6 > began or timer.turn == turn, "a timer is %g ms late", began - timer.latest)
      left[#left + 1] = timer
    end
  end
  timers = left
end

-- --- what happens ---------------------------------------------------------------------------------------------

local laws = {
  function() world.law { latency = pick { 0, 0, 1, 30, 300 } } end,
  function() world.law { shorter = pick { 0, 0, 100, 250 }, again = pick { 0, 0, 30, 120 } } end,
  function() world.law { reset = pick { 0, 0, 0, 20, 300 } } end,
  function() world.law { late = pick { 0, 0, 20 }, oversleep = pick { 1, 50, 2000 } } end,
  function() world.law { tick = pick { 0, 0.001, 0.1 } } end,
  function() world.law { fault = pick { 0, 0, 0, 0, 200, 2000 } } end,
}

local function misfortune()
  local fd = world.link(random(12))
  if not fd then return end
  misfortunes = misfortunes + 1
  if chance(50) then
    trace("link %d is reset", fd)
    world.snap(fd)
  else
    trace("link %d is cut", fd)
    world.cut(fd)
  end
end

act = function(side)
  side = side or (sides[1] and pick(sides))
  if not side or side.closed and chance(90) then return end
  pick(doings)(side)
end

local function restart()
  if wantRestart then return end
  trace "the server is restarted"
  wantRestart = true
  closeServer()
end

local happenings = {
  act, act, act, act, act, act, act, act, act, act, act, act,
  connect, setTimer, setTimer, clearTimer, rideOn, rideOn, sessionSend, sessionSend, sessionSend, stranger, stranger,
  function() if chance(30) then misfortune() end end,
  function() pick(laws)() end,
  function() if chance(10) then restart() end end,
  function() if chance(30) then collectgarbage() end end,
  function() if chance(30) then lunawire.flush() end end,
  function() broadcast() end,
  function()
    for _, side in ipairs(sides) do
      if side.subscribed and side.ws.readyState == 1 and side.server == server then return broadcast(side) end
    end
  end,
}

-- A handler's error leaves step, or goes to onerror: whichever this life has.
local function step(wait)
  turn = turn + 1
  local before = world.now()
  local ok, problem = pcall(lunawire.step, wait)
  if not ok and not tostring(problem):find(PLANNED, 1, true) then error(problem, 0) end
  if ok then lookAtTimers(before) end
  for _, side in ipairs(sides) do look(side) end
end

local function live()
  for _ = 1, 10 + random(70) do
    for _ = 1, random(4) do
      local what = pick(happenings)
      if lost and chance(50) then lost = not pcall(serve) end
      if server or what == act then what() end
    end
    step(pick { 0, 0, 0, 1, 10, 100, 1000, 5000 })
  end
end

-- The network is as it should be from now on, for a minute in which nobody says anything.
local function calm()
  trace "all is calm"
  world.law { latency = 0, shorter = 0, again = 0, reset = 0, fault = 0, late = 0, tick = 0.0001 }
  for _, side in ipairs(sides) do
    if side.ws.readyState < 2 then side.ws:resume() end
  end
  quiet = true
  local room = server and not wantRestart and not tight and #sides < 20 and options.maxConnections == 100
  local newcomer = room and connect "127.0.0.1"
  local enough = world.now() + 60000
  while world.now() < enough do step(1000) end
  for _, side in ipairs(sides) do
    local peer = other(side)
    if side.ws.readyState == 1 and misfortunes == 0 and peer and peer.ws.readyState == 1 then
      must(side.received == #peer.sent, "%s: %d of %d messages, and all is calm", side.name, side.received, #peer.sent)
      must(side.ponged == side.pings, "%s: pong %d of %d, and all is calm", side.name, side.ponged, side.pings)
      must(side.ws.bufferedAmount == 0, "%s: %d buffered, and all is calm", side.name, side.ws.bufferedAmount)
      must(not side.toldToWait, "%s waits for drain, and all is calm", side.name)
    end
    if side.role == "s" and side.ws.readyState == 1 and options.heartbeat and options.heartbeat.interval == 1000 then
      must(peer and peer.ws.readyState == 1, "%s: nobody is there any more, and the heartbeat is silent", side.name)
    end
    must(side.ws.readyState ~= 2, "%s: still closing, and all is calm", side.name)
  end
  if newcomer then must(newcomer.ws.readyState == 1, "%s does not get in, and all is calm", newcomer.name) end
end

-- Everybody says goodbye.
local function settle()
  trace "everything ends"
  if session then -- it has all the time it needs
    local link = session.link
    local enough = world.now() + 300000
    while world.now() < enough and (link.unacknowledged > 0 or session.downHeard < session.down) do step(1000) end
    must(session.upHeard == session.up, "session: %d of %d came up", session.upHeard, session.up)
    must(session.downHeard == session.down, "session: %d of %d came down", session.downHeard, session.down)
    link:close()
    session.server:close()
  end
  for _, rider in ipairs(riders) do rider.ws:close() end
  for _, side in ipairs(sides) do
    if chance(50) then close(side) end
  end
  wantRestart = false
  if server then closeServer() end
  for _, side in ipairs(sides) do
    if side.role == "c" then close(side) end
  end
  local ok, done
  for _ = 1, 100 do -- each error of a handler leaves it once
    ok, done = pcall(lunawire.run, 200000)
    if ok then break end
    must(tostring(done):find(PLANNED, 1, true), "run raised %s", tostring(done))
  end
  must(ok and done == true, "something is left after 200 s of quiet")
  for _, side in ipairs(sides) do
    must(side.closed, "%s never told its close", side.name)
  end
  must(not server, "the server never told its close")
  local open = world.state().open
  must(open <= 3, "%d descriptors are open when all is over", open) -- the poller's and the resolver's may be
  world.pass(1000) -- what is on its way arrives
  for _, fd in ipairs(strangers) do
    local got, why
    repeat got, why = world.recv(fd) until not got or got == ""
    must(got == "" or misfortunes > 0 or not why:find "unavailable", "a stranger's connection was never ended: %s", tostring(why))
    world.close(fd)
  end
end

-- A loop that turns for ever comes to this at last: a life has about a million instructions.
debug.sethook(function() must(false, "it does not end") end, "", 200000000)

-- --- one life -------------------------------------------------------------------------------------------------

world.law {
  latency = pick { 0, 1, 30 }, capacity = pick { 50, 1000, 65536, 65536 },
  shorter = pick { 0, 0, 60 }, again = pick { 0, 0, 30 }, tick = pick { 0, 0.001 }, limit = tight and 30 or 0,
}
world.host("two.example", "2001:db8::1,127.0.0.1,::1", pick { 0, 5 })
world.host("slow.example", "127.0.0.1", pick { 0, 400 })
world.host("nowhere.example", "192.0.2.1,198.51.100.7")
if chance(50) then
  lunawire.onerror = function(problem)
    must(tostring(problem):find(PLANNED, 1, true), "a handler raised %s", tostring(problem))
  end
end
serve()
connect()
live()
local abrupt = chance(20)
if not abrupt then
  calm()
  settle()
end
return ("%d connections, %d turns%s"):format(ids, turn, abrupt and ", ended abruptly" or "")
