-- Our server at TLS clients of others: Python's ssl (spec/peers/tls_peer.py), openssl s_client, curl.

local Proxy = require "spec.torture.proxy"
local cjson = require "cjson"
local foreign = require "spec.foreign"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

describe("a wss server #foreign", function()
  local certs, peer
  local servers, clients

  setup(function()
    certs = pki.new()
    peer = foreign.python "tls_peer.py"
  end)
  teardown(function()
    peer:stop()
    certs:close()
  end)
  before_each(function() servers, clients = {}, {} end)
  after_each(function()
    Proxy.clear()
    for _, ws in ipairs(clients) do ws:terminate() end -- what a failed test has left
    for _, server in ipairs(servers) do
      for socket in server:each() do socket:terminate() end
      server:close()
    end
    wire.done()
  end)

  -- A certificate and its key, by its kind.
  local function pair(kind, more)
    local tls = more or {}
    tls.cert, tls.key = certs:cert(kind), certs:key(kind)
    return tls
  end

  -- An echo server, and what it heard in words: "connection", "close 1000  clean", …
  local function serve(tls, more)
    if tls == nil then tls = pair "good" end
    local options = { tls = tls, maxPayload = 16 * 1024 * 1024 }
    for name, value in pairs(more or {}) do options[name] = value end
    local server = lunawire.WebSocketServer(options)
    servers[#servers + 1] = server
    local log = setmetatable({}, { __index = { requests = {}, errors = {} } })
    function server.onconnection(event)
      log[#log + 1] = "connection"
      log.requests[#log.requests + 1] = event.request
    end
    function server.onmessage(event) event.target:send(event.data, event.binary and "binary" or nil) end
    function server.onerror(event) log.errors[#log.errors + 1] = event end
    function server.onsocketclose(event) log[#log + 1] = wire.words(event) end
    function server.onsocketerror(event) log[#log + 1] = wire.words(event) end
    return server, log
  end

  -- A client in Python comes; what it was like. More visits: a list.
  local function visit(server, options)
    local all = { port = server.port, ca = certs:cert "root", name = "localhost" }
    for name, value in pairs(options or {}) do all[name] = value or nil end
    if all.cert then all.cert, all.key = certs:cert(all.cert), certs:key(all.cert) end
    local seen = peer:ask("visit", all)
    return all.visits and seen or seen[1]
  end

  -- A client of ours comes.
  local function come(port)
    local ws = lunawire.WebSocket(("wss://localhost:%d/"):format(port), nil, { tls = { ca = certs:cert "root" } })
    clients[#clients + 1] = ws
    return ws, wire.record(ws)
  end

  -- It echoed, and ended as it should.
  local function fine(seen)
    assert(seen.echoed, "no echo: " .. tostring(seen.failure))
    assert.equal("03e8", seen.close)
    assert.equal("close_notify", seen.ending)
    return seen
  end

  -- Waits until so much was heard.
  local function heard(log, n) wire.await(function() return #log >= n end, n .. " entries") end

  -- openssl s_client with these words. What it is to send is written to client.input.
  local function s_client(server, words)
    local fifo = os.tmpname()
    os.remove(fifo)
    assert(helper.run("mkfifo " .. helper.quote(fifo)) == "")
    local process = helper.peer(("exec openssl s_client -connect 127.0.0.1:%d -CAfile %s %s <%s"):format(
      server.port, helper.quote(certs:cert "root"), words, helper.quote(fifo)))
    local input = assert(io.open(fifo, "r+")) -- does not wait for the reader
    input:setvbuf "no"
    return {
      process = process,
      input = input,
      wait = function(_, pattern)
        return foreign.await(function() return process:text():match(pattern) end, pattern .. " of s_client: " .. words)
      end,
      stop = function()
        input:close()
        process:stop()
        os.remove(fifo)
      end,
    }
  end

  -- --- who comes in --------------------------------------------------------------------------------------

  local MUTUAL = { requestCert = true, ca = "root" }
  local ANY = "ALL:@SECLEVEL=0"

  -- name; tls: the server's options; client: tls_peer.py's; version, cipher, alpn: agreed on; fails: what
  -- the client hears, in OpenSSL's words; told: what the server's onerror hears; commonName: of the client's
  -- certificate, as the request tells.
  local rows = {
    { "TLS 1.3", version = "TLSv1.3" },
    { "TLS 1.2", client = { max = "TLSv1.2" }, version = "TLSv1.2" },
    { "TLS 1.1", client = { min = "TLSv1.1", max = "TLSv1.1", ciphers = ANY }, fails = "PROTOCOL_VERSION",
      told = "no TLS version in common" },
    { "TLS 1.0", client = { min = "TLSv1", max = "TLSv1", ciphers = ANY }, fails = "PROTOCOL_VERSION" },
    { "TLS 1.2 where 1.3 is demanded", tls = { minVersion = "TLSv1.3" },
      client = { max = "TLSv1.2" }, fails = "PROTOCOL_VERSION" },
    { "anonymous ciphers",
      client = { max = "TLSv1.2", ciphers = "ADH:@SECLEVEL=0", ca = false }, fails = "HANDSHAKE_FAILURE" },
    { "a cipher that is not its own", tls = { ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384" },
      client = { max = "TLSv1.2", ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" }, fails = "HANDSHAKE_FAILURE" },
    { "a cipher of its own", tls = { ciphers = "TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384" },
      version = "TLSv1.3", cipher = "TLS_AES_128_GCM_SHA256" },
    { "a cipher of its own in TLS 1.2", tls = { ciphers = "TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384" },
      client = { max = "TLSv1.2" }, cipher = "ECDHE-ECDSA-AES256-GCM-SHA384" },
    { "HTTP/1.1 by ALPN", client = { alpn = { "h2", "http/1.1" } }, alpn = "http/1.1" },
    { "nothing by ALPN" },
    { "no server's name", client = { name = false } },
    { "an unknown server's name", client = { name = "elsewhere.test", ca = false } },
    { "who trusts somebody else", client = { ca = "stranger" }, fails = "CERTIFICATE_VERIFY_FAILED",
      told = "does not trust the issuer of our certificate" },
    { "a client certificate that nobody asked for", client = { cert = "client" } },
    { "a good client certificate", tls = MUTUAL, client = { cert = "client" }, commonName = "Alice" },
    { "a good client certificate in TLS 1.2", tls = MUTUAL, client = { cert = "client", max = "TLSv1.2" }, commonName = "Alice" },
    { "no client certificate", tls = MUTUAL, fails = "CERTIFICATE_REQUIRED", told = "the client showed no certificate" },
    { "no client certificate in TLS 1.2", tls = MUTUAL, client = { max = "TLSv1.2" }, fails = "HANDSHAKE_FAILURE" },
    { "a client certificate of an unknown authority", tls = MUTUAL, client = { cert = "unknown client" }, fails = "UNKNOWN_CA" },
    { "the same in TLS 1.2", tls = MUTUAL, client = { cert = "unknown client", max = "TLSv1.2" }, fails = "UNKNOWN_CA" },
    { "an expired client certificate", tls = MUTUAL, client = { cert = "expired client" }, fails = "CERTIFICATE_EXPIRED",
      told = "certificate has expired (depth 0, CN=" },
    { "a server's certificate as a client's", tls = MUTUAL, client = { cert = "server as client" }, fails = "CERTIFICATE" },
    { "no client certificate where it is optional", tls = { requestCert = "optional", ca = "root" } },
    { "a good client certificate where it is optional", tls = { requestCert = "optional", ca = "root" },
      client = { cert = "client" }, commonName = "Alice" },
    { "a wrong client certificate where it is optional", tls = { requestCert = "optional", ca = "root" },
      client = { cert = "unknown client" }, fails = "UNKNOWN_CA" },
    { "bytes one by one", client = { slice = 1 } },
  }

  for _, row in ipairs(rows) do
    it((row.fails and "refuses " or "accepts ") .. row[1], function()
      local tls = pair("good", { ca = row.tls and row.tls.ca and certs:cert(row.tls.ca) })
      for name, value in pairs(row.tls or {}) do tls[name] = tls[name] or value end
      local server, log = serve(tls)
      local client = {}
      for name, value in pairs(row.client or {}) do client[name] = value end
      if client.ca then client.ca = certs:cert(client.ca) end
      local seen = visit(server, client)
      if row.fails then
        assert.matches(row.fails, tostring(seen.failure))
        assert.is_nil(seen.head)
        assert.same({}, log)
        wire.await(function() return log.errors[1] end, "the server's error event")
        assert.equal("tls", log.errors[1].code)
        assert.matches("^connection from 127%.0%.0%.1:%d+: .", log.errors[1].message)
        assert.is_truthy(log.errors[1].message:find(row.told or "", 1, true), log.errors[1].message)
        assert.equal(1, #log.errors)
      else
        fine(seen)
        heard(log, 2)
        assert.same({ "connection", "close 1000  clean" }, log)
        local told = log.requests[1].tls
        assert.equal(seen.version, told.version)
        assert.equal(seen.cipher, told.cipher)
        assert.equal(seen.alpn ~= cjson.null and seen.alpn or nil, told.protocol)
        assert.equal(client.name == nil and "localhost" or client.name or nil, told.serverName)
        assert.equal(row.commonName, told.peer and told.peer.commonName)
        if row.commonName then assert.equal(certs:fingerprint(row.client.cert), told.peer.fingerprint) end
        for _, name in ipairs { "version", "cipher", "alpn" } do
          if row[name] then assert.equal(row[name], seen[name]) end
        end
      end
      fine(visit(server, { cert = row.tls and row.tls.requestCert == true and "client" or nil, -- the next is welcome
        alpn = { "http/1.1" } }))
    end)
  end

  -- --- which certificate ------------------------------------------------------------------------------------

  local function digest(kind) return certs:fingerprint(kind):gsub(":", ""):lower() end

  it("shows the certificate that is for the name asked for, the first to all others", function()
    local server = serve(pair("good", { certificates = { pair "a", pair "b", pair "wildcard" } }))
    for name, kind in pairs {
      localhost = "good", ["a.example.test"] = "a", ["A.Example.Test"] = "a", ["b.example.test"] = "b",
      ["x.b.example.test"] = "b", ["c.example.test"] = "wildcard", ["x.y.example.test"] = "good", ["elsewhere.test"] = "good",
    } do
      local seen = visit(server, { name = name, ca = false })
      assert.equal(digest(kind), seen.peer, name)
      fine(seen)
    end
    assert.equal(digest "good", visit(server, { name = false, ca = false }).peer)
    for _, max in ipairs { "TLSv1.2", "TLSv1.3" } do
      assert.equal(digest "a", fine(visit(server, { name = "a.example.test", max = max })).peer)
    end
  end)

  it("shows another one after reload, and drops nobody", function()
    local server, log = serve(pair "good")
    local ws, ours = come(server.port)
    wire.heard(ours, "open")
    assert.equal(digest "good", fine(visit(server)).peer)
    server:reload(pair "second")
    assert.equal(digest "second", fine(visit(server)).peer)
    assert.has_error(function() server:reload { cert = certs:cert "good", key = certs:key "second" } end)
    assert.equal(digest "second", fine(visit(server)).peer)
    ws:send "still here"
    wire.await(function() return ours[2] end, "an echo")
    ws:close(1000)
    wire.heard(ours)
    assert.same({ "open", "text still here", "close 1000  clean" }, ours)
    heard(log, 8)
  end)

  it("shows another one that was written over the first, with as many bytes, at once", function()
    local path = os.tmpname()
    local function text(kind) return helper.read(certs:cert(kind)) .. helper.read(certs:key(kind)) end
    local size = math.max(#text "good", #text "second")
    local function write(kind)
      local file = assert(io.open(path, "w"))
      file:write(text(kind), ("\n"):rep(size - #text(kind))):close()
    end
    write "good"
    local server = serve { cert = path }
    assert.equal(digest "good", fine(visit(server)).peer)
    write "second"
    assert.equal(digest "good", fine(visit(server)).peer)
    server:reload {}
    assert.equal(digest "second", fine(visit(server)).peer)
    os.remove(path)
  end)

  -- --- resumption ---------------------------------------------------------------------------------------------

  for _, version in ipairs { "TLSv1.2", "TLSv1.3" } do
    it("lets a client of " .. version .. " resume", function()
      local server, log = serve()
      local visits = visit(server, { visits = 3, max = version })
      for i, seen in ipairs(visits) do
        fine(seen)
        assert.equal(i > 1, seen.reused)
        assert.equal(i > 1, log.requests[i].tls.resumed)
      end
    end)

    it("lets openssl s_client resume in " .. version, function()
      local server = serve()
      local file = helper.quote(certs.directory .. "/session." .. version)
      local flag = version == "TLSv1.2" and "-tls1_2" or "-tls1_3"
      for i, words in ipairs { "-sess_out " .. file, "-sess_in " .. file } do
        local client = s_client(server, ("%s %s"):format(flag, words))
        client.input:write(wire.upgrade())
        client:wait "101 Switching"
        assert.matches(i == 1 and "New, " .. version or "Reused, " .. version, client:wait "(%a+, TLSv1%.%d)")
        client:stop()
      end
    end)
  end

  it("demands the client's certificate again, or knows it, when a session is resumed", function()
    local server, log = serve(pair("good", { requestCert = true, ca = certs:cert "root" }))
    local visits = visit(server, { visits = 2, cert = "client" })
    fine(visits[1])
    fine(visits[2])
    assert.is_true(visits[2].reused)
    assert.equal("Alice", log.requests[2].tls.peer.commonName)
  end)

  it("lets nobody resume with session = false", function()
    local server = serve(pair("good", { session = false }))
    for _, version in ipairs { "TLSv1.2", "TLSv1.3" } do
      for _, seen in ipairs(visit(server, { visits = 2, max = version })) do
        assert.is_true(seen.echoed)
        assert.is_false(seen.reused)
      end
    end
  end)

  -- --- openssl and curl -------------------------------------------------------------------------------------

  it("is TLS 1.3 with a chain that verifies, to openssl s_client", function()
    local server = serve()
    local client = s_client(server, "-servername localhost -verify_hostname localhost -alpn http/1.1")
    client.input:write(wire.upgrade())
    client:wait "101 Switching"
    local text = client.process:text()
    client:stop()
    assert.matches("New, TLSv1%.3, Cipher is TLS_", text)
    assert.matches("Verify return code: 0 %(ok%)", text)
    assert.matches("ALPN protocol: http/1%.1", text)
    assert.matches("Compression: NONE", text)
  end)

  it("has nothing in common with who speaks only HTTP/2, and says so", function()
    local client = s_client(serve(), "-alpn h2")
    client:wait "alert no application protocol"
    client:stop()
  end)

  it("refuses a renegotiation", function()
    local server, log = serve()
    local ws, ours = come(server.port)
    wire.heard(ours, "open")
    local client = s_client(server, "-tls1_2")
    client.input:write(wire.upgrade())
    client:wait "101 Switching"
    client.input:write "R\n"
    client:wait "RENEGOTIATING"
    client:wait "no renegotiation"
    assert.matches("Secure Renegotiation IS supported", client.process:text())
    client:stop()
    ws:send "still here"
    wire.await(function() return ours[2] end, "an echo")
    ws:close(1000)
    wire.heard(ours)
    assert.equal("connection", log[1])
  end)

  -- Its answers to questions for new keys went for progress of the closing handshake, so who asked now and then was never ended.
  it("ends at closeTimeout who asks for new keys instead of closing", function()
    local server, log = serve(nil, { closeTimeout = 200 })
    local client = s_client(server, "-tls1_3")
    client.input:write(wire.upgrade())
    client:wait "101 Switching"
    for socket in server:each() do socket:close(1000) end
    local ended, asked, last = false, 0, 0
    wire.await(function()
      if lunawire.now() >= last + 50 and asked < 100 then
        client.input:write "K\n"
        last, asked = lunawire.now(), asked + 1
      end
      ended = log[2] ~= nil
      return ended or asked == 100
    end, "the end", 60)
    local text = client.process:text()
    client:stop()
    assert.matches("KEYUPDATE", text)
    assert.is_true(ended, "still there after 100 questions")
    assert.same({ "connection", "close 1006  unclean" }, log)
  end)

  if helper.run "command -v curl" ~= "" then
    it("answers plain requests over TLS, to curl", function()
      local server = serve()
      function server.onrequest(event) event:respond(200, { ["Content-Type"] = "text/plain" }, "over TLS") end
      local process = helper.peer(("exec curl -sS --max-time 20 --cacert %s https://localhost:%d/"):format(
        helper.quote(certs:cert "root"), server.port))
      foreign.await(function() return process:text():match "over TLS" end, "curl")
      process:stop()
      process = helper.peer(("exec curl -sS --max-time 20 https://localhost:%d/ 2>&1"):format(server.port))
      foreign.await(function() return process:text():match "certificate" end, "curl")
      process:stop()
    end)
  end

  -- --- what is no TLS ---------------------------------------------------------------------------------------

  it("answers plain HTTP at a TLS port with 400 in plain HTTP, and says why", function()
    local server, log = serve()
    for _, request in ipairs { wire.upgrade(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\n\r\n" } do
      local said = peer:ask("say", { port = server.port, bytes = foreign.hex(request) })
      local answer = foreign.bytes(said.answer)
      assert.matches("^HTTP/1%.1 400 ", answer)
      assert.matches("TLS", answer)
      assert.equal("end", said.ending)
    end
    assert.same({}, log)
    assert.equal(3, #log.errors)
    assert.matches("the client does not speak TLS: it sent an HTTP request", log.errors[3].message)
    wire.connect(server.port):close() -- who says nothing, a health check perhaps, is no error
    wire.settle()
    assert.equal(3, #log.errors)
    fine(visit(server))
  end)

  it("ends noise at once", function()
    local server, log = serve()
    for _, bytes in ipairs { "SSH-2.0-OpenSSH_9.2\r\n", ("\0"):rep(100), ("\255"):rep(100), "\22\3\1\255\255" .. ("x"):rep(400),
      "\23\3\3\0\5hello", "\21\3\3\0\2\2\40" } do
      peer:ask("say", { port = server.port, bytes = foreign.hex(bytes) })
    end
    assert.same({}, log)
    fine(visit(server))
  end)

  it("opens nothing for a TLS client when its port is plain", function()
    local server, log = serve(false)
    local seen = visit(server)
    assert.is_nil(seen.head)
    assert.is_truthy(seen.failure)
    assert.same({}, log)
    local _, ours = come(server.port)
    wire.heard(ours)
    assert.same({ "error tls", "close 1006  unclean" }, ours)
    assert.matches("does not speak TLS", ours.error.message)
  end)

  it("ends at handshakeTimeout whoever says nothing, half a hello, or one byte now and then", function()
    local server, log = serve(nil, { handshakeTimeout = 300 })
    local hello = "\22\3\1\2\0\1\0\1\252\3\3" -- of 512 bytes
    local silent, half, slow = wire.connect(server.port), wire.connect(server.port), wire.connect(server.port)
    half:send(hello)
    local timer = lunawire.setInterval(function() slow:send "\22" end, 20)
    slow:send(hello)
    for _, each in ipairs { silent, half, slow } do
      wire.await(function() return each.ended end, "the end")
    end
    timer:close()
    assert.same({}, log)
    fine(visit(server))
  end)

  -- --- the end, and damage ------------------------------------------------------------------------------------

  it("hears the end of TCP without close_notify as unclean, and close_notify without a Close frame too", function()
    local server, log = serve()
    visit(server, { manners = "cut" })
    heard(log, 2)
    visit(server, { manners = "notify" })
    heard(log, 4)
    assert.same({ "connection", "close 1006  unclean", "connection", "close 1006  unclean" }, log)
  end)

  it("sends and receives messages of every size", function()
    local server = serve()
    fine(visit(server, { sizes = { 0, 1, 16383, 16384, 16385, 65536, 1048576, 5 * 1048576 } }))
    fine(visit(server, { sizes = { 0, 1, 16383, 16384, 16385, 65536 }, slice = 7, max = "TLSv1.2" }))
  end)

  it("sends and receives one byte at a time", function()
    local server = serve()
    local proxy = Proxy.new { port = server.port }
    proxy:slice(1)
    fine(visit(proxy, { sizes = { 0, 1, 300 } }))
  end)

  -- event.request.tls was nil then, though the request came over TLS: a handler that asked for its peer raised.
  it("tells what was agreed on, though the record behind the request is damaged", function()
    local server, log = serve()
    peer:ask("visit", { port = server.port, damaged = true })
    wire.await(function() return log[2] end, "close")
    assert.equal("connection", log[1])
    assert.matches("^TLSv1%.[23]$", log.requests[1].tls.version)
  end)

  it("tells of a damaged record, and no other socket hears of it", function()
    local server, log = serve()
    local proxy = Proxy.new { port = server.port }
    local first, firsts = come(proxy.port)
    wire.heard(firsts, "open")
    local second, seconds = come(proxy.port)
    wire.heard(seconds, "open")
    local up = proxy.links[2].up
    up:corrupt(up.received + 20)
    second:send(("x"):rep(1000))
    wire.heard(seconds)
    assert.same({ "open", "error tls", "close 1006  unclean" }, seconds)
    assert.matches("the other side got a damaged or forged record", seconds.error.message)
    first:send "still here"
    wire.await(function() return firsts[2] end, "an echo")
    first:close(1000)
    wire.heard(firsts)
    assert.same({ "open", "text still here", "close 1000  clean" }, firsts)
    heard(log, 5)
    assert.same({ "connection", "connection", "error tls", "close 1006  unclean", "close 1000  clean" }, log)
  end)

  it("is not harmed wherever a client's flight ends #slow", function()
    local server, log = serve()
    local proxy = Proxy.new { port = server.port }
    local ws, alive = come(proxy.port)
    wire.heard(alive, "open")
    local most = proxy.links[1].up.passed
    for n = 0, most - 10, 3 do
      local cut = Proxy.new { port = server.port }
      cut.onlink = function(link) link.up:at(n, n % 2 == 0 and "reset" or "halfClose") end
      local seen = visit(cut, { name = false, ca = false })
      assert.is_nil(seen.echoed, "cut at " .. n)
      cut:close()
    end
    assert.same({ "connection" }, log)
    ws:send "still here"
    wire.await(function() return alive[2] end, "an echo")
    ws:close(1000)
    wire.heard(alive)
    fine(visit(server))
  end)

  -- --- what cannot be ---------------------------------------------------------------------------------------------

  describe("made wrong", function()
    local function refused(tls, words)
      local descriptors = probe.sys.descriptors()
      local message = wire.mistake("TypeError", lunawire.WebSocketServer, { tls = tls })
      for word in (words .. "|"):gmatch "(.-)|" do
        assert(message:find(word, 1, true), ("`%s` does not say `%s`"):format(message, word))
      end
      assert.equal(descriptors, probe.sys.descriptors())
    end

    local function cases()
      local cert, key, locked = certs:cert "good", certs:key "good", certs:lockedKey("good", "secret")
      local old = certs:lockedKey("good", "secret", "old")
      return {
        { "no certificate", {}, "cert" },
        { "a key and no certificate", { key = key }, "cert" },
        { "a certificate that is not there", { cert = "/nowhere.pem", key = key }, 'cert "/nowhere.pem"|o such file' },
        { "a key that is not there", { cert = cert, key = "/nowhere.pem" }, 'key "/nowhere.pem"|o such file' },
        { "a key of another certificate", { cert = cert, key = certs:key "second" }, "it is not the key of the certificate" },
        { "no PEM for a certificate", { cert = helper.root .. "/LICENSE", key = key }, "no certificate in it" },
        { "no PEM for a key", { cert = cert, key = helper.root .. "/LICENSE" }, "no key in it" },
        { "a certificate for a key", { cert = cert, key = cert }, "no key in it" },
        { "an encrypted key without a passphrase", { cert = cert, key = locked }, "no passphrase was given" },
        { "the same in the old form", { cert = cert, key = old }, "no passphrase was given" },
        { "the old form with a wrong one", { cert = cert, key = old, passphrase = "sesame" }, "the passphrase is wrong" },
        { "an encrypted key with a wrong one", { cert = cert, key = locked, passphrase = "sesame" },
          "the passphrase is wrong" },
        { "a weak key", pair "weak key", "too small" },
        { "an unknown option", pair("good", { certt = "x" }), 'certt|cert' },
        { "an unknown version", pair("good", { minVersion = "TLSv1.1" }), "minVersion" },
        { "unknown ciphers", pair("good", { ciphers = "ROT13" }), "ciphers|no cipher match" },
        { "requestCert without ca", pair("good", { requestCert = true }), "ca" },
        { "a ca that is not there", pair("good", { ca = "/nowhere.pem", requestCert = true }), "ca|/nowhere.pem" },
        { "a ca that nobody is asked for", pair("good", { ca = certs:cert "root" }),
          'option "ca" does nothing without "requestCert"' },
        { "a list of certificates with a wrong one",
          pair("good", { certificates = { { cert = cert, key = certs:key "second" } } }),
          "it is not the key of the certificate" },
        { "certificates by name", pair("good", { certificates = { ["a.example.test"] = pair "a" } }),
          'a list of { cert =, key = } expected, got a table with the key "a.example.test"' },
        { "one certificate for a list", pair("good", { certificates = pair "a" }), "a list of { cert =, key = } expected" },
        { "a file for a certificate of the list", pair("good", { certificates = { cert } }),
          "item 1: { cert =, key = } expected, got string" },
        { "true", true, "tls: { cert =, key = } expected, got true" },
        { "a file", cert, "tls: { cert =, key = } expected, got string" },
      }
    end

    it("raises, with the reason, and leaves nothing open", function()
      for _, case in ipairs(cases()) do
        local ok, problem = pcall(refused, case[2], case[3])
        assert(ok, case[1] .. ": " .. tostring(problem))
      end
    end)
  end)
end)
