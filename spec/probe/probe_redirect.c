/*
** probe_redirect.c -- floor 1's redirects and forwarded requests, for specs: what would be asked,
** and where; and who asks.
*/
#include "probe.h"

#include <string.h>

#include "forwarded.h"
#include "redirect.h"

#define CLASS "probe.Redirect"
#define FIELDS 20

static lw_redirect **check(lua_State *L) {
  return luaL_checkudata(L, 1, CLASS);
}

static const char *text(lua_State *L, const char *name) {
  lua_getfield(L, 2, name); /* the table keeps it */
  return lua_tostring(L, -1);
}

/* redirect(url, {protocols=, origin=, userAgent=, headers=}, most) */
static int new_redirect(lua_State *L) {
  size_t n;
  const char *url = luaL_checklstring(L, 1, &n);
  lw_handshake_offer offer = {.protocols = text(L, "protocols"), .origin = text(L, "origin"),
                              .user_agent = text(L, "userAgent"), .headers = text(L, "headers")};
  int most = (int)luaL_checkinteger(L, 3);
  lw_redirect **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, CLASS);
  *box = lw_redirect_new(&offer, url, n, most, 0);
  return *box ? 1 : luaL_error(L, "no memory");
}

static int collect(lua_State *L) {
  lw_redirect **box = check(L);
  lw_redirect_free(*box);
  *box = NULL;
  return 0;
}

/* request(): what it would ask now, with a key of our own; and the URL */
static int request(lua_State *L) {
  const lw_redirect *redirect = *check(L);
  lw_buf out;
  lw_slice slice;
  lw_buf_init(&out);
  if (lw_handshake_request(&out, NULL, &redirect->offer, "dGhlIHNhbXBsZSBub25jZQ==") < 0) return luaL_error(L, "no memory");
  lw_buf_slices(&out, &slice, 1);
  lua_pushlstring(L, (const char *)slice.bytes, slice.n);
  lw_buf_clear(&out, NULL);
  lua_pushstring(L, redirect->offer.url->href);
  return 2;
}

/* follow(head): as request(), or nil and the error; false: it is no redirect */
static int follow(lua_State *L) {
  lw_redirect *redirect = *check(L);
  lw_http_field fields[FIELDS];
  lw_http_head head = {.fields = fields, .max_fields = FIELDS};
  size_t n;
  const unsigned char *bytes = probe_check_exact(L, 2, &n);
  int err = lw_http_response(&head, bytes, n);
  if (err < 0) return luaL_error(L, "no head");
  lua_pushboolean(L, 0);
  if (!lw_redirect_is(&head)) return 1;
  err = lw_redirect_follow(redirect, &head);
  return err < 0 ? probe_fail(L, err) : request(L);
}

/* forwarded(trusted, peer, head): the client's address and port, or nil */
static int forwarded(lua_State *L) {
  lw_http_field fields[FIELDS];
  lw_http_head head = {.fields = fields, .max_fields = FIELDS};
  lw_trusted trusted = {0};
  lw_forwarded client;
  size_t n;
  const char *peer = luaL_checkstring(L, 2);
  const unsigned char *bytes = probe_check_exact(L, 3, &n);
  int found;
  if (lw_http_request(&head, bytes, n) < 0) return luaL_error(L, "no head");
  for (int i = 1; lua_rawgeti(L, 1, i) == LUA_TSTRING; i++) {
    int err = lw_trusted_add(&trusted, lua_tostring(L, -1)); /* the list keeps it */
    lua_pop(L, 1);
    if (err < 0) {
      lw_trusted_clear(&trusted);
      return probe_fail(L, err);
    }
  }
  found = lw_forwarded_client(&trusted, &head, peer, &client);
  lw_trusted_clear(&trusted);
  if (!found) return 0;
  lua_pushstring(L, client.address);
  lua_pushinteger(L, client.port);
  return 2;
}

static const luaL_Reg methods[] = {{"request", request}, {"follow", follow}, {"__gc", collect}, {NULL, NULL}};

void probe_redirect(lua_State *L) {
  probe_class(L, CLASS, methods);
  lua_pushcfunction(L, new_redirect);
  lua_setfield(L, -2, "redirect");
  lua_pushcfunction(L, forwarded);
  lua_setfield(L, -2, "forwarded");
}
