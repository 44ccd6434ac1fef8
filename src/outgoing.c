/*
** outgoing.c -- what a session has to send: a queue of ready frames, and behind it a chain of
** long messages, each with the queue of what waits behind it.
*/
#include "outgoing.h"

#include <stdlib.h>
#include <string.h>

#include "mask.h"

/* A long message's next fragment is made when fewer bytes than this are ready. */
#define AHEAD LW_CHUNK_SIZE

struct lw_long {
  lw_long *next;
  uint64_t size;  /* payload */
  uint64_t left;  /* of that, in no fragment yet */
  size_t most;    /* of a fragment */
  unsigned char opcode; /* LW_CONTINUATION once it has begun */
  unsigned char masked;
  lw_buf between; /* control frames, of the first one only */
  lw_buf behind;  /* what was queued after it; grows while it is the last one, then stays as it is */
  uint64_t end;   /* its place in the stream of messages */
  /* Sums over those before it, also those that have gone: the difference between two is what lies between them. */
  uint64_t size_before, content_before, length_before; /* `size`; content and length of `behind` */
};

static void drop_first(lw_outgoing *o) {
  lw_long *first = o->first;
  o->first = first->next;
  if (!o->first) o->last = NULL;
  free(first);
}

void lw_outgoing_clear(lw_outgoing *o, lw_pool *pool) {
  lw_buf_clear(&o->ready, pool);
  while (o->first) {
    lw_buf_clear(&o->first->between, pool);
    lw_buf_clear(&o->first->behind, pool);
    drop_first(o);
  }
}

lw_buf *lw_outgoing_tail(lw_outgoing *o) {
  return o->last ? &o->last->behind : &o->ready;
}

lw_buf *lw_outgoing_control(lw_outgoing *o) {
  return o->first ? &o->first->between : &o->ready;
}

/* --------------------------------------------------------------- fragments */

/* The header of a fragment of n bytes; the masking key is the caller's to add. */
static lw_frame header_of(const lw_long *message, size_t n) {
  return (lw_frame){.length = n,
                    .opcode = message->opcode,
                    .fin = n == message->left,
                    .masked = message->masked};
}

static size_t next_size(const lw_long *message) {
  return message->left < message->most ? (size_t)message->left : message->most;
}

/* What passes between fragments goes before the next one is made: so that it knows its place, and does not wait long. */
size_t lw_outgoing_wants(const lw_outgoing *o) {
  if (!o->first || o->forsaken || o->first->between.length > 0 || o->ready.length >= AHEAD) return 0;
  return next_size(o->first);
}

static size_t header_size(lw_frame frame) {
  unsigned char unused[LW_FRAME_MAX];
  return lw_frame_encode(&frame, unused);
}

unsigned char *lw_outgoing_room(lw_outgoing *o, lw_pool *pool) {
  size_t n = next_size(o->first), head = header_size(header_of(o->first, n));
  unsigned char *at = lw_buf_reserve(&o->ready, pool, head + n);
  return at ? at + head : NULL;
}

int lw_outgoing_fill(lw_outgoing *o, const unsigned char key[4]) {
  lw_long *message = o->first;
  size_t n = next_size(message);
  lw_frame frame = header_of(message, n);
  size_t head = header_size(frame);
  unsigned char *at = lw_buf_reserve(&o->ready, NULL, head + n); /* the room that was given */
  if (key) memcpy(frame.key, key, 4);
  lw_frame_encode(&frame, at);
  if (key) lw_mask(at + head, at + head, n, key, 0);
  lw_buf_commit(&o->ready, head + n, n);
  message->opcode = LW_CONTINUATION;
  message->left -= n;
  return message->left == 0;
}

/* What is left of a message, in frames. */
static uint64_t framed(const lw_long *message) {
  uint64_t whole = message->left / message->most, rest = message->left % message->most;
  lw_frame frame = {.length = message->most, .masked = message->masked};
  uint64_t bytes = message->left + whole * header_size(frame);
  frame.length = rest;
  return rest > 0 ? bytes + header_size(frame) : bytes;
}

int lw_outgoing_begin(lw_outgoing *o, lw_opcode opcode, uint64_t n, size_t most, int masked) {
  lw_long *message = calloc(1, sizeof *message), *last = o->last;
  if (!message) return LW_ERR_MEMORY;
  message->size = message->left = n;
  message->most = most;
  message->opcode = (unsigned char)opcode;
  message->masked = masked != 0;
  message->behind.frugal = 1;
  message->end = lw_outgoing_written(o) + framed(message);
  if (last) {
    message->size_before = last->size_before + last->size;
    message->content_before = last->content_before + lw_buf_content(&last->behind);
    message->length_before = last->length_before + last->behind.length;
    last->next = message;
  } else {
    o->first = message;
  }
  o->last = message;
  return 0;
}

void lw_outgoing_forsake(lw_outgoing *o) {
  o->forsaken = 1;
}

/* --------------------------------------------------------------------- out */

int lw_outgoing_slices(const lw_outgoing *o, lw_slice *slices, int max) {
  int count = lw_buf_slices(&o->ready, slices, max);
  if (o->first) count += lw_buf_slices(&o->first->between, slices + count, max - count);
  return count;
}

/* A long message that has gone whole leaves its place to what waits behind it. */
static void advance(lw_outgoing *o) {
  if (o->first->left > 0 || o->ready.length > 0 || o->first->between.length > 0) return;
  o->ready = o->first->behind;
  o->ready.frugal = 0;
  drop_first(o);
}

size_t lw_outgoing_went(lw_outgoing *o, lw_pool *pool, size_t n) {
  size_t ready = n < o->ready.length ? n : o->ready.length, between = 0;
  lw_buf_consume(&o->ready, pool, ready);
  if (o->first) {
    between = n - ready < o->first->between.length ? n - ready : o->first->between.length;
    lw_buf_consume(&o->first->between, pool, between);
    advance(o);
  }
  o->apart += between;
  o->sent += ready + between;
  return ready + between;
}

int lw_outgoing_ends(const lw_outgoing *o) {
  return !o->first || (o->forsaken && o->first->left > 0);
}

int lw_outgoing_pending(const lw_outgoing *o) {
  return o->ready.length > 0 || (o->first && (!o->forsaken || o->first->between.length > 0));
}

/* ---------------------------------------------------------------- how much */

/* What waits behind long messages: bytes. */
static size_t waiting(const lw_outgoing *o) {
  return o->first ? (size_t)(o->last->length_before - o->first->length_before) + o->last->behind.length : 0;
}

size_t lw_outgoing_held(const lw_outgoing *o) {
  size_t held = lw_buf_content(&o->ready);
  if (!o->first) return held;
  return held + (size_t)(o->last->content_before - o->first->content_before) + lw_buf_content(&o->last->behind);
}

uint64_t lw_outgoing_awaited(const lw_outgoing *o) {
  if (!o->first) return 0;
  return o->last->size_before + o->last->size - o->first->size_before - o->first->size + o->first->left;
}

size_t lw_outgoing_framing(const lw_outgoing *o) {
  size_t bytes = o->ready.length + (o->first ? o->first->between.length : 0) + waiting(o), held = lw_outgoing_held(o);
  return bytes > held ? bytes - held : 0; /* of what is compressed there may be more content than bytes */
}

uint64_t lw_outgoing_end(const lw_outgoing *o) {
  return o->sent + o->ready.length + (o->first ? o->first->between.length : 0);
}

uint64_t lw_outgoing_gone(const lw_outgoing *o) {
  return o->sent - o->apart;
}

uint64_t lw_outgoing_written(const lw_outgoing *o) {
  return o->last ? o->last->end + o->last->behind.length : lw_outgoing_gone(o) + o->ready.length;
}
