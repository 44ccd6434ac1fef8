/*
** lua_client.c -- what a client's constructor is given, checked; and what it takes along to go
** where servers send it.
*/
#include "lua_client.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "lua_check.h"
#include "lua_settings.h"
#include "lua_tls.h"
#include "redirect.h"
#include "url.h"

#define CLASS "WebSocket"

/* What a client takes along that goes where servers send it. */
struct lw_trip {
  lw_redirect *redirect;
  lw_tls_context *tls; /* for whenever a URL is wss; a reference of its own */
  lw_tls_context *tls_elsewhere; /* the same, once another origin was seen */
  char *server_name;   /* of the first origin, or NULL */
  char *path;          /* the option: the whole trip goes over that Unix socket; or NULL */
  lw_proxy_choice choice;
  lw_proxy proxy;      /* the option, if that is the choice */
  lw_tls_context *proxy_tls;
  char *proxy_name;    /* whom its certificate must name; or NULL */
  lw_deflate_options deflate; /* if it is wanted */
};

/* ------------------------------------------------------------------- checking */

static const lw_option client_known[] = {
    LW_SETTINGS,
    {"family", LW_OPTION_INT, offsetof(lw_client_given, family), 4, 6},
    {"path", LW_OPTION_OTHER, 0, 0, 0},
    {"headers", LW_OPTION_OTHER, 0, 0, 0},
    {"origin", LW_OPTION_OTHER, 0, 0, 0},
    {"userAgent", LW_OPTION_OTHER, 0, 0, 0},
    {"perMessageDeflate", LW_OPTION_OTHER, 0, 0, 0},
    {"proxy", LW_OPTION_OTHER, 0, 0, 0},
    {"proxyTls", LW_OPTION_OTHER, 0, 0, 0},
    {"tls", LW_OPTION_OTHER, 0, 0, 0},
    {"followRedirects", LW_OPTION_INT, offsetof(lw_client_given, redirects), 0, LW_REDIRECTS_MOST},
    {NULL, LW_OPTION_OTHER, 0, 0, 0}};

/* A parsed URL that is needed only while the constructor runs: its memory goes with the userdata. */
static int url_gc(lua_State *L) {
  lw_url_clear(lua_touserdata(L, 1));
  return 0;
}

/* The URL at `index`, parsed; pushes what owns it. */
static const lw_url *check_url(lua_State *L, int index) {
  size_t n;
  const char *text;
  lw_url *url = lw_guard_push(L, sizeof *url, url_gc);
  int err;
  if (lua_type(L, index) != LUA_TSTRING)
    lw_raise(L, "SyntaxError", CLASS ": a URL expected, got %s", lw_typename(L, index));
  text = lua_tolstring(L, index, &n);
  err = lw_url_parse(url, text, n);
  if (err == LW_ERR_MEMORY) lw_raise_err(L, CLASS, err);
  if (err < 0 && (memchr(text, '@', n) || n > 200)) /* it may hold a password */
    lw_raise(L, "SyntaxError", CLASS ": the URL does not parse: %s", lw_strerror(err));
  if (err < 0) lw_raise(L, "SyntaxError", CLASS ": the URL \"%s\" does not parse: %s", text, lw_strerror(err));
  return url;
}

static void check_protocol(lua_State *L, int list) {
  size_t n;
  const char *name;
  if (lua_type(L, -1) != LUA_TSTRING)
    lw_raise(L, "SyntaxError", CLASS ": protocols: a string expected, got %s", lw_typename(L, -1));
  name = lua_tolstring(L, -1, &n);
  if (!lw_http_is_token(name, n)) lw_raise(L, "SyntaxError", CLASS ": \"%s\" is no subprotocol name", name);
  for (int i = (int)lua_rawlen(L, list); i > 0; i--) {
    lua_rawgeti(L, list, i);
    if (lua_rawequal(L, -1, -2)) lw_raise(L, "SyntaxError", CLASS ": the subprotocol \"%s\" is given twice", name);
    lua_pop(L, 1);
  }
}

/* The protocols at `index` as the header's value on top (nil: none). */
static const char *check_protocols(lua_State *L, int index) {
  int list, count;
  if (lua_isnoneornil(L, index) || (lua_istable(L, index) && lua_rawlen(L, index) == 0)) {
    if (lua_istable(L, index)) {
      lua_pushnil(L);
      if (lua_next(L, index))
        lw_raise(L, "SyntaxError", CLASS ": protocols: a list of strings expected (options are the third argument)");
    }
    lua_pushnil(L);
    return NULL;
  }
  lua_newtable(L);
  list = lua_gettop(L);
  count = lua_istable(L, index) ? (int)lua_rawlen(L, index) : 1;
  for (int i = 1; i <= count; i++) {
    if (lua_istable(L, index)) lua_rawgeti(L, index, i);
    else lua_pushvalue(L, index);
    check_protocol(L, list);
    lua_rawseti(L, list, (int)lua_rawlen(L, list) + 1);
  }
  return lw_join(L, ", ");
}

/* An option that is a header's value, pushed (nil: none). */
static const char *check_value(lua_State *L, int options, const char *name) {
  size_t n;
  const char *value;
  if (!lua_istable(L, options)) {
    lua_pushnil(L);
    return NULL;
  }
  if (lw_getfield(L, options, name) == LUA_TNIL) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING)
    lw_raise(L, "TypeError", CLASS ": option \"%s\": a string expected, got %s", name, lw_typename(L, -1));
  value = lua_tolstring(L, -1, &n);
  if (!lw_http_is_value(value, n))
    lw_raise(L, "SyntaxError", CLASS ": option \"%s\" has a control character", name);
  return value;
}

/* Pushes an option that is checked by hand; nil where there are no options. */
static void push_option(lua_State *L, int options, const char *name) {
  if (lua_istable(L, options)) lua_getfield(L, options, name);
  else lua_pushnil(L);
}

/* The option `path`: a Unix socket to connect to; the URL is then only what is asked for there. Pushed (nil: none). */
static const char *check_path(lua_State *L, int options, const lw_url *url) {
  const int room = (int)sizeof ((struct sockaddr_un *)NULL)->sun_path - 1;
  const char *path;
  size_t n = 0;
  if (!lua_istable(L, options)) {
    lua_pushnil(L);
    return NULL;
  }
  if (lw_getfield(L, options, "path") == LUA_TNIL) return NULL;
  path = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
  if (!path || strlen(path) != n)
    lw_raise(L, "TypeError", CLASS ": option \"path\": a string without NUL expected, got %s", lw_typename(L, -1));
  if (url->path)
    lw_raise(L, "TypeError", CLASS ": option \"path\" is one too many: the URL \"%s\" has a path of its own", url->href);
  if (n == 0 || n > (size_t)room)
    lw_raise(L, "TypeError", CLASS ": option \"path\": a Unix socket's path has 1 to %d bytes, not %d", room, (int)n);
  return path;
}

/* A proxy that is needed only while the constructor runs: its memory goes with the userdata. */
static int proxy_gc(lua_State *L) {
  lw_proxy_clear(lua_touserdata(L, 1));
  return 0;
}

/* What the environment says, which is not the caller's mistake but must not pass for "no proxy". */
static const lw_proxy *choose_proxy(lua_State *L, lw_proxy *proxy, const lw_url *url) {
  const char *variable;
  int got = lw_proxy_choose(proxy, url, getenv, &variable);
  if (got == LW_ERR_MEMORY) lw_raise_err(L, CLASS, got);
  if (got < 0) lw_raise(L, "SyntaxError", CLASS ": the environment's %s: %s", variable, lw_strerror(got));
  return got ? proxy : NULL;
}

/*
** The option `proxy` at the top of the stack: a URL, false, or nil for what the environment
** says. No message shows it, for it may hold a password. NULL: none. Pushes what owns it.
*/
static const lw_proxy *check_proxy(lua_State *L, lw_client_given *options, const lw_url *url, const char *path) {
  size_t n;
  const char *text;
  int option = lua_gettop(L), err;
  lw_proxy *proxy = lw_guard_push(L, sizeof *proxy, proxy_gc);
  options->choice = lua_isnil(L, option) ? LW_PROXY_OF_ENVIRONMENT : lua_toboolean(L, option) ? LW_PROXY_OF_OPTION : LW_PROXY_NONE;
  if (path) options->choice = options->choice == LW_PROXY_OF_OPTION ? LW_PROXY_OF_OPTION : LW_PROXY_NONE;
  if (options->choice == LW_PROXY_NONE) return NULL;
  if (options->choice == LW_PROXY_OF_ENVIRONMENT) return choose_proxy(L, proxy, url);
  if (lua_type(L, option) != LUA_TSTRING)
    lw_raise(L, "TypeError", CLASS ": option \"proxy\": a URL or false expected, got %s", lw_typename(L, option));
  if (path || url->path)
    lw_raise(L, "TypeError", CLASS ": option \"proxy\": no proxy leads to a Unix socket");
  text = lua_tolstring(L, option, &n);
  err = lw_proxy_parse(proxy, text, n);
  if (err == LW_ERR_MEMORY) lw_raise_err(L, CLASS, err);
  if (err < 0) lw_raise(L, "SyntaxError", CLASS ": option \"proxy\": %s", lw_strerror(err));
  return proxy;
}

static void check_family(lua_State *L, lw_client_given *options) {
  if (options->family == 5) lw_raise(L, "TypeError", CLASS ": option \"family\": 4 or 6 expected, got 5");
  if (options->family == 4) options->settings.family = AF_INET;
  if (options->family == 6) options->settings.family = AF_INET6;
}

/* The options `proxy` and `proxyTls`: a redirect may lead to where the environment names another proxy. */
static void check_proxies(lua_State *L, lw_client_given *options, lw_conn_way *way, const lw_url *url) {
  int more;
  push_option(L, 4, "proxy");
  way->proxy = check_proxy(L, options, url, way->path);
  more = options->redirects > 0 && options->choice == LW_PROXY_OF_ENVIRONMENT;
  push_option(L, 4, "proxyTls");
  way->proxy_tls = lw_check_client_tls(L, lua_gettop(L), CLASS ": proxyTls",
                                       (way->proxy && way->proxy->secure) || more ? LW_TLS_FIRST : LW_TLS_UNUSED, &way->proxy_name);
}

/*
** Everything the constructor was given, checked. Stack: class, url, protocols, options; what
** the offer points to is pushed behind them, the first being the URL.
*/
void lw_client_check(lua_State *L, lw_client_given *given) {
  const lw_url *url = check_url(L, 2);
  lw_handshake_offer *offer = &given->offer;
  lw_conn_way *way = &given->way;
  memset(given, 0, sizeof *given);
  offer->url = url;
  offer->protocols = check_protocols(L, 3);
  lw_settings_default(&given->settings);
  lw_options_read(L, 4, CLASS, client_known, given);
  check_family(L, given);
  push_option(L, 4, "perMessageDeflate");
  if (lw_check_deflate(L, CLASS, 0, &given->deflate)) given->settings.deflate = &given->deflate;
  offer->origin = check_value(L, 4, "origin");
  offer->user_agent = check_value(L, 4, "userAgent");
  push_option(L, 4, "headers");
  offer->headers = lw_check_headers(L, lua_gettop(L), CLASS);
  way->path = check_path(L, 4, url);
  push_option(L, 4, "tls");
  way->tls = lw_check_client_tls(L, lua_gettop(L), CLASS ": tls",
                                 url->secure || given->redirects > 0 ? LW_TLS_FIRST : LW_TLS_UNUSED, &way->server_name);
  check_proxies(L, given, way, url);
}

void lw_client_add_names(lua_State *L) {
  lua_newtable(L);
  for (int i = 0; client_known[i].name; i++) {
    lua_pushstring(L, client_known[i].name);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "clientOptions");
}

/* -------------------------------------------------------------- followRedirects */

void lw_trip_free(lw_trip *t) {
  if (!t) return;
  lw_redirect_free(t->redirect);
  lw_tls_context_release(t->tls);
  lw_tls_context_release(t->tls_elsewhere);
  lw_tls_context_release(t->proxy_tls);
  lw_proxy_clear(&t->proxy);
  free(t->proxy_name);
  free(t->server_name);
  free(t->path);
  free(t);
}

/* A copy of text, which may be NULL; *to belongs to the socket already. */
static void keep_text(lua_State *L, char **to, const char *text) {
  if (text && !(*to = strdup(text))) lw_raise_err(L, CLASS, LW_ERR_MEMORY);
}

/* What it takes to go where the server at the URL at 2 may send us. */
void lw_trip_prepare(lua_State *L, lw_trip **trip, const lw_client_given *given) {
  size_t n;
  const char *url = lua_tolstring(L, 2, &n);
  int64_t deadline = lw_loop_clock(lw_host_of(L)->loop) + given->settings.handshake_timeout;
  const lw_conn_way *way = &given->way;
  int top = lua_gettop(L);
  const char *unused;
  lw_trip *t;
  if (given->redirects == 0) return;
  if (!(t = *trip = calloc(1, sizeof *t))) lw_raise_err(L, CLASS, LW_ERR_MEMORY);
  t->redirect = lw_redirect_new(&given->offer, url, n, given->redirects, deadline);
  if (!t->redirect) lw_raise_err(L, CLASS, LW_ERR_MEMORY);
  t->tls = lw_tls_context_hold(way->tls);
  push_option(L, 4, "tls");
  t->tls_elsewhere = lw_tls_context_hold(lw_check_client_tls(L, lua_gettop(L), CLASS ": tls", LW_TLS_ELSEWHERE, &unused));
  lua_settop(L, top);
  t->proxy_tls = lw_tls_context_hold(way->proxy_tls);
  t->choice = given->choice;
  t->deflate = given->deflate;
  keep_text(L, &t->server_name, way->server_name);
  keep_text(L, &t->path, way->path);
  keep_text(L, &t->proxy_name, way->proxy_name);
  if (t->choice == LW_PROXY_OF_OPTION && lw_proxy_copy(&t->proxy, way->proxy) < 0) lw_raise_err(L, CLASS, LW_ERR_MEMORY);
}

/* The proxy to where the server sends us; what the environment names becomes that of the trip. 0 or a negative lw_err. */
static int choose_again(lw_trip *t, lw_conn_way *way) {
  const char *variable;
  int got = t->choice == LW_PROXY_OF_OPTION;
  if (t->choice == LW_PROXY_OF_ENVIRONMENT) {
    lw_proxy_clear(&t->proxy);
    got = lw_proxy_choose(&t->proxy, t->redirect->offer.url, getenv, &variable);
  }
  if (got <= 0) return got;
  way->proxy = &t->proxy;
  way->proxy_tls = t->proxy_tls;
  way->proxy_name = t->proxy_name;
  return 0;
}

const char *lw_trip_url(const lw_trip *trip) {
  return trip->redirect->offer.url->href;
}

int lw_trip_follow(lw_trip *trip, const lw_http_head *head) {
  return lw_redirect_follow(trip->redirect, head);
}

lw_conn *lw_trip_connect(lw_trip *trip, lw_hub *hub, const lw_conn *last, void *owner, int *err) {
  const lw_redirect *redirect = trip->redirect;
  lw_conn_settings settings = *lw_conn_settings_of(last);
  lw_tls_context *tls = redirect->crossed ? trip->tls_elsewhere : trip->tls;
  lw_conn_way way = {.path = trip->path, .tls = redirect->offer.url->secure ? tls : NULL};
  int64_t left = redirect->deadline - lw_loop_clock(hub->loop);
  *err = choose_again(trip, &way);
  if (*err < 0) return NULL;
  settings.handshake_timeout = left > 0 ? left : 0;
  if (settings.deflate) settings.deflate = &trip->deflate;
  if (!redirect->crossed) way.server_name = trip->server_name; /* of others, the certificate must name the host */
  return lw_conn_connect(hub, &settings, &redirect->offer, &way, LW_KIND_SOCKET, owner, err);
}
