-- WebSocket over a Unix socket: ws+unix:/path:/resource, and the option `path` beside any other URL. The peers are
-- raw bytes, npm's ws and Python's websockets; our own server once.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket

local function remover(path) return { close = function() os.remove(path) end } end

-- A path that nothing has yet; what lies there at the end is removed.
local function path()
  local name = os.tmpname()
  os.remove(name)
  turns.keep(remover(name))
  return name
end

describe("a WebSocket over a Unix socket", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("asks localhost for the resource, and talks", function()
    local place = path()
    local server = wire.server(8, place)
    local ws = WebSocket("ws+unix:" .. place .. ":/chat/../room?x=1:2")
    local log = wire.record(ws)
    assert.equal("ws+unix:" .. place .. ":/room?x=1:2", ws.url)
    local peer = server:open()
    assert.equal("GET /room?x=1:2 HTTP/1.1", peer.request.line)
    assert.equal("localhost", peer.request.headers.host)
    wire.heard(log, "open")
    peer:frame { "text", payload = "hello" }
    ws:send "hi"
    assert.equal("hi", peer:next().payload)
    wire.await(function() return #log == 2 end)
    assert.equal("ws+unix:" .. place, log.events[2].origin)
    ws:close(1000, "bye")
    peer:closing(1000, "bye")
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "text hello", "close 1000 bye clean" }, log)
  end)

  it("asks for / when no resource is named", function()
    local place = path()
    local server = wire.server(8, place)
    for _, tail in ipairs { "", ":", ":/" } do
      local ws = WebSocket("ws+unix:" .. place .. tail)
      assert.equal("ws+unix:" .. place .. ":/", ws.url)
      assert.equal("GET / HTTP/1.1", server:asked().request.line)
      ws:terminate()
    end
  end)

  it("finds a file whose name must be percent-encoded", function()
    local place = path() .. " 100%:?#é"
    turns.keep(remover(place))
    local server = wire.server(8, place)
    local url = "ws+unix:" .. place:gsub("[ %%:?#\128-\255]", function(c) return ("%%%02X"):format(c:byte()) end)
    local ws = WebSocket(url .. ":/x")
    assert.equal(url .. ":/x", ws.url)
    local log = wire.record(ws)
    local peer = server:open()
    assert.equal("GET /x HTTP/1.1", peer.request.line)
    peer:frame { "text", payload = "" }
    wire.await(function() return #log == 2 end)
    assert.equal(url, log.events[2].origin)
    ws:terminate()
  end)

  it("with the option `path` asks there for what the URL says", function()
    local place = path()
    local server = wire.server(8, place)
    local ws = WebSocket("ws://user:pass@chat.example:8080/room?x=1", "chat", { path = place, family = 6 })
    local log = wire.record(ws)
    assert.equal("ws://chat.example:8080/room?x=1", ws.url)
    local peer = server:open { ["Sec-WebSocket-Protocol"] = "chat" }
    assert.equal("GET /room?x=1 HTTP/1.1", peer.request.line)
    assert.equal("chat.example:8080", peer.request.headers.host)
    assert.equal("Basic dXNlcjpwYXNz", peer.request.headers.authorization)
    peer:frame { "text", payload = "hello" }
    wire.await(function() return #log == 2 end)
    assert.equal("ws://chat.example:8080", log.events[2].origin)
    assert.is_nil(tostring(ws):find("pass", 1, true))
    ws:terminate()
  end)

  it("takes a path relative to where the program is", function()
    local lfs = require "lfs"
    local home, place = lfs.currentdir(), path()
    local server = wire.server(8, place)
    assert(lfs.chdir "/tmp")
    turns.keep { close = function() lfs.chdir(home) end }
    local ws = WebSocket("ws://h/", nil, { path = place:gsub("^/tmp/", "") })
    assert.equal("GET / HTTP/1.1", server:asked().request.line)
    ws:terminate()
  end)

  it("says where it was going and why it did not get there", function()
    local missing, stale = path(), path()
    wire.server(8, stale):close()
    local cases = {
      { "ws+unix:" .. missing, nil, "network", "connect to ws+unix:" .. missing .. ":/: No such file or directory" },
      { "ws+unix:" .. stale .. ":/x", nil, "refused", "connect to ws+unix:" .. stale .. ":/x: Connection refused" },
      { "ws://h/x", stale, "refused", "connect to ws://h/x over " .. stale .. ": Connection refused" },
    }
    for _, case in ipairs(cases) do
      local log = wire.record(WebSocket(case[1], nil, { path = case[2] }))
      wire.heard(log)
      assert.same({ "error " .. case[3], "close 1006  unclean" }, log)
      assert.equal(case[4], log.error.message)
    end
  end)

  it("is in time when the queue there is full for a while", function()
    local place = path()
    local listener = probe.tcp.listen(1, place)
    turns.keep(listener)
    for _ = 1, 2 do turns.fd(assert(probe.sys.connect(place))) end
    local log = wire.record(WebSocket("ws+unix:" .. place, nil, { handshakeTimeout = 10000 }))
    local until_then = lunawire.now() + 100
    while lunawire.now() < until_then do wire.turn() end
    assert.same({}, log)
    for _ = 1, 2 do turns.keep((assert(listener:accept()))) end
    local guest = turns.keep(wire.await(function() return listener:accept() end))
    local request = ""
    wire.await(function()
      request = request .. (guest:receive() or "")
      return request:match "\r\n\r\n$"
    end)
    guest:send(wire.switch(request:match "Sec%-WebSocket%-Key: (%S+)"))
    wire.heard(log, "open")
    guest:close()
    wire.heard(log)
  end)

  it("is given up in time when it stays full", function()
    local place = path()
    turns.keep(probe.tcp.listen(1, place))
    for _ = 1, 2 do turns.fd(assert(probe.sys.connect(place))) end
    local log = wire.record(WebSocket("ws+unix:" .. place, nil, { handshakeTimeout = 100 }))
    wire.heard(log)
    assert.same({ "error timeout", "close 1006  unclean" }, log)
    assert.matches("^connect to ws%+unix:.*: the handshake took longer than handshakeTimeout$", log.error.message)
  end)

  it("reaches a server of ours by that server's url", function()
    local place = path()
    local server = turns.serve { path = place }
    server.onmessage = function(event) event.target:send(event.data:upper()) end
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    wire.heard(log, "open")
    ws:send "hello"
    wire.await(function() return #log == 2 end)
    ws:close(1000)
    wire.heard(log)
    assert.same({ "open", "text HELLO", "close 1000  clean" }, log)
  end)

  it("speaks TLS there as wss+unix, and knows the server as localhost #foreign", function()
    local place, directory = path(), helper.directory()
    turns.keep { close = function() helper.remove(directory) end }
    local cert, key = directory .. "/cert.pem", directory .. "/key.pem"
    local said, status = helper.run(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 " ..
      "-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout %s -out %s"):format(key, cert))
    assert.equal(0, status, said)
    local server = turns.serve { path = place, tls = { cert = cert, key = key } }
    server.onmessage = function(event) event.target:send(event.data:upper()) end
    local ways = { { "wss+unix:" .. place .. ":/x" }, { "wss://localhost:8443/x", place } }
    for _, way in ipairs(ways) do
      local ws = WebSocket(way[1], nil, { path = way[2], tls = { ca = cert } })
      local log = wire.record(ws)
      wire.heard(log, "open")
      ws:send "hello"
      wire.await(function() return #log == 2 end)
      ws:close(1000)
      wire.heard(log)
      assert.same({ "open", "text HELLO", "close 1000  clean" }, log)
    end
    local log = wire.record(WebSocket("wss://chat.example/", nil, { path = place, tls = { ca = cert } }))
    wire.heard(log)
    assert.equal("error tls", log[1])
    assert.matches("not for chat.example but for localhost", log.error.message, 1, true)
  end)

  it("comes back over it when it is a ReconnectingWebSocket", function()
    local place = path()
    for _, arguments in ipairs { { "ws+unix:" .. place .. ":/x" }, { "ws://h/x", place } } do
      local server = wire.server(8, place)
      local ws = lunawire.ReconnectingWebSocket(arguments[1], nil, { minDelay = 1, maxDelay = 5, path = arguments[2] })
      local log = wire.record(ws)
      local peer = server:open()
      wire.heard(log, "open")
      peer:close()
      wire.await(function() return #log >= 2 end)
      peer = server:open()
      assert.equal("GET /x HTTP/1.1", peer.request.line)
      ws:send "here again"
      assert.equal("here again", peer:next().payload)
      ws:close()
      peer:closing(1000)
      peer:shutdown()
      wire.await(function() return ws.readyState == 3 end)
      server:close()
      os.remove(place)
    end
  end)

  local function redirect(peer, location)
    peer:send(wire.head("HTTP/1.1 302 Found", { "Content-Length: 0", "Location: " .. location }))
  end

  it("stays there when a redirect is relative", function()
    local place = path()
    local server = wire.server(8, place)
    local ws = WebSocket("ws+unix:" .. place .. ":/a/b", nil, { followRedirects = 1 })
    local log = wire.record(ws)
    redirect(server:asked(), "/c?d")
    local peer = server:open()
    assert.equal("GET /c?d HTTP/1.1", peer.request.line)
    wire.heard(log, "open")
    assert.equal("ws+unix:" .. place .. ":/c?d", ws.url)
    ws:terminate()
  end)

  it("is reached by no redirect from elsewhere", function()
    local place = path()
    local victim = wire.server(8, place)
    for _, from in ipairs { wire.server(), wire.server(8, path()) } do
      for _, location in ipairs { "ws+unix:" .. place, "//" .. place, "wss+unix:" .. place .. ":/" } do
        local log = wire.record(WebSocket(from.url, nil, { followRedirects = 5 }))
        redirect(from:asked(), location)
        wire.heard(log)
        assert.equal("error http", log[1])
        assert.is_nil(victim.listener:accept())
      end
    end
  end)

  it("given as the option `path` is where the whole trip goes", function()
    local place = path()
    local server = wire.server(8, place)
    local ws = WebSocket("ws://one.example/a", nil, { path = place, followRedirects = 2, headers = { Cookie = "a=b" } })
    local log = wire.record(ws)
    redirect(server:asked(), "ws://two.example:81/b")
    local peer = server:asked()
    assert.equal("GET /b HTTP/1.1", peer.request.line)
    assert.equal("two.example:81", peer.request.headers.host)
    assert.is_nil(peer.request.headers.cookie)
    peer:send "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    wire.heard(log)
    assert.equal("ws://two.example:81/b", ws.url)
    assert.equal("connect to ws://two.example:81/b over " .. place .. ": the server answered 403 Forbidden", log.error.message)
  end)

  it("raises for a URL that names no socket, and says what one looks like", function()
    local cases = {
      ["ws+unix:"] = "no absolute path", ["ws+unix:run/s"] = "ws+unix:/run/some.sock:/resource",
      ["ws+unix://h/s"] = "no absolute path", ["ws+unix:/s:80"] = "no slash behind",
      ["ws+unix:/%00"] = "NUL", ["ws+unix:/s:/#x"] = "fragment",
      ["ws+unix:/" .. ("x"):rep(108)] = "longer than the system takes",
    }
    for url, words in pairs(cases) do
      local message = wire.mistake("SyntaxError", WebSocket, url)
      assert.is_truthy(message:find(words, 1, true), message)
    end
  end)

  it("raises for a `path` that is none", function()
    local function refused(value, url) return wire.mistake("TypeError", WebSocket, url or "ws://h/", nil, { path = value }) end
    for _, value in ipairs { 1, true, {}, print } do assert.matches("a string without NUL expected", refused(value)) end
    assert.matches("a string without NUL expected", refused "/a\0b")
    assert.matches("1 to 107 bytes, not 0", refused "")
    assert.matches("1 to 107 bytes, not 108", refused(("x"):rep(108)))
    assert.matches('"ws+unix:/s:/" has a path of its own', refused("/x", "ws+unix:/s"), 1, true)
    assert.matches('did you mean "path"', wire.mistake("TypeError", WebSocket, "ws://h/", nil, { Path = "/x" }), 1, true)
  end)
end)

describe("a WebSocket over the Unix socket of a foreign server #foreign", function()
  before_each(turns.open)
  after_each(turns.clear)

  local function converse(url, options)
    local ws = WebSocket(url, nil, options)
    local log = wire.record(ws)
    wire.heard(log, "open")
    ws:send "h\195\169llo"
    ws:send("\0\255", "binary")
    wire.await(function() return #log == 3 end)
    ws:close(4001, "bye")
    wire.heard(log)
    assert.same({ "open", "text h\195\169llo", "binary \0\255", "close 4001 bye clean" }, log)
  end

  local function start(command)
    local peer = helper.peer("exec " .. command)
    turns.keep { close = function() peer:stop() end }
    assert.equal("ready", peer:line())
    return peer
  end

  it("of npm's ws opens, echoes and closes; and its client says the same of the same URL", function()
    local place, directory = path(), helper.directory()
    turns.keep { close = function() helper.remove(directory) end }
    helper.write(directory .. "/peer.js", [[
      const { WebSocket, WebSocketServer } = require(process.argv[3] + "/spec/node_modules/ws");
      const http = require("http").createServer();
      const server = new WebSocketServer({ server: http });
      server.on("connection", (socket, request) => {
        console.log(request.url, request.headers.host);
        socket.on("message", (data, binary) => socket.send(data, { binary }));
      });
      http.listen(process.argv[2], () => {
        console.log("ready");
        const own = new WebSocket("ws+unix:" + process.argv[2] + ":/a/b?c=d:e");
        own.on("open", () => own.close());
      });]])
    local peer = start(("node %s/peer.js %s %s"):format(directory, place, helper.quote(helper.root)))
    assert.equal("/a/b?c=d:e localhost", peer:line())
    converse("ws+unix:" .. place .. ":/a/b?c=d:e")
    assert.equal("/a/b?c=d:e localhost", peer:line())
    converse("ws://chat.example/a", { path = place })
    assert.equal("/a chat.example", peer:line())
  end)

  it("of Python's websockets opens, echoes and closes", function()
    local place, directory = path(), helper.directory()
    turns.keep { close = function() helper.remove(directory) end }
    helper.write(directory .. "/peer.py", [[
import asyncio, sys, websockets
async def echo(socket, *_):
    async for message in socket: await socket.send(message)
async def main():
    async with websockets.unix_serve(echo, sys.argv[1]):
        print("ready", flush=True)
        await asyncio.Future()
asyncio.run(main())]])
    start(("%s %s/peer.py %s"):format(helper.python(), directory, place))
    converse("ws+unix:" .. place .. ":/x")
  end)
end)
