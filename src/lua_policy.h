/*
** lua_policy.h -- what policy written in Lua needs of the core: error objects, chance, a
** message's size, the nearest name to a mistyped one, and handlers called as our own are.
*/
#ifndef LW_LUA_POLICY_H
#define LW_LUA_POLICY_H

#include "lua_compat.h"

#pragma GCC visibility push(hidden)

/* Adds ours, Error, nearest, checkClose, random, randomBytes, messageSize, attempt, raise, warn, report and inHandler to the table on top. */
void lw_policy_open(lua_State *L);

#pragma GCC visibility pop
#endif
