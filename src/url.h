/*
** url.h -- ws and wss URLs, parsed and serialised (RFC 6455, section 3; WHATWG URL for
** the parts they share: case, dot segments, percent-encoding, default ports).
**
** A Unix socket is ws+unix:/run/chat.sock:/resource?query. Its path is percent-decoded, so
** that any file may be named ("%3A" is a colon), and is not tidied up: to the system "a/../b"
** is not always "b". The first colon ends it; without one, or a query, the resource is "/".
*/
#ifndef LW_URL_H
#define LW_URL_H

#include <stddef.h>

#include "err.h"

#pragma GCC visibility push(hidden)

#define LW_URL_MAX 8192

/*
** All strings are NUL-terminated and live in `memory` until lw_url_clear.
** parse(href) gives the same href again.
*/
typedef struct lw_url {
  char *memory;
  const char *href;     /* serialised: no credentials, no default port, "/" for an empty path */
  const char *origin;   /* ws://host[:port], ws+unix:/path: what a message event calls its origin */
  const char *host;     /* lower case; an IPv6 address without its brackets: for the resolver; "localhost" beside a path */
  const char *authority; /* host[:port] with brackets, default port dropped: the Host header */
  const char *resource; /* path and query: the request target */
  const char *user;     /* percent-decoded, or NULL when there are no credentials */
  const char *password; /* percent-decoded, "" when there is none; NULL with user */
  const char *path;     /* a Unix socket's, or NULL */
  unsigned short port;
  unsigned char secure; /* wss, wss+unix */
  unsigned char is_ip;  /* host is a literal address: no name to look up, no SNI */
} lw_url;

/*
** Takes ws, wss, http, https, ws+unix and wss+unix; refuses everything else, a fragment, and control
** characters and spaces anywhere. 0, a LW_ERR_URL_…, or LW_ERR_MEMORY; on failure *url
** owns nothing.
*/
int lw_url_parse(lw_url *url, const char *text, size_t n);
/*
** What a reference means at a base (RFC 3986, 5.2), as a Location is one: absolute, or
** relative to the base. Its fragment is dropped. Credentials are those it has itself; the base's
** are not handed on. To a Unix socket that is not the base's none leads
** (LW_ERR_URL_SCHEME). Otherwise as lw_url_parse; the base stays as it is.
*/
int lw_url_join(lw_url *url, const lw_url *base, const char *reference, size_t n);
void lw_url_clear(lw_url *url);

#pragma GCC visibility pop
#endif
