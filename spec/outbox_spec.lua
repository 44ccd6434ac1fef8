-- A queue of messages that knows their bytes.

local outbox = require "lunawire.outbox"

local function message(text, ends) return { data = text, size = #text, held = #text, ends = ends } end

local function filled(...)
  local box = outbox.new()
  for _, text in ipairs { ... } do box:put(message(text)) end
  return box
end

-- What is in it, oldest first; it is empty then.
local function content(box)
  local parts = {}
  while box.count > 0 do
    assert.equal(box:oldest(), box[box.first])
    parts[#parts + 1] = box:take().data
  end
  assert.is_nil(box:oldest())
  assert.same({ 0, 0 }, { box.count, box.bytes })
  return table.concat(parts, " ")
end

describe("an outbox", function()
  it("gives what was put, in order, and counts", function()
    local box = filled("a", "", "ccc")
    assert.same({ 3, 4 }, { box.count, box.bytes })
    assert.equal("a", box:take().data)
    assert.same({ 2, 3 }, { box.count, box.bytes })
    box:put(message "dd")
    assert.equal(" ccc dd", content(box))
    assert.equal("", content(box))
  end)

  it("takes back what was there before all others", function()
    local box = filled("c", "d")
    local other = filled("a", "bb")
    box:takeBack(other)
    assert.same({ 4, 5, 0, 0 }, { box.count, box.bytes, other.count, other.bytes })
    box:takeBack(other)
    assert.equal("a bb c d", content(box))
    box:takeBack(filled "x")
    box:put(message "y")
    assert.equal("x y", content(box))
  end)

  it("has room for a message once it was made, which is none of its messages", function()
    local box = filled "a"
    box:makeRoom()
    assert.same({ 1, 1 }, { box.count, box.bytes })
    collectgarbage()
    collectgarbage "stop"
    local one = message "b"
    local before = collectgarbage "count"
    box:put(one)
    local after = collectgarbage "count"
    collectgarbage "restart"
    assert.equal(before, after)
    assert.equal("a b", content(box))
  end)

  it("forgets what has left", function()
    for sent, left in pairs {
      [0] = "a b c", [9] = "a b c", [10] = "b c", [19] = "b c", [20] = "c", [21] = "c", [30] = "", [99] = "",
    } do
      local box = outbox.new()
      for i, text in ipairs { "a", "b", "c" } do box:put(message(text, i * 10)) end
      box:trim(sent)
      assert.equal(left, content(box))
    end
  end)

  it("is empty when cleared, and goes on", function()
    local box = filled("a", "b")
    box:take()
    box:clear()
    assert.same({ 0, 0 }, { box.count, box.bytes })
    box:put(message "c")
    assert.equal("c", content(box))
  end)

  it("keeps no message that it has given", function()
    local box, weak = outbox.new(), setmetatable({}, { __mode = "v" })
    for round = 1, 3 do
      for i = 1, 100 do
        local one = message("x", i)
        weak[#weak + 1] = one
        box:put(one)
      end
      if round == 1 then box:trim(100) elseif round == 2 then outbox.new():takeBack(box) else box:clear() end
    end
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("is the same as a plain list, whatever is done to it", function()
    local random = require "spec.torture.random".new(3)
    local box, list, n = outbox.new(), {}, 0
    for _ = 1, 20000 do
      local what = random(4)
      if what <= 2 then
        n = n + 1
        local one = message(("x"):rep(random(0, 5)) .. n)
        box:put(one)
        list[#list + 1] = one
      elseif what == 3 and list[1] then
        assert.equal(table.remove(list, 1), box:take())
      elseif what == 4 then
        local some, other = {}, outbox.new()
        for i = 1, random(0, 3) do
          some[i] = message("back" .. i)
          other:put(some[i])
        end
        box:takeBack(other)
        for i = #some, 1, -1 do table.insert(list, 1, some[i]) end
      end
      local bytes = 0
      if n % 50 == 0 then
        for _, one in ipairs(list) do bytes = bytes + one.size end
        assert.equal(bytes, box.bytes)
      end
      assert.equal(#list, box.count)
    end
    for _, one in ipairs(list) do assert.equal(one, box:take()) end
  end)
end)
