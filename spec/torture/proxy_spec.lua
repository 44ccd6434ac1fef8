-- The proxy that harms, judged by raw sockets on both of its sides.

local Proxy = require "spec.torture.proxy"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local random = Proxy.random(1)

-- A proxy in front of a raw server. Returns both.
local function start(options)
  local server = wire.server()
  options = options or {}
  options.port = server.port
  return turns.keep(Proxy.new(options)), server
end

-- The same with one connection through it: the proxy, its link, and a raw peer at each end.
local function line(options)
  local proxy, server = start(options)
  local client = wire.connect(proxy.port)
  local target = server:accept()
  return proxy, proxy.links[1], client, target
end

-- Waits until a peer has so many bytes, or its stream has ended; what it has, and how that ended.
local function arrived(peer, n)
  wire.await(function() return #peer.bytes >= n or peer.ended end, function()
    return ("%d bytes, %d are there"):format(n, #peer.bytes)
  end)
  return peer.bytes, peer.ended
end

local function idle(ms)
  local deadline = lunawire.now() + ms
  repeat wire.turn() until lunawire.now() >= deadline
end

-- Nothing more arrives, and no end of the stream.
local function silent(peer, ms)
  local before = peer.total
  idle(ms or 60)
  assert.equal(before, peer.total)
  assert.is_nil(peer.ended)
end

local function same(expected, got)
  if expected == got then return end
  local i = 1
  while expected:byte(i) == got:byte(i) do i = i + 1 end
  error(("%d bytes expected, %d got, different at byte %d"):format(#expected, #got, i - 1), 2)
end

describe("the proxy", function()
  before_each(turns.open)
  after_each(turns.clear)

  describe("without a fault", function()
    it("passes bytes both ways at once", function()
      local _, link, client, target = line()
      local up, down = random:bytes(1000003), random:bytes(700001)
      client:send(up)
      target:send(down)
      same(up, (arrived(target, #up)))
      same(down, (arrived(client, #down)))
      for name, n in pairs { up = #up, down = #down } do
        assert.same({ n, n, n }, { link[name].received, link[name].passed, link[name].delivered })
      end
    end)

    for _, case in ipairs { { "the client", false }, { "the target", true } } do
      local name, turned = table.unpack(case)
      local function ends()
        local proxy, _, client, target = line()
        if turned then return proxy, target, client end
        return proxy, client, target
      end

      it("passes the end of what " .. name .. " says, and goes on the other way", function()
        local proxy, near, far = ends()
        near:send "last words"
        near:shutdown()
        assert.same({ "eof", "last words" }, { far:finish() })
        far:send "heard"
        assert.equal("heard", near:read(5))
        assert.equal(1, #proxy.links)
        far:shutdown()
        assert.equal("eof", (near:finish()))
        wire.await(function() return #proxy.links == 0 end, "the link to end")
      end)

      it("passes a RST of " .. name .. "'s", function()
        local proxy, near, far = ends()
        near:send "all of it"
        wire.await(function() return #far.bytes == 9 end)
        near:reset()
        assert.equal("ECONNRESET", (far:finish()))
        assert.equal(0, #proxy.links)
      end)

      it("passes a RST of " .. name .. "'s, however full the other is", function()
        local proxy, near, far = ends()
        far.reading = false
        near:send(("x"):rep(8e6))
        idle(50)
        near:reset()
        wire.await(function() return #proxy.links == 0 end, "the link to end")
        far.reading = true
        assert.equal("ECONNRESET", (far:finish()))
      end)
    end

    it("resets a client whose target is not there", function()
      local fd, port = probe.sys.reserve()
      turns.fd(fd)
      local proxy = turns.keep(Proxy.new { port = port })
      assert.equal("ECONNRESET", (wire.connect(proxy.port):finish()))
      assert.equal(0, #proxy.links)
    end)

    it("keeps many connections apart", function()
      local proxy, server = start()
      local clients, targets = {}, {}
      for i = 1, 40 do
        clients[i] = wire.connect(proxy.port)
        clients[i]:send(("%02d"):format(i))
      end
      for _ = 1, 40 do
        local target = server:accept()
        targets[tonumber(target:read(2))] = target
      end
      assert.equal(40, #proxy.links)
      for i = 1, 40, 2 do targets[i]:send("to " .. i) end
      for i = 1, 40, 2 do assert.equal("to " .. i, clients[i]:read(#("to " .. i))) end
      for i = 1, 40 do
        if i % 2 == 0 then clients[i]:reset() else targets[i]:close() end
        clients[i]:close()
      end
      wire.await(function() return #proxy.links == 0 end, "the links to end")
    end)

    it("holds little for a receiver that does not read, and rests meanwhile", function()
      local _, link, client, target = line { buffers = 16384 }
      target.reading = false
      local bytes = random:bytes(2000000)
      client:send(bytes)
      idle(50)
      assert.is_true(link.up.queued > 0 and link.up.queued <= 256 * 1024 + 65536, link.up.queued)
      client:move()
      local turned = 0
      local deadline = lunawire.now() + 50
      while lunawire.now() < deadline do turned = turned + lunawire.step(10) end
      assert.is_true(turned < 20, turned)
      target.reading = true
      same(bytes, (arrived(target, #bytes)))
    end)
  end)

  describe("with a line that is slow", function()
    local paces = {
      { "slice 1" }, { "slice 7" }, { "slice random" }, { "delay 20" }, { "delay 0 20" }, { "bandwidth 200000" },
      { "slice 100", "delay 0 20" }, { "slice random", "bandwidth 300000" }, { "delay 0 30", "bandwidth 400000" },
      { "slice random", "delay 1 10", "bandwidth 300000" },
    }
    for _, words in ipairs(paces) do
      it("changes no byte: " .. table.concat(words, ", "), function()
        local proxy, _, client, target = line()
        for _, fault in ipairs(words) do proxy:set(fault) end
        local up, down = random:bytes(9001), random:bytes(5003)
        for i = 1, #up, 1000 do -- in pieces, so that each has a delay of its own
          client:send(up:sub(i, i + 999))
          target:send(down:sub(i, i + 999))
          wire.turn()
        end
        client:shutdown()
        target:shutdown()
        wire.await(function() return target.ended and client.ended end, "the ends")
        same(up, target.bytes)
        same(down, client.bytes)
      end)
    end

    it("delays each way by its own time, a FIN as well", function()
      local _, link, client, target = line()
      link.up:delay(60)
      link.down:delay(function() return 25 end)
      for _, case in ipairs { { client, target, 60 }, { target, client, 25 } } do
        local near, far, ms = table.unpack(case)
        local took = turns.time(function()
          near:send "x"
          far:read(1)
        end)
        assert.is_true(took >= ms - 1 and took < ms + 30, took)
        took = turns.time(function()
          near:shutdown()
          far:finish()
        end)
        assert.is_true(took >= ms - 1 and took < ms + 30, took)
      end
    end)

    it("has any number of delayed bytes under way", function()
      local _, link, client, target = line()
      link.up:delay(80)
      local bytes = random:bytes(1500000)
      local took = turns.time(function()
        client:send(bytes)
        same(bytes, (arrived(target, #bytes)))
      end)
      assert.is_true(took >= 79 and took < 300, took)
    end)

    it("delivers so many bytes a second", function()
      local _, link, client, target = line()
      link.up:bandwidth(100000)
      local took = turns.time(function()
        client:send(("x"):rep(30000))
        arrived(target, 30000)
      end)
      assert.is_true(took > 250 and took < 420, took)
      link.up:bandwidth(false)
      took = turns.time(function()
        client:send(("x"):rep(30000))
        arrived(target, 60000)
      end)
      assert.is_true(took < 100, took)
    end)

    it("cuts what is written into slices", function()
      local _, link, client, target = line()
      target.reading = false
      link.up:slice(3)
      client:send "0123456789"
      local pieces = {}
      wire.await(function()
        local bytes = target.socket:receive()
        if bytes ~= "" then pieces[#pieces + 1] = bytes end
        return link.up.delivered == 10 and bytes == ""
      end)
      assert.same({ "012", "345", "678", "9" }, pieces)
    end)
  end)

  describe("with a black hole", function()
    it("lets nothing arrive one way, and all the other way", function()
      local _, link, client, target = line()
      client:send "before"
      assert.equal("before", target:read(6))
      link.up:blackhole()
      client:send(random:bytes(3000000)) -- is read, all of it
      wire.await(function() return client.output == "" and link.up.passed > 3000000 end, "it to vanish")
      target:send "hello"
      assert.equal("hello", client:read(5))
      silent(target)
    end)

    it("lets no end be seen, neither FIN nor RST", function()
      for _, how in ipairs { "shutdown", "close", "reset" } do
        local proxy, link, client, target = line()
        link:blackhole()
        client[how](client)
        silent(target)
        target:send "anybody there?"
        silent(target)
        assert.equal(1, #proxy.links)
      end
    end)

    it("swallows what was under way, its end too", function()
      local _, link, client, target = line()
      link.up:delay(30)
      client:send "never"
      client:shutdown()
      idle(10)
      link.up:blackhole()
      silent(target)
    end)

    it("that is not read pushes back, and gives all of it back", function()
      local _, link, client, target = line { buffers = 16384 }
      client.socket:buffers(16384)
      link:blackhole "unread"
      local bytes = random:bytes(1000000)
      client:send(bytes)
      silent(target)
      assert.is_true(#client.output > 500000)
      link:blackhole(false)
      same(bytes, (arrived(target, #bytes)))
    end)

    it("has an end: what comes then arrives", function()
      local _, link, client, target = line()
      link.up:blackhole()
      client:send "lost"
      wire.await(function() return link.up.passed == 4 end)
      link.up:blackhole(false)
      client:send "found"
      assert.equal("found", target:read(5))
      assert.same({ 9, 5 }, { link.up.passed, link.up.delivered })
    end)
  end)

  it("stalls, pushes back, and goes on without a loss", function()
    local _, link, client, target = line { buffers = 16384 }
    client.socket:buffers(16384)
    client:send "before"
    target:read(6)
    link:stall()
    local bytes = random:bytes(1000000)
    client:send(bytes)
    silent(target)
    assert.equal(6, link.up.received)
    assert.is_true(#client.output > 500000)
    target:send "back"
    silent(client)
    link:stall(false)
    same(bytes, (arrived(target, #bytes)))
    assert.equal("back", client:read(4))
  end)

  describe("at a byte", function()
    local LENGTH = 150000
    for _, n in ipairs { 0, 1, 65535, 65536, 100001, LENGTH } do
      it(("cuts exactly there: %d"):format(n), function()
        local bytes = random:bytes(LENGTH)
        for fault, ending in pairs { reset = "ECONNRESET", halfReset = "ECONNRESET", halfClose = "eof" } do
          for _, pace in ipairs { "calm", "slice 40000", "delay 1" } do
            local proxy, server = start()
            proxy:set(pace)
            proxy.up:at(n, fault)
            local client = wire.connect(proxy.port)
            local target = server:accept()
            client:send(bytes)
            assert.same({ ending, n }, { target:finish(), #target.bytes })
            same(bytes:sub(1, n), target.bytes)
            if fault == "reset" then assert.matches("ECONNRESET", (client:finish())) else silent(client, 2) end
          end
        end
        for _, fault in ipairs { "blackhole", "stall" } do
          local proxy, _, client, target = line()
          proxy:set(("up at %d %s"):format(n, fault))
          client:send(bytes)
          arrived(target, n)
          silent(target, 20)
          same(bytes:sub(1, n), target.bytes)
        end
      end)
    end

    it("waits with a reset for a receiver that is slow to read", function()
      local proxy, server = start { buffers = 16384 }
      proxy.up:at(300000, "reset")
      local client = wire.connect(proxy.port)
      local target = server:accept()
      target.reading = false
      local bytes = random:bytes(400000)
      client:send(bytes)
      idle(30)
      target.reading = true
      assert.equal("ECONNRESET", (target:finish()))
      same(bytes:sub(1, 300000), target.bytes)
    end)

    it("does several things, in order", function()
      local _, link, client, target = line()
      link.up:at(4, "blackhole off")
      link.up:at(2, "blackhole")
      link.up:at(6, function(direction) direction:halfClose() end)
      client:send "01234567"
      assert.same({ "eof", "0145" }, { target:finish() })
    end)

    it("refuses one that has passed", function()
      local _, link, client, target = line()
      client:send "0123"
      target:read(4)
      assert.has_error(function() link.up:at(3, "reset") end, "byte 3 has passed: 4 have")
      link.up:at(4, "reset")
      assert.equal("ECONNRESET", (target:finish()))
    end)
  end)

  describe("with a RST one way", function()
    it("leaves the sender with a line that is open and leads nowhere", function()
      local proxy, link, client, target = line()
      link.up:halfReset()
      assert.equal("ECONNRESET", (target:finish()))
      client:send(random:bytes(500000))
      silent(client)
      assert.equal("", client.output)
      assert.equal(1, #proxy.links)
    end)
  end)

  describe("with a bit that flips", function()
    for _, pace in ipairs { "calm", "slice 1", "slice random", "delay 0 5" } do
      it("changes one byte and no other: " .. pace, function()
        local bytes = random:bytes(3000)
        for _, n in ipairs { 0, 1, 1499, 2999 } do
          local _, link, client, target = line()
          link:set(pace)
          link.up:corrupt(n)
          client:send(bytes:sub(1, 1500))
          wire.turn()
          client:send(bytes:sub(1501))
          local got = arrived(target, #bytes)
          same(bytes:sub(1, n), got:sub(1, n))
          same(bytes:sub(n + 2), got:sub(n + 2))
          local flipped = bytes:byte(n + 1) ~ got:byte(n + 1)
          assert.is_true(flipped ~= 0 and flipped & flipped - 1 == 0, "not one bit: " .. flipped)
        end
      end)
    end

    it("takes the next byte, and the bit it is told", function()
      local _, link, client, target = line()
      client:send "a"
      target:read(1)
      link.up:corrupt(nil, 5)
      link.up:corrupt(3, 0)
      client:send "abcd"
      assert.equal("Abbd", target:read(4))
    end)
  end)

  describe("when a client comes", function()
    it("refuses it, and takes the next", function()
      local proxy, server = start()
      local early = wire.connect(proxy.port)
      local target = server:accept()
      proxy:refuse()
      assert.equal("ECONNREFUSED", (wire.connect(proxy.port):finish()))
      early:send "still here"
      assert.equal("still here", target:read(10))
      proxy:refuse "reset"
      assert.equal("ECONNRESET", (wire.connect(proxy.port):finish()))
      proxy:refuse(false)
      local late = wire.connect(proxy.port)
      late:send "hello"
      assert.equal("hello", server:accept():read(5))
    end)

    it("holds it, says nothing, and connects it later", function()
      local proxy, server = start()
      proxy:hold()
      local client = wire.connect(proxy.port)
      client:send "hello"
      silent(client)
      assert.is_nil(server.listener:accept())
      assert.is_true(proxy.links[1].held)
      proxy:hold(false)
      assert.equal("hello", server:accept():read(5))
    end)

    it("shows the link before its first byte", function()
      local proxy, server = start()
      proxy.onlink = function(link)
        if link.number == 2 then link.up:at(3, "halfClose") end
      end
      for i = 1, 3 do
        local client = wire.connect(proxy.port)
        local target = server:accept()
        client:send "hello"
        if i == 2 then assert.same({ "eof", "hel" }, { target:finish() }) end
        if i ~= 2 then assert.equal("hello", target:read(5)) end
      end
    end)
  end)

  it("tells all connections of one way, those to come too, until it is calm", function()
    local proxy, server = start()
    local function through()
      local client = wire.connect(proxy.port)
      local target = server:accept()
      client:send "abcdef"
      return target
    end
    local first = through()
    first:read(6)
    proxy.up:blackhole()
    proxy.up:blackhole(false)
    proxy.up:at(6, "halfClose")
    assert.equal("eof", (first:finish()))
    proxy.up:at(4, "halfClose") -- too late for the first
    assert.same({ "eof", "abcd" }, { through():finish() })
    proxy:calm()
    local last = through()
    assert.equal("abcdef", last:read(6))
    silent(last, 10)
  end)

  it("does a thing after a time, if the link still lives", function()
    local proxy, link, client, target = line()
    link:after(40, "reset")
    local took = turns.time(function() assert.equal("ECONNRESET", (client:finish())) end)
    assert.is_true(took > 35 and took < 80, took)
    assert.equal("ECONNRESET", (target:finish()))
    proxy:after(10, function(it) it:refuse() end)
    wire.await(function() return proxy.refusing end)
    local _, other = line()
    other:after(1, error)
    other.up:after(1, error)
    other:close()
    idle(5)
  end)

  it("does the same for the same seed, and something else for another", function()
    local function schedule(seed)
      local proxy, server = start { seed = seed }
      local log = {}
      proxy.up:slice(function(draw)
        log[#log + 1] = draw(1, 50)
        return log[#log]
      end)
      proxy:delay(function(draw)
        log[#log + 1] = draw()
        return 0
      end)
      for _ = 1, 2 do
        local client = wire.connect(proxy.port)
        local target = server:accept()
        client:send(("x"):rep(200))
        arrived(target, 200)
        target:send "thanks"
        client:read(6)
      end
      return log
    end
    local log = schedule(7)
    assert.is_true(#log > 10)
    assert.same(log, schedule(7))
    assert.are_not.same(log, schedule(8))
    assert.not_equal(log[1], log[#log // 2 + 1]) -- links differ from each other
  end)

  it("understands words, and says what it does not understand", function()
    local proxy, link = line()
    for _, case in ipairs {
      { "jump", "no such fault: jump" }, { "delay x", "delay: x?" }, { "delay -1", "delay: -1?" },
      { "slice 0", "slice: 0?" }, { "at reset", "no number and fault in: at reset" },
      { "after 10 jump", "no such fault: jump" }, { "up refuse", "only a proxy does: refuse" },
      { "blackhole white", "blackhole: white?" },
    } do
      local ok, message = pcall(proxy.set, proxy, case[1])
      assert.is_false(ok)
      assert.matches(case[2], message, 1, true)
    end
    proxy:set "up delay 10 20"
    proxy:set "down at 5 slice random"
    proxy:set "blackhole unread"
    assert.same({ { 10, 20 }, nil, "unread" }, { link.up.settings.delay, nil, link.up.settings.blackhole })
    assert.same({ 5, "unread" }, { link.down.plans[1].at, link.down.settings.blackhole })
    assert.matches("^proxy %d+ %-> 127%.0%.0%.1:%d+, seed 1$", tostring(proxy))
  end)

  it("is a process of its own, too #foreign", function()
    local server = wire.server()
    local proxy = turns.keep(Proxy.process({ port = server.port }, lunawire.step))
    local client = wire.connect(proxy.port)
    local target = server:accept()
    client:send "hello"
    assert.equal("hello", target:read(5))
    assert.equal("1 5 0", proxy:tell "links")
    proxy:tell "up blackhole on"
    client:send "lost"
    target:send "back"
    assert.equal("back", client:read(4))
    silent(target)
    assert.has_error(function() proxy:tell "jump" end)
    proxy:tell "reset"
    assert.equal("ECONNRESET", (target:finish()))
    assert.equal("0 0 0", proxy:tell "links")
    proxy:tell "refuse"
    assert.equal("ECONNREFUSED", (wire.connect(proxy.port):finish()))
    proxy.input:close() -- it ends with its input
    assert.equal(0, proxy.peer:wait())
  end)
end)
