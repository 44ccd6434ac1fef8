-- echo.lua -- the echo server that is measured: `echo.lua [CERTIFICATE]`, over TLS if there is one (its
-- key stands in the same file). Prints its port.
local lunawire = require "lunawire"

local server = lunawire.WebSocketServer {
  port = 0,
  maxPayload = 64 * 1024 * 1024,
  tls = arg[1] and { cert = arg[1], key = arg[1] },
}

function server.onmessage(event)
  event.target:send(event.data, event.binary and "binary" or nil)
end

print(server.port)
io.stdout:flush()
lunawire.run()
