-- A server under load, by foreign clients: 9,000 handshakes that never end, 200 clients who do not read a broadcast, 10,000
-- resets, no descriptor left, floods, and readers of a byte a second. Beside each, good clients whose messages are
-- timed. All figures are printed; the first mark is a ratio of two latencies of the same run.

local helper = require "spec.helper"
local load = require "spec.torture.load"
local pki = require "spec.pki"
local system = require "system"

local certs

-- Options of a server with TLS.
local function secure(more)
  return ("{ heartbeat = false, tls = { cert = %q, key = %q }, %s }"):format(certs:cert "good", certs:key "good", more or "")
end

local function figures(name, fared)
  load.print("%-28s %6d messages, ms: p50 %.3f  p99 %.3f (calm %.3f)  p999 %.3f  most %.1f", name, fared.n, fared.p50,
    fared.p99, fared.calm, fared.p999, fared.max)
end

-- The median of a field over rounds.
local function median(rounds, phase, field)
  local values = {}
  for i, round in ipairs(rounds) do values[i] = round[phase][field] end
  table.sort(values)
  return values[(#values + 1) // 2]
end

local function well(fared)
  assert.equal(0, fared.gone)
  assert.equal(0, fared.others)
end

describe("a server under load", function()
  setup(function() certs = pki.new() end)
  teardown(function() certs:close() end)
  after_each(load.clear)

  -- --- handshakes that never end ------------------------------------------------------------------------

  local function crowd(what, count, rounds)
    local server = load.server { options = "{ heartbeat = false }", tls = secure(), measured = true }
    local seen = load.halfopen(server, { what = what, count = count, rounds = rounds, steady = 5 })
    for i, round in ipairs(seen) do
      figures(("round %d: nobody else"):format(i), round.quiet)
      figures(("  %d come in %.1f s"):format(count, round.there.took), round.coming)
      figures(("  all are there, %.0f bytes/s"):format(round.first.pace), round.steady)
      figures("  they are ended", round.ending)
      load.print("  the server: %.0f%% of a processor; %d KiB more, %.2f each", round.busy, round.memory,
        round.memory / count)
      load.print("  they were ended %.2f to %.2f s after they came: %d eof, %d reset", round.gone.least, round.gone.most,
        round.gone.eof or 0, round.gone.reset or 0)
      assert.equal(count, round.there.there)
      assert.equal(count, round.held)
      assert.equal(0, round.gone.left)
      assert.is_true(round.first.pace > count / 2 or what ~= "head", round.first.pace) -- or it was no load
      assert.equal(count, (round.gone.eof or 0) + (round.gone.reset or 0))
      assert.is_true(round.gone.least > 9.99, round.gone.least)
      assert.is_true(round.gone.most < 14, round.gone.most) -- from its connect(): the server took it later
      assert.equal(0, round.left)
      for _, phase in ipairs { "quiet", "coming", "steady", "ending" } do well(round[phase]) end
    end
    return seen
  end

  it("of 9,000 heads that come a byte a second", function()
    if load.limit() < 9100 then return pending "the limit of descriptors is too low" end
    local seen = crowd("head", 9000, 5)
    local quiet, steady
    for _, what in ipairs { "p50", "calm", "p99" } do
      quiet, steady = median(seen, "quiet", what), median(seen, "steady", what)
      load.print("%s of five rounds, the median: %.3f ms with nobody else, %.3f ms with 9,000: %.2f times", what, quiet,
        steady, steady / quiet)
    end
    assert.is_true(seen[1].memory < 9000 * 4, seen[1].memory)
    assert.is_true(steady <= 2 * quiet)
  end)

  for _, what in ipairs { "silent", "hello", "flight" } do
    it(("of 5,000 TLS handshakes: %s"):format(what), function()
      if load.limit() < 5100 then return pending "the limit of descriptors is too low" end
      local seen = crowd(what, 5000, 1)
      assert.is_true(seen[1].memory < 5000 * 64, seen[1].memory)
    end)
  end

  -- --- broadcasts -------------------------------------------------------------------------------------------

  -- What may be held: of longer messages one copy, and a reference for each who waits; of short ones a copy each.
  for name, size in pairs { ["1 KiB"] = 1024, ["4 KiB"] = 4096, ["100 bytes"] = 100 } do
    it(("of 10,000 messages of %s to 200 who do not read"):format(name), function()
      local server = load.server { options = "{ heartbeat = false, maxBufferedAmount = 1048576 }" }
      local count = size < 1024 and 100000 or 10000
      local readers, deaf, peak = load.broadcast(server, {
        deaf = 200, readers = 20, messages = count, size = size, each = count // 1000, gap = size > 1024 and 20 or 5,
      })
      local bound = size > 512 and 1.2 + 200 * 64 / size or 200 * 1.1
      load.print("%s: the readers took %.1f s; the server held %.1f MiB more of %.1f; each who does not read got %d messages",
        name, readers.took, peak / 1024, bound + 2, deaf.frames // 200)
      assert.same({ 20, 20 * count, 0, 0 }, { readers.whole, readers.messages, readers.wrong, readers.gone })
      assert.same({ 200, 0, 0 }, { (deaf.eof or 0) + (deaf.reset or 0), deaf.closes, deaf.mixed })
      local heard = server:heard()
      assert.equal(200, heard["error-slow"])
      assert.is_true(peak < (bound + 2) * 1024, peak)
    end)
  end

  it("of 10,000 messages to 200 who read them late, within maxBufferedAmount", function()
    local server = load.server {}
    local readers, deaf, peak = load.broadcast(server, { deaf = 200, readers = 20, wake = 1 })
    load.print("read late: the server held %.1f MiB more", peak / 1024)
    assert.same({ 20, 200000, 0 }, { readers.whole, readers.messages, readers.wrong })
    assert.same({ 200, 2000000, 0 }, { deaf.all, deaf.frames, deaf.mixed })
    assert.is_true(peak < 64 * 1024, peak) -- 10 MiB once, and 200 times 6,000 references or so
    assert.is_nil(server:heard()["error-slow"])
  end)

  -- --- resets -----------------------------------------------------------------------------------------------

  it("of 10,000 connections that are reset", function()
    local server = load.server { tls = secure() }
    load.storm(server, 2000) -- what is made once is made now
    for i = 1, 3 do
      local said, fared, left, memory = load.storm(server, 10000)
      figures(("10,000 resets in %.1f s"):format(said.took), fared)
      load.print("  %d descriptors and %d KiB more than before", left, memory)
      assert.equal(0, said.failures)
      assert.equal(0, left)
      well(fared)
      assert.is_true(i == 1 or memory < 256, memory)
    end
  end)

  -- --- descriptors ------------------------------------------------------------------------------------------

  it("of 200 clients when it has 64 descriptors, maxConnections coming from them", function()
    local server = load.server { descriptors = 64 }
    local full, served, _, busy, woke = load.crowd(server, { count = 200, idle = 2.3 })
    load.print("64 descriptors: %d inside, %d were told 503, %d ended", full.inside, full.told, full.ended)
    load.print("  full, it took %.1f%% of a processor and woke %.0f times a second", busy * 100, woke)
    assert.equal(200, full.inside + full.told + full.ended)
    assert.is_true(full.told >= 5, full.told)
    assert.equal(full.inside, served.served)
    assert.is_true(busy < 0.05, busy)
    assert.is_nil(server:heard()["server-error-system"])
  end)

  it("of 200 clients when it has 64 descriptors, and all of them are used", function()
    local server = load.server { descriptors = 64, options = "{ heartbeat = false, maxConnections = 1000 }" }
    local full, served, last, busy, woke = load.crowd(server, { count = 200, idle = 2.3 })
    load.print("64 descriptors, all used: %d inside, %d wait", full.inside, full.waiting)
    load.print("  full, it took %.1f%% of a processor and woke %.0f times a second", busy * 100, woke)
    assert.equal(200, full.inside + full.waiting)
    assert.equal(full.inside, served.served)
    assert.is_true(busy < 0.05, busy)
    assert.is_true(woke > 1 and woke < 100, woke)
    assert.same({ 0, 0, 0 }, { last.waiting, last.told, last.ended })
    assert.equal(last.inside, last.served)
    assert.equal(1, server:heard()["server-error-system"])
  end)

  it("of 200 clients when the program itself holds the descriptors", function()
    local server = load.server { descriptors = 64 }
    assert.is_true(server:order("hoard 9").hoarded > 20)
    local full, served, last, busy = load.crowd(server, { count = 200, idle = 2.3, leave = 4 })
    load.print("64 descriptors, most of them the program's: %d inside, %d wait, %d were told 503; %.1f%% of a processor",
      full.inside, full.waiting, full.told, busy * 100)
    assert.is_true(full.inside >= 5 and full.inside <= 10, full.inside)
    assert.equal(full.inside, served.served)
    assert.is_true(busy < 0.05, busy)
    assert.equal(0, last.waiting)
    assert.equal(1, server:heard()["server-error-system"])
    server:order "release"
    local again = load.crowd(server, { count = 30, idle = 0.4 })
    assert.equal(30, again.inside)
  end)

  -- --- floods -----------------------------------------------------------------------------------------------

  -- read: what ends who reads the answers; deaf: what ends who does not.
  local FLOODS = {
    { "pings" }, { "messages" }, { "long", deaf = "error-slow" }, { "compressed" }, { "nothing" },
    { "fragments", read = "closed1008" }, { "empty", read = "closed1008" },
  }

  local FLOODED = "{ heartbeat = false, perMessageDeflate = true, maxBufferedAmount = 1048576 }"

  for _, flood in ipairs(FLOODS) do
    for read = 1, 0, -1 do
      it(("of a flood of %s from 20 who %s"):format(flood[1], read == 1 and "read" or "do not read"), function()
        local server = load.server { options = FLOODED }
        local became, fared, peak = load.flood(server, { { what = flood[1], clients = 20, seconds = 8, read = read } })
        became = became[1]
        local ends = {}
        for name, count in pairs(became) do ends[#ends + 1] = name .. " " .. count end
        table.sort(ends)
        figures(("%s, %s"):format(flood[1], read == 1 and "read" or "not read"), fared)
        local heard = server:heard()
        load.print("  %d KiB more at most; %s; errors: slow %d, protocol %d", peak, table.concat(ends, ", "),
          heard["error-slow"] or 0, heard["error-protocol"] or 0)
        well(fared)
        assert.is_true(peak < 20 * 1024 * 1.1 + 8192, peak)
        if read == 1 then
          assert.equal(flood.read and 0 or 20, became.left)
          if flood.read then assert.equal(20, became[flood.read]) end
        elseif flood.deaf then
          assert.equal(0, became.left)
          assert.equal(20, heard[flood.deaf])
        elseif flood.read then
          assert.equal(0, became.left) -- at closeTimeout at the latest
          assert.equal(20, heard["error-protocol"])
        end
      end)
    end
  end

  -- --- slow readers -----------------------------------------------------------------------------------------

  local function slow(name, options, arguments, seconds)
    local server = load.server { options = options }
    local good = load.peer("echo", server.port)
    good:words()
    local before = server:descriptors()
    arguments.clients = 50
    server:mark()
    local began = system.monotime()
    local peers = load.peer("slow", server.port, arguments)
    peers:words()
    helper.await(function() return server:descriptors() <= before end, function() system.sleep(0.2) end, seconds)
    local took, left, peak = system.monotime() - began, server:descriptors() - before, server:peak()
    local fared, read = good:ask(), peers:ask()
    figures(name, fared)
    load.print("  %.1f MiB more at most; %d left after %.1f s; each has read %d of %d bytes", peak / 1024, left, took,
      read.read // 50, arguments.size * (arguments.times or 1))
    well(fared)
    assert.equal(0, left)
    assert.is_true(peak < 50 * 1.1 * 8192 + 8192, peak)
    return server:heard(), read
  end

  it("of 50 who read an answer of 6 MiB a byte a second", function()
    local heard = slow("a long answer", "{ heartbeat = false }", { size = 6291456 }, 60)
    assert.equal(50, heard["error-timeout"])
  end)

  it("of 50 who ask for more than maxBufferedAmount and read a byte a second", function()
    local heard = slow("many answers", "{ heartbeat = false, maxBufferedAmount = 4194304 }", { size = 1048576, times = 20 }, 20)
    assert.equal(50, heard["error-slow"])
  end)

  it("of 50 who read a page of 8 MiB a byte a second", function()
    slow("a page", "{ heartbeat = false }", { ask = "page", size = 8000000 }, 20)
  end)
end)
