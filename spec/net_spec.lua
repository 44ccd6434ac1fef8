-- net: connect, listen, accept.

local lfs = require "lfs"

local helper = require "spec.helper"
local desk = require "spec.system_helper"
local probe = require "lunawire.probe"
local sys = probe.sys

local ms = 1000000

local sample = probe.poll()
local isEpoll = sample:name() == "epoll"
sample:free()

local function listen(options)
  local fd, address, port = probe.listen(options)
  if fd then desk.fd(fd) end
  return fd, address, port
end

-- The guest that is waiting at a listener.
local function accept(listener, noDelay)
  assert.is_true(sys.await(listener, "r"))
  local fd, address, port = probe.accept(listener, noDelay)
  return desk.fd(fd), address, port
end

describe("a dial", function()
  local loop, source

  before_each(function()
    desk.open()
    loop = desk.keep(probe.loop())
    source = desk.keep(loop:source "dial")
  end)
  after_each(desk.clear)

  local function start(options)
    return desk.keep(assert(loop:dial(source, options)))
  end

  -- Turns the loop until the dial has come to an end. What it says then, descriptors put on the desk.
  local function outcome(dial)
    for _ = 1, 100 do
      assert(loop:turn(200 * ms))
      for name in function() return loop:next() end do
        assert.equal("dial", name)
        local fd, err = dial:next()
        if fd then desk.fd(fd) end
        if fd ~= false then return fd, err end
      end
    end
    error "the dial came to no end"
  end

  it("reaches a literal address, without a thread", function()
    for host in ("127.0.0.1 ::1"):gmatch "%S+" do
      local listener, address, port = listen { host = host }
      assert.equal(host, address)
      local fd = outcome(start { host = host, port = port })
      local guest = accept(listener)
      sys.write(fd, "hello")
      assert.is_true(sys.await(guest, "r"))
      assert.equal("hello", sys.read(guest))
    end
    assert.equal(0, sys.calls "pthread_create")
  end)

  it("leaves the descriptor of its source alone, and gives its socket away connected", function()
    local _, _, port = listen {}
    local dial = start { host = "127.0.0.1", port = port }
    local fd = outcome(dial)
    assert.equal(-1, source:fd())
    assert.equal("cloexec nonblocking", sys.flags(fd))
    assert.same({}, desk.turn(loop, 0)) -- writable, but nobody waits for that
    source:fd(fd)
    assert.is_true(source:watch "w")
    assert.same({ "dial w" }, desk.turn(loop, 0))
    dial:free()
    assert.same({ "dial w" }, desk.turn(loop, 0))
  end)

  it("sets TCP_NODELAY, or leaves it", function()
    local _, _, port = listen {}
    for _, wanted in ipairs { true, false } do
      local fd = outcome(start { host = "127.0.0.1", port = port, noDelay = wanted })
      assert.equal(wanted, sys.option(fd, "noDelay"))
      source:leave()
      source:free()
      source = desk.keep(loop:source "dial")
    end
  end)

  it("has the name looked up by a helper", function()
    local listener, _, port = listen {}
    sys.hosts { ["chat.test"] = "127.0.0.1" }
    local fd = outcome(start { host = "chat.test", port = port })
    local _, address, guestPort = accept(listener)
    assert.same({ "127.0.0.1", guestPort }, { sys.name(fd) })
    assert.equal("127.0.0.1", address)
    assert.equal(1, sys.calls "pthread_create")
  end)

  it("reaches localhost, at whichever of its addresses there is somebody", function()
    for _, host in ipairs { "127.0.0.1", "::1" } do
      sys.reset()
      local listener, _, port = listen { host = host }
      sys.hosts { localhost = "::1,127.0.0.1" }
      assert.is_number(outcome(start { host = "localhost", port = port }))
      accept(listener)
      source:free()
      source = desk.keep(loop:source "dial")
    end
  end)

  it("goes on to the next address when one refuses, and closes what it tried", function()
    local listener, _, port = listen { host = "127.0.0.1" }
    sys.hosts { ["chat.test"] = "127.0.0.2,127.0.0.3,::1,127.0.0.1" }
    assert(loop:open())
    local before, sockets = sys.descriptors(), sys.calls "socket"
    local dial = start { host = "chat.test", port = port }
    local fd = outcome(dial)
    dial:free()
    local _, address = sys.name(fd)
    assert.is_number(address)
    accept(listener)
    assert.equal(sockets + 4, sys.calls "socket")
    assert.equal(before + 4, sys.descriptors()) -- the socket, its guest, the resolver's pipe
  end)

  it("tries only addresses of the family asked for", function()
    local _, _, port = listen { host = "127.0.0.1" }
    sys.hosts { ["both.test"] = "::1,127.0.0.1" }
    local fd = outcome(start { host = "both.test", port = port, family = 4 })
    assert.equal("127.0.0.1", (sys.name(fd)))
    source:free()
    source = desk.keep(loop:source "dial")
    assert.same({ nil, "ECONNREFUSED" }, { outcome(start { host = "both.test", port = port, family = 6 }) })
  end)

  it("finds no address when a literal is of the other family, without a thread or a socket", function()
    assert.same({ nil, "NO_ADDRESS" }, { outcome(start { host = "127.0.0.1", port = 1, family = 6 }) })
    assert.equal(0, sys.calls "pthread_create")
    assert.equal(0, sys.calls "socket")
  end)

  it("tells that nobody is there, and goes on telling it", function()
    local held, port = sys.reserve()
    desk.fd(held)
    sys.hosts { ["chat.test"] = "127.0.0.1,127.0.0.1" }
    local dial = start { host = "chat.test", port = port }
    assert.same({ nil, "ECONNREFUSED" }, { outcome(dial) })
    assert.same({ nil, "ECONNREFUSED" }, { dial:next() })
    assert.equal(-1, source:fd())
  end)

  it("tells what the helper says of the name", function()
    sys.hosts { ["no.test"] = "" }
    assert.same({ nil, "EAI_NONAME" }, { outcome(start { host = "no.test", port = 1 }) })
    source:free()
    source = desk.keep(loop:source "dial")
    sys.fail("getaddrinfo", "EAI_AGAIN", 2) -- the first call only asks whether it is a literal
    assert.same({ nil, "EAI_AGAIN" }, { outcome(start { host = "no.test", port = 1 }) })
    source:free()
    source = desk.keep(loop:source "dial")
    sys.fail("getaddrinfo", "EAI_NODATA", 2)
    assert.same({ nil, "NO_ADDRESS" }, { outcome(start { host = "no.test", port = 1 }) })
  end)

  it("is not fooled when asked too early", function()
    sys.hosts { ["chat.test"] = "127.0.0.1" }
    sys.gate "shut"
    local listener, _, port = listen { backlog = 1 }
    local dial = start { host = "chat.test", port = port }
    assert.is_false(dial:next())
    assert.is_false(dial:next())
    sys.gate "open"
    assert.is_number(outcome(dial))
    accept(listener)
  end)

  it("does not take a socket that is still on its way for one that has arrived", function()
    local listener, _, port = listen { backlog = 1 }
    local onWay = {}
    for i = 1, 8 do -- more than the backlog holds: what comes then gets no answer
      onWay[i] = desk.keep(loop:dial(desk.keep(loop:source(i)), { host = "127.0.0.1", port = port }))
    end
    for _ = 1, 5 do
      for i, dial in pairs(onWay) do
        local fd = dial:next()
        assert.is_not_nil(fd)
        if fd then
          desk.fd(fd)
          dial:free()
          onWay[i] = nil
        end
      end
      desk.turn(loop, 10 * ms)
    end
    local left = 0
    for _ in pairs(onWay) do left = left + 1 end
    assert.is_true(left > 0 and left < 8, left .. " are on their way")
    assert.is_true(sys.await(listener, "r"))
  end)

  it("can be given up at any time, and leaves nothing behind", function()
    local _, _, port = listen {}
    sys.hosts { ["chat.test"] = "127.0.0.1" }
    sys.gate "shut"
    assert(loop:open())
    local before = sys.descriptors()
    local dial = start { host = "chat.test", port = port } -- looking up
    dial:free()
    sys.gate "open"
    source:post()
    source:leave()
    dial = start { host = "127.0.0.1", port = port } -- about to begin
    dial:free()
    assert.same({}, desk.turn(loop, 0))
    dial = start { host = "127.0.0.1", port = port } -- on its way
    assert(loop:turn(0))
    loop:next()
    dial:next()
    dial:free()
    assert.equal(-1, source:fd())
    assert.same({}, desk.turn(loop, 10 * ms))
    assert.equal(before + 2, sys.descriptors()) -- the resolver's pipe stays
  end)

  it("survives each system call that fails, leaving nothing open", function()
    local _, _, port = listen {}
    for call, expected in pairs {
      socket = "EMFILE", connect = "EADDRNOTAVAIL", getsockopt = "ENOBUFS", epoll_ctl = "ENOSPC",
    } do
      local fresh = desk.keep(loop:source "dial")
      assert(loop:open())
      local before = sys.descriptors()
      if call ~= "epoll_ctl" or isEpoll then
        sys.fail(call, expected)
        local dial = desk.keep(loop:dial(fresh, { host = "127.0.0.1", port = port }))
        desk.turn(loop, 0)
        local fd, err = dial:next()
        if fd == false then
          desk.turn(loop, 100 * ms)
          fd, err = dial:next()
        end
        assert.same({ call, nil, expected }, { call, fd, err })
        assert.equal(before, sys.descriptors())
      end
    end
  end)

  it("takes TCP_NODELAY that is refused for no failure", function()
    local _, _, port = listen {}
    sys.fail("setsockopt", "EINVAL")
    assert.is_number(outcome(start { host = "127.0.0.1", port = port, noDelay = true }))
  end)

  it("needs memory, and says so", function()
    for allowed = 0, 20 do
      local fresh = desk.keep(loop:source "dial")
      probe.starve(allowed)
      local dial, err = loop:dial(fresh, { host = "127.0.0.1", port = 9 })
      probe.starve()
      if dial then
        dial:free()
        return assert.is_true(allowed > 0)
      end
      assert.is_true(err == "MEMORY" or err == "EAI_MEMORY", err)
    end
    error "it never had enough"
  end)

  -- Foreign to valgrind: the child gives up the lookup's memory (see resolve_spec).
  it("can be freed in a forked child, which does not disturb the parent's #foreign", function()
    local listener, _, port = listen {}
    sys.hosts { ["chat.test"] = "127.0.0.1" }
    sys.gate "shut"
    local dial = start { host = "chat.test", port = port }
    assert.equal("returned", sys.fork(function()
      dial:free()
      loop:free()
    end))
    sys.gate "open"
    assert.is_number(outcome(dial))
    accept(listener)
  end)

  it("is not connected to itself by chance", function()
    -- The fake system binds the socket to the very port it dials, as chance does once in
    -- many thousand times: TCP then connects it to itself.
    for _, host in ipairs { "127.0.0.1", "::1" } do
      local fd, _, port = probe.listen { host = host }
      sys.close(fd) -- free a moment ago, and not handed out again so soon
      sys.chance(true)
      assert.same({ nil, "ECONNREFUSED" }, { outcome(start { host = host, port = port }) })
      source:free()
      source = desk.keep(loop:source "dial")
    end
  end)
end)

-- Happy eyeballs (RFC 8305). The clock stands still unless a wait moves it; an address "swallows" when the queue of
-- the listener there is full, so that the system takes no notice of whoever else comes.
describe("a dial of many addresses", function()
  local backends = isEpoll and { "epoll", "poll" } or { "best" }
  local loop, source, before

  local function fresh(backend)
    loop = desk.keep(probe.loop(backend))
    assert(loop:open())
    source = desk.keep(loop:source "dial")
  end

  before_each(function()
    desk.open()
    fresh()
    sys.clock(1000 * ms)
    before = sys.descriptors()
  end)
  after_each(desk.clear)

  -- Takes a port that is free at all of these addresses. Those listed as `silent` swallow, the others are live; the
  -- port, and the live ones' listeners by address.
  local function place(silent, live)
    local listeners, port, _ = {}, nil, nil
    for address in silent:gmatch "%S+" do
      _, _, port = assert(listen { host = address, port = port, backlog = 1 })
      for _ = 1, 2 do desk.fd(assert(sys.connect(port, address))) end
    end
    for address in (live or ""):gmatch "%S+" do
      listeners[address], _, port = assert(listen { host = address, port = port })
    end
    before = sys.descriptors()
    return port, listeners
  end

  local function start(addresses, port, family)
    sys.hosts { ["many.test"] = addresses }
    local dial = desk.keep(assert(loop:dial(source, { host = "many.test", port = port, family = family })))
    desk.await(function() -- the answer of the helper
      return #desk.turn(loop, 0) > 0
    end)
    before = before + 2 -- the resolver's pipe
    return dial
  end

  local function dialled() return table.concat(sys.dialled(), " ") end

  -- Lets so many ns go by. Asks the dial whenever it is handed out; what it says in the end.
  local function pass(dial, ns)
    local deadline = sys.clock() + ns
    repeat
      assert(loop:turn(deadline - sys.clock()))
      for name in function() return loop:next() end do
        assert.equal("dial", name)
        local fd, err = dial:next()
        if fd then desk.fd(fd) end
        if fd ~= false then return fd, err end
      end
    until sys.clock() >= deadline
    return false
  end

  local function isQuiet()
    assert.is_nil(loop:timeout())
    assert.same({}, desk.turn(loop, 0))
    sys.clock(sys.clock() + 10000 * ms)
    assert.same({}, desk.turn(loop, 0))
  end

  local orders = {
    { "::1,::2,::3,127.0.0.1,127.0.0.2", "::1 127.0.0.1 ::2 127.0.0.2 ::3" },
    { "127.0.0.1,::1,::2,127.0.0.2,::3,::4", "127.0.0.1 ::1 127.0.0.2 ::2 ::3 ::4" },
    { "127.0.0.1,127.0.0.2,127.0.0.3,::1", "127.0.0.1 ::1 127.0.0.2 127.0.0.3" },
    { "127.0.0.3,127.0.0.1,127.0.0.2", "127.0.0.3 127.0.0.1 127.0.0.2" },
    { "::1", "::1" },
    { "::1,127.0.0.1,::2,127.0.0.2", "127.0.0.1 127.0.0.2", 4 },
    { "::1,127.0.0.1,::2,127.0.0.2", "::1 ::2", 6 },
  }
  for _, case in ipairs(orders) do
    it(("tries %s as %s%s"):format(case[1], case[2], case[3] and " for family " .. case[3] or ""), function()
      sys.fail("connect", "ECONNREFUSED", 1, 100)
      local dial = start(case[1], 9, case[3])
      assert.same({ nil, "ECONNREFUSED" }, { dial:next() }) -- each begins when the one before has failed: at once
      assert.equal(case[2], dialled())
      assert.equal(before, sys.descriptors())
      isQuiet()
    end)
  end

  for _, backend in ipairs(backends) do
    it("begins with the next when 250 ms have passed, and takes the first that answers, on " .. backend, function()
      fresh(backend)
      local port, live = place("127.0.0.1 ::1", "127.0.0.2")
      local dial = start("127.0.0.1,127.0.0.2,::1,127.0.0.3", port) -- the last is never needed
      assert.is_false(dial:next())
      assert.equal("127.0.0.1", dialled())
      assert.equal(250 * ms, loop:timeout())
      assert.is_false(pass(dial, 250 * ms - 1))
      assert.equal("127.0.0.1", dialled())
      assert.is_false(pass(dial, 1))
      assert.equal("127.0.0.1 ::1", dialled())
      assert.equal(before + 2, sys.descriptors()) -- both are under way
      assert.is_false(pass(dial, 249 * ms))
      assert.equal("127.0.0.1 ::1", dialled())
      local fd = pass(dial, 2 * ms)
      assert.is_number(fd)
      assert.equal("127.0.0.1 ::1 127.0.0.2", dialled())
      accept(live["127.0.0.2"])
      assert.equal(before + 2, sys.descriptors()) -- the winner and its guest: the others are closed
      isQuiet()
      dial:free()
      isQuiet()
    end)
  end

  it("lets an address that answers late win over those that began after it", function()
    local port, live = place("127.0.0.2", "127.0.0.1")
    local dial = start("127.0.0.1,127.0.0.2", port)
    assert.is_false(dial:next())
    sys.clock(sys.clock() + 250 * ms)
    assert.same({ "dial d" }, { (desk.turn(loop, 0))[1] })
    sys.fail("connect", "EINPROGRESS") -- says the first, and has arrived a moment later
    assert.is_false(dial:next())
    assert.equal("127.0.0.1 127.0.0.2", dialled())
    accept(live["127.0.0.1"])
    assert.is_number((pass(dial, 0)))
    assert.equal(before + 2, sys.descriptors())
    isQuiet()
  end)

  it("begins with the next at once when one fails, and then waits its time again", function()
    local port = place("127.0.0.1 127.0.0.2 127.0.0.3", "")
    local dial = start("127.0.0.9,127.0.0.1,127.0.0.2,127.0.0.3", port) -- at the first nobody listens
    assert.is_false(dial:next())
    desk.await(function()
      assert.is_false(pass(dial, 0))
      return dialled() == "127.0.0.9 127.0.0.1"
    end)
    assert.is_false(pass(dial, 100 * ms))
    sys.fail("getsockopt", "ECONNRESET")
    assert.is_false(dial:next())
    assert.equal("127.0.0.9 127.0.0.1 127.0.0.2", dialled())
    assert.equal(before + 1, sys.descriptors())
    assert.is_false(pass(dial, 250 * ms - 1)) -- from then on
    assert.equal("127.0.0.9 127.0.0.1 127.0.0.2", dialled())
    assert.is_false(pass(dial, 1))
    assert.equal("127.0.0.9 127.0.0.1 127.0.0.2 127.0.0.3", dialled())
    assert.is_nil(loop:timeout()) -- nothing is left to begin with
  end)

  it("begins with one, not with many, when its loop was held up", function()
    local port = place("127.0.0.1 127.0.0.2 127.0.0.3", "")
    local dial = start("127.0.0.1,127.0.0.2,127.0.0.3", port)
    assert.is_false(dial:next())
    sys.clock(sys.clock() + 5000 * ms)
    assert.is_false(pass(dial, 0))
    assert.equal("127.0.0.1 127.0.0.2", dialled())
    assert.equal(250 * ms, loop:timeout())
  end)

  it("begins with nothing when it is asked and nobody has told", function()
    local port = place("127.0.0.1 127.0.0.2", "")
    local dial = start("127.0.0.1,127.0.0.2", port)
    for _ = 1, 5 do assert.is_false(dial:next()) end
    sys.clock(sys.clock() + 300 * ms) -- the time has come, but the loop has not handed it out
    for _ = 1, 5 do assert.is_false(dial:next()) end
    assert.equal("127.0.0.1", dialled())
    assert.is_false(pass(dial, 0))
    assert.equal("127.0.0.1 127.0.0.2", dialled())
  end)

  it("takes one of two that connect in the same turn, and is not handed out for the other", function()
    for _, backend in ipairs(backends) do
      fresh(backend)
      before = sys.descriptors()
      local port, live = place("", "127.0.0.1 127.0.0.2")
      local dial = start("127.0.0.1,127.0.0.2", port)
      assert.is_false(dial:next())
      sys.clock(sys.clock() + 250 * ms)
      assert(loop:turn(0))
      assert.same({ "dial", "d" }, { loop:next() })
      sys.fail("connect", "EINPROGRESS") -- what the first one says a last time
      assert.is_false(dial:next())
      assert.equal("127.0.0.1 127.0.0.2", dialled())
      for _, listener in pairs(live) do accept(listener) end -- both have arrived
      assert(loop:turn(0))
      assert.same({ "dial", "w" }, { loop:next() })
      local fd = desk.fd((assert(dial:next())))
      assert.same({ "127.0.0.1", port }, { sys.peer(fd) }) -- who began first
      assert.is_nil((loop:next()))
      assert.equal(before + 3, sys.descriptors()) -- the winner and two guests
      isQuiet()
      sys.reset()
      sys.clock(1000 * ms)
    end
  end)

  it("can be given up in the middle, and leaves nothing behind", function()
    for _, backend in ipairs(backends) do
      fresh(backend)
      local port = place("127.0.0.1 127.0.0.2 127.0.0.3", "")
      local dial = start("127.0.0.1,127.0.0.2,127.0.0.3", port)
      assert.is_false(dial:next())
      assert.is_false(pass(dial, 300 * ms))
      assert.equal(before + 2, sys.descriptors())
      dial:free()
      assert.equal(before, sys.descriptors())
      isQuiet()
      sys.reset()
      sys.clock(1000 * ms)
    end
  end)

  it("can be given up between two hand-outs of one turn", function()
    local port, live = place("", "127.0.0.1 127.0.0.2")
    local dial = start("127.0.0.1,127.0.0.2", port)
    assert.is_false(dial:next())
    assert.is_true(sys.await(live["127.0.0.1"], "r"))
    sys.clock(sys.clock() + 250 * ms)
    assert(loop:turn(0))
    assert.same({ "dial", "d" }, { loop:next() })
    dial:free() -- while its first socket, which is connected, waits its turn
    assert.is_nil((loop:next()))
    assert.equal(before, sys.descriptors())
    isQuiet()
  end)

  -- The sockets this process has, by the system's own numbers.
  local function sockets()
    local set = {}
    for fd in lfs.dir "/proc/self/fd" do
      local target = lfs.symlinkattributes("/proc/self/fd/" .. fd, "target")
      if target and target:match "^socket:" then set[target] = true end
    end
    return set
  end

  local function count(set, known)
    local n = 0
    for key in pairs(set) do if not known or known[key] then n = n + 1 end end
    return n
  end

  it("has at most 16 under way: then the oldest makes room", function()
    local port, live = place("127.0.0.1", "127.0.0.2")
    local dial = start(("127.0.0.1,"):rep(20) .. "127.0.0.2", port)
    local others = lfs.attributes "/proc/self/fd" and count(sockets())
    assert.is_false(dial:next())
    assert.is_false(pass(dial, 15 * 250 * ms))
    assert.equal(16, #sys.dialled())
    assert.equal(before + 16, sys.descriptors())
    local first = others and sockets()
    assert.is_false(pass(dial, 4 * 250 * ms))
    assert.equal(20, #sys.dialled())
    assert.equal(before + 16, sys.descriptors())
    if others then assert.equal(others + 12, count(sockets(), first)) end -- the first four are gone
    assert.is_number((pass(dial, 251 * ms)))
    accept(live["127.0.0.2"])
    assert.equal(before + 2, sys.descriptors())
  end)

  describe("that all fail tells what tells most:", function()
    local cases = { -- what befalls each address in turn, what is told
      { "a refusal before a net that is not there", "ENETUNREACH", "ECONNREFUSED", "ECONNREFUSED" },
      { "and whichever came last", "ECONNREFUSED", "ENETUNREACH", "ECONNREFUSED" },
      { "a refusal before an address this machine has not", "ECONNREFUSED", "EADDRNOTAVAIL", "ECONNREFUSED" },
      { "a refusal before silence", "ECONNREFUSED", "ETIMEDOUT", "ECONNREFUSED" },
      { "silence before a net that is not there", "ETIMEDOUT", "ENETUNREACH", "ETIMEDOUT" },
      { "an unknown failure before a family that is not there", "EACCES", "EAFNOSUPPORT", "EACCES" },
      { "a want of descriptors before a refusal", "EMFILE", "ECONNREFUSED", "EMFILE" },
      { "a want of memory before a refusal", "ECONNREFUSED", "ENOMEM", "ENOMEM" },
      { "the later of two that tell as much", "EHOSTUNREACH", "ETIMEDOUT", "ETIMEDOUT" },
      { "what there is, if it is but little", "ENETUNREACH", "ENETUNREACH", "ENETUNREACH" },
    }
    for _, case in ipairs(cases) do
      it(case[1], function()
        local dial = start("::1,127.0.0.1", 9)
        sys.fail("connect", case[2], 1)
        sys.fail("socket", case[3], 2) -- the second address's first step
        assert.same({ nil, case[4] }, { dial:next() })
        assert.equal(before, sys.descriptors())
      end)
    end
  end)

  it("takes up no more of the loop the hundredth time", function()
    loop:dial(source, { host = "127.0.0.1", port = 9 }):free() -- the loop has made room for its timers
    local function begin(allowed)
      probe.starve(allowed)
      local dial = loop:dial(source, { host = "127.0.0.1", port = 9 })
      probe.starve()
      if dial then dial:free() end
      return dial ~= nil
    end
    local need = 0
    while not begin(need) do need = need + 1 end
    for i = 1, 100 do assert.is_true(begin(need), i) end
  end)

  it("needs memory, and says so at whichever step there is none", function()
    local port, live = place("", "127.0.0.1")
    for _, backend in ipairs(backends) do
      local arrived = 0
      for allowed = 0, 30 do
        fresh(backend)
        local open = sys.descriptors()
        probe.starve(allowed)
        local dial, err = loop:dial(source, { host = "127.0.0.1", port = port })
        local fd
        if dial then
          fd, err = dial:next()
          if fd == false then
            loop:turn(0)
            while loop:next() do end
            fd, err = dial:next()
          end
        end
        probe.starve()
        if fd then
          sys.close(fd)
          sys.close((accept(live["127.0.0.1"])))
          arrived = arrived + 1
        elseif fd == nil then
          assert.is_true(err == "MEMORY" or err == "EAI_MEMORY", err)
        end
        if dial then dial:free() end
        assert.equal(open, sys.descriptors())
      end
      assert.is_true(arrived > 0, "it never had enough")
    end
  end)
end)

describe("a dial of a Unix socket", function()
  local loop, source

  before_each(function()
    desk.open()
    loop = desk.keep(probe.loop())
    assert(loop:open())
    source = desk.keep(loop:source "dial")
    sys.clock(1000 * ms)
  end)
  after_each(desk.clear)

  local function start(path) return desk.keep(assert(loop:dial(source, { path = path, noDelay = true }))) end

  it("connects at once, without a thread, and without a word of TCP", function()
    local path = desk.path()
    local listener = listen { path = path }
    local before = sys.descriptors()
    local dial = start(path)
    assert.same({ "dial p" }, desk.turn(loop, 0))
    local fd = desk.fd((assert(dial:next())))
    local guest = accept(listener)
    sys.write(fd, "hello")
    assert.is_true(sys.await(guest, "r"))
    assert.equal("hello", sys.read(guest))
    assert.equal(before + 2, sys.descriptors())
    assert.equal("cloexec nonblocking", sys.flags(fd))
    assert.equal(0, sys.calls "pthread_create")
    assert.equal(0, sys.calls "setsockopt")
    assert.equal(0, sys.calls "getaddrinfo")
  end)

  it("asks again every 20 ms while the queue there is full", function()
    local path = desk.path()
    local listener = listen { path = path, backlog = 1 }
    for _ = 1, 2 do desk.fd(assert(sys.connect(path))) end
    local before = sys.descriptors()
    local dial = start(path)
    assert.same({ "dial p" }, desk.turn(loop, 0))
    for n = 1, 500 do -- 10 s: whose patience that is, the caller knows
      assert.is_false(dial:next())
      assert.is_false(dial:next()) -- and not oftener
      assert.equal(n, #sys.dialled())
      assert.equal(before, sys.descriptors())
      assert.equal(20 * ms, loop:timeout())
      assert.same({ "dial d" }, desk.turn(loop, 20 * ms))
      if n == 120 then break end -- as many as the probe remembers
    end
    accept(listener)
    desk.fd((assert(dial:next())))
    assert.is_nil(loop:timeout())
    assert.equal(before + 2, sys.descriptors())
  end)

  it("can be given up while it waits", function()
    local path = desk.path()
    listen { path = path, backlog = 1 }
    for _ = 1, 2 do desk.fd(assert(sys.connect(path))) end
    local before = sys.descriptors()
    local dial = start(path)
    desk.turn(loop, 0)
    assert.is_false(dial:next())
    dial:free()
    assert.is_nil(loop:timeout())
    assert.same({}, desk.turn(loop, 100 * ms))
    assert.equal(before, sys.descriptors())
  end)

  it("says what is wrong with a path", function()
    local before = sys.descriptors()
    local stale, file = desk.path(), desk.path()
    sys.close((probe.listen { path = stale }))
    helper.write(file, "")
    for path, expected in pairs { [stale] = "ECONNREFUSED", [file] = "ECONNREFUSED", [desk.path()] = "ENOENT" } do
      local dial = start(path)
      desk.turn(loop, 0)
      assert.same({ nil, expected }, { dial:next() })
      source:leave()
    end
    assert.same({ nil, "ENOENT" }, { loop:dial(source, { path = "" }) })
    assert.same({ nil, "ENAMETOOLONG" }, { loop:dial(source, { path = "/" .. ("x"):rep(200) }) })
    assert.equal(before, sys.descriptors())
    assert.is_nil(loop:timeout())
  end)

  it("survives each system call that fails, leaving nothing open", function()
    local path = desk.path()
    listen { path = path }
    for call, expected in pairs { socket = "EMFILE", connect = "EACCES" } do
      local before = sys.descriptors()
      sys.fail(call, expected)
      local dial = start(path)
      desk.turn(loop, 0)
      assert.same({ nil, expected }, { dial:next() })
      assert.equal(before, sys.descriptors())
    end
  end)
end)

describe("a listener", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("takes guests on 127.0.0.1 unless told otherwise, on any free port for port 0", function()
    local listener, address, port = listen {}
    assert.equal("127.0.0.1", address)
    assert.is_true(port > 0)
    local client = desk.fd(sys.connect(port))
    local guest, from, fromPort = accept(listener, true)
    assert.same({ sys.name(client) }, { from, fromPort })
    assert.equal("cloexec nonblocking", sys.flags(guest))
    assert.is_true(sys.option(guest, "noDelay"))
    desk.fd(sys.connect(port))
    assert.is_false(sys.option(accept(listener, false), "noDelay"))
  end)

  it("says when nobody is there", function()
    local listener = listen {}
    assert.same({ nil, "EAGAIN" }, { probe.accept(listener) })
  end)

  it("has the port it was told, which nobody else can have", function()
    local _, _, port = listen {}
    local before = sys.descriptors()
    assert.same({ nil, "EADDRINUSE" }, { listen { port = port } })
    assert.equal(before, sys.descriptors())
  end)

  it("shares its port with those who want to share it too", function()
    local _, _, port = listen { reusePort = true }
    local _, _, same = listen { port = port, reusePort = true }
    assert.equal(port, same)
    assert.same({ nil, "EADDRINUSE" }, { listen { port = port } })
  end)

  it("can be opened again at once, while its old connections end", function()
    local listener, _, port = listen {}
    local client = desk.fd(sys.connect(port))
    local guest = accept(listener)
    desk.close(listener)
    desk.close(guest) -- first, so that the waiting time is on our side
    assert.is_true(sys.await(client, "r"))
    desk.close(client)
    assert.equal(port, select(3, listen { port = port }))
  end)

  it("takes IPv6 guests, and with :: those of both kinds", function()
    local listener, address, port = listen { host = "::1" }
    assert.equal("::1", address)
    local loop = desk.keep(probe.loop())
    local dial = desk.keep(loop:dial(desk.keep(loop:source "dial"), { host = "::1", port = port }))
    desk.turn(loop, 0)
    local fd = dial:next() or (desk.turn(loop, 1000 * ms) and dial:next())
    desk.fd(assert(fd))
    local _, from = accept(listener)
    assert.equal("::1", from)

    listener, address, port = listen { host = "::" }
    assert.equal("::", address)
    desk.fd(sys.connect(port))
    _, from = accept(listener)
    assert.equal("127.0.0.1", from)
  end)

  it("takes a name of this machine, or says that it is none", function()
    local _, address = listen { host = "localhost" }
    assert.is_true(address == "127.0.0.1" or address == "::1")
    assert.same({ nil, "EAI_NONAME" }, { listen { host = "no.test" } })
    assert.same({ nil, "EADDRNOTAVAIL" }, { listen { host = "192.0.2.77" } })
  end)

  it("goes on to the name's next address when one cannot be had", function()
    sys.hosts { ["here.test"] = "192.0.2.77,127.0.0.1" }
    local _, address = listen { host = "here.test" }
    assert.equal("127.0.0.1", address)
  end)

  it("leaves nothing open when a step fails", function()
    for call, err in pairs {
      socket = "EMFILE", bind = "EACCES", listen = "EADDRINUSE", getsockname = "ENOBUFS", getaddrinfo = "EAI_MEMORY",
    } do
      sys.fail(call, err)
      assert.same({ nil, err }, { listen {} })
    end
    sys.fail("setsockopt", "ENOPROTOOPT", 2) -- the first is SO_REUSEADDR, which is only a comfort
    assert.same({ nil, "ENOPROTOOPT" }, { listen { reusePort = true } })
  end)

  describe("at a path", function()
    it("takes guests who have no address", function()
      local path = desk.path()
      local listener, address, port = listen { path = path }
      assert.same({ path, 0 }, { address, port })
      assert.is_true(sys.isSocket(path))
      assert.same({ nil, "EAGAIN" }, { probe.accept(listener, true) })
      desk.fd(assert(sys.connect(path)))
      local _, from, fromPort = accept(listener, true)
      assert.same({ "", 0 }, { from, fromPort })
    end)

    it("replaces a socket that nobody answers at", function()
      local path = desk.path()
      desk.close((listen { path = path }))
      assert.is_true(sys.isSocket(path))
      assert.is_number((listen { path = path }))
    end)

    it("does not replace one at which somebody answers, or is too busy to", function()
      local path = desk.path()
      listen { path = path, backlog = 1 }
      for _ = 1, 4 do assert.same({ nil, "EADDRINUSE" }, { listen { path = path } }) end
      assert.is_true(sys.isSocket(path))
    end)

    it("does not replace anything that is no socket", function()
      local path, link = desk.path(), desk.path()
      helper.write(path, "precious")
      assert.same({ nil, "EADDRINUSE" }, { listen { path = path } })
      assert.equal("precious", helper.read(path))
      assert(lfs.link(path, link, true))
      assert.same({ nil, "EADDRINUSE" }, { listen { path = link } })
      assert.equal("precious", helper.read(path))
    end)

    it("knows how long a path may be", function()
      local room = 107 -- of struct sockaddr_un on Linux, without the NUL
      local path = desk.path()
      local long = path .. ("x"):rep(200 - #path)
      assert.same({ nil, "ENAMETOOLONG" }, { listen { path = long } })
      assert.same({ nil, "ENOENT" }, { listen { path = "" } })
      if not io.open "/proc/self/status" then return end
      assert.same({ nil, "ENAMETOOLONG" }, { listen { path = long:sub(1, room + 1) } })
      local _, address = listen { path = long:sub(1, room) }
      os.remove(long:sub(1, room))
      assert.equal(long:sub(1, room), address)
    end)

    it("leaves nothing behind when a step fails", function()
      local path = desk.path()
      for call, err in pairs { socket = "EMFILE", bind = "EACCES", listen = "EINVAL", getsockname = "ENOBUFS" } do
        sys.fail(call, err)
        assert.same({ nil, err }, { listen { path = path } })
        assert.same({ nil, "ENOENT" }, { sys.isSocket(path) })
      end
      desk.close((listen { path = path }))
      sys.fail("unlink", "EACCES")
      assert.same({ nil, "EACCES" }, { listen { path = path } })
    end)
  end)

  describe("with a guest waiting", function()
    local listener

    before_each(function()
      local _, port
      listener, _, port = listen {}
      desk.fd(sys.connect(port))
      assert.is_true(sys.await(listener, "r"))
    end)

    it("passes over those who are gone again", function()
      for _, err in ipairs { "ECONNABORTED", "EPROTO", "EPERM", "ENETUNREACH", "ETIMEDOUT" } do
        sys.fail("accept", err, 1, 3)
        desk.fd((assert(probe.accept(listener))))
        assert.same({ nil, "EAGAIN" }, { probe.accept(listener) })
        desk.fd(sys.connect((select(2, sys.name(listener)))))
        assert.is_true(sys.await(listener, "r"))
      end
    end)

    it("does not pass over guests for ever", function()
      sys.fail("accept", "ECONNABORTED", 1, 1000000)
      assert.same({ nil, "EAGAIN" }, { probe.accept(listener) })
      assert.is_true(sys.calls "accept" <= 100)
    end)

    it("says when it cannot be taken, and takes it later", function()
      for _, err in ipairs { "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM" } do
        sys.fail("accept", err)
        assert.same({ nil, err }, { probe.accept(listener) })
      end
      accept(listener)
    end)
  end)
end)
