/*
** lua_server.c -- WebSocketServer.
*/
#include "lua_server.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "forwarded.h"
#include "http.h"
#include "lua_check.h"
#include "lua_guest.h"
#include "lua_option.h"
#include "lua_settings.h"
#include "lua_socket.h"
#include "lua_tls.h"

#define CLASS "WebSocketServer"

typedef struct server_box {
  lw_target target;
  lw_server *server; /* NULL once its close was delivered */
  lw_address address; /* stays when the server is gone */
  int secure;         /* the same */
  int waiting;       /* it keeps `run` from ending */
  int choosing;      /* `protocols` is a function */
} server_box;

enum { CHOOSER = LW_TARGET_VALUES + 1, TLS, VALUES = TLS };

enum { GET_PORT = 1, GET_URL, GET_HANDLER = 100 };

#define SERVER_EVENTS                                                                                 \
  (1u << LW_ON_CONNECTION | 1u << LW_ON_UPGRADE | 1u << LW_ON_REQUEST | 1u << LW_ON_MESSAGE |         \
   1u << LW_ON_PING | 1u << LW_ON_PONG | 1u << LW_ON_DRAIN | 1u << LW_ON_SOCKETERROR |                \
   1u << LW_ON_SOCKETCLOSE | 1u << LW_ON_ERROR | 1u << LW_ON_CLOSE)

static server_box *check_server(lua_State *L) {
  return lw_box_check(L, 1, CLASS);
}

/* ----------------------------------------------------------------- options */

typedef struct server_options {
  lw_conn_settings settings; /* first: see LW_SETTINGS */
  int port, backlog, reuse_port;
  size_t max_connections;
  lw_heartbeat_settings heartbeat;
  lw_deflate_options deflate;
} server_options;

static const lw_option known[] = {
    LW_SETTINGS,
    {"port", LW_OPTION_INT, offsetof(server_options, port), 0, 65535},
    {"backlog", LW_OPTION_INT, offsetof(server_options, backlog), 1, 65535},
    {"reusePort", LW_OPTION_BOOLEAN, offsetof(server_options, reuse_port), 0, 0},
    {"maxConnections", LW_OPTION_SIZE, offsetof(server_options, max_connections), 1, 1e9},
    {"maxHeaderSize", LW_OPTION_SIZE, offsetof(server_options, settings.max_header_size), 128, 1 << 20},
    {"maxHeaderCount", LW_OPTION_SIZE, offsetof(server_options, settings.max_header_count), 4, 10000},
    {"host", LW_OPTION_OTHER, 0, 0, 0},
    {"path", LW_OPTION_OTHER, 0, 0, 0},
    {"resource", LW_OPTION_OTHER, 0, 0, 0},
    {"origins", LW_OPTION_OTHER, 0, 0, 0},
    {"trustProxy", LW_OPTION_OTHER, 0, 0, 0},
    {"protocols", LW_OPTION_OTHER, 0, 0, 0},
    {"tls", LW_OPTION_OTHER, 0, 0, 0},
    {"perMessageDeflate", LW_OPTION_OTHER, 0, 0, 0},
    {"heartbeat", LW_OPTION_OTHER, 0, 0, 0},
    {NULL, LW_OPTION_OTHER, 0, 0, 0}};

static const lw_option heartbeat_known[] = {
    {"interval", LW_OPTION_DURATION, offsetof(lw_heartbeat_settings, interval), 1, 1e9},
    {"timeout", LW_OPTION_DURATION, offsetof(lw_heartbeat_settings, timeout), 1, 1e9},
    {NULL, LW_OPTION_OTHER, 0, 0, 0}};

static const char *string_option(lua_State *L, const char *name) {
  if (lw_getfield(L, 2, name) == LUA_TNIL) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING || strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1))
    lw_raise(L, "TypeError", CLASS ": option \"%s\": a string without NUL expected, got %s", name,
             lw_typename(L, -1));
  return lua_tostring(L, -1); /* stays on the stack */
}

/* A page's address, with its slash at the end, would never be found in the list. */
static void check_origins(lua_State *L, const lw_strings *list) {
  for (size_t i = 0; list && i < list->count; i++)
    if (strcmp(list->items[i], "*") != 0 && !lw_handshake_is_origin(list->items[i]))
      lw_raise(L, "TypeError",
               CLASS ": option \"origins\": \"%s\" is nothing a browser sends: scheme, host, and a port that is not the "
                     "scheme's own, as in \"https://example.org\" and \"http://localhost:8080\"",
               list->items[i]);
}

/* A list of strings (or one) as an array in a userdata; both stay on the stack. */
static lw_strings *strings_option(lua_State *L, const char *name, int tokens) {
  int source, count;
  lw_strings *list;
  const char **items;
  lua_getfield(L, 2, name);
  source = lua_gettop(L);
  if (lua_isnil(L, source)) return NULL;
  if (lua_type(L, source) == LUA_TSTRING) {
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, source);
    lua_rawseti(L, -2, 1);
    lua_replace(L, source);
  }
  if (!lua_istable(L, source))
    lw_raise(L, "TypeError", CLASS ": option \"%s\": a list of strings expected, got %s", name, lw_typename(L, source));
  count = (int)lua_rawlen(L, source);
  list = lua_newuserdatauv(L, sizeof *list + (size_t)count * sizeof *items, 0);
  items = (const char **)(void *)(list + 1);
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, source, i + 1);
    items[i] = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (!items[i] || strlen(items[i]) != lua_rawlen(L, -1) || (tokens && !lw_http_is_token(items[i], lua_rawlen(L, -1))))
      lw_raise(L, "TypeError", CLASS ": option \"%s\": item %d is no %s", name, i + 1,
               tokens ? "subprotocol name" : "string without NUL");
    lua_pop(L, 1); /* the list keeps it */
  }
  list->items = items;
  list->count = (size_t)count;
  return list;
}

static void default_settings(server_options *options) {
  memset(options, 0, sizeof *options);
  lw_settings_default(&options->settings);
  options->settings.limits.max_payload = 1024 * 1024;
  options->settings.max_buffered = 16 * 1024 * 1024;
  options->heartbeat.interval = INT64_C(30000000000);
  options->heartbeat.timeout = INT64_C(10000000000);
}

/* heartbeat = { interval =, timeout = }; false: none; true or nil: as it is. */
static void read_heartbeat(lua_State *L, server_options *options) {
  lua_getfield(L, 2, "heartbeat");
  if (!lua_isboolean(L, -1)) lw_options_read(L, lua_gettop(L), CLASS ": heartbeat", heartbeat_known, &options->heartbeat);
  else if (!lua_toboolean(L, -1)) options->heartbeat.interval = 0;
  lua_pop(L, 1);
}

/* Pushes ws://host:port/ or wss://…, of what it listens on; "" before it does. */
static void push_url(lua_State *L, const server_box *s) {
  char address[LW_ADDRESS_TEXT];
  const char *scheme = s->secure ? "wss" : "ws";
  int port = lw_address_text(&s->address, address);
  if (s->address.any.sa_family == AF_UNSPEC) lua_pushliteral(L, "");
  else if (s->address.any.sa_family == AF_UNIX) lua_pushfstring(L, "%s+unix:%s", scheme, address);
  else if (strchr(address, ':')) lua_pushfstring(L, "%s://[%s]:%d/", scheme, address, port);
  else lua_pushfstring(L, "%s://%s:%d/", scheme, address, port);
}

/* 0 for a Unix socket. */
static int port_of(const server_box *s) {
  char address[LW_ADDRESS_TEXT];
  return lw_address_text(&s->address, address);
}

/* What was to be listened on, for the message when that fails; pushed. */
static const char *push_place(lua_State *L, const lw_listen_options *listen) {
  if (listen->path) return lua_pushfstring(L, CLASS ": listen on %s", listen->path);
  return lua_pushfstring(L, CLASS ": listen on %s:%d", listen->host ? listen->host : "127.0.0.1", (int)listen->port);
}

/* `protocols` may be a function, which then chooses for each request. */
static lw_strings *protocols_option(lua_State *L, server_box *s, int box) {
  lua_getfield(L, 2, "protocols");
  if (lua_isfunction(L, -1)) {
    lua_setiuservalue(L, box, CHOOSER);
    s->choosing = 1;
    return NULL;
  }
  return strings_option(L, "protocols", 1);
}

/* The proxies to be believed: true would be everybody, so whoever came could choose an address. */
static const lw_strings *trusted_option(lua_State *L) {
  const lw_strings *list;
  lua_getfield(L, 2, "trustProxy");
  if (lua_isboolean(L, -1) && lua_toboolean(L, -1))
    lw_raise(L, "TypeError", CLASS ": option \"trustProxy\": a list of the proxies' addresses expected "
             "(\"127.0.0.1\", \"10.0.0.0/8\", \"unix\"), got true: then anybody could say whose address is his");
  if (lua_isboolean(L, -1)) return NULL;
  list = strings_option(L, "trustProxy", 0);
  for (size_t i = 0; list && i < list->count; i++) {
    lw_trusted trusted = {0};
    int err = lw_trusted_add(&trusted, list->items[i]);
    lw_trusted_clear(&trusted);
    if (err == LW_ERR_MEMORY) lw_raise_err(L, CLASS, err);
    if (err < 0) lw_raise(L, "TypeError", CLASS ": option \"trustProxy\": \"%s\": %s", list->items[i], lw_strerror(err));
  }
  return list;
}

/* `path` looks like a URL's to those who come from elsewhere: beside a port it cannot be meant. */
static void check_path_alone(lua_State *L, const char *host) {
  int port = lw_getfield(L, 2, "port") != LUA_TNIL;
  if (host || port)
    lw_raise(L, "TypeError", CLASS ": option \"path\" is a Unix socket's and goes without \"%s\" "
             "(the only path to be served is option \"resource\")", port ? "port" : "host");
  lua_pop(L, 1);
}

/* WebSocketServer(options): stack: class, options. */
static int server_new(lua_State *L) {
  lw_host *host = lw_host_check(L);
  server_options values;
  lw_server_options options;
  server_box *s;
  int err;
  lua_settop(L, 2);
  if (!lua_istable(L, 2)) lw_raise(L, "TypeError", CLASS ": a table of options expected, got %s", lw_typename(L, 2));
  s = lua_newuserdatauv(L, sizeof *s, VALUES); /* 3 */
  memset(s, 0, sizeof *s);
  s->target.box.host = host;
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_setmetatable(L, 3);
  default_settings(&values);
  lw_options_read(L, 2, CLASS, known, &values);
  read_heartbeat(L, &values);
  lua_getfield(L, 2, "perMessageDeflate");
  if (lw_check_deflate(L, CLASS, 1, &values.deflate)) values.settings.deflate = &values.deflate;
  memset(&options, 0, sizeof options);
  options.settings = values.settings;
  options.max_connections = values.max_connections;
  options.heartbeat = values.heartbeat;
  options.listen.host = string_option(L, "host");
  options.listen.path = string_option(L, "path");
  if (options.listen.path) check_path_alone(L, options.listen.host);
  options.listen.port = (unsigned short)values.port;
  options.listen.backlog = values.backlog;
  options.listen.reuse_port = values.reuse_port;
  options.resource = string_option(L, "resource");
  options.origins = strings_option(L, "origins", 0);
  check_origins(L, options.origins);
  options.trusted = trusted_option(L);
  options.protocols = protocols_option(L, s, 3);
  lua_getfield(L, 2, "tls");
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 3, TLS);
  options.tls = lw_check_server_tls(L, lua_gettop(L), CLASS ": tls");
  lw_box_live(L, &s->target.box, 3); /* first: nothing may raise once it listens */
  s->server = lw_server_new(&host->hub, &options, LW_KIND_SERVER, LW_KIND_SOCKET, s, &err);
  if (!s->server) {
    lw_box_die(L, &s->target.box);
    lw_raise_err(L, push_place(L, &options.listen), err);
  }
  host->waiting++;
  s->waiting = 1;
  s->address = *lw_server_address(s->server);
  s->secure = lw_server_has_tls(s->server);
  lua_settop(L, 3);
  return 1;
}

static void stop_waiting(server_box *s) {
  if (s->waiting) s->target.box.host->waiting--;
  s->waiting = 0;
}

static int server_gc(lua_State *L) {
  server_box *s = lw_box_test(L, 1);
  if (!s) return 0;
  stop_waiting(s);
  lw_server_free(s->server);
  s->server = NULL;
  lw_box_die(L, &s->target.box);
  return 0;
}

/* ----------------------------------------------------------------- members */

static int get_member(lua_State *L, const server_box *s, int member) {
  if (member == GET_URL) push_url(L, s);
  else if (member == GET_PORT) lua_pushinteger(L, port_of(s));
  else lw_target_get(L, 1, (lw_event_type)(member - GET_HANDLER));
  return 1;
}

/* server:__index; upvalues: host, metatable, members. */
static int server_index(lua_State *L) {
  server_box *s = check_server(L);
  lua_pushvalue(L, 2);
  if (lw_rawget(L, lua_upvalueindex(3)) != LUA_TNUMBER) return 1;
  return get_member(L, s, (int)lua_tointeger(L, -1));
}

static int server_newindex(lua_State *L) {
  const char *name, *names[LW_EVENT_TYPES] = {NULL}, *near;
  check_server(L);
  lua_settop(L, 3);
  lua_pushvalue(L, 2);
  if (lw_rawget(L, lua_upvalueindex(3)) == LUA_TNUMBER && lua_tointeger(L, -1) > GET_HANDLER) {
    lw_target_set(L, 1, (lw_event_type)(lua_tointeger(L, -1) - GET_HANDLER), 3);
    return 0;
  }
  name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : lw_typename(L, 2);
  if (!lua_isnil(L, -1)) lw_raise(L, "TypeError", CLASS "'s \"%s\" is read-only", name);
  for (int i = 1; i < LW_EVENT_TYPES; i++)
    if (SERVER_EVENTS & 1u << i) names[i] = lw_event_handler_name((lw_event_type)i);
  near = lw_nearest(name, names, LW_EVENT_TYPES, sizeof *names);
  if (near) lw_raise(L, "TypeError", CLASS " has no member \"%s\" (did you mean \"%s\"?)", name, near);
  lw_raise(L, "TypeError", CLASS " has no member \"%s\"", name);
}

static int server_len(lua_State *L) {
  server_box *s = check_server(L);
  lua_pushinteger(L, s->server ? (lua_Integer)lw_server_count(s->server) : 0);
  return 1;
}

static int server_tostring(lua_State *L) {
  server_box *s = check_server(L);
  push_url(L, s);
  lua_pushfstring(L, CLASS " (%s): %s", s->server ? "listening" : "closed", lua_tostring(L, -1));
  return 1;
}

/* ----------------------------------------------------------------- methods */

/* The next of server:each(): upvalues: host, list, place. Sockets closed on the way are passed over. */
static int each_next(lua_State *L) {
  lua_Integer i = lua_tointeger(L, lua_upvalueindex(3));
  for (;;) {
    lw_lua_socket *s;
    lua_rawgeti(L, lua_upvalueindex(2), (int)++i);
    if (lua_isnil(L, -1)) return 1;
    s = lw_socket_test(L, -1);
    if (s && s->conn && lw_conn_where(s->conn) == LW_CONN_OPEN) break;
    lua_pop(L, 1);
  }
  lua_pushinteger(L, i);
  lua_replace(L, lua_upvalueindex(3));
  return 1;
}

/* for socket in server:each() do … end */
static int server_each(lua_State *L) {
  server_box *s = check_server(L);
  int list, n = 0;
  lua_pushvalue(L, LW_HOST);
  lua_createtable(L, s->server ? (int)lw_server_count(s->server) : 0, 0);
  list = lua_gettop(L);
  for (lw_conn *c = s->server ? lw_server_first(s->server) : NULL; c; c = lw_server_after(s->server, c)) {
    const lw_lua_socket *socket = lw_conn_owner(c);
    if (lw_conn_where(c) != LW_CONN_OPEN || !socket) continue;
    lw_box_push(L, &socket->target.box);
    lua_rawseti(L, list, ++n);
  }
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, each_next, 3);
  return 1;
}

static int push_count(lua_State *L, const char *what, long count) {
  if (count < 0) lw_raise_err(L, what, (int)count);
  lua_pushinteger(L, count);
  return 1;
}

/* server:publish(topic, data [, "binary"]) */
static int server_publish(lua_State *L) {
  server_box *s = check_server(L);
  size_t topic_n;
  lw_data data;
  lw_server_message message;
  const char *topic;
  lw_host_check(L);
  if (lua_type(L, 2) != LUA_TSTRING)
    lw_raise(L, "TypeError", "publish: the topic must be a string, got %s", lw_typename(L, 2));
  topic = lua_tolstring(L, 2, &topic_n);
  lw_check_shared(L, 3, "publish", &data);
  if (!s->server) return push_count(L, "publish", 0);
  message = lw_message_of(&data);
  return push_count(L, "publish", lw_server_publish(s->server, NULL, topic, topic_n, &message));
}

/* server:broadcast(data [, "binary"]) */
static int server_broadcast(lua_State *L) {
  server_box *s = check_server(L);
  lw_data data;
  lw_server_message message;
  lw_host_check(L);
  lw_check_shared(L, 2, "broadcast", &data);
  if (!s->server) return push_count(L, "broadcast", 0);
  message = lw_message_of(&data);
  return push_count(L, "broadcast", lw_server_broadcast(s->server, &message));
}

/* server:close([code [, reason]]) */
static int server_close(lua_State *L) {
  server_box *s = check_server(L);
  size_t n;
  const char *reason;
  unsigned code = lw_check_close(L, 2, 1, &reason, &n);
  lw_host_check(L);
  if (s->server) lw_server_close(s->server, code ? code : 1001, reason, n);
  return 0;
}

/* Stack: server, changes. Pushes a copy of the options `tls` with the changes. */
static void push_changed_tls(lua_State *L) {
  lua_newtable(L);
  lua_getiuservalue(L, 1, TLS);
  for (int from = 4; from >= 2; from -= 2) { /* the changes, at 2, come last */
    lua_pushnil(L);
    while (lua_next(L, from)) {
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, 3);
    }
  }
  lua_settop(L, 3);
}

/* server:reload{ cert =, key =, … }: new connections see them; if they are wrong, nothing has changed. */
static int server_reload(lua_State *L) {
  server_box *s = check_server(L);
  lw_tls_context *tls;
  lw_host_check(L);
  lua_settop(L, 2);
  if (!lua_istable(L, 2)) lw_raise(L, "TypeError", "reload: a table { cert =, key = } expected, got %s", lw_typename(L, 2));
  if (!s->server || !lw_server_has_tls(s->server))
    lw_raise(L, "InvalidStateError", "reload: the server %s", s->server ? "has no option \"tls\"" : "is closed");
  push_changed_tls(L); /* 3 */
  tls = lw_check_server_tls(L, 3, "reload");
  if (!s->server) return 0; /* a finalizer was its end */
  lw_server_set_tls(s->server, tls);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 1, TLS);
  return 0;
}

static int add_listener(lua_State *L) {
  check_server(L);
  lw_target_add(L, SERVER_EVENTS, 0);
  return 0;
}

static int remove_listener(lua_State *L) {
  check_server(L);
  lw_target_remove(L, SERVER_EVENTS);
  return 0;
}

/* ---------------------------------------------------------------- delivery */

static void refuse_plain(lw_conn *conn) {
  static const char body[] = "this is a WebSocket server\n";
  lw_conn_respond(conn, 426, NULL, body, sizeof body - 1);
}

/* A handler has failed while a guest waits for its answer. */
static void refuse_failed(lw_conn *conn) {
  static const char body[] = "the server's handler failed\n";
  if (lw_conn_where(conn) == LW_CONN_ASKED) lw_conn_respond(conn, 500, NULL, body, sizeof body - 1);
}

/* The same, and the error goes on. A guest that was let in before keeps what it has asked. */
static int fail_guest(lua_State *L, lw_conn *conn) {
  refuse_failed(conn);
  if (lw_conn_where(conn) != LW_CONN_ASKED) lw_guest_drop(L, conn);
  lw_host_of(L)->traced = 1;
  return lua_error(L);
}

/* What protected steps need; they get it as a light userdata at 1. */
typedef struct answer {
  lw_conn *conn;
  server_box *s;
  lw_slice protocol;
  int plain;
  int called;
} answer;

/* protocols(offered, request): pushes what it chose. Stack: answer, server, guest. */
static void choose(lua_State *L, const answer *a) {
  lw_slice offered;
  lua_getiuservalue(L, 2, CHOOSER);
  lua_newtable(L);
  for (size_t i = 0; lw_handshake_protocol(lw_conn_head(a->conn), i, &offered); i++) {
    lua_pushlstring(L, (const char *)offered.bytes, offered.n);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_getiuservalue(L, 3, LW_GUEST_REQUEST);
  lw_host_of(L)->told = 1;
  lua_call(L, 2, 1);
}

/* Stack: answer, server. Upvalue: host. Asks the handlers and gives the answer they come to. */
static int answer_guest(lua_State *L) {
  answer *a = lua_touserdata(L, 1);
  lw_event_type type = a->plain ? LW_ON_REQUEST : LW_ON_UPGRADE;
  unsigned failures = lw_host_of(L)->failures;
  lw_guest *g = lw_guest_push(L, a->conn); /* 3 */
  lw_guest_push_event(L, type, 2, 3);      /* 4 */
  if (!a->plain) {
    if (a->s->choosing) choose(L, a);
    else if (a->protocol.n > 0) lua_pushlstring(L, (const char *)a->protocol.bytes, a->protocol.n);
    else lua_pushnil(L);
    lua_setfield(L, 4, "protocol");
  }
  lua_pushvalue(L, 4);
  if (lw_target_wants(L, 2, type)) a->called = lw_target_deliver(L, 2, type);
  if (g->conn && lw_host_of(L)->failures != failures) refuse_failed(g->conn); /* a listener's error lets nobody in */
  if (!a->plain && g->conn && !g->deferred && lw_conn_where(g->conn) == LW_CONN_ASKED) lw_guest_accept(L, g, 4);
  return 0;
}

/* The server's box is held throughout: at any allocation a finalizer may be its end. */
static int deliver_request(lua_State *L, lw_conn *conn) {
  lw_server *server = lw_conn_seat(conn)->server;
  server_box *s = server ? lw_server_owner(server) : NULL;
  int top = lua_gettop(L);
  answer a = {.conn = conn, .s = s, .protocol = {NULL, 0}};
  lw_verdict verdict;
  if (!s) return 0;
  verdict = lw_server_judge(server, conn, &a.protocol);
  if (verdict == LW_VERDICT_REFUSED) return 0;
  lw_box_push(L, &s->target.box); /* top + 1 */
  a.plain = verdict == LW_VERDICT_PLAIN;
  if (a.plain && !lw_target_wants(L, -1, LW_ON_REQUEST)) {
    lua_settop(L, top);
    refuse_plain(conn);
    return 0;
  }
  lua_pushvalue(L, LW_HOST);
  lua_pushcclosure(L, lw_event_traceback, 1); /* top + 2 */
  lua_pushvalue(L, LW_HOST);
  lua_pushcclosure(L, answer_guest, 1);
  lua_pushlightuserdata(L, &a);
  lua_pushvalue(L, top + 1);
  if (lua_pcall(L, 2, 0, top + 2) != LUA_OK) return fail_guest(L, conn);
  lua_settop(L, top);
  return a.called;
}

/* The guest has become a socket; or, should there be no memory for that and its event, stays a guest. */
static int deliver_connection(lua_State *L, lw_conn *conn) {
  server_box *s = lw_server_owner(lw_conn_seat(conn)->server);
  const lw_guest *g = lw_conn_owner(conn);
  lw_lua_socket *socket;
  lw_delivery delivery;
  int top = lua_gettop(L), called = 0, wanted;
  lw_box_push(L, &s->target.box); /* top + 1 */
  if (g) lw_box_push(L, &g->box);
  else lua_pushnil(L);
  socket = lw_socket_push(L, top + 1); /* top + 3 */
  wanted = lw_target_wants(L, top + 1, LW_ON_CONNECTION);
  if (wanted) {
    lw_event_push(L, LW_ON_CONNECTION, 0, top + 1, 2);
    lua_pushvalue(L, top + 3);
    lua_setfield(L, -2, "socket");
    if (!lua_isnil(L, top + 2)) lua_getiuservalue(L, top + 2, LW_GUEST_REQUEST);
    else lua_pushnil(L);
    lua_setfield(L, -2, "request");
  }
  if (wanted) lw_target_prepare(L, top + 1, LW_ON_CONNECTION, &delivery);
  lw_box_live(L, &socket->target.box, top + 3);
  lw_guest_drop(L, conn); /* from here on nothing raises before the handler */
  lw_socket_take(socket, conn);
  if (wanted) called = lw_target_call(L, top + 1, LW_ON_CONNECTION, &delivery);
  lua_settop(L, top);
  return called;
}

/* A guest with whom TLS failed got no answer that says why: the server's onerror hears of him, unless he said nothing. */
static int deliver_failure(lua_State *L, lw_conn *conn, const lw_conn_event *event) {
  const lw_server *server = lw_conn_seat(conn)->server;
  const server_box *s = server ? lw_server_owner(server) : NULL;
  int top = lua_gettop(L), called = 0;
  if (!s || event->error != LW_ERR_TLS || lw_conn_received(conn) == 0) return 0;
  lw_box_push(L, &s->target.box);
  if (lw_target_wants(L, top + 1, LW_ON_ERROR)) {
    lw_event_push(L, LW_ON_ERROR, 0, top + 1, 2);
    lw_socket_push_peer(L, conn);
    lua_pushstring(L, event->why ? event->why : lw_strerror(event->error));
    lua_concat(L, 2);
    lua_setfield(L, -2, "message");
    lua_pushliteral(L, "tls");
    lua_setfield(L, -2, "code");
    called = lw_target_deliver(L, top + 1, LW_ON_ERROR);
  }
  lua_settop(L, top);
  return called;
}

int lw_lua_server_guest(lua_State *L, lw_conn *conn, const lw_conn_event *event) {
  if (event->kind == LW_CONN_FAILED) return deliver_failure(L, conn, event);
  if (event->kind == LW_CONN_REQUEST) return deliver_request(L, conn);
  if (event->kind == LW_CONN_OPENED && lw_conn_seat(conn)->server) return deliver_connection(L, conn);
  if (event->kind == LW_CONN_OPENED) lw_guest_drop(L, conn); /* the server is gone: nobody's socket */
  return 0;
}

void lw_lua_server_forget(lua_State *L, lw_conn *conn) {
  lw_guest_drop(L, conn);
  lw_server_leave(conn);
  lw_conn_free(conn);
}

int lw_lua_server_deliver(lua_State *L, lw_server *server, const lw_server_event *event, lw_box **dead) {
  server_box *s = lw_server_owner(server);
  int closed = event->kind == LW_SERVER_CLOSED, called = 0, wanted;
  lw_event_type type = closed ? LW_ON_CLOSE : LW_ON_ERROR;
  lw_delivery delivery;
  int box = lua_gettop(L) + 1;
  lw_box_push(L, &s->target.box);
  if (closed) lw_server_retell(server); /* unless it is gone by then */
  wanted = lw_target_wants(L, -1, type);
  if (wanted) {
    lw_event_push(L, type, 0, -1, 2);
    if (!closed) {
      lua_pushfstring(L, "accept: %s", lw_strerror(event->error));
      lua_setfield(L, -2, "message");
      lua_pushliteral(L, "system");
      lua_setfield(L, -2, "code");
    }
    lw_target_prepare(L, box, type, &delivery);
  }
  if (closed) {
    stop_waiting(s);
    lw_server_free(server);
    s->server = NULL;
    *dead = &s->target.box;
  }
  if (wanted) called = lw_target_call(L, box, type, &delivery);
  lua_settop(L, box - 1);
  return called;
}

/* ------------------------------------------------------------------- class */

static const luaL_Reg metamethods[] = {
    {"__gc", server_gc}, {"__len", server_len}, {"__tostring", server_tostring}, {NULL, NULL}};

static const luaL_Reg methods[] = {{"each", server_each},
                                   {"publish", server_publish},
                                   {"broadcast", server_broadcast},
                                   {"close", server_close},
                                   {"reload", server_reload},
                                   {"addEventListener", add_listener},
                                   {"removeEventListener", remove_listener},
                                   {NULL, NULL}};

static void set_getters(lua_State *L) {
  lua_pushinteger(L, GET_PORT);
  lua_setfield(L, -2, "port");
  lua_pushinteger(L, GET_URL);
  lua_setfield(L, -2, "url");
  for (int type = 1; type < LW_EVENT_TYPES; type++) {
    if (!(SERVER_EVENTS & 1u << type)) continue;
    lua_pushinteger(L, GET_HANDLER + type);
    lua_setfield(L, -2, lw_event_handler_name((lw_event_type)type));
  }
}

static void set_access(lua_State *L, const char *name, lua_CFunction function) {
  lw_host_push(L);
  lua_pushvalue(L, -3);
  lua_pushvalue(L, -3);
  lua_pushcclosure(L, function, 3);
  lua_setfield(L, -3, name);
}

void lw_lua_server_open(lua_State *L) {
  lw_guest_open(L);
  lw_class_new(L, CLASS, metamethods); /* module, metatable */
  lua_newtable(L);                     /* module, metatable, members */
  lw_host_push(L);
  lua_pushvalue(L, -3);
  luaL_setfuncs(L, methods, 2);
  set_getters(L);
  set_access(L, "__index", server_index);
  set_access(L, "__newindex", server_newindex);
  lua_newtable(L); /* module, metatable, members, class */
  lua_createtable(L, 0, 1);
  lw_host_push(L);
  lua_pushvalue(L, -5);
  lua_pushcclosure(L, server_new, 2);
  lua_setfield(L, -2, "__call");
  lua_setmetatable(L, -2);
  lua_setfield(L, -4, CLASS);
  lua_pop(L, 2);
}
