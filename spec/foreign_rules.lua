-- foreign_rules.lua -- what holds between us and every foreign peer, as describe blocks. `peer` is a
-- function, since the peer is started in a setup; `traits` say what it can do and tell:
--   name            for the titles
--   closesWithout   it can close without a code
--   seesPings       it tells what a ping of ours said (all answer it)
--   pings           it can ping
--   fragments       it can send a message in fragments, and counts those that come
--   seesRefusal     "status" or "body": what it tells of a handshake that was refused
--   setsHeaders     it can send header fields of its own, and sees those of the 101
--   codes           the codes it can close with as a client; absent: all
--   many            how many connections it opens at once; absent: 200

local assert = require "luassert"
local busted = require "busted"
local cjson = require "cjson"
local foreign = require "spec.foreign"
local lunawire = require "lunawire"

local describe, it = busted.describe, busted.it
local setup, before_each, after_each = busted.setup, busted.before_each, busted.after_each

local rules = {}

local LONG = ("é"):rep(61) .. "x" -- 123 bytes, the most a Close frame takes
local EVERY_CODE = { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999 }
local CHOSEN_CODES = { 1000, 3000, 3999, 4000, 4999 }

local function reasonOf(i) return ({ "bye", "", LONG, "\u{10ffff}" })[i % 4 + 1] end

local function escaped(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02x"):format(c:byte()) end))
end

-- A closing handshake that was done. Whoever began it hears the other's answer: all peers here repeat
-- the reason in theirs, we repeat only the code (RFC 6455, 5.5.1).
local function clean(code, reason) return { code = code, reason = reason or "", wasClean = true } end

-- --- our client, their server ---------------------------------------------------------------------------

function rules.servesUs(peer, traits)
  describe("our client at a server of " .. traits.name, function()
    local server

    setup(function() server = peer():ask("listen", foreign.tls and foreign.tls.listen) end)
    after_each(foreign.quiet)

    -- How a client's connection ended at the other end.
    local function ending(client) return peer():ask("ending", { connection = client.id }) end

    for _, kind in ipairs { "text", "binary" } do
      it("sends and receives " .. kind .. " of every size, equal at both ends", function()
        local client = foreign.connect(server, "check"):opened()
        for _, n in ipairs(foreign.sizes) do
          local bytes = foreign.payload(kind, n)
          client.ws:send(bytes, { binary = kind == "binary" })
          local event = client:next()
          assert.equal(kind == "binary", event.binary)
          assert.is_true(event.data == bytes, n .. " bytes came back otherwise")
        end
        assert.same(clean(1000), client:finish(1000))
        assert.same(clean(1000), ending(client))
      end)
    end

    it("keeps 1,000 messages of mixed sizes in order, both ways", function()
      local client = foreign.connect(server, "sequence"):opened()
      for i = 0, 999 do
        local kind, bytes = foreign.message(i)
        client.ws:send(bytes, { binary = kind == "binary" })
      end
      for i = 0, 999 do
        local kind, bytes = foreign.message(i)
        local event = client:next()
        assert.equal(kind == "binary", event.binary)
        assert.is_true(event.data == bytes, "message " .. i .. " came otherwise")
      end
      assert.same(clean(1000), client:finish(1000))
      assert.same(clean(1000), ending(client))
    end)

    it("carries every character, both ways", function()
      local client = foreign.connect(server, "texts"):opened()
      for _, text in ipairs(foreign.texts) do client.ws:send(text) end
      for _, text in ipairs(foreign.texts) do
        local event = client:next()
        assert.is_false(event.binary)
        assert.equal(text, event.data)
      end
      assert.same(clean(1000), client:finish(1000))
      assert.same(clean(1000), ending(client))
    end)

    it("sends and receives fragments", function()
      local client = foreign.connect(server, "fragments", nil, { fragmentSize = 1000, perMessageDeflate = false }):opened()
      for _, kind in ipairs { "text", "binary" } do
        local bytes = foreign.payload(kind, 100500)
        client.ws:send(bytes, { binary = kind == "binary" })
        assert.equal("101", client:next().data) -- data frames the server has counted
        local event = client:next()
        assert.equal(kind == "binary", event.binary)
        assert.is_true(event.data == bytes, "the fragments became something else")
      end
      assert.same(clean(1000), client:finish(1000))
    end)

    it("answers pings, and has its own answered", function()
      local client = foreign.connect(server, "ping"):opened()
      assert.equal("ponged from the server", client:next().data)
      assert.same({ "from the server" }, client.pings)
      client.ws:ping "from the client"
      if traits.seesPings then assert.equal("pinged from the client", client:next().data) end
      foreign.await(function() return client.pongs[1] end, "a pong")
      assert.same({ "from the client" }, client.pongs)
      assert.same(clean(1000), client:finish(1000))
    end)

    it("gets the subprotocol agreed on", function()
      local client = foreign.connect(server, "idle", { "other", "chat.v2", "chat.v1" }):opened()
      assert.equal("chat.v2", client.ws.protocol)
      client:finish(1000)
      client = foreign.connect(server, "idle"):opened()
      assert.equal("", client.ws.protocol)
      client:finish(1000)
    end)

    it("fails when the server speaks none of its subprotocols", function()
      local client = foreign.connect(server, "idle", "unheard-of")
      assert.same({ code = 1006, reason = "", wasClean = false }, client:closed())
      assert.same({ "error", "close" }, client.events)
      assert.equal("http", client.error.code)
    end)

    it("sends header fields", function()
      local client = foreign.connect(server, "headers", nil, {
        headers = { ["X-One"] = "1", ["X-Many"] = { "a", "b" } }, origin = "http://elsewhere.example", userAgent = "spec/1",
      })
      local headers = cjson.decode(client:next().data)
      assert.equal("1", headers["x-one"])
      assert.equal("a, b", headers["x-many"])
      assert.equal("http://elsewhere.example", headers.origin)
      assert.equal("spec/1", headers["user-agent"])
      assert.equal(("127.0.0.1:%d"):format(server.port), headers.host)
      client:finish(1000)
    end)

    it("is content with a server that would compress", function()
      local client = foreign.connect(server, "headers", nil, { perMessageDeflate = false }):opened()
      assert.equal("", client.ws.extensions)
      assert.is_nil(cjson.decode(client:next().data)["sec-websocket-extensions"])
      client:finish(1000)
    end)

    it("hears every code and reason the server closes with", function()
      for i, code in ipairs(EVERY_CODE) do
        local reason = reasonOf(i)
        local client = foreign.connect(server, ("close?code=%d&reason=%s"):format(code, escaped(reason)))
        assert.same(clean(code, reason), client:closed())
        assert.same({ "open", "close" }, client.events)
        assert.same(clean(code, reason), ending(client)) -- our answer says what the Close said
      end
    end)

    if traits.closesWithout then
      it("hears a close without a code as 1005", function()
        local client = foreign.connect(server, "close")
        assert.same(clean(1005), client:closed())
        assert.same(clean(1005), ending(client))
      end)
    end

    it("closes with every code and reason it may", function()
      for i, code in ipairs(CHOSEN_CODES) do
        local reason = reasonOf(i)
        local client = foreign.connect(server, "idle"):opened()
        assert.same(clean(code, reason), client:finish(code, reason))
        assert.same({ "open", "close" }, client.events)
        assert.same(clean(code, reason), ending(client))
      end
    end)

    it("closes without a code", function()
      local client = foreign.connect(server, "idle"):opened()
      assert.same(clean(1005), client:finish())
      assert.same(clean(1005), ending(client))
    end)

    it("hears the other's code when both close at once", function()
      -- The server closes at once; its Close is not read before our open event was heard.
      local client = foreign.connect(server, "cross")
      client.ws:addEventListener("open", function() client.ws:close(4002, "the client's") end)
      assert.same(clean(4001, "the server's"), client:closed())
      assert.same(clean(4002, "the client's"), ending(client))
    end)

    it("sends all that is queued before it closes", function()
      local client = foreign.connect(server, "sequence"):opened()
      for i = 0, 199 do
        local kind, bytes = foreign.message(i)
        client.ws:send(bytes, { binary = kind == "binary" })
      end
      assert.same(clean(4000, "last"), client:finish(4000, "last"))
      assert.same(clean(4000, "last"), ending(client)) -- 4400, had one been missing or different
    end)

    for _, status in ipairs { 401, 403 } do
      it("fails with status, headers and body when refused with " .. status, function()
        local client = foreign.connect(server, tostring(status))
        assert.same({ code = 1006, reason = "", wasClean = false }, client:closed())
        assert.same({ "error", "close" }, client.events)
        assert.equal("http", client.error.code)
        assert.equal(status, client.error.status)
        assert.equal('Basic realm="spec"', client.error.headers["www-authenticate"])
        assert.equal("not you: " .. status, client.error.body)
      end)
    end

    it("opens 200 times at once", function()
      local clients = {}
      for i = 1, 200 do clients[i] = foreign.connect(server, "echo") end
      for i, client in ipairs(clients) do client:opened().ws:send("I am " .. i) end
      for i, client in ipairs(clients) do assert.equal("I am " .. i, client:next().data) end
      for _, client in ipairs(clients) do client.ws:close(1000) end
      for _, client in ipairs(clients) do
        assert.same(clean(1000), client:closed())
        assert.same({ "open", "close" }, client.events)
      end
    end)
  end)
end

-- --- their client, our server ---------------------------------------------------------------------------

function rules.visitsUs(peer, traits)
  describe("a client of " .. traits.name .. " at our server", function()
    local server

    before_each(function() server = foreign.server() end)
    after_each(function()
      server:close()
      foreign.quiet()
    end)

    local function ask(what, arguments)
      arguments = arguments or {}
      arguments.url = server.url
      return peer():ask(what, arguments)
    end

    it("sends and receives text and binary of every size, equal at both ends", function()
      local said = ask("check", { sizes = foreign.sizes })
      said.extensions = nil
      assert.same(clean(1000), said)
      assert.same(clean(1000), server:ending(1))
    end)

    it("offers compression, is declined, and goes on without", function()
      local said = ask("check", { sizes = { 10, 100000 } })
      assert.matches("permessage%-deflate", server.requests[1].headers["sec-websocket-extensions"])
      assert.equal("", said.extensions)
      assert.same(clean(1000), server:ending(1))
    end)

    it("keeps 1,000 messages of mixed sizes in order, both ways", function()
      assert.same(clean(1000), ask("sequence", { count = 1000 }))
      assert.same(clean(1000), server:ending(1))
    end)

    it("carries every character, both ways", function()
      assert.same(clean(1000), ask "texts")
      assert.same(clean(1000), server:ending(1))
    end)

    if traits.fragments then
      it("sends and receives fragments", function()
        server:close()
        server = foreign.server { fragmentSize = 1000 }
        assert.same({ text = 101, binary = 101 }, ask("fragments", { size = 100500 }))
        assert.same(clean(1000), server:ending(1))
      end)
    end

    if traits.pings then
      it("answers pings, and has its own answered", function()
        local heard = {}
        server.server.onping = function(event) heard[#heard + 1] = event.data end
        local said = ask "ping"
        assert.equal("from the client", said.ponged)
        assert.equal("ponged from the server", said.heard)
        if traits.seesPings then assert.equal("from the server", said.pinged) end
        assert.equal(1, #heard)
        if traits.seesPings then assert.equal("from the client", heard[1]) end
      end)
    end

    it("gets the subprotocol that is first in its list and spoken here", function()
      local said = ask("headers", { protocols = { "other", "chat.v1", "chat.v2" }, headers = {} })
      assert.equal("chat.v1", said.protocol)
      assert.equal("other, chat.v1, chat.v2", (said.request["sec-websocket-protocol"]:gsub(",%s*", ", ")))
    end)

    if traits.setsHeaders then
      it("sends header fields, and reads those of the 101", function()
        local said = ask("headers", { headers = { ["X-One"] = "1", ["X-Word"] = "a, b" } })
        assert.equal("1", said.request["x-one"])
        assert.equal("a, b", said.request["x-word"])
        assert.equal("http://elsewhere.example", said.request.origin)
        assert.equal("/headers", said.response["x-path"])
        assert.equal("", said.protocol)
        assert.same(said.request, server.requests[1].headers)
      end)
    end

    it("hears every code and reason the server closes with", function()
      for i, code in ipairs(EVERY_CODE) do
        local reason = reasonOf(i)
        local target = ("close?code=%d&reason=%s"):format(code, escaped(reason))
        assert.same(clean(code, reason), ask("closed", { target = target }))
        assert.same(clean(code, reason), server:ending(i))
      end
    end)

    it("hears a close without a code as 1005", function()
      assert.same(clean(1005), ask("closed", { target = "close" }))
      assert.same(clean(1005), server:ending(1))
    end)

    it("closes with every code and reason it may", function()
      for i, code in ipairs(traits.codes or EVERY_CODE) do
        local reason = reasonOf(i)
        assert.same(clean(code, reason), ask("close", { code = code, reason = reason }))
        assert.same(clean(code, reason), server:ending(i))
      end
    end)

    if traits.closesWithout then
      it("closes without a code", function()
        assert.same(clean(1005), ask "close")
        assert.same(clean(1005), server:ending(1))
      end)
    end

    it("hears the other's code when both close at once", function()
      assert.same(clean(4001, "the server's"), ask "cross")
      assert.same(clean(4002, "the client's"), server:ending(1))
    end)

    for _, status in ipairs { 401, 403 } do
      it("is refused with " .. status, function()
        local said = ask("refused", { target = tostring(status) })
        if traits.seesRefusal then
          assert.equal(status, said.status)
          assert.equal('Basic realm="spec"', said.headers["www-authenticate"])
        end
        if traits.seesRefusal == "body" then assert.equal("not you: " .. status, said.body) end
        assert.is_nil(server.requests[1])
      end)
    end

    it("is refused with 403 when its Origin is of another site", function()
      server:close()
      server = foreign.server { origins = { "http://here.example" } }
      local said = ask("refused", { target = "idle", origin = "http://elsewhere.example" })
      if traits.seesRefusal then assert.equal(403, said.status) end
      if traits.seesRefusal == "body" then assert.matches("origins", said.body) end
      assert.is_nil(server.requests[1])
    end)

    local count = traits.many or 200
    it("comes " .. count .. " times at once", function()
      assert.same({ open = count, clean = count }, ask("many", { count = count }))
      server:ending(count)
      assert.equal(count, server.most)
      assert.equal(0, #server.server)
      for _, each in ipairs(server.endings) do
        assert.same({ path = "/echo", code = 1000, reason = "", wasClean = true }, each)
      end
    end)

    it("gets what is broadcast and published, in its place among the rest", function()
      local ready = 0
      server.server.onmessage = function() ready = ready + 1 end
      local answer = peer():begin("gather", { url = server.url, target = "idle", count = 5 })
      foreign.await(function() return ready == 5 end, "five clients")
      local text, binary = foreign.payload("text", 70000), foreign.payload("binary", 70000)
      local known = { [foreign.hex(text)] = "T", [foreign.hex(binary)] = "B" }
      server.sockets[1]:send "before"
      server.sockets[1]:subscribe "odd"
      server.sockets[3]:subscribe "odd"
      assert.equal(5, server.server:broadcast(text))
      assert.equal(2, server.server:publish("odd", binary, "binary"))
      assert.equal(1, server.sockets[3]:publish("odd", ""))
      server.sockets[1]:send "after"
      server.server:close(1001, "that was all")
      local heard = {}
      for i, each in ipairs(answer()) do
        assert.same(clean(1001, "that was all"), { code = each.code, reason = each.reason, wasClean = each.wasClean })
        heard[i] = {}
        for j, message in ipairs(each.heard) do
          heard[i][j] = message.kind .. " " .. (known[message.hex] or foreign.bytes(message.hex))
        end
      end
      -- The peer's lines are not in the order in which we let them in.
      table.sort(heard, function(a, b) return #a > #b or #a == #b and a[#a] < b[#b] end)
      assert.same({ "text before", "text T", "binary B", "text ", "text after" }, heard[1])
      assert.same({ "text T", "binary B" }, heard[2])
      for i = 3, 5 do assert.same({ "text T" }, heard[i]) end
    end)

    it("hears 1001 when the server closes", function()
      local answer = peer():begin("closed", { url = server.url, target = "idle" })
      foreign.await(function() return server.sockets[1] end, "a client")
      server.server:close()
      assert.same(clean(1001), answer())
      assert.same(clean(1001), server:ending(1))
    end)

    it("hears 1006 when the server drops it", function()
      local answer = peer():begin("closed", { url = server.url, target = "idle" })
      foreign.await(function() return server.sockets[1] end, "a client")
      server.sockets[1]:terminate "enough of you"
      local said = answer()
      assert.equal(1006, said.code)
      assert.is_false(said.wasClean)
      assert.same({ code = 1006, reason = "enough of you", wasClean = false }, server:ending(1))
    end)
  end)
end

-- --- one end killed ---------------------------------------------------------------------------------------

function rules.dies(start, traits)
  describe("a peer of " .. traits.name .. " that is killed with -9", function()
    local started = {}

    -- A peer that is stopped at the end.
    local function peer()
      started[#started + 1] = start()
      return started[#started]
    end

    after_each(function()
      for i, each in ipairs(started) do
        each.process:signal "KILL"
        each:stop()
        started[i] = nil
      end
      foreign.quiet()
    end)

    it("is closed with 1006 at our server, and the others do not notice", function()
      local server, mortal, other, ready = foreign.server(), peer(), peer(), 0
      server.server.onmessage = function() ready = ready + 1 end
      mortal:begin("gather", { url = server.url, target = "idle", count = 3 })
      foreign.await(function() return ready == 3 end, "three clients")
      local answer = other:begin("gather", { url = server.url, target = "idle", count = 1 })
      foreign.await(function() return ready == 4 end, "a fourth client")
      mortal.process:signal "KILL"
      for i = 1, 3 do assert.same({ code = 1006, reason = "", wasClean = false }, server:ending(i)) end
      assert.equal(1, #server.server)
      server.server:broadcast "still there?"
      server:close()
      local said = answer()[1]
      assert.equal("still there?", foreign.bytes(said.heard[1].hex))
      assert.equal(1001, said.code)
    end)
    if traits.onlyClient then return end

    it("is closed with 1006 at our client", function()
      local mortal = peer()
      local client = foreign.connect(mortal:ask("listen", foreign.tls and foreign.tls.listen), "idle"):opened()
      mortal.process:signal "KILL"
      assert.same({ code = 1006, reason = "", wasClean = false }, client:closed())
      assert.same({ "open", "close" }, client.events)
      assert.equal(lunawire.WebSocket.CLOSED, client.ws.readyState)
    end)
  end)
end

return rules
