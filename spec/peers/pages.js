// pages.js -- Node's own http server, as most sites have one in front of `ws`: pages that refuse, answers that send
// elsewhere, and at their end a WebSocket that tells with which headers it was asked. `node pages.js PORT`, where PORT
// is the spec's (control.js).
"use strict";

const http = require("node:http");
const { WebSocketServer } = require("ws");
const control = require("./control");

const servers = [];

// /302?to=URL, /500 (a page in chunks), /403 (one with a length); anything else is a WebSocket.
function listen() {
  const sockets = new WebSocketServer({ noServer: true });
  const server = http.createServer((request, response) => response.writeHead(426).end());
  server.on("upgrade", (request, socket, head) => {
    const { pathname, searchParams } = new URL(request.url, "ws://spec");
    const status = Number(pathname.slice(1));
    if (!status) {
      sockets.handleUpgrade(request, socket, head, (ws) => ws.send(JSON.stringify({ url: request.url, headers: request.headers })));
      return;
    }
    const response = new http.ServerResponse(request);
    response.assignSocket(socket);
    response.shouldKeepAlive = false;
    response.on("finish", () => socket.end());
    response.statusCode = status;
    if (status < 400) response.writeHead(status, { Location: searchParams.get("to"), "Content-Length": 0 });
    else if (status === 500) response.write("<h1>we are "); // in chunks: its length is not known yet
    else response.writeHead(status, { "Content-Length": 10 });
    response.end(status < 400 ? "" : "sorry</h1>");
  });
  servers.push(server);
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve({ port: server.address().port }));
  });
}

control(process.argv[2], { listen });
