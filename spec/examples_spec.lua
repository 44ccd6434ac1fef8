-- The examples a new user runs first: each against a foreign peer, and both together.

local foreign = require "spec.foreign"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local system = require "system"

local quote = helper.quote

local function example(name, arguments)
  return helper.lua(quote(("%s/examples/%s.lua"):format(helper.root, name)) .. " " .. (arguments or ""))
end

describe("examples #foreign", function()
  local peer, server, directory
  local processes = {}

  setup(function()
    peer = foreign.node "ws.js"
    server = peer:ask "listen"
  end)
  teardown(function() peer:stop() end)

  before_each(function() directory = helper.directory() end)
  after_each(function()
    for i = #processes, 1, -1 do processes[i]:stop() end
    processes = {}
    helper.remove(directory)
  end)

  local function start(command)
    processes[#processes + 1] = helper.peer(command)
    return processes[#processes]
  end

  -- The client, with these lines typed (printf's format), and the end of the input once typed() is called.
  local function client(url, lines, ca)
    local done = directory .. "/typed"
    local process = start(("{ printf %s; until [ -e %s ]; do sleep 0.02; done; } | { %s; echo status $?; }"):format(
      quote(lines), quote(done), example("client", quote(url) .. (ca and " " .. quote(ca) or ""))))
    return process, function() helper.write(done, "") end
  end

  local function echo()
    local process = start(("exec %s 2>%s"):format(example("echo", "0"), quote(directory .. "/errors")))
    local url = process:line():match "^listening on (ws://127%.0%.0%.1:%d+/), Ctrl%-C ends$"
    return process, assert(url, process:text())
  end

  describe("client.lua", function()
    it("sends what is typed to ws, and prints what it answers", function()
      local url = ("ws://127.0.0.1:%d/echo?id=typed"):format(server.port)
      local process, typed = client(url, "hello\\n\\nça va?\\n\\377\\376\\033\\na\\033[31mb\\n")
      assert.equal("connected to " .. url, process:line())
      assert.equal("hello", process:line())
      assert.equal("", process:line())
      assert.equal("ça va?", process:line())
      assert.equal("3 bytes", process:line())
      assert.equal("a?[31mb", process:line())
      typed()
      assert.equal("closed with 1000 (NORMAL) ", process:line())
      assert.equal("status 0", process:line())
      assert.same({ code = 1000, reason = "", wasClean = true }, peer:ask("ending", { connection = "typed" }))
    end)

    it("says why and how the server closed", function()
      local process = client(("ws://127.0.0.1:%d/close?code=4001&reason=enough"):format(server.port), "")
      process:line()
      assert.matches("^closed with 4001 %(.*%) enough$", process:line())
      assert.equal("status 0", process:line())
    end)

    it("says what went wrong, and fails", function()
      local url = ("ws://127.0.0.1:%d/401"):format(server.port)
      local process = client(url, "never sent\\n")
      assert.equal(("connect to %s: the server answered 401 Unauthorized"):format(url), process:line())
      assert.equal("closed with 1006 (ABNORMAL) ", process:line())
      assert.equal("status 1", process:line())
    end)

    it("trusts whom it is told to, over wss", function()
      local certs = pki.new()
      local at = lunawire.WebSocketServer { port = 0, tls = { cert = certs:cert "good", key = certs:key "good" } }
      for ca, said in pairs {
        root = "connected to " .. at.url, stranger = ("connect to %s: unable to get local issuer certificate "):format(at.url),
      } do
        local process = client(at.url, "", certs:cert(ca))
        local line = helper.await(function() return process:text():match "^(.-)\n" end, lunawire.step, 20)
        assert.equal(said, line:sub(1, #said))
      end
      at:close()
      certs:close()
    end)
  end)

  describe("echo.lua", function()
    it("sends everything back to ws, and says who came and left", function()
      local process, url = echo()
      local said = peer:ask("many", { url = url, count = 2 })
      assert.same({ open = 2, clean = 2 }, said)
      for i = 1, 2 do assert.matches("^127%.0%.0%.1 port %d+ has come, " .. i .. " here$", process:line()) end
      assert.matches("^one has left with 1000 %(NORMAL%), [01] here$", process:line())
      assert.equal("one has left with 1000 (NORMAL), 0 here", process:line())
    end)

    it("says goodbye and ends at Ctrl-C", function()
      local process, url = echo()
      local answer = peer:begin("closed", { url = url, target = "" })
      assert.matches("has come", process:line())
      -- to the program alone: timeout(1), which leads its group, would hand it on a second time
      helper.run("pkill -INT -P " .. process.pid)
      assert.same({ code = 1001, reason = "", wasClean = true }, answer())
      assert.equal("one has left with 1001 (GOING_AWAY), 0 here", process:line())
      assert.equal(0, process:wait())
      assert.equal("", helper.read(directory .. "/errors"))
    end)

    it("tells how it is used", function()
      local said, status = helper.run(example("echo", "here"))
      assert.equal("usage: echo.lua [port]\n", said)
      assert.equal(2, status)
    end)

    it("answers client.lua", function()
      local _, url = echo()
      local process, typed = client(url, "are you there?\\n")
      assert.equal("connected to " .. url, process:line())
      assert.equal("are you there?", process:line())
      typed()
      assert.equal("closed with 1000 (NORMAL) ", process:line())
      assert.equal("status 0", process:line())
    end)
  end)

  describe("heartbeat.lua #slow", function()
    local LOST = "closed with 1006 (ABNORMAL) "

    local function serve(port)
      local process = start("exec " .. example("heartbeat", "server " .. (port or 0)))
      local url = process:line():match "^listening on (ws://127%.0%.0%.1:%d+/)$"
      return process, assert(url, process:text()), url:match ":(%d+)/"
    end

    local function connect(url)
      local process = start("exec " .. example("heartbeat", quote(url)))
      assert.equal("connected to " .. url, process:line())
      return process
    end

    local function kill(process)
      process:signal "KILL"
      process:wait()
    end

    -- Ctrl-C, to the program alone: see above.
    local function interrupt(process)
      helper.run("pkill -INT -P " .. process.pid)
    end

    local function seconds(fn)
      local began = system.monotime()
      fn()
      return system.monotime() - began
    end

    it("is the plainest use, in under 40 lines", function()
      local _, lines = helper.read(helper.root .. "/examples/heartbeat.lua"):gsub("\n", "\n")
      assert.is_true(lines < 40)
    end)

    it("sends its text every second", function()
      local url = ("ws://127.0.0.1:%d/echo?id=beats"):format(server.port)
      local process = connect(url)
      for _ = 1, 2 do -- ws does not say "pong", but the same again, which is a message like any other
        local took = seconds(function() assert.equal("ping", process:line()) end)
        assert.is_true(took > 0.5 and took < 3, "after " .. took .. " s")
      end
      interrupt(process)
      assert.equal("closed with 1000 (NORMAL) ", process:line())
      assert.equal(0, process:wait())
      assert.same({ code = 1000, reason = "", wasClean = true }, peer:ask("ending", { connection = "beats" }))
    end)

    it("comes back 2 s after its server was killed, and is stopped for good", function()
      local first, url, port = serve()
      local process = connect(url)
      kill(first)
      assert.equal(LOST, process:line())
      assert.equal("trying again in 2 s", process:line())
      local second
      local took = seconds(function()
        second = serve(port)
        assert.equal("connected to " .. url, process:line())
      end)
      assert.is_true(took > 1.5 and took < 6, "after " .. took .. " s")
      interrupt(process)
      assert.equal("closed with 1000 (NORMAL) ", process:line())
      assert.equal(0, process:wait())
      interrupt(second)
      assert.equal(0, second:wait())
    end)

    it("notices a server that stands still, and obeys a stop while it waits", function()
      local still, url = serve()
      local process = connect(url)
      still:suspend()
      local took = seconds(function() assert.equal(LOST .. "heartbeat timeout", process:line()) end)
      assert.is_true(took > 0.9 and took < 4, "after " .. took .. " s")
      assert.equal("trying again in 2 s", process:line())
      interrupt(process)
      assert.equal(LOST, process:line()) -- the end of all attempts
      took = seconds(function() assert.equal(0, process:wait()) end)
      assert.is_true(took < 1, "after " .. took .. " s")
    end)

    it("obeys a stop while it tries in vain", function()
      local gone, url = serve()
      kill(gone)
      local process = start("exec " .. example("heartbeat", quote(url)))
      for _ = 1, 2 do
        assert.matches("Connection refused", process:line())
        assert.equal(LOST, process:line())
        assert.equal("trying again in 2 s", process:line())
      end
      interrupt(process)
      assert.equal(LOST, process:line())
      assert.equal(0, process:wait())
    end)
  end)
end)
