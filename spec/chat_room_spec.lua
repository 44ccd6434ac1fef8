-- The rules of the chat room, without a socket: messages go in by hand, the clock is a variable, and everything that
-- would have been sent stands in a list.

local helper = require "spec.helper"

local room = dofile(helper.root .. "/examples/chat/room.lua")

--- A hall whose people are strings; `heard.ann` lists what ann was sent.
local function newHall(limits)
  local world = { clock = 0, heard = {}, topics = {} }

  function world.told(person, message)
    world.heard[person] = world.heard[person] or {}
    table.insert(world.heard[person], message)
  end

  local hall = room.new {
    send = world.told,
    publish = function(name, message, except)
      for person in pairs(world.topics[name] or {}) do
        if person ~= except then world.told(person, message) end
      end
    end,
    enter = function(person, name)
      world.topics[name] = world.topics[name] or {}
      world.topics[name][person] = true
    end,
    leave = function(person, name) world.topics[name][person] = nil end,
    now = function() return world.clock end,
    time = function() return 1700000000000 + world.clock end,
    limits = limits,
  }

  --- Sends as this person, a second after whatever came before, and returns what they were answered.
  function world.receive(person, message)
    world.clock = world.clock + 1000
    world.heard[person] = {}
    hall:receive(person, message)
    return world.heard[person][1]
  end

  function world.join(person, name, into)
    return world.receive(person, { type = "join", room = into or "lobby", name = name or person })
  end

  function world.say(person, text, id)
    return world.receive(person, { type = "say", text = text, id = id })
  end

  function world.forget() world.heard = {} end

  world.hall = hall
  return world
end

--- The types of what somebody was sent, in order.
local function types(messages)
  local list = {}
  for i, message in ipairs(messages or {}) do list[i] = message.type end
  return list
end

local function assertError(code, answer)
  assert.is_table(answer, "no answer at all")
  assert.are.equal("error", answer.type)
  assert.are.equal(code, answer.code)
  assert.are.equal("string", type(answer.message))
  assert.is_true(#answer.message > 0)
end

describe("joining a room", function()
  it("is answered with a welcome that names everybody there, the newcomer included", function()
    local world = newHall()
    assert.are.same({ type = "welcome", room = "lobby", you = "ann", people = { "ann" }, history = {} },
      world.join("ann"))
    assert.are.same({ "ann", "bob" }, world.join("bob").people)
  end)

  it("tells the others, and not the newcomer", function()
    local world = newHall()
    world.join("ann")
    world.forget()
    world.join("bob")
    assert.are.same({ { type = "joined", name = "bob" } }, world.heard.ann)
    assert.are.same({ "welcome" }, types(world.heard.bob))
  end)

  it("tells nobody in other rooms", function()
    local world = newHall()
    world.join("ann", "ann", "garden")
    world.forget()
    world.join("bob", "bob", "lobby")
    assert.is_nil(world.heard.ann)
  end)

  it("takes the spaces around a name away and says so in the welcome", function()
    local world = newHall()
    local welcome = world.join("ann", "  ann of green gables ", " lobby ")
    assert.are.equal("ann of green gables", welcome.you)
    assert.are.equal("lobby", welcome.room)
  end)

  it("again under the same name changes nothing and brings a fresh welcome", function()
    local world = newHall()
    world.join("ann")
    world.join("bob")
    world.forget()
    assert.are.same({ "ann", "bob" }, world.join("ann").people)
    assert.is_nil(world.heard.bob)
  end)

  it("again under another name is a left and a joined, and frees the old name", function()
    local world = newHall()
    world.join("ann")
    world.join("bob")
    world.forget()
    assert.are.equal("anna", world.join("ann", "anna").you)
    assert.are.same({ { type = "left", name = "ann" }, { type = "joined", name = "anna" } }, world.heard.bob)
    assert.are.equal("welcome", world.join("cid", "ann").type)
  end)

  it("of another room leaves the first one", function()
    local world = newHall()
    world.join("ann")
    world.join("bob")
    world.forget()
    assert.are.equal("garden", world.join("ann", "ann", "garden").room)
    assert.are.same({ { type = "left", name = "ann" } }, world.heard.bob)
    world.forget()
    world.say("bob", "alone?")
    assert.is_nil(world.heard.ann)
  end)

  it("that fails leaves everything as it was", function()
    local world = newHall()
    world.join("ann")
    world.join("bob")
    world.join("cid", "cid", "garden")
    world.forget()
    assertError("name-taken", world.join("bob", "cid", "garden"))
    assert.is_nil(world.heard.ann)
    assert.are.equal("said", world.say("bob", "still here").type)
    assert.are.equal("said", world.heard.ann[1].type)
  end)
end)

describe("a name", function()
  it("is unique in its room", function()
    local world = newHall()
    world.join("ann", "sam")
    assertError("name-taken", world.join("bob", "sam"))
  end)

  it("may be used in another room at the same time", function()
    local world = newHall()
    world.join("ann", "sam", "lobby")
    assert.are.equal("welcome", world.join("bob", "sam", "garden").type)
  end)

  it("cannot be taken by writing it a little differently", function()
    local noBreakSpace, joiner, variation = "\194\160", "\226\128\141", "\239\184\143"
    for _, other in ipairs {
      "SAM smith", " Sam  Smith", "Sam" .. noBreakSpace .. "Smith", "Sam" .. joiner .. " Smith", "Sam Smith" .. variation,
    } do
      local world = newHall()
      world.join("ann", "Sam Smith")
      assertError("name-taken", world.join("bob", other))
    end
  end)

  it("becomes free on leaving, with left, and not before", function()
    local world = newHall()
    world.join("ann", "sam")
    world.join("bob")
    assertError("name-taken", world.join("cid", "sam"))
    world.forget()
    world.hall:depart("ann")
    assert.are.same({ { type = "left", name = "sam" } }, world.heard.bob)
    assert.are.equal("welcome", world.join("cid", "sam").type)
  end)

  it("of somebody who left is no longer among the people", function()
    local world = newHall()
    world.join("ann")
    world.join("bob")
    world.join("cid")
    world.hall:depart("bob")
    assert.are.same({ "ann", "cid", "dan" }, world.join("dan").people)
  end)
end)

describe("leaving", function()
  it("without ever having joined tells nobody", function()
    local world = newHall()
    world.join("ann")
    world.say("bob", "hello?")
    world.forget()
    world.hall:depart("bob")
    world.hall:depart("nobody")
    assert.is_nil(world.heard.ann)
  end)

  it("twice is once", function()
    local world = newHall()
    world.join("ann")
    world.join("bob")
    world.forget()
    world.hall:depart("bob")
    world.hall:depart("bob")
    assert.are.same({ "left" }, types(world.heard.ann))
  end)
end)

describe("what is said", function()
  it("reaches everybody in the room, the speaker included, with who, when and its number", function()
    local world = newHall()
    world.join("ann")
    world.join("bob")
    world.forget()
    local said = world.say("ann", "good evening", "a-1")
    assert.are.same({
      type = "said", seq = 1, from = "ann", text = "good evening", time = 1700000000000 + world.clock, id = "a-1",
    }, said)
    assert.are.same({ said }, world.heard.bob)
  end)

  it("is counted per room, without gaps, whatever was refused in between", function()
    local world = newHall()
    world.join("ann")
    world.join("bob", "bob", "garden")
    local seqs = {}
    for i = 1, 5 do
      seqs[i] = world.say("ann", "number " .. i).seq
      world.say("ann", "")
      world.say("bob", "elsewhere")
    end
    assert.are.same({ 1, 2, 3, 4, 5 }, seqs)
  end)

  it("goes on counting when the room has been empty", function()
    local world = newHall()
    world.join("ann")
    world.say("ann", "one")
    world.hall:depart("ann")
    local welcome = world.join("bob")
    assert.are.equal("one", welcome.history[1].text)
    assert.are.equal(2, world.say("bob", "two").seq)
  end)

  it("is remembered, the last hundred messages of it, oldest first", function()
    local world = newHall()
    world.join("ann")
    for i = 1, 103 do world.say("ann", "line " .. i, i) end
    local history = world.join("bob").history
    assert.are.equal(100, #history)
    for i = 1, 100 do
      assert.are.equal(i + 3, history[i].seq)
      assert.are.equal("line " .. i + 3, history[i].text)
      assert.are.equal(i + 3, history[i].id)
    end
  end)

  it("does not change in a welcome that was sent earlier", function()
    local world = newHall()
    world.join("ann")
    world.say("ann", "one")
    local welcome = world.join("bob")
    world.say("ann", "two")
    assert.are.equal(1, #welcome.history)
  end)

  it("may be said without an id", function()
    local world = newHall()
    world.join("ann")
    assert.is_nil(world.say("ann", "hello").id)
  end)

  it("needs a room", function()
    local world = newHall()
    local answer = world.say("ann", "hello", "a-1")
    assertError("not-joined", answer)
    assert.are.equal("a-1", answer.id)
  end)
end)

describe("typing", function()
  it("is told to the others only", function()
    local world = newHall()
    world.join("ann")
    world.join("bob")
    world.forget()
    assert.is_nil(world.receive("ann", { type = "typing" }))
    assert.are.same({ { type = "typing", name = "ann" } }, world.heard.bob)
  end)

  it("needs a room", function()
    assertError("not-joined", newHall().receive("ann", { type = "typing" }))
  end)
end)

describe("a ping", function()
  it("is answered with a pong, joined or not", function()
    local world = newHall()
    assert.are.same({ type = "pong" }, world.receive("ann", { type = "ping" }))
    world.join("ann")
    assert.are.same({ type = "pong" }, world.receive("ann", { type = "ping" }))
  end)
end)

-- What may not be in a name, a room or a text, whoever sends it.
local wrong = {
  { "nothing", nil },
  { "a number", 7 },
  { "a table", { "ann" } },
  { "a boolean", true },
  { "an empty string", "" },
  { "spaces only", "   " },
  { "spaces nobody sees: no-break, zero width, ideographic", "\194\160\226\128\139\227\128\128" },
  { "a NUL", "a\0b" },
  { "a newline", "a\nb" },
  { "a tab", "a\tb" },
  { "an escape", "\27[31mred" },
  { "a DEL", "a\127" },
  { "a C1 control: CSI as UTF-8", "a\194\1552J" },
  { "the last C1 control", "a\194\159" },
  { "a line separator", "a\226\128\168b" },
  { "a right-to-left override", "\226\128\174exe.txt" },
  { "an isolate", "a\226\129\166b" },
  { "bytes that are no UTF-8", "caf\233" },
  { "an overlong NUL", "a\192\128" },
  { "an overlong character of three bytes", "a\224\159\191" },
  { "an overlong character of four bytes", "a\240\143\191\191" },
  { "a surrogate", "\237\160\128" },
  { "a character cut short", "a\226\130" },
  { "a character past U+10FFFF", "\244\144\128\128" },
}

describe("a bad", function()
  for _, case in ipairs(wrong) do
    local what, value = case[1], case[2]

    it("name is refused: " .. what, function()
      assertError("bad-name", newHall().receive("ann", { type = "join", room = "lobby", name = value }))
    end)

    it("room is refused: " .. what, function()
      assertError("bad-room", newHall().receive("ann", { type = "join", room = value, name = "ann" }))
    end)

    it("text is refused and handed back by its id: " .. what, function()
      local world = newHall()
      world.join("ann")
      world.join("bob")
      world.forget()
      local answer = world.say("ann", value, "a-1")
      assertError("bad-text", answer)
      assert.are.equal("a-1", answer.id)
      assert.is_nil(world.heard.bob)
    end)
  end

  it("name is refused: one with an invisible character", function()
    for _, invisible in ipairs {
      "\226\128\139", "\194\173", "\239\187\191", "\226\128\142", "\227\133\164", "\243\160\129\129",
    } do
      assertError("bad-name", newHall().join("ann", "an" .. invisible .. "n"))
    end
  end)

  it("id is refused", function()
    local world = newHall()
    world.join("ann")
    for _, id in ipairs { "", "a\nb", ("x"):rep(65), 1.5, 1e14, 0 / 0, math.huge, {}, true } do
      local answer = world.say("ann", "hello", id)
      assertError("bad-id", answer)
      assert.is_nil(answer.id)
    end
    assert.are.equal(1, world.say("ann", "hello", ("x"):rep(64)).seq)
  end)
end)

describe("a text people write every day is taken as it is:", function()
  for _, text in ipairs {
    "Grüße aus Köln", "日本語もどうぞ", "مرحبا بكم", "👩‍👩‍👧‍👦 ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "<b>not bold</b> & \"quoted\" \\ back",
    "می‌خواهم", "\239\191\191 and \244\143\191\191", "  with spaces around  ",
  } do
    it(text, function()
      local world = newHall()
      world.join("ann")
      assert.are.equal(text, world.say("ann", text).text)
    end)
  end

  it("and as a name", function()
    for _, name in ipairs { "Zoë", "日本", "👩‍🚀", "O'Neil", "a.b_c-d" } do
      assert.are.equal(name, newHall().join("ann", name).you)
    end
  end)
end)

describe("a length limit", function()
  it("counts characters, not bytes, and is the last that is let through", function()
    local world = newHall()
    assert.are.equal("welcome", world.join("ann", ("é"):rep(32), ("語"):rep(32)).type)
    assertError("bad-name", world.join("bob", ("é"):rep(33)))
    assertError("bad-room", world.join("bob", "bob", ("é"):rep(33)))
    assert.are.equal("said", world.say("ann", ("😀"):rep(2000)).type)
    assertError("bad-text", world.say("ann", ("x"):rep(2001)))
  end)

  it("holds for a text of a megabyte too", function()
    local world = newHall()
    world.join("ann")
    assertError("bad-text", world.say("ann", ("x"):rep(1024 * 1024)))
  end)
end)

describe("a message nobody can make sense of", function()
  it("is answered with bad-json when it could not be decoded or is no object", function()
    for _, message in ipairs { false, "text", 7 } do
      assertError("bad-json", newHall().receive("ann", message))
    end
    assertError("bad-json", newHall().receive("ann", nil))
  end)

  it("is answered with unknown-type when its type is unknown, missing or no string", function()
    for _, kind in ipairs { "shout", "", "Join", "welcome", 1, true, {} } do
      assertError("unknown-type", newHall().receive("ann", { type = kind }))
    end
    assertError("unknown-type", newHall().receive("ann", {}))
    assertError("unknown-type", newHall().receive("ann", { "join" }))
  end)
end)

describe("a flood", function()
  local function flood(world, count, message)
    world.heard.ann = {}
    for _ = 1, count do world.hall:receive("ann", message) end
    return types(world.heard.ann)
  end

  local function count(list, kind)
    local n = 0
    for _, each in ipairs(list) do n = n + (each == kind and 1 or 0) end
    return n
  end

  it("gets slow-down for every message over twenty in a second", function()
    local world = newHall()
    local answers = flood(world, 30, { type = "ping" })
    assert.are.equal(20, count(answers, "pong"))
    assert.are.equal(10, count(answers, "error"))
    assertError("slow-down", world.heard.ann[21])
  end)

  it("is measured over any second, not from tick to tick", function()
    local world = newHall()
    flood(world, 10, { type = "ping" })
    world.clock = 900
    assert.are.equal(10, count(flood(world, 20, { type = "ping" }), "pong"))
    world.clock = 1000
    assert.are.equal(10, count(flood(world, 20, { type = "ping" }), "pong"))
    world.clock = 1899
    assert.are.equal(0, count(flood(world, 1, { type = "ping" }), "pong"))
  end)

  it("is thinned out, not shut out: what was refused does not count", function()
    local world = newHall()
    local through = 0
    for millisecond = 0, 9999 do
      world.clock = millisecond
      through = through + count(flood(world, 1, { type = "ping" }), "pong")
    end
    assert.are.equal(200, through)
  end)

  it("counts nonsense as well", function()
    local world = newHall()
    flood(world, 20, nil)
    assert.are.same({ "error" }, flood(world, 1, { type = "ping" }))
    assertError("slow-down", world.heard.ann[1])
  end)

  it("names the message that was not said", function()
    local world = newHall()
    world.join("ann")
    world.clock = world.clock + 1000
    flood(world, 20, { type = "ping" })
    flood(world, 1, { type = "say", text = "hello", id = "a-1" })
    assert.are.equal("a-1", world.heard.ann[1].id)
    flood(world, 1, { type = "say", text = "hello", id = { "nested" } })
    assert.is_nil(world.heard.ann[1].id)
  end)

  it("costs the others nothing", function()
    local world = newHall()
    world.join("ann")
    world.join("bob")
    flood(world, 100, { type = "ping" })
    assert.are.equal("said", world.say("bob", "calm").type)
  end)
end)

describe("the memory of the hall", function()
  it("ends at so many rooms; the one empty the longest makes room", function()
    local world = newHall { rooms = 3 }
    world.join("ann", "ann", "one")
    world.join("bob", "bob", "two")
    world.say("bob", "kept")
    world.join("cid", "cid", "three")
    assertError("too-many-rooms", world.join("dan", "dan", "four"))
    world.hall:depart("cid")
    world.hall:depart("bob")
    assert.are.equal("welcome", world.join("dan", "dan", "four").type)
    assert.are.equal("kept", world.join("eve", "eve", "two").history[1].text)
    assertError("too-many-rooms", world.join("fay", "fay", "three"))
  end)

  it("ends at so many rooms without people", function()
    local world = newHall { emptyRooms = 2 }
    for _, name in ipairs { "one", "two", "three" } do
      world.join("ann", "ann", name)
      world.say("ann", "in " .. name)
    end
    world.hall:depart("ann")
    assert.are.same({}, world.join("ann", "ann", "one").history)
    assert.are.equal("in three", world.join("ann", "ann", "three").history[1].text)
  end)

  it("does so when somebody walks through many of them", function()
    local world = newHall { emptyRooms = 2 }
    for i = 1, 20 do
      world.join("ann", "ann", "room " .. i)
      assert.is_true(world.hall.roomCount <= 3)
    end
  end)

  it("keeps a room whose only guest takes another name", function()
    local world = newHall { rooms = 1, emptyRooms = 0 }
    world.join("ann")
    world.say("ann", "mine")
    assert.are.equal("mine", world.join("ann", "anna").history[1].text)
    assert.are.equal(2, world.say("ann", "still mine").seq)
  end)

  it("is empty again when everybody has come and gone", function()
    local world = newHall { emptyRooms = 0 }
    for i = 1, 50 do
      world.join("p" .. i, "p" .. i, "room " .. i % 7)
      world.say("p" .. i, "hello")
    end
    for i = 1, 50 do world.hall:depart("p" .. i) end
    assert.is_nil(next(world.hall.guests))
    assert.is_nil(next(world.hall.rooms))
    assert.are.equal(0, world.hall.roomCount)
    assert.are.equal(0, world.hall.emptyCount)
  end)

  it("ends at so many people in a room", function()
    local world = newHall { people = 2 }
    world.join("ann")
    world.join("bob")
    assertError("room-full", world.join("cid"))
    assert.are.equal("welcome", world.join("bob", "bobby").type)
    world.hall:depart("ann")
    assert.are.equal("welcome", world.join("cid").type)
  end)
end)

describe("a hall that goes on from an earlier one", function()
  --- What an earlier hall has left of a room.
  local function past(first, last)
    local lines = {}
    for seq = first, last do
      lines[#lines + 1] = { type = "said", seq = seq, from = "ann", text = "line " .. seq, time = seq }
    end
    return lines
  end

  --- A hall over these lines, which are kept on; `world.asked` is what it wanted to know.
  local function newHallOver(rooms, limits)
    local world = newHall(limits)
    world.asked = {}
    world.hall.recall = function(name, seq, most)
      table.insert(world.asked, ("%s %d %d"):format(name, seq, most))
      local found = {}
      for _, said in ipairs(rooms[name] or {}) do
        if said.seq >= seq then found[#found + 1] = said end
      end
      while #found > most do table.remove(found, 1) end
      return found
    end
    world.hall.keep = function(name, said)
      rooms[name] = rooms[name] or {}
      table.insert(rooms[name], said)
    end
    return world
  end

  local function seqs(history)
    local list = {}
    for i, said in ipairs(history) do list[i] = said.seq end
    return list
  end

  it("knows what was said, and counts on", function()
    local rooms = { lobby = past(41, 250) }
    local world = newHallOver(rooms, { history = 3 })
    assert.are.same({ 248, 249, 250 }, seqs(world.join("bob").history))
    assert.are.same({ "lobby 1 3" }, world.asked)
    assert.are.equal(251, world.say("bob", "on and on").seq)
    assert.are.equal("on and on", rooms.lobby[#rooms.lobby].text)
    assert.are.same({ 249, 250, 251 }, seqs(world.join("cleo").history))
  end)

  it("tells one who comes back what was said from the line on they saw last", function()
    local world = newHallOver({ lobby = past(1, 250) }, { history = 3 })
    local function back(seq)
      return seqs(world.receive("bob", { type = "join", room = "lobby", name = "bob", seq = seq }).history)
    end
    local since = back(100)
    assert.are.equal(151, #since)
    assert.are.equal(100, since[1])
    assert.are.same({ 250 }, back(250))
    assert.are.equal(250, #back(0)) -- seen none, though there before anybody spoke
    -- Nothing of this room can have such a number.
    for _, seq in ipairs { 251, -1, 2.5, 1e300, "100", {} } do assert.are.same({ 248, 249, 250 }, back(seq)) end
  end)

  it("leaves the oldest out when too much was missed, by lines or by bytes", function()
    local world = newHallOver({ lobby = past(1, 250) }, { missed = 20 })
    local missed = world.receive("bob", { type = "join", room = "lobby", name = "bob", seq = 1 }).history
    assert.are.equal(20, #missed)
    assert.are.equal(250, missed[20].seq)
    world = newHallOver({ lobby = past(101, 250) }, { missedBytes = 80 })
    missed = world.receive("bob", { type = "join", room = "lobby", name = "bob", seq = 101 }).history
    assert.are.equal(10, #missed) -- of eight bytes each
    assert.are.equal(250, missed[10].seq)
  end)

  it("does the same from its own memory when nobody keeps anything", function()
    local world = newHall({ history = 3 })
    world.join("ann")
    for i = 1, 5 do world.say("ann", "line " .. i) end
    local function back(seq)
      return seqs(world.receive("ann", { type = "join", room = "lobby", name = "ann", seq = seq }).history)
    end
    assert.are.same({ 4, 5 }, back(4))
    assert.are.same({ 3, 4, 5 }, back(1))
  end)

  it("has those who sat there sit there, and tells nobody", function()
    local world = newHallOver { lobby = past(1, 2) }
    world.join("ann")
    world.forget()
    assert.is_true(world.hall:restore("one", "lobby", "Bob B."))
    assert.are.same({}, world.heard)
    assert.are.same({ "lobby", "Bob B." }, { world.hall:placeOf("one") })
    assert.are.same({}, { world.hall:placeOf("two") })
    assertError("name-taken", world.join("two", "bob b."))
    assert.are.same({ "ann", "Bob B." }, world.join("one", "Bob B.").people)
    assert.are.same({}, types(world.heard.ann))
    world.hall:depart("one")
    assert.are.same({ "left" }, types(world.heard.ann))
  end)

  it("has no place for somebody twice, in a name that is taken, or that is no name", function()
    local world = newHallOver {}
    assert.is_true(world.hall:restore("one", "lobby", "bob"))
    assert.is_false(world.hall:restore("one", "lobby", "cleo"))
    assert.is_false(world.hall:restore("two", "lobby", "BOB"))
    assert.is_false(world.hall:restore("two", "lobby", ""))
    assert.is_false(world.hall:restore("two", "\27", "cleo"))
    assert.are.same({}, { world.hall:placeOf("two") })
  end)
end)

describe("the wait before the next message", function()
  it("is none until twenty came in a second, and then as long as the flood lasts", function()
    local world = newHall()
    assert.are.equal(0, world.hall:wait("ann"))
    for i = 1, 20 do
      assert.are.equal(0, world.hall:wait("ann"))
      world.clock = i
      world.hall:receive("ann", { type = "ping" })
    end
    assert.are.equal(981, world.hall:wait("ann"))
    world.clock = 1000.5
    assert.are.equal(0.5, world.hall:wait("ann"))
    world.clock = 1001
    assert.are.equal(0, world.hall:wait("ann"))
  end)

  it("is none for a join that is part of arriving", function()
    local world = newHall()
    for _ = 1, 20 do world.hall:receive("ann", { type = "ping" }) end
    world.heard.ann = {}
    world.hall:join("ann", { type = "join", room = "lobby", name = "ann" })
    assert.are.same({ "welcome" }, types(world.heard.ann))
    assert.are.equal(1000, world.hall:wait("ann"))
  end)
end)
