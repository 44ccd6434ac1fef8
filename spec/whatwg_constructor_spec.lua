-- WHATWG WebSockets, 3.1 "Interface definition": the constructor, and the URL parser it calls (WHATWG URL, 4.4).

local lunawire = require "lunawire"
local whatwg = require "spec.whatwg"
local wire = require "spec.wire"

local WebSocket = lunawire.WebSocket

-- The url of a socket that is given up before it has done anything.
local function href(text)
  local ws = WebSocket(text)
  local url = ws.url
  ws:close()
  return url
end

describe("WebSockets 3.1, new WebSocket(url, protocols)", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  local function raises(...) return wire.mistake("SyntaxError", WebSocket, ...) end

  it("step 1: there is no API base URL (docs/browser.md: relative addresses)", function()
    for _, relative in ipairs { "/chat", "chat", "?q", "//127.0.0.1/", "" } do raises(relative) end
  end)

  it("step 3: a URL that does not parse is a SyntaxError", function() raises "ws://" end)

  it("step 4: http becomes ws", function() assert.equal("ws://h/", href "http://h/") end)

  it("step 5: https becomes wss", function() assert.equal("wss://h/", href "https://h/") end)

  for _, scheme in ipairs { "ftp", "file", "data", "about", "blob", "javascript", "wsss", "x" } do
    it(("step 6: the scheme %s is a SyntaxError"):format(scheme), function() raises(scheme .. "://h/") end)
  end

  it("step 7: a fragment is a SyntaxError", function() raises "ws://h/#x" end)

  it("step 7: an empty fragment is not null, and a SyntaxError", function() raises "ws://h/#" end)

  it("step 7: a number sign that is percent-encoded is no fragment", function()
    assert.equal("ws://h/%23x", href "ws://h/%23x")
  end)

  it("step 8: a string is a list of one", function()
    local _, _, peer = whatwg.asking "chat"
    assert.equal("chat", peer.request.headers["sec-websocket-protocol"])
  end)

  it("step 8: an empty string is a list of an empty name, not an empty list", function() raises("ws://h/", "") end)

  it("step 9: a protocol twice is a SyntaxError", function() raises("ws://h/", { "a", "b", "a" }) end)

  it("step 9: protocols that differ in case are two", function()
    local _, _, peer = whatwg.asking { "a", "A" }
    assert.equal("a, A", peer.request.headers["sec-websocket-protocol"])
  end)

  local separators = { "(", ")", "<", ">", "@", ",", ";", ":", "\\", '"', "/", "[", "]", "?", "=", "{", "}", " ", "\t" }
  for _, separator in ipairs(separators) do
    it(("step 9: a protocol with %q is no element of Sec-WebSocket-Protocol"):format(separator), function()
      raises("ws://h/", "a" .. separator .. "b")
    end)
  end

  it("step 9: nor one with a character outside U+0021 to U+007E", function()
    for _, name in ipairs { "\0", "a\31", "a\127", "\u{80}", "é", "☺" } do raises("ws://h/", name) end
  end)

  it("step 9: the other characters of ASCII are fine", function()
    local name = "!#$%&'*+-.^_`|~09azAZ"
    local ws = whatwg.opened(name, { ["Sec-WebSocket-Protocol"] = name })
    assert.equal(name, ws.protocol)
  end)

  it("steps 1 to 7 come before step 9: the URL is told, not the protocol", function()
    assert.matches("fragment", raises("ws://h/#", { "a", "a" }))
  end)

  it("step 10: url is there at once", function()
    local ws = WebSocket(whatwg.server.url .. "x")
    assert.equal(whatwg.server.url .. "x", ws.url)
    ws:close()
  end)

  it("step 12: establishing goes on by itself; the constructor returns before", function()
    local ws = WebSocket(whatwg.server.url)
    assert.equal(0, ws.readyState)
    assert.is_nil(whatwg.server.listener:accept())
    whatwg.server:open()
    whatwg.state(ws, 1)
  end)

  it("what fails later is no exception, but events", function()
    local ws = WebSocket "ws://127.0.0.1:1/"
    local log = wire.record(ws)
    wire.heard(log)
    assert.same({ "error refused", "close 1006  unclean" }, log)
  end)

  it("an exception leaves nothing behind that connects", function()
    raises(whatwg.server.url, { "a", "a" })
    wire.settle()
    assert.is_nil(whatwg.server.listener:accept())
  end)

  it("protocols may be left out, nil, or an empty list", function()
    for _, none in ipairs { {}, { n = 1 }, { {} } } do
      local ws = WebSocket(whatwg.server.url, table.unpack(none, 1, none.n or #none))
      assert.is_nil(whatwg.server:asked().request.headers["sec-websocket-protocol"])
      ws:close()
    end
  end)

  it("takes a third argument (docs/browser.md: the constructor's third argument)", function()
    local _, _, peer = whatwg.asking(nil, { headers = { ["X-Mine"] = "yes" }, origin = "https://example.org" })
    assert.equal("yes", peer.request.headers["x-mine"])
    assert.equal("https://example.org", peer.request.headers.origin)
  end)

  it("an exception has the name it has in the browser (docs/browser.md: exceptions)", function()
    local ok, err = pcall(WebSocket, "ws://h/#")
    assert.is_false(ok)
    assert.equal("SyntaxError", err.name)
    assert.is_string(err.message)
    assert.matches("SyntaxError", tostring(err))
  end)

  it("is called without new (docs/browser.md: new)", function()
    local ws = WebSocket(whatwg.server.url)
    assert.equal("userdata", type(ws))
    ws:close()
  end)
end)

describe("URL 4.4, as the constructor parses", function()
  after_each(whatwg.close)

  local rows = {
    { "scheme state: letters become lower case", "WsS://h/", "wss://h/" },
    { "port state: the default port of ws goes", "ws://h:80/", "ws://h/" },
    { "port state: the default port of wss goes", "wss://h:443/", "wss://h/" },
    { "port state: another stays", "ws://h:443/", "ws://h:443/" },
    { "port state: zeros in front go", "ws://h:0080/", "ws://h/" },
    { "port state: an empty one is none", "ws://h:/", "ws://h/" },
    { "path start state: no path is a slash", "ws://h", "ws://h/" },
    { "path start state: a query may follow the host", "ws://h?q", "ws://h/?q" },
    { "path state: a backslash is a slash", "ws:\\\\h\\a\\b", "ws://h/a/b" },
    { "path state: single dots go", "ws://h/a/./b/.", "ws://h/a/b/" },
    { "path state: double dots go up, and not above the root", "ws://h/../a/b/../../../c", "ws://h/c" },
    { "path state: %2e is a dot", "ws://h/a/%2E%2e/b", "ws://h/b" },
    { "path state: empty segments stay", "ws://h//a//", "ws://h//a//" },
    { "path state: the path percent-encode set", 'ws://h/"<>`{}é', "ws://h/%22%3C%3E%60%7B%7D%C3%A9" },
    { "path state: what is encoded stays as it is", "ws://h/%7e%C3%A9%zz", "ws://h/%7e%C3%A9%zz" },
    { "query state: the special-query percent-encode set", "ws://h/?\"'<>é", "ws://h/?%22%27%3C%3E%C3%A9" },
    { "query state: braces and backslashes stay", "ws://h/?{}\\^`", "ws://h/?{}\\^`" },
    { "query state: an empty query stays", "ws://h/?", "ws://h/?" },
    { "query state: further question marks stay", "ws://h/?a?b", "ws://h/?a?b" },
    { "host parser: letters become lower case", "ws://EXAMPLE.Org/", "ws://example.org/" },
    { "host parser: percent-decoded", "ws://%65xample%2eorg/", "ws://example.org/" },
    { "host parser: an A-label stays", "ws://xn--bcher-kva.example/", "ws://xn--bcher-kva.example/" },
    { "IPv4 parser: four numbers", "ws://127.0.0.1/", "ws://127.0.0.1/" },
    { "IPv6 parser and serializer: compressed", "ws://[0:0:0:0:0:0:0:1]/", "ws://[::1]/" },
    { "IPv6 serializer: lower case, the longest run", "ws://[2001:DB8:0:0:1:0:0:0]/", "ws://[2001:db8:0:0:1::]/" },
    { "IPv6 parser: an IPv4 address at the end", "ws://[::ffff:1.2.3.4]/", "ws://[::ffff:102:304]/" },
  }
  for _, row in ipairs(rows) do
    it(row[1], function() assert.equal(row[3], href(row[2])) end)
  end

  local failures = {
    { "host state: an empty host", "ws:///" },
    { "host state: only a port", "ws://:80/" },
    { "port state: letters", "ws://h:8a/" },
    { "port state: more than 65535", "ws://h:65536/" },
    { "host parser: a bracket that is not closed", "ws://[::1/" },
    { "host parser: forbidden host code points", "ws://a b/" },
    { "host parser: forbidden host code points, percent-encoded", "ws://a%2fb/" },
    { "IPv4 parser: a part above 255", "ws://1.2.3.256/" },
    { "IPv4 parser: the last label is a number, the others are not", "ws://a.1/" },
    { "IPv6 parser: nine pieces", "ws://[1:2:3:4:5:6:7:8:9]/" },
    { "IPv6 parser: two compressions", "ws://[1::2::3]/" },
    { "scheme state: none", "h/path" },
  }
  for _, row in ipairs(failures) do
    it(row[1] .. " is failure", function() wire.mistake("SyntaxError", WebSocket, row[2]) end)
  end

  -- The standard calls each of these a validation error, and goes on.
  local strict = {
    { "white space around", " ws://h/ " },
    { "tabs and newlines within", "ws://h/a\tb\nc" },
    { "a space in the path", "ws://h/a b" },
    { "a space in the query", "ws://h/?a b" },
    { "no slashes", "ws:h" },
    { "one slash", "ws:/h/" },
    { "three slashes", "ws:///h/" },
    { "an IPv4 address of fewer numbers", "ws://127.1/" },
    { "an IPv4 address in hexadecimal", "ws://0x7f.0.0.1/" },
    { "a host outside ASCII", "ws://bücher.example/" },
  }
  for _, row in ipairs(strict) do
    it(row[1] .. " is failure, too (docs/browser.md: strict addresses)", function()
      wire.mistake("SyntaxError", WebSocket, row[2])
    end)
  end

  it("credentials are no part of what is shown (docs/browser.md: a name and a password in an address)", function()
    assert.equal("ws://h/", href "ws://me:secret@h/")
  end)
end)
