/*
** lua_check.c -- what people hand in: data to send, close codes, headers; checked.
*/
#include "lua_check.h"

#include <stddef.h>
#include <string.h>

#include "lua_box.h"
#include "lua_buffer.h"
#include "lua_option.h"
#include "utf8.h"

typedef struct send_options {
  int binary, compress;
} send_options;

/* Options of a send at `index`: "binary" or { binary =, compress = }. */
static send_options check_send(lua_State *L, int index, const char *what) {
  static const lw_option known[] = {{"binary", LW_OPTION_BOOLEAN, offsetof(send_options, binary), 0, 0},
                                    {"compress", LW_OPTION_BOOLEAN, offsetof(send_options, compress), 0, 0},
                                    {NULL, LW_OPTION_OTHER, 0, 0, 0}};
  send_options options = {0, 1};
  if (lua_isnoneornil(L, index)) return options;
  if (lua_type(L, index) == LUA_TSTRING) {
    options.binary = strcmp(lua_tostring(L, index), "binary") == 0;
    if (options.binary) return options;
    lw_raise(L, "TypeError", "%s: \"binary\" or a table of options expected, got \"%s\"", what,
             lua_tostring(L, index));
  }
  lw_options_read(L, index, what, known, &options);
  return options;
}

/* What is no string: binary, whatever the options say. */
static void check_binary(lua_State *L, int index, const char *what, lw_data *data) {
  const lw_array_buffer *buffer = lw_buffer_test(L, index);
  data->opcode = LW_BINARY;
  if (buffer) {
    data->bytes = (const char *)buffer->bytes;
    data->n = buffer->n;
    return;
  }
  data->blob = lw_blob_test(L, index);
  if (!data->blob)
    lw_raise(L, "TypeError", "%s: a string, an ArrayBuffer or a Blob expected, got %s", what, lw_typename(L, index));
  data->bytes = lw_blob_bytes(data->blob);
  data->n = lw_blob_size(data->blob);
  if (data->bytes) data->blob = NULL;
}

void lw_check_data(lua_State *L, int index, const char *what, lw_data *data) {
  size_t n;
  send_options options;
  memset(data, 0, sizeof *data);
  if (lua_type(L, index) != LUA_TSTRING) {
    check_binary(L, index, what, data);
    data->compress = check_send(L, index + 1, what).compress;
    return;
  }
  options = check_send(L, index + 1, what);
  data->compress = options.compress;
  data->bytes = lua_tolstring(L, index, &n);
  data->n = n;
  data->opcode = options.binary ? LW_BINARY : LW_TEXT;
  if (data->opcode == LW_TEXT && !lw_utf8_valid((const unsigned char *)data->bytes, n))
    lw_raise(L, "TypeError", "%s: the text is not UTF-8; bytes are sent with (data, \"binary\")", what);
}

void lw_check_shared(lua_State *L, int index, const char *what, lw_data *data) {
  lw_check_data(L, index, what, data);
  if (data->blob) lw_raise(L, "NotSupportedError", "%s: a file is sent to one socket at a time: socket:send(blob)", what);
}

lw_server_message lw_message_of(const lw_data *data) {
  return (lw_server_message){data->opcode, data->bytes, (size_t)data->n, data->compress};
}

static unsigned check_code(lua_State *L, int index, int server_side) {
  lua_Number code;
  if (lua_type(L, index) != LUA_TNUMBER)
    lw_raise(L, "TypeError", "close: a code expected, got %s", lw_typename(L, index));
  code = lua_tonumber(L, index);
  if (code == 1000 || (code >= 3000 && code <= 4999 && code == (lua_Number)(int)code)) return (unsigned)code;
  if (server_side && ((code >= 1001 && code <= 1003) || (code >= 1007 && code <= 1014)) &&
      code == (lua_Number)(int)code)
    return (unsigned)code;
  lw_raise(L, "InvalidAccessError", "close: the code %.14g is none of 1000%s and 3000 to 4999", code,
           server_side ? ", 1001 to 1003, 1007 to 1014" : "");
}

unsigned lw_check_close(lua_State *L, int index, int server_side, const char **reason, size_t *n) {
  unsigned code = lua_isnoneornil(L, index) ? 0 : check_code(L, index, server_side);
  *reason = "";
  *n = 0;
  if (lua_isnoneornil(L, index + 1)) return code;
  if (lua_type(L, index + 1) != LUA_TSTRING)
    lw_raise(L, "TypeError", "close: the reason must be a string, got %s", lw_typename(L, index + 1));
  *reason = lua_tolstring(L, index + 1, n);
  if (*n > LW_CLOSE_REASON_MAX)
    lw_raise(L, "SyntaxError", "close: the reason has %zu bytes, more than %d", *n, LW_CLOSE_REASON_MAX);
  if (!lw_utf8_valid((const unsigned char *)*reason, *n))
    lw_raise(L, "SyntaxError", "close: the reason is not UTF-8");
  if (code == 0 && *n > 0) lw_raise(L, "SyntaxError", "close: a reason needs a code");
  return code;
}

/* ----------------------------------------------------------------- headers */

/* Header fields that the handshake itself writes: by hand they would break it. */
static int is_reserved(const char *name, size_t n) {
  static const char *const reserved[] = {"host", "upgrade", "connection", "content-length", "transfer-encoding"};
  lw_slice slice = {(const unsigned char *)name, n};
  for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
    if (lw_slice_is(slice, reserved[i])) return 1;
  if (n < 14) return 0;
  slice.n = 14;
  return lw_slice_is(slice, "sec-websocket-");
}

/* Stack: …, name, value. Adds one line to the list of pieces at `pieces`. */
static void add_header(lua_State *L, int pieces, const char *what, const char *name) {
  size_t n;
  const char *value;
  int type = lua_type(L, -1);
  if (type != LUA_TSTRING && type != LUA_TNUMBER)
    lw_raise(L, "TypeError", "%s: header \"%s\": a string expected, got %s", what, name, lw_typename(L, -1));
  lua_pushvalue(L, -1); /* tolstring would turn the key's number into a string under lua_next */
  value = lua_tolstring(L, -1, &n);
  if (!lw_http_is_value(value, n))
    lw_raise(L, "SyntaxError", "%s: header \"%s\": the value has a control character", what, name);
  lua_pushfstring(L, "%s: %s\r\n", name, value);
  lua_rawseti(L, pieces, (int)lua_rawlen(L, pieces) + 1);
  lua_pop(L, 1);
}

static void add_headers(lua_State *L, int pieces, const char *what) {
  size_t n;
  const char *name;
  if (lua_type(L, -2) != LUA_TSTRING)
    lw_raise(L, "TypeError", "%s: headers: a name expected, got a %s as key", what, luaL_typename(L, -2));
  name = lua_tolstring(L, -2, &n);
  if (!lw_http_is_token(name, n)) lw_raise(L, "SyntaxError", "%s: \"%s\" is no header name", what, name);
  if (is_reserved(name, n))
    lw_raise(L, "SyntaxError", "%s: header \"%s\" is written by the handshake itself", what, name);
  if (!lua_istable(L, -1)) {
    add_header(L, pieces, what, name);
    return;
  }
  for (int i = 1, count = (int)lua_rawlen(L, -1); i <= count; i++) {
    lua_rawgeti(L, -1, i);
    add_header(L, pieces, what, name);
    lua_pop(L, 1);
  }
}

const char *lw_join(lua_State *L, const char *separator) {
  int list = lua_gettop(L), count = (int)lua_rawlen(L, list);
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (int i = 1; i <= count; i++) {
    if (i > 1) luaL_addstring(&buffer, separator);
    lua_rawgeti(L, list, i);
    luaL_addvalue(&buffer);
  }
  luaL_pushresult(&buffer);
  lua_remove(L, list);
  return lua_tostring(L, -1);
}

const char *lw_check_headers(lua_State *L, int index, const char *what) {
  int pieces;
  if (lua_isnoneornil(L, index)) {
    lua_pushnil(L);
    return NULL;
  }
  if (!lua_istable(L, index))
    lw_raise(L, "TypeError", "%s: headers: a table expected, got %s", what, lw_typename(L, index));
  index = lua_absindex(L, index);
  lua_newtable(L);
  pieces = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    add_headers(L, pieces, what);
    lua_pop(L, 1);
  }
  return lw_join(L, "");
}

static void push_lower(lua_State *L, lw_slice name) {
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (size_t i = 0; i < name.n; i++) {
    char c = (char)name.bytes[i];
    luaL_addchar(&buffer, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
  }
  luaL_pushresult(&buffer);
}

void lw_push_headers(lua_State *L, const lw_http_head *head) {
  lua_createtable(L, 0, (int)head->count);
  for (size_t i = 0; i < head->count; i++) {
    const lw_http_field *field = &head->fields[i];
    push_lower(L, field->name);
    lua_pushvalue(L, -1);
    if (lw_rawget(L, -3) == LUA_TSTRING) { /* list, name, value so far */
      lua_pushliteral(L, ", ");
      lua_pushlstring(L, (const char *)field->value.bytes, field->value.n);
      lua_concat(L, 3);
    } else {
      lua_pop(L, 1);
      lua_pushlstring(L, (const char *)field->value.bytes, field->value.n);
    }
    lua_rawset(L, -3);
  }
}
