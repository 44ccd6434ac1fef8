/*
** lua_buffer.c -- ArrayBuffer: bytes that can be changed, in the userdata itself (ECMAScript, 25.1).
*/
#include "lua_buffer.h"

#include <math.h>
#include <string.h>

#include "lua_box.h"

#define CLASS "ArrayBuffer"
#define MOST 9007199254740991.0 /* bytes: 2^53 - 1, as in the browser */

static const char metatable_key; /* its address is a registry key */

lw_array_buffer *lw_buffer_push(lua_State *L, size_t n) {
  lw_array_buffer *b = lua_newuserdatauv(L, sizeof *b + n, 0);
  b->n = n;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_setmetatable(L, -2);
  return b;
}

lw_array_buffer *lw_buffer_test(lua_State *L, int index) {
  return lw_class_test(L, index, &metatable_key);
}

static lw_array_buffer *check_buffer(lua_State *L) {
  return lw_box_check(L, 1, CLASS);
}

/* ------------------------------------------------------------------ ranges */

/* One end of a range (ECMAScript, ToIntegerOrInfinity, then clamped). */
static uint64_t check_end(lua_State *L, int index, const char *what, uint64_t n, uint64_t otherwise) {
  lua_Number at;
  if (lua_isnoneornil(L, index)) return otherwise;
  if (lua_type(L, index) != LUA_TNUMBER)
    lw_raise(L, "TypeError", "%s: a number expected, got %s", what, lw_typename(L, index));
  at = trunc(lua_tonumber(L, index));
  if (isnan(at)) return 0;
  if (at < 0) at += (lua_Number)n;
  if (at <= 0) return 0;
  return at < (lua_Number)n ? (uint64_t)at : n;
}

void lw_check_range(lua_State *L, int index, const char *what, uint64_t n, uint64_t *first, uint64_t *last) {
  *first = check_end(L, index, what, n, 0);
  *last = check_end(L, index + 1, what, n, n);
  if (*last < *first) *last = *first;
}

/* ----------------------------------------------------------------- methods */

/* ArrayBuffer(length | string): stack: class, argument. */
static int buffer_new(lua_State *L) {
  lw_array_buffer *b;
  lua_Number n;
  lua_settop(L, 2);
  if (lua_type(L, 2) == LUA_TSTRING) {
    size_t size;
    const char *bytes = lua_tolstring(L, 2, &size);
    memcpy(lw_buffer_push(L, size)->bytes, bytes, size);
    return 1;
  }
  if (lua_type(L, 2) != LUA_TNUMBER)
    lw_raise(L, "TypeError", CLASS ": a length or a string expected, got %s", lw_typename(L, 2));
  n = lua_tonumber(L, 2);
  if (!(n >= 0 && n <= MOST && n == floor(n) && n < (lua_Number)(SIZE_MAX / 2)))
    lw_raise(L, "RangeError", CLASS ": %.14g is no length", n);
  b = lw_buffer_push(L, (size_t)n);
  memset(b->bytes, 0, b->n);
  return 1;
}

/* buffer:string([first [, last]]) */
static int buffer_string(lua_State *L) {
  lw_array_buffer *b = check_buffer(L);
  uint64_t first, last;
  lw_check_range(L, 2, "string", b->n, &first, &last);
  lua_pushlstring(L, (const char *)b->bytes + first, (size_t)(last - first));
  return 1;
}

/* buffer:slice([first [, last]]) */
static int buffer_slice(lua_State *L) {
  lw_array_buffer *b = check_buffer(L);
  uint64_t first, last;
  lw_check_range(L, 2, "slice", b->n, &first, &last);
  memcpy(lw_buffer_push(L, (size_t)(last - first))->bytes, b->bytes + first, (size_t)(last - first));
  return 1;
}

/* buffer:set(data [, offset]): as %TypedArray%.prototype.set */
static int buffer_set(lua_State *L) {
  lw_array_buffer *b = check_buffer(L), *from = lw_buffer_test(L, 2);
  size_t n = from ? from->n : 0;
  const void *bytes = from ? from->bytes : NULL;
  lua_Number offset = 0;
  if (!from && lua_type(L, 2) == LUA_TSTRING) bytes = lua_tolstring(L, 2, &n);
  if (!bytes) lw_raise(L, "TypeError", "set: a string or an ArrayBuffer expected, got %s", lw_typename(L, 2));
  if (!lua_isnoneornil(L, 3)) {
    if (lua_type(L, 3) != LUA_TNUMBER) lw_raise(L, "TypeError", "set: an offset expected, got %s", lw_typename(L, 3));
    offset = lua_tonumber(L, 3);
  }
  if (!(offset >= 0 && offset <= (lua_Number)b->n && offset == floor(offset)) || n > b->n - (size_t)offset)
    lw_raise(L, "RangeError", "set: %zu bytes at %.14g do not fit into %zu", n, offset, b->n);
  memmove(b->bytes + (size_t)offset, bytes, n);
  return 0;
}

static int buffer_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_buffer(L)->n);
  return 1;
}

static int buffer_tostring(lua_State *L) {
  char text[64];
  snprintf(text, sizeof text, CLASS " (%zu bytes)", check_buffer(L)->n);
  lua_pushstring(L, text);
  return 1;
}

/* buffer:__index; upvalues: host, metatable, methods. */
static int buffer_index(lua_State *L) {
  lw_array_buffer *b = check_buffer(L);
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "byteLength") == 0) {
    lua_pushinteger(L, (lua_Integer)b->n);
    return 1;
  }
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(3));
  return 1;
}

static int buffer_newindex(lua_State *L) {
  check_buffer(L);
  lw_raise(L, "TypeError", "an " CLASS " has no fields to set; its bytes change by set(data, offset)");
}

/* ------------------------------------------------------------------- class */

static const luaL_Reg methods[] = {
    {"string", buffer_string}, {"slice", buffer_slice}, {"set", buffer_set}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__len", buffer_len}, {"__tostring", buffer_tostring}, {"__newindex", buffer_newindex}, {NULL, NULL}};

void lw_buffer_open(lua_State *L) {
  lw_value_class_new(L, CLASS, &metatable_key, metamethods, methods, buffer_index); /* module, metatable */
  lua_pop(L, 1);
  lw_callable_push(L, buffer_new);
  lua_setfield(L, -2, CLASS);
}
