-- Chromium and lunawire play the same scenarios (spec/scenarios.lua) against the same server of raw bytes, and hear and
-- send the same, but for the differences that docs/browser.md gives a reason for.

local compare = require("luassert.util").deepcompare
local foreign = require "spec.foreign"
local helper = require "spec.helper"
local lfs = require "lfs"
local scenarios = require "spec.scenarios"
local tcp = require("lunawire.probe").tcp

-- --- the differences that are allowed ------------------------------------------------------------------

-- The first cell of each row of the tables in docs/browser.md: a set.
local function documented()
  local keys, inTable = {}, false
  for line in helper.read(helper.root .. "/docs/browser.md"):gmatch "[^\n]*" do
    local first = line:match "^| (.-) |"
    if first and inTable and not first:match "^%-" then keys[first:gsub("`", "")] = true end
    inTable = first ~= nil or line:match "^|" ~= nil
  end
  return keys
end

local reasons = documented()

-- Whatever a row says `because` of, as a list.
local function becauses(scenario)
  local because = scenario.because or {}
  return type(because) == "table" and because or { because }
end

-- --- playing ----------------------------------------------------------------------------------------------

-- A port that was free a moment ago.
local function freePort()
  local listener = tcp.listen()
  listener:close()
  return listener.port
end

-- The same with the names of addresses replaced, in all depths.
local function filled(value, names)
  if type(value) == "string" then return (value:gsub("%f[%u]%u+%f[%U]", names)) end
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, each in pairs(value) do copy[key] = filled(each, names) end
  return copy
end

-- What only the spec itself reads, or the server.
local notForClients = {
  hears = true, wire = true, ours = true, oursOnWire = true, because = true, server = true, anyReason = true,
}

-- Lists of words with what differs from run to run taken out.
local function normal(scenario, lists, path)
  local words = {}
  for _, list in ipairs(lists) do
    for _, word in ipairs(list) do
      word = word:gsub("(127%.0%.0%.1):%d%d+", "%1:PORT"):gsub(path:sub(2) .. "%f[%W]", "PATH")
      if scenario.anyReason then word = word:gsub('^(close %d+) "[^"]*"$', "%1 …") end
      words[#words + 1] = word
    end
  end
  return words
end

describe("Chromium and lunawire #foreign #slow", function()
  local server, port, clients

  setup(function()
    server = foreign.node "scripted.js"
    port = math.floor(server:ask("listen").port)
    clients = {
      chromium = foreign.node "scenario.js",
      lunawire = foreign.peer(helper.lua(helper.quote(helper.root .. "/spec/peers/scenario.lua"))),
    }
    clients.chromium:begin "start"(60)
  end)
  teardown(function()
    clients.lunawire:stop()
    clients.chromium:stop()
    server:stop()
  end)

  -- Has one of them play: what it heard, and what it sent.
  local function play(who, scenario, path)
    local names = { PORT = tostring(port), FREE = tostring(freePort()), PATH = path:sub(2) }
    local asked = { url = filled("ws://127.0.0.1:PORT" .. path, names) }
    for key, value in pairs(scenario) do
      if not notForClients[key] then asked[key] = filled(value, names) end
    end
    if scenario.server then server:ask("script", { path = path, steps = filled(scenario.server, names) }) end
    local heard = clients[who]:ask("play", { scenario = asked })
    local sent = scenario.server and server:ask("heard", { path = path }) or {}
    return normal(scenario, { heard }, path), normal(scenario, sent, path)
  end

  for g, group in ipairs(scenarios) do
    for i, scenario in ipairs(group) do
      local title = #becauses(scenario) > 0 and "differ, as documented, in: " or "agree on: "
      it(title .. scenario.name, function()
        local path = ("/s%dx%d"):format(g, i)
        local heard, sent = play("chromium", scenario, path)
        assert.same(scenario.hears, heard, "heard by Chromium")
        if scenario.wire then assert.same(scenario.wire, sent, "sent by Chromium") end
        heard, sent = play("lunawire", scenario, path)
        assert.same(scenario.ours or scenario.hears, heard, "heard by lunawire")
        if scenario.wire then assert.same(scenario.oursOnWire or scenario.wire, sent, "sent by lunawire") end
      end)
    end
  end
end)

describe("the table of scenarios", function()
  -- Calls fn(scenario) for each.
  local function each(fn)
    for _, group in ipairs(scenarios) do
      for _, scenario in ipairs(group) do fn(scenario) end
    end
  end

  it("has many, and each once", function()
    local names, count = {}, 0
    each(function(scenario)
      assert.is_nil(names[scenario.name], scenario.name)
      names[scenario.name] = true
      count = count + 1
    end)
    assert.is_true(count >= 200, count)
  end)

  it("says of each what is heard, and of each that reaches the server what is sent", function()
    each(function(scenario)
      assert.is_true(#scenario.hears > 0, scenario.name)
      assert.is_true(scenario.wire ~= nil or not scenario.server, scenario.name)
    end)
  end)

  it("has a documented reason for each difference, and none where there is none", function()
    each(function(scenario)
      local differs = scenario.ours ~= nil or scenario.oursOnWire ~= nil
      assert.equal(differs, #becauses(scenario) > 0, scenario.name)
      for _, because in ipairs(becauses(scenario)) do assert.is_true(reasons[because], because) end
      if differs then
        local same = compare(scenario.ours or scenario.hears, scenario.hears)
          and compare(scenario.oursOnWire or scenario.wire, scenario.wire)
        assert.is_false(same, scenario.name .. " does not differ")
      end
    end)
  end)
end)

describe("docs/browser.md", function()
  -- The rows that the walk through the standards names.
  local function named()
    local keys = {}
    for name in lfs.dir(helper.root .. "/spec") do
      if name:find "^whatwg_.*_spec%.lua$" then
        local text = helper.read(helper.root .. "/spec/" .. name)
        for key in text:gmatch "%(docs/browser%.md: ([^)]+)%)" do keys[key] = true end
      end
    end
    return keys
  end

  it("lists every difference that a spec names", function()
    for key in pairs(named()) do assert.is_true(reasons[key], key) end
  end)

  it("lists no difference that no spec shows", function()
    local shown = named()
    for _, group in ipairs(scenarios) do
      for _, scenario in ipairs(group) do
        for _, because in ipairs(becauses(scenario)) do shown[because] = true end
        if scenario.anyReason then shown["words in a Close that says what was wrong"] = true end
      end
    end
    for key in pairs(reasons) do assert.is_true(shown[key], key) end
  end)
end)
