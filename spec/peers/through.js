// through.js -- a client of the npm package ws that comes through a proxy with TLS. `node through.js PORT`, where PORT
// is the spec's (control.js).
"use strict";

const fs = require("node:fs");
const https = require("node:https");
const { WebSocket } = require("ws");
const control = require("./control");

// Says hello, sends `size` bytes, pings, closes with 4001. What came of it; of a refusal, status and body.
function visit({ url, ca, origin, localAddress, headers, size }) {
  const ws = new WebSocket(url, { ca: fs.readFileSync(ca), origin, localAddress, headers, perMessageDeflate: false });
  const said = {};
  const big = Buffer.alloc(size || 1, 0xa5);
  return new Promise((resolve, reject) => {
    ws.on("error", reject);
    ws.on("unexpected-response", (request, response) => {
      let body = "";
      response.on("data", (piece) => { body += piece; });
      response.on("end", () => resolve({ status: response.statusCode, body }));
    });
    ws.on("open", () => ws.send("hello"));
    ws.on("message", (data, binary) => {
      if (!binary) {
        said.text = String(data);
        ws.send(big);
        return;
      }
      said.same = big.equals(data);
      ws.ping("p");
    });
    ws.on("pong", (data) => {
      said.pong = String(data);
      ws.close(4001, "bye");
    });
    ws.on("close", (code, reason) => resolve({ ...said, code, reason: String(reason) }));
  });
}

// A plain request.
function fetch({ url, ca }) {
  return new Promise((resolve, reject) => {
    https.get(url, { ca: fs.readFileSync(ca), agent: false }, (response) => {
      let body = "";
      response.on("data", (piece) => { body += piece; });
      response.on("end", () => resolve({ status: response.statusCode, body }));
    }).on("error", reject);
  });
}

control(process.argv[2], { visit, fetch });
