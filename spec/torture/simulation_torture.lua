-- 100,000 lives over a system in memory, half of them in each of two processes; and whether they would see a broken library.

local helper = require "spec.helper"

local FIRST = math.tointeger(tonumber(os.getenv "SEED")) or 1
local LIVES = 100000

describe("over a system in memory", function()
  it(("everything holds in %d lives, from SEED=%d on"):format(LIVES, FIRST), function()
    local peers = {}
    for i = 1, 2 do
      local first = FIRST + (i - 1) * (LIVES // 2)
      local simulate = ("%s %d %d"):format(helper.quote(helper.root .. "/sim/simulate.lua"), first, first + LIVES // 2 - 1)
      peers[i] = helper.peer(helper.sim(simulate), 3600)
    end
    for _, peer in ipairs(peers) do
      local said = {}
      repeat
        said[#said + 1] = peer:line(nil, 3600)
      until said[#said]:find "^%d+ lives,"
      assert.equal(("%d lives, 0 of them broken"):format(LIVES // 2), table.concat(said, "\n"))
      peer:stop()
    end
  end)

  it("each deliberate breakage is seen", function()
    local said, status = helper.run(helper.lua(helper.quote(helper.root .. "/sim/mutants.lua")))
    io.write("\n", said)
    assert.equal(0, status)
  end)
end)
