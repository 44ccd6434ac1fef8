-- lunawire.watch: foreign descriptors in the loop.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local sys = probe.sys
local watch, step = lunawire.watch, lunawire.step

describe("a watched descriptor", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("calls while there is something to read, with the handle", function()
    local r, w = turns.fd(sys.pipe())
    local calls, got = 0, nil
    local handle = watch(r, "r", function(...)
      calls = calls + 1
      got = { n = select("#", ...), ... }
    end)
    assert.equal(0, step())
    sys.write(w, "x")
    for i = 1, 3 do
      assert.equal(1, step())
      assert.equal(i, calls)
    end
    assert.equal(1, got.n)
    assert.equal(handle, got[1])
    sys.read(r)
    assert.equal(0, step())
    handle:close()
  end)

  it("calls at the end of a pipe", function()
    local r, w = turns.fd(sys.pipe())
    local ended
    local handle = watch(r, "r", function() ended = sys.read(r) == "" end)
    sys.close(w)
    assert.equal(1, step(5000))
    assert.is_true(ended)
    handle:close()
  end)

  it("calls while something may be written, and when nobody will read it", function()
    local r, w = turns.fd(sys.pipe())
    local calls = 0
    local handle = watch(w, "w", function() calls = calls + 1 end)
    assert.equal(1, step())
    assert.equal(1, step())
    while sys.write(w, ("x"):rep(4096)) do end -- full
    assert.equal(0, step())
    assert.equal(2, calls)
    while sys.read(r) do end
    assert.equal(1, step())
    while sys.write(w, ("x"):rep(4096)) do end
    assert.equal(0, step())
    sys.close(r)
    assert.equal(1, step(5000))
    handle:close()
  end)

  it("may be a terminal", function()
    local master = io.open("/dev/ptmx", "r+")
    if not master then return end -- a system without
    local calls = 0
    local handle = watch(master, "w", function(self)
      calls = calls + 1
      self:close()
    end)
    assert.equal(1, step(5000))
    assert.equal(1, calls)
    handle:close()
    master:close()
  end)

  it("may be a regular file, which is ready in every turn, for reading and for writing", function()
    local name = os.tmpname()
    local file = assert(io.open(name, "r+"))
    local order = {}
    local reader = watch(file, "r", function() order[#order + 1] = "r" end)
    assert.equal(0, lunawire.timeout())
    assert.equal(1, step(60000))
    assert.equal(1, step())
    assert.same({ "r", "r" }, order)
    local writer = watch(file, "w", function() order[#order + 1] = "w" end)
    step()
    assert.equal(2, step())
    reader:close()
    step()
    assert.equal(1, step())
    assert.equal("w", order[#order])
    writer:close()
    assert.equal(0, step())
    assert.is_nil(lunawire.timeout())
    file:close()
    os.remove(name)
  end)

  it("may be a Lua file, open or popen", function()
    local pipe = io.popen "echo hello; sleep 0.02; echo world"
    local lines = {}
    local handle
    handle = watch(pipe, "r", function(self)
      local line = pipe:read "l"
      lines[#lines + 1] = line
      if not line then self:close() end
    end)
    assert.is_true(lunawire.run(10000))
    assert.same({ "hello", "world" }, lines)
    handle:close()
    pipe:close()
  end)

  it("need not have its handle kept", function()
    local r, w = turns.fd(sys.pipe())
    local got
    watch(r, "r", function(self)
      got = sys.read(r)
      self:close()
    end)
    collectgarbage()
    collectgarbage()
    sys.write(w, "x")
    assert.equal(1, step(5000))
    assert.equal("x", got)
    assert.is_true(lunawire.run(0))
  end)

  it("stays open when its watch is closed", function()
    local r, w = turns.fd(sys.pipe())
    watch(r, "r", print):close()
    sys.write(w, "x")
    assert.equal(0, step())
    assert.equal("x", sys.read(r))
  end)
end)

describe("a descriptor watched for reading and for writing at once", function()
  before_each(turns.open)
  after_each(turns.clear)

  local a, b, order, reader, writer
  local function reads() order[#order + 1] = "r" end
  local function writes() order[#order + 1] = "w" end

  local function both(fd, first, second)
    order = {}
    for _, mode in ipairs { first, second } do
      if mode == "r" then reader = watch(fd, "r", reads) else writer = watch(fd, "w", writes) end
    end
  end

  local function turn()
    order = {}
    local handled = step()
    table.sort(order)
    local heard = table.concat(order)
    assert.equal(#heard, handled)
    return heard
  end

  for _, way in ipairs { { "r", "w" }, { "w", "r" } } do
    it(("(%s first) calls whom it concerns, both in one turn if need be"):format(way[1]), function()
      a, b = turns.fd(sys.pair())
      both(a, way[1], way[2])
      assert.equal("w", turn())
      sys.write(b, "x")
      assert.equal("rw", turn())
      assert.equal("rw", turn())
      while sys.write(a, ("x"):rep(4096)) do end
      assert.equal("r", turn())
      sys.read(a)
      assert.equal("", turn())
      reader:close()
      writer:close()
    end)

    it(("(%s first) goes on with the one when the other closes"):format(way[1]), function()
      for _, gone in ipairs { "r", "w" } do
        a, b = turns.fd(sys.pair())
        sys.write(b, "x")
        both(a, way[1], way[2])
        assert.equal("rw", turn())
        if gone == "r" then reader:close() else writer:close() end
        assert.equal(gone == "r" and "w" or "r", turn())
        if gone == "r" then reader = watch(a, "r", reads) else writer = watch(a, "w", writes) end
        assert.equal("rw", turn())
        reader:close()
        writer:close()
        assert.equal("", turn())
        assert.is_true(lunawire.run(0))
      end
    end)
  end

  it("calls one no more that the other has closed before its call", function()
    a, b = turns.fd(sys.pair())
    sys.write(b, "x")
    order = {}
    reader = watch(a, "r", function()
      order[#order + 1] = "r"
      writer:close()
      reader:close()
    end)
    writer = watch(a, "w", function()
      order[#order + 1] = "w"
      writer:close()
      reader:close()
    end)
    collectgarbage()
    assert.equal(1, step())
    assert.equal(1, #order)
    assert.is_true(lunawire.run(0))
  end)

  it("leaves to the next turn a watch that one has put in the other's place", function()
    a, b = turns.fd(sys.pair())
    sys.write(b, "x")
    local calls = 0
    order = {}
    local function later() calls = calls + 1 end
    local function replace(which)
      order[#order + 1] = which
      if calls > 0 or #order > 1 then return end
      if which == "r" then
        writer:close()
        writer = watch(a, "w", later)
      else
        reader:close()
        reader = watch(a, "r", later)
      end
      collectgarbage()
    end
    reader = watch(a, "r", function() replace "r" end)
    writer = watch(a, "w", function() replace "w" end)
    assert.equal(1, step())
    assert.equal(0, calls)
    assert.equal(2, step())
    assert.equal(1, calls)
    reader:close()
    writer:close()
  end)

  it("calls the other in the next turn when the one raises each time", function()
    a, b = turns.fd(sys.pair())
    sys.write(b, "x")
    reader = watch(a, "r", function() error("r", 0) end)
    writer = watch(a, "w", function() error("w", 0) end)
    local seen = {}
    for _ = 1, 6 do
      local _, err = pcall(step)
      seen[err] = (seen[err] or 0) + 1
    end
    assert.same({ r = 3, w = 3 }, seen)
    reader:close()
    writer:close()
  end)

  it("takes one watch each way", function()
    a, b = turns.fd(sys.pair())
    both(a, "r", "w")
    for _, mode in ipairs { "r", "w" } do
      local message = wire.mistake("InvalidStateError", watch, a, mode, print)
      assert.matches(("descriptor %d is watched already"):format(a), message)
    end
    assert.equal("w", turn()) -- and both are as they were
    sys.write(b, "x")
    assert.equal("rw", turn())
    reader:close()
    reader = watch(a, "r", reads)
    assert.equal("rw", turn())
    reader:close()
    writer:close()
    assert.is_true(lunawire.run(0))
  end)
end)

describe("a watch", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("may close itself in its own call, and closing twice is once", function()
    local r, w = turns.fd(sys.pipe())
    sys.write(w, "x")
    local calls, handle = 0, nil
    handle = watch(r, "r", function(self)
      calls = calls + 1
      self:close()
      self:close()
      handle:close()
      collectgarbage()
    end)
    assert.equal(1, step(5000))
    assert.equal(0, step())
    assert.equal(1, calls)
    handle:close()
    local again = watch(r, "r", function() calls = calls + 1 end)
    handle:close() -- the first: not the second's business
    assert.equal(1, step())
    assert.equal(2, calls)
    again:close()
    assert.is_true(lunawire.run(0))
  end)

  it("may be closed by another that is called before it in the same turn", function()
    local r1, w1 = turns.fd(sys.pipe())
    local r2, w2 = turns.fd(sys.pipe())
    sys.write(w1, "x")
    sys.write(w2, "x")
    local calls, one, two = 0, nil, nil
    local function close()
      calls = calls + 1
      one:close()
      two:close()
    end
    one, two = watch(r1, "r", close), watch(r2, "r", close)
    assert.equal(1, step(5000))
    assert.equal(1, calls)
    assert.is_true(lunawire.run(0))
  end)

  it("may be a <close> variable", function()
    local r, w = turns.fd(sys.pipe())
    sys.write(w, "x")
    do
      local _ <close> = watch(r, "r", print)
    end
    assert.equal(0, step())
    assert.is_true(lunawire.run(0))
  end)

  it("lets go of its function when it is closed", function()
    local r = turns.fd(sys.pipe())
    local weak = setmetatable({}, { __mode = "v" })
    local function make()
      local thing = {}
      weak[1] = thing
      return watch(r, "r", function() return thing end)
    end
    local handle = make()
    collectgarbage()
    assert.is_not_nil(weak[1])
    handle:close()
    collectgarbage()
    assert.is_nil(weak[1])
  end)

  it("says what it is, hides its metatable, and survives __gc by hand, twice", function()
    local r, w = turns.fd(sys.pipe())
    sys.write(w, "x")
    local handle = watch(r, "r", function() error "it was called" end)
    assert.matches("^lunawire%.Watch", tostring(handle))
    assert.is_false(getmetatable(handle))
    local gc = debug.getmetatable(handle).__gc
    gc(handle)
    gc(handle)
    gc {}
    gc()
    assert.equal(0, step())
    assert.is_true(lunawire.run(0))
    handle:close()
    assert.matches("lunawire.Watch expected, got FILE", wire.mistake("TypeError", handle.close, io.stdout))
  end)

  describe("of a descriptor that was closed meanwhile", function()
    it("is merely silent, and can be closed", function()
      local r, w = sys.pipe()
      local handle = watch(r, "r", function() error "it was called" end)
      sys.write(w, "x")
      sys.close(r)
      sys.close(w)
      assert.equal(0, step(5))
      assert.is_false(lunawire.run(5))
      handle:close()
      assert.is_true(lunawire.run(0))
    end)

    it("does not keep its number's new owner from being watched, nor takes it away", function()
      for _, mode in ipairs { "r", "w", "both" } do
        local a, b = sys.pair()
        local old = {}
        if mode ~= "w" then old[1] = watch(a, "r", function() error "the old one was called" end) end
        if mode ~= "r" then
          old[#old + 1] = watch(a, "w", function() end)
          while sys.write(a, ("x"):rep(4096)) do end
        end
        sys.close(a)
        sys.close(b)
        local c, d = sys.pair()
        assert.equal(a, c) -- or this shows nothing
        local reads, writes = 0, 0
        local reader = watch(c, "r", function() reads = reads + 1 end)
        sys.write(d, "x")
        assert.equal(1, step(5000))
        for _, handle in ipairs(old) do
          handle:close()
          collectgarbage()
          assert.equal(1, step(5000))
        end
        assert.equal(1 + #old, reads)
        local writer = watch(c, "w", function() writes = writes + 1 end)
        assert.equal(2, step(5000))
        assert.equal(1, writes)
        assert.is_false(pcall(watch, c, "r", print))
        reader:close()
        writer:close()
        assert.equal(0, step())
        assert.is_true(lunawire.run(0))
        sys.close(c)
        sys.close(d)
      end
    end)
  end)

  it("refuses what cannot be watched", function()
    local closed = io.tmpfile()
    closed:close()
    local r, w = sys.pipe()
    sys.close(r)
    sys.close(w)
    local function fn() end
    assert.matches("the file is closed", wire.mistake("TypeError", watch, closed, "r", fn))
    assert.matches("watch descriptor " .. r .. ": .*[Bb]ad file", wire.mistake("SystemError", watch, r, "r", fn))
    for _, value in ipairs { "0", {}, true, fn } do
      assert.matches("a descriptor or a file expected", wire.mistake("TypeError", watch, value, "r", fn))
    end
    assert.matches("a descriptor or a file expected, got nil", wire.mistake("TypeError", watch, nil, "r", fn))
    for _, value in ipairs { -1, 1.5, 2 ^ 40, 0 / 0, math.huge, -math.huge } do
      assert.matches("is no descriptor", wire.mistake("TypeError", watch, value, "r", fn))
    end
    local a = turns.fd(sys.pair())
    for _, mode in ipairs { "rw", "", "R", "r\0", "\0", 1, {}, true } do
      assert.matches('"r" or "w" expected', wire.mistake("TypeError", watch, a, mode, fn))
    end
    assert.matches('"r" or "w" expected, got nil', wire.mistake("TypeError", watch, a))
    for _, value in ipairs { "f", 1, {} } do
      assert.matches("a function expected", wire.mistake("TypeError", watch, a, "r", value))
    end
    assert.matches("a function expected, got nil", wire.mistake("TypeError", watch, a, "r"))
    assert.is_true(lunawire.run(0))
    collectgarbage()
    local calls = 0
    local handle = watch(a, "w", function() calls = calls + 1 end) -- what was refused left no trace
    assert.equal(1, step())
    handle:close()
  end)

  it("serves a line of text from standard input #foreign", function()
    local output, status = helper.run(("printf 'one\\ntwo\\n' | %s"):format(helper.lua("-e " .. helper.quote [[
      local lunawire = require "lunawire"
      io.stdin:setvbuf "no"
      lunawire.watch(io.stdin, "r", function(self)
        local line = io.read "l"
        if line then print("got " .. line) else self:close() end
      end)
      print(lunawire.run(5000))]])))
    assert.equal("got one\ngot two\ntrue\n", output)
    assert.equal(0, status)
  end)
end)
