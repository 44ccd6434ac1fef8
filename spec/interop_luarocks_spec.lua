-- The rock as a user has it: built by luarocks from what a clone of the repository holds, in a tree of
-- its own, and put to work against ws by a script that has nothing else (spec/peers/rock.lua).

local foreign = require "spec.foreign"
local helper = require "spec.helper"

local quote = helper.quote

describe("the rock #foreign #slow", function()
  local copy, peer, built, status
  local version = _VERSION:match "%d%.%d"

  setup(function()
    peer = foreign.node "ws.js"
    copy = helper.directory()
    -- What a clone would hold, with what is not committed yet; without git, what the rockspec speaks of.
    helper.run(([[cd %s && { git ls-files --cached --others --exclude-standard 2>/dev/null ||
      find src lua *.rockspec -type f; } | tar cf - -T - | tar xf - -C %s]]):format(quote(helper.root), quote(copy)))
    built, status = helper.run(([[cd %s && unset LUA_PATH LUA_CPATH &&
      timeout 110 luarocks --lua-version %s make --tree ./t]]):format(quote(copy), version))
  end)
  teardown(function()
    peer:stop()
    helper.remove(copy)
  end)

  it("is built and installed by luarocks", function()
    assert.equal(0, status, built)
    assert.matches("lunawire scm%-1 is now installed", built)
  end)

  it("talks to ws: text and binary of every size, equal at both ends", function()
    local server = peer:ask "listen"
    local tree = copy .. "/t/"
    local said = helper.run(("cd / && LUA_PATH=%s LUA_CPATH=%s timeout 60 %s %s %s %s 0 125 126 65535 65536 5000000"):format(
      quote(("%sshare/lua/%s/?.lua;%sshare/lua/%s/?/init.lua"):format(tree, version, tree, version)),
      quote(("%slib/lua/%s/?.so"):format(tree, version)), quote(helper.interpreter),
      quote(helper.root .. "/spec/peers/rock.lua"), quote(helper.root .. "/spec/peers/payload.lua"),
      quote(("ws://127.0.0.1:%d/check?id=rock"):format(server.port))))
    local lines = { ("core %slib/lua/%s/lunawire/core.so"):format(tree, version) }
    for _, n in ipairs { 0, 125, 126, 65535, 65536, 5000000 } do
      lines[#lines + 1] = ("text %d equal"):format(n)
      lines[#lines + 1] = ("binary %d equal"):format(n)
    end
    lines[#lines + 1] = "close 1000 clean\n"
    assert.equal(table.concat(lines, "\n"), said)
    -- ws would have closed with 4400, had it received anything else.
    assert.same({ code = 1000, reason = "all equal here", wasClean = true }, peer:ask("ending", { connection = "rock" }))
  end)
end)
