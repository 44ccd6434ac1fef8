// control.js -- how a spec asks a peer written in JavaScript for something: lines of JSON over TCP,
// {id, ask, ...arguments} in and {id, result} or {id, failure} out. See spec/foreign.lua.
"use strict";

const net = require("node:net");
const readline = require("node:readline");

// Connects to the spec and answers with abilities[ask](arguments). When the spec says no more, end() tidies
// up, and the process ends.
module.exports = function control(port, abilities, end) {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.setNoDelay(true);
  socket.on("error", () => process.exit(1));
  socket.on("end", async () => {
    if (end) await end();
    process.exit(0);
  });
  readline.createInterface({ input: socket }).on("line", async (line) => {
    const { id, ask, ...rest } = JSON.parse(line);
    try {
      const result = await abilities[ask](rest);
      socket.write(JSON.stringify({ id, result: result === undefined ? true : result }) + "\n");
    } catch (problem) {
      socket.write(JSON.stringify({ id, failure: String((problem && problem.stack) || problem) }) + "\n");
    }
  });
};
