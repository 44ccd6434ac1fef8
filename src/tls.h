/*
** tls.h -- one TLS conversation: cipher bytes to plain bytes and back.
**
** Knows no descriptor: what arrived is opened, what is to leave is sealed into a queue.
** Both do the handshake on the way. So layers can lie on each other (TLS through a proxy
** that is itself reached by TLS), and a test feeds byte by byte.
*/
#ifndef LW_TLS_H
#define LW_TLS_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "tls_context.h"

#pragma GCC visibility push(hidden)

/* A record begun and not ended may be held inside: so much more than was given may come out. */
#define LW_TLS_HEAD ((size_t)17 * 1024)

typedef struct lw_tls lw_tls;

/*
** A client that expects `host` (a name or a literal address) at `port`, or a server (host
** NULL). Holds the context; the pool must outlive it. NULL: no memory.
*/
lw_tls *lw_tls_new(lw_tls_context *context, lw_pool *pool, const char *host, unsigned short port);
void lw_tls_free(lw_tls *tls); /* NULL is fine */

/*
** Opens what arrived: all of it is used up. Returns how many plain bytes came out, LW_ERR_EOF
** (the peer has said that nothing more comes), LW_ERR_TLS (see lw_tls_why) or
** LW_ERR_MEMORY. `room` is at least n + LW_TLS_HEAD. `plain` may begin LW_TLS_HEAD bytes
** or more before `cipher` in the same memory: what is written there was read before.
*/
long lw_tls_open(lw_tls *tls, const unsigned char *cipher, size_t n, unsigned char *plain, size_t room);
/* What will be told when it is opened again: LW_ERR_EOF, a failure, or 0. */
int lw_tls_over(const lw_tls *tls);
/* Seals n bytes into the queue, up to LW_TLS_RECORD of them in one record. Only when lw_tls_is_ready. 0, LW_ERR_TLS or LW_ERR_MEMORY. */
int lw_tls_seal(lw_tls *tls, const void *plain, size_t n);
/* Makes room in the queue for what is sealed next: n bytes in some records. 0 or LW_ERR_MEMORY. */
int lw_tls_reserve(lw_tls *tls, size_t n);
/* Begins or goes on with the handshake, if something is to be said. 0, LW_ERR_TLS or LW_ERR_MEMORY. */
int lw_tls_shake(lw_tls *tls);
/* 1 once the handshake is done: data may be sealed. */
int lw_tls_is_ready(const lw_tls *tls);
/* 1 once the handshake is done, for good: what was agreed on can be told, though the next record may have failed. */
int lw_tls_has_agreed(const lw_tls *tls);
/* 1 until the handshake is done or has failed. */
int lw_tls_shaking(const lw_tls *tls);
/* Queues our close_notify (RFC 8446, 6.1); twice is once. */
void lw_tls_end(lw_tls *tls);
/*
** It was just used. OpenSSL holds 33 KiB of record buffers for a connection: those used last
** keep theirs, LW_TLS_WARM of one context at most, and none that has rested for LW_TLS_REST
** while another was used.
*/
#define LW_TLS_WARM 128
#define LW_TLS_REST INT64_C(1000000000)
void lw_tls_touch(lw_tls *tls, int64_t now);
/* Cipher bytes on their way out: the owner takes them from here. */
lw_buf *lw_tls_output(lw_tls *tls);
/* The stream ended before the handshake did. Returns LW_ERR_TLS. */
int lw_tls_cut(lw_tls *tls);
/* What went wrong, in words. */
const char *lw_tls_why(const lw_tls *tls);
/* Server: 1 if what failed was a plain HTTP request. */
int lw_tls_heard_http(const lw_tls *tls);

/* --- what was agreed on; strings live as long as it does --- */

typedef struct lw_tls_facts {
  const char *version;     /* "TLSv1.3" */
  const char *cipher;      /* OpenSSL's name */
  const char *server_name; /* the name the client asked for; NULL: none */
  const char *alpn;        /* the protocol agreed on; NULL: none */
  size_t alpn_n;
  int resumed;
} lw_tls_facts;

/* Once it has agreed. */
void lw_tls_tell(const lw_tls *tls, lw_tls_facts *facts);

/* The peer's certificate in words: each an allocated string (free), NULL where there is none. */
typedef struct lw_tls_peer {
  char *subject, *issuer, *common_name;
  char *serial;      /* hexadecimal */
  char *fingerprint; /* SHA-256, hexadecimal with colons */
  char *not_after;   /* "YYYY-MM-DDTHH:MM:SSZ" */
} lw_tls_peer;

/* 1, or 0 when the peer has shown none (or there is no memory). */
int lw_tls_peer_of(const lw_tls *tls, lw_tls_peer *peer);
void lw_tls_peer_clear(lw_tls_peer *peer);

#pragma GCC visibility pop
#endif
