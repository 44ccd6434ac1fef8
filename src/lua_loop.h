/*
** lua_loop.h -- the loop as a host and a script see it: now, flush, fd, timeout, watch, onsignal.
*/
#ifndef LW_LUA_LOOP_H
#define LW_LUA_LOOP_H

#include "lua_box.h"

#pragma GCC visibility push(hidden)

/* Adds its functions to the table on top. */
void lw_lua_loop_open(lua_State *L);
/* A watched descriptor is ready, a signal has come: calls their functions. Raise what those raise. */
int lw_watch_fire(lua_State *L, void *owner, unsigned why);
int lw_signal_fire(lua_State *L);

#pragma GCC visibility pop
#endif
