/*
** lua_blob.h -- Blob: bytes that never change, in memory and in files (W3C File API).
*/
#ifndef LW_LUA_BLOB_H
#define LW_LUA_BLOB_H

#include <stddef.h>
#include <stdint.h>

#include "body.h"
#include "lua_compat.h"

#pragma GCC visibility push(hidden)

/* Adds the class Blob to the table on top. */
void lw_blob_open(lua_State *L);
/* Turns the string on top into a Blob. May raise. */
void lw_blob_wrap(lua_State *L);

typedef struct lw_blob lw_blob;

/* The one at `index`, NULL if it is none. */
const lw_blob *lw_blob_test(lua_State *L, int index);
uint64_t lw_blob_size(const lw_blob *blob);
/* Its bytes if all of them are in memory, valid while it lives; NULL: some are in files. */
const char *lw_blob_bytes(const lw_blob *blob);
/* Bytes of it that are in memory. */
size_t lw_blob_held(const lw_blob *blob);
/* Its bytes as a body, files opened. Raises NotReadableError, "<what>: …", for a file that cannot be read or has changed. */
lw_body *lw_blob_body(lua_State *L, const lw_blob *blob, const char *what);

#pragma GCC visibility pop
#endif
