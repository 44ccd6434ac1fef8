-- What a session has to send against a plain model of it: messages, long ones, pings, all in random order
-- and taken in random pieces. A failure names its seed; the same seed is the same conversation.

local Random = require "spec.torture.random"
local frames = require "spec.frames"
local helper = require "spec.session_helper"
local probe = require "lunawire.probe"

local AHEAD = 16384 -- src/outgoing.c: the next fragment is made when less is ready
local FRAGMENT = 65536

local Model = {}
Model.__index = Model

-- "text 3 t", "binary 5 a more", "ping 2 17": what is no ping is of one character.
local function word(kind, payload, fin)
  local first = kind == "ping" and payload or payload:sub(1, 1)
  return ("%s %d %s%s"):format(kind, #payload, first, fin and "" or " more")
end

local function newModel(role, most)
  return setmetatable({
    mask = role == "client" and 4 or 0,
    most = most == 0 and FRAGMENT or math.min(most, FRAGMENT), -- of a long message's fragment
    split = most == 0 and math.huge or most, -- and of another's
    line = {},  -- frames that go next: { words =, left = bytes, apart =, content = }
    chain = {}, -- long messages: { left = payload in no frame yet, begun =, behind = frames }
    gone = 0,   -- bytes, without what is apart
    said = {},  -- frames gone whole, in words
  }, Model)
end

function Model:header(n)
  return (n < 126 and 2 or n < 65536 and 4 or 10) + self.mask
end

function Model:frame(kind, payload, fin, apart)
  return {
    words = word(kind, payload, fin), left = self:header(#payload) + #payload, apart = apart,
    content = kind == "ping" and 0 or #payload,
  }
end

function Model:send(payload)
  local to, kind = #self.chain > 0 and self.chain[#self.chain].behind or self.line, "text"
  repeat
    local piece = payload:sub(1, math.min(self.split, #payload))
    payload = payload:sub(#piece + 1)
    to[#to + 1] = self:frame(kind, piece, payload == "")
    kind = "continuation"
  until payload == ""
end

function Model:begin(n)
  self.chain[#self.chain + 1] = { left = n, begun = false, behind = {} }
end

function Model:ping(payload)
  self.line[#self.line + 1] = self:frame("ping", payload, true, #self.chain > 0)
end

function Model:wants()
  local first, ready = self.chain[1], 0
  if not first or self.forsaken then return 0 end
  for _, frame in ipairs(self.line) do
    if frame.apart then return 0 end
    ready = ready + frame.left
  end
  return ready < AHEAD and math.min(first.left, self.most) or 0
end

function Model:fill(payload)
  local first = self.chain[1]
  first.left = first.left - #payload
  self.line[#self.line + 1] = self:frame(first.begun and "continuation" or "binary", payload, first.left == 0)
  first.begun = true
end

-- What waits behind a long message that has gone moves up.
function Model:advance()
  if #self.line > 0 or not self.chain[1] or self.chain[1].left > 0 then return end
  self.line = table.remove(self.chain, 1).behind
end

function Model:take(most)
  local n = 0
  while n < most and self.line[1] do
    local frame = self.line[1]
    local bytes = math.min(frame.left, most - n)
    n, frame.left = n + bytes, frame.left - bytes
    if not frame.apart then self.gone = self.gone + bytes end
    if frame.left == 0 then
      self.said[#self.said + 1] = frame.words
      table.remove(self.line, 1)
    end
    self:advance()
  end
  return n
end

-- -> bytes gone and written; content that has not gone, and payload that is still to come
function Model:places()
  local written, content, awaited = self.gone, 0, 0
  local function count(list)
    for _, frame in ipairs(list) do
      written = written + (frame.apart and 0 or frame.left)
      content = content + math.min(frame.content, frame.left)
    end
  end
  count(self.line)
  for _, long in ipairs(self.chain) do
    local whole, rest = long.left // self.most, long.left % self.most
    written = written + long.left + whole * self:header(self.most) + (rest > 0 and self:header(rest) or 0)
    awaited = awaited + long.left
    count(long.behind)
  end
  return self.gone, written, content, awaited
end

local function words(bytes)
  local list = {}
  for i, frame in ipairs(frames.parse(bytes)) do
    local name
    for called, opcode in pairs(frames.opcodes) do
      if opcode == frame.opcode then name = called end
    end
    list[i] = name == "close" and "close " .. frame.payload:sub(1, 2) or word(name, frame.payload, frame.fin)
  end
  return list
end

-- --- a conversation ---------------------------------------------------------------------------------------------

local function check(session, model)
  local gone, written, held = session:places()
  local mGone, mWritten, content, awaited = model:places()
  assert.same({ mGone, mWritten }, { gone, written })
  assert.equal(awaited, session:buffered() - held)
  assert.is_true(content <= held, "bufferedAmount is never less than the truth")
  if #model.line == 0 and #model.chain == 0 then assert.equal(0, held) end
  assert.equal(model:wants(), session:wants())
end

local actions = {}

function actions.send(session, model, random)
  local payload = ("t"):rep(random(0, random:pick { 10, 200, 3000 }))
  if session:send("text", payload) then model:send(payload) end
end

function actions.begin(session, model, random)
  local n = random(1, random:pick { 10, 3000, 200000 })
  if session:begin(n) then model:begin(n) end
end

function actions.ping(session, model, random)
  local payload = tostring(random(1000))
  if session:ping(payload) then model:ping(payload) end
end

function actions.fill(session, model, random)
  while session:wants() > 0 do
    local payload = string.char(random(97, 122)):rep(session:wants())
    if session:fill(payload) == nil then return end
    model:fill(payload)
    if random:chance(0.3) then return end
  end
end

function actions.output(session, model, random, heard)
  local most = random:pick { 1, 50, 5000, 100000 }
  local bytes = session:output(most)
  assert.equal(model:take(most), #bytes)
  heard[#heard + 1] = bytes
end

local names = { "send", "send", "begin", "ping", "fill", "fill", "fill", "output", "output", "output", "output" }

local endings = {}

-- What the peer's Close, or its mistake, leaves to be said: what needs no payload any more, in its order, and our Close.
local function forsake(model, code)
  model.forsaken = true
  model.closing = "close " .. frames.closing(code)
end

function endings.peerCloses(session, model, role)
  session:feed(helper.arriving(role, { { "close", payload = frames.closing(3000) } }))
  forsake(model, 3000)
end

function endings.peerErrs(session, model, role)
  session:feed(helper.arriving(role, { { 3, payload = "" } }))
  forsake(model, 1002)
end

function endings.breaksOff(session, model)
  session:breakOff()
  forsake(model, 1011)
end

function endings.closes(session, model)
  session:close(1000)
  model.closing = "close " .. frames.closing(1000)
end

-- Takes all there is.
local function drain(session, model, random, heard)
  repeat
    actions.fill(session, model, random)
    local most = random:pick { 1000, 5000, 100000 }
    local bytes = session:output(most)
    model:take(most)
    heard[#heard + 1] = bytes
  until bytes == "" and session:wants() == 0
end

local function converse(seed, steps)
  local random = Random.new(seed)
  local role = random:pick { "client", "server" }
  local most = random:pick { 0, 7, 1000, 20000 }
  local session, model, heard = probe.session(role, { fragmentSize = most }), newModel(role, most), {}
  for _ = 1, steps do
    local starving = random:chance(0.02)
    local action = random:pick(names)
    if starving and action ~= "output" then probe.starve(random(0, 2)) end
    local fine, problem = pcall(actions[action], session, model, random, heard)
    probe.starve()
    if not fine then error(problem, 0) end
    check(session, model)
  end
  local ending = random:pick { "peerCloses", "peerErrs", "breaksOff", "closes" }
  endings[ending](session, model, role)
  drain(session, model, random, heard)
  model.said[#model.said + 1] = model.closing
  assert.same(model.said, words(table.concat(heard)))
  assert.is_false(session:pending())
end

local function try(seed, steps)
  local fine, problem = pcall(converse, seed, steps)
  if not fine then error(("seed %d: %s"):format(seed, tostring(type(problem) == "table" and problem.message or problem)), 0) end
end

describe("what a session has to send", function()
  it("goes in its order, whatever is queued and however it is taken", function()
    for seed = 1, 60 do try(seed, 30) end
  end)
end)
