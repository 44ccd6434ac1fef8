-- A server and its sockets: what the server hears for sockets that have no handler of their
-- own, listeners, `#server` and each().

local desk = require "spec.server_helper"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local Server = lunawire.WebSocketServer

describe("a server's handlers for its sockets", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("hear what sockets without handlers would, with the socket as target", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    peer:frame({ "text", payload = "hi" }, { "binary", payload = "\0" }, { "ping", payload = "a" }, { "pong", payload = "b" })
    peer:closing(4001, "bye")
    desk.leave(peer)
    desk.heard(log, "close")
    assert.same({ "connection", "text hi", "binary \0", "ping a", "pong b", "close 4001 bye clean" }, log)
    for i = 2, #log do assert.equal(socket, log.events[i].target) end
    assert.equal("", log.events[2].origin)
    assert.equal("close", log.events[6].type)
  end)

  it("hear errors as onsocketerror, and the close that follows as onsocketclose", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    peer:frame { "text", payload = "x", key = false }
    desk.leave(peer)
    desk.heard(log, "close")
    assert.same({ "connection", "error protocol 1002", "close 1006  unclean" }, log)
    assert.equal("error", log.events[2].type)
    assert.equal(socket, log.events[2].target)
    assert.matches("^connection from 127%.0%.0%.1:%d+: ", log.events[2].message)
  end)

  it("hear drain", function()
    local server, log = desk.serve { highWaterMark = 1000 }
    local peer, socket = desk.guest(server, log)
    assert.is_false(socket:send(("x"):rep(5000)))
    desk.heard(log, "drain")
    assert.equal(5000, #peer:next().payload)
    assert.equal(0, socket.bufferedAmount)
  end)

  it("are not called for what the socket hears itself, one by one", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    local own = {}
    for _, name in ipairs { "message", "ping", "close" } do
      socket["on" .. name] = function(event) own[#own + 1] = wire.words(event) end
    end
    peer:frame({ "text", payload = "hi" }, { "ping", payload = "a" }, { "pong", payload = "b" },
      { "text", payload = "x", key = false })
    desk.leave(peer)
    wire.await(function() return #own == 3 end, "the socket's close")
    assert.same({ "text hi", "ping a", "close 1006  unclean" }, own)
    assert.same({ "connection", "pong b", "error protocol 1002" }, log)
  end)

  it("are not called either when the socket has a listener, and again when it is gone", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    local own = {}
    local function listener(event) own[#own + 1] = event.data end
    socket:addEventListener("message", listener)
    peer:frame { "text", payload = "1" }
    wire.await(function() return own[1] end, "the listener")
    socket:removeEventListener("message", listener)
    peer:frame { "text", payload = "2" }
    desk.heard(log, "text 2")
    socket.onmessage = listener
    peer:frame { "text", payload = "3" }
    wire.await(function() return own[2] end, "the handler")
    socket.onmessage = nil
    peer:frame { "text", payload = "4" }
    desk.heard(log, "text 4")
    assert.same({ "1", "3" }, own)
    assert.same({ "connection", "text 2", "text 4" }, log)
  end)

  it("may be set when the sockets are there already", function()
    local server = desk.listen()
    local peer = wire.client(server.port)
    wire.settle()
    peer:frame { "text", payload = "lost" }
    wire.settle()
    local heard = {}
    server.onmessage = function(event) heard[#heard + 1] = event.data end
    peer:frame { "text", payload = "heard" }
    wire.await(function() return heard[1] end, "the message")
    assert.same({ "heard" }, heard)
    assert.equal("heard", heard[1])
  end)

  it("run for a socket whose message came with the request", function()
    local server, log = desk.serve()
    local peer = wire.connect(server.port)
    peer:send(wire.upgrade() .. peer:build { "text", payload = "early" })
    desk.heard(log, "text early")
    assert.same({ "connection", "text early" }, log)
  end)

  it("hear in the handler set by onconnection what comes right behind", function()
    local server = desk.listen()
    local heard = {}
    function server.onconnection(event)
      event.socket.onmessage = function(message) heard[#heard + 1] = message.data end
    end
    function server.onmessage() heard[#heard + 1] = "fallback" end
    local peer = wire.connect(server.port)
    peer:send(wire.upgrade() .. peer:build { "text", payload = "early" })
    wire.await(function() return heard[1] end, "the message")
    assert.same({ "early" }, heard)
  end)
end)

describe("a server's listeners", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("come for every event it has, beside the handlers", function()
    local server, log = desk.serve()
    local heard = {}
    for _, name in ipairs {
      "connection", "message", "ping", "pong", "socketerror", "socketclose", "close", "upgrade", "request",
    } do
      server:addEventListener(name, function(event)
        heard[#heard + 1] = name
        assert.is_not_nil(event.target)
        if name == "request" then event:respond(204) end
      end)
    end
    assert.equal(204, desk.fetch(server, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").status)
    local peer = desk.guest(server, log)
    peer:frame({ "text", payload = "hi" }, { "ping" }, { "pong" }, { "text", payload = "x", key = false })
    desk.leave(peer)
    desk.heard(log, "close")
    server:close()
    desk.heard(log, "server close")
    assert.same({
      "request", "upgrade", "connection", "message", "ping", "pong", "socketerror", "socketclose", "close",
    }, heard)
  end)

  it("are called in the order set, each once, capturing ones first, until one stops the event", function()
    local server = desk.listen()
    local order = {}
    local function note(name) return function() order[#order + 1] = name end end
    local one = note "one"
    server:addEventListener("connection", one)
    server.onconnection = note "handler"
    server:addEventListener("connection", note "two")
    server:addEventListener("connection", one)
    server:addEventListener("connection", note "capture", { capture = true })
    server:addEventListener("connection", note "once", { once = true })
    wire.client(server.port)
    wire.await(function() return #order >= 5 end, "the listeners")
    assert.same({ "capture", "one", "handler", "two", "once" }, order)
    order = {}
    server:addEventListener("connection", function(event) event:stopImmediatePropagation() end, { capture = true })
    wire.client(server.port)
    wire.await(function() return #order >= 1 end, "the listener")
    wire.settle()
    assert.same({ "capture" }, order)
    server:removeEventListener("connection", one)
  end)

  it("want a known event and a function", function()
    local server = desk.listen()
    desk.raises("TypeError", 'there is no event "open" here', server.addEventListener, server, "open", print)
    desk.raises("TypeError", "a function expected, got nil", server.addEventListener, server, "connection")
    desk.raises("TypeError", "onmessage: a function expected, got number", function() server.onmessage = 1 end)
    desk.raises("TypeError", 'did you mean "onmessage"?', function() server.onmesage = print end)
    desk.raises("TypeError", 'has no member "frobnicate"', function() server.frobnicate = 1 end)
    assert.is_nil(server.onmessage)
    server.onmessage = print
    assert.equal(print, server.onmessage)
    server.onmessage = nil
    assert.is_nil(server.onmessage)
  end)

  it("that raise do not keep the socket from opening, and onerror hears from the server", function()
    local server, log = desk.serve()
    local told = {}
    function lunawire.onerror(err, source, traceback) told[#told + 1] = { err, source, traceback } end
    local connection = server.onconnection
    function server.onconnection(event)
      connection(event)
      error("no welcome", 0)
    end
    local peer = desk.guest(server, log)
    peer:frame { "text", payload = "still" }
    desk.heard(log, "text still")
    assert.equal("no welcome", told[1][1])
    assert.equal(server, told[1][2])
    assert.equal("string", type(told[1][3]))
    assert.equal(1, #told)
  end)
end)

describe("a server's methods", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("want the server", function()
    local server = desk.listen()
    for _, name in ipairs { "close", "each", "publish", "broadcast", "addEventListener", "removeEventListener" } do
      for _, wrong in ipairs { {}, "x", 1, io.stdout } do
        desk.raises("TypeError", "WebSocketServer expected, got", server[name], wrong)
      end
      desk.raises("TypeError", "WebSocketServer expected, got nil", server[name])
    end
    local ws = lunawire.WebSocket(server.url)
    desk.raises("TypeError", "WebSocketServer expected, got WebSocket", server.close, ws)
    desk.raises("TypeError", "WebSocket expected, got WebSocketServer", ws.close, server)
    ws:close()
  end)

  it("survive __gc by hand: the server is gone, its sockets live on", function()
    local server, log = desk.serve()
    assert.is_false(getmetatable(server))
    local meta = debug.getmetatable(server)
    local peer, socket = desk.guest(server, log)
    local half = desk.ask(server, "GET / HTTP")
    wire.settle()
    meta.__gc(server)
    meta.__gc(server)
    assert.is_true(desk.refused(server.port))
    half:finish()
    assert.equal(0, #server)
    assert.equal(0, server:broadcast "x")
    server:close()
    socket.onmessage = function() socket:close() end
    peer:frame { "text", payload = "still there?" }
    assert.equal(8, peer:next()[1])
    peer:closing(1000)
    assert.equal("eof", (peer:finish()))
  end)
end)

describe("the sockets of a server", function()
  before_each(desk.open)
  after_each(desk.clear)

  local function open(n, options)
    local server, log = desk.serve(options)
    local peers = {}
    for i = 1, n do peers[i] = desk.guest(server, log) end
    return server, log, peers
  end

  it("are counted while they are open", function()
    local server, log, peers = open(3)
    assert.equal(3, #server)
    log.sockets[1]:close()
    assert.equal(2, #server) -- at once
    peers[2]:reset()
    desk.heard(log, "close 1006")
    assert.equal(1, #server)
    peers[3]:closing(1000)
    desk.leave(peers[3])
    desk.heard(log, "close 1000")
    assert.equal(0, #server)
    log.sockets[1]:terminate()
    wire.connect(server.port):send "GET / HT"
    wire.settle()
    assert.equal(0, #server) -- a handshake is no socket
  end)

  it("are gone through by each(), in no promised order", function()
    local server, log = open(5)
    local seen, n = {}, 0
    for socket in server:each() do
      seen[socket], n = true, n + 1
    end
    assert.equal(5, n)
    for _, socket in ipairs(log.sockets) do assert.is_true(seen[socket]) end
  end)

  it("that close on the way are passed over, and the walk goes on", function()
    local server, log = open(6)
    local seen = 0
    for socket in server:each() do
      seen = seen + 1
      for _, other in ipairs(log.sockets) do
        if other ~= socket and other.readyState == 1 and seen <= 2 then
          other:terminate()
          break
        end
      end
      socket:close()
    end
    assert.equal(4, seen)
    assert.equal(0, #server)
  end)

  it("that come on the way are not part of the walk", function()
    local server, log = open(2)
    local n = 0
    for _ in server:each() do
      n = n + 1
      desk.guest(server, log)
    end
    assert.equal(2, n)
    assert.equal(4, #server)
  end)

  it("are walked on while garbage is collected and everything ends", function()
    local server, log, peers = open(20)
    local n = 0
    for socket in server:each() do
      n = n + 1
      socket:terminate()
      if n == 10 then server:close() end
      wire.settle(3)
      collectgarbage()
    end
    assert.equal(10, n)
    for _, peer in ipairs(peers) do peer:close() end
    desk.heard(log, "server close")
  end)

  it("are none in a server that is closed", function()
    local server = open(2)
    server:close()
    assert.equal(0, #server)
    for _ in server:each() do error "nobody should be here" end
    assert.is_nil((server:each()()))
  end)

  it("live on when only the server knows them", function()
    local server = desk.listen()
    local heard = {}
    function server.onmessage(event) heard[#heard + 1] = event.data end
    local peer = wire.client(server.port)
    wire.settle()
    collectgarbage()
    collectgarbage()
    peer:frame { "text", payload = "alive" }
    wire.await(function() return heard[1] end, "the message")
    assert.equal(1, #server)
  end)

  it("keep what is put into them", function()
    local server, log = open(1)
    log.sockets[1].name = "Ada"
    for socket in server:each() do assert.equal("Ada", socket.name) end
  end)

  it("belong to a class of their own", function()
    local server, log = open(1)
    assert.matches("^WebSocket %(open%): server side ", tostring(log.sockets[1]))
    assert.matches("^WebSocketServer %(listening%): ws://127%.0%.0%.1:%d+/$", tostring(server))
    assert.equal("table", type(Server))
  end)
end)
