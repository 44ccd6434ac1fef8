-- A session with whom permessage-deflate was agreed (RFC 7692): what it makes of compressed messages, and what it
-- sends. Judged by the RFC's own bytes, by blocks made by hand (spec/blocks.lua) and by Python's zlib (spec/judge.lua).

local blocks = require "spec.blocks"
local frames = require "spec.frames"
local helper = require "spec.session_helper"
local judge = require "spec.judge"
local probe = require "lunawire.probe"

local hex = frames.hex
local roles = { "server", "client" }
local MIB = 1024 * 1024
local RSV1 = 4

-- Every case below is tried for a server (which hears a client) and for a client.
local function eachRole(run)
  for _, role in ipairs(roles) do
    describe("by a " .. role, function() run(role) end)
  end
end

-- A frame of a compressed message; `more`: others follow.
local function squeezed(kind, payload, more)
  return { kind, payload = payload, fin = not more, rsv = kind ~= "continuation" and RSV1 or 0 }
end

local function part(kind, payload, more, rsv)
  return { kind, payload = payload, fin = not more, rsv = rsv }
end

-- Tells what these frames came to at the side of the given role, however they were cut.
local function tell(role, list, deflate, limits, before)
  limits = limits or {}
  limits.deflate = deflate == nil and {} or deflate
  return helper.everyWay { role = role, bytes = helper.arriving(role, list), limits = limits, before = before }
end

-- The one mistake in what was heard, and that the peer is told of it.
local function refused(told, code, why)
  assert.same({ ("failure %d: %s"):format(code, why) }, told.events)
  assert.equal("failed", told.state)
  assert.is_false(told.held)
  assert.equal(helper.goodbye(code, probe.err.text(why)), told.output)
end

after_each(function() probe.starve() end)

-- --- what is right ------------------------------------------------------------------------------

local HELLO = hex "f2 48 cd c9 c9 07 00"
local AGAIN = hex "f2 00 11 00 00" -- with the context of one that went before

local EXAMPLES = {
  -- what, frames of a server (unmasked), events
  { "7.2.3.1: one compressed block", { "c1 07 f2 48 cd c9 c9 07 00" }, { "text: Hello" } },
  { "7.2.3.1: the same in two frames", { "41 03 f2 48 cd", "80 04 c9 c9 07 00" }, { "text: Hello" } },
  { "7.2.3.2: a second with the context of the first", { "c1 07 f2 48 cd c9 c9 07 00", "c1 05 f2 00 11 00 00" },
    { "text: Hello", "text: Hello" } },
  { "7.2.3.2: the same twice, without", { "c1 07 f2 48 cd c9 c9 07 00", "c1 07 f2 48 cd c9 c9 07 00" },
    { "text: Hello", "text: Hello" } },
  { "7.2.3.3: a stored block", { "c1 0b 00 05 00 fa ff 48 65 6c 6c 6f 00" }, { "text: Hello" } },
  { "7.2.3.4: a final block", { "c1 08 f3 48 cd c9 c9 07 00 00" }, { "text: Hello" } },
  { "7.2.3.5: two blocks", { "c1 0d f2 48 05 00 00 00 ff ff ca c9 c9 07 00" }, { "text: Hello" } },
  { "7.2.3.6: an empty message", { "c1 01 00" }, { "text: " } },
}

describe("the RFC's own examples (7.2.3), heard", function()
  eachRole(function(role)
    for _, example in ipairs(EXAMPLES) do
      it(example[1], function()
        local list = {}
        for i, bytes in ipairs(example[2]) do list[i] = hex(bytes) end
        local told = tell(role, list)
        assert.same(example[3], told.events)
        assert.equal("", told.output)
        assert.equal("open", told.state)
        assert.is_true(told.between)
        assert.is_false(told.held)
      end)
    end
  end)
end)

describe("the RFC's own examples (7.2.3), sent", function()
  local function sent(role, deflate, messages, fragment_size)
    local session = probe.session(role, { deflate = deflate, fragmentSize = fragment_size })
    for _, text in ipairs(messages) do assert.is_true(session:send("text", text)) end
    return frames.dump(helper.output(session, role))
  end

  eachRole(function(role)
    it("7.2.3.1, in one frame and in two", function()
      assert.equal("c1 07 f2 48 cd c9 c9 07 00", sent(role, {}, { "Hello" }))
      assert.equal("41 04 f2 48 cd c9 80 03 c9 07 00", sent(role, {}, { "Hello" }, 4))
    end)

    it("7.2.3.2, with takeover and without", function()
      assert.equal("c1 07 f2 48 cd c9 c9 07 00 c1 05 f2 00 11 00 00", sent(role, {}, { "Hello", "Hello" }))
      assert.equal("c1 07 f2 48 cd c9 c9 07 00 c1 07 f2 48 cd c9 c9 07 00",
        sent(role, { ourFresh = true }, { "Hello", "Hello" }))
      -- what the other side may do is no matter of ours
      assert.equal("c1 07 f2 48 cd c9 c9 07 00 c1 05 f2 00 11 00 00", sent(role, { theirFresh = true }, { "Hello", "Hello" }))
    end)

    it("7.2.3.3, with level 0", function()
      assert.equal("c1 0b 00 05 00 fa ff 48 65 6c 6c 6f 00", sent(role, { level = 0 }, { "Hello" }))
    end)

    it("7.2.3.6, and it disturbs no context", function()
      assert.equal("c1 07 f2 48 cd c9 c9 07 00 c1 01 00 c1 05 f2 00 11 00 00", sent(role, {}, { "Hello", "", "Hello" }))
    end)
  end)
end)

describe("a compressed message, heard", function()
  local function stored(text) return blocks.new():stored(text):payload() end

  eachRole(function(role)
    it("may be binary, and anything then", function()
      local data = "\0\xff\xfe\x80" .. ("\xc3"):rep(10)
      assert.same({ "binary: " .. data }, tell(role, { squeezed("binary", stored(data)) }).events)
    end)

    it("keeps the kind of its first frame", function()
      local payload = stored "\xffx"
      local told = tell(role, { squeezed("binary", payload:sub(1, 3), true), squeezed("continuation", payload:sub(4)) })
      assert.same({ "binary: \xffx" }, told.events)
    end)

    it("may be in fragments cut anywhere, empty ones too, with pings between them", function()
      local payload = blocks.new():fixed { "He", "llo, ", { 7, 7 }, "!" }:payload()
      for at = 0, #payload do
        local told = tell(role, {
          squeezed("text", payload:sub(1, at), true), part("ping", "a"), part("continuation", "", true),
          part("pong", "b"), part("continuation", payload:sub(at + 1), true), part("continuation", ""),
        })
        assert.same({ "ping: a", "pong: b", "text: Hello, Hello, !" }, told.events)
        assert.equal(hex "8a 01" .. "a", told.output)
      end
    end)

    it("may be empty in every form", function()
      local empty = {
        { squeezed("text", "\0") }, { squeezed("text", "") },
        { squeezed("text", hex "02 00") }, { squeezed("text", hex "03 00") },
        { squeezed("text", hex "01 00 00 ff ff 00") }, { squeezed("text", hex "00 00 00 ff ff 00") },
        { squeezed("text", "\0", true), part("continuation", "") }, { squeezed("text", "", true), part("continuation", "\0") },
        { squeezed("text", "", true), part("continuation", "") }, { squeezed("text", "", true), part("continuation", "", true),
          part("continuation", "") }, { part("text", "") }, { part("text", "", true), part("continuation", "") },
      }
      for _, list in ipairs(empty) do
        -- between two others: the context stays, whatever the form
        table.insert(list, 1, squeezed("text", HELLO))
        list[#list + 1] = squeezed("text", AGAIN)
        assert.same({ "text: Hello", "text: ", "text: Hello" }, tell(role, list).events)
      end
    end)

    it("leaves its context alone while others go uncompressed", function()
      local told = tell(role, {
        squeezed("text", HELLO), part("text", "plain"), part("binary", "in ", true), part("continuation", "two"),
        squeezed("text", AGAIN), part("text", ""), squeezed("binary", AGAIN),
      })
      assert.same({ "text: Hello", "text: plain", "binary: in two", "text: Hello", "text: ", "binary: Hello" }, told.events)
    end)

    it("may be of stored and other blocks, in any order, final or not", function()
      local payload = blocks.new():stored "abc":fixed({ { 3, 3 } }, true):pad():fixed { "d" }:stored("e", true):stored ""
        :fixed { { 4, 8 } }:payload()
      assert.same({ "text: abcabcdeabca" }, tell(role, { squeezed("text", payload) }).events)
      payload = blocks.new():stored("Hello", true):bytes() -- it ends with the final block, and nothing behind
      assert.same({ "text: Hello", "text: Hello" }, tell(role, { squeezed("text", payload), squeezed("text", AGAIN) }).events)
    end)

    it("goes before and after others without a gap, each from a context of its own", function()
      local told = tell(role, { squeezed("text", HELLO), squeezed("text", HELLO), squeezed("binary", HELLO) },
        { theirFresh = true })
      assert.same({ "text: Hello", "text: Hello", "binary: Hello" }, told.events)
    end)

    it("may refer back as far as the window, over all messages before", function()
      local text = {}
      for i = 1, 512 / 8 do text[i] = ("%07d;"):format(i) end
      text = table.concat(text)
      local back = blocks.new():fixed { { 8, 512 } }:payload()
      for _, bits in ipairs { 9, 12, 15 } do
        local told = tell(role, { squeezed("text", stored(text:sub(1, 300))), squeezed("text", stored(text:sub(301))),
          squeezed("text", back) }, { theirBits = bits })
        assert.same({ "text: " .. text:sub(1, 300), "text: " .. text:sub(301), "text: 0000001;" }, told.events)
      end
    end)

    it("keeps no memory behind, and zlib's only where a context must be kept", function()
      for _, fresh in ipairs { true, false } do
        local session = probe.session(role, { deflate = { theirFresh = fresh } })
        local list = helper.arriving(role, { squeezed("text", blocks.zeros(100)) })
        assert.equal(1 + 2064 * 100, #session:feed(list)[1].data)
        local held, zlib = session:held()
        assert.equal(0, held)
        assert.is_true(zlib > 0 and zlib < 48 * 1024, zlib) -- lent, or on the shelf
      end
    end)

    it("gives its contexts to the next session when it ends", function()
      local session, most = probe.session(role, { deflate = {} }), nil
      for _ = 1, 10 do
        session:feed(helper.arriving(role, { squeezed("text", HELLO), squeezed("text", HELLO:sub(1, 3), true) }))
        session:send("text", "Hello")
        local _, zlib = session:held()
        most = most or zlib
        assert.equal(most, zlib)
        session:again()
      end
    end)

    it("is whole when the next event is asked for, whatever is sent meanwhile", function()
      for _, size in ipairs { 10, 5000, 65535, 65536, 65537, 200000 } do
        local session = probe.session(role, { deflate = {} })
        local text = ("0123456789abcdef"):rep(math.ceil(size / 16)):sub(1, size)
        local payload = blocks.new():storedAll(text):payload()
        session:give(helper.arriving(role, { squeezed("text", payload), squeezed("text", HELLO) }))
        local event = session:next()
        assert.is_true(event.data == text)
        session:send("text", ("a b c "):rep(20000))
        session:ping "x"
        session:stash()
        assert.is_true(session:data() == text, size)
        assert.equal("Hello", session:next().data)
        assert.is_nil(session:next())
      end
    end)

    it("is received by pieces, not into the message itself", function()
      local session = probe.session(role, { deflate = {} })
      local bytes = helper.arriving(role, { squeezed("text", stored(("x"):rep(5000)), true) })
      session:feed(bytes:sub(1, 3000))
      assert.is_nil(session:space(1, 1000))
    end)

    it("in several MiB, from blocks by hand", function()
      local block = "a block whose length is no power of two, but a multiple of four."
      local data = block:rep(50000) -- 3.2 MB
      local payload = blocks.new():storedAll(data):payload()
      for _, list in ipairs { { squeezed("text", payload) },
        { squeezed("text", payload:sub(1, 1000001), true), squeezed("continuation", payload:sub(1000002)) } } do
        local bytes = helper.arriving(role, list)
        for _, size in ipairs { #bytes, 65536, 16411 } do
          for _, how in ipairs { "plain", "stashed", "direct" } do
            local session, heard = probe.session(role, { deflate = {} }), {}
            for at = 1, #bytes, size do
              for _, event in ipairs(session:feed(bytes:sub(at, at + size - 1), how)) do heard[#heard + 1] = event end
            end
            assert.equal(1, #heard)
            assert.is_true(heard[1].data == data, ("%s, by %d"):format(how, size))
          end
        end
      end
    end)
  end)
end)

-- --- RSV ----------------------------------------------------------------------------------------

describe("reserved bits", function()
  local AGREED = {
    { "RSV2", { part("text", "x", false, 2) } },
    { "RSV3", { part("text", "x", false, 1) } },
    { "RSV1 and RSV2", { part("text", HELLO, false, 6) } },
    { "RSV1 and RSV3", { part("binary", HELLO, false, 5) } },
    { "RSV2 on a first fragment", { part("text", HELLO, true, 2) } },
    { "RSV1 on a continuation of a compressed message", { squeezed("text", HELLO:sub(1, 3), true), part("continuation",
      HELLO:sub(4), false, RSV1) } },
    { "RSV1 on a continuation of a message that is not", { part("text", "x", true), part("continuation", HELLO, false, RSV1) } },
    { "RSV1 on an empty continuation", { squeezed("text", "", true), part("continuation", "", true, RSV1) } },
    { "RSV1 on a continuation of nothing", { part("continuation", HELLO, false, RSV1) } },
    { "RSV3 on a continuation", { squeezed("text", HELLO, true), part("continuation", "", false, 1) } },
    { "RSV1 on a ping", { part("ping", HELLO, false, RSV1) } },
    { "RSV1 on an empty ping", { part("ping", "", false, RSV1) } },
    { "RSV1 on a pong", { part("pong", HELLO, false, RSV1) } },
    { "RSV1 on a Close", { part("close", frames.closing(1000), false, RSV1) } },
    { "RSV1 on a ping between the fragments of a compressed message", { squeezed("text", HELLO, true),
      part("ping", "", false, RSV1) } },
    { "RSV2 on a ping", { part("ping", "", false, 2) } },
  }
  local NOTHING = {
    { "RSV1 on a text", { part("text", HELLO, false, RSV1) } },
    { "RSV1 on an empty binary", { part("binary", "", false, RSV1) } },
    { "RSV1 on a first fragment", { part("binary", HELLO, true, RSV1) } },
    { "RSV1 on a continuation", { part("text", "x", true), part("continuation", "y", false, RSV1) } },
    { "RSV1 on a ping", { part("ping", "", false, RSV1) } },
    { "RSV1 on a Close", { part("close", "", false, RSV1) } },
  }

  eachRole(function(role)
    for _, case in ipairs(AGREED) do
      it("that mean nothing are refused: " .. case[1], function() refused(tell(role, case[2]), 1002, "RSV") end)
    end

    for _, case in ipairs(NOTHING) do
      it("are refused where nothing was agreed: " .. case[1], function()
        refused(tell(role, case[2], false), 1002, "RSV")
      end)
    end

    it("are refused behind messages that were right, which are delivered", function()
      local told = tell(role, { squeezed("text", HELLO), part("ping", "p"), part("continuation", "", false, RSV1) })
      assert.same({ "text: Hello", "ping: p", "failure 1002: RSV" }, told.events)
    end)

    it("allow no message within another", function()
      refused(tell(role, { squeezed("text", HELLO:sub(1, 2), true), squeezed("text", HELLO) }), 1002, "INTERLEAVED")
      refused(tell(role, { squeezed("text", HELLO:sub(1, 2), true), part("text", "x") }), 1002, "INTERLEAVED")
      refused(tell(role, { part("text", "x", true), squeezed("text", HELLO) }), 1002, "INTERLEAVED")
    end)
  end)
end)

-- --- what is wrong ------------------------------------------------------------------------------

-- The same payload as one frame, and in two, whose first has `at` bytes.
local function inTwo(kind, payload, at)
  return { squeezed(kind, payload:sub(1, at), true), squeezed("continuation", payload:sub(at + 1)) }
end

describe("compressed data that is wrong", function()
  local far = { theirFresh = true }
  local near = {}
  for i = 1, 300 do near[i] = string.char(65 + i % 23) end
  near = table.concat(near):rep(5)
  local CASES = {
    { "garbage", "DATA", hex "ff ff ff ff" },
    { "the reserved kind of block", "DATA", hex "07 00" },
    { "a stored block whose length and its complement differ", "DATA", blocks.new():stored("Hello", false, 5):bytes() .. "\0" },
    { "a code that stands for no length", "DATA", hex "1b 03 00" },
    { "a text that was not compressed", "DATA", "Hello, World! This was not compressed." },
    { "a gzip header", "DATA", hex "1f 8b 08 00 00 00 00 00 00 03 f2 48 cd c9 c9 07 00" },
    { "a back-reference to nothing", "DATA", blocks.new():fixed { { 3, 1 } }:payload() },
    { "a back-reference past what there is", "DATA", blocks.new():fixed { "abc", { 3, 4 } }:payload() },
    { "a back-reference past the window", "DATA", blocks.new():stored(near):fixed { { 3, 1200 } }:payload(),
      { theirBits = 9 } },
    { "the second Hello of 7.2.3.2, its context not known", "DATA", AGAIN },
    { "cut in the header of a block", "CUT", hex "f2 48 cd c9 c9 07" },
    { "cut in a block", "CUT", hex "f2 48 cd c9" },
    { "cut in a stored block", "CUT", hex "00 05 00 fa ff 48 65 6c" },
    { "cut in a stored block's length", "CUT", hex "00 05 00" },
    { "cut before the end of its last stored block is told", "CUT", hex "00 05 00 fa ff 48 65 6c 6c 6f" },
    { "four bytes of its end left in", "CUT", HELLO .. hex "00 00 ff ff" },
    { "bytes behind the final block that are no block", "TRAILING", hex "f3 48 cd c9 c9 07 00 ff ff ff" },
    { "half a block behind the final block", "TRAILING", hex "f3 48 cd c9 c9 07 00 f2 48" },
    { "a back-reference past what there is behind the final block", "TRAILING",
      blocks.new():fixed({ "abc" }, true):pad():fixed { { 3, 4 } }:payload() },
  }

  eachRole(function(role)
    for _, case in ipairs(CASES) do
      local name, why, payload, deflate = case[1], "DEFLATE_" .. case[2], case[3], case[4]
      it(("is refused, and nothing of it delivered: %s"):format(name), function()
        for _, kind in ipairs { "binary", "text" } do
          refused(tell(role, { squeezed(kind, payload) }, deflate), 1007, why)
          refused(tell(role, { squeezed(kind, payload), part("text", "unheard") }, deflate), 1007, why)
        end
        for at = 0, math.min(#payload, 12) do refused(tell(role, inTwo("binary", payload, at), deflate), 1007, why) end
      end)
    end

    it("is refused behind messages that were right", function()
      local told = tell(role, { squeezed("text", HELLO), part("text", "plain"), squeezed("text", hex "ff ff"),
        part("text", "no") })
      assert.same({ "text: Hello", "text: plain", "failure 1007: DEFLATE_DATA" }, told.events)
    end)

    it("is refused where a context was not to be taken over", function()
      local told = tell(role, { squeezed("text", HELLO), squeezed("text", AGAIN) }, far)
      assert.same({ "text: Hello", "failure 1007: DEFLATE_DATA" }, told.events)
    end)

    it("is refused at the byte that shows it, the message unfinished", function()
      local session = probe.session(role, { deflate = {} })
      local bytes = helper.arriving(role, { { "binary", payload = hex "07" .. ("x"):rep(1000), rsv = RSV1, fin = false } })
      local header = role == "server" and 8 or 4
      assert.same({}, helper.words(session:feed(bytes:sub(1, header))))
      assert.same({ "failure 1007: DEFLATE_DATA" }, helper.words(session:feed(bytes:sub(header + 1, header + 1))))
      assert.same({}, session:feed(bytes:sub(header + 2)))
    end)
  end)
end)

describe("text in a compressed message", function()
  local function stored(text) return blocks.new():stored(text):payload() end
  local function fixed(text) return blocks.new():fixed { text }:payload() end

  local WRONG = { "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "abc\xc3", "\xe2\x82",
    "\xf0\x9f\x98", "ab\xc3(" }

  eachRole(function(role)
    it("must be UTF-8, in all kinds of blocks", function()
      for _, text in ipairs(WRONG) do
        refused(tell(role, { squeezed("text", stored(text)) }), 1007, "UTF8")
        refused(tell(role, { squeezed("text", fixed(text)) }), 1007, "UTF8")
        refused(tell(role, { squeezed("text", blocks.new():stored(text, true):bytes()) }), 1007, "UTF8")
        assert.same({ "binary: " .. text }, tell(role, { squeezed("binary", fixed(text)) }).events)
      end
    end)

    it("may have its characters split over blocks and fragments", function()
      local text = "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80!"
      for at = 1, #text - 1 do
        for final = 0, 1 do
          local first = blocks.new():stored(text:sub(1, at), final == 1):bytes()
          local second = fixed(text:sub(at + 1))
          assert.same({ "text: " .. text }, tell(role, { squeezed("text", first .. second) }).events)
          local told = tell(role, { squeezed("text", first, true), part("ping", ""), squeezed("continuation", second) })
          assert.same({ "ping: ", "text: " .. text }, told.events)
        end
      end
      local payload = fixed(text)
      for at = 0, #payload do assert.same({ "text: " .. text }, tell(role, inTwo("text", payload, at)).events) end
    end)

    it("is refused as soon as the offending byte is here", function()
      -- blocks of stored bytes: what comes out is known byte by byte
      local head = role == "server" and 8 or 4
      for _, case in ipairs { { "ok\xff", 3 }, { "ok\xc3(", 4 }, { "\xed\xa0", 2 }, { "\xf4\x90", 2 } } do
        local text = case[1] .. ("x"):rep(300)
        local bytes = helper.arriving(role, { squeezed("text", stored(text), true) })
        local session, at = probe.session(role, { deflate = {} }), head + 5 + case[2]
        assert.same({}, helper.words(session:feed(bytes:sub(1, at - 1))), case[1])
        assert.same({ "failure 1007: UTF8" }, helper.words(session:feed(bytes:sub(at, at))), case[1])
      end
    end)

    it("is judged before what is wrong behind it, however it is cut", function()
      refused(tell(role, { squeezed("text", blocks.new():stored("\xff"):bytes() .. hex "07") }), 1007, "UTF8")
      refused(tell(role, { squeezed("text", blocks.new():stored("\xc3"):bytes() .. hex "07") }), 1007, "DEFLATE_DATA")
      refused(tell(role, { squeezed("text", stored "12345\xff") }, {}, { maxPayload = 5 }), 1009, "PAYLOAD")
      refused(tell(role, { squeezed("text", stored "1234\xff6") }, {}, { maxPayload = 5 }), 1007, "UTF8")
    end)

    it("begins anew with each message", function()
      local told = tell(role, { squeezed("binary", stored "\xc3"), squeezed("text", stored "\xa9") })
      assert.same({ "binary: \xc3", "failure 1007: UTF8" }, told.events)
      told = tell(role, { squeezed("text", stored "\xc3\xa9"), squeezed("text", "\0") })
      assert.same({ "text: \xc3\xa9", "text: " }, told.events)
    end)

    it("is taken unchanged: U+0000, U+FFFF, U+10FFFF, a BOM", function()
      local text = "\xef\xbb\xbf\0\xef\xbf\xbf\xf4\x8f\xbf\xbf"
      assert.same({ "text: " .. text }, tell(role, { squeezed("text", stored(text)) }).events)
    end)
  end)
end)

-- --- limits -------------------------------------------------------------------------------------

describe("maxPayload, of a compressed message", function()
  local function text(n) return ("0123456789"):rep(math.ceil(n / 10)):sub(1, n) end
  local function forms(data)
    local repeats = { data:sub(1, 10) }
    for at = 11, #data, 258 do
      local n = math.min(258, #data - at + 1)
      repeats[#repeats + 1] = n < 3 and data:sub(at) or { n, 10 }
    end
    return {
      blocks.new():storedAll(data):payload(), blocks.new():fixed(repeats):payload(), blocks.new():fixed(repeats, true):bytes(),
    }
  end

  eachRole(function(role)
    for _, limit in ipairs { 1, 10, 100, 1023, 4095, 4096, 4097 } do
      it(("counts what comes out: %d bytes"):format(limit), function()
        for _, n in ipairs { limit - 1, limit, limit + 1 } do
          local data = text(n)
          for _, payload in ipairs(n > 0 and forms(data) or { "\0" }) do
            local told = tell(role, { squeezed("text", payload) }, {}, { maxPayload = limit })
            if n <= limit then assert.same({ "text: " .. data }, told.events) else refused(told, 1009, "PAYLOAD") end
            told = tell(role, inTwo("binary", payload, #payload // 2), {}, { maxPayload = limit })
            if n <= limit then assert.same({ "binary: " .. data }, told.events) else refused(told, 1009, "PAYLOAD") end
          end
        end
      end)
    end

    it("counts each message from anew", function()
      local list = {}
      for i = 1, 5 do list[i] = squeezed("text", blocks.new():stored(text(10)):payload()) end
      assert.equal(5, #tell(role, list, {}, { maxPayload = 10 }).events)
      list[6] = squeezed("text", blocks.new():stored(text(11)):payload())
      assert.equal("failure 1009: PAYLOAD", tell(role, list, {}, { maxPayload = 10 }).events[6])
    end)

    it("counts the bytes in frames from anew, too", function()
      local session = probe.session(role, { maxPayload = 100, deflate = {} })
      for _, list in ipairs { { squeezed("binary", blocks.new():stored(text(100)):payload()) },
        inTwo("binary", blocks.new():stored(text(100)):payload(), 50) } do
        local bytes = helper.arriving(role, list)
        for _ = 1, 100 do assert.same({ "binary: " .. text(100) }, helper.words(session:feed(bytes))) end
      end
    end)

    for _, limit in ipairs { 65535, 65536, 65537, 131072, 200000 } do
      it(("is met exactly by what cannot be compressed, in frames longer than it: %d bytes"):format(limit), function()
        math.randomseed(limit)
        local data = {}
        for i = 1, limit + 1 do data[i] = string.char(math.random(0, 255)) end
        data = table.concat(data)
        for extra = -1, 1 do
          local n = limit + extra
          local payload = blocks.new():storedAll(data:sub(1, n)):payload()
          for _, list in ipairs { { squeezed("binary", payload) }, inTwo("binary", payload, 70) } do
            local bytes = helper.arriving(role, list)
            for _, size in ipairs { #bytes, 65536, 1000 } do
              local session, heard = probe.session(role, { maxPayload = limit, deflate = {} }), {}
              for at = 1, #bytes, size do
                for _, event in ipairs(session:feed(bytes:sub(at, at + size - 1))) do heard[#heard + 1] = event end
              end
              assert.equal(1, #heard)
              if extra <= 0 then assert.is_true(heard[1].data == data:sub(1, n))
              else assert.equal("failure 1009: PAYLOAD", helper.word(heard[1])) end
            end
          end
        end
      end)
    end

    it("refuses at its header a frame that no message of that length fills", function()
      for _, limit in ipairs { 1, 1000, MIB } do
        local most = limit + limit // 8 + 1024 + 16
        for length, good in pairs { [most] = true, [most + 1] = false, [2 ^ 40] = false, [2 ^ 62] = false } do
          local key = role == "server" and helper.key or nil
          local head = frames.build { "binary", rsv = RSV1, length = length, payload = "", key = key }
          local session = probe.session(role, { maxPayload = limit, deflate = {} })
          local heard = session:feed(head)
          if good then assert.same({}, heard)
          else assert.same({ "failure 1009: PAYLOAD" }, helper.words(heard)) end
          assert.equal(0, (session:held()))
        end
      end
    end)

    it("is met exactly by small fragments, each flushed by who sends it", function()
      for extra = 0, 1 do
        local list, all = {}, {}
        for i = 1, 1000 do
          all[i] = ("%04d"):format(i)
          if i == 1000 and extra == 1 then all[i] = all[i] .. "!" end
          -- 14 bytes for four; of the last flush, four are left out
          local payload = blocks.new():stored(all[i]):stored(""):bytes()
          list[i] = squeezed(i == 1 and "text" or "continuation", i == 1000 and payload:sub(1, -5) or payload, i < 1000)
        end
        local session = probe.session(role, { maxPayload = 4000, deflate = {} })
        local heard = helper.words(session:feed(helper.arriving(role, list)))
        assert.same({ extra == 0 and "text: " .. table.concat(all) or "failure 1009: PAYLOAD" }, heard)
      end
    end)

    it("refuses fragments without end that say nothing", function()
      local session, count = probe.session(role, { maxPayload = 100, maxFragments = 500, deflate = {} }), 0
      local empty = hex "00 00 00 ff ff"
      local heard = session:feed(helper.arriving(role, { squeezed("binary", empty, true) }))
      while #heard == 0 and count < 1000 do
        heard = session:feed(helper.arriving(role, { squeezed("continuation", empty, true) }))
        count = count + 1
      end
      assert.same({ "failure 1008: FRAGMENTS" }, helper.words(heard))
      -- ... and longer ones much sooner
      session, count = probe.session(role, { maxPayload = 100, deflate = {} }), 0
      heard = session:feed(helper.arriving(role, { squeezed("binary", empty:rep(10), true) }))
      while #heard == 0 and count < 100 do
        heard = session:feed(helper.arriving(role, { squeezed("continuation", empty:rep(10), true) }))
        count = count + 1
      end
      assert.same({ "failure 1009: PAYLOAD" }, helper.words(heard))
    end)
  end)

  it("counts fragments, too: maxFragments", function()
    for _, role in ipairs(roles) do
      local payload = blocks.new():stored "Hello":payload()
      local function list(n)
        local all = {}
        for i = 1, n do all[i] = squeezed(i == 1 and "text" or "continuation", payload:sub(i, i == n and -1 or i), i < n) end
        return all
      end
      assert.same({ "text: Hello" }, tell(role, list(5), {}, { maxFragments = 5 }).events)
      refused(tell(role, list(6), {}, { maxFragments = 5 }), 1008, "FRAGMENTS")
    end
  end)
end)

describe("a bomb", function()
  eachRole(function(role)
    for _, limit in ipairs { 1000, 65536, MIB, 3 * MIB + 5 } do
      it(("stops at maxPayload, and holds little more: %d"):format(limit), function()
        local bomb = blocks.zeros(4000) -- 8 MiB in 52 KB
        for _, list in ipairs { { squeezed("binary", bomb) }, inTwo("binary", bomb, 3) } do
          local bytes = helper.arriving(role, list)
          for _, size in ipairs { 64, 4096, #bytes } do
            local session, heard, most = probe.session(role, { maxPayload = limit, deflate = {} }), {}, 0
            for at = 1, #bytes, size do
              session:give(bytes:sub(at, at + size - 1))
              for event in function() return session:next() end do heard[#heard + 1] = helper.word(event) end
              local held, zlib = session:held()
              most = math.max(most, held + zlib)
            end
            assert.same({ "failure 1009: PAYLOAD" }, heard)
            assert.is_true(most <= limit + 64 * 1024, most)
            assert.is_true(size > 64 or limit < 65536 or most >= limit, most) -- or this shows nothing
            assert.equal(0, (session:held()))
          end
        end
      end)
    end

    it("of the length that is allowed is a message", function()
      local n, bytes = 1 + 2064 * 508, helper.arriving(role, { squeezed("binary", blocks.zeros(508)) })
      local told = probe.session(role, { maxPayload = n, deflate = {} }):feed(bytes)
      assert.is_true(told[1].data == ("\0"):rep(n))
      told = probe.session(role, { maxPayload = n - 1, deflate = {} }):feed(bytes)
      assert.same({ "failure 1009: PAYLOAD" }, helper.words(told))
    end)

    it("holds nothing when little has come out, whatever was announced", function()
      local session = probe.session(role, { maxPayload = 16 * MIB, deflate = {} })
      local head = helper.arriving(role, { { "binary", rsv = RSV1, fin = false, payload = "\0" .. ("x"):rep(99999) } })
      session:feed(head:sub(1, 20))
      assert.is_true((session:held()) <= 4096)
    end)
  end)
end)

-- --- closing ------------------------------------------------------------------------------------

describe("a compressed message while we are closing", function()
  eachRole(function(role)
    it("is skipped, whatever is in it, up to the peer's Close", function()
      local function close(session) session:close(1000, "bye") end
      for _, payload in ipairs { HELLO, hex "ff ff ff", "", blocks.zeros(3), ("x"):rep(5000) } do
        local told = tell(role, { squeezed("text", payload), inTwo("text", payload, 1)[1], part("ping", "p"),
          inTwo("text", payload, 1)[2], part("close", frames.closing(1000)) }, {}, { maxPayload = 100 }, close)
        assert.same({ "ping: p", "close 1000: " }, told.events)
        assert.equal("closed", told.state)
        assert.is_false(told.held)
      end
    end)

    it("is skipped from the middle on", function()
      local payload = blocks.zeros(40)
      for _, at in ipairs { 0, 1, 10, 300, #payload } do
        for _, whole in ipairs { true, false } do
          local session = probe.session(role, { deflate = {} })
          local list = whole and { squeezed("binary", payload) } or inTwo("binary", payload, at)
          local bytes = helper.arriving(role, list)
          local cut = math.min(at + 4, #bytes - 1)
          local heard = session:feed(bytes:sub(1, cut))
          assert.same({}, heard)
          session:close(1000)
          heard = session:feed(bytes:sub(cut + 1) .. helper.arriving(role, { squeezed("text", "\xff"), part("close", "") }))
          assert.same({ "close 1005: " }, helper.words(heard))
          assert.equal(0, (session:held()))
        end
      end
    end)

    it("is not heard behind the peer's Close, nor behind a failure", function()
      local told = tell(role, { part("close", frames.closing(1000)), squeezed("text", HELLO) })
      assert.same({ "close 1000: " }, told.events)
      told = tell(role, { squeezed("text", "\xff\xff"), squeezed("text", HELLO) })
      assert.same({ "failure 1007: DEFLATE_DATA" }, told.events)
    end)

    it("is cut by a Close between its fragments", function()
      local told = tell(role, { squeezed("text", HELLO, true), part("close", frames.closing(4000, "bye")) })
      assert.same({ "close 4000: bye" }, told.events)
      assert.is_false(told.held)
    end)
  end)
end)

-- --- memory that runs out -----------------------------------------------------------------------

describe("a session with permessage-deflate that", function()
  for name, ending in pairs {
    ["closes"] = function(session) session:close(1000) end,
    ["is closed"] = function(session, role)
      session:feed(helper.arriving(role, { { "close", payload = frames.closing(1000) } }))
    end,
    ["fails"] = function(session, role) session:feed(helper.arriving(role, { { 3, payload = "" } })) end,
  } do
    it(name .. " gives its contexts back", function()
      for _, role in ipairs { "server", "client" } do
        local session = probe.session(role, { deflate = {} })
        session:send("text", ("out "):rep(100))
        session:feed(helper.arriving(role, { { "text", rsv = 4, payload = frames.hex "f2 48 cd c9 c9 07 00" } }))
        assert.equal(0, (select(3, session:held())))
        ending(session, role)
        assert.equal(2, (select(3, session:held())))
      end
    end)
  end
end)

describe("without memory", function()
  eachRole(function(role)
    for name, list in pairs {
      ["in one frame"] = { squeezed("binary", blocks.zeros(1)) },
      ["in one long frame"] = { squeezed("binary", blocks.zeros(200)) },
      ["in fragments"] = inTwo("binary", blocks.zeros(200), 7),
    } do
      it("a message fails the session, or is whole: " .. name, function()
        local failures, n = 0, 0
        repeat
          local session = probe.session(role, { deflate = {} })
          session:give(helper.arriving(role, list))
          probe.starve(n)
          local event = session:next()
          probe.starve()
          local heard = event and helper.word(event)
          n = n + 1
          if heard == "failure 1011: MEMORY" then
            failures = failures + 1
            assert.equal("failed", session:state())
            assert.equal(0, (session:held()))
          else
            assert.matches("^binary: %z+$", heard)
          end
        until heard ~= "failure 1011: MEMORY"
        -- the space all share (or the message's own), and zlib's three blocks
        assert.is_true(failures >= 4 and failures < 30, failures)
      end)
    end

    it("there is no session that compresses, and that is said", function()
      probe.starve(0)
      local ok, why = pcall(probe.session, role, { deflate = {} })
      probe.starve()
      assert.is_false(ok)
      assert.matches("no memory", why)
    end)

    -- A message for which there is not enough, between two others, the latter the same again.
    local function starved(n, data)
      local session = probe.session(role, { deflate = {} })
      session:send("binary", "before " .. data:sub(1, 100))
      local before = session:output()
      probe.starve(n)
      local ok, why = session:send("binary", data)
      probe.starve()
      session:send("binary", data)
      return ok, why, frames.parse(before .. session:output())
    end

    it("a message goes as it is, or not at all, and what follows can be read #foreign", function()
      math.randomseed(5)
      local noise = {}
      for i = 1, 20000 do noise[i] = string.char(math.random(0, 255)) end
      -- what comes to little, and what is still more than a queue has room for when it is compressed
      for _, data in ipairs { ("Hello, Hello, Hello! "):rep(4000), table.concat(noise) } do
        local streams, results, n = {}, {}, 0
        repeat
          local ok, why, list = starved(n, data)
          assert.equal(ok and "nil" or "MEMORY", tostring(why))
          n = n + 1
          streams[n], results[n] = { {}, list }, ok or false
        until n == 20
        local failed, plain = 0, 0
        for i, list in ipairs(judge.readAll(streams)) do
          assert.equal(results[i] and 3 or 2, #list)
          for nth = 2, #list do assert.is_true(list[nth].data == data, ("%d, message %d"):format(i - 1, nth)) end
          if not results[i] then failed = failed + 1
          elseif not list[2].squeezed then plain = plain + 1 end
        end
        assert.is_true(failed > 0 and results[20] and plain + failed < 19, failed)
      end
    end)

    it("a first message goes as it is when there is none for zlib #foreign", function()
      local session = probe.session(role, { deflate = {} })
      local data = ("abc "):rep(50)
      session:send("text", "x", false) -- whose cork has room
      for n = 0, 3 do
        probe.starve(n)
        assert.is_true(session:send("text", data))
        probe.starve()
      end
      session:send("text", data)
      local list = judge.read({}, frames.parse(session:output()))
      assert.equal(6, #list)
      for i = 2, 6 do assert.equal(data, list[i].data) end
      assert.same({ false, true }, { list[2].squeezed, list[6].squeezed })
    end)
  end)
end)

-- --- sending ------------------------------------------------------------------------------------

describe("what a session with permessage-deflate sends", function()
  eachRole(function(role)
    it("is compressed from the threshold on, where it is wanted, and while it is open", function()
      local session = probe.session(role, { deflate = { threshold = 10 } })
      session:send("text", ("a"):rep(9))
      session:send("text", ("a"):rep(10))
      session:send("binary", ("a"):rep(50), false)
      session:send("binary", ("a"):rep(50), true)
      session:ping(("p"):rep(100))
      session:close(1000, ("c"):rep(100))
      assert.same({ n = 2, nil, "CLOSED" }, table.pack(session:send("text", ("a"):rep(50))))
      local list = {}
      for i, frame in ipairs(frames.parse(session:output())) do
        list[i] = ("%d %d %s"):format(frame.opcode, frame.rsv, #frame.payload < 9 and "short" or "long")
      end
      assert.same({ "1 0 long", "1 4 short", "2 0 long", "2 4 short", "9 0 long", "8 0 long" }, list)
    end)

    it("is nothing with RSV where nothing was agreed", function()
      local session = probe.session(role)
      session:send("text", ("a"):rep(5000), true)
      assert.equal(0, frames.parse(session:output())[1].rsv)
    end)

    it("counts the application's bytes, not those on the wire", function()
      local session = probe.session(role, { deflate = {} })
      local data = ("counted "):rep(5000)
      session:send("text", data)
      assert.equal(40000, session:buffered())
      session:send("text", "plain", false)
      session:ping "not"
      assert.equal(40005, session:buffered())
      local bytes = #session:peek()
      assert.is_true(bytes < 1000, bytes)
      local last = 40005
      for i = 1, bytes do
        assert.equal(1, #session:output(1))
        local now = session:buffered()
        assert.is_true(now <= last and now >= 0)
        last = now
        if i == bytes // 2 then assert.is_true(now > 12000 and now < 28000, now) end -- half of it
      end
      assert.equal(0, last)
    end)

    it("is read by Python's zlib: all windows, with takeover and without, in fragments and not #foreign", function()
      math.randomseed(7692)
      local words = { "lune", "wire", "\xc3\xa9t\xc3\xa9", "price", "0", "null" }
      local streams, spoken = {}, {}
      for bits = 9, 15 do
        for _, fresh in ipairs { true, false } do
          for _, size in ipairs { 0, 100 } do
            local session = probe.session(role, { fragmentSize = size, deflate = { ourBits = bits, ourFresh = fresh } })
            local said, output = { size = size }, {}
            for nth = 1, 12 do
              local text = {}
              for i = 1, math.random(0, nth % 4 == 0 and 6000 or 60) do text[i] = words[math.random(#words)] end
              said[nth] = table.concat(text, " ")
              session:send(nth % 2 == 0 and "text" or "binary", said[nth], nth % 5 ~= 0)
              if nth % 3 == 0 then session:ping "p" end
              output[nth] = session:output()
            end
            streams[#streams + 1] = { { bits = bits, fresh = fresh }, frames.parse(table.concat(output)) }
            spoken[#streams] = said
          end
        end
      end
      for i, messages in ipairs(judge.readAll(streams)) do
        local said = spoken[i]
        assert.equal(12, #messages)
        for nth, message in ipairs(messages) do
          assert.equal(said[nth], message.data)
          assert.equal(nth % 2 == 0 and "text" or "binary", message.kind)
          assert.equal(nth % 5 ~= 0, message.squeezed)
          assert.equal(said.size == 0 and 1 or math.max(1, math.ceil(#message.payload / said.size)), message.fragments)
        end
      end
    end)
  end)

  it("is masked, each frame with a key of its own", function()
    local session = probe.session("client", { fragmentSize = 2, deflate = {} })
    session:send("text", "Hello")
    local keys, list = {}, frames.parse(session:output())
    assert.equal(4, #list)
    for _, frame in ipairs(list) do
      assert.is_string(frame.key)
      assert.is_nil(keys[frame.key])
      keys[frame.key] = true
    end
  end)

  it("goes through one context with what is framed for many: that one is forgotten #foreign", function()
    local session = probe.session("server", { deflate = {} })
    local shared = session:frame("text", "for many")
    session:send("text", ("one "):rep(100))
    session:share(shared)
    session:send("text", ("one "):rep(100))
    local list = judge.read({}, frames.parse(session:output()))
    assert.same({ ("one "):rep(100), "for many", ("one "):rep(100) }, { list[1].data, list[2].data, list[3].data })
    assert.is_true(#list[3].payload < #list[1].payload) -- uncompressed for many: the context stays
  end)
end)
