-- rock.lua -- what a script does that has nothing but an installed rock: connects to a server that
-- answers each message with the same (the path /check of ws.js), and judges the answers.
--
--   lua rock.lua PAYLOAD.LUA URL SIZE...     prints a line for each message, and the end

local payload = dofile((arg[1]))
local lunawire = require "lunawire"

print("core " .. package.searchpath("lunawire.core", package.cpath))

local ws = lunawire.WebSocket(arg[2])
local due = {} -- kind and size of the answers to come, in order

ws.onopen = function()
  for i = 3, #arg do
    for _, kind in ipairs { "text", "binary" } do
      local n = math.tointeger(tonumber(arg[i]))
      due[#due + 1] = { kind = kind, n = n }
      ws:send(payload.make(kind, n), { binary = kind == "binary" })
    end
  end
end

ws.onmessage = function(event)
  local expected = table.remove(due, 1)
  local same = event.binary == (expected.kind == "binary") and event.data == payload.make(expected.kind, expected.n)
  print(expected.kind .. " " .. expected.n .. (same and " equal" or " DIFFERENT"))
  if not due[1] then ws:close(1000, "all equal here") end
end

ws.onerror = function(event) print("error " .. event.message) end
ws.onclose = function(event) print("close " .. event.code .. (event.wasClean and " clean" or " unclean")) end

assert(lunawire.run(30000), "not done after 30 s")
