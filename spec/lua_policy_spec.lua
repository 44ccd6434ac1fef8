-- src/lua_policy.c: what policy written in Lua needs of the core.

local core = require "lunawire.core"
local lunawire = require "lunawire"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

describe("Error", function()
  it("is an object with a name and a message, and says its place", function()
    local err = core.Error("TypeError", "that will not do")
    assert.equal("TypeError", err.name)
    assert.equal("that will not do", err.message)
    assert.matches("lua_policy_spec%.lua:%d+: TypeError: that will not do$", tostring(err))
  end)

  it("has the line of the nearest call outside the library", function()
    local function here() return debug.getinfo(2, "l").currentline end
    local line = here() + 2
    local function wrong()
      lunawire.heartbeat(1)
      return nil
    end
    local _, err = pcall(wrong)
    assert.matches(("lua_policy_spec%%.lua:%d: TypeError: heartbeat: "):format(line), tostring(err))
  end)

  it("takes strings", function()
    assert.is_false(pcall(core.Error, nil, "x"))
    assert.is_false(pcall(core.Error, "x", {}))
  end)
end)

describe("random", function()
  it("is in [0, 1), and has 53 bits, each of them set half of the time", function()
    local n, sum, bits = 20000, 0, {}
    for i = 1, 53 do bits[i] = 0 end
    for _ = 1, n do
      local value = lunawire.random()
      assert.is_true(value >= 0 and value < 1)
      local whole = value * 2 ^ 53
      assert.equal(whole, math.floor(whole)) -- no more than 53
      whole = math.tointeger(whole)
      for i = 1, 53 do bits[i] = bits[i] + (whole >> (i - 1) & 1) end
      sum = sum + value
    end
    assert.is_true(math.abs(sum / n - 0.5) < 0.02, sum / n)      -- ten times the deviation
    for i = 1, 53 do assert.is_true(math.abs(bits[i] / n - 0.5) < 0.035, "bit " .. i) end
  end)

  it("does not come again, and leaves math.random alone", function()
    local seen = {}
    math.randomseed(5)
    local first = math.random()
    math.randomseed(5)
    for _ = 1, 1000 do
      local value = lunawire.random()
      assert.is_nil(seen[value])
      seen[value] = true
    end
    assert.equal(first, math.random())
    assert.not_equal(turns.program "print(require 'lunawire'.random())", turns.program "print(require 'lunawire'.random())")
  end)
end)

describe("randomBytes", function()
  for _, n in ipairs { 0, 1, 63, 64, 65, 128, 1000, 65535, 65536, 16.0 } do
    it("gives " .. n, function() assert.equal(n, #lunawire.randomBytes(n)) end)
  end

  for _, n in ipairs { -1, 65537, 0.5, 0 / 0, 1 / 0, "16", true, {} } do
    it("does not give " .. tostring(n), function()
      assert.matches("a whole number from 0 to 65536 expected", wire.mistake("TypeError", lunawire.randomBytes, n))
    end)
  end

  it("does not give nothing", function() wire.mistake("TypeError", lunawire.randomBytes) end)

  it("has every byte as often as any other", function()
    local counts = {}
    for byte = 0, 255 do counts[byte] = 0 end
    for _ = 1, 4 do
      for byte in lunawire.randomBytes(65536):gmatch "." do counts[byte:byte()] = counts[byte:byte()] + 1 end
    end
    for byte = 0, 255 do assert.is_true(math.abs(counts[byte] - 1024) < 250, byte) end -- eight times the deviation
    assert.not_equal(lunawire.randomBytes(16), lunawire.randomBytes(16))
  end)
end)

describe("messageSize", function()
  for _, row in ipairs {
    { 0, "" }, { 5, "hello" }, { 3, "\226\130\172" }, { 1, "\255", "binary" }, { 2, "\255\0", { binary = true } },
    { 5, "hello", {} }, { 5, "hello", { binary = false } },
  } do
    it(("of %q is %d"):format(row[2], row[1]), function()
      local size = lunawire.messageSize(row[2], row[3])
      assert.equal(row[1], size)
      assert.equal("integer", math.type(size))
    end)
  end

  it("raises what send raises", function()
    for _, row in ipairs {
      { nil }, { 1 }, { {} }, { true }, { "\255" }, { "\237\160\128" }, { "x", "text" }, { "x", 1 }, { "x", { bin = true } },
      { "x", { binary = 1 } }, { "x", { compress = 1 } },
    } do
      local message = wire.mistake("TypeError", lunawire.messageSize, row[1], row[2])
      assert.matches("^send: ", message)
    end
  end)
end)

describe("nearest", function()
  local names = { "interval", "timeout", "message", "maxDelay", "maxRetries" }
  for _, row in ipairs {
    { "intervall", "interval" }, { "timeuot", "timeout" }, { "Message", "message" }, { "interval", "interval" },
    { "zzz", nil }, { "", nil }, { "xxxxout", nil }, { "maxRetry", "maxRetries" }, -- as far from maxDelay, which is first
  } do
    it(("to %q is %s"):format(row[1], row[2]), function() assert.equal(row[2], core.nearest(row[1], names)) end)
  end

  it("looks at names up to the first that is none, and at 256 at most", function()
    assert.is_nil(core.nearest("abc", {}))
    assert.is_nil(core.nearest("abc", { 1, "abc" }))
    local many = {}
    for i = 1, 300 do many[i] = "name" .. i end
    assert.equal("name256", core.nearest("name256", many))
    assert.not_equal("name300", core.nearest("name300", many))
    assert.is_false(pcall(core.nearest, "x", nil))
    assert.is_false(pcall(core.nearest, nil, names))
  end)
end)

describe("checkClose", function()
  it("lets pass what close() would", function()
    for _, row in ipairs { {}, { 1000 }, { 3000, "" }, { 4999, "bye" }, { nil, "" }, { 1000, ("x"):rep(123) } } do
      core.checkClose(row[1], row[2])
    end
    for code = 1001, 1014 do
      local fine = code <= 1003 or code >= 1007
      assert.equal(fine, (pcall(core.checkClose, code, "", true)), code)
      assert.is_false(pcall(core.checkClose, code, "", false), code)
    end
  end)

  for _, row in ipairs {
    { "InvalidAccessError", 999 }, { "InvalidAccessError", 1001 }, { "InvalidAccessError", 5000 },
    { "InvalidAccessError", 3000.5 }, { "InvalidAccessError", 0 / 0 }, { "TypeError", "1000" }, { "TypeError", {} },
    { "SyntaxError", 1000, ("x"):rep(124) }, { "SyntaxError", 1000, "\255" }, { "SyntaxError", nil, "why" },
    { "TypeError", 1000, 1 }, { "InvalidAccessError", 999, ("x"):rep(124) },
  } do
    it(("raises %s for %s"):format(row[1], tostring(row[2])), function()
      assert.matches("^close: ", wire.mistake(row[1], core.checkClose, row[2], row[3]))
    end)
  end
end)

describe("attempt, raise and warn", function()
  before_each(turns.open)
  after_each(turns.clear)

  local source = {}

  it("call a handler with its event, and nothing else", function()
    local got
    assert.is_true(core.attempt(source, function(...)
      got = { n = select("#", ...), ... }
      return "what it returns is dropped"
    end, "event"))
    assert.same({ n = 1, "event" }, got)
    assert.equal(1, select("#", core.attempt(source, function() end)))
  end)

  it("give the error back, whatever it is", function()
    for _, value in ipairs { "oops", 42, false, {}, print } do
      local result = table.pack(core.attempt(source, function() error(value, 0) end))
      assert.equal(2, result.n)
      assert.is_false(result[1])
      assert.is_true(rawequal(value, result[2]))
    end
    local result = table.pack(core.attempt(source, function() error() end))
    assert.same({ n = 2, false }, result)
    assert.is_false((core.attempt(source, nil)))
  end)

  it("give it to lunawire.onerror, if there is one, and then all is well", function()
    local taken
    lunawire.onerror = function(...) taken = table.pack(...) end
    assert.is_true(core.attempt(source, function() error("oops", 0) end))
    assert.same({ "oops", 3 }, { taken[1], taken.n })
    assert.equal(source, taken[2])
    assert.matches("^stack traceback:\n", taken[3]:match "stack.*")
    assert.matches("lua_policy_spec%.lua:%d+:", taken[3])
    assert.is_true(core.attempt(nil, function() error("oops", 0) end))
    assert.is_nil(taken[2])
  end)

  it("give back what onerror itself raises", function()
    lunawire.onerror = function() error("worse", 0) end
    assert.same({ false, "worse" }, { core.attempt(source, function() error("oops", 0) end) })
  end)

  it("ask onerror once: what was raised again leaves the turn", function()
    local asked = 0
    lunawire.setTimeout(function()
      local fine, problem = core.attempt(source, function() error("oops", 0) end)
      assert(not fine)
      lunawire.onerror = function() asked = asked + 1 end
      core.raise(problem)
    end, 0)
    assert.equal("oops", select(2, pcall(lunawire.run, 1000)))
    assert.equal(0, asked)
    lunawire.setTimeout(function() error("another", 0) end, 0) -- which is asked about
    assert.is_true(lunawire.run(1000))
    assert.equal(1, asked)
  end)

  it("warn of what came behind another", function()
    local output = turns.program [[
      local core = require "lunawire.core"
      warn "@on"
      core.warn "second"
      core.warn(setmetatable({}, { __tostring = function() return "third" end }))
      core.warn(setmetatable({}, { __tostring = error }))
      core.warn(nil)]]
    assert.equal("Lua warning: lunawire: a further listener of the same event failed: second\n"
      .. "Lua warning: lunawire: a further listener of the same event failed: third\n"
      .. "Lua warning: lunawire: a further listener of the same event failed: (its __tostring failed, too)\n"
      .. "Lua warning: lunawire: a further listener of the same event failed: nil\n", output)
  end)
end)
