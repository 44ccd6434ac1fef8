/*
** proxy.h -- what a proxy is, and which one the environment names for a URL.
*/
#ifndef LW_PROXY_H
#define LW_PROXY_H

#include <stddef.h>

#include "err.h"
#include "url.h"

#pragma GCC visibility push(hidden)

typedef enum lw_proxy_kind {
  LW_PROXY_HTTP, /* asked by CONNECT (RFC 9110, 9.3.6) */
  LW_PROXY_SOCKS /* SOCKS5 (RFC 1928), which looks names up itself */
} lw_proxy_kind;

/* All strings are NUL-terminated and live in `memory` until lw_proxy_clear. */
typedef struct lw_proxy {
  char *memory;
  size_t size; /* of memory */
  const char *href; /* "http://proxy:3128", without credentials: what messages call it */
  const char *host; /* lower case; an IPv6 address without its brackets */
  const char *user; /* percent-decoded; NULL: no credentials */
  const char *password; /* percent-decoded, "" when there is none; NULL with user */
  lw_proxy_kind kind;
  unsigned short port;
  unsigned char secure; /* the proxy itself is reached by TLS */
} lw_proxy;

/*
** http:// (port 80), https:// (443), socks5://, socks5h:// and socks:// (1080, and all the
** same: names are never looked up here); without a scheme it is http://.
** "user:password@" may stand before the host, one slash behind the port.
** 0, LW_ERR_PROXY_SCHEME, LW_ERR_PROXY_PATH, LW_ERR_PROXY_CREDENTIALS, a LW_ERR_URL_…, or
** LW_ERR_MEMORY; on failure *proxy owns nothing.
*/
int lw_proxy_parse(lw_proxy *proxy, const char *text, size_t n);
/* 0 or LW_ERR_MEMORY, and *proxy owns nothing. */
int lw_proxy_copy(lw_proxy *proxy, const lw_proxy *from);
void lw_proxy_clear(lw_proxy *proxy); /* zeroed is fine */

/* As getenv. */
typedef char *lw_proxy_getenv(const char *name);

/*
** The proxy that the environment names for this URL. ws: http_proxy, in lower case alone
** (HTTP_PROXY may be a header that a guest of a CGI program sent); wss: https_proxy,
** HTTPS_PROXY; else all_proxy, ALL_PROXY. An empty variable is none. Nothing goes through it
** to this machine (localhost, *.localhost, loopback addresses, Unix sockets), nor to what no_proxy or
** NO_PROXY lists, between commas or spaces:
**   *                              everything
**   example.org .example.org      that host and all below it; *.example.org is the same
**   192.0.2.1 [::1] 10.0.0.0/8     addresses and networks, for URLs that have an address
**   example.org:8080 [::1]:8080    only with this port
** What is none of these names no host.
** 1: *proxy is filled; 0: straight there; or an error of lw_proxy_parse, with *variable the
** name of the variable that is to blame.
*/
int lw_proxy_choose(lw_proxy *proxy, const lw_url *url, lw_proxy_getenv *get, const char **variable);

#pragma GCC visibility pop
#endif
