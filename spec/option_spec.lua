-- Option tables: every key known, every value checked, nothing ignored.

local option = require "lunawire.option"
local wire = require "spec.wire"

local known = {
  { "delay", "duration", 5 }, { "interval", "positive" }, { "least", "count", 1 }, { "most", "limit", math.huge },
  { "share", "fraction" }, { "factor", "factor" }, { "name", "text", "none" }, { "choose", "function" },
  { "even", { "an even number", function(value) return type(value) == "number" and value % 2 == 0 end } },
}

local function read(options, others) return option.read("thing", options, known, others) end
local function refused(options, others) return wire.mistake("TypeError", option.read, "thing", options, known, others) end

describe("options", function()
  it("are the defaults when there are none", function()
    for _, given in ipairs { {}, false } do
      assert.same({ delay = 5, least = 1, most = math.huge, name = "none" }, (read(given or nil)))
    end
  end)

  it("are copied", function()
    local given = { delay = 7 }
    local own = read(given)
    assert.not_equal(given, own)
    own.delay = 8
    assert.equal(7, given.delay)
    assert.is_nil(known[1].value)
    assert.equal(5, (read()).delay)
  end)

  local nan, inf = 0 / 0, math.huge
  local function any() end
  for _, row in ipairs {
    -- name, what fits, what does not, in words
    { "delay", { 0, 0.5, 1e15 }, { -1, -0.001, 1.1e15, inf, -inf, nan, "1", true, {} }, "milliseconds, 0 or more" },
    { "interval", { 0.001, 1e15 }, { 0, -1, inf, nan, "1", any }, "milliseconds over 0" },
    { "least", { 1, 2.0, 2 ^ 53 }, { 0, -1, 1.5, 2 ^ 54, inf, nan, "1" }, "a whole number over 0" },
    { "most", { 0, 1, 3.0, inf }, { -1, 0.5, -inf, nan, "huge" }, "a whole number, 0 or more, or math%.huge" },
    { "share", { 0, 0.5, 1 }, { -0.1, 1.1, nan, "0" }, "a number from 0 to 1" },
    { "factor", { 1, 1.6, 1e6 }, { 0.99, 0, 1.1e6, inf, nan, "2" }, "a number of 1 or more" },
    { "name", { "", "x" }, { 1, true, {}, any }, "a string" },
    { "choose", { any, print }, { "x", 1, {}, setmetatable({}, { __call = any }) }, "a function" },
    { "even", { 0, 2 }, { 1, "2" }, "an even number" },
  } do
    it(row[1] .. " takes what fits, and says what that is", function()
      for _, value in ipairs(row[2]) do assert.equal(value, (read { [row[1]] = value })[row[1]]) end
      for i = 1, #row[3] do
        assert.matches(("^thing: option \"%s\": %s expected, got "):format(row[1], row[4]), refused { [row[1]] = row[3][i] })
      end
    end)
  end

  it("that do not fit are shown", function()
    assert.matches("got %-1%.5$", refused { delay = -1.5 })
    assert.matches("got \"a\\\nb\"$", refused { delay = "a\nb" })
    assert.matches("got \"x+\"$", refused { delay = ("x"):rep(1000) })
    assert.is_true(#refused { delay = ("x"):rep(1000) } < 200)
    assert.matches("got table$", refused { delay = {} })
    assert.matches("got Thing$", refused { delay = setmetatable({}, { __name = "Thing" }) })
    assert.matches("got function$", refused { delay = print })
  end)

  it("that are unknown are refused, and the one that was meant is named", function()
    assert.equal("thing: unknown option \"delai\" (did you mean \"delay\"?)", refused { delai = 1 })
    for _, swapped in ipairs { "elast", "laest", "Least", "leats" } do
      assert.matches("did you mean \"least\"", refused { [swapped] = 1 })
    end
    assert.matches("did you mean \"tls\"", refused({ tsl = 1 }, { "tls" })) -- two neighbours swapped are one slip
    assert.equal("thing: unknown option \"zzzzzzzz\"", refused { zzzzzzzz = 1 })
    assert.equal("thing: unknown option \"onopen\" (handlers are set on what thing returns)", refused { onopen = print })
    assert.equal("thing: options: a name expected, got a number as key", refused { "x" })
    assert.equal("thing: options: a name expected, got a boolean as key", refused { [true] = 1 })
  end)

  it("that are no table are refused", function()
    for _, value in ipairs { 1, "x", true, print } do
      assert.matches("^thing: options: a table expected, got ", refused(value))
    end
  end)

  it("of others come apart, unchecked, and are known by name", function()
    local own, rest = read({ delay = 1, theirs = -1 }, { "theirs", "more" })
    assert.equal(1, own.delay)
    assert.is_nil(own.theirs)
    assert.same({ theirs = -1 }, rest)
    assert.matches("did you mean \"theirs\"", refused({ their = 1 }, { "theirs" }))
    assert.same({}, select(2, read {}))
  end)
end)
