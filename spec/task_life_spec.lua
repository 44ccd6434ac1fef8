-- What lives while a coroutine waits on it, and what is collected when none does. Peers are raw bytes.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local go = lunawire.go

local server

local function collect()
  collectgarbage()
  collectgarbage()
end

-- A client that was received from, and is held only by what `use(ws, peer)` leaves behind: its raw peer, and a weak
-- table with it.
local function forgotten(use, options)
  local weak = setmetatable({}, { __mode = "v" })
  local function make()
    local ws
    go(function() ws = lunawire.connect(server.url, nil, options) end)
    local peer = server:open()
    wire.await(function() return ws end)
    peer:frame { "text", payload = "first" }
    assert(ws:receive(5000) == "first")
    weak.ws = ws
    if use then use(ws, peer) end
    return peer
  end
  local peer = make()
  wire.settle()
  collect()
  return peer, weak
end

-- The peer gets a Close without a status, answers, and the line ends.
local function endsPolitely(peer)
  local frame = peer:next()
  assert.equal(8, frame.opcode)
  assert.equal("", frame.payload)
  peer:closing()
  peer:shutdown()
  assert.equal("eof", (peer:finish()))
  peer:close()
end

describe("a client socket that was received from, and that nobody refers to,", function()
  before_each(function()
    turns.open()
    server = wire.server()
  end)
  after_each(turns.clear)

  describe("is collected and ended with a Close without status", function()
    local ways = {
      ["when nobody waits"] = function() end,
      ["when nobody has taken what is queued"] = function(_, peer)
        peer:frame({ "text", payload = "a" }, { "text", payload = "b" })
        wire.settle()
      end,
      ["when its inbox is full and it rests"] = function(ws, peer)
        peer:send(peer:build({ "text", payload = "x" }):rep(2000))
        wire.await(function() return ws.isPaused end)
      end,
      ["when who waited did so in vain"] = function(ws) ws:receive(1) end,
      ["when who waited was cancelled"] = function(ws) go(ws.receive, ws):cancel() end,
      ["when who waited has what it waited for"] = function(ws, peer)
        local task = go(function() return ws:receive() end)
        peer:frame { "text", payload = "a" }
        task:join()
      end,
      ["when the host has closed the coroutine that waited"] = function(ws)
        local co = coroutine.create(ws.receive)
        coroutine.resume(co, ws)
        assert(coroutine.status(co) == "suspended")
        coroutine.close(co)
      end,
      ["when who waited for its drain has had it"] = function(ws, peer)
        peer.reading, peer.keeping = false, false
        while ws:send(("x"):rep(999999)) or ws.bufferedAmount < 8e6 do wire.turn(0) end
        peer.reading = true
        local task = go(ws.drain, ws)
        wire.await(function() return task.status == "done" end)
        wire.await(function() return ws.bufferedAmount == 0 end)
        wire.settle()
        peer.keeping, peer.bytes = true, ""
      end,
      ["when its last handler has gone"] = function(ws)
        ws.onmessage, ws.onclose = print, print
        ws.onmessage, ws.onclose = nil, nil
      end,
      ["when a listener has heard the one event it was there for"] = function(ws, peer)
        local heard
        ws:addEventListener("message", function() heard = true end, { once = true })
        peer:frame { "text", payload = "a" }
        wire.await(function() return heard end)
      end,
    }
    for name, use in pairs(ways) do
      it(name, function()
        local peer, weak = forgotten(use)
        assert.is_nil(weak.ws)
        endsPolitely(peer)
      end)
    end
  end)

  it("lives while a coroutine waits on it, and hears what comes", function()
    local got = {}
    local peer, weak = forgotten(function(ws)
      go(function()
        got[1] = ws:receive()
        collect()
        got[2] = ws:receive()
      end)
    end)
    for i = 1, 2 do
      assert.is_not_nil(weak.ws)
      assert.equal(1, weak.ws.readyState)
      peer:frame { "text", payload = "m" .. i }
      wire.await(function() return got[i] end)
      collect()
    end
    assert.same({ "m1", "m2" }, got)
    assert.is_nil(weak.ws)
    endsPolitely(peer)
  end)

  it("lives while one of two waits", function()
    local tasks = setmetatable({}, { __mode = "v" })
    local peer, weak = forgotten(function(ws)
      tasks[1], tasks[2] = go(ws.receive, ws), go(ws.receive, ws)
    end)
    tasks[1]:cancel()
    wire.settle()
    collect()
    assert.is_not_nil(weak.ws)
    tasks[2]:cancel()
    collect()
    assert.is_nil(weak.ws)
    endsPolitely(peer)
  end)

  it("lives while a handler listens, as if nobody had received", function()
    local heard = {}
    local peer, weak = forgotten(function(ws)
      ws.onmessage = function(event) heard[#heard + 1] = event.data end
    end)
    assert.is_not_nil(weak.ws)
    peer:frame { "text", payload = "a" }
    wire.await(function() return heard[1] end)
    weak.ws.onmessage = nil
    collect()
    assert.is_nil(weak.ws)
    endsPolitely(peer)
  end)

  it("sends what is queued before it ends", function()
    local peer = forgotten(function(ws) ws:send "last words" end)
    assert.equal("last words", peer:next().payload)
    endsPolitely(peer)
  end)

  it("is collected while it connects, when the task that waited was cancelled", function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local task = go(lunawire.connect, server.url)
      weak[task] = true
      task:cancel()
    end
    assert.is_true(lunawire.run(5000))
    collect()
    assert.is_nil(next(weak))
  end)
end)

describe("what is held by a reference but by nothing else", function()
  before_each(function()
    turns.open()
    server = wire.server()
  end)
  after_each(turns.clear)

  it("still queues what comes, through collections, and tells its close", function()
    local ws
    go(function() ws = lunawire.connect(server.url) end)
    local peer = server:open()
    wire.await(function() return ws end)
    for i = 1, 50 do
      peer:frame { "text", payload = tostring(i) }
      wire.settle(2)
      collect()
    end
    peer:closing(4000)
    peer:shutdown()
    wire.await(function() return ws.readyState == 3 end)
    collect()
    for i = 1, 50 do assert.equal(tostring(i), (ws:receive(0))) end
    assert.equal(4000, (select(3, ws:receive())).code)
    peer:close()
  end)
end)

describe("a task that waits for what cannot come", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("is collected with what it holds", function()
    local weak = setmetatable({}, { __mode = "v" })
    local function make()
      local one, two
      one = go(function()
        lunawire.sleep(0)
        two:join()
      end)
      two = go(function() one:join() end)
      lunawire.run(5000)
      weak[1], weak[2] = one, two
    end
    make()
    collect()
    assert.is_nil(weak[1])
    assert.is_nil(weak[2])
  end)
end)

-- Bytes of this state, and of the process, after full collections.
local function memory()
  collect()
  lunawire.run(0)
  collect()
  local pages = tonumber(helper.read("/proc/self/statm"):match "^%d+ (%d+)")
  return collectgarbage "count" * 1024, pages * 4096
end

describe("of many", function()
  before_each(turns.open)
  after_each(turns.clear)

  -- Connects, receives from and drops `count` sockets, some at a time; both ends are ours.
  local function pass(ours, count)
    local took = 0
    for _ = 1, count / 50 do
      local tasks = {}
      for i = 1, 50 do
        tasks[i] = go(function()
          local ws = lunawire.connect(ours.url)
          assert(ws:receive(5000) == "welcome")
          took = took + 1
        end)
      end
      for i = 1, 50 do tasks[i]:join() end
      tasks = nil -- luacheck: ignore
      collect()
    end
    turns.await(function()
      collect()
      return #ours == 0
    end)
    return took
  end

  it("sockets that are received from and dropped, nothing is left #slow", function()
    local count = tonumber(os.getenv "SOCKETS") or 3000
    local ours = turns.serve {}
    ours.onconnection = function(event) event.socket:send "welcome" end
    pass(ours, 500)
    local state, process = memory()
    local before = os.clock()
    assert.equal(count, pass(ours, count))
    local later, laterProcess = memory()
    if os.getenv "SOCKETS" then
      io.stderr:write(("%d sockets in %.1f s: state %d -> %d bytes, process %d -> %d\n"):format(count,
        os.clock() - before, state, later, process, laterProcess))
    end
    assert.is_true(later - state < 16 * 1024, (later - state) .. " bytes more")
    if os.getenv "LD_PRELOAD" then return end -- a sanitizer keeps for a while what was freed
    assert.is_true(laterProcess - process < 2 * 1024 * 1024, (laterProcess - process) .. " bytes of the process more")
  end)

  it("tasks that sleep, each takes less than 4 KiB, and all end #slow", function()
    local ended, left = 0, nil
    for round = 1, 3 do -- in the first, tables grow to what they need
      local before = memory()
      for i = 1, 10000 do
        go(function()
          lunawire.sleep(i % 7)
          lunawire.sleep(i % 5)
          ended = ended + 1
        end)
      end
      local each = (memory() - before) / 10000
      assert.is_true(each < 4 * 1024, each .. " bytes each")
      assert.is_true(lunawire.run(20000))
      assert.equal(10000 * round, ended)
      left = memory() - before
    end
    assert.is_true(left < 64 * 1024, left .. " bytes left")
  end)

  it("tasks that receive from one socket, each has its message, in order", function()
    server = wire.server()
    local ws
    go(function() ws = lunawire.connect(server.url) end)
    local peer = server:open()
    wire.await(function() return ws end)
    local before, got = memory(), {}
    for i = 1, 1000 do
      go(function() got[i] = ws:receive() end)
    end
    local each = (memory() - before) / 1000
    assert.is_true(each < 4 * 1024, each .. " bytes each")
    for i = 1, 1000 do peer:frame { "text", payload = tostring(i) } end
    wire.await(function() return got[1000] end)
    for i = 1, 1000 do assert.equal(tostring(i), got[i]) end
    peer:close()
  end)
end)
