-- echo.lua -- the echo server that is measured. Prints its port.
local lunawire = require "lunawire"

local server = lunawire.WebSocketServer { port = 0, maxPayload = 64 * 1024 * 1024 }

function server.onmessage(event)
  event.target:send(event.data, event.binary and "binary" or nil)
end

print(server.port)
io.stdout:flush()
lunawire.run()
