-- beats.lua -- what a heartbeat must stand, and what must stand a server's death; short in
-- heartbeat_spec.lua, long in heartbeat_torture.lua. Each function sets a scene, plays it, and returns its
-- figures for the caller to judge; what the scene opened, turns.clear() closes.

local Proxy = require "spec.torture.proxy"
local Random = require "spec.torture.random"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local beats = {}

-- --- other programs -----------------------------------------------------------------------------------

-- The command of a Lua program that is given as text. Its arguments follow.
function beats.command(code, arguments)
  return ("echo %s | exec %s"):format(helper.quote("io.stdout:setvbuf 'line' " .. code),
    helper.lua("- " .. (arguments or "")))
end

-- Starts one beside the spec; it ends with the spec if not before.
function beats.program(code, arguments, seconds)
  local peer = helper.peer(beats.command(code, arguments), seconds)
  turns.keep { close = function() peer:stop() end }
  return peer
end

-- A server without a heartbeat of its own that answers "ping". PORT HOST; prints its port.
beats.SERVER = [[
  local lunawire = require "lunawire"
  local port, host = ...
  local server = lunawire.WebSocketServer { port = tonumber(port or 0), host = host, heartbeat = false }
  server.onmessage = function(event) if event.data == "ping" then event.target:send "pong" end end
  print(server.port)
  lunawire.run()]]

-- Kills a program as nobody is ever asked.
function beats.kill(peer)
  peer:signal "KILL"
  peer:wait()
end

-- --- figures --------------------------------------------------------------------------------------------

-- Sorts a list of numbers. Returns its least, its median, its greatest.
function beats.range(list)
  table.sort(list)
  return list[1], list[(#list + 1) // 2], list[#list]
end


-- Turns the loop for so long.
function beats.pass(ms)
  local deadline = lunawire.now() + ms
  while lunawire.now() < deadline do lunawire.step(deadline - lunawire.now()) end
end

-- --- lines that go dead -----------------------------------------------------------------------------------

-- Opens `count` lines through a proxy one after the other, so that the n-th link is the n-th socket's.
local function lines(count, proxy, server, dial)
  local list, came = {}, nil
  server.onconnection = function(event) came = event.socket end
  for i = 1, count do
    local line = { link = nil, client = nil, guest = nil, number = i }
    proxy.onlink = function(link) line.link = link end
    line.client = dial(line)
    line.guest = wire.await(function()
      local guest = line.client.readyState == 1 and came
      if guest then came = nil end
      return guest
    end, "a line")
    list[i] = line
  end
  return list
end

-- {count, interval, timeout, seed, span, server}: each line is blackholed, up, down or both ways, at a moment
-- within `span` ms; with `server`, it is the server's own heartbeat that has to notice. Returns by how many
-- milliseconds after interval + timeout each was found dead (negative: before), and what else happened.
function beats.blackholes(options)
  local random = Random.new(options.seed)
  local times = { interval = options.interval, timeout = options.timeout }
  local server = turns.serve { heartbeat = options.server and times }
  local proxy = Proxy.new { port = server.port, seed = options.seed }
  turns.keep(proxy)
  local late, wrong, found = {}, {}, 0
  local list = lines(options.count, proxy, server, function(line)
    local client = lunawire.WebSocket(("ws://127.0.0.1:%d/"):format(proxy.port))
    line.beat = not options.server and lunawire.heartbeat(client, {
      interval = options.interval, timeout = options.timeout, message = line.number % 2 == 0 and "ping" or nil,
    })
    return client
  end)
  server.onmessage = function(event) event.target:send "pong" end
  for _, line in ipairs(list) do
    line.who = options.server and line.guest or line.client
    line.who.onclose = function(event)
      found = found + 1
      if not line.cut or event.reason ~= "heartbeat timeout" then
        wrong[#wrong + 1] = ("line %d: %s, %d %s"):format(line.number, line.cut and "cut" or "whole", event.code, event.reason)
      else
        late[#late + 1] = lunawire.now() - line.cut - options.interval - options.timeout
      end
    end
    local way = random:pick { "up", "down", "both" }
    lunawire.setTimeout(function()
      line.cut = lunawire.now()
      if way == "both" then line.link:blackhole() else line.link[way]:blackhole() end
    end, random() * options.span)
  end
  wire.await(function() return found == #list end, "all lines to be given up", options.span / 1000 + 10)
  for _, line in ipairs(list) do line.client:terminate() end
  return late, wrong
end

-- --- false alarms -------------------------------------------------------------------------------------------

-- Lines whose answers are late, 30 % of them: when the beat that they answer went, left(line) tells, as near
-- as can be known.
local function late_lines(options, server, tally, dial, way, left)
  local began = lunawire.now()
  local proxy = Proxy.new { port = server.port, seed = options.seed }
  turns.keep(proxy)
  local list = lines(options.count, proxy, server, function(line)
    local client = lunawire.WebSocket(("ws://127.0.0.1:%d/"):format(proxy.port))
    dial(line, client)
    return client
  end)
  for _, line in ipairs(list) do
    local function gone(event)
      tally.alarms[#tally.alarms + 1] = ("after %.1f s, line %d, answers %s: %d %s"):format(
        (lunawire.now() - began) / 1000, line.number, way, event.code, event.reason)
    end
    line.client.onclose, line.guest.onclose = gone, gone
    line.link[way]:delay(function(random)
      local at = left(line)
      if not at or not random:chance(0.3) then return 0 end
      tally.late = tally.late + 1
      return math.max(0, at + options.timeout - options.margin - lunawire.now())
    end)
  end
  return list
end

-- A ping of the server's own goes in one turn of the loop, reaches the proxy in the next, the client in the
-- one after. However long the machine held us up between, it left no earlier than so many turns ago.
local TURNS = 4

-- Turns the loop, and knows when. Returns pass(ms), and a function that tells when turn -TURNS began.
local function turner()
  local starts, i = {}, 0
  local function pass(ms)
    local deadline = lunawire.now() + ms
    while lunawire.now() < deadline do
      i = (i + 1) % (TURNS + 1)
      starts[i] = lunawire.now()
      lunawire.step(1)
    end
  end
  return pass, function() return starts[(i + 1) % (TURNS + 1)] end
end

-- {count, interval, timeout, margin, seed, seconds}: of the answers to beats 30 % come only `margin` ms before
-- it is too late. So many lines beat from the client's side, half of them with text, and as many from the
-- server's own. Everything is in one loop, so that whatever holds us up holds up the network too. Returns
-- {answers, late, alarms}: two numbers, and what was given up.
function beats.delays(options)
  local tally = { answers = 0, late = 0, alarms = {} }
  local pass, earliest = turner()
  local function answered() tally.answers = tally.answers + 1 end
  local function isPong(text)
    if text == "pong" then answered() end
    return text == "pong"
  end
  local plain = turns.serve { heartbeat = false }
  plain.onmessage = function(event) event.target:send "pong" end
  local ours = late_lines(options, plain, tally, function(line, client)
    local text = line.number % 2 == 0
    line.beat = lunawire.heartbeat(client, { interval = options.interval, timeout = options.timeout,
      message = text and "ping" or nil, reply = text and isPong or nil })
    client.onpong = answered
  end, "down", function(line) return line.beat.beatAt end)
  local beating = turns.serve { heartbeat = { interval = options.interval, timeout = options.timeout } }
  beating.onpong = answered
  local theirs = late_lines(options, beating, tally, function(line, client)
    client.onping = function() line.pinged = earliest() end
  end, "up", function(line) return line.pinged end)
  pass(options.seconds * 1000)
  for _, list in ipairs { ours, theirs } do
    for _, line in ipairs(list) do line.client.onclose, line.guest.onclose = nil, nil end
    for _, line in ipairs(list) do line.client:terminate() end
  end
  return tally
end

-- A server, and a proxy before it that delays 30 % of what it sends. DELAY SEED; prints the proxy's port.
local FAR_SERVER = [[
  local delay, seed = tonumber((...)), tonumber((select(2, ...)))
  local lunawire = require "lunawire"
  local Proxy = require "spec.torture.proxy"
  local server = lunawire.WebSocketServer { heartbeat = false }
  server.onmessage = function(event) event.target:send "pong" end
  local proxy = Proxy.new { port = server.port, seed = seed }
  proxy.down:delay(function(random) return random:chance(0.3) and random() * delay or 0 end)
  print(proxy.port)
  lunawire.run()]]

-- Clients behind a proxy that delays 30 % of what they send. DELAY SEED PORT COUNT; prints the proxy's port.
local FAR_CLIENTS = [[
  local delay, seed, port, count = table.unpack { ... }
  local lunawire = require "lunawire"
  local Proxy = require "spec.torture.proxy"
  local proxy = Proxy.new { port = tonumber(port), seed = tonumber(seed) }
  proxy.up:delay(function(random) return random:chance(0.3) and random() * delay or 0 end)
  for _ = 1, count do lunawire.WebSocket(("ws://127.0.0.1:%d/"):format(proxy.port)).onclose = function() end end
  print(proxy.port)
  lunawire.run()]]

-- {count, interval, timeout, seed, seconds, server}: our handlers are at work for up to one and a half timeouts
-- at a time, while the answers, some of them late, come from another process. With `server`, the heartbeat is a
-- server's own. Returns the number of answers, the share of time at work, and what was given up.
function beats.busy(options)
  local random = Random.new(options.seed)
  local times = { interval = options.interval, timeout = options.timeout }
  local answers, alarms, worked, sockets = 0, {}, 0, {}
  local function answered() answers = answers + 1 end
  local function gone(event) alarms[#alarms + 1] = ("%d %s"):format(event.code, event.reason) end
  local arguments = ("%d %d "):format(options.timeout // 2, options.seed)
  if options.server then
    local server = turns.serve { heartbeat = times }
    server.onconnection = function(event) sockets[#sockets + 1] = event.socket end
    server.onpong, server.onsocketclose = answered, gone
    beats.program(FAR_CLIENTS, ("%s %d %d"):format(arguments, server.port, options.count), options.seconds + 60)
  else
    local port = beats.program(FAR_SERVER, arguments, options.seconds + 60):line(lunawire.step)
    for i = 1, options.count do
      local ws = lunawire.WebSocket(("ws://127.0.0.1:%s/"):format(port))
      lunawire.heartbeat(ws, {
        interval = options.interval, timeout = options.timeout, message = i % 2 == 0 and "ping" or nil,
        reply = i % 2 == 0 and function(text)
          answered()
          return text == "pong"
        end or nil,
      })
      ws.onpong, ws.onclose = answered, gone
      ws.onopen = function() sockets[#sockets + 1] = ws end
    end
  end
  wire.await(function() return #sockets == options.count end, "all to be open")
  local timer
  local function work()
    local began, most = lunawire.now(), random() * 1.5 * options.timeout
    while lunawire.now() < began + most do end -- luacheck: ignore
    worked = worked + most
    timer = lunawire.setTimeout(work, random() * 2 * options.timeout)
  end
  work()
  beats.pass(options.seconds * 1000)
  lunawire.clearTimeout(timer)
  for _, ws in ipairs(sockets) do
    ws.onclose = function() end
    ws:terminate()
  end
  return answers, worked / options.seconds / 1000, alarms
end

-- --- the herd -------------------------------------------------------------------------------------------------

-- {count, away, options}: so many ReconnectingWebSockets lose their server at the same moment, killed; it is
-- back `away` ms later. Returns the moments at which they opened again, in ms from when it listened.
function beats.herd(options)
  local program = beats.program(beats.SERVER)
  local port = program:line(lunawire.step)
  local list, open, moments = {}, 0, {}
  for i = 1, options.count do
    local ws = lunawire.ReconnectingWebSocket(("ws://127.0.0.1:%s/"):format(port), nil, options.options)
    local here = false
    ws.onopen = function()
      here, open = true, open + 1
      moments[#moments + 1] = lunawire.now()
    end
    ws.onclose = function() -- of an attempt in vain as well
      if here then open = open - 1 end
      here = false
    end
    list[i] = ws
  end
  wire.await(function() return open == options.count end, "the herd")
  moments = {}
  beats.kill(program)
  local killed = lunawire.now()
  wire.await(function() return open == 0 and lunawire.now() - killed >= options.away end, "its loss")
  program = beats.program(beats.SERVER, port)
  program:line(lunawire.step)
  local back = lunawire.now()
  wire.await(function() return open == options.count end, "all to come back", 20)
  for i, moment in ipairs(moments) do moments[i] = moment - back end
  for _, ws in ipairs(list) do
    ws.onclose = nil
    ws:close()
    ws:terminate()
  end
  return moments, back - killed
end

-- How many fall into the fullest 100 ms, and how many into each on average, from the first to the last.
function beats.crowd(moments)
  local first, _, last = beats.range(moments)
  local bins, peak = {}, 0
  for _, moment in ipairs(moments) do
    local bin = (moment - first) // 100
    bins[bin] = (bins[bin] or 0) + 1
    peak = math.max(peak, bins[bin])
  end
  return peak, #moments / ((last - first) // 100 + 1)
end

return beats
