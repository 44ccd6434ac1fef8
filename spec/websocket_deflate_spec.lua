-- A client's WebSocket and permessage-deflate (RFC 7692), against raw peers: what it offers, which answers it takes,
-- and what of its messages goes over the wire. What is compressed is judged by Python's zlib (spec/judge.lua).

local blocks = require "spec.blocks"
local frames = require "spec.frames"
local helper = require "spec.helper"
local judge = require "spec.judge"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket
local hex = frames.hex

local PMD, SNC, CNC = "permessage-deflate", "server_no_context_takeover", "client_no_context_takeover"
local SB, CB = "server_max_window_bits", "client_max_window_bits"

-- "p; s; c; S=10; C" for all these long names.
local function long(short)
  return (short:gsub("%f[%w_-]([pscSC])%f[^%w_-]", { p = PMD, s = SNC, c = CNC, S = SB, C = CB }))
end

local HELLO, AGAIN = hex "f2 48 cd c9 c9 07 00", hex "f2 00 11 00 00" -- RFC 7692, 7.2.3.2
local TEXT = ("Nothing is as compressible as what is said again. "):rep(40) -- 2000 bytes

local server
local function fresh() server = wire.server() end

local function answering(answer)
  return answer and { ["Sec-WebSocket-Extensions"] = long(answer) } or nil
end

-- A socket of ours, what it hears, and its peer, who has answered so ("p"; false: has not).
local function opened(options, answer, types)
  local ws = WebSocket(server.url, nil, options)
  local log = wire.record(ws, types)
  local peer = server:open(answering(answer == nil and "p" or answer))
  wire.await(function() return ws.readyState == 1 end)
  return ws, log, peer
end

-- n frames that came.
local function take(peer, n)
  local list = {}
  for i = 1, n do list[i] = peer:next() end
  return list
end

local function said(frame) return { frame.rsv, frame.payload } end

local function compressed(kind, payload) return { kind, payload = payload, rsv = 4 } end

-- --- the handshake ------------------------------------------------------------------------------

describe("perMessageDeflate", function()
  before_each(fresh)
  after_each(wire.done)

  local OFFERS = {
    { nil, "p; C" }, { true, "p; C" }, { false, nil }, { {}, "p; C" },
    { { threshold = 0, level = 9, memLevel = 9 }, "p; C" }, -- these are nobody else's business
    { { clientMaxWindowBits = 15, serverMaxWindowBits = 15 }, "p; C" },
    { { clientMaxWindowBits = 9 }, "p; C=9" }, { { clientMaxWindowBits = 14 }, "p; C=14" },
    { { serverMaxWindowBits = 8 }, "p; S=8; C" }, { { serverMaxWindowBits = 12 }, "p; S=12; C" },
    { { clientNoContextTakeover = true }, "p; c; C" }, { { serverNoContextTakeover = true }, "p; s; C" },
    { { clientNoContextTakeover = false, serverNoContextTakeover = false }, "p; C" },
    { { clientNoContextTakeover = true, serverNoContextTakeover = true, clientMaxWindowBits = 10,
      serverMaxWindowBits = 11 }, "p; s; c; S=11; C=10" },
  }
  for i, case in ipairs(OFFERS) do
    it(("%d is offered as `%s`"):format(i, tostring(case[2])), function()
      local ws = WebSocket(server.url, nil, { perMessageDeflate = case[1] })
      assert.equal(case[2] and long(case[2]), server:asked().request.headers["sec-websocket-extensions"])
      assert.equal(0, ws.readyState) -- held until here: nobody listens, so it may be collected
    end)
  end

  local WRONG = {
    { "yes", "a boolean or a table expected, got string" }, { 1, "got number" }, { print, "got function" },
    { { levle = 1 }, 'unknown option "levle" (did you mean "level"?)' }, { { 1 }, "a name expected" },
    { { clientMaxWindowBits = 7 }, "7 is not from 8 to 15" }, { { clientMaxWindowBits = 16 }, "16 is not from 8 to 15" },
    { { serverMaxWindowBits = 7 }, "7 is not from 8 to 15" }, { { serverMaxWindowBits = 16 }, "16 is not from 8 to 15" },
    { { clientMaxWindowBits = 8 }, "zlib compresses with windows of 9 to 15 bits, not with 8" },
    { { clientMaxWindowBits = 9.5 }, "a whole number expected" }, { { clientMaxWindowBits = "10" }, "a number expected" },
    { { memLevel = 0 }, "0 is not from 1 to 9" }, { { memLevel = 10 }, "10 is not from 1 to 9" },
    { { level = 10 }, "10 is not from 0 to 9" }, { { level = -1 }, "-1 is not from 0 to 9" },
    { { threshold = -1 }, "-1 is not from 0" }, { { threshold = 0 / 0 }, "is not from 0" },
    { { threshold = 2 ^ 60 }, "is not from 0" }, { { clientNoContextTakeover = 1 }, "a boolean expected" },
    { { serverNoContextTakeover = "no" }, "a boolean expected" },
  }
  for i, case in ipairs(WRONG) do
    it(("raises what is wrong with it: %d, %s"):format(i, case[2]), function()
      local message = wire.mistake("TypeError", WebSocket, server.url, nil, { perMessageDeflate = case[1] })
      assert.truthy(message:find(case[2], 1, true), message)
      assert.truthy(message:find("perMessageDeflate", 1, true), message)
    end)
  end

  -- {option, answer, ws.extensions (nil: as the answer)}
  local GOOD = {
    { true, "p" }, { true, "p; s" }, { true, "p; c" }, { true, "p; S=9" }, { true, "p; C=9" }, { true, "p; C=8" },
    { true, "p; S=8" }, { true, "p; s; c; S=10; C=11" }, { true, "p; C=11; S=10; c; s", "p; s; c; S=10; C=11" },
    { true, "p; S=15", "p" }, { true, "p; C=15", "p" }, { true, 'p; S="10"', "p; S=10" }, { true, " p ;s ", "p; s" },
    { true, false, "" }, { false, false, "" }, { true, "", "" },
    { { clientMaxWindowBits = 9 }, "p", "p" }, { { clientMaxWindowBits = 9 }, "p; C=9" },
    { { clientNoContextTakeover = true }, "p" }, { { serverMaxWindowBits = 10 }, "p; S=10" },
    { { serverMaxWindowBits = 10 }, "p; S=9" }, { { serverNoContextTakeover = true }, "p; s" },
  }
  for i, case in ipairs(GOOD) do
    local answer, name = case[2], long(case[3] or case[2])
    it(("is in ws.extensions, also when the socket is closed: %d, `%s`"):format(i, answer or "no header"), function()
      local ws = WebSocket(server.url, nil, { perMessageDeflate = case[1] })
      local log, seen = wire.record(ws), {}
      assert.equal("", ws.extensions)
      for _, event in ipairs { "open", "message", "close" } do
        ws:addEventListener(event, function() seen[#seen + 1] = ws.extensions end)
      end
      local peer = server:asked()
      assert.equal("", ws.extensions)
      local switch = wire.switch(peer.request.headers["sec-websocket-key"], answering(answer))
      peer:say(switch, i % 2 == 0 and "one byte at a time" or "whole")
      wire.heard(log, "open")
      peer:frame { "text", payload = "plain" }
      wire.await(function() return #seen == 2 end)
      assert.equal(name, ws.extensions)
      ws:close(1000)
      assert.equal(name, ws.extensions)
      assert.equal(8, peer:next().opcode)
      peer:closing(1000)
      peer:close()
      wire.heard(log)
      assert.same({ "open", "text plain", "close 1000  clean" }, log)
      assert.same({ name, name, name }, seen)
      assert.equal(name, ws.extensions)
      wire.mistake("TypeError", function() ws.extensions = "" end)
    end)
  end

  local NOT_OFFERED = "the server chose an extension that was not offered"
  local NOT_ANSWER = "the server chose permessage-deflate twice, or with parameters other than those asked for"
  local BAD = {
    { true, "foo", NOT_OFFERED }, { true, "x-webkit-deflate-frame", NOT_OFFERED }, { true, "p, foo", NOT_OFFERED },
    { true, "foo, p", NOT_OFFERED }, { false, "p", NOT_OFFERED }, { false, "foo", NOT_OFFERED },
    { true, "Permessage-Deflate", NOT_OFFERED }, { true, "p-", NOT_OFFERED },
    { true, "p, p", NOT_ANSWER }, { true, "p; s; s", NOT_ANSWER }, { true, "p; unknown", NOT_ANSWER },
    { true, "p; S=7", NOT_ANSWER }, { true, "p; S=16", NOT_ANSWER }, { true, "p; C=7", NOT_ANSWER },
    { true, "p; C=16", NOT_ANSWER },
    { true, "p; S=08", NOT_ANSWER }, { true, "p; S", NOT_ANSWER }, { true, "p; C", NOT_ANSWER }, { true, "p; s=1", NOT_ANSWER },
    { true, "p; C=9; C=9", NOT_ANSWER }, { { serverMaxWindowBits = 10 }, "p", NOT_ANSWER },
    { { serverMaxWindowBits = 10 }, "p; S=11", NOT_ANSWER }, { { serverNoContextTakeover = true }, "p", NOT_ANSWER },
    { true, "p;", "breaks the grammar" }, { true, "p; S=", "breaks the grammar" }, { true, "p p", "breaks the grammar" },
  }
  for _, case in ipairs(BAD) do
    for _, how in ipairs { "whole", "one byte at a time" } do
      it(("fails when it is answered `%s`, %s"):format(case[2], how), function()
        local ws = WebSocket(server.url, nil, { perMessageDeflate = case[1] })
        local log = wire.record(ws)
        local peer = server:asked()
        peer:say(wire.switch(peer.request.headers["sec-websocket-key"], answering(case[2])), how)
        wire.heard(log)
        assert.same({ "error http", "close 1006  unclean" }, log)
        local message = log.error.message
        assert.truthy(message:find(case[3], 1, true), message)
        assert.truthy(message:find(server.url, 1, true), message)
        assert.equal(101, log.error.status)
        assert.equal(long(case[2]), log.error.headers["sec-websocket-extensions"])
        assert.equal("", ws.extensions)
      end)
    end
  end

  it("fails when it is answered on two lines", function()
    local log = wire.record(WebSocket(server.url))
    local peer = server:asked()
    local switch = wire.switch(peer.request.headers["sec-websocket-key"], answering "p")
    peer:send((switch:gsub("\r\n\r\n$", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")))
    wire.heard(log)
    assert.same({ "error http", "close 1006  unclean" }, log)
  end)

  it("cannot be asked for by a header of one's own", function()
    wire.mistake("SyntaxError", WebSocket, server.url, nil, { headers = { ["Sec-WebSocket-Extensions"] = "permessage-deflate" } })
  end)

  it("goes along to where a redirect leads, and is agreed on there", function()
    local options = { followRedirects = 2, perMessageDeflate = { clientMaxWindowBits = 11, threshold = 0 } }
    local ws = WebSocket(server.url, nil, options)
    local log = wire.record(ws)
    options.perMessageDeflate.clientMaxWindowBits = 12 -- too late
    local other = wire.server()
    local first = server:asked()
    assert.equal(long "p; C=11", first.request.headers["sec-websocket-extensions"])
    first:send(wire.head("HTTP/1.1 302 Found", { Location = other.url, ["Content-Length"] = "0" }))
    collectgarbage()
    local peer = other:asked()
    assert.equal(long "p; C=11", peer.request.headers["sec-websocket-extensions"])
    peer:send(wire.switch(peer.request.headers["sec-websocket-key"], answering "p; C=10"))
    wire.heard(log, "open")
    assert.equal(long "p; C=10", ws.extensions)
    ws:send "Hello"
    assert.same({ 4, HELLO }, said(peer:next()))
  end)

  it("is each connection's own, over a ReconnectingWebSocket", function()
    local ws = lunawire.ReconnectingWebSocket(server.url, nil, { minDelay = 1, maxDelay = 1, heartbeat = false,
      perMessageDeflate = { threshold = 0, serverNoContextTakeover = true } })
    local log = wire.record(ws)
    ws.onerror = nil
    assert.equal("", ws.extensions)
    local count = 0
    ws:addEventListener("open", function() count = count + 1 end)
    for nth, answer in ipairs { "p; s", false, "p; s; C=10" } do
      local peer = server:asked()
      assert.equal(long "p; s; C", peer.request.headers["sec-websocket-extensions"])
      peer:send(wire.switch(peer.request.headers["sec-websocket-key"], answering(answer)))
      wire.await(function() return count == nth end)
      assert.equal(answer and long(answer) or "", ws.extensions)
      ws:send "Hello"
      ws:send("Hello", { compress = false })
      local list = take(peer, 2)
      assert.same({ answer and 4 or 0, answer and HELLO or "Hello", 0, "Hello" },
        { list[1].rsv, list[1].payload, list[2].rsv, list[2].payload })
      if answer then
        peer:frame(compressed("text", HELLO))
        wire.await(function() return log[#log] == "text Hello" end)
      end
      peer:reset()
      wire.await(function() return ws.readyState == 0 end)
    end
    ws:send("Hello", { compress = false }) -- queued with its options
    ws:send "Hello"
    local peer = server:open(answering "p; s")
    local list = take(peer, 2)
    assert.same({ 0, "Hello", 4, HELLO }, { list[1].rsv, list[1].payload, list[2].rsv, list[2].payload })
    assert.equal(long "p; s", ws.extensions)
    ws:close()
    assert.equal(8, peer:next().opcode)
    peer:closing(1000)
    peer:close()
    wire.await(function() return ws.readyState == 3 end)
  end)
end)

-- --- what is sent -------------------------------------------------------------------------------

describe("what a client sends", function()
  before_each(fresh)
  after_each(wire.done)

  it("is compressed from the threshold on: 256 bytes, or what was asked for", function()
    for _, case in ipairs { { true, 256 }, { { threshold = 10 }, 10 }, { { threshold = 0 }, 0 },
      { { threshold = 2000 }, 2000 } } do
      local ws, _, peer = opened { perMessageDeflate = case[1] }
      for _, n in ipairs { case[2] - 1, case[2], case[2] + 1 } do
        if n >= 0 then
          for _, how in ipairs { "binary", "text" } do
            ws:send(("x"):rep(n), how == "binary" and how or nil)
            assert.equal(n >= case[2] and 4 or 0, peer:next().rsv, ("%d of %d"):format(n, case[2]))
          end
        end
      end
    end
  end)

  it("is not compressed where nothing was agreed on, or not with it", function()
    for _, case in ipairs { { true, false }, { false, false } } do
      local ws, _, peer = opened({ perMessageDeflate = case[1] }, case[2])
      ws:send(TEXT)
      assert.same({ 0, TEXT }, said(peer:next()))
    end
    -- the server says 8 bits, which zlib cannot do: what comes may be compressed, what goes is not
    local ws, log, peer = opened({ perMessageDeflate = { threshold = 0 } }, "p; C=8")
    ws:send(TEXT, { compress = true })
    assert.same({ 0, TEXT }, said(peer:next()))
    peer:frame(compressed("text", HELLO))
    wire.await(function() return log[2] == "text Hello" end)
  end)

  it("is read by Python's zlib, whatever was answered #foreign", function()
    local streams, spoken = {}, {}
    for _, answer in ipairs { "p", "p; c", "p; C=9", "p; c; C=10", "p; s; S=9", "p; C=12" } do
      for _, size in ipairs { 0, 50 } do
        local ws, _, peer = opened({ fragmentSize = size, perMessageDeflate = { threshold = 16 } }, answer)
        local messages = { TEXT, "short", TEXT:rep(20), TEXT, "", TEXT:sub(7) }
        for i, text in ipairs(messages) do
          ws:send(text, { binary = i % 2 == 0, compress = i ~= 4 })
          ws:ping(text:sub(1, 20))
        end
        ws:close(1000, TEXT:sub(1, 60))
        local list = {}
        repeat list[#list + 1] = peer:next() until list[#list].opcode == 8
        assert.equal(TEXT:sub(1, 60), list[#list].payload:sub(3))
        local bits = tonumber(long(answer):match(CB .. "=(%d+)"))
        streams[#streams + 1] = { { bits = bits, fresh = answer:find("c", 1, true) ~= nil }, list }
        spoken[#streams] = messages
        peer:closing(1000)
        peer:close()
      end
    end
    for i, messages in ipairs(judge.readAll(streams)) do
      assert.equal(6, #messages)
      for nth, message in ipairs(messages) do
        assert.equal(spoken[i][nth], message.data)
        assert.equal(#spoken[i][nth] >= 16 and nth ~= 4, message.squeezed)
        assert.equal(nth % 2 == 0 and "binary" or "text", message.kind)
      end
    end
  end)

  it("keeps to its own hints, though the server left them out #foreign", function()
    local ws, _, peer = opened({ perMessageDeflate = { clientMaxWindowBits = 9, clientNoContextTakeover = true } }, "p")
    math.randomseed(7692)
    local far = {}
    for i = 1, 1000 do far[i] = string.char(math.random(0, 255)) end
    far = table.concat(far):rep(3) -- of which 9 bits see nothing again
    for _ = 1, 3 do ws:send(TEXT) end
    ws:send(far, "binary")
    local list = take(peer, 4)
    assert.equal(list[1].payload, list[2].payload)
    assert.is_true(#list[4].payload >= 3000)
    local got = judge.read({ bits = 9, fresh = true }, list)
    for i = 1, 3 do assert.equal(TEXT, got[i].data) end
    assert.is_true(far == got[4].data)
  end)

  it("is compressed as its level says #foreign", function()
    local ws, _, peer = opened { perMessageDeflate = { level = 0 } }
    ws:send(TEXT)
    local frame = peer:next()
    assert.equal(#TEXT + 6, #frame.payload) -- one stored block
    assert.equal(TEXT, judge.read({}, { frame })[1].data)
  end)

  it("is as it is with { compress = false }, and compress = true lifts no threshold", function()
    local ws, _, peer = opened()
    ws:send(TEXT, { compress = false })
    ws:send("short", { compress = true })
    ws:send(TEXT, { compress = true })
    ws:send(TEXT, { binary = true, compress = false })
    ws:send(TEXT, {})
    ws:send(lunawire.ArrayBuffer(TEXT), { compress = false })
    local list = {}
    for i, frame in ipairs(take(peer, 6)) do list[i] = frame.opcode .. " " .. frame.rsv end
    assert.same({ "1 0", "1 0", "1 4", "2 0", "1 4", "2 0" }, list)
    local message = wire.mistake("TypeError", ws.send, ws, "x", { compress = "yes" })
    assert.truthy(message:find("compress", 1, true), message)
    wire.mistake("TypeError", ws.send, ws, "x", { compress = 1 })
    wire.mistake("TypeError", ws.send, ws, "x", { compres = false })
  end)

  it("may be an ArrayBuffer or a Blob in memory; a file is never compressed, what goes before and behind is #foreign", function()
    local path = os.tmpname()
    helper.write(path, TEXT:rep(100))
    local ws, _, peer = opened()
    ws:send(lunawire.ArrayBuffer(TEXT))
    ws:send(lunawire.Blob { TEXT, TEXT })
    ws:send(lunawire.Blob.fromFile(path))
    ws:send(lunawire.Blob.fromFile(path), { compress = true })
    ws:send(lunawire.Blob { TEXT, lunawire.Blob.fromFile(path) }, { compress = true })
    ws:send(TEXT)
    local list = {}
    repeat list[#list + 1] = peer:next() until list[#list].opcode == 1
    local got = judge.read({}, list)
    os.remove(path)
    local all = { TEXT, TEXT .. TEXT, TEXT:rep(100), TEXT:rep(100), TEXT:rep(101), TEXT }
    assert.equal(6, #got)
    for i, message in ipairs(got) do
      assert.is_true(all[i] == message.data, i)
      assert.equal(i < 3 or i == 6, message.squeezed)
    end
    assert.is_true(#got[6].payload < 30) -- the context of the first is still there
  end)

  it("answers pings as they are, and its own are", function()
    local ws, log, peer = opened(nil, nil, { "open", "message", "ping", "pong", "close" })
    local data = ("p"):rep(125)
    peer:frame { "ping", payload = data }
    ws:ping(data)
    local list = {}
    for _, frame in ipairs(take(peer, 2)) do list[frame.opcode] = frame end
    assert.same({ 0, data, 0, data }, { list[9].rsv, list[9].payload, list[10].rsv, list[10].payload })
    peer:frame { "pong", payload = data }
    wire.heard(log, "pong")
    assert.same({ "open", "ping " .. data, "pong " .. data }, log)
  end)
end)

-- --- how much is queued -------------------------------------------------------------------------

describe("bufferedAmount of what is compressed", function()
  before_each(fresh)
  after_each(wire.done)

  it("counts the application's bytes, in the turn in which they were sent", function()
    local ws, _, peer = opened()
    assert.equal(0, ws.bufferedAmount)
    ws:send(TEXT)
    ws:send(TEXT, { compress = false })
    ws:send "short"
    assert.equal(4005, ws.bufferedAmount)
    lunawire.flush()
    assert.equal(4005, ws.bufferedAmount) -- those of the current turn always count
    take(peer, 3)
    assert.equal(0, ws.bufferedAmount)
  end)

  it("falls to 0 with a peer that does not read at first, never below the truth by much, never up", function()
    local ws, _, peer = opened { highWaterMark = 2 ^ 40, maxBufferedAmount = 2 ^ 40, perMessageDeflate = { level = 1 } }
    peer.socket:buffers(65536)
    peer.reading = false
    math.randomseed(7)
    local data = {}
    for i = 1, 100000 do data[i] = string.char(math.random(0, 15)) end -- half of it is left when it is compressed
    data = table.concat(data)
    local sent = 0
    for i = 1, 100 do
      ws:send(data, { binary = true, compress = i % 3 ~= 0 })
      sent = sent + #data
      assert.is_true(ws.bufferedAmount <= sent)
      wire.turn(0)
    end
    wire.settle()
    local last = ws.bufferedAmount
    assert.is_true(last > 1000000 and last <= sent, last)
    local bytes = ws.bytesWritten - ws.bytesSent
    assert.is_true(last > 1.2 * bytes and last < 2.2 * bytes, last / bytes)
    peer.reading, peer.keeping = true, false
    wire.await(function()
      local now = ws.bufferedAmount
      assert.is_true(now <= last and now >= 0)
      last = now
      return now == 0
    end)
    assert.equal(ws.bytesWritten, ws.bytesSent)
  end)

  it("stays what it was when the connection ends, and grows with what is sent then", function()
    local ws, log, peer = opened()
    peer.reading = false
    ws:send(TEXT)
    ws:terminate()
    wire.heard(log)
    assert.equal(#TEXT, ws.bufferedAmount)
    ws:send(TEXT)
    assert.equal(2 * #TEXT, ws.bufferedAmount)
  end)

  it("is bounded by maxBufferedAmount, and `drain` tells when to go on", function()
    local types = { "open", "message", "drain", "error", "close" }
    local ws, log, peer = opened({ highWaterMark = 100000, maxBufferedAmount = 1000000 }, nil, types)
    assert.is_true(ws:send(TEXT))
    assert.is_false(ws:send(TEXT:rep(50)))
    wire.heard(log, "drain")
    assert.same({ "open", "drain" }, log)
    assert.equal(0, ws.bufferedAmount)
    take(peer, 2)
    -- in one turn: by the bytes of the application, though hardly any goes on the wire
    for _ = 1, 10 do assert.is_false(ws:send(TEXT:rep(50))) end
    assert.equal(1000000, ws.bufferedAmount)
    assert.is_false(ws:send "x")
    wire.heard(log)
    assert.same({ "open", "drain", "error slow", "close 1006  unclean" }, log)
  end)
end)

-- --- what is heard ------------------------------------------------------------------------------

describe("compressed messages to a client", function()
  before_each(fresh)
  after_each(wire.done)

  for _, how in ipairs { "whole", "one byte at a time" } do
    it("are delivered, " .. how, function()
      local _, log, peer = opened()
      local bytes = {}
      for i, frame in ipairs {
        compressed("text", HELLO), compressed("text", AGAIN), { "text", payload = "plain" }, { "ping", payload = "" },
        { "binary", payload = AGAIN:sub(1, 2), rsv = 4, fin = false }, { "continuation", payload = AGAIN:sub(3) },
        compressed("text", "\0"), compressed("text", ""), compressed("text", blocks.new():fixed({ TEXT }, true):bytes()),
      } do bytes[i] = peer:build(frame) end
      peer:say(table.concat(bytes), how)
      wire.await(function() return #log == 8 end)
      assert.same({ "open", "text Hello", "text Hello", "text plain", "binary Hello", "text ", "text ", "text " .. TEXT }, log)
    end)
  end

  it("are as binaryType says", function()
    local ws, _, peer = opened()
    local heard
    ws.onmessage = function(event) heard = event.data end
    ws.binaryType = "arraybuffer"
    peer:frame(compressed("binary", HELLO))
    wire.await(function() return heard end)
    assert.equal("Hello", heard:string())
    ws.binaryType, heard = "blob", nil
    peer:frame(compressed("binary", AGAIN))
    wire.await(function() return heard end)
    assert.equal("Hello", heard:text())
  end)

  it("may come with the answer to the handshake", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    server:open(answering "p", frames.build(compressed("text", HELLO)) .. frames.build(compressed("text", AGAIN)))
    wire.await(function() return #log == 3 end)
    assert.same({ "open", "text Hello", "text Hello" }, log)
  end)

  it("made by Python's zlib come through, whatever was agreed on #foreign", function()
    for _, case in ipairs { { "p" }, { "p; s", fresh = true }, { "p; S=9", bits = 9 },
      { "p; s; S=11", fresh = true, bits = 11 } } do
      local _, log, peer = opened(nil, case[1])
      local all = { TEXT, TEXT:rep(60), "", "x", TEXT:rep(600), TEXT }
      for _, payload in ipairs(judge.compress(case, all)) do peer:frame(compressed("text", payload)) end
      wire.await(function() return #log == 7 end)
      for i, text in ipairs(all) do assert.is_true(log[i + 1] == "text " .. text) end
    end
  end)

  it("wait while it is paused, in the middle of one, too", function()
    local ws, log, peer = opened()
    local payload = blocks.new():storedAll(TEXT:rep(100)):payload()
    peer:frame({ "text", payload = payload:sub(1, 90000), rsv = 4, fin = false })
    wire.settle()
    ws:pause()
    peer:frame({ "continuation", payload = payload:sub(90001) }, compressed("text", HELLO))
    wire.settle()
    assert.same({ "open" }, log)
    ws:resume()
    wire.await(function() return #log == 3 end)
    assert.is_true(log[2] == "text " .. TEXT:rep(100))
    -- paused by the first of two that came together
    ws:addEventListener("message", function() ws:pause() end, { once = true })
    peer:frame(compressed("text", HELLO), compressed("text", AGAIN))
    wire.settle()
    assert.equal(4, #log)
    ws:resume()
    wire.await(function() return #log == 5 end)
    assert.equal("text Hello", log[5])
  end)

  it("are dropped after close(), whatever is in them", function()
    local ws, log, peer = opened()
    ws:close(1000)
    peer:frame(compressed("text", HELLO), compressed("text", "\xff\xff"), { "ping", payload = "" })
    peer:closing(1000)
    assert.equal(8, peer:next().opcode)
    peer:close()
    wire.heard(log)
    assert.same({ "open", "close 1000  clean" }, log)
  end)

  -- {what, frames, code, answer ("p")}
  local WRONG = {
    { "RSV1 where nothing was agreed on", { compressed("text", HELLO) }, 1002, false },
    { "RSV1 on a continuation", { { "text", payload = HELLO, rsv = 4, fin = false },
      { "continuation", payload = "", rsv = 4 } }, 1002 },
    { "RSV1 on a ping", { { "ping", payload = "", rsv = 4 } }, 1002 },
    { "RSV2", { { "text", payload = HELLO, rsv = 2 } }, 1002 },
    { "garbage", { compressed("text", hex "ff ff ff ff") }, 1007 },
    { "a stream cut short", { compressed("text", HELLO:sub(1, 4)) }, 1007 },
    { "bytes behind the final block", { compressed("text", hex "f3 48 cd c9 c9 07 00 ff ff") }, 1007 },
    { "a back-reference to a context not to be taken over", { compressed("text", AGAIN) }, 1007, "p; s" },
    { "text that is not UTF-8", { compressed("text", blocks.new():stored("\xc0\x80"):payload()) }, 1007 },
    { "a bomb", { compressed("binary", blocks.zeros(600)) }, 1009 },
  }
  local function endedBy(case, how, ws, log, peer)
    wire.await(function() return ws.readyState == 1 end)
    local bytes = {}
    for i, frame in ipairs(case[2]) do bytes[i] = peer:build(frame) end
    peer:say(table.concat(bytes), how)
    local frame = peer:next()
    assert.equal(8, frame.opcode)
    assert.equal(case[3], frame.payload:byte(1) * 256 + frame.payload:byte(2))
    peer:finish()
    peer:close()
    wire.heard(log)
    assert.same({ "open", "error protocol " .. case[3], "close 1006  unclean" }, log)
  end

  for _, case in ipairs(WRONG) do
    for _, how in ipairs { "whole", "one byte at a time" } do
      it(("end the connection with %d: %s, %s"):format(case[3], case[1], how), function()
        endedBy(case, how, opened({ maxPayload = 1000000 }, case[4]))
      end)
    end
  end

  describe("over wss #foreign", function()
    local certs

    setup(function() certs = pki.new() end)
    teardown(function() certs:close() end)

    it("are delivered, and end the connection where they are wrong", function()
      local script = helper.quote(helper.root .. "/spec/peers/tls_pipe.py")
      local pipe = helper.peer(("exec %s %s listen %d %s %s"):format(helper.python(), script, server.port,
        helper.quote(certs:cert "good"), helper.quote(certs:key "good")))
      local url = ("wss://127.0.0.1:%s/"):format(pipe:line())
      local function openedBehind(answer)
        local ws = WebSocket(url, nil, { maxPayload = 1000000, tls = { ca = certs:cert "root" } })
        return ws, wire.record(ws), server:open(answering(answer == nil and "p" or answer))
      end
      local ok, problem = pcall(function()
        for _, how in ipairs { "whole", "one byte at a time" } do
          local ws, log, peer = openedBehind()
          wire.heard(log, "open")
          peer:say(peer:build(compressed("text", HELLO)) .. peer:build(compressed("text", AGAIN)), how)
          wire.await(function() return #log == 3 end)
          assert.same({ "open", "text Hello", "text Hello" }, log)
          ws:send(TEXT)
          assert.equal(4, peer:next().rsv)
          peer:close()
          wire.heard(log)
          for _, case in ipairs(WRONG) do endedBy(case, how, openedBehind(case[4])) end
        end
      end)
      pipe:stop()
      assert(ok, problem)
    end)
  end)
end)
