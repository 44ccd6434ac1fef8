// echo_ws.js -- the same echo server on npm's ws: `echo_ws.js [CERTIFICATE]`. Prints its port.
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { WebSocketServer } = require("ws");

const pem = process.argv[2] && fs.readFileSync(process.argv[2]);
const listener = pem ? https.createServer({ cert: pem, key: pem }) : http.createServer();
const server = new WebSocketServer({ server: listener, perMessageDeflate: false });

server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
listener.listen(0, "127.0.0.1", () => console.log(listener.address().port));
