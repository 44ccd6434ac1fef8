/*
** lua_step.h -- one turn: what the loop hands out, taken to its class.
*/
#ifndef LW_LUA_STEP_H
#define LW_LUA_STEP_H

#include "lua_box.h"

#pragma GCC visibility push(hidden)

/* Adds step to the table on top. */
void lw_step_open(lua_State *L);

#pragma GCC visibility pop
#endif
