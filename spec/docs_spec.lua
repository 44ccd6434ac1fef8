-- README.md and docs/: every block of code is run, or checked in the way its kind has; one of no known kind is an error.
-- How a block says what it needs is written in docs/README.md.

local cjson = require "cjson"
local helper = require "spec.helper"
local lunawire = require "lunawire"
local pki = require "spec.pki"
local probe = require "lunawire.probe"
local wire = require "spec.wire"

local quote = helper.quote

-- --- the documents -----------------------------------------------------------------------------------

-- Their blocks: { language, about (the comment before it, or nil), text, line (of its first line) }. Raises for a fence
-- without a language, and for one that nobody closes.
local function blocks(document, name)
  local list, block, about, number = {}, nil, nil, 0
  for line in (document .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    local indent, language = line:match "^(%s*)```%s*(.-)%s*$"
    if block and language == "" then
      block.text = table.concat(block, "\n") .. "\n"
      block, about = nil, nil
    elseif block then
      block[#block + 1] = line:sub(1, block.indent):match "^%s*$" and line:sub(block.indent + 1) or line
    elseif language == "" then
      error(("%s:%d: a block without a language"):format(name, number), 0)
    elseif language then
      block = { language = language, about = about, line = number + 1, indent = #indent, document = name }
      list[#list + 1] = block
    else
      about = line:match "^%s*<!%-%- (.-) %-%->%s*$" or line == "" and about or nil
    end
  end
  if block then error(("%s:%d: a block that does not end"):format(name, block.line - 1), 0) end
  return list
end

local names = { "README.md" }
for name in helper.run(("cd %s && find docs -name '*.md' | sort"):format(quote(helper.root))):gmatch "[^\n]+" do
  names[#names + 1] = name
end

-- --- who is there to talk to --------------------------------------------------------------------------

local directory, certs, proxy, proxyPort
local echo, patient, secure, redirecting -- servers

local function echoes(options, silence)
  options.protocols = function(offered) return offered[1] end
  local server = lunawire.WebSocketServer(options)
  server.onconnection = function(event)
    local socket, timer = event.socket, nil
    local function wait()
      if not silence then return end
      lunawire.clearTimeout(timer)
      timer = lunawire.setTimeout(function() socket:close(1000, "nothing more was said") end, silence)
    end
    wait()
    socket.onmessage = function(heard)
      wait()
      socket:send(heard.data == "ping" and "pong" or heard.data, { binary = heard.binary })
    end
    socket.onclose = function() lunawire.clearTimeout(timer) end
  end
  return server
end

local function freePort()
  local listener = probe.tcp.listen()
  local port = listener.port
  listener:close()
  return math.floor(port)
end

local function listens(port)
  local fd = probe.sys.connect(port)
  if fd then probe.sys.close(fd) end
  return fd ~= nil
end

setup(function()
  directory = helper.directory()
  certs = pki.new()
  for file, made in pairs {
    ["cert.pem"] = certs:cert "good", ["fullchain.pem"] = certs:cert "good", ["key.pem"] = certs:key "good",
    ["ca.pem"] = certs:cert "root",
  } do
    helper.write(directory .. "/" .. file, helper.read(made))
  end
  echo, patient = echoes({}, 700), echoes {}
  secure = echoes({ tls = { cert = certs:cert "good", key = certs:key "good" } }, 700)
  redirecting = lunawire.WebSocketServer {}
  redirecting.onupgrade = function(event)
    event:reject(308, { Location = ("wss://localhost:%d/"):format(secure.port) })
  end
  for _ = 1, 5 do
    proxyPort = freePort()
    proxy = helper.peer(("exec microsocks -i 127.0.0.1 -p %d -u me -P secret"):format(proxyPort))
    if helper.await(function() return listens(proxyPort) end, lunawire.step, 2) then break end
    proxy:stop()
  end
end)

teardown(function()
  proxy:stop()
  for _, server in ipairs { echo, patient, secure, redirecting } do server:close() end
  assert(lunawire.run(10000), "something is left in the loop")
  certs:close()
  helper.remove(directory)
end)

-- What stands in the documents, and what is there instead.
local function localised(text, url)
  local stays = text:find "Reconnecting" or text:find "heartbeat"
  local places = {
    { "ws://127.0.0.1:8080/", url or (stays and patient or echo).url },
    { "wss://example.org/", ("wss://localhost:%d/"):format(secure.port) },
    { "ws://example.org/", redirecting.url },
    { "me:secret@proxy.example", ("me:secret@127.0.0.1:%d"):format(proxyPort) },
    { "/etc/ssl/example.org/", directory .. "/" }, { "/run/chat.sock", directory .. "/chat.sock" },
    { "port = 8080", "port = 0" }, { "port = 8443", "port = 0" }, { "or 8080", "or 0" },
  }
  for _, pair in ipairs(places) do
    text = text:gsub(pair[1]:gsub("%p", "%%%0"), (tostring(pair[2]):gsub("%%", "%%%%")))
  end
  return text
end

-- --- Lua ------------------------------------------------------------------------------------------------

-- Whose `print` is documented: the lines behind `-->`, in the order in which they stand. nil: none are.
local function documented(text)
  local lines
  for line in text:gmatch "%-%->%s?([^\n]*)" do
    lines = lines or {}
    lines[#lines + 1] = line
  end
  return lines
end

-- "…" in what is documented stands for anything.
local function fits(expected, line)
  local pattern = expected:gsub("%p", "%%%0"):gsub("…", ".*")
  return line:match("^" .. pattern .. "$") ~= nil
end

local count = 0

-- Starts a block. Returns its process and the file in which its server says where it listens.
local function start(block, url)
  count = count + 1
  local file = ("%s/block%d"):format(directory, count)
  helper.write(file, block.document .. "\n" .. ("\n"):rep(block.line - 1) .. localised(block.text, url))
  local program = helper.lua(("%s %s %s"):format(quote(helper.root .. "/spec/docs_run.lua"), quote(file), quote(file .. ".url")))
  local process = helper.peer(("cd %s && export ECHO=%s SSL_CERT_FILE=%s && exec %s"):format(
    quote(directory), quote(echo.url), quote(directory .. "/ca.pem"), program), 20)
  process.block = block
  return process, file .. ".url"
end

-- Waits for the end, which must be good, and looks at what was printed.
local function finish(process)
  local block = process.block
  wire.await(function()
    local there = io.open(("/proc/%d"):format(process.pid))
    if there then there:close() end
    return not there
  end, function() return ("the end of %s:%d; it said: %s"):format(block.document, block.line, process:text()) end, 25)
  local text = process:text()
  assert.equal(0, process:wait(), ("%s:%d: %s"):format(block.document, block.line, text))
  local expected = documented(block.text)
  if not expected then return end
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
  for i = 1, math.max(#lines, #expected) do
    if not lines[i] or not expected[i] or not fits(expected[i], lines[i]) then
      return assert.equal(table.concat(expected, "\n"), table.concat(lines, "\n"), block.document .. ":" .. block.line)
    end
  end
end

local function listening(process, file)
  return wire.await(function()
    local place = io.open(file)
    local url = place and place:read "*a"
    if place then place:close() end
    return url and url ~= "" and url
  end, function() return "a server; it said: " .. process:text() end)
end

-- Somebody who comes, says hello, waits for an answer (not long) and goes; and one who asks by plain HTTP.
local function visit(block, url)
  local port = tonumber(url:match ":(%d+)/")
  if port then url = url:gsub("//.*$", ("//localhost:%d/"):format(port)) end
  local ws = lunawire.WebSocket(url, nil, { tls = { ca = certs:cert "root" } })
  local opened, over = false, false
  ws.onopen = function()
    opened = true
    ws:send "hello"
    lunawire.setTimeout(function() ws:close(1000) end, 200)
  end
  ws.onclose = function() over = true end
  wire.await(function() return over end, "the visit's end")
  assert.is_true(opened or block.text:find "reject" ~= nil, block.document .. ":" .. block.line .. ": nobody is let in")
  if not block.text:find "onrequest" then return end
  local guest = wire.connect(port)
  guest:send "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
  assert.is_truthy(guest:head().status)
  guest:close()
end

local function isServer(block)
  return block.text:find "WebSocketServer" ~= nil or block.text:find "%f[%w]server[.:]" ~= nil
end

-- Runs a block, and those that talk to it.
local function runLua(block)
  local process, file = start(block)
  if isServer(block) then
    local url = listening(process, file)
    if block.text:find 'onsignal%("HUP"' then process:signal "HUP" end
    for _, client in ipairs(block.clients or {}) do finish((start(client, url))) end
    if not block.clients then visit(block, url) end
  end
  finish(process)
end

-- --- kinds -----------------------------------------------------------------------------------------------

local function checkFile(block, ending, command)
  count = count + 1
  local file = ("%s/block%d.%s"):format(directory, count, ending)
  helper.write(file, block.text)
  local output, status = helper.run(command .. " " .. quote(file))
  assert.equal(0, status, ("%s:%d: %s"):format(block.document, block.line, output))
end

-- Commands of a shell block, by their first word: what is looked at. The rest of what they do other specs have run.
local commands = {}

function commands.make(words)
  local output, status = helper.run(("cd %s && make -n %s"):format(quote(helper.root), words))
  assert.equal(0, status, output)
end

function commands.git(words)
  local url = words:match "^clone (%S+)$"
  assert.equal(url, helper.read(helper.root .. "/lunawire-scm-1.rockspec"):match 'homepage = "([^"]+)"')
end

function commands.luarocks(words)
  assert.equal("--lua-version 5.4 make", words) -- spec/interop_luarocks_spec.lua runs it
end

function commands.cd() end -- spec/house_spec.lua is about this and the next

function commands.eval(words) assert.equal('"$(make -s env)"', words) end

function commands.sudo(words) commands.make(assert(words:match "^make (.*)$", words)) end

commands["lua5.4"] = function(words)
  local file = helper.root .. "/" .. words:match "^%S+"
  assert.is_truthy(loadfile(file), file .. " is no Lua")
end

function commands.openssl(words)
  local place = helper.directory()
  finally(function() helper.remove(place) end)
  local output, status = helper.run(("cd %s && openssl %s"):format(quote(place), words))
  assert.equal(0, status, output)
end

local function checkShell(block)
  checkFile(block, "sh", "sh -n")
  for line in block.text:gsub("\\\n%s*", ""):gmatch "[^\n]+" do
    line = line:gsub("%s+#%s.*$", ""):gsub("^#.*$", "")
    for command in (line .. " && "):gmatch "(.-) && " do
      local word, rest = command:gsub("^[%w_]+=%S+ ", ""):match "^%s*(%S+)%s*(.-)%s*$"
      if word then
        assert.is_truthy(commands[word], ("%s:%d: nothing is known of `%s`"):format(block.document, block.line, word))
        commands[word](rest)
      end
    end
  end
end

-- The configurations that spec/deploy_spec.lua runs: the first of their language in docs/deploy.md.
local function isDeployed(block)
  assert.equal("docs/deploy.md", block.document)
  assert.is_true(block.first, "spec/deploy_spec.lua runs the first of its kind only")
end

local kinds = {
  sh = checkShell, nginx = isDeployed, haproxy = isDeployed, systemd = isDeployed,
  text = function() end, -- no code
}

function kinds.lua(block)
  if not block.about then return runLua(block) end
  local place = block.about:match "^from: (%S+)$"
  if place then
    local source = helper.read(helper.root .. "/" .. place)
    assert.is_truthy(source:find(block.text, 1, true),
      ("%s:%d: %s has no such lines"):format(block.document, block.line, place))
  elseif block.about == "foreign" then
    assert(load(block.text, "=" .. block.document))
  elseif block.about ~= "peer: above" and block.about ~= "continues" then
    error(("%s:%d: what does `%s` mean?"):format(block.document, block.line, block.about))
  elseif block.about == "continues" then
    runLua(block)
  end -- else the block above has talked to it
end

-- A server of npm's ws: sends back what it is sent.
local function runServerOfWs(block)
  local port, file = freePort(), directory .. "/server.cjs"
  helper.write(file, (block.text:gsub("8080", tostring(port))))
  local modules = helper.root .. "/spec/node_modules"
  local process = helper.peer(("NODE_PATH=%s exec node %s"):format(quote(modules), quote(file)), 20)
  wire.await(function() return listens(port) end, function() return "the server; it said: " .. process:text() end)
  local ws, data = lunawire.WebSocket(("ws://127.0.0.1:%d/"):format(port)), nil
  ws.onopen = function() ws:send "hello" end
  ws.onmessage = function(event) data = event.data end
  finally(function()
    ws:terminate()
    process:stop()
  end)
  wire.await(function() return data end, "an answer")
  assert.equal("hello", data)
end

function kinds.javascript(block, text)
  if block.text:find 'require%("ws"%)' and block.text:find "WebSocketServer" then return runServerOfWs(block) end
  text = text or block.text
  local isModule = text:find "%f[^\n%z]import " or text:find "%f[^\n%z]export "
  checkFile({ text = text, document = block.document, line = block.line }, isModule and "mjs" or "cjs", "node --check")
end

kinds.js = kinds.javascript

-- A page, or a part of one: its scripts.
function kinds.html(block)
  assert.is_truthy(block.text:find "^%s*<", ("%s:%d: no tag"):format(block.document, block.line))
  for script in block.text:gmatch "<script[^>]*>(.-)</script>" do kinds.javascript(block, script) end
end

function kinds.json(block) cjson.decode(block.text) end

function kinds.python(block) checkFile(block, "py", helper.python() .. " -m py_compile") end

-- What belongs together is put together: clients with the server above, what continues with what it continues.
local function arrange(list)
  local server, before, seen = nil, nil, {}
  for _, block in ipairs(list) do
    block.first, seen[block.language] = not seen[block.language], true
    if block.language == "lua" and block.about == "peer: above" then
      assert(server, block.document .. ": no server stands above line " .. block.line)
      server.clients = server.clients or {}
      table.insert(server.clients, block)
    elseif block.language == "lua" and block.about == "continues" then
      block.text = before.text .. ("\n"):rep(block.line - before.line - select(2, before.text:gsub("\n", ""))) .. block.text
      block.line = before.line
    end
    if block.language == "lua" and not block.about and isServer(block) then server = block end
    if block.language == "lua" then before = block end
  end
  return list
end

-- Checks one block.
local function check(block)
  assert.is_truthy(kinds[block.language], ("%s:%d: a block of no known kind"):format(block.document, block.line))
  kinds[block.language](block)
end

-- --- the blocks --------------------------------------------------------------------------------------------

for _, name in ipairs(names) do
  describe(name .. " #foreign #slow", function()
    for _, block in ipairs(arrange(blocks(helper.read(helper.root .. "/" .. name), name))) do
      it(("has %s in line %d"):format(block.language, block.line), function() check(block) end)
    end
  end)
end

-- --- what is wrong is found --------------------------------------------------------------------------------

describe("a document #foreign #slow", function()
  local cases = {
    { "of a language that nobody knows", "```ruby\nputs 1\n```", "t.md:2: a block of no known kind" },
    { "with a block without a language", "```\nx\n```", "t.md:1: a block without a language" },
    { "with a block that does not end", "```lua\nx()", "t.md:1: a block that does not end" },
    { "with a word that means nothing", "<!-- run: never -->\n```lua\nx()\n```", "t.md:3: what does `run: never` mean" },
    { "whose Lua does not parse", "```lua\nx =\n```", "t.md:2:" },
    { "whose Lua raises", "\n\n```lua\nlocal x = nil\nx.y = 1\n```", "t.md:5: attempt to index" },
    { "whose Lua raises in a handler", "```lua\nws.onmessage = function() error 'no' end\nws:send 'x'\n```", "t.md:2: no" },
    { "whose Lua raises in a task", "```lua\nlunawire.go(function() error 'no' end)\n```", "t.md:2: no" },
    { "whose Lua writes a global", "```lua\nx = 1\n```", "the block writes the global `x`" },
    { "that prints something else", "```lua\nprint 'a' --> b\n```", "Passed in:\n%(string%) 'a'\nExpected:\n%(string%) 'b'" },
    { "that prints more", "```lua\nprint 'a' --> a\nprint 'b'\n```", "'a\nb'" },
    { "that prints less", "```lua\nprint 'a' --> a\n--> b\n```", "'a\nb'" },
    { "whose client cannot connect", "```lua\nlocal ws = lunawire.WebSocket 'ws://127.0.0.1:1/'\n```", "Connection refused" },
    { "that does not end", "```lua\nlunawire.setInterval(print, 1000)\n```", "it does not end" },
    { "whose server lets nobody in", "```lua\nserver.onupgrade = function() error 'no' end\n```", "t.md:2: no" },
    { "whose client has no server", "<!-- peer: above -->\n```lua\nprint(1)\n```", "no server stands above line 3" },
    { "whose second part raises", "```lua\nlocal x = 1\n```\n\n<!-- continues -->\n```lua\n\nx()\n```",
      "t.md:8: attempt to call" },
    { "whose server prints something else", "```lua\nserver.onmessage = function(e) print(e.data) end --> no\n```", "'hello'" },
    { "whose server's client prints something else", "```lua\nserver.onrequest = print\n```\n<!-- peer: above -->\n"
      .. "```lua\nlunawire.connect('ws://127.0.0.1:8080/')\nprint 'a' --> b\n```", "t.md:6" },
    { "whose foreign Lua does not parse", "<!-- foreign -->\n```lua\nx =\n```", "t.md:2: unexpected symbol" },
    { "with an excerpt that is none", "<!-- from: examples/echo.lua -->\n```lua\nx()\n```", "echo.lua has no such lines" },
    { "with an unknown command", "```sh\nfrobnicate\n```", "nothing is known of `frobnicate`" },
    { "with a target that make has not", "```sh\nX=1 make nonsense\n```", "No rule to make target" },
    { "with a script that is not there", "```sh\nlua5.4 examples/none.lua\n```", "none.lua is no Lua" },
    { "whose shell does not parse", "```sh\nif\n```", "yntax error" },
    { "whose openssl fails", "```sh\nopenssl nonsense\n```", "nonsense" },
    { "whose JavaScript does not parse", "```javascript\nx =\n```", "SyntaxError" },
    { "whose page has a script that does not parse", "```html\n<script>\nx =\n</script>\n```", "SyntaxError" },
    { "whose page is none", "```html\nx\n```", "t.md:2: no tag" },
    { "whose JSON does not parse", "```json\n{\n```", "Expected" },
    { "whose Python does not parse", "```python\nx =\n```", "SyntaxError" },
    { "with a configuration that nobody runs", "```nginx\nx;\n```", "docs/deploy.md" },
  }
  for _, case in ipairs(cases) do
    it(case[1] .. " is refused", function()
      local fine, problem = pcall(function()
        for _, block in ipairs(arrange(blocks(case[2], "t.md"))) do check(block) end
      end)
      assert.is_false(fine)
      local words = type(problem) == "table" and problem.message or problem
      assert.matches(case[3], tostring(words))
    end)
  end
end)

-- --- links -------------------------------------------------------------------------------------------------

-- The anchors that GitHub makes of a document's headings.
local function anchors(document)
  local set = {}
  for heading in ("\n" .. document:gsub("\n```.-\n```", "")):gmatch "\n#+ ([^\n]+)" do
    local slug = heading:gsub("`", ""):gsub("%[([^%]]*)%]%([^)]*%)", "%1"):lower():gsub("[^%w%- _\128-\255]", ""):gsub(" ", "-")
    set[slug] = true
  end
  return set
end

describe("the links of", function()
  for _, name in ipairs(names) do
    it(name .. " lead somewhere", function()
      local document = helper.read(helper.root .. "/" .. name)
      local here = name:match "^(.*/)" or ""
      for target in document:gsub("\n```.-\n```", ""):gsub("`[^`\n]*`", ""):gmatch "%]%(([^)%s]+)%)" do
        local file, anchor = target:match "^([^#]*)#?(.*)$"
        if not target:match "^https?:" then
          local path = helper.root .. "/" .. (file == "" and name or here .. file)
          local there = io.open(path)
          assert.is_truthy(there, ("%s: %s is not there"):format(name, target))
          there:close()
          if anchor ~= "" then
            assert.is_true(anchors(helper.read(path))[anchor], ("%s: %s has no such heading"):format(name, target))
          end
        end
      end
    end)
  end
end)

describe("docs/reference.md #foreign", function()
  it("is what `make reference` would write", function()
    local output, status = helper.run(("cd %s && %s"):format(quote(helper.root), helper.lua "tools/reference.lua"))
    assert.equal(0, status, output)
    assert.is_true(output == helper.read(helper.root .. "/docs/reference.md"), "make reference has not been run since")
  end)
end)
