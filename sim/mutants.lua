-- mutants.lua -- what breaks the library must be seen: each of these breakages is made in a copy of the tree, one after the
-- other, and simulate.lua has to find it in its first lives.
--
--   lua sim/mutants.lua [NAME...]
--
-- The status is 1 if one was not found, or could not be made any more, or if something is found without any.

-- name, file, what stands there, what is to stand there
local mutants = {
  { "a ping is not answered", "session.c", "  s->pong_due = 1;\n}", "  s->pong_due = 0;\n}" },
  { "the end is not told", "conn.c",
    "  lw_source_post(c->hub->loop, &c->source, LW_POSTED);\n}\n\nstatic void flush(lw_conn *c);",
    "}\n\nstatic void flush(lw_conn *c);" },
  { "a full system is tried again at once", "conn.c", "  c->blocked = verdict == LW_STREAM_FULL;", "  c->blocked = 0;" },
  { "what handlers send stays", "conn.c", "    if (!c->blocked) flush(c);\n    settle(c);\n  }\n  if (has_more(c))",
    "    settle(c);\n  }\n  if (has_more(c))" },
  { "who was blocked remains so", "conn.c", "    c->blocked = 0;\n    c->taken", "    c->taken" },
  { "the reason of a close is lost", "conn.c", "lw_session_close(&c->session, code, reason, n);",
    "lw_session_close(&c->session, code, reason, 0);" },
  { "close does not resume", "conn.c", "    c->paused = 0;\n    set_deadline(c, c->settings.close_timeout);\n    mark_dirty(c);",
    "    set_deadline(c, c->settings.close_timeout);\n    mark_dirty(c);" },
  { "a closed descriptor stays in the loop", "conn.c", "  lw_source_leave(loop, &c->source);\n  c->source.fd = -1;",
    "  c->source.fd = -1;" },
  { "a descriptor is not closed", "conn.c", "  if (fd >= 0) loop->sys->close(fd);\n  lw_stream_clear", "  lw_stream_clear" },
  { "nobody is told to wait", "conn.c", "  c->want_drain = 1;\n  return 0;", "  return 0;" },
  { "drain is told again", "conn.c", "is_drained(c)) {\n      c->want_drain = 0;", "is_drained(c)) {" },
  { "one message of a turn counts", "conn.c", "  c->epoch_content += n;", "  c->epoch_content = n;" },
  { "a full server never listens again", "server.c", "    if (err < 0) pause_accepting(server, err);", "    (void)err;" },
  { "the last one leaves unnoticed", "server.c", "  if (server->closing && server->count == 0 && server->hub)\n", "  if (0)\n" },
  { "subscriptions outlive their socket", "server.c",
    "  while (seat->subscriptions) drop_subscription(server, seat->subscriptions);\n", "" },
  { "content is never gone", "buf.c", "  buf->content -= span->content - content;\n", "" },
  { "an attempt's descriptor is not closed", "net.c", "  if (fd >= 0) dial->loop->sys->close(fd);", "  (void)fd;" },
  { "a byte goes twice", "stream.c", "  went = loop->sys->sendv(fd, parts, count);",
    "  went = loop->sys->sendv(fd, parts, count);\n  if (went > 4000) went--;" },
  { "the paused are asked, the others not", "heartbeat.c", "lw_conn_is_paused", "!lw_conn_is_paused" },
  { "a timer goes off early", "timer.c", "  timer->due = due;", "  timer->due = due - 1000000;" },
  { "a timer is forgotten", "loop.c", "  if (lw_timers_are_ripe(&loop->timers)) append(&loop->queue, &loop->due);",
    "  if (lw_timers_are_ripe(&loop->timers) && loop->turn % 64) append(&loop->queue, &loop->due);" },
  { "a shared context is not reset", "deflate.c", "    deflateReset(&context->z);\n", "" },
  { "a fragment's type is forgotten", "session.c", "binary = ", "binary = 0 & " },
  { "an unsent tail is dropped at the end", "session.c",
    "  if (count < max && s->last_sent < s->last_length && lw_outgoing_ends(&s->out)) {",
    "  if (count < max && s->last_sent < s->last_length) {\n    count = 0;" },
}

local LIVES = 3000

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function write(name, text)
  local file = assert(io.open(name, "wb"))
  file:write(text)
  file:close()
end

-- What a command printed, and whether it ended well.
local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "*a"
  return text, pipe:close()
end

local known = {}
for _, mutant in ipairs(mutants) do known[mutant[1]] = true end

local wanted = #arg > 0 and {} or nil
for _, name in ipairs(arg) do
  wanted[name] = assert(known[name], "no such breakage: " .. name)
end

local root = (arg[0]:match "^(.*)/sim/[^/]*$") or "."
local copy = os.tmpname()
os.remove(copy)
assert(os.execute(("mkdir %s && cd %s && cp -R Makefile src sim lua tools spec/probe %s && mkdir %s/spec && mv %s/probe %s/spec/")
  :format(quote(copy), quote(root), quote(copy), quote(copy), quote(copy), quote(copy))))
local lua = os.getenv "LUA" or "lua5.4"
local make = ("make -s -C %s WERROR= LUA=%s sim"):format(quote(copy), lua)
local simulate = ("cd %s && LUA_PATH='lua/?.lua;lua/?/init.lua' LUA_CPATH='build/sim/?.so' timeout %%d %s sim/simulate.lua 1 %%d")
  :format(quote(copy), lua)

-- What is not broken must pass, or all that follows would be taken for seen. It also tells how long lives take here: what takes
-- much longer hangs.
local function measure()
  local said, built = run(make)
  if not built then return nil, "does not compile: " .. said end
  local began = os.time()
  local told, passed = run(simulate:format(3600, LIVES))
  if not passed then return nil, told end
  return 60 + 5 * (os.time() - began)
end

local patience, fault = measure()
if not patience then
  os.execute("rm -rf " .. quote(copy))
  print("without any breakage: " .. fault)
  os.exit(1)
end

-- nil if the simulation has seen it, or what is wrong.
local function try(mutant)
  local name = copy .. "/src/" .. mutant[2]
  local text = read(name)
  local first, last = text:find(mutant[3], 1, true)
  if not first then return "is no breakage any more: the code has changed" end
  write(name, text:sub(1, first - 1) .. mutant[4] .. text:sub(last + 1))
  local said, built = run(make)
  local ok
  if built then said, ok = run(simulate:format(patience, LIVES)) end
  write(name, text)
  if not built then return "does not compile: " .. said end
  if ok then return "was NOT seen" end
  print(("seen: %s (%s)"):format(mutant[1], (said:match "[^\n]*")))
end

local seen, missed = 0, 0
for _, mutant in ipairs(mutants) do
  if not wanted or wanted[mutant[1]] then
    local problem = try(mutant)
    if problem then print(("%s: %s"):format(mutant[1], problem)) end
    seen, missed = seen + (problem and 0 or 1), missed + (problem and 1 or 0)
  end
end
os.execute("rm -rf " .. quote(copy))
print(("%d breakages seen, %d not"):format(seen, missed))
os.exit(missed == 0 and 0 or 1)
