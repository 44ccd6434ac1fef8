-- Fair turns: of one connection at most 64 KiB or 64 messages before the next has its turn, and at most 1 MiB or 1024 of
-- them before others are looked for, whatever its peer floods us with. Turns are counted, never time: in each, a second
-- connection that has something to say is heard.

local blocks = require "spec.blocks"
local desk = require "spec.server_helper"
local frames = require "spec.frames"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local probe = require "lunawire.probe"
local system = require "system"
local wire = require "spec.wire"

local MESSAGES, BYTES = 64, 65536 -- of one connection before another has its turn; one more may be begun
local ALONE_MESSAGES, ALONE_BYTES = 1024, 1048576 -- in a turn
local READ = 65536 + 16384 + 512 -- so much comes in one turn at most: a read, and over TLS a record that was not whole
local KEY = "\0\0\0\0"

-- --- who floods, and who waits ----------------------------------------------------------------------

-- What a flooded connection of ours hears: count and bytes of its messages, of this turn and of all.
local function counter(socket)
  local count = { messages = 0, bytes = 0, all = 0, allBytes = 0 }
  socket.onmessage = function(event)
    count.messages, count.bytes = count.messages + 1, count.bytes + #event.data
    count.all, count.allBytes = count.all + 1, count.allBytes + #event.data
  end
  return count
end

-- Somebody else on a port of her own, who says something before every turn. Call: one turn, in which she is heard; what
-- the flooded one has heard by then is `waited`, of the worst turn.
local function neighbour(count)
  local server, log = desk.serve()
  local peer = desk.guest(server, log)
  local said, heard = 0, 0
  local turn = { messages = 0, bytes = 0, waitedMessages = 0, waitedBytes = 0 }
  server.onmessage = function()
    heard = heard + 1
    turn.waitedMessages = math.max(turn.waitedMessages, count.messages)
    turn.waitedBytes = math.max(turn.waitedBytes, count.bytes)
  end
  local word = peer:build { "text", payload = "me too" }
  function turn.take()
    said = said + 1
    count.messages, count.bytes = 0, 0
    peer:send(word)
    lunawire.step(0)
    assert(heard == said, "somebody else had no turn")
    turn.messages, turn.bytes = math.max(turn.messages, count.messages), math.max(turn.bytes, count.bytes)
  end
  return turn
end

-- Ways a peer of raw bytes meets an end of ours: call gives the peer, our socket, and how to make frames.
local WAYS = {}

function WAYS.server()
  local server, log = desk.serve { maxPayload = 2 ^ 24, maxFragments = 2 ^ 30, perMessageDeflate = true }
  local peer, socket = desk.guest(server, log, { ["Sec-WebSocket-Extensions"] = "permessage-deflate" })
  server.onping, server.onpong = nil, nil
  return peer, socket, KEY
end

function WAYS.client()
  local listener = wire.server()
  local socket = lunawire.WebSocket(listener.url, nil, { maxFragments = 2 ^ 30 })
  local peer = listener:open { ["Sec-WebSocket-Extensions"] = "permessage-deflate" }
  wire.await(function() return socket.readyState == 1 end, "open")
  return peer, socket, nil
end

local certs

local function pipe(arguments)
  local script = helper.quote(helper.root .. "/spec/peers/tls_pipe.py")
  local process = helper.peer(("exec %s %s %s"):format(helper.python(), script, arguments))
  desk.finally(function() process:stop() end)
  return tonumber(process:line())
end

WAYS["server over TLS"] = function()
  local server, log = desk.serve { maxPayload = 2 ^ 24, maxFragments = 2 ^ 30, perMessageDeflate = true,
    tls = { cert = certs:cert "good", key = certs:key "good" } }
  local peer = wire.client(pipe("connect " .. server.port), { ["Sec-WebSocket-Extensions"] = "permessage-deflate" })
  server.onping, server.onpong = nil, nil
  return peer, wire.await(function() return log.sockets[1] end, "a connection"), KEY
end

WAYS["client over TLS"] = function()
  local listener = wire.server()
  local port = pipe(("listen %d %s %s"):format(listener.port, helper.quote(certs:cert "good"), helper.quote(certs:key "good")))
  local socket = lunawire.WebSocket(("wss://127.0.0.1:%d/"):format(port), nil, { maxFragments = 2 ^ 30,
    tls = { ca = certs:cert "root" } })
  local peer = listener:open { ["Sec-WebSocket-Extensions"] = "permessage-deflate" }
  wire.await(function() return socket.readyState == 1 end, "open")
  return peer, socket, nil
end

local ORDER = { "server", "client", "server over TLS", "client over TLS" }

-- --- floods -------------------------------------------------------------------------------------------

describe("a flood, of which there are many kinds: #foreign #slow", function()
  setup(function() certs = pki.new() end)
  teardown(function() certs:close() end)
  before_each(desk.open)
  after_each(desk.clear)

  for _, way in ipairs(ORDER) do
    -- Floods with these bytes, and turns until `done`, beside a neighbour. Returns how many turns, and their extremes.
    local function flood(peer, socket, count, bytes, done)
      local turn, n, deadline = neighbour(count), 0, lunawire.now() + 60000
      peer.output = bytes
      while not done() do
        local received = socket.lastReceived
        peer:move()
        turn.take()
        n = n + 1
        if socket.lastReceived == received and lunawire.timeout() ~= 0 then system.sleep(0.0005) end -- it is on its way
        assert(lunawire.now() < deadline, "waited in vain for the end of the flood")
      end
      return n, turn
    end

    it("tiny messages to a " .. way, function()
      local peer, socket, key = WAYS[way]()
      local count = counter(socket)
      local bytes = frames.build({ "text", payload = "x", key = key }):rep(20000)
      local n, turn = flood(peer, socket, count, bytes, function() return count.all == 20000 end)
      assert.equal(MESSAGES, turn.waitedMessages)
      assert.is_true(turn.messages <= ALONE_MESSAGES, turn.messages .. " in a turn")
      assert.is_true(n >= 20000 / ALONE_MESSAGES, n .. " turns")
    end)

    it("messages of 10 KB to a " .. way, function()
      local peer, socket, key = WAYS[way]()
      local count = counter(socket)
      local bytes = frames.build({ "binary", payload = ("x"):rep(10000), key = key }):rep(300)
      local _, turn = flood(peer, socket, count, bytes, function() return count.all == 300 end)
      assert.is_true(turn.waitedBytes < BYTES + 10000, turn.waitedBytes .. " bytes before another's turn")
      assert.is_true(turn.bytes > 0 and turn.bytes < READ + 10000, turn.bytes .. " bytes in a turn")
    end)

    it("messages that are small on the wire and large within, to a " .. way, function()
      local peer, socket, key = WAYS[way]()
      local count = counter(socket)
      local bytes = frames.build({ "binary", rsv = 4, payload = blocks.zeros(100), key = key }):rep(200)
      local n, turn = flood(peer, socket, count, bytes, function() return count.all == 200 end)
      assert.equal(1, turn.waitedMessages) -- each is more than a share
      assert.is_true(turn.bytes > BYTES and turn.bytes < ALONE_BYTES + 250000, turn.bytes .. " bytes in a turn")
      assert.is_true(n >= count.allBytes // (ALONE_BYTES + 250000), n .. " turns")
    end)

    for _, kind in ipairs { "ping", "pong" } do
      it(("%ss that nobody listens for, to a %s"):format(kind, way), function()
        local peer, socket, key = WAYS[way]()
        local count = counter(socket)
        peer.keeping = false
        local bytes = frames.build({ kind, key = key }):rep(200000) .. frames.build { "text", payload = "over", key = key }
        local n = flood(peer, socket, count, bytes, function() return count.all == 1 end)
        assert.is_true(n >= 200000 / ALONE_MESSAGES, n .. " turns")
        assert.equal(1, socket.readyState)
      end)
    end

    -- A million empty fragments tell nothing, so nothing is counted but their bytes: a read's in each turn.
    for _, row in ipairs { { "empty fragments", "" }, { "fragments of a byte", "x" } } do
      it(("a million %s to a %s"):format(row[1], way), function()
        local peer, socket, key = WAYS[way]()
        local count = counter(socket)
        local fragment = frames.build { "continuation", payload = row[2], fin = false, key = key }
        local bytes = frames.build { "binary", fin = false, key = key } .. fragment:rep(1000000)
          .. frames.build { "continuation", key = key }
        local n = flood(peer, socket, count, bytes, function() return count.all == 1 end)
        assert.is_true(n >= #bytes // READ, n .. " turns")
        assert.equal(1000000 * #row[2], count.allBytes)
      end)
    end

    it("messages behind our Close, which nobody hears any more, to a " .. way, function()
      local peer, socket, key = WAYS[way]()
      local count, over = counter(socket), false
      local bytes = frames.build({ "binary", payload = "x", key = key }):rep(300000)
      socket.onping = function() over = true end
      socket:close(1000)
      local n = flood(peer, socket, count, bytes .. frames.build { "ping", key = key }, function() return over end)
      assert.is_true(n >= #bytes // READ, n .. " turns")
      assert.same({ 2, 0 }, { socket.readyState, count.all })
    end)
  end
end)

describe("a request that is refused", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("and goes on for ten megabytes is drained a read in each turn, and in between others have theirs", function()
    local server = desk.serve()
    local turn = neighbour { messages = 0, bytes = 0 }
    local before, bytes, n = probe.sys.descriptors(), "GET / HTTP/1.1\r\nX: " .. ("y"):rep(10000000), 0
    local fd = assert(probe.sys.connect(server.port))
    desk.finally(function() probe.sys.close(fd) end)
    local at = 1
    repeat
      at = at + (probe.sys.send(fd, bytes:sub(at, at + 999999)) or 0)
      turn.take()
      n = n + 1
    until at > #bytes
    probe.sys.shutdown(fd)
    repeat
      turn.take()
      n = n + 1
      assert(n < 100000, "it is never drained")
    until probe.sys.descriptors() == before + 1 -- ours is the one
    assert.is_true(n >= #bytes // READ, n .. " turns")
    assert.matches("^HTTP/1.1 431 ", probe.sys.read(fd))
  end)
end)

describe("a crowd", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("is let in 64 at a time, and in between others have their turn", function()
    local server, log = desk.serve { backlog = 400 }
    local turn = neighbour { messages = 0, bytes = 0 }
    local crowd = {}
    for i = 1, 200 do
      crowd[i] = wire.connect(server.port)
      crowd[i].socket:send(wire.upgrade())
    end
    local before, most, n = probe.sys.descriptors(), 0, 0
    while #log < 200 do
      turn.take()
      local now = probe.sys.descriptors()
      most, before, n = math.max(most, now - before), now, n + 1
      assert(n < 10000, "they do not come in")
    end
    assert.equal(64, most)
    for _, peer in ipairs(crowd) do assert.equal(101, peer:head().status) end
  end)
end)
