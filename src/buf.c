/*
** buf.c -- a queue of bytes on their way out: a ring of spans over shared chunks.
*/
#include "buf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define RING_FIRST 8u        /* spans in a queue's first ring */
#define RING_MOST (1u << 26) /* and in the largest: its size in bytes overflows nowhere */

/*
** Up to this size a shared frame is cheaper copied than referred to, if there is a cork to copy it to. A
** larger one is there once however many wait for it, and a single queue that holds it holds little
** more than its bytes: a span, and a chunk made to measure.
*/
#define SHARE_COPIED ((size_t)512)
/* Spans from which on a small shared frame is worth a cork of the queue's own. */
#define SHARE_BACKLOG 4u

/* --- chunks --- */

static lw_chunk *pool_take(lw_pool *pool) {
  lw_chunk *chunk = pool->free;
  pool->free = chunk->next;
  pool->kept--;
  return chunk;
}

static lw_chunk *make_chunk(size_t capacity) {
  lw_chunk *chunk;
  if (capacity > SIZE_MAX - sizeof *chunk || !(chunk = malloc(sizeof *chunk + capacity))) return NULL;
  *chunk = (lw_chunk){.refs = 1, .capacity = capacity};
  return chunk;
}

lw_chunk *lw_chunk_new(lw_pool *pool, size_t n) {
  lw_chunk *chunk;
  if (n > LW_CHUNK_SIZE) return make_chunk(n);
  if (!pool || !pool->free) return make_chunk(LW_CHUNK_SIZE);
  chunk = pool_take(pool);
  *chunk = (lw_chunk){.refs = 1, .capacity = LW_CHUNK_SIZE};
  return chunk;
}

lw_chunk *lw_chunk_measured(lw_pool *pool, size_t n) {
  lw_chunk *chunk = n > SHARE_COPIED ? make_chunk(n) : lw_chunk_new(pool, n);
  if (chunk) chunk->many = 1;
  return chunk;
}

void lw_chunk_release(lw_pool *pool, lw_chunk *chunk) {
  if (!chunk || --chunk->refs > 0) return;
  if (!pool || pool->kept == LW_POOL_KEPT || chunk->capacity != LW_CHUNK_SIZE) {
    free(chunk);
    return;
  }
  chunk->next = pool->free;
  pool->free = chunk;
  pool->kept++;
}

void lw_pool_clear(lw_pool *pool) {
  while (pool->free)
    free(pool_take(pool));
}

/* --- the ring --- */

/* The i-th span from the head. */
static lw_span *span_at(lw_buf *buf, unsigned i) {
  return buf->spans ? &buf->spans[(buf->head + i) & (buf->capacity - 1)] : &buf->one;
}

static const lw_span *span_seen(const lw_buf *buf, unsigned i) {
  return buf->spans ? &buf->spans[(buf->head + i) & (buf->capacity - 1)] : &buf->one;
}

static lw_span *tail(lw_buf *buf) {
  return buf->count ? span_at(buf, buf->count - 1) : NULL;
}

/* Doubles the ring, or leaves `one` for the first. */
static int ring_grow(lw_buf *buf) {
  if (buf->capacity == RING_MOST) return LW_ERR_MEMORY;
  unsigned capacity = buf->capacity ? buf->capacity * 2 : RING_FIRST;
  lw_span *spans = malloc(capacity * sizeof *spans);
  if (!spans) return LW_ERR_MEMORY;
  for (unsigned i = 0; i < buf->count; i++)
    spans[i] = *span_at(buf, i);
  free(buf->spans);
  buf->spans = spans;
  buf->capacity = capacity;
  buf->head = 0;
  return 0;
}

/* The whole chunk as a new span at the tail, with the caller's reference. 0 or LW_ERR_MEMORY. */
static int span_push(lw_buf *buf, lw_chunk *chunk) {
  if (buf->count == (buf->spans ? buf->capacity : 1) && ring_grow(buf) < 0) return LW_ERR_MEMORY;
  buf->count++;
  *tail(buf) = (lw_span){.chunk = chunk, .last = chunk->used};
  return 0;
}

static void span_pop(lw_buf *buf, lw_pool *pool) {
  lw_span *span = span_at(buf, 0);
  lw_chunk *chunk = span->chunk;
  span->chunk = NULL;
  lw_chunk_release(pool, chunk);
  if (buf->spans) buf->head = (buf->head + 1) & (buf->capacity - 1);
  buf->count--;
}

/* --- the queue --- */

void lw_buf_init(lw_buf *buf) {
  *buf = (lw_buf){0};
}

void lw_buf_clear(lw_buf *buf, lw_pool *pool) {
  while (buf->count)
    span_pop(buf, pool);
  free(buf->spans);
  lw_buf_init(buf);
}

/* Whether n bytes may be written behind the tail: its chunk is ours alone and has the room. */
static int tail_has_room(lw_buf *buf, size_t n) {
  const lw_span *span = tail(buf);
  return span && span->chunk->refs == 1 && span->chunk->capacity - span->chunk->used >= n;
}

/*
** A new chunk for the tail: a cork. In a queue that stands, or is frugal, it has twice the size of what of its own it
** comes behind, up to a cork's: where frames for many and small ones of its own take turns, each small one would have a
** cork to itself.
*/
static lw_chunk *tail_chunk(lw_buf *buf, lw_pool *pool, size_t n) {
  const lw_span *span = tail(buf);
  size_t room = span && !span->chunk->many ? 2 * (span->last - span->first) : 0;
  if (!buf->frugal && buf->count < SHARE_BACKLOG) room = LW_CHUNK_SIZE;
  if (room < 2 * SHARE_COPIED) room = 2 * SHARE_COPIED;
  if (room < n) room = n;
  return room < LW_CHUNK_SIZE ? make_chunk(room) : lw_chunk_new(pool, n);
}

unsigned char *lw_buf_reserve(lw_buf *buf, lw_pool *pool, size_t n) {
  if (!tail_has_room(buf, n)) {
    lw_chunk *chunk = tail_chunk(buf, pool, n);
    if (!chunk) return NULL;
    if (span_push(buf, chunk) < 0) {
      lw_chunk_release(pool, chunk);
      return NULL;
    }
  }
  lw_chunk *chunk = tail(buf)->chunk;
  return chunk->bytes + chunk->used;
}

void lw_buf_commit(lw_buf *buf, size_t n, size_t content) {
  lw_span *span = tail(buf);
  span->chunk->used += n;
  span->last += n;
  span->content += content;
  buf->length += n;
  buf->content += content;
}

int lw_buf_append(lw_buf *buf, lw_pool *pool, const void *bytes, size_t n) {
  if (n == 0) return 0;
  unsigned char *room = lw_buf_reserve(buf, pool, n);
  if (!room) return LW_ERR_MEMORY;
  memcpy(room, bytes, n);
  lw_buf_commit(buf, n, 0);
  return 0;
}

/* 1 if the chunk's bytes were copied behind others that wait, or into a queue that will: a small one lies in a cork. */
static int share_by_copy(lw_buf *buf, const lw_chunk *chunk, size_t content) {
  if (chunk->used > SHARE_COPIED) return 0;
  if (!tail_has_room(buf, chunk->used) && buf->count < SHARE_BACKLOG && !buf->frugal) return 0;
  /* no pool at hand: a cork from here joins one when it is released */
  unsigned char *room = lw_buf_reserve(buf, NULL, chunk->used);
  if (!room) return 0;
  memcpy(room, chunk->bytes, chunk->used);
  lw_buf_commit(buf, chunk->used, content);
  return 1;
}

int lw_buf_share(lw_buf *buf, lw_chunk *chunk, size_t content) {
  if (chunk->used == 0 || share_by_copy(buf, chunk, content)) return 0;
  if (span_push(buf, chunk) < 0) return LW_ERR_MEMORY;
  chunk->refs++;
  tail(buf)->content = content;
  buf->length += chunk->used;
  buf->content += content;
  return 0;
}

int lw_buf_slices(const lw_buf *buf, lw_slice *slices, int max) {
  int count = 0;
  for (unsigned i = 0; i < buf->count && count < max; i++) {
    const lw_span *span = span_seen(buf, i);
    if (span->first < span->last) /* else reserved and not yet committed */
      slices[count++] = (lw_slice){span->chunk->bytes + span->first, span->last - span->first};
  }
  return count;
}

/* What `left` of `before` bytes stand for: of content that was compressed, their share. */
static size_t content_left(size_t content, size_t before, size_t left) {
  if (content <= before) return content < left ? content : left;
  return (size_t)((double)content * ((double)left / (double)before));
}

/* Takes n bytes from the head span; the framing goes first. */
static void span_take(lw_buf *buf, lw_span *span, size_t n) {
  size_t before = span->last - span->first;
  size_t content = content_left(span->content, before, before - n);
  span->first += n;
  buf->length -= n;
  buf->content -= span->content - content;
  span->content = content;
}

void lw_buf_consume(lw_buf *buf, lw_pool *pool, size_t n) {
  while (n > 0) {
    lw_span *span = span_at(buf, 0);
    size_t here = span->last - span->first;
    size_t taken = n < here ? n : here;
    span_take(buf, span, taken);
    n -= taken;
    if (taken == here) span_pop(buf, pool);
  }
  if (buf->length == 0) lw_buf_clear(buf, pool);
}

size_t lw_buf_content(const lw_buf *buf) {
  return buf->content;
}
