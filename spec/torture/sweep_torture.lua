-- All points of all scenarios of sim/sweep.lua: each allocation fails, alone, with the next, and with all that follow, once
-- until the scenario is over and once to the end; each call of the system with each errno. Of OpenSSL's own allocations, of
-- which there are 600,000, the first two of each place fail: those with the same calls above them. Two processes share
-- the points. Then a sample of them under ASan and UBSan: each 29th.

local helper = require "spec.helper"
local tally = require "sim.tally"

-- Runs commands side by side. What each printed, and whether all ended well.
local function run(commands)
  local names, words = {}, {}
  for i, command in ipairs(commands) do
    names[i] = os.tmpname()
    words[i] = ("(%s) > %s 2>&1 & p%d=$!"):format(command, names[i], i)
  end
  for i = 1, #commands do words[#words + 1] = ("wait $p%d || bad=1"):format(i) end
  local _, status = helper.run(table.concat(words, "; "):gsub("&; ", "& ") .. "; exit $bad")
  local said = {}
  for i, name in ipairs(names) do
    said[i] = helper.read(name)
    os.remove(name)
  end
  return table.concat(said, "\n"), status
end

local function parts(build, environment, arguments)
  local commands = {}
  for i = 1, 2 do
    commands[i] = ("cd %s && env %s SIM_CPATH=%s/sim/?.so LUA_PATH='?.lua;lua/?.lua;lua/?/init.lua;;' "
      .. "%s sim/sweep.lua --part=%d/2 %s"):format(helper.quote(helper.root), environment, build,
      helper.quote(helper.interpreter), i, arguments)
  end
  return run(commands)
end

-- Sums of what both printed at their ends, by kind. `least`: so many points of each kind.
local function judge(said, status, least)
  local kinds = tally.read(said, "all")
  io.stderr:write(tally.lines(kinds, " "))
  assert.equal(0, status, said)
  for kind, points in pairs(least) do
    assert.is_true(kinds[kind].points >= points, said)
    assert.equal(0, kinds[kind].failures, said)
  end
end

describe("when a call of the system or an allocation fails", function()
  it("nothing crashes, hangs or leaks, each socket tells its close once, and the next connection works", function()
    local said, status = parts(helper.build, "", "")
    judge(said, status, { alloc = 80000, crypto = 30000, call = 15000 })
  end)

  it("no memory is used that is not there", function()
    local built, failed = helper.run(("make -s -C %s BUILD=build-asan CC=gcc LDFLAGS=-Wl,-z,nodelete CFLAGS=%s sim"):format(
      helper.quote(helper.root),
      "'-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined'"))
    assert.equal(0, failed, built)
    local said, status = parts("build-asan",
      "LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0:abort_on_error=0", "--sample=29")
    judge(said, status, { alloc = 2500, crypto = 1000, call = 500 })
  end)
end)
