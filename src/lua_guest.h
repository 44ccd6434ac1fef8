/*
** lua_guest.h -- a server's connection between its request and its answer: what upgrade and
** request events act on.
*/
#ifndef LW_LUA_GUEST_H
#define LW_LUA_GUEST_H

#include "conn.h"
#include "lua_box.h"
#include "lua_event.h"

#pragma GCC visibility push(hidden)

/* The owner of the connection meanwhile, so neither outlives the other unnoticed. */
typedef struct lw_guest {
  lw_box box;
  lw_conn *conn; /* NULL: answered, or gone */
  int deferred;
} lw_guest;

enum { LW_GUEST_REQUEST = 1, LW_GUEST_VALUES = LW_GUEST_REQUEST }; /* user values: event.request */

/* Gives upgrade and request events their methods; after lw_event_open. */
void lw_guest_open(lua_State *L);
/* Pushes a guest over the connection, which it owns from here on, with its request. */
lw_guest *lw_guest_push(lua_State *L, lw_conn *conn);
/* The guest's part is over: its connection has been answered, has become a socket, or is gone. */
void lw_guest_drop(lua_State *L, lw_conn *conn);
/* Pushes an event of the server with the guest's request. */
void lw_guest_push_event(lua_State *L, lw_event_type type, int server, int guest);
/* The 101 with the event's protocol and headers; the event is at `event`. Returns 1 if it went. */
int lw_guest_accept(lua_State *L, lw_guest *g, int event);

#pragma GCC visibility pop
#endif
