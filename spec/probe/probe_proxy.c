/*
** probe_proxy.c -- proxies, and the way through them, for specs.
*/
#include "probe.h"

#include <stdint.h>
#include <string.h>

#include "buf.h"
#include "proxy.h"
#include "tunnel.h"
#include "url.h"

/* --- proxy --- */

static void set_text(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value); /* NULL is nil */
  lua_setfield(L, -2, name);
}

/* Clears it, too. */
static void push_proxy(lua_State *L, lw_proxy *proxy) {
  lua_newtable(L);
  set_text(L, "href", proxy->href);
  set_text(L, "host", proxy->host);
  set_text(L, "user", proxy->user);
  set_text(L, "password", proxy->password);
  set_text(L, "kind", proxy->kind == LW_PROXY_HTTP ? "http" : "socks");
  lua_pushinteger(L, proxy->port);
  lua_setfield(L, -2, "port");
  lua_pushboolean(L, proxy->secure);
  lua_setfield(L, -2, "secure");
  lw_proxy_clear(proxy);
}

/* A copy tells all that its original did. */
static void push_copied(lua_State *L, lw_proxy *proxy) {
  lw_proxy again;
  if (lw_proxy_copy(&again, proxy) < 0) luaL_error(L, "no memory");
  memset(proxy->memory, '!', proxy->size);
  lw_proxy_clear(proxy);
  push_proxy(L, &again);
}

static int proxy_fail(lua_State *L, const lw_proxy *proxy, int err) {
  if (proxy->memory) return luaL_error(L, "a proxy that failed owns memory");
  return probe_fail(L, err);
}

/* parse(text): a table, or nil and the error */
static int proxy_parse(lua_State *L) {
  size_t n;
  lw_proxy proxy;
  const unsigned char *text = probe_check_exact(L, 1, &n);
  int err = lw_proxy_parse(&proxy, (const char *)text, n);
  if (err < 0) return proxy_fail(L, &proxy, err);
  push_copied(L, &proxy);
  return 1;
}

/* The environment of the call under way: the table at index 2. */
static lua_State *state;

/* As getenv: a value lives as long as its table. */
static char *look_up(const char *name) {
  lua_getfield(state, 2, name);
  char *value = (char *)(uintptr_t)lua_tostring(state, -1);
  lua_pop(state, 1);
  return value;
}

/* choose(url, environment): a table; false: straight there; or nil, the error and the variable's name */
static int proxy_choose(lua_State *L) {
  size_t n;
  lw_url url;
  lw_proxy proxy;
  const char *variable, *text = luaL_checklstring(L, 1, &n);
  luaL_checktype(L, 2, LUA_TTABLE);
  if (lw_url_parse(&url, text, n) < 0) return luaL_error(L, "no URL: %s", text);
  state = L;
  int got = lw_proxy_choose(&proxy, &url, look_up, &variable);
  lw_url_clear(&url);
  if (got < 0) {
    proxy_fail(L, &proxy, got);
    lua_pushstring(L, variable);
    return 3;
  }
  if (got == 0 && proxy.memory) return luaL_error(L, "no proxy owns memory");
  if (got == 0) lua_pushboolean(L, 0);
  else push_copied(L, &proxy);
  return 1;
}

static const luaL_Reg proxy_functions[] = {
    {"parse", proxy_parse},
    {"choose", proxy_choose},
    {NULL, NULL},
};

/* --- tunnel --- */

#define CLASS "probe.Tunnel"

typedef struct box {
  lw_proxy proxy;
  lw_tunnel *tunnel;
  lw_buf out;
} box;

static box *check(lua_State *L) {
  return luaL_checkudata(L, 1, CLASS);
}

/* tunnel(proxy, host, port [, userAgent]): nil and the error if it is no proxy */
static int tunnel_new(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  lw_tunnel_options options = {.host = luaL_checkstring(L, 2), .user_agent = luaL_optstring(L, 4, NULL)};
  options.port = (unsigned short)luaL_checkinteger(L, 3);
  box *b = lua_newuserdatauv(L, sizeof *b, 2);
  memset(b, 0, sizeof *b);
  lw_buf_init(&b->out);
  luaL_setmetatable(L, CLASS);
  for (int i = 1; i <= 2; i++) { /* the strings live as long as the tunnel */
    lua_pushvalue(L, i * 2);
    lua_setiuservalue(L, -2, i);
  }
  int err = lw_proxy_parse(&b->proxy, text, n);
  if (err < 0) return probe_fail(L, err);
  options.proxy = &b->proxy;
  b->tunnel = lw_tunnel_new(&options);
  return b->tunnel ? 1 : luaL_error(L, "no memory");
}

static int tunnel_collect(lua_State *L) {
  box *b = check(L);
  lw_tunnel_free(b->tunnel);
  lw_proxy_clear(&b->proxy);
  lw_buf_clear(&b->out, NULL);
  b->tunnel = NULL;
  return 0;
}

static int result(lua_State *L, int got) {
  if (got < 0) return probe_fail(L, got);
  lua_pushboolean(L, got);
  return 1;
}

/* ask(): true, or nil and the error */
static int tunnel_ask(lua_State *L) {
  box *b = check(L);
  int err = lw_tunnel_ask(b->tunnel, &b->out, NULL);
  return result(L, err < 0 ? err : 1);
}

/* feed(bytes): true: through, false: more must come, or nil and the error */
static int tunnel_feed(lua_State *L) {
  box *b = check(L);
  size_t n;
  const unsigned char *bytes = probe_check_exact(L, 2, &n);
  return result(L, lw_tunnel_feed(b->tunnel, &b->out, NULL, bytes, n));
}

/* said(): what it has queued since it was last asked */
static int tunnel_said(lua_State *L) {
  box *b = check(L);
  lw_slice slices[8];
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  int count = lw_buf_slices(&b->out, slices, 8);
  for (int i = 0; i < count; i++)
    luaL_addlstring(&text, (const char *)slices[i].bytes, slices[i].n);
  lw_buf_consume(&b->out, NULL, b->out.length);
  luaL_pushresult(&text);
  return 1;
}

/* over(): the proxy has ended the connection */
static int tunnel_over(lua_State *L) {
  return probe_fail(L, lw_tunnel_end(check(L)->tunnel));
}

static int tunnel_why(lua_State *L) {
  lua_pushstring(L, lw_tunnel_why(check(L)->tunnel));
  return 1;
}

static const luaL_Reg methods[] = {
    {"ask", tunnel_ask}, {"feed", tunnel_feed}, {"said", tunnel_said},    {"over", tunnel_over},
    {"why", tunnel_why}, {"__gc", tunnel_collect}, {NULL, NULL},
};

void probe_proxy(lua_State *L) {
  probe_library(L, "proxy", proxy_functions);
  probe_class(L, CLASS, methods);
  lua_pushcfunction(L, tunnel_new);
  lua_setfield(L, -2, "tunnel");
}
