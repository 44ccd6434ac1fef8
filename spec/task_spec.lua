-- Coroutine style: tasks, what they wait for, and the main chunk that waits by turning the loop. Peers are raw bytes.

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

  it("that is cancelled once has one AbortError, and each later cancellation is another", function()
    local log, task = {}, nil
    local function try()
      local fine, problem = pcall(sleep, 0)
      log[#log + 1] = fine and "slept" or problem.reason
    end
    task = go(function()
      sleep(0)
      task:cancel "while it ran"
      task:cancel "once more"
      try()
      try()
      task:cancel "again"
      try()
      log[#log + 1] = select(2, pcall(sleep, 1e6)).reason
      task:cancel "after that"
      try()
      try()
    end)
    local other = go(function()
      pcall(sleep, 1e6)
      task:cancel "twice" -- it stands in the line behind us, and hears of the first
      task:cancel "not this"
    end)
    wire.await(function() return #log == 3 end)
    other:cancel()
    assert.is_true(lunawire.run(5000))
    assert.same({ "while it ran", "slept", "again", "twice", "after that", "slept" }, log)
  end)

  it("is there as long as its coroutine, though nobody else refers to it", function()
    local thread, source
    lunawire.onerror = function(_, who) source = who end
    go(function()
      thread = coroutine.running()
      coroutine.yield()
      error "told as the task's"
    end)
    collectgarbage()
    collectgarbage()
    coroutine.resume(thread)
    assert.is_true(lunawire.run(5000))
    assert.equal("failed", source.status)
  end)

  it("gets an AbortError for each cancellation, and may raise the first in the end", function()
    lunawire.onerror = function(err) error("told " .. tostring(err)) end
    local names = {}
    local task = go(function()
      local _, first = pcall(sleep, 1e6)
      local _, second = pcall(sleep, 1e6)
      names[1], names[2] = first.reason, second.reason
      error(first, 0)
    end)
    task:cancel "one"
    task:cancel "two"
    assert.same({ "one", "two" }, names)
    assert.is_true(lunawire.run(5000))
    assert.equal("cancelled", task.status)
  end)

  it("that raises the AbortError of another has failed", function()
    local told = {}
    lunawire.onerror = function(err, source) told[#told + 1] = { err, source } end
    local one = go(sleep, 1e6)
    local other = go(function() one:join() end)
    one:cancel "mine"
    assert.is_true(lunawire.run(5000))
    assert.equal("cancelled", one.status)
    assert.equal("failed", other.status)
    assert.equal(1, #told)
    assert.equal("mine", told[1][1].reason)
    assert.equal(one, told[1][1].task)
    assert.equal(other, told[1][2])
  end)

  it("that is cancelled before it began gets its AbortError where it first waits", function()
    local inner, reached
    local function nest(n)
      if n > 0 then return go(nest, n - 1) end
      inner = go(function()
        reached = true
        sleep(1e6)
      end)
    end
    for n = 1, 100 do -- so deep that it begins in the next turn
      if inner then inner:cancel() end
      reached = nil
      nest(n)
      if not reached then break end
    end
    assert.is_nil(reached)
    inner:cancel()
    assert.equal("waiting", inner.status)
    assert.is_true(lunawire.run(5000))
    assert.is_true(reached)
    assert.equal("cancelled", inner.status)
  end)

  it("closes its variables when it fails or is cancelled, and may wait in that", function()
    local told, log = {}, {}
    lunawire.onerror = function(...) told[#told + 1] = { ... } end
    local function guard(name)
      return setmetatable({}, { __close = function(_, err)
        log[#log + 1] = name
        sleep(1)
        log[#log + 1] = name .. " later " .. tostring(type(err) == "table" and err.name or err)
      end })
    end
    local function culprit() error("boom", 0) end
    local failing = go(function()
      local _ <close> = guard "f"
      sleep(1)
      culprit()
    end)
    local cancelled = go(function()
      local _ <close> = guard "c"
      sleep(1e6)
    end)
    cancelled:cancel()
    assert.same({ "c" }, log)
    assert.is_true(lunawire.run(5000))
    table.sort(log)
    assert.same({ "c", "c later AbortError", "f", "f later boom" }, log)
    assert.same({ "failed", "cancelled" }, { failing.status, cancelled.status })
    assert.equal(1, #told)
    assert.equal("boom", told[1][1])
    assert.matches("culprit", told[1][3])
  end)

  it("whose variables fail as they are closed fails with that, as in the language", function()
    local told = {}
    lunawire.onerror = function(err) told[#told + 1] = err end
    local function body(ms, problem)
      local _ <close> = setmetatable({}, { __close = function() error("worse", 0) end })
      sleep(ms)
      error(problem, 0)
    end
    local failing, cancelled = go(body, 1, "bad"), go(body, 1e6)
    cancelled:cancel()
    assert.is_true(lunawire.run(5000))
    assert.same({ "failed", "failed" }, { failing.status, cancelled.status })
    assert.same({ "worse", "worse" }, told)
  end)

  it("whose coroutine is closed by somebody has been cancelled, and leaves nothing behind", function()
    local thread
    local task = go(function()
      thread = coroutine.running()
      sleep(1e6)
    end)
    local problem
    go(function() problem = select(2, pcall(task.join, task)) end)
    assert.is_true(coroutine.close(thread))
    assert.equal("cancelled", task.status)
    assert.equal("AbortError", problem.name)
    assert.is_true(lunawire.run(0)) -- no timer either
  end)

  it("may raise anything, nil included, and overflow its stack", function()
    local told = {}
    lunawire.onerror = function(err, source) told[#told + 1] = { err, source, n = 2 } end
    local function overflow() return 1 + overflow() end
    local values, tasks = { false, 42, {}, print }, {}
    for i, value in ipairs(values) do
      tasks[i] = go(function()
        sleep(0)
        error(value, 0)
      end)
    end
    local empty = go(function() error(nil, 0) end) -- luacheck: ignore
    local deep = go(overflow)
    assert.is_true(lunawire.run(5000))
    assert.equal(6, #told)
    for _, one in ipairs(told) do
      if one[2] == empty then
        assert.is_nil(one[1])
      elseif one[2] == deep then
        assert.matches("overflow", one[1])
      else
        for i = 1, 4 do
          if tasks[i] == one[2] then assert.equal(values[i], one[1]) end
        end
      end
    end
  end)

  it("may be joined by five thousand at once, who go on in the order in which they came", function()
    local order = {}
    local task = go(function() sleep(1) return "x" end)
    for i = 1, 5000 do
      go(function() order[i] = task:join() .. #order end)
    end
    lunawire.run(5000)
    assert.equal(5000, #order)
    for i = 1, 5000 do assert.equal("x" .. i - 1, order[i]) end
  end)

  it("that waits for one that waits for it keeps no run from ending", function()
    local one, two
    lunawire.onerror = function() end
    one = go(function()
      sleep(0)
      two:join()
    end)
    two = go(function() one:join() end)
    assert.is_true(lunawire.run(5000))
    assert.same({ "waiting", "waiting" }, { one.status, two.status })
    assert.matches("join: nothing is left in the loop", wire.mistake("InvalidStateError", one.join, one))
    one:cancel()
    assert.is_true(lunawire.run(5000))
    assert.same({ "cancelled", "failed" }, { one.status, two.status })
  end)

  it("goes on while another, outside of any handler, turns the loop by itself", function()
    local log = {}
    local function sleeper() return go(function() sleep(1) log[#log + 1] = "slept" end) end
    local task = go(function()
      pcall(sleep, 1e6)
      local one = sleeper()
      wire.await(over(one))
      log[#log + 1] = "cleaned up"
    end)
    task:cancel() -- resumes it, with nobody but us above
    assert.same({ "slept", "cleaned up" }, log)
    go(function()
      wire.await(over(sleeper()))
      log[#log + 1] = "stepped"
    end)
    assert.equal("stepped", log[4])
  end)

  it("does not vanish where the C stack ends: it begins and is resumed in the next turn, or has failed", function()
    lunawire.onerror = function(err) assert.matches("stack overflow", tostring(err)) end
    local function deep(n, fn)
      if n == 0 then return fn() end
      pcall(deep, n - 1, fn)
    end
    local tasks = {}
    for n = 100, 199 do
      deep(n, function() tasks[#tasks + 1] = go(function() end) end)
      local sleeper = go(function() pcall(sleep, 1e6) end)
      deep(n, function() sleeper:cancel() end)
      lunawire.step()
      lunawire.step()
      sleeper:cancel() -- there it may have failed
      assert.is_true(over(sleeper)())
    end
    assert.is_true(lunawire.run(5000))
    for _, task in ipairs(tasks) do assert.is_true(over(task)()) end
    assert.equal("done", tasks[1].status)
  end)

  it("is not left behind by an error that strikes between two of them, as Ctrl-C does", function()
    local main, log = coroutine.running(), {}
    local first = go(function()
      pcall(sleep, 1e6)
      debug.sethook(main, function() debug.sethook(main) error("interrupted!", 0) end, "crl", 1)
    end)
    local both = go(function() return first:join() end)
    go(function() both:join() log[1] = "both" end)
    local fine, problem = pcall(first.cancel, first)
    debug.sethook(main)
    assert.same({ false, "interrupted!" }, { fine, problem })
    assert.same({ "both" }, log)
    go(function() sleep(1) log[2] = "later" end)
    lunawire.run(5000)
    assert.same({ "both", "later" }, log)
  end)

  it("that begins late does so once, though Ctrl-C strikes as it has begun", function()
    local main, resumed = coroutine.running(), 0
    local function nest(n)
      if n > 0 then return go(nest, n - 1) end
      if not coroutine.running() then return end
      go(function()
        resumed = resumed + 1
        debug.sethook(main, function() debug.sethook(main) error("interrupted!", 0) end, "crl", 1)
        coroutine.yield() -- for somebody else
        resumed = resumed + 1
      end)
    end
    local n = 0
    while true do -- as deep as it takes to begin late
      local before_it = resumed
      pcall(nest, n)
      debug.sethook(main)
      if resumed == before_it then break end
      n = n + 1
    end
    local before_it = resumed
    for _ = 1, 3 do pcall(lunawire.run, 100) end
    debug.sethook(main)
    assert.equal(before_it + 1, resumed)
  end)

  it("is neither lost nor resumed twice, at whichever step of ours Ctrl-C strikes", function()
    local steps, fine = 0, false
    while not fine do
      steps = steps + 1
      local resumed, thread = 0, nil
      local a = go(function() pcall(sleep, 1e6) end)
      local b = go(function() a:join() end)
      local c = go(function()
        b:join()
        resumed, thread = resumed + 1, coroutine.running()
        coroutine.yield() -- for somebody else
        resumed = resumed + 1
      end)
      fine = pcall(function()
        debug.sethook(function() debug.sethook() error("interrupted!", 0) end, "", steps)
        a:cancel()
        debug.sethook()
      end)
      a:cancel()
      sleep(0)
      assert.same({ steps, "done", "done", 1 }, { steps, a.status, b.status, resumed })
      coroutine.resume(thread)
      assert.same({ "done", 2 }, { c.status, resumed })
    end
    assert.is_true(steps > 100, steps)
  end)

  it("may be started and cancelled where the handler of a C stack's overflow runs", function()
    local sleeper, begun = go(function() pcall(sleep, 1e6) end), nil
    local function overflow() return (("x"):gsub("x", overflow)) end
    xpcall(overflow, function()
      begun = begun or go(sleep, 0)
      pcall(sleeper.cancel, sleeper)
    end)
    assert.is_true(lunawire.run(5000))
    assert.same({ "done", "done" }, { begun.status, sleeper.status })
  end)

  it("in a long chain that is cancelled one by the other, within such turns too, needs no deep stack", function()
    local chain, ended = {}, 0
    for i = 1, 300 do
      chain[i] = go(function()
        pcall(sleep, 1e6)
        wire.await(over(go(sleep, 0))) -- resumed within this turn
        if chain[i + 1] then chain[i + 1]:cancel() end
        ended = ended + 1
      end)
    end
    local task = go(function()
      pcall(sleep, 1e6)
      wire.await(over(go(sleep, 1)))
      chain[1]:cancel()
    end)
    task:cancel()
    assert.equal(300, ended)
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

  it("in the main chunk, thrown out as it is open, lets go of it", function()
    local other = lunawire.WebSocket(server.url)
    other.onopen = function() error("mine", 0) end
    local second = server:asked()
    local first
    local timer
    timer = lunawire.setInterval(function()
      first = first or server.listener:accept()
      if not first then return end
      local bytes = first:receive()
      if not bytes or not bytes:find "\r\n\r\n" then return end
      timer:close()
      first:send(wire.switch(bytes:match "[Kk]ey: ([^\r]+)"))
      second:send(wire.switch(second.request.headers["sec-websocket-key"]))
    end, 1)
    collectgarbage "stop"
    assert.same({ false, "mine" }, { pcall(connect, server.url) })
    local ended
    wire.await(function()
      ended = not first:receive()
      return ended
    end)
    collectgarbage "restart"
    first:close()
    other:close()
    second:close()
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
    local why
    local late = go(function()
      local one = ws:receive()
      why = select(2, ws:receive(1))
      return one, ws:receive()
    end)
    wire.await(function() return why end)
    peer:frame { "text", payload = "b" }
    wire.await(over(late))
    assert.same({ "a", "b", "text" }, { late:join() })
    assert.equal("timeout", why)
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

  it("gives what binaryType said when the message came, and counts its bytes, whatever it is", function()
    for _, kind in ipairs { "arraybuffer", "blob" } do
      for _, class in ipairs { "WebSocket", "ReconnectingWebSocket" } do
        local ws, peer
        if class == "WebSocket" then
          ws, peer = opened()
        else
          ws = lunawire.ReconnectingWebSocket(server.url, nil, { heartbeat = false })
          local task = go(function() return ws:receive() end)
          peer = server:open()
          peer:frame { "text", payload = "first" }
          wire.await(over(task))
        end
        ws.binaryType = kind
        peer:frame({ "binary", payload = "a\0b" }, { "text", payload = "text" })
        wire.settle()
        ws.binaryType = "string"
        local data, what = ws:receive()
        assert.equal("binary", what)
        assert.equal("userdata", type(data))
        assert.same({ 3, "a\0b" }, { #data, data:string() })
        assert.same({ "text", "text" }, { ws:receive() })
        ws.binaryType = kind
        local one, count, got = ("x"):rep(64 * 1024), 200, 0
        for _ = 1, count do peer:send(peer:build { "binary", payload = one }) end
        wire.await(function() return ws.isPaused end, "a pause")
        wire.settle()
        assert.is_true(#peer.output > 0, "the system took all of it")
        go(function()
          for message in ws:messages() do
            if message:string() == one then got = got + 1 end
          end
        end)
        wire.await(function() return got == count end)
        assert.is_false(ws.isPaused)
        ws:close()
        peer:close()
      end
    end
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

  it("in the main chunk, thrown out after its message, leaves it before those that have come behind it", function()
    local ws, peer = opened()
    ws:addEventListener("message", function(event) if event.data == "2" then error("mine", 0) end end)
    peer:frame({ "text", payload = "1" }, { "text", payload = "2" }, { "text", payload = "3" })
    assert.same({ false, "mine" }, { pcall(ws.receive, ws, 5000) })
    for i = 1, 3 do assert.equal(tostring(i), (ws:receive(5000))) end
    peer:close()
  end)

  it("in the main chunk, thrown out by an error, leaves its message to the task that waits behind it", function()
    local ws, peer = opened()
    ws:addEventListener("message", function(event) if event.data == "1" then error("mine", 0) end end)
    local got, behind = {}, nil
    lunawire.setTimeout(function()
      behind = go(function()
        for data in ws:messages() do got[#got + 1] = data end
      end)
      peer:frame { "text", payload = "1" }
    end, 1)
    local fine, err = pcall(ws.receive, ws, 5000)
    assert.same({ false, "mine" }, { fine, err })
    wire.settle()
    peer:frame { "text", payload = "2" }
    wire.await(function() return #got == 2 end)
    assert.same({ "1", "2" }, got)
    behind:cancel()
    peer:close()
  end)

  it("whose coroutine the host closes leaves the message to the next, and no timer behind", function()
    local ws, peer = opened()
    local co = coroutine.create(function() ws:receive(1e6) end)
    coroutine.resume(co)
    local got
    local task = go(function() got = ws:receive() end)
    coroutine.close(co)
    peer:frame { "text", payload = "x" }
    wire.await(over(task))
    assert.equal("x", got)
    peer:close()
    assert.is_true(lunawire.run(5000))
  end)

  it("says so where a coroutine cannot wait, and loses no message by it", function()
    local ws, peer = opened()
    local text
    go(function()
      ("x"):gsub("x", function() text = wire.mistake("InvalidStateError", ws.receive, ws) end)
    end)
    assert.equal("receive: called where a coroutine cannot wait, within a call from C", text)
    peer:frame { "text", payload = "x" }
    assert.same({ "x", "text" }, { ws:receive(5000) })
    peer:close()
  end)

  it("leaves alone what the program has paused, and what it resumes", function()
    local ws, peer = opened()
    peer:send(peer:build({ "text", payload = "y" }):rep(2000))
    wire.await(function() return ws.isPaused end, "a pause")
    ws:resume() -- the program wants it to read, but the inbox is full
    wire.settle()
    assert.is_true(ws.isPaused)
    ws:pause()
    local got = 0
    while ws:receive(20) do got = got + 1 end
    assert.is_true(got >= 1024 and got < 2000, got)
    assert.is_true(ws.isPaused)
    wire.settle()
    assert.is_nil((ws:receive(1)))
    ws:resume()
    while ws:receive(50) do got = got + 1 end
    assert.equal(2000, got)
    assert.is_false(ws.isPaused)
    peer:close()
  end)

  it("keeps a program's pause and its own apart on a ReconnectingWebSocket, over a loss, too", function()
    local ws = lunawire.ReconnectingWebSocket(server.url, nil, { minDelay = 1, heartbeat = false })
    local task = go(function() return ws:receive() end)
    local peer = server:open()
    peer:send(peer:build({ "text", payload = "y" }):rep(5000))
    wire.await(over(task))
    wire.await(function() return ws.isPaused end, "a pause")
    ws:resume()
    wire.settle()
    assert.is_true(ws.isPaused)
    ws:pause()
    local got = 1
    while ws:receive(20) do got = got + 1 end
    assert.is_true(got >= 1024 and got < 5000, got)
    assert.is_true(ws.isPaused)
    ws:resume()
    wire.await(function() return ws.isPaused end, "a pause by what still came") -- nobody receives
    ws:terminate() -- and the next connection begins as this one ended
    peer:close()
    peer = server:open()
    peer:frame { "text", payload = "last" }
    wire.settle()
    assert.is_true(ws.isPaused)
    local data, last
    repeat
      data = ws:receive(50)
      last = data or last
    until not data
    assert.equal("last", last)
    assert.is_false(ws.isPaused)
    ws:close()
    peer:close()
  end)

  it("works again on a ReconnectingWebSocket that had given up and was told to try again", function()
    local ws = lunawire.ReconnectingWebSocket(server.url, nil, { minDelay = 1, maxRetries = 0, heartbeat = false })
    local task = go(function() return select(2, ws:receive()) end)
    server:open():close()
    wire.await(over(task))
    assert.equal("closed", task:join())
    assert.equal("closed", (select(2, ws:receive())))
    ws:reconnect()
    local again = go(function() return ws:receive() end)
    local peer = server:open()
    peer:frame { "text", payload = "again" }
    wire.await(over(again))
    assert.equal("again", (again:join()))
    ws:close()
    peer:close()
  end)

  it("in a coroutine of the host that fails tells the last error, as the language does", function()
    local told
    lunawire.onerror = function(err) told = err end
    coroutine.resume(coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() error("worse", 0) end })
      sleep(0)
      error("bad", 0)
    end))
    wire.await(function() return told end)
    assert.equal("worse", told)
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
    local nothing, why, event = ws:drain()
    assert.same({ nil, "closed", 1006 }, { nothing, why, event.code })
    peer:close()
  end)

  it("in a loop sends no more than the peer takes, and lets each waiter go on once a drain", function()
    local ws, peer = opened(nil, { highWaterMark = 100000, maxBufferedAmount = 2000000 })
    peer.keeping = false
    local most, rounds, failed = 0, {}, nil
    ws.onerror = function(event) failed = event.code end
    for name = 1, 2 do
      rounds[name] = 0
      go(function()
        for _ = 1, 200 do
          local go_on = ws:send(("x"):rep(90000))
          most = math.max(most, ws.bytesWritten - ws.bytesSent)
          if not go_on then assert(ws:drain()) end
          rounds[name] = rounds[name] + 1
        end
        ws:close()
      end)
    end
    wire.await(function() return rounds[1] == 200 and rounds[2] == 200 or failed end)
    assert.is_nil(failed)
    assert.is_true(most < 100000 + 3 * 90000, most .. " bytes were queued")
    peer:close()
  end)
end)

describe("stop", function()
  before_each(before)
  after_each(turns.clear)

  local function aborted(what, ...)
    local text = wire.mistake("AbortError", ...)
    assert.equal(what .. ": ended by stop()", text)
  end

  it("ends what the main chunk waits for, whatever it is, and takes no message with it", function()
    local ws, peer = opened(nil, { highWaterMark = 1 })
    local function soon() lunawire.setTimeout(lunawire.stop, 1) end
    local forever = go(sleep, 1e6)
    soon()
    aborted("sleep", sleep, 1e6)
    soon()
    aborted("join", forever.join, forever)
    soon()
    aborted("receive", ws.receive, ws)
    peer.reading = false
    while ws.bufferedAmount < 8e6 do
      ws:send(("x"):rep(999999))
      wire.turn(0)
    end
    soon()
    aborted("drain", ws.drain, ws)
    soon()
    aborted("connect", connect, server.url)
    local stopper = function() lunawire.stop() end
    ws:addEventListener("message", stopper, { once = true })
    peer:frame { "text", payload = "kept" }
    aborted("receive", ws.receive, ws)
    assert.same({ "kept", "text" }, { ws:receive(0) })
    forever:cancel()
    ws:terminate()
    peer:close()
  end)

  it("of before is no concern of a wait, nor is the wait's of a run", function()
    lunawire.stop()
    sleep(1)
    lunawire.setTimeout(lunawire.stop, 0)
    aborted("sleep", sleep, 1e6)
    lunawire.setTimeout(print, 5)
    assert.is_true(lunawire.run(5000))
  end)

  it("leaves tasks alone: they wait on in the next run", function()
    local task = go(function()
      sleep(10)
      return "done"
    end)
    lunawire.setTimeout(lunawire.stop, 0)
    assert.is_false(lunawire.run(5000))
    assert.equal("waiting", task.status)
    assert.equal("done", task:join())
  end)
end)
