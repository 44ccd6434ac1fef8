// reliable.js -- delivery that survives the line, the browser's end of it: messages are numbered, kept until the
// server has them, sent again after a reconnect, and taken once. The protocol is in docs/reliable.md.
//
//   const link = new ReliableLink(() => new WebSocket(url, ReliableLink.protocol));
//   link.onmessage = ({ data, number, binary }) => ...;
//   link.send("a line").then((number) => ..., (error) => ...);   // acknowledged, or given up
//
// Events, as on… properties: ready { continued }, message, note { data, binary }, lost { code, reason },
// waiting { delay }, drain, error { code, message }, close { code, reason }.
//
// A plain script for browsers, and a module for node.
"use strict";

const ReliableLink = (() => {

const PROTOCOL = "lunawire.reliable.1";
const MOST_HEADER = 256;         // bytes of a header line
const NUMBER = /^(0|[1-9]\d{0,15})$/;

// Codes after which the same would happen again.
const FINAL = {
  1009: ["tooBig", "the server takes no message of this size"],
  3000: ["protocol", "the server says we broke the protocol"],
  3001: ["taken", "another connection took this session over"],
};

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

class LinkError extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

function number(text, least) {
  const n = NUMBER.test(text || "") ? Number(text) : -1;
  return n >= least && Number.isSafeInteger(n) ? n : null;
}

function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A WebSocket message taken apart: { kind, words, data, binary }; null if it is none of this protocol.
function parse(data) {
  const binary = typeof data !== "string";
  const whole = binary ? new Uint8Array(data) : data;
  const stop = binary ? whole.indexOf(10) : whole.indexOf("\n");
  if (stop < 0 || stop > MOST_HEADER) return null;
  let header = whole.slice(0, stop);
  try { if (binary) header = decoder.decode(header); } catch { return null; }
  const [kind, ...words] = header.split(" ");
  const payload = binary ? data.slice(stop + 1) : whole.slice(stop + 1);
  const length = binary ? payload.byteLength : payload.length;
  const numbered = kind === "message" || kind === "ack" || kind === "skip";
  if (numbered && (words.length !== 1 || number(words[0], 1) === null)) return null;
  if ((kind === "note" || kind === "end") && words.length !== 0) return null;
  if (binary && kind !== "message" && kind !== "note") return null;
  if (length > 0 && (kind === "ack" || kind === "skip" || kind === "end")) return null;
  if (kind === "hello") {
    if (words.length !== 4 || !/^[A-Za-z0-9_-]{1,64}$/.test(words[1]) || words[1] === "-") return null;
    if (number(words[2], 0) === null || number(words[3], 1) === null) return null;
  } else if (!numbered && kind !== "note" && kind !== "end") {
    return null;
  }
  return { kind, words, number: numbered ? Number(words[0]) : 0, data: payload, binary };
}

function sizeOf(data) {
  return typeof data === "string" ? encoder.encode(data).length : data.byteLength;
}

// A header line in front of text, or of bytes.
function framed(header, data) {
  if (typeof data === "string") return header + data;
  const head = encoder.encode(header);
  const whole = new Uint8Array(head.length + data.byteLength);
  whole.set(head);
  whole.set(data, head.length);
  return whole;
}

class ReliableLink {
  static protocol = PROTOCOL;

  #connect;
  #options;
  #socket = null;
  #timer = 0;              // of the next attempt, or the hello that is due
  #attempt = 0;
  #epoch = "-";
  #received = 0;           // the last of theirs that was taken
  #ackDue = false;
  #queue = new Map();      // number -> { data, size, at, resolve, reject }: ours, until they are acknowledged
  #first = 1;              // the oldest in the queue, or #next
  #next = 1;
  #sent = 0;               // the last that went over this line
  #reached = 0;            // the last the server can know of
  #announced = 1;          // what our last hello said of #first
  #ageTimer = 0;
  #over = false;

  // `connect` makes a WebSocket that asks for ReliableLink.protocol, at each attempt.
  constructor(connect, options = {}) {
    this.#connect = connect;
    this.#options = {
      greeting: "", minDelay: 1000, maxDelay: 30000, helloTimeout: 10000,
      maxQueuedMessages: 1000, maxQueuedBytes: 16 << 20, maxMessageSize: (1 << 20) - 32, maxAge: Infinity, ...options,
    };
    this.session = options.session || randomName();
    this.connected = false;
    this.bufferedAmount = 0;
    // The first attempt comes after the handlers are set.
    this.#timer = setTimeout(() => this.#dial(), 0);
  }

  get unacknowledged() { return this.#next - this.#first; }

  // Text, an ArrayBuffer or a view of one. The promise gives the number once it is acknowledged.
  send(data) {
    const size = this.#check(data);
    const { maxQueuedMessages, maxQueuedBytes, maxMessageSize, maxAge } = this.#options;
    if (this.#over) throw new LinkError("InvalidStateError", "the link is closed");
    if (size > maxMessageSize) throw new LinkError("QuotaExceededError", `${size} bytes are more than ${maxMessageSize}`);
    if (this.unacknowledged >= maxQueuedMessages || this.bufferedAmount + size > maxQueuedBytes) {
      throw new LinkError("QuotaExceededError", `${this.unacknowledged} messages wait for their acknowledgement`);
    }
    const promise = new Promise((resolve, reject) => {
      this.#queue.set(this.#next, { data: this.#copy(data), size, at: Date.now(), resolve, reject });
    });
    promise.catch(() => {}); // who does not ask is not told
    this.#next += 1;
    this.bufferedAmount += size;
    if (maxAge < Infinity && !this.#ageTimer) this.#ageTimer = setTimeout(() => this.#expire(), maxAge);
    this.#write();
    return promise;
  }

  // Lost if the line is. True if it was handed to the socket.
  note(data) {
    this.#check(data);
    if (!this.#isOpen()) return false;
    this.#socket.send(framed("note\n", this.#copy(data)));
    return true;
  }

  // The session ends: the server forgets it.
  close(code = 1000, reason = "") {
    if (this.#over) return;
    if (this.#isOpen()) this.#socket.send("end\n");
    this.#finish("AbortError", "the link was closed before this was acknowledged", code, reason);
  }

  // Tries now, when the next attempt waits.
  reconnect() {
    if (!this.#over && !this.#socket) this.#dial();
  }

  #check(data) {
    if (typeof data === "string" || data instanceof ArrayBuffer || ArrayBuffer.isView(data)) return sizeOf(data);
    throw new TypeError("text, an ArrayBuffer or a view of one is expected");
  }

  #copy(data) {
    if (typeof data === "string") return data;
    if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  }

  #isOpen() { return this.connected && this.#socket.readyState === 1; }

  #tell(kind, fields = {}) {
    const handler = this["on" + kind];
    if (!handler) return;
    // What a handler throws is its own affair: reported, and nothing here is left half done.
    try { handler.call(this, { type: kind, target: this, ...fields }); }
    catch (error) { setTimeout(() => { throw error; }, 0); }
  }

  // The line -----------------------------------------------------------------------------------------------------

  #dial() {
    clearTimeout(this.#timer);
    const socket = this.#connect();
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = (event) => this.#heard(socket, event.data);
    socket.onclose = (event) => this.#lost(socket, event.code, event.reason);
    socket.onerror = () => {};
    // One that neither opens nor answers in time is left alone, and the next attempt made.
    this.#timer = setTimeout(() => {
      socket.close(3002, "no hello in time");
      this.#lost(socket, 1006, "no hello in time");
    }, this.#options.helloTimeout);
  }

  #opened(socket) {
    if (socket !== this.#socket) return;
    const { greeting } = this.#options;
    this.#announced = this.#first;
    this.#reached = Math.max(this.#reached, this.#first - 1);
    this.#ackDue = false;
    const words = `hello ${this.session} ${this.#epoch} ${this.#received} ${this.#first}\n`;
    socket.send(words + (typeof greeting === "function" ? greeting(this) : greeting));
  }

  #lost(socket, code, reason) {
    if (socket !== this.#socket) return;
    clearTimeout(this.#timer);
    const was = this.connected;
    this.connected = false;
    this.#socket = null;
    if (was) {
      this.#attempt = 0;
      this.#tell("lost", { code, reason });
    }
    if (this.#over) return; // closed by the handler
    if (FINAL[code]) {
      this.#tell("error", { code: FINAL[code][0], message: FINAL[code][1] + (reason ? ": " + reason : "") });
      return this.#finish("NetworkError", FINAL[code][1], code, reason);
    }
    if (this.#socket) return; // reconnect() by the handler
    const { minDelay, maxDelay } = this.#options;
    const delay = Math.min(maxDelay, minDelay * 1.6 ** this.#attempt) * (0.5 + Math.random() / 2);
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.#dial(), delay);
    this.#tell("waiting", { delay });
  }

  #refuse(message) {
    this.#tell("error", { code: "protocol", message });
    this.#finish("NetworkError", "the server broke the protocol: " + message, 3000, message);
  }

  #finish(name, message, code, reason) {
    if (this.#over) return;
    const socket = this.#socket;
    this.#over = true;
    this.connected = false;
    this.#socket = null;
    clearTimeout(this.#timer);
    clearTimeout(this.#ageTimer);
    this.#settle(this.#forget(this.#next - 1), new LinkError(name, message));
    setTimeout(() => this.#tell("close", { code, reason }), 0);
    if (socket) socket.close(code === 1000 || code >= 3000 ? code : 1000, reason);
  }

  // Messages -----------------------------------------------------------------------------------------------------

  #heard(socket, data) {
    if (socket !== this.#socket || this.#over) return;
    const message = parse(data);
    if (!message) return this.#refuse("a message that is none of " + PROTOCOL);
    if (!this.connected) {
      if (message.kind !== "hello") return this.#refuse("a hello was due");
      return this.#meet(message.words);
    }
    switch (message.kind) {
      case "message": return this.#take(message);
      case "ack": return this.#acknowledged(message.number);
      case "skip": this.#received = Math.max(this.#received, message.number); return undefined;
      case "note": return this.#tell("note", { data: message.data, binary: message.binary });
      case "end": return this.#finish("NetworkError", "the server ended the session", 1000, "");
      default: return this.#refuse("a second hello");
    }
  }

  #meet([session, epoch, received, first]) {
    const told = Number(received);
    const continued = epoch === this.#epoch;
    if (session !== this.session) return this.#refuse("a hello for another session");
    if (told > this.#reached) {
      if (this.#epoch !== "-") return this.#refuse("a hello that acknowledges what was never sent");
      this.#renumber(told);
    }
    if (!continued) {
      this.#epoch = epoch;
      this.#received = 0;
    }
    this.#received = Math.max(this.#received, Number(first) - 1);
    const entries = this.#forget(told);
    this.#sent = Math.max(told, this.#announced - 1);
    this.connected = true;
    this.#attempt = 0;
    clearTimeout(this.#timer);
    this.#write();
    this.#tell("ready", { continued });
    this.#settle(entries);
  }

  // An earlier page of this session had numbers up to n: ours go behind them.
  #renumber(n) {
    const by = n - (this.#announced - 1);
    this.#queue = new Map(Array.from(this.#queue, ([key, entry]) => [key + by, entry]));
    this.#first += by;
    this.#next += by;
    this.#reached = n;
  }

  #take({ number: n, data, binary }) {
    if (n > this.#received + 1) return this.#refuse(`message ${n} after message ${this.#received}`);
    this.#acknowledgeLater();
    if (n <= this.#received) return undefined;
    this.#received = n;
    return this.#tell("message", { data, binary, number: n });
  }

  // One acknowledgement for all that come at once.
  #acknowledgeLater() {
    if (this.#ackDue) return;
    this.#ackDue = true;
    const socket = this.#socket;
    setTimeout(() => {
      if (socket !== this.#socket || !this.#ackDue) return;
      this.#ackDue = false;
      if (this.#isOpen()) socket.send(`ack ${this.#received}\n`);
    }, 0);
  }

  #acknowledged(n) {
    if (n > this.#reached) return this.#refuse("an ack of what was never sent");
    return this.#settle(this.#forget(n));
  }

  #write() {
    if (!this.#isOpen()) return;
    if (this.#sent + 1 < this.#first) {
      this.#sent = this.#first - 1;
      this.#reached = Math.max(this.#reached, this.#sent);
      this.#socket.send(`skip ${this.#sent}\n`);
    }
    while (this.#sent + 1 < this.#next) {
      this.#sent += 1;
      this.#reached = Math.max(this.#reached, this.#sent);
      this.#socket.send(framed(`message ${this.#sent}\n`, this.#queue.get(this.#sent).data));
    }
  }

  // Keeps those up to n no longer; returns them, with their numbers.
  #forget(n) {
    const gone = [];
    for (; this.#first <= n && this.#first < this.#next; this.#first += 1) {
      const entry = this.#queue.get(this.#first);
      this.#queue.delete(this.#first);
      this.bufferedAmount -= entry.size;
      gone.push([this.#first, entry]);
    }
    return gone;
  }

  #settle(entries, error) {
    for (const [n, entry] of entries) {
      if (error) entry.reject(error);
      else entry.resolve(n);
    }
    if (entries.length > 0 && !this.#over && this.unacknowledged === 0) this.#tell("drain");
  }

  #expire() {
    this.#ageTimer = 0;
    const { maxAge } = this.#options;
    let n = this.#first - 1;
    while (n + 1 < this.#next && this.#queue.get(n + 1).at + maxAge <= Date.now()) n += 1;
    const entries = this.#forget(n);
    this.#settle(entries, new LinkError("TimeoutError", `not acknowledged within ${maxAge} ms`));
    if (this.#over || this.unacknowledged === 0 || this.#ageTimer) return;
    const oldest = this.#queue.get(this.#first).at;
    this.#ageTimer = setTimeout(() => this.#expire(), Math.max(1, oldest + maxAge - Date.now()));
  }
}

return ReliableLink;

})();

if (typeof module === "object") module.exports = { ReliableLink };
