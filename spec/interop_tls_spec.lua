-- We and others over wss: npm's ws and Python's websockets, each as client and as server, with certificates
-- that both ends verify; then Chromium, at our server and on the chat page over https, with a CA it was given.

local foreign = require "spec.foreign"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local rules = require "spec.foreign_rules"

local certs = pki.new()
local root, cert, key = certs:cert "root", certs:cert "good", certs:key "good"

-- A directory with a browser's trust in the root and nobody else's.
local function home()
  local directory = helper.directory()
  local said, status = helper.run(([[
    mkdir -p DIR/.pki/nssdb && certutil -d sql:DIR/.pki/nssdb -N --empty-password &&
    certutil -d sql:DIR/.pki/nssdb -A -t C,, -n root -i %s]]):gsub("DIR", helper.quote(directory)):format(helper.quote(root)))
  assert(status == 0, said)
  return directory
end

describe("over wss #foreign #slow", function()
  local homes = {}

  setup(function()
    foreign.tls = { listen = { cert = cert, key = key }, connect = { ca = root }, serve = { cert = cert, key = key } }
  end)
  teardown(function()
    foreign.tls = nil
    certs:close()
    for _, directory in ipairs(homes) do helper.remove(directory) end
  end)

  -- What is said by who does not trust the root.
  local function distrusts(start)
    local peer, server = start(), foreign.server()
    local ok, problem = pcall(peer.ask, peer, "closed", { url = server.url, target = "idle" })
    server:close()
    peer:stop()
    assert.is_false(ok)
    assert.matches("[Cc]ertificate", tostring(problem))
  end

  describe("interop with ws", function()
    local peer
    local traits = {
      name = "ws", closesWithout = true, seesPings = true, pings = true, fragments = true, seesRefusal = "body",
      setsHeaders = true,
    }
    local script = helper.quote(helper.root .. "/spec/peers/ws.js")
    local function start() return foreign.peer(("env NODE_EXTRA_CA_CERTS=%s node %s"):format(helper.quote(root), script)) end

    setup(function() peer = start() end)
    teardown(function() peer:stop() end)

    rules.servesUs(function() return peer end, traits)
    rules.visitsUs(function() return peer end, traits)
    rules.dies(start, traits)

    it("is refused by a client that does not know the root", function()
      distrusts(function() return foreign.peer("node " .. script) end)
    end)
  end)

  describe("interop with websockets", function()
    local peer
    local traits = { name = "websockets", pings = true, fragments = true, seesRefusal = "status", setsHeaders = true }
    local script = helper.quote(helper.root .. "/spec/peers/websockets_peer.py")
    local function start()
      return foreign.peer(("env SSL_CERT_FILE=%s %s %s"):format(helper.quote(root), helper.python(), script))
    end

    setup(function() peer = start() end)
    teardown(function() peer:stop() end)

    rules.servesUs(function() return peer end, traits)
    rules.visitsUs(function() return peer end, traits)
    rules.dies(start, traits)

    it("is refused by a client that does not know the root", function()
      distrusts(function() return foreign.peer(("%s %s"):format(helper.python(), script)) end)
    end)
  end)

  describe("Chromium with a CA of its own", function()
    local peer, directory
    local traits = { name = "Chromium", closesWithout = true, codes = { 1000, 3000, 3999, 4000, 4999 }, many = 50 }
    local script = helper.quote(helper.root .. "/spec/peers/chromium.js")

    setup(function()
      directory = home()
      homes[#homes + 1] = directory
      peer = foreign.peer(("env HOME=%s node %s"):format(helper.quote(directory), script))
      peer:begin "start"(60)
    end)
    teardown(function() peer:stop() end)

    rules.visitsUs(function() return peer end, traits)

    it("is at home on a page over https", function()
      local server = foreign.server { origins = false }
      server.server.onrequest = function(event)
        event:respond(200, { ["Content-Type"] = "text/html" }, "<!doctype html><title>ours</title>")
      end
      local page = ("https://127.0.0.1:%d/"):format(server.server.port)
      assert.equal(1000, peer:ask("checkFrom", { page = page, url = server.url, sizes = { 5, 70000 } }).code)
      assert.equal("https://127.0.0.1:" .. server.server.port, server.requests[1].headers.origin)
      assert.equal("TLSv1.3", server.requests[1].tls.version)
      server:close()
      foreign.quiet()
    end)

    it("is not let in by a certificate of another root", function()
      local server = lunawire.WebSocketServer {
        tls = { cert = certs:cert "unknown", key = certs:key "unknown" }, origins = "*",
      }
      assert.equal("an error event", peer:ask("refused", { url = server.url, target = "idle" }).message)
      server:close()
      foreign.quiet()
    end)
  end)

  it("carries the whole chat page in Chromium, over https", function()
    local directory = home()
    homes[#homes + 1] = directory
    local server = ("%s 0 --cert %s --key %s"):format(helper.lua(helper.quote(helper.root .. "/examples/chat/server.lua")),
      helper.quote(cert), helper.quote(key))
    local output, status = helper.run(("env HOME=%s timeout -k 5 150 node %s %s"):format(
      helper.quote(directory), helper.quote(helper.root .. "/spec/chat/page.js"), server))
    assert.equal(0, status, output)
    assert.is_nil(output:match "not ok", output)
    local held = select(2, output:gsub("%f[%w]ok [^\n]+", ""))
    assert(held >= 20, output)
  end)
end)
