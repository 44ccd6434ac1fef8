-- kill -9 for the chat server, a hundred times, while twenty people say fifty lines a second.

local kills = require "spec.torture.kills"

local SEED = math.tointeger(tonumber(os.getenv "SEED")) or 1

local function report(figures)
  if figures.kills % 10 == 0 then
    io.stderr:write(("  %d kills, %d problems\n"):format(figures.kills, #figures.problems))
  end
end

local function judge(figures, least)
  io.stderr:write("  ", tostring(figures), "\n")
  assert.same({}, figures.problems)
  assert.equal(figures.sent, figures.acknowledged)
  assert.is_true(figures.sent > least, "too little was said: " .. figures.sent)
end

describe("the chat room under a hundred kills", function()
  it("has every acknowledged line once and in order, and everybody back within three seconds", function()
    judge(kills.run { kills = 100, clients = 20, rate = 50, seed = SEED, onkill = report }, 5000)
  end)
end)

describe("the chat room under kills, at the end of a slow line that is cut as well", function()
  it("has every acknowledged line once and in order, and everybody back within three seconds", function()
    judge(kills.run { kills = 30, clients = 20, rate = 100, delay = { 5, 100 }, seed = SEED + 1, onkill = report }, 3000)
  end)
end)
