-- payload.lua -- the bytes both ends of a line can make for themselves, so that each judges what the
-- other sent. payload.js and websockets_peer.py make the same. Needs nothing but Lua.

local payload = {}

local BLOCK = 65521 -- bytes, or a few more; a prime, so that no power of two falls on its end
local CHARACTERS = { [0] = "a", "é", "€", "😀" }
local blocks = {}

-- Noise: bytes for "binary", characters of one to four bytes for "text".
local function block(kind)
  if blocks[kind] then return blocks[kind] end
  local parts, length, x = {}, 0, 1
  while length < BLOCK do
    x = x * 16807 % 2147483647
    local part = kind == "text" and CHARACTERS[(x >> 8) & 3] or string.char((x >> 8) & 255)
    parts[#parts + 1], length = part, length + #part
  end
  blocks[kind] = table.concat(parts)
  return blocks[kind]
end

-- n bytes of "text" (which is UTF-8) or "binary".
function payload.make(kind, n)
  local one = block(kind)
  local rest = n % #one
  local last = rest -- no character is cut; "x" fills what is left
  while kind == "text" and last > 0 and one:byte(last + 1) & 0xc0 == 0x80 do last = last - 1 end
  return one:rep(n // #one) .. one:sub(1, last) .. ("x"):rep(rest - last)
end

-- The ith (from 0) of a sequence of messages of mixed kinds and sizes: kind, bytes.
function payload.message(i)
  local kind = i % 3 == 0 and "binary" or "text"
  return kind, i .. ":" .. payload.make(kind, i % 100 == 99 and 70000 or i * 7919 % 4001)
end

return payload
