-- A file of 64 MiB, both roles, ws and wss: the same bytes, and little of them in memory at any time.

local file = require "spec.torture.file"

describe("a file of 64 MiB", function() file.cases(64 * 1024 * 1024, 60) end)
