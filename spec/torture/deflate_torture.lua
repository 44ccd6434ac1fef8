-- The exchanges of spec/interop_deflate_spec.lua for every combination of the four parameters, asked for by either side:
-- 512 for each role and peer, 1,000 messages each way.

local helper = require "spec.helper"

require("spec.foreign").seconds = 3600
package.loaded["spec.interop_deflate_spec.every"] = true
assert(loadfile(helper.root .. "/spec/interop_deflate_spec.lua", "t", _ENV))()
