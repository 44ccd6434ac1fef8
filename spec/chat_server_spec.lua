-- The chat server over real sockets: what room.lua decides arrives as JSON, and the page comes over the same port.

local cjson = require "cjson"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"

local script = helper.root .. "/examples/chat/server.lua"
local chat = dofile(script)

local function await(what, try)
  local result = helper.await(try, lunawire.step)
  if not result then error("waited in vain for " .. what, 3) end
  return result
end

local rooms = {}   -- the servers of the running test
local guests = {}  -- and its clients

local function start(options)
  options = options or {}
  options.port = 0
  local server = chat.start(options)
  rooms[#rooms + 1] = server
  return server
end

--- A connection to the server; `guest.inbox` holds the texts it was sent and has not looked at.
local function connect(server, options)
  local guest = { inbox = {}, opened = false, closed = nil, failed = nil }
  guest.socket = lunawire.WebSocket(("ws://127.0.0.1:%d%s"):format(server.port, options and options.path or "/"), nil,
    { origin = options and options.origin })
  guest.socket.onopen = function() guest.opened = true end
  guest.socket.onmessage = function(event) table.insert(guest.inbox, event.data) end
  guest.socket.onerror = function(event) guest.failed = event end
  guest.socket.onclose = function(event) guest.closed = event end

  function guest.send(message)
    guest.socket:send(type(message) == "table" and cjson.encode(message) or message)
  end

  function guest.raw()
    return await("a message", function() return table.remove(guest.inbox, 1) end)
  end

  function guest.next()
    return cjson.decode(guest.raw())
  end

  --- Sends a ping and returns what came before its pong: everything that was under way.
  function guest.rest()
    guest.send { type = "ping" }
    local before = {}
    while true do
      local message = guest.next()
      if message.type == "pong" then return before end
      before[#before + 1] = message
    end
  end

  guests[#guests + 1] = guest
  return guest
end

local function visit(server, name, room)
  local guest = connect(server)
  await("the connection", function() return guest.opened end)
  guest.send { type = "join", room = room or "lobby", name = name }
  guest.welcome = guest.next()
  assert.are.equal("welcome", guest.welcome.type)
  return guest
end

local function types(messages)
  local list = {}
  for i, message in ipairs(messages) do list[i] = message.type end
  return list
end

after_each(function()
  for _, guest in ipairs(guests) do guest.socket:terminate() end
  local open = #rooms
  for _, server in ipairs(rooms) do
    local onclose = server.onclose
    server.onclose = function(event)
      if onclose then onclose(event) end
      open = open - 1
    end
    server:close(1001)
  end
  await("the servers to close", function() return open == 0 end)
  rooms, guests = {}, {}
end)

describe("the chat server", function()
  it("welcomes with JSON whose lists are lists, empty or not", function()
    local guest = connect(start())
    await("the connection", function() return guest.opened end)
    guest.send { type = "join", room = "lobby", name = "ann" }
    local text = guest.raw()
    assert.matches('"people":["ann"]', text, 1, true)
    assert.matches('"history":[]', text, 1, true)
    assert.are.same({ type = "welcome", room = "lobby", you = "ann", people = { "ann" }, history = {} }, cjson.decode(text))
  end)

  it("lets people talk, in order, with who, when and which", function()
    local server = start()
    local ann, bob = visit(server, "ann"), visit(server, "bob")
    assert.are.same({ type = "joined", name = "bob" }, ann.next())
    local before = (os.time() - 1) * 1000
    for i = 1, 5 do ann.send { type = "say", text = "line " .. i, id = "a-" .. i } end
    for i = 1, 5 do
      local heard, echoed = bob.next(), ann.next()
      assert.are.same(echoed, heard)
      assert.are.equal(i, heard.seq)
      assert.are.equal("ann", heard.from)
      assert.are.equal("line " .. i, heard.text)
      assert.are.equal("a-" .. i, heard.id)
      assert.is_true(heard.time >= before and heard.time <= (os.time() + 1) * 1000)
    end
  end)

  it("tells a newcomer what was said", function()
    local server = start()
    local ann = visit(server, "ann")
    for i = 1, 3 do ann.send { type = "say", text = "line " .. i } end
    ann.rest()
    local bob = visit(server, "bob")
    assert.are.same({ "ann", "bob" }, bob.welcome.people)
    assert.are.equal(3, #bob.welcome.history)
    assert.are.equal("line 3", bob.welcome.history[3].text)
    assert.are.equal(3, bob.welcome.history[3].seq)
  end)

  it("carries every text unchanged", function()
    local server = start()
    local ann = visit(server, "ann")
    for _, text in ipairs { "Grüße, 日本, 👩‍👩‍👧‍👦", "<b>\"quoted\"</b> \\ / &amp;", "100%s %d {} []", ("😀"):rep(2000) } do
      ann.send { type = "say", text = text }
      assert.are.equal(text, ann.next().text)
    end
  end)

  it("keeps rooms apart", function()
    local server = start()
    local ann, bob = visit(server, "ann", "one"), visit(server, "bob", "two")
    ann.send { type = "say", text = "in one" }
    ann.send { type = "typing" }
    ann.rest()
    assert.are.same({}, bob.rest())
  end)

  it("shows typing to the others, not to the one who types", function()
    local server = start()
    local ann, bob = visit(server, "ann"), visit(server, "bob")
    ann.next()
    ann.send { type = "typing" }
    assert.are.same({ type = "typing", name = "ann" }, bob.next())
    assert.are.same({}, ann.rest())
  end)

  it("tells the room when a connection closes, and then frees the name", function()
    local server = start()
    local ann, bob = visit(server, "ann"), visit(server, "bob")
    ann.next()
    bob.socket:close(1000)
    assert.are.same({ type = "left", name = "bob" }, ann.next())
    visit(server, "bob")
    assert.are.same({ type = "joined", name = "bob" }, ann.next())
  end)

  it("does so when the connection breaks, too", function()
    local server = start()
    local ann, bob = visit(server, "ann"), visit(server, "bob")
    ann.next()
    bob.socket:terminate()
    assert.are.same({ type = "left", name = "bob" }, ann.next())
  end)

  it("moves somebody who joins another room", function()
    local server = start()
    local ann, bob = visit(server, "ann"), visit(server, "bob")
    ann.next()
    bob.send { type = "join", room = "garden", name = "bob" }
    assert.are.equal("garden", bob.next().room)
    assert.are.same({ type = "left", name = "bob" }, ann.next())
    ann.send { type = "say", text = "gone?" }
    ann.rest()
    assert.are.same({}, bob.rest())
  end)

  it("answers a name in use with an error, and the connection stays", function()
    local server = start()
    visit(server, "ann")
    local other = connect(server)
    await("the connection", function() return other.opened end)
    other.send { type = "join", room = "lobby", name = "ann" }
    assert.are.equal("name-taken", other.next().code)
    other.send { type = "join", room = "lobby", name = "bob" }
    assert.are.equal("welcome", other.next().type)
  end)

  -- what is sent, and the code of the error it gets
  for _, case in ipairs {
    { "half an object", "{", "bad-json" },
    { "nothing", "", "bad-json" },
    { "no JSON", "hello", "bad-json" },
    { "null", "null", "bad-json" },
    { "a number", "7", "bad-json" },
    { "a string", '"join"', "bad-json" },
    { "not a number", '{"type":"say","text":NaN}', "bad-json" },
    { "half a surrogate pair", '{"type":"say","text":"\\ud800"}', "bad-json" },
    { "a thousand brackets", ("["):rep(1000) .. ("]"):rep(1000), "bad-json" },
    { "a million brackets", ("["):rep(1000000), "bad-json" },
    { "a list", '["join"]', "unknown-type" },
    { "an empty object", "{}", "unknown-type" },
    { "a type nobody knows", '{"type":"shout"}', "unknown-type" },
    { "a type that is null", '{"type":null}', "unknown-type" },
    { "a type that is an object", '{"type":{"type":"join"}}', "unknown-type" },
    { "a join with null for a name", '{"type":"join","room":"lobby","name":null}', "bad-name" },
    { "a join with NUL in the name", '{"type":"join","room":"lobby","name":"a\\u0000b"}', "bad-name" },
    { "a join without a room", '{"type":"join","name":"ann"}', "bad-room" },
    { "a text before any room", '{"type":"say","text":"hello"}', "not-joined" },
    { "an id that is a list", '{"type":"say","text":"hello","id":[1]}', "bad-id" },
  } do
    it("answers " .. case[1] .. " with " .. case[3] .. ", and the connection stays", function()
      local guest = connect(start())
      await("the connection", function() return guest.opened end)
      guest.send(case[2])
      local answer = guest.next()
      assert.are.equal("error", answer.type)
      assert.are.equal(case[3], answer.code)
      assert.are.equal("string", type(answer.message))
      assert.are.same({}, guest.rest())
    end)
  end

  it("answers a binary message with bad-json", function()
    local guest = connect(start())
    await("the connection", function() return guest.opened end)
    guest.socket:send('{"type":"ping"}', "binary")
    assert.are.equal("bad-json", guest.next().code)
  end)

  it("answers a text of half a megabyte with bad-text, and the connection stays", function()
    local ann = visit(start(), "ann")
    ann.send { type = "say", text = ("x"):rep(512 * 1024), id = 7 }
    local answer = ann.next()
    assert.are.equal("bad-text", answer.code)
    assert.are.equal(7, answer.id)
    assert.are.same({}, ann.rest())
  end)

  it("slows a flood down without ending it, and the others do not notice", function()
    local server = start()
    local ann, bob = visit(server, "ann"), visit(server, "bob")
    ann.next()
    for i = 1, 100 do bob.send { type = "say", text = "flood " .. i, id = i } end
    local said, slowed = 0, 0
    for _ = 1, 100 do
      local answer = bob.next()
      if answer.type == "said" then
        said = said + 1
      else
        assert.are.equal("slow-down", answer.code)
        slowed = slowed + 1
      end
    end
    assert.is_true(said >= 19 and slowed > 0, ("%d said, %d slowed down"):format(said, slowed))
    assert.is_nil(bob.closed)
    ann.send { type = "say", text = "calm" }
    local heard = ann.rest()
    assert.are.equal("calm", heard[#heard].text)
    assert.are.equal(said + 1, heard[#heard].seq)
  end)

  it("ends a connection that gives no sign of life, and keeps one that does #foreign", function()
    local server = start { patience = 200 }
    local ann = visit(server, "ann")
    local peer = helper.peer(("cd %s/spec && exec node -e %s"):format(helper.quote(helper.root), helper.quote(([[
      const socket = new (require("ws"))("ws://127.0.0.1:%d/");
      socket.on("open", () => socket.send('{"type":"join","room":"lobby","name":"bob"}'));
      socket.on("message", () => socket.pause());
    ]]):format(server.port))))
    assert.are.same({ type = "joined", name = "bob" }, ann.next())
    assert.are.same({ type = "left", name = "bob" }, ann.next())
    peer:stop()
    assert.are.same({}, ann.rest())
  end)

  it("says what went wrong inside to its log, and goes on", function()
    local lines = {}
    local server = start { limits = { text = {} }, log = function(line) table.insert(lines, line) end }
    local ann, bob = visit(server, "ann"), visit(server, "bob")
    ann.next()
    ann.send { type = "say", text = "hello" }
    await("a line in the log", function() return lines[1] end)
    assert.matches("room.lua", lines[1], 1, true)
    bob.send { type = "typing" }
    assert.are.same({ type = "typing", name = "bob" }, ann.next())
  end)

  it("answers WebSockets on / alone", function()
    local guest = connect(start(), { path = "/elsewhere" })
    await("a close", function() return guest.closed end)
    assert.is_false(guest.opened)
    assert.is_not_nil(guest.failed.status)
  end)

  it("refuses a page of another site", function()
    local server = start()
    local stranger = connect(server, { origin = "http://elsewhere.example" })
    await("a close", function() return stranger.closed end)
    assert.is_false(stranger.opened)
    assert.are.equal(403, stranger.failed.status)
    local own = connect(server, { origin = ("http://127.0.0.1:%d"):format(server.port) })
    await("the connection", function() return own.opened end)
  end)

  it("says 1001 to everybody when it closes", function()
    local server = start()
    local ann, bob = visit(server, "ann"), visit(server, "bob")
    server:close(1001, "the server is going down")
    for _, guest in ipairs { ann, bob } do
      await("a close", function() return guest.closed end)
      assert.are.equal(1001, guest.closed.code)
      assert.is_true(guest.closed.wasClean)
      assert.are.same({}, types(guest.inbox), "nobody is told of others who leave with it")
    end
  end)
end)

-- The script, as it is started from a shell ---------------------------------------------------------------------------

local request = [[
import http.client, json, sys
port, method, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
connection.putrequest(method, path, skip_accept_encoding=True)
connection.endheaders()
answer = connection.getresponse()
body = answer.read()
print(json.dumps({"status": answer.status, "headers": {k.lower(): v for k, v in answer.getheaders()},
  "length": len(body), "body": body.decode("latin-1")}))
]]

describe("the script #foreign", function()
  local peer, port

  local function run(arguments, seconds)
    peer = helper.peer(("cd / && exec %s"):format(helper.lua(helper.quote(script) .. " " .. arguments)), seconds)
    local line = peer:line()
    port = tonumber(line:match("http://127%.0%.0%.1:(%d+)/"))
    assert.is_not_nil(port, line)
    return line
  end

  after_each(function()
    if peer then peer:stop() end
    peer = nil
  end)

  local function fetch(method, path)
    local output = helper.run(("%s -c %s %d %s %s"):format(
      helper.python(), helper.quote(request), port, method, helper.quote(path)))
    local ok, answer = pcall(cjson.decode, output)
    assert.is_true(ok, output)
    return answer
  end

  it("says where it listens, whatever the current directory", function()
    assert.matches("^chat room on http://127%.0%.0%.1:%d+/", run "0")
  end)

  it("says https when it has a certificate, and what is wrong with one that is none", function()
    local certs = pki.new()
    local words = ("%s 0 --cert %s"):format(helper.quote(script), helper.quote(certs:cert "good"))
    peer = helper.peer("exec " .. helper.lua(words .. " --key " .. helper.quote(certs:key "good")))
    local line = peer:line()
    assert.matches("^chat room on https://127%.0%.0%.1:%d+/", line)
    local output = helper.run(("openssl s_client -connect 127.0.0.1:%s -CAfile %s"):format(
      line:match ":(%d+)/", helper.quote(certs:cert "root")))
    assert.matches("Verify return code: 0 %(ok%)", output)
    for arguments, problem in pairs {
      [words] = "there is no key in it",
      [helper.quote(script) .. " 0 --key x"] = "%-%-key needs %-%-cert",
      [helper.quote(script) .. " 0 --cert /nowhere.pem"] = "/nowhere%.pem",
    } do
      local said, status = helper.run(helper.lua(arguments))
      assert.matches(problem, said)
      assert.is_true(status > 0)
    end
    certs:close()
  end)

  it("serves the page, each file as what it is", function()
    run "0"
    for path, expected in pairs {
      ["/"] = { "text/html; charset=utf-8", "index.html" },
      ["/index.html"] = { "text/html; charset=utf-8", "index.html" },
      ["/style.css"] = { "text/css; charset=utf-8", "style.css" },
      ["/chat.js"] = { "text/javascript; charset=utf-8", "chat.js" },
      ["/reliable.js"] = { "text/javascript; charset=utf-8", "reliable.js" },
      ["/favicon.svg"] = { "image/svg+xml", "favicon.svg" },
      ["/?from=somewhere"] = { "text/html; charset=utf-8", "index.html" },
    } do
      local answer = fetch("GET", path)
      local bytes = helper.read(helper.root .. "/examples/chat/public/" .. expected[2])
      assert.are.equal(200, answer.status)
      assert.are.equal(expected[1], answer.headers["content-type"])
      assert.are.equal("nosniff", answer.headers["x-content-type-options"])
      assert.matches("default-src 'none'", answer.headers["content-security-policy"], 1, true)
      assert.are.equal(#bytes, answer.length)
    end
  end)

  it("answers HEAD like GET, without the body", function()
    run "0"
    local get, head = fetch("GET", "/chat.js"), fetch("HEAD", "/chat.js")
    assert.are.equal(200, head.status)
    assert.are.equal(0, head.length)
    assert.are.equal(get.headers["content-length"], head.headers["content-length"])
    assert.are.equal(get.headers["content-type"], head.headers["content-type"])
  end)

  it("has nothing else to fetch", function()
    run "0"
    for _, path in ipairs {
      "/server.lua", "/../server.lua", "/%2e%2e/server.lua", "//etc/passwd", "/public/chat.js", "/chat.js/",
    } do
      local answer = fetch("GET", path)
      assert.is_true(answer.status == 404 or answer.status == 400, path .. " got " .. answer.status)
      assert.is_nil(answer.body:find("lunawire", 1, true))
    end
  end)

  it("takes no other method", function()
    run "0"
    assert.are.equal(405, fetch("DELETE", "/").status)
  end)

  it("ends at once on INT and TERM: 1001 to everybody, status 0, and not a word", function()
    for _, signal in ipairs { "INT", "TERM" } do
      run "0"
      local ann = visit({ port = port }, "ann")
      peer:signal(signal)
      await("a close", function() return ann.closed end)
      assert.are.equal(1001, ann.closed.code)
      assert.is_true(ann.closed.wasClean)
      local text = peer:text()
      assert.are.equal(0, peer:wait())
      assert.matches("^[^\n]*\n$", text)
      peer = nil
    end
  end)

  it("says in one line that its port is in use, and ends with status 1", function()
    local server = start()
    local output, status = helper.run(helper.lua(helper.quote(script) .. " " .. server.port))
    assert.are.equal(1, status)
    assert.matches("^chat: [^\n]*" .. server.port .. "[^\n]*\n$", output)
  end)

  it("refuses what is no port", function()
    for _, port_ in ipairs { "65536", "1x", "-1", "''" } do
      local output, status = helper.run(helper.lua(helper.quote(script) .. " -- " .. port_))
      assert.are_not.equal(0, status)
      assert.matches("is not a port", output, 1, true)
    end
  end)
end)
