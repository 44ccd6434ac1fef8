-- run.lua -- echo throughput and latency against npm's ws, and what idle connections and their
-- heartbeat cost. `make bench` runs it, `make -C bench heartbeat` the last alone, `make -C bench tls`
-- the echoes over wss, beside the least a C program can do, `make -C bench deflate` what compression
-- costs, beside npm's ws and zlib's own calls. Server and load have a core each; every figure of ours
-- stands beside the peer's from the same run, taken in turn.
local build = arg[1] or "build"
local root = arg[0]:match "^(.*)/bench/" or "."

local ROUNDS = 3
local SECONDS = 2
local INTERVAL = 250 -- ms between a client's beats, so that there are many
local BEATING = 20   -- seconds: the system counts CPU time in ticks of 10 ms

local function capture(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read "*a"
  pipe:close()
  return output
end

local function has(command)
  return capture("command -v " .. command .. " 2>/dev/null") ~= ""
end

local pinned = has "taskset" and tonumber(capture "nproc") > 1
local on_server = pinned and "taskset -c 0 " or ""
local on_load = pinned and "taskset -c 1 " or ""

local lua_path = ("LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua;;' LUA_CPATH='%s/%s/?.so;;'"):format(root, root, root, build)
local interpreter = arg[-1] or "lua5.4"

local tls = arg[2] == "tls"
local certificate = tls and ("%s/%s/bench/tls.pem"):format(root, build) or ""

local peers = {
  { name = "lunawire", command = ("env %s %s %s/bench/echo.lua %s"):format(lua_path, interpreter, root, certificate) },
  { name = "npm ws", command = ("node %s/bench/echo_ws.js %s"):format(root, certificate), present = has "node" },
}
if tls then
  peers[3] = { name = "C alone", command = ("%s/%s/bench/tls_echo %s %s"):format(root, build, certificate, certificate) }
end

-- Starts a server, gives its port and process id to `measure`, and ends it.
local function with_server(peer, measure)
  local pipe = assert(io.popen((
    "ulimit -n $(ulimit -H -n); %s%s & pid=$!; echo $pid; { wait $pid; } 2>/dev/null"):format(on_server, peer.command)))
  local pid = assert(pipe:read "*n", "no process id")
  local port = assert(pipe:read "*n", peer.name .. ": no port")
  local ok, result = pcall(measure, port, pid)
  os.execute(("kill %d"):format(pid))
  pipe:close()
  if not ok then
    error(result, 0)
  end
  return result
end

local function numbers_of(command)
  local line = capture(command)
  local numbers = {}
  for number in line:gmatch "[%d.]+" do
    numbers[#numbers + 1] = tonumber(number)
  end
  assert(#numbers > 0, "this failed: " .. command)
  return numbers
end

local function load(port, pid, ...)
  return numbers_of(("%s%s/%s/bench/load %s %d %d %s"):format(
    on_load, root, build, tls and "tls" or "", port, pid, table.concat({ ... }, " ")))
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

-- Runs of all peers in turn, so that a machine that slows down slows all of them.
local function compare(title, connections, size, depth)
  local runs = {}
  for _ = 1, ROUNDS do
    for i, peer in ipairs(peers) do
      runs[i] = runs[i] or {}
      if peer.present ~= false then
        table.insert(runs[i], with_server(peer, function(port, pid)
          return load(port, pid, connections, size, depth, SECONDS)
        end))
      end
    end
  end
  print(title)
  local columns = {}
  for i, peer in ipairs(peers) do
    columns[i] = {}
    for column = 1, 4 do
      local values = {}
      for _, run in ipairs(runs[i]) do
        values[#values + 1] = run[column]
      end
      columns[i][column] = median(values)
    end
    if columns[i][1] then
      print(("  %-10s %9.0f messages/s  %7.2f us server CPU each  round trip p50 %6.0f us  p99 %6.0f us"):format(
        peer.name, table.unpack(columns[i])))
    end
  end
  for i = 2, #peers do
    if columns[i][1] then
      print(("  to %-10s %6.2f             %7.2f"):format(
        peers[i].name, columns[1][1] / columns[i][1], columns[1][2] / columns[i][2]))
    end
  end
end

local function idle(connections)
  print(("%d idle connections"):format(connections))
  for _, peer in ipairs(peers) do
    if peer.present ~= false then
      local result = with_server(peer, function(port, pid)
        return load(port, pid, connections, SECONDS)
      end)
      print(("  %-10s %6.0f bytes of the server's memory each, %.0f ms of CPU in %d idle seconds"):format(
        peer.name, result[1], result[2] + result[3], SECONDS))
    end
  end
end

-- What a beat is: a ping to a client, and its pong.
local function heartbeat(connections)
  print(("%d clients that answer a ping every %d ms"):format(connections, INTERVAL))
  for _, interval in ipairs { 0, INTERVAL } do
    local server = { name = "heartbeat", command = ("env %s %s %s/bench/heartbeat.lua %d"):format(
      lua_path, interpreter, root, interval) }
    local memory, user, system, beats = table.unpack(with_server(server, function(port, pid)
      return load(port, pid, connections, interval > 0 and BEATING or SECONDS)
    end))
    print(interval == 0 and ("  without    %6.0f bytes of the server's memory each"):format(memory)
      or ("  heartbeat  %6.0f bytes of the server's memory each, %.0f beats: %.2f us of user CPU each, %.2f us in the system")
        :format(memory, beats, user / beats * 1000, system / beats * 1000))
  end
end

-- What a busy machine adds is no cost of theirs.
local function least(list) return math.min(table.unpack(list)) end

-- Echoes of 4 KiB of JSON: as they are, and compressed, by both servers; and by zlib alone on the same core.
local function deflate(connections)
  local modes = { "json", "deflate", "fresh" }
  local names = { deflate = "with context takeover", fresh = "without" }
  local cost = {} -- by peer's name and mode: microseconds of the server's CPU
  local zlib = { deflate = {}, fresh = {} }
  for _ = 1, ROUNDS do
    for _, peer in ipairs(peers) do
      local of = cost[peer.name] or { json = {}, deflate = {}, fresh = {} }
      cost[peer.name] = of
      for _, mode in ipairs(peer.present ~= false and modes or {}) do
        local server = { name = peer.name, command = peer.command .. (mode == "json" and "" or mode) }
        table.insert(of[mode], with_server(server, function(port, pid)
          return numbers_of(("%s%s/%s/bench/load %s %d %d %d 0 1 %d"):format(
            on_load, root, build, mode, port, pid, connections, SECONDS))
        end)[2])
      end
    end
    -- the other core is as busy as it was, since they may share a cache
    local alone = ("%s/%s/bench/deflate_cost %d %d"):format(root, build, connections, SECONDS)
    alone = numbers_of(("%s%s >/dev/null & %s%s; wait"):format(on_load, alone, on_server, alone))
    table.insert(zlib.deflate, alone[1])
    table.insert(zlib.fresh, alone[2])
  end
  print(("echo of 4 KiB of JSON, %d connections, one message under way on each, level 6, memLevel 8, windows of 32 KiB;"):format(
    connections))
  print "microseconds of the server's CPU for each message"
  local function row(name, of)
    print(("  %-10s %8.1f without compression"):format(name, of.json))
    for _, mode in ipairs { "deflate", "fresh" } do
      print(("  %-10s %8.1f %-21s  %8.1f of it compression, %.2f of zlib's %.1f"):format(
        name, of[mode], names[mode], of[mode] - of.json, (of[mode] - of.json) / zlib[mode], zlib[mode]))
    end
  end
  for mode, list in pairs(zlib) do zlib[mode] = least(list) end
  for _, peer in ipairs(peers) do
    local of = cost[peer.name]
    for mode, list in pairs(of) do of[mode] = list[1] and least(list) end
    if of.json then row(peer.name, of) end
  end
  if not cost["npm ws"].json then return end
  for _, mode in ipairs(modes) do
    print(("  to npm ws  %8.2f %s"):format(cost.lunawire[mode] / cost["npm ws"][mode], names[mode] or "without compression"))
  end
end

if arg[2] == "deflate" then
  deflate(10)
  return deflate(100)
end
if arg[2] == "heartbeat" then
  return heartbeat(10000)
end
if tls then
  compare("wss echo, 100 connections, 64 bytes, one message under way on each", 100, 64, 1)
  compare("wss echo, 100 connections, 64 bytes, 16 messages under way on each", 100, 64, 16)
  compare("wss echo, 100 connections, 4 KiB, one message under way on each", 100, 4096, 1)
  compare("wss echo, 4 connections, 1 MiB, one message under way on each", 4, 1048576, 1)
  return idle(1000)
end
compare("echo, 100 connections, 64 bytes, one message under way on each", 100, 64, 1)
compare("echo, 100 connections, 64 bytes, 16 messages under way on each", 100, 64, 16)
compare("echo, 100 connections, 4 KiB, one message under way on each", 100, 4096, 1)
compare("echo, 4 connections, 1 MiB, one message under way on each", 4, 1048576, 1)
idle(10000)
heartbeat(10000)
