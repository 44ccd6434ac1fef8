/*
** tunnel.h -- the way through a proxy, asked and answered: bytes in, verdict out.
** HTTP CONNECT (RFC 9110, 9.3.6) and SOCKS5 (RFC 1928, with passwords by RFC 1929).
*/
#ifndef LW_TUNNEL_H
#define LW_TUNNEL_H

#include <stddef.h>

#include "buf.h"
#include "err.h"
#include "proxy.h"

#pragma GCC visibility push(hidden)

#define LW_TUNNEL_MAX_SIZE ((size_t)16 * 1024) /* of a proxy's answer, interim ones included */
#define LW_TUNNEL_MAX_FIELDS 100

typedef struct lw_tunnel lw_tunnel;

typedef struct lw_tunnel_options {
  const lw_proxy *proxy;
  const char *host; /* a name or a literal address without brackets; names are looked up by the proxy */
  unsigned short port;
  const char *user_agent; /* for CONNECT; NULL: none is sent */
} lw_tunnel_options;

/* The options, and what they point to, must outlive it. NULL: no memory. */
lw_tunnel *lw_tunnel_new(const lw_tunnel_options *options);
void lw_tunnel_free(lw_tunnel *t); /* NULL is fine */

/* Queues what is said first. 0, LW_ERR_URL_HOST_SIZE (a name SOCKS5 cannot carry) or LW_ERR_MEMORY. */
int lw_tunnel_ask(lw_tunnel *t, lw_buf *out, lw_pool *pool);
/*
** n more bytes from the proxy. 1: through, all that follows is the host's. 0: more must come;
** what is to be said next, if anything, is queued. Or LW_ERR_MEMORY, or a LW_ERR_PROXY_…,
** see lw_tunnel_why. Not to be called again after anything but 0.
*/
int lw_tunnel_feed(lw_tunnel *t, lw_buf *out, lw_pool *pool, const unsigned char *bytes, size_t n);
/* The proxy ended the connection: LW_ERR_PROXY_EOF. */
int lw_tunnel_end(lw_tunnel *t);
/* What went wrong, in words that say more than lw_strerror; NULL: nothing more. Lives as long as the tunnel. */
const char *lw_tunnel_why(const lw_tunnel *t);

#pragma GCC visibility pop
#endif
