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

  it("lends its socket to the source while it is on its way, and gives it away connected", function()
    local _, _, port = listen {}
    local dial = start { host = "127.0.0.1", port = port }
    assert.equal(-1, source:fd())
    local fd = outcome(dial)
    assert.equal(fd, source:fd())
    assert.same({}, desk.turn(loop, 0)) -- writable, but nobody waits for that
    assert.is_true(source:watch "w")
    assert.same({ "dial w" }, desk.turn(loop, 0))
    dial:free()
    assert.same({ "dial w" }, desk.turn(loop, 0))
    assert.equal("cloexec nonblocking", sys.flags(fd))
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

  it("tells the last address's error when all fail, and goes on telling it", function()
    local held, port = sys.reserve()
    desk.fd(held)
    sys.hosts { ["chat.test"] = "127.0.0.1,127.0.0.1" }
    local dial = start { host = "chat.test", port = port }
    assert.same({ nil, "ECONNREFUSED" }, { outcome(dial) })
    assert.same({ nil, "ECONNREFUSED" }, { dial:next() })
    assert.equal(-1, source:fd())
    source:free()
    source = desk.keep(loop:source "dial")
    sys.fail("connect", "ENETUNREACH", 2)
    assert.same({ nil, "ENETUNREACH" }, { outcome(start { host = "chat.test", port = port }) })
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
