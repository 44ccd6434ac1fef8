/*
** probe_upgrade.c -- floor 1's handshakes under way, for specs.
*/
#include "probe.h"

#include <string.h>

#include "upgrade.h"
#include "url.h"

#define CLASS "probe.Upgrade"

typedef struct box {
  lw_upgrade *upgrade;
  lw_buf out;
  lw_entropy entropy;
} box;

static box *check(lua_State *L) {
  return luaL_checkudata(L, 1, CLASS);
}

/* upgrade(role, maxSize, maxFields) */
static int new_upgrade(lua_State *L) {
  int server = strcmp(luaL_checkstring(L, 1), "server") == 0;
  size_t max_size = (size_t)luaL_checkinteger(L, 2), max_fields = (size_t)luaL_checkinteger(L, 3);
  box *b = lua_newuserdatauv(L, sizeof *b, 0);
  memset(b, 0, sizeof *b);
  lw_buf_init(&b->out);
  luaL_setmetatable(L, CLASS);
  b->upgrade = lw_upgrade_new(server, max_size, max_fields);
  return b->upgrade ? 1 : luaL_error(L, "no memory");
}

static int collect(lua_State *L) {
  box *b = check(L);
  lw_upgrade_free(b->upgrade);
  lw_buf_clear(&b->out, NULL);
  b->upgrade = NULL;
  return 0;
}

/* ask(url, protocols): the request's bytes */
static int ask(lua_State *L) {
  box *b = check(L);
  size_t n;
  const char *text = luaL_checklstring(L, 2, &n);
  lw_url url;
  lw_handshake_offer offer = {.url = &url, .protocols = lua_tostring(L, 3)};
  lw_slice slice;
  int err = lw_url_parse(&url, text, n);
  if (err < 0) return probe_fail(L, err);
  err = lw_upgrade_ask(b->upgrade, &b->out, NULL, &b->entropy, &offer);
  lw_url_clear(&url);
  if (err < 0) return probe_fail(L, err);
  lw_buf_slices(&b->out, &slice, 1);
  lua_pushlstring(L, (const char *)slice.bytes, slice.n);
  return 1;
}

static int result(lua_State *L, int got) {
  if (got < 0) return probe_fail(L, got);
  lua_pushboolean(L, got);
  return 1;
}

/* feed(bytes): true: whole and right, false: more must come, or nil and the error */
static int feed(lua_State *L) {
  box *b = check(L);
  size_t n;
  const unsigned char *bytes = probe_check_exact(L, 2, &n);
  return result(L, lw_upgrade_feed(b->upgrade, bytes, n));
}

/* page(bytes): the same for a refusal's page */
static int page(lua_State *L) {
  box *b = check(L);
  size_t n;
  const unsigned char *bytes = probe_check_exact(L, 2, &n);
  return result(L, lw_upgrade_page(b->upgrade, bytes, n));
}

static int rest(lua_State *L) {
  lw_slice slice = lw_upgrade_rest(check(L)->upgrade);
  lua_pushlstring(L, (const char *)slice.bytes, slice.n);
  return 1;
}

static int protocol(lua_State *L) {
  lw_slice slice = check(L)->upgrade->protocol;
  lua_pushlstring(L, (const char *)slice.bytes, slice.n);
  return 1;
}

/* status(): of the answer; nil before its head is whole */
static int status(lua_State *L) {
  const lw_upgrade *u = check(L)->upgrade;
  if (!u->whole) return 0;
  lua_pushinteger(L, u->head.status);
  return 1;
}

/* wants(): does the request ask for a WebSocket? */
static int wants(lua_State *L) {
  lua_pushboolean(L, check(L)->upgrade->ask.upgrade);
  return 1;
}

/* held(): bytes of memory kept for the head and what came behind it */
static int held(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L)->upgrade->capacity);
  return 1;
}

static const luaL_Reg methods[] = {{"ask", ask},           {"feed", feed},     {"page", page},   {"rest", rest},
                                   {"protocol", protocol}, {"status", status}, {"wants", wants}, {"held", held},
                                   {"__gc", collect},      {NULL, NULL}};

void probe_upgrade(lua_State *L) {
  probe_class(L, CLASS, methods);
  lua_pushcfunction(L, new_upgrade);
  lua_setfield(L, -2, "upgrade");
}
