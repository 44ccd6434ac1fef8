/*
** lua_policy.c -- what policy written in Lua needs of the core: error objects, chance, a
** message's size, the nearest name to a mistyped one, and handlers called as our own are.
*/
#include "lua_policy.h"

#include <stdint.h>
#include <string.h>

#include "lua_box.h"
#include "lua_buffer.h"
#include "lua_check.h"
#include "lua_event.h"
#include "lua_option.h"

#define MOST_BYTES 65536 /* of randomBytes: as crypto.getRandomValues in the browser */
#define MOST_NAMES 256   /* that a mistyped one is compared with */

/* ours(): the file that calls this is the library's own, and no mistake found in it is its. */
static int ours(lua_State *L) {
  lw_own_file(L);
  return 0;
}

/* Error(name, message): the object that a caller's mistake raises. */
static int new_error(lua_State *L) {
  lw_push_error(L, luaL_checkstring(L, 1), luaL_checkstring(L, 2));
  return 1;
}

/* nearest(name, names): the one meant by a mistyped name, or nil. */
static int nearest(lua_State *L) {
  const char *name = luaL_checkstring(L, 1), *names[MOST_NAMES], *near;
  int count = 0;
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checkstack(L, MOST_NAMES, "names");
  for (int i = 1; count < MOST_NAMES && lw_rawgeti(L, 2, i) == LUA_TSTRING; i++) names[count++] = lua_tostring(L, -1);
  near = lw_nearest(name, names, (size_t)count, sizeof *names);
  lua_pushstring(L, near); /* NULL: nil */
  return 1;
}

/* random(): a number in [0, 1) from the system's random source, 53 bits of it. */
static int random_number(lua_State *L) {
  lw_host *host = lw_host_check(L);
  uint64_t bits;
  int err = lw_entropy_take(&host->loop->entropy, &bits, sizeof bits);
  if (err < 0) lw_raise_err(L, "random", err);
  lua_pushnumber(L, (lua_Number)(bits >> 11) / 9007199254740992.0);
  return 1;
}

/* randomBytes(n): a string of n random bytes. */
static int random_bytes(lua_State *L) {
  unsigned char bytes[64];
  luaL_Buffer text;
  lua_Number n = lua_type(L, 1) == LUA_TNUMBER ? lua_tonumber(L, 1) : -1;
  int err;
  lw_host_check(L);
  if (!(n >= 0 && n <= MOST_BYTES && n == (lua_Number)(size_t)n))
    lw_raise(L, "TypeError", "randomBytes: a whole number from 0 to %d expected", MOST_BYTES);
  luaL_buffinit(L, &text);
  for (size_t left = (size_t)n, some; left > 0; left -= some) {
    some = left < sizeof bytes ? left : sizeof bytes;
    if ((err = lw_random(bytes, some)) < 0) lw_raise_err(L, "randomBytes", err);
    luaL_addlstring(&text, (const char *)bytes, some);
  }
  luaL_pushresult(&text);
  return 1;
}

/*
** messageSize(data [, "binary" | options]): the bytes of the message that `send` would make of it, and how many of them
** are in memory; raises what send raises.
*/
static int message_size(lua_State *L) {
  lw_data data;
  lua_settop(L, 2);
  lw_check_data(L, 1, "send", &data);
  lua_pushinteger(L, (lua_Integer)data.n);
  lua_pushinteger(L, data.blob ? (lua_Integer)lw_blob_held(data.blob) : (lua_Integer)data.n);
  return 2;
}

/* snapshot(data): what does not change while it is kept: of an ArrayBuffer a copy, all else is itself. */
static int snapshot(lua_State *L) {
  const lw_array_buffer *buffer = lw_buffer_test(L, 1);
  lua_settop(L, 1);
  if (buffer) memcpy(lw_buffer_push(L, buffer->n)->bytes, buffer->bytes, buffer->n);
  return 1;
}

/*
** attempt(source, fn, event): calls fn(event). true; also when lunawire.onerror took its
** error, with `source` as whose handler it was. Otherwise false and the error. It takes no memory itself.
** Upvalues: host, lw_event_traceback.
*/
static int attempt(lua_State *L) {
  lua_settop(L, 3);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1); /* traceback, source, fn, event */
  if (lua_pcall(L, 1, 0, 1) != LUA_OK) {
    lw_host_of(L)->failures++;
    if (!lw_event_report(L, 2)) {
      lua_pushboolean(L, 0);
      lua_insert(L, -2);
      return 2;
    }
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* raise(error): the error of an attempt goes on; nobody asks onerror again. */
static int raise_again(lua_State *L) {
  lua_settop(L, 1);
  lw_host_of(L)->reported = 1;
  return lua_error(L);
}

/*
** report(error, source, traceback): an error of a coroutine, whose calls are not those above
** us. true if lunawire.onerror took it; otherwise false and what is to be raised.
*/
static int report(lua_State *L) {
  lua_settop(L, 3);
  lua_setiuservalue(L, LW_HOST, LW_HOST_TRACEBACK);
  lua_insert(L, 1); /* source, error */
  if (lw_event_report(L, 1)) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

/* inHandler(): is a handler running, so that the loop cannot be turned? false, or a number: another after each error. */
static int in_handler(lua_State *L) {
  const lw_host *host = lw_host_of(L);
  if (host->dispatching) lua_pushinteger(L, (lua_Integer)host->rounds);
  else lua_pushboolean(L, 0);
  return 1;
}

/* warn(error): one that came behind another of the same event. */
static int warn_of(lua_State *L) {
  lua_settop(L, 1);
  lw_event_warn(L);
  return 0;
}

/* checkClose(code, reason [, serverSide]): raises what close would. */
static int check_close(lua_State *L) {
  const char *reason;
  size_t n;
  lua_settop(L, 3);
  lw_check_close(L, 1, lua_toboolean(L, 3), &reason, &n);
  return 0;
}

static const luaL_Reg functions[] = {{"ours", ours},                {"Error", new_error},
                                     {"nearest", nearest},          {"checkClose", check_close},
                                     {"random", random_number},     {"randomBytes", random_bytes},
                                     {"messageSize", message_size},
                                     {"raise", raise_again},        {"warn", warn_of},
                                     {"snapshot", snapshot},
                                     {"report", report},            {"inHandler", in_handler},
                                     {NULL, NULL}};

void lw_policy_open(lua_State *L) {
  lw_host_push(L);
  luaL_setfuncs(L, functions, 1);
  lw_host_push(L);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, lw_event_traceback, 1);
  lua_pushcclosure(L, attempt, 2);
  lua_setfield(L, -2, "attempt");
}
