/*
** lua_option.h -- option tables: every key known, every value checked, nothing ignored.
*/
#ifndef LW_LUA_OPTION_H
#define LW_LUA_OPTION_H

#include <stddef.h>

#include "lua_compat.h"

#pragma GCC visibility push(hidden)

typedef enum lw_option_kind {
  LW_OPTION_DURATION, /* milliseconds -> int64_t nanoseconds */
  LW_OPTION_SIZE,     /* a whole number -> size_t */
  LW_OPTION_COUNT,    /* a whole number -> uint64_t */
  LW_OPTION_INT,      /* a whole number -> int */
  LW_OPTION_BOOLEAN,  /* -> int */
  LW_OPTION_OTHER     /* the caller takes it with lua_getfield and checks it */
} lw_option_kind;

typedef struct lw_option {
  const char *name; /* NULL ends a list */
  lw_option_kind kind;
  size_t offset; /* in the struct that is filled */
  double least, most; /* of a number; a duration in milliseconds */
} lw_option;

/*
** Reads the table at `index` (nil: nothing) into `into`. `what` names the callee in
** messages. Raises TypeError for an unknown key, naming the nearest known one, for a value
** of the wrong type, and for one out of range.
*/
void lw_options_read(lua_State *L, int index, const char *what, const lw_option *known, void *into);

/* The nearest of `count` names (`stride` bytes apart, each a const char *) to a mistyped one, or NULL if none is near. */
const char *lw_nearest(const char *name, const void *names, size_t count, size_t stride);

#pragma GCC visibility pop
#endif
