/*
** handshake.h -- the upgrade, asked and answered (RFC 6455, section 4).
*/
#ifndef LW_HANDSHAKE_H
#define LW_HANDSHAKE_H

#include <stddef.h>

#include "buf.h"
#include "crypt.h"
#include "err.h"
#include "http.h"
#include "url.h"

#pragma GCC visibility push(hidden)

#define LW_KEY_SIZE 24    /* base64 of 16 random bytes */
#define LW_ACCEPT_SIZE 28 /* base64 of a SHA-1 */
#define LW_PROTOCOLS_MAX 64 /* subprotocols a client may offer: comparing all with all stays cheap */

/* Sec-WebSocket-Accept for a key (4.2.2, step 5.4). 0 or a negative lw_err. */
int lw_handshake_accept(char accept[LW_ACCEPT_SIZE], const char key[LW_KEY_SIZE]);

/* --- the client's side --- */

/* What a client asks for. Strings are NUL-terminated, NULL where there is none. */
typedef struct lw_handshake_offer {
  const lw_url *url;      /* gives Host, target and Basic authorisation */
  const char *protocols;  /* "a, b" */
  const char *extensions; /* the header's value */
  const char *origin;
  const char *user_agent;
  const char *headers; /* further lines, checked by the caller, each ended by CR LF */
} lw_handshake_offer;

/* A fresh key. 0 or LW_ERR_RANDOM. */
int lw_handshake_key(char key[LW_KEY_SIZE], lw_entropy *entropy);
/* Queues the request. 0 or LW_ERR_MEMORY (then nothing is queued). */
int lw_handshake_request(lw_buf *out, lw_pool *pool, const lw_handshake_offer *offer,
                         const char key[LW_KEY_SIZE]);
/*
** Judges the response (4.1, "client requirements"): 0 and the protocol chosen (empty for
** none), or a negative lw_err; the status comes first, then the HTTP version. `extensions` gets the header's value, empty for none; what
** may stand in it is for the caller, who knows what was offered (none offered: LW_ERR_EXTENSION).
*/
int lw_handshake_response(const lw_http_head *head, const lw_handshake_offer *offer,
                          const char key[LW_KEY_SIZE], lw_slice *protocol, lw_slice *extensions);

/* --- the server's side --- */

/* What a request asks for; slices of the head's bytes. */
typedef struct lw_handshake_ask {
  int upgrade; /* 0: a plain HTTP request, for onrequest or 426 */
  char key[LW_KEY_SIZE];
  size_t protocol_count; /* offered, over all header lines; the list is well-formed */
} lw_handshake_ask;

/*
** Judges a request: 0, or the negative lw_err that lw_handshake_status turns into an
** answer. A plain request is judged as HTTP only (version, Host, body); of an upgrade then
** the method, the version, the key, and the lists of subprotocols and extensions, in this order.
*/
int lw_handshake_judge(const lw_http_head *head, lw_handshake_ask *ask);
/* The status that answers this error: 400, 405, 414, 426, 431, 505, 403, 404, 503, 500. */
int lw_handshake_status(int err);
/* The nth (0-based) subprotocol offered over all header lines; 0 when there are not so many. */
int lw_handshake_protocol(const lw_http_head *head, size_t nth, lw_slice *protocol);
/*
** Same origin, the default: no Origin, or one whose host and port are those of Host
** (default ports by the origin's scheme; the scheme itself is ignored, since TLS may end
** at a proxy). Of a head that lw_handshake_judge let pass. 1 if so.
*/
int lw_handshake_same_origin(const lw_http_head *head);

/*
** 1 if this is what browsers send as `Origin`: "null", or a scheme, a host, and a port that is not
** the scheme's own (RFC 6454, 6.2).
*/
int lw_handshake_is_origin(const char *text);

/* Queues the 101. `protocol` may be empty, `extensions` and `headers` (lines) NULL. 0 or a negative lw_err. */
int lw_handshake_switch(lw_buf *out, lw_pool *pool, const char key[LW_KEY_SIZE], lw_slice protocol,
                        const char *extensions, const char *headers);
/*
** Queues any other answer: status line, Date-less head with Content-Length and
** "Connection: close", `headers` (lines) or NULL, body. 426 says which version and upgrade
** it wants, 405 which method; 204 and 304 have no body. `head_only`: the request was HEAD,
** so the body is counted but not sent. 0 or LW_ERR_MEMORY.
*/
int lw_handshake_respond(lw_buf *out, lw_pool *pool, int status, const char *headers,
                         const void *body, size_t n, int head_only);

#pragma GCC visibility pop
#endif
