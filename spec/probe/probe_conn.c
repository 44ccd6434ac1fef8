/*
** probe_conn.c -- one connection on a loop of its own, driven from a spec:
** lunawire.probe.conn. Real sockets, but fake_sys, and so the clock that a spec sets.
**
**   probe.conn{ fd =, handshakeTimeout =, closeTimeout =, deflate = } -> a guest; fd is its own from now on
**   probe.conn{ url =, ... } -> a client
**   c:turn([ns]) -> { "request", "open", "message hi", "failed TIMEOUT", "ended 1006 unclean" }
**   c:accept()  c:send(bytes)  c:close([code])  c:unsent()  c:received()  c:free()
**
** Times are nanoseconds.
*/
#include "probe.h"

#include <string.h>
#include <sys/socket.h>

#include "conn.h"
#include "fake_sys.h"

#define CONN "lunawire.probe.conn"

typedef struct conn_box {
  lw_loop *loop; /* NULL: freed */
  lw_hub hub;
  lw_conn *conn;
} conn_box;

static lw_conn *check_conn(lua_State *L) {
  conn_box *box = luaL_checkudata(L, 1, CONN);
  if (!box->conn) luaL_error(L, "the connection is freed");
  return box->conn;
}

/* --- making ---------------------------------------------------------------------------------- */

static int64_t duration(lua_State *L, const char *name) {
  int64_t value;
  lua_getfield(L, 1, name);
  value = luaL_optinteger(L, -1, INT64_C(10000000000));
  lua_pop(L, 1);
  return value;
}

/* Generous but for the times. */
static lw_conn_settings settings(lua_State *L) {
  static lw_deflate_options deflate;
  int wanted;
  lw_deflate_defaults(&deflate);
  lua_getfield(L, 1, "deflate");
  wanted = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return (lw_conn_settings){
    .limits = {.max_payload = 16 << 20, .max_fragments = 1000},
    .high_water = 1 << 20,
    .max_buffered = 64 << 20,
    .handshake_timeout = duration(L, "handshakeTimeout"),
    .close_timeout = duration(L, "closeTimeout"),
    .max_header_size = 16 << 10,
    .max_header_count = 100,
    .deflate = wanted ? &deflate : NULL,
  };
}

static lw_conn *connect_to(conn_box *box, const lw_conn_settings *given, const char *text, int *err) {
  lw_url url;
  lw_handshake_offer offer = {.url = &url};
  lw_conn *c;
  if ((*err = lw_url_parse(&url, text, strlen(text))) < 0) return NULL;
  c = lw_conn_connect(&box->hub, given, &offer, &(lw_conn_way){.tls = NULL}, 0, box, err);
  lw_url_clear(&url);
  return c;
}

static int conn_new(lua_State *L) {
  static const lw_address local = {.any = {.sa_family = AF_UNIX}};
  lw_conn_settings given;
  conn_box *box;
  int err = LW_ERR_MEMORY;
  luaL_checktype(L, 1, LUA_TTABLE);
  given = settings(L);
  lua_getfield(L, 1, "url"); /* 2 */
  lua_getfield(L, 1, "fd");  /* 3 */
  box = lua_newuserdatauv(L, sizeof *box, 0);
  memset(box, 0, sizeof *box);
  luaL_setmetatable(L, CONN);
  box->loop = box->hub.loop = lw_loop_new(&fake_sys, NULL);
  if (!box->loop) return probe_fail(L, err);
  if (lua_isnil(L, 2)) box->conn = lw_conn_guest(&box->hub, &given, NULL, (int)luaL_checkinteger(L, 3), &local, 0, &err);
  else box->conn = connect_to(box, &given, luaL_checkstring(L, 2), &err);
  return box->conn ? 1 : probe_fail(L, err);
}

static int conn_free(lua_State *L) {
  conn_box *box = luaL_checkudata(L, 1, CONN);
  lw_conn_free(box->conn);
  lw_loop_free(box->loop);
  box->conn = NULL;
  box->loop = NULL;
  return 0;
}

/* --- turning ------------------------------------------------------------------------------------ */

static void push_words(lua_State *L, const lw_conn_event *event) {
  switch (event->kind) {
    case LW_CONN_REQUEST: lua_pushliteral(L, "request"); break;
    case LW_CONN_OPENED: lua_pushliteral(L, "open"); break;
    case LW_CONN_MESSAGE:
      lua_pushliteral(L, "message ");
      lua_pushlstring(L, (const char *)event->bytes, event->n);
      lua_concat(L, 2);
      break;
    case LW_CONN_PING: lua_pushliteral(L, "ping"); break;
    case LW_CONN_PONG: lua_pushliteral(L, "pong"); break;
    case LW_CONN_DRAIN: lua_pushliteral(L, "drain"); break;
    case LW_CONN_FAILED:
      lua_pushliteral(L, "failed ");
      probe_fail(L, event->error); /* nil, name */
      lua_remove(L, -2);
      lua_concat(L, 2);
      break;
    case LW_CONN_ENDED: lua_pushfstring(L, "ended %d %s", event->code, event->clean ? "clean" : "unclean"); break;
  }
}

/* c:turn([ns]): one turn, which waits at most so long; every event of it, in words */
static int conn_turn(lua_State *L) {
  lw_conn *c = check_conn(L);
  conn_box *box = lua_touserdata(L, 1);
  lw_conn_event event;
  lw_ready ready;
  int err, n = 0;
  lw_hub_flush(&box->hub);
  err = lw_loop_turn(box->loop, luaL_optinteger(L, 2, 0));
  if (err < 0) return probe_fail(L, err);
  lua_newtable(L);
  while (lw_loop_next(box->loop, &ready)) { /* there is nobody but c */
    lw_conn_ready(c, ready.why);
    while (lw_conn_next(c, &event)) {
      push_words(L, &event);
      lua_rawseti(L, -2, ++n);
    }
    lw_conn_rest(c);
  }
  lw_hub_turn(&box->hub);
  return 1;
}

/* --- what may be called at any time ------------------------------------------------------------- */

static int conn_accept(lua_State *L) {
  static const lw_slice none = {NULL, 0};
  lua_pushboolean(L, lw_conn_accept(check_conn(L), none, NULL) == 0);
  return 1;
}

/* c:send(bytes): true, or false when the sender should wait */
static int conn_send(lua_State *L) {
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  int result = lw_conn_send(check_conn(L), LW_BINARY, bytes, n, 1);
  if (result < 0) return probe_fail(L, result);
  lua_pushboolean(L, result);
  return 1;
}

static int conn_close(lua_State *L) {
  lw_conn_close(check_conn(L), (unsigned)luaL_optinteger(L, 2, 0), NULL, 0);
  return 0;
}

static int conn_unsent(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lw_conn_unsent(check_conn(L)));
  return 1;
}

/* c:received(): when bytes last came; 0: never */
static int conn_received(lua_State *L) {
  lua_pushinteger(L, lw_conn_received(check_conn(L)));
  return 1;
}

static const luaL_Reg methods[] = {
    {"turn", conn_turn},     {"accept", conn_accept},     {"send", conn_send}, {"close", conn_close},
    {"unsent", conn_unsent}, {"received", conn_received}, {"free", conn_free}, {"__gc", conn_free},
    {NULL, NULL},
};

void probe_conn(lua_State *L) {
  probe_class(L, CONN, methods);
  lua_pushcfunction(L, conn_new);
  lua_setfield(L, -2, "conn");
}
