-- The upgrade at the server: what is let in and how, what is refused and with which status,
-- and who may have a say (`protocols`, `origins`, `resource`, onupgrade).

local desk = require "spec.server_helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local wire = require "spec.wire"
local wrong = require "spec.wrong"

local ways = { "whole", "one byte at a time" }

local lines, usual, USUAL = wrong.lines, wrong.usual, wrong.USUAL

describe("an upgrade", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("is answered as in RFC 6455, to the byte", function()
    local server = desk.listen()
    for _, way in ipairs(ways) do
      local peer = desk.ask(server, lines("GET /chat HTTP/1.1", "Host: server.example.com", "Upgrade: websocket",
        "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: http://server.example.com",
        "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Version: 13"), way)
      assert.equal("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        .. "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", peer:head().text)
    end
  end)

  it("brings a connection event: the open socket, and the request", function()
    local server, log = desk.serve()
    local fd = assert(probe.sys.connect(server.port))
    desk.finally(function() probe.sys.close(fd) end)
    assert(probe.sys.send(fd, wire.upgrade({
      ["X-Mixed-Case"] = "Value", ["X-Twice"] = "one\r\nx-twice: two", ["X-Empty"] = "",
      ["X-Bytes"] = "caf\233", ["X-Spaces"] = " \t in the  middle \t ",
    }, "GET /room/a%20b?x=1&y=?z HTTP/1.1")))
    desk.heard(log, "connection")
    local event, request, socket = log.events[1], log.requests[1], log.sockets[1]
    assert.equal("connection", event.type)
    assert.equal(server, event.target)
    assert.equal(socket, event.socket)
    assert.same({
      method = "GET", target = "/room/a%20b?x=1&y=?z", path = "/room/a%20b", query = "x=1&y=?z",
      remoteAddress = "127.0.0.1", remotePort = select(2, probe.sys.name(fd)),
      peerAddress = "127.0.0.1", peerPort = select(2, probe.sys.name(fd)),
      headers = {
        host = "127.0.0.1", upgrade = "websocket", connection = "Upgrade",
        ["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ==", ["sec-websocket-version"] = "13",
        ["x-mixed-case"] = "Value", ["x-twice"] = "one, two", ["x-empty"] = "",
        ["x-bytes"] = "caf\233", ["x-spaces"] = "in the  middle",
      },
    }, request)
    assert.equal(1, #server)
  end)

  it("without a query has none, with an empty one an empty one", function()
    local server, log = desk.serve()
    desk.guest(server, log)
    assert.equal("/", log.requests[1].path)
    assert.is_nil(log.requests[1].query)
    desk.guest(server, log, nil, "GET /? HTTP/1.1")
    assert.equal("/", log.requests[2].path)
    assert.equal("", log.requests[2].query)
    assert.equal("/?", log.requests[2].target)
  end)

  it("gives a socket with every member of WebSocket", function()
    local server, log = desk.serve { protocols = { "soap" } }
    local _, socket = desk.guest(server, log, { ["Sec-WebSocket-Protocol"] = "soap" })
    for name, value in pairs {
      CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3, readyState = 1, protocol = "soap", extensions = "",
      bufferedAmount = 0, binaryType = "string", url = "",
    } do
      assert.equal(value, socket[name], name)
    end
    assert.equal("number", type(socket.lastReceived))
    assert.is_true(socket.lastReceived <= lunawire.now())
    for _, name in ipairs {
      "send", "close", "ping", "terminate", "pause", "resume", "addEventListener", "removeEventListener",
      "subscribe", "unsubscribe", "isSubscribed", "publish",
    } do
      assert.equal("function", type(socket[name]), name)
    end
    for _, name in ipairs { "onopen", "onmessage", "onerror", "onclose", "onping", "onpong", "ondrain" } do
      assert.is_nil(socket[name], name)
      socket[name] = print
      assert.equal(print, socket[name], name)
      socket[name] = nil
    end
    desk.raises("TypeError", '"readyState" is read-only', function() socket.readyState = 3 end)
  end)

  for _, case in ipairs {
    { "in other cases of letters", lines("GET / HTTP/1.1", "hOST: h", "UPGRADE: WebSocket", "connection: uPGRADE",
      "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "SEC-WEBSOCKET-VERSION: 13") },
    { "among other connection options", lines("GET / HTTP/1.1", "Host: h", "Upgrade: websocket",
      "Connection: keep-alive, Upgrade", table.unpack(USUAL, 4)) },
    { "with connection options on two lines", lines("GET / HTTP/1.1", "Host: h", "Upgrade: websocket",
      "Connection: keep-alive", "Connection: Upgrade", table.unpack(USUAL, 4)) },
    { "among other upgrades", lines("GET / HTTP/1.1", "Host: h", "Upgrade: h2c, websocket", "Connection: Upgrade",
      table.unpack(USUAL, 4)) },
    { "with an absolute target", lines("GET ws://127.0.0.1/x?y HTTP/1.1", table.unpack(USUAL)) },
    { "with no space behind the colons, and many", lines("GET / HTTP/1.1", "Host:h", "Upgrade:websocket",
      "Connection:  \t Upgrade \t", "Sec-WebSocket-Key:dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version:  13 ") },
    { "with an empty body announced", usual "Content-Length: 0" },
    { "with a target of 8 KiB", lines("GET /" .. ("a"):rep(8191) .. " HTTP/1.1", table.unpack(USUAL)) },
    { "with 100 headers", usual(table.unpack((function()
      local more = {}
      for i = 1, 95 do more[i] = "X-" .. i .. ": y" end
      return more
    end)())) },
    { "with a head of 16 KiB", usual("X: " .. ("y"):rep(16384 - #usual "X: ")) },
    { "with an unknown extension", usual "Sec-WebSocket-Extensions: foo; bar=1, baz" },
    { "with a quoted parameter", usual 'Sec-WebSocket-Extensions: foo; bar="baz"' },
    { "offering compression", usual "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits" },
    { "offering compression with 7 bits", usual "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7" },
    { "offering compression with 16 bits", usual "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=16" },
    { "offering compression with 08 bits", usual "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=08" },
    { "offering compression with 8 bits", usual "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8" },
    { "offering compression with a parameter twice", usual
      "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; server_no_context_takeover" },
    { "offering compression with an unknown parameter", usual "Sec-WebSocket-Extensions: permessage-deflate; mystery" },
    { "offering compression with a value on a flag", usual
      "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover=1" },
  } do
    local name, bytes = case[1], case[2]
    it(name .. " is let in", function()
      local server, log = desk.serve()
      for _, way in ipairs(ways) do
        local peer = desk.ask(server, bytes, way)
        local head = peer:head()
        assert.equal(101, head.status, way)
        assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", head.headers["sec-websocket-accept"])
        assert.is_nil(head.headers["sec-websocket-extensions"])
        peer:frame { "text", payload = way }
        desk.heard(log, "text " .. way)
      end
    end)
  end

  it("keeps the frames that come with the request", function()
    local server, log = desk.serve()
    local peer = wire.connect(server.port)
    peer:send(wire.upgrade() .. peer:build { "text", payload = "one", fin = false } .. peer:build { "ping", payload = "!" }
      .. peer:build { "continuation", payload = " and two" } .. peer:build { "text", payload = "three" }
      .. peer:build { "text", payload = "four" }:sub(1, -3))
    peer:head()
    assert.equal("!", peer:next().payload)
    desk.heard(log, "text three")
    assert.same({ "connection", "ping !", "text one and two", "text three" }, log)
    peer:send(peer:build { "text", payload = "four" }:sub(-2))
    desk.heard(log, "text four")
  end)

  it("keeps them while the answer is deferred, and 60,000 bytes of them", function()
    local server, log = desk.serve()
    local deferred
    function server.onupgrade(event)
      event:defer()
      deferred = event
    end
    local peer = wire.connect(server.port)
    local long = ("x"):rep(30000)
    peer:send(wire.upgrade() .. peer:build { "text", payload = long } .. peer:build { "text", payload = long .. "!" })
    wire.await(function() return deferred end, "the upgrade")
    wire.settle()
    assert.same({}, log)
    assert.is_true(deferred:accept())
    peer:head()
    desk.heard(log, "text", 2)
    assert.same({ "connection", "text " .. long, "text " .. long .. "!" }, log)
  end)

  it("may end with the stream: its frames are heard, then the end", function()
    local server, log = desk.serve()
    local peer = wire.connect(server.port)
    peer:send(wire.upgrade() .. peer:build { "text", payload = "last words" })
    peer:shutdown()
    desk.heard(log, "close 1006  unclean")
    assert.same({ "connection", "text last words", "close 1006  unclean" }, log)
  end)
end)

-- --- what is refused ------------------------------------------------------------------------------

describe("a refused request", function()
  before_each(desk.open)
  after_each(desk.clear)

  local get, host = "GET / HTTP/1.1", "Host: 127.0.0.1"

  for _, case in ipairs(wrong.requests) do
    local name, bytes, status = case[1], case[2], case[3]
    for _, way in ipairs(ways) do
      it(("(%s), sent %s, is answered %d"):format(name, way, status), function()
        local server, log = desk.serve()
        local peer = desk.ask(server, bytes, way)
        local answer = desk.answer(peer)
        assert.equal(status, answer.status)
        assert.equal("eof", answer.ended)
        assert.equal(tostring(#answer.body), answer.headers["content-length"])
        assert.matches("^%C+\n$", answer.body) -- the reason, in a line of text
        assert.matches("close", answer.headers.connection)
        assert.equal(status == 426 and "13" or nil, answer.headers["sec-websocket-version"])
        assert.equal(status == 426 and "websocket" or nil, answer.headers.upgrade)
        assert.equal(status == 405 and "GET" or nil, answer.headers.allow)
        peer:close()
        wire.settle()
        assert.same({}, log)
        assert.equal(0, #server)
      end)
    end
  end

  it("can be read by a client that goes on sending", function()
    local server = desk.serve()
    local peer = wire.connect(server.port)
    peer:send("GET / HTTP/1.1\r\nX: " .. ("y"):rep(3000000))
    local head = peer:head()
    assert.equal(431, head.status)
    peer:send(("z"):rep(1000000))
    assert.equal("eof", (peer:finish()))
    wire.await(function() return peer.output == "" end, "the rest to be drained")
    peer:send "still here"
    wire.settle()
    assert.is_nil(peer.failed)
  end)

  it("whose client stays is ended at closeTimeout", function()
    local server = desk.serve { closeTimeout = 80 }
    local peer = desk.ask(server, lines(get, host))
    assert.equal(426, desk.answer(peer).status)
    local start = lunawire.now()
    wire.await(function()
      peer:send "x"
      return peer.failed
    end, "the end of the draining", 3)
    assert.is_true(lunawire.now() - start < 2000)
  end)

  it("is the only one on its connection: what follows is not looked at", function()
    local server, log = desk.serve()
    local asked = 0
    function server.onrequest(event)
      asked = asked + 1
      event:respond(200, nil, "one")
    end
    local answer = desk.fetch(server, lines(get, host) .. lines("GET /two HTTP/1.1", host) .. usual())
    assert.equal("one", answer.body)
    wire.settle()
    assert.equal(1, asked)
    assert.same({}, log)
  end)

  it("of noise or a TLS hello is answered at its first byte", function()
    local server = desk.serve()
    for _, byte in ipairs { "\22", "\0", "\200", " ", "\r" } do
      assert.equal(400, desk.fetch(server, byte).status)
    end
  end)
end)

-- --- subprotocols -----------------------------------------------------------------------------------

describe("a subprotocol", function()
  before_each(desk.open)
  after_each(desk.clear)

  local function chosen(server, log, offered, ...)
    local peer, socket = desk.guest(server, log, { ["Sec-WebSocket-Protocol"] = offered })
    assert.equal(socket.protocol, peer.response.headers["sec-websocket-protocol"] or "")
    return socket.protocol, ...
  end

  it("is the client's first that the server speaks", function()
    local server, log = desk.serve { protocols = { "a", "b", "c" } }
    assert.equal("b", chosen(server, log, "x, b, a"))
    assert.equal("c", chosen(server, log, "c"))
    assert.equal("a", chosen(server, log, "x\r\nSec-WebSocket-Protocol: y, a, b"))
  end)

  it("may be named as one string", function()
    local server, log = desk.serve { protocols = "only" }
    assert.equal("only", chosen(server, log, "some, only"))
  end)

  it("is none when there is none in common, or nothing was offered", function()
    local server, log = desk.serve { protocols = { "a", "B" } }
    assert.equal("", chosen(server, log, "x, y, A, b")) -- in the letters as they are
    assert.equal("", chosen(server, log, nil))
    local deaf, heard = desk.serve {}
    assert.equal("", chosen(deaf, heard, "a"))
  end)

  it("may be chosen by a function, which gets all that was offered and the request", function()
    local offers, requests = {}, {}
    local server, log = desk.serve {
      protocols = function(...)
        local offered, request = ...
        assert.equal(2, select("#", ...))
        offers[#offers + 1], requests[#requests + 1] = offered, request
        return offered[2]
      end,
    }
    assert.equal("b", chosen(server, log, "a,b\r\nSec-WebSocket-Protocol:c"))
    assert.same({ "a", "b", "c" }, offers[1])
    assert.equal("/", requests[1].path)
    assert.equal("127.0.0.1", requests[1].remoteAddress)
    assert.equal("", chosen(server, log, nil))
    assert.same({}, offers[2])
  end)

  it("chosen by a function that raises, or chooses nonsense, ends in a 500 and an error", function()
    local choice
    local server, log = desk.serve { protocols = function() return choice() end }
    local errors = {}
    lunawire.onerror = function(err, source) errors[#errors + 1] = { err, source } end
    choice = function() error "undecided" end
    assert.equal(500, desk.fetch(server, usual()).status)
    assert.matches("undecided", errors[1][1])
    assert.equal(server, errors[1][2])
    for _, nonsense in ipairs { 7, true, "a b", {} } do
      choice = function() return nonsense end
      assert.equal(500, desk.fetch(server, usual()).status)
      assert.equal("TypeError", errors[#errors][1].name)
    end
    assert.equal(5, #errors)
    assert.same({}, log)
  end)
end)

-- --- origins and resources -----------------------------------------------------------------------------

describe("an Origin", function()
  before_each(desk.open)
  after_each(desk.clear)

  local function status(server, origin, host)
    local peer = desk.ask(server, wire.upgrade { Origin = origin or nil, Host = host })
    local head = peer:head()
    if head.status ~= 101 then
      head.body = select(2, peer:finish())
      assert.matches("origins", head.body)
    end
    peer:close()
    return head.status
  end

  it("is by default the server's own host and port, or none", function()
    local server = desk.serve()
    for _, case in ipairs {
      { nil, "a.example", 101 },
      { "http://a.example", "a.example", 101 },
      { "https://a.example", "a.example:443", 101 },
      { "http://A.Example", "a.example", 101 },
      { "http://a.example:8080", "a.example:8080", 101 },
      { "https://a.example:8080", "a.example:8080", 101 },
      { "http://[::1]:8080", "[::1]:8080", 101 },
      { "http://a.example:80", "a.example", 101 },
      { "http://b.example", "a.example", 403 },
      { "http://a.example:8081", "a.example:8080", 403 },
      { "http://a.example", "a.example:8080", 403 },
      { "http://a.example.evil", "a.example", 403 },
      { "http://evila.example", "a.example", 403 },
      { "http://sub.a.example", "a.example", 403 },
      { "http://evil@a.example", "a.example", 403 },
      { "http://a.example/", "a.example", 403 },
      { "file://a.example", "a.example", 403 },
      { "null", "a.example", 403 },
      { "a.example", "a.example", 403 },
      { "", "a.example", 403 },
    } do
      assert.equal(case[3], status(server, case[1], case[2]), ("%s at %s"):format(case[1], case[2]))
    end
  end)

  it("may stand in a list", function()
    local server = desk.serve { origins = { "https://one.example", "http://two.example:8080", "null" } }
    for origin, expected in pairs {
      ["https://one.example"] = 101, ["HTTPS://One.Example"] = 101, ["http://two.example:8080"] = 101, ["null"] = 101,
      ["http://one.example"] = 403, ["https://one.example:8443"] = 403, ["http://two.example"] = 403,
      ["http://127.0.0.1"] = 403, -- the server's own is not in the list
    } do
      assert.equal(expected, status(server, origin), origin)
    end
    assert.equal(101, status(server, nil)) -- not a browser: nothing to protect
    assert.equal(403, status(server, "https://one.example\r\nOrigin: https://one.example"))
  end)

  it("may be any", function()
    for _, any in ipairs { "*", { "*" }, { "http://a.example", "*" } } do
      local server = desk.serve { origins = any }
      assert.equal(101, status(server, "http://evil.example"))
      assert.equal(101, status(server, "null"))
    end
  end)

  it("may be none at all", function()
    local server = desk.serve { origins = {} }
    assert.equal(403, status(server, "http://127.0.0.1"))
    assert.equal(101, status(server, nil))
  end)

  it("that is refused is not asked about", function()
    local server = desk.serve()
    function server.onupgrade() error "not for you" end
    assert.equal(403, status(server, "http://evil.example"))
  end)
end)

describe("a resource", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("is the only path served", function()
    local server = desk.serve { resource = "/chat" }
    for target, status in pairs {
      ["/chat"] = 101, ["/chat?room=1"] = 101, ["/"] = 404, ["/chat/"] = 404, ["/chats"] = 404, ["/cha"] = 404,
      ["/Chat"] = 404, ["/?/chat"] = 404, ["ws://h/chat"] = 101,
    } do
      local peer = desk.ask(server, wire.upgrade(nil, "GET " .. target .. " HTTP/1.1"))
      assert.equal(status, peer:head().status, target)
    end
  end)

  it("leaves plain requests to onrequest", function()
    local server = desk.serve { resource = "/chat" }
    function server.onrequest(event) event:respond(200, nil, event.request.path) end
    assert.equal("/page", desk.fetch(server, lines("GET /page HTTP/1.1", "Host: h")).body)
  end)
end)

-- --- onupgrade -----------------------------------------------------------------------------------------

describe("onupgrade", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("is asked before the 101, with the request and the protocol chosen so far", function()
    local server, log = desk.serve { protocols = { "a" } }
    local seen
    function server.onupgrade(event)
      log[#log + 1] = "upgrade"
      seen = event
    end
    desk.guest(server, log, { ["Sec-WebSocket-Protocol"] = "a", ["X-Token"] = "secret" }, "GET /x?y HTTP/1.1")
    assert.equal("upgrade", seen.type)
    assert.equal(server, seen.target)
    assert.equal("a", seen.protocol)
    assert.equal("secret", seen.request.headers["x-token"])
    assert.equal("y", seen.request.query)
    assert.equal(seen.request, log.requests[1])
    assert.same({ "upgrade", "connection" }, log)
  end)

  it("is not asked for a plain request", function()
    local server = desk.serve()
    function server.onupgrade() error "not an upgrade" end
    assert.equal(426, desk.fetch(server, lines("GET / HTTP/1.1", "Host: h")).status)
  end)

  it("may set protocol and headers", function()
    local server, log = desk.serve { protocols = { "a", "b" } }
    function server.onupgrade(event)
      event.protocol = "b"
      event.headers = { ["X-Server"] = "moon", ["Set-Cookie"] = { "a=1", "b=2; Path=/" }, ["X-Number"] = 7 }
    end
    local peer, socket = desk.guest(server, log, { ["Sec-WebSocket-Protocol"] = "a, b" })
    assert.equal("b", socket.protocol)
    assert.equal("b", peer.response.headers["sec-websocket-protocol"])
    assert.equal("moon", peer.response.headers["x-server"])
    assert.equal("a=1, b=2; Path=/", peer.response.headers["set-cookie"])
    assert.truthy(peer.response.text:find("\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\n", 1, true))
    assert.equal("7", peer.response.headers["x-number"])
  end)

  it("may take the protocol away", function()
    local server, log = desk.serve { protocols = { "a" } }
    function server.onupgrade(event) event.protocol = nil end
    local peer, socket = desk.guest(server, log, { ["Sec-WebSocket-Protocol"] = "a" })
    assert.equal("", socket.protocol)
    assert.is_nil(peer.response.headers["sec-websocket-protocol"])
  end)

  it("may reject with status, headers and body", function()
    local server, log = desk.serve()
    function server.onupgrade(event)
      assert.is_true(event:reject(401, { ["WWW-Authenticate"] = "Basic", ["X-Why"] = { "one", "two" } }, "who are you?\n"))
    end
    for _, way in ipairs(ways) do
      local answer = desk.fetch(server, usual(), way)
      assert.equal("HTTP/1.1 401 Unauthorized", answer.line)
      assert.equal("Basic", answer.headers["www-authenticate"])
      assert.equal("one, two", answer.headers["x-why"])
      assert.equal("who are you?\n", answer.body)
      assert.equal("13", answer.headers["content-length"])
      assert.equal("close", answer.headers.connection)
    end
    assert.same({}, log)
  end)

  it("rejects with 403 and no body unless told otherwise", function()
    local server = desk.serve()
    function server.onupgrade(event) event:reject() end
    local answer = desk.fetch(server, usual())
    assert.equal(403, answer.status)
    assert.equal("", answer.body)
  end)

  it("answers once: what comes after the first answer says false", function()
    local server, log = desk.serve()
    local results = {}
    function server.onupgrade(event)
      results = { event:reject(404), event:reject(500), event:accept(), event:respond(200) }
    end
    assert.equal(404, desk.fetch(server, usual()).status)
    assert.same({ true, false, false, false }, results)
    function server.onupgrade(event) results = { event:accept(), event:accept(), event:reject(403) } end
    desk.guest(server, log)
    assert.same({ true, false, false }, results)
    assert.same({ "connection" }, log)
    assert.is_not_nil(log.requests[1])
  end)

  for _, case in ipairs {
    { "a status that is no rejection", function(event) event:reject(200) end, "TypeError" },
    { "the status 101", function(event) event:reject(101) end, "TypeError" },
    { "the status 600", function(event) event:reject(600) end, "TypeError" },
    { "the status 403.5", function(event) event:reject(403.5) end, "TypeError" },
    { "a status in letters", function(event) event:reject "403" end, "TypeError" },
    { "a body that is no string", function(event) event:reject(403, nil, {}) end, "TypeError" },
    { "headers that are no table", function(event) event:reject(403, "X: y") end, "TypeError" },
    { "a header's name with a colon", function(event) event:reject(403, { ["X:"] = "y" }) end, "SyntaxError" },
    { "a header with CR LF", function(event) event:reject(403, { X = "y\r\nZ: 1" }) end, "SyntaxError" },
    { "a header with LF", function(event) event.headers = { X = "y\nZ: 1" } end, "SyntaxError" },
    { "a header with NUL", function(event) event.headers = { X = "y\0" } end, "SyntaxError" },
    { "a list of headers with CR", function(event) event.headers = { X = { "a", "b\r" } } end, "SyntaxError" },
    { "a header of the handshake's own", function(event) event.headers = { Upgrade = "h2c" } end, "SyntaxError" },
    { "another of its own", function(event) event.headers = { ["sec-websocket-accept"] = "x" } end, "SyntaxError" },
    { "a header that is a boolean", function(event) event.headers = { X = true } end, "TypeError" },
    { "headers in a list", function(event) event.headers = { "X: y" } end, "TypeError" },
    { "a protocol with a space", function(event) event.protocol = "a b" end, "TypeError" },
    { "a protocol that is a table", function(event) event.protocol = {} end, "TypeError" },
    { "a protocol with CR LF", function(event) event.protocol = "a\r\nX: y" end, "TypeError" },
  } do
    it("with " .. case[1] .. " raises, and the client gets a 500", function()
      local server, log = desk.serve()
      server.onupgrade = case[2]
      local errors = {}
      lunawire.onerror = function(err) errors[#errors + 1] = err end
      local answer = desk.fetch(server, usual())
      assert.equal(500, answer.status)
      assert.is_nil(answer.text:find("Z: 1", 1, true))
      assert.equal(1, #errors)
      assert.equal(case[3], errors[1].name, errors[1].message)
      assert.same({}, log)
    end)
  end

  it("that raises ends in a 500, and the error leaves step unchanged", function()
    local server, log = desk.serve()
    local mistake = { "a table" }
    function server.onupgrade() error(mistake) end
    local peer = desk.ask(server, usual())
    local ok, err
    repeat ok, err = pcall(wire.turn) until not ok
    assert.equal(mistake, err)
    assert.equal(500, desk.answer(peer).status)
    assert.same({}, log)
    server.onupgrade = nil
    desk.guest(server, log)
  end)

  it("that raises tells onerror the error, the server and a traceback", function()
    local server = desk.serve()
    local told
    function lunawire.onerror(...) told = { ... } end
    function server.onupgrade()
      local function deeper() error "in the depth" end
      deeper()
    end
    assert.equal(500, desk.fetch(server, usual()).status)
    assert.matches("in the depth$", told[1])
    assert.equal(server, told[2])
    assert.matches("deeper", told[3])
  end)

  it("that raises in a listener ends in a 500 all the same, though the others run", function()
    local server, log = desk.serve()
    local errors, others = {}, 0
    lunawire.onerror = function(err) errors[#errors + 1] = err end
    server:addEventListener("upgrade", function() error "no" end)
    server:addEventListener("upgrade", function() others = others + 1 end)
    assert.equal(500, desk.fetch(server, usual()).status)
    assert.equal(1, #errors)
    assert.equal(1, others)
    assert.same({}, log)
  end)

  it("that raises after it has answered leaves the answer as it is", function()
    local server, log = desk.serve()
    lunawire.onerror = function() end
    function server.onupgrade(event)
      event:reject(404)
      error "too late"
    end
    assert.equal(404, desk.fetch(server, usual()).status)
    function server.onupgrade(event)
      event:accept()
      error "too late"
    end
    desk.guest(server, log)
    assert.equal("/", log.requests[1] and log.requests[1].path)
  end)

  it("may be a listener, and several", function()
    local server, log = desk.serve { protocols = { "a" } }
    server:addEventListener("upgrade", function(event) event.headers = { X = "1" } end)
    server:addEventListener("upgrade", function(event) event.headers.Y = "2" end)
    local peer = desk.guest(server, log)
    assert.equal("1", peer.response.headers.x)
    assert.equal("2", peer.response.headers.y)
  end)

  it("has methods that want the event", function()
    local server = desk.serve()
    local event
    function server.onupgrade(e) event = e end
    local peer = desk.ask(server, usual())
    peer:head()
    for _, name in ipairs { "accept", "reject", "defer", "respond" } do
      desk.raises("TypeError", name .. ": an upgrade or request event expected, got table", event[name], {})
      desk.raises("TypeError", name .. ": an upgrade or request event expected, got nil", event[name])
    end
  end)
end)

describe("a deferred upgrade", function()
  before_each(desk.open)
  after_each(desk.clear)

  local function deferring(options)
    local server, log = desk.serve(options)
    local events = {}
    function server.onupgrade(event)
      event:defer()
      events[#events + 1] = event
    end
    return server, log, events
  end

  local function asked(server, events, bytes)
    local n = #events + 1
    local peer = desk.ask(server, bytes or usual())
    wire.await(function() return events[n] end, "the upgrade")
    wire.settle()
    assert.equal("", peer.bytes)
    return peer, events[n]
  end

  it("may be accepted later", function()
    local server, log, events = deferring { protocols = { "a" } }
    local peer, event = asked(server, events, usual "Sec-WebSocket-Protocol: a")
    event.headers = { X = "later" }
    assert.is_true(event:accept())
    assert.equal(0, #server)
    assert.same({}, log) -- nothing happens within the call
    local head = peer:head()
    assert.equal(101, head.status)
    assert.equal("later", head.headers.x)
    assert.equal("a", head.headers["sec-websocket-protocol"])
    desk.heard(log, "connection")
    assert.equal(event.request, log.requests[1])
    assert.is_false(event:accept())
    assert.is_false(event:reject(403))
    peer:frame { "text", payload = "hi" }
    desk.heard(log, "text hi")
  end)

  it("may be accepted by a timer while others come and go", function()
    local server, log, events = deferring()
    local slow, event = asked(server, events)
    local quick, other = asked(server, events)
    other:accept()
    assert.equal(101, quick:head().status)
    lunawire.setTimeout(function() event:accept() end, 20)
    assert.equal(101, slow:head().status)
    desk.heard(log, "connection", 2)
  end)

  it("may be rejected later", function()
    local server, log, events = deferring()
    local peer, event = asked(server, events)
    assert.is_true(event:reject(402, { X = "y" }, "pay\n"))
    local answer = desk.answer(peer)
    assert.equal(402, answer.status)
    assert.equal("pay\n", answer.body)
    assert.equal("eof", answer.ended)
    assert.is_false(event:accept())
    assert.same({}, log)
  end)

  it("whose accept raises may be put right", function()
    local server, log, events = deferring()
    local peer, event = asked(server, events)
    event.headers = { X = "a\r\nb" }
    desk.raises("SyntaxError", "control character", event.accept, event)
    event.headers = nil
    assert.is_true(event:accept())
    assert.equal(101, peer:head().status)
    desk.heard(log, "connection")
  end)

  it("says false once the peer has reset the connection", function()
    local server, log, events = deferring()
    local peer, event = asked(server, events)
    peer:reset()
    wire.settle()
    assert.is_false(event:accept())
    assert.same({}, log)
  end)

  it("whose peer has ended its stream is still answered", function()
    local server, _, events = deferring()
    local peer, event = asked(server, events)
    peer:shutdown()
    wire.settle()
    assert.is_true(event:reject(403, nil, "no\n"))
    assert.equal("no\n", desk.answer(peer).body)
  end)

  it("ends at handshakeTimeout, and says false afterwards", function()
    local server, log, events = deferring { handshakeTimeout = 80 }
    local start = lunawire.now()
    local peer, event = asked(server, events)
    peer:finish()
    assert.is_true(lunawire.now() - start >= 75)
    assert.is_false(event:accept())
    assert.is_false(event:reject(403))
    assert.same({}, log)
  end)

  it("keeps nobody waiting who does not read it: bytes that come meanwhile stay where they are", function()
    local server, log, events = deferring()
    local peer, event = asked(server, events)
    peer:send(peer:build { "text", payload = ("x"):rep(200000) })
    assert.is_true(desk.turns(100) < 20, "it span")
    event:accept()
    desk.heard(log, "text xxx")
  end)

  it("that nobody keeps ends at handshakeTimeout", function()
    local server = desk.serve { handshakeTimeout = 80 }
    function server.onupgrade(event) event:defer() end
    local peer = desk.ask(server, usual())
    wire.settle()
    collectgarbage()
    peer:finish()
    assert.equal("", peer.bytes)
  end)

  it("and its handler's error: the error wins", function()
    local server = desk.serve()
    lunawire.onerror = function() end
    function server.onupgrade(event)
      event:defer()
      error "oh"
    end
    assert.equal(500, desk.fetch(server, usual()).status)
  end)
end)
