-- Tasks in the loops of others: step with a budget, a scheduler of the host's own, cqueues; and where a state ends.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local turns = require "spec.lua_helper"

local go, sleep = lunawire.go, lunawire.sleep

-- The programs below talk to this one, which says what it is told.
local function echo()
  local server = turns.serve {}
  server.onmessage = function(event) event.target:send(event.data) end
  return server
end

local function program(code, url)
  return (code:gsub("URL", (url:gsub("%%", "%%%%"))))
end

describe("tasks under step with a budget", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("have their turns one after the other, and lose nothing", function()
    local server = echo()
    local got = {}
    for name = 1, 5 do
      go(function()
        local ws = lunawire.connect(server.url)
        for i = 1, 40 do
          ws:send(name .. " " .. i)
          if i % 10 == 0 then sleep(1) end
        end
        got[name] = {}
        for data in ws:messages() do
          table.insert(got[name], data)
          if #got[name] == 40 then ws:close() end
        end
        got[name].ended = true
      end)
    end
    turns.await(function()
      lunawire.step(0, 0) -- one event at least
      for name = 1, 5 do
        if not got[name] or not got[name].ended then return false end
      end
      return true
    end)
    for name = 1, 5 do
      for i = 1, 40 do assert.equal(name .. " " .. i, got[name][i]) end
    end
  end)
end)

-- A small scheduler as a program might have: its coroutines yield what they want, "pause" or "event", and it resumes
-- none for another reason.
local function newScheduler()
  local ready, scheduler = {}, { steps = 0 }
  function scheduler.spawn(fn, ...) table.insert(ready, { coroutine.create(fn), ... }) end
  function scheduler.event()
    local event = { waiting = nil, value = nil }
    function event.set(value)
      event.value = value
      if event.waiting then table.insert(ready, { event.waiting, value }) end
    end
    function event.wait()
      if event.value ~= nil then return event.value end
      return coroutine.yield("event", event)
    end
    return event
  end
  function scheduler.turn()
    local list = ready
    ready = {}
    for _, one in ipairs(list) do
      scheduler.steps = scheduler.steps + 1
      local co = table.remove(one, 1)
      local fine, what, event = coroutine.resume(co, table.unpack(one))
      assert(fine, what)
      if coroutine.status(co) == "suspended" then
        if what == "event" then
          event.waiting = co
        elseif what == "pause" then
          table.insert(ready, { co })
        else -- one of lunawire's: not ours to resume
          assert(what == nil, what)
        end
      end
    end
    return ready[1] ~= nil
  end
  return scheduler
end

describe("tasks in a host with a scheduler of its own", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("go on while its coroutines do, and tell them what they have", function()
    local server, scheduler, log = echo(), newScheduler(), {}
    for name = 1, 3 do
      scheduler.spawn(function()
        local done = scheduler.event()
        go(function()
          local ws = lunawire.connect(server.url)
          ws:send("hello " .. name)
          done.set((ws:receive()))
          ws:close()
        end)
        coroutine.yield "pause"
        local word = done.wait()
        log[#log + 1] = word
      end)
    end
    turns.await(function()
      scheduler.turn()
      return #log == 3
    end)
    table.sort(log)
    assert.same({ "hello 1", "hello 2", "hello 3" }, log)
  end)

  it("are not needed: its coroutines may wait themselves, if it leaves alone who yields nothing", function()
    local server, scheduler, log = echo(), newScheduler(), {}
    for name = 1, 3 do
      scheduler.spawn(function()
        local ws = lunawire.connect(server.url)
        for i = 1, 3 do
          ws:send(name .. i)
          local data = ws:receive()
          log[#log + 1] = data
        end
        local _, why = ws:receive(1)
        log[#log + 1] = why
        ws:close()
      end)
    end
    turns.await(function()
      scheduler.turn()
      return #log == 12
    end)
    table.sort(log)
    assert.same({ "11", "12", "13", "21", "22", "23", "31", "32", "33", "timeout", "timeout", "timeout" }, log)
    assert.equal(3, scheduler.steps)
  end)

  it("and whoever fails there, resumed by the loop, is told to onerror", function()
    local told
    lunawire.onerror = function(err, source, traceback) told = { err, source, traceback } end
    local co = coroutine.create(function()
      sleep(1)
      error "of the host"
    end)
    coroutine.resume(co)
    turns.await(function() return told end)
    assert.matches("of the host", told[1])
    assert.is_nil(told[2])
    assert.matches("task_host_spec", told[3])
    assert.equal("dead", coroutine.status(co))
  end)
end)

describe("tasks in cqueues' loop #foreign", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("wait beside its own coroutines", function()
    local server = echo()
    local peer = turns.beside(program([[
      local cqueues, condition, lunawire = require "cqueues", require "cqueues.condition", require "lunawire"
      local loop = cqueues.new()
      local over, got = false, {}
      local used = condition.new() -- who uses lunawire beside its turns says so: the time it may sleep is another then
      loop:wrap(function() -- lunawire's turns
        while not over do
          cqueues.poll(lunawire.loop, used)
          lunawire.step()
        end
      end)
      local ticks = 0
      loop:wrap(function()
        while not over do
          cqueues.sleep(0.001)
          ticks = ticks + 1
        end
      end)
      loop:wrap(function()
        local done = condition.new()
        for i = 1, 3 do
          lunawire.go(function()
            local ws = lunawire.connect "URL"
            ws:send("hello " .. i)
            lunawire.sleep(5)
            got[i] = ws:receive(5000)
            ws:close(1000)
            while ws.readyState ~= 3 do lunawire.sleep(1) end
            done:signal()
          end)
          used:signal()
        end
        while not (got[1] and got[2] and got[3]) do done:wait() end
        over = true
        used:signal()
      end)
      assert(loop:loop())
      print(table.concat(got, ", "), ticks > 2)
    ]], server.url))
    assert.equal("hello 1, hello 2, hello 3\ttrue", peer:line(lunawire.step))
  end)
end)

describe("a script that waits in its main chunk #foreign", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("cleans up after a signal that means stop, as docs/tasks.md says", function()
    local output, status = turns.meanwhile([[
      local lunawire = require "lunawire"
      local server = lunawire.WebSocketServer {}
      server.onsocketclose = function(event) print("server", event.code) server:close() end
      local ws = lunawire.connect(server.url)
      lunawire.onsignal("INT", lunawire.stop)
      lunawire.setTimeout(print, 0, "ready")
      local fine, problem = pcall(function()
        for data in ws:messages() do print(data) end
      end)
      print(fine, problem.name, problem.message)
      ws:close(1000)
      print(lunawire.run(5000))
    ]], "kill -INT $pid")
    assert.equal("ready\nfalse\tAbortError\treceive: ended by stop()\nserver\t1000\ntrue\n", output)
    assert.equal(0, status)
  end)
end)

describe("a state that ends while tasks wait", function()
  before_each(turns.open)
  after_each(turns.clear)

  local start = [[
    local lunawire = require "lunawire"
    local go = lunawire.go
    local open = 0
    for i = 1, 3 do
      go(function()
        local ws = lunawire.connect "URL"
        open = open + 1
        ws:receive()
        error "resumed"
      end)
    end
    local forever = go(lunawire.sleep, 1e6)
    go(function() forever:join() error "resumed" end)
    go(lunawire.connect, "ws://127.0.0.1:1/")
    local co = coroutine.wrap(function() lunawire.sleep(1e6) error "resumed" end)
    co()
    while open < 3 do pcall(lunawire.step, 10) end
  ]]
  local ends = {
    ["by itself"] = "print 'ended'",
    ["by os.exit in the main chunk"] = "print 'ended' os.exit(0, true)",
    ["by os.exit within a task"] = "go(function() lunawire.sleep(1) print 'ended' os.exit(0, true) end) lunawire.run()",
    ["by an error in the main chunk's wait"] =
      "lunawire.setTimeout(error, 1, 'mine') print(select(2, pcall(forever.join, forever)) == 'mine' and 'ended')",
  }
  for name, ending in pairs(ends) do
    it("does so " .. name .. ": nobody is resumed, and the peers are told 1001 #foreign", function()
      local server, closes = echo(), {}
      server.onsocketclose = function(event) closes[#closes + 1] = event.code end
      local peer = turns.beside(program(start .. ending, server.url))
      assert.equal("ended", peer:line(lunawire.step))
      turns.await(function() return #closes == 3 end)
      assert.same({ 1001, 1001, 1001 }, closes)
      helper.await(function() return peer:text() ~= "ended\n" end, nil, 0.1)
      assert.equal("ended\n", peer:text())
      assert.equal(0, peer:wait())
    end)
  end
end)
