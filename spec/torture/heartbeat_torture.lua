-- Heartbeats for ten minutes, 50 dead lines, and a herd of 200: the long form of heartbeat_spec.lua. Prints
-- its figures.

local Proxy = require "spec.torture.proxy"
local beats = require "spec.torture.beats"
local lunawire = require "lunawire"
local turns = require "spec.lua_helper"

local SEED = math.tointeger(tonumber(os.getenv "SEED")) or 1
local SECONDS = 600

local function clear()
  Proxy.clear()
  turns.clear()
end

describe("lines that go dead at any moment", function()
  before_each(turns.open)
  after_each(clear)

  for _, who in ipairs { "a client's heartbeat", "a server's own heartbeat" } do
    for _, timeout in ipairs { 300, 500, 800 } do
      it(("are found by %s, 50 of 50, interval 500 ms and timeout %d ms"):format(who, timeout), function()
        local late, wrong = beats.blackholes {
          count = 50, interval = 500, timeout = timeout, span = 3000, seed = SEED, server = who:match "server" ~= nil,
        }
        assert.same({}, wrong)
        assert.equal(50, #late)
        local least, middle, most = beats.range(late)
        print(("  %s, timeout %d ms: %d of 50 found; after interval + timeout: least %.1f, median %.1f, most %.1f ms"):format(
          who, timeout, #late, least, middle, most))
        assert.is_true(most < 200, ("%.0f ms late, seed %d"):format(most, SEED))
        assert.is_true(least > -500 - 50, ("%.0f ms early, seed %d"):format(-least, SEED))
      end)
    end
  end
end)

-- One of those that are busy, in a process of its own: prints three numbers, and what was given up.
local BUSY = [[
  local turns, beats = require "spec.lua_helper", require "spec.torture.beats"
  local server, seconds, seed = ...
  turns.open()
  local answers, share, alarms = beats.busy {
    count = 40, interval = 600, timeout = 1000, seconds = tonumber(seconds), seed = math.tointeger(tonumber(seed)),
    server = server == "server",
  }
  turns.clear()
  print(answers, share, #alarms, table.concat(alarms, ", "))]]

describe(("heartbeats for %d seconds"):format(SECONDS), function()
  before_each(turns.open)
  after_each(clear)

  it("give nobody up: late answers in one process, busy handlers in two more", function()
    local busy = {}
    for i, side in ipairs { "client", "server" } do
      busy[i] = beats.program(BUSY, ("%s %d %d"):format(side, SECONDS, SEED), SECONDS + 120)
    end
    local tally = beats.delays { count = 100, interval = 500, timeout = 400, margin = 30, seconds = SECONDS, seed = SEED }
    print(("  late: %d beats answered, %d of them 30 ms before the timeout, %d false alarms"):format(
      tally.answers, tally.late, #tally.alarms))
    local said = {}
    for i, side in ipairs { "a client", "a server" } do
      said[i] = busy[i]:line(lunawire.step, 60)
      local answers, share, alarms = said[i]:match "^(%d+)%s+(%S+)%s+(%d+)"
      print(("  busy: %s at work for %.0f %% of the time, %s beats answered, %s false alarms"):format(
        side, (tonumber(share) or 0) * 100, answers, alarms))
    end
    assert.same({}, tally.alarms)
    for i = 1, 2 do
      local answers, _, alarms = said[i]:match "^(%d+)%s+(%S+)%s+(%d+)"
      assert.equal("0", alarms, said[i])
      assert.is_true(tonumber(answers) > SECONDS * 10, said[i])
    end
  end)
end)

describe("a herd of 200 clients", function()
  before_each(turns.open)
  after_each(clear)

  for _, away in ipairs { 300, 600, 900 } do
    it(("is back within 3 s, and spread, when its server was away for %d ms"):format(away), function()
      local moments, gone = beats.herd { count = 200, away = away, options = { maxDelay = 1000, heartbeat = false } }
      assert.equal(200, #moments)
      local first, middle, last = beats.range(moments)
      local peak, mean = beats.crowd(moments)
      print(("  away for %.0f ms: back after %.0f to %.0f ms (median %.0f), in 100 ms at most %d, %.1f on average"):format(
        gone, first, last, middle, peak, mean))
      assert.is_true(last < 3000)
      assert.is_true(peak < 3 * mean)
    end)
  end
end)
