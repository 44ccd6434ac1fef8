-- seeds.lua -- where the fuzzers begin: `lua fuzz/seeds.lua DIRECTORY` writes DIRECTORY/FUZZER/NAME.
-- Each is a setting, as the fuzzer's first lines read it, and what the peer says.

local directory = ...

local function write(fuzzer, name, bytes)
  local path = ("%s/%s/%s"):format(directory, fuzzer, name)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
end

local function from_hex(text)
  return (text:gsub("%s", ""):gsub("..", function(pair) return string.char(tonumber(pair, 16)) end))
end

for _, fuzzer in ipairs { "session", "request", "response", "grammar", "url", "inflate", "tunnel", "loop" } do
  assert(os.execute(("mkdir -p '%s/%s'"):format(directory, fuzzer)))
end

-- --- session: flags, bits, limits (three), cuts (two), a script of eight actions with a size each ---

local CLIENT, SERVER = 0, 1
local DEFLATE, DIRECT, STASH, STARVED = 2, 4, 8, 128
local QUIET = ("\0"):rep(16)
local BUSY = from_hex "0301 0102 0205 0505 0600 0703 0907 0800" -- pings, sends, a long message, output
local BYE = from_hex "0104 0401 0000 0300 0500 0401 0800 0600"

local SOME, MUCH, NONE = 5, 8, 9 -- a message may have 4096 bytes; 100000; or none

local function session(name, flags, script, frames, most)
  write("session", name, string.char(flags, 6, most or SOME, 4, 0, 7, 3) .. script .. from_hex(frames))
end

-- RFC 6455, 5.7
session("hello", CLIENT, QUIET, "81 05 48 65 6c 6c 6f")
session("hello-masked", SERVER, BUSY, "81 85 37 fa 21 3d 7f 9f 4d 51 58")
session("fragments-and-ping", CLIENT + STASH, BUSY, "01 03 48 65 6c 89 05 48 65 6c 6c 6f 80 02 6c 6f")
session("long-16", CLIENT + DIRECT, BUSY, "82 7e 01 00" .. ("a5"):rep(256))
session("long-64", SERVER + DIRECT, BUSY, "82 ff 00 00 00 00 00 01 00 00 00 00 00 00" .. ("c3"):rep(700))
session("no-memory", CLIENT + STASH + STARVED, BUSY, "01 03 48 65 6c 89 01 61 80 02 6c 6f 82 01 61 88 00")
session("pings", CLIENT, BUSY, ("89 01 61"):rep(12) .. "8a 00")
session("pings-kept", CLIENT + STASH, QUIET, ("89 00"):rep(60))
session("close", SERVER, BYE, "88 85 00 00 00 00 03 e8 62 79 65 81 80 00 00 00 00")
session("we-close-first", CLIENT, BYE, "82 01 61 82 01 62 01 02 c3 a9 80 00 88 02 03 e9")
session("text-cut-in-a-character", CLIENT, QUIET, "01 01 e2 00 01 82 80 01 ac 81 04 f0 9f 98 80")
session("bad-text", SERVER, QUIET, "81 83 00 00 00 00 ed a0 80")
-- RFC 7692, 7.2.3
session("deflate", CLIENT + DEFLATE, BUSY, "c1 07 f2 48 cd c9 c9 07 00 c1 05 f2 00 11 00 00")
session("deflate-fragments", CLIENT + DEFLATE, QUIET, "41 03 f2 48 cd 80 04 c9 c9 07 00")
session("deflate-stored", CLIENT + DEFLATE, BYE, "c1 0b 00 05 00 fa ff 48 65 6c 6c 6f 00")
session("deflate-final", CLIENT + DEFLATE, QUIET, "c1 08 f3 48 cd c9 c9 07 00 00")
session("deflate-no-room", CLIENT + DEFLATE, QUIET, "41 01 02 00 01 00 80 00 c1 07 f2 48 cd c9 c9 07 00", NONE)
-- 70000 times "a", by zlib: more than a shelf's space
local RUN = "ec c1 31 01 00 00 00 c2 a0 ac eb 5f c2 12 9e 40 01" .. ("00"):rep(67) .. "6f 03"
session("deflate-long", CLIENT + DEFLATE, QUIET, "c1 56" .. RUN .. "c1 07 f2 48 cd c9 c9 07 00", MUCH)
session("deflate-long-fragments", CLIENT + DEFLATE + STASH, BUSY, "42 56" .. RUN .. "80 01 00", MUCH)
session("deflate-masked", SERVER + DEFLATE + STASH, BUSY, "c1 87 00 00 00 00 f2 48 cd c9 c9 07 00")

-- --- request: limits (two), cuts (two), the request ---

local UPGRADE = "Host: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

local function request(name, line, fields, behind)
  write("request", name, "\0\0\1\2" .. line .. " HTTP/1.1\r\n" .. fields .. "\r\n" .. (behind or ""))
end

-- RFC 6455, 1.2
request("chat", "GET /chat", UPGRADE .. "Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n", "\x81\x80")
request("same-origin", "GET /", UPGRADE .. "Origin: https://server.example.com:443\r\n")
request("absolute", "GET http://example.org:80/a?b", UPGRADE)
request("options", "OPTIONS *", "Host: a\r\nContent-Length: 0\r\n")
request("connect", "CONNECT example.org:443", "Host: example.org:443\r\n")
request("plain", "HEAD /a?b", "Host: [::1]:80\r\nAccept: */*\r\n")
request("body", "POST /", "Host: a\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")
request("protocols", "GET /", UPGRADE .. "Sec-WebSocket-Protocol: a,b\r\nSec-WebSocket-Protocol:c\t,  d\r\n")
local many = {}
for i = 1, 64 do many[i] = string.char(97 + i // 8) .. i % 8 end
request("many-protocols", "GET /", UPGRADE .. "Sec-WebSocket-Protocol: " .. table.concat(many, ",") .. "\r\n")
request("deflate", "GET /", UPGRADE .. "Sec-WebSocket-Extensions: x-a; b=\"c\", permessage-deflate; client_max_window_bits\r\n"
  .. "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; server_no_context_takeover\r\n")
request("forwarded", "GET /", "Host: a\r\nX-Forwarded-For: 192.0.2.1:8080, 10.1.2.3\r\nX-Forwarded-For: [2001:db8::1]:80\r\n")
write("request", "tls", "\0\0\1\2\22\3\1\2\0\1\0\1\252")
write("request", "bare-lf", "\0\0\1\2GET / HTTP/1.1\nHost: a\n\n")

-- --- response: wishes, limits (two), windows (two), repeats, cuts (two), the answer ---

-- The accept is that of fuzz.c's random bytes.
local ACCEPT = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: LgH+hL5Q3b8qRtLJyVIZe8MRzJU=\r\n"

local function response(name, wishes, status, fields, behind)
  write("response", name, string.char(wishes, 0, 0, 0, 0, 0, 1, 3) .. "HTTP/1.1 " .. status .. "\r\n" .. fields .. "\r\n"
    .. (behind or ""))
end

response("101", 0, "101 Switching Protocols", ACCEPT)
response("101-protocol", 1, "101", ACCEPT .. "Sec-WebSocket-Protocol: superchat\r\n", "\x81\1a")
response("101-deflate", 2, "101 OK", ACCEPT .. "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n")
response("101-after-103", 0, "103 Early Hints", "Link: </a>\r\n", "HTTP/1.1 101 Now\r\n" .. ACCEPT .. "\r\n")
response("refused", 0, "403 Forbidden", "Content-Length: 5\r\nDate: now\r\n", "sorry, no")
response("refused-until-the-end", 0, "500 ", "Server: a\r\n", "this is all")
response("refused-in-chunks", 0, "404 Not Found", "Transfer-Encoding: chunked\r\n",
  "5;a=b\r\nsorry\r\n2\r\n, \r\n0\r\nX: y\r\n\r\n")
-- its last chunk comes eight hundred times: more than is kept
write("response", "refused-with-a-long-page", "\0\0\0\0\0\5\1\7HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
  .. "5e\r\n" .. ("page"):rep(23) .. "\r\n" .. "\r\n")
response("redirect", 0, "302 Found", "Location: ../there?a#b\r\nContent-Length: 0\r\n")
response("redirect-elsewhere", 0, "307 Temporary Redirect", "Location: wss://user@elsewhere.example:8443/a\r\n")
response("1.0", 0, "101 Old", "Upgrade: websocket\r\n")

-- --- grammar: a client's wishes, a server's (how many, then two ways each), a list ---

local function grammar(name, text)
  write("grammar", name, "\1\6\7\134\3" .. "\0\7\6" .. text)
end

-- RFC 7692, 5 and 7.1.3
grammar("offer", "permessage-deflate")
grammar("offers", "permessage-deflate; server_max_window_bits=10, permessage-deflate")
grammar("fallback",
  "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate; client_max_window_bits")
grammar("most-said", "permessage-deflate; server_max_window_bits=15")
grammar("quoted", 'permessage-foo; x="10", permessage-deflate; server_no_context_takeover; server_max_window_bits="1\\2"')
grammar("unknown", "x-webkit-deflate-frame, permessage-deflate; unknown=1")
grammar("answer", "permessage-deflate; client_no_context_takeover; client_max_window_bits=9; server_max_window_bits=8")
grammar("twice", "permessage-deflate; client_max_window_bits=10; client_max_window_bits=10")
grammar("protocols", "chat, superchat,v1.example.org\t, soap")

-- --- url: a text ---

for name, text in pairs {
  plain = "ws://example.com/chat",
  all = "WSS://User:Pass%3aword@Example.COM:0443/a/./b/../c%2e?q=\"a\"&b=c",
  ip4 = "http://192.0.2.1:80", ip6 = "wss://[2001:DB8:0:0::1]:8443/?", mapped = "ws://[::ffff:192.0.2.1]/",
  unix = "ws+unix:/run/a%3Ab.sock:/chat?room", ["unix-slashes"] = "wss+unix:///run/chat.sock",
  backslashes = "https:\\\\a.example\\b\\..\\c", reference = "../d/./e?f#g", ["reference-host"] = "//b.example:81?x",
  socks = "socks5h://user:secret@proxy.example:1080/", proxy = "proxy.example:3128",
  ["no-proxy"] = "localhost, .example.org *.example.net:81 10.0.0.0/8 [2001:db8::]/32,2001:db8::/32,*",
  address = "192.0.2.1", address6 = "2001:db8::192.0.2.1", network = "::ffff:10.0.0.0/104", network6 = "fe80::/10",
} do
  write("url", name, text)
end

-- --- inflate: flags, bits, limit, cuts (two), level; then payloads, each behind its length, or messages to compress ---

local THEIRS, OURS, FRESH = 0, 1, 2

local function inflate(name, flags, bits, payloads)
  write("inflate", name, string.char(flags + 28, 15 - bits, 0, 7, 2, 0) .. from_hex(payloads))
end

-- RFC 7692, 7.2.3: one block; the same again, which refers back; no compression; a final block; two blocks
inflate("hello", THEIRS, 15, "07 f2 48 cd c9 c9 07 00")
inflate("hello-twice", THEIRS, 15, "07 f2 48 cd c9 c9 07 00 05 f2 00 11 00 00")
inflate("hello-fresh", THEIRS + FRESH, 9, "07 f2 48 cd c9 c9 07 00 07 f2 48 cd c9 c9 07 00")
inflate("stored", THEIRS, 15, "0b 00 05 00 fa ff 48 65 6c 6c 6f 00")
inflate("final", THEIRS, 15, "08 f3 48 cd c9 c9 07 00 00")
inflate("two-blocks", THEIRS, 15, "0d f2 48 05 00 00 00 ff ff ca c9 c9 07 00")
inflate("empty", THEIRS, 8, "01 00")
inflate("a-long-run", THEIRS, 15, "0f ec c1 01 0d 00 00 08 c3 a0 4b 75 7f 17 00 00") -- a dynamic block's head
inflate("long", THEIRS, 15, "56" .. RUN .. "07 f2 48 cd c9 c9 07 00")
-- lengths, periods, a byte for what is forgotten
inflate("ours", OURS, 15, "03 05 48 65 6c 6c 6f 20 00 04 05 48 65 6c 6c 6f 20 00 05 02 61 62 63 00")
inflate("ours-small", OURS, 9, "06 08 01 02 03 04 05 06 07 08 09 07 07 03 02 01 00 01 02 03 04 05")
inflate("ours-fresh", OURS + FRESH, 12, "04 03 61 62 63 64 00 04 03 61 62 63 64 07 00 00 00 01")

-- --- tunnel: a proxy, a host, cuts (two), its answers ---

local function tunnel(name, proxy, host, answer)
  write("tunnel", name, string.char(proxy, host, 1, 2) .. answer)
end

tunnel("connect", 0, 0, "HTTP/1.1 200 Connection established\r\n\r\n")
tunnel("connect-interim", 1, 2, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 204 \r\nContent-Length: 5\r\n\r\n")
tunnel("connect-password", 0, 0, "HTTP/1.1 407 \r\nProxy-Authenticate: Basic\r\n\r\nno")
-- RFC 1928, 3 to 6; RFC 1929, 2
tunnel("socks", 2, 0, from_hex "05 00 05 00 00 01 c0 00 02 01 01 bb")
tunnel("socks-password", 3, 1, from_hex "05 02 01 00 05 00 00 03 04 70 2e 65 78 04 38")
tunnel("socks-ip6", 2, 2, from_hex "05 00 05 00 00 04 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 01 bb 48")
tunnel("socks-refused", 3, 0, from_hex "05 00 05 05 00 01 00 00 00 00 00 00")

-- --- loop: flags, times, limits, a mark; the system's ways (four), a seed; what handlers do (eight); what is done ---

local actions = {}
for name in ([[nothing turn connect send body ping close pause resume dial shake frame raw turns cast subscribe
    terminate end kill orphan shut hangUp deaf break cut pass starve harm answer closeServer freeServer
    newServer freeHub flush rules alive]]):gmatch "%a+" do
  actions[name] = #actions + 1
  actions[#actions + 1] = name
end

-- "send 5, turns 15": each an action and a number; behind a colon, bytes in hex
local function steps(text)
  return (text:gsub("%s*(%a+)%s*(%d*):?([%x ]*),?%s*", function(name, how, bytes)
    return string.char(assert(actions[name], name) - 1, tonumber(how) or 0) .. from_hex(bytes)
  end))
end

local DEFLATED, BEATING, CHOSEN, POLL, FEW, PAUSED, LEFT, HURRIED = 1, 2, 4, 8, 16, 32, 64, 128
local IDEAL = "\0\0\0\0\7"
local SLOW = "\5\3\2\0\9" -- reads and writes that are short, 40 ms, 200 bytes under way
local BAD = "\63\2\0\38\3" -- faults, resets
local POOR = "\0\0\0\225\3" -- few descriptors
local OPEN = "connect 0, turns 5, connect 2, turns 79, "
local TALK = "send 0, send 97, turns 3, body 55, ping 69, send 13, turns 3, cast 52, subscribe 32, cast 116, turns 19, "
local FRAMES = "frame 0:02 4869, frame 5:01 61, frame 8:01 62, frame 2:00, frame 10:07 aa0200 00000000, turns 3, "
  .. "frame 4:02 03e8, "

-- Sizes, ends and what befalls them, in each kind of world; handlers do nothing, or what an echo does, or more.
local lives = {
  talk = OPEN .. TALK .. "close 0, turns 3, close 1, turns 5",
  pause = OPEN .. "pause 32, send 13, send 12, body 12, turns 82, resume 32, turns 5, pause 0, send 43, terminate 32, turns 5",
  ends = OPEN .. TALK .. "terminate 3, end 32, kill 64, orphan 96, turns 5, connect 0, turns 3, kill 0, turns 3",
  server = OPEN .. TALK .. "closeServer 1, turns 3, connect 0, turns 20, newServer 0, connect 0, turns 5, freeServer, turns 5",
  hub = OPEN .. TALK .. "send 13, body 43, freeHub 19, turns 3",
  foreign = "dial, turns 3, shake 0, turns 3, " .. FRAMES .. "dial, turns 3, raw 36:" .. ("47"):rep(36)
    .. ", shut 32, turns 3, hangUp 0, turns 5, deaf 0, shake 32",
  answer = "connect 18, turns 5, shake 0, turns 3, connect 20, connect 18, turns 5, shake 33, turns 3, "
    .. FRAMES .. "send 13, send 45, turns 5, hangUp 0, turns 3",
  nowhere = "connect 3, connect 4, connect 5, connect 6, connect 7, newServer 7, connect 8, turns 79, close 32, turns 95",
  unix = "freeServer, newServer 7, connect 8, turns 20, send 13, turns 20, send 45, close 0, turns 5",
  line = OPEN .. "send 13, break 0, turns 3, cut 1, send 45, turns 5, pass 7, turns 20, alive 0, rules:00 00 00 00, turns 3",
  want = OPEN .. "starve 9, send 13, connect 0, turns 3, starve 64, starve 128, send 45, connect 0, turns 3, starve 192, "
    .. "harm 33, harm 4, dial, harm 11, turns 5, harm 25, turns 20",
  topics = OPEN .. "connect 0, turns 79, subscribe 32, subscribe 96, subscribe 160, cast 64, turns 3, subscribe 48, cast 67, "
    .. "subscribe 176, cast 99, subscribe 112, subscribe 32, subscribe 160, cast 67, kill 32, cast 69, turns 5",
  full = "harm 33, dial, turns 3, harm 24, turns 51, dial, turns 3",
  late = "connect 0, turns 2, answer 0, turns 3, pass 6, turns 3, connect 0, turns 3, pass 3, answer 32, turns 3, flush 0",
}
local handlers = {
  quiet = "", echo = "send 0, send 48, ping 9, nothing 0, send 5, flush 0, nothing 0, nothing 0",
  rash = "pause 128, resume 160, close 0, kill 192, orphan 0, connect 0, freeServer, send 13",
}
local function loop(name, flags, limits, world, handler, life)
  local script = (steps(handler) .. QUIET):sub(1, #QUIET)
  write("loop", name, string.char(flags, 0, limits, limits % 5) .. world .. script .. steps(life))
end
for life, text in pairs(lives) do
  loop(life, 0, 0, IDEAL, handlers.quiet, text)
  loop(life .. "-echo", DEFLATED + BEATING, 0, SLOW, handlers.echo, text)
  loop(life .. "-rash", HURRIED + POLL, 16, IDEAL, handlers.rash, text)
  loop(life .. "-bad", PAUSED + HURRIED + BEATING, 74, BAD, handlers.echo, text)
  loop(life .. "-poor", FEW + LEFT, 0, POOR, handlers.quiet, text)
  loop(life .. "-chosen", CHOSEN + DEFLATED, 33, SLOW, handlers.echo, text)
end
-- the first guest is told that his request is wrong when there is no memory to read into
write("loop", "linger-without-memory", from_hex [[1affffcbc3 0000 9a ff ff ff ff 9a 2a 3e 9a 75 46 92 63 9a 70 6f 6c 6c 9a
  2a 3e 1a 75 46 92 63 75 46 92 ff 75 63 ff ff 0d 0d 0d 0d 0d 0d 0d 0d 0d 0d 0d 0d 0d 0d 0d 0d 0d 0d ff ff 46 92 63 b6 9b 6b 01]])

-- A write for which there was no memory; a guest who was paused as the server closed; long messages, and what waits behind each.
write("loop", "write-without-memory", from_hex [[
  00008c707580749a75fffffff78b00ffff31263226265b29262626262626262626262626264d647857553549776151ffffffffcf97aeb4c6
  8baebb3d0d9a26706f7979798786860092ff30ff31322626265b262600000028002828282828282828d92626010000000039]])
write("loop", "paused-and-refused", from_hex [[
  1a2aff75212163ff923effb69b6e01ff6492639263c99a9a2a3e9a754492637546929d9d9d313938956c697374656e9d9d9d9d9d9d9d9d9d
  9d9d9d9d9d9d9d9d9d9d9d2e31ffff2effffba30212121212121212121212121212121212121212121212121212121212121212121212121
  212121212121212121212121212121212121212121212121212121212121212121212121212121ff]])
write("session", "many-long", from_hex [[
  88060547046189010289008900016189016a8901028900890089008900890089008900890089016189010289008900890089008900890089
  0089008900890089008901618901028900890089008900890089008901618900890089008901618901028900890089008900890089208900
  7e890089618a8900890089008900890089016189010289008900890089008900890089016189008900890089016189010289008900890089
  0089008920890089008900890089008900890089008901618901028900890089008900890089008901618900890089008901618901028900
  89000703030101020205050726807702060504000703030201020000]])
