-- Random faults, 200 schedules of them: whatever is done to a connection, what comes out of the proxy is
-- a beginning of what went in, unchanged but for the bits it was told to flip.

local Proxy = require "spec.torture.proxy"
local lunawire = require "lunawire"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local SCHEDULES = 200
local FIRST = math.tointeger(tonumber(os.getenv "SEED")) or 1
local MOST = 400000           -- bytes sent one way
local LONGEST = 8             -- seconds a schedule may take

-- --- a schedule -------------------------------------------------------------------------------------------

-- Faults that lose nothing and end nothing, and those that do.
local harmless = {
  function(random) return "delay " .. random(0, 40) end,
  function(random) return ("delay %d %d"):format(random(0, 10), random(10, 60)) end,
  function() return "delay off" end,
  function(random) return "bandwidth " .. random(300000, 5000000) end,
  function() return "bandwidth off" end,
  function(random) return "slice " .. random(200, 20000) end,
  function() return "slice random" end,
  function() return "slice off" end,
}
local deadly = { "reset", "halfReset", "halfClose", "blackhole" }
local ENDING = { reset = "ECONNRESET", halfReset = "ECONNRESET", halfClose = "eof", blackhole = nil }

-- What is done to one direction in which n bytes are sent: {words, ...} in which order does not matter;
-- the bytes whose bits flip, and where the stream may end before it should.
local function faults_for(random, n)
  local plan = { flips = {}, deadly = false }
  for _ = 1, random(0, 6) do
    local words = random:pick(harmless)(random)
    plan[#plan + 1] = random:chance(0.5) and ("at %d %s"):format(random(0, n), words)
      or ("after %d %s"):format(random(0, 300), words)
  end
  if random:chance(0.3) then -- a stall that ends
    local ms = random(0, 200)
    plan[#plan + 1] = ("after %d stall"):format(ms)
    plan[#plan + 1] = ("after %d stall off"):format(ms + random(1, 200))
  end
  if random:chance(0.4) and n > 0 then
    local at = random(0, n - 1)
    plan.flips[at] = random(0, 7)
  end
  if random:chance(0.4) then
    plan.deadly = random:pick(deadly)
    plan.at = random:chance(0.7) and random(0, n) or nil
    plan[#plan + 1] = plan.at and ("at %d %s"):format(plan.at, plan.deadly)
      or ("after %d %s"):format(random(0, 400), plan.deadly)
  end
  return plan
end

-- Everything about one run, drawn before it begins.
local function schedule(seed)
  local random = Proxy.random(seed)
  local plan = { seed = seed, buffers = random:chance(0.3) and random(8192, 65536) or nil }
  for _, way in ipairs { "up", "down" } do
    local bytes = random:bytes(random:chance(0.1) and 0 or random(1, MOST))
    plan[way] = faults_for(random, #bytes)
    plan[way].bytes = bytes
    plan[way].piece = random(1000, 100000)   -- bytes in one send
    plan[way].closes = random:chance(0.7)    -- says the end when all is sent
    plan[way].nap = random:chance(0.4) and { random(0, 200), random(1, 300) } or nil -- when and how long nobody reads
  end
  return plan
end

-- --- one run ------------------------------------------------------------------------------------------------

-- What must come out if all of it comes out.
local function expected(plan)
  local bytes = plan.bytes
  for at, bit in pairs(plan.flips) do
    bytes = bytes:sub(1, at) .. string.char(bytes:byte(at + 1) ~ 1 << bit) .. bytes:sub(at + 2)
  end
  return bytes
end

-- Gives a peer what it has to send, in pieces; the end when it is all gone.
local function feed(sender, peer, plan)
  if sender.ended or peer.output ~= "" or peer.failed then return end
  if sender.at < #plan.bytes then
    peer:send(plan.bytes:sub(sender.at + 1, sender.at + plan.piece))
    sender.at = sender.at + plan.piece
  elseif plan.closes then
    peer.socket:shutdown()
    sender.ended = true
  end
end

local function check(ok, ...)
  if not ok then error(string.format(...), 0) end
end

-- What comes this way waits while its receiver takes a nap.
local function rest(peer, plan, ms)
  local nap = plan.nap
  peer.reading = not (nap and ms >= nap[1] and ms < nap[1] + nap[2])
end

-- What one receiver must have got. `broken`: what is done to the other way may have ended it early.
local function judge(way, plan, peer, broken)
  local whole, got, ended = expected(plan), #peer.bytes, peer.ended
  if peer.failed and ended then ended = "ECONNRESET" end -- its own send was told, then it reads "the end"
  check(whole:sub(1, got) == peer.bytes, "%s: what arrived is no beginning of what was sent", way)
  check(not plan.at or got <= plan.at, "%s: %s at byte %s, but %d arrived", way, plan.deadly, plan.at, got)
  if broken then return end
  local all = got == #whole and ended == (plan.closes and "eof" or nil)
  if not plan.deadly then return check(all, "%s: %d bytes arrived of %d, ended by %s", way, got, #whole, ended) end
  if not plan.at and all then return end -- it was over before
  check(not plan.at or got == plan.at, "%s: %d bytes arrived, not %s", way, got, plan.at)
  local due = ENDING[plan.deadly]
  check(ended == due, "%s: %s, but the stream ended by %s", way, plan.deadly, ended)
end

-- Does what comes this way end what goes the other way? A reset does; so does a RST one way, to whose
-- receiver nothing can be said any more.
local function breaks(plan)
  return plan.deadly == "reset" or plan.deadly == "halfReset"
end

local function run(plan)
  local server = wire.server()
  local proxy <close> = setmetatable({ it = Proxy.new { port = server.port, seed = plan.seed, buffers = plan.buffers } },
    { __close = function(self) self.it:close() end })
  proxy.it.onlink = function(link)
    for _, way in ipairs { "up", "down" } do
      for at, bit in pairs(plan[way].flips) do link[way]:corrupt(at, bit) end
      for _, words in ipairs(plan[way]) do link[way]:set(words) end
    end
  end
  local client = wire.connect(proxy.it.port)
  local target = server:accept()
  local up, down = { at = 0 }, { at = 0 }
  local quiet, before = 0, -1
  local start = lunawire.now()
  repeat -- until both streams are over, or nothing has moved for longer than any delay and any stall
    feed(up, client, plan.up)
    feed(down, target, plan.down)
    local now = lunawire.now()
    rest(target, plan.up, now - start)
    rest(client, plan.down, now - start)
    wire.turn()
    local moved = client.total + target.total
    for _, peer in ipairs { client, target } do moved = moved + (peer.ended and 1 or 0) - #peer.output end
    if moved ~= before then quiet = now end
    before = moved
    check(now - start < LONGEST * 1000, "it does not come to an end")
  until client.ended and target.ended or now - quiet > 1000
  judge("up", plan.up, target, breaks(plan.down))
  judge("down", plan.down, client, breaks(plan.up))
  client:close()
  target:close()
  server:close()
end

local function tell(plan)
  local lines = { ("seed %d (SEED=%d repeats it)"):format(plan.seed, plan.seed) }
  for _, way in ipairs { "up", "down" } do
    local one = plan[way]
    lines[#lines + 1] = ("  %s: %d bytes by %d, closes: %s"):format(way, #one.bytes, one.piece, one.closes)
    if one.nap then lines[#lines + 1] = ("    nobody reads after %d ms, for %d"):format(one.nap[1], one.nap[2]) end
    for at, bit in pairs(one.flips) do lines[#lines + 1] = ("    corrupt %d bit %d"):format(at, bit) end
    for _, words in ipairs(one) do lines[#lines + 1] = "    " .. words end
  end
  return table.concat(lines, "\n")
end

describe("the proxy, under random faults", function()
  before_each(turns.open)
  after_each(turns.clear)

  it(("delivers a beginning of what was sent, %d times"):format(SCHEDULES), function()
    for seed = FIRST, FIRST + SCHEDULES - 1 do
      local plan = schedule(seed)
      local ok, message = pcall(run, plan)
      if not ok then error(tell(plan) .. "\n" .. tostring(message), 0) end
    end
  end)

  it("draws the same schedule from the same seed", function()
    for seed = FIRST, FIRST + 20 do
      assert.equal(tell(schedule(seed)), tell(schedule(seed)))
      assert.not_equal(tell(schedule(seed)), tell(schedule(seed + 1)))
    end
  end)
end)
