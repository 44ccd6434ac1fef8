-- WebSocket(url, protocols, options): what it takes, what it refuses, and what then goes out.

local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket

describe("a new WebSocket", function()
  after_each(wire.done)

  -- One that is given up before it has done anything.
  local function brief(...)
    local ws = WebSocket(...)
    ws:close()
    return ws
  end

  -- --- URLs -----------------------------------------------------------------------------------

  describe("with a wrong URL raises SyntaxError", function()
    local long = ("a"):rep(63) .. "."
    local wrong = {
      { "empty", "" },
      { "a number", 42 },
      { "a table", {} },
      { "a boolean", true },
      { "no scheme", "h/path" },
      { "another scheme", "foo://h/" },
      { "ftp", "ftp://h" },
      { "no host", "ws://" },
      { "no host but a path", "ws:///p" },
      { "no slashes", "ws:h" },
      { "port 0", "ws://h:0/" },
      { "port 65536", "ws://h:65536/" },
      { "port -1", "ws://h:-1/" },
      { "port 1x", "ws://h:1x/" },
      { "an empty fragment", "ws://h/#" },
      { "a fragment", "ws://h/p?q#frag" },
      { "a fragment behind the host", "ws://h#frag" },
      { "CR in the host", "ws://h\r/" },
      { "LF in the path", "ws://h/a\nb" },
      { "NUL in the query", "ws://h/?a\0b" },
      { "TAB in the path", "ws://h/a\tb" },
      { "a space in the path", "ws://h/a b" },
      { "a space in front", " ws://h/" },
      { "DEL in the query", "ws://h/?\127" },
      { "an open bracket", "ws://[::1" },
      { "no IPv6 address in brackets", "ws://[::g]/" },
      { "a zone", "ws://[fe80::1%25eth0]/" },
      { "a host over 253 bytes", "ws://" .. long:rep(4) .. "/" },
      { "a label over 63", "ws://" .. ("a"):rep(64) .. "/" },
      { "over 8 KiB", "ws://h/" .. ("a"):rep(8192) },
    }
    for _, row in ipairs(wrong) do
      it("(" .. row[1] .. ")", function()
        local message = wire.mistake("SyntaxError", WebSocket, row[2])
        assert.matches("^WebSocket: ", message)
      end)
    end

    it("(nil)", function()
      assert.matches("a URL expected, got nil", wire.mistake("SyntaxError", WebSocket))
      assert.matches("a URL expected, got nil", wire.mistake("SyntaxError", WebSocket, nil))
    end)

    it("and says which and why", function()
      assert.matches('"ftp://h"', wire.mistake("SyntaxError", WebSocket, "ftp://h"), 1, true)
      assert.matches("ws://", wire.mistake("SyntaxError", WebSocket, "ftp://h"), 1, true)
      assert.matches("got table", wire.mistake("SyntaxError", WebSocket, {}))
      assert.matches("fragment", wire.mistake("SyntaxError", WebSocket, "ws://h/#"))
      assert.matches("port", wire.mistake("SyntaxError", WebSocket, "ws://h:65536/"))
    end)
  end)

  it("never shows a password", function()
    local urls = {
      "ws://ann:hunter2@h:0/", "ws://ann:hunter2@h/#x", "ftp://ann:hunter2@h/", "ws://ann:hunter2@/",
      "ws://ann:hunter2@[::g]/", "ws://ann:hunter2@h/a b", "wss://ann:hunter2@h:x/", "ws://a%3Ab:hunter2@h/",
      "https://ann:hunter2@h/ /",
    }
    for _, url in ipairs(urls) do
      local ok, err = pcall(WebSocket, url)
      assert.is_false(ok, url)
      assert.is_nil(tostring(err):find("hunter2", 1, true), tostring(err))
    end
    local ws = brief "ws://ann:hunter2@127.0.0.1/"
    assert.equal("ws://127.0.0.1/", ws.url)
    assert.is_nil(tostring(ws):find("hunter2", 1, true))
  end)

  describe("serialises its URL:", function()
    local pairs_of = {
      { "ws://example.com", "ws://example.com/" },
      { "WS://EXAMPLE.Com/Path", "ws://example.com/Path" },
      { "http://example.com/", "ws://example.com/" },
      { "ws://h:80/", "ws://h/" },
      { "ws://h:00080/", "ws://h/" },
      { "ws://h:443/", "ws://h:443/" },
      { "ws://h:8080?x=1", "ws://h:8080/?x=1" },
      { "ws://h/a/./b/../c", "ws://h/a/c" },
      { "ws://[0:0:0:0:0:0:0:1]:9000", "ws://[::1]:9000/" },
      { "ws://h/\195\169", "ws://h/%C3%A9" },
      { "ws://h/?", "ws://h/?" },
      { "ws://u:p@h/", "ws://h/" },
    }
    for _, pair in ipairs(pairs_of) do
      it(pair[1] .. " is " .. pair[2], function()
        local ws = brief(pair[1])
        assert.equal(pair[2], ws.url)
      end)
    end
  end)

  -- --- protocols --------------------------------------------------------------------------------

  describe("with a wrong protocol raises SyntaxError", function()
    local wrong = {
      { "a space", "a b" }, { "a comma", "a,b" }, { "empty", "" }, { "not ASCII", "\195\169" },
      { "a line end", "a\r\n" }, { "one wrong in a list", { "chat", "a b" } }, { "twice the same", { "chat", "chat" } },
      { "a number", 42 }, { "a number in a list", { 42 } }, { "a boolean", true },
      { "options in the place of protocols", { origin = "http://h" } },
    }
    for _, row in ipairs(wrong) do
      it("(" .. row[1] .. ")", function() wire.mistake("SyntaxError", WebSocket, "ws://h/", row[2]) end)
    end

    it("and says which", function()
      assert.matches('"chat" is given twice', wire.mistake("SyntaxError", WebSocket, "ws://h/", { "chat", "chat" }))
      assert.matches("options are the third argument",
        wire.mistake("SyntaxError", WebSocket, "ws://h/", { origin = "http://h" }))
    end)
  end)

  it("takes one protocol, a list, an empty list, or none", function()
    brief("ws://127.0.0.1/", "chat")
    brief("ws://127.0.0.1/", { "chat", "superchat" })
    brief("ws://127.0.0.1/", {})
    brief("ws://127.0.0.1/", nil)
  end)

  -- --- options ------------------------------------------------------------------------------------

  describe("with a wrong option raises", function()
    local function refused(name, options)
      return wire.mistake(name, WebSocket, "ws://h/", nil, options)
    end

    it("for options that are no table", function()
      assert.matches("a table expected, got string", refused("TypeError", "x"))
      assert.matches("a table expected, got number", refused("TypeError", 1))
    end)

    it("for an unknown name, and says which is near", function()
      assert.matches('"handshakeTimeot" (did you mean "handshakeTimeout"?)',
        refused("TypeError", { handshakeTimeot = 1 }), 1, true)
      assert.matches('did you mean "maxPayload"', refused("TypeError", { maxpayload = 1 }))
      assert.matches('did you mean "closeTimeout"', refused("TypeError", { closetimeOut = 1 }))
      assert.matches('unknown option "xyzzyplugh"$', refused("TypeError", { xyzzyplugh = 1 }))
    end)

    it("for a key that is no name", function()
      refused("TypeError", { "x" })
      refused("TypeError", { [true] = 1 })
    end)

    for _, name in ipairs { "handshakeTimeout", "closeTimeout" } do
      for _, value in ipairs { -1, 0 / 0, 1 / 0, -1 / 0, "10", true, {} } do
        it(("for %s = %s"):format(name, tostring(value)), function()
          assert.matches('option "' .. name .. '"', refused("TypeError", { [name] = value }), 1, true)
        end)
      end
    end

    for _, name in ipairs { "maxPayload", "maxFragments", "highWaterMark", "maxBufferedAmount" } do
      for _, value in ipairs { 0, -1, 2 ^ 53, 1.5, 0 / 0, 1 / 0, "1" } do
        it(("for %s = %s"):format(name, tostring(value)), function() refused("TypeError", { [name] = value }) end)
      end
    end

    it("for a negative or broken fragmentSize, a family other than 4 and 6, a noDelay that is no boolean", function()
      refused("TypeError", { fragmentSize = -1 })
      refused("TypeError", { fragmentSize = 0.5 })
      refused("TypeError", { family = 5 })
      refused("TypeError", { family = 0 })
      refused("TypeError", { family = "4" })
      refused("TypeError", { noDelay = 1 })
    end)

    it("for header names and values that would break the request", function()
      refused("SyntaxError", { headers = { ["X Y"] = "1" } })
      refused("SyntaxError", { headers = { ["X:"] = "1" } })
      refused("SyntaxError", { headers = { [""] = "1" } })
      for _, byte in ipairs { "\r", "\n", "\0", "\r\nX: y" } do
        refused("SyntaxError", { headers = { X = "a" .. byte .. "b" } })
        refused("SyntaxError", { headers = { X = { "fine", "a" .. byte } } })
        refused("SyntaxError", { origin = "http://h" .. byte })
        refused("SyntaxError", { userAgent = "x" .. byte })
      end
      refused("TypeError", { headers = "X: y" })
      refused("TypeError", { headers = { X = true } })
      refused("TypeError", { headers = { X = { {} } } })
      refused("TypeError", { headers = { "X: y" } })
      refused("TypeError", { origin = 1 })
      refused("TypeError", { userAgent = {} })
    end)

    it("for the handshake's own headers set by hand", function()
      for _, name in ipairs {
        "Host", "Upgrade", "CONNECTION", "sec-websocket-key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding",
      } do
        assert.matches("handshake itself", refused("SyntaxError", { headers = { [name] = "x" } }))
      end
    end)

    -- {what perMessageDeflate is, what the message says}
    for i, case in ipairs {
      { "yes", "a boolean or a table expected, got string" }, { 1, "a boolean or a table expected, got number" },
      { { level = 10 }, 'perMessageDeflate: option "level": 10 is not from 0 to 9' },
      { { level = 1.5 }, "a whole number expected" }, { { memLevel = 0 }, "0 is not from 1 to 9" },
      { { threshold = -1 }, "is not from 0 to" }, { { treshold = 1 }, 'did you mean "threshold"' },
      { { clientMaxWindowBits = 16 }, "16 is not from 8 to 15" }, { { serverMaxWindowBits = 7 }, "7 is not from 8 to 15" },
      { { clientMaxWindowBits = 8 }, "9 to 15 bits, not with 8" },
      { { clientNoContextTakeover = 1 }, "a boolean expected, got number" },
    } do
      it("for what perMessageDeflate is not, " .. i, function()
        assert.matches(case[2], refused("TypeError", { perMessageDeflate = case[1] }), 1, true)
      end)
    end
  end)

  it("takes every option it has, and those that say no to what it has not", function()
    brief("ws://127.0.0.1/", nil, {
      handshakeTimeout = 1.5, closeTimeout = 1e6, maxPayload = 2 ^ 53 - 1, maxFragments = 1, fragmentSize = 0,
      highWaterMark = 1, maxBufferedAmount = 1, noDelay = false, family = 4, headers = {}, origin = "null",
      userAgent = "", perMessageDeflate = false, proxy = false, followRedirects = 5, tls = nil,
    })
  end)

  it("does not keep or change the tables it was given", function()
    local protocols, headers = { "a", "b" }, { X = { "1", "2" } }
    local options = { headers = headers, origin = "http://h" }
    brief("ws://127.0.0.1/", protocols, options)
    assert.same({ "a", "b" }, protocols)
    assert.same({ headers = { X = { "1", "2" } }, origin = "http://h" }, options)
  end)

  it("leaves nothing behind when it raises", function()
    for _ = 1, 100 do pcall(WebSocket, "ws://127.0.0.1:1/", "a b") end
    collectgarbage()
    assert.is_true(lunawire.run(0))
  end)

  -- --- the object ---------------------------------------------------------------------------------

  it("has the four states, on the class and on itself", function()
    local ws = brief "ws://127.0.0.1/"
    for _, from in ipairs { WebSocket, ws } do
      assert.same({ 0, 1, 2, 3 }, { from.CONNECTING, from.OPEN, from.CLOSING, from.CLOSED })
    end
  end)

  it("is connecting, and empty", function()
    local ws = WebSocket "ws://127.0.0.1:1/"
    assert.equal(0, ws.readyState)
    assert.equal("", ws.protocol)
    assert.equal("", ws.extensions)
    assert.equal(0, ws.bufferedAmount)
    assert.equal("string", ws.binaryType)
    assert.is_nil(ws.lastReceived)
    assert.equal("WebSocket (connecting): ws://127.0.0.1:1/", tostring(ws))
    ws:close()
    assert.equal("WebSocket (closing): ws://127.0.0.1:1/", tostring(ws))
  end)

  -- --- what goes out --------------------------------------------------------------------------------

  describe("asks", function()
    local server
    before_each(function() server = wire.server() end)

    local function ask(path, protocols, options)
      local ws = WebSocket(server.url:sub(1, -2) .. path, protocols, options)
      local peer = server:asked()
      return peer.request, ws
    end

    it("as RFC 6455 has it", function()
      local request = ask("/chat?room=1", nil)
      assert.equal("GET /chat?room=1 HTTP/1.1", request.line)
      local headers = request.headers
      assert.equal("127.0.0.1:" .. server.port, headers.host)
      assert.equal("websocket", headers.upgrade:lower())
      assert.equal("upgrade", headers.connection:lower())
      assert.equal("13", headers["sec-websocket-version"])
      assert.equal(24, #headers["sec-websocket-key"])
      assert.equal(16, #probe.crypt.decode(headers["sec-websocket-key"]))
      assert.is_nil(headers["sec-websocket-protocol"])
      assert.equal("permessage-deflate; client_max_window_bits", headers["sec-websocket-extensions"])
      assert.is_nil(headers.authorization)
      assert.is_nil(headers.origin)
    end)

    it("with another key each time", function()
      local seen = {}
      for _ = 1, 8 do
        local key = ask("/").headers["sec-websocket-key"]
        assert.is_nil(seen[key])
        seen[key] = true
      end
    end)

    it("for its protocols in order", function()
      assert.equal("chat", ask("/", "chat").headers["sec-websocket-protocol"])
      assert.equal("b, a, c", ask("/", { "b", "a", "c" }).headers["sec-websocket-protocol"])
      assert.is_nil(ask("/", {}).headers["sec-websocket-protocol"])
    end)

    it("with the caller's headers, origin and user agent", function()
      local request = ask("/", nil, {
        headers = { ["X-One"] = "1", ["X-Many"] = { "2", "3" }, ["X-Number"] = 4, Cookie = "a=b; c=d" },
        origin = "http://example.com", userAgent = "lunawire-spec",
      })
      assert.equal("1", request.headers["x-one"])
      assert.equal("2, 3", request.headers["x-many"])
      assert.equal("4", request.headers["x-number"])
      assert.equal("a=b; c=d", request.headers.cookie)
      assert.equal("http://example.com", request.headers.origin)
      assert.equal("lunawire-spec", request.headers["user-agent"])
      assert.matches("\r\nX-Many: 2\r\nX-Many: 3\r\n", request.text, 1, true)
    end)

    it("with a Basic authorisation for credentials in the URL (RFC 7617)", function()
      local ws = WebSocket(("ws://Aladdin:open%%20sesame@127.0.0.1:%d/"):format(server.port))
      local peer = server:asked()
      assert.equal("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", peer.request.headers.authorization)
      assert.equal(server.url, ws.url)
    end)

    it("only once the loop turns", function()
      local ws = WebSocket(server.url)
      assert.is_nil(server.listener:accept())
      lunawire.step(0)
      assert.equal(0, ws.readyState)
      assert.truthy(server:asked())
    end)
  end)
end)
