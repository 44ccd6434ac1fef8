-- What a lack of memory and every error of the system come to, over a system in memory (sim/sweep.lua). Here are some
-- of the points; spec/torture/sweep_torture.lua has all.

local helper = require "spec.helper"
local pki = require "spec.pki"
local tally = require "sim.tally"

local core = helper.build .. "/sim/?.so"

-- Where the linker cannot put a world below the library there is none.
local function isThere()
  local file = io.open(helper.build .. "/sim/lunawire/core.so")
  if file then file:close() end
  return file ~= nil
end

local function sweep(arguments)
  return helper.run(("cd %s && SIM_CPATH=%s %s"):format(helper.quote(helper.root), helper.quote(core),
    helper.lua("sim/sweep.lua " .. arguments)))
end

local linux = helper.run "uname -s" == "Linux\n"

-- Runs a script over a world of its own. Returns what it printed.
local function over(script, ...)
  local name, words = os.tmpname(), {}
  helper.write(name, script)
  for i, word in ipairs { name, ... } do words[i] = helper.quote(word) end
  local said = helper.run(helper.sim(table.concat(words, " ")))
  os.remove(name)
  return said
end

describe("when a call of the system or an allocation fails #slow #foreign", function()
  if not linux then return end

  it("there is a world to see it in", function() assert.is_true(isThere()) end)

  it("nothing crashes, hangs or leaks, each socket tells its close once, and the next connection works", function()
    local said, status = sweep "--kinds=alloc,call --sample=149"
    local kinds, _, scenarios = tally.read(said, "all"), said:gsub("%f[^\n\0]%g[^\n]*, [%d.]+ s\n", "")
    assert.equal(0, status, said)
    assert.is_true(scenarios >= 56, said)
    assert.is_true(kinds.alloc.points >= 600 and kinds.call.points >= 100, said)
    assert.equal(kinds.call.points, kinds.call.struck, said)
  end)

  describe("OpenSSL's own", function()
    local certs
    setup(function() certs = pki.new() end)
    teardown(function() certs:close() end)

    -- `script` knows a wss server by its url; world.starveOpenssl, of which `struck` tells; and connect(tls, n): "open" or
    -- why not, and whether the constructor raised that. With n, the allocation after so many fails once that is done.
    local function secure(script, ...)
      return over([[
        local world = package.loadlib(package.searchpath("lunawire.core", package.cpath), "luaopen_world")()
        world.begin {}
        local lunawire = require "lunawire"
        local chain, key, trusted = ...
        local url = lunawire.WebSocketServer({ port = 0, tls = { cert = chain, key = key } }).url
        local function struck() return (select(4, world.allocations())) end
        local function connect(tls, n)
          local fine, ws = pcall(lunawire.WebSocket, url, nil, { tls = tls })
          if not fine then return ws, true end
          local words
          ws.onerror = function(event) words = event.message end
          ws.onopen = function() words = "open" end
          if n then world.starveOpenssl(n, 1) else world.starveOpenssl(0, 0) end
          local deadline = lunawire.now() + 5000
          while not words and lunawire.now() < deadline do lunawire.step(5000) end
          world.starveOpenssl(0, 0)
          ws:close()
          return words or "nothing"
        end
      ]] .. script, certs:cert "good", certs:key "good", ...)
    end

    -- One allocation that failed while an authority was read, and every later connection heard that its certificate had no
    -- issuer, or that its key was too weak.
    it("authorities are read with all that is needed of them, or not", function()
      assert.equal("fine\n", secure([[
        local file = assert(io.open(trusted))
        local pem = file:read "a"
        file:close()
        local refused, opened, unlike = 0, 0, 0
        for n = 1, 100000, 5 do
          local before = struck()
          world.starveOpenssl(n, 1)
          local words, raised = connect { ca = n .. "\n" .. pem } -- each reads it anew
          world.starveOpenssl(0, 0)
          if struck() == before then break end
          if raised and words.name == "MemoryError" then
            refused = refused + 1
          elseif words == "open" then
            opened = opened + 1
          elseif not raised and words:find "the other side refused the handshake" then
            unlike = unlike + 1 -- an algorithm for which SSL_CTX_new had no memory is one that OpenSSL does not know
          else
            print(n, words)
          end
        end
        print(refused > 50 and opened > 50 and unlike < 10 and "fine" or refused .. " " .. opened .. " " .. unlike)
      ]], certs:single "root"))
    end)

    it("authorities that were found in a directory without memory for them are looked for again", function()
      assert.equal("fine\n", secure([[
        local failed, opened = 0, 0
        for n = 1, 100000, 17 do
          local before = struck()
          local tls = { ca = trusted, alpn = { "http/1.1", "x" .. n } } -- each time a context of its own
          local first = connect(tls, n)
          if struck() == before then break end
          if first == "open" then opened = opened + 1 else failed = failed + 1 end
          if first:find "issuer" or first:find "key too" or first:find "signature" then print(n, first) end
          local second = connect(tls)
          if second ~= "open" then print(n, second) end
        end
        print(failed > 20 and opened > 1 and "fine" or failed .. " " .. opened)
      ]], certs:trustDirectory "root"))
    end)
  end)

  -- A certificate whose key there was no memory for was kept, and no server of that `ca` could be reached any more.
  it("nor does it when OpenSSL has no memory", function()
    local said, status = sweep "--kinds=crypto --sample=37 wss"
    assert.equal(0, status, said)
    assert.is_true(tonumber(said:match "(%d+) points") >= 100, said)
  end)

  -- An error of memory within them left what reconnects without its close, or for ever without an attempt.
  for name, points in pairs { ["giving up"] = 40, reconnecting = 40, reliable = 60, ["reliable and away"] = 50 } do
    it("what is policy goes on when there is memory again: " .. name, function()
      local said, status = sweep(("--kinds=alloc --modes=twice,on --sample=29 '%s'"):format(name))
      assert.equal(0, status, said)
      assert.is_true(tonumber(said:match "(%d+) points") >= points, said)
    end)
  end

  -- A message that could not be kept was missing among the others; whoever could not be called was never told again, and a
  -- handler or a listener that could not be set was not called although setting it again raised nothing.
  for name, sample in pairs {
    inbox = 11, drained = 29, sleepers = 3, joined = 3, ["an inbox opened again"] = 11, ["a handler set again"] = 3,
    ["a listener beside a handler"] = 3, ["events that pass a socket"] = 3, ["a timer with many arguments"] = 1,
  } do
    it("nobody is passed over: " .. name, function()
      local said, status = sweep(("--kinds=alloc --modes=twice --sample=%d '%s'"):format(sample, name))
      assert.equal(0, status, said)
      assert.is_true(tonumber(said:match "(%d+) points") >= 10, said)
    end)
  end

  -- A client whose write failed for want of memory kept what it had to say, and its connection, for ever.
  it("what the system cannot take now goes later; without a reason to be read, the connection ends with closeTimeout", function()
    assert.equal("12 echo a, closed 1005\n105 echo a, closed 1005\n5 closed 1006 in time\n32 closed 1006\n", over [[
      local world = package.loadlib(package.searchpath("lunawire.core", package.cpath), "luaopen_world")()
      world.begin {}
      local lunawire = require "lunawire"
      local server = lunawire.WebSocketServer { port = 0 }
      server.onmessage = function(event) event.target:send("echo " .. event.data) end
      for _, errno in ipairs { 12, 105, 5, 32 } do -- ENOMEM, ENOBUFS, EIO, EPIPE
        local ws = lunawire.WebSocket(server.url, nil, { closeTimeout = 1000 })
        local log, began = {}, nil
        ws.onopen = function()
          world.fail("sendv", errno)
          began = lunawire.now()
          ws:send "a"
        end
        ws.onmessage = function(event)
          log[#log + 1] = event.data
          ws:close()
        end
        ws.onclose = function(event)
          local took = lunawire.now() - began
          log[#log + 1] = "closed " .. event.code .. (took >= 1000 and took <= 1250 and " in time" or took > 0 and " late" or "")
        end
        local deadline = lunawire.now() + 60000
        while ws.readyState ~= 3 and lunawire.now() < deadline do lunawire.step(1000) end
        print(errno .. " " .. table.concat(log, ", "))
      end
    ]])
  end)

  it("an error that is none of memory is found, and how to see it again is said", function()
    local said, status = sweep "--modes=twice --kinds=alloc wrong"
    assert.equal(1, status)
    assert.matches("sweep.lua 'wrong' alloc %d+ twice\n%s*raised: [^\n]*some other error", said)
  end)

  it("a second close is found", function()
    local said, status = sweep "'wrong and silent' none"
    assert.equal(1, status)
    assert.matches("told 2 closes", said)
  end)
end)
