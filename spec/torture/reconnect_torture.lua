-- 200,000 random lives of a ReconnectingWebSocket, in a world without network and without time: see lives.lua.

local lives = require "spec.lives"

local LIVES = 200000
local FIRST = math.tointeger(tonumber(os.getenv "SEED")) or 1

describe("a ReconnectingWebSocket", function()
  it(("lives through %d sequences of faults, calls and errors, from SEED=%d on"):format(LIVES, FIRST), function()
    local steps, start = 0, os.clock()
    for seed = FIRST, FIRST + LIVES - 1 do steps = steps + lives.run(seed) end
    io.write(("\n  %d lives, %d steps, %.0f s\n"):format(LIVES, steps, os.clock() - start))
  end)
end)
