-- foreign.lua -- what the specs of foreign peers share: the bytes that go over, peers that are asked
-- to do something, a server of ours with one behaviour per path, and the rules for each pair.
--
--   local peer = foreign.peer("node spec/peers/ws.js")     -- runs beside the spec
--   local said = peer:ask("check", { url = server.url, sizes = { 0, 125 } })
--   foreign.servesUs(peer), foreign.visitsUs(peer)          -- the rules, as describe blocks
--
-- Whatever waits turns lunawire's loop, and raises when what it waits for does not come in time.

local cjson = require "cjson"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local payload = require "spec.peers.payload"
local system = require "system"
local tcp = require("lunawire.probe").tcp

local foreign = {}

foreign.sizes = { 0, 1, 125, 126, 127, 65535, 65536, 5000000 }
foreign.texts = cjson.decode(helper.read(helper.root .. "/spec/peers/texts.json"))

-- Set by a spec of wss, before peers are asked for anything: what goes over is to go over TLS.
--   listen: what a peer's server is given {cert, key}; connect: our client's option `tls`; serve: our server's.
foreign.tls = nil

local LIMIT = 16 * 1024 * 1024
local SPOKEN = { "chat.v2", "chat.v1" }

-- --- the bytes --------------------------------------------------------------------------------------

foreign.payload, foreign.message = payload.make, payload.message

function foreign.hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

-- What the hexadecimal digits say.
function foreign.bytes(hex)
  return (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function kindOf(event) return event.binary and "binary" or "text" end

local function send(socket, kind, bytes) return socket:send(bytes, { binary = kind == "binary" }) end

-- Long strings are not printed, and what is due is made only once it is known how long.
local function judge(event, kind, bytes)
  assert(kindOf(event) == kind, ("%s came, %s was due"):format(kindOf(event), kind))
  assert(event.data == bytes, ("%d bytes of %s came, not as they were sent"):format(#event.data, kind))
end

local clients, servers = {}, {} -- those that are not closed

-- --- waiting ------------------------------------------------------------------------------------------

local function pump() lunawire.step(5) end

-- Turns the loop until try() gives something true, and returns that.
function foreign.await(try, what, seconds)
  return helper.await(try, pump, seconds or 20) or error("waited in vain for " .. what, 2)
end

-- Everything has ended, and nothing is left in the loop. What a failed test has left is ended first.
function foreign.quiet()
  for client in pairs(clients) do client.ws:terminate() end
  for server in pairs(servers) do server:drop() end
  assert(lunawire.run(10000), "something is left in the loop")
end

-- --- peers --------------------------------------------------------------------------------------------

local Peer = {}
Peer.__index = Peer
Peer.__name = "foreign.Peer"

-- Starts a program, which connects to a port of ours for what it will be asked.
foreign.seconds = nil -- that a peer may live; nil: helper.peer's own

function foreign.peer(command)
  local listener = tcp.listen()
  local directory = helper.directory()
  local process = helper.peer(("TMPDIR=%s exec %s %d"):format(helper.quote(directory), command, listener.port), foreign.seconds)
  local socket = helper.await(function() return listener:accept() end, pump, 30)
  listener:close()
  if not socket then
    local said = process:text() -- which goes with it
    process:stop()
    helper.remove(directory)
    error(("`%s` did not come; it said: %s"):format(command, said))
  end
  return setmetatable({
    process = process,      -- of helper.peer
    directory = directory,  -- for its temporary files
    socket = socket,        -- on which it is asked
    bytes = "",             -- received, not a whole line yet
    asked = 0,              -- the last request's number
    answers = {},           -- by the request's number, until they are taken
  }, Peer)
end

function foreign.node(script)
  return foreign.peer("node " .. helper.quote(("%s/spec/peers/%s"):format(helper.root, script)))
end

function foreign.python(script)
  return foreign.peer(helper.python() .. " " .. helper.quote(("%s/spec/peers/%s"):format(helper.root, script)))
end

function Peer:receive()
  local bytes, failure = self.socket:receive()
  if not bytes then error(("the peer is gone (%s); it said: %s"):format(failure or "end", self.process:text())) end
  self.bytes = self.bytes .. bytes
  local lines, rest = self.bytes:match "^(.*\n)(.*)$"
  if not lines then return end
  self.bytes = rest
  for line in lines:gmatch "[^\n]+" do
    local answer = cjson.decode(line)
    self.answers[answer.id] = answer
  end
end

-- Asks for something; returns a function that waits for the answer and returns it (at most so many
-- seconds). It raises what went wrong at the peer.
function Peer:begin(what, arguments)
  self.asked = self.asked + 1
  local request, number = { id = self.asked, ask = what }, self.asked
  for name, value in pairs(arguments or {}) do request[name] = value end
  local line = cjson.encode(request) .. "\n"
  assert(self.socket:send(line) == #line)
  return function(seconds)
    local answer = foreign.await(function()
      self:receive()
      return self.answers[number]
    end, "the answer to " .. line, seconds)
    self.answers[number] = nil
    if answer.failure then error(("%s: %s"):format(what, answer.failure), 2) end
    return answer.result
  end
end

-- The same, waiting for the answer.
function Peer:ask(what, arguments) return self:begin(what, arguments)() end

-- Tells it that nothing more will be asked, and lets it tidy up.
function Peer:stop()
  self.socket:shutdown()
  helper.await(function() return not self.socket:receive() end)
  self.socket:close()
  self.process:stop()
  helper.remove(self.directory)
end

-- --- a client of ours -----------------------------------------------------------------------------------

local Client = {}
Client.__index = Client
Client.__name = "foreign.Client"

local connections = 0

-- Connects to a peer's server (what listen() answered) and writes down what is heard. The number in
-- the query lets the peer tell how the connection ended there.
function foreign.connect(server, target, protocols, options)
  connections = connections + 1
  local url = ("%s://127.0.0.1:%d/%s%sid=%d"):format(
    foreign.tls and "wss" or "ws", server.port, target, target:find "?" and "&" or "?", connections)
  if foreign.tls then
    local more = options
    options = { tls = foreign.tls.connect }
    for name, value in pairs(more or {}) do options[name] = value end
  end
  local client = setmetatable({
    id = tostring(connections),
    ws = lunawire.WebSocket(url, protocols, options),
    events = {},    -- types, in order; messages are left out
    messages = {},  -- events not yet taken, from first to last
    first = 1,
    last = 0,
    pings = {},     -- their data
    pongs = {},
    close = nil,    -- the event
    error = nil,    -- the event
  }, Client)
  local function note(event)
    client.events[#client.events + 1] = event.type
    client[event.type] = event
    if event.type == "close" then clients[client] = nil end
  end
  clients[client] = true
  client.ws.onopen, client.ws.onerror, client.ws.onclose = note, note, note
  client.ws.onmessage = function(event)
    client.last = client.last + 1
    client.messages[client.last] = event
  end
  client.ws.onping = function(event) client.pings[#client.pings + 1] = event.data end
  client.ws.onpong = function(event) client.pongs[#client.pongs + 1] = event.data end
  return client
end

function Client:opened()
  foreign.await(function() return self.open or self.close end, "open")
  assert(self.open, "not opened: " .. (self.error and self.error.message or "no error"))
  return self
end

-- The next message's event.
function Client:next()
  foreign.await(function() return self.messages[self.first] or self.close end, "a message")
  local event = self.messages[self.first]
  if not event then
    error(("closed, %d %s, while a message was due"):format(self.close.code, self.close.reason), 2)
  end
  self.messages[self.first], self.first = nil, self.first + 1
  return event
end

-- Waits for the close event; returns it as a table with the three fields a browser has.
function Client:closed()
  local close = foreign.await(function() return self.close end, "close")
  return { code = close.code, reason = close.reason, wasClean = close.wasClean }
end

-- Closes, and returns the same.
function Client:finish(code, reason)
  self.ws:close(code, reason)
  return self:closed()
end

-- --- a server of ours -----------------------------------------------------------------------------------

-- What a socket does, by the path it came for. Each sets the handlers it needs.
local behaviours = {}

-- Answers each message; one that is not as it should be ends the connection with 4400 and says why.
local function answer(socket, reply)
  socket.onmessage = function(event)
    local right, why = pcall(reply, event)
    if not right then socket:close(4400, tostring(why):sub(-120)) end
  end
end

function behaviours.idle() end

function behaviours.echo(socket)
  socket.onmessage = function(event) socket:send(event.data, { binary = event.binary }) end
end

function behaviours.check(socket)
  answer(socket, function(event)
    local due = foreign.payload(kindOf(event), #event.data)
    judge(event, kindOf(event), due)
    send(socket, kindOf(event), due)
  end)
end

behaviours.fragments = behaviours.check

function behaviours.sequence(socket)
  local i = 0
  answer(socket, function(event)
    local kind, bytes = foreign.message(i)
    judge(event, kind, bytes)
    send(socket, kind, bytes)
    i = i + 1
  end)
end

function behaviours.texts(socket)
  local i = 0
  answer(socket, function(event)
    i = i + 1
    judge(event, "text", foreign.texts[i])
    socket:send(foreign.texts[i])
  end)
end

function behaviours.ping(socket)
  socket:ping "from the server"
  socket.onpong = function(event) socket:send("ponged " .. event.data) end
end

function behaviours.headers(socket, request)
  socket:send(cjson.encode(request.headers))
end

function behaviours.close(socket, request)
  local query = request.query or ""
  local code, reason = query:match "code=(%d+)", query:match "reason=([^&]*)"
  socket:close(tonumber(code), reason and reason:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

function behaviours.cross(socket)
  socket.onmessage = function()
    system.sleep(0.05) -- the client's Close follows its message: by now it is here, and nobody has read it
    socket:close(4001, "the server's")
  end
end

function behaviours.drop(socket)
  socket.onmessage = function() socket:terminate() end
end

function behaviours.three(socket)
  socket.onmessage = function()
    for i = 1, 3 do socket:send("message " .. i) end
    socket:close(4001, "after three")
  end
end

-- Listens. Besides WebSocketServer's own members: sockets that are open, by path, and how those
-- that were have ended.
local Server = {}
Server.__index = Server
Server.__name = "foreign.Server"

function foreign.server(options)
  local all = { maxPayload = LIMIT, protocols = SPOKEN, origins = "*", tls = foreign.tls and foreign.tls.serve }
  for name, value in pairs(options or {}) do all[name] = value or nil end
  local server = lunawire.WebSocketServer(all)
  local self = setmetatable({
    server = server,
    url = server.url,
    sockets = {},   -- open ones, in the order they came
    requests = {},  -- of all connections so far
    endings = {},   -- of all that have ended: {path, code, reason, wasClean}
    most = 0,       -- open at one time
    closed = false, -- the server's own close event came
  }, Server)
  server.onupgrade = function(event)
    local status = tonumber(event.request.path:match "^/(4%d%d)$")
    if status then event:reject(status, { ["WWW-Authenticate"] = 'Basic realm="spec"' }, "not you: " .. status) end
    event.headers = { ["X-Path"] = event.request.path }
  end
  server.onconnection = function(event)
    local socket, request = event.socket, event.request
    self.requests[#self.requests + 1] = request
    self.sockets[#self.sockets + 1] = socket
    self.most = math.max(self.most, #server)
    socket.onclose = function(close) self:ended(socket, request.path, close) end
    behaviours[request.path:sub(2)](socket, request)
  end
  server.onclose = function()
    self.closed = true
    servers[self] = nil
  end
  servers[self] = true
  return self
end

function Server:ended(socket, path, close)
  self.endings[#self.endings + 1] = { path = path, code = close.code, reason = close.reason, wasClean = close.wasClean }
  for i, each in ipairs(self.sockets) do
    if each == socket then table.remove(self.sockets, i) end
  end
end

-- Waits until n connections have ended in all; returns how the last one did, without its path.
function Server:ending(n)
  foreign.await(function() return #self.endings >= n end, n .. " endings")
  local last = self.endings[n]
  return { code = last.code, reason = last.reason, wasClean = last.wasClean }
end

-- Closes without patience.
function Server:drop()
  self.server:close()
  for _, socket in ipairs(self.sockets) do socket:terminate() end
end

function Server:close()
  self.server:close()
  foreign.await(function() return self.closed end, "the server's close")
end

return foreign
