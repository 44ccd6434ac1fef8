-- lunawire.onsignal, and that nothing else touches signals.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local sys = probe.sys
local onsignal = lunawire.onsignal

-- The process as the kernel sees it: which signals are ignored, caught, blocked (those from 32
-- on are the C library's own, for its threads).
local function dispositions()
  local status, list = helper.read "/proc/self/status", {}
  for i, name in ipairs { "SigIgn", "SigCgt", "SigBlk" } do
    list[i] = ("%s %x"):format(name, tonumber(status:match(name .. ":%s*(%x+)"), 16) & 0x7fffffff)
  end
  return table.concat(list, ", ")
end

describe("a signal", function()
  local used = { "USR1", "USR2", "HUP", "TERM", "INT" }
  local before

  before_each(function()
    turns.open()
    before = dispositions()
  end)
  after_each(function()
    for _, name in ipairs(used) do onsignal(name, nil) end
    assert.equal(before, dispositions())
    turns.clear()
  end)

  for _, name in ipairs(used) do
    it(name .. " calls its function, in the loop", function()
      local calls, arguments = 0, nil
      onsignal(name, function(...)
        calls = calls + 1
        arguments = select("#", ...)
      end)
      sys.raise(probe.signal(name))
      assert.equal(0, calls)
      assert.equal(1, lunawire.step(5000))
      assert.equal(1, calls)
      assert.equal(0, arguments)
      assert.equal(0, lunawire.step())
      sys.raise(probe.signal(name))
      assert.equal(1, lunawire.step(5000))
      assert.equal(2, calls)
    end)
  end

  it("wakes a loop that waits", function()
    local called = false
    onsignal("USR1", function() called = true end)
    local took = turns.time(function()
      sys.raiseLater(probe.signal "USR1", 30)
      while not called do lunawire.step(60000) end
    end)
    assert.is_true(took < 10000, took)
  end)

  it("sent many times before the loop turns calls once", function()
    local calls = 0
    onsignal("USR1", function() calls = calls + 1 end)
    for _ = 1, 100 do sys.raise(probe.signal "USR1") end
    assert.equal(1, lunawire.step(5000))
    assert.equal(1, calls)
  end)

  it("calls the function last set", function()
    local order = {}
    onsignal("USR1", function() order[#order + 1] = "first" end)
    onsignal("USR1", function() order[#order + 1] = "second" end)
    sys.raise(probe.signal "USR1")
    onsignal("USR1", function() order[#order + 1] = "third" end)
    lunawire.step(5000)
    assert.same({ "third" }, order)
  end)

  it("may be given back in its own function, and taken by another", function()
    local order = {}
    onsignal("USR1", function()
      order[#order + 1] = "USR1"
      onsignal("USR1", nil)
      onsignal("USR2", function() order[#order + 1] = "USR2" end)
      sys.raise(probe.signal "USR2")
    end)
    sys.raise(probe.signal "USR1")
    turns.await(function() return #order == 2 end)
    assert.same({ "USR1", "USR2" }, order)
    assert.equal("default", sys.action(probe.signal "USR1"))
  end)

  it("that came before it was given back is not told after", function()
    onsignal("USR1", function() error "it was called" end)
    sys.raise(probe.signal "USR1")
    onsignal("USR1", nil)
    assert.equal(0, lunawire.step(5))
  end)

  it("does again what it did before when it is given back", function()
    local USR1 = probe.signal "USR1"
    for _, was in ipairs { "default", "ignore" } do
      sys.action(USR1, was)
      onsignal("USR1", function() end)
      assert.equal("handler", sys.action(USR1))
      onsignal("USR1", nil)
      assert.equal(was, sys.action(USR1))
      onsignal("USR1", nil) -- twice is once
      assert.equal(was, sys.action(USR1))
    end
    sys.action(USR1, "default")
  end)

  it("whose function raises leaves step, and comes again the next time", function()
    local calls = 0
    onsignal("USR1", function()
      calls = calls + 1
      error({ calls }, 0)
    end)
    for i = 1, 2 do
      sys.raise(probe.signal "USR1")
      local ok, err = pcall(lunawire.step, 5000)
      assert.is_false(ok)
      assert.same({ i }, err)
    end
    assert.equal(0, lunawire.step())
  end)

  it("whose function raises does not keep another that came with it", function()
    local got = {}
    onsignal("USR1", function() error("no", 0) end)
    onsignal("USR2", function() got[#got + 1] = "USR2" end)
    onsignal("HUP", function() got[#got + 1] = "HUP" end)
    for _, name in ipairs { "USR1", "USR2", "HUP" } do sys.raise(probe.signal(name)) end
    assert.is_false(pcall(lunawire.step, 5000))
    turns.await(function() return #got == 2 end)
    assert.same({ "USR2", "HUP" }, got)
    -- and with onerror none needs another turn
    local errors, order = 0, {}
    function lunawire.onerror(err, source)
      errors = errors + 1
      order[1], order[2] = err, source
    end
    got = {}
    for _, name in ipairs { "USR1", "USR2" } do sys.raise(probe.signal(name)) end
    turns.await(function() return #got == 1 end)
    assert.equal(1, errors)
    assert.same({ "no", nil }, order)
  end)

  it("that is unknown, or cannot be caught, is refused", function()
    for _, name in ipairs { "KILL", "STOP", "SEGV", "SIGINT", "int", "", "NOPE", "INT\0" } do
      local message = wire.mistake("TypeError", onsignal, name, function() end)
      assert.matches("is no signal that can be caught", message)
    end
    for _, value in ipairs { 2, {}, true } do
      assert.matches("a signal's name expected", wire.mistake("TypeError", onsignal, value, print))
    end
    assert.matches("a signal's name expected, got nil", wire.mistake("TypeError", onsignal))
    for _, value in ipairs { 1, "f", {}, true } do
      assert.matches("a function expected", wire.mistake("TypeError", onsignal, "USR1", value))
    end
  end)
end)

describe("signals that nobody asked for", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("are touched by nothing the library does", function()
    local before = dispositions()
    local server = turns.serve()
    function server.onconnection(event)
      event.socket.onmessage = function(e) e.target:send(e.data) end
    end
    local ws = lunawire.WebSocket(server.url)
    local log = wire.record(ws)
    wire.heard(log, "open")
    ws:send "x"
    local timer = lunawire.setTimeout(function() end, 1)
    wire.await(function() return #log == 2 end)
    ws:close()
    wire.heard(log)
    assert.equal(before, dispositions())
    timer:close()
  end)

  it("may be SIGPIPE: writing to a peer that is gone never kills #foreign", function()
    local output, status = turns.program [[
      package.path = "./?.lua;" .. package.path
      local lunawire = require "lunawire"
      local probe = require "lunawire.probe"
      assert(probe.sys.action(13) == "default")
      local server, socket = lunawire.WebSocketServer {}, nil
      server.onconnection = function(event)
        socket = event.socket
        socket.onclose = function(e) print("close", e.code, e.wasClean) server:close() end
      end
      local wire = require "spec.wire"
      local peer = wire.client(server.port)
      while not socket do lunawire.step(5) end
      peer:close() -- its end is not read before it is written to
      for _ = 1, 5 do
        socket:send "x" -- the first brings back a reset, the second meets it
        lunawire.flush()
        probe.sys.sleep(5)
      end
      print(lunawire.run(10000))
      assert(probe.sys.action(13) == "default")]]
    assert.equal("close\t1006\tfalse\ntrue\n", output)
    assert.equal(0, status)
  end)
end)

describe("in a script #foreign", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("SIGINT may end everything politely", function()
    local output, status = turns.meanwhile([[
      local lunawire = require "lunawire"
      local server = lunawire.WebSocketServer {}
      server.onclose = function() print "server closed" end
      lunawire.onsignal("INT", function() print "INT" server:close() end)
      lunawire.setTimeout(print, 0, "ready")
      print(lunawire.run())]], "kill -INT $pid")
    assert.equal("ready\nINT\nserver closed\ntrue\n", output)
    assert.equal(0, status)
  end)

  it("SIGINT given back is the interpreter's again", function()
    local output, status = turns.meanwhile([[
      local lunawire = require "lunawire"
      lunawire.onsignal("INT", print)
      lunawire.onsignal("INT", nil)
      lunawire.setTimeout(print, 0, "ready")
      lunawire.setTimeout(print, 60000, "too late")
      lunawire.run()]], "kill -INT $pid")
    assert.matches("interrupted!", output)
    assert.equal(1, status)
  end)

  it("SIGTERM kills when nobody has asked for it", function()
    local _, status = turns.meanwhile([[
      local lunawire = require "lunawire"
      lunawire.WebSocketServer {}
      lunawire.setTimeout(print, 0, "ready")
      lunawire.run()]], "kill -TERM $pid")
    assert.equal(128 + 15, status)
  end)

  it("a state that ends gives its signals back", function()
    local output, status = turns.program [[
      local probe
      -- made first, so finalized last
      local last = setmetatable({}, { __gc = function() print("after", probe.sys.action(10)) end })
      probe = require "lunawire.probe"
      require("lunawire").onsignal("USR1", print)
      print("before", probe.sys.action(10))
      os.exit(last and 0, true)]]
    assert.equal("before\thandler\nafter\tdefault\n", output)
    assert.equal(0, status)
  end)
end)
