-- Dead lines are found, living ones left alone; servers that stand still, are killed, or are cut off. The
-- short form of heartbeat_torture.lua.

local Network = require "spec.torture.network"
local Proxy = require "spec.torture.proxy"
local beats = require "spec.torture.beats"
local lunawire = require "lunawire"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local SEED = math.tointeger(tonumber(os.getenv "SEED")) or 1

local function clear()
  Proxy.clear()
  turns.clear()
end

for _, who in ipairs { "a client's heartbeat", "a server's own heartbeat" } do
  local server = who:match "server" ~= nil

  describe(who, function()
    before_each(turns.open)
    after_each(clear)

    for _, timeout in ipairs { 80, 100, 180 } do
      it(("finds a dozen lines that went dead, interval 100 ms and timeout %d ms #slow"):format(timeout), function()
        local late, wrong = beats.blackholes {
          count = 12, interval = 100, timeout = timeout, span = 400, seed = SEED, server = server,
        }
        assert.same({}, wrong)
        assert.equal(12, #late)
        local least, _, most = beats.range(late)
        assert.is_true(most < 200, ("%.0f ms late, seed %d"):format(most, SEED))
        assert.is_true(least > -100 - 50, ("%.0f ms early, seed %d"):format(-least, SEED))
      end)
    end

    it("gives nobody up while its handlers are busy #slow #foreign", function()
      local answers, share, alarms = beats.busy {
        count = 10, interval = 150, timeout = 200, seconds = 3, seed = SEED, server = server,
      }
      assert.same({}, alarms)
      assert.is_true(answers >= 40, answers .. " answers")
      assert.is_true(share > 0.2, share .. " of the time")
    end)
  end)
end

describe("heartbeats of both sides", function()
  before_each(turns.open)
  after_each(clear)

  it("give nobody up whose answers come just in time #slow", function()
    local answers, late, rounds = 0, 0, 0
    repeat -- on a machine that has other things to do there are fewer in a round
      local tally = beats.delays { count = 20, interval = 250, timeout = 200, margin = 30, seconds = 3, seed = SEED }
      assert.same({}, tally.alarms)
      answers, late, rounds = answers + tally.answers, late + tally.late, rounds + 1
    until answers > 300 or rounds == 5
    assert.is_true(answers > 300, answers .. " answers")
    local share = late / answers
    assert.is_true(share > 0.2 and share < 0.4, share .. " of them late")
  end)
end)

describe("a ReconnectingWebSocket with a heartbeat #foreign", function()
  local BEAT = { interval = 100, timeout = 150 }
  local OPTIONS = { minDelay = 50, maxDelay = 200, handshakeTimeout = 300, heartbeat = BEAT }
  local NOTICED = BEAT.interval + BEAT.timeout + 200
  -- It may just have begun to wait, or to try in vain; then it tries, and this machine may be slow.
  local BACK = OPTIONS.maxDelay + OPTIONS.handshakeTimeout + 1000

  before_each(turns.open)
  after_each(function()
    Network.clear()
    clear()
  end)

  local function connect(host, port)
    local ws = lunawire.ReconnectingWebSocket(("ws://%s:%s/"):format(host, port), nil, OPTIONS)
    turns.keep { close = function()
      ws:close()
      ws:terminate()
    end }
    local log = wire.record(ws, { "open", "message", "close" })
    wire.await(function() return #log == 1 end, "the first open")
    beats.pass(300)
    assert.same({ "open" }, log) -- it has beaten, and was answered
    return ws, log
  end

  -- Waits for the log's last entry to be this; returns how many milliseconds that took.
  local function takes(log, words)
    local began = lunawire.now()
    wire.await(function() return log[#log] == words end, words .. " after " .. table.concat(log, ", "))
    return lunawire.now() - began
  end

  local DEAD = "close 1006 heartbeat timeout unclean"

  local function is(took, most)
    assert.is_true(took < most, ("%.0f ms, not %d"):format(took, most))
  end

  it("notices a server that stands still, and is back when it goes on #slow", function()
    local server = beats.program(beats.SERVER)
    local ws, log = connect("127.0.0.1", server:line(lunawire.step))
    server:suspend()
    is(takes(log, DEAD), NOTICED)
    wire.await(function() return ws.retryCount >= 2 end) -- the system took connections for it, and nobody answered
    server:resume()
    is(takes(log, "open"), BACK)
    ws:send "ping"
    wire.await(function() return log[#log]:match "^text" end, "an answer")
    assert.equal("text pong", log[#log])
  end)

  it("is back when a server that was killed is there again #slow", function()
    local server = beats.program(beats.SERVER)
    local port = server:line(lunawire.step)
    local _, log = connect("127.0.0.1", port)
    beats.kill(server)
    is(takes(log, "close 1006  unclean"), NOTICED)
    beats.pass(400)
    beats.program(beats.SERVER, port):line(lunawire.step)
    is(takes(log, "open"), BACK)
  end)

  it("notices a cable that was pulled, and is back when it is plugged in #slow", function()
    if not Network.available() then return pending(Network.missing()) end
    local net = Network.new()
    local server = net:run("b", beats.command(beats.SERVER, "0 " .. net.b.address))
    local port = server:line(lunawire.step)
    net:inside("a", function() -- each attempt's socket is to be made there
      local ws, log = connect(net.b.address, port)
      net:down()
      is(takes(log, DEAD), NOTICED)
      wire.await(function() return ws.retryCount >= 2 end)
      net:up()
      is(takes(log, "open"), BACK)
      ws:close()
      wire.await(function() return ws.readyState == 3 end)
    end)
  end)
end)

describe("a herd of clients #foreign", function()
  before_each(turns.open)
  after_each(clear)

  it("is back after its server was killed, and not in one moment #slow", function()
    local moments = beats.herd { count = 50, away = 600, options = { maxDelay = 1000, heartbeat = false } }
    local first, _, last = beats.range(moments)
    assert.equal(50, #moments)
    assert.is_true(last < 3000, ("the last after %.0f ms"):format(last))
    assert.is_true(last - first > 200, ("all within %.0f ms"):format(last - first))
  end)
end)
