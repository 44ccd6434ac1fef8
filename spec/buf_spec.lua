-- src/buf: a queue of bytes that lie in shared chunks.

local probe = require "lunawire.probe"

local CORK = 16 * 1024

local function all(buf)
  return table.concat(buf:slices())
end

describe("a queue of bytes", function()
  local pool, buf

  before_each(function()
    pool = probe.pool()
    buf = probe.buf(pool)
  end)

  it("is empty at first, and owns nothing", function()
    assert.equal(0, buf:length())
    assert.equal(0, buf:content())
    assert.same({}, buf:slices())
    assert.same({ 0, 0 }, { buf:spans() })
  end)

  it("gives back what was put in, in order", function()
    buf:append "one "
    buf:put("two ", 4)
    buf:append ""
    buf:append "three"
    assert.same({ "one two three" }, buf:slices())
    assert.equal(13, buf:length())
    buf:consume(3)
    assert.same({ " two three" }, buf:slices())
    buf:consume(10)
    assert.same({}, buf:slices())
    assert.equal(0, buf:length())
  end)

  it("fills one cork with what is small", function()
    for _ = 1, 128 do buf:append(("x"):rep(128)) end
    assert.equal(CORK, buf:length())
    assert.equal(1, #buf:slices())
    buf:append "x"
    assert.equal(2, #buf:slices())
  end)

  it("puts what does not fit the cork's rest into the next, in one piece", function()
    buf:append(("a"):rep(CORK - 10))
    buf:append(("b"):rep(11))
    assert.same({ ("a"):rep(CORK - 10), ("b"):rep(11) }, buf:slices())
  end)

  it("gives a large frame a chunk to measure, and goes on in a cork behind it", function()
    local large = ("L"):rep(CORK + 1)
    buf:append "small"
    buf:append(large)
    buf:append "small"
    assert.same({ "small", large, "small" }, buf:slices())
    buf:consume(buf:length())
    assert.equal(2, pool:kept()) -- the large chunk is not kept
  end)

  it("hands out the head as no more slices than asked for", function()
    for i = 1, 5 do buf:append(tostring(i):rep(CORK)) end
    assert.same({}, buf:slices(0))
    assert.same({ ("1"):rep(CORK), ("2"):rep(CORK) }, buf:slices(2))
    assert.equal(5, #buf:slices())
  end)

  it("needs no new memory in the steady state", function()
    buf:put "first"
    assert.equal(0, pool:kept())
    buf:consume(5)
    assert.equal(1, pool:kept())
    for _ = 1, 100 do
      for _ = 1, 20 do buf:put("frame", 3) end
      assert.equal(0, pool:kept()) -- it took the one that was there
      assert.same({ 1, 0 }, { buf:spans() })
      buf:consume(60)
      buf:consume(40)
      assert.equal(1, pool:kept())
    end
  end)

  it("gives every chunk back when it is emptied or cleared", function()
    for _, how in ipairs { "consume", "clear" } do
      for _ = 1, 12 do buf:append(("x"):rep(CORK)) end
      assert.same({ 12, 16 }, { buf:spans() })
      buf[how](buf, how == "consume" and buf:length() or nil)
      assert.equal(12, pool:kept())
      assert.same({ 0, 0 }, { buf:spans() })
      assert.equal(0, buf:length())
      buf:append "usable"
      assert.equal("usable", all(buf))
      buf:clear()
    end
  end)

  it("lets the pool keep sixteen chunks and no more", function()
    for _ = 1, 20 do buf:append(("x"):rep(CORK)) end
    buf:clear()
    assert.equal(16, pool:kept())
    pool:clear()
    assert.equal(0, pool:kept())
  end)

  it("goes round its ring", function()
    local wanted, n = "", 0
    for _ = 1, 200 do
      for _ = 1, 3 do
        n = n + 1
        local piece = tostring(n):rep(5000)
        buf:append(piece)
        wanted = wanted .. piece
      end
      local gone = math.min(#wanted, 3 * 15000 - 7)
      buf:consume(gone)
      wanted = wanted:sub(gone + 1)
      assert.is_true(all(buf) == wanted)
    end
  end)
end)

describe("reserved room", function()
  local pool, buf

  before_each(function()
    pool = probe.pool()
    buf = probe.buf(pool)
  end)

  it("may be used in part; the next takes up where it ended", function()
    buf:put("abc", 0, 100)
    buf:put("", 0, 100)
    buf:put("def", 0, 100)
    assert.same({ "abcdef" }, buf:slices())
  end)

  it("may be larger than a cork, and used in part", function()
    buf:put("abc", 0, 5 * CORK)
    buf:put(("x"):rep(4 * CORK), 0)
    assert.same({ "abc" .. ("x"):rep(4 * CORK) }, buf:slices())
  end)

  it("that is not committed is not queued, and serves the next", function()
    assert.is_true(buf:reserve(1000))
    assert.equal(0, buf:length())
    assert.same({}, buf:slices())
    buf:append "used"
    assert.same({ 1, 0 }, { buf:spans() })
    assert.same({ "used" }, buf:slices())
  end)

  it("that is not committed is given back with consume(0)", function()
    buf:reserve(1000)
    assert.equal(0, pool:kept())
    buf:consume(0)
    assert.equal(1, pool:kept())
    assert.same({ 0, 0 }, { buf:spans() })
  end)

  it("that is not committed behind other bytes does not show", function()
    buf:append(("a"):rep(CORK))
    buf:reserve(10)
    assert.equal(1, #buf:slices())
    buf:consume(CORK)
    assert.same({ 0, 0 }, { buf:spans() })
    assert.equal(2, pool:kept())
  end)

  it("of all memory is refused, and changes nothing", function()
    buf:append "here"
    for _, n in ipairs { -1, -16, -32 } do -- size_t at its end
      local result, name = buf:put("", 0, n)
      assert.is_nil(result)
      assert.equal("MEMORY", name)
    end
    assert.same({ "here" }, buf:slices())
    assert.is_nil(probe.chunk(pool, "", -1))
  end)
end)

describe("a chunk for many queues", function()
  local pool, a, b
  local large = ("L"):rep(3000)

  before_each(function()
    pool = probe.pool()
    a, b = probe.buf(pool), probe.buf(pool)
  end)

  it("is queued by reference, and lives until the last has let go", function()
    local chunk = probe.chunk(pool, large)
    assert.equal(1, chunk:refs())
    a:share(chunk, 2990)
    b:share(chunk, 2990)
    assert.equal(3, chunk:refs())
    a:consume(3000)
    assert.equal(2, chunk:refs())
    assert.same({ large }, b:slices())
    chunk:release()
    assert.equal(0, pool:kept())
    assert.same({ large }, b:slices())
    b:clear()
    assert.equal(1, pool:kept())
  end)

  it("is never written to by a queue that shares it", function()
    local chunk = probe.chunk(pool, "shared")
    a:share(chunk)
    b:share(chunk)
    a:append " of a"
    b:append " of b"
    assert.same({ "shared", " of a" }, a:slices())
    assert.same({ "shared", " of b" }, b:slices())
  end)

  it("is not written to while its maker holds it, either", function()
    local chunk = probe.chunk(pool, "shared")
    a:share(chunk)
    a:append "!"
    b:share(chunk)
    assert.same({ "shared", "!" }, a:slices())
    assert.same({ "shared" }, b:slices())
  end)

  it("has its own place among the queue's other bytes", function()
    local chunk = probe.chunk(pool, large)
    a:append "before "
    a:share(chunk)
    a:append " between "
    a:share(chunk)
    a:append " after"
    assert.equal("before " .. large .. " between " .. large .. " after", all(a))
    a:consume(10)
    assert.equal(large:sub(4) .. " between " .. large .. " after", all(a))
  end)

  it("that is empty adds nothing", function()
    local chunk = probe.chunk(pool, "", 100)
    a:share(chunk)
    assert.equal(1, chunk:refs())
    assert.same({ 0, 0 }, { a:spans() })
  end)

  it("to measure is not kept by the pool", function()
    local chunk = probe.chunk(pool, ("x"):rep(CORK + 1))
    assert.equal(CORK + 1, chunk:capacity())
    chunk:release()
    assert.equal(0, pool:kept())
  end)

  it("has the size of a cork whatever it holds", function()
    assert.equal(CORK, probe.chunk(pool, "x"):capacity())
    assert.equal(CORK, probe.chunk(pool, ("x"):rep(CORK)):capacity())
  end)

  it("for one frame is no larger than that, unless queues would rather copy it", function()
    for _, n in ipairs { 513, 1000, 3000, CORK - 1, CORK + 1 } do
      assert.equal(n, probe.chunk(pool, ("x"):rep(n), n, true):capacity())
    end
    for _, n in ipairs { 1, 512 } do assert.equal(CORK, probe.chunk(pool, ("x"):rep(n), n, true):capacity()) end
  end)

  it("for one frame is written to by nobody, though its maker and all others have let go", function()
    local chunk = probe.chunk(pool, ("f"):rep(1000), 1000, true)
    a:share(chunk)
    chunk:release()
    a:append "behind"
    assert.same({ ("f"):rep(1000), "behind" }, a:slices())
    a:clear()
    assert.equal(1, pool:kept()) -- the cork of what was behind, and not the frame's
  end)

  it("holds its bytes alone when it is small and others wait: they are copied", function()
    -- A subscriber who does not read must not hold 16 KiB for each small message published.
    a:append "own"
    local chunk = probe.chunk(pool, "published")
    a:share(chunk, 7)
    assert.equal(1, chunk:refs())
    assert.same({ "ownpublished" }, a:slices())
    assert.equal(7, a:content())
  end)

  it("costs a reader who never reads little more than its bytes", function()
    for i = 1, 5000 do
      local chunk = probe.chunk(pool, ("%010d"):format(i))
      a:share(chunk, 8)
      chunk:release()
    end
    assert.equal(50000, a:length())
    assert.equal(40000, a:content())
    assert.is_true(a:spans() <= 8, (a:spans()))
    local wanted = {}
    for i = 1, 5000 do wanted[i] = ("%010d"):format(i) end
    assert.equal(table.concat(wanted), all(a))
    a:clear()
    assert.is_true(pool:kept() <= 8)
  end)

  it("costs two of them no more, though neither may write to what the other holds", function()
    for _ = 1, 1000 do
      local chunk = probe.chunk(pool, "published ")
      a:share(chunk)
      b:share(chunk)
      chunk:release()
    end
    for _, queue in ipairs { a, b } do
      assert.equal(("published "):rep(1000), all(queue))
      assert.is_true(queue:spans() <= 8, (queue:spans()))
    end
  end)

  it("takes turns with frames of one receiver's own, and those get no cork each", function()
    -- Messages of 513 bytes for all and of one byte for him: a reader who did not read held 32 times what was queued for him.
    for _, n in ipairs { 513, 1000, 3000, CORK } do
      local wanted = {}
      for i = 1, 300 do
        local chunk = probe.chunk(pool, ("m"):rep(n), n, true)
        a:share(chunk)
        if i % 2 == 0 then b:share(chunk) end -- who shares it should make no difference
        chunk:release()
        a:append(("%03d"):format(i))
        wanted[i] = ("m"):rep(n) .. ("%03d"):format(i)
      end
      assert.is_true(a:rooms() <= 4 * CORK + 3 * a:length(), ("%d for %d"):format(a:rooms(), a:length()))
      for i = 1, 300 do
        assert.is_true(table.concat(a:slices(2)) == wanted[i], "message " .. i)
        a:consume(n + 3)
      end
      b:clear()
    end
  end)

  it("is copied into a queue that is frugal, when it is small, and that begins small", function()
    local frugal = probe.buf(pool, true)
    frugal:share(probe.chunk(pool, "for all", 7, true))
    frugal:append "its own"
    assert.equal("for allits own", all(frugal))
    assert.same({ 1, 0 }, { frugal:spans() })
    assert.is_true(frugal:rooms() < 2000, (frugal:rooms()))
    frugal:append(("x"):rep(3 * CORK))
    frugal:append(("y"):rep(CORK))
    assert.is_true(frugal:rooms() < 6 * CORK, (frugal:rooms()))
    a:append "its own"
    assert.is_true(a:rooms() >= CORK)
  end)

  it("is followed by as few corks as ever, once only small ones come", function()
    local chunk = probe.chunk(pool, ("m"):rep(600), 600, true)
    for _ = 1, 8 do a:share(chunk) end
    for _ = 1, 10000 do a:append "0123456789" end
    assert.is_true(a:spans() <= 8 + 4 + math.ceil(100000 / CORK), (a:spans()))
  end)

  it("goes by reference when it is larger, however many wait", function()
    -- 200 who do not read a broadcast should not each have a copy of it.
    for _, bytes in ipairs { large, ("m"):rep(513) } do
      local chunk = probe.chunk(pool, bytes)
      for _ = 1, 20 do a:share(chunk) end
      assert.equal(21, chunk:refs())
      assert.equal(bytes:rep(20), all(a))
      assert.same({ 20, 32 }, { a:spans() })
      a:clear()
    end
  end)
end)

describe("the content of a queue", function()
  local pool, buf

  before_each(function()
    pool = probe.pool()
    buf = probe.buf(pool)
  end)

  it("is what was put in as content, framing left out", function()
    buf:put("\x81\x05Hello", 5)
    buf:append "\x89\x00"
    buf:put("\x81\x02Hi", 2)
    assert.equal(7, buf:content())
    assert.equal(13, buf:length())
  end)

  it("is exact whenever no chunk is half gone", function()
    local head, body = ("h"):rep(4), ("b"):rep(CORK - 4)
    for _ = 1, 4 do buf:put(head .. body, #body) end
    for i = 3, 0, -1 do
      buf:consume(CORK)
      assert.equal(i * #body, buf:content())
    end
  end)

  it("lets the framing of a chunk that is half gone go first", function()
    buf:put("hhhhbbbbbb", 6)
    buf:consume(3)
    assert.equal(6, buf:content())
    buf:consume(1)
    assert.equal(6, buf:content())
    buf:consume(1)
    assert.equal(5, buf:content())
    buf:put("hhbb", 2)
    assert.equal(7, buf:content())
    buf:consume(5 + 4)
    assert.equal(0, buf:content())
  end)
end)

-- A plain model: what is queued as one string, and the framing and content of each piece of it.
local Model = {}
Model.__index = Model

local function model()
  return setmetatable({ bytes = "", pieces = {}, content = 0 }, Model)
end

function Model:add(text, content)
  self.bytes = self.bytes .. text
  self.content = self.content + content
  self.pieces[#self.pieces + 1] = { framing = #text - content, content = content }
end

function Model:consume(n)
  self.bytes = self.bytes:sub(n + 1)
  while n > 0 do
    local piece = self.pieces[1]
    local framing = math.min(n, piece.framing)
    local content = math.min(n - framing, piece.content)
    piece.framing, piece.content = piece.framing - framing, piece.content - content
    self.content, n = self.content - content, n - framing - content
    if piece.framing + piece.content == 0 then table.remove(self.pieces, 1) end
  end
end

describe("a queue under random use", function()
  local sizes = { 5, 100, 3000, 20000, 50000 }

  -- One step of the queue and its model.
  local function step(pool, buf, plain, count)
    local what, size = math.random(10), math.random(0, sizes[math.random(#sizes)])
    local text = (count .. ";"):rep(size // 2 + 1):sub(1, size)
    local content = math.max(0, size - math.random(0, 10))
    if what <= 3 then
      buf:put(text, content, size + math.random(0, 300))
      plain:add(text, content)
    elseif what <= 5 then
      local chunk = probe.chunk(pool, text)
      buf:share(chunk, content)
      plain:add(text, content)
      if math.random(2) == 1 then chunk:release() end
    elseif what == 6 then
      buf:append(text)
      plain:add(text, 0)
    elseif what == 7 then
      buf:reserve(math.random(0, 40000))
    else
      local queued = #plain.bytes
      local n = math.random(0, (queued > 150000 or what == 8) and queued or math.min(queued, 5000))
      buf:consume(n)
      plain:consume(n)
    end
  end

  for seed = 1, 8 do
    it("agrees with a plain string, with seed " .. seed .. (seed > 1 and " #slow" or ""), function()
      math.randomseed(seed)
      local pool = probe.pool()
      local buf, plain = probe.buf(pool), model()
      for count = 1, 400 do
        step(pool, buf, plain, count)
        if #buf:slices() < 64 and all(buf) ~= plain.bytes then error("other bytes at step " .. count) end
        if buf:length() ~= #plain.bytes then error("another length at step " .. count) end
        if buf:content() < plain.content or buf:content() > #plain.bytes then error("content at step " .. count) end
      end
      buf:consume(buf:length())
      assert.equal(0, buf:content())
      assert.same({ 0, 0 }, { buf:spans() })
    end)
  end
end)
