-- heartbeat.lua -- the server whose heartbeat is measured: `heartbeat.lua INTERVAL`, in milliseconds; 0:
-- it has none. Prints its port.
local lunawire = require "lunawire"

local interval = tonumber(arg[1])
local server = lunawire.WebSocketServer {
  port = 0,
  heartbeat = interval > 0 and { interval = interval, timeout = 10000 },
}

print(server.port)
io.stdout:flush()
lunawire.run()
