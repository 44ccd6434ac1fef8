-- A few bombs at once, as bombs_torture.lua has them: all are told 1009, and memory grows by no more than 1.1 MiB
-- for each, and what the loop has once.

local bombs = require "spec.torture.bombs"
local wire = require "spec.wire"

local COUNT = 12

describe("bombs #foreign", function()
  after_each(wire.done)

  for _, how in ipairs { "whole", "held" } do
    it("of 64 MiB and less, " .. how, function()
      local seen = bombs.throw(COUNT, { 64, 2, 16 }, how)
      assert.same({ [1009] = COUNT }, seen.codes)
      if os.getenv "LD_PRELOAD" then return end -- a sanitizer's memory is not ours
      assert.is_true(seen.peak < COUNT * 1.1 * 1024 + 512, seen.peak)
      assert.is_true(how == "whole" or seen.held > COUNT * 1000, seen.held) -- or this shows nothing
    end)
  end
end)
