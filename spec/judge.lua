-- judge.lua -- Python's zlib, as the other end of permessage-deflate. Each call starts a Python: tag what uses it
-- `#foreign`.
--
--   judge.compress({ bits = 9, fresh = true, level = 6, memLevel = 8 }, { "one", "two" })  -> payloads
--   judge.decompress({ bits = 9 }, { payload, ... })  -> messages; what cannot be read is { wrong = why }

local helper = require "spec.helper"

local judge = {}

local script = helper.root .. "/spec/peers/zlib_jobs.py"

local function job(letter, way, items)
  local parts = { string.pack(">c1I4I4I4I4I4", letter, way.bits or 15, way.fresh and 1 or 0, way.level or 6,
    way.memLevel or 8, #items) }
  for i, item in ipairs(items) do parts[i + 1] = string.pack(">s4", item) end
  return table.concat(parts)
end

local function run(bytes)
  local name = os.tmpname()
  helper.write(name, bytes)
  local output, status = helper.run(("%s %s %s %s"):format(helper.python(), helper.quote(script), name, name))
  local results, list, at = helper.read(name), {}, 1
  os.remove(name)
  if status ~= 0 then error(output, 3) end
  while at <= #results do list[#list + 1], at = string.unpack(">s4", results, at) end
  return list
end

function judge.compress(way, messages)
  return run(job("c", way, messages))
end

local function decompress(jobs)
  local list = run(table.concat(jobs))
  for i, result in ipairs(list) do
    local said = result:sub(2)
    list[i] = result:byte() == 0 and said or { wrong = said }
  end
  return list
end

function judge.decompress(way, payloads)
  return decompress { job("d", way, payloads) }
end

-- The messages of a stream of frames (as frames.parse gives them), each {kind, payload, squeezed}, control frames
-- left out. Raises where RSV bits or fragments are not as RFC 7692, 6 has them.
function judge.messages(list)
  local all, open = {}, nil
  for _, frame in ipairs(list) do
    local opcode = frame.opcode
    if opcode >= 8 then
      assert(frame.rsv == 0 and frame.fin, "a control frame with RSV, or in fragments")
    elseif opcode > 0 then
      assert(not open, "a message within a message")
      assert(frame.rsv == 0 or frame.rsv == 4, "RSV2 or RSV3")
      open = { kind = opcode == 1 and "text" or "binary", payload = frame.payload, squeezed = frame.rsv == 4, fragments = 1 }
    else
      assert(open, "a continuation of nothing")
      assert(frame.rsv == 0, "RSV on a continuation")
      open.payload, open.fragments = open.payload .. frame.payload, open.fragments + 1
    end
    if opcode < 8 and frame.fin then all[#all + 1], open = open, nil end
  end
  assert(not open, "half a message")
  return all
end

-- Several streams at once, each {way, frames}, decompressed: a list of lists of {kind, data, payload, squeezed, fragments}.
function judge.readAll(streams)
  local jobs, all = {}, {}
  for i, stream in ipairs(streams) do
    local payloads = {}
    all[i] = judge.messages(stream[2])
    for _, message in ipairs(all[i]) do
      if message.squeezed then payloads[#payloads + 1] = message.payload end
    end
    jobs[i] = job("d", stream[1], payloads)
  end
  local plain, nth = decompress(jobs), 0
  for _, messages in ipairs(all) do
    for _, message in ipairs(messages) do
      if message.squeezed then nth = nth + 1 end
      message.data = message.squeezed and plain[nth] or message.payload
    end
  end
  return all
end

function judge.read(way, list)
  return judge.readAll({ { way, list } })[1]
end

return judge
