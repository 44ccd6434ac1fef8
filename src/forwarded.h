/*
** forwarded.h -- who a request comes from when proxies stand between (X-Forwarded-For).
*/
#ifndef LW_FORWARDED_H
#define LW_FORWARDED_H

#include <stddef.h>

#include "cidr.h"
#include "err.h"
#include "http.h"

#pragma GCC visibility push(hidden)

/* The proxies that are believed. Zeroed: none. */
typedef struct lw_trusted {
  lw_cidr *networks;
  size_t count;
  int local; /* whoever comes over a Unix socket */
} lw_trusted;

/* An address, a network, or "unix". 0, LW_ERR_CIDR_…, or LW_ERR_MEMORY. */
int lw_trusted_add(lw_trusted *trusted, const char *item);
void lw_trusted_clear(lw_trusted *trusted);

typedef struct lw_forwarded {
  char address[LW_IP_TEXT_MAX + 1];
  unsigned port; /* 0: not said */
} lw_forwarded;

/*
** Each proxy adds on the right whom it was asked by, so the header is believed from there, as
** long as what it names is a proxy that is trusted: the first other address is the client's, and
** whatever stands left of it, he may have written himself. `peer` is who the connection comes from, ""
** over a Unix socket. 1 with the client; 0: that is the peer, who is not trusted or names nobody.
*/
int lw_forwarded_client(const lw_trusted *trusted, const lw_http_head *head, const char *peer, lw_forwarded *client);

#pragma GCC visibility pop
#endif
