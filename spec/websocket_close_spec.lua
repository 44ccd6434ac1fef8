-- How a client's WebSocket ends, in every way there is: readyState, the order of events, wasClean,
-- code, reason, bufferedAmount.

local frames = require "spec.frames"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket
local closing = frames.closing

local server
local function fresh() server = wire.server() end

local function opened(options, types)
  local ws = WebSocket(server.url, nil, options)
  local log = wire.record(ws, types)
  local peer = server:open()
  wire.await(function() return ws.readyState == 1 end)
  return ws, log, peer
end

-- The Close frame that comes next, as its code and reason: "1000 bye", "" for an empty one.
local function goodbye(peer)
  local frame = peer:next()
  assert.equal(8, frame.opcode)
  assert.is_true(frame.fin)
  assert.equal(4, #frame.key)
  if frame.payload == "" then return "" end
  return frame.payload:byte(1) * 256 + frame.payload:byte(2) .. " " .. frame.payload:sub(3)
end

describe("close()", function()
  before_each(fresh)
  after_each(wire.done)

  local longest = ("\226\130\172"):rep(41) -- 123 bytes

  for _, row in ipairs {
    { {}, "", "close 1005  clean" },
    { { 1000 }, "1000 ", "close 1000  clean" },
    { { 1000, "bye" }, "1000 bye", "close 1000 bye clean" },
    { { 3000, "" }, "3000 ", "close 3000  clean" },
    { { 4999, longest }, "4999 " .. longest, "close 4999 " .. longest .. " clean" },
    { { 1000.0 }, "1000 ", "close 1000  clean" },
    { { nil, nil }, "", "close 1005  clean" },
  } do
    it("with (" .. table.concat(row[1], ", ") .. ") asks, waits for the answer, and is clean", function()
      local ws, log, peer = opened()
      ws:close(table.unpack(row[1]))
      assert.equal(2, ws.readyState) -- at once
      assert.same({ "open" }, log)
      assert.equal(row[2], goodbye(peer))
      wire.settle()
      assert.equal(2, ws.readyState)
      assert.is_nil(peer.ended) -- the server ends first (RFC 6455, 7.1.1)
      peer:frame { "close", payload = closing(tonumber(row[2]:match "^%d+"), row[2]:match " (.*)$") }
      wire.settle()
      assert.equal(2, ws.readyState)
      assert.is_nil(peer.ended)
      assert.same({ "open" }, log)
      peer:shutdown()
      wire.heard(log)
      assert.same({ "open", row[3] }, log)
      assert.same({ 1, 3 }, log.states)
      assert.equal(0, ws.bufferedAmount)
      assert.equal("eof", (peer:finish()))
      assert.equal("", peer.bytes)
    end)
  end

  it("checks code, then reason", function()
    local ws, _, peer = opened()
    local long, broken = ("x"):rep(124), "a\255"
    for _, code in ipairs {
      0, 1, 999, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1011, 1015, 2999, 5000, 65536, -1, 1000.5, 3000.5, 0 / 0, 1 / 0,
    } do
      wire.mistake("InvalidAccessError", ws.close, ws, code)
      wire.mistake("InvalidAccessError", ws.close, ws, code, long)
      wire.mistake("InvalidAccessError", ws.close, ws, code, {})
    end
    assert.matches("999", wire.mistake("InvalidAccessError", ws.close, ws, 999))
    assert.matches("124 bytes, more than 123", wire.mistake("SyntaxError", ws.close, ws, 1000, long))
    wire.mistake("SyntaxError", ws.close, ws, nil, long)
    assert.matches("not UTF%-8", wire.mistake("SyntaxError", ws.close, ws, 1000, broken))
    assert.matches("needs a code", wire.mistake("SyntaxError", ws.close, ws, nil, "why"))
    wire.mistake("TypeError", ws.close, ws, "x")
    wire.mistake("TypeError", ws.close, ws, "1000")
    wire.mistake("TypeError", ws.close, ws, {})
    wire.mistake("TypeError", ws.close, ws, 1000, 1)
    wire.mistake("TypeError", ws.close, ws, 1000, {})
    assert.equal(1, ws.readyState) -- none of them closed anything
    wire.settle()
    assert.equal("", peer.bytes)
    ws:close(1000, ("x"):rep(123))
    assert.equal("1000 " .. ("x"):rep(123), goodbye(peer))
  end)

  it("checks its arguments in every state", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    wire.mistake("InvalidAccessError", ws.close, ws, 999)
    assert.equal(0, ws.readyState)
    local peer = server:open()
    wire.heard(log, "open")
    peer:close()
    wire.heard(log)
    wire.mistake("InvalidAccessError", ws.close, ws, 999)
    wire.mistake("SyntaxError", ws.close, ws, 1000, ("x"):rep(124))
  end)

  it("twice is once, and the first one counts", function()
    local ws, log, peer = opened()
    ws:close(4001, "first")
    ws:close(4002, "second")
    ws:close()
    assert.equal("4001 first", goodbye(peer))
    ws:close(4003, "third")
    peer:closing(4001, "first")
    peer:shutdown()
    wire.heard(log)
    ws:close(4004)
    wire.settle()
    assert.is_nil(peer:next())
    assert.same({ "open", "close 4001 first clean" }, log)
  end)

  it("drops messages that arrive after it was called", function()
    local ws, log, peer = opened(nil, { "open", "message", "error", "close" })
    ws:close(1000)
    peer:frame({ "text", payload = "late" }, { "text", payload = "la", fin = false }, { "continuation", payload = "ter" })
    wire.settle()
    assert.equal("1000 ", goodbye(peer))
    peer:frame { "binary", payload = ("x"):rep(100000) }
    peer:closing(1000)
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1000  clean" }, log)
  end)

  it("drops the messages behind the one whose handler called it", function()
    local ws, log, peer = opened()
    ws:addEventListener("message", function() ws:close(4000, "enough") end)
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" }, { "text", payload = "3" })
    assert.equal("4000 enough", goodbye(peer))
    peer:closing(4000, "enough")
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "text 1", "close 4000 enough clean" }, log)
  end)

  it("within a large message drops it", function()
    local ws, log, peer = opened()
    local bytes = peer:build { "binary", payload = ("x"):rep(300000) }
    peer:send(bytes:sub(1, 200000))
    wire.settle()
    ws:close(1000)
    assert.equal("1000 ", goodbye(peer))
    peer:send(bytes:sub(200001))
    peer:closing(1000)
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1000  clean" }, log)
  end)

  it("in onopen sends what was sent before it", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    ws:addEventListener("open", function()
      ws:send "hello"
      ws:close(1000)
    end)
    local peer = server:open(nil, "\x81\x05Hello")
    assert.equal("hello", peer:next().payload)
    assert.equal("1000 ", goodbye(peer))
    peer:closing(1000)
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1000  clean" }, log)
  end)

  it("in a ping's handler, and in onclose, does no harm", function()
    local ws, log, peer = opened()
    ws.onping = function() ws:close(4000) end
    ws:addEventListener("close", function() ws:close(4001) end)
    peer:frame { "ping", payload = "p" }
    local first = peer:next()
    if first.opcode == 10 then first = peer:next() end
    assert.equal(8, first.opcode)
    peer:closing(4000)
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 4000  clean" }, log)
  end)

  it("still answers what RFC 6455 wants answered: nothing but the Close", function()
    local ws, log, peer = opened(nil, { "open", "ping", "close" })
    ws:close(1000)
    assert.equal("1000 ", goodbye(peer))
    peer:frame { "ping", payload = "p" }
    peer:closing(1000)
    peer:shutdown()
    assert.is_nil(peer:next())
    wire.heard(log)
    assert.equal("close 1000  clean", log[#log])
  end)
end)

describe("close() with messages queued", function()
  before_each(fresh)
  after_each(wire.done)

  it("sends all of them before the Close frame, though the peer reads late", function()
    server.listener:buffers(4096)
    local ws, log, peer = opened()
    peer.reading = false
    local count, data = 100, ("0123456789"):rep(8000)
    for _ = 1, count do ws:send(data) end
    ws:close(1000, "done")
    assert.equal(2, ws.readyState)
    assert.equal(count * #data, ws.bufferedAmount)
    wire.settle()
    assert.is_true(ws.bufferedAmount > 0)
    local before, all = peer.total, count * (14 + #data) + 12
    peer.reading, peer.keeping = true, false
    wire.await(function() return peer.total - before == all end)
    local last = frames.parse(peer.bytes:sub(-12))[1]
    assert.same({ 8, closing(1000, "done") }, { last.opcode, last.payload })
    assert.equal(0, ws.bufferedAmount)
    peer:closing(1000, "done")
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1000 done clean" }, log)
  end)

  it("sends them unchanged and in order", function()
    local ws, log, peer = opened()
    for i = 1, 50 do ws:send(tostring(i):rep(1000)) end
    ws:close()
    for i = 1, 50 do assert.equal(tostring(i):rep(1000), peer:next().payload) end
    assert.equal("", goodbye(peer))
    peer:closing()
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1005  clean" }, log)
  end)

  it("is not cut by closeTimeout while the peer goes on reading #slow", function()
    server.listener:buffers(65536)
    local ws, log, peer = opened { closeTimeout = 500 }
    peer.reading = false
    for _ = 1, 16 do ws:send(("x"):rep(2 ^ 20), "binary") end
    ws:close(1000)
    wire.settle()
    local began, got, all = lunawire.now(), 0, 16 * (14 + 2 ^ 20) + 8
    local next_at = began
    wire.await(function() -- a piece every 4 ms: longer than closeTimeout in all
      if lunawire.now() >= next_at then
        got = got + #assert(peer.socket:receive())
        next_at = lunawire.now() + 4
      end
      return got == all or log.close
    end)
    assert.is_nil(log.close)
    assert.is_true(lunawire.now() - began > 900, "too fast to tell")
    peer:closing(1000)
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1000  clean" }, log)
  end)

  it("ends at closeTimeout when the peer does not read; bufferedAmount says what was left", function()
    server.listener:buffers(4096)
    local ws, log, peer = opened { closeTimeout = 60 }
    peer.reading = false
    for _ = 1, 12 do ws:send(("x"):rep(2 ^ 20), "binary") end
    ws:close(1000)
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
    local left = ws.bufferedAmount
    assert.is_true(left > 0 and left < 12 * 2 ^ 20)
    wire.settle()
    assert.equal(left, ws.bufferedAmount)
    peer.reading = true
    assert.equal("ECONNRESET", (peer:finish())) -- what the system held of it is dropped, too
  end)
end)

describe("a server's Close", function()
  before_each(fresh)
  after_each(wire.done)

  it("is answered, and what was queued goes first", function()
    local ws, log, peer = opened()
    ws:addEventListener("message", function() ws:send "last words" end)
    peer:frame { "text", payload = "x" }
    peer:closing(1001, "going away")
    assert.equal("last words", peer:next().payload)
    assert.equal("1001 going away", goodbye(peer))
    assert.equal(2, ws.readyState)
    assert.same({ "open", "text x" }, log)
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "text x", "close 1001 going away clean" }, log)
    assert.equal("GOING_AWAY", log.close.name)
    assert.equal(0, ws.bufferedAmount)
  end)

  it("that crosses ours wins: its code and reason are told, and one Close went each way", function()
    local ws, log, peer = opened()
    ws:close(4001, "mine")
    peer:closing(4002, "yours")
    assert.equal("4001 mine", goodbye(peer))
    peer:shutdown()
    wire.heard(log)
    assert.is_nil(peer:next())
    assert.same({ "open", "close 4002 yours clean" }, log)
  end)

  it("that is there already when we close crosses as well", function()
    local ws, log, peer = opened()
    peer:closing(4002, "yours")
    peer:shutdown()
    ws:close(4001, "mine")
    assert.equal("4001 mine", goodbye(peer))
    wire.heard(log)
    assert.same({ "open", "close 4002 yours clean" }, log)
  end)

  it("is clean though it ends with a reset", function()
    local ws, log, peer = opened()
    ws:close(1000)
    assert.equal("1000 ", goodbye(peer))
    peer:closing(1000, "ok")
    peer:reset()
    wire.heard(log)
    assert.same({ "open", "close 1000 ok clean" }, log)
  end)

  it("is not clean when our answer could not go", function()
    server.listener:buffers(4096)
    local ws, log, peer = opened()
    peer.reading = false
    for _ = 1, 12 do ws:send(("x"):rep(2 ^ 20), "binary") end
    peer:closing(1000, "bye")
    wire.await(function() return ws.readyState == 2 end)
    wire.settle()
    local left = ws.bufferedAmount
    assert.is_true(left > 0)
    peer:reset()
    wire.heard(log)
    assert.same({ "open", "close 1000 bye unclean" }, log)
    assert.equal(left, ws.bufferedAmount)
  end)

  it("makes send and ping do nothing but count", function()
    local ws, log, peer = opened()
    peer:closing(1000)
    wire.await(function() return ws.readyState == 2 end)
    assert.is_false(ws:send "12345")
    assert.equal(5, ws.bufferedAmount)
    ws:ping "x"
    ws:close(4000)
    assert.equal("1000 ", goodbye(peer))
    peer:shutdown()
    wire.heard(log)
    assert.is_nil(peer:next())
    assert.same({ "open", "close 1000  clean" }, log)
    assert.equal(5, ws.bufferedAmount)
  end)
end)

describe("closeTimeout", function()
  before_each(fresh)
  after_each(wire.done)

  it("ends the wait for a peer that never answers", function()
    local began = lunawire.now()
    local ws, log, peer = opened { closeTimeout = 60 }
    ws:close(1000, "bye")
    assert.equal("1000 bye", goodbye(peer))
    wire.heard(log)
    assert.is_true(lunawire.now() - began >= 60)
    assert.same({ "open", "close 1006  unclean" }, log)
    assert.equal(3, ws.readyState)
    assert.is_truthy(peer:finish())
  end)

  it("ends the wait for a peer that talks on and never answers", function()
    local ws, log, peer = opened { closeTimeout = 60 }
    ws:close(1000)
    wire.await(function()
      if not peer.failed and not peer.ended then peer:frame { "text", payload = "and another thing" } end
      return log.close
    end)
    assert.same({ "open", "close 1006  unclean" }, log)
  end)

  it("ends the wait for a peer that answers and keeps TCP open: clean, both Close frames went", function()
    local ws, log, peer = opened { closeTimeout = 150 }
    ws:close(1000, "bye")
    assert.equal("1000 bye", goodbye(peer))
    peer:closing(1000, "bye")
    wire.heard(log)
    assert.same({ "open", "close 1000 bye clean" }, log)
    assert.is_truthy(peer:finish())
  end)

  it("ends the wait for a peer that closes first and keeps TCP open", function()
    local _, log, peer = opened { closeTimeout = 60 }
    peer:closing(1001, "bye")
    assert.equal("1001 bye", goodbye(peer))
    wire.heard(log)
    assert.same({ "open", "close 1001 bye clean" }, log)
  end)

  it("is not there before close", function()
    local ws, log = opened { closeTimeout = 20 }
    local over = false
    lunawire.setTimeout(function() over = true end, 50)
    wire.await(function() return over end)
    assert.same({ "open" }, log)
    assert.equal(1, ws.readyState)
  end)
end)

describe("a connection that ends without a Close", function()
  before_each(fresh)
  after_each(wire.done)

  it("by FIN is close 1006, unclean, without an error", function()
    local ws, log, peer = opened()
    ws:send "x"
    wire.settle()
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
    assert.same({ 1, 3 }, log.states)
    assert.equal(0, ws.bufferedAmount)
  end)

  it("by RST is the same", function()
    local ws, log, peer = opened()
    peer:reset()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
    assert.equal(3, ws.readyState)
  end)

  for _, how in ipairs { "shutdown", "reset" } do
    it("delivers the messages that came before the " .. how, function()
      local _, log, peer = opened()
      peer:frame({ "text", payload = "1" }, { "text", payload = "2" })
      peer[how](peer)
      wire.heard(log)
      assert.same({ "open", "text 1", "text 2", "close 1006  unclean" }, log)
    end)
  end

  it("after our Close is unclean, too", function()
    local ws, log, peer = opened()
    ws:close(1000)
    assert.equal("1000 ", goodbye(peer))
    peer:shutdown()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
  end)

  it("counts what was never sent", function()
    local ws, log, peer = opened()
    peer:reset()
    ws:send "12345"
    assert.is_true(ws.bufferedAmount == 5)
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
    ws:send "678"
    assert.is_true(ws.bufferedAmount >= 3)
  end)
end)

describe("a server process that is killed #foreign", function()
  after_each(wire.done)

  local program, peer

  local function start()
    program = helper.directory() .. "/peer.js"
    helper.write(program, [[
      const { WebSocketServer } = require(process.argv[2] + "/spec/node_modules/ws");
      const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
      server.on("listening", () => console.log(server.address().port));
      server.on("connection", (socket) => socket.send("hello"));
    ]])
    peer = helper.peer(("exec node %s %s"):format(helper.quote(program), helper.quote(helper.root)))
    local ws = WebSocket("ws://127.0.0.1:" .. peer:line() .. "/")
    local log = wire.record(ws)
    wire.await(function() return #log == 2 end)
    return ws, log
  end

  local function stop()
    peer:stop()
    helper.remove(program:match "^(.*)/")
  end

  it("with -9 ends the connection: close 1006, unclean", function()
    local ws, log = start()
    peer:signal "KILL"
    wire.heard(log)
    assert.same({ "open", "text hello", "close 1006  unclean" }, log)
    assert.equal(3, ws.readyState)
    stop()
  end)

  it("with bytes it has not read, which makes a reset, is the same", function()
    local ws, log = start()
    peer:signal "STOP"
    ws:send(("x"):rep(100000))
    wire.await(function() return ws.bufferedAmount == 0 end)
    peer:signal "KILL"
    wire.heard(log)
    assert.same({ "open", "text hello", "close 1006  unclean" }, log)
    stop()
  end)
end)

describe("close() while connecting", function()
  before_each(fresh)
  after_each(wire.done)

  local aborted = { "error aborted", "close 1006  unclean" }

  it("before the first turn never reaches the server", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    ws:close()
    assert.equal(2, ws.readyState)
    assert.same({}, log)
    wire.heard(log)
    assert.same(aborted, log)
    assert.same({ 3, 3 }, log.states)
    assert.equal("connect to " .. server.url .. ": ended from this side", log.error.message)
    assert.is_nil(server.listener:accept())
  end)

  it("while the answer is awaited ends the connection, with nothing more said", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    local peer = server:asked()
    ws:close(4000, "changed my mind")
    assert.equal(2, ws.readyState)
    assert.is_truthy(peer:finish())
    assert.equal("", peer.bytes)
    wire.heard(log)
    assert.same(aborted, log)
    assert.same({ 1006, "", false }, { log.close.code, log.close.reason, log.close.wasClean })
  end)

  it("never opens, though the 101 is here already", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    local peer = server:open(nil, "\x81\x05Hello")
    ws:close()
    wire.heard(log)
    assert.same(aborted, log)
    assert.is_truthy(peer:finish())
  end)

  it("while the name is looked up does not wait for it", function()
    local ws = WebSocket "ws://no-such-host.invalid/"
    local log = wire.record(ws)
    lunawire.step(0)
    ws:close()
    assert.equal(2, ws.readyState)
    lunawire.step(0)
    lunawire.step(0)
    assert.same(aborted, log)
  end)

  it("twice is once; sends in between count", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    ws:close()
    ws:close(4000)
    assert.is_false(ws:send "12345")
    assert.equal(5, ws.bufferedAmount)
    wire.heard(log)
    assert.same(aborted, log)
    assert.equal(5, ws.bufferedAmount)
  end)

  it("is possible from another socket's handler", function()
    local ws, _, peer = opened()
    local other = WebSocket(server.url)
    local log = wire.record(other)
    ws.onmessage = function() other:close() end
    server:asked()
    peer:frame { "text", payload = "x" }
    wire.heard(log)
    assert.same(aborted, log)
  end)
end)

describe("terminate", function()
  before_each(fresh)
  after_each(wire.done)

  it("ends at once, with its reason, unclean", function()
    local ws, log, peer = opened()
    ws:terminate "enough"
    assert.is_true(ws.readyState >= 2)
    assert.same({ "open" }, log)
    wire.heard(log)
    assert.same({ "open", "close 1006 enough unclean" }, log)
    assert.is_truthy(peer:finish())
    assert.equal("", peer.bytes) -- not even a Close
  end)

  it("drops what is queued, and counts it", function()
    local ws, log, peer = opened()
    ws:send "12345"
    ws:terminate()
    wire.heard(log)
    assert.same({ "open", "close 1006  unclean" }, log)
    assert.equal(5, ws.bufferedAmount)
    peer:finish()
    assert.equal("", peer.bytes)
  end)

  it("in a handler stops the messages behind", function()
    local ws, log, peer = opened()
    ws:addEventListener("message", function() ws:terminate "x" end)
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" })
    wire.heard(log)
    assert.same({ "open", "text 1", "close 1006 x unclean" }, log)
  end)

  it("while closing does not wait for the peer", function()
    local ws, log, peer = opened()
    ws:close(1000)
    assert.equal("1000 ", goodbye(peer))
    ws:terminate "impatient"
    wire.heard(log)
    assert.same({ "open", "close 1006 impatient unclean" }, log)
  end)

  it("while connecting fails the attempt", function()
    local ws = WebSocket(server.url)
    local log = wire.record(ws)
    ws:terminate "no"
    wire.heard(log)
    assert.same({ "error aborted", "close 1006 no unclean" }, log)
  end)

  it("once it is over does nothing, and refuses a reason that cannot be one", function()
    local ws, log, peer = opened()
    wire.mistake("TypeError", ws.terminate, ws, {})
    wire.mistake("SyntaxError", ws.terminate, ws, ("x"):rep(124))
    assert.equal(1, ws.readyState)
    peer:close()
    wire.heard(log)
    ws:terminate "late"
    wire.settle()
    assert.same({ "open", "close 1006  unclean" }, log)
  end)
end)

describe("many sockets", function()
  before_each(fresh)
  after_each(wire.done)

  it("end each in its own way without noticing the others", function()
    local list = {}
    for i = 1, 30 do list[i] = { opened() } end
    for i, one in ipairs(list) do
      local ws, _, peer = table.unpack(one)
      if i % 3 == 0 then peer:reset()
      elseif i % 3 == 1 then ws:terminate()
      else
        ws:close(4000)
        peer:closing(4000)
        peer:shutdown()
      end
    end
    for i, one in ipairs(list) do
      wire.heard(one[2])
      assert.same({ "open", i % 3 == 2 and "close 4000  clean" or "close 1006  unclean" }, one[2])
    end
  end)

  it("closed by one handler get one close each", function()
    local list = {}
    for i = 1, 10 do list[i] = { opened() } end
    list[5][1].onmessage = function()
      for _, one in ipairs(list) do
        one[1]:terminate "all"
        collectgarbage()
      end
    end
    for _, one in ipairs(list) do one[3]:frame { "text", payload = "x" } end
    for _, one in ipairs(list) do wire.heard(one[2]) end
    wire.settle()
    for _, one in ipairs(list) do
      assert.equal("close 1006 all unclean", one[2][#one[2]])
      assert.is_true(#one[2] <= 3)
    end
  end)
end)
