-- RFC 6455 as a conformance suite has it: an endpoint that sends every message back, at the end of a peer of raw bytes,
-- right and wrong. protocol.lua has the cases; each is tried with a session, many over real sockets as well.

local desk = require "spec.server_helper"
local frames = require "spec.frames"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local probe = require "lunawire.probe"
local protocol = require "spec.conformance.protocol"
local wire = require "spec.wire"

local CHAPTERS = { "framing", "pings and pongs", "reserved bits", "opcodes", "fragmentation", "UTF-8", "the closing handshake",
  "limits", "much" }
local roles = { "server", "client" }

-- The cases of a chapter, of those that `wanted` (nil: all).
local function each(number, wanted)
  local i = 0
  return function()
    repeat i = i + 1 until not protocol.cases[i] or tonumber(protocol.cases[i].number:match "^%d+") == number
      and (not wanted or wanted(protocol.cases[i]))
    return protocol.cases[i]
  end
end

-- --- a session ----------------------------------------------------------------------------------------

for number, title in ipairs(CHAPTERS) do
  for _, role in ipairs(roles) do
    describe(("%d: %s, by a %s%s"):format(number, title, role, number == 9 and " #slow" or ""), function()
      for case in each(number) do
        it(case.number .. ": " .. case.name, function() protocol.run(case, role) end)
      end
    end)
  end
end

-- --- every order of frames ------------------------------------------------------------------------------

-- What RFC 6455, 5.4 makes of a row of frames, as a word of these letters: T and B are messages, t and b begin one,
-- c goes on, C ends it, P is a ping. Returns what must come back, and whether the row breaks the rules.
local function grammar(word)
  local back, open = {}, nil
  for letter in word:gmatch "." do
    if letter == "P" then
      back[#back + 1] = { "ping" }
    elseif letter == "c" or letter == "C" then
      if not open then return back, true end
      open[2] = open[2] .. letter
      if letter == "C" then back[#back + 1], open = open, nil end
    else
      if open then return back, true end
      local message = { letter:lower() == "t" and "text" or "binary", letter }
      if letter == letter:upper() then back[#back + 1] = message else open = message end
    end
  end
  return back, false
end

local KINDS = { T = "text", t = "text", B = "binary", b = "binary", C = "continuation", c = "continuation", P = "ping" }

local function ordered(word)
  local case = { number = word, sends = {}, gets = {} }
  for letter in word:gmatch "." do
    case.sends[#case.sends + 1] = { KINDS[letter], payload = letter, fin = letter == letter:upper() }
  end
  local back, broken = grammar(word)
  for i, message in ipairs(back) do
    case.gets[i] = message[1] == "ping" and { "pong", payload = "P" } or { message[1], payload = message[2] }
  end
  case.fails, case.apart = broken and 1002 or nil, true
  return case
end

-- All words of n letters.
local function words(n, prefix)
  if n == 0 then return coroutine.yield(prefix) end
  for letter in ("TtBbCcP"):gmatch "." do words(n - 1, prefix .. letter) end
end

describe("every order of up to five frames #slow", function()
  for _, role in ipairs(roles) do
    it("is taken, or refused at the first frame that is out of place, by a " .. role, function()
      local right, wrong = 0, 0
      for n = 1, 5 do
        for word in coroutine.wrap(function() words(n, "") end) do
          local case = ordered(word)
          protocol.run(case, role)
          if case.fails then wrong = wrong + 1 else right = right + 1 end
        end
      end
      -- how many words are right, counted by the state they end in
      local between, within, sum = 1, 0, 0
      for _ = 1, 5 do
        between, within = 3 * between + within, 2 * between + 2 * within
        sum = sum + between + within
      end
      assert.equal(sum, right)
      assert.equal(7 + 49 + 343 + 2401 + 16807 - sum, wrong)
    end)
  end
end)

-- --- real sockets -----------------------------------------------------------------------------------------

-- What comes of a case over a connection: all frames up to the Close, with which the peer ends one that is right.
local function converse(case, peer, role, how)
  if not case.fails and not case.closes then
    case = setmetatable({ sends = { table.unpack(case.sends) }, closes = frames.closing(1000) }, { __index = case })
    case.sends[#case.sends + 1] = { "close", payload = case.closes }
  end
  local bytes = protocol.arriving(case, role)
  peer:say(bytes, how)
  local list = {}
  repeat
    local frame = assert(peer:next(), "the stream ended without a Close")
    assert(frame.fin and frame.rsv == 0 and (frame.key ~= nil) == (role == "client"), "a wrong header")
    local raw = frame.key and frames.mask(frame.payload, frame.key) or frame.payload
    list[#list + 1] = { opcode = frame.opcode, raw = raw, key = frame.key }
  until frame.opcode == 8
  protocol.judge(case, list)
  return case
end

local function expected(case)
  return case.fails and ("error protocol %d; close 1006  unclean"):format(case.fails)
    or ("close %d %s clean"):format(case.closes == "" and 1005 or string.unpack(">I2", case.closes), case.closes:sub(3))
end

-- A server of ours on `server`, at `port` of which it is met.
local function meetServer(case, server, port, how)
  local heard = {}
  server.onsocketerror = function(event) heard[#heard + 1] = wire.words(event) end
  server.onsocketclose = function(event) heard[#heard + 1], heard.over = wire.words(event), true end
  local peer = wire.client(port)
  case = converse(case, peer, "server", how)
  local ended, left = peer:finish() -- the server ends first (7.1.1)
  assert.equal("eof", ended)
  assert.equal("", left)
  peer:close()
  wire.await(function() return heard.over end, "close")
  assert.equal(expected(case), table.concat(heard, "; "))
end

-- A client of ours, which `server` meets under `url`.
local function meetClient(case, server, url, options, how)
  local ws, heard = lunawire.WebSocket(url, nil, options), {}
  ws.onmessage = function(event) ws:send(event.data, { binary = event.binary }) end
  ws.onerror = function(event) heard[#heard + 1] = wire.words(event) end
  ws.onclose = function(event) heard[#heard + 1], heard.over = wire.words(event), true end
  local peer = server:open()
  wire.await(function() return ws.readyState == 1 end, "open")
  case = converse(case, peer, "client", how)
  peer:shutdown()
  local _, left = peer:finish()
  assert.equal("", left)
  peer:close()
  wire.await(function() return heard.over end, "close")
  assert.equal(expected(case), table.concat(heard, "; "))
end

local function echo(event) event.target:send(event.data, { binary = event.binary }) end

for number, title in ipairs(CHAPTERS) do
  local count = 0
  -- every case whole, every fifth one byte at a time as well
  local function tried(run)
    for case in each(number, function(case) return case.wire end) do
      count = count + 1
      run(case, "whole")
      if count % 5 == 0 and #protocol.arriving(case, "server") < 400 then run(case, "one byte at a time") end
    end
  end

  describe(("%d: %s, over TCP"):format(number, title), function()
    before_each(desk.open)
    after_each(desk.clear)

    it("by a server #slow", function()
      local server = desk.listen()
      server.onmessage = echo
      tried(function(case, how) meetServer(case, server, server.port, how) end)
    end)

    it("by a client #slow", function()
      local server = wire.server()
      tried(function(case, how) meetClient(case, server, server.url, nil, how) end)
    end)
  end)
end

describe("over TLS #foreign #slow", function()
  local certs
  setup(function() certs = pki.new() end)
  teardown(function() certs:close() end)
  before_each(desk.open)
  after_each(desk.clear)

  local function pipe(arguments)
    local script = helper.quote(helper.root .. "/spec/peers/tls_pipe.py")
    local process = helper.peer(("exec %s %s %s"):format(helper.python(), script, arguments))
    desk.finally(function() process:stop() end)
    return tonumber(process:line())
  end

  -- The first case of every section that is for sockets, every third one byte at a time.
  local function sample(run)
    local before, nth = nil, 0
    for _, case in ipairs(protocol.cases) do
      local section = case.number:match "^%d+%.%d+"
      if case.wire and section ~= before then
        before, nth = section, nth + 1
        run(case, nth % 3 == 0 and "one byte at a time" or "whole")
      end
    end
    assert.is_true(nth > 25, nth)
  end

  it("a server does the same, with one case of each section", function()
    local server = desk.listen { tls = { cert = certs:cert "good", key = certs:key "good" } }
    server.onmessage = echo
    local port = pipe("connect " .. server.port)
    sample(function(case, how) meetServer(case, server, port, how) end)
  end)

  it("a client does the same, with one case of each section", function()
    local server = wire.server()
    local port = pipe(("listen %d %s %s"):format(server.port, helper.quote(certs:cert "good"), helper.quote(certs:key "good")))
    local options = { tls = { ca = certs:cert "root" } }
    sample(function(case, how) meetClient(case, server, ("wss://127.0.0.1:%d/"):format(port), options, how) end)
  end)
end)

-- --- the table itself -----------------------------------------------------------------------------------

describe("the cases", function()
  it("are over a thousand for each role, each number once, and a fourth of them go over real sockets", function()
    local seen, wired = {}, 0
    for _, case in ipairs(protocol.cases) do
      assert.is_nil(seen[case.number])
      seen[case.number] = true
      if case.wire then wired = wired + 1 end
    end
    assert.is_true(#protocol.cases > 1000, #protocol.cases)
    assert.is_true(wired * 4 > #protocol.cases, wired)
  end)

  it("have a reference for UTF-8 that knows what Lua's utf8.len does", function()
    for a = 0, 255 do
      for b = 0, 255 do
        local two = string.char(a, b)
        if (protocol.flaw(two) == nil) ~= (utf8.len(two) ~= nil) then error(frames.dump(two)) end
      end
    end
  end)

  it("fail where the answer is another", function()
    local case = { number = "0", sends = { { "text", payload = "a" } }, gets = { { "text", payload = "b" } } }
    assert.has_error(function() protocol.run(case, "server") end)
    case.gets = {}
    assert.has_error(function() protocol.run(case, "server") end)
    case.gets = { { "binary", payload = "a" } }
    assert.has_error(function() protocol.run(case, "client") end)
    case.gets, case.fails = { { "text", payload = "a" } }, 1002
    assert.has_error(function() protocol.run(case, "client") end)
    case.fails, case.closes = nil, ""
    assert.has_error(function() protocol.run(case, "server") end)
    assert.equal("open", probe.session("server"):state())
  end)
end)
