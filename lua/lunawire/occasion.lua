--- Who calls several handlers on one occasion keeps the first error for the end: each of them runs, whatever the
-- others do.
--
--   local errors = occasion.new()
--   keep(errors, core.attempt(object, fn, value))
--   keep(errors, Class.try(object, event))
--   release(errors)
--
-- @module lunawire.occasion
local core = require "lunawire.core"
core.ours()

local occasion = {}

--- It has its fields from the beginning: to keep an error takes no memory.
function occasion.new()
  return { any = false, first = false }
end

--- Takes what `core.attempt` and a class's `try` return.
function occasion.keep(kept, fine, problem)
  if fine then return end
  if kept.any then return core.warn(problem) end
  kept.any, kept.first = true, problem
end

--- Tells an event by a class's `try`; `progress` is at hand, so that this takes no memory. Nothing; or, when there was
-- none for everybody who listens, how many have heard of it, and the error.
function occasion.tell(kept, progress, try, object, happened)
  progress.entries, progress.done = false, 0
  local told, fine, problem = pcall(try, object, happened, progress)
  local heard = progress.done
  progress.entries, progress.done = false, 0
  if told then return occasion.keep(kept, fine, problem) end
  return heard, fine
end

--- Raises the first, if there was one, value and type unchanged.
function occasion.release(kept)
  if not kept.any then return end
  local first = kept.first
  kept.any, kept.first = false, false
  core.raise(first)
end

return occasion
