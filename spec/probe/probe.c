/*
** probe.c -- opens lunawire.probe, and what its parts share.
*/
#include "probe.h"

#include <string.h>

#include "err.h"

#define NAME(name)                                                                                 \
  { #name, LW_ERR_##name }

static const struct {
  const char *name;
  int err;
} names[] = {
    NAME(MEMORY),        NAME(RANDOM),       NAME(SIZE),           NAME(FORKED),
    NAME(RSV),           NAME(OPCODE),       NAME(MASKED),         NAME(UNMASKED),
    NAME(LENGTH_FORM),   NAME(LENGTH_RANGE), NAME(CONTROL_FIN),    NAME(CONTROL_LENGTH),
    NAME(CONTINUATION),  NAME(INTERLEAVED),  NAME(UTF8),           NAME(CLOSE_LENGTH),
    NAME(CLOSE_CODE),    NAME(CLOSE_REASON), NAME(PAYLOAD),        NAME(FRAGMENTS),
    NAME(URL_EMPTY),     NAME(URL_SCHEME),   NAME(URL_FRAGMENT),   NAME(URL_HOST),
    NAME(URL_IPV6),      NAME(URL_IPV4),     NAME(URL_PORT),       NAME(URL_BYTE),
    NAME(URL_LENGTH),    NAME(URL_USERINFO), NAME(URL_IDNA),       NAME(URL_HOST_SIZE),
    NAME(URL_PATH),      NAME(URL_PATH_SIZE), NAME(URL_PATH_BYTE), NAME(URL_RESOURCE),
    NAME(URL_HOST_BYTE), NAME(HTTP_START),   NAME(HTTP_VERSION),   NAME(HTTP_LINE),
    NAME(HTTP_FIELD),    NAME(HTTP_VALUE),   NAME(HTTP_COUNT),     NAME(HTTP_SIZE),
    NAME(HTTP_TARGET),   NAME(STATUS),       NAME(UPGRADE),        NAME(CONNECTION),
    NAME(HTTP_CHUNK),    NAME(LOCATION),     NAME(REDIRECTS),      NAME(DOWNGRADE),
    NAME(KEY),           NAME(ACCEPT),       NAME(WS_VERSION),     NAME(PROTOCOL),
    NAME(PROTOCOL_LIST), NAME(EXTENSION),    NAME(EXTENSION_LIST), NAME(METHOD),
    NAME(HOST),          NAME(BODY),         NAME(ORIGIN),         NAME(RESOURCE),
    NAME(EOF),           NAME(TIMEOUT),      NAME(CLOSE_TIMEOUT),  NAME(STALL),
    NAME(SLOW),          NAME(ABORTED),      NAME(NO_ADDRESS),     NAME(BUSY),
    NAME(CLOSED),        NAME(CIDR_ADDRESS), NAME(CIDR_PREFIX),
    NAME(PROXY_SCHEME), NAME(PROXY_PATH), NAME(PROXY_CREDENTIALS), NAME(PROXY_STATUS),
    NAME(PROXY_HTTP), NAME(PROXY_SIZE), NAME(PROXY_EXTRA), NAME(PROXY_SOCKS),
    NAME(PROXY_AUTH), NAME(PROXY_METHOD), NAME(PROXY_PASSWORD), NAME(PROXY_REPLY),
    NAME(PROXY_EOF),
    NAME(TLS),           NAME(UNREAD),
    NAME(FILE),          NAME(FILE_KIND),     NAME(FILE_CHANGED),  NAME(FILE_SHORT),
    NAME(DEFLATE_DATA),  NAME(DEFLATE_CUT),  NAME(DEFLATE_TRAILING), NAME(EXTENSION_ANSWER),
};

#define NAME_COUNT (sizeof names / sizeof *names)

int probe_fail(lua_State *L, int err) {
  lua_pushnil(L);
  for (size_t i = 0; i < NAME_COUNT; i++)
    if (names[i].err == err) {
      lua_pushstring(L, names[i].name);
      return 2;
    }
  lua_pushfstring(L, "%d", err);
  return 2;
}

int probe_check_err(lua_State *L, int arg) {
  if (lua_type(L, arg) == LUA_TNUMBER) return (int)luaL_checkinteger(L, arg);
  const char *name = luaL_checkstring(L, arg);
  for (size_t i = 0; i < NAME_COUNT; i++)
    if (strcmp(names[i].name, name) == 0) return names[i].err;
  return luaL_error(L, "no error is called %s", name);
}

unsigned char *probe_check_exact(lua_State *L, int arg, size_t *n) {
  const char *bytes = luaL_checklstring(L, arg, n);
  unsigned char *copy = lua_newuserdatauv(L, *n, 0);
  memcpy(copy, bytes, *n);
  lua_replace(L, arg);
  return copy;
}

void probe_class(lua_State *L, const char *name, const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void probe_library(lua_State *L, const char *name, const luaL_Reg *functions) {
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_setfield(L, -2, name);
}

/* strerror(err) */
static int err_text(lua_State *L) {
  lua_pushstring(L, lw_strerror(probe_check_err(L, 1)));
  return 1;
}

/* closeCode(err) */
static int err_close_code(lua_State *L) {
  lua_pushinteger(L, lw_err_close_code(probe_check_err(L, 1)));
  return 1;
}

/* system(errno), lookup(code): the numbers such errors travel as */
static int err_system(lua_State *L) {
  lua_pushinteger(L, LW_ERR_SYS((int)luaL_checkinteger(L, 1)));
  return 1;
}

static int err_lookup(lua_State *L) {
  lua_pushinteger(L, LW_ERR_GAI((int)luaL_checkinteger(L, 1)));
  return 1;
}

static const luaL_Reg err_functions[] = {
    {"text", err_text},     {"closeCode", err_close_code},
    {"system", err_system}, {"lookup", err_lookup},
    {NULL, NULL},
};

/* probe.err: the functions above, and the number of each error by its name. */
static void add_err(lua_State *L) {
  probe_library(L, "err", err_functions);
  lua_getfield(L, -1, "err");
  for (size_t i = 0; i < NAME_COUNT; i++) {
    lua_pushinteger(L, names[i].err);
    lua_setfield(L, -2, names[i].name);
  }
  lua_pop(L, 1);
}

LUAMOD_API int luaopen_lunawire_probe(lua_State *L);

LUAMOD_API int luaopen_lunawire_probe(lua_State *L) {
  lua_newtable(L);
  add_err(L);
  probe_bytes(L);
  probe_ip(L);
  probe_protocol(L);
  probe_upgrade(L);
  probe_redirect(L);
  probe_proxy(L);
  probe_tcp(L);
  probe_session(L);
  probe_system(L);
  probe_conn(L);
  probe_stream(L);
  probe_deflate(L);
  return 1;
}
