-- After a fork: the child can do nothing to the parent's loop, and ends without a trace of it.

local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local sys = probe.sys

-- A server of ours with a raw client, and a client of ours with a raw server. Both are open.
local world

local function new_world()
  world = { server = turns.serve(), listener = wire.server(), heard = {} }
  function world.server.onconnection(event) world.socket = world.socket or event.socket end
  world.guest = wire.client(world.server.port)
  wire.await(function() return world.socket end)
  world.client = lunawire.WebSocket(world.listener.url)
  world.log = wire.record(world.client)
  world.host = world.listener:open()
  wire.heard(world.log, "open")
  world.socket.onmessage = function(event) world.heard[#world.heard + 1] = event.data end
end

-- Everything works as before, and the peers have got nothing but what they got here.
local function check_world()
  wire.settle()
  for _, name in ipairs { "guest", "host" } do
    world[name]:move()
    assert.equal("", world[name].bytes)
    assert.is_nil(world[name].ended)
  end
  world.guest:frame { "text", payload = "hello" }
  wire.await(function() return world.heard[1] == "hello" end)
  world.heard = {}
  local before = #world.log
  world.host:frame { "text", payload = "hello" }
  wire.await(function() return world.log[before + 1] == "text hello" end)
  world.socket:send "to the guest"
  world.client:send "to the host"
  assert.equal("to the guest", world.guest:next().payload)
  assert.equal("to the host", world.host:next().payload)
  local came
  lunawire.setTimeout(function() came = true end, 1)
  turns.await(function() return came end)
  local other = wire.client(world.server.port)
  wire.await(function() return #world.server == 2 end)
  other:close()
  wire.await(function() return #world.server == 1 end)
end

-- All that the child may try.
local function attempts()
  local ws, server = world.client, world.server
  return {
    { "step", lunawire.step }, { "run", lunawire.run }, { "flush", lunawire.flush }, { "fd", lunawire.fd },
    { "timeout", lunawire.timeout }, { "setTimeout", lunawire.setTimeout, print, 1 },
    { "setInterval", lunawire.setInterval, print, 1 }, { "watch", lunawire.watch, 0, "r", print },
    { "onsignal", lunawire.onsignal, "USR1", print }, { "WebSocket", lunawire.WebSocket, "ws://127.0.0.1:1/" },
    { "WebSocketServer", lunawire.WebSocketServer, {} },
    { "send", ws.send, ws, "x" }, { "ping", ws.ping, ws }, { "close", ws.close, ws }, { "terminate", ws.terminate, ws },
    { "pause", ws.pause, ws }, { "resume", ws.resume, ws }, { "socket:send", ws.send, world.socket, "x" },
    { "socket:close", ws.close, world.socket }, { "subscribe", ws.subscribe, world.socket, "x" },
    { "publish", ws.publish, world.socket, "x", "y" }, { "broadcast", server.broadcast, server, "x" },
    { "server:publish", server.publish, server, "x", "y" }, { "server:close", server.close, server },
  }
end

describe("in a forked child", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("everything that would touch the loop raises InvalidStateError", function()
    new_world()
    assert.equal("returned", sys.fork(function()
      for _, attempt in ipairs(attempts()) do
        local ok, err = pcall(table.unpack(attempt, 2, 5))
        assert(not ok, attempt[1] .. " was let through")
        assert(err.name == "InvalidStateError", attempt[1] .. ": " .. tostring(err))
        assert(err.message:find("forked", 1, true), tostring(err))
      end
    end))
    check_world()
  end)

  it("what only looks may be asked", function()
    new_world()
    assert.equal("returned", sys.fork(function()
      assert(lunawire.now() > 0)
      assert(world.client.readyState == 1 and world.socket.readyState == 1)
      assert(world.client.bufferedAmount == 0 and world.client.url == world.listener.url)
      assert(#world.server == 1 and world.server.port > 0)
      assert(tostring(world.client) and tostring(world.server))
    end))
    check_world()
  end)

  it("what is collected ends nothing of the parent's", function()
    new_world()
    local r, w = turns.fd(sys.pipe())
    local calls = 0
    local watch = lunawire.watch(r, "r", function() calls = calls + 1 end)
    assert.equal("returned", sys.fork(function()
      local before = sys.descriptors()
      for _, object in ipairs { world.client, world.socket, world.server, watch } do
        local gc = debug.getmetatable(object).__gc
        gc(object)
        gc(object)
      end
      world.client, world.socket, world.server = nil, nil, nil
      collectgarbage()
      collectgarbage()
      assert(before - sys.descriptors() == 3) -- the child's own copies, of the listener too, are closed
    end))
    check_world()
    sys.write(w, "x")
    turns.await(function() return calls == 1 end)
    watch:close()
  end)

  it("timers and watches may be closed there, the parent's go on", function()
    local came, calls = 0, 0
    local timer = lunawire.setInterval(function() came = came + 1 end, 1)
    local r, w = turns.fd(sys.pipe())
    local watch = lunawire.watch(r, "r", function() calls = calls + 1 end)
    local writer = lunawire.watch(w, "w", function() end)
    assert.equal("returned", sys.fork(function()
      timer:close()
      writer:close()
      watch:close()
      lunawire.clearTimeout(timer)
    end))
    sys.write(w, "x")
    turns.await(function() return came > 1 and calls > 1 end)
    timer:close()
    watch:close()
    writer:close()
  end)

  it("the end of the state says goodbye to nobody, and leaves the parent's poller alone", function()
    new_world()
    local path = os.tmpname()
    os.remove(path)
    local unix = turns.serve { path = path }
    assert.is_string(unix.url)
    assert.equal("exit 7", sys.fork(function() os.exit(7, true) end))
    check_world()
    assert.is_true(sys.isSocket(path)) -- nor does it remove the parent's socket
    assert.equal("exit 7", sys.fork(function()
      world.client:addEventListener("close", print)
      collectgarbage "stop"
      os.exit(7, true)
    end))
    check_world()
  end)

  it("queued output is not sent a second time", function()
    new_world()
    world.socket:send "once"
    world.client:send "once"
    assert.equal("exit 7", sys.fork(function() os.exit(7, true) end))
    assert.equal("exit 7", sys.fork(function()
      pcall(lunawire.flush)
      pcall(lunawire.step)
      os.exit(7, true)
    end))
    lunawire.flush()
    assert.equal("once", world.guest:next().payload)
    assert.equal("once", world.host:next().payload)
    check_world()
  end)

  it("a socket that the parent has collected is not ended from there", function()
    new_world()
    world.client:send "last words"
    for _, name in ipairs { "onopen", "onmessage", "onerror", "onclose" } do world.client[name] = nil end
    world.client, world.log = nil, nil
    collectgarbage()
    collectgarbage()
    assert.equal("exit 7", sys.fork(function() os.exit(7, true) end))
    sys.sleep(10)
    world.host:move()
    assert.equal("", world.host.bytes)
    assert.equal("last words", world.host:next().payload)
    assert.equal("", world.host:next().payload) -- the parent's Close, once
    world.host:closing()
    world.host:shutdown()
    assert.same({ "eof", "" }, { world.host:finish() })
  end)

  it("signals do what they did before", function()
    local USR1, calls = probe.signal "USR1", 0
    lunawire.onsignal("USR1", function() calls = calls + 1 end)
    assert.equal("signal " .. USR1, sys.fork(function()
      sys.raise(USR1)
      sys.sleep(5000)
    end))
    assert.equal("exit 7", sys.fork(function() os.exit(7, true) end))
    assert.equal(0, lunawire.step(5))
    sys.raise(USR1)
    assert.equal(1, lunawire.step(5000))
    assert.equal(1, calls)
    lunawire.onsignal("USR1", nil)
  end)

  it("born in a handler, the turn ends at once, with an error", function()
    for _, place in ipairs { "timer", "message", "listener", "watch", "signal", "upgrade", "connection", "onerror" } do
      for _, raising in ipairs { false, true } do
        new_world()
        local pid, others = nil, 0
        local function split()
          if pid then return end
          pid = sys.split()
          if pid == 0 and raising then error("in the child", 0) end
        end
        local function later()
          if pid == 0 then os.exit(3) end -- the child must not go on with the turn
          others = others + 1
        end
        local r, w = turns.fd(sys.pipe())
        if place == "timer" then lunawire.setTimeout(split, 0) end
        if place == "message" then
          world.socket.onmessage = function()
            split()
            if pid == 0 then return end
            others = others + 1
          end
        end
        if place == "listener" then
          world.socket.onmessage = nil
          world.socket:addEventListener("message", split)
        end
        if place == "watch" then
          lunawire.watch(r, "r", function(self)
            self:close()
            split()
          end)
        end
        if place == "signal" then lunawire.onsignal("USR1", split) end
        if place == "upgrade" or place == "connection" then world.server["on" .. place] = split end
        if place == "onerror" then
          lunawire.onerror = split
          lunawire.setTimeout(error, 0)
        end
        lunawire.setTimeout(later, 0)
        world.client.onmessage = later
        world.host:frame { "text", payload = "x" }
        if place == "message" or place == "listener" then
          world.guest:frame({ "text", payload = "1" }, { "text", payload = "2" })
        end
        sys.write(w, "x")
        if place == "signal" then sys.raise(probe.signal "USR1") end
        local peer
        if place == "upgrade" or place == "connection" then
          peer = wire.connect(world.server.port)
          peer:send(wire.upgrade())
        end

        local ok, err
        for _ = 1, 1000 do
          ok, err = pcall(lunawire.step, 5) -- returns twice
          if pid then break end
        end
        if pid == 0 then
          local expected = raising and "in the child" or "forked"
          os.exit(not ok and tostring(err):find(expected, 1, true) and 7 or 8)
        end
        assert.equal("exit 7", sys.join(pid), place)
        assert.is_true(ok, tostring(err))
        wire.settle()
        if peer then
          assert.equal(101, peer:head().status) -- once
          assert.equal("", peer.bytes)
          peer:close()
        end
        turns.await(function() return others >= 2 end)
        lunawire.onsignal("USR1", nil)
        lunawire.onerror = nil
        world.server.onupgrade, world.server.onconnection = nil, nil
        world.client.onmessage = function(event) world.log[#world.log + 1] = "text " .. event.data end
        world.socket.onmessage = function(event) world.heard[#world.heard + 1] = event.data end
        wire.await(function() return #world.server == 1 end)
        check_world()
        world.client:terminate()
        world.server:close()
        world.guest:close()
        world.host:close()
        assert.is_true(lunawire.run(5000))
      end
    end
  end)

  it("a fresh interpreter has a loop of its own", function()
    new_world()
    local output, status = turns.program [[
      local lunawire = require "lunawire"
      lunawire.setTimeout(print, 1, "its own")
      print(lunawire.run(5000))]]
    assert.equal("its own\ntrue\n", output)
    assert.equal(0, status)
    check_world()
  end)
end)

describe("descriptors of the library", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("are not inherited by programs that are started", function()
    new_world()
    local pipe = io.popen "ls -l /proc/self/fd"
    local list = pipe:read "a"
    pipe:close()
    assert.matches("pipe:", list) -- it shows something
    assert.is_nil(list:match "socket:", list)
    assert.is_nil(list:match "eventpoll", list)
    check_world()
  end)
end)
