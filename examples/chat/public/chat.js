// chat.js -- the page of the chat room. The protocol is in ../README.md.
//
// Three parts, from the bottom up: Line keeps a session alive over one WebSocket after the other (reliable.js sees to it
// that nothing is lost or said twice), Log shows what was said, and the rest joins rooms and listens to the person. What others wrote reaches the page through textContent only, so it is never markup.
"use strict";

(() => {

const MAX_TEXT = 2000;           // characters the server takes in one message
const MAX_SHOWN = 500;           // entries kept on the page
const MAX_WAITING = 15;          // own messages that may wait for the line
const FOLLOWS = 5 * 60 * 1000;   // messages of one person this close together stand under one name
const TYPING_EVERY = 2500;       // we say "typing" at most this often ...
const TYPING_FOR = 4500;         // ... and believe it of others this long
const BEAT = 15000;              // how often the server is asked for a sign of life ...
const PATIENCE = 10000;          // ... and how long it may take for one
const NAME_HELD = 5000;          // how long the page as it was before may hold our name, when it was cut off

const $ = (id) => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const length = (text) => Array.from(text).length;  // in characters, as the server counts

// The line --------------------------------------------------------------------------------------------------------

// One session that comes back when its line is lost, until disconnect() is called. Its state is one of
//   offline     nobody wants it; only connect() ends this. `problem` says why, if nobody chose it
//   connecting  an attempt is under way
//   online      messages go and come. `onstate` is told whether the server has known us all the time
//   waiting     the line was lost; the next attempt is at `retryAt`
// What is sent while there is no line goes out when there is one.
class Line {
  constructor(url, session, { greeting, onstate, onmessage }) {
    this.url = url;
    this.session = session;
    this.greeting = greeting;
    this.onstate = onstate;
    this.onmessage = onmessage;
    this.state = "offline";
    this.problem = "";
    this.link = null;
    this.socket = null;
    this.attempt = 0;
    this.retryAt = 0;
    this.heardAt = 0;
    this.askedAt = 0;
    this.timer = 0;
  }

  connect() {
    if (this.link) return this.nudge();
    this.problem = "";
    this.attempt = 0;
    const link = new ReliableLink(() => this.#dial(), { greeting: this.greeting, session: this.session || undefined });
    this.link = link;
    this.session = link.session;
    link.onready = ({ continued }) => {
      this.attempt = 0;
      this.heardAt = performance.now();
      this.askedAt = 0;
      this.timer = setTimeout(() => this.#beat(), BEAT);
      this.#become("online", continued);
    };
    link.onmessage = link.onnote = ({ data }) => this.#heard(data);
    link.onlost = () => clearTimeout(this.timer);
    link.onwaiting = ({ delay }) => {
      this.attempt += 1;
      this.retryAt = Date.now() + delay;
      this.#become("waiting");
    };
    link.onerror = ({ code, message }) => {
      this.problem = code === "taken" ? "This conversation goes on in another window." : "The connection ended: " + message + ".";
    };
    link.onclose = () => {
      this.problem = this.problem || "The server has ended the connection.";
      this.#forget();
      this.#become("offline");
    };
    return this.#become("connecting");
  }

  disconnect() {
    const link = this.link;
    this.problem = "";
    this.#forget();
    if (link) link.close();
    this.#become("offline");
  }

  // A promise, kept once the server has the message for good; null if nobody wants a line.
  send(message) {
    return this.link ? this.link.send(JSON.stringify(message)) : null;
  }

  // What is worthless a moment later.
  note(message) {
    return Boolean(this.link) && this.link.note(JSON.stringify(message));
  }

  // The world may have changed (the network is back, the page is looked at again): find out now, not at the next beat.
  nudge() {
    if (this.state === "waiting") this.link.reconnect();
    else if (this.state === "online" && this.heardAt >= this.askedAt) this.#beat();
  }

  #become(state, continued) {
    this.state = state;
    this.onstate(state, continued);
  }

  #forget() {
    clearTimeout(this.timer);
    if (this.link) this.link.onclose = this.link.onlost = this.link.onwaiting = null;
    this.link = this.socket = null;
  }

  #dial() {
    this.socket = new WebSocket(this.url, ReliableLink.protocol);
    this.#become("connecting");
    return this.socket;
  }

  #heard(data) {
    this.heardAt = performance.now();
    let message;
    try { message = JSON.parse(data); } catch { return; }
    if (message && typeof message === "object") this.onmessage(message);
  }

  // Asks for a sign of life; without any the line is dead, whatever the browser believes.
  #beat() {
    clearTimeout(this.timer);
    this.askedAt = performance.now();
    this.note({ type: "ping" });
    this.timer = setTimeout(() => {
      if (this.heardAt < this.askedAt) return this.#drop();
      this.timer = setTimeout(() => this.#beat(), BEAT);
    }, PATIENCE);
  }

  // A dead line would take its time to close. It is told to, and nobody waits for its word.
  #drop() {
    const socket = this.socket;
    socket.close(4000, "no sign of life");
    socket.dispatchEvent(new CloseEvent("close", { code: 1006, reason: "no sign of life" }));
  }
}

// The log ---------------------------------------------------------------------------------------------------------

const clock = (time) => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function day(time) {
  const date = new Date(time), today = new Date(), yesterday = new Date();
  yesterday.setDate(today.getDate() - 1);
  if (date.toDateString() === today.toDateString()) return "Today";
  if (date.toDateString() === yesterday.toDateString()) return "Yesterday";
  return date.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}

// A colour of one's own, the same for everybody who sees the name.
function hue(name) {
  let sum = 7;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 3600;
  return sum % 360;
}

function initial(name) {
  if (window.Intl && Intl.Segmenter) {
    for (const { segment } of new Intl.Segmenter().segment(name)) return segment.toUpperCase();
  }
  return Array.from(name)[0].toUpperCase();
}

function avatar(name) {
  const element = make("span", "avatar", initial(name));
  element.style.setProperty("--hue", hue(name));
  element.setAttribute("aria-hidden", "true");
  return element;
}

// What is on the page of one room: messages in the order of `seq`, own ones still on their way always last.
class Log {
  constructor(element, onread) {
    this.element = element;
    this.onread = onread;
    this.unread = 0;
    this.clear();
    const settle = () => { if (this.stuck) this.toEnd(); };
    element.addEventListener("scroll", () => {
      this.stuck = this.atEnd();
      this.look();
    }, { passive: true });
    new ResizeObserver(settle).observe(element);
    for (const event of ["focus", "visibilitychange", "blur"]) {
      (event === "visibilitychange" ? document : window).addEventListener(event, () => this.look());
    }
  }

  clear() {
    this.element.replaceChildren();
    this.times = new Map();  // seq → time, of what is shown
    this.lastSeq = 0;
    this.lastTime = 0;
    this.pending = new Map();  // id → element
    this.divider = null;
    this.stuck = true;
    this.setUnread(0);
  }

  atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    return scrollHeight - scrollTop - clientHeight < 40;
  }

  toEnd() {
    this.element.scrollTop = this.element.scrollHeight;
    this.stuck = true;
    this.look();
  }

  isRead() {
    return document.visibilityState === "visible" && document.hasFocus() && this.stuck;
  }

  look() {
    if (this.isRead()) this.setUnread(0);
    this.onread(this.unread, this.stuck);
  }

  setUnread(count) {
    this.unread = count;
    this.onread(count, this.stuck);
  }

  // Puts an entry at its place: before own messages that are still on their way.
  insert(entry) {
    this.element.insertBefore(entry, this.pending.size ? this.pending.values().next().value : null);
    this.regroup(entry);
    this.regroup(entry.nextElementSibling);
    while (this.element.childElementCount > MAX_SHOWN) this.element.firstElementChild.remove();
    if (this.stuck) this.element.scrollTop = this.element.scrollHeight;
  }

  // A message right after one of the same person does without the name.
  regroup(entry) {
    if (!entry || !entry.classList.contains("message")) return;
    const before = entry.previousElementSibling;
    entry.classList.toggle("follows", Boolean(before) && before.classList.contains("message")
      && before.dataset.from === entry.dataset.from
      && Number(entry.dataset.time) - Number(before.dataset.time) < FOLLOWS);
  }

  rule(text, className) {
    const entry = make("p", "rule" + (className ? " " + className : ""));
    entry.append(make("span", "", text));
    this.insert(entry);
    return entry;
  }

  notice(name, text, time) {
    const entry = make("p", "notice");
    entry.append(make("bdi", "", name), " " + text + " ", make("time", "", clock(time)));
    this.insert(entry);
  }

  build(message, own) {
    const entry = make("div", "message" + (own ? " own" : ""));
    const bubble = make("div", "bubble");
    const head = make("p", "from");
    head.append(make("bdi", "", message.from), make("span", "sr", own ? " (you):" : ":"));
    head.style.setProperty("--hue", hue(message.from));
    const text = make("p", "text", message.text);
    text.dir = "auto";
    if (/^(\p{Extended_Pictographic}\p{Emoji_Modifier}?\uFE0F?(\u200D\p{Extended_Pictographic}\uFE0F?)*\s*){1,3}$/u
      .test(message.text)) text.classList.add("big");
    const time = make("time", "time");
    bubble.append(head, text, time);
    entry.append(avatar(message.from), bubble);
    entry.dataset.from = message.from;
    this.stamp(entry, message.time);
    return entry;
  }

  stamp(entry, time) {
    entry.dataset.time = time;
    const element = entry.querySelector("time");
    const date = new Date(time);
    element.dateTime = date.toISOString();
    element.title = date.toLocaleString();
    element.textContent = clock(time);
  }

  // What the server says was said; true if it is news.
  said(message, own, quiet) {
    if (this.times.has(message.seq)) return false;
    if (day(this.lastTime) !== day(message.time)) this.rule(day(message.time), "day");
    this.times.set(message.seq, message.time);
    if (this.times.size > 2 * MAX_SHOWN) this.times.delete(this.times.keys().next().value);
    this.lastTime = message.time;
    this.lastSeq = Math.max(this.lastSeq, message.seq);

    const waiting = own && message.id !== undefined && this.pending.get(message.id);
    if (waiting) {
      this.pending.delete(message.id);
      waiting.classList.remove("pending", "failed");
      waiting.querySelector(".fate")?.remove();
      waiting.dataset.seq = message.seq;
      this.stamp(waiting, message.time);
      // Usually it stands where it belongs, and moving it would make a screen reader read it again.
      const next = this.pending.size ? this.pending.values().next().value : null;
      const overtook = next && (next.compareDocumentPosition(waiting) & Node.DOCUMENT_POSITION_FOLLOWING);
      if (overtook) this.element.insertBefore(waiting, next);
      this.regroup(waiting);
      this.regroup(waiting.nextElementSibling);
      return true;
    }

    if (!own && !quiet && !this.isRead()) {
      if (this.unread === 0) {  // the first one since somebody looked
        this.divider?.remove();
        this.divider = this.rule("New", "new");
      }
      this.setUnread(this.unread + 1);
    }
    const entry = this.build(message, own);
    entry.dataset.seq = message.seq;
    this.insert(entry);
    return true;
  }

  // An own message that is on its way.
  sending(message) {
    const entry = this.build(message, true);
    entry.classList.add("pending");
    this.element.append(entry);
    this.pending.set(message.id, entry);
    this.regroup(entry);
    this.divider?.remove();
    this.divider = null;
    this.toEnd();
  }

  // An own message that was said, so long ago that the room does not tell it again.
  drop(id) {
    this.pending.get(id)?.remove();
    this.pending.delete(id);
  }

  // An own message the server would not take.
  failed(id, problem, again, drop) {
    const entry = this.pending.get(id);
    if (!entry) return;
    entry.classList.remove("pending");
    entry.classList.add("failed");
    entry.querySelector(".fate")?.remove();
    const fate = make("p", "fate");
    const reason = make("span", "", "Not sent: " + problem + ". ");
    reason.setAttribute("role", "alert");
    const retry = make("button", "link", "Try again"), discard = make("button", "link", "Discard");
    retry.type = discard.type = "button";
    retry.onclick = () => {
      fate.remove();
      entry.classList.replace("failed", "pending");
      again();
    };
    discard.onclick = () => {
      this.drop(id);
      drop();
    };
    fate.append(reason, retry, " ", discard);
    entry.querySelector(".bubble").append(fate);
    if (this.stuck) this.toEnd();
  }

  // What the room remembers. After a break it is joined to what is shown, by `seq`, so that nothing stands twice.
  // `isOwn(message)` tells whose it is.
  history(messages, isOwn) {
    const first = messages[0], last = messages[messages.length - 1];
    const restarted = this.lastSeq > 0 && (!last || last.seq < this.lastSeq
      || messages.some((message) => this.times.has(message.seq) && this.times.get(message.seq) !== message.time));
    const missed = !restarted && this.lastSeq > 0 && first && first.seq > this.lastSeq + 1;

    this.element.setAttribute("aria-busy", "true");
    const fresh = this.lastSeq === 0;
    if (restarted) {
      this.times.clear();
      this.lastSeq = 0;
      this.rule("The room has started anew");
    } else if (missed) {
      this.rule("Some messages in between are no longer remembered");
    }
    for (const message of messages) this.said(message, isOwn(message), fresh);
    setTimeout(() => this.element.removeAttribute("aria-busy"), 100);
    if (fresh) this.toEnd();
  }
}

// What is remembered between visits -------------------------------------------------------------------------------

// Of this tab: who we are, where, and whether the line was cut on purpose. Of this browser: the name, and rooms seen.
const memory = {
  read(store, key) {
    try { return JSON.parse(window[store].getItem("lunawire-chat-" + key)); } catch { return null; }
  },
  write(store, key, value) {
    try { window[store].setItem("lunawire-chat-" + key, JSON.stringify(value)); } catch { /* a private window */ }
  },
};

// The page --------------------------------------------------------------------------------------------------------

const chat = {
  want: null,         // { room, name }: where we want to be; null before the first time
  room: null,         // what the log shows
  name: null,
  seat: null,         // { room, name }: where the server has us, as far as we know
  seated: false,      // we are in a room, though the line may be down ...
  joining: false,     // ... or have asked for a place
  entering: false,    // the form at the door has been sent
  people: [],
  typing: new Map(),  // name → timer
  outbox: [],         // own messages not yet said: { id, text, room, time, sent, taken, failed }
  heldSince: 0,       // since when our name is taken by what seems to be the page as it was before
  joinTimer: 0,
  typedAt: 0,
};

const random = () => crypto.getRandomValues(new Uint32Array(2)).reduce((text, part) => text + part.toString(36), "");

// The ids of our messages start with what belongs to this tab, by which it knows its own again after a reload, go on
// with what belongs to this load of the page, and end in a number.
const tab = memory.read("sessionStorage", "tab") || random();
memory.write("sessionStorage", "tab", tab);
const load = random();
let counter = 0;

const isMine = (said) => said.from === chat.name && typeof said.id === "string" && said.id.startsWith(tab + "-");

const log = new Log($("log"), showUnread);

// The session belongs to this tab and outlives a reload. While the page is there it is not in the tab's memory, or a
// duplicate of the tab would take it over.
const line = new Line((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/",
  memory.read("sessionStorage", "session"), { greeting, onstate: lineIs, onmessage: hear });
memory.write("sessionStorage", "session", null);
window.addEventListener("pagehide", () => memory.write("sessionStorage", "session", line.session));
window.addEventListener("pageshow", () => memory.write("sessionStorage", "session", null));

function hashRoom() {
  try { return decodeURIComponent(location.hash.slice(1)).trim(); } catch { return ""; }
}

function setHash(room) {
  const hash = "#" + encodeURIComponent(room);
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

function remember() {
  memory.write("sessionStorage", "here", { ...chat.want, off: line.state === "offline" });
}

// Joining and leaving

function show(view) {
  document.body.dataset.view = view;
  $("door").hidden = view !== "door";
  $("hall").hidden = view !== "hall";
}

function showDoor(problem, field) {
  show("door");
  $("enter").textContent = "Join";
  $("door-error").textContent = problem || "";
  $("back").hidden = !chat.seated;
  chat.entering = false;
  for (const id of ["name", "room"]) $(id).toggleAttribute("aria-invalid", false);
  const input = $(field || ($("name").value ? "enter" : "name"));
  if (problem && field) input.setAttribute("aria-invalid", "true");
  input.focus();
  if (input.select) input.select();
}

function enter(name, room) {
  chat.want = { name, room };
  chat.entering = true;
  chat.heldSince = 0;
  remember();
  if (line.state === "online" || chat.seated) join();
  else line.connect();
  showLine();
}

function join() {
  clearTimeout(chat.joinTimer);
  chat.joining = true;
  line.send({ type: "join", room: chat.want.room, name: chat.want.name });
}

// What a line says of us when the server has forgotten us: where we were, and what we have seen.
function greeting() {
  const at = chat.seat || chat.want;
  const seen = at.room === chat.room;  // 0: before anybody spoke there
  return JSON.stringify({ type: "join", room: at.room, name: at.name, seq: seen ? log.lastSeq : undefined });
}

function moveTo(room) {
  $("go-error").textContent = "";
  if (!chat.want || room === chat.want.room) return;
  chat.want = { ...chat.want, room };
  remember();
  setHash(room);
  if (line.state === "online" || chat.seated) join();
  if (line.state !== "online") showRoom(room, true);
}

function welcome(message) {
  const moved = message.room !== chat.room;
  // While we were joining, another room may have been asked for; its welcome is still to come.
  const passing = message.room !== chat.want.room;
  chat.heldSince = 0;
  chat.seated = true;
  chat.joining = passing;
  chat.room = message.room;
  chat.name = message.you;
  chat.seat = { room: message.room, name: message.you };
  if (!passing) {
    chat.want = { room: message.room, name: message.you };
    setHash(message.room);
  }
  memory.write("localStorage", "name", message.you);
  remember();

  const entered = chat.entering;
  chat.entering = false;
  if (document.body.dataset.view === "hall" || entered) show("hall");
  if (moved) log.clear();
  showRoom(message.room, false);
  chat.people = message.people.slice();
  hushTyping();
  showPeople();
  log.history(message.history, isMine);
  settle(message.history);
  if (moved) {
    chat.outbox = chat.outbox.filter((own) => !own.failed);
    for (const own of chat.outbox) if (own.room === chat.room) log.sending({ ...own, from: chat.name });
  }
  flush();
  if (entered || moved) {
    closeMenu();
    if (document.body.dataset.view === "hall") $("text").focus();
  }
  showLine();
}

// Our messages that turn up in the history were said; so were those the server has taken, long ago. The line goes on
// sending the others.
function settle(messages) {
  const said = new Set(messages.filter(isMine).map((message) => message.id));
  for (const own of chat.outbox) if (own.taken) log.drop(own.id);
  chat.outbox = chat.outbox.filter((own) => !said.has(own.id) && !own.taken);
}

function flush() {
  if (!chat.seated || chat.joining) return;
  for (const own of chat.outbox) {
    if (own.sent || own.failed || own.room !== chat.room) continue;
    const promise = line.send({ type: "say", text: own.text, id: own.id });
    own.sent = Boolean(promise);
    if (promise) promise.then(() => { own.taken = own.sent; }, () => { own.sent = false; });
  }
}

function say(text) {
  const own = { id: tab + "-" + load + "-" + ++counter, text, room: chat.want.room, time: Date.now(), sent: false,
    taken: false, failed: false };
  chat.outbox.push(own);
  if (own.room === chat.room) log.sending({ ...own, from: chat.name });
  flush();
}

// What the server says

function hear(message) {
  // Before the welcome comes what an earlier page has left of the session; and a room we have turned our back on.
  const elsewhere = chat.room === null || !chat.seated;
  if (elsewhere && ["joined", "left", "typing"].includes(message.type)) return undefined;
  switch (message.type) {
    case "pong": return undefined;
    case "welcome": return welcome(message);
    case "said": {
      const own = message.from === chat.name;
      if (own && message.id !== undefined) chat.outbox = chat.outbox.filter((each) => each.id !== message.id);
      stopTyping(message.from);
      return elsewhere ? undefined : void log.said(message, own);
    }
    case "joined":
      if (!chat.people.includes(message.name)) chat.people.push(message.name);
      showPeople();
      return log.notice(message.name, "joined", Date.now());
    case "left":
      chat.people = chat.people.filter((name) => name !== message.name);
      stopTyping(message.name);
      showPeople();
      return log.notice(message.name, "left", Date.now());
    case "typing":
      clearTimeout(chat.typing.get(message.name));
      chat.typing.set(message.name, setTimeout(() => stopTyping(message.name), TYPING_FOR));
      return showTyping();
    case "error": return refused(message);
    default: return undefined;
  }
}

const joinErrors = {
  "name-taken": "name", "bad-name": "name", "bad-room": "room", "room-full": "room", "too-many-rooms": "room",
};

function refused({ code, message, id }) {
  const own = id !== undefined && chat.outbox.find((each) => each.id === id);
  if (own && code === "not-joined") {  // it goes again after the welcome
    own.sent = own.taken = false;
    return;
  }
  if (own && code === "slow-down") {
    own.sent = own.taken = false;
    return void setTimeout(flush, 1200);
  }
  if (own) {
    own.failed = true;
    return log.failed(id, message, () => {
      own.failed = own.sent = own.taken = false;
      flush();
    }, () => { chat.outbox = chat.outbox.filter((each) => each !== own); });
  }
  if (!chat.joining) return;
  if (code === "slow-down") {
    clearTimeout(chat.joinTimer);
    chat.joinTimer = setTimeout(join, 1200);
    return;
  }
  const field = joinErrors[code];
  if (!field) return;
  const text = code === "name-taken"
    ? "Somebody in # " + chat.want.room + " is called " + chat.want.name + " already."
    : message.charAt(0).toUpperCase() + message.slice(1) + ".";
  chat.joining = false;

  // A page that was cut off before it could hand its session on is known to the server for a while, and has our name.
  if (code === "name-taken" && !chat.seated && !chat.entering && chat.room === null && document.body.dataset.view === "hall") {
    chat.heldSince = chat.heldSince || Date.now();
    if (Date.now() - chat.heldSince < NAME_HELD) {
      chat.joinTimer = setTimeout(join, 2000);
      return showLine();
    }
  }
  chat.heldSince = 0;

  // A room we could not go to from the one we are in: we stay.
  if (chat.seated && !chat.entering) {
    chat.want = { room: chat.room, name: chat.name };
    remember();
    setHash(chat.room);
    $("go-error").textContent = text;
    openMenu();
    $("go-room").focus();
    return;
  }
  if (chat.seated) {
    $("name").value = chat.want.name;
    $("room").value = chat.want.room;
    chat.want = { room: chat.room, name: chat.name };
    remember();
    return showDoor(text, field);
  }
  $("name").value = chat.want.name;
  $("room").value = chat.want.room;
  showDoor(text, field);
}

// What the line says

function lineIs(state, continued) {
  clearTimeout(chat.joinTimer);
  if (state !== "online") hushTyping();
  if (state === "offline") {
    chat.seated = chat.joining = false;
    chat.seat = null;
  } else if (state === "online" && !continued) {  // the greeting has asked for our place
    chat.seated = false;
    chat.joining = true;
    chat.seat = null;
  }
  showLine();
}

let countdown = 0;

function showLine() {
  const { state } = line;
  const held = state === "online" && chat.heldSince > 0;
  const ready = state === "online" && chat.seated;
  $("line").textContent = ready ? "Connected" : state === "offline" ? "Disconnected"
    : state === "waiting" ? "Connection lost" : "Connecting…";
  document.body.dataset.line = held ? "waiting" : state === "online" && !ready ? "connecting" : state;

  // One of the two is there; whoever has just pressed it stays on a button.
  const off = state === "offline";
  const focused = document.activeElement === $("connect") || document.activeElement === $("disconnect");
  $("connect").hidden = !off;
  $("disconnect").hidden = off;
  if (focused) $(off ? "connect" : "disconnect").focus();

  const ended = off && line.problem;
  const lost = state === "waiting" || held || ended || (state === "connecting" && line.attempt > 0);
  $("banner").hidden = !lost;
  const text = !lost ? "" : held
    ? "The lost connection still holds the name " + chat.want.name + "; waiting for it to be let go."
    : ended || "The connection was lost.";
  if ($("banner-text").textContent !== text) $("banner-text").textContent = text;
  $("banner-act").textContent = held ? "Take another name" : ended ? "Connect" : "Try now";
  $("banner-act").disabled = state === "connecting";
  clearInterval(countdown);
  const count = () => {
    const seconds = Math.max(1, Math.ceil((line.retryAt - Date.now()) / 1000));
    $("banner-count").textContent = held || ended ? "" : line.state === "waiting"
      ? "Trying again in " + seconds + " s." : "Trying…";
  };
  count();
  if (state === "waiting") countdown = setInterval(count, 500);

  if (chat.entering) {
    const answer = state === "waiting" ? "The server does not answer; trying again." : "";
    if (state !== "connecting" && $("door-error").textContent !== answer) $("door-error").textContent = answer;
    $("enter").textContent = state === "waiting" ? "Try now" : "Joining…";
  }
  $("back").hidden = !chat.seated;

  $("send").disabled = off;
  $("text").placeholder = off ? "You are disconnected" : ready ? "Message # " + chat.room : "Will be sent when the line is back";
  hint();
}

// What is shown beside the log

function showRoom(room, waiting) {
  $("where").textContent = "# " + room;
  document.body.dataset.room = room;
  const rooms = memory.read("localStorage", "rooms");
  const seen = Array.isArray(rooms) ? rooms.filter((each) => typeof each === "string" && each) : [];
  if (!waiting && !seen.includes(room)) seen.unshift(room);
  const list = seen.slice(0, 12);
  if (!waiting) memory.write("localStorage", "rooms", list);
  if (!list.includes("lobby")) list.push("lobby");
  if (!list.includes(room)) list.unshift(room);
  list.sort((a, b) => a.localeCompare(b));
  $("rooms").replaceChildren(...list.map((each) => {
    const item = make("li"), link = make("a", "", each);
    link.href = "#" + encodeURIComponent(each);
    link.dir = "auto";
    if (each === room) link.setAttribute("aria-current", "page");
    item.append(link);
    return item;
  }));
  if (waiting) {
    log.clear();
    chat.room = null;
  }
  showUnread(log.unread, log.stuck);
}

function showPeople() {
  const others = chat.people.filter((name) => name !== chat.name).sort((a, b) => a.localeCompare(b));
  $("people").replaceChildren(...[chat.name, ...others].map((name) => {
    const item = make("li");
    item.append(avatar(name), make("bdi", "", name));
    if (name === chat.name) item.append(make("span", "you", "you"));
    return item;
  }));
  $("me").textContent = chat.name;
  $("count").textContent = chat.people.length === 1 ? "only you" : chat.people.length + " here";
}

function showTyping() {
  const names = [...chat.typing.keys()];
  const words = make("span");
  names.slice(0, 2).forEach((name, i) => {
    if (i) words.append(names.length > 2 ? ", " : " and ");
    words.append(make("bdi", "", name));
  });
  if (names.length > 2) words.append(" and others");
  words.append(names.length === 1 ? " is typing" : " are typing");
  const dots = make("span", "dots");
  dots.setAttribute("aria-hidden", "true");
  dots.append(make("i"), make("i"), make("i"));
  $("typing").replaceChildren(...(names.length ? [words, dots] : []));
}

function hushTyping() {
  for (const timer of chat.typing.values()) clearTimeout(timer);
  chat.typing.clear();
  showTyping();
}

function stopTyping(name) {
  clearTimeout(chat.typing.get(name));
  if (chat.typing.delete(name)) showTyping();
}

function showUnread(count, stuck) {
  const room = chat.room || hashRoom();
  document.title = (count ? "(" + count + ") " : "") + (room ? "# " + room + " – " : "") + "lunawire chat";
  $("latest").hidden = stuck;
  $("latest").textContent = count ? count + (count === 1 ? " new message" : " new messages") : "Latest messages";
}

function hint() {
  const left = MAX_TEXT - length($("text").value);
  const waiting = chat.outbox.filter((own) => !own.failed).length;
  $("compose-hint").textContent = left < 0 ? -left + " characters too many"
    : left <= 200 ? left + " characters left"
    : waiting >= MAX_WAITING ? "Enough is waiting to be sent; this one has to stay here for now." : "";
}

// What the person does

$("door-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim(), room = $("room").value.trim().replace(/^#\s*/, "");
  if (!name) return showDoor("Please enter a name.", "name");
  if (!room) return showDoor("Please enter a room.", "room");
  $("door-error").textContent = "";
  enter(name, room);
});

function fit() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = text.scrollHeight + 2 + "px";
}

$("text").addEventListener("input", () => {
  const text = $("text");
  if (/[\n\r\t]/.test(text.value)) {  // a message is one line
    const at = text.selectionStart;
    text.value = text.value.replace(/\r\n|[\n\r\t]/g, " ");
    text.setSelectionRange(at, at);
  }
  fit();
  hint();
  const now = Date.now();
  if (text.value.trim() && chat.seated && now - chat.typedAt > TYPING_EVERY) {
    chat.typedAt = now;
    line.note({ type: "typing" });
  }
});

$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("compose").requestSubmit();
});

$("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  const waiting = chat.outbox.filter((own) => !own.failed).length;
  if (!text || !chat.room || line.state === "offline" || waiting >= MAX_WAITING || length(text) > MAX_TEXT) return hint();
  $("text").value = "";
  chat.typedAt = 0;
  fit();
  hint();
  say(text);
  $("text").focus();
});

$("connect").addEventListener("click", () => {
  line.connect();
  remember();
});

$("disconnect").addEventListener("click", () => {
  chat.heldSince = 0;
  line.disconnect();
  remember();
});

$("banner-act").addEventListener("click", () => {
  if (!chat.heldSince) return line.connect();
  clearTimeout(chat.joinTimer);
  chat.heldSince = 0;
  $("name").value = chat.want.name;
  $("room").value = chat.want.room;
  showLine();
  showDoor("", "name");
});

$("rename").addEventListener("click", () => {
  $("name").value = chat.want.name;
  $("room").value = chat.want.room;
  showDoor("", "name");
});

$("back").addEventListener("click", () => {
  show("hall");
  $("text").focus();
});

$("go").addEventListener("submit", (event) => {
  event.preventDefault();
  const room = $("go-room").value.trim().replace(/^#\s*/, "");
  if (!room) return;
  $("go-room").value = "";
  location.hash = encodeURIComponent(room);
});

$("latest").addEventListener("click", () => {
  log.toEnd();
  $("text").focus();
});

// On a narrow page the rooms and people are behind a button.

function openMenu() {
  document.body.dataset.menu = "open";
  $("menu").setAttribute("aria-expanded", "true");
  $("shade").hidden = false;
  $("talk").inert = getComputedStyle($("menu")).display !== "none";
}

function closeMenu() {
  delete document.body.dataset.menu;
  $("menu").setAttribute("aria-expanded", "false");
  $("shade").hidden = true;
  $("talk").inert = false;
}

$("menu").addEventListener("click", () => {
  if (document.body.dataset.menu) return closeMenu();
  openMenu();
  $("menu-close").focus();
});
for (const id of ["menu-close", "shade"]) {
  $(id).addEventListener("click", () => {
    closeMenu();
    $("menu").focus();
  });
}
$("rooms").addEventListener("click", (event) => {
  if (event.target.closest("a")) closeMenu();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !document.body.dataset.menu) return;
  closeMenu();
  $("menu").focus();
});

window.addEventListener("hashchange", () => {
  const room = hashRoom();
  if (!room) return;
  if (document.body.dataset.view === "hall") moveTo(room);
  else $("room").value = room;
});
for (const event of ["online", "offline"]) window.addEventListener(event, () => line.nudge());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") line.nudge();
});

// The beginning: back to where this tab was, or to the door.

const here = memory.read("sessionStorage", "here");
const room = hashRoom() || (here && here.room) || "lobby";
$("room").value = room;
$("name").value = (here && here.name) || memory.read("localStorage", "name") || "";
if (here && here.name && here.room) {
  chat.want = { name: here.name, room };
  chat.name = here.name;
  show("hall");
  showRoom(room, true);
  chat.people = [here.name];
  showPeople();
  $("count").textContent = "";
  if (here.off) lineIs("offline");
  else line.connect();
} else {
  showDoor();
}

})();
