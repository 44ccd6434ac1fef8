-- We and the npm package ws, each as client and as server (spec/peers/ws.js).

local foreign = require "spec.foreign"
local rules = require "spec.foreign_rules"

local traits = {
  name = "ws", closesWithout = true, seesPings = true, pings = true, fragments = true, seesRefusal = "body", setsHeaders = true,
}

local function start() return foreign.node "ws.js" end

describe("interop with ws #foreign", function()
  local peer

  setup(function() peer = start() end)
  teardown(function() peer:stop() end)

  rules.servesUs(function() return peer end, traits)
  rules.visitsUs(function() return peer end, traits)
  rules.dies(start, traits)
end)
