-- memory.lua -- what a connection holds of a server's memory, by what was agreed on compression: `make -C bench
-- memory` prints a table in Markdown (docs/compression.md has it). The server is a process of its own, and so are its
-- CONNECTIONS; its resident memory is read from /proc.
--
--   memory.lua                             the table
--   memory.lua server OPTIONS              a server that echoes; prints its port
--   memory.lua clients PORT OPTIONS        for each line read, the next step and a line printed when it is done: one
--                                          connection has messages sent back, so that what is made once is there;
--                                          CONNECTIONS are opened; each sends a message and gets it back

local CONNECTIONS = 1000
local MESSAGE = 96 * 1024 -- bytes: every window is full after one

local function value_of(text) return assert(load("return " .. text))() end

local function say(line)
  print(line)
  io.stdout:flush()
end

-- Records that resemble each other, as messages do.
local function message()
  local parts, size, state = {}, 0, 7692
  while size < MESSAGE do
    state = state * 16807 % 2147483647
    parts[#parts + 1] = ('{"user":%d,"text":"%x"},'):format(state >> 12, state & 0xfffff)
    size = size + #parts[#parts]
  end
  return table.concat(parts)
end

if arg[1] == "server" then
  local lunawire = require "lunawire"
  local server = lunawire.WebSocketServer { port = 0, heartbeat = false, perMessageDeflate = value_of(arg[2]) }
  server.onmessage = function(event) event.target:send(event.data) end
  say(server.port)
  return lunawire.run()
end

if arg[1] == "clients" then
  local lunawire = require "lunawire"
  local text = message()
  local function open()
    local ws = lunawire.connect(("ws://127.0.0.1:%s/"):format(arg[2]), nil, { perMessageDeflate = value_of(arg[3]) })
    ws.onclose = function(event) error("closed: " .. event.code) end
    return ws
  end
  local function exchange(ws)
    ws:send(text)
    assert(ws:receive() == text)
  end
  local first, sockets = open(), {}
  for _ = 1, 20 do exchange(first) end
  say "warm"
  io.read "l"
  for i = 1, CONNECTIONS do sockets[i] = open() end
  say "open"
  io.read "l"
  for _, ws in ipairs(sockets) do exchange(ws) end
  say "answered"
  io.read "l"
  os.exit(0)
end

-- --- the table --------------------------------------------------------------------------------------------

local interpreter, script = arg[-1] or "lua5.4", arg[0]

local function resident(pid)
  local file = assert(io.open(("/proc/%d/smaps_rollup"):format(pid)))
  local kibibytes = file:read("a"):match "Rss:%s+(%d+) kB"
  file:close()
  return tonumber(kibibytes) * 1024
end

local function start(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = "'" .. tostring(word) .. "'" end
  local input = os.tmpname()
  os.remove(input)
  assert(os.execute("mkfifo " .. input))
  local pipe = io.popen(("ulimit -n $(ulimit -H -n); %s '%s' %s <%s & echo $!; wait"):format(
    interpreter, script, table.concat(words, " "), input))
  local process = { pipe = pipe, input = assert(io.open(input, "w")), pid = pipe:read "n" }
  pipe:read "l"
  os.remove(input)
  return process
end

local function go_on(process)
  process.input:write "\n"
  process.input:flush()
end

-- Bytes for each connection: when it is open, and when a message went both ways.
local function measure(options)
  local server = start("server", options)
  local port = assert(server.pipe:read "n")
  local clients = start("clients", port, options == "false" and "false" or "true")
  assert(clients.pipe:read "l" == "warm")
  local before = resident(server.pid)
  go_on(clients)
  assert(clients.pipe:read "l" == "open")
  local open = resident(server.pid)
  go_on(clients)
  assert(clients.pipe:read "l" == "answered")
  local answered = resident(server.pid)
  go_on(clients)
  os.execute(("kill %d"):format(server.pid))
  server.pipe:close()
  clients.pipe:close()
  return (open - before) / CONNECTIONS, (answered - before) / CONNECTIONS
end

local FRESH = "clientNoContextTakeover = true, serverNoContextTakeover = true"
local rows = {
  { "off", "false" },
  { "`true`: contexts kept, windows of 15 bits, memLevel 8", "true" },
  { "`memLevel = 5`", "{ memLevel = 5 }" },
  { "`memLevel = 1`", "{ memLevel = 1 }" },
  { "windows of 12 bits, `memLevel = 5`", "{ serverMaxWindowBits = 12, clientMaxWindowBits = 12, memLevel = 5 }" },
  { "windows of 12 bits", "{ serverMaxWindowBits = 12, clientMaxWindowBits = 12 }" },
  { "windows of 9 bits, `memLevel = 1`", "{ serverMaxWindowBits = 9, clientMaxWindowBits = 9, memLevel = 1 }" },
  { "windows of 9 bits", "{ serverMaxWindowBits = 9, clientMaxWindowBits = 9 }" },
  { "`serverNoContextTakeover`", "{ serverNoContextTakeover = true }" },
  { "`clientNoContextTakeover`", "{ clientNoContextTakeover = true }" },
  { "both: contexts are shared", "{ " .. FRESH .. " }" },
}

print(("%d connections, a message of %d KiB both ways; KiB each"):format(CONNECTIONS, MESSAGE // 1024))
print ""
print "| `perMessageDeflate` | open | after a message both ways |"
print "|---|---|---|"
for _, row in ipairs(rows) do
  local open, answered = measure(row[2])
  print(("| %s | %.1f | %.1f |"):format(row[1], open / 1024, answered / 1024))
  io.stdout:flush()
end
