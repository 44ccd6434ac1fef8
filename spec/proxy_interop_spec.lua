-- Our client through proxies of others: tinyproxy (CONNECT), microsocks and dante (SOCKS5), haproxy as TLS in front
-- of one. Each is asked for ws and wss, with a password and without, and for a name that it alone knows.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local quote = helper.quote

local NAME = "a.example.test" -- which no resolver has: it is in the proxy's own hosts file

local certs, directory

local function free_port()
  local listener = probe.tcp.listen()
  local port = listener.port
  listener:close()
  return math.floor(port)
end

local function listens(port)
  local fd = probe.sys.connect(port)
  if fd then probe.sys.close(fd) end
  return fd ~= nil
end

-- Starts a proxy on a free port; `command` is made of the port. In a mount namespace of its own its hosts file is
-- ours. A port that somebody took in between is tried again with another. Ends with the spec.
local function start(command)
  for _ = 1, 5 do
    local port = free_port()
    local hosts = directory .. "/hosts"
    helper.write(hosts, "127.0.0.1 localhost\n127.0.0.1 " .. NAME .. "\n")
    local script = ("mount --bind %s /etc/hosts && exec %s"):format(quote(hosts), command(port))
    local process = helper.peer("PATH=$PATH:/usr/sbin:/sbin; exec unshare -m sh -c " .. quote(script))
    if helper.await(function() return listens(port) end, lunawire.step, 5) then
      turns.keep { close = function() process:stop() end }
      return port, process
    end
    local text = process:text()
    process:stop()
    if not text:match "in use" and not text:lower():match "bind" then error("it does not start: " .. text) end
  end
  error "no port is free"
end

-- What is not to be had everywhere (see tools/install.sh), and mount namespaces, which are Linux's and root's.
local function missing(...)
  for _, program in ipairs { "unshare", ... } do
    local _, status = helper.run("PATH=$PATH:/usr/sbin:/sbin; " ..
      (program == "unshare" and "unshare -m true" or "command -v " .. program))
    if status ~= 0 then
      pending("needs " .. program)
      return true
    end
  end
end

local PROGRAMS = { tinyproxy = "tinyproxy", microsocks = "microsocks", dante = "danted" }

local kinds = {}

function kinds.tinyproxy(password)
  return "http", start(function(port)
    local conf = directory .. "/tinyproxy.conf"
    helper.write(conf, ("Port %d\nListen 127.0.0.1\nTimeout 30\nMaxClients 20\nLogLevel Info\n%s"):format(port,
      password and "BasicAuth me secret\n" or ""))
    return "tinyproxy -d -c " .. quote(conf)
  end)
end

function kinds.microsocks(password)
  return "socks5", start(function(port)
    return ("microsocks -i 127.0.0.1 -p %d %s"):format(port, password and "-u me -P secret" or "")
  end)
end

function kinds.dante()
  return "socks5", start(function(port)
    local conf = directory .. "/danted.conf"
    helper.write(conf, ([[
logoutput: stderr
internal: 127.0.0.1 port = %d
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass { from: 127.0.0.1/32 to: 0.0.0.0/0 }
socks pass { from: 127.0.0.1/32 to: 0.0.0.0/0 }
]]):format(port))
    return "danted -f " .. quote(conf)
  end)
end

-- haproxy takes TLS off before the port of another.
local function behind_tls(port)
  local both = directory .. "/both.pem"
  helper.write(both, helper.read(certs:cert "good") .. helper.read(certs:key "good"))
  return start(function(own)
    local conf = directory .. "/haproxy.cfg"
    helper.write(conf, ("defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n" ..
      "listen tls\n bind 127.0.0.1:%d ssl crt %s\n server one 127.0.0.1:%d\n"):format(own, both, port))
    return "haproxy -db -f " .. quote(conf)
  end)
end

-- An echo server of ours; {url =, hosts = {} (the Host of each request)}.
local function echo(secure)
  local seen = { hosts = {} }
  local server = turns.serve { host = "127.0.0.1",
    tls = secure and { cert = certs:cert "a", key = certs:key "a" } or nil }
  server.onconnection = function(event)
    seen.hosts[#seen.hosts + 1] = event.request.headers.host
    local socket = event.socket
    socket.onmessage = function(message) socket:send(message.data, message.binary and "binary" or nil) end
  end
  seen.port = server.port
  seen.url = ("%s://%s:%d/"):format(secure and "wss" or "ws", NAME, server.port)
  return seen
end

local function dial(url, proxy, more)
  local options = { proxy = proxy, tls = { ca = certs:cert "root" } }
  for name, value in pairs(more or {}) do options[name] = value end
  local ws = lunawire.WebSocket(url, nil, options)
  return ws, wire.record(ws)
end

-- Opens, sends messages small and large, which come back, and closes.
local function talk(server, proxy, more)
  local ws, log = dial(server.url, proxy, more)
  wire.heard(log, "open")
  local large = ("x"):rep(300000)
  ws:send "small"
  ws:send(large)
  wire.await(function() return #log == 3 end, "both echoes")
  assert.equal("small", log.events[2].data)
  assert.equal(large, log.events[3].data)
  ws:close(1000, "bye")
  wire.heard(log)
  assert.equal("close 1000 bye clean", log[4])
  assert.equal(("%s:%d"):format(NAME, server.port), server.hosts[#server.hosts])
end

describe("a proxy of others #foreign", function()
  setup(function()
    certs = pki.new()
    directory = helper.directory()
    lunawire.WebSocket("ws://localhost:1/", nil, { proxy = false }) -- the resolver's pipe stays open from its first use on
    assert(lunawire.run(20000))
  end)
  teardown(function()
    certs:close()
    helper.remove(directory)
  end)
  before_each(turns.open)
  after_each(turns.clear)

  it("is needed for that name", function()
    local _, log = dial(echo().url, false)
    wire.heard(log)
    assert.equal("dns", log.error.code)
  end)

  for _, case in ipairs {
    { "tinyproxy" }, { "tinyproxy", true }, { "microsocks" }, { "microsocks", true }, { "dante" },
  } do
    local name, password = case[1], case[2]
    describe(("(%s, %s a password)"):format(name, password and "with" or "without"), function()
      it("leads to ws and wss, by a name that it alone knows, and by an address", function()
        if missing(PROGRAMS[name]) then return end
        local scheme, port = kinds[name](password)
        local proxy = ("%s://%s127.0.0.1:%d"):format(scheme, password and "me:secret@" or "", port)
        local plain, secure = echo(), echo(true)
        talk(plain, proxy)
        talk(secure, proxy)
        local ws, log = dial(("ws://127.0.0.1:%d/"):format(plain.port), proxy)
        wire.heard(log, "open")
        ws:terminate()
      end)

      it("says why it did not come through", function()
        if missing(PROGRAMS[name]) then return end
        local scheme, port = kinds[name](password)
        local proxy = ("%s://%s127.0.0.1:%d"):format(scheme, password and "me:secret@" or "", port)
        local nobody = free_port()
        local _, log = dial(("ws://127.0.0.1:%d/"):format(nobody), proxy)
        wire.heard(log)
        assert.equal("error proxy", log[1])
        assert.matches(("^connect to ws://127%%.0%%.0%%.1:%d/ through %s://127%%.0%%.0%%.1:%d: the proxy answered"):format(
          nobody, scheme, port), log.error.message)
        assert.matches(scheme == "http" and " 5%d%d " or ": connection refused$", log.error.message)
      end)
    end)
  end

  for name, words in pairs {
    tinyproxy = { none = "407 .*: it wants a user name and a password$", wrong = "40[17] " },
    microsocks = { none = "the proxy wants a user name and a password$", wrong = "does not accept this user name and password$" },
  } do
    it(("(%s) lets nobody through without its password, or with another"):format(name), function()
      if missing(PROGRAMS[name]) then return end
      local scheme, port = kinds[name](true)
      for kind, credentials in pairs { none = "", wrong = "me:geheim@" } do
        local tries, log = 0
        repeat -- tinyproxy does not linger: where it has not read the request to its end, a reset eats its answer
          log, tries = select(2, dial(echo().url, ("%s://%s127.0.0.1:%d"):format(scheme, credentials, port))), tries + 1
          wire.heard(log)
        until tries == 10 or not log.error.message:match "ended the connection without an answer$"
        assert.equal("error proxy", log[1])
        assert.matches(words[kind], log.error.message)
        assert.is_nil(log.error.message:match "geheim")
      end
    end)
  end

  it("(tinyproxy behind haproxy) is reached by TLS: ws, and wss in it", function()
    if missing("tinyproxy", "haproxy") then return end
    local _, inner = kinds.tinyproxy(true)
    local proxy = ("https://me:secret@localhost:%d"):format((behind_tls(inner)))
    local more = { proxyTls = { ca = certs:cert "root" } }
    talk(echo(), proxy, more)
    talk(echo(true), proxy, more)
  end)

  it("(tinyproxy behind haproxy) must have a certificate that is trusted", function()
    if missing("tinyproxy", "haproxy") then return end
    local _, inner = kinds.tinyproxy()
    local port = behind_tls(inner)
    -- the option `tls` is of the server, so it does not help
    local _, log = dial(echo(true).url, ("https://localhost:%d"):format(port))
    wire.heard(log)
    assert.equal("error tls", log[1])
    assert.matches(("through https://localhost:%d: TLS with the proxy: .*certificate"):format(port), log.error.message)
    -- nor is it the name that counts for the server
    _, log = dial(echo(true).url, ("https://127.0.0.1:%d"):format(port),
      { proxyTls = { ca = certs:cert "root", serverName = "elsewhere.test" } })
    wire.heard(log)
    assert.equal("error tls", log[1])
    assert.matches("TLS with the proxy: ", log.error.message)
  end)

  it("leads to a server whose certificate is judged as ever", function()
    if missing "tinyproxy" then return end
    local _, port = kinds.tinyproxy()
    local server = echo(true)
    local _, log = dial(server.url, ("http://127.0.0.1:%d"):format(port), { tls = {} })
    wire.heard(log)
    assert.equal("error tls", log[1])
    assert.is_nil(log.error.message:match "TLS with the proxy")
    assert.equal(0, #server.hosts)
  end)
end)
