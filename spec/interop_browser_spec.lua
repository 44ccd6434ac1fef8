-- Chromium at our server, with nothing but the page's own WebSocket (spec/peers/chromium.js). Then
-- scripts that it and our own client follow, each at our server: both must hear the same.

local foreign = require "spec.foreign"
local lunawire = require "lunawire"
local rules = require "spec.foreign_rules"
local tcp = require("lunawire.probe").tcp

local traits = { name = "Chromium", closesWithout = true, codes = { 1000, 3000, 3999, 4000, 4999 }, many = 50 }

-- --- scripts -------------------------------------------------------------------------------------------

-- A script says what is done right after the constructor ("now") and in each handler: "send TEXT",
-- "bytes COUNT", "close [CODE [REASON]]", "look", which writes down readyState and bufferedAmount, and
-- "url". In addresses, PORT stands for the server's.
-- `hears` is what the browser writes down. Where our client may hear something else, `ours` has it,
-- and `because` the reason.
local LONG = ("x"):rep(124)
local OPEN = 'open 1 protocol "" extensions ""'

local scripts = {
  {
    name = "a text, and a close by the client", target = "echo",
    open = { "send hello" }, message = { "close 1000 bye" },
    hears = { OPEN, "text hello", 'close 3 1000 "bye" clean' },
  }, {
    name = "bytes, and a close without a code", target = "echo",
    open = { "bytes 3" }, message = { "close" },
    hears = { OPEN, "binary 000000", 'close 3 1005 "" clean' },
  }, {
    name = "an empty text, an empty binary, and a close by the client's own code", target = "echo",
    open = { "send ", "bytes 0", "send x" }, message = { "close 4999 the end" },
    -- What came after the close was called is not delivered.
    hears = { OPEN, "text ", 'close 3 4999 "the end" clean' },
  }, {
    name = "a close by the server, with code and reason", target = "close?code=4001&reason=enough",
    hears = { OPEN, 'close 3 4001 "enough" clean' },
  }, {
    name = "a close by the server without a code", target = "close",
    hears = { OPEN, 'close 3 1005 "" clean' },
  }, {
    name = "a close by the server behind messages", target = "three",
    open = { "send go" }, close = { "look" },
    hears = { OPEN, "text message 1", "text message 2", "text message 3", 'close 3 4001 "after three" clean',
      "state 3 buffered 0" },
  }, {
    name = "a close by the client while messages of the server and its Close are on their way", target = "three",
    open = { "send go" }, message = { "close 4002 one is enough", "look" },
    hears = { OPEN, "text message 1", "state 2 buffered 0", 'close 3 4001 "after three" clean' },
  }, {
    name = "a close by both at once", target = "cross",
    open = { "send cross", "close 4002 the client's" },
    hears = { OPEN, [[close 3 4001 "the server's" clean]] },
  }, {
    name = "a second close with another code", target = "idle",
    open = { "close 4000 first", "look", "close 4001 second", "look" },
    hears = { OPEN, "state 2 buffered 0", "state 2 buffered 0", 'close 3 4000 "first" clean' },
  }, {
    name = "a line that is cut", target = "drop",
    open = { "send now" },
    hears = { OPEN, 'close 3 1006 "" unclean' },
  }, {
    name = "a close before it is open", target = "idle",
    now = { "look", "close", "look" },
    hears = { "state 0 buffered 0", "state 2 buffered 0", "error 3", 'close 3 1006 "" unclean' },
  }, {
    name = "a close with code and reason before it is open, twice", target = "idle",
    now = { "close 4000 never mind", "close 4001 really", "look" }, close = { "close", "look" },
    hears = { "state 2 buffered 0", "error 3", 'close 3 1006 "" unclean', "state 3 buffered 0" },
  }, {
    name = "a wrong close before it is open", target = "idle",
    now = { "close 1001", "close 1000 " .. LONG, "look" }, open = { "close" },
    hears = { "close 1001: InvalidAccessError", "close 1000 xxxxxxxxx: SyntaxError", "state 0 buffered 0", OPEN,
      'close 3 1005 "" clean' },
  }, {
    name = "a send before it is open", target = "idle",
    now = { "send too early", "look" }, open = { "close" },
    hears = { "send too early: InvalidStateError", "state 0 buffered 0", OPEN, 'close 3 1005 "" clean' },
  }, {
    name = "codes and reasons that cannot be", target = "idle",
    open = { "close 999", "close 1001", "close 1005", "close 1006", "close 2999", "close 5000", "close 3000 " .. LONG, "look",
      "close 3000" },
    hears = { OPEN, "close 999: InvalidAccessError", "close 1001: InvalidAccessError", "close 1005: InvalidAccessError",
      "close 1006: InvalidAccessError", "close 2999: InvalidAccessError", "close 5000: InvalidAccessError",
      "close 3000 xxxxxxxxx: SyntaxError", "state 1 buffered 0", 'close 3 3000 "" clean' },
  }, {
    name = "what is buffered", target = "echo",
    open = { "look", "send hello", "look", "bytes 100000", "look", "send é", "look", "close", "look" }, close = { "look" },
    hears = { OPEN, "state 1 buffered 0", "state 1 buffered 5", "state 1 buffered 100005", "state 1 buffered 100007",
      "state 2 buffered 100007", 'close 3 1005 "" clean', "state 3 buffered 0" },
  }, {
    name = "a send while closing, and one when closed", target = "idle",
    open = { "close", "send hello", "look" }, close = { "look", "send hello", "look" },
    hears = { OPEN, "state 2 buffered 5", 'close 3 1005 "" clean', "state 3 buffered 5", "state 3 buffered 10" },
  }, {
    name = "a subprotocol that is agreed on", target = "idle", protocols = { "other", "chat.v1" },
    open = { "close" },
    hears = { 'open 1 protocol "chat.v1" extensions ""', 'close 3 1005 "" clean' },
  }, {
    name = "subprotocols of which none is spoken", target = "idle", protocols = { "other" },
    close = { "look" },
    hears = { "error 3", 'close 3 1006 "" unclean', "state 3 buffered 0" },
  }, {
    name = "a refusal with 401", target = "401",
    hears = { "error 3", 'close 3 1006 "" unclean' },
  }, {
    name = "a refusal with 403", target = "403",
    error = { "send too late", "look" }, close = { "look" },
    hears = { "error 3", "state 3 buffered 8", 'close 3 1006 "" unclean', "state 3 buffered 8" },
  }, {
    name = "a port nobody listens on", port = "free",
    hears = { "error 3", 'close 3 1006 "" unclean' },
  }, {
    name = "an address in capitals", url = "WS://LOCALHOST:PORT/idle",
    now = { "url" }, open = { "close" },
    hears = { "ws://localhost:PORT/idle", OPEN, 'close 3 1005 "" clean' },
  }, {
    name = "an address of http", url = "http://127.0.0.1:PORT/idle",
    now = { "url" }, open = { "close" },
    hears = { "ws://127.0.0.1:PORT/idle", OPEN, 'close 3 1005 "" clean' },
  }, {
    name = "an address with dots and backslashes", url = "ws:\\\\127.0.0.1:PORT\\x\\..\\idle?",
    now = { "url" }, open = { "close" },
    hears = { "ws://127.0.0.1:PORT/idle?", OPEN, 'close 3 1005 "" clean' },
  }, {
    name = "an address with characters to be escaped", url = 'ws://127.0.0.1:PORT/idle?é|<>"',
    now = { "url" }, open = { "close" },
    hears = { "ws://127.0.0.1:PORT/idle?%C3%A9|%3C%3E%22", OPEN, 'close 3 1005 "" clean' },
  }, {
    name = "an address with a space within", url = "ws://127.0.0.1:PORT/idle?a b",
    now = { "url" }, open = { "close" },
    hears = { "ws://127.0.0.1:PORT/idle?a%20b", OPEN, 'close 3 1005 "" clean' },
    ours = { "new: SyntaxError" },
    because = "what a person would not see in an address is more often a mistake, or an attack, than meant",
  }, {
    name = "an address with white space around", url = " ws://127.0.0.1:PORT/idle\n",
    now = { "url" }, open = { "close" },
    hears = { "ws://127.0.0.1:PORT/idle", OPEN, 'close 3 1005 "" clean' },
    ours = { "new: SyntaxError" },
    because = "as above",
  }, {
    name = "an address without slashes", url = "ws:127.0.0.1:PORT/idle",
    now = { "url" }, open = { "close" },
    hears = { "ws://127.0.0.1:PORT/idle", OPEN, 'close 3 1005 "" clean' },
    ours = { "new: SyntaxError" },
    because = "as above",
  }, {
    name = "an IP address of two numbers", url = "ws://127.1:PORT/idle",
    now = { "url" }, open = { "close" },
    hears = { "ws://127.0.0.1:PORT/idle", OPEN, 'close 3 1005 "" clean' },
    ours = { "new: SyntaxError" },
    because = "as above",
  }, {
    name = "an address relative to the page", url = "idle",
    hears = { "error 3", 'close 3 1006 "" unclean' },
    ours = { "new: SyntaxError" },
    because = "there is no page",
  }, {
    name = "an address with a name and a password", url = "ws://me:secret@127.0.0.1:PORT/idle",
    now = { "url" }, open = { "close" },
    hears = { "ws://me:secret@127.0.0.1:PORT/idle", OPEN, 'close 3 1005 "" clean' },
    ours = { "ws://127.0.0.1:PORT/idle", OPEN, 'close 3 1005 "" clean' },
    because = "a password is not shown once it was taken",
  }, {
    name = "an address with a fragment", target = "idle#here",
    hears = { "new: SyntaxError" },
  }, {
    name = "an address with an empty fragment", target = "idle#",
    hears = { "new: SyntaxError" },
  }, {
    name = "an address that is none", url = "ws://",
    hears = { "new: SyntaxError" },
  }, {
    name = "an address of another scheme", url = "ftp://127.0.0.1/",
    hears = { "new: SyntaxError" },
  }, {
    name = "a port that cannot be", url = "ws://127.0.0.1:65536/",
    hears = { "new: SyntaxError" },
  }, {
    name = "a subprotocol given twice", target = "idle", protocols = { "chat.v1", "chat.v1" },
    hears = { "new: SyntaxError" },
  }, {
    name = "a subprotocol that is no token", target = "idle", protocols = { "chat v1" },
    hears = { "new: SyntaxError" },
  }, {
    name = "an empty subprotocol", target = "idle", protocols = { "" },
    hears = { "new: SyntaxError" },
  },
}

-- --- the same, by our client -----------------------------------------------------------------------------

local actions = {}

function actions.send(ws, text) ws:send(text) end
function actions.bytes(ws, count) ws:send(("\0"):rep(count), "binary") end
function actions.close(ws, rest)
  local code, reason = rest:match "^(%d*) ?(.*)$"
  if code == "" then ws:close() else ws:close(tonumber(code), reason) end
end
function actions.look(ws, _, log)
  log[#log + 1] = ("state %d buffered %d"):format(ws.readyState, ws.bufferedAmount)
end

function actions.url(ws, _, log) log[#log + 1] = ws.url end

local function play(ws, steps, log)
  for _, step in ipairs(steps or {}) do
    local action, rest = step:match "^(%S+) ?(.*)$"
    local fine, problem = pcall(actions[action], ws, rest, log)
    if not fine then log[#log + 1] = step:sub(1, 20) .. ": " .. problem.name end
  end
end

-- What our client hears: see window.scenarios.script in chromium.js.
local function follow(script)
  local log, over = {}, false
  local fine, ws = pcall(lunawire.WebSocket, script.url, script.protocols)
  if not fine then return { "new: " .. ws.name } end
  local function note(event, ...)
    log[#log + 1] = table.concat({ event.type, ws.readyState, ... }, " ")
    play(ws, script.steps[event.type], log)
  end
  ws.onopen = function(event) note(event, ('protocol "%s" extensions "%s"'):format(ws.protocol, ws.extensions)) end
  ws.onmessage = function(event)
    log[#log + 1] = event.binary and "binary " .. foreign.hex(event.data) or "text " .. event.data
    play(ws, script.steps.message, log)
  end
  ws.onerror = function(event) note(event) end
  ws.onclose = function(event)
    over = true
    note(event, event.code, ('"%s"'):format(event.reason), event.wasClean and "clean" or "unclean")
  end
  play(ws, script.steps.now, log)
  foreign.await(function() return over end, "close; heard: " .. table.concat(log, ", "))
  for _ = 1, 5 do lunawire.step() end -- whatever came after the last event would be heard
  return log
end

-- A port that was free a moment ago.
local function freePort()
  local listener = tcp.listen()
  listener:close()
  return listener.port
end

describe("interop with Chromium #foreign #slow", function()
  local peer

  setup(function()
    peer = foreign.node "chromium.js"
    peer:begin "start"(60)
  end)
  teardown(function() peer:stop() end)

  rules.visitsUs(function() return peer end, traits)

  describe("a page at our server", function()
    local server

    after_each(function()
      server:close()
      foreign.quiet()
    end)

    it("answers pings", function()
      server = foreign.server()
      assert.equal("ponged from the server", peer:ask("ping", { url = server.url }).heard)
    end)

    it("is let in when the server served it, and refused when another did", function()
      server = foreign.server { origins = false }
      server.server.onrequest = function(event)
        event:respond(200, { ["Content-Type"] = "text/html" }, "<!doctype html><title>ours</title>")
      end
      local page = ("http://127.0.0.1:%d/"):format(server.server.port)
      assert.equal(1000, peer:ask("checkFrom", { page = page, url = server.url, sizes = { 5 } }).code)
      assert.equal("http://127.0.0.1:" .. server.server.port, server.requests[1].headers.origin)
      assert.equal("an error event", peer:ask("refused", { url = server.url, target = "idle" }).message)
      assert.equal(1, #server.requests)
    end)

    it("says 1001 when it is left", function()
      server = foreign.server()
      peer:ask("leave", { url = server.url })
      assert.same({ code = 1001, reason = "", wasClean = true }, server:ending(1))
    end)
  end)

  describe("a script is heard by Chromium as written, and by our client alike:", function()
    local server

    setup(function() server = foreign.server() end)
    teardown(function() server:close() end)

    for _, script in ipairs(scripts) do
      local title = script.name .. (script.because and " (but: " .. script.because .. ")" or "")
      it(title, function()
        local port = tostring(script.port and freePort() or server.server.port)
        local asked = {
          url = ((script.url or "ws://127.0.0.1:PORT/" .. (script.target or "")):gsub("PORT", port)),
          protocols = script.protocols,
          steps = { now = script.now, open = script.open, message = script.message, error = script.error, close = script.close },
        }
        local function heard(log)
          for i, words in ipairs(log) do log[i] = words:gsub(port, "PORT") end
          return log
        end
        assert.same(script.hears, heard(peer:ask("script", asked)))
        assert.same(script.ours or script.hears, heard(follow(asked)))
      end)
    end
  end)

  -- Last, since the browser would have to be started again.
  describe("Chromium killed with -9", function()
    it("is closed with 1006 at our server, and the others do not notice", function()
      local server = foreign.server()
      local ours = foreign.connect({ port = server.server.port }, "echo"):opened()
      peer:begin("gather", { url = server.url, target = "idle", count = 3 })
      foreign.await(function() return #server.server == 4 end, "three lines", 60)
      peer:ask "kill"
      for i = 1, 3 do assert.same({ code = 1006, reason = "", wasClean = false }, server:ending(i)) end
      ours.ws:send "still here?"
      assert.equal("still here?", ours:next().data)
      ours:finish(1000)
      server:close()
      foreign.quiet()
    end)
  end)
end)
