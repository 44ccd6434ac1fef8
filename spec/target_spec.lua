-- Objects written in Lua that have events as WebSocket has them: handlers, listeners, errors, members.

local core = require "lunawire.core"
local lunawire = require "lunawire"
local target = require "lunawire.target"
local wire = require "spec.wire"

local Door = target.class {
  name = "Door",
  events = { "open", "close", "creak" },
  members = {
    width = function(state) return state.width end,
    colour = function(state) return state.colour end,
  },
  setters = { colour = function(state, value) state.colour = value .. "ish" end },
  methods = { slam = function() end },
}

local function door(state) return Door.new(state or { width = 80 }) end

local function fire(object, kind, fields) Door.fire(object, target.event(kind or "open", fields)) end

-- Listeners that write down their names.
local function notes()
  local log = {}
  return log, function(name, act)
    return function(event)
      log[#log + 1] = name
      if act then act(event) end
    end
  end
end

local function heard(log) return table.concat(log, " ") end

describe("a handler", function()
  it("is called with the event; the one last set", function()
    local one, log, note = door(), notes()
    assert.is_nil(one.onopen)
    local first, second = note "first", note "second"
    one.onopen = first
    assert.equal(first, one.onopen)
    one.onopen = second
    fire(one)
    one.onopen = nil
    fire(one)
    assert.equal("second", heard(log))
    local got
    one.onclose = function(...) got = { n = select("#", ...), ... } end
    local event = target.event("close", { code = 1000 })
    Door.fire(one, event)
    assert.equal(1, got.n)
    assert.equal(event, got[1])
  end)

  it("is a function, or what can be called", function()
    local one, called = door(), 0
    one.onopen = setmetatable({}, { __call = function() called = called + 1 end })
    fire(one)
    assert.equal(1, called)
    for _, value in ipairs { 1, "x", true, {}, setmetatable({}, { __index = print }) } do
      assert.matches("^onopen: a function expected, got ", wire.mistake("TypeError", function() one.onopen = value end))
    end
    assert.is_not_nil(one.onopen)
  end)
end)

describe("listeners", function()
  -- What is done to a door, then fired twice; who was called, and who the second time.
  for _, row in ipairs {
    { "in the order in which they came", function(one, note)
      one:addEventListener("open", note "a")
      one.onopen = note "on"
      one:addEventListener("open", note "b")
    end, "a on b", "a on b" },
    { "on… keeps its place when it is changed", function(one, note)
      one.onopen = note "old"
      one:addEventListener("open", note "a")
      one.onopen = note "new"
    end, "new a", "new a" },
    { "on… loses its place when it is taken away", function(one, note)
      one.onopen = note "old"
      one:addEventListener("open", note "a")
      one.onopen = nil
      one.onopen = note "new"
    end, "a new", "a new" },
    { "capturing ones first", function(one, note)
      one.onopen = note "on"
      one:addEventListener("open", note "a")
      one:addEventListener("open", note "c", true)
      one:addEventListener("open", note "d", { capture = true })
    end, "c d on a", "c d on a" },
    { "once", function(one, note)
      one:addEventListener("open", note "a", { once = true })
      one:addEventListener("open", note "b")
      one:addEventListener("open", note "c", { once = true, capture = true })
    end, "c a b", "b" },
    { "twice the same is once", function(one, note)
      local a = note "a"
      one:addEventListener("open", a)
      one:addEventListener("open", a)
      one:addEventListener("open", a, false)
      one:addEventListener("open", a, { once = true })
    end, "a", "a" },
    { "twice the same with another capture is twice", function(one, note)
      local a = note "a"
      one:addEventListener("open", a)
      one:addEventListener("open", a, true)
    end, "a a", "a a" },
    { "two that say they are equal are two", function(one, note)
      local equal = { __eq = function() return true end, __call = function(self, event) self.fn(event) end }
      one:addEventListener("open", setmetatable({ fn = note "a" }, equal))
      one:addEventListener("open", setmetatable({ fn = note "b" }, equal))
    end, "a b", "a b" },
    { "removed", function(one, note)
      local a, b = note "a", note "b"
      one:addEventListener("open", a)
      one:addEventListener("open", b, true)
      one:removeEventListener("open", a)
      one:removeEventListener("open", b) -- another: it captures
      one:removeEventListener("open", note "c")
      one:removeEventListener("close", b, true)
      one:removeEventListener("open", nil)
    end, "b", "b" },
    { "that remove a later one", function(one, note)
      local b = note "b"
      one:addEventListener("open", note("a", function() one:removeEventListener("open", b) end))
      one:addEventListener("open", b)
      one:addEventListener("open", note "c")
    end, "a c", "a c" },
    { "that remove themselves", function(one, note)
      local a
      a = note("a", function() one:removeEventListener("open", a) end)
      one:addEventListener("open", a)
      one:addEventListener("open", note "b")
    end, "a b", "b" },
    { "that add another: it waits for the next event", function(one, note)
      local b = note "b"
      one:addEventListener("open", note("a", function() one:addEventListener("open", b) end))
    end, "a", "a b" },
    { "that change the handler behind them", function(one, note)
      one:addEventListener("open", note("a", function() one.onopen = note "new" end))
      one.onopen = note "old"
    end, "a new", "a new" },
    { "that take the handler away", function(one, note)
      one:addEventListener("open", note("a", function() one.onopen = nil end))
      one.onopen = note "on"
      one:addEventListener("open", note "b")
    end, "a b", "a b" },
    { "until one stops it", function(one, note)
      one:addEventListener("open", note "a")
      one.onopen = note("on", function(event) event:stopImmediatePropagation() end)
      one:addEventListener("open", note "b")
    end, "a on", "a on" },
    { "stopped by one that captures", function(one, note)
      one.onopen = note "on"
      one:addEventListener("open", note("c", function(event) event:stopImmediatePropagation() end), true)
    end, "c", "c" },
  } do
    it(row[1], function()
      local one, log, note = door(), notes()
      row[2](one, note)
      fire(one)
      assert.equal(row[3], heard(log))
      for i = #log, 1, -1 do log[i] = nil end
      fire(one)
      assert.equal(row[4], heard(log))
      fire(one, "creak") -- of which nobody wants to hear
    end)

    it(row[1] .. ": as with WebSocket itself", function()
      -- The same on a real socket, whose error comes once and whose close comes once.
      local function real(kind)
        local ws, log, note = lunawire.WebSocket "ws://127.0.0.1:1/", notes()
        row[2](setmetatable({}, {
          __index = function(_, key)
            if key == "onopen" then return ws["on" .. kind] end
            return function(_, type, ...) return ws[key](ws, type == "open" and kind or "ping", ...) end
          end,
          __newindex = function(_, _, value) ws["on" .. kind] = value end,
        }), note)
        ws:close()
        assert.is_true(lunawire.run(1000))
        return heard(log)
      end
      assert.equal(row[3], real "error")
      assert.equal(row[3], real "close")
    end)
  end

  it("are told apart from mistakes", function()
    local one = door()
    local add, remove = one.addEventListener, one.removeEventListener
    assert.matches("Door has no event \"opne\" %(did you mean \"open\"%?%)", wire.mistake("TypeError", add, one, "opne", print))
    assert.matches("Door has no event \"zzzzzz\"$", wire.mistake("TypeError", remove, one, "zzzzzz", print))
    assert.matches("a string expected, got nil", wire.mistake("TypeError", add, one, nil, print))
    assert.matches("a function expected, got nil", wire.mistake("TypeError", add, one, "open"))
    assert.matches("a function expected, got Door", wire.mistake("TypeError", add, one, "open", door()))
    assert.matches("a table expected, got string", wire.mistake("TypeError", add, one, "open", print, "once"))
    assert.matches("Door expected, got table", wire.mistake("TypeError", add, {}, "open", print))
    assert.matches("Door expected, got nil", wire.mistake("TypeError", add, nil, "open", print))
    assert.is_false(Door.wants(one, "open"))
  end)

  it("are what wants() asks for", function()
    local one = door()
    assert.is_false(Door.wants(one, "open"))
    one.onopen = print
    assert.is_true(Door.wants(one, "open"))
    one.onopen = nil
    assert.is_false(Door.wants(one, "open"))
    one:addEventListener("open", print)
    assert.is_true(Door.wants(one, "open"))
    assert.is_false(Door.wants(one, "close"))
    one:removeEventListener("open", print)
    assert.is_false(Door.wants(one, "open"))
  end)
end)

describe("an error in a handler", function()
  after_each(function() lunawire.onerror = nil end)

  local values = { "oops", 42, false, {}, print }

  -- Fires as the loop would, which is whom an error that leaves is for.
  local function raised(one)
    return core.attempt(nil, function() fire(one) end)
  end

  it("leaves, value and type unchanged, when all have run", function()
    for _, value in ipairs(values) do
      for _, how in ipairs { "handler", "listener" } do
        local one, log, note = door(), notes()
        local fail = note("a", function() error(value, 0) end)
        if how == "handler" then one.onopen = fail else one:addEventListener("open", fail) end
        if how == "listener" then one:addEventListener("open", note "b") end
        local ok, err = raised(one)
        assert.is_false(ok)
        assert.is_true(rawequal(value, err))
        assert.equal(how == "listener" and "a b" or "a", heard(log))
        ok, err = Door.try(one, target.event "open")
        assert.is_false(ok)
        assert.is_true(rawequal(value, err))
      end
    end
    assert.is_true(Door.try(door(), target.event "open"))
    assert.is_true(Door.try(door(), target.event "open", { entries = false, done = 0 }))
  end)

  it("is told once to each, though it takes two calls", function()
    local one, log, note = door(), notes()
    one:addEventListener("open", note "a")
    one:addEventListener("open", note "b", true)
    one:addEventListener("open", note "c")
    local progress = { entries = false, done = 0 }
    Door.try(one, target.event "open", progress)
    assert.equal("b a c", heard(log))
    assert.equal(3, progress.done)
    progress.done = 1 -- as if there had been no memory for the others
    Door.try(one, target.event "open", progress)
    assert.equal("b a c a c", heard(log))
  end)

  it("is the first of several", function()
    local one = door()
    for i = 1, 3 do one:addEventListener("open", function() error(i, 0) end) end
    assert.equal(1, select(2, raised(one)))
  end)

  it("goes to lunawire.onerror, with the object and where it was", function()
    local one, taken = door(), {}
    lunawire.onerror = function(err, source, traceback) taken[#taken + 1] = { err, source, traceback } end
    one.onopen = function() error("alone", 0) end
    fire(one)
    one:addEventListener("open", function() error("listener", 0) end)
    fire(one)
    assert.equal(3, #taken)
    for i, err in ipairs { "alone", "alone", "listener" } do
      assert.equal(err, taken[i][1])
      assert.equal(one, taken[i][2])
      assert.matches("target_spec%.lua:%d+:", taken[i][3])
    end
  end)

  it("of lunawire.onerror itself leaves", function()
    local one = door()
    lunawire.onerror = function() error("worse", 0) end
    one.onopen = function() error("bad", 0) end
    assert.equal("worse", select(2, raised(one)))
  end)
end)

describe("an object", function()
  it("has members, methods and handlers, and fields of its own", function()
    local one = door { width = 80 }
    assert.equal(80, one.width)
    one.colour = "green"
    assert.equal("greenish", one.colour)
    assert.is_nil(one.height)
    one.height = 200
    assert.equal(200, one.height)
    one.height = nil
    assert.is_nil(one.height)
    assert.is_false(getmetatable(one))
    assert.equal("Door", target.typename(one))
  end)

  for _, row in ipairs {
    { "width", "Door's \"width\" is read%-only" }, { "slam", "Door's \"slam\" is read%-only" },
    { "addEventListener", "read%-only" }, { "onopne", "Door has no handler \"onopne\" %(did you mean \"onopen\"%?%)" },
    { "on", "Door has no handler \"on\"" }, { "once", "Door has no handler \"once\"" },
  } do
    it("does not take " .. row[1], function()
      assert.matches(row[2], wire.mistake("TypeError", function() door()[row[1]] = print end))
    end)
  end

  it("takes any key that is no string", function()
    local one = door()
    one[1], one[true] = "a", "b"
    assert.equal("a", one[1])
    assert.equal("b", one[true])
  end)

  it("is not of another class", function()
    local Window = target.class { name = "Window", events = { "open" } }
    local window = Window.new {}
    assert.matches("Door expected, got Window", wire.mistake("TypeError", Door.state, window))
    assert.equal(window, Window.state(window).object)
    assert.matches("^Window: ", tostring(window))
  end)

  it("says what it is when its class has words for that", function()
    local Said = target.class { name = "Said", events = {}, tostring = function(state) return "said " .. state.what end }
    assert.equal("said so", tostring(Said.new { what = "so" }))
  end)
end)

describe("an event", function()
  it("has its type, its fields and, for close, the code's name", function()
    local event = target.event("open", { target = 1 })
    assert.equal("open", event.type)
    assert.equal(1, event.target)
    assert.is_nil(event.name)
    assert.is_nil(rawget(event, "type"))
    assert.equal("GOING_AWAY", target.event("close", { code = 1001 }).name)
    assert.equal("close", target.event("close", {}).type)
    assert.equal("creak", target.event("creak").type)
    assert.equal("lunawire.Event", target.typename(event))
    assert.equal("Event (open)", tostring(event))
    assert.equal("Event (close)", tostring(target.event("close", { code = 1001 })))
  end)
end)

describe("what a value is called", function()
  for _, row in ipairs {
    { nil, "nil" }, { 1, "number" }, { "x", "string" }, { {}, "table" }, { print, "function" },
    { setmetatable({}, { __name = "Thing" }), "Thing" }, { setmetatable({}, { __metatable = "none" }), "table" },
    { lunawire.CloseCode, "table" },
  } do
    it(tostring(row[2]), function() assert.equal(row[2], target.typename(row[1])) end)
  end
end)

describe("a mistake", function()
  it("has a name, words, and the place of the caller outside the library", function()
    local function wrong()
      door().onopen = 1
      return nil
    end
    local ok, err = pcall(wrong)
    assert.is_false(ok)
    assert.equal("TypeError", err.name)
    assert.equal("onopen: a function expected, got number", err.message)
    assert.matches("^[^\n]*target_spec%.lua:%d+: TypeError: onopen: a function expected, got number$", tostring(err))
    assert.equal(err.name, core.Error("TypeError", "x").name)
  end)
end)
