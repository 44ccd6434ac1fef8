-- src/tunnel: what is said to a proxy, and what its answers mean, however they are cut.

local probe = require "lunawire.probe"

local function lines(...)
  return table.concat({ ... }, "\r\n") .. "\r\n\r\n"
end

-- The pieces of bytes: whole, one by one, and cut in two at every place.
local function slicings(bytes)
  local all = { { bytes }, {} }
  for i = 1, #bytes do
    all[2][i] = bytes:sub(i, i)
    if i < #bytes then all[#all + 1] = { bytes:sub(1, i), bytes:sub(i + 1) } end
  end
  return all
end

-- A tunnel that has asked, and what it said.
local function asking(proxy, host, port, agent)
  local tunnel = assert(probe.tunnel(proxy, host or "example.org", port or 443, agent))
  assert(tunnel:ask())
  return tunnel, tunnel:said()
end

-- Feeds pieces until there is a verdict. What comes after "through" is the host's, unless it came with it.
local function verdict(tunnel, pieces)
  local got, err
  for i, piece in ipairs(pieces) do
    got, err = tunnel:feed(piece)
    if got and pieces[i + 1] then return nil, "PROXY_EXTRA" end
    if got ~= false then break end
  end
  return got, err
end

-- The verdict on these bytes, the same however they are cut; and the last tunnel.
local function judged(proxy, bytes)
  local first
  for i, pieces in ipairs(slicings(bytes)) do
    local tunnel = asking(proxy)
    local got, err = verdict(tunnel, pieces)
    local now = { got = got, err = err, why = tunnel:why() }
    first = first or now
    assert.same(first, now, "cut " .. i)
  end
  return first
end

local HTTP, SOCKS = "http://proxy:3128", "socks5://proxy"
local HTTP_USER, SOCKS_USER = "http://Aladdin:open%20sesame@proxy:3128", "socks5://me:secret@proxy"

describe("CONNECT", function()
  it("asks for a host and its port", function()
    local _, said = asking(HTTP)
    assert.equal(lines("CONNECT example.org:443 HTTP/1.1", "Host: example.org:443"), said)
    _, said = asking(HTTP, "192.0.2.1", 80)
    assert.equal(lines("CONNECT 192.0.2.1:80 HTTP/1.1", "Host: 192.0.2.1:80"), said)
    _, said = asking(HTTP, "2001:db8::1", 8080)
    assert.equal(lines("CONNECT [2001:db8::1]:8080 HTTP/1.1", "Host: [2001:db8::1]:8080"), said)
  end)

  it("brings credentials (RFC 7617, 2) and a user agent if there are any", function()
    local _, said = asking(HTTP_USER, "h", 80, "me/1.0")
    assert.equal(lines("CONNECT h:80 HTTP/1.1", "Host: h:80",
      "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "User-Agent: me/1.0"), said)
  end)

  local through = {
    { "200", lines "HTTP/1.1 200 Connection established" },
    { "200 of HTTP/1.0", lines("HTTP/1.0 200 Connection established", "Proxy-agent: tinyproxy/1.11.1") },
    { "a status without a reason", lines "HTTP/1.1 200" },
    { "any other 2xx", lines "HTTP/1.1 299 Well" },
    { "lengths that mean nothing", lines("HTTP/1.1 200 OK", "Content-Length: 10", "Transfer-Encoding: chunked") },
    { "interim answers first", lines "HTTP/1.1 100 Continue" .. lines("HTTP/1.1 103 Early Hints", "Link: x") ..
      lines "HTTP/1.1 200 OK" },
    { "a head of 16 KiB", "HTTP/1.1 200 OK\r\nX: " .. ("x"):rep(16384 - 24) .. "\r\n\r\n", whole = true },
    { "100 headers", "HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(100) .. "\r\n" },
  }
  for _, case in ipairs(through) do
    it("is through with " .. case[1], function()
      if case.whole then
        assert.is_true(asking(HTTP):feed(case[2]))
        local tunnel = asking(HTTP)
        for i = 1, #case[2] - 1 do assert.is_false(tunnel:feed(case[2]:sub(i, i))) end
        assert.is_true(tunnel:feed "\n")
      else
        assert.same({ got = true }, judged(HTTP, case[2]))
      end
    end)
  end

  it("says nothing more when it is through", function()
    local tunnel = asking(HTTP)
    assert.is_true(tunnel:feed(lines "HTTP/1.1 200 OK"))
    assert.equal("", tunnel:said())
  end)

  local refusals = { -- answer, with credentials or not, words
    { lines("HTTP/1.1 403 Filtered", "Content-Length: 5") .. "Sorry", HTTP, "the proxy answered 403 Filtered" },
    { lines "HTTP/1.1 502 ", HTTP, "the proxy answered 502 Bad Gateway" },
    { lines "HTTP/1.1 599", HTTP, "the proxy answered 599" },
    { lines "HTTP/1.0 407 Proxy Authentication Required", HTTP,
      "the proxy answered 407 Proxy Authentication Required: it wants a user name and a password" },
    { lines "HTTP/1.1 407 Proxy Authentication Required", HTTP_USER,
      "the proxy answered 407 Proxy Authentication Required: it does not accept this user name and password" },
    { lines("HTTP/1.1 101 Switching Protocols", "Upgrade: x"), HTTP, "the proxy answered 101 Switching Protocols" },
    { lines("HTTP/1.1 302 Found", "Location: http://x/"), HTTP, "the proxy answered 302 Found" },
    { lines "HTTP/1.1 100 Continue" .. lines "HTTP/1.1 504 Late", HTTP, "the proxy answered 504 Late" },
    { lines "HTTP/1.1 403 \xc2\x9bred\tx", HTTP, "the proxy answered 403 ??red?x" }, -- CSI, in one byte
    { lines("HTTP/1.1 403 " .. ("long "):rep(100)), HTTP, "the proxy answered 403 " .. ("long "):rep(16) },
  }
  for _, case in ipairs(refusals) do
    it("is refused: " .. case[3]:sub(1, 100), function()
      local got = judged(case[2], case[1])
      assert.equal("PROXY_STATUS", got.err)
      assert.equal(case[3], got.why)
      assert.is_nil(got.why:match "sesame")
    end)
  end

  local wrong = { -- what it is, bytes, error
    { "a head that is HTTP/2", lines "HTTP/2.0 200 OK", "PROXY_HTTP" },
    { "a banner", "SSH-2.0-OpenSSH_9.2p1\r\n", "PROXY_HTTP" },
    { "an alert of TLS", "\x15\x03\x01\x00\x02\x02\x46", "PROXY_HTTP" },
    { "a request", lines("GET / HTTP/1.1", "Host: x"), "PROXY_HTTP" },
    { "SOCKS4", "\0\x5a\0\0\0\0\0\0", "PROXY_HTTP" },
    { "SOCKS5", "\5\0", "PROXY_HTTP" },
    { "a bare LF", "HTTP/1.1 200 OK\n\n", "PROXY_HTTP" },
    { "a NUL", "HTTP/1.1 200 O\0K\r\n\r\n", "PROXY_HTTP" },
    { "a folded line", lines("HTTP/1.1 200 OK", "X: y", " z"), "PROXY_HTTP" },
    { "an escape sequence", lines "HTTP/1.1 403 \27[31mred", "PROXY_HTTP" },
    { "a status of no class", lines "HTTP/1.1 099 Odd", "PROXY_HTTP" },
    { "a status that is no number", lines "HTTP/1.1 20O OK", "PROXY_HTTP" },
    { "101 headers", "HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(101) .. "\r\n", "PROXY_SIZE" },
  }
  for _, case in ipairs(wrong) do
    it("takes no " .. case[1] .. " for an answer", function()
      assert.equal(case[3], judged(HTTP, case[2]).err)
    end)
  end

  local endless = {
    { "a line", "HTTP/1.1 200 ", "x" }, { "a head", "HTTP/1.1 200 OK\r\n", "X-Y: zz\r\n" },
    { "interim answers", "", lines "HTTP/1.1 100 Continue" }, { "no line at all", "", "HTTP" },
  }
  for _, case in ipairs(endless) do
    it("ends " .. case[1] .. " without end at 16 KiB", function()
      local bytes = case[2] .. case[3]:rep(16384 * 2)
      local _, err = asking(HTTP):feed(bytes)
      assert.equal("PROXY_SIZE", err)
      local tunnel, fed = asking(HTTP), 0
      local got
      repeat
        fed = fed + 1
        got, err = tunnel:feed(bytes:sub(fed, fed))
      until got ~= false
      assert.equal("PROXY_SIZE", err)
      assert.equal(16385, fed)
    end)
  end

  it("lets nobody speak before us", function()
    for _, more in ipairs { "x", "\x81\x01x", ("x"):rep(20000) } do
      local got, err = asking(HTTP):feed(lines("HTTP/1.1 200 OK", "Content-Length: 1") .. more)
      assert.is_nil(got)
      assert.equal("PROXY_EXTRA", err)
    end
    local got, err = asking(HTTP):feed(lines "HTTP/1.1 200 OK" .. lines "HTTP/1.1 200 OK")
    assert.same({ [2] = "PROXY_EXTRA" }, { got, err })
  end)

  it("tells an end without an answer from one in its middle", function()
    local tunnel = asking(HTTP)
    assert.is_nil(tunnel:why())
    local _, err = tunnel:over()
    assert.equal("PROXY_EOF", err)
    assert.equal("the proxy ended the connection without an answer", tunnel:why())
    tunnel = asking(HTTP)
    assert.is_false(tunnel:feed "HTTP/1.1 200 OK\r\n")
    tunnel:over()
    assert.equal("the proxy ended the connection in the middle of its answer", tunnel:why())
  end)
end)

describe("SOCKS5", function()
  local OK = "\5\0\0\1\0\0\0\0\0\0"

  it("offers what it has (RFC 1928, 3)", function()
    local _, said = asking(SOCKS)
    assert.equal("\5\1\0", said)
    _, said = asking(SOCKS_USER)
    assert.equal("\5\2\0\2", said)
  end)

  it("leaves names to the proxy, and says addresses as such", function()
    local requests = {
      { "example.org", 443, "\5\1\0\3\x0bexample.org\x01\xbb" },
      { "192.0.2.1", 80, "\5\1\0\1\xc0\x00\x02\x01\x00\x50" },
      { "2001:db8::1", 65535, "\5\1\0\4\x20\x01\x0d\xb8" .. ("\0"):rep(11) .. "\1\xff\xff" },
      { ("a"):rep(255), 1, "\5\1\0\3\xff" .. ("a"):rep(255) .. "\0\1" },
    }
    for _, case in ipairs(requests) do
      local tunnel = asking(SOCKS, case[1], case[2])
      assert.is_false(tunnel:feed "\5\0")
      assert.equal(case[3], tunnel:said())
      assert.is_true(tunnel:feed(OK))
      assert.equal("", tunnel:said())
    end
  end)

  it("carries no name of more than 255 bytes", function()
    local tunnel = probe.tunnel(SOCKS, ("a"):rep(256), 1)
    local got, err = tunnel:ask()
    assert.same({ [2] = "URL_HOST_SIZE" }, { got, err })
    assert.equal("", tunnel:said())
  end)

  it("signs in when the proxy wants that (RFC 1929), and not otherwise", function()
    local tunnel = asking(SOCKS_USER)
    assert.is_false(tunnel:feed "\5\2")
    assert.equal("\1\2me\6secret", tunnel:said())
    assert.is_false(tunnel:feed "\1\0")
    assert.equal("\5\1\0\3\x0bexample.org\x01\xbb", tunnel:said())
    assert.is_true(tunnel:feed(OK))

    tunnel = asking(SOCKS_USER)
    assert.is_false(tunnel:feed "\5\0")
    assert.equal("\5\1\0\3\x0bexample.org\x01\xbb", tunnel:said())
  end)

  it("says names and passwords of any length it can", function()
    local long = ("u"):rep(255)
    for _, case in ipairs { { "u", "" }, { long, long } } do
      local tunnel = asking(("socks5://%s:%s@proxy"):format(case[1], case[2]))
      tunnel:feed "\5\2"
      assert.equal(("\1%s%s"):format(("s1"):pack(case[1]), ("s1"):pack(case[2])), tunnel:said())
    end
  end)

  local addresses = {
    { "IPv4", "\1\127\0\0\1\x12\x34" }, { "IPv6", "\4" .. ("\1"):rep(16) .. "\x12\x34" }, { "a name", "\3\3abc\x12\x34" },
    { "an empty name", "\3\0\x12\x34" }, { "a name of 255 bytes", "\3\255" .. ("a"):rep(255) .. "\x12\x34" },
    { "a name with NULs", "\3\2\0\0\x12\x34" },
  }
  for _, case in ipairs(addresses) do
    it("is through whatever address the proxy names: " .. case[1], function()
      assert.same({ got = true }, judged(SOCKS, "\5\0\5\0\0" .. case[2]))
      assert.same({ got = true }, judged(SOCKS_USER, "\5\2\1\0\5\0\0" .. case[2]))
    end)
  end

  it("waits for the last byte", function()
    for _, case in ipairs(addresses) do
      local tunnel = asking(SOCKS)
      assert.is_false(tunnel:feed("\5\0\5\0\0" .. case[2]:sub(1, -2)))
      assert.is_true(tunnel:feed "\x34")
    end
  end)

  local replies = {
    { 1, "the proxy answered: general failure" },
    { 2, "the proxy answered: not allowed by its rules" },
    { 3, "the proxy answered: network unreachable" },
    { 4, "the proxy answered: host unreachable" },
    { 5, "the proxy answered: connection refused" },
    { 6, "the proxy answered: it took too many hops (TTL expired)" },
    { 7, "the proxy answered: command not supported" },
    { 8, "the proxy answered: this kind of address is not supported" },
    { 9, "the proxy answered with an error that SOCKS5 does not know (9)" },
    { 255, "the proxy answered with an error that SOCKS5 does not know (255)" },
  }
  for _, case in ipairs(replies) do
    it("tells of reply " .. case[1], function()
      for _, rest in ipairs { "", "\0\1\0\0\0\0\0\0", "\0\0", "\0\9junk" } do -- some proxies send no more
        local got = judged(SOCKS, "\5\0\5" .. string.char(case[1]) .. rest)
        assert.equal("PROXY_REPLY", got.err)
        assert.equal(case[2], got.why)
      end
    end)
  end

  local wrong = { -- what it is, proxy, bytes, error
    { "SOCKS4", SOCKS, "\0\x5a\0\0\0\0\0\0", "PROXY_SOCKS" },
    { "SOCKS4's version", SOCKS, "\4\0", "PROXY_SOCKS" },
    { "HTTP", SOCKS, lines "HTTP/1.1 400 Bad Request", "PROXY_SOCKS" },
    { "TLS", SOCKS, "\x15\x03\x01", "PROXY_SOCKS" },
    { "another version behind the first", SOCKS, "\5\0\4\0\0\1\0\0\0\0\0\0", "PROXY_SOCKS" },
    { "an address of no kind", SOCKS, "\5\0\5\0\0\2\0\0\0\0\0\0", "PROXY_SOCKS" },
    { "an address of kind 0", SOCKS, "\5\0\5\0\0\0\0\0\0\0\0\0", "PROXY_SOCKS" },
    { "another version of passwords", SOCKS_USER, "\5\2\5\0", "PROXY_SOCKS" },
    { "a wish for a password there is none of", SOCKS, "\5\xff", "PROXY_AUTH" },
    { "a password asked for that was not offered", SOCKS, "\5\2", "PROXY_METHOD" },
    { "GSSAPI", SOCKS, "\5\1", "PROXY_METHOD" },
    { "a method of nobody", SOCKS_USER, "\5\x80", "PROXY_METHOD" },
    { "no method, with a password", SOCKS_USER, "\5\xff", "PROXY_METHOD" },
    { "a password that is wrong", SOCKS_USER, "\5\2\1\1", "PROXY_PASSWORD" },
    { "a password that is very wrong", SOCKS_USER, "\5\2\1\xff", "PROXY_PASSWORD" },
  }
  for _, case in ipairs(wrong) do
    it("does not go through with " .. case[1], function()
      local got = judged(case[2], case[3])
      assert.is_nil(got.got)
      assert.equal(case[4], got.err)
    end)
  end

  it("lets nobody speak before us", function()
    local tunnel = asking(SOCKS)
    assert.is_false(tunnel:feed "\5\0")
    local got, err = tunnel:feed(OK .. "x")
    assert.same({ [2] = "PROXY_EXTRA" }, { got, err })
  end)

  it("tells an end without an answer from one in its middle", function()
    for _, case in ipairs { { "", "without an answer" }, { "\5", "in the middle of its answer" },
      { "\5\0", "in the middle of its answer" }, { "\5\0\5\0", "in the middle of its answer" } } do
      local tunnel = asking(SOCKS)
      tunnel:feed(case[1])
      local _, err = tunnel:over()
      assert.equal("PROXY_EOF", err)
      assert.equal("the proxy ended the connection " .. case[2], tunnel:why())
    end
  end)

  it("has one verdict on noise, too", function()
    math.randomseed(5)
    for _ = 1, 2000 do
      local bytes = {}
      for i = 1, math.random(1, 40) do bytes[i] = string.char(math.random(0, 255)) end
      local noise = table.concat(bytes)
      if math.random() < 0.5 then noise = "\5\0\5\0\0" .. noise end
      local got = judged(SOCKS, noise)
      assert.is_true(got.got ~= nil or got.err ~= nil)
    end
  end)
end)
