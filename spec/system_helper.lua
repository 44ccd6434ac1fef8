-- system_helper.lua -- what the specs of floor 2 share: a desk that holds what a spec opens,
-- is cleared after it, and finds every descriptor that was left behind.
--
--   before_each(desk.open)  after_each(desk.clear)

local probe = require "lunawire.probe"
local sys = probe.sys

local desk = {}
local things, descriptors

function desk.open()
  collectgarbage()
  things, descriptors = {}, sys.descriptors()
end

-- Objects with :free(), freed in reverse order. Returns them.
function desk.keep(...)
  for _, object in ipairs { ... } do things[#things + 1] = function() object:free() end end
  return ...
end

-- Descriptors, closed at the end unless desk.close has. Returns them.
function desk.fd(...)
  for _, fd in ipairs { ... } do
    things[#things + 1] = fd
  end
  return ...
end

function desk.close(fd, how)
  for i, thing in ipairs(things) do
    if thing == fd then things[i] = function() end end
  end
  return (how or sys.close)(fd)
end

-- A path that nothing has yet; what lies there at the end is removed.
function desk.path()
  local path = os.tmpname()
  os.remove(path)
  things[#things + 1] = function() os.remove(path) end
  return path
end

-- Tries until try() gives something true, or fails.
function desk.await(try)
  for _ = 1, 1000 do
    local result = try()
    if result then return result end
    sys.sleep(5)
  end
  error("it did not happen", 2)
end

function desk.clear()
  sys.gate "open"
  probe.starve()
  for i = #things, 1, -1 do
    if type(things[i]) == "number" then sys.close(things[i]) else things[i]() end
  end
  desk.await(function() return sys.threads() == 0 end)
  if sys.lists() ~= 0 then error(("answers of name lookups left: %d"):format(sys.lists())) end
  sys.reset()
  collectgarbage()
  local now = sys.descriptors()
  if now ~= descriptors then error(("descriptors left open: %d"):format(now - descriptors)) end
end

-- Everything one turn hands out: { "name reasons", ... }
function desk.turn(loop, timeout)
  assert(loop:turn(timeout))
  return desk.rest(loop)
end

function desk.rest(loop)
  local list = {}
  for name, why in function() return loop:next() end do list[#list + 1] = name .. " " .. why end
  return list
end

return desk
