-- helper.lua -- what specs share. busted loads it first (.busted says so), which sets up the
-- paths; a spec that needs more says `local helper = require "spec.helper"`.

local lfs = require "lfs"
local system = require "system"

local helper = {}

-- --- where things are ---------------------------------------------------------------------

local function absolute(path, from)
  if path:match "^/" then return path end
  return from .. "/" .. path
end

local here = absolute(debug.getinfo(1, "S").source:sub(2), lfs.currentdir())

-- The checkout, and the directory that holds lunawire/core.so and lunawire/probe.so.
helper.root = here:gsub("/%./", "/"):match "^(.*)/spec/helper%.lua$"
helper.build = absolute(os.getenv "LUNAWIRE_BUILD" or "build", helper.root)

local path = helper.root .. "/?.lua;" .. helper.root .. "/lua/?.lua;" .. helper.root .. "/lua/?/init.lua;"
local cpath = helper.build .. "/?.so;"
if package.path:sub(1, #path) ~= path then package.path = path .. package.path end
if package.cpath:sub(1, #cpath) ~= cpath then package.cpath = cpath .. package.cpath end

-- --- files ----------------------------------------------------------------------------------

function helper.read(name)
  local file = assert(io.open(name, "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes
end

function helper.write(name, bytes)
  local file = assert(io.open(name, "wb"))
  assert(file:write(bytes))
  file:close()
end

-- A new empty directory; helper.remove(it) when done.
function helper.directory()
  local name = os.tmpname()
  os.remove(name)
  name = name .. ".d"
  assert(lfs.mkdir(name))
  return name
end

function helper.remove(name)
  os.execute("rm -rf " .. helper.quote(name))
end

-- --- other programs -------------------------------------------------------------------------

function helper.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Foreign programs must not inherit a sanitizer's runtime, nor the flags of a make around us;
-- our own interpreter needs the runtime back, since the modules it loads do.
local preload = os.getenv "LD_PRELOAD"
local clean = "env -u LD_PRELOAD -u MAKEFLAGS -u MAKELEVEL -u MFLAGS "

-- The Lua that runs this.
local index = 0
while arg[index - 1] do index = index - 1 end
helper.interpreter = arg[index]

-- The command that starts this Lua with these arguments (already quoted) on this checkout. `over`: the libraries' path
-- before that of the build.
function helper.lua(arguments, over)
  local variables = { "LUA_PATH=" .. helper.quote(path .. ";"), "LUA_CPATH=" .. helper.quote((over or "") .. cpath .. ";") }
  if preload then variables[#variables + 1] = "LD_PRELOAD=" .. helper.quote(preload) end
  return ("env %s %s %s"):format(table.concat(variables, " "), helper.quote(helper.interpreter), arguments)
end

-- The same with the core that runs over a system in memory (`make sim`).
function helper.sim(arguments)
  return helper.lua(arguments, helper.build .. "/sim/?.so;")
end

-- A Python that can import websockets, as make found it.
function helper.python()
  return os.getenv "PYTHON" or "/usr/bin/python3"
end

-- Runs a shell command to its end. Returns what it printed (both streams) and its status.
function helper.run(command)
  local pipe = assert(io.popen(("exec %s sh -c %s </dev/null 2>&1"):format(clean, helper.quote(command))))
  local output = pipe:read "*a"
  local _, _, status = pipe:close()
  return output, status
end

-- --- peers: programs that run beside the spec -----------------------------------------------

local Peer = {}
Peer.__index = Peer
Peer.__name = "Peer"

-- Starts a shell command. What it prints goes to a file, so that reading it never blocks the
-- loop under test. It ends with the spec that says peer:stop(), at the latest after `seconds`
-- (600), and with it whatever it started: timeout(1) leads a process group of its own.
function helper.peer(command, seconds)
  local output = os.tmpname()
  local script = ("exec 2>/dev/null; timeout -k 5 %d sh -c %s >%s 2>&1 </dev/null & echo $!; wait $!; echo $?"):format(
    seconds or 600, helper.quote(command), helper.quote(output))
  local pipe = assert(io.popen(("exec %s sh -c %s"):format(clean, helper.quote(script))))
  return setmetatable({
    command = command,
    pid = assert(pipe:read "*n", "no process id"),
    pipe = pipe,            -- tells the exit status at the end
    name = output,          -- of the file with what was printed
    file = assert(io.open(output, "rb")),
    rest = "",              -- of a line that is not yet whole
    status = nil,           -- once it has ended and stop() was called
    suspended = false,      -- see suspend()
  }, Peer)
end

-- Turns `pump` (default: sleep a little) until try() gives something true; nil after `seconds` (10).
function helper.await(try, pump, seconds)
  local deadline = system.monotime() + (seconds or 10)
  repeat
    local result = try()
    if result then return result end
    if pump then pump(5) else system.sleep(0.005) end
  until system.monotime() > deadline
  return try()
end

-- The next whole line it prints, waiting for it; raises when none comes in time.
-- A spec whose own loop must turn meanwhile gives `pump`, say lunawire.step.
function Peer:line(pump, seconds)
  local line = helper.await(function()
    self.rest = self.rest .. (self.file:read "*a" or "")
    local first, rest = self.rest:match "^([^\n]*)\n(.*)$"
    if first then self.rest = rest end
    return first
  end, pump, seconds)
  if not line then error(("no line from `%s`; it said: %s"):format(self.command, self:text()), 2) end
  return line
end

-- All it has printed so far.
function Peer:text()
  return helper.read(self.name)
end

-- Adds the processes that `pid` started, and what they started in turn.
local function addStarted(pid, list)
  local file = io.open(("/proc/%d/task/%d/children"):format(pid, pid))
  if not file then return list end
  for child in file:read("*a"):gmatch "%d+" do
    list[#list + 1] = child
    addStarted(tonumber(child), list)
  end
  file:close()
  return list
end

-- Sends the whole group a signal by name, timeout(1) included, which hands it on: what it leads may
-- get it twice. One that was started just now has no group yet, and has started nothing.
function Peer:signalGroup(name)
  os.execute(("kill -%s -%d 2>/dev/null || kill -%s %d 2>/dev/null"):format(name, self.pid, name, self.pid))
end

-- Sends it (and what it started) a signal by name, once: "INT", "KILL", ...
function Peer:signal(name)
  local list = addStarted(self.pid, {})
  if #list == 0 then return self:signalGroup(name) end
  os.execute(("kill -%s %s 2>/dev/null"):format(name, table.concat(list, " ")))
end

-- It (and what it started) stands still: it neither runs nor ends, its connections stay.
function Peer:suspend()
  self:signalGroup "STOP"
  self.suspended = true
end

-- It goes on where it stood.
function Peer:resume()
  self:signalGroup "CONT"
  self.suspended = false
end

-- Waits until it has ended by itself. Returns its exit status. The loop does not turn meanwhile.
function Peer:wait()
  if not self.status then
    self.status = self.pipe:read "*n" or -1
    self.pipe:close()
    self.file:close()
    os.remove(self.name)
  end
  return self.status
end

-- Ends it. Twice is once.
function Peer:stop()
  if not self.status then self:signalGroup "TERM" end
  if self.suspended then self:resume() end
  return self:wait()
end

return helper
