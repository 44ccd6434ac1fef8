-- lua_helper.lua -- what the specs of floor 4 share: turning the loop until something has
-- happened, whole programs in an interpreter of their own, and an end at which nothing is left.
--
--   before_each(turns.open)  after_each(turns.clear)

local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local system = require "system"
local wire = require "spec.wire"

local turns = {}

local kept, files

-- The numbers of all open descriptors, in words.
function turns.descriptors()
  local list = {}
  for fd = 0, 255 do
    if probe.sys.flags(fd) then list[#list + 1] = fd end
  end
  return table.concat(list, " ")
end

function turns.open()
  lunawire.fd() -- the poller and the pipe for signals stay open from their first use on
  lunawire.onsignal("USR1", print)
  lunawire.onsignal("USR1", nil)
  collectgarbage()
  kept, files = {}, turns.descriptors()
end

-- Things with :close(), closed in the end if they were not before. Returns them.
function turns.keep(...)
  for _, thing in ipairs { ... } do kept[#kept + 1] = thing end
  return ...
end

-- A server on a free port, which the end of the spec closes.
function turns.serve(options)
  return turns.keep(lunawire.WebSocketServer(options or {}))
end

-- Descriptors, closed in the end. Returns them.
function turns.fd(...)
  for _, fd in ipairs { ... } do
    kept[#kept + 1] = { close = function() probe.sys.close(fd) end }
  end
  return ...
end

-- Turns the loop until try() gives something true, and returns that.
function turns.await(try, what)
  return helper.await(try, lunawire.step) or error("waited in vain for " .. (what or "something"), 2)
end

-- The time fn takes, in milliseconds.
function turns.time(fn)
  local start = system.monotime()
  fn()
  return (system.monotime() - start) * 1000
end

-- Runs a program in this interpreter, on this checkout. What it printed, and its status.
function turns.program(code)
  local name = os.tmpname()
  helper.write(name, code)
  local output, status = helper.run(helper.lua(helper.quote(name)))
  os.remove(name)
  return output, status
end

-- Runs a program that says "ready" on a line of its own; then the shell does `act`, to whom $pid
-- is the program, and waits for its end, 20 s at most. What it printed, and its status.
function turns.meanwhile(code, act)
  local name = os.tmpname()
  helper.write(name, "io.stdout:setvbuf 'line' " .. code)
  local shell = ([[
    %s >NAME.out 2>&1 & pid=$!
    for i in $(seq 400); do grep -qs ready NAME.out && break; sleep 0.02; done
    sleep 0.1
    %s
    (sleep 20 & trap "kill $!" TERM; wait $! && kill -KILL $pid) >/dev/null 2>&1 & dog=$!
    wait $pid; status=$?
    kill $dog; cat NAME.out; exit $status]]):gsub("NAME", (name:gsub("%%", "%%%%")))
  local output, status = helper.run(shell:format(helper.lua(helper.quote(name)), act))
  os.remove(name)
  os.remove(name .. ".out")
  return output, status
end

-- Runs a program beside the spec: a peer of helper.lua's, which the end of the spec stops.
function turns.beside(code)
  local name = os.tmpname()
  helper.write(name, "io.stdout:setvbuf 'line' " .. code)
  local program = helper.peer("exec " .. helper.lua(helper.quote(name)))
  kept[#kept + 1] = {
    close = function()
      program:stop()
      os.remove(name)
    end,
  }
  return program
end

-- The process of a program beside the spec: its peer's is timeout(1).
function turns.pid(program)
  return assert(helper.run(("pgrep -P %d"):format(program.pid)):match "%d+")
end

-- Nothing is left: no callback, no descriptor, no handler of the module.
function turns.clear()
  lunawire.onerror = nil
  for i = #kept, 1, -1 do kept[i]:close() end
  wire.clear()
  assert(lunawire.run(5000), "something is left in the loop")
  collectgarbage()
  collectgarbage()
  assert(lunawire.run(5000), "something was left to be collected")
  local now = turns.descriptors()
  if now ~= files then
    error(("open descriptors were %s, are %s"):format(files, now))
  end
end

return turns
