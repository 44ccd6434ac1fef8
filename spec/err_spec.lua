-- src/err: every error has its own words and the close code that tells the peer.

local helper = require "spec.helper"
local probe = require "lunawire.probe"

local err = probe.err

-- name → number, as the header has them.
local function declared()
  local codes = {}
  for name, code in helper.read(helper.root .. "/src/err.h"):gmatch "LW_ERR_([%w_]+) = (%-?%d+)" do
    codes[name] = tonumber(code)
  end
  return codes
end

describe("an error of ours", function()
  it("is known to the probe by its name", function()
    local codes = declared()
    assert.is_true(codes.MEMORY == -1 and codes.CLOSED ~= nil)
    for name, code in pairs(codes) do assert.equal(code, err[name], name) end
  end)

  it("has words of its own, without a full stop", function()
    local seen = { [err.text(0)] = "OK" }
    for name, code in pairs(declared()) do
      local text = err.text(code)
      assert.is_nil(seen[text], ("%s says the same as %s"):format(name, seen[text]))
      assert.is_true(#text > 10, name)
      assert.is_nil(text:match "[%.%s]$", text)
      assert.is_nil(text:match "LW_", text)
      assert.not_equal("unknown error", text)
      seen[text] = name
    end
  end)

  it("says what a Lua user understands", function()
    assert.equal("a text message that is not UTF-8", err.text "UTF8")
    assert.equal("a message larger than maxPayload", err.text "PAYLOAD")
    assert.matches("xn%-%-", err.text "URL_IDNA")
    assert.matches("1 to 65535", err.text "URL_PORT")
    assert.matches("handshakeTimeout", err.text "TIMEOUT")
  end)

  it("that does not exist is unknown", function()
    local known = { [0] = true }
    for _, code in pairs(declared()) do known[code] = true end
    for code = -999, 200 do
      assert.equal(not known[code], err.text(code) == "unknown error", code)
    end
  end)
end)

describe("an error of the system", function()
  it("has the system's words", function()
    assert.equal("No such file or directory", err.text(err.system(2)))
    assert.equal("Permission denied", err.text(err.system(13)))
  end)

  it("has some words whatever its number", function()
    for _, number in ipairs { 0, 1, 133, 134, 4095, 98999 } do
      local text = err.text(err.system(number))
      assert.is_true(#text > 0 and text ~= "unknown error", number)
    end
  end)

  it("of a name lookup is the same whatever sign its code has", function()
    assert.equal(err.lookup(2), err.lookup(-2))
    assert.not_equal(err.lookup(2), err.lookup(3))
  end)

  it("of a name lookup has the resolver's words", function()
    local python = helper.python()
    local wanted, status = helper.run(python ..
      [[ -c 'import socket
try: socket.getaddrinfo("127.0.0.x", None, flags=socket.AI_NUMERICHOST)
except socket.gaierror as e: print(e.errno, e.strerror)']])
    assert.equal(0, status, wanted)
    local code, text = wanted:match "^(%-?%d+) (.-)\n"
    assert.equal(text, err.text(err.lookup(tonumber(code))))
    assert.is_true(#err.text(-2147483647) > 0)
  end)
end)

describe("the close code of an error", function()
  local codes = {
    { 1007, "UTF8", "CLOSE_REASON", "DEFLATE_DATA", "DEFLATE_CUT", "DEFLATE_TRAILING" },
    { 1008, "FRAGMENTS" },
    { 1009, "PAYLOAD", "SIZE" },
    { 1002, "RSV", "OPCODE", "MASKED", "UNMASKED", "LENGTH_FORM", "LENGTH_RANGE", "CONTROL_LENGTH",
      "CONTROL_FIN", "CONTINUATION", "INTERLEAVED", "CLOSE_LENGTH", "CLOSE_CODE", "HTTP_START",
      "HTTP_VERSION", "HTTP_LINE", "HTTP_FIELD", "HTTP_VALUE", "HTTP_COUNT", "HTTP_SIZE", "HTTP_TARGET",
      "STATUS", "UPGRADE", "CONNECTION", "KEY", "ACCEPT", "WS_VERSION", "PROTOCOL", "PROTOCOL_LIST",
      "EXTENSION", "EXTENSION_ANSWER", "EXTENSION_LIST", "METHOD", "HOST", "BODY", "ORIGIN", "RESOURCE" },
    { 1011, "MEMORY", "RANDOM", "FORKED", "URL_EMPTY", "URL_HOST_BYTE", "URL_PATH", "URL_RESOURCE", "EOF", "TIMEOUT",
      "CLOSE_TIMEOUT", "STALL", "SLOW", "ABORTED", "NO_ADDRESS", "BUSY", "CLOSED",
      "CIDR_ADDRESS", "CIDR_PREFIX",
      "PROXY_SCHEME", "PROXY_PATH", "PROXY_CREDENTIALS", "PROXY_STATUS", "PROXY_HTTP", "PROXY_SIZE",
      "PROXY_EXTRA", "PROXY_SOCKS", "PROXY_AUTH", "PROXY_METHOD", "PROXY_PASSWORD", "PROXY_REPLY", "PROXY_EOF" },
  }
  for _, row in ipairs(codes) do
    it("is " .. row[1] .. " for " .. table.concat(row, ", ", 2), function()
      for i = 2, #row do assert.equal(row[1], err.closeCode(row[i]), row[i]) end
    end)
  end

  it("is 1011 for what the system could not do", function()
    assert.equal(1011, err.closeCode(err.system(12)))
    assert.equal(1011, err.closeCode(err.lookup(2)))
  end)
end)
