-- poll: which descriptors are ready, by each backend this system has.

local desk = require "spec.system_helper"
local probe = require "lunawire.probe"
local sys = probe.sys

local us, ms = 1000, 1000000
local call = { epoll = "epoll_wait", poll = "poll" }

for _, backend in ipairs { "epoll", "poll" } do
  local sample = probe.poll(backend)
  if sample then sample:free() end

  describe(("the poller %q"):format(backend), function()
    if not sample then return pending "is not of this system" end
    local poller

    before_each(function()
      desk.open()
      poller = desk.keep(assert(probe.poll(backend)))
    end)
    after_each(desk.clear)

    local function pair() return desk.fd(sys.pair()) end

    local function ready(timeout) return (assert(poller:wait(timeout or 0))) end

    it("knows its name", function()
      assert.equal(backend, poller:name())
    end)

    it("says nothing of what is not ready", function()
      local a = pair()
      assert.is_true(poller:set(a, "", "r", 1))
      assert.same({}, ready())
    end)

    it("tells reading, writing, and both", function()
      local a, b = pair()
      poller:set(a, "", "r", 1)
      poller:set(b, "", "w", 2)
      assert.same({ [2] = "w" }, ready())
      sys.write(b, "x")
      assert.same({ "r", "w" }, ready())
      poller:set(a, "r", "rw", 1)
      assert.same({ "rw", "w" }, ready())
    end)

    it("tells it again until it is no longer so", function()
      local a, b = pair()
      poller:set(a, "", "r", 1)
      sys.write(b, "xy")
      assert.same({ "r" }, ready())
      assert.same({ "r" }, ready())
      assert.equal("xy", sys.read(a))
      assert.same({}, ready())
    end)

    it("hands back the tag last given", function()
      local a = pair()
      poller:set(a, "", "w", 1)
      poller:set(a, "w", "rw", 7)
      assert.same({ [7] = "w" }, ready())
    end)

    it("forgets a descriptor when told to, and takes it anew", function()
      local a, b = pair()
      sys.write(b, "x")
      poller:set(a, "", "r", 1)
      assert.is_true(poller:set(a, "r", ""))
      assert.same({}, ready())
      assert.is_true(poller:set(a, "", "r", 2))
      assert.same({ [2] = "r" }, ready())
    end)

    it("tells an end of stream as something to read", function()
      local a, b = pair()
      poller:set(a, "", "r", 1)
      sys.shutdown(b)
      assert.same({ "r" }, ready())
      assert.equal("", sys.read(a))
    end)

    it("tells a hang-up whatever was asked for", function()
      local a, b = pair()
      local c, d = pair()
      poller:set(a, "", "w", 1)
      poller:set(c, "", "r", 2)
      desk.close(b)
      desk.close(d)
      assert.same({ "rwf", "rwf" }, ready())
    end)

    it("tells nothing but a fault to who asks for no more", function()
      local a, b = pair()
      poller:set(a, "", "f", 1)
      sys.write(b, "x")
      sys.shutdown(b)
      assert.same({}, ready())
      desk.close(b)
      assert.same({ "rwf" }, ready())
    end)

    it("tells a reset as a fault", function()
      local listener, _, port = probe.listen { port = 0 }
      local client = desk.fd(sys.connect(port))
      assert.is_true(sys.await(desk.fd(listener), "r"))
      local guest = desk.fd((probe.accept(listener)))
      poller:set(client, "", "f", 1)
      desk.close(guest, sys.abort)
      assert.same({ "rwf" }, ready(-1))
    end)

    it("refuses a descriptor twice, a closed one, and a change of what is not there", function()
      local a = pair()
      local closed = sys.open "/dev/null"
      sys.close(closed)
      assert.is_true(poller:set(a, "", "r", 1))
      assert.same({ nil, "EEXIST" }, { poller:set(a, "", "w", 2) })
      assert.is_nil((poller:set(-1, "", "r", 3)))
      local other = pair()
      assert.same({ nil, "ENOENT" }, { poller:set(other, "r", "w", 4) })
    end)

    it("never fails to forget", function()
      local a = pair()
      poller:set(a, "", "r", 1)
      sys.fail("epoll_ctl", "EBADF")
      assert.is_true(poller:set(a, "r", ""))
      assert.is_true(poller:set(a, "r", ""))
      assert.is_true(poller:set(-1, "r", ""))
      assert.is_true(poller:set(100000, "r", ""))
    end)

    it("serves hundreds, and those that found no room first next time", function()
      local count = 300
      for i = 1, count do
        local reading, writing = desk.fd(sys.pipe())
        assert.is_true(poller:set(reading, "", "r", i))
        sys.write(writing, "x")
      end
      local first, many = poller:wait(0)
      local second = poller:wait(0)
      assert.equal(256, many)
      local seen = 0
      for i = 1, count do
        if first[i] or second[i] then seen = seen + 1 end
      end
      assert.equal(count, seen)
      assert.equal(7, select(2, poller:wait(0, 7)))
    end)

    it("keeps each tag with its descriptor when others go", function()
      local pipes = {}
      for i = 1, 20 do
        pipes[i] = { desk.fd(sys.pipe()) }
        poller:set(pipes[i][1], "", "r", i)
        sys.write(pipes[i][2], "x")
      end
      for _, i in ipairs { 1, 10, 20, 19, 5 } do poller:set(pipes[i][1], "r", "") end
      local expected = {}
      for i = 1, 20 do expected[i] = "r" end
      for _, i in ipairs { 1, 10, 20, 19, 5 } do expected[i] = nil end
      assert.same(expected, ready())
      poller:set(pipes[18][1], "r", "f", 18)
      expected[18] = nil
      assert.same(expected, ready())
    end)

    it("never wakes early", function()
      for _, timeout in ipairs { 1, 300 * us, 1 * ms, 2500 * us } do
        local start = sys.clock()
        assert.same({}, ready(timeout))
        assert.is_true(sys.clock() - start >= timeout)
      end
    end)

    it("can wait for less than a millisecond", function()
      if not sys.hasFineWaits(backend) then return pending "the system cannot" end
      local least = math.huge
      for _ = 1, 50 do -- other programs may keep us waiting, but not each time
        local start = sys.clock()
        ready(50 * us)
        least = math.min(least, sys.clock() - start)
      end
      assert.is_true(least < 1 * ms, ("%d ns"):format(least))
    end)

    it("wakes at once for what is ready, however long it may wait", function()
      local a = pair()
      poller:set(a, "", "w", 1)
      for _, timeout in ipairs { -1, 1, 10 * ms, math.maxinteger } do
        assert.same({ "w" }, ready(timeout))
      end
    end)

    it("takes an interrupted wait for an empty one", function()
      sys.fail(call[backend], "EINTR")
      assert.same({ {}, 0 }, { poller:wait(-1) })
    end)

    it("passes on what the system says", function()
      sys.fail(call[backend], "ENOMEM")
      assert.same({ nil, "ENOMEM" }, { poller:wait(0) })
    end)

    it("needs memory to take a descriptor, and says so", function()
      local pipes = {}
      for i = 1, 20 do pipes[i] = { desk.fd(sys.pipe()) } end
      for i = 1, 20 do
        for allowed = 0, 3 do
          probe.starve(allowed)
          local taken, err = poller:set(pipes[i][1], "", "r", i)
          probe.starve()
          if taken then break end
          assert.equal("MEMORY", err)
        end
        sys.write(pipes[i][2], "x")
      end
      local expected = {}
      for i = 1, 20 do expected[i] = "r" end
      assert.same(expected, ready())
    end)

    it("opens nothing when it cannot be made", function()
      probe.starve(0)
      local made, err = probe.poll(backend)
      probe.starve()
      assert.same({ nil, "MEMORY" }, { made, err })
    end)

    it("closes none but its own descriptor", function()
      local a = pair()
      poller:set(a, "", "r", 1)
      poller:free()
      assert.is_string(sys.flags(a))
    end)
  end)
end

describe("the poller #epoll", function()
  before_each(desk.open)
  after_each(desk.clear)
  local isLinux = io.open "/proc/self/status" ~= nil
  if not isLinux then return pending "is Linux's" end

  it("is what one gets when asking for none by name", function()
    assert.equal("epoll", desk.keep(probe.poll()):name())
  end)

  it("is itself a descriptor that others can wait for", function()
    local poller = desk.keep(probe.poll "epoll")
    local reading, writing = desk.fd(sys.pipe())
    poller:set(reading, "", "r", 1)
    assert.is_false(sys.await(poller:fd(), "r", 0))
    sys.write(writing, "x")
    assert.is_true(sys.await(poller:fd(), "r", 0))
    assert.equal(-1, desk.keep(probe.poll "poll"):fd())
  end)

  it("refuses a regular file, which poll finds always ready", function()
    local file = desk.fd(sys.open "spec/poll_spec.lua")
    local poller, plain = desk.keep(probe.poll "epoll", probe.poll "poll")
    assert.same({ nil, "EPERM" }, { poller:set(file, "", "r", 1) })
    assert.is_true(plain:set(file, "", "r", 1))
    assert.same({ "r" }, (plain:wait(0)))
  end)

  it("gives way to poll where the kernel lacks it, unless it was asked for by name", function()
    sys.fail("epoll_create", "ENOSYS", 1, 2)
    assert.equal("poll", desk.keep(probe.poll()):name())
    assert.same({ nil, "ENOSYS" }, { probe.poll "epoll" })
  end)

  it("says so when no descriptor is left", function()
    sys.fail("epoll_create", "EMFILE")
    assert.same({ nil, "EMFILE" }, { probe.poll() })
  end)

  it("is not to be had under a name that nobody knows", function()
    assert.same({ nil, "ENOSYS" }, { probe.poll "kqueue" })
    assert.same({ nil, "ENOSYS" }, { probe.poll "select" })
  end)
end)
