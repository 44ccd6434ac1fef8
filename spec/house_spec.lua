-- The house itself: what make, the rockspec and the tools promise.

local helper = require "spec.helper"

local function here(command)
  return helper.run("cd " .. helper.quote(helper.root) .. " && " .. command)
end

describe("make env #foreign", function()
  it("makes the checkout's module known from any directory", function()
    local _, status = helper.run(("eval \"$(make -s -C %s env)\" && cd / && %s -e %s"):format(
      helper.quote(helper.root), helper.quote(helper.interpreter),
      helper.quote [[assert(package.searchpath("lunawire", package.path):match "/lua/lunawire/init%.lua$")]]))
    assert.equal(0, status)
  end)

  it("keeps Lua's default path, and what was set before", function()
    local output = here 'unset LUA_PATH LUA_CPATH; eval "$(make -s env)"; echo "$LUA_PATH $LUA_CPATH"'
    assert.matches("^%S+;; %S+;;\n$", output)
    output = here [[LUA_PATH='/mine/?.lua'; eval "$(make -s env)"; echo "$LUA_PATH"]]
    assert.matches(";/mine/%?%.lua\n$", output)
  end)
end)

describe("make help #foreign", function()
  it("names the targets the README speaks of", function()
    local output = here "make help"
    for target in ("all env chat chat-client test torture check bench install deps clean"):gmatch "%S+" do
      assert.matches("make " .. target:gsub("%-", "%%-") .. " ", output)
    end
  end)
end)

describe("the rockspec #foreign", function()
  it("lists every C source and every Lua module, and nothing else", function()
    local output, status = here(helper.lua "tools/rockspec.lua")
    assert.equal("", output)
    assert.equal(0, status)
  end)

  describe("in a copy of the tree", function()
    local copy

    before_each(function()
      copy = helper.directory()
      here(("cp -R src lua lunawire-scm-1.rockspec %s/"):format(helper.quote(copy)))
    end)
    after_each(function() helper.remove(copy) end)

    local function check(options)
      return here(helper.lua("tools/rockspec.lua " .. (options or "") .. " " .. helper.quote(copy)))
    end

    it("misses a file that is new, and one that is gone", function()
      helper.write(copy .. "/src/zoo.c", "")
      helper.write(copy .. "/lua/lunawire/zoo.lua", "")
      os.remove(copy .. "/src/frame.c")
      local output, status = check()
      assert.equal(1, status)
      assert.matches("source src/zoo%.c is not listed", output)
      assert.matches("module lua/lunawire/zoo%.lua is not listed", output)
      assert.matches("source src/frame%.c is listed but not there", output)
    end)

    it("has its sources written by --write, everything else left alone", function()
      local before = helper.read(copy .. "/lunawire-scm-1.rockspec")
      check "--write"
      assert.equal(before, helper.read(copy .. "/lunawire-scm-1.rockspec"))
      helper.write(copy .. "/src/zoo.c", "")
      local output, status = check "--write"
      assert.equal("", output)
      assert.equal(0, status)
    end)
  end)
end)

describe("tools/install.sh #foreign", function()
  -- A PATH with nothing in it but what the script itself needs, and what the case says is there.
  local function bare(programs)
    local directory = helper.directory()
    finally(function() helper.remove(directory) end)
    for _, name in ipairs { "sh", "tr", "cat" } do
      helper.run(("ln -s \"$(command -v %s)\" %s/%s"):format(name, directory, name))
    end
    for name, script in pairs(programs) do
      helper.write(directory .. "/" .. name, "#!/bin/sh\n" .. script .. "\n")
      helper.run("chmod +x " .. directory .. "/" .. name)
    end
    return function(arguments, variables)
      return here(("PATH=%s LUA= CC= %s sh tools/install.sh %s"):format(directory, variables or "", arguments))
    end, directory
  end

  it("does nothing and says nothing when all is there", function()
    local output, status = here "tools/install.sh build test"
    assert.equal("", output)
    assert.equal(0, status)
  end)

  it("with --check only says what is missing", function()
    local install = bare { ["apt-get"] = "echo called" }
    local output, status = install "--check build"
    assert.equal(1, status)
    assert.matches("lua%.h is missing", output)
    assert.matches("gcc libc6%-dev lua5%.4 liblua5%.4%-dev libssl%-dev zlib1g%-dev", output)
    assert.matches("make deps", output)
    assert.no.matches("called", output)
  end)

  local managers = {
    { "apt-get", "apt%-get install .*gcc libc6%-dev lua5%.4 liblua5%.4%-dev libssl%-dev zlib1g%-dev" },
    { "dnf", "dnf install %-y gcc lua lua%-devel openssl%-devel zlib%-devel" },
    { "pacman", "pacman %-Sy %-%-needed %-%-noconfirm gcc lua openssl zlib" },
    { "apk", "apk add gcc musl%-dev lua5%.4 lua5%.4%-dev openssl%-dev zlib%-dev" },
    { "brew", "brew install lua pkgconf openssl@3 zlib" },
  }
  for _, case in ipairs(managers) do
    local name, expected = case[1], case[2]
    it("asks " .. name .. ", and shows the command first", function()
      local install = bare { [name] = "echo RAN $*", id = "echo 0", env = 'shift; exec "$@"' }
      local output, status = install "build"
      assert.equal(0, status, output)
      assert.matches("about to install with " .. name:gsub("%-", "%%-") .. ":", output)
      assert.matches("%+ [^\n]*" .. expected .. "\nRAN", output)
    end)
  end

  it("does not let Debian start the servers it installs for the specs", function()
    local install, directory = bare {
      ["apt-get"] = 'echo "RAN $*"; test ! -e "$POLICY" || cat "$POLICY"', id = "echo 0", env = 'shift; exec "$@"',
      chmod = 'exec /bin/chmod "$@"', rm = 'exec /bin/rm "$@"',
    }
    local policy = directory .. "/policy-rc.d"
    local output, status = install("test", "POLICY=" .. policy)
    assert.equal(0, status, output)
    assert.matches("RAN install [^\n]* tinyproxy [^\n]*\n#!/bin/sh\nexit 101\n", output)
    assert.is_nil(io.open(policy)) -- and it is gone again
    output = install("build", "POLICY=" .. policy)
    assert.no.matches("policy", output) -- none is started by these
    helper.write(policy, "#!/bin/sh\nexit 0\n") -- somebody's own stays
    output = install("test", "POLICY=" .. policy)
    assert.matches("#!/bin/sh\nexit 0\n", output)
    assert.equal("#!/bin/sh\nexit 0\n", helper.read(policy))
  end)

  it("uses sudo when it is not root", function()
    local install = bare { dnf = "echo RAN $*", id = "echo 1000", sudo = 'echo SUDO; exec "$@"' }
    local output = install "build"
    assert.matches("%+ sudo dnf install [^\n]*\nSUDO\nRAN install", output)
  end)

  it("says what to run when it is not root and has no sudo", function()
    local install = bare { dnf = "echo RAN", id = "echo 1000" }
    local output, status = install "build"
    assert.equal(1, status)
    assert.matches("As root, run:\n    dnf install", output)
    assert.no.matches("RAN", output)
  end)

  it("gets from luarocks what the system does not pack", function()
    local install = bare { dnf = "echo RAN", id = "echo 0", luarocks = "echo ROCKS $*" }
    local output = install "chat"
    assert.matches("about to install with luarocks: lua%-cjson argparse readline", output)
    assert.matches("ROCKS %-%-lua%-version 5%.4 install lua%-cjson", output)
  end)

  it("goes on without what can be done without", function()
    local install = bare { dnf = "echo RAN $*", id = "echo 0", luarocks = 'case "$*" in *luadbi*) exit 1; esac; echo ROCKS' }
    local output, status = install "chat"
    assert.equal(0, status, output)
    assert.matches("RAN install %-y [^\n]*sqlite%-devel\n", output)
    assert.matches("about to try to install with luarocks: luadbi%-sqlite3\n", output)
    assert.matches("that failed; the chat room will keep what is said in memory only", output)
  end)

  it("refuses a group it does not know", function()
    local output, status = here "tools/install.sh nonsense"
    assert.equal(2, status)
    assert.matches('no group "nonsense"', output)
  end)
end)

describe("the specs' closing line #foreign", function()
  -- What a run over a file with these tests prints (or over several, by name), and its status.
  local function run(files)
    local directory = helper.directory()
    finally(function() helper.remove(directory) end)
    if type(files) == "string" then files = { case = files } end
    for name, lines in pairs(files) do helper.write(directory .. "/" .. name .. "_spec.lua", lines) end
    return here(("LUA=%s tools/specs.sh %s"):format(helper.quote(helper.interpreter), helper.quote(directory)))
  end

  it("counts, alone on its line, and the status is 0", function()
    local output, status = run 'it("one", function() end) it("two", function() end) pending("three")'
    assert.matches("\n2 passed, 0 failed, 1 skipped\n$", output)
    assert.equal(0, status)
  end)

  it("counts failures and errors together, and the status is not 0", function()
    local output, status = run 'it("one", function() end) it("two", function() assert(false) end) describe("x", error)'
    assert.matches("\n1 passed, 2 failed\n$", output)
    assert.equal(1, status)
  end)

  it("does not take an empty run for a good one", function()
    local output, status = run ""
    assert.matches("\n0 passed, 0 failed\n$", output)
    assert.equal(1, status)
  end)

  it("adds up several files, whatever becomes of one of them", function()
    local output, status = run {
      good = 'it("one", function() end) it("two", function() end)',
      skipping = 'it("one", function() end) pending("two")',
      broken = "it('one', function()",
      crashing = 'it("one", function() end) it("two", function() os.execute("kill -9 $PPID") end)',
      leaking = 'it("one", function() end) require("busted").subscribe({ "exit" }, function() os.exit(23) end)',
    }
    assert.matches("\n3 passed, 3 failed, 1 skipped\n$", output)
    assert.matches("broken_spec%.lua", output)
    assert.matches("ERROR: %S+/crashing_spec%.lua ended with status 137 before its last test\n", output)
    assert.matches("ERROR: %S+/leaking_spec%.lua passed, then ended with status 23\n", output)
    assert.equal(1, status)
  end)
end)

describe("a peer #foreign", function()
  it("is heard line by line, and ends when it is told to", function()
    local peer = helper.peer "echo one; sleep 0.05; echo two; exec sleep 60"
    assert.equal("one", peer:line())
    assert.equal("two", peer:line())
    assert.equal("one\ntwo\n", peer:text())
    assert.is_true(peer:stop() > 0)
    assert.equal(peer:stop(), peer.status)
  end)

  it("tells its exit status", function()
    assert.equal(7, helper.peer("exit 7"):wait())
  end)

  it("may be waited for while something else turns", function()
    local peer, turns = helper.peer "sleep 0.05; echo ready", 0
    assert.equal("ready", peer:line(function() turns = turns + 1 end))
    assert.is_true(turns > 0)
    peer:stop()
  end)
end)

describe("the repository", function()
  it("has a changelog with Unreleased on top, a license, and an editor's settings", function()
    assert.matches("^# Changelog\n.-\n## %[Unreleased%]", helper.read(helper.root .. "/CHANGELOG.md"))
    assert.matches("^MIT License", helper.read(helper.root .. "/LICENSE"))
    assert.matches("root = true", helper.read(helper.root .. "/.editorconfig"))
  end)

  it("names no package registry in its lock file", function()
    assert.no.matches("https?://", helper.read(helper.root .. "/spec/package-lock.json"))
  end)
end)
