-- What can be tried in full: every close code that is given to close(); UTF-8 by its classes of bytes; a request and a
-- response with each byte in turn replaced by each other one. (The first two bytes of a frame are in session_receive_spec,
-- the close codes that are received in session_close_spec, UTF-8 by all bytes in utf8_spec.)

local desk = require "spec.server_helper"
local frames = require "spec.frames"
local lunawire = require "lunawire"
local probe = require "lunawire.probe"
local protocol = require "spec.conformance.protocol"
local wire = require "spec.wire"

local roles = { "server", "client" }

-- --- close codes (7.4) ------------------------------------------------------------------------------

describe("all 65536 close codes #slow", function()
  before_each(desk.open)
  after_each(desk.clear)

  for _, role in ipairs(roles) do
    it("go out as they are given to a session, by a " .. role, function()
      local session = probe.session(role)
      for code = 1, 65535 do -- whether it may be said is for who calls
        session:again()
        session:close(code)
        local list = protocol.read(session:output(), role)
        local body = list[1].key and frames.mask(list[1].raw, list[1].key) or list[1].raw
        if #list ~= 1 or list[1].opcode ~= 8 or body ~= string.pack(">I2", code) then error(code) end
      end
    end)
  end

  -- Which of them close() raises for, on a socket in whatever state.
  local function refused(socket, from, to)
    local list = {}
    for code = from, to do
      local ok, err = pcall(socket.close, socket, code)
      if not ok then
        assert(err.name == "InvalidAccessError", tostring(err))
        list[code] = true
      end
    end
    return list
  end

  local function same(list, allowed)
    for code = -1000, 70000 do
      if (list[code] or false) ~= not allowed(code) then error(("close(%d) was %s"):format(code, list[code]
        and "refused" or "taken")) end
    end
  end

  local function ofClients(code) return code == 1000 or code >= 3000 and code <= 4999 end

  it("are taken by a client's close() or raise, and those that raise do nothing", function()
    local server = wire.server()
    local ws = lunawire.WebSocket(server.url)
    local log = wire.record(ws)
    local peer = server:open()
    wire.heard(log, "open")
    for code = -1000, 70000 do
      if not ofClients(code) then wire.mistake("InvalidAccessError", ws.close, ws, code) end
    end
    assert.equal(1, ws.readyState)
    ws:send "still here"
    assert.equal("still here", peer:next().payload) -- and nothing before it
    peer:close()
    wire.heard(log)
    same(refused(ws, -1000, 70000), ofClients)
  end)

  it("are taken by a server's socket or raise, and those that raise do nothing", function()
    local server, log = desk.serve()
    local peer, socket = desk.guest(server, log)
    for code = -1000, 70000 do
      if not protocol.legal(code) then wire.mistake("InvalidAccessError", socket.close, socket, code) end
    end
    assert.equal(1, socket.readyState)
    socket:send "still here"
    assert.equal("still here", peer:next().payload)
    peer:close()
    desk.heard(log, "close")
    same(refused(socket, -1000, 70000), protocol.legal)
  end)
end)

-- --- UTF-8 (8.1; RFC 3629) --------------------------------------------------------------------------------

-- Bytes of one class are alike at every place of every text: RFC 3629, 4 tells no two of them apart. So a text is judged
-- as the row of its bytes' classes is, and one byte of each class will do. That the validator knows no finer classes is
-- what the first case shows: it walks through all its states, with all 256 bytes in each.
local CLASSES = {
  { 0x00, 0x7F }, { 0x80, 0x8F }, { 0x90, 0x9F }, { 0xA0, 0xBF }, { 0xC0, 0xC1 }, { 0xC2, 0xDF }, { 0xE0, 0xE0 }, { 0xE1, 0xEC },
  { 0xED, 0xED }, { 0xEE, 0xEF }, { 0xF0, 0xF0 }, { 0xF1, 0xF3 }, { 0xF4, 0xF4 }, { 0xF5, 0xFF },
}

describe("UTF-8, by classes of bytes #slow", function()
  local feed = probe.utf8.feed
  local ACCEPT, REJECT = 0, 1

  it("has a state machine that treats all bytes of a class alike, in every state it can come to", function()
    local waiting, known, count, covered = { ACCEPT }, { [ACCEPT] = true }, 0, 0
    while waiting[1] do
      local state = table.remove(waiting)
      count = count + 1
      for _, class in ipairs(CLASSES) do
        local first = feed(state, string.char(class[1]))
        for byte = class[1], class[2] do
          covered = covered + 1
          if feed(state, string.char(byte)) ~= first then error(("%02x in state %d"):format(byte, state)) end
        end
        if not known[first] then
          known[first] = true
          waiting[#waiting + 1] = first
        end
      end
    end
    assert.equal(9, count) -- what RFC 3629's grammar has: between two, 1, 2, 3 to come, after E0, ED, F0, F4; and wrong
    assert.equal(9 * 256, covered)
  end)

  -- Calls each(text) with all rows of n classes, a byte of each by turns.
  local function rows(n, each)
    local turn = 0
    local function go(left, prefix)
      if left == 0 then return each(prefix) end
      for _, class in ipairs(CLASSES) do
        turn = turn + 1
        go(left - 1, prefix .. string.char(class[1] + turn % (class[2] - class[1] + 1)))
      end
    end
    go(n, "")
  end

  it("judges every row of up to four classes as arithmetic does, at once and byte by byte", function()
    local right, count = 0, 0
    for n = 1, 4 do
      rows(n, function(text)
        count = count + 1
        local flaw, state, shown = protocol.flaw(text), ACCEPT, nil
        for i = 1, n do
          state = feed(state, text:sub(i, i))
          if state == REJECT then shown = shown or i end
        end
        local got = shown or state ~= ACCEPT and "cut" or nil
        if got ~= flaw then error(("%s: %s, not %s"):format(frames.dump(text), got, flaw)) end
        if feed(ACCEPT, text) ~= state then error(frames.dump(text) .. " at once") end
        -- among ASCII, where blocks are skipped
        local before, behind = count % 41, (count // 41) % 41
        local long = ("a"):rep(before) .. text .. ("b"):rep(behind)
        local wanted = (flaw == nil or flaw == "cut" and behind == 0 and "cut") or REJECT
        local all = feed(ACCEPT, long)
        if wanted == true and all ~= ACCEPT or wanted == REJECT and all ~= REJECT or wanted == "cut" and all ~= state then
          error(("%s among %d and %d"):format(frames.dump(text), before, behind))
        end
        if not flaw then right = right + 1 end
      end)
    end
    assert.equal(14 + 14 ^ 2 + 14 ^ 3 + 14 ^ 4, count)
    -- by the grammar, characters of 1, 2, 3, 4 bytes in classes: 00; C2 and three; E0, E1, ED, EE; F0, F1, F4
    local of = { 1, 3, 3 + 9 + 6 + 9, 18 + 27 + 9 }
    local sums = { [0] = 1 }
    local all = 0
    for n = 1, 4 do
      sums[n] = 0
      for length = 1, n do sums[n] = sums[n] + of[length] * sums[n - length] end
      all = all + sums[n]
    end
    assert.equal(all, right)
  end)

  for _, role in ipairs(roles) do
    it("ends in 1007 with the first wrong byte, or comes back, for every row of up to three classes, by a " .. role, function()
      for n = 1, 3 do
        rows(n, function(text)
          local flaw = protocol.flaw(text)
          local message = { "text", payload = text }
          local case = { number = frames.dump(text), sends = { message }, gets = flaw and {} or { message }, chop = 1 }
          if flaw then
            case.fails, case.wrong = 1007, { 1, payload = flaw == "cut" and n or flaw }
          end
          protocol.run(case, role)
        end)
      end
    end)
  end
end)

-- --- handshakes (4) ---------------------------------------------------------------------------------------

local TOKEN = "[%w!#$%%&'*+%-.^_`|~]"

-- What stands in a head, or nil where it breaks RFC 9112: the first line, {{name, value}, ...}.
local function parsed(head)
  local text = head:match "^(.*)\r\n\r\n$"
  if not text then return nil end
  local lines = {}
  for line in (text .. "\r\n"):gmatch "(.-)\r\n" do lines[#lines + 1] = line end
  local fields = {}
  for i, line in ipairs(lines) do
    if line:find "[\0\r\n]" then return nil end
    if i > 1 then
      local name, value = line:match("^(" .. TOKEN .. "+):[ \t]*(.-)[ \t]*$")
      if not name or value:find "[\1-\8\11-\31\127]" then return nil end
      fields[#fields + 1] = { name:lower(), value }
    end
  end
  return lines[1], fields
end

-- The only value of that name; nil where there is none or more than one. And how many there are.
local function only(fields, name)
  local found, count = nil, 0
  for _, field in ipairs(fields) do
    if field[1] == name then found, count = field[2], count + 1 end
  end
  return count == 1 and found or nil, count
end

local function items(value)
  local list = {}
  for item in (value .. ","):gmatch "[ \t]*(.-)[ \t]*," do list[#list + 1] = item end
  return list
end

local function names(value, token)
  for _, item in ipairs(items(value or "")) do
    if item:lower() == token then return true end
  end
  return false
end

-- 1#extension, by taking apart what is between the commas and the semicolons.
local function isExtensionList(value)
  for _, item in ipairs(items(value)) do
    local first = true
    for part in (item .. ";"):gmatch "[ \t]*(.-)[ \t]*;" do
      local name, rest = part:match "^([^=]-)[ \t]*=[ \t]*(.*)$"
      if not (name or part):match("^" .. TOKEN .. "+$") then return false end
      if name and (first or not rest:match("^" .. TOKEN .. "+$") and not rest:match('^"' .. TOKEN .. '+"$')) then return false end
      first = false
    end
  end
  return true
end

-- "open", "plain" (HTTP, but no upgrade) or "refused".
local function ofRequest(head)
  local line, fields = parsed(head)
  local method, target, minor = (line or ""):match("^(" .. TOKEN .. "+) ([!-~]+) HTTP/1%.(%d)$")
  if not method or target:sub(1, 1) ~= "/" or target:find "#" or minor == "0" then return "refused" end
  local host = only(fields, "host")
  if not host or host == "" or host:find '[^!-~]' or host:find '["#/<>?@\\^`{|}]' then return "refused" end
  if not (names(only(fields, "upgrade"), "websocket") and names(only(fields, "connection"), "upgrade")) then return "plain" end
  if method ~= "GET" or only(fields, "sec-websocket-version") ~= "13" then return "refused" end
  local key = only(fields, "sec-websocket-key") or ""
  if not (#key == 24 and key:match "^[%w+/]+[AQgw]==$") then return "refused" end
  local protocols, count = only(fields, "sec-websocket-protocol")
  local seen = {}
  for _, item in ipairs(count > 0 and items(protocols) or {}) do
    if not item:match("^" .. TOKEN .. "+$") or seen[item] then return "refused" end
    seen[item] = true
  end
  local extensions, extended = only(fields, "sec-websocket-extensions")
  return extended > 0 and not isExtensionList(extensions) and "refused" or "open"
end

-- "open", "more" (an interim answer) or "refused".
local function ofResponse(head, accept)
  local line, fields = parsed(head)
  local minor, status, reason = (line or ""):match "^HTTP/1%.(%d) (%d%d%d)(.*)$"
  if not status or reason:find "[\1-\8\11-\31\127]" or reason ~= "" and reason:sub(1, 1) ~= " " then return "refused" end
  if status ~= "101" then return status:sub(1, 1) == "1" and "more" or "refused" end
  local right = minor ~= "0" and (only(fields, "upgrade") or ""):lower() == "websocket"
    and names(only(fields, "connection"), "upgrade") and only(fields, "sec-websocket-accept") == accept
    and only(fields, "sec-websocket-protocol") == "superchat"
    and select(2, only(fields, "sec-websocket-extensions")) == 0
  return right and "open" or "refused"
end

local function lines(...) return table.concat({ ... }, "\r\n") .. "\r\n\r\n" end

local REQUEST = lines("GET /a?b HTTP/1.1", "Host: example.com:80", "Upgrade: websocket",
  "Connection: keep-alive, Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: ab, cde",
  "Sec-WebSocket-Extensions: x-a; b, c; d=\"e\"; f=g", "Sec-WebSocket-Version: 13")

-- Feeds what `make` gives in pieces; "open", "plain", "more" or "refused", and the error's name.
local function told(upgrade, ...)
  local got, err
  for i = 1, select("#", ...) do
    got, err = upgrade:feed((select(i, ...)))
    if got ~= false then break end
  end
  if got == nil then return "refused", err end
  return got and (upgrade:wants() and "open" or "plain") or "more"
end

local function bytewise(text) return text:byte(1, -1) end

local function slowly(text)
  local list = { bytewise(text) }
  for i, byte in ipairs(list) do list[i] = string.char(byte) end
  return table.unpack(list)
end

-- `head` with each byte replaced by each: judge(changed, place, byte) -> what was said whole, cut around that byte, and
-- byte by byte (once for each place); expected(changed) -> what should be.
local function replaced(head, ask, expected)
  local counts = { open = 0, plain = 0, more = 0, refused = 0 }
  for place = 1, #head do
    local before, behind, original = head:sub(1, place - 1), head:sub(place + 1), head:byte(place)
    for byte = 0, 255 do
      local middle = string.char(byte)
      local changed = before .. middle .. behind
      local due = expected(changed)
      local whole, why = told(ask(), changed)
      if whole ~= due then error(("%02x for %02x at %d: %s (%s), not %s"):format(byte, original, place, whole, why, due)) end
      local cut, reason = told(ask(), before, middle, behind)
      if cut ~= whole or reason ~= why then error(("%02x at %d, cut: %s (%s), not %s"):format(byte, place, cut, reason, why)) end
      if (byte + place) % 256 == 0 then
        cut, reason = told(ask(), slowly(changed))
        if cut ~= whole or reason ~= why then error(("%02x at %d, slowly: %s (%s), not %s"):format(byte, place, cut, reason,
          why)) end
      end
      if byte ~= original then counts[due] = counts[due] + 1 end
    end
  end
  return counts
end

describe("a handshake with each byte in turn replaced by each other #slow", function()
  it("is taken by a server where it is still one, and refused where it is not", function()
    local function ask() return probe.upgrade("server", 16384, 100) end
    assert.equal("open", ofRequest(REQUEST))
    assert.equal("open", (told(ask(), REQUEST)))
    local counts = replaced(REQUEST, ask, ofRequest)
    assert.equal(255 * #REQUEST, counts.open + counts.plain + counts.refused)
    assert.is_true(counts.open > 1000 and counts.plain > 1000 and counts.refused > 1000)
  end)

  it("is taken by a client where it is still an answer to its request, and refused where it is not", function()
    local upgrade, accept
    local function fresh()
      upgrade = probe.upgrade("client", 16384, 100)
      accept = wire.accept(upgrade:ask("ws://h/", "chat, superchat"):match "Sec%-WebSocket%-Key: (%S+)")
    end
    -- each has a key of its own: its Accept stands where the head has a mark
    local head = lines("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
      "Sec-WebSocket-Accept: ????????????????????????????", "Sec-WebSocket-Protocol: superchat", "X: y")
    local mark = head:find("????", 1, true)
    local counts = { open = 0, more = 0, refused = 0 }
    for place = 1, #head do
      for byte = 0, 255 do
        local due, said, why
        for way = 1, (byte + place) % 256 == 0 and 3 or 2 do
          fresh()
          local text = head:sub(1, mark - 1) .. accept .. head:sub(mark + 28)
          local before, behind = text:sub(1, place - 1), text:sub(place + 1)
          local changed = before .. string.char(byte) .. behind
          local got, reason
          if way == 1 then
            got, reason = told(upgrade, changed)
            if got == "plain" then got = "open" end
            due, said, why = ofResponse(changed, accept), got, reason
            if got ~= due then error(("%02x at %d: %s (%s), not %s"):format(byte, place, got, reason, due)) end
            if changed ~= text then counts[due] = counts[due] + 1 end
          elseif place < mark or place >= mark + 28 then
            if way == 2 then got, reason = told(upgrade, before, string.char(byte), behind) else got, reason = told(upgrade,
              slowly(changed)) end
            if got == "plain" then got = "open" end
            if got ~= said or reason ~= why then error(("%02x at %d, sliced: %s (%s), not %s"):format(byte, place, got, reason,
              why)) end
          end
        end
      end
    end
    assert.is_true(counts.open > 1000 and counts.more > 5 and counts.refused > 1000)
  end)
end)
