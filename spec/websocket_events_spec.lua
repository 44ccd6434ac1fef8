-- A WebSocket's life as its handlers see it: readyState, the order of events, what they carry,
-- and who is called. The other end is raw bytes.

local lunawire = require "lunawire"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket

local server
local function fresh() server = wire.server() end

-- A socket, what it hears, and its raw peer, open.
local function opened(protocols, options, more)
  local ws = WebSocket(server.url, protocols, options)
  local log = wire.record(ws)
  local peer = server:open(more)
  wire.heard(log, "open")
  return ws, log, peer
end

describe("the life of a WebSocket", function()
  before_each(fresh)
  after_each(wire.done)

  it("is open, messages, close, with the right readyState at each", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    assert.equal(0, ws.readyState)
    local peer = server:asked()
    assert.equal(0, ws.readyState)
    peer:send(wire.switch(peer.request.headers["sec-websocket-key"]))
    assert.equal(0, ws.readyState) -- nothing happens before the loop turns
    wire.heard(log, "open")
    assert.equal(1, ws.readyState)
    peer:frame({ "text", payload = "one" }, { "binary", payload = "\0\255" })
    peer:closing(1000, "done")
    wire.await(function() return ws.readyState ~= 1 end)
    assert.equal(2, ws.readyState) -- until the connection has ended
    assert.equal("close", ({ [8] = "close" })[peer:next().opcode])
    peer:close()
    wire.heard(log)
    assert.same({ "open", "text one", "binary \0\255", "close 1000 done clean" }, log)
    assert.same({ 1, 1, 1, 3 }, log.states)
    assert.equal(3, ws.readyState)
  end)

  it("delivers open before a message that came in the same segment as the 101", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    local peer = server:open(nil, "\x81\x05Hello" .. "\x82\x01\x00" .. "\x89\x02hi")
    wire.await(function() return #log == 3 end)
    assert.same({ "open", "text Hello", "binary \0" }, log)
    local pong = peer:next()
    assert.equal(10, pong.opcode)
    assert.equal("hi", pong.payload)
  end)

  it("delivers open before a Close that came in the same segment as the 101", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    local peer = server:open(nil, "\x88\x02\x03\xe8")
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1000  clean" }, log)
    assert.same({ 1, 3 }, log.states)
  end)

  it("keeps the part of a frame that came with the 101", function()
    local frame = "\x81\x05Hello"
    for cut = 1, #frame - 1 do
      local ws = WebSocket(server.url)
      local log = wire.record(ws)
      local peer = server:open(nil, frame:sub(1, cut))
      wire.heard(log, "open")
      wire.settle()
      assert.same({ "open" }, log)
      peer:send(frame:sub(cut + 1))
      wire.await(function() return #log == 2 end)
      assert.equal("text Hello", log[2])
      peer:close()
    end
  end)

  it("delivers nothing inside the constructor, send or close", function()
    local ws, log, peer = opened()
    peer:frame { "text", payload = "x" }
    ws:send "y"
    ws:ping "z"
    lunawire.flush()
    ws:close()
    assert.same({ "open" }, log)
    assert.equal(2, ws.readyState)
    peer:closing()
    peer:close()
    wire.heard(log)
  end)

  it("is told to handlers that are set right after the constructor, or while it connects", function()
    local ws = WebSocket(server.url)
    local peer = server:asked()
    local log = wire.record(ws)
    peer:send(wire.switch(peer.request.headers["sec-websocket-key"]))
    wire.heard(log, "open")
  end)

  it("goes on without any handler", function()
    local ws = WebSocket(server.url, "chat")
    local peer = server:open { ["Sec-WebSocket-Protocol"] = "chat" }
    wire.await(function() return ws.readyState == 1 end)
    assert.equal("chat", ws.protocol)
    ws:send "hello"
    assert.equal("hello", peer:next().payload)
    peer:frame { "text", payload = "nobody hears this" }
    peer:closing(1000)
    peer:shutdown()
    wire.await(function() return ws.readyState == 3 end)
    assert.equal("chat", ws.protocol)
  end)

  it("knows its protocol from open on", function()
    local ws = WebSocket(server.url, { "a", "b" })
    local at_open
    ws.onopen = function() at_open = ws.protocol end
    local log = wire.record(ws, { "close" })
    local peer = server:open { ["Sec-WebSocket-Protocol"] = "b" }
    wire.await(function() return at_open end)
    assert.equal("b", at_open)
    assert.equal("b", ws.protocol)
    peer:close()
    wire.heard(log)
    assert.equal("b", ws.protocol)
    assert.equal("", ws.extensions)
  end)

  it("ends with exactly one close, whatever is tried after it", function()
    local ws, log, peer = opened()
    peer:close()
    wire.heard(log)
    ws:close()
    ws:terminate()
    ws:pause()
    ws:resume()
    ws:ping()
    ws:send "x"
    wire.settle()
    assert.same({ "open", "close 1006  unclean" }, log)
  end)

  it("shows in its text", function()
    local ws, log, peer = opened()
    assert.equal("WebSocket (open): " .. server.url, tostring(ws))
    peer:close()
    wire.heard(log)
    assert.equal("WebSocket (closed): " .. server.url, tostring(ws))
  end)

  it("leaves no socket in memory once it is over and forgotten", function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local ws, log, peer = opened()
      weak[ws] = true
      peer:close()
      wire.heard(log)
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("goes on while somebody listens, though the program forgot it", function()
    local heard = {}
    do
      local ws = WebSocket(server.url)
      ws.onmessage = function(event) heard[#heard + 1] = event.data end
    end
    local peer = server:open()
    for i = 1, 3 do
      collectgarbage()
      peer:frame { "text", payload = tostring(i) }
      wire.await(function() return #heard == i end)
    end
    assert.same({ "1", "2", "3" }, heard)
  end)

  it("is no reason to stay once only open was listened to, and that is over", function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local ws = WebSocket(server.url)
      weak[ws] = true
      ws.onopen = function(event) event.target.seen = true end
    end
    collectgarbage()
    local peer = server:open()
    wire.await(function()
      local ws = next(weak)
      return ws and ws.seen
    end)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
    assert.equal(8, peer:next().opcode)
    peer:closing()
    peer:shutdown()
    assert.equal("eof", (peer:finish()))
  end)

  it("is closed politely when it was forgotten with nobody listening", function()
    do
      local ws = WebSocket(server.url)
      local peer = server:open()
      wire.await(function() return ws.readyState == 1 end)
      ws:send "last words"
      server.peer = peer
    end
    collectgarbage()
    collectgarbage()
    local peer = server.peer
    assert.equal("last words", peer:next().payload)
    local goodbye = peer:next()
    assert.equal(8, goodbye.opcode)
    assert.equal("", goodbye.payload)
    peer:closing()
    peer:shutdown()
    assert.equal("eof", (peer:finish()))
  end)
end)

describe("an event", function()
  before_each(fresh)
  after_each(wire.done)

  it("of a message tells text from bytes, and its origin", function()
    local ws, log, peer = opened()
    peer:frame({ "text", payload = "h\195\169" }, { "binary", payload = "\255\0\r\n" }, { "text" }, { "binary" })
    wire.await(function() return #log == 5 end)
    local text, binary = log.events[2], log.events[3]
    assert.same({ "message", false, "h\195\169" }, { text.type, text.binary, text.data })
    assert.same({ "message", true, "\255\0\r\n" }, { binary.type, binary.binary, binary.data })
    assert.same({ "", "" }, { log.events[4].data, log.events[5].data })
    assert.equal(ws, text.target)
    assert.equal("ws://127.0.0.1:" .. server.port, text.origin)
  end)

  it("has target and data of its own, and shares the rest by type", function()
    local _, log, peer = opened()
    peer:frame({ "text", payload = "a" }, { "text", payload = "b" }, { "binary", payload = "c" })
    wire.await(function() return #log == 4 end)
    local own = {}
    for name in pairs(log.events[2]) do own[#own + 1] = name end
    table.sort(own)
    assert.same({ "data", "target" }, own)
    assert.equal(getmetatable(log.events[2]), getmetatable(log.events[3]))
    assert.is_nil(rawget(log.events[1], "type"))
  end)

  it("may carry fields of the handler's own", function()
    local ws, _, peer = opened()
    local seen
    ws:addEventListener("message", function(event) event.mine = 42 end)
    ws:addEventListener("message", function(event) seen = event.mine end)
    peer:frame { "text", payload = "x" }
    wire.await(function() return seen end)
    assert.equal(42, seen)
  end)

  it("of a close has code, name, reason and wasClean", function()
    for _, row in ipairs {
      { 1000, "NORMAL" }, { 1001, "GOING_AWAY" }, { 3333, "for libraries" }, { 4000, "for applications" },
    } do
      local _, log, peer = opened()
      peer:closing(row[1], "because \226\130\172")
      peer:shutdown()
      local event = wire.heard(log)
      assert.same({ "close", row[1], row[2], "because \226\130\172", true },
        { event.type, event.code, event.name, event.reason, event.wasClean })
    end
  end)

  it("of a close without a code says 1005, and of none at all 1006", function()
    local _, log, peer = opened()
    peer:closing()
    peer:shutdown()
    local event = wire.heard(log)
    assert.same({ 1005, "NO_STATUS", "", true }, { event.code, event.name, event.reason, event.wasClean })
    _, log, peer = opened()
    peer:close()
    event = wire.heard(log)
    assert.same({ 1006, "ABNORMAL", "", false }, { event.code, event.name, event.reason, event.wasClean })
  end)
end)

describe("a handler", function()
  before_each(fresh)
  after_each(wire.done)

  it("can be set, read back, and taken away", function()
    local ws = WebSocket(server.url)
    for _, name in ipairs { "open", "message", "error", "close", "ping", "pong", "drain" } do
      local key = "on" .. name
      local function f() end
      assert.is_nil(ws[key])
      ws[key] = f
      assert.equal(f, ws[key])
      ws[key] = nil
      assert.is_nil(ws[key])
      for _, wrong in ipairs { 1, "f", true, {} } do
        assert.matches(key .. ": a function expected, got " .. type(wrong), wire.mistake("TypeError", function()
          ws[key] = wrong
        end))
      end
      assert.is_nil(ws[key])
    end
    ws:close()
  end)

  it("may be an object that can be called", function()
    local ws = WebSocket(server.url)
    local heard
    ws.onopen = setmetatable({}, { __call = function(_, event) heard = event.type end })
    server:open()
    wire.await(function() return heard end)
    assert.equal("open", heard)
  end)

  it("that was taken away is not called", function()
    local ws, log, peer = opened()
    ws.onmessage = nil
    peer:frame { "text", payload = "x" }
    peer:close()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
  end)

  it("that is set last is the one that is called, also from within a handler", function()
    local ws, _, peer = opened()
    local heard = {}
    ws.onmessage = function(event)
      heard[#heard + 1] = "first " .. event.data
      ws.onmessage = function(again) heard[#heard + 1] = "second " .. again.data end
    end
    peer:frame({ "text", payload = "a" }, { "text", payload = "b" })
    wire.await(function() return #heard == 2 end)
    assert.same({ "first a", "second b" }, heard)
  end)

  it("of a name that is not there raises, with the one that is near", function()
    local ws = WebSocket(server.url)
    assert.matches('did you mean "onmessage"', wire.mistake("TypeError", function() ws.onmesage = print end))
    assert.matches('did you mean "onclose"', wire.mistake("TypeError", function() ws.onClose = print end))
    assert.matches('"onxylophone"', wire.mistake("TypeError", function() ws.onxylophone = print end))
    wire.mistake("TypeError", function() ws.onconnection = print end)
    ws:close()
  end)
end)

describe("a member", function()
  before_each(fresh)
  after_each(wire.done)

  it("that is read-only raises when written, and keeps its value", function()
    local ws = WebSocket(server.url)
    for _, name in ipairs {
      "url", "readyState", "protocol", "extensions", "bufferedAmount", "lastReceived", "send", "close", "ping",
      "terminate", "pause", "resume", "addEventListener", "removeEventListener", "CONNECTING", "OPEN", "CLOSING", "CLOSED",
    } do
      local before = ws[name]
      assert.matches('"' .. name .. '" is read-only', wire.mistake("TypeError", function() ws[name] = 1 end), 1, true)
      assert.equal(before, ws[name])
    end
    ws:close()
  end)

  it("of the program's own may be kept on the socket", function()
    local ws, log, peer = opened()
    assert.is_nil(ws.user)
    ws.user, ws[1], ws[ws] = "ann", "one", true
    assert.same({ "ann", "one", true }, { ws.user, ws[1], ws[ws] })
    ws.user = nil
    assert.is_nil(ws.user)
    ws.name, ws.message, ws.type = "n", "m", "t" -- words the library uses elsewhere
    peer:frame { "text", payload = "x" }
    wire.await(function() return #log == 2 end)
    assert.same({ "n", "m", "t" }, { ws.name, ws.message, ws.type })
    assert.has_error(function() ws[nil] = 1 end)
    ws[ws] = nil
  end)

  it("binaryType is one of three words, and nothing else is one", function()
    local ws = WebSocket(server.url)
    for _, kind in ipairs { "arraybuffer", "blob", "string" } do
      ws.binaryType = kind
      assert.equal(kind, ws.binaryType)
    end
    for _, wrong in ipairs { "text", "", 1, true } do
      wire.mistake("TypeError", function() ws.binaryType = wrong end)
    end
    wire.mistake("TypeError", function() ws.binaryType = nil end)
    assert.matches('expected, got "nodebuffer"$', wire.mistake("TypeError", function() ws.binaryType = "nodebuffer" end))
    assert.equal("string", ws.binaryType)
    ws:close()
  end)

  it("called on a wrong self raises", function()
    local ws = WebSocket(server.url)
    for _, name in ipairs {
      "send", "close", "ping", "terminate", "pause", "resume", "addEventListener", "removeEventListener",
    } do
      for _, wrong in ipairs { 1, "x", {}, io.stdout, lunawire } do
        assert.matches("WebSocket expected, got", wire.mistake("TypeError", ws[name], wrong, "x"))
      end
      wire.mistake("TypeError", ws[name])
    end
    ws:close()
  end)

  it("called with a dot says that a colon was meant", function()
    local ws, buffer = WebSocket(server.url), lunawire.ArrayBuffer(1)
    for _, row in ipairs {
      { function() ws.send "x" end, 'WebSocket expected, got string (did you mean ":send", with a colon?)' },
      { function() ws.close() end, 'WebSocket expected, got nil (did you mean ":close", with a colon?)' },
      { function() buffer.slice(0, 1) end, 'ArrayBuffer expected, got number (did you mean ":slice", with a colon?)' },
      { function() ws.receive() end, 'receive: a WebSocket expected, got nil (did you mean ":receive", with a colon?)' },
      { function() ws.send({}, "x") end, 'WebSocket expected, got table (did you mean ":send", with a colon?)' },
      { function() ws.drain() end, "drain: a WebSocket expected, got nil" },
    } do
      assert.equal(row[2], wire.mistake("TypeError", row[1]))
    end
    assert.equal("WebSocket expected, got string", wire.mistake("TypeError", ws.send, "x")) -- by pcall: no name
    ws:close()
  end)

  it("cannot be reached around: the metatable is closed", function()
    local ws = WebSocket(server.url)
    assert.is_false(getmetatable(ws))
    assert.has_error(function() setmetatable(ws, {}) end)
    ws:close()
  end)
end)

describe("listeners", function()
  local ws, peer, heard

  before_each(function()
    fresh()
    ws = WebSocket(server.url)
    heard = {}
    peer = server:open()
    wire.await(function() return ws.readyState == 1 end)
  end)
  after_each(wire.done)

  local function note(name)
    return function() heard[#heard + 1] = name end
  end

  -- One message, and what was heard of it, in one line.
  local function message()
    heard = {}
    local before = ws.lastReceived
    wire.await(function() return lunawire.now() > before end)
    peer:frame { "text", payload = "x" }
    wire.await(function() return ws.lastReceived > before end)
    wire.settle(3)
    return table.concat(heard, " ")
  end

  it("are called in the order in which they were set, the handler among them", function()
    ws:addEventListener("message", note "a")
    ws.onmessage = note "handler"
    ws:addEventListener("message", note "b")
    assert.equal("a handler b", message())
    ws.onmessage = note "other"
    assert.equal("a other b", message()) -- it keeps its place
    ws.onmessage = nil
    assert.equal("a b", message())
    ws.onmessage = note "again"
    assert.equal("a b again", message())
  end)

  it("come behind a handler that was there before them", function()
    ws.onmessage = note "handler"
    ws:addEventListener("message", note "a")
    assert.equal("handler a", message())
  end)

  it("are called once each, however often the same was added", function()
    local a = note "a"
    ws:addEventListener("message", a)
    ws:addEventListener("message", a)
    assert.equal("a", message())
    ws.onmessage = a
    assert.equal("a a", message()) -- the handler is another place
    ws:removeEventListener("message", a)
    assert.equal("a", message())
  end)

  it("that capture come first, and are others than those that do not", function()
    local a = note "a"
    ws.onmessage = note "handler"
    ws:addEventListener("message", note "b")
    ws:addEventListener("message", a, { capture = true })
    ws:addEventListener("message", note "c", true)
    assert.equal("a c handler b", message())
    ws:addEventListener("message", a)
    assert.equal("a c handler b a", message())
    ws:removeEventListener("message", a)
    assert.equal("a c handler b", message())
    ws:removeEventListener("message", a, { capture = true })
    assert.equal("c handler b", message())
  end)

  it("with once are called once", function()
    ws:addEventListener("message", note "a", { once = true })
    ws:addEventListener("message", note "b")
    assert.equal("a b", message())
    assert.equal("b", message())
  end)

  it("with once are gone before they run, so they can add themselves again", function()
    local function a()
      heard[#heard + 1] = "a"
      if #heard < 3 then ws:addEventListener("message", a, { once = true }) end
    end
    ws:addEventListener("message", a, { once = true })
    peer:frame({ "text" }, { "text" }, { "text" }, { "text" }, { "text" })
    wire.await(function() return #heard == 3 end)
    wire.settle()
    assert.same({ "a", "a", "a" }, heard)
  end)

  it("removed during the event are not called; added ones only with the next", function()
    local later, b = note "later", note "b"
    ws:addEventListener("message", function()
      heard[#heard + 1] = "a"
      ws:removeEventListener("message", b)
      ws:addEventListener("message", later)
    end)
    ws:addEventListener("message", b)
    ws:addEventListener("message", note "c")
    assert.equal("a c", message())
    assert.equal("a c later", message())
  end)

  it("that remove themselves leave the others in place", function()
    local function a()
      heard[#heard + 1] = "a"
      ws:removeEventListener("message", a)
    end
    ws:addEventListener("message", a)
    ws:addEventListener("message", note "b")
    ws:addEventListener("message", note "c")
    assert.equal("a b c", message())
    assert.equal("b c", message())
  end)

  it("see the handler that is set when its place comes", function()
    ws:addEventListener("message", function() ws.onmessage = note "new" end)
    ws.onmessage = note "old"
    assert.equal("new", message())
    ws.onmessage = nil
    assert.equal("", message()) -- a new place, behind the event's list
    assert.equal("new", message())
  end)

  it("skip a handler that was taken away during the event", function()
    ws:addEventListener("message", function()
      heard[#heard + 1] = "a"
      ws.onmessage = nil
    end)
    ws.onmessage = note "handler"
    assert.equal("a", message())
  end)

  it("end with stopImmediatePropagation", function()
    ws:addEventListener("message", note "a")
    ws:addEventListener("message", function(event)
      heard[#heard + 1] = "b"
      event:stopImmediatePropagation()
    end)
    ws:addEventListener("message", note "c")
    ws.onmessage = note "handler"
    assert.equal("a b", message())
    assert.equal("a b", message())
  end)

  it("hear every kind of event, with the same object", function()
    local events = {}
    for _, name in ipairs { "message", "ping", "pong", "close" } do
      for i = 1, 2 do
        ws:addEventListener(name, function(event) events[#events + 1] = { name .. i, event } end)
      end
    end
    ws:ping "p"
    peer:frame({ "text", payload = "m" }, { "ping", payload = "q" }, { "pong", payload = "p" })
    peer:closing(1000)
    peer:shutdown()
    wire.await(function() return #events == 8 end)
    local names = {}
    for i, pair in ipairs(events) do
      names[i] = pair[1]
      if i % 2 == 0 then assert.equal(events[i - 1][2], pair[2]) end
    end
    assert.same({ "message1", "message2", "ping1", "ping2", "pong1", "pong2", "close1", "close2" }, names)
  end)

  it("all run though one raises; the first error leaves step as it was", function()
    local mine = {}
    ws:addEventListener("message", function()
      heard[#heard + 1] = "a"
      error(mine)
    end)
    ws:addEventListener("message", note "b")
    peer:frame { "text", payload = "x" }
    local ok, err
    wire.await(function()
      ok, err = pcall(lunawire.step, 5)
      return not ok
    end)
    assert.equal(mine, err)
    assert.same({ "a", "b" }, heard)
  end)

  it("are refused when they are wrong", function()
    wire.mistake("TypeError", ws.addEventListener, ws, "message")
    wire.mistake("TypeError", ws.addEventListener, ws, "message", 1)
    wire.mistake("TypeError", ws.addEventListener, ws, "message", print, 1)
    wire.mistake("TypeError", ws.addEventListener, ws, "connection", print)
    wire.mistake("TypeError", ws.addEventListener, ws, nil, print)
    wire.mistake("TypeError", ws.removeEventListener, ws, "messages", print)
    wire.mistake("TypeError", ws.addEventListener, ws, "message", print, { once = 1 })
    ws:removeEventListener("message", print) -- one that was never added
  end)

  it("are told what is near to what does not exist", function()
    for _, method in ipairs { "addEventListener", "removeEventListener" } do
      local function wrong(...) return wire.mistake("TypeError", ws[method], ws, ...) end
      assert.matches('no event "messages" here (did you mean "message"?)', wrong("messages", print), 1, true)
      assert.matches('no event "onclose" here (did you mean "close"?)', wrong("onclose", print), 1, true)
      assert.matches('no event "frobnicate" here$', wrong("frobnicate", print))
      local function unknown(option) return wrong("message", print, { [option] = true }) end
      assert.matches(method .. ': unknown option "ones" (did you mean "once"?)', unknown "ones", 1, true)
      assert.matches('unknown option "captured" (did you mean "capture"?)', unknown "captured", 1, true)
      assert.matches('unknown option "passive"$', unknown "passive")
    end
    local host = lunawire.WebSocketServer {}
    assert.matches('no event "conection" here (did you mean "connection"?)',
      wire.mistake("TypeError", host.addEventListener, host, "conection", print), 1, true)
    host:close()
  end)

  it("do not mix with fields of the program's own", function()
    ws.message = note "field"
    ws:addEventListener("message", note "a")
    assert.equal("a", message())
    assert.is_function(ws.message)
  end)
end)
