/*
** authority.h -- "user:password@host:port", the part of a URL that all schemes share
** (RFC 3986, 3.2; hosts as WHATWG URL, 3.5, has them).
*/
#ifndef LW_AUTHORITY_H
#define LW_AUTHORITY_H

#include <stddef.h>

#include "err.h"
#include "text.h"

#pragma GCC visibility push(hidden)

#define LW_HOST_MAX 253 /* RFC 1035, 2.3.4, as text and without the dot at its end */
#define LW_AUTHORITY_MAX (2 + LW_HOST_MAX + 1 + 6) /* host and port, written */

typedef struct lw_authority {
  lw_text user, password; /* as written, to be percent-decoded; at is NULL where there are none */
  char host[LW_HOST_MAX + 2]; /* canonical, NUL-terminated, an IPv6 address without its brackets */
  size_t host_length;
  unsigned port;
  int is_ip, is_ip6;
} lw_authority;

/* 0 or a LW_ERR_URL_…. No port, or an empty one, is the default port. */
int lw_authority_parse(lw_authority *a, lw_text text, unsigned default_port);
/* Host and port, with brackets and without the default port. Returns its length; no NUL. */
size_t lw_authority_write(char to[LW_AUTHORITY_MAX], const lw_authority *a, unsigned default_port);

#pragma GCC visibility pop
#endif
