--- Option tables: every key known, every value checked, nothing ignored.
-- @module lunawire.option
local core = require "lunawire.core"
local target = require "lunawire.target"
core.ours()

local floor, huge = math.floor, math.huge
local mistake, typename = target.mistake, target.typename

local option = {}

local function isNumber(value, least, most)
  return type(value) == "number" and value >= least and value <= most
end

--- What a value may be: in words, and as a test. Durations are milliseconds, sizes bytes.
option.kinds = {
  duration = { "milliseconds, 0 or more", function(value) return isNumber(value, 0, 1e15) end },
  positive = { "milliseconds over 0", function(value) return isNumber(value, 0, 1e15) and value > 0 end },
  count = { "a whole number over 0", function(value) return isNumber(value, 1, 2 ^ 53) and floor(value) == value end },
  limit = { "a whole number, 0 or more, or math.huge", function(value)
    return isNumber(value, 0, huge) and (value == huge or floor(value) == value)
  end },
  fraction = { "a number from 0 to 1", function(value) return isNumber(value, 0, 1) end },
  factor = { "a number of 1 or more", function(value) return isNumber(value, 1, 1e6) end },
  text = { "a string", function(value) return type(value) == "string" end },
  ["function"] = { "a function", function(value) return type(value) == "function" end },
}

local function refuse(what, name, names)
  if type(name) ~= "string" then
    mistake("TypeError", ("%s: options: a name expected, got a %s as key"):format(what, type(name)))
  end
  local near = core.nearest(name, names)
  mistake("TypeError", ("%s: unknown option \"%s\"%s"):format(what, name,
    near and (" (did you mean \"%s\"?)"):format(near)
    or name:sub(1, 2) == "on" and (" (handlers are set on what %s returns)"):format(what) or ""))
end

--- What a value looks like in a message.
local function shown(value)
  if type(value) == "number" then return ("%.14g"):format(value) end
  if type(value) == "string" then return ("%q"):format(value:sub(1, 70)) end
  return typename(value)
end

--- A copy of an options table, its values checked and the defaults filled in. Raises TypeError for an unknown name,
-- naming the nearest known one, and for a value that does not fit.
-- @tparam string what names the callee in messages
-- @param options a table, or nil
-- @tparam table known a list of { name, kind, default }; a kind is a name in `option.kinds`, or { words, test }
-- @tparam[opt] table others names that are somebody else's, for somebody else to check: they come in a second copy
function option.read(what, options, known, others)
  if options ~= nil and type(options) ~= "table" then
    mistake("TypeError", ("%s: options: a table expected, got %s"):format(what, typename(options)))
  end
  local names, byName, own, rest = {}, {}, {}, {}
  for i, one in ipairs(known) do
    names[i], byName[one[1]], own[one[1]] = one[1], one, one[3]
  end
  local foreign = {}
  for _, name in ipairs(others or {}) do
    names[#names + 1], foreign[name] = name, true
  end
  for name, value in pairs(options or {}) do
    local one = byName[name]
    if foreign[name] then
      rest[name] = value
    elseif not one then
      refuse(what, name, names)
    else
      local kind = option.kinds[one[2]] or one[2]
      if not kind[2](value) then
        mistake("TypeError", ("%s: option \"%s\": %s expected, got %s"):format(what, name, kind[1], shown(value)))
      end
      own[name] = value
    end
  end
  return own, rest
end

return option
