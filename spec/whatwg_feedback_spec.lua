-- WHATWG WebSockets, 4 "Feedback from the protocol", 5 "Ping and Pong frames", 6 "The CloseEvent interface". The
-- other end is raw bytes.

local frames = require "spec.frames"
local lunawire = require "lunawire"
local whatwg = require "spec.whatwg"
local wire = require "spec.wire"

describe("WebSockets 4, when the WebSocket connection is established", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  it("a task is queued: nothing has changed until the loop turns", function()
    local ws, log, peer = whatwg.asking()
    peer:send(whatwg.switch(peer))
    assert.equal(0, ws.readyState)
    assert.same({}, log)
    wire.heard(log, "open")
  end)

  it("step 1: readyState is OPEN when open is fired", function()
    local log = select(2, whatwg.opened())
    assert.same({ 1 }, log.states)
  end)

  it("step 3: protocol is there when open is fired", function()
    local ws, _, peer = whatwg.asking "chat"
    local seen
    ws.onopen = function() seen = ws.protocol end
    peer:send(whatwg.switch(peer, { ["Sec-WebSocket-Protocol"] = "chat" }))
    wire.await(function() return seen end)
    assert.equal("chat", seen)
  end)

  it("step 4: open is fired once", function()
    local log, peer = select(2, whatwg.opened())
    whatwg.finish(log, peer)
    assert.same({ "open", "close 1000  clean" }, log)
  end)

  it("a listener that is set before the task runs hears of it", function()
    local ws, _, peer = whatwg.asking()
    peer:send(whatwg.switch(peer))
    local heard
    ws:addEventListener("open", function() heard = true end)
    wire.await(function() return heard end)
  end)

  it("send works from open on", function()
    local ws, _, peer = whatwg.asking()
    ws.onopen = function() ws:send "first" end
    peer:send(whatwg.switch(peer))
    assert.equal("first", peer:next().payload)
  end)
end)

describe("WebSockets 4, when a WebSocket message has been received", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  -- What is heard of frames.
  local function hears(...)
    local ws, log, peer = whatwg.opened()
    peer:frame(...)
    whatwg.finish(log, peer)
    table.remove(log, 1)
    table.remove(log)
    return log, ws
  end

  it("step 1: not when readyState is CLOSING", function()
    local ws, log, peer = whatwg.opened()
    ws:close()
    peer:frame({ "text", payload = "late" }, { "binary", payload = "late" })
    whatwg.finish(log, peer)
    assert.same({ "open", "close 1000  clean" }, log)
  end)

  it("step 1: not even what was here when close() was called", function()
    local ws, log, peer = whatwg.opened()
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" }, { "text", payload = "3" })
    ws:addEventListener("message", function() ws:close() end)
    whatwg.finish(log, peer)
    assert.same({ "open", "text 1", "close 1000  clean" }, log)
  end)

  it("step 2, Text: data is a string", function()
    assert.same({ "text grüß dich" }, hears { "text", payload = "grüß dich" })
  end)

  it("step 2, Text: whatever binaryType is", function()
    for _, kind in ipairs { "blob", "arraybuffer", "string" } do
      local ws, log, peer = whatwg.opened()
      ws.binaryType = kind
      peer:frame { "text", payload = "x" }
      wire.await(function() return log.events[2] end, "a message")
      assert.equal("x", log.events[2].data)
    end
  end)

  it("step 2, Text: a BOM is part of it", function()
    assert.same({ "text \xef\xbb\xbfx" }, hears { "text", payload = "\xef\xbb\xbfx" })
  end)

  it("step 2, Text: an empty one is a message", function() assert.same({ "text " }, hears { "text" }) end)

  it("step 2, Binary with \"blob\": data is a Blob of the raw data, its type the empty string", function()
    local ws, _, peer = whatwg.opened()
    ws.binaryType = "blob"
    local data
    ws.onmessage = function(event) data = event.data end
    peer:frame { "binary", payload = "\0\xff" }
    wire.await(function() return data end)
    assert.equal("\0\xff", data:string())
    assert.equal(2, data.size)
    assert.equal("", data.type)
  end)

  it("step 2, Binary with \"arraybuffer\": data is an ArrayBuffer of the data", function()
    local ws, _, peer = whatwg.opened()
    ws.binaryType = "arraybuffer"
    local data
    ws.onmessage = function(event) data = event.data end
    peer:frame { "binary", payload = "\0\xff" }
    wire.await(function() return data end)
    assert.equal("\0\xff", data:string())
    assert.equal(2, data.byteLength)
  end)

  it("step 2, Binary with \"string\": data is a string of bytes (docs/browser.md: binaryType)", function()
    assert.same({ "binary \0\xff" }, hears { "binary", payload = "\0\xff" })
  end)

  it("step 2, Binary: what binaryType is when the event is fired counts, not when the data came", function()
    local ws, _, peer = whatwg.opened()
    local kinds = {}
    ws.binaryType = "blob"
    ws.onmessage = function(event)
      kinds[#kinds + 1] = event.data.byteLength and "ArrayBuffer" or "Blob"
      ws.binaryType = "arraybuffer"
    end
    peer:frame({ "binary", payload = "1" }, { "binary", payload = "2" }) -- in one segment
    wire.await(function() return #kinds == 2 end)
    assert.same({ "Blob", "ArrayBuffer" }, kinds)
  end)

  it("step 2, Binary: an empty one is a message", function() assert.same({ "binary " }, hears { "binary" }) end)

  it("step 3: message is fired for each, in their order", function()
    assert.same({ "text 1", "binary 2", "text 3" },
      hears({ "text", payload = "1" }, { "binary", payload = "2" }, { "text", payload = "3" }))
  end)

  it("step 3: message is fired once for all fragments", function()
    assert.same({ "text abc" },
      hears({ "text", payload = "a", fin = false }, { 0, payload = "b", fin = false }, { 0, payload = "c" }))
  end)

  it("step 3: not for a message whose last fragment never came", function()
    local log, peer = select(2, whatwg.opened())
    peer:frame { "text", payload = "a", fin = false }
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
  end)

  it("step 3: origin is that of the URL, without its path", function()
    local _, log, peer = whatwg.opened()
    peer:frame { "text" }
    wire.await(function() return log.events[2] end)
    assert.equal(whatwg.server.url:sub(1, -2), log.events[2].origin)
  end)

  it("step 3: a message says whether it was Binary (docs/browser.md: members of events)", function()
    local _, log, peer = whatwg.opened()
    peer:frame({ "text" }, { "binary" })
    wire.await(function() return log.events[3] end)
    assert.is_false(log.events[2].binary)
    assert.is_true(log.events[3].binary)
  end)
end)

describe("WebSockets 4, when the WebSocket closing handshake is started", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  it("readyState is CLOSING, and nothing is fired before the connection is closed", function()
    local ws, log, peer = whatwg.opened()
    peer:closing(1000)
    whatwg.state(ws, 2)
    wire.settle()
    assert.same({ "open" }, log)
  end)

  it("the Close is answered with its own code", function()
    local _, _, peer = whatwg.opened()
    peer:closing(4321, "so long")
    assert.equal("\x10\xe1", peer:next().payload:sub(1, 2))
  end)

  it("data behind the Close is discarded (docs/browser.md: data after a Close)", function()
    local _, log, peer = whatwg.opened()
    peer:closing(1000)
    peer:frame { "text", payload = "late" }
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1000  clean" }, log)
  end)
end)

describe("WebSockets 4, when the WebSocket connection is closed", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  it("step 1: readyState is CLOSED when close is fired", function()
    local log, peer = select(2, whatwg.opened())
    whatwg.finish(log, peer)
    assert.same({ 1, 3 }, log.states)
  end)

  it("step 1: readyState is CLOSED when error is fired, too", function()
    local log = whatwg.answered ""
    assert.same({ 3, 3 }, log.states)
  end)

  it("step 2: error is fired when the connection had to be failed", function()
    local log, peer = select(2, whatwg.opened())
    peer:send "\x83\x00" -- opcode 3
    peer:next()
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "error protocol 1002", "close 1006  unclean" }, log)
  end)

  it("step 2: no error is fired for an end without a Close", function()
    local log, peer = select(2, whatwg.opened())
    peer:close()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
  end)

  it("step 2: nor for a reset", function()
    local log, peer = select(2, whatwg.opened())
    peer:reset()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
  end)

  it("step 2: nor for a Close of whatever code", function()
    for _, code in ipairs { 1001, 1002, 1011, 4999 } do
      local log, peer = select(2, whatwg.opened())
      whatwg.finish(log, peer, code)
      assert.same({ "open", ("close %d  clean"):format(code) }, log)
    end
  end)

  it("step 3: close is fired once, and is the last", function()
    local ws, log, peer = whatwg.opened()
    peer:frame { "text", payload = "x" }
    whatwg.finish(log, peer)
    ws:close()
    wire.settle()
    assert.same({ "open", "text x", "close 1000  clean" }, log)
  end)

  it("step 3: wasClean is true after both Close frames, the server's first", function()
    local log, peer = select(2, whatwg.opened())
    whatwg.finish(log, peer)
    assert.is_true(log.close.wasClean)
  end)

  it("step 3: wasClean is true after both Close frames, the client's first", function()
    local ws, log, peer = whatwg.opened()
    ws:close()
    peer:next()
    whatwg.finish(log, peer)
    assert.is_true(log.close.wasClean)
  end)

  it("step 3: wasClean is false when ours was never answered", function()
    local ws, log, peer = whatwg.opened()
    ws:close(1000)
    peer:next()
    peer:close()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
  end)

  it("step 3: the code is the server's, not that of close()", function()
    local ws, log, peer = whatwg.opened()
    ws:close(4000, "mine")
    peer:next()
    peer:closing(4001, "theirs")
    peer:shutdown()
    wire.heard(log)
    assert.equal("close 4001 theirs clean", log[2])
  end)

  it("step 3: the code is 1005 when the server's Close has none, though ours has", function()
    local ws, log, peer = whatwg.opened()
    ws:close(4000, "mine")
    peer:next()
    peer:closing()
    peer:shutdown()
    wire.heard(log)
    assert.equal("close 1005  clean", log[2])
  end)

  it("step 3: the reason is decoded without removing a BOM", function()
    local log, peer = select(2, whatwg.opened())
    peer:closing(1000, "\xef\xbb\xbfx")
    peer:shutdown()
    wire.heard(log)
    assert.equal("\xef\xbb\xbfx", log.close.reason)
  end)

  it("step 3: the reason may be of 123 bytes", function()
    local log, peer = select(2, whatwg.opened())
    peer:closing(1000, ("é"):rep(61) .. "x")
    peer:shutdown()
    wire.heard(log)
    assert.equal(("é"):rep(61) .. "x", log.close.reason)
  end)

  -- The warning at the end of the section: all of these are 1006.
  local failures = {
    { "a host that is not there", function() return "ws://nowhere.invalid/" end },
    { "a server that refused the connection", function() return "ws://127.0.0.1:1/" end },
    { "a server that did not complete the handshake", function() return whatwg.server.url end, "SSH-2.0-x\r\n" },
    { "a server that failed at TLS", function() return (whatwg.server.url:gsub("^ws:", "wss:")) end, "not TLS at all" },
  }
  for _, row in ipairs(failures) do
    it(row[1] .. ": 1006, and why is told all the same (docs/browser.md: why a connection failed)", function()
      local ws = lunawire.WebSocket(row[2]())
      local log = wire.record(ws)
      if row[3] then
        local peer = whatwg.server:accept()
        wire.await(function() return peer.bytes ~= "" end, "a request")
        peer:send(row[3])
        peer:shutdown()
      end
      wire.heard(log)
      assert.equal("close 1006  unclean", log[2])
      assert.equal("error", log.events[1].type)
      assert.is_true(#log.error.message > 20 and #log.error.code > 1)
    end)
  end

  it("a failure is told when the connection has ended (docs/browser.md: when a failure is told)", function()
    local ws, log, peer = whatwg.opened(nil, nil, { closeTimeout = 100 })
    peer:send "\x83\x00"
    assert.equal(8, peer:next().opcode)
    assert.equal(2, ws.readyState)
    assert.same({ "open" }, log)
    wire.heard(log) -- though the server never ends it
    assert.same({ "open", "error protocol 1002", "close 1006  unclean" }, log)
  end)

  it("a server that does not answer is not waited for for ever (docs/browser.md: how long ends are waited for)", function()
    local ws, log = whatwg.opened(nil, nil, { closeTimeout = 50 })
    ws:close(1000)
    wire.heard(log)
    assert.equal("close 1006  unclean", log[#log])
    local slow = select(2, whatwg.asking(nil, { handshakeTimeout = 50 }))
    wire.heard(slow)
    assert.same({ "error timeout", "close 1006  unclean" }, slow)
  end)

  it("a new socket may be made in onclose", function()
    local ws, _, peer = whatwg.opened()
    local again
    ws.onclose = function() again = lunawire.WebSocket(whatwg.server.url) end
    peer:close()
    whatwg.server:open()
    whatwg.state(again, 1)
  end)
end)

describe("WebSockets 4, what fails the connection once it is open (RFC 6455, 7.1.7)", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  local rows = {
    { "a masked frame", "81 81 00 00 00 00 78", 1002 },
    { "a reserved opcode", "84 00", 1002 },
    { "a reserved bit", "c1 00", 1002 },
    { "a control frame in fragments", "09 00", 1002 },
    { "a control frame of 126 bytes", "89 7e 00 7e", 1002 },
    { "a continuation of nothing", "80 00", 1002 },
    { "a message within a message", "01 00 81 00", 1002 },
    { "text that is not UTF-8", "81 01 ff", 1007 },
    { "a Close of one byte", "88 01 03", 1002 },
    { "a Close of 1005", "88 02 03 ed", 1002 },
    { "a Close whose reason is not UTF-8", "88 03 03 e8 ff", 1007 },
  }
  for _, row in ipairs(rows) do
    it(("%s: error, close 1006, and the server is told %d"):format(row[1], row[3]), function()
      local log, peer = select(2, whatwg.opened())
      peer:send(frames.hex(row[2]))
      assert.equal(frames.closing(row[3]), peer:next().payload:sub(1, 2))
      peer:shutdown()
      wire.heard(log)
      assert.same({ "open", "error protocol " .. row[3], "close 1006  unclean" }, log)
    end)
  end

  it("text that is not UTF-8 is 1007 (docs/browser.md: text from the server that is not UTF-8)", function()
    local log, peer = select(2, whatwg.opened())
    peer:frame { "text", payload = "x\xc0\x80" }
    peer:shutdown()
    wire.heard(log)
    assert.equal(1007, log.error.closeCode)
  end)
end)

describe("WebSockets 5, Ping and Pong frames", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  it("a ping is answered, and is no message", function()
    local _, log, peer = whatwg.opened()
    peer:frame { "ping", payload = "hi" }
    local pong = peer:next()
    assert.same({ 10, "hi" }, { pong.opcode, pong.payload })
    assert.same({ "open" }, log)
  end)

  it("a pong is no message", function()
    local _, log, peer = whatwg.opened()
    peer:frame({ "pong", payload = "hi" }, { "text", payload = "x" })
    wire.await(function() return #log == 2 end, "a message")
    assert.same({ "open", "text x" }, log)
  end)

  it("both are exposed here (docs/browser.md: pings and pongs)", function()
    local ws, _, peer = whatwg.opened()
    local log = wire.record(ws, { "ping", "pong" })
    peer:frame { "ping", payload = "theirs" }
    wire.await(function() return #log == 1 end)
    ws:ping "ours"
    assert.equal("theirs", peer:next().payload) -- the pong
    assert.equal("ours", peer:next().payload)
    peer:frame { "pong", payload = "ours" }
    wire.await(function() return #log == 2 end)
    assert.same({ "ping theirs", "pong ours" }, log)
  end)
end)

describe("WebSockets 6, CloseEvent", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  it("has wasClean, code and reason", function()
    local log, peer = select(2, whatwg.opened())
    peer:closing(4000, "why")
    peer:shutdown()
    wire.heard(log)
    assert.same({ true, 4000, "why" }, { log.close.wasClean, log.close.code, log.close.reason })
    assert.equal("integer", math.type(log.close.code))
  end)

  it("has an empty reason when there was none", function()
    local log, peer = select(2, whatwg.opened())
    peer:close()
    wire.heard(log)
    assert.equal("", log.close.reason)
  end)

  it("names its code, too (docs/browser.md: the name of a close code)", function()
    local log, peer = select(2, whatwg.opened())
    whatwg.finish(log, peer, 1001)
    assert.equal("GOING_AWAY", log.close.name)
  end)

  it("cannot be made by a program (docs/browser.md: dispatchEvent)", function()
    assert.is_nil(lunawire.CloseEvent)
    assert.is_nil((whatwg.opened()).dispatchEvent)
  end)
end)
