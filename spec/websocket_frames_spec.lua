-- What a client does with a server's frames, right and wrong (RFC 6455, sections 5, 7 and 8).
-- Each comes whole and one byte at a time; the reaction must be the same.

local frames = require "spec.frames"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket
local ways = { "whole", "one byte at a time" }
local hex, build, closing = frames.hex, frames.build, frames.closing

local server
local function fresh() server = wire.server() end

local function opened(options, types)
  local ws = WebSocket(server.url, nil, options)
  local log = wire.record(ws, types)
  local peer = server:open()
  wire.await(function() return ws.readyState == 1 end)
  return ws, log, peer
end

describe("a server that breaks the protocol", function()
  before_each(fresh)
  after_each(wire.done)

  local start = build { "text", payload = "half", fin = false }

  -- {name, bytes, code, options, what the client has heard before}
  local rows = {
    { "masks a frame", build { "text", payload = "x", key = "\1\2\3\4" }, 1002 },
    { "sets RSV1", build { "text", payload = "x", rsv = 4 }, 1002 },
    { "sets RSV2", build { "binary", payload = "x", rsv = 2 }, 1002 },
    { "sets RSV3", build { "ping", payload = "x", rsv = 1 }, 1002 },
    { "sends a ping over 125 bytes", build { "ping", payload = ("x"):rep(126) }, 1002 },
    { "sends a pong over 125 bytes", build { "pong", payload = ("x"):rep(200) }, 1002 },
    { "sends a Close over 125 bytes", build { "close", payload = closing(1000, ("x"):rep(124)) }, 1002 },
    { "sends a ping without FIN", build { "ping", payload = "x", fin = false }, 1002 },
    { "sends a Close without FIN", build { "close", payload = closing(1000), fin = false }, 1002 },
    { "continues nothing", build { "continuation", payload = "x" }, 1002 },
    { "continues what is over", build { "text", payload = "a" } .. build { "continuation", payload = "b" }, 1002, nil, "text a" },
    { "begins a message inside another", start .. build { "text", payload = "x" }, 1002 },
    { "begins a binary message inside a text", start .. build { "binary", payload = "x", fin = false }, 1002 },
    { "writes 125 in 16 bits", build { "binary", payload = ("x"):rep(125), form = 16 }, 1002 },
    { "writes 0 in 16 bits", build { "text", form = 16 }, 1002 },
    { "writes 65535 in 64 bits", build { "binary", length = 65535, form = 64 }, 1002 },
    { "writes a length of 2^63", hex "82 7f 80 00 00 00 00 00 00 00", 1002 },
    { "writes a length of 2^64 - 1", hex "82 7f ff ff ff ff ff ff ff ff", 1002 },
    { "announces 1001 bytes where 1000 are allowed", hex "82 7e 03 e9", 1009, { maxPayload = 1000 } },
    { "announces 2^62 bytes", hex "82 7f 40 00 00 00 00 00 00 00", 1009 },
    { "announces a byte over 16 MiB", hex "82 7f 00 00 00 00 01 00 00 01", 1009 },
    { "sends fragments over maxPayload together", start .. build { "continuation", length = 997, payload = "" }, 1009,
      { maxPayload = 1000 } },
    { "sends more than maxFragments", start .. build { "continuation", fin = false }:rep(3), 1008, { maxFragments = 3 } },
    { "sends a Close with half a code", build { "close", payload = "\3" }, 1002 },
    { "sends a reason that is not UTF-8", build { "close", payload = closing(1000, "a\255") }, 1007 },
    { "sends a reason cut within a character", build { "close", payload = closing(1000, "\226\130") }, 1007 },
    { "sends text ff", build { "text", payload = "ab\255" }, 1007 },
    { "sends text c0 80", build { "text", payload = hex "c0 80" }, 1007 },
    { "sends a surrogate", build { "text", payload = hex "ed a0 80" }, 1007 },
    { "sends text beyond U+10FFFF", build { "text", payload = hex "f4 90 80 80" }, 1007 },
    { "sends a lone continuation byte", build { "text", payload = "\128" }, 1007 },
    { "sends text cut at its end", build { "text", payload = "abc\226\130" }, 1007 },
    { "sends text cut at the end of its last fragment", build { "text", payload = "\226", fin = false }
      .. build { "continuation", payload = "\130" }, 1007 },
    { "breaks a character between fragments", build { "text", payload = "\226", fin = false }
      .. build { "continuation", payload = "x", fin = false }, 1007 },
    { "begins a long text with a wrong byte", hex "81 7e 01 00 ff", 1007 }, -- 255 bytes are still to come
    { "breaks it behind what was right", build { "text", payload = "fine" } .. build { "ping", payload = "p" } .. hex "f0 00",
      1002, nil, "text fine" },
  }
  for _, opcode in ipairs { 3, 4, 5, 6, 7, 11, 12, 13, 14, 15 } do
    rows[#rows + 1] = { "uses opcode " .. opcode, build { opcode, payload = "x" }, 1002 }
  end
  for _, code in ipairs { 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535 } do
    rows[#rows + 1] = { "closes with " .. code, build { "close", payload = closing(code, "why") }, 1002 }
  end

  for _, row in ipairs(rows) do
    for _, how in ipairs(ways) do
      it(("(it %s, %s) is told so with %d"):format(row[1], how, row[3]), function()
        local ws, log, peer = opened(row[4])
        peer:say(row[2], how)
        local goodbye
        repeat goodbye = peer:next() until goodbye.opcode ~= 10 -- a pong to what was right
        assert.same({ 8, true, row[3] },
          { goodbye.opcode, goodbye.fin, goodbye.payload:byte(1) * 256 + goodbye.payload:byte(2) })
        assert.equal(4, #goodbye.key)
        assert.is_true(#goodbye.payload > 2 and #goodbye.payload <= 125, "no reason")
        assert.equal("eof", (peer:finish())) -- our half ends behind it, and no reset eats it
        assert.equal("", peer.bytes)
        assert.equal(2, ws.readyState)
        peer:close()
        wire.heard(log)
        local expected = { "open", "error protocol " .. row[3], "close 1006  unclean" }
        if row[5] then table.insert(expected, 2, row[5]) end
        assert.same(expected, log)
        assert.equal(row[3], log.error.closeCode)
        assert.matches("^connection to " .. server.url:gsub("%p", "%%%0") .. ": a ", log.error.message)
        assert.equal(3, ws.readyState)
      end)
    end
  end

  it("is told before memory is taken for what it announces", function()
    local _, log, peer = opened { maxPayload = 2 ^ 40 }
    collectgarbage()
    peer:send(hex "82 7f 00 00 00 80 00 00 00 00" .. ("x"):rep(100000)) -- 2^39 bytes, it says
    wire.settle()
    assert.same({ "open" }, log) -- and we are still here
    peer:close()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
  end)

  it("with more than 131072 fragments is told so with 1008", function()
    local _, log, peer = opened()
    peer:send(build { "text", fin = false } .. build { "continuation", fin = false }:rep(131072))
    local goodbye = peer:next()
    assert.equal("\3\240", goodbye.payload:sub(1, 2))
    peer:close()
    wire.heard(log)
    assert.same({ "open", "error protocol 1008", "close 1006  unclean" }, log)
  end)

  it("hears our Close though it goes on talking", function()
    local _, log, peer = opened()
    peer:send(hex "83 00" .. ("x"):rep(3000000))
    local goodbye = peer:next()
    assert.equal("\3\234", goodbye.payload:sub(1, 2))
    assert.equal("eof", (peer:finish()))
    wire.await(function() return peer.output == "" or peer.failed end)
    assert.is_nil(peer.failed)
    peer:send(("y"):rep(1000))
    peer:close()
    wire.heard(log)
    assert.same({ "open", "error protocol 1002", "close 1006  unclean" }, log)
  end)

  it("hears what was sent before our Close", function()
    local ws, log, peer = opened()
    ws:send "one"
    ws:send "two"
    peer:send(hex "83 00")
    assert.equal("one", peer:next().payload)
    assert.equal("two", peer:next().payload)
    assert.equal(8, peer:next().opcode)
    peer:close()
    wire.heard(log)
  end)

  it("and neither reads nor ends is left at closeTimeout", function()
    local ws, log, peer = opened { closeTimeout = 60 }
    local began = lunawire.now()
    peer:send(hex "83 00")
    wire.await(function() return ws.readyState == 2 end)
    wire.heard(log)
    assert.is_true(lunawire.now() - began >= 60)
    assert.same({ "open", "error protocol 1002", "close 1006  unclean" }, log)
  end)

  it("is not listened to any more", function()
    local _, log, peer = opened(nil, { "open", "message", "ping", "error", "close" })
    peer:send(hex "83 00" .. build { "text", payload = "x" } .. build { "ping", payload = "y" } .. build { "close" })
    assert.equal(8, peer:next().opcode)
    assert.is_nil(peer:next())
    peer:close()
    wire.heard(log)
    assert.same({ "open", "error protocol 1002", "close 1006  unclean" }, log)
  end)
end)

describe("a server's frames", function()
  before_each(fresh)
  after_each(wire.done)

  for _, how in ipairs(ways) do
    it("of every length are delivered, " .. how, function()
      local _, log, peer = opened()
      local lengths = how == "whole" and { 0, 1, 125, 126, 127, 65535, 65536, 1000000 } or { 0, 1, 125, 126, 127, 1000 }
      for i, n in ipairs(lengths) do
        local data = ("\0\255x"):rep(math.ceil(n / 3)):sub(1, n)
        peer:say(build { "binary", payload = data }, how)
        wire.await(function() return #log == i + 1 end)
        assert.is_true(log[i + 1] == "binary " .. data, n .. " bytes")
      end
    end)

    it("U+0000, U+FFFF, U+10FFFF and a BOM are delivered unchanged, " .. how, function()
      local _, log, peer = opened()
      for i, text in ipairs { "\0", "\239\191\191", "\244\143\191\191", "\239\187\191x" } do
        peer:say(build { "text", payload = text }, how)
        wire.await(function() return #log == i + 1 end)
        assert.equal("text " .. text, log[i + 1])
      end
    end)

    it("in fragments are one message, with pings in between answered, " .. how, function()
      local _, log, peer = opened(nil, { "open", "message", "ping" })
      peer:say(build { "text", payload = "a\226", fin = false } .. build { "ping", payload = "1" }
        .. build { "continuation", fin = false } .. build { "continuation", payload = "\130", fin = false }
        .. build { "pong", payload = "unasked" } .. build { "continuation", payload = "\172b" }, how)
      wire.await(function() return #log == 3 end)
      assert.same({ "open", "ping 1", "text a\226\130\172b" }, log)
      local pong = peer:next()
      assert.same({ 10, "1" }, { pong.opcode, pong.payload })
    end)

    it("of up to maxPayload and maxFragments are taken, " .. how, function()
      local _, log, peer = opened { maxPayload = 1000, maxFragments = 3 }
      peer:say(build { "binary", payload = ("x"):rep(1000) }, how)
      peer:say(build { "text", payload = ("a"):rep(400), fin = false }
        .. build { "continuation", payload = ("b"):rep(600), fin = false } .. build { "continuation" }, how)
      wire.await(function() return #log == 3 end)
      assert.equal("text " .. ("a"):rep(400) .. ("b"):rep(600), log[3])
    end)

    for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999 } do
      it(("Close %d is answered with the same, %s"):format(code, how), function()
        local _, log, peer = opened()
        peer:say(build { "close", payload = closing(code, "why \226\130\172") }, how)
        local reply = peer:next()
        assert.same({ 8, closing(code) }, { reply.opcode, reply.payload:sub(1, 2) })
        peer:close()
        wire.heard(log)
        assert.same({ "open", "close " .. code .. " why \226\130\172 clean" }, log)
      end)
    end

    it("Close without a code is answered without one, " .. how, function()
      local _, log, peer = opened()
      peer:say(build { "close" }, how)
      local reply = peer:next()
      assert.same({ 8, "" }, { reply.opcode, reply.payload })
      peer:close()
      wire.heard(log)
      assert.same({ "open", "close 1005  clean" }, log)
    end)

    it("Close inside a fragmented message is answered with its own code; the part is dropped, " .. how, function()
      local _, log, peer = opened()
      peer:say(build { "text", payload = "half", fin = false } .. build { "close", payload = closing(4000, "x") }, how)
      assert.equal(closing(4000), peer:next().payload:sub(1, 2))
      peer:close()
      wire.heard(log)
      assert.same({ "open", "close 4000 x clean" }, log)
    end)

    it("behind a Close are ignored, right or wrong, " .. how, function()
      local _, log, peer = opened(nil, { "open", "message", "ping", "error", "close" })
      peer:say(build { "close", payload = closing(1000) } .. build { "text", payload = "late" }
        .. build { "ping", payload = "late" } .. hex "ff ff ff ff ff", how)
      assert.equal(closing(1000), peer:next().payload:sub(1, 2))
      peer:shutdown()
      wire.heard(log)
      assert.same({ "open", "close 1000  clean" }, log)
      assert.is_nil(peer:next())
    end)
  end

  for _, part in ipairs {
    { "in mid-header", hex "82" }, { "in mid-length", hex "82 7e 01" }, { "in mid-payload", hex "81 05 48 65" },
    { "in mid-message", build { "text", payload = "half", fin = false } }, { "in mid-Close", hex "88 04 03 e8" },
  } do
    for _, how in ipairs { "an end", "a reset" } do
      it(("cut by %s %s are no message, and no error: close 1006"):format(how, part[1]), function()
        local _, log, peer = opened()
        peer:send(part[2])
        wire.settle()
        if how == "an end" then peer:close() else peer:reset() end
        wire.heard(log)
        assert.same({ "open", "close 1006  unclean" }, log)
      end)
    end
  end

  it("of a hundred pings at once get a hundred pongs, in order", function()
    local _, log, peer = opened(nil, { "open", "ping" })
    local list = {}
    for i = 1, 100 do list[i] = build { "ping", payload = tostring(i) } end
    peer:send(table.concat(list))
    wire.await(function() return #log == 101 end)
    wire.settle()
    local pongs = frames.parse(peer.bytes)
    assert.equal(100, #pongs)
    for i, pong in ipairs(pongs) do assert.same({ 10, tostring(i) }, { pong.opcode, pong.payload }) end
  end)

  it("while we cannot send are read all the same, and leave one pong to send", function()
    server.listener:buffers(4096)
    local ws, log, peer = opened(nil, { "open", "ping" })
    peer.reading = false
    for _ = 1, 12 do ws:send(("x"):rep(2 ^ 20), "binary") end
    wire.settle()
    assert.is_true(ws.bufferedAmount > 0)
    for i = 1, 1000 do
      peer:send(build { "ping", payload = tostring(i) })
      wire.turn(0)
    end
    wire.await(function() return #log == 1001 end)
    peer.reading, peer.keeping = true, false
    local before = peer.total
    local messages = 12 * (2 ^ 20 + 14)
    wire.await(function() return peer.total - before > messages end)
    wire.settle(50)
    local pongs = peer.total - before - messages
    assert.is_true(pongs <= 2 * 10, pongs .. " bytes of pongs") -- one that was queued, and the last one's
  end)
end)
