/*
** lua_server.h -- WebSocketServer.
*/
#ifndef LW_LUA_SERVER_H
#define LW_LUA_SERVER_H

#include "conn.h"
#include "lua_box.h"
#include "lua_event.h"
#include "server.h"

#pragma GCC visibility push(hidden)

/* Adds the class WebSocketServer to the table on top. */
void lw_lua_server_open(lua_State *L);
/*
** An event of the listener itself. Raises what handlers raise. Returns how many were called.
** With the last one the server is gone; *dead is its box then, which is the caller's to end
** (lw_box_die). Without memory for its event it is not, and says so again in the next turn.
*/
int lw_lua_server_deliver(lua_State *L, lw_server *server, const lw_server_event *event, lw_box **dead);
/* LW_CONN_REQUEST or LW_CONN_OPENED of one of its connections. Raises what handlers raise; a request has been answered then. */
int lw_lua_server_guest(lua_State *L, lw_conn *conn, const lw_conn_event *event);
/* A guest that never became a socket has ended: forgets and frees it. */
void lw_lua_server_forget(lua_State *L, lw_conn *conn);

#pragma GCC visibility pop
#endif
