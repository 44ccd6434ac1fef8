/*
** pen.h -- writing a head: measured first, then written into a queue in one piece.
*/
#ifndef LW_PEN_H
#define LW_PEN_H

#include <stddef.h>

#include "buf.h"

#pragma GCC visibility push(hidden)

/* Zeroed it only counts; write the same again with the pen that lw_pen_reserve gives. */
typedef struct lw_pen {
  char *to;
  size_t n;
} lw_pen;

void lw_pen_bytes(lw_pen *pen, const void *bytes, size_t n);
void lw_pen_put(lw_pen *pen, const char *text);
/* "Name: value\r\n", nothing if the value is NULL. */
void lw_pen_field(lw_pen *pen, const char *name, const char *value);
/* "Name: Basic " and the credentials (RFC 7617, 2), nothing if the user is NULL. */
void lw_pen_basic(lw_pen *pen, const char *name, const char *user, const char *password);
/* The pen for what one has measured; its `to` is NULL when there is no memory. Then lw_buf_commit what it wrote. */
lw_pen lw_pen_reserve(lw_buf *out, lw_pool *pool, lw_pen measured);

#pragma GCC visibility pop
#endif
