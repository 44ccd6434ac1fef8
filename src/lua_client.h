/*
** lua_client.h -- what a client's constructor is given, checked; and what it takes along to go
** where servers send it.
*/
#ifndef LW_LUA_CLIENT_H
#define LW_LUA_CLIENT_H

#include "conn.h"
#include "lua_box.h"

#pragma GCC visibility push(hidden)

/* Where the proxy comes from. */
typedef enum lw_proxy_choice {
  LW_PROXY_OF_ENVIRONMENT, /* for each URL the variables name one, or none */
  LW_PROXY_OF_OPTION,      /* one for all */
  LW_PROXY_NONE
} lw_proxy_choice;

/* What a client's constructor was given. All it points to lies on the Lua stack. */
typedef struct lw_client_given {
  lw_conn_settings settings; /* first: see LW_SETTINGS */
  int family;
  int redirects;
  lw_proxy_choice choice;
  lw_deflate_options deflate; /* where the settings point to, if at all */
  lw_handshake_offer offer;
  lw_conn_way way;
} lw_client_given;

/* Stack: class, URL, protocols, options. Checks them, and pushes what `given` points to. */
void lw_client_check(lua_State *L, lw_client_given *given);
/* Adds `clientOptions` to the table on top: the options' names, for who takes them and passes them on. */
void lw_client_add_names(lua_State *L);

/* --- followRedirects --- */

typedef struct lw_trip lw_trip;

/*
** What it takes to go where servers may send a client, with the constructor's arguments still
** on the stack; none without followRedirects. *trip is the caller's at once: this may raise.
*/
void lw_trip_prepare(lua_State *L, lw_trip **trip, const lw_client_given *given);
void lw_trip_free(lw_trip *trip); /* NULL is fine */
/* Where it leads now, serialised. */
const char *lw_trip_url(const lw_trip *trip);
/* As lw_redirect_follow. */
int lw_trip_follow(lw_trip *trip, const lw_http_head *head);
/* The next connection, for that of `last` which was sent elsewhere. NULL with *err. */
lw_conn *lw_trip_connect(lw_trip *trip, lw_hub *hub, const lw_conn *last, void *owner, int *err);

#pragma GCC visibility pop
#endif
