--- client.lua -- the chat room in a terminal.
--
--   lua5.4 examples/chat/client.lua [URL] [--name NAME] [--room ROOM] [--ca FILE]
--
-- In a terminal, readline edits the line and what others say appears above it. When the input is a pipe or a file,
-- every line of it is said, in order, and the client ends when the server has the last one in its journal.
-- The conversation is a session of lunawire.reliable: it survives the line, and the server.
-- What others wrote is shown, never obeyed: their control characters appear as signs.

local function need(name, advice)
  local found, module = pcall(require, name)
  if found then return module end
  io.stderr:write("chat: cannot load ", name, "; ", advice, "\n", tostring(module):match("[^\n]*"), "\n")
  os.exit(1)
end

local lunawire = need("lunawire", 'in a checkout, type make, then eval "$(make -s env)"')
local reliable = need("lunawire.reliable", 'in a checkout, type make, then eval "$(make -s env)"')
local cjson = need("cjson", "install lua-cjson (Debian: apt install lua-cjson; else: luarocks install lua-cjson)")
local argparse = need("argparse", "install it (Debian: apt install lua-argparse; else: luarocks install argparse)")

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local codePoints = dofile(here .. "/room.lua").codePoints

local SHOWN = 20           -- messages of the past that are shown on coming into a room
local BEAT = 15000         -- how often the server is asked for a sign of life ...
local PATIENCE = 10000     -- ... and how long it may take for one
local ATTEMPTS = 3         -- to find the server again, when nobody watches
local UNDER_WAY = 100      -- lines that may be on their way at the same time; the others wait here
local FAREWELL = 300       -- how long the server has to answer our Close at the end

-- Text of others -----------------------------------------------------------------------------------------------------

--- The same text with a visible sign for everything a terminal would obey: C0 and DEL as pictures (an escape is ␛),
-- C1, the line separators and what turns the writing direction around as numbers.
local function visible(text)
  text = tostring(text):gsub("[%z\1-\31\127]", function(control)
    local code = control:byte()
    return "\226\144" .. string.char(code == 127 and 0xA1 or 0x80 + code)
  end)
  text = text:gsub("\194([\128-\159])", function(tail) return ("\\x%02x"):format(tail:byte()) end)
  text = text:gsub("\226\128([\168-\174])", function(tail) return ("\\u{20%02x}"):format(tail:byte() - 0x80) end)
  text = text:gsub("\226\129([\166-\169])", function(tail) return ("\\u{20%02x}"):format(tail:byte() - 0x40) end)
  return text
end

-- The screen ---------------------------------------------------------------------------------------------------------

local screen = {
  colours = false,   -- whether bold and faint may be used
  editing = false,   -- whether readline edits the row with the cursor
  width = 80,
  measured = nil,    -- when the width was last asked for
}

--- The width of the terminal. Asked at most once a second, since it takes a process to ask.
function screen.columns()
  local now = lunawire.now()
  if not screen.measured or now - screen.measured > 1000 then
    screen.measured = now
    local pipe = io.popen("stty size </dev/tty 2>/dev/null")
    local answer = pipe and pipe:read("*a") or ""
    if pipe then pipe:close() end
    screen.width = tonumber(answer:match("^%d+ (%d+)")) or screen.width
  end
  return screen.width > 0 and screen.width or 80
end

--- Cuts a text into pieces that fit one row each, between words where it can. Everything past U+1100 is taken for two
-- columns wide: a row that is a little short does no harm, one that is too long would.
local function rows(text, width)
  local pieces, from, used = {}, 1, 0   -- the row that is being filled begins at `from`
  local word, before = nil, 0           -- where its last word begins, and the columns up to there
  local at = 1
  for _, character in ipairs(codePoints(text) or {}) do
    local columns = character.point >= 0x1100 and 2 or 1
    if used + columns > width and used > 0 then
      local cut = word or at
      pieces[#pieces + 1] = text:sub(from, cut - 1)
      used = word and used - before or 0
      from, word = cut, nil
    end
    used = used + columns
    at = at + #character.bytes
    if character.bytes == " " then word, before = at, used end
  end
  pieces[#pieces + 1] = text:sub(from)
  return pieces
end

local function styled(style, text)
  return screen.colours and text ~= "" and "\27[" .. style .. "m" .. text .. "\27[0m" or text
end

-- Puts a row above the one that is being edited, of which we know only that it is the one with the cursor: go down (a
-- screen that is full scrolls) and up again, so that there is a row below; remember the place; insert an empty row,
-- which moves the edited one down; write without wrapping; go back to the place and one down, to where the cursor now
-- belongs. readline notices nothing of all that.
local ABOVE, BELOW = "\27D\27[A\0277\r\27[L\27[?7l", "\27[?7h\0278\27[B"

--- Writes a line: `head` stands out, `body` does not; `faint` says that nobody has to read it.
function screen.write(head, body, faint)
  local text = head .. body
  local pieces = screen.editing and rows(text, screen.columns()) or { text }
  local out = {}
  for i, piece in ipairs(pieces) do
    if faint then
      piece = styled("2", piece)
    elseif i == 1 and #head > 0 and #head <= #piece then
      piece = styled("1", head) .. piece:sub(#head + 1)
    end
    out[i] = screen.editing and ABOVE .. piece .. BELOW or piece .. "\n"
  end
  io.stdout:write(table.concat(out))
  io.stdout:flush()
end

function screen.note(...)
  screen.write("", "* " .. table.concat({ ... }), true)
end

function screen.said(message)
  local time = type(message.time) == "number" and os.date("%H:%M", math.floor(message.time / 1000)) or "--:--"
  screen.write(time .. " " .. visible(message.from) .. ":", " " .. visible(message.text))
end

-- The keyboard -------------------------------------------------------------------------------------------------------

local function succeeds(shellCommand)
  local answer = os.execute(shellCommand)
  return answer == true or answer == 0  -- Lua 5.1 gives the number
end

--- Whether a person sits at both ends.
local function isTerminal()
  return succeeds("test -t 0 && test -t 1")
end

--- readline, if it is installed and the terminal is one it can work with.
local function findReadline()
  local found, readline = pcall(require, "readline")
  if not found then return nil end
  if (os.getenv("TERM") or "dumb") == "dumb" or not succeeds(": 2>/dev/null </dev/tty") then return nil end
  return readline
end

local function isFile(name)
  local file = io.open(name)
  if file then file:close() end
  return file ~= nil
end

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Rows can be put above a line that takes one row, so readline has to scroll a long line sideways instead of wrapping
-- it. It takes that wish from an inputrc file only, and the name of the file from the environment only, which a Lua
-- script cannot change for itself. So the script runs itself once more, with this variable set for a sign.
local WISH = "LUNAWIRE_CHAT_INPUTRC"

--- Runs this script again as readline should find things, and returns the status it ended with; nil if that failed.
local function runWithWish()
  local name = os.tmpname()
  local file = io.open(name, "w")
  if not file then return nil end
  local usual = os.getenv("INPUTRC") or (os.getenv("HOME") or "") .. "/.inputrc"
  if not isFile(usual) then usual = "/etc/inputrc" end
  file:write("$include ", usual, "\nset horizontal-scroll-mode on\n")
  file:close()

  local words, first = {}, 0
  while arg[first - 1] do first = first - 1 end
  for i = first, #arg do words[#words + 1] = quoted(arg[i]) end
  local answer, _, status = os.execute(("INPUTRC=%s %s=%s exec %s"):format(
    quoted(name), WISH, quoted(name), table.concat(words, " ")))
  os.remove(name)
  if type(answer) == "number" then return math.floor(answer / 256) end  -- Lua 5.1
  return status
end

-- The state of the terminal, as stty names it; nil when it cannot be asked.
local function terminalState()
  local pipe = io.popen("stty -g </dev/tty 2>/dev/null")
  local state = pipe and pipe:read("*l")
  if pipe then pipe:close() end
  return state and state:match("^[%w:=]+$")
end

local function setTerminal(state)
  if state then os.execute("stty " .. quoted(state) .. " </dev/tty 2>/dev/null") end
end

--- Lines from readline, edited in the row with the cursor.
local function editLines(readline, online)
  local lines, ended = {}, false
  local before, during = terminalState(), nil
  readline.set_options { histfile = "", auto_add = false, completion = false }

  -- The handler runs inside readline, so it only takes the line down, and the row away: what was said comes back from
  -- the server, with its time. The history must have it before readline begins the next line.
  local function take(line)
    if line then
      lines[#lines + 1] = line
      if line:match("%S") then readline.add_history(line) end
      io.stdout:write("\27[A\r\27[K")
      io.stdout:flush()
    else
      ended = true
    end
  end

  local function install()
    readline.handler_install("> ", take)
    during = terminalState()
    screen.editing = true
  end

  local watch = lunawire.watch(0, "r", function()
    readline.read_char()
    if ended then return online(nil) end
    while lines[1] do online(table.remove(lines, 1)) end
  end)

  install()
  return {
    -- After a stop by Ctrl-Z the shell has put the terminal back into its own mode.
    continue = function()
      setTerminal(during)
      install()
    end,
    -- readline's own handler_remove closes the terminal before it restores it (lua-readline 3.2): done without it.
    stop = function()
      watch:close()
      screen.editing = false
      setTerminal(before)
      io.stdout:write("\27[?2004l\r\27[K")
      io.stdout:flush()
    end,
  }
end

--- Lines as they come from a pipe, a file, or a terminal without readline.
local function readLines(online)
  local piece, watch = {}, nil
  io.stdin:setvbuf("no")  -- what waits in a buffer would not make the descriptor ready

  local function line()
    local text = table.concat(piece)
    piece = {}
    online(text)
  end

  local function take(character)
    if character == "\n" then
      line()
    elseif character then
      piece[#piece + 1] = character
    else
      if watch then watch:close() end
      if piece[1] then line() end
      online(nil)
    end
    return character
  end

  local watchable
  watchable, watch = pcall(lunawire.watch, 0, "r", function()
    take(io.stdin:read(1))  -- more might not be there yet, and would be waited for
  end)
  if not watchable then  -- a plain file: always ready, so it is read here and now
    watch = nil
    while take(io.stdin:read(1)) do end
  end
  return { stop = function() if watch then watch:close() end end }
end

--- Starts reading lines from wherever they come; `online(nil)` is the end.
local function startInput(online, person)
  local readline = person and findReadline()
  if readline then
    screen.colours = not os.getenv("NO_COLOR")
    return editLines(readline, online)
  end
  if person and not pcall(require, "readline") then
    screen.note("to edit the line while others talk, install lua-readline",
      " (Debian: apt install lua-readline; else: luarocks install readline)")
  end
  return readLines(online)
end

-- The conversation ---------------------------------------------------------------------------------------------------

local HELP = {
  "what you type is said to everybody in the room; a line that starts with / is a command:",
  "/who           who is here",
  "/room NAME     go to another room",
  "/name NAME     take another name",
  "/quit          leave (also Ctrl-D and Ctrl-C)",
  "//something    say a line that starts with a /",
}

local chat = {
  url = nil,
  ca = nil,            -- whom to trust instead of the system's authorities
  want = nil,          -- { room, name }: where we want to be
  ownName = false,     -- the name was chosen by the person, so no other is tried by itself
  socket = nil,        -- a ReconnectingWebSocket ...
  link = nil,          -- ... and the session over it
  seat = nil,          -- { room, name }: where the server has us, as far as we know
  joined = false,      -- we are in, though the line may be down ...
  joining = false,     -- ... or have asked for a place
  room = nil,          -- the room whose messages are on the screen
  name = nil,
  people = {},
  lastSeq = 0,         -- the last of those messages ...
  lastTime = nil,      -- ... and when it was said: in a room that has started anew, another was
  queue = {},          -- lines still to be dealt with
  flying = {},         -- those the server has not acknowledged: { id, text }
  back = {},           -- those it has sent back, to be said before the queue
  counter = 0,
  down = false,        -- the person knows that the line is lost
  problem = nil,       -- what is known of why
  person = true,       -- somebody watches
  ended = false,       -- the input has ended
  leaving = false,
  status = 0,
  input = nil,
}

-- Where our ids begin; two clients are told apart by their names, so this need not be unique in the world.
local idPrefix = ("t%x-%x-"):format(os.time(), math.random(0, 0xFFFFFF))

local function leave(status)
  if chat.leaving then return lunawire.stop() end
  chat.leaving = true
  chat.status = status or chat.status
  if chat.input then chat.input.stop() end
  chat.link:close(1000)
  lunawire.setTimeout(lunawire.stop, FAREWELL)
end

--- Gives up; for when nobody is there to decide otherwise.
local function fail(...)
  if chat.input then chat.input.stop() end
  io.stderr:write("chat: ", table.concat({ ... }), "\n")
  leave(1)
end

local function join()
  if chat.leaving then return end
  chat.joining = true
  chat.link:send(cjson.encode { type = "join", room = chat.want.room, name = chat.want.name })
end

--- What a line says of us when the server has forgotten us: where we were, and what we have.
local function greeting()
  local at = chat.seat or chat.want
  return cjson.encode { type = "join", room = at.room, name = at.name, seq = at.room == chat.room and chat.lastSeq or nil }
end

--- Takes a line out of those under way; nil if it is none of them.
local function land(id)
  for i, line in ipairs(chat.flying) do
    if line.id == id then return table.remove(chat.flying, i) end
  end
end

local work

local function say(text)
  chat.counter = chat.counter + 1
  local id = idPrefix .. chat.counter
  chat.flying[#chat.flying + 1] = { id = id, text = text }
  chat.link:send(cjson.encode { type = "say", text = text, id = id }, nil, function(receipt)
    if receipt.acknowledged and land(id) then work() end
  end)
end

--- Lines that came back are said again, before the others.
local function sayAgain()
  for i = #chat.back, 1, -1 do table.insert(chat.queue, 1, chat.back[i]) end
  chat.back = {}
  work()
end

local commands = {}

function commands.help()
  for _, line in ipairs(HELP) do screen.note(line) end
end

function commands.quit()
  leave(0)
end

function commands.who()
  if not chat.joined then return screen.note("not in a room yet") end
  local names = {}
  for i, name in ipairs(chat.people) do names[i] = visible(name) end
  screen.note("in # ", visible(chat.room), ": ", table.concat(names, ", "))
end

local function moveTo(room, name)
  chat.want = { room = room, name = name }
  if not chat.link.connected then screen.note("not connected; it will be done when the line is back") end
  if chat.joined or chat.link.connected then join() end  -- else the greeting will say so
end

function commands.room(room)
  if room == "" then return screen.note("which room? /room NAME") end
  moveTo(room, chat.want.name)
end

function commands.name(name)
  if name == "" then return screen.note("which name? /name NAME") end
  chat.ownName = true
  moveTo(chat.want.room, name)
end

local function command(line)
  local name, argument = line:match("^/(%S*)%s*(.-)%s*$")
  local handler = commands[name]
  if handler then return handler(argument) end
  screen.note("there is no /", visible(name), "; /help lists what there is")
end

--- Deals with lines that wait, as far as it can be done now.
function work()
  while chat.queue[1] and chat.joined and not chat.joining and not chat.back[1] and not chat.leaving do
    local line = chat.queue[1]
    local isCommand = line:match("^/[^/]") or line == "/"
    if #chat.flying >= (isCommand and 1 or UNDER_WAY) then return end
    table.remove(chat.queue, 1)
    if isCommand then
      command(line)
    else
      say((line:gsub("^//", "/")))
    end
  end
  if chat.ended and chat.joined and not (chat.queue[1] or chat.flying[1] or chat.back[1] or chat.joining) then leave() end
end

--- A line from the person, or nil at the end of the input.
local function take(line)
  if line == nil then
    if chat.person then return leave(0) end
    chat.ended = true
    return work()
  end
  line = line:gsub("[%z\1-\31\127]", " ")  -- a tab, the newlines of a pasted text: a message is one line
  if not line:match("%S") then return end
  if not codePoints(line) then
    if not chat.person then chat.status = 1 end
    return screen.note("not said: a line that is not UTF-8")
  end
  -- A person's command works at once, whatever else may be waiting; in a pipe everything has its turn.
  if chat.person and (line:match("^/[^/]") or line == "/") then return command(line) end
  chat.queue[#chat.queue + 1] = line
  if chat.person and not (chat.joined and chat.link.connected) then
    screen.note("will be said when the line is there: ", visible(line))
  end
  work()
end

-- What the server says

-- The fields a message must have to be one. What a server sends beside the protocol is passed over.
local shapes = {
  welcome = { room = "string", you = "string", people = "table", history = "table" },
  said = { seq = "number", from = "string", text = "string" },
  joined = { name = "string" },
  left = { name = "string" },
  error = { code = "string", message = "string" },
}

local function hasShape(message, shape)
  if type(message) ~= "table" or not shape then return false end
  for field, kind in pairs(shape) do
    if type(message[field]) ~= kind then return false end
  end
  local time = message.time
  if time ~= nil and (type(time) ~= "number" or not (time >= 0 and time < 1e14)) then return false end -- what os.date takes
  for _, said in ipairs(shape.history and message.history or {}) do
    if not hasShape(said, shapes.said) then return false end
  end
  for _, name in ipairs(shape.people and message.people or {}) do
    if type(name) ~= "string" then return false end
  end
  return true
end

--- Shows a message of the room, unless it is on the screen.
local function show(said)
  if said.seq <= chat.lastSeq then return end
  chat.lastSeq, chat.lastTime = said.seq, said.time
  screen.said(said)
end

--- Whether these are of the same room that is on the screen: its last message is the first of them, or they begin later.
local function goesOn(history)
  local first, last = history[1], history[#history]
  return last and last.seq >= chat.lastSeq and (first.seq ~= chat.lastSeq or first.time == chat.lastTime)
end

local function welcome(message)
  local news = chat.joined or message.you ~= chat.name  -- the person asked to be called so; else the line is back
  local back = message.room == chat.room
  if not back then chat.lastSeq = 0 end
  chat.room, chat.name, chat.people = message.room, message.you, message.people
  chat.want = { room = message.room, name = message.you }
  chat.seat = chat.want
  chat.joined, chat.joining = true, false
  local history = message.history
  if chat.lastSeq > 0 and not goesOn(history) then
    screen.note("the room has started anew")
    chat.lastSeq, back = 0, false
  end
  if not back then
    screen.note("you are ", visible(chat.name), " in # ", visible(chat.room), ", with ", #chat.people - 1,
      " more; /help tells what you can do")
    for i = math.max(1, #history - SHOWN + 1), #history do show(history[i]) end
  else
    if news then screen.note("you are ", visible(chat.name), " in # ", visible(chat.room)) end
    if history[1] and history[1].seq > chat.lastSeq + 1 then screen.note("some messages in between are no longer remembered") end
    for _, said in ipairs(history) do show(said) end
  end
  sayAgain()
end

local function without(list, value)
  local rest = {}
  for _, each in ipairs(list) do
    if each ~= value then rest[#rest + 1] = each end
  end
  return rest
end

local hear = { welcome = welcome }

function hear.said(message)
  if chat.joined then show(message) end
end

function hear.joined(message)
  chat.people = without(chat.people, message.name)
  chat.people[#chat.people + 1] = message.name
  screen.note(visible(message.name), " joined")
end

function hear.left(message)
  chat.people = without(chat.people, message.name)
  screen.note(visible(message.name), " left")
end

--- A join was refused.
local function refused(code, message)
  local taken = code == "name-taken"
  chat.joining = false
  if code == "slow-down" then
    return lunawire.setTimeout(join, 1000)
  end
  if taken and not chat.ownName and not chat.joined then
    local stem, number = chat.want.name:match("^(.-)(%d*)$")
    chat.want.name = stem .. (tonumber(number) or 1) + 1
    return join()
  end
  if not chat.person then
    return fail("cannot join # ", visible(chat.want.room), " as ", visible(chat.want.name), ": ", visible(message))
  end
  screen.note(visible(message), taken and "; /name NAME takes another" or "")
  if chat.joined then chat.want = { room = chat.room, name = chat.name } end
end

--- A line was not taken as it came. Those that were too fast, or too early, are said again; the server had no other
-- reason to send them back.
local function returned(line, code, message)
  if code == "slow-down" or code == "not-joined" then
    chat.back[#chat.back + 1] = line.text:gsub("^/", "//")
    if code == "slow-down" then lunawire.setTimeout(sayAgain, 500) end
    return
  end
  local start = rows(line.text, 40)
  screen.note("not said (", visible(message), "): ", visible(start[1]), start[2] and "…" or "")
  if not chat.person then chat.status = 1 end
end

function hear.error(message)
  local line = message.id and land(message.id)
  if line then
    returned(line, message.code, message.message)
  elseif chat.joining then
    refused(message.code, message.message)
  else
    screen.note(visible(message.message))
  end
end

-- The line

local function heard(event)
  local ok, message = pcall(cjson.decode, event.data)
  local kind = ok and type(message) == "table" and type(message.type) == "string" and message.type
  if kind and hear[kind] and hasShape(message, shapes[kind]) then
    hear[kind](message)
    work()
  end
end

--- The server is there. What it may have forgotten, our greeting has told it.
local function ready(event)
  if chat.down then screen.note("the line is back") end
  chat.down, chat.problem = false, nil
  if event.continued then return end
  chat.joined, chat.joining, chat.seat = false, true, nil
end

--- Why there is no line, in words.
local function why(event)
  if chat.problem then return visible(chat.problem) end
  return ("the line to %s was lost (%s)"):format(chat.url, event.reason ~= "" and visible(event.reason) or event.code)
end

--- What went wrong, and the first line of what a server that refuses says about it.
local function reason(event)
  local line = event.body and event.body:match "^[^\n<]+"
  return line and event.message .. ": " .. line:sub(1, 200) or event.message
end

local function connect()
  local socket = lunawire.ReconnectingWebSocket(chat.url, reliable.protocol, {
    closeTimeout = 1000,
    tls = chat.ca and { ca = chat.ca },
    heartbeat = { interval = BEAT, timeout = PATIENCE },
    maxRetries = not chat.person and ATTEMPTS or nil,
    minUptime = not chat.person and 1 or nil,
  })
  local last
  chat.socket, chat.link = socket, reliable.client(socket, { greeting = greeting })
  socket.onerror = function(event) chat.problem = reason(event) end
  socket.onclose = function(event) last = event end
  socket.onreconnecting = function(event)
    if chat.leaving or chat.down then return end
    chat.down = true
    screen.note(why(last), "; trying again in ", ("%.0f s"):format(math.max(1, event.delay / 1000)), ", until it is back")
  end
  chat.link.onready = ready
  chat.link.onmessage = heard
  chat.link.onerror = function(event) chat.problem = event.message end
  chat.link.onclose = function(event)
    if chat.leaving then return lunawire.stop() end
    fail(why(event), "; lines not said: ", #chat.flying + #chat.back + #chat.queue)
  end
end

-- The script ---------------------------------------------------------------------------------------------------------

local function parseArguments(arguments)
  local parser = argparse("client.lua", "The chat room in a terminal.")
  parser:argument("url", "Address of the chat room."):args("?"):default("ws://127.0.0.1:8080/")
  parser:option("-n --name", "Your name in the room.")
  parser:option("-r --room", "The room to go to.", "lobby")
  parser:option("--ca", "Whom to trust at a wss:// address, instead of the system's authorities (PEM)."):argname("FILE")
  return parser:parse(arguments)
end

local function main(arguments)
  local options = parseArguments(arguments)
  local wish = os.getenv(WISH)
  chat.person = isTerminal()
  if chat.person and not wish and findReadline() then
    local status = runWithWish()
    if status then return status end
  end

  chat.url = options.url
  chat.ca = options.ca
  chat.ownName = options.name ~= nil
  chat.want = { room = options.room, name = options.name or os.getenv("USER") or "guest" }

  for _, signal in ipairs { "INT", "TERM", "HUP" } do
    lunawire.onsignal(signal, function() leave(0) end)
  end
  local ok, problem = pcall(connect)
  if not ok then  -- no address at all, or nobody to trust in that file
    io.stderr:write("chat: ", tostring(type(problem) == "table" and problem.message or problem), "\n")
    return 1
  end
  chat.input = startInput(take, chat.person)
  if wish then os.remove(wish) end
  if chat.input.continue then lunawire.onsignal("CONT", chat.input.continue) end

  local fine, trouble = xpcall(lunawire.run, debug.traceback)
  if not fine then
    if not chat.leaving and chat.input then chat.input.stop() end
    io.stderr:write("chat: ", tostring(trouble), "\n")
    return 1
  end
  return chat.status
end

if arg and debug.getinfo(1, "S").source == "@" .. tostring(arg[0]) then os.exit(main(arg), true) end

return { visible = visible, rows = rows }
