/*
** upgrade.h -- a handshake under way: bytes in, verdict out.
**
** Collects the head of a request (server) or of the answer to ours (client) as it arrives,
** judges it once it is whole, and keeps what came behind it.
*/
#ifndef LW_UPGRADE_H
#define LW_UPGRADE_H

#include <stddef.h>

#include "buf.h"
#include "crypt.h"
#include "deflate.h"
#include "err.h"
#include "handshake.h"
#include "http.h"

#pragma GCC visibility push(hidden)

#define LW_PAGE_MAX ((size_t)64 * 1024) /* of a refusal's page so much is kept */

typedef struct lw_upgrade {
  int server;
  size_t max_size, max_fields;
  char *protocols; /* client: what was offered, or NULL */
  lw_deflate_options *deflate; /* what is wanted of permessage-deflate; NULL: nothing */
  char key[LW_KEY_SIZE];
  unsigned char *bytes; /* the head so far, and what came with it */
  size_t used, capacity;
  size_t scanned;
  size_t head_size; /* once it is whole */
  size_t page_size; /* client: of a refusal, what is awaited behind its head */
  lw_http_chunks chunks; /* client: of a refusal whose page comes in them */
  int chunked;
  int whole;        /* head is filled in */
  int refused;      /* client: the answer was no 101 */
  int page_done;    /* client: its page is whole, or cannot be read any further */
  lw_http_head head;
  lw_handshake_ask ask; /* server */
  lw_slice protocol;    /* client: the one chosen, empty for none; a slice of bytes */
  lw_deflate_params params; /* once it is right: what was agreed on */
} lw_upgrade;

/* NULL: no memory. */
lw_upgrade *lw_upgrade_new(int server, size_t max_size, size_t max_fields);
void lw_upgrade_free(lw_upgrade *u); /* NULL is fine */

/* What is wanted of permessage-deflate, copied; before anything else. 0 or LW_ERR_MEMORY. */
int lw_upgrade_want(lw_upgrade *u, const lw_deflate_options *options);
/* Client: queues the request, with that, and remembers what was asked. 0 or a negative lw_err. */
int lw_upgrade_ask(lw_upgrade *u, lw_buf *out, lw_pool *pool, lw_entropy *entropy,
                   const lw_handshake_offer *offer);
/* Server, the request being whole and right: queues the 101; `params` says what was agreed on. As lw_handshake_switch. */
int lw_upgrade_accept(lw_upgrade *u, lw_buf *out, lw_pool *pool, lw_slice protocol, const char *headers);

/*
** n more bytes, which are copied. 1: the head is whole and right (server: see `ask`; client:
** see `protocol`). 0: more must come. Otherwise a negative lw_err, with LW_ERR_STATUS the
** head being whole all the same; then lw_upgrade_page goes on.
*/
int lw_upgrade_feed(lw_upgrade *u, const unsigned char *bytes, size_t n);
/* What came behind the head (of a refusal's page so far: without its chunks), until the upgrade is freed. */
lw_slice lw_upgrade_rest(const lw_upgrade *u);

/* Client, refused: n more bytes of the refusal's page (0 at first). 1: it is whole, or as long as is kept; 0; LW_ERR_MEMORY. */
int lw_upgrade_page(lw_upgrade *u, const unsigned char *bytes, size_t n);

#pragma GCC visibility pop
#endif
