-- What lives, what is collected, and what is left at the end: nothing.

local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local sys = probe.sys
local WebSocket, WebSocketServer = lunawire.WebSocket, lunawire.WebSocketServer

local function collect()
  collectgarbage()
  collectgarbage()
end

-- Makes a client that is open and returns its raw peer, and a weak table that holds the
-- client until it is collected. `prepare` is given the client. A deaf peer does not read.
local function forgotten(prepare, deaf)
  local server, weak = wire.server(), setmetatable({}, { __mode = "v" })
  local function make()
    local ws = WebSocket(server.url)
    weak.ws = ws
    local peer = server:open()
    wire.await(function() return ws.readyState == 1 end)
    peer.reading = not deaf
    if prepare then prepare(ws) end
    return peer
  end
  local peer = make()
  collect()
  return peer, weak
end

-- The peer gets a Close without a status, answers, and the line ends.
local function ends_politely(peer)
  local frame = peer:next()
  assert.equal(8, frame.opcode)
  assert.equal("", frame.payload)
  peer:closing()
  peer:shutdown()
  assert.equal("eof", (peer:finish()))
  peer:close()
end

describe("a client socket that nobody refers to", function()
  before_each(turns.open)
  after_each(turns.clear)

  for _, name in ipairs { "message", "error", "close", "ping", "pong", "drain" } do
    it("lives while somebody listens for " .. name, function()
      for _, way in ipairs { "handler", "listener", "capturing listener", "listener for once" } do
        local peer, weak = forgotten(function(ws)
          if way == "handler" then ws["on" .. name] = function() end
          else
            ws:addEventListener(name, function() end,
              { once = way == "listener for once", capture = way == "capturing listener" })
          end
        end)
        wire.settle(5)
        collect()
        assert.is_not_nil(weak.ws)
        peer:move()
        assert.equal("", peer.bytes)
        peer:close()
        assert.is_true(lunawire.run(5000))
        collect()
        assert.is_nil(weak.ws) -- there is nothing more to come
      end
    end)
  end

  it("lives while it connects and somebody listens for open, and gets its event", function()
    local server, weak, opened = wire.server(), setmetatable({}, { __mode = "v" }), false
    do
      weak.ws = WebSocket(server.url)
      weak.ws.onopen = function() opened = true end
    end
    collect()
    assert.is_not_nil(weak.ws)
    local peer = server:open()
    wire.await(function() return opened end)
    collect()
    assert.is_nil(weak.ws) -- it will not open again
    ends_politely(peer)
  end)

  it("gets its events: messages, and one close", function()
    local heard = {}
    local peer = forgotten(function(ws)
      ws.onmessage = function(event) heard[#heard + 1] = event.data end
      ws.onclose = function(event) heard[#heard + 1] = event.code end
    end)
    for i = 1, 3 do
      peer:frame { "text", payload = tostring(i) }
      wire.await(function() return #heard == i end)
      collect()
    end
    peer:closing(1000)
    peer:next()
    peer:close()
    wire.await(function() return #heard == 4 end)
    assert.same({ "1", "2", "3", 1000 }, heard)
  end)

  describe("is collected and ended with a Close without status", function()
    it("when nobody ever listened", function()
      local peer, weak = forgotten()
      assert.is_nil(weak.ws)
      ends_politely(peer)
    end)

    it("when its last handler and its last listener are taken away", function()
      local peer, weak = forgotten(function(ws)
        local function fn() end
        ws.onmessage, ws.onclose = fn, fn
        ws:addEventListener("message", fn)
        ws:addEventListener("close", fn, true)
        ws.onmessage, ws.onclose = nil, nil
        ws:removeEventListener("message", fn)
        ws:removeEventListener("close", fn, true)
      end)
      assert.is_nil(weak.ws)
      ends_politely(peer)
    end)

    it("when its only listener listened once, and has heard", function()
      local heard = 0
      local peer, weak = forgotten(function(ws)
        ws:addEventListener("message", function() heard = heard + 1 end, { once = true })
      end)
      peer:frame { "text", payload = "x" }
      wire.await(function() return heard == 1 end)
      collect()
      assert.is_nil(weak.ws)
      ends_politely(peer)
    end)

    it("when its handler takes itself away", function()
      local heard = 0
      local peer, weak = forgotten(function(ws)
        ws.onmessage = function(event)
          heard = heard + 1
          event.target.onmessage = nil
        end
      end)
      peer:frame { "text", payload = "x" }
      wire.await(function() return heard == 1 end)
      collect()
      assert.is_nil(weak.ws)
      ends_politely(peer)
    end)

    it("and what it had sent goes before", function()
      local peer, weak = forgotten(function(ws)
        ws:send "one"
        ws:send(("x"):rep(100000), "binary")
      end)
      assert.is_nil(weak.ws)
      assert.equal("one", peer:next().payload)
      assert.equal(100000, #peer:next().payload)
      ends_politely(peer)
    end)

    it("and what it had sent goes before, however slowly the peer reads #slow", function()
      local peer, weak = forgotten(function(ws)
        for _ = 1, 20 do ws:send(("x"):rep(300000), "binary") end
      end, true)
      assert.is_nil(weak.ws)
      wire.settle()
      peer.reading = true
      for _ = 1, 20 do assert.equal(300000, #peer:next().payload) end
      ends_politely(peer)
    end)
  end)

  it("is collected while it connects, if nobody listens: the line ends", function()
    local server = wire.server()
    do
      local _ = WebSocket(server.url)
    end
    local peer = server:asked()
    collect()
    assert.equal("eof", (peer:finish()))
    assert.is_true(lunawire.run(5000))
  end)

  it("is collected before it ever began to connect", function()
    for _ = 1, 100 do local _ = WebSocket "ws://127.0.0.1:1/" end
    collect()
    assert.is_true(lunawire.run(5000))
  end)

  it("is collected while it closes, and the closing handshake goes on", function()
    local peer, weak = forgotten(function(ws) ws:close(3000, "bye") end)
    assert.is_nil(weak.ws)
    local frame = peer:next()
    assert.equal("\x0b\xb8bye", frame.payload)
    assert.is_false(lunawire.run(0))
    peer:closing(3000)
    peer:shutdown()
    assert.equal("eof", (peer:finish()))
  end)

  it("may have its __gc called by hand, twice: then it hears nothing more, and is collected", function()
    local peer, weak = forgotten(function(ws)
      ws.onmessage, ws.onclose = error, error
      local gc = debug.getmetatable(ws).__gc
      gc(ws)
      gc(ws)
      assert.equal(3, ws.readyState)
      assert.is_false(ws:send "x")
      ws:close()
      ws:terminate()
    end)
    assert.is_nil(weak.ws)
    ends_politely(peer)
  end)

  it("survives in its own event", function()
    local heard
    local peer, weak = forgotten(function(ws)
      ws.onmessage = function(event)
        event.target.onmessage = nil
        collect()
        heard = event
      end
    end)
    peer:frame { "text", payload = "x" }
    wire.await(function() return heard end)
    collect()
    assert.is_not_nil(weak.ws)
    assert.equal(weak.ws, heard.target)
    assert.equal(1, heard.target.readyState)
    heard = nil
    collect()
    assert.is_nil(weak.ws)
    ends_politely(peer)
  end)
end)

describe("on the server's side", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("a socket lives until it is closed, whoever refers to it or listens", function()
    local server = turns.serve()
    local peer = wire.client(server.port)
    wire.await(function() return #server == 1 end)
    collect()
    wire.settle()
    assert.equal(1, #server)
    local count = 0
    for socket in server:each() do
      count = count + 1
      socket:send "still here"
    end
    assert.equal(1, count)
    assert.equal("still here", peer:next().payload)
    local weak = setmetatable({}, { __mode = "v" })
    for socket in server:each() do weak[1] = socket end
    peer:close()
    wire.await(function() return #server == 0 end)
    wire.settle()
    collect()
    assert.is_nil(weak[1])
  end)

  it("a server lives while it listens, and goes when it is closed", function()
    local weak = setmetatable({}, { __mode = "v" })
    do
      weak[1] = WebSocketServer {}
      weak[1].onmessage = function(event) event.target:send(event.data) end
    end
    collect()
    local peer = wire.client(weak[1].port)
    peer:frame { "text", payload = "anybody?" }
    assert.equal("anybody?", peer:next().payload)
    weak[1]:close()
    peer:next()
    peer:close()
    assert.is_true(lunawire.run(5000))
    collect()
    assert.is_nil(weak[1])
  end)

  it("a server survives its __gc being called by hand, twice; its sockets go on", function()
    local server = WebSocketServer {}
    local peer, half = wire.client(server.port), wire.connect(server.port)
    half:send "GET / HTTP/1.1\r\n"
    local socket
    wire.await(function()
      for s in server:each() do socket = s end
      return socket
    end)
    wire.settle()
    local gc = debug.getmetatable(server).__gc
    gc(server)
    gc(server)
    gc {}
    gc()
    collect()
    assert.equal(0, #server)
    server:close()
    assert.equal(0, server:broadcast "x")
    socket.onmessage = function(event) event.target:send(event.data) end
    peer:frame { "text", payload = "x" }
    assert.equal("x", peer:next().payload)
    assert.equal("eof", (half:finish()))
    socket:subscribe "topic"
    socket:close()
    assert.equal(8, peer:next().opcode)
    peer:closing()
    peer:close()
    assert.is_true(lunawire.run(5000))
  end)

  it("a server may be finalized by hand in its own handlers", function()
    for _, place in ipairs { "onupgrade", "onconnection", "onrequest" } do
      local server = WebSocketServer {}
      local called = false
      server[place] = function(event)
        local gc = debug.getmetatable(event.target).__gc
        gc(event.target)
        collect()
        called = true
        if place == "onrequest" then event:respond(200) end
      end
      local peer = wire.connect(server.port)
      peer:send(place == "onrequest" and "GET / HTTP/1.1\r\nHost: a\r\n\r\n" or wire.upgrade())
      wire.await(function() return called end)
      peer:close()
      server = nil -- luacheck: ignore
      collect()
      assert.is_true(lunawire.run(15000))
    end
  end)
end)

describe("a server that cannot accept #foreign", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("may be finalized by hand when it says so", function()
    local output, status = turns.program [[
      local wire = require "spec.wire"
      local lunawire = require "lunawire"
      local sys = require("lunawire.probe").sys
      local server, told = lunawire.WebSocketServer {}, 0
      server.onerror = function(event)
        debug.getmetatable(server).__gc(server)
        server = nil
        collectgarbage()
        told = told + 1
        print(event.message)
      end
      wire.connect(server.port)
      local limit = sys.limit()
      sys.limit(64)
      while sys.open "/dev/null" do end
      wire.await(function() return told > 0 end)
      sys.limit(limit)
      wire.settle()
      print(told, lunawire.run(0))]]
    assert.equal("accept: Too many open files\n1\ttrue\n", output)
    assert.equal(0, status)
  end)
end)

describe("what gets no memory half-way", function()
  before_each(turns.open)
  after_each(turns.clear)

  -- A server that had none for its URL listened on, and nobody could reach it.
  for name, make in pairs {
    ["a server"] = function() return WebSocketServer {} end,
    ["a client"] = function() return WebSocket "ws://127.0.0.1:1/" end,
    ["a timer"] = function() return lunawire.setTimeout(print, 60000, 1, 2) end,
    ["a watch"] = function() return lunawire.watch(0, "r", print) end,
  } do
    it(("is not left behind: %s"):format(name), function()
      collect()
      local descriptors, allowed = sys.descriptors(), 0
      local made, thing
      repeat
        made, thing = probe.exhaust(allowed, make)
        if not made then
          assert.matches("memory", tostring(thing))
          collect()
          assert.is_true(lunawire.run(5000))
          assert.equal(descriptors, sys.descriptors())
        end
        allowed = allowed + 1
      until made
      assert.is_true(allowed > 2)
      thing:close()
    end)
  end
end)

describe("a guest between its request and its answer", function()
  before_each(turns.open)
  after_each(turns.clear)

  for name, request in pairs { onupgrade = wire.upgrade(), onrequest = "GET / HTTP/1.1\r\nHost: a\r\n\r\n" } do
    it(("may have its __gc called by hand, twice, in %s: nobody answers any more"):format(name), function()
      local server, weak, said = turns.serve { handshakeTimeout = 100 }, setmetatable({}, { __mode = "v" }), nil
      server[name] = function(event)
        for key, guest in pairs(event) do if type(key) == "userdata" then weak[1] = guest end end
        local gc = debug.getmetatable(weak[1]).__gc
        gc(weak[1])
        gc(weak[1])
        gc(io.stdout)
        gc {}
        gc()
        said = event:respond(200)
      end
      local peer = wire.connect(server.port)
      peer:send(request)
      assert.equal("eof", (peer:finish()))
      assert.is_false(said)
      assert.equal("", peer.bytes)
      collect()
      assert.is_nil(weak[1])
    end)
  end

  -- Building the request allocates, so a collection may come, and with it somebody's finalizer.
  it("may lose its server to a finalizer at any moment #foreign", function()
    local output, status = turns.program [[
      local wire = require "spec.wire"
      local lunawire = require "lunawire"
      local probe = require "lunawire.probe"
      local ends = {
        close = function(server) server:close() end,
        __gc = function(server) debug.getmetatable(server).__gc(server) end,
      }
      local function at_collection(n, fn)
        setmetatable({}, { __gc = function() if n > 1 then at_collection(n - 1, fn) else fn() end end })
      end
      local function try(name, kind, n)
        local server, sprung, heard = lunawire.WebSocketServer {}, false, nil
        server["on" .. kind] = function(event)
          local r = event.request
          heard = table.concat({ r.method, r.target, r.path, r.query, r.headers.cookie, r.remoteAddress }, " ")
          if kind == "request" then event:respond(200) end
        end
        local peer = wire.connect(server.port)
        wire.settle(3)
        local fields = { Cookie = ("c"):rep(300), Upgrade = kind == "upgrade" and "websocket" }
        peer:send(wire.upgrade(fields, "GET /a?b HTTP/1.1"))
        probe.sys.await(lunawire.fd(), "r")
        collectgarbage("incremental", 0, 1000, 63) -- a whole collection at each allocation
        collectgarbage("setpause", 0)
        collectgarbage()
        at_collection(n, function()
          sprung = not heard
          ends[name](server)
        end)
        lunawire.step()
        collectgarbage("incremental", 200, 100, 13)
        if heard then assert(heard == "GET /a?b /a b " .. ("c"):rep(300) .. " 127.0.0.1", heard) end
        wire.settle()
        peer:close()
        server:close()
        assert(lunawire.run(5000))
        return sprung
      end
      for name in pairs(ends) do
        for _, kind in ipairs { "request", "upgrade" } do
          local n = 1
          while try(name, kind, n) do n = n + 1 end
          assert(n > 5, n)
        end
      end
      print "sound"]]
    assert.equal("sound\n", output)
    assert.equal(0, status)
  end)
end)

describe("10,000 connections opened and closed #foreign #slow", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("leave memory and descriptors where they were", function()
    local output, status = turns.program [[
      local lunawire = require "lunawire"
      local sys = require("lunawire.probe").sys
      local server, closes = lunawire.WebSocketServer {}, 0
      function server.onmessage(event) event.target:send(event.data) end
      function server.onsocketclose() closes = closes + 1 end
      local function round(n)
        local over = 0
        for _ = 1, n do
          local ws = lunawire.WebSocket(server.url)
          function ws.onopen() ws:send "hello" end
          function ws.onmessage() ws:close(1000) end
          function ws.onclose(event) if event.wasClean then over = over + 1 end end
        end
        local wanted = closes + n
        while over < n or closes < wanted do lunawire.step(100) end
      end
      for _ = 1, 5 do
        for _ = 1, 40 do round(50) end
        collectgarbage()
        collectgarbage()
        local resident = io.open "/proc/self/status":read "a":match "VmRSS:%s*(%d+)"
        print(math.floor(collectgarbage "count"), resident, sys.descriptors())
      end
      print(closes)]]
    assert.equal(0, status, output)
    local first, last, closes = output:match "^%d+\t%d+\t%d+\n([^\n]+)\n.*\n([^\n]+)\n(%d+)\n$"
    assert.equal("10000", closes)
    local lua, resident, descriptors = first:match "(%d+)\t(%d+)\t(%d+)"
    local luaNow, residentNow, descriptorsNow = last:match "(%d+)\t(%d+)\t(%d+)"
    assert.equal(descriptors, descriptorsNow)
    assert.is_true(luaNow - lua < 8, output) -- KiB, of 6,000 connections
    -- a sanitizer keeps what was freed for a while, and looks for leaks itself
    if not os.getenv "LD_PRELOAD" then assert.is_true(residentNow - resident < 1024, output) end
  end)
end)

describe("the end of a state #foreign", function()
  before_each(turns.open)
  after_each(turns.clear)

  local clients = [[
    local lunawire = require "lunawire"
    io.stdout:setvbuf "line"
    local kept, open = {}, 0
    local server = lunawire.WebSocketServer {}
    server.onconnection = function(event)
      open = open + 1
      if KEEP then kept[#kept + 1] = event.socket end
    end
    for i = 1, 50 do
      local ws
      coroutine.wrap(function() ws = lunawire.WebSocket "ws://127.0.0.1:PORT/" end)()
      ws.onopen = function() open = open + 1 end
      ws.onmessage, ws.onclose = print, print
      if KEEP then kept[#kept + 1] = ws end
    end
    lunawire.setTimeout(print, 60000)
    local timer = lunawire.setInterval(function() if open == 100 then lunawire.stop() end end, 1)
    print(server.port)
    lunawire.run()
    LAST
    print "end"]]

  local function play(keep, last)
    local listener, peers = wire.server(128), {}
    local code = clients:gsub("KEEP", tostring(keep)):gsub("PORT", listener.port):gsub("LAST", last)
    local child = turns.beside(code)
    local port = tonumber(child:line(lunawire.step))
    for _ = 1, 50 do peers[#peers + 1] = listener:open() end
    for _ = 1, 50 do peers[#peers + 1] = wire.client(port) end
    return peers, child
  end

  for _, keep in ipairs { true, false } do
    it(("tells the peers of 100 open sockets, %s, 1001"):format(keep and "kept" or "kept by nobody"), function()
      local peers, child = play(keep, "")
      for _, peer in ipairs(peers) do
        local frame = peer:next()
        assert.equal(8, frame.opcode)
        assert.equal("\3\233", frame.payload)
        assert.equal("eof", (peer:finish()))
      end
      assert.equal("end", child:line(lunawire.step))
      local text = child:text()
      assert.equal(0, child:wait())
      assert.matches("^%d+\nend\n$", text)
    end)
  end

  it("sends before it what was queued", function()
    local peers, child = play(true, [[for _, ws in ipairs(kept) do ws:send "last words" end]])
    for _, peer in ipairs(peers) do
      assert.equal("last words", peer:next().payload)
      assert.equal("\3\233", peer:next().payload)
      assert.equal("eof", (peer:finish()))
    end
    assert.equal(0, child:wait())
  end)

  it("does not wait for a peer that does not read", function()
    local listener = wire.server()
    local child = turns.beside(([[
      local lunawire = require "lunawire"
      local ws = lunawire.WebSocket "ws://127.0.0.1:%d/"
      ws.onopen = lunawire.stop
      lunawire.run()
      for _ = 1, 20 do ws:send(("x"):rep(500000)) end]]):format(listener.port))
    local peer = listener:open()
    peer.reading = false
    local took = turns.time(function() assert.equal(0, child:wait()) end)
    assert.is_true(took < 5000, took)
  end)

  it("does not fail when there is nothing, or something half made", function()
    for _, code in ipairs {
      "", "lunawire.WebSocketServer {}", "lunawire.WebSocket 'ws://127.0.0.1:1/'", "lunawire.WebSocket 'ws://localhost:1/'",
      "lunawire.WebSocket 'ws://localhost:1/' lunawire.step(1)", "lunawire.setTimeout(print, 5)",
      "lunawire.watch(io.stdin, 'r', print)", "lunawire.onsignal('USR1', print)", "lunawire.WebSocketServer {}:close()",
      "pcall(lunawire.WebSocketServer, { port = 1, host = '192.0.2.1' })", "pcall(lunawire.WebSocket, 'nonsense')",
      "lunawire.setTimeout(error, 0) lunawire.step(1)",
    } do
      local output, status = turns.program("local lunawire = require 'lunawire' local ok, err = pcall(function() " ..
        code .. " end) lunawire = nil collectgarbage()")
      assert.equal("", output)
      assert.equal(0, status, code)
    end
  end)

  it("lets a finalizer that comes later call, and be refused", function()
    local output, status = turns.program [[
      local lunawire, ws, server, timer, watch
      local last = setmetatable({}, { __gc = function() -- made first: finalized last
        local function try(name, ...)
          local ok, err = pcall(...)
          print(name, ok, ok or err.name)
        end
        try("setTimeout", lunawire.setTimeout, print, 1)
        try("step", lunawire.step)
        try("run", lunawire.run)
        try("flush", lunawire.flush)
        try("timeout", lunawire.timeout)
        try("fd", lunawire.fd)
        try("WebSocket", lunawire.WebSocket, "ws://127.0.0.1:1/")
        try("WebSocketServer", lunawire.WebSocketServer, {})
        try("watch", lunawire.watch, 0, "r", print)
        try("onsignal", lunawire.onsignal, "USR1", print)
        try("send", ws.send, ws, "x")
        try("close", ws.close, ws)
        try("server:close", server.close, server)
        print(ws.readyState, ws.url ~= "", ws.bufferedAmount, #server, server.port > 0, lunawire.now() > 0)
        ws.onmessage = print
        ws:addEventListener("close", print)
        server.onclose = print
        timer:close()
        watch:close()
        print(tostring(ws), tostring(server), tostring(timer), tostring(watch))
      end })
      lunawire = require "lunawire"
      ws, server = lunawire.WebSocket "ws://127.0.0.1:1/", lunawire.WebSocketServer {}
      timer, watch = lunawire.setTimeout(print, 1000), lunawire.watch(0, "r", print)
      os.exit(last and 0, true)]]
    local refused, lines = 0, 0
    for line in output:gmatch "[^\n]+" do
      lines = lines + 1
      if line:match "false\tInvalidStateError$" then refused = refused + 1 end
    end
    assert.equal(13, refused, output)
    assert.equal(15, lines, output)
    assert.matches("3\ttrue\t0\t0\ttrue\ttrue", output)
    assert.equal(0, status)
  end)
end)

describe("a method called on what it is not for", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("raises TypeError, from every class", function()
    local server = turns.serve()
    local ws = WebSocket(server.url)
    local timer <close> = lunawire.setTimeout(function() end, 60000)
    local r = turns.fd(sys.pipe())
    local watch <close> = lunawire.watch(r, "r", print)
    local classes = {
      WebSocket = { ws, "send close ping terminate pause resume addEventListener removeEventListener subscribe" ..
        " unsubscribe isSubscribed publish" },
      WebSocketServer = { server, "each publish broadcast close addEventListener removeEventListener" },
      ["lunawire.Timer"] = { timer, "close" },
      ["lunawire.Watch"] = { watch, "close" },
    }
    local strangers = { {}, io.stdout, 1, "x", print, true, coroutine.create(print), debug.upvalueid(wire.await, 1) }
    for name, class in pairs(classes) do
      for method in class[2]:gmatch "%S+" do
        local fn = class[1][method]
        assert.is_function(fn, method)
        for _, self in ipairs(strangers) do
          assert.matches(name .. " expected, got", wire.mistake("TypeError", fn, self, "x", "y"))
        end
        for other, stranger in pairs(classes) do
          if other ~= name then
            assert.matches(name .. " expected, got " .. other, wire.mistake("TypeError", fn, stranger[1], "x", "y"))
          end
        end
        assert.matches(name .. " expected, got nil", wire.mistake("TypeError", fn))
        assert.is_false(pcall(fn, lunawire.WebSocket, "x", "y")) -- the class itself
      end
      for _, meta in ipairs { "__index", "__newindex", "__tostring", "__len", "__close" } do
        local fn = debug.getmetatable(class[1])[meta]
        for _, self in ipairs(strangers) do
          if type(fn) == "function" then assert.is_false(pcall(fn, self, "url", "x"), meta) end
        end
      end
      assert.is_false(getmetatable(class[1]))
      assert.is_false(pcall(setmetatable, class[1], {}))
    end
    ws:terminate()
  end)

  it("raises after tricks with debug.setmetatable, too", function()
    local server = turns.serve()
    local ws = WebSocket(server.url)
    local send, metatable = ws.send, debug.getmetatable(ws)
    debug.setmetatable(ws, {})
    assert.matches("WebSocket expected", wire.mistake("TypeError", send, ws, "x"))
    debug.setmetatable(ws, metatable)
    local light = debug.upvalueid(function() return ws end, 1)
    local before = debug.getmetatable(light)
    debug.setmetatable(light, metatable)
    local ok, err = pcall(send, light, "x")
    debug.setmetatable(light, before)
    assert.is_false(ok)
    assert.equal("TypeError", err.name)
    local log = wire.record(ws)
    wire.heard(log, "open")
    ws:close()
    wire.heard(log)
  end)

  it("raises on an event that is none, or long over", function()
    local server, kept = turns.serve(), {}
    function server.onupgrade(event) kept[1] = event end
    function server.onrequest(event)
      kept[2] = event
      event:respond(200)
    end
    local peer = wire.client(server.port)
    wire.connect(server.port):send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    wire.await(function() return kept[1] and kept[2] end)
    for _, name in ipairs { "respond", "reject", "defer", "accept" } do
      local fn = kept[1][name]
      assert.is_function(fn)
      for _, self in ipairs { {}, io.stdout, 1, "x", print } do
        assert.equal("TypeError", select(2, pcall(fn, self, 400)).name)
      end
      assert.equal("TypeError", select(2, pcall(fn)).name)
    end
    collect()
    for _, event in ipairs(kept) do
      assert.is_not_true(event:respond(200))
      assert.is_not_true(event:reject(403))
      assert.is_not_true(event:accept())
      event:defer()
    end
    peer:frame { "ping", payload = "x" }
    assert.equal(10, peer:next().opcode)
    peer:close()
  end)
end)
