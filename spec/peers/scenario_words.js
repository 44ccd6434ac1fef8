// scenario_words.js -- a message in words, for the logs that spec/scenarios_spec.lua compares; a script in a page as
// well as a module. spec/peers/scenario.lua says it in the same words.
"use strict";

// `text "hello"`, `binary 00ff`; of a long one its length and a sum that knows each byte's place.
function words(kind, bytes) {
  if (bytes.length > 100) {
    let sum = 0;
    for (let i = 0; i < bytes.length; i += 1) sum = (sum * 31 + bytes[i]) % 1000003;
    return `${kind} of ${bytes.length} bytes, sum ${sum}`;
  }
  if (kind === "text" || kind === "ping" || kind === "pong") return `${kind} "${new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)}"`;
  return `${kind} ${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

if (typeof module !== "undefined") module.exports = { words };
