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
    local said, status = sweep "--kinds=alloc,call --sample=131"
    local kinds, _, scenarios = tally.read(said, "all"), said:gsub("%f[^\n\0]%g[^\n]*, [%d.]+ s\n", "")
    assert.equal(0, status, said)
    assert.is_true(scenarios >= 56, said)
    assert.is_true(kinds.alloc.points >= 600 and kinds.call.points >= 100, said)
    assert.equal(kinds.call.points, kinds.call.struck, said)
  end)

  -- One allocation that failed while an authority was read, and every later connection heard that its certificate had no
  -- issuer, or that its key was too weak.
  it("authorities are read with all that OpenSSL needs of them, or not", function()
    local certs = pki.new()
    finally(function() certs:close() end)
    local said = over([[
      local world = package.loadlib(package.searchpath("lunawire.core", package.cpath), "luaopen_world")()
      world.begin {}
      local lunawire = require "lunawire"
      local root, chain, key = ...
      local file = assert(io.open(root))
      local pem = file:read "a"
      file:close()
      local server = lunawire.WebSocketServer { port = 0, tls = { cert = chain, key = key } }
      local refused, opened, unlike = 0, 0, 0
      for n = 1, 100000, 5 do
        local words
        local _, _, _, before = world.allocations()
        world.starveOpenssl(n, 1)
        local fine, ws = pcall(lunawire.WebSocket, server.url, nil, { tls = { ca = n .. "\n" .. pem } }) -- each reads it anew
        world.starveOpenssl(0, 0)
        local _, _, _, failed = world.allocations()
        if failed == before then break end
        if fine then
          ws.onerror = function(event) words = event.message end
          ws.onopen = function() words = "open" end
          local deadline = lunawire.now() + 5000
          while not words and lunawire.now() < deadline do lunawire.step(5000) end
          ws:close()
        end
        if not fine then
          refused = refused + 1
          if ws.name ~= "MemoryError" then print(n, ws) end
        elseif words == "open" then
          opened = opened + 1
        elseif words and words:find "the other side refused the handshake" then
          unlike = unlike + 1 -- an algorithm for which SSL_CTX_new had no memory is one that OpenSSL does not know
        else
          print(n, words)
        end
      end
      print(refused > 50 and opened > 50 and unlike < 10 and "fine" or refused .. " " .. opened .. " " .. unlike)
    ]], certs:single "root", certs:cert "good", certs:key "good")
    assert.equal("fine\n", said)
  end)

  -- A certificate whose key there was no memory for was kept, and no server of that `ca` could be reached any more.
  it("nor does it when OpenSSL has no memory", function()
    local said, status = sweep "--kinds=crypto --sample=61 wss"
    assert.equal(0, status, said)
    assert.is_true(tonumber(said:match "(%d+) points") >= 100, said)
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
