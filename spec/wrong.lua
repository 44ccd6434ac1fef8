-- wrong.lua -- what a peer can get wrong, and what is unusual and right: tables that several specs drive, over ws and wss,
-- at both ends, whole and cut. Who drives one gives each of its rows to an end of ours and judges what comes back.
--
--   wrong.requests, wrong.responses, wrong.unusual (responses that are right)
--   wrong.frames, wrong.masks[role], wrong.fine (frames that are right), wrong.cuts; wrong.limits is what they need
--   wrong.compressed, wrong.swollen (messages that are right)
--   wrong.bytes(row, role)         -- a row's frames as the peer of that end sends them
--   wrong.told(peer, row, how)     -- sends them; the peer must be told what is wrong
--   wrong.answered(peer, row, how) -- sends them; pings and a Close must be answered

local Proxy = require "spec.torture.proxy"
local assert = require "luassert"
local blocks = require "spec.blocks"
local desk = require "spec.server_helper"
local frames = require "spec.frames"
local helper = require "spec.helper"
local wire = require "spec.wire"

local wrong = {}

local hex, closing = frames.hex, frames.closing

-- --- requests -----------------------------------------------------------------------------------------

-- A request of these lines.
function wrong.lines(first, ...)
  return table.concat({ first, ... }, "\r\n") .. "\r\n\r\n"
end

wrong.USUAL = {
  "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
}

-- A request to upgrade with more lines.
function wrong.usual(...)
  local all = { "GET / HTTP/1.1", table.unpack(wrong.USUAL) }
  for _, line in ipairs { ... } do all[#all + 1] = line end
  return table.concat(all, "\r\n") .. "\r\n\r\n"
end

local lines, usual, USUAL = wrong.lines, wrong.usual, wrong.USUAL
local get = "GET / HTTP/1.1"
local host, upgrade, connection, key, version = table.unpack(USUAL)

local function many(n)
  local list = {}
  for i = 1, n do list[i] = "X-" .. i .. ": y" end
  return table.unpack(list)
end

-- {what, bytes, status}
wrong.requests = {
  -- not an upgrade at all
  { "no Upgrade", lines(get, host, connection, key, version), 426 },
  { "another Upgrade", lines(get, host, "Upgrade: h2c", connection, key, version), 426 },
  { "no Connection", lines(get, host, upgrade, key, version), 426 },
  { "another Connection", lines(get, host, upgrade, "Connection: keep-alive", key, version), 426 },
  { "just a page", lines(get, host), 426 },
  { "a POST", lines("POST / HTTP/1.1", host), 426 },
  -- the key
  { "no key", lines(get, host, upgrade, connection, version), 400 },
  { "an empty key", lines(get, host, upgrade, connection, "Sec-WebSocket-Key:", version), 400 },
  { "a key of 15 bytes", lines(get, host, upgrade, connection, "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1", version), 400 },
  { "a key of 17 bytes", lines(get, host, upgrade, connection,
    "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Njc=", version), 400 },
  { "a key that is no base64", lines(get, host, upgrade, connection,
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==", version), 400 },
  { "a key without its padding", lines(get, host, upgrade, connection,
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", version), 400 },
  { "two keys", lines(get, host, upgrade, connection, key, key, version), 400 },
  { "two keys on one line", lines(get, host, upgrade, connection, key .. ", dGhlIHNhbXBsZSBub25jZQ==", version), 400 },
  -- the version
  { "no version", lines(get, host, upgrade, connection, key), 426 },
  { "version 8", lines(get, host, upgrade, connection, key, "Sec-WebSocket-Version: 8"), 426 },
  { "version 14", lines(get, host, upgrade, connection, key, "Sec-WebSocket-Version: 14"), 426 },
  { "version 013", lines(get, host, upgrade, connection, key, "Sec-WebSocket-Version: 013"), 426 },
  { "versions 13, 8", lines(get, host, upgrade, connection, key, "Sec-WebSocket-Version: 13, 8"), 426 },
  { "two versions", lines(get, host, upgrade, connection, key, version, version), 426 },
  -- the method, HTTP, Host
  { "a POST that upgrades", lines("POST / HTTP/1.1", table.unpack(USUAL)), 405 },
  { "a method of one's own", lines("BREW / HTTP/1.1", table.unpack(USUAL)), 405 },
  { "get in small letters", lines("get / HTTP/1.1", table.unpack(USUAL)), 405 },
  { "HTTP/1.0", lines("GET / HTTP/1.0", table.unpack(USUAL)), 505 },
  { "a page by HTTP/1.0", lines("GET / HTTP/1.0", host), 505 },
  { "HTTP/2.0", lines("GET / HTTP/2.0", table.unpack(USUAL)), 505 },
  { "HTTP/2's own beginning", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
  { "no Host", lines(get, upgrade, connection, key, version), 400 },
  { "two Hosts", lines(get, host, host, upgrade, connection, key, version), 400 },
  { "an empty Host", lines(get, "Host:", upgrade, connection, key, version), 400 },
  { "a Host with a space", lines(get, "Host: a b", upgrade, connection, key, version), 400 },
  { "a page without Host", lines(get), 400 },
  -- a body
  { "a Content-Length", usual "Content-Length: 5" .. "hello", 400 },
  { "a Content-Length of frames", usual "Content-Length: 8" .. "\129\130\0\0\0\0hi", 400 },
  { "two Content-Lengths", usual("Content-Length: 0", "Content-Length: 8"), 400 },
  { "a Content-Length that is no number", usual "Content-Length: x", 400 },
  { "a negative Content-Length", usual "Content-Length: -1", 400 },
  { "a Transfer-Encoding", usual "Transfer-Encoding: chunked" .. "0\r\n\r\n", 400 },
  { "a Transfer-Encoding of identity", usual "Transfer-Encoding: identity", 400 },
  { "a page with a body", lines("POST / HTTP/1.1", host, "Content-Length: 2") .. "hi", 400 },
  -- the grammar of a head
  { "a bare LF", (usual():gsub("\r\n", "\n")), 400 },
  { "one bare LF", (usual():gsub("Upgrade\r\n", "Upgrade\n")), 400 },
  { "a bare LF at the end", usual():sub(1, -3) .. "\n", 400 },
  { "a bare CR", usual "X: a\rb", 400 },
  { "a folded line", usual("X: a", " b"), 400 },
  { "a folded line by TAB", usual("X: a", "\tb"), 400 },
  { "a folded first line", lines(get, " X: a", table.unpack(USUAL)), 400 },
  { "a space before the colon", usual "X : a", 400 },
  { "a name with a space", usual "X Y: a", 400 },
  { "an empty name", usual ": a", 400 },
  { "a line without a colon", usual "X", 400 },
  { "a NUL in a value", usual "X: a\0b", 400 },
  { "a NUL in a name", usual "X\0: a", 400 },
  { "a DEL in a value", usual "X: a\127b", 400 },
  { "an escape in a value", usual "X: a\27b", 400 },
  { "two spaces in the first line", lines("GET  / HTTP/1.1", table.unpack(USUAL)), 400 },
  { "no version in the first line", lines("GET /", table.unpack(USUAL)), 400 },
  { "no target", lines("GET HTTP/1.1", table.unpack(USUAL)), 400 },
  { "a target without slash", lines("GET chat HTTP/1.1", table.unpack(USUAL)), 400 },
  { "a target with a fragment", lines("GET /#a HTTP/1.1", table.unpack(USUAL)), 400 },
  { "a target beyond ASCII", lines("GET /\195\164 HTTP/1.1", table.unpack(USUAL)), 400 },
  { "a target with credentials", lines("GET http://u:p@h/ HTTP/1.1", table.unpack(USUAL)), 400 },
  { "an empty line first", "\r\n" .. usual(), 400 },
  -- too much
  { "101 headers", usual(many(96)), 431 },
  { "a head of 16 KiB and a byte", usual("X: " .. ("y"):rep(16385 - #usual "X: ")), 431 },
  { "a head without an end", get .. "\r\nX: " .. ("y"):rep(20000), 431 },
  { "headers without an end", get .. "\r\n" .. ("X: y\r\n"):rep(5000), 431 },
  { "a target of 8 KiB and a byte", lines("GET /" .. ("a"):rep(8192) .. " HTTP/1.1", table.unpack(USUAL)), 414 },
  { "a target without an end", "GET /" .. ("a"):rep(20000), 414 },
  -- the lists
  { "a subprotocol that is no token", usual "Sec-WebSocket-Protocol: a b", 400 },
  { "a subprotocol with a slash", usual "Sec-WebSocket-Protocol: a/b", 400 },
  { "a subprotocol in quotes", usual 'Sec-WebSocket-Protocol: "a"', 400 },
  { "an empty list of subprotocols", usual "Sec-WebSocket-Protocol:", 400 },
  { "an empty subprotocol", usual "Sec-WebSocket-Protocol: a,, b", 400 },
  { "an empty subprotocol at the end", usual "Sec-WebSocket-Protocol: a,", 400 },
  { "an empty subprotocol at the beginning", usual "Sec-WebSocket-Protocol: , a", 400 },
  { "the same subprotocol twice", usual "Sec-WebSocket-Protocol: a, b, a", 400 },
  { "the same subprotocol on two lines", usual("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: a"), 400 },
  { "an extension without a name", usual "Sec-WebSocket-Extensions: ; a", 400 },
  { "an extension with an empty parameter", usual "Sec-WebSocket-Extensions: a;", 400 },
  { "an extension with a value missing", usual "Sec-WebSocket-Extensions: a; b=", 400 },
  { "an extension with an open quote", usual 'Sec-WebSocket-Extensions: a; b="c', 400 },
  { "an extension with an empty value", usual 'Sec-WebSocket-Extensions: a; b=""', 400 },
  { "an extension list with an empty item", usual "Sec-WebSocket-Extensions: a,, b", 400 },
  { "an empty extension list", usual "Sec-WebSocket-Extensions:", 400 },
  { "an extension with a space in it", usual "Sec-WebSocket-Extensions: a b", 400 },
  -- who asks
  { "an Origin of another site", usual "Origin: http://evil.example", 403 },
  { "the Origin of a file", usual "Origin: null", 403 },
  { "two Origins", usual("Origin: http://127.0.0.1", "Origin: http://127.0.0.1"), 403 },
  -- no HTTP
  { "a TLS hello", "\22\3\1\2\0\1\0\1\252\3\3" .. ("\200"):rep(508), 400 },
  { "an SSH banner", "SSH-2.0-OpenSSH_9.2p1\r\n", 400 },
  { "zeros", ("\0"):rep(100), 400 },
  { "noise", "\200\1\255\128\77\0\13\10\13\10", 400 },
  { "an answer instead of a request", "HTTP/1.1 200 OK\r\n\r\n", 400 },
  { "frames without a handshake", "\129\130\0\0\0\0hi", 400 },
}

-- --- responses ----------------------------------------------------------------------------------------

-- The 101 with more fields, without some, with one piece of its text changed, and with n fields more.
local function fields(more)
  return function(k) return wire.switch(k, more) end
end

local function changed(pattern, with)
  return function(k)
    local text, n = wire.switch(k):gsub(pattern, with)
    assert(n == 1, pattern)
    return text
  end
end

local function longer(n)
  return function(k)
    local more = {}
    for i = 1, n do more[("X-%d"):format(i)] = "x" end
    return wire.switch(k, more)
  end
end

-- The 101 with a head of n bytes.
local function sized(n)
  return function(k) return wire.switch(k, { X = ("x"):rep(n - #wire.switch(k, { X = "" })) }) end
end

local function deflate(more) return fields { ["Sec-WebSocket-Extensions"] = "permessage-deflate" .. more } end

-- {what, answer (bytes, or a function of the key), code, status (nil: there is no head to tell of), words of the message}
wrong.responses = {
  { "200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "http", 200, "the server answered 200 OK" },
  { "301", "HTTP/1.1 301 Moved Permanently\r\nLocation: ws://elsewhere/\r\nContent-Length: 0\r\n\r\n", "http", 301,
    "the server answered 301 Moved Permanently" },
  { "401", "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", "http", 401,
    "the server answered 401 Unauthorized" },
  { "404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "http", 404, "the server answered 404 Not Found" },
  { "500", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "http", 500, "the server answered 500 Oops" },
  { "503 without a phrase", "HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", "http", 503, "the server answered 503$" },
  { "HTTP/1.0", changed("HTTP/1.1", "HTTP/1.0"), "http", 101, "HTTP version" },
  { "no Upgrade", fields { Upgrade = false }, "http", 101, "Upgrade: websocket" },
  { "another Upgrade", fields { Upgrade = "h2c" }, "http", 101, "Upgrade: websocket" },
  { "no Connection", fields { Connection = false }, "http", 101, "Connection: Upgrade" },
  { "another Connection", fields { Connection = "close" }, "http", 101, "Connection: Upgrade" },
  { "no Accept", fields { ["Sec-WebSocket-Accept"] = false }, "http", 101, "Sec%-WebSocket%-Accept" },
  { "a wrong Accept", fields { ["Sec-WebSocket-Accept"] = wire.accept "x" }, "http", 101, "Sec%-WebSocket%-Accept" },
  { "an Accept in another case", function(k)
    return wire.switch(k, { ["Sec-WebSocket-Accept"] = wire.accept(k):gsub("%a", function(c)
      return c:lower() == c and c:upper() or c:lower()
    end) })
  end, "http", 101, "Sec%-WebSocket%-Accept" },
  { "Accept twice", function(k)
    return (wire.switch(k):gsub("\r\n\r\n", "\r\nSec-WebSocket-Accept: " .. wire.accept(k) .. "\r\n\r\n"))
  end, "http", 101, "Sec%-WebSocket%-Accept" },
  { "a protocol nobody asked for", fields { ["Sec-WebSocket-Protocol"] = "chat" }, "http", 101, "subprotocol" },
  { "an extension nobody offered", fields { ["Sec-WebSocket-Extensions"] = "x-webkit-deflate-frame" }, "http", 101,
    "extension" },
  { "an extension list that breaks the grammar", fields { ["Sec-WebSocket-Extensions"] = ";;" }, "http", 101,
    "Sec%-WebSocket%-Extensions" },
  { "deflate accepted twice", deflate ", permessage-deflate", "http", 101, "permessage%-deflate" },
  { "deflate with 7 bits", deflate "; server_max_window_bits=7", "http", 101, "permessage%-deflate" },
  { "deflate with 16 bits", deflate "; client_max_window_bits=16", "http", 101, "permessage%-deflate" },
  { "deflate with an unknown parameter", deflate "; unknown", "http", 101, "permessage%-deflate" },
  { "over 100 headers", longer(98), "http", nil, "too many HTTP headers" },
  { "a head over 16 KiB", fields { X = ("x"):rep(16384) }, "http", nil, "too large" },
  { "a head of 16 KiB and a byte", sized(16385), "http", nil, "too large" },
  { "a head that never ends", "HTTP/1.1 101 S\r\nX: " .. ("x"):rep(20000), "http", nil, "too large" },
  { "an SSH banner", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "http", nil, "not HTTP" },
  { "noise", "\22\3\1\2\0\1\0\1\252\3\3", "http", nil, "not HTTP" },
  { "frames at once", "\x81\x05Hello", "http", nil, "not HTTP" },
  { "HTTP/2", "HTTP/2.0 101 S\r\n\r\n", "http", nil, "HTTP" },
  { "a bare LF", changed("Connection: Upgrade\r\n", "Connection: Upgrade\n"), "http", nil, "line end" },
  { "a folded line", changed("Connection: Upgrade", "Connection:\r\n Upgrade"), "http", nil, "folded" },
  { "a space before a colon", changed("Connection:", "Connection :"), "http", nil, "HTTP header" },
  { "NUL in a value", changed("Connection: Upgrade", "Connection: Up\0grade"), "http", nil, "HTTP header" },
  { "a status of two digits", "HTTP/1.1 99 X\r\n\r\n", "http", nil, "not HTTP" },
}

-- {what, answer}
wrong.unusual = {
  { "names and words in other cases", function(k)
    return ("HTTP/1.1 101 x\r\nUPGRADE: WebSocket\r\nconnection: keep-alive, UPGRADE\r\nsec-websocket-accept:%s\r\n\r\n")
      :format(wire.accept(k))
  end },
  { "no reason phrase", changed("101 Switching Protocols", "101 ") },
  { "no reason phrase, nor the space before it", changed("101 Switching Protocols", "101") },
  { "100 Continue first", function(k) return "HTTP/1.1 100 Continue\r\n\r\n" .. wire.switch(k) end },
  { "several 1xx first", function(k)
    return "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" .. wire.switch(k)
  end },
  { "a head of 16 KiB", sized(16384) },
  { "100 headers", longer(97) },
  { "spaces around values", function(k)
    return (wire.switch(k):gsub(": ([^\r]*)\r", ": \t %1 \t\r"))
  end },
  { "an empty extension list", fields { ["Sec-WebSocket-Extensions"] = "" } },
}

-- --- frames -------------------------------------------------------------------------------------------

-- What the rows below are judged with, at either end.
wrong.limits = { maxPayload = 1000, maxFragments = 20 }

local KEY = "\x37\xfa\x21\x3d"

-- A row's frames, its second field, as the peer of a "server" or "client" of ours sends them. A string is bytes of a
-- server; each of its frames must begin a string of its own.
function wrong.bytes(row, role)
  local parts, mask = {}, role == "server" and KEY or nil
  for i, frame in ipairs(row[2]) do
    if type(frame) == "string" then
      parts[i] = mask and frames.masked(frame, mask) or frame
    else
      local copy = { key = mask }
      for name, value in pairs(frame) do copy[name] = value end
      copy.key = copy.key or nil
      parts[i] = frames.build(copy)
    end
  end
  return table.concat(parts)
end

local function text(payload) return { "text", payload = payload } end
local function begun(payload) return { "text", payload = payload, fin = false } end
local function more(payload) return { "continuation", payload = payload, fin = false } end
local function last(payload) return { "continuation", payload = payload } end
local function close(code, reason) return { "close", payload = closing(code, reason) } end

-- So many frames, the first and the last given, empty ones between.
local function fragments(count, first, ending)
  local list = { first }
  for i = 2, count - 1 do list[i] = more "" end
  list[count] = ending
  return list
end

-- {what, frames, close code, what is heard before}
wrong.frames = {
  { "with RSV1", { { "text", payload = "hi", rsv = 4 } }, 1002 },
  { "with RSV2", { { "text", payload = "hi", rsv = 2 } }, 1002 },
  { "with RSV3", { { "binary", payload = "hi", rsv = 1 } }, 1002 },
  { "with all of RSV", { { "text", rsv = 7 } }, 1002 },
  { "that is a ping with RSV1", { { "ping", rsv = 4 } }, 1002 },
  { "that is a pong with RSV2", { { "pong", payload = "x", rsv = 2 } }, 1002 },
  { "that is a Close with RSV3", { { "close", rsv = 1 } }, 1002 },
  { "that continues with RSV1", { begun "a", { "continuation", rsv = 4 } }, 1002 },
  { "that is a ping of 126 bytes", { { "ping", payload = ("x"):rep(126) } }, 1002 },
  { "that is a ping of 126 bytes, only announced", { hex "89 7e" }, 1002 },
  { "that is a ping of 2^63 bytes, only announced", { hex "89 7f" }, 1002 },
  { "that is a pong of 200 bytes", { { "pong", payload = ("x"):rep(200) } }, 1002 },
  { "that is a pong of 65536 bytes", { { "pong", payload = ("x"):rep(65536) } }, 1002 },
  { "that is a Close of 126 bytes", { close(1000, ("x"):rep(124)) }, 1002 },
  { "that is a ping of 5 bytes in the 16-bit form", { { "ping", payload = "Hello", form = 16 } }, 1002 },
  { "that is a ping without FIN", { { "ping", payload = "x", fin = false } }, 1002 },
  { "that is a pong without FIN", { { "pong", fin = false } }, 1002 },
  { "that is a Close without FIN", { { "close", fin = false } }, 1002 },
  { "that is a Close with a code without FIN", { { "close", payload = closing(1000), fin = false } }, 1002 },
  { "that continues nothing", { last "x" }, 1002 },
  { "that continues nothing, and is not the last", { more "" }, 1002 },
  { "that continues a message that is whole", { text "a", last "b" }, 1002, { "text a" } },
  { "that continues a message in fragments that is whole", { begun "a", last "b", last "c" }, 1002, { "text ab" } },
  { "that is a new text inside another", { begun "a", text "b" }, 1002 },
  { "that is a new binary inside a text", { begun "a", { "binary" } }, 1002 },
  { "that is a new text inside a binary", { { "binary", fin = false }, begun "b" }, 1002 },
  { "of 125 bytes in the 16-bit form", { { "text", payload = ("x"):rep(125), form = 16 } }, 1002 },
  { "of no bytes in the 16-bit form", { { "text", form = 16 } }, 1002 },
  { "of no bytes in the 64-bit form", { { "text", form = 64 } }, 1002 },
  { "of 126 bytes in the 64-bit form", { { "text", payload = ("x"):rep(126), form = 64 } }, 1002 },
  { "of 65535 bytes in the 64-bit form", { { "binary", payload = ("x"):rep(65535), form = 64 } }, 1002 },
  { "of 2^63 bytes", { hex "82 7f 80 00 00 00 00 00 00 00" }, 1002 },
  { "of 2^64 - 1 bytes", { hex "82 7f ff ff ff ff ff ff ff ff" }, 1002 },
  { "of 2^63 - 1 bytes", { hex "82 7f 7f ff ff ff ff ff ff ff" }, 1009 },
  { "of 2^32 bytes", { hex "81 7f 00 00 00 01 00 00 00 00" }, 1009 },
  { "a byte over maxPayload", { text(("x"):rep(1001)) }, 1009 },
  { "a byte over maxPayload, only announced", { { "text", length = 1001 } }, 1009 },
  { "over maxPayload together with the one before", { begun(("x"):rep(600)), { "continuation", length = 401 } }, 1009 },
  { "over maxPayload together with those before, a ping between", { begun(("x"):rep(600)), { "ping" }, more(("x"):rep(400)),
    { "continuation", length = 1 } }, 1009, { "ping " } },
  { "over maxPayload after a message that was not", { text(("x"):rep(1000)), { "text", length = 1001 } }, 1009,
    { "text " .. ("x"):rep(1000) } },
  { "too many in a message", fragments(21, begun "", more ""), 1008 },
  { "too many in a message, the last", fragments(21, begun "", last ""), 1008 },
  { "with a Close of one byte", { { "close", payload = "\3" } }, 1002 },
  { "of text that is cut at its end", { text "\xe2\x82" }, 1007 },
  { "of text that is cut at the end of its last fragment", { begun "a", last "\xf0\x9f\x98" }, 1007 },
  { "of text that is cut at the end of an empty last fragment", { begun "a\xf0\x9f\x98", last "" }, 1007 },
  { "of text that goes on wrong in the next fragment", { begun "\xe2\x82", more "A" }, 1007 },
  { "that closes with a reason cut short", { close(1000, "\xe2\x82") }, 1007 },
  { "behind good ones", { text "1", { "binary", payload = "2" }, { "ping", payload = "3" }, { 3 }, text "4" }, 1002,
    { "text 1", "binary 2", "ping 3" } },
  { "between fragments", { begun "a", { "ping", rsv = 1 }, last "b" }, 1002 },
}
local bad = wrong.frames
for _, opcode in ipairs { 3, 4, 5, 6, 7, 11, 12, 13, 14, 15 } do
  bad[#bad + 1] = { "of opcode " .. opcode, { { opcode, payload = opcode % 2 == 1 and "hi" or "" } }, 1002 }
end
for _, code in ipairs { 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 32768, 65535 } do
  bad[#bad + 1] = { "that closes with " .. code, { close(code, code % 2 == 1 and "why" or "") }, 1002 }
end
for _, case in ipairs {
  { "ff", "\xff" }, { "c0 80", "\xc0\x80" }, { "ed a0 80", "\xed\xa0\x80" },
  { "f4 90 80 80", "\xf4\x90\x80\x80" },
  { "a lone continuation", "\x80" }, { "c1", "\xc1\x81" }, { "e0 80 80", "\xe0\x80\x80" },
  { "f0 80 80 80", "\xf0\x80\x80\x80" }, { "f5", "\xf5\x80\x80\x80" }, { "a character broken off by another", "\xe2\x82A" },
} do
  bad[#bad + 1] = { "of text with " .. case[1], { text("good " .. case[2] .. " bad") }, 1007 }
  bad[#bad + 1] = { "of text with " .. case[1] .. " in a message that is not finished", { begun("good " .. case[2]) }, 1007 }
  bad[#bad + 1] = { "of text with " .. case[1] .. " in a frame that is not finished",
    { { "text", payload = "good " .. case[2], length = 900 } }, 1007 }
  bad[#bad + 1] = { "that closes with the reason " .. case[1], { close(1000, case[2]) }, 1007 }
end

-- The same, of one end alone: a client's frames are masked, a server's are not (5.1).
local function masks(mask, what)
  return {
    { what, { { "text", payload = "hi", key = mask } }, 1002 },
    { "that is empty and " .. what, { { "text", key = mask } }, 1002 },
    { "that is a ping " .. what, { { "ping", key = mask } }, 1002 },
    { "that is a Close " .. what, { { "close", payload = closing(1000), key = mask } }, 1002 },
    { "that continues " .. what, { begun "a", { "continuation", payload = "b", key = mask } }, 1002 },
  }
end
wrong.masks = { server = masks(false, "without a mask"), client = masks(KEY, "with a mask") }

-- {what, frames, what is heard}
wrong.fine = {
  { "of RFC 6455's example", { text "Hello" }, { "text Hello" } },
  { "that is empty", { text "" }, { "text " } },
  { "that is empty and binary", { { "binary" } }, { "binary " } },
  { "of 125 bytes", { text(("x"):rep(125)) }, { "text " .. ("x"):rep(125) } },
  { "of 126 bytes", { text(("x"):rep(126)) }, { "text " .. ("x"):rep(126) } },
  { "a byte below maxPayload", { text(("x"):rep(999)) }, { "text " .. ("x"):rep(999) } },
  { "of maxPayload", { { "binary", payload = ("x"):rep(1000) } }, { "binary " .. ("x"):rep(1000) } },
  { "of every byte there is", { { "binary", payload = "\0\r\n\127\128\255\0" } }, { "binary \0\r\n\127\128\255\0" } },
  { "in three fragments", { begun "a", more "b", last "c" }, { "text abc" } },
  { "in fragments of maxPayload together", { begun(("x"):rep(600)), more(("y"):rep(400)), last "" },
    { "text " .. ("x"):rep(600) .. ("y"):rep(400) } },
  { "in empty fragments", { { "binary", fin = false }, more "", last "" }, { "binary " } },
  { "one below maxFragments", fragments(19, begun "<", last ">"), { "text <>" } },
  { "in maxFragments", fragments(20, begun "<", last ">"), { "text <>" } },
  { "cut within a character", { begun "\xe2\x82", last "\xac" }, { "text €" } },
  { "with a ping between its fragments", { begun "a", { "ping", payload = "p" }, last "b" }, { "ping p", "text ab" } },
  { "that is a pong nobody asked for", { { "pong", payload = "p" } }, { "pong p" } },
  { "that is a ping of 125 bytes", { { "ping", payload = ("x"):rep(125) } }, { "ping " .. ("x"):rep(125) } },
  { "with U+0000, U+FFFF, U+10FFFF and a BOM", { text "\0\xef\xbf\xbf\xf4\x8f\xbf\xbf\xef\xbb\xbf" },
    { "text \0\xef\xbf\xbf\xf4\x8f\xbf\xbf\xef\xbb\xbf" } },
  { "behind another", { text "1", text "2", { "binary", payload = "3" }, text "4" },
    { "text 1", "text 2", "binary 3", "text 4" } },
  { "before a Close", { text "1", close(1000), text "no" }, { "text 1", "close 1000  clean" } },
  { "before a Close without a code", { text "1", close() }, { "text 1", "close 1005  clean" } },
  { "that is a Close inside a fragmented message", { begun "a", close(4000, "why"), last "b" }, { "close 4000 why clean" } },
  { "that is a Close, and wrong ones behind it", { close(3000, "€"), { 3 }, { "close", payload = "\3" } },
    { "close 3000 € clean" } },
}
for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999 } do
  wrong.fine[#wrong.fine + 1] = { "that closes with " .. code, { close(code, "bye") }, { ("close %d bye clean"):format(code) } }
end

-- {what, frames}: behind them the stream ends
wrong.cuts = {
  { "in mid-header", { hex "82" } },
  { "in mid-length", { hex "82 7e 01" } },
  { "in mid-frame", { { "text", payload = "hell", length = 5 } } },
  { "in mid-message", { begun "half" } },
  { "between fragments", { begun "half", more "", { "ping" } } },
  { "in mid-Close", { hex "88 04 03 e8" } },
  { "between messages", {} },
}

-- --- compressed messages (RFC 7692) -------------------------------------------------------------------

local HELLO, AGAIN = hex "f2 48 cd c9 c9 07 00", hex "f2 00 11 00 00" -- 7.2.3.2
local FAR = ("Nothing is as compressible as what is said again. "):rep(40)

local function squeezed(kind, payload, fin) return { kind, payload = payload, rsv = 4, fin = fin } end

-- {what, frames, close code, what was agreed on besides (of the peer: "no_context_takeover", "max_window_bits=9")};
-- maxPayload is 100000 here. heard: something was right before
wrong.compressed = {
  { "RSV1 on a continuation", { squeezed("text", HELLO, false), squeezed("continuation", "") }, 1002 },
  { "RSV1 on a ping", { squeezed("ping", "") }, 1002 },
  { "RSV1 on a pong", { squeezed("pong", "") }, 1002 },
  { "RSV1 on a Close", { squeezed("close", "") }, 1002 },
  { "RSV2", { { "text", payload = HELLO, rsv = 2 } }, 1002 },
  { "RSV1 and RSV3", { { "binary", payload = HELLO, rsv = 5 } }, 1002 },
  { "garbage", { squeezed("text", hex "ff ff ff ff") }, 1007 },
  { "garbage in a message that is not finished", { squeezed("text", hex "ff ff ff ff", false) }, 1007 },
  { "a stored block whose length is not its complement's", { squeezed("text", hex "00 05 00 fa fe 48 65 6c 6c 6f 00") }, 1007 },
  { "a stream cut short", { squeezed("text", HELLO:sub(1, 4)) }, 1007 },
  { "bytes behind the final block", { squeezed("text", hex "f3 48 cd c9 c9 07 00 ff ff") }, 1007 },
  { "a back-reference to a context not to be taken over", { squeezed("text", HELLO), squeezed("text", AGAIN) }, 1007,
    "no_context_takeover" , heard = true },
  { "a back-reference to nothing", { squeezed("text", AGAIN) }, 1007 },
  { "a back-reference past the window", { squeezed("text", blocks.new():stored(FAR):fixed { { 3, 1500 } }:payload()) }, 1007,
    "max_window_bits=9" },
  { "text that is not UTF-8", { squeezed("text", blocks.new():stored("\xed\xa0\x80"):payload()) }, 1007 },
  { "text that is not UTF-8, in a message that is not finished",
    { squeezed("text", blocks.new():stored("\xed\xa0\x80"):bytes(), false) }, 1007 },
  { "text that is cut at its end", { squeezed("text", blocks.new():stored("\xe2\x82"):payload()) }, 1007 },
  { "a bomb", { squeezed("binary", blocks.zeros(600)) }, 1009 },
  { "a bomb in a message that is not finished", { squeezed("binary", blocks.zeros(600), false) }, 1009 },
  { "a byte over maxPayload", { squeezed("binary", blocks.new():stored(("x"):rep(928)):bytes() .. blocks.zeros(48)) }, 1009 },
  { "a frame announced longer than any may be", { { "binary", rsv = 4, length = 2 ^ 40, payload = "" } }, 1009 },
}

-- {what, frames, what is heard}
wrong.swollen = {
  { "the same twice, the second by the context of the first", { squeezed("text", HELLO), squeezed("text", AGAIN) },
    { "text Hello", "text Hello" } },
  { "one in two frames, a ping between", { squeezed("text", HELLO:sub(1, 3), false), { "ping", payload = "p" },
    last(HELLO:sub(4)) }, { "ping p", "text Hello" } },
  { "an empty one", { squeezed("text", "\0") }, { "text " } },
  { "an empty one without a byte", { squeezed("text", "") }, { "text " } },
  { "a final block", { squeezed("text", hex "f3 48 cd c9 c9 07 00 00") }, { "text Hello" } },
  { "a stored block", { squeezed("text", hex "00 05 00 fa ff 48 65 6c 6c 6f 00") }, { "text Hello" } },
  { "two blocks", { squeezed("text", hex "f2 48 05 00 00 00 ff ff ca c9 c9 07 00") }, { "text Hello" } },
  { "one that is not compressed", { text "plain", squeezed("text", HELLO) }, { "text plain", "text Hello" } },
  { "one of maxPayload", { squeezed("binary", blocks.new():stored(("x"):rep(927)):bytes() .. blocks.zeros(48)) },
    { "binary " .. ("x"):rep(927) .. ("\0"):rep(1 + 2064 * 48) } },
}

-- --- the way over TLS ---------------------------------------------------------------------------------

-- How the rows come over wss. Each has a door: where a raw peer goes in or our client does.
wrong.secure = { "whole", "a byte in each record", "in records that are cut" }

-- And how a raw peer is to give them to that.
function wrong.slicing(way) return way == "a byte in each record" and "one byte at a time" or "whole" end

-- {[way] = {port = }}: spec/peers/tls_pipe.py in front of `port`, "connect" or "listen"; until desk.clear.
function wrong.doors(how, port, files)
  local function pipe(words, to)
    local process = helper.peer(("exec %s %s %s%s %d %s"):format(helper.python(),
      helper.quote(helper.root .. "/spec/peers/tls_pipe.py"), words, how, to, files or ""))
    desk.finally(function() process:stop() end)
    return tonumber(process:line())
  end
  local function cut(to, way)
    local proxy = Proxy.new { port = to }
    proxy[way]:slice(function(random) return random(1, 100) end)
    desk.finally(function() proxy:close() end)
    return proxy.port
  end
  local whole = pipe("", port)
  return {
    ["whole"] = { port = whole },
    ["a byte in each record"] = { port = pipe("split ", port) },
    ["in records that are cut"] = { port = how == "connect" and pipe("", cut(port, "up")) or cut(whole, "down") },
  }
end

-- --- judging ------------------------------------------------------------------------------------------

local function role(peer) return peer.role == "client" and "server" or "client" end

-- The next frame: a right one, masked as it must be.
local function read(peer)
  local frame = assert(peer:next(), "the stream ended")
  assert.same({ 0, true, role(peer) == "client" }, { frame.rsv, frame.fin, frame.key ~= nil })
  return frame
end

local function pongs(peer, words)
  for _, word in ipairs(words) do
    local payload = word:match "^ping (.*)$"
    if payload then
      local pong = read(peer)
      assert.same({ 10, payload }, { pong.opcode, pong.payload })
    end
  end
end

-- Behind the answers to what was right comes the Close frame that says the code and why; then the stream ends.
function wrong.told(peer, row, how)
  desk.say(peer, wrong.bytes(row, role(peer)), how)
  pongs(peer, row[4] or {})
  local frame = read(peer)
  assert.same({ 8, row[3] }, { frame.opcode, frame.payload:byte(1) * 256 + frame.payload:byte(2) })
  assert.is_true(#frame.payload > 2 and #frame.payload <= 125 and utf8.len(frame.payload, 3) ~= nil, "no reason")
  assert.equal("eof", (peer:finish())) -- while the peer still listens: no reset eats it
  assert.equal("", peer.bytes)
end

-- What the row's owner has to hear beyond what it says: the failure and its end.
function wrong.heard(row)
  local words = { table.unpack(row[4] or {}) }
  words[#words + 1] = "error protocol " .. row[3]
  words[#words + 1] = "close 1006  unclean"
  return words
end

function wrong.answered(peer, row, how)
  desk.say(peer, wrong.bytes(row, role(peer)), how)
  pongs(peer, row[3])
  local code, reason = row[3][#row[3]]:match "^close (%d+) (.*) clean$"
  if not code then return end
  local frame = read(peer)
  local body = code == "1005" and "" or closing(tonumber(code), reason)
  assert.same({ 8, body }, { frame.opcode, frame.payload })
end

-- --- tests made of tables -----------------------------------------------------------------------------

-- For each row and each way over TLS: the name of its test, the row, the way.
function wrong.each(rows)
  return coroutine.wrap(function()
    for _, row in ipairs(rows) do
      for _, way in ipairs(wrong.secure) do coroutine.yield(("%s, %s"):format(row[1], way), row, way) end
    end
  end)
end

function wrong.together(first, second)
  return table.move(second, 1, #second, #first + 1, { table.unpack(first) })
end

-- The header of permessage-deflate, with what a row wants besides of this end ("client", "server").
function wrong.agreed(side, parameter)
  local name = "permessage-deflate"
  return { ["Sec-WebSocket-Extensions"] = parameter and ("%s; %s_%s"):format(name, side, parameter) or name }
end

return wrong
