-- WebSocketServer and permessage-deflate (RFC 7692), against raw peers: what it agrees to, what its sockets send
-- and hear, and a message for many, which is compressed once for each size of window. Python's zlib is the judge.

local blocks = require "spec.blocks"
local desk = require "spec.server_helper"
local frames = require "spec.frames"
local helper = require "spec.helper"
local judge = require "spec.judge"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local wire = require "spec.wire"

local hex = frames.hex

local PMD, SNC, CNC = "permessage-deflate", "server_no_context_takeover", "client_no_context_takeover"
local SB, CB = "server_max_window_bits", "client_max_window_bits"

-- "p; s; c; S=10; C" for all these long names.
local function long(short)
  return (short:gsub("%f[%w_-]([pscSC])%f[^%w_-]", { p = PMD, s = SNC, c = CNC, S = SB, C = CB }))
end

local HELLO, AGAIN = hex "f2 48 cd c9 c9 07 00", hex "f2 00 11 00 00" -- RFC 7692, 7.2.3.2
local TEXT = ("Nothing is as compressible as what is said again. "):rep(40) -- 2000 bytes

local function offering(offer)
  return offer and { ["Sec-WebSocket-Extensions"] = long(offer) } or nil
end

-- 3000 bytes that repeat what was 1000 bytes before: a window of 9 bits is of no use.
math.randomseed(7692)
local FAR = {}
for i = 1, 1000 do FAR[i] = string.char(math.random(0, 255)) end
FAR = table.concat(FAR):rep(3)

-- A raw client that has offered so (false: nothing), and the server's socket.
local function guest(server, log, offer)
  return desk.guest(server, log, offering(offer))
end

local function compressed(kind, payload) return { kind, payload = payload, rsv = 4 } end

-- All frames up to the next ping, which `socket` sends for that.
local function heard(peer, socket)
  socket:ping "end"
  local list = {}
  while true do
    local frame = assert(peer:next(), "the stream ended")
    if frame.opcode == 9 then return list end
    list[#list + 1] = frame
  end
end

-- --- the handshake ------------------------------------------------------------------------------

describe("a server's perMessageDeflate", function()
  before_each(desk.open)
  after_each(desk.clear)

  -- {option, offer, answer (nil: none)}
  local ROWS = {
    { nil, "p; C" }, { false, "p; C" }, { true, false }, { true, "p; C", "p" }, { {}, "p; C", "p" }, { true, "p", "p" },
    { true, "p; s", "p; s" }, { true, "p; c", "p; c" }, { true, "p; S=9", "p; S=9" }, { true, "p; S=15", "p; S=15" },
    { true, "p; C=9", "p; C=9" }, { true, "p; C=8", "p; C=8" }, { true, "p; C=15", "p" }, { true, 'p; S="10"', "p; S=10" },
    { true, "p; s; c; S=10; C=11", "p; s; c; S=10; C=11" },
    { { serverMaxWindowBits = 10 }, "p; C", "p; S=10" }, { { clientMaxWindowBits = 10 }, "p; C", "p; C=10" },
    { { clientMaxWindowBits = 8 }, "p; C", "p; C=8" }, { { clientMaxWindowBits = 10 }, "p" },
    { { serverNoContextTakeover = true }, "p", "p; s" }, { { clientNoContextTakeover = true }, "p", "p; c" },
    { { threshold = 0, level = 1, memLevel = 1 }, "p; C", "p" },
    { true, "p; S=10, p", "p; S=10" }, { true, "p; S=7, p; c", "p; c" }, { true, "foo; x=1, p; C", "p" },
    -- declined, but a connection all the same
    { true, "foo" }, { true, "p; S=7" }, { true, "p; S=16" }, { true, "p; S=08" }, { true, "p; S=8" }, { true, "p; C=7" },
    { true, "p; S" }, { true, "p; s=1" }, { true, "p; c; c" }, { true, "p; unknown" }, { true, "x-webkit-deflate-frame" },
  }
  for i, row in ipairs(ROWS) do
    it(("%d: `%s` is answered with `%s`"):format(i, row[2] or "no header", row[3] or "none"), function()
      local server, log = desk.serve { perMessageDeflate = row[1] }
      local peer, socket = guest(server, log, row[2])
      assert.equal(row[3] and long(row[3]), peer.response.headers["sec-websocket-extensions"])
      local name = row[3] and long(row[3]):gsub("; server_max_window_bits=15", "") or ""
      assert.equal(name, socket.extensions)
      assert.equal(row[2] and long(row[2]) or nil, log.requests[1].headers["sec-websocket-extensions"])
      socket:send(TEXT)
      assert.equal(name ~= "" and 4 or 0, peer:next().rsv)
      peer:closing(1000)
      desk.leave(peer)
      desk.heard(log, "close")
      assert.equal(name, socket.extensions)
    end)
  end

  it("takes the first line with an offer that can be met", function()
    local server, log = desk.serve { perMessageDeflate = true }
    local head = wire.head("GET / HTTP/1.1", { "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
      "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Extensions: foo",
      "Sec-WebSocket-Extensions: " .. long "p; S=8", "Sec-WebSocket-Extensions: " .. long "p; S=12, p; s",
      "Sec-WebSocket-Extensions: " .. long "p; c" })
    for _, how in ipairs { "whole", "one byte at a time" } do
      local peer = desk.ask(server, head, how)
      assert.equal(long "p; S=12", peer:head().headers["sec-websocket-extensions"])
    end
    desk.heard(log, "connection", 2)
    assert.equal(long "p; S=12", log.sockets[2].extensions)
  end)

  it("refuses a header that breaks the grammar, with a 400", function()
    local server = desk.serve { perMessageDeflate = true }
    for _, value in ipairs { "", "p;", "p; S=", "p p", "p; =1", ",", 'p; S="9' } do
      assert.equal(400, desk.fetch(server, wire.upgrade { ["Sec-WebSocket-Extensions"] = long(value) }).status, value)
    end
  end)

  it("raises what is wrong with it", function()
    for _, case in ipairs {
      { 1, "a boolean or a table expected, got number" }, { { treshold = 1 }, 'did you mean "threshold"' },
      { { serverMaxWindowBits = 8 }, "zlib compresses with windows of 9 to 15 bits, not with 8" },
      { { serverMaxWindowBits = 7 }, "7 is not from 8 to 15" }, { { clientMaxWindowBits = 16 }, "16 is not from 8 to 15" },
      { { memLevel = 10 }, "10 is not from 1 to 9" }, { { level = 10 }, "10 is not from 0 to 9" },
      { { serverNoContextTakeover = 1 }, "a boolean expected" },
    } do
      local err = desk.raises("TypeError", case[2], lunawire.WebSocketServer, { perMessageDeflate = case[1] })
      assert.truthy(err.message:find("perMessageDeflate", 1, true), err.message)
    end
  end)

  it("is agreed on by a deferred accept, too, and no header of one's own replaces it", function()
    local server, log = desk.serve { perMessageDeflate = true }
    local kept
    server.onupgrade = function(event)
      kept = event
      event:defer()
    end
    local peer = wire.connect(server.port)
    peer:send(wire.upgrade(offering "p; S=9"))
    wire.await(function() return kept end)
    wire.settle()
    collectgarbage()
    kept:accept()
    assert.equal(long "p; S=9", peer:head().headers["sec-websocket-extensions"])
    desk.heard(log, "connection")
    assert.equal(long "p; S=9", log.sockets[1].extensions)
    server.onupgrade = function(event) event.headers = { ["Sec-WebSocket-Extensions"] = "foo" } end
    local raised
    lunawire.onerror = function(err) raised = err end
    assert.equal(500, desk.fetch(server, wire.upgrade(offering "p")).status)
    assert.truthy(raised.message:find("is written by the handshake itself", 1, true), raised.message)
  end)

  it("does not meddle with a request that is rejected", function()
    local server = desk.serve { perMessageDeflate = true }
    server.onupgrade = function(event) event:reject(403) end
    local answer = desk.fetch(server, wire.upgrade(offering "p"))
    assert.same({ 403 }, { answer.status, answer.headers["sec-websocket-extensions"] })
  end)

  it("takes a compressed frame that comes with the request", function()
    local server, log = desk.serve { perMessageDeflate = true }
    local peer = wire.connect(server.port)
    peer:send(wire.upgrade(offering "p") .. peer:build(compressed("text", HELLO)) .. peer:build(compressed("text", AGAIN)))
    desk.heard(log, "text Hello", 2)
    assert.same({ "connection", "text Hello", "text Hello" }, log)
  end)
end)

-- --- messages -----------------------------------------------------------------------------------

describe("a server's sockets", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("say back what they hear, compressed as it was agreed #foreign", function()
    local streams, said = {}, { TEXT, TEXT:rep(30), "", "short", TEXT, ("\195\169"):rep(500) }
    for _, case in ipairs { { "p" }, { "p; s; c", true, true }, { "p; S=9; C=10", false, false, 9, 10 },
      { "p; s; S=12; C=9", true, false, 12, 9 } } do
      for _, size in ipairs { 0, 30 } do
        local server, log = desk.serve { perMessageDeflate = { threshold = 0 }, fragmentSize = size }
        server.onmessage = function(event) event.target:send(event.data, { binary = event.binary }) end
        local peer, socket = guest(server, log, case[1])
        local payloads = judge.compress({ fresh = case[3], bits = case[5] }, said)
        for i, payload in ipairs(payloads) do
          peer:frame({ i % 2 == 0 and "text" or "binary", payload = payload:sub(1, 7), rsv = 4, fin = false },
            { "ping", payload = "" }, { "continuation", payload = payload:sub(8) })
        end
        local list, count = {}, 0
        repeat
          local frame = peer:next()
          if frame.opcode < 8 and frame.fin then count = count + 1 end
          list[#list + 1] = frame
        until count == #said
        streams[#streams + 1] = { { fresh = case[2], bits = case[4] }, list }
        assert.equal(0, socket.bufferedAmount)
      end
    end
    for _, messages in ipairs(judge.readAll(streams)) do
      assert.equal(#said, #messages)
      for i, message in ipairs(messages) do
        assert.equal(said[i], message.data)
        assert.same({ true, i % 2 == 0 and "text" or "binary" }, { message.squeezed, message.kind })
      end
    end
  end)

  it("compress from the threshold on, not with { compress = false }, and no control frames", function()
    local server, log = desk.serve { perMessageDeflate = { threshold = 100 } }
    local peer, socket = guest(server, log, "p")
    socket:send(("x"):rep(99))
    socket:send(("x"):rep(100))
    socket:send(("x"):rep(100), { compress = false })
    socket:send(("x"):rep(99), { compress = true })
    socket:ping(("x"):rep(100))
    socket:close(1000, ("x"):rep(100))
    local list = {}
    for i = 1, 6 do list[i] = (function(frame) return frame.opcode .. " " .. frame.rsv end)(peer:next()) end
    assert.same({ "1 0", "1 4", "1 0", "1 0", "9 0", "8 0" }, list)
  end)

  -- {what, frames, code, offer}
  local WRONG = {
    { "RSV1 where nothing was agreed on", { compressed("text", HELLO) }, 1002, false },
    { "RSV1 on a continuation", { { "text", payload = HELLO, rsv = 4, fin = false },
      { "continuation", payload = "", rsv = 4 } }, 1002 },
    { "RSV1 on a pong", { { "pong", payload = "", rsv = 4 } }, 1002 },
    { "RSV1 on a Close", { { "close", payload = "", rsv = 4 } }, 1002 },
    { "RSV3", { { "binary", payload = HELLO, rsv = 1 } }, 1002 },
    { "garbage", { compressed("text", hex "ff ff ff ff") }, 1007 },
    { "a stream cut short", { compressed("text", HELLO:sub(1, 4)) }, 1007 },
    { "bytes behind the final block", { compressed("text", hex "f3 48 cd c9 c9 07 00 ff ff") }, 1007 },
    { "a back-reference to a context not to be taken over", { compressed("text", AGAIN) }, 1007, "p; c" },
    { "a back-reference past the window", { compressed("text", blocks.new():stored(TEXT):fixed { { 3, 1500 } }:payload()) },
      1007, "p; C=9" },
    { "text that is not UTF-8", { compressed("text", blocks.new():stored("\237\160\128"):payload()) }, 1007 },
    { "a bomb", { compressed("binary", blocks.zeros(600)) }, 1009 },
    { "a frame announced longer than any may be", { { "binary", rsv = 4, length = 2 ^ 40, payload = "" } }, 1009 },
  }
  local function endedBy(row, how, peer)
    local bytes = {}
    for i, frame in ipairs(row[2]) do bytes[i] = peer:build(frame) end
    desk.say(peer, table.concat(bytes), how)
    local frame = peer:next()
    assert.same({ 8, 0, row[3] }, { frame.opcode, frame.rsv, frame.payload:byte(1) * 256 + frame.payload:byte(2) })
    desk.leave(peer)
  end

  for _, row in ipairs(WRONG) do
    for _, how in ipairs { "whole", "one byte at a time" } do
      it(("end the connection with %d: %s, %s"):format(row[3], row[1], how), function()
        local server, log = desk.serve { perMessageDeflate = true, maxPayload = 1000000 }
        server.onmessage = function(event) event.target:send(event.data) end
        local other, socket = guest(server, log, "p; s; c")
        endedBy(row, how, (guest(server, log, row[4] == nil and "p" or row[4])))
        desk.heard(log, "close")
        assert.same({ "connection", "connection", "error protocol " .. row[3], "close 1006  unclean" }, log)
        other:frame(compressed("text", HELLO)) -- the others do not notice
        assert.equal("Hello", other:next().payload)
        assert.equal(1, socket.readyState)
      end)
    end
  end

  it("do the same over wss #foreign", function()
    local certs = pki.new()
    desk.finally(function() certs:close() end)
    local server, log = desk.serve { perMessageDeflate = true, maxPayload = 1000000,
      tls = { cert = certs:cert "good", key = certs:key "good" } }
    local script = helper.quote(helper.root .. "/spec/peers/tls_pipe.py")
    local pipe = helper.peer(("exec %s %s connect %d"):format(helper.python(), script, server.port))
    desk.finally(function() pipe:stop() end)
    local behind = { port = tonumber(pipe:line()) }
    server.onmessage = function(event) event.target:send(event.data:rep(100)) end
    for _, how in ipairs { "whole", "one byte at a time" } do
      local peer = guest(behind, log, "p")
      desk.say(peer, peer:build(compressed("text", HELLO)) .. peer:build(compressed("text", AGAIN)), how)
      local one, two = peer:next(), peer:next()
      assert.same({ 4, 4 }, { one.rsv, two.rsv })
      assert.same({ ("Hello"):rep(100), ("Hello"):rep(100) }, (function(list) return { list[1].data, list[2].data } end)(
        judge.read({}, { one, two })))
      peer:close()
      for _, row in ipairs(WRONG) do
        local bad = guest(behind, log, row[4] == nil and "p" or row[4])
        endedBy(row, how, bad)
      end
    end
  end)

  it("count the application's bytes, and end at 0 when the peer has read", function()
    local server, log = desk.serve { perMessageDeflate = true, highWaterMark = 10000, maxBufferedAmount = 100000 }
    local peer, socket = guest(server, log, "p")
    assert.is_true(socket:send(TEXT))
    assert.equal(2000, socket.bufferedAmount)
    assert.is_false(socket:send(TEXT:rep(10)))
    assert.equal(22000, socket.bufferedAmount)
    desk.heard(log, "drain")
    assert.equal(0, socket.bufferedAmount)
    assert.equal(2, #heard(peer, socket))
    for _ = 1, 5 do socket:send(TEXT:rep(10)) end
    assert.equal(100000, socket.bufferedAmount)
    socket:send "x"
    desk.heard(log, "close")
    assert.same({ "connection", "drain", "error slow", "close 1006  unclean" }, log)
  end)
end)

-- --- a message for many -------------------------------------------------------------------------

-- Each with what it offers, what Python needs to know to read it, and whether it hears compressed frames.
local GUESTS = {
  { "p", { bits = 15 } }, { "p; s", { bits = 15, fresh = true } }, { "p; S=9", { bits = 9 } },
  { "p; s; S=9", { bits = 9, fresh = true } }, { "p; S=12; c", { bits = 12 } }, { "p; C=9", { bits = 15 } }, { false },
}

local function party(options)
  options.perMessageDeflate = options.perMessageDeflate or true
  local server, log = desk.serve(options)
  local peers = {}
  for i, one in ipairs(GUESTS) do
    local peer, socket = guest(server, log, one[1])
    socket:subscribe "all"
    peers[i] = { peer = peer, socket = socket, way = one[2], frames = {} }
  end
  return server, peers, log
end

-- Takes what each peer has heard so far.
local function collect(peers)
  for _, one in ipairs(peers) do
    for _, frame in ipairs(heard(one.peer, one.socket)) do one.frames[#one.frames + 1] = frame end
  end
end

-- What all have heard: texts, one list for each; and which of them were compressed.
local function told(peers)
  local streams, texts, squeezed = {}, {}, {}
  for i, one in ipairs(peers) do streams[i] = { one.way or {}, one.frames } end
  for i, messages in ipairs(judge.readAll(streams)) do
    texts[i], squeezed[i] = {}, {}
    for nth, message in ipairs(messages) do
      texts[i][nth], squeezed[i][nth] = message.data, message.squeezed
    end
  end
  return texts, squeezed
end

describe("a message for many", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("is read by all, whatever each has agreed on, and so is what they are sent before and after #foreign", function()
    for _, size in ipairs { 0, 40 } do
      local server, peers = party { fragmentSize = size }
      local expected = {}
      for i = 1, #GUESTS do expected[i] = {} end
      local function all(text)
        for i = 1, #GUESTS do table.insert(expected[i], text) end
      end
      local function each(text)
        for i, one in ipairs(peers) do
          one.socket:send(i .. text)
          table.insert(expected[i], i .. text)
        end
      end
      each(TEXT)
      assert.equal(7, server:broadcast(TEXT .. "broadcast"))
      all(TEXT .. "broadcast")
      each(TEXT)
      each "short"
      assert.equal(7, server:publish("all", TEXT .. "published"))
      all(TEXT .. "published")
      assert.equal(7, server:publish("all", TEXT .. "published"))
      all(TEXT .. "published")
      assert.equal(7, server:broadcast "short to all")
      all "short to all"
      each(TEXT .. "after")
      assert.equal(6, peers[1].socket:publish("all", TEXT .. "by the first"))
      for i = 2, #GUESTS do table.insert(expected[i], TEXT .. "by the first") end
      each(TEXT .. "last")
      collect(peers)
      local texts, squeezed = told(peers)
      for i in ipairs(GUESTS) do
        assert.same(expected[i], texts[i])
        for nth, text in ipairs(expected[i]) do
          assert.equal(#text >= 256 and GUESTS[i][1] ~= false, squeezed[i][nth], ("%d, message %d"):format(i, nth))
        end
      end
    end
  end)

  it("refers no further back than a receiver's window, and as far #foreign", function()
    local server, peers = party {}
    server:broadcast(FAR, "binary")
    for _, one in ipairs(peers) do one.socket:send(FAR, "binary") end
    collect(peers)
    local texts = told(peers)
    for i, one in ipairs(peers) do
      assert.is_true(texts[i][1] == FAR and texts[i][2] == FAR)
      local sizes = { #one.frames[1].payload, #one.frames[2].payload }
      local small = one.way and one.way.bits > 9
      for _, size in ipairs(sizes) do assert.equal(small or false, size < 1200, size) end
      assert.is_true(small or sizes[1] >= 3000)
    end
  end)

  it("uses the context of none, and leaves that of those who did not get it #foreign", function()
    local server, log = desk.serve { perMessageDeflate = true }
    local one, first = guest(server, log, "p")
    local two, second = guest(server, log, "p")
    second:subscribe "two"
    first:send(TEXT)
    second:send(TEXT)
    server:publish("two", TEXT)
    first:send(TEXT)
    second:send(TEXT)
    second:send(TEXT)
    local ones, twos = heard(one, first), heard(two, second)
    for _, list in ipairs(judge.readAll { { {}, ones }, { {}, twos } }) do
      for _, message in ipairs(list) do assert.equal(TEXT, message.data) end
    end
    assert.is_true(#ones[2].payload < #ones[1].payload)  -- it remembers
    assert.equal(twos[1].payload, twos[2].payload)       -- for many: from nothing
    assert.equal(twos[1].payload, twos[3].payload)       -- forgotten
    assert.is_true(#twos[4].payload < #twos[3].payload)  -- and remembered again
  end)

  it("goes as it is with { compress = false }, and from the threshold on #foreign", function()
    local server, peers = party { perMessageDeflate = { threshold = 1000 } }
    server:broadcast(TEXT, { compress = false })
    server:publish("all", TEXT, { compress = false, binary = true })
    server:broadcast(("x"):rep(999), { compress = true })
    server:publish("all", ("x"):rep(1000), { compress = true })
    server:broadcast(("x"):rep(1000), "binary")
    peers[7].socket:publish("all", TEXT, { compress = false })
    peers[7].socket:publish("all", TEXT)
    collect(peers)
    local texts, squeezed = told(peers)
    for i = 1, 6 do
      assert.same({ TEXT, TEXT, ("x"):rep(999), ("x"):rep(1000), ("x"):rep(1000), TEXT, TEXT }, texts[i])
      assert.same({ false, false, false, true, true, false, true }, squeezed[i])
    end
    assert.equal(5, #texts[7])
    assert.equal(2, peers[1].frames[5].opcode)
    desk.raises("TypeError", "a boolean expected", server.publish, server, "all", "x", { compress = "no" })
    desk.raises("TypeError", "a boolean expected", peers[1].socket.publish, peers[1].socket, "all", "x", { compress = 0 })
  end)

  it("counts what the application said, for each, though they share the bytes", function()
    local server, peers, log = party { highWaterMark = 10000 }
    server:broadcast(TEXT)
    server:publish("all", TEXT, "binary")
    for _, one in ipairs(peers) do assert.equal(4000, one.socket.bufferedAmount) end
    collect(peers)
    for _, one in ipairs(peers) do assert.equal(0, one.socket.bufferedAmount) end
    server:broadcast(TEXT:rep(5))
    desk.heard(log, "drain", #GUESTS)
    for _, one in ipairs(peers) do assert.equal(0, one.socket.bufferedAmount) end
  end)

  it("ends those who do not read by what was said, not by what it comes to, and nobody else notices", function()
    local server, log = desk.serve { perMessageDeflate = true, maxBufferedAmount = 20 * 1000 * 1000 }
    local slow, socket = guest(server, log, "p")
    local quick, other = guest(server, log, "p")
    slow.socket:buffers(4096)
    slow.reading = false
    quick.keeping = false
    math.randomseed(9)
    local data = {}
    for i = 1, 100000 do data[i] = string.char(math.random(0, 15)) end
    data = table.concat(data)
    local count = 0
    while socket.readyState == 1 do
      server:broadcast(data, "binary")
      count = count + 1
      if socket.readyState == 1 then
        assert.is_true(socket.bufferedAmount <= 20e6)
        assert.is_true(count < 1000, "it is never too slow")
      end
      wire.turn(0)
    end
    desk.heard(log, "close")
    assert.is_true(count > 200)
    assert.same({ "connection", "connection", "error slow", "close 1006  unclean" }, log)
    wire.await(function() return other.bufferedAmount == 0 end)
  end)

  -- zlib itself is counted: what goes into it, in a process of its own.
  describe("#foreign is compressed once", function()
    local folder, shim

    setup(function()
      folder = helper.directory()
      shim = folder .. "/count.so"
      local source = helper.quote(helper.root .. "/spec/peers/count_zlib.c")
      local output, status = helper.run(("cc -shared -fPIC -o %s %s -lz -ldl"):format(helper.quote(shim), source))
      assert(status == 0, output)
    end)
    teardown(function() helper.remove(folder) end)

    -- Runs code in which `server`, `guest(offer)` (-> its socket, subscribed to "all") and TEXT are known; the
    -- bytes that went into zlib.
    local function given(code)
      helper.write(folder .. "/program.lua", ([[
        local lunawire, wire = require "lunawire", require "spec.wire"
        local server = lunawire.WebSocketServer { perMessageDeflate = { threshold = 256 } }
        local TEXT = ("Nothing is as compressible as what is said again. "):rep(40)
        local function guest(offer)
          local socket
          server.onconnection = function(event) socket = event.socket end
          wire.client(server.port, { ["Sec-WebSocket-Extensions"] = offer })
          wire.await(function() return socket end)
          socket:subscribe "all"
          return socket
        end
        %s
        wire.settle()
        wire.clear()
        server:close()
        assert(lunawire.run(8000))
      ]]):format(code))
      local command = helper.lua(helper.quote(folder .. "/program.lua"))
      local with = "LD_PRELOAD=" .. helper.quote(shim)
      if command:find "LD_PRELOAD=" then command = command:gsub("LD_PRELOAD='(.-)'", "LD_PRELOAD='%1 " .. shim .. "'")
      else command = "env " .. with .. " " .. command end
      local output = helper.run(command)
      return tonumber(output:match "deflate (%d+)\n$") or error(output)
    end

    it("for ten with one window", function()
      assert.equal(2000, given 'for _ = 1, 10 do guest "permessage-deflate" end server:broadcast(TEXT)')
    end)

    it("for each window, with takeover and without", function()
      assert.equal(3 * 2000, given [[
        for _ = 1, 4 do
          guest "permessage-deflate"
          guest "permessage-deflate; server_no_context_takeover"
          guest "permessage-deflate; server_max_window_bits=9"
          guest "permessage-deflate; server_max_window_bits=12; server_no_context_takeover"
          guest(nil)
        end
        server:publish("all", TEXT)
      ]])
    end)

    it("and not for those who want none of it, nor for nobody", function()
      assert.equal(0, given [[
        for _ = 1, 3 do guest(nil) end
        server:broadcast(TEXT)
        local socket = guest "permessage-deflate"
        socket:publish("all", TEXT)
        server:broadcast(TEXT, { compress = false })
        server:broadcast "short"
        server:publish("nobody", TEXT)
      ]])
    end)

    it("each time it is said, and for each it is sent to alone", function()
      assert.equal(5 * 2000, given [[
        local one, two = guest "permessage-deflate", guest "permessage-deflate"
        server:broadcast(TEXT)
        one:send(TEXT)
        two:send(TEXT)
        one:publish("all", TEXT)
        server:publish("all", TEXT)
      ]])
    end)
  end)
end)

-- --- memory -------------------------------------------------------------------------------------

describe("what an idle connection costs #foreign", function()
  local N = 200

  -- KiB for each of N connections, all of whom have said and heard a message since; both ends' sockets are here.
  local PROGRAM = [[
    local lunawire, wire = require "lunawire", require "spec.wire"
    local N, offer, speak = tonumber(arg[1]), arg[2], arg[3]
    local server = lunawire.WebSocketServer { perMessageDeflate = { threshold = 0 }, backlog = 1000 }
    local sockets = {}
    server.onconnection = function(event) sockets[#sockets + 1] = event.socket end
    local function resident()
      collectgarbage()
      collectgarbage()
      local file = io.open "/proc/self/status"
      local kib = tonumber(file:read "*a":match "VmRSS:%%s*(%%d+)")
      file:close()
      return kib
    end
    local hello = { "text", payload = "\xf2\x48\xcd\xc9\xc9\x07\x00", rsv = offer ~= "" and 4 or 0 }
    local function guest()
      local n = #sockets + 1
      local peer = wire.client(server.port, { ["Sec-WebSocket-Extensions"] = offer ~= "" and offer or nil })
      wire.await(function() return sockets[n] end)
      peer.closed = false
      return peer
    end
    local function talk(peer, socket)
      if speak ~= "yes" then return end
      if offer == "" then hello.payload = "Hello" end
      peer:frame(hello)
      socket:send "Hello"
      assert(peer:next())
    end
    talk(guest(), sockets[1])
    local before, peers = resident(), {}
    for i = 1, N do peers[i] = guest() end
    for i = 1, N do talk(peers[i], sockets[i + 1]) end
    wire.settle()
    print("each", (resident() - before) / N)
    os.exit(0)
  ]]

  local function each(offer, speak)
    local name = os.tmpname()
    helper.write(name, (PROGRAM:gsub("%%%%", "%%")))
    local output = helper.run(helper.lua(("%s %d %s %s"):format(helper.quote(name), N, helper.quote(offer), speak)))
    os.remove(name)
    return tonumber(output:match "each%s+(%S+)") or error(output)
  end

  it("is little until it speaks, and without takeover afterwards, too", function()
    local none, silent = each("", "yes"), each(PMD, "no")
    local fresh, both = each(long "p; s; c", "yes"), each(PMD, "yes")
    local small = each(long "p; S=9; C=9", "yes")
    print(("  KiB for a connection and its peer: %.1f without compression, %.1f silent, %.1f without takeover, %.1f with"
      .. " windows of 9 bits, %.1f with those of 15"):format(none, silent, fresh, small, both))
    if os.getenv "LD_PRELOAD" then return end -- a sanitizer's memory is not ours
    assert.is_true(silent < none + 4)
    assert.is_true(fresh < none + 4)
    assert.is_true(both > none + 50 and both < none + 340) -- 256 KiB to compress, 40 to decompress
    assert.is_true(small < both)
  end)
end)

describe("the end of a loop", function()
  it("takes contexts and half messages with it", function()
    local name = os.tmpname()
    helper.write(name, [[
      local lunawire, wire = require "lunawire", require "spec.wire"
      local server, sockets = lunawire.WebSocketServer { perMessageDeflate = { threshold = 0 } }, {}
      server.onconnection = function(event) sockets[#sockets + 1] = event.socket end
      for i = 1, 5 do
        local peer = wire.client(server.port, { ["Sec-WebSocket-Extensions"] = "permessage-deflate" })
        peer:frame({ "text", payload = "\xf2\x48\xcd\xc9\xc9\x07\x00", rsv = 4 },
          { "text", payload = "\xf2\x00", rsv = 4, fin = false })
        wire.await(function() return sockets[i] end)
        sockets[i]:send "Hello"
      end
      wire.settle()
      server:broadcast "Hello"
      print(sockets[5].extensions)
      os.exit(0, true)
    ]])
    local output, status = helper.run(helper.lua(helper.quote(name)))
    os.remove(name)
    assert.same({ PMD .. "\n", 0 }, { output, status })
  end)
end)
