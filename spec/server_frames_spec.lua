-- What a client may send to a server and what it must not, frame by frame, over real TCP: the
-- server's answer is judged by its bytes, and what the server's user hears.

local desk = require "spec.server_helper"
local frames = require "spec.frames"
local lunawire = require "lunawire"
local wire = require "spec.wire"
local wrong = require "spec.wrong"

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
    { "of 65535 bytes", { text(long:sub(1, 65535)) }, { "text " .. long:sub(1, 65535) } },
    { "of 65536 bytes", { text(long) }, { "text " .. long } },
    { "masked with zeros", { { "text", payload = "hi", key = "\0\0\0\0" } }, { "text hi" } },
    table.unpack(wrong.fine),
  } do
    local name, words = case[1], case[3]
    for _, way in ipairs(ways) do
      it(("%s, sent %s, arrives"):format(name, way), function()
        local server, log = desk.serve { maxFragments = wrong.limits.maxFragments }
        local peer = desk.guest(server, log)
        wrong.answered(peer, case, way)
        if words[#words]:match "^close" then desk.leave(peer) end
        wire.await(function() return #log > #words end, "the messages")
        table.remove(log, 1)
        assert.same(words, log)
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

  local cases = { table.unpack(wrong.masks.server) }
  table.move(wrong.frames, 1, #wrong.frames, #cases + 1, cases)
  for _, case in ipairs(cases) do
    local name, code = case[1], case[3]
    for _, way in ipairs(ways) do
      it(("%s, sent %s, gets %d"):format(name, way, code), function()
        local server, log = desk.serve(wrong.limits)
        local peer, socket = desk.guest(server, log)
        wrong.told(peer, case, way)
        assert.equal(2, socket.readyState)
        assert.equal(0, #server)
        peer:close()
        desk.heard(log, "close")
        assert.same({ "connection", table.unpack(wrong.heard(case)) }, log)
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
