/*
** lua_box.c -- what the classes share: boxes, error objects, the host.
*/
#include "lua_box.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char host_key, error_key, own_key; /* addresses are registry keys */

#define LONGEST 1e15 /* milliseconds: far beyond any clock, safe as nanoseconds in 64 bits after clamping */

/* ------------------------------------------------------------------ errors */

/* error:__tostring() -- "script.lua:3: SyntaxError: …" */
static int error_tostring(lua_State *L) {
  static const char *const parts[] = {"where", "name", "message"};
  luaL_checktype(L, 1, LUA_TTABLE);
  for (int i = 0; i < 3; i++) {
    lua_pushstring(L, parts[i]);
    lua_rawget(L, 1);
    if (!lua_isstring(L, -1)) {
      lua_pop(L, 1);
      lua_pushliteral(L, "");
    }
    if (i == 1) lua_pushliteral(L, ": ");
  }
  lua_concat(L, 4);
  return 1;
}

static void push_error_metatable(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &error_key);
  if (!lua_isnil(L, -1)) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, "lunawire.Error");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, error_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
}

/* Stack: … the sources of our own files. 1 if this call is of a function in one of them, or the mark of a tail call (5.1). */
static int is_own(lua_State *L, lua_Debug *call) {
  int own;
  lua_getinfo(L, "S", call);
  lua_getfield(L, -1, call->source);
  own = !lua_isnil(L, -1) || strcmp(call->what, "tail") == 0;
  lua_pop(L, 1);
  return own;
}

/* Pushes "script.lua:3: ", the nearest place that is not the library's own; "" if there is none. */
static void push_place(lua_State *L) {
  lua_Debug call;
  int level = 1;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &own_key);
  while (!lua_isnil(L, -1) && lua_getstack(L, level, &call) && is_own(L, &call)) level++;
  lua_pop(L, 1);
  luaL_where(L, level);
}

void lw_own_file(lua_State *L) {
  lua_Debug call;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &own_key);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &own_key);
  }
  if (lua_getstack(L, 1, &call) && lua_getinfo(L, "S", &call) && call.source[0] != '=') { /* a stripped file has no name */
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, call.source);
  }
  lua_pop(L, 1);
}

void *lw_guard_push(lua_State *L, size_t size, lua_CFunction gc) {
  void *memory = lua_newuserdatauv(L, size, 0);
  memset(memory, 0, size);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  return memory;
}

void lw_push_error(lua_State *L, const char *name, const char *message) {
  luaL_checkstack(L, 6, "error object");
  lua_createtable(L, 0, 3);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, message);
  lua_setfield(L, -2, "message");
  push_place(L);
  lua_setfield(L, -2, "where");
  push_error_metatable(L);
  lua_setmetatable(L, -2);
}

int lw_raise(lua_State *L, const char *name, const char *format, ...) {
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  lw_push_error(L, name, message);
  lua_error(L);
  __builtin_unreachable();
}

int lw_raise_err(lua_State *L, const char *what, int err) {
  if (err == LW_ERR_FORKED)
    lw_raise(L, "InvalidStateError", "%s: this process has forked since the loop was made", what);
  lw_raise(L, err == LW_ERR_MEMORY ? "MemoryError" : "SystemError", "%s: %s", what, lw_strerror(err));
}

const char *lw_typename(lua_State *L, int index) {
  if (lua_isnoneornil(L, index)) return "nil";
  if (luaL_getmetafield(L, index, "__name")) {
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, index);
    lua_pop(L, 1); /* the metatable keeps it */
    return name;
  }
  return luaL_typename(L, index);
}

void lw_check_function(lua_State *L, int index, const char *what) {
  if (lua_isfunction(L, index)) return;
  if (luaL_getmetafield(L, index, "__call")) {
    lua_pop(L, 1);
    return;
  }
  lw_raise(L, "TypeError", "%s: a function expected, got %s", what, lw_typename(L, index));
}

int64_t lw_check_milliseconds(lua_State *L, int index, const char *what, int64_t otherwise) {
  lua_Number ms;
  if (lua_isnoneornil(L, index)) return otherwise;
  if (lua_type(L, index) != LUA_TNUMBER)
    lw_raise(L, "TypeError", "%s: milliseconds expected, got %s", what, lw_typename(L, index));
  ms = lua_tonumber(L, index);
  if (isnan(ms) || isinf(ms))
    lw_raise(L, "TypeError", "%s: milliseconds expected, got %s", what, isnan(ms) ? "nan" : "infinity");
  if (ms < 0) return 0;
  if (ms > LONGEST / 1e3) ms = LONGEST / 1e3;
  return (int64_t)(ms * 1e6);
}

/* ------------------------------------------------------------------- host */

static int host_gc(lua_State *L);

/* Pushes a table that keeps no value alive. */
static void push_weak(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
}

lw_host *lw_host_push(lua_State *L) {
  lw_host *host;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &host_key);
  if (!lua_isnil(L, -1)) return lua_touserdata(L, -1);
  lua_pop(L, 1);
  host = lua_newuserdatauv(L, sizeof *host, LW_HOST_VALUES);
  memset(host, 0, sizeof *host);
  lua_createtable(L, 0, 3);
  lua_pushcfunction(L, host_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushliteral(L, "lunawire.loop");
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_newtable(L);
  lua_setiuservalue(L, -2, LW_HOST_LIVING);
  lua_newtable(L);
  lua_setiuservalue(L, -2, LW_HOST_SIGNALS);
  lua_newtable(L);
  lua_setiuservalue(L, -2, LW_HOST_WATCHED);
  push_weak(L);
  lua_setiuservalue(L, -2, LW_HOST_FAINT);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &host_key);
  host->loop = lw_loop_new(&lw_sys_real, NULL);
  if (!host->loop) lw_raise_err(L, "lunawire", LW_ERR_MEMORY);
  host->hub.loop = host->loop;
  return host;
}

/* The state is about to go: every connection makes one try to say goodbye (API, Lifetime). */
static int host_gc(lua_State *L) {
  lw_host *host = lua_touserdata(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &host_key);
  if (!host || !lua_rawequal(L, 1, -1) || !host->loop) return 0;
  lw_hub_clear(&host->hub);
  lw_tls_shelf_clear(&host->tls);
  lw_signals_free(host->signals);
  host->signals = NULL;
  lw_loop_free(host->loop);
  host->loop = host->hub.loop = NULL;
  return 0;
}

lw_host *lw_host_of(lua_State *L) {
  return lua_touserdata(L, LW_HOST);
}

lw_host *lw_host_check(lua_State *L) {
  lw_host *host = lw_host_of(L);
  if (!host->loop) lw_raise(L, "InvalidStateError", "lunawire: the Lua state is being closed");
  if (lw_loop_forked(host->loop)) lw_raise_err(L, "lunawire", LW_ERR_FORKED);
  return host;
}

/* ------------------------------------------------------------------ boxes */

/* Free places are chained through the table of the living, so it stays dense. */
void lw_box_live(lua_State *L, lw_box *box, int index) {
  lw_host *host = box->host;
  int slot;
  if (box->slot) return;
  index = lua_absindex(L, index);
  lua_getiuservalue(L, LW_HOST, LW_HOST_LIVING);
  slot = host->free_slot ? host->free_slot : host->slots + 1;
  if (host->free_slot) {
    lua_rawgeti(L, -1, slot);
    host->free_slot = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, slot); /* may raise only for a new place */
  lua_pop(L, 1);
  if (slot > host->slots) host->slots = slot;
  box->slot = slot;
}

void lw_box_die(lua_State *L, lw_box *box) {
  lw_host *host = box->host;
  if (!box->slot) return;
  lua_getiuservalue(L, LW_HOST, LW_HOST_LIVING);
  lua_pushinteger(L, host->free_slot);
  lua_rawseti(L, -2, box->slot);
  lua_pop(L, 1);
  host->free_slot = box->slot;
  box->slot = 0;
}

void lw_box_rest(lua_State *L, const lw_box *box) {
  lua_getiuservalue(L, LW_HOST, LW_HOST_LIVING);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, box->slot);
  lua_pop(L, 1);
}

void lw_box_wake(lua_State *L, const lw_box *box, int index) {
  index = lua_absindex(L, index);
  lua_getiuservalue(L, LW_HOST, LW_HOST_LIVING);
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, box->slot);
  lua_pop(L, 1);
}

void lw_box_push(lua_State *L, const lw_box *box) {
  lua_getiuservalue(L, LW_HOST, LW_HOST_LIVING);
  lua_rawgeti(L, -1, box->slot);
  lua_remove(L, -2);
}

void lw_box_note(lua_State *L, const lw_box *box, int index) {
  index = lua_absindex(L, index);
  lua_getiuservalue(L, LW_HOST, LW_HOST_FAINT);
  lua_pushvalue(L, index);
  lua_rawsetp(L, -2, box);
  lua_pop(L, 1);
}

int lw_box_find(lua_State *L, const lw_box *box) {
  lua_getiuservalue(L, LW_HOST, LW_HOST_FAINT);
  lua_rawgetp(L, -1, box);
  lua_remove(L, -2);
  if (!lua_isnil(L, -1)) return 1;
  lua_pop(L, 1);
  return 0;
}

void lw_class_new(lua_State *L, const char *name, const luaL_Reg *metamethods) {
  lua_createtable(L, 0, 8);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lw_host_push(L);
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, metamethods, 2);
}

void lw_value_class_new(lua_State *L, const char *name, const void *key, const luaL_Reg *metamethods,
                        const luaL_Reg *methods, lua_CFunction index) {
  lw_class_new(L, name, metamethods);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
  lw_host_push(L);
  lua_pushvalue(L, -2);
  lua_newtable(L); /* metatable, host, metatable, methods */
  lua_pushvalue(L, -3);
  lua_pushvalue(L, -3);
  luaL_setfuncs(L, methods, 2);
  lua_pushcclosure(L, index, 3);
  lua_setfield(L, -2, "__index");
}

void *lw_class_test(lua_State *L, int index, const void *key) {
  void *box = lua_type(L, index) == LUA_TUSERDATA ? lua_touserdata(L, index) : NULL;
  int same;
  if (!box || !lua_getmetatable(L, index)) return NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same ? box : NULL;
}

void lw_callable_push(lua_State *L, lua_CFunction call) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lw_host_push(L);
  lua_pushcclosure(L, call, 1);
  lua_setfield(L, -2, "__call");
  lua_setmetatable(L, -2);
}

void *lw_box_test(lua_State *L, int index) {
  void *box = lua_type(L, index) == LUA_TUSERDATA ? lua_touserdata(L, index) : NULL;
  int same;
  if (!box || !lua_getmetatable(L, index)) return NULL;
  same = lua_rawequal(L, -1, lua_upvalueindex(2));
  lua_pop(L, 1);
  return same ? box : NULL;
}

/* Whoever comes from JavaScript writes ws.send("x"): the method is a field then, and the box is missing. */
void *lw_box_check(lua_State *L, int index, const char *name) {
  void *box = lw_box_test(L, index);
  lua_Debug call;
  if (box) return box;
  if (lua_getstack(L, 0, &call) && lua_getinfo(L, "n", &call) && call.name && strcmp(call.namewhat, "field") == 0)
    lw_raise(L, "TypeError", "%s expected, got %s (did you mean \":%s\", with a colon?)", name, lw_typename(L, index),
             call.name);
  lw_raise(L, "TypeError", "%s expected, got %s", name, lw_typename(L, index));
}

#define LARGEST_FRAME 256 /* of a Lua function, which has 255 registers at most */

void lw_reserve_stack(lua_State *L, int n, const char *what) {
  if (!lua_checkstack(L, n + LARGEST_FRAME)) lw_raise_err(L, what, LW_ERR_MEMORY);
}

#define RESERVED_CALLS 10 /* each with the stack that a C function may use */

/* reach(n): calls itself so often. */
static int reach(lua_State *L) {
  lua_Integer left = lua_tointeger(L, 1);
  if (left == 0) return 0;
  lua_pushcfunction(L, reach);
  lua_pushinteger(L, left - 1);
  lua_call(L, 1, 0);
  return 0;
}

void lw_reserve_calls(lua_State *L) {
  lua_pushcfunction(L, reach);
  lua_pushinteger(L, RESERVED_CALLS - 1);
  lua_call(L, 1, 0);
}
