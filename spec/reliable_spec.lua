-- Delivery that survives, over real sockets. What goes over the wire is judged by raw bytes: at the other end is
-- spec/wire.lua, or the JavaScript of examples/chat/public/reliable.js under node.

local desk = require "spec.server_helper"
local foreign = require "spec.foreign"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local reliable = require "lunawire.reliable"
local wire = require "spec.wire"

local SESSION = "0123456789abcdef"
local SPOKEN = { ["Sec-WebSocket-Protocol"] = reliable.protocol }

-- A Blob whose file is gone.
local function unreadable()
  local place = helper.directory()
  helper.write(place .. "/file", "x")
  local blob = lunawire.Blob.fromFile(place .. "/file")
  helper.remove(place)
  return blob
end

local function note(log, owner, kinds)
  for _, kind in ipairs(kinds) do
    owner["on" .. kind] = function(event)
      local words = { kind }
      for _, name in ipairs { "continued", "number", "data", "greeting", "code", "reason" } do
        if event[name] ~= nil then words[#words + 1] = tostring(event[name]) end
      end
      log[#log + 1] = table.concat(words, " ")
      log.events[#log] = event
    end
  end
end

local function newLog() return setmetatable({}, { __index = { events = {} } }) end

-- A server with a hub, and what the hub hears.
local function serve(options, serverOptions)
  serverOptions = serverOptions or {}
  serverOptions.protocols = serverOptions.protocols or { reliable.protocol }
  local server = desk.listen(serverOptions)
  local hub, log = reliable.server(server, options), newLog()
  desk.raises("InvalidStateError", "has a hub already", reliable.server, server)
  note(log, hub, { "session", "resume", "message", "note", "away", "end", "error" })
  return server, hub, log
end

local function texts(peer, ...)
  local all = {}
  for i, payload in ipairs { ... } do all[i] = { "text", payload = payload } end
  peer:frame(table.unpack(all))
end

-- The next message that came: its kind, its payload.
local function heard(peer)
  local frame = assert(peer:next(), "the stream ended")
  return ({ "text", "binary", [8] = "close" })[frame.opcode] .. " " .. frame.payload
end

-- With whom compression is agreed on, too.
local SQUEEZING = { ["Sec-WebSocket-Extensions"] = "permessage-deflate" }
for name, value in pairs(SPOKEN) do SQUEEZING[name] = value end

-- Of the next messages (compressed ones have RSV1): which went as they are, with their payload; "-" for the others.
local function uncompressed(peer, count)
  local list = {}
  for i = 1, count do
    local frame = assert(peer:next(), "the stream ended")
    list[i] = frame.rsv == 0 and frame.payload or "-"
  end
  return list
end

-- Waits for a Close frame; its code and reason.
local function ending(peer)
  local frame = assert(peer:next(), "the stream ended")
  assert(frame.opcode == 8, frame.payload)
  local high, low = frame.payload:byte(1, 2)
  return high * 256 + low, frame.payload:sub(3)
end

-- A raw client of a hub that has said hello. Returns the peer, and the hello that came: its epoch, its numbers.
local function visit(server, hello, greeting)
  local peer = wire.client(server.port, SPOKEN)
  texts(peer, ("hello %s\n%s"):format(hello or SESSION .. " - 0 1", greeting or ""))
  local answer = heard(peer)
  local epoch, received, first = answer:match("^text hello " .. SESSION .. " (%x+) (%d+) (%d+)\n$")
  assert(epoch and #epoch == 16, answer)
  return peer, epoch, tonumber(received), tonumber(first)
end

local function gone(peer, log)
  peer:reset()
  desk.heard(log, "away", #log > 0 and select(2, table.concat(log, "\n"):gsub("%f[%l]away", "")) + 1 or 1)
end

-- A socket that comes back after `delay` (5).
local function comeback(url, delay)
  local dials = 0
  local socket = lunawire.ReconnectingWebSocket(function()
    dials = dials + 1
    return url
  end, reliable.protocol, { minDelay = delay or 5, maxDelay = delay or 5, jitter = 0, heartbeat = false })
  function socket.dials() return dials end
  return socket
end

describe("a reliable server", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("answers a hello with its own, and one ack for the messages of a turn", function()
    local server, hub, log = serve()
    local peer, _, received, first = visit(server, nil, "I saw line 7")
    assert.same({ 0, 1 }, { received, first })
    texts(peer, "message 1\none", "message 2\n", "message 3\nthree\nlines")
    peer:frame { "binary", payload = "message 4\n\0\255" }
    assert.equal("text ack 4\n", heard(peer))
    assert.same({ "session false I saw line 7", "message 1 one", "message 2 ", "message 3 three\nlines",
      "message 4 \0\255" }, log)
    assert.equal("/", log.events[1].request.path)
    assert.equal(hub, log.events[1].target)
    assert.equal(log.events[1].session, log.events[2].target)
    assert.is_false(log.events[4].binary)
    assert.is_true(log.events[5].binary)
    local session = log.events[1].session
    assert.equal(SESSION, session.id)
    assert.equal(4, session.received)
    assert.equal(1, hub.count)
    peer:close()
  end)

  it("keeps to the bytes in docs/reliable.md", function()
    local server, hub = serve()
    local peer, epoch, place = wire.client(server.port, SPOKEN), nil, nil
    function hub.onmessage(event)
      event.session:send "hello"
      event.session:send("\0\255", "binary")
    end
    local frames = 0
    local example = helper.read(helper.root .. "/docs/reliable.md"):match "\n### By bytes\n.-\n```text\n(.-)```"
    example = example:gsub("\n  ", " ")
    for who, dump in example:gmatch "(%l+) [^\n]-  ?(8[12] [%x ]+)\n" do
      local bytes = foreign.bytes((dump:gsub("%s", "")))
      frames = frames + 1
      if who == "client" then
        peer:send(bytes)
      else
        local got = peer:read(#bytes)
        place = place or bytes:find("5eed0f00d5eed0f0", 1, true)
        epoch = epoch or got:sub(place, place + 15)
        assert.equal(bytes, (got:gsub(epoch, "5eed0f00d5eed0f0")))
      end
    end
    assert.equal(7, frames)
    local session = hub:each()()
    wire.await(function() return session.unacknowledged == 0 end)
    peer:close()
  end)

  it("reads it byte by byte, too", function()
    local server, _, log = serve()
    local peer = wire.client(server.port, SPOKEN)
    peer:trickle(peer:build { "text", payload = "hello " .. SESSION .. " - 0 1\n" })
    assert.matches("^text hello", heard(peer))
    peer:trickle(peer:build { "text", payload = "message 1\nhi" })
    assert.equal("text ack 1\n", heard(peer))
    assert.same({ "session false ", "message 1 hi" }, log)
    peer:close()
  end)

  it("sends again, over the next line, what was not acknowledged", function()
    local server, hub, log = serve()
    function hub.onsession(event)
      event.session:send "one"
      event.session:send("two\0", "binary")
      event.session:send("three", { binary = false })
    end
    local peer, epoch = visit(server)
    assert.same({ "text message 1\none", "binary message 2\ntwo\0", "text message 3\nthree" },
      { heard(peer), heard(peer), heard(peer) })
    texts(peer, "message 1\nhi", "ack 1\n")
    assert.equal("text ack 1\n", heard(peer))
    gone(peer, log)
    local session = log.events[1].session
    assert.is_nil(session.socket)
    assert.is_true(session:send "four")
    assert.is_false(session:note "lost")
    assert.equal(3, session.unacknowledged)
    assert.equal(#"two\0three" + #"four", session.bufferedAmount)
    local again, same, received, first = visit(server, ("%s %s 2 2"):format(SESSION, epoch))
    assert.same({ epoch, 1, 3 }, { same, received, first })
    assert.same({ "text message 3\nthree", "text message 4\nfour" }, { heard(again), heard(again) })
    assert.same({ "message 1 hi", "away 1006 ", "resume true " }, { log[1], (log[2]:gsub("1006.*", "1006 ")), log[3] })
    assert.equal(session, log.events[3].session)
    assert.equal(1, session.socket.readyState)
    again:close()
  end)

  it("drops what it knows, and says so", function()
    local server, _, log = serve()
    local peer, epoch = visit(server)
    texts(peer, "message 1\none")
    assert.equal("text ack 1\n", heard(peer))
    gone(peer, log)
    local again = visit(server, ("%s %s 0 1"):format(SESSION, epoch))
    texts(again, "message 1\none", "message 2\ntwo")
    assert.equal("text ack 2\n", heard(again))
    assert.equal("message 2 two", log[#log])
    texts(again, "message 2\ntwo")
    assert.equal("text ack 2\n", heard(again))
    assert.equal("message 2 two", log[#log])
    again:close()
  end)

  it("goes on where the client is when it knows nothing", function()
    local server, _, log = serve()
    local peer, epoch, received = visit(server, SESSION .. " 00112233aabbccdd 99 41")
    assert.not_equal("00112233aabbccdd", epoch)
    assert.equal(40, received)
    texts(peer, "message 41\nhi")
    assert.equal("text ack 41\n", heard(peer))
    assert.same({ "session false ", "message 41 hi" }, log)
    peer:close()
  end)

  it("asks the application what it has from a session it does not know", function()
    local asked = {}
    local server, _, log = serve { restore = function(id)
      asked[#asked + 1] = id
      return 42.0
    end }
    local peer, _, received = visit(server, SESSION .. " 00112233aabbccdd 0 41")
    assert.equal(42, received)
    assert.equal("42", tostring(log.events[1].session.received))
    texts(peer, "message 42\nknown", "message 43\nnew")
    assert.equal("text ack 43\n", heard(peer))
    assert.same({ "session false ", "message 43 new" }, log)
    peer:close()
    desk.heard(log, "away")
    local later = visit(server, SESSION .. " 00112233aabbccdd 0 50")
    assert.same({ SESSION }, asked)
    later:close()
  end)

  for name, restore in pairs {
    ["raises"] = function() error "no disk" end, ["answers nonsense"] = function() return "many" end,
    ["answers a fraction"] = function() return 1.5 end,
  } do
    it("refuses a session when restore " .. name .. ", and tells whose fault it is", function()
      local server, hub = serve { restore = restore }
      local errors = {}
      function lunawire.onerror(err) errors[#errors + 1] = tostring(err) end
      local peer = wire.client(server.port, SPOKEN)
      texts(peer, "hello " .. SESSION .. " - 0 1\n")
      assert.same({ 1011, "the session could not be restored" }, { ending(peer) })
      assert.equal(1, #errors)
      assert.equal(0, hub.count)
      peer:close()
    end)
  end

  it("gives a session to its newest line", function()
    local server, hub, log = serve()
    local old, epoch = visit(server)
    local session = log.events[1].session
    local new = visit(server, ("%s %s 0 1"):format(SESSION, epoch))
    assert.same({ 3001, "another connection took this session over" }, { ending(old) })
    texts(old, "message 1\nfrom the old one")
    session:send "hi"
    assert.equal("text message 1\nhi", heard(new))
    texts(new, "message 1\nfrom the new one")
    assert.equal("text ack 1\n", heard(new))
    old:closing(3001)
    old:close()
    wire.settle()
    assert.same({ "session false ", "resume true ", "message 1 from the new one" }, log)
    assert.equal(1, hub.count)
    assert.equal(1, session.socket.readyState)
    new:close()
  end)

  local early = {
    { "a message", "message 1\nhi" }, { "an ack", "ack 1\n" }, { "nothing", "" }, { "JSON", '{"type":"hello"}' },
    { "a short session", "hello short - 0 1\n" }, { "the header line without its end", "hello " .. SESSION .. " - 0 1" },
    { "a header line of a megabyte", ("x"):rep(1000000) }, { "a skip", "skip 9\n" }, { "a farewell", "end\n" },
  }
  for _, case in ipairs(early) do
    it(("closes with 3000 when %s comes first"):format(case[1]), function()
      local server, hub, log = serve()
      local peer = wire.client(server.port, SPOKEN)
      texts(peer, case[2], "hello " .. SESSION .. " - 0 1\n")
      local code, reason = ending(peer)
      assert.equal(3000, code)
      assert.is_true(#reason > 0)
      assert.same({ "error protocol" }, log)
      assert.equal(reason, log.events[1].message)
      assert.equal(0, hub.count)
      peer:close()
    end)
  end

  local late = {
    { "a gap", "message 2\nhi" }, { "message 0", "message 0\nhi" }, { "an ack of nothing", "ack 1\n" },
    { "a huge ack", "ack 9007199254740991\n" }, { "a second hello", "hello " .. SESSION .. " - 0 1\n" },
    { "an unknown word", "resend 1\n" }, { "a number beyond 2^53", "message 9007199254740993\nhi" },
  }
  for _, case in ipairs(late) do
    it(("closes with 3000 after %s, and keeps the session for a better line"):format(case[1]), function()
      local server, hub, log = serve()
      local peer, epoch = visit(server)
      texts(peer, case[2], "message 1\nafter it")
      assert.equal(3000, (ending(peer)))
      peer:close()
      assert.same({ "session false ", "away 3000", "error protocol" }, { log[1], log[2]:sub(1, 9), log[3] })
      assert.equal(1, hub.count)
      local again = visit(server, ("%s %s 0 1"):format(SESSION, epoch))
      texts(again, "message 1\nhi")
      assert.equal("text ack 1\n", heard(again))
      again:close()
    end)
  end

  it("refuses a hello that has more than was sent, and leaves the older line alone", function()
    local server, _, log = serve()
    local peer, epoch = visit(server)
    local other = wire.client(server.port, SPOKEN)
    texts(other, ("hello %s %s 1 1\n"):format(SESSION, epoch))
    assert.equal(3000, (ending(other)))
    other:close()
    texts(peer, "message 1\nhi")
    assert.equal("text ack 1\n", heard(peer))
    assert.same({ "session false ", "error protocol", "message 1 hi" }, log)
    peer:close()
  end)

  it("takes numbers up to the last there is", function()
    local server = serve()
    local peer, _, received = visit(server, SESSION .. " - 0 9007199254740991")
    assert.equal(9007199254740990, received)
    texts(peer, "message 9007199254740991\nhi")
    assert.equal("text ack 9007199254740991\n", heard(peer))
    texts(peer, "message 9007199254740991\nhi")
    assert.equal("text ack 9007199254740991\n", heard(peer))
    peer:close()
  end)

  it("ends a line that does not say hello in time", function()
    local server, hub = serve { helloTimeout = 30 }
    local peer = wire.client(server.port, SPOKEN)
    assert.same({ 1013, "no hello in time" }, { ending(peer) })
    texts(peer, "hello " .. SESSION .. " - 0 1\n")
    wire.settle()
    assert.equal(0, hub.count)
    peer:close()
  end)

  it("leaves a line alone that did", function()
    local server = serve { helloTimeout = 200 }
    local peer = visit(server)
    desk.turns(300)
    texts(peer, "message 1\nhi")
    assert.equal("text ack 1\n", heard(peer))
    peer:close()
  end)

  it("leaves sockets that did not agree on the protocol to the application", function()
    local server, hub, log = serve()
    local plain = newLog()
    function server.onconnection(event) plain[#plain + 1] = "connection " .. event.socket.protocol end
    function server.onmessage(event) plain[#plain + 1] = "message " .. event.data end
    function server.onsocketclose() plain[#plain + 1] = "close" end
    local peer = visit(server)
    texts(peer, "message 1\nhi")
    assert.equal("text ack 1\n", heard(peer))
    peer:close()
    desk.heard(log, "away")
    assert.same({}, plain)
    local other = wire.client(server.port)
    texts(other, "hello " .. SESSION .. " - 0 1\n")
    wire.await(function() return #plain == 2 end)
    other:close()
    wire.await(function() return #plain == 3 end)
    assert.same({ "connection ", "message hello " .. SESSION .. " - 0 1\n", "close" }, plain)
    assert.equal(1, hub.count)
  end)

  it("acknowledges what is deferred when it is told to", function()
    local server, hub = serve()
    local kept = {}
    function hub.onmessage(event)
      event:defer()
      kept[#kept + 1] = event
    end
    local peer, epoch = visit(server)
    texts(peer, "message 1\none", "message 2\ntwo", "message 3\nthree")
    wire.await(function() return #kept == 3 end)
    desk.raises("InvalidStateError", "only inside the handler", kept[1].defer, kept[1])
    wire.settle()
    assert.equal("", peer.bytes)
    local session = kept[1].session
    session:acknowledge(2)
    assert.equal("text ack 2\n", heard(peer))
    peer:reset()
    wire.await(function() return not session.socket end)
    local again, _, received = visit(server, ("%s %s 0 3"):format(SESSION, epoch))
    assert.equal(2, received)
    texts(again, "message 3\nthree")
    assert.equal("text ack 2\n", heard(again)) -- it is known, and still deferred
    assert.equal(3, #kept)
    session:acknowledge(3)
    assert.equal("text ack 3\n", heard(again))
    desk.raises("TypeError", "a number expected, got nil", session.acknowledge, session)
    again:close()
  end)

  it("ends the line when too much is deferred, and loses nothing of it", function()
    local server, hub = serve { maxDeferred = 10 }
    local kept, session, away = 0, nil, {}
    function hub.onmessage(event)
      event:defer()
      kept, session = kept + 1, event.session
    end
    function hub.onaway(event) away[#away + 1] = event.code .. " " .. event.reason end
    local peer, epoch = visit(server)
    for n = 1, 30 do texts(peer, ("message %d\nhi"):format(n)) end
    assert.same({ 1013, "too much is not acknowledged" }, { ending(peer) })
    assert.equal(10, kept)
    assert.same({ "1013 too much is not acknowledged" }, away)
    peer:close()
    peer = visit(server, ("%s %s 0 1"):format(SESSION, epoch))
    for _, name in ipairs { epoch, "-" } do
      texts(peer, "message 10\nhi\n") -- one that is known may come again
      texts(peer, "message 11\nhi")
      assert.same({ 1013, "too much is not acknowledged" }, { ending(peer) }) -- a new line is no way around it
      assert.equal(10, kept)
      peer:close()
      peer = visit(server, ("%s %s 0 1"):format(SESSION, name))
    end
    session:acknowledge(10)
    for n = 11, 20 do texts(peer, ("message %d\nhi"):format(n)) end
    wire.await(function() return kept == 20 end)
    wire.settle(20)
    assert.equal(3, #away)
    peer:close()
  end)

  it("acknowledges what a handler raised at, once the error has gone its way", function()
    local server, hub = serve()
    local problem = {}
    function hub.onmessage() error(problem) end
    local errors = {}
    function lunawire.onerror(err, source) errors[#errors + 1] = { err, source } end
    local peer = visit(server)
    texts(peer, "message 1\none")
    assert.equal("text ack 1\n", heard(peer))
    assert.equal(1, #errors)
    assert.equal(problem, errors[1][1])
    assert.equal(hub, errors[1][2])
    lunawire.onerror = nil
    texts(peer, "message 2\ntwo")
    local fine, err
    repeat fine, err = pcall(wire.turn) until not fine
    assert.equal(problem, err)
    assert.equal("text ack 2\n", heard(peer))
    peer:close()
  end)

  it("tells a session's own handlers first", function()
    local server, hub, log = serve()
    local own = newLog()
    function hub.onsession(event) note(own, event.session, { "message", "away" }) end
    local peer = visit(server)
    texts(peer, "note\nwriting", "message 1\nhi")
    assert.equal("text ack 1\n", heard(peer))
    peer:close()
    desk.heard(own, "away")
    assert.same({ "note writing" }, log)
    assert.equal("message 1 hi", own[1])
    assert.equal(own.events[1].session, own.events[1].target)
  end)

  it("hands on notes", function()
    local server, _, log = serve()
    local peer = visit(server)
    local raw = {}
    log.events[1].session.socket.onmessage = function(event) raw[1] = event.data end
    assert.is_true(log.events[1].session:note "they write")
    assert.is_true(log.events[1].session:note("\0", "binary"))
    assert.equal("text note\nthey write", heard(peer))
    assert.equal("binary note\n\0", heard(peer))
    texts(peer, "note\nI write")
    peer:frame { "binary", payload = "note\n\255" }
    desk.heard(log, "note", 2)
    assert.same({ "session false ", "note I write", "note \255" }, log)
    assert.same({}, raw)
    wire.settle()
    assert.equal("", peer.bytes) -- nothing is acknowledged
    peer:close()
  end)

  it("compresses neither its name nor what is sent with { compress = false }, a note or a message", function()
    local server, _, log = serve(nil, { perMessageDeflate = { threshold = 0 } })
    local peer = wire.client(server.port, SQUEEZING)
    texts(peer, "hello " .. SESSION .. " - 0 1\n")
    desk.heard(log, "session")
    local session = log.events[1].session
    session:send "1"
    session:send("2", { compress = false })
    session:note "3"
    session:note("4", { compress = false })
    session:note("5", { compress = false, binary = true })
    local list = uncompressed(peer, 6)
    assert.matches("^hello " .. SESSION, list[1])
    list[1] = "hello"
    assert.same({ "hello", "-", "message 2\n2", "-", "note\n4", "note\n5" }, list)
    peer:close()
  end)

  it("sends and takes bytes in any form", function()
    local server, _, log = serve()
    local peer = visit(server)
    local session, buffer = log.events[1].session, lunawire.ArrayBuffer "\0a"
    session.socket.binaryType = "arraybuffer"
    assert.is_true(session:send(buffer))
    assert.is_true(session:send(lunawire.Blob { "\0", "b" }))
    assert.is_true(session:note(buffer))
    buffer:set "zz" -- what was sent is a copy
    assert.equal("binary message 1\n\0a", heard(peer))
    assert.equal("binary message 2\n\0b", heard(peer))
    assert.equal("binary note\n\0a", heard(peer))
    peer:frame({ "binary", payload = "message 1\n\0c" }, { "binary", payload = "note\n\0d" })
    desk.heard(log, "note")
    assert.same({ "session false ", "message 1 \0c", "note \0d" }, log)
    peer:close()
  end)

  it("forgets a session that is away too long, and one that says it is done", function()
    local server, hub, log = serve { sessionTimeout = 60 }
    local peer, epoch = visit(server)
    gone(peer, log)
    assert.equal(1, hub.count)
    desk.heard(log, "end expired")
    assert.equal(0, hub.count)
    local session = log.events[1].session
    assert.equal("expired", session.ended)
    assert.is_false(session:send "too late")
    assert.is_false(session:note "too late")
    assert.is_false(session:note(unreadable()))
    wire.mistake("TypeError", session.note, session, 12)
    session:close()
    local again, other = visit(server, ("%s %s 0 1"):format(SESSION, epoch))
    assert.not_equal(epoch, other)
    texts(again, "end\n", "message 1\nbehind it")
    assert.equal(1000, (ending(again)))
    again:close()
    desk.heard(log, "end closed")
    assert.equal(0, hub.count)
    assert.same({ "session false ", "end closed" }, { log[#log - 1], log[#log] })
  end)

  it("forgets those that are away one after the other, whoever of them comes back #slow", function()
    local server, hub, log = serve { sessionTimeout = 500 }
    local peers, epochs = {}, {}
    local function say(i, epoch)
      peers[i] = wire.client(server.port, SPOKEN)
      texts(peers[i], ("hello %s%d %s 0 1\n"):format(SESSION, i, epoch))
      epochs[i] = heard(peers[i]):match "^text hello %w+ (%x+)"
    end
    for i = 1, 5 do say(i, "-") end
    for _, i in ipairs { 3, 1, 5, 2, 4 } do gone(peers[i], log) end
    for _, i in ipairs { 5, 3, 4 } do say(i, epochs[i]) end -- from the middle, the head, the tail
    desk.heard(log, "end", 2)
    desk.turns(600)
    local ends = {}
    for i, words in ipairs(log) do
      if words == "end expired" then ends[#ends + 1] = log.events[i].session.id:sub(-1) end
    end
    assert.same({ "1", "2" }, ends)
    assert.equal(3, hub.count)
    for _, i in ipairs { 4, 5, 3 } do gone(peers[i], log) end
    desk.heard(log, "end", 5)
    ends = {}
    for i, words in ipairs(log) do
      if words == "end expired" then ends[#ends + 1] = log.events[i].session.id:sub(-1) end
    end
    assert.same({ "1", "2", "4", "5", "3" }, ends)
  end)

  it("does not forget one that came back in time", function()
    local server, hub, log = serve { sessionTimeout = 400 }
    local first, epoch = visit(server)
    gone(first, log)
    local second = visit(server, ("%s %s 0 1"):format(SESSION, epoch))
    desk.turns(500)
    assert.equal(1, hub.count)
    second:reset()
    desk.heard(log, "end expired")
  end)

  it("ends a session for which too much is kept, away or not", function()
    for _, away in ipairs { true, false } do
      local server, hub, log = serve { maxQueuedBytes = 100 }
      local peer = visit(server)
      local session = log.events[1].session
      if away then gone(peer, log) end
      assert.is_true(session:send(("x"):rep(60)))
      desk.raises("QuotaExceededError", "101 bytes are more than maxQueuedBytes (100)", session.send, session, ("x"):rep(101))
      assert.equal(1, hub.count)
      assert.is_false(session:send(("x"):rep(41)))
      assert.not_equal("end overflow", log[#log])
      assert.equal(0, hub.count)
      assert.equal(0, session.bufferedAmount)
      desk.heard(log, "end overflow")
      if not away then
        assert.matches("^text message 1\n", heard(peer))
        assert.equal(1013, (ending(peer)))
        peer:close()
      end
    end
  end)

  it("keeps empty messages within bounds, too", function()
    local server, _, log = serve { maxQueuedMessages = 3 }
    local peer = visit(server)
    local session = log.events[1].session
    for _ = 1, 3 do assert.is_true(session:send "") end
    assert.is_false(session:send "")
    peer:close()
  end)

  it("lets the session that is away longest go when there are too many, and refuses one more when all are there", function()
    local server, hub, log = serve { maxSessions = 2 }
    local peers = {}
    local function enter(i)
      peers[i] = wire.client(server.port, SPOKEN)
      texts(peers[i], ("hello %s%d - 0 1\n"):format(SESSION, i))
    end
    for i = 1, 2 do
      enter(i)
      heard(peers[i])
    end
    enter(3)
    assert.same({ 1013, "too many sessions" }, { ending(peers[3]) })
    gone(peers[2], log)
    gone(peers[1], log)
    enter(4)
    assert.matches("^text hello", heard(peers[4]))
    desk.heard(log, "end overflow")
    local ids = {}
    for session in hub:each() do ids[session.id] = true end
    assert.same({ [SESSION .. "1"] = true, [SESSION .. "4"] = true }, ids)
    for _, peer in pairs(peers) do peer:close() end
  end)

  it("ends a session when the application says so, and tells it next turn", function()
    local server, hub, log = serve()
    local peer = visit(server)
    local session = log.events[1].session
    desk.raises("InvalidAccessError", "the code 999", session.close, session, 999)
    desk.raises("SyntaxError", "a reason needs a code", session.close, session, nil, "why")
    session:send "last words"
    session:close(4001, "that was all")
    session:close()
    assert.equal(1, #log)
    assert.same({ "text message 1\nlast words", "text end\n" }, { heard(peer), heard(peer) })
    assert.same({ 4001, "that was all" }, { ending(peer) })
    peer:close()
    desk.heard(log, "end server")
    assert.same({ "session false ", "end server" }, log)
    assert.equal(0, hub.count)
  end)

  it("may be walked over while its sessions end", function()
    local server, hub, log = serve()
    for i = 1, 5 do
      local peer = wire.client(server.port, SPOKEN)
      texts(peer, ("hello %s%d - 0 1\n"):format(SESSION, i))
      heard(peer)
    end
    local n = 0
    for _ in hub:each() do
      n = n + 1
      for session in hub:each() do session:close() end
    end
    assert.equal(1, n)
    wire.clear()
    desk.heard(log, "end server", 5)
  end)

  it("ends all sessions with its server", function()
    local server, hub, log = serve()
    local peer = visit(server)
    server:close()
    assert.equal(1001, (ending(peer)))
    peer:closing(1001)
    peer:close()
    desk.heard(log, "end server")
    assert.same({ "session false ", "away 1001 ", "end server" }, log)
    assert.equal(0, hub.count)
    assert.is_true(lunawire.run(3000))
  end)

  it("waits for the socket to drain, and sends all in the end", function()
    local server, hub = serve({ maxQueuedBytes = 10 * 1024 * 1024 }, { highWaterMark = 64 * 1024 })
    local most, session = 0, nil
    function hub.onsession(event) session = event.session end
    local peer = visit(server)
    peer.reading = false
    local payload = ("x"):rep(16 * 1024)
    for _ = 1, 600 do
      session:send(payload)
      most = math.max(most, session.socket.bufferedAmount)
    end
    wire.settle()
    assert.is_true(most < 128 * 1024, most)
    peer.reading = true
    for n = 1, 600 do
      local frame = peer:next()
      assert.equal(("message %d\n"):format(n), frame.payload:sub(1, -#payload - 1))
    end
    peer:close()
  end)

  it("names what it cannot take", function()
    local server = desk.listen { protocols = { reliable.protocol } }
    desk.raises("TypeError", "a WebSocketServer expected, got nil", reliable.server)
    desk.raises("TypeError", "a table expected, got number", reliable.server, server, 1)
    desk.raises("TypeError", 'unknown option "sesionTimeout" (did you mean "sessionTimeout"?)', reliable.server, server,
      { sesionTimeout = 1 })
    for _, case in ipairs {
      { "sessionTimeout", 0, "milliseconds over 0 expected, got 0" },
      { "sessionTimeout", math.huge, "milliseconds over 0 expected, got inf" },
      { "sessionTimeout", 0 / 0, "milliseconds over 0 expected" },
      { "maxSessions", 1.5, "a whole number over 0 expected, got 1.5" },
      { "maxQueuedBytes", "many", 'a whole number over 0 expected, got "many"' },
      { "restore", {}, "a function expected, got table" },
    } do
      desk.raises("TypeError", ('option "%s": %s'):format(case[1], case[3]), reliable.server, server, { [case[1]] = case[2] })
    end
    local _, hub = serve()
    assert.is_false(pcall(function() hub.onmesage = print end))
    assert.is_false(pcall(function() hub.count = 1 end))
  end)
end)

describe("a reliable client", function()
  local place

  before_each(function()
    desk.open()
    place = wire.server()
  end)
  after_each(desk.clear)

  -- A link over a plain socket, or one that comes back; what it hears; its socket.
  local function start(options, plain)
    options = options or {}
    options.session = options.session or SESSION
    local socket = plain and lunawire.WebSocket(place.url, reliable.protocol) or comeback(place.url)
    desk.finally(function() socket:close() end)
    local link, log = reliable.client(socket, options), newLog()
    note(log, link, { "ready", "message", "note", "lost", "drain", "error", "close" })
    return link, log, socket
  end

  local function accept() return place:open(SPOKEN) end

  -- The same, after the hellos; what the client's said.
  local function welcome(rest)
    local peer = accept()
    local said = heard(peer)
    texts(peer, ("hello %s %s\n"):format(SESSION, rest or "e1 0 1"))
    return peer, said
  end

  it("says hello first, with a greeting that may change, and sends what it has after the answer", function()
    local line = 7
    local link, log = start { greeting = function()
      line = line + 1
      return "I saw line " .. line
    end }
    link:send "one"
    link:send("two\0", "binary")
    local peer = accept()
    assert.equal("text hello 0123456789abcdef - 0 1\nI saw line 8", heard(peer))
    wire.settle()
    assert.equal("", peer.bytes)
    assert.is_false(link.connected)
    texts(peer, "hello " .. SESSION .. " e1 0 1\n")
    assert.same({ "text message 1\none", "binary message 2\ntwo\0" }, { heard(peer), heard(peer) })
    assert.is_true(link.connected)
    assert.same({ "ready false" }, log)
    peer:close()
    peer = accept()
    assert.equal("text hello 0123456789abcdef e1 0 1\nI saw line 9", heard(peer))
    peer:close()
  end)

  it("chooses an unguessable session when it is given none", function()
    local seen = {}
    for _ = 1, 3 do
      local socket = lunawire.WebSocket(place.url, reliable.protocol)
      local link = reliable.client(socket)
      assert.matches("^" .. ("%x"):rep(32) .. "$", link.session)
      assert.is_nil(seen[link.session])
      seen[link.session] = true
      socket:close()
    end
  end)

  it("tells its receipts what became of them", function()
    local link, log = start()
    local order = {}
    local function done(receipt) order[#order + 1] = receipt.number end
    local one = link:send("one", nil, done)
    local two = link:send "two"
    two.ondone = done
    local three = link:send("three", nil, done)
    assert.same({ 1, 2, 3 }, { one.number, two.number, three.number })
    assert.equal(3, link.unacknowledged)
    assert.equal(#"onetwothree", link.bufferedAmount)
    local peer = welcome()
    for _ = 1, 3 do heard(peer) end
    texts(peer, "ack 2\n")
    wire.await(function() return #order == 2 end)
    assert.same({ 1, 2 }, order)
    assert.is_true(one.acknowledged and two.acknowledged)
    assert.is_false(three.acknowledged)
    assert.equal(1, link.unacknowledged)
    texts(peer, "ack 3\n")
    desk.heard(log, "drain")
    assert.same({ 1, 2, 3 }, order)
    assert.is_nil(three.error)
    assert.equal(0, link.bufferedAmount)
    peer:close()
  end)

  it("compresses neither its name nor what is sent with { compress = false }, a note or a message", function()
    local socket = lunawire.WebSocket(place.url, reliable.protocol, { perMessageDeflate = { threshold = 0 } })
    local link = reliable.client(socket, { session = SESSION })
    desk.finally(function() socket:close() end)
    local peer = place:open(SQUEEZING)
    local list = uncompressed(peer, 1)
    assert.matches("^hello " .. SESSION, list[1])
    texts(peer, "hello " .. SESSION .. " e1 0 1\n")
    wire.await(function() return link.connected end)
    link:send "1"
    link:send("2", { compress = false })
    link:note "3"
    link:note("4", { compress = false })
    link:note("5", { compress = false, binary = true })
    assert.same({ "-", "message 2\n2", "-", "note\n4", "note\n5" }, uncompressed(peer, 5))
    peer:close()
  end)

  it("sends and takes bytes in any form", function()
    local link, log, socket = start()
    local buffer = lunawire.ArrayBuffer "\0a"
    socket.binaryType = "blob"
    link:send(buffer)
    link:send(lunawire.Blob { "\0", "b" })
    buffer:set "zz" -- what was sent is a copy
    local peer = welcome()
    assert.equal("binary message 1\n\0a", heard(peer))
    assert.equal("binary message 2\n\0b", heard(peer))
    assert.is_true(link:note(buffer))
    assert.equal("binary note\nzz", heard(peer))
    peer:frame { "binary", payload = "message 1\n\0c" }
    desk.heard(log, "message")
    assert.equal("\0c", log.events[#log].data)
    peer:close()
  end)

  it("comes back, and sends again what the server does not have", function()
    local link, log = start()
    local receipts = {}
    for n = 1, 4 do receipts[n] = link:send("m" .. n) end
    local peer = welcome()
    for _ = 1, 4 do heard(peer) end
    texts(peer, "message 1\nhi", "ack 1\n")
    assert.equal("text ack 1\n", heard(peer))
    peer:reset()
    desk.heard(log, "lost")
    link:send "m5"
    local said
    peer, said = welcome "e1 3 2"
    assert.equal("text hello 0123456789abcdef e1 1 2\n", said)
    assert.same({ "text message 4\nm4", "text message 5\nm5" }, { heard(peer), heard(peer) })
    assert.equal(2, link.unacknowledged)
    wire.await(function() return receipts[3].acknowledged end) -- the hello said it
    assert.is_true(receipts[2].acknowledged)
    assert.is_false(receipts[4].acknowledged)
    texts(peer, "message 2\nhi again")
    desk.heard(log, "message 2")
    assert.same({ "ready false", "message 1 hi", "ready true", "message 2 hi again" },
      { log[1], log[2], log[4], log[5] })
    peer:close()
  end)

  it("acknowledges once a turn, and what it knows again", function()
    local _, log = start()
    local peer = welcome()
    texts(peer, "message 1\none", "message 2\ntwo", "message 3\nthree")
    assert.equal("text ack 3\n", heard(peer))
    texts(peer, "message 2\ntwo")
    assert.equal("text ack 3\n", heard(peer))
    assert.same({ "ready false", "message 1 one", "message 2 two", "message 3 three" }, log)
    peer:close()
  end)

  -- What a ReconnectingWebSocket could not hand to the system it sends over the next line, by itself. Messages of the old
  -- line came between the two hellos of the new one, with a gap before them, and the server took us for broken.
  it("sends nothing before the hellos that the last line left over", function()
    local link, log = start()
    local peer = welcome()
    desk.heard(log, "ready")
    peer.reading = false
    local payload = ("x"):rep(1000000)
    for _ = 1, 12 do link:send(payload) end
    wire.settle()
    assert.is_true(link:note "also left over")
    peer:reset()
    desk.heard(log, "lost")
    peer = accept()
    assert.equal("text hello 0123456789abcdef e1 0 1\n", heard(peer))
    desk.turns(30)
    wire.settle()
    assert.equal("", peer.bytes)
    texts(peer, "hello " .. SESSION .. " e1 0 1\n")
    for n = 1, 12 do assert.equal(("text message %d\n"):format(n), heard(peer):sub(1, -#payload - 1)) end
    wire.settle()
    assert.equal("", peer.bytes)
    peer:close()
  end)

  it("begins anew with a server that forgot", function()
    local link, log = start()
    link:send "one"
    local peer = welcome()
    heard(peer)
    texts(peer, "message 1\nold")
    assert.equal("text ack 1\n", heard(peer))
    peer:reset()
    peer = welcome "e2 0 1"
    assert.equal("text message 1\none", heard(peer))
    texts(peer, "message 1\nnew", "ack 1\n")
    assert.equal("text ack 1\n", heard(peer))
    desk.heard(log, "drain")
    assert.same({ "ready false", "message 1 old", "ready false", "message 1 new", "drain" },
      { log[1], log[2], log[4], log[5], log[6] })
    peer:close()
  end)

  it("continues the session of an earlier program", function()
    local link = start()
    local receipt = link:send "one"
    local peer = welcome "e1 57 1"
    assert.equal("text message 58\none", heard(peer))
    assert.equal(58, receipt.number)
    texts(peer, "ack 58\n")
    wire.await(function() return receipt.acknowledged end)
    assert.equal(59, link:send("two").number)
    peer:close()
  end)

  it("never shows the application what is on the wire", function()
    local link, log, socket = start(nil, true)
    local raw = {}
    function socket.onmessage(event) raw[#raw + 1] = event.data end
    local peer = welcome()
    texts(peer, "note\nhi")
    desk.heard(log, "note hi")
    assert.is_true(link:note "I write")
    assert.equal("text note\nI write", heard(peer))
    assert.same({}, raw)
    peer:close()
    desk.heard(log, "close")
    assert.is_false(link:note "nobody hears")
    assert.is_false(link:note(unreadable()))
    wire.mistake("TypeError", link.note, link, 12)
  end)

  local wrong = {
    { "something else than a hello", "welcome\n" }, { "a message before the hello", "message 1\nhi" },
    { "a hello for another session", "hello fedcba9876543210 e1 0 1\n" },
    { "a hello without epoch", "hello " .. SESSION .. " - 0 1\n" },
    { "a gap", "hello " .. SESSION .. " e1 0 1\n", "message 2\nhi" },
    { "an ack of nothing", "hello " .. SESSION .. " e1 0 1\n", "ack 2\n" },
    { "a second hello", "hello " .. SESSION .. " e1 0 1\n", "hello " .. SESSION .. " e1 0 1\n" },
  }
  for _, case in ipairs(wrong) do
    it("closes with 3000 for good after " .. case[1], function()
      local link, log, socket = start()
      local peer = accept()
      heard(peer)
      texts(peer, case[2], case[3])
      desk.heard(log, "error protocol")
      local receipt = pcall(link.send, link, "too late")
      assert.is_false(receipt)
      peer:closing(3000)
      assert.equal(3000, (ending(peer)))
      peer:close()
      desk.heard(log, "close 3000")
      desk.turns(30)
      assert.equal(1, socket:dials())
    end)
  end

  local verdicts = {
    { 3000, "protocol" }, { 3001, "taken" }, { 1009, "tooBig" },
  }
  for _, case in ipairs(verdicts) do
    it(("stops when the server closes with %d, and says why"):format(case[1]), function()
      local link, log, socket = start()
      local receipt = link:send "one"
      local peer = welcome()
      heard(peer)
      peer:closing(case[1], "you know why")
      peer:shutdown()
      desk.heard(log, "close")
      desk.turns(30)
      assert.same({ "ready false", ("lost %d you know why"):format(case[1]), "error " .. case[2],
        ("close %d you know why"):format(case[1]) }, log)
      assert.matches("you know why", log.events[3].message)
      assert.equal("NetworkError", receipt.error.name)
      assert.equal(1, socket:dials())
      peer:close()
    end)
  end

  it("refuses a server that does not speak the protocol", function()
    local socket = lunawire.WebSocket(place.url)
    local link, log = reliable.client(socket), newLog()
    note(log, link, { "error", "close" })
    local peer = place:open()
    local code, reason = ending(peer)
    assert.equal(3000, code)
    assert.matches("lunawire.reliable.1 was not agreed on", reason)
    peer:close()
    desk.heard(log, "close")
    assert.equal("error protocol", log[1])
  end)

  it("drops a line on which no hello comes in time, and tries again", function()
    local _, _, socket = start { helloTimeout = 200 }
    local peer = accept()
    heard(peer)
    peer:finish()
    peer = welcome()
    desk.turns(300)
    assert.equal(1, socket.readyState)
    assert.equal(2, socket:dials())
    peer:close()
  end)

  it("gives up what is too old", function()
    local link, log = start { maxAge = 200 }
    local one = link:send "one"
    local peer = welcome()
    assert.equal("text message 1\none", heard(peer))
    wire.await(function() return one.error end)
    assert.equal("TimeoutError", one.error.name)
    assert.is_false(one.acknowledged)
    assert.equal(0, link.unacknowledged)
    desk.heard(log, "drain")
    peer:reset()
    desk.heard(log, "lost")
    local three
    link:send("two", nil, function() three = link:send "three" end)
    local next = accept()
    assert.equal("text hello 0123456789abcdef e1 0 2\n", heard(next))
    wire.await(function() return three end) -- the second is given up between the hellos
    texts(next, "hello " .. SESSION .. " e1 1 1\n")
    assert.same({ "text skip 2\n", "text message 3\nthree" }, { heard(next), heard(next) })
    texts(next, "ack 3\n")
    wire.await(function() return three.acknowledged end)
    next:close()
  end)

  it("gives up each in its time", function()
    local link, log = start { maxAge = 300 }
    local one, two = link:send "one", nil
    lunawire.setTimeout(function() two = link:send "two" end, 150)
    wire.await(function() return one.error end)
    assert.is_nil(two.error)
    wire.await(function() return two.error end)
    desk.heard(log, "drain")
  end)

  it("waits for nothing when there is nothing to give up", function()
    local link, log = start({ maxAge = 3600000 }, true)
    link:send "one"
    local peer = welcome()
    heard(peer)
    assert.is_true(lunawire.timeout() > 3500000)
    texts(peer, "ack 1\n")
    desk.heard(log, "drain")
    wire.settle()
    assert.is_true((lunawire.timeout() or 0) < 60000)
    peer:close()
  end)

  it("keeps no more than it may", function()
    local link = start { maxQueuedMessages = 3, maxQueuedBytes = 10, maxMessageSize = 8 }
    desk.raises("QuotaExceededError", "9 bytes are more than maxMessageSize (8)", link.send, link, ("x"):rep(9))
    link:send "12345"
    desk.raises("QuotaExceededError", "1 messages of 5 bytes", link.send, link, "123456")
    link:send "12345"
    link:send ""
    desk.raises("QuotaExceededError", "3 messages of 10 bytes", link.send, link, "")
    assert.equal(3, link.unacknowledged)
    desk.raises("TypeError", "UTF-8", link.send, link, "\255")
    desk.raises("TypeError", "a function expected, got number", link.send, link, "", nil, 1)
    desk.raises("TypeError", "a string, an ArrayBuffer or a Blob expected, got nil", link.send, link)
    assert.equal(3, link.unacknowledged)
  end)

  it("says farewell, and tells who still waited", function()
    local link, log, socket = start()
    local one = link:send "one"
    local peer = welcome()
    heard(peer)
    desk.raises("InvalidAccessError", "the code 1001", link.close, link, 1001)
    desk.raises("InvalidAccessError", "the code 3000.5", link.close, link, 3000.5)
    desk.raises("SyntaxError", "124 bytes", link.close, link, 1000, ("x"):rep(124))
    desk.raises("SyntaxError", "a reason needs a code", link.close, link, nil, "x")
    desk.raises("SyntaxError", "UTF-8", link.close, link, 1000, "\255")
    link:close(4000, "bye")
    link:close()
    assert.is_nil(one.error)
    assert.is_false(link.connected)
    desk.raises("InvalidStateError", "the link is closed", link.send, link, "two")
    assert.equal("text end\n", heard(peer))
    assert.same({ 4000, "bye" }, { ending(peer) })
    peer:closing(4000, "bye")
    peer:shutdown()
    desk.heard(log, "close 4000 bye")
    assert.same({ "AbortError", false }, { one.error.name, one.acknowledged })
    assert.same({ "ready false", "close 4000 bye" }, log)
    desk.turns(30)
    assert.equal(1, socket:dials())
    peer:close()
  end)

  it("may be closed before it is open, and after it has ended", function()
    local link, log = start()
    local one = link:send "one"
    link:close()
    desk.heard(log, "close 1006")
    assert.equal("AbortError", one.error.name)
    link:close()
    wire.settle()
    assert.equal(1, #log)
    wire.settle()
  end)

  it("ends when the server ends the session", function()
    local link, log, socket = start()
    local one = link:send "one"
    local peer = welcome()
    heard(peer)
    texts(peer, "end\n")
    peer:closing(4001, "enough")
    peer:shutdown()
    desk.heard(log, "close")
    assert.same({ "ready false", "close 4001 enough" }, log)
    assert.equal("NetworkError", one.error.name)
    desk.turns(30)
    assert.equal(1, socket:dials())
    peer:close()
  end)

  it("ends with a socket that does not come back", function()
    local link, log = start(nil, true)
    local one = link:send "one"
    local peer = welcome()
    heard(peer)
    peer:reset()
    desk.heard(log, "close 1006")
    assert.equal("NetworkError", one.error.name)
    desk.raises("InvalidStateError", "the link is closed", link.send, link, "two")
  end)

  it("may be put on a socket that is open already, or closed", function()
    local socket = lunawire.WebSocket(place.url, reliable.protocol)
    local peer = accept()
    wire.await(function() return socket.readyState == 1 end)
    local link, log = reliable.client(socket, { session = SESSION }), newLog()
    note(log, link, { "ready", "close" })
    assert.equal("text hello 0123456789abcdef - 0 1\n", heard(peer))
    texts(peer, "hello " .. SESSION .. " e1 0 1\n")
    desk.heard(log, "ready")
    peer:close()
    desk.heard(log, "close")
    desk.raises("InvalidStateError", "has a link already", reliable.client, socket)
    local late, again = lunawire.WebSocket(place.url, reliable.protocol), newLog()
    late:close()
    wire.await(function() return late.readyState == 3 end)
    note(again, reliable.client(late), { "close" })
    desk.heard(again, "close 1006")
  end)

  it("waits for the socket to drain, and sends all in the end", function()
    local socket = lunawire.WebSocket(place.url, reliable.protocol, { highWaterMark = 64 * 1024 })
    local link = reliable.client(socket, { session = SESSION })
    local peer = welcome()
    wire.await(function() return link.connected end)
    peer.reading = false
    local payload, most = ("x"):rep(16 * 1024), 0
    for _ = 1, 600 do
      link:send(payload, "binary")
      most = math.max(most, socket.bufferedAmount)
    end
    wire.settle()
    assert.is_true(most < 128 * 1024, most)
    assert.equal(600 * #payload, link.bufferedAmount)
    peer.reading = true
    for n = 1, 600 do
      local frame = peer:next()
      assert.equal(("message %d\n"):format(n), frame.payload:sub(1, -#payload - 1))
    end
    texts(peer, "ack 600\n")
    wire.await(function() return link.unacknowledged == 0 end)
    peer:close()
  end)

  it("calls every receipt, whatever one of them raises", function()
    local link, log = start()
    local errors, done = {}, 0
    function lunawire.onerror(err, source) errors[#errors + 1] = { err, source } end
    link:send("one", nil, function() error("first", 0) end).ondone = function() error("second", 0) end
    link:send("two", nil, function() done = done + 1 end)
    local peer = welcome()
    heard(peer)
    heard(peer)
    texts(peer, "ack 2\n")
    desk.heard(log, "drain")
    assert.equal(1, done)
    assert.same({ { "first", link }, { "second", link } }, errors)
    peer:close()
  end)

  it("lets an error out of run, value and type unchanged, when nobody takes it", function()
    local link = start { maxAge = 20 }
    local problem, done = {}, 0
    for _ = 1, 3 do link:send("x", nil, function()
      done = done + 1
      if done == 2 then error(problem) end
      if done == 3 then error "to warn" end
    end) end
    local fine, err = pcall(lunawire.run, 5000)
    assert.is_false(fine)
    assert.equal(problem, err)
    assert.equal(3, done)
    assert.equal(0, link.unacknowledged)
  end)

  it("goes on when a handler raises", function()
    local link, log = start()
    local errors = {}
    function lunawire.onerror(err) errors[#errors + 1] = err end
    link:addEventListener("message", function() error("mine", 0) end, { capture = true })
    local peer = welcome()
    texts(peer, "message 1\none")
    assert.equal("text ack 1\n", heard(peer))
    assert.same({ "mine" }, errors)
    assert.equal("message 1 one", log[2])
    peer:close()
  end)

  it("names what it cannot take", function()
    local socket = comeback(place.url)
    socket:close()
    desk.raises("TypeError", "a WebSocket expected, got string", reliable.client, "ws://127.0.0.1/")
    desk.raises("TypeError", 'unknown option "greting" (did you mean "greeting"?)', reliable.client, socket,
      { greting = "" })
    desk.raises("TypeError", 'option "session": 16 to 64 of A-Z a-z 0-9 _ - expected, got "short"', reliable.client,
      socket, { session = "short" })
    desk.raises("TypeError", 'option "greeting": a string or a function expected, got 1', reliable.client, socket,
      { greeting = 1 })
  end)
end)

describe("both ends of ours", function()
  before_each(desk.open)
  after_each(desk.clear)

  it("lose nothing and double nothing while the line is cut and the server starts again #slow", function()
    local journal, last = {}, {}
    local server, hub, port, done
    local function open()
      if done then return end
      server = desk.listen { protocols = { reliable.protocol }, port = port }
      port = server.port
      hub = reliable.server(server, { restore = function(id) return last[id] end })
      function hub.onmessage(event)
        journal[#journal + 1], last[event.session.id] = event.data, event.number
        event.session:send("echo " .. event.data)
      end
    end
    open()
    local socket = comeback(server.url, 10)
    local link = reliable.client(socket)
    local acknowledged, echoes, ready = {}, {}, 0
    function link.onready() ready = ready + 1 end
    function link.onmessage(event)
      assert(not echoes[event.data], event.data)
      echoes[event.data] = true
    end
    local sent, cuts = 0, 0
    local beat = lunawire.setInterval(function()
      for _ = 1, 5 do
        if sent < 2000 then
          sent = sent + 1
          link:send(tostring(sent), nil, function(receipt) acknowledged[#acknowledged + 1] = receipt.number end)
        end
      end
    end, 1)
    local saw = lunawire.setInterval(function()
      if sent == 2000 then return end
      cuts = cuts + 1
      if cuts % 4 == 0 then
        for session in hub:each() do if session.socket then session.socket:terminate() end end
        server:close()
        server.onclose = open
      elseif cuts % 2 == 0 then
        socket:terminate()
      else
        for session in hub:each() do if session.socket then session.socket:terminate() end end
      end
    end, 30)
    wire.await(function() return #acknowledged == 2000 end, function()
      return ("2000 acknowledgements; %d so far, %d sent"):format(#acknowledged, sent)
    end, 30)
    done = true
    beat:close()
    saw:close()
    assert.equal(2000, #journal)
    for i = 1, 2000 do
      assert.equal(tostring(i), journal[i])
      assert.equal(i, acknowledged[i])
    end
    assert.is_true(ready > 5, ready)
    link:close()
  end)
end)

describe("the page's end of it #foreign", function()
  local node

  setup(function() node = foreign.node "reliable.js" end)
  teardown(function() node:stop() end)
  before_each(desk.open)
  after_each(desk.clear)

  local function ask(what, arguments) return node:ask(what, arguments) end

  it("has every message acknowledged once, over cuts and a server that starts again", function()
    local journal, last, doubles = {}, {}, 0
    local server, hub, port, seen, done
    local function open()
      if done then return end
      server = desk.listen { protocols = { reliable.protocol }, port = port }
      port, seen = server.port, {}
      hub = reliable.server(server, { restore = function(id) return last[id] end })
      function hub.onmessage(event)
        if seen[event.number] then doubles = doubles + 1 end
        seen[event.number] = true
        journal[#journal + 1], last[event.session.id] = event.data, event.number
        event.session:send("echo " .. event.data, event.binary and "binary" or nil)
      end
    end
    open()
    local cuts = 0
    local saw = lunawire.setInterval(function()
      cuts = cuts + 1
      for session in hub:each() do if session.socket then session.socket:terminate() end end
      if cuts % 3 == 0 then
        server:close()
        server.onclose = open
      end
    end, 50)
    local said = ask("talk", { url = server.url, count = 1000 })
    done = true
    saw:close()
    assert.equal(0, doubles)
    assert.equal(1000, #journal)
    for i = 1, 1000 do assert.equal(("line %d \u{e4}\u{1f600}"):format(i), journal[i]) end
    assert.equal(1000, said.acknowledged)
    assert.is_true(said.inOrder)
    assert.equal(0, said.doubles)
    assert.is_true(said.ready > 3, said.ready)
    assert.is_true(cuts > 3, cuts)
  end)

  it("gets what it missed, once and in order, binary as binary", function()
    local server, hub, log = serve()
    local finish = node:begin("listen", { url = server.url, count = 20 })
    desk.heard(log, "session")
    local session = log.events[1].session
    for i = 1, 10 do session:send("m" .. i) end
    wire.await(function() return session.unacknowledged == 0 end)
    session.socket:terminate()
    wire.await(function() return not session.socket end)
    for i = 11, 20 do session:send("m" .. i, i % 2 == 0 and "binary" or nil) end
    local said = finish()
    local due = {}
    for i = 1, 20 do due[i] = (i > 10 and i % 2 == 0 and "binary " or "text ") .. "m" .. i end
    assert.same(due, said.heard)
    assert.same({ false, true }, said.ready)
    desk.heard(log, "end closed")
    assert.equal(0, hub.count)
    local greetings = {}
    for i, words in ipairs(log) do
      if log.events[i].greeting then greetings[#greetings + 1] = words end
    end
    assert.same({ "session false seen 0", "resume true seen 10" }, greetings)
  end)

  it("stops, and says so, when another takes its session over", function()
    local server, _, log = serve()
    local said = ask("twice", { url = server.url })
    assert.same({ "taken" }, said.first)
    assert.is_true(said.second)
    assert.equal("resume", log[2]:match "^%l+")
  end)

  it("tells by the message's error what is given up", function()
    local server = serve()
    local said = ask("bounds", { url = server.url })
    assert.same({ tooMany = "QuotaExceededError", tooLarge = "QuotaExceededError", closed = "AbortError" }, said)
  end)

  it("closes with 3000 when the server is broken", function()
    local place = wire.server()
    local finish = node:begin("broken", { url = place.url })
    local peer = place:open(SPOKEN)
    assert.matches("^text hello [0-9a-f]+ %- 0 1\n$", heard(peer))
    texts(peer, "message 1\nhi")
    assert.equal(3000, (ending(peer)))
    peer:closing(3000)
    peer:close()
    local said = finish()
    assert.same({ "protocol" }, said.errors)
  end)
end)
