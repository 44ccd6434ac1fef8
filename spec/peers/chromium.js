// chromium.js -- Chromium as a peer: a client that plays one scenario per request, with nothing but the
// page's own WebSocket. `node chromium.js PORT`, where PORT is the spec's (control.js).
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { home, launch } = require("./browser");
const control = require("./control");

const texts = JSON.parse(fs.readFileSync(path.join(__dirname, "texts.json"), "utf8"));

// --- in the page --------------------------------------------------------------------------------------

// Everything below `inPage` runs in the page, which has payload.js as well.
function inPage() {
  const encoder = new TextEncoder();

  const bytesOf = (data) => (typeof data === "string" ? encoder.encode(data) : new Uint8Array(data));
  const kindOf = (data) => (typeof data === "string" ? "text" : "binary");
  const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

  function judge(data, due) {
    if (kindOf(data) !== due.kind) throw new Error(`${kindOf(data)} came, ${due.kind} was due`);
    const bytes = bytesOf(data);
    if (!same(bytes, due.bytes)) throw new Error(`${bytes.length} bytes of ${due.kind} came, not as they were sent`);
  }

  function send(ws, { kind, bytes }) {
    ws.send(kind === "text" ? text(bytes) : bytes);
  }

  // Connects; resolves once open. next() resolves to the next message's data.
  function connect(url, protocols) {
    const ws = new WebSocket(url, protocols || []);
    ws.binaryType = "arraybuffer";
    const line = { ws, messages: [], wanted: null };
    line.ended = new Promise((resolve) => {
      ws.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
    });
    ws.onmessage = ({ data }) => {
      line.messages.push(data);
      if (line.wanted) line.wanted();
    };
    line.next = async () => {
      while (line.messages.length === 0) {
        await new Promise((resolve, reject) => {
          line.wanted = resolve;
          line.ended.then(({ code, reason }) => reject(new Error(`closed, ${code} ${reason}, while a message was due`)));
        });
      }
      return line.messages.shift();
    };
    line.expect = async (due) => judge(await line.next(), due);
    line.close = (code, reason) => {
      if (code === undefined) ws.close();
      else ws.close(code, reason);
      return line.ended;
    };
    return new Promise((resolve, reject) => {
      ws.onopen = () => resolve(line);
      ws.onerror = () => reject(new Error("an error event"));
    });
  }

  // The browser makes many at once wait for each other, so they are asked for a few at a time.
  async function connectMany(url, count) {
    const lines = [];
    while (lines.length < count) {
      const few = Math.min(8, count - lines.length);
      lines.push(...await Promise.all(Array.from({ length: few }, () => connect(url))));
    }
    return lines;
  }

  window.scenarios = {
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
    async texts({ url, texts }) {
      const line = await connect(url + "texts");
      for (const each of texts) line.ws.send(each);
      for (const each of texts) await line.expect({ kind: "text", bytes: encoder.encode(each) });
      return line.close(1000);
    },
    async ping({ url }) { // the browser pings nobody, and answers by itself
      const line = await connect(url + "ping");
      const heard = await line.next();
      await line.close(1000);
      return { heard };
    },
    async headers({ url, protocols }) {
      const line = await connect(url + "headers", protocols);
      const said = { protocol: line.ws.protocol, request: JSON.parse(await line.next()) };
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
      const lines = await connectMany(url + "echo", count);
      lines.forEach((line, i) => send(line.ws, message(i)));
      for (const [i, line] of lines.entries()) await line.expect(message(i));
      const endings = await Promise.all(lines.map((line) => line.close(1000)));
      return { open: lines.length, clean: endings.filter(({ wasClean }) => wasClean).length };
    },
    async refused({ url, target }) {
      try {
        await connect(url + target);
      } catch (problem) {
        return { message: problem.message };
      }
      return { opened: true };
    },
    async gather({ url, target, count }) {
      const lines = await connectMany(url + target, count);
      lines.forEach((line) => line.ws.send("ready"));
      const endings = await Promise.all(lines.map((line) => line.ended));
      return lines.map((line, i) => ({
        ...endings[i],
        heard: line.messages.map((data) => ({ kind: kindOf(data), hex: hexOf(bytesOf(data)) })),
      }));
    },
    // Sends the messages of one file, hears as many as are in another (see deflate_ws.js), and closes. What came is
    // told by its SHA-256.
    async exchange({ url, up, count }) {
      const all = new Uint8Array(await (await fetch("/file" + up)).arrayBuffer());
      const view = new DataView(all.buffer);
      const line = await connect(url);
      for (let at = 0; at < all.length;) {
        const end = at + 5 + view.getUint32(at + 1);
        send(line.ws, { kind: all[at] === 98 ? "binary" : "text", bytes: all.subarray(at + 5, end) });
        at = end;
      }
      const parts = [];
      let size = 0;
      for (let i = 0; i < count; i += 1) {
        const data = await line.next();
        const bytes = bytesOf(data);
        const head = new DataView(new ArrayBuffer(5));
        head.setUint8(0, kindOf(data) === "binary" ? 98 : 116);
        head.setUint32(1, bytes.length);
        parts.push(head.buffer, bytes);
        size += bytes.length;
      }
      const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer()));
      return { extensions: line.ws.extensions, count, bytes: size, sha256: hexOf(sha256), ...await line.close(1000) };
    },
    // Follows a script, and tells in words what was heard: see spec/interop_browser_spec.lua.
    script({ url, protocols, steps }) {
      const log = [];
      return new Promise((resolve) => {
        let ws;
        const say = (...words) => log.push(words.join(" "));
        const actions = {
          send: (rest) => ws.send(rest),
          bytes: (rest) => ws.send(new Uint8Array(Number(rest))),
          close: (rest) => {
            const [, code, reason] = /^(\d*) ?(.*)$/.exec(rest);
            if (code === "") ws.close();
            else ws.close(Number(code), reason);
          },
          url: () => say(ws.url),
          look: () => say("state", ws.readyState, "buffered", ws.bufferedAmount),
        };
        const play = (when) => (steps[when] || []).forEach((step) => {
          const [, action, rest] = /^(\S+) ?(.*)$/.exec(step);
          try {
            actions[action](rest);
          } catch (problem) {
            say(step.slice(0, 20) + ":", problem.name);
          }
        });
        try {
          ws = new WebSocket(url, protocols);
        } catch (problem) {
          resolve(["new: " + problem.name]);
          return;
        }
        ws.binaryType = "arraybuffer";
        ws.onopen = () => {
          say("open", ws.readyState, `protocol "${ws.protocol}" extensions "${ws.extensions}"`);
          play("open");
        };
        ws.onmessage = ({ data }) => {
          const bytes = bytesOf(data);
          say(kindOf(data), bytes.length > 20 ? bytes.length + " bytes" : typeof data === "string" ? data : hexOf(bytes));
          play("message");
        };
        ws.onerror = () => {
          say("error", ws.readyState);
          play("error");
        };
        ws.onclose = ({ code, reason, wasClean }) => {
          say("close", ws.readyState, code, `"${reason}"`, wasClean ? "clean" : "unclean");
          play("close");
          setTimeout(() => resolve(log), 20); // whatever came after the last event would be heard
        };
        play("now");
      });
    },
  };
}

// --- the browser ----------------------------------------------------------------------------------------

let running; // {server, browser, page}, once it was asked for

async function start() {
  const { server, browser } = await launch();
  return { server, browser, page: await open(browser, await home()) };
}

async function open(browser, url) {
  const page = await browser.newPage();
  await page.goto(url);
  await page.addScriptTag({ path: path.join(__dirname, "payload.js") });
  await page.evaluate(inPage);
  return page;
}

function chrome() {
  running = running || start();
  return running;
}

async function end() {
  if (running) await (await running).server.close();
}

async function play(scenario, given, url) {
  const { browser, page } = await chrome();
  const where = url ? await open(browser, url) : page;
  try {
    return await where.evaluate(([name, values]) => window.scenarios[name](values), [scenario, given]);
  } finally {
    if (url) await where.close();
  }
}

const abilities = {
  // The page of this address is left for another while it has a connection to `url`.
  async leave({ url }) {
    const { browser } = await chrome();
    const page = await open(browser, await home());
    await page.evaluate((to) => new Promise((resolve) => { new WebSocket(to).onopen = resolve; }), url + "idle");
    await page.goto("about:blank");
    await page.close();
  },
  // The same as `check` from a page of another address.
  checkFrom({ page, ...given }) {
    return play("check", given, page);
  },
  refusedFrom({ page, ...given }) {
    return play("refused", given, page);
  },
  texts({ url }) {
    return play("texts", { url, texts });
  },
  async start() {
    const { browser } = await chrome();
    return browser.version();
  },
  // Ends all of the browser's processes at once.
  async kill() {
    const { server } = await chrome();
    const gone = new Promise((resolve) => server.on("close", resolve));
    running = undefined;
    process.kill(-server.process().pid, "SIGKILL");
    await gone;
  },
};
for (const name of ["check", "sequence", "ping", "headers", "close", "closed", "cross", "many", "refused", "gather", "script", "exchange"]) {
  abilities[name] = (given) => play(name, given);
}

control(Number(process.argv[2]), abilities, end);
