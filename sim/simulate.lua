-- simulate.lua -- lives of the library over a system in memory, see life.lua.
--
--   lua sim/simulate.lua [FIRST [LAST]]      -- the seeds from FIRST (1) to LAST (FIRST)
--
-- TRACE=1 tells what happens in them. Needs the core of `make sim` on LUA_CPATH. The status is 1 if anything did not hold;
-- each seed that failed is printed with what it was and how to see it again. The tenth is the last.

local core = assert(package.searchpath("lunawire.core", package.cpath))
local world = assert(package.loadlib(core, "luaopen_world"), "not the core of `make sim`")()

local first = assert(math.tointeger(arg[1] or "1"), "FIRST is no whole number")
local last = assert(math.tointeger(arg[2] or first), "LAST is no whole number")
assert(first <= last, "LAST is before FIRST")
local life = arg[0]:gsub("[^/]*$", "") .. "life.lua"

-- A certificate for all the names there are, made once. Ed25519: its signatures are of one length, so a seed is a run.
local certificate = os.tmpname()
local made = os.execute(([[openssl req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=simulated -keyout '%s.key' -out '%s.crt' \
  -addext subjectAltName=DNS:localhost,DNS:two.example,DNS:slow.example,DNS:nowhere.example,IP:127.0.0.1,IP:::1 2> '%s' \
  && cat '%s.crt' '%s.key' > '%s' && rm '%s.crt' '%s.key']]):gsub("%%s", certificate))
assert(made, "openssl made no certificate")

-- What did not hold in this life, or nil.
local function verdict(seed)
  local ok, text, blocks, bytes, open = world.run(life, seed .. " " .. certificate)
  local state = world.state()
  if not ok then return text end
  if blocks ~= 0 then return ("%d blocks (%d bytes) were left"):format(blocks, bytes) end
  if open ~= 0 then return ("%d descriptors were left open"):format(open) end
  if state.strays ~= 0 then return ("%d calls named no descriptor"):format(state.strays) end
  if os.getenv "TRACE" then print(text) end
end

local lives, failed = 0, 0
for seed = first, last do
  local problem = verdict(seed)
  lives = lives + 1
  if problem then
    failed = failed + 1
    print(("seed %d: %s\n  make simulate FIRST=%d LAST=%d TRACE=1"):format(seed, problem, seed, seed))
    if failed == 10 then break end
  end
end
os.remove(certificate)
print(("%d lives, %d of them broken"):format(lives, failed))
os.exit(failed == 0 and 0 or 1)
