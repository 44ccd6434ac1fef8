-- The module as `require` gives it: its names, and that loading it does nothing.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

-- What a program prints, which must end well.
local function prints(code)
  local output, status = turns.program(code)
  assert.equal(0, status, output)
  return output
end

describe("require 'lunawire' #foreign", function()
  it("opens no descriptor and starts no thread", function()
    local output = prints [[
      local sys = require("lunawire.probe").sys
      local function threads()
        for line in io.lines "/proc/self/status" do
          local count = line:match "^Threads:%s*(%d+)"
          if count then return count end
        end
      end
      local descriptors = sys.descriptors()
      assert(threads() == "1")
      local lunawire = require "lunawire"
      print(sys.descriptors() - descriptors, threads())
      lunawire.setTimeout(function() end, 0) -- nor does a timer that is due
      lunawire.step()
      lunawire.run(0)
      print(sys.descriptors() - descriptors, threads())
      lunawire.fd() -- this does
      print(sys.descriptors() - descriptors, threads())]]
    assert.equal("0\t1\n0\t1\n1\t1\n", output)
  end)

  it("writes no global, changes no library and no metatable of Lua's", function()
    assert.equal("", prints [[
      local function inventory()
        local seen = {}
        local function walk(name, t, depth)
          if depth > 3 then return end
          for key, value in next, t do
            local path = name .. "." .. tostring(key)
            if not path:match "^_G%._G" and not path:match "^_G%.package%.loaded" then
              seen[path] = tostring(value)
              if type(value) == "table" then walk(path, value, depth + 1) end
            end
          end
        end
        walk("_G", _G, 0)
        for _, value in ipairs { "", 0, true, print, coroutine.create(print), io.stdout } do
          local metatable = debug.getmetatable(value)
          if metatable then walk(type(value), metatable, 0) end
        end
        return seen
      end
      local before = inventory()
      local lunawire = require "lunawire"
      lunawire.setTimeout(function() end, 0)
      lunawire.run(100)
      pcall(lunawire.WebSocket, "nonsense")
      for path, value in pairs(inventory()) do
        if before[path] ~= value then print(path, before[path], value) end
        before[path] = nil
      end
      for path in pairs(before) do print("gone", path) end]])
  end)

  it("leaves the random seed and the collector's mode alone", function()
    assert.equal("true\tgenerational\n", prints [[
      collectgarbage "generational"
      math.randomseed(42)
      local first = math.random(1 << 40)
      math.randomseed(42)
      local lunawire = require "lunawire"
      local ws = lunawire.WebSocket "ws://127.0.0.1:1/" -- which draws a key
      ws.onerror = function() end
      lunawire.run(5000)
      print(first == math.random(1 << 40), collectgarbage "incremental")]])
  end)

  it("finds what it needs from any directory, twice the same", function()
    assert.equal("true\n", prints [[
      local one = require "lunawire"
      print(one == require "lunawire")]])
  end)

  it("twice in one process has a loop for each state, and one state has one loop", function()
    assert.equal("timer\ntrue\n", prints [[
      local lunawire = require "lunawire"
      lunawire.setTimeout(print, 1, "timer")
      package.loaded.lunawire, package.loaded["lunawire.core"] = nil, nil
      local again = require "lunawire" -- anew: the loop is the same
      print(again.run(5000))]])
  end)
end)

describe("the module's table", function()
  before_each(turns.open)
  after_each(turns.clear)

  local public = {
    ["function"] = "setTimeout setInterval clearTimeout clearInterval run step stop flush fd timeout watch onsignal now "
      .. "go sleep connect heartbeat Error messageSize random randomBytes",
    table = "WebSocket WebSocketServer ReconnectingWebSocket CloseCode loop ArrayBuffer Blob",
    string = "_VERSION",
  }

  it("has the public names, and no other", function()
    local known = { onerror = true }
    for kind, names in pairs(public) do
      for name in names:gmatch "%S+" do
        assert.equal(kind, type(lunawire[name]), name)
        known[name] = true
      end
    end
    for name in pairs(lunawire) do assert.is_true(known[name], name) end
    assert.is_nil(lunawire.onerror)
    assert.is_nil(lunawire.webSocket)
    for _, name in ipairs { "pollfd", "events", "timeout" } do assert.is_function(lunawire.loop[name]) end
  end)

  it("says its version, which is the CHANGELOG's and the rockspec's form", function()
    assert.matches("^lunawire %d+%.%d+%.%d+$", lunawire._VERSION)
  end)
end)

describe("CloseCode", function()
  local CloseCode = lunawire.CloseCode
  local names = {
    NORMAL = 1000, GOING_AWAY = 1001, PROTOCOL_ERROR = 1002, UNSUPPORTED_DATA = 1003, NO_STATUS = 1005,
    ABNORMAL = 1006, INVALID_PAYLOAD = 1007, POLICY_VIOLATION = 1008, MESSAGE_TOO_BIG = 1009,
    MANDATORY_EXTENSION = 1010, INTERNAL_ERROR = 1011, SERVICE_RESTART = 1012, TRY_AGAIN_LATER = 1013,
    BAD_GATEWAY = 1014, TLS_HANDSHAKE = 1015,
  }

  it("has every code by its name, and nothing else", function()
    local count = 0
    for name, code in pairs(names) do
      assert.equal(code, CloseCode[name])
      assert.equal(name, CloseCode[code])
      assert.equal("integer", math.type(CloseCode[name]))
    end
    for name, value in pairs(CloseCode) do
      count = count + 1
      assert.is_true(name == "name" or names[name] == value or names[value] == name, name)
    end
    assert.equal(15 + 15 + 1, count)
  end)

  it("names every code", function()
    for name, code in pairs(names) do
      assert.equal(name, CloseCode.name(code))
      assert.equal(name, CloseCode.name(code + 0.0))
    end
  end)

  for _, range in ipairs {
    { 0, 999, "unused" }, { 1004, 1004, "reserved" }, { 1016, 1999, "reserved" }, { 2000, 2999, "for extensions" },
    { 3000, 3999, "for libraries" }, { 4000, 4999, "for applications" }, { 5000, 65535, "invalid" }, { -10, -1, "invalid" },
  } do
    it(("names the range from %d to %d: %s"):format(range[1], range[2], range[3]), function()
      for code = range[1], range[2] do
        if CloseCode.name(code) ~= range[3] then error(code .. " is called " .. CloseCode.name(code)) end
      end
    end)
  end

  it("has no name for what is no code", function()
    for _, value in ipairs { 1000.5, 999.5, 0 / 0, math.huge, -math.huge, 2 ^ 53 } do
      assert.equal("invalid", CloseCode.name(value))
    end
    for _, value in ipairs { "NORMAL", {}, true, print } do
      assert.matches("CloseCode.name: a number expected, got " .. type(value), wire.mistake("TypeError", CloseCode.name, value))
    end
    assert.matches("got nil", wire.mistake("TypeError", CloseCode.name))
  end)
end)

describe("an error object", function()
  it("has a name, a message and a text that says where", function()
    local ok, err = pcall(function() lunawire.setTimeout(1) end)
    assert.is_false(ok)
    assert.equal("TypeError", err.name)
    assert.equal("setTimeout: a function expected, got number", err.message)
    assert.matches("^.*module_spec%.lua:%d+: TypeError: setTimeout: a function expected, got number$", tostring(err))
    local unchanged = err
    ok, err = pcall(error, err)
    assert.is_false(ok)
    assert.equal(unchanged, err)
  end)

  it("says where the caller stood, through the module's own Lua, too", function()
    local _, err = pcall(function() lunawire.run "soon" end)
    assert.matches("module_spec%.lua:%d+: TypeError: run: milliseconds expected, got string$", tostring(err))
  end)

  it("survives being changed", function()
    local _, err = pcall(lunawire.setTimeout)
    err.message, err.where = nil, {}
    assert.equal("TypeError: ", tostring(err))
    err.name = false
    assert.is_string(tostring(err))
  end)

  it("is told by an interpreter that nobody caught it in #foreign", function()
    local output, status = turns.program [[require("lunawire").setTimeout(nil)]]
    assert.matches("TypeError: setTimeout: a function expected, got nil", output)
    assert.equal(1, status)
  end)
end)

describe("the documented names", function()
  it("are those of the types", function()
    local name = helper.root .. "/types/lunawire.lua"
    local file = io.open(name)
    if not file then return end
    local text = file:read "a"
    file:close()
    for _, public_name in ipairs { "setTimeout", "clearInterval", "run", "step", "flush", "timeout", "watch", "onsignal" } do
      assert.truthy(text:find("lunawire." .. public_name, 1, true), public_name)
    end
  end)
end)
