--- room.lua -- who is in which room, and what was said there.
--
-- Messages in, messages out: no socket, no JSON and no clock lives here, so every rule can be tried in a plain script.
-- The host gives the ways out and the time:
--
--   local hall = room.new {
--     send    = function(person, message) end,        -- to this one
--     publish = function(name, message, except) end,  -- to everybody in the room called `name`, save `except`
--     enter   = function(person, name) end,           -- from now on `publish` to this room reaches this person
--     leave   = function(person, name) end,           -- and from now on it does not
--     now     = function() end,                       -- milliseconds of a clock that never jumps: the flood limit
--     time    = function() end,                       -- milliseconds since 1970: what a message is stamped with
--     limits  = { text = 500 },                       -- optional, over `room.limits`
--     keep    = function(name, said) end,             -- optional: this line was said, and the room goes on from it
--     recall  = function(name, seq, most) end,        -- optional: a room's lines from seq on, the last `most` of them
--   }
--   hall:receive(person, message)                     -- a decoded message; nil when it could not be decoded
--   hall:join(person, message)                        -- the same for a join that is no message, but part of arriving
--   hall:depart(person)                               -- the connection is gone
--   hall:restore(person, room, name)                  -- sat there before all this began; nobody is told
--   hall:placeOf(person)                              -- the names of the room and the person, nil: nowhere
--   hall:wait(person)                                 -- milliseconds until one more message is no flood
--
-- A person is whatever the host likes to use as a key: a socket, or the name of a session that outlives its sockets.

local byte, char, sub = string.byte, string.char, string.sub
local concat, remove = table.concat, table.remove
local floor = math.floor

--- How much of everything. Names, rooms, texts and ids are counted in characters, times in milliseconds.
local limits = {
  name = 32,
  room = 32,
  text = 2000,
  id = 64,
  history = 100,    -- messages a room remembers
  missed = 1000,    -- messages that are told to one who comes back ...
  missedBytes = 256 * 1024,  -- ... and how long their texts may be together
  rate = 20,        -- messages one person may send ...
  window = 1000,    -- ... in this time
  people = 1000,    -- in one room: each of them is named in every welcome
  rooms = 200,      -- in all, those without people included
  emptyRooms = 50,  -- rooms without people that are still remembered; the one empty the longest goes first
}

-- Characters ------------------------------------------------------------------------------------------------------

local smallest = { 0, 0x80, 0x800, 0x10000 }  -- what an encoding of so many bytes is needed for
local leadBits = { 128, 32, 16, 8 }           -- the lead byte modulo this is its share of the character

--- The characters of a string as { point = code point, bytes = what stands for it }, or nil when it is not UTF-8.
-- (Lua 5.1 has no utf8 library.)
local function codePoints(text)
  local points, at, size = {}, 1, #text
  while at <= size do
    local lead = byte(text, at)
    local width = lead < 0x80 and 1 or lead < 0xC2 and 0 or lead < 0xE0 and 2 or lead < 0xF0 and 3
      or lead < 0xF5 and 4 or 0
    if width == 0 or at + width - 1 > size then return nil end
    local point = lead % leadBits[width]
    for next = at + 1, at + width - 1 do
      local tail = byte(text, next)
      if tail < 0x80 or tail > 0xBF then return nil end
      point = point * 64 + tail - 0x80
    end
    if point < smallest[width] or point > 0x10FFFF or point >= 0xD800 and point <= 0xDFFF then return nil end
    points[#points + 1] = { point = point, bytes = sub(text, at, at + width - 1) }
    at = at + width
  end
  return points
end

--- A function that says whether a code point lies in one of these ranges (first, last, first, last, ...).
local function oneOf(...)
  local ranges = { ... }
  return function(point)
    for i = 1, #ranges, 2 do
      if point >= ranges[i] and point <= ranges[i + 1] then return true end
    end
    return false
  end
end

-- Characters that steer a terminal or the direction of the line instead of being seen: C0, DEL and C1, the line and
-- paragraph separators, and the bidirectional embeddings, overrides and isolates, which can turn the rest of a
-- line around. (The plain left-to-right and right-to-left marks act on themselves alone, and texts may hold them.)
local isControl = oneOf(0x00, 0x1F, 0x7F, 0x9F, 0x2028, 0x202E, 0x2066, 0x2069)

-- Characters that show nothing. In a name they would only serve to be taken for somebody else.
local isInvisible = oneOf(0xAD, 0xAD, 0x34F, 0x34F, 0x61C, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180F,
  0x200B, 0x200B, 0x200E, 0x200F, 0x2060, 0x2065, 0x206A, 0x206F, 0x2800, 0x2800, 0x3164, 0x3164, 0xFEFF, 0xFEFF,
  0xFFA0, 0xFFA0, 0xFFF0, 0xFFFB, 0xE0000, 0xE0FFF)

-- Joiners and variation selectors: invisible too, but emoji and several scripts cannot be written without them. A
-- name may hold them, and is the same name without them.
local isJoiner = oneOf(0x200C, 0x200D, 0xFE00, 0xFE0F)

local isSpace = oneOf(0x20, 0x20, 0xA0, 0xA0, 0x1680, 0x1680, 0x2000, 0x200A, 0x202F, 0x202F, 0x205F, 0x205F,
  0x3000, 0x3000)

--- Whether nobody would see anything of these code points.
local function isBlank(points)
  for i = 1, #points do
    local point = points[i].point
    if not (isSpace(point) or isJoiner(point) or isInvisible(point)) then return false end
  end
  return true
end

--- The code points of `value` if it is a text people can be shown, or nil and what is wrong with it.
local function readable(value, what, limit)
  if type(value) ~= "string" then return nil, what .. " must be a string" end
  if #value > 4 * limit then return nil, what .. " is longer than " .. limit .. " characters" end
  local points = codePoints(value)
  if not points then return nil, what .. " is not valid UTF-8" end
  if isBlank(points) then return nil, what .. " is empty" end
  if #points > limit then return nil, what .. " is longer than " .. limit .. " characters" end
  for i = 1, #points do
    if isControl(points[i].point) then return nil, what .. " has a control character in it" end
  end
  return points
end

--- A name as it is shown and the form in which two of them are compared, or nil and what is wrong with it.
-- Spaces around it go; letters A to Z, width and number of spaces, and joiners make no difference.
local function label(value, what, limit)
  local points, problem = readable(value, what, limit)
  if not points then return nil, problem end
  local first, last = 1, #points
  while isSpace(points[first].point) do first = first + 1 end
  while isSpace(points[last].point) do last = last - 1 end
  local shown, key = {}, {}
  for i = first, last do
    local point = points[i].point
    if isInvisible(point) then return nil, what .. " has an invisible character in it" end
    shown[#shown + 1] = points[i].bytes
    if isSpace(point) then
      if key[#key] ~= " " then key[#key + 1] = " " end
    elseif point >= 65 and point <= 90 then
      key[#key + 1] = char(point + 32)
    elseif not isJoiner(point) then
      key[#key + 1] = points[i].bytes
    end
  end
  return concat(shown), concat(key)
end

--- Whether this may stand as the `id` of a message: it is handed back as it came.
local function isId(id, limit)
  if type(id) == "number" then
    return id == floor(id) and id > -1e14 and id < 1e14  -- what survives any JSON library unchanged
  end
  return type(id) == "string" and (readable(id, "id", limit)) ~= nil
end

-- The hall --------------------------------------------------------------------------------------------------------

local Hall = { __name = "Hall" }
Hall.__index = Hall

local function new(options)
  local own = {}
  for what, limit in pairs(limits) do own[what] = options.limits and options.limits[what] or limit end
  return setmetatable({
    send = options.send,
    publish = options.publish,
    enter = options.enter,
    leave = options.leave,
    now = options.now,
    time = options.time,
    keep = options.keep or function() end,
    recall = options.recall,
    limits = own,
    rooms = {},    -- by name
    roomCount = 0,
    emptyCount = 0,
    emptied = 0,   -- how often a room has lost its last person: orders the empty ones
    guests = {},   -- by person: where they are, under which name, and when their last messages came
  }, Hall)
end

function Hall:complain(person, code, message, id)
  self.send(person, { type = "error", code = code, message = message, id = id })
end

--- The guest of this person, made at the first message.
function Hall:guest(person)
  local guest = self.guests[person]
  if not guest then
    guest = { person = person, name = nil, key = nil, room = nil, arrivals = {}, oldest = 1 }
    self.guests[person] = guest
  end
  return guest
end

--- Milliseconds until this person may send one more message. Only those let through count, so that a flood is thinned,
-- not shut out.
function Hall:wait(person)
  local guest = self.guests[person]
  local earliest = guest and guest.arrivals[guest.oldest]  -- the one `rate` messages ago
  if not earliest then return 0 end
  return math.max(0, earliest + self.limits.window - self.now())
end

--- Whether this message is one too many.
function Hall:isFlood(guest)
  if self:wait(guest.person) > 0 then return true end
  guest.arrivals[guest.oldest] = self.now()
  guest.oldest = guest.oldest % self.limits.rate + 1
  return false
end

--- Forgets the room that has been empty the longest; false when there is none.
function Hall:forgetRoom()
  local oldest
  for _, room in pairs(self.rooms) do
    if #room.people == 0 and (not oldest or room.emptied < oldest.emptied) then oldest = room end
  end
  if not oldest then return false end
  self.rooms[oldest.name] = nil
  self.roomCount, self.emptyCount = self.roomCount - 1, self.emptyCount - 1
  return true
end

--- The room of this name, made if there is space for one more; nil if not.
function Hall:findRoom(name)
  local room = self.rooms[name]
  if room then return room end
  if self.roomCount >= self.limits.rooms and not self:forgetRoom() then return nil end
  self.emptied = self.emptied + 1
  room = { name = name, seq = 0, history = {}, people = {}, byKey = {}, emptied = self.emptied }
  if self.recall then
    room.history = self.recall(name, 1, self.limits.history)
    room.seq = room.history[1] and room.history[#room.history].seq or 0
  end
  self.rooms[name] = room
  self.roomCount, self.emptyCount = self.roomCount + 1, self.emptyCount + 1
  return room
end

local function seat(self, guest, room, name, key)
  if #room.people == 0 then self.emptyCount = self.emptyCount - 1 end
  room.people[#room.people + 1] = guest
  room.byKey[key] = guest
  guest.room, guest.name, guest.key = room, name, key
  self.enter(guest.person, room.name)
end

--- Takes a guest out of the room and tells the others. The name is free from here on, and not before.
local function unseat(self, guest)
  local room, name = guest.room, guest.name
  if not room then return end
  self.leave(guest.person, room.name)
  room.byKey[guest.key] = nil
  for i = 1, #room.people do
    if room.people[i] == guest then
      remove(room.people, i)
      break
    end
  end
  guest.room, guest.name, guest.key = nil, nil, nil
  if #room.people == 0 then
    self.emptied = self.emptied + 1
    room.emptied = self.emptied
    self.emptyCount = self.emptyCount + 1
  end
  self.publish(room.name, { type = "left", name = name })
end

--- What was said from `seq` on, that line included: by it one who comes back can tell that it is still the same room.
-- 0: all; who was here before anybody spoke has seen none, and has missed the first, too.
-- If that is more than we tell, the oldest are left out.
local function missed(self, room, seq)
  local lines = self.recall and self.recall(room.name, seq, self.limits.missed) or room.history
  local first, bytes = #lines + 1, 0
  while first > 1 and lines[first - 1].seq >= seq do
    bytes = bytes + #lines[first - 1].text
    if bytes > self.limits.missedBytes then break end
    first = first - 1
  end
  local some = {}
  for i = first, #lines do some[#some + 1] = lines[i] end
  return some
end

local function welcome(self, guest, seq)
  local room, people, history = guest.room, {}, {}
  for i, other in ipairs(room.people) do people[i] = other.name end
  if type(seq) == "number" and seq >= 0 and seq <= room.seq and seq == floor(seq) then
    history = missed(self, room, seq)
  else
    for i, said in ipairs(room.history) do history[i] = said end
  end
  self.send(guest.person, { type = "welcome", room = room.name, you = guest.name, people = people, history = history })
end

local on = {}

function on.join(self, guest, message)
  local roomName, problem = label(message.room, "room", self.limits.room)
  if not roomName then return self:complain(guest.person, "bad-room", problem) end
  local name, key = label(message.name, "name", self.limits.name)
  if not name then return self:complain(guest.person, "bad-name", key) end

  local room = self:findRoom(roomName)
  if not room then return self:complain(guest.person, "too-many-rooms", "there is no space for another room") end
  local holder = room.byKey[key]
  if holder and holder ~= guest then
    return self:complain(guest.person, "name-taken", "somebody in this room has that name already")
  end
  if guest.room ~= room and #room.people >= self.limits.people then
    return self:complain(guest.person, "room-full", "this room is full")
  end

  if guest.room ~= room or guest.name ~= name then
    unseat(self, guest)
    self.publish(room.name, { type = "joined", name = name })
    seat(self, guest, room, name, key)
    if self.emptyCount > self.limits.emptyRooms then self:forgetRoom() end
  end
  welcome(self, guest, message.seq)
end

function on.say(self, guest, message)
  local id = message.id
  if id ~= nil and not isId(id, self.limits.id) then
    return self:complain(guest.person, "bad-id", "id must be a short string or a whole number")
  end
  if not guest.room then return self:complain(guest.person, "not-joined", "join a room first", id) end
  local points, problem = readable(message.text, "text", self.limits.text)
  if not points then return self:complain(guest.person, "bad-text", problem, id) end

  local room = guest.room
  room.seq = room.seq + 1
  local said = { type = "said", seq = room.seq, from = guest.name, text = message.text, time = self.time(), id = id }
  local history = room.history
  history[#history + 1] = said
  if #history > self.limits.history then remove(history, 1) end
  self.keep(room.name, said)
  self.publish(room.name, said)
end

function on.typing(self, guest)
  if not guest.room then return self:complain(guest.person, "not-joined", "join a room first") end
  self.publish(guest.room.name, { type = "typing", name = guest.name }, guest.person)
end

function on.ping(self, guest)
  self.send(guest.person, { type = "pong" })
end

--- A message from this person. Whatever it is, the answer is a message, never an error raised.
function Hall:receive(person, message)
  local guest = self:guest(person)
  local known = type(message) == "table"
  if self:isFlood(guest) then
    local id = known and message.type == "say" and message.id or nil
    if id ~= nil and not isId(id, self.limits.id) then id = nil end
    return self:complain(person, "slow-down", "more than " .. self.limits.rate .. " messages a second", id)
  end
  if not known then return self:complain(person, "bad-json", "a message must be one JSON object, sent as text") end
  local handler = type(message.type) == "string" and on[message.type]
  if not handler then
    return self:complain(person, "unknown-type", "type must be one of join, say, typing, ping")
  end
  handler(self, guest, message)
end

--- A join that counts toward no flood: whoever comes back says where they were.
function Hall:join(person, message)
  on.join(self, self:guest(person), message)
end

--- The connection of this person is gone.
function Hall:depart(person)
  local guest = self.guests[person]
  if not guest then return end
  self.guests[person] = nil
  unseat(self, guest)
  if self.emptyCount > self.limits.emptyRooms then self:forgetRoom() end
end

--- Puts somebody where a hall before this one had them. False if there is no such place any more.
function Hall:restore(person, roomName, name)
  local shown, key = label(name, "name", self.limits.name)
  local room = shown and label(roomName, "room", self.limits.room) and self:findRoom(roomName)
  if not room or room.byKey[key] or #room.people >= self.limits.people or self.guests[person] then return false end
  seat(self, self:guest(person), room, shown, key)
  return true
end

function Hall:placeOf(person)
  local guest = self.guests[person]
  if not guest or not guest.room then return nil end
  return guest.room.name, guest.name
end

return { new = new, limits = limits, codePoints = codePoints }
