-- lunawire.heartbeat, on a client and on a server's socket, judged by raw bytes and by npm's ws.
-- What a network does to it is in torture/heartbeat_spec.lua.

local desk = require "spec.server_helper"
local foreign = require "spec.foreign"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local heartbeat = lunawire.heartbeat

local DEAD = "close 1006 heartbeat timeout unclean"

-- Turns the loop for so long, whatever happens; peers that are not read do not read meanwhile.
local function pass(ms)
  local deadline = lunawire.now() + ms
  while lunawire.now() < deadline do wire.turn(math.min(deadline - lunawire.now(), 5)) end
end

-- The next beat a peer gets is this frame.
local function isBeat(peer, kind, payload)
  local frame = peer:next()
  assert.same({ kind, payload or "" }, { frame and frame.opcode, frame and frame.payload })
  return lunawire.now()
end

local PING, TEXT = 9, 1

-- A socket of ours that is open, with a log of what it hears, and the raw peer at its other end.
local sides = {
  client = function()
    local server = wire.server()
    local ws = lunawire.WebSocket(server.url)
    local log = wire.record(ws, { "message", "error", "close" })
    local peer = server:open()
    wire.await(function() return ws.readyState == 1 end)
    return ws, log, peer
  end,
  ["server's socket"] = function()
    local server, log = desk.serve { heartbeat = false }
    server.onpong = nil
    local peer, socket = desk.guest(server, log)
    table.remove(log) -- "connection"
    return socket, log, peer -- its handlers are the server's
  end,
}

for name, open in pairs(sides) do
  describe("a heartbeat on a " .. name, function()
    before_each(desk.open)
    after_each(desk.clear)

    it("is a ping when an interval is over, and again with each", function()
      local ws, log, peer = open()
      local began = lunawire.now()
      heartbeat(ws, { interval = 60, timeout = 3000 })
      for i = 1, 3 do
        local at = isBeat(peer, PING)
        assert.is_true(at - began > 60 * i - 1, ("beat %d after %.1f ms"):format(i, at - began))
        peer:frame { "pong" }
      end
      assert.is_true(lunawire.now() - began < 1500)
      assert.equal("", peer.bytes)
      assert.same({}, log)
    end)

    it("ends a connection that gives no sign of life within the timeout", function()
      local ws, log, peer = open()
      local began = lunawire.now()
      heartbeat(ws, { interval = 60, timeout = 30 })
      wire.await(function() return #log > 0 end)
      local took = lunawire.now() - began
      assert.is_true(took > 89 and took < 1000, "after " .. took .. " ms")
      assert.same({ DEAD }, log)
      assert.equal(3, ws.readyState)
      local _, bytes = peer:finish()
      assert.matches("^\x89\x00$", (bytes:gsub("^\x89\x80....$", "\x89\x00"))) -- one ping, masked or not, and no Close frame
    end)

    for words, times in pairs {
      ["shorter than the interval"] = { interval = 200, timeout = 100 },
      ["as long as the interval"] = { interval = 160, timeout = 160 },
      ["longer than the interval"] = { interval = 150, timeout = 230 },
    } do
      -- A beat that was answered held up the next one until its deadline, so that it took one interval more: each time,
      -- while a busy machine takes longer now and then.
      it("knows within interval + timeout, with a timeout " .. words .. " #slow", function()
        local took
        for _ = 1, 5 do
          local ws, log, peer = open()
          heartbeat(ws, times)
          isBeat(peer, PING)
          peer:frame { "pong" }
          wire.settle()
          local last = ws.lastReceived
          wire.await(function() return #log > 0 end)
          took = lunawire.now() - last
          assert.same({ DEAD }, log)
          if took < times.interval + times.timeout + 100 then return end
        end
        error(("after %g ms, and four times before"):format(took))
      end)
    end

    it("takes any arriving bytes for life, even a part of a frame", function()
      local ws, log, peer = open()
      heartbeat(ws, { interval = 40, timeout = 40 })
      local frame = peer:build { "text", payload = ("x"):rep(30) }
      for i = 1, #frame do -- takes more than 300 ms, and is no whole frame until the end
        peer:send(frame:sub(i, i))
        pass(10)
      end
      assert.same({ "text " .. ("x"):rep(30) }, log)
      wire.await(function() return #log == 2 end) -- and silence is its end
      assert.matches("^close 1006 heartbeat timeout", log[2])
    end)

    it("knows the latency of the last beat that was answered", function()
      local ws, _, peer = open()
      local beat = heartbeat(ws, { interval = 30, timeout = 3000 })
      assert.is_nil(beat.latency)
      for _, wait in ipairs { 60, 5 } do
        local before = beat.latency
        local at = isBeat(peer, PING)
        while lunawire.now() < at + wait do end -- luacheck: ignore
        assert.equal(before, beat.latency)
        peer:frame { "pong" }
        wire.await(function() return beat.latency ~= before end)
        assert.is_true(beat.latency >= wait - 1 and beat.latency < wait + 1000, tostring(beat.latency))
      end
    end)

    it("stops when it is told to, and leaves the connection alone", function()
      local ws, log, peer = open()
      local beat = heartbeat(ws, { interval = 20, timeout = 40 })
      isBeat(peer, PING) -- whose deadline is pending
      beat:stop()
      beat:stop()
      wire.settle()
      peer.bytes = ""
      pass(150)
      assert.equal("", peer.bytes)
      peer:frame { "text", payload = "still here" }
      wire.await(function() return #log > 0 end)
      assert.same({ "text still here" }, log)
    end)

    it("stops at the end of a variable that is to be closed", function()
      local ws, _, peer = open()
      do
        local beat <close> = heartbeat(ws, { interval = 20, timeout = 40 })
        assert.is_nil(beat.latency)
      end
      pass(100)
      assert.equal("", peer.bytes)
    end)

    it("rests while the socket is paused, and goes on when it reads again", function()
      local ws, log, peer = open()
      heartbeat(ws, { interval = 30, timeout = 30 })
      isBeat(peer, PING)
      ws:pause()
      pass(200)
      assert.same({}, log)
      assert.equal("", peer.bytes)
      ws:resume()
      isBeat(peer, PING)
      wire.await(function() return #log > 0 end)
      assert.same({ DEAD }, log)
    end)

    it("reads what is here before it gives anybody up, however busy the handlers were", function()
      local ws, log, peer = open()
      heartbeat(ws, { interval = 40, timeout = 40 })
      for _ = 1, 3 do
        isBeat(peer, PING)
        lunawire.setTimeout(function() -- takes longer than any deadline
          local deadline = lunawire.now() + 150
          while lunawire.now() < deadline do end -- luacheck: ignore
          peer:frame { "pong" } -- it comes, but nobody has read it
        end, 0)
        lunawire.step(10)
        wire.settle()
      end
      assert.same({}, log)
      wire.await(function() return #log > 0 end) -- and it does end once nothing comes
      assert.same({ DEAD }, log)
    end)

    it("does not give up a slow reader of much, but one that has stopped #slow", function()
      local ws, log, peer = open()
      peer.reading = false
      heartbeat(ws, { interval = 200, timeout = 200 })
      ws:send(("x"):rep(15 * 1024 * 1024), "binary")
      local deadline = lunawire.now() + 1200
      while lunawire.now() < deadline do
        peer.socket:receive() -- 64 KiB at a time, and says nothing
        -- (a full window opens again only when a sixteenth of the buffer is free: some 60 ms here)
        pass(10)
      end
      assert.is_true(ws.bufferedAmount > 0) -- or this shows nothing
      assert.same({}, log)
      wire.await(function() return #log > 0 end)
      assert.same({ DEAD }, log)
    end)

    describe("of text", function()
      it("sends its message, and delivers everything but the replies", function()
        local ws, log, peer = open()
        local beat = heartbeat(ws, { interval = 30, timeout = 3000, message = "ping" })
        for _ = 1, 2 do
          isBeat(peer, TEXT, "ping")
          peer:frame({ "text", payload = "pong" }, { "text", payload = "pongs" })
        end
        peer:frame({ "binary", payload = "pong" }, { "text", payload = "ping" }, { "text", payload = "" })
        wire.await(function() return #log >= 5 end)
        assert.same({ "text pongs", "text pongs", "binary pong", "text ping", "text " }, log)
        assert.is_true(beat.latency >= 0 and beat.latency < 1000)
      end)

      it("takes a reply that was made up of fragments", function()
        local ws, log, peer = open()
        heartbeat(ws, { interval = 30, timeout = 3000, message = "ping" })
        isBeat(peer, TEXT, "ping")
        peer:frame({ "text", payload = "po", fin = false }, { "continuation", payload = "ng" }, { "text", payload = "x" })
        wire.await(function() return #log > 0 end)
        assert.same({ "text x" }, log)
      end)

      it("knows another reply by its text", function()
        local ws, log, peer = open()
        heartbeat(ws, { interval = 30, timeout = 3000, message = '{"op":1}', reply = '{"op":11}' })
        isBeat(peer, TEXT, '{"op":1}')
        peer:frame({ "text", payload = '{"op":11}' }, { "text", payload = "pong" })
        wire.await(function() return #log > 0 end)
        assert.same({ "text pong" }, log)
      end)

      it("knows a reply by a function", function()
        local ws, log, peer = open()
        local asked = {}
        local beat = heartbeat(ws, {
          interval = 30, timeout = 3000, message = "are you there?",
          reply = function(text)
            asked[#asked + 1] = text
            return text:match "^yes"
          end,
        })
        isBeat(peer, TEXT, "are you there?")
        peer:frame({ "text", payload = "yes 1" }, { "text", payload = "no" }, { "binary", payload = "yes 2" })
        wire.await(function() return #log == 2 end)
        assert.same({ "text no", "binary yes 2" }, log)
        assert.same({ "yes 1", "no" }, asked)
        assert.is_number(beat.latency)
      end)

      it("without a reply to know delivers everything, and all of it is life", function()
        local ws, log, peer = open()
        local beat = heartbeat(ws, { interval = 60, timeout = 60, message = "hello" })
        for _ = 1, 3 do
          isBeat(peer, TEXT, "hello")
          peer:frame { "text", payload = "pong" }
        end
        wire.await(function() return #log >= 3 end)
        assert.same({ "text pong", "text pong", "text pong" }, log)
        assert.is_nil(beat.latency)
      end)

      it("ends a connection that does not answer", function()
        local ws, log, peer = open()
        heartbeat(ws, { interval = 30, timeout = 30, message = "ping" })
        isBeat(peer, TEXT, "ping")
        wire.await(function() return #log > 0 end)
        assert.same({ DEAD }, log)
      end)

      it("hands replies on again once it has stopped", function()
        local ws, log, peer = open()
        local beat = heartbeat(ws, { interval = 20, timeout = 3000, message = "ping" })
        isBeat(peer, TEXT, "ping")
        beat:stop()
        peer:frame { "text", payload = "pong" }
        wire.await(function() return #log > 0 end)
        assert.same({ "text pong" }, log)
      end)
    end)

    it("stands beside another one, each with its own times and its own latency", function()
      local ws, log, peer = open()
      local pings = heartbeat(ws, { interval = 35, timeout = 3000 })
      local texts = heartbeat(ws, { interval = 50, timeout = 3000, message = "ping" })
      local seen = { [PING] = 0, [TEXT] = 0 }
      while seen[PING] < 3 or seen[TEXT] < 3 do
        local frame = peer:next()
        seen[frame.opcode] = seen[frame.opcode] + 1
        peer:frame(frame.opcode == PING and { "pong" } or { "text", payload = "pong" })
      end
      wire.await(function() return pings.latency and texts.latency end)
      pings:stop()
      wire.settle()
      peer.bytes = ""
      isBeat(peer, TEXT, "ping")
      peer:frame { "text", payload = "pong" }
      isBeat(peer, TEXT, "ping")
      assert.same({}, log)
    end)

    it("ends with the socket, and keeps no run from ending", function()
      local ws, log, peer = open()
      local beat = heartbeat(ws, { interval = 10, timeout = 10000 })
      isBeat(peer, PING)
      peer:close()
      wire.await(function() return #log > 0 end)
      beat:stop() -- nothing more, and no mistake
      if name == "client" then
        local began = lunawire.now()
        assert.is_true(lunawire.run(5000))
        assert.is_true(lunawire.now() - began < 1000)
      end
      assert.equal(3, heartbeat(ws).ws.readyState) -- on one that is closed: nothing
    end)
  end)
end

describe("a heartbeat", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("given to a socket that still connects begins when it is open", function()
    local server = wire.server()
    local ws = lunawire.WebSocket(server.url)
    local log = wire.record(ws)
    heartbeat(ws, { interval = 40, timeout = 40 })
    local peer = server:asked()
    pass(150) -- longer than any deadline
    assert.same({}, log)
    peer:send(wire.switch(peer.request.headers["sec-websocket-key"]))
    wire.heard(log, "open")
    local opened = lunawire.now()
    assert.is_true(isBeat(peer, PING) - opened > 30)
    wire.heard(log)
    assert.same({ "open", DEAD }, log)
  end)

  it("of a socket that never opens keeps no run from ending", function()
    local server = wire.server()
    local port = server.port
    server:close()
    heartbeat(lunawire.WebSocket(("ws://127.0.0.1:%d/"):format(port)), { interval = 10 })
    assert.is_true(lunawire.run(3000))
  end)

  it("says nothing while the socket closes", function()
    local server = wire.server()
    local ws = lunawire.WebSocket(server.url, nil, { closeTimeout = 150 })
    local log = wire.record(ws)
    local peer = server:open()
    wire.heard(log, "open")
    heartbeat(ws, { interval = 20, timeout = 20 })
    ws:close(1000)
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log) -- of its own deadline
    assert.equal("\x88\x82", peer.bytes:sub(1, 2)) -- the Close frame
    assert.equal(8, #peer.bytes)                   -- and nothing else
  end)

  it("has options that are checked", function()
    local ws = sides.client()
    local function refuses(words, options)
      desk.raises("TypeError", words, heartbeat, ws, options)
    end
    refuses("heartbeat: options: a table expected, got number", 1000)
    refuses('heartbeat: unknown option "intervall" (did you mean "interval"?)', { intervall = 1 })
    refuses('heartbeat: unknown option "onpong" (handlers are set on what heartbeat returns)', { onpong = print })
    refuses('heartbeat: option "interval": milliseconds over 0 expected, got 0', { interval = 0 })
    refuses('heartbeat: option "timeout": milliseconds over 0 expected, got "1"', { timeout = "1" })
    refuses('heartbeat: option "message": a string expected, got boolean', { message = true })
    refuses('heartbeat: option "reply": a string or a function expected, got 1', { message = "ping", reply = 1 })
    refuses("UTF-8", { message = "\255" })
    desk.raises("TypeError", "heartbeat: a WebSocket expected, got nil", heartbeat)
    desk.raises("TypeError", "heartbeat: a WebSocket expected, got string", heartbeat, "ws://127.0.0.1/")
    desk.raises("TypeError", "heartbeat: unknown option", lunawire.ReconnectingWebSocket, "ws://127.0.0.1:1/", nil,
      { heartbeat = { every = 1 } })
  end)

  it("is there without being asked for on a ReconnectingWebSocket, which comes back", function()
    local server = wire.server()
    local ws = lunawire.ReconnectingWebSocket(server.url, nil,
      { minDelay = 20, heartbeat = { interval = 40, timeout = 40, message = "ping" } })
    desk.finally(function() ws:close() end)
    local log = wire.record(ws, { "open", "message", "close", "reconnecting" })
    local peer = server:open()
    for _ = 1, 3 do
      isBeat(peer, TEXT, "ping")
      peer:frame({ "text", payload = "pong" }, { "text", payload = "news" })
    end
    local _, rest = peer:finish() -- no answer, and it is given up
    assert.equal(0, #rest % 10) -- "ping", masked, once or more, and no Close frame
    for at = 1, #rest, 10 do assert.equal("\x81\x84", rest:sub(at, at + 1)) end
    peer = server:open()
    isBeat(peer, TEXT, "ping")
    assert.same({ "open", "text news", "text news", "text news", DEAD, "reconnecting", "open" }, log)
    ws:close()
    peer:closing(1000)
    peer:close()
    assert.is_true(lunawire.run(3000))
  end)

  it("may be put on a ReconnectingWebSocket, whose every connection it serves", function()
    local server = wire.server()
    local ws = lunawire.ReconnectingWebSocket(server.url, nil, { minDelay = 20, heartbeat = false })
    desk.finally(function() ws:close() end)
    local log = wire.record(ws, { "open", "message", "close" })
    local beat = heartbeat(ws, { interval = 40, timeout = 40 })
    for _ = 1, 2 do
      local peer = server:open()
      wire.await(function() return ws.readyState == 1 end)
      local opened = lunawire.now()
      assert.is_true(isBeat(peer, PING) - opened > 35) -- an interval after it opened, whenever the last one beat
      peer:frame { "pong" }
      isBeat(peer, PING)
      peer:finish()
    end
    wire.await(function() return #log == 4 end)
    assert.same({ "open", DEAD, "open", DEAD }, log)
    assert.is_number(beat.latency)
    ws:close()
    wire.clear()
    assert.is_true(lunawire.run(3000))
  end)
end)

describe("a heartbeat and npm's ws #foreign", function()
  local peer, server

  setup(function()
    peer = foreign.node "ws.js"
    server = peer:ask "listen"
  end)
  teardown(function() peer:stop() end)
  before_each(desk.open)
  after_each(desk.clear)

  local function connect(target)
    local ws = lunawire.WebSocket(("ws://127.0.0.1:%d/%s"):format(server.port, target))
    local log = wire.record(ws)
    wire.heard(log, "open")
    return ws, log
  end

  it("is answered by its server: pings by themselves, texts by an echo", function()
    for _, message in ipairs { false, "ping" } do
      local ws, log = connect "echo?id=beats"
      local beat = heartbeat(ws, { interval = 30, timeout = 1000, message = message or nil, reply = message or nil })
      local latencies, last = 0, nil
      wire.await(function()
        if beat.latency ~= last then latencies, last = latencies + 1, beat.latency end
        return latencies == 4
      end)
      ws:send "hello"
      wire.await(function() return #log == 2 end)
      ws:close(1000)
      wire.heard(log)
      assert.same({ "open", "text hello", "close 1000  clean" }, log)
    end
  end)

  it("is answered by its client", function()
    local ours, log = desk.serve { heartbeat = { interval = 30, timeout = 1000 } }
    local answer = peer:begin("closed", { url = ours.url, target = "" })
    desk.heard(log, "pong", 3)
    local beat = heartbeat(log.sockets[1], { interval = 30, timeout = 1000 })
    wire.await(function() return beat.latency end)
    ours:close(1001)
    assert.same({ code = 1001, reason = "", wasClean = true }, answer())
  end)

  it("finds out that it stands still", function()
    local ws, log = connect "idle?id=still"
    heartbeat(ws, { interval = 50, timeout = 200 })
    pass(300)
    peer.process:suspend()
    local began = lunawire.now()
    wire.heard(log)
    local took = lunawire.now() - began
    peer.process:resume()
    assert.same({ "open", DEAD }, log)
    assert.is_true(took > 149 and took < 350, "after " .. took .. " ms")
  end)
end)
