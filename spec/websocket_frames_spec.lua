-- What a client does with a server's frames, right and wrong (RFC 6455, sections 5, 7 and 8).
-- Each comes whole and one byte at a time; the reaction must be the same.

local frames = require "spec.frames"
local lunawire = require "lunawire"
local wire = require "spec.wire"
local wrong = require "spec.wrong"

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

  local rows = { table.unpack(wrong.masks.client) }
  table.move(wrong.frames, 1, #wrong.frames, #rows + 1, rows)
  for _, row in ipairs(rows) do
    for _, how in ipairs(ways) do
      it(("(a frame %s, %s) is told so with %d"):format(row[1], how, row[3]), function()
        local ws, log, peer = opened(wrong.limits, { "open", "message", "ping", "pong", "error", "close" })
        wrong.told(peer, row, how)
        assert.equal(2, ws.readyState)
        peer:close()
        wire.heard(log)
        assert.same({ "open", table.unpack(wrong.heard(row)) }, log)
        assert.equal(row[3], log.error.closeCode)
        assert.matches("^connection to " .. server.url:gsub("%p", "%%%0") .. ": %C+$", log.error.message)
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

    for _, row in ipairs(wrong.fine) do
      it(("%s is taken, %s"):format(row[1], how), function()
        local ws, log, peer = opened(wrong.limits, { "open", "message", "ping", "pong", "error", "close" })
        wrong.answered(peer, row, how)
        if row[3][#row[3]]:match "^close" then peer:close() end
        wire.await(function() return #log > #row[3] end, "what is to be heard")
        assert.same({ "open", table.unpack(row[3]) }, log)
        wire.settle(3)
        assert.equal("", peer.bytes)
        ws:terminate()
      end)
    end

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
