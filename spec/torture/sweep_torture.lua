-- All points of all scenarios of sim/sweep.lua: each allocation fails, alone, with the next, and with all that follow;
-- each of OpenSSL's own; each call of the system with each errno. Two processes share the points. Then a sample of them
-- under ASan and UBSan.

local helper = require "spec.helper"

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

local function judge(said, status, least)
  local points = 0
  for count in said:gmatch "(%d+) points" do points = points + tonumber(count) end
  io.stderr:write(("  %d points\n"):format(points))
  assert.equal(0, status, said)
  assert.is_true(points >= least, said)
end

describe("when a call of the system or an allocation fails", function()
  it("nothing crashes, hangs or leaks, each socket tells its close once, and the next connection works", function()
    local said, status = parts(helper.build, "", "")
    judge(said, status, 100000)
  end)

  it("no memory is used that is not there", function()
    local built, failed = helper.run(("make -s -C %s BUILD=build-asan CC=gcc LDFLAGS=-Wl,-z,nodelete CFLAGS=%s sim"):format(
      helper.quote(helper.root),
      "'-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined'"))
    assert.equal(0, failed, built)
    local said, status = parts("build-asan",
      "LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0:abort_on_error=0", "--sample=29")
    judge(said, status, 5000)
  end)
end)
