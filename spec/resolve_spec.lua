-- resolve: getaddrinfo on helper threads. Names are told to the fake system; while its gate is
-- shut, their lookups wait in front of it.

local lfs = require "lfs"

local helper = require "spec.helper"
local desk = require "spec.system_helper"
local probe = require "lunawire.probe"
local sys = probe.sys

describe("a resolver", function()
  local resolver

  before_each(function()
    desk.open()
    sys.hosts { ["one.test"] = "192.0.2.1", ["two.test"] = "192.0.2.1,2001:db8::1,192.0.2.2", ["no.test"] = "" }
    resolver = desk.keep(assert(probe.resolver()))
  end)
  after_each(desk.clear)

  local function start(...) return desk.keep(assert(resolver:start(...))) end

  -- The owner of the next that is done, waiting for it.
  local function owner()
    local first = resolver:next()
    if first then return first end
    assert.is_true(sys.await(resolver:fd(), "r"))
    return resolver:next()
  end

  local function waiting(count)
    desk.await(function() return sys.waiting() == count end)
  end

  it("names the owner of a lookup that is done, which then has its addresses", function()
    local lookup = start(17, "two.test", 8080)
    assert.is_true(sys.await(resolver:fd(), "r"))
    assert.equal(17, resolver:next())
    assert.same({ "192.0.2.1:8080", "2001:db8::1:8080", "192.0.2.2:8080" }, lookup:result())
    assert.is_nil(resolver:next())
  end)

  it("asks for one family if told to", function()
    local four, six = start(4, "two.test", 80, 4), start(6, "two.test", 80, 6)
    assert.equal(10, owner() + owner())
    assert.same({ "192.0.2.1:80", "192.0.2.2:80" }, four:result())
    assert.same({ "2001:db8::1:80" }, six:result())
  end)

  it("knows this machine by name", function()
    local lookup = start(1, "localhost", 1, 4)
    assert.equal(1, owner())
    assert.equal("127.0.0.1:1", lookup:result()[1])
  end)

  it("gives a port of five digits its place", function()
    local lookup = start(1, "one.test", 65535)
    owner()
    assert.same({ "192.0.2.1:65535" }, lookup:result())
  end)

  it("tells what getaddrinfo says of a name that is none", function()
    local lookup = start(5, "no.test")
    assert.equal(5, owner())
    assert.same({ nil, "EAI_NONAME" }, { lookup:result() })
  end)

  it("tells what getaddrinfo says of its own troubles", function()
    sys.fail("getaddrinfo", "EAI_AGAIN")
    local lookup = start(5, "one.test")
    assert.equal(5, owner())
    assert.same({ nil, "EAI_AGAIN" }, { lookup:result() })
  end)

  it("has no answer before the lookup is done", function()
    sys.gate "shut"
    local lookup = start(1, "one.test")
    assert.same({ nil, "EAGAIN" }, { lookup:result() })
    assert.is_nil(resolver:next())
    assert.is_false(sys.await(resolver:fd(), "r", 0))
    sys.gate "open"
    assert.equal(1, owner())
  end)

  it("writes one byte for all that were done before somebody looked", function()
    local lookups = {}
    for i = 1, 5 do lookups[i] = start(i, "one.test") end
    desk.await(function() return lookups[1]:result() and lookups[2]:result() and lookups[3]:result()
      and lookups[4]:result() and lookups[5]:result() end)
    assert.equal(1, sys.calls "write")
    local sum = 0
    for i in function() return resolver:next() end do sum = sum + i end
    assert.equal(1 + 2 + 3 + 4 + 5, sum)
    assert.is_false(sys.await(resolver:fd(), "r", 0))
    local again = start(6, "one.test")
    assert.equal(6, owner())
    assert.is_table(again:result())
    assert.equal(2, sys.calls "write")
  end)

  it("is woken by the next lookup when a wake-up could not be written", function()
    sys.fail("write", "EAGAIN")
    local first = start(1, "one.test")
    desk.await(function() return first:result() end)
    assert.is_false(sys.await(resolver:fd(), "r", 0))
    start(2, "one.test")
    assert.is_true(sys.await(resolver:fd(), "r"))
    assert.equal(1, resolver:next())
    assert.equal(2, resolver:next())
  end)

  it("runs eight lookups at once, and the others when there is room", function()
    sys.gate "shut"
    for i = 1, 20 do start(i, "one.test") end
    waiting(8)
    sys.sleep(20)
    assert.equal(8, sys.waiting())
    assert.equal(8, sys.calls "pthread_create")
    sys.gate "open"
    local seen, count = {}, 0
    while count < 20 do
      local i = owner()
      assert.is_nil(seen[i])
      seen[i], count = true, count + 1
    end
    assert.equal(8, sys.calls "pthread_create")
  end)

  it("never names a lookup that was released, wherever it was by then", function()
    sys.gate "shut"
    local lookups = {}
    for i = 1, 10 do lookups[i] = start(i, "one.test") end
    waiting(8)
    lookups[9]:free() -- no thread has it yet
    lookups[1]:free() -- a thread is busy with it
    sys.gate "open"
    desk.await(function() return lookups[10]:result() and lookups[5]:result() end)
    lookups[5]:free() -- it is done
    desk.await(function() return sys.calls "getaddrinfo" == 9 and sys.waiting() == 0 end)
    for i = 2, 8 do
      if i ~= 5 then desk.await(function() return lookups[i]:result() end) end
    end
    local named = {}
    for i in function() return resolver:next() end do named[#named + 1] = i end
    table.sort(named)
    assert.same({ 2, 3, 4, 6, 7, 8, 10 }, named)
  end)

  it("frees the answer of a lookup released on its way", function()
    sys.gate "shut"
    local lookup = start(1, "two.test")
    waiting(1)
    lookup:free()
    sys.gate "open"
    desk.await(function() return sys.calls "getaddrinfo" == 1 and sys.waiting() == 0 and sys.lists() == 0 end)
    assert.is_nil(resolver:next())
  end)

  it("can be freed at once, with lookups waiting, under way and done", function()
    local done = start(100, "one.test")
    local named = start(101, "one.test")
    desk.await(function() return done:result() and named:result() end)
    assert.is_number(resolver:next())
    local writes = sys.calls "write"
    sys.gate "shut"
    local lookups = {}
    for i = 1, 10 do lookups[i] = start(i, "one.test") end
    waiting(8)
    local descriptors = sys.descriptors()
    resolver:free()
    assert.equal(descriptors - 2, sys.descriptors())
    sys.gate "open"
    desk.await(function() return lookups[8]:result() end)
    assert.same({ nil, "EAGAIN" }, { lookups[9]:result() }) -- nobody will ask any more
    assert.is_table(done:result())
    desk.await(function() return sys.waiting() == 0 end)
    assert.equal(2 + 8, sys.calls "getaddrinfo")
    assert.equal(writes, sys.calls "write") -- the pipe is closed, its number may be another's
  end)

  it("lets a lookup fail for which there is no thread", function()
    sys.fail("pthread_create", "EAGAIN")
    assert.same({ nil, "EAGAIN" }, { resolver:start(1, "one.test") })
    start(2, "one.test")
    assert.equal(2, owner())
    assert.is_nil(resolver:next())
  end)

  it("starts threads that take no signals", function()
    sys.gate "shut"
    start(1, "one.test")
    waiting(1)
    if not lfs.attributes "/proc/self/task" then return pending "needs Linux's /proc" end
    local INT, TERM, CHLD = 1 << 1, 1 << 14, 1 << 16
    local all = INT | TERM | CHLD
    local function blocks(status)
      return tonumber(helper.read(status):match "SigBlk:%s*(%x+)", 16) & all
    end
    local blocked = 0
    for task in lfs.dir "/proc/self/task" do
      if task:match "%d" and blocks("/proc/self/task/" .. task .. "/status") == all then blocked = blocked + 1 end
    end
    assert.equal(1, blocked)
    assert.equal(0, blocks "/proc/self/status") -- the caller's own mask is as it was
  end)

  it("says so when no descriptor or no memory is left", function()
    sys.fail("pipe", "EMFILE")
    assert.same({ nil, "EMFILE" }, { probe.resolver() })
    probe.starve(0)
    local made, made_err = probe.resolver()
    local started, started_err = resolver:start(1, "one.test")
    probe.starve()
    assert.same({ nil, "MEMORY" }, { made, made_err })
    assert.same({ nil, "MEMORY" }, { started, started_err })
  end)

  -- Foreign to valgrind: the child gives up the memory, which threads may have been changing.
  it("and its lookups can be freed in a forked child while threads are busy #foreign", function()
    sys.gate "shut"
    local lookups = {}
    for i = 1, 10 do lookups[i] = start(i, "one.test") end
    waiting(8)
    sys.stick(true) -- the first thread that is done will stop in the middle of telling, its lock held
    sys.gate "open"
    desk.await(sys.isStuck)
    assert.equal("returned", sys.fork(function()
      sys.alarm(5)
      local descriptors = sys.descriptors()
      for i = 1, 10 do lookups[i]:free() end
      resolver:free()
      assert(sys.descriptors() == descriptors - 2)
    end))
    sys.stick(false)
    for _ = 1, 10 do owner() end
    for i = 1, 10 do assert.is_table(lookups[i]:result()) end
  end)
end)
