--- A queue of messages that knows their bytes. A message is { data =, options =, size = }; one that is on its way
-- also has `ends`, the place in the stream behind its last byte.
-- @module lunawire.outbox
local Outbox = {}
Outbox.__index = Outbox

local outbox = {}

function outbox.new()
  return setmetatable({
    first = 1,  -- place of the oldest
    count = 0,
    bytes = 0,
  }, Outbox)
end

function Outbox:put(message)
  self[self.first + self.count] = message
  self.count, self.bytes = self.count + 1, self.bytes + message.size
end

--- The oldest, taken out.
function Outbox:take()
  local message = self[self.first]
  self[self.first] = nil
  self.first, self.count, self.bytes = self.first + 1, self.count - 1, self.bytes - message.size
  return message
end

--- Puts messages before all others, in their order.
function Outbox:putBack(messages)
  for i = #messages, 1, -1 do
    self.first = self.first - 1
    self[self.first] = messages[i]
    self.count, self.bytes = self.count + 1, self.bytes + messages[i].size
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
  self.first, self.count, self.bytes = 1, 0, 0
end

return outbox
