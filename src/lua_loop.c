/*
** lua_loop.c -- the loop as a host and a script see it: now, flush, fd, timeout, watch, onsignal.
*/
#include "lua_loop.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------- watch */

enum { READER, WRITER, ROLES };

typedef struct watch_box watch_box;

/*
** A watched descriptor, with a place for who waits to read and one for who waits to write:
** a poller takes each descriptor once. A userdata without metatable that stands in the
** host's table of the watched while anybody watches it.
*/
typedef struct descriptor {
  lw_source source;
  watch_box *watchers[ROLES];
  int last; /* the role called last: next time the other is called first */
  int lost; /* closed behind our back, and its number given to another */
} descriptor;

struct watch_box {
  lw_box box;
  descriptor *at; /* NULL: closed */
  int role;
};

enum { FUNCTION = 1, DESCRIPTOR, VALUES = DESCRIPTOR };

static unsigned wanted(const descriptor *d) {
  return (d->watchers[READER] ? LW_READ : 0) | (d->watchers[WRITER] ? LW_WRITE : 0);
}

/* Pushes the descriptor watched under this number and returns it, or pushes nil. */
static descriptor *push_descriptor(lua_State *L, int fd) {
  lua_getiuservalue(L, LW_HOST, LW_HOST_WATCHED);
  lua_rawgeti(L, -1, fd);
  lua_remove(L, -2);
  return lua_touserdata(L, -1);
}

/* Puts what is on top (a descriptor, or nil) into the table of the watched, and pops it. */
static void set_descriptor(lua_State *L, int fd) {
  lua_getiuservalue(L, LW_HOST, LW_HOST_WATCHED);
  lua_insert(L, -2);
  lua_rawseti(L, -2, fd);
  lua_pop(L, 1);
}

/* One watcher less. What is left of its descriptor's interest cannot fail to be registered. */
static void leave_descriptor(lua_State *L, lw_loop *loop, watch_box *w) {
  descriptor *d = w->at;
  w->at = NULL;
  d->watchers[w->role] = NULL;
  if (d->lost) return;
  lw_source_watch(loop, &d->source, wanted(d));
  if (wanted(d)) return;
  lw_source_leave(loop, &d->source);
  lua_pushnil(L);
  set_descriptor(L, d->source.fd);
}

static void stop(lua_State *L, watch_box *w, int index) {
  lw_host *host = w->box.host;
  if (!w->at || !host->loop) return;
  index = lua_absindex(L, index);
  leave_descriptor(L, host->loop, w);
  host->waiting--;
  lw_box_die(L, &w->box);
  for (int value = 1; value <= VALUES; value++) {
    lua_pushnil(L);
    lua_setiuservalue(L, index, value);
  }
}

/* watch:close(), and the end of a <close> variable. */
static int watch_close(lua_State *L) {
  stop(L, lw_box_check(L, 1, "lunawire.Watch"), 1);
  return 0;
}

static int watch_gc(lua_State *L) {
  watch_box *w = lw_box_test(L, 1);
  if (w) stop(L, w, 1);
  return 0;
}

/* A number, or a Lua file. */
static int check_fd(lua_State *L, int index) {
  lua_Number fd;
  FILE **file = lw_testfile(L, index);
  if (file) {
    if (!*file) lw_raise(L, "TypeError", "watch: the file is closed");
    return fileno(*file);
  }
  if (lua_type(L, index) != LUA_TNUMBER)
    lw_raise(L, "TypeError", "watch: a descriptor or a file expected, got %s", lw_typename(L, index));
  fd = lua_tonumber(L, index);
  if (!(fd >= 0 && fd <= 1e6) || fd != (lua_Number)(int)fd)
    lw_raise(L, "TypeError", "watch: %.14g is no descriptor", fd);
  return (int)fd;
}

static int check_role(lua_State *L, int index) {
  const char *mode = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
  if (*mode && lua_rawlen(L, index) == 1 && strchr("rw", *mode)) return *mode == 'r' ? READER : WRITER;
  lw_raise(L, "TypeError", "watch: \"r\" or \"w\" expected, got %s", *mode ? mode : lw_typename(L, index));
}

/*
** Pushes the descriptor of this number, new or known. One that the poller knows no longer
** was closed by the program while it was watched; those who watch it wait in vain.
*/
static descriptor *find_descriptor(lua_State *L, lw_loop *loop, int fd) {
  descriptor *d = push_descriptor(L, fd);
  unsigned had = d ? d->source.interest : 0;
  if (d && (!had || d->source.constant || lw_poll_set(loop->poll, fd, had, had, &d->source) == 0)) return d;
  if (d) {
    d->lost = 1;
    lw_source_leave(loop, &d->source);
  }
  lua_pop(L, 1);
  d = lua_newuserdatauv(L, sizeof *d, 0);
  memset(d, 0, sizeof *d);
  lw_source_init(&d->source, LW_KIND_WATCH, d);
  d->source.fd = fd;
  d->last = WRITER;
  lua_pushvalue(L, -1);
  set_descriptor(L, fd);
  return d;
}

/* Gives the watcher its place in the descriptor. 0 or a negative lw_err. */
static int join_descriptor(lua_State *L, lw_loop *loop, descriptor *d, watch_box *w) {
  int err;
  if (d->watchers[w->role]) return LW_ERR_SYS(EEXIST);
  w->at = d;
  d->watchers[w->role] = w;
  err = lw_source_watch(loop, &d->source, wanted(d));
  if (err < 0) leave_descriptor(L, loop, w);
  return err;
}

/* watch(fd, "r" | "w", fn) */
static int watch(lua_State *L) {
  lw_host *host = lw_host_check(L);
  int fd = check_fd(L, 1), role = check_role(L, 2), err;
  watch_box *w;
  descriptor *d;
  lw_check_function(L, 3, "watch");
  lua_settop(L, 3);
  w = lua_newuserdatauv(L, sizeof *w, VALUES); /* 4 */
  memset(w, 0, sizeof *w);
  w->box.host = host;
  w->role = role;
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_setmetatable(L, 4);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 4, FUNCTION);
  d = find_descriptor(L, host->loop, fd);
  lua_setiuservalue(L, 4, DESCRIPTOR);
  lw_box_live(L, &w->box, 4);
  if ((err = join_descriptor(L, host->loop, d, w)) < 0) {
    lw_box_die(L, &w->box);
    if (err == LW_ERR_SYS(EEXIST)) lw_raise(L, "InvalidStateError", "watch: descriptor %d is watched already", fd);
    lua_pushfstring(L, "watch descriptor %d", fd);
    lw_raise_err(L, lua_tostring(L, -1), err);
  }
  host->waiting++;
  return 1;
}

int lw_watch_fire(lua_State *L, void *owner, unsigned why) {
  static const unsigned reasons[ROLES] = {LW_READ, LW_WRITE};
  descriptor *d = owner;
  int base = lua_gettop(L) + 1, first = !d->last, called = 0;
  watch_box *due[ROLES];
  push_descriptor(L, d->source.fd); /* it and both watchers stay, whatever they do to each other */
  for (int role = 0; role < ROLES; role++) {
    due[role] = why & reasons[role] ? d->watchers[role] : NULL;
    if (due[role]) lw_box_push(L, &due[role]->box);
    else lua_pushnil(L);
  }
  for (int i = 0; i < ROLES; i++) {
    int role = first ^ i;
    if (!due[role] || due[role]->at != d) continue;
    d->last = role;
    called++;
    lua_getiuservalue(L, base + 1 + role, FUNCTION);
    lua_pushvalue(L, base + 1 + role);
    lua_call(L, 1, 0);
  }
  lua_settop(L, base - 1);
  return called;
}

/* ----------------------------------------------------------------- signals */

static int check_signal(lua_State *L) {
  const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
  int number = name && strlen(name) == lua_rawlen(L, 1) ? lw_signal_number(name) : 0;
  if (!name) lw_raise(L, "TypeError", "onsignal: a signal's name expected, got %s", lw_typename(L, 1));
  if (!number) lw_raise(L, "TypeError", "onsignal: \"%s\" is no signal that can be caught (\"INT\", \"TERM\", \"HUP\", …)", name);
  return number;
}

/* Stack: name, function or nil, functions. */
static void keep_function(lua_State *L, int number) {
  lua_pushvalue(L, 2);
  lua_rawseti(L, 3, number);
}

/* onsignal(name, fn | nil) */
static int on_signal(lua_State *L) {
  lw_host *host = lw_host_check(L);
  int number = check_signal(L), err = 0;
  lua_settop(L, 2);
  lua_getiuservalue(L, LW_HOST, LW_HOST_SIGNALS); /* 3 */
  if (!lua_isnil(L, 2)) {
    lw_check_function(L, 2, "onsignal");
    keep_function(L, number); /* first: a signal that is taken must have somebody */
    if (!host->signals) host->signals = lw_signals_new(host->loop, LW_KIND_SIGNAL, host, &err);
    if (host->signals) err = lw_signals_take(host->signals, number);
    if (err < 0) {
      lua_pushnil(L);
      lua_rawseti(L, 3, number);
    }
    if (err == LW_ERR_BUSY) lw_raise(L, "InvalidStateError", "onsignal: another loop of this process has %s", lua_tostring(L, 1));
    if (err < 0) lw_raise_err(L, "onsignal", err);
  } else if (host->signals) {
    lw_signals_restore(host->signals, number);
    keep_function(L, number);
  }
  return 0;
}

int lw_signal_fire(lua_State *L) {
  lw_host *host = lw_host_of(L);
  int number, called = 0;
  while (host->signals && (number = lw_signals_next(host->signals)) > 0) {
    lua_getiuservalue(L, LW_HOST, LW_HOST_SIGNALS);
    lua_rawgeti(L, -1, number);
    lua_remove(L, -2);
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      continue;
    }
    called++;
    lua_call(L, 0, 0);
  }
  return called;
}

/* ---------------------------------------------------------------- the rest */

/* now(): monotonic milliseconds. */
static int now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)lw_sys_real.now() / 1e6);
  return 1;
}

/* flush(): hands queued output to the system. */
static int flush(lua_State *L) {
  lw_hub_flush(&lw_host_check(L)->hub);
  return 0;
}

/* fd(): one descriptor for everything the loop waits on; nil where the backend has none. */
static int fd(lua_State *L) {
  lw_host *host = lw_host_check(L);
  int err = lw_loop_open(host->loop), number;
  if (err < 0) lw_raise_err(L, "fd", err);
  number = lw_poll_fd(host->loop->poll);
  if (number < 0) lua_pushnil(L);
  else lua_pushinteger(L, number);
  return 1;
}

/* timeout(): milliseconds until step has work; 0 while anything is queued; nil: none. */
static int timeout(lua_State *L) {
  lw_host *host = lw_host_check(L);
  int64_t wait = host->hub.dirty ? 0 : lw_loop_timeout(host->loop);
  if (wait < 0) lua_pushnil(L);
  else lua_pushnumber(L, (lua_Number)wait / 1e6);
  return 1;
}

/* pending(): is anything left that could call back? */
static int pending(lua_State *L) {
  lw_host *host = lw_host_check(L);
  lua_pushboolean(L, host->waiting > 0 || host->hub.all != NULL);
  return 1;
}

/*
** begin([timeout]): a `run` begins, which a stop() from before does not concern. Returns
** now() + timeout, or nil for ever. Raises inside a handler.
*/
static int begin(lua_State *L) {
  lw_host *host = lw_host_check(L);
  int for_ever = lua_isnoneornil(L, 1);
  lua_Number wait = for_ever ? HUGE_VAL : lua_tonumber(L, 1);
  if (!for_ever && lua_type(L, 1) != LUA_TNUMBER)
    lw_raise(L, "TypeError", "run: milliseconds expected, got %s", lw_typename(L, 1));
  if (isnan(wait) || wait == -HUGE_VAL) lw_raise(L, "TypeError", "run: milliseconds expected, got no such number");
  if (host->dispatching) lw_raise(L, "InvalidStateError", "run: called inside a handler");
  host->stopping = 0;
  if (wait == HUGE_VAL) lua_pushnil(L);
  else lua_pushnumber(L, (lua_Number)lw_sys_real.now() / 1e6 + wait);
  return 1;
}

/* stop(): the `run` in progress returns. */
static int stop_run(lua_State *L) {
  lw_host_of(L)->stopping = 1;
  return 0;
}

/* stopped(): was stop called since this was last asked? */
static int stopped(lua_State *L) {
  lw_host *host = lw_host_of(L);
  lua_pushboolean(L, host->stopping);
  host->stopping = 0;
  return 1;
}

/* module(t): t.onerror is asked when a handler has failed. */
static int module(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_setiuservalue(L, LW_HOST, LW_HOST_MODULE);
  return 0;
}

static const luaL_Reg metamethods[] = {{"__gc", watch_gc}, {"__close", watch_close}, {NULL, NULL}};
static const luaL_Reg methods[] = {{"close", watch_close}, {NULL, NULL}};
static const luaL_Reg watchers[] = {{"watch", watch}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"now", now},         {"flush", flush},     {"fd", fd},
                                     {"timeout", timeout}, {"pending", pending}, {"stop", stop_run},
                                     {"stopped", stopped}, {"begin", begin},     {"module", module},
                                     {"onsignal", on_signal}, {NULL, NULL}};

void lw_lua_loop_open(lua_State *L) {
  lw_class_new(L, "lunawire.Watch", metamethods); /* module, metatable */
  lua_newtable(L);
  lw_host_push(L);
  lua_pushvalue(L, -3);
  luaL_setfuncs(L, methods, 2);
  lua_setfield(L, -2, "__index");
  lw_host_push(L);
  lua_insert(L, -2);
  luaL_setfuncs(L, watchers, 2);
  lw_host_push(L);
  luaL_setfuncs(L, functions, 1);
}
