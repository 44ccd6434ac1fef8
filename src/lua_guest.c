/*
** lua_guest.c -- a server's connection between its request and its answer.
*/
#include "lua_guest.h"

#include <string.h>

#include "http.h"
#include "lua_check.h"
#include "lua_tls.h"
#include "server.h"

static const char guest_key, guest_metatable_key; /* addresses as keys: an event's guest, the registry's metatable */

/* Nobody can answer any more: the connection ends at handshakeTimeout. */
static int guest_gc(lua_State *L) {
  lw_guest *g = lw_box_test(L, 1);
  if (!g) return 0;
  if (g->conn) lw_conn_set_owner(g->conn, NULL);
  g->conn = NULL;
  lw_box_die(L, &g->box);
  return 0;
}

/* The guest an event at 1 speaks of; NULL: answered already, or gone. */
static lw_guest *check_guest(lua_State *L, const char *what) {
  lw_guest *g = NULL;
  if (lua_istable(L, 1)) {
    lua_rawgetp(L, 1, &guest_key);
    g = lua_touserdata(L, -1);
    lua_pop(L, 1);
  }
  if (!g) lw_raise(L, "TypeError", "%s: an upgrade or request event expected, got %s", what, lw_typename(L, 1));
  return g;
}

/* Status, headers, body at 2, 3, 4: the answer. Returns true if there was still somebody to answer. */
static int respond(lua_State *L, const char *what, int least) {
  lw_guest *g = check_guest(L, what);
  lua_Number status = lua_type(L, 2) == LUA_TNUMBER ? lua_tonumber(L, 2) : 0;
  const char *headers, *body = "";
  size_t n = 0;
  lw_host_check(L);
  if (status < least || status > 599 || status != (lua_Number)(int)status)
    lw_raise(L, "TypeError", "%s: a status from %d to 599 expected, got %s", what, least,
             lua_type(L, 2) == LUA_TNUMBER ? lua_tostring(L, 2) : lw_typename(L, 2));
  lua_settop(L, 4);
  headers = lw_check_headers(L, 3, what);
  if (!lua_isnil(L, 4)) {
    if (lua_type(L, 4) != LUA_TSTRING) lw_raise(L, "TypeError", "%s: the body must be a string, got %s", what, lw_typename(L, 4));
    body = lua_tolstring(L, 4, &n);
  }
  lua_pushboolean(L, g->conn && lw_conn_respond(g->conn, (int)status, headers, body, n) == 0);
  return 1;
}

/* event:respond(status [, headers [, body]]) */
static int event_respond(lua_State *L) {
  return respond(L, "respond", 200);
}

/* event:reject([status [, headers [, body]]]): 403 unless told otherwise. */
static int event_reject(lua_State *L) {
  if (lua_isnoneornil(L, 2)) {
    lua_settop(L, 4);
    lua_pushinteger(L, 403);
    lua_replace(L, 2);
  }
  return respond(L, "reject", 300);
}

/* event:defer(): the answer comes later, within handshakeTimeout. */
static int event_defer(lua_State *L) {
  lw_guest *g = check_guest(L, "defer");
  g->deferred = 1;
  return 0;
}

/* The 101 with the event's protocol and headers; the event is at `event`. Returns 1 if it went. */
int lw_guest_accept(lua_State *L, lw_guest *g, int event) {
  lw_slice protocol = {NULL, 0};
  const char *headers;
  size_t n = 0;
  lua_getfield(L, event, "protocol");
  if (!lua_isnil(L, -1)) {
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
    if (!name || (n > 0 && !lw_http_is_token(name, n)))
      lw_raise(L, "TypeError", "accept: event.protocol is no subprotocol name");
    protocol.bytes = (const unsigned char *)name;
    protocol.n = n;
  }
  lua_getfield(L, event, "headers");
  headers = lw_check_headers(L, lua_gettop(L), "accept");
  n = g->conn && lw_conn_accept(g->conn, protocol, headers) == 0;
  lua_pop(L, 3);
  return n != 0;
}

/* event:accept() */
static int event_accept(lua_State *L) {
  lw_guest *g = check_guest(L, "accept");
  lw_host_check(L);
  lua_settop(L, 1);
  lua_pushboolean(L, lw_guest_accept(L, g, 1));
  return 1;
}

static void set_slice(lua_State *L, const char *name, const void *bytes, size_t n) {
  lua_pushlstring(L, bytes, n);
  lua_setfield(L, -2, name);
}

static void set_address(lua_State *L, const char *address, unsigned short port, const char *name, const char *port_name) {
  lua_pushinteger(L, port);
  lua_setfield(L, -2, port_name);
  lua_pushstring(L, address);
  lua_setfield(L, -2, name);
}

/*
** Who asks, and whom the connection comes from: one and the same unless a trusted proxy stands
** between. Both are asked for first: at any allocation a finalizer may be the server's end.
*/
static void set_addresses(lua_State *L, lw_conn *conn) {
  const lw_server *server = lw_conn_seat(conn)->server;
  char peer[LW_ADDRESS_TEXT], client[LW_ADDRESS_TEXT];
  unsigned short peer_port = lw_conn_address(conn, peer);
  unsigned short client_port = server ? lw_server_client(server, conn, client) : lw_conn_address(conn, client);
  set_address(L, peer, peer_port, "peerAddress", "peerPort");
  set_address(L, client, client_port, "remoteAddress", "remotePort");
}

/* event.request: method, target, path, query, headers, remoteAddress, remotePort, peerAddress, peerPort, tls. */
static void push_request(lua_State *L, lw_conn *conn) {
  const lw_http_head *head = lw_conn_head(conn);
  lw_slice target = head->target;
  const unsigned char *query = memchr(target.bytes, '?', target.n);
  size_t path_n = query ? (size_t)(query - target.bytes) : target.n;
  lua_createtable(L, 0, 9);
  set_slice(L, "method", head->method.bytes, head->method.n);
  set_slice(L, "target", target.bytes, target.n);
  set_slice(L, "path", target.bytes, path_n);
  if (query) set_slice(L, "query", query + 1, target.n - path_n - 1);
  lw_push_headers(L, head);
  lua_setfield(L, -2, "headers");
  set_addresses(L, conn);
  if (!lw_conn_tls(conn)) return;
  lw_push_tls(L, lw_conn_tls(conn));
  lua_setfield(L, -2, "tls");
}

/* Pushes a guest over the connection, which it owns from here on, with its request. */
lw_guest *lw_guest_push(lua_State *L, lw_conn *conn) {
  lw_guest *g = lua_newuserdatauv(L, sizeof *g, LW_GUEST_VALUES);
  memset(g, 0, sizeof *g);
  g->box.host = lw_host_of(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &guest_metatable_key);
  lua_setmetatable(L, -2);
  push_request(L, conn);
  lua_setiuservalue(L, -2, LW_GUEST_REQUEST);
  lw_box_live(L, &g->box, -1);
  g->conn = conn;
  lw_conn_set_owner(conn, g);
  return g;
}

/* The guest's part is over: its connection has been answered, has become a socket, or is gone. */
void lw_guest_drop(lua_State *L, lw_conn *conn) {
  lw_guest *g = lw_conn_owner(conn);
  if (!g) return;
  g->conn = NULL;
  lw_conn_set_owner(conn, NULL);
  lw_box_die(L, &g->box);
}

/* Stack: …, server, guest. Pushes an event with request and guest. */
void lw_guest_push_event(lua_State *L, lw_event_type type, int server, int guest) {
  lw_event_push(L, type, 0, server, 4);
  lua_getiuservalue(L, guest, LW_GUEST_REQUEST);
  lua_setfield(L, -2, "request");
  lua_pushvalue(L, guest);
  lua_rawsetp(L, -2, &guest_key);
}

static const luaL_Reg event_methods[] = {
    {"respond", event_respond}, {"reject", event_reject}, {"defer", event_defer}, {"accept", event_accept}, {NULL, NULL}};

/* Upgrade and request events have methods of their own. */
static void set_event_methods(lua_State *L, lw_event_type type) {
  lw_host_push(L);
  lua_getiuservalue(L, -1, LW_HOST_EVENTS);
  lua_rawgeti(L, -1, type);
  lua_getfield(L, -1, "__index");
  lw_host_push(L);
  luaL_setfuncs(L, event_methods, 1);
  lua_pop(L, 4);
}

static const luaL_Reg metamethods[] = {{"__gc", guest_gc}, {NULL, NULL}};

void lw_guest_open(lua_State *L) {
  lw_class_new(L, "lunawire.Guest", metamethods);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &guest_metatable_key);
  set_event_methods(L, LW_ON_UPGRADE);
  set_event_methods(L, LW_ON_REQUEST);
}
