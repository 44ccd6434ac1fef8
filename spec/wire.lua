-- wire.lua -- peers of raw bytes for lunawire's own ends: a server or client that does the
-- handshake by hand and builds each frame byte by byte. Nothing here shares code with the
-- library but SHA-1 and base64, which crypt_spec checks against their RFCs.
--
--   local server = wire.server()                      -- or wire.connect(port) to a server of ours
--   local ws = lunawire.WebSocket(server.url)
--   local log = wire.record(ws)                       -- "open", "text hi", "close 1000  clean"
--   local peer = server:open()                        -- accept, read the request, send the 101
--   peer:frame { "text", payload = "hi" }             -- masked by itself when the peer is a client
--   wire.await(function() return #log == 2 end)
--   assert.equal("hello", peer:next().payload)        -- the next frame that came, parsed
--   after_each(wire.done)                             -- closes every peer and listener there is
--
-- Whatever waits turns lunawire's loop and moves the bytes of all peers, and raises when what
-- it waits for does not come in time.

local frames = require "spec.frames"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"

local wire = {}

local tcp, crypt = probe.tcp, probe.crypt

local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" -- RFC 6455, 1.3

-- Everything open, for wire.clear().
local peers, listeners = {}, {}

-- --- turning ----------------------------------------------------------------------------------

-- One turn of everybody: peers move their bytes, the loop turns for at most `ms` (1).
function wire.turn(ms)
  for peer in pairs(peers) do peer:move() end
  lunawire.step(ms or 1)
  for peer in pairs(peers) do peer:move() end
end

-- n turns that do not wait: whatever is ready by now happens, and what it brings about.
function wire.settle(n)
  for _ = 1, n or 20 do wire.turn(0) end
end

-- Turns until try() gives something true, and returns that. Raises "waited for <what>" after
-- `seconds` (10).
function wire.await(try, what, seconds)
  local result = helper.await(try, function() wire.turn() end, seconds)
  if not result then
    local name = type(what) == "function" and what() or what or "something"
    error("waited in vain for " .. name, 2)
  end
  return result
end

-- --- peers --------------------------------------------------------------------------------------

local Peer = {}
Peer.__index = Peer
Peer.__name = "wire.Peer"

local function new_peer(socket, role)
  local peer = setmetatable({
    socket = socket,   -- of probe.tcp
    role = role,       -- "server" or "client": a client's frames are masked
    bytes = "",        -- received, not taken yet
    total = 0,         -- received since the beginning
    ended = nil,       -- "eof", or the error's name ("ECONNRESET")
    reading = true,    -- false: leaves everything in the system's buffers
    keeping = true,    -- false: reads and counts, and keeps only the last 1024 bytes
    output = "",       -- not yet taken by the system
    failed = nil,      -- the error's name when sending failed
    request = nil,     -- the head this peer read in its handshake: see head()
  }, Peer)
  peers[peer] = true
  return peer
end

-- Sends and receives what can be, without waiting. Who waits calls it.
function Peer:move()
  while self.output ~= "" and not self.failed do
    local n, failure = self.socket:send(self.output)
    if not n then self.failed = failure end
    if not n or n == 0 then break end
    self.output = self.output:sub(n + 1)
  end
  local parts = {}
  while self.reading and not self.ended do
    local bytes, failure = self.socket:receive()
    if not bytes then self.ended = failure or "eof" end
    if not bytes or bytes == "" then break end
    if self.keeping then parts[#parts + 1] = bytes else self.bytes = (self.bytes .. bytes):sub(-1024) end
    self.total = self.total + #bytes
  end
  if parts[1] then self.bytes = self.bytes .. table.concat(parts) end
end

-- Sends bytes, all of them at once as far as the system lets us.
function Peer:send(bytes)
  self.output = self.output .. bytes
  self:move()
end

-- Sends bytes one at a time, with a turn of the loop after each.
function Peer:trickle(bytes)
  for i = 1, #bytes do
    self:send(bytes:sub(i, i))
    wire.turn(0)
  end
end

-- Sends bytes whole or "one byte at a time".
function Peer:say(bytes, how)
  if how == "one byte at a time" then self:trickle(bytes) else self:send(bytes) end
end

-- A frame's bytes as this peer would send them: see frames.build. A key may be given; false is
-- a frame without a mask.
function Peer:build(frame)
  local copy = {}
  for name, value in pairs(frame) do copy[name] = value end
  if copy.key == nil and self.role == "client" then copy.key = "\x37\xfa\x21\x3d" end
  return frames.build(copy)
end

-- Sends frames.
function Peer:frame(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = self:build((select(i, ...))) end
  self:send(table.concat(parts))
end

-- Sends a Close frame: without code, with one, with one and a reason.
function Peer:closing(code, reason)
  self:frame { "close", payload = frames.closing(code, reason) }
end

-- Waits for n bytes and takes them.
function Peer:read(n)
  wire.await(function() return #self.bytes >= n or self.ended end, n .. " bytes")
  assert(#self.bytes >= n, "the stream ended early")
  local bytes = self.bytes:sub(1, n)
  self.bytes = self.bytes:sub(n + 1)
  return bytes
end

-- Waits for an HTTP head and takes it: {text, line, method and target or status, headers by
-- lower-case name (several joined by ", ")}.
function Peer:head()
  local function last() return select(2, self.bytes:find("\r\n\r\n", 1, true)) end
  wire.await(function() return last() or self.ended end, "a head")
  local text = self.bytes:sub(1, assert(last(), "the stream ended within a head"))
  self.bytes = self.bytes:sub(#text + 1)
  local head = { text = text, line = text:match "^(.-)\r\n", headers = {} }
  head.method, head.target = head.line:match "^(%u+) (%S+) HTTP/1%.1$"
  head.status = tonumber(head.line:match "^HTTP/1%.1 (%d%d%d)")
  for name, value in text:gmatch "\r\n([^:\r\n]+):[ \t]*(.-)[ \t]*%f[\r]" do
    name = name:lower()
    head.headers[name] = head.headers[name] and head.headers[name] .. ", " .. value or value
  end
  return head
end

-- Waits for the next whole frame and takes it; nil at the end of the stream. As frames.parse:
-- {fin, rsv, opcode, form, length, key, payload (unmasked)}, [1] is the opcode.
function Peer:next()
  local function whole()
    local bytes = self.bytes
    local second = bytes:byte(2)
    if not second then return nil end
    local length, size = second % 128, second >= 128 and 6 or 2
    if length >= 126 then
      local more = length == 126 and 2 or 8
      if #bytes < 2 + more then return nil end
      length = 0
      for i = 3, 2 + more do length = length * 256 + bytes:byte(i) end
      size = size + more
    end
    return #bytes >= size + length and size + length
  end
  wire.await(function() return whole() or self.ended end, "a frame")
  local size = whole()
  if not size then
    assert(self.bytes == "", "the stream ended within a frame")
    return nil
  end
  local frame = frames.parse(self.bytes:sub(1, size))[1]
  self.bytes = self.bytes:sub(size + 1)
  return frame
end

-- Waits for the end of the stream. Returns how it came ("eof", "ECONNRESET") and what was left.
function Peer:finish()
  wire.await(function() return self.ended end, "the end of the stream")
  return self.ended, self.bytes
end

-- Ends our half of the stream, behind what was sent.
function Peer:shutdown()
  wire.await(function() return self.output == "" or self.failed end, "the output to go")
  self.socket:shutdown()
end

function Peer:close()
  self.socket:close()
  self.ended = self.ended or "closed"
  peers[self] = nil
end

-- Ends with a RST.
function Peer:reset()
  self.socket:reset()
  self.ended = self.ended or "closed"
  peers[self] = nil
end

-- --- the handshake ------------------------------------------------------------------------------

function wire.accept(key)
  return crypt.encode(crypt.sha1(key .. GUID))
end

-- A head: its first line and its fields, {"Name: value", ...} or {name = value}.
function wire.head(line, fields)
  local lines, names = { line }, {}
  for i, field in ipairs(fields) do lines[i + 1] = field end
  for name in pairs(fields) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do lines[#lines + 1] = name .. ": " .. fields[name] end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- A 101 for a key, with more fields; false takes one away: {["Sec-WebSocket-Accept"] = false}.
function wire.switch(key, more)
  local fields = { Upgrade = "websocket", Connection = "Upgrade", ["Sec-WebSocket-Accept"] = wire.accept(key) }
  for name, value in pairs(more or {}) do fields[name] = value or nil end
  return wire.head("HTTP/1.1 101 Switching Protocols", fields)
end

-- A request to upgrade, with more fields; false takes one away. `line` replaces the first.
function wire.upgrade(more, line)
  local fields = {
    Host = "127.0.0.1", Upgrade = "websocket", Connection = "Upgrade",
    ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ==", ["Sec-WebSocket-Version"] = "13",
  }
  for name, value in pairs(more or {}) do fields[name] = value or nil end
  return wire.head(line or "GET / HTTP/1.1", fields)
end

-- --- a raw server ---------------------------------------------------------------------------------

local Server = {}
Server.__index = Server
Server.__name = "wire.Server"

-- Listens on 127.0.0.1, or at the path of a Unix socket, whose url has no colon. Fields: port, url.
function wire.server(backlog, path)
  local listener = tcp.listen(backlog, path)
  local server = setmetatable({
    listener = listener,
    port = listener.port,
    url = path and "ws+unix:" .. path or ("ws://127.0.0.1:%d/"):format(listener.port),
  }, Server)
  listeners[server] = true
  return server
end

-- Waits for the next connection: a peer that has read nothing yet.
function Server:accept()
  return new_peer(wire.await(function() return self.listener:accept() end, "a connection"), "server")
end

-- Waits for the next connection and its request: peer.request.
function Server:asked()
  local peer = self:accept()
  peer.request = peer:head()
  return peer
end

-- The same, and answers with the 101 (see wire.switch), with `bytes` in the same segment.
function Server:open(more, bytes)
  local peer = self:asked()
  peer:send(wire.switch(peer.request.headers["sec-websocket-key"], more) .. (bytes or ""))
  return peer
end

function Server:close()
  self.listener:close()
  listeners[self] = nil
end

-- --- a raw client ---------------------------------------------------------------------------------

-- A peer that has connected (or is about to) and sent nothing.
function wire.connect(port, host)
  return new_peer(assert(tcp.connect(port, host)), "client")
end

-- The same, upgraded: sends the request (see wire.upgrade), reads the 101 into peer.response.
function wire.client(port, more, line)
  local peer = wire.connect(port)
  peer:send(wire.upgrade(more, line))
  peer.response = peer:head()
  assert(peer.response.status == 101, peer.response.line)
  return peer
end

-- --- what a socket of ours hears --------------------------------------------------------------------

-- An event in words: "open", "text hi", "binary hi", "error refused", "error protocol 1002",
-- "close 1000 reason clean", "close 1006  unclean", "ping hi", "drain".
function wire.words(event)
  local name = event.type
  if name == "message" then return (event.binary and "binary " or "text ") .. event.data end
  if name == "error" then return "error " .. event.code .. (event.closeCode and " " .. event.closeCode or "") end
  if name == "close" then
    return ("close %d %s %s"):format(event.code, event.reason, event.wasClean and "clean" or "unclean")
  end
  return name .. (event.data and " " .. event.data or "")
end

-- Sets on… handlers that write down every event: in words at 1, 2, …, whole in .events, and the
-- readyState at that moment in .states. log.close is the close event once it came.
function wire.record(ws, types)
  local more = { events = {}, states = {} } -- not in the list itself, so that lists compare
  local log = setmetatable({}, { __index = more })
  for _, name in ipairs(types or { "open", "message", "error", "close" }) do
    ws["on" .. name] = function(event)
      log[#log + 1] = wire.words(event)
      log.events[#log] = event
      log.states[#log] = ws.readyState
      if event.type ~= "message" then more[event.type] = event end
    end
  end
  return log
end

-- Turns until a recorded socket has heard `close`, or whatever else by its type.
function wire.heard(log, what)
  return wire.await(function() return log[what or "close"] end, function()
    return ("`%s`, heard: %s"):format(what or "close", table.concat(log, ", "))
  end)
end

-- --- mistakes -----------------------------------------------------------------------------------------

-- Calls what must raise an error object of that name; returns its message.
function wire.mistake(name, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then error("nothing was raised", 2) end
  if type(err) ~= "table" then error("no error object, but " .. tostring(err), 2) end
  if err.name ~= name then error(("%s expected, got %s"):format(name, tostring(err)), 2) end
  local text = tostring(err)
  assert(text:find(name, 1, true) and text:find(err.message, 1, true), text)
  return err.message
end

-- --- the end ------------------------------------------------------------------------------------------

-- Closes what is still open. For after_each.
function wire.clear()
  for peer in pairs(peers) do peer:close() end
  for server in pairs(listeners) do server:close() end
end

-- The same, and nothing may be left in the loop then.
function wire.done()
  wire.clear()
  assert(lunawire.run(3000), "something is left in the loop")
end

return wire
