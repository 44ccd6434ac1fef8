-- client.lua -- sends each line you type, prints each answer.
--
--   lua5.4 examples/client.lua [url [ca.pem]]  ws://127.0.0.1:8080/ unless given: see echo.lua; for wss://,
--                                              whom to trust instead of the system's authorities
--
-- In a checkout, `make` and `eval "$(make -s env)"` come first. Ctrl-D ends.

local lunawire = require "lunawire"

local ws = lunawire.WebSocket(arg[1] or "ws://127.0.0.1:8080/", nil, { tls = arg[2] and { ca = arg[2] } })
local keyboard
local failed = false

io.stdout:setvbuf "line"
io.stdin:setvbuf "no" -- a line in Lua's own buffer would be there unnoticed

ws.onopen = function()
  print("connected to " .. ws.url)
  keyboard = lunawire.watch(0, "r", function()
    local line = io.read()
    if line then
      ws:send(line, { binary = not utf8.len(line) }) -- what is not UTF-8 can only go as bytes
    else
      keyboard:close()
      lunawire.setTimeout(function() ws:close(1000) end, 500) -- an answer may be on its way
    end
  end)
end

ws.onmessage = function(event)
  -- What others send may hold control characters, which a terminal would obey.
  print(event.binary and #event.data .. " bytes" or (event.data:gsub("%c", "?")))
end

ws.onerror = function(event)
  failed = true
  io.stderr:write(event.message, "\n")
end

ws.onclose = function(event) -- always last, whatever happened
  if keyboard then keyboard:close() end
  print("closed with " .. event.code .. " (" .. event.name .. ") " .. event.reason)
end

lunawire.onsignal("INT", function() ws:close() end)

lunawire.run() -- until nothing is left that could call back
os.exit(not failed, true)
