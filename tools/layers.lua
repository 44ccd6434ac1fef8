-- layers.lua -- do the files of src/ include only what docs/architecture.md lets them?
--
--   lua tools/layers.lua [ARCHITECTURE.md [SRC]]     prints what is wrong; status 1 if anything is
--
-- The document holds two tables this reads: the rooms (`| 0 | `buf` | what | headers |`: a floor, a
-- file, and the foreign headers it may include, by group or one by one) and the groups
-- (`| `system` | `<sys/*.h>` ... |`). The order of rows is the order of files on a floor.
-- Plain Lua, 5.1 to 5.4.

local function fail(...)
  io.stderr:write(string.format(...), "\n")
  os.exit(2)
end

-- The cells of a table row, trimmed; nil for any other line.
local function cells(line)
  if not line:match "^|.*|%s*$" then return nil end
  local list = {}
  for cell in line:gmatch "|([^|]*)" do list[#list + 1] = (cell:gsub("^%s+", ""):gsub("%s+$", "")) end
  list[#list] = nil -- what follows the last bar
  return list
end

local function quoted(cell)
  local list = {}
  for name in cell:gmatch "`([^`]+)`" do list[#list + 1] = name end
  return list
end

-- rooms: file stem -> { floor, order, may = {group or <header>} }; groups: name -> list of patterns
local function readDocument(name)
  local rooms, groups, order = {}, {}, 0
  local file = io.open(name) or fail("layers: cannot read %s", name)
  for line in file:lines() do
    local row = cells(line)
    local first = row and row[1]
    if first and first:match "^%d$" then
      order = order + 1
      local stem = quoted(row[2])[1] or fail("layers: %s: no file in this row: %s", name, line)
      if rooms[stem] then fail("layers: %s: `%s` stands in the table twice", name, stem) end
      rooms[stem] = { floor = tonumber(first), order = order, may = quoted(row[#row]) }
    elseif first and quoted(row[#row])[1] and quoted(row[#row])[1]:match "^<" and quoted(first)[1] then
      groups[quoted(first)[1]] = quoted(row[#row])
    end
  end
  file:close()
  if not next(rooms) then fail("layers: no table of rooms in %s", name) end
  return rooms, groups
end

-- Is <header> one of these globs?
local function matches(header, globs)
  for _, glob in ipairs(globs) do
    local pattern = glob:gsub("[%-%.%+%[%]%(%)%$%^%%%?]", "%%%0"):gsub("%*", ".*")
    if header:match("^" .. pattern .. "$") then return true end
  end
  return false
end

local function mayInclude(room, header, groups)
  if matches(header, groups.libc or {}) then return true end
  for _, name in ipairs(room.may) do
    if name:match "^<" then
      if matches(header, { name }) then return true end
    elseif matches(header, groups[name] or fail("layers: no group of headers `%s`", name)) then
      return true
    end
  end
  return false
end

local function stemOf(name) return (name:gsub("%.[ch]$", "")) end

-- The room of a file: `frame` stands for frame.h and frame.c, `lua_compat.h` for itself alone.
local function roomOf(rooms, name)
  return rooms[name] or rooms[stemOf(name)]
end

-- Every #include of one file: { line number, "header" without quotes, foreign or not }
local function includes(path)
  local list, number = {}, 0
  local file = io.open(path) or fail("layers: cannot read %s", path)
  for line in file:lines() do
    number = number + 1
    local what = line:match "^%s*#%s*include%s*(.*)"
    if what then
      list[#list + 1] = { line = number, own = what:match '^"([^"]+)"', foreign = what:match "^<[^>]+>", text = what }
    end
  end
  file:close()
  return list
end

local function check(src, name, names, rooms, groups, complain)
  local room = roomOf(rooms, name)
  if not room then return complain(name, 1, "stands in no room") end
  local header = stemOf(name) .. ".h"
  for position, include in ipairs(includes(src .. "/" .. name)) do
    local function wrong(...) complain(name, include.line, string.format(...)) end
    if position == 1 and name:match "%.c$" and names[header] and include.own ~= header then
      wrong('includes %s before its own "%s"', include.text, header)
    end
    if include.foreign then
      if not mayInclude(room, include.foreign, groups) then wrong("may not include %s", include.foreign) end
    elseif not include.own then
      wrong("cannot tell what `%s` includes", include.text)
    elseif include.own ~= header or name == header then
      local other = roomOf(rooms, include.own)
      if not names[include.own] then
        wrong('includes "%s", which is not in src/', include.own)
      elseif not other then
        wrong('includes "%s", which stands in no room', include.own)
      elseif other.floor > room.floor then
        wrong('floor %d includes "%s" of floor %d', room.floor, include.own, other.floor)
      elseif other.floor == room.floor and other.order >= room.order then
        wrong('includes "%s", which comes after it on floor %d', include.own, room.floor)
      end
    end
  end
end

local function list(src)
  local pipe = io.popen("ls '" .. src:gsub("'", "'\\''") .. "'")
  local sorted, set = {}, {}
  for name in pipe:lines() do
    if name:match "%.[ch]$" then
      sorted[#sorted + 1] = name
      set[name] = true
    end
  end
  pipe:close()
  return sorted, set
end

local document = arg[1] or "docs/architecture.md"
local src = arg[2] or "src"
local rooms, groups = readDocument(document)
local sorted, names = list(src)
if #sorted == 0 then fail("layers: no C files in %s", src) end

local wrong = 0
for _, name in ipairs(sorted) do
  check(src, name, names, rooms, groups, function(file, line, message)
    wrong = wrong + 1
    print(("%s/%s:%d: %s"):format(src, file, line, message))
  end)
end
if wrong > 0 then os.exit(1) end
