--- One end of a delivery that survives its line: what is kept, numbered, due, new or known already. Messages of the
-- wire in, what they come to out; no socket, no clock, no handler. docs/reliable.md has the wire format.
--
--   local kind, value, payload = link.parse(data, binary)   -- nil, reason: not of this protocol
--   state:begin()                                           -- a new line; the hellos come first
--   send(state:hello())  …  state:meet(value)               -- what theirs says: continued, who is acknowledged
--   state:take(kind, value)                                 -- all others
--   state:output(), state:acknowledgement()                 -- what is to be sent now
--
-- @module lunawire.reliable_link
local core = require "lunawire.core"

local find, format, match, sub = string.find, string.format, string.match, string.sub
local max = math.max
local remove = table.remove

local link = { protocol = "lunawire.reliable.1" }

local MOST = 9007199254740991 -- 2^53 - 1: the last number that every language counts to without doubt
local MOST_HEADER = 256       -- bytes of a header line; a hello with the longest names has 172
local NONE = "-"              -- the epoch of a client that has met no server

-- The wire -------------------------------------------------------------------------------------------------------

--- Plain decimal, at least `least`, or nil.
local function number(text, least)
  if not text or #text > 16 or #text > 1 and sub(text, 1, 1) == "0" then return nil end
  local n = tonumber(text)
  return n >= least and n <= MOST and n or nil
end

local function isName(text, least)
  return #text >= least and #text <= 64
end

local readers = {
  message = function(header) return number(match(header, "^message (%d+)$"), 1) end,
  ack = function(header) return number(match(header, "^ack (%d+)$"), 1) end,
  skip = function(header) return number(match(header, "^skip (%d+)$"), 1) end,
  note = function(header) return header == "note" end,
  ["end"] = function(header) return header == "end" end,
  hello = function(header)
    local session, epoch, received, first = match(header, "^hello ([A-Za-z0-9_-]+) ([A-Za-z0-9_-]+) (%d+) (%d+)$")
    received, first = number(received, 0), number(first, 1)
    if not received or not first or not isName(session, 16) or not isName(epoch, 1) then return nil end
    return { session = session, epoch = epoch, received = received, first = first }
  end,
}

local carries = { message = true, note = true, hello = true } -- a payload
local mayBeBinary = { message = true, note = true }

--- A WebSocket message taken apart: its kind, its number (a hello's fields), its payload. nil and a reason in words
-- if it is none of this protocol.
function link.parse(data, binary)
  if type(data) ~= "string" then data = data:string() end -- the socket's binaryType
  local stop = find(data, "\n", 1, true)
  if not stop then return nil, "a message without a header line" end
  if stop > MOST_HEADER + 1 then return nil, "a header line of more than 256 bytes" end
  local header = sub(data, 1, stop - 1)
  local kind = match(header, "^%l+") or ""
  local reader = readers[kind]
  if not reader then return nil, "a header line that begins with no known word" end
  local value = reader(header)
  if not value then return nil, "a malformed " .. kind end
  if binary and not mayBeBinary[kind] then return nil, "a binary " .. kind end
  if stop < #data and not carries[kind] then return nil, kind .. " has no payload" end
  return kind, value, sub(data, stop + 1)
end

--- What may be sent (core.messageSize has looked at it), as it is kept: a string, whether it goes as a binary message,
-- and whether it must not be compressed. Of an ArrayBuffer a copy, of a Blob its bytes. Raises what reading a file raises.
function link.bytes(data, options)
  local more = type(options) == "table" and options or {}
  local plain = more.compress == false
  if type(data) ~= "string" then return data:string(), true, plain end
  return data, options == "binary" or more.binary or false, plain
end

--- A new name, which nobody can guess: that many random bytes, in hexadecimal.
function link.name(bytes)
  return (core.randomBytes(bytes):gsub(".", function(byte) return format("%02x", byte:byte()) end))
end

--- The message that carries a note.
function link.note(data)
  return "note\n" .. data
end

link.farewell = "end\n"

-- The state --------------------------------------------------------------------------------------------------------

local Link = {}
Link.__index = Link
Link.__name = "lunawire.reliable.Link"

--- One end of a session. A server names its memory of it (`epoch`) and may know how far the client's messages were
-- taken before (`received`).
function link.new(session, epoch, received)
  return setmetatable({
    session = session,
    epoch = epoch or NONE,
    serving = epoch ~= nil,

    -- Ours. `first` ≤ next: those between are kept. sent ≤ reached.
    first = 1,        -- the oldest we keep, or `next`
    next = 1,         -- the number of the next
    queue = {},       -- number -> entry { number, data, binary, plain, at }
    bytes = 0,        -- of their data
    sent = 0,         -- the last that went, or need not go, over this line
    reached = 0,      -- the last the other side can know of, from any line
    announced = 1,    -- what our last hello said of `first`
    full = false,     -- the socket wants us to wait for drain

    -- Theirs.
    received = received or 0, -- the last taken: those up to here are not taken again
    deferred = {},            -- numbers taken whose acknowledgement waits, in order
    due = false,              -- an acknowledgement is
    told = 0,                 -- the last acknowledgement on this line

    newcomer = false, -- the client of this line had no epoch to name
    met = false,      -- the hellos of this line are exchanged
  }, Link)
end

--- How many are kept.
function Link:count()
  return self.next - self.first
end

--- Gives an entry its number, and tells its receipt.
local function place(queue, entry, n)
  queue[n], entry.number = entry, n
  if entry.receipt then entry.receipt.number = n end
end

--- Keeps one more of ours: { data, binary, plain, at, receipt (with one: its `number` is set, too) }.
function Link:add(entry)
  place(self.queue, entry, self.next)
  self.next = self.next + 1
  self.bytes = self.bytes + #entry.data
end

--- The oldest, kept no longer; nil when there is none. Takes no memory.
function Link:drop()
  local entry = self.queue[self.first]
  if not entry then return nil end
  self.queue[self.first] = nil
  self.bytes = self.bytes - #entry.data
  self.first = self.first + 1
  return entry
end

--- Keeps those up to n no longer. A list of them. (Without memory for that all are kept.)
function Link:forget(n)
  local gone, queue = {}, self.queue
  for i = self.first, n do
    if not queue[i] then break end
    gone[#gone + 1] = queue[i]
  end
  for _ = 1, #gone do self:drop() end
  return gone
end

--- Gives up those that were added at `time` or before. A list of them.
function Link:expire(time)
  local n = self.first - 1
  while self.queue[n + 1] and self.queue[n + 1].at <= time do n = n + 1 end
  return self:forget(n)
end

--- How far theirs are taken for good: up to the first that is deferred.
function Link:taken()
  return (self.deferred[1] or self.received + 1) - 1
end

--- The acknowledgement of the one taken last waits for `release`. False if it is not the last any more.
function Link:defer(n)
  local deferred = self.deferred
  if n ~= self.received or deferred[#deferred] == n then return false end
  deferred[#deferred + 1] = n
  return true
end

--- Those deferred up to n are taken for good.
function Link:release(n)
  local deferred, i = self.deferred, 0
  while deferred[i + 1] and deferred[i + 1] <= n do i = i + 1 end
  if i == 0 then return end
  self.due = true
  if i == #deferred then
    for k = i, 1, -1 do deferred[k] = nil end
  else
    for _ = 1, i do remove(deferred, 1) end
  end
end

--- Theirs up to n will not come.
local function pass(self, n)
  if n > self.received then self.received = n end
  self:release(n)
end

-- The hellos -------------------------------------------------------------------------------------------------------

--- A new line, or none.
function Link:begin()
  self.met, self.due, self.full, self.told = false, false, false, 0
end

--- Our hello: header line and greeting.
function Link:hello(greeting)
  self.announced = self.first
  self.reached = max(self.reached, self.first - 1)
  local received = self.newcomer and self.received or self:taken() -- its own begin behind all that was taken before
  return format("hello %s %s %d %d\n%s", self.session, self.epoch, received, self.first, greeting or "")
end

--- All that we keep gets numbers behind n: an earlier client of this session had those up to there.
local function renumber(self, n)
  local by, queue = n - (self.announced - 1), {}
  for i = self.first, self.next - 1 do
    place(queue, self.queue[i], i + by)
  end
  self.queue = queue
  self.first, self.next = self.first + by, self.next + by
  self.reached = n
end

--- What a client hears.
local function meetServer(self, hello)
  if hello.epoch == NONE then return nil, "a hello without an epoch" end
  local continued, told = hello.epoch == self.epoch, hello.received
  if told > self.reached then
    if self.epoch ~= NONE then return nil, "a hello that acknowledges what was never sent" end
    renumber(self, told)
  end
  if not continued then -- nothing it has sent before is known to it any more
    self.epoch, self.received, self.deferred = hello.epoch, 0, {}
  end
  return continued, told
end

--- What a server hears.
local function meetClient(self, hello)
  local continued = hello.epoch == self.epoch
  local told = continued and hello.received or 0
  if told > self.reached then return nil, "a hello that acknowledges what was never sent" end
  self.newcomer = hello.epoch == NONE -- it has met nobody, so it has sent nothing
  return continued, told
end

--- Their hello. Whether it continues what was, and a list of those of ours it acknowledges; nil and a reason if they
-- are broken, and then nothing has changed. The server's own hello goes out after this, the client's before.
function Link:meet(hello)
  if hello.session ~= self.session then return nil, "a hello for another session" end
  local continued, told = (self.serving and meetClient or meetServer)(self, hello)
  if continued == nil then return nil, told end
  local gone = self:forget(told)
  pass(self, hello.first - 1)
  self.sent = max(told, (self.serving and self.first or self.announced) - 1)
  self.met, self.due, self.full, self.told = true, false, false, 0
  return continued, gone
end

-- Afterwards -------------------------------------------------------------------------------------------------------

--- What another message than a hello comes to:
--   "message"       it is new, to be delivered, and counts as taken
--   "again"         one that is known; drop it
--   "ack", entries  those of ours that are acknowledged by it
--   "skip", "note", "end"
--   nil, reason     they are broken
function Link:take(kind, n)
  if kind == "message" then
    if n > self.received + 1 then
      return nil, format("message %d after message %d", n, self.received)
    end
    self.due = true
    if n <= self.received then
      self.told = 0 -- say it again
      return "again"
    end
    self.received = n
  elseif kind == "ack" then
    if n > self.reached then return nil, "an ack of what was never sent" end
    return kind, self:forget(n)
  elseif kind == "skip" then
    pass(self, n)
  elseif kind == "hello" then
    return nil, "a second hello"
  end
  return kind
end

--- The acknowledgement that is due, or nil. Asked for once a turn, so that one speaks for many.
function Link:acknowledgement()
  if not self.met or not self.due then return nil end
  local n = self:taken()
  if n <= self.told then
    self.due = false
    return nil
  end
  local data = format("ack %d\n", n)
  self.due, self.told = false, n
  return data
end

--- The acknowledgement could not be sent, for want of memory: it is due again.
function Link:unsaid()
  self.due, self.told = true, 0
end

--- Message n, the last, could not be delivered: it is to be sent again, over another line.
function Link:untake(n)
  if n == self.received then self.received = n - 1 end
end

--- The next message that is to go over this line, whether it is binary and must not be compressed; nil if there is none.
function Link:output()
  if not self.met then return nil end
  if self.sent + 1 < self.first then -- given up before they went
    local data = format("skip %d\n", self.first - 1)
    self.sent = self.first - 1
    self.reached = max(self.reached, self.sent)
    return data, false
  end
  local entry = self.queue[self.sent + 1]
  if not entry then return nil end
  local data = format("message %d\n", entry.number) .. entry.data
  self.sent = entry.number
  self.reached = max(self.reached, self.sent)
  return data, entry.binary, entry.plain
end

--- Hands all output to a socket, as far as it wants it. After its `drain`: full = false, and again.
function Link:write(socket)
  while not self.full and socket.readyState == 1 do
    local data, binary, plain = self:output()
    if not data then return end
    self.full = not socket:send(data, plain and { binary = binary, compress = false } or binary and "binary" or nil)
  end
end

return link
