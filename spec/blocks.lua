-- blocks.lua -- deflate streams by hand (RFC 1951), for the payloads that no compressor makes: stored blocks
-- and blocks of the fixed code, in any order, final or not. It shares no code with zlib.
--
--   blocks.new():fixed { "He", "llo", { 5, 3 } }:stored("!"):payload()  -- {length, distance}: what was there before

local frames = require "spec.frames"

local blocks = {}
local Stream = {}
Stream.__index = Stream

function blocks.new()
  return setmetatable({ parts = {}, byte = 0, used = 0 }, Stream)
end

-- A number of n bits, the lowest first.
function Stream:put(value, n)
  for _ = 1, n do
    if value % 2 == 1 then self.byte = self.byte + 2 ^ self.used end
    value = math.floor(value / 2)
    self.used = self.used + 1
    if self.used == 8 then
      self.parts[#self.parts + 1] = string.char(math.floor(self.byte))
      self.byte, self.used = 0, 0
    end
  end
end

-- A Huffman code, the highest bit first.
function Stream:code(value, n)
  for i = n - 1, 0, -1 do self:put(math.floor(value / 2 ^ i) % 2, 1) end
end

function Stream:pad()
  if self.used > 0 then self:put(0, 8 - self.used) end
  return self
end

local function low(value) return frames.number(value, 2):reverse() end

-- A stored block (3.2.4); `check` is the complement of its length, unless a wrong one is wanted.
function Stream:stored(content, final, check)
  self:put(final and 1 or 0, 1)
  self:put(0, 2)
  self:pad()
  self.parts[#self.parts + 1] = low(#content) .. low(check or 65535 - #content) .. content
  return self
end

-- Stored blocks for content of any length.
function Stream:storedAll(content)
  for at = 1, #content, 65535 do self:stored(content:sub(at, at + 65534)) end
  return self
end

-- The fixed code for a literal or a length's symbol (3.2.6).
local function symbol(stream, value)
  if value < 144 then stream:code(0x30 + value, 8)
  elseif value < 256 then stream:code(0x190 + value - 144, 9)
  elseif value < 280 then stream:code(value - 256, 7)
  else stream:code(0xc0 + value - 280, 8) end
end

-- The index, counted from 0, of the last number that is no larger, and what is missing to the value (3.2.5).
local function index(list, value)
  local i = 1
  while list[i + 1] and list[i + 1] <= value do i = i + 1 end
  return i - 1, value - list[i]
end

local LENGTHS = { 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
  227, 258 }
local DISTANCES = { 1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
  4097, 6145, 8193, 12289, 16385, 24577 }

local function match(stream, length, distance)
  local i, rest = index(LENGTHS, length)
  symbol(stream, 257 + i)
  stream:put(rest, (i < 8 or i == 28) and 0 or math.floor(i / 4) - 1)
  i, rest = index(DISTANCES, distance)
  stream:code(i, 5)
  stream:put(rest, i < 4 and 0 or math.floor(i / 2) - 1)
end

-- A block of the fixed code without its end, from texts and {length, distance}.
function Stream:open(tokens, final)
  self:put(final and 1 or 0, 1)
  self:put(1, 2)
  for _, token in ipairs(tokens) do
    if type(token) == "table" then match(self, token[1], token[2])
    else token:gsub(".", function(c) symbol(self, c:byte()) end) end
  end
  return self
end

function Stream:fixed(tokens, final)
  self:open(tokens, final)
  symbol(self, 256)
  return self
end

-- All its bytes, and nothing more.
function Stream:bytes()
  self:pad()
  return table.concat(self.parts)
end

-- A message's payload: behind it an empty stored block, without its last four bytes (RFC 7692, 7.2.1).
function Stream:payload()
  return self:stored("", false):bytes():sub(1, -5)
end

-- 1 + 2064 * times zeros in 13 bytes for each 2064: eight codes of 13 bits come to whole bytes.
function blocks.zeros(times)
  local first, second = blocks.new():open { "\0" }, blocks.new():open { "\0" }
  for _ = 1, 16 do match(second, 258, 1) end
  local unit = table.concat(second.parts):sub(15, 27)
  for _ = 1, 8 do match(first, 258, 1) end
  first.parts = { table.concat(first.parts) .. unit:rep(times - 1) }
  symbol(first, 256)
  return first:payload()
end

return blocks
