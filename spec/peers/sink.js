// A WebSocket end that keeps nothing: it says the length and the SHA-256 of each message it gets.
//   node sink.js listen [cert key]  prints "port N", then a line for each message
//   node sink.js connect URL [ca]   the other role
// Frames are read by hand: a message may be larger than any memory.
"use strict"
const crypto = require("crypto"), net = require("net"), tls = require("tls"), fs = require("fs")

function reader(socket, rest) {
  let pending = rest, left = 0, key = null, at = 0, opcode = 0, fin = true, hash = null, total = 0, fragments = 0
  function frame() {
    if (pending.length < 2) return false
    let length = pending[1] & 127, head = 2
    if (length === 126) head = 4
    if (length === 127) head = 10
    const masked = pending[1] > 127
    if (pending.length < head + (masked ? 4 : 0)) return false
    if (head === 4) length = pending.readUInt16BE(2)
    if (head === 10) length = Number(pending.readBigUInt64BE(2))
    opcode = pending[0] & 15
    fin = pending[0] > 127
    key = masked ? pending.subarray(head, head + 4) : null
    at = 0
    left = length
    pending = pending.subarray(head + (masked ? 4 : 0))
    if (opcode === 1 || opcode === 2) [hash, total, fragments] = [crypto.createHash("sha256"), 0, 0]
    if (opcode < 8) fragments++
    return true
  }
  function take() {
    const piece = pending.subarray(0, left)
    pending = pending.subarray(piece.length)
    left -= piece.length
    if (key) for (let i = 0; i < piece.length; i++) piece[i] ^= key[at++ & 3]
    if (opcode < 8) hash.update(piece), (total += piece.length)
    if (left > 0) return
    if (opcode < 8 && fin) console.log(`message ${total} ${hash.digest("hex")} ${fragments}`)
    if (opcode === 8) socket.end(Buffer.from(key ? [0x88, 0] : [0x88, 0x80, 0, 0, 0, 0]))
  }
  let inside = false
  function move() {
    for (;;) {
      if (!inside && !frame()) return
      inside = true
      if (left > 0 && pending.length === 0) return
      take()
      inside = left > 0
    }
  }
  move()
  socket.on("data", (data) => {
    pending = pending.length ? Buffer.concat([pending, data]) : data
    move()
  })
}

function upgraded(socket, then) {
  let head = Buffer.alloc(0)
  socket.on("data", function more(data) {
    head = Buffer.concat([head, data])
    const end = head.indexOf("\r\n\r\n")
    if (end < 0) return
    socket.removeListener("data", more)
    then(head.subarray(0, end).toString("latin1"), head.subarray(end + 4))
  })
}

const [mode, ...rest] = process.argv.slice(2)
if (mode === "listen") {
  const options = rest[0] ? { cert: fs.readFileSync(rest[0]), key: fs.readFileSync(rest[1]) } : {}
  const server = (rest[0] ? tls : net).createServer(options, (socket) => {
    socket.on("error", () => {})
    upgraded(socket, (head, rest) => {
      const key = /sec-websocket-key: (\S+)/i.exec(head)[1] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
      const accept = crypto.createHash("sha1").update(key).digest("base64")
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
      reader(socket, rest)
    })
    socket.on("close", () => server.close())
  })
  server.listen(0, "127.0.0.1", () => console.log("port " + server.address().port))
} else {
  const [url, ca] = rest
  const { hostname, port, protocol } = new URL(url)
  const options = { host: hostname, port }
  const socket = protocol === "wss:" ? tls.connect({ ...options, ca: fs.readFileSync(ca), servername: "localhost" }) : net.connect(options)
  socket.on("error", () => {})
  socket.write(`GET / HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`)
  upgraded(socket, (head, rest) => {
    if (!head.startsWith("HTTP/1.1 101")) throw new Error(head)
    console.log("open")
    reader(socket, rest)
  })
}
