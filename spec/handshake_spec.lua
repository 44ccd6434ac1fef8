-- src/handshake: the upgrade, asked and answered; judged by the examples of RFC 6455, 1.2 and 1.3.

local probe = require "lunawire.probe"

local handshake = probe.handshake

local KEY = "dGhlIHNhbXBsZSBub25jZQ=="
local ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

-- A head from its lines; false leaves one out.
local function head(lines)
  local kept = {}
  for _, line in ipairs(lines) do
    if line then kept[#kept + 1] = line end
  end
  return table.concat(kept, "\r\n") .. "\r\n\r\n"
end

describe("the key", function()
  it("of the RFC has the RFC's answer", function()
    assert.equal(ACCEPT, handshake.accept(KEY))
  end)

  it("of Wikipedia's example has its answer, too", function()
    assert.equal("HSmrc0sMlYUkAGmm5OPpG2HaGWk=", handshake.accept "x3JJHMbDL1EzLkh9GBhXDw==")
  end)

  it("is 16 random bytes in base64, new each time", function()
    local key = handshake.key()
    assert.equal(24, #key)
    assert.equal(16, #probe.crypt.decode(key))
    assert.not_equal(key, handshake.key())
  end)

  it("cannot be made without randomness", function()
    finally(function() probe.crypt.fail(false) end)
    probe.crypt.fail(true)
    assert.same({ n = 2, nil, "RANDOM" }, table.pack(handshake.key()))
  end)
end)

describe("a client's request", function()
  it("is a GET that asks for an upgrade", function()
    assert.equal(head {
      "GET /chat HTTP/1.1",
      "Host: server.example.com",
      "Upgrade: websocket",
      "Connection: Upgrade",
      "Sec-WebSocket-Key: " .. KEY,
      "Sec-WebSocket-Version: 13",
    }, handshake.request({}, KEY))
  end)

  it("says all it was told to say", function()
    assert.equal(head {
      "GET /a/b?c HTTP/1.1",
      "Host: [::1]:8080",
      "Upgrade: websocket",
      "Connection: Upgrade",
      "Sec-WebSocket-Key: " .. KEY,
      "Sec-WebSocket-Version: 13",
      "Origin: http://example.com",
      "Sec-WebSocket-Protocol: chat, superchat",
      "Sec-WebSocket-Extensions: permessage-deflate",
      "User-Agent: lunawire",
      "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", -- RFC 7617, 2
      "X-One: 1",
      "X-Two: 2",
    }, handshake.request({
      url = "ws://Aladdin:open%20sesame@[::1]:8080/a/b?c", protocols = "chat, superchat",
      extensions = "permessage-deflate", origin = "http://example.com", userAgent = "lunawire",
      headers = "X-One: 1\r\nX-Two: 2\r\n",
    }, KEY))
  end)

  it("leaves the default port out of Host, and no other", function()
    for url, host in pairs { ["wss://h:443/"] = "h", ["ws://h:80/"] = "h", ["wss://h:80/"] = "h:80", ["ws://h:443"] = "h:443" } do
      assert.equal(host, handshake.request({ url = url }, KEY):match "\r\nHost: ([^\r]*)\r\n")
    end
  end)

  it("carries credentials of every length, as RFC 7617 has them", function()
    for user = 0, 5 do
      for password = 0, 5 do
        local name, word = ("u"):rep(user), ("p"):rep(password)
        local request = handshake.request({ url = ("ws://%s:%s@h/"):format(name, word) }, KEY)
        local sent = request:match "\r\nAuthorization: Basic ([^\r]*)\r\n"
        assert.equal(user + password > 0 and name .. ":" .. word or nil, sent and probe.crypt.decode(sent))
      end
    end
    local sent = handshake.request({ url = "ws://test:123%C2%A3@h/" }, KEY):match "Basic ([^\r]*)"
    assert.equal("dGVzdDoxMjPCow==", sent) -- RFC 7617, 2.1
  end)

  it("is one that our server takes", function()
    local asked = handshake.judge(handshake.request({ protocols = "a, b", extensions = "x; y=1", headers = "Z: z\r\n" }, KEY))
    assert.same({ upgrade = true, key = KEY, protocols = { "a", "b" } }, asked)
  end)
end)

-- --- the server's side ----------------------------------------------------------------------

-- The RFC's request, with some lines exchanged: {Host = "x"}, {Host = false}, {Host = {"x", "y"}}.
local order = { "Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Origin", "Sec-WebSocket-Protocol",
  "Sec-WebSocket-Version" }
local function request(changes, start)
  local fields = {
    Host = "server.example.com", Upgrade = "websocket", Connection = "Upgrade", ["Sec-WebSocket-Key"] = KEY,
    Origin = "http://example.com", ["Sec-WebSocket-Protocol"] = "chat, superchat", ["Sec-WebSocket-Version"] = "13",
  }
  local names, known = {}, {}
  for i, name in ipairs(order) do names[i], known[name] = name, true end
  for name, value in pairs(changes or {}) do
    fields[name] = value
    if not known[name] then names[#names + 1] = name end
  end
  local lines = { start or "GET /chat HTTP/1.1" }
  for _, name in ipairs(names) do
    local values = fields[name]
    if type(values) ~= "table" then values = { values } end
    for _, value in ipairs(values) do
      if value then lines[#lines + 1] = name .. ": " .. value end
    end
  end
  return head(lines)
end

describe("the server", function()
  it("takes the RFC's request", function()
    assert.same({ upgrade = true, key = KEY, protocols = { "chat", "superchat" } }, handshake.judge(request()))
  end)

  local right = {
    { "Upgrade in other words", { Upgrade = "WebSocket", Connection = "upgrade" } },
    { "Connection as a list", { Connection = "keep-alive, Upgrade" } },
    { "Connection on two lines", { Connection = { "keep-alive", "Upgrade" } } },
    { "Upgrade as a list", { Upgrade = "h2c, websocket" } },
    { "Upgrade on two lines", { Upgrade = { "h2c", "websocket" } } },
    { "a version above 1.1", {}, "GET /chat HTTP/1.2" },
    { "the absolute form", {}, "GET http://server.example.com/chat HTTP/1.1" },
    { "Content-Length: 0", { ["Content-Length"] = "0" } },
    { "no Origin", { Origin = false } },
    { "a Host with a port", { Host = "[::1]:8080" } },
    { "extensions it does not know", { ["Sec-WebSocket-Extensions"] = "foo, bar; baz=2" } },
    { "a deflate offer with wrong parameters, which is only declined",
      { ["Sec-WebSocket-Extensions"] = "permessage-deflate; client_max_window_bits=7; x; x=08" } },
  }
  for _, case in ipairs(right) do
    it("takes a request with " .. case[1], function()
      local asked, name = handshake.judge(request(case[2], case[3]))
      assert.is_nil(name)
      assert.is_true(asked.upgrade)
      assert.equal(KEY, asked.key)
    end)
  end

  local plain = {
    { "no Upgrade", { Upgrade = false } },
    { "no Connection", { Connection = false } },
    { "another Upgrade", { Upgrade = "h2c" } },
    { "Upgrade: websocket/13", { Upgrade = "websocket/13" } },
    { "Connection: close", { Connection = "close" } },
    { "Connection: Upgrades", { Connection = "Upgrades" } },
    { "no Upgrade and a wrong key", { Upgrade = false, ["Sec-WebSocket-Key"] = "x", ["Sec-WebSocket-Version"] = "8" } },
    { "no Connection and another method", { Connection = false }, "POST / HTTP/1.1" },
  }
  for _, case in ipairs(plain) do
    it("takes a request with " .. case[1] .. " for a plain one", function()
      assert.same({ upgrade = false, protocols = {} }, handshake.judge(request(case[2], case[3])))
    end)
  end

  local list, extensions = "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"
  local wrong = {
    { "HTTP/1.0", 505, "HTTP_VERSION", {}, "GET /chat HTTP/1.0" },
    { "HTTP/1.0 and no upgrade", 505, "HTTP_VERSION", { Upgrade = false }, "GET / HTTP/1.0" },
    { "HTTP/2.0", 505, "HTTP_VERSION", {}, "GET /chat HTTP/2.0" },
    { "HTTP/1.0 and no Host: the version counts", 505, "HTTP_VERSION", { Host = false }, "GET / HTTP/1.0" },
    { "no Host", 400, "HOST", { Host = false } },
    { "no Host and no upgrade", 400, "HOST", { Host = false, Upgrade = false } },
    { "two Hosts", 400, "HOST", { Host = { "a", "a" } } },
    { "two Hosts, the absolute form", 400, "HOST", { Host = { "a", "b" } }, "GET http://a/ HTTP/1.1" },
    { "an empty Host", 400, "HOST", { Host = "" } },
    { "a list in Host", 400, "HOST", { Host = "a, b" } },
    { "a path in Host", 400, "HOST", { Host = "a/b" } },
    { "credentials in Host", 400, "HOST", { Host = "u@a" } },
    { "a wrong host in its target", 400, "HOST", {}, "GET http://a|b/ HTTP/1.1" },
    { "letters outside ASCII in Host", 400, "HOST", { Host = "b\xC3\xBCcher" } },
    { "a body", 400, "BODY", { ["Content-Length"] = "5" } },
    { "a body of no certain length", 400, "BODY", { ["Content-Length"] = "0x0" } },
    { "a negative body", 400, "BODY", { ["Content-Length"] = "-1" } },
    { "two lengths", 400, "BODY", { ["Content-Length"] = { "0", "5" } } },
    { "a list of lengths", 400, "BODY", { ["Content-Length"] = "0, 0" } },
    { "an empty length", 400, "BODY", { ["Content-Length"] = "" } },
    { "a chunked body", 400, "BODY", { ["Transfer-Encoding"] = "chunked" } },
    { "any Transfer-Encoding", 400, "BODY", { ["Transfer-Encoding"] = "identity" } },
    { "a body and no upgrade", 400, "BODY", { Upgrade = false, ["Content-Length"] = "5" } },
    { "a body in a POST: before its method", 400, "BODY", { ["Content-Length"] = "5" }, "POST / HTTP/1.1" },
    { "POST", 405, "METHOD", {}, "POST /chat HTTP/1.1" },
    { "HEAD", 405, "METHOD", {}, "HEAD /chat HTTP/1.1" },
    { "a method in another case", 405, "METHOD", {}, "get /chat HTTP/1.1" },
    { "OPTIONS *", 405, "METHOD", {}, "OPTIONS * HTTP/1.1" },
    { "POST and a wrong version: the method counts", 405, "METHOD", { ["Sec-WebSocket-Version"] = "8" }, "POST / HTTP/1.1" },
    { "no version", 426, "WS_VERSION", { ["Sec-WebSocket-Version"] = false } },
    { "version 8", 426, "WS_VERSION", { ["Sec-WebSocket-Version"] = "8" } },
    { "version 0", 426, "WS_VERSION", { ["Sec-WebSocket-Version"] = "0" } },
    { "version 013", 426, "WS_VERSION", { ["Sec-WebSocket-Version"] = "013" } },
    { "versions 13, 8", 426, "WS_VERSION", { ["Sec-WebSocket-Version"] = "13, 8" } },
    { "version 13 twice", 426, "WS_VERSION", { ["Sec-WebSocket-Version"] = { "13", "13" } } },
    { "a wrong version and no key: the version counts", 426, "WS_VERSION",
      { ["Sec-WebSocket-Version"] = "8", ["Sec-WebSocket-Key"] = false } },
    { "no key", 400, "KEY", { ["Sec-WebSocket-Key"] = false } },
    { "an empty key", 400, "KEY", { ["Sec-WebSocket-Key"] = "" } },
    { "two keys", 400, "KEY", { ["Sec-WebSocket-Key"] = { KEY, KEY } } },
    { "a key of 15 bytes", 400, "KEY", { ["Sec-WebSocket-Key"] = probe.crypt.encode(("x"):rep(15)) } },
    { "a key of 17 bytes", 400, "KEY", { ["Sec-WebSocket-Key"] = probe.crypt.encode(("x"):rep(17)) } },
    { "a key of 18 bytes", 400, "KEY", { ["Sec-WebSocket-Key"] = probe.crypt.encode(("x"):rep(18)) } },
    { "a key without its padding", 400, "KEY", { ["Sec-WebSocket-Key"] = KEY:sub(1, 22) } },
    { "a key that is no base64", 400, "KEY", { ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25j*Q==" } },
    { "a key with bits to spare", 400, "KEY", { ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZR==" } },
    { "a key with space inside", 400, "KEY", { ["Sec-WebSocket-Key"] = "dGhlIHNhbXBs ZSBub25jZQ==" } },
    { "an empty subprotocol list", 400, "PROTOCOL_LIST", { [list] = "" } },
    { "an empty subprotocol", 400, "PROTOCOL_LIST", { [list] = "a,,b" } },
    { "an empty subprotocol at the start", 400, "PROTOCOL_LIST", { [list] = ", a" } },
    { "an empty subprotocol at the end", 400, "PROTOCOL_LIST", { [list] = "a, " } },
    { "an empty list on a second line", 400, "PROTOCOL_LIST", { [list] = { "a", "" } } },
    { "a subprotocol that is no token", 400, "PROTOCOL_LIST", { [list] = "a b" } },
    { "a subprotocol in quotes", 400, "PROTOCOL_LIST", { [list] = "\"a\"" } },
    { "a subprotocol outside ASCII", 400, "PROTOCOL_LIST", { [list] = "\xC3\xA9" } },
    { "a subprotocol twice", 400, "PROTOCOL_LIST", { [list] = "a, b, a" } },
    { "a subprotocol on two lines", 400, "PROTOCOL_LIST", { [list] = { "a", "b, a" } } },
    { "a wrong list and no key: the key counts", 400, "KEY", { [list] = "", ["Sec-WebSocket-Key"] = false } },
    { "two wrong lists: the first counts", 400, "PROTOCOL_LIST", { [list] = "", [extensions] = "" } },
    { "an empty extension list", 400, "EXTENSION_LIST", { [extensions] = "" } },
    { "an extension list that breaks the grammar on its second line", 400, "EXTENSION_LIST", { [extensions] = { "a",
      "b;" } } },
  }
  for _, case in ipairs(wrong) do
    it(("answers %s with %d"):format(case[1], case[2]), function()
      assert.same({ n = 3, nil, case[3], case[2] }, table.pack(handshake.judge(request(case[4], case[5]))))
    end)
  end

  it("reads subprotocols over all lines, in order, and in their own case", function()
    local asked = handshake.judge(request { [list] = { " a ,\tB", "b", "c,d" } })
    assert.same({ "a", "B", "b", "c", "d" }, asked.protocols)
    assert.same({}, handshake.judge(request { [list] = false }).protocols)
  end)

  it("takes 64 subprotocols and not one more", function()
    local names = {}
    for i = 1, 64 do names[i] = "p" .. i end
    assert.same(names, handshake.judge(request { [list] = table.concat(names, ",") }).protocols)
    names[65] = "p65"
    assert.equal("PROTOCOL_LIST", select(2, handshake.judge(request { [list] = table.concat(names, ",") })))
  end)

  local well_formed = { "a", "a,b", "a ; b", "a;b;c=d", "a; b=\"c\"", "a ;b = c , d", "a; b=\"c\\d\"",
    "a;b=\"\\c\"", "x!#$%&'*+-.^_`|~9" }
  local malformed = { ",", "a,", ",a", "a,,b", "a;", ";a", "a;;b", "a;=b", "a;b=", "a=b", "a b", "a;b c", "a;b=c d",
    "a;b=\"\"", "a;b=\"c",
    "a;b=\"c\\", "a;b=\"c\\\"", "a;b=\"c d\"", "a;b=\"c\"d", "a;b=\"\\\"\"", "a;b=c\"d\"", "\"a\"", "a;\"b\"",
      "a/b", "a;b={c}", "a;b=\xC3\xA9", "=" }
  for _, value in ipairs(well_formed) do
    it(("takes the extension list %q"):format(value), function()
      assert.is_table(handshake.judge(request { [extensions] = value }))
    end)
  end
  for _, value in ipairs(malformed) do
    it(("answers the extension list %q with 400"):format(value):gsub("[\x7F-\xFF]", "?"), function()
      assert.same({ n = 3, nil, "EXTENSION_LIST", 400 }, table.pack(handshake.judge(request { [extensions] = value })))
    end)
  end
end)

describe("the status of an error", function()
  local statuses = {
    [400] = { "HTTP_START", "HTTP_LINE", "HTTP_FIELD", "HTTP_VALUE", "KEY", "PROTOCOL_LIST", "EXTENSION_LIST",
      "HOST", "BODY" },
    [403] = { "ORIGIN" }, [404] = { "RESOURCE" }, [405] = { "METHOD" }, [414] = { "HTTP_TARGET" },
    [426] = { "UPGRADE", "CONNECTION", "WS_VERSION" }, [431] = { "HTTP_COUNT", "HTTP_SIZE" }, [505] = { "HTTP_VERSION" },
    [503] = { "BUSY", "CLOSED" }, [500] = { "MEMORY", "RANDOM", "UTF8", "URL_HOST",
      "EOF", probe.err.system(2), probe.err.lookup(2) },
  }
  for status, names in pairs(statuses) do
    it("is " .. status .. " for " .. table.concat(names, ", "), function()
      for _, name in ipairs(names) do assert.equal(status, handshake.status(name), name) end
    end)
  end
end)

describe("the origin", function()
  local function same(origin, host, start)
    return handshake.sameOrigin(request({ Origin = origin, Host = host }, start))
  end

  local alike = { -- origin, host
    { false, "a.example" },
    { "http://a.example", "a.example" },
    { "https://a.example", "a.example" }, -- TLS may end at a proxy
    { "http://A.Example", "a.eXample" },
    { "http://a.example:8080", "a.example:8080" },
    { "http://a.example:80", "a.example" },
    { "http://a.example", "a.example:80" },
    { "https://a.example", "a.example:443" },
    { "https://a.example:443", "a.example" },
    { "http://a.example", "a.example:" },
    { "http://a.example:0080", "a.example:80" },
    { "http://[::1]:8080", "[::1]:8080" },
    { "http://[::1]", "[::1]" },
    { "http://[2001:DB8::1]", "[2001:db8::1]:80" },
    { "http://127.0.0.1:8080", "127.0.0.1:8080" },
    { "ws://a.example", "a.example" },
    { "HTTP://a.example", "a.example" },
  }
  for _, case in ipairs(alike) do
    it(("%s is that of Host: %s"):format(case[1] or "(none)", case[2]), function()
      assert.is_true(same(case[1], case[2]))
    end)
  end

  local other = {
    { "http://b.example", "a.example" },
    { "http://a.example.evil", "a.example" },
    { "http://evil.a.example", "a.example" },
    { "http://a.exampl", "a.example" },
    { "http://a.example:8080", "a.example" },
    { "http://a.example", "a.example:8080" },
    { "http://a.example", "a.example:443" },
    { "https://a.example", "a.example:80" },
    { "http://a.example:65616", "a.example:80" },
    { "http://a.example:4294967376", "a.example:80" },
    { "http://a.example:8x", "a.example:8" },
    { "null", "a.example" },
    { "", "a.example" },
    { "http://", "a.example" },
    { "http://a.example/", "a.example" },
    { "http://a.example http://b.example", "a.example" },
    { "http://a.example@b.example", "b.example" },
    { "http://b.example@a.example", "a.example" },
    { "http://a.example:80:80", "a.example:80" },
    { "file://a.example", "a.example" },
    { "chrome-extension://a.example", "a.example" },
    { "//a.example", "a.example" },
    { "a.example", "a.example" },
    { "http://[::1", "[::1" },
    { "http://[::1]x", "[::1]x" },
    { "http://:80", ":80" },
    { { "http://a.example", "http://a.example" }, "a.example" },
    { "http://a.example", { "a.example", "a.example" } },
    { "http://a.example", false },
  }
  for _, case in ipairs(other) do
    it(("%s is not that of Host: %s"):format(tostring(case[1]), tostring(case[2])):gsub("table: %w+", "two"), function()
      assert.is_false(same(case[1], case[2]))
    end)
  end

  it("is compared with the target's host when that has one, as RFC 9112, 3.2.2, has it", function()
    assert.is_true(same("http://a.example", "b.example", "GET http://a.example/x HTTP/1.1"))
    assert.is_false(same("http://b.example", "b.example", "GET http://a.example/x HTTP/1.1"))
  end)
end)

describe("the server's answer", function()
  it("is the RFC's 101", function()
    assert.equal(head {
      "HTTP/1.1 101 Switching Protocols",
      "Upgrade: websocket",
      "Connection: Upgrade",
      "Sec-WebSocket-Accept: " .. ACCEPT,
      "Sec-WebSocket-Protocol: chat",
    }, handshake.switch(KEY, "chat"))
  end)

  it("carries extensions and further headers, or nothing more", function()
    local short = head { "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
      "Sec-WebSocket-Accept: " .. ACCEPT }
    assert.equal(short, handshake.switch(KEY))
    assert.equal(short:sub(1, -3) .. "Sec-WebSocket-Extensions: x; y\r\nSet-Cookie: a=b\r\n\r\n",
      handshake.switch(KEY, "", "x; y", "Set-Cookie: a=b\r\n"))
  end)

  it("may be any other status, with its body", function()
    assert.equal("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nno\n",
      handshake.respond(403, "Content-Type: text/plain\r\n", "no\n"))
    assert.equal("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", handshake.respond(200))
    assert.equal("HTTP/1.1 299 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n", handshake.respond(299))
  end)

  it("to HEAD counts its body and does not send it", function()
    assert.equal("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", handshake.respond(200, nil, "hello", true))
  end)

  it("says with 426 what it wants", function()
    assert.equal("HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n" ..
      "Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n", handshake.respond(426))
  end)

  it("says with 405 which method it wants", function()
    assert.matches("\r\nAllow: GET\r\n", handshake.respond(405))
  end)

  it("has no body where there cannot be one", function()
    for _, status in ipairs { 204, 304 } do
      local bytes = handshake.respond(status, nil, "body")
      assert.is_nil(bytes:match "Content%-Length")
      assert.matches("\r\n\r\n$", bytes)
    end
  end)

  it("may have a body larger than any cork", function()
    local body = ("page "):rep(40000)
    local bytes = handshake.respond(200, nil, body)
    assert.is_true(bytes:sub(-#body) == body)
    assert.matches("Content%-Length: 200000\r\n", bytes:sub(1, 200))
  end)

  it("is one that a client can read", function()
    for _, status in ipairs { 200, 204, 400, 403, 404, 405, 414, 426, 431, 500, 503, 505 } do
      local bytes = handshake.respond(status, "X: y\r\n", "body")
      local length = probe.http.scanner(16384)(bytes)
      assert.equal(status, probe.http.response(bytes:sub(1, length)).status)
    end
  end)
end)

-- --- the client's side ------------------------------------------------------------------------

describe("the client", function()
  local function judge(changes, offer, start)
    local fields = { Upgrade = "websocket", Connection = "Upgrade", ["Sec-WebSocket-Accept"] = ACCEPT }
    for name, value in pairs(changes) do fields[name] = value end
    local lines = { start or "HTTP/1.1 101 Switching Protocols" }
    for name, values in pairs(fields) do
      if type(values) ~= "table" then values = { values } end
      for _, value in ipairs(values) do lines[#lines + 1] = value and name .. ": " .. value end
    end
    return handshake.response(head(lines), offer or {}, KEY)
  end

  local list, extensions = "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"

  it("takes the RFC's response", function()
    local chosen = judge({ [list] = "chat" }, { protocols = "chat, superchat" })
    assert.same({ protocol = "chat", extensions = "" }, chosen)
  end)

  it("takes what our server answers", function()
    assert.same({ protocol = "b", extensions = "x" },
      handshake.response(handshake.switch(KEY, "b", "x"), { protocols = "a, b" }, KEY))
  end)

  local right = {
    { "no reason phrase", {}, {}, "HTTP/1.1 101" },
    { "no reason phrase but its space", {}, {}, "HTTP/1.1 101 " },
    { "another reason", {}, {}, "HTTP/1.1 101 Web Socket Protocol Handshake" },
    { "a version above 1.1", {}, {}, "HTTP/1.2 101 x" },
    { "words in other cases", { Upgrade = "WebSocket", Connection = "UPGRADE" } },
    { "Connection as a list", { Connection = "keep-alive, Upgrade" } },
    { "Connection on two lines", { Connection = { "keep-alive", "Upgrade" } } },
    { "headers it does not know", { Server = "x", Date = "y", ["Content-Length"] = "0", ["Sec-WebSocket-Version"] = "13" } },
    { "an empty extension header", { [extensions] = "" } },
  }
  for _, case in ipairs(right) do
    it("takes a response with " .. case[1], function()
      assert.same({ n = 1, { protocol = "", extensions = "" } }, table.pack(judge(case[2], case[3], case[4])))
    end)
  end

  it("finds the subprotocol wherever it was in the list", function()
    for _, name in ipairs { "a", "b", "c-1" } do
      assert.equal(name, judge({ [list] = name }, { protocols = "a, b, c-1" }).protocol)
      assert.equal(name, judge({ [list] = name }, { protocols = "c-1,b,a" }).protocol)
    end
  end)

  it("hands out the extensions' header for the caller to judge", function()
    assert.equal("permessage-deflate; client_max_window_bits=8",
      judge({ [extensions] = "permessage-deflate; client_max_window_bits=8" }, { extensions = "permessage-deflate" }).extensions)
  end)

  local wrong = {
    { "status 200", "STATUS", {}, nil, "HTTP/1.1 200 OK" },
    { "status 301", "STATUS", {}, nil, "HTTP/1.1 301 Moved Permanently" },
    { "status 401", "STATUS", {}, nil, "HTTP/1.1 401 Unauthorized" },
    { "status 404, from HTTP/1.0", "STATUS", {}, nil, "HTTP/1.0 404 Not Found" },
    { "status 100, which its caller passes over", "STATUS", {}, nil, "HTTP/1.1 100 Continue" },
    { "status 503", "STATUS", {}, nil, "HTTP/1.1 503 x" },
    { "HTTP/1.0", "HTTP_VERSION", {}, nil, "HTTP/1.0 101 x" },
    { "HTTP/2.0", "HTTP_VERSION", {}, nil, "HTTP/2.0 101 x" },
    { "no Upgrade", "UPGRADE", { Upgrade = false } },
    { "an empty Upgrade", "UPGRADE", { Upgrade = "" } },
    { "another Upgrade", "UPGRADE", { Upgrade = "h2c" } },
    { "Upgrade with more than websocket", "UPGRADE", { Upgrade = "websocket, h2c" } },
    { "two Upgrades", "UPGRADE", { Upgrade = { "websocket", "websocket" } } },
    { "no Connection", "CONNECTION", { Connection = false } },
    { "Connection: close", "CONNECTION", { Connection = "close" } },
    { "no Accept", "ACCEPT", { ["Sec-WebSocket-Accept"] = false } },
    { "an empty Accept", "ACCEPT", { ["Sec-WebSocket-Accept"] = "" } },
    { "the Accept of another key", "ACCEPT", { ["Sec-WebSocket-Accept"] = handshake.accept "AAAAAAAAAAAAAAAAAAAAAA==" } },
    { "the key as Accept", "ACCEPT", { ["Sec-WebSocket-Accept"] = KEY } },
    { "an Accept in another case", "ACCEPT", { ["Sec-WebSocket-Accept"] = ACCEPT:lower() } },
    { "an Accept with more behind it", "ACCEPT", { ["Sec-WebSocket-Accept"] = ACCEPT .. "=" } },
    { "the right Accept twice", "ACCEPT", { ["Sec-WebSocket-Accept"] = { ACCEPT, ACCEPT } } },
    { "a subprotocol nobody asked for", "PROTOCOL", { [list] = "chat" } },
    { "an empty subprotocol", "PROTOCOL", { [list] = "" } },
    { "an empty subprotocol though some were asked for", "PROTOCOL", { [list] = "" }, { protocols = "chat" } },
    { "another subprotocol than those asked for", "PROTOCOL", { [list] = "superchat" }, { protocols = "chat" } },
    { "a subprotocol in another case", "PROTOCOL", { [list] = "Chat" }, { protocols = "chat" } },
    { "the beginning of a subprotocol", "PROTOCOL", { [list] = "cha" }, { protocols = "chat" } },
    { "two subprotocols", "PROTOCOL", { [list] = "a, b" }, { protocols = "a, b" } },
    { "two subprotocols on two lines", "PROTOCOL", { [list] = { "a", "a" } }, { protocols = "a, b" } },
    { "no subprotocol though some were asked for", "PROTOCOL", {}, { protocols = "chat" } },
    { "extensions on two lines", "EXTENSION", { [extensions] = { "x", "y" } } },
    { "extensions that break the grammar", "EXTENSION_LIST", { [extensions] = "x;" } },
    { "a field that is none", "HTTP_FIELD", { ["Up grade"] = "x" } },
  }
  for _, case in ipairs(wrong) do
    it("refuses a response with " .. case[1], function()
      assert.same({ n = 2, nil, case[2] }, table.pack(judge(case[3], case[4], case[5])))
    end)
  end
end)
