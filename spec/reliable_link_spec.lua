-- One end of a delivery that survives (lua/lunawire/reliable_link.lua): what messages of the wire are right, what each
-- comes to, and two ends joined by a line that is cut wherever it hurts.

require "spec.helper"
local links = require "lunawire.reliable_link"

local SESSION = "0123456789abcdef"

local function opened(received, epoch)
  local server = links.new(SESSION, epoch or "e1", received)
  assert(server:meet { session = SESSION, epoch = "-", received = 0, first = 1 } ~= nil)
  server:hello()
  return server
end

local function add(link, ...)
  for _, data in ipairs { ... } do link:add { data = data, binary = false, at = 0 } end
end

local function outputs(link)
  local list = {}
  for data in function() return link:output() end do list[#list + 1] = data end
  return list
end

describe("a message of the wire", function()
  local long = ("x"):rep(64)
  local right = {
    { "message 1\n", "message", 1, "" },
    { "message 9007199254740991\nhi\nyou", "message", 9007199254740991, "hi\nyou" },
    { "ack 7\n", "ack", 7, "" },
    { "skip 70\n", "skip", 70, "" },
    { "note\nwriting", "note", true, "writing" },
    { "end\n", "end", true, "" },
    { "hello 0123456789abcdef - 0 1\nline 7", "hello",
      { session = SESSION, epoch = "-", received = 0, first = 1 }, "line 7" },
    { ("hello %s %s 9007199254740991 9007199254740991\n"):format(long, long), "hello",
      { session = long, epoch = long, received = 9007199254740991, first = 9007199254740991 }, "" },
  }
  for _, case in ipairs(right) do
    it(("may be `%.30s`"):format(case[1]:match "[^\n]*"), function()
      local kind, value, payload = links.parse(case[1], false)
      assert.equal(case[2], kind)
      assert.same(case[3], value)
      assert.equal(case[4], payload)
    end)
  end

  it("may be binary when it carries the application's bytes", function()
    assert.same({ "message", 1, "\0\255\n" }, { links.parse("message 1\n\0\255\n", true) })
    assert.same({ "note", true, "\0" }, { links.parse("note\n\0", true) })
  end)

  local wrong = {
    { "nothing", "" },
    { "no end of the header line", "message 1" },
    { "an empty header line", "\nmessage 1" },
    { "a header line of 257 bytes", "hello " .. ("x"):rep(251) .. "\n" },
    { "a header line without end", ("message 1 "):rep(100000) },
    { "an unknown word", "hullo\n" },
    { "a word in capitals", "ACK 1\n" },
    { "a word with something behind it", "ends\n" },
    { "a space in front", " ack 1\n" },
    { "a space behind", "ack 1 \n" },
    { "two spaces", "ack  1\n" },
    { "a carriage return", "ack 1\r\n" },
    { "a zero byte", "ack 1\0\n" },
    { "message without a number", "message\nx" },
    { "message 0", "message 0\nx" },
    { "message 01", "message 01\nx" },
    { "message -1", "message -1\nx" },
    { "message +1", "message +1\nx" },
    { "message 1.0", "message 1.0\nx" },
    { "message 1e3", "message 1e3\nx" },
    { "message 0x10", "message 0x10\nx" },
    { "message nan", "message nan\nx" },
    { "a number of 2^53", "message 9007199254740992\nx" },
    { "a number of 17 digits", "message 10000000000000000\nx" },
    { "a number that is 1 modulo 2^64", "message 18446744073709551617\nx" },
    { "digits that are none of ASCII", "message \217\161\nx" },
    { "two numbers", "message 1 2\nx" },
    { "ack 0", "ack 0\n" },
    { "ack with a payload", "ack 1\nx" },
    { "skip with a payload", "skip 1\nx" },
    { "end with a payload", "end\nx" },
    { "end with a number", "end 1\n" },
    { "note with a number", "note 1\nx" },
    { "a binary ack", "ack 1\n", true },
    { "a binary skip", "skip 1\n", true },
    { "a binary end", "end\n", true },
    { "a binary hello", "hello 0123456789abcdef - 0 1\n", true },
    { "hello alone", "hello\n" },
    { "a session of 15 characters", "hello 0123456789abcde - 0 1\n" },
    { "a session of 65 characters", "hello " .. ("x"):rep(65) .. " - 0 1\n" },
    { "a session with a dot", "hello 0123456789abcde. - 0 1\n" },
    { "a session with a letter beyond ASCII", "hello 0123456789abcde\195\164 - 0 1\n" },
    { "an epoch of 65 characters", "hello 0123456789abcdef " .. ("x"):rep(65) .. " 0 1\n" },
    { "an empty epoch", "hello 0123456789abcdef  0 1\n" },
    { "hello without numbers", "hello 0123456789abcdef -\n" },
    { "hello with one number", "hello 0123456789abcdef - 0\n" },
    { "hello with three numbers", "hello 0123456789abcdef - 0 1 2\n" },
    { "hello with first 0", "hello 0123456789abcdef - 0 0\n" },
    { "hello with a number beyond", "hello 0123456789abcdef - 9007199254740992 1\n" },
    { "hello with a negative number", "hello 0123456789abcdef - -1 1\n" },
  }
  for _, case in ipairs(wrong) do
    it("is not " .. case[1], function()
      local kind, reason = links.parse(case[2], case[3] or false)
      assert.is_nil(kind)
      assert.equal("string", type(reason))
      assert.is_true(#reason > 0 and #reason <= 123) -- it goes into a Close frame
    end)
  end
end)

describe("a header line", function()
  it("has at most 256 bytes, whatever it says", function()
    assert.equal("a malformed hello", select(2, links.parse("hello " .. ("x"):rep(250) .. "\n", false)))
    assert.equal("a header line of more than 256 bytes", select(2, links.parse("hello " .. ("x"):rep(251) .. "\n", false)))
  end)
end)

describe("what comes after the hellos", function()
  it("is taken in order, once", function()
    local link = opened()
    assert.equal("message", link:take("message", 1))
    assert.equal("again", link:take("message", 1))
    assert.equal("message", link:take("message", 2))
    assert.equal("again", link:take("message", 1))
  end)

  local broken = {
    { "a message that leaves one out", "message", 3 },
    { "the last number there is", "message", 9007199254740991 },
    { "an ack of what was never sent", "ack", 3 },
    { "a second hello", "hello", {} },
  }
  for _, case in ipairs(broken) do
    it("may not be " .. case[1], function()
      local link = opened()
      add(link, "one", "two", "three")
      link:output()
      link:output()
      link:take("message", 1)
      local kind, reason = link:take(case[2], case[3])
      assert.is_nil(kind)
      assert.equal("string", type(reason))
      assert.equal(3, link:count())
      assert.equal(1, link.received)
    end)
  end

  it("is acknowledged once for all", function()
    local link = opened()
    assert.is_nil(link:acknowledgement())
    for n = 1, 5 do link:take("message", n) end
    assert.equal("ack 5\n", link:acknowledgement())
    assert.is_nil(link:acknowledgement())
    link:take("message", 3)
    assert.equal("ack 5\n", link:acknowledgement()) -- who asks again hears it again
  end)

  it("that could not be sent is due again", function()
    local link = opened(5)
    assert.equal("message", link:take("message", 6))
    assert.equal("ack 6\n", link:acknowledgement())
    assert.is_nil(link:acknowledgement())
    link:unsaid()
    assert.equal("ack 6\n", link:acknowledgement())
    assert.is_nil(link:acknowledgement())
  end)

  it("does not speak of a message that could not be delivered", function()
    local link = opened(5)
    link:take("message", 6)
    link:take("message", 7)
    link:untake(7)
    link:untake(5) -- not the last
    assert.equal("ack 6\n", link:acknowledgement())
    assert.equal("message", link:take("message", 7))
    assert.equal("ack 7\n", link:acknowledgement())
  end)

  it("is not acknowledged while it is deferred, nor what follows it", function()
    local link = opened()
    for n = 1, 4 do
      link:take("message", n)
      if n == 2 or n == 4 then assert.is_true(link:defer(n)) end
    end
    assert.is_false(link:defer(4))
    assert.is_false(link:defer(3))
    assert.equal("ack 1\n", link:acknowledgement())
    link:release(1)
    assert.is_nil(link:acknowledgement())
    link:release(2)
    assert.equal("ack 3\n", link:acknowledgement())
    link:release(9)
    assert.equal("ack 4\n", link:acknowledgement())
    assert.same({}, link.deferred)
  end)

  it("forgets what is acknowledged, and nothing twice", function()
    local link = opened()
    add(link, "a", "bb", "ccc")
    assert.same({ "message 1\na", "message 2\nbb", "message 3\nccc" }, outputs(link))
    assert.equal(6, link.bytes)
    local kind, entries = link:take("ack", 2)
    assert.equal("ack", kind)
    assert.equal(2, #entries)
    assert.equal(3, link.bytes)
    assert.same({}, select(2, link:take("ack", 2)))
    assert.same({}, select(2, link:take("ack", 1)))
    assert.equal(1, link:count())
  end)

  it("may be a skip, which is one step over all that will not come", function()
    local link = opened()
    assert.equal("skip", link:take("skip", 41))
    assert.equal("again", link:take("message", 41))
    assert.equal("message", link:take("message", 42))
    assert.equal("skip", link:take("skip", 1))
    assert.equal(42, link.received)
    link:take("message", 43)
    link:defer(43)
    link:take("skip", 44) -- nobody waits for the deferred one any more
    assert.equal("ack 44\n", link:acknowledgement())
  end)
end)

describe("what is given up", function()
  local function client()
    local link = links.new(SESSION)
    for at = 1, 4 do link:add { data = "m" .. at, binary = false, at = at } end
    return link
  end
  local function answer(link, received)
    return link:meet { session = SESSION, epoch = "e1", received = received or 0, first = 1 }
  end

  it("before the line is there, is told by the hello", function()
    local link = client()
    assert.equal(2, #link:expire(2))
    assert.equal("hello 0123456789abcdef - 0 3\n", link:hello())
    answer(link, 2)
    assert.same({ "message 3\nm3", "message 4\nm4" }, outputs(link))
  end)

  it("between the hellos, is skipped", function()
    local link = client()
    link:hello()
    link:expire(2)
    answer(link)
    assert.same({ "skip 2\n", "message 3\nm3", "message 4\nm4" }, outputs(link))
  end)

  it("before it went, is skipped; afterwards there is nothing to skip", function()
    local link = client()
    link:hello()
    answer(link)
    assert.equal("message 1\nm1", link:output())
    link:expire(3)
    assert.same({ "skip 3\n", "message 4\nm4" }, outputs(link))
    link:expire(4)
    assert.same({}, outputs(link))
    assert.equal(0, link:count())
    assert.equal("ack", link:take("ack", 4)) -- it had arrived
  end)
end)

describe("a hello", function()
  local function meets(link, epoch, received, first)
    return link:meet { session = SESSION, epoch = epoch, received = received, first = first }
  end

  it("continues what was, from what the other side has", function()
    local link = opened()
    add(link, "a", "b", "c")
    outputs(link)
    link:begin()
    assert.same({}, outputs(link)) -- nothing goes before it
    local continued, entries = meets(link, "e1", 2, 1)
    assert.is_true(continued)
    assert.equal(2, #entries)
    assert.equal("hello 0123456789abcdef e1 0 3\n", link:hello())
    assert.same({ "message 3\nc" }, outputs(link))
  end)

  it("takes over from a line that was slow", function()
    local link = opened()
    local sent = {}
    local socket = { readyState = 1, send = function(_, data)
      sent[#sent + 1] = data
      return false
    end }
    add(link, "a", "b")
    link:write(socket)
    link:write(socket)
    assert.same({ "message 1\na" }, sent)
    link:take("message", 1)
    assert.is_true(meets(link, "e1", 0, 1))
    assert.is_nil(link:acknowledgement()) -- the hello said it
    link:write(socket)
    assert.same({ "message 1\na", "message 1\na" }, sent)
  end)

  it("sends what must not be compressed with the same word to the socket", function()
    local link, sent = opened(), {}
    local socket = { readyState = 1, send = function(_, _, options)
      sent[#sent + 1] = options or "text"
      return true
    end }
    for _, options in ipairs { "binary", {}, { binary = true }, { compress = true }, { compress = false },
      { compress = false, binary = true } } do
      local bytes, binary, plain = links.bytes("x", options)
      link:add { data = bytes, binary = binary, plain = plain, at = 0 }
    end
    link:write(socket)
    assert.same({ "binary", "text", "binary", "text", { binary = false, compress = false }, { binary = true, compress = false } },
      sent)
  end)

  it("of a client that knows another memory does not count what that had sent", function()
    local link = opened()
    add(link, "a", "b")
    link:begin()
    assert.is_false(meets(link, "e0", 40, 8))
    assert.equal("hello 0123456789abcdef e1 7 1\n", link:hello())
    assert.same({ "message 1\na", "message 2\nb" }, outputs(link))
    assert.equal("message", link:take("message", 8))
  end)

  it("of a server that forgot starts its numbers over, and ours go on", function()
    local link = links.new(SESSION)
    link:hello()
    meets(link, "e1", 0, 1)
    add(link, "a", "b", "c")
    outputs(link)
    link:take("ack", 1)
    for n = 1, 9 do link:take("message", n) end
    link:begin()
    assert.equal("hello 0123456789abcdef e1 9 2\n", link:hello())
    assert.is_false(meets(link, "e2", 1, 1))
    assert.same({ "message 2\nb", "message 3\nc" }, outputs(link))
    assert.equal("message", link:take("message", 1))
  end)

  it("of a server that knows an earlier client of this session puts us behind that one", function()
    local link = links.new(SESSION)
    local receipt = {}
    link:add { data = "a", binary = false, at = 0, receipt = receipt }
    assert.equal(1, receipt.number)
    link:hello()
    local continued, entries = meets(link, "e1", 57, 3)
    assert.is_false(continued)
    assert.same({}, entries)
    assert.equal(58, receipt.number)
    assert.same({ "message 58\na" }, outputs(link))
    assert.equal("message", link:take("message", 3))
    assert.equal(1, #select(2, link:take("ack", 58)))
  end)

  it("puts us there, too, when some of ours were given up meanwhile", function()
    local link = links.new(SESSION)
    for at = 1, 4 do link:add { data = "m" .. at, binary = false, at = at } end
    link:expire(1)
    link:hello()
    link:expire(3)
    meets(link, "e1", 57, 1)
    assert.same({ "skip 59\n", "message 60\nm4" }, outputs(link))
  end)

  -- Two were deferred when the client's program ended. Its next run had its first two messages dropped as known: the
  -- hello said how far the messages were acknowledged, and they had been taken further.
  it("of a new client settles what the earlier one will not hear of", function()
    local link = opened()
    for n = 1, 3 do link:take("message", n) end
    assert.is_true(link:defer(3))
    link:begin()
    assert.is_false(meets(link, "-", 0, 1))
    assert.equal("hello 0123456789abcdef e1 3 1\n", link:hello())
  end)

  it("says of deferred ones that they may come again, and drops them then", function()
    local link = opened()
    link:take("message", 1)
    link:take("message", 2)
    link:defer(2)
    link:begin()
    assert.is_true(meets(link, "e1", 0, 2))
    assert.equal("hello 0123456789abcdef e1 1 1\n", link:hello())
    assert.equal("again", link:take("message", 2))
    link:release(2)
    assert.equal("ack 2\n", link:acknowledgement())
  end)

  local broken = {
    { "for another session", { session = "fedcba9876543210", epoch = "e1", received = 0, first = 1 } },
    { "that has more than was sent", { session = SESSION, epoch = "e1", received = 2, first = 1 } },
  }
  for _, case in ipairs(broken) do
    it("is refused " .. case[1] .. ", at both ends, and nothing changes", function()
      local server, client = opened(), links.new(SESSION)
      client:hello()
      meets(client, "e1", 0, 1)
      for _, link in ipairs { server, client } do
        add(link, "a", "b")
        link:output()
        local continued, reason = link:meet(case[2])
        assert.is_nil(continued)
        assert.equal("string", type(reason))
        assert.equal(2, link:count())
        assert.equal("message 2\nb", link:output())
      end
    end)
  end

  it("without an epoch is no server's", function()
    assert.is_nil((meets(links.new(SESSION), "-", 0, 1)))
  end)
end)

describe("whatever a hostile peer says", function()
  local words = { "hello", "message", "ack", "skip", "note", "end", "resend", "" }
  local numbers = { "0", "1", "2", "3", "4", "5", "01", "-1", "1e9", "9007199254740991", "9007199254740992", "x", "" }
  local rests = { "\n", "\n", "\nhi", "", "\n\0\255", "\r\n" }

  it("nothing is raised, nothing grows, and a refusal changes nothing", function()
    local state, refused, taken = 20260101, 0, 0
    local function pick(list)
      state = (state * 1103515245 + 12345) % 2147483648
      return list[math.floor(state / 65536) % #list + 1]
    end
    local booleans = { true, false, false, false }
    for _ = 1, 200 do
      local link = opened()
      add(link, "a", "b", "c")
      link:output()
      for _ = 1, 100 do
        local header = pick(words)
        if header == "hello" then
          header = ("hello %s %s %s %s"):format(pick { SESSION, SESSION, "short" }, pick { "e1", "-", "e0" }, pick(numbers),
            pick(numbers))
        elseif header ~= "note" and header ~= "end" or pick { 1, 2, 3, 4 } == 1 then
          header = header .. " " .. pick(numbers)
        end
        local kind, value = links.parse(header .. pick(rests), pick(booleans))
        local before = { link.received, link.first, link.sent, link.bytes, link:taken() }
        local result
        if kind == "hello" then
          if pick(booleans) then link:begin() end
          result = link:meet(value)
        elseif kind then
          result = link:take(kind, value)
        end
        if result == nil then
          refused = refused + 1
          assert.same(before, { link.received, link.first, link.sent, link.bytes, link:taken() })
        else
          taken = taken + 1
          if result == "message" and pick(booleans) then link:defer(value) end
        end
        link:acknowledgement()
        assert.is_true(link:count() <= 3 and #link.deferred <= 100)
        assert.is_true(link.received <= 9007199254740991 and link:taken() <= link.received)
      end
    end
    assert.is_true(refused > 5000 and taken > 2000, refused .. " " .. taken)
  end)
end)

-- --- two ends and the world between them ---------------------------------------------------------------------------

-- Two ends over a line that is cut at any moment, with whatever is under way lost. The server may lose its memory, the
-- client's program may start anew, the journal is written late. The judge knows only what the application sees: each
-- payload has a number of its own.
local function simulate(seed, steps, options)
  local state = seed
  local function chance(n) -- 1 to n
    state = (state * 1103515245 + 12345) % 2147483648
    return math.floor(state / 65536) % n + 1
  end

  local LIMIT = 50
  local client, server
  local up, down              -- what is under way; nil: no line
  local memories, time = 0, 0
  local journal = {}          -- { number, payload }: what survives the server
  local late = {}             -- taken, not in the journal yet
  local told, lost = {}, {}   -- payload -> "acknowledged", "expired"; that a program took with it
  local payloads = 0          -- made by clients
  local seen = {}             -- payloads that were delivered
  local lastHere, lastThere   -- delivered last, within this memory and program
  local answers = 0           -- made by this memory
  local counts = { delivered = 0, acknowledged = 0, expired = 0, again = 0, cuts = 0, forgets = 0, programs = 0, most = 0 }

  local function judge(fact, words, ...)
    if not fact then error(("seed %d: "):format(seed) .. words:format(...), 0) end
  end

  -- Both sockets take everything, and sometimes ask for a pause.
  local function socket(queue)
    return { readyState = 1, send = function(_, data, binary)
      queue[#queue + 1] = { data, binary == "binary" }
      return chance(10) > 1
    end }
  end
  local here, there
  local function both()
    local place = 0
    return function()
      place = place + 1
      if place == 1 then return client, here end
      if place == 2 then return server, there end
    end
  end

  local function settled(entries, what)
    for _, entry in ipairs(entries) do
      judge(not told[entry.data], "%s was decided twice", entry.data)
      told[entry.data] = what
      counts[what] = counts[what] + 1
    end
  end

  local function cut()
    if not up then return end
    up, down = nil, nil
    client:begin()
    if server then server:begin() end
    counts.cuts = counts.cuts + 1
  end

  local function connect()
    if up then return end
    up, down = {}, {}
    here, there = socket(up), socket(down)
    client:begin()
    here:send(client:hello())
  end

  local function start() -- a client's program
    cut()
    for i = client and client.first or 1, client and client.next - 1 or 0 do lost[client.queue[i].data] = true end
    client = options.sabotage and options.sabotage(links.new(SESSION)) or links.new(SESSION)
    lastHere, counts.programs = nil, counts.programs + 1
  end

  local function forget()
    cut()
    server, late = nil, {}
    counts.forgets = counts.forgets + 1
  end

  local function remember()
    memories, answers, lastThere = memories + 1, 0, nil
    local known = options.journal and journal[#journal] and journal[#journal][1]
    server = links.new(SESSION, "memory-" .. memories, known)
    if options.sabotage then options.sabotage(server) end
  end

  local function commit(n) -- the first n that are late
    for _ = 1, math.min(n, #late) do journal[#journal + 1] = table.remove(late, 1) end
    if server and journal[#journal] then server:release(journal[#journal][1]) end
  end

  local function arrives()
    local item = table.remove(up, 1)
    local kind, value, payload = links.parse(item[1], item[2])
    judge(kind, "the server cannot read `%s`: %s", item[1], value)
    if kind == "hello" then
      if not server then remember() end
      local continued, why = server:meet(value)
      judge(continued ~= nil, "the server refused a hello: %s", why)
      there:send(server:hello())
      return server:write(there)
    end
    local what, why = server:take(kind, value)
    judge(what, "the server refused `%s`: %s", item[1], why)
    if what == "again" then counts.again = counts.again + 1 end
    if what ~= "message" then return end
    local k = tonumber(payload)
    judge(not lastThere or k > lastThere, "%d came after %s", k, lastThere)
    lastThere = k
    seen[payload] = true
    counts.delivered = counts.delivered + 1
    if not options.journal then return end
    judge(server:defer(value), "%d cannot be deferred", value)
    late[#late + 1] = { value, payload }
    if chance(3) == 1 then commit(#late) end
  end

  local function returns()
    local item = table.remove(down, 1)
    local kind, value, payload = links.parse(item[1], item[2])
    judge(kind, "the client cannot read `%s`: %s", item[1], value)
    if kind == "hello" then
      local continued, entries = client:meet(value)
      judge(continued ~= nil, "the client refused a hello: %s", entries)
      if not continued then lastHere = nil end
      settled(entries, "acknowledged")
      return client:write(here)
    end
    local what, more = client:take(kind, value)
    judge(what, "the client refused `%s`: %s", item[1], more)
    if what == "ack" then settled(more, "acknowledged") end
    if what ~= "message" then return end
    local memory, k = payload:match "^(%d+):(%d+)$"
    judge(tonumber(memory) == memories, "an answer of memory %s in memory %d", memory, memories)
    judge(not lastHere or tonumber(k) == lastHere + 1, "answer %s came after %s", k, lastHere)
    lastHere = tonumber(k)
  end

  local function say()
    if client:count() >= LIMIT then return end
    payloads = payloads + 1
    client:add { data = tostring(payloads), binary = chance(2) == 1, at = time }
    if up then client:write(here) end
  end

  local function reply()
    if not server or server:count() >= LIMIT then return end
    answers = answers + 1
    server:add { data = memories .. ":" .. answers, binary = false, at = time }
    if up then server:write(there) end
  end

  local function acknowledge()
    for link, wire in both() do
      local data = up and link:acknowledgement()
      if data then wire:send(data) end
    end
  end

  local function drain()
    for link, wire in both() do
      link.full = false
      if up then link:write(wire) end
    end
  end

  local function expire()
    settled(client:expire(time - 200), "expired")
    if up then client:write(here) end
  end

  local function bounded()
    for link in both() do
      local n, bytes = 0, 0
      for _, entry in pairs(link.queue) do n, bytes = n + 1, bytes + #entry.data end
      judge(n == link:count() and n <= LIMIT, "%d are kept, %d counted", n, link:count())
      judge(bytes == link.bytes, "%d bytes are kept, %d counted", bytes, link.bytes)
      counts.most = math.max(counts.most, n)
    end
  end

  start()
  for step = 1, steps do
    time = time + 1
    local dice = chance(1000)
    if dice <= 200 then say()
    elseif dice <= 300 then reply()
    elseif dice <= 600 then if up and up[1] then arrives() end
    elseif dice <= 850 then if down and down[1] then returns() end
    elseif dice <= 900 then acknowledge()
    elseif dice <= 930 then drain()
    elseif dice <= 950 then cut()
    elseif dice <= 980 then connect()
    elseif dice <= 990 then commit(chance(3))
    elseif dice <= 995 then expire()
    elseif dice <= 998 then forget()
    elseif dice == 999 then start()
    end
    if step % 100 == 0 then bounded() end
  end

  -- The world calms down: everything that is kept goes over.
  for _ = 1, 20 do
    connect()
    while up[1] or down[1] do
      if up[1] then arrives() else returns() end
    end
    commit(#late)
    drain()
    acknowledge()
  end
  judge(client:count() == 0 and server:count() == 0, "%d and %d are still kept", client:count(), server:count())

  local entered, before = {}, 0
  for _, entry in ipairs(journal) do
    local payload = entry[2]
    judge(not entered[payload], "%s is in the journal twice", payload)
    judge(tonumber(payload) > before, "%s is in the journal after %d", payload, before)
    entered[payload], before = true, tonumber(payload)
  end
  for k = 1, payloads do
    local payload = tostring(k)
    judge(told[payload] or lost[payload], "nobody heard what became of %d", k)
    if told[payload] == "acknowledged" then
      judge(seen[payload], "%d was acknowledged and never delivered", k)
      judge(not options.journal or entered[payload], "%d was acknowledged and is not in the journal", k)
    end
  end
  return counts
end

describe("two ends over a line that is cut again and again #slow", function()
  local function total(steps, options)
    local sum = {}
    for seed = 1, 20 do
      for name, n in pairs(simulate(seed, steps, options)) do sum[name] = (sum[name] or 0) + n end
    end
    -- Each of these did happen; what is known comes again only while its acknowledgement is deferred.
    for name, n in pairs(sum) do assert.is_true(n > 0 or name == "again" and not options.journal, name) end
    if os.getenv "V" then
      print(("delivered %d, acknowledged %d, expired %d, again %d; cuts %d, forgets %d, programs %d"):format(sum.delivered,
        sum.acknowledged, sum.expired, sum.again, sum.cuts, sum.forgets, sum.programs))
    end
    return sum
  end

  it("have every acknowledged message once and in order in the journal, even when the server forgets everything", function()
    local sum = total(10000, { journal = true })
    assert.is_true(sum.acknowledged > 10000)
  end)

  it("without a journal deliver it once in each memory of the server", function()
    total(10000, { journal = false })
  end)

  -- The judge is judged: each of these takes one thing away.
  local sabotages = {
    { "duplicates are not dropped", function(link)
      function link:take(kind, n)
        if kind == "message" and n <= self.received then return "message" end
        return getmetatable(self).__index.take(self, kind, n)
      end
      return link
    end },
    { "nothing is sent again", function(link)
      function link:meet(hello)
        local continued, entries = getmetatable(self).__index.meet(self, hello)
        self.sent = self.next - 1
        return continued, entries
      end
      return link
    end },
    { "what is taken counts as acknowledged", function(link)
      function link:taken() return self.received end
      return link
    end },
    { "a new program begins at 1", function(link)
      function link:meet(hello)
        if self.epoch == "-" then hello.received = 0 end
        return getmetatable(self).__index.meet(self, hello)
      end
      return link
    end },
    { "the numbers of a new memory are taken for the old one's", function(link)
      function link:meet(hello)
        local before = self.received
        local continued, entries = getmetatable(self).__index.meet(self, hello)
        self.received = math.max(before, self.received)
        return continued, entries
      end
      return link
    end },
    { "an acknowledgement forgets one too many", function(link)
      function link:take(kind, n)
        return getmetatable(self).__index.take(self, kind, kind == "ack" and n < self.reached and n + 1 or n)
      end
      return link
    end },
    { "what was given up is not skipped", function(link)
      function link:output()
        if self.met and self.sent + 1 < self.first then self.sent = self.first - 1 end
        return getmetatable(self).__index.output(self)
      end
      return link
    end },
  }
  for _, case in ipairs(sabotages) do
    it("are caught when " .. case[1], function()
      local caught = false
      for seed = 1, 20 do
        local fine, verdict = pcall(simulate, seed, 10000, { journal = true, sabotage = case[2] })
        if not fine then
          assert.matches("^seed %d+: ", verdict)
          if os.getenv "V" then print(case[1] .. ": " .. verdict) end
          caught = true
          break
        end
      end
      assert.is_true(caught)
    end)
  end
end)
