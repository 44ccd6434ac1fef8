-- src/http: a message head, found in what arrives and cut into slices.

local probe = require "lunawire.probe"

local http = probe.http

-- What the scanner and then the parser say of bytes that arrive in these pieces: the head, its
-- length, and how many bytes had to be here to say so; or nil, the error, and how many.
local function receive(parser, pieces, max_size, max_fields)
  local scanner, bytes = http.scanner(max_size or 16384), ""
  for _, piece in ipairs(pieces) do
    bytes = bytes .. piece
    local length, name = scanner(bytes)
    if not length then return nil, name, #bytes end
    if length > 0 then
      local head
      head, name = parser(bytes:sub(1, length), max_fields)
      if not head then return nil, name, #bytes end
      return head, length, #bytes
    end
  end
  return nil, "waits", #bytes
end

local function bytewise(bytes)
  local pieces = {}
  for i = 1, #bytes do pieces[i] = bytes:sub(i, i) end
  return pieces
end

-- A head as one text, so that hundreds of them are quick to compare.
local function text(head)
  if not head then return "none" end
  local parts = { head.method or head.status, head.target or head.reason, head.authority or "", head.minor }
  for _, field in ipairs(head.fields) do parts[#parts + 1] = field[1] .. ":" .. field[2] end
  return table.concat(parts, "\n")
end

-- Whole, one byte at a time, and (if it is not long) cut at every place: the same each time. The error
-- is there with the byte that shows it. Returns head and length, or nil and the error.
local function received(parser, bytes, max_size, max_fields)
  local head, result = receive(parser, { bytes }, max_size, max_fields)
  local slow, slow_result, place = receive(parser, bytewise(bytes), max_size, max_fields)
  assert.same(head, slow)
  assert.equal(result, slow_result)
  if head then assert.equal(result, place) end
  local wanted = text(head)
  for i = 1, #bytes < 2000 and #bytes - 1 or 0 do
    local cut, cut_result = receive(parser, { bytes:sub(1, i), bytes:sub(i + 1) }, max_size, max_fields)
    if text(cut) ~= wanted or cut_result ~= result then
      error(("cut at %d: %s instead of %s"):format(i, cut_result, result))
    end
  end
  return head, result
end

-- RFC 6455, 1.2
local request = table.concat({
  "GET /chat HTTP/1.1",
  "Host: server.example.com",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Origin: http://example.com",
  "Sec-WebSocket-Protocol: chat, superchat",
  "Sec-WebSocket-Version: 13",
  "", "" }, "\r\n")

local response = table.concat({
  "HTTP/1.1 101 Switching Protocols",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
  "Sec-WebSocket-Protocol: chat",
  "", "" }, "\r\n")

describe("a request's head", function()
  it("is read, and what follows it is left alone", function()
    local head, length = received(http.request, request)
    assert.equal(#request, length)
    assert.same({
      method = "GET", target = "/chat", authority = "", minor = 1,
      fields = {
        { "Host", "server.example.com" }, { "Upgrade", "websocket" }, { "Connection", "Upgrade" },
        { "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==" }, { "Origin", "http://example.com" },
        { "Sec-WebSocket-Protocol", "chat, superchat" }, { "Sec-WebSocket-Version", "13" },
      },
    }, head)
    for _, rest in ipairs { "\x81\x85....Hello", "\r\n\r\n", "\0", "\n", "G" } do
      assert.equal(#request, select(2, receive(http.request, { request .. rest })))
    end
  end)

  it("is awaited to its last byte", function()
    for n = 0, #request - 1 do
      local _, name = receive(http.request, { request:sub(1, n) })
      assert.equal("waits", name)
    end
  end)

  local lines = { -- a field's line, its name and value
    { "a:b", "a", "b" },
    { "a: b", "a", "b" },
    { "a: \t b \t ", "a", "b" },
    { "a:", "a", "" },
    { "a: \t", "a", "" },
    { "a: b c\td", "a", "b c\td" },
    { "a: b:c", "a", "b:c" },
    { "a: \xC3\xBC\x80\xFF", "a", "\xC3\xBC\x80\xFF" },
    { "!#$%&'*+-.^_`|~09azAZ: x", "!#$%&'*+-.^_`|~09azAZ", "x" },
    { "a: !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "a", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" },
  }
  for _, case in ipairs(lines) do
    it(("takes the line %q"):format(case[1]), function()
      local head = received(http.request, "GET / HTTP/1.1\r\n" .. case[1] .. "\r\nz: z\r\n\r\n")
      assert.same({ { case[2], case[3] }, { "z", "z" } }, head.fields)
    end)
  end

  local targets = { -- request line, method, target, authority
    { "GET / HTTP/1.1", "GET", "/", "" },
    { "GET /a%20b?c=d&e HTTP/1.1", "GET", "/a%20b?c=d&e", "" },
    { "GET //a HTTP/1.1", "GET", "//a", "" },
    { "GET /{|}^\"<>`\\ HTTP/1.1", "GET", "/{|}^\"<>`\\", "" },
    { "get / HTTP/1.1", "get", "/", "" },
    { "!#$ / HTTP/1.1", "!#$", "/", "" },
    { "OPTIONS * HTTP/1.1", "OPTIONS", "*", "" },
    { "CONNECT h:443 HTTP/1.1", "CONNECT", "h:443", "" },
    -- absolute form (RFC 9112, 3.2.2)
    { "GET http://example.org/chat?x HTTP/1.1", "GET", "/chat?x", "example.org" },
    { "GET HTTPS://example.org:8443 HTTP/1.1", "GET", "/", "example.org:8443" },
    { "GET ws://[::1]:81/ HTTP/1.1", "GET", "/", "[::1]:81" },
    { "GET wss://h//x HTTP/1.1", "GET", "//x", "h" },
  }
  for _, case in ipairs(targets) do
    it("takes the line " .. case[1], function()
      local head = received(http.request, case[1] .. "\r\n\r\n")
      assert.same({ case[2], case[3], case[4] }, { head.method, head.target, head.authority })
    end)
  end

  it("tells its minor version, whatever that is", function()
    for minor = 0, 9 do
      assert.equal(minor, received(http.request, ("GET / HTTP/1.%d\r\n\r\n"):format(minor)).minor)
    end
  end)

  local wrong = {
    { "HTTP_START", "\r\nGET / HTTP/1.1\r\n\r\n", " GET / HTTP/1.1\r\n\r\n", "\tGET / HTTP/1.1\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\0", "\n", "\r\n", "(", "\xEF\xBB\xBFGET / HTTP/1.1\r\n\r\n",
      "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "GET /\r\n", "GET\r\n\r\n", "GET / \r\n\r\n", "GET / HTTP/1.1 \r\n\r\n",
      "GET / HTTP/1.10\r\n\r\n", "GET / HTTP/11\r\n\r\n", "GET / HTTP/1\r\n\r\n", "GET / http/1.1\r\n\r\n",
      "GET /HTTP/1.1\r\n\r\n",
      "GET / HTTP/a.1\r\n\r\n", "GET / XHTTP/1.1\r\n\r\n", "GET / HTTP/1,1\r\n\r\n",
      "GET  / HTTP/1.1\r\n\r\n", "GET /  HTTP/1.1\r\n\r\n", "GET / a HTTP/1.1\r\n\r\n", "GET\t/ HTTP/1.1\r\n\r\n",
      "GET /\tx HTTP/1.1\r\n\r\n", "GET  HTTP/1.1\r\n\r\n", "GET HTTP/1.1\r\n\r\n", "G[T / HTTP/1.1\r\n\r\n",
      "GE\x80 / HTTP/1.1\r\n\r\n",
      "GET chat HTTP/1.1\r\n\r\n", "GET * HTTP/1.1\r\n\r\n", "GET h:80 HTTP/1.1\r\n\r\n", "GET ?q HTTP/1.1\r\n\r\n",
      "GET /\xC3\xBC HTTP/1.1\r\n\r\n", "GET /#f HTTP/1.1\r\n\r\n", "GET /a\x7Fb HTTP/1.1\r\n\r\n",
      "GET /\x01 HTTP/1.1\r\n\r\n",
      "GET ftp://h/ HTTP/1.1\r\n\r\n", "GET http:// HTTP/1.1\r\n\r\n", "GET http:///x HTTP/1.1\r\n\r\n",
      "GET http://u@h/ HTTP/1.1\r\n\r\n",
      "GET http://h?q HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" },
    { "HTTP_VERSION", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/0.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "GET / HTTP/3.1\r\na: b\r\n\r\n" },
    { "HTTP_LINE", "GET / HTTP/1.1\n\n", "GET / HTTP/1.1\r\na: b\n\r\n", "GET / HTTP/1.1\r\na: b\r\n\n",
      "GET / HTTP/1.1\r\na: b\rc: d\r\n\r\n",
      "GET / HTTP/1.1\r\r\n\r\n", "GET / HTTP/1.1\r\na: b\r\r\n\r\n", "GET / HTTP/1.1\r\na: b\0c\r\n\r\n",
      "GET /\0 HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\n\0", "G\n", "G\0", "G\rE", "GET / HTTP/1.1\r\na: \0\r\n\r\n",
      "GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
      "GET / HTTP/1.1\r\na: b\r\n\tc: d\r\n\r\n", "GET / HTTP/1.1\r\n a: b\r\n\r\n", "GET / HTTP/1.1\r\n \r\n\r\n" },
    { "HTTP_FIELD", "GET / HTTP/1.1\r\na : b\r\n\r\n", "GET / HTTP/1.1\r\na\t: b\r\n\r\n", "GET / HTTP/1.1\r\n: b\r\n\r\n",
      "GET / HTTP/1.1\r\na b: c\r\n\r\n", "GET / HTTP/1.1\r\nab\r\n\r\n", "GET / HTTP/1.1\r\na(b: c\r\n\r\n",
      "GET / HTTP/1.1\r\n\xC3\xBC: b\r\n\r\n",
      "GET / HTTP/1.1\r\na\x7F: b\r\n\r\n", "GET / HTTP/1.1\r\na\x01: b\r\n\r\n",
      "GET / HTTP/1.1\r\nGET / HTTP/1.1\r\n\r\n" },
    { "HTTP_VALUE", "GET / HTTP/1.1\r\na: b\x01\r\n\r\n", "GET / HTTP/1.1\r\na: \x7F\r\n\r\n",
      "GET / HTTP/1.1\r\na: b\x1Bc\r\n\r\n",
      "GET / HTTP/1.1\r\na: b\x0Bc\r\n\r\n", "GET / HTTP/1.1\r\na:\x08\r\n\r\n" },
  }
  for _, case in ipairs(wrong) do
    for i = 2, #case do
      it(("%q is refused: %s"):format(case[i]:sub(1, 45), case[1]):gsub("[%c\x7F-\xFF]", "?"), function()
        local head, name = received(http.request, case[i])
        assert.is_nil(head)
        assert.equal(case[1], name)
      end)
    end
  end

  it("may have any token and no other character in a name, any but controls in a value", function()
    for c = 0, 255 do
      local one = string.char(c)
      local token = one:match "[!#$%%&'*+%-.^_`|~%w]" and c < 128
      local head = http.request("GET / HTTP/1.1\r\na" .. one .. "b: c\r\n\r\n")
      assert.equal(token and true or c == 58, head ~= nil, c)
      assert.equal(token and true or false, http.isToken("a" .. one))
      local other, name = http.request("GET / HTTP/1.1\r\na: b" .. one .. "c\r\n\r\n")
      local value = c >= 32 and c ~= 127 or c == 9
      assert.equal(value, other ~= nil, name)
      assert.equal(value, http.isValue("b" .. one .. "c"))
    end
    assert.is_false(http.isToken "")
    assert.is_true(http.isValue "")
  end)
end)

describe("a head that does not begin like HTTP", function()
  it("is refused with its first byte", function()
    for c = 0, 255 do
      local one = string.char(c)
      local length, name = http.scanner(16384)(one)
      local token = c < 128 and one:match "[!#$%%&'*+%-.^_`|~%w]"
      assert.equal(token and 0 or nil, length, c)
      assert.equal(not token and "HTTP_START" or nil, name)
    end
  end)

  it("is refused with its first line, for a banner is all that comes", function()
    local banner = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"
    local _, name, place = receive(http.response, bytewise(banner .. "more"))
    assert.equal("HTTP_START", name)
    assert.equal(#banner, place)
  end)
end)

describe("the size of a head", function()
  local function sized(n) -- a request of n bytes
    return "GET / HTTP/1.1\r\na: " .. ("x"):rep(n - 23) .. "\r\n\r\n"
  end

  it("may be the largest allowed, and not one byte more #slow", function()
    for _, n in ipairs { 24, 64, 100, 16384 } do
      local bytes = sized(n)
      assert.equal(n, #bytes)
      assert.equal(n, select(2, received(http.request, bytes, n)))
      assert.equal("HTTP_SIZE", select(2, received(http.request, bytes, n - 1)))
      assert.equal("HTTP_SIZE", select(2, received(http.request, bytes, n - 2)))
    end
  end)

  it("is judged by the first byte too many, come what may", function()
    local bytes = sized(200)
    local _, name, place = receive(http.request, bytewise(bytes), 100)
    assert.equal("HTTP_SIZE", name)
    assert.equal(101, place)
  end)

  it("is not looked at before what its last byte shows", function()
    local bytes = "GET / HTTP/1.1\r\na: b\rc"
    assert.equal("HTTP_LINE", select(2, received(http.request, bytes, #bytes - 1)))
    assert.equal("HTTP_SIZE", select(2, received(http.request, bytes, #bytes - 2)))
  end)

  it("counts to the head's own end only", function()
    local bytes = sized(64) .. ("x"):rep(1000)
    assert.equal(64, select(2, receive(http.request, { bytes }, 64)))
  end)

  it("is the target's fault when the first line is all that came", function()
    local line = "GET /" .. ("a"):rep(20000)
    assert.equal("HTTP_TARGET", select(2, receive(http.request, { line })))
    assert.equal("HTTP_TARGET", select(2, received(http.request, "GET /" .. ("a"):rep(200), 100)))
    assert.equal("HTTP_SIZE", select(2, received(http.response, "HTTP/1.1 200 " .. ("a"):rep(200), 100)))
  end)

  it("of a target may be 8192 bytes", function()
    local target = "/" .. ("a"):rep(8191)
    assert.equal(target, http.request("GET " .. target .. " HTTP/1.1\r\n\r\n").target)
    assert.equal("HTTP_TARGET", select(2, http.request("GET " .. target .. "a HTTP/1.1\r\n\r\n")))
  end)

  it("of the number of fields may be the most allowed, and not one more", function()
    local function counted(n) return "GET / HTTP/1.1\r\n" .. ("a: b\r\n"):rep(n) .. "\r\n" end
    assert.equal(100, #received(http.request, counted(100)).fields)
    assert.equal("HTTP_COUNT", select(2, http.request(counted(101))))
    assert.equal(2, #http.request(counted(2), 2).fields)
    assert.equal("HTTP_COUNT", select(2, http.request(counted(3), 2)))
    assert.equal(0, #http.request(counted(0), 0).fields)
    assert.equal("HTTP_COUNT", select(2, http.request(counted(1), 0)))
  end)

  it("costs no more when it dribbles in: what was looked at is not looked at again", function()
    -- so those bytes may change without its notice
    local scanner = http.scanner(1000)
    assert.equal(0, scanner(request:sub(1, 100)))
    assert.equal(#request, scanner("x\n\0\r" .. ("x"):rep(86) .. request:sub(91)))
  end)
end)

describe("a whole head", function()
  it("that is none is refused by the parsers, too", function()
    for n = 0, #request - 1 do assert.is_nil((http.request(request:sub(1, n))), n) end
    for n = 0, #response - 1 do assert.is_nil((http.response(response:sub(1, n))), n) end
    assert.equal("HTTP_LINE", select(2, http.request(request .. "x")))
    assert.equal("HTTP_LINE", select(2, http.request(request .. "\r\n")))
    assert.equal("HTTP_LINE", select(2, http.request ""))
  end)
end)

describe("a response's head", function()
  it("is read", function()
    local head, length = received(http.response, response)
    assert.equal(#response, length)
    assert.same({
      status = 101, reason = "Switching Protocols", minor = 1,
      fields = {
        { "Upgrade", "websocket" }, { "Connection", "Upgrade" },
        { "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }, { "Sec-WebSocket-Protocol", "chat" },
      },
    }, head)
  end)

  local right = { -- status line, status, reason, minor
    { "HTTP/1.1 101", 101, "", 1 },
    { "HTTP/1.1 101 ", 101, "", 1 },
    { "HTTP/1.1 100 Continue", 100, "Continue", 1 },
    { "HTTP/1.1 103 Early Hints", 103, "Early Hints", 1 },
    { "HTTP/1.1 599 a \t\xFC", 599, "a \t\xFC", 1 },
    { "HTTP/1.0 404 Not Found", 404, "Not Found", 0 },
    { "HTTP/1.1 200  two spaces", 200, " two spaces", 1 },
  }
  for _, case in ipairs(right) do
    it("takes the line " .. case[1]:gsub("[\t\xFC]", "?"), function()
      local head = received(http.response, case[1] .. "\r\n\r\n")
      assert.same({ case[2], case[3], case[4] }, { head.status, head.reason, head.minor })
    end)
  end

  local wrong = {
    { "HTTP_START", "HTTP/1.1\r\n\r\n", "HTTP/1.1 \r\n\r\n", "HTTP/1.1 10\r\n\r\n", "HTTP/1.1 1010 x\r\n\r\n",
      "HTTP/1.1 1x1 x\r\n\r\n",
      "HTTP/1.1 099 x\r\n\r\n", "HTTP/1.1 000\r\n\r\n", "HTTP/1.1 600 x\r\n\r\n", "HTTP/1.1 999\r\n\r\n",
      "HTTP/1.1  101 x\r\n\r\n",
      "HTTP/1.1\t101 x\r\n\r\n", "HTTP/1.1 101\tx\r\n\r\n", "HTTP/1.1 -01 x\r\n\r\n", "HTTP/1.1 101 a\x01b\r\n\r\n",
      "HTTP/1.1101 x\r\n\r\n",
      "HTTP/1.x 101 x\r\n\r\n", "HTTP 101 x\r\n\r\n", "http/1.1 101 x\r\n\r\n", "ICY 200 OK\r\n\r\n",
      "220 mail.example.org ESMTP\r\n",
      "<html>", "{\"error\":1}", "GET / HTTP/1.1\r\n\r\n", "SSH-2.0-dropbear\r\n", "HTTP/1.11 101 x\r\n\r\n" },
    { "HTTP_VERSION", "HTTP/2.0 101 x\r\n\r\n", "HTTP/0.9 200 OK\r\n\r\n" },
    { "HTTP_LINE", "HTTP/1.1 101 x\n\n", "HTTP/1.1 101 x\r\na: b\r\n c\r\n\r\n", "HTTP/1.1 101\0\r\n\r\n" },
    { "HTTP_FIELD", "HTTP/1.1 101 x\r\nUpgrade : websocket\r\n\r\n" },
    { "HTTP_VALUE", "HTTP/1.1 101 x\r\na: \x02\r\n\r\n" },
  }
  for _, case in ipairs(wrong) do
    for i = 2, #case do
      it(("%q is refused: %s"):format(case[i]:sub(1, 45), case[1]):gsub("%c", "?"), function()
        local head, name = received(http.response, case[i])
        assert.is_nil(head)
        assert.equal(case[1], name)
      end)
    end
  end

  it("may have any status from 100 to 599", function()
    for status = 0, 999 do
      local head = http.response(("HTTP/1.1 %03d x\r\n\r\n"):format(status))
      assert.equal(status >= 100 and status <= 599 and status or nil, head and head.status)
    end
  end)
end)

describe("a field", function()
  local head = "GET / HTTP/1.1\r\nA: 1\r\nb: 2\r\na: 3\r\nAA: 4\r\n\r\n"

  it("is found by its name in any case, and by its turn", function()
    assert.equal("1", http.field(head, "a"))
    assert.equal("1", http.field(head, "A", 0))
    assert.equal("3", http.field(head, "A", 1))
    assert.is_nil(http.field(head, "A", 2))
    assert.equal("2", http.field(head, "B"))
    assert.equal("4", http.field(head, "aa"))
    assert.is_nil(http.field(head, "c"))
    assert.is_nil(http.field(head, ""))
  end)

  it("that is a list hands out its elements, trimmed, and passes over empty ones", function()
    assert.same({}, http.list "")
    assert.same({}, http.list " , ,\t,")
    assert.same({ "a" }, http.list "a")
    assert.same({ "a", "b", "c d" }, http.list "a,b ,\t c d ,, ")
    assert.same({ "keep-alive", "Upgrade" }, http.list "keep-alive, Upgrade")
  end)

  local function has(...)
    local bytes = "GET / HTTP/1.1\r\n"
    for _, value in ipairs { ... } do bytes = bytes .. "Connection: " .. value .. "\r\n" end
    return http.hasToken(bytes .. "\r\n", "connection", "upgrade")
  end

  it("has a token in any case, anywhere in its list, on any of its lines", function()
    assert.is_true(has "Upgrade")
    assert.is_true(has "UPGRADE")
    assert.is_true(has "keep-alive, Upgrade")
    assert.is_true(has "keep-alive,upgrade,x")
    assert.is_true(has("keep-alive", "x, , Upgrade"))
    assert.is_false(has())
    assert.is_false(has "")
    assert.is_false(has "upgraded")
    assert.is_false(has "upgrad")
    assert.is_false(has "keep-alive Upgrade")
    assert.is_false(has "\"upgrade\"")
  end)
end)

describe("a body in chunks", function()
  -- Whole, one byte at a time, and cut at every place: the same content and verdict each time.
  local function fed(pieces)
    local chunks, content = http.chunks(), ""
    for _, piece in ipairs(pieces) do
      local more, whole, name = chunks:feed(piece)
      content = content .. more
      if whole ~= false then return content, whole and "whole" or name end
    end
    return content, "waits"
  end

  local function taken(bytes)
    local content, verdict = fed { bytes }
    local wanted = content .. "|" .. verdict
    assert.equal(wanted, table.concat({ fed(bytewise(bytes)) }, "|"))
    for i = 1, #bytes - 1 do
      assert.equal(wanted, table.concat({ fed { bytes:sub(1, i), bytes:sub(i + 1) } }, "|"))
    end
    return content, verdict
  end

  local rows = { -- bytes, content, verdict
    { "4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n", "Wikipedia", "whole" },
    { "0\r\n", "", "whole" },
    { "0000\r\nX: y\r\n\r\n", "", "whole" },
    { "1\r\na\r\n0\r\nmore", "a", "whole" },
    { "A\r\n0123456789\r\n00a\r\n0123456789\r\n0\r\n", ("0123456789"):rep(2), "whole" },
    { "2;x\r\nab\r\n2 ;y=\"z\xFF\"\r\ncd\r\n0;z\r\n", "abcd", "whole" },
    { "2\r\n\r\n\r\n0\r\n", "\r\n", "whole" },
    { "", "", "waits" },
    { "5\r\nab", "ab", "waits" },
    { "2\r\nab\r\n", "ab", "waits" },
    { "fffffffffffffff\r\nab", "ab", "waits" },
    { "10000000000000000\r\nab", "", "HTTP_CHUNK" },
    { "\r\n", "", "HTTP_CHUNK" },
    { "x\r\n", "", "HTTP_CHUNK" },
    { "-1\r\n", "", "HTTP_CHUNK" },
    { ";x\r\n", "", "HTTP_CHUNK" },
    { "1\na\n", "", "HTTP_CHUNK" },
    { "1\rXa", "", "HTTP_CHUNK" },
    { "1;x\n", "", "HTTP_CHUNK" },
    { "1;\0", "", "HTTP_CHUNK" },
    { "1\r\nab\r\n", "a", "HTTP_CHUNK" },
    { "1\r\na\rb", "a", "HTTP_CHUNK" },
    { "1\r\na\r\n\r\n", "a", "HTTP_CHUNK" },
    { "1\r\na\r\n;x\r\n", "a", "HTTP_CHUNK" },
  }
  for _, row in ipairs(rows) do
    it(("%q holds %q, and %s"):format(row[1], row[2], row[3]), function()
      assert.same({ row[2], row[3] }, { taken(row[1]) })
    end)
  end

  it("has nothing more to say once it is whole or broken", function()
    for _, bytes in ipairs { "0\r\n", "x" } do
      local chunks = http.chunks()
      local _, whole = chunks:feed(bytes)
      local more, again = chunks:feed "1\r\na\r\n"
      assert.same({ "", whole }, { more, again })
    end
  end)
end)

describe("a slice", function()
  it("is compared in any case, or exactly", function()
    local function both(...) return { http.is(...) } end
    assert.same({ true, true }, both("abc", "abc"))
    assert.same({ true, false }, both("aBc", "Abc"))
    assert.same({ false, false }, both("ab", "abc"))
    assert.same({ false, false }, both("abc", "ab"))
    assert.same({ true, true }, both("", ""))
    assert.same({ false, false }, both("", "a"))
    assert.same({ false, false }, both("a\0", "a"))
    assert.same({ false, false }, both("[", "{"))
    assert.same({ false, false }, both("\xC3\x84", "\xC3\xA4"))
  end)
end)

describe("a reason phrase", function()
  it("is the registered one", function()
    assert.equal("Switching Protocols", http.reason(101))
    assert.equal("Bad Request", http.reason(400))
    assert.equal("Upgrade Required", http.reason(426))
    assert.equal("Request Header Fields Too Large", http.reason(431))
    assert.equal("HTTP Version Not Supported", http.reason(505))
    assert.equal("", http.reason(299))
    assert.equal("", http.reason(-1))
  end)
end)
