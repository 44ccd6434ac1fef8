-- Everything a peer or a caller can get wrong, and what it must get: each line of the contract with the place where it is
-- judged. A row whose case has vanished is red. What other specs judge over TCP is judged here over TLS, too, whole and one
-- byte at a time.
--
-- Raised: a Lua error at the call. Failed: `error`, then `close` 1006, never `open`. cNNNN: a Close frame with that code.

local desk = require "spec.server_helper"
local frames = require "spec.frames"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

local ways = { "whole", "one byte at a time" }

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

-- Names of server_handshake_spec's refusals, each of which comes whole and one byte at a time.
local function answered(status, ...)
  local row = { REQUEST }
  for _, name in ipairs { ... } do
    for _, way in ipairs(ways) do row[#row + 1] = ("a refused request (%s), sent %s, is answered %d"):format(name, way,
      status) end
  end
  return row
end

local function failed(...)
  local row = { RESPONSE }
  for _, name in ipairs { ... } do
    for _, way in ipairs(ways) do row[#row + 1] = ("fails the connection: %s, %s"):format(name, way) end
  end
  return row
end

local function taken(...)
  local row = { RESPONSE }
  for _, name in ipairs { ... } do
    for _, way in ipairs(ways) do row[#row + 1] = ("unusual but right is taken: %s, %s"):format(name, way) end
  end
  return row
end

local function got(code, ...)
  local row = { FROM_CLIENT }
  for _, name in ipairs { ... } do
    for _, way in ipairs(ways) do row[#row + 1] = ("a bad frame %s, sent %s, gets %d"):format(name, way, code) end
  end
  return row
end

local function told(code, ...)
  local row = { FROM_SERVER }
  for _, name in ipairs { ... } do
    for _, way in ipairs(ways) do row[#row + 1] = ("(it %s, %s) is told so with %d"):format(name, way, code) end
  end
  return row
end

local function secure(what) return { "bad_inputs", "over TLS #foreign #slow " .. what } end

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
      { REQUEST, "leaves plain requests to onrequest" }, secure "a server answers no Upgrade" },
    { "no key, key not 16 bytes of base64, two keys: 400", answered(400, "no key", "a key of 15 bytes", "a key of 17 bytes",
      "a key that is no base64", "two keys"), secure "a server answers two keys" },
    { "Sec-WebSocket-Version other than 13: 426 with Sec-WebSocket-Version: 13", answered(426, "no version", "version 8",
      "version 14",
      "two versions"), secure "a server answers version 8" },
    { "method other than GET: 405; HTTP/1.0: 505; no Host, two Hosts: 400", answered(405, "a POST that upgrades"),
      answered(505, "HTTP/1.0"), answered(400, "no Host", "two Hosts"), secure "a server answers no Host" },
    { "a body: Content-Length above 0 or any Transfer-Encoding: 400, and the body is never taken for frames",
      answered(400, "a Content-Length", "a Content-Length of frames", "a Transfer-Encoding"),
        secure "a server answers a Content-Length of frames" },
    { "bare LF, folded line, space before the colon, NUL or bare CR in a value: 400", answered(400, "a bare LF", "a folded line",
      "a space before the colon", "a NUL in a value", "a bare CR"), secure "a server answers a bare CR",
      { "conformance/exhaustive", "is taken by a server where it is still one, and refused where it is not" } },
    { "over 100 headers, or a head over 16 KiB: 431, which the client can still read while it is sending",
      answered(431, "101 headers", "a head of 16 KiB and a byte"), { REQUEST, "can be read by a client that goes on sending" },
      secure "a server answers 101 headers" },
    { "target over 8 KiB: 414", answered(414, "a target of 8 KiB and a byte"), secure "a server answers a target of 8 KiB" },
    { "a subprotocol list with a non-token, an empty item, or a repeated one: 400", answered(400,
      "a subprotocol that is no token",
      "an empty subprotocol", "the same subprotocol twice"), secure "a server answers an empty subprotocol" },
    { "extension header that breaks the grammar: 400", answered(400, "an extension with an open quote",
      "an extension without a name"),
      secure "a server answers an extension with an open quote" },
    { "a well-formed offer with wrong parameters: declined, 101; server_max_window_bits=8: declined, since zlib cannot",
      { "deflate", "a server declines `p; S=7`", "a server declines `p; S=16`", "a server declines `p; S=08`",
        "a server declines `p; S=9; S=9`", "a server declines `p; unknown`", "a server declines `p; s=1`",
          "a server declines `p; S=8`" },
      { "bad_inputs", "a server declines what it cannot meet, and opens" } },
    { "Origin of another site, when origins is not set: 403 (origins = \"*\" opens it)", answered(403,
      "an Origin of another site"),
      { REQUEST, "is by default the server's own host and port, or none", "an Origin may be any" },
      secure "a server answers an Origin of another site" },
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
      secure "a server keeps the frames that come with the request" },
  } },
  { "The response, at the client", {
    { "200, 301, 401, 404, 5xx", failed("200", "301", "401", "404", "500", "503 without a phrase"),
      secure "a client refuses 404" },
    { "HTTP/1.0", failed "HTTP/1.0", secure "a client refuses HTTP/1.0" },
    { "missing or wrong Upgrade, Connection, Sec-WebSocket-Accept", failed("no Upgrade", "another Upgrade", "no Connection",
      "another Connection", "no Accept", "a wrong Accept"), secure "a client refuses a wrong Accept",
      { "conformance/exhaustive", "is taken by a client where it is still an answer to its request" } },
    { "a protocol or extension nobody offered; a protocol was asked for and none came", failed("a protocol nobody asked for",
      "an extension nobody offered", "a protocol was asked for and none came"),
        secure "a client refuses a protocol nobody asked for" },
    { "deflate accepted twice, with bits 7 or 16, with an unknown parameter",
      { "bad_inputs", "a client refuses deflate accepted twice", "a client refuses deflate with 7 bits",
        "a client refuses deflate with 16 bits",
        "a client refuses deflate with an unknown parameter" } },
    { "a head over 16 KiB or 100 headers", failed("a head over 16 KiB", "over 100 headers"),
      secure "a client refuses over 100 headers" },
    { "an SSH banner; nothing; half a head; silence until handshakeTimeout", failed("an SSH banner", "the end after half a head"),
      { RESPONSE, "the end at once", "ends the wait for a server that says nothing",
        "ends the wait for the second half of a head",
        "is not put off by bytes that dribble in" }, secure "a client refuses an SSH banner" },
    { "a 10 MB error page (64 KiB of it is kept)", { RESPONSE, "keeps 64 KiB of a page of 10 MB, and waits for no more" } },
    { "accepted: 100 Continue first, no reason phrase, a frame in the same segment as the 101", taken("100 Continue first",
      "no reason phrase"), { "websocket_send", "in onopen holds back what came with the 101" },
        secure "a client takes 100 Continue first" },
    { "accepted: client_max_window_bits=8 (then send uncompressed)",
      { "bad_inputs", "a client takes deflate with client_max_window_bits=8, and sends uncompressed" } },
  } },
  { "Frames, both roles", {
    { "unmasked from a client, masked from a server: c1002", got(1002, "without a mask"), told(1002, "masks a frame"),
      secure "a server tells a frame without a mask" },
    { "RSV bits nobody negotiated; opcodes 3-7 and 11-15: c1002", got(1002, "with RSV1", "with RSV2", "with RSV3",
      "of opcode 3", "of opcode 7",
      "of opcode 11", "of opcode 15"), told(1002, "sets RSV1", "uses opcode 3", "uses opcode 15"),
      { TABLE, "3: reserved bits, by a server", "3: reserved bits, by a client", "4: opcodes, by a server",
        "4: opcodes, by a client" },
      secure "a client tells RSV1" },
    { "control frame over 125 bytes or without FIN: c1002", got(1002, "that is a ping of 126 bytes",
      "that is a Close of 126 bytes",
      "that is a ping without FIN", "that is a Close without FIN"), told(1002, "sends a ping over 125 bytes",
        "sends a ping without FIN"),
      secure "a server tells a ping of 126 bytes" },
    { "continuation with nothing to continue; a new message inside one: c1002", got(1002, "that continues nothing",
      "that is a new text inside another"), told(1002, "continues nothing", "begins a message inside another"),
      { TABLE, "every order of up to five frames" }, secure "a client tells a continuation of nothing" },
    { "a length not in its shortest form; a length of 2^63 or more: c1002", got(1002, "of 125 bytes in the 16-bit form",
      "of 65535 bytes in the 64-bit form", "of 2^63 bytes"), told(1002, "writes 125 in 16 bits", "writes 65535 in 64 bits",
      "writes a length of 2^63"), secure "a server tells a length that is not the shortest" },
    { "a length, or fragments together, over maxPayload: c1009 at the header, before memory is taken", got(1009,
      "a byte over maxPayload, only announced", "over maxPayload together with the one before"), told(1009,
      "announces 1001 bytes where 1000 are allowed", "sends fragments over maxPayload together"),
      { FROM_CLIENT, "takes no memory for what it only announces" }, { FROM_SERVER,
        "is told before memory is taken for what it announces" },
      secure "a client tells too much" },
    { "over 131072 fragments in a message, empty ones included: c1008", { FROM_CLIENT,
      "over 131072 fragments, empty ones included, gets 1008" },
      { FROM_SERVER, "with more than 131072 fragments is told so with 1008" }, secure "a server tells too many fragments" },
    { "ping between fragments: pong, message intact", { FROM_CLIENT, "with a ping between its fragments, sent whole, arrives",
      "with a ping between its fragments, sent one byte at a time, arrives" }, { FROM_SERVER,
        "in fragments are one message, with pings" } },
    { "of many unanswered pings at most one pong is queued", { FROM_CLIENT,
      "that came in a heap are answered one by one, in order",
      "from a client that does not read are not answered one by one later" },
      { FROM_SERVER, "while we cannot send are read all the same, and leave one pong to send" } },
    { "Close inside a fragmented message: answered with its own code", { "server_close",
      "by the peer inside a fragmented message is answered all the same" }, { FROM_SERVER,
      "Close inside a fragmented message is answered with its own code; the part is dropped, whole" } },
    { "data after Close: ignored", { FROM_SERVER, "behind a Close are ignored, right or wrong, whole" },
      { "session_close", "is ignored: " }, { TABLE, "a text behind a Close" } },
    { "EOF or RST in mid-frame or mid-message: 1006, no partial message", { FROM_CLIENT, "that ends in mid-frame is a close 1006",
      "that ends in mid-message is a close 1006" }, { FROM_SERVER, "are no message, and no error: close 1006" } },
    { "Close with a 1-byte body; with codes 0-999, 1004-1006, 1015-2999, 5000 and up: c1002; reason not UTF-8: c1007",
      got(1002, "with a Close of one byte", "that closes with 0", "that closes with 1005", "that closes with 2999"),
      got(1007, "that closes with the reason ff"), told(1002, "sends a Close with half a code", "closes with 1015"),
      told(1007, "sends a reason that is not UTF-8"), secure "a server tells a Close of one byte" },
    { "the other codes are echoed", { "session_close", "are answered with themselves, or with 1002 when they must not be sent" },
      { FROM_SERVER, "Close 4999 is answered with the same, whole" } },
    { "the peer answers Close and keeps TCP open, or never answers: ended at closeTimeout", { "server_close",
      "ends at closeTimeout when the peer never answers, unclean",
        "ends at closeTimeout when the peer answers and keeps TCP open" },
      { "websocket_close", "ends the wait for a peer that never answers",
        "ends the wait for a peer that answers and keeps TCP open: clean, both Close frames went" } },
    { "text that is not UTF-8: c1007 as soon as the offending byte is here", got(1007, "of text with ff", "of text with c0 80",
      "of text with ed a0 80 in a message that is not finished", "of text with f4 90 80 80 in a frame that is not finished",
      "of text with a lone continuation", "of text that is cut at its end"), told(1007, "begins a long text with a wrong byte",
      "sends text cut at its end"), { TABLE, "fail-fast" }, secure "a client tells text that is not UTF-8" },
    { "U+0000, U+FFFF, U+10FFFF, a BOM: delivered unchanged", { FROM_CLIENT,
      "with U+0000, U+FFFF, U+10FFFF and a BOM, sent whole, arrives" },
      { FROM_SERVER, "U+0000, U+FFFF, U+10FFFF and a BOM are delivered unchanged, whole" } },
  } },
  { "Compressed messages", {
    { "RSV1 on a continuation or a control frame: c1002", { DEFLATE, "that mean nothing are refused: RSV1 on a ping",
      "that mean nothing are refused: RSV1 on a continuation of a compressed message" }, { "server_deflate",
        "RSV1 on a continuation, whole" } },
    { "garbage, a stream cut short, bytes after the final block that are no block, back-references past window or context: c1007",
      { DEFLATE, "nothing of it delivered: garbage", "nothing of it delivered: cut in a stored block",
        "half a block behind the final block",
        "a back-reference past the window", "where a context was not to be taken over" } },
    { "a bomb: c1009, with at most maxPayload + 64 KiB held", { DEFLATE, "stops at maxPayload, and holds little more" },
      { "server_deflate", "a bomb, whole", "a bomb, one byte at a time" } },
    { "UTF-8 counts inside too", { DEFLATE, "must be UTF-8, in all kinds of blocks",
      "is refused as soon as the offending byte is here" } },
    { "empty payload, a BFINAL block, stored blocks: delivered", { DEFLATE, "may be empty in every form",
      "may be of stored and other blocks, in any order, final or not" } },
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

describe("each line of the contract #foreign", function()
  local names
  setup(function()
    local files = {}
    for _, section in ipairs(INDEX) do
      for _, row in ipairs(section[2]) do
        for i = 2, #row do files[row[i][1]] = true end
      end
    end
    names = namesOf(files)
  end)

  for _, section in ipairs(INDEX) do
    describe("(" .. section[1] .. ")", function()
      for _, row in ipairs(section[2]) do
        it("is judged: " .. row[1], function()
          assert.is_true(#row > 1, "nowhere")
          for i = 2, #row do
            local file = row[i][1]
            assert.is_true(#row[i] > 1)
            for j = 2, #row[i] do
              if not has(names[file], row[i][j]) then error(("no test of %s_spec is called `%s`"):format(file, row[i][j])) end
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

-- --- over TLS -------------------------------------------------------------------------------------------

local function many(n)
  local fields = {}
  for i = 1, n do fields["X-" .. i] = "y" end
  return fields
end

-- {what, request, status}
local EXTENSIONS, PROTOCOL, ACCEPT = "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Sec-WebSocket-Accept"
local REQUESTS = {
  { "no Upgrade", wire.upgrade { Upgrade = false }, 426 },
  { "no Connection", wire.upgrade { Connection = false }, 426 },
  { "no key", wire.upgrade { ["Sec-WebSocket-Key"] = false }, 400 },
  { "a key of 15 bytes", wire.upgrade { ["Sec-WebSocket-Key"] = "MTIzNDU2Nzg5MDEyMzQ1" }, 400 },
  { "two keys", (wire.upgrade():gsub("\r\n\r\n", "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")), 400 },
  { "version 8", wire.upgrade { ["Sec-WebSocket-Version"] = "8" }, 426 },
  { "a POST", wire.upgrade(nil, "POST / HTTP/1.1"), 405 },
  { "HTTP/1.0", wire.upgrade(nil, "GET / HTTP/1.0"), 505 },
  { "no Host", wire.upgrade { Host = false }, 400 },
  { "two Hosts", (wire.upgrade():gsub("\r\n\r\n", "\r\nHost: b\r\n\r\n")), 400 },
  { "a Content-Length of frames", wire.upgrade { ["Content-Length"] = "8" } .. "\x81\x82\0\0\0\0hi", 400 },
  { "a Transfer-Encoding", wire.upgrade { ["Transfer-Encoding"] = "chunked" } .. "0\r\n\r\n", 400 },
  { "a bare LF", (wire.upgrade():gsub("\r\n", "\n")), 400 },
  { "a bare CR", wire.upgrade { X = "a\rb" }, 400 },
  { "a NUL in a value", wire.upgrade { X = "a\0b" }, 400 },
  { "a folded line", wire.upgrade { X = "a\r\n b" }, 400 },
  { "a space before the colon", wire.upgrade { ["X "] = "a" }, 400 },
  { "101 headers", wire.upgrade(many(96)), 431 },
  { "a head over 16 KiB", wire.upgrade { X = ("y"):rep(16384) }, 431 },
  { "a target of 8 KiB and a byte", wire.upgrade(nil, "GET /" .. ("a"):rep(8192) .. " HTTP/1.1"), 414 },
  { "a subprotocol that is no token", wire.upgrade { [PROTOCOL] = "a b" }, 400 },
  { "an empty subprotocol", wire.upgrade { [PROTOCOL] = "a,, b" }, 400 },
  { "the same subprotocol twice", wire.upgrade { [PROTOCOL] = "a, a" }, 400 },
  { "an extension with an open quote", wire.upgrade { [EXTENSIONS] = 'a; b="c' }, 400 },
  { "an Origin of another site", wire.upgrade { Origin = "http://evil.example" }, 403 },
  { "noise", "\200\1\255\128\77\0\13\10\13\10", 400 },
}

-- {what, answer (bytes, or a function of the key)}; no protocol was asked for
local PMD = "permessage-deflate"
local function with(more)
  return function(key) return wire.switch(key, more) end
end
local RESPONSES = {
  { "200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" },
  { "301", "HTTP/1.1 301 Moved\r\nLocation: ws://elsewhere/\r\nContent-Length: 0\r\n\r\n" },
  { "404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" },
  { "500", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n" },
  { "HTTP/1.0", function(key) return (wire.switch(key):gsub("HTTP/1.1", "HTTP/1.0")) end },
  { "no Upgrade", with { Upgrade = false } },
  { "another Connection", with { Connection = "close" } },
  { "no Accept", with { [ACCEPT] = false } },
  { "a wrong Accept", with { [ACCEPT] = wire.accept "x" } },
  { "a protocol nobody asked for", with { [PROTOCOL] = "chat" } },
  { "an extension nobody offered", with { [EXTENSIONS] = "x-webkit-deflate-frame" } },
  { "deflate accepted twice", with { [EXTENSIONS] = PMD .. ", " .. PMD } },
  { "deflate with 7 bits", with { [EXTENSIONS] = PMD .. "; server_max_window_bits=7" } },
  { "deflate with 16 bits", with { [EXTENSIONS] = PMD .. "; client_max_window_bits=16" } },
  { "deflate with an unknown parameter", with { [EXTENSIONS] = PMD .. "; unknown" } },
  { "over 100 headers", with(many(98)) },
  { "a head over 16 KiB", with { X = ("y"):rep(16384) } },
  { "an SSH banner", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" },
  { "frames at once", "\x81\x05Hello" },
  { "a bare LF", function(key) return (wire.switch(key):gsub("Connection: Upgrade\r\n", "Connection: Upgrade\n")) end },
}
local HELLO = "\x81\x05Hello"
local TAKEN = {
  { "100 Continue first", function(key) return "HTTP/1.1 100 Continue\r\n\r\n" .. wire.switch(key) .. HELLO end },
  { "no reason phrase", function(key) return (wire.switch(key):gsub("101 [^\r]*", "101 ")) .. HELLO end },
  { "no reason phrase, nor the space before it", function(key) return (wire.switch(key):gsub("101 [^\r]*", "101")) .. HELLO end },
}

-- {what, frames, code} of either side
local function text(payload) return { "text", payload = payload } end
local begun = { "text", payload = "begun", fin = false }
local FRAMES = {
  { "RSV1", { { "text", rsv = 4 } }, 1002 },
  { "RSV3 on a ping", { { "ping", rsv = 1 } }, 1002 },
  { "opcode 3", { { 3 } }, 1002 },
  { "opcode 11", { { 11, payload = "x" } }, 1002 },
  { "a ping of 126 bytes", { { "ping", payload = ("x"):rep(126) } }, 1002 },
  { "a Close without FIN", { { "close", fin = false } }, 1002 },
  { "a continuation of nothing", { { "continuation" } }, 1002 },
  { "a message within a message", { begun, text "x" }, 1002 },
  { "a length that is not the shortest", { { "binary", payload = ("x"):rep(125), form = 16 } }, 1002 },
  { "a length of 2^63", { { "binary", payload = "", length = 2 ^ 63, form = 64 } }, 1002 },
  { "too much", { { "binary", length = 100001, payload = "" } }, 1009 },
  { "too much in fragments", { begun, { "continuation", length = 99996, payload = "" } }, 1009 },
  { "too many fragments", { begun, { "continuation", fin = false }, { "continuation", fin = false }, { "continuation",
    fin = false },
    { "continuation" } }, 1008 },
  { "a Close of one byte", { { "close", payload = "\3" } }, 1002 },
  { "a Close with 1005", { { "close", payload = frames.closing(1005) } }, 1002 },
  { "a reason that is not UTF-8", { { "close", payload = frames.closing(1000, "\xff") } }, 1007 },
  { "text that is not UTF-8", { text "fine \xff and more" }, 1007 },
  { "text that is not UTF-8, unfinished", { { "text", payload = "\xed\xa0", fin = false, length = 500 } }, 1007 },
  { "text cut at its end", { text "fine \xe2\x82" }, 1007 },
}
local LIMITS = { maxPayload = 100000, maxFragments = 4 }

describe("over TLS #foreign #slow", function()
  local certs
  setup(function()
    certs = pki.new()
    desk.open()
  end)
  teardown(function()
    desk.clear()
    certs:close()
  end)

  local function pipe(arguments)
    local script = helper.quote(helper.root .. "/spec/peers/tls_pipe.py")
    local process = helper.peer(("exec %s %s %s"):format(helper.python(), script, arguments))
    desk.finally(function() process:stop() end)
    return tonumber(process:line())
  end

  -- One test for each row and way.
  local function each(rows, run)
    for _, row in ipairs(rows) do
      for _, way in ipairs(ways) do
        it(("%s, %s"):format(row[1], way), function() run(row, way) end)
      end
    end
  end

  -- --- a server of ours ---

  -- One for all rows of a table; `log` begins anew with each of them.
  local behind, log
  local function serve(options)
    setup(function()
      options.tls = { cert = certs:cert "good", key = certs:key "good" }
      local server
      server, log = desk.serve(options)
      behind = { port = pipe("connect " .. server.port) }
    end)
    before_each(function()
      for i = #log, 1, -1 do log[i] = nil end
    end)
  end

  describe("a server answers", function()
    serve { perMessageDeflate = true }

    each(REQUESTS, function(row, way)
      local answer = desk.fetch(behind, row[2], way)
      assert.equal(row[3], answer.status)
      assert.equal("eof", answer.ended)
      assert.equal(row[3] == 426 and "13" or nil, answer.headers["sec-websocket-version"])
      wire.settle()
      assert.same({}, log)
    end)
  end)

  describe("a server keeps", function()
    serve {}

    each({ { "the frames that come with the request" } }, function(_, way)
      local peer = desk.ask(behind, wire.upgrade() .. frames.build { "text", payload = "early", key = "\1\2\3\4" }, way)
      assert.equal(101, peer:head().status)
      desk.heard(log, "text early")
      peer:close()
      desk.heard(log, "close")
    end)
  end)

  -- The Close frame says the code, behind nothing else, and the stream ends.
  local function ended(peer, row, way)
    local parts = {}
    for i, frame in ipairs(row[2]) do parts[i] = peer:build(frame) end
    desk.say(peer, table.concat(parts), way)
    local frame = peer:next()
    assert.same({ 8, 0, true }, { frame.opcode, frame.rsv, frame.fin })
    assert.equal(row[3], frame.payload:byte(1) * 256 + frame.payload:byte(2))
    assert.is_true(#frame.payload > 2, "no reason")
    peer:finish()
    assert.equal("", peer.bytes)
    peer:close()
  end

  describe("a server tells", function()
    serve { maxPayload = LIMITS.maxPayload, maxFragments = LIMITS.maxFragments }

    each({ { "a frame without a mask", { { "text", payload = "x", key = false } }, 1002 }, table.unpack(FRAMES) }, function(row,
      way)
      ended(wire.client(behind.port), row, way)
      desk.heard(log, "close")
      assert.same({ "connection", "error protocol " .. row[3], "close 1006  unclean" }, log)
    end)
  end)

  -- --- a client of ours ---

  local server, port
  setup(function()
    server = wire.server()
    port = pipe(("listen %d %s %s"):format(server.port, helper.quote(certs:cert "good"), helper.quote(certs:key "good")))
  end)

  -- The client, what it hears, and the raw server's end once it was asked.
  local function meet(options)
    options.tls = { ca = certs:cert "root" }
    local ws = lunawire.WebSocket(("wss://127.0.0.1:%d/"):format(port), nil, options)
    return ws, wire.record(ws), server:asked()
  end

  local function answer(peer, what, way)
    peer:say(type(what) == "function" and what(peer.request.headers["sec-websocket-key"]) or what, way)
  end

  describe("a client refuses", function()
    each(RESPONSES, function(row, way)
      local _, heard, peer = meet {}
      answer(peer, row[2], way)
      wire.heard(heard)
      assert.same({ "error http", "close 1006  unclean" }, heard)
      peer:finish()
      assert.equal("", peer.bytes)
      peer:close()
    end)
  end)

  describe("a client takes", function()
    each(TAKEN, function(row, way)
      local ws, heard, peer = meet {}
      answer(peer, row[2], way)
      wire.await(function() return heard[2] end, "a message")
      assert.same({ "open", "text Hello" }, heard)
      ws:terminate()
      peer:close()
    end)

    each({ { "deflate with client_max_window_bits=8, and sends uncompressed" } }, function(_, way)
      local ws, heard, peer = meet { perMessageDeflate = { threshold = 0 } }
      answer(peer, with { [EXTENSIONS] = PMD .. "; client_max_window_bits=8" }, way)
      wire.heard(heard, "open")
      assert.equal(PMD .. "; client_max_window_bits=8", ws.extensions)
      ws:send(("again "):rep(100))
      local frame = peer:next()
      assert.same({ 1, 0, ("again "):rep(100) }, { frame.opcode, frame.rsv, frame.payload })
      ws:terminate()
      peer:close()
    end)
  end)

  describe("a client tells", function()
    each({ { "a masked frame", { { "text", payload = "x", key = "\1\2\3\4" } }, 1002 }, table.unpack(FRAMES) }, function(row, way)
      local _, heard, peer = meet { maxPayload = LIMITS.maxPayload, maxFragments = LIMITS.maxFragments }
      answer(peer, wire.switch, "whole")
      wire.heard(heard, "open")
      ended(peer, row, way)
      wire.heard(heard)
      assert.same({ "open", "error protocol " .. row[3], "close 1006  unclean" }, heard)
    end)
  end)
end)
