// reliable.js -- the page's ReliableLink (examples/chat/public/reliable.js) under node, over the npm package ws.
// `node reliable.js PORT`, where PORT is the spec's (control.js).
"use strict";

// What every browser has, and node before version 19 keeps to itself.
globalThis.crypto ??= require("node:crypto").webcrypto;
const path = require("node:path");
const { WebSocket } = require("ws");
const control = require("./control");
const { ReliableLink } = require(path.join(__dirname, "../../examples/chat/public/reliable.js"));

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function make(url, options) {
  const link = new ReliableLink(() => new WebSocket(url, ReliableLink.protocol), { minDelay: 10, maxDelay: 100, ...options });
  link.said = { ready: [], lost: 0, errors: [] };
  link.onready = ({ continued }) => link.said.ready.push(continued);
  link.onlost = () => { link.said.lost += 1; };
  link.onerror = ({ code }) => link.said.errors.push(code);
  link.ended = new Promise((resolve) => { link.onclose = resolve; });
  return link;
}

const texted = ({ data, binary }) => (binary ? "binary " + Buffer.from(data).toString() : "text " + data);

control(Number(process.argv[2]), {
  // Sends `count` lines, waits until all are acknowledged.
  async talk({ url, count }) {
    const link = make(url);
    const heard = new Set();
    let doubles = 0;
    link.onmessage = ({ data }) => {
      if (heard.has(data)) doubles += 1;
      heard.add(data);
    };
    const order = [];
    const all = [];
    for (let i = 1; i <= count; i += 1) {
      all.push(link.send(`line ${i} \u{e4}\u{1f600}`).then((n) => order.push(n)));
      if (i % 5 === 0) await wait(2);
    }
    await Promise.all(all);
    link.close();
    await link.ended;
    return {
      acknowledged: order.length,
      inOrder: order.every((n, i) => n === i + 1),
      doubles,
      ready: link.said.ready.length,
      lost: link.said.lost,
    };
  },
  // Waits for `count` messages, and ends the session.
  async listen({ url, count }) {
    const heard = [];
    const link = make(url, { greeting: () => "seen " + heard.length });
    await new Promise((resolve) => {
      link.onmessage = (event) => {
        heard.push(texted(event));
        if (heard.length === count) resolve();
      };
    });
    await wait(20);
    link.close();
    await link.ended;
    return { heard, ready: link.said.ready };
  },
  async twice({ url }) {
    const first = make(url);
    const session = first.session;
    await new Promise((resolve) => { first.onready = resolve; });
    const second = make(url, { session });
    await new Promise((resolve) => { second.onready = resolve; });
    await first.ended;
    await wait(100); // nobody comes back
    const result = { first: first.said.errors, second: second.connected };
    second.close();
    await second.ended;
    return result;
  },
  async bounds({ url }) {
    const link = make(url, { maxQueuedMessages: 2, maxMessageSize: 10 });
    const name = (action) => { try { action(); } catch (error) { return error.name; } return "none"; };
    const one = link.send("one");
    const two = link.send(new Uint8Array([0, 255]));
    const result = { tooMany: name(() => link.send("three")), tooLarge: name(() => link.send("x".repeat(11))) };
    link.close();
    await one.catch(() => {});
    result.closed = await two.then(() => "acknowledged", (error) => error.name);
    await link.ended;
    return result;
  },
  async broken({ url }) {
    const link = make(url);
    await link.ended;
    await wait(50);
    return { errors: link.said.errors };
  },
});
