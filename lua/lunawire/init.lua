--- WebSocket client and server with the browser's API.
-- The table of contents: what the core does in C is named here, what needs no C is written here.
-- @module lunawire
local core = require "lunawire.core"
local heartbeat = require "lunawire.heartbeat"
local reconnect = require "lunawire.reconnect"
local task = require "lunawire.task"
core.ours()

local huge = math.huge

local lunawire = {
  _VERSION = "lunawire 0.1.0",
  WebSocket = core.WebSocket,
  WebSocketServer = core.WebSocketServer,
  ReconnectingWebSocket = reconnect.ReconnectingWebSocket,
  heartbeat = function(ws, options) return heartbeat.new(ws, options) end,
  go = task.go,
  sleep = task.sleep,
  connect = task.connect,
  ArrayBuffer = core.ArrayBuffer,
  Blob = core.Blob,
  CloseCode = core.CloseCode,
  Error = core.Error,
  messageSize = core.messageSize,
  random = core.random,
  randomBytes = core.randomBytes,
  setTimeout = core.setTimeout,
  setInterval = core.setInterval,
  clearTimeout = core.clearTimeout,
  clearInterval = core.clearInterval,
  step = core.step,
  stop = core.stop,
  flush = core.flush,
  fd = core.fd,
  timeout = core.timeout,
  watch = core.watch,
  onsignal = core.onsignal,
  now = core.now,
}

core.method("receive", task.receive)
core.method("messages", task.messages)
core.method("drain", function(ws, timeout) return task.drain(ws, core.owesDrain, timeout) end)
core.module(lunawire) -- where the core looks for `onerror`

--- Turns the loop until nothing is left that could call back, or the time is over.
-- A Lua loop over `step`, so that Ctrl-C works. Raises InvalidStateError inside a handler,
-- and what a handler raises while `lunawire.onerror` is unset.
-- @tparam[opt] number timeout milliseconds
-- @treturn boolean true if nothing is left
function lunawire.run(timeout)
  local deadline = core.begin(timeout)
  while core.pending() do
    local left = deadline and deadline - core.now() or huge
    if left <= 0 then
      break
    end
    core.step(left)
    if core.stopped() then
      break
    end
  end
  return not core.pending()
end

--- The three functions by which cqueues and its like wait for a foreign loop.
lunawire.loop = {
  pollfd = function()
    return core.fd()
  end,
  events = function()
    return "r"
  end,
  timeout = function() -- in seconds
    local ms = core.timeout()
    return ms and ms / 1000
  end,
}

return lunawire
