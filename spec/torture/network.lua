-- network.lua -- two hosts joined by a cable that can be pulled: network namespaces and a veth pair.
-- What a proxy cannot show, this does: a host that is gone says nothing, not even TCP's own ACKs.
--
--   if not Network.available() then return pending(Network.missing()) end
--   local net = Network.new()
--   local peer = net:run("b", command)        -- a peer of helper.lua's on host b, as net.b.address
--   local socket = net:inside("a", tcp.connect, port, net.b.address)
--   net:down()                                -- nothing arrives any more, and nobody is told
--   net:up()
--   after_each(Network.clear)                 -- removes all networks, and ends what runs in them
--
-- It takes Linux, root, and iproute2. Names carry the process id, so that runs side by side do not meet;
-- what a run that was killed left behind, the next one removes.

local helper = require "spec.helper"
local probe = require "lunawire.probe"

local sys = probe.sys

-- RFC 2544 set this range aside for tests; each network has it for itself.
local ADDRESSES = { a = "198.18.0.1", b = "198.18.0.2" }

local Network = {}
Network.__index = Network
Network.__name = "Network"

local open = {} -- every network, for Network.clear()
local count = 0

-- Runs `ip` with each of these lines. Returns true, or nil and what it said.
local function ip(...)
  local commands = {}
  for i, line in ipairs { ... } do commands[i] = "ip " .. line end
  local output, status = helper.run("PATH=$PATH:/usr/sbin:/sbin; set -e; " .. table.concat(commands, "; "))
  if status ~= 0 then return nil, (output:gsub("%s+$", "")) end
  return true
end

local function process()
  local file = assert(io.open "/proc/self/stat")
  local id = file:read "n"
  file:close()
  return id
end

-- Removes the namespaces of processes that are no more.
local function sweep()
  for name, id in helper.run("ls /run/netns 2>/dev/null"):gmatch "(lunawire%-(%d+)%-%d+%-[ab])\n" do
    local alive = io.open(("/proc/%s/stat"):format(id))
    if alive then alive:close() else ip("netns delete " .. name) end
  end
end

-- Raises when this machine cannot do it.
function Network.new()
  sweep()
  count = count + 1
  local net = setmetatable({
    a = nil,              -- {name, address, interface}
    b = nil,
    peers = {},           -- what run() started
  }, Network)
  for host, address in pairs(ADDRESSES) do
    net[host] = {
      name = ("lunawire-%d-%d-%s"):format(process(), count, host),
      address = address,
      interface = host .. "0",
    }
  end
  open[net] = true
  local a, b = net.a.name, net.b.name
  local ok, message = ip("netns add " .. a, "netns add " .. b,
    ("link add a0 netns %s type veth peer name b0 netns %s"):format(a, b))
  for _, host in ipairs { net.a, net.b } do
    if ok then
      ok, message = ip(("-n %s addr add %s/30 dev %s"):format(host.name, host.address, host.interface),
        ("-n %s link set %s up"):format(host.name, host.interface), ("-n %s link set lo up"):format(host.name))
    end
  end
  if not ok then
    net:close()
    error("no network namespaces: " .. message, 2)
  end
  return net
end

-- Why it cannot be had here; nil when it can.
local tried, why

function Network.missing()
  if not tried then
    tried = true
    if not helper.run "test -e /proc/self/ns/net && echo yes":match "yes" then
      why = "no network namespaces on this system"
    elseif helper.run "id -u" ~= "0\n" then
      why = "network namespaces take root"
    elseif not ip "-V" then
      why = "there is no `ip` (iproute2)"
    else
      local ok, result = pcall(Network.new)
      if ok then result:close() else why = tostring(result) end
    end
  end
  return why
end

function Network.available()
  return not Network.missing()
end

-- Starts a shell command on a host ("a" or "b"): a peer, which ends with the network if not before.
function Network:run(host, command, seconds)
  local peer = helper.peer(("PATH=$PATH:/usr/sbin:/sbin; exec ip netns exec %s sh -c %s"):format(
    self[host].name, helper.quote(command)), seconds)
  table.insert(self.peers, peer)
  return peer
end

-- Calls fn(...) with this process on a host. Sockets made there stay there, wherever they are used.
function Network:inside(host, fn, ...)
  local home = assert(sys.open "/proc/thread-self/ns/net")
  local there = assert(sys.open("/run/netns/" .. self[host].name))
  assert(sys.enter(there))
  local results = table.pack(pcall(fn, ...))
  assert(sys.enter(home))
  sys.close(there)
  sys.close(home)
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- Takes a host's interface down ("b"): packets are lost both ways. The other host sees its cable pulled.
function Network:down(host)
  host = self[host or "b"]
  assert(ip(("-n %s link set %s down"):format(host.name, host.interface)))
end

function Network:up(host)
  host = self[host or "b"]
  assert(ip(("-n %s link set %s up"):format(host.name, host.interface)))
end

-- Removes all of it. Twice is once.
function Network:close()
  if not open[self] then return end
  open[self] = nil
  for _, peer in ipairs(self.peers) do peer:stop() end
  ip(("-n %s link delete a0"):format(self.a.name)) -- at once, even if a socket keeps the namespace
  ip("netns delete " .. self.a.name)
  ip("netns delete " .. self.b.name)
end

function Network.clear()
  for net in pairs(open) do net:close() end
end

return Network
