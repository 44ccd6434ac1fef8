-- What a server bears: too many guests, slow ones, silent ones, flooding ones, and no
-- descriptor left. In each case the others do not notice.

local desk = require "spec.server_helper"
local frames = require "spec.frames"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local wire = require "spec.wire"

-- Echoes what a peer says, to see that its connection works.
local function echoes(peer, text)
  peer:frame { "text", payload = text or "echo?" }
  local frame = peer:next()
  assert.equal(text or "echo?", frame and frame.payload)
end

local function serve_echo(options)
  local server, log = desk.serve(options)
  server.onmessage = function(event) event.target:send(event.data, event.binary and "binary" or nil) end
  return server, log
end

describe("a head", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("may be no larger than maxHeaderSize", function()
    local request = wire.upgrade()
    local server = desk.serve { maxHeaderSize = #request }
    assert.equal(101, desk.ask(server, request):head().status)
    assert.equal(431, desk.fetch(server, wire.upgrade { X = "" }).status)
    local larger = desk.serve { maxHeaderSize = 100000 }
    assert.equal(101, desk.ask(larger, wire.upgrade { X = ("y"):rep(90000) }):head().status)
  end)

  it("may have no more fields than maxHeaderCount", function()
    local server = desk.serve { maxHeaderCount = 6 }
    assert.equal(101, desk.ask(server, wire.upgrade { X = "6" }):head().status)
    assert.equal(431, desk.fetch(server, wire.upgrade { X = "6", Y = "7" }).status)
  end)
end)

describe("handshakeTimeout", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("ends who says nothing, half a request, or a byte now and then, counted from accept", function()
    local server, log = desk.serve { handshakeTimeout = 150 }
    local start = lunawire.now()
    local silent = wire.connect(server.port)
    local half = desk.ask(server, "GET / HTTP/1.1\r\nHost: ")
    local dribble = desk.ask(server, "GET / HTTP/1.1\r\nX: ")
    local timer = lunawire.setInterval(function() dribble:send "y" end, 5)
    local good = desk.guest(server, log)
    wire.await(function() return silent.ended and half.ended and dribble.ended end, "their ends")
    local took = lunawire.now() - start
    timer:close()
    assert.is_true(took >= 145 and took < 2000, tostring(took))
    for _, peer in ipairs { silent, half, dribble } do assert.equal("", peer.bytes) end
    wire.settle()
    good:frame { "text", payload = "not me" } -- who is in is in
    desk.heard(log, "text not me")
    assert.same({ "connection", "text not me" }, log)
  end)

  it("lets in who is slow, but not too slow", function()
    local server, log = desk.serve { handshakeTimeout = 2000 }
    local request, at = wire.upgrade(), 0
    local peer = wire.connect(server.port)
    local timer
    timer = lunawire.setInterval(function()
      peer:send(request:sub(at + 1, at + 10))
      at = at + 10
      if at >= #request then timer:close() end
    end, 2)
    assert.equal(101, peer:head().status)
    desk.heard(log, "connection")
  end)
end)

describe("maxConnections", function()
  before_each(desk.open)
  after_each(desk.clear)

  local function turned_away(server, bytes)
    local peer = wire.connect(server.port)
    if bytes then peer:send(bytes) end
    local answer = desk.answer(peer)
    assert.equal(503, answer.status)
    assert.equal("eof", answer.ended)
    assert.equal("too many connections\n", answer.body)
    assert.equal("1", answer.headers["retry-after"])
    return peer
  end

  it("answers one too many with a 503 that can be read; the others do not notice", function()
    local server, log = serve_echo { maxConnections = 2 }
    local one, two = (desk.guest(server, log)), (desk.guest(server, log))
    turned_away(server):close()
    turned_away(server, wire.upgrade()):close()
    local talker = turned_away(server, "GET / HTTP/1.1\r\nX: " .. ("y"):rep(1000000))
    talker:send(("y"):rep(1000000))
    wire.settle()
    assert.is_nil(talker.failed)
    echoes(one)
    echoes(two)
    assert.equal(2, #server)
    assert.same({ "connection", "connection" }, log)
  end)

  it("counts handshakes that are not finished", function()
    local server, log = serve_echo { maxConnections = 2 }
    local half = desk.ask(server, "GET / HTTP/1.1\r\n")
    local one = desk.guest(server, log)
    turned_away(server, wire.upgrade())
    half:send(wire.upgrade():sub(17))
    assert.equal(101, half:head().status)
    echoes(half)
    echoes(one)
  end)

  it("lets in the next when one has left", function()
    local server, log = serve_echo { maxConnections = 1 }
    for i = 1, 5 do
      local peer = desk.guest(server, log)
      turned_away(server, wire.upgrade()):close()
      echoes(peer)
      peer:reset()
      desk.heard(log, "close 1006", i)
    end
  end)

  it("lets in the next although those who were turned away linger", function()
    local server, log = serve_echo { maxConnections = 1 }
    local peer = desk.guest(server, log)
    for _ = 1, 10 do turned_away(server) end -- they know, and stay
    peer:reset()
    desk.heard(log, "close 1006")
    echoes((desk.guest(server, log)))
  end)

  it("is not shaken by hundreds who are turned away at once", function()
    local server, log = serve_echo { maxConnections = 3 }
    local peers, crowd = {}, {}
    for i = 1, 3 do peers[i] = desk.guest(server, log) end
    for i = 1, 300 do crowd[i] = desk.ask(server, wire.upgrade()) end
    local told = 0
    for _, peer in ipairs(crowd) do
      wire.await(function() return peer.ended end, "an end")
      if peer.bytes:match "^HTTP/1.1 503 " then told = told + 1 end
      assert.is_nil(peer.bytes:match "^HTTP/1.1 101 ")
    end
    assert.is_true(told >= 50, told .. " were told")
    for _, peer in ipairs(peers) do echoes(peer) end
    for _, peer in ipairs(crowd) do peer:close() end
    peers[1]:reset()
    desk.heard(log, "close 1006")
    echoes((desk.guest(server, log)))
    assert.equal(3, #server)
  end)
end)

-- --- descriptors --------------------------------------------------------------------------------------

-- A child with few descriptors: echoes; prints its port, and each server error. To the message
-- "turns" it answers how many its loop has taken.
local CHILD = [[
  local lunawire = require "lunawire"
  local server = lunawire.WebSocketServer { maxConnections = %s }
  server.onerror = function(event) print("error " .. event.code .. ": " .. event.message) io.stdout:flush() end
  local turns = 0
  server.onmessage = function(event) event.target:send(event.data == "turns" and tostring(turns) or event.data) end
  print(server.port)
  io.stdout:flush()
  while true do
    lunawire.step(1000)
    turns = turns + 1
  end
]]

describe("without a descriptor left, a server #foreign", function()
  before_each(desk.open)
  after_each(desk.clear)

  local function start(limit, most)
    local child = helper.peer(("ulimit -n %d; exec %s"):format(limit,
      helper.lua("-e " .. helper.quote(CHILD:format(most)))), 60)
    desk.finally(function() child:stop() end)
    return child, tonumber(child:line())
  end

  -- Peers that have asked to be let in: those that were, and those that wait.
  local function crowd(port, n, ins, waiting)
    for _ = 1, n do
      local peer = wire.connect(port)
      peer:send(wire.upgrade())
      waiting[#waiting + 1] = peer
    end
    return ins, waiting
  end

  local function sort_out(ins, waiting)
    for i = #waiting, 1, -1 do
      if waiting[i].bytes:match "^HTTP/1.1 101 " then
        local peer = table.remove(waiting, i)
        peer:head()
        ins[#ins + 1] = peer
      end
    end
  end

  local function turns(peer)
    peer:frame { "text", payload = "turns" }
    return tonumber(peer:next().payload)
  end

  it("pauses accepting, tells it once, serves who is in without spinning, and recovers", function()
    local child, port = start(40, 100000)
    local ins, waiting = crowd(port, 46, {}, {})
    assert.equal("error system: accept: Too many open files", child:line(wire.turn))
    for _ = 1, 20 do wire.turn(5) end
    sort_out(ins, waiting)
    assert.is_true(#ins >= 10 and #waiting >= 8, #ins .. " are in")

    local before, start_time = turns(ins[1]), lunawire.now()
    while lunawire.now() < start_time + 300 do wire.turn(20) end
    assert.is_true(turns(ins[1]) - before < 50, "it span")
    for _, peer in ipairs(ins) do echoes(peer) end
    for _, peer in ipairs(waiting) do assert.is_nil(peer.ended) end
    assert.is_nil(child:text():match "error.*error")

    for _ = 1, 5 do table.remove(ins):close() end
    local n = #ins
    wire.await(function()
      sort_out(ins, waiting)
      return #ins == n + 5
    end, "those who waited")
    echoes(ins[#ins])

    while #waiting > 0 do -- with room for all, all come in
      table.remove(ins, 1):close()
      for _ = 1, 10 do wire.turn(5) end
      sort_out(ins, waiting)
    end
    for _, peer in ipairs(ins) do echoes(peer) end
    for _ = 1, 3 do table.remove(ins):close() end -- some are free again: it is over
    for _ = 1, 50 do wire.turn(5) end
    local extra = wire.client(port)
    echoes(extra)
    local _, reports = child:text():gsub("error", "")
    assert.equal(1, reports)
    crowd(port, 10, ins, waiting)
    assert.equal("error system: accept: Too many open files", child:line(wire.turn)) -- and begins anew
  end)

  it("has turned people away before, since maxConnections comes from the limit", function()
    local child, port = start(100, "nil")
    local ins, waiting = crowd(port, 74, {}, {})
    local function verdicts()
      wire.await(function()
        sort_out(ins, waiting)
        for _, peer in ipairs(waiting) do
          if not peer.ended then return false end
        end
        return true
      end, "a verdict for each")
    end
    verdicts()
    assert.equal(100 - 25 - 10, #ins) -- a quarter is the program's, and some are for those who are told
    for _, peer in ipairs(waiting) do assert.matches("^HTTP/1.1 503 ", peer.bytes) end
    -- More than there are descriptors for, while nobody who was told has left: they are told or just ended.
    crowd(port, 100, ins, waiting)
    verdicts()
    assert.equal(100 - 25 - 10, #ins)
    for _, peer in ipairs(ins) do echoes(peer) end
    assert.is_nil(child:text():match "error")
  end)
end)

-- --- slow and flooding ------------------------------------------------------------------------------------

describe("a reader slower than its writer", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("ends with `slow` and 1006 past maxBufferedAmount; what is queued is bounded until then", function()
    local server, log = desk.serve { maxBufferedAmount = 2000000, highWaterMark = 100000 }
    server.ondrain = nil
    local slow, socket = desk.guest(server, log)
    local quick = desk.guest(server, log)
    slow.reading = false
    local message = ("m"):rep(100000)
    local n, wait, most = 0, nil, 0
    while socket.readyState == 1 do
      wait = socket:send(message) == false or wait
      n = n + 1
      if socket.readyState == 1 then most = math.max(most, socket.bufferedAmount) end
      wire.turn(0)
      assert(n < 1000, "it is never too slow")
    end
    assert.is_true(wait)
    assert.is_true(most <= 2000000 and most > 1500000, tostring(most))
    assert.equal(1, #server)
    desk.heard(log, "close")
    assert.same({ "connection", "connection", "error slow", "close 1006  unclean" }, log)
    assert.equal(socket, log.events[3].target)
    assert.is_true(socket.bufferedAmount > 0)
    -- nothing more on the wire: no Close frame, and less than what was sent; what the system still held is dropped, too
    slow.reading = true
    local how, rest = slow:finish()
    assert.equal("ECONNRESET", how)
    assert.is_true(#rest < n * 100010)
    local last = #rest % 100010
    assert.is_true(last == 0 or rest:sub(-1) == "m")
    quick:frame { "text", payload = "fine" }
    desk.heard(log, "text fine")
  end)

  it("who says Close and takes nothing either is reset at closeTimeout, so that the system keeps nothing of it", function()
    local server, log = desk.serve { closeTimeout = 60, maxBufferedAmount = 2 ^ 25 }
    local slow, socket = desk.guest(server, log)
    server.ondrain = nil
    slow.reading = false
    for _ = 1, 12 do socket:send(("m"):rep(2 ^ 20)) end
    wire.turn(0)
    slow:closing(1000)
    desk.heard(log, "close")
    assert.same({ "connection", "close 1000  unclean" }, log)
    slow.reading = true
    assert.equal("ECONNRESET", (slow:finish()))
  end)

  it("ends as well when all it is sent is empty, for framing is queued, too", function()
    local server, log = desk.serve { maxBufferedAmount = 2 ^ 16 }
    local slow = desk.guest(server, log)
    slow.socket:buffers(4096)
    slow.reading = false
    local turns = 0
    while #server > 0 and turns < 5000 do
      turns = turns + 1
      for _ = 1, 1000 do server:broadcast "" end
      wire.turn(0)
    end
    desk.heard(log, "close")
    assert.same({ "connection", "error slow", "close 1006  unclean" }, log)
  end)

  it("is told to wait at the high-water mark, and heard of by drain", function()
    local server, log = desk.serve { highWaterMark = 1000000 }
    local peer, socket = desk.guest(server, log)
    peer.reading = false
    local n = 0
    repeat
      n = n + 1
      local more = socket:send(("x"):rep(50000))
      wire.turn(0)
      assert(n < 1000)
    until not more
    assert.is_true(socket.bufferedAmount >= 1000000)
    wire.settle()
    assert.same({ "connection" }, log)
    peer.reading = true
    desk.heard(log, "drain")
    assert.is_true(socket.bufferedAmount <= 500000)
    for _ = 1, n do assert.equal(50000, #peer:next().payload) end
    wire.settle()
    assert.same({ "connection", "drain" }, log)
  end)

  it("holds no more memory than maxBufferedAmount, be they many", function()
    local server, log = desk.serve { maxBufferedAmount = 1000000 }
    for _ = 1, 10 do desk.guest(server, log).reading = false end
    local before = desk.memory()
    local message, rounds = ("m"):rep(50000), 0
    while #server > 0 do
      for _, socket in ipairs(log.sockets) do socket:send(message) end
      wire.turn(0)
      rounds = rounds + 1
      assert(rounds < 1000)
    end
    assert.is_true(desk.memory() - before < 40 * 1000000)
    desk.heard(log, "close 1006", 10)
  end)
end)

describe("a flooding connection", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("starves neither others nor a timer", function()
    local server, log = desk.serve()
    local peers = {}
    for i = 1, 10 do peers[i] = desk.guest(server, log) end
    local flood = desk.guest(server, log)
    local n, heard, timed = 0, {}, nil
    server.onmessage = function(event)
      if event.data == "please" then heard[#heard + 1] = n else n = n + 1 end
    end
    for i, peer in ipairs(peers) do -- before it and behind it, in whatever order the system tells
      if i == 6 then flood:send(frames.build({ "text", payload = "x", key = "\0\0\0\0" }):rep(100000)) end
      peer:frame { "text", payload = "please" }
    end
    lunawire.setTimeout(function() timed = n end, 0)
    wire.await(function() return n == 100000 end, "the flood to end", 20)
    assert.equal(10, #heard)
    assert.is_true(math.max(table.unpack(heard)) <= 2000, table.concat(heard, " "))
    assert.is_true(timed and timed <= 20000, tostring(timed))
  end)

  it("leaves room for one that comes in the middle of it", function()
    local server, log = desk.serve()
    local flood = desk.guest(server, log)
    local n, seen = 0, nil
    server.onmessage = function() n = n + 1 end
    local connection = server.onconnection
    server.onconnection = function(event)
      connection(event)
      seen = n
    end
    flood:send(frames.build({ "text", payload = "x", key = "\0\0\0\0" }):rep(100000))
    local late = wire.connect(server.port)
    late:send(wire.upgrade())
    wire.await(function() return n == 100000 and seen end, "the flood to end", 20)
    assert.is_true(seen < 60000, tostring(seen))
  end)
end)

describe("an idle server", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("takes no turns, however many it holds", function()
    local server, log = desk.serve()
    for _ = 1, 50 do desk.guest(server, log) end
    wire.connect(server.port)
    desk.ask(server, "GET / HTTP")
    local ended = desk.guest(server, log)
    ended:closing(1000)
    ended:finish() -- and stays
    wire.settle()
    assert.is_true(desk.turns(200) < 20, "it span")
  end)
end)
