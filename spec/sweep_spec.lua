-- What a lack of memory and every error of the system come to, over a system in memory (sim/sweep.lua). Here are some
-- of the points; spec/torture/sweep_torture.lua has all.

local helper = require "spec.helper"

local core = helper.build .. "/sim/?.so"

-- Where the linker cannot put a world below the library there is none.
local function isThere()
  local file = io.open(helper.build .. "/sim/lunawire/core.so")
  if file then file:close() end
  return file ~= nil
end

local function sweep(arguments)
  return helper.run(("cd %s && SIM_CPATH=%s %s"):format(helper.quote(helper.root), helper.quote(core),
    helper.lua("sim/sweep.lua " .. arguments)))
end

local linux = helper.run "uname -s" == "Linux\n"

describe("when a call of the system or an allocation fails #slow #foreign", function()
  if not linux then return end

  it("there is a world to see it in", function() assert.is_true(isThere()) end)

  it("nothing crashes, hangs or leaks, each socket tells its close once, and the next connection works", function()
    local said, status = sweep "--kinds=alloc,call --sample=131"
    local scenarios, points = 0, 0
    for count in said:gmatch "(%d+) points" do
      scenarios, points = scenarios + 1, points + tonumber(count)
    end
    assert.equal(0, status, said)
    assert.is_true(scenarios >= 56, said)
    assert.is_true(points >= 800, said)
  end)

  -- A certificate whose key there was no memory for was kept, and no server of that `ca` could be reached any more.
  it("nor does it when OpenSSL has no memory", function()
    local said, status = sweep "--kinds=crypto --sample=61 wss"
    assert.equal(0, status, said)
    assert.is_true(tonumber(said:match "(%d+) points") >= 100, said)
  end)

  it("an error that is none of memory is found, and how to see it again is said", function()
    local said, status = sweep "--modes=twice --kinds=alloc wrong"
    assert.equal(1, status)
    assert.matches("sweep.lua 'wrong' alloc %d+ twice\n%s*raised: [^\n]*some other error", said)
  end)

  it("a second close is found", function()
    local said, status = sweep "'wrong and silent' none"
    assert.equal(1, status)
    assert.matches("told 2 closes", said)
  end)
end)
