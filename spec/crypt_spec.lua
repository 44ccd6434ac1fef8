-- src/crypt: judged by the vectors of RFC 4648 and RFC 3174.

local probe = require "lunawire.probe"

local crypt = probe.crypt

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

describe("SHA-1", function()
  local vectors = { -- RFC 3174, 7.3, and the empty text of FIPS 180
    { "abc", "a9993e364706816aba3e25717850c26c9cd0d89d" },
    { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1" },
    { ("a"):rep(1000000), "34aa973cd4c4daa4f61eeb2bdbad27316534016f" },
    { ("0123456701234567012345670123456701234567012345670123456701234567"):rep(10),
      "dea356a2cddd90c7a7ecedc5ebb563934f460452" },
    { "", "da39a3ee5e6b4b0d3255bfef95601890afd80709" },
  }
  for i, vector in ipairs(vectors) do
    it("is right for vector " .. i .. ", of " .. #vector[1] .. " bytes", function()
      assert.equal(vector[2], hex(crypt.sha1(vector[1])))
    end)
  end
end)

describe("base64", function()
  local vectors = { -- RFC 4648, 10 and 9
    { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" },
    { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
    { "\x14\xfb\x9c\x03\xd9\x7e", "FPucA9l+" }, { "\x14\xfb\x9c\x03\xd9", "FPucA9k=" },
    { "\x14\xfb\x9c\x03", "FPucAw==" }, { "\xfb\xff\xfe", "+//+" },
    { "the sample nonce", "dGhlIHNhbXBsZSBub25jZQ==" }, -- RFC 6455, 1.3
  }
  for _, vector in ipairs(vectors) do
    it(("turns %q into %q and back"):format(vector[1], vector[2]), function()
      assert.equal(vector[2], crypt.encode(vector[1]))
      assert.equal(vector[1], crypt.decode(vector[2]))
    end)
  end

  local wrong = {
    { "a length that is no multiple of four", "Zg", "Zg=", "Z", "Zm9vY", "Zm9vYg=" },
    { "padding elsewhere than at the end", "=Zg=", "Z=g=", "Zg==Zg==", "Zm9=Zm9v", "====", "Z===", "Zm9v====" },
    { "bits that stand for nothing (RFC 4648, 3.5)", "Zh==", "Zm9=", "Zv==", "Zi==", "Zm8B=", "Zm9vYmF=" },
    { "characters of other alphabets", "Zm-v", "Zm_v", "Zm v", "Zm\nv", "Zm9\0", "Zm9\xff", "Zm.v", "Zm9v\r\n==" },
    { "space before or after", " Zm9", "Zm8 ", "Zm9v    ", "    Zm9v" },
  }
  for _, case in ipairs(wrong) do
    it("refuses " .. case[1], function()
      for i = 2, #case do assert.is_nil(crypt.decode(case[i]), case[i]) end
    end)
  end

  it("has one text for each value and one value for each text, for all pairs of bytes #slow", function()
    for a = 0, 255 do
      for b = 0, 255, 3 do
        local bytes = string.char(a, b)
        if crypt.decode(crypt.encode(bytes)) ~= bytes then error(hex(bytes)) end
      end
    end
    local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for c = 0, 255 do
      local good = alphabet:find(string.char(c), 1, true) ~= nil
      local text = "AA" .. string.char(c) .. "A"
      assert.equal(good and text or nil, crypt.decode(text) and crypt.encode(crypt.decode(text)))
    end
  end)

  it("decodes what it encoded, at every length", function()
    math.randomseed(4648)
    local bytes = ""
    for n = 0, 100 do
      local text = crypt.encode(bytes)
      assert.equal((n + 2) // 3 * 4, #text)
      assert.equal(bytes, crypt.decode(text))
      bytes = bytes .. string.char(math.random(0, 255))
    end
  end)
end)

describe("randomness", function()
  teardown(function() crypt.fail(false) end)

  it("comes in any amount", function()
    for _, n in ipairs { 0, 1, 16, 4096 } do assert.equal(n, #crypt.random(n)) end
  end)

  it("differs from one time to the next", function()
    assert.not_equal(crypt.random(16), crypt.random(16))
  end)

  it("has every bit set about half of the time", function()
    local count, bytes = 0, crypt.random(20000)
    for i = 1, #bytes do
      local byte = bytes:byte(i)
      for bit = 0, 7 do count = count + (byte >> bit & 1) end
    end
    assert.is_true(math.abs(count - 80000) < 1500, count) -- seven standard deviations
  end)

  it("that fails is an error, and leaves OpenSSL's error queue empty", function()
    crypt.fail(true)
    local bytes, name = crypt.random(16)
    crypt.fail(false)
    assert.is_nil(bytes)
    assert.equal("RANDOM", name)
    assert.equal(0, crypt.left())
  end)
end)

describe("a stock of randomness", function()
  teardown(function() crypt.fail(false) end)

  it("hands out its bytes in turn, each once", function()
    local entropy = crypt.entropy()
    local key = entropy:take(4)
    local left = entropy:stock()
    assert.equal(508, #left)
    local given = { key }
    for i = 2, 128 do given[i] = entropy:take(4) end
    assert.equal(left, table.concat(given, "", 2))
  end)

  it("wipes what it has handed out", function()
    local entropy = crypt.entropy()
    entropy:take(64)
    entropy:take(3)
    local _, gone = entropy:stock()
    assert.equal(("\0"):rep(67), gone)
  end)

  it("is filled anew when it is short", function()
    local entropy = crypt.entropy()
    for _ = 1, 8 do entropy:take(60) end -- 32 are left
    assert.equal(32, #entropy:stock())
    assert.equal(33, #entropy:take(33))
    assert.equal(512 - 33, #entropy:stock())
  end)

  it("never gives the same key twice in a thousand", function()
    local entropy, seen = crypt.entropy(), {}
    for _ = 1, 1000 do
      local nonce = entropy:take(16)
      assert.is_nil(seen[nonce])
      seen[nonce] = true
    end
  end)

  it("gives more than it holds straight from the source", function()
    assert.equal(1000, #crypt.entropy():take(1000))
  end)

  it("does not hand out what a failed filling left behind", function()
    local entropy = crypt.entropy()
    for _ = 1, 8 do entropy:take(63) end -- 8 are left
    crypt.fail(true)
    assert.is_nil((entropy:take(9)))
    assert.is_nil((entropy:take(8)))
    crypt.fail(false)
    assert.equal(8, #entropy:take(8))
  end)

  it("that cannot be filled is an error, and stays empty until it can", function()
    local entropy = crypt.entropy()
    crypt.fail(true)
    local bytes, name = entropy:take(4)
    assert.is_nil(bytes)
    assert.equal("RANDOM", name)
    assert.equal("", (entropy:stock()))
    crypt.fail(false)
    local key = entropy:take(4)
    assert.equal(4, #key)
    assert.not_equal("\xdd\xdd\xdd\xdd", key) -- what the failing source left behind
  end)
end)
