-- upgrade: heads arrive in any pieces; the verdict is the same.
local probe = require "lunawire.probe"
local crypt = probe.crypt

local function lines(...)
  return table.concat({ ... }, "\r\n") .. "\r\n\r\n"
end

local REQUEST = lines("GET /chat HTTP/1.1", "Host: server.example.com", "Upgrade: websocket", "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13") -- RFC 6455, 1.3

-- The pieces of bytes: whole, one by one, and cut in two at every place.
local function slicings(bytes)
  local all = { { bytes }, {} }
  for i = 1, #bytes do
    all[2][i] = bytes:sub(i, i)
    if i < #bytes then all[#all + 1] = { bytes:sub(1, i), bytes:sub(i + 1) } end
  end
  return all
end

-- Feeds pieces until there is a verdict; what is left goes behind it unjudged.
local function verdict(upgrade, pieces)
  local got, err
  for _, piece in ipairs(pieces) do
    got, err = upgrade:feed(piece)
    if got ~= false then return got, err end
  end
  return got, err
end

local function accept_of(request)
  local key = request:match "Sec%-WebSocket%-Key: (%S+)"
  return crypt.encode(crypt.sha1(key .. "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
end

local function asking(protocols)
  local upgrade = probe.upgrade("client", 16384, 100)
  return upgrade, upgrade:ask("ws://h/", protocols)
end

local function switching(request, ...)
  return lines("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
    "Sec-WebSocket-Accept: " .. accept_of(request), ...)
end

describe("a request that arrives", function()
  it("has one verdict, however it is cut", function()
    for _, pieces in ipairs(slicings(REQUEST)) do
      local upgrade = probe.upgrade("server", 16384, 100)
      assert.is_true(verdict(upgrade, pieces))
      assert.is_true(upgrade:wants())
      assert.equal("", upgrade:rest())
    end
  end)

  it("keeps the frames that come with it", function()
    local upgrade = probe.upgrade("server", 16384, 100)
    assert.is_true(upgrade:feed(REQUEST .. "\x81\x85frames"))
    assert.equal("\x81\x85frames", upgrade:rest())
  end)

  it("that is plain HTTP wants no WebSocket", function()
    local upgrade = probe.upgrade("server", 16384, 100)
    assert.is_true(upgrade:feed(lines("GET / HTTP/1.1", "Host: h")))
    assert.is_false(upgrade:wants())
  end)

  local wrong = {
    { "another version of the protocol", REQUEST:gsub("13", "12"), "WS_VERSION" },
    { "no key", REQUEST:gsub("Sec%-WebSocket%-Key: %S+\r\n", ""), "KEY" },
    { "a body", REQUEST:gsub("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n"), "BODY" },
    { "another method", REQUEST:gsub("GET", "PUT"), "METHOD" },
    { "HTTP/1.0", REQUEST:gsub("HTTP/1.1", "HTTP/1.0"), "HTTP_VERSION" },
    { "a bare LF", REQUEST:gsub("\r\nHost", "\nHost"), "HTTP_LINE" },
    { "noise", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP_START" },
  }
  for _, case in ipairs(wrong) do
    it("with " .. case[1] .. " is refused for it, however it is cut", function()
      for _, pieces in ipairs(slicings(case[2])) do
        local got, err = verdict(probe.upgrade("server", 16384, 100), pieces)
        assert.is_nil(got)
        assert.equal(case[3], err)
      end
    end)
  end

  it("is refused at its limits, and holds no more than has come", function()
    local upgrade = probe.upgrade("server", 512, 100)
    local head = "GET / HTTP/1.1\r\nHost: h\r\n"
    assert.is_false(upgrade:feed(head))
    assert.is_true(upgrade:held() <= 2 * #head)
    local got, err = upgrade:feed(("X: y\r\n"):rep(100))
    assert.is_nil(got)
    assert.equal("HTTP_SIZE", err)
    got, err = probe.upgrade("server", 16384, 5):feed(REQUEST:gsub("\r\n\r\n", "\r\nOne: more\r\n\r\n"))
    assert.is_nil(got)
    assert.equal("HTTP_COUNT", err)
  end)
end)

describe("an answer that arrives", function()
  it("opens, however it is cut, with the protocol it chose", function()
    local _, request = asking "chat, superchat"
    for place in ipairs(slicings(switching(request, "Sec-WebSocket-Protocol: superchat"))) do
      local upgrade, asked = asking "chat, superchat"
      local pieces = slicings(switching(asked, "Sec-WebSocket-Protocol: superchat"))[place]
      assert.is_true(verdict(upgrade, pieces))
      assert.equal("superchat", upgrade:protocol())
    end
  end)

  it("may be preceded by others that are only interim", function()
    local upgrade, request = asking()
    assert.is_true(upgrade:feed(lines "HTTP/1.1 100 Continue" .. lines("HTTP/1.1 103 Early Hints", "Link: x") ..
      switching(request) .. "\x81\1x"))
    assert.equal("\x81\1x", upgrade:rest())
  end)

  it("to another question is refused", function()
    local _, other = asking()
    local got, err = asking():feed(switching(other))
    assert.is_nil(got)
    assert.equal("ACCEPT", err)
  end)

  it("with an extension nobody offered is refused", function()
    local upgrade, request = asking()
    local got, err = upgrade:feed(switching(request, "Sec-WebSocket-Extensions: permessage-deflate"))
    assert.is_nil(got)
    assert.equal("EXTENSION", err)
  end)
end)

describe("a refusal's page", function()
  local function refused(head)
    local upgrade = asking()
    local got, err = upgrade:feed(head)
    assert.is_nil(got)
    assert.equal("STATUS", err)
    return upgrade
  end

  it("is as long as Content-Length says", function()
    local upgrade = refused(lines("HTTP/1.1 403 Forbidden", "Content-Length: 5") .. "no")
    assert.equal(403, upgrade:status())
    assert.is_false(upgrade:page "")
    assert.is_false(upgrade:page " w")
    assert.is_true(upgrade:page "ay, and more")
    assert.equal("no wa", upgrade:rest())
    assert.equal(403, upgrade:status())
  end)

  it("that is here already, or is none, is not waited for", function()
    assert.is_true(refused(lines("HTTP/1.1 403 Forbidden", "Content-Length: 2") .. "no!"):page "")
    assert.is_true(refused(lines("HTTP/1.1 304 Not Modified", "Content-Length: 9")):page "")
    assert.is_true(refused(lines("HTTP/1.1 500 Oh", "Transfer-Encoding: gzip, chunked") .. "2\r\nhi\r\n"):page "")
    assert.is_true(refused(lines("HTTP/1.1 500 Oh", "Content-Length: x")):page "")
  end)

  it("that comes in chunks is without them, however it is cut", function()
    local head = lines("HTTP/1.1 500 Oh", "Content-Length: 3", "Transfer-Encoding: Chunked")
    local bytes = "2;a=b\r\nwe\r\nA \r\n are sorry\r\n0\r\nX: y\r\n\r\nand more"
    for _, pieces in ipairs(slicings(bytes)) do
      for _, with_head in ipairs { true, false } do
        local upgrade = refused(head .. (with_head and pieces[1] or ""))
        local whole = upgrade:page ""
        for i = with_head and 2 or 1, #pieces do
          if whole then break end
          whole = upgrade:page(pieces[i])
        end
        assert.is_true(whole)
        assert.equal("we are sorry", upgrade:rest())
        assert.equal(500, upgrade:status())
      end
    end
  end)

  it("whose chunks break off or break the rules is kept up to there", function()
    local head = lines("HTTP/1.1 500 Oh", "Transfer-Encoding: chunked")
    local upgrade = refused(head .. "5\r\nwe")
    assert.is_false(upgrade:page "")
    assert.equal("we", upgrade:rest())
    upgrade = refused(head)
    assert.is_true(upgrade:page "5\r\nwe are\r\n")
    assert.equal("we ar", upgrade:rest())
    assert.is_true(refused(head .. "<html>"):page "")
  end)

  it("in chunks is kept up to 64 KiB, whatever is wrapped around it", function()
    local upgrade = refused(lines("HTTP/1.1 502 Bad Gateway", "Transfer-Encoding: chunked"))
    local piece = ("1;" .. ("x"):rep(100) .. "\r\np\r\n"):rep(600)
    local whole, n = false, 0
    while not whole do
      whole, n = upgrade:page(piece), n + 1
      assert.is_true(upgrade:held() <= 3 * 65536)
    end
    assert.equal(math.ceil(65536 / 600), n)
    assert.equal(("p"):rep(65536), upgrade:rest())
    upgrade = refused(lines("HTTP/1.1 502 Bad Gateway", "Transfer-Encoding: chunked") .. "FFFFFFFF\r\n" .. ("p"):rep(200000))
    assert.is_true(upgrade:page "")
    assert.equal(("p"):rep(65536), upgrade:rest())
  end)

  it("is kept up to 64 KiB", function()
    local upgrade = refused(lines("HTTP/1.1 502 Bad Gateway", "Content-Length: 99999999999999999999"))
    for _ = 1, 63 do assert.is_false(upgrade:page(("p"):rep(1024))) end
    assert.is_true(upgrade:page(("p"):rep(4096)))
    assert.equal(("p"):rep(65536), upgrade:rest())
    assert.is_true(upgrade:held() <= 3 * 65536)
  end)
end)
