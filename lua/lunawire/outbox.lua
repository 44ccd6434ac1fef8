--- A queue of messages that knows their bytes. A message is { data =, options =, size =, held = }: its bytes, and those
-- of them that are in memory. One that is on its way also has `ends`, the place in the stream behind its last byte.
-- What raises for want of memory has changed nothing.
-- @module lunawire.outbox
local Outbox = {}
Outbox.__index = Outbox

local outbox = {}

function outbox.new()
  return setmetatable({
    first = 1,  -- place of the oldest
    count = 0,
    bytes = 0,
    held = 0,
  }, Outbox)
end

--- Counts a message that comes (1) or goes (-1).
local function count(self, message, sign)
  self.count = self.count + sign
  self.bytes, self.held = self.bytes + sign * message.size, self.held + sign * message.held
end

function Outbox:put(message)
  self[self.first + self.count] = message
  count(self, message, 1)
end

--- From now on to put one message takes no memory.
function Outbox:makeRoom()
  self[self.first + self.count] = false
end

--- The oldest, left in; nil when there is none.
function Outbox:oldest()
  return self.count > 0 and self[self.first] or nil
end

--- The oldest, taken out.
function Outbox:take()
  local message = self[self.first]
  self[self.first] = nil
  self.first = self.first + 1
  count(self, message, -1)
  return message
end

--- Takes all out of another, and puts them before its own, in their order. Without memory for one of them it stays
-- there, with those before it.
function Outbox:takeBack(other)
  while other.count > 0 do
    local last = other.first + other.count - 1
    local message = other[last]
    self[self.first - 1] = message
    self.first = self.first - 1
    count(self, message, 1)
    other[last] = nil
    count(other, message, -1)
  end
end

--- Forgets those that have left, now that the stream has come so far.
function Outbox:trim(sent)
  while self.count > 0 and self[self.first].ends <= sent do self:take() end
end

function Outbox:clear()
  for i = self.first, self.first + self.count - 1 do self[i] = nil end
  self.first, self.count, self.bytes, self.held = 1, 0, 0, 0
end

return outbox
