-- server_helper.lua -- what the specs of WebSocketServer share: a desk that holds the servers
-- a spec opens, closes them after it, and finds whatever was left behind.
--
--   before_each(desk.open)  after_each(desk.clear)
--   local server, log = desk.serve { maxPayload = 100 }
--   local peer = wire.client(server.port)
--   desk.heard(log, "connection")        -- waits; log holds all events in words, in order

local assert = require "luassert"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

local desk = {}
local servers, descriptors, cleanings

function desk.open()
  lunawire.fd() -- the poller stays open from its first use on
  servers, cleanings = {}, {}
  descriptors = probe.sys.descriptors()
end

-- A server on a free port, unless the options say another place.
function desk.listen(options)
  local server = lunawire.WebSocketServer(options or {})
  servers[#servers + 1] = server
  return server
end

-- The same, with a log of everything it and its sockets hear, in words ("connection",
-- "text hi", "close 1000  clean"). log.sockets: in the order in which they came; log.events.
function desk.serve(options)
  local server = desk.listen(options)
  local log = setmetatable({}, { __index = { sockets = {}, events = {}, requests = {} } })
  local function note(words, event)
    log[#log + 1] = words
    log.events[#log.events + 1] = event
  end
  function server.onconnection(event)
    note("connection", event)
    log.sockets[#log.sockets + 1] = event.socket
    log.requests[#log.requests + 1] = event.request
  end
  for _, name in ipairs { "onmessage", "onping", "onpong", "ondrain", "onsocketerror", "onsocketclose" } do
    server[name] = function(event) note(wire.words(event), event) end
  end
  function server.onerror(event) note("server error " .. event.code, event) end
  function server.onclose(event) note("server close", event) end
  return server, log
end

-- Waits until the log has this entry, as the nth of its kind (1).
function desk.heard(log, words, nth)
  wire.await(function()
    local n = 0
    for _, entry in ipairs(log) do if entry:match("^" .. words) then n = n + 1 end end
    return n >= (nth or 1)
  end, function()
    local heard = {}
    for i, entry in ipairs(log) do heard[i] = #entry > 60 and entry:sub(1, 60) .. "…" or entry end
    return ("`%s`, heard: %s"):format(words, table.concat(heard, ", "))
  end)
  return log
end

-- A raw client with the socket the server has for it.
function desk.guest(server, log, more, line)
  local n = #log.sockets + 1
  local peer = wire.client(server.port, more, line)
  return peer, wire.await(function() return log.sockets[n] end, "the connection")
end

-- Sends bytes "whole" (the default) or "one byte at a time"; of long ones the middle goes in
-- pieces of 100, to be done before the reader of this.
function desk.say(peer, bytes, how)
  if how ~= "one byte at a time" then return peer:send(bytes) end
  if #bytes <= 1200 then return peer:trickle(bytes) end
  peer:trickle(bytes:sub(1, 600))
  for i = 601, #bytes - 600, 100 do
    peer:send(bytes:sub(i, math.min(i + 99, #bytes - 600)))
    wire.turn(0)
  end
  peer:trickle(bytes:sub(-600))
end

-- Sends a request, "whole" (the default) or "one byte at a time". Returns the peer.
function desk.ask(server, bytes, how)
  local peer = wire.connect(server.port)
  desk.say(peer, bytes, how)
  return peer
end

-- The whole answer that is no 101: its head, with .body, and .ended ("eof").
function desk.answer(peer)
  local answer = peer:head()
  answer.ended, answer.body = peer:finish()
  return answer
end

-- Asks and takes the answer.
function desk.fetch(server, bytes, how)
  local peer = desk.ask(server, bytes, how)
  local answer = desk.answer(peer)
  peer:close()
  return answer
end

-- What a call raises: an error object. `words` stand in its message.
function desk.raises(name, words, call, ...)
  local ok, err = pcall(call, ...)
  assert.is_false(ok, "it raised nothing")
  assert.equal("table", type(err), tostring(err))
  assert.equal(name, err.name, err.message)
  assert.truthy(err.message:find(words, 1, true), ("`%s` does not say `%s`"):format(err.message, words))
  assert.truthy(tostring(err):find(name .. ": " .. err.message, 1, true), tostring(err))
  return err
end

-- Waits until the server has ended its stream, and ends ours. Returns how it came and the bytes
-- that were left. Until then the server drains what still comes, so its `close` comes after.
function desk.leave(peer)
  local how, bytes = peer:finish()
  peer:close()
  return how, bytes
end

-- Nobody listens there: a connection is refused.
function desk.refused(port, host)
  local peer = wire.connect(port, host)
  wire.await(function()
    peer:send "x"
    return peer.failed or peer.ended
  end, "a refusal")
  peer:close()
  return (peer.failed or peer.ended) == "ECONNREFUSED"
end

-- Called at the end, whatever happens.
function desk.finally(call)
  cleanings[#cleanings + 1] = call
end

-- A path that nothing has yet; what lies there at the end is removed.
function desk.path()
  local path = os.tmpname()
  os.remove(path)
  desk.finally(function() os.remove(path) end)
  return path
end

-- How many turns the loop takes in so many milliseconds when nobody disturbs it. A loop that
-- spins takes thousands, however busy the machine is.
function desk.turns(ms)
  local deadline, n = lunawire.now() + ms, 0
  while lunawire.now() < deadline do
    lunawire.step(math.max(deadline - lunawire.now(), 0.1))
    n = n + 1
  end
  return n
end

-- The memory this process has in use, in bytes.
function desk.memory()
  return tonumber(helper.read("/proc/self/statm"):match "^%d+ (%d+)") * 4096
end

function desk.clear()
  lunawire.onerror = nil
  for i = #cleanings, 1, -1 do cleanings[i]() end
  wire.clear()
  for _, server in ipairs(servers) do server:close() end
  assert(lunawire.run(8000), "something is left in the loop")
  servers = {}
  local now = probe.sys.descriptors()
  if now ~= descriptors then
    collectgarbage() -- what a spec opened and forgot
    now = probe.sys.descriptors()
  end
  if now ~= descriptors then error(("descriptors left open: %d"):format(now - descriptors)) end
end

return desk
