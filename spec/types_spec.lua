-- types/lunawire.lua against the living module: every name is on both sides. The classes are judged by objects of
-- theirs and by what their metatables hold, the options by what the constructors know, the events by real ones.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local option = require "lunawire.option"
local pki = require "spec.pki"
local reliable = require "lunawire.reliable"
local wire = require "spec.wire"

local read = dofile(helper.root .. "/tools/annotations.lua")
local book = read(helper.read(helper.root .. "/types/lunawire.lua"), "types/lunawire.lua")

-- What the library keeps in its objects and nobody should look at.
local inner = {
  Event = "stopped",
  Heartbeat = "ws world listeners timer deadline beatAt askedAt interval timeout message reply",
  Task = "co joiners begun joined cancelled depth traceback results n",
}

-- --- both sides ------------------------------------------------------------------------------------

local judged = {} -- names of classes

-- The members of a class and its parents, by name.
local function declared(name)
  local class, all = assert(book.classes["lunawire." .. name] or book.classes[name], name), {}
  judged[class.name] = true
  for _, parent in ipairs(class.parents) do
    if book.classes[parent] then
      for key, member in pairs(declared((parent:gsub("^lunawire%.", "")))) do all[key] = member end
    end
  end
  for _, member in ipairs(class.members) do all[member.name] = member end
  return all
end

local function upvalue(fn, wanted)
  for i = 1, 20 do
    local name, value = debug.getupvalue(fn, i)
    if not name then return nil end
    if name == wanted then return value end
  end
end

local function add(names, list)
  for key in pairs(list or {}) do
    if type(key) == "string" then names[key] = true end
  end
end

-- The names that an object answers to by its class. Classes in C keep them in the table that is the third upvalue of
-- their __index (or the first, of an event), classes in Lua in upvalues called so.
local function surface(object)
  local names, index = {}, (debug.getmetatable(object) or {}).__index
  if type(index) == "table" then
    add(names, index)
  elseif index and debug.getinfo(index, "S").what == "C" then
    local _, first = debug.getupvalue(index, 1)
    local _, third = debug.getupvalue(index, 3)
    add(names, type(third) == "table" and third or first)
  elseif index then
    for _, name in ipairs { "methods", "members", "handlerKinds", "shared" } do add(names, upvalue(index, name)) end
  end
  for name in pairs(names) do
    if name:match "^__" then names[name] = nil end
  end
  return names
end

-- All names of an object: those, its own fields, and the declared ones to which it has an answer.
local function living(object, members, hidden)
  local names = surface(object)
  if type(object) == "table" then add(names, object) end
  for name in pairs(members) do
    local fine, value = pcall(function() return object[name] end)
    if fine and value ~= nil then names[name] = true end
  end
  for name in (hidden or ""):gmatch "%S+" do names[name] = nil end
  return names
end

local function sorted(names)
  local list = {}
  for name in pairs(names) do list[#list + 1] = name end
  table.sort(list)
  return table.concat(list, " ")
end

-- What stands in one and not in the other: "" twice when all is well.
local function same(what, members, names)
  local missing, more = {}, {}
  for name in pairs(members) do if not names[name] then missing[name] = true end end
  for name in pairs(names) do if not members[name] then more[name] = true end end
  assert.equal("", sorted(more), what .. " has more than types/lunawire.lua says")
  assert.equal("", sorted(missing), what .. " has less than types/lunawire.lua says")
end

local seen = {} -- by class: the members that an object had

-- The object has nothing else than its class, and all that is not optional. What is optional some object must have:
-- that is asked for in the end.
local function judge(name, object, hidden)
  local members = declared(name)
  local names = living(object, members, hidden)
  seen[name] = seen[name] or {}
  for key, member in pairs(members) do
    if names[key] then seen[name][key] = true end
    if member.optional then names[key] = true end
    if member.kind ~= "field" then assert.is_function(object[key], name .. ":" .. key) end
  end
  same(name, members, names)
end

-- --- the annotations ----------------------------------------------------------------------------------

describe("the reader of annotations", function()
  local cases = {
    { "a class with everything", "---A.\n---@class A: table<integer, string>\n"
      .. "---@field x? string|fun(a: A, b?: { c: A[] }): A?, integer X.\n---@operator len: integer\nlocal A = {}\n"
      .. "---F.\n---@param a \"x\"|A the a\n---@param ... any\n---@return A? b\nfunction A:f(a, ...) end\n" },
    { "an alias", "---B.\n---@alias B\n---| \"x\" # the x\n---C.\n---@class C\n---@field b B Its b.\n" },
    { "an unknown tag", "---@klass A\n", "1: the tag @klass" },
    { "an unknown type", "---A.\n---@class A\n---@field x B X.\n", "3: `B` is no type" },
    { "an unknown type deep inside", "---A.\n---@class A\n---@field x fun(a: { b: table<string, D[]> }) X.\n",
      "3: `D` is no type" },
    { "an unknown type that is returned", "---A.\n---@class A\nlocal A = {}\n---F.\n---@return E\nfunction A.f() end\n",
      "5: `E` is no type" },
    { "an unknown parent", "---A.\n---@class A: F\n", "2: `F` is no type" },
    { "a type that does not end", "---A.\n---@class A\n---@field x table<string, string X.\n", "3: `>` expected" },
    { "rubbish behind a type", "---A.\n---@class A\n---@field x string! X.\n", "3: `string!` is no type" },
    { "a field of nobody", "---@field x string X.\n", "1: a field without a class" },
    { "a parameter too many", "---A.\n---@class A\nlocal A = {}\n---F.\n---@param b string\nfunction A.f() end\n",
      "6: `f` has no parameter `b`" },
    { "a parameter too few", "---A.\n---@class A\nlocal A = {}\n---F.\nfunction A.f(b) end\n", "5: `f` is called with `b`" },
    { "a function of nobody", "---F.\nfunction A.f() end\n", "2: `A` is no class" },
    { "a class twice", "---A.\n---@class A\n---A.\n---@class A\n", "4: the class A is there twice" },
    { "a field twice", "---A.\n---@class A\n---@field x string X.\n---@field x string X.\n", "4: `x` is there twice in A" },
    { "a silent class", "---@class A\n", "1: nothing is said of the class A" },
    { "a silent field", "---A.\n---@class A\n---@field x string\n", "3: nothing is said of A.x" },
    { "a silent function", "---A.\n---@class A\nlocal A = {}\nfunction A.f() end\n", "4: nothing is said of A.f" },
    { "a comment of nothing", "---A.\n\n", "2: nothing follows" },
    { "something else", "x = 1\n", "1: `x = 1` is not understood" },
  }
  for _, case in ipairs(cases) do
    it((case[3] and "refuses " or "takes ") .. case[1], function()
      local fine, problem = pcall(read, case[2], "t")
      assert.equal(not case[3], fine, tostring(problem))
      if case[3] then assert.equal("t:" .. case[3], problem:sub(1, #case[3] + 2)) end
    end)
  end

  it("gives what was said", function()
    local class = read("---One.\n---two.\n---@class A\n---@field x? integer (default: 2) Three.\nlocal A = {}\n---Four.\n"
      .. "---@param p? string five\n---@return boolean six seven\nfunction A:m(p) end\n", "t").classes.A
    assert.same({ "One.", "two." }, class.about)
    assert.same({ name = "x", kind = "field", type = "integer", optional = true, default = "2", about = { "Three." }, line = 4 },
      class.byName.x)
    assert.same({ { name = "p", type = "string", optional = true, about = "five" } }, class.byName.m.params)
    assert.same({ { name = "six", type = "boolean", about = "seven" } }, class.byName.m.returns)
  end)
end)

-- --- the module ------------------------------------------------------------------------------------------

describe("types/lunawire.lua", function()
  it("has the names of the module, and no other", function()
    local names = { onerror = true } -- which is unset
    add(names, lunawire)
    local members = declared "lunawire"
    same("lunawire", members, names)
    for name, member in pairs(members) do
      local kind = member.type:match "^string" or "table"
      local expected = member.kind == "function" and "function" or kind
      if name ~= "onerror" then assert.equal(expected, type(lunawire[name]), name) end
    end
  end)

  it("has the names of the classes' own tables", function()
    for _, member in ipairs(book.classes.lunawire.members) do
      local class = book.classes[member.type]
      if class and class.call then
        local value = lunawire[member.name]
        local own = {}
        add(own, value)
        same(member.name, declared((class.name:gsub("^lunawire%.", ""))), own)
        assert.is_truthy(debug.getmetatable(value).__call, member.name)
        for name, constant in pairs(class.byName) do
          if tonumber(constant.type) then assert.equal(tonumber(constant.type), value[name], name) end
        end
      end
    end
  end)

  it("has the functions for other loops, and the close codes with their numbers", function()
    judge("Loop", lunawire.loop)
    local codes, names = declared "CloseCode", {}
    add(names, lunawire.CloseCode)
    same("CloseCode", codes, names)
    for name, code in pairs(codes) do
      if code.kind == "field" then assert.equal(tonumber(code.type), lunawire.CloseCode[name], name) end
    end
  end)

  it("has the names of errors that are raised, and no other", function()
    local names, raised = {}, {}
    for _, one in ipairs(book.classes["lunawire.ErrorName"].values) do names[one.value] = true end
    local sources = helper.run(("cd %s && cat src/*.c lua/lunawire/*.lua"):format(helper.quote(helper.root)))
    for name in sources:gmatch '"%u%a-Error"' do raised[name] = true end
    judged["lunawire.ErrorName"] = true
    same("ErrorName", names, raised)
  end)

  it("has the codes of `error` events, and no other", function()
    local names, used = {}, { ['"url"'] = true }
    for _, one in ipairs(book.classes["lunawire.ErrorCode"].values) do names[one.value] = true end
    local body = helper.read(helper.root .. "/src/lua_socket.c"):match "static const char %*error_code%(.-\n}"
    for code in body:gmatch '"%a+"' do used[code] = true end
    assert.matches('code = "url"', helper.read(helper.root .. "/lua/lunawire/reconnect.lua"))
    judged["lunawire.ErrorCode"] = true
    same("ErrorCode", names, used)
  end)
end)

-- --- the options -----------------------------------------------------------------------------------------

-- The option tables of the C files, by file and name: { name = true }.
local function tablesOfC()
  local tables = {}
  local settings = helper.read(helper.root .. "/src/lua_settings.h"):match "#define LW_SETTINGS(.-)\n#define"
  local list = helper.run(("cd %s && grep -l 'const lw_option [a-z_]*\\[\\]' src/*.c"):format(helper.quote(helper.root)))
  for file in list:gmatch "%S+" do
    for name, body in helper.read(helper.root .. "/" .. file):gmatch "static const lw_option ([%w_]+)%[%] = (%b{})" do
      local known = {}
      for key in body:gsub("LW_SETTINGS", function() return settings end):gmatch '{"(%a+)"' do known[key] = true end
      tables[file:match "[^/]+$" .. " " .. name] = known
    end
  end
  return tables
end

-- What option.read is asked for while fn runs, by whom: { name = default or false }.
local function tablesOfLua(fn)
  local tables, original = {}, option.read
  option.read = function(what, options, known, others)
    tables[what] = { known = {}, others = others }
    for _, one in ipairs(known) do tables[what].known[one[1]] = one[3] == nil and "none" or one[3] end
    return original(what, options, known, others)
  end
  local fine, problem = pcall(fn)
  option.read = original
  assert(fine, problem)
  return tables
end

-- A default as it stands there, as a value.
local function meant(text)
  local words = text:gsub("[`]", ""):gsub("−", "-"):gsub("([%d.]+) MiB", "%1 * 1024 * 1024"):gsub("([%d.]+) KiB", "%1 * 1024")
  local chunk = load("return " .. words, "default", "t", { math = math })
  return chunk and chunk()
end

describe("the options of types/lunawire.lua", function()
  after_each(wire.done)

  it("are those of the C tables", function()
    local classes = {
      ["lua_client.c client_known"] = "ClientOptions", ["lua_tls.c client_known"] = "ClientTls",
      ["lua_tls.c server_known"] = "ServerTls", ["lua_tls.c pair_known"] = "TlsCertificate",
      ["lua_server.c known"] = "ServerOptions", ["lua_server.c heartbeat_known"] = "ServerHeartbeat",
      ["lua_event.c known"] = "ListenerOptions", ["lua_check.c known"] = "MessageOptions",
      ["lua_blob.c known"] = "BlobOptions", ["lua_settings.c deflate_known"] = "DeflateOptions",
    }
    local tables = tablesOfC()
    same("the list of option tables", classes, tables)
    for place, name in pairs(classes) do same(place, declared(name), tables[place]) end
    declared "SocketOptions"
  end)

  it("have the defaults of the C files", function()
    local function source(name) return helper.read(helper.root .. "/src/" .. name) end
    local client, server = source "lua_settings.c", source("lua_server.c"):match "static void default_settings.-\n}"
    local cases = { -- class, option, field in C, what it is there in one of ours
      { "SocketOptions", "handshakeTimeout", "handshake_timeout", 1e6 },
      { "SocketOptions", "closeTimeout", "close_timeout", 1e6 },
      { "SocketOptions", "maxPayload", "max_payload", 1 }, { "SocketOptions", "maxFragments", "max_fragments", 1 },
      { "SocketOptions", "highWaterMark", "high_water", 1 }, { "SocketOptions", "maxBufferedAmount", "max_buffered", 1 },
      { "ServerOptions", "maxHeaderSize", "max_header_size", 1 }, { "ServerOptions", "maxHeaderCount", "max_header_count", 1 },
      { "ServerHeartbeat", "interval", "heartbeat.interval", 1e6 }, { "ServerHeartbeat", "timeout", "heartbeat.timeout", 1e6 },
    }
    for _, case in ipairs(cases) do
      local default = declared(case[1])[case[2]].default
      local ours, servers = default:match "^(.*); (.*) on a server$"
      local function value(text)
        local digits = text:match(("[.>]%s = ([^;]*);"):format((case[3]:gsub("%p", "%%%0"))))
        return digits and load("return " .. digits:gsub("INT64_C", ""))() // case[4]
      end
      local there = value(client) or value(server)
      assert.equal(there, meant(ours or default), case[2])
      if value(client) and value(server) then assert.equal(value(server), meant(servers), case[2]) end
    end
  end)

  it("are those of the Lua tables, with their defaults", function()
    local classes = {
      ReconnectingWebSocket = "ReconnectingOptions", heartbeat = "HeartbeatOptions",
      ["reliable.client"] = "ReliableClientOptions", ["reliable.server"] = "ReliableServerOptions",
      addEventListener = "ListenerOptions",
    }
    local tables = tablesOfLua(function()
      local ws = lunawire.ReconnectingWebSocket("ws://127.0.0.1:1/", reliable.protocol)
      reliable.client(ws)
      local server = lunawire.WebSocketServer { protocols = reliable.protocol }
      reliable.server(server)
      ws:close()
      server:close()
      lunawire.run(5000)
    end)
    same("the list of callers of option.read", classes, tables)
    for what, name in pairs(classes) do
      local members, known = declared(name), {}
      add(known, tables[what].known)
      for _, key in ipairs(tables[what].others or {}) do known[key] = true end
      same(what, members, known)
      for key, default in pairs(tables[what].known) do
        if type(default) ~= "string" or default == "" then
          assert.equal(default, meant(members[key].default or "nil"), ("the default of %s.%s"):format(name, key))
        end
      end
    end
  end)

  -- Misspelt they are refused, and the right name is proposed: so the living code knows it.
  local function probe(class, construct)
    for name in pairs(declared(class)) do
      local message = wire.mistake("TypeError", construct, { [name .. "x"] = 1 })
      assert.equal(('unknown option "%sx" (did you mean "%s"?)'):format(name, name), message:match 'unknown option.*')
    end
  end

  it("are known to the constructors", function()
    local url = "ws://127.0.0.1:1/"
    probe("ClientOptions", function(options) return lunawire.WebSocket(url, nil, options) end)
    probe("ClientTls", function(options) return lunawire.WebSocket(url, nil, { tls = options }) end)
    probe("ReconnectingOptions", function(options) return lunawire.ReconnectingWebSocket(url, nil, options) end)
    probe("ServerOptions", lunawire.WebSocketServer)
    probe("ServerTls", function(options) return lunawire.WebSocketServer { tls = options } end)
    probe("TlsCertificate", function(options) return lunawire.WebSocketServer { tls = { certificates = { options } } } end)
    probe("ServerHeartbeat", function(options) return lunawire.WebSocketServer { heartbeat = options } end)
    local ws = lunawire.WebSocket(url)
    probe("HeartbeatOptions", function(options) return lunawire.heartbeat(ws, options) end)
    probe("ReliableClientOptions", function(options) return reliable.client(ws, options) end)
    probe("ListenerOptions", function(options) return ws:addEventListener("open", print, options) end)
    probe("BlobOptions", function(options) return lunawire.Blob({}, options) end)
    probe("MessageOptions", function(options) return lunawire.messageSize("x", options) end)
    ws:terminate()
    local server = lunawire.WebSocketServer {}
    probe("ReliableServerOptions", function(options) return reliable.server(server, options) end)
    server:close()
  end)
end)

-- --- the objects and their events ---------------------------------------------------------------------------

describe("the classes of types/lunawire.lua #slow", function()
  local events = {} -- by class: those that came
  local certs

  setup(function() certs = pki.new() end)
  teardown(function() certs:close() end)
  after_each(wire.done)

  -- Sets all handlers that the class has; what they hear is kept under the class that they are said to hear.
  local function listen(object, class, act)
    act = act or {}
    for name, member in pairs(declared(class)) do
      local kind = member.kind == "field" and member.type:match "^fun%(event: lunawire%.(%w+)%)$"
      if kind then
        object[name] = function(event)
          events[kind] = events[kind] or {}
          table.insert(events[kind], event)
          if act[name] then act[name](event) end
        end
      end
    end
    return object
  end

  local function heard(kind, test)
    return wire.await(function()
      for _, event in ipairs(events[kind] or {}) do
        if test(event) then return event end
      end
    end, kind)
  end

  it("WebSocket and WebSocketServer", function()
    local server, side
    server = listen(lunawire.WebSocketServer { protocols = "chat", highWaterMark = 1000 }, "WebSocketServer", {
      onupgrade = function(event) event.headers = { ["X-Spoken"] = "yes" } end,
      onrequest = function(event) event:respond(200) end,
      onconnection = function(event) side = event.socket end,
    })
    local ws = listen(lunawire.WebSocket(server.url .. "?q=1", "chat", { highWaterMark = 1000 }), "WebSocket")
    judge("WebSocketServer", server)
    wire.await(function() return side and ws.readyState == 1 end, "the connection")
    ws:send "text"
    ws:send(("bytes"):rep(1000), "binary")
    ws:ping "beat"
    heard("MessageEvent", function(event) return event.binary and event.target == side end)
    side:send "text"
    side:send(("bytes"):rep(1000), "binary")
    side:ping "beat"
    heard("PongEvent", function(event) return event.target == side end)
    heard("PongEvent", function(event) return event.target == ws end)
    heard("PingEvent", function(event) return event.target == ws end)
    heard("Event", function(event) return event.type == "drain" and event.target == ws end)
    heard("Event", function(event) return event.type == "drain" and event.target == side end)
    judge("WebSocket", ws)
    judge("WebSocket", side)
    local guest = wire.connect(server.port)
    guest:send "GET /page?x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    heard("RequestEvent", function(event) return event.request.query == "x" end)
    guest:close()
    local plain = lunawire.WebSocketServer { origins = "https://example.org" } -- which refuses, with a body
    listen(lunawire.WebSocket(plain.url, nil, { origin = "http://example.com" }), "WebSocket")
    heard("ErrorEvent", function(event) return event.status == 403 and event.body end)
    plain:close()
    local broken = wire.server()
    local victim = listen(lunawire.WebSocket(broken.url), "WebSocket")
    local peer = broken:open()
    peer:send "\x83\0" -- an opcode that is none
    peer:next() -- our Close
    peer:close()
    heard("ErrorEvent", function(event) return event.closeCode == 1002 end)
    wire.await(function() return victim.readyState == 3 end)
    server:close()
    heard("Event", function(event) return event.type == "close" and event.target == server end)
  end)

  it("what TLS tells", function()
    local facts = {}
    local server = listen(lunawire.WebSocketServer {
      tls = { cert = certs:cert "good", key = certs:key "good", ca = certs:cert "root", requestCert = "optional" },
    }, "WebSocketServer", { onconnection = function(event) facts[#facts + 1] = event.request.tls end })
    local url = ("wss://localhost:%d/"):format(server.port)
    for _, pair in ipairs { {}, { cert = certs:cert "client", key = certs:key "client" } } do
      local tls = { ca = certs:cert "root", cert = pair.cert, key = pair.key }
      local ws = lunawire.WebSocket(url, nil, { tls = tls })
      ws.onopen = function() ws:close() end
      wire.await(function() return ws.readyState == 3 end)
    end
    assert.equal(2, #facts)
    for _, one in ipairs(facts) do judge("TlsFacts", one) end
    judge("TlsPeer", facts[2].peer)
    lunawire.WebSocket(url, nil, { tls = { ca = certs:cert "stranger" } }) -- who does not trust it, and says so
    heard("ServerErrorEvent", function(event) return event.code == "tls" end)
    server:close()
  end)

  it("ArrayBuffer and Blob", function()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    judge("ArrayBuffer", lunawire.ArrayBuffer(3))
    judge("Blob", lunawire.Blob { "text" })
    judge("Blob", lunawire.Blob.fromFile(path))
    assert.is_true(book.classes["lunawire.ArrayBuffer"].len and book.classes["lunawire.Blob"].len)
    assert.equal(3, #lunawire.ArrayBuffer(3))
    assert.equal(4, #lunawire.Blob { "text" })
  end)

  it("ReconnectingWebSocket, Heartbeat, Task, Handle", function()
    local server = lunawire.WebSocketServer {}
    local port = server.port
    local ws = listen(lunawire.ReconnectingWebSocket(server.url, nil, { minDelay = 0, jitter = 0 }), "ReconnectingWebSocket")
    local beat = lunawire.heartbeat(ws, { interval = 20 })
    judge("ReconnectingWebSocket", ws)
    wire.await(function() return beat.latency and ws.lastReceived end, "a beat")
    judge("ReconnectingWebSocket", ws)
    judge("Heartbeat", beat, inner.Heartbeat)
    server:close()
    heard("ReconnectingEvent", function() return true end)
    heard("CloseEvent", function(event) return event.error and event.unsent end)
    assert.equal(port, tonumber(ws.url:match ":(%d+)/"))
    ws:close()
    local waits = lunawire.go(lunawire.sleep, 1)
    local fails = lunawire.go(function() lunawire.connect "ws://127.0.0.1:1/" end)
    local falls = lunawire.go(function() lunawire.sleep(10000) end)
    local fd = io.popen "sleep 0.1"
    local handles = { lunawire.setTimeout(print, 1e6), lunawire.setInterval(print, 1e6), lunawire.watch(fd, "r", print) }
    for _, handle in ipairs(handles) do
      judge("Handle", handle)
      handle:close()
    end
    fd:close()
    falls:cancel "enough"
    local problems = {}
    for _, task in ipairs { waits, fails, falls } do
      judge("Task", task, inner.Task)
      local fine, problem = pcall(task.join, task)
      if not fine then problems[#problems + 1] = problem end
    end
    problems[3] = select(2, pcall(lunawire.WebSocket, "nonsense"))
    problems[4] = select(2, pcall(lunawire.connect, "ws://127.0.0.1:1/", "bad name"))
    local refusing = lunawire.WebSocketServer { origins = "https://example.org" }
    problems[5] = select(2, pcall(lunawire.connect, refusing.url, nil, { origin = "http://example.com" }))
    refusing:close()
    for _, problem in ipairs(problems) do judge("Error", problem) end
  end)

  it("reliable", function()
    judge("reliable", reliable)
    local server = lunawire.WebSocketServer { protocols = reliable.protocol }
    local sessions = {}
    local hub = listen(reliable.server(server), "ReliableServer", {
      onsession = function(event) sessions[#sessions + 1] = event.session end,
      onmessage = function(event)
        event.session:send "heard"
        event.session:note "by the way"
      end,
    })
    judge("ReliableServer", hub)
    local ws = lunawire.ReconnectingWebSocket(server.url, reliable.protocol, { minDelay = 0, jitter = 0 })
    local link = listen(reliable.client(ws), "ReliableLink")
    judge("ReliableLink", link)
    local receipt = link:send("one", nil, function(done) judge("Receipt", done) end)
    receipt.ondone = function() end
    heard("NumberedEvent", function(event) return event.data == "heard" end)
    heard("NoteEvent", function() return true end)
    link:note "one"
    heard("SessionNoteEvent", function() return true end)
    judge("ReliableSession", sessions[1])
    ws:terminate "a tunnel"
    heard("LostEvent", function() return true end)
    heard("SessionAwayEvent", function() return true end)
    heard("SessionEvent", function(event) return event.type == "resume" end)
    wire.await(function() return link.connected end)
    local lost = link:send "two"
    ws:send "nonsense"
    heard("SessionErrorEvent", function(event) return event.code == "protocol" end)
    heard("LinkErrorEvent", function(event) return event.code == "protocol" end)
    heard("CloseEvent", function(event) return event.target == link end)
    judge("Receipt", lost)
    server:close()
    heard("SessionEndEvent", function() return true end)
    judge("ReliableSession", sessions[1])
    assert.is_true(lunawire.run(5000))
  end)

  it("all events, and what came with them", function()
    for kind, list in pairs(events) do
      for _, event in ipairs(list) do
        judge(kind, event, inner.Event)
        if event.request then judge("Request", event.request) end
      end
    end
  end)

  it("nothing that no object has, and no class that was not looked at", function()
    for _, class in ipairs(book.list) do
      local name = class.name and class.name:gsub("^lunawire%.(%u)", "%1")
      if name and not class.values then assert.is_true(judged[class.name], name .. " was not looked at") end
      for key, member in pairs(seen[name] and declared(name) or {}) do
        assert.is_true(seen[name][key] or not member.optional, ("no %s has a `%s`"):format(name, key))
      end
    end
  end)
end)
