-- timer: deadlines in a heap.

local probe = require "lunawire.probe"

-- The names of all that are due at `now`, in the order they come out.
local function taken(timers, now)
  local names = {}
  timers:ripen(now)
  for name in function() return timers:take() end do names[#names + 1] = name end
  return names
end

local function join(timers, ...)
  local all = {}
  for _, name in ipairs { ... } do all[name] = assert(timers:timer(name)) end
  return all
end

describe("timers", function()
  local timers

  before_each(function() timers = probe.timers() end)
  after_each(function()
    probe.starve()
    timers:free()
  end)

  it("come out by deadline, whatever the order they were set in", function()
    local t = join(timers, "a", "b", "c", "d", "e", "f")
    for name, due in pairs { a = 40, b = 10, c = 60, d = 30, e = 50, f = 20 } do t[name]:set(due) end
    assert.equal("b", timers:first())
    assert.same({ "b", "f", "d", "a", "e", "c" }, taken(timers, 60))
    assert.is_nil(timers:first())
  end)

  it("that are due together come out in the order they were set", function()
    local t = join(timers, "a", "b", "c", "d", "e", "f", "g")
    for name in ("g c a f b e d"):gmatch "%S" do t[name]:set(5) end
    assert.same({ "g", "c", "a", "f", "b", "e", "d" }, taken(timers, 5))
  end)

  it("count as set anew when set to the same time again", function()
    local t = join(timers, "a", "b", "c")
    t.a:set(5) t.b:set(5) t.c:set(5)
    t.a:set(5)
    assert.same({ "b", "c", "a" }, taken(timers, 5))
  end)

  it("stay until they are due", function()
    local t = join(timers, "a", "b")
    t.a:set(10) t.b:set(11)
    assert.same({}, taken(timers, 9))
    assert.same({ "a" }, taken(timers, 10))
    assert.equal("b", timers:first())
  end)

  it("can be moved to either side", function()
    local t = join(timers, "a", "b", "c")
    t.a:set(10) t.b:set(20) t.c:set(30)
    t.a:set(25)
    assert.equal("b", timers:first())
    t.c:set(1)
    assert.equal("c", timers:first())
    assert.same({ "c", "b", "a" }, taken(timers, 100))
  end)

  it("say whether they are set", function()
    local t = join(timers, "a")
    assert.is_false(t.a:isSet())
    t.a:set(3)
    assert.is_true(t.a:isSet())
    timers:ripen(3)
    assert.is_true(t.a:isSet())
    assert.equal("a", timers:take())
    assert.is_false(t.a:isSet())
    t.a:set(4)
    t.a:stop()
    assert.is_false(t.a:isSet())
  end)

  it("can be stopped, twice, and before they were ever set", function()
    local t = join(timers, "a", "b", "c")
    t.b:stop()
    t.a:set(1) t.b:set(2) t.c:set(3)
    t.b:stop() t.b:stop()
    assert.same({ "a", "c" }, taken(timers, 9))
  end)

  it("stop when they leave, and others take their room", function()
    local t = join(timers, "a", "b")
    t.a:set(1) t.b:set(2)
    t.a:leave()
    assert.equal("b", timers:first())
    for i = 1, 240 do timers:timer(i):leave() end
    for i = 3, 16 do t[i] = timers:timer(i) end
    probe.starve(1) -- for the timer itself: there is room for it
    local last = join(timers, "c").c
    probe.starve()
    last:set(0)
    assert.same({ "c", "b" }, taken(timers, 9))
  end)

  it("know the ends of time", function()
    local t = join(timers, "never", "now", "always")
    t.never:set(math.maxinteger) t.now:set(0) t.always:set(math.mininteger)
    assert.same({ "always", "now" }, taken(timers, math.maxinteger - 1))
    assert.same({ "never" }, taken(timers, math.maxinteger))
  end)

  it("keep their order when the counter of settings wraps", function()
    local t = join(timers, "a", "b", "c", "d")
    timers:order(-3) -- two short of the largest
    t.a:set(5) t.b:set(5) t.c:set(5) t.d:set(5)
    assert.same({ "a", "b", "c", "d" }, taken(timers, 5))
  end)

  describe("that are ripe", function()
    local t

    before_each(function()
      t = join(timers, "a", "b", "c")
      t.a:set(1) t.b:set(2) t.c:set(3)
      timers:ripen(3)
      assert.equal("a", timers:take())
    end)

    it("are the first", function()
      join(timers, "d").d:set(0)
      assert.equal("b", timers:first())
    end)

    it("do not hide behind one that was set meanwhile to a time gone by", function()
      t.a:set(0)
      assert.equal("b", timers:take())
      assert.equal("c", timers:take())
      assert.is_nil(timers:take())
      assert.same({ "a" }, taken(timers, 3))
    end)

    it("can be stopped", function()
      t.b:stop()
      assert.is_false(t.b:isSet())
      assert.equal("c", timers:take())
      assert.is_nil(timers:take())
    end)

    it("can be moved, even to a time gone by, and are ripe no longer", function()
      t.b:set(50) t.c:set(1)
      assert.is_nil(timers:take())
      assert.equal("c", timers:first())
      assert.same({ "c" }, taken(timers, 49))
      assert.same({ "b" }, taken(timers, 50))
    end)

    it("can leave", function()
      t.b:leave() t.c:leave()
      assert.is_nil(timers:take())
      assert.is_nil(timers:first())
    end)

    it("come before those that ripen later", function()
      join(timers, "d").d:set(0)
      timers:ripen(3)
      assert.equal("b", timers:take())
      assert.equal("c", timers:take())
      assert.equal("d", timers:take())
    end)
  end)

  it("agree with a sorted list through thousands of random steps", function()
    local state = 20240229
    local function random(n) -- the same on every machine
      state = (state * 1103515245 + 12345) % 2147483648
      return (state >> 8) % n + 1
    end
    local all, model, order, now = {}, {}, 0, 0
    for i = 1, 60 do all[i] = timers:timer(i) end
    local function expected(limit)
      local list = {}
      for i, entry in pairs(model) do
        if entry.due <= limit then list[#list + 1] = { i = i, due = entry.due, order = entry.order } end
      end
      table.sort(list, function(a, b)
        if a.due ~= b.due then return a.due < b.due end
        return a.order < b.order
      end)
      for n, entry in ipairs(list) do list[n] = entry.i end
      return list
    end
    for _ = 1, 6000 do
      local i, what = random(60), random(10)
      if what <= 6 then
        local due = now + random(40) - 5
        order = order + 1
        all[i]:set(due)
        model[i] = { due = due, order = order }
      elseif what <= 8 then
        all[i]:stop()
        model[i] = nil
      else
        now = now + random(12)
        local list = expected(now)
        assert.same(list, taken(timers, now))
        for _, gone in ipairs(list) do model[gone] = nil end
      end
      assert.equal(expected(math.maxinteger)[1], timers:first())
    end
  end)

  it("need memory to join, never to be set", function()
    local all = {}
    for i = 1, 16 do all[i] = timers:timer(i) end
    probe.starve(1) -- enough for the timer itself
    local refused, err = timers:timer(17)
    probe.starve(0)
    for i = 16, 1, -1 do all[i]:set(i) end
    probe.starve()
    assert.is_nil(refused)
    assert.equal("MEMORY", err)
    assert.equal(1, timers:first())
    assert.equal(16, #taken(timers, 16))
  end)

  it("may be 100,000 #slow", function()
    local all, n = {}, 100000
    local start = os.clock()
    for i = 1, n do
      all[i] = timers:timer(i)
      all[i]:set(i * 7919 % 100003)
    end
    for i = 1, n, 2 do all[i]:set(i * 104729 % 100003) end
    for i = 1, n, 4 do all[i]:stop() end
    local last, count = -1, 0
    timers:ripen(100003)
    for i in function() return timers:take() end do
      local due = i * (i % 2 == 1 and 104729 or 7919) % 100003
      if due < last then error(("%d after %d"):format(due, last)) end
      last, count = due, count + 1
    end
    assert.equal(n - n // 4, count)
    assert.is_true(os.clock() - start < 5, "a heap is not that slow")
  end)
end)
