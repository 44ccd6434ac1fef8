-- A session against a second one, written only to be plain: random conversations, right and
-- wrong, cut at random. A failure names its seed; the same seed is the same conversation.

local frames = require "spec.frames"
local helper = require "spec.session_helper"
local probe = require "lunawire.probe"

local LIMITS = { maxPayload = 300, maxFragments = 6 }

-- --- the plain one ------------------------------------------------------------------------------

-- "whole", "cut" (it may go on) or "bad": RFC 3629, 4, its table byte for byte.
local function utf8(text)
  local at = 1
  while at <= #text do
    local first = text:byte(at)
    local more, low, high = 0, 0x80, 0xbf
    if first >= 0xc2 and first <= 0xdf then more = 1
    elseif first >= 0xe0 and first <= 0xef then more = 2
    elseif first >= 0xf0 and first <= 0xf4 then more = 3
    elseif first >= 0x80 then return "bad" end
    if first == 0xe0 then low = 0xa0 end
    if first == 0xed then high = 0x9f end
    if first == 0xf0 then low = 0x90 end
    if first == 0xf4 then high = 0x8f end
    for i = 1, more do
      local byte = text:byte(at + i)
      if not byte then return "cut" end
      if byte < low or byte > high then return "bad" end
      low, high = 0x80, 0xbf
    end
    at = at + 1 + more
  end
  return "whole"
end

-- What is wrong with the header that begins here, or the header {size, opcode, fin, length, key};
-- neither when it is not all here.
local function header(bytes, at, role, inside)
  local first, second = bytes:byte(at, at + 1)
  if not first then return end
  local opcode, fin = first % 16, first >= 128
  if opcode > 10 or opcode > 2 and opcode < 8 then return "OPCODE" end
  if opcode >= 8 and not fin then return "CONTROL_FIN" end
  if not second then return end
  local length = second % 128
  if opcode >= 8 and length > 125 then return "CONTROL_LENGTH" end
  if first % 128 >= 16 then return "RSV" end
  if role == "server" and second < 128 then return "UNMASKED" end
  if role == "client" and second >= 128 then return "MASKED" end
  if opcode == 0 and not inside then return "CONTINUATION" end
  if (opcode == 1 or opcode == 2) and inside then return "INTERLEAVED" end
  local size = 2
  if length >= 126 then
    local width = length == 126 and 2 or 8
    local digits = bytes:sub(at + 2, at + 1 + width)
    if width == 8 and #digits >= 1 and digits:byte(1) >= 128 then return "LENGTH_RANGE" end
    if width == 8 and digits:sub(1, 6) == ("\0"):rep(6) then return "LENGTH_FORM" end
    if #digits < width then return end
    length = 0
    for i = 1, width do length = length * 256 + digits:byte(i) end
    if width == 2 and length < 126 then return "LENGTH_FORM" end
    size = size + width
  end
  local key
  if role == "server" then
    key = bytes:sub(at + size, at + size + 3)
    if #key < 4 then return end
    size = size + 4
  end
  return nil, { size = size, opcode = opcode, fin = fin, length = length, key = key }
end

local CODES = { UTF8 = 1007, CLOSE_REASON = 1007, FRAGMENTS = 1008, PAYLOAD = 1009 }

local function allowed(code)
  return code >= 1000 and code <= 1003 or code >= 1007 and code <= 1014 or code >= 3000 and code <= 4999
end

-- Events in words, and what is sent (pongs and Close; a failure's Close with its code alone), of a
-- session that is closed by its owner after so many events (nil: never).
local function plain(role, bytes, closeAfter)
  local events, output = {}, {}
  local at, closing = 1, false
  local kind, message, fragments

  local function leave(code)
    if closing then return end
    output[#output + 1] = frames.build { "close", payload = frames.closing(code) }
    closing = true
  end
  local function tell(event)
    events[#events + 1] = event
    if #events == closeAfter then leave(1000) end
  end
  local function fail(why)
    leave(CODES[why] or 1002)
    tell(("failure %d: %s"):format(CODES[why] or 1002, why))
  end

  if closeAfter == 0 then leave(1000) end
  while true do
    local why, frame = header(bytes, at, role, kind ~= nil)
    if why then fail(why) break end
    if not frame then break end
    local payload = bytes:sub(at + frame.size, at + frame.size + frame.length - 1)
    local whole = #payload == frame.length
    if frame.key then payload = frames.mask(payload, frame.key) end
    at = at + frame.size + frame.length
    if frame.opcode >= 8 then
      if not whole then break end
      if frame.opcode == 9 then
        if not closing then output[#output + 1] = frames.build { "pong", payload = payload } end
        tell("ping: " .. payload)
      elseif frame.opcode == 10 then
        tell("pong: " .. payload)
      else
        local code = #payload >= 2 and payload:byte(1) * 256 + payload:byte(2)
        if #payload == 1 then fail "CLOSE_LENGTH"
        elseif code and not allowed(code) then fail "CLOSE_CODE"
        elseif utf8(payload:sub(3)) ~= "whole" then fail "CLOSE_REASON"
        else
          leave(code or nil)
          tell(("close %d: %s"):format(code or 1005, payload:sub(3)))
        end
        break
      end
    else
      if frame.opcode > 0 then kind, message, fragments = frame.opcode == 1 and "text" or "binary", "", 0 end
      if not closing then
        fragments = fragments + 1
        if fragments > LIMITS.maxFragments then fail "FRAGMENTS" break end
        if #message + frame.length > LIMITS.maxPayload then fail "PAYLOAD" break end
        message = message .. payload
        local text = kind == "text" and utf8(message)
        if text == "bad" or text == "cut" and whole and frame.fin then fail "UTF8" break end
      end
      if not whole then break end
      if frame.fin then
        local ended = kind
        kind = nil
        if not closing then tell(ended .. ": " .. message) end
      end
    end
  end
  return events, table.concat(output)
end

-- --- random conversations ---------------------------------------------------------------------------

-- The same on every Lua (Park and Miller).
local function dice(seed)
  local state = seed
  for _ = 1, 3 do state = state * 16807 % 2147483647 end
  return function(n)
    state = state * 16807 % 2147483647
    return math.floor(state / 2147483647 * n) + 1
  end
end

local letters = { "a", "b", "hello ", "é", "ß", "€", "\u{800}", "😀", "\u{10ffff}", "\0", "\u{ffff}", "0123456789" }
local broken = { "\xff", "\xc3", "\xe2\x82", "\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80" }

local function text(roll, most)
  local parts = {}
  for i = 1, roll(most) - 1 do parts[i] = letters[roll(#letters)] end
  if roll(40) == 1 then table.insert(parts, roll(#parts + 1), broken[roll(#broken)]) end
  return table.concat(parts)
end

local function control(roll)
  local dice20 = roll(20)
  if dice20 == 1 then
    local codes = { 1000, 1001, 1003, 1007, 1014, 3000, 4999, 0, 999, 1004, 1005, 1006, 1015, 2999, 5000 }
    local reason = text(roll, 6) .. (roll(4) == 1 and broken[roll(#broken)] or "")
    return { "close", payload = frames.closing(codes[roll(#codes)], reason) }
  elseif dice20 == 2 then
    return { "close", payload = ("\3"):rep(roll(3) - 1) }
  end
  return { roll(2) == 1 and "ping" or "pong", payload = text(roll, 8) }
end

-- A frame out of place.
local function stray(roll)
  local wild = roll(2) == 1
  return {
    wild and roll(16) - 1 or roll(3) - 1, payload = text(roll, 5), fin = roll(2) == 1,
    rsv = wild and roll(4) == 1 and roll(7) or 0,
  }
end

-- One message in fragments, control frames between.
local function message(roll, list)
  local data = text(roll, roll(8) == 1 and 100 or 14)
  local kind = roll(3) == 1 and "binary" or "text"
  local count, at = roll(3) == 1 and roll(7) or 1, 1
  for i = 1, count do
    local last = i == count and #data or math.min(#data, at - 1 + roll(12) - 1)
    list[#list + 1] = { i == 1 and kind or "continuation", payload = data:sub(at, last), fin = i == count }
    at = last + 1
    if roll(4) == 1 then list[#list + 1] = control(roll) end
    if roll(100) == 1 then list[#list + 1] = stray(roll) end
  end
end

local function conversation(roll, role)
  local list = {}
  for _ = 1, roll(8) do
    if roll(3) == 1 then list[#list + 1] = control(roll) else message(roll, list) end
    if roll(50) == 1 then list[#list + 1] = stray(roll) end
  end
  local parts = {}
  for i, frame in ipairs(list) do
    if (role == "server") == (roll(100) > 1) then
      frame.key = string.char(roll(256) - 1, roll(256) - 1, roll(256) - 1, roll(256) - 1)
    end
    if roll(80) == 1 then frame.form = roll(2) == 1 and 16 or 64 end
    if roll(80) == 1 then frame.length = roll(2) == 1 and 2 ^ (roll(2) == 1 and 63 or roll(62)) or roll(400) end
    if frame.length and frame.length >= 126 then frame.form = frame.length < 65536 and 16 or 64 end
    parts[i] = frames.build(frame)
  end
  local bytes = table.concat(parts)
  if roll(10) == 1 then -- one byte is another
    local at = roll(#bytes + 1)
    bytes = bytes:sub(1, at - 1) .. string.char(roll(256) - 1) .. bytes:sub(at + 1)
  end
  if roll(5) == 1 then bytes = bytes:sub(1, roll(#bytes + 1) - 1) end
  return bytes
end

-- --- the real one -------------------------------------------------------------------------------------

local hows = { "plain", "stash", "stashed", "direct" }

-- Gives it what arrives in random slices, each in a random way; closes it after so many events.
local function real(role, bytes, closeAfter, roll)
  local session = probe.session(role, LIMITS)
  local events, at = {}, 1
  if closeAfter == 0 then session:close(1000) end
  while at <= #bytes do
    local last = math.min(#bytes, at + roll(roll(4) == 1 and 3 or 60) - 1)
    local slice = bytes:sub(at, last)
    at = last + 1
    if closeAfter and #events < closeAfter then
      session:give(slice)
      for event in session.next, session do
        events[#events + 1] = helper.word(event)
        if roll(3) == 1 then session:stash() end
        if #events == closeAfter then session:close(1000) end
      end
    else
      for _, event in ipairs(session:feed(slice, hows[roll(4)])) do events[#events + 1] = helper.word(event) end
    end
  end
  return events, session
end

-- A failure's Close frame carries words as well; the plain one only says its code.
local function codesOnly(role, output)
  local list = frames.parse(output)
  for i, frame in ipairs(list) do
    assert((frame.key ~= nil) == (role == "client"))
    list[i] = frames.build { frame.opcode, payload = frame.opcode == 8 and frame.payload:sub(1, 2) or frame.payload }
  end
  return table.concat(list)
end

describe("a random conversation #slow", function()
  local heard = {}

  for _, role in ipairs { "server", "client" } do
    it("is understood by a " .. role .. " as by the plain one", function()
      for seed = 1, 1000 do
        local roll = dice(seed)
        local bytes = conversation(roll, role)
        local closeAfter = roll(4) == 1 and roll(4) - 1 or nil
        local events, output = plain(role, bytes, closeAfter)
        local expected = table.concat(events, "\n")
        for _ = 1, 3 do
          local found, session = real(role, bytes, closeAfter, roll)
          local said = codesOnly(role, session:output())
          if table.concat(found, "\n") ~= expected or said ~= output then
            error(("seed %d, closed after %s, of %s\n%s\n%s\nbut plainly\n%s\n%s"):format(seed, closeAfter, frames.dump(bytes),
              table.concat(found, "\n"), frames.dump(said), expected, frames.dump(output)))
          end
        end
        for _, event in ipairs(events) do
          local word = event:match "^failure.*" or event:match "^%a+"
          heard[word] = (heard[word] or 0) + 1
        end
      end
    end)
  end

  it("has said and broken everything there is, often", function()
    for _, word in ipairs {
      "text", "binary", "ping", "pong", "close", "failure 1002: RSV", "failure 1002: OPCODE", "failure 1002: MASKED",
      "failure 1002: UNMASKED", "failure 1002: LENGTH_FORM", "failure 1002: LENGTH_RANGE", "failure 1002: CONTROL_LENGTH",
      "failure 1002: CONTROL_FIN", "failure 1002: CONTINUATION", "failure 1002: INTERLEAVED", "failure 1007: UTF8",
      "failure 1002: CLOSE_LENGTH", "failure 1002: CLOSE_CODE", "failure 1007: CLOSE_REASON", "failure 1009: PAYLOAD",
      "failure 1008: FRAGMENTS",
    } do
      assert.is_true((heard[word] or 0) >= 5, ("%s: %d times"):format(word, heard[word] or 0))
    end
  end)
end)
