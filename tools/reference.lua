-- reference.lua -- docs/reference.md, made of types/lunawire.lua.
--
--   lua tools/reference.lua [--write]
--
-- Prints the page; with --write it goes where it belongs. From the root of a checkout.
-- Plain Lua, 5.1 to 5.5.

local read = dofile "tools/annotations.lua"

local SOURCE, PAGE = "types/lunawire.lua", "docs/reference.md"

-- What an object is called in front of its methods.
local receivers = {
  ["lunawire"] = "lunawire", ["lunawire.Loop"] = "lunawire.loop", ["lunawire.CloseCode"] = "lunawire.CloseCode",
  ["lunawire.Handle"] = "handle", ["lunawire.WebSocket"] = "ws", ["lunawire.WebSocketServer"] = "server",
  ["lunawire.Event"] = "event", ["lunawire.AskingEvent"] = "event", ["lunawire.SessionMessageEvent"] = "event",
  ["lunawire.ArrayBuffer"] = "buffer", ["lunawire.BlobClass"] = "lunawire.Blob", ["lunawire.Blob"] = "blob",
  ["lunawire.ReconnectingWebSocket"] = "ws", ["lunawire.Heartbeat"] = "heartbeat", ["lunawire.Task"] = "task",
  ["lunawire.reliable"] = "reliable", ["lunawire.ReliableLink"] = "link", ["lunawire.ReliableServer"] = "hub",
  ["lunawire.ReliableSession"] = "session",
}

local INTRODUCTION = [[
# Reference

<!-- Written by `make reference` from types/lunawire.lua. Change that, not this. -->

Every name there is, with its types, units and defaults. The guides ([contents](README.md)) say what it is for.

- All durations are milliseconds, and fractions are fine; all sizes are bytes. KiB and MiB are 1024 and 1024² of them.
- A caller's mistake raises an [Error](#error). What the world does wrong arrives as `error` and `close` events.
- `name?` and `[, name]` are what may be left out. `T[]` is a list, `fun(…): T` a function, `A | B` one of the two.
- Fields are read-only unless it says otherwise; `on…` handlers are set by assignment, to a function or nil.]]

local book
local out = {}

local function put(text) out[#out + 1] = text end

-- Text -------------------------------------------------------------------------------------------------------------

local function shortName(name) return name == "lunawire.reliable" and name or (name:gsub("^lunawire%.", "")) end

--- The class that the module has under this name, and a call of which makes what `class` says.
local function constructorName(class)
  for _, member in ipairs(book.classes.lunawire.members) do
    if member.type == class.name then return "lunawire." .. member.name end
  end
  error(("the module has no %s"):format(class.name), 0)
end

local function signature(params)
  local text, closing = "", ""
  for i, param in ipairs(params) do
    if param.optional or param.name == "..." then
      text = text .. (i > 1 and " [, " or "[") .. param.name
      closing = closing .. "]"
    else
      text = text .. (i > 1 and ", " or "") .. param.name
    end
  end
  return "(" .. text .. closing .. ")"
end

local function title(class)
  if class.call then return constructorName(class) .. signature(class.call.params) end
  return shortName(class.name)
end

--- As GitHub makes anchors of headings.
local function anchor(heading)
  return "#" .. heading:lower():gsub("[^%w%- _]", ""):gsub(" ", "-")
end

local function link(class) return ("[%s](%s)"):format(shortName(class.name), anchor(title(class))) end

--- The alternatives of a type: at each `|` that stands in no brackets and behind no `fun(…)`.
local function alternatives(text)
  local list, depth, first = {}, 0, 1
  for i = 1, #text do
    local char = text:sub(i, i)
    if char:match "[%(%{<]" then depth = depth + 1 end
    if char:match "[%)%}>]" then depth = depth - 1 end
    if char == "|" and depth == 0 and not text:sub(first, i):match "^fun%(" then
      list[#list + 1] = text:sub(first, i - 1)
      first = i + 1
    end
  end
  list[#list + 1] = text:sub(first)
  return list
end

local function typeText(text)
  local list = alternatives(text)
  for i, one in ipairs(list) do
    local name, more = one:match "^([%w_.]+)([%[%]?]*)$"
    local class = name and book.classes[name]
    if class and more ~= "" then
      list[i] = link(class) .. "`" .. more .. "`"
    elseif class then
      list[i] = link(class)
    else
      list[i] = "`" .. one:gsub("lunawire%.", "") .. "`"
    end
  end
  return table.concat(list, " | ")
end

--- Standards by name become links to where they say it.
local function linked(text)
  text = text:gsub("RFC (%d+), ([%d.]*%d)", function(number, section)
    return ("[RFC %s, %s](https://www.rfc-editor.org/rfc/rfc%s#section-%s)"):format(number, section, number, section)
  end)
  text = text:gsub("(%(RFC )(%d+)%)", function(_, number)
    return ("([RFC %s](https://www.rfc-editor.org/rfc/rfc%s))"):format(number, number)
  end)
  text = text:gsub("WHATWG WebSockets", "[WHATWG WebSockets](https://websockets.spec.whatwg.org/)")
  text = text:gsub("WHATWG DOM", "[WHATWG DOM](https://dom.spec.whatwg.org/#interface-eventtarget)")
  text = text:gsub("WHATWG Encoding", "[WHATWG Encoding](https://encoding.spec.whatwg.org/#utf-8-decode)")
  return (text:gsub("W3C File API", "[W3C File API](https://w3c.github.io/FileAPI/#blob-section)"))
end

--- What is said of something, as one piece of text. What it raises is easily found.
local function aboutText(about)
  return (linked(table.concat(about, " ")):gsub("%f[%w]Raises ", "**Raises** "))
end

--- The same, with what it raises in a paragraph of its own.
local function paragraphs(about)
  return (aboutText(about):gsub("%s+(%*%*Raises%*%* )", "\n\n%1", 1))
end

-- Tables -----------------------------------------------------------------------------------------------------------

local function cell(text) return (text:gsub("|", "\\|")) end

local function row(...)
  local cells = { ... }
  for i = 1, #cells do cells[i] = cell(cells[i]) end
  put("| " .. table.concat(cells, " | ") .. " |")
end

local function optionTable(fields)
  put ""
  put "| option | type | default | |"
  put "|---|---|---|---|"
  for _, field in ipairs(fields) do
    local default = field.default or (field.optional and "none" or "needed")
    row("`" .. field.name .. "`", typeText(field.type), default, aboutText(field.about))
  end
end

local function fieldTable(fields)
  put ""
  put "| field | type | |"
  put "|---|---|---|"
  for _, field in ipairs(fields) do
    row("`" .. field.name .. (field.optional and "?" or "") .. "`", typeText(field.type), aboutText(field.about))
  end
end

local function handlerTable(handlers)
  put ""
  put "| handler | its event | |"
  put "|---|---|---|"
  for _, handler in ipairs(handlers) do
    row("`" .. handler.name .. "`", typeText(handler.type:match "^fun%(event: (.*)%)$"), aboutText(handler.about))
  end
end

-- Functions --------------------------------------------------------------------------------------------------------

local function parameterList(params, returns)
  local lines = {}
  for _, param in ipairs(params) do
    lines[#lines + 1] = ("- `%s` %s%s"):format(param.name .. (param.optional and "?" or ""), typeText(param.type),
      param.about ~= "" and ": " .. linked(param.about) or "")
  end
  for i, value in ipairs(returns) do
    lines[#lines + 1] = ("- %s %s%s%s"):format(i == 1 and "returns" or "and", value.name and "`" .. value.name .. "` " or "",
      typeText(value.type), value.about ~= "" and ": " .. linked(value.about) or "")
  end
  if lines[1] then
    put ""
    put(table.concat(lines, "\n"))
  end
end

local function functionSection(class, member)
  local receiver = receivers[class.name]
    or error(("tools/reference.lua: what is a %s called in front of its methods?"):format(class.name), 0)
  put ""
  put(("### %s%s%s%s"):format(receiver, member.kind == "method" and ":" or ".", member.name, signature(member.params)))
  put ""
  put(paragraphs(member.about))
  parameterList(member.params, member.returns)
end

-- Classes ----------------------------------------------------------------------------------------------------------

local function sorted(class)
  local fields, handlers, functions, isOptions = {}, {}, {}, false
  for _, member in ipairs(class.members) do
    if member.kind ~= "field" then
      functions[#functions + 1] = member
    elseif member.type:match "^fun%(event: .*%)$" then
      handlers[#handlers + 1] = member
    else
      fields[#fields + 1] = member
    end
    isOptions = isOptions or member.default ~= nil
  end
  return fields, handlers, functions, isOptions
end

local function valueTable(alias)
  put ""
  put "| value | |"
  put "|---|---|"
  for _, one in ipairs(alias.values) do row("`" .. one.value .. "`", linked(one.about)) end
end

local function parentsText(class)
  local list = {}
  for _, parent in ipairs(class.parents or {}) do
    if book.classes[parent] then list[#list + 1] = link(book.classes[parent]) end
  end
  return table.concat(list, " and ")
end

local function classSection(class)
  put ""
  put("## " .. title(class))
  put ""
  put(paragraphs(class.about))
  if class.values and class.values[1] then return valueTable(class) end
  if class.values then
    put ""
    put(typeText(class.type))
    return
  end
  if class.call then parameterList(class.call.params, class.call.returns) end
  local fields, handlers, functions, isOptions = sorted(class)
  local parents = parentsText(class)
  if parents ~= "" then
    put ""
    put(("All of %s%s"):format(parents, class.members[1] and ", and:" or "."))
  end
  if fields[1] then (isOptions and optionTable or fieldTable)(fields) end
  if handlers[1] then handlerTable(handlers) end
  for _, member in ipairs(functions) do functionSection(class, member) end
end

local function contents()
  local line
  for _, entry in ipairs(book.list) do
    if entry.part then
      if line then put(line) end
      line = "- **" .. entry.part .. "**:"
    else
      line = line .. (line:match ":$" and " " or ", ")
        .. (entry.call and ("[%s()](%s)"):format(constructorName(entry), anchor(title(entry))) or link(entry))
    end
  end
  put(line)
end

local function page()
  put(INTRODUCTION)
  put ""
  contents()
  for _, entry in ipairs(book.list) do
    if entry.name then classSection(entry) end
  end
  return table.concat(out, "\n") .. "\n"
end

local file = assert(io.open(SOURCE))
book = read(file:read "*a", SOURCE)
file:close()
local text = page()
if arg[1] == "--write" then
  file = assert(io.open(PAGE, "w"))
  file:write(text)
  file:close()
else
  io.write(text)
end
