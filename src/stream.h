/*
** stream.h -- the bytes of a connection: straight from its descriptor, or through TLS.
**
** To its owner both look the same: plain bytes in, plain bytes out, one read and one write
** at a time. TLS may lie on TLS, where a proxy is itself reached by it. Handshakes happen
** on the way; until they are done reads give nothing and writes take nothing.
*/
#ifndef LW_STREAM_H
#define LW_STREAM_H

#include <stddef.h>

#include "buf.h"
#include "err.h"
#include "loop.h"
#include "tls.h"

#pragma GCC visibility push(hidden)

/* What one read gives at most: a read of the descriptor, and a record held in each layer. */
#define LW_STREAM_MOST (LW_RECEIVE_HEAD + LW_RECEIVE_SIZE)

/* Zeroed is plain. */
typedef struct lw_stream {
  lw_tls *tls;      /* next to the owner; NULL: plain */
  lw_tls *below;    /* next to the descriptor; NULL: `tls` is */
  size_t in_flight; /* plain bytes that are sealed and were not said to be taken */
  struct lw_stream_marks *marks; /* where their records end; NULL: they are taken when all have gone */
} lw_stream;

/* Puts TLS between the descriptor (or what is there already) and the owner; takes it over. */
void lw_stream_cover(lw_stream *s, lw_tls *tls);
/* Frees what it owns; the descriptor is the owner's. */
void lw_stream_clear(lw_stream *s);

/*
** One read of the descriptor, by way of the loop's receive buffer if there is TLS; `bytes`
** may be the beginning of that buffer. `room` is at least LW_STREAM_MOST then, any without.
** Returns the plain bytes got; 0: none for now; LW_ERR_EOF: no more will come;
** LW_ERR_SYS, LW_ERR_MEMORY, LW_ERR_UNREAD (he asks and does not read), LW_ERR_TLS (see
** lw_stream_why). *wire: bytes off the descriptor.
*/
long lw_stream_read(lw_stream *s, lw_loop *loop, int fd, unsigned char *bytes, size_t room, size_t *wire);
/* 1: another read gives something without the descriptor (an end or a failure behind what came). */
int lw_stream_has_more(const lw_stream *s);

typedef enum lw_stream_verdict {
  LW_STREAM_FULL = 0,  /* the system takes no more for now */
  LW_STREAM_WENT = 1,  /* what was taken has gone: more may follow */
  LW_STREAM_WAITS = 2, /* a handshake must go on before anything is taken */
} lw_stream_verdict;

/*
** Writes from the head of what the owner has to say. *taken bytes of it have gone to the
** system and may be forgotten (through TLS: whole records, for of others the peer sees nothing); the rest must be offered again, unchanged and from the same
** place. *wire: bytes given to the descriptor. Returns a verdict, or LW_ERR_SYS (the system
** will never take more), LW_ERR_TLS or LW_ERR_MEMORY. With nothing to say it sends what the
** layers themselves have to.
*/
int lw_stream_write(lw_stream *s, lw_loop *loop, int fd, const lw_slice *slices, int count, size_t *taken, size_t *wire);
/* 1 while something is on its way through the layers that has not gone. */
int lw_stream_pending(const lw_stream *s);
/* Everything is said: queues the layers' own goodbye. Then write with nothing until nothing is pending. */
void lw_stream_end(lw_stream *s);
/* What TLS says of a failure; NULL: nothing. */
const char *lw_stream_why(const lw_stream *s);

#pragma GCC visibility pop
#endif
