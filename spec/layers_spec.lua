-- tools/layers.lua: a wrong #include is found, and the tree has none.

local helper = require "spec.helper"

local document = [[
| floor | file | what it is | foreign headers |
|---|---|---|---|
| 0 | `low` | bytes | |
| 0 | `next` | more bytes | `crypto` |
| 1 | `mid` | protocol | |
| 2 | `high` | system | `system` `<time.h>` |
| 3 | `only.h` | a header | `lua` |

| group | headers |
|---|---|
| `libc` | `<string.h>` `<stddef.h>` |
| `crypto` | `<openssl/*.h>` |
| `system` | `<sys/*.h>` |
| `lua` | `<lua.h>` |
]]

-- What the check says of a src/ with these files: nil when it is content.
local function verdict(files, text)
  local directory = helper.directory()
  finally(function() helper.remove(directory) end)
  helper.write(directory .. "/rooms.md", text or document)
  assert(helper.run("mkdir " .. directory .. "/src"))
  for name, lines in pairs(files) do helper.write(directory .. "/src/" .. name, lines) end
  local output, status = helper.run(("cd %s && %s rooms.md src"):format(
    helper.quote(directory), helper.lua(helper.quote(helper.root .. "/tools/layers.lua"))))
  assert.is_true((status == 0) == (output == ""), output)
  return output ~= "" and output or nil
end

describe("the check of includes #foreign", function()
  it("is content with the tree", function()
    local output, status = helper.run(("cd %s && %s"):format(
      helper.quote(helper.root), helper.lua "tools/layers.lua"))
    assert.equal("", output)
    assert.equal(0, status)
  end)

  it("lets a file include itself, lower floors, and what stands before it", function()
    assert.is_nil(verdict {
      ["low.h"] = "#include <stddef.h>\n",
      ["low.c"] = '#include "low.h"\n#include <string.h>\n',
      ["next.h"] = '#include "low.h"\n',
      ["next.c"] = '#include "next.h"\n#include <openssl/sha.h>\n#include "low.h"\n',
      ["mid.c"] = '#include "low.h"\n#include "next.h"\n',
      ["high.c"] = '#include <sys/socket.h>\n#include <time.h>\n  #  include "low.h"\n',
      ["only.h"] = "#include <lua.h>\n",
    })
  end)

  local wrong = {
    { "a higher floor", "low.c", '#include "low.h"\n#include "mid.h"\n',
      'low.c:2: floor 0 includes "mid.h" of floor 1' },
    { "what comes after on its floor", "low.c", '#include "low.h"\n#include "next.h"\n',
      'low.c:2: includes "next.h", which comes after it on floor 0' },
    { "something else before its own header", "low.c", '#include <string.h>\n#include "low.h"\n',
      'low.c:1: includes <string.h> before its own "low.h"' },
    { "a header that is nowhere", "mid.c", '#include "lost.h"\n', 'mid.c:1: includes "lost.h", which is not in src/' },
    { "a path out of src", "mid.c", '#include "../low.h"\n', 'mid.c:1: includes "../low.h", which is not in src/' },
    { "Lua below the floor of Lua", "mid.c", "#include <lua.h>\n", "mid.c:1: may not include <lua.h>" },
    { "OpenSSL outside its room", "low.c", '#include "low.h"\n\n#include <openssl/ssl.h>\n',
      "low.c:3: may not include <openssl/ssl.h>" },
    { "the system below its floor", "mid.c", "#include <sys/socket.h>\n",
      "mid.c:1: may not include <sys/socket.h>" },
    { "what only a macro knows", "mid.c", "#include HEADER\n", "mid.c:1: cannot tell what `HEADER` includes" },
  }
  for _, case in ipairs(wrong) do
    local name, file, lines, complaint = case[1], case[2], case[3], case[4]
    it("finds " .. name, function()
      local files = { ["low.h"] = "", ["next.h"] = "", ["mid.h"] = "" }
      if file == "mid.c" then files["mid.h"] = nil end
      files[file] = lines
      assert.equal("src/" .. complaint .. "\n", verdict(files))
    end)
  end

  it("finds a file that stands in no room, or is a .c where there should be a header only", function()
    assert.equal("src/new.c:1: stands in no room\n", verdict { ["new.c"] = "" })
    assert.equal("src/only.c:1: stands in no room\n", verdict { ["only.c"] = "" })
  end)

  it("refuses a document without a table, and one with a file twice", function()
    assert.matches("no table of rooms", verdict({ ["low.c"] = "" }, "# nothing\n"))
    assert.matches("`low` stands in the table twice",
      verdict({ ["low.c"] = "" }, document .. "| 1 | `low` | again | |\n"))
  end)

  it("turns red when a wrong include enters a copy of the tree", function()
    local directory = helper.directory()
    finally(function() helper.remove(directory) end)
    helper.run(("cp -R %s/src %s/src"):format(helper.quote(helper.root), helper.quote(directory)))
    local name = directory .. "/src/err.h"
    helper.write(name, helper.read(name) .. '#include "session.h"\n')
    local output, status = helper.run(("cd %s && %s docs/architecture.md %s/src"):format(
      helper.quote(helper.root), helper.lua "tools/layers.lua", helper.quote(directory)))
    assert.equal(1, status)
    assert.matches('err%.h:%d+: floor 0 includes "session%.h" of floor 1', output)
  end)
end)
