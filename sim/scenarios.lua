-- scenarios.lua -- what is played in a system in memory (stage.lua): one use of the public API each.
--
-- Each ends by itself, is the same each time, and says by stage.expect what it should see when nothing fails. While
-- something does fail, any line of it may raise for want of memory: what is behind it does not happen then.

local scenarios, names = {}, {}

local function scenario(name, run, more)
  more = more or {}
  more.run, more.name = run, name
  scenarios[name] = more
  if not more.hidden then names[#names + 1] = name end
end
scenarios[1] = names -- in order

local KiB = 1024

-- An echo server, of which the stage knows.
local function echo(S, options, way)
  local server, record = S.server(options or {}, way)
  server.onmessage = function(event) event.target:send(event.data, { binary = event.binary }) end
  return server, record
end

local function urlOf(server, host)
  return ("%s://%s:%d/"):format(server.url:match "^(%l+)", host or "127.0.0.1", server.port)
end

-- A client that collects what it hears.
local function listener(S, ...)
  local ws, record = S.client(...)
  local heard = {}
  ws.onmessage = function(event) heard[#heard + 1] = event.data end
  return ws, heard, record
end

local function opened(ws)
  return function() return ws.readyState ~= 0 end
end

local function isClosed(ws)
  return function() return ws.readyState == 3 end
end

-- Turns until so many have come, or nothing can come any more.
local function await(S, ws, heard, n, patience)
  S.wait(function() return #heard >= n or ws.readyState == 3 end, patience)
end

local function goodbye(S, ws, ...)
  ws:close(...)
  S.wait(isClosed(ws))
end

-- --- messages ------------------------------------------------------------------------------------------------------

scenario("echo", function(S)
  local server = echo(S)
  local ws, heard, record = listener(S, server.url)
  S.wait(opened(ws))
  ws:send "hello"
  ws:send("\0\1\2", "binary")
  ws:send ""
  await(S, ws, heard, 3)
  S.expect(table.concat(heard, "|") == "hello|\0\1\2|", "the echo")
  goodbye(S, ws, 1000, "that was all")
  S.wait(function() return record.closes > 0 end)
  S.expect(record.wasClean and record.code == 1000 and record.reason == "that was all", "a clean close")
end)

scenario("handshake", function(S)
  local server = S.server({
    protocols = { "b", "a" }, origins = { "https://example.org" }, resource = "/chat", maxHeaderCount = 20,
  }, { path = "chat" })
  local seen
  server.onconnection = function(event) seen = event.request end
  local ws = S.client(server.url .. "chat?x=1", { "a", "c" }, {
    headers = { ["X-One"] = "1", ["X-Many"] = { "2", "3" } }, origin = "https://example.org", userAgent = "here",
  })
  S.wait(opened(ws))
  S.expect(ws.protocol == "a" and seen, "in")
  S.expect(seen and seen.query == "x=1" and seen.headers["x-many"] == "2, 3", "what was asked for")
  goodbye(S, ws)
  local other, _, record = listener(S, server.url .. "else")
  S.wait(isClosed(other))
  S.wait(function() return record.closes > 0 end)
  S.expect(record.error == "http", "404")
end)

scenario("upgrades", function(S)
  local server = S.server({ protocols = function(offered) return offered[#offered] end }, { path = "in" })
  local waiting
  server.onupgrade = function(event)
    if event.request.path == "/no" then event:reject(401, { ["X-Why"] = "so" }, "go away") end
    if event.request.path == "/later" then
      event:defer()
      waiting = event
    end
    event.headers = { ["X-Hello"] = "you" }
  end
  local no, _, refused = listener(S, server.url .. "no")
  local later = S.client(server.url .. "later", { "x", "y" })
  S.wait(function() return waiting and refused.closes > 0 end)
  if waiting then waiting:accept() end
  S.wait(opened(later))
  S.expect(no.readyState == 3 and refused.error == "http", "401")
  S.expect(later.readyState == 1 and later.protocol == "y", "deferred and accepted")
  later:close()
  S.wait(isClosed(later))
end)

scenario("deferred too long", function(S)
  local server = S.server({ handshakeTimeout = 100 }, { path = "in" })
  server.onupgrade = function(event) if event.request.path ~= "/in" then event:defer() end end
  local ws, _, record = listener(S, server.url)
  S.wait(function() return record.closes > 0 end)
  S.expect(record.code == 1006 and ws.readyState == 3, "hung up on")
end)

scenario("http", function(S)
  local server = S.server {}
  server.onrequest = function(event)
    if event.request.path == "/page" then event:respond(200, { ["Content-Type"] = "text/plain" }, ("x"):rep(5000)) end
    if event.request.path == "/none" then event:respond(404) end
  end
  local answers = {}
  S.peer(function(peer)
    for _, path in ipairs { "/page", "/none" } do
      local fd = peer:dial(server.port)
      peer:send(fd, "GET " .. path .. " HTTP/1.1\r\nHost: h\r\n\r\n")
      answers[#answers + 1] = peer:head(fd) or "nothing"
      peer:close(fd)
    end
  end)
  S.wait(function() return #answers == 2 end)
  S.expect(answers[1] and answers[1]:match "^HTTP/1.1 200" and answers[2]:match "^HTTP/1.1 404", "answers")
end)

scenario("values", function(S)
  local lunawire = S.lunawire
  local server = echo(S)
  local ws, heard = listener(S, server.url)
  S.wait(opened(ws))
  ws.binaryType = "arraybuffer"
  local buffer = lunawire.ArrayBuffer "0123456789"
  ws:send(buffer:slice(2, 5))
  ws:send(lunawire.Blob { "a", buffer, lunawire.Blob { "z" } }:slice(0, 4))
  await(S, ws, heard, 2)
  S.expect(heard[2] and heard[1]:string() == "234" and heard[2].byteLength == 4, "array buffers")
  ws.binaryType = "blob"
  ws:send("blob", "binary")
  await(S, ws, heard, 3)
  S.expect(heard[3] and heard[3]:text() == "blob" and heard[3]:arrayBuffer():string() == "blob", "a blob")
  goodbye(S, ws)
end)

scenario("file", function(S)
  local lunawire = S.lunawire
  local server = S.server { maxPayload = 1024 * KiB }
  local bytes = 0
  server.onmessage = function(event) bytes = bytes + #event.data end
  local ws = S.client(server.url)
  S.wait(opened(ws))
  local file = lunawire.Blob.fromFile(S.directory .. "/file")
  ws:send(file)
  ws:send "behind it"
  ws:ping "between"
  ws:send(file:slice(5, 70000))
  S.wait(function() return bytes >= 100000 + 9 + 69995 or ws.readyState == 3 end)
  S.expect(bytes == 100000 + 9 + 69995, "the file")
  goodbye(S, ws)
end)

scenario("long messages", function(S)
  local server = echo(S, { highWaterMark = 64 * KiB, fragmentSize = 10000 })
  local ws, heard = listener(S, server.url, nil, { highWaterMark = 32 * KiB, fragmentSize = 7000 })
  S.wait(opened(ws))
  local drained = false
  ws.ondrain = function() drained = true end
  local text = ("0123456789"):rep(20000)
  S.expect(not ws:send(text), "false above the mark")
  ws:send(text, "binary")
  await(S, ws, heard, 2)
  S.expect(drained and heard[1] == text and heard[2] == text, "drain, and the echo")
  goodbye(S, ws)
end)

scenario("pings", function(S)
  local server = S.server {}
  local ponged, pinged
  server.onconnection = function(event) event.socket:ping "server" end
  server.onpong = function(event) pinged = event.data end
  local ws = S.client(server.url)
  ws.onpong = function(event) ponged = event end
  S.wait(opened(ws))
  ws:ping "client"
  S.wait(function() return ponged and pinged end)
  S.expect(ponged and ponged.data == "client" and ponged.latency and pinged == "server", "pongs")
  ws:terminate "enough"
  S.wait(isClosed(ws))
end)

scenario("pause", function(S)
  local server = S.server {}
  server.onconnection = function(event)
    for i = 1, 20 do event.socket:send("message " .. i) end
  end
  local ws, heard = listener(S, server.url)
  S.wait(opened(ws))
  await(S, ws, heard, 1)
  ws:pause()
  S.wait(nil, 100)
  local before = #heard
  ws:resume()
  await(S, ws, heard, 20)
  S.expect(before <= #heard and #heard == 20, "all, in the end")
  ws:pause()
  goodbye(S, ws)
end)

scenario("topics", function(S)
  local server = S.server {}
  server.onconnection = function(event) event.socket:subscribe "news" end
  server.onmessage = function(event)
    event.target:subscribe "other"
    event.target:publish("news", "from " .. event.data)
  end
  local first, one = listener(S, server.url)
  local second, two = listener(S, server.url)
  S.wait(function() return #server == 2 and first.readyState == 1 and second.readyState == 1 end)
  S.expect(server:publish("news", "hello") == 2, "two receivers")
  first:send "first"
  await(S, second, two, 2)
  await(S, first, one, 1)
  server:broadcast("bytes", "binary")
  S.expect(server:publish("other", "only first") == 1, "one receiver")
  await(S, first, one, 3)
  await(S, second, two, 3)
  for socket in server:each() do socket:unsubscribe "news" end
  S.expect(server:publish("news", "nobody") == 0, "none")
  S.expect(table.concat(one, ",") == "hello,bytes,only first", "the first's")
  S.expect(table.concat(two, ",") == "hello,from first,bytes", "the second's")
  first:close()
  second:close()
  S.wait(S.allClosed)
end)

scenario("listeners", function(S)
  local server = echo(S)
  local ws = S.client(server.url)
  local calls = {}
  local function note(what)
    return function(event)
      calls[#calls + 1] = what
      if what == "stop" then event:stopImmediatePropagation() end
    end
  end
  local gone = note "gone"
  ws:addEventListener("message", note "once", { once = true })
  ws.onmessage = note "handler"
  ws:addEventListener("message", note "capture", { capture = true })
  ws:addEventListener("message", gone)
  ws:addEventListener("message", note "stop")
  ws:addEventListener("message", note "never")
  ws:removeEventListener("message", gone)
  S.wait(opened(ws))
  ws:send "one"
  ws:send "two"
  S.wait(function() return #calls >= 7 or ws.readyState == 3 end)
  local order = table.concat(calls, " ")
  S.expect(order == "capture once handler stop capture handler stop", "their order: " .. order)
  goodbye(S, ws)
end)

-- --- compression ---------------------------------------------------------------------------------------------------

local function squeezed(options, serverOptions)
  return function(S)
    local server = echo(S, { perMessageDeflate = serverOptions })
    local ws, heard = listener(S, server.url, nil, { perMessageDeflate = options })
    S.wait(opened(ws))
    S.expect(ws.extensions:find "permessage%-deflate", "agreed")
    local text = ("compress me "):rep(300)
    ws:send(text)
    ws:send(text)
    ws:send("plain", { compress = false })
    ws:send(text, "binary")
    await(S, ws, heard, 4)
    S.expect(heard[4] and heard[1] == text and heard[3] == "plain" and heard[4] == text, "the echo")
    goodbye(S, ws)
  end
end

scenario("deflate", squeezed(true, true))
scenario("deflate without takeover", squeezed(
  { clientNoContextTakeover = true, serverNoContextTakeover = true, clientMaxWindowBits = 10, level = 1, threshold = 10 },
  { serverNoContextTakeover = true, serverMaxWindowBits = 9, memLevel = 1, threshold = 10 }))

scenario("compressed broadcast", function(S)
  local server = S.server { perMessageDeflate = { threshold = 10 } }
  local sockets, all = {}, {}
  for i = 1, 3 do
    sockets[i], all[i] = listener(S, server.url, nil, { perMessageDeflate = i < 3 })
  end
  S.wait(function() return #server == 3 end)
  local text = ("to all of you "):rep(100)
  server:broadcast(text)
  server:broadcast(text, { compress = false })
  for i = 1, 3 do await(S, sockets[i], all[i], 2) end
  for i = 1, 3 do S.expect(all[i][1] == text and all[i][2] == text, "broadcast to " .. i) end
  for i = 1, 3 do sockets[i]:close() end
  S.wait(S.allClosed)
end)

scenario("bomb", function(S)
  local server = S.server { perMessageDeflate = true, maxPayload = 100 * KiB }
  local codes = {}
  server.onsocketerror = function(event) codes[#codes + 1] = event.closeCode end
  local ws, _, record = listener(S, server.url)
  S.wait(opened(ws))
  ws:send(("\0"):rep(400 * KiB))
  S.wait(function() return record.closes > 0 and codes[1] end)
  S.expect(record.code == 1009 and codes[1] == 1009, "1009")
end)

-- --- ends ----------------------------------------------------------------------------------------------------------

scenario("server's close", function(S)
  local server = S.server {}
  server.onconnection = function(event) event.socket:close(4000, "no") end
  local ws, _, record = listener(S, server.url)
  S.wait(function() return record.closes > 0 end)
  S.expect(record.code == 4000 and record.wasClean and ws.readyState == 3, "4000")
end)

scenario("close in all ways", function(S)
  local server = S.server { closeTimeout = 200 }
  server.onmessage = function(event)
    if event.data == "terminate" then event.target:terminate "so" else event.target:close() end
  end
  local early, _, aborted = listener(S, server.url)
  early:close()
  local never, _, dropped = listener(S, server.url)
  never:terminate()
  for _, what in ipairs { "terminate", "close" } do
    local ws, _, record = listener(S, server.url)
    S.wait(opened(ws))
    ws:send(what)
    S.wait(function() return record.closes > 0 end)
    S.expect(record.code == (what == "close" and 1005 or 1006), what)
  end
  S.wait(S.allClosed)
  S.expect(aborted.error == "aborted" and dropped.error == "aborted", "aborted")
end)

scenario("no answer to close", function(S)
  local server = S.server { closeTimeout = 300 }
  local closed
  server.onconnection = function(event) event.socket:close(1000) end
  server.onsocketclose = function(event) closed = event.code end
  S.peer(function(peer)
    local fd = peer:dial(server.port)
    peer:send(fd, S.request)
    while peer:some(fd) do peer:pause() end
  end)
  S.wait(function() return closed end)
  S.expect(closed == 1006, "1006")
end)

scenario("close of a server", function(S)
  local server, record = S.server { closeTimeout = 300 }
  local one, _, first = listener(S, server.url)
  local two = S.client(server.url)
  S.wait(function() return #server == 2 end)
  two:pause()
  local half, answer = false, nil
  S.peer(function(peer)
    local fd = peer:dial(server.port)
    peer:send(fd, "GET / HTTP/1.1\r\nHos")
    half = true
    answer = peer:head(fd)
  end)
  S.wait(function() return half end)
  S.wait(nil, 10)
  S.closeServer(server, 1012, "again soon")
  S.wait(function() return record.closes > 0 end)
  S.expect(first.code == 1012 and one.readyState == 3, "1012")
  S.expect(answer and answer:match "^HTTP/1.1 503", "503")
  two:resume()
  S.wait(S.allClosed)
end)

scenario("reset", function(S)
  local server = echo(S)
  local ws, _, record = listener(S, server.url)
  S.wait(opened(ws))
  ws:send "hello"
  ws:pause()
  local other = S.client(server.url)
  S.wait(opened(other))
  local fd = S.world.link(1)
  if fd then S.world.snap(fd) end
  fd = S.world.link(1)
  if fd then S.world.snap(fd) end
  S.wait(S.allClosed)
  S.expect(record.code == 1006 and other.readyState == 3, "1006")
end)

scenario("collected", function(S)
  local lunawire = S.lunawire
  local server = S.server {}
  local closed = 0
  server.onsocketclose = function() closed = closed + 1 end
  for _ = 1, 3 do lunawire.WebSocket(server.url) end
  S.wait(function() return #server == 3 end, 1000)
  collectgarbage()
  collectgarbage()
  S.wait(function() return closed == 3 end, 10000)
  S.expect(closed == 3, "three closed")
end)

scenario("left open", function(S)
  local lunawire = S.lunawire
  S.world.host("slow.test", "127.0.0.1", 5000)
  local server = echo(S, { perMessageDeflate = true })
  local secure = S.server { tls = { cert = S.directory .. "/good.pem", key = S.directory .. "/leaf.key" } }
  local ws, heard = listener(S, server.url)
  local reconnecting = S.reconnecting(server.url)
  local over = S.client(secure.url, nil, { tls = { ca = S.directory .. "/root.crt" } })
  S.client "ws://slow.test/"
  S.client "ws://192.0.2.1/"
  S.wait(function() return ws.readyState == 1 and over.readyState == 1 and reconnecting.readyState == 1 end, 1000)
  lunawire.setInterval(function() end, 10)
  lunawire.go(function() ws:receive() end)
  if ws.readyState ~= 0 then
    ws:send(lunawire.Blob.fromFile(S.directory .. "/file"))
    for _ = 1, 50 do ws:send(("left "):rep(1000)) end
  end
  S.wait(nil, 1)
  S.client(server.url)
  S.expect(over.readyState == 1 and heard, "open")
end, { leaves = true })

-- --- peers that are wrong ------------------------------------------------------------------------------------------

scenario("raw frames", function(S)
  local server = echo(S)
  local ended = {}
  server.onsocketclose = function(event) ended[#ended + 1] = event.code end
  local F = S.frame
  local wrong = {
    F(1, "he", 0) .. F(9, "ping") .. F(0, "llo") .. F(8, "\3\232bye"),
    F(3, "?"), F(1, "\255"), F(1, "bits", 0xc0), F(8, "x"), F(2, ("x"):rep(1000)) .. F(0, "nothing to continue"),
    F(1, "cut short"):sub(1, 9),
  }
  local done = 0
  S.peer(function(peer)
    for _, bytes in ipairs(wrong) do
      local fd = peer:dial(server.port)
      peer:send(fd, S.request)
      peer:head(fd)
      peer:send(fd, bytes)
      if bytes == wrong[#wrong] then peer:close(fd) end
      for _ = 1, 20 do
        local more = bytes ~= wrong[#wrong] and peer:some(fd)
        if not more or more == "" then break end
      end
      peer:close(fd)
      done = done + 1
    end
  end)
  S.wait(function() return done == #wrong and #ended == #wrong end, 20000)
  S.expect(#ended == #wrong, "all ended: " .. #ended)
end)

scenario("raw requests", function(S)
  local server = S.server { handshakeTimeout = 500, maxHeaderSize = 256 }
  local answers = {}
  local requests = {
    "nonsense\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", S.request:gsub("13", "12"), S.request:gsub("GET", "POST"),
    "GET / HTTP/1.1\r\nHost: h\r\nX: " .. ("x"):rep(300) .. "\r\n\r\n", "GET / HT", "\22\3\1\0\5hello",
  }
  S.peer(function(peer)
    for _, request in ipairs(requests) do
      local fd = peer:dial(server.port)
      peer:send(fd, request)
      local head = peer:head(fd)
      answers[#answers + 1] = head and head:match "^HTTP/1.1 (%d+)" or "nothing"
      peer:close(fd)
    end
  end)
  S.wait(function() return #answers == #requests end, 20000)
  S.expect(table.concat(answers, " ") == "400 426 426 405 431 nothing 400", "answers: " .. table.concat(answers, " "))
end)

scenario("wrong servers", function(S)
  local pages = {
    "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot here\n", "SSH-2.0-OpenSSH\r\n",
    "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
    "", "HTTP/1.1 503 Soon\r\n\r\n" .. ("page"):rep(20000),
  }
  local ports = {}
  S.peer(function(peer)
    local listening, port = peer:listen()
    ports[1] = port
    for _, page in ipairs(pages) do
      local fd = peer:accept(listening)
      peer:head(fd)
      peer:send(fd, page)
      peer:close(fd)
    end
  end)
  S.wait(function() return ports[1] end)
  local seen = {}
  for i = 1, #pages do
    local _, _, record = listener(S, ("ws://127.0.0.1:%d/"):format(ports[1]), nil, { handshakeTimeout = 500 })
    S.wait(function() return record.closes > 0 end)
    seen[i] = record.error
  end
  S.expect(table.concat(seen, " ") == "http http http http http", "errors: " .. table.concat(seen, " "))
end)

scenario("silent server", function(S)
  local port
  S.peer(function(peer)
    local listening, at = peer:listen()
    port = at
    peer:accept(listening)
  end)
  S.wait(function() return port end)
  local _, _, record = listener(S, ("ws://127.0.0.1:%d/"):format(port), nil, { handshakeTimeout = 200 })
  S.wait(function() return record.closes > 0 end)
  S.expect(record.error == "timeout", "timeout")
end)

scenario("heartbeat of a server", function(S)
  local server = S.server { heartbeat = { interval = 100, timeout = 50 } }
  local ended
  server.onsocketclose = function(event) if event.reason == "heartbeat timeout" then ended = event.code end end
  local ws = S.client(server.url)
  S.peer(function(peer)
    local fd = peer:dial(server.port)
    peer:send(fd, S.request)
    while peer:some(fd) do peer:pause() end
  end)
  S.wait(function() return ended end, 2000)
  S.expect(ended == 1006 and ws.readyState == 1, "only the silent one")
  goodbye(S, ws)
end)

scenario("heartbeat of a client", function(S)
  local lunawire = S.lunawire
  local server = S.server {}
  server.onmessage = function(event) if event.data == "ping" then event.target:send "pong" end end
  local ws, heard = listener(S, server.url)
  local beat = lunawire.heartbeat(ws, { interval = 100, timeout = 50, message = "ping" })
  local other, _, record = listener(S, server.url)
  lunawire.heartbeat(other, { interval = 100, timeout = 50 })
  S.wait(function() return beat.latency end, 1000)
  S.expect(beat.latency and #heard == 0, "a latency, and no reply told")
  beat:stop()
  S.wait(opened(other))
  local fd = S.world.link(2)
  if fd then S.world.cut(fd) end
  S.wait(function() return record.closes > 0 or ws.readyState == 3 end, 1000)
  if ws.readyState == 1 then goodbye(S, ws) end
end)

scenario("slow reader", function(S)
  local server = S.server({ maxBufferedAmount = 300 * KiB, highWaterMark = 50 * KiB }, { path = "in" })
  local slow, ended
  server.onconnection = function(event)
    if event.request.path == "/in" then return end
    local socket = event.socket
    socket.onerror = function(failed) slow = failed.code end
    socket.onclose = function() ended = true end
    for _ = 1, 200 do
      if socket.readyState == 1 then socket:send(("slow"):rep(1000)) end
    end
  end
  local quick = false
  S.peer(function(peer)
    local fd = peer:dial(server.port)
    peer:send(fd, S.request)
    while not ended do peer:pause() end
    quick = peer:some(fd)
  end)
  S.wait(function() return ended and quick end, 5000)
  S.expect(slow == "slow", "slow")
end)

-- --- ways ----------------------------------------------------------------------------------------------------------

scenario("happy eyeballs", function(S)
  S.world.host("many.test", "192.0.2.1,2001:db8::1,198.51.100.1,192.0.2.2,127.0.0.1", 20)
  local server = echo(S)
  local ws, heard = listener(S, urlOf(server, "many.test"))
  S.wait(opened(ws))
  ws:send "here"
  await(S, ws, heard, 1)
  S.expect(heard[1] == "here", "the last of its addresses")
  goodbye(S, ws)
end)

scenario("names that fail", function(S)
  S.world.host("none.test", nil, 10)
  S.world.host("dead.test", "192.0.2.1,2001:db8::1", 0)
  local first, _, none = listener(S, "ws://none.test/")
  local second, _, dead = listener(S, "ws://dead.test/", nil, { handshakeTimeout = 1000 })
  local third, _, refused = listener(S, "ws://127.0.0.1:9/")
  local fourth, _, closed = listener(S, "ws://dead.test/x")
  S.wait(nil, 5)
  fourth:close()
  S.wait(S.allClosed)
  S.expect(none.error == "dns" and dead.error == "timeout" and refused.error == "refused" and closed.error == "aborted", "errors")
  S.expect(first and second and third, "three")
end)

scenario("unix", function(S)
  local server = echo(S, { path = "/sim.sock" })
  local ws, heard = listener(S, server.url .. ":/resource")
  local other = S.client("ws://somewhere/", nil, { path = "/sim.sock" })
  local _, _, record = listener(S, "ws+unix:/nobody.sock")
  S.wait(opened(ws))
  ws:send "local"
  await(S, ws, heard, 1)
  S.expect(heard[1] == "local" and other.readyState == 1, "over a path")
  S.wait(function() return record.closes > 0 end)
  S.expect(record.code == 1006, "no such path")
  ws:close()
  other:close()
  S.wait(S.allClosed)
end)

local function certificate(S, more)
  local tls = { cert = S.directory .. "/good.pem", key = S.directory .. "/leaf.key" }
  for name, value in pairs(more or {}) do tls[name] = value end
  return tls
end

local function trust(S, more)
  local tls = { ca = S.directory .. "/root.crt" }
  for name, value in pairs(more or {}) do tls[name] = value end
  return tls
end

-- A wss echo server that the stage can reach.
local function secure(S, tls, options)
  options = options or {}
  options.tls = certificate(S, tls)
  return echo(S, options, { options = { tls = trust(S) } })
end

scenario("wss", function(S)
  local server = secure(S)
  local ws, heard, record = listener(S, server.url, nil, { tls = trust(S) })
  S.wait(opened(ws))
  ws:send "secret"
  ws:send(("long "):rep(10000))
  await(S, ws, heard, 2)
  S.expect(heard[1] == "secret" and heard[2] and #heard[2] == 50000, "the echo")
  goodbye(S, ws, 1000)
  S.wait(function() return record.closes > 0 end)
  S.expect(record.wasClean, "clean")
end, { tls = true })

scenario("client certificate", function(S)
  local me = trust(S, { cert = S.directory .. "/client.pem", key = S.directory .. "/leaf.key" })
  local server = S.server({ tls = certificate(S, { requestCert = true, ca = S.directory .. "/root.crt" }) },
    { options = { tls = me } })
  local name
  server.onconnection = function(event) name = event.request.tls.peer.commonName end
  local ws = S.client(server.url, nil, { tls = me })
  S.wait(opened(ws))
  S.expect(name == "Alice", "who it is")
  goodbye(S, ws)
  local failed
  server.onerror = function(event) failed = event.code end
  local without, _, record = listener(S, server.url, nil, { tls = trust(S) })
  S.wait(function() return record.closes > 0 end)
  S.expect(without.readyState == 3 and failed == "tls", "none without")
end, { tls = true, blamed = { "the server wants a client certificate", "the client showed no certificate" } })

scenario("wrong certificate", function(S)
  local server = secure(S)
  local ws = S.client(server.url)
  local why
  ws.onerror = function(event) why = event.message end
  S.wait(isClosed(ws))
  S.wait(function() return why end, 100)
  S.expect(why and why:find "certificate", "why in words: " .. tostring(why))
  local raised = select(2, pcall(S.lunawire.WebSocketServer, { tls = { cert = S.directory .. "/file", key = "no key" } }))
  S.expect(type(raised) == "table" and raised.name == "TypeError", "no certificate")
end, { tls = true, blamed = { "unable to get local issuer certificate (depth 1, " } })

scenario("trust in a directory", function(S)
  local tls = { ca = S.directory .. "/root.d" }
  local server = S.server({ tls = certificate(S) }, { options = { tls = tls } })
  local ws = S.client(server.url, nil, { tls = tls })
  S.wait(opened(ws))
  S.expect(ws.readyState == 1, "open")
  goodbye(S, ws)
end, { tls = true })

scenario("resumption", function(S)
  local server = S.server({ tls = certificate(S) }, { options = { tls = trust(S) } })
  local resumed = {}
  server.onconnection = function(event)
    resumed[#resumed + 1] = event.request.tls.resumed
    event.socket:send "hello"
  end
  for i = 1, 3 do
    local ws, heard = listener(S, urlOf(server, "localhost"), nil, { tls = trust(S) })
    await(S, ws, heard, 1)
    S.expect(resumed[i] == (i > 1), "resumed " .. i)
    goodbye(S, ws)
  end
end, { tls = true })

scenario("reload", function(S)
  local server = secure(S)
  local ws, heard = listener(S, server.url, nil, { tls = trust(S) })
  S.wait(opened(ws))
  server:reload { minVersion = "TLSv1.3" }
  server:reload {}
  ws:send "as before"
  await(S, ws, heard, 1)
  local next = S.client(server.url, nil, { tls = trust(S) })
  S.wait(opened(next))
  S.expect(heard[1] == "as before" and next.readyState == 1, "old and new")
  ws:close()
  next:close()
  S.wait(S.allClosed)
end, { tls = true })

scenario("redirects", function(S)
  local server = echo(S)
  local port
  S.peer(function(peer)
    local listening, at = peer:listen()
    port = at
    for i = 1, 3 do
      local fd = peer:accept(listening)
      peer:head(fd)
      local to = i == 1 and "/there" or server.url .. "landed"
      peer:send(fd, ("HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"):format(to))
      peer:close(fd)
    end
  end)
  S.wait(function() return port end)
  local ws, heard = listener(S, ("ws://127.0.0.1:%d/"):format(port), nil, { followRedirects = 3, headers = { ["X-A"] = "b" } })
  S.wait(opened(ws))
  ws:send "found"
  await(S, ws, heard, 1)
  S.expect(heard[1] == "found" and ws.url == server.url .. "landed", "there")
  local _, _, record = listener(S, ("ws://127.0.0.1:%d/"):format(port))
  S.wait(function() return record.closes > 0 end)
  S.expect(record.error == "http", "not followed")
  goodbye(S, ws)
end)

-- A proxy that passes on what it is asked for; `begin(peer, fd)` answers, and gives the port to go to, or nil.
local function proxy(S, begin)
  local port
  S.peer(function(peer)
    local listening, at = peer:listen()
    port = at
    while true do
      local fd = peer:accept(listening)
      table.remove(peer.fds) -- it is the tunnel's
      S.peer(function(tunnel)
        tunnel.fds[#tunnel.fds + 1] = fd
        local to = begin(tunnel, fd)
        if to then tunnel:pump(fd, tunnel:dial(to)) else tunnel:close(fd) end
      end)
    end
  end)
  S.wait(function() return port end)
  return port
end

local function connectProxy(peer, fd)
  local head = peer:head(fd) or ""
  local port = head:match "^CONNECT [^ ]-:(%d+) "
  if not head:find "Proxy%-Authorization: Basic" then
    peer:send(fd, "HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n")
    return nil
  end
  peer:send(fd, "HTTP/1.1 200 OK\r\n\r\n")
  return tonumber(port)
end

local function socksProxy(peer, fd)
  local hello = peer:bytes(fd, 2)
  if not hello then return nil end
  peer:bytes(fd, hello:byte(2))
  peer:send(fd, "\5\0")
  local request = peer:bytes(fd, 4)
  if not request then return nil end
  local kind = request:byte(4)
  local name = kind == 3 and peer:bytes(fd, peer:bytes(fd, 1):byte()) or peer:bytes(fd, kind == 1 and 4 or 16)
  local ends = peer:bytes(fd, 2)
  if not name or not ends then return nil end
  peer:send(fd, "\5\0\0\1\0\0\0\0\0\0")
  return ends:byte(1) * 256 + ends:byte(2)
end

scenario("http proxy", function(S)
  local server = echo(S)
  local port = proxy(S, connectProxy)
  local ws, heard = listener(S, urlOf(server, "behind.test"), nil, { proxy = ("http://me:secret@127.0.0.1:%d"):format(port) })
  S.wait(opened(ws))
  ws:send "through"
  await(S, ws, heard, 1)
  S.expect(heard[1] == "through", "the echo")
  goodbye(S, ws)
  local _, _, record = listener(S, urlOf(server), nil, { proxy = ("http://127.0.0.1:%d"):format(port) })
  S.wait(function() return record.closes > 0 end)
  S.expect(record.code == 1006, "407")
end)

scenario("socks proxy", function(S)
  local server = echo(S)
  local port = proxy(S, socksProxy)
  local ws, heard = listener(S, urlOf(server, "behind.test"), nil, { proxy = ("socks5://127.0.0.1:%d"):format(port) })
  S.wait(opened(ws))
  ws:send "through"
  await(S, ws, heard, 1)
  S.expect(heard[1] == "through", "the echo")
  goodbye(S, ws)
  local refusing = proxy(S, function(peer, fd)
    peer:bytes(fd, 3)
    peer:send(fd, "\5\255")
  end)
  local _, _, record = listener(S, urlOf(server), nil, { proxy = ("socks5://127.0.0.1:%d"):format(refusing) })
  S.wait(function() return record.closes > 0 end)
  S.expect(record.code == 1006, "no method")
end)

scenario("wss through a proxy", function(S)
  local server = secure(S)
  local port = proxy(S, connectProxy)
  local ws, heard = listener(S, urlOf(server, "localhost"), nil,
    { proxy = ("http://me:secret@127.0.0.1:%d"):format(port), tls = trust(S) })
  S.wait(opened(ws))
  ws:send "through"
  await(S, ws, heard, 1)
  S.expect(heard[1] == "through", "the echo")
  goodbye(S, ws)
end, { tls = true })

scenario("trusted proxy", function(S)
  local server = S.server { trustProxy = { "127.0.0.1", "10.0.0.0/8" } }
  local from = {}
  server.onconnection = function(event) from[#from + 1] = event.request.remoteAddress end
  local ws = S.client(server.url, nil, { headers = { ["X-Forwarded-For"] = "203.0.113.9, 10.1.2.3" } })
  S.wait(opened(ws))
  S.wait(function() return from[1] end, 1000)
  S.expect(from[1] == "203.0.113.9", "whom the proxy names")
  goodbye(S, ws)
end)

-- --- the loop ------------------------------------------------------------------------------------------------------

scenario("timers", function(S)
  local lunawire = S.lunawire
  local fired, beats, interval = {}, 0, nil
  lunawire.setTimeout(function(a, b) fired[#fired + 1] = a + b end, 20, 1, 2)
  lunawire.setTimeout(function() fired[#fired + 1] = "first" end)
  local never = lunawire.setTimeout(function() fired[#fired + 1] = "never" end, 10)
  lunawire.clearTimeout(never)
  interval = lunawire.setInterval(function()
    beats = beats + 1
    if beats == 3 then interval:close() end
  end, 5)
  S.own(interval)
  for i = 1, 20 do lunawire.setTimeout(function() beats = beats + 0 * i end, i) end
  S.wait(function() return #fired == 2 and beats == 3 end, 1000)
  S.expect(fired[1] == "first" and fired[2] == 3 and beats == 3, "in order")
  S.expect(lunawire.timeout() == nil and lunawire.fd(), "nothing is left")
  interval:close()
end)

scenario("watch", function(S)
  local lunawire, world = S.lunawire, S.world
  local listening, port = world.listen()
  local seen = 0
  local handle = lunawire.watch(listening, "r", function(me)
    seen = seen + 1
    local fd = world.accept(listening)
    if fd then world.close(fd) end
    if seen == 2 then me:close() end
  end)
  S.own(handle)
  S.peer(function(peer)
    for _ = 1, 2 do
      peer:dial(port)
      peer:pause()
    end
  end)
  S.wait(function() return seen == 2 end, 1000)
  handle:close()
  world.close(listening)
  S.expect(seen == 2, "called twice")
end)

scenario("signal", function(S)
  local lunawire = S.lunawire
  local came = 0
  lunawire.onsignal("USR1", function() came = came + 1 end)
  lunawire.onsignal("WINCH", function() came = came + 10 end)
  lunawire.onsignal("WINCH", nil)
  S.wait(nil, 10)
  lunawire.onsignal("USR1", nil)
  S.expect(came == 0, "none came")
end)

scenario("tasks", function(S)
  local lunawire = S.lunawire
  local server = echo(S)
  local got, cut, all = nil, nil, 0
  local task = S.go(function()
    local ws = lunawire.connect(server.url)
    ws:send "one"
    got = ws:receive(1000)
    local _, why = ws:receive(10)
    cut = why
    ws:close()
    lunawire.sleep(5)
    return "result"
  end)
  local sleeper = S.go(function() lunawire.sleep(20000) end)
  local joiner = S.go(function()
    local result = task:join()
    sleeper:cancel "enough"
    pcall(sleeper.join, sleeper)
    return result
  end)
  S.go(function()
    local fine = pcall(lunawire.connect, "ws://127.0.0.1:9/")
    all = fine and 0 or 1
  end)
  S.wait(function()
    local function isOver(one) return one.status ~= "waiting" and one.status ~= "running" end
    return isOver(task) and isOver(joiner) and isOver(sleeper)
  end, 5000)
  sleeper:cancel()
  S.expect(got == "one" and cut == "timeout" and joiner.status == "done" and sleeper.status == "cancelled", "as awaited")
  S.expect(all == 1, "refused")
end)

scenario("inbox", function(S)
  local server = S.server {}
  server.onconnection = function(event)
    for i = 1, 20 do event.socket:send(i .. ("x"):rep(70 * KiB)) end -- more than an inbox holds
    event.socket:close(1000)
  end
  local ws = S.client(server.url)
  local count, done = 0, false
  S.go(function()
    for data in ws:messages() do
      local number = tonumber(data:match "^%d+") -- none: when all was over, another message was asked for
      if number and number ~= count + 1 then S.wrong("message %d came behind %d", number, count) end
      count = number or count
      if count == 1 then S.lunawire.sleep(50) end
    end
    done = true
  end)
  S.wait(function() return done end, 5000)
  S.expect(count == 20, "all: " .. count)
end)

-- Says it again while it raises, but not for ever. Whether it did not, at last.
local function insist(S, fn, ...)
  for _ = 1, 4 do
    if S.try(fn, ...) then return true end
  end
  return false
end

local function collect()
  for _ = 1, 8 do collectgarbage() end
end

scenario("a handler set again", function(S)
  local server = echo(S)
  local ws = S.client(server.url)
  local witness, heard = 0, 0
  ws:addEventListener("message", function() witness = witness + 1 end)
  S.wait(opened(ws))
  local function onmessage() heard = heard + 1 end
  local isSet = insist(S, function() ws.onmessage = onmessage end)
  insist(S, ws.send, ws, "x")
  S.wait(function() return witness > 0 or ws.readyState == 3 end, 1000)
  if isSet and ws.onmessage == onmessage and witness > 0 and heard == 0 then S.wrong "onmessage is set and not called" end
end)

scenario("a listener beside a handler", function(S)
  local server = echo(S)
  local ws = S.client(server.url)
  local heard, other = 0, 0
  S.wait(opened(ws))
  ws.onmessage = function() heard = heard + 1 end
  local isAdded = insist(S, ws.addEventListener, ws, "message", function() other = other + 1 end)
  for i = 1, 2 do
    insist(S, ws.send, ws, "x")
    S.wait(function() return heard >= i or ws.readyState == 3 end, 1000)
  end
  if ws.readyState == 1 and heard == 0 then S.wrong "the handler that was there is not called any more" end
  if ws.readyState == 1 and isAdded and heard > 1 and other == 0 then S.wrong "the listener is not called" end
end)

scenario("an inbox opened again", function(S)
  local server = S.server {}
  local most, sent = 20, 0
  server.onmessage = function(event)
    for i = 1, most do
      event.target:send(("x"):rep(70 * KiB)) -- more than an inbox holds
      sent = i
    end
  end
  local ws = S.client(server.url)
  local count, over = 0, false
  S.wait(opened(ws))
  S.go(function()
    insist(S, ws.receive, ws, 1)
    insist(S, ws.send, ws, "go")
    while count < most do
      local fine, data, why = pcall(ws.receive, ws, 3000)
      if not fine or data then
        count = count + 1
      elseif why == "closed" then
        break
      elseif ws.readyState == 1 then
        if count < sent then S.wrong("stuck behind message %d", count) end
        break
      end
    end
    over = true
  end)
  S.wait(function() return over end, 20000)
end)

scenario("sleepers", function(S)
  local first = S.go(function()
    for _ = 1, 3 do S.lunawire.sleep(5) end
  end)
  local second = S.go(function() return first:join() end)
  S.go(function() return second:join() end)
  S.wait(function()
    collect() -- call frames, too
    return second.status ~= "waiting" and second.status ~= "running"
  end, 500)
end)

scenario("drained", function(S)
  local server = S.server {}
  local peer
  server.onconnection = function(event)
    peer = event.socket
    peer:pause()
  end
  local ws = S.client(server.url)
  local done = false
  S.wait(function() return peer and ws.readyState == 1 end, 2000)
  local task = S.go(function()
    for _ = 1, 3 do
      while ws:send(("x"):rep(100000)) do end
      ws:drain()
    end
    done = true
  end)
  S.wait(function()
    collect()
    if peer then S.try(peer.resume, peer) end
    return done
  end, 2000)
  if task.status == "waiting" and ws.readyState == 1 and ws.bufferedAmount == 0 then S.wrong "there was no drain" end
end)

scenario("events that pass a socket", function(S)
  local server = S.server {}
  local passed, seen, closes, ends = 0, 0, 0, 0
  server:addEventListener("message", function(event)
    local number = tonumber(event.data)
    if number ~= passed + 1 then S.wrong("message %s came behind %d", event.data, passed) end
    passed = number
  end)
  server:addEventListener("socketclose", function() closes = closes + 1 end)
  server:addEventListener("connection", function(event)
    event.socket:addEventListener("message", function() seen = seen + 1 end, true)
    event.socket:addEventListener("close", function() ends = ends + 1 end, true)
  end)
  local ws = S.client(server.url)
  S.wait(opened(ws))
  for i = 1, 4 do
    insist(S, ws.send, ws, tostring(i))
    S.wait(nil, 1)
  end
  goodbye(S, ws, 1000)
  S.wait(nil, 20)
  if ends > 0 and closes ~= ends then S.wrong("the server was told %d ends, who looks on %d", closes, ends) end
end)

scenario("joined", function(S)
  local lunawire = S.lunawire
  local first = S.go(lunawire.sleep, 10) -- no task needs less
  for _ = 1, 3 do S.go(function() return first:join() end) end
  local second = S.go(function()
    lunawire.sleep(10)
    return 7
  end)
  local came
  S.go(function() came = second:join() end)
  S.wait(function()
    collect()
    return false
  end, 50)
  if second.status == "done" and came and came ~= 7 then S.wrong("a task that came to 7 is said to have come to %s", came) end
end)

scenario("a timer with many arguments", function(S)
  local many, count = {}, 0
  for i = 1, 2000 do many[i] = i end
  local isSet = pcall(function()
    return S.lunawire.setTimeout(function() count = count + 1 end, 5, table.unpack(many))
  end)
  S.wait(function()
    collect()
    return false
  end, 60)
  if isSet and count ~= 1 then S.wrong("a timer rang %d times", count) end
end)

scenario("errors in handlers", function(S)
  local lunawire = S.lunawire
  local server = echo(S)
  local ws, heard = listener(S, server.url)
  local taken = {}
  ws.onopen = function() error "on purpose" end
  ws:addEventListener("message", function() error("on purpose", 0) end)
  S.wait(opened(ws))
  lunawire.onerror = function(err, source, traceback) taken[#taken + 1] = tostring(err) .. type(source) .. #traceback end
  server.onupgrade = function(event) if event.request.path == "/raise" then error { "on purpose" } end end
  ws:send "one"
  await(S, ws, heard, 1)
  local raising, _, record = listener(S, server.url .. "raise")
  S.wait(function() return record.closes > 0 end)
  S.expect(#taken >= 2 and record.error == "http" and raising.readyState == 3, "taken, and 500")
  lunawire.onerror = nil
  lunawire.setTimeout(function() error "on purpose" end, 1)
  S.wait(nil, 5)
  goodbye(S, ws)
end)

scenario("host's loop", function(S)
  local lunawire = S.lunawire
  local server = echo(S)
  local ws, heard = listener(S, server.url)
  local turns = 0
  while #heard == 0 and turns < 200 and ws.readyState ~= 3 do
    turns = turns + 1
    if not S.try(lunawire.step, 1, 0) and turns > 100 then break end
    if ws.readyState == 1 and turns > 10 then
      if turns == 11 then ws:send "flushed" end
      lunawire.flush()
    end
  end
  S.expect(heard[1] == "flushed", "the echo")
  S.expect(lunawire.loop.pollfd() and lunawire.loop.events() == "r", "for a host")
  goodbye(S, ws)
end)

scenario("two servers", function(S)
  local one, two = echo(S), echo(S)
  local raised = select(2, pcall(S.server, { port = one.port }))
  S.expect(type(raised) == "table" and raised.name == "SystemError", "in use")
  local sockets, heard = {}, {}
  for i, server in ipairs { one, two, one, two } do
    sockets[i], heard[i] = listener(S, server.url)
  end
  S.wait(function() return #one == 2 and #two == 2 end)
  for _, ws in ipairs(sockets) do S.wait(opened(ws)) end
  for i, ws in ipairs(sockets) do if ws.readyState == 1 then ws:send(tostring(i)) end end
  for i, ws in ipairs(sockets) do await(S, ws, heard[i], 1) end
  for i = 1, 4 do S.expect(heard[i][1] == tostring(i), "its own echo") end
  S.closeServer(one)
  S.wait(function() return sockets[1].readyState == 3 and sockets[3].readyState == 3 end)
  S.expect(sockets[2].readyState == 1, "the other lives")
  sockets[2]:close()
  sockets[4]:close()
  S.wait(S.allClosed)
end)

scenario("too many", function(S)
  local server = S.server({ maxConnections = 2 }, { clear = true })
  local first, second = S.client(server.url), S.client(server.url)
  S.wait(function() return #server == 2 end)
  local _, _, record = listener(S, server.url)
  S.wait(function() return record.closes > 0 end)
  S.expect(record.error == "http", "503")
  first:close()
  S.wait(function() return #server == 1 end)
  S.wait(nil, 100)
  local third = S.client(server.url)
  S.wait(opened(third))
  S.expect(third.readyState == 1, "a place was free")
  second:close()
  third:close()
  S.wait(S.allClosed)
end)

scenario("no descriptor left", function(S)
  local server = S.server { maxConnections = 100 }
  local failed
  server.onerror = function(event) failed = event.code end
  S.world.law { limit = 6 }
  local sockets = {}
  for i = 1, 3 do sockets[i] = S.client(server.url) end
  S.wait(nil, 250)
  S.expect(failed == "system", "told")
  S.world.law { limit = 0 }
  for i = 1, 3 do S.wait(opened(sockets[i]), 1000) end
  for i = 1, 3 do S.expect(sockets[i].readyState == 1, "in the end " .. i) end
  for i = 1, 3 do sockets[i]:close() end
  S.wait(S.allClosed)
end)

-- --- staying connected ---------------------------------------------------------------------------------------------

scenario("reconnecting", function(S)
  local server = echo(S)
  local ws = S.reconnecting(server.url, nil,
    { minDelay = 50, maxDelay = 100, minUptime = 10, heartbeat = { interval = 500, timeout = 200 } })
  local opens, heard, waits = 0, {}, 0
  ws.onopen = function() opens = opens + 1 end
  ws.onmessage = function(event) heard[#heard + 1] = event.data end
  ws.onreconnecting = function() waits = waits + 1 end
  ws:send "queued"
  await(S, ws, heard, 1)
  ws:send "sent"
  await(S, ws, heard, 2)
  for socket in server:each() do socket:terminate() end
  S.wait(function() return waits == 1 end, 1000)
  ws:send "while it is down"
  await(S, ws, heard, 3)
  ws:reconnect()
  S.wait(function() return opens == 3 end, 2000)
  S.expect(table.concat(heard, ",") == "queued,sent,while it is down" and opens == 3 and waits == 2, "it came back")
  ws:close(1000)
  S.wait(isClosed(ws), 5000)
end)

scenario("giving up", function(S)
  local asked = 0
  local ws, record = S.reconnecting(function()
    asked = asked + 1
    return "ws://127.0.0.1:9/"
  end, nil, { minDelay = 10, maxDelay = 20, maxRetries = 3, shouldReconnect = function() return nil end })
  ws:send "never"
  S.wait(function() return record.closes > 0 end, 5000)
  S.expect(asked == 4 and ws.readyState == 3, "four attempts")
  local other, gone = S.reconnecting("ws://127.0.0.1:9/", nil, { minDelay = 1000 })
  S.wait(function() return other.retryCount == 1 end, 500)
  other:close()
  S.wait(function() return gone.closes > 0 end, 500)
  S.expect(gone.closes == 1, "closed while it waits")
end)

scenario("reliable", function(S)
  local reliable = require "lunawire.reliable"
  local server = S.server { protocols = { reliable.protocol } }
  local hub = reliable.server(server, { sessionTimeout = 2000 })
  local taken, ended = {}, nil
  hub.onmessage = function(event)
    taken[#taken + 1] = event.data
    event.session:send("heard " .. event.data)
  end
  hub.onend = function(event) ended = event.reason end
  local socket = S.reconnecting(server.url, reliable.protocol, { minDelay = 20, maxDelay = 40 })
  local link = S.link(socket, { greeting = "hello" })
  local heard, receipts = {}, 0
  link.onmessage = function(event) heard[#heard + 1] = event.data end
  for i = 1, 3 do link:send("m" .. i, nil, function(receipt) receipts = receipts + (receipt.acknowledged and 1 or 0) end) end
  S.wait(function() return #heard >= 3 end, 2000)
  for one in server:each() do one:terminate() end
  link:send "again"
  S.wait(function() return #heard >= 4 end, 2000)
  link:note "a note"
  S.expect(table.concat(taken, ",") == "m1,m2,m3,again" and #heard == 4 and receipts == 3, "once each, in order")
  link:close()
  S.wait(function() return ended end, 1000)
  S.expect(ended == "closed", "the session's end")
end)

scenario("reliable and away", function(S)
  local reliable = require "lunawire.reliable"
  local server = S.server { protocols = { reliable.protocol } }
  local hub = reliable.server(server, { sessionTimeout = 300, maxQueuedBytes = 2000 })
  local reasons, session = {}, nil
  hub.onsession = function(event) session = event.session end
  hub.onend = function(event) reasons[#reasons + 1] = event.reason end
  local one = S.client(server.url, reliable.protocol)
  local link = S.link(one, { maxAge = 100 })
  S.wait(function() return session end, 1000)
  one:terminate()
  S.wait(function() return #reasons == 1 end, 2000)
  S.expect(reasons[1] == "expired" and hub.count == 0, "expired")
  local two = S.client(server.url, reliable.protocol)
  local second = S.link(two, {})
  session = nil
  S.wait(function() return session end, 1000)
  if session then
    session:send(("x"):rep(100))
    session:close(4001, "go")
  end
  S.wait(function() return two.readyState == 3 and one.readyState == 3 end, 1000)
  S.wait(nil, 50)
  S.expect(reasons[2] == "server" and not link.connected and not second.connected, "closed by the server")
end)

-- --- loading -------------------------------------------------------------------------------------------------------

scenario("load", function(S)
  local lunawire = S.load()
  S.expect(lunawire.WebSocket, "the module")
  require "lunawire.reliable"
end, { loads = true })

-- --- wrong on purpose: what the sweep must find ----------------------------------------------------------------------

scenario("wrong", function(S)
  local ws = S.client "ws://127.0.0.1:9/"
  if not pcall(ws.addEventListener, ws, "ping", print) then error "some other error" end
end, { hidden = true })

scenario("wrong and silent", function(S)
  local server = S.server {}
  local _, record = S.client(server.url)
  S.wait(nil, 10)
  record.closes = record.closes + 1
end, { hidden = true })

return scenarios
