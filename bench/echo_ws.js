// echo_ws.js -- the same echo server on npm's ws: `echo_ws.js [CERTIFICATE | deflate | fresh]`. Prints its port.
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { WebSocketServer } = require("ws");

const zlibDeflateOptions = { level: 6, memLevel: 8 };
const deflate = {
  deflate: { threshold: 0, zlibDeflateOptions },
  fresh: { threshold: 0, zlibDeflateOptions, clientNoContextTakeover: true, serverNoContextTakeover: true },
};
const word = process.argv[2];
const pem = word && !deflate[word] && fs.readFileSync(word);
const listener = pem ? https.createServer({ cert: pem, key: pem }) : http.createServer();
const server = new WebSocketServer({ server: listener, perMessageDeflate: deflate[word] || false });

server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
listener.listen(0, "127.0.0.1", () => console.log(listener.address().port));
