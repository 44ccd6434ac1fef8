-- The chat room's journal: what was committed is there after a restart, what was not is not, and it does not grow
-- without end. What is in the file is judged by sqlite3 of Python.

local helper = require "spec.helper"

local journals = dofile(helper.root .. "/examples/chat/journal.lua")

local folder, file, opened

local function open(name, own)
  local journal = journals.open(name or file, own)
  opened[#opened + 1] = journal
  return journal
end

local function said(seq, text, id)
  return { type = "said", seq = seq, from = "ann", text = text or "line " .. seq, time = 1764000000000 + seq, id = id }
end

--- Lines first to last of a room, one transaction each when `apart`.
local function fill(journal, room, first, last, apart)
  for seq = first, last do
    journal:line(room, said(seq))
    if apart then assert(journal:commit()) end
  end
  assert(journal:commit())
end

local function seqs(lines)
  local list = {}
  for i, line in ipairs(lines) do list[i] = line.seq end
  return list
end

--- What Python's sqlite3 answers to a query, as JSON; the journal must be closed.
local function ask(query)
  local script = "import sqlite3, sys, json; print(json.dumps(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall()))"
  return (helper.run(("%s -c %s %s %s"):format(helper.python(), helper.quote(script), helper.quote(file),
    helper.quote(query))):gsub("\n$", ""))
end

before_each(function()
  opened, folder = {}, helper.directory()
  file = folder .. "/it's a journal.sqlite"
end)

after_each(function()
  for _, journal in ipairs(opened) do journal:close() end
  helper.remove(folder)
end)

-- Both kinds keep the same promises while they are open.
for _, kind in ipairs { "memory", "file" } do
  describe("a journal in " .. kind, function()
    local journal
    before_each(function() journal = open(kind == "memory" and "memory" or nil) end)

    it("gives back what it was given, each field as it came", function()
      local lines = {
        said(1, "Grüße, 日本 👩‍👩‍👧‍👦", "a-1"), said(2, "it's \"quoted\"; DROP TABLE lines; --", 7), said(3), said(4, "?", "7"),
      }
      for _, line in ipairs(lines) do journal:line("lobby", line) end
      assert.same(lines, journal:recall("lobby", 1, 100)) -- also before it is written
      assert.is_true(journal:commit())
      assert.same(lines, journal:recall("lobby", 1, 100))
      assert.equal("integer", math.type(journal:recall("lobby", 1, 1)[1].time))
    end)

    it("gives the lines from a number on, and the last of them if they are many", function()
      fill(journal, "lobby", 1, 10)
      journal:line("lobby", said(11))
      journal:line("garden", said(1))
      assert.same({ 9, 10, 11 }, seqs(journal:recall("lobby", 9, 100)))
      assert.same({ 10, 11 }, seqs(journal:recall("lobby", 9, 2)))
      assert.same({}, journal:recall("lobby", 12, 100))
      assert.same({}, journal:recall("nowhere", 1, 100))
    end)

    it("knows how far the messages of a session are taken, also before it is written", function()
      assert.is_nil(journal:taken "0123456789abcdef")
      journal:session("0123456789abcdef", 9007199254740991, "lobby", "ann")
      assert.equal(9007199254740991, journal:taken "0123456789abcdef")
      assert.is_true(journal:commit())
      assert.equal(9007199254740991, journal:taken "0123456789abcdef")
      journal:forget "0123456789abcdef"
      assert.is_nil(journal:taken "0123456789abcdef")
      assert.is_true(journal:commit())
      assert.is_nil(journal:taken "0123456789abcdef")
    end)

    it("keeps so many lines of a room", function()
      local small = open(kind == "memory" and "memory" or folder .. "/small", { lines = 5 })
      fill(small, "lobby", 1, 12, true)
      assert.same({ 8, 9, 10, 11, 12 }, seqs(small:recall("lobby", 1, 100)))
      fill(small, "garden", 1, 12)
      assert.same({ 8, 9, 10, 11, 12 }, seqs(small:recall("garden", 1, 100)))
    end)

    it("keeps so many rooms, and forgets the one nothing was said in the longest", function()
      local small = open(kind == "memory" and "memory" or folder .. "/small", { rooms = 2 })
      fill(small, "one", 1, 2)
      fill(small, "two", 1, 2)
      fill(small, "one", 3, 3)
      fill(small, "three", 1, 1)
      assert.same({}, small:recall("two", 1, 100))
      assert.same({ 1, 2, 3 }, seqs(small:recall("one", 1, 100)))
      assert.same({ 1 }, seqs(small:recall("three", 1, 100)))
      fill(small, "two", 1, 1) -- it begins anew
      assert.same({ 1 }, seqs(small:recall("two", 1, 100)))
      assert.same({}, small:recall("one", 1, 100))
    end)

    it("keeps so many sessions that sit nowhere, the latest, and all that sit somewhere", function()
      local small = open(kind == "memory" and "memory" or folder .. "/small", { sessions = 3 })
      for i = 1, 6 do
        small:session("session-number-" .. i, i, i <= 2 and "lobby" or nil, i <= 2 and "guest " .. i or nil)
        assert.is_true(small:commit())
      end
      local known = {}
      for i = 1, 6 do known[i] = small:taken("session-number-" .. i) or false end
      assert.same({ 1, 2, false, false, false, 6 }, known)
    end)
  end)
end

describe("a journal in a file", function()
  it("goes on after a restart with what was committed, and nothing else", function()
    local journal = open()
    fill(journal, "lobby", 1, 3)
    journal:session("0123456789abcdef", 3, "lobby", "ann")
    journal:session("fedcba9876543210", 2)
    assert.is_true(journal:commit())
    journal:line("lobby", said(4))
    journal:session("0123456789abcdef", 4, "lobby", "ann")
    journal:close()
    local again = open()
    assert.same({ said(1), said(2), said(3) }, again:recall("lobby", 1, 100))
    assert.equal(3, again:taken "0123456789abcdef")
    assert.same({ { id = "0123456789abcdef", room = "lobby", name = "ann" } }, again:seats())
  end)

  it("survives kill -9 in the middle of a transaction #foreign", function()
    local peer = helper.peer(helper.lua(("- %s <<'END'\n%s\nEND"):format(helper.quote(file), [[
      local journals = dofile(']] .. helper.root .. [[/examples/chat/journal.lua')
      local journal = journals.open((...))
      for seq = 1, math.huge do
        for part = 0, 2 do
          journal:line("lobby", { seq = 3 * seq - 2 + part, from = "ann", text = ("x"):rep(500), time = 1 })
        end
        journal:session("0123456789abcdef", seq, "lobby", "ann")
        assert(journal:commit())
        io.stdout:write(seq, "\n")
        io.stdout:flush()
      end]])))
    for _ = 1, 50 do peer:line() end
    peer:signal "KILL"
    peer:wait()
    -- The writer is a grandchild, which a busy machine may take a moment to bury.
    local journal = helper.await(function()
      local fine, result = pcall(open)
      return fine and result
    end) or open()
    local lines, taken = journal:recall("lobby", 1, 100000), journal:taken "0123456789abcdef"
    assert.is_true(taken >= 50)
    assert.equal(3 * taken, lines[#lines].seq) -- whole transactions
    for i = 2, #lines do assert.equal(lines[i - 1].seq + 1, lines[i].seq) end
  end)

  it("is an ordinary database, only for its owner #foreign", function()
    local journal = open()
    journal:line("lobby", said(1, "hello", "a-1"))
    journal:line("lobby", said(2, "again", 7))
    assert.is_true(journal:commit())
    assert.matches("^%-rw%-%-%-%-%-%-%-", (helper.run("ls -l " .. helper.quote(file))))
    assert.matches("^%-rw%-%-%-%-%-%-%-", (helper.run("ls -l " .. helper.quote(file .. "-wal"))))
    journal:close()
    assert.equal('[["lobby", 1, "ann", "hello", 1764000000001, "a-1"], ["lobby", 2, "ann", "again", 1764000000002, 7.0]]',
      ask "SELECT * FROM lines ORDER BY seq")
  end)

  it("keeps everything for the next commit when one fails", function()
    local journal = open()
    fill(journal, "lobby", 1, 2)
    journal:line("lobby", said(3))
    journal:line("lobby", said(3)) -- no room has a number twice
    journal:session("0123456789abcdef", 5, "lobby", "ann")
    for _ = 1, 2 do
      local fine, problem = journal:commit()
      assert.is_false(fine)
      assert.matches("UNIQUE", problem)
    end
    table.remove(journal.pending.lines)
    journal:line("lobby", said(4))
    assert.is_true(journal:commit())
    assert.same({ 1, 2, 3, 4 }, seqs(journal:recall("lobby", 1, 100)))
    assert.equal(5, journal:taken "0123456789abcdef")
  end)

  it("writes lines and how far sessions are taken together, or neither", function()
    local journal = open()
    journal:line("lobby", said(1))
    journal:session("0123456789abcdef", nil) -- no session is like that
    assert.is_false((journal:commit()))
    journal:close()
    journal = open()
    assert.same({}, journal:recall("lobby", 1, 100))
    assert.is_nil(journal:taken "0123456789abcdef")
  end)

  it("is for one at a time", function()
    open()
    local fine, problem = pcall(open)
    assert.is_false(fine)
    assert.matches("journal .* cannot be used: it is in use", problem)
  end)

  -- what stands in the file, and what is said of it
  for _, case in ipairs {
    { "no database", function() helper.write(file, ("no database"):rep(1000)) end, "not a database" },
    { "somebody else's", function() ask "CREATE TABLE other (a)" end, "somebody else's database" },
    { "one of a newer server", function() ask "PRAGMA user_version = 2" end, "a newer chat server wrote it" },
    { "in a folder that is not there", function() file = folder .. "/nowhere/journal" end, "it cannot be written" },
  } do
    it("says what is wrong with " .. case[1] .. ", and leaves it alone", function()
      case[2]()
      local before = pcall(helper.read, file) and helper.read(file)
      local fine, problem = pcall(open)
      assert.is_false(fine)
      assert.matches(case[3], problem, 1, true)
      assert.matches(file, problem, 1, true)
      assert.equal(before, pcall(helper.read, file) and helper.read(file))
    end)
  end
end)
