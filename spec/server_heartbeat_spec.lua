-- The server's own heartbeat: every client is asked for a sign of life, judged by raw bytes.

local desk = require "spec.server_helper"
local lunawire = require "lunawire"
local system = require "system"
local wire = require "spec.wire"

local Server = lunawire.WebSocketServer

local PING = "\x89\x00" -- what a server's ping looks like on the wire: no mask, no payload

-- Turns the loop for so long, whatever happens; peers do not read by themselves meanwhile.
local function pass(ms)
  local deadline = lunawire.now() + ms
  while lunawire.now() < deadline do lunawire.step(deadline - lunawire.now()) end
end

-- Answers each ping that comes until so much time is over. Returns how many came.
local function answer(peer, ms)
  local deadline, pings = lunawire.now() + ms, 0
  while lunawire.now() < deadline do
    wire.turn(1)
    while peer.bytes:sub(1, 2) == PING do
      peer.bytes = peer.bytes:sub(3)
      pings = pings + 1
      peer:frame { "pong" }
    end
  end
  return pings
end

describe("a server's heartbeat", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("sends each client a ping when an interval is over, and again with each", function()
    local server, log = desk.serve { heartbeat = { interval = 60, timeout = 30 } }
    local one, two = desk.guest(server, log), desk.guest(server, log)
    local began = lunawire.now()
    assert.equal(PING, one:read(2))
    assert.is_true(lunawire.now() - began > 20)
    assert.equal(PING, two:read(2))
    one:frame { "pong" }
    two:frame { "pong" }
    assert.equal(PING, one:read(2))
    one:frame { "pong" }
    assert.is_true(answer(one, 150) >= 1)
  end)

  for name, times in pairs {
    ["shorter than the interval"] = { interval = 80, timeout = 40 },
    ["as long as the interval"] = { interval = 60, timeout = 60 },
    ["longer than the interval"] = { interval = 40, timeout = 80 },
  } do
    it("ends a client that gives no sign of life within a timeout " .. name, function()
      local server, log = desk.serve { heartbeat = times }
      local peer, socket = desk.guest(server, log)
      local last = socket.lastReceived
      peer.reading = false
      desk.heard(log, "close 1006 heartbeat timeout")
      local took = lunawire.now() - last
      assert.is_true(took >= times.interval + times.timeout - 1, "after " .. took .. " ms")
      assert.is_false(log.events[#log.events].wasClean)
      assert.equal(1, #server > 0 and 0 or 1)
    end)

    it("leaves a client alone that answers, with a timeout " .. name, function()
      local server, log = desk.serve { heartbeat = times }
      local peer = desk.guest(server, log)
      assert.is_true(answer(peer, 400) >= 3)
      assert.equal(1, #server)
      assert.is_nil(peer.ended)
    end)
  end

  it("takes any arriving bytes for life, even a part of a frame", function()
    local server, log = desk.serve { heartbeat = { interval = 40, timeout = 40 } }
    local peer = desk.guest(server, log)
    local frame = peer:build { "text", payload = ("x"):rep(30) }
    for i = 1, #frame do -- takes 360 ms, and is no whole frame until the end
      peer:send(frame:sub(i, i))
      pass(10)
    end
    desk.heard(log, "text x+")
    assert.equal(1, #server)
  end)

  it("reads what is here before it gives anybody up, however busy the handlers were", function()
    local server, log = desk.serve { heartbeat = { interval = 40, timeout = 40 } }
    local peer = desk.guest(server, log)
    assert.equal(PING, peer:read(2))
    local deadline = lunawire.now() + 200
    lunawire.setTimeout(function() -- a handler that takes longer than any deadline
      while lunawire.now() < deadline do end -- luacheck: ignore
      peer:frame { "pong" } -- and it comes in time, but nobody has read it
    end, 0)
    lunawire.step(10)
    pass(20)
    assert.equal(1, #server)
    assert.is_nil(log[2] and log[2]:match "close")
  end)

  it("counts what is taken of a full send buffer as life: a slow reader is alive", function()
    local server, log = desk.serve { heartbeat = { interval = 150, timeout = 150 } }
    local peer, socket = desk.guest(server, log)
    peer.reading = false
    socket:send(("x"):rep(15 * 1024 * 1024), "binary")
    local deadline = lunawire.now() + 900
    while lunawire.now() < deadline do
      peer.socket:receive() -- reads a little at a time, and says nothing
      pass(10)
    end
    assert.is_true(socket.bufferedAmount > 0) -- or this shows nothing
    assert.equal(1, #server)
    desk.heard(log, "close 1006 heartbeat timeout") -- now it reads nothing
  end)

  for _, when in ipairs { "before", "after" } do
    it("gives the whole timeout, though a handler was busy " .. when .. " the beat in the same turn", function()
      local server, log = desk.serve { heartbeat = { interval = 100, timeout = 100 } }
      local peer = desk.guest(server, log)
      desk.guest(server, log) -- in a broadcast one's output waits behind the other's
      local function busy(ms) -- and does not even ask the loop for the time
        local deadline = system.monotime() + ms / 1000
        while system.monotime() < deadline do end -- luacheck: ignore
      end
      local function reply()
        peer:move()
        if not peer.bytes:find(PING, 1, true) then return end
        peer.bytes = ""
        peer:frame { "pong" }
      end
      lunawire.setTimeout(busy, 50, 60) -- until 110: so that all that follows is of one turn
      lunawire.setTimeout(function() server:broadcast "news" end, 60)
      lunawire.setTimeout(function()
        busy(200)
        reply() -- as one in another process would have, if the ping has left
      end, when == "before" and 70 or 105)
      local function first() -- what became of the first client
        for i = 3, #log do
          if log.events[i].target == log.sockets[1] then return log[i]:match "^%a+" end
        end
      end
      local late = lunawire.now() + 1000
      while not first() and lunawire.now() < late do
        lunawire.step(5)
        if when == "before" then reply() end
      end
      assert.equal("pong", first())
    end)
  end

  it("counts as life what is taken of what fits the send buffer: its ping is behind that", function()
    local server, log = desk.serve { heartbeat = { interval = 200, timeout = 200 } }
    local peer, socket = desk.guest(server, log)
    peer.socket:buffers(262144, 262144)
    peer.reading = false
    socket:send(("x"):rep(2500000), "binary")
    lunawire.flush()
    local deadline, got = lunawire.now() + 700, 0
    while lunawire.now() < deadline do
      got = got + #(peer.socket:receive() or "")
      pass(20)
    end
    assert.equal(0, socket.bufferedAmount) -- the system holds it all
    assert.is_true(got < 2500000, got) -- or this shows nothing
    assert.equal(1, #server)
  end)

  it("finds a client whose system acknowledges, though nobody reads there any more", function()
    local server, log = desk.serve { heartbeat = { interval = 60, timeout = 60 } }
    local peer, socket = desk.guest(server, log)
    assert.equal(PING, peer:read(2))
    peer:frame { "pong" }
    desk.heard(log, "pong")
    peer.reading = false
    local began = lunawire.now()
    socket:send "is anybody there?"
    desk.heard(log, "close 1006 heartbeat timeout")
    assert.is_true(lunawire.now() - began < 1000)
  end)

  it("finds it, though the program pings it again and again", function()
    local server, log = desk.serve { heartbeat = { interval = 80, timeout = 60 } }
    local peer, socket = desk.guest(server, log)
    peer.reading = false
    local asking = lunawire.setInterval(function()
      socket:ping()
      socket:ping() -- with one before it that has not even left
    end, 20)
    local began = lunawire.now()
    desk.heard(log, "close 1006 heartbeat timeout")
    assert.is_true(lunawire.now() - began < 1000)
    asking:close()
  end)

  it("takes pings of the program's own for nothing but pings", function()
    local server, log = desk.serve { heartbeat = { interval = 100, timeout = 100 } }
    local peer, socket = desk.guest(server, log)
    peer.reading = false
    socket:send(("x"):rep(12 * 1024 * 1024), "binary")
    local asking = lunawire.setInterval(function() socket:ping() end, 2)
    local deadline = lunawire.now() + 500
    while lunawire.now() < deadline do -- a slow reader is alive
      peer.socket:receive()
      pass(5)
    end
    assert.is_true(socket.bufferedAmount > 0)
    assert.equal(1, #server)
    desk.heard(log, "close 1006 heartbeat timeout") -- one that reads no more is not
    asking:close()
  end)

  it("asks one that was let in late before it judges it", function()
    local server, log = desk.serve { heartbeat = { interval = 80, timeout = 40 } }
    function server.onupgrade(event)
      event:defer()
      lunawire.setTimeout(function() event:accept() end, 110)
    end
    local peer = desk.guest(server, log)
    assert.equal(PING, peer:read(2))
    peer:frame { "pong" }
    assert.equal(PING, peer:read(2))
    assert.equal(1, #server)
  end)

  it("looks after a newcomer in time, whatever it waits for with the others", function()
    local server, log = desk.serve { heartbeat = { interval = 50, timeout = 900 } }
    desk.guest(server, log)
    pass(120) -- the first is silent, and will be for a long time
    local peer = desk.guest(server, log)
    local began = lunawire.now()
    assert.equal(PING, peer:read(2))
    assert.is_true(lunawire.now() - began < 500)
  end)

  it("lets a socket be that is paused, and asks it again when it reads", function()
    local server, log = desk.serve { heartbeat = { interval = 40, timeout = 40 } }
    local peer, socket = desk.guest(server, log)
    socket:pause()
    assert.is_true(socket.isPaused)
    peer.reading = false
    pass(300)
    assert.equal(1, #server)
    socket:resume()
    assert.is_false(socket.isPaused)
    desk.heard(log, "close 1006 heartbeat timeout")
  end)

  for name, listen in pairs {
    ["its server's handler"] = function(server, _, fn) server.onpong = fn end,
    ["its own handler"] = function(_, socket, fn) socket.onpong = fn end,
    ["a listener"] = function(_, socket, fn) socket:addEventListener("pong", fn) end,
  } do
    it("lets a socket's pongs be heard by " .. name .. ", however late that comes", function()
      local server = desk.listen { heartbeat = { interval = 30, timeout = 3000 } }
      local socket, heard = nil, 0
      server.onconnection = function(event) socket = event.socket end
      local peer = wire.client(server.port)
      for expected = 0, 1 do
        assert.equal(PING, peer:read(2))
        peer:frame { "pong" }
        pass(10)
        assert.equal(expected, heard)
        listen(server, socket, function() heard = heard + 1 end)
      end
    end)
  end

  it("can be switched off", function()
    local server, log = desk.serve { heartbeat = false }
    local peer = desk.guest(server, log)
    wire.settle()
    assert.is_nil(lunawire.timeout()) -- nothing is waited for
    pass(50)
    wire.settle()
    assert.equal("", peer.bytes)
  end)

  it("is there by default, after 30 s, and keeps no run from ending", function()
    local server, log = desk.serve()
    desk.guest(server, log)
    wire.settle()
    assert.is_true(lunawire.timeout() > 5000 and lunawire.timeout() <= 30000)
    local other = desk.serve { heartbeat = true }
    assert.is_true(#other == 0)
  end)

  it("does not keep the run from ending once the server has closed", function()
    local server, log = desk.serve { heartbeat = { interval = 10, timeout = 10 } }
    local peer = desk.guest(server, log)
    server:close()
    peer:closing(1001)
    desk.leave(peer)
    local began = lunawire.now()
    assert.is_true(lunawire.run(5000))
    assert.is_true(lunawire.now() - began < 1000)
  end)

  it("looks after 300 clients with one timer, and loses none of them that answers", function()
    local server, log = desk.serve { heartbeat = { interval = 200, timeout = 150 } }
    local clients = {}
    for i = 1, 300 do
      clients[i] = lunawire.WebSocket(server.url)
      clients[i].onclose = function() end
    end
    wire.await(function() return #server == 300 end, "300 clients")
    pass(900)
    assert.equal(300, #server)
    for i = 1, 300 do clients[i]:close() end
    wire.await(function() return #server == 0 end, "their end")
    assert.is_nil(table.concat(log, "\n"):match "heartbeat timeout")
  end)

  it("has options that are checked", function()
    desk.raises("TypeError", 'WebSocketServer: heartbeat: unknown option "intervall" (did you mean "interval"?)',
      Server, { heartbeat = { intervall = 1 } })
    desk.raises("TypeError", 'heartbeat: option "timeout": 0 is not from 1', Server, { heartbeat = { timeout = 0 } })
    desk.raises("TypeError", "heartbeat: options: a table expected, got number", Server, { heartbeat = 30 })
    desk.raises("TypeError", 'option "interval": a number expected, got string', Server, { heartbeat = { interval = "1" } })
  end)
end)

describe("a capturing listener on a server's socket", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("looks on: the server's handlers still run for a socket that has none of its own", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    local seen = {}
    socket:addEventListener("message", function(event) seen[#seen + 1] = event.data end, true)
    peer:frame { "text", payload = "one" }
    desk.heard(log, "text one")
    assert.same({ "one" }, seen)
  end)

  it("may stop the event there", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    socket:addEventListener("message", function(event)
      if event.data == "secret" then event:stopImmediatePropagation() end
    end, { capture = true })
    peer:frame({ "text", payload = "secret" }, { "text", payload = "open" })
    desk.heard(log, "text open")
    assert.same({ "connection", "text open" }, log)
  end)

  for _, taken in ipairs { true, false } do
    it("that raises takes nothing from the server's handlers, " .. (taken and "with" or "without") .. " onerror", function()
      local server, log = desk.serve()
      local peer, socket = desk.guest(server, log)
      local errors, raised = {}, nil
      if taken then lunawire.onerror = function(err, source) errors[#errors + 1] = { err, source } end end
      socket:addEventListener("message", function() error("looked", 0) end, true)
      peer:frame { "text", payload = "x" }
      wire.await(function()
        local fine, err = pcall(lunawire.step, 1)
        if not fine then raised = err end
        return #log == 2
      end)
      assert.equal("text x", log[2])
      assert.same(taken and { { "looked", socket } } or {}, errors)
      assert.equal(not taken and "looked" or nil, raised)
    end)
  end

  it("beside a handler of its own changes nothing", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    local seen = {}
    socket:addEventListener("message", function() seen[#seen + 1] = "capture" end, true)
    socket.onmessage = function() seen[#seen + 1] = "own" end
    peer:frame { "text", payload = "x" }
    wire.await(function() return #seen == 2 end)
    assert.same({ "capture", "own" }, seen)
    assert.same({ "connection" }, log)
  end)
end)
