-- What a session makes of the bytes that arrive: messages, pings, and the end of a peer that
-- breaks the protocol. What is right is shown with the RFC's own bytes.

local frames = require "spec.frames"
local helper = require "spec.session_helper"
local probe = require "lunawire.probe"

local hex, everyWay, arriving = frames.hex, helper.everyWay, helper.arriving
local roles = { "server", "client" }

local MIB = 1024 * 1024
local HUGE = 2 ^ 50

-- Tells what these frames came to at the side of the given role, however they were cut.
local function tell(role, list, limits, before)
  return everyWay { role = role, bytes = arriving(role, list), limits = limits, before = before }
end

-- Every case below is tried for a server (which hears a client) and for a client.
local function eachRole(run)
  for _, role in ipairs(roles) do
    describe("by a " .. role, function() run(role) end)
  end
end

after_each(function() probe.starve() end)

describe("the RFC's own examples (5.7)", function()
  local examples = {
    -- what, role of the one who hears it, bytes, events, what is answered (without masks)
    { "a single-frame unmasked text message", "client", "81 05 48 65 6c 6c 6f", { "text: Hello" } },
    { "a single-frame masked text message", "server", "81 85 37 fa 21 3d 7f 9f 4d 51 58", { "text: Hello" } },
    { "a fragmented unmasked text message", "client", "01 03 48 65 6c 80 02 6c 6f", { "text: Hello" } },
    { "an unmasked ping", "client", "89 05 48 65 6c 6c 6f", { "ping: Hello" }, "8a 05 48 65 6c 6c 6f" },
    { "a masked pong", "server", "8a 85 37 fa 21 3d 7f 9f 4d 51 58", { "pong: Hello" } },
    { "256 bytes of binary data", "client", "82 7e 01 00" .. (" ab"):rep(256), { "binary: " .. hex("ab"):rep(256) } },
    { "64 KiB of binary data", "client", "82 7f 00 00 00 00 00 01 00 00" .. (" cd"):rep(65536),
      { "binary: " .. hex("cd"):rep(65536) } },
  }
  for _, example in ipairs(examples) do
    local name, role, bytes, events, answer = table.unpack(example)
    it("are understood: " .. name, function()
      local told = everyWay { role = role, bytes = hex(bytes) }
      assert.same(events, told.events)
      assert.same(hex(answer or ""), told.output)
      assert.equal("open", told.state)
      assert.is_true(told.between)
      assert.is_false(told.held)
    end)
  end
end)

describe("a message in one frame, heard", function()
  eachRole(function(role)
    for _, length in ipairs { 0, 1, 2, 3, 4, 5, 125, 126, 127, 255, 256, 65535, 65536 } do
      it("has the length " .. length, function()
        local data = ("0123456789abcdef!"):rep(math.ceil(length / 17)):sub(1, length)
        for _, kind in ipairs { "text", "binary" } do
          local told = tell(role, { { kind, payload = data } })
          assert.same({ kind .. ": " .. data }, told.events)
          assert.equal("", told.output)
        end
      end)
    end

    it("may have several MiB, and has them unchanged", function()
      local block = "a block whose length is no power of two, but a multiple of four."
      local data = block:rep(math.floor(3 * MIB / #block)) .. "!!!"
      local head = frames.build { "binary", length = #data, key = role == "server" and helper.key or nil }
      local masked = block
      if role == "server" then masked = frames.mask(block, helper.key) end
      masked = masked:rep(math.floor(3 * MIB / #block))
      local bytes = head .. masked .. (role == "server" and frames.mask("!!!", helper.key) or "!!!")
      for _, how in ipairs { "plain", "stash", "stashed", "direct" } do
        for _, size in ipairs { #bytes, 65536, 16411 } do
          local session = probe.session(role)
          local heard = {}
          for at = 1, #bytes, size do
            for _, event in ipairs(session:feed(bytes:sub(at, at + size - 1), how)) do heard[#heard + 1] = event end
          end
          assert.equal(1, #heard)
          assert.is_true(heard[1].data == data, ("%s, by %d"):format(how, size))
        end
      end
    end)

    it("follows another without a gap", function()
      local told = tell(role, { { "text", payload = "one" }, { "binary", payload = "" }, { "text", payload = "three" } })
      assert.same({ "text: one", "binary: ", "text: three" }, told.events)
    end)
  end)

  it("is unmasked with every byte of the key", function()
    for _, key in ipairs { "00 00 00 00", "ff ff ff ff", "01 00 00 00", "00 00 00 80", "12 34 56 78" } do
      local data = "a text that is longer than any register is wide: four, eight, sixteen, thirty-two"
      local told = everyWay { role = "server", bytes = frames.build { "text", payload = data, key = hex(key) } }
      assert.same({ "text: " .. data }, told.events)
    end
  end)
end)

describe("a fragmented message, heard", function()
  local function part(kind, payload, fin)
    return { kind, payload = payload, fin = fin or false }
  end

  eachRole(function(role)
    it("waits for its last fragment", function()
      local told = tell(role, { part("text", "Hel"), part("continuation", "l") })
      assert.same({}, told.events)
      assert.is_false(told.between)
      assert.is_true(told.held)
      told = tell(role, { part("text", "Hel"), part("continuation", "l"), part("continuation", "o", true) })
      assert.same({ "text: Hello" }, told.events)
      assert.is_true(told.between)
      assert.is_false(told.held)
    end)

    it("keeps the kind of its first", function()
      assert.same({ "binary: \xffxyz" }, tell(role, { part("binary", "\xffx"), part("continuation", "yz", true) }).events)
    end)

    it("may have empty fragments anywhere", function()
      local told = tell(role, {
        part("text", ""), part("continuation", "a"), part("continuation", ""), part("continuation", "b"),
        part("continuation", "", true), part("binary", ""), part("continuation", "", true),
        part("text", ""), part("continuation", "c", true),
      })
      assert.same({ "text: ab", "binary: ", "text: c" }, told.events)
    end)

    it("grows over fragments of every size", function()
      local list, all = {}, {}
      for i = 0, 40 do
        local payload = string.char(97 + i % 26):rep(i * 7)
        list[i + 1] = part(i == 0 and "text" or "continuation", payload, i == 40)
        all[i + 1] = payload
      end
      assert.same({ "text: " .. table.concat(all) }, tell(role, list).events)
    end)

    it("lets control frames through between its fragments", function()
      local told = tell(role, {
        part("text", "Hel"), { "ping", payload = "are you there?" }, part("continuation", "l"),
        { "pong", payload = "yes" }, { "pong" }, part("continuation", "o", true), { "text", payload = "bye" },
      })
      assert.same({ "ping: are you there?", "pong: yes", "pong: ", "text: Hello", "text: bye" }, told.events)
      assert.same(frames.build { "pong", payload = "are you there?" }, told.output)
    end)

    it("is followed by one in a single frame", function()
      local told = tell(role, {
        part("text", "a"), part("continuation", "b", true), { "text", payload = "c" },
        part("binary", ("d"):rep(2000)), part("continuation", "e", true), { "text", payload = "f" },
      })
      assert.same({ "text: ab", "text: c", "binary: " .. ("d"):rep(2000) .. "e", "text: f" }, told.events)
    end)
  end)
end)

-- --- what is wrong ----------------------------------------------------------------------------

-- What comes behind it is never read.
local AFTER = { { "text", payload = "no" }, { "ping" }, { "close" }, "\255\255" }

-- As a server sends it; for a server the same with a mask.
local wrong = {
  { "RSV1, which nobody negotiated", { "c1 00" }, 1002, "RSV" },
  { "RSV2", { "a1 00" }, 1002, "RSV" },
  { "RSV3", { "91 00" }, 1002, "RSV" },
  { "all three of them on a ping", { "f9 00" }, 1002, "RSV" },
  { "RSV1 on a continuation", { "01 01 61", "c0 01 62" }, 1002, "RSV" },
  { "opcode 3", { "83 00" }, 1002, "OPCODE" },
  { "opcode 4", { "84 00" }, 1002, "OPCODE" },
  { "opcode 5", { "85 00" }, 1002, "OPCODE" },
  { "opcode 6", { "86 00" }, 1002, "OPCODE" },
  { "opcode 7", { "87 00" }, 1002, "OPCODE" },
  { "opcode 11", { "8b 00" }, 1002, "OPCODE" },
  { "opcode 12", { "8c 00" }, 1002, "OPCODE" },
  { "opcode 13", { "8d 00" }, 1002, "OPCODE" },
  { "opcode 14", { "8e 00" }, 1002, "OPCODE" },
  { "opcode 15", { "8f 00" }, 1002, "OPCODE" },
  { "opcode 3 inside a message", { "01 01 61", "83 00" }, 1002, "OPCODE" },
  { "a ping of 126 bytes", { "89 7e 00 7e" .. (" 61"):rep(126) }, 1002, "CONTROL_LENGTH" },
  { "a pong that announces 64 bits", { "8a 7f 00 00 00 00 00 01 00 00" }, 1002, "CONTROL_LENGTH" },
  { "a Close of 126 bytes", { "88 7e 00 7e 03 e8" .. (" 61"):rep(124) }, 1002, "CONTROL_LENGTH" },
  { "a ping without FIN", { "09 00" }, 1002, "CONTROL_FIN" },
  { "a pong without FIN", { "0a 00" }, 1002, "CONTROL_FIN" },
  { "a Close without FIN", { "08 02 03 e8" }, 1002, "CONTROL_FIN" },
  { "a continuation with nothing to continue", { "80 01 61" }, 1002, "CONTINUATION" },
  { "one that is not the last", { "00 01 61" }, 1002, "CONTINUATION" },
  { "one after a whole message", { "81 01 61", "80 01 62" }, 1002, "CONTINUATION", { "text: a" } },
  { "one after a fragmented message", { "01 01 61", "80 01 62", "80 01 63" }, 1002, "CONTINUATION", { "text: ab" } },
  { "a new text inside a text", { "01 01 61", "81 01 62" }, 1002, "INTERLEAVED" },
  { "a new binary inside a text", { "01 01 61", "02 01 62" }, 1002, "INTERLEAVED" },
  { "a new text inside a binary with nothing in it", { "02 00", "81 01 62" }, 1002, "INTERLEAVED" },
  { "125 in sixteen bits", { "82 7e 00 7d" .. (" 61"):rep(125) }, 1002, "LENGTH_FORM" },
  { "0 in sixteen bits", { "82 7e 00 00" }, 1002, "LENGTH_FORM" },
  { "65535 in sixty-four bits", { "82 7f 00 00 00 00 00 00 ff ff" }, 1002, "LENGTH_FORM" },
  { "0 in sixty-four bits", { "82 7f 00 00 00 00 00 00 00 00" }, 1002, "LENGTH_FORM" },
  { "a length of 2^63", { "82 7f 80 00 00 00 00 00 00 00" }, 1002, "LENGTH_RANGE" },
  { "a length of 2^64 - 1", { "82 7f ff ff ff ff ff ff ff ff" }, 1002, "LENGTH_RANGE" },
  { "a length of 2^63 - 1", { "82 7f 7f ff ff ff ff ff ff ff" }, 1009, "PAYLOAD" },
  { "a length over maxPayload", { "82 7f 00 00 00 00 01 00 00 01" }, 1009, "PAYLOAD" },
  { "text: ff", { "81 01 ff" }, 1007, "UTF8" },
  { "text: c0 80", { "81 02 c0 80" }, 1007, "UTF8" },
  { "text: ed a0 80", { "81 03 ed a0 80" }, 1007, "UTF8" },
  { "text: f4 90 80 80", { "81 04 f4 90 80 80" }, 1007, "UTF8" },
  { "text: a lone continuation", { "81 01 80" }, 1007, "UTF8" },
  { "text: cut at the end", { "81 02 61 c3" }, 1007, "UTF8" },
  { "text: cut at the end of the last fragment", { "01 01 61", "80 01 e2" }, 1007, "UTF8" },
  { "text: cut at the end, an empty fragment behind", { "01 02 61 c3", "80 00" }, 1007, "UTF8" },
  { "text: wrong in a fragment before the last", { "01 02 61 c3", "00 01 61" }, 1007, "UTF8" },
  { "text: good, then not", { "81 02 c3 a9", "81 02 c3 c3" }, 1007, "UTF8", { "text: é" } },
  { "a Close with one byte", { "88 01 03" }, 1002, "CLOSE_LENGTH" },
  { "a Close with code 0", { "88 02 00 00" }, 1002, "CLOSE_CODE" },
  { "a Close with code 999", { "88 02 03 e7" }, 1002, "CLOSE_CODE" },
  { "a Close with code 1004", { "88 02 03 ec" }, 1002, "CLOSE_CODE" },
  { "a Close with code 1005", { "88 02 03 ed" }, 1002, "CLOSE_CODE" },
  { "a Close with code 1006", { "88 02 03 ee" }, 1002, "CLOSE_CODE" },
  { "a Close with code 1015", { "88 02 03 f7" }, 1002, "CLOSE_CODE" },
  { "a Close with code 2999", { "88 02 0b b7" }, 1002, "CLOSE_CODE" },
  { "a Close with code 5000", { "88 02 13 88" }, 1002, "CLOSE_CODE" },
  { "a Close with code 65535", { "88 02 ff ff" }, 1002, "CLOSE_CODE" },
  { "a Close whose reason is not UTF-8", { "88 03 03 e8 ff" }, 1007, "CLOSE_REASON" },
  { "a Close whose reason is cut", { "88 04 03 e8 61 c3" }, 1007, "CLOSE_REASON" },
  { "a Close with neither code nor reason right", { "88 03 03 e7 ff" }, 1002, "CLOSE_CODE" },
}

describe("a frame that breaks the protocol, heard", function()
  eachRole(function(role)
    local rows = { table.unpack(wrong) }
    if role == "server" then
      rows[#rows + 1] = { "an unmasked text", { hex "81 01 61" }, 1002, "UNMASKED", raw = true }
      rows[#rows + 1] = { "an unmasked ping", { hex "89 00" }, 1002, "UNMASKED", raw = true }
      rows[#rows + 1] = { "an unmasked Close", { hex "88 00" }, 1002, "UNMASKED", raw = true }
    else
      rows[#rows + 1] = { "a masked text", { hex "81 81 01 02 03 04 60" }, 1002, "MASKED", raw = true }
      rows[#rows + 1] = { "a masked ping", { hex "89 80 01 02 03 04" }, 1002, "MASKED", raw = true }
      rows[#rows + 1] = { "a masked Close", { hex "88 80 00 00 00 00" }, 1002, "MASKED", raw = true }
    end
    for _, row in ipairs(rows) do
      local name, list, code, why, before = table.unpack(row)
      it(("ends in %d: %s"):format(code, name), function()
        local bytes
        if row.raw then
          bytes = list[1]
        else
          local unhexed = {}
          for i, text in ipairs(list) do unhexed[i] = hex(text) end
          bytes = arriving(role, unhexed)
        end
        local events = { table.unpack(before or {}) }
        events[#events + 1] = ("failure %d: %s"):format(code, why)
        assert.same(events, helper.words(probe.session(role):feed(bytes)))
        local told = everyWay { role = role, bytes = bytes .. arriving(role, AFTER) }
        assert.same(events, told.events)
        assert.equal("failed", told.state)
        assert.is_false(told.held)
        local said = frames.parse(told.output)
        assert.equal(1, #said)
        assert.equal(8, said[1].opcode)
        assert.equal(frames.closing(code), said[1].payload:sub(1, 2))
      end)
    end

    it("tells the peer why, in the words of the failure", function()
      local session = probe.session(role)
      local event = session:feed(arriving(role, { hex "83 00" }))[1]
      assert.is_true(#event.message > 0)
      assert.equal(helper.goodbye(1002, event.message), helper.output(session, role))
    end)

    it("is refused as soon as its second byte is here", function()
      for _, row in ipairs {
        { "c1 01", "RSV" }, { "80 01", "CONTINUATION" }, { "89 7e", "CONTROL_LENGTH" }, { "f1 7f", "RSV" },
      } do
        local bytes = arriving(role, { hex(row[1]) }):sub(1, 2)
        assert.same({ "failure 1002: " .. row[2] }, everyWay { role = role, bytes = bytes }.events)
      end
      local mask = role == "client" and "\x81" or "\1"
      assert.same({ "failure 1002: " .. (role == "client" and "MASKED" or "UNMASKED") },
        everyWay { role = role, bytes = "\x81" .. mask }.events)
    end)

    it("is refused for what comes first, the first byte before the second before the length", function()
      local wrongMask = role == "client" and 128 or 0
      local rightMask = 128 - wrongMask
      local function why(first, second, rest)
        return everyWay { role = role, bytes = string.char(first, second) .. (rest or "") }.events[1]
      end
      assert.equal("failure 1002: OPCODE", why(0xf3, wrongMask))
      assert.equal("failure 1002: CONTROL_FIN", why(0x79, wrongMask))
      assert.equal("failure 1002: RSV", why(0xc1, wrongMask + 126, "\0\0"))
      assert.equal("failure 1002: " .. (role == "client" and "MASKED" or "UNMASKED"), why(0x81, wrongMask + 126, "\0\0"))
      assert.equal("failure 1002: CONTINUATION", why(0x80, rightMask + 127, ("\255"):rep(8)))
    end)
  end)
end)

-- Straight from 5.2, 5.4 and 5.5: what must be said against these two bytes of a header, if anything.
local function objection(role, inside, first, second)
  local fin, rsv, opcode = first >= 128, math.floor(first / 16) % 8, first % 16
  local masked, length = second >= 128, second % 128
  local control = opcode >= 8
  if opcode > 10 or opcode > 2 and opcode < 8 then return "OPCODE" end
  if control and not fin then return "CONTROL_FIN" end
  if control and length > 125 then return "CONTROL_LENGTH" end
  if rsv > 0 then return "RSV" end
  if role == "server" and not masked then return "UNMASKED" end
  if role == "client" and masked then return "MASKED" end
  if opcode == 0 and not inside then return "CONTINUATION" end
  if not control and opcode > 0 and inside then return "INTERLEAVED" end
end

describe("the first two bytes of a frame, all 65536 of them #slow", function()
  local states = {
    { "open" }, { "inside a message", inside = true }, { "closing", closing = true },
    { "closing inside a message", inside = true, closing = true },
  }

  -- The one event that a whole frame with an empty payload makes (only a client hears those here).
  local function expected(state, first, second)
    local opcode = first % 16
    if second ~= 0 then return nil end
    if opcode == 8 then return "close" end
    if opcode == 9 then return "ping" end
    if opcode == 10 then return "pong" end
    if state.closing or first < 128 then return nil end
    return (opcode == 1 or state.inside) and "text" or "binary"
  end

  for _, role in ipairs(roles) do
    local begun = arriving(role, { { "text", payload = "", fin = false } })

    for _, state in ipairs(states) do
      it(("are judged by a %s that is %s"):format(role, state[1]), function()
        local session = probe.session(role)
        for first = 0, 255 do
          for second = 0, 255 do
            session:again()
            if state.closing then session:close(1000) end
            local events = session:feed((state.inside and begun or "") .. string.char(first, second))
            local event = events[1]
            local why = objection(role, state.inside, first, second)
            local kind = why and "failure" or expected(state, first, second)
            if (event and event.kind) ~= kind or (event and event.why) ~= why or events[2] then
              error(("%02x %02x: %s %s, not %s %s"):format(first, second, event and event.kind, event and event.why, kind, why))
            end
          end
        end
      end)
    end

    for state, bytes in pairs { closed = arriving(role, { { "close" } }), failed = arriving(role, { hex "83 00" }) } do
      it(("are ignored by a %s that has %s"):format(role, state), function()
        local session = probe.session(role)
        session:feed(bytes)
        session:output()
        for first = 0, 255 do
          for second = 0, 255 do
            if session:feed(string.char(first, second))[1] then error(("%02x %02x"):format(first, second)) end
          end
        end
        assert.equal(state, session:state())
        assert.equal("", session:output())
      end)
    end
  end
end)

-- --- UTF-8 ----------------------------------------------------------------------------------------

describe("text, heard", function()
  local kept = {
    { "U+0000", "00" }, { "U+FFFF", "ef bf bf" }, { "U+10FFFF", "f4 8f bf bf" }, { "a BOM", "ef bb bf 61" },
    { "the first and last of each length", "01 7f c2 80 df bf e0 a0 80 ef bf bd f0 90 80 80" },
    { "the neighbours of surrogates", "ed 9f bf ee 80 80" },
    { "nothing but two bytes", ("c3 a9 "):rep(40) }, { "nothing but three", ("e2 82 ac "):rep(40) },
    { "nothing but four", ("f0 9f 98 80 "):rep(40) },
  }

  eachRole(function(role)
    for _, row in ipairs(kept) do
      it("is delivered unchanged: " .. row[1], function()
        local text = hex(row[2])
        assert.same({ "text: " .. text }, tell(role, { { "text", payload = text } }).events)
      end)
    end

    it("may be split inside a character, at every byte, over any fragments", function()
      local text = "aé€😀z"
      for i = 0, #text do
        for j = i, #text do
          local list = {
            { "text", payload = text:sub(1, i), fin = false },
            { "continuation", payload = text:sub(i + 1, j), fin = false },
            { "continuation", payload = text:sub(j + 1) },
          }
          local session = probe.session(role)
          assert.same({ "text: " .. text }, helper.words(session:feed(arriving(role, list))))
        end
      end
      local bytewise = {}
      for i = 1, #text do
        bytewise[i] = { i == 1 and "text" or "continuation", payload = text:sub(i, i), fin = i == #text }
      end
      assert.same({ "text: " .. text }, tell(role, bytewise).events)
    end)

    it("may have a ping inside a character", function()
      local told = tell(role, {
        { "text", payload = "\xe2\x82", fin = false }, { "ping", payload = "\xff" }, { "continuation", payload = "\xac" },
      })
      assert.same({ "ping: \xff", "text: €" }, told.events)
    end)

    it("starts anew with each message, binary ones between", function()
      local told = tell(role, {
        { "text", payload = "€" }, { "binary", payload = "\xe2\x82" }, { "text", payload = "€" },
        { "binary", payload = "\xe2", fin = false }, { "continuation", payload = "\x82" }, { "text", payload = "é" },
      })
      assert.same({ "text: €", "binary: \xe2\x82", "text: €", "binary: \xe2\x82", "text: é" }, told.events)
    end)

    it("fails with the very byte that is wrong, the frame unfinished", function()
      for _, bytes in ipairs {
        "ff", "fe", "c0", "c1", "f5", "80", "bf", "c3 28", "e0 80", "e0 9f", "ed a0", "e2 28", "e2 82 28", "f0 8f",
        "f4 90", "f1 28", "f1 80 28", "f1 80 80 28", "c3 c3", "e2 82 e2",
      } do
        bytes = hex(bytes)
        for _, prefix in ipairs { "", "ok ", "€", ("x"):rep(70) } do
          local payload = prefix .. bytes
          local announced = frames.build {
            "text", payload = payload, length = 500, fin = false, key = role == "server" and helper.key or nil,
          }
          local session = probe.session(role)
          assert.same({}, session:feed(announced:sub(1, -2)))
          assert.same({ "failure 1007: UTF8" }, helper.words(session:feed(announced:sub(-1))))
          if #prefix < 5 then everyWay { role = role, bytes = announced } end
        end
      end
    end)
  end)
end)

-- --- limits -----------------------------------------------------------------------------------------

describe("maxPayload", function()
  eachRole(function(role)
    local key = role == "server" and helper.key or nil

    it("lets a message of just its size pass", function()
      local limits = { maxPayload = 200 }
      local data = ("m"):rep(200)
      assert.same({ "binary: " .. data }, tell(role, { { "binary", payload = data } }, limits).events)
      assert.same({ "binary: " .. data }, tell(role, {
        { "binary", payload = data:sub(1, 199), fin = false }, { "continuation", payload = "m", fin = false }, { "continuation" },
      }, limits).events)
    end)

    it("refuses one byte more at the header, before any memory is taken", function()
      local header = frames.build { "binary", length = 201, key = key }
      local told = everyWay { role = role, bytes = header, limits = { maxPayload = 200 } }
      assert.same({ "failure 1009: PAYLOAD" }, told.events)
      assert.is_false(told.held)
    end)

    it("counts all fragments together", function()
      for _, last in ipairs { true, false } do
        local start = arriving(role, {
          { "text", payload = ("a"):rep(150), fin = false }, { "continuation", payload = ("b"):rep(50), fin = false },
        })
        local header = frames.build { "continuation", length = 1, fin = last, key = key }
        local told = everyWay { role = role, bytes = start .. header, limits = { maxPayload = 200 } }
        assert.same({ "failure 1009: PAYLOAD" }, told.events)
        assert.equal("failed", told.state)
      end
    end)

    it("starts anew with each message", function()
      local list = {}
      for i = 1, 5 do list[i] = { "text", payload = ("x"):rep(100) } end
      table.insert(list, { "text", payload = ("x"):rep(60), fin = false })
      table.insert(list, { "continuation", payload = ("x"):rep(40) })
      assert.equal(6, #tell(role, list, { maxPayload = 100 }).events)
    end)

    it("does not count control frames", function()
      local told = tell(role, {
        { "text", payload = "1234567", fin = false }, { "ping", payload = ("p"):rep(125) }, { "continuation", payload = "890" },
      }, { maxPayload = 10 })
      assert.same({ "ping: " .. ("p"):rep(125), "text: 1234567890" }, told.events)
    end)
  end)
end)

describe("maxFragments", function()
  eachRole(function(role)
    local function message(n)
      local list = {}
      for i = 1, n do list[i] = { i == 1 and "text" or "continuation", payload = i % 2 == 0 and "x" or "", fin = i == n } end
      return list
    end

    it("lets just so many pass, time and again", function()
      local list = message(4)
      for _, frame in ipairs(message(4)) do list[#list + 1] = frame end
      assert.same({ "text: xx", "text: xx" }, tell(role, list, { maxFragments = 4 }).events)
    end)

    it("refuses one more at its header, empty ones included", function()
      assert.same({ "failure 1008: FRAGMENTS" }, tell(role, message(5), { maxFragments = 4 }).events)
      local empty = {}
      for i = 1, 5 do empty[i] = { i == 1 and "binary" or "continuation", fin = false } end
      assert.same({ "failure 1008: FRAGMENTS" }, tell(role, empty, { maxFragments = 4 }).events)
      local header = frames.build { "continuation", length = 100, key = role == "server" and helper.key or nil }
      local four = { table.unpack(empty, 1, 4) }
      assert.same({ "failure 1008: FRAGMENTS" },
        everyWay { role = role, bytes = arriving(role, four) .. header, limits = { maxFragments = 4 } }.events)
    end)

    it("does not count control frames", function()
      local list = message(4)
      for i = 4, 2, -1 do table.insert(list, i, { "pong" }) end
      assert.same({ "pong: ", "pong: ", "pong: ", "text: xx" }, tell(role, list, { maxFragments = 4 }).events)
    end)

    it("is 131072 unless set otherwise", function()
      local session = probe.session(role)
      local first = arriving(role, { { "binary", fin = false } })
      local more = arriving(role, { { "continuation", fin = false } })
      assert.same({}, session:feed(first .. more:rep(131071)))
      assert.same({ "failure 1008: FRAGMENTS" }, helper.words(session:feed(more)))
    end)
  end)
end)

describe("the memory a peer can make a session hold", function()
  eachRole(function(role)
    local key = role == "server" and "\0\0\0\0" or nil

    it("does not follow what is announced", function()
      for _, fin in ipairs { true, false } do
        local session = probe.session(role, { maxPayload = HUGE })
        session:feed(frames.build { "binary", length = 2 ^ 40, fin = fin, key = key } .. "ten bytes!")
        assert.is_true(session:held() >= 10)
        assert.is_true(session:held() <= 1024, session:held())
        assert.equal("open", session:state())
      end
    end)

    for _, how in ipairs { "plain", "direct" } do
      it("follows what has arrived: " .. how, function()
        local session = probe.session(role, { maxPayload = HUGE })
        session:feed(frames.build { "binary", length = 2 ^ 40, key = key })
        local arrived, slice = 0, ("s"):rep(997)
        for _ = 1, 1000 do
          session:feed(slice, how)
          arrived = arrived + #slice
          local held = session:held()
          assert.is_true(held >= arrived and held <= 2 * arrived + 1024, ("%d for %d"):format(held, arrived))
        end
      end)
    end

    it("is no more than the message when its last fragment tells the length", function()
      local session = probe.session(role)
      session:feed(frames.build { "binary", length = 100, key = key } .. "x")
      assert.equal(100, session:held())
      session = probe.session(role)
      session:feed(frames.build { "binary", payload = ("x"):rep(3000), fin = false, key = key })
      session:feed(frames.build { "continuation", length = 10, key = key } .. "x")
      assert.equal(3010, session:held())
    end)

    it("is never more than maxPayload", function()
      local session = probe.session(role, { maxPayload = 5000 })
      session:feed(frames.build { "binary", payload = ("x"):rep(3000), fin = false, key = key })
      for _ = 1, 20 do
        session:feed(frames.build { "continuation", payload = ("x"):rep(100), fin = false, key = key })
        assert.is_true(session:held() <= 5000)
      end
      session = probe.session(role, { maxPayload = 12 })
      session:feed(frames.build { "binary", payload = "x", fin = false, key = key })
      assert.equal(12, session:held())
    end)

    it("is nothing between two messages", function()
      local session = probe.session(role)
      local function idle(bytes)
        session:feed(bytes:sub(1, 5))
        session:feed(bytes:sub(6))
        return session:between() and session:held() == 0
      end
      assert.is_true(idle(frames.build { "binary", payload = "one piece", key = key }))
      assert.is_true(idle(frames.build { "binary", payload = ("large "):rep(1000), key = key }))
      assert.is_true(idle(arriving(role, { { "text", payload = "", fin = false }, { "continuation" } })))
      assert.is_true(idle(arriving(role, { { "text", payload = "1234567", fin = false }, { "continuation", payload = "8" } })))
      assert.is_true(idle(frames.build { "ping", payload = "12345678", key = key }))
    end)

    it("is given back before what follows is read", function()
      local session = probe.session(role)
      session:feed(frames.build { "binary", payload = ("x"):rep(3000), fin = false, key = key })
      session:give(arriving(role, { { "continuation", payload = "y" }, { "ping" }, { "close" } }))
      assert.equal("binary", session:next().kind)
      assert.is_true(session:held() >= 3001)
      assert.equal("ping", session:next().kind)
      assert.is_true(session:held() <= 1024)
    end)

    it("is used again for what follows at once, when it is little", function()
      local session = probe.session(role)
      local start, finish = { "text", payload = "in ", fin = false }, { "continuation", payload = "parts" }
      session:feed(arriving(role, { start }))
      session:give(arriving(role, { finish, start, finish, start, finish }))
      probe.starve(0)
      for _ = 1, 3 do assert.equal("in parts", session:next().data) end
      probe.starve()
    end)

    it("is given back when the protocol is broken", function()
      local session = probe.session(role)
      session:feed(frames.build { "binary", payload = ("x"):rep(3000), fin = false, key = key })
      assert.is_true(session:held() >= 3000)
      session:feed(arriving(role, { hex "83 00" }), "stashed")
      assert.equal(0, session:held())
    end)
  end)

  it("fails that session alone, with 1011, when there is none left", function()
    local session = probe.session "server"
    local bytes = frames.build { "binary", length = 2000, key = helper.key } .. ("x"):rep(1000)
    session:give(bytes) -- the spec's own memory
    probe.starve(0)
    local event = session:next()
    probe.starve()
    assert.equal("failure 1011: MEMORY", helper.word(event))
    assert.equal("failed", session:state())
    assert.equal(1011, frames.parse(session:output())[1].payload:byte(1) * 256 + 1011 % 256)
    assert.is_nil(session:next())
  end)
end)

-- --- stash --------------------------------------------------------------------------------------------

describe("stash", function()
  local function three()
    local session = probe.session "client"
    session:give(hex "81 01 61 81 01 62 81 01 63")
    return session
  end

  it("keeps what was not parsed, so that the caller's bytes may go", function()
    local session = three()
    assert.equal("a", session:next().data)
    assert.is_true(session:stash())
    assert.equal(6, session:held())
    assert.is_false(session:hungry())
    assert.equal("b", session:next().data)
    assert.is_true(session:stash())
    assert.equal("c", session:next().data)
    assert.is_true(session:hungry())
    assert.is_nil(session:next())
    assert.equal(0, session:held())
  end)

  -- A stash used up to its last byte was taken for one that still holds the input: what was
  -- fed next was not copied, and was read after the caller had let it go.
  it("keeps what was fed after an older stash was used up", function()
    local session = three()
    session:stash()
    for _, letter in ipairs { "a", "b", "c" } do assert.equal(letter, session:next().data) end
    assert.is_true(session:hungry())
    session:give(hex "81 01 64 81 01 65")
    assert.is_true(session:stash())
    assert.equal("d", session:next().data)
    assert.is_true(session:stash())
    session:send("text", "anything")
    assert.equal("e", session:next().data)
    assert.is_nil(session:next())
    assert.equal(0, session:held())
  end)

  it("has nothing to do when it was done", function()
    local session = three()
    session:stash()
    probe.starve(0)
    assert.is_true(session:stash())
    session:next()
    assert.is_true(session:stash())
    probe.starve()
    assert.equal("b", session:next().data)
  end)

  it("has nothing to do when everything was parsed", function()
    local session = probe.session "client"
    assert.is_true(session:stash())
    session:feed(hex "81 03 61")
    probe.starve(0)
    assert.is_true(session:stash())
    probe.starve()
    assert.same({ "text: abc" }, helper.words(session:feed "bc"))
  end)

  it("changes nothing when there is no memory for it", function()
    local session = three()
    assert.equal("a", session:next().data)
    probe.starve(0)
    local _, why = session:stash()
    probe.starve()
    assert.equal("MEMORY", why)
    assert.equal("b", session:next().data)
    assert.equal("c", session:next().data)
    assert.is_nil(session:next())
  end)

  it("is given back with the session", function() -- or a sanitizer complains at the end
    local session = three()
    session:next()
    session:stash()
    session:again()
    session:give(hex "01 01 61 81")
    session:next()
    session:send("text", "never sent")
  end)

  it("is given back by what ends the session", function()
    local session = probe.session "client"
    session:give(hex "81 01 61 83 00 81 01 62")
    session:next()
    session:stash()
    assert.equal("failure 1002: OPCODE", helper.word(session:next()))
    assert.equal(0, session:held())
    assert.is_true(session:hungry())
  end)
end)

-- --- an event's bytes ---------------------------------------------------------------------------------

describe("an event's bytes", function()
  -- A session that has just told of its first event, of this kind.
  local sources = {
    ["in what was fed"] = function(session) session:give(hex "81 05 48 65 6c 6c 6f 89 01 70") end,
    ["in the stash"] = function(session)
      session:give(hex "81 05 48 65 6c 6c 6f 89 01 70")
      session:stash()
    end,
    ["in the stash, the last there"] = function(session)
      session:give(hex "81 05 48 65 6c 6c 6f")
      session:stash()
    end,
    ["in a message of several pieces"] = function(session)
      session:feed(hex "01 03 48 65 6c")
      session:give(hex "80 02 6c 6f 89 01 70")
    end,
    ["in a control frame"] = function(session) session:give(hex "8a 05 48 65 6c 6c 6f") end,
    ["in a Close frame"] = function(session) session:give(hex "88 07 03 e8 48 65 6c 6c 6f 89 00") end,
  }
  for place, prepare in pairs(sources) do
    it("stay while the session is used otherwise: " .. place, function()
      for _, use in ipairs {
        function(session) session:send("text", ("x"):rep(100)) end,
        function(session) session:ping "x" end,
        function(session) session:output() end,
        function(session) session:close(1000, "reason") end,
        function(session) if session:hungry() then session:give "anything" end end,
        function(session) session:space(1, 100) end,
      } do
        local session = probe.session "client"
        prepare(session)
        assert.equal("Hello", session:next().data)
        use(session)
        assert.equal("Hello", session:data())
      end
    end)
  end
end)

-- --- direct -----------------------------------------------------------------------------------------

describe("receiving directly", function()
  local LENGTH = 10000

  local function started(role, piece)
    local session = probe.session(role)
    session:feed(frames.build { "binary", length = LENGTH, key = role == "server" and "\0\0\0\0" or nil } .. (piece or "0123"))
    return session
  end

  it("offers room for what is missing, and no more than was asked for", function()
    local session = started "server"
    local room = session:space(100, 500)
    assert.is_true(room >= 100 and room <= 500)
    session = started("server", ("x"):rep(LENGTH - 7))
    assert.equal(7, session:space(1, 500))
    assert.equal(3, session:space(7, 3))
    assert.is_nil(session:space(8, 500))
  end)

  it("takes at most twice the memory of what arrived, and what one read brings", function()
    local session = started "server"
    session:space(4096, 65536)
    assert.is_true(session:held() <= 4 + 4096)
    session:space(4096, 65536)
    assert.is_true(session:held() <= 4 + 4096)
  end)

  it("is not offered where the bytes must go through feed", function()
    local session = probe.session "server"
    assert.is_nil(session:space(1, 100)) -- between frames
    session:feed(hex "82 fe 01")
    assert.is_nil(session:space(1, 100)) -- in a header
    assert.is_nil(started("server", ""):space(1, 100)) -- nothing to continue
    session = probe.session "server"
    session:feed(arriving("server", { { "text", payload = "abc", fin = false } }))
    assert.is_nil(session:space(1, 100)) -- between fragments
    session:feed(frames.build { "ping", payload = ("x"):rep(50), key = helper.key }:sub(1, 20))
    assert.is_nil(session:space(1, 100)) -- in a ping
    session = started "server"
    session:close(1000)
    assert.is_nil(session:space(1, 100)) -- of no interest any more
    session = started "server"
    session:give "more"
    assert.is_nil(session:space(1, 100)) -- before what is fed
  end)

  it("is not offered when there is no memory, and feed still says so", function()
    local session = started("server", ("x"):rep(1024))
    probe.starve(0)
    local room = session:space(100, 100)
    probe.starve()
    assert.is_nil(room)
    assert.equal("open", session:state())
  end)

  it("unmasks, checks UTF-8 and goes on with the next frame", function()
    local text = ("ein Stück weiter, "):rep(200)
    local bytes = frames.build { "text", payload = text, key = helper.key }
    local session = probe.session "server"
    assert.same({}, session:feed(bytes:sub(1, 50)))
    local at = 51
    while at <= #bytes do
      local room = session:space(1, 333)
      session:filled(bytes:sub(at, at + room - 1))
      at = at + room
      if at <= #bytes then assert.is_nil(session:next()) end
    end
    assert.equal("text: " .. text, helper.word(session:next()))
    assert.same({ "text: x" }, helper.words(session:feed(frames.build { "text", payload = "x", key = helper.key })))

    session = started "client"
    session:feed("") -- still binary: anything goes
    session:filled "\xff"
    assert.is_nil(session:next())
    session = probe.session "client"
    session:feed(hex "01 7e 01 00 61")
    session:filled "b\xff"
    assert.equal("failure 1007: UTF8", helper.word(session:next()))
    assert.equal(0, session:held())
  end)

  it("may be stashed", function()
    local session = started("client", "01")
    session:filled "234"
    assert.is_true(session:stash())
    assert.is_nil(session:next())
    local events = session:feed(("x"):rep(LENGTH - 5))
    assert.equal("01234" .. ("x"):rep(LENGTH - 5), events[1].data)
  end)

  it("and then closed, forgets the message", function()
    local session = started "client"
    session:filled "4567"
    session:close(1000)
    assert.is_nil(session:next())
    assert.equal(0, session:held())
    assert.same({ "ping: " }, helper.words(session:feed(("x"):rep(LENGTH - 8) .. hex "89 00")))
  end)
end)
