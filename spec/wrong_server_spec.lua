-- What a client can get wrong over wss, given to a server of ours in records of every kind: what spec/wrong.lua has, which
-- is judged over ws by server_handshake_spec, server_frames_spec and server_deflate_spec.

local desk = require "spec.server_helper"
local frames = require "spec.frames"
local pki = require "spec.pki"
local wire = require "spec.wire"
local wrong = require "spec.wrong"

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

  -- One for all rows of a table; `log` begins anew with each of them.
  local door, log
  local function serve(options)
    setup(function()
      options.tls = { cert = certs:cert "good", key = certs:key "good" }
      local server
      server, log = desk.serve(options)
      door = wrong.doors("connect", server.port)
    end)
    before_each(function()
      for i = #log, 1, -1 do log[i] = nil end
    end)
  end

  describe("a server answers", function()
    serve { perMessageDeflate = true }

    each(wrong.requests, function(row, way)
      local answer = desk.fetch(door[way], row[2], slicing(way))
      assert.equal(row[3], answer.status)
      assert.equal("eof", answer.ended)
      assert.equal(tostring(#answer.body), answer.headers["content-length"])
      assert.equal(row[3] == 426 and "13" or nil, answer.headers["sec-websocket-version"])
      wire.settle(3)
      assert.same({}, log)
    end)
  end)

  describe("a server keeps", function()
    serve {}

    each({ { "the frames that come with the request" } }, function(_, way)
      local bytes = wire.upgrade() .. frames.build { "text", payload = "early", key = "\1\2\3\4" }
      local peer = desk.ask(door[way], bytes, slicing(way))
      assert.equal(101, peer:head().status)
      desk.heard(log, "text early")
      peer:close()
      desk.heard(log, "close")
    end)
  end)

  -- What the server hears of a peer, behind "connection".
  local function hears(words)
    wire.await(function() return #log > #words end, words[#words])
    assert.same({ "connection", table.unpack(words) }, log)
  end

  describe("a server tells a frame", function()
    serve { maxPayload = wrong.limits.maxPayload, maxFragments = wrong.limits.maxFragments }

    each(wrong.together(wrong.masks.server, wrong.frames), function(row, way)
      local peer = wire.client(door[way].port)
      wrong.told(peer, row, slicing(way))
      peer:close()
      hears(wrong.heard(row))
    end)
  end)

  describe("a server takes a frame", function()
    serve { maxPayload = wrong.limits.maxPayload, maxFragments = wrong.limits.maxFragments }

    each(wrong.fine, function(row, way)
      local peer = wire.client(door[way].port)
      wrong.answered(peer, row, slicing(way))
      local last = row[3][#row[3]]
      if last:match "^close" then peer:finish() peer:close() end
      hears(row[3])
      if last:match "^close" then return end
      peer:close()
      desk.heard(log, "close 1006")
    end)
  end)

  describe("a server hears half of it and no more:", function()
    serve {}

    each(wrong.cuts, function(row, way)
      local peer = wire.client(door[way].port)
      peer:frame { "text", payload = "whole" }
      desk.say(peer, wrong.bytes(row, "server"), slicing(way))
      peer:shutdown()
      desk.heard(log, "close")
      for i = #log, 1, -1 do if log[i]:match "^ping" then table.remove(log, i) end end
      assert.same({ "connection", "text whole", "close 1006  unclean" }, log)
      peer:finish()
    end)
  end)

  describe("a server tells a compressed message", function()
    serve { maxPayload = 100000, perMessageDeflate = true }

    each(wrong.compressed, function(row, way)
      local peer = wire.client(door[way].port, wrong.agreed("client", row[4]))
      wrong.told(peer, { row[1], row[2], row[3] }, slicing(way))
      peer:close()
      desk.heard(log, "close")
      assert.same({ "error protocol " .. row[3], "close 1006  unclean" }, { log[#log - 1], log[#log] })
      assert.equal(row.heard and 4 or 3, #log)
    end)
  end)

  describe("a server takes compressed messages:", function()
    serve { maxPayload = 100000, perMessageDeflate = true }

    each(wrong.swollen, function(row, way)
      local peer = wire.client(door[way].port, wrong.agreed("client"))
      wrong.answered(peer, row, slicing(way))
      hears(row[3])
      peer:close()
      desk.heard(log, "close 1006")
    end)
  end)
end)
