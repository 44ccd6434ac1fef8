// payload.js -- the bytes both ends of a line can make for themselves, so that each judges what the
// other sent. payload.lua and websockets_peer.py make the same. Runs in node and in a page.
"use strict";

const BLOCK = 65521; // bytes, or a few more; a prime, so that no power of two falls on its end
const blocks = {};

// Noise: bytes for "binary", characters of one to four bytes for "text".
function block(kind) {
  if (blocks[kind]) return blocks[kind];
  const characters = ["a", "é", "€", "😀"].map((each) => [...new TextEncoder().encode(each)]);
  const bytes = [];
  for (let x = 1; bytes.length < BLOCK;) {
    x = (x * 16807) % 2147483647;
    if (kind === "text") bytes.push(...characters[(x >> 8) & 3]);
    else bytes.push((x >> 8) & 255);
  }
  blocks[kind] = Uint8Array.from(bytes);
  return blocks[kind];
}

// n bytes of "text" (which is UTF-8) or "binary".
function payload(kind, n) {
  const one = block(kind);
  const bytes = new Uint8Array(n);
  for (let at = 0; at < n; at += one.length) bytes.set(one.subarray(0, Math.min(one.length, n - at)), at);
  if (kind === "text" && n % one.length > 0) {
    let end = n % one.length; // of the last block: no character is cut, "x" fills what is left
    while (end > 0 && (one[end] & 0xc0) === 0x80) end -= 1;
    bytes.fill("x".charCodeAt(0), n - (n % one.length) + end);
  }
  return bytes;
}

// The ith of a sequence of messages of mixed kinds and sizes: {kind, bytes}.
function message(i) {
  const kind = i % 3 === 0 ? "binary" : "text";
  const head = new TextEncoder().encode(i + ":");
  const body = payload(kind, i % 100 === 99 ? 70000 : (i * 7919) % 4001);
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return { kind, bytes };
}

function same(a, b) {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return false;
  return true;
}

function text(bytes) {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
}

if (typeof module !== "undefined") module.exports = { payload, message, same, text };
