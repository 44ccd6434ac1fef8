-- src/frame: judged by the examples of RFC 6455, 5.7, and by a header read bit by bit.

local probe = require "lunawire.probe"

local decode, encode = probe.frame.decode, probe.frame.encode

-- A header read the slow way, from the text of 5.2: the error's name or nil, and the byte that shows it.
local function slow(bytes)
  local first, second = bytes:byte(1, 2)
  local opcode = first % 16
  local control = opcode >= 8
  if opcode > 10 or (opcode > 2 and opcode < 8) then return "OPCODE", 1 end
  if control and first < 128 then return "CONTROL_FIN", 1 end
  local short = second % 128
  if control and short > 125 then return "CONTROL_LENGTH", 2 end
  if short == 126 and string.unpack(">I2", bytes, 3) < 126 then return "LENGTH_FORM", 4 end
  if short == 127 then
    if bytes:byte(3) > 127 then return "LENGTH_RANGE", 3 end
    if string.unpack(">I8", bytes, 3) < 65536 then return "LENGTH_FORM", 8 end
  end
end

-- Decodes after each byte: waits (0) until the header is whole or the byte that shows the error is
-- here, and says the same from then on, whatever follows.
local function waits(bytes, whole, name, place)
  for n = 0, #bytes do
    local used, other = decode(bytes:sub(1, n))
    if name and n >= place then
      assert.is_nil(used, n)
      assert.equal(name, other)
    else
      assert.equal(not name and n >= whole and whole or 0, used, n)
    end
  end
end

describe("a frame's header", function()
  local mask = "\x37\xfa\x21\x3d"
  local right = { -- RFC 6455, 5.7
    { "a single-frame unmasked text message", "\x81\x05Hello", 2,
      { fin = true, rsv = 0, opcode = 1, masked = false, length = 5 } },
    { "a single-frame masked text message", "\x81\x85" .. mask .. "\x7f\x9f\x4d\x51\x58", 6,
      { fin = true, rsv = 0, opcode = 1, masked = true, length = 5, key = mask } },
    { "the first fragment of a text message", "\x01\x03Hel", 2,
      { fin = false, rsv = 0, opcode = 1, masked = false, length = 3 } },
    { "its last fragment", "\x80\x02lo", 2, { fin = true, rsv = 0, opcode = 0, masked = false, length = 2 } },
    { "an unmasked ping", "\x89\x05Hello", 2, { fin = true, rsv = 0, opcode = 9, masked = false, length = 5 } },
    { "a masked pong", "\x8a\x85" .. mask .. "\x7f\x9f\x4d\x51\x58", 6,
      { fin = true, rsv = 0, opcode = 10, masked = true, length = 5, key = mask } },
    { "256 bytes of binary", "\x82\x7E\x01\x00...", 4,
      { fin = true, rsv = 0, opcode = 2, masked = false, length = 256 } },
    { "64 KiB of binary", "\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00...", 10,
      { fin = true, rsv = 0, opcode = 2, masked = false, length = 65536 } },
    { "an empty Close", "\x88\x00", 2, { fin = true, rsv = 0, opcode = 8, masked = false, length = 0 } },
    { "125 bytes", "\x82\x7D.", 2, { fin = true, rsv = 0, opcode = 2, masked = false, length = 125 } },
    { "126 bytes", "\x82\x7E\x00\x7E.", 4, { fin = true, rsv = 0, opcode = 2, masked = false, length = 126 } },
    { "65535 masked bytes", "\x82\xFE\xFF\xFF" .. mask .. ".", 8,
      { fin = true, rsv = 0, opcode = 2, masked = true, length = 65535, key = mask } },
    { "2^63 - 1 masked bytes, all RSV bits", "\x72\xFF\x7F" .. ("\xFF"):rep(7) .. mask, 14,
      { fin = false, rsv = 7, opcode = 2, masked = true, length = math.maxinteger, key = mask } },
    { "a compressed message (RSV1)", "\xC1\x07", 2,
      { fin = true, rsv = 4, opcode = 1, masked = false, length = 7 } },
  }

  for _, case in ipairs(right) do
    local name, bytes, whole, wanted = table.unpack(case)
    it("of " .. name .. " is read, however it is cut", function()
      local used, frame = decode(bytes)
      assert.equal(whole, used)
      assert.same(wanted, frame)
      waits(bytes, whole)
    end)

    it("of " .. name .. " is written as it was read", function()
      assert.equal(bytes:sub(1, whole), encode(wanted))
    end)
  end

  local wrong = {
    { "opcode 3", "\x83\x00", "OPCODE", 1 },
    { "opcode 7, in fragments", "\x07\x80", "OPCODE", 1 },
    { "opcode 11", "\x8B\x00", "OPCODE", 1 },
    { "opcode 15", "\x8F\x00", "OPCODE", 1 },
    { "a ping in fragments", "\x09\x00", "CONTROL_FIN", 1 },
    { "a Close in fragments", "\x08\x02\x03\xE8", "CONTROL_FIN", 1 },
    { "a ping of 126 bytes", "\x89\x7E\x00\x7E", "CONTROL_LENGTH", 2 },
    { "a masked pong of 2^16 bytes", "\x8A\xFF" .. ("\0"):rep(5) .. "\1\0\0" .. mask, "CONTROL_LENGTH", 2 },
    { "125 bytes in two bytes of length", "\x82\x7E\x00\x7D", "LENGTH_FORM", 4 },
    { "no byte in two bytes of length", "\x82\xFE\x00\x00" .. mask, "LENGTH_FORM", 4 },
    { "65535 bytes in eight bytes of length", "\x82\x7F\0\0\0\0\0\0\xFF\xFF", "LENGTH_FORM", 8 },
    { "5 bytes in eight bytes of length", "\x82\xFF\0\0\0\0\0\0\0\5" .. mask, "LENGTH_FORM", 8 },
    { "a length of 2^63", "\x82\x7F\x80\0\0\0\0\0\0\0", "LENGTH_RANGE", 3 },
    { "a length of 2^64 - 1", "\x82\xFF" .. ("\xFF"):rep(8) .. mask, "LENGTH_RANGE", 3 },
  }
  for _, case in ipairs(wrong) do
    it("with " .. case[1] .. " is refused at the first byte that shows it", function()
      local bytes, name, place = table.unpack(case, 2)
      waits(bytes, nil, name, place)
      waits(bytes .. ("\0"):rep(20), nil, name, place)
    end)
  end

  it("is right for every pair of first bytes #slow", function()
    local rest = "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C" -- lengths that are in order
    for first = 0, 255 do
      for second = 0, 255 do
        local bytes = string.char(first, second) .. rest
        local name, place = slow(bytes)
        local used, frame = decode(bytes)
        local short = second % 128
        local extra = short == 126 and 2 or short == 127 and 8 or 0
        local good
        if name then
          good = used == nil and frame == name and decode(bytes:sub(1, place - 1)) == 0
            and select(2, decode(bytes:sub(1, place))) == name
        else
          local masked = second >= 128
          good = used == 2 + extra + (masked and 4 or 0)
            and frame.fin == (first >= 128) and frame.rsv == first // 16 % 8 and frame.opcode == first % 16
            and frame.masked == masked
            and frame.length == (extra == 0 and short or string.unpack(">I" .. extra, bytes, 3))
            and frame.key == (masked and bytes:sub(3 + extra, 6 + extra) or nil)
            and decode(bytes:sub(1, used - 1)) == 0 and encode(frame) == bytes:sub(1, used)
        end
        if not good then error(("%02x %02x"):format(first, second)) end
      end
    end
  end)

  it("tells RSV bits and masking with its first two bytes", function()
    for second = 0, 255 do
      local used, frame = decode(string.char(0xF2, second))
      assert.is_true(used ~= nil and frame.rsv == 7 and frame.opcode == 2)
      assert.equal(second >= 128, frame.masked)
    end
  end)

  it("is as short as it can be, at every bound of the length", function()
    local sizes = { [0] = 2, [1] = 2, [125] = 2, [126] = 4, [127] = 4, [65535] = 4, [65536] = 10, [65537] = 10,
      [1 << 31] = 10, [1 << 32] = 10, [1 << 53] = 10, [math.maxinteger] = 10 }
    for length, size in pairs(sizes) do
      for _, key in ipairs { false, mask } do
        local bytes = encode { fin = true, opcode = 2, length = length, key = key or nil }
        assert.equal(size + (key and 4 or 0), #bytes)
        assert.equal(length, select(2, decode(bytes)).length)
        waits(bytes, #bytes)
      end
    end
  end)

  it("of eight bytes of length is judged by each of them", function()
    for i = 1, 8 do
      local length = ("\0"):rep(i - 1) .. "\1" .. ("\0"):rep(8 - i)
      if i <= 6 then waits("\x82\x7F" .. length, 10) else waits("\x82\x7F" .. length, nil, "LENGTH_FORM", 8) end
    end
  end)
end)

describe("a close code", function()
  -- RFC 6455, 7.4.2, and the registry it founds; 1004, 1005, 1006 and 1015 are never on the wire.
  local function allowed(code)
    if code >= 3000 and code <= 4999 then return true end
    local registered = { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014 }
    for _, one in ipairs(registered) do if code == one then return true end end
    return false
  end

  it("may be sent or not, for all 65536 of them #slow", function()
    for code = 0, 65535 do
      if probe.frame.codeValid(code) ~= allowed(code) then error(code) end
    end
  end)
end)
