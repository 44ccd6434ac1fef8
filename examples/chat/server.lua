--- server.lua -- the chat room on the network: the rules of room.lua, a WebSocketServer, and the page on the same port.
--
--   lua5.4 examples/chat/server.lua [port] [--host ADDRESS] [--journal FILE | memory] [--cert FILE [--key FILE]]
--
-- There are two ways in. Over a plain WebSocket a person is the connection, and gone with it. Over a session of
-- lunawire.reliable a person outlives connections, and with a journal in a file the server, too.
--
-- Another script may load this file and call `start`, then turn the loop itself.

local function need(name, advice)
  local found, module = pcall(require, name)
  if found then return module end
  io.stderr:write("chat: cannot load ", name, "; ", advice, "\n", tostring(module):match("[^\n]*"), "\n")
  os.exit(1)
end

local lunawire = need("lunawire", 'in a checkout, type make, then eval "$(make -s env)"')
local reliable = need("lunawire.reliable", 'in a checkout, type make, then eval "$(make -s env)"')
local cjson = need("cjson", "install lua-cjson (Debian: apt install lua-cjson; else: luarocks install lua-cjson)")

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local journals = dofile(here .. "/journal.lua")
local room = dofile(here .. "/room.lua")

local json = cjson.new()
json.decode_max_depth(8)           -- no message of ours nests at all
json.decode_invalid_numbers(false)

local RETRY = 1000  -- a journal that could not be written is tried again so much later

-- The page -----------------------------------------------------------------------------------------------------------

-- What can be fetched, and nothing else: the files are read once at the start, so no path ever reaches the disk.
local pages = {
  ["/"] = { "index.html", "text/html; charset=utf-8" },
  ["/index.html"] = { "index.html", "text/html; charset=utf-8" },
  ["/style.css"] = { "style.css", "text/css; charset=utf-8" },
  ["/chat.js"] = { "chat.js", "text/javascript; charset=utf-8" },
  ["/reliable.js"] = { "reliable.js", "text/javascript; charset=utf-8" },
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
local function decode(data, binary)
  if binary then return nil end
  local ok, message = pcall(json.decode, data)
  return ok and message or nil
end

--- A handler whose mistakes are told to `log` and end nothing.
local function guarded(log, handler)
  return function(event)
    local ok, problem = xpcall(function() return handler(event) end, debug.traceback)
    if not ok then log(tostring(problem)) end
  end
end

-- What goes out ------------------------------------------------------------------------------------------------------

--- What waits for the journal. Nobody sees a line that a crash could still take back: from a change in the journal to
-- its commit, all that goes out waits, in order. All of one turn of the loop is one transaction.
local function newDesk(journal, log)
  local desk = {
    failing = false,  -- the last commit has failed; the next is tried RETRY later
    waiting = {},     -- calls
    timer = nil,      -- of the commit
    closed = false,
  }
  local commit

  local function settle()
    local waiting = desk.waiting
    desk.waiting = {}
    for _, call in ipairs(waiting) do
      local ok, problem = xpcall(call, debug.traceback)
      if not ok then log(tostring(problem)) end
    end
  end

  function commit()
    local fine, problem = journal:commit()
    desk.timer = not fine and lunawire.setTimeout(commit, RETRY) or nil
    if not fine and not desk.failing then log("nothing is said until the journal can be written: " .. problem) end
    if fine and desk.failing then log("the journal can be written again") end
    desk.failing = not fine
    if fine then settle() end
  end

  --- The journal has something to write.
  function desk.changed()
    if not desk.closed then desk.timer = desk.timer or lunawire.setTimeout(commit, 0) end
  end

  --- Calls now, or when the journal has been written.
  function desk.out(call)
    if desk.timer then desk.waiting[#desk.waiting + 1] = call else call() end
  end

  function desk.close()
    desk.closed = true
    if desk.timer then
      desk.timer:close()
      desk.timer = nil
      local fine, problem = journal:commit()
      if not fine then log("what was said last is lost: " .. problem) end
    end
    journal:close()
  end

  return desk
end

--- The ways out of the hall. A person is a socket, or the id of a session; `sessions` has those that are known.
local function ways(server, sessions, desk)
  local members = {}  -- room -> set of ids
  local light = { typing = true, pong = true }  -- worthless a moment later, so nobody keeps them

  local function deliver(id, message, text)
    local person = sessions[id]
    if not person or not person.here then return end  -- from before the server was started anew: it will ask
    if light[message.type] then person.session:note(text) else person.session:send(text) end
  end

  return {
    send = function(person, message)
      local text = encode(message)
      desk.out(function()
        if type(person) == "string" then deliver(person, message, text) else person:send(text) end
      end)
    end,
    -- Each room is a topic: the frame of a message is built once, however many sockets are in it.
    publish = function(name, message, except)
      local text = encode(message)
      desk.out(function()
        if type(except) == "userdata" and except.readyState == 1 then
          except:publish(name, text)
        else
          server:publish(name, text)
        end
        for id in pairs(members[name] or {}) do
          if id ~= except then deliver(id, message, text) end
        end
      end)
    end,
    enter = function(person, name)
      desk.out(function()
        if type(person) ~= "string" then return person:subscribe(name) end
        members[name] = members[name] or {}
        members[name][person] = true
      end)
    end,
    leave = function(person, name)
      desk.out(function()
        if type(person) ~= "string" then return person:unsubscribe(name) end
        members[name][person] = nil
        if next(members[name]) == nil then members[name] = nil end
      end)
    end,
  }
end

-- Sessions -----------------------------------------------------------------------------------------------------------

local LONGEST = 32768  -- bytes that a message can have, its every character written as \uXXXX

--- Lets people in over `lunawire.reliable.1`: by sessions, which the hall knows by their ids.
local function serveSessions(server, house)
  local hall, journal, desk, sessions = house.hall, house.journal, house.desk, house.sessions
  local awaited = {}  -- ids that sat in a room when the server before this one ended, and have not come back

  --- Where this session is now, and how far its messages are taken: one transaction with what they said.
  local function record(id)
    journal:session(id, sessions[id].taken, hall:placeOf(id))
    desk.changed()
  end

  --- The seat is free.
  local function rise(id, taken)
    hall:depart(id)
    journal:session(id, taken)
    desk.changed()
  end

  --- Looks at the messages that came, no faster than a person may send: what is too early waits, since nothing that
  -- is numbered should be lost. Each is acknowledged when the journal has it.
  local function work(id)
    local person = sessions[id]
    if not person or person.timer or desk.closed then return end
    local inbox = person.inbox
    while inbox[1] do
      local wait = desk.failing and RETRY or hall:wait(id)
      if wait > 0 then
        person.timer = lunawire.setTimeout(function()
          person.timer = nil
          work(id)
        end, wait)
        return
      end
      local number, session = inbox[1].number, person.session
      local message = decode(inbox[1].data, inbox[1].binary)
      table.remove(inbox, 1)
      person.taken = number
      guarded(house.log, function() hall:receive(id, message) end)()
      record(id)
      desk.out(function() session:acknowledge(number) end)
    end
  end

  --- A line whose other end knows nothing of what was before says in its hello where it wants to be, and what it has.
  local function greet(id, greeting)
    if greeting == "" then return end
    local message = decode(greeting)
    if type(message) ~= "table" or message.type ~= "join" then
      return hall:complain(id, "bad-greeting", "a greeting must be empty or a join")
    end
    hall:join(id, message)
    record(id)
  end

  local hub = reliable.server(server, {
    restore = function(id)
      if desk.failing and journal:isPending(id) then  -- how far it is must not be told yet
        error("the journal cannot be written: a session cannot be restored", 0)
      end
      return journal:taken(id)
    end,
    sessionTimeout = house.grace,
    maxDeferred = 1000,           -- as many as an honest client keeps: they wait here, people do not write faster
    maxQueuedBytes = 2 * 1024 * 1024,
    maxSessions = 4000,
  })

  hub.onsession = guarded(house.log, function(event)
    local session = event.session
    local person = {
      session = session, taken = session.received, inbox = {}, timer = nil, here = false,
      greeting = nil,  -- not answered yet
    }
    sessions[session.id], awaited[session.id] = person, nil
    desk.out(function() person.here = true end)  -- what was said before comes in its welcome, not ahead of it
    greet(session.id, event.greeting)
  end)

  hub.onresume = guarded(house.log, function(event)
    local person = sessions[event.session.id]
    if not event.continued then person.greeting = event.greeting end
    if not person.greeting then return end
    if desk.failing then  -- a welcome would only wait with all others
      return event.session.socket:close(1013, "the journal cannot be written; come back later")
    end
    local greeting = person.greeting
    person.greeting = nil
    greet(event.session.id, greeting)
  end)

  hub.onmessage = guarded(house.log, function(event)
    event:defer()
    local id, data = event.session.id, event.data
    if #data > LONGEST then data = data:sub(1, 1) end  -- no message of ours, and not worth the room while it waits
    table.insert(sessions[id].inbox, { number = event.number, data = data, binary = event.binary })
    work(id)
  end)

  hub.onnote = guarded(house.log, function(event)
    local session, message = event.session, decode(event.data, event.binary)
    local kind = type(message) == "table" and message.type
    if kind == "ping" then  -- answered also in a flood, and while nothing can be written: the line is alive
      local function pong() session:note(encode { type = "pong" }) end
      if desk.failing then pong() else desk.out(pong) end
    elseif kind == "typing" and not desk.failing and hall:wait(session.id) == 0 then
      hall:receive(session.id, message)
    end
  end)

  hub.onend = guarded(house.log, function(event)
    local id, person = event.session.id, sessions[event.session.id]
    if not person or person.session ~= event.session then return end
    if person.timer then person.timer:close() end
    if event.reason == "server" then return end  -- with the server nobody leaves: they are expected back
    sessions[id] = nil
    rise(id, person.taken)
    if event.reason == "closed" then journal:forget(id) end
  end)

  hub.onerror = function() end  -- a client that is broken, or a line that broke: it has heard so

  -- Who sat here when the server before this one ended is not away longer than others may be.
  for _, seat in ipairs(journal:seats()) do
    if hall:restore(seat.id, seat.room, seat.name) then
      awaited[seat.id] = true
    else
      rise(seat.id, journal:taken(seat.id))
    end
  end
  if next(awaited) == nil then return nil end
  return lunawire.setTimeout(guarded(house.log, function()
    for id in pairs(awaited) do rise(id, journal:taken(id)) end
    awaited = {}
  end), house.grace)
end

-- The server ---------------------------------------------------------------------------------------------------------

--- Starts a chat room and returns its WebSocketServer; raises when it cannot listen, or its journal cannot be opened.
-- Options, all of them optional: `port` (8080; 0: any free one), `host` ("127.0.0.1"), `limits` (see room.lua),
-- `patience` (with silent connections, 10000 ms), `grace` (how long a person may be away, 30000 ms), `journal`
-- ("memory", the name of a file, or an object like those of journal.lua), `tls` (WebSocketServer's: the page is
-- https then), `log` (a function that gets lines; by default they go to stderr).
local function start(options)
  options = options or {}
  local log = options.log or function(line) io.stderr:write("chat: ", line, "\n") end
  local loaded = loadPages(here .. "/public")
  local journal = options.journal or "memory"
  local patience = options.patience or 10000

  local server = lunawire.WebSocketServer {
    port = options.port or 8080,
    host = options.host or "127.0.0.1",
    tls = options.tls,
    resource = "/",
    protocols = { reliable.protocol },
    -- A name stays taken until its connection is known to be dead, so this must not wait for TCP to find out.
    heartbeat = { interval = patience, timeout = patience },
    closeTimeout = 1000,
  }

  if type(journal) == "string" then
    local opened, result = pcall(journals.open, journal)
    if not opened then
      server:close()
      error(result, 0)
    end
    journal = result
  end

  local sessions = {}  -- id -> { session, taken, inbox, timer, here }
  local desk = newDesk(journal, log)
  local outward = ways(server, sessions, desk)
  local hall = room.new {
    limits = options.limits,
    now = lunawire.now,
    time = function() return os.time() * 1000 end,
    send = outward.send,
    publish = outward.publish,
    enter = outward.enter,
    leave = outward.leave,
    keep = function(name, said)
      journal:line(name, said)
      desk.changed()
    end,
    recall = function(name, seq, most) return journal:recall(name, seq, most) end,
  }

  local waiting = serveSessions(server, {
    hall = hall, journal = journal, desk = desk, sessions = sessions, grace = options.grace or 30000, log = log,
  })

  server.onmessage = guarded(log, function(event)
    local socket, message = event.target, decode(event.data, event.binary)
    if desk.failing then
      local id = type(message) == "table" and message.type == "say" and message.id or nil
      socket:send(encode { type = "error", code = "slow-down", message = "the journal cannot be written now", id = id })
    else
      hall:receive(socket, message)
    end
  end)
  server.onsocketclose = guarded(log, function(event) hall:depart(event.target) end)
  server.onrequest = guarded(log, function(event) answerRequest(event, loaded) end)
  server:addEventListener("close", function()
    if waiting then waiting:close() end  -- or the loop would never run out of work
    desk.close()
  end)
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
  parser:option("--journal", "Where to keep what is said: a file, or memory. By default chat-PORT.sqlite in the current "
    .. "directory; with port 0, memory.")
  parser:option("--cert", "A certificate (PEM), its issuers behind it: then the page is https."):argname("FILE")
  parser:option("--key", "The certificate's key; by default it stands in the same file."):argname("FILE")
  local options = parser:parse(arguments)
  if options.key and not options.cert then parser:error("--key needs --cert") end
  options.tls = options.cert and { cert = options.cert, key = options.key }
  return options
end

--- The default journal, or memory where there is no SQLite for Lua.
local function chooseJournal(port)
  if port == 0 then return "memory" end  -- the next start would have another port, and never find it
  local available, problem = journals.available()
  if available then return ("chat-%d.sqlite"):format(port) end
  io.stderr:write("chat: ", problem, "; what is said is kept in memory only\n")
  return "memory"
end

local function main(arguments)
  local options = parseArguments(arguments)
  options.journal = options.journal or chooseJournal(options.port)
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
  local kept = options.journal ~= "memory" and ", kept in " .. options.journal or ""
  local scheme = options.tls and "https://" or "http://"
  io.stdout:write("chat room on ", scheme, address, ":", server.port, "/", kept, " (Ctrl-C ends it)\n")
  io.stdout:flush()
  lunawire.run()
  return 0
end

-- Run as a script, this chunk has the name of the script; loaded by another, it has not.
if arg and debug.getinfo(1, "S").source == "@" .. tostring(arg[0]) then os.exit(main(arg), true) end

return { start = start }
