/*
** lua_timer.h -- setTimeout, setInterval and their handles.
*/
#ifndef LW_LUA_TIMER_H
#define LW_LUA_TIMER_H

#include "lua_box.h"

#pragma GCC visibility push(hidden)

/* Adds setTimeout, setInterval, clearTimeout and clearInterval to the table on top. */
void lw_timer_open(lua_State *L);
/* A timer is due: calls its function. Raises what that raises. Returns 1 if there was something to call. */
int lw_timer_fire(lua_State *L, void *owner);

#pragma GCC visibility pop
#endif
