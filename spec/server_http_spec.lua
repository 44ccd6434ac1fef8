-- Plain HTTP on the server's port: 426 by default, onrequest when there is one.

local desk = require "spec.server_helper"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local ways = { "whole", "one byte at a time" }

local function request(line, ...)
  return table.concat({ line, "Host: 127.0.0.1", ... }, "\r\n") .. "\r\n\r\n"
end

local GET = request "GET /page?x=1 HTTP/1.1"

describe("a plain request", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("is told to upgrade, unless there is a handler", function()
    local server, log = desk.serve()
    for _, way in ipairs(ways) do
      for _, method in ipairs { "GET", "POST", "OPTIONS", "BREW" } do
        local answer = desk.fetch(server, request(method .. " / HTTP/1.1"), way)
        assert.equal("HTTP/1.1 426 Upgrade Required", answer.line)
        assert.equal("websocket", answer.headers.upgrade)
        assert.equal("13", answer.headers["sec-websocket-version"])
        assert.equal("close, Upgrade", answer.headers.connection)
        assert.equal("this is a WebSocket server\n", answer.body)
        assert.equal("eof", answer.ended)
      end
    end
    local head = desk.fetch(server, request "HEAD / HTTP/1.1")
    assert.equal(426, head.status)
    assert.equal("", head.body)
    assert.same({}, log)
  end)

  it("brings a request event", function()
    local server, log = desk.serve()
    local seen
    function server.onrequest(event)
      seen = event
      event:respond(200, { ["Content-Type"] = "text/plain" }, "hello\n")
    end
    for _, way in ipairs(ways) do
      local answer = desk.fetch(server, request("GET /page?x=1 HTTP/1.1", "X-A: 1", "x-a: 2"), way)
      assert.equal("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\nContent-Type: text/plain\r\n\r\n", answer.text)
      assert.equal("hello\n", answer.body)
      assert.equal("eof", answer.ended)
      assert.equal("request", seen.type)
      assert.equal(server, seen.target)
      assert.equal("GET", seen.request.method)
      assert.equal("/page?x=1", seen.request.target)
      assert.equal("/page", seen.request.path)
      assert.equal("x=1", seen.request.query)
      assert.same({ host = "127.0.0.1", ["x-a"] = "1, 2" }, seen.request.headers)
      assert.equal("127.0.0.1", seen.request.remoteAddress)
      assert.is_true(seen.request.remotePort > 0)
    end
    assert.same({}, log)
  end)

  it("may come by any method, and to any target there is", function()
    local server = desk.serve()
    function server.onrequest(event)
      event:respond(200, nil, event.request.method .. " " .. event.request.target)
    end
    assert.equal("OPTIONS *", desk.fetch(server, request "OPTIONS * HTTP/1.1").body)
    assert.equal("BREW /pot", desk.fetch(server, request "BREW /pot HTTP/1.1").body)
    assert.equal("GET /p?q", desk.fetch(server, request "GET http://127.0.0.1/p?q HTTP/1.1").body)
    assert.equal("DELETE /%00", desk.fetch(server, request "DELETE /%00 HTTP/1.1").body)
  end)

  it("of an upgrade to something else is one", function()
    local server = desk.serve()
    function server.onrequest(event) event:respond(200, nil, event.request.headers.upgrade) end
    assert.equal("h2c", desk.fetch(server, request("GET / HTTP/1.1", "Upgrade: h2c", "Connection: Upgrade")).body)
  end)

  it("that breaks HTTP never comes to the handler", function()
    local server = desk.serve()
    function server.onrequest() error "not for you" end
    assert.equal(400, desk.fetch(server, "GET / HTTP/1.1\r\n\r\n").status)
    assert.equal(505, desk.fetch(server, "GET / HTTP/1.0\r\nHost: h\r\n\r\n").status)
    assert.equal(400, desk.fetch(server, request("POST / HTTP/1.1", "Content-Length: 3") .. "abc").status)
  end)

  it("may be a listener's", function()
    local server = desk.serve()
    server:addEventListener("request", function(event) event:respond(204) end)
    assert.equal(204, desk.fetch(server, GET).status)
  end)
end)

describe("a response", function()
  before_each(desk.open)
  after_each(desk.clear)

  -- What comes of one handler, called once.
  local function responded(respond, bytes)
    local server, log = desk.serve()
    local errors = {}
    lunawire.onerror = function(err) errors[#errors + 1] = err end
    server.onrequest = respond
    local answer = desk.fetch(server, bytes or GET)
    assert.same({}, log)
    return answer, errors
  end

  it("to HEAD says how long the body would be, and has none", function()
    local answer = responded(function(event) event:respond(200, nil, ("x"):rep(1000)) end, request "HEAD / HTTP/1.1")
    assert.equal("1000", answer.headers["content-length"])
    assert.equal("", answer.body)
    assert.equal("eof", answer.ended)
  end)

  it("to a HEAD that is refused has no body either", function()
    local server = desk.serve()
    for line, status in pairs {
      ["HEAD / HTTP/1.1\r\n\r\n"] = 400,
      ["HEAD / HTTP/1.0\r\nHost: h\r\n\r\n"] = 505,
      ["HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"] = 400,
      [wire.upgrade(nil, "HEAD / HTTP/1.1")] = 405,
    } do
      local answer = desk.fetch(server, line)
      assert.equal(status, answer.status)
      assert.is_true(tonumber(answer.headers["content-length"]) > 0)
      assert.equal("", answer.body)
    end
  end)

  it("of 204 and 304 has neither body nor length", function()
    for _, status in ipairs { 204, 304 } do
      local answer = responded(function(event) event:respond(status, nil, "nothing") end)
      assert.equal(status, answer.status)
      assert.is_nil(answer.headers["content-length"])
      assert.equal("", answer.body)
    end
  end)

  it("without a body has an empty one", function()
    local answer = responded(function(event) event:respond(404) end)
    assert.equal("HTTP/1.1 404 Not Found", answer.line)
    assert.equal("0", answer.headers["content-length"])
  end)

  it("carries any bytes, and many", function()
    local body = ("\0\r\n\255 bytes "):rep(300000)
    local answer = responded(function(event) event:respond(200, nil, body) end)
    assert.equal(tostring(#body), answer.headers["content-length"])
    assert.is_true(body == answer.body)
    assert.equal("eof", answer.ended)
  end)

  it("arrives whole at a client that reads slowly", function()
    local server = desk.serve()
    local body = ("0123456789"):rep(2000000)
    function server.onrequest(event) event:respond(200, nil, body) end
    local peer = wire.connect(server.port)
    peer.reading = false
    peer:send(GET)
    wire.settle(50)
    peer.reading = true
    local answer = desk.answer(peer)
    assert.is_true(body == answer.body)
    assert.equal("eof", answer.ended)
  end)

  it("takes lists of headers, numbers, and names as they are written", function()
    local answer = responded(function(event)
      event:respond(200, { ["Set-Cookie"] = { "a=1", "b=2" }, ["X-Number"] = 7, ["x-Odd-CASE"] = "", ["X-Bytes"] = "\233" }, "")
    end)
    assert.truthy(answer.text:find("\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n", 1, true))
    assert.truthy(answer.text:find("\r\nX-Number: 7\r\n", 1, true))
    assert.truthy(answer.text:find("\r\nx-Odd-CASE: \r\n", 1, true))
    assert.truthy(answer.text:find("\r\nX-Bytes: \233\r\n", 1, true))
  end)

  for _, case in ipairs {
    { "a header's value with CR LF", "SyntaxError", 200, { X = "a\r\nSet-Cookie: evil" } },
    { "a header's value with LF", "SyntaxError", 200, { X = "a\nSet-Cookie: evil" } },
    { "a header's value with CR", "SyntaxError", 200, { X = "a\rSet-Cookie: evil" } },
    { "a header's value with NUL", "SyntaxError", 200, { X = "a\0" } },
    { "a list of headers with one bad", "SyntaxError", 200, { X = { "a", "b\r\nSet-Cookie: evil" } } },
    { "a header's name with CR LF", "SyntaxError", 200, { ["X\r\nSet-Cookie"] = "evil" } },
    { "a header's name with a colon", "SyntaxError", 200, { ["X:"] = "a" } },
    { "a header's name with a space", "SyntaxError", 200, { ["X Y"] = "a" } },
    { "an empty name", "SyntaxError", 200, { [""] = "a" } },
    { "a name that is a number", "TypeError", 200, { "a" } },
    { "a value that is a function", "TypeError", 200, { X = print } },
    { "a Content-Length by hand", "SyntaxError", 200, { ["content-length"] = "5" } },
    { "a Transfer-Encoding by hand", "SyntaxError", 200, { ["Transfer-Encoding"] = "chunked" } },
    { "a Connection by hand", "SyntaxError", 200, { Connection = "keep-alive" } },
    { "headers that are a string", "TypeError", 200, "X: y" },
    { "no status", "TypeError" },
    { "a status in letters", "TypeError", "200" },
    { "the status 100", "TypeError", 100 },
    { "the status 101", "TypeError", 101 },
    { "the status 199.5", "TypeError", 199.5 },
    { "the status 200.5", "TypeError", 200.5 },
    { "the status 600", "TypeError", 600 },
    { "the status -1", "TypeError", -1 },
    { "the status NaN", "TypeError", 0 / 0 },
    { "a body that is a table", "TypeError", 200, nil, {} },
    { "a body that is a number", "TypeError", 200, nil, 5 },
  } do
    it(("with %s raises, and the client gets a 500"):format(case[1]), function()
      local answer, errors = responded(function(event) event:respond(case[3], case[4], case[5]) end)
      assert.equal(500, answer.status)
      assert.is_nil(answer.text:find "[Ee]vil")
      assert.equal(1, #errors)
      assert.equal(case[2], errors[1].name, errors[1].message)
    end)
  end

  it("goes once: what comes after it says false", function()
    local results
    local answer = responded(function(event)
      results = { event:respond(200, nil, "first"), event:respond(200, nil, "second"), event:reject(404), event:accept() }
    end)
    assert.equal("first", answer.body)
    assert.same({ true, false, false, false }, results)
  end)

  it("may be a rejection, but no acceptance", function()
    local results = {}
    local answer = responded(function(event) results = { event:accept(), event:reject(404, nil, "no") } end)
    assert.same({ false, true }, results)
    assert.equal(404, answer.status)
    assert.equal("no", answer.body)
  end)

  it("of a handler that raises is 500, and the error arrives", function()
    local answer, errors = responded(function() error("broken", 0) end)
    assert.equal(500, answer.status)
    assert.equal("the server's handler failed\n", answer.body)
    assert.same({ "broken" }, errors)
  end)

  it("of a handler that raises after it has responded stays what it was", function()
    local answer, errors = responded(function(event)
      event:respond(200, nil, "fine")
      error("late", 0)
    end)
    assert.equal("fine", answer.body)
    assert.same({ "late" }, errors)
  end)

  it("of a listener that raises is 500 as well", function()
    local server = desk.serve()
    local errors = {}
    lunawire.onerror = function(err) errors[#errors + 1] = err end
    server:addEventListener("request", function() error("broken", 0) end)
    assert.equal(500, desk.fetch(server, GET).status)
    assert.same({ "broken" }, errors)
  end)

  it("may come later, without defer and with", function()
    local server = desk.serve()
    for _, defers in ipairs { false, true } do
      local result
      function server.onrequest(event)
        if defers then event:defer() end
        lunawire.setTimeout(function() result = event:respond(200, nil, "at last") end, 20)
      end
      assert.equal("at last", desk.fetch(server, GET).body)
      assert.is_true(result)
    end
  end)

  it("may come later to HEAD", function()
    local server = desk.serve()
    function server.onrequest(event)
      lunawire.setTimeout(function() event:respond(200, nil, "four") end, 5)
    end
    local answer = desk.fetch(server, request "HEAD / HTTP/1.1")
    assert.equal("4", answer.headers["content-length"])
    assert.equal("", answer.body)
  end)

  it("that is not read ends at closeTimeout", function()
    local server = desk.serve { closeTimeout = 80 }
    local body = ("x"):rep(20000000)
    function server.onrequest(event) event:respond(200, nil, body) end
    local peer = desk.ask(server, GET)
    peer.reading = false
    local start = lunawire.now()
    wire.await(function()
      peer:send "x" -- fails once the connection is gone
      return peer.failed
    end, "the end")
    assert.is_true(lunawire.now() - start >= 75)
    peer.reading = true
    peer:finish()
    assert.is_true(peer.total < #body)
  end)

  it("that never comes ends at handshakeTimeout", function()
    local server = desk.serve { handshakeTimeout = 60 }
    local kept
    function server.onrequest(event) kept = event end
    local peer = desk.ask(server, GET)
    local start = lunawire.now()
    peer:finish()
    assert.equal("", peer.bytes)
    assert.is_true(lunawire.now() - start < 2000)
    assert.is_false(kept:respond(200))
  end)

  it("to a peer that is gone says false", function()
    local server = desk.serve()
    local kept
    function server.onrequest(event) kept = event end
    local peer = desk.ask(server, GET)
    wire.await(function() return kept end, "the request")
    peer:reset()
    wire.settle()
    assert.is_false(kept:respond(200))
  end)

  it("to a peer that only ended its stream arrives", function()
    local server = desk.serve()
    local kept
    function server.onrequest(event) kept = event end
    local peer = desk.ask(server, GET)
    peer:shutdown()
    wire.await(function() return kept end, "the request")
    wire.settle()
    assert.is_true(kept:respond(200, nil, "still here"))
    assert.equal("still here", desk.answer(peer).body)
  end)

  it("may end the server it came from", function()
    local server, log = desk.serve()
    function server.onrequest(event)
      server:close()
      assert.is_false(event:respond(200, nil, "too late"))
    end
    local answer = desk.fetch(server, GET)
    assert.equal(503, answer.status)
    desk.heard(log, "server close")
  end)

  it("may go to many at once", function()
    local server = desk.serve()
    function server.onrequest(event) event:respond(200, nil, event.request.path) end
    local peers = {}
    for i = 1, 100 do peers[i] = desk.ask(server, request(("GET /%d HTTP/1.1"):format(i))) end
    for i, peer in ipairs(peers) do assert.equal("/" .. i, desk.answer(peer).body) end
  end)
end)
