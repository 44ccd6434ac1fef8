-- random.lua -- a seeded source of randomness of its own: the same seed, the same numbers, on
-- every machine, whoever else draws from math.random.
--
--   local random = Random.new(7)
--   random() random(6) random(10, 20)      -- as math.random: [0, 1), 1 to 6, 10 to 20
--   random:chance(0.1)                     -- true once in ten times
--   random:pick { "a", "b" }
--   random:bytes(100)
--   random:fork "delay"                    -- another source, the same for the same seed and name
--   random.seed                            -- to print when something failed

local Random = {}
Random.__index = Random
Random.__name = "Random"

-- One step of splitmix64, which needs no warming up and takes any seed.
local function next_bits(self)
  self.state = self.state + 0x9E3779B97F4A7C15
  local z = self.state
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

function Random.new(seed)
  seed = seed or 1
  assert(math.type(seed) == "integer", "a seed is an integer")
  return setmetatable({ seed = seed, state = seed }, Random)
end

function Random:__call(m, n)
  local share = (next_bits(self) >> 11) * 2.0 ^ -53
  if not m then return share end
  if not n then m, n = 1, m end
  return m + math.floor(share * (n - m + 1))
end

function Random:chance(probability)
  return self() < probability
end

function Random:pick(list)
  return list[self(#list)]
end

function Random:bytes(n)
  local parts = {}
  for i = 1, n // 8 do parts[i] = string.pack("i8", next_bits(self)) end
  parts[#parts + 1] = string.pack("i8", next_bits(self)):sub(1, n % 8)
  return table.concat(parts)
end

-- It depends on how this one was seeded, not on what was drawn from it.
function Random:fork(name)
  local seed = self.seed
  for i = 1, #name do seed = next_bits { state = seed ~ name:byte(i) } end
  return Random.new(seed)
end

return Random
