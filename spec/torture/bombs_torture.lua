-- 100 bombs at once, of 64 KiB that come to 64 MiB and smaller ones: all are told 1009, and memory grows by no more
-- than 1.1 MiB for each.

local bombs = require "spec.torture.bombs"
local wire = require "spec.wire"

local COUNT, MOST = 100, 1.1 * 1024 -- KiB

describe("100 bombs", function()
  after_each(wire.done)

  for _, how in ipairs { "whole", "held" } do
    for name, sizes in pairs { ["64 MiB each"] = { 64 }, ["2 to 64 MiB"] = { 2, 64, 5, 16, 33 } } do
      it(("of %s, %s"):format(name, how), function()
        local seen = bombs.throw(COUNT, sizes, how)
        io.stderr:write(("  %s, %s: %d KiB more at most, %.1f for each; %d in the end\n"):format(name, how, seen.peak,
          seen.peak / COUNT, seen.rest))
        assert.same({ [1009] = COUNT }, seen.codes)
        assert.is_true(seen.peak < COUNT * MOST, seen.peak)
        assert.is_true(how == "whole" or seen.held > COUNT * 1000, seen.held) -- or this shows nothing
      end)
    end
  end
end)
