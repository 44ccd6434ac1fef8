// ws.js -- the npm package ws as a peer: a server with one behaviour per path, and a client that plays
// one scenario per request. `node ws.js PORT`, where PORT is the spec's (control.js).
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const path = require("node:path");
const { WebSocket, WebSocketServer } = require("ws");
const control = require("./control");
const { payload, message, same } = require("./payload");
const texts = require(path.join(__dirname, "texts.json"));

const PIECE = 1000; // bytes of a fragment
const SPOKEN = ["chat.v2", "chat.v1"];

// --- both sides -------------------------------------------------------------------------------------

// What ends a connection, as the browser's event has it.
function ending(ws) {
  return new Promise((resolve) => {
    ws.addEventListener("close", ({ code, reason, wasClean }) => resolve({ code, reason, wasClean }));
  });
}

function kindOf(binary) {
  return binary ? "binary" : "text";
}

function judge(bytes, kind, expected) {
  if (expected.kind !== kind) throw new Error(`${kind} came, ${expected.kind} was due`);
  if (!same(bytes, expected.bytes)) throw new Error(`${bytes.length} bytes of ${kind} came, not as they were sent`);
}

function send(ws, { kind, bytes }) {
  ws.send(bytes, { binary: kind === "binary" });
}

// One message in fragments; the second is empty, and characters are cut.
function sendPieces(ws, { kind, bytes }) {
  const options = { binary: kind === "binary" };
  ws.send(bytes.subarray(0, PIECE), { ...options, fin: false });
  ws.send(bytes.subarray(0, 0), { ...options, fin: false });
  for (let at = PIECE; at < bytes.length; at += PIECE) ws.send(bytes.subarray(at, at + PIECE), { ...options, fin: false });
  ws.send(bytes.subarray(0, 0), { ...options, fin: true });
}

// Data frames received on a socket since the last call, counted from the raw bytes.
function frameCounter(socket) {
  let chunks = [];
  socket.prependListener("data", (chunk) => chunks.push(chunk)); // before ws takes it
  return () => {
    const bytes = Buffer.concat(chunks);
    let count = 0;
    for (let at = 0; at < bytes.length;) {
      const small = bytes[at + 1] & 127;
      const more = small === 126 ? 2 : small === 127 ? 8 : 0;
      const length = more ? Number(BigInt("0x" + bytes.toString("hex", at + 2, at + 2 + more))) : small;
      if ((bytes[at] & 15) < 8) count += 1;
      at += 2 + more + (bytes[at + 1] & 128 ? 4 : 0) + length;
    }
    chunks = [];
    return count;
  };
}

// --- a server -----------------------------------------------------------------------------------------

const endings = new Map(); // id of a connection -> promise of its ending
const waiting = new Map(); // id -> who asked before it connected

// Answers each message; one that is not as it should be ends the connection with 4400 and says why.
function answer(ws, reply) {
  ws.on("message", (data, binary) => {
    try {
      reply(data, kindOf(binary));
    } catch (problem) {
      ws.close(4400, problem.message);
    }
  });
}

const behaviours = {
  echo(ws) {
    ws.on("message", (data, binary) => ws.send(data, { binary }));
  },
  check(ws) {
    answer(ws, (data, kind) => {
      const due = { kind, bytes: payload(kind, data.length) };
      judge(data, kind, due);
      send(ws, due);
    });
  },
  sequence(ws) {
    let i = 0;
    answer(ws, (data, kind) => {
      judge(data, kind, message(i));
      send(ws, message(i));
      i += 1;
    });
  },
  texts(ws) {
    let i = 0;
    answer(ws, (data, kind) => {
      judge(data, kind, { kind: "text", bytes: Buffer.from(texts[i]) });
      ws.send(texts[i]);
      i += 1;
    });
  },
  fragments(ws, request) {
    const count = frameCounter(request.socket);
    answer(ws, (data, kind) => {
      const due = { kind, bytes: payload(kind, data.length) };
      judge(data, kind, due);
      ws.send(String(count()));
      sendPieces(ws, due);
    });
  },
  ping(ws) {
    ws.ping("from the server");
    ws.on("ping", (data) => ws.send("pinged " + data));
    ws.on("pong", (data) => ws.send("ponged " + data));
  },
  headers(ws, request) {
    ws.send(JSON.stringify(request.headers));
  },
  close(ws, request, query) {
    ws.close(query.has("code") ? Number(query.get("code")) : undefined, query.get("reason") || undefined);
  },
  cross(ws) {
    ws.close(4001, "the server's");
  },
  idle() {},
};

// Over TLS when there is a certificate: the name of a file, like its key's.
function listen({ cert, key }) {
  const listener = cert
    ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) })
    : http.createServer();
  const server = new WebSocketServer({
    server: listener,
    perMessageDeflate: true,
    handleProtocols: (offered) => SPOKEN.find((each) => offered.has(each)) || false,
    verifyClient: ({ req }, answer) => {
      const status = Number((/^\/(4\d\d)/.exec(req.url) || [])[1]);
      if (status) answer(false, status, "not you: " + status, { "WWW-Authenticate": "Basic realm=\"spec\"" });
      else answer(true);
    },
  });
  server.on("connection", (ws, request) => {
    const { pathname, searchParams } = new URL(request.url, "ws://spec");
    const id = searchParams.get("id");
    endings.set(id, ending(ws));
    if (waiting.has(id)) waiting.get(id)();
    ws.on("error", () => {});
    behaviours[pathname.slice(1)](ws, request, searchParams);
  });
  return new Promise((resolve) => listener.listen(0, "127.0.0.1", () => resolve({ port: listener.address().port })));
}

// --- a client -------------------------------------------------------------------------------------------

// Connects; resolves once open. next() resolves to the next message as {kind, bytes}.
function connect(url, protocols, options) {
  const ws = new WebSocket(url, protocols, options);
  const line = { ws, ended: ending(ws), messages: [], wanted: null };
  ws.on("upgrade", (response) => {
    line.headers = response.headers;
    line.socket = response.socket;
  });
  line.pinged = new Promise((resolve) => ws.on("ping", (data) => resolve(String(data))));
  ws.on("message", (data, binary) => {
    line.messages.push({ kind: kindOf(binary), bytes: data });
    if (line.wanted) line.wanted();
  });
  line.next = async () => {
    while (line.messages.length === 0) {
      await new Promise((resolve, reject) => {
        line.wanted = resolve;
        line.ended.then(({ code, reason }) => reject(new Error(`closed, ${code} ${reason}, while a message was due`)));
      });
    }
    return line.messages.shift();
  };
  line.expect = async (due) => {
    const { kind, bytes } = await line.next();
    judge(bytes, kind, due);
  };
  line.close = (code, reason) => {
    ws.close(code, reason);
    return line.ended;
  };
  return new Promise((resolve, reject) => {
    ws.on("open", () => resolve(line));
    ws.on("error", reject);
  });
}

const scenarios = {
  async check({ url, sizes }) {
    const line = await connect(url + "check");
    for (const kind of ["text", "binary"]) {
      for (const n of sizes) {
        const due = { kind, bytes: payload(kind, n) };
        send(line.ws, due);
        await line.expect(due);
      }
    }
    return { extensions: line.ws.extensions, ...await line.close(1000) };
  },
  async sequence({ url, count }) {
    const line = await connect(url + "sequence");
    for (let i = 0; i < count; i += 1) send(line.ws, message(i));
    for (let i = 0; i < count; i += 1) await line.expect(message(i));
    return line.close(1000);
  },
  async texts({ url }) {
    const line = await connect(url + "texts");
    for (const each of texts) line.ws.send(each);
    for (const each of texts) await line.expect({ kind: "text", bytes: Buffer.from(each) });
    return line.close(1000);
  },
  async fragments({ url, size }) {
    const line = await connect(url + "fragments");
    const count = frameCounter(line.socket);
    const frames = {};
    for (const kind of ["text", "binary"]) {
      const due = { kind, bytes: payload(kind, size) };
      sendPieces(line.ws, due);
      await line.expect(due);
      frames[kind] = count();
    }
    await line.close(1000);
    return frames;
  },
  async ping({ url }) {
    const line = await connect(url + "ping");
    const ponged = new Promise((resolve) => line.ws.on("pong", (data) => resolve(String(data))));
    line.ws.ping("from the client");
    const said = { pinged: await line.pinged, ponged: await ponged, heard: String((await line.next()).bytes) };
    await line.close(1000);
    return said;
  },
  async headers({ url, headers, protocols }) {
    const line = await connect(url + "headers", protocols, { headers, origin: "http://elsewhere.example" });
    const said = {
      protocol: line.ws.protocol,
      request: JSON.parse((await line.next()).bytes),
      response: line.headers,
    };
    await line.close(1000);
    return said;
  },
  async close({ url, code, reason }) {
    const line = await connect(url + "idle");
    return line.close(code, reason);
  },
  async closed({ url, target }) {
    const line = await connect(url + target);
    return line.ended;
  },
  async cross({ url }) {
    const line = await connect(url + "cross");
    line.ws.send("cross");
    return line.close(4002, "the client's");
  },
  async many({ url, count }) {
    const lines = await Promise.all(Array.from({ length: count }, () => connect(url + "echo")));
    lines.forEach((line, i) => send(line.ws, message(i)));
    for (const [i, line] of lines.entries()) await line.expect(message(i));
    const endings = await Promise.all(lines.map((line) => line.close(1000)));
    return { open: lines.length, clean: endings.filter(({ wasClean }) => wasClean).length };
  },
  async refused({ url, target, protocols, origin }) {
    const ws = new WebSocket(url + target, protocols, { origin });
    const problem = new Promise((resolve) => ws.on("error", (error) => resolve({ message: error.message })));
    const answer = new Promise((resolve) => ws.on("unexpected-response", async (request, response) => {
      let body = "";
      for await (const chunk of response) body += chunk;
      resolve({ status: response.statusCode, headers: response.headers, body });
    }));
    const opened = new Promise((resolve) => ws.on("open", () => resolve({ opened: true })));
    return Promise.race([problem, answer, opened]);
  },
  // Stays on `count` lines until the server ends them; tells what each heard, in hexadecimal.
  async gather({ url, target, count }) {
    const lines = await Promise.all(Array.from({ length: count }, () => connect(url + target)));
    lines.forEach((line) => line.ws.send("ready"));
    const endings = await Promise.all(lines.map((line) => line.ended));
    return lines.map((line, i) => ({
      ...endings[i],
      heard: line.messages.map(({ kind, bytes }) => ({ kind, hex: bytes.toString("hex") })),
    }));
  },
};

control(Number(process.argv[2]), {
  ...scenarios,
  listen,
  // How the connection with this id ended.
  async ending({ connection }) {
    if (!endings.has(connection)) await new Promise((resolve) => waiting.set(connection, resolve));
    return endings.get(connection);
  },
});
