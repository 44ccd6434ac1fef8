-- Long messages: their payload comes while they are sent, control frames pass between their
-- fragments (RFC 6455, 5.4), and what was queued behind them waits.

local files = require "spec.helper"
local frames = require "spec.frames"
local helper = require "spec.session_helper"
local probe = require "lunawire.probe"

local FRAGMENT = 65536

local function payload(n)
  local parts = {}
  for i = 1, math.ceil(n / 8) do parts[i] = ("%08x"):format(i) end
  return table.concat(parts):sub(1, n)
end

-- Gives the session what it wants of `data` from place `at` on. Where it has come to.
local function feed(session, data, at)
  while session:wants() > 0 do
    local n = session:wants()
    session:fill(data:sub(at, at + n - 1))
    at = at + n
  end
  return at
end

-- All the session says while it is given `data`, taken `most` bytes at a time.
local function drain(session, data, most)
  local parts, at = {}, 1
  repeat
    at = feed(session, data, at)
    local bytes = session:output(most)
    parts[#parts + 1] = bytes
  until bytes == "" and session:wants() == 0
  return table.concat(parts)
end

-- The memory this process has in use, in bytes.
local function resident()
  return tonumber(files.read("/proc/self/statm"):match "^%d+ (%d+)") * 4096
end

-- "binary 3 more", "continuation 2", "close 1000" …
local function words(role, bytes)
  local list = {}
  for i, frame in ipairs(frames.parse(bytes)) do
    assert.equal(role == "client", frame.key ~= nil)
    local name
    for word, opcode in pairs(frames.opcodes) do
      if opcode == frame.opcode then name = word end
    end
    if name == "close" then
      list[i] = "close " .. (frame.payload:byte(1) * 256 + frame.payload:byte(2))
    elseif name == "text" or name == "ping" or name == "pong" then
      list[i] = name .. " " .. frame.payload
    else
      list[i] = name .. " " .. #frame.payload .. (frame.fin and "" or " more")
    end
  end
  return list
end

local function joined(bytes)
  local parts = {}
  for _, frame in ipairs(frames.parse(bytes)) do
    if frame.opcode == 2 or frame.opcode == 0 then parts[#parts + 1] = frame.payload end
  end
  return table.concat(parts)
end

for _, role in ipairs { "server", "client" } do
  describe("a long message of a " .. role, function()
    for _, n in ipairs { 1, 125, 126, 65535, FRAGMENT, FRAGMENT + 1, 3 * FRAGMENT, 3 * FRAGMENT + 5 } do
      it(("of %d bytes goes in fragments, its bytes as they were given"):format(n), function()
        local session, data = probe.session(role), payload(n)
        assert.is_true(session:begin(n))
        assert.equal(n, session:buffered())
        local bytes = drain(session, data)
        local expected, left = {}, n
        while left > 0 do
          local size = math.min(left, FRAGMENT)
          left = left - size
          expected[#expected + 1] = (#expected == 0 and "binary " or "continuation ") .. size .. (left > 0 and " more" or "")
        end
        assert.same(expected, words(role, bytes))
        assert.is_true(joined(bytes) == data)
        assert.equal(0, session:buffered())
        assert.is_false(session:pending())
      end)
    end

    it("goes in smaller ones where fragmentSize is smaller, and never in larger", function()
      local session = probe.session(role, { fragmentSize = 3 })
      session:begin(8)
      assert.same({ "binary 3 more", "continuation 3 more", "continuation 2" }, words(role, drain(session, "abcdefgh")))
      session = probe.session(role, { fragmentSize = 1000000 })
      session:begin(FRAGMENT + 1)
      assert.same({ "binary 65536 more", "continuation 1" }, words(role, drain(session, payload(FRAGMENT + 1))))
    end)

    it("is fetched a fragment at a time: what is ready stays little", function()
      local session, most = probe.session(role), 0
      session:begin(1000000)
      local data, at = payload(1000000), 1
      repeat
        at = feed(session, data, at)
        local _, _, held, framing = session:places()
        most = math.max(most, held + framing)
      until session:output(1000) == "" and session:wants() == 0
      assert.is_true(most <= FRAGMENT + 16384 + 2 * 14, tostring(most))
    end)

    it("comes before what was queued after it, and after what was queued before", function()
      local session = probe.session(role, { fragmentSize = 4 })
      session:send("text", "one")
      session:begin(6)
      session:send("text", "two")
      session:begin(2)
      session:send("text", "3")
      session:send("text", "4")
      assert.equal(3 + 6 + 3 + 2 + 1 + 1, session:buffered())
      assert.same({ "text one", "binary 4 more", "continuation 2", "text two", "binary 2", "text 3", "text 4" },
        words(role, drain(session, "abcdefgh")))
      assert.equal(0, session:buffered())
    end)

    it("costs as little, when many wait in turns with short ones, as these need", function()
      -- Each of the queues behind them had a cork of 16 KiB to itself.
      local sessions, before = {}, resident()
      for i = 1, 20 do
        sessions[i] = probe.session(role)
        for _ = 1, 500 do
          sessions[i]:begin(100)
          sessions[i]:send("text", "short")
        end
      end
      local each = (resident() - before) / (#sessions * 500)
      assert.is_true(each < 2500, each)
    end)

    it("lets pings and pongs pass between its fragments", function()
      local session = probe.session(role, { fragmentSize = 4 })
      session:begin(12)
      session:send("text", "last")
      session:fill "abcd"
      session:ping "p"
      session:feed(helper.arriving(role, { { "ping", payload = "q" } }))
      assert.same({ "binary 4 more", "ping p", "pong q" }, words(role, session:output()))
      session:fill "efgh"
      session:ping "r"
      assert.same({ "continuation 4 more", "ping r" }, words(role, session:output()))
      session:fill "ijkl"
      session:ping "s"
      assert.same({ "continuation 4", "ping s", "text last" }, words(role, session:output()))
      assert.is_false(session:pending())
    end)

    it("is cut nowhere by how much is taken at a time", function()
      local data = payload(70000)
      for _, most in ipairs { 1, 7, 1000, 16384, 65536 } do
        local session = probe.session(role)
        session:send("text", "before")
        session:begin(#data)
        session:ping "p"
        session:send("text", "last")
        local bytes = drain(session, data, most)
        assert.same({ "text before", "ping p", "binary 65536 more", "continuation 4464", "text last" }, words(role, bytes))
        assert.is_true(joined(bytes) == data)
      end
    end)

    it("knows from the beginning where messages will end, whatever passes between", function()
      local session, data = probe.session(role), payload(3 * FRAGMENT + 10)
      local ends, at, taken, apart = {}, 1, 0, 0
      local function note()
        local _, written = session:places()
        ends[#ends + 1] = written
      end
      session:send("text", "before")
      note()
      session:begin(#data)
      note()
      session:send("text", "last")
      note()
      session:begin(300)
      note()
      data = data .. payload(300)
      local parts = {}
      repeat
        at = feed(session, data, at)
        if taken < 3 * FRAGMENT and #parts % 3 == 0 then
          session:ping("12345")
          apart = apart + (role == "client" and 11 or 7)
        end
        local bytes = session:output(30000)
        taken = taken + #bytes
        parts[#parts + 1] = bytes
        local gone, written = session:places()
        assert.equal(ends[4], written)
        assert.is_true(gone <= taken)
      until bytes == ""
      -- where they do end
      local places, data_end, index = {}, 0, 0
      local bytes = table.concat(parts)
      for _, frame in ipairs(frames.parse(bytes)) do
        if frame.opcode < 8 then
          local size = #frame.payload
          data_end = data_end + size + (size < 126 and 2 or size < 65536 and 4 or 10) + (role == "client" and 4 or 0)
          if frame.fin then
            index = index + 1
            places[index] = data_end
          end
        end
      end
      assert.same(places, ends)
      assert.equal(ends[4] + apart, #bytes)
      assert.is_true(apart >= 14)
      assert.equal(ends[4], (session:places()))
    end)

    it("goes before our own Close", function()
      local session = probe.session(role, { fragmentSize = 4 })
      session:begin(6)
      session:send("text", "last")
      session:close(1000)
      assert.is_nil(session:begin(1))
      assert.same({ "binary 4 more", "continuation 2", "text last", "close 1000" }, words(role, drain(session, "abcdef")))
    end)

    it("is given up when the peer closes, and stays counted", function()
      local session = probe.session(role, { fragmentSize = 4 })
      session:begin(8)
      session:send("text", "last")
      session:fill "abcd"
      session:feed(helper.arriving(role, { { "close", payload = frames.closing(1001) } }))
      assert.equal(0, session:wants())
      assert.same({ "binary 4 more", "close 1001" }, words(role, session:output()))
      assert.is_false(session:pending())
      assert.equal(4 + 4, session:buffered())
    end)

    it("that is whole, and what waits behind it, goes before the answer to a Close", function()
      local session = probe.session(role, { fragmentSize = 4 })
      session:begin(4)
      session:send("text", "behind")
      session:begin(4)
      session:send("text", "lost")
      session:fill "abcd"
      session:output(1)
      session:feed(helper.arriving(role, { { "close", payload = frames.closing(1001) } }))
      local first, rest = "\130", session:output()
      assert.same({ "binary 4", "text behi", "continuation 2", "close 1001" }, words(role, first .. rest))
      assert.is_false(session:pending())
    end)

    it("is given up when the peer breaks the protocol", function()
      local session = probe.session(role, { fragmentSize = 4 })
      session:begin(8)
      session:feed(helper.arriving(role, { { 3, payload = "" } }))
      assert.equal(0, session:wants())
      assert.same({ "close 1002" }, words(role, session:output()))
    end)

    it("that cannot be had ends the session: the peer hears 1011 in its middle", function()
      local session = probe.session(role, { fragmentSize = 4 })
      session:begin(8)
      session:fill "abcd"
      session:breakOff()
      assert.equal("failed", session:state())
      assert.same({ "binary 4 more", "close 1011" }, words(role, session:output()))
      assert.is_false(session:pending())
    end)

    it("that cannot be had leaves what has arrived where it is", function()
      local session, data = probe.session(role), ("x"):rep(3000)
      session:begin(8)
      session:feed(helper.arriving(role, { { "binary", payload = data, fin = false } }))
      session:give(helper.arriving(role, { { "continuation", payload = "y" } }))
      assert.equal(data .. "y", session:next().data)
      session:breakOff()
      assert.equal(data .. "y", session:data())
      assert.is_nil(session:next())
      assert.equal(0, session:held())
    end)

    it("that cannot be had takes the place of a Close that waits behind it", function()
      local session = probe.session(role, { fragmentSize = 4 })
      session:begin(8)
      session:close(1000)
      session:breakOff()
      assert.same({ "close 1011" }, words(role, session:output()))
    end)

    it("can be left behind: what is ready goes, then the Close frame", function()
      local session = probe.session(role, { fragmentSize = 4 })
      session:begin(8)
      session:fill "abcd"
      session:ping "p"
      session:close(1001)
      session:forsake()
      assert.same({ "binary 4 more", "ping p", "close 1001" }, words(role, session:output()))
      assert.is_false(session:pending())
      assert.equal(4, session:buffered())
    end)

    -- Who was told that all up to a place has gone would not send again what ends before it: the
    -- Close frame was counted, and so a short message that had never gone.
    it("that is left behind is not reached by the Close frame that passes it", function()
      local session = probe.session(role, { fragmentSize = 4 })
      session:send("binary", "before")
      local _, before = session:places()
      session:begin(8)
      local _, written = session:places()
      assert.is_true(#session:output() > 0)
      session:breakOff()
      assert.same({ "close 1011" }, words(role, session:output()))
      local gone, still = session:places()
      assert.same({ before, written }, { gone, still })
    end)

    it("queues nothing where there is no memory for it", function()
      local session = probe.session(role)
      probe.starve(0)
      local fine, why = session:begin(8)
      probe.starve()
      assert.is_nil(fine)
      assert.equal("MEMORY", why)
      assert.equal(0, session:buffered())
    end)
  end)
end
