-- What a WebSocketServer may be told, and where it listens.

local desk = require "spec.server_helper"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

local sys = probe.sys
local Server = lunawire.WebSocketServer

describe("a server's options", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("are a table", function()
    for _, wrong in ipairs { 8080, "8080", true, print } do
      desk.raises("TypeError", "a table of options expected, got " .. type(wrong), Server, wrong)
    end
    desk.raises("TypeError", "a table of options expected, got nil", Server)
    desk.raises("TypeError", "a table of options expected, got nil", Server, nil)
  end)

  it("may all be left out", function()
    local server = desk.listen {}
    assert.equal(101, wire.client(server.port).response.status)
  end)

  it("are read once: the table is neither changed nor kept", function()
    local options = { protocols = { "a", "b" }, origins = { "http://one.example" }, maxPayload = 10 }
    local server, log = desk.serve(options)
    assert.same({ protocols = { "a", "b" }, origins = { "http://one.example" }, maxPayload = 10 }, options)
    options.protocols[1], options.origins[1], options.maxPayload = "z", "http://two.example", 1
    local peer = desk.guest(server, log, { ["Sec-WebSocket-Protocol"] = "b, a", Origin = "http://one.example" })
    assert.equal("b", peer.response.headers["sec-websocket-protocol"])
    peer:frame { "text", payload = "0123456789" }
    desk.heard(log, "text 0123456789")
  end)

  for _, case in ipairs {
    { "prot", "port" },
    { "Port", "port" },
    { "pathh", "path" },
    { "maxConections", "maxConnections" },
    { "orgins", "origins" },
    { "protocol", "protocols" },
    { "handshakeTimout", "handshakeTimeout" },
    { "maxpayload", "maxPayload" },
    { "heartBeat", "heartbeat" },
    { "ressource", "resource" },
    { "perMesageDeflate", "perMessageDeflate" },
    { "reuseport", "reusePort" },
  } do
    it(("name %q for the unknown %q"):format(case[2], case[1]), function()
      desk.raises("TypeError", ('unknown option "%s" (did you mean "%s"?)'):format(case[1], case[2]),
        Server, { [case[1]] = 1 })
    end)
  end

  it("name nothing for what is near to nothing", function()
    local err = desk.raises("TypeError", 'unknown option "frobnicate"', Server, { frobnicate = true })
    assert.is_nil(err.message:find("did you mean", 1, true))
    desk.raises("TypeError", "a name expected, got a number as key", Server, { "port" })
  end)

  local nan = 0 / 0
  for _, case in ipairs {
    { "port", { 0 }, { -1, 65536, 1.5, "80", true, nan, math.huge } },
    { "backlog", { 1, 511 }, { 0, -1, 1.5, "1" } },
    { "reusePort", { true, false }, { 1, "yes" } },
    { "noDelay", { true, false }, { 0, "no" } },
    { "maxConnections", { 1, 100000 }, { 0, -1, 0.5, "9", nan, math.huge } },
    { "handshakeTimeout", { 1, 10.5, 60000 }, { 0, -1, nan, math.huge, "1", true } },
    { "closeTimeout", { 1, 10.5, 60000 }, { 0, -1, nan, math.huge, "1", true } },
    { "maxPayload", { 1, 2 ^ 53 - 1 }, { 0, -1, 2 ^ 53, 1.5, "1", nan } },
    { "maxFragments", { 1, 1000 }, { 0, -1, 1.5, "1" } },
    { "fragmentSize", { 0, 1, 1000 }, { -1, 1.5, "1" } },
    { "highWaterMark", { 1, 1000 }, { 0, -1, 1.5, "1" } },
    { "maxBufferedAmount", { 1, 1000 }, { 0, -1, 1.5, "1" } },
    { "maxHeaderSize", { 128, 65536 }, { 0, 127, -1, 1.5, "1" } },
    { "maxHeaderCount", { 4, 1000 }, { 0, 3, -1, 1.5, "1" } },
    { "host", { "127.0.0.1" }, { 1, true, {}, "a\0b" } },
    { "path", {}, { 1, true, {}, "a\0b" } },
    { "resource", { "/", "/chat" }, { 1, true, {} } },
    { "origins", {
      "*", {}, { "http://a.example" }, "null", "https://a.example:8443", "https://a.example:80", "http://[::1]:8080",
      "http://[::1]", "HTTPS://A.Example", "chrome-extension://abcdef",
    }, {
      1, true, print, { 1 }, { {} }, "", "a.example", "https://a.example/", "https://a.example:443", "http://a.example:80",
      "https://*.a.example", "https://", "://a.example", "http://:80", "http://a.example:", "http://a.example:8x", "http://a b",
      "http://ü.example", "http://ada@a.example", "http://a.example?x", "http://a.example#x", "http://a.example\0",
      "http://[::1]:80",
    } },
    { "protocols", { {}, { "a", "b" }, "a", print }, { 1, true, { 1 }, { "" }, { "a b" }, { "a,b" }, { "é" }, { "a", "" } } },
  } do
    local name, good, bad = case[1], case[2], case[3]
    it(("take for %q what makes sense, and nothing else"):format(name), function()
      for _, value in ipairs(good) do desk.listen { [name] = value } end
      for _, value in ipairs(bad) do
        desk.raises("TypeError", ('option "%s"'):format(name), Server, { [name] = value })
      end
    end)
  end

  it("say which value was out of which range, and which item of a list is wrong", function()
    desk.raises("TypeError", 'WebSocketServer: option "port": 65536 is not from 0 to 65535', Server, { port = 65536 })
    desk.raises("TypeError", 'option "maxPayload": a number expected, got string', Server, { maxPayload = "1" })
    desk.raises("TypeError", 'option "maxFragments": a whole number expected, got 1.5', Server, { maxFragments = 1.5 })
    desk.raises("TypeError", 'option "protocols": item 2 is no subprotocol name', Server, { protocols = { "a", "b c" } })
    desk.raises("TypeError", 'option "origins": item 1 is no string', Server, { origins = { 7 } })
    desk.raises("TypeError", 'option "origins": "https://a.example/" is nothing a browser sends', Server,
      { origins = { "https://b.example", "https://a.example/" } })
  end)

  it("of perMessageDeflate say what is wrong with it", function()
    for _, case in ipairs {
      { "yes", "a boolean or a table expected, got string" }, { { levle = 1 }, 'did you mean "level"' },
      { { serverMaxWindowBits = 8 }, "9 to 15 bits, not with 8" }, { { clientMaxWindowBits = 16 }, "16 is not from 8 to 15" },
    } do
      desk.raises("TypeError", case[2], Server, { perMessageDeflate = case[1] })
    end
  end)

  it("that only may be switched on may be switched off", function()
    desk.listen { heartbeat = false, perMessageDeflate = false, tls = false }
  end)

  it("that are wrong leave no descriptor open and nothing in the loop", function()
    local before = sys.descriptors()
    for _ = 1, 50 do
      pcall(Server, { port = 0, maxPayload = 0 })
      pcall(Server, { port = 0, protocols = { "a b" } })
      pcall(Server, { port = 0, tls = {} })
    end
    assert.equal(before, sys.descriptors())
    assert.is_true(lunawire.run(0))
  end)
end)

describe("where a server listens", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("is a free port of 127.0.0.1 unless told otherwise", function()
    local one, two = desk.listen {}, desk.listen { port = 0 }
    assert.is_true(one.port > 0 and one.port < 65536)
    assert.not_equal(one.port, two.port)
    assert.equal(("ws://127.0.0.1:%d/"):format(one.port), one.url)
    assert.is_true(desk.refused(one.port, "127.0.0.2"))
  end)

  it("is the port given", function()
    local first = desk.listen {}
    local port = first.port
    first:close()
    local second = desk.listen { port = port } -- free from the moment close() returned
    assert.equal(port, second.port)
    assert.equal(101, wire.client(port).response.status)
  end)

  it("host \"*\" listens on every address, as other programs mean it", function()
    local server = desk.listen { host = "*" }
    assert.matches("^ws://0%.0%.0%.0:%d+/$", server.url)
  end)

  it("names where handlers belong when one is given as an option", function()
    desk.raises("TypeError", 'unknown option "onconnection" (handlers are set on what WebSocketServer returns)', Server,
      { onconnection = print })
  end)

  it("is every address for 0.0.0.0", function()
    local server = desk.listen { host = "0.0.0.0" }
    assert.equal(("ws://0.0.0.0:%d/"):format(server.port), server.url)
    local peer = wire.connect(server.port, "127.0.0.2")
    peer:send(wire.upgrade())
    assert.equal(101, peer:head().status)
  end)

  it("is a name of this machine", function()
    local server = desk.listen { host = "localhost" }
    assert.is_true(server.port > 0)
  end)

  it("is read-only, and told by tostring", function()
    local server = desk.listen {}
    desk.raises("TypeError", '"port" is read-only', function() server.port = 1 end)
    desk.raises("TypeError", '"url" is read-only', function() server.url = "" end)
    desk.raises("TypeError", '"close" is read-only', function() server.close = print end)
    assert.equal("WebSocketServer (listening): " .. server.url, tostring(server))
    local url, port = server.url, server.port
    server:close()
    assert.is_true(lunawire.run(1000))
    assert.equal("WebSocketServer (closed): " .. url, tostring(server))
    assert.equal(url, server.url)
    assert.equal(port, server.port)
  end)

  it("is shared by two servers that both ask for it", function()
    local one = desk.listen { reusePort = true }
    local two = desk.listen { reusePort = true, port = one.port }
    assert.equal(one.port, two.port)
  end)

  it("raises with place and reason for a port in use, and leaks no descriptor", function()
    local one = desk.listen {}
    local before = sys.descriptors()
    for _ = 1, 20 do
      desk.raises("SystemError", ("listen on 127.0.0.1:%d: Address already in use"):format(one.port),
        Server, { port = one.port })
    end
    assert.equal(before, sys.descriptors())
    assert.equal(101, wire.client(one.port).response.status)
  end)

  it("raises for a host that is none of this machine's", function()
    desk.raises("SystemError", "listen on 192.0.2.1:", Server, { host = "192.0.2.1" })
    local long = ("x"):rep(300) -- no name server would be asked for this
    desk.raises("SystemError", ("listen on %s:0: "):format(long), Server, { host = long })
    desk.raises("SystemError", "listen on :0: ", Server, { host = "" })
  end)

  it("raises in the words of the caller's place", function()
    local one = desk.listen {}
    local err = desk.raises("SystemError", "listen on", function() return Server { port = one.port } end)
    assert.matches("server_options_spec.lua:%d+: SystemError: ", tostring(err))
  end)
end)

describe("a server on ::1", function()
  before_each(desk.open)
  after_each(desk.clear)

  local function ipv6()
    return io.lines "/proc/net/if_inet6" () ~= nil
  end

  it("has brackets in its url, and guests with IPv6 addresses", function()
    local ok, available = pcall(ipv6)
    if not (ok and available) then -- without IPv6 it says so
      desk.raises("SystemError", "listen on ::1:", Server, { host = "::1" })
      return
    end
    local server, log = desk.serve { host = "::1" }
    assert.equal(("ws://[::1]:%d/"):format(server.port), server.url)
    local ws = lunawire.WebSocket(server.url)
    local heard = wire.record(ws)
    wire.heard(heard, "open")
    assert.equal("::1", log.requests[1].remoteAddress)
    assert.equal(("[::1]:%d"):format(server.port), log.requests[1].headers.host)
    ws:send "over six"
    desk.heard(log, "text over six")
    ws:close()
    wire.heard(heard)
    assert.is_true(desk.refused(server.port))
  end)

  it("or rather on ::, has guests of both families, each with its address", function()
    local ok, available = pcall(ipv6)
    if not (ok and available) then
      desk.raises("SystemError", "listen on :::", Server, { host = "::" })
      return
    end
    local server, log = desk.serve { host = "::" }
    assert.equal(("ws://[::]:%d/"):format(server.port), server.url)
    desk.guest(server, log)
    assert.equal("127.0.0.1", log.requests[1].remoteAddress)
  end)
end)

describe("a server on a Unix socket", function()
  before_each(desk.open)
  after_each(desk.clear)

  -- The plain way to a path: a descriptor, sent to and received from while the loop turns.
  local function visit(path)
    local fd = assert(sys.connect(path))
    desk.finally(function() if fd then sys.close(fd) end end)
    local guest = { bytes = "" }
    function guest.send(bytes) assert(sys.send(fd, bytes)) end
    function guest.await(pattern)
      return wire.await(function()
        local bytes = sys.receive(fd)
        if bytes then guest.bytes = guest.bytes .. bytes end
        return guest.bytes:match(pattern)
      end, function() return pattern .. " in " .. guest.bytes end)
    end
    function guest.close()
      sys.close(fd)
      fd = nil
    end
    return guest
  end

  it("answers there, on no port", function()
    local path = desk.path()
    local server, log = desk.serve { path = path }
    assert.is_true(sys.isSocket(path))
    assert.equal(0, server.port)
    assert.equal("ws+unix:" .. path, server.url)
    local guest = visit(path)
    guest.send(wire.upgrade())
    guest.await "^HTTP/1.1 101 .*\r\n\r\n$"
    desk.heard(log, "connection")
    assert.equal(0, log.requests[1].remotePort)
    assert.equal("", log.requests[1].remoteAddress)
    log.sockets[1]:send "hello"
    guest.await "\129\5hello$"
    guest.send "\129\130\0\0\0\0hi"
    desk.heard(log, "text hi")
    guest.send "\1\1" -- no mask
    guest.await "\136.\3\234"
    guest.close()
    desk.heard(log, "close 1006  unclean")
    assert.same({ "connection", "text hi", "error protocol 1002", "close 1006  unclean" }, log)
    assert.matches("^connection over a Unix socket: ", log.events[3].message)
  end)

  it("removes the file when it closes", function()
    local path = desk.path()
    local server = desk.listen { path = path }
    server:close()
    assert.is_nil((sys.isSocket(path)))
    assert.is_true(lunawire.run(1000))
    assert.equal(0, server.port)
    desk.listen { path = path }
  end)

  it("is on no port once it has closed either, though its path may look like it", function()
    local path = desk.path() .. ":8080"
    local server = desk.listen { path = path }
    server:close()
    assert.is_true(lunawire.run(1000))
    assert.equal(0, server.port)
    assert.equal("ws+unix:" .. path, server.url)
  end)

  it("replaces a socket that nobody answers any more #foreign", function()
    local path = desk.path()
    -- a server whose process ends without a word: its file stays
    local script = ("require('lunawire').WebSocketServer{path=%q} os.exit(0)"):format(path)
    local said, status = helper.run(helper.lua("-e " .. helper.quote(script)))
    assert.equal(0, status, said)
    assert.is_true(sys.isSocket(path))
    local server, log = desk.serve { path = path }
    assert.equal("ws+unix:" .. path, server.url)
    local guest = visit(path)
    guest.send(wire.upgrade())
    guest.await "^HTTP/1.1 101 .*\r\n\r\n$"
    desk.heard(log, "connection")
    guest.close()
  end)

  it("leaves one alone that somebody answers, and the file of somebody else", function()
    local path = desk.path()
    local server = desk.listen { path = path }
    local before = sys.descriptors()
    desk.raises("SystemError", ("listen on %s: Address already in use"):format(path), Server, { path = path })
    assert.is_true(sys.isSocket(path))
    local file = desk.path()
    helper.write(file, "precious")
    desk.raises("SystemError", ("listen on %s: "):format(file), Server, { path = file })
    assert.equal("precious", helper.read(file))
    assert.equal(before, sys.descriptors())
    local guest = visit(server.url:match "^ws%+unix:(.*)")
    guest.send(wire.upgrade())
    guest.await "^HTTP/1.1 101 "
  end)

  it("is not asked for together with a port or a host: that path is another option's", function()
    local path = desk.path()
    desk.raises("TypeError", 'option "path" is a Unix socket\'s and goes without "port"', Server, { path = path, port = 0 })
    desk.raises("TypeError", 'goes without "host"', Server, { path = path, host = "127.0.0.1" })
    desk.raises("TypeError", 'option "resource"', Server, { path = "/chat", port = 8080 })
    assert.is_nil((sys.isSocket(path)))
  end)

  it("raises for a path that is too long, empty, or in no directory", function()
    desk.raises("SystemError", "File name too long", Server, { path = "/tmp/" .. ("x"):rep(200) })
    desk.raises("SystemError", "No such file or directory", Server, { path = "" })
    desk.raises("SystemError", "No such file or directory", Server, { path = "/no/such/directory/socket" })
  end)

  it("does not spin when a guest leaves while its socket is paused", function()
    local path = desk.path()
    local server, log = desk.serve { path = path }
    assert(server)
    local guest = visit(path)
    guest.send(wire.upgrade())
    guest.await "^HTTP/1.1 101 "
    desk.heard(log, "connection")
    log.sockets[1]:pause()
    wire.settle()
    guest.close()
    assert.is_true(desk.turns(100) < 20, "it span")
    log.sockets[1]:resume()
    desk.heard(log, "close 1006  unclean")
  end)
end)
