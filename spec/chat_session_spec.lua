-- The chat room over sessions of lunawire.reliable.1, by raw bytes: who is away stays, what was said meanwhile comes
-- once, and a server that was killed goes on from its journal.

local cjson = require "cjson"
local desk = require "spec.server_helper"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local script = helper.root .. "/examples/chat/server.lua"
local chat = dofile(script)

local SPOKEN = { ["Sec-WebSocket-Protocol"] = "lunawire.reliable.1" }

local servers, folder, file, peers, lines

local function start(options)
  options = options or {}
  options.port = options.port or 0
  local server = chat.start(options)
  servers[#servers + 1] = server
  return server
end

--- Closes a server as Ctrl-C would, and waits until it has closed.
local function finish(server)
  local closed = false
  server.onclose = function() closed = true end
  server:close(1001)
  wire.settle()
  for _, line in ipairs(lines) do line:close() end -- nobody here answers a Close
  wire.await(function() return closed end, "the server to close")
end

before_each(function()
  desk.open()
  servers, peers, lines, folder = {}, {}, {}, helper.directory()
  file = folder .. "/chat.sqlite"
end)

after_each(function()
  for _, peer in ipairs(peers) do peer:stop() end
  for _, server in ipairs(servers) do server:close() end
  desk.clear()
  helper.remove(folder)
end)

-- A client by hand -----------------------------------------------------------------------------------------------------

local Guest = {}
Guest.__index = Guest

local function json(message)
  return type(message) == "string" and message or cjson.encode(message)
end

--- Who somebody is, from one line to the next: a session, its numbers, the last line seen.
local function newGuest(name, session)
  return setmetatable({
    name = name,
    session = session or ("session-of-%s-"):format(name):rep(2),
    epoch = "-",
    received = 0,   -- of the server's messages
    number = 0,     -- of ours, sent
    acked = 0,      -- of ours, acknowledged
    peer = nil,
    seen = {},      -- messages of the room, by anything
  }, Guest)
end

--- Comes over a new line. Returns what the server said of us: how far we are taken.
function Guest:connect(port, greeting)
  self.peer = wire.client(port, SPOKEN)
  table.insert(lines, self.peer)
  self.peer:frame { "text", payload = ("hello %s %s %d %d\n%s"):format(self.session, self.epoch, self.received,
    self.acked + 1, greeting and json(greeting) or "") }
  local hello = self.peer:next().payload
  local epoch, received = hello:match("^hello " .. self.session:gsub("%-", "%%-") .. " (%x+) (%d+) %d+\n$")
  assert(epoch, hello)
  if epoch ~= self.epoch then self.received = 0 end
  self.continued = epoch == self.epoch
  self.epoch = epoch
  return tonumber(received)
end

function Guest:join(port, more)
  local greeting = { type = "join", room = "lobby", name = self.name }
  for key, value in pairs(more or {}) do greeting[key] = value end
  self:connect(port, greeting)
  return self:next()
end

--- Sends messages in one write, each with its number.
function Guest:send(...)
  local list = {}
  for i, message in ipairs { ... } do
    self.number = self.number + 1
    list[i] = { "text", payload = ("message %d\n%s"):format(self.number, json(message)) }
  end
  self.peer:frame(table.unpack(list))
end

function Guest:note(message)
  self.peer:frame { "text", payload = "note\n" .. json(message) }
end

--- The next that comes, as it comes: "message" and what it says, or "ack" and its number, or "note".
function Guest:raw()
  local frame = assert(self.peer:next(), "the stream ended")
  assert(frame.opcode == 1, "not a text: " .. frame.payload)
  local kind, number, payload = frame.payload:match "^(%a+) ?(%d*)\n(.*)$"
  if kind == "message" then
    assert.equal(self.received + 1, tonumber(number))
    self.received = self.received + 1
    return kind, cjson.decode(payload)
  elseif kind == "ack" then
    self.acked = tonumber(number)
    return kind, self.acked
  end
  return kind, payload ~= "" and cjson.decode(payload) or payload
end

--- The next message, over acknowledgements.
function Guest:next()
  while true do
    local kind, message = self:raw()
    if kind == "message" then return message end
  end
end

--- What came before the pong of a ping, acknowledgements left out.
function Guest:rest()
  self:note { type = "ping" }
  local before = {}
  while true do
    local kind, message = self:raw()
    if kind == "note" and message.type == "pong" then return before end
    if kind ~= "ack" then before[#before + 1] = message end
  end
end

function Guest:reset()
  self.peer:reset()
  wire.settle()
end

local function texts(messages)
  local list = {}
  for i, message in ipairs(messages) do
    list[i] = message.type == "said" and ("%d %s"):format(message.seq, message.text)
      or message.type .. " " .. (message.name or "")
  end
  return list
end

local function say(text, id) return { type = "say", text = text, id = id } end

--- A visitor over a plain WebSocket, whose inbox is texts() of all that came.
local function plain(server, name)
  local guest = { inbox = {} }
  guest.socket = lunawire.WebSocket(("ws://127.0.0.1:%d/"):format(server.port))
  guest.socket.onopen = function() guest.socket:send(json { type = "join", room = "lobby", name = name }) end
  guest.socket.onmessage = function(event) table.insert(guest.inbox, cjson.decode(event.data)) end
  wire.await(function() return guest.inbox[1] end, "the welcome")
  table.remove(guest.inbox, 1)
  return guest
end

--- A journal that can be told to fail.
local function newJournal(name)
  local journal = dofile(helper.root .. "/examples/chat/journal.lua").open(name or "memory")
  local broken, commits = nil, 0
  return setmetatable({
    commit = function()
      commits = commits + 1
      if broken then return false, broken end
      return journal:commit()
    end,
    fail = function(problem) broken = problem end,
    commits = function() return commits end,
  }, { __index = function(_, key)
    return function(_, ...) return journal[key](journal, ...) end
  end })
end

-- What is promised -----------------------------------------------------------------------------------------------------

describe("a session in the chat room", function()
  it("comes in with its hello, and is acknowledged what was said", function()
    local server = start()
    local ann = newGuest "ann"
    assert.same({ type = "welcome", room = "lobby", you = "ann", people = { "ann" }, history = {} },
      ann:join(server.port))
    ann:send(say("one", "a-1"), say("two", "a-2"))
    local order = {}
    for i = 1, 3 do
      local kind, what = ann:raw()
      order[i] = kind == "message" and texts { what }[1] .. " " .. what.id or kind .. " " .. what
    end
    assert.same({ "1 one a-1", "2 two a-2", "ack 2" }, order)
  end)

  it("talks with people on plain WebSockets", function()
    local server = start()
    local ann, bob = newGuest "ann", plain(server, "bob")
    assert.same({ "bob", "ann" }, ann:join(server.port).people)
    ann:send(say "hello bob")
    ann:note { type = "typing" }
    wire.await(function() return #bob.inbox == 3 end, "what ann did")
    assert.same({ "joined ann", "1 hello bob", "typing ann" }, texts(bob.inbox))
    bob.socket:send(json(say "hello ann"))
    assert.same({ "1 hello bob", "2 hello ann" }, texts { ann:next(), ann:next() })
    bob.socket:send(json { type = "typing" })
    local kind, note = ann:raw()
    while kind == "ack" do kind, note = ann:raw() end
    assert.same({ "note", { type = "typing", name = "bob" } }, { kind, note })
  end)

  it("stays while it is away, and gets what was said once, in order", function()
    local server = start()
    local ann, bob = newGuest "ann", newGuest "bob"
    ann:join(server.port)
    bob:join(server.port)
    assert.same({ "joined bob" }, texts { ann:next() })
    bob:reset()
    for i = 1, 5 do ann:send(say("line " .. i)) end
    assert.same({ "1 line 1", "2 line 2", "3 line 3", "4 line 4", "5 line 5" }, texts(ann:rest()))
    bob:connect(server.port, { type = "join", room = "lobby", name = "bob", seq = 1 })
    assert.is_true(bob.continued)
    assert.same({ "1 line 1", "2 line 2", "3 line 3", "4 line 4", "5 line 5" }, texts(bob:rest()))
    assert.same({}, ann:rest()) -- nobody noticed
    bob:reset() -- before any of it was acknowledged
    bob.received = 3 -- of the server's messages: the welcome and two lines
    bob:connect(server.port)
    assert.same({ "3 line 3", "4 line 4", "5 line 5" }, texts(bob:rest()))
  end)

  it("leaves when it is away too long, and is a new one afterwards", function()
    local server = start { grace = 100 }
    local ann, bob = newGuest "ann", newGuest "bob"
    ann:join(server.port)
    bob:join(server.port)
    bob:send(say "one")
    assert.same({ "joined bob", "1 one" }, texts { ann:next(), ann:next() })
    bob:reset()
    assert.same({ "left bob" }, texts { ann:next() })
    -- The one message it does not know to be acknowledged is known all the same.
    assert.equal(1, bob:connect(server.port, { type = "join", room = "lobby", name = "bob", seq = 1 }))
    assert.is_false(bob.continued)
    assert.same({ "1 one" }, texts(bob:next().history))
    assert.same({ "joined bob" }, texts { ann:next() })
  end)

  it("leaves at once when it says so", function()
    local server = start { journal = file }
    local ann, bob = newGuest "ann", newGuest "bob"
    ann:join(server.port)
    bob:join(server.port)
    bob:send(say "bye")
    bob.peer:frame { "text", payload = "end\n" }
    assert.same({ "joined bob", "1 bye", "left bob" }, texts { ann:next(), ann:next(), ann:next() })
    bob.epoch, bob.number, bob.acked = "-", 0, 0
    assert.equal(0, bob:connect(server.port))
  end)

  it("goes on where it was when its program was started anew", function()
    local server = start()
    local ann, bob = newGuest "ann", newGuest "bob"
    ann:join(server.port)
    bob:join(server.port)
    bob:send(say "one", say "two")
    assert.same({ "joined bob", "1 one", "2 two" }, texts { ann:next(), ann:next(), ann:next() })
    bob:reset()
    local again = newGuest("bob", bob.session)
    assert.equal(2, again:connect(server.port, { type = "join", room = "lobby", name = "bob" }))
    local all = again:rest()
    assert.equal("welcome", all[#all].type)
    assert.same({ "1 one", "2 two" }, texts(all[#all].history))
    assert.same({}, ann:rest())
  end)

  it("says more than may be said at once, and nothing of it is refused or out of order", function()
    local server = start { limits = { rate = 20, window = 50 } }
    local ann = newGuest "ann"
    ann:join(server.port)
    local expected = {}
    for i = 1, 100 do
      ann:send(say("line " .. i))
      expected[i] = i .. " line " .. i
    end
    local began, heard = lunawire.now(), {}
    for i = 1, 100 do heard[i] = ann:next() end
    assert.same(expected, texts(heard))
    assert.is_true(lunawire.now() - began >= 150)
    while ann.acked < 100 do ann:raw() end
  end)

  -- what is sent, and the code of the error it gets
  for _, case in ipairs {
    { "no JSON", "{", "bad-json" },
    { "a type nobody knows", { type = "shout" }, "unknown-type" },
    { "a text with an escape", { type = "say", text = "\27[2J", id = 7 }, "bad-text" },
  } do
    it("is told what is wrong with " .. case[1] .. ", and that is acknowledged", function()
      local server = start()
      local ann = newGuest "ann"
      ann:join(server.port)
      ann:send(case[2])
      local kind, answer = ann:raw()
      assert.same({ "message", "error", case[3] }, { kind, answer.type, answer.code })
      assert.same({ "ack", 1 }, { ann:raw() })
    end)
  end

  for name, greeting in pairs {
    ["no JSON"] = "{", ["no join"] = { type = "say", text = "hello" }, ["a list"] = "[1]", ["a word"] = '"join"',
  } do
    it("is told that " .. name .. " is no greeting", function()
      local server = start()
      local ann = newGuest "ann"
      ann:connect(server.port, greeting)
      assert.equal("bad-greeting", ann:next().code)
      ann:send { type = "join", room = "lobby", name = "ann" }
      assert.equal("welcome", ann:next().type)
    end)
  end

  it("is told by an error that its name is taken, and stays outside", function()
    local server = start()
    local ann, other = newGuest "ann", newGuest("ann", "another-session-")
    ann:join(server.port)
    assert.equal("name-taken", other:join(server.port).code)
    other:send(say "hello")
    assert.equal("not-joined", other:next().code)
    other:send({ type = "join", room = "lobby", name = "bea" }, say "hello")
    assert.equal("welcome", other:next().type)
  end)

  it("says nothing by notes but that it types and lives", function()
    local server = start()
    local ann = newGuest "ann"
    ann:join(server.port)
    ann:note(say "unnumbered")
    ann:note "nonsense"
    ann:note "[]"
    assert.same({}, ann:rest())
  end)
end)

describe("the journal of the chat room", function()
  it("is written once for all that is said in a turn", function()
    local journal = newJournal()
    local server = start { journal = journal }
    local ann = newGuest "ann"
    ann:join(server.port)
    ann:rest()
    local before = journal.commits()
    ann:send(say "1", say "2", say "3", say "4", say "5")
    while ann.acked < 5 do ann:raw() end
    assert.equal(before + 1, journal.commits())
  end)

  it("comes first: nobody hears a line, and it is not acknowledged, before it is written", function()
    local journal, log = newJournal(), {}
    local server = start { journal = journal, log = function(line) table.insert(log, line) end }
    local ann, bob = newGuest "ann", plain(server, "bob")
    ann:join(server.port)
    wire.await(function() return bob.inbox[1] end, "ann")
    bob.inbox = {}
    local before = ann.peer.total
    journal.fail "the disk is full"
    ann:send(say "one", say "two")
    wire.await(function() return log[1] end, "a line in the log")
    bob.socket:send(json(say("three", 7)))
    wire.await(function() return bob.inbox[1] end, "a refusal")
    wire.settle(50)
    assert.same({ { type = "error", code = "slow-down", message = "the journal cannot be written now", id = 7 } }, bob.inbox)
    assert.same({ "nothing is said until the journal can be written: the disk is full" }, log)
    assert.equal(before, ann.peer.total) -- not a byte
    journal.fail(nil)
    assert.same({ "1 one", "2 two" }, texts { ann:next(), ann:next() })
    while ann.acked < 2 do ann:raw() end
    wire.await(function() return #bob.inbox == 3 end, "the lines")
    assert.equal("the journal can be written again", log[2])
  end)

  it("keeps a line that came in just as the server was closed", function()
    local server = start { journal = file }
    local ann = newGuest "ann"
    ann:join(server.port)
    ann:send(say "last words")
    wire.await(function() return ann.peer:next().payload:match "last words" end, "the line")
    finish(server)
    local bob = newGuest "bob"
    assert.same({ "1 last words" }, texts(bob:join(start { journal = file }.port).history))
  end)
end)

describe("a chat room that was started anew", function()
  it("has everybody where they were, and tells nobody", function()
    local server = start { journal = file }
    local ann, bob = newGuest "ann", newGuest "bob"
    ann:join(server.port)
    bob:join(server.port)
    ann:send(say "one")
    assert.same({ "joined bob", "1 one" }, texts(ann:rest()))
    assert.same({ "1 one" }, texts(bob:rest()))
    finish(server)
    server = start { journal = file }
    assert.equal(1, ann:connect(server.port, { type = "join", room = "lobby", name = "ann", seq = 1 }))
    assert.is_false(ann.continued)
    local welcome = ann:next()
    table.sort(welcome.people)
    assert.same({ "ann", "bob" }, welcome.people)
    assert.same({ "1 one" }, texts(welcome.history))
    ann:send(say "two")
    assert.same({ "2 two" }, texts(ann:rest()))
    bob:connect(server.port, { type = "join", room = "lobby", name = "bob", seq = 1 })
    assert.same({ "1 one", "2 two" }, texts(bob:next().history))
    assert.same({}, ann:rest())
  end)

  it("tells one who comes back nothing ahead of what was missed", function()
    local server = start { journal = file }
    local ann, bob = newGuest "ann", newGuest "bob"
    ann:join(server.port)
    bob:join(server.port)
    bob:send(say "one")
    assert.same({ "1 one" }, texts(bob:rest()))
    finish(server)
    local journal, log = newJournal(file), {}
    server = start { journal = journal, log = function(line) table.insert(log, line) end }
    bob:join(server.port, { seq = 1 })
    bob:rest()
    -- Line 2 is not yet written when ann comes in, and she sits there already.
    journal.fail "not now"
    bob:send(say "two")
    wire.await(function() return log[1] end, "a line in the log")
    ann:connect(server.port, { type = "join", room = "lobby", name = "ann", seq = 1 })
    journal.fail(nil)
    local first, second = ann:next(), ann:rest()
    assert.same({ "1 one", "2 two" }, texts(first.history))
    assert.same({}, second)
  end)

  it("tells nobody of a line as taken that is not written, however often they come", function()
    local journal, log = newJournal(file), {}
    local server = start { journal = journal, grace = 60, log = function(line) table.insert(log, line) end }
    local ann = newGuest "ann"
    ann:join(server.port)
    ann:rest()
    journal.fail "the disk is full"
    ann:send(say "one")
    wire.await(function() return log[1] end, "a line in the log")
    local errors = {}
    lunawire.onerror = function(err) errors[#errors + 1] = tostring(err) end
    ann.peer:close()
    local deadline = lunawire.now() + 150
    wire.await(function() return lunawire.now() > deadline end) -- beyond the grace
    assert.has_error(function() ann:connect(server.port) end)
    assert.matches("a session cannot be restored", errors[1])
    journal.fail(nil)
    wire.await(function() return log[2] end, "the journal")
    assert.equal(1, ann:connect(server.port, { type = "join", room = "lobby", name = "ann" }))
    lunawire.onerror = nil
  end)

  it("lets those go who do not come back in time", function()
    local server = start { journal = file }
    local ann, bob = newGuest "ann", newGuest "bob"
    ann:join(server.port)
    bob:join(server.port)
    finish(server)
    server = start { journal = file, grace = 150 }
    local again = ann:join(server.port)
    table.sort(again.people)
    assert.same({ "ann", "bob" }, again.people)
    assert.equal("name-taken", newGuest("bob", "another-session-"):join(server.port).code)
    assert.same({ "left bob" }, texts { ann:next() })
    finish(server)
    server = start { journal = file }
    assert.same({ "ann" }, ann:join(server.port).people)
  end)

  it("begins anew when it kept nothing", function()
    local server = start()
    local ann = newGuest "ann"
    ann:join(server.port)
    ann:send(say "one", say "two")
    assert.same({ "1 one", "2 two" }, texts(ann:rest()))
    finish(server)
    local welcome = ann:join(start().port, { seq = 2 })
    assert.same({ { "ann" }, {} }, { welcome.people, welcome.history })
  end)

  --- A server of its own process on its journal. Returns the peer and the port.
  local function run(port)
    local peer = helper.peer("exec " .. helper.lua(("%s %d --journal %s"):format(
      helper.quote(script), port or 0, helper.quote(file))))
    peers[#peers + 1] = peer
    local line = peer:line()
    return peer, tonumber(line:match ":(%d+)/" or error(line))
  end

  it("after kill -9 has every acknowledged line once, and takes what was not acknowledged once #foreign", function()
    local peer, port = run()
    local ann = newGuest "ann"
    ann:join(port)
    for i = 1, 5 do ann:send(say("line " .. i)) end
    while ann.acked < 5 do ann:raw() end
    for i = 6, 10 do ann:send(say("line " .. i)) end -- and nobody knows how far these come
    wire.turn(0)
    peer:signal "KILL"
    peer:wait()
    ann.peer:finish()
    peer, port = run(port) -- the same port, at once
    local taken = ann:connect(port, { type = "join", room = "lobby", name = "ann", seq = 1 })
    assert.is_true(taken >= 5, "an acknowledged line is lost")
    local welcome = ann:next()
    assert.equal(taken, #welcome.history)
    ann.number = ann.acked
    for i = ann.acked + 1, 10 do ann:send(say("line " .. i)) end -- those it knows come again
    while ann.acked < 10 do ann:raw() end
    local bob = newGuest "bob"
    local expected = {}
    for i = 1, 10 do expected[i] = i .. " line " .. i end
    assert.same(expected, texts(bob:join(port).history))
    peer:signal "TERM"
    assert.equal(0, peer:wait())
  end)

  it("says where it keeps what is said, and that a journal is in use #foreign", function()
    local _, port = run()
    assert.matches((", kept in %s (Ctrl-C ends it)\n"):format(file), peers[1]:text(), 1, true)
    local output, status = helper.run(helper.lua(("%s 0 --journal %s"):format(helper.quote(script), helper.quote(file))))
    assert.equal(1, status)
    assert.matches("^chat: the journal [^\n]* is in use[^\n]*\n$", output)
    output, status = helper.run(("cd %s && %s"):format(helper.quote(folder), helper.lua(
      ("%s %d"):format(helper.quote(script), port))))
    assert.equal(1, status)
    assert.matches("^chat: [^\n]*" .. port .. "[^\n]*\n$", output)
  end)

  it("without SQLite says so, and keeps what is said in memory #foreign", function()
    helper.write(folder .. "/DBI.lua", "error 'not installed'")
    local command = ("cd %s && exec env LUA_INIT=\"package.path = './?.lua;' .. package.path\" %s"):format(
      helper.quote(folder), helper.lua(helper.quote(script) .. " %s"))
    local output, status = helper.run(command:format("0 --journal x.sqlite"))
    assert.equal(1, status)
    assert.matches("^chat: no SQLite for Lua here [^\n]*\n$", output)
    local server = start() -- a port that is free a moment later
    local port = server.port
    finish(server)
    local peer = helper.peer(command:format(port))
    peers[#peers + 1] = peer
    assert.matches("^chat: no SQLite for Lua here .*; what is said is kept in memory only$", peer:line())
    assert.matches("^chat room on [^ ]+ %(Ctrl%-C ends it%)$", peer:line())
  end)
end)
