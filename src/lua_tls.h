/*
** lua_tls.h -- the option `tls` of clients and servers, and what TLS tells of a connection.
*/
#ifndef LW_LUA_TLS_H
#define LW_LUA_TLS_H

#include "lua_box.h"
#include "tls.h"

#pragma GCC visibility push(hidden)

/*
** The value of a client's option `tls` at `index` (nil: the defaults), checked; `what` names
** callee and option in messages. With `wanted` 0 (ws) that is all, else the context, which lives as long as
** what is pushed. *server_name gets that option, on the stack below it, or NULL. Pushes two values.
*/
lw_tls_context *lw_check_client_tls(lua_State *L, int index, const char *what, int wanted, const char **server_name);
/* The same of a server (nil, false: none, NULL). Pushes one value. */
lw_tls_context *lw_check_server_tls(lua_State *L, int index, const char *what);
/* Pushes { version =, cipher =, serverName =, protocol =, resumed =, peer = { … } or nil }. */
void lw_push_tls(lua_State *L, const lw_tls *tls);

#pragma GCC visibility pop
#endif
