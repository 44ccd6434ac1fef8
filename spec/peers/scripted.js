// scripted.js -- a server of raw bytes that plays the script of a scenario (spec/scenarios.lua), chosen by the URL's
// path, and writes down what it received. `node scripted.js PORT`, where PORT is the spec's (control.js). It knows how
// a frame is written and nothing else of WebSocket: what is wrong in a script goes out as it stands.
"use strict";

const crypto = require("node:crypto");
const net = require("node:net");
const control = require("./control");
const { words } = require("./scenario_words");

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, 1.3
const KINDS = { 0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong" };
const OPCODES = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

const bytesOf = (hex) => Buffer.from(hex.replace(/\s/g, ""), "hex");

// An unmasked frame with FIN.
function frame(opcode, payload) {
  const n = payload.length;
  const header = Buffer.alloc(n < 126 ? 2 : n < 65536 ? 4 : 10);
  header[0] = 128 + opcode;
  header[1] = n < 126 ? n : n < 65536 ? 126 : 127;
  if (n >= 65536) header.writeBigUInt64BE(BigInt(n), 2);
  else if (n >= 126) header.writeUInt16BE(n, 2);
  return Buffer.concat([header, payload]);
}

function closing(code, reason) {
  const body = Buffer.alloc(code === undefined ? 0 : 2);
  if (code !== undefined) body.writeUInt16BE(code);
  return frame(OPCODES.close, Buffer.concat([body, Buffer.from(reason || "")]));
}

// --- what came -------------------------------------------------------------------------------------------

class Connection {
  constructor(socket) {
    this.socket = socket;
    this.bytes = Buffer.alloc(0);
    this.log = [];      // what was received, in words
    this.frames = [];   // received and not awaited yet: {kind, payload}
    this.parts = null;  // of a fragmented message
    this.ended = false; // the client's half
    this.wake = () => {};
    this.script = null; // what it is met with: see abilities.script
    this.over = new Promise((resolve) => { socket.on("close", resolve); });
    socket.on("data", (bytes) => {
      this.bytes = Buffer.concat([this.bytes, bytes]);
      if (this.request) this.parse();
      this.wake();
    });
    socket.on("end", () => this.end());
    socket.on("error", () => this.end()); // a reset is an end as well: which of both it is hangs on what lay unread
  }

  end() {
    if (!this.ended) this.log.push("end");
    this.ended = true;
    this.wake();
  }

  // Waits until try() gives something; undefined when the client's end came before.
  async until(attempt) {
    for (;;) {
      const result = attempt();
      if (result !== undefined || this.ended) return result;
      await new Promise((resolve) => { this.wake = resolve; });
    }
  }

  async head() {
    const text = await this.until(() => {
      if (this.bytes.length > 0 && this.bytes[0] !== 0x47) return null; // no GET: a hello of TLS
      const end = this.bytes.indexOf("\r\n\r\n");
      if (end < 0) return undefined;
      const head = this.bytes.toString("latin1", 0, end);
      this.bytes = this.bytes.subarray(end + 4);
      return head;
    });
    if (!text) return false;
    const [line, ...fields] = text.split("\r\n");
    this.request = { line, path: line.split(" ")[1], fields: {} };
    for (const field of fields) {
      const [, name, value] = /^([^:]*): *(.*)$/.exec(field);
      this.request.fields[name.toLowerCase()] = value;
    }
    return true;
  }

  note({ kind, payload, masked }) {
    const text = kind !== "close" ? words(kind, payload)
      : payload.length < 2 ? "close" : `close ${payload.readUInt16BE()} "${payload.toString("utf8", 2)}"`;
    this.log.push(masked ? text : text + " UNMASKED");
    this.frames.push({ kind, payload });
  }

  // Takes whole frames from what came; fragments become one message.
  parse() {
    for (;;) {
      const { bytes } = this;
      if (bytes.length < 2) return;
      const short = bytes[1] & 127;
      let at = short < 126 ? 2 : short === 126 ? 4 : 10;
      const masked = bytes[1] > 127;
      if (bytes.length < at + (masked ? 4 : 0)) return;
      const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
      const key = masked ? bytes.subarray(at, at + 4) : Buffer.alloc(4);
      if (masked) at += 4;
      if (bytes.length < at + length) return;
      const payload = Buffer.from(bytes.subarray(at, at + length));
      for (let i = 0; i < length; i += 1) payload[i] ^= key[i & 3];
      this.bytes = bytes.subarray(at + length);
      this.take(bytes[0] > 127, KINDS[bytes[0] & 15] || "opcode " + (bytes[0] & 15), payload, masked);
    }
  }

  take(fin, kind, payload, masked) {
    if (kind !== "continuation" && fin) return this.note({ kind, payload, masked });
    if (kind !== "continuation") this.parts = { kind, list: [] };
    this.parts.list.push(payload);
    if (!fin) return undefined;
    return this.note({ kind: this.parts.kind, payload: Buffer.concat(this.parts.list), masked });
  }

  // Waits for a frame of this kind, passing over others; undefined at the end.
  frame(kind) {
    return this.until(() => {
      while (this.frames.length > 0) {
        const next = this.frames.shift();
        if (next.kind === kind || kind === "any") return next;
      }
      return undefined;
    });
  }

  // --- what is done -----------------------------------------------------------------------------------------

  send(bytes) {
    if (this.socket.writable) this.socket.write(bytes);
  }

  async play(steps) {
    for (const [name, ...rest] of steps) {
      if (await this[`do_${name}`](...rest) === false) return;
    }
  }

  // The 101, with further fields; "" takes one away. `start` is its first line, `end` of each line.
  do_switch(more = {}, start = "HTTP/1.1 101 Switching Protocols", end = "\r\n") {
    const key = this.request.fields["sec-websocket-key"];
    const fields = {
      Upgrade: "websocket", Connection: "Upgrade",
      "Sec-WebSocket-Accept": crypto.createHash("sha1").update(key + GUID).digest("base64"), ...more,
    };
    const lines = Object.entries(fields).filter(([, value]) => value !== "").map(([name, value]) => `${name}: ${value}`);
    this.send(Buffer.from([start, ...lines, "", ""].join(end), "latin1"));
  }
  do_say(text) { this.send(Buffer.from(text, "latin1")); }
  do_bytes(hex) { this.send(bytesOf(hex)); }
  do_text(text) { this.send(frame(OPCODES.text, Buffer.from(text))); }
  do_binary(hex) { this.send(frame(OPCODES.binary, bytesOf(hex))); }
  do_ping(text) { this.send(frame(OPCODES.ping, Buffer.from(text))); }
  do_close(code, reason) { this.send(closing(code, reason)); }
  // A message of n bytes that repeat the alphabet, or all bytes there are.
  do_long(kind, n) {
    const bytes = Buffer.alloc(n);
    for (let i = 0; i < n; i += 1) bytes[i] = kind === "text" ? 97 + (i % 26) : i % 256;
    this.send(frame(OPCODES[kind], bytes));
  }
  async do_await(kind) { return (await this.frame(kind)) !== undefined; }
  // The first connection to a path waits so long for a second, and tells whether it came.
  async do_meet(ms) {
    if (this.script.connections[0] !== this) return;
    for (let i = 0; i < ms / 5 && this.script.connections.length < 2; i += 1) await this.do_sleep(5);
    this.log.push(this.script.connections.length < 2 ? "alone" : "not alone");
  }
  // Tells how it was asked, by these header fields.
  do_fields(...names) {
    for (const name of names) this.log.push(`${name}: ${this.request.fields[name] || "none"}`);
  }
  do_target() { this.log.push(`asked for ${this.request.path}`); }
  // Sends back what comes, and answers a Close.
  async do_echo() {
    for (;;) {
      const got = await this.frame("any");
      if (!got) return false;
      if (got.kind === "close") return this.answer(got);
      if (OPCODES[got.kind] < 8) this.send(frame(OPCODES[got.kind], got.payload));
    }
  }
  answer({ payload }) {
    this.send(frame(OPCODES.close, payload));
    this.socket.end();
    return false;
  }
  async do_answer() {
    const close = await this.frame("close");
    return close ? this.answer(close) : false;
  }
  do_end() { this.socket.end(); }
  do_reset() { this.socket.resetAndDestroy(); }
  do_sleep(ms) { return new Promise((resolve) => { setTimeout(resolve, ms); }); }
}

// --- the server ------------------------------------------------------------------------------------------

const scripts = new Map(); // path -> {steps, connections}

async function serve(socket) {
  const connection = new Connection(socket);
  if (!await connection.head()) return socket.destroy();
  const { path, fields } = connection.request;
  const script = scripts.get(path.replace(/\?.*$/, ""));
  if (!script) return socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  connection.script = script;
  script.connections.push(connection);
  const offered = fields["sec-websocket-protocol"];
  connection.log.push(offered === undefined ? "request" : `request ${offered}`);
  connection.parse(); // what came along
  await connection.play(script.steps);
  await connection.until(() => undefined); // the client's end
  return socket.end();
}

const abilities = {
  listen() {
    const server = net.createServer({ allowHalfOpen: true }, serve);
    return new Promise((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve({ port: server.address().port }));
    });
  },
  // What connections to this path are met with from now on.
  script({ path, steps }) {
    scripts.set(path, { steps, connections: [] });
  },
  // What they sent, once they have ended: a list for each.
  async heard({ path }) {
    const { connections } = scripts.get(path);
    await Promise.all(connections.map((connection) => connection.over));
    return connections.map((connection) => connection.log);
  },
};

control(Number(process.argv[2]), abilities);
