--- journal.lua -- what was said, kept: in memory, or in an SQLite file, where it survives the server.
--
-- Lines (room, seq, from, text, time, id), and for each session how far its messages are taken and where it sits. What
-- is added waits for `commit`, which writes it in one transaction, all of it or nothing: a line and the news that
-- its message was taken reach the disk together, so after a crash what was said is neither lost nor said again.
--
--   local journal = open("chat.sqlite")     -- or "memory"; raises a text for people
--   journal:line(room, said)                -- a `said` message
--   journal:session(id, taken, room, name)  -- room and name nil: it sits nowhere
--   journal:forget(id)                      -- it is over, and will not come back
--   journal:commit()                        -- true, or false and what went wrong: then all of it still waits
--   journal:recall(room, seq, most)         -- its lines from seq on, the last `most` of them, oldest first
--   journal:taken(id)                       -- nil for a session that is not known
--   journal:seats()                         -- a list of { id, room, name }
--   journal:close()
--
-- The file is for one server at a time, and for its owner alone: who knows a session can take it over.

--- How much is kept. The oldest goes first: of lines in a room, of rooms, of sessions that sit nowhere.
local limits = { lines = 10000, rooms = 1000, sessions = 10000 }

-- In memory it is less: nothing of it outlives the server.
local memoryLimits = { lines = 500, rooms = 100, sessions = 10000 }

local remove = table.remove

--- A whole number as one, wherever it has been; others as they are.
local function whole(value)
  return type(value) == "number" and value % 1 == 0 and tonumber(("%d"):format(value)) or value
end

-- What waits for the commit -------------------------------------------------------------------------------------------

local function newPending()
  return {
    lines = {},     -- { room, said }, in order
    sessions = {},  -- id -> { id, taken, room, name }; false: to be forgotten
    any = false,
  }
end

local Pending = {}

function Pending:line(room, said)
  self.pending.lines[#self.pending.lines + 1] = { room = room, said = said }
  self.pending.any = true
end

function Pending:session(id, taken, room, name)
  self.pending.sessions[id] = { id = id, taken = taken, room = room, name = name }
  self.pending.any = true
end

function Pending:forget(id)
  self.pending.sessions[id] = false
  self.pending.any = true
end

--- Adds what is pending of this room to its lines from the store.
local function withPending(self, lines, room, seq, most)
  for _, line in ipairs(self.pending.lines) do
    if line.room == room and line.said.seq >= seq then lines[#lines + 1] = line.said end
  end
  local last = {}
  for i = math.max(1, #lines - most + 1), #lines do last[#last + 1] = lines[i] end
  return last
end

-- In memory -----------------------------------------------------------------------------------------------------------

local Memory = { __name = "Journal", line = Pending.line, session = Pending.session, forget = Pending.forget }
Memory.__index = Memory

--- Takes the entry out that was used the longest ago, of those `may` allows.
local function dropOldest(all, may)
  local oldest
  for key, each in pairs(all) do
    if may(each) and (not oldest or each.used < all[oldest].used) then oldest = key end
  end
  if oldest ~= nil then all[oldest] = nil end
  return oldest ~= nil
end

local function always() return true end
local function seatless(session) return session.room == nil end

function Memory:commit()
  local pending = self.pending
  self.pending = newPending()
  self.clock = self.clock + 1
  for _, line in ipairs(pending.lines) do
    local lines = self.rooms[line.room]
    if not lines then
      lines, self.roomCount = { used = 0 }, self.roomCount + 1
      self.rooms[line.room] = lines
    end
    lines.used = self.clock
    lines[#lines + 1] = line.said
    if #lines > self.limits.lines then remove(lines, 1) end
    if self.roomCount > self.limits.rooms and dropOldest(self.rooms, always) then self.roomCount = self.roomCount - 1 end
  end
  for id, session in pairs(pending.sessions) do
    self.sessionCount = self.sessionCount + (session and 1 or 0) - (self.sessions[id] and 1 or 0)
    self.sessions[id] = session or nil
    if session then session.used = self.clock end
  end
  while self.sessionCount > self.limits.sessions and dropOldest(self.sessions, seatless) do
    self.sessionCount = self.sessionCount - 1
  end
  return true
end

function Memory:recall(room, seq, most)
  local found = {}
  for _, said in ipairs(self.rooms[room] or {}) do
    if said.seq >= seq then found[#found + 1] = said end
  end
  return withPending(self, found, room, seq, most)
end

function Memory:taken(id)
  local session = self.pending.sessions[id]
  if session == nil then session = self.sessions[id] end
  return session and session.taken or nil
end

--- Whether there is something of this session that is not written yet.
local function isPending(self, id) return self.pending.sessions[id] ~= nil end
Memory.isPending = isPending

function Memory.seats() return {} end -- asked at the start, when nobody can be known

function Memory.close() end

local function openMemory(most)
  return setmetatable({
    pending = newPending(),
    limits = most,
    clock = 0,       -- commits: orders rooms and sessions by their last use
    rooms = {},      -- name -> list of `said`, with `used`
    roomCount = 0,
    sessions = {},   -- id -> { id, taken, room, name, used }
    sessionCount = 0,
  }, Memory)
end

-- In a file -----------------------------------------------------------------------------------------------------------

local VERSION = 1

-- LuaDBI hands whole numbers on in 32 bits, so what may be larger is read as REAL: exact up to 2^53, as all ours are.
-- The id of a line has no type of its own: it comes back as it came, a text or a number.
local schema = {
  [[CREATE TABLE lines (room TEXT NOT NULL, seq INTEGER NOT NULL, sender TEXT NOT NULL, text TEXT NOT NULL,
    time INTEGER NOT NULL, id, PRIMARY KEY (room, seq)) WITHOUT ROWID]],
  [[CREATE TABLE rooms (name TEXT PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID]],
  [[CREATE INDEX rooms_used ON rooms (used)]],
  [[CREATE TABLE sessions (id TEXT PRIMARY KEY, taken INTEGER NOT NULL, room TEXT, name TEXT, used INTEGER NOT NULL)
    WITHOUT ROWID]],
  [[CREATE INDEX sessions_used ON sessions (used) WHERE room IS NULL]],
  [[PRAGMA user_version = 1]],
}

local SQL = {
  begin = "BEGIN IMMEDIATE",
  commit = "COMMIT",
  line = "INSERT INTO lines (room, seq, sender, text, time, id) VALUES (?, ?, ?, ?, ?, ?)",
  trim = "DELETE FROM lines WHERE room = ? AND seq <= ?",
  room = "INSERT INTO rooms (name, used) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET used = excluded.used",
  roomCount = "SELECT COUNT(*) AS n FROM rooms",
  oldestRoom = "SELECT name FROM rooms ORDER BY used LIMIT 1",
  dropRoom = "DELETE FROM rooms WHERE name = ?",
  dropLines = "DELETE FROM lines WHERE room = ?",
  session = [[INSERT INTO sessions (id, taken, room, name, used) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE
    SET taken = excluded.taken, room = excluded.room, name = excluded.name, used = excluded.used]],
  forget = "DELETE FROM sessions WHERE id = ?",
  sessionCount = "SELECT COUNT(*) AS n FROM sessions",
  oldestSession = [[DELETE FROM sessions WHERE id IN
    (SELECT id FROM sessions WHERE room IS NULL ORDER BY used LIMIT ?)]],
  recall = [[SELECT CAST(seq AS REAL) AS seq, sender, text, CAST(time AS REAL) AS time, id FROM lines
    WHERE room = ? AND seq >= ? ORDER BY seq DESC LIMIT ?]],
  taken = "SELECT CAST(taken AS REAL) AS taken FROM sessions WHERE id = ?",
  seats = "SELECT id, room, name FROM sessions WHERE room IS NOT NULL",
  latest = "SELECT CAST(MAX(used) AS REAL) AS used FROM (SELECT used FROM rooms UNION ALL SELECT used FROM sessions)",
}

local File = { __name = "Journal", line = Pending.line, session = Pending.session, forget = Pending.forget }
File.__index = File

--- Runs a statement, prepared once. Raises what SQLite says.
local function run(self, sql, ...)
  local statement = self.statements[sql]
  if not statement then
    local problem
    statement, problem = self.connection:prepare(sql)
    if not statement then error(problem, 0) end
    self.statements[sql] = statement
  end
  local fine, problem = statement:execute(...)
  if not fine then error(problem, 0) end
  return statement
end

local function closeStatements(self)
  for _, statement in pairs(self.statements) do statement:close() end
  self.statements = {}
end

--- All rows of a query, by the names of their columns.
local function rows(self, sql, ...)
  local all = {}
  for row in run(self, sql, ...):rows(true) do all[#all + 1] = row end
  return all
end

local function value(self, sql, column, ...)
  local row = rows(self, sql, ...)[1]
  return row and whole(row[column])
end

local function writeLines(self, lines)
  local last = {} -- room -> seq
  for _, line in ipairs(lines) do
    local said = line.said
    run(self, SQL.line, line.room, said.seq, said.from, said.text, said.time, said.id)
    last[line.room] = said.seq
  end
  for room, seq in pairs(last) do
    run(self, SQL.room, room, self.clock)
    run(self, SQL.trim, room, seq - self.limits.lines)
  end
  if next(last) == nil then return end
  for _ = self.limits.rooms + 1, value(self, SQL.roomCount, "n") do
    local name = value(self, SQL.oldestRoom, "name")
    run(self, SQL.dropLines, name)
    run(self, SQL.dropRoom, name)
  end
end

local function writeSessions(self, sessions)
  local more = false
  for id, session in pairs(sessions) do
    if session then
      run(self, SQL.session, id, session.taken, session.room, session.name, self.clock)
      more = true
    else
      run(self, SQL.forget, id)
    end
  end
  if not more then return end
  local over = value(self, SQL.sessionCount, "n") - self.limits.sessions
  if over > 0 then run(self, SQL.oldestSession, over) end
end

function File:commit()
  local pending = self.pending
  if not pending.any then return true end
  self.clock = self.clock + 1
  local fine, problem = pcall(function()
    run(self, SQL.begin)
    writeLines(self, pending.lines)
    writeSessions(self, pending.sessions)
    run(self, SQL.commit)
  end)
  if not fine then
    closeStatements(self) -- one that has failed says so once more at its next use
    self.connection:rollback()
    return false, problem
  end
  self.pending = newPending()
  return true
end

function File:recall(room, seq, most)
  local found = rows(self, SQL.recall, room, seq, most)
  local lines = {}
  for i, row in ipairs(found) do
    lines[#found + 1 - i] = { type = "said", seq = whole(row.seq), from = row.sender, text = row.text,
      time = whole(row.time), id = whole(row.id) }
  end
  return withPending(self, lines, room, seq, most)
end

function File:taken(id)
  local session = self.pending.sessions[id]
  if session == nil then return value(self, SQL.taken, "taken", id) end
  return session and session.taken or nil
end

File.isPending = isPending

function File:seats()
  return rows(self, SQL.seats)
end

function File:close()
  closeStatements(self) -- or the file would stay open
  self.connection:close()
end

--- A text for people out of what LuaDBI says.
local function explain(name, problem)
  problem = tostring(problem)
  if problem:find("locked", 1, true) then problem = "it is in use, by another chat server perhaps" end
  return ("the journal %s cannot be used: %s"):format(name, problem)
end

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function prepare(self)
  rows(self, "PRAGMA locking_mode = EXCLUSIVE") -- one server at a time; the system lets go when it dies
  local version = value(self, "PRAGMA user_version", "user_version")
  if version > VERSION or version < 0 then error("a newer chat server wrote it", 0) end
  if version == 0 and rows(self, "SELECT name FROM sqlite_master LIMIT 1")[1] then
    error("it is somebody else's database", 0)
  end
  if version > 0 then value(self, SQL.latest, "used") end -- ours, or this raises, and nothing in it has been changed
  rows(self, "PRAGMA journal_mode = WAL")       -- a commit is one write, and one wait for the disk
  rows(self, "PRAGMA synchronous = FULL")
  run(self, SQL.begin)
  if version == 0 then
    for _, statement in ipairs(schema) do run(self, statement) end
  end
  run(self, SQL.commit)
  self.clock = value(self, SQL.latest, "used") or 0
end

--- LuaDBI, if it and its driver are here; nil and what to do if not.
local function available()
  local found, dbi = pcall(require, "DBI")
  if found and pcall(require, "dbd.sqlite3") then return dbi end
  return nil, "no SQLite for Lua here (Debian: apt install lua-dbi-sqlite3; else: luarocks install luadbi-sqlite3)"
end

local function openFile(name, most)
  local dbi, missing = available()
  if not dbi then error(missing, 0) end
  -- The files beside it follow its permissions.
  local made = os.execute("umask 077; exec 2>/dev/null; : >>" .. quoted(name))
  if made ~= true and made ~= 0 then error(explain(name, "it cannot be written"), 0) end -- Lua 5.1 gives the number
  local connection, problem = dbi.Connect("SQLite3", name)
  if not connection then error(explain(name, problem), 0) end
  connection:autocommit(true)
  local self = setmetatable({
    pending = newPending(),
    limits = most,
    connection = connection,
    statements = {},  -- sql -> prepared
    clock = 0,        -- orders rooms and sessions by their last use
  }, File)
  local fine, trouble = pcall(prepare, self)
  if not fine then
    self:close()
    error(explain(name, trouble), 0)
  end
  return self
end

--- Opens a journal: "memory", or the name of a file, which is made if there is none. `own` (optional) goes over `limits`.
local function open(name, own)
  local most = {}
  for what, limit in pairs(name == "memory" and memoryLimits or limits) do most[what] = own and own[what] or limit end
  if name == "memory" then return openMemory(most) end
  return openFile(name, most)
end

return { open = open, available = available, limits = limits }
