-- A file of 1 GB, both roles, ws and wss: equal by SHA-256, and its sender grows by less than 8 MiB.

local file = require "spec.torture.file"
local helper = require "spec.helper"
local pki = require "spec.pki"

local SIZE = 1024 * 1024 * 1024
local MOST = 8 * 1024 * 1024

describe("a file of 1 GB", function()
  local folder, path, certs

  setup(function()
    folder, certs = helper.directory(), pki.new()
    path = folder .. "/file"
    file.make(path, SIZE)
  end)

  teardown(function()
    certs:close()
    helper.remove(folder)
  end)

  for _, role in ipairs { "client", "server" } do
    for _, scheme in ipairs { "ws", "wss" } do
      it(("goes from a %s over %s"):format(role, scheme), function()
        local seen = file.send(folder, path, role, scheme == "wss" and certs or nil, 300)
        io.stderr:write(("  %s, %s: %.2f MiB more in memory, %d fragments, bufferedAmount looked at %d times\n"):format(
          role, scheme, seen.growth / 1048576, seen.fragments, seen.looks))
        assert.is_true(seen.equal, "another SHA-256")
        assert.equal(SIZE, seen.size)
        assert.same({ 1005, true, 0 }, { seen.code, seen.clean, seen.left })
        assert.equal(0, seen.grew)
        assert.is_true(seen.growth < MOST)
      end)
    end
  end
end)
