-- src/forwarded, and a server's trustProxy: who a request comes from when proxies stand between. Whatever a
-- client may have written himself is not believed.

local desk = require "spec.server_helper"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

describe("a request that was forwarded", function()
  local forwarded = probe.forwarded

  -- Who asked, of a request with these X-Forwarded-For lines: an address and a port (0: not known), or "the peer".
  local function client(trusted, peer, ...)
    local head = "GET / HTTP/1.1\r\n"
    for i, line in ipairs { ... } do
      head = head .. (i % 2 == 0 and "x-forwarded-for: " or "X-Forwarded-For: ") .. line .. "\r\n"
    end
    local address, port = forwarded(trusted, peer, head .. "X-Other: 9.9.9.9\r\n\r\n")
    return address and address .. " " .. port or "the peer"
  end

  local HOPS = { "127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix" }
  local rows = { -- what it shows, peer, lines, the client
    { "comes from the one who asked the proxy", "127.0.0.1", { "192.0.2.1" }, "192.0.2.1 0" },
    { "has come past another proxy", "127.0.0.1", { "192.0.2.1, 10.1.2.3" }, "192.0.2.1 0" },
    { "has come past proxies of both families", "127.0.0.1", { "192.0.2.1, 2001:db8::7 ,10.1.2.3" }, "192.0.2.1 0" },
    { "may say what it likes on the left", "127.0.0.1", { "6.6.6.6, 192.0.2.1" }, "192.0.2.1 0" },
    { "may pose as a proxy on the left", "127.0.0.1", { "6.6.6.6, 10.0.0.1, 192.0.2.1, 10.9.9.9" }, "192.0.2.1 0" },
    { "may have several lines, read as one", "127.0.0.1", { "6.6.6.6", "192.0.2.1", "10.1.2.3" }, "192.0.2.1 0" },
    { "may have several lines of several", "10.0.0.1", { "6.6.6.6, 192.0.2.1", "10.1.2.3, 10.1.2.4" }, "192.0.2.1 0" },
    { "comes from a proxy itself", "127.0.0.1", { "10.0.0.7, 10.0.0.8" }, "10.0.0.7 0" },
    { "has empty elements", "127.0.0.1", { "6.6.6.6,, 192.0.2.1 , ,10.0.0.1," }, "192.0.2.1 0" },
    { "over IPv6 comes from there", "2001:db8::1", { "2001:DB9:0::0001" }, "2001:db9::1 0" },
    { "over a Unix socket comes from there", "", { "192.0.2.1" }, "192.0.2.1 0" },
    { "names an IPv4 address in IPv6's clothes", "127.0.0.1", { "::ffff:192.0.2.1" }, "192.0.2.1 0" },
    { "has come past a proxy in IPv6's clothes", "127.0.0.1", { "192.0.2.1, ::ffff:10.0.0.1" }, "192.0.2.1 0" },
    { "names a port", "127.0.0.1", { "192.0.2.1:81" }, "192.0.2.1 81" },
    { "names a port, and one of a proxy", "127.0.0.1", { "192.0.2.1:65535, 10.0.0.1:82" }, "192.0.2.1 65535" },
    { "names an IPv6 address in brackets", "127.0.0.1", { "[2001:db9::1]" }, "2001:db9::1 0" },
    { "names an IPv6 address and a port", "127.0.0.1", { "[2001:db9::1]:83" }, "2001:db9::1 83" },
    { "has no such header", "127.0.0.1", {}, "the peer" },
    { "has an empty one", "127.0.0.1", { "" }, "the peer" },
    { "has empty ones", "127.0.0.1", { " , ,", "" }, "the peer" },
    -- junk: the last good one
    { "has junk on the right", "127.0.0.1", { "192.0.2.1, unknown" }, "the peer" },
    { "has junk behind a proxy", "127.0.0.1", { "192.0.2.1, junk, 10.0.0.1" }, "10.0.0.1 0" },
    { "has junk behind proxies", "127.0.0.1", { "192.0.2.1, _hidden", "10.0.0.2, 10.0.0.1" }, "10.0.0.2 0" },
    { "has junk on the left", "127.0.0.1", { "junk, 192.0.2.1, 10.0.0.1" }, "192.0.2.1 0" },
    -- somebody else's header
    { "comes from nobody who is trusted", "192.0.2.9", { "6.6.6.6" }, "the peer" },
    { "comes from an address next to one that is", "127.0.0.2", { "6.6.6.6" }, "the peer" },
    { "comes from the other family", "::1", { "6.6.6.6" }, "the peer" },
  }
  for _, row in ipairs(rows) do
    it(row[1], function()
      assert.equal(row[4], client(HOPS, row[2], (table.unpack or unpack)(row[3])))
    end)
  end

  local junk = { "unknown", "localhost", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "1.2.3.4/8",
    "1.2.3.4 5", "::1:x:", "[::1", "::1]", "[::1]x", "[::1]:", "[1.2.3.4]", "\"1.2.3.4\"", "for=1.2.3.4", "fe80::1%eth0", "[]",
    ":", "[", "\xFF", "-" }
  for _, word in ipairs(junk) do
    it(("is not believed from %q on"):format(word), function()
      assert.equal("the peer", client(HOPS, "127.0.0.1", "192.0.2.1, " .. word))
      assert.equal("10.0.0.1 0", client(HOPS, "127.0.0.1", "192.0.2.1", word, "10.0.0.1"))
    end)
  end

  it("is nobody's when nobody is trusted", function()
    for _, peer in ipairs { "127.0.0.1", "::1", "", "junk" } do
      assert.equal("the peer", client({}, peer, "192.0.2.1"))
    end
    assert.equal("the peer", client({ "127.0.0.1" }, "", "192.0.2.1"))
    assert.equal("the peer", client({ "unix", "::/0" }, "127.0.0.1", "192.0.2.1"))
  end)

  it("is worked out the same from the right, step by step, for five thousand random headers", function()
    math.randomseed(7239)
    local words = { ["192.0.2.1"] = "other", ["192.0.2.2"] = "other", ["10.0.0.1"] = "proxy", ["10.0.0.2"] = "proxy",
      junk = "junk", [""] = "nothing" }
    local names = {}
    for word in pairs(words) do names[#names + 1] = word end
    table.sort(names)
    for _ = 1, 5000 do
      local hops, lines = {}, {}
      for i = 1, math.random(0, 6) do hops[i] = names[math.random(#names)] end
      local wanted = "the peer"
      for i = #hops, 1, -1 do
        local kind = words[hops[i]]
        if kind == "junk" then break end
        if kind ~= "nothing" then wanted = hops[i] .. " 0" end
        if kind == "other" then break end
      end
      local at = 1
      while at <= #hops do
        local last = math.random(at, #hops)
        lines[#lines + 1] = table.concat(hops, ",", at, last)
        at = last + 1
      end
      assert.equal(wanted, client(HOPS, "127.0.0.1", (table.unpack or unpack)(lines)))
    end
  end)
end)

describe("trustProxy", function()
  before_each(desk.open)
  after_each(desk.clear)

  local function addresses(options, more)
    local server, log = desk.serve(options)
    local peer = wire.client(server.port, more)
    desk.heard(log, "connection")
    peer:close()
    local request = log.requests[1]
    return request, server
  end

  local FORWARDED = { ["X-Forwarded-For"] = "6.6.6.6, 192.0.2.1:81" }

  it("is nobody by default: the header is ignored", function()
    for _, value in ipairs { {}, false, { "127.0.0.2", "unix" } } do
      local request = addresses({ trustProxy = value }, FORWARDED)
      assert.equal("127.0.0.1", request.remoteAddress)
      assert.same({ request.remoteAddress, request.remotePort }, { request.peerAddress, request.peerPort })
      assert.is_true(request.remotePort > 0)
    end
  end)

  it("names the client behind a proxy, and keeps the proxy's own address", function()
    for _, value in ipairs { "127.0.0.1", { "127.0.0.0/8" }, { "::1", "127.0.0.1" } } do
      local request = addresses({ trustProxy = value }, FORWARDED)
      assert.same({ "192.0.2.1", 81, "127.0.0.1" }, { request.remoteAddress, request.remotePort, request.peerAddress })
      assert.is_true(request.peerPort > 0)
      assert.equal("6.6.6.6, 192.0.2.1:81", request.headers["x-forwarded-for"])
    end
    local request = addresses({ trustProxy = { "127.0.0.1" } }, { ["X-Forwarded-For"] = "192.0.2.1" })
    assert.same({ "192.0.2.1", 0 }, { request.remoteAddress, request.remotePort })
    request = addresses({ trustProxy = { "127.0.0.1" } })
    assert.equal("127.0.0.1", request.remoteAddress)
    assert.is_true(request.remotePort > 0)
  end)

  it("holds for plain requests and for upgrades that are asked about", function()
    local server = desk.listen { trustProxy = { "127.0.0.1" } }
    local seen = {}
    server.onrequest = function(event)
      seen[#seen + 1] = event.request.remoteAddress
      event:respond(200, nil, "x")
    end
    server.onupgrade = function(event)
      seen[#seen + 1] = event.request.remoteAddress
      event:reject(403)
    end
    desk.fetch(server, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
    desk.fetch(server, wire.upgrade { ["X-Forwarded-For"] = "192.0.2.2" })
    assert.same({ "192.0.2.1", "192.0.2.2" }, seen)
  end)

  it("takes \"unix\" for whoever comes over a Unix socket", function()
    local directory = helper.directory()
    finally(function() helper.remove(directory) end)
    for _, case in ipairs { { { "unix" }, "192.0.2.1" }, { { "127.0.0.1" }, "" } } do
      local server = desk.listen { path = directory .. "/s", trustProxy = case[1] }
      local seen
      server.onrequest = function(event)
        seen = event.request
        event:respond(204)
      end
      local asking = helper.peer(("%s -c %s"):format(helper.python(), helper.quote(([[
import socket
s = socket.socket(socket.AF_UNIX)
s.connect("%s/s")
s.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
s.recv(100)]]):format(directory))))
      wire.await(function() return seen end, "the request")
      asking:wait()
      assert.same({ case[2], 0, "", 0 }, { seen.remoteAddress, seen.remotePort, seen.peerAddress, seen.peerPort })
      server:close()
    end
  end)

  it("wants a list, and says what is wrong with it", function()
    local function refused(words, value)
      desk.raises("TypeError", words, lunawire.WebSocketServer, { trustProxy = value })
    end
    refused("anybody could say whose address is his", true)
    refused("a list of strings expected, got number", 1)
    refused("item 2 is no string", { "127.0.0.1", {} })
    refused("\"nginx\": no IP address", { "nginx" })
    refused("\"10.0.0.0/33\": what stands behind the network's slash", { "127.0.0.1", "10.0.0.0/33" })
    refused("\"\": no IP address", "")
  end)
end)
