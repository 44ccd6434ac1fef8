-- proxy.lua -- a TCP proxy that does to a connection what networks do: late, slow, in crumbs, cut off
-- without a word, reset, one bit wrong. It runs in lunawire's loop, and knows nothing of WebSockets.
--
--   local proxy = Proxy.new { port = target }   -- also host, seed (1), buffers (of the system, in bytes)
--   connect(proxy.port)                         -- on 127.0.0.1, as if it were the target
--   proxy:delay(200)                            -- all connections, those to come as well
--   proxy.links[1]:reset()                      -- one connection, of those alive
--   proxy.links[1].up:blackhole()               -- one way of it: up is from client to target
--   proxy.down:slice(1)                         -- the same way of all
--   after_each(Proxy.clear)                     -- closes every proxy
--
-- Proxy, way, link and direction understand the same faults. Those that last, until `false`:
--   :delay(ms)        each piece read arrives so much later, in order. {10, 50}: a random number of ms
--                     between; function(random): whatever it returns
--   :bandwidth(n)     n bytes a second
--   :slice(n)         at most n bytes in one write, one write in a turn of the loop. "random": from 1 to
--                     4095, small ones often; function(random): the size of the next
--   :blackhole()      bytes are read and vanish, and so does every end: nothing arrives, no FIN, no RST
--                     (what vanished is not sent again when this is over). "unread": nothing is read either
--   :stall()          nothing is read or written, so that TCP pushes back; afterwards everything goes on
-- Those that happen:
--   :corrupt(n, bit)  flips a bit of byte n of each direction, counted from 0 (nil: the next one, any bit)
--   :halfClose()      the receiver sees the end of the stream; what still comes this way vanishes
--   :halfReset()      the receiver sees a RST, the sender nothing: for him the line is open
--   :reset()          both see a RST
-- And in general:
--   :at(n, fault)     once n bytes have gone this way, before byte n does; once only
--   :after(ms, fault)
--   :calm()           none of the above, planned or set
--   :set(fault)       a fault is a function(target), or words: "reset", "delay 10 50", "blackhole off",
--                     "up at 1000 reset", "after 50 stall"
-- A proxy also does :refuse() (connections are refused; "reset": accepted and reset at once), :hold()
-- (accepted and nothing more: no byte is read; those held go on afterwards); each until `false`.
--
-- proxy.onlink = function(link) sees each link before its first byte. A direction has .received, .passed
-- (.delivered and vanished), link.number counts from 1. All that is random is drawn from proxy.seed, for
-- each direction apart: the k-th slice of the n-th link is the same in every run. tostring(proxy) tells it.
--
-- As a process of its own: `lua5.4 spec/torture/proxy.lua PORT [SEED]` prints its port, then takes words as
-- above, one fault a line, and answers each with a line: "ok", or "error: ...". "links" answers "ok 1 20 30":
-- links alive, bytes delivered up and down by them. It ends with its standard input. Proxy.process(options)
-- starts one beside a spec: .port, :tell(words), :close().

local Random = require "spec.torture.random"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"

local tcp = probe.tcp

-- Bytes read and not yet written in one direction. A line with a delay must hold what is under way.
local BUFFER, BUFFER_DELAYED = 256 * 1024, 4 * 1024 * 1024
-- A write of a line with a bandwidth is this part of a second, and so much it may catch up on.
local SHARE, SLACK = 1 / 100, 20
-- How often to look whether the receiver has made room, before a fault at a byte; and whether a sender we
-- do not read, since we are full, was reset.
local LOOK_AGAIN, LOOK_FULL = 1, 20

local LASTING = { "delay", "bandwidth", "slice", "blackhole", "stall" }
local HAPPENING = { "corrupt", "halfClose", "halfReset", "reset" }

local Proxy = {}
Proxy.__index = Proxy
Proxy.__name = "Proxy"

Proxy.random = Random.new

-- --- faults in words --------------------------------------------------------------------------------

local known = { calm = true, refuse = true, hold = true }
for _, name in ipairs(LASTING) do known[name] = true end
for _, name in ipairs(HAPPENING) do known[name] = true end

local function value_of(text)
  if text == "" then return nil end
  if text == "on" or text == "off" then return text == "on" end
  local low, high = text:match "^(%d+)%s+(%d+)$"
  if low then return { tonumber(low), tonumber(high) } end
  return tonumber(text) or text
end

-- What a fault does: function(target). Raises when it is none.
local function action(fault)
  if type(fault) == "function" then return fault end
  if type(fault) ~= "string" then error("a function or words expected, got " .. type(fault), 0) end
  local name, rest = fault:match "^%s*(%a+)%s*(.-)%s*$"
  if name == "up" or name == "down" then
    local what = action(rest)
    return function(target) what(target[name] or error("a direction has no " .. name, 0)) end
  elseif name == "at" or name == "after" then
    local n, more = rest:match "^(%d+)%s+(.+)$"
    local what = action(more or error("no number and fault in: " .. fault, 0))
    return function(target) target[name](target, tonumber(n), what) end
  elseif known[name] then
    local value = value_of(rest)
    return function(target) (target[name] or error("only a proxy does: " .. name, 0))(target, value) end
  end
  error("no such fault: " .. fault, 0)
end

-- --- one way of a connection --------------------------------------------------------------------------

local Direction = {}
Direction.__index = Direction
Direction.__name = "Proxy.Direction"

local function new_direction(link, name, random)
  return setmetatable({
    link = link,
    name = name,          -- "up" or "down"
    source = nil,         -- the end it comes from, see new_end
    sink = nil,           -- the end it goes to
    received = 0,         -- bytes read from the source
    passed = 0,           -- bytes that have left the queue, delivered or not
    delivered = 0,        -- bytes written to the sink
    exhausted = false,    -- nothing more comes from the source
    ended = nil,          -- "fin", "reset": what the sink was told; "dead": it takes no more
    queue = {},           -- {due, bytes, taken} or {due, ending = "fin" | "reset"}
    first = 1,            -- in the queue
    last = 0,
    queued = 0,           -- bytes in it
    settings = {},        -- of the faults that last
    plans = {},           -- {at, act}, the next one first
    flips = {},           -- {at, bit}: bits to flip
    slicing = random:fork "slice",
    delaying = random:fork "delay",
    flipping = random:fork "corrupt",
    piece = 0,            -- bytes still to go of the slice begun
    free = 0,             -- when a line with a bandwidth is free again
    timer = nil,
    reader = nil,         -- watches the source
    writer = nil,         -- watches the sink
    pumping = false,      -- pump() is at work
  }, Direction)
end

-- One of the two sockets of a link.
local function new_end(socket)
  return {
    socket = socket,
    failed = false,       -- it was reset by its peer, or never connected
    closed = false,       -- by us
  }
end

function Direction:other()
  return self == self.link.up and self.link.down or self.link.up
end

-- The sink has failed: what comes this way vanishes. That it failed is told to the source by the way
-- back, once that has read what was sent before.
function Direction:fail()
  self.sink.failed = true
  self.ended = "dead"
  self:pump()
end

function Direction:push(item, bytes)
  local delay = self.settings.delay
  if type(delay) == "table" then delay = self.delaying(delay[1], delay[2]) end
  if type(delay) == "function" then delay = delay(self.delaying) end
  item.due = lunawire.now() + (delay or 0)
  self.last = self.last + 1
  self.queue[self.last] = item
  self.queued = self.queued + bytes
end

function Direction:shift()
  self.queue[self.first] = nil
  self.first = self.first + 1
end

-- The source has ended: that comes in its turn, delayed like bytes.
function Direction:exhaust(ending)
  self.exhausted = true
  self:push({ ending = ending }, 0)
  if ending == "reset" then self:other():fail() end
end

-- What the source has for us.
function Direction:read()
  local bytes, failure = self.source.socket:receive()
  if bytes == "" then return end
  if bytes then
    self.received = self.received + #bytes
    self:push({ bytes = bytes, taken = 0 }, #bytes)
  elseif failure or self.source.failed then -- it failed before, when we wrote: then reading says "the end"
    self:exhaust "reset"
  else
    self:exhaust "fin"
  end
  self:pump()
end

-- n bytes of the first item have gone.
function Direction:pass(item, n)
  item.taken = item.taken + n
  self.passed = self.passed + n
  self.queued = self.queued - n
  if item.taken == #item.bytes then self:shift() end
  while self.flips[1] and self.flips[1].at < self.passed do table.remove(self.flips, 1) end
end

-- The next n bytes of an item, as they are to arrive.
function Direction:harmed(item, n)
  local bytes = item.bytes
  if item.taken > 0 or n < #bytes then bytes = bytes:sub(item.taken + 1, item.taken + n) end
  for _, flip in ipairs(self.flips) do
    local i = flip.at - self.passed + 1
    if i > n then break end
    bytes = bytes:sub(1, i - 1) .. string.char(bytes:byte(i) ~ 1 << flip.bit) .. bytes:sub(i + 1)
  end
  return bytes
end

-- Does what is planned for the byte that comes next. True: it must wait until the bytes before are on
-- the wire, since a RST would take them back.
function Direction:strike()
  while not self.link.over and self.plans[1] and self.plans[1].at <= self.passed do
    if not self.ended and (self.sink.socket:unsent() or 0) > 0 then return true end
    table.remove(self.plans, 1).act(self)
  end
end

function Direction:isFrozen()
  return self.settings.stall or self.settings.blackhole == "unread"
end

-- How many bytes of an item may go in one write; nil and the time to wait.
function Direction:allowance(item, now)
  local n = #item.bytes - item.taken
  if self.plans[1] then n = math.min(n, self.plans[1].at - self.passed) end
  if self.ended or self.settings.blackhole then return n end
  local bandwidth, slice = self.settings.bandwidth, self.settings.slice
  if bandwidth then
    if self.free > now then return nil, self.free - now end
    n = math.min(n, math.max(1, bandwidth * SHARE // 1 | 0))
  end
  if slice then
    if self.piece == 0 then
      if slice == "random" then slice = 2 ^ (12 * self.slicing()) // 1 | 0 end
      if type(slice) == "function" then slice = slice(self.slicing) end
      self.piece = slice
    end
    n = math.min(n, self.piece)
  end
  return n
end

-- Writes at most n bytes. True when more should be tried at once.
function Direction:write(item, n, now)
  local sent = self.sink.socket:send(self:harmed(item, n))
  if not sent then
    self:fail()
    return true
  end
  self:pass(item, sent)
  self.delivered = self.delivered + sent
  if self.settings.bandwidth then
    self.free = math.max(self.free, now - SLACK) + sent / self.settings.bandwidth * 1000
  end
  if self.settings.slice then
    self.piece = self.piece - sent
    if self.piece == 0 then return false end
  end
  return sent == n
end

-- The receiver takes nothing: a reset that is due does not wait for that.
function Direction:overtake(now)
  local item = self.queue[self.last]
  if not item or item.ending ~= "reset" then return false end
  if item.due > now then
    self:wake(item.due - now)
    return false
  end
  self:tell "reset"
  return true
end

-- Tells the sink how the stream ended.
function Direction:tell(ending)
  if self.settings.blackhole == true or self.ended == "dead" or self.ended == "reset" then return end
  if ending == "reset" then
    self.ended = "reset"
    self.link:drop(self.sink, "reset")
    self:other().exhausted = true
  elseif not self.ended then
    self.ended = "fin"
    if not self.sink.socket:shutdown() then self:fail() end
  end
end

function Direction:wake(ms)
  self:rest()
  self.timer = lunawire.setTimeout(function()
    self.timer = nil
    self:pump()
  end, ms)
end

function Direction:rest()
  if self.timer then lunawire.clearTimeout(self.timer) end
  self.timer = nil
end

-- Moves on whatever may go now. True: the sink has to be writable first.
function Direction:move(now)
  while not self.link.over and not self.link.held do
    if self:strike() then
      self:wake(LOOK_AGAIN)
      return false
    end
    local item = self.queue[self.first]
    if not item or self.link.over or self:isFrozen() then return false end
    if item.due > now then
      self:wake(item.due - now)
      return false
    end
    if item.ending then
      self:shift()
      self:tell(item.ending)
    else
      local n, ms = self:allowance(item, now)
      if not n then
        self:wake(ms)
        return false
      elseif self.ended or self.settings.blackhole then
        self:pass(item, n)
      else
        local before = self.passed
        if not self:write(item, n, now) and not (self.passed == before and self:overtake(now)) then return true end
      end
    end
  end
end

function Direction:isFull()
  return self.queued >= (self.settings.delay and BUFFER_DELAYED or BUFFER)
end

-- Looks at everything afresh. Whoever changes something calls it.
function Direction:pump()
  if self.pumping or self.link.over then return end
  self.pumping = true
  self:rest()
  if self:isFull() and not self.exhausted and self.source.socket:isReset() then self:exhaust "reset" end
  local blocked = self:move(lunawire.now())
  self.pumping = false
  self.link:settle()
  if self.link.over then return end
  self:watch("writer", blocked and not self.sink.closed, self.sink, "w", self.pump)
  local reading = not self.exhausted and not self:isFrozen() and not self.link.held
  self:watch("reader", reading and not self:isFull(), self.source, "r", self.read)
  if reading and self:isFull() and not self.timer then self:wake(LOOK_FULL) end
end

function Direction:watch(name, wanted, from, mode, method)
  if wanted and not self[name] then
    self[name] = lunawire.watch(from.socket:fd(), mode, function() method(self) end)
  elseif not wanted and self[name] then
    self[name]:close()
    self[name] = nil
  end
end

-- --- its faults -----------------------------------------------------------------------------------------

local function number_over(low)
  return function(value) return type(value) == "number" and value > low end
end

local function is(...)
  local values = {}
  for _, value in ipairs { ... } do values[value] = true end
  return function(value) return values[value] end
end

-- What a lasting fault may be set to, besides false.
local allowed = {
  delay = function(value)
    return type(value) == "table" and value[1] <= value[2] or type(value) == "function" or number_over(-1)(value)
  end,
  bandwidth = number_over(0),
  slice = function(value) return value == "random" or type(value) == "function" or number_over(0)(value) end,
  blackhole = is(true, "unread"),
  stall = is(true),
}

for _, name in ipairs(LASTING) do
  Direction[name] = function(self, value)
    if value == nil then value = true end
    if value and not allowed[name](value) then error(("%s: %s?"):format(name, tostring(value)), 2) end
    self.settings[name] = value or nil
    self.piece = 0
    self:pump()
  end
end

-- Puts a thing with .at in its place, behind those for the same byte.
local function insert(self, list, thing)
  if thing.at < self.passed then error(("byte %d has passed: %d have"):format(thing.at, self.passed), 3) end
  local i = 1
  while list[i] and list[i].at <= thing.at do i = i + 1 end
  table.insert(list, i, thing)
end

function Direction:at(n, fault)
  insert(self, self.plans, { at = n, act = action(fault) })
  self:pump()
end

function Direction:corrupt(n, bit)
  insert(self, self.flips, { at = n or self.passed, bit = bit or self.flipping(0, 7) })
end

function Direction:halfClose()
  if not self.sink or self.ended then return end
  self.ended = "fin"
  if not self.sink.socket:shutdown() then self:fail() end
  self:pump()
end

function Direction:halfReset()
  if not self.sink or self.sink.closed then return end
  self.ended = "reset"
  self.link:drop(self.sink, "reset")
  self:other().exhausted = true
  self:pump()
end

function Direction:reset()
  self.link:reset()
end

function Direction:calm()
  self.plans, self.flips, self.settings = {}, {}, {}
  self:pump()
end

-- --- a connection -----------------------------------------------------------------------------------------

local Link = {}
Link.__index = Link
Link.__name = "Proxy.Link"

local function new_link(proxy, socket)
  proxy.count = proxy.count + 1
  local random = proxy.random:fork("link " .. proxy.count)
  local link = setmetatable({
    proxy = proxy,
    number = proxy.count,
    up = nil,             -- a Direction, from client to target
    down = nil,           -- and back
    held = true,          -- not connected to the target yet
    over = false,
    timers = {},
  }, Link)
  link.up = new_direction(link, "up", random:fork "up")
  link.down = new_direction(link, "down", random:fork "down")
  link.up.source = new_end(socket)
  link.down.sink = link.up.source
  table.insert(proxy.links, link)
  return link
end

function Link:connect()
  local socket = tcp.connect(self.proxy.target.port, self.proxy.target.host)
  if not socket then return self:reset() end
  if self.proxy.buffers then socket:buffers(self.proxy.buffers) end
  self.held = false
  self.down.source = new_end(socket)
  self.up.sink = self.down.source
  self.up:pump()
  self.down:pump()
end

-- Closes one socket.
function Link:drop(side, how)
  for _, direction in ipairs { self.up, self.down } do
    if direction.source == side then direction:watch("reader", false) end
    if direction.sink == side then direction:watch("writer", false) end
  end
  if not side.closed then side.socket[how](side.socket) end
  side.closed = true
end

-- Ends the link when there is nobody left to tell anything.
function Link:settle()
  local function gone(direction)
    local side = direction.source
    return not side or side.closed or side.failed and direction.exhausted
  end
  local function done(direction) return direction.exhausted and direction.ended end
  local up, down = self.up, self.down
  if gone(up) and gone(down) or done(up) and done(down) then self:close() end
end

function Link:finish(how)
  if self.over then return end
  self.over = true
  for _, direction in ipairs { self.up, self.down } do
    direction:rest()
    if direction.source then self:drop(direction.source, how) end
  end
  for timer in pairs(self.timers) do lunawire.clearTimeout(timer) end
  for i, link in ipairs(self.proxy.links) do
    if link == self then table.remove(self.proxy.links, i) end
  end
end

function Link:reset() self:finish "reset" end
function Link:close() self:finish "close" end

-- --- one way of all connections -----------------------------------------------------------------------------

local Way = {}
Way.__index = Way
Way.__name = "Proxy.Way"

local function new_way(proxy, name)
  return setmetatable({
    proxy = proxy,
    name = name,
    kept = {},            -- {method, ...}: what links to come are told
  }, Way)
end

function Way:each(method, ...)
  for _, link in ipairs { table.unpack(self.proxy.links) } do
    local direction = link[self.name]
    if not link.over then direction[method](direction, ...) end
  end
end

function Way:keep(...)
  self.kept[#self.kept + 1] = table.pack(...)
end

-- A new link's direction learns what all are told.
function Way:teach(direction)
  for _, call in ipairs(self.kept) do direction[call[1]](direction, table.unpack(call, 2, call.n)) end
end

for _, name in ipairs(LASTING) do
  Way[name] = function(self, value)
    for i = #self.kept, 1, -1 do
      if self.kept[i][1] == name then table.remove(self.kept, i) end
    end
    self:keep(name, value)
    self:each(name, value)
  end
end

for _, name in ipairs(HAPPENING) do
  Way[name] = function(self, ...) self:each(name, ...) end
end

-- Links that are past that byte are left alone.
function Way:at(n, fault)
  local act = action(fault)
  self:keep("at", n, act)
  for _, link in ipairs { table.unpack(self.proxy.links) } do
    if link[self.name].passed <= n then link[self.name]:at(n, act) end
  end
end

function Way:calm()
  self.kept = {}
  self:each "calm"
end

-- --- the proxy --------------------------------------------------------------------------------------------------

local open = {} -- every proxy, for Proxy.clear()

function Proxy.new(options)
  local listener = tcp.listen(128)
  local proxy = setmetatable({
    port = listener.port,
    target = { host = options.host or "127.0.0.1", port = assert(options.port, "no port") },
    seed = options.seed or 1,
    random = Random.new(options.seed),
    buffers = options.buffers,
    links = {},           -- alive, the oldest first
    count = 0,            -- of links, ever
    up = nil,             -- a Way: from client to target
    down = nil,           -- and back
    onlink = nil,
    listener = listener,
    refusing = false,     -- see :refuse()
    holding = false,      -- see :hold()
    watch = nil,          -- for who comes
    timers = {},
  }, Proxy)
  proxy.up, proxy.down = new_way(proxy, "up"), new_way(proxy, "down")
  if proxy.buffers then listener:buffers(proxy.buffers) end
  open[proxy] = true
  proxy:listen()
  return proxy
end

function Proxy:__tostring()
  return ("proxy %d -> %s:%d, seed %d"):format(self.port, self.target.host, self.target.port, self.seed)
end

function Proxy:listen()
  self.watch = lunawire.watch(self.listener:fd(), "r", function() self:accept() end)
end

function Proxy:accept()
  while true do
    local socket, failure = self.listener:accept()
    if not socket then
      if failure and failure ~= "ECONNABORTED" then error(("%s: accept: %s"):format(self, failure)) end
      return
    elseif self.refusing then
      socket:reset()
    else
      self:welcome(socket)
    end
  end
end

function Proxy:welcome(socket)
  local link = new_link(self, socket)
  self.up:teach(link.up)
  self.down:teach(link.down)
  if self.onlink then self.onlink(link) end
  if not self.holding and not link.over then link:connect() end
end

function Proxy:refuse(how)
  if how == nil then how = true end
  local deaf = how == true
  if deaf ~= (self.refusing == true) then
    self.watch:close()
    assert(self.listener:refuse(deaf))
    if not deaf then self:listen() end
  end
  self.refusing = how
end

function Proxy:hold(on)
  self.holding = on ~= false
  if self.holding then return end
  for _, link in ipairs { table.unpack(self.links) } do
    if link.held then link:connect() end
  end
end

function Proxy:close()
  open[self] = nil
  self.watch:close()
  self.listener:close()
  for i = #self.links, 1, -1 do self.links[i]:close() end
  for timer in pairs(self.timers) do lunawire.clearTimeout(timer) end
end

function Proxy.clear()
  for proxy in pairs(open) do proxy:close() end
end

-- --- what all understand ------------------------------------------------------------------------------------------

-- A link tells both of its directions, a proxy both of its ways.
local function both(class, name)
  class[name] = class[name] or function(self, ...)
    self.up[name](self.up, ...)
    self.down[name](self.down, ...)
  end
end

for _, class in ipairs { Link, Proxy } do
  for _, name in ipairs(LASTING) do both(class, name) end
  for _, name in ipairs(HAPPENING) do both(class, name) end
  both(class, "at")
  both(class, "calm")
end

for _, class in ipairs { Direction, Link, Way, Proxy } do
  function class:set(fault) action(fault)(self) end

  function class:after(ms, fault)
    local act = action(fault)
    local timers = (self.link or self.timers and self or self.proxy).timers
    local timer
    timer = lunawire.setTimeout(function()
      timers[timer] = nil
      act(self)
    end, ms)
    timers[timer] = true
  end
end

-- --- a process of its own -------------------------------------------------------------------------------------------

local Process = {}
Process.__index = Process
Process.__name = "Proxy.Process"

-- Starts one: {port, host = nil, seed}. `pump` as for a peer's lines, for a spec whose own loop must turn.
function Proxy.process(options, pump)
  local helper = require "spec.helper"
  local fifo = os.tmpname()
  os.remove(fifo)
  assert(helper.run("mkfifo " .. helper.quote(fifo)) == "")
  local command = helper.lua(("%s %d %d"):format(helper.quote(helper.root .. "/spec/torture/proxy.lua"),
    options.port, options.seed or 1))
  local peer = helper.peer(("exec %s <%s"):format(command, helper.quote(fifo)))
  local input = assert(io.open(fifo, "r+")) -- does not wait for the reader
  input:setvbuf "line"
  local port = tonumber(peer:line(pump))
  os.remove(fifo)
  return setmetatable({ port = port, peer = peer, input = input, pump = pump }, Process)
end

-- Returns what follows "ok"; raises when it does not understand.
function Process:tell(words)
  self.input:write(words, "\n")
  local answer = self.peer:line(self.pump)
  return answer:match "^ok ?(.*)$" or error(answer, 2)
end

function Process:close()
  if io.type(self.input) == "file" then self.input:close() end
  self.peer:stop()
end

local function answer(proxy, words)
  if words == "links" then
    local up, down = 0, 0
    for _, link in ipairs(proxy.links) do up, down = up + link.up.delivered, down + link.down.delivered end
    return ("ok %d %d %d"):format(#proxy.links, up, down)
  end
  local ok, message = pcall(proxy.set, proxy, words)
  return ok and "ok" or "error: " .. tostring(message)
end

local function main(port, seed)
  io.stdout:setvbuf "line"
  local proxy = Proxy.new { port = math.tointeger(tonumber(port)), seed = math.tointeger(tonumber(seed or 1)) }
  local rest = ""
  print(proxy.port)
  lunawire.watch(0, "r", function()
    local bytes = probe.sys.read(0)
    if not bytes or bytes == "" then return lunawire.stop() end
    rest = rest .. bytes
    rest = rest:gsub("([^\n]*)\n", function(words)
      print(answer(proxy, words))
      return ""
    end)
  end)
  lunawire.run()
end

if tonumber((...)) then main(...) end

return Proxy
