/*
** lua_buffer.h -- ArrayBuffer: bytes that can be changed, in the userdata itself (ECMAScript, 25.1).
*/
#ifndef LW_LUA_BUFFER_H
#define LW_LUA_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "lua_compat.h"

#pragma GCC visibility push(hidden)

typedef struct lw_array_buffer {
  size_t n;
  unsigned char bytes[];
} lw_array_buffer;

/* Adds the class ArrayBuffer to the table on top. */
void lw_buffer_open(lua_State *L);
/* Pushes a new one of n bytes, which are not set. May raise. */
lw_array_buffer *lw_buffer_push(lua_State *L, size_t n);
/* The one at `index`, NULL if it is none. */
lw_array_buffer *lw_buffer_test(lua_State *L, int index);

/*
** The range of a slice(first, last) at `index` and `index` + 1 within n bytes: from 0, the end
** excluded, negative from the end, clamped; absent: 0 and n. Raises TypeError for what is no number.
*/
void lw_check_range(lua_State *L, int index, const char *what, uint64_t n, uint64_t *first, uint64_t *last);

#pragma GCC visibility pop
#endif
