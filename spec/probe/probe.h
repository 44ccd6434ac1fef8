/*
** probe.h -- a Lua module for specs only: floors 0 to 3, driven directly.
**
** Each of these finds the module's table on top of the stack, adds its own functions and
** tables to it, and leaves the stack as it was.
*/
#ifndef PROBE_H
#define PROBE_H

#include <lauxlib.h>
#include <lua.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

void probe_bytes(lua_State *L);    /* floor 0 */
void probe_ip(lua_State *L);       /* text, ip, cidr */
void probe_protocol(lua_State *L); /* floor 1 below session */
void probe_deflate(lua_State *L);  /* deflate */
void probe_upgrade(lua_State *L);  /* upgrade */
void probe_redirect(lua_State *L); /* redirect */
void probe_proxy(lua_State *L);    /* proxy, tunnel */
void probe_tcp(lua_State *L);      /* sockets of its own, for raw peers */
void probe_session(lua_State *L);  /* session */
void probe_system(lua_State *L);   /* floor 2 */
void probe_conn(lua_State *L);
void probe_stream(lua_State *L);     /* conn */

/* Returns nil and the error's name, "URL_PORT" for LW_ERR_URL_PORT. For a C function's `return`. */
int probe_fail(lua_State *L, int err);
/* A number, or a name as probe_fail gives it. */
int probe_check_err(lua_State *L, int arg);

/*
** Puts a copy of the string argument in its place, in a block of exactly n bytes: no NUL
** behind it, so that ASan and valgrind see a parser that reads too far.
*/
unsigned char *probe_check_exact(lua_State *L, int arg, size_t *n);

/* A new metatable of that name with these methods: __index is itself. */
void probe_class(lua_State *L, const char *name, const luaL_Reg *methods);
/* A table with these functions as field `name` of the table on top. */
void probe_library(lua_State *L, const char *name, const luaL_Reg *functions);

#pragma GCC visibility pop
#endif
