/*
** lua_compat.h -- what differs between Lua 5.1 ... 5.5 and LuaJIT, and nothing else.
** The only file that includes lua.h.
*/
#ifndef LW_LUA_COMPAT_H
#define LW_LUA_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

#pragma GCC visibility push(hidden)

/* Pushes a traceback of at most `most` calls, whatever is above them. */
static inline void lw_push_calls(lua_State *L, const char *message, int level, int most) {
  lua_Debug call;
  lua_pushfstring(L, "%s%sstack traceback:", message ? message : "", message ? "\n" : "");
  for (int end = level + most; level < end && lua_getstack(L, level, &call); level++) {
    lua_getinfo(L, "Sl", &call);
    lua_pushfstring(L, "\n\t%s:%d: in function <%s:%d>", call.short_src, call.currentline, call.short_src,
                    call.linedefined);
    lua_concat(L, 2);
  }
  if (!lua_getstack(L, level, &call)) return;
  lua_pushliteral(L, "\n\t...");
  lua_concat(L, 2);
}

#if LUA_VERSION_NUM < 502

#define lua_rawlen lua_objlen
#define lua_pushglobaltable(L) lua_pushvalue(L, LUA_GLOBALSINDEX)
#define lua_absindex(L, i) ((i) > 0 || (i) <= LUA_REGISTRYINDEX ? (i) : lua_gettop(L) + (i) + 1)
#define LUA_OK 0

static inline void lw_compat_setfuncs(lua_State *L, const luaL_Reg *l, int nup) {
  for (; l->name; l++) {
    for (int i = 0; i < nup; i++) lua_pushvalue(L, -nup);
    lua_pushcclosure(L, l->func, nup);
    lua_setfield(L, -(nup + 2), l->name);
  }
  lua_pop(L, nup);
}
#undef luaL_setfuncs
#define luaL_setfuncs lw_compat_setfuncs

#ifndef luaL_newlibtable /* 5.1 itself: LuaJIT has these */

static inline void *luaL_testudata(lua_State *L, int index, const char *name) {
  void *p = lua_touserdata(L, index);
  int same;
  if (!p || !lua_getmetatable(L, index)) return NULL;
  luaL_getmetatable(L, name);
  same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same ? p : NULL;
}

#define luaL_traceback(L, from, message, level) lw_push_calls(L, message, level, 20)

#endif

static inline void lua_rawgetp(lua_State *L, int index, const void *p) {
  index = lua_absindex(L, index);
  lua_pushlightuserdata(L, (void *)(size_t)p);
  lua_rawget(L, index);
}

static inline void lua_rawsetp(lua_State *L, int index, const void *p) {
  index = lua_absindex(L, index);
  lua_pushlightuserdata(L, (void *)(size_t)p);
  lua_insert(L, -2);
  lua_rawset(L, index);
}

#endif

#if LUA_VERSION_NUM < 503

static inline int lua_isinteger(lua_State *L, int index) {
  lua_Number n = lua_tonumber(L, index);
  return lua_type(L, index) == LUA_TNUMBER && n >= -9007199254740992.0 && n <= 9007199254740992.0 &&
         (lua_Number)(long long)n == n;
}

#endif

/*
** User values: on 5.4 each has its place in the userdata; before, they share one table,
** which is made with the userdata, so that setting one raises no later than on 5.4.
*/
#if LUA_VERSION_NUM < 504

static inline void *lua_newuserdatauv(lua_State *L, size_t size, int values) {
  void *p = lua_newuserdata(L, size);
  lua_createtable(L, values, 0);
#if LUA_VERSION_NUM < 502
  lua_setfenv(L, -2);
#else
  lua_setuservalue(L, -2);
#endif
  return p;
}

static inline int lua_getiuservalue(lua_State *L, int index, int n) {
#if LUA_VERSION_NUM < 502
  lua_getfenv(L, index);
#else
  lua_getuservalue(L, index);
#endif
  lua_rawgeti(L, -1, n);
  lua_remove(L, -2);
  return lua_type(L, -1);
}

static inline int lua_setiuservalue(lua_State *L, int index, int n) {
#if LUA_VERSION_NUM < 502
  lua_getfenv(L, index);
#else
  lua_getuservalue(L, index);
#endif
  lua_insert(L, -2);
  lua_rawseti(L, -2, n);
  lua_pop(L, 1);
  return 1;
}

/* 5.4 is the first with a warning system; before, they go where its own would, and are always on. */
static inline void lua_warning(lua_State *L, const char *message, int to_be_continued) {
  (void)L;
  fprintf(stderr, "%s%s", message, to_be_continued ? "" : "\n");
}

#endif

/* tostring(value), as a function to call: a __tostring may raise. */
static inline int lw_tostring(lua_State *L) {
#if LUA_VERSION_NUM < 502
  if (luaL_callmeta(L, 1, "__tostring")) return 1;
  lua_pushstring(L, lua_isstring(L, 1) ? lua_tostring(L, 1) : luaL_typename(L, 1));
#else
  luaL_tolstring(L, 1, NULL);
#endif
  return 1;
}

/* The FILE of a Lua file at `index` (NULL inside: closed), or NULL when it is none. */
static inline FILE **lw_testfile(lua_State *L, int index) {
#if LUA_VERSION_NUM < 502
  return luaL_testudata(L, index, LUA_FILEHANDLE);
#else
  luaL_Stream *stream = luaL_testudata(L, index, LUA_FILEHANDLE);
  static FILE *closed;
  return !stream ? NULL : stream->closef ? &stream->f : &closed;
#endif
}

/* Types the getters return only since 5.3. */
static inline int lw_rawget(lua_State *L, int index) {
  lua_rawget(L, index);
  return lua_type(L, -1);
}

static inline int lw_getfield(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  return lua_type(L, -1);
}

static inline int lw_rawgeti(lua_State *L, int index, int n) {
  lua_rawgeti(L, index, n);
  return lua_type(L, -1);
}

#pragma GCC visibility pop
#endif
