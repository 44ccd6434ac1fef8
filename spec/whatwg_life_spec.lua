-- WHATWG WebSockets, 7 "Garbage collection", and "make disappear". The other end is raw bytes.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local whatwg = require "spec.whatwg"
local wire = require "spec.wire"

-- Collects, and gives the loop the time to do what follows from it.
local function collect()
  collectgarbage()
  collectgarbage()
  wire.settle(3)
end

-- A socket that nobody holds, in this state, after prepare(ws) was called. Returns its peer, and whether it is gone.
local function forgotten(state, prepare)
  local weak = setmetatable({}, { __mode = "k" })
  local peer
  do
    local ws = lunawire.WebSocket(whatwg.server.url)
    weak[ws] = true
    if state == "CONNECTING" then
      prepare(ws)
      peer = whatwg.server:asked()
    else
      peer = whatwg.server:open()
      whatwg.state(ws, 1)
      prepare(ws)
      if state == "CLOSING" then ws:close() end
    end
  end
  collect()
  return peer, function()
    collect()
    return next(weak) == nil
  end
end

describe("WebSockets 7, garbage collection", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  local kept = {
    CONNECTING = { "open", "message", "error", "close" },
    OPEN = { "message", "error", "close" },
    CLOSING = { "error", "close" },
  }
  for state, types in pairs(kept) do
    for _, name in ipairs(types) do
      it(("a socket that is %s is kept by a listener for %s"):format(state, name), function()
        local peer, gone = forgotten(state, function(ws) ws:addEventListener(name, function() end) end)
        assert.is_false(gone())
        peer:close()
      end)

      it(("a socket that is %s is kept by on%s"):format(state, name), function()
        local peer, gone = forgotten(state, function(ws) ws["on" .. name] = function() end end)
        assert.is_false(gone())
        peer:close()
      end)
    end
  end

  it("a socket that is OPEN is not kept by a listener for open", function()
    local _, gone = forgotten("OPEN", function(ws) ws:addEventListener("open", function() end) end)
    assert.is_true(gone())
  end)

  for _, state in ipairs { "CONNECTING", "OPEN", "CLOSING" } do
    it(("a socket that is %s is not kept without listeners"):format(state), function()
      local _, gone = forgotten(state, function() end)
      assert.is_true(gone())
    end)
  end

  it("nor once its listener was removed", function()
    local _, gone = forgotten("OPEN", function(ws)
      ws:addEventListener("message", print)
      ws:removeEventListener("message", print)
    end)
    assert.is_true(gone())
  end)

  it("nor once it is CLOSED, whoever listens", function()
    local peer, gone = forgotten("OPEN", function(ws) ws.onclose = function() end end)
    peer:close()
    wire.await(gone, "the socket to be collected")
  end)

  it("it is kept by listeners for ping, pong and drain, too (docs/browser.md: pings and pongs)", function()
    for _, name in ipairs { "ping", "pong", "drain" } do
      local peer, gone = forgotten("OPEN", function(ws) ws["on" .. name] = function() end end)
      assert.is_false(gone())
      peer:close()
    end
  end)

  it("data that is queued is sent before the connection goes", function()
    local peer = forgotten("OPEN", function(ws) ws:send(("x"):rep(300000)) end)
    assert.equal(300000, #peer:next().payload)
  end)

  it("a socket that is collected while open closes without a status code", function()
    local peer = forgotten("OPEN", function() end)
    local frame = peer:next()
    assert.same({ 8, "" }, { frame.opcode, frame.payload })
  end)

  it("a socket that is collected while connecting ends the connection", function()
    local peer = forgotten("CONNECTING", function() end)
    assert.equal("", select(2, peer:finish()))
  end)

  it("one that was kept goes on to hear what comes", function()
    local heard
    local peer = forgotten("OPEN", function(ws)
      ws.onmessage = function(event) heard = event.data end
    end)
    peer:frame { "text", payload = "still there" }
    wire.await(function() return heard end)
    assert.equal("still there", heard)
  end)
end)

describe("WebSockets 7, make disappear: at the end of the program #foreign", function()
  before_each(whatwg.open)
  after_each(whatwg.close)

  -- A program that connects and ends once it is open (or, "connecting", before it is answered).
  local function ending(code)
    local name = os.tmpname()
    helper.write(name, ("local lunawire = require 'lunawire' local ws = lunawire.WebSocket %q %s"):format(
      whatwg.server.url, code))
    local program = helper.peer("exec " .. helper.lua(helper.quote(name)))
    finally(function()
      program:stop()
      os.remove(name)
    end)
  end

  it("a connection that is open is closed with 1001 (docs/browser.md: the end of a program)", function()
    ending "ws.onopen = function() lunawire.stop() end lunawire.run()"
    local peer = whatwg.server:open()
    assert.equal("\x03\xe9", peer:next().payload)
  end)

  it("one that is not established fails: its connection ends", function()
    ending "for _ = 1, 20 do lunawire.step(10) end"
    local peer = whatwg.server:asked()
    assert.equal("", select(2, peer:finish()))
  end)

  it("one that closes already is left to it", function()
    ending "ws.onopen = function() ws:close(4000, 'mine') lunawire.flush() lunawire.stop() end lunawire.run()"
    local peer = whatwg.server:open()
    assert.equal("\x0f\xa0mine", peer:next().payload)
    assert.equal("", select(2, peer:finish()))
  end)
end)
