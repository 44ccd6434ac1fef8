-- whatwg.lua -- what the walk through the WHATWG standards shares (spec/whatwg_*_spec.lua). Each case there is a rule of
-- a standard, under its section's name, in words of our own; the sections and steps of WebSockets are those of its
-- Review Draft of September 2023. The other end is raw bytes (spec/wire.lua).
--
-- Where lunawire breaks a rule on purpose, the case shows what it does instead and names the row of docs/browser.md.

local lunawire = require "lunawire"
local wire = require "spec.wire"

local whatwg = {}

-- A server of raw bytes; new for each case.
function whatwg.open() whatwg.server = wire.server() end

whatwg.close = wire.done

-- A socket that has not been answered yet, what it hears, and its raw peer.
function whatwg.asking(protocols, options)
  local ws = lunawire.WebSocket(whatwg.server.url, protocols, options)
  local log = wire.record(ws)
  return ws, log, whatwg.server:asked()
end

-- The same, open. `more`: fields of the 101.
function whatwg.opened(protocols, more, options)
  local ws = lunawire.WebSocket(whatwg.server.url, protocols, options)
  local log = wire.record(ws)
  local peer = whatwg.server:open(more)
  wire.heard(log, "open")
  return ws, log, peer
end

-- The same without any handler.
function whatwg.bare()
  local ws = lunawire.WebSocket(whatwg.server.url)
  local peer = whatwg.server:open()
  wire.await(function() return ws.readyState == 1 end, "open")
  return ws, peer
end

-- What a socket hears that is answered with these bytes, or by a function(peer).
function whatwg.answered(answer, protocols)
  local _, log, peer = whatwg.asking(protocols)
  if type(answer) == "function" then answer(peer) else peer:send(answer) end
  peer:shutdown()
  wire.heard(log)
  return log, peer
end

-- The 101 for a peer that was asked, with other fields.
function whatwg.switch(peer, more)
  return wire.switch(peer.request.headers["sec-websocket-key"], more)
end

-- Waits until a socket is in this state.
function whatwg.state(ws, state)
  wire.await(function() return ws.readyState == state end, "readyState " .. state)
end

-- Closes from the peer's side; waits for the close event.
function whatwg.finish(log, peer, code)
  peer:closing(code or 1000)
  peer:shutdown()
  wire.heard(log)
end

return whatwg
