-- What a client may send to a server and what it must not, frame by frame, over real TCP: the
-- server's answer is judged by its bytes, and what the server's user hears.

local desk = require "spec.server_helper"
local frames = require "spec.frames"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local ways = { "whole", "one byte at a time" }
local KEY = "\x37\xfa\x21\x3d"

-- Frames as a client sends them.
local function sent(...)
  local parts = {}
  for i, frame in ipairs { ... } do
    local copy = { key = KEY }
    for name, value in pairs(frame) do copy[name] = value end
    if copy.key == false then copy.key = nil end
    parts[i] = frames.build(copy)
  end
  return table.concat(parts)
end

local function text(payload) return { "text", payload = payload } end
local function closing(code, reason) return { "close", payload = frames.closing(code, reason) } end

-- Code and reason of the Close frame that comes last in these bytes, and all the frames.
local function goodbye(bytes)
  local list = frames.parse(bytes)
  local last = list[#list]
  assert.equal(8, last[1])
  assert.is_nil(last.key)
  return last.payload:byte(1) * 256 + last.payload:byte(2), last.payload:sub(3), list
end

describe("a frame from a client", function()
  before_each(desk.open)
  after_each(desk.clear)

  local long = ("0123456789abcdef"):rep(4096) -- 65536 bytes
  for _, case in ipairs {
    { "of RFC 6455's example", frames.hex "81 85 37 fa 21 3d 7f 9f 4d 51 58", { "text Hello" } },
    { "that is empty", sent(text ""), { "text " } },
    { "that is empty and binary", sent { "binary" }, { "binary " } },
    { "of 125 bytes", sent(text(long:sub(1, 125))), { "text " .. long:sub(1, 125) } },
    { "of 126 bytes", sent(text(long:sub(1, 126))), { "text " .. long:sub(1, 126) } },
    { "of 65535 bytes", sent(text(long:sub(1, 65535))), { "text " .. long:sub(1, 65535) } },
    { "of 65536 bytes", sent(text(long)), { "text " .. long } },
    { "masked with zeros", sent { "text", payload = "hi", key = "\0\0\0\0" }, { "text hi" } },
    { "of every byte there is", sent { "binary", payload = "\0\r\n\127\128\255\0" }, { "binary \0\r\n\127\128\255\0" } },
    { "in three fragments", sent({ "text", payload = "a", fin = false }, { "continuation", payload = "b", fin = false },
      { "continuation", payload = "c" }), { "text abc" } },
    { "in empty fragments", sent({ "binary", fin = false }, { "continuation", fin = false }, { "continuation" }),
      { "binary " } },
    { "cut within a character", sent({ "text", payload = "\xe2\x82", fin = false }, { "continuation", payload = "\xac" }),
      { "text €" } },
    { "with a ping between its fragments", sent({ "text", payload = "a", fin = false }, { "ping", payload = "p" },
      { "continuation", payload = "b" }), { "ping p", "text ab" } },
    { "that is a pong nobody asked for", sent { "pong", payload = "p" }, { "pong p" } },
    { "that is a ping of 125 bytes", sent { "ping", payload = long:sub(1, 125) }, { "ping " .. long:sub(1, 125) } },
    { "with U+0000, U+FFFF, U+10FFFF and a BOM", sent(text "\0\xef\xbf\xbf\xf4\x8f\xbf\xbf\xef\xbb\xbf"),
      { "text \0\xef\xbf\xbf\xf4\x8f\xbf\xbf\xef\xbb\xbf" } },
    { "behind another", sent(text "1", text "2", { "binary", payload = "3" }, text "4"),
      { "text 1", "text 2", "binary 3", "text 4" } },
  } do
    local name, bytes, words = case[1], case[2], case[3]
    for _, way in ipairs(ways) do
      it(("%s, sent %s, arrives"):format(name, way), function()
        local server, log = desk.serve()
        local peer = desk.guest(server, log)
        desk.say(peer, bytes, way)
        wire.await(function() return #log > #words end, "the messages")
        table.remove(log, 1)
        assert.same(words, log)
        for _, event in ipairs(words) do
          local payload = event:match "^ping (.*)$"
          if payload then
            local pong = peer:next()
            assert.equal(10, pong[1])
            assert.equal(payload, pong.payload)
            assert.is_nil(pong.key)
          end
        end
        wire.settle(3)
        assert.equal("", peer.bytes)
      end)
    end
  end

  it("may have 131072 fragments", function()
    local server, log = desk.serve()
    local peer = desk.guest(server, log)
    peer:send(sent({ "binary", payload = "<", fin = false }) .. sent({ "continuation", fin = false }):rep(131070)
      .. sent { "continuation", payload = ">" })
    desk.heard(log, "binary <>")
  end)

  it("may be as long as maxPayload, in one piece or several", function()
    local server, log = desk.serve { maxPayload = 100000 }
    local peer = desk.guest(server, log)
    local payload = ("x"):rep(100000)
    peer:send(sent(text(payload)))
    peer:send(sent({ "text", payload = payload:sub(1, 99999), fin = false }, { "continuation", payload = "x" }))
    desk.heard(log, "text " .. payload, 2)
  end)

  it("is a megabyte at most unless told otherwise", function()
    local server, log = desk.serve()
    local peer = desk.guest(server, log)
    peer:frame { "binary", payload = ("x"):rep(1048576), key = "\0\0\0\0" }
    desk.heard(log, "binary")
    peer:send(sent { "binary", length = 1048577 })
    assert.equal(1009, (goodbye(select(2, desk.leave(peer)))))
    desk.heard(log, "error protocol 1009")
  end)
end)

describe("a frame from a server", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("is not masked, in its shortest form, as short as it can be", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    for _, case in ipairs { { 0, 7 }, { 125, 7 }, { 126, 16 }, { 65535, 16 }, { 65536, 64 }, { 1000000, 64 } } do
      local payload = ("x"):rep(case[1])
      assert.is_true(socket:send(payload))
      local frame = peer:next()
      assert.same({ 1, true, 0, case[2], case[1] }, { frame[1], frame.fin, frame.rsv, frame.form, frame.length })
      assert.is_nil(frame.key)
      assert.is_true(payload == frame.payload)
    end
  end)

  it("to the byte", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    socket:send "Hello"
    socket:send("\0\255", "binary")
    socket:send("\1", { binary = true })
    socket:ping "p"
    socket:ping()
    socket:close(1000, "bye")
    assert.equal(frames.hex "81 05 48 65 6c 6c 6f 82 02 00 ff 82 01 01 89 01 70 89 00 88 05 03 e8 62 79 65", peer:read(26))
    wire.settle(3)
    assert.equal("", peer.bytes)
  end)

  it("is split when fragmentSize says so, and pings pass between messages", function()
    local server, log = desk.serve { fragmentSize = 4 }
    local peer, socket = desk.guest(server, log)
    socket:send "0123456789"
    socket:send("abcd", "binary")
    local list = frames.parse(peer:read(3 * 2 + 10 + 2 + 4))
    local words = {}
    for i, frame in ipairs(list) do words[i] = ("%d %s %s"):format(frame[1], frame.fin, frame.payload) end
    assert.same({ "1 false 0123", "0 false 4567", "0 true 89", "2 true abcd" }, words)
  end)

  it("of the same turn goes with the others in one segment, in their order", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    for i = 0, 9 do socket:send(tostring(i)) end
    assert.equal(10, socket.bufferedAmount)
    lunawire.flush()
    assert.equal("\129\0010\129\0011\129\0012\129\0013\129\0014\129\0015\129\0016\129\0017\129\0018\129\0019", peer:read(30))
  end)

  it("is a ping, whose pong tells the latency", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    socket:ping "beat"
    assert.equal("beat", peer:next().payload)
    peer:frame { "pong", payload = "beat" }
    desk.heard(log, "pong beat")
    local latency = log.events[2].latency
    assert.is_true(latency >= 0 and latency < 10000)
  end)
end)

describe("a bad frame", function()
  before_each(desk.open)
  after_each(desk.clear)

  local cases = {
    -- {what, bytes, close code, what is heard before}
    { "without a mask", sent { "text", payload = "hi", key = false }, 1002 },
    { "that is empty and without a mask", sent { "text", key = false }, 1002 },
    { "that is a ping without a mask", sent { "ping", key = false }, 1002 },
    { "that is a Close without a mask", frames.hex "88 02 03 e8", 1002 },
    { "with RSV1", sent { "text", payload = "hi", rsv = 4 }, 1002 },
    { "with RSV2", sent { "text", payload = "hi", rsv = 2 }, 1002 },
    { "with RSV3", sent { "binary", payload = "hi", rsv = 1 }, 1002 },
    { "with all of RSV", sent { "text", rsv = 7 }, 1002 },
    { "that is a ping with RSV1", sent { "ping", rsv = 4 }, 1002 },
    { "that is a Close with RSV3", sent { "close", rsv = 1 }, 1002 },
    { "that continues with RSV1", sent({ "text", payload = "a", fin = false }, { "continuation", rsv = 4 }), 1002 },
    { "of opcode 3", sent { 3, payload = "hi" }, 1002 },
    { "of opcode 4", sent { 4 }, 1002 },
    { "of opcode 5", sent { 5 }, 1002 },
    { "of opcode 6", sent { 6 }, 1002 },
    { "of opcode 7", sent { 7, payload = "hi" }, 1002 },
    { "of opcode 11", sent { 11, payload = "hi" }, 1002 },
    { "of opcode 12", sent { 12 }, 1002 },
    { "of opcode 13", sent { 13 }, 1002 },
    { "of opcode 14", sent { 14 }, 1002 },
    { "of opcode 15", sent { 15 }, 1002 },
    { "that is a ping of 126 bytes", sent { "ping", payload = ("x"):rep(126) }, 1002 },
    { "that is a ping of 126 bytes, only announced", frames.hex "89 fe", 1002 },
    { "that is a pong of 65536 bytes", sent { "pong", payload = ("x"):rep(65536) }, 1002 },
    { "that is a Close of 126 bytes", sent { "close", payload = frames.closing(1000, ("x"):rep(124)) }, 1002 },
    { "that is a ping without FIN", sent { "ping", payload = "x", fin = false }, 1002 },
    { "that is a pong without FIN", sent { "pong", fin = false }, 1002 },
    { "that is a Close without FIN", sent { "close", fin = false }, 1002 },
    { "that continues nothing", sent { "continuation", payload = "x" }, 1002 },
    { "that continues nothing, and is not the last", sent { "continuation", fin = false }, 1002 },
    { "that continues a message that is whole", sent(text "a", { "continuation", payload = "b" }), 1002, { "text a" } },
    { "that is a new text inside another", sent({ "text", payload = "a", fin = false }, text "b"), 1002 },
    { "that is a new binary inside a text", sent({ "text", payload = "a", fin = false }, { "binary" }), 1002 },
    { "of 125 bytes in the 16-bit form", sent { "text", payload = ("x"):rep(125), form = 16 }, 1002 },
    { "of no bytes in the 16-bit form", sent { "text", form = 16 }, 1002 },
    { "of 126 bytes in the 64-bit form", sent { "text", payload = ("x"):rep(126), form = 64 }, 1002 },
    { "of 65535 bytes in the 64-bit form", sent { "binary", payload = ("x"):rep(65535), form = 64 }, 1002 },
    { "of 2^63 bytes", frames.hex "82 ff 80 00 00 00 00 00 00 00 37 fa 21 3d", 1002 },
    { "of 2^64 - 1 bytes", frames.hex "82 ff ff ff ff ff ff ff ff ff 37 fa 21 3d", 1002 },
    { "of 2^63 - 1 bytes", frames.hex "82 ff 7f ff ff ff ff ff ff ff 37 fa 21 3d", 1009 },
    { "of 2^32 bytes", frames.hex "81 ff 00 00 00 01 00 00 00 00 37 fa 21 3d", 1009 },
    { "a byte over maxPayload", sent { "text", payload = ("x"):rep(1001) }, 1009 },
    { "a byte over maxPayload, only announced", sent { "text", length = 1001 }, 1009 },
    { "over maxPayload together with the one before", sent({ "text", payload = ("x"):rep(600), fin = false },
      { "continuation", length = 401 }), 1009 },
    { "over maxPayload after a message that was not", sent(text(("x"):rep(1000)), { "text", length = 1001 }), 1009,
      { "text " .. ("x"):rep(1000) } },
    { "too many in a message", sent({ "text", fin = false }) .. sent({ "continuation", fin = false }):rep(20), 1008 },
    { "too many in a message, the last", sent({ "text", fin = false }) .. sent({ "continuation", fin = false }):rep(19)
      .. sent { "continuation" }, 1008 },
    { "with a Close of one byte", sent { "close", payload = "\3" }, 1002 },
  }
  for _, code in ipairs { 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 32768, 65535 } do
    cases[#cases + 1] = { "that closes with " .. code, sent(closing(code)), 1002 }
  end
  for _, case in ipairs {
    { "ff", "\xff" }, { "c0 80", "\xc0\x80" }, { "ed a0 80", "\xed\xa0\x80" },
    { "f4 90 80 80", "\xf4\x90\x80\x80" },
    { "a lone continuation", "\x80" }, { "c1", "\xc1\x81" }, { "e0 80 80", "\xe0\x80\x80" },
    { "f0 80 80 80", "\xf0\x80\x80\x80" }, { "f5", "\xf5\x80\x80\x80" }, { "a character broken off by another", "\xe2\x82A" },
  } do
    cases[#cases + 1] = { "of text with " .. case[1], sent(text("good " .. case[2] .. " bad")), 1007 }
    cases[#cases + 1] = { "of text with " .. case[1] .. " in a message that is not finished",
      sent { "text", payload = "good " .. case[2], fin = false }, 1007 }
    cases[#cases + 1] = { "of text with " .. case[1] .. " in a frame that is not finished",
      sent { "text", payload = "good " .. case[2], length = 900 }, 1007 }
    cases[#cases + 1] = { "that closes with the reason " .. case[1], sent(closing(1000, case[2])), 1007 }
  end
  for _, case in ipairs {
    { "of text that is cut at its end", sent(text "\xe2\x82"), 1007 },
    { "of text that is cut at the end of its last fragment", sent({ "text", payload = "a", fin = false },
      { "continuation", payload = "\xf0\x9f\x98" }), 1007 },
    { "of text that goes on wrong in the next fragment", sent({ "text", payload = "\xe2\x82", fin = false },
      { "continuation", payload = "A", fin = false }), 1007 },
    { "that closes with a reason cut short", sent(closing(1000, "\xe2\x82")), 1007 },
    { "behind good ones", sent(text "1", { "binary", payload = "2" }, { "ping", payload = "3" }, { 3 }, text "4"), 1002,
      { "text 1", "binary 2", "ping 3" } },
    { "between fragments", sent({ "text", payload = "a", fin = false }, { "ping", rsv = 1 },
      { "continuation", payload = "b" }), 1002 },
  } do
    cases[#cases + 1] = case
  end

  for _, case in ipairs(cases) do
    local name, bytes, code, before = case[1], case[2], case[3], case[4] or {}
    for _, way in ipairs(ways) do
      it(("%s, sent %s, gets %d"):format(name, way, code), function()
        local server, log = desk.serve { maxPayload = code == 1009 and 1000 or nil, maxFragments = 20 }
        local peer, socket = desk.guest(server, log)
        desk.say(peer, bytes, way)
        local how, rest = peer:finish() -- both the Close and the end come while the peer still listens
        assert.equal("eof", how)
        local said, reason = goodbye(rest)
        assert.equal(code, said)
        assert.is_true(#reason > 0 and utf8.len(reason) ~= nil)
        assert.equal(2, socket.readyState)
        assert.equal(0, #server)
        peer:close()
        desk.heard(log, "close")
        local expected = { "connection", table.unpack(before) }
        expected[#expected + 1] = "error protocol " .. code
        expected[#expected + 1] = "close 1006  unclean"
        assert.same(expected, log)
        assert.equal(3, socket.readyState)
        assert.matches("^connection from 127%.0%.0%.1:%d+: %C+$", log.events[#log - 1].message)
      end)
    end
  end

  it("over 131072 fragments, empty ones included, gets 1008", function()
    local server, log = desk.serve()
    local peer = desk.guest(server, log)
    peer:send(sent({ "binary", fin = false }) .. sent({ "continuation", fin = false }):rep(131072))
    local _, rest = desk.leave(peer)
    assert.equal(1008, goodbye(rest))
    desk.heard(log, "close")
    assert.same({ "connection", "error protocol 1008", "close 1006  unclean" }, log)
  end)

  it("is told to a client that goes on sending, and nothing of it is taken in", function()
    local server, log = desk.serve()
    local peer = desk.guest(server, log)
    local flood = sent({ "binary", payload = ("x"):rep(65536), key = "\0\0\0\0" }):rep(40)
    peer:send(sent { 3 } .. flood)
    local close = peer:next()
    assert.equal(1002, close.payload:byte(1) * 256 + close.payload:byte(2))
    peer:send(flood)
    assert.equal("eof", (peer:finish()))
    wire.await(function() return peer.output == "" end, "the rest to be drained")
    wire.settle()
    assert.is_nil(peer.failed)
    peer:close()
    desk.heard(log, "close")
    assert.same({ "connection", "error protocol 1002", "close 1006  unclean" }, log)
  end)

  it("comes behind what was sent before it", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    socket:send "first"
    socket:ping "p"
    peer:send(sent({ "ping", payload = "q" }, { 3 }))
    local _, rest = desk.leave(peer)
    local code, _, list = goodbye(rest)
    assert.equal(1002, code)
    assert.same({ "first", "p", "q" }, { list[1].payload, list[2].payload, list[3].payload })
    desk.heard(log, "close")
  end)

  it("takes no memory for what it only announces", function()
    local server, log = desk.serve { maxPayload = 2 ^ 40 }
    local before = desk.memory()
    local peers = {}
    for i = 1, 20 do
      peers[i] = desk.guest(server, log)
      peers[i]:send(sent { "binary", length = 2 ^ 30, payload = "a few bytes" })
    end
    wire.settle()
    assert.is_true(desk.memory() - before < 16 * 1024 * 1024)
    for _, peer in ipairs(peers) do peer:close() end
    desk.heard(log, "close 1006  unclean", 20)
  end)
end)

describe("pings", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("that came in a heap are answered one by one, in order", function()
    local server, log = desk.serve()
    local peer = desk.guest(server, log)
    local heap = {}
    for i = 1, 1000 do heap[i] = sent { "ping", payload = tostring(i) } end
    peer:send(table.concat(heap))
    desk.heard(log, "ping 1000")
    peer:closing(1000)
    local _, rest = desk.leave(peer)
    local list = frames.parse(rest)
    assert.equal(1001, #list)
    for i = 1, 1000 do
      assert.equal(10, list[i][1])
      assert.equal(tostring(i), list[i].payload)
    end
  end)

  it("from a client that does not read are not answered one by one later", function()
    local server, log = desk.serve()
    server.onping = nil
    local peer, socket = desk.guest(server, log)
    peer.reading = false
    socket:send(("x"):rep(15000000)) -- fills what the system takes
    local heap = sent({ "ping", payload = ("x"):rep(125), key = "\0\0\0\0" }):rep(1000)
    for i = 1, 20 do
      peer:send(heap .. sent { "ping", payload = tostring(i) })
      wire.turn(0)
    end
    peer:frame { "text", payload = "done" }
    desk.heard(log, "text done")
    peer.reading = true
    socket:close()
    local words = {}
    for frame in function() return peer:next() end do
      words[#words + 1] = frame[1] == 10 and "pong " .. frame.payload or frame[1]
      if frame[1] == 8 then break end
    end
    assert.same({ 1, "pong 20", 8 }, words)
  end)
end)

describe("a stream from a client", function()
  before_each(desk.open)
  after_each(desk.clear)

  for _, case in ipairs {
    { "in mid-header", sent(text "hello"):sub(1, 1) },
    { "in the middle of a length", frames.hex "81 fe 01" },
    { "in the middle of a key", sent(text "hello"):sub(1, 4) },
    { "in mid-frame", sent(text "hello"):sub(1, -2) },
    { "in mid-message", sent { "text", payload = "hello", fin = false } },
    { "between messages", "" },
    { "in the middle of a Close", sent(closing(1000, "bye")):sub(1, -2) },
  } do
    local name, bytes = case[1], case[2]
    it(("that ends %s is a close 1006, without half a message"):format(name), function()
      for _, way in ipairs(ways) do
        for _, ending in ipairs { "shutdown", "close", "reset" } do
          local server, log = desk.serve()
          local peer = desk.guest(server, log)
          desk.say(peer, sent(text "whole") .. bytes, way)
          desk.heard(log, "text whole")
          peer[ending](peer)
          desk.heard(log, "close")
          assert.same({ "connection", "text whole", "close 1006  unclean" }, log)
          assert.is_false(log.events[3].wasClean)
          if ending == "shutdown" then assert.equal("eof", (desk.leave(peer))) end
        end
      end
    end)
  end

  it("is not heard any further once a handler has paused its socket", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    socket.onmessage = function(event)
      log[#log + 1] = event.data
      if event.data == "1" then socket:pause() end
    end
    peer:frame({ "text", payload = "1" }, { "ping", payload = "p" }, { "text", payload = "2" })
    wire.settle()
    assert.same({ "connection", "1" }, log)
    assert.equal("", peer.bytes) -- the ping has not been read either
    socket:resume()
    wire.await(function() return log[4] end, "the rest")
    assert.same({ "connection", "1", "ping p", "2" }, log)
    assert.equal("p", peer:next().payload)
  end)

  it("that is not read stays with the client: a paused socket pushes back, and loses nothing #slow", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    socket:pause()
    local frame = sent { "binary", payload = ("x"):rep(50000), key = "\0\0\0\0" }
    peer:send(frame:rep(400)) -- 20 MB
    wire.settle()
    assert.is_true(#peer.output > 1000000, "it was taken in")
    assert.same({ "connection" }, log)
    socket:resume()
    desk.heard(log, "binary", 400)
    assert.equal("", peer.output)
  end)
end)
