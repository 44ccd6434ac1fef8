-- plain.lua -- how busted tells what happened: one line per spec file, every failure at once
-- with its name, place and traceback, and at the end `N passed, N failed` on a line of its
-- own. Errors outside a test (a spec that does not load) count as failed.
-- A run in which no test ran has failed, too.

local base = require "busted.outputHandlers.base"
local busted = require "busted"
local pretty = require "pl.pretty"

local function text(message)
  if type(message) == "string" then return message end
  if message == nil then return "(no message)" end
  local meta = getmetatable(message)
  if meta and meta.__tostring then return tostring(message) end
  return pretty.write(message)
end

local function indented(lines, by)
  return (by .. lines:gsub("\n", "\n" .. by))
end

-- The traceback without busted's and the C library's own lines.
local function ours(traceback)
  local kept = {}
  for line in (traceback or ""):gmatch "[^\n]+" do
    if line:match "^%s" and not line:match "busted[%w_/]*%.lua" and not line:match "%[C%]"
      and not line:match "%(%.%.%.tail calls%.%.%.%)" and not line:match "luassert" then
      kept[#kept + 1] = "    " .. line:gsub("^%s+", "")
    end
  end
  return table.concat(kept, "\n")
end

return function(options)
  local handler = base()
  local file = { open = false, passed = 0, failed = 0, started = 0 }

  local function put(...)
    io.write(...)
    io.flush()
  end

  -- Ends the line that says which file is running.
  local function endLine()
    if file.open then put "\n" end
    file.open = false
  end

  local function report(kind, element, message, trace)
    endLine()
    trace = trace or element.trace or {}
    local place = trace.short_src and ("%s:%d: "):format(trace.short_src, trace.currentline) or ""
    put(("  %s: %s%s\n%s\n"):format(kind, place, handler.getFullName(element), indented(text(message), "    ")))
    local traceback = ours(trace.traceback)
    if traceback ~= "" then put(traceback, "\n") end
  end

  function handler.fileStart(element)
    file = { open = true, name = element.name, passed = 0, failed = 0, started = busted.gettime() }
    put(element.name)
    return nil, true
  end

  function handler.fileEnd()
    local counts = (" %d passed"):format(file.passed)
    if file.failed > 0 then counts = counts .. (", %d FAILED"):format(file.failed) end
    if not file.open then put(file.name) end
    put(("%s (%.2f s)\n"):format(counts, busted.gettime() - file.started))
    file.open = false
    return nil, true
  end

  function handler.testEnd(_, _, status)
    if status == "success" then file.passed = file.passed + 1 end
    if status == "failure" or status == "error" then file.failed = file.failed + 1 end
    return nil, true
  end

  function handler.pending(element, _, message)
    endLine()
    put(("  skipped: %s%s\n"):format(handler.getFullName(element), message and ": " .. text(message) or ""))
    return nil, true
  end

  function handler.failure(element, _, message, trace)
    report("FAILED", element, message, trace)
    return nil, true
  end

  function handler.error(element, _, message, trace)
    if element.descriptor ~= "it" then file.failed = file.failed + 1 end
    report("ERROR", element, message, trace)
    return nil, true
  end

  function handler.suiteEnd()
    local failed = handler.failuresCount + handler.errorsCount
    local line = ("%d passed, %d failed"):format(handler.successesCount, failed)
    if handler.pendingsCount > 0 then line = line .. (", %d skipped"):format(handler.pendingsCount) end
    put(("%.1f seconds\n%s\n"):format(handler.getDuration(), line))
    return nil, true
  end

  -- busted itself is content when there was nothing to run.
  function handler.exit()
    if handler.successesCount == 0 then os.exit(1, true) end
    return nil, true
  end

  busted.subscribe({ "file", "start" }, handler.fileStart)
  busted.subscribe({ "file", "end" }, handler.fileEnd)
  busted.subscribe({ "test", "end" }, handler.testEnd, { predicate = handler.cancelOnPending })
  busted.subscribe({ "pending" }, handler.pending, { predicate = handler.cancelOnPending })
  busted.subscribe({ "failure" }, handler.failure)
  busted.subscribe({ "error" }, handler.error)
  busted.subscribe({ "suite", "end" }, handler.suiteEnd)
  busted.subscribe({ "exit" }, handler.exit)
  handler.options = options
  return handler
end
