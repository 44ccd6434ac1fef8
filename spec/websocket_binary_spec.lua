-- Binary values over a socket, both ends of it: what send takes, what binaryType makes of a
-- message, and files, which are read while they are sent. Judged by raw peers.

local desk = require "spec.server_helper"
local frames = require "spec.frames"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local ArrayBuffer, Blob = lunawire.ArrayBuffer, lunawire.Blob

local place
setup(function() place = helper.directory() end)
teardown(function() helper.remove(place) end)

local function pattern(n, seed)
  local piece = {}
  for i = 1, 251 do piece[i] = string.char((i * (seed or 7)) % 256) end
  return (table.concat(piece):rep(math.ceil(n / 251))):sub(1, n)
end

local function file(bytes, name)
  name = place .. "/" .. (name or "file")
  helper.write(name, bytes)
  return name, Blob.fromFile(name)
end

-- The next whole message: its bytes, its opcode, and how many fragments; control frames between are noted.
local function message(peer)
  local parts, opcode, between = {}, nil, {}
  while true do
    local frame = assert(peer:next(), "the end of the stream")
    if frame.opcode >= 8 then
      between[#between + 1] = frame.opcode .. " " .. frame.payload
    else
      assert.equal(opcode and 0 or frame.opcode, frame.opcode)
      opcode = opcode or frame.opcode
      parts[#parts + 1] = frame.payload
      if frame.fin then return table.concat(parts), opcode, #parts, between end
    end
  end
end

local sides = {}

-- A client of ours, what it hears, and its raw server.
function sides.client(options)
  local server = wire.server()
  local ws = lunawire.WebSocket(server.url, nil, options)
  local log = wire.record(ws, { "open", "error", "close", "drain", "ping", "pong" })
  local peer = server:open()
  wire.await(function() return ws.readyState == 1 end)
  return ws, log, peer
end

-- A socket of a server of ours, what it hears, and its raw client.
function sides.server(options)
  local server, sockets = desk.serve(options)
  local peer, ws = desk.guest(server, sockets)
  return ws, wire.record(ws, { "error", "close", "drain", "ping", "pong" }), peer
end

for _, side in ipairs { "client", "server" } do
  describe("a " .. side .. "'s socket", function()
    before_each(desk.open)
    after_each(desk.clear)

    it("sends an ArrayBuffer and a Blob as one binary message, whatever the options say", function()
      local ws, _, peer = sides[side]()
      for _, data in ipairs { ArrayBuffer "ab\255", Blob { "ab", ArrayBuffer "\255" }, Blob { "xab\255y" }:slice(1, -1) } do
        for _, options in ipairs { "binary", {}, { binary = false }, { binary = true } } do
          assert.is_true(ws:send(data, options))
          local frame = peer:next()
          assert.same({ 2, true, "ab\255" }, { frame.opcode, frame.fin, frame.payload })
        end
      end
      for _, empty in ipairs { ArrayBuffer(0), Blob {}, Blob.fromFile((file(""))) } do
        ws:send(empty)
        local frame = peer:next()
        assert.same({ 2, true, "" }, { frame.opcode, frame.fin, frame.payload })
      end
    end)

    it("sends what an ArrayBuffer is now, whatever becomes of it", function()
      local ws, _, peer = sides[side]()
      local buffer = ArrayBuffer "now"
      ws:send(buffer)
      buffer:set "not"
      assert.equal("now", peer:next().payload)
    end)

    it("counts them in bufferedAmount, and takes nothing else", function()
      local ws = sides[side]()
      ws:send(ArrayBuffer(10))
      ws:send(Blob { ("x"):rep(5) })
      assert.equal(15, ws.bufferedAmount)
      for _, wrong in ipairs { {}, 12, true, print, io.stdout } do
        assert.matches("a string, an ArrayBuffer or a Blob expected, got", wire.mistake("TypeError", ws.send, ws, wrong))
      end
      assert.matches("unknown option", wire.mistake("TypeError", ws.send, ws, ArrayBuffer(1), { binray = true }))
      ws:close()
      wire.await(function() return ws.readyState == 2 end)
      ws:send(ArrayBuffer(7))
      ws:send(Blob { "1234567" })
      assert.equal(15 + 14, ws.bufferedAmount)
    end)

    it("gives binary messages as binaryType says at delivery; text is a string always", function()
      local ws, _, peer = sides[side]()
      local got = {}
      ws.onmessage = function(event) got[#got + 1] = event end
      assert.equal("string", ws.binaryType)
      peer:frame({ "binary", payload = "\0one" })
      wire.await(function() return #got == 1 end)
      ws.binaryType = "arraybuffer"
      peer:frame({ "binary", payload = "\0two" }, { "text", payload = "text" }, { "binary", payload = "" })
      wire.await(function() return #got == 4 end)
      ws.binaryType = "blob"
      peer:frame({ "binary", payload = "\0three" }, { "text", payload = "text" }, { "binary", payload = "" })
      wire.await(function() return #got == 7 end)
      ws.binaryType = "string"
      peer:frame { "binary", payload = "\0four" }
      wire.await(function() return #got == 8 end)
      local words = {}
      for i, event in ipairs(got) do
        local data = event.data
        words[i] = type(data) == "string" and data or ("%s: %s"):format(tostring(data), data:string())
        assert.equal(i ~= 3 and i ~= 6, event.binary)
      end
      assert.same({ "\0one", "ArrayBuffer (4 bytes): \0two", "text", "ArrayBuffer (0 bytes): ",
        "Blob (6 bytes): \0three", "text", "Blob (0 bytes): ", "\0four" }, words)
      assert.equal("", got[5].data.type)
    end)

    it("decides that anew for each message of one read", function()
      local ws, _, peer = sides[side]()
      local got = {}
      ws.onmessage = function(event)
        got[#got + 1] = tostring(event.data)
        ws.binaryType = #got == 1 and "arraybuffer" or "blob"
      end
      local bytes = peer:build { "binary", payload = "x" }
      peer:send(bytes:rep(3))
      wire.await(function() return #got == 3 end)
      assert.same({ "x", "ArrayBuffer (1 bytes)", "Blob (1 bytes)" }, got)
    end)

    it("gives each receiver a buffer of its own, long and in fragments too", function()
      local ws, _, peer = sides[side]()
      local got = {}
      ws.binaryType = "arraybuffer"
      ws.onmessage = function(event) got[#got + 1] = event.data end
      local data = pattern(300000)
      peer:frame({ "binary", payload = data }, { "binary", payload = "a", fin = false }, { 0, payload = "b" })
      wire.await(function() return #got == 2 end)
      got[2]:set "X"
      assert.is_true(got[1]:string() == data)
      assert.equal("Xb", got[2]:string())
    end)

    describe("that sends a file", function()
      for _, n in ipairs { 1, 1000, 65536, 65537, 400000 } do
        it(("of %d bytes sends it as one message, in fragments"):format(n), function()
          local ws, _, peer = sides[side]()
          local data = pattern(n)
          local _, blob = file(data)
          ws:send "before"
          assert.is_true(ws:send(blob))
          ws:send "after"
          assert.equal(n + 11, ws.bufferedAmount)
          assert.equal("before", (message(peer)))
          local got, opcode, count = message(peer)
          assert.is_true(got == data)
          assert.same({ 2, math.ceil(n / 65536) }, { opcode, count })
          assert.equal("after", (message(peer)))
          wire.settle(2)
          assert.equal(0, ws.bufferedAmount)
        end)
      end

      it("sends parts of files and of memory as one", function()
        local ws, _, peer = sides[side]()
        local data = pattern(200000)
        local _, blob = file(data)
        ws:send(Blob { "head", blob:slice(50000, 150000), ArrayBuffer "middle", blob:slice(-10), "tail" })
        assert.is_true(message(peer) == "head" .. data:sub(50001, 150000) .. "middle" .. data:sub(-10) .. "tail")
      end)

      it("splits it where fragmentSize is smaller", function()
        local ws, _, peer = sides[side] { fragmentSize = 1000 }
        local _, blob = file(pattern(2500))
        ws:send(blob)
        local _, _, count = message(peer)
        assert.equal(3, count)
      end)

      it("lets bufferedAmount tell how far it is, and holds little of it", function()
        local ws, _, peer = sides[side] { highWaterMark = 1000000, maxBufferedAmount = 2000000 }
        local n = 20000000
        local data = pattern(n)
        local _, blob = file(data)
        peer.reading = false
        assert.is_true(ws:send(blob), "the marks are for what is in memory")
        assert.equal(n, ws.bufferedAmount)
        local stuck, turns_alike = n, 0
        wire.await(function() -- until the system takes no more
          turns_alike = ws.bufferedAmount == stuck and turns_alike + 1 or 0
          stuck = ws.bufferedAmount
          return stuck < n and turns_alike == 20
        end)
        assert.is_true(stuck > n / 2, tostring(stuck))
        peer.reading = true
        local last = stuck
        repeat
          peer:read(math.min(1000000, n))
          wire.settle(1)
          assert.is_true(ws.bufferedAmount <= last)
          last = ws.bufferedAmount
        until last < n / 4
        wire.await(function() return ws.bufferedAmount == 0 end)
      end)

      it("answers pings and says its own between the fragments", function()
        local ws, log, peer = sides[side]()
        local _, blob = file(pattern(8000000))
        peer.reading = false
        ws:send(blob)
        wire.settle(5)
        assert.is_true(ws.bufferedAmount > 0)
        ws:ping "ours"
        peer:frame { "ping", payload = "theirs" }
        wire.await(function() return log[#log] == "ping theirs" end)
        peer.reading = true
        local got, _, _, between = message(peer)
        assert.is_true(got == pattern(8000000))
        assert.same({ "9 ours", "10 theirs" }, between)
      end)

      it("keeps the order of files and messages, many of them", function()
        local ws, _, peer = sides[side]()
        local _, a = file(pattern(150000, 3), "a")
        local _, b = file(pattern(70000, 5), "b")
        for i = 1, 20 do
          ws:send(i % 3 == 0 and a or i % 3 == 1 and "text " .. i or b)
        end
        for i = 1, 20 do
          local got = message(peer)
          assert.is_true(got == (i % 3 == 0 and pattern(150000, 3) or i % 3 == 1 and "text " .. i or pattern(70000, 5)))
        end
      end)

      it("lets others have their turn while a large one goes to a fast reader", function()
        local ws, _, peer = sides[side]()
        local _, blob = file(pattern(30000000))
        local ticks, left = 0, nil
        local timer = lunawire.setInterval(function()
          ticks = ticks + 1
          left = left or (ticks == 3 and ws.bufferedAmount or nil)
        end, 0)
        peer.keeping = false
        ws:send(blob)
        wire.await(function()
          peer:move()
          return ws.bufferedAmount == 0
        end)
        lunawire.clearInterval(timer)
        assert.is_true(left > 0, "three ticks came before it had gone")
      end)

      it("sends it whole before the Close of close()", function()
        local ws, log, peer = sides[side]()
        local data = pattern(3000000)
        local _, blob = file(data)
        ws:send(blob)
        ws:close(1000)
        assert.is_true(message(peer) == data)
        local frame = peer:next()
        assert.equal(8, frame.opcode)
        peer:closing(1000)
        peer:shutdown()
        peer:finish()
        wire.heard(log)
        assert.same({ true, 0 }, { log.close.wasClean, ws.bufferedAmount })
      end)

      it("stops when the peer closes; what did not go stays in bufferedAmount", function()
        local ws, log, peer = sides[side]()
        local _, blob = file(pattern(20000000))
        peer.reading = false
        ws:send(blob)
        ws:send "behind"
        wire.settle(3)
        peer:closing(1001)
        wire.await(function() return ws.readyState >= 2 end)
        peer.reading, peer.keeping = true, false
        wire.await(function()
          peer:move()
          return peer.bytes:sub(-2) == "\3\233" or side == "client" and #peer.bytes > 0 and ws.readyState >= 2 and peer.total > 0
        end)
        peer:shutdown()
        wire.heard(log)
        assert.equal("close 1001  clean", log[#log])
        assert.is_true(ws.bufferedAmount > 1000000)
      end)

      it("fails when the file becomes shorter: error \"file\", and the peer hears 1011", function()
        local ws, log, peer = sides[side]()
        local name, blob = file(pattern(20000000), "shrinking")
        peer.reading = false
        ws:send(blob)
        wire.settle(3)
        helper.write(name, "short")
        peer.reading = true
        local frame
        repeat frame = peer:next() until frame.opcode == 8
        assert.equal(frames.closing(1011, "a file that was being sent can no longer be read"), frame.payload)
        peer:shutdown()
        wire.heard(log)
        assert.same({ "error file 1011", "close 1006  unclean" }, { log[#log - 1], log[#log] })
        assert.matches("reading " .. name:gsub("%p", "%%%0") .. ": the file has become shorter while it was read$",
          log.error.message)
      end)

      it("raises when it cannot be opened, and nothing else happens", function()
        local ws, _, peer = sides[side]()
        local name, blob = file "0123456789"
        os.remove(name)
        local text = wire.mistake("NotReadableError", ws.send, ws, blob)
        assert.equal("send: " .. name .. ": No such file or directory", text)
        helper.write(name, "9876543210")
        assert.matches("has changed", wire.mistake("NotReadableError", ws.send, ws, blob))
        assert.equal(0, ws.bufferedAmount)
        ws:send "still here"
        assert.equal("still here", peer:next().payload)
      end)

      it("holds its descriptor as long as it is read, and no longer", function()
        local ws, log, peer = sides[side]()
        local _, blob = file(pattern(20000000))
        local before = probe.sys.descriptors()
        peer.reading = false
        ws:send(blob)
        ws:send(blob)
        wire.settle(3)
        assert.equal(before + 2, probe.sys.descriptors())
        ws:terminate()
        wire.heard(log)
        peer:close()
        wire.settle(3)
        assert.is_true(probe.sys.descriptors() < before)
      end)

      it("asks its sender to wait at 16 open files, and tells drain at 8", function()
        local ws, log, peer = sides[side]()
        local _, blob = file(pattern(1500000))
        local left
        ws:addEventListener("drain", function() left = ws.bufferedAmount end)
        peer.reading, peer.keeping = false, false
        for _ = 1, 15 do assert.is_true(ws:send(blob)) end
        assert.is_false(ws:send(blob))
        wire.settle(20)
        assert.is_nil(left)
        peer.reading = true
        wire.await(function()
          peer:move()
          return log.drain
        end)
        assert.is_true(left > 1500000 * 7 and left <= 1500000 * 8, tostring(left))
        assert.is_true(ws:send(Blob { "in memory" }))
        ws:terminate()
      end)

      for name, frame in pairs { ["closes"] = { 8, payload = frames.closing(1001) }, ["errs"] = { 3, payload = "" } } do
        it("closes it when the peer " .. name .. ", however long the rest takes", function()
          local ws, _, peer = sides[side]()
          local _, blob = file(pattern(20000000))
          local before = probe.sys.descriptors()
          peer.reading = false
          ws:send(blob)
          ws:send(blob)
          wire.settle(3)
          peer:frame(frame)
          wire.await(function() return ws.readyState == 2 end)
          assert.equal(before, probe.sys.descriptors())
          assert.is_true(ws.bufferedAmount > 20000000)
          ws:terminate()
        end)
      end

      it("counts a file that comes too late, and does not open it", function()
        local ws, _, peer = sides[side]()
        local name, blob = file(pattern(1000))
        os.remove(name)
        ws:close()
        wire.await(function() return ws.readyState == 2 end)
        local before = ws.bufferedAmount
        assert.is_false(ws:send(blob))
        assert.equal(before + 1000, ws.bufferedAmount)
        peer:close()
      end)

      it("drops it when the socket is terminated, and the connection with it", function()
        local ws, log, peer = sides[side]()
        local _, blob = file(pattern(20000000))
        peer.reading = false
        ws:send(blob)
        wire.settle(3)
        local left = ws.bufferedAmount
        ws:terminate "enough"
        wire.heard(log)
        assert.equal("close 1006 enough unclean", log[#log])
        assert.equal(left, ws.bufferedAmount)
      end)
    end)
  end)
end

describe("a server's frames for many", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("may be ArrayBuffers and Blobs in memory, but no files", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    local other = desk.guest(server, log)
    socket:subscribe "t"
    assert.equal(2, server:broadcast(ArrayBuffer "a\255"))
    assert.equal(1, server:publish("t", Blob { "b\254" }))
    log.sockets[2]:publish("t", ArrayBuffer "c")
    assert.equal("a\255", other:next().payload)
    local got = {}
    for i = 1, 3 do
      local frame = peer:next()
      got[i] = frame.opcode .. " " .. frame.payload
    end
    assert.same({ "2 a\255", "2 b\254", "2 c" }, got)
    local _, blob = file "x"
    for _, call in ipairs {
      function() server:broadcast(blob) end, function() server:publish("t", blob) end,
      function() socket:publish("t", blob) end,
    } do
      assert.matches("a file is sent to one socket at a time", wire.mistake("NotSupportedError", call))
    end
  end)

  it("messageSize tells of files too, and how much of it is in memory", function()
    local _, blob = file "0123456789"
    assert.same({ 3, 3 }, { lunawire.messageSize(ArrayBuffer(3)) })
    assert.same({ 3, 3 }, { lunawire.messageSize(Blob { "abc" }) })
    assert.same({ 12, 2 }, { lunawire.messageSize(Blob { "ab", blob }) })
    assert.same({ 2, 2 }, { lunawire.messageSize "ab" })
  end)
end)

describe("at the end of the state", function()
  before_each(turns.open)
  after_each(turns.clear)

  -- A client in a process of its own that sends the file and ends; its peer, which does not read yet.
  local function sender(name)
    local server = wire.server()
    local program = turns.beside(([[
      local lunawire = require "lunawire"
      local ws = lunawire.WebSocket(%q)
      ws.onopen = function() ws:send(lunawire.Blob.fromFile(%q)) lunawire.stop() end
      lunawire.run(5000)]]):format(server.url, name))
    local peer = server:asked()
    peer.reading = false
    peer:send(wire.switch(peer.request.headers["sec-websocket-key"]))
    return peer, program
  end

  it("a file that the system takes goes whole, then 1001", function()
    local data = pattern(100000)
    local peer = sender((file(data)))
    peer.reading = true
    assert.is_true(message(peer) == data)
    assert.equal(frames.closing(1001), peer:next().payload)
  end)

  it("nobody waits for a peer that does not take it", function()
    local peer, program = sender((file(pattern(30000000))))
    wire.await(function() return helper.run(("pgrep -P %d"):format(program.pid)) == "" end) -- timeout(1) has no child
    peer.reading, peer.keeping = true, false
    assert.equal("eof", (peer:finish()))
    assert.is_true(peer.total > 0 and peer.total < 30000000)
  end)
end)

describe("ReconnectingWebSocket", function()
  before_each(desk.open)
  after_each(desk.clear)

  local function reconnecting(options)
    local server = wire.server()
    options = options or {}
    options.heartbeat, options.minDelay, options.maxDelay = false, 1, 1
    local ws = lunawire.ReconnectingWebSocket(server.url, nil, options)
    return ws, server, wire.record(ws, { "open", "message", "error", "close" })
  end

  it("keeps binaryType over its connections", function()
    local ws, server = reconnecting()
    ws.binaryType = "arraybuffer"
    for _ = 1, 2 do
      local peer = server:open()
      local got
      ws.onmessage = function(event) got = event.data end
      peer:frame { "binary", payload = "x" }
      wire.await(function() return got end)
      assert.equal("ArrayBuffer (1 bytes)", tostring(got))
      peer:reset()
    end
    ws:close()
  end)

  it("sends what an ArrayBuffer was when it was queued, and again after a loss", function()
    local ws, server = reconnecting()
    local buffer = ArrayBuffer "was"
    ws:send(buffer)
    buffer:set "not"
    assert.equal("was", server:open():next().payload)
    ws:close()
  end)

  it("sends a file again from its beginning when its connection was lost, and what was behind it, once", function()
    local ws, server = reconnecting()
    local data = pattern(12000000)
    local _, blob = file(data)
    ws:send "first"
    ws:send(blob)
    ws:send "last"
    local peer = server:open()
    peer.reading = false
    wire.await(function() return ws.readyState == 1 end)
    wire.settle(5)
    peer:reset()
    peer = server:open()
    assert.is_true(message(peer) == data, "first had gone")
    assert.equal("last", (message(peer)))
    peer:frame { "ping", payload = "p" }
    assert.equal(10, peer:next().opcode)
    ws:close()
  end)

  it("counts no file toward maxQueuedBytes, and says when one can no longer be read", function()
    local ws, server, log = reconnecting { maxQueuedBytes = 100 }
    local name, blob = file(pattern(1000000), "lost")
    ws:send(blob)
    ws:send "behind"
    assert.matches("maxQueuedBytes", wire.mistake("QuotaExceededError", ws.send, ws, ArrayBuffer(95)))
    os.remove(name)
    local peer = server:open()
    assert.equal("behind", (message(peer)))
    wire.await(function() return log.error end)
    assert.equal("file", log.error.code)
    assert.equal(("queued message: send: %s: No such file or directory"):format(name), log.error.message)
    assert.equal(1, ws.readyState)
    ws:close()
  end)

  it("gives its socket no more files than it may hold open", function()
    local ws, server = reconnecting()
    local _, blob = file(pattern(400000))
    for _ = 1, 60 do ws:send(blob) end
    ws:send "last"
    local before = probe.sys.descriptors()
    local peer = server:open()
    peer.reading = false
    wire.await(function() return ws.readyState == 1 end)
    wire.settle(20)
    assert.is_true(probe.sys.descriptors() <= before + 16 + 2, "16 files, and the ends of a connection")
    peer.reading = true
    for _ = 1, 60 do assert.equal(400000, #(message(peer))) end
    assert.equal("last", (message(peer)))
    ws:close()
  end)

  it("closes, and says then that a queued file cannot be read any more", function()
    local ws, server, log = reconnecting { highWaterMark = 1 }
    local name, blob = file(pattern(10), "lost")
    ws:send(("x"):rep(12000000))
    ws:send(blob)
    ws:send "behind"
    os.remove(name)
    local inside, peer = false, server:open()
    peer.reading = false
    local onerror = ws.onerror
    ws.onerror = function(event)
      assert.is_false(inside)
      onerror(event)
      error "from the handler"
    end
    wire.await(function() return ws.readyState == 1 end)
    wire.settle(3)
    inside = true
    ws:close(1000, "bye")
    inside = false
    assert.equal(2, ws.readyState)
    assert.is_nil(log.error)
    assert.matches("from the handler", (select(2, pcall(wire.await, function() return log.error end))))
    assert.equal("file", log.error.code)
    peer.reading = true
    assert.equal(12000000, #(message(peer)))
    assert.equal("behind", (message(peer)))
    assert.equal(frames.closing(1000, "bye"), peer:next().payload)
    peer:closing(1000)
    peer:shutdown()
    wire.heard(log)
    assert.equal(10, ws.bufferedAmount)
  end)
end)
