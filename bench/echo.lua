-- echo.lua -- the echo server that is measured: `echo.lua [CERTIFICATE | deflate | fresh]`, over TLS if there is a
-- certificate (its key stands in the same file), compressed as bench/load.c has it. Prints its port.
local lunawire = require "lunawire"

local deflate = {
  deflate = { threshold = 0, level = 6 },
  fresh = { threshold = 0, level = 6, clientNoContextTakeover = true, serverNoContextTakeover = true },
}
local server = lunawire.WebSocketServer {
  port = 0,
  maxPayload = 64 * 1024 * 1024,
  perMessageDeflate = deflate[arg[1]],
  tls = arg[1] and not deflate[arg[1]] and { cert = arg[1], key = arg[1] } or nil,
}

function server.onmessage(event)
  event.target:send(event.data, event.binary and "binary" or nil)
end

print(server.port)
io.stdout:flush()
lunawire.run()
