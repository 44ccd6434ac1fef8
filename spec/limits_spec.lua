-- The limits and defaults that both ends share, each at the limit and beside it, over ws and wss: what a peer can make us
-- hold, and how long it can make us wait. What is the server's alone (guests, descriptors) is judged by server_limits_spec,
-- the deadlines themselves, by a clock that stands still, by conn_spec.

local blocks = require "spec.blocks"
local desk = require "spec.server_helper"
local frames = require "spec.frames"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local wire = require "spec.wire"
local wrong = require "spec.wrong"

local MIB, PMD = 1048576, { ["Sec-WebSocket-Extensions"] = "permessage-deflate" }

describe("without options #foreign #slow", function()
  local certs
  setup(function() certs = pki.new() end)
  teardown(function() certs:close() end)
  before_each(desk.open)
  after_each(desk.clear)

  -- Both ends, as they come: the raw peer, and `heard`, which waits for the next words that one of ours hears.
  local ends = {}

  local function words(log, from)
    local at = from
    return function()
      at = at + 1
      return wire.await(function() return log[at] end, "something to hear", 30)
    end
  end

  local function serverOptions(tls)
    return { perMessageDeflate = true, tls = tls and { cert = certs:cert "good", key = certs:key "good" } or nil }
  end

  function ends.server()
    local server, log = desk.serve(serverOptions())
    return desk.guest(server, log, PMD), words(log, 1)
  end

  ends["server over TLS"] = function()
    local server, log = desk.serve(serverOptions(true))
    local peer = wire.client(wrong.doors("connect", server.port)["whole"].port, PMD)
    desk.heard(log, "connection")
    return peer, words(log, 1)
  end

  function ends.client()
    local listener = wire.server()
    local log = wire.record(lunawire.WebSocket(listener.url))
    local peer = listener:open(PMD)
    wire.heard(log, "open")
    return peer, words(log, 1)
  end

  ends["client over TLS"] = function()
    local listener = wire.server()
    local files = ("%s %s"):format(helper.quote(certs:cert "good"), helper.quote(certs:key "good"))
    local url = ("wss://127.0.0.1:%d/"):format(wrong.doors("listen", listener.port, files)["whole"].port)
    local log = wire.record(lunawire.WebSocket(url, nil, { tls = { ca = certs:cert "root" } }))
    local peer = listener:open(PMD)
    wire.heard(log, "open")
    return peer, words(log, 1)
  end

  local function code(frame) return frame.payload:byte(1) * 256 + frame.payload:byte(2) end

  local function refused(peer, heard, number)
    local frame = peer:next()
    assert.same({ 8, number }, { frame.opcode, code(frame) })
    assert.equal("eof", (peer:finish()))
    peer:close()
    assert.equal("error protocol " .. number, heard())
    assert.equal("close 1006  unclean", heard())
  end

  for _, case in ipairs { { "server", MIB }, { "server over TLS", MIB }, { "client", 16 * MIB },
    { "client over TLS", 16 * MIB } } do
    local name, most = case[1], case[2]
    local key = name:match "^server" and "\0\0\0\0" or nil

    local function frame(of)
      of.key = key
      return frames.build(of)
    end

    -- Lua would print them both.
    local function is(word, kind, length)
      assert.equal(#kind + length, #word)
      assert.equal(kind, word:sub(1, #kind))
    end

    it(("a %s takes a message of %d bytes, whole, in fragments and compressed, and no byte more"):format(name, most), function()
      local long = ("x"):rep(most)
      local peer, heard = ends[name]()
      for _, n in ipairs { most - 1, most } do
        peer:send(frame { "binary", payload = long:sub(1, n) })
        is(heard(), "binary ", n)
        peer:send(frame { "binary", payload = long:sub(1, n - 7), fin = false }
          .. frame { "continuation", payload = "1234567" })
        is(heard(), "binary ", n)
      end
      local times = (most - 1) // 2064
      local rest = most - 1 - times * 2064
      for n = rest - 1, rest do
        peer:send(frame { "binary", rsv = 4, payload = blocks.new():stored(("x"):rep(n)):bytes() .. blocks.zeros(times) })
        is(heard(), "binary ", 1 + times * 2064 + n)
      end
      peer:send(frame { "binary", length = most + 1 }) -- at its header
      refused(peer, heard, 1009)

      peer, heard = ends[name]()
      peer:send(frame { "binary", payload = long:sub(1, most - 1), fin = false } .. frame { "continuation", length = 2 })
      refused(peer, heard, 1009)

      peer, heard = ends[name]()
      peer:send(frame { "binary", rsv = 4, payload = blocks.new():stored(("x"):rep(rest + 1)):bytes() .. blocks.zeros(times) })
      refused(peer, heard, 1009)
    end)

    it(("a %s takes 131072 fragments, and not one more, whatever is in them"):format(name), function()
      for _, payload in ipairs { "", "x" } do
        local first = frame { "binary", payload = payload, fin = false }
        local more = frame { "continuation", payload = payload, fin = false }
        local last = frame { "continuation", payload = payload }
        local peer, heard = ends[name]()
        for _, n in ipairs { 131071, 131072 } do
          peer:send(first .. more:rep(n - 2) .. last)
          is(heard(), "binary ", n * #payload)
        end
        peer:send(first .. more:rep(131071) .. last)
        refused(peer, heard, 1008)
      end
    end)
  end

  -- --- what is said last reaches who still talks ---

  for name, meet in pairs(ends) do
    it(("a %s that refuses a frame is heard by a peer that goes on sending"):format(name), function()
      local peer, heard = meet()
      local key = name:match "^server" and "\0\0\0\0" or nil
      local more = frames.build({ "binary", payload = ("x"):rep(65000), key = key }):rep(60)
      peer:send(peer:build { 3 } .. more)
      local frame = peer:next()
      assert.same({ 8, 1002 }, { frame.opcode, code(frame) })
      peer:send(more)
      assert.equal("eof", (peer:finish()))
      wire.await(function() return peer.output == "" or peer.failed end, "the rest to be drained")
      assert.is_nil(peer.failed)
      peer:close()
      assert.equal("error protocol 1002", heard())
      assert.equal("close 1006  unclean", heard())
    end)
  end
end)

-- What the loop waits for next is the deadline alone: nobody else has a timer here.
describe("the time that is given without options", function()
  before_each(desk.open)
  after_each(desk.clear)

  -- Some of it has gone by.
  local function is(due)
    local left = lunawire.timeout()
    assert.is_true(left and left > due - 4000 and left <= due, tostring(left))
  end

  it("for a handshake is 10 s, at both ends", function()
    local server = desk.listen { heartbeat = false }
    local peer = wire.connect(server.port)
    wire.settle()
    is(10000)
    peer:send "GET / HTTP/1.1\r\n"
    wire.settle()
    is(10000)
    peer:reset()
    wire.settle()
    assert.is_nil(lunawire.timeout())
    local ws = lunawire.WebSocket(wire.server().url)
    wire.settle()
    is(10000)
    ws:terminate()
  end)

  it("for a closing handshake is 5 s, of which a quarter goes by before each look", function()
    local server, log = desk.serve { heartbeat = false }
    local _, socket = desk.guest(server, log)
    wire.settle()
    assert.is_nil(lunawire.timeout())
    socket:close(1000)
    wire.settle()
    is(5000 / 4)
    socket:terminate()
    local listener = wire.server()
    local ws = lunawire.WebSocket(listener.url)
    listener:open()
    wire.await(function() return ws.readyState == 1 end, "open")
    ws:close(1000)
    wire.settle()
    is(5000 / 4)
    ws:terminate()
  end)
end)

-- --- how long a handshake may take --------------------------------------------------------------------------

describe("handshakeTimeout is one deadline for all of the handshake #foreign #slow", function()
  local certs
  setup(function() certs = pki.new() end)
  teardown(function() certs:close() end)
  before_each(desk.open)
  after_each(desk.clear)

  local TIME = 400

  -- A byte now and then until it is over: these, then the last one again and again. Returns how many.
  local function dribble(peer, bytes, over)
    local i, last, count = 0, 0, 0
    wire.await(function()
      if over() or peer.failed or lunawire.now() < last + 5 then return over() end
      i, last, count = math.min(i + 1, #bytes), lunawire.now(), count + 1
      peer:send(bytes:sub(i, i))
    end, "the deadline")
    return count
  end

  local function failed(heard)
    wire.heard(heard)
    assert.same({ "error timeout", "close 1006  unclean" }, heard)
  end

  local function door(how, port)
    local files = ("%s %s"):format(helper.quote(certs:cert "good"), helper.quote(certs:key "good"))
    return wrong.doors(how, port, how == "listen" and files or nil)["whole"].port
  end

  it("of a guest whose TLS is done and whose request dribbles", function()
    local server, log = desk.serve { handshakeTimeout = TIME, tls = { cert = certs:cert "good", key = certs:key "good" } }
    local peer = wire.connect(door("connect", server.port))
    local start = lunawire.now()
    peer:send "GET / HTTP/1.1\r\nX: "
    dribble(peer, "y", function() return peer.ended end)
    assert.is_true(lunawire.now() - start >= TIME / 2) -- it did not end at once
    assert.same({}, log)
    assert.equal("", peer.bytes)
  end)

  it("of a guest whose ClientHello dribbles", function()
    local server, log = desk.serve { handshakeTimeout = TIME, tls = { cert = certs:cert "good", key = certs:key "good" } }
    local peer = wire.connect(server.port)
    local start = lunawire.now()
    peer:send "\22\3\1\2\0\1\0\1\252\3\3" -- of 512 bytes
    assert.is_true(dribble(peer, "\170", function() return peer.ended end) < 400, "a whole ClientHello went by")
    assert.is_true(lunawire.now() - start >= TIME - 5)
    for _, words in ipairs(log) do assert.matches("^server error", words) end
  end)

  it("of a client whose server's TLS is done and whose answer dribbles", function()
    local server = wire.server()
    local heard = wire.record(lunawire.WebSocket(("wss://127.0.0.1:%d/"):format(door("listen", server.port)), nil,
      { handshakeTimeout = TIME, tls = { ca = certs:cert "root" } }))
    local peer = server:asked()
    peer:send "HTTP/1.1 101 Switching Protocols\r\nX: "
    dribble(peer, "x", function() return heard.close end)
    failed(heard)
  end)

  it("of a client whose server's ServerHello dribbles", function()
    local server = wire.server()
    local start = lunawire.now()
    local heard = wire.record(lunawire.WebSocket(("wss://127.0.0.1:%d/"):format(server.port), nil,
      { handshakeTimeout = TIME, tls = { ca = certs:cert "root" } }))
    local peer = server:accept()
    peer:send "\22\3\3\64\0\2\0\63\252\3\3" -- a record of 16 KiB
    dribble(peer, "\170", function() return heard.close end)
    failed(heard)
    assert.is_true(lunawire.now() - start >= TIME - 5)
  end)

  -- Each leg is short enough for a deadline of its own, all of them are not for one.
  it("of a client that goes through a proxy, then TLS, then the answer", function()
    local TIME = 3 * TIME -- luacheck: ignore 431 (TLS takes its part of it, on a busy machine too)
    local proxy, server = wire.server(), wire.server()
    local target = door("listen", server.port)
    local late = false
    local heard = wire.record(lunawire.WebSocket(("wss://127.0.0.1:%d/"):format(target), nil,
      { handshakeTimeout = 3 * TIME, proxy = ("http://127.0.0.1:%d"):format(proxy.port), tls = { ca = certs:cert "root" } }))
    local near = proxy:asked()
    local timer = lunawire.setTimeout(function() late = true end, 5 * TIME - 50) -- when one that began behind the proxy ends
    local till = lunawire.now() + 2 * TIME
    dribble(near, "HTTP/1.1 200 OK\r\nX: x", function() return lunawire.now() >= till end)
    assert.is_nil(heard.close)
    near:send "\r\n\r\n"
    local far = wire.connect(target)
    local asked
    wire.await(function() -- carries the bytes of both; the answer never comes
      far:send(near.bytes)
      near:send(far.bytes)
      near.bytes, far.bytes = "", ""
      asked = asked or server.listener:accept()
      return heard.close
    end, "the deadline")
    failed(heard)
    assert.is_truthy(asked, "the request was not on its way")
    assert.is_false(late)
    asked:close()
    timer:close()
  end)
end)
