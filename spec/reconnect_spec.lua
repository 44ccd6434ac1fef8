-- ReconnectingWebSocket, in a world that does what it is told: every state with everything that can happen in
-- it, every handler with every call made in it, and each rule by itself.

local World = require "spec.world"
local lunawire = require "lunawire"
local reconnect = require "lunawire.reconnect"
local turns = require "spec.lua_helper"
local wire = require "spec.wire"

local KINDS = { "open", "message", "error", "close", "reconnecting", "drain", "ping", "pong" }

local REFUSED = { code = "refused" }
local function http(status, headers) return { code = "http", status = status, headers = headers or {} } end

-- --- a life ---------------------------------------------------------------------------------------------------

-- One ReconnectingWebSocket in a world of its own. life.log has what it heard, in words.
local Life = {}
Life.__index = Life

-- Options are those of the constructor; `url` and `protocols` go before them. No heartbeat unless one is given.
local function live(options)
  local world = World.new(7)
  local life = setmetatable({ world = world, log = {}, events = {}, states = {}, told = {} }, Life)
  local given = { heartbeat = false }
  for name, value in pairs(options or {}) do given[name] = value end
  local url, protocols = given.url or "ws://home/", given.protocols
  given.url, given.protocols = nil, nil
  life.ws = reconnect.class(world)(url, protocols, given)
  for _, kind in ipairs(KINDS) do
    life.ws["on" .. kind] = function(event) life:note(event) end
  end
  return life
end

function Life:note(event)
  local words = event.type == "reconnecting" and "reconnecting " .. event.attempt or wire.words(event)
  self.log[#self.log + 1] = words
  self.events[#self.events + 1] = event
  self.states[#self.states + 1] = self.ws.readyState
  self.told[event.type] = event -- the last of its kind
  assert(event.target == self.ws)
  if self.also and self.also[event.type] then self.also[event.type](event) end
end

-- Adds what a handler does besides, once.
function Life:on(kind, fn)
  self.also = self.also or {}
  self.also[kind] = function(event)
    self.also[kind] = nil
    fn(event)
  end
  return self
end

function Life:heard()
  return table.concat(self.log, ", ")
end

function Life:forget()
  self.log, self.events, self.states = {}, {}, {}
  return self
end

function Life:last() return self.world:last() end
function Life:made() return #self.world.sockets end

function Life:open()
  self:last():open()
  self.world:settle()
  return self
end

-- The line breaks; or the attempt fails, if there is no line yet.
function Life:lose(failure)
  if failure then self:last():fail(failure) else self:last():lose() end
  self.world:settle()
  return self
end

-- The wait that there is is over.
function Life:wait()
  self.world:pass(self.world:delays()[1])
  return self
end

-- What every socket of this life has handed to the system whole, one socket after the other.
function Life:handed()
  local list = {}
  for i, socket in ipairs(self.world.sockets) do list[i] = table.concat(socket:handed(), " ") end
  return table.concat(list, " | ")
end

-- --- transitions ----------------------------------------------------------------------------------------------

-- Each state, reached from a new object.
local states = {
  ["connecting"] = function() end,
  ["connecting again"] = function(life) life:open():lose():wait() end,
  ["open"] = function(life) life:open() end,
  ["closing by us"] = function(life)
    life:open().ws:close(4000, "bye")
    life.world:settle()
  end,
  ["closing by the peer"] = function(life)
    life:open():last():peerClose(1001, "going")
    life.world:settle()
  end,
  ["waiting"] = function(life) life:open():lose() end,
  ["closed"] = function(life)
    life.ws:close()
    life.world:settle()
  end,
  ["given up"] = function(life) life:lose(http(404)) end,
}

-- Whole closing handshake and the end of the stream.
local function closes(code)
  return function(life)
    life:last():peerClose(code)
    life:last():finish()
  end
end
local function fails(failure)
  return function(life) life:last():fail(failure) end
end

-- Everything that can happen.
local happenings = {
  ["opens"] = function(life) life:last():open() end,
  ["message"] = function(life) life:last():receive "hi" end,
  ["end of the stream"] = function(life) life:last():finish() end,
  ["lost"] = function(life) life:last():lose() end,
  ["Close 1000"] = closes(1000),
  ["Close 1001"] = closes(1001),
  ["Close 1002"] = closes(1002),
  ["Close 1012"] = closes(1012),
  ["Close 1013"] = closes(1013),
  ["refused"] = fails(REFUSED),
  ["401"] = fails(http(401)),
  ["403"] = fails(http(403)),
  ["404"] = fails(http(404)),
  ["410"] = fails(http(410)),
  ["500"] = fails(http(500)),
  ["503, later"] = fails(http(503, { ["retry-after"] = "7" })),
  ["protocol error"] = fails { code = "protocol", closeCode = 1002 },
  ["time is over"] = function(life) life.world:pass(life.world:delays()[1] or 500) end,
  ["send()"] = function(life) life.ws:send "x" end,
  ["close()"] = function(life) life.ws:close() end,
  ["close() twice"] = function(life)
    life.ws:close(4001, "one")
    life.ws:close(4002, "two")
  end,
  ["reconnect()"] = function(life) life.ws:reconnect() end,
  ["reconnect() twice"] = function(life)
    life.ws:reconnect()
    life.ws:reconnect()
  end,
  ["reconnect(), close()"] = function(life)
    life.ws:reconnect()
    life.ws:close()
  end,
  ["close(), reconnect()"] = function(life)
    life.ws:close()
    life.ws:reconnect()
  end,
  ["terminate()"] = function(life) life.ws:terminate "why" end,
  ["pause(), message, resume()"] = function(life)
    life.ws:pause()
    life:last():receive "hi"
    life.world:settle()
    life:note { type = "resume", target = life.ws }
    life.ws:resume()
  end,
  ["ping()"] = function(life) life.ws:ping "x" end,
}

-- What a happening came to, as in the table: heard, readyState at once and then, sockets made, timers pending.
local function outcome(state, happening)
  local life = live()
  states[state](life)
  life:forget()
  local before = life:made()
  local ok, err = pcall(happenings[happening], life)
  if not ok then life.log[1] = "raises " .. (type(err) == "table" and err.name or tostring(err)) end
  local atOnce = life.ws.readyState
  life.world:settle()
  return { life:heard(), atOnce, life.ws.readyState, life:made() - before, life.world:count() }, life
end

-- What happens, readyState at once, readyState then, sockets made by it, timers pending, and what was heard.
local transitions = {
  ["connecting"] = {
    { "opens",                      0, 1, 0, 0, "open" },
    { "lost",                       0, 0, 0, 1, "close 1006  unclean, reconnecting 1" },
    { "refused",                    0, 0, 0, 1, "error refused, close 1006  unclean, reconnecting 1" },
    { "401",                        0, 3, 0, 0, "error http, close 1006  unclean" },
    { "403",                        0, 3, 0, 0, "error http, close 1006  unclean" },
    { "404",                        0, 3, 0, 0, "error http, close 1006  unclean" },
    { "410",                        0, 3, 0, 0, "error http, close 1006  unclean" },
    { "500",                        0, 0, 0, 1, "error http, close 1006  unclean, reconnecting 1" },
    { "503, later",                 0, 0, 0, 1, "error http, close 1006  unclean, reconnecting 1" },
    { "protocol error",             0, 3, 0, 0, "error protocol 1002, close 1006  unclean" },
    { "time is over",               0, 0, 0, 0, "" },
    { "send()",                     0, 0, 0, 0, "" },
    { "close()",                    2, 3, 0, 0, "error aborted, close 1006  unclean" },
    { "close() twice",              2, 3, 0, 0, "error aborted, close 1006  unclean" },
    { "reconnect()",                0, 0, 1, 0, "error aborted, close 1006 reconnect unclean, reconnecting 1" },
    { "reconnect() twice",          0, 0, 1, 0, "error aborted, close 1006 reconnect unclean, reconnecting 1" },
    { "reconnect(), close()",       2, 3, 0, 0, "error aborted, close 1006 reconnect unclean" },
    { "close(), reconnect()",       2, 3, 0, 0, "error aborted, close 1006  unclean" },
    { "terminate()",                0, 0, 0, 1, "error aborted, close 1006 why unclean, reconnecting 1" },
    { "pause(), message, resume()", 0, 0, 0, 0, "resume" },
    { "ping()",                     0, 0, 0, 0, "raises InvalidStateError" },
  },
  ["connecting again"] = {
    { "opens",                      0, 1, 0, 0, "open" },
    { "lost",                       0, 0, 0, 1, "close 1006  unclean, reconnecting 2" },
    { "refused",                    0, 0, 0, 1, "error refused, close 1006  unclean, reconnecting 2" },
    { "401",                        0, 3, 0, 0, "error http, close 1006  unclean" },
    { "403",                        0, 3, 0, 0, "error http, close 1006  unclean" },
    { "404",                        0, 3, 0, 0, "error http, close 1006  unclean" },
    { "410",                        0, 3, 0, 0, "error http, close 1006  unclean" },
    { "500",                        0, 0, 0, 1, "error http, close 1006  unclean, reconnecting 2" },
    { "503, later",                 0, 0, 0, 1, "error http, close 1006  unclean, reconnecting 2" },
    { "protocol error",             0, 3, 0, 0, "error protocol 1002, close 1006  unclean" },
    { "time is over",               0, 0, 0, 0, "" },
    { "send()",                     0, 0, 0, 0, "" },
    { "close()",                    2, 3, 0, 0, "error aborted, close 1006  unclean" },
    { "close() twice",              2, 3, 0, 0, "error aborted, close 1006  unclean" },
    { "reconnect()",                0, 0, 1, 0, "error aborted, close 1006 reconnect unclean, reconnecting 1" },
    { "reconnect() twice",          0, 0, 1, 0, "error aborted, close 1006 reconnect unclean, reconnecting 1" },
    { "reconnect(), close()",       2, 3, 0, 0, "error aborted, close 1006 reconnect unclean" },
    { "close(), reconnect()",       2, 3, 0, 0, "error aborted, close 1006  unclean" },
    { "terminate()",                0, 0, 0, 1, "error aborted, close 1006 why unclean, reconnecting 2" },
    { "pause(), message, resume()", 0, 0, 0, 0, "resume" },
    { "ping()",                     0, 0, 0, 0, "raises InvalidStateError" },
  },
  ["open"] = {
    { "message",                    1, 1, 0, 0, "text hi" },
    { "end of the stream",          1, 0, 0, 1, "close 1006  unclean, reconnecting 1" },
    { "lost",                       1, 0, 0, 1, "close 1006  unclean, reconnecting 1" },
    { "Close 1000",                 1, 0, 0, 1, "close 1000  clean, reconnecting 1" },
    { "Close 1001",                 1, 0, 0, 1, "close 1001  clean, reconnecting 1" },
    { "Close 1002",                 1, 3, 0, 0, "close 1002  clean" },
    { "Close 1012",                 1, 0, 0, 1, "close 1012  clean, reconnecting 1" },
    { "Close 1013",                 1, 0, 0, 1, "close 1013  clean, reconnecting 1" },
    { "protocol error",             1, 3, 0, 0, "error protocol 1002, close 1006  unclean" },
    { "time is over",               1, 1, 0, 0, "" },
    { "send()",                     1, 1, 0, 0, "" },
    { "close()",                    2, 2, 0, 0, "" },
    { "close() twice",              2, 2, 0, 0, "" },
    { "reconnect()",                2, 0, 1, 0, "close 1006 reconnect unclean, reconnecting 1" },
    { "reconnect() twice",          2, 0, 1, 0, "close 1006 reconnect unclean, reconnecting 1" },
    { "reconnect(), close()",       2, 3, 0, 0, "close 1006 reconnect unclean" },
    { "close(), reconnect()",       2, 2, 0, 0, "" },
    { "terminate()",                2, 0, 0, 1, "close 1006 why unclean, reconnecting 1" },
    { "pause(), message, resume()", 1, 1, 0, 0, "resume, text hi" },
    { "ping()",                     1, 1, 0, 0, "" },
  },
  ["closing by us"] = {
    { "message",                    2, 2, 0, 0, "" },
    { "end of the stream",          2, 3, 0, 0, "close 1006  unclean" },
    { "lost",                       2, 3, 0, 0, "close 1006  unclean" },
    { "Close 1000",                 2, 3, 0, 0, "close 1000  clean" },
    { "Close 1001",                 2, 3, 0, 0, "close 1001  clean" },
    { "Close 1002",                 2, 3, 0, 0, "close 1002  clean" },
    { "protocol error",             2, 3, 0, 0, "error protocol 1002, close 1006  unclean" },
    { "time is over",               2, 2, 0, 0, "" },
    { "send()",                     2, 2, 0, 0, "" },
    { "close()",                    2, 2, 0, 0, "" },
    { "close() twice",              2, 2, 0, 0, "" },
    { "reconnect()",                2, 2, 0, 0, "" },
    { "reconnect() twice",          2, 2, 0, 0, "" },
    { "reconnect(), close()",       2, 2, 0, 0, "" },
    { "close(), reconnect()",       2, 2, 0, 0, "" },
    { "terminate()",                2, 3, 0, 0, "close 1006 why unclean" },
    { "pause(), message, resume()", 2, 2, 0, 0, "resume" },
    { "ping()",                     2, 2, 0, 0, "" },
  },
  ["closing by the peer"] = {
    { "message",                    2, 2, 0, 0, "" },
    { "end of the stream",          2, 0, 0, 1, "close 1001 going clean, reconnecting 1" },
    { "lost",                       2, 0, 0, 1, "close 1001 going clean, reconnecting 1" },
    { "protocol error",             2, 3, 0, 0, "error protocol 1002, close 1006 going unclean" },
    { "time is over",               2, 2, 0, 0, "" },
    { "send()",                     2, 2, 0, 0, "" },
    { "close()",                    2, 2, 0, 0, "" },
    { "close() twice",              2, 2, 0, 0, "" },
    { "reconnect()",                2, 0, 1, 0, "close 1006 reconnect unclean, reconnecting 1" },
    { "reconnect() twice",          2, 0, 1, 0, "close 1006 reconnect unclean, reconnecting 1" },
    { "reconnect(), close()",       2, 3, 0, 0, "close 1006 reconnect unclean" },
    { "close(), reconnect()",       2, 2, 0, 0, "" },
    { "terminate()",                2, 0, 0, 1, "close 1006 why unclean, reconnecting 1" },
    { "pause(), message, resume()", 2, 2, 0, 0, "resume" },
    { "ping()",                     2, 2, 0, 0, "" },
  },
  ["waiting"] = {
    { "opens",                      0, 0, 0, 1, "" },
    { "lost",                       0, 0, 0, 1, "" },
    { "time is over",               0, 0, 1, 0, "" },
    { "send()",                     0, 0, 0, 1, "" },
    { "close()",                    3, 3, 0, 0, "close 1006  unclean" },
    { "close() twice",              3, 3, 0, 0, "close 1006 one unclean" },
    { "reconnect()",                0, 0, 1, 0, "" },
    { "reconnect() twice",          0, 0, 2, 0, "error aborted, close 1006 reconnect unclean, reconnecting 1" },
    { "reconnect(), close()",       2, 3, 1, 0, "error aborted, close 1006  unclean" },
    { "close(), reconnect()",       3, 3, 0, 0, "close 1006  unclean" },
    { "terminate()",                0, 0, 0, 1, "" },
    { "pause(), message, resume()", 0, 0, 0, 1, "resume" },
    { "ping()",                     0, 0, 0, 1, "raises InvalidStateError" },
  },
  ["closed"] = {
    { "opens",                      3, 3, 0, 0, "" },
    { "lost",                       3, 3, 0, 0, "" },
    { "time is over",               3, 3, 0, 0, "" },
    { "send()",                     3, 3, 0, 0, "" },
    { "close()",                    3, 3, 0, 0, "" },
    { "close() twice",              3, 3, 0, 0, "" },
    { "reconnect()",                3, 3, 0, 0, "" },
    { "reconnect() twice",          3, 3, 0, 0, "" },
    { "reconnect(), close()",       3, 3, 0, 0, "" },
    { "close(), reconnect()",       3, 3, 0, 0, "" },
    { "terminate()",                3, 3, 0, 0, "" },
    { "pause(), message, resume()", 3, 3, 0, 0, "resume" },
    { "ping()",                     3, 3, 0, 0, "" },
  },
  ["given up"] = {
    { "opens",                      3, 3, 0, 0, "" },
    { "lost",                       3, 3, 0, 0, "" },
    { "time is over",               3, 3, 0, 0, "" },
    { "send()",                     3, 3, 0, 0, "" },
    { "close()",                    3, 3, 0, 0, "" },
    { "close() twice",              3, 3, 0, 0, "" },
    { "reconnect()",                0, 0, 1, 0, "" },
    { "reconnect() twice",          0, 0, 2, 0, "error aborted, close 1006 reconnect unclean, reconnecting 1" },
    { "reconnect(), close()",       2, 3, 1, 0, "error aborted, close 1006  unclean" },
    { "close(), reconnect()",       3, 3, 0, 0, "" },
    { "terminate()",                3, 3, 0, 0, "" },
    { "pause(), message, resume()", 3, 3, 0, 0, "resume" },
    { "ping()",                     3, 3, 0, 0, "" },
  },
}

describe("every state and everything that can happen in it:", function()
  for state, rows in pairs(transitions) do
    for _, row in ipairs(rows) do
      it(("%s: %s"):format(state, row[1]), function()
        local got, life = outcome(state, row[1])
        assert.same({ row[6], row[2], row[3], row[4], row[5] }, got)
        local told, wanted = life.world:alive()
        assert.is_true(told <= 1 and wanted + life.world:count() <= 1)
      end)
    end
  end
end)

-- --- calls inside handlers ------------------------------------------------------------------------------------

-- What may be called in a handler. `send` sends "x".
local calls = {
  ["close()"] = function(ws) ws:close(4000, "stop") end,
  ["reconnect()"] = function(ws) ws:reconnect() end,
  ["send()"] = function(ws) ws:send "x" end,
  ["terminate()"] = function(ws) ws:terminate "drop" end,
  ["reconnect(), close()"] = function(ws)
    ws:reconnect()
    ws:close(4000, "stop")
  end,
  ["close(), reconnect()"] = function(ws)
    ws:close(4000, "stop")
    assert(ws:reconnect() == false)
  end,
  ["reconnect() twice"] = function(ws)
    ws:reconnect()
    ws:reconnect()
  end,
}

-- Each handler: a life in which it runs `call` once.
local handlers = {
  ["onopen"] = function(call)
    local life = live():on("open", call)
    return life, function() life:open() end
  end,
  ["onmessage"] = function(call)
    local life = live():on("message", call):open()
    return life, function() life:last():receive "hi" end
  end,
  ["onerror"] = function(call)
    local life = live():on("error", call)
    return life, function() life:lose(REFUSED) end
  end,
  ["onclose"] = function(call)
    local life = live():open():on("close", call)
    return life, function() life:lose() end
  end,
  ["onclose, the last"] = function(call)
    local life = live():on("close", call)
    return life, function() life:lose(http(404)) end
  end,
  ["onreconnecting"] = function(call)
    local life = live():open():on("reconnecting", call)
    return life, function() life:lose() end
  end,
  ["ondrain"] = function(call)
    local life = live({ highWaterMark = 10 }):on("drain", call):open()
    life:last():block()
    return life, function()
      life.ws:send "ten bytes, or more"
      life:last():take(100)
    end
  end,
  ["onping"] = function(call)
    local life = live():on("ping", call):open()
    return life, function() life:last():pinged() end
  end,
  ["shouldReconnect: yes"] = function(call)
    local life = live {
      shouldReconnect = function()
        call()
        return true
      end,
    }
    life:open()
    return life, function() life:lose() end
  end,
  ["shouldReconnect: no"] = function(call)
    local life = live {
      shouldReconnect = function()
        call()
        return false
      end,
    }
    life:open()
    return life, function() life:lose() end
  end,
  ["url"] = function(call)
    local asked = 0
    local life = live {
      url = function()
        asked = asked + 1
        if asked == 2 then call() end
        return "ws://home/" .. asked
      end,
    }
    life:open():lose()
    return life, function() life:wait() end
  end,
  ["url that raises"] = function(call)
    local asked = 0
    local life = live {
      url = function()
        asked = asked + 1
        if asked ~= 2 then return "ws://home/" end
        call()
        error("no token", 0)
      end,
    }
    life:open():lose()
    return life, function() life:wait() end
  end,
  ["onerror of a url that raises"] = function(call)
    local asked = 0
    local life = live {
      url = function()
        asked = asked + 1
        if asked == 1 then error("no token", 0) end
        return "ws://home/"
      end,
    }
    life:on("error", call)
    return life, function() end
  end,
}

-- The same for a call in a handler. What comes last is all that was sent, connection by connection, when the
-- next has opened, if there is one.
local function outcomeOf(handler, name)
  local life, act, atOnce -- readyState
  life, act = handlers[handler](function()
    if not life or atOnce then return end -- not yet; not again
    calls[name](life.ws)
    atOnce = life.ws.readyState
  end)
  life:forget()
  local before = life:made()
  act()
  life.world:settle()
  local result = { life:heard(), atOnce, life.ws.readyState, life:made() - before, life.world:count() }
  if life.ws.readyState == 0 and life.world:count() == 1 then life:wait() end
  if life.ws.readyState == 0 then life:open() end
  result[6] = life:handed()
  return result, life
end

-- As above; and what every connection had handed over when the next was open.
local inside = {
  ["onopen"] = {
    { "close()",                2, 2, 0, 0, "open", "" },
    { "reconnect()",            2, 0, 1, 0, "open, close 1006 reconnect unclean, reconnecting 1", " | " },
    { "send()",                 1, 1, 0, 0, "open", "x" },
    { "terminate()",            2, 0, 0, 1, "open, close 1006 drop unclean, reconnecting 1", " | " },
    { "reconnect(), close()",   2, 3, 0, 0, "open, close 1006 reconnect unclean", "" },
    { "close(), reconnect()",   2, 2, 0, 0, "open", "" },
    { "reconnect() twice",      2, 0, 1, 0, "open, close 1006 reconnect unclean, reconnecting 1", " | " },
  },
  ["onmessage"] = {
    { "close()",                2, 2, 0, 0, "text hi", "" },
    { "reconnect()",            2, 0, 1, 0, "text hi, close 1006 reconnect unclean, reconnecting 1", " | " },
    { "send()",                 1, 1, 0, 0, "text hi", "x" },
    { "terminate()",            2, 0, 0, 1, "text hi, close 1006 drop unclean, reconnecting 1", " | " },
    { "reconnect(), close()",   2, 3, 0, 0, "text hi, close 1006 reconnect unclean", "" },
    { "close(), reconnect()",   2, 2, 0, 0, "text hi", "" },
    { "reconnect() twice",      2, 0, 1, 0, "text hi, close 1006 reconnect unclean, reconnecting 1", " | " },
  },
  ["onerror"] = {
    { "close()",                2, 3, 0, 0, "error refused, close 1006  unclean", "" },
    { "reconnect()",            0, 0, 1, 0, "error refused, close 1006  unclean, reconnecting 1", " | " },
    { "send()",                 0, 0, 0, 1, "error refused, close 1006  unclean, reconnecting 1", " | x" },
    { "terminate()",            0, 0, 0, 1, "error refused, close 1006  unclean, reconnecting 1", " | " },
    { "reconnect(), close()",   2, 3, 0, 0, "error refused, close 1006  unclean", "" },
    { "close(), reconnect()",   2, 3, 0, 0, "error refused, close 1006  unclean", "" },
    { "reconnect() twice",      0, 0, 1, 0, "error refused, close 1006  unclean, reconnecting 1", " | " },
  },
  ["onclose"] = {
    { "close()",                3, 3, 0, 0, "close 1006  unclean", "" },
    { "reconnect()",            0, 0, 1, 0, "close 1006  unclean", " | " },
    { "send()",                 0, 0, 0, 1, "close 1006  unclean, reconnecting 1", " | x" },
    { "terminate()",            0, 0, 0, 1, "close 1006  unclean, reconnecting 1", " | " },
    { "reconnect(), close()",   2, 3, 1, 0, "close 1006  unclean, error aborted, close 1006  unclean", " | " },
    { "close(), reconnect()",   3, 3, 0, 0, "close 1006  unclean", "" },
    { "reconnect() twice",      0, 0, 2, 0,
      "close 1006  unclean, error aborted, close 1006 reconnect unclean, reconnecting 1", " |  | " },
  },
  ["onclose, the last"] = {
    { "close()",                3, 3, 0, 0, "error http, close 1006  unclean", "" },
    { "reconnect()",            0, 0, 1, 0, "error http, close 1006  unclean", " | " },
    { "send()",                 3, 3, 0, 0, "error http, close 1006  unclean", "" },
    { "terminate()",            3, 3, 0, 0, "error http, close 1006  unclean", "" },
    { "reconnect(), close()",   2, 3, 1, 0, "error http, close 1006  unclean, error aborted, close 1006  unclean", " | " },
    { "close(), reconnect()",   3, 3, 0, 0, "error http, close 1006  unclean", "" },
    { "reconnect() twice",      0, 0, 2, 0,
      "error http, close 1006  unclean, error aborted, close 1006 reconnect unclean, reconnecting 1", " |  | " },
  },
  ["onreconnecting"] = {
    { "close()",                3, 3, 0, 0, "close 1006  unclean, reconnecting 1, close 1006 stop unclean", "" },
    { "reconnect()",            0, 0, 1, 0, "close 1006  unclean, reconnecting 1", " | " },
    { "send()",                 0, 0, 0, 1, "close 1006  unclean, reconnecting 1", " | x" },
    { "terminate()",            0, 0, 0, 1, "close 1006  unclean, reconnecting 1", " | " },
    { "reconnect(), close()",   2, 3, 1, 0, "close 1006  unclean, reconnecting 1, error aborted, close 1006  unclean", " | " },
    { "close(), reconnect()",   3, 3, 0, 0, "close 1006  unclean, reconnecting 1, close 1006 stop unclean", "" },
    { "reconnect() twice",      0, 0, 2, 0,
      "close 1006  unclean, reconnecting 1, error aborted, close 1006 reconnect unclean, reconnecting 1", " |  | " },
  },
  ["ondrain"] = {
    { "close()",                2, 2, 0, 0, "drain", "ten bytes, or more" },
    { "reconnect()",            2, 0, 1, 0, "drain, close 1006 reconnect unclean, reconnecting 1", "ten bytes, or more | " },
    { "send()",                 1, 1, 0, 0, "drain", "ten bytes, or more" },
    { "terminate()",            2, 0, 0, 1, "drain, close 1006 drop unclean, reconnecting 1", "ten bytes, or more | " },
    { "reconnect(), close()",   2, 3, 0, 0, "drain, close 1006 reconnect unclean", "ten bytes, or more" },
    { "close(), reconnect()",   2, 2, 0, 0, "drain", "ten bytes, or more" },
    { "reconnect() twice",      2, 0, 1, 0, "drain, close 1006 reconnect unclean, reconnecting 1", "ten bytes, or more | " },
  },
  ["onping"] = {
    { "close()",                2, 2, 0, 0, "ping ", "" },
    { "reconnect()",            2, 0, 1, 0, "ping , close 1006 reconnect unclean, reconnecting 1", " | " },
    { "send()",                 1, 1, 0, 0, "ping ", "x" },
    { "terminate()",            2, 0, 0, 1, "ping , close 1006 drop unclean, reconnecting 1", " | " },
    { "reconnect(), close()",   2, 3, 0, 0, "ping , close 1006 reconnect unclean", "" },
    { "close(), reconnect()",   2, 2, 0, 0, "ping ", "" },
    { "reconnect() twice",      2, 0, 1, 0, "ping , close 1006 reconnect unclean, reconnecting 1", " | " },
  },
  ["shouldReconnect: yes"] = {
    { "close()",                2, 3, 0, 0, "close 1006  unclean", "" },
    { "reconnect()",            0, 0, 1, 0, "close 1006  unclean, reconnecting 1", " | " },
    { "send()",                 0, 0, 0, 1, "close 1006  unclean, reconnecting 1", " | x" },
    { "terminate()",            0, 0, 0, 1, "close 1006  unclean, reconnecting 1", " | " },
    { "reconnect(), close()",   2, 3, 0, 0, "close 1006  unclean", "" },
    { "close(), reconnect()",   2, 3, 0, 0, "close 1006  unclean", "" },
    { "reconnect() twice",      0, 0, 1, 0, "close 1006  unclean, reconnecting 1", " | " },
  },
  ["shouldReconnect: no"] = {
    { "close()",                2, 3, 0, 0, "close 1006  unclean", "" },
    { "reconnect()",            0, 0, 1, 0, "close 1006  unclean, reconnecting 1", " | " },
    { "send()",                 0, 3, 0, 0, "close 1006  unclean", "" },
    { "terminate()",            0, 3, 0, 0, "close 1006  unclean", "" },
    { "reconnect(), close()",   2, 3, 0, 0, "close 1006  unclean", "" },
    { "close(), reconnect()",   2, 3, 0, 0, "close 1006  unclean", "" },
    { "reconnect() twice",      0, 0, 1, 0, "close 1006  unclean, reconnecting 1", " | " },
  },
  ["url"] = {
    { "close()",                3, 3, 0, 0, "close 1006 stop unclean", "" },
    { "reconnect()",            0, 0, 1, 0, "", " | " },
    { "send()",                 0, 0, 1, 0, "", " | x" },
    { "terminate()",            0, 0, 1, 0, "", " | " },
    { "reconnect(), close()",   3, 3, 0, 0, "close 1006 stop unclean", "" },
    { "close(), reconnect()",   3, 3, 0, 0, "close 1006 stop unclean", "" },
    { "reconnect() twice",      0, 0, 1, 0, "", " | " },
  },
  ["url that raises"] = {
    { "close()",                3, 3, 0, 0, "close 1006 stop unclean", "" },
    { "reconnect()",            0, 0, 0, 1, "error url, close 1006  unclean, reconnecting 1", " | " },
    { "send()",                 0, 0, 0, 1, "error url, close 1006  unclean, reconnecting 2", " | x" },
    { "terminate()",            0, 0, 0, 1, "error url, close 1006  unclean, reconnecting 2", " | " },
    { "reconnect(), close()",   3, 3, 0, 0, "close 1006 stop unclean", "" },
    { "close(), reconnect()",   3, 3, 0, 0, "close 1006 stop unclean", "" },
    { "reconnect() twice",      0, 0, 0, 1, "error url, close 1006  unclean, reconnecting 1", " | " },
  },
  ["onerror of a url that raises"] = {
    { "close()",                2, 3, 0, 0, "error url, close 1006  unclean", "" },
    { "reconnect()",            0, 0, 1, 0, "error url, close 1006  unclean, reconnecting 1", "" },
    { "send()",                 0, 0, 0, 1, "error url, close 1006  unclean, reconnecting 1", "x" },
    { "terminate()",            0, 0, 0, 1, "error url, close 1006  unclean, reconnecting 1", "" },
    { "reconnect(), close()",   2, 3, 0, 0, "error url, close 1006  unclean", "" },
    { "close(), reconnect()",   2, 3, 0, 0, "error url, close 1006  unclean", "" },
    { "reconnect() twice",      0, 0, 1, 0, "error url, close 1006  unclean, reconnecting 1", "" },
  },
}

describe("every handler and every call in it:", function()
  for handler, rows in pairs(inside) do
    for _, row in ipairs(rows) do
      it(("%s: %s"):format(handler, row[1]), function()
        local got, life = outcomeOf(handler, row[1])
        assert.same({ row[6], row[2], row[3], row[4], row[5], row[7] }, got)
        local told, wanted = life.world:alive()
        assert.is_true(told <= 1 and wanted + life.world:count() <= 1)
        life.world:pass(100000) -- and nothing of what was closed comes back
        if row[1]:find "close" then
          assert.equal(3, life.ws.readyState)
          assert.equal(0, life.world:count())
        end
      end)
    end
  end
end)

-- --- rules ----------------------------------------------------------------------------------------------------

local function about(expected, got)
  assert.is_true(math.abs(expected - got) < 1e-6, ("%s expected, got %s"):format(expected, got))
end

-- What the wait after a loss is; the attempts before it failed `n - 1` times.
local function delay(n, options, failure)
  local life = live(options)
  for _ = 1, n - 1 do life:lose(REFUSED):wait() end
  life:lose(failure or REFUSED)
  assert.equal(1, life.world:count())
  about(life.told.reconnecting.delay, life.world:delays()[1])
  return life.told.reconnecting.delay
end

describe("the wait", function()
  it("grows by `factor` from `minDelay` to `maxDelay`", function()
    local options = { minDelay = 100, factor = 2, maxDelay = 1500, jitter = 0 }
    for n, expected in ipairs { 100, 200, 400, 800, 1500, 1500 } do about(expected, delay(n, options)) end
    for n, expected in ipairs { 1000, 1600, 2560, 4096, 6553.6 } do about(expected, delay(n, { jitter = 0 })) end
    about(30000, delay(9, { jitter = 0 }))
  end)

  it("is uniform between d * (1 - jitter) and d", function()
    local least, most, sum = math.huge, 0, 0
    local life = live { minDelay = 1000, maxDelay = 1000, jitter = 0.3 }
    for _ = 1, 2000 do
      life:lose(REFUSED)
      local ms = life.told.reconnecting.delay
      least, most, sum = math.min(least, ms), math.max(most, ms), sum + ms
      life:wait()
    end
    assert.is_true(least >= 700 and least < 703, least)
    assert.is_true(most <= 1000 and most > 997, most)
    assert.is_true(math.abs(sum / 2000 - 850) < 10, sum / 2000)
  end)

  it("is as long as reconnecting says, and the attempt begins neither before nor after", function()
    local life = live():lose(REFUSED)
    local ms = life.told.reconnecting.delay
    life.world:pass(ms - 0.001)
    assert.equal(1, life:made())
    life.world:pass(0.002)
    assert.equal(2, life:made())
  end)

  for _, row in ipairs {
    -- Retry-After, Date, least and most ms
    { "7", nil, 7000, 7500 },
    { "0", nil, 500, 1000 },
    { "3600", nil, 3600000, 3600500 },
    { "86400", nil, 3600000, 3600500 }, -- an hour is the most
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:07 GMT", 30000, 30500 },
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:07 GMT", 500, 1000 }, -- it is over
    { "Sun, 06 Nov 1994 08:49:37 GMT", nil, 500, 1000 },                             -- nobody knows when it is
    { "soon", nil, 500, 1000 },
    { "-7", nil, 500, 1000 },
    { "7.5", nil, 500, 1000 },
  } do
    it(("is what the server asked for: Retry-After: %s%s"):format(row[1], row[2] and ", Date: " .. row[2] or ""), function()
      local ms = delay(1, nil, http(503, { ["retry-after"] = row[1], date = row[2] }))
      assert.is_true(ms >= row[3] and ms <= row[4], ms)
    end)
  end

  it("is 5 to 30 s after 1012, within maxDelay, and maxDelay after 1013", function()
    for _, row in ipairs {
      { 1012, nil, 5000, 30000 }, { 1012, 2000, 1000, 2000 }, { 1013, nil, 15000, 30000 }, { 1013, 2000, 1000, 2000 },
    } do
      local life = live { maxDelay = row[2] }:open()
      closes(row[1])(life)
      life.world:settle()
      local ms = life.told.reconnecting.delay
      assert.is_true(ms >= row[3] and ms <= row[4], ms)
    end
  end)

  it("is none after reconnect(), which begins the count anew", function()
    local life = live { jitter = 0 }
    for _ = 1, 5 do life:lose(REFUSED):wait() end
    life.ws:reconnect()
    life.world:settle()
    assert.equal(1, life.told.reconnecting.attempt)
    assert.equal(0, life.told.reconnecting.delay)
    life:lose(REFUSED)
    assert.equal(2, life.told.reconnecting.attempt)
    about(1600, life.told.reconnecting.delay)
  end)
end)

describe("the count", function()
  it("begins anew after a connection that lasted for minUptime", function()
    for _, row in ipairs { { 4999, 4 }, { 5000, 1 }, { 60000, 1 } } do
      local life = live()
      for _ = 1, 3 do life:lose(REFUSED):wait() end
      assert.equal(3, life.ws.retryCount)
      life:open().world:pass(row[1])
      assert.equal(3, life.ws.retryCount)
      life:lose()
      assert.equal(row[2], life.ws.retryCount)
      assert.equal(row[2], life.told.reconnecting.attempt)
    end
  end)

  it("does not begin anew after an attempt that took long and never opened", function()
    local life = live { minUptime = 1000 }
    life:lose(REFUSED):wait().world:pass(9999)
    life:lose(REFUSED)
    assert.equal(2, life.ws.retryCount)
  end)

  it("ends it at maxRetries", function()
    for _, most in ipairs { 0, 1, 3 } do
      local life = live { maxRetries = most }
      for _ = 1, most do life:lose(REFUSED):wait() end
      life:lose(REFUSED)
      assert.equal(3, life.ws.readyState)
      assert.equal(0, life.world:count())
      assert.equal(most + 1, life:made())
      assert.equal(3, life.states[#life.states])
    end
  end)

  it("counts from zero again when reconnect() revives what has ended", function()
    local life = live { maxRetries = 1 }
    life:lose(REFUSED):wait():lose(REFUSED)
    assert.equal(3, life.ws.readyState)
    assert.is_true(life.ws:reconnect())
    assert.equal(0, life.ws.readyState)
    life:lose(REFUSED)
    assert.equal(1, life.told.reconnecting.attempt)
  end)
end)

describe("close() on what has given up", function()
  it("is final as well", function()
    local life = live():lose(http(404))
    life.ws:close()
    assert.is_false(life.ws:reconnect())
    life = live():on("close", function() life.ws:close() end)
    life:lose(http(404))
    assert.is_false(life.ws:reconnect())
    life.world:pass(100000)
    assert.equal(1, life:made())
    assert.equal("error http, close 1006  unclean", life:heard())
  end)
end)

describe("reconnect()", function()
  it("says false when the url function has called close()", function()
    local life
    life = live { url = function()
      if life then life.ws:close() end
      return "ws://home/"
    end }
    life:lose()
    assert.is_false(life.ws:reconnect())
  end)

  it("works again after it was called while its own close was told", function()
    local life = live():open()
    life:on("close", function() life.ws:reconnect() end)
    life.ws:reconnect()
    life.world:settle()
    life:open():forget()
    life.ws:reconnect()
    life.world:settle()
    assert.equal("close 1006 reconnect unclean, reconnecting 1", life:heard())
    life:open():forget():lose(http(404)) -- and the next loss is judged like any other
    assert.equal(3, life.ws.readyState)
  end)
end)

describe("shouldReconnect", function()
  after_each(function() lunawire.onerror = nil end)

  for _, row in ipairs {
    -- answer, after a loss, after a 404: does it come back?
    { "true", true, true, true }, { "false", false, false, false }, { "nil", nil, true, false }, { "0", 0, true, true },
  } do
    it("may answer " .. row[1], function()
      for i, failure in ipairs { REFUSED, http(404) } do
        local life = live { shouldReconnect = function() return row[2] end }
        life:lose(failure)
        assert.equal(row[2 + i] and 0 or 3, life.ws.readyState)
        assert.equal(row[2 + i] and 1 or 0, life.world:count())
      end
    end)
  end

  it("is given the close event, whole, and the number of the attempt", function()
    local life, given
    life = live {
      shouldReconnect = function(event, attempt)
        given = { event = event, target = event.target, error = event.error, unsent = event.unsent, attempt = attempt,
          state = life.ws.readyState, queued = life.ws.queuedMessages }
      end,
    }
    life.ws:send "five5"
    life:lose(http(500)):wait()
    assert.equal(life.told.close, given.event)
    assert.equal(life.ws, given.target)
    assert.equal(500, given.error.status)
    assert.equal(5, given.unsent)
    assert.equal(1, given.attempt)
    assert.equal(1, given.queued)
    assert.equal(0, given.state)
    life:open():lose()
    assert.equal(2, given.attempt)
    assert.equal(0, given.state)
    assert.is_nil(given.error)
  end)

  it("may send, and that is in `unsent`", function()
    local life
    life = live { shouldReconnect = function() life.ws:send "x" end }
    life:open():lose()
    assert.equal(1, life.told.close.unsent)
    life:wait():open()
    assert.equal(" | x", life:handed())
  end)

  it("that raises is as none, and its error goes where a handler's does", function()
    local life = live { shouldReconnect = function() error("oops", 0) end }
    life:last():lose()
    assert.equal("oops", select(2, pcall(life.world.settle, life.world)))
    assert.equal("close 1006  unclean, reconnecting 1", life:heard())
    assert.equal(1, life.world:count())
    local taken
    lunawire.onerror = function(err, source) taken = { err, source } end
    life:wait():lose(http(404))
    lunawire.onerror = nil
    assert.same({ "oops", life.ws }, taken)
    assert.equal(3, life.ws.readyState)
  end)

  it("is not asked after close(), reconnect() or the last retry", function()
    local asked = 0
    local function should() asked = asked + 1 end
    local life = live { shouldReconnect = should }
    life.ws:reconnect()
    life.world:settle()
    life.ws:close()
    life.world:settle()
    live { shouldReconnect = should, maxRetries = 0 }:lose()
    assert.equal(0, asked)
  end)
end)

describe("what is sent", function()
  it("waits for the connection, and goes in order", function()
    local life = live()
    for i = 1, 5 do assert.is_true(life.ws:send(tostring(i))) end
    assert.equal(5, life.ws.queuedMessages)
    assert.equal(5, life.ws.bufferedAmount)
    life:open()
    assert.equal("1 2 3 4 5", life:handed())
    assert.equal(0, life.ws.queuedMessages)
    assert.equal(0, life.ws.bufferedAmount)
    life.ws:send "6"
    life.world:settle()
    assert.equal("1 2 3 4 5 6", life:handed())
  end)

  it("by onopen goes first", function()
    local life = live()
    life.ws:send "1"
    life:on("open", function() life.ws:send "I am Ada" end)
    life:open()
    assert.equal("I am Ada 1", life:handed())
  end)

  it("keeps its options, whatever becomes of their table", function()
    local life, options = live(), { binary = true }
    life.ws:send("\255", options)
    options.binary = false
    life.ws:send("\254", "binary")
    life:open()
    life:last():block()
    options.binary = true
    life.ws:send("\253", options)
    options.binary = false
    local function sent(i) return life:last():state().messages[i].options end
    assert.same({ binary = true }, sent(1))
    assert.equal("binary", sent(2))
    life:lose():wait():open()
    assert.same({ binary = true }, sent(1)) -- the third: it had not gone
  end)

  it("is checked at once", function()
    local life = live()
    for _, state in ipairs { 0, 1, 3 } do
      if state == 1 then life:open() elseif state == 3 then life.ws:close() end
      wire.mistake("TypeError", life.ws.send, life.ws, "\255")
      wire.mistake("TypeError", life.ws.send, life.ws, nil)
      wire.mistake("TypeError", life.ws.send, life.ws, 1)
      wire.mistake("TypeError", life.ws.send, life.ws, "x", "text")
      wire.mistake("TypeError", life.ws.send, life.ws, "x", { bynary = true })
    end
    assert.equal(0, life.ws.bufferedAmount)
  end)

  it("beyond maxQueuedMessages or maxQueuedBytes raises, and nothing is lost", function()
    local life = live { maxQueuedMessages = 3, maxQueuedBytes = 10 }
    life.ws:send "1234"
    life.ws:send "5678"
    assert.matches("maxQueuedBytes", wire.mistake("QuotaExceededError", life.ws.send, life.ws, "9ab"))
    life.ws:send "9a"
    assert.matches("maxQueuedMessages", wire.mistake("QuotaExceededError", life.ws.send, life.ws, ""))
    assert.equal(3, life.ws.queuedMessages)
    assert.equal(10, life.ws.bufferedAmount)
    life:open()
    assert.equal("1234 5678 9a", life:handed())
    life.ws:send "more than ten bytes" -- the bounds are those of the queue
  end)

  it("and is too large for any connection raises in every state", function()
    local life = live { maxBufferedAmount = 10 }
    assert.matches("maxBufferedAmount", wire.mistake("QuotaExceededError", life.ws.send, life.ws, "eleven byte"))
    life:open()
    wire.mistake("QuotaExceededError", life.ws.send, life.ws, "eleven byte")
    life.ws:send "ten bytes."
    life.world:settle()
    assert.equal("ten bytes.", life:handed())
    assert.equal(1, life.ws.readyState)
  end)

  it("in what is closed counts in bufferedAmount, and is no more", function()
    local life = live()
    life.ws:send "before"
    life.ws:close()
    assert.is_false(life.ws:send "after")
    life.world:settle()
    assert.equal(6, life.told.close.unsent)
    assert.equal(11, life.ws.bufferedAmount)
    assert.equal(0, life.ws.queuedMessages)
    assert.is_false(life.ws:send "then")
    assert.equal(15, life.ws.bufferedAmount)
    life = live():lose(http(404)) -- given up, likewise
    assert.is_false(life.ws:send "then")
    assert.equal(4, life.ws.bufferedAmount)
    assert.equal(0, life.ws.queuedMessages)
  end)

  it("while the peer closes, or after terminate(), waits for the next connection", function()
    for _, ending in ipairs { "end of the stream", "terminate()", "reconnect()" } do
      local life = live()
      states[ending == "end of the stream" and "closing by the peer" or "open"](life)
      happenings[ending](life)
      assert.equal(2, life.ws.readyState)
      life.ws:send "x"
      assert.equal(1, life.ws.bufferedAmount)
      life.world:settle()
      if life.world:count() == 1 then life:wait() end
      life:open()
      assert.equal(" | x", life:handed())
    end
  end)

  it("counts in `unsent` when close() comes between two attempts", function()
    local life = live():lose()
    life.ws:send "seven b"
    life.ws:close(1000, "enough")
    assert.equal(3, life.ws.readyState)
    assert.equal(1, select(2, life:heard():gsub("close", ""))) -- nothing is told inside a call
    life.world:settle()
    assert.equal(7, life.told.close.unsent)
    assert.equal("enough", life.told.close.reason)
    assert.is_false(life.told.close.wasClean)
  end)

  it("goes before the Close frame that close() sends", function()
    local life = live { highWaterMark = 4 }
    for i = 1, 5 do life.ws:send("number " .. i) end
    life:on("open", function() life.ws:close() end)
    life:open()
    assert.equal("number 1 number 2 number 3 number 4 number 5", life:handed())
    life:last():peerClose()
    life:last():finish()
    life.world:settle()
    assert.equal(0, life.told.close.unsent)
    assert.is_true(life.told.close.wasClean)
  end)
end)

describe("what the system had not taken whole when the line broke", function()
  -- Messages, bytes taken of the connection's stream, what the first and the second connection handed over.
  for _, row in ipairs {
    { { "one", "two", "three" }, 0, "", "one two three" },
    { { "one", "two", "three" }, 1, "", "one two three" },
    { { "one", "two", "three" }, 8, "", "one two three" },      -- a byte short of the first (6 + 3)
    { { "one", "two", "three" }, 9, "one", "two three" },
    { { "one", "two", "three" }, 10, "one", "two three" },
    { { "one", "two", "three" }, 17, "one", "two three" },
    { { "one", "two", "three" }, 18, "one two", "three" },
    { { "one", "two", "three" }, 28, "one two", "three" },
    { { "one", "two", "three" }, 29, "one two three", "" },
    { { "", "", "x" }, 5, "", "  x" },
    { { "", "", "x" }, 6, "", " x" },
    { { "", "", "x" }, 12, " ", "x" },
    { { "", "", "x" }, 19, "  x", "" },
    { { ("y"):rep(126), "z" }, 133, "", ("y"):rep(126) .. " z" }, -- 8 + 126: the longer header
    { { ("y"):rep(126), "z" }, 134, ("y"):rep(126), "z" },
    { { ("y"):rep(65536) }, 65549, "", ("y"):rep(65536) },        -- 14 + 65536
    { { ("y"):rep(65536) }, 65550, ("y"):rep(65536), "" },
  } do
    it(("goes out once, on the next connection: %d messages, %d bytes taken"):format(#row[1], row[2]), function()
      for _, ending in ipairs { "lost", "terminate()", "reconnect()", "end of the stream" } do
        local life = live():open()
        life:last():block()
        for _, text in ipairs(row[1]) do life.ws:send(text) end
        life:last():take(row[2])
        local first = life:last()
        happenings[ending](life)
        life.world:settle()
        assert.equal(row[3], table.concat(first:handed(), " "))
        local unsent = life.told.close.unsent
        assert.equal(#table.concat(row[1]) - #table.concat(first:handed()), unsent)
        if life.world:count() == 1 then
          assert.equal(unsent, life.ws.bufferedAmount)
          life:wait()
        end
        life:open()
        assert.equal(row[4], table.concat(life:last():handed(), " "))
        assert.equal(0, life.ws.bufferedAmount)
        life:lose():wait():open()
        assert.equal("", table.concat(life:last():handed(), " "))
      end
    end)
  end

  it("waits for the next connection when this one has no memory for it", function()
    local life = live()
    for i = 1, 4 do life.ws:send(tostring(i)) end
    life:last():refuse(2, "no memory")
    local first = life:last()
    assert.same({ false, "no memory" }, { pcall(life.open, life) })
    life.world:settle()
    assert.equal("open, close 1006 send failed unclean, reconnecting 1", life:heard())
    life:wait():open()
    assert.equal("", table.concat(first:handed(), " "))
    assert.equal("1 2 3 4", table.concat(life:last():handed(), " "))
  end)

  it("goes before what was sent since", function()
    local life = live():open()
    life:last():block()
    life.ws:send "1"
    life.ws:send "2"
    life:last():take(7)
    life:lose()
    life.ws:send "3"
    life:wait():open()
    assert.equal("1 | 2 3", life:handed())
  end)

  it("is told as `unsent` when that was the end", function()
    local life = live():open()
    life:last():block()
    life.ws:send "12345"
    life.ws:close()
    life:last():take(10)
    life:lose()
    assert.equal(5, life.told.close.unsent)
    assert.equal(5, life.ws.bufferedAmount)
    assert.equal(0, life.ws.queuedMessages)
  end)

  it("comes back over several connections, and after maxBufferedAmount too", function()
    local life = live { maxBufferedAmount = 12, highWaterMark = 6 }:open()
    life:last():block()
    for i = 1, 4 do life.ws:send(i .. "234") end -- the fourth is too much
    assert.equal(2, life.ws.readyState)
    life.world:settle()
    assert.equal("slow", life.told.error.code)
    assert.equal(16, life.told.close.unsent)
    life:wait():open()
    assert.equal(" | 1234 2234 3234 4234", life:handed())
  end)
end)

describe("clearQueue()", function()
  it("forgets what is queued, and says how much that was", function()
    local life = live { highWaterMark = 5 }
    life.ws:send "one"
    life.ws:send "two"
    assert.equal(6, life.ws:clearQueue())
    assert.equal(0, life.ws:clearQueue())
    assert.same({ 0, 0 }, { life.ws.queuedMessages, life.ws.bufferedAmount })
    life:open()
    assert.equal("", life:handed())
    assert.equal("open, drain", life:heard()) -- still owed
  end)

  it("in onclose forgets what came back", function()
    local life = live():open()
    life:last():block()
    life.ws:send "one"
    local bytes
    life:on("close", function() bytes = life.ws:clearQueue() end)
    life:lose()
    assert.equal(3, bytes)
    assert.equal(3, life.told.close.unsent)
    life:wait():open()
    assert.equal(" | ", life:handed())
  end)
end)

describe("the high-water mark", function()
  it("is told by send, and drain follows on the connection", function()
    local life = live { highWaterMark = 10 }:open()
    life:last():block()
    assert.is_true(life.ws:send "123456789")
    assert.is_false(life.ws:send "0")
    life.world:settle()
    assert.equal("open", life:heard())
    life:last():take(1000)
    life.world:settle()
    assert.equal("open, drain", life:heard())
  end)

  it("holds for the queue, and its drain comes with the connection", function()
    local life = live { highWaterMark = 10 }
    assert.is_true(life.ws:send "123456789")
    assert.is_false(life.ws:send "0")
    assert.is_false(life.ws:send "1")
    life:open()
    assert.equal("open, drain", life:heard())
    assert.equal("123456789 0 1", life:handed())
    life:lose():wait():forget():open()
    assert.equal("open", life:heard()) -- once
  end)

  it("holds for both together", function()
    local life = live { highWaterMark = 10, maxQueuedBytes = 100 }
    for _ = 1, 3 do life.ws:send "12345678" end
    life:last():open()
    life:last():block()
    life.world:settle()
    assert.equal("open", life:heard())
    assert.equal(1, life.ws.queuedMessages) -- the socket was given as much as it takes
    assert.equal(24, life.ws.bufferedAmount)
    assert.is_false(life.ws:send "x")
    for _ = 1, 3 do
      life:last():take(1000)
      life.world:settle()
    end
    assert.equal("open, drain", life:heard())
    assert.equal("12345678 12345678 12345678 x", life:handed())
  end)

  it("owes its drain although the line broke before", function()
    local life = live { highWaterMark = 10 }:open()
    life:last():block()
    assert.is_true(life.ws:send "six by")
    assert.is_false(life.ws:send "six by")
    life:last():take(12) -- what is left is under the mark by itself
    life:lose():wait():forget():open()
    assert.equal("open, drain", life:heard())
  end)

  it("owes its drain although onopen raised", function()
    local life = live { highWaterMark = 10 }:open()
    life:last():block()
    life.ws:send "six by"
    assert.is_false(life.ws:send "SIX BY")
    life:last():take(12)
    life:lose():wait():forget()
    life:on("open", function() error("oops", 0) end)
    life:last():open()
    assert.equal("oops", select(2, pcall(life.world.settle, life.world)))
    assert.equal("open, drain", life:heard())
    assert.equal("six by | SIX BY", life:handed())
  end)

  it("does not drain a line that onopen has dropped, or that is full again", function()
    local life = live { highWaterMark = 10 }
    life.ws:send "ten bytes."
    life:on("open", function() life.ws:terminate() end)
    life:open()
    assert.equal("open, close 1006  unclean, reconnecting 1", life:heard())
    life:wait():forget()
    life:on("open", function()
      life:last():block()
      assert.is_false(life.ws:send "more than ten")
    end)
    life:open()
    assert.equal("open", life:heard())
    life:last():take(1000)
    life.world:settle()
    life:last():take(1000)
    life.world:settle()
    assert.equal("open, drain", life:heard())
    assert.equal(" | more than ten ten bytes.", life:handed())
  end)

  it("owes its drain until a connection lasts beyond its onopen, and is not full of what that sent", function()
    local life = live { highWaterMark = 10 }:open()
    life:last():block()
    assert.is_false(life.ws:send "more than ten")
    life:last():take(19) -- all of it; and no turn in which the drain could come
    life.ws:terminate()
    life.world:settle()
    life:wait():forget()
    life:on("open", function() life.ws:terminate() end)
    life:open()
    assert.equal("open, close 1006  unclean, reconnecting 2", life:heard())
    life:wait():forget()
    life:on("open", function()
      life:last():block()
      life.ws:send "more than ten"
    end)
    life:open()
    assert.equal("open", life:heard())
    life:last():take(19)
    life.world:settle()
    assert.equal("open, drain", life:heard())
  end)

  it("is not told to who was never told to wait", function()
    local life = live { highWaterMark = 10 }
    assert.is_true(life.ws:send "six by")
    life:on("open", function()
      life:last():block()
      assert.is_true(life.ws:send "SIX BY")
    end)
    life:open()
    life:last():take(1000) -- of more than the mark, but nobody waits
    life.world:settle()
    assert.equal("open", life:heard())
    assert.equal("SIX BY six by", life:handed())
  end)
end)

describe("url and protocols", function()
  it("may be functions, asked at each attempt", function()
    local n = 0
    local life = live {
      url = function()
        n = n + 1
        return "ws://host" .. n
      end,
      protocols = function() return { "v" .. n } end,
    }
    assert.equal("ws://host1/", life.ws.url)
    life:lose(REFUSED):wait()
    assert.equal("ws://host2/", life.ws.url)
    assert.same({ "v2" }, life:last():state().arguments.protocols)
    assert.equal(2, n)
  end)

  for _, row in ipairs {
    { "raises", function() error("no token", 0) end, "connect: no token" },
    { "raises an object", function() error({ message = "none" }, 0) end, "connect: none" },
    { "gives nil", function() return nil end, "connect: WebSocket: a URL expected, got nil" },
    { "gives no URL", function() return "http//" end, "connect: WebSocket: the URL \"http//\" does not parse" },
  } do
    it(("a url function that %s is an attempt that failed"):format(row[1]), function()
      local life = live { url = row[2], jitter = 0 }
      assert.equal(0, life.ws.readyState)
      assert.equal("", life.ws.url)
      assert.equal("", life:heard())
      life.world:settle()
      assert.equal("error url, close 1006  unclean, reconnecting 1", life:heard())
      assert.equal(row[3], life.told.error.message)
      assert.equal(life.told.error, life.told.close.error)
      life:wait()
      assert.equal(2, life.told.reconnecting.attempt)
      about(1600, life.told.reconnecting.delay)
      life.ws:close()
      life.world:settle()
      assert.equal(0, life:made())
    end)
  end

  it("a protocols function that raises is one, too, from the first attempt on", function()
    local ask = function() error("no token", 0) end
    local life = live { protocols = function() return ask() end }
    life.world:settle()
    assert.equal("error url, close 1006  unclean, reconnecting 1", life:heard())
    ask = function() return "v1" end
    life:wait():open()
    assert.equal(1, life.ws.readyState)
  end)

  it("that are wrong as they stand raise at once", function()
    local world = World.new()
    wire.mistake("SyntaxError", reconnect.class(world), "home")
    wire.mistake("SyntaxError", reconnect.class(world), nil)
    wire.mistake("SyntaxError", lunawire.ReconnectingWebSocket, "ws://127.0.0.1:1/#x")
    wire.mistake("SyntaxError", lunawire.ReconnectingWebSocket, "ws://127.0.0.1:1/", { "a", "a" })
    assert.equal(0, world:count())
  end)

  it("close() while one is on its way out of a failed url is told once", function()
    local life = live { url = function() error "no" end }
    life.ws:close()
    life.world:pass(100000)
    assert.equal("close 1006  unclean", life:heard())
    life = live { url = function() error "no" end }
    assert.is_true(life.ws:reconnect())
    life.world:settle()
    assert.equal("error url, close 1006  unclean, reconnecting 1", life:heard())
  end)
end)

describe("options", function()
  for _, row in ipairs {
    { { minDelay = -1 }, "minDelay" }, { { minDelay = "1" }, "minDelay" }, { { minDelay = 0 / 0 }, "minDelay" },
    { { maxDelay = math.huge }, "maxDelay" }, { { factor = 0.9 }, "factor" }, { { jitter = 1.1 }, "jitter" },
    { { jitter = -0.1 }, "jitter" }, { { minUptime = true }, "minUptime" }, { { maxRetries = 1.5 }, "maxRetries" },
    { { maxRetries = -1 }, "maxRetries" }, { { maxQueuedMessages = "x" }, "maxQueuedMessages" },
    { { maxQueuedBytes = {} }, "maxQueuedBytes" }, { { shouldReconnect = true }, "shouldReconnect" },
    { { heartbeat = 5000 }, "heartbeat" }, { { heartbeat = { interval = 0 } }, "interval" },
    { { heartbeat = { intervall = 5 } }, "did you mean \"interval\"" }, { { heartbeat = { message = 1 } }, "message" },
    { { maxRetrys = 1 }, "did you mean \"maxRetries\"" }, { { maxpayload = 1 }, "did you mean \"maxPayload\"" },
    { { onopen = print }, "handlers are set on what" }, { { [1] = "x" }, "a name expected" },
  } do
    it("that are wrong raise at once: " .. row[2] .. " " .. tostring(select(2, next(row[1]))), function()
      local world = World.new()
      local message = wire.mistake("TypeError", reconnect.class(world), "ws://home/", nil, row[1])
      assert.matches(row[2], message)
      assert.equal(0, #world.sockets)
    end)
  end

  it("of WebSocket go to each of them", function()
    local life = live { maxPayload = 77, headers = { A = "b" } }
    life:lose(REFUSED):wait()
    for i = 1, 2 do
      local given = life.world.sockets[i]:state().arguments.options
      assert.same({ maxPayload = 77, headers = { A = "b" } }, given)
    end
  end)

  it("that are no table raise", function()
    wire.mistake("TypeError", lunawire.ReconnectingWebSocket, "ws://127.0.0.1:1/", nil, "x")
  end)
end)

describe("the heartbeat", function()
  local function pings(life) return life:last():state().pings end

  it("is there by default: 20 s and 10 s", function()
    for _, given in ipairs { "default", true } do
      local life = live { heartbeat = given == true }
      if given == "default" then
        life = live()
        life.ws:close()
        life.world:settle()
        local world = life.world
        life.ws = reconnect.class(world)("ws://home/")
        life.ws.onclose = function(event) life:note(event) end
      end
      life:open().world:pass(19999)
      assert.equal(0, pings(life))
      life.world:pass(1)
      assert.equal(1, pings(life))
      life.world:pass(9999)
      assert.equal(1, life.ws.readyState)
      life.world:pass(1)
      assert.equal("heartbeat timeout", life.told.close.reason)
      assert.equal(0, life.ws.readyState)
    end
  end)

  it("may be told when, and begins with each connection", function()
    local beat = { interval = 100, timeout = 50 }
    local life = live { heartbeat = beat }
    beat.interval = 1 -- no matter
    life:open().world:pass(100)
    assert.equal(1, pings(life))
    life:last():ponged()
    life.world:pass(100)
    assert.equal(2, pings(life))
    life.world:pass(50)
    assert.equal("open, pong , close 1006 heartbeat timeout unclean, reconnecting 1", life:heard())
    assert.equal(1, life.world:count()) -- the wait
    life:wait():open():forget().world:pass(99)
    assert.equal(0, pings(life))
    life.world:pass(51)
    assert.equal("close 1006 heartbeat timeout unclean, reconnecting 2", life:heard())
  end)

  it("may be text, whose replies are not delivered and which is not queued", function()
    local life = live { heartbeat = { interval = 100, timeout = 50, message = "ping" } }
    life:open().world:pass(100)
    life:last():receive "pong"
    life:last():receive "news"
    life.world:pass(60)
    assert.equal("open, text news", life:heard())
    assert.equal("ping", life:handed())
    life:last():lose()
    life.world:settle()
    assert.equal(0, life.told.close.unsent)
    life.world:pass(2000)
    assert.equal(2, life:made())
  end)

  it("is none when false, and leaves no timer", function()
    local life = live { heartbeat = false }:open()
    assert.equal(0, life.world:count())
    life.world:pass(1e6)
    assert.equal(1, life.ws.readyState)
  end)

  it("leaves no timer when it is closed", function()
    local life = live { heartbeat = { interval = 100 } }:open()
    life.world:pass(150)
    assert.equal(2, life.world:count())
    life.ws:close()
    life:last():peerClose()
    life:last():finish()
    life.world:settle()
    assert.equal(0, life.world:count())
  end)

  it("rests while paused", function()
    local life = live { heartbeat = { interval = 100, timeout = 50 } }:open()
    life.ws:pause()
    life.world:pass(1000)
    assert.equal(0, pings(life))
    assert.equal(1, life.ws.readyState)
  end)
end)

describe("members", function()
  it("are those of the connection there is, or was last", function()
    local life = live()
    local ws = life.ws
    assert.same({ "ws://home/", "", "", nil, nil, false, "string" },
      { ws.url, ws.protocol, ws.extensions, ws.lastReceived, ws.lastAlive, ws.isPaused, ws.binaryType })
    life:last():open "chat"
    life.world:pass(500)
    assert.equal("chat", ws.protocol)
    assert.equal(1000, ws.lastReceived)
    assert.equal(1000, ws.lastAlive)
    life:lose()
    assert.equal("chat", ws.protocol)
    assert.equal(1000, ws.lastReceived)
    assert.equal(1000, ws.lastAlive)
  end)

  it("of the class are there", function()
    for name, value in pairs { CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3 } do
      assert.equal(value, lunawire.ReconnectingWebSocket[name])
      assert.equal(value, live().ws[name])
    end
  end)

  it("that only tell cannot be set", function()
    local ws = live().ws
    for _, name in ipairs {
      "url", "readyState", "protocol", "extensions", "bufferedAmount", "lastReceived", "lastAlive", "isPaused",
      "retryCount", "queuedMessages", "send", "close", "reconnect", "OPEN",
    } do
      assert.matches("\"" .. name .. "\" is read%-only", wire.mistake("TypeError", function() ws[name] = 1 end))
    end
  end)

  it("may be added, and a misspelt handler is found", function()
    local ws = live().ws
    ws.mine = "my own"
    assert.equal("my own", ws.mine)
    assert.is_nil(ws.yours)
    assert.matches("did you mean \"onmessage\"", wire.mistake("TypeError", function() ws.onmesage = print end))
    assert.matches("did you mean \"onreconnecting\"", wire.mistake("TypeError", function() ws.onreconecting = print end))
    wire.mistake("TypeError", function() ws.onopen = "x" end)
  end)

  it("binaryType takes what a WebSocket's does, in every state", function()
    local life = live()
    for i = 1, 3 do
      for _, kind in ipairs { "blob", "arraybuffer", "string" } do
        life.ws.binaryType = kind
        assert.equal(kind, life.ws.binaryType)
      end
      wire.mistake("TypeError", function() life.ws.binaryType = "text" end)
      wire.mistake("TypeError", function() life.ws.binaryType = nil end)
      assert.equal("string", life.ws.binaryType)
      if i == 1 then life:open() elseif i == 2 then life:lose() end
    end
  end)

  it("say in words what they are", function()
    local life = live()
    assert.equal("ReconnectingWebSocket (connecting): ws://home/", tostring(life.ws))
    assert.equal("ReconnectingWebSocket (open): ws://home/", tostring(life:open().ws))
    assert.equal("ReconnectingWebSocket (waiting): ws://home/", tostring(life:lose().ws))
    life.ws:close()
    assert.equal("ReconnectingWebSocket (closed): ws://home/", tostring(life.ws))
  end)

  it("are not for others", function()
    local ws = live().ws
    assert.equal('ReconnectingWebSocket expected, got string (did you mean ":send", with a colon?)',
      wire.mistake("TypeError", function() ws.send "x" end))
    for _, name in ipairs { "send", "close", "reconnect", "terminate", "ping", "pause", "resume", "addEventListener" } do
      assert.matches("ReconnectingWebSocket expected, got table", wire.mistake("TypeError", ws[name], {}, "x"))
    end
  end)

  it("close() checks what it is given, in every state", function()
    local life = live()
    for i = 1, 3 do
      wire.mistake("InvalidAccessError", life.ws.close, life.ws, 999)
      wire.mistake("SyntaxError", life.ws.close, life.ws, 1000, ("x"):rep(124))
      if i == 1 then life:open() elseif i == 2 then life.ws:close() end
    end
  end)

  it("pause() holds over connections, until resume() or close()", function()
    local life = live()
    life.ws:pause()
    life:open()
    life:last():receive "1"
    life.world:settle()
    assert.equal("open", life:heard())
    assert.is_true(life.ws.isPaused)
    life:lose():wait():open()
    life:last():receive "2"
    life.world:settle()
    assert.is_nil(life.told.message)
    life.ws:resume()
    life.world:settle()
    assert.equal("2", life.told.message.data)
    life.ws:pause()
    life.ws:close()
    assert.is_false(life.ws.isPaused)
  end)
end)

describe("listeners", function()
  after_each(function() lunawire.onerror = nil end)

  it("capture, once and order are as WebSocket's", function()
    local life, heard = live(), {}
    local ws = life.ws
    local function add(name, options) ws:addEventListener("message", function() heard[#heard + 1] = name end, options) end
    ws.onmessage = nil
    add "a"
    ws.onmessage = function() heard[#heard + 1] = "on" end
    add("once", { once = true })
    add("capture", true)
    add("b", { capture = false })
    life:open()
    life:last():receive "1"
    life.world:settle()
    assert.equal("capture a on once b", table.concat(heard, " "))
    life:last():receive "2"
    life.world:settle()
    assert.equal("capture a on once b capture a on b", table.concat(heard, " "))
  end)

  it("stopImmediatePropagation() ends an event there", function()
    local life = live()
    for _, kind in ipairs { "open", "message", "error", "close", "reconnecting" } do
      life.ws:addEventListener(kind, function(event) event:stopImmediatePropagation() end, true)
    end
    life:open():last():receive "x"
    life:lose { code = "network" }
    assert.equal("", life:heard())
    assert.equal(1, life.world:count())
  end)

  it("all run although one raises; the first error leaves, and the retry comes all the same", function()
    for _, kind in ipairs { "open", "message", "error", "close", "reconnecting" } do
      local life, ran = live(), 0
      local oops = { kind }
      life.ws:addEventListener(kind, function()
        ran = ran + 1
        error(oops, 0)
      end)
      life.ws:addEventListener(kind, function() ran = ran + 1 end)
      life:last():open()
      life:last():receive "x"
      life:last():fail { code = "network" }
      local raised
      for _ = 1, 5 do
        local ok, err = pcall(life.world.settle, life.world)
        if not ok then
          assert.is_nil(raised)
          raised = err
        end
      end
      assert.equal(oops, raised)
      assert.equal(2, ran)
      assert.equal("open, text x, error network, close 1006  unclean, reconnecting 1", life:heard())
      assert.equal(1, life.world:count())
    end
  end)

  it("of close and reconnecting, each raising: the first leaves, the other is warned of", function()
    local life = live()
    life.ws:addEventListener("close", function() error("close", 0) end)
    life.ws:addEventListener("reconnecting", function() error("reconnecting", 0) end)
    life:last():lose()
    assert.equal("close", select(2, pcall(life.world.settle, life.world)))
    assert.equal(1, life.world:count())
  end)

  it("that raise are told to lunawire.onerror, with the ReconnectingWebSocket", function()
    local taken = {}
    lunawire.onerror = function(err, source) taken[#taken + 1] = { err, source } end
    local life = live()
    for _, kind in ipairs { "open", "message", "error", "close", "reconnecting" } do
      life.ws:addEventListener(kind, function() error(kind, 0) end)
    end
    life:open():last():receive "x"
    life:lose { code = "network" }
    lunawire.onerror = nil
    assert.equal(5, #taken)
    for i, kind in ipairs { "open", "message", "error", "close", "reconnecting" } do
      assert.equal(kind, taken[i][1])
      assert.equal(life.ws, taken[i][2])
    end
  end)
end)

-- --- the real ones --------------------------------------------------------------------------------------------

-- The same scenario with the world's socket and with ours over TCP, told by what the ReconnectingWebSocket hears.
-- `do` is { open, text, close code, end, reset } of the other side, or a call.
local scenarios = {
  { "a message", { "open", "say hi" }, "open 1, text hi 1" },
  { "the end of the stream", { "open", "end" }, "open 1, close 1006  unclean 0, reconnecting 0" },
  { "a reset", { "open", "reset" }, "open 1, close 1006  unclean 0, reconnecting 0" },
  { "a clean close by the peer", { "open", "close 1001", "end" }, "open 1, close 1001  clean 0, reconnecting 0" },
  { "a clean close by us", { "open", "ws:close", "close 1000", "end" }, "open 1, close 1000  clean 3" },
  { "close() while connecting", { "ws:close" }, "error aborted 2, close 1006  unclean 3" },
  { "terminate() while connecting", { "ws:terminate" }, "error aborted 0, close 1006  unclean 0, reconnecting 0" },
  { "terminate()", { "open", "ws:terminate" }, "open 1, close 1006  unclean 0, reconnecting 0" },
  { "reconnect()", { "open", "ws:reconnect", "open" },
    "open 1, close 1006 reconnect unclean 0, reconnecting 0, open 1" },
  { "a loss, and back", { "open", "reset", "wait", "open", "say again" },
    "open 1, close 1006  unclean 0, reconnecting 0, open 1, text again 1" },
  { "messages of before", { "ws:send one", "ws:send two", "open", "say ok" }, "open 1, text ok 1", "one two" },
  { "a message between two", { "open", "reset", "ws:send late", "wait", "open", "say ok" },
    "open 1, close 1006  unclean 0, reconnecting 0, open 1, text ok 1", "late" },
}

-- What a ReconnectingWebSocket hears, with its readyState; the number of an attempt is left out.
local function listen(ws, log)
  for _, kind in ipairs { "open", "message", "error", "close", "reconnecting" } do
    ws["on" .. kind] = function(event)
      assert(event.target == ws)
      local words = kind == "reconnecting" and kind or wire.words(event)
      log[#log + 1] = words .. " " .. ws.readyState
    end
  end
end

local OPTIONS = { heartbeat = false, minDelay = 20, jitter = 0 }

-- Both sides of a scenario: act(step), then what was heard and what came over the last connection.
local function fakePair()
  local world, log = World.new(3), {}
  local ws = reconnect.class(world)("ws://home/", nil, OPTIONS)
  listen(ws, log)
  local deeds = {
    open = function() world:last():open() end,
    say = function(text) world:last():receive(text) end,
    close = function(code) world:last():peerClose(tonumber(code)) end,
    ["end"] = function() world:last():finish() end,
    reset = function() world:last():lose() end,
    wait = function() world:pass(20) end,
  }
  return ws, log, deeds, function() world:settle() end, function() return table.concat(world:last():handed(), " ") end
end

local function realPair()
  local server, log, peer = wire.server(), {}, nil
  local ws = lunawire.ReconnectingWebSocket(server.url, nil, OPTIONS)
  listen(ws, log)
  local deeds = {
    open = function() peer = server:open() end,
    say = function(text) peer:frame { "text", payload = text } end,
    close = function(code) peer:closing(tonumber(code)) end,
    ["end"] = function()
      wire.settle()
      peer:shutdown()
    end,
    reset = function() peer:reset() end,
    wait = function() end, -- server:open() does
  }
  local function got()
    local parts = {}
    while peer and peer.bytes ~= "" do
      local frame = peer:next()
      if frame.opcode == 1 then parts[#parts + 1] = frame.payload end
    end
    return table.concat(parts, " ")
  end
  return ws, log, deeds, function() wire.settle(5) end, got
end

describe("the world's socket and the real one agree on", function()
  after_each(wire.done)

  for _, pair in ipairs { { "the world's", fakePair }, { "the real", realPair } } do
    for _, row in ipairs(scenarios) do
      it(("%s: %s"):format(row[1], pair[1]), function()
        local ws, log, deeds, settle, got = pair[2]()
        for _, step in ipairs(row[2]) do
          local word, rest = step:match "^(%S+) ?(.*)$"
          local method = word:match "^ws:(.*)$"
          if method == "send" then ws:send(rest) elseif method then ws[method](ws) else deeds[word](rest) end
          settle()
        end
        local wanted = select(2, row[3]:gsub(",", "")) + 1
        if pair[2] == realPair then wire.await(function() return #log >= wanted end, row[3]) end
        assert.equal(row[3], table.concat(log, ", "))
        assert.equal(row[4] or "", got())
        ws:close()
        ws:terminate()
        settle()
      end)
    end
  end
end)

-- What bufferedAmount, bytesWritten and bytesSent come to, side by side.
describe("the stream's places are the same in the world's socket and in the real one:", function()
  after_each(wire.done)

  for _, n in ipairs { 0, 1, 125, 126, 65535, 65536, 100000 } do
    it(n .. " bytes", function()
      local world, server = World.new(), wire.server()
      local fake, real = world.WebSocket "ws://home/", lunawire.WebSocket(server.url)
      fake:open()
      world:settle()
      server:open()
      wire.await(function() return real.readyState == 1 end)
      wire.settle()
      local before = { fake.bytesWritten, real.bytesWritten }
      for _, ws in ipairs { fake, real } do
        assert.equal(ws.bytesSent, ws.bytesWritten)
        ws:send(("x"):rep(n), "binary")
        ws:ping "hello"
        assert.equal(n, ws.bufferedAmount)
      end
      assert.equal(real.bytesWritten - before[2], fake.bytesWritten - before[1])
      world:settle()
      wire.settle()
      for _, ws in ipairs { fake, real } do
        assert.equal(ws.bytesWritten, ws.bytesSent)
        assert.equal(0, ws.bufferedAmount)
        ws:terminate()
        assert.equal(2, ws.readyState)
      end
      real.onclose = function() end
      assert.is_true(lunawire.run(1000))
      world:settle()
      for _, ws in ipairs { fake, real } do
        assert.same({ 3, false }, { ws.readyState, ws.isPaused })
        assert.is_true(ws.bytesWritten > n) -- they stay as they were
        assert.equal(ws.bytesWritten, ws.bytesSent)
        assert.is_false(ws:send "more")
        assert.equal(4, ws.bufferedAmount)
      end
    end)
  end
end)

describe("a ReconnectingWebSocket over TCP", function()
  before_each(turns.open)
  after_each(turns.clear)

  it("leaves nothing in the loop once it is closed, connected, waiting or connecting", function()
    local server = wire.server()
    local ws = lunawire.ReconnectingWebSocket(server.url)
    ws:close()
    assert.is_true(lunawire.run(1000))
    ws = lunawire.ReconnectingWebSocket(server.url)
    local log = wire.record(ws)
    server:open():close()
    wire.heard(log)
    assert.is_false(lunawire.run(0)) -- the wait is something that will call back
    ws:close()
    assert.is_true(lunawire.run(1000))
  end)

  it("comes back to a server of ours, with what was sent meanwhile, in order", function()
    local heard = {}
    local function serve(port)
      local server = turns.serve { port = port }
      server.onmessage = function(event) heard[#heard + 1] = event.data end
      return server
    end
    local server = serve()
    local ws = lunawire.ReconnectingWebSocket(server.url, nil, { minDelay = 10, maxDelay = 20 })
    for i = 1, 100 do ws:send("a" .. i) end
    turns.await(function() return #heard == 100 end)
    local port = server.port
    server:close()
    turns.await(function() return ws.readyState == 0 end)
    for i = 1, 100 do ws:send("b" .. i) end
    serve(port)
    turns.await(function() return #heard == 200 end)
    for i = 1, 100 do
      assert.equal("a" .. i, heard[i])
      assert.equal("b" .. i, heard[100 + i])
    end
    ws:close()
    turns.await(function() return ws.readyState == 3 end)
  end)
end)
