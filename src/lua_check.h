/*
** lua_check.h -- what people hand in: data to send, close codes, headers; checked.
*/
#ifndef LW_LUA_CHECK_H
#define LW_LUA_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "http.h"
#include "lua_blob.h"
#include "lua_compat.h"
#include "server.h"

#pragma GCC visibility push(hidden)

/* What is to be sent, as one message. */
typedef struct lw_data {
  lw_opcode opcode;
  const char *bytes;   /* as long as the value stays where it was; NULL: some are in files */
  uint64_t n;
  const lw_blob *blob; /* whose files; NULL: all is in memory */
  int compress;        /* where that was agreed on */
} lw_data;

/*
** The data of a send at `index`, with its flag or options at `index` + 1: a string, an ArrayBuffer
** or a Blob. Raises TypeError for what cannot be sent.
*/
void lw_check_data(lua_State *L, int index, const char *what, lw_data *data);
/* The same for one frame to many: raises NotSupportedError for files. */
void lw_check_shared(lua_State *L, int index, const char *what, lw_data *data);
/* Such data for a server's sockets. */
lw_server_message lw_message_of(const lw_data *data);
/* Code and reason of a close at `index` and `index` + 1, checked in the standard's order. */
unsigned lw_check_close(lua_State *L, int index, int server_side, const char **reason, size_t *n);
/*
** A table { name = value or list of values } at `index` as header lines on top of the
** stack (nil: none). `what` names the callee; names set by the handshake itself are refused.
*/
const char *lw_check_headers(lua_State *L, int index, const char *what);
/* The fields of a head as a table on top: lower-case names; several lines of one name joined by ", ". */
void lw_push_headers(lua_State *L, const lw_http_head *head);
/* Replaces the list of strings on top of the stack by all of them in one, which it returns. */
const char *lw_join(lua_State *L, const char *separator);

#pragma GCC visibility pop
#endif
