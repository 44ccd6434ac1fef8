-- scenarios.lua -- what happens between a client and a server of raw bytes, as data: spec/scenarios_spec.lua has
-- Chromium and lunawire play each row against the same server (spec/peers/scripted.js), and both must hear and send
-- what the row says.
--
-- The server's part is `server`, steps of scripted.js, done once the request is here:
--   switch [fields [, first line [, end of lines]]]   the 101; "" takes a field away
--   say, bytes       text, or bytes in hexadecimal, as they stand
--   text, binary, ping, close, long      a right frame: text, hexadecimal, text, code and reason, kind and length
--   await KIND       until such a frame came ("text", "binary", "pong", "close")
--   answer           the client's Close, with its own code and reason; then the end
--   echo             every message, until there is a Close to answer
--   fields NAMES     writes down the request's header fields
--   target           writes down what was asked for
--   meet MS          the first connection waits so long for a second, and writes down whether it came
--   end, reset, sleep MS
-- The client's part is what is done right after the constructor (`now`), and in the handlers `open`, `message`,
-- `error`, `close` or any other function by its name (capital letters), which `set` and `listen` put where they belong.
-- What is done is listed in scenario.js and scenario.lua, action by action; {"nth", 2, …} is done at the second call.
-- `bare`: without those four handlers.
--
-- `hears` is what the client writes down, `wire` what the server does (false: hangs on what the system does first).
-- Where lunawire hears or sends something else, `ours` and `oursOnWire` say what, and `because` the difference's key
-- in docs/browser.md.
--
-- In addresses and protocols PORT is the server's port, FREE one nobody listens on, PATH the scenario's own path.

local LONG = ("x"):rep(123)

local function hex(text)
  return (text:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

local SWITCH = { "switch" }
local ANSWER = { "answer" }
local ECHO = { "echo" }
local CLOSE_IT = { { "close" } }

-- What is heard and sent most often: an opening without a subprotocol, the end of a close() without a code, and
-- the end of a connection that failed; its two events before it ever opened; the request and nothing more.
local OPEN, CLOSED, LOST = 'open 1 ""', 'close 3 1005 "" clean', 'close 3 1006 "" unclean'
local FAILED = { "error 3", LOST }
local BYE, REFUSED = { "request", "close", "end" }, { "request", "end" }

-- --- the opening handshake --------------------------------------------------------------------------------

local opening = {
  {
    name = "an opening and a close by the client",
    server = { SWITCH, ANSWER },
    open = { { "close", 1000, "bye" } },
    hears = { OPEN, 'close 3 1000 "bye" clean' }, wire = { "request", 'close 1000 "bye"', "end" },
  }, {
    name = "a subprotocol out of two",
    protocols = { "one", "two" },
    server = { { "switch", { ["Sec-WebSocket-Protocol"] = "two" } }, ANSWER },
    now = { { "get", "protocol" } }, open = { { "get", "protocol" }, { "close" } }, close = { { "get", "protocol" } },
    hears = { 'protocol is ""', 'open 1 "two"', 'protocol is "two"', CLOSED, 'protocol is "two"' },
    wire = { "request one, two", "close", "end" },
  }, {
    name = "a subprotocol given as a string",
    protocols = "one",
    server = { { "switch", { ["Sec-WebSocket-Protocol"] = "one" } }, ANSWER },
    open = CLOSE_IT,
    hears = { 'open 1 "one"', CLOSED }, wire = { "request one", "close", "end" },
  }, {
    name = "subprotocols that differ in case only",
    protocols = { "chat", "Chat" },
    server = { { "switch", { ["Sec-WebSocket-Protocol"] = "Chat" } }, ANSWER },
    open = CLOSE_IT,
    hears = { 'open 1 "Chat"', CLOSED }, wire = { "request chat, Chat", "close", "end" },
  }, {
    name = "a subprotocol asked for and none given",
    protocols = { "one" },
    server = { SWITCH },
    hears = FAILED, wire = { "request one", "end" },
  }, {
    name = "a subprotocol that was not asked for",
    protocols = { "one" },
    server = { { "switch", { ["Sec-WebSocket-Protocol"] = "two" } } },
    hears = FAILED, wire = { "request one", "end" },
  }, {
    name = "a subprotocol though none was asked for",
    server = { { "switch", { ["Sec-WebSocket-Protocol"] = "one" } } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "a subprotocol in other letters than asked for",
    protocols = { "chat" },
    server = { { "switch", { ["Sec-WebSocket-Protocol"] = "CHAT" } } },
    hears = FAILED, wire = { "request chat", "end" },
  }, {
    name = "two subprotocols at once",
    protocols = { "one", "two" },
    server = { { "switch", { ["Sec-WebSocket-Protocol"] = "one, two" } } },
    hears = FAILED, wire = { "request one, two", "end" },
  }, {
    name = "an empty subprotocol in the answer",
    protocols = { "one" },
    server = { { "switch", { ["Sec-WebSocket-Protocol"] = " " } } },
    hears = FAILED, wire = { "request one", "end" },
  }, {
    name = "an extension that was not offered",
    server = { { "switch", { ["Sec-WebSocket-Extensions"] = "x-unheard-of" } } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "a wrong Sec-WebSocket-Accept",
    server = { { "switch", { ["Sec-WebSocket-Accept"] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" } } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "no Sec-WebSocket-Accept",
    server = { { "switch", { ["Sec-WebSocket-Accept"] = "" } } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "no Upgrade in the answer",
    server = { { "switch", { Upgrade = "" } } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "another Upgrade in the answer",
    server = { { "switch", { Upgrade = "h2c" } } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "no Connection in the answer",
    server = { { "switch", { Connection = "" } } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "a Connection that does not say Upgrade",
    server = { { "switch", { Connection = "close" } } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "an Upgrade of more than websocket",
    server = { { "switch", { Upgrade = "websocket, h2c" } } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "an answer whose lines end with LF alone",
    server = { { "say", "HTTP/1.1 404 Not Found\nContent-Length: 0\n\n" }, { "end" } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "an answer in other letters",
    server = { { "switch", { Upgrade = "WebSocket", Connection = "keep-alive, UPGRADE" } }, ANSWER },
    open = CLOSE_IT,
    hears = { OPEN, CLOSED }, wire = BYE,
  }, {
    name = "an answer of 200",
    server = { { "say", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" }, { "end" } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "an answer of 401",
    server = {
      { "say", 'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm="x"\r\nContent-Length: 0\r\n\r\n' }, { "end" },
    },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "an answer of 404",
    server = { { "say", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" }, { "end" } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "an answer of 503",
    server = { { "say", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n" }, { "end" } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "a redirect",
    server = {
      { "say", "HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:PORT/elsewhere\r\nContent-Length: 0\r\n\r\n" }, { "end" },
    },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "a 101 of HTTP/1.0",
    server = { { "say", "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" }, { "end" } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "a head that is cut",
    server = { { "say", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnec" }, { "end" } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "a banner of something else",
    server = { { "say", "SSH-2.0-OpenSSH_9.2p1\r\n" }, { "end" } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "an end instead of an answer",
    server = { { "end" } },
    hears = FAILED, wire = REFUSED,
  }, {
    name = "a reset instead of an answer",
    server = { { "reset" } }, wire = false,
    hears = FAILED,
  }, {
    name = "a port nobody listens on",
    url = "ws://127.0.0.1:FREE/",
    error = { { "look" } }, close = { { "look" } },
    hears = { "error 3", "look 3 buffered 0", LOST, "look 3 buffered 0" },
  }, {
    name = "a host that is not there",
    url = "ws://nowhere.invalid/",
    hears = FAILED,
  }, {
    name = "wss where ws is spoken",
    url = "wss://127.0.0.1:PORT/", wire = false,
    hears = FAILED,
  }, {
    name = "messages in the segment of the 101",
    server = { SWITCH, { "text", "early" }, { "ping", "hm" }, { "binary", "00ff" }, ANSWER },
    message = { { "nth", 2, { "close" } } },
    hears = { OPEN, 'message text "early"', "message binary 00ff", CLOSED },
    wire = { "request", 'pong "hm"', "close", "end" },
  }, {
    name = "a Close in the segment of the 101",
    server = { SWITCH, { "close", 4000, "so soon" }, { "await", "close" }, { "end" } },
    hears = { OPEN, 'close 3 4000 "so soon" clean' }, wire = { "request", 'close 4000 "so soon"', "end" },
  },
}


-- The 101 in forms that are seen seldom.
local function switched(name, fields, start, eol)
  return {
    name = "a 101 with " .. name, server = { { "switch", fields, start, eol }, ANSWER }, open = CLOSE_IT,
    hears = { OPEN, CLOSED }, wire = BYE,
  }
end

-- One that neither takes.
local function broken(...)
  local row = switched(...)
  row.hears, row.wire = FAILED, REFUSED
  return row
end

-- One that we do not take.
local function ours(because, ...)
  local row = switched(...)
  row.because, row.ours, row.oursOnWire = because, FAILED, REFUSED
  return row
end
local NOT_QUITE = "an answer that is not quite HTTP/1.1"

local answers = {
  switched("fields that mean nothing to us", { Server = "x/1 (y)", ["X-Empty"] = " ", ["Set-Cookie"] = "a=b" }),
  switched("Content-Length 0", { ["Content-Length"] = "0" }),
  switched("a body announced", { ["Content-Length"] = "5" }),
  switched("Transfer-Encoding", { ["Transfer-Encoding"] = "chunked" }),
  switched("no reason phrase", { Server = "x" }, "HTTP/1.1 101 "),
  switched("neither a reason phrase nor its space", { Server = "x" }, "HTTP/1.1 101"),
  switched("another reason phrase, of Latin-1", { Server = "x" }, "HTTP/1.1 101 Protokoll gewechselt: sch\u{F6}n"),
  ours(NOT_QUITE, "HTTP/1.0", { Server = "x" }, "HTTP/1.0 101 Switching Protocols"),
  ours(NOT_QUITE, "HTTP/2.0", { Server = "x" }, "HTTP/2.0 101 Switching Protocols"),
  ours(NOT_QUITE, "lines that end with LF", { Server = "x" }, "HTTP/1.1 101 Switching Protocols", "\n"),
  broken("Upgrade twice", { upgrade = "websocket" }),
  switched("Connection twice", { connection = "keep-alive" }),
  broken("Sec-WebSocket-Accept twice", { ["sec-websocket-accept"] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }),
  ours(NOT_QUITE, "a space before a colon", { Upgrade = "", ["Upgrade "] = "websocket" }),
  { -- RFC 6455, 9.1 wants at least one, RFC 9110, 5.6.1 lets readers pass over what is empty
    name = "a 101 with an empty Sec-WebSocket-Extensions",
    server = { { "switch", { ["Sec-WebSocket-Extensions"] = " " } }, ANSWER }, open = CLOSE_IT,
    hears = FAILED, wire = REFUSED, ours = { OPEN, CLOSED }, oursOnWire = BYE, because = "an empty Sec-WebSocket-Extensions",
  },
  switched("Latin-1 in a field", { ["X-Name"] = "J\u{F6}rg" }),
  ours("the head of an answer", "a head of 20,000 bytes", { ["X-Long"] = ("x"):rep(20000) }),
  ours(NOT_QUITE, "a control character in a field", { ["X-Odd"] = "a\1b" }),
}

-- --- messages ---------------------------------------------------------------------------------------------

local function manyMessages()
  local hears = { OPEN }
  for i = 1, 99 do hears[i + 1] = 'message text "x"' end
  hears[101], hears[102] = 'message text "y"', CLOSED
  return hears
end

local messages = {
  {
    name = "a text and its echo",
    server = { SWITCH, ECHO },
    open = { { "send", "Hello" } }, message = CLOSE_IT,
    hears = { OPEN, 'message text "Hello"', CLOSED }, wire = { "request", 'text "Hello"', "close", "end" },
  }, {
    name = "bytes and their echo",
    server = { SWITCH, ECHO },
    open = { { "bytes", "00ff80" } }, message = CLOSE_IT,
    hears = { OPEN, "message binary 00ff80", CLOSED }, wire = { "request", "binary 00ff80", "close", "end" },
  }, {
    name = "empty messages",
    server = { SWITCH, ECHO },
    open = { { "send", "" }, { "bytes", "" }, { "send", "x" } }, message = { { "nth", 3, { "close" } } },
    hears = { OPEN, 'message text ""', "message binary ", 'message text "x"', CLOSED },
    wire = { "request", 'text ""', "binary ", 'text "x"', "close", "end" },
  }, {
    name = "a text of every length of UTF-8",
    server = { SWITCH, ECHO },
    open = { { "send", "\0 é ‰ 😀 \u{FFFF}\u{10FFFF}" } }, message = CLOSE_IT,
    hears = { OPEN, 'message text "\0 é ‰ 😀 \u{FFFF}\u{10FFFF}"', CLOSED },
    wire = { "request", 'text "\0 é ‰ 😀 \u{FFFF}\u{10FFFF}"', "close", "end" },
  }, {
    name = "a text that begins with a BOM",
    server = { SWITCH, ECHO },
    open = { { "send", "\u{FEFF}x" } }, message = CLOSE_IT,
    hears = { OPEN, 'message text "\u{FEFF}x"', CLOSED }, wire = { "request", 'text "\u{FEFF}x"', "close", "end" },
  }, {
    name = "a large text",
    server = { SWITCH, ECHO },
    open = { { "long", "text", 70000 } }, message = CLOSE_IT,
    hears = { OPEN, "message text of 70000 bytes, sum 798356", CLOSED },
    wire = { "request", "text of 70000 bytes, sum 798356", "close", "end" },
  }, {
    name = "large binary messages",
    server = { SWITCH, ECHO },
    open = { { "long", "binary", 126 }, { "long", "binary", 65535 }, { "long", "binary", 65536 }, { "long", "binary", 1000000 } },
    message = { { "nth", 4, { "close" } } },
    hears = {
      OPEN, "message binary of 126 bytes, sum 731987", "message binary of 65535 bytes, sum 582385",
      "message binary of 65536 bytes, sum 54136", "message binary of 1000000 bytes, sum 88780", CLOSED,
    },
    wire = {
      "request", "binary of 126 bytes, sum 731987", "binary of 65535 bytes, sum 582385", "binary of 65536 bytes, sum 54136",
      "binary of 1000000 bytes, sum 88780", "close", "end",
    },
  }, {
    name = "a message in three fragments (RFC 6455, 5.7)",
    server = { SWITCH, { "bytes", "01 03 48 65 6c  00 00  80 02 6c 6f" }, ANSWER },
    message = CLOSE_IT,
    hears = { OPEN, 'message text "Hello"', CLOSED }, wire = BYE,
  }, {
    name = "a ping between fragments",
    server = { SWITCH, { "bytes", "02 01 aa  89 02 68 69  80 01 bb" }, { "await", "pong" }, ANSWER },
    message = CLOSE_IT,
    hears = { OPEN, "message binary aabb", CLOSED }, wire = { "request", 'pong "hi"', "close", "end" },
  }, {
    name = "characters cut by fragments",
    server = { SWITCH, { "bytes", "01 01 f0  00 02 9f 98  80 01 80" }, ANSWER },
    message = CLOSE_IT,
    hears = { OPEN, 'message text "😀"', CLOSED }, wire = BYE,
  }, {
    name = "pings, which nobody hears of",
    server = {
      SWITCH, { "ping", "" }, { "await", "pong" }, { "ping", "two" }, { "await", "pong" }, { "text", "x" }, ANSWER,
    },
    message = CLOSE_IT,
    hears = { OPEN, 'message text "x"', CLOSED }, wire = { "request", 'pong ""', 'pong "two"', "close", "end" },
  }, {
    name = "three pings in one segment",
    server = { SWITCH, { "bytes", "89 01 61  89 01 62  89 01 63  81 01 78" }, ANSWER },
    message = CLOSE_IT,
    hears = { OPEN, 'message text "x"', CLOSED }, wire = { "request", 'pong "a"', 'pong "b"', 'pong "c"', "close", "end" },
  }, {
    name = "a pong nobody asked for",
    server = { SWITCH, { "bytes", "8a 02 68 6d" }, { "text", "x" }, ANSWER },
    message = CLOSE_IT,
    hears = { OPEN, 'message text "x"', CLOSED }, wire = BYE,
  }, {
    name = "messages in both directions, in their order",
    server = { SWITCH, { "text", "1" }, { "text", "2" }, { "text", "3" }, { "await", "text" }, { "text", "4" }, ANSWER },
    message = { { "nth", 3, { "send", "a" }, { "send", "b" } }, { "nth", 4, { "close" } } },
    hears = { OPEN, 'message text "1"', 'message text "2"', 'message text "3"', 'message text "4"', CLOSED },
    wire = { "request", 'text "a"', 'text "b"', "close", "end" },
  }, {
    name = "a message of empty fragments",
    server = { SWITCH, { "bytes", "01 00  00 00  00 00  80 00" }, ANSWER },
    message = CLOSE_IT,
    hears = { OPEN, 'message text ""', CLOSED }, wire = BYE,
  }, {
    name = "many messages in one segment",
    server = { SWITCH, { "bytes", ("81 01 78 "):rep(99) .. "81 01 79" }, ANSWER },
    message = { { "nth", 100, { "close" } } },
    hears = manyMessages(), wire = BYE,
  }, {
    name = "a ping of 125 bytes",
    server = { SWITCH, { "bytes", "89 7d " .. hex(("p"):rep(125)) }, { "await", "pong" }, { "text", "x" }, ANSWER },
    message = CLOSE_IT,
    hears = { OPEN, 'message text "x"', CLOSED }, wire = { "request", "pong of 125 bytes, sum 854291", "close", "end" },
  }, {
    name = "a text that is a BOM",
    server = { SWITCH, { "bytes", "81 03 ef bb bf" }, ANSWER },
    message = CLOSE_IT,
    hears = { OPEN, 'message text "\u{FEFF}"', CLOSED }, wire = BYE,
  }, {
    name = "a Close within a message",
    server = { SWITCH, { "bytes", "01 01 78" }, { "close", 4000, "enough" }, { "await", "close" }, { "end" } },
    hears = { OPEN, 'close 3 4000 "enough" clean' }, wire = { "request", 'close 4000 "enough"', "end" },
  }, {
    name = "messages in pieces",
    server = {
      SWITCH, { "bytes", "81" }, { "sleep", 5 }, { "bytes", "02 c3" }, { "sleep", 5 }, { "bytes", "a9 82 7e" }, { "sleep", 5 },
      { "bytes", "00" }, { "sleep", 5 }, { "bytes", "7e" .. ("00"):rep(125) }, { "sleep", 5 }, { "bytes", "00" }, ANSWER,
    },
    message = { { "nth", 2, { "close" } } },
    hears = { OPEN, 'message text "é"', "message binary of 126 bytes, sum 0", CLOSED }, wire = BYE,
  }, {
    name = "a message that the server had announced longer than 16 MiB",
    server = { SWITCH, { "bytes", "82 7f 00 00 00 00 01 00 00 01 00" }, { "sleep", 50 }, { "end" } },
    because = "the size of a message",
    hears = { OPEN, LOST }, wire = REFUSED, ours = { OPEN, "error 3", LOST },
    oursOnWire = { "request", "close 1009 …", "end" }, anyReason = true,
  },
}

-- --- what a server must not send --------------------------------------------------------------------------

-- What the client says in its Close besides the code are its own words: they are not compared.
local function violation(name, bytes, more)
  local row = {
    name = "from the server: " .. name, server = { SWITCH, { "bytes", bytes } }, anyReason = true,
    hears = { OPEN, "error 3", LOST }, wire = { "request", "close 1002 …", "end" },
  }
  for key, what in pairs(more or {}) do row[key] = what end
  return row
end

-- RFC 6455, 8.1 has the connection fail, and 7.4.1 the code for it; Chromium says 1002.
local function notUTF8(name, bytes)
  return violation(name, bytes, {
    oursOnWire = { "request", "close 1007 …", "end" }, because = "text from the server that is not UTF-8",
  })
end

local violations = {
  violation("RSV1 on a continuation", "01 01 78 c0 01 79"),
  violation("RSV1 on a Close", "c8 00"),
  violation("a masked Close", "88 80 00 00 00 00"),
  violation("a Close in fragments", "08 00"),
  violation("a masked frame", "81 85 37 fa 21 3d 7f 9f 4d 51 58"),
  violation("opcode 3", "83 00"),
  violation("opcode 11", "8b 00"),
  violation("RSV1", "c1 01 78"),
  violation("RSV2", "a1 01 78"),
  violation("RSV3", "91 01 78"),
  violation("a ping of 126 bytes", "89 7e 00 7e" .. hex(("x"):rep(126))),
  violation("a ping in fragments", "09 01 78"),
  violation("a Close of 126 bytes", "88 7e 00 7e 03 e8" .. hex(("x"):rep(124))),
  violation("a continuation with nothing to continue", "80 01 78"),
  violation("a message within a message", "01 01 78 81 01 79"),
  violation("a length not in its shortest form", "81 7e 00 05 48 65 6c 6c 6f"),
  violation("a length of 2^63", "82 7f 80 00 00 00 00 00 00 00"),
  violation("a Close of one byte", "88 01 03"),
  violation("opcode 3 behind a good message", "81 01 78 83 00 81 01 79", {
    hears = { OPEN, 'message text "x"', "error 3", LOST },
  }),
  notUTF8("text that is not UTF-8", "81 01 ff"),
  notUTF8("text with half a character in it", "81 02 c3 28"),
  notUTF8("text that ends within a character", "81 01 c3"),
  notUTF8("a surrogate in text", "81 03 ed a0 80"),
  notUTF8("an overlong form in text", "81 02 c0 80"),
  notUTF8("text that is not UTF-8 in the first of more fragments", "01 01 ff 80 01 78"),
  notUTF8("a Close whose reason is not UTF-8", "88 03 03 e8 ff"),
}
for _, code in ipairs { 1005, 1006, 1015 } do
  violations[#violations + 1] = violation("a Close of " .. code, ("88 02 %04x"):format(code))
end
-- RFC 6455, 7.4.2 has these used by nobody; Chromium takes them.
for _, code in ipairs { 0, 999, 1004, 1016, 2999, 5000, 65535 } do
  violations[#violations + 1] = violation("a Close of " .. code, ("88 02 %04x"):format(code), {
    server = { SWITCH, { "bytes", ("88 02 %04x"):format(code) }, { "await", "close" }, { "end" } },
    hears = { OPEN, ('close 3 %d "" clean'):format(code) }, wire = { "request", ("close %d …"):format(code), "end" },
    ours = { OPEN, "error 3", LOST }, oursOnWire = { "request", "close 1002 …", "end" },
    because = "a Close with a code that nobody may send",
  })
end

-- --- closing ------------------------------------------------------------------------------------------------

local closing = {}

for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999 } do
  closing[#closing + 1] = {
    name = "a Close of " .. code .. " by the server",
    server = { SWITCH, { "close", code, "so" }, { "await", "close" }, { "end" } },
    hears = { OPEN, ('close 3 %d "so" clean'):format(code) }, wire = { "request", ('close %d "so"'):format(code), "end" },
  }
end

local more = {
  {
    name = "a Close without a code by the server",
    server = { SWITCH, { "close" }, { "await", "close" }, { "end" } },
    hears = { OPEN, CLOSED }, wire = BYE,
  }, {
    name = "a Close with the longest reason, in UTF-8, by the server",
    server = { SWITCH, { "close", 4000, ("é"):rep(61) .. "x" }, { "await", "close" }, { "end" } },
    hears = { OPEN, 'close 3 4000 "éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééx" clean' },
    wire = { "request", 'close 4000 "éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééx"', "end" },
  }, {
    name = "a Close whose reason begins with a BOM",
    server = { SWITCH, { "close", 4000, "\u{FEFF}x" }, { "await", "close" }, { "end" } },
    hears = { OPEN, 'close 3 4000 "\u{FEFF}x" clean' }, wire = { "request", 'close 4000 "\u{FEFF}x"', "end" },
  }, {
    name = "messages and pings behind a Close of the server's", because = "data after a Close",
    server = { SWITCH, { "close", 4000 }, { "text", "too late" }, { "ping", "too late" }, { "await", "close" }, { "end" } },
    hears = { OPEN, "error 3", LOST }, wire = { "request", 'close 4000 ""', "end" }, ours = { OPEN, 'close 3 4000 "" clean' },
  }, {
    name = "an end without a Close",
    server = { SWITCH, { "end" } },
    hears = { OPEN, LOST }, wire = REFUSED,
  }, {
    name = "an end behind a message",
    server = { SWITCH, { "text", "x" }, { "end" } },
    hears = { OPEN, 'message text "x"', LOST }, wire = REFUSED,
  }, {
    name = "a reset",
    server = { SWITCH, { "await", "text" }, { "reset" } }, wire = false,
    open = { { "send", "x" } },
    hears = { OPEN, LOST },
  }, {
    name = "an end within a frame",
    server = { SWITCH, { "bytes", "81 05 48 65" }, { "end" } },
    hears = { OPEN, LOST }, wire = REFUSED,
  }, {
    name = "an end within a message",
    server = { SWITCH, { "bytes", "01 01 48" }, { "end" } },
    hears = { OPEN, LOST }, wire = REFUSED,
  }, {
    name = "an end while there is something to send",
    server = { SWITCH, { "await", "text" }, { "end" } },
    open = { { "send", "x" } },
    close = { { "look" }, { "send", "y" }, { "look" } },
    hears = { OPEN, LOST, "look 3 buffered 0", "look 3 buffered 1" }, wire = { "request", 'text "x"', "end" },
  }, {
    name = "close() without a code",
    server = { SWITCH, ANSWER },
    open = { { "close" }, { "look" } },
    hears = { OPEN, "look 2 buffered 0", CLOSED }, wire = BYE,
  }, {
    name = "close(1000)",
    server = { SWITCH, ANSWER },
    open = { { "close", 1000 } },
    hears = { OPEN, 'close 3 1000 "" clean' }, wire = { "request", 'close 1000 ""', "end" },
  }, {
    name = "close(3000) with the longest reason",
    server = { SWITCH, ANSWER },
    open = { { "close", 3000, LONG } },
    hears = { OPEN, 'close 3 3000 "' .. LONG .. '" clean' }, wire = { "request", 'close 3000 "' .. LONG .. '"', "end" },
  }, {
    name = "close(4999) with a reason in UTF-8",
    server = { SWITCH, ANSWER },
    open = { { "close", 4999, "Ende gut ☺" } },
    hears = { OPEN, 'close 3 4999 "Ende gut ☺" clean' }, wire = { "request", 'close 4999 "Ende gut ☺"', "end" },
  }, {
    name = "close() with an empty reason",
    server = { SWITCH, ANSWER },
    open = { { "close", 1000, "" } },
    hears = { OPEN, 'close 3 1000 "" clean' }, wire = { "request", 'close 1000 ""', "end" },
  }, {
    name = "codes that close() does not take",
    server = { SWITCH, ANSWER },
    open = {
      { "close", 0 }, { "close", 999 }, { "close", 1001 }, { "close", 1002 }, { "close", 1005 }, { "close", 1006 },
      { "close", 1015 }, { "close", 2999 }, { "close", 5000 }, { "close", 65536 }, { "close", -1 }, { "close", "@NaN" },
      { "look" }, { "close" },
    },
    hears = {
      OPEN, "close(0): InvalidAccessError", "close(999): InvalidAccessError", "close(1001): InvalidAccessError",
      "close(1002): InvalidAccessError", "close(1005): InvalidAccessError", "close(1006): InvalidAccessError",
      "close(1015): InvalidAccessError", "close(2999): InvalidAccessError", "close(5000): InvalidAccessError",
      "close(65536): InvalidAccessError", "close(-1): InvalidAccessError", "close(@NaN): InvalidAccessError",
      "look 1 buffered 0", CLOSED,
    },
    wire = BYE,
  }, {
    name = "reasons that close() does not take",
    server = { SWITCH, ANSWER },
    open = {
      { "close", 1000, LONG .. "x" }, { "close", 1000, ("é"):rep(62) }, { "close", 1001, LONG .. "x" }, { "look" },
      { "close" },
    },
    hears = {
      OPEN, "close(1000, …): SyntaxError", "close(1000, …): SyntaxError", "close(1001, …): InvalidAccessError",
      "look 1 buffered 0", CLOSED,
    },
    wire = BYE,
  }, {
    name = "close() checks its arguments while closing, and when closed",
    server = { SWITCH, ANSWER },
    open = { { "close" }, { "close", 1001 }, { "close", 1000, LONG .. "x" } },
    close = { { "close", 1001 }, { "close", 1000, LONG .. "x" }, { "close", 1000 }, { "look" } },
    hears = {
      OPEN, "close(1001): InvalidAccessError", "close(1000, …): SyntaxError", CLOSED, "close(1001): InvalidAccessError",
      "close(1000, …): SyntaxError", "look 3 buffered 0",
    },
    wire = BYE,
  }, {
    name = "the second close() does nothing",
    server = { SWITCH, ANSWER },
    open = { { "close", 4000, "first" }, { "close", 4001, "second" }, { "close" } },
    hears = { OPEN, 'close 3 4000 "first" clean' }, wire = { "request", 'close 4000 "first"', "end" },
  }, {
    name = "another code in the server's answer",
    server = { SWITCH, { "await", "close" }, { "close", 4001, "the server's" }, { "end" } },
    open = { { "close", 4000, "the client's" } },
    hears = { OPEN, "close 3 4001 \"the server's\" clean" }, wire = { "request", "close 4000 \"the client's\"", "end" },
  }, {
    name = "no code in the server's answer",
    server = { SWITCH, { "await", "close" }, { "close" }, { "end" } },
    open = { { "close", 4000, "the client's" } },
    hears = { OPEN, CLOSED }, wire = { "request", "close 4000 \"the client's\"", "end" },
  }, {
    name = "an end instead of an answer to the Close",
    server = { SWITCH, { "await", "close" }, { "end" } },
    open = { { "close", 4000, "the client's" } },
    hears = { OPEN, LOST }, wire = { "request", "close 4000 \"the client's\"", "end" },
  }, {
    name = "messages and a ping behind close()",
    server = { SWITCH, { "await", "close" }, { "text", "late" }, { "ping", "late" }, { "close", 1000 }, { "end" } },
    open = { { "close", 1000 } },
    hears = { OPEN, 'close 3 1000 "" clean' }, wire = { "request", 'close 1000 ""', "end" },
  }, {
    name = "a violation behind close()",
    server = { SWITCH, { "await", "close" }, { "bytes", "83 00" }, { "sleep", 20 }, { "end" } },
    open = { { "close", 1000 } },
    hears = { OPEN, "error 3", LOST }, wire = { "request", 'close 1000 ""', "end" },
  }, {
    name = "close() with messages queued: they go first",
    server = { SWITCH, ANSWER },
    open = { { "send", "a" }, { "long", "binary", 300000 }, { "send", "b" }, { "close", 1000 }, { "send", "c" }, { "look" } },
    close = { { "look" } },
    hears = { OPEN, "look 2 buffered 300003", 'close 3 1000 "" clean', "look 3 buffered 1" },
    wire = { "request", 'text "a"', "binary of 300000 bytes, sum 400346", 'text "b"', 'close 1000 ""', "end" },
  }, {
    name = "close() right after the constructor",
    server = { SWITCH, ANSWER }, wire = false,
    now = { { "look" }, { "close", 4000, "never mind" }, { "look" } }, error = { { "look" } }, close = { { "get", "protocol" } },
    hears = { "look 0 buffered 0", "look 2 buffered 0", "error 3", "look 3 buffered 0", LOST, 'protocol is ""' },
  }, {
    name = "close() while the answer is awaited",
    server = { { "sleep", 20 } }, wire = false,
    now = { { "close" }, { "close", 1001 }, { "close", 1000 } },
    hears = { "close(1001): InvalidAccessError", "error 3", LOST },
  }, {
    name = "close() in onerror, and in onclose",
    server = { { "say", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" }, { "end" } },
    error = { { "close" }, { "look" } }, close = { { "close", 1000 }, { "look" } },
    hears = { "error 3", "look 3 buffered 0", LOST, "look 3 buffered 0" }, wire = REFUSED,
  }, {
    name = "a new connection from onclose",
    server = { SWITCH, ANSWER },
    open = CLOSE_IT, close = { { "again", "?again" } }, linger = 300,
    hears = { OPEN, CLOSED, "again open", "again closed 1005" },
    wire = { "request", "close", "end", "request", "close", "end" },
  },
}
for _, row in ipairs(more) do closing[#closing + 1] = row end

-- --- sending --------------------------------------------------------------------------------------------------

local sending = {
  {
    name = "send() while connecting",
    server = { SWITCH, ANSWER },
    now = { { "send", "x" }, { "bytes", "00" }, { "look" } }, open = { { "look" }, { "close" } },
    hears = {
      "send(x): InvalidStateError", "bytes(00): InvalidStateError", "look 0 buffered 0", OPEN, "look 1 buffered 0", CLOSED,
    },
    wire = BYE,
  }, {
    name = "what is buffered, in one turn",
    server = { SWITCH, ANSWER },
    open = {
      { "send", "é" }, { "look" }, { "bytes", "0000000000" }, { "look" }, { "long", "text", 1000 }, { "look" }, { "close" },
      { "look" },
    },
    close = { { "look" } },
    hears = {
      OPEN, "look 1 buffered 2", "look 1 buffered 7", "look 1 buffered 1007", "look 2 buffered 1007", CLOSED,
      "look 3 buffered 0",
    },
    wire = { "request", 'text "é"', "binary 0000000000", "text of 1000 bytes, sum 398358", "close", "end" },
  }, {
    name = "send() while closing, and when closed: it counts, and nothing goes",
    server = { SWITCH, ANSWER },
    open = { { "close" }, { "send", "hello" }, { "look" }, { "bytes", "00" }, { "look" } },
    close = { { "look" }, { "send", "é" }, { "look" } },
    hears = { OPEN, "look 2 buffered 5", "look 2 buffered 6", CLOSED, "look 3 buffered 6", "look 3 buffered 8" }, wire = BYE,
  }, {
    name = "send() after a failure",
    server = { { "say", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" }, { "end" } },
    error = { { "send", "abc" }, { "look" } }, close = { { "send", "abc" }, { "look" } },
    hears = { "error 3", "look 3 buffered 3", LOST, "look 3 buffered 6" }, wire = REFUSED,
  }, {
    name = "send() between close() while connecting and its events",
    server = { SWITCH, ANSWER }, wire = false,
    now = { { "close" }, { "send", "abc" }, { "look" } }, close = { { "look" } },
    hears = { "look 2 buffered 3", "error 3", LOST, "look 3 buffered 3" },
  }, {
    name = "send() once the server's Close is here",
    server = { SWITCH, { "close", 1000 }, { "sleep", 20 }, { "end" } },
    close = { { "send", "abc" }, { "look" } },
    hears = { OPEN, 'close 3 1000 "" clean', "look 3 buffered 3" }, wire = { "request", 'close 1000 ""', "end" },
  }, {
    name = "what send() returns",
    server = { SWITCH, ANSWER },
    open = { { "returned", "x" }, { "close" }, { "returned", "y" } },
    because = "what send returns",
    hears = { OPEN, "send returned nil", "send returned nil", CLOSED }, wire = { "request", 'text "x"', "close", "end" },
    ours = { OPEN, "send returned true", "send returned false", CLOSED },
  },
}

-- --- binary values ----------------------------------------------------------------------------------------------

local TWO_BINARY = { SWITCH, { "binary", "00ff" }, { "text", "x" }, { "binary", "80" }, ANSWER }

local binary = {
  {
    name = "binaryType arraybuffer", kinds = true,
    server = TWO_BINARY,
    now = { { "put", "binaryType", "arraybuffer" }, { "get", "binaryType" } }, message = { { "nth", 3, { "close" } } },
    hears = {
      'binaryType is "arraybuffer"', OPEN, "message ArrayBuffer binary 00ff", 'message text "x"',
      "message ArrayBuffer binary 80", CLOSED,
    },
    wire = BYE,
  }, {
    name = "binaryType blob", kinds = true,
    server = TWO_BINARY,
    now = { { "put", "binaryType", "blob" }, { "get", "binaryType" } }, message = { { "nth", 3, { "close" } } },
    hears = {
      'binaryType is "blob"', OPEN, "message Blob binary 00ff", 'message text "x"', "message Blob binary 80", CLOSED,
    },
    wire = BYE,
  }, {
    name = "binaryType changed between messages that are here already", kinds = true,
    server = TWO_BINARY,
    now = { { "put", "binaryType", "blob" } }, message = { { "put", "binaryType", "arraybuffer" }, { "nth", 3, { "close" } } },
    hears = { OPEN, "message Blob binary 00ff", 'message text "x"', "message ArrayBuffer binary 80", CLOSED }, wire = BYE,
  }, {
    name = "binaryType set while closing, and when closed", kinds = true,
    server = { SWITCH, ANSWER },
    open = { { "close" }, { "put", "binaryType", "blob" }, { "get", "binaryType" } },
    close = { { "put", "binaryType", "arraybuffer" }, { "get", "binaryType" } },
    hears = { OPEN, 'binaryType is "blob"', CLOSED, 'binaryType is "arraybuffer"' }, wire = BYE,
  }, {
    name = "a Blob of several parts, sent",
    server = { SWITCH, ECHO },
    open = { { "mixture", "né", "00ff" }, { "look" } }, message = CLOSE_IT,
    hears = { OPEN, "look 1 buffered 8", "message binary 6ec3a900ff6ec3a9", CLOSED },
    wire = { "request", "binary 6ec3a900ff6ec3a9", "close", "end" },
  }, {
    name = "empty binary values, sent",
    server = { SWITCH, ECHO },
    open = { { "bytes", "" }, { "blob" }, { "look" } }, message = { { "nth", 2, { "close" } } },
    hears = { OPEN, "look 1 buffered 0", "message binary ", "message binary ", CLOSED },
    wire = { "request", "binary ", "binary ", "close", "end" },
  }, {
    name = "a Blob between other messages, which keep their order",
    server = { SWITCH, ANSWER },
    open = {
      { "send", "1" }, { "blob", "2" }, { "bytes", "03" }, { "longBlob", 300000 }, { "send", "5" }, { "look" }, { "close" },
    },
    hears = { OPEN, "look 1 buffered 300004", CLOSED },
    wire = {
      "request", 'text "1"', "binary 32", "binary 03", "binary of 300000 bytes, sum 400346", 'text "5"', "close", "end",
    },
  }, {
    name = "a Blob and an ArrayBuffer while connecting",
    server = { SWITCH, ANSWER },
    now = { { "blob", "x" }, { "bytes", "00" }, { "look" } }, open = CLOSE_IT,
    hears = { "blob(x): InvalidStateError", "bytes(00): InvalidStateError", "look 0 buffered 0", OPEN, CLOSED }, wire = BYE,
  }, {
    name = "a Blob and an ArrayBuffer while closing, and when closed: they count",
    server = { SWITCH, ANSWER },
    open = { { "close" }, { "blob", "abc", "é" }, { "bytes", "0000" }, { "look" } }, close = { { "blob", "abc" }, { "look" } },
    hears = { OPEN, "look 2 buffered 7", CLOSED, "look 3 buffered 10" }, wire = BYE,
  }, {
    name = "slices of an ArrayBuffer", kinds = true,
    server = { SWITCH, { "binary", "0001020304" }, ANSWER },
    now = { { "put", "binaryType", "arraybuffer" } },
    message = {
      { "data", "byteLength" }, { "slice", 0 }, { "slice", 1, 3 }, { "slice", -2 }, { "slice", 1, -1 },
      { "slice", 3, 1 }, { "slice", 9 },
      { "slice", -9, 99 }, { "close" },
    },
    hears = {
      OPEN, "message ArrayBuffer binary 0001020304", "data.byteLength is 5", "slice(0) is binary 0001020304",
      "slice(1, 3) is binary 0102", "slice(-2) is binary 0304", "slice(1, -1) is binary 010203", "slice(3, 1) is binary ",
      "slice(9) is binary ", "slice(-9, 99) is binary 0001020304", CLOSED,
    },
    wire = BYE,
  }, {
    name = "slices of a Blob", kinds = true,
    server = { SWITCH, { "binary", "0001020304" }, ANSWER },
    now = { { "put", "binaryType", "blob" } },
    message = {
      { "data", "size" }, { "data", "type" }, { "slice", 0 }, { "slice", 1, 3 }, { "slice", -2 }, { "slice", 1, -1 },
      { "slice", 3, 1 },
      { "slice", 9 }, { "slice", -9, 99 }, { "close" },
    },
    hears = {
      OPEN, "message Blob binary 0001020304", "data.size is 5", 'data.type is ""', "slice(0) is binary 0001020304",
      "slice(1, 3) is binary 0102", "slice(-2) is binary 0304", "slice(1, -1) is binary 010203", "slice(3, 1) is binary ",
      "slice(9) is binary ", "slice(-9, 99) is binary 0001020304", CLOSED,
    },
    wire = BYE,
  }, {
    name = "text() of a Blob",
    server = { SWITCH, ANSWER },
    now = {
      { "blobText", "" }, { "blobText", "48c3a9" }, { "blobText", "efbbbf78" }, { "blobText", "78efbbbf" },
      { "blobText", "ff41" },
      { "blobText", "e28241" }, { "blobText", "f09f98" }, { "blobText", "eda080" }, { "blobText", "c080" },
      { "blobText", "f4908080" },
      { "blobText", "f0808080" }, { "blobText", "4100" },
    },
    open = CLOSE_IT,
    hears = {
      'text() is ""', 'text() is "Hé"', 'text() is "x"', 'text() is "x\u{FEFF}"', 'text() is "�A"', 'text() is "�A"',
      'text() is "�"', 'text() is "���"', 'text() is "��"', 'text() is "����"', 'text() is "����"', 'text() is "A\0"', OPEN,
      CLOSED,
    },
    wire = BYE,
  }, {
    name = "the type of a Blob",
    server = { SWITCH, ANSWER },
    now = {
      { "blobType", "TEXT/Plain;A=B" }, { "blobType", "" }, { "blobType", "é/x" }, { "blobType", "a\1b" },
      { "blobType", "any thing" },
    },
    open = CLOSE_IT,
    hears = { 'type is "text/plain;a=b"', 'type is ""', 'type is ""', 'type is ""', 'type is "any thing"', OPEN, CLOSED },
    wire = BYE,
  }, {
    name = "the length of an ArrayBuffer",
    server = { SWITCH, ANSWER },
    now = { { "buffer", 0 }, { "buffer", 10 }, { "buffer", -1 } },
    open = CLOSE_IT,
    hears = { "byteLength is 0", "byteLength is 10", "buffer(-1): RangeError", OPEN, CLOSED }, wire = BYE,
  },
}

-- --- events -----------------------------------------------------------------------------------------------------

local TWO = { SWITCH, { "text", "1" }, { "text", "2" }, ANSWER }

local events = {
  {
    name = "a handler and listeners, in the order in which they were set",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "set", "onmessage", "B" }, { "listen", "message", "C" } },
    C = { { "nth", 2, { "close" } } },
    hears = {
      "A hears message", "B hears message", "C hears message", "A hears message", "B hears message", "C hears message",
    },
    wire = BYE,
  }, {
    name = "a handler that is replaced keeps its place",
    server = TWO, bare = true,
    now = { { "set", "onmessage", "A" }, { "listen", "message", "B" }, { "set", "onmessage", "C" } },
    B = { { "nth", 2, { "close" } } },
    hears = { "C hears message", "B hears message", "C hears message", "B hears message" }, wire = BYE,
  }, {
    name = "a handler that is taken away and set again comes last",
    server = TWO, bare = true,
    now = { { "set", "onmessage", "A" }, { "listen", "message", "B" }, { "unset", "onmessage" }, { "set", "onmessage", "A" } },
    B = { { "nth", 2, { "close" } } },
    hears = { "B hears message", "A hears message", "B hears message", "A hears message" }, wire = BYE,
  }, {
    name = "a listener added twice",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "listen", "message", "A" }, { "listen", "message", "A", { capture = true } } },
    A = { { "nth", 4, { "close" } } }, -- twice a message
    hears = { "A hears message", "A hears message", "A hears message", "A hears message" }, wire = BYE,
  }, {
    name = "a listener that captures", because = "capturing listeners",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "set", "onmessage", "B" }, { "listen", "message", "C", { capture = true } } },
    A = { { "nth", 2, { "close" } } },
    hears = {
      "A hears message", "B hears message", "C hears message", "A hears message", "B hears message", "C hears message",
    },
    wire = BYE,
    ours = {
      "C hears message", "A hears message", "B hears message", "C hears message", "A hears message", "B hears message",
    },
  }, {
    name = "a listener removed with the other capture flag stays",
    server = TWO, bare = true,
    now = {
      { "listen", "message", "A", { capture = true } }, { "unlisten", "message", "A" }, { "listen", "message", "B" },
      { "unlisten", "message", "B", { capture = true } },
    },
    A = { { "nth", 2, { "unlisten", "message", "B" }, { "close" } } },
    hears = { "A hears message", "B hears message", "A hears message" }, wire = BYE,
  }, {
    name = "a listener for once",
    server = TWO, bare = true,
    now = { { "listen", "message", "A", { once = true } }, { "listen", "message", "B" } },
    B = { { "nth", 2, { "close" } } },
    hears = { "A hears message", "B hears message", "B hears message" }, wire = BYE,
  }, {
    name = "a listener for once that adds itself again",
    server = TWO, bare = true,
    now = { { "listen", "message", "A", { once = true } } },
    A = { { "nth", 1, { "listen", "message", "A", { once = true } } }, { "nth", 2, { "close" } } },
    hears = { "A hears message", "A hears message" }, wire = BYE,
  }, {
    name = "a listener removed before its turn",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "listen", "message", "B" }, { "listen", "message", "C" } },
    A = { { "unlisten", "message", "B" }, { "nth", 2, { "close" } } },
    hears = { "A hears message", "C hears message", "A hears message", "C hears message" }, wire = BYE,
  }, {
    name = "a listener that removes itself",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "listen", "message", "B" } },
    A = { { "unlisten", "message", "A" } }, B = { { "nth", 2, { "close" } } },
    hears = { "A hears message", "B hears message", "B hears message" }, wire = BYE,
  }, {
    name = "a listener added during the event hears the next",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" } },
    A = { { "nth", 1, { "listen", "message", "B" } }, { "nth", 2, { "close" } } },
    hears = { "A hears message", "A hears message", "B hears message" }, wire = BYE,
  }, {
    name = "a listener that was removed and added again during the event hears the next",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "listen", "message", "B" } },
    A = { { "nth", 1, { "unlisten", "message", "B" }, { "listen", "message", "B" } }, { "nth", 2, { "close" } } },
    hears = { "A hears message", "A hears message", "B hears message" }, wire = BYE,
  }, {
    name = "a handler set by a listener before its turn",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "set", "onmessage", "B" } },
    A = { { "nth", 1, { "set", "onmessage", "C" } }, { "nth", 2, { "close" } } },
    hears = { "A hears message", "C hears message", "A hears message", "C hears message" }, wire = BYE,
  }, {
    name = "a handler taken away by a listener before its turn",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "set", "onmessage", "B" } },
    A = { { "unset", "onmessage" }, { "nth", 2, { "close" } } },
    hears = { "A hears message", "A hears message" }, wire = BYE,
  }, {
    name = "a handler that replaces itself",
    server = TWO, bare = true,
    now = { { "set", "onmessage", "A" } },
    A = { { "set", "onmessage", "B" } }, B = CLOSE_IT,
    hears = { "A hears message", "B hears message" }, wire = BYE,
  }, {
    name = "stopImmediatePropagation()",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "set", "onmessage", "B" }, { "listen", "message", "C" } },
    A = { { "nth", 1, { "stop" } }, { "nth", 2, { "close" } } },
    hears = { "A hears message", "A hears message", "B hears message", "C hears message" }, wire = BYE,
  }, {
    name = "listeners for every type",
    server = { { "say", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" }, { "end" } }, bare = true,
    now = { { "listen", "open", "A" }, { "listen", "message", "A" }, { "listen", "error", "A" }, { "listen", "close", "A" } },
    hears = { "A hears error", "A hears close" }, wire = REFUSED,
  }, {
    name = "an exception in a handler does not keep the others from hearing",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "set", "onmessage", "B" }, { "listen", "message", "C" } },
    A = { { "raise", "first" } }, B = { { "raise", "second" } }, C = { { "nth", 2, { "close" } } },
    hears = {
      "A hears message", "reported first", "B hears message", "reported second", "C hears message", "A hears message",
      "reported first", "B hears message", "reported second", "C hears message",
    },
    wire = BYE,
  }, {
    name = "an exception in onopen",
    server = TWO,
    open = { { "raise", "boom" } }, message = { { "nth", 2, { "close" } } },
    hears = { OPEN, "reported boom", 'message text "1"', 'message text "2"', CLOSED }, wire = BYE,
  }, {
    name = "exceptions in onerror and onclose",
    server = { { "end" } },
    error = { { "raise", "one" } }, close = { { "raise", "two" } },
    hears = { "error 3", "reported one", LOST, "reported two" }, wire = REFUSED,
  }, {
    name = "an exception behind close()",
    server = TWO,
    message = { { "close" }, { "raise", "boom" } },
    hears = { OPEN, 'message text "1"', "reported boom", CLOSED }, wire = BYE,
  }, {
    name = "close() in onmessage: what came behind is not heard",
    server = { SWITCH, { "text", "1" }, { "text", "2" }, { "text", "3" }, ANSWER },
    message = { { "close", 4000, "enough" }, { "look" } },
    hears = { OPEN, 'message text "1"', "look 2 buffered 0", 'close 3 4000 "enough" clean' },
    wire = { "request", 'close 4000 "enough"', "end" },
  }, {
    name = "close() in the first of two listeners: the second hears the message still",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "listen", "message", "B" } },
    A = { { "close" }, { "look" } }, B = { { "look" } },
    hears = { "A hears message", "look 2 buffered 0", "B hears message", "look 2 buffered 0" }, wire = BYE,
  }, {
    name = "a handler set in onerror hears the close",
    server = { { "end" } }, bare = true,
    now = { { "set", "onerror", "A" } }, A = { { "set", "onclose", "B" } },
    hears = { "A hears error", "B hears close" }, wire = REFUSED,
  }, {
    name = "a listener for the close, added during the close, hears nothing",
    server = { { "end" } }, bare = true,
    now = { { "set", "onclose", "A" } }, A = { { "listen", "close", "B" } },
    hears = { "A hears close" }, wire = REFUSED,
  }, {
    name = "a listener added in onopen hears what came along",
    server = TWO, bare = true,
    now = { { "set", "onopen", "A" } }, A = { { "listen", "message", "B" } }, B = { { "nth", 2, { "close" } } },
    hears = { "A hears open", "B hears message", "B hears message" }, wire = BYE,
  }, {
    name = "a handler taken away in onopen hears nothing of what came along",
    server = { SWITCH, { "text", "1" }, { "close", 1000 }, { "await", "close" }, { "end" } }, bare = true,
    now = { { "set", "onopen", "A" }, { "set", "onmessage", "B" }, { "set", "onclose", "C" } }, A = { { "unset", "onmessage" } },
    hears = { "A hears open", "C hears close" }, wire = { "request", 'close 1000 ""', "end" },
  }, {
    name = "what a handler changes in the socket is seen by the next",
    server = TWO, bare = true,
    now = { { "listen", "message", "A" }, { "listen", "message", "B" } },
    A = { { "nth", 2, { "send", "abc" }, { "close" } } }, B = { { "look" } },
    hears = {
      "A hears message", "B hears message", "look 1 buffered 0", "A hears message", "B hears message", "look 2 buffered 3",
    },
    wire = { "request", 'text "abc"', "close", "end" },
  }, {
    name = "what an event says of itself",
    server = { SWITCH, { "text", "x" }, ANSWER },
    open = { { "event", "type" }, { "target" } },
    message = { { "event", "type" }, { "event", "data" }, { "event", "origin" }, { "target" }, { "close", 4000, "so" } },
    close = { { "event", "type" }, { "event", "code" }, { "event", "reason" }, { "event", "wasClean" }, { "target" } },
    hears = {
      OPEN, 'event.type is "open"', "the target is the socket", 'message text "x"', 'event.type is "message"',
      'event.data is "x"', 'event.origin is "ws://127.0.0.1:PORT"', "the target is the socket", 'close 3 4000 "so" clean',
      'event.type is "close"', "event.code is 4000", 'event.reason is "so"', "event.wasClean is true",
      "the target is the socket",
    },
    wire = { "request", 'close 4000 "so"', "end" },
  }, {
    name = "what an error says of itself",
    server = { { "end" } },
    error = { { "event", "type" }, { "target" } },
    hears = { "error 3", 'event.type is "error"', "the target is the socket", LOST }, wire = REFUSED,
  }, {
    name = "the constants, and what is there from the beginning",
    server = { SWITCH, ANSWER },
    now = {
      { "get", "CONNECTING" }, { "get", "OPEN" }, { "get", "CLOSING" }, { "get", "CLOSED" }, { "get", "url" },
      { "get", "readyState" },
      { "get", "bufferedAmount" }, { "get", "extensions" }, { "get", "protocol" }, { "type", "send" }, { "type", "close" },
      { "type", "addEventListener" }, { "type", "removeEventListener" }, { "type", "onopen" },
    },
    open = { { "get", "extensions" }, { "close" } },
    hears = {
      "CONNECTING is 0", "OPEN is 1", "CLOSING is 2", "CLOSED is 3", 'url is "ws://127.0.0.1:PORT/PATH"', "readyState is 0",
      "bufferedAmount is 0", 'extensions is ""', 'protocol is ""', "send is a function", "close is a function",
      "addEventListener is a function", "removeEventListener is a function", "onopen is a function", OPEN, 'extensions is ""',
      CLOSED,
    },
    wire = BYE,
  }, {
    name = "handlers that were never set",
    server = { SWITCH, ANSWER }, bare = true,
    now = {
      { "type", "onopen" }, { "type", "onmessage" }, { "type", "onerror" }, { "type", "onclose" },
      { "listen", "open", "A" }, { "set", "onopen", "B" }, { "type", "onopen" }, { "unset", "onopen" }, { "type", "onopen" },
    },
    A = CLOSE_IT,
    hears = {
      "onopen is a nil", "onmessage is a nil", "onerror is a nil", "onclose is a nil", "onopen is a function",
      "onopen is a nil", "A hears open",
    },
    wire = BYE,
  }, {
    name = "writing what is read-only",
    server = { SWITCH, ANSWER },
    now = {
      { "put", "url", "x" }, { "put", "readyState", 3 }, { "put", "bufferedAmount", 1 }, { "put", "protocol", "x" },
      { "put", "extensions", "x" },
      { "get", "readyState" },
    },
    open = CLOSE_IT,
    hears = {
      "put(url, x): TypeError", "put(readyState, 3): TypeError", "put(bufferedAmount, 1): TypeError",
      "put(protocol, x): TypeError", "put(extensions, x): TypeError", "readyState is 0", OPEN, CLOSED,
    },
    wire = BYE,
  }, {
    name = "fields of the program's own",
    server = { SWITCH, ANSWER },
    now = { { "put", "nickname", "Pam" } }, open = { { "get", "nickname" }, { "close" } },
    hears = { OPEN, 'nickname is "Pam"', CLOSED }, wire = BYE,
  },
}

-- --- addresses and subprotocols -----------------------------------------------------------------------------------

local RAISED = { "new: SyntaxError" }

-- The constructor does not take it; where `because` says so, only ours does not.
local function refused(name, url, because)
  return { name = name, url = url, hears = because and FAILED or RAISED, ours = because and RAISED, because = because }
end

local arguments = {
  refused("an address that is none", "ws://"),
  refused("an address without a scheme's end", "ws:"),
  refused("another scheme", "ftp://127.0.0.1/"),
  refused("a scheme that is a page's", "about:blank"),
  refused("a fragment", "ws://127.0.0.1:PORT/PATH#here"),
  refused("an empty fragment", "ws://127.0.0.1:PORT/PATH#"),
  refused("a port that is too large", "ws://127.0.0.1:65536/"),
  refused("a port that is no number", "ws://127.0.0.1:x/"),
  refused("an IPv6 address that is not closed", "ws://[::1/"),
  refused("an IPv4 address that is too large", "ws://256.0.0.1/"),
  refused("a space in the host", "ws://a b/", "a space in a host"),
  { name = "a subprotocol twice", protocols = { "a", "a" }, hears = RAISED },
  { name = "an empty subprotocol", protocols = { "a", "" }, hears = RAISED },
  { name = "an empty subprotocol as a string", protocols = "", hears = RAISED },
  { name = "a subprotocol with a space", protocols = { "a b" }, hears = RAISED },
  { name = "a subprotocol with a comma", protocols = "a,b", hears = RAISED },
  { name = "a subprotocol outside ASCII", protocols = { "é" }, hears = RAISED },
  { name = "a subprotocol with a control character", protocols = { "a\127" }, hears = RAISED },
  refused("a fragment in an address of http", "HTTP://LOCALHOST:PORT/a/../%2e/PATH?q#"),
  {
    name = "http for ws", url = "http://127.0.0.1:PORT/PATH",
    server = { SWITCH, ANSWER },
    now = { { "get", "url" } }, open = CLOSE_IT,
    hears = { 'url is "ws://127.0.0.1:PORT/PATH"', OPEN, CLOSED }, wire = BYE,
  }, {
    name = "capitals, dots and a query in an address", url = "WS://127.0.0.1:PORT/a/.././PATH?Q=ä",
    server = { SWITCH, ANSWER },
    now = { { "get", "url" } }, open = CLOSE_IT,
    hears = { 'url is "ws://127.0.0.1:PORT/PATH?Q=%C3%A4"', OPEN, CLOSED }, wire = BYE,
  }, {
    name = "an address without a path", url = "ws://127.0.0.1:PORT?PATH",
    now = { { "get", "url" } },
    hears = { 'url is "ws://127.0.0.1:PORT/?PATH"', "error 3", LOST },
  }, {
    name = "backslashes and encoded digits in an address", url = "ws:\\\\%3127.0.0.1:0PORT\\PATH\\..\\PATH",
    server = { { "target" }, SWITCH, ANSWER },
    now = { { "get", "url" } }, open = CLOSE_IT,
    hears = { 'url is "ws://127.0.0.1:PORT/PATH"', OPEN, CLOSED }, wire = { "request", "asked for /PATH", "close", "end" },
  }, {
    name = "what is encoded in a query", url = "ws://127.0.0.1:PORT/PATH?\"'<>`{}|^\\~%zz%7eé",
    server = { { "target" }, SWITCH, ANSWER },
    now = { { "get", "url" } }, open = CLOSE_IT,
    hears = { 'url is "ws://127.0.0.1:PORT/PATH?%22%27%3C%3E`{}|^\\~%zz%7e%C3%A9"', OPEN, CLOSED },
    wire = { "request", "asked for /PATH?%22%27%3C%3E`{}|^\\~%zz%7e%C3%A9", "close", "end" },
  }, {
    name = "what is encoded in a path", url = "ws://127.0.0.1:PORT/\"'<>`{}|^~%zz%7eé/../PATH?x",
    server = { { "target" }, SWITCH, ANSWER },
    now = { { "get", "url" } }, open = CLOSE_IT,
    hears = { 'url is "ws://127.0.0.1:PORT/PATH?x"', OPEN, CLOSED },
    wire = { "request", "asked for /PATH?x", "close", "end" },
  }, {
    name = "what is encoded in a path, told", url = "ws://127.0.0.1:FREE/\"'<>`{}^~%zz%7eé;,@:$&+=()*!",
    now = { { "get", "url" } },
    hears = { "url is \"ws://127.0.0.1:PORT/%22'%3C%3E%60%7B%7D%5E~%zz%7e%C3%A9;,@:$&+=()*!\"", "error 3", LOST },
  }, {
    name = "a bar in a path", url = "ws://127.0.0.1:FREE/a|b", because = "a bar in a path",
    now = { { "get", "url" } },
    hears = { 'url is "ws://127.0.0.1:PORT/a%7Cb"', "error 3", LOST },
    ours = { 'url is "ws://127.0.0.1:PORT/a|b"', "error 3", LOST },
  }, {
    name = "port 0", url = "ws://127.0.0.1:0/", because = "strict addresses",
    now = { { "get", "url" } },
    hears = { 'url is "ws://127.0.0.1:0/"', "error 3", LOST }, ours = { "new: SyntaxError" },
  }, {
    name = "an address of 9,000 bytes", url = "ws://127.0.0.1:PORT/PATH?" .. ("x"):rep(9000),
    server = { SWITCH, ANSWER },
    open = CLOSE_IT, because = "long addresses",
    hears = { OPEN, CLOSED }, wire = BYE, ours = { "new: SyntaxError" }, oursOnWire = {},
  }, {
    name = "an empty query in an address", url = "ws://127.0.0.1:PORT/PATH?",
    server = { { "target" }, SWITCH, ANSWER },
    now = { { "get", "url" } }, open = CLOSE_IT,
    hears = { 'url is "ws://127.0.0.1:PORT/PATH?"', OPEN, CLOSED }, wire = { "request", "asked for /PATH?", "close", "end" },
  }, {
    name = "a space within an address", url = "ws://127.0.0.1:PORT/PATH?a b",
    server = { SWITCH, ANSWER },
    now = { { "get", "url" } }, open = CLOSE_IT, because = "strict addresses",
    hears = { 'url is "ws://127.0.0.1:PORT/PATH?a%20b"', OPEN, CLOSED }, wire = BYE, ours = RAISED, oursOnWire = {},
  },
  refused("an address relative to the page", "/nowhere", "relative addresses"),
  refused("an address that is a number", 42, "relative addresses"),
  {
    name = "a name and a password in an address", url = "ws://me:secret@127.0.0.1:PORT/PATH",
    server = { SWITCH, { "fields", "authorization" }, ANSWER },
    now = { { "get", "url" } }, open = CLOSE_IT, because = "a name and a password in an address",
    hears = { 'url is "ws://me:secret@127.0.0.1:PORT/PATH"', OPEN, CLOSED },
    wire = { "request", "authorization: none", "close", "end" }, ours = { 'url is "ws://127.0.0.1:PORT/PATH"', OPEN, CLOSED },
    oursOnWire = { "request", "authorization: Basic bWU6c2VjcmV0", "close", "end" },
  }, {
    name = "who asks",
    server = { { "fields", "origin", "upgrade", "connection", "sec-websocket-version" }, SWITCH, ANSWER },
    open = CLOSE_IT, because = "what a request says of who asks",
    hears = { OPEN, CLOSED },
    wire = {
      "request", "origin: http://127.0.0.1:PORT", "upgrade: websocket", "connection: Upgrade", "sec-websocket-version: 13",
      "close", "end",
    },
    oursOnWire = {
      "request", "origin: none", "upgrade: websocket", "connection: Upgrade", "sec-websocket-version: 13", "close", "end",
    },
  },
}

-- --- where the languages differ -------------------------------------------------------------------------------------

local differences = {
  {
    name = "a number to send",
    server = { SWITCH, ANSWER },
    open = { { "send", 42 }, { "send", "@true" }, { "close" } }, because = "values of the wrong type",
    hears = { OPEN, CLOSED }, wire = { "request", 'text "42"', 'text "true"', "close", "end" },
    ours = { OPEN, "send(42): TypeError", "send(@true): TypeError", CLOSED }, oursOnWire = BYE,
  }, {
    name = "nothing to send",
    server = { SWITCH, ANSWER },
    open = { { "send" }, { "send", "@undefined" }, { "close" } }, because = "values of the wrong type",
    hears = { OPEN, CLOSED }, wire = { "request", 'text "undefined"', 'text "undefined"', "close", "end" },
    ours = { OPEN, "send(): TypeError", "send(@undefined): TypeError", CLOSED }, oursOnWire = BYE,
  }, {
    name = "a code that is a string",
    server = { SWITCH, ANSWER },
    open = { { "close", "1000" }, { "look" }, { "close" } }, because = "values of the wrong type",
    hears = { OPEN, "look 2 buffered 0", 'close 3 1000 "" clean' }, wire = { "request", 'close 1000 ""', "end" },
    ours = { OPEN, "close(1000): TypeError", "look 1 buffered 0", CLOSED }, oursOnWire = BYE,
  }, {
    name = "a code that is no number at all",
    server = { SWITCH, ANSWER },
    open = { { "close", "x" }, { "close", "@true" }, { "look" }, { "close" } }, because = "values of the wrong type",
    hears = { OPEN, "close(x): InvalidAccessError", "close(@true): InvalidAccessError", "look 1 buffered 0", CLOSED },
    wire = BYE, ours = { OPEN, "close(x): TypeError", "close(@true): TypeError", "look 1 buffered 0", CLOSED },
  }, {
    name = "a code with a fraction",
    server = { SWITCH, ANSWER },
    open = { { "close", 1000.4 }, { "look" }, { "close" } }, because = "values of the wrong type",
    hears = { OPEN, "look 2 buffered 0", 'close 3 1000 "" clean' }, wire = { "request", 'close 1000 ""', "end" },
    ours = { OPEN, "close(1000.4): InvalidAccessError", "look 1 buffered 0", CLOSED }, oursOnWire = BYE,
  }, {
    name = "a reason that is a number",
    server = { SWITCH, ANSWER },
    open = { { "close", 1000, 42 }, { "look" }, { "close" } }, because = "values of the wrong type",
    hears = { OPEN, "look 2 buffered 0", 'close 3 1000 "42" clean' }, wire = { "request", 'close 1000 "42"', "end" },
    ours = { OPEN, "close(1000, 42): TypeError", "look 1 buffered 0", CLOSED }, oursOnWire = BYE,
  }, {
    name = "a reason without a code",
    server = { SWITCH, ANSWER },
    open = { { "close", "@undefined", "why" }, { "look" }, { "close" } }, because = "a reason without a code",
    hears = { OPEN, "close(@undefined, why): InvalidAccessError", "look 1 buffered 0", CLOSED }, wire = BYE,
    ours = { OPEN, "close(@undefined, why): SyntaxError", "look 1 buffered 0", CLOSED },
  }, {
    name = "a reason too long without a code",
    server = { SWITCH, ANSWER },
    open = { { "close", "@undefined", LONG .. "x" }, { "look" }, { "close" } }, because = "a reason without a code",
    hears = { OPEN, "close(@undefined, …): InvalidAccessError", "look 1 buffered 0", CLOSED }, wire = BYE,
    ours = { OPEN, "close(@undefined, …): SyntaxError", "look 1 buffered 0", CLOSED },
  }, {
    name = "a subprotocol that is a number", protocols = 42,
    server = { { "switch", { ["Sec-WebSocket-Protocol"] = "42" } }, ANSWER },
    open = CLOSE_IT, because = "values of the wrong type",
    hears = { 'open 1 "42"', CLOSED }, wire = { "request 42", "close", "end" }, ours = RAISED, oursOnWire = {},
  }, {
    name = "half a surrogate pair to send",
    server = { SWITCH, ANSWER },
    open = { { "send", "@surrogate" }, { "close", 1000, "@surrogate" }, { "close" } }, because = "text to send that is not UTF-8",
    hears = { OPEN, 'close 3 1000 "�" clean' }, wire = { "request", 'text "�"', 'close 1000 "�"', "end" },
    ours = { OPEN, "send(@surrogate): TypeError", "close(1000, @surrogate): SyntaxError", CLOSED }, oursOnWire = BYE,
  }, {
    name = "a handler that is no function",
    server = { SWITCH, ANSWER },
    now = { { "put", "onmessage", "x" }, { "type", "onmessage" } }, open = CLOSE_IT,
    because = "a handler that is no function",
    hears = { "onmessage is a nil", OPEN, CLOSED }, wire = BYE,
    ours = { "put(onmessage, x): TypeError", "onmessage is a function", OPEN, CLOSED },
  }, {
    name = "a handler for what does not exist",
    server = { SWITCH, ANSWER },
    now = { { "put", "onmesage", "x" } }, open = CLOSE_IT, because = "misspelt names",
    hears = { OPEN, CLOSED }, wire = BYE, ours = { "put(onmesage, x): TypeError", OPEN, CLOSED },
  }, {
    name = "a listener for what does not exist",
    server = { SWITCH, ANSWER },
    now = { { "listen", "opened", "A" }, { "unlisten", "opened", "A" } }, open = CLOSE_IT, because = "misspelt names",
    hears = { OPEN, CLOSED }, wire = BYE,
    ours = { "listen(opened, A): TypeError", "unlisten(opened, A): TypeError", OPEN, CLOSED },
  }, {
    name = "a listener that is an object with handleEvent",
    server = { SWITCH, ANSWER },
    now = { { "listenObject", "open" } }, open = CLOSE_IT, because = "objects as listeners",
    hears = { OPEN, "handleEvent hears open", CLOSED }, wire = BYE, ours = { "listenObject(open): TypeError", OPEN, CLOSED },
  }, {
    name = "binaryType by default",
    server = { SWITCH, { "binary", "00ff" }, ANSWER }, kinds = true,
    now = { { "get", "binaryType" } }, message = CLOSE_IT, because = "binaryType",
    hears = { 'binaryType is "blob"', OPEN, "message Blob binary 00ff", CLOSED }, wire = BYE,
    ours = { 'binaryType is "string"', OPEN, "message string binary 00ff", CLOSED },
  }, {
    name = "a binaryType that is none",
    server = { SWITCH, ANSWER },
    now = { { "put", "binaryType", "Blob" }, { "get", "binaryType" } }, open = CLOSE_IT,
    because = "values of the wrong type",
    hears = { 'binaryType is "arraybuffer"', OPEN, CLOSED }, wire = BYE,
    ours = { "put(binaryType, Blob): TypeError", 'binaryType is "arraybuffer"', OPEN, CLOSED },
  }, {
    name = "what a message says besides",
    server = { SWITCH, { "text", "x" }, { "binary", "00" }, ANSWER },
    message = {
      { "eventType", "binary" }, { "eventType", "currentTarget" }, { "eventType", "timeStamp" }, { "eventType", "isTrusted" },
      { "eventType", "bubbles" }, { "eventType", "eventPhase" }, { "eventType", "preventDefault" },
      { "eventType", "stopPropagation" },
      { "eventType", "stopImmediatePropagation" }, { "eventType", "lastEventId" }, { "eventType", "ports" },
      { "nth", 2, { "close" } },
    }, because = "members of events",
    hears = {
      OPEN, 'message text "x"', "event.binary is a nil", "event.currentTarget is a object", "event.timeStamp is a number",
      "event.isTrusted is a boolean", "event.bubbles is a boolean", "event.eventPhase is a number",
      "event.preventDefault is a function", "event.stopPropagation is a function",
      "event.stopImmediatePropagation is a function", "event.lastEventId is a string", "event.ports is a object",
      "message binary 00", "event.binary is a nil", "event.currentTarget is a object", "event.timeStamp is a number",
      "event.isTrusted is a boolean", "event.bubbles is a boolean", "event.eventPhase is a number",
      "event.preventDefault is a function", "event.stopPropagation is a function",
      "event.stopImmediatePropagation is a function", "event.lastEventId is a string", "event.ports is a object", CLOSED,
    },
    wire = BYE,
    ours = {
      OPEN, 'message text "x"', "event.binary is a boolean", "event.currentTarget is a nil", "event.timeStamp is a nil",
      "event.isTrusted is a nil", "event.bubbles is a nil", "event.eventPhase is a nil", "event.preventDefault is a nil",
      "event.stopPropagation is a nil", "event.stopImmediatePropagation is a function", "event.lastEventId is a nil",
      "event.ports is a nil", "message binary 00", "event.binary is a boolean", "event.currentTarget is a nil",
      "event.timeStamp is a nil", "event.isTrusted is a nil", "event.bubbles is a nil", "event.eventPhase is a nil",
      "event.preventDefault is a nil", "event.stopPropagation is a nil", "event.stopImmediatePropagation is a function",
      "event.lastEventId is a nil", "event.ports is a nil", CLOSED,
    },
  }, {
    name = "what an error says besides",
    server = { { "say", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" }, { "end" } },
    error = { { "eventType", "message" }, { "eventType", "code" }, { "eventType", "status" }, { "eventType", "headers" } },
    because = "why a connection failed",
    hears = {
      "error 3", "event.message is a nil", "event.code is a nil", "event.status is a nil", "event.headers is a nil", LOST,
    },
    wire = REFUSED,
    ours = {
      "error 3", "event.message is a string", "event.code is a string", "event.status is a number",
      "event.headers is a object", LOST,
    },
  }, {
    name = "what a close says besides",
    server = { SWITCH, { "close", 1001 }, { "await", "close" }, { "end" } },
    close = { { "event", "name" } }, because = "the name of a close code",
    hears = { OPEN, 'close 3 1001 "" clean', "event.name is nil" }, wire = { "request", 'close 1001 ""', "end" },
    ours = { OPEN, 'close 3 1001 "" clean', 'event.name is "GOING_AWAY"' },
  }, {
    name = "methods that the other has not",
    server = { SWITCH, ANSWER },
    now = {
      { "type", "ping" }, { "type", "terminate" }, { "type", "pause" }, { "type", "resume" }, { "type", "receive" },
      { "type", "messages" },
      { "type", "drain" },
    },
    open = { { "type", "lastReceived" }, { "type", "isPaused" }, { "type", "bytesSent" }, { "close" } },
    because = "more on a socket",
    hears = {
      "ping is a nil", "terminate is a nil", "pause is a nil", "resume is a nil", "receive is a nil", "messages is a nil",
      "drain is a nil", OPEN, "lastReceived is a nil", "isPaused is a nil", "bytesSent is a nil", CLOSED,
    },
    wire = BYE,
    ours = {
      "ping is a function", "terminate is a function", "pause is a function", "resume is a function", "receive is a function",
      "messages is a function", "drain is a function", OPEN, "lastReceived is a number", "isPaused is a boolean",
      "bytesSent is a number", CLOSED,
    },
  }, {
    name = "methods that only the browser has",
    server = { SWITCH, ANSWER },
    now = { { "type", "dispatchEvent" } }, open = CLOSE_IT, because = "dispatchEvent",
    hears = { "dispatchEvent is a function", OPEN, CLOSED }, wire = BYE, ours = { "dispatchEvent is a nil", OPEN, CLOSED },
  }, {
    name = "two sockets at once to one place",
    server = { { "meet", 150 }, SWITCH, ANSWER },
    now = { { "beside", "?second" } }, open = CLOSE_IT,
    because = "connections to the same address",
    hears = { OPEN, CLOSED }, wire = { "request", "alone", "close", "end", "request", "close", "end" },
    oursOnWire = { "request", "not alone", "close", "end", "request", "close", "end" },
  }, {
    name = "an answer of 100 before that of 101",
    server = { { "say", "HTTP/1.1 100 Continue\r\n\r\n" }, SWITCH, ANSWER },
    open = CLOSE_IT, because = "answers before the 101",
    hears = FAILED, wire = REFUSED, ours = { OPEN, CLOSED }, oursOnWire = BYE,
  }, {
    name = "an answer of 103 before that of 101",
    server = { { "say", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" }, SWITCH, ANSWER },
    open = CLOSE_IT, because = "answers before the 101",
    hears = FAILED, wire = REFUSED, ours = { OPEN, CLOSED }, oursOnWire = BYE,
  }, {
    name = "a listener with an option of the browser's",
    server = { SWITCH, ANSWER }, bare = true,
    now = { { "listen", "open", "A", { passive = true } }, { "listen", "open", "B" } }, B = CLOSE_IT,
    because = "options of listeners",
    hears = { "A hears open", "B hears open" }, wire = BYE, ours = { "listen(open, A, …): TypeError", "B hears open" },
  }, {
    name = "a listener that is nothing",
    server = { SWITCH, ANSWER },
    now = { { "listenNothing", "open" } }, open = CLOSE_IT, because = "options of listeners",
    hears = { OPEN, CLOSED }, wire = BYE, ours = { "listenNothing(open): TypeError", OPEN, CLOSED },
  },
}

return { opening, answers, messages, violations, closing, sending, binary, events, arguments, differences }
