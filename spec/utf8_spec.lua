-- src/utf8: judged by RFC 3629's own grammar and by Lua's utf8.len, which is a foreign one.

local probe = require "lunawire.probe"

local ACCEPT, REJECT = 0, 1
local feed, valid, row = probe.utf8.feed, probe.utf8.valid, probe.utf8.row

-- --- the grammar of RFC 3629, section 4, as it is printed there -----------------------------

local tail = { 0x80, 0xBF }
local grammar = {
  { { 0x00, 0x7F } },
  { { 0xC2, 0xDF }, tail },
  { { 0xE0, 0xE0 }, { 0xA0, 0xBF }, tail },
  { { 0xE1, 0xEC }, tail, tail },
  { { 0xED, 0xED }, { 0x80, 0x9F }, tail },
  { { 0xEE, 0xEF }, tail, tail },
  { { 0xF0, 0xF0 }, { 0x90, 0xBF }, tail, tail },
  { { 0xF1, 0xF3 }, tail, tail, tail },
  { { 0xF4, 0xF4 }, { 0x80, 0x8F }, tail, tail },
}

-- Where a text stands: between characters ({}), in the `n`th place of a `rule`, or nowhere (nil).
local function advance(place, byte)
  if not place then return nil end
  if not place.rule then
    for _, rule in ipairs(grammar) do
      if byte >= rule[1][1] and byte <= rule[1][2] then
        return rule[2] and { rule = rule, n = 2 } or {}
      end
    end
    return nil
  end
  local range = place.rule[place.n]
  if byte < range[1] or byte > range[2] then return nil end
  return place.rule[place.n + 1] and { rule = place.rule, n = place.n + 1 } or {}
end

local function verdict(place)
  return not place and "x" or place.rule and "+" or "."
end

-- What the grammar says of each byte at this place. There are few different places.
local rows = {}
local function expected(place)
  local key = not place and "no" or not place.rule and "start" or place.rule
  if not place or not place.rule then
    if not rows[key] then
      local text = {}
      for byte = 0, 255 do text[byte + 1] = verdict(advance(place, byte)) end
      rows[key] = table.concat(text)
    end
    return rows[key]
  end
  rows[key] = rows[key] or {}
  if not rows[key][place.n] then
    local text = {}
    for byte = 0, 255 do text[byte + 1] = verdict(advance(place, byte)) end
    rows[key][place.n] = table.concat(text)
  end
  return rows[key][place.n]
end

-- Compares row(prefix) with the grammar; a plain if, since this runs some hundred thousand times.
local function compare(prefix, place)
  if row(prefix) ~= expected(place) then
    assert.equal(expected(place), row(prefix), (prefix:gsub(".", function(c) return ("%02x "):format(c:byte()) end)))
  end
end

describe("a UTF-8 validator", function()
  it("follows the grammar in every sequence of up to three bytes #slow", function()
    local start = {}
    compare("", start)
    for a = 0, 255 do
      local first = advance(start, a)
      compare(string.char(a), first)
      for b = 0, 255 do compare(string.char(a, b), advance(first, b)) end
    end
  end)

  it("follows it in the sequences of four bytes that begin with E0 to F7, at all bounds #slow", function()
    local edges = { 0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF }
    for a = 0xE0, 0xF7 do
      for b = 0, 255 do
        local second = advance(advance({}, a), b)
        for _, c in ipairs(edges) do compare(string.char(a, b, c), advance(second, c)) end
      end
    end
  end)

  it("accepts every character there is, and nothing else of the kind #slow", function()
    local all = {}
    for first = 0, 0x10FFFF, 8 do
      local eight = utf8.char(first, first + 1, first + 2, first + 3, first + 4, first + 5, first + 6, first + 7)
      if first < 0xD800 or first > 0xDFFF then all[#all + 1] = eight end
    end
    assert.is_true(valid(table.concat(all)))
    local surrogates = 0
    for point = 0xD800, 0xDFFF do surrogates = surrogates + (valid(utf8.char(point)) and 1 or 0) end
    assert.equal(0, surrogates)
    for _, point in ipairs { 0x110000, 0x13FFFF, 0x1FFFFF, 0x200000, 0x3FFFFFF, 0x4000000, 0x7FFFFFFF } do
      assert.is_false(valid(utf8.char(point)), point)
    end
  end)

  local right = {
    { "nothing", "" },
    { "U+0000", "\0" },
    { "U+FFFF", "\u{FFFF}" },
    { "U+10FFFF", "\u{10FFFF}" },
    { "a byte order mark", "\u{FEFF}" },
    { "the Greek of RFC 3629, section 7", "\xE2\x89\xA2\xCE\x91\x2E" },
    { "Hangul of the same place", "\xED\x95\x9C\xEA\xB5\xAD\xEC\x96\xB4" },
    { "what stands right before and behind the surrogates", "\xED\x9F\xBF\xEE\x80\x80" },
    { "a long line of everything", ("ascii äöü 日本語 🚀 "):rep(40) },
  }
  local wrong = {
    { "FF", "\xFF", 1 },
    { "C0 80, an overlong NUL", "\xC0\x80", 1 },
    { "C1 BF", "\xC1\xBF", 1 },
    { "E0 80 80, overlong", "\xE0\x80\x80", 2 },
    { "E0 9F BF, overlong", "\xE0\x9F\xBF", 2 },
    { "F0 8F BF BF, overlong", "\xF0\x8F\xBF\xBF", 2 },
    { "ED A0 80, a surrogate", "\xED\xA0\x80", 2 },
    { "a pair of surrogates", "\xED\xA0\xBD\xED\xB8\x80", 2 },
    { "F4 90 80 80, above U+10FFFF", "\xF4\x90\x80\x80", 2 },
    { "F5 80 80 80", "\xF5\x80\x80\x80", 1 },
    { "a lone continuation byte", "a\x80b", 2 },
    { "a character cut short by another", "\xE2\x82a", 3 },
    { "the example of Autobahn's case 6.3.1",
      "\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80\x65\x64\x69\x74\x65\x64", 13 },
    { "a bad byte after a long line of ASCII", ("x"):rep(100) .. "\x80", 101 },
  }

  for _, case in ipairs(right) do
    it("accepts " .. case[1] .. ", cut at every place", function()
      local text = case[2]
      assert.is_true(valid(text))
      assert.is_truthy(utf8.len(text))
      for i = 0, #text do
        assert.equal(ACCEPT, feed(feed(ACCEPT, text:sub(1, i)), text:sub(i + 1)), i)
      end
      local state = ACCEPT
      for c in text:gmatch "." do state = feed(state, c) end
      assert.equal(ACCEPT, state)
    end)
  end

  for _, case in ipairs(wrong) do
    it("rejects " .. case[1] .. " at the first byte that shows it", function()
      local text, place = case[2], case[3]
      assert.is_false(valid(text))
      for i = 0, #text do
        local first = feed(ACCEPT, text:sub(1, i))
        assert.equal(i >= place, first == REJECT, i)
        assert.equal(REJECT, feed(first, text:sub(i + 1)), i)
      end
      local state = ACCEPT
      for i = 1, #text do
        state = feed(state, text:sub(i, i))
        assert.equal(i >= place, state == REJECT, i)
      end
    end)
  end

  it("does not call a text whole that ends inside a character", function()
    for _, text in ipairs { "\xC3", "\xE2\x82", "\xF0\x9F\x9A", "abc\xF0", ("x"):rep(63) .. "\xE2" } do
      assert.is_false(valid(text))
      assert.not_equal(REJECT, feed(ACCEPT, text))
    end
  end)

  it("never comes back from REJECT", function()
    for n = 0, 70 do assert.equal(REJECT, feed(REJECT, ("a"):rep(n))) end
    assert.equal(REJECT, feed(REJECT, ""))
  end)

  it("finds one bad byte at every place of ASCII, and one character too", function()
    for n = 1, 100 do
      local text = ("x"):rep(n)
      for i = 1, n do
        local before, after = text:sub(1, i - 1), text:sub(i + 1)
        local fine = valid(before .. "ü" .. after) and valid(before .. "🚀" .. after)
        if not fine or valid(before .. "\x80" .. after) or valid(before .. "\xC3" .. after) then
          error(("place %d of %d"):format(i, n))
        end
      end
    end
  end)

  it("does not lose a character's beginning over a long line of ASCII", function()
    for before = 0, 40 do
      for between = 1, 70 do
        local text = ("x"):rep(before) .. "\xC3" .. ("x"):rep(between)
        if feed(ACCEPT, text) ~= REJECT or valid(text .. "\xBC") then error(before .. ", " .. between) end
        if feed(feed(ACCEPT, text:sub(1, before + 1)), text:sub(before + 2)) ~= REJECT then error(before) end
      end
    end
  end)

  it("says of random texts what Lua's utf8.len says #slow", function()
    math.randomseed(3629)
    local pieces = { "a", "abcdefgh", ("x"):rep(40), "é", "€", "🚀", "\x80", "\xC3", "\xE2\x82", "\xED\xA0", "\xFF", "\xF0\x9F" }
    local good = 0
    for _ = 1, 10000 do
      local text = {}
      local bad = math.random(4) == 1
      for i = 1, math.random(12) do text[i] = pieces[math.random(bad and #pieces or 6)] end
      text = table.concat(text)
      local wanted = utf8.len(text) ~= nil
      if wanted then good = good + 1 end
      local cut = math.random(0, #text)
      if valid(text) ~= wanted or (feed(feed(ACCEPT, text:sub(1, cut)), text:sub(cut + 1)) == ACCEPT) ~= wanted then
        error(("%q, cut at %d"):format(text, cut))
      end
    end
    assert.is_true(good > 5000 and good < 9500, good)
  end)
end)
