/*
** route.h -- how a client gets to its server: a dial, a proxy that may stand between, and TLS
** with either of them. It ends where the server's own bytes begin.
*/
#ifndef LW_ROUTE_H
#define LW_ROUTE_H

#include "err.h"
#include "loop.h"
#include "proxy.h"
#include "stream.h"
#include "tls_context.h"
#include "url.h"

#pragma GCC visibility push(hidden)

typedef struct lw_route lw_route;

typedef struct lw_route_options {
  const lw_url *url;
  const char *path;         /* a Unix socket's, wherever the URL leads; NULL: the URL's own, if it has one */
  lw_tls_context *tls;      /* with the server; NULL: none */
  const char *server_name;  /* whom the server's certificate must name; NULL: the URL's host */
  const lw_proxy *proxy;    /* NULL: straight there; never with a path */
  lw_tls_context *proxy_tls; /* with the proxy, if it is `secure` */
  const char *proxy_name;   /* whom the proxy's certificate must name; NULL: its host */
  const char *user_agent;   /* for the proxy; NULL: none */
  int family, no_delay;     /* see net.h */
} lw_route_options;

/* Copies the options. Nothing begins yet. NULL: no memory. */
lw_route *lw_route_new(const lw_route_options *options);
/*
** Begins or goes on. The loop hands out kind and owner of `source` whenever there is news
** (LW_DUE may be the dial's, see net.h); calling it at other times does no harm. Source and
** stream are the owner's, fresh at the beginning, and the same each time.
** 1: arrived: what the stream gives and takes from now on is the server's. 0: on its way.
** Negative: it has failed, see lw_route_why.
** Once the route has it, source->fd is the owner's to close, however this ends.
*/
int lw_route_next(lw_route *r, lw_loop *loop, lw_source *source, lw_stream *stream);
/*
** What to say of this error of lw_route_next, or of LW_ERR_TIMEOUT while it is under way, in
** words that tell the proxy from the server; NULL: lw_strerror (or lw_stream_why) has them all.
*/
const char *lw_route_why(lw_route *r, int err);
/* Arrived or not, before the loop is freed. NULL is fine. */
void lw_route_free(lw_route *r);

#pragma GCC visibility pop
#endif
