--- A queue of messages that knows their bytes. A message is { data =, options =, size =, held = }: its bytes, and those
-- of them that are in memory. One that is on its way also has `ends`, the place in the stream behind its last byte.
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

--- The oldest, taken out.
function Outbox:take()
  local message = self[self.first]
  self[self.first] = nil
  self.first = self.first + 1
  count(self, message, -1)
  return message
end

--- Puts messages before all others, in their order.
function Outbox:putBack(messages)
  for i = #messages, 1, -1 do
    self.first = self.first - 1
    self[self.first] = messages[i]
    count(self, messages[i], 1)
  end
end

--- Forgets those that have left, now that the stream has come so far.
function Outbox:trim(sent)
  while self.count > 0 and self[self.first].ends <= sent do self:take() end
end

--- Takes all out, oldest first.
function Outbox:takeAll()
  local messages = {}
  while self.count > 0 do messages[#messages + 1] = self:take() end
  return messages
end

function Outbox:clear()
  for i = self.first, self.first + self.count - 1 do self[i] = nil end
  self.first, self.count, self.bytes, self.held = 1, 0, 0, 0
end

return outbox
