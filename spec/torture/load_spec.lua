-- What load_torture.lua has by the thousand, by the dozen: half-open handshakes, deaf receivers, resets, no descriptor
-- left, floods and slow readers. How long things take is not judged here, but what becomes of everybody is.

local helper = require "spec.helper"
local load = require "spec.torture.load"
local pki = require "spec.pki"

local SANITIZED = os.getenv "LD_PRELOAD" ~= nil -- its memory and its pace are not ours

local certs

-- Options of a server with TLS.
local function secure(more)
  return ("{ heartbeat = false, tls = { cert = %q, key = %q }, %s }"):format(certs:cert "good", certs:key "good", more or "")
end

describe("a server under load #foreign #slow", function()
  setup(function() certs = pki.new() end)
  teardown(function() certs:close() end)
  after_each(load.clear)

  -- Nobody was left without an answer. At most one message each is on its way when it is asked.
  local function well(fared, clients)
    assert.is_true(fared.n > 0)
    assert.equal(0, fared.gone)
    assert.equal(0, fared.others)
    if not SANITIZED then assert.is_true(fared.out <= (clients or 10) * 20, fared.out .. " not answered") end
  end

  it("ends handshakes that never end, when their time is over", function()
    local server = load.server {
      options = "{ heartbeat = false, handshakeTimeout = 1000 }", tls = secure "handshakeTimeout = 1000",
    }
    local crowds = {}
    local before = server:descriptors()
    for i, what in ipairs { "head", "hello", "flight", "silent" } do
      crowds[i] = load.peer("halfopen", what == "head" and server.port or server.tls,
        { count = 100, what = what, pace = 20, idle = 0 })
    end
    local good = load.peer("echo", server.port)
    good:words()
    for i, crowd in ipairs(crowds) do
      assert.equal(100, crowd:words().there)
      crowd:words()
      local gone = crowd:words()
      assert.equal(0, gone.left)
      assert.equal(100, (gone.eof or 0) + (gone.reset or 0))
      assert.is_true(gone.least > 0.99, gone.least)
      assert.equal(i == 3, gone.answered > 0) -- by the server's part of a TLS handshake, and nothing else
      assert.is_true(i > 2 or gone.sent > 300, gone.sent) -- or nothing dribbled
      crowd:stop()
    end
    well(good:ask())
    good:stop()
    assert.equal(0, server:settle(before))
    assert.same({ ["close-1006"] = 10, connection = 11 }, server:heard()) -- the ten, and who asks
  end)

  it("ends who does not read a broadcast, and loses nothing for who does", function()
    local server = load.server { options = "{ heartbeat = false, maxBufferedAmount = 262144 }" }
    local readers, deaf, peak = load.broadcast(server, { deaf = 20, readers = 4, messages = 6000, each = 60, look = 0.2 })
    assert.same({ 4, 24000, 0, 0 }, { readers.whole, readers.messages, readers.wrong, readers.gone })
    assert.same({ 20, 0, 0 }, { (deaf.eof or 0) + (deaf.reset or 0), deaf.closes, deaf.mixed })
    assert.is_true(deaf.frames < 20 * 5900, deaf.frames)
    local heard = server:heard()
    assert.equal(20, heard["error-slow"])
    if not SANITIZED then assert.is_true(peak < 2048, peak) end -- they share what they wait for
  end)

  it("is none the worse for connections that are reset, wherever they were", function()
    local server = load.server { tls = secure() }
    load.storm(server, 220) -- what is made once is made now
    local said, fared, left, memory = load.storm(server, 440)
    assert.equal(440, said.resets)
    assert.equal(0, said.failures)
    assert.equal(0, left)
    well(fared, 1)
    if not SANITIZED then assert.is_true(memory < 512, memory) end
  end)

  it("serves who is in when no descriptor is left, asleep, and the others later", function()
    local server = load.server { descriptors = 40, options = "{ heartbeat = false, maxConnections = 1000 }" }
    local full, served, last, busy, woke = load.crowd(server, { count = 60, idle = 0.8, quiet = 0.3 })
    assert.is_true(full.inside > 20 and full.inside < 40, full.inside)
    assert.equal(60, full.inside + full.waiting)
    assert.equal(full.inside, served.served)
    assert.is_true(woke > 1 and woke < 100, woke .. " times a second") -- who spins never sleeps
    assert.is_true(busy < 0.1, busy)
    assert.same({ 0, 0, 0 }, { last.waiting, last.told, last.ended })
    assert.equal(last.inside, last.served)
    assert.equal(1, server:heard()["server-error-system"])
  end)

  for host, warm in pairs { ["127.0.0.1"] = false, localhost = true } do
    it("has a client that finds no descriptor: to " .. host, function()
      local lines = load.starved(load.server {}, host, warm)
      local seen = { none = {}, some = {} }
      for _, line in ipairs(lines) do
        local kind = line.left == 0 and "none" or "some"
        seen[kind][line.got or line.first] = true
        if line.round == 2 then assert.equal(line.before, line.after) end
      end
      assert.same({ ["error:Too-many-open-files,close:1006"] = true }, seen.none)
      assert.is_true(seen.some["open,hi,close:1000"])
      assert.equal("open,hi,close:1000", lines[#lines].got)
    end)
  end

  it("serves others beside floods, and ends those that have a limit", function()
    local server = load.server {
      options = "{ heartbeat = false, perMessageDeflate = true, maxBufferedAmount = 262144 }",
    }
    local floods = {}
    for i, what in ipairs { "pings", "messages", "compressed", "nothing", "fragments", "empty", "long" } do
      floods[i] = { what = what, clients = 2, seconds = i > 4 and 20 or 1, read = i < 7 and 1 or 0, idle = 0 }
    end
    local became, fared, peak = load.flood(server, floods)
    for i, one in ipairs(became) do
      assert.is_true(one.frames > 500, ("%s: %d"):format(floods[i].what, one.frames))
      assert.equal(i < 5 and 2 or 0, one.left, floods[i].what)
    end
    assert.is_true(became[1].pongs > 0)
    assert.equal(2, became[5].closed1008) -- fragments without end
    assert.equal(2, became[6].closed1008) -- empty ones
    assert.equal(2, server:heard()["error-slow"]) -- answers that nobody reads
    well(fared)
    if not SANITIZED then assert.is_true(peak < 8192, peak) end
  end)

  it("drops a page that is read a byte a second, after closeTimeout", function()
    local server = load.server { options = "{ heartbeat = false, closeTimeout = 600 }" }
    local before = server:descriptors()
    local peers = load.peer("slow", server.port, { ask = "page", size = 8000000, clients = 3 })
    peers:words()
    helper.await(function() return server:descriptors() == before + 3 end)
    assert.equal(before + 3, server:descriptors())
    assert.equal(0, server:settle(before))
    local got = peers:ask()
    assert.is_true(got.read < 3 * 8000000, got.read)
    peers:stop()
  end)
end)
