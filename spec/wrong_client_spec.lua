-- What a server can get wrong over wss, given to a client of ours in records of every kind: what spec/wrong.lua has, which
-- is judged over ws by websocket_handshake_spec, websocket_frames_spec and websocket_deflate_spec.

local desk = require "spec.server_helper"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local wire = require "spec.wire"
local wrong = require "spec.wrong"

local EXTENSIONS, PMD = "Sec-WebSocket-Extensions", "permessage-deflate"
local slicing = wrong.slicing

local function each(rows, run)
  for name, row, way in wrong.each(rows) do
    it(name, function() run(row, way) end)
  end
end

describe("over TLS #foreign #slow", function()
  local certs
  setup(function()
    certs = pki.new()
    desk.open()
  end)
  teardown(function()
    desk.clear()
    certs:close()
  end)

  local server, gate
  setup(function()
    server = wire.server()
    local files = ("%s %s"):format(helper.quote(certs:cert "good"), helper.quote(certs:key "good"))
    gate = wrong.doors("listen", server.port, files)
  end)

  local HEARD = { "open", "message", "ping", "pong", "error", "close" }

  -- The client, what it hears, and the raw server's end once it was asked.
  local function meet(way, options, protocols)
    options.tls = { ca = certs:cert "root" }
    local ws = lunawire.WebSocket(("wss://127.0.0.1:%d/"):format(gate[way].port), protocols, options)
    return ws, wire.record(ws, HEARD), server:asked()
  end

  local function answer(peer, what, way)
    desk.say(peer, type(what) == "function" and what(peer.request.headers["sec-websocket-key"]) or what, slicing(way))
  end

  local function opened(way, options, more)
    local ws, heard, peer = meet(way, options)
    answer(peer, function(key) return wire.switch(key, more) end, "whole")
    wire.heard(heard, "open")
    return ws, heard, peer
  end

  describe("a client refuses", function()
    local function refuses(heard, peer, row)
      wire.heard(heard)
      assert.same({ "error http", "close 1006  unclean" }, heard)
      assert.matches(row[5], heard.error.message)
      assert.equal(row[4], heard.error.status)
      peer:finish()
      assert.equal("", peer.bytes)
      peer:close()
    end

    each(wrong.responses, function(row, way)
      local _, heard, peer = meet(way, {})
      answer(peer, row[2], way)
      refuses(heard, peer, row)
    end)

    each({ { "a protocol was asked for and none came", nil, nil, 101, "subprotocol" } }, function(row, way)
      local _, heard, peer = meet(way, {}, "chat")
      answer(peer, wire.switch, way)
      refuses(heard, peer, row)
    end)

    each({ { "the end after half a head", nil, nil, nil, "ended the connection before it answered" } }, function(row, way)
      local _, heard, peer = meet(way, {})
      answer(peer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: web", way)
      peer:shutdown()
      refuses(heard, peer, row)
    end)
  end)

  describe("a client takes", function()
    each(wrong.unusual, function(row, way)
      local ws, heard, peer = meet(way, {})
      answer(peer, function(key) return (type(row[2]) == "function" and row[2](key) or row[2]) .. "\x81\x05Hello" end, way)
      wire.await(function() return heard[2] end, "a message")
      assert.same({ "open", "text Hello" }, heard)
      ws:terminate()
      peer:close()
    end)

    each({ { "deflate with client_max_window_bits=8, and sends uncompressed" } }, function(_, way)
      local ws, heard, peer = meet(way, { perMessageDeflate = { threshold = 0 } })
      answer(peer, function(key) return wire.switch(key, { [EXTENSIONS] = PMD .. "; client_max_window_bits=8" }) end, way)
      wire.heard(heard, "open")
      assert.equal(PMD .. "; client_max_window_bits=8", ws.extensions)
      ws:send(("again "):rep(100))
      local frame = peer:next()
      assert.same({ 1, 0, ("again "):rep(100) }, { frame.opcode, frame.rsv, frame.payload })
      ws:terminate()
      peer:close()
    end)
  end)

  local function hear(heard, words)
    wire.await(function() return #heard > #words end, words[#words])
    assert.same({ "open", table.unpack(words) }, heard)
  end

  describe("a client tells a frame", function()
    each(wrong.together(wrong.masks.client, wrong.frames), function(row, way)
      local _, heard, peer = opened(way, { maxPayload = wrong.limits.maxPayload, maxFragments = wrong.limits.maxFragments })
      wrong.told(peer, row, slicing(way))
      peer:close()
      hear(heard, wrong.heard(row))
    end)
  end)

  describe("a client takes a frame", function()
    each(wrong.fine, function(row, way)
      local ws, heard, peer = opened(way, { maxPayload = wrong.limits.maxPayload, maxFragments = wrong.limits.maxFragments })
      wrong.answered(peer, row, slicing(way))
      if row[3][#row[3]]:match "^close" then peer:close() end
      hear(heard, row[3])
      ws:terminate()
      peer:close()
    end)
  end)

  describe("a client hears half of it and no more:", function()
    each(wrong.cuts, function(row, way)
      local _, heard, peer = opened(way, {})
      peer:frame { "text", payload = "whole" }
      desk.say(peer, wrong.bytes(row, "client"), slicing(way))
      peer:shutdown()
      wire.heard(heard)
      for i = #heard, 1, -1 do if heard[i]:match "^ping" then table.remove(heard, i) end end
      assert.same({ "open", "text whole", "close 1006  unclean" }, heard)
      peer:close()
    end)
  end)

  describe("a client tells a compressed message", function()
    each(wrong.compressed, function(row, way)
      local _, heard, peer = opened(way, { maxPayload = 100000 }, wrong.agreed("server", row[4]))
      wrong.told(peer, { row[1], row[2], row[3] }, slicing(way))
      peer:close()
      wire.heard(heard)
      assert.same({ "error protocol " .. row[3], "close 1006  unclean" }, { heard[#heard - 1], heard[#heard] })
      assert.equal(row.heard and 4 or 3, #heard)
    end)
  end)

  describe("a client takes compressed messages:", function()
    each(wrong.swollen, function(row, way)
      local ws, heard, peer = opened(way, { maxPayload = 100000 }, wrong.agreed("server"))
      wrong.answered(peer, row, slicing(way))
      hear(heard, row[3])
      ws:terminate()
      peer:close()
    end)
  end)
end)
