-- ArrayBuffer and Blob, by themselves: what they are made of, what they give, what they refuse.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

local ArrayBuffer, Blob = lunawire.ArrayBuffer, lunawire.Blob
local nan, inf = 0 / 0, math.huge

-- slice(first, last) of "0123456789" in the browser: {first, last, what it gives}
local slices = {
  { nil, nil, "0123456789" }, { 0, nil, "0123456789" }, { 3, nil, "3456789" }, { 3, 5, "34" }, { 0, 0, "" },
  { 5, 3, "" }, { -3, nil, "789" }, { -3, -1, "78" }, { -100, 2, "01" }, { 8, 100, "89" }, { 10, nil, "" },
  { 11, 12, "" }, { 1.9, 3.9, "12" }, { -1.5, nil, "9" }, { nan, 2, "01" }, { 2, nan, "" }, { -inf, inf, "0123456789" },
  { inf, nil, "" }, { nil, 4, "0123" }, { 2 ^ 53, nil, "" }, { -2 ^ 62, 2 ^ 62, "0123456789" },
}

describe("ArrayBuffer", function()
  it("is made of a length: so many zero bytes", function()
    assert.equal(("\0"):rep(5), ArrayBuffer(5):string())
    assert.equal("", ArrayBuffer(0):string())
    assert.equal(3, ArrayBuffer(3.0).byteLength)
  end)

  it("is made of a string, which may have any bytes", function()
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    local bytes = table.concat(all)
    local buffer = ArrayBuffer(bytes)
    assert.equal(bytes, buffer:string())
    assert.same({ 256, 256 }, { buffer.byteLength, #buffer })
  end)

  it("says what it is", function()
    assert.equal("ArrayBuffer (12 bytes)", tostring(ArrayBuffer(12)))
  end)

  for _, case in ipairs { { "nothing", nil }, { "a boolean", true }, { "a table", {} }, { "a function", print } } do
    it("is made of no " .. case[1], function()
      assert.matches("a length or a string expected, got", wire.mistake("TypeError", ArrayBuffer, case[2]))
    end)
  end

  for _, n in ipairs { -1, 1.5, nan, inf, -inf, 2 ^ 53, 2 ^ 63 } do
    it("has no length of " .. tostring(n), function()
      assert.matches("is no length", wire.mistake("RangeError", ArrayBuffer, n))
    end)
  end

  for _, case in ipairs(slices) do
    it(("slices and gives strings as the browser does: %s to %s"):format(tostring(case[1]), tostring(case[2])), function()
      local buffer = ArrayBuffer "0123456789"
      assert.equal(case[3], buffer:slice(case[1], case[2]):string())
      assert.equal(case[3], buffer:string(case[1], case[2]))
    end)
  end

  it("gives a slice of its own, which does not change with it", function()
    local buffer = ArrayBuffer "abc"
    local slice = buffer:slice(1)
    buffer:set "xyz"
    assert.same({ "xyz", "bc" }, { buffer:string(), slice:string() })
  end)

  it("takes bytes at an offset", function()
    local buffer = ArrayBuffer "abcdef"
    buffer:set "X"
    buffer:set("YZ", 4)
    buffer:set(ArrayBuffer "-", 2)
    buffer:set("", 6)
    assert.equal("Xb-dYZ", buffer:string())
    buffer:set(buffer:slice(0, 3), 3)
    assert.equal("Xb-Xb-", buffer:string())
  end)

  it("may be set from itself", function()
    local buffer = ArrayBuffer "abc"
    buffer:set(buffer)
    assert.equal("abc", buffer:string())
  end)

  it("takes no more than fits, and nothing else than bytes", function()
    local buffer = ArrayBuffer(4)
    for _, case in ipairs { { "abcde" }, { "ab", 3 }, { "", 5 }, { "a", -1 }, { "a", 0.5 }, { "a", nan }, { "a", inf } } do
      assert.matches("do not fit into 4", wire.mistake("RangeError", buffer.set, buffer, case[1], case[2]))
    end
    wire.mistake("TypeError", buffer.set, buffer, 12)
    wire.mistake("TypeError", buffer.set, buffer, nil)
    wire.mistake("TypeError", buffer.set, buffer, "a", "0")
    assert.equal("\0\0\0\0", buffer:string())
  end)

  it("has no other members, and none can be set", function()
    local buffer = ArrayBuffer(1)
    assert.is_nil(buffer.length)
    assert.is_nil(buffer[0])
    wire.mistake("TypeError", function() buffer.byteLength = 3 end)
    wire.mistake("TypeError", function() buffer[0] = 3 end)
    assert.is_false(getmetatable(buffer))
  end)

  it("has methods that want one", function()
    local buffer = ArrayBuffer(1)
    for _, wrong in ipairs { "x", {}, Blob { "x" }, io.stdout } do
      assert.matches("ArrayBuffer expected, got", wire.mistake("TypeError", buffer.string, wrong))
    end
    wire.mistake("TypeError", buffer.slice, buffer, "1")
  end)
end)

describe("Blob", function()
  local place

  setup(function() place = helper.directory() end)
  teardown(function() helper.remove(place) end)

  local function file(bytes, name)
    name = place .. "/" .. (name or "file")
    helper.write(name, bytes)
    return name
  end

  it("is made of parts: strings, ArrayBuffers, Blobs", function()
    local blob = Blob { "a\0", ArrayBuffer "b", Blob { "c", Blob {} }, "" }
    assert.equal("a\0bc", blob:string())
    assert.same({ 4, 4, "" }, { blob.size, #blob, blob.type })
    assert.equal("", Blob():string())
    assert.equal(0, Blob({}).size)
  end)

  it("does not change with what it was made of", function()
    local buffer = ArrayBuffer "abc"
    local parts = { buffer }
    local blob = Blob(parts)
    buffer:set "xyz"
    parts[1] = "q"
    assert.equal("abc", blob:string())
  end)

  it("has a type in lower case; one with other than ASCII's printable characters is none (File API, 3.1)", function()
    assert.equal("text/plain;charset=utf-8", Blob({}, { type = "Text/Plain;Charset=UTF-8" }).type)
    assert.equal("", Blob({}, { type = "text/pl\195\164in" }).type)
    assert.equal("", Blob({}, { type = "a\n" }).type)
    assert.equal("~ ", Blob({}, { type = "~ " }).type)
    assert.equal("", Blob({}, {}).type)
    wire.mistake("TypeError", Blob, {}, { type = 1 })
  end)

  it("says what it is", function()
    assert.equal("Blob (3 bytes)", tostring(Blob { "abc" }))
    assert.equal("Blob (3 bytes, a/b)", tostring(Blob({ "abc" }, { type = "a/b" })))
  end)

  for _, case in ipairs { { "abc", "string" }, { 1, "number" }, { true, "boolean" } } do
    it("is made of a list, not of a " .. case[2], function()
      assert.matches("a list of parts expected, got " .. case[2], wire.mistake("TypeError", Blob, case[1]))
    end)
  end

  it("has no parts but strings, ArrayBuffers and Blobs", function()
    assert.matches("part 2: a string, an ArrayBuffer or a Blob expected, got number",
      wire.mistake("TypeError", Blob, { "a", 12 }))
    wire.mistake("TypeError", Blob, { {} })
    wire.mistake("TypeError", Blob, { io.stdout })
    assert.matches('did you mean "type"', wire.mistake("TypeError", Blob, {}, { typ = "x" }))
  end)

  it("is not fooled by a finalizer that changes the list of parts while it is made", function()
    local file_blob = Blob.fromFile(file "0123456789")
    local many = {}
    for i = 1, 2000 do many[i] = file_blob end
    many = Blob(many)
    for round = 1, 20 do
      local parts = {}
      for i = 1, 1000 do parts[i] = ("part %d %d"):format(i, round) end
      for _ = 1, 10 do
        setmetatable({}, { __gc = function() for i = 1, 1000 do parts[i] = many end end })
      end
      local fine, made = pcall(Blob, parts) -- a finalizer that came before is a list that is too long
      assert.is_true(fine and made.size < 20000 or made.name == "RangeError")
    end
    collectgarbage()
  end)

  it("may have any number of parts in memory, and 100000 pieces with files between", function()
    local parts, small = {}, Blob.fromFile(file "ab")
    for i = 1, 150000 do parts[i] = i % 2 == 0 and "x" or Blob { "y" } end
    assert.equal(("yx"):rep(75000), Blob(parts):string())
    for i = 1, 150000 do parts[i] = i % 50 == 0 and small or "x" end
    local blob = Blob(parts)
    assert.equal(150000 + 3000, blob.size)
    assert.equal("xabx", blob:slice(48, 52):string())
    local many = {}
    for i = 1, 16 do many[i] = blob end
    assert.equal(16 * blob.size, Blob(many).size)
    many[17] = blob
    assert.matches("more than 100000 pieces of files", wire.mistake("RangeError", Blob, many))
  end)

  it("does not keep room in a slice for pieces that are not in it", function()
    local parts, small = {}, Blob.fromFile(file "ab")
    for i = 1, 1000 do parts[i] = small end
    local blob, kept = Blob(parts), {}
    collectgarbage()
    local before = collectgarbage "count"
    for i = 1, 1000 do kept[i] = blob:slice(i, i + 1) end
    assert.equal(1000, #kept)
    assert.is_true(collectgarbage "count" - before < 1000)
  end)

  for _, case in ipairs(slices) do
    it(("slices as the browser does: %s to %s"):format(tostring(case[1]), tostring(case[2])), function()
      local name = file("456", "middle")
      for _, blob in ipairs { Blob { "0123456789" }, Blob { "0123", Blob.fromFile(name), "789" } } do
        local slice = blob:slice(case[1], case[2])
        assert.equal(case[3], slice:string())
        assert.equal(#case[3], slice.size)
      end
    end)
  end

  it("gives a slice of a slice, with a type of its own", function()
    local blob = Blob({ "0123456789" }, { type = "a/b" })
    local slice = blob:slice(2, 8, "C/D")
    assert.same({ "c/d", "345", "" }, { slice.type, slice:slice(1, 4):string(), blob:slice(1).type })
    wire.mistake("TypeError", blob.slice, blob, "1")
    wire.mistake("TypeError", blob.slice, blob, 1, 2, 3)
  end)

  it("gives an ArrayBuffer, each time another", function()
    local blob = Blob { "abc" }
    blob:arrayBuffer():set "x"
    assert.equal("abc", blob:arrayBuffer():string())
  end)

  -- {bytes, what a decoder makes of them}: as Python's bytes.decode("utf-8", "replace") and the browser have it
  local R = "\239\191\189"
  for i, case in ipairs {
    { "plain", "plain" }, { "\195\164", "\195\164" }, { "\239\187\191x", "x" }, { "\239\187\191", "" },
    { "x\239\187\191", "x\239\187\191" }, { "\239\187\191\239\187\191", "\239\187\191" },
    { "\255", R }, { "a\255b", "a" .. R .. "b" }, { "\195", R }, { "\195x", R .. "x" }, { "\226\130", R },
    { "\226\130x", R .. "x" }, { "\226\130\226\130\172", R .. "\226\130\172" }, { "\240\159\152", R },
    { "\192\128", R .. R }, { "\237\160\128", R .. R .. R }, { "\244\144\128\128", R .. R .. R .. R },
    { "\128\128", R .. R }, { "\240\128\128\175", R .. R .. R .. R }, { "\239\187\191\255", R }, { "", "" },
  } do
    it("gives text decoded as in the browser, " .. i, function()
      assert.equal(case[2], Blob({ case[1] }):text())
      assert.equal(case[2], Blob.fromFile(file(case[1], "text")):text())
    end)
  end

  it("decodes 1 MB of mistakes in no time to speak of", function()
    assert.equal(3 * 1048576, #Blob({ ("\255"):rep(1048576) }):text())
  end)

  it("never changes, and has no other members", function()
    local blob = Blob { "abc" }
    wire.mistake("TypeError", function() blob.size = 1 end)
    wire.mistake("TypeError", function() blob.x = 1 end)
    assert.is_nil(blob.stream)
    assert.is_false(getmetatable(blob))
    for _, wrong in ipairs { "x", {}, ArrayBuffer(1) } do wire.mistake("TypeError", blob.string, wrong) end
  end)

  describe("fromFile", function()
    it("gives the file's bytes, read when they are asked for", function()
      local blob = Blob.fromFile(file "0123456789", { type = "A/b" })
      assert.same({ 10, "a/b", "0123456789" }, { blob.size, blob.type, blob:string() })
      assert.equal("0123456789", blob:arrayBuffer():string())
      assert.equal(0, Blob.fromFile(file("", "empty")).size)
      assert.equal("", Blob.fromFile(file("", "empty")):string())
    end)

    it("mixes with what is in memory", function()
      local blob = Blob.fromFile(file "0123456789")
      local mixed = Blob { "<", blob:slice(2, 4), blob:slice(-1), ">", blob, "!" }
      assert.equal("<239>0123456789!", mixed:string())
      assert.equal("239>0", mixed:slice(1, 6):string())
      assert.equal("!", mixed:slice(-1):string())
    end)

    it("holds no descriptor", function()
      local before = probe.sys.descriptors()
      local blobs = {}
      for i = 1, 50 do blobs[i] = Blob.fromFile(file "x") end
      assert.equal("x", blobs[50]:string())
      assert.equal(before, probe.sys.descriptors())
    end)

    for _, case in ipairs {
      { "a file that is not there", function() return place .. "/nowhere" end, "No such file or directory" },
      { "a directory", function() return place end, "it is no regular file" },
      { "a device", function() return "/dev/zero" end, "it is no regular file" },
      { "a pipe, for which it does not wait", function()
        os.execute("mkfifo " .. helper.quote(place .. "/pipe"))
        return place .. "/pipe"
      end, "it is no regular file" },
    } do
      it("refuses " .. case[1], function()
        local path = case[2]()
        local message = wire.mistake("NotReadableError", Blob.fromFile, path)
        assert.equal(("Blob.fromFile: %s: %s"):format(path, case[3]), message)
      end)
    end

    it("refuses what is no path", function()
      wire.mistake("TypeError", Blob.fromFile, nil)
      wire.mistake("TypeError", Blob.fromFile, 12)
      assert.matches("NUL", wire.mistake("TypeError", Blob.fromFile, "a\0b"))
    end)

    for _, case in ipairs {
      { "longer", function(name) helper.write(name, "0123456789a") end, "has changed" },
      { "shorter", function(name) helper.write(name, "0") end, "has changed" },
      { "another", function(name)
        helper.write(name .. "2", "0123456789")
        os.rename(name .. "2", name)
      end, "has changed" },
      { "written anew", function(name) os.execute("touch -d '2001-01-01' " .. helper.quote(name)) end, "has changed" },
      { "gone", os.remove, "No such file" },
      { "a pipe", function(name)
        os.remove(name)
        os.execute("mkfifo " .. helper.quote(name))
      end, "no regular file" },
    } do
      it("does not take a file for what it was that is now " .. case[1], function()
        local name = file("0123456789", "changing")
        local blob = Blob.fromFile(name)
        case[2](name)
        local message = wire.mistake("NotReadableError", blob.string, blob)
        assert.matches("^string: " .. name:gsub("%p", "%%%0") .. ": .*" .. case[3], message)
        wire.mistake("NotReadableError", blob.text, blob)
        wire.mistake("NotReadableError", blob.arrayBuffer, blob)
        os.remove(name)
      end)
    end
  end)
end)
