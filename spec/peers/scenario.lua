-- scenario.lua -- plays the client's part of scenarios (spec/scenarios.lua) with lunawire, and tells in words what was
-- heard. `lua scenario.lua PORT`, where PORT is the spec's, which asks in lines of JSON (control.js). scenario.js is its
-- counterpart in a page of Chromium: the two differ where the languages do, and nowhere else.

local cjson = require "cjson"
local lunawire = require "lunawire"
local tcp = require("lunawire.probe").tcp

-- Values that JSON has not; what Lua has not either is nil.
local odd = { ["@NaN"] = 0 / 0, ["@true"] = true, ["@surrogate"] = "\xed\xa0\x80" }
local function value(given)
  if type(given) == "string" and given:find "^@" then return odd[given] end
  return given
end

local function written(given)
  if type(given) == "string" then return '"' .. given .. '"' end
  return type(given) == "number" and ("%.14g"):format(given) or tostring(given)
end

-- A type by its name in the browser.
local function typeOf(given)
  local name = type(given)
  return (name == "table" or name == "userdata") and "object" or name
end

local function bytesOf(hex)
  return (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function long(kind, n)
  local all = {}
  for i = 0, 255 do all[i + 1] = string.char(i) end
  local period = kind == "text" and "abcdefghijklmnopqrstuvwxyz" or table.concat(all)
  return period:rep(math.ceil(n / #period)):sub(1, n)
end

-- See scenario_words.js.
local function words(kind, bytes)
  if #bytes > 100 then
    local sum = 0
    for i = 1, #bytes do sum = (sum * 31 + bytes:byte(i)) % 1000003 end
    return ("%s of %d bytes, sum %d"):format(kind, #bytes, sum)
  end
  if kind == "text" then return ('text "%s"'):format(bytes) end
  return "binary " .. bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
end

local Player = {}
Player.__index = Player
Player.__name = "Player"

local function newPlayer(scenario, done)
  return setmetatable({
    scenario = scenario,
    done = done,     -- called with the log when all is over
    log = {},
    functions = {},  -- by name
    calls = {},      -- so often each of them was called
    ws = nil,        -- the socket
  }, Player)
end

function Player:say(text) self.log[#self.log + 1] = text end

-- What the data of a message are called in the browser, and their bytes.
local function taken(data)
  if type(data) == "string" then return "string ", data end
  return data.byteLength and "ArrayBuffer " or "Blob ", data:string()
end

function Player:tell(event)
  local ws = event.target
  if event.type == "open" then return self:say(('open %d "%s"'):format(ws.readyState, ws.protocol)) end
  if event.type == "error" then return self:say(("error %d"):format(ws.readyState)) end
  if event.type == "close" then
    return self:say(('close %d %d "%s" %s'):format(ws.readyState, event.code, event.reason,
      event.wasClean and "clean" or "unclean"))
  end
  if not event.binary then return self:say("message " .. words("text", event.data)) end
  local kind, bytes = taken(event.data)
  self:say("message " .. (self.scenario.kinds and kind or "") .. words("binary", bytes))
end

-- The function of this name: it tells of its call and does what the scenario has under its name.
function Player:named(name)
  self.functions[name] = self.functions[name] or function(event)
    self.calls[name] = (self.calls[name] or 0) + 1
    self:say(("%s hears %s"):format(name, event.type))
    self:play(self.scenario[name], event, self.calls[name])
  end
  return self.functions[name]
end

local actions = {}

function Player:play(list, event, call)
  for _, action in ipairs(list or {}) do
    local name = action[1]
    if name == "raise" then
      error({ words = action[2] })
    elseif name == "nth" then
      if call == action[2] then self:play({ table.unpack(action, 3) }, event, call) end
    else
      local given, said = {}, {}
      for i = 2, #action do
        local what = action[i]
        given[i - 1] = value(what)
        said[i - 1] = type(what) == "number" and ("%.14g"):format(what) or (type(what) == "table" or #what > 20) and "…" or what
      end
      local fine, problem = pcall(actions[name], self, event, table.unpack(given, 1, #action - 1))
      if not fine then
        self:say(("%s(%s): %s"):format(name, table.concat(said, ", "), type(problem) == "table" and problem.name or problem))
      end
    end
  end
end

function actions:send(_, data) self.ws:send(data) end
function actions:bytes(_, hex) self.ws:send(lunawire.ArrayBuffer(bytesOf(hex))) end
function actions:blob(_, ...) self.ws:send(lunawire.Blob { ... }) end
function actions:mixture(_, text, hex)
  self.ws:send(lunawire.Blob { text, lunawire.ArrayBuffer(bytesOf(hex)), lunawire.Blob { text } })
end
function actions:longBlob(_, n) self.ws:send(lunawire.Blob { long("binary", n) }) end
function actions:slice(event, ...)
  local said = { ... }
  for i, each in ipairs(said) do said[i] = ("%d"):format(each) end
  self:say(("slice(%s) is %s"):format(table.concat(said, ", "), words("binary", event.data:slice(...):string())))
end
function actions:data(event, name) self:say(("data.%s is %s"):format(name, written(event.data[name]))) end
function actions:blobText(_, hex) self:say("text() is " .. written(lunawire.Blob({ bytesOf(hex) }):text())) end
function actions:blobType(_, type) self:say("type is " .. written(lunawire.Blob({ "x" }, { type = type }).type)) end
function actions:buffer(_, given) self:say("byteLength is " .. lunawire.ArrayBuffer(given).byteLength) end
function actions:long(_, kind, n) self.ws:send(long(kind, n), kind == "binary" and "binary" or nil) end
function actions:close(_, ...) self.ws:close(...) end
function actions:look() self:say(("look %d buffered %d"):format(self.ws.readyState, self.ws.bufferedAmount)) end
function actions:get(_, name) self:say(("%s is %s"):format(name, written(self.ws[name]))) end
function actions:put(_, name, what) self.ws[name] = what end
function actions:type(_, name) self:say(("%s is a %s"):format(name, typeOf(self.ws[name]))) end
function actions:event(event, name) self:say(("event.%s is %s"):format(name, written(event[name]))) end
function actions:eventType(event, name) self:say(("event.%s is a %s"):format(name, typeOf(event[name]))) end
function actions:target(event)
  self:say(event.target == self.ws and "the target is the socket" or "the target is another")
end
function actions.stop(_, event) event:stopImmediatePropagation() end
function actions:set(_, handler, name) self.ws[handler] = self:named(name) end
function actions:unset(_, handler) self.ws[handler] = nil end
function actions:listen(_, type, name, options) self.ws:addEventListener(type, self:named(name), options) end
function actions:listenObject(_, type)
  self.ws:addEventListener(type, { handleEvent = function() self:say("handleEvent hears " .. type) end })
end
function actions:unlisten(_, type, name, options) self.ws:removeEventListener(type, self:named(name), options) end
function actions:returned(_, text) self:say("send returned " .. written(self.ws:send(text))) end
function actions:beside(_, query)
  local ws = lunawire.WebSocket(self.scenario.url .. query)
  ws.onopen = function() ws:close() end
  return ws
end
function actions:again(event, query)
  local ws = actions.beside(self, event, query)
  ws:addEventListener("open", function() self:say "again open" end)
  ws:addEventListener("close", function(close) self:say("again closed " .. close.code) end)
end
function actions:listenNothing(_, type) self.ws:addEventListener(type, nil) end

function Player:run()
  local scenario = self.scenario
  lunawire.onerror = function(problem)
    self:say("reported " .. (type(problem) == "table" and problem.words or tostring(problem)))
  end
  local fine, ws = pcall(lunawire.WebSocket, value(scenario.url), value(scenario.protocols))
  if not fine then return self.done { "new: " .. ws.name } end
  self.ws = ws
  local late = lunawire.setTimeout(function()
    ws:terminate()
    self:say "no close came"
    self.done(self.log)
  end, 15000)
  for _, type in ipairs { "open", "message", "error", "close" } do
    local function heard(event)
      self.calls[type] = (self.calls[type] or 0) + 1
      self:tell(event)
      self:play(scenario[type], event, self.calls[type])
    end
    if not scenario.bare then ws["on" .. type] = heard end
  end
  if not scenario.kinds then ws.binaryType = "arraybuffer" end
  ws:addEventListener("close", function()
    lunawire.clearTimeout(late)
    lunawire.setTimeout(self.done, scenario.linger or 20, self.log) -- what comes after the last event would be heard
  end, { capture = true })
  self:play(scenario.now)
end

-- --- what is asked ------------------------------------------------------------------------------------

local control = assert(tcp.connect(tonumber(arg[1])))
local bytes = ""

local function take(line)
  local asked = cjson.decode(line)
  newPlayer(asked.scenario, function(log)
    assert(control:send(cjson.encode { id = asked.id, result = #log > 0 and log or { "nothing" } } .. "\n"))
  end):run()
end

local watch
watch = lunawire.watch(control:fd(), "r", function()
  local some = control:receive()
  if not some then return watch:close() end -- nothing more will be asked
  bytes = bytes .. some
  for line in bytes:gmatch "([^\n]*)\n" do take(line) end
  bytes = bytes:match "[^\n]*$"
end)

lunawire.run()
