-- Coroutine style: tasks, what they wait for, and the main chunk that waits by turning the loop. Peers are raw bytes.

local frames = require "spec.frames"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local go, sleep, connect = lunawire.go, lunawire.sleep, lunawire.connect

local server

-- An open socket and its raw peer; `bytes` come with the 101.
local function opened(bytes, options)
  local ws
  go(function() ws = connect(server.url, nil, options) end)
  local peer = server:open(nil, bytes)
  wire.await(function() return ws end, "connect")
  return ws, peer
end

-- A task that writes down what it receives, until the end.
local function listener(ws, log)
  return go(function()
    for data, kind in ws:messages() do log[#log + 1] = kind .. " " .. data end
    log[#log + 1] = "end"
  end)
end

local function over(task)
  return function() return task.status ~= "running" and task.status ~= "waiting" end
end

local function before()
  turns.open()
  server = wire.server()
end

describe("a task", function()
  before_each(before)
  after_each(turns.clear)

  it("runs at once up to where it first waits, with its arguments", function()
    local seen = {}
    local task = go(function(...)
      seen[1] = select("#", ...) .. tostring((...))
      sleep(0)
      seen[2] = "later"
      return 1, nil, 3
    end, "x", nil, nil)
    assert.same({ "3x" }, seen)
    assert.equal("waiting", task.status)
    assert.is_true(lunawire.run(5000)) -- which a task that sleeps keeps going
    assert.same({ "3x", "later" }, seen)
    assert.equal("done", task.status)
    assert.same({ 3, 1, nil, 3 }, (function(...) return { select("#", ...), ... } end)(task:join()))
  end)

  it("can wait for another, and gets what it returned or raised", function()
    local log, problem = {}, {}
    local slow = go(function() sleep(1) return "slow", 2 end)
    local bad = go(function() sleep(1) error(problem, 0) end)
    go(function()
      log[1], log[2] = slow:join()
      log[3], log[4] = pcall(bad.join, bad)
    end)
    assert.is_true(lunawire.run(5000))
    assert.same({ "slow", 2, false, problem }, log)
    assert.equal(problem, log[4])
    assert.equal("failed", bad.status)
  end)

  it("in a chain of a thousand that wait for each other needs no deep stack", function()
    local task = go(function() sleep(0) return 0 end)
    for _ = 1, 1000 do
      local before_it = task
      task = go(function() return before_it:join() + 1 end)
    end
    lunawire.run(5000)
    assert.equal(1000, task:join())
  end)

  it("that starts one that starts one, a thousand deep, is no deeper either", function()
    local count = 0
    local function nest(n)
      count = count + 1
      if n > 1 then go(nest, n - 1) end
    end
    go(nest, 1000)
    lunawire.run(5000)
    assert.equal(1000, count)
  end)

  it("that fails is told to onerror, with its own traceback", function()
    local told = {}
    lunawire.onerror = function(...) told[#told + 1] = { ... } end
    local function culprit() error("boom") end
    local task = go(function() sleep(1) culprit() end)
    lunawire.run(5000)
    assert.equal(1, #told)
    assert.matches("task_spec%.lua:%d+: boom$", told[1][1])
    assert.equal(task, told[1][2])
    assert.matches("in upvalue 'culprit'", told[1][3])
  end)

  it("that fails leaves run while onerror is unset, value unchanged, and the loop goes on", function()
    local problem, later = { "mine" }, false
    go(function() error(problem, 0) end)
    lunawire.setTimeout(function() later = true end, 5)
    local fine, err = pcall(lunawire.run, 5000)
    assert.is_false(fine)
    assert.equal(problem, err)
    assert.is_true(lunawire.run(5000))
    assert.is_true(later)
  end)

  it("that is cancelled gets an AbortError where it waits, may clean up, and is told to nobody", function()
    lunawire.onerror = function(err) error("told " .. tostring(err)) end
    local caught
    local task = go(function()
      local fine, err = pcall(sleep, 1e6)
      caught = { fine, err.name, err.message, err.reason }
      sleep(1) -- cleaning up may wait
      error(err, 0)
    end)
    task:cancel "enough"
    assert.same({ false, "AbortError", "enough", "enough" }, caught)
    assert.is_true(lunawire.run(5000))
    assert.equal("cancelled", task.status)
    assert.matches("enough", wire.mistake("AbortError", task.join, task))
    task:cancel()
  end)

  it("that is cancelled while it runs is so where it waits next", function()
    local task, reached
    task = go(function()
      sleep(0)
      task:cancel()
      reached = true
      sleep(1e6)
    end)
    assert.is_true(lunawire.run(5000))
    assert.is_true(reached)
    assert.equal("cancelled", task.status)
  end)

  it("says what is wrong with what it is given", function()
    assert.matches("go: a function expected, got nil", wire.mistake("TypeError", go))
    for _, wrong in ipairs { "x", 0 / 0, {}, -math.huge } do
      assert.matches("sleep: milliseconds expected", wire.mistake("TypeError", sleep, wrong))
    end
    assert.matches("sleep", wire.mistake("TypeError", sleep))
    local own
    own = go(function()
      sleep(0)
      return own:join()
    end)
    assert.matches("itself", wire.mistake("InvalidStateError", function() return own:join() end))
    assert.matches("a task expected, got nil", wire.mistake("TypeError", own.cancel))
  end)
end)

describe("connect", function()
  before_each(before)
  after_each(turns.clear)

  it("gives an open socket, and loses nothing that came with the 101", function()
    local ws, peer = opened("\x81\x05Hello\x82\x01\x00")
    assert.equal(1, ws.readyState)
    wire.settle()
    assert.same({ "Hello", "text" }, { ws:receive() })
    assert.same({ "\0", "binary" }, { ws:receive() })
    ws:send "back"
    assert.equal("back", peer:next().payload)
  end)

  it("raises what went wrong, as the error event tells it", function()
    local err
    local function try()
      local ws = connect(server.url)
      return ws
    end
    go(function() err = select(2, pcall(try)) end)
    server:asked():send(wire.head("HTTP/1.1 404 Not Found", { ["Content-Length"] = "4" }) .. "page")
    wire.await(function() return err end)
    assert.equal("NetworkError", err.name)
    assert.equal("http", err.code)
    assert.equal(404, err.status)
    assert.equal("page", err.body)
    assert.matches("404 Not Found", err.message)
    assert.matches("task_spec%.lua:%d+: NetworkError: ", tostring(err))
  end)

  it("in the main chunk turns the loop, and raises the same", function()
    server:close()
    local _, err = pcall(connect, server.url)
    assert.equal("NetworkError", err.name)
    assert.equal("refused", err.code)
    assert.matches("^WebSocket", wire.mistake("SyntaxError", connect, "nonsense"))
  end)

  it("that is cancelled lets go of the connection", function()
    local task = go(connect, server.url)
    local peer = server:asked()
    task:cancel()
    assert.is_true(lunawire.run(5000))
    assert.equal("cancelled", task.status)
    peer:finish()
  end)
end)

describe("receive", function()
  before_each(before)
  after_each(turns.clear)

  it("gives what came before, then the close event, always again", function()
    local ws, peer = opened()
    peer:frame({ "text", payload = "a" }, { "binary", payload = "b" })
    peer:closing(4001, "bye")
    peer:shutdown()
    wire.await(function() return ws.readyState == 3 end)
    wire.settle()
    assert.same({ "a", "text" }, { ws:receive() })
    assert.same({ "b", "binary" }, { ws:receive(0) })
    for _ = 1, 2 do
      local data, why, event = ws:receive(5)
      assert.is_nil(data)
      assert.equal("closed", why)
      assert.same({ 4001, "bye" }, { event.code, event.reason })
    end
  end)

  it("in two tasks gives each message to exactly one, in order", function()
    local ws, peer = opened()
    local got = {}
    for name = 1, 2 do
      go(function()
        for data in ws:messages() do got[#got + 1] = name .. data end
      end)
    end
    for i = 1, 6 do peer:frame { "text", payload = ("abcdef"):sub(i, i) } end
    wire.await(function() return #got == 6 end)
    assert.same({ "1a", "2b", "1c", "2d", "1e", "2f" }, got)
    peer:close()
  end)

  it("that is cancelled or timed out loses no message", function()
    local ws, peer = opened()
    local task = go(function() return ws:receive() end)
    task:cancel()
    peer:frame { "text", payload = "a" }
    wire.settle()
    local late = go(function()
      local one = ws:receive()
      local nothing, why = ws:receive(1)
      return one, nothing, why, ws:receive()
    end)
    wire.await(function() return late.waiter and late.waiter.timer == nil end)
    peer:frame { "text", payload = "b" }
    wire.await(over(late))
    assert.same({ "a", nil, "timeout", "b", "text" }, { late:join() })
    peer:close()
  end)

  it("takes a message that a task cancelled in the same turn was given", function()
    local ws, peer = opened()
    local got = {}
    local second
    go(function()
      got[1] = ws:receive()
      second:cancel()
    end)
    second = go(function() got[2] = ws:receive() got[3] = select(2, pcall(ws.receive, ws)).name end)
    peer:frame({ "text", payload = "a" })
    wire.await(over(second))
    peer:frame({ "text", payload = "b" })
    wire.settle()
    assert.same({ "a" }, got)
    assert.equal("b", (ws:receive()))
    peer:close()
  end)

  it("pauses the socket when nobody receives, so that TCP pushes back, and loses nothing", function()
    local ws, peer = opened()
    local one, count = ("x"):rep(64 * 1024), 200
    for i = 1, count do peer:send(peer:build { "binary", payload = ("%05d"):format(i) .. one }) end
    wire.await(function() return ws.isPaused end, "a pause")
    wire.settle()
    assert.is_true(#peer.output > 0, "the system took all of it")
    local log = {}
    go(function()
      for data in ws:messages() do
        log[#log + 1] = tonumber(data:sub(1, 5))
        assert(#data == 5 + #one)
      end
    end)
    wire.await(function() return #log == count end)
    for i = 1, count do assert.equal(i, log[i]) end
    assert.is_false(ws.isPaused)
    peer:close()
  end)

  it("bounds what is queued by their number too", function()
    local ws, peer = opened()
    peer:send(peer:build({ "text", payload = "" }):rep(5000))
    wire.await(function() return ws.isPaused end, "a pause")
    local got = 0
    while ws:receive(50) do got = got + 1 end
    assert.equal(5000, got)
    peer:close()
  end)

  it("in the main chunk turns the loop; inside a handler it says where to wait", function()
    local ws, peer = opened()
    lunawire.setTimeout(function() peer:frame { "text", payload = "x" } end, 1)
    assert.same({ "x", "text" }, { ws:receive(5000) })
    assert.same({ nil, "timeout" }, { ws:receive(1) })
    local text
    lunawire.setTimeout(function() text = wire.mistake("InvalidStateError", ws.receive, ws) end, 0)
    lunawire.step(5000)
    wire.await(function() return text end)
    assert.equal("receive: called inside a handler; wait in a task (lunawire.go)", text)
    peer:close()
  end)

  it("in the main chunk lets a handler's error out, and loses no message by it", function()
    local ws, peer = opened()
    ws:addEventListener("message", function() error("mine", 0) end)
    peer:frame { "text", payload = "x" }
    local fine, err = pcall(ws.receive, ws, 5000)
    assert.same({ false, "mine" }, { fine, err })
    assert.equal("x", (ws:receive(5000)))
    peer:close()
  end)

  it("works in a coroutine of the host, which others may resume in vain", function()
    local ws, peer = opened()
    local got
    local co = coroutine.create(function() got = ws:receive() end)
    coroutine.resume(co)
    coroutine.resume(co, "in vain")
    assert.is_nil(got)
    peer:frame { "text", payload = "x" }
    wire.await(function() return got end)
    assert.equal("x", got)
    peer:close()
  end)

  it("works on a server's socket, whose server hears no message of it any more", function()
    local below, log, closes = {}, {}, 0
    local ours = turns.serve {}
    ours.onmessage = function(event) below[#below + 1] = event.data end
    ours.onsocketclose = function() closes = closes + 1 end
    ours.onconnection = function(event) listener(event.socket, log) end
    local peer = wire.client(ours.port)
    peer:frame({ "text", payload = "a" }, { "binary", payload = "b" })
    peer:closing(1000)
    peer:shutdown()
    wire.await(function() return #log == 3 and closes == 1 end)
    assert.same({ "text a", "binary b", "end" }, log)
    assert.same({}, below)
  end)

  it("works on a ReconnectingWebSocket, over one connection after the other", function()
    local ws = lunawire.ReconnectingWebSocket(server.url, nil, { minDelay = 1, heartbeat = false })
    local log = {}
    local task = listener(ws, log)
    for i = 1, 3 do
      local peer = server:open()
      peer:frame { "text", payload = tostring(i) }
      wire.await(function() return #log == i end)
      peer:close()
    end
    ws:close()
    wire.await(over(task))
    assert.same({ "text 1", "text 2", "text 3", "end" }, log)
  end)

  it("keeps the rule that unknown handlers raise, and is read-only", function()
    local ws, peer = opened()
    assert.matches("onreceive", wire.mistake("TypeError", function() ws.onreceive = print end))
    wire.mistake("TypeError", function() ws.receive = print end)
    wire.mistake("TypeError", ws.receive)
    wire.mistake("TypeError", ws.receive, {})
    wire.mistake("TypeError", ws.receive, ws, "soon")
    peer:close()
  end)
end)

describe("drain", function()
  before_each(before)
  after_each(turns.clear)

  it("returns at once, or when the peer has taken enough, or with the close", function()
    local ws, peer = opened(nil, { highWaterMark = 1000 })
    assert.is_true(ws:drain())
    peer.reading = false
    local state
    while ws:send(("x"):rep(999999)) or ws.bufferedAmount < 8e6 do wire.turn(0) end
    local task = go(function() state = ws:drain() end)
    wire.settle()
    assert.is_nil(state)
    assert.same({ nil, "timeout" }, { ws:drain(1) })
    peer.reading, peer.keeping = true, false
    wire.await(over(task))
    assert.is_true(state)
    assert.is_true(ws.bufferedAmount < 1000)
    peer.reading = false
    while ws:send(("x"):rep(999999)) or ws.bufferedAmount < 8e6 do wire.turn(0) end
    task = go(function() return ws:drain() end)
    ws:terminate()
    wire.await(over(task))
    assert.equal("closed", (select(2, task:join())))
    peer:close()
  end)
end)

describe("a timeout anywhere in the stream", function()
  before_each(before)
  after_each(turns.clear)

  -- In mid-frame, in mid-message, between: the stream is cut at random, and after each piece somebody has waited in vain.
  it("loses no byte, over a thousand random cuts", function()
    local random = helper.random and helper.random(5) or (function()
      local seed = 5
      return function(n)
        seed = (seed * 16807) % 2147483647
        return seed % n + 1
      end
    end)()
    local ws, peer = opened()
    local expected, stream = {}, {}
    for i = 1, 60 do
      local text = ("%d:"):format(i) .. ("z"):rep(random(300) - 1)
      local kind, middle = random(2) == 1 and "text" or "binary", random(#text)
      expected[i] = kind .. " " .. text
      if random(2) == 1 then
        stream[#stream + 1] = frames.build { kind, payload = text }
      else
        stream[#stream + 1] = frames.build { kind, fin = false, payload = text:sub(1, middle) }
        if random(3) == 1 then stream[#stream + 1] = frames.build { "ping", payload = "p" } end
        stream[#stream + 1] = frames.build { "continuation", payload = text:sub(middle + 1) }
      end
    end
    local bytes, got, timeouts = table.concat(stream), {}, 0
    local size = #bytes / 1050
    local cuts, at = 0, 1
    while at <= #bytes do
      local piece = random(math.floor(2 * size) - 1)
      peer:send(bytes:sub(at, at + piece - 1))
      at, cuts = at + piece, cuts + 1
      repeat -- zero: what the system has is taken, and nobody waits longer
        local data, kind = ws:receive(0)
        if data then got[#got + 1] = kind .. " " .. data else timeouts = timeouts + 1 end
      until not data
    end
    while #got < #expected do
      local data, kind = assert(ws:receive(5000))
      got[#got + 1] = kind .. " " .. data
    end
    assert.is_true(cuts >= 1000, cuts .. " cuts")
    assert.is_true(timeouts >= 1000)
    assert.same(expected, got)
    assert.equal(1, ws.readyState)
    peer:close()
  end)
end)
