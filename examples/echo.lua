-- echo.lua -- a WebSocket server that sends everything back.
--
--   lua5.4 examples/echo.lua [port]            8080 unless given; 0: any free one
--
-- In a checkout, `make` and `eval "$(make -s env)"` come first. client.lua talks to it.

local lunawire = require "lunawire"

local port = math.tointeger(tonumber(arg[1] or 8080))
if not port then
  io.stderr:write "usage: echo.lua [port]\n"
  os.exit(2)
end
io.stdout:setvbuf "line"

local server = lunawire.WebSocketServer {
  port = port,
  origins = "*", -- any web page may come; leave it out, and only pages of the same host may
}
print("listening on " .. server.url .. ", Ctrl-C ends")

server.onconnection = function(event)
  print(("%s port %d has come, %d here"):format(event.request.remoteAddress, event.request.remotePort, #server))
end

-- Handlers of the server serve all of its sockets; event.target is the one that heard something.
server.onmessage = function(event)
  event.target:send(event.data, { binary = event.binary })
end

server.onsocketclose = function(event)
  print(("one has left with %d (%s), %d here"):format(event.code, event.name, #server))
end

-- Says goodbye to everyone; then nothing is left that could call back, and run returns.
lunawire.onsignal("INT", function() server:close() end)

lunawire.run()
