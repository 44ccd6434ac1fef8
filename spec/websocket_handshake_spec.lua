-- What a client makes of a server's answer, of none at all, and of a server it cannot reach.
-- Each answer comes whole and one byte at a time; the reaction must be the same.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local wire = require "spec.wire"
local wrong = require "spec.wrong"

local WebSocket = lunawire.WebSocket
local ways = { "whole", "one byte at a time" }

local server
local function fresh() server = wire.server() end

-- A socket and what it hears, with its request asked.
local function asked(protocols, options)
  local ws = WebSocket(server.url, protocols, options)
  local log = wire.record(ws)
  return ws, log, server:asked()
end

local function key(peer) return peer.request.headers["sec-websocket-key"] end

-- An answer is bytes, or function(key) -> bytes. After the bytes comes `after`: "end" or nothing.
local function answer(peer, bytes, how)
  if type(bytes) == "function" then bytes = bytes(key(peer)) end
  for i = 1, how == "whole" and 1 or #bytes do
    if peer.failed or peer.ended then break end
    peer:send(how == "whole" and bytes or bytes:sub(i, i))
    if how ~= "whole" then wire.turn(0) end
  end
end

local function fields(more)
  return function(k) return wire.switch(k, more) end
end

describe("an answer that is no handshake fails the connection:", function()
  before_each(fresh)
  after_each(wire.done)

  for _, row in ipairs(wrong.responses) do
    for _, how in ipairs(ways) do
      it(row[1] .. ", " .. how, function()
        local ws, log, peer = asked()
        answer(peer, row[2], how)
        wire.heard(log)
        assert.same({ "error " .. row[3], "close 1006  unclean" }, log)
        assert.same({ 3, 3 }, log.states)
        assert.equal(row[4], log.error.status)
        assert.equal(row[4] and "table" or "nil", type(log.error.headers))
        assert.matches("^connect to " .. server.url:gsub("%p", "%%%0") .. ": ", log.error.message)
        assert.matches(row[5], log.error.message)
        assert.equal("", ws.protocol)
        peer:finish()
        assert.equal("", peer.bytes) -- not a frame goes to whoever this is
      end)
    end
  end

  for _, how in ipairs(ways) do
    it("a protocol was asked for and none came, " .. how, function()
      local _, log, peer = asked "chat"
      answer(peer, wire.switch(key(peer)), how)
      wire.heard(log)
      assert.same({ "error http", "close 1006  unclean" }, log)
      assert.matches("subprotocol", log.error.message)
    end)

    it("another protocol than those asked for, " .. how, function()
      for _, protocol in ipairs { "superchat", "Chat", "chat, news", "" } do
        local _, log, peer = asked { "chat", "news" }
        answer(peer, fields { ["Sec-WebSocket-Protocol"] = protocol }, how)
        wire.heard(log)
        assert.same({ "error http", "close 1006  unclean" }, log)
        assert.matches("subprotocol", log.error.message)
      end
    end)

    it("the end after half a head, " .. how, function()
      local _, log, peer = asked()
      answer(peer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: web", how)
      peer:shutdown()
      wire.heard(log)
      assert.same({ "error http", "close 1006  unclean" }, log)
      assert.matches(": the server ended the connection before it answered$", log.error.message)
    end)
  end

  it("the end at once", function()
    local _, log, peer = asked()
    peer:close()
    wire.heard(log)
    assert.same({ "error http", "close 1006  unclean" }, log)
    assert.matches(": the server ended the connection before it answered$", log.error.message)
  end)

  it("a reset", function()
    local _, log, peer = asked()
    peer:reset()
    wire.heard(log)
    assert.equal("close 1006  unclean", log[2])
    assert.equal(2, #log)
  end)
end)

describe("a refused handshake", function()
  before_each(fresh)
  after_each(wire.done)

  local refusal = "HTTP/1.1 403 Forbidden\r\nX-Why: no\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 5\r\n\r\nnever"

  for _, how in ipairs(ways) do
    it("fails with status, headers and message, " .. how, function()
      local ws, log, peer = asked()
      answer(peer, refusal, how)
      wire.heard(log)
      assert.same({ "error http", "close 1006  unclean" }, log)
      local event = log.error
      assert.equal(ws, event.target)
      assert.equal(403, event.status)
      assert.same({ ["x-why"] = "no", ["set-cookie"] = "a=1, b=2", ["content-length"] = "5" }, event.headers)
      assert.equal("connect to " .. server.url .. ": the server answered 403 Forbidden", event.message)
      assert.equal("never", event.body)
      assert.is_nil(event.closeCode)
      assert.equal(0, ws.bufferedAmount)
      assert.equal("", log.close.reason)
    end)
  end

  for _, how in ipairs(ways) do
    it("keeps a page that ends with the connection, " .. how, function()
      local _, log, peer = asked()
      answer(peer, "HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\n\r\nwe are sorry", how)
      assert.same({}, log)
      peer:shutdown()
      wire.heard(log)
      assert.equal("we are sorry", log.error.body)
      assert.equal("text/plain", log.error.headers["content-type"])
    end)
  end

  for _, how in ipairs(ways) do
    it("keeps a page that comes in chunks, without them, " .. how, function()
      local _, log, peer = asked(nil, { handshakeTimeout = 600000 })
      answer(peer, "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwe\r\na\r\n are sorry\r\n0\r\n\r\n", how)
      wire.heard(log) -- the connection stays: the last chunk is the end
      assert.equal("we are sorry", log.error.body)
    end)
  end

  it("keeps what there is of a page that is cut short", function()
    local _, log, peer = asked()
    peer:send "HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nwe are"
    peer:shutdown()
    wire.heard(log)
    assert.same({ 500, "we are" }, { log.error.status, log.error.body })
  end)

  it("keeps 64 KiB of a page of 10 MB, and waits for no more", function()
    for _, length in ipairs { "Content-Length: 10000000\r\n", "" } do
      local _, log, peer = asked()
      peer:send("HTTP/1.1 404 Not Found\r\n" .. length .. "\r\n")
      local piece, sent = ("0123456789abcdef"):rep(1000), 0
      wire.await(function()
        while peer.output == "" and not peer.failed and sent < 10000000 do
          peer:send(piece)
          sent = sent + #piece
        end
        return log.close
      end)
      assert.equal(404, log.error.status)
      assert.equal(65536, #log.error.body)
      assert.equal(piece, log.error.body:sub(1, #piece))
      peer:close()
    end
  end)

  it("does not wait for a page that there cannot be", function()
    for _, head in ipairs {
      "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
      "HTTP/1.1 400 Bad\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 400 Bad\r\nContent-Length: x\r\n\r\n",
      "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    } do
      local _, log, peer = asked(nil, { handshakeTimeout = 600000 })
      peer:send(head)
      local turns = 0
      wire.await(function()
        turns = turns + 1
        return log.close
      end)
      assert.is_nil(log.error.body)
      assert.is_true(turns < 50, "it waited")
    end
  end)

  it("does not wait longer than the handshake may take for a page that never comes", function()
    local _, log, peer = asked(nil, { handshakeTimeout = 200 })
    peer:send "HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno"
    wire.heard(log)
    assert.same({ "error http", "close 1006  unclean" }, log)
    assert.same({ 403, "no" }, { log.error.status, log.error.body })
  end)

  it("can be given up while its page is awaited", function()
    local ws, log, peer = asked()
    peer:send "HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno"
    wire.settle()
    assert.equal(0, ws.readyState)
    ws:close()
    wire.heard(log)
    assert.same({ "error aborted", "close 1006  unclean" }, log)
  end)

  it("keeps the password out of its message", function()
    local ws = WebSocket(("ws://ann:hunter2@127.0.0.1:%d/"):format(server.port))
    local log = wire.record(ws)
    server:asked():send "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    wire.heard(log)
    assert.equal("connect to " .. server.url .. ": the server answered 401 Unauthorized", log.error.message)
  end)
end)

describe("an answer that is unusual but right is taken:", function()
  before_each(fresh)
  after_each(wire.done)

  for _, row in ipairs(wrong.unusual) do
    for _, how in ipairs(ways) do
      it(row[1] .. ", " .. how, function()
        local _, log, peer = asked()
        answer(peer, function(k)
          return (type(row[2]) == "function" and row[2](k) or row[2]) .. "\x81\x05Hello"
        end, how)
        wire.await(function() return #log == 2 end)
        assert.same({ "open", "text Hello" }, log)
      end)
    end
  end

  for _, how in ipairs(ways) do
    it("one of the protocols asked for, " .. how, function()
      local ws, log, peer = asked { "chat", "news" }
      answer(peer, fields { ["Sec-WebSocket-Protocol"] = "news" }, how)
      wire.heard(log, "open")
      assert.equal("news", ws.protocol)
    end)
  end

  it("one that comes in two pieces, cut anywhere", function()
    local length = #wire.switch(("x"):rep(24))
    for cut = 1, length - 1, 3 do
      local _, log, peer = asked()
      local bytes = wire.switch(key(peer))
      peer:send(bytes:sub(1, cut))
      wire.settle(2)
      assert.same({}, log)
      peer:send(bytes:sub(cut + 1))
      wire.heard(log, "open")
      peer:close()
    end
  end)
end)

describe("handshakeTimeout", function()
  before_each(fresh)
  after_each(wire.done)

  local function timed_out(log)
    wire.heard(log)
    assert.same({ "error timeout", "close 1006  unclean" }, log)
    assert.equal("connect to " .. server.url .. ": the handshake took longer than handshakeTimeout", log.error.message)
  end

  it("ends the wait for a server that says nothing", function()
    local started = lunawire.now()
    local _, log, peer = asked(nil, { handshakeTimeout = 150 })
    timed_out(log)
    assert.is_true(lunawire.now() - started >= 150)
    assert.equal("eof", (peer:finish()))
  end)

  it("ends the wait for a server that never accepts", function()
    local log = wire.record(WebSocket(server.url, nil, { handshakeTimeout = 30 }))
    timed_out(log)
  end)

  it("ends the wait for the second half of a head", function()
    local _, log, peer = asked(nil, { handshakeTimeout = 150 })
    peer:send "HTTP/1.1 101 Switching"
    timed_out(log)
  end)

  it("is not put off by bytes that dribble in", function()
    local _, log, peer = asked(nil, { handshakeTimeout = 150 })
    local sent = 0
    peer:send "HTTP/1.1 101 S\r\nX: "
    local next_at = lunawire.now()
    wire.await(function()
      if lunawire.now() >= next_at then
        peer:send "x"
        sent, next_at = sent + 1, lunawire.now() + 10
      end
      return log.close
    end)
    timed_out(log)
    assert.is_true(sent > 1)
  end)

  it("is not put off by one 100 Continue after another", function()
    local _, log, peer = asked(nil, { handshakeTimeout = 150 })
    wire.await(function()
      if not peer.failed then peer:send "HTTP/1.1 100 Continue\r\n\r\n" end
      return log.close
    end)
    timed_out(log)
  end)

  it("is over once the connection is open", function()
    local _, log, peer = asked(nil, { handshakeTimeout = 200 })
    peer:send(wire.switch(key(peer)))
    wire.heard(log, "open")
    local over = false
    lunawire.setTimeout(function() over = true end, 220)
    wire.await(function() return over end)
    peer:frame { "text", payload = "still here" }
    wire.await(function() return #log == 2 end)
    assert.same({ "open", "text still here" }, log)
  end)
end)

describe("a server that cannot be reached", function()
  after_each(wire.done)

  it("because nobody listens is refused, in words", function()
    server = wire.server()
    local url = server.url
    server:close()
    local ws = WebSocket(url)
    local log = wire.record(ws)
    assert.equal(0, ws.readyState)
    wire.heard(log)
    assert.same({ "error refused", "close 1006  unclean" }, log)
    assert.same({ 3, 3 }, log.states)
    assert.equal("connect to " .. url .. ": Connection refused", log.error.message)
    assert.is_nil(log.error.status)
    assert.is_nil(log.error.headers)
    assert.is_nil(log.error.closeCode)
    assert.equal(ws, log.error.target)
    assert.equal(0, ws.bufferedAmount)
  end)

  it("on port 1, as everybody tries it first", function()
    local log = wire.record(WebSocket "ws://127.0.0.1:1/")
    wire.heard(log)
    assert.equal("connect to ws://127.0.0.1:1/: Connection refused", log.error.message)
    assert.equal("refused", log.error.code)
  end)

  it("because its name does not exist fails with dns, while the loop goes on", function()
    server = wire.server()
    local other = WebSocket(server.url)
    local heard = wire.record(other)
    local peer = server:open()
    wire.heard(heard, "open")

    local url = "ws://no-such-host.invalid:8080/"
    local log = wire.record(WebSocket(url))
    lunawire.step(0)
    assert.same({}, log) -- asking does not wait for the answer
    local longest, last, count = 0, lunawire.now(), 0
    wire.await(function()
      local now = lunawire.now()
      longest, last = math.max(longest, now - last), now
      peer:frame { "text", payload = "x" }
      count = count + 1
      return log.close
    end)
    assert.same({ "error dns", "close 1006  unclean" }, log)
    assert.matches("^connect to ws://no%-such%-host%.invalid:8080/: %u", log.error.message)
    assert.is_true(longest < 3000, ("a turn took %.0f ms"):format(longest))
    wire.await(function() return #heard == 1 + count end)
  end)

  it("because its name is a star fails: that is no host, whatever getaddrinfo makes of it", function()
    server = wire.server()
    local log = wire.record(WebSocket((server.url:gsub("127%.0%.0%.1", "*"))))
    wire.heard(log)
    assert.same({ "error dns", "close 1006  unclean" }, log)
  end)

  it("because its name takes long ends at handshakeTimeout, or before", function()
    local log = wire.record(WebSocket("ws://no-such-host.invalid/", nil, { handshakeTimeout = 1 }))
    wire.heard(log)
    assert.equal(2, #log)
    assert.equal("close 1006  unclean", log[2])
  end)

  it("leaves no descriptor behind", function()
    lunawire.step(0)
    local before = probe.sys.descriptors()
    local logs = {}
    for i = 1, 20 do logs[i] = wire.record(WebSocket "ws://127.0.0.1:1/") end
    for i = 1, 20 do wire.heard(logs[i]) end
    -- a name that is still looked up (another spec's) may have one open for a moment
    wire.await(function() return probe.sys.descriptors() <= before end, "descriptors to be closed")
  end)
end)

describe("a host that is a name", function()
  after_each(wire.done)

  it("is looked up and reached, and is what the Host header says", function()
    server = wire.server()
    local ws = WebSocket("ws://localhost:" .. server.port .. "/", nil, { family = 4 })
    local log = wire.record(ws)
    local peer = server:asked()
    assert.equal("localhost:" .. server.port, peer.request.headers.host)
    peer:send(wire.switch(key(peer)))
    wire.heard(log, "open")
  end)

  it("with family = 6 does not go to an IPv4 address", function()
    local log = wire.record(WebSocket("ws://127.0.0.1:1/", nil, { family = 6 }))
    wire.heard(log)
    assert.same({ "error dns", "close 1006  unclean" }, log)
    assert.matches("no address of the family asked for", log.error.message)
  end)
end)

describe("a handshake with a foreign server #foreign", function()
  after_each(wire.done)

  it("of npm's ws opens, echoes and closes", function()
    local program = helper.directory() .. "/peer.js"
    helper.write(program, [[
      const { WebSocketServer } = require(process.argv[2] + "/spec/node_modules/ws");
      const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: (p) => [...p][1] });
      server.on("listening", () => console.log(server.address().port));
      server.on("connection", (socket) => {
        socket.on("message", (data, binary) => socket.send(data, { binary }));
        socket.on("close", (code, reason) => console.log("closed", code, String(reason)));
      });
    ]])
    local peer = helper.peer(("exec node %s %s"):format(helper.quote(program), helper.quote(helper.root)))
    local port = peer:line()
    local ws = WebSocket("ws://127.0.0.1:" .. port .. "/", { "a", "b" })
    local log = wire.record(ws)
    wire.heard(log, "open")
    assert.equal("b", ws.protocol)
    ws:send "h\195\169llo"
    ws:send("\0\255", "binary")
    wire.await(function() return #log == 3 end)
    ws:close(4001, "bye")
    wire.heard(log)
    assert.same({ "open", "text h\195\169llo", "binary \0\255", "close 4001 bye clean" }, log)
    assert.equal("closed 4001 bye", peer:line(wire.turn))
    peer:stop()
    helper.remove(program:match "^(.*)/")
  end)
end)
