--- What people hand to `reliable`, checked; and the errors of several handlers, made one.
-- @module lunawire.reliable_check
local core = require "lunawire.core"
local target = require "lunawire.target"

local floor, huge = math.floor, math.huge
local mistake, typename = target.mistake, target.typename

local check = {}

local kinds = {
  duration = { "milliseconds over 0", function(value) return type(value) == "number" and value > 0 and value < huge end },
  count = { "a whole number over 0", function(value)
    return type(value) == "number" and value >= 1 and value < 2 ^ 53 and floor(value) == value
  end },
  ["function"] = { "a function", function(value) return type(value) == "function" end },
  greeting = { "a string or a function", function(value)
    return type(value) == "string" or type(value) == "function"
  end },
  session = { "16 to 64 of A-Z a-z 0-9 _ -", function(value)
    return type(value) == "string" and #value >= 16 and #value <= 64 and not value:find "[^A-Za-z0-9_-]"
  end },
}

--- A copy of an options table with defaults filled in. `known` is a list of { name, kind, default }.
-- Raises TypeError at the caller's caller for an unknown name or a value that does not fit.
function check.options(what, options, known)
  if options ~= nil and type(options) ~= "table" then
    mistake("TypeError", ("%s: a table of options expected, got %s"):format(what, typename(options)), 3)
  end
  local names, byName, copy = {}, {}, {}
  for i, option in ipairs(known) do
    names[i], byName[option[1]], copy[option[1]] = option[1], option, option[3]
  end
  for name, value in pairs(options or {}) do
    local option = byName[name]
    if not option then
      local near = type(name) == "string" and core.nearest(name, names)
      mistake("TypeError", ("%s: unknown option \"%s\"%s"):format(what, tostring(name),
        near and (" (did you mean \"%s\"?)"):format(near) or ""), 3)
    end
    local kind = kinds[option[2]]
    if not kind[2](value) then
      local got = type(value) == "number" and ("%.14g"):format(value) or typename(value)
      if type(value) == "string" then got = ("%q"):format(value:sub(1, 70)) end
      mistake("TypeError", ("%s: %s must be %s, got %s"):format(what, name, kind[1], got), 3)
    end
    copy[name] = value
  end
  return copy
end

--- The code and reason of a close, by the rules of WebSocket's own; `serving`: a server-side socket may say more.
function check.closing(code, reason, serving)
  if code ~= nil then
    if type(code) ~= "number" then
      mistake("TypeError", "close: a code expected, got " .. typename(code), 3)
    end
    local fits = code == 1000 or code >= 3000 and code <= 4999
      or serving and (code >= 1001 and code <= 1003 or code >= 1007 and code <= 1014)
    if not fits or code ~= floor(code) then
      mistake("InvalidAccessError", ("close: the code %.14g is none of 1000%s and 3000 to 4999"):format(code,
        serving and ", 1001 to 1003, 1007 to 1014" or ""), 3)
    end
  end
  if reason == nil then return end
  if type(reason) ~= "string" then
    mistake("TypeError", "close: the reason must be a string, got " .. typename(reason), 3)
  end
  if #reason > 123 then
    mistake("SyntaxError", ("close: the reason has %d bytes, more than 123"):format(#reason), 3)
  end
  if code == nil and reason ~= "" then mistake("SyntaxError", "close: a reason needs a code", 3) end
  core.messageSize(reason) -- raises when it is not UTF-8
end

--- Who calls several handlers on one occasion keeps the first error for the end: each of them runs, whatever the
-- others do. `keep` takes what `core.attempt` and a class's `try` return.
function check.keep(errors, fine, problem)
  if fine then return end
  if errors.any then return core.warn(problem) end
  errors.any, errors.first = true, problem
end

function check.raise(errors)
  if errors.any then core.raise(errors.first) end
end

return check
