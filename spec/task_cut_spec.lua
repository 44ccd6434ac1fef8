-- receive with a deadline, over a stream that arrives in pieces: what a timeout may find half here. Peers are raw bytes.

local lunawire = require "lunawire"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local SEED = tonumber(os.getenv "SEED") or 20261130
local CUTS = 1020 -- of each stream; a third in each place

-- The same numbers on every machine (Park and Miller).
local function generator(seed)
  return function(n)
    seed = seed * 16807 % 2147483647
    return seed % n + 1
  end
end

local words = { "a", "é", "€", "😀", "\0", "-" } -- so that a cut may fall within a character

local function content(random, kind)
  local parts = {}
  for i = 1, random(random(8) == 1 and 300 or 12) - 1 do
    parts[i] = kind == "text" and words[random(#words)] or string.char(random(256) - 1)
  end
  return table.concat(parts)
end

local function split(random, text, kind)
  local parts = {}
  for _ = 1, random(4) do
    local at = random(#text + 1) - 1
    parts[#parts + 1], text = text:sub(1, at), text:sub(at + 1)
  end
  parts[#parts + 1] = text
  local list = {}
  for i, part in ipairs(parts) do
    if i > 1 and random(3) == 1 then list[#list + 1] = { random(2) == 1 and "ping" or "pong", payload = "p" } end
    list[#list + 1] = { i == 1 and kind or "continuation", fin = i == #parts, payload = part }
  end
  return list
end

-- A stream of messages, what they are, and of each byte but the last what it would be to stop behind it.
local function stream(random, build)
  local bytes, expected, places = {}, {}, {}
  local size, count = 0, { frame = 0, message = 0, between = 0 }
  local function add(frame, inside)
    local text = build(frame)
    bytes[#bytes + 1] = text
    for i = 1, #text - 1 do places[size + i] = "frame" end
    size = size + #text
    places[size] = inside and "message" or "between"
    count.frame, count[places[size]] = count.frame + #text - 1, count[places[size]] + 1
  end
  while count.message < CUTS / 2 or count.between < CUTS / 2 do
    local kind = random(2) == 1 and "text" or "binary"
    local text = content(random, kind)
    expected[#expected + 1] = kind .. " " .. text
    if random(3) == 1 then
      add { kind, payload = text }
    else
      local list = split(random, text, kind)
      for i, frame in ipairs(list) do add(frame, i < #list) end
    end
  end
  return table.concat(bytes), expected, places
end

-- Where to cut: as often in each place.
local function choose(random, places)
  local by = { frame = {}, message = {}, between = {} }
  for at, place in ipairs(places) do table.insert(by[place], at) end
  table.remove(by.between) -- the end
  local cuts = {}
  for _, list in pairs(by) do
    for _ = 1, CUTS / 3 do cuts[#cuts + 1] = table.remove(list, random(#list)) end
  end
  table.sort(cuts)
  return cuts
end

-- Sends the stream cut by cut; behind each, `receive` waits until it has waited in vain though all that was sent is here.
-- Returns what it gave, and how many of its timeouts struck in which place.
local function cross(random, ws, peer, bytes, places, cuts)
  local got, timeouts, at = {}, { frame = 0, message = 0, between = 0 }, 0
  for _, cut in ipairs(cuts) do
    local sent = lunawire.now()
    peer:send(bytes:sub(at + 1, cut))
    at = cut
    while true do
      local ms, began = random(3), lunawire.now()
      local data, kind = ws:receive(ms)
      if data then
        got[#got + 1] = kind .. " " .. data
      else
        assert.equal("timeout", kind)
        assert.is_true(lunawire.now() - began >= ms)
        if peer.output == "" and ws.lastReceived >= sent then break end
        peer:move()
      end
    end
    timeouts[places[cut]] = timeouts[places[cut]] + 1
  end
  peer:send(bytes:sub(at + 1))
  return got, timeouts
end

local function through(ws, peer)
  local random = generator(SEED)
  local bytes, expected, places = stream(random, function(frame) return peer:build(frame) end)
  local cuts = choose(random, places)
  local got, timeouts = cross(random, ws, peer, bytes, places, cuts)
  while #got < #expected do
    local data, kind = ws:receive(5000)
    got[#got + 1] = kind .. " " .. tostring(data)
    if not data then break end
  end
  return got, expected, timeouts
end

describe("a timeout of receive, in a frame, in a message and between two, over a thousand cuts #slow", function()
  before_each(turns.open)
  after_each(turns.clear)

  local function judge(got, expected, timeouts)
    assert.same({ frame = CUTS / 3, message = CUTS / 3, between = CUTS / 3 }, timeouts)
    for i = 1, #expected do
      if got[i] ~= expected[i] then
        error(("SEED=%d: message %d: %q expected, got %q"):format(SEED, i, expected[i], tostring(got[i])))
      end
    end
    assert.equal(#expected, #got)
  end

  it("loses no byte on a client, to the main chunk", function()
    local server = wire.server()
    local ws
    lunawire.go(function() ws = lunawire.connect(server.url) end)
    local peer = server:open()
    wire.await(function() return ws end)
    judge(through(ws, peer))
    assert.equal(1, ws.readyState)
    peer:closing(1000)
    peer:shutdown()
    assert.equal(1000, (select(3, ws:receive(5000))).code)
    peer:close()
  end)

  it("loses no byte on a server, to a task", function()
    local server = turns.serve {}
    local socket, peer, task
    server.onconnection = function(event)
      socket = event.socket
      lunawire.go(function() socket:drain() end) -- its inbox is there before anything comes
    end
    peer = wire.client(server.port)
    wire.await(function() return socket end)
    task = lunawire.go(function()
      local got, expected, timeouts = through(socket, peer)
      return got, expected, timeouts, (select(2, socket:receive(1)))
    end)
    local got, expected, timeouts, last = task:join()
    judge(got, expected, timeouts)
    assert.equal("timeout", last)
    peer:close()
  end)
end)
