/*
** tls_context.h -- what many TLS connections have in common: certificates, trust and rules.
**
** A context is counted by reference and never changes. One for each distinct set of
** options stands on a shelf, so that connecting a thousand times loads nothing twice.
*/
#ifndef LW_TLS_CONTEXT_H
#define LW_TLS_CONTEXT_H

#include <stddef.h>

#include "err.h"
#include "sys.h"

#pragma GCC visibility push(hidden)

#define LW_TLS_WHY 400 /* room for what went wrong, in words, NUL included */

/* Plain bytes in a full record: with its overhead (OpenSSL: at most 320) it fills one cork of the queue. */
#define LW_TLS_RECORD ((size_t)16 * 1024 - 320)

/* A certificate with its key: names of files, or PEM text. */
typedef struct lw_tls_pair {
  const char *cert;       /* the certificate, then those of its issuers; NULL: none */
  const char *key;        /* NULL: it stands with the certificate */
  const char *passphrase; /* of an encrypted key; NULL: none */
} lw_tls_pair;

typedef enum lw_tls_ask { LW_TLS_ASK_NOT, LW_TLS_ASK_OPTIONAL, LW_TLS_ASK_REQUIRED } lw_tls_ask;

typedef struct lw_tls_options {
  int server;
  int insecure;              /* client: nothing is verified */
  const char *ca;            /* a file, a directory or PEM text; NULL: the system's (server: none) */
  const lw_tls_pair *pairs;  /* server: the first serves whom no other's names fit */
  size_t pair_count;
  lw_tls_ask ask;            /* server: for the client's certificate; needs `ca` */
  int min_version;           /* 12 or 13 */
  const char *ciphers;       /* OpenSSL's names between colons, those of TLS 1.3 among them; NULL: its default */
  const char *alpn;          /* "a,b"; NULL: none is spoken of */
  int no_resumption;
} lw_tls_options;

typedef struct lw_tls_context lw_tls_context;

/* Zeroed is empty. */
typedef struct lw_tls_shelf {
  lw_tls_context *first; /* the one used last */
  struct lw_tls_trust *system_trust; /* loaded once */
} lw_tls_shelf;

/*
** The context for these options; the caller's reference. A file that has changed since makes
** it another set. NULL with *err (LW_ERR_MEMORY, LW_ERR_TLS) and, for LW_ERR_TLS, why.
*/
lw_tls_context *lw_tls_shelf_get(lw_tls_shelf *shelf, const lw_sys *sys, const lw_tls_options *options,
                                 char why[LW_TLS_WHY], int *err);
void lw_tls_shelf_clear(lw_tls_shelf *shelf);

lw_tls_context *lw_tls_context_hold(lw_tls_context *context); /* NULL is fine */
void lw_tls_context_release(lw_tls_context *context);         /* NULL is fine */

/* --- for tls.c --- */

/* The connections that hold record buffers, by when they were last used: see lw_tls_touch. */
typedef struct lw_tls_ring {
  struct lw_tls *oldest, *newest; /* NULL: empty */
  unsigned count;
} lw_tls_ring;

lw_tls_ring *lw_tls_context_ring(lw_tls_context *context);
/* OpenSSL's SSL_CTX. */
void *lw_tls_context_ssl(const lw_tls_context *context);
const lw_tls_options *lw_tls_context_options(const lw_tls_context *context);
/* A session kept for this peer ("host:port"), taken from the store: the caller's. NULL: none. */
void *lw_tls_context_take_session(lw_tls_context *context, const char *peer);
/* Keeps one; takes the caller's reference over. */
void lw_tls_context_keep_session(lw_tls_context *context, const char *peer, void *session);
/*
** OpenSSL's first error in words, its queue emptied. LW_ERR_TLS; or LW_ERR_MEMORY if any of them
** was a lack of memory, or there is none: then the words are that.
*/
int lw_tls_reason(char *text, size_t size);
/* 1 if OpenSSL's queue begins or ends with a lack of memory. */
int lw_tls_lacked(void);
/* 1 if an X509 looks bad because there was no memory for a part of it; it will not get that part by itself. */
int lw_tls_is_spoilt(void *cert);
/* The same of any that are trusted. */
int lw_tls_context_is_spoilt(const lw_tls_context *context);
/* Forgets those found in directories: they are looked for anew. Not while OpenSSL verifies. */
void lw_tls_context_mend(lw_tls_context *context);

#pragma GCC visibility pop
#endif
