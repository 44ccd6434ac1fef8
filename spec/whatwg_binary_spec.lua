-- W3C File API, 3 "The Blob Interface"; ECMAScript, 25.1 "ArrayBuffer Objects", as far as WebSockets need them. What
-- Chromium makes of the same calls is in spec/scenarios.lua.

local helper = require "spec.helper"
local lunawire = require "lunawire"
local wire = require "spec.wire"

local ArrayBuffer, Blob = lunawire.ArrayBuffer, lunawire.Blob

describe("File API 3, Blob", function()
  it("of nothing is empty", function()
    assert.equal(0, Blob({}).size)
    assert.equal("", Blob({}):text())
  end)

  it("3.1, process blob parts: strings, buffers and Blobs, in their order", function()
    assert.equal("a\0b\xffc", Blob({ "a", ArrayBuffer "\0b", Blob { "\xff", "c" } }):string())
  end)

  it("3.1, process blob parts: a buffer as it is now", function()
    local buffer = ArrayBuffer "before"
    local blob = Blob { buffer }
    buffer:set "after!"
    assert.equal("before", blob:string())
  end)

  it("3.1, process blob parts: there is no endings option (docs/browser.md: making a Blob)", function()
    wire.mistake("TypeError", Blob, { "a\nb" }, { endings = "native" })
  end)

  it("3.1: type is in lower case, and empty if it has a character outside U+0020 to U+007E", function()
    assert.equal("text/plain", Blob({}, { type = "Text/PLAIN" }).type)
    assert.equal("", Blob({}, { type = "té" }).type)
    assert.equal("", Blob({}, { type = "a\n" }).type)
    assert.equal("", Blob({}).type)
  end)

  it("size counts bytes", function() assert.equal(3, Blob({ "é", "x" }).size) end)

  it("size and type are read-only", function()
    local blob = Blob({ "abc" }, { type = "a/b" })
    assert.is_false(pcall(function() blob.size = 1 end))
    assert.is_false(pcall(function() blob.type = "c/d" end))
    assert.same({ 3, "a/b" }, { blob.size, blob.type })
  end)

  local slices = { -- first, last, what is between
    { nil, nil, "abcde" }, { 2, nil, "cde" }, { 1, 3, "bc" }, { -2, nil, "de" }, { 1, -1, "bcd" }, { 3, 1, "" }, { 9, 12, "" },
    { -9, 2, "ab" }, { 0, 99, "abcde" },
  }
  for _, row in ipairs(slices) do
    it(("3.3.1, slice(%s, %s): relative to the end if negative, clamped"):format(row[1], row[2]), function()
      local blob = Blob({ "abcde" }, { type = "a/b" })
      assert.equal(row[3], blob:slice(row[1], row[2]):string())
      assert.equal(5, blob.size)
    end)
  end

  it("3.3.1, slice: the type is the third argument, not the Blob's own", function()
    local blob = Blob({ "abcde" }, { type = "a/b" })
    assert.equal("", blob:slice(1).type)
    assert.equal("c/d", blob:slice(1, 2, "C/D").type)
  end)

  it("3.3.3, text(): decoded as UTF-8, without a BOM, errors as U+FFFD; at once (docs/browser.md: reading a Blob)", function()
    assert.equal("é", Blob({ "\xef\xbb\xbf\xc3", "\xa9" }):text())
    assert.equal("\u{FFFD}A\u{FFFD}", Blob({ "\xffA\xe2\x82" }):text())
  end)

  it("3.3.4, arrayBuffer(): a copy of its bytes", function()
    local blob = Blob { "abc" }
    local buffer = blob:arrayBuffer()
    buffer:set "xyz"
    assert.equal("abc", blob:string())
    assert.equal("xyz", buffer:string())
  end)

  it("4, File: a Blob of a file, whose change is a NotReadableError (docs/browser.md: Blobs of files)", function()
    local name = os.tmpname()
    finally(function() os.remove(name) end)
    helper.write(name, "of a file")
    local blob = Blob.fromFile(name)
    assert.equal(9, blob.size)
    assert.equal("of a file", blob:string())
    helper.write(name, "of another file")
    wire.mistake("NotReadableError", blob.string, blob)
    wire.mistake("NotReadableError", Blob.fromFile, name .. ".none")
  end)
end)

describe("ECMAScript 25.1, ArrayBuffer", function()
  it("25.1.4.1: of a length is of zeros", function()
    local buffer = ArrayBuffer(4)
    assert.equal(4, buffer.byteLength)
    assert.equal("\0\0\0\0", buffer:string())
  end)

  it("25.1.4.1: a length below 0 is a RangeError", function() wire.mistake("RangeError", ArrayBuffer, -1) end)

  it("25.1.4.1: may be made of a string's bytes (docs/browser.md: making an ArrayBuffer)", function()
    assert.equal("\0\xff", ArrayBuffer("\0\xff"):string())
  end)

  it("25.1.6.1: byteLength is read-only", function()
    local buffer = ArrayBuffer(4)
    assert.is_false(pcall(function() buffer.byteLength = 8 end))
    assert.equal(4, buffer.byteLength)
  end)

  local slices = { { 1, nil, "bcd" }, { -3, -1, "bc" }, { 0, 99, "abcd" }, { 3, 2, "" }, { -99, 1, "a" } }
  for _, row in ipairs(slices) do
    it(("25.1.6.7, slice(%s, %s): relative to the end if negative, clamped"):format(row[1], row[2]), function()
      assert.equal(row[3], ArrayBuffer("abcd"):slice(row[1], row[2]):string())
    end)
  end

  it("25.1.6.7, slice: is a copy", function()
    local buffer = ArrayBuffer "abcd"
    local slice = buffer:slice(1, 3)
    buffer:set("XX", 1)
    assert.equal("bc", slice:string())
  end)

  it("%TypedArray%.set: copies in; what does not fit is a RangeError (docs/browser.md: views of an ArrayBuffer)", function()
    local buffer = ArrayBuffer(4)
    buffer:set(ArrayBuffer "ab", 2)
    assert.equal("\0\0ab", buffer:string())
    wire.mistake("RangeError", buffer.set, buffer, "ab", 3)
    assert.equal("\0\0ab", buffer:string())
  end)
end)
