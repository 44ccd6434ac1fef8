// page.js -- drives the chat page in Chromium: two people and, between one of them and the server, a line that can be cut.
//
//   node spec/chat/page.js COMMAND [ARGUMENT ...]
//
// The command starts the server and prints its http address. For each check one line comes out, "ok TITLE" or
// "not ok TITLE: REASON"; the exit status is 0 when every check held. With SHOTS=FOLDER, screenshots are kept there.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const { spawn } = require("node:child_process");
const { chromium } = require("playwright-core");

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const WIDE = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const PATIENCE = 10000;

function browserPath() {
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  for (const name of names) {
    for (const folder of process.env.PATH.split(path.delimiter)) {
      const file = path.join(folder, name);
      if (fs.existsSync(file)) return file;
    }
  }
  const mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";
  if (fs.existsSync(mac)) return mac;
  throw new Error("no Chromium in PATH");
}

// Starts the chat server; resolves to its process and port once it says where it listens.
function startServer(command) {
  const child = spawn(command[0], command.slice(1), { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    let output = "";
    child.on("exit", (code) => reject(new Error("the server ended with " + code)));
    child.on("error", reject);
    child.stdout.on("data", (bytes) => {
      output += bytes;
      const address = /(https?):\/\/[^:]+:(\d+)\//.exec(output);
      if (address) resolve({ child, scheme: address[1], port: Number(address[2]) });
    });
  });
}

// A TCP line to the server that can be cut, kept down, and frozen so that nothing moves and nothing ends.
function startLine(port) {
  const line = { down: false, frozen: false, pairs: new Set() };
  const server = net.createServer((near) => {
    if (line.down) return near.destroy();
    const far = net.connect(port, "127.0.0.1");
    const pair = [near, far];
    line.pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on("data", (bytes) => { if (!line.frozen) to.write(bytes); });
      from.on("end", () => { if (!line.frozen) to.end(); });
      from.on("error", () => to.destroy());
      from.on("close", () => { if (!line.frozen) to.destroy(); line.pairs.delete(pair); });
    }
  });
  line.cut = () => { for (const pair of line.pairs) for (const socket of pair) socket.destroy(); };
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => {
    line.port = server.address().port;
    line.server = server;
    resolve(line);
  }));
}

// Contrast of what is seen of each selector against what is behind it, as WCAG 2 counts it. Runs in the page.
function contrasts(selectors) {
  const parse = (color) => (color.match(/[\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const result = {};
  for (const selector of selectors) {
    for (const element of document.querySelectorAll(selector)) {
      const style = getComputedStyle(element);
      const [a, b] = [luminance(parse(style.color)), luminance(behind(element))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (!(result[selector] <= ratio)) result[selector] = ratio;
    }
  }
  return result;
}

(async () => {
  const { child, scheme, port } = await startServer(process.argv.slice(2));
  const line = await startLine(port);
  const browser = await chromium.launch({ executablePath: browserPath(), headless: true, args: FLAGS });
  const complaints = [];
  let failures = 0;

  async function check(title, body) {
    try {
      await body();
      console.log("ok " + title);
    } catch (problem) {
      failures += 1;
      console.log("not ok " + title + ": " + String(problem.message || problem).replace(/\s*\n\s*/g, " | ").slice(0, 600));
    }
  }

  async function open(options, through, hash) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.on("console", (message) => {
      // Attempts while we keep the line down fail, and the browser says so.
      if (["error", "warning"].includes(message.type()) && !/WebSocket connection to/.test(message.text())) {
        complaints.push(message.text());
      }
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => {
      if (new URL(request.url()).hostname !== "127.0.0.1") complaints.push("asked for " + request.url());
    });
    await page.goto(scheme + "://127.0.0.1:" + through + "/" + (hash || ""));
    return page;
  }

  const hall = (page) => page.waitForSelector('body[data-view="hall"][data-line="online"]');
  async function enter(page, name) {
    await page.fill("#name", name);
    await page.click("#enter");
  }
  async function say(page, text) {
    await page.fill("#text", text);
    await page.press("#text", "Enter");
  }
  const message = (page, text) => page.locator(".message:not(.pending)", { has: page.locator(".text", { hasText: text }) });
  const hears = (page, text) => message(page, text).first().waitFor();
  const notice = (page, text) => page.locator(".notice", { hasText: text }).last().waitFor();
  const lineIs = (page, state) => page.waitForSelector('body[data-line="' + state + '"]');
  const seqs = (page) => page.$$eval(".message", (all) => all.map((each) => Number(each.dataset.seq)));
  const shot = async (page, name) => {
    if (process.env.SHOTS) await page.screenshot({ path: path.join(process.env.SHOTS, name + ".png") });
  };

  const ada = await open({ ...WIDE, colorScheme: "light" }, line.port);
  const bob = await open({ ...PHONE, colorScheme: "dark" }, port);

  await check("the door asks for a name before anything else", async () => {
    await enter(ada, "   ");
    assert.equal(await ada.textContent("#door-error"), "Please enter a name.");
    assert.equal(await ada.evaluate(() => document.activeElement.id), "name");
    assert.equal(await ada.getAttribute("body", "data-line"), "offline");
    await shot(ada, "door");
  });

  await check("two people see each other come in", async () => {
    await enter(ada, "Ada");
    await hall(ada);
    await enter(bob, "Bob");
    await hall(bob);
    await notice(ada, "Bob joined");
    assert.equal(await ada.textContent("#count"), "2 here");
    assert.deepEqual(await bob.$$eval("#people bdi", (all) => all.map((each) => each.textContent)), ["Bob", "Ada"]);
  });

  await check("what one says the other reads, numbered without gaps", async () => {
    await say(ada, "hello Bob");
    await hears(bob, "hello Bob");
    await say(bob, "hello Ada");
    await hears(ada, "hello Ada");
    await say(ada, "how are you?");
    await hears(bob, "how are you?");
    await hears(ada, "how are you?");
    assert.deepEqual(await seqs(ada), [1, 2, 3]);
    assert.deepEqual(await seqs(bob), [1, 2, 3]);
    assert.equal(await ada.locator(".message.own").count(), 2);
    assert.equal(await ada.locator(".message.pending").count(), 0);
    assert.equal(await ada.inputValue("#text"), "");
  });

  await check("a name in use is refused at the door, with the reason beside the field", async () => {
    const other = await open(WIDE, port);
    await enter(other, "ada");
    await other.waitForFunction(() => document.getElementById("door-error").textContent.includes("called ada already"));
    assert.equal(await other.getAttribute("#name", "aria-invalid"), "true");
    assert.equal(await other.evaluate(() => document.activeElement.id), "name");
    await enter(other, "Cleo");
    await hall(other);
    await notice(ada, "Cleo joined");
    await other.click("#disconnect");  // a page that is closed might as well be reloading: it stays for a while
    await notice(ada, "Cleo left");
    await other.context().close();
  });

  await check("markup of others stays text", async () => {
    const evil = '<img src=x onerror="window.hacked=1"><b>bold</b><script>window.hacked=1</script>&amp;';
    await say(bob, evil);
    await hears(ada, "<b>bold</b>");
    assert.equal(await ada.locator(".message .text").last().textContent(), evil);
    assert.equal(await ada.locator("#log img, #log b, #log script").count(), 0);
    const mallory = await open(WIDE, port);
    await enter(mallory, "<i>Mallory</i>");
    await hall(mallory);
    await notice(ada, "<i>Mallory</i> joined");
    assert.equal(await ada.locator("#people i, #log i").count(), 0);
    await mallory.click("#disconnect");
    await notice(ada, "<i>Mallory</i> left");
    await mallory.context().close();
    assert.equal(await ada.evaluate(() => window.hacked), undefined);
  });

  await check("somebody typing is shown, and no longer once they have spoken", async () => {
    await bob.locator("#text").pressSequentially("so");
    await ada.locator("#typing", { hasText: "Bob is typing" }).waitFor();
    await bob.press("#text", "Enter");
    await hears(ada, "so");
    assert.equal(await ada.textContent("#typing"), "");
  });

  await check("a message the server will not take says why, and can be discarded", async () => {
    await say(ada, "turned \u202e around");
    const failed = ada.locator(".message.failed");
    await failed.waitFor();
    assert.match(await failed.textContent(), /Not sent: text has a control character in it/);
    await failed.getByRole("button", { name: "Discard" }).click();
    assert.equal(await failed.count(), 0);
  });

  await check("what is read while nobody looks is counted in the title and marked in the log", async () => {
    await ada.evaluate(() => { document.hasFocus = () => false; });
    await say(bob, "one");
    await hears(ada, "one");
    await say(bob, "two");
    await hears(ada, "two");
    assert.match(await ada.title(), /^\(2\) # lobby/);
    assert.equal(await ada.locator(".rule.new").count(), 1);
    assert.equal(await ada.locator(".rule.new + .message .text").textContent(), "one");
    await ada.evaluate(() => { delete document.hasFocus; window.dispatchEvent(new Event("focus")); });
    assert.match(await ada.title(), /^# lobby/);
  });

  await check("a lost line shows, and comes back by itself without doubles or holes", async () => {
    line.down = true;
    line.cut();
    await ada.locator("#banner").waitFor();
    assert.match(await ada.textContent("#banner"), /The connection was lost.*Trying again in \d+ s/);
    await shot(ada, "lost");
    await say(bob, "said while Ada was away");
    await hears(bob, "said while Ada was away");
    await say(ada, "written while away");
    assert.equal(await ada.locator(".message.pending").count(), 1);
    line.down = false;
    await lineIs(ada, "online");
    await hears(ada, "said while Ada was away");
    await hears(bob, "written while away");
    await hears(ada, "written while away");
    assert.equal(await ada.locator("#banner").isVisible(), false);
    assert.equal(await bob.locator(".notice", { hasText: "Ada" }).count(), 0); // she was never gone
    assert.equal(await message(ada, "written while away").count(), 1);
    assert.equal(await message(bob, "written while away").count(), 1);
    const numbers = await seqs(ada);
    assert.deepEqual(numbers, numbers.map((_, i) => i + 1));
    assert.deepEqual(await seqs(bob), numbers);
  });

  await check("a line that is dead without saying so is noticed", async () => {
    await ada.clock.install();
    await ada.reload();  // the clock has to be there before the page's timers are
    await hall(ada);
    line.frozen = true;
    await ada.clock.runFor(40000);
    await ada.locator("#banner").waitFor();
    line.frozen = false;
    line.cut();
    for (let i = 0; i < 40 && await ada.getAttribute("body", "data-line") !== "online"; i += 1) {
      await ada.clock.runFor(1000);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await lineIs(ada, "online");
    await ada.clock.resume();
    assert.equal(await bob.locator(".notice", { hasText: "Ada" }).count(), 0);
  });

  await check("a reload is no leaving, and a duplicate of the page has no part in its session", async () => {
    const before = await bob.locator(".notice", { hasText: "Ada" }).count();
    await ada.reload();
    await hall(ada);
    await hears(ada, "written while away");
    const [copy] = await Promise.all([ada.context().waitForEvent("page"), ada.evaluate(() => { window.open(location.href); })]);
    await copy.locator("#banner", { hasText: "still holds the name Ada" }).waitFor();
    assert.equal(await ada.getAttribute("body", "data-line"), "online");
    await copy.close();
    await say(ada, "still the same");
    await hears(bob, "still the same");
    assert.equal(await bob.locator(".notice", { hasText: "Ada" }).count(), before);
  });

  await check("a page whose session goes on elsewhere says so, and can take it back", async () => {
    const session = await ada.evaluate(() => {
      window.dispatchEvent(new Event("pagehide"));
      return sessionStorage.getItem("lunawire-chat-session");
    });
    const thief = await ada.context().newPage();
    await thief.goto(scheme + "://127.0.0.1:" + port + "/favicon.svg");
    await thief.evaluate((stolen) => {
      sessionStorage.setItem("lunawire-chat-session", stolen);
      sessionStorage.setItem("lunawire-chat-here", JSON.stringify({ name: "Ada", room: "lobby" }));
    }, session);
    await thief.goto(scheme + "://127.0.0.1:" + port + "/");
    await hall(thief);
    await lineIs(ada, "offline");
    assert.match(await ada.textContent("#banner"), /This conversation goes on in another window\.\s+Connect/);
    await shot(ada, "taken");
    await ada.click("#banner-act");
    await hall(ada);
    await lineIs(thief, "offline");
    await thief.close();
    await say(ada, "mine again");
    await hears(bob, "mine again");
  });

  await check("a chosen disconnect stays one, over a reload too, until Connect", async () => {
    await ada.click("#disconnect");
    await lineIs(ada, "offline");
    await notice(bob, "Ada left");
    assert.equal(await ada.evaluate(() => document.activeElement.id), "connect");
    assert.equal(await ada.locator("#banner").isVisible(), false);
    await ada.evaluate(() => window.dispatchEvent(new Event("online")));
    await ada.waitForTimeout(2500);
    assert.equal(await ada.getAttribute("body", "data-line"), "offline");
    await ada.reload();
    await ada.waitForTimeout(1000);
    assert.equal(await ada.getAttribute("body", "data-line"), "offline");
    assert.equal(await ada.textContent("#line"), "Disconnected");
    await ada.click("#connect");
    await hall(ada);
    await notice(bob, "Ada joined");
    assert.equal(await ada.textContent("#line"), "Connected");
    await hears(ada, "written while away");
    await say(ada, "back again");
    await hears(bob, "back again");
  });

  await check("another room is another conversation, and has its address", async () => {
    await ada.fill("#go-room", "garden");
    await ada.press("#go-room", "Enter");
    await ada.waitForSelector('body[data-room="garden"]');
    await notice(bob, "Ada left");
    assert.equal(new URL(ada.url()).hash, "#garden");
    assert.equal(await ada.locator(".message").count(), 0);
    await say(ada, "nobody here");
    await hears(ada, "nobody here");
    assert.deepEqual(await seqs(ada), [1]);
    await ada.click('#rooms a[href="#lobby"]');
    await ada.waitForSelector('body[data-room="lobby"]');
    await hears(ada, "back again");
    assert.equal(await message(bob, "nobody here").count(), 0);
    await ada.goBack();
    await ada.waitForSelector('body[data-room="garden"]');
    await hears(ada, "nobody here");
    await ada.click('#rooms a[href="#lobby"]');
    await ada.waitForSelector('body[data-room="lobby"]');
  });

  await check("changing the name is seen by the others", async () => {
    await ada.click("#rename");
    await enter(ada, "Ada L.");
    await ada.locator("#me", { hasText: "Ada L." }).waitFor();
    await notice(bob, "Ada L. joined");
    await say(ada, "a new name");
    await hears(bob, "a new name");
    assert.equal(await bob.locator(".message .from bdi").last().textContent(), "Ada L.");
  });

  await check("on a phone nothing is wider than the screen, and the menu opens, closes and gives the focus back", async () => {
    await say(bob, "long".repeat(100));
    await hears(bob, "longlong");
    assert.equal(await bob.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), true);
    assert.equal(await bob.evaluate(() => document.getElementById("log").scrollWidth
      <= document.getElementById("log").clientWidth), true);
    assert.equal(await bob.locator("#side").isVisible(), false);
    await bob.click("#menu");
    await bob.locator("#side").waitFor();
    assert.equal(await bob.getAttribute("#menu", "aria-expanded"), "true");
    await bob.keyboard.press("Escape");
    await bob.locator("#side").waitFor({ state: "hidden" });
    assert.equal(await bob.evaluate(() => document.activeElement.id), "menu");
  });

  await check("everything has a name a screen reader can say, and the log is a log", async () => {
    for (const page of [ada, bob]) {
      const nameless = await page.$$eval("button, input, textarea, a", (all) => all
        .filter((each) => !(each.labels && each.labels.length) && !each.textContent.trim() && !each.getAttribute("aria-label"))
        .map((each) => each.outerHTML));
      assert.deepEqual(nameless.filter((html) => !/ hidden/.test(html)), []);
      assert.equal(await page.getByRole("log", { name: "Messages" }).count(), 1);
      assert.equal(await page.getByRole("status").first().textContent(), "Connected");
    }
  });

  await check("texts keep a contrast of 4.5 to 1, light and dark", async () => {
    const seen = [".text", ".message:not(.own):not(.follows) .from", ".time", ".notice", ".notice time", ".rule", "#where", "#count", "#line", "#rooms a",
      "#people bdi", "#side h2", ".me", ".you", "#disconnect", "#send", ".avatar"];
    for (const scheme of ["light", "dark"]) {
      await Promise.all([ada, bob].map((page) => page.emulateMedia({ colorScheme: scheme })));
      const found = await bob.evaluate(contrasts, seen);
      for (const selector of seen) {
        assert.ok(found[selector] >= 4.5, scheme + ": " + selector + " has " + found[selector]);
      }
      await shot(ada, "wide-" + scheme);
      await shot(bob, "phone-" + scheme);
    }
  });

  await check("the whole way can be gone by keyboard", async () => {
    const cleo = await open(WIDE, port, "#attic");
    await cleo.keyboard.type("Cleo");
    await cleo.keyboard.press("Enter");
    await hall(cleo);
    await cleo.keyboard.type("typed without a mouse");
    await cleo.keyboard.press("Enter");
    await hears(cleo, "typed without a mouse");
    assert.equal(await cleo.evaluate(() => document.activeElement.id), "text");
    const reached = new Set();
    for (let i = 0; i < 20; i += 1) {
      await cleo.keyboard.press("Tab");
      reached.add(await cleo.evaluate(() => document.activeElement.id));
    }
    for (const id of ["disconnect", "go-room", "rename", "log", "text", "send"]) assert.ok(reached.has(id), id);
    await cleo.context().close();
  });

  await check("the page never complained, and asked no other host for anything", async () => {
    assert.deepEqual(complaints, []);
  });

  await browser.close();
  line.cut();
  line.server.close();
  child.removeAllListeners("exit");
  child.kill("SIGTERM");
  process.exitCode = failures ? 1 : 0;
})().catch((problem) => {
  console.log("not ok the whole run: " + String(problem && problem.stack || problem).replace(/\s*\n\s*/g, " | "));
  process.exit(1);
});
