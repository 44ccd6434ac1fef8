-- A file of 1 GB, both roles, ws and wss: equal by SHA-256, and its sender grows by less than 8 MiB.

local file = require "spec.torture.file"

describe("a file of 1 GB", function()
  file.cases(1024 * 1024 * 1024, 300, function(role, scheme, seen)
    io.stderr:write(("  %s, %s: %.2f MiB more in memory, %d fragments, bufferedAmount looked at %d times\n"):format(
      role, scheme, seen.growth / 1048576, seen.fragments, seen.looks))
  end)
end)
