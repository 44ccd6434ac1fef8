-- src/text: a piece of text, of which nothing behind its end is looked at.

local text = require("lunawire.probe").text

describe("a piece of text", function()
  it("is searched for any of some characters", function()
    assert.equal(3, text.find("abc:d/e", ":/"))
    assert.equal(5, text.find("abc;d/e", ":/"))
    assert.equal(4, text.find("abcd", ":/"))
    assert.equal(0, text.find("", ":/"))
    assert.equal(3, text.find("a\0b:", ":")) -- a NUL is none of them
  end)

  it("is compared whatever its case", function()
    assert.is_true(text.is("HtTp", "http"))
    assert.is_false(text.is("http", "https"))
    assert.is_false(text.is("https", "http"))
    assert.is_false(text.is("http\0", "http"))
    assert.is_false(text.is("[", "{")) -- they differ in the same bit as a and A
    assert.is_true(text.is("", ""))
  end)

  it("is percent-decoded, and what is no code stays as it is", function()
    assert.equal("a@b/c\0\255", text.decode "a%40b%2fc%00%Ff")
    assert.equal("%", text.decode "%")
    assert.equal("%4", text.decode "%4")
    assert.equal("%zz%4gA", text.decode "%zz%4g%41")
    assert.equal("%41", text.decode "%2541")
    assert.equal("", text.decode "")
  end)

  it("is a number if it has digits only, and not too many of them", function()
    assert.equal(0, text.number("0", 9))
    assert.equal(255, text.number("255", 255))
    assert.equal(7, text.number("007", 255))
    for _, wrong in ipairs { "", "256", "-1", "+1", " 1", "1 ", "1x", "0x1", "1.0", "99999999999999999999", "1\0" } do
      assert.is_nil(text.number(wrong, 255), wrong)
    end
  end)
end)
