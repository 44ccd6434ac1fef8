-- Compression as a conformance suite has it: messages of 16 bytes to 128 KiB, every window, with context takeover and
-- without, every level and memLevel, in one frame and in many, by a client and by a server. compression.lua has the cases.

local compression = require "spec.conformance.compression"

local function label(case)
  local function way(side) return side[1] .. (side[2] and " bits, no takeover" or " bits") end
  local messages = ("%s: %d messages of %d bytes, %s"):format(case.number, case.count, case.size, case.kind)
  return ("%s; client %s, server %s; level %d, memLevel %d; fragments of %d, ours of %d"):format(messages, way(case.client),
    way(case.server), case.level, case.memLevel, case.theirs, case.ours)
end

for _, role in ipairs { "client", "server" } do
  describe("compression, by a " .. role .. " #foreign #slow", function()
    local verdicts

    setup(function() verdicts = compression.run(compression.cases, role) end)

    for _, case in ipairs(compression.cases) do
      it(label(case), function()
        local plain, packed = verdicts[case.number]:match "^ok (%d+) (%d+)$"
        assert(plain, verdicts[case.number])
        assert.equal(case.count * case.size, tonumber(plain))
        -- what can be compressed is, and what cannot grows by little
        local most = 1.125 * plain + 16 * case.count
        if case.level > 0 and case.size >= 1024 and (case.kind == "json" or case.kind == "sparse") then most = 0.8 * plain end
        assert.is_true(tonumber(packed) <= most, packed .. " for " .. plain)
      end)
    end
  end)
end

describe("the cases of compression", function()
  it("are 216 or more, for each role, and no number is there twice", function()
    local seen = {}
    for _, case in ipairs(compression.cases) do
      assert.is_nil(seen[case.number])
      seen[case.number] = true
    end
    assert.is_true(#compression.cases >= 216, #compression.cases)
  end)
end)
