-- luas.lua -- does the module work under this Lua? For `make check-luas`, which runs it under
-- each one that is installed: busted and the other specs speak 5.4. Plain Lua, 5.1 to 5.5.
--
--   lua spec/luas.lua            prints "ok" or raises

local lunawire = require "lunawire"

local unpack = table.unpack or unpack -- luacheck: ignore
local WebSocket, WebSocketServer = lunawire.WebSocket, lunawire.WebSocketServer

-- As a client of its own: ends without a word, with a socket open.
if arg[1] then
  local ws = WebSocket(arg[1])
  function ws.onopen()
    ws:send "last words"
    lunawire.stop()
  end
  lunawire.run(5000)
  return
end

local function equal(expected, got, what)
  if expected ~= got then
    error(("%s: %s expected, got %s"):format(what or "value", tostring(expected), tostring(got)), 2)
  end
end

local function raises(name, fn, ...)
  local arguments = { n = select("#", ...), ... }
  local ok, err = pcall(function()
    fn(unpack(arguments, 1, arguments.n)) -- no tail call: it has a place
    return nil
  end)
  equal(false, ok, name .. " raised")
  equal(name, type(err) == "table" and err.name or err)
  assert(tostring(err):find("luas.lua:%d+: " .. name .. ": "), tostring(err))
end

local function await(try)
  local deadline = lunawire.now() + 10000
  while not try() do
    assert(lunawire.now() < deadline, "it did not happen")
    lunawire.step(10)
  end
end

-- --- timers -----------------------------------------------------------------------------------------

local order = {}
local function note(...) order[#order + 1] = table.concat({ tostring(select("#", ...)), tostring((...)) }, " ") end

lunawire.setTimeout(note, 2, "second", nil, nil)
lunawire.setTimeout(note, 1, "first")
local interval
interval = lunawire.setInterval(function()
  note "beat"
  if #order == 5 then interval:close() end
end, 5)
equal(true, lunawire.run(10000))
equal("1 first,3 second,1 beat,1 beat,1 beat", table.concat(order, ","))
lunawire.clearTimeout(lunawire.setTimeout(error, 0))
equal(true, lunawire.run())
raises("TypeError", lunawire.setTimeout, note, 0 / 0)
raises("TypeError", lunawire.setTimeout, "note")
equal("ab", lunawire.Blob({ "a", lunawire.ArrayBuffer "b" }):string())
raises("TypeError", lunawire.Blob, "a")
raises("TypeError", lunawire.run, "soon")

-- --- errors -----------------------------------------------------------------------------------------

for _, value in ipairs { "oops", 42, false, {}, print } do
  lunawire.setTimeout(function() error(value, 0) end, 0)
  local result = { pcall(lunawire.run, 1000) }
  equal(2, #result)
  equal(value, result[2])
end
local got
function lunawire.onerror(err, source, traceback) got = { err, source, traceback } end
lunawire.setTimeout(function() error "oops" end, 0)
lunawire.run(1000)
assert(got[1]:find "luas.lua:%d+: oops$", got[1])
assert(got[3]:find "stack traceback:\n.*luas.lua:%d+:", got[3])
local function overflow(...) return 1 + overflow(...) end
lunawire.setTimeout(function() overflow(unpack({}, 1, 200)) end, 0)
lunawire.run(1000)
assert(tostring(got[1]):find "overflow", tostring(got[1]))
for _, bad in ipairs { coroutine.yield, lunawire.run, lunawire.step } do
  got = nil
  lunawire.setTimeout(bad, 0)
  lunawire.run(1000)
  assert(got, "nothing was raised")
end
lunawire.onerror = nil

-- --- sockets ----------------------------------------------------------------------------------------

local server = WebSocketServer {}
local topics, requests = {}, 0
function server.onupgrade(event) event.headers = { ["X-Lua"] = _VERSION } end
function server.onconnection(event)
  assert(event.request.path == "/path" or event.request.path == "/other")
  event.socket:subscribe "news"
end
function server.onmessage(event)
  event.target:send(event.data, event.binary and "binary" or nil)
  topics[#topics + 1] = server:publish("news", "published")
end
function server.onrequest(event)
  requests = requests + 1
  event:respond(200, { ["Content-Type"] = "text/plain" }, "hello")
end

local ws = WebSocket(server.url .. "path")
local log = {}
for _, name in ipairs { "open", "message", "error", "close" } do
  ws["on" .. name] = function(event)
    local detail = event.data and #event.data or event.code or ""
    log[#log + 1] = event.type .. " " .. detail .. (event.binary and " binary" or "")
  end
end
local sizes = { 0, 125, 126, 65535, 65536, 200000 }
ws:addEventListener("open", function() for _, size in ipairs(sizes) do ws:send(("x"):rep(size), "binary") end end,
  { once = true })
await(function() return #log == 1 + 2 * #sizes end)
equal("open ", log[1])
equal("message 0 binary", log[2])
equal("message 200000 binary", log[#log - 1])
equal(1, topics[1])
equal(1, #server)
for socket in server:each() do equal(1, socket.readyState) end
raises("TypeError", ws.send, ws, nil)
raises("TypeError", ws.send, ws, "\255")
raises("TypeError", ws.send, {}, "x")
raises("InvalidAccessError", ws.close, ws, 999)
assert(not pcall(function() ws.readyState = 1 end))
assert(not pcall(function() ws.onmesage = print end))
assert(tostring(ws):find "^WebSocket %(open%)", tostring(ws))
ws.mine = "my own field"
equal("my own field", ws.mine)
ws:ping "x"
local closes = {}
function server.onsocketclose(event) closes[#closes + 1] = event.code end
ws:close(4000, "bye")
await(function() return log[#log]:find "^close" and #closes == 1 end)
equal("close 4000", log[#log])
equal(3, ws.readyState)
equal("for applications", lunawire.CloseCode.name(4000))

-- --- tasks --------------------------------------------------------------------------------------------

do
  local go, sleep, connect = lunawire.go, lunawire.sleep, lunawire.connect
  local echo = WebSocketServer {}
  function echo.onmessage(event) event.target:send(event.data, event.binary and "binary" or nil) end
  local function talk(name)
    local client = connect(echo.url)
    client:send(name .. "1")
    client:send(name .. "2", "binary")
    local one, kind = client:receive(5000)
    local two, other = client:receive()
    local none, why = client:receive(1)
    client:close()
    local data, last, event = client:receive()
    return table.concat({ one, kind, two, other, tostring(none), why, tostring(data), last, event.code }, " ")
  end
  local function said(name) return ("%s1 text %s2 binary nil timeout nil closed 1005"):format(name, name) end
  local a, b = go(talk, "a"), go(talk, "b")
  equal(said "b", b:join())
  equal(said "a", a:join())
  equal(said "main", talk "main")
  local fromHost
  coroutine.wrap(function() fromHost = talk "host" end)()
  await(function() return fromHost end)
  equal(said "host", fromHost)

  local ours, number = connect(echo.url), 0
  for i = 1, 3 do ours:send(tostring(i)) end
  for data in ours:messages() do
    number = number + 1
    equal(tostring(number), data)
    if number == 3 then ours:close() end
  end
  equal(3, number)

  -- An error or a stop ends the main chunk's wait, and the message is there afterwards.
  local other, what = connect(echo.url), nil
  other:addEventListener("message", function()
    if what == "error" then error(what, 0) else lunawire.stop() end
  end)
  for _, name in ipairs { "error", "stop" } do
    what = name
    other:send(what)
    local fine, problem = pcall(other.receive, other, 5000)
    equal(false, fine)
    equal(what == "error" and what or "AbortError", type(problem) == "table" and problem.name or problem)
    equal(what, (other:receive(0)))
  end
  other:close()

  -- 5.1 alone cannot wait within an iterator or a pcall; what it missed is there afterwards.
  local count, problem = 0, nil
  local reader = go(function()
    local client = connect(echo.url)
    for i = 1, 3 do client:send(tostring(i)) end
    if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then
      local fine, err = pcall(function() for _ in client:messages() do count = count + 1 end end)
      equal(false, fine)
      problem = err
      while client:receive(100) do count = count + 1 end
    else
      for _ in client:messages() do
        count = count + 1
        if count == 3 then client:close() end
      end
    end
    client:close()
  end)
  reader:join()
  equal(3, count)
  if problem then assert(problem:find "attempt to yield across", problem) end

  -- Nor does a coroutine that died as it tried to wait take a message with it.
  local kept = connect(echo.url)
  local words
  local dead = coroutine.create(function()
    for data in kept:messages() do words = data end
  end)
  local alive = coroutine.resume(dead)
  equal(_VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil, alive)
  kept:send "kept"
  if alive then await(function() return words end) else words = kept:receive(5000) end
  equal("kept", words)
  kept:close()

  -- Errors, with their tracebacks; cancellation, and who waits for it.
  local told
  function lunawire.onerror(err, source, traceback) told = { err, source, traceback } end
  local function culprit() error "oops" end
  local bad = go(function()
    sleep(1)
    culprit()
  end)
  await(function() return told end)
  lunawire.onerror = nil
  assert(told[1]:find "luas.lua:%d+: oops$", told[1])
  equal(bad, told[2])
  assert(told[3]:find "culprit" or told[3]:find "luas.lua:%d+", told[3])
  equal("failed", bad.status)
  local sleeper = go(sleep, 1e6)
  local joiner = go(function() return sleeper:join() end)
  sleeper:cancel "enough"
  equal("cancelled", sleeper.status)
  raises("AbortError", joiner.join, joiner)
  local name
  lunawire.setTimeout(function() name = select(2, pcall(sleep, 1)).name end, 0)
  await(function() return name end)
  equal("InvalidStateError", name)
  echo:close()

  -- Ten thousand of them, and deep ones.
  local ended = 0
  for i = 1, 10000 do
    go(function()
      sleep(i % 3)
      ended = ended + 1
    end)
  end
  local function nest(n)
    ended = ended + 1
    if n > 1 then go(nest, n - 1) end
  end
  nest(1000)
  await(function() return ended == 11000 end)
end

-- --- what comes back -------------------------------------------------------------------------------------

do
  local came, port = {}, nil
  local function serve()
    local other = WebSocketServer { port = port or 0 }
    port = other.port
    function other.onmessage(event)
      if event.data == "ping" then event.target:send "pong" else came[#came + 1] = event.data end
    end
    return other
  end
  local other, asked, told = serve(), 0, {}
  local back = lunawire.ReconnectingWebSocket(function()
    asked = asked + 1
    return other.url
  end, nil, { minDelay = 10, maxDelay = 20, heartbeat = { interval = 10, timeout = 2000, message = "ping" } })
  for _, name in ipairs { "open", "message", "close", "reconnecting", "ping", "pong" } do
    back["on" .. name] = function(event)
      equal(back, event.target)
      told[#told + 1] = event.type
    end
  end
  local beat = lunawire.heartbeat(back, { interval = 10, timeout = 2000 })
  equal(true, back:send "one")
  equal(1, back.queuedMessages)
  await(function() return came[1] and beat.latency end)
  other:close()
  await(function() return back.readyState ~= 1 end)
  back:send("two", "binary")
  other = serve()
  await(function() return #came == 2 and told[#told] == "pong" end)
  equal("one two", table.concat(came, " "))
  assert(asked >= 2)
  raises("TypeError", back.send, back, "\255")
  raises("TypeError", lunawire.ReconnectingWebSocket, other.url, nil, { minDelai = 1 })
  raises("TypeError", lunawire.heartbeat, back, { interval = 0 })
  assert(not pcall(function() back.url = "x" end))
  assert(not pcall(function() back.onmesage = print end))
  assert(tostring(back):find "^ReconnectingWebSocket %(open%)", tostring(back))
  function back.onmessage() error "oops" end
  local taken
  function lunawire.onerror(err, source) taken = { err, source } end
  for socket in other:each() do socket:send "hello" end
  await(function() return taken end)
  lunawire.onerror = nil
  assert(taken[1]:find "luas.lua:%d+: oops$", taken[1])
  equal(back, taken[2])
  beat:stop()
  back:close()
  await(function() return back.readyState == 3 end)
  equal(false, back:reconnect())
  equal("open", told[1])
  equal("close", told[#told])
  other:close()
  await(function() return #other == 0 end)
end

-- --- what nobody refers to ------------------------------------------------------------------------------

closes = {}
local weak = setmetatable({}, { __mode = "k" })
do
  local silent, heard = WebSocket(server.url .. "other"), 0
  weak[silent] = true
  await(function() return silent.readyState == 1 end)
  WebSocket(server.url .. "other").onmessage = function(event)
    heard = heard + 1
    event.target:close()
  end
  await(function() return #server == 2 end)
  collectgarbage()
  for _ = 1, 5 do lunawire.step(1) end
  equal(silent, (next(weak)))
  equal(0, #closes)
  silent = nil -- luacheck: ignore
  collectgarbage()
  collectgarbage()
  equal(nil, (next(weak)))
  server:broadcast "close, please"
  await(function() return heard == 1 and #closes == 2 end)
end
equal("1005 1005", table.concat(closes, " "))

-- --- descriptors and signals -----------------------------------------------------------------------------

local lines = {}
local pipe = io.popen "echo one; echo two"
lunawire.watch(pipe, "r", function(watch)
  local line = pipe:read "*l"
  lines[#lines + 1] = line
  if not line then watch:close() end
end)
await(function() return #lines == 2 end)
equal("one two", table.concat(lines, " "))
await(function()
  lunawire.step(10)
  return true
end)
pipe:close()
raises("TypeError", lunawire.watch, pipe, "r", print)

local signals = 0
lunawire.onsignal("USR1", function() signals = signals + 1 end)
os.execute "kill -USR1 $PPID"
await(function() return signals == 1 end)
lunawire.onsignal("USR1", nil)

-- --- another's end, and ours ----------------------------------------------------------------------------

local interpreter = 0
while arg[interpreter - 1] do interpreter = interpreter - 1 end
local child = io.popen(("'%s' '%s' '%sother'"):format(arg[interpreter], arg[0], server.url))
local words
function server.onmessage(event) words = event.data end
await(function() return #closes == 3 end)
equal("last words", words)
equal(1001, closes[3])
child:close()

raises("TypeError", debug.getmetatable(ws).__index, {}, "url")
local collect = debug.getmetatable(ws).__gc
collect(ws)
collect(ws)
collect {}

for _ = 1, 3 do WebSocket(server.url .. "other").onmessage = print end -- open at the end
await(function() return #server == 3 end)
io.write "ok\n"
