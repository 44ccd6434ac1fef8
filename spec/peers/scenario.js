// scenario.js -- plays the client's part of scenarios (spec/scenarios.lua) in a page of Chromium, and tells in words what
// was heard. `node scenario.js PORT`, where PORT is the spec's (control.js). spec/peers/scenario.lua is its counterpart.
"use strict";

const path = require("node:path");
const control = require("./control");
const { home, launch } = require("./browser");

// Runs in the page, which has scenario_words.js as well.
function inPage() {
  "use strict"; // writing what is read-only throws

  const encoder = new TextEncoder();

  // Values that JSON has not.
  const odd = { "@NaN": NaN, "@undefined": undefined, "@null": null, "@true": true, "@surrogate": "\ud800" };
  const value = (given) => (Object.hasOwn(odd, given) ? odd[given] : given);
  const written = (given) => (given === null || given === undefined ? "nil" : typeof given === "string" ? `"${given}"` : String(given));
  const typeOf = (given) => (given === null || given === undefined ? "nil" : typeof given);
  const bytesOf = (hex) => Uint8Array.from(hex.match(/../g) || [], (digits) => parseInt(digits, 16));

  function long(kind, n) {
    const bytes = new Uint8Array(n);
    for (let i = 0; i < n; i += 1) bytes[i] = kind === "text" ? 97 + (i % 26) : i % 256;
    return kind === "text" ? new TextDecoder().decode(bytes) : bytes;
  }

  class Player {
    constructor(scenario) {
      this.scenario = scenario;
      this.log = [];
      this.reading = [];   // promises of Blobs that are being read
      this.functions = {}; // by name
      this.calls = {};     // so often each of them was called
    }

    say(text) { this.log.push(text); }

    // An event in words.
    tell(event) {
      const ws = event.target;
      if (event.type === "open") return this.say(`open ${ws.readyState} "${ws.protocol}"`);
      if (event.type === "error") return this.say(`error ${ws.readyState}`);
      if (event.type === "close") {
        return this.say(`close ${ws.readyState} ${event.code} "${event.reason}" ${event.wasClean ? "clean" : "unclean"}`);
      }
      const { data } = event;
      if (typeof data === "string") return this.say(`message ${words("text", encoder.encode(data))}`);
      return this.sayBytes(this.scenario.kinds ? `message ${data.constructor.name}` : "message", data);
    }

    // What is in an ArrayBuffer or a Blob.
    sayBytes(what, data) {
      if (data instanceof ArrayBuffer) return this.say(`${what} ${words("binary", new Uint8Array(data))}`);
      return this.sayLater(data.arrayBuffer().then((buffer) => `${what} ${words("binary", new Uint8Array(buffer))}`));
    }

    // What a promise will say, in the place where it was asked.
    sayLater(promise) {
      const at = this.log.push("") - 1;
      this.reading.push(promise.then((text) => { this.log[at] = text; }));
    }

    // The function of this name: it tells of its call and does what the scenario has under its name.
    named(name) {
      this.functions[name] = this.functions[name] || ((event) => {
        this.calls[name] = (this.calls[name] || 0) + 1;
        this.say(`${name} hears ${event.type}`);
        this.play(this.scenario[name], event, this.calls[name]);
      });
      return this.functions[name];
    }

    play(actions, event, call) {
      for (const [name, ...rest] of actions || []) {
        if (name === "raise") throw new Error(rest[0]);
        if (name === "nth") {
          if (call === rest[0]) this.play(rest.slice(1), event, call);
          continue;
        }
        try {
          this[`do_${name}`](event, ...rest.map(value));
        } catch (problem) {
          const given = rest.map((each) => (typeof each === "object" || each.length > 20 ? "…" : each));
          this.say(`${name}(${given.map(String).join(", ")}): ${problem.name}`);
        }
      }
    }

    do_send(_, data) { this.ws.send(data); }
    do_bytes(_, hex) { this.ws.send(bytesOf(hex).buffer); }
    do_blob(_, ...parts) { this.ws.send(new Blob(parts)); }
    do_mixture(_, text, hex) { this.ws.send(new Blob([text, bytesOf(hex).buffer, new Blob([text])])); }
    do_longBlob(_, n) { this.ws.send(new Blob([long("binary", n)])); }
    do_slice(event, ...given) { this.sayBytes(`slice(${given.join(", ")}) is`, event.data.slice(...given)); }
    do_data(event, name) { this.say(`data.${name} is ${written(event.data[name])}`); }
    do_blobText(_, hex) { this.sayLater(new Blob([bytesOf(hex)]).text().then((text) => `text() is ${written(text)}`)); }
    do_blobType(_, type) { this.say(`type is ${written(new Blob(["x"], { type }).type)}`); }
    do_buffer(_, given) { this.say(`byteLength is ${new ArrayBuffer(given).byteLength}`); }
    do_long(_, kind, n) { this.ws.send(long(kind, n)); }
    do_close(_, ...given) { this.ws.close(...given); }
    do_look() { this.say(`look ${this.ws.readyState} buffered ${this.ws.bufferedAmount}`); }
    do_get(_, name) { this.say(`${name} is ${written(this.ws[name])}`); }
    do_put(_, name, what) { this.ws[name] = what; }
    do_type(_, name) { this.say(`${name} is a ${typeOf(this.ws[name])}`); }
    do_event(event, name) { this.say(`event.${name} is ${written(event[name])}`); }
    do_eventType(event, name) { this.say(`event.${name} is a ${typeOf(event[name])}`); }
    do_target(event) { this.say(event.target === this.ws ? "the target is the socket" : "the target is another"); }
    do_stop(event) { event.stopImmediatePropagation(); }
    do_set(_, handler, name) { this.ws[handler] = this.named(name); }
    do_unset(_, handler) { this.ws[handler] = null; }
    do_listen(_, type, name, options) { this.ws.addEventListener(type, this.named(name), options); }
    do_listenObject(_, type) { this.ws.addEventListener(type, { handleEvent: () => this.say(`handleEvent hears ${type}`) }); }
    do_unlisten(_, type, name, options) { this.ws.removeEventListener(type, this.named(name), options); }
    do_returned(_, text) { this.say(`send returned ${written(this.ws.send(text))}`); }
    // A further socket to the same path, closed once it is open; `beside` tells nothing of it.
    do_again(_, query) {
      const ws = this.do_beside(_, query);
      ws.addEventListener("open", () => this.say("again open"));
      ws.addEventListener("close", ({ code }) => this.say(`again closed ${code}`));
    }
    do_beside(_, query) {
      const ws = new WebSocket(this.scenario.url + query);
      ws.onopen = () => ws.close();
      return ws;
    }
    do_listenNothing(_, type) { this.ws.addEventListener(type, null); }

    run() {
      const { scenario } = this;
      window.onerror = (_message, _source, _line, _column, problem) => {
        this.say(`reported ${problem.message}`);
        return true;
      };
      try {
        this.ws = scenario.protocols === undefined ? new WebSocket(value(scenario.url))
          : new WebSocket(value(scenario.url), value(scenario.protocols));
      } catch (problem) {
        return [`new: ${problem.name}`];
      }
      if (!scenario.kinds) this.ws.binaryType = "arraybuffer";
      return new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error("no close; heard: " + this.log.join(", "))), 15000);
        for (const type of ["open", "message", "error", "close"]) {
          const heard = (event) => {
            this.calls[type] = (this.calls[type] || 0) + 1;
            this.tell(event);
            this.play(scenario[type], event, this.calls[type]);
          };
          if (!scenario.bare) this.ws[`on${type}`] = heard;
        }
        this.ws.addEventListener("close", () => {
          clearTimeout(late);
          // What comes after the last event would be heard.
          setTimeout(async () => { await Promise.all(this.reading); resolve(this.log); }, scenario.linger || 20);
        }, { capture: true });
        this.play(scenario.now);
      });
    }
  }

  window.playScenario = (scenario) => new Player(scenario).run();
}

let running; // {server, page}, once it was asked for

async function start() {
  const { server, browser } = await launch();
  const page = await browser.newPage();
  await page.goto(await home());
  await page.addScriptTag({ path: path.join(__dirname, "scenario_words.js") });
  await page.evaluate(inPage);
  return { server, version: browser.version(), page };
}

function chrome() {
  running = running || start();
  return running;
}

const abilities = {
  async start() { return (await chrome()).version; },
  async play({ scenario }) {
    const { page } = await chrome();
    return page.evaluate((given) => window.playScenario(given), scenario);
  },
};

control(Number(process.argv[2]), abilities, async () => {
  if (running) await (await running).server.close();
});
