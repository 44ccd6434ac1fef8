-- Two people at the chat page in Chromium, and one in a terminal, while the server is killed and started again, and
-- while the line is cut: by a proxy, and by pulling the cable between two hosts.

local Network = require "spec.torture.network"
local Proxy = require "spec.torture.proxy"
local cjson = require "cjson"
local foreign = require "spec.foreign"
local helper = require "spec.helper"
local lunawire = require "lunawire"

local folder, closing

--- Called at the end, whatever happens, the last one first.
local function finally(call) table.insert(closing, 1, call) end

before_each(function()
  folder, closing = helper.directory(), {}
end)

after_each(function()
  for _, call in ipairs(closing) do pcall(call) end
  Network.clear()
  helper.remove(folder)
end)

local function pump() lunawire.step(5) end

-- The server, as a process that can be killed --------------------------------------------------------------------------

local function newServer(run, address, journal)
  local server = { port = 0, peer = nil }
  function server.start()
    server.peer = run("exec " .. helper.lua(("%s %d --host %s --journal %s"):format(
      helper.quote(helper.root .. "/examples/chat/server.lua"), server.port, address,
      helper.quote(journal or folder .. "/chat.sqlite"))))
    server.port = tonumber(server.peer:line(pump):match ":(%d+)/")
  end
  function server.kill()
    server.peer:signal "KILL"
    server.peer:wait()
  end
  server.start()
  finally(function() server.peer:stop() end)
  return server
end

-- The pages ------------------------------------------------------------------------------------------------------------

local Guests = {}
Guests.__index = Guests

--- Starts a browser; `inside` is a network and a host to do so there.
local function newGuests(net, host)
  local command = "node " .. helper.quote(helper.root .. "/spec/chat/guests.js")
  local peer = net and net:inside(host, foreign.peer, command) or foreign.peer(command)
  finally(function() peer:stop() end)
  return setmetatable({ peer = peer }, Guests)
end

function Guests:open(name, address, port, clock)
  self.peer:ask("open", { name = name, url = ("http://%s:%d/"):format(address, port), clock = clock })
end

function Guests:look(name) return self.peer:ask("look", { name = name }) end
function Guests:say(name, text) self.peer:ask("say", { name = name, text = text }) end
function Guests:ask(what, name, more)
  more = more or {}
  more.name = name
  return self.peer:ask(what, more)
end

--- Looks at a page until try(what is seen) holds, letting `ms` pass in it each time if that is given.
function Guests:await(name, what, try, ms)
  local seen
  return helper.await(function()
    if ms then self:ask("pass", name, { ms = ms }) end
    seen = self:look(name)
    return try(seen) and seen
  end, function() lunawire.step(50) end, 20) or error(("%s never saw %s, but: %s"):format(name, what, cjson.encode(seen)), 2)
end

function Guests:isOnline(name, ms)
  return self:await(name, "the line back", function(seen) return seen.line == "online" and seen.banner == "" end, ms)
end

--- The banner with the time to the next attempt.
function Guests:isDown(name, ms)
  return self:await(name, "the banner", function(seen)
    return seen.line == "waiting" and seen.banner:find "The connection was lost%. Trying again in %d+ s%."
  end, ms)
end

--- The banner, whether an attempt waits or is under way: into nothing it takes its time.
function Guests:isDead(name)
  return self:await(name, "the banner", function(seen) return seen.banner:find "The connection was lost%. Trying" end)
end

--- All of these messages, once and in order, and none under way.
function Guests:has(name, texts)
  local expected = {}
  for i, text in ipairs(texts) do expected[i] = i .. " " .. text end
  local seen = self:await(name, texts[#texts], function(seen) return #seen.said >= #texts and not seen.pending[1] end)
  assert.same(expected, seen.said)
  assert.same({}, seen.rules[1] == "New" and { table.unpack(seen.rules, 2) } or seen.rules)
  return seen
end

function Guests:isContent()
  assert.same({}, self.peer:ask "complaints")
end

describe("the chat page #slow #foreign", function()
  it("comes back when the server was killed: a banner, what was typed meanwhile, everything once", function()
    local server, guests = newServer(helper.peer, "127.0.0.1"), newGuests()
    guests:open("Ada", "127.0.0.1", server.port)
    guests:open("Bob", "127.0.0.1", server.port)
    guests:say("Ada", "before")
    guests:has("Bob", { "before" })
    guests:ask("shot", "Ada", { file = "survive-connected" })
    server.kill()
    guests:isDown "Ada"
    guests:isDown "Bob"
    guests:say("Ada", "typed into the void")
    guests:say("Ada", "and on")
    assert.same({ "typed into the void", "and on" }, guests:look("Ada").pending)
    guests:ask("shot", "Ada", { file = "survive-down" })
    server.start()
    guests:isOnline "Ada"
    guests:isOnline "Bob"
    local all = { "before", "typed into the void", "and on" }
    assert.same({ "Bob joined" }, guests:has("Ada", all).notices) -- of the beginning: nobody was gone
    assert.same({}, guests:has("Bob", all).notices)
    guests:say("Bob", "after")
    table.insert(all, "after")
    local people = guests:has("Ada", all).people
    assert.same({ "Ada", "Bob" }, people)
    guests:ask("shot", "Ada", { file = "survive-back" })

    -- A chosen disconnect stays one.
    guests:ask("click", "Bob", { selector = "#disconnect" })
    guests:await("Ada", "Bob leave", function(seen) return seen.notices[2] == "Bob left" end)
    server.kill()
    server.start()
    guests:isOnline "Ada"
    assert.equal("offline", guests:look("Bob").line)
    guests:say("Ada", "without Bob")
    table.insert(all, "without Bob")
    guests:has("Ada", all)
    guests:ask("click", "Bob", { selector = "#connect" })
    guests:has("Bob", all)
    guests:isContent()
  end)

  it("comes back to a server that has forgotten everything: its own words are said, the others begin anew", function()
    local server, guests = newServer(helper.peer, "127.0.0.1", "memory"), newGuests()
    guests:open("Ada", "127.0.0.1", server.port)
    guests:open("Bob", "127.0.0.1", server.port)
    for _, text in ipairs { "one", "two", "three" } do guests:say("Ada", text) end
    guests:has("Bob", { "one", "two", "three" })
    server.kill()
    guests:isDown "Ada"
    guests:say("Ada", "four")
    server.start()
    guests:isOnline "Ada"
    guests:isOnline "Bob"
    guests:say("Bob", "five")
    for _, name in ipairs { "Ada", "Bob" } do
      local seen = guests:await(name, "all of it", function(seen) return #seen.said == 5 and not seen.pending[1] end)
      assert.same({ "1 one", "2 two", "3 three", "1 four", "2 five" }, seen.said)
      assert.same({ "The room has started anew" }, seen.rules)
    end
    guests:isContent()
  end)

  it("comes back when its line was cut, or died without a word; what was missed is there once, and marked", function()
    local server, guests = newServer(helper.peer, "127.0.0.1"), newGuests()
    local proxy = Proxy.process({ port = server.port }, pump)
    finally(function() proxy:close() end)
    guests:open("Ada", "127.0.0.1", proxy.port, true)
    guests:open("Bob", "127.0.0.1", server.port)
    proxy:tell "refuse"
    proxy:tell "reset"
    guests:isDown "Ada"
    guests:ask("blur", "Ada")
    guests:say("Bob", "one")
    guests:say("Bob", "two")
    guests:say("Ada", "three")
    proxy:tell "refuse off"
    guests:isOnline("Ada", 500)
    local seen = guests:has("Ada", { "one", "two", "three" })
    assert.equal("(2) # lobby – lunawire chat", seen.title)
    assert.same({}, guests:has("Bob", { "one", "two", "three" }).notices)
    guests:ask("focus", "Ada")

    proxy:tell "blackhole"
    guests:say("Ada", "four") -- the browser believes that it has sent this
    guests:ask("blur", "Ada")
    guests:ask("pass", "Ada", { ms = 26000 })
    guests:isDead "Ada"
    guests:say("Bob", "five")
    proxy:tell "blackhole off"
    proxy:tell "reset"
    guests:isOnline("Ada", 500)
    seen = guests:await("Ada", "all of it", function(all) return #all.said == 5 and not all.pending[1] end)
    table.sort(seen.said)
    assert.same({ "1 one", "2 two", "3 three", "4 five", "5 four" }, seen.said)
    assert.same({ "(1) # lobby – lunawire chat", "five" }, { seen.title, seen.unreadFrom })
    assert.same({}, guests:has("Bob", { "one", "two", "three", "five", "four" }).notices)

    -- Said, but nobody came to tell, and Ada did not wait for it.
    guests:ask("focus", "Ada")
    proxy:tell "down blackhole"
    guests:say("Ada", "six")
    guests:await("Bob", "six", function(all) return all.said[6] == "6 six" end)
    assert.same({ "six" }, guests:look("Ada").pending)
    guests:ask("click", "Ada", { selector = "#disconnect" })
    proxy:tell "down blackhole off"
    proxy:tell "reset"
    guests:await("Bob", "Ada leave", function(all) return all.notices[1] == "Ada left" end)
    guests:ask("click", "Ada", { selector = "#connect" })
    guests:isOnline("Ada", 500)
    guests:say("Ada", "seven")
    seen = guests:await("Bob", "seven", function(all) return all.said[7] end)
    assert.same({ "6 six", "7 seven" }, { table.unpack(seen.said, 6) })
    seen = guests:await("Ada", "seven", function(all) return all.said[7] and not all.pending[1] end)
    assert.same({ "6 six", "7 seven" }, { table.unpack(seen.said, 6) })
    guests:isContent()
  end)

  it("comes back when the cable was pulled and put in again", function()
    if not Network.available() then return pending(Network.missing()) end
    local net = Network.new()
    local server = newServer(function(command) return net:run("b", command) end, net.b.address)
    local guests = newGuests(net, "a")
    guests:open("Ada", net.b.address, server.port, true)
    guests:say("Ada", "one")
    guests:has("Ada", { "one" })
    net:down()
    guests:say("Ada", "two")
    guests:ask("pass", "Ada", { ms = 26000 })
    guests:isDead "Ada"
    guests:say("Ada", "three")
    assert.same({ "two", "three" }, guests:look("Ada").pending)
    net:up()
    guests:isOnline("Ada", 500)
    assert.same({}, guests:has("Ada", { "one", "two", "three" }).notices)
    guests:isContent()
  end)
end)

-- The terminal ----------------------------------------------------------------------------------------------------------

describe("the chat in a terminal #slow #foreign", function()
  local _, missing = helper.run "command -v tmux"
  if missing ~= 0 then return pending "needs tmux" end

  local name

  local function tmux(arguments)
    return (helper.run(("env LC_ALL=C.UTF-8 tmux -L %s -f /dev/null %s"):format(name, arguments)))
  end

  local function screen() return tmux "capture-pane -p" end

  local function see(words)
    return helper.await(function() return screen():find(words, 1, true) end, function() lunawire.step(50) end, 15)
      or error(("`%s` is not on the screen:\n%s"):format(words, screen()), 2)
  end

  local function type_(text)
    tmux("send-keys -l -- " .. helper.quote(text))
    tmux "send-keys Enter"
  end

  local function open(port)
    name = "lunawire-" .. folder:match "[^/]*$"
    finally(function() tmux "kill-server" end)
    tmux("new-session -d -x 100 -y 20 " .. helper.quote(helper.lua(("%s ws://127.0.0.1:%d/ --name tess"):format(
      helper.quote(helper.root .. "/examples/chat/client.lua"), port))))
    see "you are tess"
  end

  it("comes back when the server was killed, or the line cut, with everything that was said, once", function()
    local server = newServer(helper.peer, "127.0.0.1")
    local proxy = Proxy.process({ port = server.port }, pump)
    finally(function() proxy:close() end)
    open(proxy.port)
    type_ "one"
    see "tess: one"
    server.kill()
    see "; trying again in 1 s"
    type_ "two"
    see "* will be said when the line is there: two"
    server.start()
    see "tess: two"
    proxy:tell "refuse"
    proxy:tell "reset"
    helper.await(function() return select(2, screen():gsub("; trying again in %d s", "")) == 2 end)
    local other = helper.run("echo from outside | " .. helper.lua(("%s ws://127.0.0.1:%d/ --name otto"):format(
      helper.quote(helper.root .. "/examples/chat/client.lua"), server.port)))
    assert.matches("otto: from outside", other, 1, true)
    type_ "three"
    see "* will be said when the line is there: three"
    proxy:tell "refuse off"
    see "tess: three"
    local shown = screen()
    for words, times in pairs {
      ["tess: one"] = 1, ["tess: two"] = 1, ["otto: from outside"] = 1, ["tess: three"] = 1, ["* the line is back"] = 2,
      ["tess joined"] = 0,
    } do assert.equal(times, select(2, shown:gsub(words:gsub("%*", "%%*"), "")), words .. " in\n" .. shown) end
    local order = shown:match "tess: one.*tess: two.*otto joined.*otto: from outside.*otto left.*tess: three"
    assert.is_string(order, shown)
  end)
end)
