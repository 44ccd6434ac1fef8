/*
** route.c -- how a client gets to its server: straight or through a proxy, and into TLS.
*/
#include "route.h"

#include <stdlib.h>
#include <string.h>

#include "tunnel.h"

#define SLICES 4 /* what is said to a proxy is short */

typedef enum phase {
  STARTING, /* nothing has begun */
  DIALING,  /* the server, or the proxy, is being reached */
  ASKING    /* the proxy is asked for the way */
} phase;

struct lw_route {
  phase phase;
  lw_route_options options; /* its strings are copies */
  lw_proxy proxy;
  lw_dial *dial;
  lw_tunnel *tunnel;
  lw_buf out; /* for the proxy */
  lw_pool *pool;
  char *host, *path, *server_name;
};

static char *copy(const char *text, int *err) {
  char *made = text ? strdup(text) : NULL;
  if (text && !made) *err = LW_ERR_MEMORY;
  return made;
}

lw_route *lw_route_new(const lw_route_options *options) {
  lw_route *route = calloc(1, sizeof *route);
  int err = 0;
  if (!route) return NULL;
  lw_buf_init(&route->out);
  route->options = *options;
  route->options.tls = lw_tls_context_hold(options->tls);
  route->options.proxy_tls = lw_tls_context_hold(options->proxy_tls);
  route->options.dial.host = route->host = copy(options->dial.host, &err);
  route->options.dial.path = route->path = copy(options->dial.path, &err);
  route->options.server_name = route->server_name = copy(options->server_name, &err);
  if (options->proxy && err == 0) err = lw_proxy_copy(&route->proxy, options->proxy);
  if (err == 0) return route;
  lw_route_free(route);
  return NULL;
}

void lw_route_free(lw_route *route) {
  if (!route) return;
  lw_dial_free(route->dial);
  lw_tunnel_free(route->tunnel);
  lw_buf_clear(&route->out, route->pool);
  lw_tls_context_release(route->options.tls);
  lw_tls_context_release(route->options.proxy_tls);
  if (route->options.proxy) lw_proxy_clear(&route->proxy);
  free(route->host);
  free(route->path);
  free(route->server_name);
  free(route);
}

const char *lw_route_why(const lw_route *route) {
  return route->tunnel ? lw_tunnel_why(route->tunnel) : NULL;
}

/* TLS over what is there. 0 or LW_ERR_MEMORY. */
static int cover(lw_stream *stream, lw_loop *loop, lw_tls_context *context, const char *host, unsigned short port) {
  lw_tls *tls = lw_tls_new(context, &loop->pool, host, port);
  if (!tls) return LW_ERR_MEMORY;
  lw_stream_cover(stream, tls);
  return 0;
}

/* There: what follows is between the server and us. 1 or LW_ERR_MEMORY. */
static int arrive(lw_route *route, lw_loop *loop, lw_stream *stream) {
  const lw_route_options *o = &route->options;
  int err = o->tls ? cover(stream, loop, o->tls, o->server_name ? o->server_name : o->dial.host, o->dial.port) : 0;
  return err < 0 ? err : 1;
}

static int start(lw_route *route, lw_loop *loop, lw_source *source) {
  lw_dial_options dial = route->options.dial;
  int err = 0;
  route->pool = &loop->pool;
  if (route->options.proxy) {
    dial.path = NULL;
    dial.host = route->proxy.host;
    dial.port = route->proxy.port;
  }
  route->dial = lw_dial_start(loop, &dial, source, &err);
  route->phase = DIALING;
  return err;
}

/* The proxy is reached: it is asked for the server. 0 or a negative lw_err. */
static int begin_tunnel(lw_route *route, lw_loop *loop, lw_stream *stream) {
  const lw_route_options *o = &route->options;
  lw_tunnel_options tunnel = {&route->proxy, o->dial.host, o->dial.port, NULL};
  int err = 0;
  route->phase = ASKING;
  route->tunnel = lw_tunnel_new(&tunnel);
  if (!route->tunnel) return LW_ERR_MEMORY;
  if (route->proxy.secure) err = cover(stream, loop, o->proxy_tls, route->proxy.host, route->proxy.port);
  return err < 0 ? err : lw_tunnel_ask(route->tunnel, &route->out, &loop->pool);
}

/* Says what there is to say. A lw_stream_verdict, or a negative lw_err. */
static int say(lw_route *route, lw_loop *loop, lw_source *source, lw_stream *stream) {
  lw_slice slices[SLICES];
  size_t taken, wire;
  int count, verdict;
  do {
    count = lw_buf_slices(&route->out, slices, SLICES);
    verdict = lw_stream_write(stream, loop, source->fd, slices, count, &taken, &wire);
    lw_buf_consume(&route->out, &loop->pool, taken);
  } while (verdict == LW_STREAM_WENT && count > 0);
  return verdict;
}

/* One read of what the proxy says. 1: the way is free, 0: more must come, or a negative lw_err. */
static int hear(lw_route *route, lw_loop *loop, lw_source *source, lw_stream *stream) {
  unsigned char *bytes = lw_loop_receive(loop);
  size_t wire;
  long got;
  int result = 0;
  if (!bytes) return LW_ERR_MEMORY;
  do {
    got = lw_stream_read(stream, loop, source->fd, bytes, LW_STREAM_MOST, &wire);
    if (got > 0) result = lw_tunnel_feed(route->tunnel, &route->out, &loop->pool, bytes, (size_t)got);
  } while (got > 0 && result == 0 && lw_stream_has_more(stream));
  if (got == LW_ERR_EOF) return lw_tunnel_end(route->tunnel);
  return got < 0 ? (int)got : result;
}

/* Asks the proxy. As lw_route_next. */
static int ask(lw_route *route, lw_loop *loop, lw_source *source, lw_stream *stream) {
  int verdict = say(route, loop, source, stream), heard = 0, err;
  if (verdict < 0 && !LW_IS_SYS(verdict)) return verdict;
  heard = hear(route, loop, source, stream); /* a proxy that hung up may have said why */
  if (heard != 0) return heard;
  if (verdict >= 0) verdict = say(route, loop, source, stream); /* an answer may ask for more */
  if (verdict < 0) return verdict;
  err = lw_source_watch(loop, source, LW_READ | (verdict == LW_STREAM_FULL ? LW_WRITE : 0));
  return err;
}

int lw_route_next(lw_route *route, lw_loop *loop, lw_source *source, lw_stream *stream) {
  int result = 0, fd = -1;
  if (route->phase == STARTING) result = start(route, loop, source);
  if (result < 0) return result;
  if (route->phase == DIALING) {
    result = lw_dial_next(route->dial, &fd);
    if (result <= 0) return result;
    source->fd = fd;
    if (!route->options.proxy) return arrive(route, loop, stream);
    if ((result = begin_tunnel(route, loop, stream)) < 0) return result;
  }
  result = ask(route, loop, source, stream);
  return result == 1 ? arrive(route, loop, stream) : result;
}
