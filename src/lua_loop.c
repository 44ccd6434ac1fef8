/*
** lua_loop.c -- the loop as a host and a script see it: now, flush, fd, timeout, watch, onsignal.
*/
#include "lua_loop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------- watch */

typedef struct watch_box {
  lw_box box;
  lw_source source;
  int watching;
} watch_box;

enum { FUNCTION = 1, VALUES = FUNCTION };

static void stop(lua_State *L, watch_box *w, int index) {
  if (!w->watching) return;
  index = lua_absindex(L, index);
  w->watching = 0;
  if (!w->box.host->loop) return;
  lw_source_leave(w->box.host->loop, &w->source);
  w->box.host->waiting--;
  lw_box_die(L, &w->box);
  lua_pushnil(L);
  lua_setiuservalue(L, index, FUNCTION);
}

static int watch_close(lua_State *L) {
  stop(L, lw_box_check(L, 1, "lunawire.Watch"), 1);
  return 0;
}

static int watch_gc(lua_State *L) {
  watch_box *w = lw_box_test(L, 1);
  if (!w || !w->watching) return 0;
  w->watching = 0;
  if (w->box.host->loop) lw_source_leave(w->box.host->loop, &w->source);
  return 0;
}

/* A number, or a Lua file. */
static int check_fd(lua_State *L, int index) {
  lua_Number fd;
  FILE **file = luaL_testudata(L, index, LUA_FILEHANDLE);
  if (file) {
    if (!*file) lw_raise(L, "TypeError", "watch: the file is closed");
    return fileno(*file);
  }
  if (lua_type(L, index) != LUA_TNUMBER)
    lw_raise(L, "TypeError", "watch: a descriptor or a file expected, got %s", lw_typename(L, index));
  fd = lua_tonumber(L, index);
  if (fd < 0 || fd > 1e6 || fd != (lua_Number)(int)fd) lw_raise(L, "TypeError", "watch: %.14g is no descriptor", fd);
  return (int)fd;
}

static unsigned check_mode(lua_State *L, int index) {
  const char *mode = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
  if (strcmp(mode, "r") == 0) return LW_READ;
  if (strcmp(mode, "w") == 0) return LW_WRITE;
  lw_raise(L, "TypeError", "watch: \"r\" or \"w\" expected, got %s", *mode ? mode : lw_typename(L, index));
}

/* watch(fd, "r" | "w", fn) */
static int watch(lua_State *L) {
  lw_host *host = lw_host_check(L);
  watch_box *w;
  int fd = check_fd(L, 1), err;
  unsigned mode = check_mode(L, 2);
  lw_check_function(L, 3, "watch");
  lua_settop(L, 3);
  w = lua_newuserdatauv(L, sizeof *w, VALUES); /* 4 */
  memset(w, 0, sizeof *w);
  w->box.host = host;
  lw_source_init(&w->source, LW_KIND_WATCH, w);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_setmetatable(L, 4);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 4, FUNCTION);
  lw_box_live(L, &w->box, 4);
  w->source.fd = fd;
  err = lw_source_watch(host->loop, &w->source, mode);
  if (err < 0) {
    lw_box_die(L, &w->box);
    if (err == LW_ERR_SYS(EEXIST)) lw_raise(L, "InvalidStateError", "watch: descriptor %d is watched already", fd);
    lua_pushfstring(L, "watch descriptor %d", fd);
    lw_raise_err(L, lua_tostring(L, -1), err);
  }
  w->watching = 1;
  host->waiting++;
  return 1;
}

int lw_watch_fire(lua_State *L, void *owner) {
  watch_box *w = owner;
  if (!w->watching) return 0;
  lw_box_push(L, &w->box);
  lua_getiuservalue(L, -1, FUNCTION);
  lua_pushvalue(L, -2);
  lua_call(L, 1, 0);
  lua_pop(L, 1);
  return 1;
}

/* ----------------------------------------------------------------- signals */

static int check_signal(lua_State *L) {
  const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
  int number = name ? lw_signal_number(name) : 0;
  if (!name) lw_raise(L, "TypeError", "onsignal: a signal's name expected, got %s", lw_typename(L, 1));
  if (!number) lw_raise(L, "TypeError", "onsignal: \"%s\" is no signal that can be caught (\"INT\", \"TERM\", \"HUP\", …)", name);
  return number;
}

/* onsignal(name, fn | nil) */
static int on_signal(lua_State *L) {
  lw_host *host = lw_host_check(L);
  int number = check_signal(L), err = 0;
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    lw_check_function(L, 2, "onsignal");
    if (!host->signals) host->signals = lw_signals_new(host->loop, LW_KIND_SIGNAL, host, &err);
    if (host->signals) err = lw_signals_take(host->signals, number);
    if (err == LW_ERR_BUSY) lw_raise(L, "InvalidStateError", "onsignal: another loop of this process has %s", lua_tostring(L, 1));
    if (err < 0) lw_raise_err(L, "onsignal", err);
  } else if (host->signals) {
    lw_signals_restore(host->signals, number);
  }
  lua_getiuservalue(L, LW_HOST, LW_HOST_SIGNALS);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, number);
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
                                     {"stopped", stopped}, {"module", module},   {"onsignal", on_signal},
                                     {NULL, NULL}};

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
