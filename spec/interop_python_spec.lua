-- We and the Python package websockets, each as client and as server (spec/peers/websockets_peer.py).

local foreign = require "spec.foreign"
local rules = require "spec.foreign_rules"

local traits = {
  name = "websockets", pings = true, fragments = true, seesRefusal = "status", setsHeaders = true,
}

local function start() return foreign.python "websockets_peer.py" end

describe("interop with websockets #foreign", function()
  local peer

  setup(function() peer = start() end)
  teardown(function() peer:stop() end)

  rules.servesUs(function() return peer end, traits)
  rules.visitsUs(function() return peer end, traits)
  rules.dies(start, traits)
end)
