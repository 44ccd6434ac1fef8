-- WHATWG DOM, 2 "Events", and HTML, 8.1.8 "Events" (event handlers), as far as the WebSocket standard refers to them:
-- EventTarget, "fire an event", event handler IDL attributes. The other end is raw bytes.

local lunawire = require "lunawire"
local whatwg = require "spec.whatwg"
local wire = require "spec.wire"

-- A socket without handlers, its peer, a list of what was heard, and makers of functions that write it down.
local ws, peer, heard

local function fresh()
  whatwg.open()
  ws, peer = whatwg.bare()
  heard = {}
end

local function note(name)
  return function() heard[#heard + 1] = name end
end

-- n messages (1), and what was heard of them.
local function messages(n)
  local came = 0
  local function count() came = came + 1 end
  ws:addEventListener("message", count, true) -- looks on
  for _ = 1, n or 1 do peer:frame { "text", payload = "x" } end
  wire.await(function() return came == (n or 1) end, "messages")
  ws:removeEventListener("message", count, true)
  return table.concat(heard, " ")
end

describe("DOM 2.7, addEventListener(type, callback, options)", function()
  before_each(fresh)
  after_each(whatwg.close)

  it("appends: listeners hear in the order in which they were added", function()
    for _, name in ipairs { "a", "b", "c" } do ws:addEventListener("message", note(name)) end
    assert.equal("a b c", messages())
  end)

  it("step 4: one with the same type, callback and capture is not added again", function()
    local a = note "a"
    ws:addEventListener("message", a)
    ws:addEventListener("message", a, false)
    ws:addEventListener("message", a, { once = true }) -- once does not count
    assert.equal("a a", messages(2))
  end)

  it("step 4: its place is the first one", function()
    local a = note "a"
    ws:addEventListener("message", a)
    ws:addEventListener("message", note "b")
    ws:addEventListener("message", a)
    assert.equal("a b", messages())
  end)

  it("step 4: with another capture it is another", function()
    local a = note "a"
    ws:addEventListener("message", a)
    ws:addEventListener("message", a, true)
    assert.equal("a a", messages())
  end)

  it("step 4: the same callback may listen for several types", function()
    local types = {}
    local function one(event) types[#types + 1] = event.type end
    ws:addEventListener("message", one)
    ws:addEventListener("close", one)
    peer:frame { "text" }
    peer:closing(1000)
    peer:shutdown()
    whatwg.state(ws, 3)
    assert.same({ "message", "close" }, types)
  end)

  it("flatten: a boolean as options is capture", function()
    ws:addEventListener("message", note "target")
    ws:addEventListener("message", note "capture", true)
    assert.equal("capture target", messages())
  end)

  it("flatten: other options are unknown (docs/browser.md: options of listeners)", function()
    for _, option in ipairs { "passive", "signal" } do
      wire.mistake("TypeError", ws.addEventListener, ws, "message", print, { [option] = true })
    end
  end)

  it("step 3: a callback that is nil is a mistake (docs/browser.md: options of listeners)", function()
    wire.mistake("TypeError", ws.addEventListener, ws, "message", nil)
  end)

  it("a type that does not exist is a mistake (docs/browser.md: misspelt names)", function()
    wire.mistake("TypeError", ws.addEventListener, ws, "messages", print)
  end)

  it("a callback is a function, or an object that can be called (docs/browser.md: objects as listeners)", function()
    ws:addEventListener("message", setmetatable({}, { __call = note "called" }))
    wire.mistake("TypeError", ws.addEventListener, ws, "message", { handleEvent = print })
    assert.equal("called", messages())
  end)

  it("returns nothing", function()
    assert.equal(0, select("#", ws:addEventListener("message", print)))
    assert.equal(0, select("#", ws:removeEventListener("message", print)))
  end)
end)

describe("DOM 2.7, removeEventListener(type, callback, options)", function()
  before_each(fresh)
  after_each(whatwg.close)

  it("removes the one with the same type, callback and capture", function()
    local a = note "a"
    ws:addEventListener("message", a)
    ws:addEventListener("message", note "b")
    ws:removeEventListener("message", a)
    assert.equal("b", messages())
  end)

  it("leaves one with another capture", function()
    local a = note "a"
    ws:addEventListener("message", a, true)
    ws:removeEventListener("message", a)
    assert.equal("a", messages())
  end)

  it("leaves one of another type", function()
    local a = note "a"
    ws:addEventListener("message", a)
    ws:removeEventListener("close", a)
    assert.equal("a", messages())
  end)

  it("leaves a handler that is the same function", function()
    local a = note "a"
    ws.onmessage = a
    ws:removeEventListener("message", a)
    assert.equal("a", messages())
  end)

  it("of one that is not there does nothing", function()
    ws:removeEventListener("message", print)
    ws:addEventListener("message", note "a")
    ws:removeEventListener("message", print)
    assert.equal("a", messages())
  end)
end)

describe("DOM 2.9, dispatching: inner invoke", function()
  before_each(fresh)
  after_each(whatwg.close)

  it("walks a clone of the list: one that is added hears the next event", function()
    ws:addEventListener("message", function()
      if #heard == 0 then ws:addEventListener("message", note "late") end
      heard[#heard + 1] = "a"
    end)
    assert.equal("a a late", messages(2))
  end)

  it("step 2: one that was removed is not called, though in the clone", function()
    local b = note "b"
    ws:addEventListener("message", function() ws:removeEventListener("message", b) end)
    ws:addEventListener("message", b)
    ws:addEventListener("message", note "c")
    assert.equal("c", messages())
  end)

  it("step 2: one that was removed and added again is another, and hears the next event", function()
    local b = note "b"
    ws:addEventListener("message", function()
      heard[#heard + 1] = "a"
      ws:removeEventListener("message", b)
      ws:addEventListener("message", b)
    end)
    ws:addEventListener("message", b)
    assert.equal("a a", messages(2)) -- each time anew
  end)

  it("steps 2.3 and 2.4: at the target capturing listeners come first (docs/browser.md: capturing listeners)", function()
    ws:addEventListener("message", note "a")
    ws.onmessage = note "handler"
    ws:addEventListener("message", note "capture", { capture = true })
    assert.equal("capture a handler", messages())
  end)

  it("step 2.5: one for once is removed before it is called", function()
    local calls = 0
    local function a()
      calls = calls + 1
      if calls == 1 then ws:addEventListener("message", a, { once = true }) end
    end
    ws:addEventListener("message", a, { once = true })
    messages(4)
    assert.equal(2, calls)
  end)

  it("step 2.5: one for once may be removed before it hears", function()
    local a = note "a"
    ws:addEventListener("message", a, { once = true })
    ws:removeEventListener("message", a)
    assert.equal("", messages())
  end)

  it("step 2.10: an exception is reported, and the next is called (docs/browser.md: uncaught errors)", function()
    local reported = {}
    lunawire.onerror = function(err) reported[#reported + 1] = err.words end
    finally(function() lunawire.onerror = nil end)
    ws:addEventListener("message", function() error { words = "one" } end)
    ws.onmessage = function() error { words = "two" } end
    ws:addEventListener("message", note "c")
    assert.equal("c", messages())
    assert.same({ "one", "two" }, reported)
  end)

  it("step 2.10: without onerror it leaves step, once the others were called (docs/browser.md: uncaught errors)", function()
    local mine = {}
    ws:addEventListener("message", function() error(mine) end)
    ws:addEventListener("message", note "b")
    peer:frame { "text" }
    local ok, err
    wire.await(function()
      ok, err = pcall(lunawire.step, 5)
      return not ok
    end)
    assert.equal(mine, err)
    assert.same({ "b" }, heard)
  end)

  it("step 2.13: stopImmediatePropagation ends the event, and only this one", function()
    local calls = 0
    ws:addEventListener("message", function(event)
      calls = calls + 1
      if calls == 1 then event:stopImmediatePropagation() end
    end)
    ws.onmessage = note "handler"
    ws:addEventListener("message", note "b")
    assert.equal("handler b", messages(2))
  end)

  it("a listener that changes the socket is seen by the next one", function()
    local state
    ws:addEventListener("message", function() ws:close() end)
    ws:addEventListener("message", function() state = ws.readyState end)
    messages()
    assert.equal(2, state)
  end)

  it("no event is dispatched within another", function()
    local depth, deepest = 0, 0
    local function walk()
      depth = depth + 1
      deepest = math.max(deepest, depth)
      ws:send "x"
      lunawire.flush()
      ws:close()
      depth = depth - 1
    end
    for _, name in ipairs { "message", "close", "error" } do ws:addEventListener(name, walk) end
    peer:frame({ "text" }, { "text" })
    peer:closing(1000)
    peer:shutdown()
    whatwg.state(ws, 3)
    assert.equal(1, deepest)
  end)
end)

describe("DOM 2.2, Event: what is fired", function()
  before_each(fresh)
  after_each(whatwg.close)

  -- The event that a listener hears.
  local function event(name, make)
    local got
    ws:addEventListener(name, function(e) got = e end)
    make()
    return wire.await(function() return got end, name)
  end

  it("type is the event's name", function()
    assert.equal("message", event("message", function() peer:frame { "text" } end).type)
    assert.equal("close", event("close", function() peer:close() end).type)
  end)

  it("target is the WebSocket", function()
    assert.equal(ws, event("message", function() peer:frame { "text" } end).target)
    assert.equal(ws, event("close", function() peer:close() end).target)
  end)

  it("all listeners get the same object", function()
    local events = {}
    ws:addEventListener("message", function(e) events[1] = e end)
    ws.onmessage = function(e) events[2] = e end
    messages()
    assert.equal(events[1], events[2])
  end)

  it("the next event is another object", function()
    local events = {}
    ws.onmessage = function(e) events[#events + 1] = e end
    messages(2)
    assert.not_equal(events[1], events[2])
  end)

  it("may be kept, and says the same later", function()
    local kept = event("message", function() peer:frame { "text", payload = "kept" } end)
    peer:frame { "text", payload = "other" }
    peer:close()
    whatwg.state(ws, 3)
    assert.same({ "message", "kept" }, { kept.type, kept.data })
  end)

  it("there are no phases, no bubbling, nothing to prevent (docs/browser.md: members of events)", function()
    local e = event("message", function() peer:frame { "text" } end)
    for name in ("currentTarget eventPhase bubbles cancelable preventDefault stopPropagation isTrusted timeStamp"):gmatch "%a+" do
      assert.is_nil(e[name])
    end
  end)
end)

describe("HTML 8.1.8.1, event handlers", function()
  before_each(fresh)
  after_each(whatwg.close)

  for _, name in ipairs { "onopen", "onmessage", "onerror", "onclose" } do
    it(name .. " is initially nil, can be set, read back, and taken away", function()
      assert.is_nil(ws[name])
      ws[name] = print
      assert.equal(print, ws[name])
      ws[name] = nil
      assert.is_nil(ws[name])
    end)
  end

  it("the getter gives the function that was set, not a wrapper", function()
    local callable = setmetatable({}, { __call = print })
    ws.onmessage = callable
    assert.equal(callable, ws.onmessage)
  end)

  it("what is no function raises, and leaves what was set (docs/browser.md: a handler that is no function)", function()
    ws.onmessage = print
    for _, wrong in ipairs { "x", 1, true, {} } do wire.mistake("TypeError", function() ws.onmessage = wrong end) end
    assert.equal(print, ws.onmessage)
  end)

  it("a handler that does not exist raises (docs/browser.md: misspelt names)", function()
    wire.mistake("TypeError", function() ws.onmesage = print end)
  end)

  it("activate: a handler has the place of its first setting among the listeners", function()
    ws:addEventListener("message", note "a")
    ws.onmessage = note "handler"
    ws:addEventListener("message", note "b")
    assert.equal("a handler b", messages())
  end)

  it("activate: replaced it keeps that place", function()
    ws.onmessage = note "first"
    ws:addEventListener("message", note "a")
    ws.onmessage = note "second"
    assert.equal("second a", messages())
  end)

  it("deactivate: taken away it loses it, and set again is the last", function()
    ws.onmessage = note "handler"
    ws:addEventListener("message", note "a")
    ws.onmessage = nil
    ws.onmessage = note "handler"
    assert.equal("a handler", messages())
  end)

  it("the processing algorithm takes the handler when its turn comes", function()
    ws:addEventListener("message", function() ws.onmessage = note "new" end)
    ws.onmessage = note "old"
    assert.equal("new", messages())
  end)

  it("one that was taken away before its turn is not called", function()
    ws:addEventListener("message", function() ws.onmessage = nil end)
    ws.onmessage = note "handler"
    assert.equal("", messages())
  end)

  it("a handler is called besides a listener that is the same function", function()
    local a = note "a"
    ws.onmessage = a
    ws:addEventListener("message", a)
    assert.equal("a a", messages())
  end)

  it("it is called with the event alone (docs/browser.md: this)", function()
    local given
    ws.onmessage = function(...) given = { n = select("#", ...), ... } end
    messages()
    assert.equal(1, given.n)
    assert.equal("x", given[1].data)
  end)

  it("what it returns does not matter", function()
    ws.onmessage = function() return false end
    ws:addEventListener("message", note "a")
    assert.equal("a", messages())
  end)
end)

describe("HTML 8.1.7, the event loop", function()
  before_each(fresh)
  after_each(whatwg.close)

  it("nothing is heard unless it is turned (docs/browser.md: the event loop)", function()
    ws.onmessage = note "message"
    peer:frame { "text" }
    peer:move()
    assert.same({}, heard)
    wire.await(function() return heard[1] end)
  end)

  it("tasks of one socket run in their order", function()
    local order = {}
    for _, name in ipairs { "message", "close" } do
      ws:addEventListener(name, function(event) order[#order + 1] = event.data or event.type end)
    end
    for i = 1, 5 do peer:frame { "text", payload = tostring(i) } end
    peer:closing(1000)
    peer:shutdown()
    whatwg.state(ws, 3)
    assert.same({ "1", "2", "3", "4", "5", "close" }, order)
  end)

  it("a handler runs to its end before another begins", function()
    local other, otherPeer = whatwg.bare()
    local running, overlaps = false, 0
    local function run()
      if running then overlaps = overlaps + 1 end
      running = true
      other:send "x"
      ws:send "x"
      running = false
      heard[#heard + 1] = "run"
    end
    ws.onmessage, other.onmessage = run, run
    peer:frame { "text" }
    otherPeer:frame { "text" }
    wire.await(function() return #heard == 2 end)
    assert.equal(0, overlaps)
  end)
end)
