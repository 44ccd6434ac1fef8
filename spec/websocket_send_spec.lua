-- What a client's WebSocket sends, as bytes on the wire, and what it holds back: frames, masks,
-- fragments, bufferedAmount and its marks, pings, pause.

local frames = require "spec.frames"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket

local server
local function fresh() server = wire.server() end

-- A socket, what it hears, and its raw peer, open.
local function opened(options, types)
  local ws = WebSocket(server.url, nil, options)
  local log = wire.record(ws, types)
  local peer = server:open()
  wire.await(function() return ws.readyState == 1 end)
  return ws, log, peer
end

local function pattern(n)
  local piece = {}
  for i = 1, 251 do piece[i] = string.char((i * 7) % 256) end
  return (table.concat(piece):rep(math.ceil(n / 251))):sub(1, n)
end

describe("send", function()
  before_each(fresh)
  after_each(wire.done)

  it("makes one masked text frame of a string", function()
    local ws, _, peer = opened()
    assert.is_true(ws:send "h\195\169llo")
    local frame = peer:next()
    assert.same({ 1, true, 0, "h\195\169llo" }, { frame.opcode, frame.fin, frame.rsv, frame.payload })
    assert.equal(4, #frame.key)
  end)

  it("makes one binary frame when told so", function()
    local ws, _, peer = opened()
    ws:send("\0\255", "binary")
    ws:send("\254", { binary = true })
    ws:send("text", { binary = false })
    ws:send("text", {})
    ws:send("text", nil)
    local list = {}
    for i = 1, 5 do
      local frame = peer:next()
      list[i] = frame.opcode .. " " .. frame.payload
    end
    assert.same({ "2 \0\255", "2 \254", "1 text", "1 text", "1 text" }, list)
  end)

  for _, n in ipairs { 0, 1, 125, 126, 127, 65535, 65536, 1000000 } do
    it("sends " .. n .. " bytes in one frame, its length in the shortest form", function()
      local ws, _, peer = opened()
      local data = pattern(n)
      ws:send(data, "binary")
      local frame = peer:next()
      assert.equal(n < 126 and 7 or n < 65536 and 16 or 64, frame.form)
      assert.is_true(frame.fin)
      assert.is_true(frame.payload == data)
    end)
  end

  it("masks with another key in each frame", function()
    local ws, _, peer = opened { fragmentSize = 1 }
    ws:send "abcdefgh"
    for _ = 1, 24 do ws:ping "x" end
    local seen, count = {}, 0
    for _ = 1, 32 do
      local key = peer:next().key
      if not seen[key] then count = count + 1 end
      seen[key] = true
    end
    assert.is_true(count >= 31, count .. " keys for 32 frames") -- two may meet, once in millions of runs
    assert.is_nil(seen["\0\0\0\0"])
  end)

  it("keeps the order of everything that was sent", function()
    local ws, _, peer = opened()
    for i = 1, 200 do
      ws:send(tostring(i), i % 2 == 0 and "binary" or nil)
      if i % 50 == 0 then ws:ping(tostring(i)) end
    end
    for i = 1, 200 do
      assert.equal(tostring(i), peer:next().payload)
      if i % 50 == 0 then assert.equal(9, peer:next().opcode) end
    end
  end)

  it("goes out without another turn when flush is called", function()
    local ws, _, peer = opened()
    ws:send "now"
    peer:move()
    assert.equal("", peer.bytes)
    lunawire.flush()
    peer:move()
    assert.equal("now", frames.parse(peer.bytes)[1].payload)
  end)

  it("raises InvalidStateError while connecting, whatever is sent", function()
    local ws = WebSocket(server.url)
    for _, data in ipairs { "x", "", "\255" } do
      wire.mistake("InvalidStateError", ws.send, ws, data)
      wire.mistake("InvalidStateError", ws.send, ws, data, "binary")
    end
    wire.mistake("InvalidStateError", ws.ping, ws)
    assert.equal(0, ws.bufferedAmount)
    ws:close()
  end)

  it("raises TypeError for what is no string", function()
    local ws, _, peer = opened()
    for _, data in ipairs { 1, 1.5, true, {}, print, ws, coroutine.create(print) } do
      assert.matches("a string, an ArrayBuffer or a Blob expected, got", wire.mistake("TypeError", ws.send, ws, data))
      wire.mistake("TypeError", ws.send, ws, data, "binary")
    end
    wire.mistake("TypeError", ws.send, ws)
    wire.mistake("TypeError", ws.send, ws, nil)
    ws:send "after"
    assert.equal("after", peer:next().payload) -- nothing of it went out
  end)

  it("raises TypeError for text that is not UTF-8", function()
    local ws, _, peer = opened()
    for _, text in ipairs {
      "\255", "\192\128", "\237\160\128", "\244\144\128\128", "\128", "abc\195", "\226\130", "ok\255ok",
    } do
      assert.matches("not UTF%-8", wire.mistake("TypeError", ws.send, ws, text))
      ws:send(text, "binary")
      assert.equal(text, peer:next().payload)
    end
    for _, text in ipairs { "\0", "\239\191\191", "\244\143\191\191", "\239\187\191" } do
      ws:send(text)
      local frame = peer:next()
      assert.same({ 1, text }, { frame.opcode, frame.payload })
    end
  end)

  it("raises for a second argument it does not know", function()
    local ws = opened()
    assert.matches('got "text"', wire.mistake("TypeError", ws.send, ws, "x", "text"))
    wire.mistake("TypeError", ws.send, ws, "x", true)
    wire.mistake("TypeError", ws.send, ws, "x", 1)
    assert.matches('did you mean "binary"', wire.mistake("TypeError", ws.send, ws, "x", { binery = true }))
    wire.mistake("TypeError", ws.send, ws, "x", { binary = 1 })
    wire.mistake("TypeError", ws.send, ws, "x", { compress = 1 })
    assert.equal(0, ws.bufferedAmount)
  end)

  it("checks its arguments also after close", function()
    local ws, log, peer = opened()
    peer:close()
    wire.heard(log)
    wire.mistake("TypeError", ws.send, ws, {})
    wire.mistake("TypeError", ws.send, ws, "\255")
  end)
end)

describe("fragmentSize", function()
  before_each(fresh)
  after_each(wire.done)

  -- The frames of one message: { "opcode fin payload", ... }
  local function fragments(size, data, binary)
    local ws, _, peer = opened { fragmentSize = size }
    ws:send(data, binary)
    ws:ping "end"
    local list = {}
    while true do
      local frame = peer:next()
      if frame.opcode == 9 then return list end
      list[#list + 1] = ("%d %s %s"):format(frame.opcode, frame.fin and "fin" or "more", frame.payload)
    end
  end

  it("splits what is longer", function()
    assert.same({ "1 more abc", "0 more def", "0 fin g" }, fragments(3, "abcdefg"))
    assert.same({ "2 more abc", "0 fin def" }, fragments(3, "abcdef", "binary"))
    assert.same({ "1 fin abc" }, fragments(3, "abc"))
    assert.same({ "1 fin " }, fragments(3, ""))
    assert.same({ "1 more \195", "0 fin \169" }, fragments(1, "\195\169"))
  end)

  it("0 never splits", function()
    assert.same({ "1 fin abcdefg" }, fragments(0, "abcdefg"))
  end)
end)

describe("bufferedAmount", function()
  before_each(fresh)
  after_each(wire.done)

  it("counts what was sent in this turn, without framing, until the turn is over", function()
    local ws = opened { fragmentSize = 2 }
    assert.equal(0, ws.bufferedAmount)
    ws:send "12345"
    assert.equal(5, ws.bufferedAmount)
    ws:send(("x"):rep(1000), "binary")
    ws:send ""
    assert.equal(1005, ws.bufferedAmount)
    ws:ping "not counted"
    assert.equal(1005, ws.bufferedAmount)
    lunawire.flush()
    assert.equal(1005, ws.bufferedAmount) -- handed to the system, but in this turn
    lunawire.step(0)
    assert.equal(0, ws.bufferedAmount)
  end)

  it("counts within a handler, too, to the end of its turn", function()
    local ws, _, peer = opened()
    local seen = {}
    ws.onmessage = function()
      ws:send "1234"
      seen[#seen + 1] = ws.bufferedAmount
    end
    peer:frame({ "text" }, { "text" }, { "text" })
    wire.await(function() return #seen == 3 end)
    assert.same({ 4, 8, 12 }, seen)
    assert.equal(0, ws.bufferedAmount)
  end)

  it("falls with what the system takes, when the peer reads slowly", function()
    server.listener:buffers(4096)
    local ws, _, peer = opened { highWaterMark = 2 ^ 30 }
    peer.reading = false
    local total = 12 * 2 ^ 20
    local data = pattern(2 ^ 20)
    for _ = 1, 12 do ws:send(data, "binary") end
    assert.equal(total, ws.bufferedAmount)
    wire.settle()
    local left = ws.bufferedAmount
    assert.is_true(left > 0 and left < total, "left: " .. left)
    local before, framing, last = peer.total, 12 * 14, left
    peer.reading, peer.keeping = true, false
    wire.await(function()
      local now = ws.bufferedAmount
      assert.is_true(now <= last, "it grew")
      assert.is_true(peer.total - before + now <= total + framing, "more is here and waits than was sent")
      last = now
      return peer.total - before == total + framing
    end)
    assert.equal(0, ws.bufferedAmount)
  end)

  it("grows with every send after close, and is never reset", function()
    local ws, log, peer = opened()
    ws:send "12345"
    ws:close()
    assert.is_false(ws:send "678")
    assert.equal(8, ws.bufferedAmount)
    assert.equal("12345", peer:next().payload)
    assert.equal(8, peer:next().opcode)
    assert.equal(3, ws.bufferedAmount)
    peer:closing()
    peer:shutdown()
    wire.heard(log)
    ws:send("90", "binary")
    assert.equal(5, ws.bufferedAmount)
    lunawire.step(0)
    assert.equal(5, ws.bufferedAmount)
    assert.equal(nil, peer:next())
  end)

  it("keeps what could not be sent, the same in the close event and after it", function()
    server.listener:buffers(4096)
    local ws, log, peer = opened()
    peer.reading = false
    for _ = 1, 12 do ws:send(pattern(2 ^ 20), "binary") end
    wire.settle()
    local left = ws.bufferedAmount
    assert.is_true(left > 0)
    local at_close
    ws:addEventListener("close", function() at_close = ws.bufferedAmount end)
    peer:reset()
    wire.heard(log)
    assert.equal("close 1006  unclean", log[#log])
    assert.equal(left, at_close)
    assert.equal(left, ws.bufferedAmount)
    ws:send "12345"
    assert.equal(left + 5, ws.bufferedAmount)
  end)
end)

describe("highWaterMark", function()
  before_each(fresh)
  after_each(wire.done)

  it("makes send say false at the mark, and drain comes once when there is room again", function()
    local ws, log, peer = opened({ highWaterMark = 1000 }, { "open", "drain", "close" })
    assert.is_true(ws:send(("x"):rep(999)))
    assert.is_false(ws:send "x")
    assert.is_false(ws:send "x")
    assert.same({ "open" }, log)
    wire.heard(log, "drain")
    wire.settle()
    assert.same({ "open", "drain" }, log)
    assert.equal("drain", log.drain.type)
    assert.equal(ws, log.drain.target)
    assert.equal(0, ws.bufferedAmount)
    assert.is_true(ws:send "x")
    wire.settle()
    assert.same({ "open", "drain" }, log) -- nobody was told to wait
    assert.is_false(ws:send(("x"):rep(1000)))
    wire.await(function() return #log == 3 end)
    assert.same({ "open", "drain", "drain" }, log)
    assert.is_true(peer.total > 2000)
  end)

  it("does not say drain while the peer does not read", function()
    server.listener:buffers(4096)
    local ws, log, peer = opened({ highWaterMark = 100000 }, { "open", "drain", "close" })
    peer.reading = false
    while ws:send(pattern(50000), "binary") or ws.bufferedAmount < 12 * 2 ^ 20 do end -- one turn: all of it counts
    wire.settle()
    assert.is_true(ws.bufferedAmount > 100000)
    assert.same({ "open" }, log)
    peer.reading = true
    wire.heard(log, "drain")
    assert.is_true(ws.bufferedAmount < 100000)
    wire.await(function() return ws.bufferedAmount == 0 end)
    assert.same({ "open", "drain" }, log)
  end)

  it("lets a program write as fast as the peer reads, and no faster", function()
    server.listener:buffers(4096)
    local mark = 200000
    local ws, _, peer = opened { highWaterMark = mark }
    local sent, most = 0, 0
    local function fill()
      while sent < 300 do
        sent = sent + 1
        local more = ws:send(pattern(50000), "binary")
        most = math.max(most, ws.bufferedAmount)
        if not more then return end
      end
      ws:close()
    end
    ws.ondrain = fill
    fill()
    local before = peer.total
    peer.keeping = false
    local all = 300 * (8 + 50000) + 6 -- and the Close frame
    wire.await(function() return peer.total - before == all end, function() return peer.total - before end)
    assert.is_true(most <= 2 * mark + 50000, "most: " .. most)
  end)
end)

describe("maxBufferedAmount", function()
  before_each(fresh)
  after_each(wire.done)

  it("ends a connection whose peer is too slow: error slow, close 1006", function()
    local ws, log = opened { maxBufferedAmount = 1000 }
    assert.is_true(ws:send(("x"):rep(600)))
    assert.is_true(ws:send(("x"):rep(400))) -- at the limit, not past it
    assert.is_false(ws:send "x")
    assert.is_true(ws.readyState >= 2)
    assert.same({ "open" }, log)
    assert.is_false(ws:send "after")
    wire.heard(log)
    assert.same({ "open", "error slow", "close 1006  unclean" }, log)
    assert.matches("connection to " .. server.url .. ": the other side reads too slowly: maxBufferedAmount passed",
      log.error.message, 1, true)
    assert.equal(1000 + 1 + 5, ws.bufferedAmount)
  end)

  it("drops the queue: nothing more goes on the wire", function()
    local ws, log, peer = opened { maxBufferedAmount = 1000 }
    ws:send(("x"):rep(1000))
    ws:send "x"
    wire.heard(log)
    peer:finish()
    assert.equal(0, #peer.bytes)
  end)

  it("is passed by one message that is too large by itself", function()
    local ws, log, peer = opened { maxBufferedAmount = 1000 }
    ws:send(("x"):rep(1001))
    wire.heard(log)
    peer:finish()
    assert.equal("", peer.bytes)
    assert.same({ "open", "error slow", "close 1006  unclean" }, log)
    assert.equal(1001, ws.bufferedAmount)
  end)

  -- Neither has content that would count in bufferedAmount, so for ever more of them were queued.
  for name, say in pairs {
    ["empty messages"] = function(ws) return ws:send "" end,
    ["pings"] = function(ws) return ws:ping(("p"):rep(125)) end,
  } do
    it(("bounds the %s queued for a peer that does not read"):format(name), function()
      server.listener:buffers(4096)
      local ws, log, peer = opened { maxBufferedAmount = 2 ^ 16 }
      peer.reading = false
      local turns = 0
      while ws.readyState == 1 and turns < 2000 do
        turns = turns + 1
        for _ = 1, 1000 do say(ws) end
        wire.turn(0)
      end
      wire.heard(log)
      assert.same({ "open", "error slow", "close 1006  unclean" }, log)
      assert.equal(0, ws.bufferedAmount)
    end)
  end

  it("is felt with a peer that does not read, and others do not notice", function()
    server.listener:buffers(4096)
    local ws, log, peer = opened { maxBufferedAmount = 2 ^ 20 }
    local other, _, other_peer = opened()
    peer.reading = false
    local count = 0
    while ws.readyState == 1 and count < 1000 do
      count = count + 1
      ws:send(pattern(100000), "binary")
      wire.turn(0)
    end
    wire.heard(log)
    assert.same({ "open", "error slow", "close 1006  unclean" }, log)
    other:send "fine"
    assert.equal("fine", other_peer:next().payload)
    peer.reading = true
    assert.equal("ECONNRESET", (peer:finish()))
    assert.is_true(peer.total < count * 100000, "not all that was sent")
    for _ = 1, #peer.bytes // 100014 do assert.is_true(peer:next().payload == pattern(100000)) end
  end)
end)

describe("ping", function()
  before_each(fresh)
  after_each(wire.done)

  it("sends a ping frame, with its data or none", function()
    local ws, _, peer = opened()
    for _, data in ipairs { "", "hello", "\255\0", ("x"):rep(125) } do
      ws:ping(data)
      local frame = peer:next()
      assert.same({ 9, true, data }, { frame.opcode, frame.fin, frame.payload })
      assert.equal(4, #frame.key)
    end
    ws:ping()
    assert.equal("", peer:next().payload)
  end)

  it("is answered with a pong event: data, and how long it took", function()
    local ws, log, peer = opened(nil, { "open", "ping", "pong", "close" })
    ws:ping "one"
    local frame = peer:next()
    local asked = lunawire.now()
    wire.await(function() return lunawire.now() >= asked + 20 end)
    peer:frame { "pong", payload = frame.payload }
    local event = wire.heard(log, "pong")
    assert.equal("one", event.data)
    assert.equal(ws, event.target)
    assert.is_true(event.latency >= 20 and event.latency < 5000, tostring(event.latency))
    peer:frame { "pong", payload = "one" } -- once more, unasked
    wire.await(function() return log.pong ~= event end)
    assert.is_nil(log.pong.latency)
  end)

  it("has no latency when it came before the last ping went", function()
    local ws, log, peer = opened()
    ws.onpong = function(event) log[#log + 1] = event.latency and "answered" or "old" end
    ws.onmessage = function() ws:ping "two" end
    ws:ping "one"
    wire.settle()
    peer:frame({ "text", payload = "x" }, { "pong", payload = "one" }) -- read at once, handled one after the other
    wire.await(function() return log[#log] == "old" end)
    peer:frame { "pong", payload = "two" }
    wire.await(function() return log[#log] == "answered" end)
  end)

  it("is no cause for a latency when nobody asked", function()
    local _, log, peer = opened(nil, { "open", "pong" })
    peer:frame { "pong", payload = "unasked" }
    local event = wire.heard(log, "pong")
    assert.equal("unasked", event.data)
    assert.is_nil(event.latency)
  end)

  it("refuses more than 125 bytes, and what is no string", function()
    local ws, _, peer = opened()
    assert.matches("125", wire.mistake("SyntaxError", ws.ping, ws, ("x"):rep(126)))
    wire.mistake("TypeError", ws.ping, ws, {})
    wire.mistake("TypeError", ws.ping, ws, 1)
    ws:ping "fine"
    assert.equal("fine", peer:next().payload)
  end)

  it("does nothing once the socket is closing or closed", function()
    local ws, log, peer = opened()
    ws:close()
    ws:ping "late"
    assert.equal(8, peer:next().opcode)
    peer:closing()
    peer:shutdown()
    wire.heard(log)
    ws:ping "later"
    assert.is_nil(peer:next())
  end)

  it("from the peer is answered by itself, and told", function()
    local _, log, peer = opened(nil, { "open", "ping", "message" })
    peer:frame({ "ping", payload = "you?" }, { "text", payload = "x" })
    wire.await(function() return #log == 3 end)
    assert.same({ "open", "ping you?", "text x" }, log)
    local pong = peer:next()
    assert.same({ 10, true, "you?" }, { pong.opcode, pong.fin, pong.payload })
    assert.equal(4, #pong.key)
  end)
end)

describe("lastReceived", function()
  before_each(fresh)
  after_each(wire.done)

  it("is the time when bytes last came, be they a message or not", function()
    local ws = WebSocket(server.url)
    local before = lunawire.now()
    assert.is_nil(ws.lastReceived)
    local peer = server:asked()
    assert.is_nil(ws.lastReceived)
    peer:send(wire.switch(peer.request.headers["sec-websocket-key"]))
    wire.await(function() return ws.readyState == 1 end)
    local last = ws.lastReceived
    assert.is_true(last >= before and last <= lunawire.now())
    for _, bytes in ipairs { "\x89\x00", "\x81", "\x05Hel", "lo" } do
      wire.await(function() return lunawire.now() > last + 1 end)
      assert.equal(last, ws.lastReceived)
      peer:send(bytes)
      wire.await(function() return ws.lastReceived > last end)
      last = ws.lastReceived
    end
    peer:close()
    wire.await(function() return ws.readyState == 3 end)
    assert.equal(last, ws.lastReceived) -- an end is no byte
  end)
end)

describe("pause", function()
  before_each(fresh)
  after_each(wire.done)

  it("holds messages back until resume, which keeps their order", function()
    local ws, log, peer = opened()
    ws:pause()
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" })
    wire.settle()
    assert.same({ "open" }, log)
    ws:resume()
    assert.same({ "open" }, log)
    peer:frame { "text", payload = "3" }
    wire.await(function() return #log == 4 end)
    assert.same({ "open", "text 1", "text 2", "text 3" }, log)
  end)

  it("holds back messages that are parsed already", function()
    local ws, log, peer = opened()
    ws:addEventListener("message", function(event)
      if event.data == "2" then ws:pause() end
    end)
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" }, { "text", payload = "3" }, { "ping", payload = "p" })
    wire.await(function() return #log == 3 end)
    wire.settle()
    assert.same({ "open", "text 1", "text 2" }, log)
    peer:move()
    assert.equal("", peer.bytes) -- not even the ping was seen
    ws:resume()
    wire.await(function() return #log == 4 end)
    assert.same({ "open", "text 1", "text 2", "text 3" }, log)
    assert.equal("p", peer:next().payload)
  end)

  it("does not hold back drain: who passes on what comes pauses until then", function()
    local ws, _, peer = opened { highWaterMark = 65536 }
    local drained
    ws.ondrain = function() drained = true end
    peer.reading = false
    assert.is_false(ws:send(("x"):rep(2 ^ 22), "binary"))
    ws:pause()
    peer.reading = true
    wire.await(function()
      peer:move()
      return drained
    end)
    ws:terminate()
  end)

  it("before the connection is open holds back all messages, not the opening", function()
    local host = lunawire.WebSocketServer { port = 0 }
    host.onconnection = function(event) event.socket:send "first" end
    local ws, log = lunawire.WebSocket(host.url), {}
    ws:pause()
    ws.onopen = function() log[#log + 1] = "open" end
    ws.onmessage = function(event) log[#log + 1] = event.data end
    wire.await(function() return #log == 1 end)
    wire.settle()
    assert.same({ "open" }, log)
    ws:resume()
    wire.await(function() return #log == 2 end)
    assert.same({ "open", "first" }, log)
    host:close()
    ws:close()
  end)

  it("in onopen holds back what came with the 101", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    ws:addEventListener("open", function() ws:pause() end)
    server:open(nil, "\x81\x05Hello")
    wire.heard(log, "open")
    wire.settle()
    assert.same({ "open" }, log)
    ws:resume()
    wire.await(function() return #log == 2 end)
    assert.equal("text Hello", log[2])
  end)

  it("and resume may be said twice, and in every state", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    ws:pause()
    ws:resume()
    ws:resume()
    local peer = server:open()
    wire.heard(log, "open")
    ws:pause()
    ws:pause()
    ws:resume()
    peer:frame { "text", payload = "x" }
    wire.await(function() return #log == 2 end)
  end)

  it("lets the system push back on the peer", function()
    local ws, log, peer = opened(nil, { "open", "close" })
    local got = 0
    ws.onmessage = function(event) got = got + #event.data end
    ws:pause()
    local frame, sent = frames.build { "binary", payload = pattern(50000) }, 0
    while sent < 64 * 2 ^ 20 and peer.output == "" do
      peer:send(frame)
      sent = sent + 50000
      wire.turn(0)
    end
    assert.is_true(sent < 64 * 2 ^ 20, "the peer could send without end")
    wire.settle()
    assert.equal(0, got)
    ws:resume()
    wire.await(function() return got == sent end)
    assert.same({ "open" }, log)
  end)

  it("does not keep us from sending", function()
    local ws, _, peer = opened()
    ws:pause()
    ws:send "out"
    assert.equal("out", peer:next().payload)
    ws:resume()
  end)

  it("tells of a reset at once", function()
    local ws, log, peer = opened()
    ws:pause()
    peer:frame { "text", payload = "never seen" }
    wire.settle()
    peer:reset()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
    assert.equal(3, ws.readyState)
  end)

  it("tells of a reset at once that only our sending brought about", function()
    local ws, log, peer = opened()
    ws:pause()
    peer:frame { "text", payload = "never seen" }
    peer:close() -- the end first; a reset when something comes
    wire.settle()
    assert.same({ "open" }, log)
    for _ = 1, 3 do
      ws:send "are you there?"
      lunawire.flush()
    end
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
  end)

  it("tells of a reset at once that a write had met just before", function()
    local ws, log, peer = opened()
    peer:frame { "text", payload = "seen" }
    wire.await(function() return log[2] end)
    peer:close()
    ws:send "are you there?"
    lunawire.flush() -- a reset comes back
    ws:send "hello?"
    lunawire.flush() -- and is met
    ws:pause()
    wire.heard(log)
    assert.same({ "open", "text seen", "close 1006  unclean" }, log)
  end)

  it("keeps an end of stream, and what came before it, until resume", function()
    local ws, log, peer = opened()
    ws:pause()
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" })
    peer:shutdown()
    wire.settle(50)
    assert.same({ "open" }, log)
    assert.equal(1, ws.readyState)
    ws:resume()
    wire.heard(log)
    assert.same({ "open", "text 1", "text 2", "close 1006  unclean" }, log)
  end)

  it("keeps a Close, too", function()
    local ws, log, peer = opened()
    ws:pause()
    peer:frame { "text", payload = "1" }
    peer:closing(1001, "going")
    peer:shutdown()
    wire.settle(50)
    assert.equal(1, ws.readyState)
    ws:resume()
    wire.heard(log)
    assert.same({ "open", "text 1", "close 1001 going clean" }, log)
  end)

  it("waits for nothing while the peer has ended", function()
    local ws, log, peer = opened()
    ws:pause()
    peer:frame { "text", payload = "1" }
    peer:shutdown()
    wire.settle()
    local over, turns = false, 0
    lunawire.setTimeout(function() over = true end, 50)
    repeat
      lunawire.step(1000)
      turns = turns + 1
    until over
    assert.is_true(turns <= 3, turns .. " turns with nothing to do")
    ws:resume()
    wire.heard(log)
  end)

  it("is over with close(), which discards what was held back", function()
    local ws, log, peer = opened()
    ws:pause()
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" })
    wire.settle()
    ws:close(1000, "enough")
    local goodbye = peer:next()
    assert.same({ 8, "\3\232enough" }, { goodbye.opcode, goodbye.payload })
    peer:frame { "text", payload = "3" }
    peer:closing(1000, "enough")
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1000 enough clean" }, log)
  end)

  it("is over with close() in the handler that paused", function()
    local ws, log, peer = opened()
    ws:addEventListener("message", function()
      ws:pause()
      ws:close()
    end)
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" })
    assert.equal(8, peer:next().opcode)
    peer:closing()
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "text 1", "close 1005  clean" }, log)
  end)

  it("is over with terminate()", function()
    local ws, log = opened()
    ws:pause()
    ws:terminate "gone"
    wire.heard(log)
    assert.same({ "open", "close 1006 gone unclean" }, log)
  end)
end)
