--- server.lua -- the chat room on the network: the rules of room.lua, a WebSocketServer, and the page on the same port.
--
--   lua5.4 examples/chat/server.lua [port] [--host ADDRESS]
--
-- Another script may load this file and call `start`, then turn the loop itself.

local function need(name, advice)
  local found, module = pcall(require, name)
  if found then return module end
  io.stderr:write("chat: cannot load ", name, "; ", advice, "\n", tostring(module):match("[^\n]*"), "\n")
  os.exit(1)
end

local lunawire = need("lunawire", 'in a checkout, type make, then eval "$(make -s env)"')
local cjson = need("cjson", "install lua-cjson (Debian: apt install lua-cjson; else: luarocks install lua-cjson)")

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local room = dofile(here .. "/room.lua")

local json = cjson.new()
json.decode_max_depth(8)           -- no message of ours nests at all
json.decode_invalid_numbers(false)

-- The page -----------------------------------------------------------------------------------------------------------

-- What can be fetched, and nothing else: the files are read once at the start, so no path ever reaches the disk.
local pages = {
  ["/"] = { "index.html", "text/html; charset=utf-8" },
  ["/index.html"] = { "index.html", "text/html; charset=utf-8" },
  ["/style.css"] = { "style.css", "text/css; charset=utf-8" },
  ["/chat.js"] = { "chat.js", "text/javascript; charset=utf-8" },
  ["/favicon.svg"] = { "favicon.svg", "image/svg+xml" },
}

local function readFile(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end

local function loadPages(folder)
  local loaded = {}
  for path, page in pairs(pages) do
    loaded[path] = { body = readFile(folder .. "/" .. page[1]), contentType = page[2] }
  end
  return loaded
end

--- Headers for every answer: nothing from elsewhere runs or loads, nobody frames the page, no type is guessed.
local function headersFor(contentType)
  return {
    ["Content-Type"] = contentType,
    ["Content-Security-Policy"] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
      .. "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ["X-Content-Type-Options"] = "nosniff",
    ["Referrer-Policy"] = "no-referrer",
    ["Cross-Origin-Opener-Policy"] = "same-origin",
    ["Cross-Origin-Resource-Policy"] = "same-origin",
    ["Cache-Control"] = "no-cache",
  }
end

local function answerRequest(event, loaded)
  local method, page = event.request.method, loaded[event.request.path]
  local plain = "text/plain; charset=utf-8"
  if method ~= "GET" and method ~= "HEAD" then
    local headers = headersFor(plain)
    headers["Allow"] = "GET, HEAD"
    event:respond(405, headers, "only GET and HEAD are answered here\n")
  elseif page then
    event:respond(200, headersFor(page.contentType), page.body)
  else
    event:respond(404, headersFor(plain), "there is nothing here\n")
  end
end

-- The messages -------------------------------------------------------------------------------------------------------

--- A JSON array. lua-cjson cannot tell an empty table from an empty object, so the brackets are put by hand.
local function array(values)
  local items = {}
  for i, value in ipairs(values) do items[i] = json.encode(value) end
  return "[" .. table.concat(items, ",") .. "]"
end

local function encode(message)
  if message.type ~= "welcome" then return json.encode(message) end
  return table.concat {
    '{"type":"welcome","room":', json.encode(message.room), ',"you":', json.encode(message.you),
    ',"people":', array(message.people), ',"history":', array(message.history), "}",
  }
end

--- What a client sent, decoded; nil when it is no JSON.
local function decode(event)
  if event.binary then return nil end
  local ok, message = pcall(json.decode, event.data)
  return ok and message or nil
end

-- The server ---------------------------------------------------------------------------------------------------------

--- A handler whose mistakes are told to `log` and end nothing.
local function guarded(log, handler)
  return function(event)
    local ok, problem = xpcall(function() return handler(event) end, debug.traceback)
    if not ok then log(tostring(problem)) end
  end
end

--- Asks connections that have been silent for `patience` for a sign of life, and ends those that give none. A name
-- stays taken until its connection is known to be dead, so this must not wait for TCP to find out.
local function look(server, patience)
  local now = lunawire.now()
  for socket in server:each() do
    local silence = now - socket.lastReceived
    if silence >= 2 * patience then
      socket:terminate("no sign of life")
    elseif silence >= patience then
      socket:ping()
    end
  end
end

--- Starts a chat room and returns its WebSocketServer; raises when it cannot listen.
-- Options, all of them optional: `port` (8080; 0: any free one), `host` ("127.0.0.1"), `limits` (see room.lua),
-- `patience` (with silent connections, 10000 ms), `log` (a function that gets lines; by default they go to stderr).
local function start(options)
  options = options or {}
  local log = options.log or function(line) io.stderr:write("chat: ", line, "\n") end
  local loaded = loadPages(here .. "/public")

  local server = lunawire.WebSocketServer {
    port = options.port or 8080,
    host = options.host or "127.0.0.1",
    resource = "/",
    closeTimeout = 1000,
  }

  local hall = room.new {
    limits = options.limits,
    now = lunawire.now,
    time = function() return os.time() * 1000 end,
    send = function(socket, message) socket:send(encode(message)) end,
    -- Each room is a topic: the frame of a message is built once, however many people are in it.
    publish = function(name, message, except)
      if except then
        except:publish(name, encode(message))
      else
        server:publish(name, encode(message))
      end
    end,
    enter = function(socket, name) socket:subscribe(name) end,
    leave = function(socket, name) socket:unsubscribe(name) end,
  }

  server.onmessage = guarded(log, function(event) hall:receive(event.target, decode(event)) end)
  server.onsocketclose = guarded(log, function(event) hall:depart(event.target) end)
  server.onrequest = guarded(log, function(event) answerRequest(event, loaded) end)

  local patience = options.patience or 10000
  local looking = lunawire.setInterval(function() look(server, patience) end, patience / 2)
  server.onclose = function() looking:close() end  -- or the loop would never run out of work
  return server
end

-- The script ---------------------------------------------------------------------------------------------------------

local function parseArguments(arguments)
  local argparse = need("argparse", "install it (Debian: apt install lua-argparse; else: luarocks install argparse)")
  local parser = argparse("server.lua", "A chat room: the page, and its WebSocket, on one port.")
  parser:argument("port", "Port to listen on; 0 takes any free one."):args("?"):default("8080")
    :convert(function(text)
      local port = text:match("^%d+$") and tonumber(text)
      if port and port <= 65535 then return port end
      return nil, "'" .. text .. "' is not a port"
    end)
  parser:option("--host", "Address to listen on.", "127.0.0.1")
  return parser:parse(arguments)
end

local function main(arguments)
  local options = parseArguments(arguments)
  local ok, server = pcall(start, options)
  if not ok then
    local problem = type(server) == "table" and server.message or server
    io.stderr:write("chat: ", tostring(problem):gsub("%s+", " "), "\n")
    return 1
  end

  lunawire.onerror = function(problem, _, traceback)
    io.stderr:write("chat: ", tostring(problem), "\n", traceback and tostring(traceback) .. "\n" or "")
  end

  local ending = false
  local function finish()
    if ending then return lunawire.stop() end  -- asked twice: without waiting for anybody
    ending = true
    server:close(1001, "the server is going down")
  end
  lunawire.onsignal("INT", finish)
  lunawire.onsignal("TERM", finish)

  local address = options.host:find(":", 1, true) and "[" .. options.host .. "]" or options.host
  io.stdout:write("chat room on http://", address, ":", server.port, "/ (Ctrl-C ends it)\n")
  io.stdout:flush()
  lunawire.run()
  return 0
end

-- Run as a script, this chunk has the name of the script; loaded by another, it has not.
if arg and debug.getinfo(1, "S").source == "@" .. tostring(arg[0]) then os.exit(main(arg), true) end

return { start = start }
