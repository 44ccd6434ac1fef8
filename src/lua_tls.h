/*
** lua_tls.h -- the option `tls` of clients and servers, and what TLS tells of a connection.
*/
#ifndef LW_LUA_TLS_H
#define LW_LUA_TLS_H

#include "lua_box.h"
#include "tls.h"

#pragma GCC visibility push(hidden)

/* What for a client's options are read. */
typedef enum lw_tls_use {
  LW_TLS_UNUSED,    /* ws: they are checked, and that is all */
  LW_TLS_FIRST,     /* for the server, or the proxy, they were given for */
  LW_TLS_ELSEWHERE  /* for another origin: without the client's certificate, which says who we are */
} lw_tls_use;

/*
** The value of a client's option `tls` at `index` (nil: the defaults), checked; `what` names
** callee and option in messages. Returns the context (LW_TLS_UNUSED: NULL), which lives as long as
** what is pushed. *server_name gets that option, on the stack below it, or NULL. Pushes two values.
*/
lw_tls_context *lw_check_client_tls(lua_State *L, int index, const char *what, lw_tls_use use, const char **server_name);
/* The same of a server (nil, false: none, NULL). Pushes one value. */
lw_tls_context *lw_check_server_tls(lua_State *L, int index, const char *what);
/* Pushes { version =, cipher =, serverName =, protocol =, resumed =, peer = { … } or nil }. */
void lw_push_tls(lua_State *L, const lw_tls *tls);

#pragma GCC visibility pop
#endif
