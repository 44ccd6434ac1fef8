-- WHATWG WebSockets, 3.1 "Interface definition": attributes and methods. The other end is raw bytes.

local frames = require "spec.frames"
local lunawire = require "lunawire"
local whatwg = require "spec.whatwg"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket

describe("WebSockets 3.1, the constants", function()
  after_each(whatwg.close)

  for value, name in pairs { [0] = "CONNECTING", "OPEN", "CLOSING", "CLOSED" } do
    it(("%s is %d, on the interface and on each object"):format(name, value), function()
      local ws = WebSocket "ws://127.0.0.1:1/"
      assert.equal(value, WebSocket[name])
      assert.equal(value, ws[name])
      wire.mistake("TypeError", function() ws[name] = 9 end)
      assert.equal(value, ws[name])
      ws:close()
    end)
  end
end)

describe("WebSockets 3.1, the attributes", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  it("url is the serialised URL", function()
    local ws = WebSocket(whatwg.server.url:upper() .. "a/../b?c")
    assert.equal(whatwg.server.url .. "b?c", ws.url)
    ws:close()
  end)

  it("url stays when the connection is over", function()
    local ws, log, peer = whatwg.opened()
    whatwg.finish(log, peer)
    assert.equal(whatwg.server.url, ws.url)
  end)

  it("readyState is initially CONNECTING", function() assert.equal(0, (whatwg.asking()).readyState) end)

  it("readyState goes 0, 1, 2, 3 and never back", function()
    local ws, log, peer = whatwg.asking()
    local seen = {}
    local function look()
      if seen[#seen] ~= ws.readyState then seen[#seen + 1] = ws.readyState end
    end
    look()
    peer:send(whatwg.switch(peer))
    wire.await(function() look() return ws.readyState == 1 end)
    peer:closing(1000)
    wire.await(function() look() return ws.readyState == 2 end)
    peer:shutdown()
    wire.await(function() look() return log.close end)
    ws:close()
    look()
    assert.same({ 0, 1, 2, 3 }, seen)
  end)

  it("extensions is the empty string, before and after", function()
    local ws = whatwg.asking()
    assert.equal("", ws.extensions)
    assert.equal("", (whatwg.opened()).extensions)
  end)

  it("protocol is the empty string until the connection is established", function()
    local ws, log, peer = whatwg.asking "chat"
    assert.equal("", ws.protocol)
    peer:send(whatwg.switch(peer, { ["Sec-WebSocket-Protocol"] = "chat" }))
    assert.equal("", ws.protocol)
    wire.heard(log, "open")
    assert.equal("chat", ws.protocol)
  end)

  it("protocol stays when the connection is over", function()
    local ws, log, peer = whatwg.opened("chat", { ["Sec-WebSocket-Protocol"] = "chat" })
    whatwg.finish(log, peer)
    assert.equal("chat", ws.protocol)
  end)

  it("protocol stays empty when the connection failed over it", function()
    local ws, log, peer = whatwg.asking "chat"
    peer:send(whatwg.switch(peer, { ["Sec-WebSocket-Protocol"] = "other" }))
    wire.heard(log)
    assert.equal("", ws.protocol)
  end)

  for _, name in ipairs { "url", "readyState", "bufferedAmount", "extensions", "protocol" } do
    it(name .. " is read-only", function()
      local ws = whatwg.asking()
      local before = ws[name]
      wire.mistake("TypeError", function() ws[name] = 1 end)
      assert.equal(before, ws[name])
    end)
  end

  it("tostring tells state and URL (docs/browser.md: the text of a socket, of an event)", function()
    local ws = whatwg.opened()
    assert.equal("WebSocket (open): " .. whatwg.server.url, tostring(ws))
    local said
    ws.onclose = function(event) said = tostring(event) end
    ws:terminate()
    wire.await(function() return said end, "close")
    assert.equal("Event (close)", said)
  end)

  it("there is more on a socket (docs/browser.md: more on a socket)", function()
    local ws = whatwg.opened()
    for _, method in ipairs { "ping", "terminate", "pause", "resume", "receive", "messages", "drain" } do
      assert.is_function(ws[method])
    end
    assert.is_number(ws.lastReceived)
  end)
end)

describe("WebSockets 3.1, close(code, reason)", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  local LONGEST = ("x"):rep(123)

  for _, code in ipairs { 0, 999, 1001, 1005, 1006, 1015, 2999, 5000, 65535, 65536, -1 } do
    it(("step 1: %d is an InvalidAccessError"):format(code), function()
      local ws = whatwg.opened()
      wire.mistake("InvalidAccessError", ws.close, ws, code)
      assert.equal(1, ws.readyState)
    end)
  end

  for _, code in ipairs { 1000, 3000, 3999, 4000, 4999 } do
    it(("step 1: %d is fine"):format(code), function()
      local ws, _, peer = whatwg.opened()
      ws:close(code)
      assert.equal(frames.closing(code), peer:next().payload)
    end)
  end

  it("step 1: infinity and NaN are InvalidAccessErrors", function()
    local ws = whatwg.opened()
    for _, code in ipairs { 1 / 0, -1 / 0, 0 / 0 } do wire.mistake("InvalidAccessError", ws.close, ws, code) end
  end)

  it("step 1: a number is not rounded, a string no number (docs/browser.md: values of the wrong type)", function()
    local ws = whatwg.opened()
    wire.mistake("InvalidAccessError", ws.close, ws, 1000.4)
    wire.mistake("TypeError", ws.close, ws, "1000")
  end)

  it("step 2: a reason of more than 123 bytes is a SyntaxError", function()
    local ws = whatwg.opened()
    wire.mistake("SyntaxError", ws.close, ws, 1000, LONGEST .. "x")
    assert.equal(1, ws.readyState)
  end)

  it("step 2: bytes count, not characters", function()
    local ws = whatwg.opened()
    wire.mistake("SyntaxError", ws.close, ws, 1000, ("é"):rep(62)) -- 124 bytes
    ws:close(1000, ("é"):rep(61) .. "x")
  end)

  it("step 1 comes before step 2", function()
    local ws = whatwg.opened()
    wire.mistake("InvalidAccessError", ws.close, ws, 1001, LONGEST .. "x")
  end)

  it("step 2: a reason needs a code (docs/browser.md: a reason without a code)", function()
    local ws = whatwg.opened()
    wire.mistake("SyntaxError", ws.close, ws, nil, "why")
  end)

  it("steps 1 and 2 are taken in every state", function()
    local ws, log, peer = whatwg.asking()
    local function wrong()
      wire.mistake("InvalidAccessError", ws.close, ws, 1001)
      wire.mistake("SyntaxError", ws.close, ws, 1000, LONGEST .. "x")
    end
    wrong()
    peer:send(whatwg.switch(peer))
    wire.heard(log, "open")
    wrong()
    ws:close()
    wrong()
    whatwg.finish(log, peer)
    wrong()
  end)

  it("step 3, CLOSING: does nothing", function()
    local ws, _, peer = whatwg.opened()
    ws:close(4000, "first")
    ws:close(4001, "second")
    assert.equal(frames.closing(4000, "first"), peer:next().payload)
    peer:close()
    assert.equal("", peer.bytes)
  end)

  it("step 3, CLOSED: does nothing", function()
    local ws, log, peer = whatwg.opened()
    whatwg.finish(log, peer)
    ws:close(4000)
    wire.settle()
    assert.same({ "open", "close 1000  clean" }, log)
  end)

  it("step 3, not yet established: fails the connection, CLOSING at once", function()
    local ws, log, peer = whatwg.asking()
    ws:close()
    assert.equal(2, ws.readyState)
    assert.same({}, log) -- events come as tasks
    wire.heard(log)
    assert.same({ "error aborted", "close 1006  unclean" }, log)
    assert.same({ 3, 3 }, log.states)
    assert.equal("", select(2, peer:finish()))
  end)

  it("step 3, not yet established: code and reason are not what close tells", function()
    local ws, log = whatwg.asking()
    ws:close(4000, "never mind")
    wire.heard(log)
    assert.equal("close 1006  unclean", log[2])
  end)

  it("step 3, not yet established: there is no open, though the 101 is here", function()
    local ws, log, peer = whatwg.asking()
    peer:send(whatwg.switch(peer))
    ws:close()
    wire.heard(log)
    assert.equal("error aborted", log[1])
  end)

  it("step 3, open: starts the closing handshake, CLOSING at once", function()
    local ws, log, peer = whatwg.opened()
    ws:close(1000)
    assert.equal(2, ws.readyState)
    assert.equal(8, peer:next().opcode)
    assert.same({ "open" }, log)
  end)

  it("step 3, open: without a code the Close has no body", function()
    local ws, _, peer = whatwg.opened()
    ws:close()
    assert.equal("", peer:next().payload)
  end)

  it("step 3, open: nil is absent", function()
    local ws, _, peer = whatwg.opened()
    ws:close(nil, nil)
    assert.equal("", peer:next().payload)
  end)

  it("step 3, open: the reason follows the code, in UTF-8", function()
    local ws, _, peer = whatwg.opened()
    ws:close(3000, "schön ☺")
    assert.equal("\x0b\xb8schön ☺", peer:next().payload)
  end)

  it("step 3, open: an empty reason is none", function()
    local ws, _, peer = whatwg.opened()
    ws:close(1000, "")
    assert.equal("\x03\xe8", peer:next().payload)
  end)

  it("step 3, otherwise: the server has begun to close", function()
    local ws, _, peer = whatwg.opened()
    peer:closing(1001)
    whatwg.state(ws, 2)
    ws:close(4000) -- too late to be sent
    assert.equal("\x03\xe9", peer:next().payload)
    peer:close()
    assert.equal("", peer.bytes)
  end)

  it("does not discard messages that were sent before", function()
    local ws, _, peer = whatwg.opened()
    local large = ("x"):rep(500000)
    ws:send(large)
    ws:send "last"
    ws:close()
    assert.equal(#large, #peer:next().payload)
    assert.equal("last", peer:next().payload)
    assert.equal(8, peer:next().opcode)
  end)

  it("returns nothing", function()
    local ws = whatwg.opened()
    assert.equal(0, select("#", ws:close()))
  end)

  it("of a server's socket takes the codes that servers need (docs/browser.md: the server's sockets)", function()
    local ours
    local server = lunawire.WebSocketServer {}
    server.onconnection = function(event) ours = event.socket end
    local peer = wire.client(server.port)
    wire.await(function() return ours end)
    assert.same({ 1, "" }, { ours.readyState, ours.url })
    wire.mistake("InvalidAccessError", ours.close, ours, 1005)
    ours:close(1001)
    assert.equal("\x03\xe9", peer:next().payload)
    server:close()
  end)
end)

describe("WebSockets 3.1, send(data)", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  it("step 1, CONNECTING: an InvalidStateError", function()
    local ws = whatwg.asking()
    wire.mistake("InvalidStateError", ws.send, ws, "x")
    assert.equal(0, ws.bufferedAmount)
  end)

  it("step 1 holds for what could not be sent anyway, too", function()
    local ws = whatwg.asking()
    wire.mistake("InvalidStateError", ws.send, ws, {})
  end)

  it("step 2, a string: one text message", function()
    local ws, _, peer = whatwg.opened()
    ws:send "grüß dich"
    local frame = peer:next()
    assert.same({ true, 1, "grüß dich" }, { frame.fin, frame.opcode, frame.payload })
  end)

  it("step 2, an empty string: an empty message", function()
    local ws, _, peer = whatwg.opened()
    ws:send ""
    local frame = peer:next()
    assert.same({ 1, "" }, { frame.opcode, frame.payload })
  end)

  it("step 2, a string that is not UTF-8 raises (docs/browser.md: text to send that is not UTF-8)", function()
    local ws = whatwg.opened()
    wire.mistake("TypeError", ws.send, ws, "\xed\xa0\x80")
  end)

  it("step 2, a string with \"binary\": one binary message (docs/browser.md: strings of bytes)", function()
    local ws, _, peer = whatwg.opened()
    ws:send("\xff\0", "binary")
    local frame = peer:next()
    assert.same({ 2, "\xff\0" }, { frame.opcode, frame.payload })
  end)

  it("step 2, a Blob: one binary message of its raw data", function()
    local ws, _, peer = whatwg.opened()
    ws:send(lunawire.Blob { "\xff", "é" })
    local frame = peer:next()
    assert.same({ true, 2, "\xffé" }, { frame.fin, frame.opcode, frame.payload })
  end)

  it("step 2, an ArrayBuffer: one binary message of its bytes", function()
    local ws, _, peer = whatwg.opened()
    ws:send(lunawire.ArrayBuffer "\xff\0")
    local frame = peer:next()
    assert.same({ true, 2, "\xff\0" }, { frame.fin, frame.opcode, frame.payload })
  end)

  it("step 2, an ArrayBuffer: as it is now, not as it will be", function()
    local ws, _, peer = whatwg.opened()
    local buffer = lunawire.ArrayBuffer "before"
    ws:send(buffer)
    buffer:set "after!"
    assert.equal("before", peer:next().payload)
  end)

  it("step 2, an ArrayBufferView: there is none; set and slice do (docs/browser.md: views of an ArrayBuffer)", function()
    local ws, _, peer = whatwg.opened()
    local buffer = lunawire.ArrayBuffer(4)
    buffer:set("\1\2", 2)
    ws:send(buffer:slice(1, 3))
    assert.equal("\0\1", peer:next().payload)
  end)

  for name, value in pairs { ["a number"] = 42, ["a boolean"] = true, ["a table"] = {}, ["a function"] = print } do
    it(name .. " is not made a string (docs/browser.md: values of the wrong type)", function()
      local ws = whatwg.opened()
      wire.mistake("TypeError", ws.send, ws, value)
      assert.equal(0, ws.bufferedAmount)
    end)
  end

  it("keeps the order of its calls, whatever was given", function()
    local ws, _, peer = whatwg.opened()
    ws:send "1"
    ws:send(lunawire.Blob { "2" })
    ws:send(lunawire.ArrayBuffer "3")
    ws:send "4"
    local order = {}
    for i = 1, 4 do order[i] = peer:next().payload end
    assert.same({ "1", "2", "3", "4" }, order)
  end)

  it("CLOSING: nothing is sent", function()
    local ws, _, peer = whatwg.opened()
    ws:close()
    ws:send "x"
    ws:send(lunawire.Blob { "x" })
    assert.equal(8, peer:next().opcode)
    wire.settle()
    assert.equal("", peer.bytes)
  end)

  it("tells whether to wait (docs/browser.md: what send returns)", function()
    local ws = whatwg.opened(nil, nil, { highWaterMark = 10 })
    assert.is_true(ws:send "123456789")
    assert.is_false(ws:send "0")
  end)

  it("flags the socket as full past its bound, and closes it: error, then close (docs/browser.md: how much may be buffered)",
    function()
      local ws, log = whatwg.opened(nil, nil, { maxBufferedAmount = 100 })
      ws:send(("x"):rep(101))
      wire.heard(log)
      assert.same({ "open", "error slow", "close 1006  unclean" }, log)
      assert.equal(101, ws.bufferedAmount)
    end)
end)

describe("WebSockets 3.1, bufferedAmount", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  it("is initially 0", function() assert.equal(0, (whatwg.asking()).bufferedAmount) end)

  it("grows by the bytes of UTF-8, not by characters", function()
    local ws = whatwg.opened()
    ws:send "é☺"
    assert.equal(5, ws.bufferedAmount)
  end)

  it("grows by the size of a Blob and the length of an ArrayBuffer", function()
    local ws = whatwg.opened()
    ws:send(lunawire.Blob { "abc", "d" })
    assert.equal(4, ws.bufferedAmount)
    ws:send(lunawire.ArrayBuffer(10))
    assert.equal(14, ws.bufferedAmount)
  end)

  it("does not count framing", function()
    local ws = whatwg.opened()
    for _ = 1, 10 do ws:send "" end
    ws:ping "ping"
    ws:close()
    assert.equal(0, ws.bufferedAmount)
  end)

  it("counts what was sent in the current task even if the system would take it", function()
    local ws, _, peer = whatwg.opened()
    ws:send "abc"
    lunawire.flush()
    assert.equal("abc", peer:next().payload)
    wire.settle()
    assert.equal(0, ws.bufferedAmount)
    local seen
    ws.onmessage = function()
      ws:send "abcd"
      seen = ws.bufferedAmount
    end
    peer:frame { "text" }
    wire.await(function() return seen end)
    assert.equal(4, seen)
  end)

  it("falls when the network takes it", function()
    local ws, _, peer = whatwg.opened()
    ws:send(("x"):rep(1000))
    assert.equal(1000, ws.bufferedAmount)
    peer:next()
    wire.settle()
    assert.equal(0, ws.bufferedAmount)
  end)

  it("only grows once the connection is closed, and is never reset", function()
    local ws, log, peer = whatwg.opened()
    ws:close()
    ws:send "abc"
    assert.equal(3, ws.bufferedAmount)
    whatwg.finish(log, peer)
    assert.equal(3, ws.bufferedAmount)
    ws:send(lunawire.Blob { "de" })
    ws:send(lunawire.ArrayBuffer(1))
    assert.equal(6, ws.bufferedAmount)
    lunawire.step()
    assert.equal(6, ws.bufferedAmount)
  end)

  it("keeps what was never transmitted", function()
    local ws, log, peer = whatwg.opened()
    peer.reading = false
    ws:send(("x"):rep(20000000))
    wire.settle()
    local left = ws.bufferedAmount
    assert.is_true(left > 0)
    ws:terminate()
    wire.heard(log)
    assert.equal(left, ws.bufferedAmount)
  end)

  it("grows on a socket that failed, too", function()
    local log = whatwg.answered(wire.head("HTTP/1.1 404 Not Found", { "Content-Length: 0" }))
    local ws = log.close.target
    ws:send "abc"
    assert.equal(3, ws.bufferedAmount)
  end)
end)

describe("WebSockets 3.1, binaryType", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  it("is initially \"string\", not \"blob\" (docs/browser.md: binaryType)", function()
    assert.equal("string", (whatwg.asking()).binaryType)
  end)

  for _, kind in ipairs { "blob", "arraybuffer", "string" } do
    it(("may be set to %q, in every state"):format(kind), function()
      local ws, log, peer = whatwg.asking()
      local function set()
        ws.binaryType = kind == "blob" and "arraybuffer" or "blob"
        ws.binaryType = kind
        assert.equal(kind, ws.binaryType)
      end
      set()
      peer:send(whatwg.switch(peer))
      wire.heard(log, "open")
      set()
      ws:close()
      set()
      whatwg.finish(log, peer)
      set()
    end)
  end

  it("keeps its value when a wrong one is set, which raises (docs/browser.md: values of the wrong type)", function()
    local ws = whatwg.asking()
    ws.binaryType = "blob"
    for _, wrong in ipairs { "Blob", "ArrayBuffer", "", 1, false } do
      wire.mistake("TypeError", function() ws.binaryType = wrong end)
    end
    wire.mistake("TypeError", function() ws.binaryType = nil end)
    assert.equal("blob", ws.binaryType)
  end)
end)
