/*
** lua_socket.c -- WebSocket: the browser's object over a connection, client or server side
** (WHATWG WebSockets, "The WebSocket interface").
*/
#include "lua_socket.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "lua_blob.h"
#include "lua_buffer.h"
#include "lua_check.h"
#include "lua_client.h"
#include "lua_option.h"
#include "redirect.h"
#include "server.h"

#define CLASS "WebSocket"

/* A socket as it lies in its userdata. */
typedef struct socket_box {
  lw_lua_socket socket;
  lua_Integer written, sent; /* of a connection that has ended */
  char *protocol; /* of a connection that has ended; NULL: none */
  lw_deflate_params params; /* of a connection that has ended */
  lw_trip *trip;         /* client with followRedirects, else NULL */
  int unfollowed;        /* why the last redirect was not followed, or 0 */
  unsigned char opened;
  unsigned char moved; /* LW_SOCKET_URL is to be that of the trip */
} socket_box;

static const char metatable_key; /* its address is a registry key */

/* Members that are worked out when asked for. */
enum { GET_URL = 1, GET_STATE, GET_PROTOCOL, GET_EXTENSIONS, GET_BUFFERED, GET_BINARY_TYPE, GET_RECEIVED, GET_ALIVE, GET_PAUSED, GET_WRITTEN, GET_SENT,
       GET_HANDLER = 100 /* plus the event's type */ };

/* Who wants a socket to rest: it reads again when neither does. */
enum { PAUSED_BY_PROGRAM = 1, PAUSED_BY_INBOX = 2 };

#define SOCKET_EVENTS                                                                             \
  (1u << LW_ON_OPEN | 1u << LW_ON_MESSAGE | 1u << LW_ON_ERROR | 1u << LW_ON_CLOSE | 1u << LW_ON_PING | \
   1u << LW_ON_PONG | 1u << LW_ON_DRAIN)

/* ---------------------------------------------------------------- checking */

static socket_box *check_socket(lua_State *L) {
  return lw_box_check(L, 1, CLASS);
}

lw_lua_socket *lw_socket_test(lua_State *L, int index) {
  return lw_class_test(L, index, &metatable_key);
}

static int ready_state(const lw_lua_socket *s) {
  if (s->closed || !s->conn) return 3;
  if (lw_conn_aborted(s->conn)) return 2;
  if (s->follows && lw_conn_where(s->conn) == LW_CONN_CLOSED) return 0; /* maybe sent elsewhere: soon decided */
  if (lw_conn_where(s->conn) < LW_CONN_OPEN) return 0;
  return lw_conn_where(s->conn) == LW_CONN_OPEN ? 1 : 2;
}

/* ------------------------------------------------------------- constructor */

static void init_socket(lua_State *L, socket_box *s) {
  memset(s, 0, sizeof *s);
  s->socket.target.box.host = lw_host_of(L);
}

/* WebSocket(url [, protocols [, options]]): stack: class, url, protocols, options. */
static int socket_new(lua_State *L) {
  lw_host *host = lw_host_check(L);
  lw_client_given given;
  socket_box *s;
  int err;
  lua_settop(L, 4);
  lw_client_check(L, &given);
  s = lua_newuserdatauv(L, sizeof *s, LW_SOCKET_VALUES);
  init_socket(L, s);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_setmetatable(L, -2);
  lua_pushstring(L, given.way.path); /* NULL is nil */
  lua_setiuservalue(L, -2, LW_SOCKET_PATH);
  lua_pushstring(L, given.offer.url->href);
  lua_setiuservalue(L, -2, LW_SOCKET_URL);
  lw_trip_prepare(L, &s->trip, &given);
  s->socket.follows = s->trip != NULL;
  if (!given.offer.url->secure) given.way.tls = NULL; /* that was for where we may be sent */
  if (!given.way.proxy || !given.way.proxy->secure) given.way.proxy_tls = NULL;
  s->socket.conn = lw_conn_connect(&host->hub, &given.settings, &given.offer, &given.way, LW_KIND_SOCKET, s, &err);
  if (!s->socket.conn) lw_raise_err(L, CLASS, err);
  return 1;
}

lw_lua_socket *lw_socket_push(lua_State *L, int server) {
  socket_box *s;
  server = lua_absindex(L, server);
  s = lua_newuserdatauv(L, sizeof *s, LW_SOCKET_VALUES);
  init_socket(L, s);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, server);
  lua_setiuservalue(L, -2, LW_SOCKET_SERVER);
  s->socket.server_side = 1;
  s->opened = 1;
  return &s->socket;
}

void lw_socket_take(lw_lua_socket *socket, lw_conn *conn) {
  socket->conn = conn;
  lw_conn_set_owner(conn, socket);
}

/* Collected, or the state is closing: the loop ends the connection. Where there is none, or it is a parent's, that is all. */
static int socket_gc(lua_State *L) {
  socket_box *s = lw_box_test(L, 1);
  lw_loop *loop;
  lw_conn *conn;
  if (!s) return 0;
  free(s->protocol);
  s->protocol = NULL;
  lw_trip_free(s->trip);
  s->trip = NULL;
  conn = s->socket.conn;
  s->socket.conn = NULL;
  if (!conn) return 0;
  loop = s->socket.target.box.host->loop;
  if (loop) lw_box_die(L, &s->socket.target.box);
  if (loop && !lw_loop_forked(loop)) {
    lw_conn_orphan(conn);
  } else {
    lw_server_leave(conn);
    lw_conn_free(conn);
  }
  return 0;
}

/* 1 if somebody listens to what may still come (WHATWG WebSockets, "Garbage collection"), or a coroutine waits. */
static int is_awaited(lua_State *L, const socket_box *s, int index) {
  static const lw_event_type types[] = {LW_ON_MESSAGE, LW_ON_CLOSE, LW_ON_ERROR, LW_ON_PING, LW_ON_PONG, LW_ON_DRAIN};
  if (!s->socket.conn) return 0;
  if (s->socket.awaited) return 1;
  if (s->socket.target.handlers == 0) return 0;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (lw_target_needs(L, index, types[i])) return 1;
  return !s->opened && lw_target_needs(L, index, LW_ON_OPEN);
}

/* Handlers have come or gone. A client socket lives as long as somebody listens to what may still come. */
static void update_life(lua_State *L, socket_box *s, int index) {
  if (s->socket.conn) lw_conn_hear(s->socket.conn, s->socket.target.heard);
  if (s->socket.server_side) return;
  if (is_awaited(L, s, index)) lw_box_live(L, &s->socket.target.box, index);
  else lw_box_die(L, &s->socket.target.box);
}

/* ----------------------------------------------------------------- members */

static int get_string_value(lua_State *L, int value) {
  if (lua_getiuservalue(L, 1, value) != LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushliteral(L, "");
  }
  return 1;
}

/* Brings the URL of the box at `index` up to date. */
static void note_move(lua_State *L, socket_box *s, int index) {
  if (!s->moved) return;
  index = lua_absindex(L, index);
  lua_pushstring(L, lw_trip_url(s->trip));
  lua_setiuservalue(L, index, LW_SOCKET_URL);
  s->moved = 0;
}

static int get_url(lua_State *L, socket_box *s) {
  note_move(L, s, 1);
  return get_string_value(L, LW_SOCKET_URL);
}

/* A time as lunawire.now() tells it; nil: never. */
static int push_time(lua_State *L, int64_t at) {
  if (at == 0) lua_pushnil(L);
  else lua_pushnumber(L, (lua_Number)at / 1e6);
  return 1;
}

static int get_protocol(lua_State *L, const socket_box *s) {
  const char *protocol = s->socket.conn ? lw_conn_protocol(s->socket.conn) : s->protocol;
  lua_pushstring(L, protocol ? protocol : "");
  return 1;
}

static int get_extensions(lua_State *L, const socket_box *s) {
  const lw_deflate_params *params = s->socket.conn ? lw_conn_params(s->socket.conn) : &s->params;
  char text[LW_DEFLATE_TEXT] = "";
  if (params) lw_deflate_name(text, params);
  lua_pushstring(L, text);
  return 1;
}

static uint64_t buffered(const lw_lua_socket *s) {
  return s->unsent + (s->conn ? lw_conn_buffered(s->conn) : 0);
}

static const char *const binary_types[LW_BINARY_TYPES] = {"string", "arraybuffer", "blob"};

static int get_member(lua_State *L, socket_box *s, int member) {
  switch (member) {
    case GET_URL: return get_url(L, s);
    case GET_STATE: lua_pushinteger(L, ready_state(&s->socket)); return 1;
    case GET_PROTOCOL: return get_protocol(L, s);
    case GET_EXTENSIONS: return get_extensions(L, s);
    case GET_BUFFERED: lua_pushinteger(L, (lua_Integer)buffered(&s->socket)); return 1;
    case GET_BINARY_TYPE: lua_pushstring(L, binary_types[s->socket.binary_type]); return 1;
    case GET_RECEIVED: return push_time(L, s->socket.conn ? lw_conn_received(s->socket.conn) : s->socket.received);
    case GET_ALIVE: return push_time(L, s->socket.conn ? lw_conn_alive(s->socket.conn) : s->socket.received);
    case GET_WRITTEN: lua_pushinteger(L, s->socket.conn ? (lua_Integer)lw_conn_written(s->socket.conn) : s->written); return 1;
    case GET_SENT: lua_pushinteger(L, s->socket.conn ? (lua_Integer)lw_conn_sent(s->socket.conn) : s->sent); return 1;
    case GET_PAUSED: lua_pushboolean(L, s->socket.conn && lw_conn_is_paused(s->socket.conn)); return 1;
    default: lw_target_get(L, 1, (lw_event_type)(member - GET_HANDLER)); return 1;
  }
}

/* Fields of the user's own live with the handlers, under a key no handler has. */
static int own_field(lua_State *L, int make) {
  if (lua_getiuservalue(L, 1, LW_TARGET_MORE) != LUA_TTABLE) {
    if (!make) return 0;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, LW_TARGET_MORE);
  }
  if (lw_rawgeti(L, -1, 1) == LUA_TTABLE) return 1;
  if (!make) return 0;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawseti(L, -3, 1);
  return 1;
}

/* socket:__index; upvalues: host, metatable, members. */
static int socket_index(lua_State *L) {
  socket_box *s = check_socket(L);
  lua_pushvalue(L, 2);
  switch (lw_rawget(L, lua_upvalueindex(3))) {
    case LUA_TNUMBER:
      if (lua_tointeger(L, -1) >= 0) return 1;
      return get_member(L, s, (int)-lua_tointeger(L, -1));
    case LUA_TNIL:
      if (!own_field(L, 0)) {
        lua_pushnil(L);
        return 1;
      }
      lua_pushvalue(L, 2);
      lua_rawget(L, -2);
      return 1;
    default: return 1;
  }
}

static int set_binary_type(lua_State *L, socket_box *s) {
  const char *type = lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : NULL;
  for (int i = 0; type && i < LW_BINARY_TYPES; i++) {
    if (strcmp(type, binary_types[i]) != 0) continue;
    s->socket.binary_type = (unsigned char)i;
    return 0;
  }
  lw_raise(L, "TypeError", "binaryType: \"string\", \"arraybuffer\" or \"blob\" expected, got %s%s%s", type ? "\"" : "",
           type ? type : lw_typename(L, 3), type ? "\"" : "");
}

/* A misspelt handler would never be called: nothing else may begin with "on". */
static int set_own_field(lua_State *L) {
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
  if (name && strncmp(name, "on", 2) == 0) {
    const char *names[LW_EVENT_TYPES] = {NULL}, *near;
    for (int i = 1; i < LW_EVENT_TYPES; i++)
      if (SOCKET_EVENTS & 1u << i) names[i] = lw_event_handler_name((lw_event_type)i);
    near = lw_nearest(name, names, LW_EVENT_TYPES, sizeof *names);
    if (near) lw_raise(L, "TypeError", CLASS " has no handler \"%s\" (did you mean \"%s\"?)", name, near);
    lw_raise(L, "TypeError", CLASS " has no handler \"%s\"", name);
  }
  own_field(L, 1);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_rawset(L, -3);
  return 0;
}

/* socket:__newindex; upvalues: host, metatable, members. */
static int socket_newindex(lua_State *L) {
  socket_box *s = check_socket(L);
  int member = 0, type;
  lua_settop(L, 3);
  lua_pushvalue(L, 2);
  type = lw_rawget(L, lua_upvalueindex(3));
  if (type == LUA_TNIL) return set_own_field(L);
  if (type == LUA_TNUMBER) member = (int)-lua_tointeger(L, -1);
  if (member == GET_BINARY_TYPE) return set_binary_type(L, s);
  if (member <= GET_HANDLER)
    lw_raise(L, "TypeError", CLASS "'s \"%s\" is read-only", lua_tostring(L, 2));
  lw_target_set(L, 1, (lw_event_type)(member - GET_HANDLER), 3);
  update_life(L, s, 1);
  return 0;
}

static int socket_tostring(lua_State *L) {
  static const char *const states[] = {"connecting", "open", "closing", "closed"};
  socket_box *s = check_socket(L);
  get_url(L, s);
  lua_pushfstring(L, CLASS " (%s): %s%p", states[ready_state(&s->socket)],
                  *lua_tostring(L, -1) ? lua_tostring(L, -1) : "server side ", (void *)s);
  if (*lua_tostring(L, -2)) lua_pushfstring(L, CLASS " (%s): %s", states[ready_state(&s->socket)], lua_tostring(L, -2));
  return 1;
}

/* ----------------------------------------------------------------- methods */

/* What a send came to: true below the high-water mark. */
static int sent(lua_State *L, lw_lua_socket *s, const char *what, int result, uint64_t n) {
  if (result == LW_ERR_CLOSED || result == LW_ERR_SLOW) s->unsent += n;
  else if (result < 0) lw_raise_err(L, what, result);
  lua_pushboolean(L, result == 1);
  return 1;
}

/* 1, 0 or an lw_err, as lw_conn_send. */
static int send_data(lua_State *L, socket_box *s, const lw_data *data) {
  lw_conn *conn = s->socket.conn;
  if (!conn || lw_conn_where(conn) != LW_CONN_OPEN) return LW_ERR_CLOSED;
  if (!data->blob) return lw_conn_send(conn, data->opcode, data->bytes, (size_t)data->n, data->compress);
  return lw_conn_send_body(conn, data->opcode, lw_blob_body(L, data->blob, "send"));
}

/* ws:send(data [, "binary" | options]) */
static int socket_send(lua_State *L) {
  socket_box *s = check_socket(L);
  lw_data data;
  lw_host_check(L);
  if (ready_state(&s->socket) == 0) lw_raise(L, "InvalidStateError", "send: the connection is not open yet");
  lw_check_data(L, 2, "send", &data);
  return sent(L, &s->socket, "send", send_data(L, s, &data), data.n);
}

/* ws:close([code [, reason]]) */
static int socket_close(lua_State *L) {
  socket_box *s = check_socket(L);
  const char *reason;
  size_t n;
  unsigned code = lw_check_close(L, 2, s->socket.server_side, &reason, &n);
  lw_host_check(L);
  s->socket.follows = 0;
  if (s->socket.conn) lw_conn_close(s->socket.conn, code, reason, n);
  return 0;
}

/* ws:ping([data]) */
static int socket_ping(lua_State *L) {
  socket_box *s = check_socket(L);
  size_t n = 0;
  const char *data = "";
  int err;
  lw_host_check(L);
  if (!lua_isnoneornil(L, 2)) {
    if (lua_type(L, 2) != LUA_TSTRING) lw_raise(L, "TypeError", "ping: a string expected, got %s", lw_typename(L, 2));
    data = lua_tolstring(L, 2, &n);
  }
  if (n > LW_CONTROL_MAX) lw_raise(L, "SyntaxError", "ping: %zu bytes of data, more than %d", n, LW_CONTROL_MAX);
  if (ready_state(&s->socket) == 0) lw_raise(L, "InvalidStateError", "ping: the connection is not open yet");
  err = s->socket.conn ? lw_conn_ping(s->socket.conn, data, n) : LW_ERR_CLOSED;
  if (err < 0 && err != LW_ERR_CLOSED) lw_raise_err(L, "ping", err);
  return 0;
}

/* ws:terminate([reason]) */
static int socket_terminate(lua_State *L) {
  socket_box *s = check_socket(L);
  size_t n = 0;
  const char *reason = "";
  lw_host_check(L);
  if (!lua_isnoneornil(L, 2)) {
    if (lua_type(L, 2) != LUA_TSTRING)
      lw_raise(L, "TypeError", "terminate: the reason must be a string, got %s", lw_typename(L, 2));
    reason = lua_tolstring(L, 2, &n);
  }
  if (n > LW_CLOSE_REASON_MAX)
    lw_raise(L, "SyntaxError", "terminate: the reason has %zu bytes, more than %d", n, LW_CLOSE_REASON_MAX);
  s->socket.follows = 0;
  if (s->socket.conn) lw_conn_terminate(s->socket.conn, reason, n);
  return 0;
}

/* `who` wants it to rest, or no longer. */
static int rest(lua_State *L, unsigned char who, int wanted) {
  socket_box *s = check_socket(L);
  lw_host_check(L);
  if (wanted) s->socket.pauses |= who;
  else s->socket.pauses &= (unsigned char)~who;
  if (!s->socket.conn) return 0;
  if (s->socket.pauses) lw_conn_pause(s->socket.conn);
  else lw_conn_resume(s->socket.conn);
  return 0;
}

static int socket_pause(lua_State *L) {
  return rest(L, PAUSED_BY_PROGRAM, 1);
}

static int socket_resume(lua_State *L) {
  return rest(L, PAUSED_BY_PROGRAM, 0);
}

static int add_listener(lua_State *L) {
  socket_box *s = check_socket(L);
  lw_target_add(L, SOCKET_EVENTS, 0);
  update_life(L, s, 1);
  return 0;
}

static int remove_listener(lua_State *L) {
  socket_box *s = check_socket(L);
  lw_target_remove(L, SOCKET_EVENTS);
  update_life(L, s, 1);
  return 0;
}

/* The topic at 2, for a socket of a server; *conn is NULL once it has closed. */
static const char *check_topic(lua_State *L, const char *what, lw_conn **conn, size_t *n) {
  socket_box *s = check_socket(L);
  lw_host_check(L);
  if (!s->socket.server_side) lw_raise(L, "InvalidStateError", "%s: only sockets of a server have topics", what);
  if (lua_type(L, 2) != LUA_TSTRING)
    lw_raise(L, "TypeError", "%s: the topic must be a string, got %s", what, lw_typename(L, 2));
  *conn = s->socket.conn;
  return lua_tolstring(L, 2, n);
}

/* socket:subscribe(topic) */
static int socket_subscribe(lua_State *L) {
  lw_conn *conn;
  size_t n;
  const char *topic = check_topic(L, "subscribe", &conn, &n);
  int err = conn ? lw_server_subscribe(conn, topic, n) : LW_ERR_CLOSED;
  if (err < 0 && err != LW_ERR_CLOSED) lw_raise_err(L, "subscribe", err);
  return 0;
}

static int socket_unsubscribe(lua_State *L) {
  lw_conn *conn;
  size_t n;
  const char *topic = check_topic(L, "unsubscribe", &conn, &n);
  if (conn) lw_server_unsubscribe(conn, topic, n);
  return 0;
}

static int socket_subscribed(lua_State *L) {
  lw_conn *conn;
  size_t n;
  const char *topic = check_topic(L, "isSubscribed", &conn, &n);
  lua_pushboolean(L, conn && lw_server_subscribed(conn, topic, n));
  return 1;
}

/* socket:publish(topic, data [, "binary"]): to all subscribers but itself. */
static int socket_publish(lua_State *L) {
  lw_conn *conn;
  size_t topic_n;
  lw_data data;
  lw_server_message message;
  const char *topic = check_topic(L, "publish", &conn, &topic_n);
  long count = 0;
  lw_check_shared(L, 3, "publish", &data);
  message = lw_message_of(&data);
  if (conn && lw_conn_seat(conn)->server)
    count = lw_server_publish(lw_conn_seat(conn)->server, conn, topic, topic_n, &message);
  if (count < 0) lw_raise_err(L, "publish", (int)count);
  lua_pushinteger(L, count);
  return 1;
}

/* ---------------------------------------------------------------- delivery */

/* What error.code says of an lw_err. */
static const char *error_code(int err) {
  if (err == LW_ERR_TLS) return "tls";
  if (err <= LW_ERR_PROXY_SCHEME && err >= LW_ERR_PROXY_EOF) return "proxy";
  if (LW_IS_GAI(err) || err == LW_ERR_NO_ADDRESS) return "dns";
  if (LW_IS_SYS(err)) return LW_ERRNO(err) == ECONNREFUSED ? "refused" : LW_ERRNO(err) == ETIMEDOUT ? "timeout" : "network";
  if (err == LW_ERR_TIMEOUT || err == LW_ERR_STALL) return "timeout";
  if (err == LW_ERR_SLOW || err == LW_ERR_UNREAD) return "slow";
  if (err == LW_ERR_ABORTED) return "aborted";
  if (err == LW_ERR_MEMORY || err == LW_ERR_RANDOM) return "memory";
  if (err == LW_ERR_FILE) return "file";
  if (err <= LW_ERR_HTTP_START && err >= LW_ERR_EOF) return "http";
  return "protocol";
}

/* "the server answered 302 Found", and why it was not followed if it might have been. */
static void push_refusal(lua_State *L, const socket_box *s, const lw_http_head *head) {
  lua_pushfstring(L, head->reason.n > 0 ? "the server answered %d " : "the server answered %d", head->status);
  lua_pushlstring(L, (const char *)head->reason.bytes, head->reason.n);
  lua_pushstring(L, s->unfollowed ? ": " : "");
  lua_pushstring(L, s->unfollowed ? lw_strerror(s->unfollowed) : "");
  lua_concat(L, 4);
}

/* Where a client goes: its URL, and the Unix socket that was given beside it or the proxy. */
static void push_place(lua_State *L, const socket_box *s, const lw_conn *conn, int target) {
  const char *path, *through = lw_conn_through(conn);
  lua_getiuservalue(L, target, LW_SOCKET_URL);
  lua_getiuservalue(L, target, LW_SOCKET_PATH);
  path = lua_tostring(L, -1);
  lua_pushfstring(L, "%s %s%s%s: ", s->opened ? "connection to" : "connect to", lua_tostring(L, -2),
                  path ? " over " : through ? " through " : "", path ? path : through ? through : "");
  lua_insert(L, -3);
  lua_pop(L, 2);
}

void lw_socket_push_peer(lua_State *L, const lw_conn *conn) {
  char address[LW_ADDRESS_TEXT];
  unsigned port = lw_conn_address(conn, address);
  if (!*address) lua_pushliteral(L, "connection over a Unix socket: ");
  else lua_pushfstring(L, strchr(address, ':') ? "connection from [%s]:%d: " : "connection from %s:%d: ", address, (int)port);
}

/* Stack: …, target, event. The message says what was tried, on what, and why it failed. */
static void set_message(lua_State *L, const socket_box *s, lw_conn *conn, int target, const lw_conn_event *event) {
  const lw_http_head *head = lw_conn_head(conn);
  if (s->socket.server_side) lw_socket_push_peer(L, conn);
  else push_place(L, s, conn, target);
  if (event->error == LW_ERR_STATUS && head) {
    push_refusal(L, s, head);
  } else if (event->error == LW_ERR_EOF) {
    lua_pushliteral(L, "the server ended the connection before it answered");
  } else {
    lua_pushstring(L, event->why ? event->why : lw_strerror(event->error));
  }
  lua_concat(L, 2);
  lua_setfield(L, -2, "message");
}

static void push_error(lua_State *L, const socket_box *s, lw_conn *conn, int target, const lw_conn_event *event) {
  const lw_http_head *head = lw_conn_head(conn);
  lw_slice page = lw_conn_page(conn);
  lw_event_push(L, LW_ON_ERROR, 0, target, 6);
  set_message(L, s, conn, target, event);
  lua_pushstring(L, error_code(event->error));
  lua_setfield(L, -2, "code");
  if (event->close_code) {
    lua_pushinteger(L, event->close_code);
    lua_setfield(L, -2, "closeCode");
  }
  if (!head || s->socket.server_side) return;
  lua_pushinteger(L, head->status);
  lua_setfield(L, -2, "status");
  lw_push_headers(L, head);
  lua_setfield(L, -2, "headers");
  if (page.n == 0) return;
  lua_pushlstring(L, (const char *)page.bytes, page.n);
  lua_setfield(L, -2, "body");
}

static void push_close(lua_State *L, int target, const lw_conn_event *event) {
  lw_event_push(L, LW_ON_CLOSE, 0, target, 3);
  lua_pushinteger(L, event->code);
  lua_setfield(L, -2, "code");
  lua_pushlstring(L, (const char *)event->bytes, event->n);
  lua_setfield(L, -2, "reason");
  lua_pushboolean(L, event->clean);
  lua_setfield(L, -2, "wasClean");
}

static void push_data(lua_State *L, lw_event_type type, int target, const lw_conn_event *event) {
  lw_event_push(L, type, event->binary, target, 1);
  lua_pushlstring(L, (const char *)event->bytes, event->n);
  lua_setfield(L, -2, "data");
}

/* A binary message, as binaryType says now (WHATWG WebSockets, "When a WebSocket message has been received"). */
static void push_message(lua_State *L, const socket_box *s, int target, const lw_conn_event *event) {
  if (!event->binary || s->socket.binary_type == LW_BINARY_TYPE_STRING) {
    push_data(L, LW_ON_MESSAGE, target, event);
    return;
  }
  lw_event_push(L, LW_ON_MESSAGE, 1, target, 1);
  if (s->socket.binary_type == LW_BINARY_TYPE_BUFFER) {
    lw_array_buffer *buffer = lw_buffer_push(L, event->n);
    if (event->n > 0) memcpy(buffer->bytes, event->bytes, event->n);
  } else {
    lua_pushlstring(L, (const char *)event->bytes, event->n);
    lw_blob_wrap(L);
  }
  lua_setfield(L, -2, "data");
}

static void push_event(lua_State *L, socket_box *s, lw_conn *conn, lw_event_type type, int target, const lw_conn_event *event) {
  switch (type) {
    case LW_ON_ERROR: push_error(L, s, conn, target, event); return;
    case LW_ON_CLOSE: push_close(L, target, event); return;
    case LW_ON_MESSAGE: push_message(L, s, target, event); return;
    case LW_ON_PING: push_data(L, type, target, event); return;
    case LW_ON_PONG:
      push_data(L, type, target, event);
      if (event->latency < 0) return;
      lua_pushnumber(L, (lua_Number)event->latency / 1e6);
      lua_setfield(L, -2, "latency");
      return;
    default: lw_event_push(L, type, 0, target, 0);
  }
}

/* The server's handler for sockets that have none of their own; 0: no such. */
static lw_event_type fallback(lw_event_type type) {
  if (type == LW_ON_ERROR) return LW_ON_SOCKETERROR;
  return type == LW_ON_CLOSE ? LW_ON_SOCKETCLOSE : type;
}

/* What an event changes in the socket, before anybody hears of it. */
static lw_event_type apply(socket_box *s, const lw_conn_event *event) {
  static const lw_event_type types[] = {[LW_CONN_OPENED] = LW_ON_OPEN,   [LW_CONN_MESSAGE] = LW_ON_MESSAGE,
                                        [LW_CONN_PING] = LW_ON_PING,     [LW_CONN_PONG] = LW_ON_PONG,
                                        [LW_CONN_DRAIN] = LW_ON_DRAIN,   [LW_CONN_FAILED] = LW_ON_ERROR,
                                        [LW_CONN_ENDED] = LW_ON_CLOSE};
  if (event->kind == LW_CONN_OPENED) {
    s->opened = 1;
    s->socket.follows = 0;
  }
  if (event->kind >= LW_CONN_FAILED) s->socket.closed = 1;
  return types[event->kind];
}

/* 1 if the server's handlers run for an event of this socket. Pushes the server, or nil. */
static int falls_back(lua_State *L, const socket_box *s, lw_event_type type, int target) {
  if (!s->socket.server_side || type == LW_ON_OPEN || lw_target_handles(L, target, type)) {
    lua_pushnil(L);
    return 0;
  }
  lua_getiuservalue(L, target, LW_SOCKET_SERVER);
  return lw_target_wants(L, target + 1, fallback(type));
}

/*
** 1 for a pong when neither the socket nor its server ever had a handler for it: a heartbeat
** gets many. The box itself is not looked at: of ten thousand, each would have to be fetched.
*/
static int is_unheard(lw_conn *conn, const lw_conn_event *event) {
  const lw_server *server = lw_conn_seat(conn)->server;
  const lw_target *below = server ? lw_server_owner(server) : NULL;
  if (event->kind != LW_CONN_PONG || lw_conn_heard(conn) & 1u << LW_ON_PONG) return 0;
  return below && !(below->heard & 1u << LW_ON_PONG);
}

/* A connection to where the server sends us takes the place of the one that was told so. 0 or a negative lw_err. */
static int change_conn(socket_box *s, lw_conn *conn) {
  int err;
  lw_conn *next = lw_trip_connect(s->trip, &s->socket.target.box.host->hub, conn, s, &err);
  if (!next) return err;
  lw_conn_hear(next, lw_conn_heard(conn));
  if (lw_conn_is_paused(conn)) lw_conn_pause(next);
  lw_conn_set_owner(conn, NULL); /* what it still has to tell is nobody's */
  s->socket.conn = next;
  return 0;
}

/* 1 if the event was the server's word that the socket should go elsewhere, and it does: nobody is told. */
static int go_elsewhere(socket_box *s, lw_conn *conn, const lw_conn_event *event) {
  const lw_http_head *head = lw_conn_head(conn);
  if (!s->socket.follows || event->kind != LW_CONN_FAILED || event->error != LW_ERR_STATUS) return 0;
  if (!head || !lw_redirect_is(head)) return 0;
  s->unfollowed = lw_trip_follow(s->trip, head);
  if (s->unfollowed == 0) {
    s->moved = 1;
    s->unfollowed = change_conn(s, conn);
  }
  if (s->unfollowed < 0) s->socket.follows = 0;
  return s->unfollowed == 0;
}

int lw_socket_deliver(lua_State *L, lw_conn *conn, const lw_conn_event *event) {
  socket_box *s = lw_conn_owner(conn);
  lw_event_type type;
  int target = lua_gettop(L) + 1, called = 0, below, before;
  if (!s || is_unheard(conn, event) || go_elsewhere(s, conn, event)) return 0;
  type = apply(s, event);
  if (s->socket.target.box.slot) lw_box_push(L, &s->socket.target.box);
  else if (!s->socket.noted || !lw_box_find(L, &s->socket.target.box)) return 0; /* nobody listens */
  note_move(L, s, target);
  before = s->socket.target.handlers;
  below = falls_back(L, s, type, target);
  if (below || lw_target_wants(L, target, type)) {
    push_event(L, s, conn, type, target, event);
    if (!below) called = lw_target_deliver(L, target, type);
    else if (!s->socket.target.listeners) called = lw_target_deliver(L, target + 1, fallback(type));
    else called = lw_target_pass(L, target, type, target + 1, fallback(type));
    if (type == LW_ON_OPEN || s->socket.target.handlers < before)
      update_life(L, s, target); /* nobody may be left who waits */
  }
  lua_settop(L, target - 1);
  return called;
}

void lw_socket_end(lua_State *L, lw_conn *conn) {
  socket_box *s = lw_conn_owner(conn);
  if (s) {
    s->protocol = lw_conn_take_protocol(conn);
    if (lw_conn_params(conn)) s->params = *lw_conn_params(conn);
    s->socket.unsent += lw_conn_unsent(conn);
    s->socket.received = lw_conn_received(conn);
    s->written = (lua_Integer)lw_conn_written(conn);
    s->sent = (lua_Integer)lw_conn_sent(conn);
    s->socket.conn = NULL;
    s->socket.closed = 1;
    lw_box_die(L, &s->socket.target.box);
  }
  lw_server_leave(conn);
  lw_conn_free(conn);
}

/* ------------------------------------------------------------------- class */

static const luaL_Reg methods[] = {{"send", socket_send},
                                   {"close", socket_close},
                                   {"ping", socket_ping},
                                   {"terminate", socket_terminate},
                                   {"pause", socket_pause},
                                   {"resume", socket_resume},
                                   {"addEventListener", add_listener},
                                   {"removeEventListener", remove_listener},
                                   {"subscribe", socket_subscribe},
                                   {"unsubscribe", socket_unsubscribe},
                                   {"isSubscribed", socket_subscribed},
                                   {"publish", socket_publish},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__gc", socket_gc}, {"__tostring", socket_tostring}, {NULL, NULL}};

static void set_constants(lua_State *L) {
  static const char *const names[] = {"CONNECTING", "OPEN", "CLOSING", "CLOSED"};
  for (int i = 0; i < 4; i++) {
    lua_pushinteger(L, i);
    lua_setfield(L, -2, names[i]);
  }
}

/* Names that are worked out: negative numbers in the table of members. */
static void set_getters(lua_State *L) {
  static const char *const names[] = {NULL,         "url",          "readyState", "protocol",
                                      "extensions", "bufferedAmount", "binaryType", "lastReceived",
                                      "lastAlive",  "isPaused",     "bytesWritten", "bytesSent"};
  for (int i = 1; i < (int)(sizeof names / sizeof *names); i++) {
    lua_pushinteger(L, -i);
    lua_setfield(L, -2, names[i]);
  }
  for (int type = 1; type < LW_EVENT_TYPES; type++) {
    if (!(SOCKET_EVENTS & 1u << type)) continue;
    lua_pushinteger(L, -(GET_HANDLER + type));
    lua_setfield(L, -2, lw_event_handler_name((lw_event_type)type));
  }
}

/* Stack: …, metatable, members. A closure over host, metatable and members. */
static void set_access(lua_State *L, const char *name, lua_CFunction function) {
  lw_host_push(L);
  lua_pushvalue(L, -3);
  lua_pushvalue(L, -3);
  lua_pushcclosure(L, function, 3);
  lua_setfield(L, -3, name);
}

/* method(name, function): what is written in Lua becomes a method of every socket. Upvalues: host, metatable, members. */
static int add_method(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  lua_rawset(L, lua_upvalueindex(3));
  return 0;
}

/* owesDrain(socket): a send was answered with false, and its drain is still to be told. Upvalues: host, metatable. */
static int owes_drain(lua_State *L) {
  socket_box *s = check_socket(L);
  lua_pushboolean(L, s->socket.conn && lw_conn_owes_drain(s->socket.conn));
  return 1;
}

/* listen(socket, type, fn [, options]): as addEventListener, but no reason for the socket to live. */
static int listen_faintly(lua_State *L) {
  socket_box *s = check_socket(L);
  lw_box_note(L, &s->socket.target.box, 1);
  s->socket.noted = 1;
  lw_target_add(L, SOCKET_EVENTS, 1);
  update_life(L, s, 1);
  return 0;
}

/* await(socket, yes): a coroutine waits on it, and it lives for that, or none does. */
static int await(lua_State *L) {
  socket_box *s = check_socket(L);
  s->socket.awaited = lua_toboolean(L, 2) != 0;
  update_life(L, s, 1);
  return 0;
}

/* hold(socket, yes): an inbox is full, and it rests for that, or has room again. The program's own pause is another. */
static int hold(lua_State *L) {
  return rest(L, PAUSED_BY_INBOX, lua_toboolean(L, 2));
}

static const luaL_Reg policy[] = {
    {"owesDrain", owes_drain}, {"listen", listen_faintly}, {"await", await}, {"hold", hold}, {NULL, NULL}};

/* Stack: module, metatable, members. Adds `method` and the others to the module. */
static void add_policy(lua_State *L) {
  lw_host_push(L);
  lua_pushvalue(L, -3);
  lua_pushvalue(L, -3);
  lua_pushcclosure(L, add_method, 3);
  lua_setfield(L, -4, "method");
  lua_pushvalue(L, -3);
  lw_host_push(L);
  lua_pushvalue(L, -4);
  luaL_setfuncs(L, policy, 2);
  lua_pop(L, 1);
}

void lw_socket_open(lua_State *L) {
  lw_class_new(L, CLASS, metamethods); /* module, metatable */
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_newtable(L); /* module, metatable, members */
  lw_host_push(L);
  lua_pushvalue(L, -3);
  luaL_setfuncs(L, methods, 2);
  set_constants(L);
  set_getters(L);
  set_access(L, "__index", socket_index);
  set_access(L, "__newindex", socket_newindex);
  add_policy(L);
  lua_newtable(L); /* module, metatable, members, class */
  set_constants(L);
  lua_createtable(L, 0, 1);
  lw_host_push(L);
  lua_pushvalue(L, -5);
  lua_pushcclosure(L, socket_new, 2);
  lua_setfield(L, -2, "__call");
  lua_setmetatable(L, -2);
  lua_setfield(L, -4, CLASS);
  lua_pop(L, 2);
  lw_client_add_names(L);
}
