-- sweep.lua -- every allocation fails once, and all from there on; every system call fails once with each errno that
-- is plausible for it: over all scenarios (scenarios.lua), and what comes of it is judged.
--
--   lua5.4 sim/sweep.lua [OPTIONS] [SCENARIO [FAULT]]      within `eval "$(make -s env)"`, after `make sim`
--
--   lua5.4 sim/sweep.lua                                   all
--   lua5.4 sim/sweep.lua wss                               one
--   lua5.4 sim/sweep.lua wss alloc 123 once                one point of it, as a failure says; `trace alloc 123 once`
--                                                          also tells where memory was missing
--   --sample=N     only each Nth point      --part=1/2     the first half of the points, for two processes
--   --kinds=alloc,crypto,call               --modes=once,twice,on,ever
--   --each=N       of OpenSSL's own allocations that have the same calls above them the first N fail (2); 0: all do,
--                  which are hundreds of thousands
--   --kept=N       a scenario's failures are printed up to so many (5)
--
-- Judged are: a crash; a hang, of time or turns; a leak of memory, of descriptors, of a call that names none; an error
-- that is none of memory or of the system; a socket, a server or a link that does not tell `close` exactly once; a task
-- that waits for ever; something that keeps `run` from its end; and the next connection, which must work.

local here = arg[0]:match "^(.*)/sim/[^/]*$" or "."
package.cpath = (os.getenv "SIM_CPATH" or here .. "/build/sim/?.so") .. ";" .. package.cpath
local core = assert(package.searchpath("lunawire.core", package.cpath), "make sim has not been called")
package.path = here .. "/?.lua;" .. package.path

local tally = require "sim.tally"

local world = assert(package.loadlib(core, "luaopen_world"))()

local sweep = {}

local KINDS = { alloc = true, crypto = true, call = true }
local MODES = { "once", "twice", "on", "ever" }

--- One run: nil if all was as it should be, else what was not; and whether the fault has struck.
local function attempt(served, command)
  local ended, status, said = world.ask(served, command, sweep.seconds or 30)
  if ended ~= 0 then return ("killed by signal %d\n%s"):format(ended, said), true end
  local before, fine, blocks, bytes, open, threads, strays, ours, openssl, text = said:match(
    "^(.-)\n=result= (%d) (%-?%d+) (%-?%d+) (%-?%d+) (%d+) (%d+) (%d+) (%d+)\n(.*)$")
  if not before or status ~= 0 then return ("ended with status %d\n%s"):format(status, said), true end
  local wrong = {}
  if before ~= "" then wrong[#wrong + 1] = before end
  -- without memory to the end the stage itself may have no place to stand on
  local unsaid = fine ~= "1" and command:find " ever$" and text:find "not enough memory"
  if fine ~= "1" and not unsaid then wrong[#wrong + 1] = "raised: " .. text end
  if blocks ~= "0" or bytes ~= "0" then wrong[#wrong + 1] = ("leak: %s blocks, %s bytes"):format(blocks, bytes) end
  if open ~= "0" then wrong[#wrong + 1] = ("leak: %s descriptors"):format(open) end
  if threads ~= "0" then wrong[#wrong + 1] = ("leak: %s threads"):format(threads) end
  if strays ~= "0" then wrong[#wrong + 1] = ("%s calls that named no descriptor"):format(strays) end
  if fine == "1" and text ~= "fine" and not text:find "^alloc=" and not text:find "^places=" then wrong[#wrong + 1] = text end
  return wrong[1] and table.concat(wrong, "\n") or nil, ours ~= "0" or openssl ~= "0", text
end
sweep.attempt = attempt

--- A process that has the library loaded for a scenario.
function sweep.serve(name, directory)
  return world.serve(here .. "/sim/stage.lua", table.concat({ here, name, directory, "" }, "\n"))
end

--- Plays it in this process, so that what OpenSSL sets up once is there for all.
function sweep.warm(name, directory)
  world.run(here .. "/sim/stage.lua", table.concat({ here, name, directory, "none" }, "\n"))
end

-- OpenSSL's own that are to fail: their numbers.
local function crypto(served, counts, each)
  local list = {}
  if each == 0 then
    for n = 1, counts.crypto do list[n] = n end
    return list
  end
  local wrong, _, told = attempt(served, "places " .. each)
  assert(told and told:find "^places=", wrong)
  counts.places = tonumber(told:match "%d+")
  for n in told:match " (.*)":gmatch "%d+" do list[#list + 1] = tonumber(n) end
  return list
end

local function points(scenario, served, counts, options)
  local list = {}
  local function add(...) list[#list + 1] = table.concat({ ... }, " ") end
  if options.kinds.alloc then
    for _, mode in ipairs(options.modes) do
      for n = 1, counts.alloc do add("alloc", n, mode) end
    end
  end
  if options.kinds.crypto then
    for _, n in ipairs(crypto(served, counts, options.each)) do add("crypto", n, "once") end
  end
  if options.kinds.call then
    local names = {}
    for name in pairs(counts) do
      if name ~= "alloc" and name ~= "crypto" then names[#names + 1] = name end
    end
    table.sort(names)
    for _, name in ipairs(names) do
      for _, errno in ipairs(world.errnos(name)) do
        for n = 1, counts[name] do add("call", name, n, errno) end
      end
    end
  end
  local chosen = {}
  for i, point in ipairs(list) do
    local sampled = (i - 1 + #scenario) % options.sample == 0
    if sampled and i % options.parts == options.part % options.parts then chosen[#chosen + 1] = point end
  end
  return chosen
end

-- What is OpenSSL's alone: within `call` it goes on without what it had no memory for, and nobody hears of it. Each line of
-- what comes of that is like `words`.
local FOREIGN = {
  -- A signature algorithm or a cipher for which there is no memory is one it does not know, for this context's whole life.
  { call = "SSL_CTX_new", words = "^the next connection: [^\n]*: the other side refused the handshake" },
}

local function isForeign(served, point, problem)
  if not point:find "^crypto" then return false end
  for _, foreign in ipairs(FOREIGN) do
    local all = true
    for line in problem:gmatch "[^\n]+" do all = all and line:find(foreign.words) end
    if all and (attempt(served, "trace " .. point) or ""):find(foreign.call, 1, true) then return true end
  end
  return false
end

-- What came of a point, entered.
local function enter(found, point, problem, struck, isExcused)
  local kind = point:match "^%l+"
  local sums = found.kinds[kind] or tally.new()
  local function add(name, value) sums[name] = sums[name] + (value and 1 or 0) end
  found.kinds[kind] = sums
  add("points", true)
  add("struck", struck)
  if not problem then return end
  add("known", isExcused)
  if isExcused then return end
  add("failures", true)
  add("leaks", problem:find "leak:")
  add("crashes", problem:find "killed" or problem:find "ended with")
  add("hangs", problem:find "without end" or problem:find "for ever")
  found.failures[#found.failures + 1] = { point, problem }
end

--- All points of a scenario. What was found: kinds (for each kind of fault how many points, failures, leaks, ...), and
-- failures, a list of { point, words }.
function sweep.scenario(name, directory, options)
  local served = sweep.serve(name, directory)
  local wrong, _, told = attempt(served, "none")
  local found = { kinds = {}, failures = {} }
  if wrong then
    enter(found, "none", wrong)
    return found
  end
  local counts = {}
  for what, n in told:gmatch "(%g+)=(%d+)" do counts[what] = tonumber(n) end
  for _, point in ipairs(points(name, served, counts, options)) do
    local problem, struck = attempt(served, point)
    enter(found, point, problem, struck, problem and isForeign(served, point, problem))
  end
  return found
end

--- The scenarios' names, in order.
function sweep.names()
  return require("sim.scenarios")[1]
end

--- Certificates and a file, made once.
function sweep.prepare()
  local path, cpath = package.path, package.cpath
  local helper = require "spec.helper"
  local certs = require("spec.pki").new()
  package.path, package.cpath = path, cpath -- the helper's lead to the library without a world
  for file, kind in pairs { ["good.pem"] = "good", ["client.pem"] = "client", ["root.crt"] = "root" } do
    local made = kind == "root" and certs:single(kind) or certs:cert(kind)
    if made ~= certs.directory .. "/" .. file then helper.write(certs.directory .. "/" .. file, helper.read(made)) end
  end
  certs:key "good"
  certs:trustDirectory "root"
  -- the system trusts somebody else, and not a hundred authorities that would be read in each run
  world.setenv("SSL_CERT_FILE", certs:single "stranger")
  world.setenv("SSL_CERT_DIR", certs.directory .. "/none")
  helper.write(certs.directory .. "/file", ("0123456789"):rep(10000))
  return certs.directory, function() certs:close() end
end

function sweep.options()
  return { kinds = KINDS, modes = MODES, sample = 1, part = 1, parts = 1, kept = 5, each = 2 }
end

function sweep.clock() return require("system").monotime() end

if arg[0]:match "sweep%.lua$" then
  local options, words = sweep.options(), {}
  for _, word in ipairs(arg) do
    local option, value = word:match "^%-%-(%l+)=(.*)$"
    if option == "part" then
      options.part, options.parts = tonumber((value:match "^%d+")), tonumber((value:match "%d+$"))
    elseif option == "kinds" then
      options.kinds = {}
      for kind in value:gmatch "%l+" do options.kinds[kind] = true end
    elseif option == "modes" then
      options.modes = {}
      for mode in value:gmatch "%l+" do options.modes[#options.modes + 1] = mode end
    elseif option then
      options[option] = tonumber(value)
    else
      words[#words + 1] = word
    end
  end
  if words[1] and not require("sim.scenarios")[words[1]] then
    io.stderr:write(("sweep.lua: there is no scenario %q\n"):format(words[1]))
    os.exit(2)
  end
  local directory, clear = sweep.prepare()
  sweep.warm("wss", directory)
  sweep.warm("deflate", directory)
  local failed, sums = false, {}
  if words[2] then
    local served = sweep.serve(words[1], directory)
    local wrong, struck, told = attempt(served, table.concat(words, " ", 2))
    print(wrong or told or "fine", struck and "" or "(nothing failed)")
    failed = wrong
  else
    for _, name in ipairs(words[1] and { words[1] } or sweep.names()) do
      local before = sweep.clock()
      local found = sweep.scenario(name, directory, options)
      print(("%s, %.1f s"):format(name, sweep.clock() - before))
      io.write(tally.lines(found.kinds, " "))
      tally.add(sums, found.kinds)
      for i, failure in ipairs(found.failures) do
        failed = true
        if i <= options.kept then
          print(("  lua5.4 sim/sweep.lua '%s' %s\n    %s"):format(name, failure[1], failure[2]:gsub("\n", "\n    ")))
        end
      end
      io.stdout:flush()
    end
    io.write(tally.lines(sums, "all"))
  end
  clear()
  os.exit(not failed)
end

return sweep
