-- WebSocket through a proxy of raw bytes: what it is asked, and what becomes of refusals, silence and lies.
-- Proxies that others wrote are in proxy_interop_spec.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket

-- A raw proxy, and the option that names it.
local function proxy(scheme)
  local server = wire.server()
  return server, ("%s127.0.0.1:%d"):format(scheme or "http://", server.port)
end

-- The answer to the WebSocket's own request, behind the proxy's.
local function switch(peer)
  peer.request = peer:head()
  peer:send(wire.switch(peer.request.headers["sec-websocket-key"]))
end

-- What a client hears that goes through `option` to url.
local function dial(url, option, more)
  local options = { proxy = option }
  for name, value in pairs(more or {}) do options[name] = value end
  local ws = WebSocket(url, nil, options)
  return wire.record(ws), ws
end

local function failed(log, code, message)
  wire.heard(log)
  assert.same({ "error " .. code, "close 1006  unclean" }, log)
  assert.equal(message, log.error.message)
end

describe("a WebSocket through a proxy", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("asks CONNECT for its server, and then the server", function()
    local server, option = proxy()
    local log, ws = dial("ws://chat.example/room?x", option, { userAgent = "me/1" })
    local peer = server:accept()
    local head = peer:head()
    assert.equal("CONNECT chat.example:80 HTTP/1.1\r\nHost: chat.example:80\r\nUser-Agent: me/1\r\n\r\n", head.text)
    assert.equal("", peer.bytes) -- nothing before the proxy has answered
    peer:send "HTTP/1.1 200 OK\r\n\r\n"
    switch(peer)
    assert.equal("GET /room?x HTTP/1.1", peer.request.line)
    assert.equal("chat.example", peer.request.headers.host)
    assert.is_nil(peer.request.headers["proxy-authorization"])
    wire.heard(log, "open")
    ws:send "hi"
    assert.equal("hi", peer:next().payload)
    peer:frame { "text", payload = "ho" }
    wire.await(function() return #log == 2 end)
    assert.equal("ws://chat.example", log.events[2].origin)
    ws:close(1000)
    peer:closing(1000, "")
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "text ho", "close 1000  clean" }, log)
  end)

  it("takes the answer one byte at a time", function()
    for _, answer in ipairs { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nX: y\r\n\r\n" } do
      local server, option = proxy()
      local log, ws = dial("ws://h/", option)
      local peer = server:asked()
      peer:trickle(answer)
      switch(peer)
      wire.heard(log, "open")
      ws:terminate()
    end
  end)

  it("speaks SOCKS5, one byte at a time", function()
    local server, option = proxy "socks5h://me:secret@"
    local log, ws = dial("ws://only-the-proxy-knows.example:81/", option)
    local peer = server:accept()
    assert.equal("\5\2\0\2", peer:read(4))
    peer:trickle "\5\2"
    assert.equal("\1\2me\6secret", peer:read(11))
    peer:trickle "\1\0"
    assert.equal("\5\1\0\3\x1conly-the-proxy-knows.example\0\81", peer:read(35))
    peer:trickle "\5\0\0\4\1\2\3\4\5\6\7\8\1\2\3\4\5\6\7\8\9\9"
    switch(peer)
    assert.equal("only-the-proxy-knows.example:81", peer.request.headers.host)
    wire.heard(log, "open")
    ws:terminate()
  end)

  it("shows the proxy its password, and nobody else", function()
    local server, option = proxy "http://Aladdin:open%20sesame@"
    local log = dial("ws://h/", option)
    local peer = server:accept()
    assert.equal("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", peer:head().headers["proxy-authorization"])
    peer:send "HTTP/1.1 200 OK\r\n\r\n"
    switch(peer)
    assert.is_nil(peer.request.text:match "QWxh")
    wire.heard(log, "open")
    peer:reset()
    wire.heard(log)
  end)

  describe("that refuses", function()
    local cases = { -- scheme, dialogue, message behind the place
      { "http://", { "HTTP/1.1 403 Filtered\r\nContent-Length: 2\r\n\r\nno" }, "the proxy answered 403 Filtered" },
      { "http://", { "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n" },
        "the proxy answered 407 Proxy Authentication Required: it wants a user name and a password" },
      { "http://u:p@", { "HTTP/1.1 407 No\r\n\r\n" },
        "the proxy answered 407 No: it does not accept this user name and password" },
      { "http://", { "HTTP/1.1 502 \r\n\r\n" }, "the proxy answered 502 Bad Gateway" },
      { "socks5://", { "\5\xff" }, "the proxy wants a user name and a password" },
      { "socks5://u:p@", { "\5\xff" }, "the proxy wants its users to sign in in a way that this library does not know" },
      { "socks5://u:p@", { "\5\2", "\1\1" }, "the proxy does not accept this user name and password" },
      { "socks5://", { "\5\0", "\5\5\0\1\0\0\0\0\0\0" }, "the proxy answered: connection refused" },
      { "socks5://", { "\5\0", "\5\4" }, "the proxy answered: host unreachable" },
    }
    for _, case in ipairs(cases) do
      it(("says so: %s"):format(case[3]), function()
        local server, option = proxy(case[1])
        local log = dial("wss://h/", option)
        local peer = server:accept()
        for _, answer in ipairs(case[2]) do
          wire.await(function() return #peer.bytes > 0 end)
          peer.bytes = ""
          peer:send(answer)
        end
        failed(log, "proxy", ("connect to wss://h/ through %s127.0.0.1:%d: %s"):format(
          case[1]:match "^%w+://", server.port, case[3]))
        assert.is_nil(log.error.status) -- that would be the server's
        assert.equal("eof", (peer:finish()))
      end)
    end

    it("and hangs up at once is still heard", function()
      local server, option = proxy()
      local log = dial("ws://h/", option)
      local peer = server:accept()
      peer:send "HTTP/1.1 503 Busy\r\n\r\n"
      peer:shutdown()
      failed(log, "proxy", ("connect to ws://h/ through %s: the proxy answered 503 Busy"):format(option))
    end)
  end)

  describe("that lies", function()
    local cases = {
      { "http://", "SSH-2.0-OpenSSH_9.2p1\r\n", "the proxy's answer is not HTTP" },
      { "http://", "\5\0", "the proxy's answer is not HTTP" },
      { "http://", "HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(101) .. "\r\n",
        "the proxy's answer is larger than 16 KiB, or has over 100 headers" },
      { "http://", "HTTP/1.1 200 OK\r\n" .. ("x"):rep(20000),
        "the proxy's answer is larger than 16 KiB, or has over 100 headers" },
      { "http://", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "the proxy sent more than its answer" },
      { "socks5://", "\0\x5a\0\0\0\0\0\0", "the proxy's answer is not SOCKS5" },
      { "socks5://", "HTTP/1.1 400 Bad Request\r\n\r\n", "the proxy's answer is not SOCKS5" },
      { "socks5://", "\5\2", "the proxy wants its users to sign in in a way that this library does not know" },
    }
    for _, case in ipairs(cases) do
      it(("by %q is not believed"):format(case[2]:sub(1, 24)), function()
        local server, option = proxy(case[1])
        local log = dial("ws://h/", option)
        server:accept():send(case[2])
        failed(log, "proxy", ("connect to ws://h/ through %s: %s"):format(option, case[3]))
      end)
    end

    it("with the server's bytes is judged as the server", function()
      local server, option = proxy()
      local log = dial("ws://h/", option)
      local peer = server:asked()
      peer:send "HTTP/1.1 200 OK\r\n\r\n"
      peer:head()
      peer:send "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
      failed(log, "http", ("connect to ws://h/ through %s: the server answered 404 Not Found"):format(option))
      assert.equal(404, log.error.status)
    end)
  end)

  describe("that leaves", function()
    it("without an answer, or in its middle, is named", function()
      for _, case in ipairs { { "", "without an answer" }, { "HTTP/1.1 2", "in the middle of its answer" } } do
        local server, option = proxy()
        local log = dial("ws://h/", option)
        local peer = server:asked()
        peer:send(case[1])
        peer:shutdown()
        failed(log, "proxy", ("connect to ws://h/ through %s: the proxy ended the connection %s"):format(option, case[2]))
      end
    end)

    it("with a reset is named", function()
      local server, option = proxy()
      local log = dial("ws://h/", option)
      server:asked():reset()
      failed(log, "network", ("connect to ws://h/ through %s: %s"):format(option,
        "the connection to the proxy failed: Connection reset by peer"))
    end)

    it("when it has come through is the server's end", function()
      local server, option = proxy()
      local log = dial("ws://h/", option)
      local peer = server:asked()
      peer:send "HTTP/1.1 200 OK\r\n\r\n"
      peer:head()
      peer:shutdown()
      failed(log, "http", ("connect to ws://h/ through %s: the server ended the connection before it answered"):format(option))
    end)

    it("before anybody came is named", function()
      local server, option = proxy()
      server:close()
      failed(dial("ws://h/", option), "refused",
        ("connect to ws://h/ through %s: cannot reach the proxy: Connection refused"):format(option))
    end)
  end)

  describe("within handshakeTimeout", function()
    local SHORT = { handshakeTimeout = 150 }

    it("ends one that keeps silent", function()
      local server, option = proxy()
      local log = dial("ws://h/", option, SHORT)
      server:accept()
      failed(log, "timeout", ("connect to ws://h/ through %s: the proxy did not answer within handshakeTimeout"):format(option))
    end)

    it("ends one that dribbles: the deadline is one for all", function()
      local server, option = proxy()
      local log = dial("ws://h/", option, SHORT)
      local peer = server:asked()
      peer:send "HTTP/1.1 200 OK\r\nX: "
      wire.await(function()
        if not log.close then peer:send "x" end
        return log.close
      end)
      failed(log, "timeout", ("connect to ws://h/ through %s: the proxy did not answer within handshakeTimeout"):format(option))
    end)

    it("ends a server that keeps silent behind it", function()
      local server, option = proxy()
      local log = dial("ws://h/", option, SHORT)
      local peer = server:asked()
      peer:send "HTTP/1.1 200 OK\r\n\r\n"
      failed(log, "timeout", ("connect to ws://h/ through %s: the handshake took longer than handshakeTimeout"):format(option))
    end)

    it("ends one that takes no TLS", function()
      local server, option = proxy "https://"
      local log = dial("ws://h/", option, SHORT)
      server:accept()
      failed(log, "timeout", ("connect to ws://h/ through %s: the proxy did not answer within handshakeTimeout"):format(option))
    end)
  end)

  it("that should speak TLS and does not is named", function()
    local server, option = proxy "https://"
    local log = dial("ws://h/", option)
    server:accept():send "HTTP/1.1 400 Bad Request\r\n\r\n"
    wire.heard(log)
    assert.equal("tls", log.error.code)
    assert.matches("through https://127.0.0.1:%d+: TLS with the proxy: ", log.error.message)
  end)

  it("may be given up at any time", function()
    for _, scheme in ipairs { "http://", "socks5://", "https://" } do
      for stage = 1, 4 do
        local server, option = proxy(scheme)
        local ws = WebSocket("ws://h/", nil, { proxy = option })
        local log = wire.record(ws)
        if stage > 1 then
          local peer = server:accept()
          if stage > 2 then wire.await(function() return #peer.bytes > 0 end) end
          if stage > 3 then
            peer:send(scheme == "socks5://" and "\5\0" or "HTTP/1.1 2")
            wire.settle()
          end
        end
        ws:close()
        wire.heard(log)
        assert.equal(stage > 3 and scheme == "https://" and "tls" or "aborted", log.error.code)
      end
    end
  end)

  it("that nobody waits for is left", function()
    local server, option = proxy()
    do
      local ws = WebSocket("ws://h/", nil, { proxy = option })
      assert.equal(0, ws.readyState)
    end
    local peer = server:accept()
    collectgarbage()
    collectgarbage()
    assert.is_truthy(peer:finish())
  end)

  it("follows redirects through the same one", function()
    local server, option = proxy()
    local log, ws = dial("ws://a.example/", option, { followRedirects = 1 })
    local peer = server:accept()
    assert.equal("CONNECT a.example:80 HTTP/1.1", peer:head().line)
    peer:send "HTTP/1.1 200 OK\r\n\r\n"
    peer:head()
    peer:send "HTTP/1.1 302 Found\r\nLocation: ws://b.example:81/x\r\nContent-Length: 0\r\n\r\n"
    peer = server:accept()
    assert.equal("CONNECT b.example:81 HTTP/1.1", peer:head().line)
    peer:send "HTTP/1.1 200 OK\r\n\r\n"
    switch(peer)
    wire.heard(log, "open")
    assert.equal("ws://b.example:81/x", ws.url)
    ws:terminate()
  end)
end)

describe("the option `proxy`", function()
  before_each(turns.open)
  after_each(turns.clear)

  local function mistake(name, options, url)
    return wire.mistake(name, WebSocket, url or "ws://h/", nil, options)
  end

  it("raises for what is no proxy, and never shows it", function()
    local wrong = {
      { "ftp://u:secret@h", "does not begin with http://" }, { "http://u:secret@h/x", "something behind its host and port" },
      { "http://u:secret@h:99999", "no number from 1 to 65535" }, { "http://u:se\rcret@h", "control character" },
      { "socks5://:secret@h", "1 to 255 bytes" }, { "", "empty" },
    }
    for _, case in ipairs(wrong) do
      local message = mistake("SyntaxError", { proxy = case[1] })
      assert.matches('WebSocket: option "proxy": .*' .. case[2], message)
      assert.is_nil(message:match "secret")
    end
    for _, value in ipairs { true, 1, {}, print } do
      assert.matches('option "proxy": a URL or false expected', mistake("TypeError", { proxy = value }))
    end
    assert.matches("no proxy leads to a Unix socket", mistake("TypeError", { proxy = "h", path = "/x" }))
    assert.matches("no proxy leads to a Unix socket", mistake("TypeError", { proxy = "h" }, "ws+unix:/x"))
    assert.matches("proxyTls", mistake("TypeError", { proxyTls = { verfy = true } }))
    assert.matches("proxyTls", mistake("TypeError", { proxy = "https://h", proxyTls = { ca = "/nonexistent" } }))
  end)

  it("applies to this machine, too", function()
    local server, option = proxy()
    local _, ws = dial("ws://localhost:9/", option)
    assert.equal("CONNECT localhost:9 HTTP/1.1", server:asked().request.line)
    ws:terminate()
  end)
end)

-- The environment is that of a process, so these are programs of their own. HERE is the proxy's host and port.
describe("the environment's proxy", function()
  before_each(turns.open)
  after_each(turns.clear)

  -- What a client of that environment says: it goes to `url`, is answered with 403, and prints the error's message.
  local function said(environment, url, options)
    local server = wire.server()
    local name = os.tmpname()
    helper.write(name, ([[
      local lunawire = require "lunawire"
      local ok, ws = pcall(lunawire.WebSocket, %q, nil, %s)
      if not ok then print(ws.message) os.exit(0) end
      ws.onerror = function(event) print(event.message) end
      lunawire.run(5000)]]):format(url, options or "{}"):gsub("HERE", "127.0.0.1:" .. server.port), nil)
    local variables = environment:gsub("HERE", "127.0.0.1:" .. server.port):gsub("=(%S*)", "='%1'")
    local program = turns.keep(setmetatable({ close = function(self) self.peer:stop() end }, { __index = {} }))
    program.peer = helper.peer(("unset http_proxy https_proxy all_proxy no_proxy; %s exec %s"):format(
      "export " .. variables .. ";", helper.lua(helper.quote(name))))
    local asked
    local line = program.peer:line(function()
      wire.turn()
      local socket = not asked and server.listener:accept()
      if socket then
        asked = ""
        program.socket = socket
      end
      if asked and not asked:match "\r\n\r\n" then asked = asked .. (program.socket:receive() or "") end
      if asked and asked:match "\r\n\r\n" and not program.answered then
        program.answered = true
        program.socket:send "HTTP/1.1 403 No\r\n\r\n"
      end
    end)
    if program.socket then program.socket:close() end
    os.remove(name)
    return line:gsub("127%.0%.0%.1:" .. server.port, "HERE"), asked and asked:match "^[^\r]*"
  end

  it("is used when no option says otherwise #slow", function()
    local message, asked = said("http_proxy=u:secret@HERE", "ws://chat.example/")
    assert.equal("connect to ws://chat.example/ through http://HERE: the proxy answered 403 No", message)
    assert.equal("CONNECT chat.example:80 HTTP/1.1", asked)
    message = said("https_proxy=http://HERE", "wss://chat.example/")
    assert.equal("connect to wss://chat.example/ through http://HERE: the proxy answered 403 No", message)
    message, asked = said("http_proxy=127.0.0.1:1", "ws://chat.example/", "{ proxy = 'http://HERE' }")
    assert.equal("connect to ws://chat.example/ through http://HERE: the proxy answered 403 No", message)
    assert.equal("CONNECT chat.example:80 HTTP/1.1", asked)
  end)

  it("is not used with proxy = false, for this machine, and where no_proxy says so #slow", function()
    for _, case in ipairs {
      { "http_proxy=127.0.0.1:1", "ws://HERE/", "{}" }, { "all_proxy=127.0.0.1:1 no_proxy=*", "ws://HERE/", "{}" },
      { "http_proxy=127.0.0.1:1", "ws://HERE/", "{ proxy = false }" }, { "HTTP_PROXY=127.0.0.1:1", "ws://HERE/", "{}" },
    } do
      local message, asked = said(case[1], case[2], case[3])
      assert.equal("connect to ws://HERE/: the server answered 403 No", message)
      assert.equal("GET / HTTP/1.1", asked)
    end
  end)

  it("that is broken raises, and the message names the variable and no password #slow", function()
    local message, asked = said("all_proxy=socks4://u:secret@h", "ws://chat.example/")
    assert.equal("WebSocket: the environment's all_proxy: " ..
      "the proxy's URL does not begin with http://, https:// or socks5://", message)
    assert.is_nil(asked)
    assert.is_nil(message:match "secret")
  end)
end)
