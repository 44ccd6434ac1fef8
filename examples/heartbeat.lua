-- heartbeat.lua -- notices that the line is dead, and comes back, until you stop it.
--
--   lua5.4 examples/heartbeat.lua [url]            ws://127.0.0.1:8080/ unless given
--   lua5.4 examples/heartbeat.lua server [port]    answers it
--
-- In a checkout, `make` and `eval "$(make -s env)"` come first. Ctrl-C stops either.

local lunawire = require "lunawire"

io.stdout:setvbuf "line"

if arg[1] == "server" then
  local server = lunawire.WebSocketServer { port = assert(tonumber(arg[2] or 8080), "the port is a number") }
  server.onmessage = function(event)
    if event.data == "ping" then event.target:send "pong" end
  end
  lunawire.onsignal("INT", function() server:close() end)
  print("listening on " .. server.url)
  return lunawire.run()
end

local ws = lunawire.ReconnectingWebSocket(arg[1] or "ws://127.0.0.1:8080/", nil, {
  heartbeat = { interval = 1000, timeout = 1000, message = "ping", reply = "pong" },
  minDelay = 2000, maxDelay = 2000, jitter = 0, -- tries again after 2 s, as often as it takes
})

ws.onopen = function() print("connected to " .. ws.url) end
ws.onmessage = function(event) print(event.data) end -- whatever is no "pong"
ws.onerror = function(event) print(event.message) end
ws.onclose = function(event) print("closed with " .. event.code .. " (" .. event.name .. ") " .. event.reason) end
ws.onreconnecting = function(event) print(("trying again in %.0f s"):format(event.delay / 1000)) end

lunawire.onsignal("INT", function() ws:close(1000) end) -- the stop flag: after close() it stays closed

lunawire.run()
