-- How a conversation ends: the closing handshake (RFC 6455, 7) from each side, and what is
-- still heard and said on the way.

local frames = require "spec.frames"
local helper = require "spec.session_helper"
local probe = require "lunawire.probe"

local hex, arriving, goodbye = frames.hex, helper.arriving, helper.goodbye
local roles = { "server", "client" }

local function eachRole(run)
  for _, role in ipairs(roles) do
    describe("of a " .. role, function() run(role) end)
  end
end

-- The peer's Close frame, at the side of the given role.
local function closing(role, code, reason)
  return arriving(role, { { "close", payload = frames.closing(code, reason) } })
end

after_each(function() probe.starve() end)

describe("the closing handshake", function()
  eachRole(function(role)
    it("begun by the peer is answered with the peer's code and reason", function()
      local told = helper.everyWay { role = role, bytes = closing(role, 1001, "going home") }
      assert.same({ "close 1001: going home" }, told.events)
      assert.equal(goodbye(1001, "going home"), told.output)
      assert.equal("closed", told.state)
    end)

    it("begun by the peer without a code is answered without one", function()
      local told = helper.everyWay { role = role, bytes = closing(role) }
      assert.same({ "close 1005: " }, told.events)
      assert.equal(hex "88 00", told.output)
      assert.equal("closed", told.state)
    end)

    it("begun by us says our code and reason, and ends with the peer's answer", function()
      local session = probe.session(role)
      session:close(4000, "bye")
      assert.equal("closing", session:state())
      assert.equal(goodbye(4000, "bye"), helper.output(session, role))
      assert.same({ "close 4000: " }, helper.words(session:feed(closing(role, 4000))))
      assert.equal("closed", session:state())
      assert.equal("", session:output())
      assert.is_false(session:pending())
    end)

    it("begun by us without a code says none", function()
      local session = probe.session(role)
      session:close()
      assert.equal(hex "88 00", helper.output(session, role))
      session = probe.session(role)
      session:close(0, "a reason needs a code")
      assert.equal(hex "88 00", helper.output(session, role))
    end)

    it("begun by both at once tells each the other's code, and nobody answers twice", function()
      local told = helper.everyWay {
        role = role, bytes = closing(role, 1001, "I go"), before = function(session) session:close(1000, "I, too") end,
      }
      assert.same({ "close 1001: I go" }, told.events)
      assert.equal(goodbye(1000, "I, too"), told.output)
      assert.equal("closed", told.state)
    end)

    it("happens once: a second close changes nothing", function()
      local session = probe.session(role)
      session:close(1000, "first")
      session:close(1001, "second")
      assert.equal(goodbye(1000, "first"), helper.output(session, role))
      session:close(1002)
      assert.equal("", session:output())
      session:feed(closing(role, 1000))
      session:close(1003)
      assert.equal("", session:output())
      assert.equal("closed", session:state())
    end)

    it("is not answered again when we close after the peer", function()
      local session = probe.session(role)
      session:feed(closing(role, 1000))
      session:close(4000)
      assert.equal("closed", session:state())
      assert.equal(goodbye(1000), helper.output(session, role))
    end)

    it("carries reasons of every length, each way", function()
      for n = 0, 123 do
        local reason = ("r"):rep(n)
        local session = probe.session(role)
        assert.same({ "close 1000: " .. reason }, helper.words(session:feed(closing(role, 1000, reason))))
        session = probe.session(role)
        session:close(1000, reason)
        assert.equal(goodbye(1000, reason), helper.output(session, role))
      end
    end)

    it("cuts a reason that would not fit", function()
      local session = probe.session(role)
      session:close(1000, ("r"):rep(200))
      assert.equal(goodbye(1000, ("r"):rep(123)), helper.output(session, role))
    end)

    it("keeps to UTF-8 in the peer's reason, whatever the characters", function()
      local reason = "Grüße \0 €😀 \u{10ffff}"
      assert.same({ "close 1000: " .. reason }, helper.everyWay { role = role, bytes = closing(role, 1000, reason) }.events)
    end)
  end)
end)

describe("all 65536 close codes #slow", function()
  -- RFC 6455, 7.4, and the registry it began: what an endpoint may send.
  local function allowed(code)
    return code >= 1000 and code <= 1003 or code >= 1007 and code <= 1014 or code >= 3000 and code <= 4999
  end

  eachRole(function(role)
    it("are answered with themselves, or with 1002 when they must not be sent", function()
      local key = role == "server" and "\0\0\0\0" or ""
      local head = string.char(0x88, role == "server" and 0x82 or 2) .. key
      local session = probe.session(role)
      for code = 0, 65535 do
        session:again()
        local body = string.char(math.floor(code / 256), code % 256)
        local event = session:feed(head .. body)[1]
        local right = allowed(code)
        if event.kind ~= (right and "close" or "failure") or event.code ~= (right and code or 1002)
          or session:state() ~= (right and "closed" or "failed") then
          error(("code %d: %s"):format(code, helper.word(event)))
        end
        local output = session:output()
        local said = role == "client" and frames.mask(output:sub(7, 8), output:sub(3, 6)) or output:sub(3, 4)
        if said ~= (right and body or "\3\234") then error(("code %d: answered %s"):format(code, frames.dump(output))) end
      end
    end)
  end)
end)

describe("a Close frame inside a fragmented message", function()
  eachRole(function(role)
    it("is answered with its own code, and the message is dropped", function()
      local told = helper.everyWay {
        role = role,
        bytes = arriving(role, {
          { "text", payload = ("begun "):rep(30), fin = false }, { "continuation", payload = "\xe2\x82", fin = false },
        }) .. closing(role, 1001, "no time"),
      }
      assert.same({ "close 1001: no time" }, told.events)
      assert.equal(goodbye(1001, "no time"), told.output)
      assert.is_false(told.held)
    end)

    it("gives the message's memory back at once", function()
      local session = probe.session(role)
      session:feed(arriving(role, { { "text", payload = ("begun "):rep(300), fin = false } }))
      session:give(closing(role, 1001))
      session:next()
      assert.equal(0, session:held())
    end)
  end)
end)

describe("what comes after the peer's Close frame", function()
  eachRole(function(role)
    local after = {
      { "a message", arriving(role, { { "text", payload = "late" } }) },
      { "a ping", arriving(role, { { "ping", payload = "late" } }) },
      { "another Close", closing(role, 4000) },
      { "a frame that breaks the protocol", arriving(role, { hex "83 00" }) },
      { "no frame at all", ("\255"):rep(100) },
    }
    for _, row in ipairs(after) do
      it("is ignored: " .. row[1], function()
        local told = helper.everyWay { role = role, bytes = closing(role, 1000) .. row[2] }
        assert.same({ "close 1000: " }, told.events)
        assert.equal(goodbye(1000), told.output)
        assert.equal("closed", told.state)
        assert.is_false(told.held)
      end)
    end
  end)
end)

describe("after our own Close frame", function()
  local function close(session) session:close(1000) end

  eachRole(function(role)
    local function tell(list) return helper.everyWay { role = role, bytes = arriving(role, list), before = close } end

    it("messages are no longer delivered, whole or in fragments", function()
      local told = tell {
        { "text", payload = "one" }, { "binary", payload = ("two"):rep(100) }, { "text", payload = "th", fin = false },
        { "pong", payload = "between" }, { "continuation", payload = "ree" }, { "text" },
        { "close", payload = frames.closing(1000) },
      }
      assert.same({ "pong: between", "close 1000: " }, told.events)
      assert.equal(goodbye(1000), told.output)
    end)

    it("no memory is taken, however much is announced or sent", function()
      local session = probe.session(role, { maxPayload = 10, maxFragments = 1 })
      session:close(1000)
      local key = role == "server" and "\0\0\0\0" or nil
      assert.same({}, session:feed(frames.build { "binary", payload = ("x"):rep(5000), fin = false, key = key }))
      assert.same({}, session:feed(frames.build { "continuation", length = 2 ^ 40, key = key }))
      for _ = 1, 10 do assert.same({}, session:feed(("y"):rep(1000), "direct")) end
      assert.equal(0, session:held())
      assert.equal("closing", session:state())
    end)

    it("the peer must still keep to the protocol, and our Close frame is not sent twice", function()
      for _, list in ipairs {
        { hex "83 00" }, { hex "c1 00" }, { { "continuation" } }, { { "text", fin = false }, { "text" } },
        { hex "88 01 03" }, { hex "09 00" },
      } do
        local told = tell(list)
        assert.equal("failure 1002", told.events[1]:sub(1, 12))
        assert.equal(1, #told.events)
        assert.equal("failed", told.state)
        assert.equal(goodbye(1000), told.output)
      end
    end)

    it("a fragmented message that had begun before goes on, unheard", function()
      local told = helper.everyWay {
        role = role,
        before = function(session)
          session:feed(arriving(role, { { "text", payload = "before", fin = false } }))
          session:close(1000)
        end,
        bytes = arriving(role, { { "continuation", payload = "\255", fin = false }, { "continuation" }, { "text" } })
          .. closing(role, 1000),
      }
      assert.same({ "close 1000: " }, told.events)
      assert.is_false(told.held)
    end)

    -- It was delivered when its first bytes had come before close() was called, and its memory was
    -- kept until the peer deigned to finish it.
    it("a frame half here is not delivered either, and its memory is given back", function()
      local bytes = arriving(role, { { "text", payload = ("half "):rep(500) } })
      for _, cut in ipairs { 1, 2, 3, 10, 100, #bytes - 1 } do
        local session = probe.session(role)
        session:feed(bytes:sub(1, cut))
        session:close(1000)
        assert.same({}, session:feed(bytes:sub(cut + 1)))
        assert.equal(0, session:held())
        assert.is_true(session:between())
        assert.same({ "close 1000: " }, helper.words(session:feed(closing(role, 1000))))
      end
      local session = probe.session(role)
      session:feed(bytes:sub(1, 1500))
      session:close(1000)
      session:feed(bytes:sub(1501, 1501))
      assert.equal(0, session:held())
    end)

    it("called between two events drops the second and keeps the first intact", function()
      local session = probe.session(role)
      session:feed(arriving(role, { { "text", payload = "in", fin = false } }))
      local rest = arriving(role, { { "continuation", payload = " parts" }, { "text", payload = "dropped" } })
      session:give(rest .. closing(role, 1000))
      local event = session:next()
      session:close(4000)
      assert.equal("text: in parts", helper.word(event))
      assert.equal("close 1000: ", helper.word(session:next()))
      assert.is_nil(session:next())
      assert.equal(goodbye(4000), helper.output(session, role))
    end)
  end)
end)

describe("our Close frame", function()
  eachRole(function(role)
    it("goes behind everything that was queued, whoever began", function()
      for _, finish in ipairs {
        function(session) session:close(1000) end,
        function(session) session:feed(closing(role, 1000)) end,
      } do
        local session = probe.session(role, { fragmentSize = 20000 })
        session:send("text", "small")
        session:send("binary", ("large"):rep(10000))
        session:ping()
        finish(session)
        local list = frames.parse(session:output())
        assert.equal(6, #list)
        assert.same({ "small", "large", "large", "large", "", goodbye(1000):sub(3) }, {
          list[1].payload, list[2].payload:sub(1, 5), list[3].payload:sub(1, 5), list[4].payload:sub(1, 5),
          list[5].payload, list[6].payload,
        })
      end
    end)

    it("is a failure's, too, behind what was queued", function()
      local session = probe.session(role)
      session:send("text", "before")
      local event = session:feed(arriving(role, { hex "83 00" }))[1]
      assert.equal(frames.build { "text", payload = "before" } .. goodbye(1002, event.message), helper.output(session, role))
    end)

    it("may go in pieces", function()
      for cut = 1, 7 do
        local session = probe.session(role)
        session:send("text", "x")
        session:close(1000, "r")
        local start = session:output(cut)
        assert.is_true(session:pending())
        assert.equal(frames.build { "text", payload = "x" } .. goodbye(1000, "r"),
          helper.unmasked(role, start .. session:output()))
        assert.is_false(session:pending())
      end
    end)

    it("needs no memory", function()
      local session = probe.session(role)
      probe.starve(0)
      session:close(1000, ("r"):rep(123))
      local output = session:output()
      probe.starve()
      assert.equal(goodbye(1000, ("r"):rep(123)), helper.unmasked(role, output))
    end)
  end)
end)

describe("between two messages", function()
  eachRole(function(role)
    local function between(bytes, before)
      local session = probe.session(role)
      if before then before(session) end
      session:feed(bytes)
      return session:between()
    end

    it("is where a connection may end without cutting one", function()
      local whole = arriving(role, { { "text", payload = "whole" } })
      local ping = arriving(role, { { "ping", payload = "ping" } })
      local start = arriving(role, { { "text", payload = "", fin = false } })
      for cut = 1, #whole - 1 do assert.is_false(between(whole:sub(1, cut))) end
      for cut = 1, #ping - 1 do assert.is_false(between(ping:sub(1, cut))) end
      assert.is_true(between "")
      assert.is_true(between(whole))
      assert.is_true(between(whole .. ping))
      assert.is_false(between(start))
      assert.is_false(between(start .. ping))
      assert.is_true(between(start .. arriving(role, { { "continuation" } })))
      local session = probe.session(role)
      session:give(whole .. whole)
      session:next()
      assert.is_false(session:between())
    end)
  end)
end)
