-- sys: the system's own calls, brought to one contract.

local lfs = require "lfs"

local desk = require "spec.system_helper"
local probe = require "lunawire.probe"
local sys = probe.sys

describe("the system's calls", function()
  before_each(desk.open)
  after_each(desk.clear)

  local function listener()
    local fd, _, port = probe.listen { port = 0 }
    return desk.fd(fd), port
  end

  it("make descriptors that no other program inherits and that never block", function()
    local server, port = listener()
    local client = desk.fd(sys.connect(port))
    assert.is_true(sys.await(server, "r"))
    local guest = desk.fd((probe.accept(server)))
    assert.is_true(client >= 0)
    for _, fd in ipairs { server, guest, desk.fd(sys.socket()), desk.fd(sys.socket "local"), desk.fd(sys.pipe()) } do
      assert.equal("cloexec nonblocking", sys.flags(fd))
    end
    local poller = desk.keep(probe.poll())
    if poller:fd() >= 0 then assert.matches("^cloexec ", sys.flags(poller:fd())) end
  end)

  it("raise no SIGPIPE when the peer is gone", function()
    local server, port = listener()
    local client = desk.fd(sys.connect(port))
    assert.is_true(sys.await(server, "r"))
    desk.close((probe.accept(server)), sys.abort)
    assert.is_true(sys.await(client, "r"))
    assert.equal("returned", sys.fork(function()
      sys.action(13, "default")
      sys.send(client, "lost") -- takes the reset
      local sent, err = sys.send(client, "lost", "too")
      assert(not sent and err == "EPIPE", err)
    end))
  end)

  it("send parts as one", function()
    local a, b = desk.fd(sys.pair())
    assert.equal(6, sys.send(a, "fa", "", "s", "ter"))
    assert.equal("faster", sys.receive(b))
  end)

  it("tell nothing yet from the end", function()
    local a, b = desk.fd(sys.pair())
    assert.same({ nil, "EAGAIN" }, { sys.receive(a) })
    assert.equal(0, sys.shutdown(b))
    assert.equal("", sys.receive(a))
  end)

  it("tell what is wrong by errno", function()
    local fd = sys.open "/dev/null"
    assert.equal(0, sys.close(fd))
    assert.same({ nil, "EBADF" }, { sys.close(fd) })
    assert.same({ nil, "EBADF" }, { sys.read(fd) })
    assert.same({ nil, "EBADF" }, { sys.write(fd, "x") })
    local plain = desk.fd(sys.open "/dev/null")
    assert.same({ nil, "ENOTSOCK" }, { sys.send(plain, "x") })
  end)

  it("know the limit of descriptors", function()
    assert.equal("returned", sys.fork(function()
      for _, n in ipairs { 100, 64 } do
        sys.limit(n)
        assert(sys.limit() == n)
      end
    end))
  end)

  it("tell a socket from other things of that name", function()
    local socket, link = desk.path(), desk.path()
    desk.fd((probe.listen { path = socket }))
    assert.is_true(sys.isSocket(socket))
    assert(lfs.link(socket, link, true))
    assert.is_false(sys.isSocket(link))
    assert.is_false(sys.isSocket "/dev/null")
    assert.same({ nil, "ENOENT" }, { sys.isSocket(socket .. ".gone") })
  end)

  it("have a clock that never goes back and that nobody can set", function()
    local last = sys.clock()
    for _ = 1, 1000 do
      local now = sys.clock()
      assert.is_true(now >= last)
      last = now
    end
    local uptime = io.open "/proc/uptime"
    if not uptime then return end
    local seconds = uptime:read "n"
    uptime:close()
    assert.is_true(math.abs(sys.clock() / 1e9 - seconds) < 60, "seconds since the machine started")
  end)

  it("count the forks between the process and the one that loaded the library", function()
    local mine = sys.forks()
    assert.equal("returned", sys.fork(function()
      assert(sys.forks() == mine + 1)
      assert(sys.fork(function() assert(sys.forks() == mine + 2) end) == "returned")
      assert(sys.forks() == mine + 1)
    end))
    assert.equal(mine, sys.forks())
  end)
end)
