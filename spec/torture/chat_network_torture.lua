-- The terminal client on a host whose cable is pulled for longer than its heartbeat waits: as people use it, with the
-- times they have. (Pages in Chromium, whose clock can be put forward, are in spec/chat_survive_spec.lua.)

local Network = require "spec.torture.network"
local helper = require "spec.helper"
local lunawire = require "lunawire"

local BEAT, PATIENCE = 15000, 10000 -- of examples/chat/client.lua

local function pump() lunawire.step(20) end

describe("the terminal client on a host of its own", function()
  after_each(Network.clear)

  it("notices that the cable was pulled, and has everything once when it is back", function()
    if not Network.available() then return pending(Network.missing()) end
    local net, folder = Network.new(), helper.directory()
    finally(function() helper.remove(folder) end)
    local server = net:run("b", "exec " .. helper.lua(("%s 0 --host %s --journal %s"):format(
      helper.quote(helper.root .. "/examples/chat/server.lua"), net.b.address, helper.quote(folder .. "/chat.sqlite"))))
    local port = tonumber(server:line(pump):match ":(%d+)/")

    local function client(host, input, name)
      return net:run(host, ("(%s) | %s; echo ended $?"):format(input, helper.lua(("%s ws://%s:%d/ --name %s"):format(
        helper.quote(helper.root .. "/examples/chat/client.lua"), net.b.address, port, name))))
    end
    local function await(peer, words, seconds)
      return helper.await(function() return peer:text():find(words, 1, true) end, pump, seconds)
        or error(("`%s` did not come, but:\n%s"):format(words, peer:text()), 2)
    end

    local far = client("a", "echo one; sleep 5; echo two; sleep 28; echo three; sleep 10", "far")
    local near = client("b", "sleep 8; echo four; sleep 45", "near")
    await(near, "far: one", 5)
    net:down()
    local at = lunawire.now()
    await(far, "; trying again in", 40)
    local noticed = lunawire.now() - at
    io.stderr:write(("  noticed after %.1f s\n"):format(noticed / 1000))
    assert.is_true(noticed < BEAT + PATIENCE + 1000, noticed .. " ms")
    assert.is_nil(near:text():find("far left", 1, true)) -- away for less than 30 s
    net:up()
    await(far, "* the line is back", 10)
    await(near, "far: three", 20)
    await(far, "ended 0", 20)
    local text = far:text()
    for _, words in ipairs { "far: one\n", "far: two\n", "near: four\n", "far: three\n" } do
      assert.equal(1, select(2, text:gsub(words, "")), words .. " in\n" .. text)
    end
    assert.is_string(text:match "far: one.*near: four.*far: two.*far: three", text)
    assert.is_nil(near:text():find("far left.*far: three"))
  end)
end)
