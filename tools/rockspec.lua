-- rockspec.lua -- does the rockspec list the files that are there?
--
--   lua tools/rockspec.lua [--write] [DIRECTORY]
--
-- Compares the C sources with src/*.c and the Lua modules with lua/lunawire/*.lua; prints
-- what differs, status 1 if anything does. --write puts the C sources into the rockspec.
-- Plain Lua, 5.1 to 5.4.

local write = arg[1] == "--write"
local root = arg[write and 2 or 1] or "."
local name = root .. "/lunawire-scm-1.rockspec"

local function files(pattern)
  local pipe = io.popen(("cd '%s' && ls %s 2>/dev/null"):format(root, pattern))
  local sorted = {}
  for file in pipe:lines() do sorted[#sorted + 1] = file end
  pipe:close()
  return sorted
end

local file = assert(io.open(name))
local text = file:read "*a"
file:close()

local sources = files "src/*.c"
if write then
  local lines = {}
  for i, source in ipairs(sources) do lines[i] = ('        "%s",\n'):format(source) end
  text = text:gsub("sources = %b{}", function() return "sources = {\n" .. table.concat(lines) .. "      }" end)
  file = assert(io.open(name, "w"))
  file:write(text)
  file:close()
end

local rockspec = {}
if setfenv then
  setfenv(assert(loadstring(text, "@" .. name)), rockspec)()
else
  assert(load(text, "@" .. name, "t", rockspec))()
end

local wrong = false
local function compare(what, listed, present)
  local function missing(list, set, complaint)
    local has = {}
    for _, entry in ipairs(set) do has[entry] = true end
    for _, entry in ipairs(list) do
      if not has[entry] then
        print(("lunawire-scm-1.rockspec: %s %s %s"):format(what, entry, complaint))
        wrong = true
      end
    end
  end
  missing(present, listed, "is not listed")
  missing(listed, present, "is listed but not there")
end

local modules = {}
for module, entry in pairs(rockspec.build.modules) do
  if type(entry) == "string" then
    modules[#modules + 1] = entry
    local expected = entry:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
    if expected ~= module then
      print(("lunawire-scm-1.rockspec: %s is module %s, not %s"):format(entry, expected, module))
      wrong = true
    end
  end
end
table.sort(modules)

compare("source", rockspec.build.modules["lunawire.core"].sources, sources)
compare("module", modules, files "lua/lunawire/*.lua")
if wrong then os.exit(1) end
