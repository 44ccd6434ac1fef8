-- Topics and broadcasts: who gets what, in which order, how many they were, and what it costs.

local desk = require "spec.server_helper"
local frames = require "spec.frames"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local server, log, peers

-- A server with n sockets, log.sockets, and their peers.
local function open(n, options)
  server, log = desk.serve(options)
  peers = {}
  for i = 1, n do peers[i] = desk.guest(server, log) end
end

-- What each peer has received: "text a" and so on, one string for each. Waits until all that was
-- sent has arrived, which a ping of each socket shows.
local function received()
  local all = {}
  for i, peer in ipairs(peers) do
    local words = {}
    if log.sockets[i].readyState == 1 then
      log.sockets[i]:ping "end"
      while true do
        local frame = peer:next()
        if not frame or frame[1] == 9 then break end
        words[#words + 1] = (frame[1] == 2 and "binary " or "") .. frame.payload
      end
    end
    all[i] = table.concat(words, ",")
  end
  return all
end

describe("a topic", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("is heard by those who have subscribed, and counts them", function()
    open(4)
    log.sockets[1]:subscribe "news"
    log.sockets[3]:subscribe "news"
    log.sockets[4]:subscribe "sports"
    assert.equal(2, server:publish("news", "hello"))
    assert.equal(1, server:publish("sports", "\0\1", "binary"))
    assert.equal(0, server:publish("weather", "sunny"))
    assert.same({ "hello", "", "hello", "binary \0\1" }, received())
  end)

  it("is subscribed to once, however often", function()
    open(1)
    local socket = log.sockets[1]
    assert.is_false(socket:isSubscribed "a")
    socket:subscribe "a"
    socket:subscribe "a"
    assert.is_true(socket:isSubscribed "a")
    assert.equal(1, server:publish("a", "once"))
    socket:unsubscribe "a"
    assert.is_false(socket:isSubscribed "a")
    socket:unsubscribe "a"
    socket:unsubscribe "never"
    assert.equal(0, server:publish("a", "twice"))
    assert.same({ "once" }, received())
  end)

  it("has any name, and bytes differ", function()
    open(1)
    local names = { "", " ", "a", "A", "a\0", "a\0b", "\255", "ä", ("x"):rep(10000) }
    for _, name in ipairs(names) do log.sockets[1]:subscribe(name) end
    for i, name in ipairs(names) do assert.equal(1, server:publish(name, tostring(i))) end
    for i, name in ipairs(names) do
      log.sockets[1]:unsubscribe(name)
      for j, other in ipairs(names) do
        assert.equal(j > i, log.sockets[1]:isSubscribed(other))
        assert.equal(j > i and 1 or 0, server:publish(other, ""))
      end
    end
    assert.matches("^1,2,3,4,5,6,7,8,9,", received()[1])
  end)

  it("is one of thousands, each with its own", function()
    open(3)
    for i = 1, 5000 do log.sockets[i % 3 + 1]:subscribe("topic " .. i) end
    for i = 1, 5000, 7 do
      assert.is_true(log.sockets[i % 3 + 1]:isSubscribed("topic " .. i))
      assert.is_false(log.sockets[(i + 1) % 3 + 1]:isSubscribed("topic " .. i))
      assert.equal(1, server:publish("topic " .. i, ""))
    end
    for i = 1, 5000 do log.sockets[i % 3 + 1]:unsubscribe("topic " .. i) end
    for i = 1, 5000, 7 do assert.equal(0, server:publish("topic " .. i, "")) end
  end)

  it("is each server's own", function()
    open(1)
    log.sockets[1]:subscribe "a"
    local other = desk.listen()
    assert.equal(0, other:publish("a", "x"))
    assert.equal(0, other:broadcast "x")
    assert.equal(1, server:publish("a", "x"))
  end)

  it("reaches all but the socket that publishes", function()
    open(3)
    for _, socket in ipairs(log.sockets) do socket:subscribe "room" end
    assert.equal(2, log.sockets[2]:publish("room", "from 2"))
    assert.equal(2, log.sockets[1]:publish("room", "from 1", "binary"))
    assert.equal(3, server:publish("room", "from all"))
    log.sockets[3]:unsubscribe "room"
    assert.equal(2, log.sockets[3]:publish("room", "from outside"))
    assert.same({
      "from 2,from all,from outside", "binary from 1,from all,from outside", "from 2,binary from 1,from all",
    }, received())
  end)

  it("is left by a socket that closes, at once", function()
    open(3)
    for _, socket in ipairs(log.sockets) do socket:subscribe "a" end
    log.sockets[1]:close()
    assert.equal(2, server:publish("a", "x"))
    peers[2]:reset()
    desk.heard(log, "close 1006")
    assert.equal(1, server:publish("a", "x"))
    assert.is_false(log.sockets[2]:isSubscribed "a")
    log.sockets[2]:subscribe "a" -- too late, and no error
    assert.is_false(log.sockets[2]:isSubscribed "a")
    assert.equal(1, server:publish("a", "x"))
    assert.equal(0, log.sockets[2]:publish("a", "x"))
    log.sockets[3]:terminate()
    assert.equal(0, server:publish("a", "x"))
    peers[1]:closing(1000)
    desk.leave(peers[1])
    desk.heard(log, "close", 3)
    assert.is_false(log.sockets[1]:isSubscribed "a")
  end)

  it("may be published to from a close handler", function()
    open(2)
    for _, socket in ipairs(log.sockets) do socket:subscribe "a" end
    local counts = {}
    server.onsocketclose = function(event)
      counts = { event.target:publish("a", "left"), server:publish("a", "somebody left"), event.target:isSubscribed "a" }
      event.target:subscribe "a"
    end
    peers[1]:reset()
    wire.await(function() return counts[1] end, "the close")
    assert.equal(1, counts[1])
    assert.equal(1, counts[2])
    assert.equal("left,somebody left", received()[2])
    wire.settle()
    assert.equal(1, server:publish("a", "x"))
  end)

  it("keeps its place among the other sends", function()
    open(2)
    local one, two = log.sockets[1], log.sockets[2]
    one:subscribe "a"
    two:subscribe "a"
    one:send "1"
    server:publish("a", "2")
    one:send("3", "binary")
    two:publish("a", "4")
    server:broadcast "5"
    two:send "6"
    one:send "7"
    server:publish("a", ("8"):rep(70000))
    one:send "9"
    assert.same({ "1,2,binary 3,4,5,7," .. ("8"):rep(70000) .. ",9", "2,5,6," .. ("8"):rep(70000) }, received())
  end)

  it("gets the frame to the byte, in fragments where the server splits", function()
    open(1, { fragmentSize = 3 })
    log.sockets[1]:subscribe "a"
    server:publish("a", "Hello")
    server:publish("a", "", "binary")
    assert.equal(frames.hex "01 03 48 65 6c 80 02 6c 6f 82 00", peers[1]:read(11))
  end)

  it("counts in bufferedAmount, for each", function()
    open(2)
    log.sockets[1]:subscribe "a"
    server:publish("a", "12345")
    server:publish("a", "123")
    assert.equal(8, log.sockets[1].bufferedAmount)
    assert.equal(0, log.sockets[2].bufferedAmount)
    wire.settle()
    assert.equal(0, log.sockets[1].bufferedAmount)
  end)
end)

describe("a broadcast", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("reaches every open socket, and counts them", function()
    open(3)
    local half = wire.connect(server.port)
    half:send "GET / HTTP/1.1\r\n"
    wire.settle()
    log.sockets[2]:close(4000)
    assert.equal(2, server:broadcast "all")
    assert.equal(2, server:broadcast("\255", "binary"))
    assert.equal(2, server:broadcast("\254", { binary = true }))
    assert.same({ "all,binary \255,binary \254", "", "all,binary \255,binary \254" }, received())
    assert.equal("", half.bytes)
  end)

  it("reaches nobody where nobody is", function()
    open(0)
    assert.equal(0, server:broadcast "x")
    server:close()
    assert.equal(0, server:broadcast "x")
    assert.equal(0, server:publish("a", "x"))
  end)

  it("within a message handler goes to everybody, in the order of the messages", function()
    open(3)
    server.onmessage = function(event) server:broadcast(event.data) end
    for i = 1, 5 do peers[2]:frame { "text", payload = tostring(i) } end
    for _, peer in ipairs(peers) do
      for i = 1, 5 do assert.equal(tostring(i), peer:next().payload) end
    end
  end)

  it("is built once, however many it goes to", function()
    open(100, { maxBufferedAmount = 64 * 1024 * 1024 })
    for _, peer in ipairs(peers) do peer.reading = false end
    wire.settle()
    local message = ("x"):rep(8 * 1024 * 1024)
    local before = desk.memory()
    assert.equal(100, server:broadcast(message))
    wire.settle(5)
    assert.is_true(desk.memory() - before < 100 * 1024 * 1024, "800 MB were built")
    for _, peer in ipairs(peers) do peer:close() end
    desk.heard(log, "close", 100)
  end)

  it("leaves the frame alone while the first receivers are gone already", function()
    open(3)
    local message = ("0123456789"):rep(200000)
    peers[3].reading = false
    server:broadcast(message)
    assert.equal(message, peers[1]:next().payload)
    log.sockets[1]:terminate()
    log.sockets[2]:terminate()
    wire.settle()
    collectgarbage()
    peers[3].reading = true
    assert.is_true(message == peers[3]:next().payload)
  end)
end)

describe("what cannot be published", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("raises, and nothing goes out", function()
    open(1)
    local socket = log.sockets[1]
    socket:subscribe "a"
    for _, wrong in ipairs { 5, true, {}, print } do
      desk.raises("TypeError", "publish: a string, an ArrayBuffer or a Blob expected", server.publish, server, "a", wrong)
      desk.raises("TypeError", "publish: a string, an ArrayBuffer or a Blob expected", socket.publish, socket, "a", wrong)
      desk.raises("TypeError", "broadcast: a string, an ArrayBuffer or a Blob expected", server.broadcast, server, wrong)
      desk.raises("TypeError", "publish: the topic must be a string", server.publish, server, wrong, "x")
      desk.raises("TypeError", "publish: the topic must be a string", socket.publish, socket, wrong, "x")
      for _, name in ipairs { "subscribe", "unsubscribe", "isSubscribed" } do
        desk.raises("TypeError", name .. ": the topic must be a string", socket[name], socket, wrong)
      end
    end
    desk.raises("TypeError", "publish: a string, an ArrayBuffer or a Blob expected, got nil", server.publish, server, "a")
    desk.raises("TypeError", "broadcast: a string, an ArrayBuffer or a Blob expected, got nil", server.broadcast, server)
    for _, text in ipairs { "\255", "\xed\xa0\x80", "\xe2\x82" } do
      desk.raises("TypeError", "not UTF-8", server.publish, server, "a", text)
      desk.raises("TypeError", "not UTF-8", server.publish, server, "nobody listens", text)
      desk.raises("TypeError", "not UTF-8", server.broadcast, server, text)
      desk.raises("TypeError", "not UTF-8", socket.publish, socket, "a", text)
    end
    desk.raises("TypeError", '"binary" or a table of options expected', server.broadcast, server, "x", "text")
    desk.raises("TypeError", 'unknown option "binari" (did you mean "binary"?)', server.broadcast, server, "x", { binari = true })
    desk.raises("TypeError", "a boolean expected", server.broadcast, server, "x", { compress = 1 })
    assert.same({ "" }, received())
  end)

  it("is anything from a client's socket: topics are the server's", function()
    open(0)
    local ws = lunawire.WebSocket(server.url)
    for _, name in ipairs { "subscribe", "unsubscribe", "isSubscribed" } do
      desk.raises("InvalidStateError", "only sockets of a server have topics", ws[name], ws, "a")
    end
    desk.raises("InvalidStateError", "only sockets of a server have topics", ws.publish, ws, "a", "x")
    ws:close()
  end)
end)

describe("a receiver slower than the topic", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("past maxBufferedAmount ends alone; the others lose nothing", function()
    open(3, { maxBufferedAmount = 1000000, highWaterMark = 100000 })
    for _, socket in ipairs(log.sockets) do socket:subscribe "a" end
    peers[2].reading = false
    local message, sent, least = ("m"):rep(50000), 0, 3
    while least == 3 do
      least = server:publish("a", message)
      sent = sent + 1
      assert(sent < 1000)
      wire.turn(0)
    end
    assert.equal(2, least)
    desk.heard(log, "close 1006")
    local words = {}
    for i = 4, #log do if log[i] ~= "drain" then words[#words + 1] = log[i] end end
    assert.same({ "error slow", "close 1006  unclean" }, words)
    assert.equal(2, server:publish("a", "end"))
    for _, i in ipairs { 1, 3 } do
      for _ = 1, sent do assert.is_true(peers[i]:next().payload == message) end
      assert.equal("end", peers[i]:next().payload)
    end
  end)
end)
