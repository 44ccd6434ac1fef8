-- Our client at TLS servers of others: Python's ssl (spec/peers/tls_peer.py) and openssl s_server. What
-- it must accept, what it must refuse, and the words in which it says why.

local Proxy = require "spec.torture.proxy"
local cjson = require "cjson"
local foreign = require "spec.foreign"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local wire = require "spec.wire"

local ANY = "ALL:@SECLEVEL=0" -- a server that is content with everything

local heard = wire.heard

describe("a wss client #foreign", function()
  local certs, peer
  local listening, processes, clients = {}, {}, {}

  setup(function()
    certs = pki.new()
    peer = foreign.python "tls_peer.py"
  end)
  teardown(function()
    peer:stop()
    certs:close()
  end)

  -- A server in Python. `options`: cert (its kind), and what tls_peer.py knows.
  local function listen(options)
    local all = {}
    for name, value in pairs(options or {}) do all[name] = value end
    if all.cert == nil and not all.plain then all.cert = "good" end
    if all.cert then all.key, all.cert = certs:key(all.cert), certs:cert(all.cert) end
    if all.wants then all.ca = certs:cert "root" end
    local server = peer:ask("listen", all)
    listening[#listening + 1] = server
    return server
  end

  -- What the first n connections of a server were like, at its end.
  local function seen(server, n) return peer:ask("seen", { port = server.port, count = n or 1 }) end

  -- openssl s_server with these words. Its input is the file's, which we write to.
  local function s_server(words)
    local fifo = os.tmpname()
    os.remove(fifo)
    assert(helper.run("mkfifo " .. helper.quote(fifo)) == "")
    local process = helper.peer(("exec openssl s_server -accept 127.0.0.1:0 %s <%s"):format(words, helper.quote(fifo)))
    local input = assert(io.open(fifo, "r+")) -- does not wait for the reader
    input:setvbuf "no"
    processes[#processes + 1] = { process = process, input = input }
    local port = foreign.await(function() return process:text():match "ACCEPT 127%.0%.0%.1:(%d+)" end, "s_server")
    os.remove(fifo)
    return { port = tonumber(port), process = process, input = input }
  end

  -- The option `tls` with the root trusted, unless it says otherwise; names of kinds become files.
  local function trusting(options)
    local tls = { ca = certs:cert "root" }
    for name, value in pairs(options or {}) do tls[name] = value end
    if tls.ca == "default" then tls.ca = nil end
    return tls
  end

  local function connect(port, host, tls, more)
    local options = { tls = trusting(tls) }
    for name, value in pairs(more or {}) do options[name] = value end
    local ws = lunawire.WebSocket(("wss://%s:%d/"):format(host or "localhost", port), nil, options)
    clients[#clients + 1] = ws
    return ws, wire.record(ws)
  end

  local function opens(log)
    wire.await(function() return log.open or log.close end, "open")
    assert(log.open, "not opened: " .. (log.error and log.error.message or "no error"))
  end

  -- Opens, echoes, closes.
  local function echoes(ws, log)
    opens(log)
    ws:send "hello"
    wire.await(function() return log[2] end, "an echo")
    ws:close(1000)
    heard(log)
    assert.same({ "open", "text hello", "close 1000  clean" }, log)
  end

  -- Never open; an error of TLS in these words, and what was tried.
  local function fails(ws, log, words)
    wire.await(function() return log.close or log.open end, "close")
    assert.same({ "error tls", "close 1006  unclean" }, log)
    local message = log.error.message
    assert(message:find("connect to " .. ws.url .. ": ", 1, true) == 1, message)
    for word in (words .. "|"):gmatch "(.-)|" do
      assert(message:find(word, 1, true), ("`%s` does not say `%s`"):format(message, word))
    end
  end

  after_each(function()
    for _, server in ipairs(listening) do peer:ask("shut", { port = server.port }) end
    for _, each in ipairs(processes) do
      if each.input then each.input:close() end
      each.process:stop()
    end
    for _, ws in ipairs(clients) do ws:terminate() end -- what a failed test has left
    listening, processes, clients = {}, {}, {}
    Proxy.clear()
    wire.done()
  end)

  -- --- whom it believes ---------------------------------------------------------------------------------

  -- name, cert: the server's; host: in the URL; tls: options; says: words between bars, or nil where it
  -- opens; alert: what the server hears. server: more for tls_peer.py; s: words for openssl s_server.
  local rows = {
    -- Chains.
    { "a good certificate, by name", "good" },
    { "a good certificate, by address", "good", host = "127.0.0.1" },
    { "a good certificate, by address of IPv6", "good", host = "[::1]", server = { host = "::1" } },
    { "a certificate right below the root", "good by root" },
    { "a certificate of RSA", "RSA" },
    { "a root given as PEM text", "good", ca = "text" },
    { "a directory of roots", "good", ca = "directory" },
    { "the wrong root", "good by root", ca = "stranger", says = "unable to get local issuer certificate|CN=root" },
    { "no root of ours: the system's", "good", ca = "default", says = "issuer certificate|depth" },
    { "self-signed", "self-signed", says = "self-signed certificate (depth 0, CN=localhost)", alert = "UNKNOWN_CA" },
    { "self-signed, and trusted as such", "self-signed", ca = "self-signed" },
    { "of an unknown authority", "unknown", says = "unable to get local issuer certificate|issued by CN=stranger",
      alert = "UNKNOWN_CA" },
    { "expired", "expired", says = "certificate has expired (depth 0, CN=localhost)", alert = "CERTIFICATE_EXPIRED" },
    { "not yet valid", "not yet", says = "certificate is not yet valid (depth 0, CN=localhost)" },
    { "below an expired authority", "below expired", says = "certificate has expired (depth 1, CN=expired intermediate)" },
    { "without its issuer", "no issuer", says = "unable to get local issuer certificate|issued by CN=intermediate" },
    { "below what is no authority", "below none", says = "invalid CA certificate (depth 1, CN=no authority)" },
    { "outside its authority's names", "outside", says = "permitted subtree violation" },
    { "inside its authority's names", "inside", name = "a.example.test" },
    { "with a key of 1024 bits", "weak key", server = { ciphers = ANY }, says = "key too weak" },
    { "signed with SHA-1", "weak digest", server = { ciphers = ANY }, says = "digest algorithm too weak" },
    { "for clients only", "client only", says = "purpose" },
    -- Names.
    { "for other names", "wrong host", says = "not for localhost but for elsewhere.test, www.elsewhere.test" },
    { "for the name that is expected", "wrong host", name = "elsewhere.test" },
    { "for another name than is expected", "good", name = "elsewhere.test", says = "not for elsewhere.test but for localhost" },
    { "a wildcard, one label", "wildcard", name = "a.example.test" },
    { "a wildcard, in capitals", "wildcard", name = "A.Example.TEST" },
    { "a wildcard, two labels", "wildcard", name = "a.b.example.test", says = "not for a.b.example.test but for *.example.test" },
    { "a wildcard, no label", "wildcard", name = "example.test", says = "not for example.test but for *.example.test" },
    { "a wildcard, a label of IDNA", "wildcard", name = "xn--bcher-kva.example.test" },
    { "a wildcard of a whole top level", "top wildcard", name = "example.test", says = "not for example.test but for *.test" },
    { "a wildcard for all", "lone wildcard", says = "not for localhost but for *" },
    { "a wildcard within a label", "part wildcard", name = "foo.example.test", says = "not for foo.example.test" },
    { "a wildcard within a name", "inner wildcard", name = "a.example.test", says = "not for a.example.test" },
    { "any name below one with a dot before it", "a", name = ".example.test",
      says = "not for .example.test but for a.example.test" },
    { "a name of IDNA", "puny", name = "xn--bcher-kva.example.test" },
    { "a common name and nothing else", "CN only", says = "no subjectAltName" },
    { "a common name beside other names", "CN beside SAN", says = "not for localhost but for elsewhere.test" },
    { "an address as if it were a name", "IP as DNS", host = "127.0.0.1", says = "not for 127.0.0.1" },
    { "an address alone, by address", "IP only", host = "127.0.0.1" },
    { "an address alone, by name", "IP only", says = "not for localhost but for 127.0.0.1" },
    { "another address", "other IP", host = "127.0.0.1", says = "not for 127.0.0.1 but for 127.0.0.2" },
    -- Not verified.
    { "expired, not verified", "expired", tls = { verify = false } },
    { "self-signed for other names, not verified", "wrong host", ca = "default", tls = { verify = false } },
    -- Versions and ciphers.
    { "TLS 1.0 only", "good", server = { min = "TLSv1", max = "TLSv1", ciphers = ANY }, says = "no TLS version in common" },
    { "TLS 1.1 only", "good", server = { min = "TLSv1.1", max = "TLSv1.1", ciphers = ANY }, says = "no TLS version in common" },
    { "TLS 1.2 only", "good", server = { max = "TLSv1.2" }, version = "TLSv1.2" },
    { "TLS 1.3 only", "good", server = { min = "TLSv1.3" }, version = "TLSv1.3" },
    { "all versions", "good", server = { min = "TLSv1", ciphers = ANY }, version = "TLSv1.3" },
    { "TLS 1.2 where 1.3 is demanded", "good", server = { max = "TLSv1.2" }, tls = { minVersion = "TLSv1.3" },
      says = "no TLS version in common" },
    { "anonymous ciphers only", false,
      server = { max = "TLSv1.2", ciphers = "ADH:@SECLEVEL=0" }, says = "refused the handshake" },
    { "no cipher in common", "good", server = { max = "TLSv1.2", ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384" },
      tls = { ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" }, says = "refused the handshake" },
    { "a cipher of TLS 1.2 that was asked for", "good", server = { max = "TLSv1.2" },
      tls = { ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" }, cipher = "ECDHE-ECDSA-AES128-GCM-SHA256" },
    { "a cipher of TLS 1.3 that was asked for", "good", tls = { ciphers = "TLS_CHACHA20_POLY1305_SHA256" },
      cipher = "TLS_CHACHA20_POLY1305_SHA256" },
    -- Its own certificate.
    { "a client certificate wanted, none given, TLS 1.3", "good", server = { wants = "required" },
      says = "wants a client certificate" },
    { "a client certificate wanted, none given, TLS 1.2", "good", server = { wants = "required", max = "TLSv1.2" },
      says = "the other side refused the handshake" },
    { "a client certificate wanted and given", "good", server = { wants = "required" }, client = "client", peer = "client" },
    { "the same, TLS 1.2", "good", server = { wants = "required", max = "TLSv1.2" }, client = "client", peer = "client" },
    { "the same, the key encrypted", "good", locked = "secret",
      server = { wants = "required" }, client = "client", peer = "client" },
    { "a client certificate of an unknown authority", "good", server = { wants = "required" }, client = "unknown client",
      says = "does not trust the issuer of our certificate" },
    { "an expired client certificate", "good", server = { wants = "required" }, client = "expired client",
      says = "says that our certificate has expired" },
    { "a server's certificate as a client's", "good", server = { wants = "required" }, client = "server as client",
      says = "did not accept our certificate: it may not be made for clients" },
    { "a client certificate not wanted", "good", client = "client" },
    { "a client certificate that is optional", "good", server = { wants = "optional" } },
    -- No TLS.
    { "a plain HTTP server", false, server = { plain = "HTTP/1.1 400 Bad Request\r\n\r\n" }, says = "does not speak TLS" },
    { "an SSH server", false, server = { plain = "SSH-2.0-OpenSSH_9.2\r\n" }, says = "does not speak TLS" },
    { "noise", false, server = { plain = ("\0"):rep(200) }, says = "does not speak TLS" },
    { "nothing, and the end", false, server = { plain = "" }, says = "ended in the middle of the TLS handshake" },
    { "an alert for an answer", false, server = { plain = "\21\3\3\0\2\2\40" }, says = "refused the handshake" },
    { "a goodbye for an answer", false, server = { plain = "\21\3\3\0\2\1\0" }, says = "ended in the middle" },
    -- The same by OpenSSL's own server.
    { "s_server, TLS 1.1", "good", s = "-tls1_1 -cipher ALL:@SECLEVEL=0", says = "no TLS version in common" },
    { "s_server, anonymous", "good", s = "-tls1_2 -cipher ADH:@SECLEVEL=0", says = "refused the handshake" },
    { "s_server, expired", "expired", s = "", says = "certificate has expired (depth 0, CN=localhost)" },
    { "s_server, a client certificate wanted", "good", s = "-Verify 1 -verify_return_error", says = "wants a client" },
    { "s_server, another application protocol", "good", s = "-alpn h2", says = "no application protocol (ALPN) in common" },
  }

  local function options_of(row)
    local tls = { serverName = row.name }
    for name, value in pairs(row.tls or {}) do tls[name] = value end
    if row.ca == "text" then tls.ca = helper.read(certs:cert "root")
    elseif row.ca == "directory" then tls.ca = certs:trustDirectory "root"
    elseif row.ca == "default" then tls.ca = "default"
    elseif row.ca then tls.ca = certs:cert(row.ca) end
    if row.client then
      tls.cert, tls.key = certs:cert(row.client), certs:key(row.client)
      if row.locked then tls.key, tls.passphrase = certs:lockedKey(row.client, row.locked), row.locked end
    end
    return tls
  end

  local function start(row)
    if row.s then
      local cert = helper.quote(certs:cert(row[2]))
      return s_server(("-cert %s -cert_chain %s -key %s %s"):format(cert, cert, helper.quote(certs:key(row[2])), row.s))
    end
    local options = { cert = row[2] }
    for name, value in pairs(row.server or {}) do options[name] = value end
    return listen(options)
  end

  for _, row in ipairs(rows) do
    it((row.says and "refuses " or "accepts ") .. row[1], function()
      local server = start(row)
      local ws, log = connect(server.port, row.host, options_of(row))
      if row.says then
        fails(ws, log, row.says)
        if row.alert then assert.matches(row.alert, seen(server)[1].failure) end
      else
        echoes(ws, log)
        local at = seen(server)[1]
        assert.equal("close_notify", at.ending)
        if row.version then assert.equal(row.version, at.version) end
        if row.cipher then assert.equal(row.cipher, at.cipher) end
        if row.peer then assert.equal(certs:fingerprint(row.peer):gsub(":", ""):lower(), at.peer) end
      end
    end)
  end

  -- --- what it asks for ---------------------------------------------------------------------------------

  -- The extensions of a ClientHello (RFC 8446, 4.1.2), by number.
  local function extensions_of(hello)
    local record = foreign.bytes(hello)
    assert.equal(22, record:byte(1)) -- a handshake record
    assert.equal(1, record:byte(6))  -- ClientHello
    local at = 5 + 4 + 2 + 32 + 1
    at = at + 1 + record:byte(at)                 -- the session's id
    at = at + 2 + (">I2"):unpack(record, at)      -- ciphers
    assert.equal("\1\0", record:sub(at, at + 1))  -- compression: none but "none"
    at = at + 4
    local extensions = {}
    while at <= #record do
      local number, body, after = (">I2s2"):unpack(record, at)
      extensions[number], at = body, after
    end
    return extensions
  end

  local SERVER_NAME, ALPN = 0, 16

  for _, case in ipairs {
    { "localhost", nil, "localhost" },
    { "LOCALHOST", nil, "localhost" },
    { "127.0.0.1", nil, nil },
    { "[::1]", nil, nil },
    { "127.0.0.1", "a.example.test", "a.example.test" },
    { "localhost", "127.0.0.1", nil },
  } do
    local host, name, sent = case[1], case[2], case[3]
    local title = ("sends %s as the server's name for %s"):format(sent or "nothing", host)
    it(title .. (name and " with serverName " .. name or ""), function()
      local server = listen { host = host == "[::1]" and "::1" or nil }
      local ws, log = connect(server.port, host, { serverName = name, verify = not name })
      echoes(ws, log)
      local at = seen(server)[1]
      local body = extensions_of(at.hello)[SERVER_NAME]
      assert.equal(sent and (">I2Bs2"):pack(#sent + 3, 0, sent) or nil, body)
      assert.equal(sent, at.name ~= cjson.null and at.name or nil)
    end)
  end

  it("asks for HTTP/1.1 by ALPN, or for what it is told to", function()
    local server = listen { alpn = { "h2", "http/1.1" } }
    local ws, log = connect(server.port)
    echoes(ws, log)
    ws, log = connect(server.port, nil, { alpn = { "x", "h2" } })
    echoes(ws, log)
    local first, second = table.unpack(seen(server, 2))
    assert.equal("http/1.1", first.alpn)
    assert.equal("\0\9\8http/1.1", extensions_of(first.hello)[ALPN])
    assert.equal("h2", second.alpn)
    assert.equal("\0\5\1x\2h2", extensions_of(second.hello)[ALPN])
  end)

  for _, version in ipairs { "TLSv1.2", "TLSv1.3" } do
    it("resumes a session of " .. version .. ", as the server sees it", function()
      local server = listen { max = version }
      for _ = 1, 3 do
        local ws, log = connect(server.port)
        echoes(ws, log)
      end
      local first, second, third = table.unpack(seen(server, 3))
      assert.same({ false, true, true }, { first.reused, second.reused, third.reused })
      assert.equal(version, third.version)
    end)
  end

  it("resumes none with session = false, nor one that others trust", function()
    local server = listen()
    for _ = 1, 2 do
      local ws, log = connect(server.port, nil, { session = false })
      echoes(ws, log)
    end
    echoes(connect(server.port, nil, { verify = false }))
    local ws, log = connect(server.port, nil, { ca = certs:cert "stranger" })
    fails(ws, log, "unable to get local issuer certificate")
    local anew = 0
    for _, one in ipairs(seen(server, 4)) do -- in the order of their ends: the one that failed may come before the third
      assert.is_not_true(one.reused)
      if one.reused == false then anew = anew + 1 end
    end
    assert.equal(3, anew)
  end)

  -- --- big and small ------------------------------------------------------------------------------------

  local SIZES = { 0, 1, 16383, 16384, 16385, 65536, 1048576, 5 * 1048576 }

  for _, slice in ipairs { false, 1, 1000 } do
    it("sends and receives messages of every size" .. (slice and ", the server's bytes in pieces of " .. slice or ""), function()
      local server = listen { slice = slice or nil }
      local ws, log = connect(server.port)
      opens(log)
      local messages = {}
      ws.onmessage = function(event) messages[#messages + 1] = event.data end
      local count = slice == 1 and 5 or #SIZES
      for i = 1, count do
        local bytes = foreign.payload("binary", SIZES[i])
        ws:send(bytes, "binary")
        foreign.await(function() return #messages == i or log.close end, SIZES[i] .. " bytes", 60)
        assert.is_true(messages[i] == bytes, SIZES[i] .. " bytes came back otherwise")
      end
      ws:close(1000)
      heard(log)
      assert.same({ "open", "close 1000  clean" }, log)
    end)
  end

  it("is content with one byte at a time, both ways", function()
    local server = listen()
    local proxy = Proxy.new { port = server.port }
    proxy:slice(1)
    echoes(connect(proxy.port))
  end)

  -- --- the end ---------------------------------------------------------------------------------------------

  for _, case in ipairs {
    { "the end of TCP, and nothing else", "cut", "close 1006  unclean" },
    { "close_notify without a Close frame", "notify", "close 1006  unclean" },
    { "half a message and close_notify", "half", "close 1006  unclean" },
    { "both Close frames, then the end of TCP without close_notify", "close cut", "close 1000  clean" },
  } do
    it("hears " .. case[1], function()
      local server = listen { manners = case[2] }
      local ws, log = connect(server.port)
      opens(log)
      if case[2] == "close cut" then ws:close(1000) else ws:send "hello" end
      heard(log)
      assert.equal(case[3], log[#log])
      for _, words in ipairs(log) do assert.is_nil(words:match "^text") end
    end)
  end

  it("says close_notify itself when it ends a connection at once", function()
    local server = listen { manners = "notify" }
    local ws, log = connect(server.port)
    opens(log)
    ws:send "hello"
    heard(log)
    assert.equal("close_notify", seen(server)[1].ending)
  end)

  it("refuses a renegotiation, and goes on", function()
    local server = s_server(("-tls1_2 -cert %s -key %s"):format(
      helper.quote(certs:cert "good by root"), helper.quote(certs:key "good by root")))
    local ws, log = connect(server.port)
    local request = foreign.await(function() return server.process:text():match "Sec%-WebSocket%-Key: (%S+)" end, "the request")
    server.input:write(wire.switch(request))
    opens(log)
    server.input:write "r\n"
    foreign.await(function()
      return server.process:text():match "SSL_do_handshake %-> " or log.close
    end, "the renegotiation")
    ws:send "are you there?"
    -- he ends the connection before he says why
    foreign.await(function() return server.process:text():match "no renegotiation" end, "the refusal")
    assert.is_nil(log[2] and log[2]:match "^text")
    ws:terminate()
    heard(log)
  end)

  -- Each question for new keys wants an answer, and 600 000 of them would be 16 MB. What he leaves unread fills
  -- the system's buffers first; then he is cut off, also where it is the layer below that he asks.
  for _, case in ipairs {
    { "a server", "wss://localhost:%d/" },
    { "a proxy that has let us through", "wss://beyond.test/", "https://localhost:%d", "HTTP/1.1 200 OK\r\n\r\n" },
  } do
    it("cuts off " .. case[1] .. " that asks for new keys without end and never reads #slow", function()
      local process = helper.peer(("exec python3 spec/peers/rekey_peer.py %s %s %s"):format(
        helper.quote(certs:cert "good"), helper.quote(certs:key "good"), helper.quote(case[4] or "")))
      processes[#processes + 1] = { process = process }
      local port = foreign.await(function() return process:text():match "port (%d+)" end, "the peer")
      local tls = { ca = certs:cert "root" }
      local ws = lunawire.WebSocket(case[2]:format(port), nil,
        { proxy = case[3] and case[3]:format(port) or false, proxyTls = tls, tls = tls, handshakeTimeout = 120000 })
      clients[#clients + 1] = ws
      local log = wire.record(ws)
      foreign.await(function() return log.close end, "close", 120)
      assert.same({ "error slow", "close 1006  unclean" }, log)
    end)
  end

  -- --- cut and held at every byte -----------------------------------------------------------------------------

  -- How many bytes a server sends until we are open: those of its flight, and the 101. What is in it by
  -- chance (a signature is 70 to 72 bytes long) makes it a little longer or shorter.
  local CHANCE = 8
  local function flight(port)
    local proxy, opened = Proxy.new { port = port }, nil
    local link
    proxy.onlink = function(new) link = new end
    local ws, log = connect(proxy.port, "127.0.0.1", { session = false })
    ws.onopen = function() opened = link.down.passed end
    wire.await(function() return opened or log.close end, "open")
    ws:close()
    heard(log)
    proxy:close()
    return opened - CHANCE
  end

  local PATIENCE = 1500
  local WIDTH = 100   -- connections at a time through one proxy: a system may keep 128 waiting, in their order
  local PROXIES = 4

  -- Connects once for each n up to `most`, many at a time; harm(down, n) harms what comes from the server.
  local function each_byte(port, most, step, harm, more, judge)
    local n = 0
    local function batch()
      local proxy, numbers, lines = Proxy.new { port = port }, {}, {}
      proxy.onlink = function(link) harm(link.down, table.remove(numbers, 1)) end
      while n <= most and #lines < WIDTH do
        local ws, log = connect(proxy.port, "127.0.0.1", { session = false }, more)
        numbers[#numbers + 1], lines[#lines + 1] = n, { n = n, ws = ws, log = log }
        n = n + step
      end
      return lines, proxy
    end
    while n <= most do
      local batches, proxies = {}, {}
      for i = 1, PROXIES do batches[i], proxies[i] = batch() end
      for _, lines in ipairs(batches) do
        for _, line in ipairs(lines) do
          local log = line.log
          wire.await(function() return log.close or log.open end, "close or open")
          if log.open then line.ws:terminate() end
          heard(log)
          judge(line.n, log)
        end
      end
      for _, proxy in ipairs(proxies) do proxy:close() end
    end
  end

  -- A fault before the nth byte.
  local function before(fault)
    return function(down, n) down:at(n, fault) end
  end

  local function change(down, n) down:corrupt(n) end

  for _, version in ipairs { "TLSv1.2", "TLSv1.3" } do
    describe("at a server of " .. version .. " #slow", function()
      local server, most
      before_each(function()
        server = listen { max = version }
        most = flight(server.port)
      end)

      it("fails wherever the server is cut off, in words", function()
        local words = {}
        each_byte(server.port, most, 1, before "halfClose", nil, function(n, log)
          assert.equal("close 1006  unclean", log[2], "cut at " .. n)
          assert.is_nil(log.open)
          local message = log.error.message:gsub("^connect to wss://127%.0%.0%.1:%d+/: ", "")
          words[log.error.code .. ": " .. message] = true
        end)
        words["tls: the connection ended in the middle of the TLS handshake"] = nil
        words["http: the server ended the connection before it answered"] = nil -- TLS was done
        assert.same({}, words)
      end)

      it("fails wherever the line is reset", function()
        each_byte(server.port, most, 7, before "reset", nil, function(n, log)
          assert.equal("close 1006  unclean", log[2], "reset at " .. n)
          assert.is_nil(log.open)
        end)
      end)

      it("fails at handshakeTimeout wherever the server falls silent", function()
        local reached = 0 -- before its time was over
        local function hold(down)
          reached = reached + 1
          down:blackhole()
        end
        each_byte(server.port, most, 1, before(hold), { handshakeTimeout = PATIENCE }, function(n, log)
          assert.same({ "error timeout", "close 1006  unclean" }, log, "held at " .. n)
          if n == 1 then assert.matches(": the TLS handshake took longer than handshakeTimeout", log.error.message, 1, true) end
        end)
        assert(reached > most / 2, ("the machine is too slow: %d of %d"):format(reached, most))
      end)

      it("never opens on a bit that was changed on the way, but for the version nobody reads", function()
        local MINOR = 2 -- of the first record, to be ignored (RFC 8446, 5.1)
        each_byte(server.port, most, 1, change, { handshakeTimeout = PATIENCE }, function(n, log)
          if n ~= MINOR then assert.is_nil(log.open, "changed at " .. n) end
        end)
      end)
    end)
  end

  it("tells of a record that was damaged on the way, and no other socket hears of it", function()
    local server = listen()
    local proxy = Proxy.new { port = server.port }
    local other, others = connect(proxy.port)
    opens(others)
    local ws, log = connect(proxy.port)
    opens(log)
    ws:send "one"
    wire.await(function() return log[2] end, "an echo")
    local down = proxy.links[2].down
    down:corrupt(down.received + 20) -- within the next record
    ws:send(("x"):rep(5000))
    heard(log)
    assert.same({ "open", "text one", "error tls", "close 1006  unclean" }, log)
    assert.matches("a record was damaged or forged on its way", log.error.message)
    other:send "still here"
    wire.await(function() return others[2] end, "an echo")
    other:close(1000)
    heard(others)
    assert.same({ "open", "text still here", "close 1000  clean" }, others)
    local failures = {}
    for _, each in ipairs(seen(server, 2)) do failures[#failures + 1] = each.failure end -- in whichever order they ended
    assert.equal(1, #failures)
    assert.matches("BAD_RECORD_MAC", failures[1])
  end)

  it("fails one after the other, and those beside are not touched", function()
    local good, bad = listen(), listen { cert = "expired" }
    local ws, log = connect(good.port)
    opens(log)
    for i = 1, 20 do
      local failing, failed = connect(bad.port)
      ws:send("beside " .. i)
      fails(failing, failed, "certificate has expired")
      wire.await(function() return log[i + 1] end, "an echo")
    end
    ws:close(1000)
    heard(log)
    assert.equal("close 1000  clean", log[#log])
    assert.equal(22, #log)
  end)

  -- --- what cannot be ---------------------------------------------------------------------------------------------

  local function mistake(options, words)
    assert.matches(words, wire.mistake("TypeError", lunawire.WebSocket, "wss://localhost/", nil, options), 1, true)
  end

  it("is not made with what is no options", function()
    for _, value in ipairs { true, false, "ca.pem", 1 } do
      mistake({ tls = value }, ("tls: a table of options expected, got %s (it is the URL that asks for TLS)"):format(type(value)))
    end
    mistake({ tls = { verify = "false" } }, 'tls: option "verify": a boolean expected, got string')
    mistake({ tls = { servername = "x" } }, 'tls: unknown option "servername" (did you mean "serverName"?)')
    for _, name in ipairs { "verify", "ca", "cert", "key", "passphrase", "serverName", "minVersion", "ciphers", "alpn" } do
      mistake({ [name] = false }, ('unknown option "%s" (it belongs into tls = { %s = ... })'):format(name, name))
    end
  end)

  it("expects a host for the server's name", function()
    for _, name in ipairs { "https://example.test/", "example.test:443", "[::1]", "*.example.test", "a b", "me@example.test" } do
      mistake({ tls = { serverName = name } },
        ('option "serverName": the name of a host expected, or an address, got "%s"'):format(name))
    end
    for _, name in ipairs { "example.test", "example.test.", "192.0.2.1", "2001:db8::1" } do
      lunawire.WebSocket("wss://localhost:1/", nil, { tls = { serverName = name } }):terminate()
    end
  end)

  it("gets no TLS from ws:// at a TLS port, and says what came", function()
    local server = listen()
    local ws = lunawire.WebSocket(("ws://localhost:%d/"):format(server.port))
    local log = wire.record(ws)
    heard(log)
    assert.same({ "error http", "close 1006  unclean" }, log)
    assert.matches("connect to ws://localhost:%d+/: ", log.error.message)
    assert.matches("HTTP_REQUEST", seen(server)[1].failure)
  end)
end)
