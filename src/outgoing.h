/*
** outgoing.h -- what a session has to send, in its order: frames that are ready, long messages
** whose payload comes while they are sent (a file's), and what waits behind those.
**
** A long message goes in fragments; control frames pass between them (RFC 6455, 5.4). These are
** counted apart, so that where a message ends in the stream is known from the moment it is
** queued, whatever the connection will have to say meanwhile.
*/
#ifndef LW_OUTGOING_H
#define LW_OUTGOING_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "frame.h"

#pragma GCC visibility push(hidden)

typedef struct lw_long lw_long;

/* Zeroed is empty. Its owner looks at `ready`, `sent`, `forsaken`, and whether there is a `first`; all else is outgoing.c's. */
typedef struct lw_outgoing {
  uint64_t sent; /* bytes that have gone */
  lw_buf ready;  /* whole frames, next to go */
  uint64_t apart;      /* of `sent`: control frames that passed between fragments */
  lw_long *first, *last; /* long messages; each has a queue of its own for what waits behind it */
  unsigned char forsaken; /* what waits for a payload will never go */
} lw_outgoing;

void lw_outgoing_clear(lw_outgoing *o, lw_pool *pool);

/* --- in their order, messages --- */

/* The queue at the end: whole frames of data may be written to it. */
lw_buf *lw_outgoing_tail(lw_outgoing *o);
/* The queue for control frames: at the end, or between the fragments of a long message. */
lw_buf *lw_outgoing_control(lw_outgoing *o);
/*
** A long message of n (1 or more) bytes behind all else. Its fragments have `most` bytes of
** payload, the last one what is left; `masked` as a client's are. 0 or LW_ERR_MEMORY.
*/
int lw_outgoing_begin(lw_outgoing *o, lw_opcode opcode, uint64_t n, size_t most, int masked);

/* --- the payload of the long message that is next --- */

/* How many bytes its next fragment has; 0: none is wanted now. */
size_t lw_outgoing_wants(const lw_outgoing *o);
/* Room for them, behind room for the header. NULL: no memory. */
unsigned char *lw_outgoing_room(lw_outgoing *o, lw_pool *pool);
/* All of them are there: the frame is ready, masked with this key (NULL: not masked). 1 if it was the last, else 0. */
int lw_outgoing_fill(lw_outgoing *o, const unsigned char key[4]);
/* Nothing that waits for a payload, or behind such, will go; it stays counted. */
void lw_outgoing_forsake(lw_outgoing *o);

/* --- out --- */

/* What goes next, as lw_buf_slices. */
int lw_outgoing_slices(const lw_outgoing *o, lw_slice *slices, int max);
/* The first n of these bytes, or of fewer, have gone. Returns how many were ours. */
size_t lw_outgoing_went(lw_outgoing *o, lw_pool *pool, size_t n);
/* 1 when nothing will ever follow on what the slices show now. */
int lw_outgoing_ends(const lw_outgoing *o);
/* 1 while something is to go, now or once its payload is here. */
int lw_outgoing_pending(const lw_outgoing *o);

/* --- how much --- */

/* Content in memory, as exact as lw_buf_content; and payload that is still to come. */
size_t lw_outgoing_held(const lw_outgoing *o);
uint64_t lw_outgoing_awaited(const lw_outgoing *o);
/* Bytes in memory that are no content. */
size_t lw_outgoing_framing(const lw_outgoing *o);
/* The place in the stream behind every frame that is ready. */
uint64_t lw_outgoing_end(const lw_outgoing *o);
/* Places in the stream of messages, which leaves out what passed between fragments: how far it went, and where it ends. */
uint64_t lw_outgoing_gone(const lw_outgoing *o);
uint64_t lw_outgoing_written(const lw_outgoing *o);

#pragma GCC visibility pop
#endif
