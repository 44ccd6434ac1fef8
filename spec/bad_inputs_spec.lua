-- Everything a peer or a caller can get wrong, and what it must get: each line of the contract with the place where it is
-- judged: over ws, whole and one byte at a time, and over wss, whole, in records of a byte and in records that are cut. A row
-- whose case has vanished is red; and here is what no other spec judges.
--
-- Raised: a Lua error at the call. Failed: `error`, then `close` 1006, never `open`. cNNNN: a Close frame with that code.

local desk = require "spec.server_helper"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

local ways = { "whole", "one byte at a time" }
local SECURE_WAYS = require("spec.wrong").secure

-- --- the index --------------------------------------------------------------------------------------

-- {what, {spec, words that stand in the names of its tests, ...}, ...}
local CONSTRUCTOR, REQUEST, RESPONSE = "websocket_constructor", "server_handshake", "websocket_handshake"
local FROM_CLIENT, FROM_SERVER, TABLE = "server_frames", "websocket_frames", "conformance/protocol"
local CLIENT_TLS, SERVER_TLS, HANDLER, DEFLATE = "tls", "tls_server", "lua_handler", "session_deflate"

local function wrongUrl(...)
  local row = { CONSTRUCTOR }
  for i, name in ipairs { ... } do row[i + 1] = ("with a wrong URL raises SyntaxError (%s)"):format(name) end
  return row
end

-- The tests that these rows of spec/wrong.lua are made into: over ws by `file`, as `pattern` has it of the name and the way;
-- over wss by `secure`, under `what`.
local function driven(file, pattern, secure, what, names)
  local plain, covered = { file }, { secure }
  for _, name in ipairs(names) do
    for _, way in ipairs(ways) do plain[#plain + 1] = pattern:format(name, way) end
    for _, way in ipairs(SECURE_WAYS) do covered[#covered + 1] = ("%s %s, %s"):format(what, name, way) end
  end
  return plain, covered
end

local OVER_SERVER, OVER_CLIENT = "wrong_server", "wrong_client"

local function answered(status, ...)
  return { driven(REQUEST, "a refused request (%s), sent %s, is answered " .. status, OVER_SERVER, "a server answers", { ... }) }
end

local function failed(...)
  return { driven(RESPONSE, "fails the connection: %s, %s", OVER_CLIENT, "a client refuses", { ... }) }
end

local function taken(...)
  return { driven(RESPONSE, "unusual but right is taken: %s, %s", OVER_CLIENT, "a client takes", { ... }) }
end

-- Frames, at both ends.
local function pair(fromClient, fromServer, tells, ...)
  local one, two = driven(FROM_CLIENT, fromClient, OVER_SERVER, "a server " .. tells, { ... })
  local three, four = driven(FROM_SERVER, fromServer, OVER_CLIENT, "a client " .. tells, { ... })
  return { one, two, three, four }
end

local function bad(code, ...)
  return pair("a bad frame %s, sent %s, gets " .. code, "(a frame %s, %s) is told so with " .. code, "tells a frame", ...)
end

local function fine(...)
  return pair("a frame from a client %s, sent %s, arrives", "a server's frames %s is taken, %s", "takes a frame", ...)
end

local function compressed(what, ...)
  local one, three, list = { OVER_SERVER }, { OVER_CLIENT }, { ... }
  for _, name in ipairs(list) do
    for _, way in ipairs(SECURE_WAYS) do
      one[#one + 1] = ("a server %s %s, %s"):format(what, name, way)
      three[#three + 1] = ("a client %s %s, %s"):format(what, name, way)
    end
  end
  return { one, three }
end

local INDEX = {
  { "URL and arguments", {
    { '"", nil, a number, a table; foo://h/, ftp://h; ws://, ws:///p; ports 0, 65536, -1, 1x; #, #frag',
      wrongUrl("empty", "nil", "a number", "a table", "another scheme", "ftp", "no host", "no host but a path", "port 0",
        "port 65536", "port -1", "port 1x", "an empty fragment", "a fragment") },
    { "CR, LF, NUL, TAB, space, DEL in host, path or query; [::1, [::g], a zone id; host over 253, label over 63; over 8 KiB",
      wrongUrl("CR in the host", "LF in the path", "NUL in the query", "TAB in the path", "a space in the path",
        "DEL in the query",
        "an open bracket", "no IPv6 address in brackets", "a zone", "a host over 253 bytes", "a label over 63", "over 8 KiB"),
      { "bad_inputs", "a URL with a character that none may have is refused, in host, path and query" } },
    { "ws://user:pass@h/ becomes a Basic authorisation header, and the password is never shown",
      { CONSTRUCTOR, "never shows a password", "with a Basic authorisation for credentials in the URL" },
      { RESPONSE, "keeps the password out of its message" } },
    { 'protocols "a b", "a,b", "", "é", "a\\r\\n", the same twice',
      { CONSTRUCTOR, "with a wrong protocol raises SyntaxError (a space)", "SyntaxError (a comma)", "SyntaxError (not ASCII)",
        "protocol raises SyntaxError (empty)", "SyntaxError (a line end)", "SyntaxError (twice the same)" } },
    { 'header names "X Y", "X:"; header values with CR, LF, NUL; the handshake\'s own headers set by hand',
      { CONSTRUCTOR, "for header names and values that would break the request",
        "for the handshake's own headers set by hand" } },
    { "an unknown option (say which is near); a negative, NaN, infinite or non-number duration; maxPayload 0, -1, 2^53",
      { CONSTRUCTOR, "for an unknown name, and says which is near", "for handshakeTimeout = -1", "for handshakeTimeout = inf",
        "for closeTimeout = 10", "for maxPayload = 0", "for maxPayload = -1", "for maxPayload = 9.007" },
      { "server_options", 'name "port" for the unknown "prot"', 'take for "handshakeTimeout" what makes sense, and nothing else',
        'take for "maxPayload" what makes sense, and nothing else' } },
    { "window bits 7 and 16; memLevel 10", { CONSTRUCTOR, "for what perMessageDeflate is not, 8",
      "for what perMessageDeflate is not, 9" },
      { "server_options", "of perMessageDeflate say what is wrong with it" },
      { "bad_inputs", "options of perMessageDeflate that zlib cannot meet raise, at both ends" } },
    { "a certificate or key that is missing, mismatched, encrypted without passphrase, no PEM (with OpenSSL's reason)",
      { SERVER_TLS, "made wrong raises, with the reason, and leaves nothing open" }, { CLIENT_TLS,
        "is not made with what is no options" } },
    { "a port in use (no descriptor leaks)",
      { "server_options", "raises with place and reason for a port in use, and leaks no descriptor" } },
    { "send while CONNECTING; send of nil, table, function; text that is not UTF-8",
      { "websocket_send", "raises InvalidStateError while connecting, whatever is sent", "raises TypeError for what is no string",
        "raises TypeError for text that is not UTF-8" } },
    { 'close(999), close(1005), close(1.5), close("x"); a reason of 124 bytes, not UTF-8, or no string',
      { "websocket_close", "checks code, then reason" }, { "server_close",
        "may not say other codes, nor reasons that do not fit" },
      { "conformance/exhaustive", "are taken by a client's close() or raise", "are taken by a server's socket or raise" } },
    { "a method called on a wrong self or after setmetatable tricks; __gc called by hand, twice; NaN timers",
      { "lua_gc", "raises TypeError, from every class", "raises after tricks with debug.setmetatable, too",
        "a client socket that nobody refers to may have its __gc called by hand, twice",
        "a server survives its __gc being called by hand, twice" },
      { "lua_timer", "by setInterval refuses NaN", "by setTimeout refuses NaN",
        "survives its __gc being called by hand, twice" } },
  } },
  { "The request, at the server", {
    { "no Upgrade or no Connection: Upgrade: 426 (or onrequest)", answered(426, "no Upgrade", "no Connection", "just a page"),
      { REQUEST, "leaves plain requests to onrequest" } },
    { "no key, key not 16 bytes of base64, two keys: 400", answered(400, "no key", "a key of 15 bytes", "a key of 17 bytes",
      "a key that is no base64", "two keys") },
    { "Sec-WebSocket-Version other than 13: 426 with Sec-WebSocket-Version: 13", answered(426, "no version", "version 8",
      "version 14",
      "two versions") },
    { "method other than GET: 405; HTTP/1.0: 505; no Host, two Hosts: 400", answered(405, "a POST that upgrades"),
      answered(505, "HTTP/1.0"), answered(400, "no Host", "two Hosts") },
    { "a body: Content-Length above 0 or any Transfer-Encoding: 400, and the body is never taken for frames",
      answered(400, "a Content-Length", "a Content-Length of frames", "a Transfer-Encoding") },
    { "bare LF, folded line, space before the colon, NUL or bare CR in a value: 400", answered(400, "a bare LF", "a folded line",
      "a space before the colon", "a NUL in a value", "a bare CR"),
      { "conformance/exhaustive", "is taken by a server where it is still one, and refused where it is not" } },
    { "over 100 headers, or a head over 16 KiB: 431, which the client can still read while it is sending",
      answered(431, "101 headers", "a head of 16 KiB and a byte"), { REQUEST, "can be read by a client that goes on sending" } },
    { "target over 8 KiB: 414", answered(414, "a target of 8 KiB and a byte") },
    { "a subprotocol list with a non-token, an empty item, or a repeated one: 400", answered(400,
      "a subprotocol that is no token",
      "an empty subprotocol", "the same subprotocol twice") },
    { "extension header that breaks the grammar: 400", answered(400, "an extension with an open quote",
      "an extension without a name") },
    { "a well-formed offer with wrong parameters: declined, 101; server_max_window_bits=8: declined, since zlib cannot",
      { "deflate", "a server declines `p; S=7`", "a server declines `p; S=16`", "a server declines `p; S=08`",
        "a server declines `p; S=9; S=9`", "a server declines `p; unknown`", "a server declines `p; s=1`",
          "a server declines `p; S=8`" },
      { "bad_inputs", "a server declines what it cannot meet, and opens" } },
    { "Origin of another site, when origins is not set: 403 (origins = \"*\" opens it)", answered(403,
      "an Origin of another site"),
      { REQUEST, "is by default the server's own host and port, or none", "an Origin may be any" } },
    { "TLS hello or noise on a plain port: 400 or an end, at once", answered(400, "a TLS hello", "noise"),
      { REQUEST, "of noise or a TLS hello is answered at its first byte" },
      { SERVER_TLS, "answers plain HTTP at a TLS port with 400 in plain HTTP", "ends noise at once" } },
    { "half a request, or one byte a second: ended at handshakeTimeout, counted from accept, not extended by dribble",
      { "server_limits", "ends who says nothing, half a request, or a byte now and then, counted from accept" },
      { SERVER_TLS, "ends at handshakeTimeout whoever says nothing, half a hello, or one byte now and then" } },
    { "more half-open handshakes or connections than maxConnections: 503; the others do not notice",
      { "server_limits", "answers one too many with a 503 that can be read; the others do not notice",
        "counts handshakes that are not finished" } },
    { "no descriptor left (EMFILE): accepting pauses, existing connections work, no spinning, one error event",
      { "server_limits", "pauses accepting, tells it once, serves who is in without spinning, and recovers" } },
    { "frames that come with the request: kept and read after the 101",
      { REQUEST, "keeps the frames that come with the request", "keeps them while the answer is deferred" },
      { OVER_SERVER, "a server keeps the frames that come with the request, whole",
        "a server keeps the frames that come with the request, in records that are cut" } },
  } },
  { "The response, at the client", {
    { "200, 301, 401, 404, 5xx", failed("200", "301", "401", "404", "500", "503 without a phrase") },
    { "HTTP/1.0", failed "HTTP/1.0" },
    { "missing or wrong Upgrade, Connection, Sec-WebSocket-Accept", failed("no Upgrade", "another Upgrade", "no Connection",
      "another Connection", "no Accept", "a wrong Accept"),
      { "conformance/exhaustive", "is taken by a client where it is still an answer to its request" } },
    { "a protocol or extension nobody offered; a protocol was asked for and none came", failed("a protocol nobody asked for",
      "an extension nobody offered", "a protocol was asked for and none came") },
    { "deflate accepted twice, with bits 7 or 16, with an unknown parameter",
      failed("deflate accepted twice", "deflate with 7 bits", "deflate with 16 bits", "deflate with an unknown parameter") },
    { "a head over 16 KiB or 100 headers", failed("a head of 16 KiB and a byte", "over 100 headers"),
      taken("a head of 16 KiB", "100 headers") },
    { "an SSH banner; nothing; half a head; silence until handshakeTimeout", failed("an SSH banner", "the end after half a head"),
      { RESPONSE, "the end at once", "ends the wait for a server that says nothing",
        "ends the wait for the second half of a head",
        "is not put off by bytes that dribble in" } },
    { "a 10 MB error page (64 KiB of it is kept)", { RESPONSE, "keeps 64 KiB of a page of 10 MB, and waits for no more" } },
    { "accepted: 100 Continue first, no reason phrase, a frame in the same segment as the 101", taken("100 Continue first",
      "no reason phrase"), { "websocket_send", "in onopen holds back what came with the 101" } },
    { "accepted: client_max_window_bits=8 (then send uncompressed)",
      { OVER_CLIENT, "a client takes deflate with client_max_window_bits=8, and sends uncompressed" } },
  } },
  { "Frames, both roles", {
    { "unmasked from a client, masked from a server: c1002",
      { driven(FROM_CLIENT, "a bad frame %s, sent %s, gets 1002", OVER_SERVER, "a server tells a frame", { "without a mask",
        "that is a ping without a mask", "that is a Close without a mask", "that continues without a mask" }) },
      { driven(FROM_SERVER, "(a frame %s, %s) is told so with 1002", OVER_CLIENT, "a client tells a frame", { "with a mask",
        "that is a ping with a mask", "that is a Close with a mask", "that continues with a mask" }) } },
    { "RSV bits nobody negotiated; opcodes 3-7 and 11-15: c1002", bad(1002, "with RSV1", "with RSV2", "with RSV3",
      "that is a ping with RSV1", "that continues with RSV1", "of opcode 3", "of opcode 4", "of opcode 5", "of opcode 6",
      "of opcode 7", "of opcode 11", "of opcode 12", "of opcode 13", "of opcode 14", "of opcode 15"),
      { TABLE, "3: reserved bits, by a server", "3: reserved bits, by a client", "4: opcodes, by a server",
        "4: opcodes, by a client" } },
    { "control frame over 125 bytes or without FIN: c1002", bad(1002, "that is a ping of 126 bytes",
      "that is a pong of 200 bytes", "that is a Close of 126 bytes", "that is a ping without FIN", "that is a pong without FIN",
      "that is a Close without FIN") },
    { "continuation with nothing to continue; a new message inside one: c1002", bad(1002, "that continues nothing",
      "that continues a message that is whole", "that is a new text inside another", "that is a new binary inside a text"),
      { TABLE, "every order of up to five frames" } },
    { "a length not in its shortest form; a length of 2^63 or more: c1002", bad(1002, "of 125 bytes in the 16-bit form",
      "of 65535 bytes in the 64-bit form", "of 2^63 bytes", "of 2^64 - 1 bytes") },
    { "a length, or fragments together, over maxPayload: c1009 at the header, before memory is taken", bad(1009,
      "a byte over maxPayload", "a byte over maxPayload, only announced", "over maxPayload together with the one before",
      "of 2^63 - 1 bytes"), fine("a byte below maxPayload", "of maxPayload", "in fragments of maxPayload together"),
      { FROM_CLIENT, "takes no memory for what it only announces" }, { FROM_SERVER,
        "is told before memory is taken for what it announces" } },
    { "over 131072 fragments in a message, empty ones included: c1008", { FROM_CLIENT, "may have 131072 fragments",
      "over 131072 fragments, empty ones included, gets 1008" },
      { FROM_SERVER, "with more than 131072 fragments is told so with 1008" }, bad(1008, "too many in a message",
        "too many in a message, the last"), fine("one below maxFragments", "in maxFragments") },
    { "ping between fragments: pong, message intact", fine "with a ping between its fragments" },
    { "of many unanswered pings at most one pong is queued", { FROM_CLIENT,
      "that came in a heap are answered one by one, in order",
      "from a client that does not read are not answered one by one later" },
      { FROM_SERVER, "while we cannot send are read all the same, and leave one pong to send" } },
    { "Close inside a fragmented message: answered with its own code", fine "that is a Close inside a fragmented message",
      { "server_close", "by the peer inside a fragmented message is answered all the same" } },
    { "data after Close: ignored", fine("before a Close", "that is a Close, and wrong ones behind it"),
      { FROM_SERVER, "behind a Close are ignored, right or wrong, whole" },
      { "session_close", "is ignored: " }, { TABLE, "a text behind a Close" } },
    { "EOF or RST in mid-frame or mid-message: 1006, no partial message", { FROM_CLIENT, "that ends in mid-frame is a close 1006",
      "that ends in mid-message is a close 1006" }, { FROM_SERVER, "are no message, and no error: close 1006" },
      compressed("hears half of it and no more:", "in mid-header", "in mid-frame", "in mid-message", "in mid-Close") },
    { "Close with a 1-byte body; with codes 0-999, 1004-1006, 1015-2999, 5000 and up: c1002; reason not UTF-8: c1007",
      bad(1002, "with a Close of one byte", "that closes with 0", "that closes with 999", "that closes with 1004",
        "that closes with 1005", "that closes with 1006", "that closes with 1015", "that closes with 2999",
        "that closes with 5000", "that closes with 65535"),
      bad(1007, "that closes with the reason ff", "that closes with a reason cut short") },
    { "the other codes are echoed", { "session_close", "are answered with themselves, or with 1002 when they must not be sent" },
      fine("that closes with 1000", "that closes with 1003", "that closes with 1007", "that closes with 1014",
        "that closes with 3000", "that closes with 4999", "before a Close without a code") },
    { "the peer answers Close and keeps TCP open, or never answers: ended at closeTimeout", { "server_close",
      "ends at closeTimeout when the peer never answers, unclean",
        "ends at closeTimeout when the peer answers and keeps TCP open" },
      { "websocket_close", "ends the wait for a peer that never answers",
        "ends the wait for a peer that answers and keeps TCP open: clean, both Close frames went" } },
    { "text that is not UTF-8: c1007 as soon as the offending byte is here", bad(1007, "of text with ff", "of text with c0 80",
      "of text with ed a0 80 in a message that is not finished", "of text with f4 90 80 80 in a frame that is not finished",
      "of text with a lone continuation", "of text that is cut at its end",
      "of text that is cut at the end of its last fragment"), { TABLE, "fail-fast" } },
    { "U+0000, U+FFFF, U+10FFFF, a BOM: delivered unchanged", fine "with U+0000, U+FFFF, U+10FFFF and a BOM" },
  } },
  { "Compressed messages", {
    { "RSV1 on a continuation or a control frame: c1002", compressed("tells a compressed message", "RSV1 on a continuation",
      "RSV1 on a ping", "RSV1 on a pong", "RSV1 on a Close"),
      { DEFLATE, "that mean nothing are refused: RSV1 on a ping",
      "that mean nothing are refused: RSV1 on a continuation of a compressed message" }, { "server_deflate",
        "RSV1 on a continuation, whole" } },
    { "garbage, a stream cut short, bytes after the final block that are no block, back-references past window or context: c1007",
      compressed("tells a compressed message", "garbage", "a stream cut short", "bytes behind the final block",
        "a back-reference past the window", "a back-reference to a context not to be taken over"),
      { DEFLATE, "nothing of it delivered: garbage", "nothing of it delivered: cut in a stored block",
        "half a block behind the final block",
        "a back-reference past the window", "where a context was not to be taken over" } },
    { "a bomb: c1009, with at most maxPayload + 64 KiB held", { DEFLATE, "stops at maxPayload, and holds little more" },
      { "server_deflate", "a bomb, whole", "a bomb, one byte at a time" }, compressed("tells a compressed message", "a bomb",
        "a bomb in a message that is not finished", "a byte over maxPayload"),
      compressed("takes compressed messages:", "one of maxPayload") },
    { "UTF-8 counts inside too", { DEFLATE, "must be UTF-8, in all kinds of blocks",
      "is refused as soon as the offending byte is here" }, compressed("tells a compressed message", "text that is not UTF-8",
        "text that is not UTF-8, in a message that is not finished", "text that is cut at its end") },
    { "empty payload, a BFINAL block, stored blocks: delivered", { DEFLATE, "may be empty in every form",
      "may be of stored and other blocks, in any order, final or not" }, compressed("takes compressed messages:", "an empty one",
        "an empty one without a byte", "a final block", "a stored block", "two blocks") },
  } },
  { "A reader slower than its writer", {
    { "past maxBufferedAmount: queue dropped, error slow, ended at once, close 1006; others do not notice",
      { "server_limits", "ends with `slow` and 1006 past maxBufferedAmount" }, { "websocket_send",
        "ends a connection whose peer is too slow: error slow, close 1006", "drops the queue: nothing more goes on the wire",
        "is felt with a peer that does not read, and others do not notice" } },
  } },
  { "TLS", {
    { "self-signed, unknown CA, expired, not yet valid, wrong host, *.b for a.b.c, common name only, IP without IP SAN",
      { CLIENT_TLS, "refuses self-signed", "refuses of an unknown authority", "refuses expired", "refuses not yet valid",
        "refuses for other names", "refuses a wildcard, two labels", "refuses a common name and nothing else",
          "refuses an address as if it were a name" } },
    { "TLS 1.1, an anonymous cipher, plain HTTP for a ServerHello, a stall in mid-handshake: failed",
      { CLIENT_TLS, "refuses TLS 1.1 only", "refuses anonymous ciphers only", "refuses a plain HTTP server",
        "fails at handshakeTimeout wherever the server falls silent" }, { SERVER_TLS, "refuses TLS 1.1",
          "refuses anonymous ciphers" } },
    { "an IP address with its SAN opens, and no SNI is sent for it", { CLIENT_TLS, "accepts an address alone, by address",
      "sends nothing as the server's name for 127.0.0.1" } },
    { "end of TCP without close_notify: wasClean=false unless both Close frames had passed", { CLIENT_TLS, "hears " },
      { SERVER_TLS, "hears the end of TCP without close_notify as unclean" } },
    { "renegotiation is refused", { CLIENT_TLS, "refuses a renegotiation, and goes on" }, { SERVER_TLS,
      "refuses a renegotiation" } },
    { "a fatal alert on one socket never shows on another", { CLIENT_TLS,
      "fails one after the other, and those beside are not touched",
      "no other socket hears of it" }, { SERVER_TLS, "tells of a damaged record, and no other socket hears of it" } },
  } },
  { "Handlers", {
    { "raises (string, table, nil, in the error handler itself, stack overflow), yields, calls run again", { HANDLER,
      "raises a string harms nobody",
      "raises a table harms nobody", "raises nil harms nobody", "overflows the stack harms nobody", "yields harms nobody",
      "calls run again harms nobody" }, { "lua_error", "that raises itself ends step with its own error" } },
    { "closes or terminates its own or another socket, opens new ones, collects garbage, replaces itself", { HANDLER,
      "closes its own socket harms nobody", "terminates its own socket harms nobody", "closes the other end harms nobody",
      "terminates the other end harms nobody", "opens new sockets and servers harms nobody", "collects garbage harms nobody",
      "replaces itself harms nobody" } },
    { "ends the program (os.exit(true, true), lua_close)", { HANDLER,
      "directly, from message, says 1001 to everybody and leaves no error",
      "in a coroutine, from message, says 1001 to everybody" } },
    { "a socket made in a coroutine that has since died still gets its events", { HANDLER, "gets its events all the same" } },
    { "a failed allocation anywhere is a Lua error or the end of that one connection", { "session_receive",
      "fails that session alone, with 1011, when there is none left" }, { "session_send",
        "a send queues nothing and can be tried again" },
      { "lua_gc", "what gets no memory half-way is not left behind: a client" } },
    { "no SIGPIPE, no inherited descriptors (CLOEXEC)", { "sys", "raise no SIGPIPE when the peer is gone" },
      { "lua_signal", "may be SIGPIPE: writing to a peer that is gone never kills" },
      { "lua_fork", "descriptors of the library are not inherited by programs that are started" } },
    { "no effect of the wall clock", { "bad_inputs", "the wall clock #foreign has no effect on timers, timeouts and the loop" } },
  } },
}

-- The full names of all tests of these spec files, by file.
local function namesOf(files)
  local list, names = {}, {}
  for file in pairs(files) do list[#list + 1] = helper.quote(("spec/%s_spec.lua"):format(file)) end
  local command = helper.lua(("tools/busted.lua --list %s"):format(table.concat(list, " ")))
  local output = helper.run(("cd %s && %s"):format(helper.quote(helper.root), command))
  for file, name in output:gmatch "spec/([^\n:]-)_spec%.lua:%d+: ([^\n]*)" do
    names[file] = names[file] or {}
    table.insert(names[file], name)
  end
  return names
end

local function has(names, words)
  for _, name in ipairs(names or {}) do
    if name:find(words, 1, true) then return true end
  end
  return false
end

-- Where a row is judged: {spec, words, ...}, ...
local function places(row)
  local list = {}
  for i = 2, #row do
    if type(row[i][1]) == "string" then list[#list + 1] = row[i]
    else table.move(row[i], 1, #row[i], #list + 1, list) end
  end
  return list
end

describe("each line of the contract #foreign", function()
  local names
  setup(function()
    local files = {}
    for _, section in ipairs(INDEX) do
      for _, row in ipairs(section[2]) do
        for _, place in ipairs(places(row)) do files[place[1]] = true end
      end
    end
    names = namesOf(files)
  end)

  for _, section in ipairs(INDEX) do
    describe("(" .. section[1] .. ")", function()
      for _, row in ipairs(section[2]) do
        it("is judged: " .. row[1], function()
          assert.is_true(#row > 1, "nowhere")
          for _, place in ipairs(places(row)) do
            local file = place[1]
            assert.is_true(#place > 1)
            for j = 2, #place do
              if not has(names[file], place[j]) then error(("no test of %s_spec is called `%s`"):format(file, place[j])) end
            end
          end
        end)
      end
    end)
  end

  it("has a row: 75 of them", function()
    local count = 0
    for _, section in ipairs(INDEX) do count = count + #section[2] end
    assert.equal(75, count)
  end)

  it("is looked up among the names of tests that there are", function()
    assert.is_false(has(names[CONSTRUCTOR], "raises SyntaxError (nothing of the kind)"))
    assert.is_nil(names["no such"])
  end)
end)

-- --- what no other spec judges ------------------------------------------------------------------------

describe("a URL", function()
  after_each(wire.done)

  it("with a character that none may have is refused, in host, path and query", function()
    for byte = 0, 127 do
      local c = string.char(byte)
      if byte <= 32 or byte == 127 then
        for _, url in ipairs { "ws://a" .. c .. "b/", "ws://h/a" .. c .. "b", "ws://h/?a" .. c .. "b", "ws://h/" .. c,
          "ws://h" .. c, c .. "ws://h/" } do
          wire.mistake("SyntaxError", lunawire.WebSocket, url)
        end
      end
    end
  end)
end)

describe("options of perMessageDeflate", function()
  it("that zlib cannot meet raise, at both ends", function()
    local before = probe.sys.descriptors()
    for _, option in ipairs { { clientMaxWindowBits = 7 }, { clientMaxWindowBits = 16 }, { serverMaxWindowBits = 7 },
      { serverMaxWindowBits = 16 }, { memLevel = 10 }, { memLevel = 0 }, { level = -2 }, { level = 10 } } do
      wire.mistake("TypeError", lunawire.WebSocket, "ws://127.0.0.1:1/", nil, { perMessageDeflate = option })
      wire.mistake("TypeError", lunawire.WebSocketServer, { perMessageDeflate = option })
    end
    assert.equal(before, probe.sys.descriptors())
  end)
end)

describe("a server", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("declines what it cannot meet, and opens", function()
    local server, log = desk.serve { perMessageDeflate = true }
    for i, offer in ipairs { "server_max_window_bits=7", "server_max_window_bits=16", "server_max_window_bits=08",
      "server_max_window_bits=8", "client_max_window_bits=7", "client_max_window_bits; client_max_window_bits", "unknown",
      "server_no_context_takeover=1" } do
      for _, way in ipairs(ways) do
        local peer = desk.ask(server, wire.upgrade { ["Sec-WebSocket-Extensions"] = "permessage-deflate; " .. offer }, way)
        local answer = peer:head()
        assert.equal(101, answer.status, offer)
        assert.is_nil(answer.headers["sec-websocket-extensions"], offer)
        peer:frame({ "text", payload = "hi " .. i .. way }, { "text", rsv = 4, payload = "no" })
        desk.heard(log, "text hi " .. i .. way)
        assert.equal(8, peer:next().opcode)
        desk.leave(peer)
      end
    end
  end)
end)

describe("the wall clock #foreign", function()
  it("has no effect on timers, timeouts and the loop", function()
    local folder = helper.directory()
    local shim, source = folder .. "/clock.so", helper.quote(helper.root .. "/spec/peers/wrong_clock.c")
    local said, status = helper.run(("cc -shared -fPIC -o %s %s"):format(helper.quote(shim), source))
    assert(status == 0, said)
    helper.write(folder .. "/program.lua", [[
      local lunawire = require "lunawire"
      local times = { os.time(), os.time(), os.time() }
      assert(math.abs(times[1] - times[2]) > 1e7 and math.abs(times[2] - times[3]) > 1e7, "the clock is right")
      local heard = {}
      local function hear(what) heard[#heard + 1] = what os.time() end
      local server = lunawire.WebSocketServer { handshakeTimeout = 60000, closeTimeout = 60000,
        heartbeat = { interval = 30, timeout = 60000 } }
      server.onmessage = function(event) event.target:send(event.data) end
      server.onsocketclose = function() server:close() end
      local ws = lunawire.WebSocket(server.url, nil, { handshakeTimeout = 60000, closeTimeout = 60000 })
      ws.onopen = function() hear "open" lunawire.setTimeout(function() ws:send "hi" end, 10) end
      ws.onmessage = function(event) hear(event.data) lunawire.setTimeout(function() hear "late" ws:close(1000) end, 100) end
      ws.onerror = function(event) hear(event.message) end
      ws.onclose = function(event) hear(event.code) end
      lunawire.setTimeout(function() hear "never" end, 3600000):close()
      local before = lunawire.now()
      assert(lunawire.run(30000), "it does not end")
      local took = lunawire.now() - before
      assert(took >= 100 and took < 30000, "a clock that leaps")
      print(table.concat(heard, " "))
    ]])
    local command = helper.lua(helper.quote(folder .. "/program.lua"))
    if command:find "LD_PRELOAD=" then
      command = command:gsub("LD_PRELOAD='(.-)'", "LD_PRELOAD='%1 " .. shim .. "'")
    else
      command = "env LD_PRELOAD=" .. helper.quote(shim) .. " " .. command
    end
    local output = helper.run("timeout 60 " .. command) -- or a loop that heeds that clock never ended
    helper.remove(folder)
    assert.matches("^open hi late 1000\nthe wall clock was asked %d+ times\n$", output)
  end)
end)
