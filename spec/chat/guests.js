// guests.js -- pages of the chat room in Chromium, for a spec that does something to the server or to the line.
// `node guests.js PORT`, where PORT is the spec's (spec/peers/control.js); pages are known by the names of their people.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");
const control = require("../peers/control");

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

function browserPath() {
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  const files = names.flatMap((name) => process.env.PATH.split(path.delimiter).map((folder) => path.join(folder, name)));
  return files.concat("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome").find((file) => fs.existsSync(file));
}

let browser;
const pages = new Map();
const complaints = [];

// What a person sees. Runs in the page.
function look() {
  const text = (element) => (element ? element.textContent : null);
  const seen = (id) => !document.getElementById(id).hidden;
  const divider = document.querySelector(".rule.new + .message .text");
  return {
    line: document.body.dataset.line,
    status: text(document.getElementById("line")),
    banner: seen("banner") ? text(document.getElementById("banner")).replace(/\s+/g, " ").trim() : "",
    said: Array.from(document.querySelectorAll(".message:not(.pending)"), (each) => each.dataset.seq + " " + text(each.querySelector(".text"))),
    pending: Array.from(document.querySelectorAll(".message.pending .text"), text),
    notices: Array.from(document.querySelectorAll(".notice"), (each) => text(each.querySelector("bdi")) + text(each.childNodes[1]).trimEnd()),
    rules: Array.from(document.querySelectorAll(".rule:not(.day)"), text),
    unreadFrom: text(divider),
    people: Array.from(document.querySelectorAll("#people bdi"), text),
    title: document.title,
  };
}

const abilities = {
  async open({ url, name, clock }) {
    browser = browser || await chromium.launch({ executablePath: browserPath(), headless: true, args: FLAGS });
    const context = await browser.newContext({ viewport: { width: 1100, height: 700 } });
    const page = await context.newPage();
    page.setDefaultTimeout(10000);
    if (clock) await page.clock.install();
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !/WebSocket connection to|ERR_|Cross-Origin-Opener-Policy/.test(message.text())) complaints.push(message.text());
    });
    await page.goto(url);
    pages.set(name, page);
    await page.fill("#name", name);
    await page.click("#enter");
    await page.waitForSelector('body[data-view="hall"][data-line="online"]');
  },
  look({ name }) {
    return pages.get(name).evaluate(look);
  },
  async say({ name, text }) {
    const page = pages.get(name);
    await page.fill("#text", text);
    await page.press("#text", "Enter");
  },
  async click({ name, selector }) {
    await pages.get(name).click(selector);
  },
  // Somebody looks elsewhere, or comes back.
  async blur({ name }) {
    await pages.get(name).evaluate(() => { document.hasFocus = () => false; });
  },
  async focus({ name }) {
    await pages.get(name).evaluate(() => { delete document.hasFocus; window.dispatchEvent(new Event("focus")); });
  },
  // So many milliseconds pass in the page.
  async pass({ name, ms }) {
    await pages.get(name).clock.runFor(ms);
  },
  async reload({ name }) {
    await pages.get(name).reload();
  },
  async shot({ name, file }) {
    if (process.env.SHOTS) await pages.get(name).screenshot({ path: path.join(process.env.SHOTS, file + ".png") });
  },
  complaints() {
    return complaints;
  },
};

control(Number(process.argv[2]), abilities, async () => { if (browser) await browser.close(); });
