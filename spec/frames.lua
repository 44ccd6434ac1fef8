-- frames.lua -- WebSocket frames by hand (RFC 6455, 5.2): what specs build and judge bytes with.
-- It shares no code with the library, and is made for the eye, not for speed.

local frames = {}

-- "81 05 48" -> the three bytes, and back.
function frames.hex(text)
  return (text:gsub("%s", ""):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

function frames.dump(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x "):format(byte:byte()) end):gsub(" $", ""))
end

-- --- masking (5.3) ----------------------------------------------------------------------------

local function xor(a, b)
  local sum, bit = 0, 1
  while a > 0 or b > 0 do
    if a % 2 ~= b % 2 then sum = sum + bit end
    a, b, bit = math.floor(a / 2), math.floor(b / 2), bit * 2
  end
  return sum
end

-- masks[byte of the key][character] is the character masked; "" stays "".
local masks = setmetatable({}, {
  __index = function(all, byte)
    local characters = { [""] = "" }
    for i = 0, 255 do characters[string.char(i)] = string.char(xor(i, byte)) end
    all[byte] = characters
    return characters
  end,
})

function frames.mask(payload, key)
  if key == "\0\0\0\0" then return payload end
  local first, second, third, fourth = masks[key:byte(1)], masks[key:byte(2)], masks[key:byte(3)], masks[key:byte(4)]
  return (payload:gsub("(.)(.?)(.?)(.?)", function(a, b, c, d)
    return first[a] .. second[b] .. third[c] .. fourth[d]
  end))
end

-- --- building -----------------------------------------------------------------------------------

local function number(value, bytes)
  local text = ""
  for _ = 1, bytes do
    text = string.char(value % 256) .. text
    value = math.floor(value / 256)
  end
  return text
end
frames.number = number

frames.opcodes = { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 }

-- {opcode (a number or a name), payload = "", fin = true, rsv = 0, key = nil: not masked,
-- length = of the payload, form = 7, 16 or 64 bits: the shortest}
function frames.build(frame)
  local payload = frame.payload or ""
  local length = frame.length or #payload
  local opcode = frames.opcodes[frame[1]] or frame[1]
  local form = frame.form or length < 126 and 7 or length < 65536 and 16 or 64
  local first = (frame.fin == false and 0 or 128) + (frame.rsv or 0) * 16 + opcode
  local second = (frame.key and 128 or 0) + (form == 7 and length or form == 16 and 126 or 127)
  return string.char(first, second)
    .. (form == 7 and "" or number(length, form / 8))
    .. (frame.key or "")
    .. (frame.key and frames.mask(payload, frame.key) or payload)
end

-- The body of a Close frame.
function frames.closing(code, reason)
  return code and number(code, 2) .. (reason or "") or ""
end

-- --- reading --------------------------------------------------------------------------------------

local function value(bytes)
  local sum = 0
  for i = 1, #bytes do sum = sum * 256 + bytes:byte(i) end
  return sum
end

-- The header of the frame at `at`: {fin, rsv, opcode, form, length, key, size}.
local function header(bytes, at)
  local first, second = bytes:byte(at, at + 1)
  assert(second, "half a header")
  local form = second % 128 == 126 and 16 or second % 128 == 127 and 64 or 7
  local size = 2 + (form == 7 and 0 or form / 8)
  local frame = {
    fin = first >= 128,
    rsv = math.floor(first / 16) % 8,
    opcode = first % 16,
    form = form,
    length = form == 7 and second % 128 or value(bytes:sub(at + 2, at + size - 1)),
  }
  if second >= 128 then
    frame.key = bytes:sub(at + size, at + size + 3)
    size = size + 4
  end
  frame.size = size
  return frame
end

-- Every frame of the bytes, which must end with one: as build takes them, the payload unmasked,
-- and `first`, `last`: where it stands.
function frames.parse(bytes)
  local list, at = {}, 1
  while at <= #bytes do
    local frame = header(bytes, at)
    local from = at + frame.size
    local payload = bytes:sub(from, from + frame.length - 1)
    assert(#payload == frame.length, "half a frame")
    frame[1] = frame.opcode
    frame.payload = frame.key and frames.mask(payload, frame.key) or payload
    frame.first, frame.last = at, from + frame.length - 1
    list[#list + 1] = frame
    at = frame.last + 1
  end
  return list
end

-- A frame as a server sends it, be it right or wrong, whole or cut: the same with a client's mask.
function frames.masked(bytes, key)
  local second = bytes:byte(2)
  if not second then return bytes end
  local size = 2 + (second % 128 == 126 and 2 or second % 128 == 127 and 8 or 0)
  local front = bytes:sub(1, 1) .. string.char(second % 128 + 128) .. bytes:sub(3, size)
  return #bytes < size and front or front .. key .. frames.mask(bytes:sub(size + 1), key)
end

return frames
