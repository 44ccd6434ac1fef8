/*
** lua_socket.h -- WebSocket: the browser's object over a connection, client or server side.
*/
#ifndef LW_LUA_SOCKET_H
#define LW_LUA_SOCKET_H

#include <stdint.h>

#include "conn.h"
#include "lua_box.h"
#include "lua_event.h"

#pragma GCC visibility push(hidden)

enum { LW_BINARY_TYPE_STRING, LW_BINARY_TYPE_BUFFER, LW_BINARY_TYPE_BLOB, LW_BINARY_TYPES };

typedef struct lw_lua_socket {
  lw_target target;
  lw_conn *conn;  /* NULL once its close was delivered */
  uint64_t unsent; /* bufferedAmount beyond what the connection has queued */
  int64_t received;
  unsigned char server_side;
  unsigned char binary_type; /* what binary messages are given as: a LW_BINARY_TYPE_… */
  unsigned char closed; /* readyState is 3 */
  unsigned char follows; /* client: goes where the server sends it, as long as it is not open */
  unsigned char noted;   /* can be found while nothing keeps it alive: somebody listens faintly */
  unsigned char awaited; /* a coroutine waits on it */
  unsigned char pauses;  /* bits: who wants it to rest */
} lw_lua_socket;

/* User values after a target's own. */
enum {
  LW_SOCKET_URL = LW_TARGET_VALUES + 1, /* a string */
  LW_SOCKET_SERVER,                     /* server side: the WebSocketServer's box */
  LW_SOCKET_PATH = LW_SOCKET_SERVER,    /* client: the option `path`, or nil */
  LW_SOCKET_VALUES = LW_SOCKET_SERVER
};

/* Adds the class WebSocket to the table on top. */
void lw_socket_open(lua_State *L);
/* Pushes a new server-side socket, without a connection; the server's box is at `server`. May raise. */
lw_lua_socket *lw_socket_push(lua_State *L, int server);
/* It becomes the owner of an open connection that has none; it must be among the living. */
void lw_socket_take(lw_lua_socket *socket, lw_conn *conn);
/* The socket at `index`, from a function of another class; NULL if it is none. */
lw_lua_socket *lw_socket_test(lua_State *L, int index);

/*
** One event of a connection for its owner: delivers it. Raises what handlers raise, and for want
** of memory (then host->told is 0). When the last one was told, the caller must say lw_socket_end.
** Returns how many handlers were called.
*/
int lw_socket_deliver(lua_State *L, lw_conn *conn, const lw_conn_event *event);
/* After LW_CONN_ENDED: the socket lets go of its connection, which is freed. */
void lw_socket_end(lua_State *L, lw_conn *conn);

/* Pushes "connection from 192.0.2.1:50000: ", the beginning of what is said of a server's connection. */
void lw_socket_push_peer(lua_State *L, const lw_conn *conn);

#pragma GCC visibility pop
#endif
