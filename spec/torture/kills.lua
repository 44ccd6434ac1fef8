-- kills.lua -- kill -9 for the chat server, over and over, while people talk.
--
--   local figures = kills.run { kills = 100, clients = 20, rate = 50, seed = 1 }
--   print(figures)                      -- in words
--   figures.problems                    -- what was promised and did not hold, in words
--
-- The clients are links of lunawire.reliable over a ReconnectingWebSocket with maxDelay 1000; the server is a process
-- on a journal in a file. With `delay` a proxy is between them, which makes everything late, and at a kill resets all,
-- so that lines and acknowledgements under way are lost in numbers. At each kill the journal is copied as it lies
-- there, and looked at: every line that was acknowledged by then must be in it. At the end all that was sent must be
-- in the room once, in order, as each of the clients heard it and as the journal has it.

local cjson = require "cjson"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local Proxy = require "spec.torture.proxy"
local Random = require "spec.torture.random"
local reliable = require "lunawire.reliable"

local journals = dofile(helper.root .. "/examples/chat/journal.lua")

local BACK = 3000            -- milliseconds from the restart until everybody must be back
local ROOM = "lobby"

local kills = {}

local Figures = {}
Figures.__index = Figures

local function percentile(sorted, share)
  return sorted[math.max(1, math.ceil(#sorted * share))] or 0
end

function Figures:__tostring()
  local back = self.back
  table.sort(back)
  return ("%d kills (%d of them before all were back), %d clients; %d lines sent, %d acknowledged, %d sent again; "
    .. "in the room %d, duplicates %d, gaps %d, out of order %d, refused %d; back after the restart: "
    .. "median %.0f ms, 99 %% %.0f ms, max %.0f ms; down at most %.0f ms; seed %d"):format(
    self.kills, self.early, self.clients, self.sent, self.acknowledged, self.again, self.lines, self.duplicates, self.gaps,
    self.disordered, self.refused, percentile(back, 0.5), percentile(back, 0.99), back[#back] or 0, self.down, self.seed)
end

local function problem(figures, ...)
  table.insert(figures.problems, (...):format(select(2, ...)))
end

-- A client -------------------------------------------------------------------------------------------------------------

local Client = {}
Client.__index = Client

function Client:said(said)
  if said.seq <= self.last then
    self.figures.duplicates = self.figures.duplicates + 1
    problem(self.figures, "%s heard line %d after line %d", self.name, said.seq, self.last)
  elseif said.seq > self.last + 1 then
    self.figures.gaps = self.figures.gaps + 1
    problem(self.figures, "%s heard line %d after line %d", self.name, said.seq, self.last)
  end
  self.last = math.max(self.last, said.seq)
  self.heard[#self.heard + 1] = said.text
end

--- The history begins with the line we named, or with the room.
function Client:welcome(welcome)
  for i, said in ipairs(welcome.history) do
    if i == 1 and said.seq == self.last then
      if said.text ~= self.heard[#self.heard] then problem(self.figures, "line %d has changed", said.seq) end
    else
      self:said(said)
    end
  end
  self.joined = true
end

function Client:message(text)
  local message = cjson.decode(text)
  if message.type == "said" then
    self:said(message)
  elseif message.type == "welcome" then
    self:welcome(message)
  elseif message.type == "error" then
    self.figures.refused = self.figures.refused + 1
    problem(self.figures, "%s was refused: %s", self.name, message.message)
  end
end

--- Says a line, and the next when it is time.
function Client:talk()
  if self.silent then return end
  self.timer = lunawire.setTimeout(function() self:talk() end, self.random() * 2 * self.pace)
  self.sent = self.sent + 1
  local n = self.sent
  local text = ("%s %d"):format(self.name, n)
  self.link:send(cjson.encode { type = "say", text = text }, nil, function(receipt)
    if receipt.error then return problem(self.figures, "%s was given up: %s", text, receipt.error.message) end
    if n ~= self.acknowledged + 1 then problem(self.figures, "%s was acknowledged out of turn", text) end
    self.acknowledged = n
  end)
end

local function newClient(figures, name, port, pace, random)
  local self = setmetatable({
    figures = figures,
    name = name,
    pace = pace,         -- milliseconds between two lines, on average
    random = random,
    heard = {},          -- texts, one after the other
    last = 0,            -- seq
    sent = 0,
    acknowledged = 0,
    joined = false,
    readyAt = 0,         -- when the last line was there
    silent = false,
    timer = nil,
  }, Client)
  self.socket = lunawire.ReconnectingWebSocket(("ws://127.0.0.1:%d/"):format(port), reliable.protocol, { maxDelay = 1000 })
  self.link = reliable.client(self.socket, {
    greeting = function()
      return cjson.encode { type = "join", room = ROOM, name = name, seq = self.last }
    end,
  })
  self.link.onmessage = function(event) self:message(event.data) end
  self.link.onready = function()
    self.readyAt = lunawire.now()
    figures.again = figures.again + self.link.unacknowledged
  end
  self.link.onerror = function(event) problem(figures, "%s: %s", name, event.message) end
  return self
end

-- The run --------------------------------------------------------------------------------------------------------------

local function pump() lunawire.step(5) end

local function pause(ms)
  local deadline = lunawire.now() + ms
  while lunawire.now() < deadline do lunawire.step(math.min(20, deadline - lunawire.now())) end
end

--- Turns until try() holds for every client; false if that takes too long.
local function all(clients, ms, try)
  local deadline = lunawire.now() + ms
  repeat
    local fine = true
    for _, client in ipairs(clients) do fine = fine and try(client) end
    if fine then return true end
    pump()
  until lunawire.now() > deadline
  return false
end

local function startServer(run)
  local peer = helper.peer("exec " .. helper.lua(("%s %d --journal %s"):format(
    helper.quote(helper.root .. "/examples/chat/server.lua"), run.port, helper.quote(run.file))))
  local line = peer:line(pump, 20)
  run.port = tonumber(line:match ":(%d+)/") or error("the server said: " .. line)
  run.server = peer
end

--- The lines of the journal behind those that were seen before, from a copy of the files as they lie there.
local function readJournal(run)
  local copy = run.folder .. "/copy.sqlite"
  for _, ending in ipairs { "", "-wal" } do
    os.remove(copy .. ending)
    local file = io.open(run.file .. ending, "rb")
    if file then
      helper.write(copy .. ending, file:read "*a")
      file:close()
    end
  end
  local journal = journals.open(copy)
  for _, said in ipairs(journal:recall(ROOM, #run.journal + 1, 1000000)) do
    if said.seq ~= #run.journal + 1 then
      problem(run.figures, "the journal has line %d after line %d", said.seq, #run.journal)
    end
    run.journal[#run.journal + 1] = said.text
    local name, n = said.text:match "^(%S+) (%d+)$"
    n = math.tointeger(tonumber(n))
    local before = run.reached[name] or 0
    if n <= before then
      run.figures.duplicates = run.figures.duplicates + 1
      problem(run.figures, "the journal has %s after %d", said.text, before)
    elseif n > before + 1 then
      run.figures.disordered = run.figures.disordered + 1
      problem(run.figures, "the journal has %s after %d", said.text, before)
    end
    run.reached[name] = n
  end
  journal:close()
  for _, client in ipairs(run.clients) do
    if client.acknowledged > (run.reached[client.name] or 0) then
      problem(run.figures, "%s %d was acknowledged, and is not in the journal", client.name, client.acknowledged)
    end
  end
end

--- One kill at a random moment, the journal, and the server again.
local function kill(run)
  local random, figures = run.random, run.figures
  local early = random:chance(0.15)
  if not early and run.startedAt then
    local since = run.startedAt
    local back = all(run.clients, BACK + 3000, function(client) return client.readyAt >= since end)
    for _, client in ipairs(run.clients) do
      if client.readyAt >= since then
        local ms = client.readyAt - since
        figures.back[#figures.back + 1] = ms
        if ms > BACK then problem(figures, "%s was back after %.0f ms", client.name, ms) end
      end
    end
    if not back then problem(figures, "not all were back %d ms after the restart", BACK + 3000) end
  end
  pause(random() * run.uptime)
  local at = lunawire.now()
  run.server:signal "KILL"
  if run.proxy then run.proxy:reset() end
  run.server:wait()
  figures.kills, figures.early = figures.kills + 1, figures.early + (early and 1 or 0)
  pause(30) -- what is under way arrives
  readJournal(run)
  pause(random() * run.downtime)
  startServer(run)
  run.startedAt = lunawire.now()
  figures.down = math.max(figures.down, run.startedAt - at)
end

--- What each of them heard against the journal.
local function compare(run)
  local figures, last = run.figures, #run.journal
  figures.lines = last
  for _, client in ipairs(run.clients) do
    figures.sent = figures.sent + client.sent
    figures.acknowledged = figures.acknowledged + client.acknowledged
    if #client.heard ~= last then problem(figures, "%s heard %d of %d lines", client.name, #client.heard, last) end
    for i = 1, math.min(last, #client.heard) do
      if client.heard[i] ~= run.journal[i] then
        problem(figures, "line %d is `%s`, %s heard `%s`", i, run.journal[i], client.name, client.heard[i])
        break
      end
    end
    if run.reached[client.name] ~= client.sent then
      problem(figures, "%s sent %d lines, the journal has %d", client.name, client.sent, run.reached[client.name] or 0)
    end
  end
  if figures.sent ~= last then problem(figures, "%d lines were sent, %d are in the room", figures.sent, last) end
end

local function clear(run)
  for _, client in ipairs(run.clients) do
    client.silent = true
    if client.timer then client.timer:close() end
    client.socket:close()
    client.socket:terminate()
  end
  if run.proxy then run.proxy:close() end
  if run.server then run.server:stop() end
  lunawire.run(2000)
  helper.remove(run.folder)
end

--- Options: `kills`, `clients` (20), `rate` (lines a second in all, 50), `seed`, `uptime` and `downtime` (milliseconds
-- at most, 1500 and 700), `delay` (what a proxy is to do: {from, to}), `onkill` (called with the figures).
function kills.run(options)
  local folder = helper.directory()
  local run = {
    figures = setmetatable({
      seed = options.seed, clients = options.clients or 20, kills = 0, early = 0, sent = 0, acknowledged = 0, again = 0,
      lines = 0, duplicates = 0, gaps = 0, disordered = 0, refused = 0, down = 0,
      back = {},      -- milliseconds from a restart until a client was back
      problems = {},
    }, Figures),
    random = Random.new(options.seed),
    uptime = options.uptime or 1500,
    downtime = options.downtime or 700,
    folder = folder,
    file = folder .. "/chat.sqlite",
    port = 0,
    proxy = nil,
    server = nil,
    startedAt = nil,  -- the last time it was started anew
    clients = {},
    journal = {},     -- texts of all lines seen in it
    reached = {},     -- name -> number of the last of their lines in it
  }
  local fine, trouble = xpcall(function()
    startServer(run)
    if options.delay then
      run.proxy = Proxy.new { port = run.port, seed = options.seed }
      run.proxy:delay(options.delay)
    end
    local pace = 1000 * run.figures.clients / (options.rate or 50)
    for i = 1, run.figures.clients do
      local name = ("c%02d"):format(i)
      run.clients[i] = newClient(run.figures, name, run.proxy and run.proxy.port or run.port, pace, run.random:fork(name))
    end
    assert(all(run.clients, 5000, function(client) return client.joined end), "not all came in")
    for _, client in ipairs(run.clients) do client:talk() end
    for _ = 1, options.kills do
      kill(run)
      if options.onkill then options.onkill(run.figures) end
    end
    for _, client in ipairs(run.clients) do client.silent = true end
    if not all(run.clients, 20000, function(client) return client.link.unacknowledged == 0 end) then
      problem(run.figures, "not everything was acknowledged in the end")
    end
    pause(200)
    run.server:signal "KILL"
    run.server:wait()
    readJournal(run)
    compare(run)
  end, debug.traceback)
  clear(run)
  if not fine then error(trouble, 0) end
  return run.figures
end

return kills
