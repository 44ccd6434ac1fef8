// deflate_ws.js -- the npm package ws as a peer with whom messages are exchanged compressed. `node deflate_ws.js PORT`,
// where PORT is the spec's (control.js). Messages lie in files: a letter ("t" or "b"), a length (4 bytes,
// big-endian), and as many bytes each; so the SHA-256 of what came, written the same way, is to be the file's.
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { WebSocket, WebSocketServer } = require("ws");
const control = require("./control");

// --- messages -----------------------------------------------------------------------------------------

const files = {}; // what was read, by name

function messages(name) {
  if (files[name]) return files[name];
  const all = fs.readFileSync(name);
  const list = [];
  for (let at = 0; at < all.length;) {
    const n = all.readUInt32BE(at + 1);
    list.push({ binary: all[at] === 98, bytes: all.subarray(at + 5, at + 5 + n) });
    at += 5 + n;
  }
  files[name] = list;
  return list;
}

// --- both sides -----------------------------------------------------------------------------------------

// Every message of the file; a seventh of them as they are, some in fragments.
function sendAll(ws, name) {
  messages(name).forEach(({ binary, bytes }, i) => {
    const options = { binary, compress: i % 7 !== 3 };
    if (i % 50 === 49) {
      const middle = bytes.length >> 1;
      ws.send(bytes.subarray(0, middle), { ...options, fin: false });
      ws.send(bytes.subarray(middle), { ...options, fin: true });
    } else {
      ws.send(bytes, options);
    }
  });
}

// How a side compresses: "12", "15 fresh".
function way(params, side) {
  return (params[side + "_max_window_bits"] || 15) + (params[side + "_no_context_takeover"] ? " fresh" : "");
}

// Resolves at the connection's end to what came and how it ended. `enough()` is called when all of `count` are here.
function hear(ws, count, enough) {
  const hash = crypto.createHash("sha256");
  const said = { count: 0, bytes: 0 };
  const { params } = ws._extensions["permessage-deflate"] || {};
  if (params) Object.assign(said, { client: way(params, "client"), server: way(params, "server") });
  ws.on("message", (data, binary) => {
    const head = Buffer.from([binary ? 98 : 116, 0, 0, 0, 0]);
    head.writeUInt32BE(data.length, 1);
    hash.update(head).update(data);
    said.count += 1;
    said.bytes += data.length;
    if (said.count === count && enough) enough();
  });
  ws.on("error", (problem) => { said.error = problem.message; });
  const socket = ws._socket;
  return new Promise((resolve) => {
    ws.on("close", (code) => {
      resolve({ ...said, sha256: hash.digest("hex"), code, received: socket.bytesRead, sent: socket.bytesWritten });
    });
  });
}

// --- a server -------------------------------------------------------------------------------------------

const heard = {}; // by port

// Every client is sent the messages of `down`.
function listen({ deflate, down, cert, key }) {
  const listener = cert ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }) : http.createServer();
  const server = new WebSocketServer({ server: listener, perMessageDeflate: deflate });
  return new Promise((resolve) => listener.listen(0, "127.0.0.1", () => {
    const { port } = listener.address();
    heard[port] = new Promise((over) => {
      server.on("connection", (ws) => {
        hear(ws).then(over);
        sendAll(ws, down);
      });
    });
    heard[port].then(() => listener.close());
    resolve({ port });
  }));
}

// --- a client -------------------------------------------------------------------------------------------

// Comes, sends the messages of `up`, hears as many as are in `down`, and closes.
function visit({ url, deflate, up, down, ca }) {
  const ws = new WebSocket(url, { perMessageDeflate: deflate, ca: ca && fs.readFileSync(ca) });
  return new Promise((resolve) => {
    ws.on("error", (problem) => resolve({ refused: problem.message }));
    ws.on("open", () => {
      hear(ws, messages(down).length, () => ws.close(1000)).then(resolve);
      sendAll(ws, up);
    });
  });
}

control(Number(process.argv[2]), { listen, visit, heard: ({ port }) => heard[port] });
