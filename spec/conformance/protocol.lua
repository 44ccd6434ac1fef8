-- protocol.lua -- the cases of protocol_spec.lua: what a peer sends, and what an endpoint that sends every message back
-- must answer, byte for byte. There is one verdict per case, and no second best.
--
-- A case: {number, name, sends = frames (as in frames.build, or a server's bytes as a string), gets = frames that must
-- come back, fails = the code of the Close frame that must then end it, or closes = the body of the Close frame that
-- must, chop = bytes given at a time (nil: all), wrong = {of the nth frame, byte k of its header or payload}: where the
-- mistake shows, limits = of the session, wire = it goes over real sockets as well}

local frames = require "spec.frames"
local probe = require "lunawire.probe"

local protocol = {}

local hex, closing = frames.hex, frames.closing
local KEY = "\x37\xfa\x21\x3d" -- the RFC's own (5.7)
local NAMES = { [0] = "continuation", "text", "binary", [8] = "close", [9] = "ping", [10] = "pong" }

local cases = {}
protocol.cases = cases

-- --- building ---------------------------------------------------------------------------------------

local group, part, nth = 0, 0, 0

local function chapter(number)
  group, part, nth = number, 0, 0
end

local function section()
  part, nth = part + 1, 0
end

local function add(name, sends, gets, more)
  nth = nth + 1
  local case = { number = ("%d.%d.%d"):format(group, part, nth), name = name, sends = sends, gets = gets }
  for field, value in pairs(more or {}) do case[field] = value end
  if case.chop then case.name = ("%s, by %d"):format(name, case.chop) end
  cases[#cases + 1] = case
  return case
end

-- The same in each of these chops (0: all at once).
local function chopped(chops, name, sends, gets, more)
  for _, chop in ipairs(chops) do
    local copy = { chop = chop > 0 and chop or nil }
    for field, value in pairs(more or {}) do copy[field] = value end
    if chop > 0 then copy.wire = nil end
    add(name, sends, gets, copy)
  end
end

local function data(opcode, payload, fin) return { opcode, payload = payload, fin = fin } end
-- What is wrong shows with this byte of the nth frame's header, and goes over real sockets, too.
local function refused(n, byte, more)
  local case = { fails = 1002, wrong = { n, header = byte }, wire = true }
  for field, value in pairs(more or {}) do case[field] = value end
  return case
end

local WIRE = { wire = true }

local function text(payload, fin) return data("text", payload, fin) end
local function binary(payload, fin) return data("binary", payload, fin) end
local function more(payload, fin) return data("continuation", payload, fin) end
local function ping(payload) return data("ping", payload) end
local function pong(payload) return data("pong", payload) end
local function close(code, reason) return data("close", closing(code, reason)) end

-- A long payload is a block of 64 bytes again and again: so it is masked block by block.
local BLOCKS = {
  text = "Grüße, κόσμε, 日本語 🚀, and some ASCII.\n\0", -- characters of every length
  binary = hex("00 ff 80 7f c3 28 f5 0d 0a 00 e2 82 fe 01 40 bf 99 12 ed a0"):rep(4),
}
for kind, block in pairs(BLOCKS) do BLOCKS[kind] = (block .. (" "):rep(64)):sub(1, 64) end

local function long(kind, n)
  local payload = BLOCKS[kind]:rep(math.ceil(n / #BLOCKS[kind])):sub(1, n)
  return { kind, payload = payload, block = BLOCKS[kind] }
end

-- A text of just n bytes that ends between two characters.
local function whole(kind, n)
  local frame = long(kind, n)
  if kind == "text" then
    local _, bad = utf8.len(frame.payload)
    if bad then
      frame.payload = frame.payload:sub(1, bad - 1) .. ("."):rep(n - bad + 1)
      frame.block = nil
    end
  end
  return frame
end

-- --- 1: framing (5.2) -------------------------------------------------------------------------------

chapter(1)
for _, kind in ipairs { "text", "binary" } do
  section()
  for _, n in ipairs { 0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 129, 255, 256, 257, 65534, 65535, 65536, 65537, 131072 } do
    local frame = whole(kind, n)
    local chops = n <= 257 and { 0, 1, 3 } or { 0, 997 }
    chopped(chops, ("%s of %d bytes"):format(kind, n), { frame }, { frame }, { wire = n < 300 or n == 65536 })
  end
end
section() -- every byte, at every place of the mask
for shift = 0, 3 do
  local bytes = {}
  for i = 0, 255 do bytes[i + 1] = string.char((i + shift) % 256) end
  local frame = binary(("-"):rep(shift) .. table.concat(bytes))
  add("every byte there is, from the mask's place " .. shift, { frame }, { frame })
end
section() -- lengths that are not in their shortest form, or too long for any (5.2)
for _, row in ipairs {
  { 0, 16 }, { 1, 16 }, { 124, 16 }, { 125, 16 }, { 0, 64 }, { 1, 64 }, { 125, 64 }, { 126, 64 }, { 65534, 64 }, { 65535, 64 },
} do
  for _, kind in ipairs { "text", "binary" } do
    local frame = { kind, payload = ("x"):rep(row[1]), form = row[2] }
    chopped({ 0, 1 }, ("%s whose length %d takes %d bits"):format(kind, row[1], row[2]), { text "fine", frame, text "no" },
      { text "fine" }, { fails = 1002, wrong = { 2, header = 2 + row[2] / 8 }, wire = kind == "text" })
  end
end
for _, row in ipairs { { "80 00 00 00 00 00 00 00", "2^63" }, { "80 00 00 00 00 00 00 01", "2^63 + 1" },
  { "ff ff ff ff ff ff ff ff", "2^64 - 1" }, { "80 00 00 00 00 00 00 7d", "2^63 + 125" } } do
  chopped({ 0, 1 }, "a length of " .. row[2], { hex("82 7f" .. row[1]) }, {}, refused(1, 10))
end
section() -- masking (5.1, 5.3)
for _, key in ipairs { "00 00 00 00", "ff ff ff ff", "01 02 04 08", "80 00 00 00", "00 00 00 01" } do
  local frame = text "masked with another key, κόσμε"
  add("the key " .. key, { frame }, { frame }, { key = hex(key), wire = true })
end
for _, opcode in ipairs { 1, 2, 8, 9, 10 } do
  chopped({ 0, 1 }, ("%s with the other side's mask bit"):format(NAMES[opcode]), { text "a", { opcode }, text "no" },
    { text "a" }, { flipped = 2, fails = 1002, wrong = { 2, header = 2 }, wire = true })
end
chopped({ 0, 1 }, "a continuation with the other side's mask bit", { text("a", false), more "b" }, {},
  { flipped = 2, fails = 1002, wrong = { 2, header = 2 } })

-- --- 2: pings and pongs (5.5.2, 5.5.3) --------------------------------------------------------------

chapter(2)
section()
for _, payload in ipairs { "", "p", "Hello", hex "00 ff fe fd fc fb 00 ff", ("*"):rep(124), ("*"):rep(125), hex "c3" } do
  chopped({ 0, 1 }, ("a ping of %d bytes, %q"):format(#payload, payload:sub(1, 8)), { ping(payload) }, { pong(payload) },
    WIRE)
end
section()
for _, n in ipairs { 126, 127, 200, 65535, 65536 } do
  for _, opcode in ipairs { "ping", "pong" } do
    chopped({ 0, 1 }, ("a %s of %d bytes"):format(opcode, n), { { opcode, payload = ("*"):rep(n) } }, {},
      refused(1, 2))
  end
end
for _, opcode in ipairs { "ping", "pong" } do
  for _, form in ipairs { 16, 64 } do
    chopped({ 0, 1 }, ("a %s of 5 bytes in %d bits"):format(opcode, form), { { opcode, payload = "Hello", form = form } }, {},
      { fails = 1002, wrong = { 1, header = 2 } })
  end
end
section()
for _, payload in ipairs { "", "unsolicited", ("*"):rep(125) } do
  chopped({ 0, 1 }, ("a pong of %d bytes that nobody asked for"):format(#payload), { pong(payload) }, {}, WIRE)
end
chopped({ 0, 1 }, "a pong that nobody asked for, a ping and a text", { pong "what?", ping "now", text "t" },
  { pong "now", text "t" }, WIRE)
chopped({ 0, 1 }, "three pongs in a row", { pong "1", pong "2", pong "3", text "t" }, { text "t" }, WIRE)
section()
for _, count in ipairs { 2, 10, 100 } do
  local sends, gets = {}, {}
  for i = 1, count do sends[i], gets[i] = ping("payload " .. i), pong("payload " .. i) end
  add(("%d pings, one after the other: each is answered, in order"):format(count), sends, gets, { apart = true })
  chopped({ 0, 1, 3, 7, 97 }, ("%d pings: each is answered, in order"):format(count), sends, gets, { wire = count == 10 })
end

-- --- 3: reserved bits (5.2) -------------------------------------------------------------------------

chapter(3)
for rsv = 1, 7 do
  section()
  for _, opcode in ipairs { 0, 1, 2, 8, 9, 10 } do
    local frame = { opcode, rsv = rsv, payload = opcode == 8 and closing(1000) or "bits" }
    local name = ("RSV %d on a %s, "):format(rsv, NAMES[opcode])
    local chop = ({ 0, 1, 2, 3, 5 })[(rsv + opcode) % 5 + 1]
    chopped({ chop }, name .. "alone", { frame, text "no" }, {}, refused(1, 2))
    chopped({ chop }, name .. "behind a message and a pong", { text "first", pong "p", frame, ping "no" }, { text "first" },
      { fails = 1002, wrong = { 3, header = 2 } })
    chopped({ 5 - chop }, name .. "within a message", { text("first", false), frame, more "no" }, {},
      { fails = 1002, wrong = { 2, header = 2 } })
  end
end

-- --- 4: opcodes (5.2) -------------------------------------------------------------------------------

chapter(4)
for _, opcode in ipairs { 3, 4, 5, 6, 7, 11, 12, 13, 14, 15 } do
  section()
  local name = ("opcode %d, "):format(opcode)
  local fails = function(i) return refused(i, 2) end
  chopped({ 0, 1 }, name .. "empty", { { opcode } }, {}, fails(1))
  chopped({ 0, 1 }, name .. "with a payload", { { opcode, payload = "reserved" } }, {}, fails(1))
  chopped({ 0, 1 }, name .. "behind a message", { text "first", { opcode, payload = "r" }, ping "no" }, { text "first" },
    fails(2))
  chopped({ 0, 1 }, name .. "within a message", { text("first", false), { opcode }, more "no" }, {}, fails(2))
  chopped({ 0, 1 }, name .. "without FIN", { { opcode, fin = false }, more "no" }, {}, fails(1))
end

-- --- 5: fragmentation (5.4) -------------------------------------------------------------------------

chapter(5)
section()
local ALL = { 0, 1, 2, 3 }
chopped(ALL, "a text in two", { text("frag", false), more "ment" }, { text "fragment" }, WIRE)
chopped(ALL, "a binary in three", { binary("\xff", false), more("\0", false), more "\xfe" }, { binary "\xff\0\xfe" }, WIRE)
chopped(ALL, "a ping in between", { text("frag", false), ping "p", more "ment" }, { pong "p", text "fragment" },
  WIRE)
chopped(ALL, "pongs in between", { text("frag", false), pong "p", pong "q", more "ment" }, { text "fragment" }, WIRE)
chopped(ALL, "empty fragments", { text("", false), more("", false), more "" }, { text "" }, WIRE)
chopped(ALL, "an empty one first", { text("", false), more "all" }, { text "all" }, WIRE)
chopped(ALL, "an empty one last", { text("all", false), more "" }, { text "all" }, WIRE)
chopped(ALL, "empty ones around", { binary("", false), more("a", false), more("", false), more "" }, { binary "a" }, WIRE)
chopped(ALL, "two messages in two", { text("a", false), more "b", binary("c", false), more "d" }, { text "ab", binary "cd" },
  WIRE)
chopped(ALL, "a ping without FIN", { { "ping", fin = false, payload = "p" }, more "q" }, {}, refused(1, 2))
chopped(ALL, "a pong without FIN", { { "pong", fin = false, payload = "p" }, more "q" }, {}, refused(1, 2))
chopped(ALL, "a Close without FIN", { { "close", fin = false, payload = closing(1000) } }, {}, refused(1, 2))
section()
chopped(ALL, "a continuation of nothing", { more "b" }, {}, refused(1, 2))
chopped(ALL, "one that is not the last", { more("b", false), more "c" }, {}, refused(1, 2))
chopped(ALL, "one behind a message", { text "a", more "b" }, { text "a" }, refused(2, 2))
chopped(ALL, "one behind a fragmented message", { text("a", false), more "b", more "c" }, { text "ab" },
  refused(3, 2))
chopped(ALL, "one behind a ping", { ping "p", more "b" }, { pong "p" }, refused(2, 2))
for _, first in ipairs { "text", "binary" } do
  for _, second in ipairs { "text", "binary" } do
    for _, fin in ipairs { true, false } do
      chopped({ 0, 1 }, ("a %s within a %s%s"):format(second, first, fin and "" or ", to be continued"),
        { data(first, "a", false), data(second, "b", fin), more "c" }, {}, { fails = 1002, wrong = { 2, header = 2 },
          wire = fin })
    end
  end
end
section()
for _, count in ipairs { 5, 50, 500 } do
  local sends, all = {}, {}
  for i = 1, count do
    all[i] = ("fragment %d; "):format(i)
    sends[i] = i == 1 and text(all[i], false) or more(all[i], i == count)
  end
  chopped({ 0, 1, 64 }, count .. " fragments", sends, { text(table.concat(all)) }, { wire = count == 50 })
  local pinged, gets = {}, {}
  for i, frame in ipairs(sends) do
    pinged[#pinged + 1] = frame
    if i < count then
      pinged[#pinged + 1] = ping(tostring(i))
      gets[i] = pong(tostring(i))
    end
  end
  gets[count] = text(table.concat(all))
  add(count .. " fragments, a ping behind each", pinged, gets, { apart = true })
end

-- --- 6: UTF-8 (8.1) ---------------------------------------------------------------------------------

-- What the bytes at `at` come to, by arithmetic alone: the number of bytes of a character, or nil and the place of the
-- first byte that no character can have there. A character's first bytes stand for a range of numbers; while some of
-- them are characters that need so many bytes, more may come. "cut": the text ends within a character.
local FIRST, LAST = { 0, 0x80, 0x800, 0x10000 }, { 0x7F, 0x7FF, 0xFFFF, 0x10FFFF }

local function character(bytes, at)
  local lead = bytes:byte(at)
  if lead < 0x80 then return 1 end
  local n = lead >= 0xC0 and lead < 0xE0 and 2 or lead >= 0xE0 and lead < 0xF0 and 3 or lead >= 0xF0 and lead < 0xF8 and 4
  if not n then return nil, at end
  local first, last = FIRST[n], LAST[n]
  local value = lead % 2 ^ (7 - n) // 1 | 0
  for i = 0, n - 1 do
    if i > 0 then
      local byte = bytes:byte(at + i)
      if not byte then return nil, "cut" end
      if byte < 0x80 or byte > 0xBF then return nil, at + i end
      value = value * 64 + byte - 0x80
    end
    local open = 64 ^ (n - 1 - i) // 1 | 0
    local low, high = math.max(value * open, first), math.min(value * open + open - 1, last)
    if low >= 0xD800 and high <= 0xDFFF or low > high then return nil, at + i end
  end
  return n
end

-- nil: the bytes are UTF-8; else the place of the first wrong byte, or "cut".
function protocol.flaw(bytes)
  local at = 1
  while at <= #bytes do
    local n, place = character(bytes, at)
    if not n then return place end
    at = at + n
  end
end

-- Markus Kuhn's ground: name, bytes.
local KUHN = {
  { -- what is right
    { "kosme", "ce ba e1 bd b9 cf 83 ce bc ce b5" }, { "U+0000", "00" }, { "U+007F", "7f" }, { "U+0080", "c2 80" },
    { "U+07FF", "df bf" }, { "U+0800", "e0 a0 80" }, { "U+FFFF", "ef bf bf" }, { "U+10000", "f0 90 80 80" },
    { "U+D7FF", "ed 9f bf" }, { "U+E000", "ee 80 80" }, { "U+FFFD", "ef bf bd" }, { "U+10FFFF", "f4 8f bf bf" },
    { "U+FFFE", "ef bf be" }, { "U+FDD0", "ef b7 90" }, { "U+FDEF", "ef b7 af" }, { "U+FEFF", "ef bb bf" },
    { "U+1FFFE", "f0 9f bf be" }, { "U+1FFFF", "f0 9f bf bf" }, { "U+2FFFE", "f0 af bf be" }, { "U+8FFFF", "f2 8f bf bf" },
    { "U+FFFFE", "f3 bf bf be" }, { "U+FFFFF", "f3 bf bf bf" }, { "U+100000", "f4 80 80 80" }, { "U+10FFFE", "f4 8f bf be" },
    { "the first of each length", "00 c2 80 e0 a0 80 f0 90 80 80" },
    { "the last of each length", "7f df bf ef bf bf f4 8f bf bf" },
  },
  { -- sequences of five and six bytes, and past the end
    { "U+110000", "f4 90 80 80" }, { "U+13FFFF", "f4 bf bf bf" }, { "U+1FFFFF", "f7 bf bf bf" },
    { "five bytes, the first", "f8 88 80 80 80" }, { "five bytes, the last", "fb bf bf bf bf" },
    { "six bytes, the first", "fc 84 80 80 80 80" }, { "six bytes, the last", "fd bf bf bf bf bf" },
  },
  { -- continuation bytes that nobody awaits
    { "80", "80" }, { "bf", "bf" }, { "2", "80 bf" }, { "3", "80 bf 80" }, { "4", "80 bf 80 bf" }, { "5", "80 bf 80 bf 80" },
    { "6", "80 bf 80 bf 80 bf" }, { "behind ASCII", "61 62 80" }, { "one too many", "c3 a9 a9" }, { "three and one",
      "e2 82 ac ac" },
    { "four and one", "f0 9f 9a 80 80" },
  },
  {}, -- lonely first bytes: below
  { -- the last byte missing
    { "of two, c0", "c0" }, { "of two, df", "df" }, { "of three, e0 80", "e0 80" }, { "of three, e0 a0", "e0 a0" },
    { "of three, ef bf", "ef bf" }, { "of four, f0 80 80", "f0 80 80" }, { "of four, f0 90 80", "f0 90 80" },
    { "of four, f4 8f bf", "f4 8f bf" }, { "of four, f7 bf bf", "f7 bf bf" }, { "of five", "f8 80 80 80" },
    { "of six", "fd bf bf bf bf" }, { "two bytes of four", "f0 9f" }, { "one of four", "f0" }, { "one of three", "e2" },
    { "all of these", "c0 e0 80 f0 80 80 f8 80 80 80 fc 80 80 80 80 df ef bf f7 bf bf fb bf bf bf fd bf bf bf bf" },
    { "behind a text", "ce ba e1 bd b9 cf" }, { "a space in its place", "e2 82 20" }, { "another first in its place",
      "e2 82 e2" },
    { "NUL in its place", "c3 00" },
  },
  { -- bytes that are never there
    { "fe", "fe" }, { "ff", "ff" }, { "fe fe ff ff", "fe fe ff ff" }, { "c0", "c0 af" }, { "c1", "c1 bf" }, { "f5",
      "f5 80 80 80" },
  },
  { -- overlong
    { "/ in two", "c0 af" }, { "/ in three", "e0 80 af" }, { "/ in four", "f0 80 80 af" }, { "/ in five", "f8 80 80 80 af" },
    { "/ in six", "fc 80 80 80 80 af" }, { "U+007F in two", "c1 bf" }, { "U+07FF in three", "e0 9f bf" },
    { "U+FFFF in four", "f0 8f bf bf" }, { "U+1FFFFF in five", "f8 87 bf bf bf" }, { "U+3FFFFFF in six", "fc 83 bf bf bf bf" },
    { "NUL in two", "c0 80" }, { "NUL in three", "e0 80 80" }, { "NUL in four", "f0 80 80 80" }, { "NUL in five",
      "f8 80 80 80 80" },
    { "NUL in six", "fc 80 80 80 80 80" },
  },
  { -- surrogates
    { "U+D800", "ed a0 80" }, { "U+DB7F", "ed ad bf" }, { "U+DB80", "ed ae 80" }, { "U+DBFF", "ed af bf" }, { "U+DC00",
      "ed b0 80" },
    { "U+DF80", "ed be 80" }, { "U+DFFF", "ed bf bf" }, { "D800 DC00", "ed a0 80 ed b0 80" }, { "D800 DFFF",
      "ed a0 80 ed bf bf" },
    { "DB7F DC00", "ed ad bf ed b0 80" }, { "DB7F DFFF", "ed ad bf ed bf bf" }, { "DB80 DC00", "ed ae 80 ed b0 80" },
    { "DB80 DFFF", "ed ae 80 ed bf bf" }, { "DBFF DC00", "ed af bf ed b0 80" }, { "DBFF DFFF", "ed af bf ed bf bf" },
    { "in a text", "ce ba e1 bd b9 cf 83 ce bc ce b5 ed a0 80 65 64 69 74 65 64" },
  },
}
for byte = 0xC0, 0xFD do
  local lonely = ("%02x"):format(byte)
  if byte % 4 == 0 or byte > 0xF0 then KUHN[4][#KUHN[4] + 1] = { lonely .. " and a space", lonely .. " 20" } end
end

-- Split into fragments of one byte each.
local function bytewise(payload)
  local list = {}
  for i = 1, #payload do
    list[i] = data(i == 1 and "text" or "continuation", payload:sub(i, i), i == #payload)
  end
  return list
end

chapter(6)
for set, rows in ipairs(KUHN) do
  section()
  for i, row in ipairs(rows) do
    local payload = hex(row[2])
    local place = protocol.flaw(payload)
    assert((set == 1) == (place == nil), row[2])
    if not place then
      add(row[1], { text(payload) }, { text(payload) }, WIRE)
      add(row[1] .. ", each byte a fragment", bytewise(payload), { text(payload) }, { chop = 1 })
    else
      -- the text goes on behind it, which nobody reads
      local behind = place == "cut" and "" or (" and so on"):rep(3)
      local at = place == "cut" and #payload or place
      local prefix = ({ "", "Grüße ", ("x"):rep(70) })[i % 3 + 1]
      local all = prefix .. payload .. behind
      add(row[1], { text(all), text "no" }, {}, { fails = 1007, wire = true })
      add(row[1] .. ", fail-fast", { text(all), text "no" }, {}, { fails = 1007, chop = 1, wrong = { 1,
        payload = #prefix + at } })
      add(row[1] .. ", fail-fast, each byte a fragment", bytewise(payload .. behind), {}, { fails = 1007, chop = 1,
        wrong = { at, payload = 1 } })
    end
  end
end
section()
local KOSME = hex "ce ba e1 bd b9 cf 83 ce bc ce b5"
for cut = 0, #KOSME do
  add(("a text in two, after %d bytes"):format(cut), { text(KOSME:sub(1, cut), false), more(KOSME:sub(cut + 1)) },
    { text(KOSME) })
end
chopped({ 0, 1 }, "a ping within a character", { text("\xe2\x82", false), ping "\xff", more "\xac" }, { pong "\xff", text "€" },
  WIRE)
chopped({ 0, 1 }, "binary may be anything", { binary "\xff\xc0\x80\xed\xa0\x80" }, { binary "\xff\xc0\x80\xed\xa0\x80" }, WIRE)
chopped({ 0, 1 }, "so may what binary is continued with", { binary("\xff", false), more "\xc3" }, { binary "\xff\xc3" }, WIRE)
chopped({ 0, 1 }, "each text begins anew", { text "€", text "\x82" }, { text "€" }, { fails = 1007, wire = true })

-- --- 7: the closing handshake (5.5.1, 7.1, 7.4) -----------------------------------------------------

chapter(7)
section()
chopped({ 0, 1 }, "a message, then a Close", { text "bye", close(1000) }, { text "bye" }, { closes = closing(1000), wire = true })
chopped({ 0, 1 }, "two Closes: one is answered", { close(1000, "one"), close(1001, "two") }, {}, { closes = closing(1000, "one"),
  wire = true })
chopped({ 0, 1 }, "a ping behind a Close", { close(1000), ping "p" }, {}, { closes = closing(1000), wire = true })
chopped({ 0, 1 }, "a text behind a Close", { close(1000), text "t" }, {}, { closes = closing(1000), wire = true })
chopped({ 0, 1 }, "what is wrong, behind a Close", { close(1000), hex "f3 7f ff" }, {}, { closes = closing(1000), wire = true })
chopped({ 0, 1 }, "a Close within a message", { text("half", false), close(1001, "no time"), more "no" }, {},
  { closes = closing(1001, "no time"), wire = true })
chopped({ 0, 1 }, "a Close within a character", { text("\xe2\x82", false), close(1000) }, {}, { closes = closing(1000),
  wire = true })
chopped({ 0, 1 }, "a ping, then a Close: the pong goes first", { ping "p", close(1000) }, { pong "p" }, { closes = closing(1000),
  wire = true })
chopped({ 0, 1 }, "256 KiB, then a Close", { whole("binary", 262144), close(1000) }, { whole("binary", 262144) },
  { closes = closing(1000), chop = 65536 })
section()
chopped({ 0, 1 }, "without a body", { close() }, {}, { closes = "", wire = true })
for i = 0, 255, 51 do
  chopped({ 0, 1 }, ("half a code, %02x"):format(i), { data("close", string.char(i)) }, {}, { fails = 1002, wrong = { 1,
    payload = 1 },
    wire = true })
end
for _, n in ipairs { 0, 1, 2, 122, 123 } do
  local reason = ("because "):rep(16):sub(1, n)
  chopped({ 0, 1 }, ("a reason of %d bytes"):format(n), { close(1000, reason) }, {}, { closes = closing(1000, reason),
    wire = true })
end
chopped({ 0, 1 }, "a reason with characters of every length", { close(3000, "aé€🚀\0\u{10ffff}") }, {},
  { closes = closing(3000, "aé€🚀\0\u{10ffff}"), wire = true })
for _, n in ipairs { 124, 125, 65534 } do
  chopped({ 0, 1 }, ("%d bytes: too long"):format(n + 2), { close(1000, ("*"):rep(n)) }, {}, refused(1, 2))
end
chopped({ 0, 1 }, "in 16 bits", { { "close", payload = closing(1000), form = 16 } }, {}, { fails = 1002, wrong = { 1,
  header = 2 } })
for _, set in ipairs { 3, 5, 6, 7, 8 } do
  for i = 1, #KUHN[set], 3 do
    local row = KUHN[set][i]
    add("a reason that is not UTF-8: " .. row[1], { close(1000, "so " .. hex(row[2])) }, {}, { fails = 1007, wire = i == 1 })
  end
end
section() -- which codes may be sent (7.4, and the registry it began)
local function legal(code) return code >= 1000 and code <= 1003 or code >= 1007 and code <= 1014 or code >= 3000
  and code <= 4999 end
protocol.legal = legal
for _, code in ipairs { 0, 1, 2, 99, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013,
  1014, 1015,
  1016, 1100, 1999, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 9999, 32767, 32768, 65535 } do
  for _, reason in ipairs { "", "why" } do
    add(("code %d%s"):format(code, reason == "" and "" or " and a reason"), { close(code, reason) }, {}, legal(code)
      and { closes = closing(code, reason), wire = true } or { fails = 1002, wire = true })
  end
end
section() -- we begin: `says` is what we have said by then
for _, row in ipairs {
  { "the same comes back", { close(1000) } }, { "another comes back", { close(4321, "another") } }, { "none comes back",
    { close() } },
  { "messages come before", { text "late", binary "late", close(1000) } }, { "a ping comes before", { ping "late",
    close(1000) } },
  { "half a message comes before", { text("half", false), close(1000) } },
} do
  chopped({ 0, 1 }, "we close, " .. row[1], row[2], {}, { says = { 3001, "ours" }, state = "closed" })
end
for _, row in ipairs {
  { "a wrong code", { close(1005) } }, { "RSV", { { "text", rsv = 4 } } }, { "a reserved opcode", { { 3 } } },
  { "a Close of 126 bytes", { close(1000, ("*"):rep(124)) } }, { "a continuation of nothing", { more "x" } },
} do
  chopped({ 0, 1 }, "we close, and what comes is wrong: " .. row[1], row[2], {}, { says = { 3001, "ours" }, state = "failed" })
end

-- --- 8: limits --------------------------------------------------------------------------------------

chapter(8)
section()
for _, n in ipairs { 0, 1, 125, 126, 65535, 65536 } do
  local limit = math.max(n, 1)
  local frame = binary(("x"):rep(limit))
  chopped({ 0, 1009 }, ("just maxPayload: %d"):format(limit), { frame }, { frame }, { limits = { maxPayload = limit } })
  chopped({ 0, 1 }, ("a byte more than maxPayload: %d"):format(limit), { { "binary", payload = "", length = limit + 1 } }, {},
    { limits = { maxPayload = limit }, fails = 1009, wrong = { 1, header = "last" } })
  chopped({ 0, 1 }, ("fragments over maxPayload: %d"):format(limit), { binary(("x"):rep(limit), false), more("", false),
    more "y" }, {},
    { limits = { maxPayload = limit }, fails = 1009, wrong = { 3, header = "last" }, chop = limit > 1000 and 1009 or nil })
end
for _, n in ipairs { 1, 2, 10 } do
  local sends = { text("", false) }
  for i = 2, n do sends[i] = more("", false) end
  sends[n] = n == 1 and text "" or more ""
  add(("just maxFragments: %d"):format(n), sends, { text "" }, { limits = { maxFragments = n } })
  local over = { text("", false) }
  for i = 2, n + 1 do over[i] = more("", false) end
  chopped({ 0, 1 }, ("one more than maxFragments: %d"):format(n), over, {}, { limits = { maxFragments = n }, fails = 1008,
    wrong = { n + 1, header = "last" } })
end

-- --- 9: much (slow) ---------------------------------------------------------------------------------

-- A message in fragments of `size`.
local function split(frame, size)
  local list, payload = {}, frame.payload
  for at = 1, #payload, size do
    list[#list + 1] = { at == 1 and frame[1] or "continuation", payload = payload:sub(at, at + size - 1),
      fin = at + size > #payload, block = frame.block }
  end
  return list
end

chapter(9)
local KIB, MIB = 1024, 1024 * 1024
for _, kind in ipairs { "text", "binary" } do
  section()
  for _, n in ipairs { 64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB } do
    local frame = long(kind, n)
    add(("%s of %d KiB"):format(kind, n // KIB), { frame }, { frame }, { much = true, chop = 65536 })
  end
  section() -- a MiB (and at last 16 of them) in fragments
  for _, size in ipairs { 64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB } do
    local frame = long(kind, MIB)
    add(("%s of 1 MiB in fragments of %d"):format(kind, size), { frame }, { frame }, { much = true, size = size, chop = 65536 })
  end
  local frame = long(kind, 16 * MIB)
  add(kind .. " of 16 MiB in fragments of 64", { frame }, { frame }, { much = true, size = 64, chop = 65536,
    limits = { maxFragments = MIB } })
  add(kind .. " of 16 MiB in fragments of 128 KiB", { frame }, { frame }, { much = true, size = 128 * KIB, chop = 65536 })
  section() -- 64 KiB in chops
  for power = 0, 10 do
    local short = long(kind, 64 * KIB)
    add(kind .. " of 64 KiB", { short }, { short }, { much = true, chop = 2 ^ power // 1 | 0 })
  end
  section() -- a thousand, each sent back
  for _, n in ipairs { 0, 16, 64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB } do
    local one = whole(kind, n)
    add(("1000 %s messages of %d bytes"):format(kind, n), { one }, { one }, { much = true, times = 1000 })
  end
end

protocol.split = split

-- --- bytes ------------------------------------------------------------------------------------------

-- A payload with a mask; one of blocks takes no longer than a block.
local function masked(frame, payload, key)
  if not key or key == "\0\0\0\0" then return payload end
  local block = frame.block
  if not block or #payload < 4 * #block then return frames.mask(payload, key) end
  return frames.mask(block, key):rep(math.ceil(#payload / #block)):sub(1, #payload)
end

local function same(a, b)
  return a and b[1] == a[1] and b.fin == a.fin and b.block and b.payload == a.payload
end

-- A frame as the peer of `role` sends it, and the length of its header.
local function bytesOf(frame, role, key, flipped)
  local masks = (role == "server") ~= (flipped or false)
  if type(frame) == "string" then return masks and frames.masked(frame, key) or frame, #frame + (masks and 4 or 0) end
  local payload = frame.payload or ""
  local header = frames.build { frame[1], fin = frame.fin, rsv = frame.rsv, form = frame.form, length = frame.length or #payload,
    key = masks and key or nil }
  return header .. masked(frame, payload, masks and key), #header
end

-- What comes for the side of `role`: the bytes, the places where frames end, and the first byte that shows what is wrong.
function protocol.arriving(case, role)
  local list, key = case.sends, case.key or KEY
  if case.size then list = split(case.sends[1], case.size) end
  local parts, ends, at, shows, bytes, header = {}, {}, 0, nil, nil, nil
  for i, frame in ipairs(list) do
    if not same(list[i - 1], frame) then bytes, header = bytesOf(frame, role, key, case.flipped == i) end
    local wrong = case.wrong and case.wrong[1] == i and case.wrong
    -- what a header's lengths show, its masking key does not wait for
    if wrong then shows = at + (wrong.payload and header + wrong.payload or wrong.header == "last" and header or wrong.header) end
    parts[i], at = bytes, at + #bytes
    ends[i] = at
  end
  return table.concat(parts), ends, shows
end

-- The frames in what the side of `role` has sent. Each must be whole, masked as its role wants it, without RSV bits,
-- its length in the shortest form.
function protocol.read(output, role)
  local list, at = {}, 1
  while at <= #output do
    local first, second = output:byte(at, at + 1)
    assert(second, "half a header")
    local length, size = second % 128, 2
    if length == 126 then
      length, size = string.unpack(">I2", output, at + 2), 4
    elseif length == 127 then
      length, size = string.unpack(">I8", output, at + 2), 10
    end
    assert(size == (length < 126 and 2 or length < 65536 and 4 or 10), "a length that is not in its shortest form")
    assert((second >= 128) == (role == "client"), "a wrong mask bit")
    local key
    if second >= 128 then key, size = output:sub(at + size, at + size + 3), size + 4 end
    local raw = output:sub(at + size, at + size + length - 1)
    assert(#raw == length, "half a frame")
    assert(first >= 128, "FIN is not set")
    assert(first // 16 % 8 == 0, "RSV bits are set")
    list[#list + 1] = { opcode = first % 16, raw = raw, key = key }
    at = at + size + length
  end
  return list
end

local function short(payload)
  return #payload > 40 and ("%s... (%d bytes)"):format(frames.dump(payload:sub(1, 40)), #payload) or frames.dump(payload)
end

local function told(list)
  local words = {}
  for i, frame in ipairs(list) do
    local payload = frame.key and #frame.raw < 70000 and frames.mask(frame.raw, frame.key) or frame.raw
    words[i] = ("%s [%s]"):format(NAMES[frame.opcode] or frame.opcode, short(payload))
    if i > 20 then words[i] = "..." break end
  end
  return table.concat(words, ", ")
end

local function is(frame, want)
  return frame.opcode == frames.opcodes[want[1]] and frame.raw == masked(want, want.payload or "", frame.key)
end

-- Judges the frames that came back.
function protocol.judge(case, list)
  local wants, last = { table.unpack(case.gets) }, list[#list]
  for _ = 2, case.times or 1 do table.move(case.gets, 1, #case.gets, #wants + 1, wants) end
  local says = case.says and closing(table.unpack(case.says))
  local count = #wants + ((case.fails or case.closes or says) and 1 or 0)
  local got = #list == count
  for i, want in ipairs(wants) do got = got and is(list[i], want) end
  if not got then
    error(("case %s: %s came; due were %d frames%s%s"):format(case.number, told(list), count,
      case.fails and ", a Close " .. case.fails or "", case.closes and ", a Close [" .. short(case.closes) .. "]" or ""), 2)
  end
  if not case.fails and not case.closes and not says then return end
  local body = last.key and frames.mask(last.raw, last.key) or last.raw
  assert(last.opcode == 8, "no Close came last")
  if case.fails then
    assert(body:sub(1, 2) == closing(case.fails), ("Close [%s] instead of %d"):format(short(body), case.fails))
    assert(#body <= 125 and not protocol.flaw(body:sub(3)), "no reason")
  else
    assert(body == (case.closes or says), ("Close [%s]"):format(short(body)))
  end
end

-- --- a session ----------------------------------------------------------------------------------------

-- Gives a session what the case sends, and sends its messages back. Raises when that is not what is due.
function protocol.run(case, role)
  local bytes, ends, shows = protocol.arriving(case, role)
  local session = probe.session(role, case.limits)
  local output, failed = {}, nil
  if case.says then session:close(table.unpack(case.says)) end
  for i = 1, case.times or 1 do
    local at = 0
    while at < #bytes and not (failed and at > failed + 200) do -- so much of what nobody reads will do
      local to = case.apart and ends[#output + 1] or math.min(at + (case.chop or #bytes), #bytes)
      session:give(at == 0 and to == #bytes and bytes or bytes:sub(at + 1, to))
      for event in function() return session:next() end do
        if event.kind == "text" or event.kind == "binary" then session:send(event.kind, event.data) end
        if event.kind == "failure" then failed = failed or to end
      end
      at = to
      output[#output + 1] = session:output()
      assert(i > 1 or not failed or not shows or failed <= math.max(shows, case.chop and case.chop + shows - 1 or #bytes),
        "the failure came late")
    end
  end
  protocol.judge(case, protocol.read(table.concat(output), role))
  if case.chop == 1 and shows then
    local begins = ends[case.wrong[1] - 1] or 0
    local due = case.wrong.payload and failed == shows or case.wrong.header and failed <= shows and failed > begins
    assert(due, ("case %s: failed at byte %s, not %d"):format(case.number, failed, shows))
  end
  local state = case.state or case.fails and "failed" or case.closes and "closed" or "open"
  assert(session:state() == state, ("case %s: %s, not %s"):format(case.number, session:state(), state))
end

return protocol
