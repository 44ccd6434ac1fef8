-- 20,000 lives of a ReconnectingWebSocket, drawn by chance: see lives.lua for what must hold in each.
-- `make torture` has ten times as many.

local lives = require "spec.lives"

local LIVES = 20000

describe("a ReconnectingWebSocket's life #slow", function()
  it("keeps its promises, whatever happens and whatever is called: " .. LIVES .. " of them", function()
    local steps = 0
    for seed = 1, LIVES do steps = steps + lives.run(seed) end
    assert.is_true(steps > 20 * LIVES)
  end)

  it("is the same for the same seed", function()
    for seed = 1, 50 do assert.equal(lives.run(seed), lives.run(seed)) end
  end)
end)
