-- compression.lua -- the cases of compression_spec.lua, and how they are run: a peer made of Python's zlib
-- (spec/peers/conformance_zlib.py) says its messages, a session of ours says them back, and Python reads that.

local helper = require "spec.helper"
local probe = require "lunawire.probe"

local deflate = probe.deflate

local compression = {}

local BUDGET = 48 * 1024 -- bytes of messages in a case, more or less

-- --- the cases ----------------------------------------------------------------------------------

-- The size of a message, the peer's fragments, and ours (0: none).
local FORMS = {
  { 16, 0, 0 }, { 64, 0, 0 }, { 256, 0, 0 }, { 1024, 0, 0 }, { 4096, 0, 0 }, { 8192, 0, 0 }, { 16384, 0, 0 },
  { 32768, 0, 0 }, { 65536, 0, 0 }, { 131072, 0, 0 },
  { 16, 3, 5 }, { 256, 64, 64 }, { 1024, 64, 256 }, { 4096, 256, 64 }, { 16384, 256, 4096 }, { 32768, 4096, 1000 },
  { 65536, 4096, 4096 }, { 131072, 16384, 32768 },
}
local KINDS = { "json", "tongues", "sparse", "random", "packed" }

local cases = {}
compression.cases = cases

-- A case: what both sides want (as deflate.offer and deflate.answer take it), and what must come of it.
local function add(number, kind, form, more)
  local case = {
    number = number, kind = kind, size = form[1], theirs = form[2], ours = form[3], level = 6, memLevel = 8,
    peerLevel = 6, peerMemLevel = 8, client = { 15, false }, server = { 15, false }, clientWants = {}, serverWants = {},
  }
  for name, value in pairs(more or {}) do case[name] = value end
  case.count = math.max(3, math.min(100, math.floor(BUDGET / case.size)))
  cases[#cases + 1] = case
end

-- 1: nothing asked for, each kind in each form.
for k, kind in ipairs(KINDS) do
  for f, form in ipairs(FORMS) do add(("1.%d.%d"):format(k, f), kind, form) end
end

-- 2: each window on either side, with context takeover and without, asked for by the client alone.
local SOME = { FORMS[3], FORMS[5], FORMS[13], FORMS[16] }
for bits = 9, 15 do
  for takeover = 0, 3 do
    local clientFresh, serverFresh = takeover % 2 == 1, takeover >= 2
    local other = 24 - bits
    for f, form in ipairs(SOME) do
      add(("2.%d.%d.%d"):format(bits, takeover + 1, f), KINDS[(bits + f + takeover) % 5 + 1], form, {
        clientWants = { clientMaxWindowBits = bits, serverMaxWindowBits = other, clientNoContextTakeover = clientFresh,
          serverNoContextTakeover = serverFresh },
        client = { bits, clientFresh }, server = { other, serverFresh },
      })
    end
  end
end

-- 3: the same asked for by the server, which may ask for less than the client does.
for bits = 9, 15 do
  for f, form in ipairs { FORMS[4], FORMS[15] } do
    local fresh = bits % 2 == 0
    add(("3.%d.%d"):format(bits, f), KINDS[(bits + f) % 5 + 1], form, {
      clientWants = { serverMaxWindowBits = 13 },
      serverWants = { clientMaxWindowBits = bits, serverMaxWindowBits = 24 - bits, clientNoContextTakeover = fresh,
        serverNoContextTakeover = not fresh },
      client = { bits, fresh }, server = { math.min(13, 24 - bits), not fresh },
    })
  end
end

-- 4: each memLevel, 5: each level, on both sides, in opposite order.
for memLevel = 1, 9 do
  for f, form in ipairs { FORMS[2], FORMS[6], FORMS[9], FORMS[14] } do
    add(("4.%d.%d"):format(memLevel, f), KINDS[(memLevel + f) % 5 + 1], form,
      { memLevel = memLevel, peerMemLevel = 10 - memLevel })
  end
end
for level = 0, 9 do
  for f, form in ipairs { FORMS[5], FORMS[10], FORMS[12] } do
    add(("5.%d.%d"):format(level, f), KINDS[(level + f) % 5 + 1], form, { level = level, peerLevel = 9 - level })
  end
end

-- 6: several offers, of which the server takes the first that suits it.
local small = { serverMaxWindowBits = 9, serverNoContextTakeover = true }
for f, form in ipairs { FORMS[1], FORMS[8], FORMS[11], FORMS[17], FORMS[18] } do
  add(("6.1.%d"):format(f), "json", form, { clientWants = { small, {} }, server = { 9, true } })
  add(("6.2.%d"):format(f), "tongues", form, { -- who is not told of the client's windows cannot ask for less
    clientWants = { { clientMaxWindowBits = 15, serverNoContextTakeover = true }, small },
    serverWants = { clientMaxWindowBits = 10 }, client = { 10, false }, server = { 15, true },
  })
end

-- --- running ------------------------------------------------------------------------------------

local function way(text)
  return { tonumber(text:match "^%d+"), text:find "fresh" ~= nil }
end

local function same(a, b)
  return a[1] == b[1] and a[2] == b[2]
end

-- What the two agree on, as the session of `role` takes it. Raises when that is not what the case says.
local function agree(case, role)
  local offer = deflate.offer(case.clientWants)
  local answer, atServer = deflate.answer(offer, case.serverWants)
  assert(answer, offer .. " was declined")
  local params = role == "server" and atServer or assert(deflate.accept(answer, case.clientWants))
  local ours, theirs = way(params.ours), way(params.theirs)
  local client, server = role == "client" and ours or theirs, role == "client" and theirs or ours
  assert(same(client, case.client) and same(server, case.server), params.name .. " was agreed on")
  return { ourBits = ours[1], ourFresh = ours[2], theirBits = theirs[1], theirFresh = theirs[2], level = case.level,
    memLevel = case.memLevel }
end

-- How the bytes come: small cases byte by byte, the others in turn whole, as reads are, and in crumbs.
local function stepOf(nth, bytes)
  if #bytes < 3000 then return 1 end
  return ({ #bytes, 16384, 1000 })[nth % 3 + 1]
end

local function echo(case, role, nth, bytes)
  local session = probe.session(role, { fragmentSize = case.ours, deflate = agree(case, role) })
  local output, step = {}, stepOf(nth, bytes)
  for at = 1, #bytes, step do
    for _, event in ipairs(session:feed(bytes:sub(at, at + step - 1), nth % 2 == 0 and "stash" or "plain")) do
      assert(event.kind ~= "failure", event.message)
      if event.kind ~= "ping" then session:send(event.kind, event.data) end
    end
    output[#output + 1] = session:output()
  end
  return table.concat(output)
end

local function plan(list, role)
  local lines = {}
  for i, case in ipairs(list) do
    local client, server = case.client, case.server
    lines[i] = table.concat({ case.number, role, case.kind, case.size, case.count, case.theirs, case.ours,
      client[1], client[2] and 1 or 0, server[1], server[2] and 1 or 0, case.peerLevel, case.peerMemLevel }, " ") .. "\n"
  end
  return table.concat(lines)
end

local function python(what, folder)
  local script = helper.root .. "/spec/peers/conformance_zlib.py"
  local output, status = helper.run(("%s %s %s %s"):format(helper.python(), helper.quote(script), what, helper.quote(folder)))
  if status ~= 0 then error(output) end
end

-- Runs the cases. Returns, by number: "ok <bytes> <compressed>", or what is wrong.
function compression.run(list, role)
  local folder, mistakes, verdicts = helper.directory(), {}, {}
  helper.write(folder .. "/plan", plan(list, role))
  python("make", folder)
  local input, out = assert(io.open(folder .. "/in", "rb")), assert(io.open(folder .. "/out", "wb"))
  for nth, case in ipairs(list) do
    local bytes = input:read((string.unpack(">I4", input:read(4))))
    local ok, result = pcall(echo, case, role, nth, bytes)
    if not ok then mistakes[case.number] = tostring(result) end
    out:write(string.pack(">s4", ok and result or ""))
  end
  input:close()
  out:close()
  python("judge", folder)
  local at = 0
  for line in io.lines(folder .. "/verdicts") do
    at = at + 1
    verdicts[list[at].number] = mistakes[list[at].number] or line
  end
  assert(at == #list, "not all cases were judged")
  helper.remove(folder)
  return verdicts
end

return compression
