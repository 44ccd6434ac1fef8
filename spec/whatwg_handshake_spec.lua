-- WHATWG WebSockets, 2 "WebSocket protocol alterations": connections (2.1) and the opening handshake (2.2), with the
-- steps of RFC 6455, 4.1 that they refer to. The server is raw bytes.

local lunawire = require "lunawire"
local whatwg = require "spec.whatwg"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket

describe("WebSockets 2.1, obtain a WebSocket connection", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  local function target(rest)
    local ws = WebSocket(whatwg.server.url .. rest)
    local request = whatwg.server:asked().request
    ws:close()
    return request.target
  end

  it("step 3: the resource name is the path behind a slash", function()
    assert.equal("/", target "")
    assert.equal("/a/b", target "a/b")
  end)

  it("step 3: empty strings in the path stay", function() assert.equal("//a//", target "/a//") end)

  it("step 4: a query is appended", function() assert.equal("/a?b=c&d", target "a?b=c&d") end)

  -- An empty one, too: fetch, which browsers use, goes by the serialised URL.
  it("step 4: an empty query leaves its question mark", function() assert.equal("/a?", target "a?") end)

  it("step 6: connections to one address are made side by side (docs/browser.md: connections to the same address)", function()
    WebSocket(whatwg.server.url)
    WebSocket(whatwg.server.url)
    whatwg.server:accept()
    whatwg.server:accept() -- while the first has no answer
  end)

  it("fetch blocks no port here (docs/browser.md: what fetch forbids to pages)", function()
    local proxy = ("http://127.0.0.1:%d"):format(whatwg.server.port) -- which sees where a client wants to go
    for _, port in ipairs { 1, 25, 6000, 6667, 10080 } do
      local ws = WebSocket(("ws://irc.example:%d/"):format(port), nil, { proxy = proxy })
      local peer = whatwg.server:accept()
      wire.await(function() return peer.bytes:find "\r\n\r\n" end, "a request")
      assert.equal(("CONNECT irc.example:%d HTTP/1.1"):format(port), peer.bytes:match "^[^\r]*")
      ws:close()
    end
  end)
end)

describe("WebSockets 2.2, establish a WebSocket connection: the request", function()
  local ws, request

  before_each(function()
    whatwg.open()
    local asking, _, peer = whatwg.asking { "one", "two" }
    ws, request = asking, peer.request
  end)
  after_each(whatwg.close)

  it("step 1: it is one of http", function() assert.equal("GET / HTTP/1.1", request.line) end)

  it("step 2: without a referrer", function() assert.is_nil(request.headers.referer) end)

  it("step 2: with no cookies, for nobody keeps any (docs/browser.md: what a request says of who asks)", function()
    assert.is_nil(request.headers.cookie)
    assert.is_nil(request.headers.origin)
  end)

  it("step 3: Upgrade is websocket", function() assert.equal("websocket", request.headers.upgrade) end)

  it("step 4: Connection is Upgrade", function() assert.equal("Upgrade", request.headers.connection) end)

  it("step 5: Sec-WebSocket-Key is 16 bytes in base64", function()
    assert.matches("^[%w+/]+==$", request.headers["sec-websocket-key"])
    assert.equal(24, #request.headers["sec-websocket-key"])
  end)

  it("step 5: and chosen anew for each connection", function()
    local _, _, other = whatwg.asking()
    assert.not_equal(request.headers["sec-websocket-key"], other.request.headers["sec-websocket-key"])
  end)

  it("step 7: Sec-WebSocket-Version is 13", function() assert.equal("13", request.headers["sec-websocket-version"]) end)

  it("step 8: the protocols are combined in one field, in their order", function()
    assert.equal("one, two", request.headers["sec-websocket-protocol"])
    local _, count = request.text:lower():gsub("sec%-websocket%-protocol:", "")
    assert.equal(1, count)
  end)

  it("steps 9 and 10: compression is offered, as it was asked for (docs/browser.md: compression)", function()
    assert.equal("permessage-deflate; client_max_window_bits", request.headers["sec-websocket-extensions"])
    for offer, option in pairs {
      ["permessage-deflate; client_no_context_takeover; client_max_window_bits=10"] =
        { clientMaxWindowBits = 10, clientNoContextTakeover = true },
      none = false,
    } do
      local _, _, peer = whatwg.asking(nil, { perMessageDeflate = option })
      assert.equal(offer, peer.request.headers["sec-websocket-extensions"] or "none")
    end
  end)

  it("RFC 6455, 4.1: Host is host and port; the default port is left out", function()
    assert.equal("127.0.0.1:" .. whatwg.server.port, request.headers.host)
    local other = WebSocket("ws://example.test/", nil, { proxy = ("http://127.0.0.1:%d"):format(whatwg.server.port) })
    local proxy = whatwg.server:accept()
    proxy:head()
    proxy:send "HTTP/1.1 200 OK\r\n\r\n"
    assert.equal("example.test", proxy:head().headers.host)
    other:close()
  end)

  it("RFC 6455, 4.1: no frame follows before the answer", function()
    wire.settle()
    assert.equal(0, ws.bufferedAmount)
    assert.equal(0, ws.readyState)
  end)
end)

describe("WebSockets 2.2, establish a WebSocket connection: the response", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  local statuses = { 200, 204, 301, 302, 307, 400, 401, 403, 404, 407, 426, 500, 503 }
  for _, status in ipairs(statuses) do
    it(("step 11.2: status %d fails the connection"):format(status), function()
      local log = whatwg.answered(wire.head(("HTTP/1.1 %d No"):format(status), { "Content-Length: 0", "Location: /elsewhere" }))
      assert.same({ "error http", "close 1006  unclean" }, log)
      assert.equal(status, log.error.status)
    end)
  end

  it("step 11.2: a network error fails it", function()
    local log = whatwg.answered ""
    assert.same({ "error http", "close 1006  unclean" }, log)
  end)

  it("step 2: redirects are errors, unless they are asked for (docs/browser.md: redirects)", function()
    local ws, log, peer = whatwg.asking(nil, { followRedirects = 1 })
    peer:send(wire.head("HTTP/1.1 302 Found", { "Content-Length: 0", "Location: /elsewhere" }))
    peer:shutdown()
    assert.equal("/elsewhere", whatwg.server:open().request.target)
    wire.heard(log, "open")
    assert.equal(whatwg.server.url .. "elsewhere", ws.url)
  end)

  it("step 2: an answer of 100 to 199 before it is passed over (docs/browser.md: answers before the 101)", function()
    local _, log, peer = whatwg.asking()
    peer:send("HTTP/1.1 100 Continue\r\n\r\n" .. whatwg.switch(peer))
    wire.heard(log, "open")
  end)

  local broken = {
    { "step 11.3: protocols were offered and none came", nil, { "one" } },
    { "step 11.3: an empty one came", { ["Sec-WebSocket-Protocol"] = "" }, { "one" } },
    { "RFC 6455, 4.1 step 2: no Upgrade", { Upgrade = false } },
    { "RFC 6455, 4.1 step 2: another Upgrade", { Upgrade = "h2c" } },
    { "RFC 6455, 4.1 step 3: no Connection", { Connection = false } },
    { "RFC 6455, 4.1 step 3: a Connection without Upgrade", { Connection = "keep-alive" } },
    { "RFC 6455, 4.1 step 4: no Sec-WebSocket-Accept", { ["Sec-WebSocket-Accept"] = false } },
    { "RFC 6455, 4.1 step 4: that of another key", { ["Sec-WebSocket-Accept"] = wire.accept "dGhlIHNhbXBsZSBub25jZQ==" } },
    { "RFC 6455, 4.1 step 5: an extension that was not offered", { ["Sec-WebSocket-Extensions"] = "x-unheard-of" } },
    { "RFC 6455, 4.1 step 6: a protocol that was not offered", { ["Sec-WebSocket-Protocol"] = "two" }, { "one" } },
    { "RFC 6455, 4.1 step 6: a protocol though none was offered", { ["Sec-WebSocket-Protocol"] = "one" } },
    { "RFC 6455, 4.1 step 6: a protocol in other letters", { ["Sec-WebSocket-Protocol"] = "ONE" }, { "one" } },
    { "RFC 6455, 4.1 step 6: two protocols", { ["Sec-WebSocket-Protocol"] = "one, two" }, { "one", "two" } },
  }
  for _, row in ipairs(broken) do
    it(row[1] .. ": the connection fails", function()
      local log, peer = whatwg.answered(function(peer) peer:send(whatwg.switch(peer, row[2])) end, row[3])
      assert.matches("^error ", log[1])
      assert.same({ log[1], "close 1006  unclean" }, log)
      assert.equal("", select(2, peer:finish())) -- and not a frame is sent
    end)
  end

  it("RFC 6455, 4.1 steps 2 and 3: case does not matter, nor what else Connection says", function()
    local log, peer = select(2, whatwg.opened(nil, { Upgrade = "WEBSOCKET", Connection = "foo, upgrade" }))
    whatwg.finish(log, peer)
  end)

  it("RFC 6455, 4.1 step 4: white space around Sec-WebSocket-Accept is ignored", function()
    local _, log, peer = whatwg.asking()
    local accept = wire.accept(peer.request.headers["sec-websocket-key"])
    peer:send(whatwg.switch(peer, { ["Sec-WebSocket-Accept"] = "  " .. accept .. " \t" }))
    wire.heard(log, "open")
  end)

  it("field names are compared without case", function()
    local _, log, peer = whatwg.asking()
    peer:send((whatwg.switch(peer):gsub("Upgrade:", "uPGRADE:"):gsub("Sec%-WebSocket%-Accept", "sec-websocket-accept")))
    wire.heard(log, "open")
  end)

  it("a failure may be told from another (docs/browser.md: why a connection failed)", function()
    local log = whatwg.answered(wire.head("HTTP/1.1 403 Forbidden", { "Content-Length: 5", "X-Why: because" }) .. "sorry")
    assert.equal("http", log.error.code)
    assert.equal(403, log.error.status)
    assert.equal("because", log.error.headers["x-why"])
    assert.equal("sorry", log.error.body)
    assert.matches("403 Forbidden", log.error.message)
  end)
end)
