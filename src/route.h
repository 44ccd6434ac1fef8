/*
** route.h -- how a client gets to its server: straight or through a proxy, and into TLS.
*/
#ifndef LW_ROUTE_H
#define LW_ROUTE_H

#include "err.h"
#include "loop.h"
#include "net.h"
#include "proxy.h"
#include "stream.h"
#include "tls_context.h"

#pragma GCC visibility push(hidden)

typedef struct lw_route lw_route;

typedef struct lw_route_options {
  lw_dial_options dial;    /* to the server */
  lw_tls_context *tls;     /* of wss; NULL: ws */
  const char *server_name; /* whom the certificate must name; NULL: the host */
  const lw_proxy *proxy;   /* NULL: straight there */
  lw_tls_context *proxy_tls; /* of a proxy that is itself reached by TLS */
} lw_route_options;

/* Copies all it is given. Nothing begins yet. NULL: no memory. */
lw_route *lw_route_new(const lw_route_options *options);
/*
** Begins and goes on. The loop hands out the source's owner whenever there is news, for
** timers of the route's own, too (see lw_dial_start): call it then. 1: the server is reached,
** the descriptor stands in source->fd, watched for reading or not at all, and belongs to the
** caller with the stream over it, whose TLS is still to shake hands; 0: still on its way;
** or a negative lw_err: the descriptor, if there is one, is the caller's to close.
*/
int lw_route_next(lw_route *route, lw_loop *loop, lw_source *source, lw_stream *stream);
/* More about a failure in words; NULL: lw_strerror has them all. As long as the route. */
const char *lw_route_why(const lw_route *route);
/* At any time before the loop is freed. NULL is fine. */
void lw_route_free(lw_route *route);

#pragma GCC visibility pop
#endif
