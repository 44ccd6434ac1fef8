-- tally.lua -- what a sweep (sweep.lua) has found, added up for each kind of fault.

local tally = {}

local FIELDS = { "points", "struck", "failures", "leaks", "crashes", "hangs", "known" }
local KINDS = { "none", "alloc", "crypto", "call" }

--- Numbers to begin with.
function tally.new()
  local sums = {}
  for _, field in ipairs(FIELDS) do sums[field] = 0 end
  return sums
end

--- Adds `more`, a table of kinds, to another.
function tally.add(kinds, more)
  for kind, sums in pairs(more) do
    kinds[kind] = kinds[kind] or tally.new()
    for _, field in ipairs(FIELDS) do kinds[kind][field] = kinds[kind][field] + sums[field] end
  end
  return kinds
end

--- A line for each kind, behind a word.
function tally.lines(kinds, word)
  local lines = {}
  for _, kind in ipairs(KINDS) do
    local words = {}
    for i, field in ipairs(kinds[kind] and FIELDS or {}) do words[i] = kinds[kind][field] .. " " .. field end
    if words[1] then lines[#lines + 1] = ("%s %s: %s\n"):format(word, kind, table.concat(words, ", ")) end
  end
  return table.concat(lines)
end

--- All such lines of a text behind this word, added up.
function tally.read(text, word)
  local kinds = {}
  for kind, words in ("\n" .. text):gmatch("\n" .. word .. " (%l+): ([^\n]*)") do
    local sums = tally.new()
    for n, field in words:gmatch "(%d+) (%l+)" do sums[field] = tonumber(n) end
    tally.add(kinds, { [kind] = sums })
  end
  return kinds
end

return tally
