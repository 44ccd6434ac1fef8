/*
** probe_session.c -- one session, driven from a spec: lunawire.probe.session.
**
** What is fed lies in memory of just that size, freed the moment the session has no more
** right to look at it, so that a sanitizer sees every byte too far and every look too late.
*/
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "probe.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

#define SESSION "lunawire.probe.session"
#define FRAMED "lunawire.probe.framed"
#define SLICES 4

/* --- memory that runs out --- */

/* These are hidden, so they stand for the C library's only within the probe. */
static _Thread_local long allocations = -1; /* how many more succeed; negative: all */

static int starved(void) {
  if (allocations < 0) return 0;
  if (allocations == 0) return 1;
  allocations--;
  return 0;
}

#pragma GCC visibility push(hidden)

void *malloc(size_t n) {
  static void *(*real)(size_t);
  if (!real) *(void **)&real = dlsym(RTLD_DEFAULT, "malloc");
  return starved() ? NULL : real(n);
}

void *calloc(size_t count, size_t n) {
  static void *(*real)(size_t, size_t);
  if (!real) *(void **)&real = dlsym(RTLD_DEFAULT, "calloc");
  return starved() ? NULL : real(count, n);
}

void *realloc(void *block, size_t n) {
  static void *(*real)(void *, size_t);
  if (!real) *(void **)&real = dlsym(RTLD_DEFAULT, "realloc");
  return starved() ? NULL : real(block, n);
}

#pragma GCC visibility pop

/* probe.starve(n): n more allocations of the library succeed, then none; starve(): all again. */
static int probe_starve(lua_State *L) {
  allocations = (long)luaL_optinteger(L, 1, -1);
  return 0;
}

/* Lua's own allocator, and how much more it may grow. */
typedef struct lean {
  lua_Alloc alloc;
  void *data;
  lua_Integer left;
} lean;

static void *lean_alloc(void *data, void *block, size_t had, size_t want) {
  lean *l = data;
  if (want > (block ? had : 0)) {
    if (l->left == 0) return NULL;
    l->left--;
  }
  return l->alloc(l->data, block, had, want);
}

/* probe.exhaust(n, fn, ...): pcall, in which n more allocations of Lua's own succeed, then none. */
static int probe_exhaust(lua_State *L) {
  lean l = {.left = luaL_checkinteger(L, 1)};
  int status;
  l.alloc = lua_getallocf(L, &l.data);
  lua_setallocf(L, lean_alloc, &l);
  status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
  lua_setallocf(L, l.alloc, l.data);
  lua_pushboolean(L, status == LUA_OK);
  lua_replace(L, 1);
  return lua_gettop(L);
}

/* --- the object --- */

typedef struct probe {
  lw_session session;
  lw_limits limits;
  lw_pool pool;
  lw_entropy entropy;
  lw_deflate_shelf shelf;
  lw_deflate_options options;
  lw_deflate_params params; /* permessage-deflate, if that is agreed on */
  unsigned char *input; /* fed and perhaps still looked at */
  lw_event last;        /* what s:next() gave */
} probe;

typedef struct framed {
  lw_chunk *chunk;
  size_t n; /* content */
} framed;

static probe *self(lua_State *L) {
  return luaL_checkudata(L, 1, SESSION);
}

static uint64_t limit(lua_State *L, const char *name, uint64_t otherwise) {
  uint64_t value = otherwise;
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, name);
    if (!lua_isnil(L, -1)) value = (uint64_t)luaL_checknumber(L, -1);
    lua_pop(L, 1);
  }
  return value;
}

static uint64_t part(lua_State *L, const char *name, uint64_t otherwise) {
  uint64_t value = otherwise;
  lua_getfield(L, -1, name);
  if (!lua_isnil(L, -1)) value = lua_isboolean(L, -1) ? (uint64_t)lua_toboolean(L, -1) : (uint64_t)luaL_checkinteger(L, -1);
  lua_pop(L, 1);
  return value;
}

/* What is agreed on, from the table at the top. */
static void agree(lua_State *L, probe *p) {
  lw_deflate_defaults(&p->options);
  p->options.level = (int)part(L, "level", 6);
  p->options.mem_level = (int)part(L, "memLevel", 8);
  p->options.threshold = (size_t)part(L, "threshold", 0);
  p->params.agreed = 1;
  p->params.ours = (lw_deflate_way){(unsigned char)part(L, "ourBits", 15), (unsigned char)part(L, "ourFresh", 0)};
  p->params.theirs = (lw_deflate_way){(unsigned char)part(L, "theirBits", 15), (unsigned char)part(L, "theirFresh", 0)};
}

static void begin(lua_State *L, probe *p, lw_role role) {
  lw_session_init(&p->session, role, &p->limits, &p->pool, &p->entropy);
  if (p->params.agreed && lw_session_extend(&p->session, &p->shelf, &p->options, &p->params) < 0)
    luaL_error(L, "no memory for an extension");
}

/*
** probe.session("client" | "server" [, {maxPayload=, maxFragments=, fragmentSize=, deflate=}]), of which deflate is
** {ourBits=15, ourFresh=false, theirBits=15, theirFresh=false, level=6, memLevel=8, threshold=0}
*/
static int probe_new(lua_State *L) {
  static const char *const roles[] = {"client", "server", NULL};
  static const lw_role values[] = {LW_CLIENT, LW_SERVER};
  lw_role role = values[luaL_checkoption(L, 1, NULL, roles)];
  lw_limits limits = {limit(L, "maxPayload", 16 << 20), limit(L, "maxFragments", 131072),
                      limit(L, "fragmentSize", 0)};
  probe *p = lua_newuserdatauv(L, sizeof *p, 0);
  memset(p, 0, sizeof *p);
  p->limits = limits;
  luaL_getmetatable(L, SESSION);
  lua_setmetatable(L, -2);
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "deflate");
    if (lua_istable(L, -1)) agree(L, p);
    lua_pop(L, 1);
  }
  begin(L, p, role);
  return 1;
}

static void forget_input(probe *p) {
  free(p->input);
  p->input = NULL;
}

/* s:again(): as new, with the same role and limits. */
static int probe_again(lua_State *L) {
  probe *p = self(L);
  lw_role role = p->session.role;
  lw_session_clear(&p->session);
  forget_input(p);
  begin(L, p, role);
  return 0;
}

static int probe_gc(lua_State *L) {
  probe *p = self(L);
  lw_session_clear(&p->session);
  lw_deflate_shelf_clear(&p->shelf);
  lw_pool_clear(&p->pool);
  forget_input(p);
  return 0;
}

/* What a call came to: true, or nil and the error's name. */
static int result(lua_State *L, int err) {
  if (err < 0) return probe_fail(L, err);
  lua_pushboolean(L, 1);
  return 1;
}

/* --- in --- */

static void set_number(lua_State *L, const char *name, int value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static void set_string(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

/* {kind=, data=} and what else the kind has: code; why (a name) and message of a failure. */
static void push_event(lua_State *L, const lw_event *event) {
  static const char *const kinds[] = {
      [LW_EVENT_MESSAGE] = "text", [LW_EVENT_PING] = "ping",       [LW_EVENT_PONG] = "pong",
      [LW_EVENT_CLOSE] = "close",  [LW_EVENT_FAILURE] = "failure",
  };
  lua_createtable(L, 0, 4);
  set_string(L, "kind",
             event->kind == LW_EVENT_MESSAGE && event->binary ? "binary" : kinds[event->kind]);
  if (event->kind == LW_EVENT_FAILURE) {
    set_number(L, "code", event->code);
    set_string(L, "message", lw_strerror(event->error));
    probe_fail(L, event->error);
    lua_setfield(L, -3, "why");
    lua_pop(L, 1);
    return;
  }
  if (event->kind == LW_EVENT_CLOSE) set_number(L, "code", event->code);
  lua_pushlstring(L, (const char *)event->bytes, event->n);
  lua_setfield(L, -2, "data");
}

static void give(lua_State *L, probe *p, const char *bytes, size_t n) {
  if (!lw_session_hungry(&p->session)) luaL_error(L, "fed before it was hungry");
  forget_input(p);
  if (!(p->input = malloc(n ? n : 1))) {
    luaL_error(L, "no memory for the spec's own bytes");
    return;
  }
  memcpy(p->input, bytes, n);
  lw_session_feed(&p->session, p->input, n);
}

/* s:give(bytes): feeds, and leaves the rest to s:next() and s:stash(). */
static int probe_give(lua_State *L) {
  probe *p = self(L);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  give(L, p, bytes, n);
  return 0;
}

static int probe_next(lua_State *L) {
  probe *p = self(L);
  if (lw_session_next(&p->session, &p->last)) {
    push_event(L, &p->last);
    return 1;
  }
  forget_input(p);
  return 0;
}

/* s:data(): that of the event which s:next() gave, read once more. */
static int probe_data(lua_State *L) {
  const lw_event *event = &self(L)->last;
  lua_pushlstring(L, (const char *)event->bytes, event->n);
  return 1;
}

static int stash(probe *p) {
  int err = lw_session_stash(&p->session);
  if (err == 0) forget_input(p);
  return err;
}

static int probe_stash(lua_State *L) {
  return result(L, stash(self(L)));
}

/* Appends every event there is to the table on top of the stack. */
static void drain(lua_State *L, probe *p, int *count, int stashing) {
  lw_event event;
  while (lw_session_next(&p->session, &event)) {
    push_event(L, &event);
    lua_rawseti(L, -2, ++*count);
    if (stashing && stash(p) < 0) luaL_error(L, "no memory to stash");
  }
  forget_input(p);
}

/*
** s:feed(bytes [, how]): the list of events they make. "plain"; "stash": the rest is
** stashed after each event; "stashed": before the first, too; "direct": received into the
** message itself wherever the session has room for that.
*/
static int probe_feed(lua_State *L) {
  static const char *const hows[] = {"plain", "stash", "stashed", "direct", NULL};
  probe *p = self(L);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  int how = luaL_checkoption(L, 3, "plain", hows);
  int count = 0;
  lua_newtable(L);
  do {
    size_t got = n;
    unsigned char *room = how == 3 && n > 0 ? lw_session_space(&p->session, 1, n, &got) : NULL;
    if (room) {
      memcpy(room, bytes, got);
      lw_session_filled(&p->session, got);
    } else {
      give(L, p, bytes, n);
      if (how == 2 && stash(p) < 0) return luaL_error(L, "no memory to stash");
    }
    drain(L, p, &count, how == 1 || how == 2);
    bytes += got;
    n -= got;
  } while (n > 0);
  return 1;
}

/* s:space(least, most): how many bytes it would receive directly, or nil. */
static int probe_space(lua_State *L) {
  size_t n;
  if (!lw_session_space(&self(L)->session, (size_t)luaL_checkinteger(L, 2),
                        (size_t)luaL_checkinteger(L, 3), &n))
    return 0;
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

/* s:filled(bytes): they came directly. Leaves the events to s:next(). */
static int probe_filled(lua_State *L) {
  probe *p = self(L);
  size_t n, room;
  const char *bytes = luaL_checklstring(L, 2, &n);
  unsigned char *at = lw_session_space(&p->session, 1, n, &room);
  if (!at || room < n) return luaL_error(L, "there is no such room");
  memcpy(at, bytes, n);
  lw_session_filled(&p->session, n);
  return 0;
}

/* --- out --- */

static lw_opcode opcode(lua_State *L, int i) {
  static const char *const kinds[] = {"text", "binary", NULL};
  return luaL_checkoption(L, i, NULL, kinds) ? LW_BINARY : LW_TEXT;
}

static int probe_send(lua_State *L) {
  probe *p = self(L);
  size_t n;
  const char *bytes = luaL_checklstring(L, 3, &n);
  return result(L, lw_session_send(&p->session, opcode(L, 2), bytes, n, lua_isnone(L, 4) || lua_toboolean(L, 4)));
}

static int probe_ping(lua_State *L) {
  probe *p = self(L);
  size_t n;
  const char *bytes = luaL_optlstring(L, 2, "", &n);
  return result(L, lw_session_ping(&p->session, bytes, n));
}

static int probe_close(lua_State *L) {
  probe *p = self(L);
  size_t n;
  const char *reason = luaL_optlstring(L, 3, "", &n);
  lw_session_close(&p->session, (unsigned)luaL_optinteger(L, 2, 0), reason, n);
  return 0;
}

/* s:frame(kind, data): one message framed for many sessions, for s:share. */
static int probe_frame(lua_State *L) {
  probe *p = self(L);
  size_t n;
  const char *bytes = luaL_checklstring(L, 3, &n);
  framed *f = lua_newuserdatauv(L, sizeof *f, 0);
  f->n = n;
  f->chunk = lw_session_frame(NULL, &p->limits, opcode(L, 2), 0, bytes, n);
  luaL_getmetatable(L, FRAMED);
  lua_setmetatable(L, -2);
  return f->chunk ? 1 : result(L, LW_ERR_MEMORY);
}

static int probe_share(lua_State *L) {
  probe *p = self(L);
  framed *f = luaL_checkudata(L, 2, FRAMED);
  return result(L, lw_session_share(&p->session, f->chunk, f->n, 0));
}

static int framed_gc(lua_State *L) {
  framed *f = luaL_checkudata(L, 1, FRAMED);
  lw_chunk_release(NULL, f->chunk);
  f->chunk = NULL;
  return 0;
}

/* s:peek([slices]): the bytes that at most so many slices show; they stay. */
static int probe_peek(lua_State *L) {
  probe *p = self(L);
  lw_slice slices[SLICES];
  int most = (int)luaL_optinteger(L, 2, SLICES);
  int count = lw_session_output(&p->session, slices, most < SLICES ? most : SLICES);
  luaL_Buffer bytes;
  if (count < 0) return result(L, count);
  luaL_buffinit(L, &bytes);
  for (int i = 0; i < count; i++)
    luaL_addlstring(&bytes, (const char *)slices[i].bytes, slices[i].n);
  luaL_pushresult(&bytes);
  return 1;
}

static int probe_sent(lua_State *L) {
  lw_session_sent(&self(L)->session, (size_t)luaL_checkinteger(L, 2));
  return 0;
}

/* s:output([most]): takes all that is to be sent, or the first bytes of it. */
static int probe_output(lua_State *L) {
  probe *p = self(L);
  size_t most = (size_t)luaL_optinteger(L, 2, (lua_Integer)PTRDIFF_MAX);
  luaL_Buffer bytes;
  int count = 1;
  luaL_buffinit(L, &bytes);
  while (count > 0 && most > 0) {
    lw_slice slices[SLICES];
    size_t taken = 0;
    count = lw_session_output(&p->session, slices, SLICES);
    for (int i = 0; i < count; i++) {
      size_t n = slices[i].n < most - taken ? slices[i].n : most - taken;
      luaL_addlstring(&bytes, (const char *)slices[i].bytes, n);
      taken += n;
    }
    lw_session_sent(&p->session, taken);
    most -= taken;
  }
  luaL_pushresult(&bytes);
  return count < 0 ? result(L, count) : 1;
}

/* s:begin(n): a long message of n bytes, binary. */
static int probe_begin(lua_State *L) {
  return result(L, lw_session_begin(&self(L)->session, LW_BINARY, (uint64_t)luaL_checkinteger(L, 2)));
}

static int probe_wants(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lw_session_wants(&self(L)->session));
  return 1;
}

/* s:fill(bytes): as many as it wants. true when the message is whole, false when not; nil and a name. */
static int probe_fill(lua_State *L) {
  lw_session *s = &self(L)->session;
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  unsigned char *room;
  int got = LW_ERR_MEMORY;
  luaL_argcheck(L, n > 0 && n == lw_session_wants(s), 2, "not as many as are wanted");
  if ((room = lw_session_room(s))) {
    memcpy(room, bytes, n);
    got = lw_session_fill(s);
  }
  if (got < 0) return result(L, got);
  lua_pushboolean(L, got);
  return 1;
}

/* s:breakOff(): the payload cannot be had. */
static int probe_break(lua_State *L) {
  lw_session_break(&self(L)->session, LW_ERR_FILE);
  return 0;
}

static int probe_forsake(lua_State *L) {
  lw_session_forsake(&self(L)->session);
  return 0;
}

/* s:places() -> bytes gone and written, of messages alone; content in memory; framing in memory */
static int probe_places(lua_State *L) {
  const lw_session *s = &self(L)->session;
  lua_pushinteger(L, (lua_Integer)lw_outgoing_gone(&s->out));
  lua_pushinteger(L, (lua_Integer)lw_outgoing_written(&s->out));
  lua_pushinteger(L, (lua_Integer)lw_session_held(s));
  lua_pushinteger(L, (lua_Integer)lw_outgoing_framing(&s->out));
  return 4;
}

/* --- what it says of itself --- */

static int probe_state(lua_State *L) {
  static const char *const states[] = {
      [LW_SESSION_OPEN] = "open",
      [LW_SESSION_CLOSING] = "closing",
      [LW_SESSION_CLOSED] = "closed",
      [LW_SESSION_FAILED] = "failed",
  };
  lua_pushstring(L, states[self(L)->session.state]);
  return 1;
}

static int probe_pending(lua_State *L) {
  lua_pushboolean(L, lw_session_pending(&self(L)->session));
  return 1;
}

static int probe_hungry(lua_State *L) {
  lua_pushboolean(L, lw_session_hungry(&self(L)->session));
  return 1;
}

static int probe_between(lua_State *L) {
  lua_pushboolean(L, lw_session_between(&self(L)->session));
  return 1;
}

static int probe_buffered(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lw_session_buffered(&self(L)->session));
  return 1;
}

/* s:held(): bytes of memory held for what the peer has sent; zlib's, of this session; and its contexts that nobody uses */
static int probe_held(lua_State *L) {
  const lw_session *s = &self(L)->session;
  size_t stashed = s->stash ? (size_t)(s->stashed ? s->end - s->in : 1) : 0;
  lua_pushinteger(L, (lua_Integer)(s->message_capacity + stashed));
  lua_pushinteger(L, (lua_Integer)self(L)->shelf.held);
  lua_pushinteger(L, (lua_Integer)(self(L)->shelf.inflating_kept + self(L)->shelf.deflating_kept));
  return 3;
}

/* --- the module --- */

static const luaL_Reg methods[] = {
    {"feed", probe_feed},         {"give", probe_give},       {"next", probe_next},
    {"stash", probe_stash},       {"space", probe_space},     {"filled", probe_filled},
    {"send", probe_send},         {"ping", probe_ping},       {"close", probe_close},
    {"frame", probe_frame},       {"share", probe_share},     {"peek", probe_peek},
    {"sent", probe_sent},         {"output", probe_output},   {"state", probe_state},
    {"pending", probe_pending},   {"hungry", probe_hungry},   {"between", probe_between},
    {"buffered", probe_buffered}, {"held", probe_held},       {"again", probe_again},
    {"begin", probe_begin},       {"wants", probe_wants},     {"fill", probe_fill},
    {"breakOff", probe_break},    {"forsake", probe_forsake}, {"places", probe_places},
    {"data", probe_data},         {"__gc", probe_gc},
    {NULL, NULL},
};

static const luaL_Reg framed_methods[] = {{"__gc", framed_gc}, {NULL, NULL}};

void probe_session(lua_State *L) {
  probe_class(L, SESSION, methods);
  probe_class(L, FRAMED, framed_methods);
  lua_pushcfunction(L, probe_new);
  lua_setfield(L, -2, "session");
  lua_pushcfunction(L, probe_starve);
  lua_setfield(L, -2, "starve");
  lua_pushcfunction(L, probe_exhaust);
  lua_setfield(L, -2, "exhaust");
}
