-- src/mask: judged by the plain loop that RFC 6455, 5.3, writes down.

local probe = require "lunawire.probe"

local mask = probe.mask

-- "transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4)"
local function plain(bytes, key, offset)
  local out = {}
  for i = 1, #bytes do
    local j = (offset + i - 1) % 4 + 1
    out[i] = string.char(bytes:byte(i) ~ key:byte(j))
  end
  return table.concat(out)
end

local noise = {}
math.randomseed(53)
for i = 1, 400 do noise[i] = string.char(math.random(0, 255)) end
noise = table.concat(noise)

local key = "\x37\xfa\x21\x3d"

describe("the mask", function()
  it("turns Hello into the RFC's masked Hello, and back", function()
    local masked = "\x7f\x9f\x4d\x51\x58"
    assert.equal(masked, mask("Hello", key))
    assert.equal("Hello", mask(masked, key))
  end)

  it("is the plain loop at every length and offset, in place and from one place to another", function()
    for n = 0, 140 do
      for offset = 0, 4 do
        local bytes = noise:sub(1, n)
        local wanted = plain(bytes, key, offset)
        if mask(bytes, key, offset) ~= wanted or mask(bytes, key, offset, 0, 0) ~= wanted then
          error(("%d bytes at offset %d"):format(n, offset))
        end
      end
    end
  end)

  it("does not care where the bytes stand #slow", function()
    local wanted = plain(noise:sub(1, 133), key, 3)
    for to = 0, 33 do
      assert.equal(wanted, mask(noise:sub(1, 133), key, 3, to))
      for from = 0, 33 do
        if mask(noise:sub(1, 133), key, 3, to, from) ~= wanted then error(("from %d to %d"):format(from, to)) end
      end
    end
  end)

  it("goes on where it stopped, wherever a payload is cut", function()
    local wanted = plain(noise, key, 0)
    for i = 0, #noise do
      local both = mask(noise:sub(1, i), key, 0) .. mask(noise:sub(i + 1), key, i)
      if both ~= wanted then error("cut at " .. i) end
    end
    local pieces = {}
    for i = 1, #noise do pieces[i] = mask(noise:sub(i, i), key, i - 1) end
    assert.equal(wanted, table.concat(pieces))
  end)

  it("takes offsets of any size", function()
    for _, offset in ipairs { 2 ^ 31, 2 ^ 32 + 1, 2 ^ 53 + 2, math.maxinteger } do
      offset = math.tointeger(offset)
      assert.equal(plain(noise, key, offset % 4), mask(noise, key, offset))
    end
  end)

  it("leaves everything as it is with a key of zeros", function()
    assert.equal(noise, mask(noise, "\0\0\0\0", 1))
  end)

  it("uses every byte of the key in its place", function()
    for i = 1, 4 do
      local one = ("\0"):rep(i - 1) .. "\xFF" .. ("\0"):rep(4 - i)
      assert.equal(one .. one:sub(1, 3), mask(("\0"):rep(7), one))
    end
  end)
end)
