-- A file of 64 MiB, both roles, ws and wss: the same bytes, and little of them in memory at any time.

local file = require "spec.torture.file"
local helper = require "spec.helper"
local pki = require "spec.pki"

local SIZE = 64 * 1024 * 1024
local MOST = 8 * 1024 * 1024 -- bytes its sender may grow by

describe("a file of 64 MiB", function()
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
        local seen = file.send(folder, path, role, scheme == "wss" and certs or nil, 60)
        assert.is_true(seen.equal, "another SHA-256")
        assert.same({ SIZE, SIZE / 65536 }, { seen.size, seen.fragments })
        assert.same({ 1005, true, 0 }, { seen.code, seen.clean, seen.left })
        assert.equal(0, seen.grew)
        assert.is_true(seen.looks > 0)
        assert.is_true(seen.growth < MOST, ("%.1f MiB"):format(seen.growth / 1048576))
      end)
    end
  end
end)
