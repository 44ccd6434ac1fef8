---@meta lunawire
-- What lunawire has, in LuaCATS: for lua-language-server, whose `workspace.library` may name this directory, and for
-- docs/reference.md, which `make reference` writes from here. Durations are milliseconds, sizes bytes.

-- The module -----------------------------------------------------------------------------------------------------------

---What `require "lunawire"` returns. Loading it opens nothing, starts no thread and writes no global.
---@class lunawire
---@field _VERSION string `"lunawire X.Y.Z"`.
---@field WebSocket lunawire.WebSocketClass Makes a client.
---@field WebSocketServer lunawire.WebSocketServerClass Makes a server.
---@field ReconnectingWebSocket lunawire.ReconnectingWebSocketClass Makes a client that comes back.
---@field ArrayBuffer lunawire.ArrayBufferClass Makes bytes that can be written to.
---@field Blob lunawire.BlobClass Makes bytes that cannot; they may stand in a file.
---@field CloseCode lunawire.CloseCode The close codes by name, and their names by code.
---@field onerror? fun(err: any, source: any, traceback: string) Gets an error raised in a handler, and whose handler it was: a socket, a server, a timer, a task. Unset, the error leaves `run` or `step`, value and type unchanged; further errors of the same event go to `warn`. An error that `onerror` itself raises leaves `run`, too.
---@field loop lunawire.Loop The loop as cqueues and its like want to see it.
local lunawire = {}

---Turns the loop until nothing is left that could call back (a listening server, a pending timer, a watch, a socket short
---of its `close`, a retry, a lookup, a waiting task), or the time is over, or `stop` was called.
---Raises InvalidStateError inside a handler, and a handler's error while `onerror` is unset; it may be called again then.
---@param timeout? number milliseconds
---@return boolean nothingLeft false: the time is over, or `stop` was called
function lunawire.run(timeout) end

---One turn: due timers, then sockets and descriptors that are ready. What a handler starts runs in the next turn.
---Raises as `run` does.
---@param timeout? number waits at most so many milliseconds for something to do; 0, the default, never blocks
---@param budget? number milliseconds after which no further event is handled in this turn; at least one is
---@return integer handled how many events
function lunawire.step(timeout, budget) end

---Makes the `run` in progress return. A wait of the main chunk ends with an AbortError; tasks are left as they are.
function lunawire.stop() end

---Hands queued output to the system now. What is sent outside of a turn otherwise goes at the start of the next, what a
---handler sends at the end of its own.
function lunawire.flush() end

---One descriptor that is readable when `step` has something to do, for a loop of your own; nil where only plain `poll` is
---there.
---@return integer? descriptor
function lunawire.fd() end

---The milliseconds until `step` has work by itself: 0 while anything is queued; nil: none.
---@return number? milliseconds
function lunawire.timeout() end

---Monotonic milliseconds, with fractions. They have nothing to do with the time of day.
---@return number milliseconds
function lunawire.now() end

---Calls fn once, later (HTML, "timers"). Raises TypeError for what is no function, and for NaN and infinity.
---@param fn function
---@param ms? number milliseconds; 0 or less: in the next turn
---@param ... any passed to fn
---@return lunawire.Handle timer
function lunawire.setTimeout(fn, ms, ...) end

---Calls fn again and again. Turns that come late are not made up for. Raises as `setTimeout` does.
---@param fn function
---@param ms? number milliseconds between two calls
---@param ... any passed to fn
---@return lunawire.Handle timer
function lunawire.setInterval(fn, ms, ...) end

---Stops a timer. nil, and one that is over, are fine.
---@param timer? lunawire.Handle
function lunawire.clearTimeout(timer) end

---The same as `clearTimeout`.
---@param timer? lunawire.Handle
function lunawire.clearInterval(timer) end

---Calls fn whenever a foreign descriptor is ready: a terminal, a pipe, another library's socket.
---Raises InvalidStateError for one that is watched already in this mode.
---@param fd integer|file* a descriptor or an open file
---@param mode "r"|"w" readable or writable
---@param fn fun(handle: lunawire.Handle)
---@return lunawire.Handle handle
function lunawire.watch(fd, mode, fn) end

---Runs fn in the loop when the signal arrives. Nothing else of lunawire touches signals.
---Raises TypeError for a name that is no signal, InvalidStateError when another loop of this process has it.
---@param name "INT"|"TERM"|"HUP"|string without "SIG"
---@param fn? function nil restores what was there before
function lunawire.onsignal(name, fn) end

---Starts a task: a coroutine that may wait. fn runs at once, up to where it first waits.
---Its error goes to `onerror`, or leaves `run`, unless somebody joins the task by the next turn.
---@param fn function
---@param ... any passed to fn
---@return lunawire.Task task
function lunawire.go(fn, ...) end

---Waits. In a task that yields; in the main chunk it turns the loop meanwhile; in a handler it raises InvalidStateError.
---@param ms number milliseconds
function lunawire.sleep(ms) end

---Makes a WebSocket and waits until it is open; where it may be called is said at `sleep`.
---Raises a NetworkError with the `code`, `status`, `headers` and `body` of the failed attempt's `error` event.
---@param url string
---@param protocols? string|string[]
---@param options? lunawire.ClientOptions
---@return lunawire.WebSocket open messages that nobody waits for are queued from the beginning, see `receive`
function lunawire.connect(url, protocols, options) end

---A heartbeat on any WebSocket, client or server side. It begins when the socket is open and ends with it.
---No sign of life for `timeout` after a beat: the connection is terminated, `close` says 1006 and "heartbeat timeout".
---Raises TypeError for options that are wrong.
---@param ws lunawire.WebSocket|lunawire.ReconnectingWebSocket
---@param options? lunawire.HeartbeatOptions
---@return lunawire.Heartbeat heartbeat
function lunawire.heartbeat(ws, options) end

---Makes the object that a caller's mistake raises, for layers of your own. It is not raised yet: `error(problem, 0)`.
---@param name string
---@param message string
---@return lunawire.Error problem
function lunawire.Error(name, message) end

---The bytes of the message `send` would make. Raises TypeError for data it cannot send.
---@param data lunawire.Data
---@param options? lunawire.SendOptions
---@return integer bytes without framing
---@return integer held of these, those that are in memory: of a Blob from a file none
function lunawire.messageSize(data, options) end

---A number in [0, 1) from the system's random source. `math.random` and its seed are left alone.
---@return number
function lunawire.random() end

---Random bytes from the system. Raises TypeError for a count that is not from 0 to 65536.
---@param n integer how many
---@return string bytes
function lunawire.randomBytes(n) end

---The loop as cqueues and its like want to see it: `cqueues.poll(lunawire.loop)` waits until `step` has something to do.
---@class lunawire.Loop
local Loop = {}
---`lunawire.fd()`.
---@return integer? descriptor
function Loop.pollfd() end
---What the descriptor is polled for.
---@return "r" events
function Loop.events() end
---`lunawire.timeout()`, in seconds.
---@return number? seconds
function Loop.timeout() end

---What `setTimeout`, `setInterval` and `watch` return. It may stand in a `<close>` variable. Nobody has to keep it.
---@class lunawire.Handle
local Handle = {}
---Ends it. Twice is once.
function Handle:close() end

---The close codes by name, for one: `lunawire.CloseCode.NORMAL` is 1000 (RFC 6455, 7.4.1, and the IANA registry).
---The other way round, `lunawire.CloseCode[1000]` is `"NORMAL"`.
---@class lunawire.CloseCode: table<integer, string>
---@field NORMAL 1000 All is done.
---@field GOING_AWAY 1001 A server stops, or a page is left.
---@field PROTOCOL_ERROR 1002 The peer broke the protocol.
---@field UNSUPPORTED_DATA 1003 A kind of message that cannot be used.
---@field NO_STATUS 1005 Never sent: the Close had no code.
---@field ABNORMAL 1006 Never sent: there was no Close.
---@field INVALID_PAYLOAD 1007 Text that is not UTF-8.
---@field POLICY_VIOLATION 1008 Not allowed here.
---@field MESSAGE_TOO_BIG 1009 Over `maxPayload`.
---@field MANDATORY_EXTENSION 1010 The client needs an extension that the server did not agree to.
---@field INTERNAL_ERROR 1011 The server has failed.
---@field SERVICE_RESTART 1012 Come back in some seconds.
---@field TRY_AGAIN_LATER 1013 Overloaded.
---@field BAD_GATEWAY 1014 A gateway got no good answer.
---@field TLS_HANDSHAKE 1015 Never sent: TLS failed.
local CloseCode = {}
---The name of a code; for one without a name that of its range: `"unused"`, `"reserved"`, `"for extensions"`,
---`"for libraries"`, `"for applications"`, `"invalid"`. Raises TypeError for what is no number.
---@param code integer
---@return string name
function CloseCode.name(code) end

---What a caller's mistake raises. `tostring` gives `where: name: message`. What the world does wrong is no such mistake: it
---arrives as `error` and `close` events. Those that coroutine style raises (NetworkError, AbortError) may have more fields.
---@class lunawire.Error
---@field name lunawire.ErrorName Which kind of mistake.
---@field message string What was wrong, and with what.
---@field where string `"script.lua:3: "`: the nearest call from outside the library; `""` when there is none.
---@field code? lunawire.ErrorCode Of a NetworkError: why the attempt failed.
---@field status? integer Of a NetworkError: the server's answer.
---@field headers? table<string, string> Of a NetworkError: that answer's.
---@field body? string Of a NetworkError: that answer's.
---@field reason? any Of an AbortError: what `cancel` was given.
---@field task? lunawire.Task Of an AbortError: who was cancelled.

---The name of an error.
---@alias lunawire.ErrorName
---| "TypeError" # an argument or option of the wrong kind, text that is not UTF-8
---| "SyntaxError" # a URL, a subprotocol, a close reason or a header that is none
---| "RangeError" # bytes that do not fit where they should go
---| "InvalidStateError" # not now: the connection is not open yet, a handler is running
---| "InvalidAccessError" # a close code that may not be sent
---| "QuotaExceededError" # a queue is full
---| "NotSupportedError" # not in this build
---| "NotReadableError" # a file that is missing, is no regular file, or has changed
---| "NetworkError" # connect has failed; a message will not be acknowledged
---| "AbortError" # a task was cancelled, a link closed, or `stop` has ended a wait
---| "TimeoutError" # a message was not acknowledged in time
---| "SystemError" # the system refused: no descriptor, no such address
---| "MemoryError" # there is no memory

-- WebSocket ------------------------------------------------------------------------------------------------------------

---What can be sent: text, as a Lua string, or bytes.
---@alias lunawire.Data string|lunawire.ArrayBuffer|lunawire.Blob

---How it is sent.
---@alias lunawire.SendOptions "binary"|lunawire.MessageOptions

---The options of a message. `"binary"` is short for `{ binary = true }`.
---@class lunawire.MessageOptions
---@field binary? boolean (default: false) A string goes as a binary message. ArrayBuffers and Blobs always do.
---@field compress? boolean (default: true) false: not compressed, though the connection has agreed on it; files never are.

---Makes a client. Connecting begins with the next turn of the loop, so handlers that are set right after miss nothing.
---Raises SyntaxError for a URL that does not parse, whose scheme is none of ws, wss, http and https (taken as ws and wss)
---and ws+unix, wss+unix, or that has a fragment; and for a subprotocol that is no token or is there twice. Raises TypeError
---for options that are wrong (WHATWG WebSockets, 3.1).
---@class lunawire.WebSocketClass
---@overload fun(url: string, protocols?: string|string[], options?: lunawire.ClientOptions): lunawire.WebSocket
---@field CONNECTING 0 The constants of `readyState`.
---@field OPEN 1 The same.
---@field CLOSING 2 The same.
---@field CLOSED 3 The same.

---A WebSocket: a client's, or the one that a server has for a client. It is the browser's, with some members more.
---A client lives as long as it may call a handler or has something to send, or a task waits on it; a server's until it is
---closed. One that is collected is closed politely. Fields of your own may be set on it, if they do not begin with `on`.
---@class lunawire.WebSocket
---@field CONNECTING 0 The constants of `readyState`, here as on the class.
---@field OPEN 1 The same.
---@field CLOSING 2 The same.
---@field CLOSED 3 The same.
---@field url string Serialised, without credentials; where redirects have led. `""` on the server side.
---@field readyState 0|1|2|3 CONNECTING, OPEN, CLOSING or CLOSED. Read-only, as all of these but `binaryType` and handlers.
---@field protocol string The subprotocol agreed on, or `""` (RFC 6455, 1.9).
---@field extensions string The extensions agreed on, or `""`.
---@field bufferedAmount integer Bytes accepted by `send` and not yet handed to the system, framing excluded. Those of the current turn always count; closing does not set it back.
---@field binaryType "string"|"arraybuffer"|"blob" As what binary messages are delivered: `"string"` by default, since Lua strings are bytes. Another value raises TypeError.
---@field lastReceived? number `lunawire.now()` when bytes last came; nil: none came yet.
---@field lastAlive? number `lunawire.now()` of the last sign of life: bytes came, the peer took some of what was under way before the last ping, or bytes wait unread now.
---@field isPaused boolean `pause` was called, or nobody receives what is queued (see `receive`).
---@field bytesWritten integer Bytes of the stream so far, framing and all: sent and queued.
---@field bytesSent integer Of these, those that were handed to the system.
---@field onopen? fun(event: lunawire.Event) The connection is open.
---@field onmessage? fun(event: lunawire.MessageEvent) A message has come, whole.
---@field onerror? fun(event: lunawire.ErrorEvent) It has failed. `close` follows.
---@field onclose? fun(event: lunawire.CloseEvent) It has ended. Always last, exactly once.
---@field onping? fun(event: lunawire.PingEvent) The peer has sent a ping; it is answered already.
---@field onpong? fun(event: lunawire.PongEvent) The peer has answered a ping, or sent a pong unasked.
---@field ondrain? fun(event: lunawire.Event) `send` has returned false, and now half of what it takes for that has gone.
local WebSocket = {}

---Sends one message (RFC 6455, 5.6). A string is a text message, which must be UTF-8, or with `"binary"` a binary one;
---ArrayBuffers and Blobs are binary messages, and a Blob from a file is read while it is sent, as one fragmented message.
---After `close` nothing is sent, and the bytes count in `bufferedAmount`.
---What is queued over `maxBufferedAmount` ends the connection: `error` with code `"slow"`, `close` 1006.
---Raises InvalidStateError while CONNECTING, TypeError for what cannot be sent, NotReadableError for a file that has changed.
---@param data lunawire.Data
---@param options? lunawire.SendOptions
---@return boolean go false: wait for `drain` before sending more
function WebSocket:send(data, options) end

---Starts the closing handshake; messages that are queued go first (RFC 6455, 7.1.2). While CONNECTING it fails the attempt:
---`error` and `close` 1006 follow. CLOSING or CLOSED: nothing happens.
---Raises InvalidAccessError for another code than 1000 and 3000-4999 (a server's socket may also say 1001-1003 and 1007-1014),
---SyntaxError for a reason over 123 bytes, not UTF-8, or without a code.
---@param code? integer none: a Close without a code, which the peer sees as 1005
---@param reason? string
function WebSocket:close(code, reason) end

---Drops the connection at once, without a handshake: `close` 1006 with this reason.
---Raises SyntaxError for a reason over 123 bytes.
---@param reason? string
function WebSocket:terminate(reason) end

---Sends a ping (RFC 6455, 5.5.2); the answer is a `pong` event. Pings from the peer are answered by themselves.
---Raises InvalidStateError while CONNECTING, SyntaxError for over 125 bytes.
---@param data? string at most 125 bytes
function WebSocket:ping(data) end

---Stops reading at once, messages that have come but were not delivered included, so that TCP pushes back on the peer.
---A heartbeat rests meanwhile. `close` resumes and drops what comes.
function WebSocket:pause() end
---Reads again.
function WebSocket:resume() end

---Adds a listener. The same function twice counts once. Capturing listeners come first, then the `on…` handler and the
---others in the order in which they were set (WHATWG DOM, 2.7). Raises TypeError for an unknown type.
---@param type "open"|"message"|"error"|"close"|"ping"|"pong"|"drain"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean true: `capture`
function WebSocket:addEventListener(type, fn, options) end
---Takes a listener away; one that is not there is fine.
---@param type "open"|"message"|"error"|"close"|"ping"|"pong"|"drain"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean `capture` as it was added
function WebSocket:removeEventListener(type, fn, options) end

---Waits for the next message. In a task that yields; in the main chunk it turns the loop; in a handler it raises
---InvalidStateError. From the first use on, messages that nobody waits for are queued; with 1024 of them, or 1 MiB, the
---socket pauses, and resumes at half of that.
---@param timeout? number milliseconds; none: for ever
---@return string|lunawire.ArrayBuffer|lunawire.Blob|nil data nil: `kind` says why
---@return "text"|"binary"|"timeout"|"closed" kind
---@return lunawire.CloseEvent? event with "closed"
function WebSocket:receive(timeout) end
---`for data, kind in ws:messages() do`: `receive` again and again, until the socket has closed and all is taken.
---@return fun(): (string|lunawire.ArrayBuffer|lunawire.Blob)?, ("text"|"binary")? iterator
function WebSocket:messages() end
---Waits until more may be sent: not at all, unless `send` has returned false and no `drain` came since.
---@param timeout? number milliseconds; none: for ever
---@return true? go
---@return ("timeout"|"closed")? why
---@return lunawire.CloseEvent? event with "closed"
function WebSocket:drain(timeout) end

---On the server side only, as all about topics: from now on it gets what is published there. Topics need no making.
---Raises InvalidStateError on the client side.
---@param topic string
function WebSocket:subscribe(topic) end
---It gets no more of it. Raises as `subscribe` does.
---@param topic string
function WebSocket:unsubscribe(topic) end
---Whether it is subscribed. Raises as `subscribe` does.
---@param topic string
---@return boolean subscribed
function WebSocket:isSubscribed(topic) end
---Sends a message to every subscriber but this socket; the frame is built once. Raises as `subscribe` and `send` do, and
---NotSupportedError for a Blob from a file, which goes to one socket at a time.
---@param topic string
---@param data lunawire.Data
---@param options? lunawire.SendOptions
---@return integer receivers for how many open sockets it was queued
function WebSocket:publish(topic, data, options) end

---What clients and servers have in common.
---@class lunawire.SocketOptions
---@field handshakeTimeout? number (default: 10000) Milliseconds from the beginning (of a server: from the accept) until the connection must be open: name, TCP, proxy, TLS and HTTP together.
---@field closeTimeout? number (default: 5000) Milliseconds the peer has to answer our Close.
---@field maxPayload? integer (default: 16 MiB; 1 MiB on a server) Bytes of a message that comes; a longer one ends the connection with 1009.
---@field maxFragments? integer (default: 131072) Fragments of a message that comes.
---@field fragmentSize? integer (default: 0) Bytes of a fragment when a message that is sent is to be split; 0: it is not.
---@field highWaterMark? integer (default: 1 MiB) Bytes queued in memory from which on `send` returns false. It does so, too, while 16 files are open to be sent.
---@field maxBufferedAmount? integer (default: 64 MiB; 16 MiB on a server) `bufferedAmount` past which the peer is too slow: the connection ends.
---@field noDelay? boolean (default: true) TCP_NODELAY.
---@field perMessageDeflate? boolean|lunawire.DeflateOptions (default: true; on a server false) Compression (RFC 7692): a client offers it, a server takes the offer. A table says how.

---How messages are compressed (docs/compression.md). On a client, what names the server is a condition and what names the
---client a promise; on a server it is the other way round (RFC 7692, 7.1).
---@class lunawire.DeflateOptions
---@field threshold? integer (default: 256) Bytes of the shortest message that goes compressed.
---@field level? integer (default: zlib's choice, 6) 0 (stored) to 9; 1 is the fastest.
---@field memLevel? integer (default: 8) 1 to 9: how much memory zlib takes for compressing.
---@field clientMaxWindowBits? integer (default: 15) 9 to 15 (on a server 8, too): the client's messages refer at most 2^n bytes back.
---@field serverMaxWindowBits? integer (default: 15) 9 to 15 (on a client 8, too): the same of the server's.
---@field clientNoContextTakeover? boolean (default: false) Each message of the client's is compressed for itself.
---@field serverNoContextTakeover? boolean (default: false) The same of the server's.

---The third argument of a WebSocket. An unknown name raises TypeError and names the nearest.
---@class lunawire.ClientOptions: lunawire.SocketOptions
---@field headers? table<string, string|string[]> Of the request, besides those that make the handshake.
---@field origin? string The header `Origin`, which browsers send.
---@field userAgent? string The header `User-Agent`.
---@field family? 4|6 (default: both) IPv4 or IPv6 only; both are tried side by side (RFC 8305, 5).
---@field path? string A Unix socket to connect to; the URL then only says what is asked for there.
---@field followRedirects? integer (default: 0) How many redirects are followed, never from wss to ws. Authorization, Cookie, the URL's credentials and `tls.cert` do not cross to another origin, other headers do.
---@field proxy? string|false (default: what `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy` say) A URL (http, https, socks5); false: none. See [proxy.md](proxy.md).
---@field proxyTls? lunawire.ClientTls Of an https proxy's own TLS.
---@field tls? lunawire.ClientTls How the server is checked with wss. It is the URL that asks for TLS.

---How a client checks the server, and who it is itself; see [tls.md](tls.md).
---@class lunawire.ClientTls
---@field verify? boolean (default: true) Chain, dates and host name are checked; false takes any certificate, and says so once on stderr.
---@field ca? string (default: the system's) Whom to trust: a file, a directory, or PEM text.
---@field cert? string A client certificate, then its issuers': a file or PEM text.
---@field key? string (default: in `cert`) Its key: a file or PEM text.
---@field passphrase? string Of an encrypted key.
---@field serverName? string (default: the URL's host; `"localhost"` for wss+unix) The host to ask for and to find in the certificate (RFC 6066, 3).
---@field minVersion? "TLSv1.2"|"TLSv1.3" (default: `"TLSv1.2"`) The oldest version that will do.
---@field ciphers? string (default: OpenSSL's) OpenSSL's names between colons, those of TLS 1.3 among them.
---@field alpn? string|string[] (default: `"http/1.1"`) Protocols to offer (RFC 7301, 3.1).
---@field session? boolean (default: true) Sessions are resumed (RFC 8446, 2.2).

---How a listener is added.
---@class lunawire.ListenerOptions
---@field once? boolean (default: false) It is called once and taken away before.
---@field capture? boolean (default: false) It is called before those that do not capture.

-- WebSocketServer ------------------------------------------------------------------------------------------------------

---Makes a server, which listens from now on. Raises TypeError for options that are wrong, SystemError when it cannot bind.
---@class lunawire.WebSocketServerClass
---@overload fun(options: lunawire.ServerOptions): lunawire.WebSocketServer

---A server. `#server` counts its open sockets. Its handlers for sockets (`onmessage`, `onping`, `onpong`, `ondrain`,
---`onsocketerror`, `onsocketclose`) are called for sockets that have no handler of their own; `event.target` is the socket.
---@class lunawire.WebSocketServer
---@field port integer What it listens on; 0 for a Unix socket.
---@field url string The same as a URL: `"ws://127.0.0.1:8080/"`, `"ws+unix:/run/chat.sock"`.
---@field onconnection? fun(event: lunawire.ConnectionEvent) A client has come. Its socket is open.
---@field onupgrade? fun(event: lunawire.UpgradeEvent) A client asks to come in: reject it, choose a subprotocol, add headers. An error raised here refuses it with 500.
---@field onrequest? fun(event: lunawire.RequestEvent) Plain HTTP on the same port: `event:respond(…)`, now or later. What nobody answers within `handshakeTimeout` is hung up on. Unset, it is answered 426.
---@field onmessage? fun(event: lunawire.MessageEvent) A message, for sockets without a handler of their own.
---@field onping? fun(event: lunawire.PingEvent) A ping, for such sockets.
---@field onpong? fun(event: lunawire.PongEvent) A pong, for such sockets; the server's heartbeat gets many.
---@field ondrain? fun(event: lunawire.Event) A drain, for such sockets.
---@field onsocketerror? fun(event: lunawire.ErrorEvent) The `error` of such sockets.
---@field onsocketclose? fun(event: lunawire.CloseEvent) The `close` of such sockets.
---@field onerror? fun(event: lunawire.ServerErrorEvent) Clients wait that cannot be let in (`code` `"system"`), or TLS failed with one who said something (`code` `"tls"`).
---@field onclose? fun(event: lunawire.Event) The server is closed: once, after the last socket's `close`.
---@operator len: integer
local WebSocketServer = {}

---The open sockets: `for socket in server:each() do`. Closing them on the way is safe.
---@return fun(): lunawire.WebSocket? iterator
function WebSocketServer:each() end
---Sends a message to every subscriber of a topic. The frame is built once; it keeps its place among what is sent to each.
---Raises TypeError for what cannot be sent, NotSupportedError for a Blob from a file, which goes to one socket at a time.
---@param topic string
---@param data lunawire.Data
---@param options? lunawire.SendOptions
---@return integer receivers for how many open sockets it was queued
function WebSocketServer:publish(topic, data, options) end
---Sends a message to every open socket. The frame is built once. Raises as `publish` does.
---@param data lunawire.Data
---@param options? lunawire.SendOptions
---@return integer receivers for how many open sockets it was queued
function WebSocketServer:broadcast(data, options) end
---New connections are met with these certificates and rules; what is not named stays as it was, and `{}` reads the same
---files again. Raises TypeError if they are wrong, and changes nothing then; InvalidStateError on a server without `tls`.
---@param tls lunawire.ServerTls|{ cert?: string }
function WebSocketServer:reload(tls) end
---Stops listening, refuses with 503 who is not in yet, sends all sockets a Close, ends what is left after `closeTimeout`.
---Twice is once. Raises as the `close` of a server's socket does.
---@param code? integer (default: 1001)
---@param reason? string
function WebSocketServer:close(code, reason) end
---Adds a listener, as for a socket.
---@param type "connection"|"upgrade"|"request"|"message"|"ping"|"pong"|"drain"|"socketerror"|"socketclose"|"error"|"close"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean true: `capture`
function WebSocketServer:addEventListener(type, fn, options) end
---Takes a listener away.
---@param type "connection"|"upgrade"|"request"|"message"|"ping"|"pong"|"drain"|"socketerror"|"socketclose"|"error"|"close"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean `capture` as it was added
function WebSocketServer:removeEventListener(type, fn, options) end

---The argument of a WebSocketServer. An unknown name raises TypeError and names the nearest.
---@class lunawire.ServerOptions: lunawire.SocketOptions
---@field port? integer (default: 0) 0: any free one.
---@field host? string (default: `"127.0.0.1"`) The address to listen on; `"*"`: all.
---@field path? string A Unix socket instead.
---@field backlog? integer (default: the system's) Connections that may wait to be accepted.
---@field reusePort? boolean (default: false) Several processes may listen on the same port.
---@field tls? lunawire.ServerTls wss instead of ws.
---@field protocols? string[]|string|fun(offered: string[], request: lunawire.Request): string? (default: none) Subprotocols that are spoken here: the first the client asks for and that is in the list is agreed on (RFC 6455, 4.2.2). A function chooses, or returns nil.
---@field origins? string[]|string (default: the same origin only) Origins of pages that may come, as browsers send them (`"https://example.org"`, `"http://localhost:8080"`: no slash at the end, no port that is the scheme's own), or `"*"` for any. Requests without `Origin`, which no browser makes, may always come. Without the option a page may come if its host and port are those of `Host`.
---@field resource? string (default: any) The only path that is served; others are answered 404.
---@field trustProxy? string[]|string (default: nobody) Proxies whose `X-Forwarded-For` is believed: addresses, networks (`"10.0.0.0/8"`), `"unix"` for whoever comes over a Unix socket. See [deploy.md](deploy.md).
---@field maxConnections? integer (default: from the descriptor limit) How many there may be; who comes then is answered 503.
---@field maxHeaderSize? integer (default: 16 KiB) Bytes of a request's head.
---@field maxHeaderCount? integer (default: 100) Headers of a request.
---@field heartbeat? boolean|lunawire.ServerHeartbeat (default: true) Each client gets a ping every interval, and is ended when no byte comes for the timeout after it; false: none.

---A server's heartbeat: one timer for all clients.
---@class lunawire.ServerHeartbeat
---@field interval? number (default: 30000) Milliseconds between two pings.
---@field timeout? number (default: 10000) Milliseconds for a sign of life after a ping.

---A certificate and its key.
---@class lunawire.TlsCertificate
---@field cert string The certificate, then its issuers': a file or PEM text.
---@field key? string (default: in `cert`) Its key: a file or PEM text.
---@field passphrase? string Of an encrypted key.

---How a server speaks TLS; see [tls.md](tls.md).
---@class lunawire.ServerTls: lunawire.TlsCertificate
---@field certificates? lunawire.TlsCertificate[] (default: none) Further ones, chosen by the name the client asks for (RFC 6066, 3).
---@field requestCert? boolean|"optional" (default: false) A client must, or may, show a certificate.
---@field ca? string Whose client certificates are good; only with `requestCert`.
---@field minVersion? "TLSv1.2"|"TLSv1.3" (default: `"TLSv1.2"`) The oldest version that will do.
---@field ciphers? string (default: OpenSSL's) OpenSSL's names between colons.
---@field alpn? string|string[] (default: `"http/1.1"`) Protocols that are spoken (RFC 7301, 3.2).
---@field session? boolean (default: true) Tickets are given (RFC 8446, 4.6.1).

---What a client has asked for.
---@class lunawire.Request
---@field method string `"GET"`.
---@field target string As it was asked for: path and query.
---@field path string The target up to its `?`.
---@field query? string The target behind its `?`; nil: it has none.
---@field headers table<string, string> Names in lower case; what was there several times is joined with `, `.
---@field remoteAddress string The client's: that of the connection's peer, or whom a proxy of `trustProxy` names; `""` over a Unix socket.
---@field remotePort integer 0: not known.
---@field peerAddress string The connection's peer, who may be a proxy.
---@field peerPort integer Its port.
---@field tls? lunawire.TlsFacts nil without TLS.

---What TLS tells of a connection.
---@class lunawire.TlsFacts
---@field version string `"TLSv1.3"`.
---@field cipher string OpenSSL's name of it.
---@field serverName? string The name the client asked for.
---@field protocol? string Agreed on by ALPN.
---@field resumed boolean An earlier session goes on.
---@field peer? lunawire.TlsPeer Who the client is, if it showed a certificate.

---A client's certificate, which has been checked.
---@class lunawire.TlsPeer
---@field subject string Whom it is for, whole.
---@field issuer string Who issued it.
---@field commonName? string The subject's common name.
---@field serialNumber string In hexadecimal.
---@field fingerprint string SHA-256.
---@field validTo string `"2030-01-31T12:00:00Z"`.

-- Events ---------------------------------------------------------------------------------------------------------------

---What every event has. Events of a socket come in this order: `open`, any number of `message`, `error` if it failed,
---exactly one `close`. Nothing is delivered inside `send`, `close` or a constructor.
---@class lunawire.Event
---@field type string `"open"`, `"message"`, …
---@field target table The object it happened to: a socket, a server, a link.
local Event = {}
---No further listener of this event is called, the `on…` handler included.
function Event:stopImmediatePropagation() end

---`message`.
---@class lunawire.MessageEvent: lunawire.Event
---@field target lunawire.WebSocket The socket.
---@field data string|lunawire.ArrayBuffer|lunawire.Blob The message: text as a string, bytes as `binaryType` says.
---@field binary boolean true: a binary message; false: text, which is UTF-8.
---@field origin string `ws://host[:port]` of the URL; `""` on the server side.

---`close`.
---@class lunawire.CloseEvent: lunawire.Event
---@field target lunawire.WebSocket The socket.
---@field code integer The peer's; 1005: a Close without one; 1006: no Close at all.
---@field reason string The peer's, or why it ended here.
---@field wasClean boolean Both Close frames went, and the connection ended after them (RFC 6455, 7.1.4).
---@field name string The code's name, as `CloseCode.name` has it.
---@field unsent? integer Of a ReconnectingWebSocket: bytes accepted and not handed to the system whole. They go out with the next connection, unless this was the end (`readyState` 3).
---@field error? lunawire.ErrorEvent Of a ReconnectingWebSocket: the `error` of the same attempt.

---`error`.
---@class lunawire.ErrorEvent: lunawire.Event
---@field target lunawire.WebSocket The socket.
---@field message string What was tried, on what, and why it failed.
---@field code lunawire.ErrorCode The same for programs.
---@field closeCode? integer What a peer that broke the protocol was told: 1002, 1007, 1009.
---@field status? integer Of an answer that refused the handshake.
---@field headers? table<string, string> Of that answer, names in lower case.
---@field body? string What came with it, up to 64 KiB.

---The `error` of a server.
---@class lunawire.ServerErrorEvent: lunawire.Event
---@field target lunawire.WebSocketServer The server.
---@field message string What failed, and why.
---@field code "system"|"tls" The same for programs.

---Why a connection failed.
---@alias lunawire.ErrorCode
---| "url" # the function that should tell a ReconnectingWebSocket's URL raised, or told none
---| "dns" # the name has no address
---| "refused" # nobody listens there
---| "timeout" # an answer did not come in time
---| "network" # the connection broke, or there is no way there
---| "proxy" # the proxy said no
---| "tls" # see docs/tls.md
---| "http" # the server did not agree to the handshake
---| "protocol" # the peer broke the WebSocket protocol
---| "slow" # the peer does not take what is sent to it
---| "file" # the file of a Blob became shorter while it was sent
---| "aborted" # close or terminate was called
---| "memory" # there is no memory

---`ping`.
---@class lunawire.PingEvent: lunawire.Event
---@field target lunawire.WebSocket The socket.
---@field data string At most 125 bytes.

---`pong`.
---@class lunawire.PongEvent: lunawire.Event
---@field target lunawire.WebSocket The socket.
---@field data string At most 125 bytes.
---@field latency? number Milliseconds since the last ping, which may have been a heartbeat's.

---`connection`, of a server.
---@class lunawire.ConnectionEvent: lunawire.Event
---@field target lunawire.WebSocketServer The server.
---@field socket lunawire.WebSocket Open, with every member of a WebSocket.
---@field request lunawire.Request What was asked for.

---What `upgrade` and `request` have in common: somebody waits for an answer, and gets it once.
---@class lunawire.AskingEvent: lunawire.Event
---@field target lunawire.WebSocketServer The server.
---@field request lunawire.Request What is asked for.
local AskingEvent = {}
---Answers with this. Raises TypeError for a status that is not from 200 to 599.
---@param status integer
---@param headers? table<string, string|string[]>
---@param body? string
---@return boolean sent false: answered already, or gone
function AskingEvent:respond(status, headers, body) end
---Refuses: the same, with 403 unless told otherwise. Raises TypeError for a status that is not from 300 to 599.
---@param status? integer (default: 403)
---@param headers? table<string, string|string[]>
---@param body? string
---@return boolean sent false: answered already, or gone
function AskingEvent:reject(status, headers, body) end
---The answer comes later, within `handshakeTimeout`; without it an upgrade is accepted when its handlers have run.
function AskingEvent:defer() end
---Lets a WebSocket in. Raises TypeError for a `protocol` or `headers` that cannot be sent.
---@return boolean accepted false: answered already, gone, or no WebSocket
function AskingEvent:accept() end

---`upgrade`, of a server: who asks to come in.
---@class lunawire.UpgradeEvent: lunawire.AskingEvent
---@field protocol? string The subprotocol that will be agreed on; may be set.
---@field headers? table<string, string|string[]> May be set: they go with the 101.

---`request`, of a server: HTTP that is no WebSocket.
---@class lunawire.RequestEvent: lunawire.AskingEvent

-- Binary values --------------------------------------------------------------------------------------------------------

---Makes an ArrayBuffer: so many bytes, all 0, or a copy of the string's.
---Raises RangeError for a length that cannot be, TypeError for anything else.
---@class lunawire.ArrayBufferClass
---@overload fun(content: integer|string): lunawire.ArrayBuffer

---Bytes of a fixed length that can be written to. `#buffer` is `byteLength`. `send` makes one binary message of it.
---Places are counted as in the browser: from 0, the end excluded, negative ones from the end, all within the buffer.
---@class lunawire.ArrayBuffer
---@field byteLength integer How many bytes.
---@operator len: integer
local ArrayBuffer = {}
---The bytes, or some of them, as a string.
---@param first? integer (default: 0)
---@param last? integer (default: `byteLength`) the end, excluded
---@return string bytes
function ArrayBuffer:string(first, last) end
---A copy of the bytes, or of some of them.
---@param first? integer (default: 0)
---@param last? integer (default: `byteLength`) the end, excluded
---@return lunawire.ArrayBuffer copy
function ArrayBuffer:slice(first, last) end
---Copies bytes into it. Raises RangeError when they do not fit, and changes nothing then.
---@param data string|lunawire.ArrayBuffer
---@param offset? integer (default: 0) where the first goes
function ArrayBuffer:set(data, offset) end

---Makes a Blob of the parts, one behind the other. Raises TypeError for a part that is none, RangeError for more than 100000 pieces of files.
---@class lunawire.BlobClass
---@overload fun(parts?: lunawire.Data[], options?: lunawire.BlobOptions): lunawire.Blob
local BlobClass = {}
---Makes a Blob of a file, which is looked at now and opened when the Blob is sent or read.
---Raises NotReadableError if it is missing or no regular file.
---@param path string
---@param options? lunawire.BlobOptions
---@return lunawire.Blob blob
function BlobClass.fromFile(path, options) end

---The second argument of a Blob.
---@class lunawire.BlobOptions
---@field type? string (default: `""`) A media type, `"image/png"`: it is kept in lower case, and means nothing here.

---Bytes that do not change, in memory or in a file (W3C File API, 3). `#blob` is `size`. `send` makes one binary message of
---it. What reads raises NotReadableError when the file is missing or has changed since.
---@class lunawire.Blob
---@field size integer How many bytes.
---@field type string A media type, or `""`.
---@operator len: integer
local Blob = {}
---A part of it; nothing is copied. Places are counted as in an ArrayBuffer.
---@param first? integer (default: 0)
---@param last? integer (default: `size`) the end, excluded
---@param type? string (default: `""`)
---@return lunawire.Blob part
function Blob:slice(first, last, type) end
---The bytes.
---@return string bytes
function Blob:string() end
---The bytes as text: U+FFFD in the place of what is not UTF-8, without a byte order mark (WHATWG Encoding, 6).
---@return string text
function Blob:text() end
---A copy of the bytes.
---@return lunawire.ArrayBuffer buffer
function Blob:arrayBuffer() end

-- Staying connected ----------------------------------------------------------------------------------------------------

---Makes a WebSocket that comes back. The URL and the subprotocols may be functions, which are asked at each attempt.
---Raises as WebSocket does, but what a function tells later is an attempt that failed (`error.code` `"url"`).
---@class lunawire.ReconnectingWebSocketClass
---@overload fun(url: string|(fun(): string), protocols?: string|string[]|(fun(): string|string[]|nil), options?: lunawire.ReconnectingOptions): lunawire.ReconnectingWebSocket
---@field CONNECTING 0 The constants of `readyState`.
---@field OPEN 1 The same.
---@field CLOSING 2 The same.
---@field CLOSED 3 The same.

---A WebSocket that comes back: every member of WebSocket but the topics, over one connection after the other; see
---[reconnect.md](reconnect.md). `close` is told for each connection and each failed attempt; then either `readyState` is 3,
---or `reconnecting` follows. Between attempts `readyState` is 0.
---@class lunawire.ReconnectingWebSocket
---@field CONNECTING 0 The constants of `readyState`.
---@field OPEN 1 The same.
---@field CLOSING 2 The same.
---@field CLOSED 3 The same.
---@field url string Of the last attempt.
---@field readyState 0|1|2|3 0: an attempt or a wait is under way; 3: it has ended for good.
---@field protocol string Of the last connection.
---@field extensions string Of the last connection.
---@field bufferedAmount integer Bytes accepted and not yet handed to the system, those in the queue among them.
---@field binaryType "string"|"arraybuffer"|"blob" As what binary messages are delivered.
---@field lastReceived? number `lunawire.now()` when bytes last came.
---@field lastAlive? number `lunawire.now()` of the last sign of life.
---@field isPaused boolean `pause` was called, or nobody receives what is queued (see `receive`).
---@field bytesWritten integer Of the last connection's stream.
---@field bytesSent integer Of these, those that were handed to the system.
---@field retryCount integer Attempts since the last connection that lasted for `minUptime`.
---@field queuedMessages integer Messages that wait for a connection.
---@field onopen? fun(event: lunawire.Event) There is a connection. What this handler sends goes before what has waited.
---@field onmessage? fun(event: lunawire.MessageEvent) A message has come.
---@field onerror? fun(event: lunawire.ErrorEvent) A connection or an attempt has failed. `close` follows.
---@field onclose? fun(event: lunawire.CloseEvent) A connection or an attempt has ended.
---@field onreconnecting? fun(event: lunawire.ReconnectingEvent) After a `close` that was not the end: when the next attempt will be.
---@field onping? fun(event: lunawire.PingEvent) As of WebSocket.
---@field onpong? fun(event: lunawire.PongEvent) As of WebSocket.
---@field ondrain? fun(event: lunawire.Event) `send` has returned false, and now more may be sent.
local ReconnectingWebSocket = {}
---Sends now, or with the next connection.
---Raises QuotaExceededError when the queue is full, TypeError for what cannot be sent.
---@param data lunawire.Data
---@param options? lunawire.SendOptions
---@return boolean go false: wait for `drain` before sending more
function ReconnectingWebSocket:send(data, options) end
---Ends it for good, in every state. Raises as WebSocket's does.
---@param code? integer
---@param reason? string
function ReconnectingWebSocket:close(code, reason) end
---Drops the connection there is, at once; then it comes back, as after any loss.
---@param reason? string
function ReconnectingWebSocket:terminate(reason) end
---Connects anew, now: an attempt, a connection or a wait that there is is given up.
---@return boolean will false once `close` was called
function ReconnectingWebSocket:reconnect() end
---Forgets what is queued, for a layer above that sends again by itself; it is called in a `close` handler.
---@return integer bytes that were forgotten
function ReconnectingWebSocket:clearQueue() end
---Sends a ping. Raises InvalidStateError while there is no connection.
---@param data? string at most 125 bytes
function ReconnectingWebSocket:ping(data) end
---Stops reading, on this connection and those to come.
function ReconnectingWebSocket:pause() end
---Reads again.
function ReconnectingWebSocket:resume() end
---Waits for the next message, as WebSocket's; `"closed"` is the end for good.
---@param timeout? number milliseconds; none: for ever
---@return string|lunawire.ArrayBuffer|lunawire.Blob|nil data nil: `kind` says why
---@return "text"|"binary"|"timeout"|"closed" kind
---@return lunawire.CloseEvent? event with "closed"
function ReconnectingWebSocket:receive(timeout) end
---`receive` again and again, until it has ended for good.
---@return fun(): (string|lunawire.ArrayBuffer|lunawire.Blob)?, ("text"|"binary")? iterator
function ReconnectingWebSocket:messages() end
---Waits until more may be sent.
---@param timeout? number milliseconds; none: for ever
---@return true? go
---@return ("timeout"|"closed")? why
---@return lunawire.CloseEvent? event with "closed"
function ReconnectingWebSocket:drain(timeout) end
---Adds a listener, as of WebSocket.
---@param type "open"|"message"|"error"|"close"|"ping"|"pong"|"drain"|"reconnecting"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean true: `capture`
function ReconnectingWebSocket:addEventListener(type, fn, options) end
---Takes a listener away.
---@param type "open"|"message"|"error"|"close"|"ping"|"pong"|"drain"|"reconnecting"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean `capture` as it was added
function ReconnectingWebSocket:removeEventListener(type, fn, options) end

---The third argument of a ReconnectingWebSocket. Why the defaults are what they are says [reconnect.md](reconnect.md).
---@class lunawire.ReconnectingOptions: lunawire.ClientOptions
---@field minDelay? number (default: 1000) Milliseconds before the first retry.
---@field maxDelay? number (default: 30000) Milliseconds before a retry, at most.
---@field factor? number (default: 1.6) Each wait is so many times the last.
---@field jitter? number (default: 0.5) Each wait is at random from d · (1 − jitter) to d.
---@field minUptime? number (default: 5000) Milliseconds a connection must last to begin the count anew.
---@field maxRetries? number (default: math.huge) Attempts after a loss, until it ends.
---@field maxQueuedMessages? number (default: 1000) Messages that may wait for a connection.
---@field maxQueuedBytes? number (default: 16 MiB) Bytes of these.
---@field shouldReconnect? fun(event: lunawire.CloseEvent, attempt: integer): boolean? (default: the rule) Decides; nil: as the rule says, by which a refusal with 401, 403, 404 or 410, a broken protocol and the close codes 1002 and 1010 are the end.
---@field heartbeat? boolean|lunawire.HeartbeatOptions (default: true) On each connection; false: none.

---`reconnecting`, of a ReconnectingWebSocket.
---@class lunawire.ReconnectingEvent: lunawire.Event
---@field target lunawire.ReconnectingWebSocket The socket.
---@field attempt integer 1 for the first after a loss.
---@field delay number Milliseconds until then.

---The second argument of `heartbeat`.
---@class lunawire.HeartbeatOptions
---@field interval? number (default: 20000) Milliseconds between two beats.
---@field timeout? number (default: 10000) Milliseconds for a sign of life after a beat. Any byte counts.
---@field message? string (default: a ping frame) A text of the application's own to send instead (RFC 6455, 5.5.2).
---@field reply? string|fun(text: string): boolean (default: `"pong"` for `"ping"`, else nothing) What answers it, or a function that tells; it is not delivered to `onmessage`.

---What `heartbeat` returns. It may stand in a `<close>` variable. Nobody has to keep it.
---@class lunawire.Heartbeat
---@field latency? number Milliseconds from the last answered beat to its pong or reply; nil: none yet.
local Heartbeat = {}
---Stops it for good; the connection is left alone. Twice is once.
function Heartbeat:stop() end

---What `go` returns; see [tasks.md](tasks.md).
---@class lunawire.Task
---@field status "running"|"waiting"|"done"|"failed"|"cancelled" How far it is.
local Task = {}
---Raises an AbortError in the task where it waits; if it waits nowhere now, where it waits next. Over: nothing happens.
---@param reason? any a string is the error's message; anything is its `reason`
function Task:cancel(reason) end
---Waits for its end. Returns what it returned, raises what it raised.
---@return any ...
function Task:join() end

-- Delivery that survives -----------------------------------------------------------------------------------------------

---What `require "lunawire.reliable"` returns: messages that are numbered, acknowledged, sent again over the next line, and
---taken once. [reliable.md](reliable.md) has the promise and the wire format.
---@class lunawire.reliable
---@field protocol string The subprotocol both ends must agree on: `"lunawire.reliable.1"`.
local reliable = {}
---A link over a socket that asks for `reliable.protocol`. Nothing else may be sent on the socket from then on.
---Raises TypeError for options that are wrong, InvalidStateError for a socket that has a link.
---@param ws lunawire.WebSocket|lunawire.ReconnectingWebSocket a WebSocket is for one connection
---@param options? lunawire.ReliableClientOptions
---@return lunawire.ReliableLink link
function reliable.client(ws, options) end
---The sessions of a server whose `protocols` have `reliable.protocol`. Sockets without it are left to the application.
---Raises TypeError for options that are wrong, InvalidStateError for a server that has such sessions.
---@param server lunawire.WebSocketServer
---@param options? lunawire.ReliableServerOptions
---@return lunawire.ReliableServer hub
function reliable.server(server, options) end

---The second argument of `reliable.client`.
---@class lunawire.ReliableClientOptions
---@field greeting? string|fun(): string (default: `""`) Text with each hello, or a function that is asked each time.
---@field session? string (default: 128 random bits) The session's name, 16 to 64 of `A-Z a-z 0-9 _ -`. It is a password.
---@field maxQueuedMessages? integer (default: 1000) Messages that are not acknowledged.
---@field maxQueuedBytes? integer (default: 16 MiB) Bytes of these.
---@field maxMessageSize? integer (default: 1 MiB − 32) Bytes of a message.
---@field maxAge? number (default: math.huge) Milliseconds until a message that is not acknowledged is given up.
---@field helloTimeout? number (default: 10000) Milliseconds until a line without an answer is dropped.

---The client's end of a session.
---@class lunawire.ReliableLink
---@field unacknowledged integer Messages that are not acknowledged.
---@field bufferedAmount integer Bytes of these.
---@field session string The session's name.
---@field connected boolean The hellos of this line are exchanged.
---@field onready? fun(event: lunawire.ReadyEvent) The hellos are exchanged, messages flow.
---@field onmessage? fun(event: lunawire.NumberedEvent) A message has come, once and in order.
---@field onnote? fun(event: lunawire.NoteEvent) A note has come.
---@field onlost? fun(event: lunawire.LostEvent) The line is lost.
---@field ondrain? fun(event: lunawire.Event) Nothing is unacknowledged any more.
---@field onerror? fun(event: lunawire.LinkErrorEvent) It will not go on. `close` follows.
---@field onclose? fun(event: lunawire.CloseEvent) Nobody comes back.
local ReliableLink = {}
---Keeps a message until it is acknowledged, with or without a line.
---Raises what WebSocket's raises for data, QuotaExceededError for what does not fit, InvalidStateError once closed.
---@param data lunawire.Data
---@param options? lunawire.SendOptions
---@param fn? fun(receipt: lunawire.Receipt) called once it is decided
---@return lunawire.Receipt receipt
function ReliableLink:send(data, options, fn) end
---Sends what is lost if the line is.
---@param data lunawire.Data
---@param options? lunawire.SendOptions
---@return boolean sent it was handed to the socket
function ReliableLink:note(data, options) end
---Ends the session at the server; the socket closes for good. What is not acknowledged gets its error.
---@param code? integer (default: 1000)
---@param reason? string
function ReliableLink:close(code, reason) end
---Adds a listener.
---@param type "ready"|"message"|"note"|"lost"|"drain"|"error"|"close"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean true: `capture`
function ReliableLink:addEventListener(type, fn, options) end
---Takes a listener away.
---@param type "ready"|"message"|"note"|"lost"|"drain"|"error"|"close"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean `capture` as it was added
function ReliableLink:removeEventListener(type, fn, options) end

---What becomes of a message.
---@class lunawire.Receipt
---@field number? integer The message's, once it was sent; it changes at most once, at the first `ready`.
---@field acknowledged boolean The server has it.
---@field error? lunawire.Error TimeoutError (older than `maxAge`), AbortError (the link was closed), NetworkError (the line does not come back).
---@field ondone? fun(receipt: lunawire.Receipt) Called once it is decided; may be set.

---`ready`, of a link.
---@class lunawire.ReadyEvent: lunawire.Event
---@field target lunawire.ReliableLink The link.
---@field continued boolean false: what the server had sent before is unknown to it.

---`message`, of a link.
---@class lunawire.NumberedEvent: lunawire.Event
---@field data string The message.
---@field binary boolean It is bytes, not text.
---@field number integer Counts up by one.

---`note`, of a link.
---@class lunawire.NoteEvent: lunawire.Event
---@field data string The note.
---@field binary boolean It is bytes, not text.

---`lost`, of a link.
---@class lunawire.LostEvent: lunawire.Event
---@field code integer The socket's close code.
---@field reason string The socket's close reason.

---`error`, of a link.
---@class lunawire.LinkErrorEvent: lunawire.Event
---@field code "protocol"|"taken"|"tooBig" An end is broken; another connection took the session over; the server takes no message of this size.
---@field message string The same in words.

---The second argument of `reliable.server`.
---@class lunawire.ReliableServerOptions
---@field restore? fun(session: string): integer? (default: none) The number of a session's last message in a journal, asked for a session that is not in memory.
---@field sessionTimeout? number (default: 60000) Milliseconds a session may be away.
---@field helloTimeout? number (default: 10000) Milliseconds until a line without a hello is closed with 1013.
---@field maxQueuedBytes? integer (default: 1 MiB) Bytes that are not acknowledged, of one session.
---@field maxQueuedMessages? integer (default: 10000) Messages of these.
---@field maxDeferred? integer (default: 10000) Messages of a session that are not acknowledged here; with more the line is closed with 1013.
---@field maxSessions? integer (default: 10000) Sessions; for one more, the one away longest ends.

---The handlers of a session, which stand before the server's.
---@class lunawire.ReliableHandlers
---@field onresume? fun(event: lunawire.SessionEvent) The session is back, or on a newer line.
---@field onmessage? fun(event: lunawire.SessionMessageEvent) A message has come, once and in order.
---@field onnote? fun(event: lunawire.SessionNoteEvent) A note has come.
---@field onaway? fun(event: lunawire.SessionAwayEvent) The line is lost.
---@field onend? fun(event: lunawire.SessionEndEvent) The session has ended.

---The sessions of a server, present and away.
---@class lunawire.ReliableServer: lunawire.ReliableHandlers
---@field count integer Sessions, present and away.
---@field onsession? fun(event: lunawire.SessionEvent) A new one.
---@field onerror? fun(event: lunawire.SessionErrorEvent) A broken client, or an error of its socket.
local ReliableServer = {}
---The sessions; closing them on the way is safe.
---@return fun(): lunawire.ReliableSession? iterator
function ReliableServer:each() end
---Adds a listener.
---@param type "session"|"resume"|"message"|"note"|"away"|"end"|"error"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean true: `capture`
function ReliableServer:addEventListener(type, fn, options) end
---Takes a listener away.
---@param type "session"|"resume"|"message"|"note"|"away"|"end"|"error"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean `capture` as it was added
function ReliableServer:removeEventListener(type, fn, options) end

---One client, over one line after the other.
---@class lunawire.ReliableSession: lunawire.ReliableHandlers
---@field id string The session's name.
---@field socket? lunawire.WebSocket nil while it is away.
---@field request lunawire.Request Of its last line.
---@field received integer The number of the last message taken.
---@field unacknowledged integer Messages that are not acknowledged.
---@field bufferedAmount integer Bytes of these.
---@field ended? "closed"|"expired"|"overflow"|"server" Why it has ended.
local ReliableSession = {}
---Keeps a message until it is acknowledged, here or away. Raises QuotaExceededError for one over `maxQueuedBytes`.
---@param data lunawire.Data
---@param options? lunawire.SendOptions
---@return boolean kept false: the session has ended, or ends now because too much is kept
function ReliableSession:send(data, options) end
---Sends what is lost if the line is.
---@param data lunawire.Data
---@param options? lunawire.SendOptions
---@return boolean sent it was handed to the socket
function ReliableSession:note(data, options) end
---Messages that were deferred, up to this number, are taken for good.
---@param number integer
function ReliableSession:acknowledge(number) end
---Ends the session; the client does not come back. What is not acknowledged is lost.
---@param code? integer
---@param reason? string
function ReliableSession:close(code, reason) end
---Adds a listener.
---@param type "resume"|"message"|"note"|"away"|"end"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean true: `capture`
function ReliableSession:addEventListener(type, fn, options) end
---Takes a listener away.
---@param type "resume"|"message"|"note"|"away"|"end"
---@param fn fun(event: lunawire.Event)
---@param options? lunawire.ListenerOptions|boolean `capture` as it was added
function ReliableSession:removeEventListener(type, fn, options) end

---`session` and `resume`.
---@class lunawire.SessionEvent: lunawire.Event
---@field session lunawire.ReliableSession The session.
---@field greeting string What came with its hello.
---@field request lunawire.Request Of its line.
---@field continued boolean false: what was sent to it before is unknown here.

---`message`, of a session.
---@class lunawire.SessionMessageEvent: lunawire.NumberedEvent
---@field session lunawire.ReliableSession The session.
local SessionMessageEvent = {}
---`session:acknowledge(number)` will say when it is taken for good.
function SessionMessageEvent:defer() end

---`note`, of a session.
---@class lunawire.SessionNoteEvent: lunawire.NoteEvent
---@field session lunawire.ReliableSession The session.

---`away`, of a session.
---@class lunawire.SessionAwayEvent: lunawire.LostEvent
---@field session lunawire.ReliableSession The session.

---`end`, of a session.
---@class lunawire.SessionEndEvent: lunawire.Event
---@field session lunawire.ReliableSession The session.
---@field reason "closed"|"expired"|"overflow"|"server" The client is done; away too long; too much is kept, or too many sessions; closed here.

---`error`, of a server's sessions.
---@class lunawire.SessionErrorEvent: lunawire.Event
---@field session? lunawire.ReliableSession nil before its hello.
---@field code string The same as of a link's, or of a socket's `error`.
---@field message string The same in words.

return lunawire
