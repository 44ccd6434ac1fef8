--- Objects written in Lua that have events as WebSocket has them: `on…` handlers, listeners, and what becomes of
-- their errors (WHATWG DOM, "EventTarget"; HTML, "event handlers").
--
--   local Door = target.class {
--     name = "Door",
--     events = { "open", "close" },                               -- onopen, onclose
--     members = { width = function(state) return state.w end },   -- read-only, worked out when asked for
--     setters = { width = function(state, value) … end },         -- unless there is one of these
--     methods = { slam = function(door, …) local state = Door.state(door) … end },
--   }
--   local door = Door.new { w = 80 }                              -- the table is its state
--   Door.fire(door, target.event("open", { by = "wind" }))
--
-- @module lunawire.target
local core = require "lunawire.core"
core.ours()

local remove = table.remove
local attempt, raise = core.attempt, core.raise

local target = {}

local STATE = {} -- the key, known only here, under which an object keeps its state

--- Raises an error object, as a caller's mistake does. Its place is the nearest call from outside the library.
-- @tparam string name "TypeError" …
-- @tparam string message
function target.mistake(name, message)
  error(core.Error(name, message), 0)
end
local mistake = target.mistake

--- What a value is called in messages: "nil", "number", or a class's name.
function target.typename(value)
  local state = type(value) == "table" and rawget(value, STATE)
  if state then return state.class.name end
  local metatable = type(value) == "table" and getmetatable(value)
  return type(metatable) == "table" and metatable.__name or type(value)
end
local typename = target.typename

local getinfo = debug and debug.getinfo

--- A hint behind "WebSocket expected, got string" for whoever comes from JavaScript and writes ws.send("x"); or "".
-- @tparam integer level of the method that was called, as getinfo counts for the caller
function target.colon(level)
  local call = getinfo and getinfo(level + 1, "n")
  local dotted = call and call.name and call.namewhat == "field"
  return dotted and (" (did you mean \":%s\", with a colon?)"):format(call.name) or ""
end

local function isCallable(value)
  if type(value) == "function" then return true end
  local metatable = getmetatable(value)
  return type(metatable) == "table" and metatable.__call ~= nil
end

-- Events ---------------------------------------------------------------------------------------------------------

local function stopImmediatePropagation(event)
  rawset(event, "stopped", true)
end

local function eventMetatable(kind)
  local shared = { type = kind, stopImmediatePropagation = stopImmediatePropagation }
  local index, text = shared, ("Event (%s)"):format(kind)
  if kind == "close" then
    index = function(event, key)
      if key == "name" then return core.CloseCode.name(event.code) end
      return shared[key]
    end
  end
  return { __name = "lunawire.Event", __index = index, __tostring = function() return text end }
end

local metatables = {}

--- An event of this type with these fields of its own.
function target.event(kind, fields)
  metatables[kind] = metatables[kind] or eventMetatable(kind)
  return setmetatable(fields or {}, metatables[kind])
end

-- Handlers and listeners -----------------------------------------------------------------------------------------

-- A listener's entry is { fn =, once =, capture =, removed = }; the one without fn stands for the on… handler and
-- marks its place among the others.

local function find(list, fn, capture)
  for i = 1, #list do
    if rawequal(list[i].fn, fn) and list[i].capture == capture then return i end
  end
end

local function take(list, place)
  list[place].removed = true -- for who walks a copy of the list; the field is there, so this takes no memory
  remove(list, place)
end

local function setHandler(state, kind, value)
  state.handlers[kind] = value
  local list = state.lists[kind]
  if not list then return end
  local place = find(list, nil, false)
  if value ~= nil and not place then list[#list + 1] = { capture = false, removed = false } end
  if value == nil and place then take(list, place) end
end

local function isBoolean(value) return type(value) == "boolean" end

local listenerOptions = {
  { "capture", { "a boolean", isBoolean }, false },
  { "once", { "a boolean", isBoolean }, false },
}

--- Options of a listener: a table, or a boolean for `capture` as in the browser.
local function readListener(what, options)
  if type(options) == "boolean" then return options, false end
  options = require "lunawire.option".read(what, options, listenerOptions) -- which needs this file first
  return options.capture, options.once
end

local function checkKind(class, kind)
  if type(kind) ~= "string" then
    mistake("TypeError", "event type: a string expected, got " .. typename(kind))
  end
  if class.kinds[kind] then return end
  local near = core.nearest(kind, class.events)
  mistake("TypeError", ("%s has no event \"%s\"%s"):format(class.name, kind,
    near and (" (did you mean \"%s\"?)"):format(near) or ""))
end

--- The list of listeners for a type, made with the handler's place if there is a handler.
local function listFor(state, kind)
  local list = state.lists[kind]
  if not list then
    list = {}
    if state.handlers[kind] ~= nil then list[1] = { capture = false, removed = false } end
    state.lists[kind] = list
  end
  return list
end

local function addListenerMethods(class)
  --- object:addEventListener(type, fn [, options]): the same function twice counts once.
  function class.methods.addEventListener(object, kind, fn, options)
    local state = class.state(object)
    checkKind(class, kind)
    if not isCallable(fn) then
      mistake("TypeError", "addEventListener: a function expected, got " .. typename(fn))
    end
    local capture, once = readListener("addEventListener", options)
    local list = listFor(state, kind)
    if not find(list, fn, capture) then list[#list + 1] = { fn = fn, once = once, capture = capture, removed = false } end
  end

  function class.methods.removeEventListener(object, kind, fn, options)
    local state = class.state(object)
    checkKind(class, kind)
    local list = state.lists[kind]
    local place = list and fn ~= nil and find(list, fn, (readListener("removeEventListener", options)))
    if place then take(list, place) end
  end
end

-- Delivery -------------------------------------------------------------------------------------------------------

--- Who is to be called, capturing listeners first; what listeners do to the list does not touch the copy.
local function snapshot(list)
  local copy = {}
  for i = 1, #list do
    if list[i].capture then copy[#copy + 1] = list[i] end
  end
  for i = 1, #list do
    if not list[i].capture then copy[#copy + 1] = list[i] end
  end
  return copy
end

--- The function of an entry in its turn, or nil if it is gone. With `once` it goes before it runs.
local function callee(state, kind, list, entry)
  if entry.removed then return nil end
  if entry.once then take(list, find(list, entry.fn, entry.capture)) end
  return entry.fn or state.handlers[kind]
end

--- Calls whoever waits for the event, each of them, whatever the others do. True, or false and the first error that
-- lunawire.onerror did not take. It raises only when there is no memory; given the same `progress` ({ entries = false,
-- done = 0 }) again, it goes on with those who were not called.
local function try(object, event, progress)
  local state, kind = object[STATE], event.type
  local list, handler = state.lists[kind], state.handlers[kind]
  if not list then
    if handler == nil then return true end
    return attempt(object, handler, event)
  end
  local fine, problem = true, nil
  local entries = progress and progress.entries or snapshot(list)
  if progress then progress.entries = entries end
  for i = progress and progress.done + 1 or 1, #entries do
    if progress then progress.done = i end
    local fn = callee(state, kind, list, entries[i])
    if fn then
      local ok, err = attempt(object, fn, event)
      if not ok and fine then
        fine, problem = false, err
      elseif not ok then
        core.warn(err)
      end
      if rawget(event, "stopped") then break end
    end
  end
  return fine, problem
end

--- The same; an error is raised when all have run, value and type unchanged.
local function fire(object, event)
  local fine, problem = try(object, event)
  if not fine then raise(problem) end
end

--- Whether anybody waits for events of this type.
local function wants(object, kind)
  local state = object[STATE]
  local list = state.lists[kind]
  return state.handlers[kind] ~= nil or list ~= nil and #list > 0
end

-- Classes --------------------------------------------------------------------------------------------------------

local function indexer(class)
  local methods, members, handlerKinds = class.methods, class.members, class.handlerKinds
  return function(object, key)
    local value = methods[key]
    if value ~= nil then return value end
    local member = members[key]
    if member then return member(object[STATE]) end
    local kind = handlerKinds[key]
    if kind then return object[STATE].handlers[kind] end
    return nil
  end
end

--- A misspelt handler would never be called: nothing else may begin with "on".
local function refuse(class, key)
  if class.methods[key] ~= nil or class.members[key] then
    mistake("TypeError", ("%s's \"%s\" is read-only"):format(class.name, key))
  end
  if type(key) ~= "string" or key:sub(1, 2) ~= "on" then return end
  local near = core.nearest(key, class.handlerNames)
  mistake("TypeError", ("%s has no handler \"%s\"%s"):format(class.name, key,
    near and (" (did you mean \"%s\"?)"):format(near) or ""))
end

local function newindexer(class)
  return function(object, key, value)
    local state, kind = object[STATE], class.handlerKinds[key]
    if kind then
      if value ~= nil and not isCallable(value) then
        mistake("TypeError", ("%s: a function expected, got %s"):format(key, typename(value)))
      end
      setHandler(state, kind, value)
    elseif class.setters[key] then
      class.setters[key](state, value)
    else
      refuse(class, key)
      rawset(object, key, value) -- a field of the program's own
    end
  end
end

--- A class of objects with events; see the top of this file.
-- What it returns has `new(state)`, `state(object)` (raises TypeError for anything else), `fire(object, event)`,
-- `try(object, event)` and `wants(object, type)`.
function target.class(spec)
  local class = {
    name = spec.name,
    events = spec.events,
    members = spec.members or {},
    setters = spec.setters or {},
    methods = spec.methods or {},
    kinds = {},        -- type -> true
    handlerKinds = {}, -- "on" .. type -> type
    handlerNames = {},
    fire = fire,
    try = try,
    wants = wants,
  }
  for _, kind in ipairs(class.events) do
    local name = "on" .. kind
    class.kinds[kind], class.handlerKinds[name] = true, kind
    class.handlerNames[#class.handlerNames + 1] = name
  end

  function class.state(object)
    local state = type(object) == "table" and rawget(object, STATE)
    if not state or state.class ~= class then
      mistake("TypeError", ("%s expected, got %s%s"):format(class.name, typename(object), target.colon(2)))
    end
    return state
  end

  addListenerMethods(class)

  local metatable = {
    __name = class.name,
    __metatable = false,
    __index = indexer(class),
    __newindex = newindexer(class),
    __tostring = spec.tostring and function(object) return spec.tostring(class.state(object)) end or nil,
  }

  function class.new(state)
    state.class, state.handlers, state.lists = class, {}, {}
    state.object = setmetatable({ [STATE] = state }, metatable)
    return state.object
  end

  return class
end

return target
