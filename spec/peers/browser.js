// browser.js -- Chromium for the peers that need one: started without a window, with an empty page for its origin.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { chromium } = require("playwright-core");

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

function browserPath() {
  for (const name of ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]) {
    for (const folder of process.env.PATH.split(path.delimiter)) {
      const file = path.join(folder, name);
      if (fs.existsSync(file)) return file;
    }
  }
  throw new Error("no Chromium on PATH");
}

// An empty page; and below /file the spec's files.
const pages = http.createServer((request, response) => {
  if (request.url.startsWith("/file/")) {
    fs.createReadStream(request.url.slice(5)).pipe(response);
    return;
  }
  response.setHeader("Content-Type", "text/html");
  response.end("<!doctype html><link rel=icon href='data:,'><title>peer</title>");
});

// The address of the empty page.
async function home() {
  if (!pages.listening) await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${pages.address().port}/`;
}

// Its user-data-dir is new and goes with it: {server, browser}.
async function launch() {
  const server = await chromium.launchServer({ executablePath: browserPath(), headless: true, args: FLAGS });
  return { server, browser: await chromium.connect(server.wsEndpoint()) };
}

module.exports = { home, launch };
