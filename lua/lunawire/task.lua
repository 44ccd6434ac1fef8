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
local unpack = table.unpack or unpack -- luacheck: ignore 113
local isYieldable = coroutine.isyieldable -- 5.3, LuaJIT
local closeCoroutine = coroutine.close    -- 5.4
local mistake = target.mistake

-- What is queued for who does not receive; then the socket is paused, and resumed at half of it. One message more
-- may be there, of at most `maxPayload`.
local MOST_MESSAGES, MOST_BYTES = 1024, 1024 * 1024
-- Tasks that start tasks run within each other so deep; the C stack ends at 200, and each takes up to three of it.
local MOST_NESTED = 40

local CLOSED = 3

local task = {}

local Task = { __name = "lunawire.Task" }
Task.__index = Task

-- Coroutine -> task, until it ends; and -> the waiter it last was. Weak both ways, since before 5.2 a value that refers to
-- its key would keep it: a task lives by its coroutine's first call, which has it as an argument.
local tasks = setmetatable({}, { __mode = "kv" })
local waiters = setmetatable({}, { __mode = "kv" })

-- Errors ---------------------------------------------------------------------------------------------------------

--- An error of a coroutine that nobody awaits: as if a handler had raised it.
local function report(who, problem, traceback)
  if who and who.joined then return end
  local taken, left = core.report(problem, who, traceback)
  if not taken then core.raise(left) end
end

--- What is raised in a task for its cancellation.
local function aborted(self, reason)
  local problem = core.Error("AbortError", type(reason) == "string" and reason or "the task was cancelled")
  problem.reason, problem.task = reason, self
  return problem
end

local function isOwnAbort(self, problem)
  return type(problem) == "table" and rawget(problem, "task") == self and rawget(problem, "name") == "AbortError"
end

-- Lists of waiters -------------------------------------------------------------------------------------------------

-- First come, first served; who has been settled is in none.

local function newList() return { first = nil, last = nil } end

local function join(list, waiter)
  waiter.list, waiter.before = list, list.last
  if list.last then list.last.behind = waiter else list.first = waiter end
  list.last = waiter
end

local function leave(waiter)
  local list, before, behind = waiter.list, waiter.before, waiter.behind
  if not list then return end
  if before then before.behind = behind else list.first = behind end
  if behind then behind.before = before else list.last = before end
  waiter.list, waiter.before, waiter.behind = nil, nil, nil
end

--- Who is the first in a list. One who has been settled is not, though an error kept him from leaving it.
local function head(list)
  while list.first and list.first.done do leave(list.first) end
  return list.first
end

-- The line -------------------------------------------------------------------------------------------------------

-- Its entries are chained, so that to stand in it takes no memory: who is settled must be resumed.
local first, last

-- Who resumes those in the line: nobody, somebody outside of any handler, or somebody in one. A task that was resumed
-- outside may turn the loop; then those who become ready in a handler are not left to who waits for that to end. A
-- handler is a number, by which one is known that an error has thrown out of the line.
local NOBODY, OUTSIDE = false, -1
local drainer = NOBODY

local drainLine
local settle -- (waiter, results…)
local settleAll -- (list, results…)

local function enqueue(entry)
  if entry.queued then return end
  if first then
    last.after = entry
    last = entry
  else
    last = entry
    first = entry
  end
  entry.queued = true -- at the end: an error may strike at any place, and then it is done again
end

--- What a task has come to. A few values take no memory: who joins it must hear of its end.
local function keep(self, ...)
  local results, n = self.results, select("#", ...)
  results[1], results[2], results[3] = ...
  self.n = n
  if n <= 3 then return end
  for i = 4, n do results[i] = (select(i, ...)) end
end

local function finish(self, status, ...)
  if self.co then
    keep(self, ...)
    tasks[self.co] = nil
    self.co, self.status = nil, status
  end
  settleAll(self.joiners) -- again, if an error has kept somebody from it
end

--- A coroutine has failed; `self`: as a task.
local function fail(self, problem, traceback)
  if self and isOwnAbort(self, problem) then return finish(self, "cancelled", problem) end
  local fine, lack = pcall(core.setTimeout, report, 0, self, problem, traceback) -- until then somebody may join
  if self then finish(self, "failed", problem) end
  if not fine then error(lack, 0) end
end

--- A coroutine has yielded, returned or failed. False: there was no place left on the C stack to resume it.
local function after(co, self, fine, problem)
  if coroutine.status(co) ~= "dead" then
    if self and self.status == "running" then self.status = "waiting" end
    return fine
  end
  if not fine then -- the host's, or any before 5.4
    local traceback = debug.traceback(co, type(problem) == "string" and problem or nil)
    if closeCoroutine then -- an error in a <close> variable takes the place of the first, as everywhere
      local closed, final = closeCoroutine(co)
      if not closed then problem = final end
    end
    fail(self, problem, traceback)
  end
  return true
end

--- The coroutine that runs; nil: none.
local function current()
  local co, main = coroutine.running()
  return not main and co or nil
end

--- How many tasks stand on the C stack, each resumed by the one before.
local function depth()
  local co = current()
  local self = co and tasks[co]
  return self and self.depth or 0
end

local function resume(co, ...)
  local self = tasks[co]
  if self then self.status, self.depth = "running", depth() + 1 end
  return after(co, self, coroutine.resume(co, ...))
end

local function advance(entry)
  local co = entry.co
  if entry.starts then
    if entry.starts.begun or resume(co, entry.starts, unpack(entry, 1, entry.n)) then return end
  elseif entry.taken then -- somebody else has resumed it, and it has what it waited for
    return
  elseif coroutine.status(co) == "dead" then -- closed meanwhile; in 5.1 it may have failed as it tried to wait
    if entry.kind.giveBack then entry.kind.giveBack(entry) end
    return
  elseif resume(co) then
    return
  end
  core.setTimeout(settle, 0, nil, entry) -- from where the C stack is not as deep
end

--- Who is resumed stays in the line meanwhile: an error may strike at any place, as Ctrl-C does, and then he is found
-- there. Another look at him does nothing, once he knows.
local function drainAll(here)
  drainer = here
  while first do
    local entry = first
    advance(entry)
    if first == entry then
      first = entry.after
      entry.after, entry.queued = nil, false
    end
  end
  -- or the last would live on
  first, last = nil, nil -- luacheck: ignore 331
end

--- Resumes who stands in the line, unless somebody is at it already.
function drainLine()
  local before, here = drainer, core.inHandler() or OUTSIDE
  if before == here then return end
  local failed, problem, stuck = false, nil, nil
  repeat
    local fine, err = pcall(drainAll, here)
    if not fine then
      if failed and first == stuck then -- twice: the C stack is at its end
        drainer = before
        core.setTimeout(drainLine, 0)
        return
      end
      failed, problem, stuck = true, problem or err, first
    end
  until fine
  drainer = before
  if failed then error(problem, 0) end
end

-- Waiting ----------------------------------------------------------------------------------------------------------

local Waiter = { __name = "lunawire.Waiter" }

--- What is there to wait for: `what` it is called, what happens when the wait ends (`leave`), and what becomes of a
-- result that nobody is there to take (`giveBack`).
local function newWaiter(kind, co, subject)
  return setmetatable({
    false, false, false, -- their places: to be settled takes no memory
    kind = kind,
    co = co,           -- nil: the main chunk
    subject = subject, -- an inbox, a task …
    done = false,      -- settled: what it waited for is at 1, 2, 3
    taken = false,     -- and it knows
    n = 0,
    problem = nil,     -- to be raised instead
    timer = nil,
    list = nil, before = nil, behind = nil, -- where it stands, between whom
    queued = false, after = nil, -- in the line, before whom
  }, Waiter)
end

local function clearTimer(waiter)
  if waiter.timer then core.clearTimeout(waiter.timer) end
  waiter.timer = nil
end

--- What the waiter waits for has come, or will not. Only the first time counts.
local function mark(waiter, ...)
  if waiter.done then return end
  waiter.done, waiter.n = true, select("#", ...)
  waiter[1], waiter[2], waiter[3] = ...
  clearTimer(waiter)
  leave(waiter)
  if waiter.kind.leave then waiter.kind.leave(waiter) end
end

--- Settles a waiter, who goes on as soon as nobody of the line is before him; `entry`: has stood there before.
function settle(waiter, ...)
  if not waiter then
    enqueue((...))
  elseif waiter.done then
    return
  else
    if waiter.co then enqueue(waiter) end -- first: if Ctrl-C strikes in between, he only looks up
    mark(waiter, ...)
    if not waiter.co then return end -- the main chunk looks by itself
  end
  drainLine()
end

--- Settles who stands in the list now: who goes on may come to stand there again.
function settleAll(list, ...)
  local waiter = head(list)
  while waiter do
    if waiter.co then enqueue(waiter) end
    mark(waiter, ...)
    waiter = head(list)
  end
  if first then drainLine() end -- there may be one whom an error kept from it
end

--- It will never know what it waited for: a message it was given is the next one's.
local function quit(waiter)
  if waiter.taken then return end
  waiter.taken = true
  if not waiter.done then
    mark(waiter)
  elseif waiter.kind.giveBack then
    waiter.kind.giveBack(waiter)
  end
end

local function abandon(waiter, problem)
  quit(waiter)
  error(problem, 0)
end

--- For 5.4: the loop below has been left. If the waiter does not know, by coroutine.close or by an error.
function Waiter.__close(waiter, problem)
  if waiter.taken then return end
  quit(waiter)
  local self = problem == nil and waiter.co and tasks[waiter.co]
  if self then finish(self, "cancelled", aborted(self, "the task's coroutine was closed")) end
end

local function isWaiting(waiter)
  if not waiter.done then return true end
  waiter.taken = true
  clearTimer(waiter) -- of who was cut short as he settled it
end

--- The main chunk waits.
local function turn(waiter)
  local what = waiter.kind.what
  core.stopped() -- a stop() of before does not concern it
  drainer = NOBODY -- nor who was thrown out of the line
  drainLine()
  for _ in isWaiting, waiter, nil, waiter do
    if not core.pending() then
      abandon(waiter, core.Error("InvalidStateError", what .. ": nothing is left in the loop that could end the wait"))
    end
    local fine, problem = pcall(core.step, huge)
    if not fine then abandon(waiter, problem) end
    if core.stopped() then abandon(waiter, core.Error("AbortError", what .. ": ended by stop()")) end
  end
end

local function await(waiter)
  if not waiter.co then
    turn(waiter)
  else
    waiters[waiter.co] = waiter
    for _ in isWaiting, waiter, nil, waiter do coroutine.yield() end -- who else resumes it does so in vain
  end
  if waiter.problem ~= nil then error(waiter.problem, 0) end
  return unpack(waiter, 1, waiter.n)
end

--- Raises when this is no place to wait, or when the task has been cancelled. The coroutine; nil: the main chunk.
local function checkPlace(what)
  local co = current()
  if not co then
    if core.inHandler() then
      mistake("InvalidStateError", what .. ": called inside a handler; wait in a task (lunawire.go)")
    end
    return nil
  end
  if isYieldable and not isYieldable() then
    mistake("InvalidStateError", what .. ": called where a coroutine cannot wait, within a call from C")
  end
  local before = waiters[co]
  if before then quit(before) end -- 5.1: it could not yield, in a pcall or an iterator
  local self = tasks[co]
  local cancelled = self and self.cancelled
  if cancelled then
    self.cancelled = nil
    error(cancelled, 0)
  end
  return co
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

local function expire(waiter)
  if waiter.done then return clearTimer(waiter) end
  settle(waiter, nil, "timeout")
end

-- An alarm, which rings until it is cleared: a timeout would be gone when there was no memory to call so deep.
local function limit(waiter, ms)
  if not ms then return end
  waiter.timer = core.alarm(expire, waiter)
  core.setAlarm(waiter.timer, ms)
end

local sleeping = { what = "sleep" }

--- Waits so many milliseconds.
function task.sleep(ms)
  ms = checkTime("sleep", ms)
  if not ms then mistake("TypeError", "sleep: milliseconds expected") end
  local waiter = newWaiter(sleeping, checkPlace "sleep")
  limit(waiter, ms)
  await(waiter)
end

-- Tasks ------------------------------------------------------------------------------------------------------------

local function isCallable(value)
  if type(value) == "function" then return true end
  local metatable = getmetatable(value)
  return type(metatable) == "table" and metatable.__call ~= nil
end

--- The traceback of a task's error, taken before its <close> variables are closed, which may wait in that.
local function trace(problem)
  local self = tasks[current()]
  if self then self.traceback = debug.traceback(type(problem) == "string" and problem or nil, 2) end
  return problem
end

local function ended(self, fine, ...)
  if fine then finish(self, "done", ...) else fail(self, (...), self.traceback) end
end

--- The first call of a task's coroutine, of which it is the last, too: it ends there, whoever has resumed it. `self`
-- is among its values, so the task is there as long as the coroutine.
local function body(self, fn, ...)
  self.begun = true
  if closeCoroutine then ended(self, xpcall(fn, trace, ...)) else ended(self, true, fn(...)) end
end

--- Starts a task: fn(...) runs at once, up to where it first waits.
-- @return a task: `status` ("running", "waiting", "done", "failed", "cancelled"), `cancel([reason])`, `join()`
function task.go(fn, ...)
  if not isCallable(fn) then mistake("TypeError", "go: a function expected, got " .. target.typename(fn)) end
  local self = setmetatable({
    co = coroutine.create(body), -- until it ends
    status = "waiting",
    joiners = newList(),
    begun = false,
    joined = false,   -- somebody has its error
    cancelled = nil,  -- the error to raise where it waits next
    depth = 0,
    traceback = nil,  -- of its error
    results = { false, false, false }, n = 0,
  }, Task)
  tasks[self.co] = self
  if depth() >= MOST_NESTED or not resume(self.co, self, fn, ...) then
    local entry = { co = self.co, starts = self, queued = false, after = nil, n = select("#", ...) + 1, fn, ... }
    core.setTimeout(settle, 0, nil, entry)
  end
  return self
end

local function checkTask(self, what)
  if getmetatable(self) ~= Task then
    mistake("TypeError", what .. ": a task expected, got " .. target.typename(self) .. target.colon(2))
  end
end

--- Raises an AbortError in the task where it waits; if it waits nowhere now, where it waits next. Over: nothing.
function Task:cancel(reason)
  checkTask(self, "cancel")
  if not self.co then return end
  local waiter = waiters[self.co]
  if waiter and not waiter.done then
    waiter.problem = aborted(self, reason)
    settle(waiter)
  elseif not (waiter and waiter.problem and not waiter.taken) then -- else it is about to hear of it
    self.cancelled = self.cancelled or aborted(self, reason)
  end
end

local joining = { what = "join" }

--- Waits for the end of the task. Returns what it returned, or raises what it raised.
function Task:join()
  checkTask(self, "join")
  local co = checkPlace "join"
  if co and co == self.co then mistake("InvalidStateError", "join: a task cannot wait for itself") end
  if self.co then
    local waiter = newWaiter(joining, co, self)
    join(self.joiners, waiter)
    await(waiter)
  end
  if self.status ~= "done" then
    self.joined = true
    error(self.results[1], 0)
  end
  return unpack(self.results, 1, self.n)
end

-- Messages -----------------------------------------------------------------------------------------------------------

local INBOX = {} -- the key, known only here, under which a socket keeps its inbox

--- The key of a method of objects written in Lua: their inbox is full, and they rest, or has room again. It is not
-- their `pause`, which is the program's.
task.HOLD = {}

-- A socket of the core is collected when nobody can reach it but its own inbox: so the inbox's listeners are no reason
-- for it to live. A coroutine that waits on it is one.

local function listen(ws, kind, fn, capture)
  if type(ws) == "userdata" then return core.listen(ws, kind, fn, capture) end
  ws:addEventListener(kind, fn, capture)
end

local function hold(inbox, yes)
  inbox.held = yes
  local ws = inbox.ws
  if type(ws) == "userdata" then core.hold(ws, yes) else ws[task.HOLD](ws, yes) end
end

--- A waiter more, or less.
local function count(inbox, one)
  local before = inbox.waiters
  inbox.waiters = before + one
  if type(inbox.ws) == "userdata" and (before == 0 or before + one == 0) then core.await(inbox.ws, before == 0) end
end

local function awaitIn(list, waiter, timeout)
  limit(waiter, timeout)
  join(list, waiter)
  count(waiter.subject, 1)
  return await(waiter)
end

local function isFull(inbox) return inbox.count >= MOST_MESSAGES or inbox.bytes >= MOST_BYTES end

--- A message is the first receiver's, or queued: behind the others, or `early`, before them.
local function deliver(inbox, data, kind, early)
  local waiter = head(inbox.receivers)
  if waiter then return settle(waiter, data, kind) end
  local place = early and inbox.first - 1 or inbox.last + 1
  inbox[place] = { data = data, kind = kind } -- first: without memory nothing has changed
  if early then inbox.first = place else inbox.last = place end
  inbox.count, inbox.bytes = inbox.count + 1, inbox.bytes + #data
  if isFull(inbox) and not inbox.held then hold(inbox, true) end
end

local function onclose(inbox, event)
  if event.target.readyState ~= CLOSED then return end -- it comes back
  inbox.closed, inbox.event = true, event
  settleAll(inbox.receivers, nil, "closed", event)
  settleAll(inbox.writers, nil, "closed", event)
end

--- Its listeners; once there was no memory for all of them, the others are added.
local function attach(inbox)
  listen(inbox.ws, "message", inbox.onmessage)
  listen(inbox.ws, "close", inbox.onclose, true)
  listen(inbox.ws, "drain", inbox.ondrain, true)
  inbox.closed, inbox.heard = inbox.ws.readyState == CLOSED, true
  return inbox
end

--- The inbox of a socket. From the first use on its messages are queued there.
local function open(ws, what)
  local isObject = type(ws) == "userdata" or type(ws) == "table"
  local inbox = isObject and ws[INBOX]
  if inbox then return inbox.heard and inbox or attach(inbox) end
  if not isObject or not ws.addEventListener or not ws.pause then
    mistake("TypeError", what .. ": a WebSocket expected, got " .. target.typename(ws) .. target.colon(2))
  end
  inbox = {
    ws = ws,
    first = 1, last = 0, -- what is queued stands from first to last
    count = 0, bytes = 0,
    receivers = newList(), writers = newList(),
    waiters = 0,         -- in both
    held = false,        -- it is full, and the socket rests
    closed = false,
    event = nil,         -- its close
    heard = false,       -- its listeners are there, all of them
  }
  inbox.onmessage = function(event) deliver(inbox, event.data, event.binary and "binary" or "text") end
  inbox.onclose = function(event) onclose(inbox, event) end
  inbox.ondrain = function() settleAll(inbox.writers, true) end
  ws[INBOX] = inbox
  return attach(inbox)
end

--- Whether nothing more will come. A ReconnectingWebSocket that had given up may have been told to try again.
local function isClosed(inbox)
  if inbox.closed and inbox.ws.readyState ~= CLOSED then inbox.closed, inbox.event = false, nil end
  return inbox.closed
end

local function pop(inbox)
  local message = inbox[inbox.first]
  inbox[inbox.first], inbox.first = nil, inbox.first + 1
  inbox.count, inbox.bytes = inbox.count - 1, inbox.bytes - #message.data
  if inbox.held and inbox.count <= MOST_MESSAGES / 2 and inbox.bytes <= MOST_BYTES / 2 then hold(inbox, false) end
  return message.data, message.kind
end

local function leaveInbox(waiter) count(waiter.subject, -1) end

local receiving = {
  what = "receive",
  leave = leaveInbox,
  giveBack = function(waiter)
    if waiter[1] ~= nil then deliver(waiter.subject, waiter[1], waiter[2], true) end
  end,
}

--- Waits for the next message.
-- @tparam[opt] number timeout milliseconds
-- @return data and "text" or "binary"; nil and "timeout"; or nil, "closed" and the close event, once all is taken
function task.receive(ws, timeout)
  local inbox = open(ws, "receive")
  timeout = checkTime("receive", timeout)
  local co = checkPlace "receive"
  if inbox.count > 0 then return pop(inbox) end
  if isClosed(inbox) then return nil, "closed", inbox.event end
  return awaitIn(inbox.receivers, newWaiter(receiving, co, inbox), timeout)
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

local draining = { what = "drain", leave = leaveInbox }

--- Waits until the socket is writable below its high-water mark; `owes(ws)` says that it is not.
-- @return true; nil and "timeout"; or nil, "closed" and the close event
function task.drain(ws, owes, timeout)
  local inbox = open(ws, "drain")
  timeout = checkTime("drain", timeout)
  local co = checkPlace "drain"
  if isClosed(inbox) then return nil, "closed", inbox.event end
  if not owes(ws) then return true end
  return awaitIn(inbox.writers, newWaiter(draining, co, inbox), timeout)
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

local connecting = {
  what = "connect",
  leave = function(waiter)
    local attempt = waiter.subject
    local ws = attempt.ws
    for kind, fn in pairs(attempt.listeners) do ws:removeEventListener(kind, fn) end
    if ws.readyState == 0 then ws:terminate "cancelled" end
  end,
  giveBack = function(waiter) waiter.subject.ws:terminate "abandoned" end,
}

--- Connects, and waits until that is done.
-- @return an open WebSocket. Raises a NetworkError with the `code`, `status` … of the error event if it cannot.
function task.connect(url, protocols, options)
  local co = checkPlace "connect"
  local ws, failed = core.WebSocket(url, protocols, options), nil
  local attempt = { ws = ws, listeners = {} }
  local waiter = newWaiter(connecting, co, attempt)
  open(ws, "connect")
  function attempt.listeners.open() settle(waiter, ws) end
  function attempt.listeners.error(event) failed = event end
  function attempt.listeners.close(event) settle(waiter, nil, event) end
  for kind, fn in pairs(attempt.listeners) do ws:addEventListener(kind, fn) end
  local got, closed = await(waiter)
  if not got then error(failure(failed, closed), 0) end
  return got
end

return task
