-- A few of the hundred kills of spec/torture/chat_torture.lua.

local kills = require "spec.torture.kills"

describe("the chat room, killed and started again #slow #foreign", function()
  it("has every acknowledged line once and in order, and everybody back within three seconds", function()
    local figures = kills.run { kills = 4, clients = 20, rate = 100, uptime = 500, downtime = 300, delay = { 5, 60 }, seed = 7 }
    assert.same({}, figures.problems, tostring(figures))
    assert.equal(4, figures.kills)
    assert.equal(figures.sent, figures.acknowledged)
    assert.is_true(figures.sent > 200 and #figures.back >= 40, tostring(figures))
  end)
end)
