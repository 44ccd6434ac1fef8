-- src/stream, src/tls, src/tls_context: the bytes of a connection, plain or through one or two
-- layers of TLS. Both ends are ours here: what foreign ends say is in tls_spec and interop_*_spec.

local helper = require "spec.helper"
local probe = require "lunawire.probe"

local directory, CERT, KEY

-- A certificate for localhost that signs itself: whom to trust is not what is looked at here.
setup(function()
  directory = helper.directory()
  CERT, KEY = directory .. "/cert.pem", directory .. "/key.pem"
  local _, status = helper.run(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
    .. "-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout %s -out %s"):format(KEY, CERT))
  assert.equal(0, status)
end)

teardown(function() helper.remove(directory) end)

local function client(more)
  local layer = { ca = CERT }
  for name, value in pairs(more or {}) do layer[name] = value end
  return layer
end

local function server(more)
  local layer = { server = true, cert = CERT, key = KEY }
  for name, value in pairs(more or {}) do layer[name] = value end
  return layer
end

-- Two streams; what one writes, the other reads.
local function pair(clientLayers, serverLayers)
  return probe.stream { tls = clientLayers or { client() } }, probe.stream { tls = serverLayers or { server() } }
end

-- Carries over what was written, as one piece or in pieces of `size`.
local function carry(from, to, size)
  local bytes = from:take()
  to:give(bytes)
  to:limit(size or 0)
  return #bytes
end

-- Everything `s` can read now.
local function readAll(s)
  local pieces = {}
  while true do
    local bytes, wire, why = s:read()
    if not bytes then return table.concat(pieces), wire, why end
    pieces[#pieces + 1] = bytes
    if bytes == "" and wire == 0 then return table.concat(pieces) end
  end
end

-- Shakes hands, in pieces of `size`. Returns what both came to, should that be a failure.
local function shake(a, b, size)
  for _ = 1, 8 do
    a:write {}
    carry(a, b, size)
    local _, bErr, bWhy = readAll(b)
    b:write {}
    carry(b, a, size)
    local _, aErr, aWhy = readAll(a)
    if aErr or bErr then return aErr, bErr, aWhy, bWhy end
  end
end

-- Writes all of `data` while the other side reads, and returns what came.
local function pass(from, to, data, size)
  local got, sent = {}, 0
  for _ = 1, 1000 do
    local verdict, taken = from:write(sent < #data and { data:sub(sent + 1) } or {})
    sent = sent + taken
    carry(from, to, size)
    got[#got + 1] = readAll(to)
    if verdict == "went" and sent == #data and not from:pending() then break end
  end
  assert.equal(#data, sent)
  return table.concat(got)
end

local function noise(n)
  local bytes, state = {}, 12345
  for i = 1, n do
    state = (state * 1103515245 + 12345) % 2147483648
    bytes[i] = string.char(math.floor(state / 65536) % 256)
  end
  return table.concat(bytes)
end

describe("a stream without TLS", function()
  it("is the descriptor itself", function()
    local a, b = probe.stream { tls = {} }, probe.stream { tls = {} }
    assert.same({ "went", 5, 5 }, { a:write { "he", "llo" } })
    assert.equal("hello", a:take())
    b:give "hello"
    assert.same({ "hello", 5 }, { b:read() })
    assert.same({ "", 0 }, { b:read() })
    b:eof()
    assert.same({ nil, "EOF" }, { b:read() })
  end)

  it("tells what the system did not take", function()
    local a = probe.stream { tls = {} }
    a:limit(0, 3)
    assert.same({ "full", 3, 3 }, { a:write { "he", "llo" } })
    a:limit(0, 0, 3)
    assert.same({ "full", 0, 0 }, { a:write { "lo" } })
    assert.is_false(a:pending())
  end)
end)

describe("a stream through TLS", function()
  local SIZES = { 0, 1, 5, 125, 1400, 16063, 16064, 16065, 16384, 32768, 65535, 65536, 65537, 200000 }

  for _, size in ipairs { false, 1, 2, 7, 1000, 16384 } do
    it(("shakes hands and carries any length, received %s"):format(
      size and ("%d bytes at a time%s"):format(size, size < 1000 and " #slow" or "") or "whole"),
      function()
        local a, b = pair()
        assert.is_nil(shake(a, b, size))
        for _, n in ipairs(SIZES) do
          if not (size and size < 7 and n > 70000) then
            local data = noise(n)
            assert.is_true(data == pass(a, b, data, size), n)
            assert.is_true(data == pass(b, a, data, size), n)
          end
        end
      end)
  end

  it("does so in two layers, the second begun when the first is through #slow", function()
    for _, size in ipairs { false, 7, 1000 } do
      local a, b = pair()
      assert.is_nil(shake(a, b, size))
      assert.equal("CONNECT", pass(a, b, "CONNECT", size))
      a:cover(client { insecure = true, host = "inside" })
      b:cover(server())
      assert.is_nil(shake(a, b, size))
      for _, n in ipairs { 0, 1, 125, 16064, 16065, 65536, 150000 } do
        local data = noise(n)
        assert.is_true(data == pass(a, b, data, size), n)
        assert.is_true(data == pass(b, a, data, size), n)
      end
    end
  end)

  it("takes nothing before the handshake is done, and asks to wait", function()
    local a, b = pair()
    local verdict, taken = a:write { "early" }
    assert.same({ "waits", 0 }, { verdict, taken })
    assert.is_nil(shake(a, b))
    assert.equal("late", pass(a, b, "late"))
  end)

  it("reads and writes once for many records, and writes the last flight with the first data", function()
    local a, b = pair()
    a:write {}
    carry(a, b)
    b:read()
    b:write {}
    carry(b, a)
    a:read()
    a:calls()
    assert.equal("went", (a:write { "GET /" }))
    assert.same({ 0, 1 }, { a:calls() })
    carry(a, b)
    b:calls()
    assert.equal("GET /", (b:read()))
    assert.same({ 1, 0 }, { b:calls() })
    local data = noise(60000)
    local verdict, taken = b:write { data:sub(1, 16384), data:sub(16385) }
    assert.same({ "went", 60000 }, { verdict, taken })
    assert.same({ 0, 1 }, { b:calls() })
    carry(b, a)
    readAll(a)
    assert.is_true(({ a:calls() })[1] <= 3)
  end)

  it("puts short slices together into one record", function()
    local a, b = pair()
    assert.is_nil(shake(a, b))
    local slices = {}
    for i = 1, 60 do slices[i] = noise(100) end
    local verdict, taken, cipher = b:write(slices)
    assert.same({ "went", 6000 }, { verdict, taken })
    assert.is_true(cipher > 6000 and cipher < 6000 + 60, cipher) -- one costs 22 bytes
    carry(b, a)
    assert.equal(table.concat(slices), (readAll(a)))
  end)

  it("seals slices of any lengths, none among them, in their order", function()
    local a, b = pair()
    assert.is_nil(shake(a, b))
    local most = 16384 - 320 -- of a record
    for _, sizes in ipairs {
      { most, 0, 1 }, { most - 1, 0, 1, 1 }, { 1, 0, most, 0, most + 1 }, { 0, 0, 5, 0 }, { 1, most - 1, 1 }, { 100, 65536 },
      { 65536, 100 }, { 16000, 16000, 16000, 16000, 16000 }, { 3 * most, 10, 10, 0, 3 * most },
    } do
      local slices = {}
      for i, n in ipairs(sizes) do slices[i] = noise(n) end
      local all, gone, got = table.concat(slices), 0, ""
      while gone < #all do
        local verdict, taken = b:write(slices)
        assert.equal("went", verdict)
        gone = gone + taken
        local skip = taken
        while slices[1] and skip >= #slices[1] do skip = skip - #table.remove(slices, 1) end
        if slices[1] then slices[1] = slices[1]:sub(skip + 1) end
        carry(b, a)
        got = got .. readAll(a)
      end
      assert.equal(#all, #got)
      assert.is_true(all == got)
    end
  end)

  -- Who reconnects sends again what had not gone, and nothing twice: what is said to have gone is neither less
  -- nor more than what the other side can read by now.
  for layers, name in ipairs { "one layer", "two layers" } do
    it("says that bytes have gone as soon as the other side can read them, not before: " .. name, function()
      local a, b = pair()
      assert.is_nil(shake(a, b))
      if layers == 2 then
        a:cover(client())
        b:cover(server())
        assert.is_nil(shake(a, b))
      end
      local said, gone, got, rounds = {}, 0, "", 0
      for i = 1, 40 do said[i] = noise(i * 10) end
      said[41] = noise(30000)
      local all = table.concat(said)
      repeat
        a:limit(0, 0, 1000)
        local slices, from = {}, 0
        for i = 1, #said do -- the same bytes from the same place
          if from + #said[i] > gone then slices[#slices + 1] = said[i]:sub(math.max(1, gone - from + 1)) end
          from = from + #said[i]
        end
        local verdict, taken = a:write(slices)
        gone, rounds = gone + taken, rounds + 1
        carry(a, b)
        got = got .. readAll(b)
        assert.equal(#got, gone)
      until verdict == "went" or rounds > 100
      assert.is_true(all == got)
      assert.is_true(rounds >= 38 and rounds <= 45)
      assert.is_false(a:pending())
    end)
  end

  it("seals no more at once than a peer who does not read should cost", function()
    local a, b = pair()
    assert.is_nil(shake(a, b))
    a:limit(0, 0, 1)
    a:write { noise(1000000) }
    a:take()
    a:limit()
    local _, taken, wire = a:write { noise(1000000) }
    assert.equal(65536, taken)
    assert.is_true(wire < 67000)
    assert.is_not_nil(b)
  end)

  it("ends with a goodbye, which the other side tells from a cut", function()
    local a, b = pair()
    assert.is_nil(shake(a, b))
    a:write { "last" }
    a:done()
    a:done()
    a:write {}
    assert.is_false(a:pending())
    carry(a, b)
    assert.equal("last", (b:read()))
    assert.is_true(b:hasMore())
    assert.same({ nil, "EOF" }, { b:read() })
  end)

  for _, version in ipairs { "TLS 1.3", "TLS 1.2" } do
    it(("fails wherever the handshake is cut, in words (%s) #slow"):format(version), function()
      -- all that a good server says, and when the client asks for it
      local options = version == "TLS 1.2" and { ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" } or {}
      options.tls13 = version == "TLS 1.3"
      local a, b = pair({ client(options) }, { server(options) })
      a:write {}
      carry(a, b)
      b:read()
      b:write {}
      local flight = b:take()
      assert.is_true(#flight > 300)
      for cut = 0, #flight - 1 do
        local c = probe.stream { tls = { client(options) } }
        c:write {}
        c:give(flight:sub(1, cut))
        c:eof()
        local bytes, err, why = c:read()
        if bytes == "" then bytes, err, why = c:read() end
        -- the bytes are not meant for this client, so some cuts come after it has noticed
        assert.is_nil(bytes, cut)
        assert.equal("TLS", err, cut)
        assert.is_true(#why > 10, why)
        c:free()
      end
    end)
  end

  it("says that the connection ended in the middle of the handshake", function()
    local a = probe.stream { tls = { client() } }
    a:write {}
    a:eof()
    assert.same({ nil, "TLS", "the connection ended in the middle of the TLS handshake" }, { a:read() })
    local b = probe.stream { tls = { server() } }
    b:eof()
    assert.same({ nil, "TLS", "the connection ended before the TLS handshake" }, { b:read() })
  end)

  -- A proxy says goodbye in the middle of the server's handshake and keeps the line: nothing more comes
  -- that could wake anybody, so the end has to be told with what came before it.
  it("tells the end of the layer below at once, behind half a record of the one above", function()
    local a, b = pair({ client() }, { server() })
    assert.is_nil(shake(a, b))
    a:cover(client())
    a:write {}
    b:write { "\22\3\3" }
    b:done()
    b:write {}
    carry(b, a)
    assert.same({ nil, "TLS", "the connection ended in the middle of the TLS handshake" }, { a:read() })
  end)

  it("notices a byte changed at any place of a record #slow", function()
    local a, b = pair()
    assert.is_nil(shake(a, b))
    assert.equal("x", pass(a, b, "x"))
    a:write { "attack at dawn" }
    local record = a:take()
    for place = 1, #record do
      local c, d = pair()
      assert.is_nil(shake(c, d))
      c:write { "attack at dawn" }
      record = c:take()
      local byte = record:byte(place)
      d:give(record:sub(1, place - 1) .. string.char(byte % 2 == 0 and byte + 1 or byte - 1) .. record:sub(place + 1))
      d:eof()
      local got, err = readAll(d)
      assert.equal("", got, place)
      assert.is_true(err == "TLS" or (err == "EOF" and (place == 4 or place == 5)), place) -- 4, 5: a longer record never ends
    end
  end)

  it("tells a failure behind what came before it, once that was read", function()
    local a, b = pair()
    assert.is_nil(shake(a, b))
    a:write { "good" }
    b:give(a:take() .. "\23\3\3\0\20" .. ("x"):rep(20))
    assert.equal("good", (b:read()))
    assert.is_true(b:hasMore())
    local bytes, err, why = b:read()
    assert.same({ nil, "TLS" }, { bytes, err })
    assert.matches("damaged or forged", why)
    b:write {}
    a:give(b:take()) -- the alert
    bytes, err, why = a:read()
    assert.same({ nil, "TLS" }, { bytes, err })
    assert.matches("other side got a damaged or forged record", why)
  end)

  it("knows an HTTP request, and a server that answers without TLS", function()
    local b = probe.stream { tls = { server() } }
    b:give "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    local _, err, why = b:read()
    assert.equal("TLS", err)
    assert.equal("the client does not speak TLS: it sent an HTTP request (http request)", why)
    local a = probe.stream { tls = { client() } }
    a:write {}
    a:give "HTTP/1.1 400 Bad Request\r\n\r\n"
    _, err, why = a:read()
    assert.equal("TLS", err)
    assert.equal("the server does not speak TLS at this port (wrong version number)", why)
  end)

  it("holds record buffers for those used last only, and for none that rests while another is used", function()
    local own = { ciphers = "TLS_AES_128_GCM_SHA256" } -- contexts that no other test has used
    local first, ends = nil, {}
    for i = 1, 130 do
      local a, b = pair({ client(own) }, { server(own) })
      assert.is_nil(shake(a, b))
      first = first or { a, b }
      ends[i] = { a, b }
      assert.equal(math.min(i, 128), b:warm())
      assert.equal(math.min(i, 128), a:warm())
    end
    assert.equal("still works", pass(first[1], first[2], "still works")) -- it was among the oldest
    assert.equal(128, first[2]:warm())
    ends[130][2]:free()
    assert.equal(127, first[2]:warm())
    first[2]:later(900)
    assert.equal("soon", pass(ends[50][2], ends[50][1], "soon"))
    assert.equal(127, first[2]:warm())
    first[2]:later(101)
    assert.equal("again", pass(first[1], first[2], "again"))
    assert.equal(2, first[2]:warm())
    assert.equal("and back", pass(ends[60][2], ends[60][1], "and back"))
    assert.equal(3, first[2]:warm())
    for _, each in ipairs(ends) do
      each[1]:free()
      each[2]:free()
    end
  end)

  it("says whom a certificate is for, and who issued what nobody knows", function()
    local a, b = pair({ client { host = "example.org" } })
    local aErr, bErr, aWhy = shake(a, b)
    assert.equal("TLS", aErr)
    assert.equal("the certificate is not for example.org but for localhost (depth 0, CN=localhost)", aWhy)
    assert.is_nil(bErr)
    a, b = pair({ { ca = nil } })
    aErr, bErr, aWhy = shake(a, b)
    assert.equal("TLS", aErr)
    assert.equal("self-signed certificate (depth 0, CN=localhost)", aWhy)
    assert.is_nil(bErr)
    a:write {} -- the alert has gone with what was said last
    b:give(a:take())
    local _, err, why = b:read()
    assert.equal("TLS", err)
    assert.matches("the other side does not trust the issuer of our certificate %(", why)
  end)
end)
