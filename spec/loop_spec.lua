-- loop: poll, timers, and the queue of what is ready. The clock stands still unless a spec or
-- a wait moves it.

local desk = require "spec.system_helper"
local probe = require "lunawire.probe"
local sys = probe.sys

local ms = 1000000
local wait = { epoll = "epoll_wait", poll = "poll" }

for _, backend in ipairs { "epoll", "poll" } do
  local sample = probe.poll(backend)
  if sample then sample:free() end

  describe(("a loop on %s"):format(backend), function()
    if not sample then return pending "is not of this system" end
    local loop

    before_each(function()
      desk.open()
      sys.clock(1000 * ms)
      loop = desk.keep(probe.loop(backend))
    end)
    after_each(desk.clear)

    local function source(name, fd) return desk.keep(assert(loop:source(name, fd))) end

    -- A source on one end of a pair, and the other end.
    local function connection(name, interest)
      local near, far = desk.fd(sys.pair())
      local one = source(name, near)
      if interest then assert.is_true(one:watch(interest)) end
      return one, far, near
    end

    local function timer(name, due)
      local one = assert(loop:timer(name))
      if due then one:set(due) end
      return one
    end

    local function turn(timeout) return desk.turn(loop, timeout) end

    describe("with nothing to do", function()
      it("opens nothing", function()
        assert.same({}, turn())
        assert.is_nil(loop:timeout())
        assert.is_nil(loop:fd())
        assert.equal(0, sys.calls(wait[backend]))
      end)

      it("waits as long as it is told", function()
        assert.same({}, turn(30 * ms))
        assert.equal(1030 * ms, sys.clock())
        assert.equal(1030 * ms, loop:now())
      end)

      it("costs no system call for an interest that does not change", function()
        local one = connection("one", "r")
        local before = sys.calls "epoll_ctl"
        for _ = 1, 10 do assert.is_true(one:watch "r") end
        assert.equal(before, sys.calls "epoll_ctl")
        one:watch ""
        one:watch ""
        one:leave()
        assert.equal(backend == "epoll" and before + 1 or before, sys.calls "epoll_ctl")
      end)
    end)

    describe("and its descriptors", function()
      it("hands out who is ready, and why, once for all reasons", function()
        local _, far = connection("one", "rw")
        connection("two", "r")
        sys.write(far, "x")
        assert.same({ "one rw" }, turn())
      end)

      it("waits for them, at most as long as told", function()
        sys.reset() -- a real clock
        local _, far = connection("one", "r")
        local start = sys.clock()
        assert.same({}, turn(2 * ms))
        assert.is_true(sys.clock() - start >= 2 * ms)
        sys.write(far, "x")
        assert.same({ "one r" }, turn(-1))
      end)

      it("keeps telling while they are ready", function()
        local one, far, near = connection("one", "r")
        sys.write(far, "x")
        assert.same({ "one r" }, turn())
        assert.same({ "one r" }, turn())
        sys.read(near)
        assert.same({}, turn())
        one:watch "w"
        assert.same({ "one w" }, turn())
      end)

      it("tells a hang-up as what was asked for", function()
        local _, far = connection("reader", "r")
        local _, other = connection("writer", "w")
        desk.close(far)
        desk.close(other)
        local told = turn()
        table.sort(told)
        assert.same({ "reader r", "writer w" }, told)
      end)

      it("tells a paused one only of a fault, as something to read", function()
        local _, far = connection("paused", "f")
        sys.write(far, "x")
        assert.same({}, turn())
        desk.close(far)
        assert.same({ "paused r" }, turn())
      end)

      it("takes back what nobody waits for any more", function()
        local one, far = connection("one", "rw")
        local two, other = connection("two", "rw")
        sys.write(far, "x")
        sys.write(other, "x")
        assert(loop:turn())
        one:watch "w"
        two:watch ""
        assert.same({ "one w" }, desk.rest(loop))
        one:watch "r"
        assert.same({ "one r" }, turn())
      end)

      it("is told that one without a descriptor cannot be watched", function()
        local one = source "one"
        assert.is_nil((one:watch "r"))
        one:post()
        assert.same({ "one p" }, turn())
      end)

      it("passes on why one cannot be watched, and leaves it as it was", function()
        if backend ~= "epoll" then return end
        local one, far = connection("one", "r")
        sys.fail("epoll_ctl", "ENOSPC")
        assert.same({ nil, "ENOSPC" }, { one:watch "rw" })
        sys.write(far, "x")
        assert.same({ "one r" }, turn())
        assert.is_true(one:watch "rw")
        assert.same({ "one rw" }, turn())
      end)

      it("hands out more than one wait of the poller can tell", function()
        local sources = {}
        for i = 1, 400 do
          local reading, writing = desk.fd(sys.pipe())
          sources[i] = source(i, reading)
          sources[i]:watch "r"
          sys.write(writing, "x")
        end
        local seen = {}
        for _, told in ipairs(turn()) do
          assert.is_nil(seen[told])
          seen[told] = true
        end
        for i = 1, 400 do assert.is_true(seen[i .. " r"]) end
        assert.is_true(sys.calls(wait[backend]) <= 4)
      end)

      it("finds a regular file ready in every turn while it is watched", function()
        local file = source("file", desk.fd(sys.open "spec/loop_spec.lua"))
        assert.is_true(file:watch "r")
        if backend == "epoll" then assert.equal(0, loop:timeout()) end
        assert.same({ "file r" }, turn(-1))
        assert.same({ "file r" }, turn(-1))
        file:watch "rw"
        assert.same({ "file rw" }, turn(-1))
        assert(loop:turn(-1))
        file:watch ""
        assert.same({}, desk.rest(loop))
        assert.same({}, turn())
        assert.is_nil(loop:timeout())
        file:watch "r"
        assert.same({ "file r" }, turn(-1))
        file:watch ""
        file:fd((desk.fd(sys.pipe()))) -- no file, and not ready
        file:watch "r"
        assert.same({}, turn())
        assert.is_nil(loop:timeout())
      end)

      it("has one descriptor for all of them, for other loops", function()
        local _, far = connection("one", "r")
        if backend == "poll" then return assert.equal(-1, loop:fd()) end
        assert.is_false(sys.await(loop:fd(), "r", 0))
        sys.write(far, "x")
        assert.is_true(sys.await(loop:fd(), "r", 0))
      end)
    end)

    describe("and its timers", function()
      it("wakes when the first is due, and tells by deadline", function()
        timer("late", 1030 * ms)
        timer("early", 1010 * ms)
        timer("also early", 1010 * ms)
        assert.equal(10 * ms, loop:timeout())
        assert.same({ "early d", "also early d" }, turn(-1))
        assert.equal(1010 * ms, loop:now())
        assert.same({}, turn(5 * ms))
        assert.same({ "late d" }, turn(-1))
        assert.equal(1030 * ms, sys.clock())
        assert.is_nil(loop:timeout())
      end)

      it("does not wait for one that is due", function()
        timer("past", 1)
        assert.equal(0, loop:timeout())
        assert.same({ "past d" }, turn(-1))
        assert.equal(1000 * ms, sys.clock())
      end)

      it("tells them before what was posted, and that before I/O", function()
        local _, far = connection("io", "r")
        sys.write(far, "x")
        source("posted"):post()
        timer("timer", 1000 * ms)
        assert.same({ "timer d", "posted p", "io r" }, turn())
      end)

      it("leaves one set during a turn to the next, however long it is due", function()
        local one = timer("one", 1000 * ms)
        local two = timer("two", 1000 * ms)
        assert(loop:turn())
        assert.same({ "one", "d" }, { loop:next() })
        one:set(0) -- before all others
        assert.same({ "two", "d" }, { loop:next() })
        two:set(1)
        assert.is_nil(loop:next())
        assert.equal(0, loop:timeout())
        assert.same({ "one d", "two d" }, turn())
      end)

      it("lets them stop, move and end each other within a turn", function()
        timer("one", 1)
        local two, three, four = timer("two", 2), timer("three", 3), timer("four", 4)
        assert(loop:turn())
        assert.same({ "one", "d" }, { loop:next() })
        two:stop()
        three:leave()
        four:set(1001 * ms)
        assert.is_nil(loop:next())
        assert.equal(1 * ms, loop:timeout())
        assert.same({ "four d" }, turn(-1))
      end)

      it("has no work left when a handler has stopped the last that was due", function()
        timer("one", 1)
        local two = timer("two", 2)
        assert(loop:turn())
        loop:next()
        two:stop()
        assert.is_nil(loop:next())
        assert.is_nil(loop:timeout())
      end)

      it("knows that a deadline at the end of time is far", function()
        timer("never", math.maxinteger)
        sys.clock(-1)
        assert.equal(math.maxinteger, loop:timeout())
        sys.clock(1000 * ms)
        assert.equal(math.maxinteger - 1000 * ms, loop:timeout())
      end)

      it("reads the clock twice in a turn that waits, and once in one that does not", function()
        timer("one", 1005 * ms)
        assert.same({ "one d" }, turn(-1))
        sys.clock(5000 * ms)
        turn(0)
        assert.equal(5000 * ms, loop:now())
      end)
    end)

    describe("and what is posted", function()
      it("does not wait", function()
        source("one"):post()
        assert.equal(0, loop:timeout())
        assert.same({ "one p" }, turn(-1))
        assert.is_nil(loop:timeout())
      end)

      it("keeps the order of posting, and counts twice as once", function()
        local one, two = source "one", source "two"
        two:post()
        one:post()
        two:post "r"
        assert.same({ "two rp", "one p" }, turn())
        assert.same({}, turn())
      end)

      it("keeps what is posted during a turn for the next, so that turns end", function()
        local one, two = source "one", source "two"
        one:post()
        assert(loop:turn())
        assert.same({ "one", "p" }, { loop:next() })
        one:post()
        two:post()
        assert.is_nil(loop:next())
        assert.same({ "one p", "two p" }, turn())
      end)

      it("adds the reasons to one that is still to come in this turn", function()
        local one, two = source "one", source "two"
        one:post()
        two:post()
        assert(loop:turn())
        loop:next()
        two:post "w"
        assert.same({ "two", "wp" }, { loop:next() })
        assert.is_nil(loop:next())
        assert.same({}, turn())
      end)

      it("adds what the poller tells to what was posted", function()
        local one, far = connection("one", "r")
        sys.write(far, "x")
        one:post()
        assert.same({ "one rp" }, turn())
      end)

      it("stays although nobody waits for the descriptor any more", function()
        local one, far = connection("one", "rw")
        sys.write(far, "x")
        one:post "r"
        assert(loop:turn())
        one:watch ""
        assert.same({ "one r" }, desk.rest(loop))
      end)

      it("is forgotten when it leaves", function()
        local one, two, three = source "one", source "two", source "three"
        one:post()
        two:post()
        three:post()
        assert(loop:turn())
        assert.same({ "one", "p" }, { loop:next() })
        one:post()
        one:free()
        two:free()
        assert.same({ "three p" }, desk.rest(loop))
        assert.is_nil(loop:timeout())
      end)
    end)

    describe("whose turn was left early", function()
      it("goes on with the rest, then tells what is new", function()
        local _, far = connection("io", "r")
        local a, b, c = source "a", source "b", source "c"
        a:post()
        b:post()
        assert(loop:turn())
        assert.same({ "a", "p" }, { loop:next() })
        c:post()
        a:post()
        sys.write(far, "x")
        assert.equal(0, loop:timeout())
        assert.same({ "b p", "c p", "a p", "io r" }, turn(-1))
      end)

      it("tells new timers after the old rest, and old timers before it", function()
        local a = source "a"
        a:post()
        timer("t1", 1)
        timer("t2", 2)
        assert(loop:turn())
        assert.same({ "t1", "d" }, { loop:next() })
        timer("t3", 0)
        assert(loop:turn())
        assert.same({ "t2", "d" }, { loop:next() })
        assert(loop:turn())
        assert.same({ "a", "p" }, { loop:next() })
        assert.same({ "t3 d" }, desk.rest(loop))
      end)

      it("lets timers and descriptors that are always ready take turns, one event at a time", function()
        local one, two = timer("t1", 0), timer("t2", 0)
        for i = 1, 3 do
          local _, far = connection("io" .. i, "r")
          sys.write(far, "x")
        end
        local count = {}
        for _ = 1, 60 do
          assert(loop:turn())
          local name = loop:next()
          count[name] = (count[name] or 0) + 1
          if name == "t1" then one:set(0) elseif name == "t2" then two:set(0) end
        end
        for _, name in ipairs { "t1", "t2", "io1", "io2", "io3" } do
          assert.is_true((count[name] or 0) >= 10, name .. ": " .. tostring(count[name]))
        end
      end)

      it("lets posting, too, take no more than its turn", function()
        local greedy = source "greedy"
        local _, far = connection("io", "r")
        timer("timer", 0)
        sys.write(far, "x")
        greedy:post()
        local seen = {}
        for _ = 1, 6 do
          assert(loop:turn())
          local name = loop:next()
          seen[name] = true
          if name == "greedy" then greedy:post() end
        end
        assert.same({ greedy = true, io = true, timer = true }, seen)
      end)

      it("forgets the rest that leaves before the next", function()
        local a, b = source "a", source "b"
        a:post()
        b:post()
        assert(loop:turn())
        a:free()
        b:free()
        assert.is_nil(loop:timeout())
        assert.same({}, turn())
      end)
    end)

    describe("and lookups", function()
      it("posts the owner of one that is done", function()
        sys.reset()
        sys.hosts { ["one.test"] = "192.0.2.1" }
        local one = source "one"
        local lookup = desk.keep(assert(loop:lookup(one, "one.test", 80)))
        local told
        desk.await(function()
          told = turn(1000 * ms)
          return #told > 0
        end)
        assert.same({ "one p" }, told)
        assert.same({ "192.0.2.1:80" }, lookup:result())
        assert.same({}, turn())
      end)

      it("opens no second pipe for the second", function()
        sys.reset()
        sys.hosts { ["one.test"] = "192.0.2.1" }
        local one, two = source "one", source "two"
        desk.keep(loop:lookup(one, "one.test"), loop:lookup(two, "one.test"))
        assert.equal(1, sys.calls "pipe")
        local told = {}
        desk.await(function()
          for _, name in ipairs(turn(1000 * ms)) do told[name] = true end
          return told["one p"] and told["two p"]
        end)
      end)

      it("says why there can be none, and leaves nothing open", function()
        local one = source "one"
        sys.fail("pipe", "EMFILE")
        assert.same({ nil, "EMFILE" }, { loop:lookup(one, "one.test") })
        if backend == "epoll" then
          sys.fail("epoll_create", "EMFILE")
          assert.same({ nil, "EMFILE" }, { loop:lookup(one, "one.test") })
          sys.fail("epoll_ctl", "ENOMEM")
          assert.same({ nil, "ENOMEM" }, { loop:lookup(one, "one.test") })
        end
      end)
    end)

    describe("in trouble", function()
      it("takes an interrupted wait for a turn without events", function()
        connection("one", "r")
        sys.fail(wait[backend], "EINTR")
        assert.same({}, turn(-1))
      end)

      it("passes on what the poller says, and goes on when it can", function()
        local _, far = connection("one", "r")
        sys.write(far, "x")
        source("two"):post()
        sys.fail(wait[backend], "ENOMEM")
        assert.same({ nil, "ENOMEM" }, { loop:turn() })
        assert.same({ "two p", "one r" }, turn())
      end)

      it("needs memory for itself and for its receive buffer, and says so", function()
        probe.starve(0)
        local made, made_err = probe.loop(backend)
        local buffer, buffer_err = loop:receive()
        probe.starve()
        assert.same({ nil, "MEMORY" }, { made, made_err })
        assert.same({ nil, "MEMORY" }, { buffer, buffer_err })
        assert.equal(loop:receive(), loop:receive())
      end)

      it("may be freed with everything in it", function()
        local _, far = connection("one", "rw")
        sys.write(far, "x")
        source("two"):post()
        timer("three", 1)
        timer("four", 2000 * ms)
        assert(loop:turn())
        loop:next()
        loop:free()
      end)
    end)

    describe("in a forked child", function()
      it("is refused its turns, and leaves the parent's poller alone", function()
        local one, far = connection("one", "r")
        assert.is_false(loop:forked())
        assert.equal("returned", sys.fork(function()
          assert(loop:forked())
          assert(select(2, loop:turn()) == "FORKED")
          assert(select(2, one:watch "rw") == "FORKED")
          one:watch ""
          one:leave()
          loop:free()
          one:free()
        end))
        sys.write(far, "x")
        assert.same({ "one r" }, turn())
      end)

      it("closes its own descriptors and no other", function()
        local one, far, near = connection("one", "r")
        loop:open()
        assert.equal("returned", sys.fork(function()
          local before = sys.descriptors()
          loop:free()
          assert(sys.descriptors() == before - (backend == "epoll" and 1 or 0))
          assert(sys.flags(near) and sys.flags(far))
        end))
        one:free()
      end)
    end)
  end)
end
