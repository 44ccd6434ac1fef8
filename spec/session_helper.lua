-- session_helper.lua -- what the specs of src/session.c share: sessions fed in every way there
-- is, and events in words.

local frames = require "spec.frames"
local probe = require "lunawire.probe"

local helper = {}

helper.key = frames.hex "37 fa 21 3d" -- the RFC's own (5.7)

-- --- events in words --------------------------------------------------------------------------

-- 'text: Hello', 'close 1000: bye', 'failure 1002: rsv'
function helper.word(event)
  if event.kind == "failure" then return ("failure %d: %s"):format(event.code, event.why) end
  return event.kind .. (event.code and " " .. event.code or "") .. ": " .. event.data
end

function helper.words(events)
  local list = {}
  for i, event in ipairs(events) do list[i] = helper.word(event) end
  return list
end

-- What a session has to say, without the masks that a client adds (and must add).
function helper.unmasked(role, output)
  local list = {}
  for i, frame in ipairs(frames.parse(output)) do
    assert((frame.key ~= nil) == (role == "client"), role .. " with a wrong mask bit")
    list[i] = frames.build { frame.opcode, fin = frame.fin, rsv = frame.rsv, payload = frame.payload }
  end
  return table.concat(list)
end

function helper.output(session, role)
  return helper.unmasked(role, session:output())
end

-- The Close frame with which a session answers what is wrong.
function helper.goodbye(code, reason)
  return frames.build { "close", payload = frames.closing(code, reason) }
end

-- What arrives, for the side that takes the given role: frames as in frames.build, or bytes of a
-- server's frame, one each.
function helper.arriving(role, list)
  local key = role == "server" and helper.key or nil
  local parts = {}
  for i, frame in ipairs(list) do
    if type(frame) == "string" then
      parts[i] = key and frames.masked(frame, key) or frame
    else
      frame.key = key
      parts[i] = frames.build(frame)
      frame.key = nil
    end
  end
  return table.concat(parts)
end

-- --- every way ----------------------------------------------------------------------------------

local FULLY = 300 -- bytes up to which every cut is tried; of more, those near the ends

-- All the ways to cut n bytes, as a function that gives a name and a list of places.
local function cuts(n)
  return coroutine.wrap(function()
    coroutine.yield("whole", {})
    if n <= 4096 then
      local places = {}
      for i = 1, n - 1 do places[i] = i end
      coroutine.yield("a byte at a time", places)
    end
    for i = 1, n - 1 do
      if n <= FULLY or i < 24 or i > n - 24 or i % 4093 == 0 then coroutine.yield("cut after " .. i, { i }) end
    end
    if n > FULLY then
      local places = {}
      for i = 1, math.floor((n - 1) / 1000) do places[i] = i * 1000 end
      coroutine.yield("in thousands", places)
    end
  end)
end

local function run(session, case, places, how)
  session:again()
  if case.before then case.before(session) end
  local heard, at = {}, 1
  for i = 1, #places + 1 do
    local last = places[i] or #case.bytes
    local slice = at == 1 and last == #case.bytes and case.bytes or case.bytes:sub(at, last)
    for _, event in ipairs(session:feed(slice, how)) do heard[#heard + 1] = helper.word(event) end
    at = last + 1
  end
  return {
    events = heard,
    output = helper.output(session, case.role),
    state = session:state(),
    between = session:between(),
    held = session:held() > 0,
  }
end

local function same(a, b)
  return table.concat(a.events, "\n") == table.concat(b.events, "\n") and a.output == b.output
    and a.state == b.state and a.between == b.between and a.held == b.held
end

local function shown(result)
  local text = ("%s | %s | %s"):format(table.concat(result.events, ", "), frames.dump(result.output), result.state)
  return #text < 600 and text or text:sub(1, 600) .. "..."
end

-- Gives case.bytes to new sessions {role=, limits=, before=function(session)} whole, one byte at
-- a time and cut at every place; each plainly, stashed, and received directly. Raises when two
-- ways differ; else returns what all of them came to: {events (in words), output (without
-- masks), state, between, held}.
function helper.everyWay(case)
  local session = probe.session(case.role, case.limits)
  local first = run(session, case, {}, "plain")
  for name, places in cuts(#case.bytes) do
    for _, how in ipairs { "plain", "stash", "stashed", "direct" } do
      local other = run(session, case, places, how)
      if not same(first, other) then
        error(("%s, %s: %s\nbut whole: %s"):format(name, how, shown(other), shown(first)), 2)
      end
    end
  end
  return first
end

return helper
