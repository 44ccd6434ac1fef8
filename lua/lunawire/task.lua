--- Coroutine style: what waits is a coroutine, and the loop resumes it.
--
--   lunawire.go(function()
--     local ws = lunawire.connect "ws://127.0.0.1:8080/"
--     ws:send "hello"
--     for data, kind in ws:messages() do print(kind, data) end
--   end)
--   lunawire.run()
--
-- Whoever waits is a *waiter*; it is settled once, with results or with an error. Waiters that are settled stand in
-- one line and are resumed one after the other, never one within the other, so that a thousand tasks that wait for
-- each other need no deep stack. Outside of any coroutine the waiter is the main chunk, which turns the loop meanwhile.
--
-- @module lunawire.task
local core = require "lunawire.core"
local target = require "lunawire.target"
core.ours()

local huge = math.huge
local remove, unpack = table.remove, table.unpack or unpack -- luacheck: ignore 113
local mistake = target.mistake

-- What is queued for who does not receive; then the socket is paused, and resumed at half of it. One message more
-- may be there, of at most `maxPayload`.
local MOST_MESSAGES, MOST_BYTES = 1024, 1024 * 1024
-- Tasks that start tasks run within each other so deep; the C stack ends at 200.
local MOST_NESTED = 50

local CLOSED = 3

local task = {}

local Task = { __name = "lunawire.Task" }
Task.__index = Task

local tasks = setmetatable({}, { __mode = "k" }) -- coroutine -> task, until it ends

-- Errors ---------------------------------------------------------------------------------------------------------

--- An error of a coroutine that nobody awaits: as if a handler had raised it.
local function report(who, problem, traceback)
  if who and who.joined then return end
  local taken, left = core.report(problem, who, traceback)
  if not taken then core.raise(left) end
end

local function fail(co, who, problem)
  local traceback = debug.traceback(co, type(problem) == "string" and problem or nil)
  if coroutine.close then coroutine.close(co) end -- <close> variables of 5.4
  core.setTimeout(report, 0, who, problem, traceback) -- until then somebody may join
end

local function aborted(reason)
  local problem = core.Error("AbortError", type(reason) == "string" and reason or "the task was cancelled")
  problem.reason = reason
  return problem
end

-- The line -------------------------------------------------------------------------------------------------------

local line, first, last, draining = {}, 1, 0, false

local settle -- (waiter, results…)

local function finish(self, status, ...)
  tasks[self.co] = nil
  self.status, self.n = status, select("#", ...)
  self.results = { ... }
  self.joined = self.joiners[1] ~= nil
  while self.joiners[1] do settle(self.joiners[1]) end
end

--- A coroutine has yielded, returned or failed.
local function after(co, self, fine, ...)
  if coroutine.status(co) ~= "dead" then
    if self and self.status == "running" then self.status = "waiting" end
  elseif fine then
    if self then finish(self, "done", ...) end
  elseif self and self.abort ~= nil and rawequal((...), self.abort) then
    if coroutine.close then coroutine.close(co) end
    finish(self, "cancelled", ...)
  else
    fail(co, self, (...))
    if self then finish(self, "failed", ...) end
  end
end

local function resume(co, ...)
  local self = tasks[co]
  if coroutine.status(co) ~= "suspended" then return end
  if self then self.status = "running" end
  after(co, self, coroutine.resume(co, ...))
end

local function advance(entry)
  if entry.starts then return resume(entry.co, unpack(entry, 1, entry.n)) end
  resume(entry.co)
end

--- Resumes who stands in the line, unless somebody is at it already.
local function drainLine()
  if draining then return end
  local failed, problem = false, nil
  draining = true
  while first <= last do
    local entry = line[first]
    line[first], first = nil, first + 1
    local fine, err = pcall(advance, entry)
    if not fine and not failed then failed, problem = true, err end
  end
  draining = false
  if failed then error(problem, 0) end
end

local function enqueue(entry)
  last = last + 1
  line[last] = entry
end

-- Waiting ----------------------------------------------------------------------------------------------------------

--- What the waiter waits for has come, or will not. Only the first time counts.
function settle(waiter, ...)
  if waiter.done then return end
  waiter.done, waiter.n = true, select("#", ...)
  for i = 1, waiter.n do waiter[i] = (select(i, ...)) end
  if waiter.timer then core.clearTimeout(waiter.timer) end
  if waiter.leave then waiter.leave(waiter) end
  if not waiter.co then return end -- the main chunk looks by itself
  enqueue(waiter)
  drainLine()
end

--- The coroutine that runs; nil: none.
local function current()
  local co, main = coroutine.running()
  return not main and co or nil
end

local function outcome(waiter)
  if waiter.problem ~= nil then error(waiter.problem, 0) end
  return unpack(waiter, 1, waiter.n)
end

local function settled(waiter)
  while not waiter.done do coroutine.yield() end -- others may resume it: that is not what it waits for
  local self = tasks[waiter.co]
  if self then self.waiter = nil end
  return outcome(waiter)
end

--- The main chunk goes, by an error of somebody's handler: a message it was given is the next one's.
local function abandon(waiter, problem)
  if waiter.done then
    if waiter.giveBack then waiter.giveBack(waiter) end
  else
    settle(waiter)
  end
  error(problem, 0)
end

local function turn(waiter, what)
  while not waiter.done do
    if not core.pending() then
      abandon(waiter, core.Error("InvalidStateError", what .. ": nothing is left in the loop that could end the wait"))
    end
    local fine, problem = pcall(core.step, huge)
    if not fine then abandon(waiter, problem) end
  end
  return outcome(waiter)
end

--- Raises when this is no place to wait, or when the task has been cancelled.
local function checkPlace(what)
  local co = current()
  if not co then
    if core.inHandler() then
      mistake("InvalidStateError", what .. ": called inside a handler; wait in a task (lunawire.go)")
    end
    return nil
  end
  local self = tasks[co]
  local cancelled = self and self.cancelled
  if cancelled then
    self.cancelled, self.abort = nil, cancelled
    error(cancelled, 0)
  end
  return co
end

local function await(waiter, what)
  if not waiter.co then return turn(waiter, what) end
  local self = tasks[waiter.co]
  if self then self.waiter = waiter end
  return settled(waiter)
end

--- Milliseconds, or nil for ever.
local function checkTime(what, ms)
  if ms == nil or ms == huge then return nil end
  if type(ms) ~= "number" or ms ~= ms or ms == -huge then
    mistake("TypeError", ("%s: milliseconds expected, got %s"):format(what,
      type(ms) == "number" and "no such number" or target.typename(ms)))
  end
  return ms
end

local function expire(waiter) settle(waiter, nil, "timeout") end

local function limit(waiter, ms)
  if ms and not waiter.done then waiter.timer = core.setTimeout(expire, ms, waiter) end
end

--- Waits so many milliseconds.
function task.sleep(ms)
  ms = checkTime("sleep", ms)
  if not ms then mistake("TypeError", "sleep: milliseconds expected") end
  local waiter = { co = checkPlace "sleep" }
  limit(waiter, ms)
  await(waiter, "sleep")
end

-- Tasks ------------------------------------------------------------------------------------------------------------

local nested = 0

local function isCallable(value)
  if type(value) == "function" then return true end
  local metatable = getmetatable(value)
  return type(metatable) == "table" and metatable.__call ~= nil
end

--- Starts a task: fn(...) runs at once, up to where it first waits.
-- @return a task: `status` ("running", "waiting", "done", "failed", "cancelled"), `cancel([reason])`, `join()`
function task.go(fn, ...)
  if not isCallable(fn) then mistake("TypeError", "go: a function expected, got " .. target.typename(fn)) end
  local co = coroutine.create(function(...) return fn(...) end)
  local self = setmetatable({
    co = co,
    status = "waiting",
    joiners = {},
    joined = false,   -- somebody takes its error
    waiter = nil,     -- what it waits for
    cancelled = nil,  -- the error to raise where it waits next
    abort = nil,      -- the error that was raised for a cancellation
    results = nil, n = 0,
  }, Task)
  tasks[co] = self
  if nested >= MOST_NESTED then
    local entry = { co = co, starts = true, n = select("#", ...), ... }
    core.setTimeout(function() enqueue(entry) drainLine() end, 0)
    return self
  end
  nested = nested + 1
  local fine, problem = pcall(resume, co, ...)
  nested = nested - 1
  if not fine then error(problem, 0) end
  return self
end

local function checkTask(self, what)
  if getmetatable(self) ~= Task then
    mistake("TypeError", what .. ": a task expected, got " .. target.typename(self))
  end
end

--- Raises an AbortError in the task where it waits; if it waits nowhere now, where it waits next. Over: nothing.
function Task:cancel(reason)
  checkTask(self, "cancel")
  if not tasks[self.co] then return end
  local waiter = self.waiter
  if waiter and not waiter.done then
    self.abort = aborted(reason)
    waiter.problem = self.abort
    settle(waiter)
  elseif not (waiter and waiter.problem) then
    self.cancelled = self.cancelled or aborted(reason)
  end
end

--- Waits for the end of the task. Returns what it returned, or raises what it raised.
function Task:join()
  checkTask(self, "join")
  local co = checkPlace "join"
  if co and co == self.co then mistake("InvalidStateError", "join: a task cannot wait for itself") end
  if self.status == "failed" or self.status == "cancelled" then
    self.joined = true
    error(self.results[1], 0)
  end
  if self.status == "done" then return unpack(self.results, 1, self.n) end
  local waiter = { co = co }
  self.joiners[#self.joiners + 1] = waiter
  function waiter.leave()
    for i, joiner in ipairs(self.joiners) do
      if joiner == waiter then
        remove(self.joiners, i)
        break
      end
    end
  end
  await(waiter, "join")
  return self:join()
end

-- Messages -----------------------------------------------------------------------------------------------------------

local INBOX = {} -- the key, known only here, under which a socket keeps its inbox

local function take(list, value)
  for i = 1, #list do
    if list[i] == value then return remove(list, i) end
  end
end

local function put(inbox, place, data, kind)
  inbox.bytes, inbox.count = inbox.bytes + #data, inbox.count + 1
  inbox[place] = { data = data, kind = kind }
end

local function isFull(inbox) return inbox.count >= MOST_MESSAGES or inbox.bytes >= MOST_BYTES end

local function onmessage(inbox, event)
  local kind = event.binary and "binary" or "text"
  local waiter = inbox.receivers[1]
  while waiter and waiter.co and coroutine.status(waiter.co) == "dead" do -- its host has closed it
    settle(waiter)
    waiter = inbox.receivers[1]
  end
  if waiter then return settle(waiter, event.data, kind) end
  put(inbox, inbox.last + 1, event.data, kind)
  inbox.last = inbox.last + 1
  local ws = event.target
  if isFull(inbox) and not ws.isPaused then
    inbox.paused = true
    ws:pause()
  end
end

local function settleAll(list, ...)
  while list[1] do settle(list[1], ...) end
end

local function onclose(inbox, event)
  if event.target.readyState ~= CLOSED then return end -- it comes back
  inbox.closed, inbox.event = true, event
  settleAll(inbox.receivers, nil, "closed", event)
  settleAll(inbox.writers, nil, "closed", event)
end

--- The inbox of a socket. From the first use on its messages are queued there.
local function open(ws, what)
  local isObject = type(ws) == "userdata" or type(ws) == "table"
  if not isObject or not ws.addEventListener or not ws.pause then
    mistake("TypeError", what .. ": a WebSocket expected, got " .. target.typename(ws))
  end
  local inbox = ws[INBOX]
  if inbox then return inbox end
  inbox = {
    first = 1, last = 0, -- what is queued stands from first to last
    count = 0, bytes = 0,
    receivers = {}, writers = {}, -- who waits
    paused = false,      -- by us
    closed = ws.readyState == CLOSED,
    event = nil,         -- its close
  }
  ws[INBOX] = inbox
  if inbox.closed then return inbox end
  ws:addEventListener("message", function(event) onmessage(inbox, event) end)
  ws:addEventListener("close", function(event) onclose(inbox, event) end, true)
  ws:addEventListener("drain", function() settleAll(inbox.writers, true) end, true)
  return inbox
end

local function pop(inbox, ws)
  local message = inbox[inbox.first]
  inbox[inbox.first], inbox.first = nil, inbox.first + 1
  inbox.count, inbox.bytes = inbox.count - 1, inbox.bytes - #message.data
  if inbox.paused and inbox.count <= MOST_MESSAGES / 2 and inbox.bytes <= MOST_BYTES / 2 then
    inbox.paused = false
    ws:resume()
  end
  return message.data, message.kind
end

--- Waits for the next message.
-- @tparam[opt] number timeout milliseconds
-- @return data and "text" or "binary"; nil and "timeout"; or nil, "closed" and the close event, once all is taken
function task.receive(ws, timeout)
  local inbox = open(ws, "receive")
  timeout = checkTime("receive", timeout)
  local co = checkPlace "receive"
  if inbox.count > 0 then return pop(inbox, ws) end
  if inbox.closed then return nil, "closed", inbox.event end
  local waiter = { co = co }
  function waiter.leave() take(inbox.receivers, waiter) end
  function waiter.giveBack()
    if waiter[1] == nil then return end
    inbox.first = inbox.first - 1
    put(inbox, inbox.first, waiter[1], waiter[2])
  end
  inbox.receivers[#inbox.receivers + 1] = waiter
  limit(waiter, timeout)
  return await(waiter, "receive")
end

--- for data, kind in ws:messages() do: until the socket is closed and all is taken.
function task.messages(ws)
  open(ws, "messages")
  return function()
    local data, kind = task.receive(ws)
    if data == nil then return nil end
    return data, kind
  end
end

--- Waits until the socket is writable below its high-water mark; `owes` says that it is not.
-- @return true; nil and "timeout"; or nil, "closed" and the close event
function task.drain(ws, owes, timeout)
  local inbox = open(ws, "drain")
  timeout = checkTime("drain", timeout)
  local co = checkPlace "drain"
  if inbox.closed then return nil, "closed", inbox.event end
  if not owes then return true end
  local waiter = { co = co }
  function waiter.leave() take(inbox.writers, waiter) end
  inbox.writers[#inbox.writers + 1] = waiter
  limit(waiter, timeout)
  return await(waiter, "drain")
end

-- Connecting -----------------------------------------------------------------------------------------------------------

--- What is raised when an attempt has failed: the error event, as an error object.
local function failure(failed, closed)
  local problem = core.Error("NetworkError", failed and failed.message or "connect: closed with " .. closed.code)
  for _, field in ipairs { "code", "closeCode", "status", "headers", "body" } do
    problem[field] = failed and failed[field] or nil
  end
  return problem
end

--- Connects, and waits until that is done.
-- @return an open WebSocket. Raises a NetworkError with the `code`, `status` … of the error event if it cannot.
function task.connect(url, protocols, options)
  local co = checkPlace "connect"
  local ws = core.WebSocket(url, protocols, options)
  local waiter, failed = { co = co }, nil
  open(ws, "connect")
  local function onopen() settle(waiter, ws) end
  local function onerror(event) failed = event end
  local function onclosed(event) settle(waiter, nil, event) end
  function waiter.leave()
    ws:removeEventListener("open", onopen)
    ws:removeEventListener("error", onerror)
    ws:removeEventListener("close", onclosed)
    if ws.readyState == 0 then ws:terminate "cancelled" end
  end
  function waiter.giveBack() ws:terminate "abandoned" end
  ws:addEventListener("open", onopen)
  ws:addEventListener("error", onerror)
  ws:addEventListener("close", onclosed)
  local got, closed = await(waiter, "connect")
  if not got then error(failure(failed, closed), 0) end
  return got
end

return task
