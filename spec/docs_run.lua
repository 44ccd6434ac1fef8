-- docs_run.lua -- runs a block of Lua from a document, in a process of its own. spec/docs_spec.lua starts it:
--
--   lua docs_run.lua FILE ANNOUNCE
--
-- FILE has the block, behind as many empty lines as stand before it in the document, and first a line with the
-- document's name. What a block does not define is given to it: `lunawire`, `reliable`, `server` (on a free port), `ws`
-- (open, to the URL in the environment's ECHO). It must not write globals, its sockets must not fail unless it has an
-- `onerror`, and it must end: a server when its guests have left, sockets that nobody closes after a moment.
-- The URL of a server goes into the file ANNOUNCE.

local lunawire = require "lunawire"

local PATIENCE = 5000 -- milliseconds for anything to end

local file = assert(io.open(arg[1]))
local name, text = file:read "l", file:read "a"
file:close()
io.stdout:setvbuf "line"

local announce = arg[2]
local sockets, servers, problems = {}, {}, {}
local expectsErrors = text:find("onerror", 1, true)

-- The same class, which tells of what it makes.
local function watched(class, tell)
  return setmetatable({}, {
    __index = class,
    __call = function(_, ...)
      local object = class(...)
      tell(object)
      return object
    end,
  })
end

local function keepSocket(ws)
  sockets[#sockets + 1] = ws
  if expectsErrors then return end
  ws:addEventListener("error", function(event) problems[#problems + 1] = event.message end)
end

-- Closes a server when its guests have come and gone.
local function keepServer(server)
  servers[#servers + 1] = server
  local last
  server:addEventListener("connection", function() last = lunawire.now() end, true)
  server:addEventListener("request", function() last = lunawire.now() end, true)
  local timer
  lunawire.setTimeout(function() -- the block has set its handlers by then
    local place = assert(io.open(announce, "w"))
    place:write(server.url)
    place:close()
  end, 0)
  timer = lunawire.setInterval(function()
    if #server > 0 then last = lunawire.now() end
    if not last or lunawire.now() - last < 300 then return end
    timer:close()
    server:close()
  end, 20)
  server:addEventListener("close", function() timer:close() end)
end

lunawire.WebSocket = watched(lunawire.WebSocket, keepSocket)
lunawire.ReconnectingWebSocket = watched(lunawire.ReconnectingWebSocket, keepSocket)
lunawire.WebSocketServer = watched(lunawire.WebSocketServer, keepServer)

local connect = lunawire.connect
function lunawire.connect(...)
  local ws = connect(...)
  keepSocket(ws)
  return ws
end

local given = {
  lunawire = function() return lunawire end,
  reliable = function() return require "lunawire.reliable" end,
  server = function() return lunawire.WebSocketServer { port = 0 } end,
  love = function() return { update = function() end } end,
  ws = function() return lunawire.connect(os.getenv "ECHO") end,
}

local made = {}
local environment = setmetatable({}, {
  __index = function(_, key)
    if _G[key] == nil and given[key] and not made[key] then made[key] = given[key]() end
    if _G[key] == nil then return made[key] end
    return _G[key]
  end,
  __newindex = function(_, key) error(("the block writes the global `%s`"):format(key), 2) end,
})

assert(load(text, "@" .. name, "t", environment))()

-- LÖVE's own loop, for a second of its time.
for _ = 1, made.love and 60 or 0 do
  require "system".sleep(0.005)
  made.love.update(1 / 60)
end
if made.love and made.love.quit then made.love.quit() end

if servers[1] then
  lunawire.run(PATIENCE)
elseif not lunawire.run(300) then
  for _, ws in ipairs(sockets) do ws:close() end
end
if not lunawire.run(PATIENCE) then problems[#problems + 1] = "it does not end" end
for _, problem in ipairs(problems) do io.stderr:write(name, ": ", problem, "\n") end
os.exit(not problems[1], true)
