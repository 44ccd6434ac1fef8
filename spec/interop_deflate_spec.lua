-- Compressed messages (permessage-deflate, RFC 7692) between us and npm's ws, Python's websockets, Chromium, and
-- raw bytes with Python's zlib; each as client and as server, where it can be both. What was agreed is told by both
-- ends; then 1,000 messages go each way at once, and each side's are judged by the SHA-256 the other made of them.

local foreign = require "spec.foreign"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local probe = require "lunawire.probe"

local quote = helper.quote

-- --- messages ---------------------------------------------------------------------------------------------

local COUNT, FEW = 1000, 100
local function staysAsItIs(i) return i % 7 == 4 end
local SQUEEZED = 857 -- the others
local LONG = { -- sizes of those that are not short: of text, of noise
  [0] = 0, [1] = 1, [2] = 2, [100] = 125, [200] = 126, [300] = 127, [333] = 65535, [334] = 65536, [400] = 4096, [401] = 4096,
  [500] = 256 * 1024, [501] = 40000, [600] = 32768, [601] = 32769, [700] = 70000, [998] = 0, [999] = 3,
}
local WORDS = { "price", "volume", "symbol", "EURUSD", "été", "ask", "日本", "bid", "time", "null", "😀", "room", "user" }

-- A list of messages {binary, data}: most are records that say much again that was said before, some are noise.
local function makeMessages(seed)
  local x = seed
  local function chance(n)
    x = x * 16807 % 2147483647
    return (x >> 8) % n
  end
  local function text(n)
    local parts, size = {}, 0
    while size < n do
        local name, other = WORDS[chance(13) + 1], WORDS[chance(13) + 1]
      parts[#parts + 1] = ('{"%s":%d,"%s":"%x"},'):format(name, chance(100000), other, chance(4096))
      size = size + #parts[#parts]
    end
    local whole = table.concat(parts)
    local last = n
    while last > 0 and last < #whole and whole:byte(last + 1) & 0xc0 == 0x80 do last = last - 1 end
    return whole:sub(1, last) .. ("x"):rep(n - last)
  end
  local function noise(n)
    local bytes = {}
    for i = 1, n do bytes[i] = string.char(chance(256)) end
    return table.concat(bytes)
  end
  local list = {}
  for i = 0, COUNT - 1 do
    local n = LONG[i] or chance(i % 10 == 5 and 2000 or 250)
    local isNoise = i % 9 == 4
    list[i + 1] = { binary = isNoise or i % 5 == 0, data = isNoise and noise(math.min(n, 5000)) or text(n) }
  end
  return list
end

-- Both directions' messages, and files of them as the peers read them: see spec/peers/deflate_ws.js. `few`: the first
-- of them, for what is about the handshake.
local up, down
local few = {}

local function saved(list, name, count)
  local parts, size = {}, 0
  list = table.move(list, 1, count, 1, {})
  for i, message in ipairs(list) do
    parts[i] = string.pack(">c1s4", message.binary and "b" or "t", message.data)
    size = size + #message.data
  end
  helper.write(name, table.concat(parts))
  local said = helper.run("sha256sum " .. quote(name))
  return { list = list, count = count, file = name, size = size, sha256 = said:match "^%x+" }
end

-- --- parameters -------------------------------------------------------------------------------------------

-- A combination: who may not take contexts over, and the windows' bits (nil: not said).
--   {server = {fresh, bits}, client = {fresh, bits}, by = "client" or "server", which of them asks for it}
local BITS = { [0] = false, 9, 10, 11, 12, 13, 14, 15 }

-- So many of them, from each of the four takeovers as many. With 32, each side has all bits there under each takeover;
-- with 16, each side has all bits both with and without its own.
local SPREAD = { [0] = 0, 2, 3, 1 }

-- Each there is: 512 (spec/torture/deflate_torture.lua).
local function everyCombination()
  local list = {}
  for n = 0, 511 do
    list[#list + 1] = {
      server = { fresh = n & 1 == 1, bits = BITS[n >> 2 & 7] or nil },
      client = { fresh = n & 2 == 2, bits = BITS[n >> 5 & 7] or nil },
      by = n >> 8 == 0 and "client" or "server", nth = #list,
    }
  end
  return list
end

local function combinations(count, offset)
  if package.loaded["spec.interop_deflate_spec.every"] then return everyCombination() end
  local list, step = {}, 32 // count
  for takeover = 0, 3 do
    for k = 0, count // 4 - 1 do
      local of = step * k + step * SPREAD[takeover] // 4
      list[#list + 1] = {
        server = { fresh = takeover & 1 == 1, bits = BITS[of] or nil },
        client = { fresh = takeover & 2 == 2, bits = BITS[(3 * of + 2 * takeover + offset) % 8] or nil },
        by = (k + SPREAD[takeover]) % 2 == 0 and "client" or "server",
        nth = #list,
      }
    end
  end
  return list
end

local function named(combination)
  local function side(name)
    local way = combination[name]
    return ("%s %s%s"):format(name, way.bits or "-", way.fresh and " fresh" or "")
  end
  return ("%s, %s, asked for by the %s"):format(side "client", side "server", combination.by)
end

-- As options of ours, and of ws.
local function options(combination)
  return {
    serverNoContextTakeover = combination.server.fresh or nil, clientNoContextTakeover = combination.client.fresh or nil,
    serverMaxWindowBits = combination.server.bits, clientMaxWindowBits = combination.client.bits,
  }
end

-- As websockets has them.
local function snake(given)
  if type(given) ~= "table" then return given end
  local all = {}
  for name, value in pairs(given) do all[name:gsub("%u", function(letter) return "_" .. letter:lower() end)] = value end
  return all
end

-- The extension with these parameters, as RFC 7692 writes it, in our order.
local function extension(combination, client)
  local text = "permessage-deflate"
  if combination.server.fresh then text = text .. "; server_no_context_takeover" end
  if combination.client.fresh then text = text .. "; client_no_context_takeover" end
  if combination.server.bits then text = text .. "; server_max_window_bits=" .. combination.server.bits end
  if combination.client.bits then text = text .. "; client_max_window_bits=" .. combination.client.bits end
  return client and not combination.client.bits and text .. "; client_max_window_bits" or text
end

-- What `ws.extensions` is then: the widest window is not worth a word.
local function agreed(combination)
  return (extension(combination):gsub("; %w+_max_window_bits=15", ""))
end

local function way(side) return ("%d%s"):format(side.bits or 15, side.fresh and " fresh" or "") end

-- Ours are to compress all that peers may, but for a seventh; what is long goes in fragments, in half of the cases.
local function ours(given, nth)
  local deflate = given
  if type(given) == "table" then
    deflate = { threshold = 0, level = ({ 6, 1, 9, 0, 3 })[nth % 5 + 1], memLevel = ({ 8, 1, 9 })[nth % 3 + 1] }
    for name, value in pairs(given) do deflate[name] = value end
  end
  return {
    perMessageDeflate = deflate, fragmentSize = nth % 2 == 1 and 3000 or 0,
    tls = nil, -- see both()
  }
end

-- --- an exchange ------------------------------------------------------------------------------------------

-- Sends all of `mine` on a socket of ours, and judges what comes by `theirs`.
local function exchange(socket, mine, theirs)
  local heard = { count = 0, wrong = nil }
  socket.onmessage = function(event)
    heard.count = heard.count + 1
    local due = theirs.list[heard.count]
    if not (due and event.data == due.data and event.binary == due.binary) then
      heard.wrong = heard.wrong or ("message %d, %d bytes"):format(heard.count, #event.data)
    end
  end
  for i, message in ipairs(mine.list) do
    socket:send(message.data, { binary = message.binary, compress = not staysAsItIs(i) })
  end
  return heard
end

local function judge(heard, said, mine, combination)
  local count = mine.count
  assert.is_nil(said.error)
  assert.is_nil(said.refused)
  if combination then
    assert.equal(way(combination.client), said.client)
    assert.equal(way(combination.server), said.server)
  end
  assert.is_nil(heard.wrong)
  assert.equal(count, heard.count)
  assert.equal(count, said.count)
  assert.equal(mine.size, said.bytes)
  assert.equal(mine.sha256, said.sha256)
end

local visits = {}

-- Our client at a peer's server on `port`. `given`: perMessageDeflate. What `heard` and `extensions` there were, the socket.
local function goTo(port, given, nth, tls, which)
  local all = ours(given, nth)
  all.tls = tls
  local ws = lunawire.WebSocket(("%s://127.0.0.1:%d/"):format(tls and "wss" or "ws", port), nil, all)
  local visit = { ws = ws }
  visits[#visits + 1] = visit
  ws.onopen = function()
    visit.extensions = ws.extensions
    visit.heard = exchange(ws, which and which.up or up, which and which.down or down)
  end
  ws.onerror = function(event) visit.error = event end
  ws.onclose = function(event) visit.close = event end
  return visit
end

-- A server of ours that has the same with its first client.
local function receive(given, nth, tls, which)
  local all = ours(given, nth)
  all.port, all.tls, all.maxPayload, all.origins = 0, tls, 1024 * 1024, "*"
  local server = lunawire.WebSocketServer(all)
  local visit = { server = server, url = server.url }
  visits[#visits + 1] = visit
  server.onconnection = function(event)
    visit.request, visit.socket = event.request, event.socket
    visit.extensions = event.socket.extensions
    visit.heard = exchange(event.socket, which and which.down or down, which and which.up or up)
    event.socket.onclose = function(close) visit.close = close end
    event.socket.onerror = function(problem) visit.error = problem end
  end
  return visit
end

-- Nothing is left in the loop, whatever became of a case.
local function endAll()
  for i, visit in ipairs(visits) do
    local socket = visit.ws or visit.socket
    if socket and not visit.close then socket:terminate() end
    if visit.server then visit.server:close() end
    visits[i] = nil
  end
  assert(lunawire.run(10000), "something is left in the loop")
end

-- What both exchanges have cost on the wire: compressed, and not more than the bytes themselves.
local function isCompressed(socket, list)
  assert.is_true(socket.bytesWritten < list.size, ("%d bytes for %d"):format(socket.bytesWritten, list.size))
end

-- --- with packages ----------------------------------------------------------------------------------------

-- `peer` is a function; `theirOptions` makes the peer's of ours; `count` is of combinations.
local function exchangesWith(peer, theirOptions, count, tls)
  for _, combination in ipairs(combinations(count, 1)) do
    it("our client, " .. named(combination), function()
      local asks = combination.by == "client"
      local port = peer():ask("listen", {
        deflate = theirOptions(asks and {} or options(combination)), down = down.file,
        cert = tls and tls.cert, key = tls and tls.key,
      }).port
      local visit = goTo(port, asks and options(combination) or {}, combination.nth, tls and { ca = tls.ca })
      foreign.await(function() return visit.close or visit.heard and visit.heard.count == COUNT end, "the messages")
      visit.ws:close(1000)
      foreign.await(function() return visit.close end, "close")
      local said = peer():ask("heard", { port = port })
      assert.equal(agreed(combination), visit.extensions)
      judge(visit.heard, said, up, combination)
      assert.equal(1000, visit.close.code)
      assert.equal(1000, said.code)
      if combination.nth % 5 ~= 3 then isCompressed(visit.ws, up) end -- level 0: stored
    end)
  end

  for _, combination in ipairs(combinations(count, 4)) do
    it("our server, " .. named(combination), function()
      local asks = combination.by == "client"
      local visit = receive(asks and {} or options(combination), combination.nth, tls and { cert = tls.cert, key = tls.key })
      local said = peer():ask("visit", {
        url = visit.url, deflate = theirOptions(asks and options(combination) or {}), up = up.file, down = down.file,
        ca = tls and tls.ca,
      })
      foreign.await(function() return visit.close end, "close")
      assert.equal(agreed(combination), visit.extensions)
      judge(visit.heard, said, down, combination)
      assert.equal(1000, visit.close.code)
      if combination.nth % 5 ~= 3 then isCompressed(visit.socket, down) end
    end)
  end
end

-- --- with raw bytes ---------------------------------------------------------------------------------------

local function ways(combination)
  local function plain(side) return { bits = side.bits or 15, fresh = side.fresh } end
  return plain(combination.client), plain(combination.server)
end

local ASKED, SET = "permessage-deflate; client_max_window_bits", "permessage-deflate"

-- --- what is refused --------------------------------------------------------------------------------------

-- How the peer's server, or our client there, takes what they ask of each other. `agreed` is our ws.extensions, after
-- an exchange of everything; `refused` the status of an answer, or a code of an error event.
local atWs = {
  { name = "a smaller window than its own server_max_window_bits",
    { serverMaxWindowBits = 9 }, { serverMaxWindowBits = 12 }, refused = 400 },
  { name = "a smaller window than its own client_max_window_bits",
    { clientMaxWindowBits = 9 }, { clientMaxWindowBits = 12 }, refused = 400 },
  { name = "a window for its server, which it will not have",
    { serverMaxWindowBits = 10 }, { serverMaxWindowBits = false }, refused = 400 },
  { name = "no context takeover, which it will not have", { serverNoContextTakeover = true }, { serverNoContextTakeover = false },
    refused = 400 },
  { name = "a window of ours, of which it knows nothing",
    { clientMaxWindowBits = 10 }, { clientMaxWindowBits = false }, agreed = SET },
  { name = "the same window from both", { serverMaxWindowBits = 11 }, { serverMaxWindowBits = 11 },
    agreed = SET .. "; server_max_window_bits=11" },
  { name = "a window of 8 bits for its server (node's zlib uses 9)", { serverMaxWindowBits = 8 }, {},
    agreed = SET .. "; server_max_window_bits=8" },
  { name = "compression, which it has not got", {}, false, agreed = "" },
  { name = "nothing", false, {}, agreed = "" },
}

local fromWs = {
  { name = "takes no client_no_context_takeover it did not ask for",
    { clientNoContextTakeover = true }, { clientNoContextTakeover = false },
    refused = "Invalid Sec-WebSocket-Extensions header" },
  { name = "names no client_max_window_bits, and we want fewer: none",
    { clientMaxWindowBits = 10 }, { clientMaxWindowBits = false },
    agreed = "" },
  { name = "names no client_max_window_bits", {}, { clientMaxWindowBits = false }, agreed = SET },
  { name = "names 9 bits for itself, and we would have 12", { clientMaxWindowBits = 12 }, { clientMaxWindowBits = 9 },
    agreed = SET .. "; client_max_window_bits=9" },
  { name = "names 12 bits for itself, and we want 9", { clientMaxWindowBits = 9 }, { clientMaxWindowBits = 12 },
    agreed = SET .. "; client_max_window_bits=9" },
  { name = "names 8 bits for itself (node's zlib uses 9)",
    {}, { clientMaxWindowBits = 8 }, agreed = SET .. "; client_max_window_bits=8" },
  { name = "wants 8 bits of us, which zlib cannot", {}, { serverMaxWindowBits = 8 }, agreed = "" },
  { name = "wants 9 bits of us, and we would use 12", { serverMaxWindowBits = 12 }, { serverMaxWindowBits = 9 },
    agreed = SET .. "; server_max_window_bits=9" },
  { name = "asks a server that has none", false, {}, agreed = "" },
  { name = "asks for nothing", {}, false, agreed = "" },
}

local atWebsockets = {
  { name = "a smaller window than its own server_max_window_bits", { serverMaxWindowBits = 9 }, { serverMaxWindowBits = 12 },
    agreed = SET .. "; server_max_window_bits=9" },
  { name = "a smaller window than its own client_max_window_bits", { clientMaxWindowBits = 9 }, { clientMaxWindowBits = 12 },
    agreed = SET .. "; client_max_window_bits=9" },
  { name = "a larger window than its own client_max_window_bits", { clientMaxWindowBits = 12 }, { clientMaxWindowBits = 9 },
    agreed = SET .. "; client_max_window_bits=9" },
  { name = "a window where it must be offered", {}, { clientMaxWindowBits = 9, requireClientMaxWindowBits = true },
    agreed = SET .. "; client_max_window_bits=9" },
  { name = "compression, which it has not got", {}, false, agreed = "" },
  { name = "nothing", false, {}, agreed = "" },
}

local fromWebsockets = {
  { name = "names no client_max_window_bits, and we want fewer: none", { clientMaxWindowBits = 10 }, "no bits", agreed = "" },
  { name = "names no client_max_window_bits", {}, "no bits", agreed = SET },
  { name = "names 9 bits for itself, and we would have 12", { clientMaxWindowBits = 12 }, { clientMaxWindowBits = 9 },
    agreed = SET .. "; client_max_window_bits=9" },
  { name = "wants 8 bits of us, which zlib cannot", {}, { serverMaxWindowBits = 8 }, agreed = "" },
  { name = "asks a server that has none", false, {}, agreed = "" },
  { name = "asks for nothing", {}, false, agreed = "" },
}

local function negotiatesAs(peer, theirOptions, atTheirs, atOurs)
  for nth, row in ipairs(atTheirs) do
    it("our client asks for " .. row.name .. ": " .. (row.agreed or "refused"), function()
      local port = peer():ask("listen", { deflate = theirOptions(row[2]), down = few.down.file }).port
      local visit = goTo(port, row[1], nth, nil, few)
      foreign.await(function() return visit.close or visit.heard and visit.heard.count == FEW end, "the messages")
      if row.refused then
        assert.equal("http", visit.error.code)
        assert.equal(row.refused, visit.error.status)
        return
      end
      visit.ws:close(1000)
      local said = peer():ask("heard", { port = port })
      assert.equal(row.agreed, visit.extensions)
      judge(visit.heard, said, few.up)
    end)
  end

  for nth, row in ipairs(atOurs) do
    it("its client " .. row.name .. ": " .. (row.agreed or "refused"), function()
      local visit = receive(row[1], nth, nil, few)
      local said = peer():ask("visit", {
        url = visit.url, deflate = theirOptions(row[2]), up = few.up.file, down = few.down.file,
      })
      foreign.await(function() return visit.close end, "close")
      if row.refused then
        assert.equal(row.refused, said.refused)
        assert.equal(1006, visit.close.code)
        return
      end
      assert.equal(row.agreed, visit.extensions)
      judge(visit.heard, said, few.down)
    end)
  end
end

describe("permessage-deflate #foreign #slow", function()
  local directory, certs
  local tls = {}

  setup(function()
    directory = helper.directory()
    certs = pki.new()
    tls.ca, tls.cert, tls.key = certs:cert "root", certs:cert "good", certs:key "good"
    local upwards, downwards = makeMessages(7692), makeMessages(6455)
    up, down = saved(upwards, directory .. "/up", COUNT), saved(downwards, directory .. "/down", COUNT)
    few.up, few.down = saved(upwards, directory .. "/few.up", FEW), saved(downwards, directory .. "/few.down", FEW)
  end)
  teardown(function()
    helper.remove(directory)
    certs:close()
  end)
  after_each(endAll)

  describe("with ws:", function()
    local peer
    local function it_() return peer end
    local function theirs(given)
      if type(given) ~= "table" then return given end
      local all = { threshold = 0 } -- it would not compress short ones
      for name, value in pairs(given) do all[name] = value end
      return all
    end
    setup(function()
      peer = foreign.peer(("env NODE_EXTRA_CA_CERTS=%s node %s"):format(
        quote(tls.ca), quote(helper.root .. "/spec/peers/deflate_ws.js")))
    end)
    teardown(function() peer:stop() end)

    exchangesWith(it_, theirs, 16)
    negotiatesAs(it_, theirs, atWs, fromWs)
    describe("over wss,", function() exchangesWith(it_, theirs, 4, tls) end)
  end)

  describe("with websockets:", function()
    local peer
    local function it_() return peer end
    local function theirs(given)
      if given == "no bits" then return { client_max_window_bits = require("cjson").null } end
      return snake(given)
    end
    setup(function() peer = foreign.python "deflate_websockets.py" end)
    teardown(function() peer:stop() end)

    exchangesWith(it_, theirs, 16)
    negotiatesAs(it_, theirs, atWebsockets, fromWebsockets)
    describe("over wss,", function() exchangesWith(it_, theirs, 4, tls) end)

    -- Of 8 bits it agrees to what Python's zlib then cannot do.
    it("our client asks for a window of 8 bits for its server: agreed, and its server fails", function()
      local port = peer:ask("listen", { deflate = {}, down = down.file }).port
      local visit = goTo(port, { serverMaxWindowBits = 8 }, 0)
      foreign.await(function() return visit.close end, "close")
      assert.equal("http", visit.error.code)
      assert.equal(500, visit.error.status)
    end)

    it("its client names 8 bits for itself: agreed, and it fails", function()
      local visit = receive({}, 0)
      local said, problem = pcall(peer.ask, peer, "visit", {
        url = visit.url, deflate = { client_max_window_bits = 8 }, up = few.up.file, down = few.down.file,
      })
      assert.is_false(said)
      assert.matches("Invalid initialization option", tostring(problem))
      foreign.await(function() return visit.close end, "close")
      assert.equal("permessage-deflate; client_max_window_bits=8", visit.extensions)
      assert.equal(1006, visit.close.code)
    end)
  end)

  describe("with raw bytes and Python's zlib:", function()
    local peer
    setup(function() peer = foreign.python "deflate_raw.py" end)
    teardown(function() peer:stop() end)

    for _, combination in ipairs(combinations(32, 0)) do
      it("our client, " .. named(combination), function()
        local asks = combination.by == "client"
        local client, server = ways(combination)
        local port = peer:ask("listen", {
          answer = extension(combination), down = down.file, client = client, server = server, seed = combination.nth,
        }).port
        local visit = goTo(port, asks and options(combination) or {}, combination.nth)
        foreign.await(function() return visit.close or visit.heard and visit.heard.count == COUNT end, "the messages")
        visit.ws:close(1000)
        local said = peer:ask("heard", { port = port })
        -- of the widest window we do not speak, since it is what there is without a word
        local asked = asks and extension(combination, true):gsub("; server_max_window_bits=15", "")
          :gsub("(client_max_window_bits)=15", "%1") or ASKED
        assert.equal(asked, said.extensions)
        assert.equal(agreed(combination), visit.extensions)
        judge(visit.heard, said, up)
        assert.equal(SQUEEZED, said.squeezed)
        foreign.await(function() return visit.close end, "close")
        assert.equal(1000, visit.close.code)
      end)
    end

    -- What we asked for is a hint, which a server need not repeat; it may count on it all the same (RFC 7692, 7.1).
    for _, hint in ipairs { { clientMaxWindowBits = 9 }, { clientNoContextTakeover = true } } do
      it("our client keeps to its own hint, though the answer has none: " .. next(hint), function()
        local port = peer:ask("listen", {
          answer = SET, down = down.file, server = { bits = 15, fresh = false }, seed = 1,
          client = { bits = hint.clientMaxWindowBits or 15, fresh = hint.clientNoContextTakeover or false },
        }).port
        local visit = goTo(port, hint, 0)
        foreign.await(function() return visit.close or visit.heard and visit.heard.count == COUNT end, "the messages")
        visit.ws:close(1000)
        local said = peer:ask("heard", { port = port })
        assert.equal(SET, visit.extensions)
        judge(visit.heard, said, up)
      end)
    end

    for _, combination in ipairs(combinations(32, 5)) do
      it("our server, " .. named(combination), function()
        local asks = combination.by == "client"
        local client, server = ways(combination)
        local visit = receive(asks and {} or options(combination), combination.nth)
        local said = peer:ask("visit", {
          port = visit.server.port, offer = asks and extension(combination, true) or ASKED, up = up.file, down = down.file,
          client = client, server = server, seed = combination.nth,
        })
        foreign.await(function() return visit.close end, "close")
        local answered = extension(combination):gsub("; client_max_window_bits=15", "")
        -- of the widest window for the server only when it was named: so it is accepted
        if not asks then answered = answered:gsub("; server_max_window_bits=15", "") end
        assert.equal(answered, said.extensions)
        assert.equal(agreed(combination), visit.extensions)
        judge(visit.heard, said, down)
        assert.equal(SQUEEZED, said.squeezed)
        assert.equal(1000, visit.close.code)
      end)
    end
  end)

  describe("with Chromium:", function()
    local peer
    setup(function()
      peer = foreign.node "chromium.js"
      peer:begin "start"(60)
    end)
    teardown(function() peer:stop() end)

    for _, combination in ipairs(combinations(8, 3)) do
      combination.by = "server" -- it always asks for the same
      it("our server, " .. named(combination), function()
        local visit = receive(options(combination), combination.nth)
        local said = peer:begin("exchange", { url = visit.url, up = up.file, count = COUNT })(60)
        foreign.await(function() return visit.close end, "close")
        assert.equal(ASKED, visit.request.headers["sec-websocket-extensions"])
        assert.equal(agreed(combination), said.extensions)
        assert.equal(agreed(combination), visit.extensions)
        judge(visit.heard, said, down)
        assert.same({ 1000, true }, { said.code, said.wasClean })
        if combination.nth % 5 ~= 3 then isCompressed(visit.socket, down) end
      end)
    end

    it("our server, which has none", function()
      local visit = receive(false, 0)
      local said = peer:begin("exchange", { url = visit.url, up = up.file, count = COUNT })(60)
      foreign.await(function() return visit.close end, "close")
      assert.equal("", said.extensions)
      judge(visit.heard, said, down)
    end)
  end)

  describe("through nginx, which passes it on:", function()
    local peer, directoryOfNginx, nginx

    -- nginx before a port: its own.
    local function before(port)
      local own
      for _ = 1, 5 do
        local listener = probe.tcp.listen()
        own = math.floor(listener.port)
        listener:close()
        local temporary = {}
        for _, kind in ipairs { "client_body", "proxy", "fastcgi", "uwsgi", "scgi" } do
          temporary[#temporary + 1] = ("%s_temp_path %s/%s;"):format(kind, directoryOfNginx, kind)
        end
        helper.write(directoryOfNginx .. "/conf", ([[
          daemon off; master_process off; pid %s/pid; error_log stderr;
          events {}
          http { access_log off; %s server { listen 127.0.0.1:%d; location / {
            proxy_pass http://127.0.0.1:%d; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; } } }
        ]]):format(directoryOfNginx, table.concat(temporary, " "), own, port))
        nginx = helper.peer(("PATH=$PATH:/usr/sbin; exec nginx -e stderr -p %s -c %s/conf"):format(
          quote(directoryOfNginx), quote(directoryOfNginx)))
        local up_ = helper.await(function()
          local fd = probe.sys.connect(own)
          if fd then probe.sys.close(fd) end
          return fd
        end, nil, 5)
        if up_ then return own end
        nginx:stop()
      end
      error "nginx does not start"
    end

    setup(function()
      directoryOfNginx = helper.directory()
      peer = foreign.node "deflate_ws.js"
    end)
    teardown(function()
      peer:stop()
      helper.remove(directoryOfNginx)
    end)
    after_each(function() nginx:stop() end)

    local combination = { client = { fresh = true, bits = 11 }, server = { fresh = false, bits = 10 }, nth = 0 }

    it("our server and a client of ws", function()
      local visit = receive({}, 0)
      local port = before(visit.server.port)
      local given = options(combination)
      given.threshold = 0
      local said = peer:ask("visit", {
        url = ("ws://127.0.0.1:%d/"):format(port), deflate = given, up = up.file, down = down.file,
      })
      foreign.await(function() return visit.close end, "close")
      assert.equal(agreed(combination), visit.extensions)
      judge(visit.heard, said, down, combination)
      assert.is_true(said.received < down.size)
    end)

    it("our client and a server of ws", function()
      local port = peer:ask("listen", { deflate = { threshold = 0 }, down = down.file }).port
      local visit = goTo(before(port), options(combination), 0)
      foreign.await(function() return visit.close or visit.heard and visit.heard.count == COUNT end, "the messages")
      visit.ws:close(1000)
      local said = peer:ask("heard", { port = port })
      assert.equal(agreed(combination), visit.extensions)
      judge(visit.heard, said, up, combination)
    end)
  end)
end)
