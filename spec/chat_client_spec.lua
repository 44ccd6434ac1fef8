-- The terminal client: its input a pipe or a file, and, in tmux, with a terminal and somebody at the keys.

local cjson = require "cjson"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local reliable = require "lunawire.reliable"

local script = helper.root .. "/examples/chat/client.lua"
local chat = dofile(helper.root .. "/examples/chat/server.lua")
local client = dofile(script)

local servers, guests, peers = {}, {}, {}

local function await(what, try, seconds)
  local result = helper.await(try, lunawire.step, seconds)
  if not result then error("waited in vain for " .. (type(what) == "function" and what() or what), 3) end
  return result
end

--- Has this server closed when the test is over.
local function keep(server)
  local onclose = server.onclose
  servers[server] = true
  server.onclose = function(event)
    if onclose then onclose(event) end
    servers[server] = nil
  end
  return server
end

local function start(tls)
  return keep(chat.start { port = 0, tls = tls })
end

--- A server that speaks the protocol, and says what the spec wants.
local function serve()
  local server = keep(lunawire.WebSocketServer { port = 0, protocols = { reliable.protocol } })
  return server, reliable.server(server)
end

--- Somebody else in the room, who remembers everything that was said.
local function visit(server, name, room)
  local guest = { said = {}, events = {} }
  local socket = lunawire.WebSocket(("ws://127.0.0.1:%d/"):format(server.port))
  guest.socket = socket
  socket.onopen = function() socket:send(cjson.encode { type = "join", room = room or "lobby", name = name }) end
  socket.onmessage = function(event)
    local message = cjson.decode(event.data)
    table.insert(guest.events, message.type .. " " .. (message.name or message.text or ""))
    if message.type == "said" then table.insert(guest.said, message.from .. ": " .. message.text) end
  end
  function guest.say(text) socket:send(cjson.encode { type = "say", text = text }) end
  guests[#guests + 1] = guest
  await("the welcome", function() return guest.events[1] end)
  return guest
end

--- Starts the client with its input from this shell command; its last line is "ended STATUS".
local function run(server, input, options, environment)
  local command = ("%s | (%s %s; echo ended $?)"):format(input, environment or "", helper.lua(
    ("%s %s %s"):format(helper.quote(script), server.url, options or "")))
  local peer = helper.peer(command, 60)
  peers[#peers + 1] = peer
  return peer
end

--- All it printed, once it has ended.
local function finish(peer)
  await("the end", function() return peer:text():find("ended %d+\n$") end, 20)
  return peer:text()
end

after_each(function()
  for _, peer in ipairs(peers) do peer:stop() end
  for _, guest in ipairs(guests) do guest.socket:terminate() end
  for server in pairs(servers) do server:close() end
  await("the servers to close", function() return next(servers) == nil end)
  guests, peers = {}, {}
end)

describe("text of others", function()
  -- what somebody wrote, and what is shown
  for _, case in ipairs {
    { "an escape sequence", "\27[31mred\27[0m", "␛[31mred␛[0m" },
    { "the title of the window", "\27]0;mine\7", "␛]0;mine␇" },
    { "NUL, backspace, carriage return and newline", "\0\8\r\n", "␀␈␍␊" },
    { "DEL", "\127", "␡" },
    { "CSI as a C1 control", "\194\1552J", "\\x9b2J" },
    { "the first and the last C1 control", "\194\128\194\159", "\\x80\\x9f" },
    { "a right-to-left override", "\226\128\174", "\\u{202e}" },
    { "a line separator", "\226\128\168", "\\u{2028}" },
    { "isolates", "\226\129\166\226\129\169", "\\u{2066}\\u{2069}" },
  } do
    it("is shown, not obeyed: " .. case[1], function()
      assert.are.equal(case[3], client.visible(case[2]))
    end)
  end

  it("is not touched where there is nothing to obey", function()
    local text = "Grüße, 日本 👩‍👩‍👧‍👦 \194\160 é « “ …"
    assert.are.equal(text, client.visible(text))
  end)
end)

describe("a long line", function()
  it("is cut between words", function()
    assert.are.same({ "the quick ", "brown fox" }, client.rows("the quick brown fox", 10))
  end)

  it("is cut within a word that is too long", function()
    assert.are.same({ "abcde", "fghij", "kl" }, client.rows("abcdefghijkl", 5))
  end)

  it("gives wide characters two columns, and never cuts one", function()
    assert.are.same({ "日本", "語" }, client.rows("日本語", 5))
    assert.are.same({ "日", "本" }, client.rows("日本", 1))
  end)

  it("keeps every byte", function()
    local text = ("word 日本 ümlaut "):rep(50)
    for width = 1, 100 do assert.are.equal(text, table.concat(client.rows(text, width))) end
  end)
end)

describe("the client at a pipe #foreign", function()
  it("says every line in order, and ends when the last was said", function()
    local server = start()
    local ann = visit(server, "ann")
    local text = finish(run(server, "printf 'one\\ntwo\\n\\nthree without a newline'", "--name pipe"))
    assert.matches("ended 0\n$", text)
    assert.are.same({ "pipe: one", "pipe: two", "pipe: three without a newline" }, ann.said)
    await("the goodbye", function() return ann.events[#ann.events] == "left pipe" end)
  end)

  it("says more lines than the server takes in a second, none twice and none left out", function()
    local server = start()
    local ann = visit(server, "ann")
    finish(run(server, "seq 1 50", "--name pipe"))
    local expected = {}
    for i = 1, 50 do expected[i] = "pipe: " .. i end
    assert.are.same(expected, ann.said)
  end)

  it("reads a file as well", function()
    local server = start()
    local ann = visit(server, "ann")
    local name = os.tmpname()
    helper.write(name, "from a file\nto the end\n")
    local peer = run(server, "true", "--name file <" .. name)
    finish(peer)
    os.remove(name)
    assert.are.same({ "file: from a file", "file: to the end" }, ann.said)
  end)

  it("shows what others say, and who comes and goes", function()
    local server = start()
    local peer = run(server, "sleep 2", "--name pipe")
    await("the client", function() return peer:text():find("you are pipe", 1, true) end)
    local ann = visit(server, "ann")
    ann.say("hello pipe")
    await("the message", function() return peer:text():find("ann: hello pipe\n", 1, true) end)
    ann.socket:close(1000)
    await("the goodbye", function() return peer:text():find("* ann left\n", 1, true) end)
    assert.matches("* ann joined\n", peer:text(), 1, true)
    assert.matches("ended 0", finish(peer))
  end)

  it("does commands in their turn", function()
    local server = start()
    local ann, bob = visit(server, "ann"), visit(server, "bob", "garden")
    local text = finish(run(server, "printf 'here\\n/room garden\\nthere\\n/who\\n//slash\\n/nonsense\\n'", "--name pipe"))
    assert.are.same({ "pipe: here" }, ann.said)
    assert.are.same({ "pipe: there", "pipe: /slash" }, bob.said)
    assert.matches("* in # garden: bob, pipe\n", text, 1, true)
    assert.matches("there is no /nonsense", text, 1, true)
  end)

  it("makes one line of tabs and control characters in its input", function()
    local server = start()
    local ann = visit(server, "ann")
    finish(run(server, "printf 'a\\tb\\033[1mc\\n'", "--name pipe"))
    assert.are.same({ "pipe: a b [1mc" }, ann.said)
  end)

  it("tries another name when its own was not chosen, and gives up when it was", function()
    local server = start()
    local ann = visit(server, "ann")
    finish(run(server, "echo hello", nil, "USER=ann"))
    assert.are.same({ "ann2: hello" }, ann.said)
    local text = finish(run(server, "echo hello", "--name ann"))
    assert.matches("cannot join # lobby as ann", text, 1, true)
    assert.matches("ended 1\n$", text)
  end)

  it("says what was not taken, and ends with status 1", function()
    local server = start()
    local ann = visit(server, "ann")
    local text = finish(run(server, "printf '%02001d\\nshort\\n' 0", "--name pipe"))
    assert.matches("not said (text is longer than 2000 characters)", text, 1, true)
    assert.matches("ended 1\n$", text)
    assert.are.same({ "pipe: short" }, ann.said)
  end)

  it("comes back when the line is lost, and shows nothing twice", function()
    local server = start()
    local ann = visit(server, "ann")
    local peer = run(server, "(echo one; sleep 4; echo two)", "--name pipe")
    await("the first line", function() return ann.said[1] end)
    for socket in server:each() do
      if socket.protocol ~= "" then socket:terminate() end
    end
    await("the reconnection", function() return peer:text():find("* the line is back\n", 1, true) end)
    local text = finish(peer)
    await("the goodbye", function() return ann.events[#ann.events] == "left pipe" end)
    assert.are.same({ "pipe: one", "pipe: two" }, ann.said)
    assert.are.same({ "welcome ", "joined pipe", "said one", "said two", "left pipe" }, ann.events) -- it was never gone
    for _, words in ipairs { "pipe: one", "pipe: two", "; trying again in 1 s, until it is back\n" } do
      local _, count = text:gsub(words, "")
      assert.are.equal(1, count, words)
    end
    assert.matches("ended 0\n$", text)
  end)

  it("ends with status 1 when there is no server", function()
    local server = start()
    local url = server.url
    server:close()
    lunawire.step(50)
    local text = finish(run({ url = url }, "echo hello"))
    assert.matches("chat: connect to " .. url, text, 1, true)
    assert.matches("lines not said: 1", text, 1, true)
    assert.matches("ended 1\n$", text)
  end)

  it("comes over wss, and trusts whom it is told to", function()
    local certs = pki.new()
    local server = start { cert = certs:cert "good", key = certs:key "good" }
    local fine = finish(run(server, "echo safely", "--name Ada --ca " .. helper.quote(certs:cert "root")))
    assert.matches("Ada: safely\n", fine)
    assert.matches("ended 0\n$", fine)
    local distrustful = run(server, "echo never", "--name Bo --ca " .. helper.quote(certs:cert "stranger"))
    await("a refusal", function() return distrustful:text():find("unable to get local issuer certificate", 1, true) end)
    assert.matches("ca \"/nowhere%.pem\": No such file", finish(run(server, "echo never", "--ca /nowhere.pem")))
    local plain = run({ url = server.url:gsub("^wss", "ws") }, "echo never")
    await("the server's words", function()
      return plain:text():find("400 Bad Request: this port speaks TLS: the URL begins with https:// or wss://", 1, true)
    end)
    certs:close()
  end)

  it("obeys nothing a server sends, and passes over what is no message", function()
    local evil = "\27]0;mine\7\194\155 2J\226\128\174"
    local server, hub = serve()
    hub.onsession = function(event)
      local message = cjson.decode(event.greeting)
      local session = event.session
      session:send(cjson.encode { type = "welcome", room = evil, you = message.name, people = { evil, message.name },
        history = { { type = "said", seq = 1, from = evil, text = evil, time = 1 } } })
      for _, nonsense in ipairs {
        "", "[]", "null", "{", '{"type":{}}', '{"type":"said"}', '{"type":"said","seq":{},"from":null,"text":[1]}',
        '{"type":"welcome","room":"x","you":"y","people":[1],"history":[]}', '{"type":"joined","name":7}',
        '{"type":"error"}', '{"type":"unheard of"}',
      } do session:send(nonsense) end
      session:send(cjson.encode { type = "joined", name = evil })
      session:send(cjson.encode { type = "left", name = evil })
    end
    hub.onmessage = function(event)
      local message = cjson.decode(event.data)
      event.session:send(cjson.encode { type = "error", code = evil, message = evil, id = message.id })
      event.session.socket:close(4000, "bye \27[2J")
    end
    local text = finish(run(server, "printf '/who\\nhello\\n'", "--name pipe"))
    assert.is_nil(text:find("[%z\1-\9\11-\31\127]"))
    assert.is_nil(text:find("\194[\128-\159]"))
    assert.is_nil(text:find("\226\128\174", 1, true))
    local shown = client.visible(evil)
    for _, line in ipairs {
      "you are pipe in # " .. shown, " " .. shown .. ": " .. shown, "* " .. shown .. " joined", "* " .. shown .. " left",
      "* in # " .. shown .. ": ", "not said (" .. shown .. "): hello",
    } do assert.matches(line, text, 1, true) end
  end)

  it("takes only its own words for said, and says them again when it was too fast", function()
    local heard = {}
    local server, hub = serve()
    hub.onsession = function(event)
      event.session:send('{"type":"welcome","room":"lobby","you":"pipe","people":["pipe"],"history":[]}')
    end
    hub.onmessage = function(event)
      local message, session = cjson.decode(event.data), event.session
      heard[#heard + 1] = message.text
      if #heard == 1 then
        session:send('{"type":"said","seq":1,"from":"ann","text":"hello","time":1}')
        session:send(cjson.encode { type = "error", code = "slow-down", message = "too fast", id = message.id })
      else
        session:send(cjson.encode { type = "said", seq = 2, from = "pipe", text = message.text, time = 1, id = message.id })
      end
    end
    assert.matches("pipe: hello\nended 0\n$", finish(run(server, "echo hello", "--name pipe")))
    assert.are.same({ "hello", "hello" }, heard)
  end)

  it("says what it takes for an address", function()
    local output, status = helper.run(helper.lua(helper.quote(script) .. " nonsense </dev/null"))
    assert.are.equal(1, status)
    assert.matches("^chat: [^\n]+\n$", output)
  end)
end)

-- A terminal of 60 columns and 14 rows ---------------------------------------------------------------------------------

local function hasTmux()
  local _, status = helper.run("command -v tmux")
  return status == 0
end

describe("the client in a terminal #foreign", function()
  if not hasTmux() then
    pending("needs tmux")
    return
  end

  local name, folder
  local count = 0

  local function tmux(arguments)
    return (helper.run(("env LC_ALL=C.UTF-8 tmux -L %s -f /dev/null %s"):format(name, arguments)))
  end

  local function screen()
    return tmux "capture-pane -p"
  end

  --- Types this text, key by key as far as a terminal goes.
  local function type_(text)
    tmux("send-keys -l -- " .. helper.quote(text))
  end

  local function press(...)
    tmux("send-keys " .. table.concat({ ... }, " "))
  end

  --- Waits until the screen shows this text.
  local function see(text)
    await(function() return ("`%s` on the screen:\n%s"):format(text, screen()) end, function()
      return screen():find(text, 1, true)
    end)
  end

  local function open(server, options)
    local command = ("cd %s; stty -a >before; %s; echo ended $?; stty -a >after; cmp before after && echo restored; sleep 60")
      :format(helper.quote(folder), helper.lua(("%s ws://127.0.0.1:%d/ %s"):format(
        helper.quote(script), server.port, options or "--name tess")))
    tmux("new-session -d -x 60 -y 14 " .. helper.quote(command))
    see("you are")
  end

  before_each(function()
    count = count + 1
    folder = helper.directory()
    name = ("lunawire-%s-%d"):format(folder:match("[^/]*$"), count)
  end)

  after_each(function()
    tmux "kill-server"
    helper.remove(folder)
  end)

  it("says what is typed, and shows it once, with its time", function()
    local server = start()
    local ann = visit(server, "ann")
    open(server)
    type_ "hello from a terminal"
    press "Enter"
    see "tess: hello from a terminal"
    await("the line", function() return ann.said[1] == "tess: hello from a terminal" end)
    local _, times = screen():gsub("hello from a terminal", "")
    assert.are.equal(1, times)
  end)

  it("puts what others say above the line, and leaves that as it is", function()
    local server = start()
    local ann = visit(server, "ann")
    open(server)
    type_ "half of a"
    see "> half of a"
    for i = 1, 20 do
      ann.say("message " .. i .. (i % 5 == 0 and (" which is so long that it needs more than one row of this terminal") or ""))
      helper.await(function() return false end, lunawire.step, 0.06)  -- twenty a second is the limit
    end
    see "message 20"
    local rows = {}
    for row in screen():gmatch("[^\n]+") do rows[#rows + 1] = row end
    assert.are.equal("> half of a", rows[#rows])
    assert.matches("ann: message 20 which", rows[#rows - 2], 1, true)
    type_ " line 日本"
    press("Left", "Left", "BSpace", "x", "Enter")
    see "tess: half of a linex日本"
  end)

  it("does so above a line that is longer than the terminal is wide", function()
    local server = start()
    local ann = visit(server, "ann")
    open(server)
    local long = ("0123456789"):rep(9)
    type_(long)
    see "456789"
    ann.say("in between")
    see "ann: in between"
    local rows = {}
    for row in screen():gmatch("[^\n]+") do rows[#rows + 1] = row end
    assert.matches("ann: in between$", rows[#rows - 1])
    assert.matches("^[<>].*6789$", rows[#rows])
    press "Enter"
    await("the long line", function() return ann.said[2] == "tess: " .. long end)
  end)

  it("brings earlier lines back with the arrow key", function()
    local server = start()
    local ann = visit(server, "ann")
    open(server)
    type_ "again"
    press "Enter"
    await("the line", function() return ann.said[1] end)
    press("Up", "Enter")
    await("it once more", function() return ann.said[2] == "tess: again" end)
  end)

  for _, key in ipairs { "C-c", "C-d" } do
    it("ends at once with " .. key .. ", and the terminal is as it was", function()
      local server = start()
      local ann = visit(server, "ann")
      open(server)
      if key == "C-c" then type_ "half of a" end
      press(key)
      see "restored"
      assert.matches("ended 0\n", screen(), 1, true)
      await("the goodbye", function() return ann.events[#ann.events] == "left tess" end)
    end)
  end

  it("ends with /quit", function()
    local server = start()
    open(server)
    type_ "/quit"
    press "Enter"
    see "restored"
    assert.matches("ended 0\n", screen(), 1, true)
  end)

  it("says that a name was taken over, or that it was not", function()
    local server = start()
    local ann = visit(server, "ann")
    ann.say "hello" -- so that there is something on the screen, and the room is known
    open(server)
    see "ann: hello"
    type_ "/name theo"
    press "Enter"
    see "* you are theo in # lobby"
    type_ "/name ann"
    press "Enter"
    see "takes another"
    type_ "/who"
    press "Enter"
    see "* in # lobby: ann, theo"
  end)

  it("takes another name when its own is in use", function()
    local server = start()
    visit(server, "ann")
    tmux("new-session -d -x 60 -y 14 " .. helper.quote(helper.lua(
      ("%s ws://127.0.0.1:%d/ --name ann"):format(helper.quote(script), server.port))))
    see "takes another"
    type_ "/name tess"
    press "Enter"
    see "you are tess"
  end)
end)
