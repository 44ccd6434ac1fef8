/*
** pen.c -- writing a head: measured first, then written into a queue in one piece.
*/
#include "pen.h"

#include <string.h>

#include "crypt.h"

void lw_pen_bytes(lw_pen *pen, const void *bytes, size_t n) {
  if (pen->to && n > 0) memcpy(pen->to + pen->n, bytes, n);
  pen->n += n;
}

void lw_pen_put(lw_pen *pen, const char *text) {
  lw_pen_bytes(pen, text, strlen(text));
}

void lw_pen_field(lw_pen *pen, const char *name, const char *value) {
  if (!value) return;
  lw_pen_put(pen, name);
  lw_pen_put(pen, ": ");
  lw_pen_put(pen, value);
  lw_pen_put(pen, "\r\n");
}

void lw_pen_basic(lw_pen *pen, const char *name, const char *user, const char *password) {
  if (!user) return;
  lw_pen_put(pen, name);
  lw_pen_put(pen, ": Basic ");
  size_t length = strlen(user), n = length + 1 + strlen(password);
  for (size_t i = 0; i < n; i += 3) { /* three bytes at a time: no copy of the password */
    char three[3], four[4];
    size_t k = 0;
    for (; k < 3 && i + k < n; k++) {
      size_t at = i + k;
      three[k] = at < length ? user[at] : at == length ? ':' : password[at - length - 1];
    }
    lw_pen_bytes(pen, four, lw_base64_encode(four, three, k));
  }
  lw_pen_put(pen, "\r\n");
}

lw_pen lw_pen_reserve(lw_buf *out, lw_pool *pool, lw_pen measured) {
  return (lw_pen){(char *)lw_buf_reserve(out, pool, measured.n), 0};
}
