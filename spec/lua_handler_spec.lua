-- What a handler may do: everything. The loop stays sound, no other socket notices, every
-- socket hears exactly one close, and nothing is left behind.

local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local sys = probe.sys
local setTimeout = lunawire.setTimeout

-- --- a scene ----------------------------------------------------------------------------------------

-- A server with a victim on each side of one connection (both ours) and a bystander, whose
-- raw peer asks for an echo again and again. Everything is counted.
local scene

local function new_scene()
  scene = {
    house = turns.serve(),
    bystander = nil,
    echoes = 0,  -- the bystander has got
    asked = 0,   -- and has asked for
    closes = {}, -- side -> how often it heard close; nil: there is no such socket
    errors = {}, -- in handlers
    heard = {},  -- "client open" -> how often
    deeds = 0,   -- of those that should not go on for ever
  }
  function lunawire.onerror(err) scene.errors[#scene.errors + 1] = { err } end
end

local function ask_bystander()
  scene.asked = scene.asked + 1
  scene.bystander:frame { "text", payload = tostring(scene.asked) }
end

local function hear(side, name)
  local what = side .. " " .. name
  scene.heard[what] = (scene.heard[what] or 0) + 1
end

-- Sets all handlers of a victim; the one called `culprit` misbehaves after it has counted.
local function prepare(socket, side, culprit, misbehave)
  scene[side] = socket
  scene.closes[side] = 0
  for _, name in ipairs { "open", "message", "ping", "pong", "error", "close" } do
    socket["on" .. name] = function(event)
      hear(side, name)
      if name == "close" then scene.closes[side] = scene.closes[side] + 1 end
      if culprit == name then misbehave(event, side) end
    end
  end
end

local function serve(side, culprit, misbehave)
  local server = scene.house
  local function guilty(name) return side == "server" and culprit == name end
  function server.onupgrade(event)
    if event.request.path ~= "/victim" then return end
    hear("server", "upgrade")
    if guilty "upgrade" then misbehave(event, "server") end
  end
  function server.onconnection(event)
    if event.request.path == "/bystander" then
      event.socket.onmessage = function(e) e.target:send(e.data) end
    elseif event.request.path == "/victim" then
      prepare(event.socket, "server", side == "server" and culprit, misbehave)
      hear("server", "connection")
      if guilty "connection" then misbehave(event, "server") end
    end
  end
  scene.bystander = wire.client(server.port, nil, "GET /bystander HTTP/1.1")
end

local function is_over()
  return scene.closes.client == 1 and (scene.closes.server or 1) == 1
end

local function talk()
  for _, name in ipairs { "client", "server" } do
    local socket = scene[name]
    if socket and socket.readyState == 1 then
      socket:send "one"
      socket:send("two", "binary")
      socket:ping "ping"
    end
  end
  ask_bystander()
end

-- One life of the victims, in which each side hears every event it can: open, messages, ping
-- and pong, and a close.
local function live(side, culprit, misbehave)
  serve(side, culprit, misbehave)
  prepare(lunawire.WebSocket(scene.house.url .. "victim"), "client", side == "client" and culprit, misbehave)
  local turn = 0
  while not is_over() do
    turn = turn + 1
    if turn <= 5 then talk() end
    if turn == 15 and scene.client and scene.client.readyState == 1 then scene.client:close(1000) end
    if turn == 200 then -- one waits for the other, whom nobody knows any more
      for _, name in ipairs { "client", "server" } do
        if scene[name] then scene[name]:terminate() end
      end
    end
    wire.turn(turn > 50 and 1 or 0)
    assert(turn < 2000, "the victims live too long")
  end
end

local function check(side, culprit)
  ask_bystander()
  wire.await(function()
    while #scene.bystander.bytes >= 3 do
      assert.equal(tostring(scene.echoes + 1), scene.bystander:next().payload)
      scene.echoes = scene.echoes + 1
    end
    return scene.echoes == scene.asked
  end, "the bystander's echoes")
  wire.settle(5)
  assert.equal(1, scene.closes.client)
  assert.equal(scene.heard["server connection"] and 1, scene.closes.server)
  assert.is_true((scene.heard[side .. " " .. culprit] or 0) >= 1, "the culprit was never called")
  assert.is_nil(scene.bystander.ended)
  scene.bystander:close()
  scene.house:close()
end

-- --- misbehaviour -------------------------------------------------------------------------------------

-- The victim an event speaks of; nil where it is the server and there is no socket yet.
local function socket_of(event)
  if event.socket then return event.socket end
  if event.target ~= scene.house then return event.target end
end

-- Wide calls: narrow ones take Lua itself a second.
local function overflow(...) return 1 + overflow(...) end

local deeds = {
  -- what it is called; the deed, with its socket, the event, and the side; whether it raises
  { "raises a string", function() error "oops" end, true },
  { "raises a table", function() error { "oops" } end, true },
  { "raises nil", function() error(nil) end, true },
  { "overflows the stack", function() overflow(table.unpack({}, 1, 200)) end, true },
  { "overflows C's stack", function()
    local text = "x"
    string.gsub(text, "x", function() local function deep() return (text:gsub("x", deep)) end return deep() end)
  end, true },
  { "yields", function() coroutine.yield() end, true },
  { "calls run again", function() lunawire.run() end, true },
  { "calls step again", function() lunawire.step() end, true },
  { "calls step in a coroutine", function()
    local ok, err = coroutine.resume(coroutine.create(lunawire.step))
    assert(not ok and err.name == "InvalidStateError")
  end },
  { "closes its own socket", function(socket) socket:close() end },
  { "closes its own socket with a reason, twice", function(socket)
    socket:close(1000, "bye")
    socket:close(1000, "bye")
  end },
  { "terminates its own socket", function(socket) socket:terminate() end },
  { "terminates its own socket and goes on with it", function(socket)
    socket:terminate()
    socket:send "too late"
    socket:ping()
    socket:close()
    socket:pause()
    socket:resume()
    socket:terminate()
    lunawire.flush()
  end },
  { "terminates the other end", function(_, _, side)
    local other = scene[side == "client" and "server" or "client"]
    if other then other:terminate() end
  end },
  { "closes the other end", function(_, _, side)
    local other = scene[side == "client" and "server" or "client"]
    if other then other:close() end
  end },
  { "opens new sockets and servers", function()
    scene.deeds = scene.deeds + 1
    if scene.deeds > 5 then return end
    local server = lunawire.WebSocketServer {}
    server.onconnection = function(event)
      event.socket:close(1000)
      server:close()
    end
    lunawire.WebSocket(server.url).onclose = function() end
    lunawire.WebSocket(server.url) -- nobody listens to this one
  end },
  { "collects garbage", function()
    collectgarbage()
    collectgarbage()
  end },
  { "drops the last references and collects garbage", function(_, event, side)
    scene[side], event.target, event.socket = nil, nil, nil
    collectgarbage()
    collectgarbage()
  end },
  { "replaces itself", function(socket)
    for _, name in ipairs { "onmessage", "onping", "onpong" } do
      socket[name] = function() end
    end
    collectgarbage()
  end },
  { "removes all handlers but close", function(socket)
    for _, name in ipairs { "onmessage", "onping", "onpong", "onerror", "onopen" } do socket[name] = nil end
    collectgarbage()
  end },
  { "adds and removes listeners", function(socket)
    local function listener() socket:removeEventListener("message", listener) end
    for _ = 1, 10 do socket:addEventListener("message", listener) end
    socket:addEventListener("message", function() end, { once = true })
    collectgarbage()
  end },
  { "sends and pings much", function(socket)
    scene.deeds = scene.deeds + 1
    if scene.deeds > 5 or socket.readyState ~= 1 then return end
    for _ = 1, 100 do
      socket:send(("x"):rep(1000))
      socket:ping "x"
    end
    lunawire.flush()
  end },
  { "pauses and resumes", function(socket)
    socket:pause()
    setTimeout(function() socket:resume() end, 1)
  end },
  { "sets timers and watches", function()
    setTimeout(collectgarbage, 0)
    setTimeout(function() end, 1)
    local r, w = sys.pipe()
    sys.write(w, "x")
    lunawire.watch(r, "r", function(self)
      self:close()
      sys.close(r)
      sys.close(w)
    end)
  end },
  { "collects its own socket by hand, twice", function(socket, _, side)
    local gc = debug.getmetatable(socket).__gc
    gc(socket)
    gc(socket)
    scene[side], scene.closes[side] = nil, 1 -- it hears nothing more
    collectgarbage()
  end },
  { "asks its socket and the loop everything", function(socket)
    lunawire.flush()
    assert(lunawire.timeout() == nil or lunawire.timeout() >= 0)
    assert(lunawire.fd())
    assert(tostring(socket) and socket.bufferedAmount >= 0 and socket.readyState >= 0)
  end },
}

local places = {
  { "client", "open" }, { "client", "message" }, { "client", "ping" }, { "client", "pong" }, { "client", "close" },
  { "server", "upgrade" }, { "server", "connection" }, { "server", "message" }, { "server", "ping" },
  { "server", "pong" }, { "server", "close" },
}

describe("a handler that", function()
  before_each(turns.open)
  after_each(turns.clear)

  for _, deed in ipairs(deeds) do
    local name, act, raises = table.unpack(deed)
    it(name .. " harms nobody", function()
      for _, place in ipairs(places) do
        local side, culprit = place[1], place[2]
        new_scene()
        local ok, err = pcall(function()
          live(side, culprit, function(event, of)
            local socket = socket_of(event)
            if socket or raises then act(socket, event, of) end
          end)
          check(side, culprit)
          if raises then
            assert.equal(scene.heard[side .. " " .. culprit], #scene.errors)
          else
            assert.equal(0, #scene.errors, scene.errors[1] and tostring(scene.errors[1][1]))
          end
        end)
        if not ok then error(("in on%s of the %s: %s"):format(culprit, side, tostring(err)), 0) end
        scene = nil
        assert.is_true(lunawire.run(8000))
      end
    end)
  end
end)

describe("a handler that closes the server", function()
  before_each(turns.open)
  after_each(turns.clear)

  for _, place in ipairs { "onupgrade", "onconnection", "onmessage", "onsocketclose", "onclose", "onrequest" } do
    it("in " .. place .. " is the last one, and everybody is told", function()
      local server, closed, sockets = lunawire.WebSocketServer {}, 0, {}
      local function close() server:close() end
      server.onupgrade, server.onrequest = function() end, function(event) event:respond(200) end
      function server.onclose() closed = closed + 1 end
      function server.onconnection(event) sockets[#sockets + 1] = event.socket end
      local others = { wire.client(server.port), wire.client(server.port) }
      wire.await(function() return #sockets == 2 end)
      local before = server[place]
      server[place] = function(event)
        close()
        collectgarbage()
        if before then before(event) end
      end
      local peer
      if place == "onupgrade" or place == "onrequest" then
        peer = wire.connect(server.port)
        peer:send(place == "onupgrade" and wire.upgrade() or "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      elseif place == "onconnection" then
        peer = wire.client(server.port)
      elseif place == "onmessage" then
        others[1]:frame { "text", payload = "x" }
      elseif place == "onsocketclose" then
        wire.client(server.port):close()
      else
        close()
      end
      for _, other in ipairs(others) do
        local frame = other:next()
        assert.equal(8, frame.opcode)
        assert.equal("\3\233", frame.payload)
        other:close()
      end
      if peer then
        wire.await(function() return peer.bytes ~= "" or peer.ended end)
        peer:close()
      end
      wire.await(function() return closed == 1 end)
      assert.is_true(lunawire.run(5000))
      assert.equal(1, closed)
      for _, socket in ipairs(sockets) do assert.equal(3, socket.readyState) end
    end)
  end
end)

describe("a handler that ends the program #foreign", function()
  before_each(turns.open)
  after_each(turns.clear)

  local program = [[
    local place, how = PLACE, HOW
    local lunawire = require "lunawire"
    local function exit()
      if how == "in a coroutine" then
        coroutine.wrap(function() os.exit(true, true) end)()
      end
      os.exit(true, true)
    end
    local server = lunawire.WebSocketServer {}
    local function at(name) return function(event)
      if name == place and event.request.path == "/exit" then exit() end
      if name == "request" then event:respond(200) end
    end end
    server.onupgrade, server.onrequest = at "upgrade", at "request"
    function server.onconnection(event)
      at "connection" (event)
      local socket = event.socket
      function socket.onmessage(e)
        if e.data == "ready?" then socket:send "ready" return end
        if place == "message" then exit() end
        if place == "timer" then lunawire.setTimeout(exit, 0) end
        if place == "timer with a <close>" then
          lunawire.setTimeout(function() local t <close> = lunawire.setTimeout(print, 60000) exit() end, 0)
        end
        if place == "watch" then lunawire.watch(io.stdin, "r", exit) end
        if place == "onerror" then lunawire.onerror = exit error "x" end
        if place == "client" then
          local ws = lunawire.WebSocket(server.url)
          ws.onopen = exit
        end
        if place == "client close" then
          local ws = lunawire.WebSocket "ws://127.0.0.1:1/"
          ws.onclose = exit
        end
        if place == "close" then socket:close() end
        if place == "server close" then server.onclose = exit server:close(1001) end
        if place == "finalizer" then
          setmetatable({}, { __gc = exit })
          collectgarbage()
        end
      end
      socket:addEventListener("message", function(e)
        if e.data ~= "ready?" and place == "listener" then exit() end
      end)
      function socket.onclose()
        if place == "close" then exit() end
      end
    end
    if place == "signal" then lunawire.onsignal("USR1", exit) end
    io.stdout:setvbuf "line"
    print(server.port)
    lunawire.run()
    print "run has returned"]]

  for _, how in ipairs { "directly", "in a coroutine" } do
    for _, place in ipairs { "message", "listener", "timer", "timer with a <close>", "watch", "signal", "onerror", "client",
                             "client close", "upgrade", "connection", "request", "close", "server close", "finalizer" } do
      it(("%s, from %s, says 1001 to everybody and leaves no error"):format(how, place), function()
        local code = program:gsub("PLACE", ("%q"):format(place)):gsub("HOW", ("%q"):format(how))
        local child = turns.beside(code)
        local port = tonumber(child:line(lunawire.step))
        local peers = {}
        for i = 1, 3 do
          peers[i] = wire.client(port)
          peers[i]:frame { "text", payload = "ready?" }
          assert.equal("ready", peers[i]:next().payload)
        end
        if place == "signal" then
          os.execute("kill -USR1 " .. turns.pid(child))
        elseif place == "upgrade" or place == "connection" then
          wire.connect(port):send(wire.upgrade(nil, "GET /exit HTTP/1.1"))
        elseif place == "request" then
          wire.connect(port):send "GET /exit HTTP/1.1\r\nHost: a\r\n\r\n"
        else
          peers[1]:frame { "text", payload = "go" }
        end
        for i = 1, 3 do
          local frame = peers[i]:next()
          assert.equal(8, frame.opcode)
          assert.equal((place ~= "close" or i > 1) and "\3\233" or "", frame.payload)
          if place == "close" or place == "server close" then peers[i]:closing(1000) end
          assert.equal("eof", peers[i].ended or (peers[i]:finish()))
          peers[i]:close()
        end
        local text = child:text()
        assert.equal(0, child:wait())
        assert.equal(port .. "\n", text)
      end)
    end
  end
end)

describe("a socket made in a coroutine that has died", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("gets its events all the same, and so do timers, watches and servers", function()
    local log, server, got = nil, nil, {}
    local r, w = turns.fd(sys.pipe())
    local function make()
      server = turns.serve()
      server.onmessage = function(event)
        got[#got + 1] = "server"
        event.target:send(event.data)
      end
      local ws = lunawire.WebSocket(server.url)
      log = wire.record(ws)
      ws:addEventListener("open", function() ws:send "hello" end)
      setTimeout(function() got[#got + 1] = "timer" end, 1)
      lunawire.watch(r, "r", function(self)
        got[#got + 1] = "watch"
        self:close()
        ws:close(1000)
      end)
    end
    local co = coroutine.create(make)
    assert(coroutine.resume(co))
    assert.equal("dead", coroutine.status(co))
    local broken = coroutine.create(function()
      setTimeout(function() got[#got + 1] = "broken" end, 1)
      error "it dies of this"
    end)
    assert.is_false(coroutine.resume(broken))
    co, broken = nil, nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    wire.await(function() return #got == 3 end)
    sys.write(w, "x")
    wire.heard(log)
    table.sort(got)
    assert.same({ "broken", "server", "timer", "watch" }, got)
    assert.same({ "open", "text hello", "close 1000  clean" }, log)
  end)

  it("and a loop that turns in one coroutine after the other is the same loop", function()
    local got = {}
    for i = 1, 5 do setTimeout(function() got[#got + 1] = i end, 0) end
    sys.sleep(1)
    while #got < 5 do assert(coroutine.wrap(lunawire.step)(0, 0) == 1) end
    assert.same({ 1, 2, 3, 4, 5 }, got)
  end)
end)
