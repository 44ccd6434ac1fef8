/*
** buf.h -- a queue of bytes on their way out: append at the tail, consume from the head.
**
** The bytes lie in chunks. Small frames fill one chunk of 16 KiB together (the cork), a
** large frame gets a chunk to measure, and a frame for many receivers is one chunk that
** all their queues refer to. An empty queue owns no chunk.
**
** Of what is queued the queue knows how much is content (what the application gave) and how
** much framing: `content` is what bufferedAmount tells. Of compressed messages there may be more
** content than bytes.
*/
#ifndef LW_BUF_H
#define LW_BUF_H

#include <stddef.h>

#include "err.h"

#pragma GCC visibility push(hidden)

#define LW_CHUNK_SIZE ((size_t)16 * 1024) /* a cork: what one send is worth */
#define LW_POOL_KEPT 16                   /* corks a pool keeps for reuse: 256 KiB */

typedef struct lw_slice {
  const unsigned char *bytes;
  size_t n;
} lw_slice;

typedef struct lw_chunk {
  struct lw_chunk *next; /* in a pool */
  unsigned refs;         /* queues (and makers) that hold it */
  unsigned many;         /* 1: it is one frame for many queues */
  size_t capacity;
  size_t used;
  unsigned char bytes[];
} lw_chunk;

/* Corks waiting for reuse; one pool a loop. Zeroed is empty. */
typedef struct lw_pool {
  lw_chunk *free;
  unsigned kept;
} lw_pool;

/* Part of a chunk that stands in a queue. */
typedef struct lw_span {
  lw_chunk *chunk;
  size_t first, last; /* bytes[first, last) are still to go */
  size_t content;     /* of the application's bytes, what these stand for */
} lw_span;

/* Zeroed is empty. */
typedef struct lw_buf {
  lw_span *spans; /* a ring; NULL while `one` is enough */
  lw_span one;
  unsigned head, count, capacity; /* of the ring; capacity is 0 or a power of two */
  unsigned frugal;                /* 1: it is one of many that wait, so it begins small */
  size_t length;                  /* bytes in the queue */
  size_t content;                 /* what these stand for */
} lw_buf;

/*
** A chunk with one reference and room for n bytes, from the pool if n fits a cork; NULL: no
** memory. Here and below the pool may be NULL: then nothing is kept for reuse.
*/
lw_chunk *lw_chunk_new(lw_pool *pool, size_t n);
/* The same for one frame that many queues will share: no larger than it, unless they would rather copy it. */
lw_chunk *lw_chunk_measured(lw_pool *pool, size_t n);
/* Gives one reference back; the last one frees the chunk or lets the pool keep it. NULL is fine. */
void lw_chunk_release(lw_pool *pool, lw_chunk *chunk);
void lw_pool_clear(lw_pool *pool);

void lw_buf_init(lw_buf *buf);
/* Drops everything; the queue is empty and usable after it. */
void lw_buf_clear(lw_buf *buf, lw_pool *pool);

/*
** Room for n bytes in one piece at the tail, to be written and then counted by
** lw_buf_commit before anything else touches the queue. NULL: no memory, nothing changed.
** Room that is not committed (all or in part) serves the next reserve; until then an empty
** queue may hold a chunk, which lw_buf_consume(buf, pool, 0) or lw_buf_clear gives back.
*/
unsigned char *lw_buf_reserve(lw_buf *buf, lw_pool *pool, size_t n);
/* The first n bytes of what was reserved are now queued; they stand for `content` bytes of the application's. */
void lw_buf_commit(lw_buf *buf, size_t n, size_t content);
/* Copies n bytes to the tail, none of them content. 0 or LW_ERR_MEMORY. */
int lw_buf_append(lw_buf *buf, lw_pool *pool, const void *bytes, size_t n);
/*
** Queues a whole chunk by reference (its own; the caller keeps his). A small one is copied
** instead when others are waiting already: so, and as larger ones are made to measure, a
** receiver who does not read holds little more than the bytes queued for him. 0 or LW_ERR_MEMORY.
*/
int lw_buf_share(lw_buf *buf, lw_chunk *chunk, size_t content);

/* The head of the queue as at most `max` slices, valid until the queue changes. Returns how many. */
int lw_buf_slices(const lw_buf *buf, lw_slice *slices, int max);
/* Takes n <= length bytes from the head; emptied chunks are released. */
void lw_buf_consume(lw_buf *buf, lw_pool *pool, size_t n);
/*
** Content still in the queue: exact unless a span is half gone. In that one the framing
** counts as gone first: never less than the truth; and where there is more content than bytes, an equal share goes with each.
*/
size_t lw_buf_content(const lw_buf *buf);

#pragma GCC visibility pop
#endif
