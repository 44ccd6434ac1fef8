-- Two hosts and the cable between them; processes that stand still.

local Network = require "spec.torture.network"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

-- Takes one connection on the host it is given, echoes, and tells how that ended.
local ECHO = [[
  io.stdout:setvbuf "line"
  local probe = require "lunawire.probe"
  local listener = probe.tcp.listen(8, (...))
  print(listener.port)
  probe.sys.await(listener:fd(), "r", 60000)
  local peer = listener:accept()
  while true do
    probe.sys.await(peer:fd(), "r", 60000)
    local bytes, failure = peer:receive()
    if not bytes then return print(failure or "eof") end
    print("got " .. bytes)
    peer:send(bytes)
  end]]

-- The command that does so.
local function echo(address)
  return ("echo %s | exec %s"):format(helper.quote(ECHO), helper.lua("- " .. (address or "127.0.0.1")))
end

-- Nothing arrives for a while, and no end of the stream.
local function silent(peer, ms)
  local before = peer.total
  local deadline = lunawire.now() + ms
  repeat wire.turn() until lunawire.now() >= deadline
  assert.equal(before, peer.total)
  assert.is_nil(peer.ended)
end

describe("a peer that is suspended #foreign", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("says nothing, keeps its connection, and goes on when resumed", function()
    local peer = helper.peer(echo())
    turns.keep { close = function() peer:stop() end }
    local client = wire.connect(tonumber(peer:line()))
    client:send "one"
    assert.equal("one", client:read(3))
    peer:suspend()
    client:send "two"
    silent(client, 100)
    peer:resume()
    assert.equal("two", client:read(3))
    peer:suspend()
    peer:stop() -- ends it all the same
    assert.equal("eof", (client:finish()))
  end)
end)

describe("a network of two hosts #foreign #slow", function()
  before_each(turns.open)
  after_each(function()
    Network.clear()
    turns.clear()
  end)

  local function start()
    if not Network.available() then return pending(Network.missing()) end
    return Network.new()
  end

  it("loses a connection's bytes without a word while its link is down", function()
    local net = start()
    local server = net:run("b", echo(net.b.address))
    local port = tonumber(server:line())
    local client = net:inside("a", wire.connect, port, net.b.address)
    client:send "one"
    assert.equal("one", client:read(3))
    net:down()
    client:send "two"
    silent(client, 300)
    assert.equal(("%d\ngot one\n"):format(port), server:text())
    net:up()
    assert.equal("two", client:read(3))
    client:shutdown()
    assert.equal("eof", (client:finish()))
  end)

  it("is one of its own, twice at once", function()
    local one, two = start(), start()
    local function listen(net) return net:inside("b", probe.tcp.listen, 8, net.b.address, 8080) end
    local first, second = listen(one), listen(two) -- the same address and port
    local peer = one:inside("a", probe.tcp.connect, 8080, one.b.address)
    assert.is_userdata(helper.await(function() return first:accept() end))
    assert.is_nil(second:accept())
    for _, socket in ipairs { peer, first, second } do socket:close() end
  end)

  it("leaves nothing behind, whatever happened inside", function()
    local net = start()
    local peer = net:run("a", "echo ready; sleep 60")
    assert.equal("ready", peer:line())
    local home = helper.run "readlink /proc/self/ns/net"
    assert.not_equal(home, (net:inside("a", helper.run, "readlink /proc/self/ns/net")))
    assert.has_error(function() net:inside("a", error, "an error of its own") end, "an error of its own")
    assert.equal(home, (helper.run "readlink /proc/self/ns/net"))
    peer:suspend()
    local names = helper.run "ls /run/netns"
    for _, host in ipairs { net.a, net.b } do assert.matches(host.name, names, 1, true) end
    net:close()
    net:close()
    names = helper.run "ls /run/netns"
    for _, host in ipairs { net.a, net.b } do assert.not_matches(host.name, names, 1, true) end
    local group = ("pgrep -r D,R,S,T -g %d"):format(peer.pid) -- whoever is no mere entry in init's table
    assert.is_true(helper.await(function() return helper.run(group) == "" end))
  end)

  it("removes what a run that was killed left", function()
    local net = start()
    -- No process has a number so large; and no run beside this one takes the same.
    local left = net.a.name:gsub("%d+", function(id) return tostring(4194304 + id) end, 1)
    assert.equal("", (helper.run("PATH=$PATH:/usr/sbin:/sbin; ip netns add " .. left)))
    local other = Network.new()
    local names = helper.run "ls /run/netns"
    assert.not_matches(left, names, 1, true)
    assert.matches(net.b.name, names, 1, true)
    assert.matches(other.b.name, names, 1, true)
  end)
end)
