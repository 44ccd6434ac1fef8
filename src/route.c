/*
** route.c -- how a client gets to its server.
*/
#include "route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "tunnel.h"

#define SLICES 4 /* what is said to a proxy fits in one */

typedef enum stage {
  SETTING_OUT, /* nothing has begun */
  DIALING,     /* the server, or the proxy, is looked up and connected to */
  ASKING,      /* the proxy is told where to go: what comes and goes is still its own */
  ARRIVED      /* the rest is not ours */
} stage;

struct lw_route {
  stage stage;
  char *host, *path, *server_name, *proxy_name, *user_agent; /* NULL: none */
  unsigned short port;
  int family, no_delay;
  lw_tls_context *tls, *proxy_tls;
  lw_proxy proxy; /* zeroed: straight there */
  lw_dial *dial;
  lw_tunnel *tunnel;
  lw_loop *loop; /* and below: from lw_route_next */
  lw_source *source;
  lw_stream *stream;
  lw_buf out; /* to the proxy */
  int blocked; /* the system takes no more of it for now */
  int mute;    /* why it never will: a lw_err, or 0 */
  char why[320];
};

/* --- making --- */

/* A copy of text, which may be NULL. 0 or LW_ERR_MEMORY. */
static int copy(char **to, const char *text) {
  return !text || (*to = strdup(text)) ? 0 : LW_ERR_MEMORY;
}

lw_route *lw_route_new(const lw_route_options *options) {
  lw_route *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  lw_buf_init(&r->out);
  r->port = options->url->port;
  r->family = options->family;
  r->no_delay = options->no_delay;
  r->tls = lw_tls_context_hold(options->tls);
  r->proxy_tls = lw_tls_context_hold(options->proxy_tls);
  int err = copy(&r->host, options->url->host);
  if (err == 0) err = copy(&r->path, options->path ? options->path : options->url->path);
  if (err == 0) err = copy(&r->server_name, options->server_name);
  if (err == 0) err = copy(&r->proxy_name, options->proxy_name);
  if (err == 0) err = copy(&r->user_agent, options->user_agent);
  if (err == 0 && options->proxy) err = lw_proxy_copy(&r->proxy, options->proxy);
  if (err == 0) return r;
  lw_route_free(r);
  return NULL;
}

void lw_route_free(lw_route *r) {
  if (!r) return;
  lw_dial_free(r->dial);
  lw_tunnel_free(r->tunnel);
  lw_buf_clear(&r->out, r->loop ? &r->loop->pool : NULL);
  lw_tls_context_release(r->tls);
  lw_tls_context_release(r->proxy_tls);
  lw_proxy_clear(&r->proxy);
  free(r->host);
  free(r->path);
  free(r->server_name);
  free(r->proxy_name);
  free(r->user_agent);
  free(r);
}

static int has_proxy(const lw_route *r) {
  return r->proxy.memory != NULL;
}

/* --- on the way --- */

/* TLS between what is there and the owner. 0 or LW_ERR_MEMORY. */
static int cover(lw_route *r, lw_tls_context *context, const char *host, unsigned short port) {
  lw_tls *tls = lw_tls_new(context, &r->loop->pool, host, port);
  if (!tls) return LW_ERR_MEMORY;
  lw_stream_cover(r->stream, tls);
  return 0;
}

/* 1 or LW_ERR_MEMORY. */
static int arrive(lw_route *r) {
  int err = r->tls ? cover(r, r->tls, r->server_name ? r->server_name : r->host, r->port) : 0;
  r->stage = ARRIVED;
  return err < 0 ? err : 1;
}

static int start_dial(lw_route *r) {
  lw_dial_options options = {.path = r->path, .host = r->host, .port = r->port, .family = r->family, .no_delay = r->no_delay};
  int err = 0;
  if (has_proxy(r)) {
    options.host = r->proxy.host;
    options.port = r->proxy.port;
  }
  r->stage = DIALING;
  r->dial = lw_dial_start(r->loop, &options, r->source, &err);
  return r->dial ? 0 : err;
}

/* The proxy is there. 0 or a negative lw_err. */
static int start_asking(lw_route *r) {
  lw_tunnel_options options = {.proxy = &r->proxy, .host = r->host, .port = r->port, .user_agent = r->user_agent};
  int err = 0;
  r->stage = ASKING;
  if (r->proxy.secure)
    err = cover(r, r->proxy_tls, r->proxy_name ? r->proxy_name : r->proxy.host, r->proxy.port);
  if (err < 0) return err;
  if (!(r->tunnel = lw_tunnel_new(&options))) return LW_ERR_MEMORY;
  return lw_tunnel_ask(r->tunnel, &r->out, &r->loop->pool);
}

/* 1: connected; 0; or a negative lw_err. */
static int dial(lw_route *r) {
  int fd = -1, got = lw_dial_next(r->dial, &fd);
  if (got <= 0) return got;
  lw_dial_free(r->dial);
  r->dial = NULL;
  r->source->fd = fd;
  return 1;
}

/* --- with the proxy --- */

/*
** What is queued goes out, and what TLS has to say. 0 or a negative lw_err. That the system
** takes nothing any more is remembered: the proxy may have answered before it left.
*/
static int say(lw_route *r) {
  lw_slice slices[SLICES];
  int verdict;
  if (r->mute) return 0;
  do {
    size_t taken, wire;
    int count = lw_buf_slices(&r->out, slices, SLICES);
    verdict = lw_stream_write(r->stream, r->loop, r->source->fd, slices, count, &taken, &wire);
    lw_buf_consume(&r->out, &r->loop->pool, taken);
  } while (verdict == LW_STREAM_WENT && r->out.length > 0);
  r->blocked = verdict == LW_STREAM_FULL;
  if (verdict < 0 && LW_IS_SYS(verdict)) r->mute = verdict;
  return verdict < 0 && !r->mute ? verdict : 0;
}

/* One read of what the proxy answers. As lw_tunnel_feed. */
static int hear(lw_route *r) {
  unsigned char *bytes = lw_loop_receive(r->loop);
  size_t room = r->stream->tls ? LW_STREAM_MOST : LW_RECEIVE_SIZE, wire;
  if (!bytes) return LW_ERR_MEMORY;
  long got = lw_stream_read(r->stream, r->loop, r->source->fd, bytes, room, &wire);
  if (got == 0) return r->mute;
  if (got == LW_ERR_EOF) return lw_tunnel_end(r->tunnel);
  if (got < 0) return (int)got;
  int verdict = lw_tunnel_feed(r->tunnel, &r->out, &r->loop->pool, bytes, (size_t)got);
  return verdict == 0 && lw_stream_has_more(r->stream) ? hear(r) : verdict;
}

/* 1: through; 0; or a negative lw_err. */
static int ask(lw_route *r) {
  int got = say(r);
  if (got == 0) got = hear(r);
  if (got == 0) got = say(r); /* what the answer calls for, TLS's own part of it included */
  if (got != 0) return got;
  return lw_source_watch(r->loop, r->source, r->blocked && !r->mute ? LW_READ | LW_WRITE : LW_READ);
}

int lw_route_next(lw_route *r, lw_loop *loop, lw_source *source, lw_stream *stream) {
  int got = 0;
  r->loop = loop;
  r->source = source;
  r->stream = stream;
  if (r->stage == SETTING_OUT) got = start_dial(r);
  if (got == 0 && r->stage == DIALING) {
    got = dial(r);
    if (got > 0) got = has_proxy(r) ? start_asking(r) : arrive(r);
  }
  if (got == 0 && r->stage == ASKING) {
    got = ask(r);
    if (got > 0) got = arrive(r);
  }
  return got;
}

/* --- in words --- */

static const char *why_dial(lw_route *r, int err) {
  if (err == LW_ERR_TIMEOUT) return "the proxy could not be reached within handshakeTimeout";
  snprintf(r->why, sizeof r->why, "cannot reach the proxy: %s", lw_strerror(err));
  return r->why;
}

static const char *why_ask(lw_route *r, int err) {
  if (err == LW_ERR_TIMEOUT) return "the proxy did not answer within handshakeTimeout";
  if (err == LW_ERR_TLS) snprintf(r->why, sizeof r->why, "TLS with the proxy: %s", lw_stream_why(r->stream));
  else if (LW_IS_SYS(err)) snprintf(r->why, sizeof r->why, "the connection to the proxy failed: %s", lw_strerror(err));
  else return lw_tunnel_why(r->tunnel);
  return r->why;
}

const char *lw_route_why(lw_route *r, int err) {
  if (!has_proxy(r) || err == LW_ERR_MEMORY) return NULL;
  if (r->stage == DIALING) return why_dial(r, err);
  return r->stage == ASKING && r->tunnel ? why_ask(r, err) : NULL;
}
