-- How a server ends, and how its sockets do.

local desk = require "spec.server_helper"
local frames = require "spec.frames"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local function request(line)
  return (line or "GET / HTTP/1.1") .. "\r\nHost: 127.0.0.1\r\n\r\n"
end

-- Reads a Close frame: its code and reason; nil for none.
local function goodbye(peer)
  local frame = peer:next()
  assert.equal(8, frame[1])
  if frame.length == 0 then return nil end
  return frame.payload:byte(1) * 256 + frame.payload:byte(2), frame.payload:sub(3)
end

describe("closing a server", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("stops listening, says 1001 to everybody, waits for them, and hears close last, once", function()
    local server, log = desk.serve()
    local peers = {}
    for i = 1, 3 do peers[i] = desk.guest(server, log) end
    server:close()
    assert.is_true(desk.refused(server.port))
    assert.equal(0, #server)
    for _, socket in ipairs(log.sockets) do assert.equal(2, socket.readyState) end
    for _, peer in ipairs(peers) do
      local code, reason = goodbye(peer)
      assert.equal(1001, code)
      assert.equal("", reason)
      assert.is_nil(log[4]) -- nobody has answered
    end
    for _, peer in ipairs(peers) do
      peer:closing(1001)
      assert.equal("eof", (desk.leave(peer)))
    end
    desk.heard(log, "server close")
    assert.same({
      "connection", "connection", "connection",
      "close 1001  clean", "close 1001  clean", "close 1001  clean", "server close",
    }, log)
    assert.equal("close", log.events[7].type)
    assert.equal(server, log.events[7].target)
    assert.is_true(lunawire.run(0))
    wire.settle()
    assert.equal(7, #log)
  end)

  it("may say another code and reason", function()
    for _, case in ipairs { { 1000 }, { 1012, "back soon" }, { 4000, ("x"):rep(123) }, { 1013, "später" } } do
      local server, log = desk.serve()
      local peer = desk.guest(server, log)
      server:close(case[1], case[2])
      local code, reason = goodbye(peer)
      assert.equal(case[1], code)
      assert.equal(case[2] or "", reason)
      peer:closing(code)
      desk.leave(peer)
      desk.heard(log, "server close")
    end
  end)

  it("raises for a code or reason that cannot be sent, and goes on", function()
    local server, log = desk.serve()
    local peer = desk.guest(server, log)
    for _, code in ipairs { 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 1000.5, -1, 0 / 0, math.huge } do
      desk.raises("InvalidAccessError", "close: the code", server.close, server, code)
    end
    desk.raises("TypeError", "close: a code expected, got string", server.close, server, "1000")
    desk.raises("SyntaxError", "124 bytes", server.close, server, 1000, ("x"):rep(124))
    desk.raises("SyntaxError", "not UTF-8", server.close, server, 1000, "\255")
    desk.raises("SyntaxError", "a reason needs a code", server.close, server, nil, "why")
    desk.raises("TypeError", "the reason must be a string", server.close, server, 1000, 5)
    assert.equal(1, #server)
    peer:frame { "text", payload = "hi" }
    desk.heard(log, "text hi")
    assert.equal("", peer.bytes)
  end)

  it("twice is once", function()
    local server, log = desk.serve()
    local peer = desk.guest(server, log)
    server:close(1012)
    server:close(1000, "again")
    assert.equal(1012, (goodbye(peer)))
    server:close(4000)
    peer:closing(1012)
    assert.equal("", select(2, desk.leave(peer)))
    desk.heard(log, "server close")
    server:close()
    server:close(1000)
    wire.settle()
    assert.same({ "connection", "close 1012  clean", "server close" }, log)
  end)

  it("without sockets is heard in the next turn, never within the call", function()
    local server, log = desk.serve()
    server:close()
    assert.same({}, log)
    assert.is_true(lunawire.run(1000))
    assert.same({ "server close" }, log)
  end)

  it("sends what is queued first", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    local long = ("x"):rep(3000000)
    peer.reading = false
    socket:send "1"
    socket:send(long)
    server:broadcast "3"
    server:close(1001)
    wire.settle()
    peer.reading = true
    assert.equal("1", peer:next().payload)
    assert.is_true(long == peer:next().payload)
    assert.equal("3", peer:next().payload)
    assert.equal(1001, (goodbye(peer)))
    peer:closing(1001)
    desk.leave(peer)
    desk.heard(log, "server close")
  end)

  it("answers pending handshakes with 503: with nothing said, half a request, or an answer deferred", function()
    local server, log = desk.serve()
    local deferred, asked
    function server.onupgrade(event)
      event:defer()
      deferred = event
    end
    function server.onrequest(event) asked = event end
    local silent = wire.connect(server.port)
    local half = desk.ask(server, "GET / HTTP/1.1\r\nHos")
    local waiting = desk.ask(server, wire.upgrade())
    local plain = desk.ask(server, request())
    wire.await(function() return deferred and asked end, "the handlers")
    wire.settle()
    server:close()
    for _, peer in ipairs { silent, half, waiting, plain } do
      local answer = desk.answer(peer)
      assert.equal(503, answer.status)
      assert.equal("the server is closing\n", answer.body)
      peer:close()
    end
    assert.is_false(deferred:accept())
    assert.is_false(asked:respond(200))
    desk.heard(log, "server close")
    assert.same({ "server close" }, log)
  end)

  it("says Close behind a 101 that was just given", function()
    local server, log = desk.serve()
    local deferred
    function server.onupgrade(event)
      event:defer()
      deferred = event
    end
    local peer = desk.ask(server, wire.upgrade())
    wire.await(function() return deferred end, "the upgrade")
    assert.is_true(deferred:accept())
    server:close(1012, "sorry")
    assert.equal(101, peer:head().status)
    local code, reason = goodbye(peer)
    assert.equal(1012, code)
    assert.equal("sorry", reason)
    peer:closing(1012)
    assert.equal("eof", (desk.leave(peer)))
    desk.heard(log, "server close")
    assert.same({ "server close" }, log)
  end)

  it("ends at closeTimeout what does not answer", function()
    local server, log = desk.serve { closeTimeout = 100 }
    local silent = desk.guest(server, log)
    local open = desk.guest(server, log)
    local mute = desk.guest(server, log)
    mute.reading = false
    log.sockets[3]:send(("x"):rep(15000000))
    local half = desk.ask(server, "GET ")
    wire.settle()
    local start = lunawire.now()
    server:close()
    goodbye(silent)
    goodbye(open)
    open:closing(1001) -- answers, and keeps TCP open
    desk.heard(log, "server close")
    local took = lunawire.now() - start
    assert.is_true(took >= 95 and took < 2000, tostring(took))
    table.sort(log)
    assert.same({
      "close 1001  clean", "close 1006  unclean", "close 1006  unclean", "connection", "connection", "connection",
      "server close",
    }, log)
    assert.equal(503, desk.answer(half).status)
  end)

  it("ends at closeTimeout even what keeps talking", function()
    local server, log = desk.serve { closeTimeout = 100 }
    local peer = desk.guest(server, log)
    local chatter = lunawire.setInterval(function() peer:frame { "text", payload = "but" } end, 5)
    server:close()
    desk.heard(log, "server close")
    chatter:close()
    assert.same({ "connection", "close 1006  unclean", "server close" }, log)
  end)

  it("ends at closeTimeout even who reads on, slowly, and however often it is closed", function()
    local server, log = desk.serve { closeTimeout = 100, maxBufferedAmount = 100000000 }
    local peer, socket = desk.guest(server, log)
    peer.reading = false
    socket:send(("x"):rep(60000000))
    wire.settle()
    local reader = lunawire.setInterval(function()
      peer.socket:receive(200000)
      server:close()
    end, 2)
    server:close()
    local start = lunawire.now()
    desk.heard(log, "server close")
    reader:close()
    assert.is_true(lunawire.now() - start < 1000)
    assert.same({ "connection", "close 1006  unclean" }, { log[1], log[#log - 1] })
  end)

  it("drops the messages that come afterwards", function()
    local server, log = desk.serve()
    local peer = desk.guest(server, log)
    server:close()
    goodbye(peer)
    peer:frame({ "text", payload = "too late" }, { "text", payload = "half", fin = false })
    peer:closing(1001)
    desk.leave(peer)
    desk.heard(log, "server close")
    assert.same({ "connection", "close 1001  clean", "server close" }, log)
  end)

  it("is harmless in every handler", function()
    for _, handler in ipairs {
      "onconnection", "onmessage", "onping", "onsocketclose", "onsocketerror", "onupgrade", "onrequest",
    } do
      local server, log = desk.serve()
      local others = { (desk.guest(server, log)), (desk.guest(server, log)) }
      local before = server[handler]
      server[handler] = function(event)
        log[#log + 1] = "close it"
        server:close()
        if before then before(event) end
      end
      local peer = wire.connect(server.port)
      if handler == "onrequest" then
        peer:send(request())
      else
        peer:send(wire.upgrade() .. peer:build { "ping" } .. peer:build { "text", payload = "hi" }
          .. peer:build { "text", key = false })
      end
      wire.await(function()
        if peer.ended then peer:close() end
        for _, other in ipairs(others) do
          if #other.bytes > 0 then
            other:closing(1001)
            other:finish()
            other:close()
          end
        end
        return log[#log] == "server close"
      end, function() return handler .. ": server close, heard: " .. table.concat(log, ", ") end)
      local closes = 0
      for _, words in ipairs(log) do if words == "server close" then closes = closes + 1 end end
      assert.equal(1, closes, handler)
      assert.is_true(lunawire.run(1000), handler)
    end
  end)

  it("may be followed by another server on the same port, from within onclose", function()
    local server = desk.listen()
    local second
    function server.onclose() second = desk.listen { port = server.port } end
    server:close()
    wire.await(function() return second end, "onclose")
    assert.equal(server.port, second.port)
    assert.equal(101, wire.client(second.port).response.status)
  end)

  it("whose handler raises has closed all the same", function()
    local server = desk.listen()
    local told = {}
    function lunawire.onerror(...) told[#told + 1] = { ... } end
    function server.onclose() error("late", 0) end
    server:close()
    assert.is_true(lunawire.run(1000))
    assert.equal(1, #told)
    assert.equal("late", told[1][1])
    assert.equal(server, told[1][2])
    assert.equal("WebSocketServer (closed): " .. server.url, tostring(server))
  end)

  it("keeps run from ending until then, and no longer", function()
    local server, log = desk.serve()
    assert.is_false(lunawire.run(20))
    local peer = desk.guest(server, log)
    lunawire.setTimeout(function() server:close() end, 10)
    peer.reading = false
    local start = lunawire.now()
    lunawire.setTimeout(function() peer:close() end, 40)
    assert.is_true(lunawire.run(5000))
    assert.is_true(lunawire.now() - start < 2000)
    assert.equal("server close", log[#log])
  end)
end)

describe("closing a server's socket", function()
  before_each(desk.open)
  after_each(desk.clear)

  for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999 } do
    it(("may say %d"):format(code), function()
      local server, log = desk.serve()
      local peer, socket = desk.guest(server, log)
      socket:close(code, "so long")
      assert.equal(2, socket.readyState)
      assert.equal(frames.build { "close", payload = frames.closing(code, "so long") }, peer:read(11))
      peer:closing(code, "and thanks")
      assert.equal("eof", (desk.leave(peer)))
      desk.heard(log, "close")
      assert.same({ "connection", ("close %d and thanks clean"):format(code) }, log)
    end)
  end

  it("may say nothing", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    socket:close()
    assert.equal(frames.hex "88 00", peer:read(2))
    peer:closing()
    desk.leave(peer)
    desk.heard(log, "close 1005  clean")
  end)

  it("may not say other codes, nor reasons that do not fit", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    for _, code in ipairs {
      0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65536, 1000.5, -1, 0 / 0, math.huge,
    } do
      desk.raises("InvalidAccessError", "close: the code", socket.close, socket, code)
      desk.raises("InvalidAccessError", "close: the code", socket.close, socket, code, ("x"):rep(124))
    end
    for _, code in ipairs { "1000", true, {} } do
      desk.raises("TypeError", "close: a code expected", socket.close, socket, code)
    end
    desk.raises("SyntaxError", "124 bytes", socket.close, socket, 1000, ("x"):rep(124))
    desk.raises("SyntaxError", "not UTF-8", socket.close, socket, 1000, "\xe2\x82")
    desk.raises("SyntaxError", "a reason needs a code", socket.close, socket, nil, "x")
    desk.raises("TypeError", "the reason must be a string", socket.close, socket, 1000, {})
    assert.equal(1, socket.readyState)
    wire.settle()
    assert.equal("", peer.bytes)
    socket:close(1000, ("x"):rep(123))
    assert.equal(127, #peer:read(127))
    socket:close(999 + 1, "twice is once")
    peer:closing(1000)
    assert.equal("", select(2, desk.leave(peer)))
    desk.heard(log, "close 1000  clean")
  end)

  it("by the peer is answered with its code, and the connection ended by us first", function()
    for _, case in ipairs {
      { 1000, "bye" }, { 1001, "" }, { 1002, "" }, { 1003, "" }, { 1007, "" }, { 1008, "" }, { 1009, "" }, { 1010, "x" },
      { 1011, "" }, { 1012, "" }, { 1013, "" }, { 1014, "" }, { 3000, "" }, { 4999, ("x"):rep(123) }, { nil, "" },
    } do
      local server, log = desk.serve()
      local peer, socket = desk.guest(server, log)
      peer:closing(case[1], case[2])
      assert.equal(case[1], (goodbye(peer)))
      assert.equal("eof", (peer:finish()))
      assert.equal(2, socket.readyState)
      peer:close()
      desk.heard(log, "close")
      assert.same({ "connection", ("close %d %s clean"):format(case[1] or 1005, case[2]) }, log)
      assert.equal(3, socket.readyState)
      socket:send "into the void"
      socket:close()
      socket:terminate()
      assert.equal(13, socket.bufferedAmount)
    end
  end)

  it("by the peer inside a fragmented message is answered all the same, and what follows is ignored", function()
    local server, log = desk.serve()
    local peer = desk.guest(server, log)
    peer:frame({ "text", payload = "half", fin = false }, { "close", payload = frames.closing(4321, "enough") },
      { "continuation", payload = "rest" }, { "text", payload = "more" }, { 3 })
    assert.equal(4321, (goodbye(peer)))
    assert.equal("eof", (desk.leave(peer)))
    desk.heard(log, "close")
    assert.same({ "connection", "close 4321 enough clean" }, log)
  end)

  it("by both at once is clean for both", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    socket:close(4001, "server's")
    peer:closing(4002, "client's")
    assert.equal(4001, (goodbye(peer)))
    assert.equal("", select(2, desk.leave(peer)))
    desk.heard(log, "close 4002 client's clean")
  end)

  it("ends at closeTimeout when the peer never answers, unclean", function()
    local server, log = desk.serve { closeTimeout = 80 }
    local peer, socket = desk.guest(server, log)
    local start = lunawire.now()
    socket:close(1000)
    goodbye(peer)
    peer:frame { "text", payload = "still talking" }
    desk.heard(log, "close")
    assert.is_true(lunawire.now() - start >= 75)
    assert.same({ "connection", "close 1006  unclean" }, log)
  end)

  it("ends at closeTimeout when the peer answers and keeps TCP open", function()
    for _, first in ipairs { "server", "client" } do
      local server, log = desk.serve { closeTimeout = 80 }
      local peer, socket = desk.guest(server, log)
      local start = lunawire.now()
      if first == "server" then socket:close(1000) end
      peer:closing(1000)
      goodbye(peer)
      assert.equal("eof", (peer:finish()))
      desk.heard(log, "close")
      assert.is_true(lunawire.now() - start >= 75)
      assert.same({ "connection", "close 1000  clean" }, log)
    end
  end)

  it("sends what was queued before, to a reader that starts late", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    peer.reading = false
    local long = ("0123456789"):rep(1000000)
    socket:send(long)
    socket:send "last"
    socket:close(1000, "done")
    socket:send "too late"
    wire.settle(50)
    assert.equal(2, socket.readyState)
    peer.reading = true
    assert.is_true(long == peer:next().payload)
    assert.equal("last", peer:next().payload)
    assert.equal(1000, (goodbye(peer)))
    peer:closing(1000)
    desk.leave(peer)
    desk.heard(log, "close 1000  clean")
    assert.equal(8, socket.bufferedAmount) -- "too late"
  end)

  it("by terminate is at once, 1006 with the reason given", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    peer:frame { "text", payload = "unheard" }
    socket:terminate "flood"
    assert.equal(0, #server)
    assert.same({ "connection" }, log) -- nothing within the call
    peer:finish()
    assert.equal("", peer.bytes) -- no Close frame
    desk.heard(log, "close")
    assert.same({ "connection", "close 1006 flood unclean" }, log)
    desk.raises("SyntaxError", "124 bytes", socket.terminate, socket, ("x"):rep(124))
    desk.raises("TypeError", "the reason must be a string", socket.terminate, socket, 5)
  end)

  it("in a message handler drops the messages behind it", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    socket.onmessage = function(event)
      log[#log + 1] = event.data
      socket:close(1000)
    end
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" }, { "text", payload = "3" })
    assert.equal(1000, (goodbye(peer)))
    peer:closing(1000)
    desk.leave(peer)
    desk.heard(log, "close")
    assert.same({ "connection", "1", "close 1000  clean" }, log)
  end)

  it("may be the first thing done to it", function()
    for name, expected in pairs { close = "close 1005  clean", terminate = "close 1006  unclean" } do
      local server, log = desk.serve()
      local connection = server.onconnection
      function server.onconnection(event)
        connection(event)
        event.socket[name](event.socket)
      end
      local peer = wire.connect(server.port)
      peer:send(wire.upgrade() .. peer:build { "text", payload = "early" } .. peer:build { "close" })
      peer:finish()
      peer:close()
      desk.heard(log, "close")
      assert.same({ "connection", expected }, log)
    end
  end)

  it("that is paused discards what has not been read", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    socket:pause()
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" })
    wire.settle()
    socket:close(1000)
    assert.equal(1000, (goodbye(peer)))
    peer:closing(1000)
    desk.leave(peer)
    desk.heard(log, "close")
    assert.same({ "connection", "close 1000  clean" }, log)
  end)
end)

describe("the end of the program", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("says 1001 to open sockets, ends handshakes, and removes a Unix socket's file #foreign", function()
    local helper = require "spec.helper"
    local path = desk.path()
    local script = ([[
      local lunawire = require "lunawire"
      local server = lunawire.WebSocketServer {}
      local other = lunawire.WebSocketServer { path = %q }
      local n = 0
      server.onconnection = function(event)
        n = n + 1
        event.socket:send "welcome"
        if n == 2 then lunawire.stop() end
      end
      print(server.port)
      io.stdout:flush()
      lunawire.run(5000)
      print "done"
    ]]):format(path)
    local child = helper.peer(helper.lua("-e " .. helper.quote(script)), 20)
    desk.finally(function() child:stop() end)
    local port = tonumber(child:line())
    local half = wire.connect(port)
    half:send "GET / HTTP/1.1\r\n"
    local one, two = wire.client(port), wire.client(port)
    for _, peer in ipairs { one, two } do
      assert.equal("welcome", peer:next().payload)
      assert.equal(1001, (goodbye(peer)))
      peer:finish()
    end
    half:finish()
    assert.equal("done", child:line())
    assert.equal(0, child:wait())
    assert.is_nil((require("lunawire.probe").sys.isSocket(path)))
  end)

  it("in a child that was forked off says nothing and removes nothing #foreign", function()
    local helper = require "spec.helper"
    local path = desk.path()
    local script = ([[
      local lunawire = require "lunawire"
      local sys = require("lunawire.probe").sys
      local server = lunawire.WebSocketServer {}
      local other = lunawire.WebSocketServer { path = %q }
      server.onmessage = function(event)
        if event.data == "fork" then
          event.target:send(sys.fork(function() os.exit(3, true) end))
        else
          event.target:send(tostring(sys.isSocket(%q)))
          event.target:close()
          server:close()
          other:close()
        end
      end
      print(server.port)
      io.stdout:flush()
      lunawire.run(5000)
    ]]):format(path, path)
    local child = helper.peer(helper.lua("-e " .. helper.quote(script)), 20)
    desk.finally(function() child:stop() end)
    local peer = wire.client(tonumber(child:line()))
    peer:frame { "text", payload = "fork" }
    assert.equal("exit 3", peer:next().payload)
    peer:frame { "text", payload = "are you there?" }
    assert.equal("true", peer:next().payload)
    assert.is_nil((goodbye(peer)))
    peer:closing()
    desk.leave(peer)
    assert.equal(0, child:wait())
  end)
end)
