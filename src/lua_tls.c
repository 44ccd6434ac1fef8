/*
** lua_tls.c -- the option `tls` of clients and servers, and what TLS tells of a connection.
*/
#include "lua_tls.h"

#include <stdio.h>
#include <string.h>

#include "ip.h"
#include "lua_check.h"
#include "lua_option.h"

#define NAME_MAX_LENGTH 253 /* of a host */

typedef struct tls_values {
  int verify, session;
} tls_values;

static const lw_option client_known[] = {
    {"verify", LW_OPTION_BOOLEAN, offsetof(tls_values, verify), 0, 0},
    {"session", LW_OPTION_BOOLEAN, offsetof(tls_values, session), 0, 0},
    {"ca", LW_OPTION_OTHER, 0, 0, 0},
    {"cert", LW_OPTION_OTHER, 0, 0, 0},
    {"key", LW_OPTION_OTHER, 0, 0, 0},
    {"passphrase", LW_OPTION_OTHER, 0, 0, 0},
    {"serverName", LW_OPTION_OTHER, 0, 0, 0},
    {"minVersion", LW_OPTION_OTHER, 0, 0, 0},
    {"ciphers", LW_OPTION_OTHER, 0, 0, 0},
    {"alpn", LW_OPTION_OTHER, 0, 0, 0},
    {NULL, LW_OPTION_OTHER, 0, 0, 0}};

static const lw_option server_known[] = {
    {"session", LW_OPTION_BOOLEAN, offsetof(tls_values, session), 0, 0},
    {"ca", LW_OPTION_OTHER, 0, 0, 0},
    {"cert", LW_OPTION_OTHER, 0, 0, 0},
    {"key", LW_OPTION_OTHER, 0, 0, 0},
    {"passphrase", LW_OPTION_OTHER, 0, 0, 0},
    {"certificates", LW_OPTION_OTHER, 0, 0, 0},
    {"requestCert", LW_OPTION_OTHER, 0, 0, 0},
    {"minVersion", LW_OPTION_OTHER, 0, 0, 0},
    {"ciphers", LW_OPTION_OTHER, 0, 0, 0},
    {"alpn", LW_OPTION_OTHER, 0, 0, 0},
    {NULL, LW_OPTION_OTHER, 0, 0, 0}};

static const lw_option pair_known[] = {{"cert", LW_OPTION_OTHER, 0, 0, 0},
                                       {"key", LW_OPTION_OTHER, 0, 0, 0},
                                       {"passphrase", LW_OPTION_OTHER, 0, 0, 0},
                                       {NULL, LW_OPTION_OTHER, 0, 0, 0}};

/* ---------------------------------------------------------------- checking */

/* A string of the table at `table`; it stays on the stack (nil: NULL). */
static const char *string_of(lua_State *L, int table, const char *what, const char *name) {
  const char *text;
  if (!lua_istable(L, table) || lw_getfield(L, table, name) == LUA_TNIL) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING)
    lw_raise(L, "TypeError", "%s: option \"%s\": a string expected, got %s", what, name, lw_typename(L, -1));
  text = lua_tostring(L, -1);
  if (*text == '\0' || strlen(text) != lua_rawlen(L, -1))
    lw_raise(L, "TypeError", "%s: option \"%s\": the string is empty or has a NUL", what, name);
  return text;
}

static int min_version_of(lua_State *L, int table, const char *what) {
  const char *name = string_of(L, table, what, "minVersion");
  if (!name || strcmp(name, "TLSv1.2") == 0) return 12;
  if (strcmp(name, "TLSv1.3") == 0) return 13;
  lw_raise(L, "TypeError", "%s: option \"minVersion\": \"TLSv1.2\" or \"TLSv1.3\" expected, got \"%s\"", what, name);
}

/* One name or a list, as "a,b"; none: what a WebSocket speaks. */
static const char *alpn_of(lua_State *L, int table, const char *what) {
  int list;
  if (!lua_istable(L, table) || lw_getfield(L, table, "alpn") == LUA_TNIL) return "http/1.1";
  if (lua_type(L, -1) == LUA_TSTRING) {
    lua_newtable(L);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
  }
  list = lua_gettop(L);
  if (!lua_istable(L, list) || lua_rawlen(L, list) == 0)
    lw_raise(L, "TypeError", "%s: option \"alpn\": a name or a list of names expected, got %s", what, lw_typename(L, list));
  for (int i = 1, count = (int)lua_rawlen(L, list); i <= count; i++) {
    size_t n = 0;
    lua_rawgeti(L, list, i);
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
    if (!name || n == 0 || strlen(name) != n || strchr(name, ','))
      lw_raise(L, "TypeError", "%s: option \"alpn\": item %d is no protocol's name", what, i);
    lua_pop(L, 1);
  }
  lua_pushvalue(L, list); /* what joins it takes it away */
  return lw_join(L, ",");
}

static lw_tls_ask ask_of(lua_State *L, int table, const char *what) {
  lua_getfield(L, table, "requestCert");
  if (!lua_toboolean(L, -1)) return LW_TLS_ASK_NOT;
  if (lua_isboolean(L, -1)) return LW_TLS_ASK_REQUIRED;
  if (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "optional") == 0) return LW_TLS_ASK_OPTIONAL;
  lw_raise(L, "TypeError", "%s: option \"requestCert\": true, false or \"optional\" expected, got %s", what,
           lw_typename(L, -1));
}

static void pair_of(lua_State *L, int table, const char *what, lw_tls_pair *pair) {
  pair->cert = string_of(L, table, what, "cert");
  pair->key = string_of(L, table, what, "key");
  pair->passphrase = string_of(L, table, what, "passphrase");
  if (!pair->cert && pair->key) lw_raise(L, "TypeError", "%s: option \"key\" needs \"cert\"", what);
}

/* The length of the list on top. A table with names for keys would pass for an empty one: the servers' names are in the certificates. */
static int check_certificates(lua_State *L, const char *what) {
  int list = lua_gettop(L), count = (int)lua_rawlen(L, list);
  for (lua_pushnil(L); lua_next(L, list); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TNUMBER)
      lw_raise(L, "TypeError", "%s: option \"certificates\": a list of { cert =, key = } expected, got a table with %s",
               what, lua_type(L, -2) == LUA_TSTRING ? lua_pushfstring(L, "the key \"%s\"", lua_tostring(L, -2))
                                                    : "other keys");
    if (!lua_istable(L, -1))
      lw_raise(L, "TypeError", "%s: option \"certificates\": item %d: { cert =, key = } expected, got %s", what,
               (int)lua_tonumber(L, -2), lw_typename(L, -1));
  }
  return count;
}

/* The certificates of a server: its own, then those of the list. All strings stay on the stack. */
static void pairs_of(lua_State *L, int table, const char *what, lw_tls_options *options) {
  int list, count = 0, first;
  lw_tls_pair *pairs;
  if (lw_getfield(L, table, "certificates") != LUA_TNIL && !lua_istable(L, -1))
    lw_raise(L, "TypeError", "%s: option \"certificates\": a list of { cert =, key = } expected, got %s", what,
             lw_typename(L, -1));
  list = lua_gettop(L);
  if (lua_istable(L, list)) count = check_certificates(L, what);
  pairs = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *pairs, 0);
  memset(pairs, 0, (size_t)(count + 1) * sizeof *pairs);
  pair_of(L, table, what, pairs);
  first = pairs->cert != NULL;
  for (int i = 0; i < count; i++) {
    luaL_checkstack(L, 8, "certificates");
    lua_rawgeti(L, list, i + 1);
    lw_options_read(L, lua_gettop(L), what, pair_known, pairs);
    pair_of(L, lua_gettop(L), what, &pairs[first + i]);
    if (!pairs[first + i].cert) lw_raise(L, "TypeError", "%s: option \"certificates\": item %d has no \"cert\"", what, i + 1);
  }
  options->pairs = pairs;
  options->pair_count = (size_t)(first + count);
  if (options->pair_count == 0)
    lw_raise(L, "TypeError", "%s: a server needs \"cert\" and \"key\": files, or PEM text", what);
}

/* ---------------------------------------------------------------- contexts */

typedef struct context_box {
  lw_tls_context *context;
} context_box;

static int context_gc(lua_State *L) {
  context_box *box = lua_touserdata(L, 1);
  lw_tls_context_release(box->context);
  box->context = NULL;
  return 0;
}

/* The context of these options; pushes what holds it. */
static lw_tls_context *push_context(lua_State *L, const char *what, const lw_tls_options *options) {
  lw_host *host = lw_host_of(L);
  char why[LW_TLS_WHY];
  int err;
  context_box *box = lw_guard_push(L, sizeof *box, context_gc);
  box->context = lw_tls_shelf_get(&host->tls, host->loop->sys, options, why, &err);
  if (err == LW_ERR_TLS) lw_raise(L, "TypeError", "%s: %s", what, why);
  if (!box->context) lw_raise_err(L, what, err);
  return box->context;
}

/* Said once: whoever sits between can read and change everything. */
static void warn_insecure(lua_State *L) {
  lw_host *host = lw_host_of(L);
  if (host->warned_insecure) return;
  host->warned_insecure = 1;
  fputs("lunawire: tls.verify = false: anybody on the way may pose as the server\n", stderr);
}

static int is_address(const char *name) {
  lw_ip ip;
  return lw_ip_read(&ip, (lw_text){name, strlen(name)});
}

static const char *server_name_of(lua_State *L, int table, const char *what) {
  const char *name = string_of(L, table, what, "serverName");
  if (name && strlen(name) > NAME_MAX_LENGTH)
    lw_raise(L, "TypeError", "%s: option \"serverName\" is longer than %d bytes", what, NAME_MAX_LENGTH);
  if (name && !is_address(name) && strpbrk(name, "/:@*[] "))
    lw_raise(L, "TypeError", "%s: option \"serverName\": the name of a host expected, or an address, got \"%s\"", what, name);
  return name;
}

lw_tls_context *lw_check_client_tls(lua_State *L, int index, const char *what, lw_tls_use use, const char **server_name) {
  tls_values values = {.verify = 1, .session = 1};
  lw_tls_options options;
  lw_tls_pair pair = {NULL, NULL, NULL};
  lw_tls_context *context = NULL;
  int top;
  index = lua_absindex(L, index);
  luaL_checkstack(L, 24, what);
  lua_settop(L, lua_gettop(L) + 2); /* for the two that are pushed */
  top = lua_gettop(L);
  memset(&options, 0, sizeof options);
  if (!lua_isnil(L, index) && !lua_istable(L, index))
    lw_raise(L, "TypeError", "%s: a table of options expected, got %s (it is the URL that asks for TLS)", what,
             lw_typename(L, index));
  lw_options_read(L, index, what, client_known, &values);
  *server_name = server_name_of(L, index, what);
  if (*server_name) lua_replace(L, top - 1);
  if (lua_istable(L, index)) pair_of(L, index, what, &pair);
  options.insecure = !values.verify;
  options.no_resumption = !values.session;
  options.ca = string_of(L, index, what, "ca");
  options.pairs = &pair;
  options.pair_count = pair.cert && use != LW_TLS_ELSEWHERE;
  options.min_version = min_version_of(L, index, what);
  options.ciphers = string_of(L, index, what, "ciphers");
  options.alpn = alpn_of(L, index, what);
  if (use != LW_TLS_UNUSED && options.insecure) warn_insecure(L);
  if (use != LW_TLS_UNUSED) {
    context = push_context(L, what, &options);
    lua_replace(L, top);
  }
  lua_settop(L, top);
  return context;
}

lw_tls_context *lw_check_server_tls(lua_State *L, int index, const char *what) {
  tls_values values = {.session = 1};
  lw_tls_options options;
  lw_tls_context *context;
  int top;
  index = lua_absindex(L, index);
  luaL_checkstack(L, 24, what);
  lua_pushnil(L);
  top = lua_gettop(L);
  if (!lua_toboolean(L, index)) return NULL;
  if (!lua_istable(L, index))
    lw_raise(L, "TypeError", "%s: { cert =, key = } expected, got %s", what, lua_isboolean(L, index) ? "true" : lw_typename(L, index));
  memset(&options, 0, sizeof options);
  options.server = 1;
  lw_options_read(L, index, what, server_known, &values);
  pairs_of(L, index, what, &options);
  options.no_resumption = !values.session;
  options.ca = string_of(L, index, what, "ca");
  options.ask = ask_of(L, index, what);
  if (options.ask != LW_TLS_ASK_NOT && !options.ca)
    lw_raise(L, "TypeError", "%s: option \"requestCert\" needs \"ca\": whose certificates are good", what);
  if (options.ca && lw_getfield(L, index, "requestCert") == LUA_TNIL)
    lw_raise(L, "TypeError", "%s: option \"ca\" does nothing without \"requestCert\": true, or \"optional\"", what);
  options.min_version = min_version_of(L, index, what);
  options.ciphers = string_of(L, index, what, "ciphers");
  options.alpn = alpn_of(L, index, what);
  context = push_context(L, what, &options);
  lua_replace(L, top);
  lua_settop(L, top);
  return context;
}

/* ------------------------------------------------------------------- facts */

static void set_text(lua_State *L, const char *name, const char *text) {
  if (!text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

/* A certificate's words, which belong to nobody while Lua makes strings of them: a box of their own. */
static int peer_gc(lua_State *L) {
  lw_tls_peer_clear(lua_touserdata(L, 1));
  return 0;
}

static void set_peer(lua_State *L, const lw_tls *tls) {
  lw_tls_peer *peer = lw_guard_push(L, sizeof *peer, peer_gc);
  if (!lw_tls_peer_of(tls, peer)) {
    lua_pop(L, 1);
    return;
  }
  lua_createtable(L, 0, 6);
  set_text(L, "subject", peer->subject);
  set_text(L, "issuer", peer->issuer);
  set_text(L, "commonName", peer->common_name);
  set_text(L, "serialNumber", peer->serial);
  set_text(L, "fingerprint", peer->fingerprint);
  set_text(L, "validTo", peer->not_after);
  lua_setfield(L, -3, "peer");
  lua_pop(L, 1);
}

void lw_push_tls(lua_State *L, const lw_tls *tls) {
  lw_tls_facts facts;
  lw_tls_tell(tls, &facts);
  lua_createtable(L, 0, 6);
  set_text(L, "version", facts.version);
  set_text(L, "cipher", facts.cipher);
  set_text(L, "serverName", facts.server_name);
  if (facts.alpn) {
    lua_pushlstring(L, facts.alpn, facts.alpn_n);
    lua_setfield(L, -2, "protocol");
  }
  lua_pushboolean(L, facts.resumed);
  lua_setfield(L, -2, "resumed");
  set_peer(L, tls);
}
