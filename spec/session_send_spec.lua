-- What a session puts on the wire: messages, pings and pongs, as raw bytes, and as another
-- implementation reads them.

local frames = require "spec.frames"
local base = require "spec.helper"
local helper = require "spec.session_helper"
local probe = require "lunawire.probe"

local hex, arriving = frames.hex, helper.arriving
local roles = { "server", "client" }

local function eachRole(run)
  for _, role in ipairs(roles) do
    describe("by a " .. role, function() run(role) end)
  end
end

local function sent(role, kind, data, limits)
  local session = probe.session(role, limits)
  assert.is_true(session:send(kind, data))
  return session:output()
end

describe("a message sent", function()
  it("has the bytes of the RFC's own examples (5.7)", function()
    assert.equal(hex "81 05 48 65 6c 6c 6f", sent("server", "text", "Hello"))
    assert.equal(hex "01 03 48 65 6c 80 02 6c 6f", sent("server", "text", "Hello", { fragmentSize = 3 }))
    assert.equal(hex "82 7e 01 00" .. ("a"):rep(256), sent("server", "binary", ("a"):rep(256)))
    assert.equal(hex "82 7f 00 00 00 00 00 01 00 00" .. ("b"):rep(65536), sent("server", "binary", ("b"):rep(65536)))
    local masked = sent("client", "text", "Hello")
    assert.equal(hex "81 85", masked:sub(1, 2))
    assert.equal("Hello", frames.mask(masked:sub(7), masked:sub(3, 6)))
    assert.equal(11, #masked)
  end)

  eachRole(function(role)
    for _, length in ipairs { 0, 1, 2, 3, 4, 5, 125, 126, 127, 65535, 65536, 70001 } do
      it("has the shortest header for the length " .. length, function()
        local data = ("payload"):rep(math.ceil(length / 7)):sub(1, length)
        for _, kind in ipairs { "text", "binary" } do
          local output = sent(role, kind, data)
          assert.is_true(frames.build { kind, payload = data } == helper.unmasked(role, output))
          local header = length < 126 and 2 or length < 65536 and 4 or 10
          assert.equal(header + length + (role == "client" and 4 or 0), #output)
        end
      end)
    end

    it("may have several MiB", function()
      local data = ("0123456789abcdef"):rep(3 * 65536)
      local output = sent(role, "binary", data)
      local head = frames.build { "binary", length = #data, key = role == "client" and output:sub(11, 14) or nil }
      assert.equal(head, output:sub(1, #head))
      local block = "0123456789abcdef"
      if role == "client" then block = frames.mask(block, output:sub(11, 14)) end
      assert.is_true(output:sub(#head + 1) == block:rep(3 * 65536))
    end)

    it("goes in the order of the calls, pings between", function()
      local session = probe.session(role)
      session:send("text", "one")
      session:ping "two"
      session:send("binary", "three")
      session:ping()
      assert.equal(
        frames.build { "text", payload = "one" } .. frames.build { "ping", payload = "two" }
          .. frames.build { "binary", payload = "three" } .. frames.build { "ping" },
        helper.output(session, role))
      assert.equal("", session:output())
      assert.is_false(session:pending())
    end)
  end)

  it("has a key of its own in every frame of a client", function()
    local session, keys, count = probe.session("client", { fragmentSize = 2 }), {}, 0
    session:send("text", ("x"):rep(40))
    for _ = 1, 20 do session:send("text", "") end
    for _ = 1, 10 do session:ping() end
    for _, frame in ipairs(frames.parse(session:output())) do
      if not keys[frame.key] then count = count + 1 end
      keys[frame.key] = true
    end
    assert.is_true(count >= 49) -- of 50: chance may repeat one, once in millions of runs
  end)
end)

describe("fragmentSize", function()
  eachRole(function(role)
    it("splits what is longer, at every length", function()
      for _, size in ipairs { 1, 2, 3, 7, 125, 126 } do
        for length = 0, 3 * size + 1 do
          local data = ("abcdefghijk"):rep(math.ceil(length / 11)):sub(1, length)
          local expected, kind = {}, "text"
          for at = 1, math.max(length, 1), size do
            local piece = data:sub(at, at + size - 1)
            expected[#expected + 1] = frames.build { kind, payload = piece, fin = at + size > length }
            kind = "continuation"
          end
          local output = sent(role, "text", data, { fragmentSize = size })
          assert.equal(table.concat(expected), helper.unmasked(role, output))
        end
      end
    end)

    it("splits large ones too, with the lengths in their shortest form", function()
      for _, size in ipairs { 65535, 65536, 20000 } do
        local list = frames.parse(sent(role, "binary", ("z"):rep(150000), { fragmentSize = size }))
        local all = 0
        for i, frame in ipairs(list) do
          assert.equal(i == 1 and 2 or 0, frame.opcode)
          assert.equal(i == #list, frame.fin)
          assert.equal(math.min(size, 150000 - all), #frame.payload)
          assert.equal(frame.length < 65536 and 16 or 64, frame.form)
          all = all + frame.length
        end
        assert.equal(150000, all)
      end
    end)
  end)

  it("holds for what is framed for many sessions", function()
    local session = probe.session("server", { fragmentSize = 3 })
    session:share(session:frame("text", "Hello"))
    assert.equal(hex "01 03 48 65 6c 80 02 6c 6f", session:output())
  end)
end)

describe("a message framed once for many sessions", function()
  it("reaches each of them, in its place", function()
    local one, two = probe.session "server", probe.session "server"
    local small, large = one:frame("text", "to all"), one:frame("binary", ("L"):rep(50000))
    one:send("text", "before")
    one:share(small)
    one:share(large)
    one:send("text", "after")
    two:share(large)
    two:share(small)
    local largeFrame = frames.build { "binary", payload = ("L"):rep(50000) }
    local smallFrame = frames.build { "text", payload = "to all" }
    assert.is_true(one:output() == frames.build { "text", payload = "before" } .. smallFrame .. largeFrame
      .. frames.build { "text", payload = "after" })
    assert.is_true(two:output() == largeFrame .. smallFrame)
  end)

  it("counts as content of each, and outlives them and its maker", function()
    local one, two = probe.session "server", probe.session "server"
    local shared = one:frame("binary", ("s"):rep(30000))
    one:share(shared)
    two:share(shared)
    assert.equal(30000, one:buffered())
    one:output(100)
    assert.equal(30000, two:buffered())
    shared, one = nil, nil -- luacheck: ignore 311
    collectgarbage()
    assert.is_true(two:output() == frames.build { "binary", payload = ("s"):rep(30000) })
    assert.equal(0, two:buffered())
  end)

  it("is not queued where the session is not open", function()
    local session = probe.session "server"
    local shared = session:frame("text", "late")
    session:close(1000)
    local _, why = session:share(shared)
    assert.equal("CLOSED", why)
    assert.equal(helper.goodbye(1000), session:output())
  end)
end)

describe("a ping sent", function()
  eachRole(function(role)
    it("carries up to 125 bytes", function()
      for _, n in ipairs { 0, 1, 125 } do
        local session = probe.session(role)
        assert.is_true(session:ping(("p"):rep(n)))
        assert.equal(frames.build { "ping", payload = ("p"):rep(n) }, helper.output(session, role))
      end
    end)

    it("is refused with more", function()
      local session = probe.session(role)
      assert.is_nil(session:ping(("p"):rep(126)))
      assert.equal("", session:output())
    end)
  end)
end)

describe("a ping from the peer", function()
  eachRole(function(role)
    local function ping(data) return arriving(role, { { "ping", payload = data } }) end
    local function pong(data) return frames.build { "pong", payload = data } end

    it("is answered with its own bytes", function()
      for _, data in ipairs { "", "x", "\0\xff\0", ("p"):rep(125) } do
        local told = helper.everyWay { role = role, bytes = ping(data) }
        assert.same({ "ping: " .. data }, told.events)
        assert.equal(pong(data), told.output)
      end
    end)

    it("is answered behind what was queued before", function()
      local session = probe.session(role)
      session:send("text", "first")
      session:feed(ping "1")
      assert.is_true(session:pending())
      assert.equal(frames.build { "text", payload = "first" } .. pong "1", helper.unmasked(role, session:peek()))
      session:output()
      assert.is_false(session:pending())
    end)

    it("is answered each time when the answers go out in between, in order", function()
      local session = probe.session(role)
      for i = 1, 5 do
        session:feed(ping(tostring(i)))
        assert.equal(pong(tostring(i)), helper.output(session, role))
      end
    end)

    -- Only the last of those that came in one read was answered, so that what a peer got hung on how its bytes were cut.
    it("that came with others is answered as each of them is, in order", function()
      local session = probe.session(role)
      local due = {}
      for i = 1, 1000 do
        session:feed(ping(tostring(i)))
        due[i] = pong(tostring(i))
      end
      assert.is_true(table.concat(due) == helper.output(session, role))
      assert.equal("", session:output())
    end)

    it("is answered in its place among messages", function()
      local session = probe.session(role)
      session:feed(ping "1" .. ping "2")
      session:send("text", "a")
      session:feed(ping "3" .. ping "4")
      session:send("text", "b")
      local words = {}
      for i, frame in ipairs(frames.parse(helper.output(session, role))) do words[i] = frame.payload end
      assert.equal("1 2 a 3 4 b", table.concat(words, " "))
    end)

    it("that nobody takes the answers of is answered for the others, the last, once 64 KiB of pongs wait", function()
      for _, n in ipairs { 0, 7, 125 } do
        local session = probe.session(role)
        local size = n + (role == "client" and 6 or 2)
        local bytes, last = ping(("p"):rep(n)), ping(("q"):rep(n))
        for _ = 1, math.ceil(200000 / size) do session:feed(bytes) end
        session:feed(last)
        local output = helper.output(session, role)
        local wait = #frames.parse(output)
        assert.equal(math.ceil(65536 / size) + 1, wait)
        assert.equal(pong(("q"):rep(n)), output:sub(-n - 2))
        assert.equal("", session:output())
        session:feed(bytes .. bytes) -- they went: all is as it was
        assert.equal(2, #frames.parse(helper.output(session, role)))
      end
    end)

    it("is answered as each of them is again when what waited has gone", function()
      local session = probe.session(role)
      session:send("text", ("x"):rep(100))
      session:output(50) -- the peer takes no more
      session:feed(ping "1" .. ping "2" .. ping "3")
      local words = {}
      for i, frame in ipairs(frames.parse(session:output():sub(role == "client" and 57 or 53))) do words[i] = frame.payload end
      assert.equal("3", table.concat(words, " "))
      session:feed(ping "4" .. ping "5")
      assert.equal(pong "4" .. pong "5", helper.output(session, role))
    end)

    it("waits while the pong before it has not gone, to the last byte", function()
      local size = #pong "1" + (role == "client" and 4 or 0)
      for gone = 0, size - 1 do
        local session = probe.session(role)
        session:feed(ping "1")
        assert.equal(size, #session:peek())
        local start = session:output(gone)
        for i = 2, 300 do
          session:feed(ping(tostring(i)))
          assert.equal(size - gone, #session:peek())
        end
        local rest = session:peek()
        session:sent(#rest)
        assert.equal(pong "1", helper.unmasked(role, start .. rest))
        assert.is_true(session:pending())
        assert.equal(pong "300", helper.output(session, role))
        assert.is_false(session:pending())
      end
    end)

    it("is not answered twice, whatever else goes out", function()
      local session = probe.session(role)
      session:feed(ping "1")
      session:peek()
      session:send("text", "x")
      session:peek()
      assert.equal(pong "1" .. frames.build { "text", payload = "x" }, helper.output(session, role))
      session:send("text", "y")
      session:feed(ping "2")
      assert.equal(frames.build { "text", payload = "y" } .. pong "2", helper.output(session, role))
    end)

    it("is not answered once we have said Close", function()
      local session = probe.session(role)
      session:close(1000)
      assert.same({ "ping: 1" }, helper.words(session:feed(ping "1")))
      assert.equal(helper.goodbye(1000), helper.output(session, role))
      assert.same({ "ping: 2" }, helper.words(session:feed(ping "2")))
      assert.equal("", session:output())
      assert.is_false(session:pending())
    end)

    -- The answer was forgotten when a Close or an error came before it was asked for, so that
    -- what went out hung on how the bytes were cut.
    it("is answered before the Close frame that ends the session", function()
      local function after(bytes)
        local session = probe.session(role)
        session:feed(ping "1" .. bytes)
        return helper.output(session, role)
      end
      assert.equal(pong "1" .. helper.goodbye(1001), after(arriving(role, { { "close", payload = frames.closing(1001) } })))
      local list = frames.parse(after(arriving(role, { hex "83 00" })))
      assert.equal(2, #list)
      assert.equal("1", list[1].payload)
      local session = probe.session(role)
      session:feed(ping "1")
      session:close(1000)
      assert.equal(pong "1" .. helper.goodbye(1000), helper.output(session, role))
      assert.equal("", session:output())
    end)

    it("is not answered a second time by the Close", function()
      local session = probe.session(role)
      session:feed(ping "1")
      session:peek()
      session:feed(ping "2")
      session:close(1000) -- the first pong has not gone: the second would be one too many
      assert.equal(pong "1" .. helper.goodbye(1000), helper.output(session, role))
      assert.is_false(session:pending())
    end)
  end)
end)

-- --- output in pieces -------------------------------------------------------------------------------

local function queueMuch(session, role)
  session:send("text", "first")
  session:send("binary", "")
  session:ping "ping"
  session:send("text", ("fragments"):rep(5))
  if role == "server" then session:share(session:frame("text", "shared")) end
  session:feed(arriving(role, { { "ping", payload = "pong" } }))
  session:peek()
  session:close(3000, "and over")
end

describe("output", function()
  eachRole(function(role)
    it("may go in pieces, cut at every place", function()
      local session = probe.session(role, { fragmentSize = 10 })
      queueMuch(session, role)
      local whole = session:output()
      local expected = helper.unmasked(role, whole)
      assert.equal(helper.goodbye(3000, "and over"), expected:sub(-12))
      for cut = 0, #whole do
        session = probe.session(role, { fragmentSize = 10 })
        queueMuch(session, role)
        local start = session:output(cut)
        assert.equal(cut, #start)
        assert.equal(cut < #whole, session:pending())
        assert.equal(expected, helper.unmasked(role, start .. session:output()))
        assert.is_false(session:pending())
        assert.equal("", session:output())
      end
    end)

    it("may go a byte at a time", function()
      local session, parts = probe.session(role, { fragmentSize = 10 }), {}
      queueMuch(session, role)
      while session:pending() do parts[#parts + 1] = session:output(1) end
      local again = probe.session(role, { fragmentSize = 10 })
      queueMuch(again, role)
      assert.equal(helper.output(again, role), helper.unmasked(role, table.concat(parts)))
    end)

    it("is shown again until it was sent", function()
      local session = probe.session(role)
      queueMuch(session, role)
      local shown = session:peek()
      assert.equal(shown, session:peek())
      session:sent(3)
      assert.equal(shown:sub(4), session:peek())
      session:sent(0)
      assert.equal(shown:sub(4), session:output())
    end)

    it("is shown in as few slices as are asked for, the Close frame last", function()
      local session = probe.session(role)
      session:send("binary", ("x"):rep(20000))
      session:send("binary", ("y"):rep(20000))
      session:close(1000)
      local first = session:peek(1)
      assert.equal(1, #frames.parse(first))
      assert.equal(2, #frames.parse(session:peek(2)))
      assert.equal(3, #frames.parse(session:peek(3)))
      session:sent(#first)
      assert.equal("y", frames.parse(session:peek(1))[1].payload:sub(1, 1))
      assert.equal("", session:peek(0))
      assert.equal(2, #frames.parse(session:output()))
    end)

    it("is pending as long as there is any, of whatever kind", function()
      for _, queue in ipairs {
        function(session) session:send("text", "") end,
        function(session) session:ping() end,
        function(session) session:feed(arriving(role, { { "ping" } })) end,
        function(session) session:close() end,
      } do
        local session = probe.session(role)
        assert.is_false(session:pending())
        queue(session)
        for _ = 1, role == "client" and 6 or 2 do
          assert.is_true(session:pending())
          assert.equal(1, #session:output(1))
        end
        assert.is_false(session:pending())
      end
    end)

    it("takes up what is sent meanwhile", function()
      local session = probe.session(role)
      session:send("text", "one")
      local start = session:output(4)
      session:send("text", "two")
      session:ping()
      assert.equal(
        frames.build { "text", payload = "one" } .. frames.build { "text", payload = "two" } .. frames.build { "ping" },
        helper.unmasked(role, start .. session:output()))
    end)
  end)
end)

describe("what is buffered", function()
  -- Content of what is behind the first `gone` bytes of these data frames.
  local function truth(list, gone)
    local left = 0
    for _, frame in ipairs(list) do
      if frame.opcode < 8 then left = left + math.max(0, math.min(frame.length, frame.last - gone)) end
    end
    return left
  end

  eachRole(function(role)
    it("is the content, without headers, pings, pongs and Close", function()
      local session = probe.session(role, { fragmentSize = 10 })
      assert.equal(0, session:buffered())
      queueMuch(session, role)
      assert.equal(5 + 45 + (role == "server" and 6 or 0), session:buffered())
      session:output()
      assert.equal(0, session:buffered())
    end)

    it("is never less than the truth, and never more than the bytes queued, wherever output stands", function()
      local session = probe.session(role, { fragmentSize = 10 })
      queueMuch(session, role)
      local whole = session:peek()
      local list = frames.parse(whole)
      local close = list[#list].last - list[#list].first + 1
      for gone = 0, #whole do
        local buffered = session:buffered()
        assert.is_true(buffered >= truth(list, gone), gone)
        assert.is_true(buffered <= math.max(0, #whole - gone - close), gone)
        session:output(1)
      end
    end)

    it("is exact at the boundaries of large messages", function()
      local session = probe.session(role)
      local lengths = { 20000, 16384, 70000 }
      local left = 0
      for _, length in ipairs(lengths) do
        session:send("binary", ("x"):rep(length))
        left = left + length
      end
      session:close(1000)
      for i, frame in ipairs(frames.parse(session:peek())) do
        assert.equal(left, session:buffered())
        session:output(frame.last - frame.first + 1)
        left = left - (lengths[i] or 0)
      end
      assert.equal(0, session:buffered())
    end)
  end)
end)

-- --- what cannot be sent ------------------------------------------------------------------------------

describe("a session that is not open", function()
  local endings = {
    closing = function(session) session:close(1000) end,
    closed = function(session, role) session:feed(arriving(role, { { "close" } })) end,
    failed = function(session, role) session:feed(arriving(role, { hex "83 00" })) end,
  }
  eachRole(function(role)
    for state, finish in pairs(endings) do
      it("takes no message and no ping: " .. state, function()
        local session = probe.session(role)
        finish(session, role)
        assert.equal(state, session:state())
        local output = session:peek()
        local _, why = session:send("text", "late")
        assert.equal("CLOSED", why)
        _, why = session:ping()
        assert.equal("CLOSED", why)
        assert.equal(0, session:buffered())
        assert.equal(output, session:output())
      end)
    end
  end)
end)

describe("without memory", function()
  after_each(function() probe.starve() end)

  -- Runs `act` with room for 0, 1, 2, ... allocations, until it works. Returns how often it did not.
  local function untilItWorks(act)
    for n = 0, 10 do
      probe.starve(n)
      local done, why = act()
      probe.starve()
      if done then return n end
      assert.equal("MEMORY", why)
    end
    error "it never worked"
  end

  eachRole(function(role)
    it("a send queues nothing and can be tried again", function()
      for _, size in ipairs { 0, 10 } do
        local session = probe.session(role, { fragmentSize = size })
        local failures = untilItWorks(function()
          assert.equal("", session:peek())
          assert.equal(0, session:buffered())
          return session:send("binary", ("x"):rep(20000))
        end)
        assert.equal(role == "client" and size > 0 and 2 or 1, failures)
        assert.equal(20000, session:buffered())
        local all = {}
        for i, frame in ipairs(frames.parse(session:output())) do all[i] = frame.payload end
        assert.equal(("x"):rep(20000), table.concat(all))
      end
    end)

    it("a ping queues nothing and can be tried again", function()
      local session = probe.session(role)
      assert.equal(1, untilItWorks(function()
        assert.is_false(session:pending())
        return session:ping "x"
      end))
      assert.equal(frames.build { "ping", payload = "x" }, helper.output(session, role))
    end)

    it("a pong is owed still", function()
      local session = probe.session(role)
      session:feed(arriving(role, { { "ping", payload = "x" } }))
      assert.equal(1, untilItWorks(function() return session:peek() end))
      assert.equal(frames.build { "pong", payload = "x" }, helper.output(session, role))
    end)

    it("a Close frame is queued all the same, only the pong before it is not", function()
      local session = probe.session(role)
      session:feed(arriving(role, { { "ping", payload = "x" } }))
      probe.starve(0)
      session:close(4321, "poor")
      local output = session:peek()
      probe.starve()
      assert.equal(helper.goodbye(4321, "poor"), helper.unmasked(role, output))
      assert.equal(output, session:output())
    end)
  end)

  it("no chunk is framed for others", function()
    local session = probe.session "server"
    assert.equal(1, untilItWorks(function() return session:frame("binary", ("x"):rep(20000)) end))
  end)
end)

-- --- a foreign judge ---------------------------------------------------------------------------------

-- The parser and the writer of Python's websockets.
local judge = [==[
import sys
from websockets.frames import Frame, Opcode, Close
from websockets.streams import StreamReader

def frames(name, mask):
    reader = StreamReader()
    reader.feed_data(open(name, "rb").read())
    reader.feed_eof()
    while len(reader.buffer):
        parser = Frame.parse(reader.read_exact, mask=mask)
        try:
            while True:
                next(parser)
        except StopIteration as done:
            yield done.value

def read(name, mask):
    for frame in frames(name, mask):
        frame.check()
        line = [frame.opcode.name.lower(), "last" if frame.fin else "more"]
        if frame.opcode is Opcode.CLOSE:
            close = Close.parse(frame.data)
            close.check()
            line += [str(close.code), close.reason.encode().hex()]
        else:
            line += [frame.data.hex()]
        print(*line)

def write(name, mask):
    with open(name, "wb") as file:
        for opcode, fin, data in [
            (Opcode.TEXT, True, "Grüße €😀".encode()), (Opcode.BINARY, True, bytes(range(256)) * 300),
            (Opcode.TEXT, False, b"a" * 125), (Opcode.PING, True, b"ping"), (Opcode.CONT, False, b"b" * 126),
            (Opcode.CONT, True, b"c" * 65535), (Opcode.PONG, True, b""), (Opcode.BINARY, True, b""),
            (Opcode.CLOSE, True, Close(4000, "bye €").serialize()),
        ]:
            file.write(Frame(opcode, data, fin).serialize(mask=mask))

{"read": read, "write": write}[sys.argv[1]](sys.argv[2], sys.argv[3] == "masked")
]==]

describe("Python's websockets #foreign", function()
  local directory

  setup(function()
    directory = base.directory()
    base.write(directory .. "/judge.py", judge)
  end)
  teardown(function() base.remove(directory) end)

  local function ask(task, name, masked)
    local output, status = base.run(("%s %s/judge.py %s %s/%s %s"):format(
      base.python(), directory, task, directory, name, masked and "masked" or "plain"))
    assert.equal(0, status, output)
    return output
  end

  eachRole(function(role)
    it("reads what is sent", function()
      local session, expected = probe.session(role, { fragmentSize = 70000 }), {}
      local function line(...) expected[#expected + 1] = table.concat({ ... }, " ") .. "\n" end
      local function tohex(data) return (frames.dump(data):gsub(" ", "")) end
      for _, length in ipairs { 0, 1, 3, 125, 126, 127, 65535, 65536 } do
        local data = ("päyload!"):rep(math.ceil(length / 9)):sub(1, length)
        session:send("binary", data)
        line("binary", "last", tohex(data))
      end
      session:send("text", "Grüße €😀")
      line("text", "last", tohex "Grüße €😀")
      session:ping "are you there?"
      line("ping", "last", tohex "are you there?")
      session:send("text", ("f"):rep(140001))
      line("text", "more", tohex(("f"):rep(70000)))
      line("cont", "more", tohex(("f"):rep(70000)))
      line("cont", "last", tohex "f")
      session:feed(arriving(role, { { "ping", payload = "me too" } }))
      session:peek()
      line("pong", "last", tohex "me too")
      session:close(4000, "bye €")
      line("close", "last", "4000", tohex "bye €")
      base.write(directory .. "/sent", session:output())
      local read = ask("read", "sent", role == "client"):gsub(" \n", "\n")
      assert.is_true(read == (table.concat(expected):gsub(" \n", "\n")), "it read something else")
    end)

    it("writes what is heard", function()
      ask("write", "written", role == "server")
      local bytes = base.read(directory .. "/written")
      local all = {}
      for i = 0, 255 do all[i + 1] = string.char(i) end
      local expected = table.concat({
        "text: Grüße €😀", "binary: " .. table.concat(all):rep(300), "ping: ping",
        "text: " .. ("a"):rep(125) .. ("b"):rep(126) .. ("c"):rep(65535), "pong: ", "binary: ", "close 4000: bye €",
      }, "\n")
      for _, how in ipairs { "plain", "stash", "stashed", "direct" } do
        for _, size in ipairs { #bytes, 1000, 7 } do
          local session, heard = probe.session(role), {}
          for at = 1, #bytes, size do
            for _, event in ipairs(session:feed(bytes:sub(at, at + size - 1), how)) do
              heard[#heard + 1] = helper.word(event)
            end
          end
          assert.is_true(table.concat(heard, "\n") == expected, how)
        end
      end
    end)
  end)
end)
