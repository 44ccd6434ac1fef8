-- annotations.lua -- reads a file of LuaCATS annotations, as types/lunawire.lua is one, and refuses what is wrong in it:
-- an unknown tag or type, a parameter that the function does not have, a name that is there twice.
--
--   local read = dofile "tools/annotations.lua"
--   local book = read(text, "types/lunawire.lua")
--   book.list[1].name, book.classes["lunawire.WebSocket"].members[1].name
--
-- `list` also has { part = "a title" } for lines `-- a title ----------`.
-- A class is { name, about, parents, members, byName, len, call }, with call = { params, returns }; an alias has `type` or
-- `values`, each { value, about }; a member
-- { name, kind = "field" | "method" | "function", type, optional, default, about, params, returns, line }.
-- What is read of LuaCATS: @meta, @class, @field, @param, @return, @overload,
-- @operator len, @alias. A comment in front of a class, field
-- or function is about it; "(default: …)" at the beginning of what is said of a field is its default.
-- Plain Lua, 5.1 to 5.5.

-- Types ------------------------------------------------------------------------------------------------------------

local simple = {}
for name in ("any nil boolean integer number string table function userdata thread file* true false"):gmatch "%S+" do
  simple[name] = true
end

local Reader = {}
Reader.__index = Reader

function Reader:fail(problem)
  error(("%s:%d: %s"):format(self.file, self.line, problem), 0)
end

--- Takes a pattern at the place where we are; its captures, or nil.
local function take(at, pattern)
  local first, last, capture = at.text:find("^" .. pattern, at.place)
  if not first then return nil end
  at.place = last + 1
  return capture or at.text:sub(first, last)
end

local function expect(self, at, pattern, what)
  return take(at, pattern) or self:fail(("%s expected at `%s`"):format(what, at.text:sub(at.place)))
end

local readType

--- What a reader has gone over, as text.
local function over(self, at)
  local first = at.place
  readType(self, at)
  return at.text:sub(first, at.place - 1)
end

--- fun(name?: type, ...: type): type, type
-- Its parameters and what it returns, as those of a member.
local function readFunction(self, at)
  local params, returns = {}, {}
  expect(self, at, "%(%s*", "`(`")
  while not take(at, "%)") do
    local name = take(at, "%.%.%.") or expect(self, at, "[%a_][%w_]*", "a parameter")
    local optional = take(at, "%?") ~= nil
    local kind = take(at, ":%s*") and over(self, at) or "any"
    params[#params + 1] = { name = name, optional = optional, type = kind, about = "" }
    if not take(at, ",%s*") then
      expect(self, at, "%)", "`)`")
      break
    end
  end
  if take(at, ":%s*") then
    repeat returns[#returns + 1] = { type = over(self, at), name = nil, about = "" } until not take(at, ",%s+")
  end
  return params, returns
end

--- { name?: type, … }
local function readTable(self, at)
  while not take(at, "%s*}") do
    expect(self, at, "%s*[%a_][%w_]*%??:%s*", "a field")
    readType(self, at)
    take(at, "%s*,")
  end
end

local function readOne(self, at)
  if take(at, "%(") then
    readType(self, at)
    expect(self, at, "%)", "`)`")
  elseif take(at, "{") then
    readTable(self, at)
  elseif not take(at, '"[^"]*"') and not take(at, "%d+") then
    local name = expect(self, at, "[%a_][%w_.]*%*?", "a type")
    if name == "fun" then return readFunction(self, at) end
    if not simple[name] then self.used[#self.used + 1] = { name = name, line = self.line } end
    if name == "table" and take(at, "<") then
      readType(self, at)
      expect(self, at, ",%s*", "`,`")
      readType(self, at)
      expect(self, at, ">", "`>`")
    end
  end
  while take(at, "%[%]") or take(at, "%?") do end -- luacheck: ignore 542
end

function readType(self, at)
  repeat readOne(self, at) until not take(at, "|")
end

--- The type at the beginning of a text, and what stands behind it.
local function typeOf(self, text)
  local at = { text = text, place = 1 }
  readType(self, at)
  if not text:find("^%s", at.place) and at.place <= #text then
    self:fail(("`%s` is no type"):format(text:match "^%S+"))
  end
  return text:sub(1, at.place - 1), text:sub(at.place):gsub("^%s+", ""), nil
end

-- Lines ------------------------------------------------------------------------------------------------------------

local function said(self, behind)
  local lines = self.about
  self.about = {}
  if behind ~= "" then lines[#lines + 1] = behind end
  return lines
end

local function addMember(self, class, member)
  if class.byName[member.name] then self:fail(("`%s` is there twice in %s"):format(member.name, class.name)) end
  member.line = self.line
  class.members[#class.members + 1] = member
  class.byName[member.name] = member
end

local tags = {}

function tags.meta() end

function tags.class(self, text)
  local name, behind = text:match "^([%w_.]+)%s*(.*)$"
  if not name then self:fail "a class's name expected" end
  if self.book.classes[name] then self:fail(("the class %s is there twice"):format(name)) end
  local class = { name = name, about = said(self, ""), parents = {}, members = {}, byName = {},
    len = false, call = nil, line = self.line }
  if behind ~= "" then
    local at = { text = behind, place = 1 }
    expect(self, at, ":%s*", "`:`")
    repeat class.parents[#class.parents + 1] = over(self, at) until not take(at, ",%s*")
    if at.place <= #behind then self:fail(("`%s` behind a class"):format(behind:sub(at.place))) end
  end
  self.class = class
  self.book.classes[name] = class
  self.book.list[#self.book.list + 1] = class
end

--- One type under a name, or the values that follow, one a line: ---| "value" # what it means
function tags.alias(self, text)
  local name, behind = text:match "^([%w_.]+)%s*(.*)$"
  if not name then self:fail "an alias's name expected" end
  if self.book.classes[name] then self:fail(("%s is there twice"):format(name)) end
  local alias = { name = name, about = said(self, ""), values = {}, members = {}, line = self.line }
  if behind ~= "" then alias.type = typeOf(self, behind) end
  self.class, self.alias = nil, alias
  self.book.classes[name] = alias
  self.book.list[#self.book.list + 1] = alias
end

local function takeValue(self, text)
  local value, about = text:match "^(%S+)%s+#%s+(.*)$"
  if not value or not self.alias then self:fail "a value of an alias, and what it means, expected" end
  typeOf(self, value)
  table.insert(self.alias.values, { value = value, about = about })
end

function tags.field(self, text)
  if not self.class then self:fail "a field without a class" end
  local name, optional, rest = text:match "^([%a_][%w_]*)(%??)%s+(.*)$"
  if not name then self:fail "a field's name expected" end
  local kind, behind = typeOf(self, rest)
  local default
  behind = behind:gsub("^%(default: ([^)]*)%)%s*", function(value)
    default = value
    return ""
  end)
  addMember(self, self.class, {
    name = name, kind = "field", type = kind, optional = optional == "?", default = default, about = said(self, behind),
  })
end

--- What a call of the class's table makes. The fields that follow are that table's.
function tags.overload(self, text)
  local at = { text = text, place = 1 }
  expect(self, at, "fun", "`fun`")
  if not self.class then self:fail "an overload without a class" end
  local params, returns = readFunction(self, at)
  if at.place <= #text then self:fail(("`%s` behind a function"):format(text:sub(at.place))) end
  self.class.call = { params = params, returns = returns }
end

function tags.operator(self, text)
  if text ~= "len: integer" or not self.class then self:fail "only `@operator len: integer` is known here, in a class" end
  self.class.len = true
end

function tags.param(self, text)
  local name, optional, rest = text:match "^([%a_][%w_]*)(%??)%s+(.*)$"
  if not name then name, optional, rest = text:match "^(%.%.%.)()%s+(.*)$" end
  if not name then self:fail "a parameter's name expected" end
  local kind, behind = typeOf(self, rest)
  self.params[#self.params + 1] = { name = name, optional = optional == "?", type = kind, about = behind }
end

tags["return"] = function(self, text)
  local kind, behind = typeOf(self, text)
  local name, about = behind:match "^([%a_.][%w_.]*)%s*(.*)$"
  if kind == "..." then name, about = "...", behind end
  self.returns[#self.returns + 1] = { type = kind, name = name, about = about or "" }
end

--- function Class:name(a, b) end -- or Class.name
local function takeFunction(self, owner, dot, name, list)
  local class = self.locals[owner]
  if not class then self:fail(("`%s` is no class of this file"):format(owner)) end
  local i = 0
  for parameter in list:gmatch "[^,%s]+" do
    i = i + 1
    if not self.params[i] or self.params[i].name ~= parameter then
      self:fail(("`%s` is called with `%s`, of which nothing is said there"):format(name, parameter))
    end
  end
  if self.params[i + 1] then self:fail(("`%s` has no parameter `%s`"):format(name, self.params[i + 1].name)) end
  addMember(self, class, {
    name = name, kind = dot == ":" and "method" or "function", type = "function", optional = false,
    about = said(self, ""), params = self.params, returns = self.returns,
  })
  self.params, self.returns, self.class = {}, {}, nil
end

local function takeLine(self, line)
  local part = line:match "^%-%- (.-) %-%-%-%-%-%-%-%-+$"
  if part then self.book.list[#self.book.list + 1] = { part = part } end
  local tag, text = line:match "^%-%-%-@(%S+)%s*(.-)%s*$"
  if tag then
    local handle = tags[tag] or self:fail(("the tag @%s is not known here"):format(tag))
    return handle(self, text)
  end
  local value = line:match "^%-%-%-|%s*(.-)%s*$"
  if value then return takeValue(self, value) end
  local comment = line:match "^%-%-%-%s?(.-)%s*$"
  if comment then
    self.about[#self.about + 1] = comment
    return
  end
  local owner, dot, name, list = line:match "^function ([%w_]+)([.:])([%w_]+)%(([^)]*)%) end$"
  if owner then return takeFunction(self, owner, dot, name, list) end
  if self.about[1] or self.params[1] or self.returns[1] then
    self:fail(("nothing follows what was said above: `%s`"):format(line))
  end
  local variable = line:match "^local ([%w_]+) = {}$"
  if variable then
    self.locals[variable] = self.class or self:fail "a table without a class"
  elseif line ~= "" and not line:match "^%-%- " and not line:match "^return " then
    self:fail(("`%s` is not understood"):format(line))
  end
  self.class = nil
end

local function check(self)
  for _, used in ipairs(self.used) do
    if not self.book.classes[used.name] then
      self.line = used.line
      self:fail(("`%s` is no type"):format(used.name))
    end
  end
  for _, class in ipairs(self.book.list) do
    self.line = class.line
    if class.name and not class.about[1] then self:fail(("nothing is said of the class %s"):format(class.name)) end
    for _, member in ipairs(class.members or {}) do
      self.line = member.line
      if not member.about[1] then self:fail(("nothing is said of %s.%s"):format(class.name, member.name)) end
    end
  end
end

--- Reads such a file. Raises "FILE:LINE: problem".
local function read(text, file)
  local self = setmetatable({
    file = file, line = 0,
    book = { list = {}, classes = {} },
    class = nil,             -- whose fields come
    alias = nil,             -- whose values come
    locals = {},             -- variable -> class
    about = {}, params = {}, returns = {}, -- said, and not yet of anything
    used = {},               -- types, to be looked up in the end
  }, Reader)
  for line in (text .. "\n"):gmatch "(.-)\n" do
    self.line = self.line + 1
    takeLine(self, line)
  end
  check(self)
  return self.book
end

return read
