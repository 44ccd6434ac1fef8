-- setTimeout, setInterval and what they return.

local lunawire = require "lunawire"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local setTimeout, setInterval = lunawire.setTimeout, lunawire.setInterval
local clearTimeout, clearInterval = lunawire.clearTimeout, lunawire.clearInterval

-- Waits without turning: afterwards everything set for less is due.
local function pass(ms)
  local over = lunawire.now() + ms
  while lunawire.now() < over do end
end

describe("a timeout", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("calls its function once, not before its time", function()
    local started, times = lunawire.now(), {}
    setTimeout(function() times[#times + 1] = lunawire.now() - started end, 20)
    assert.is_true(lunawire.run(5000))
    assert.equal(1, #times)
    assert.is_true(times[1] >= 20, times[1])
    assert.is_true(times[1] < 2000, times[1])
  end)

  it("takes fractions of a millisecond", function()
    local order = {}
    setTimeout(function() order[#order + 1] = "0.9" end, 0.9)
    setTimeout(function() order[#order + 1] = "0.3" end, 0.3)
    lunawire.run(5000)
    assert.same({ "0.3", "0.9" }, order)
  end)

  it("never calls at once, be it for no time, none given, or a negative one", function()
    for _, ms in ipairs { 0, -5, -1e300, "none" } do
      local called = false
      if ms == "none" then setTimeout(function() called = true end)
      else setTimeout(function() called = true end, ms) end
      assert.is_false(called)
      assert.equal(1, lunawire.step())
      assert.is_true(called)
    end
  end)

  it("hands over its arguments, nil in the middle and at the end included", function()
    local got
    setTimeout(function(...) got = { n = select("#", ...), ... } end, 0, "a", nil, false, nil)
    lunawire.step()
    assert.same({ n = 4, "a", nil, false, nil }, got)
    setTimeout(function(...) got = select("#", ...) end, 0)
    lunawire.step()
    assert.equal(0, got)
    local many = {}
    for i = 1, 200 do many[i] = i end
    setTimeout(function(...) got = { ... } end, 0, table.unpack(many))
    lunawire.step()
    assert.same(many, got)
  end)

  it("may be anything that can be called", function()
    local got
    setTimeout(setmetatable({}, { __call = function(_, x) got = x end }), 0, 7)
    lunawire.step()
    assert.equal(7, got)
  end)

  for name, set in pairs { setTimeout = setTimeout, setInterval = setInterval } do
    for _, case in ipairs {
      { "NaN", 0 / 0, "nan" }, { "infinity", math.huge, "infinity" }, { "minus infinity", -math.huge, "infinity" },
      { "a string", "5", "string" }, { "a table", {}, "table" }, { "a boolean", true, "boolean" },
    } do
      it(("by %s refuses %s"):format(name, case[1]), function()
        local message = wire.mistake("TypeError", set, function() end, case[2])
        assert.matches(name .. ".*got " .. case[3], message)
        assert.is_true(lunawire.run(0))
      end)
    end
    it("by " .. name .. " refuses what cannot be called", function()
      for _, value in ipairs { "print", 1, true, {}, "nil" } do
        if value == "nil" then value = nil end
        assert.matches("a function expected", wire.mistake("TypeError", set, value, 1))
      end
      assert.matches("a function expected", wire.mistake("TypeError", set))
      assert.is_true(lunawire.run(0))
    end)
  end

  it("of more time than there is does no harm", function()
    for _, ms in ipairs { 2 ^ 31, 2 ^ 53, 2 ^ 63, 1e300 } do
      local _ <close> = setTimeout(function() error "it came" end, ms)
      assert.equal(0, lunawire.step())
      assert.is_true(lunawire.timeout() > 1e9)
    end
  end)
end)

describe("timers that are due together", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("come by deadline, then in the order in which they were set, in one turn", function()
    local order = {}
    local function add(name) order[#order + 1] = name end
    setTimeout(add, 3, "3")
    setTimeout(add, 1, "1")
    setTimeout(add, 2, "2")
    for i = 1, 5 do setTimeout(add, 0, "0" .. string.char(96 + i)) end
    pass(4)
    assert.equal(8, lunawire.step())
    assert.equal("0a 0b 0c 0d 0e 1 2 3", table.concat(order, " "))
  end)

  it("may clear one another", function()
    local called, second = {}, nil
    setTimeout(function()
      called[#called + 1] = "first"
      clearTimeout(second)
    end, 0)
    second = setTimeout(function() called[#called + 1] = "second" end, 0)
    setTimeout(function() called[#called + 1] = "third" end, 0)
    pass(1)
    assert.equal(2, lunawire.step())
    assert.same({ "first", "third" }, called)
  end)

  it("leave what they set to the next turn", function()
    local depth, over = 0, false
    local function again()
      depth = depth + 1
      if not over then setTimeout(again, 0) end
    end
    again()
    for i = 1, 5 do
      assert.equal(1, lunawire.step())
      assert.equal(i + 1, depth)
    end
    over = true
    lunawire.step()
  end)

  it("come before I/O", function()
    local server = turns.serve()
    local order = {}
    function server.onconnection(event)
      event.socket.onmessage = function() order[#order + 1] = "message" end
    end
    local peer = wire.client(server.port)
    wire.await(function() return #server == 1 end)
    peer:frame { "text", payload = "hi" }
    setTimeout(function() order[#order + 1] = "timer" end, 0)
    wire.await(function() peer:move() return #order == 2 end)
    assert.same({ "timer", "message" }, order)
  end)
end)

describe("clearing a timer", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("keeps it from calling, with clearTimeout, clearInterval, :close() and <close>", function()
    local function never() error "it was called" end
    local ways = {
      function(timer) clearTimeout(timer) end,
      function(timer) clearInterval(timer) end,
      function(timer) timer:close() end,
      function(timer) local scoped <close> = timer end, -- luacheck: ignore
    }
    for _, clear in ipairs(ways) do
      clear(setTimeout(never, 0))
      clear(setInterval(never, 0))
    end
    pass(2)
    assert.equal(0, lunawire.step())
    assert.is_true(lunawire.run(0))
    assert.is_nil(lunawire.timeout())
  end)

  it("twice is once, and after it has come nothing", function()
    local timer = setTimeout(function() end, 0)
    clearTimeout(timer)
    clearTimeout(timer)
    timer:close()
    timer = setTimeout(function() end, 0)
    lunawire.step()
    clearTimeout(timer)
    timer:close()
    assert.is_true(lunawire.run(0))
    local other = setTimeout(function() end, 60000)
    clearTimeout(timer) -- the one that came, whose place the other may have taken
    assert.is_false(lunawire.run(0))
    clearTimeout(other)
  end)

  it("takes nil, and nothing else that is no timer", function()
    clearTimeout()
    clearTimeout(nil)
    for _, value in ipairs { 1, "1", {}, print, io.stdout } do
      assert.matches("lunawire.Timer expected", wire.mistake("TypeError", clearTimeout, value))
    end
    local timer <close> = setTimeout(function() end, 60000)
    assert.matches("lunawire.Timer expected, got table", wire.mistake("TypeError", timer.close, {}))
    assert.matches("lunawire.Timer expected, got nil", wire.mistake("TypeError", timer.close))
  end)

  it("lets go of what it held", function()
    local weak = setmetatable({}, { __mode = "v" })
    local function make()
      local thing = {}
      weak[1] = thing
      return setTimeout(function() return thing end, 60000, thing)
    end
    local timer = make()
    collectgarbage()
    assert.is_not_nil(weak[1])
    timer:close()
    collectgarbage()
    assert.is_nil(weak[1])
    timer = setTimeout(function(thing) weak[1] = thing end, 0, {})
    lunawire.step()
    collectgarbage()
    assert.is_nil(weak[1])
    assert.matches("over", tostring(timer))
  end)
end)

describe("an interval", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("calls again and again, with its arguments, until it is cleared in its own call", function()
    local calls, timer = {}, nil
    timer = setInterval(function(...)
      calls[#calls + 1] = select("#", ...)
      if #calls == 3 then clearInterval(timer) end
    end, 1, "a", nil)
    assert.is_true(lunawire.run(5000))
    assert.same({ 2, 2, 2 }, calls)
  end)

  it("of 0 keeps the loop alive, but lets it rest in between", function()
    local calls = 0
    local _ <close> = setInterval(function() calls = calls + 1 end, 0)
    local steps = 0
    local took = turns.time(function()
      while calls < 20 do
        lunawire.step(1000)
        steps = steps + 1
      end
    end)
    assert.is_true(took >= 19, took) -- 1 ms each
    assert.is_true(steps <= 45, steps)
  end)

  -- The time of the nth call of an interval of 10 ms, turned by `turn` and given `work` to do;
  -- the best of several, since a busy machine may be late, but not always.
  local function reached(n, bound, turn, work)
    local best = math.huge
    for _ = 1, 50 do
      local start, calls, at, timer = lunawire.now(), 0, nil, nil
      timer = setInterval(function()
        calls, at = calls + 1, lunawire.now() - start
        if work then work() end
        if calls == n then timer:close() end
      end, 10)
      while calls < n do turn() end
      assert.is_true(at >= 10 * n - 0.1, at) -- and never early
      best = math.min(best, at)
      if best < bound then break end
    end
    return best
  end

  it("keeps its beat, however long its calls take", function()
    local at = reached(10, 115, function() lunawire.step(100) end, function() pass(3) end)
    assert.is_true(at < 115, at) -- a wait after each call would come to 127 at least
  end)

  it("keeps its beat, however late it is called", function()
    local at = reached(10, 110, function()
      lunawire.step()
      pass(4)
    end)
    assert.is_true(at < 110, at) -- a wait from each call on would come to 120: three turns each
  end)

  it("that fell behind begins anew and does not catch up", function()
    local calls = 0
    local _ <close> = setInterval(function() calls = calls + 1 end, 50) -- longer than a busy machine holds us up
    pass(200)
    lunawire.step()
    lunawire.step()
    assert.equal(1, calls)
    assert.is_true(lunawire.timeout() > 0)
  end)

  it("goes on after its function has raised", function()
    local calls = 0
    local _ <close> = setInterval(function()
      calls = calls + 1
      error("no " .. calls, 0)
    end, 1)
    for i = 1, 3 do
      local ok, err = pcall(lunawire.run, 5000)
      assert.is_false(ok)
      assert.equal("no " .. i, err)
    end
  end)
end)

describe("an alarm, for what must go on without memory", function()
  local core = require "lunawire.core"
  local rung

  before_each(function()
    turns.open()
    rung = {}
  end)
  after_each(turns.clear)

  it("rings with its argument when it is set, and again until it is stopped", function()
    local alarm
    alarm = core.alarm(function(argument)
      rung[#rung + 1] = argument
      if #rung == 3 then clearTimeout(alarm) end
    end, "argument")
    core.setAlarm(alarm, 5)
    assert.is_true(lunawire.run(5000)) -- it comes to its end, since no alarm is set
    assert.same({ "argument", "argument", "argument" }, rung)
  end)

  it("rings again when its function has raised", function()
    local alarm
    alarm = core.alarm(function()
      rung[#rung + 1] = true
      if #rung < 3 then error("on purpose", 0) end
      clearTimeout(alarm)
    end)
    core.setAlarm(alarm, 0)
    for _ = 1, 2 do assert.has_error(function() lunawire.run(5000) end, "on purpose") end
    assert.is_true(lunawire.run(5000))
    assert.equal(3, #rung)
  end)

  it("can be set by its own function, moved, and set again when it was stopped", function()
    local alarm
    alarm = core.alarm(function()
      rung[#rung + 1] = lunawire.now()
      if #rung == 1 then core.setAlarm(alarm, 30) else clearTimeout(alarm) end
    end)
    core.setAlarm(alarm, 60000)
    core.setAlarm(alarm, 0)
    assert.is_true(lunawire.run(5000))
    assert.equal(2, #rung)
    assert.is_true(rung[2] - rung[1] >= 29)
    core.setAlarm(alarm, 0)
    assert.is_true(lunawire.run(5000))
    assert.equal(3, #rung)
  end)

  it("takes no memory to be set and stopped, nor a place of its own each time", function()
    local alarm = core.alarm(function() end)
    local setAlarm = core.setAlarm
    setAlarm(alarm, 1000)
    clearTimeout(alarm)
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    for _ = 1, 1000 do
      setAlarm(alarm, 1000)
      clearTimeout(alarm)
    end
    local after = collectgarbage "count"
    collectgarbage "restart"
    assert.equal(before, after)
  end)

  it("lives while it is set, and can be collected when it is not", function()
    local weak = setmetatable({}, { __mode = "k" })
    local function make()
      local alarm
      local mark = {}
      alarm = core.alarm(function() rung[#rung + 1] = mark clearTimeout(alarm) end)
      weak[mark] = true
      return alarm
    end
    core.setAlarm(make(), 1)
    make()
    collectgarbage()
    collectgarbage()
    local first = next(weak)
    assert.truthy(first)
    assert.is_nil(next(weak, first))
    first = nil
    assert.is_true(lunawire.run(5000))
    assert.equal(1, #rung)
    rung = {}
    collectgarbage()
    collectgarbage()
    assert.is_nil(first or next(weak))
  end)
end)

describe("the object a timer is", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("says what it is, and hides its metatable", function()
    local timer = setTimeout(function() end, 60000)
    assert.matches("^lunawire%.Timer %(pending%)", tostring(timer))
    timer:close()
    assert.matches("^lunawire%.Timer %(over%)", tostring(timer))
    assert.is_false(getmetatable(timer))
    assert.is_false(pcall(setmetatable, timer, {}))
  end)

  it("need not be kept: the timer comes all the same", function()
    local came = false
    setTimeout(function() came = true end, 5)
    collectgarbage()
    collectgarbage()
    lunawire.run(5000)
    assert.is_true(came)
  end)

  it("survives its __gc being called by hand, twice", function()
    local timer = setTimeout(function() error "it was called" end, 0)
    local gc = debug.getmetatable(timer).__gc
    gc(timer)
    gc(timer)
    gc({})
    gc()
    gc(io.stdout)
    pass(1)
    assert.equal(0, lunawire.step())
    assert.is_true(lunawire.run(0))
    timer:close()
  end)
end)

describe("100,000 timers #slow", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("all come, in order, in turns that end", function()
    local last, came, sorted, seed = {}, 0, true, 1
    local function come(ms, i)
      if i < (last[ms] or 0) then sorted = false end
      last[ms], came = i, came + 1
    end
    for i = 1, 100000 do
      seed = (seed * 16807) % 2147483647
      setTimeout(come, seed % 10, seed % 10, i)
    end
    local steps = 0
    while came < 100000 do
      lunawire.step(100)
      steps = steps + 1
    end
    assert.is_true(sorted)
    assert.is_true(steps < 1000, steps)
  end)

  it("set and cleared leave nothing behind", function()
    local timers = {}
    for i = 1, 100000 do timers[i] = setTimeout(print, 60000 + i) end
    assert.is_true(lunawire.timeout() > 50000)
    for i = 1, 100000 do timers[(i * 7919) % 100000 + 1]:close() end
    assert.is_nil(lunawire.timeout())
    assert.is_true(lunawire.run(0))
  end)
end)
