-- conn: its deadlines. The sockets are real, the clock stands still unless a spec moves it, so
-- that half a minute is over in a moment. All else about connections is judged through floor 4.

local desk = require "spec.system_helper"
local frames = require "spec.frames"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

local sys = probe.sys

local function ns(seconds) return math.floor(seconds * 1e9 + 0.5) end

local function add(heard, turn)
  for _, words in ipairs(turn) do heard[#heard + 1] = words end
end

-- Lets so many seconds go by. Everything that is heard meanwhile.
local function pass(conn, seconds)
  local heard, till = {}, sys.clock() + ns(seconds)
  repeat add(heard, assert(conn:turn(till - sys.clock()))) until sys.clock() >= till
  return heard
end

-- The peer says this, and it has arrived. Everything that is heard then.
local function say(conn, peer, bytes)
  local heard = {}
  assert.equal(#bytes, sys.write(peer, bytes))
  desk.await(function()
    add(heard, assert(conn:turn()))
    return conn:received() == sys.clock()
  end)
  return heard
end

-- The peer says a byte a second from now on, until something is heard. That, and how long it took.
local function dribble(conn, peer, bytes)
  local start = sys.clock()
  for byte in bytes:gmatch "." do
    local heard = say(conn, peer, byte)
    add(heard, pass(conn, 1))
    if #heard > 0 then return heard, (sys.clock() - start) / 1e9 end
  end
end

-- Reads all there is, n bytes at most.
local function take(peer, n)
  local parts, size = {}, 0
  while size < (n or math.huge) do
    local bytes = sys.read(peer)
    if not bytes or bytes == "" then break end
    parts[#parts + 1] = bytes
    size = size + #bytes
  end
  return table.concat(parts)
end

-- A server's guest and its peer, a descriptor.
local function guest(options)
  local near, far = sys.pair()
  options = options or {}
  options.fd = near
  return desk.keep(assert(probe.conn(options))), desk.fd(far)
end

local function opened(options)
  local conn, peer = guest(options)
  assert.same({ "request" }, say(conn, peer, wire.upgrade()))
  assert.is_true(conn:accept())
  assert.same({ "open" }, pass(conn, 0.001))
  assert.matches("^HTTP/1.1 101 ", take(peer))
  return conn, peer
end

describe("a new connection", function()
  before_each(desk.open)
  after_each(desk.clear)

  for _, deflate in ipairs { false, true } do
    it("needs memory, and says so" .. (deflate and ", with compression, too" or ""), function()
      for allowed = 0, 20 do
        probe.starve(allowed)
        local conn, err = probe.conn { url = "ws://127.0.0.1:9/", deflate = deflate }
        probe.starve()
        if conn then
          conn:free()
          return assert.is_true(allowed > 2, allowed)
        end
        assert.equal("MEMORY", err)
      end
      error "it never had enough"
    end)
  end
end)

local function close_frame(code)
  return frames.build { "close", payload = frames.closing(code), key = "\x37\xfa\x21\x3d" }
end

-- A client of a name, and what gives its peer, a descriptor, once it has asked; and the key.
local function client(options)
  local listener = desk.fd((assert(probe.listen {})))
  local _, port = sys.name(listener)
  sys.hosts { ["some.where"] = "127.0.0.1" }
  options = options or {}
  options.url = ("ws://some.where:%d/"):format(port)
  local conn = desk.keep(assert(probe.conn(options)))
  return conn, function()
    local request = ""
    local peer = desk.fd(desk.await(function()
      assert.same({}, conn:turn())
      return (probe.accept(listener))
    end))
    desk.await(function()
      assert.same({}, conn:turn())
      request = request .. take(peer)
      return request:match "\r\n\r\n$"
    end)
    return peer, request:match "Sec%-WebSocket%-Key: (%S+)"
  end
end

local function frozen()
  desk.open()
  sys.clock(ns(1000))
end

local expired = { "failed TIMEOUT", "ended 1006 unclean" }

describe("handshakeTimeout of a guest", function()
  before_each(frozen)
  after_each(desk.clear)

  it("ends who says nothing", function()
    local conn = guest { handshakeTimeout = ns(10) }
    assert.same({}, pass(conn, 9.999))
    assert.same(expired, pass(conn, 0.001))
  end)

  it("is not extended by dribble", function()
    local conn, peer = guest { handshakeTimeout = ns(10) }
    local heard, took = dribble(conn, peer, wire.upgrade())
    assert.same(expired, heard)
    assert.equal(10, took)
  end)

  it("is for the answer, too", function()
    local conn, peer = guest { handshakeTimeout = ns(10) }
    assert.same({}, pass(conn, 6))
    assert.same({ "request" }, say(conn, peer, wire.upgrade()))
    assert.same({}, pass(conn, 3.999))
    assert.same(expired, pass(conn, 0.001))
  end)

  it("is over once the connection is open, and there is no other", function()
    local conn = opened { handshakeTimeout = ns(10) }
    assert.same({}, pass(conn, 86400))
  end)
end)

describe("handshakeTimeout of a client", function()
  before_each(frozen)
  after_each(desk.clear)

  it("ends a lookup that takes too long", function()
    sys.gate "shut"
    local conn = client { handshakeTimeout = ns(10) }
    assert.same({}, pass(conn, 9.999))
    assert.same(expired, pass(conn, 0.001))
  end)

  it("is one for lookup, connecting and response, and not extended by dribble", function()
    sys.gate "shut"
    local conn, asked = client { handshakeTimeout = ns(10) }
    assert.same({}, pass(conn, 4))
    sys.gate "open"
    local peer, key = asked()
    local heard, took = dribble(conn, peer, wire.switch(key))
    assert.same(expired, heard)
    assert.equal(6, took)
  end)

  it("is not over when the next address is tried, and ends whatever is under way", function()
    local port
    for _, address in ipairs { "127.0.0.1", "127.0.0.2", "127.0.0.3" } do -- whose queues are full: nobody answers
      local fd, _, bound = assert(probe.listen { host = address, port = port, backlog = 1 })
      desk.fd(fd)
      for _ = 1, 2 do desk.fd(assert(sys.connect(bound, address))) end
      port = bound
    end
    sys.hosts { ["some.where"] = "127.0.0.1,127.0.0.2,127.0.0.3" }
    local conn = desk.keep(assert(probe.conn { url = ("ws://some.where:%d/"):format(port), handshakeTimeout = ns(0.6) }))
    desk.await(function()
      assert.same({}, conn:turn())
      return #sys.dialled() == 1
    end)
    local before = sys.descriptors()
    assert.same({}, pass(conn, 0.25))
    assert.equal(2, #sys.dialled())
    assert.same({}, pass(conn, 0.25))
    assert.equal(3, #sys.dialled())
    assert.equal(before + 2, sys.descriptors())
    assert.same({}, pass(conn, 0.099))
    assert.same(expired, pass(conn, 0.001))
    assert.equal(before - 1, sys.descriptors())
  end)

  it("ends who waits for room at a Unix socket", function()
    local path = desk.path()
    desk.fd((assert(probe.listen { path = path, backlog = 1 })))
    for _ = 1, 2 do desk.fd(assert(sys.connect(path))) end
    local before = sys.descriptors()
    local conn = desk.keep(assert(probe.conn { url = "ws+unix:" .. path, handshakeTimeout = ns(1) }))
    assert.same({}, pass(conn, 0.999))
    assert.equal(50, #sys.dialled())
    assert.same(expired, pass(conn, 0.001))
    conn:free()
    assert.equal(before, sys.descriptors())
  end)

  it("is over once the connection is open", function()
    local conn, asked = client { handshakeTimeout = ns(10) }
    local peer, key = asked()
    assert.same({}, pass(conn, 9.999))
    assert.same({ "open" }, say(conn, peer, wire.switch(key)))
    assert.same({}, pass(conn, 86400))
  end)
end)

describe("the page of a refusal", function()
  before_each(frozen)
  after_each(desk.clear)

  local refusal = { "failed STATUS", "ended 1006 unclean" }
  local head = "HTTP/1.1 403 Forbidden\r\nContent-Length: 20\r\n\r\n"

  it("is awaited for a second", function()
    local conn, asked = client()
    local peer = asked()
    assert.same({}, pass(conn, 2))
    assert.same({}, say(conn, peer, head .. "not all"))
    assert.same({}, pass(conn, 0.999))
    assert.same(refusal, pass(conn, 0.001))
  end)

  it("is awaited no longer when it dribbles", function()
    local conn, asked = client()
    local peer = asked()
    assert.same({}, pass(conn, 2))
    assert.same({}, say(conn, peer, head))
    for _ = 1, 9 do
      assert.same({}, pass(conn, 0.1))
      assert.same({}, say(conn, peer, "x"))
    end
    assert.same(refusal, pass(conn, 0.1))
  end)

  it("is awaited no longer than handshakeTimeout", function()
    local conn, asked = client { handshakeTimeout = ns(10) }
    local peer = asked()
    assert.same({}, pass(conn, 9.5))
    assert.same({}, say(conn, peer, head))
    assert.same({}, pass(conn, 0.499))
    assert.same(refusal, pass(conn, 0.001))
  end)

  it("ends it at once when it is all here", function()
    local conn, asked = client()
    local peer = asked()
    assert.same({}, pass(conn, 2))
    assert.same(refusal, say(conn, peer, head .. ("x"):rep(20)))
  end)
end)

describe("closeTimeout", function()
  before_each(frozen)
  after_each(desk.clear)

  it("ends who does not answer a Close", function()
    local conn, peer = opened { closeTimeout = ns(5) }
    conn:close(1000)
    assert.same({}, pass(conn, 4.999))
    assert.same({ "ended 1006 unclean" }, pass(conn, 0.001))
    assert.equal("\x88\2\3\xe8", take(peer))
  end)

  it("is not extended by what else the peer says", function()
    local conn, peer = opened { closeTimeout = ns(5) }
    conn:close(1000)
    for _ = 1, 4 do
      assert.same({}, pass(conn, 1))
      say(conn, peer, frames.build { "text", payload = "and another thing", key = "\x37\xfa\x21\x3d" })
    end
    assert.same({}, pass(conn, 0.999))
    assert.same({ "ended 1006 unclean" }, pass(conn, 0.001))
  end)

  it("is given again to who has answered and keeps the line open", function()
    local conn, peer = opened { closeTimeout = ns(5) }
    conn:close(1000)
    assert.same({}, pass(conn, 3))
    assert.same({}, say(conn, peer, close_frame(1000)))
    assert.same({}, pass(conn, 4.999))
    assert.same({ "ended 1000 clean" }, pass(conn, 0.001))
  end)

  it("begins anew while the peer takes what is queued before the Close", function()
    local conn, peer = opened { closeTimeout = ns(5) }
    conn:send(("x"):rep(900000))
    conn:close(1000)
    local got = ""
    while not got:match "\x88\2\3\xe8$" do
      assert.same({}, pass(conn, 4))
      got = got .. take(peer, 100000)
    end
    assert.equal(900000 + 10 + 4, #got)
    assert.same({}, say(conn, peer, close_frame(1000)))
    desk.close(peer)
    assert.same({ "ended 1000 clean" }, pass(conn, 0.001))
  end)

  it("is not given twice for bytes that were taken long ago", function()
    local conn, peer = opened { closeTimeout = ns(5) }
    sys.hold(4) -- our Close, under way
    assert.same({}, say(conn, peer, close_frame(1000)))
    sys.hold(0) -- and there
    assert.same({}, pass(conn, 6.249)) -- seen within a quarter of the time
    assert.same({ "ended 1000 clean" }, pass(conn, 0.001))
  end)

  it("is given anew for each byte that the peer's system takes of what ours holds", function()
    local conn = opened { closeTimeout = ns(5) }
    conn:send(("x"):rep(10000))
    sys.hold(10000)
    conn:close(1000)
    for held = 9000, 1000, -1000 do
      assert.same({}, pass(conn, 4.9))
      sys.hold(held)
    end
    assert.same({}, pass(conn, 4.9))
    local heard = pass(conn, 1.4)
    assert.same({ "ended 1006 unclean" }, heard)
  end)

  it("ends who takes some of it and then no more", function()
    local conn, peer = opened { closeTimeout = ns(5) }
    conn:send(("x"):rep(900000))
    conn:close(1000)
    assert.same({}, pass(conn, 4))
    take(peer, 200000)
    assert.same({}, pass(conn, 4.999))
    assert.same({ "ended 1006 unclean" }, pass(conn, 0.001))
  end)
end)

describe("a peer that does not read", function()
  before_each(frozen)
  after_each(desk.clear)

  local stalled = { "failed STALL", "ended 1006 unclean" }

  it("ends the connection when nothing has gone for 30 s", function()
    local conn = opened()
    conn:send(("x"):rep(900000))
    assert.same({}, pass(conn, 29.999))
    assert.is_true(conn:unsent() > 0)
    assert.same(stalled, pass(conn, 0.001))
  end)

  it("has 30 s more whenever it has read something", function()
    local conn, peer = opened()
    conn:send(("x"):rep(900000))
    assert.same({}, pass(conn, 20))
    take(peer, 200000)
    assert.same({}, pass(conn, 29.999))
    assert.same(stalled, pass(conn, 0.001))
  end)

  it("is not given up however slowly it reads", function()
    local conn, peer = opened()
    conn:send(("x"):rep(900000))
    local got, rounds = 0, 0
    while got < 900000 + 10 do
      assert.same({}, pass(conn, 29))
      got = got + #take(peer, 100000)
      rounds = rounds + 1
    end
    assert.is_true(rounds > 5)
    assert.equal(0, conn:unsent())
    assert.same({}, pass(conn, 86400))
  end)

  it("is not given up while there is nothing to send", function()
    local conn, peer = opened()
    conn:send "a little, which the system takes"
    assert.same({}, pass(conn, 86400))
    assert.equal(32 + 2, #take(peer))
  end)
end)
