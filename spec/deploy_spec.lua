-- docs/deploy.md: its configurations are run as they stand there, ports and paths apart, and talked through: nginx
-- and haproxy as foreign judges of our server and our client.

local foreign = require "spec.foreign"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local system = require "system"
local wire = require "spec.wire"

local quote = helper.quote

-- --- the document ---------------------------------------------------------------------------------

local document = helper.read(helper.root .. "/docs/deploy.md")

-- The document's first block in this language.
local function block(language)
  return assert(document:match("\n```" .. language .. "\n(.-\n)```\n"), "no block of " .. language)
end

-- Puts each text in the place of another, which must be there.
local function swapped(text, pairs_)
  for _, pair in ipairs(pairs_) do
    local from, to = pair[1]:gsub("%p", "%%%0"), tostring(pair[2]):gsub("%%", "%%%%")
    local n
    text, n = text:gsub(from, to)
    if n == 0 then error("the document has no `" .. pair[1] .. "`", 2) end
  end
  return text
end

-- --- places ---------------------------------------------------------------------------------------

local directory, CERT, KEY, BOTH, node

-- A port that stays free until somebody listens there: none of those the system gives to whoever wants any, of which
-- other specs take many meanwhile.
local function free_port()
  for _ = 1, 100 do
    local high, low = lunawire.randomBytes(2):byte(1, 2)
    local port = 20000 + (high * 256 + low) % 12000
    local free, listener = pcall(probe.tcp.listen, 1, "127.0.0.1", port)
    if free then
      listener:close()
      return port
    end
  end
  error "no port is free"
end

local function listens(port)
  local fd = probe.sys.connect(port)
  if fd then probe.sys.close(fd) end
  return fd ~= nil
end

setup(function()
  directory = helper.directory()
  CERT, KEY, BOTH = directory .. "/cert.pem", directory .. "/key.pem", directory .. "/both.pem"
  local output, status = helper.run(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
    .. "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout %s -out %s"):format(KEY, CERT))
  assert.equal(0, status, output)
  helper.write(BOTH, helper.read(CERT) .. helper.read(KEY))
  node = foreign.node "through.js"
end)

teardown(function()
  node:stop()
  helper.remove(directory)
end)

-- --- proxies --------------------------------------------------------------------------------------

-- A proxy before the server at `upstream`: {process, port (wss), plain}. `swaps` are further ones. A port that
-- somebody took in between is tried again with another.
local function start(command, configure, swaps, ports)
  for _ = 1, 5 do
    local port, plain = ports and ports.port or free_port(), ports and ports.plain or free_port()
    configure(port, plain, swaps or {})
    local process = helper.peer("PATH=$PATH:/usr/sbin:/sbin; exec " .. command)
    local up = helper.await(function() return listens(port) end, lunawire.step, 5)
    if up then return { process = process, port = port, plain = plain } end
    local text = process:text()
    process:stop()
    if not text:match "in use" and not text:match "cannot bind" then error("it does not start: " .. text) end
  end
  error "no port is free"
end

local function all(first, more)
  local list = {}
  for _, pair in ipairs(first) do list[#list + 1] = pair end
  for _, pair in ipairs(more) do list[#list + 1] = pair end
  return list
end

local nginx = { name = "nginx", down = 502, timeout = "proxy_read_timeout 75s" }

function nginx.start(upstream, swaps, ports)
  local conf = directory .. "/nginx.conf"
  return start(("nginx -e stderr -p %s -c %s"):format(quote(directory), quote(conf)), function(port, plain, more)
    local paths = {}
    for _, kind in ipairs { "client_body", "proxy", "fastcgi", "uwsgi", "scgi" } do
      paths[#paths + 1] = ("%s_temp_path %s/%s;"):format(kind, directory, kind)
    end
    local around = "daemon off; master_process off; pid %s/nginx.pid; error_log stderr;\nevents {}\nhttp { access_log off; %s\n"
    helper.write(conf, around:format(directory, table.concat(paths, " ")) .. swapped(block "nginx", all({
        { "listen 443 ssl", ("listen 127.0.0.1:%d ssl"):format(port) }, { "listen 80", ("listen 127.0.0.1:%d"):format(plain) },
        { "/etc/ssl/example.org.crt", CERT }, { "/etc/ssl/example.org.key", KEY },
        { "127.0.0.1:8080", ("127.0.0.1:%d"):format(upstream) }, { "https://$host", ("https://127.0.0.1:%d"):format(port) },
      }, more)) .. "}\n")
  end, swaps, ports)
end

local haproxy = { name = "haproxy", down = 503, timeout = "timeout tunnel 75s" }

function haproxy.start(upstream, swaps, ports)
  local conf = directory .. "/haproxy.cfg"
  return start("haproxy -db -f " .. quote(conf), function(port, _, more)
    helper.write(conf, swapped(block "haproxy", all({
      { "bind :443", ("bind 127.0.0.1:%d"):format(port) }, { "/etc/ssl/example.org.pem", BOTH },
      { "inter 2s", "inter 100ms" }, { "maxconn 20000", "maxconn 200" },
      { "127.0.0.1:8080", ("127.0.0.1:%d"):format(upstream) },
    }, more)))
  end, swaps, ports)
end

-- --- what is before and behind them -------------------------------------------------------------------

-- A server that echoes, as the document's does, with what it has seen.
local function serve(port, options)
  local every = { port = port, trustProxy = { "127.0.0.1", "::1" } }
  for name, value in pairs(options or {}) do every[name] = value end
  local server = lunawire.WebSocketServer(every)
  local seen = { requests = {}, sockets = {}, closes = {} }
  server.onrequest = function(event)
    if event.request.path == "/healthz" then event:respond(seen.health or 200, nil, "ok\n") else event:respond(404) end
  end
  server.onconnection = function(event)
    seen.requests[#seen.requests + 1] = event.request
    seen.sockets[#seen.sockets + 1] = event.socket
  end
  server.onmessage = function(event) event.target:send(event.data, { binary = event.binary }) end
  server.onsocketclose = function(event)
    seen.closes[#seen.closes + 1] = ("%d %s %s"):format(event.code, event.reason, event.wasClean and "clean" or "unclean")
  end
  return server, seen
end

-- The status and body of a plain request through the proxy.
local function fetch(proxy, path)
  local said = node:ask("fetch", { url = ("https://127.0.0.1:%d%s"):format(proxy.port, path), ca = CERT })
  return math.floor(said.status), said.body
end

local function connect(proxy, options, class)
  local every = { tls = { ca = CERT } }
  for name, value in pairs(options or {}) do every[name] = value end
  local ws = (class or lunawire.WebSocket)(("wss://127.0.0.1:%d/chat?x=1"):format(proxy.port), nil, every)
  return ws, wire.record(ws, { "open", "message", "error", "close", "pong" })
end

-- --- the rules ----------------------------------------------------------------------------------------

for _, kind in ipairs { nginx, haproxy } do
  describe("behind " .. kind.name .. " as docs/deploy.md has it #foreign #slow", function()
    local proxy, upstream, server, seen

    setup(function()
      upstream = free_port()
      proxy = kind.start(upstream)
    end)
    teardown(function() proxy.process:stop() end)

    before_each(function()
      server, seen = serve(upstream)
      wire.await(function() return fetch(proxy, "/healthz") == 200 end, "the server to be seen")
    end)
    after_each(function()
      server:close()
      wire.clear()
      assert(lunawire.run(10000), "something is left in the loop")
    end)

    it("our client sends, receives, pings, and closes with its own code", function()
      local ws, log = connect(proxy)
      wire.heard(log, "open")
      local big = foreign.payload("binary", 1024 * 1024)
      ws:send "hello"
      ws:send(big, "binary")
      ws:ping "p"
      wire.await(function() return #log == 4 end, "the answers")
      local pong = log[2] == "pong p" and 2 or log[3] == "pong p" and 3 or 4
      assert.equal("pong p", table.remove(log, pong))
      assert.equal("text hello", log[2])
      assert.is_true(log[3] == "binary " .. big)
      ws:close(4001, "bye")
      wire.heard(log)
      assert.equal("close 4001 bye clean", log[4])
      wire.await(function() return seen.closes[1] end)
      assert.equal("4001 bye clean", seen.closes[1])
      assert.equal("/chat?x=1", seen.requests[1].target)
    end)

    it("ws sends, receives, pings, and closes with its own code", function()
      local said = node:ask("visit", { url = ("wss://127.0.0.1:%d/"):format(proxy.port), ca = CERT, size = 1024 * 1024 })
      assert.same({ text = "hello", same = true, pong = "p", code = 4001, reason = "bye" }, said)
      wire.await(function() return seen.closes[1] end)
      assert.equal("4001 bye clean", seen.closes[1])
    end)

    it("the server's code and reason come through, and those of its end", function()
      local _, one = connect(proxy)
      local _, other = connect(proxy)
      wire.await(function() return #seen.sockets == 2 and one.open and other.open end)
      seen.sockets[1]:close(4005, "why")
      wire.await(function() return one.close or other.close end)
      server:close(1001, "the server restarts")
      wire.await(function() return one.close and other.close end)
      local closes = { one[2], other[2] }
      table.sort(closes)
      assert.same({ "close 1001 the server restarts clean", "close 4005 why clean" }, closes)
    end)

    it("the client's address is known, whatever it says itself", function()
      node:ask("visit", {
        url = ("wss://127.0.0.1:%d/"):format(proxy.port), ca = CERT, localAddress = "127.0.0.2",
        headers = { ["X-Forwarded-For"] = "6.6.6.6, 127.0.0.1", ["X-Forwarded-Proto"] = "http" },
      })
      local request = seen.requests[1]
      assert.same({ "127.0.0.2", 0, "127.0.0.1" }, { request.remoteAddress, request.remotePort, request.peerAddress })
      assert.equal("https", request.headers["x-forwarded-proto"])
      assert.matches("^6%.6%.6%.6, 127%.0%.0%.1,? ?", request.headers["x-forwarded-for"])
    end)

    it("pages of the same host and port may come, and no others", function()
      local url = ("wss://127.0.0.1:%d/"):format(proxy.port)
      local function visit(origin) return node:ask("visit", { url = url, ca = CERT, origin = origin }) end
      assert.equal(4001, visit(("https://127.0.0.1:%d"):format(proxy.port)).code)
      for _, origin in ipairs { "https://evil.example", "https://127.0.0.1", ("https://127.0.0.1:%d"):format(upstream) } do
        local said = visit(origin)
        assert.equal(403, said.status)
        assert.matches("`origins`", said.body)
      end
    end)

    it("our client sees the server's own refusal", function()
      local _, log = connect(proxy, { origin = "https://evil.example" })
      wire.heard(log)
      assert.same({ "error http", "close 1006  unclean" }, log)
      assert.equal(403, log.error.status)
      assert.matches("`origins`", log.error.body)
    end)

    it("plain requests are served, too", function()
      assert.same({ 200, "ok\n" }, { fetch(proxy, "/healthz") })
      assert.same({ 404, "" }, { fetch(proxy, "/elsewhere") })
    end)

    it("a client comes back when the proxy was killed", function()
      local ws, log = connect(proxy, { minDelay = 50, maxDelay = 200, heartbeat = false }, lunawire.ReconnectingWebSocket)
      wire.await(function() return log[1] == "open" end)
      proxy.process:signal "KILL"
      wire.await(function() return log.close end)
      assert.same({ 1006, false }, { log.close.code, log.close.wasClean })
      proxy.process:stop()
      local opened = #log
      proxy = kind.start(upstream, nil, proxy)
      wire.await(function() return log[#log] == "open" and #log > opened end, "another open")
      ws:send "again"
      wire.await(function() return log[#log] == "text again" end)
      ws:close(1000)
      wire.await(function() return ws.readyState == 3 end)
    end)

    it("a client comes back when the server was away", function()
      server:close()
      wire.await(function() return fetch(proxy, "/healthz") == kind.down end, "the proxy to see that nobody is there")
      local ws, log = connect(proxy, { minDelay = 50, maxDelay = 200, heartbeat = false }, lunawire.ReconnectingWebSocket)
      wire.await(function() return #log >= 4 end, "two attempts")
      local twice = { "error http", "close 1006  unclean", "error http", "close 1006  unclean" }
      assert.same(twice, { log[1], log[2], log[3], log[4] })
      assert.equal(kind.down, log.error.status)
      assert.is_true(#log.error.body > 0) -- the proxy's own page
      server, seen = serve(upstream)
      wire.await(function() return log[#log] == "open" end, "open")
      ws:close(1000)
      wire.await(function() return ws.readyState == 3 end)
    end)
  end)

  describe("a " .. kind.name .. " that cuts idle connections off after three seconds #foreign #slow", function()
    local proxy, upstream

    setup(function()
      upstream = free_port()
      proxy = kind.start(upstream, { { kind.timeout, (kind.timeout:gsub("75s", "3s")) } })
    end)
    teardown(function() proxy.process:stop() end)

    local function idle(heartbeat)
      local server = serve(upstream, { heartbeat = heartbeat })
      finally(function()
        server:close()
        assert(lunawire.run(10000), "something is left in the loop")
      end)
      wire.await(function() return fetch(proxy, "/healthz") == 200 end, "the server to be seen")
      local ws, log = connect(proxy)
      wire.heard(log, "open")
      return ws, log
    end

    it("ends one without a heartbeat", function()
      local _, log = idle(false)
      wire.heard(log)
      assert.equal("close 1006  unclean", log[2])
    end)

    it("keeps one that the server's heartbeat keeps awake", function()
      local ws, log = idle { interval = 150, timeout = 10000 }
      local until_ = system.monotime() + 5
      while system.monotime() < until_ do wire.turn(10) end
      assert.same({ "open" }, log)
      ws:close(1000)
      wire.heard(log)
      assert.equal("close 1000  clean", log[2])
    end)
  end)
end

-- --- what only one of them has ------------------------------------------------------------------------

describe("nginx as docs/deploy.md has it #foreign #slow", function()
  local upstream, proxy, server

  local function begin(swaps)
    upstream = free_port()
    proxy = nginx.start(upstream, swaps)
    server = serve(upstream)
  end

  after_each(function()
    server:close()
    assert(lunawire.run(10000), "something is left in the loop")
    proxy.process:stop()
  end)

  it("sends a client from ws to wss", function()
    begin()
    local url = ("ws://127.0.0.1:%d/chat?x=1"):format(proxy.plain)
    local ws = lunawire.WebSocket(url, nil, { followRedirects = 1, tls = { ca = CERT } })
    local log = wire.record(ws)
    wire.heard(log, "open")
    assert.equal(("wss://127.0.0.1:%d/chat?x=1"):format(proxy.port), ws.url)
    ws:close(1000)
    wire.heard(log)
    log = wire.record(lunawire.WebSocket(url))
    wire.heard(log)
    assert.equal(308, log.error.status)
  end)

  -- Each line is needed: what the client says without it.
  local lines = {
    { "proxy_http_version 1.1;", 505 },
    { "proxy_set_header Upgrade $http_upgrade;", 404 }, -- a plain request, for onrequest
    { "proxy_set_header Connection $connection_upgrade;", 404 },
  }
  for _, line in ipairs(lines) do
    it("needs " .. line[1], function()
      begin { { line[1], "" } }
      local _, log = connect(proxy)
      wire.heard(log)
      assert.equal(line[2], log.error.status)
    end)
  end

  it("needs proxy_set_header Host, for pages", function()
    begin { { "proxy_set_header Host $http_host;", "" } }
    local _, log = connect(proxy, { origin = ("https://127.0.0.1:%d"):format(proxy.port) })
    wire.heard(log)
    assert.equal(403, log.error.status)
  end)
end)

describe("haproxy as docs/deploy.md has it #foreign #slow", function()
  it("asks after the server's health in a way it understands", function()
    local upstream = free_port()
    local proxy = haproxy.start(upstream)
    local server, seen = serve(upstream)
    finally(function()
      server:close()
      assert(lunawire.run(10000), "something is left in the loop")
      proxy.process:stop()
    end)
    local function becomes(status)
      wire.await(function() return fetch(proxy, "/") == status end, "a " .. status)
    end
    becomes(404) -- our own: it is up
    seen.health = 500
    becomes(503) -- haproxy's: nobody is up
    seen.health = 200
    becomes(404)
  end)

  it("takes a server for dead that it asks as it is used to", function()
    local upstream = free_port()
    local proxy = haproxy.start(upstream, { { "  http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host healthz\n", "" } })
    local server = serve(upstream)
    finally(function()
      server:close()
      assert(lunawire.run(10000), "something is left in the loop")
      proxy.process:stop()
    end)
    wire.await(function() return fetch(proxy, "/") == 503 end, "a 503")
  end)
end)

-- --- the server of the document -------------------------------------------------------------------------

describe("the server of docs/deploy.md #foreign #slow", function()
  local upstream, proxy, workers

  before_each(function()
    helper.write(directory .. "/server.lua", block "lua")
    upstream = free_port()
    proxy = nginx.start(upstream)
    workers = {}
    for i = 1, 2 do
      workers[i] = helper.peer("exec " .. helper.lua(quote(directory .. "/server.lua") .. " " .. upstream))
      assert.equal(("listening on ws://127.0.0.1:%d/"):format(upstream), workers[i]:line(lunawire.step))
    end
  end)
  after_each(function()
    for _, worker in ipairs(workers) do worker:stop() end
    proxy.process:stop()
    assert(lunawire.run(10000), "something is left in the loop")
  end)

  it("shares its port among processes, and one that is stopped says goodbye to its own", function()
    assert.same({ 200, "ok\n" }, { fetch(proxy, "/healthz") })
    local lines = {}
    for i = 1, 30 do
      local ws, log = connect(proxy)
      lines[i] = { ws = ws, log = log }
    end
    for _, line in ipairs(lines) do
      wire.heard(line.log, "open")
      line.ws:send "hello"
    end
    for _, line in ipairs(lines) do wire.await(function() return line.log[2] == "text hello" end) end
    for _, worker in ipairs(workers) do assert.matches("\n127%.0%.0%.1 has come\n", worker:text()) end
    workers[1]:signal "TERM"
    local function gone()
      local n = 0
      for _, line in ipairs(lines) do if line.log.close then n = n + 1 end end
      return n
    end
    local _, count = workers[1]:text():gsub("has come", "")
    wire.await(function() return gone() == count end, "the goodbyes")
    for _, line in ipairs(lines) do
      if line.log.close then assert.equal("close 1001 the server restarts clean", line.log[3]) end
    end
    assert.equal(0, workers[1]:wait())
    local _, log = connect(proxy) -- and the other goes on
    wire.heard(log, "open")
    workers[2]:signal "TERM"
    wire.await(function() return gone() == 30 and log.close end, "all goodbyes")
    assert.equal(0, workers[2]:wait())
  end)
end)

describe("the systemd unit of docs/deploy.md #foreign", function()
  it("is one", function()
    if select(2, helper.run "command -v systemd-analyze") ~= 0 then return pending "no systemd here" end
    local unit = directory .. "/chat@.service"
    helper.write(unit, swapped(block "systemd", {
      { "/usr/bin/lua5.4", "/bin/sh" }, { "/srv/chat/server.lua", "/dev/null" },
    }))
    local output = helper.run("systemd-analyze verify --man=no " .. quote(unit:gsub("@", "@1")) .. " 2>&1; true")
    assert.is_nil(output:match "chat@[^\n]*", output)
  end)
end)
