-- Errors in handlers: they leave run and step as they are, or go to lunawire.onerror, and
-- nothing is lost for them.

local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local sys = probe.sys
local run, step, setTimeout = lunawire.run, lunawire.step, lunawire.setTimeout

-- A raw peer, the socket a server of ours has for it, and that server.
local function guest()
  local server, socket = turns.serve(), nil
  function server.onconnection(event) socket = event.socket end
  local peer = wire.client(server.port)
  wire.await(function() return socket end)
  return peer, socket, server
end

-- Turns until step raises; returns what.
local function raised()
  for _ = 1, 1000 do
    local result = table.pack(pcall(step, 5))
    if not result[1] then
      assert.equal(2, result.n)
      return result[2]
    end
  end
  error("nothing was raised", 2)
end

describe("an error in a handler", function()
  before_each(turns.open)
  after_each(turns.clear)

  local values = {
    { "a string", "oops" }, { "a number", 42 }, { "a float", 0.5 }, { "a boolean", false }, { "nil", nil },
    { "a table", { code = 1 } }, { "a function", print }, { "a coroutine", coroutine.create(print) },
    { "a file", io.stdout }, { "a table that says something else", setmetatable({}, { __tostring = error }) },
  }
  for _, case in ipairs(values) do
    it(("leaves step and run unchanged when it is %s"):format(case[1]), function()
      setTimeout(function() error(case[2], 0) end, 0)
      local result = table.pack(pcall(step, 1000))
      assert.equal(2, result.n)
      assert.is_false(result[1])
      assert.is_true(rawequal(case[2], result[2]))
      assert.equal(math.type(case[2]), math.type(result[2]))
      setTimeout(function() error(case[2], 0) end, 0)
      result = table.pack(pcall(run))
      assert.equal(2, result.n)
      assert.is_true(rawequal(case[2], result[2]))
    end)
  end

  it("leaves with its place when it was raised with one", function()
    setTimeout(function() error "oops" end, 0)
    assert.matches("lua_error_spec%.lua:%d+: oops$", raised())
    setTimeout(function() local nothing = nil; return nothing.field end, 0)
    assert.matches("lua_error_spec%.lua:%d+: attempt to index a nil value", raised())
  end)

  it("leaves as the library's own error object when it was one", function()
    setTimeout(function() setTimeout(nil) end, 0)
    assert.equal("TypeError", raised().name)
  end)

  it("leaves, from whatever handler", function()
    local r, w = turns.fd(sys.pipe())
    sys.write(w, "x")
    local watch = lunawire.watch(r, "r", function() error("watch", 0) end)
    assert.equal("watch", raised())
    watch:close()
    lunawire.onsignal("USR1", function() error("signal", 0) end)
    sys.raise(probe.signal "USR1")
    assert.equal("signal", raised())
    lunawire.onsignal("USR1", nil)

    local server = wire.server()
    local ws = lunawire.WebSocket(server.url)
    for _, name in ipairs { "open", "message", "ping", "pong", "error", "close" } do
      ws["on" .. name] = function() error(name, 0) end
    end
    local peer = wire.await(function() return server.listener:accept() end) -- on the way: nothing is raised
    peer:close()
    assert.equal("error", raised())
    assert.equal("close", raised())
    assert.is_true(run(0))

    local listener = wire.server()
    ws = lunawire.WebSocket(listener.url)
    ws.onopen = function() error("open", 0) end
    ws.onmessage = function() error("message", 0) end
    local open = listener:asked()
    open:send(wire.switch(open.request.headers["sec-websocket-key"]))
    assert.equal("open", raised())
    assert.equal(1, ws.readyState)
    open:frame { "text", payload = "x" }
    assert.equal("message", raised())
    assert.equal(1, ws.readyState)
    ws:terminate()
  end)

  describe("leaves what was not delivered for the next turn:", function()
    it("timers", function()
      local order = {}
      for i = 1, 5 do
        setTimeout(function()
          order[#order + 1] = i
          if i % 2 == 0 then error(i, 0) end
        end, 0)
      end
      sys.sleep(2)
      assert.equal(2, raised())
      assert.same({ 1, 2 }, order)
      assert.equal(0, lunawire.timeout())
      assert.equal(4, raised())
      assert.same({ 1, 2, 3, 4 }, order)
      assert.equal(1, step())
      assert.same({ 1, 2, 3, 4, 5 }, order)
    end)

    it("messages that came in one segment, and the close behind them", function()
      local peer, socket = guest()
      local heard = {}
      socket.onmessage = function(event)
        heard[#heard + 1] = event.data
        error("no " .. event.data, 0)
      end
      socket.onclose = function(event) heard[#heard + 1] = event.code end
      peer:frame({ "text", payload = "1" }, { "text", payload = "2" }, { "text", payload = "3" })
      peer:closing(1000)
      peer:shutdown()
      for i = 1, 3 do
        assert.equal("no " .. i, raised())
        assert.equal(i, #heard)
      end
      wire.await(function() return #heard == 4 end)
      assert.same({ "1", "2", "3", 1000 }, heard)
      assert.equal(8, peer:next().opcode)
    end)

    it("other sockets' messages", function()
      local peers, sockets, heard, server = {}, {}, 0, turns.serve()
      function server.onconnection(event) sockets[#sockets + 1] = event.socket end
      function server.onmessage(event)
        heard = heard + 1
        error(event.data, 0)
      end
      for i = 1, 10 do peers[i] = wire.client(server.port) end
      wire.await(function() return #sockets == 10 end)
      for i = 1, 10 do peers[i]:frame { "text", payload = "from " .. i } end
      sys.sleep(20)
      local seen = {}
      for _ = 1, 10 do seen[raised()] = true end
      assert.equal(10, heard)
      for i = 1, 10 do assert.is_true(seen["from " .. i]) end
      assert.equal(10, #server)
    end)
  end)

  it("of a close handler leaves one close, and nothing behind", function()
    local peer, socket = guest()
    local closes = 0
    socket.onclose = function()
      closes = closes + 1
      error("close", 0)
    end
    peer:closing(1000)
    peer:shutdown()
    assert.equal("close", raised())
    peer:finish()
    wire.settle()
    assert.equal(1, closes)
    assert.equal(3, socket.readyState)
  end)

  it("lets run be called again, which goes on", function()
    local order = {}
    setTimeout(function() error("first", 0) end, 0)
    setTimeout(function() order[#order + 1] = "second" end, 1)
    assert.is_false(pcall(run))
    assert.is_true(run(5000))
    assert.same({ "second" }, order)
  end)

  it("wins over a stop() of the same handler, which is then forgotten", function()
    setTimeout(function()
      lunawire.stop()
      error("oops", 0)
    end, 0)
    local came = false
    setTimeout(function() came = true end, 5)
    assert.is_false(pcall(run))
    assert.is_true(run(5000))
    assert.is_true(came)
  end)
end)

describe("several listeners of one event", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("all run, whatever the others raise; the first error leaves", function()
    local peer, socket = guest()
    local order = {}
    for i = 1, 4 do
      socket:addEventListener("message", function()
        order[#order + 1] = i
        if i > 1 then error({ i }, 0) end
      end)
    end
    socket.onmessage = function()
      order[#order + 1] = "on"
      error("on", 0)
    end
    peer:frame({ "text", payload = "a" }, { "text", payload = "b" })
    for turn = 1, 2 do
      assert.same({ 2 }, raised())
      assert.equal(5 * turn, #order)
    end
    assert.same({ 1, 2, 3, 4, "on", 1, 2, 3, 4, "on" }, order)
  end)

  it("may raise nil first: that is an error, too", function()
    local peer, socket = guest()
    local ran = false
    socket:addEventListener("message", function() error(nil) end)
    socket:addEventListener("message", function()
      ran = true
      error("second", 0)
    end)
    peer:frame { "text", payload = "a" }
    assert.is_nil(raised())
    assert.is_true(ran)
  end)

  it("end where one stops the event, be it that it raises", function()
    local peer, socket = guest()
    local ran = false
    socket:addEventListener("message", function(event)
      event:stopImmediatePropagation()
      error("stopped", 0)
    end)
    socket:addEventListener("message", function() ran = true end)
    peer:frame { "text", payload = "a" }
    assert.equal("stopped", raised())
    assert.is_false(ran)
  end)

  it("have their further errors warned of #foreign", function()
    local output, status = turns.program [[
      package.path = "./?.lua;" .. package.path
      warn "@on"
      local lunawire = require "lunawire"
      local wire = require "spec.wire"
      local server, socket = lunawire.WebSocketServer {}, nil
      server.onconnection = function(event) socket = event.socket end
      local peer = wire.client(server.port)
      while not socket do lunawire.step(5) end
      local values = { "first", "second", 3, nil, { "table" },
        setmetatable({}, { __tostring = function() return "in words" end }),
        setmetatable({}, { __tostring = function() error "not even this" end }) }
      for i = 1, 7 do
        socket:addEventListener("message", function() error(values[i], 0) end)
      end
      socket:addEventListener("message", function() lunawire.setTimeout(nil) end)
      peer:frame { "text", payload = "a" }
      print(pcall(lunawire.run, 5000))]]
    local warnings = {}
    for line in output:gmatch "[^\n]+" do
      warnings[#warnings + 1] = line:match "^Lua warning: lunawire: a further listener of the same event failed: (.*)"
    end
    assert.matches("false\tfirst\n", output)
    assert.equal("second", warnings[1])
    assert.equal("3", warnings[2])
    assert.equal("nil", warnings[3])
    assert.matches("^table: ", warnings[4])
    assert.equal("in words", warnings[5])
    assert.equal("(its __tostring failed, too)", warnings[6])
    assert.matches("TypeError: setTimeout: a function expected", warnings[7])
    assert.equal(7, #warnings)
    assert.equal(0, status)
  end)
end)

describe("lunawire.onerror", function()
  local errors

  before_each(function()
    turns.open()
    errors = {}
    function lunawire.onerror(...) errors[#errors + 1] = table.pack(...) end
  end)
  after_each(turns.clear)

  it("gets the error, whose it was, and the traceback; the loop goes on", function()
    local peer, socket, server = guest()
    local thrown = {}
    local function culprit() error(thrown) end
    socket.onmessage = function(event)
      if event.data == "bad" then culprit() end
      errors[#errors + 1] = event.data
    end
    peer:frame({ "text", payload = "bad" }, { "text", payload = "good" }, { "text", payload = "bad" })
    wire.await(function() return #errors == 3 end)
    assert.equal("good", errors[2])
    for _, i in ipairs { 1, 3 } do
      assert.equal(3, errors[i].n)
      assert.equal(thrown, errors[i][1])
      assert.equal(socket, errors[i][2])
      assert.equal("string", type(errors[i][3]))
      assert.matches("^stack traceback:", errors[i][3])
      assert.matches("lua_error_spec.lua:%d+: in upvalue 'culprit'", errors[i][3])
    end
    function server.onconnection() error("connection", 0) end
    local other = wire.client(server.port)
    wire.await(function() return #errors == 4 end)
    assert.equal("connection", errors[4][1])
    assert.equal(server, errors[4][2])
    other:close()
  end)

  it("gets nil for whose it was from timers, watches and signals, whoever failed before", function()
    local peer, socket = guest()
    socket.onmessage = function() error("socket", 0) end
    peer:frame { "text", payload = "x" }
    wire.await(function() return #errors == 1 end)
    setTimeout(function() error("timer", 0) end, 0)
    turns.await(function() return #errors == 2 end)
    local r, w = turns.fd(sys.pipe())
    sys.write(w, "x")
    lunawire.watch(r, "r", function(self)
      self:close()
      error("watch", 0)
    end)
    turns.await(function() return #errors == 3 end)
    lunawire.onsignal("USR1", function() error("signal", 0) end)
    sys.raise(probe.signal "USR1")
    turns.await(function() return #errors == 4 end)
    lunawire.onsignal("USR1", nil)
    for i, name in ipairs { "socket", "timer", "watch", "signal" } do
      assert.equal(name, errors[i][1])
      assert.equal(i == 1 and socket or nil, errors[i][2])
      assert.is_string(errors[i][3])
    end
  end)

  it("gets nothing stale for whose it was: not the server that was served before", function()
    local server, r, w = turns.serve(), turns.fd(sys.pipe())
    lunawire.watch(r, "r", function(self)
      self:close()
      error("watch", 0)
    end)
    local peer = wire.connect(server.port)
    sys.await(lunawire.fd(), "r") -- it is at the door
    sys.write(w, "x")
    step()
    assert.equal("watch", errors[1][1])
    assert.is_nil(errors[1][2])
    peer:close()
  end)

  it("gets nothing stale for whose it was: not a server that is gone", function()
    local r, w = turns.fd(sys.pipe())
    lunawire.watch(r, "r", function(self)
      self:close()
      error("watch", 0)
    end)
    local server = lunawire.WebSocketServer {}
    server.onclose = function() error("server", 0) end
    server:close()
    server = nil -- luacheck: ignore
    function lunawire.onerror(...)
      errors[#errors + 1] = table.pack(...)
      collectgarbage()
      collectgarbage()
    end
    sys.write(w, "x")
    step()
    assert.same({ "server", "watch" }, { errors[1][1], errors[2][1] })
    assert.is_nil(errors[2][2])
  end)

  it("gets the error of each of several listeners", function()
    local peer, socket = guest()
    for i = 1, 3 do socket:addEventListener("message", function() error(i, 0) end) end
    peer:frame { "text", payload = "x" }
    wire.await(function() return #errors == 3 end)
    for i = 1, 3 do
      assert.equal(i, errors[i][1])
      assert.equal(socket, errors[i][2])
    end
  end)

  it("gets strings with their place, numbers, tables and nil unchanged", function()
    local table_ = {}
    for _, value in ipairs { "string", 1, 0.5, false, table_ } do
      setTimeout(function() error(value, 0) end, 0)
      turns.await(function() return errors[1] end)
      assert.is_true(rawequal(value, errors[1][1]))
      errors = {}
    end
    setTimeout(function() error(nil) end, 0)
    turns.await(function() return errors[1] end)
    assert.is_nil(errors[1][1])
    assert.equal(3, errors[1].n)
  end)

  for _, count in ipairs { 1, 3 } do
    it(("that raises itself ends step with its own error, and gets that not again (%d listeners)"):format(count), function()
      local peer, socket = guest()
      local calls = 0
      function lunawire.onerror(err)
        calls = calls + 1
        error("onerror of " .. tostring(err), 0)
      end
      if count == 1 then
        socket.onmessage = function() error("1", 0) end
      else
        for i = 1, count do socket:addEventListener("message", function() error(i, 0) end) end
      end
      peer:frame({ "text", payload = "x" }, { "text", payload = "y" })
      for turn = 1, 2 do
        assert.equal("onerror of 1", raised())
        assert.equal(count * turn, calls)
      end
      function lunawire.onerror(err) errors[#errors + 1] = err end
      peer:frame { "text", payload = "z" }
      wire.await(function() return #errors == count end) -- the flag of the last one does not linger
      assert.equal(1, socket.readyState)
    end)
  end

  it("that cannot be called hides no error: it leaves step as if there were none", function()
    lunawire.onerror = "print"
    setTimeout(function() error("oops", 0) end, 0)
    assert.equal("oops", raised())
  end)

  it("may be set, changed and taken away at any time", function()
    setTimeout(function()
      function lunawire.onerror(err) errors[#errors + 1] = "second " .. err end
      error("oops", 0)
    end, 0)
    turns.await(function() return errors[1] end)
    assert.same({ "second oops" }, errors)
    setTimeout(function()
      lunawire.onerror = nil
      error("gone", 0)
    end, 0)
    assert.equal("gone", raised())
  end)

  it("may stop, close, send and open as any handler", function()
    local peer, socket = guest()
    local timer
    function lunawire.onerror(err)
      errors[#errors + 1] = err
      socket:send "sorry"
      socket:close(1011)
      timer = setTimeout(function() end, 60000)
      lunawire.stop()
    end
    socket.onmessage = function() error("oops", 0) end
    peer:frame { "text", payload = "x" }
    assert.is_false(run(20000))
    assert.equal("sorry", peer:next().payload)
    assert.equal("\3\243", peer:next().payload)
    assert.same({ "oops" }, errors)
    timer:close()
  end)

  it("does not keep a run from ending", function()
    setTimeout(function() error "oops" end, 0)
    assert.is_true(run(5000))
    assert.equal(1, #errors)
  end)
end)
