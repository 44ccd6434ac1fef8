---@meta lunawire
-- What editors know of lunawire (LuaCATS, for lua-language-server): point
-- `workspace.library` at this directory. Durations are milliseconds, sizes bytes.

---An error for a caller's mistake. `tostring` gives where, name and message.
---@class lunawire.Error
---@field name "QuotaExceededError"|"SyntaxError"|"InvalidStateError"|"InvalidAccessError"|"TypeError"|"NotSupportedError"|"AbortError"|"NetworkError"|"SystemError"|"MemoryError"
---@field message string
---@field where string

---@class lunawire.Event
---@field type string
---@field target table the socket or server it happened to
local Event = {}
---No further listener of this event is called.
function Event:stopImmediatePropagation() end

---@class lunawire.MessageEvent: lunawire.Event
---@field target lunawire.WebSocket
---@field data string
---@field binary boolean
---@field origin string `ws://host[:port]`; `""` on the server side

---@class lunawire.CloseEvent: lunawire.Event
---@field target lunawire.WebSocket
---@field code integer 1005: a Close without code; 1006: no Close at all
---@field reason string
---@field wasClean boolean both Close frames went and the connection ended after them
---@field name string the code's name, or that of its range
---@field unsent? integer of a ReconnectingWebSocket: bytes accepted and not handed to the system whole. They go out with the next connection, unless this was the end (`readyState` 3)
---@field error? lunawire.ErrorEvent of a ReconnectingWebSocket: the `error` of the same attempt

---@class lunawire.ErrorEvent: lunawire.Event
---@field message string what was tried, on what, and why it failed
---@field code "url"|"dns"|"refused"|"timeout"|"network"|"proxy"|"tls"|"http"|"protocol"|"slow"|"aborted"|"memory"|"system"
---@field closeCode? integer what a peer that broke the protocol was told
---@field status? integer of an answer that refused the handshake
---@field headers? table<string, string> of that answer
---@field body? string what came with it, up to 64 KiB

---@class lunawire.PongEvent: lunawire.Event
---@field data string
---@field latency? number since the last ping, which may have been a heartbeat's

---A WebSocket, client or server side (WHATWG WebSockets).
---@class lunawire.WebSocket
---@field CONNECTING 0
---@field OPEN 1
---@field CLOSING 2
---@field CLOSED 3
---@field url string serialised, without credentials; where redirects have led; `""` on the server side
---@field readyState 0|1|2|3
---@field protocol string
---@field extensions string
---@field bufferedAmount integer bytes queued and not handed to the system, framing excluded
---@field binaryType "string"
---@field lastReceived? number `lunawire.now()` when bytes last came
---@field lastAlive? number `lunawire.now()` of the last sign of life: bytes came, the peer took some of what was under way before the last ping, or bytes wait unread now
---@field isPaused boolean
---@field bytesWritten integer bytes of the stream so far, framing and all: sent and queued
---@field bytesSent integer of these, handed to the system
---@field onopen? fun(event: lunawire.Event)
---@field onmessage? fun(event: lunawire.MessageEvent)
---@field onerror? fun(event: lunawire.ErrorEvent)
---@field onclose? fun(event: lunawire.CloseEvent)
---@field onping? fun(event: lunawire.MessageEvent)
---@field onpong? fun(event: lunawire.PongEvent)
---@field ondrain? fun(event: lunawire.Event)
local WebSocket = {}

---Sends one message: text, which must be UTF-8, or binary (RFC 6455, 5.6).
---Raises InvalidStateError while CONNECTING, TypeError for what cannot be sent.
---@param data string
---@param options? "binary"|{ binary?: boolean }
---@return boolean go false: wait for `drain` before sending more
function WebSocket:send(data, options) end

---Waits for the next message. In a coroutine that yields; in the main chunk it turns the loop; in a handler it raises
---InvalidStateError. From the first use on, messages that nobody waits for are queued, and past 1024 or 1 MiB the socket pauses.
---@param timeout? number
---@return string? data nil: see `kind`
---@return "text"|"binary"|"timeout"|"closed" kind
---@return lunawire.CloseEvent? event with "closed"
function WebSocket:receive(timeout) end
---`for data, kind in ws:messages() do`: until the socket has closed and all is taken.
---@return fun(): string?, ("text"|"binary")?
function WebSocket:messages() end
---Waits until more may be sent: at once, unless `send` has returned false and no `drain` came since.
---@param timeout? number
---@return true? go
---@return ("timeout"|"closed")? why
---@return lunawire.CloseEvent? event with "closed"
function WebSocket:drain(timeout) end
---Starts the closing handshake; what is queued goes first (RFC 6455, 7.1.2). While CONNECTING it fails the attempt.
---Raises InvalidAccessError for another code than 1000 and 3000-4999 (a server-side socket
---may also say 1001-1003 and 1007-1014), SyntaxError for a reason over 123 bytes, not UTF-8, or without code.
---@param code? integer
---@param reason? string
function WebSocket:close(code, reason) end

---Sends a ping (RFC 6455, 5.5.2); the answer is a `pong` event.
---@param data? string at most 125 bytes
function WebSocket:ping(data) end

---Drops the connection at once: `close` 1006 with this reason.
---@param reason? string
function WebSocket:terminate(reason) end

---Stops reading, so that TCP pushes back on the peer.
function WebSocket:pause() end
function WebSocket:resume() end

---@param type "open"|"message"|"error"|"close"|"ping"|"pong"|"drain"
---@param fn fun(event: table)
---@param options? { once?: boolean, capture?: boolean }
function WebSocket:addEventListener(type, fn, options) end

---@param type string
---@param fn fun(event: table)
---@param options? { capture?: boolean }
function WebSocket:removeEventListener(type, fn, options) end

---Server side only.
---@param topic string
function WebSocket:subscribe(topic) end
---@param topic string
function WebSocket:unsubscribe(topic) end
---@param topic string
---@return boolean
function WebSocket:isSubscribed(topic) end
---To every subscriber but this one.
---@param topic string
---@param data string
---@param options? "binary"|{ binary?: boolean }
---@return integer receivers
function WebSocket:publish(topic, data, options) end

---@class lunawire.SocketOptions
---@field handshakeTimeout? number 10000
---@field closeTimeout? number 5000
---@field maxPayload? integer 16 MiB; 1 MiB on a server
---@field maxFragments? integer 131072
---@field fragmentSize? integer 0: never split what is sent
---@field highWaterMark? integer 1 MiB
---@field maxBufferedAmount? integer 64 MiB; 16 MiB on a server
---@field noDelay? boolean true

---@class lunawire.ClientOptions: lunawire.SocketOptions
---@field headers? table<string, string|string[]>
---@field origin? string
---@field userAgent? string
---@field family? 4|6 nil: both, tried side by side (RFC 8305)
---@field path? string of a Unix socket to connect to; the URL then only says what is asked for there
---@field followRedirects? integer 0: a redirect is a refusal; n: at most n are followed, never from wss to ws; Authorization, Cookie and the URL's credentials and `tls.cert` do not cross to another origin, other headers do
---@field proxy? string|false a URL (http, https, socks5); false: none; nil: what http_proxy, https_proxy, all_proxy, no_proxy say (docs/proxy.md)
---@field proxyTls? lunawire.ClientTls with an https proxy itself
---@field tls? lunawire.ClientTls for wss; it is the URL that asks for TLS

--- How a client checks the server, and who it is itself (docs/tls.md).
---@class lunawire.ClientTls
---@field verify? boolean true: chain, dates and host name; false warns once on stderr
---@field ca? string whom to trust instead of the system's: a file, a directory, or PEM text
---@field cert? string a client certificate, then its issuers': a file or PEM text
---@field key? string its key; where `cert` is, if not given
---@field passphrase? string of an encrypted key
---@field serverName? string the host to ask for and to find in the certificate (RFC 6066, 3); the URL's host, `"localhost"` for wss+unix
---@field minVersion? "TLSv1.2"|"TLSv1.3"
---@field ciphers? string OpenSSL's names between colons, those of TLS 1.3 among them
---@field alpn? string|string[] `"http/1.1"` (RFC 7301)
---@field session? boolean true: sessions are resumed (RFC 8446, 2.2)

---@class lunawire.TlsCertificate
---@field cert string the certificate, then its issuers': a file or PEM text
---@field key? string its key; where `cert` is, if not given
---@field passphrase? string of an encrypted key

---@class lunawire.ServerTls: lunawire.TlsCertificate
---@field certificates? lunawire.TlsCertificate[] a list of further ones, chosen by the name the client asks for (RFC 6066, 3)
---@field ca? string whose client certificates are good; only with `requestCert`
---@field requestCert? boolean|"optional" a client must, or may, show a certificate
---@field minVersion? "TLSv1.2"|"TLSv1.3"
---@field ciphers? string
---@field alpn? string|string[]
---@field session? boolean true: tickets are given (RFC 8446, 4.6.1)

--- What TLS tells of a connection.
---@class lunawire.TlsFacts
---@field version string `"TLSv1.3"`
---@field cipher string
---@field serverName? string the name the client asked for
---@field protocol? string agreed on by ALPN
---@field resumed boolean
---@field peer? { subject: string, issuer: string, commonName?: string, serialNumber: string, fingerprint: string, validTo: string } the certificate the client showed

---@class lunawire.ServerOptions: lunawire.SocketOptions
---@field port? integer 0: any free one
---@field host? string `"127.0.0.1"`
---@field path? string of a Unix socket instead
---@field backlog? integer
---@field reusePort? boolean
---@field protocols? string[]|string|fun(offered: string[], request: lunawire.Request): string?
---@field trustProxy? string[]|string proxies whose `X-Forwarded-For` is believed: addresses, networks (`"10.0.0.0/8"`), `"unix"` for whoever comes over a Unix socket
---@field origins? string[]|string nil: the same origin only; `"*"`: any
---@field resource? string serve only this path
---@field maxConnections? integer from the descriptor limit
---@field maxHeaderSize? integer 16 KiB
---@field maxHeaderCount? integer 100
---@field tls? lunawire.ServerTls wss instead of ws
---@field heartbeat? boolean|{ interval?: number, timeout?: number } default 30000 and 10000 ms: each client gets a ping every interval, and is ended when no byte comes for timeout after it; false: none

---@class lunawire.Request
---@field method string
---@field target string
---@field path string
---@field query? string
---@field headers table<string, string> names in lower case
---@field remoteAddress string the client's: the connection's peer, or whom a proxy of `trustProxy` names; `""` over a Unix socket
---@field remotePort integer 0: not known
---@field peerAddress string the connection's peer, who may be a proxy
---@field peerPort integer
---@field tls? lunawire.TlsFacts

---@class lunawire.ConnectionEvent: lunawire.Event
---@field target lunawire.WebSocketServer
---@field socket lunawire.WebSocket
---@field request lunawire.Request

---@class lunawire.RequestEvent: lunawire.Event
---@field target lunawire.WebSocketServer
---@field request lunawire.Request
local RequestEvent = {}
---@param status integer
---@param headers? table<string, string|string[]>
---@param body? string
---@return boolean sent false: answered already, or gone
function RequestEvent:respond(status, headers, body) end

---@class lunawire.UpgradeEvent: lunawire.Event
---@field target lunawire.WebSocketServer
---@field request lunawire.Request
---@field protocol? string may be set
---@field headers? table<string, string|string[]> may be set: go with the 101
local UpgradeEvent = {}
---@param status? integer 403
---@param headers? table<string, string|string[]>
---@param body? string
---@return boolean sent
function UpgradeEvent:reject(status, headers, body) end
---The answer comes later, within `handshakeTimeout`.
function UpgradeEvent:defer() end
---@return boolean accepted
function UpgradeEvent:accept() end

---@class lunawire.WebSocketServer
---@field port integer
---@field url string
---@field onconnection? fun(event: lunawire.ConnectionEvent)
---@field onupgrade? fun(event: lunawire.UpgradeEvent)
---@field onrequest? fun(event: lunawire.RequestEvent)
---@field onmessage? fun(event: lunawire.MessageEvent) for sockets without a handler of their own
---@field onping? fun(event: lunawire.MessageEvent)
---@field onpong? fun(event: lunawire.PongEvent)
---@field ondrain? fun(event: lunawire.Event)
---@field onsocketerror? fun(event: lunawire.ErrorEvent)
---@field onsocketclose? fun(event: lunawire.CloseEvent)
---@field onerror? fun(event: lunawire.ErrorEvent) guests wait that cannot be let in (`code` "system"); TLS failed with one who said something (`code` "tls")
---@field onclose? fun(event: lunawire.Event) once, after the last socket's `close`
---@operator len: integer
local WebSocketServer = {}

---The open sockets; safe against closing on the way.
---@return fun(): lunawire.WebSocket?
function WebSocketServer:each() end
---One frame for every subscriber.
---@param topic string
---@param data string
---@param options? "binary"|{ binary?: boolean }
---@return integer receivers
function WebSocketServer:publish(topic, data, options) end
---One frame for every open socket.
---@param data string
---@param options? "binary"|{ binary?: boolean }
---@return integer receivers
function WebSocketServer:broadcast(data, options) end
---New connections are met with these; what is not named stays as it was. Raises, and changes nothing, if they are wrong.
---@param tls lunawire.ServerTls|{ cert?: string }
function WebSocketServer:reload(tls) end
---Stops listening, closes every socket, ends what is left after `closeTimeout`.
---@param code? integer 1001
---@param reason? string
function WebSocketServer:close(code, reason) end
---@param type string
---@param fn fun(event: table)
---@param options? { once?: boolean, capture?: boolean }
function WebSocketServer:addEventListener(type, fn, options) end
---@param type string
---@param fn fun(event: table)
---@param options? { capture?: boolean }
function WebSocketServer:removeEventListener(type, fn, options) end

---@class lunawire.HeartbeatOptions
---@field interval? number 20000 ms between two beats
---@field timeout? number 10000 ms for a sign of life after a beat
---@field message? string a text to send instead of a ping frame (RFC 6455, 5.5.2)
---@field reply? string|fun(text: string): boolean what answers it and is not delivered; `"pong"` for `"ping"`

---@class lunawire.Heartbeat
---@field latency? number ms from the last answered beat to its pong or reply
local Heartbeat = {}
---Stops it for good; the connection is left alone. Twice is once.
function Heartbeat:stop() end

---@class lunawire.ReconnectingEvent: lunawire.Event
---@field target lunawire.ReconnectingWebSocket
---@field attempt integer 1 for the first after a loss
---@field delay number ms until then

---@class lunawire.ReconnectingOptions: lunawire.ClientOptions
---@field minDelay? number 1000 ms before the first retry
---@field maxDelay? number 30000 ms
---@field factor? number 1.6: each wait is so many times the last
---@field jitter? number 0.5: each wait is uniform in [d * (1 - jitter), d]
---@field minUptime? number 5000 ms a connection must last to begin the count anew
---@field maxRetries? number math.huge
---@field maxQueuedMessages? integer 1000
---@field maxQueuedBytes? integer 16 MiB
---@field shouldReconnect? fun(event: lunawire.CloseEvent, attempt: integer): boolean? nil: as it would be without; a refusal with 401, 403, 404 or 410, a broken protocol and the close codes 1002 and 1010 end it
---@field heartbeat? boolean|lunawire.HeartbeatOptions

---A WebSocket that comes back: every member of WebSocket, over one connection after the other.
---`close` is told for each connection and each failed attempt; then either `readyState` is 3, or `reconnecting` follows.
---@class lunawire.ReconnectingWebSocket: lunawire.WebSocket
---@field retryCount integer attempts since the last connection that lasted
---@field queuedMessages integer
---@field onreconnecting? fun(event: lunawire.ReconnectingEvent)
local ReconnectingWebSocket = {}
---Sends now, or with the next connection. Raises QuotaExceededError when the queue is full, TypeError for what cannot be sent.
---@param data string
---@param options? "binary"|{ binary?: boolean }
---@return boolean go false: wait for `drain` before sending more
function ReconnectingWebSocket:send(data, options) end
---Ends it for good, in every state.
---@param code? integer
---@param reason? string
function ReconnectingWebSocket:close(code, reason) end
---Connects anew, now: an attempt, a connection or a wait there is is given up.
---@return boolean false once close() was called
function ReconnectingWebSocket:reconnect() end
---Forgets what is queued, for a layer above that sends again by itself; called in a `close` handler.
---@return integer bytes
function ReconnectingWebSocket:clearQueue() end
---Drops the connection there is; then it comes back.
---@param reason? string
function ReconnectingWebSocket:terminate(reason) end

---What setTimeout, setInterval and watch return; also for `<close>` variables.
---@class lunawire.Handle
local Handle = {}
function Handle:close() end

---What `go` returns.
---@class lunawire.Task
---@field status "running"|"waiting"|"done"|"failed"|"cancelled"
local Task = {}
---Raises an AbortError in the task where it waits, or waits next. Over: nothing.
---@param reason? any a string is the error's message
function Task:cancel(reason) end
---Waits for its end. Returns what it returned, raises what it raised.
---@return any ...
function Task:join() end

---@class lunawire.CloseCode: table<string, integer>
---@field name fun(code: integer): string

---@class lunawire
---@field _VERSION string
---@field WebSocket fun(url: string, protocols?: string|string[], options?: lunawire.ClientOptions): lunawire.WebSocket
---@field WebSocketServer fun(options: lunawire.ServerOptions): lunawire.WebSocketServer
---@field ReconnectingWebSocket fun(url: string|(fun(): string), protocols?: string|string[]|(fun(): string|string[]|nil), options?: lunawire.ReconnectingOptions): lunawire.ReconnectingWebSocket
---@field CloseCode lunawire.CloseCode
---@field onerror? fun(err: any, source: any, traceback: string) gets an error raised in a handler
---@field loop { pollfd: (fun(): integer?), events: (fun(): string), timeout: (fun(): number?) } for cqueues and its like; seconds
local lunawire = {}

---@param fn function
---@param ms? number
---@param ... any passed to fn
---@return lunawire.Handle
function lunawire.setTimeout(fn, ms, ...) end
---@param fn function
---@param ms? number
---@param ... any
---@return lunawire.Handle
function lunawire.setInterval(fn, ms, ...) end
---@param timer? lunawire.Handle
function lunawire.clearTimeout(timer) end
---@param timer? lunawire.Handle
function lunawire.clearInterval(timer) end

---Starts a task: fn runs at once, up to where it first waits. Its error goes to `onerror` or leaves `run`, unless somebody joins.
---@param fn function
---@param ... any passed to fn
---@return lunawire.Task
function lunawire.go(fn, ...) end
---Waits; in the main chunk it turns the loop meanwhile.
---@param ms number
function lunawire.sleep(ms) end
---Connects and waits for that. Raises a NetworkError with the `code`, `status` … of the failed attempt's error event.
---@param url string
---@param protocols? string|string[]
---@param options? lunawire.ClientOptions
---@return lunawire.WebSocket open
function lunawire.connect(url, protocols, options) end

---Turns the loop until nothing is left that could call back, or the time is over.
---Raises InvalidStateError inside a handler, and a handler's error while `onerror` is unset.
---@param timeout? number
---@return boolean nothingLeft
function lunawire.run(timeout) end
---One turn.
---@param timeout? number waits at most so long; default 0
---@param budget? number handles events for at most so long, but at least one
---@return integer handled
function lunawire.step(timeout, budget) end
---Makes the `run` in progress return.
function lunawire.stop() end
---Hands queued output to the system now.
function lunawire.flush() end
---One pollable descriptor for everything the loop waits on; nil on the plain poll backend.
---@return integer?
function lunawire.fd() end
---The time until `step` has work: 0 while anything is queued, nil: none.
---@return number?
function lunawire.timeout() end
---Calls fn while a foreign descriptor is ready.
---@param fd integer|file*
---@param mode "r"|"w"
---@param fn fun(handle: lunawire.Handle)
---@return lunawire.Handle
function lunawire.watch(fd, mode, fn) end
---Runs fn in the loop when the signal arrives; nil restores what was before.
---@param name "INT"|"TERM"|"HUP"|string
---@param fn? function
function lunawire.onsignal(name, fn) end
---A heartbeat on any WebSocket, client or server side; it begins when the socket is open and ends with it.
---Raises TypeError for options that are wrong.
---@param ws lunawire.WebSocket
---@param options? lunawire.HeartbeatOptions
---@return lunawire.Heartbeat
function lunawire.heartbeat(ws, options) end
---The object that a caller's mistake raises, for layers of one's own.
---@param name string
---@param message string
---@return lunawire.Error
function lunawire.Error(name, message) end
---The bytes of the message `send` would make; raises what send raises.
---@param data string
---@param options? "binary"|{ binary?: boolean }
---@return integer
function lunawire.messageSize(data, options) end
---A number in [0, 1) from the system's random source; `math.random` and its seed are left alone.
---@return number
function lunawire.random() end
---n random bytes, at most 65536.
---@param n integer
---@return string
function lunawire.randomBytes(n) end
---Monotonic milliseconds.
---@return number
function lunawire.now() end

-- Delivery that survives the line: `require "lunawire.reliable"`, docs/reliable.md -----------------------------------

---@class lunawire.reliable
---@field protocol string the subprotocol both ends must agree on: `"lunawire.reliable.1"`
local reliable = {}
---A link over a socket that asks for `reliable.protocol`: a WebSocket for one connection, or a ReconnectingWebSocket.
---@param ws lunawire.WebSocket
---@param options? lunawire.ReliableClientOptions
---@return lunawire.ReliableLink
function reliable.client(ws, options) end
---The sessions of a server whose `protocols` have `reliable.protocol`.
---@param server lunawire.WebSocketServer
---@param options? lunawire.ReliableServerOptions
---@return lunawire.ReliableServer
function reliable.server(server, options) end

---@class lunawire.ReliableClientOptions
---@field greeting? string|fun(): string text with each hello
---@field session? string 16 to 64 of A-Z a-z 0-9 _ -; 128 random bits
---@field maxQueuedMessages? integer 1000
---@field maxQueuedBytes? integer 16 MiB
---@field maxMessageSize? integer 1 MiB - 32
---@field maxAge? number milliseconds until a message is given up; none
---@field helloTimeout? number 10000

---@class lunawire.Receipt
---@field number integer changes at most once, at the first `ready`
---@field acknowledged boolean
---@field error? { name: "TimeoutError"|"AbortError"|"NetworkError", message: string }
---@field ondone? fun(receipt: lunawire.Receipt)

---@class lunawire.ReadyEvent: lunawire.Event
---@field target lunawire.ReliableLink
---@field continued boolean false: what the server had sent before is unknown to it

---@class lunawire.NumberedEvent: lunawire.Event
---@field data string
---@field binary boolean
---@field number integer

---@class lunawire.ReliableLink
---@field unacknowledged integer
---@field bufferedAmount integer bytes of these
---@field session string
---@field connected boolean the hellos of this line are exchanged
---@field onready? fun(event: lunawire.ReadyEvent)
---@field onmessage? fun(event: lunawire.NumberedEvent)
---@field onnote? fun(event: { target: lunawire.ReliableLink, data: string, binary: boolean })
---@field onlost? fun(event: { target: lunawire.ReliableLink, code: integer, reason: string })
---@field ondrain? fun(event: lunawire.Event) nothing is unacknowledged any more
---@field onerror? fun(event: { target: lunawire.ReliableLink, code: "protocol"|"taken"|"tooBig", message: string })
---@field onclose? fun(event: lunawire.CloseEvent) nobody comes back
local ReliableLink = {}
---Keeps a message until it is acknowledged, with or without a line. Raises QuotaExceededError for what does not fit,
---InvalidStateError once closed.
---@param data string
---@param options? "binary"|{ binary?: boolean }
---@param fn? fun(receipt: lunawire.Receipt)
---@return lunawire.Receipt
function ReliableLink:send(data, options, fn) end
---Lost if the line is.
---@param data string
---@param options? "binary"|{ binary?: boolean }
---@return boolean sent
function ReliableLink:note(data, options) end
---Ends the session; the socket closes for good.
---@param code? integer
---@param reason? string
function ReliableLink:close(code, reason) end
---@param type "ready"|"message"|"note"|"lost"|"drain"|"error"|"close"
---@param fn fun(event: table)
---@param options? { once?: boolean, capture?: boolean }
function ReliableLink:addEventListener(type, fn, options) end
---@param type string
---@param fn fun(event: table)
---@param options? { capture?: boolean }
function ReliableLink:removeEventListener(type, fn, options) end

---@class lunawire.ReliableServerOptions
---@field restore? fun(session: string): integer? the number of its last message in a journal
---@field sessionTimeout? number 60000 milliseconds away
---@field helloTimeout? number 10000
---@field maxQueuedBytes? integer 1 MiB for each session
---@field maxQueuedMessages? integer 10000
---@field maxDeferred? integer 10000
---@field maxSessions? integer 10000

---@class lunawire.SessionEvent: lunawire.Event
---@field session lunawire.ReliableSession
---@field greeting string
---@field request lunawire.Request
---@field continued boolean

---@class lunawire.SessionMessageEvent: lunawire.NumberedEvent
---@field session lunawire.ReliableSession
---@field defer fun(event: lunawire.SessionMessageEvent) `session:acknowledge(number)` will say when it is taken for good

---@class lunawire.ReliableHandlers
---@field onresume? fun(event: lunawire.SessionEvent)
---@field onmessage? fun(event: lunawire.SessionMessageEvent)
---@field onnote? fun(event: { session: lunawire.ReliableSession, data: string, binary: boolean })
---@field onaway? fun(event: { session: lunawire.ReliableSession, code: integer, reason: string })
---@field onend? fun(event: { session: lunawire.ReliableSession, reason: "closed"|"expired"|"overflow"|"server" })

---@class lunawire.ReliableServer: lunawire.ReliableHandlers
---@field count integer sessions, present and away
---@field onsession? fun(event: lunawire.SessionEvent)
---@field onerror? fun(event: { session?: lunawire.ReliableSession, code: string, message: string })
local ReliableServer = {}
---The sessions; safe against closing on the way.
---@return fun(): lunawire.ReliableSession?
function ReliableServer:each() end
---@param type "session"|"resume"|"message"|"note"|"away"|"end"|"error"
---@param fn fun(event: table)
---@param options? { once?: boolean, capture?: boolean }
function ReliableServer:addEventListener(type, fn, options) end
---@param type string
---@param fn fun(event: table)
---@param options? { capture?: boolean }
function ReliableServer:removeEventListener(type, fn, options) end

---Its handlers come before the server's.
---@class lunawire.ReliableSession: lunawire.ReliableHandlers
---@field id string
---@field socket? lunawire.WebSocket nil while away
---@field request lunawire.Request of its last line
---@field received integer the number of the last message taken
---@field unacknowledged integer
---@field bufferedAmount integer bytes of these
---@field ended? "closed"|"expired"|"overflow"|"server"
local ReliableSession = {}
---Keeps a message until it is acknowledged, here or away. Raises QuotaExceededError for one over `maxQueuedBytes`.
---@param data string
---@param options? "binary"|{ binary?: boolean }
---@return boolean kept false: the session has ended
function ReliableSession:send(data, options) end
---Lost if the line is.
---@param data string
---@param options? "binary"|{ binary?: boolean }
---@return boolean sent
function ReliableSession:note(data, options) end
---Those deferred up to this number are taken for good.
---@param number integer
function ReliableSession:acknowledge(number) end
---Ends the session; the client does not come back.
---@param code? integer
---@param reason? string
function ReliableSession:close(code, reason) end
---@param type "resume"|"message"|"note"|"away"|"end"
---@param fn fun(event: table)
---@param options? { once?: boolean, capture?: boolean }
function ReliableSession:addEventListener(type, fn, options) end
---@param type string
---@param fn fun(event: table)
---@param options? { capture?: boolean }
function ReliableSession:removeEventListener(type, fn, options) end

return lunawire
