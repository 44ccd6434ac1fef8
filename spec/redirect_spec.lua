-- src/redirect, and followRedirects: a client goes where the server sends it, so often as it was told, with what
-- it may take along. Judged by the raw requests that come, and by Node's http server.

local cjson = require "cjson"
local desk = require "spec.server_helper"
local foreign = require "spec.foreign"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket

local function answer(status, location, more)
  return wire.head(("HTTP/1.1 %d Elsewhere"):format(status), {
    "Content-Length: 0", location and "Location: " .. location or "X: y", more,
  })
end

-- --- src/redirect ---------------------------------------------------------------------------------

describe("a redirect", function()
  local SECRETS = "X-One: 1\r\nauthorization: Bearer a\r\nCookie: c=1\r\nX-Authorization: kept\r\nCOOKIE: d=2\r\n" ..
    "Proxy-Authorization: Basic p\r\nX-Two: 2\r\n"
  local OFFER = { protocols = "a, b", origin = "http://o", userAgent = "spec/1", headers = SECRETS }

  local function begin(url, offer, most) return probe.redirect(url, offer or OFFER, most or 5) end

  -- The fields of a request by name, in its order.
  local function secrets(request)
    local found = {}
    for line in request:gmatch "[^\r\n]+" do
      if line:lower():match "^authorization:" or line:lower():match "^proxy%-authorization:" or
        line:lower():match "^cookie:" then found[#found + 1] = line end
    end
    return table.concat(found, "|")
  end

  for _, status in ipairs { 301, 302, 303, 307, 308 } do
    it(("of %d asks the same there"):format(status), function()
      local redirect = begin "ws://h/a?q"
      local before = redirect:request()
      local request, url = redirect:follow(answer(status, "/b#f"))
      assert.equal("ws://h/b", url)
      assert.equal(before:gsub("^GET /a%?q ", "GET /b "), request)
    end)
  end

  it("is no other answer", function()
    for _, status in ipairs { 101, 200, 204, 300, 304, 305, 306, 309, 400, 401, 500 } do
      assert.is_false((begin "ws://h/a":follow(answer(status, "/b"))))
    end
  end)

  it("leads to a reference at the URL that answered", function()
    local redirect = begin "ws://h/a/b"
    for _, step in ipairs {
      { "c", "ws://h/a/c" }, { "./d/e?x", "ws://h/a/d/e?x" }, { "", "ws://h/a/d/e?x" }, { "//g:81", "ws://g:81/" },
      { "HTTPS://g/z", "wss://g/z" },
    } do
      assert.equal(step[2], select(2, redirect:follow(answer(302, step[1]))))
    end
  end)

  it("stays within what followRedirects allows", function()
    local redirect = begin("ws://h/", nil, 2)
    assert.truthy(redirect:follow(answer(302, "/1")))
    assert.truthy(redirect:follow(answer(302, "/2")))
    assert.same({ nil, "REDIRECTS" }, { redirect:follow(answer(302, "/3")) })
    assert.equal("ws://h/2", select(2, redirect:request()))
  end)

  local wrong = { -- Location, the error
    { nil, "LOCATION" }, { "ftp://h/", "URL_SCHEME" }, { "javascript:alert(1)", "URL_SCHEME" }, { "a b", "URL_BYTE" },
    { "//", "URL_HOST" }, { "//h:0/", "URL_PORT" }, { "//h\t/", "URL_BYTE" }, { ("x"):rep(9000), "URL_LENGTH" },
  }
  for _, case in ipairs(wrong) do
    it(("to %q is not followed"):format((case[1] or "nowhere"):sub(1, 30)), function()
      local redirect = begin "ws://user:pass@h/a"
      local before = { redirect:request() }
      assert.same({ nil, case[2] }, { redirect:follow(answer(302, case[1])) })
      assert.same(before, { redirect:request() }) -- and nothing has changed
    end)
  end

  it("to two places is not followed", function()
    assert.same({ nil, "LOCATION" }, { begin "ws://h/":follow(answer(302, "/a", "Location: /b")) })
  end)

  it("never leads from wss to ws", function()
    for _, location in ipairs { "ws://h/", "http://h/", "ws://h:443/", "http://other/" } do
      local redirect = begin "wss://h/a"
      assert.same({ nil, "DOWNGRADE" }, { redirect:follow(answer(302, location)) })
      assert.equal("wss://h/a", select(2, redirect:request()))
    end
    local redirect = begin "ws://h/a"
    assert.equal("wss://h/", select(2, redirect:follow(answer(302, "https://h/"))))
    assert.same({ nil, "DOWNGRADE" }, { redirect:follow(answer(302, "ws://h/")) })
  end)

  it("within the origin takes everything along", function()
    local all = "Authorization: Basic dXNlcjpwYXNz|authorization: Bearer a|Cookie: c=1|COOKIE: d=2|Proxy-Authorization: Basic p"
    local redirect = begin "ws://user:pass@h/a"
    for _, location in ipairs { "/b", "ws://h/c", "HTTP://H:80/d", "//h", "ws://mallory:x@h/e" } do
      local request, url = redirect:follow(answer(302, location))
      assert.equal(all, secrets(request), location)
      assert.is_nil(url:match "pass")
    end
  end)

  for _, location in ipairs { "ws://g/", "ws://h:81/", "wss://h/", "https://h", "//sub.h/", "ws://user:pass@g/" } do
    it("to another origin leaves credentials behind: " .. location, function()
      local request = begin "ws://user:pass@h/a":follow(answer(302, location))
      assert.equal("", secrets(request))
      assert.matches("\r\nX%-One: 1\r\nX%-Authorization: kept\r\nX%-Two: 2\r\n\r\n$", request)
      assert.matches("\r\nOrigin: http://o\r\nSec%-WebSocket%-Protocol: a, b\r\nUser%-Agent: spec/1\r\n", request)
    end)
  end

  it("does not bring them back from there", function()
    local redirect = begin "ws://user:pass@h/a"
    redirect:follow(answer(302, "ws://g/"))
    local request, url = redirect:follow(answer(302, "ws://h/a"))
    assert.equal("ws://h/a", url)
    assert.equal("", secrets(request))
  end)

  it("does without what was not given", function()
    local redirect = begin("ws://h/a", {})
    local before = redirect:request()
    local request = redirect:follow(answer(302, "ws://g/a"))
    assert.equal(before:gsub("Host: h", "Host: g"), request)
    redirect = begin("ws://h/a", { headers = "Cookie: a\r\n" })
    assert.equal(before:gsub("Host: h", "Host: g"), (redirect:follow(answer(302, "ws://g/a"))))
  end)
end)

-- --- a client ---------------------------------------------------------------------------------------

describe("followRedirects", function()
  local server, other

  before_each(function() server, other = wire.server(), wire.server() end)
  after_each(wire.done)

  local function connect(path, options, protocols)
    local all = { followRedirects = 3 }
    for name, value in pairs(options or {}) do all[name] = value end
    local ws = WebSocket(server.url:gsub("/$", path or "/"), protocols, all)
    return ws, wire.record(ws)
  end

  -- Takes the next connection's request, and sends it elsewhere.
  local function send_away(at, location, status)
    local peer = at:asked()
    peer:send(answer(status or 302, location))
    return peer
  end

  local function keyOf(peer) return peer.request.headers["sec-websocket-key"] end

  it("goes there, with a key of its own, and the socket opens as if it had been asked there first", function()
    local ws, log = connect("/a?b", { headers = { ["X-Mine"] = "1" }, origin = "http://o", userAgent = "u" }, { "p", "q" })
    local first = send_away(server, "/c?d#e", 307)
    assert.equal("eof", (first:finish())) -- one connection at a time
    assert.equal(0, ws.readyState)
    assert.same({}, log)
    local second = server:open({ ["Sec-WebSocket-Protocol"] = "q" }, "\x81\x02hi")
    wire.await(function() return #log == 2 end)
    assert.same({ "open", "text hi" }, log)
    assert.equal(server.url .. "c?d", ws.url)
    assert.equal("q", ws.protocol)
    assert.equal(server.url:gsub("/$", ""), log.events[2].origin)
    assert.matches(server.url:gsub("%p", "%%%0") .. "c%?d", tostring(ws))
    assert.equal("/c?d", second.request.target)
    assert.not_equal(keyOf(first), keyOf(second))
    local function same(peer) return (peer.request.text:gsub("^GET %S+", ""):gsub("Key: %S+", "")) end
    assert.equal(same(first), same(second))
    ws:send "there"
    assert.equal("there", second:next().payload)
    second:closing(1000)
    assert.equal(8, second:next().opcode)
    second:shutdown()
    wire.heard(log)
    assert.same({ "open", "text hi", "close 1000  clean" }, log)
  end)

  it("leaves credentials behind at another origin", function()
    local ws = WebSocket(("ws://ann:secret@127.0.0.1:%d/"):format(server.port), nil,
      { followRedirects = 3, headers = { Cookie = "c=1", ["Proxy-Authorization"] = "p", ["X-Kept"] = "1" } })
    local log = wire.record(ws)
    local first = send_away(server, "/next")
    assert.equal("Basic YW5uOnNlY3JldA==", first.request.headers.authorization)
    local second = send_away(server, other.url .. "x")
    assert.equal("Basic YW5uOnNlY3JldA==", second.request.headers.authorization)
    assert.equal("c=1", second.request.headers.cookie)
    local third = send_away(other, server.url .. "back")
    local fourth = server:open()
    wire.heard(log, "open")
    for _, peer in ipairs { third, fourth } do
      local headers = peer.request.headers
      assert.same({ nil, nil, nil, "1" },
        { headers.authorization, headers.cookie, headers["proxy-authorization"], headers["x-kept"] })
    end
    assert.equal("127.0.0.1:" .. other.port, third.request.headers.host)
    assert.equal(server.url .. "back", ws.url)
  end)

  it("ends a loop by its count, and says so", function()
    local ws, log = connect "/loop"
    for _ = 1, 4 do send_away(server, "/loop") end
    wire.heard(log)
    assert.same({ "error http", "close 1006  unclean" }, log)
    assert.equal("connect to " .. server.url .. "loop: the server answered 302 Elsewhere: more redirects than " ..
      "followRedirects allows", log.error.message)
    assert.same({ 302, "/loop" }, { log.error.status, log.error.headers.location })
    assert.equal(server.url .. "loop", ws.url)
    wire.settle()
    assert.is_nil(server.listener:accept()) -- and nobody came a fifth time
  end)

  for _, options in ipairs { { followRedirects = 0 }, {} } do
    it(("that is %s takes a redirect for a refusal"):format(options.followRedirects or "not given"), function()
      local ws = WebSocket(server.url, nil, options)
      local log = wire.record(ws)
      send_away(server, "/b")
      wire.heard(log)
      assert.same({ "error http", "close 1006  unclean" }, log)
      assert.equal("connect to " .. server.url .. ": the server answered 302 Elsewhere", log.error.message)
      wire.settle()
      assert.is_nil(server.listener:accept())
    end)
  end

  local wrong = { -- Location, words
    { nil, "the redirect names no Location, or more than one" },
    { "ftp://h/", "the URL does not begin with ws:// or wss://" },
    { "/a b", "the URL has a space or a control character" },
  }
  for _, case in ipairs(wrong) do
    it(("fails at a redirect to %q"):format(case[1] or "nowhere"), function()
      local _, log = connect()
      local peer = server:asked()
      peer:send(wire.head("HTTP/1.1 308 Moved", { "Content-Length: 4", case[1] and "Location: " .. case[1] }) .. "page")
      wire.heard(log)
      assert.same({ "error http", "close 1006  unclean" }, log)
      assert.equal("connect to " .. server.url .. ": the server answered 308 Moved: " .. case[2], log.error.message)
      assert.same({ 308, "page" }, { log.error.status, log.error.body })
    end)
  end

  it("tells of the last place's failure only", function()
    local ws, log = connect()
    send_away(server, other.url .. "gone")
    other:asked():send "HTTP/1.1 410 Gone\r\nContent-Length: 3\r\n\r\nit "
    wire.heard(log)
    assert.same({ "error http", "close 1006  unclean" }, log)
    assert.same({ 410, "it ", nil }, { log.error.status, log.error.body, log.error.headers.location })
    assert.equal("connect to " .. other.url .. "gone: the server answered 410 Gone", log.error.message)
    assert.equal(other.url .. "gone", ws.url)
  end)

  it("fails when nobody is there", function()
    local port = other.port
    other:close()
    local _, log = connect()
    send_away(server, ("ws://127.0.0.1:%d/"):format(port))
    wire.heard(log)
    assert.same({ "error refused", "close 1006  unclean" }, log)
    assert.matches(("^connect to ws://127.0.0.1:%d/: "):format(port), log.error.message)
  end)

  it("fails with the words of the handshake when the last place has them wrong", function()
    local _, log = connect(nil, nil, "p")
    send_away(server, "/b")
    local peer = server:asked()
    peer:send(wire.switch(keyOf(peer)))
    wire.heard(log)
    assert.same({ "error http", "close 1006  unclean" }, log)
    assert.matches("subprotocol", log.error.message)
  end)

  it("is within one handshakeTimeout", function()
    local began = lunawire.now()
    local _, log = connect(nil, { handshakeTimeout = 400, followRedirects = 100 })
    local count = 0
    while not log.close do -- each answer takes a part of the time
      local peer = wire.await(function() return log.close or server.listener:accept() end)
      if log.close then break end
      count = count + 1
      wire.await(function() return peer:receive() ~= "" end)
      for _ = 1, 10 do wire.turn(5) end
      peer:send(answer(302, "/again"))
      peer:close()
    end
    assert.same({ "error timeout", "close 1006  unclean" }, log)
    assert.is_true(lunawire.now() - began >= 400)
    assert.is_true(count > 1 and count < 100, tostring(count))
    assert.equal("connect to " .. server.url .. "again: the handshake took longer than handshakeTimeout", log.error.message)
  end)

  for _, how in ipairs { "close", "terminate" } do
    it(how .. "() at the second place fails the attempt", function()
      local ws, log = connect()
      send_away(server, "/b")
      local peer = server:asked()
      ws[how](ws)
      assert.equal(2, ws.readyState)
      wire.heard(log)
      assert.same({ "error aborted", "close 1006  unclean" }, log)
      assert.equal("eof", (peer:finish()))
    end)

    it(how .. "() before the answer came keeps it from being followed", function()
      local ws, log = connect()
      local peer = server:asked()
      peer:send(answer(302, "/b"))
      ws[how](ws)
      wire.heard(log)
      assert.same({ "error aborted", "close 1006  unclean" }, log)
      wire.settle()
      assert.is_nil(server.listener:accept())
    end)
  end

  it("waits for a redirect's page, but not for long", function()
    local ws, log = connect()
    local peer = server:asked()
    peer:send "HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\nmoved" -- the page ends with the connection, which stays
    wire.settle()
    assert.equal(0, ws.readyState)
    server:open()
    wire.heard(log, "open")
    assert.equal(server.url .. "b", ws.url)
  end)

  it("is for a socket nobody listens to as for any other", function()
    local ws = connect()
    for _, name in ipairs { "onopen", "onmessage", "onerror", "onclose" } do ws[name] = nil end
    send_away(server, "/b")
    server:open()
    wire.await(function() return ws.readyState == 1 end)
    assert.equal(server.url .. "b", ws.url)
    ws:terminate()
  end)

  it("is forgotten with a socket that is", function()
    do
      local ws = WebSocket(server.url, nil, { followRedirects = 3 })
      assert.equal(0, ws.readyState)
    end
    local peer = server:asked()
    collectgarbage()
    collectgarbage()
    peer:send(answer(302, "/b"))
    wire.settle()
    assert.is_nil(server.listener:accept())
  end)

  it("keeps a pause", function()
    local ws, log = connect()
    ws:pause()
    send_away(server, "/b")
    server:open(nil, "\x81\x02hi")
    wire.heard(log, "open")
    wire.settle()
    assert.is_true(ws.isPaused)
    assert.same({ "open" }, log)
    ws:resume()
    wire.await(function() return log[2] end)
    assert.equal("text hi", log[2])
  end)

  it("is a whole number from 0 to 100", function()
    for _, value in ipairs { -1, 1.5, 101, "1", true } do
      assert.matches("followRedirects", wire.mistake("TypeError", WebSocket, server.url, nil, { followRedirects = value }))
    end
  end)

  it("begins anew with each attempt of a ReconnectingWebSocket", function()
    local ws = lunawire.ReconnectingWebSocket(server.url, nil, { followRedirects = 1, minDelay = 1, heartbeat = false })
    local log = wire.record(ws)
    for _ = 1, 2 do
      send_away(server, other.url .. "x")
      local peer = other:open()
      wire.await(function() return log[#log] == "open" end)
      assert.equal(other.url .. "x", ws.url)
      peer:close()
      wire.await(function() return log[#log] ~= "open" end)
    end
    ws:close()
  end)
end)

-- --- over TLS ---------------------------------------------------------------------------------------

describe("followRedirects over TLS #foreign", function()
  local directory, tls

  setup(function()
    directory = helper.directory()
    local output, status = helper.run(("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes " ..
      "-days 2 -subj /CN=a.test -addext subjectAltName=DNS:a.test -keyout key.pem -out cert.pem"):format(directory))
    assert.equal(0, status, output)
    tls = { cert = directory .. "/cert.pem", key = directory .. "/key.pem" }
  end)
  teardown(function() helper.remove(directory) end)
  before_each(desk.open)
  after_each(desk.clear)

  -- A server that sends whoever comes for / to location().
  local function sends_to(location, options)
    local server = desk.listen(options or { tls = tls })
    server.onupgrade = function(event)
      if event.request.path == "/" then event:reject(302, { Location = location(server) }) end
    end
    return server
  end

  local function connect(server)
    local options = { followRedirects = 3, tls = { ca = directory .. "/cert.pem", serverName = "a.test" } }
    local ws = WebSocket(server.url, nil, options)
    return ws, wire.record(ws)
  end

  it("stays with serverName within the origin", function()
    local server = sends_to(function() return "/there" end)
    local ws, log = connect(server)
    wire.heard(log, "open")
    assert.equal(server.url .. "there", ws.url)
    ws:close()
    wire.heard(log)
  end)

  it("wants the host's own certificate of another origin", function()
    local other = desk.listen { tls = tls } -- whose certificate names a.test, and not its address
    local ws, log = connect(sends_to(function() return other.url .. "there" end))
    wire.heard(log)
    assert.same({ "error tls", "close 1006  unclean" }, log)
    local place = (other.url .. "there"):gsub("%p", "%%%0")
    assert.matches("^connect to " .. place .. ": the certificate is not for", log.error.message)
    assert.equal(other.url .. "there", ws.url)
  end)

  -- Like a cookie, a client's certificate says who comes: that is for the origin it was given for.
  it("shows its certificate within the origin, and at no other", function()
    local asking = { requestCert = "optional", ca = directory .. "/here.pem" }
    for name, file in pairs { cert = "here.pem", key = "here.key" } do asking[name] = directory .. "/" .. file end
    local output, status = helper.run(("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes " ..
      "-days 2 -subj /CN=here -addext subjectAltName=IP:127.0.0.1 -keyout here.key -out here.pem"):format(directory))
    assert.equal(0, status, output)
    local seen, location = {}, { "/again" }
    local function listen()
      local server = desk.listen { tls = asking }
      server.onupgrade = function(event)
        local peer = event.request.tls.peer
        seen[#seen + 1] = peer and peer.commonName or "nobody"
        if location[#seen] then event:reject(302, { Location = location[#seen] }) end
      end
      return server
    end
    local server, other = listen(), listen()
    location[2], location[3] = other.url, server.url
    local ws = WebSocket(server.url, nil, { followRedirects = 3, tls =
      { ca = asking.ca, cert = asking.cert, key = asking.key } })
    local log = wire.record(ws)
    wire.heard(log, "open")
    assert.same({ "here", "here", "nobody", "nobody" }, seen)
    ws:close()
    wire.heard(log)
  end)

  it("goes from ws to wss with the options for TLS it was given", function()
    local other = desk.listen { tls = tls }
    local _, log = connect(sends_to(function() return other.url end, {}))
    wire.heard(log)
    assert.equal("error tls", log[1]) -- the certificate is known, and of another name than the host's
    assert.matches("the certificate is not for", log.error.message)
  end)

  it("never goes from wss to ws", function()
    local other, heard = desk.serve()
    local ws, log = connect(sends_to(function() return other.url end))
    wire.heard(log)
    assert.same({ "error http", "close 1006  unclean" }, log)
    assert.matches("302 Found: the redirect leads from wss to ws", log.error.message)
    assert.matches("^wss:", ws.url)
    assert.same({}, heard)
  end)
end)

-- --- Node as server ---------------------------------------------------------------------------------

describe("Node's http server #foreign", function()
  local peer, first, second

  setup(function()
    peer = foreign.node "pages.js"
    first, second = peer:ask "listen", peer:ask "listen"
  end)
  teardown(function() peer:stop() end)
  after_each(foreign.quiet)

  local function escaped(text)
    return (text:gsub("[^%w]", function(c) return ("%%%02x"):format(c:byte()) end))
  end

  it("sends us on, and ws opens there", function()
    local there = ("http://127.0.0.1:%d/there?x=1"):format(second.port)
    local client = foreign.connect(first, "302?to=" .. escaped("/307?to=" .. escaped(there)), nil,
      { followRedirects = 5, headers = { Cookie = "c=1" } }):opened()
    local said = cjson.decode(client:next().data)
    assert.equal("/there?x=1", said.url)
    assert.is_nil(said.headers.cookie)
    assert.equal(("127.0.0.1:%d"):format(second.port), said.headers.host)
    assert.equal(there:gsub("^http", "ws"), client.ws.url)
    client:finish(1000)
  end)

  local pages = { { 500, "transfer-encoding", "<h1>we are sorry</h1>" }, { 403, "content-length", "sorry</h1>" } }
  for _, page in ipairs(pages) do
    it(("refuses with a page of known end: %d, %s"):format(page[1], page[2]), function()
      local client = foreign.connect(first, tostring(page[1]))
      client:closed()
      assert.equal(page[1], client.error.status)
      assert.is_string(client.error.headers[page[2]])
      assert.equal(page[3], client.error.body)
    end)
  end
end)
