-- The loop as a script and as a host see it: run, step, stop, flush, fd, timeout, loop, now.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local sys = probe.sys
local run, step, setTimeout = lunawire.run, lunawire.step, lunawire.setTimeout

-- Waits without turning.
local function pass(ms)
  local over = lunawire.now() + ms
  while lunawire.now() < over do end
end

-- A raw peer and the socket a server of ours has for it.
local function guest()
  local server, socket = turns.serve { heartbeat = false }, nil
  function server.onconnection(event) socket = event.socket end
  local peer = wire.client(server.port)
  wire.await(function() return socket end)
  return peer, socket, server
end

-- A client of ours, open, and its raw peer.
local function client()
  local server = wire.server()
  local ws = lunawire.WebSocket(server.url)
  local log = wire.record(ws)
  local peer = server:open()
  wire.heard(log, "open")
  return ws, peer, log
end

describe("lunawire.run", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("returns true at once when nothing is left", function()
    assert.is_true(run())
    assert.is_true(run(0))
    assert.is_true(run(60000))
  end)

  describe("goes on while there is", function()
    it("a pending timer", function()
      local timer = setTimeout(function() end, 60000)
      assert.is_false(run(5))
      timer:close()
      assert.is_true(run())
    end)

    it("an interval", function()
      local calls = 0
      local timer = lunawire.setInterval(function() calls = calls + 1 end, 1)
      assert.is_false(run(20))
      assert.is_true(calls > 0)
      timer:close()
      assert.is_true(run())
    end)

    it("a watch", function()
      local r, w = turns.fd(sys.pipe())
      local watch = lunawire.watch(r, "r", function() end)
      assert.is_false(run(5))
      assert.is_number(w)
      watch:close()
      assert.is_true(run())
    end)

    it("a listening server, until its close", function()
      local server = lunawire.WebSocketServer {}
      assert.is_false(run(5))
      local closed = false
      function server.onclose() closed = true end
      server:close()
      assert.is_true(run(5000))
      assert.is_true(closed)
    end)

    it("a socket short of its close, in each of its states", function()
      local raw = wire.server()
      local ws = lunawire.WebSocket(raw.url)
      local log = wire.record(ws)
      assert.is_false(run(5)) -- connecting: the peer says nothing
      local peer = raw:open()
      wire.heard(log, "open")
      assert.is_false(run(5))
      ws:close(1000)
      assert.is_false(run(5)) -- closing: the peer does not answer
      peer:next()
      peer:closing(1000)
      peer:close()
      assert.is_true(run(5000))
      assert.same({ "open", "close 1000  clean" }, log)
    end)

    it("a socket that somebody has ended, until it has heard so", function()
      local ws, _, log = client()
      ws:terminate()
      assert.is_nil(log.close)
      assert.is_true(run(5000))
      assert.equal(1006, log.close.code)
    end)
  end)

  it("does not wait for a signal that may never come", function()
    lunawire.onsignal("USR1", function() end)
    assert.is_true(run(5000))
    lunawire.onsignal("USR1", nil)
  end)

  it("ends when its time is over, and says that something is left", function()
    local timer = setTimeout(function() end, 60000)
    for _, ms in ipairs { 0, -1, 0.5, 30 } do
      local result
      local took = turns.time(function() result = run(ms) end)
      assert.is_false(result)
      assert.is_true(took >= ms and took < ms + 2000, took)
    end
    timer:close()
  end)

  it("returns true when what was left ends within its time", function()
    setTimeout(function() end, 5)
    local took = turns.time(function() assert.is_true(run(60000)) end)
    assert.is_true(took < 30000)
  end)

  it("refuses a time that is none", function()
    local timer = setTimeout(function() end, 60000)
    for _, value in ipairs { 0 / 0, -math.huge, "5", {}, true } do
      assert.matches("run: milliseconds expected", wire.mistake("TypeError", run, value))
    end
    timer:close()
    assert.is_true(run(math.huge))
    assert.is_true(run(nil))
  end)

  it("waits in the system, however short its time", function()
    local before = os.clock()
    local timer = setTimeout(function() end, 60000)
    run(300)
    timer:close()
    assert.is_true(os.clock() - before < 0.1, os.clock() - before)
  end)

  describe("is ended by stop()", function()
    it("from a handler, after the turn it is in", function()
      local order = {}
      setTimeout(function()
        lunawire.stop()
        order[#order + 1] = "stop"
      end, 0)
      setTimeout(function() order[#order + 1] = "same turn" end, 0)
      local timer = setTimeout(function() order[#order + 1] = "later" end, 60000)
      assert.is_false(run())
      assert.same({ "stop", "same turn" }, order)
      timer:close()
    end)

    it("and tells even then whether something is left", function()
      setTimeout(lunawire.stop, 0)
      assert.is_true(run())
    end)

    it("once: the next run goes on", function()
      setTimeout(lunawire.stop, 0)
      local came = false
      setTimeout(function() came = true end, 20)
      assert.is_false(run())
      assert.is_false(came)
      assert.is_true(run())
      assert.is_true(came)
    end)

    it("not when nothing runs", function()
      lunawire.stop()
      local came = 0
      local function come() came = came + 1 end
      setTimeout(come, 5)
      setTimeout(come, 10)
      assert.is_true(run())
      assert.equal(2, came)
      setTimeout(lunawire.stop, 0)
      step(100)
      setTimeout(come, 5)
      setTimeout(come, 10)
      assert.is_true(run())
      assert.equal(4, came)
    end)
  end)

  describe("inside a handler raises InvalidStateError", function()
    local function inside(of)
      local called = 0
      for _, what in ipairs { "run", "step" } do
        for _, argument in ipairs { "none", 0, 5 } do
          called = called + 1
          local message = wire.mistake("InvalidStateError", lunawire[what], argument ~= "none" and argument or nil)
          assert.matches(what .. ": called inside a handler", message)
        end
      end
      -- in a coroutine it is no less inside
      local ok, err = coroutine.resume(coroutine.create(step))
      assert.is_false(ok)
      assert.equal("InvalidStateError", err.name)
      of.called = called
    end

    it("of a timer, the last one included", function()
      local seen = {}
      setTimeout(function() inside(seen) end, 0)
      assert.is_true(run(5000))
      assert.equal(6, seen.called)
    end)

    it("of a watch", function()
      local seen, r, w = {}, turns.fd(sys.pipe())
      sys.write(w, "x")
      local watch = lunawire.watch(r, "r", function() inside(seen) end)
      assert.equal(1, step(5000))
      watch:close()
      assert.equal(6, seen.called)
    end)

    it("of a signal", function()
      local seen = {}
      lunawire.onsignal("USR1", function() inside(seen) end)
      sys.raise(probe.signal "USR1")
      turns.await(function() return seen.called end)
      lunawire.onsignal("USR1", nil)
    end)

    it("of a socket, a server and a listener", function()
      local seen = { {}, {}, {}, {} }
      local server = turns.serve()
      function server.onupgrade() inside(seen[1]) end
      function server.onconnection(event)
        inside(seen[2])
        event.socket.onmessage = function() inside(seen[3]) end
        event.socket:addEventListener("message", function() inside(seen[4]) end)
      end
      local peer = wire.client(server.port)
      peer:frame { "text", payload = "x" }
      wire.await(function() return seen[4].called end)
      for i = 1, 4 do assert.equal(6, seen[i].called) end
    end)

    it("of errors", function()
      local seen = {}
      function lunawire.onerror() inside(seen) end
      setTimeout(error, 0)
      step(100)
      assert.equal(6, seen.called)
    end)

    it("and leaves the one that runs as it was", function()
      setTimeout(function()
        lunawire.stop()
        pcall(run) -- it must not take the stop for its own
      end, 0)
      local timer = setTimeout(function() end, 60000)
      assert.is_false(run(20000))
      assert.is_true(lunawire.timeout() > 30000)
      timer:close()
    end)
  end)

  it("may be called in a coroutine", function()
    local came = false
    setTimeout(function() came = true end, 1)
    local co = coroutine.create(run)
    assert.same({ true, true }, { coroutine.resume(co) })
    assert.is_true(came)
  end)

  describe("in a script #foreign", function()
    local ready = [[
      local lunawire = require "lunawire"
      lunawire.setTimeout(print, 0, "ready") ]]

    it("dies of Ctrl-C while it waits", function()
      local output, status = turns.meanwhile(ready .. [[
        lunawire.WebSocketServer {}
        lunawire.run()
        print "run has returned"]], "kill -INT $pid")
      assert.matches("interrupted!", output)
      assert.not_matches("returned", output)
      assert.equal(1, status)
    end)

    it("dies of Ctrl-C while it waits though errors of handlers go to onerror", function()
      local output, status = turns.meanwhile(ready .. [[
        lunawire.WebSocketServer {}
        lunawire.onerror = function(err) print("onerror got", err) end
        lunawire.run()
        print "run has returned"]], "kill -INT $pid")
      assert.matches("interrupted!", output)
      assert.not_matches("onerror", output)
      assert.not_matches("returned", output)
      assert.equal(1, status)
    end)

    it("dies of Ctrl-C while a handler works", function()
      local output, status = turns.meanwhile(ready .. [[
        lunawire.setTimeout(function() while true do end end, 1)
        lunawire.run()]], "kill -INT $pid")
      assert.matches("interrupted!", output)
      assert.equal(1, status)
    end)

    it("can be run again by who catches the Ctrl-C", function()
      local output, status = turns.meanwhile(ready .. [[
        local server = lunawire.WebSocketServer {}
        server.onclose = function() print "server closed" end
        print("caught", pcall(lunawire.run))
        server:close()
        print("run again", lunawire.run(5000))]], "kill -INT $pid")
      assert.matches("caught\tfalse\tinterrupted!", output)
      assert.matches("server closed\nrun again\ttrue", output)
      assert.equal(0, status)
    end)
  end)
end)

describe("an idle server #foreign #slow", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("with clients connected uses no processor", function()
    local program = turns.beside [[
      local lunawire = require "lunawire"
      local server = lunawire.WebSocketServer {}
      server.onmessage = function(event) event.target:send(event.data) end
      server.onconnection = function(event)
        event.socket:send "welcome"
        if #server == 50 then print "all here" end
      end
      print(server.port)
      lunawire.run()]]
    local port = tonumber(program:line(step))
    local peers = {}
    for i = 1, 50 do peers[i] = wire.client(port) end
    program:line(step)
    for i = 1, 50 do assert.equal("welcome", peers[i]:next().payload) end
    sys.sleep(50)

    local pid = turns.pid(program)
    local function used()
      local stat = helper.read("/proc/" .. pid .. "/stat"):match "%) (.*)"
      local fields = {}
      for field in stat:gmatch "%S+" do fields[#fields + 1] = field end
      local status = helper.read("/proc/" .. pid .. "/status")
      return fields[12] + fields[13], tonumber(status:match "voluntary_ctxt_switches:%s*(%d+)")
    end
    local ticks, switches = used()
    sys.sleep(1500)
    local ticksAfter, switchesAfter = used()
    assert.is_true(ticksAfter - ticks <= 1, ticksAfter - ticks) -- of 150
    assert.is_true(switchesAfter - switches <= 5, switchesAfter - switches) -- it never woke
    peers[1]:frame { "text", payload = "still here?" }
    assert.equal("still here?", peers[1]:next().payload)
  end)
end)

describe("lunawire.step", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("does not wait unless it is told to", function()
    local r = turns.fd(sys.pipe())
    local watch = lunawire.watch(r, "r", function() end)
    local timer = setTimeout(function() end, 60000)
    for _, arguments in ipairs { {}, { 0 }, { -5 }, { nil, 60000 } } do
      local took = turns.time(function() assert.equal(0, step(arguments[1], arguments[2])) end)
      assert.is_true(took < 1000, took)
    end
    watch:close()
    timer:close()
  end)

  it("waits at most as long as it is told to", function()
    local took = turns.time(function() assert.equal(0, step(20)) end)
    assert.is_true(took >= 20 and took < 2000, took)
    local timer = setTimeout(function() end, 60000)
    took = turns.time(function() assert.equal(0, step(2.5)) end)
    assert.is_true(took >= 2.5 and took < 2000, took)
    timer:close()
  end)

  it("waits no longer than until the next timer, be it for ever", function()
    for _, ms in ipairs { 60000, math.huge } do
      setTimeout(function() end, 5)
      local took = turns.time(function()
        local handled = 0
        while handled == 0 do handled = step(ms) end
        assert.equal(1, handled)
      end)
      assert.is_true(took >= 5 and took < 5000, took)
    end
  end)

  it("does not wait while there is work that nobody outside brings", function()
    local ws, _, log = client()
    ws:terminate()
    local took = turns.time(function() step(60000) end)
    assert.is_true(took < 10000)
    assert.equal("close 1006  unclean", log[2])
  end)

  it("wakes when a descriptor becomes ready", function()
    local child, got, watch
    local took = turns.time(function() -- from before the child was there: a busy machine may begin to wait late
      child = io.popen "sleep 0.03; echo x"
      watch = lunawire.watch(child, "r", function() got = child:read "l" end)
      assert.equal(1, step(60000))
    end)
    watch:close()
    child:close()
    assert.equal("x", got)
    assert.is_true(took >= 30 and took < 10000, took)
  end)

  it("refuses durations that are none", function()
    for _, value in ipairs { 0 / 0, -math.huge, "5", {}, true, print } do
      assert.matches("step: milliseconds expected", wire.mistake("TypeError", step, value))
      assert.matches("step: milliseconds expected", wire.mistake("TypeError", step, 0, value))
    end
  end)

  it("returns how many handlers were called, not what happened unheard", function()
    local peer, socket = guest()
    peer:frame({ "text", payload = "unheard" }, { "ping", payload = "" })
    wire.await(function() return #peer.bytes > 0 end) -- the pong
    local r, w = turns.fd(sys.pipe())
    sys.write(w, "x")
    local watch = lunawire.watch(r, "r", function() end)
    setTimeout(function() end, 0)
    setTimeout(function() end, 0)
    pass(1)
    assert.equal(3, step())
    watch:close()
    socket.onmessage = function() end
    socket:addEventListener("message", function() end)
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" })
    local handled = 0
    wire.await(function()
      handled = handled + step(5)
      return handled >= 4
    end)
    assert.equal(4, handled)
  end)

  describe("with a budget", function()
    it("leaves the rest of the turn to the next ones, in order", function()
      local order = {}
      for i = 1, 10 do
        setTimeout(function()
          order[#order + 1] = i
          pass(2)
        end, 0)
      end
      local handled = step(0, 5)
      assert.is_true(handled >= 1 and handled <= 3, handled)
      assert.equal(handled, #order)
      assert.equal(0, lunawire.timeout())
      while #order < 10 do step(0, 5) end
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, order)
    end)

    it("of nothing handles one event", function()
      local order = {}
      for i = 1, 5 do setTimeout(function() order[#order + 1] = i end, 0) end
      pass(1)
      for i = 1, 5 do
        assert.equal(1, step(0, 0))
        assert.equal(i, #order)
      end
      assert.equal(0, step(0, 0))
    end)

    it("stops between the messages of one socket, and loses none", function()
      local peer, socket = guest()
      local got = {}
      socket.onmessage = function(event) got[#got + 1] = event.data end
      local frames = {}
      for i = 1, 20 do frames[i] = { "text", payload = tostring(i) } end
      peer:frame(table.unpack(frames))
      wire.await(function() return step(5, 0) == 1 end)
      for i = 2, 20 do
        assert.equal(0, lunawire.timeout())
        assert.equal(1, step(0, 0))
        assert.equal(i, #got)
      end
      for i = 1, 20 do assert.equal(tostring(i), got[i]) end
      assert.equal(0, step(0, 0))
    end)

    it("lets neither timers nor descriptors starve", function()
      local r, w = turns.fd(sys.pipe())
      sys.write(w, "x")
      local timers, reads = 0, 0
      local function again()
        timers = timers + 1
        if timers < 1000 then setTimeout(again, 0) end
      end
      again()
      again()
      local watch = lunawire.watch(r, "r", function() reads = reads + 1 end)
      for _ = 1, 30 do assert.equal(1, step(0, 0)) end
      watch:close()
      assert.is_true(timers > 5 and reads > 5, timers .. " " .. reads)
      timers = 1000
    end)
  end)

  it("leaves to the next turn what a turn makes: timers, watches, sockets, ends", function()
    local r, w = turns.fd(sys.pipe())
    sys.write(w, "x")
    local ws, peer, log = client()
    local order, watch = {}, nil
    setTimeout(function()
      setTimeout(function() order[#order + 1] = "timer" end, 0)
      watch = lunawire.watch(r, "r", function() order[#order + 1] = "watch" end)
      ws:terminate()
    end, 0)
    assert.equal(1, step(100))
    assert.same({}, order)
    assert.same({ "open" }, log)
    pass(1)
    assert.equal(3, step())
    assert.same({ "timer", "watch" }, order)
    assert.equal(2, #log)
    watch:close()
    peer:close()
  end)
end)

describe("queued output", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("of a handler goes at the end of the turn", function()
    local ws, peer = client()
    setTimeout(function()
      ws:send "hello"
      peer:move()
      assert.equal("", peer.bytes)
    end, 0)
    turns.await(function() return step() == 1 end)
    assert.equal("hello", peer:next().payload)
  end)

  it("of no turn goes at the start of the next", function()
    local ws, peer = client()
    ws:send "hello"
    sys.sleep(10)
    peer:move()
    assert.equal("", peer.bytes)
    assert.equal(0, lunawire.timeout())
    step()
    assert.is_nil(lunawire.timeout())
    helper.await(function()
      peer:move()
      return peer.bytes ~= ""
    end)
    assert.equal("hello", peer:next().payload)
  end)

  it("goes now with flush(), also in a handler", function()
    local ws, peer = client()
    local function arrives()
      return helper.await(function()
        peer:move()
        return peer.bytes ~= ""
      end, nil, 5)
    end
    ws:send "one"
    lunawire.flush()
    assert.is_true(arrives())
    assert.equal("one", peer:next().payload)
    local there
    setTimeout(function()
      ws:send "two"
      lunawire.flush()
      there = arrives()
    end, 0)
    turns.await(function() return there ~= nil end)
    assert.is_true(there)
    assert.equal("two", peer:next().payload)
    lunawire.flush() -- nothing to do
  end)

  it("goes before an error leaves step", function()
    local ws, peer = client()
    setTimeout(function()
      ws:send "hello"
      error("oops", 0)
    end, 0)
    local ok, err = pcall(run, 5000)
    assert.same({ false, "oops" }, { ok, err })
    assert.is_true(helper.await(function()
      peer:move()
      return peer.bytes ~= ""
    end, nil, 5))
    assert.equal("hello", peer:next().payload)
  end)
end)

describe("a host's own loop", function()
  before_each(turns.open)
  after_each(turns.clear)

  -- What a host does: wait with its own means, then step, which must not wait.
  local function host(over, limit)
    local rounds = 0
    while not over() do
      rounds = rounds + 1
      assert.is_true(rounds <= limit, "too many rounds")
      local ms = lunawire.timeout()
      if ms ~= 0 then
        local ready = sys.await(lunawire.fd(), "r", ms and math.ceil(ms) or 5000)
        assert.is_true(ready or ms ~= nil, "nothing came, and nothing was said to come")
      end
      step()
    end
    return rounds
  end

  it("needs fd() and timeout() and nothing else", function()
    local server = turns.serve()
    function server.onconnection(event)
      event.socket.onmessage = function(e) e.target:send("echo " .. e.data) end
    end
    local heard, log = {}, nil
    local ws = lunawire.WebSocket(server.url)
    function ws.onopen() ws:send "1" end
    function ws.onmessage(event)
      heard[#heard + 1] = event.data
      if #heard == 5 then ws:close(1000)
      else setTimeout(function() ws:send(tostring(#heard + 1)) end, 3) end
    end
    function ws.onclose(event) log = event.code end
    local rounds = host(function() return log end, 100)
    assert.equal(1000, log)
    assert.same({ "echo 1", "echo 2", "echo 3", "echo 4", "echo 5" }, heard)
    assert.is_true(rounds > 5)
  end)

  it("may watch the descriptor with a poller of its own", function()
    local poller = assert(probe.poll "epoll")
    turns.keep { close = function() poller:free() end }
    local ws, peer = client()
    local got
    ws.onmessage = function(event) got = event.data end
    step()
    assert(poller:set(lunawire.fd(), "", "r", 1))
    assert.same({}, (poller:wait(0)))
    peer:frame { "text", payload = "hi" }
    assert.same({ "r" }, (poller:wait(5000 * 1000000)))
    assert.equal(1, step())
    assert.equal("hi", got)
  end)

  describe("asks fd()", function()
    it("for the same descriptor each time, that no other program inherits", function()
      local fd = lunawire.fd()
      assert.is_number(fd)
      assert.equal("integer", math.type(fd))
      client()
      assert.equal(fd, lunawire.fd())
      assert.matches("cloexec", sys.flags(fd))
      wire.clear()
      assert.is_true(run(5000))
      assert.equal(fd, lunawire.fd())
    end)

    it("which is readable when something came from outside, and not before", function()
      local r, w = turns.fd(sys.pipe())
      local watch = lunawire.watch(r, "r", function() sys.read(r) end)
      assert.is_false(sys.await(lunawire.fd(), "r", 0))
      sys.write(w, "x")
      assert.is_true(sys.await(lunawire.fd(), "r", 5000))
      assert.equal(1, step())
      assert.is_false(sys.await(lunawire.fd(), "r", 0))
      watch:close()
    end)
  end)

  describe("asks timeout()", function()
    it("which is nil when only descriptors can bring work", function()
      assert.is_nil(lunawire.timeout())
      guest()
      wire.settle()
      assert.is_nil(lunawire.timeout())
    end)

    it("which is the time to the first timer", function()
      local far = setTimeout(function() end, 60000)
      assert.is_true(lunawire.timeout() > 50000 and lunawire.timeout() <= 60000)
      local near = setTimeout(function() end, 1000)
      assert.is_true(lunawire.timeout() > 0 and lunawire.timeout() <= 1000)
      near:close()
      assert.is_true(lunawire.timeout() > 50000)
      far:close()
      assert.is_nil(lunawire.timeout())
      setTimeout(function() end, 1)
      pass(2)
      assert.equal(0, lunawire.timeout())
      step()
    end)

    it("which is 0 while anything is queued", function()
      local ws, peer = client()
      assert.is_nil(lunawire.timeout())
      ws:send "x"
      assert.equal(0, lunawire.timeout())
      step()
      assert.is_nil(lunawire.timeout())
      ws:ping()
      assert.equal(0, lunawire.timeout())
      lunawire.flush()
      assert.is_nil(lunawire.timeout())
      ws:close()
      assert.equal(0, lunawire.timeout())
      step()
      assert.is_true(lunawire.timeout() > 0) -- closeTimeout
      peer:close()
      run(5000)
      lunawire.WebSocket "ws://127.0.0.1:1/"
      assert.equal(0, lunawire.timeout())
      run(5000)
    end)
  end)

  it("may be one that takes cqueues' three functions", function()
    local loop = lunawire.loop
    assert.equal(lunawire.fd(), loop:pollfd())
    assert.equal("r", loop:events())
    assert.is_nil(loop:timeout())
    local timer = setTimeout(function() end, 60000)
    assert.is_true(loop:timeout() > 50 and loop:timeout() <= 60) -- seconds
    timer:close()
  end)
end)

describe("lunawire.now", function()
  it("counts milliseconds, with fractions, and never back", function()
    local start, fraction = lunawire.now(), false
    local took = turns.time(function()
      local last = start
      while last < start + 20 do
        local now = lunawire.now()
        assert.is_true(now >= last)
        fraction = fraction or now % 1 ~= 0
        last = now
      end
    end)
    assert.is_true(took > 10 and took < 2000, took)
    assert.is_true(fraction)
  end)
end)
