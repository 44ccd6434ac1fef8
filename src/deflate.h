/*
** deflate.h -- permessage-deflate (RFC 7692): agreed in the handshake, then messages are
** compressed and decompressed. On zlib; no descriptor, no clock, no frames.
**
** A compressed message has RSV1 set on its first frame and on no other, and never on a
** control frame; a message without it is as it would be without the extension, and leaves
** the contexts alone.
*/
#ifndef LW_DEFLATE_H
#define LW_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"

#pragma GCC visibility push(hidden)

/* --- the agreement --- */

#define LW_DEFLATE_BITS_MIN 8       /* of a window, as the RFC has them */
#define LW_DEFLATE_BITS_MAX 15
#define LW_DEFLATE_BITS_OURS 9      /* the least with which zlib compresses without a header */
#define LW_DEFLATE_WISHES_MAX 4
#define LW_DEFLATE_TEXT 136         /* room for one extension with its parameters and a NUL */
#define LW_DEFLATE_OFFER (LW_DEFLATE_WISHES_MAX * LW_DEFLATE_TEXT)
#define LW_DEFLATE_THRESHOLD 256    /* shorter messages gain less than they cost */

/* How one side compresses. */
typedef struct lw_deflate_way {
  unsigned char bits;  /* nothing is referred to that is more than 2^bits bytes back */
  unsigned char fresh; /* 1: nor anything before the message (no context takeover) */
} lw_deflate_way;

/* How the two sides are to compress; {15, 0} is all they can. */
typedef struct lw_deflate_wish {
  lw_deflate_way client, server;
} lw_deflate_wish;

/*
** What we want. A client makes one offer of each wish; a server takes the first offer that
** suits a wish, trying these in order. What a wish asks of the other side is a condition:
** where it is not met there is no compression, unless a further wish allows for it.
*/
typedef struct lw_deflate_options {
  int level;        /* -1 (zlib's choice) to 9 */
  int mem_level;    /* 1 to 9 */
  size_t threshold; /* messages of fewer bytes are not compressed */
  unsigned count;   /* of wishes, at least 1; our own side's bits at least LW_DEFLATE_BITS_OURS */
  lw_deflate_wish wishes[LW_DEFLATE_WISHES_MAX];
} lw_deflate_options;

typedef struct lw_deflate_params {
  int agreed;                    /* 0: no compression, and nothing else here counts */
  lw_deflate_way client, server; /* as the answer has it */
  lw_deflate_way ours, theirs;   /* how we compress (maybe less than we might), and they */
} lw_deflate_params;

/* Level 6, memLevel 8, the threshold above, one wish for all that is possible. */
void lw_deflate_defaults(lw_deflate_options *options);

/* Client: the value of Sec-WebSocket-Extensions. */
void lw_deflate_offer(char text[LW_DEFLATE_OFFER], const lw_deflate_options *options);
/*
** Server: 1 and the value that answers, or 0 when nothing on this line is to be had (offers that are
** malformed, unknown, or not what we want or zlib can do). `line` is one Sec-WebSocket-Extensions
** field of the request, whose grammar the handshake has checked; with several, the first that gives 1 counts.
*/
int lw_deflate_answer(char text[LW_DEFLATE_TEXT], lw_deflate_params *params, lw_slice line,
                      const lw_deflate_options *options);
/*
** Client: judges the answer, the whole field (empty: none). 0, LW_ERR_EXTENSION for another extension
** than ours (any, where options is NULL: nothing was offered), or LW_ERR_EXTENSION_ANSWER.
*/
int lw_deflate_accept(lw_deflate_params *params, lw_slice value, const lw_deflate_options *options);
/* What was agreed, as `ws.extensions` has it: the same on both sides. "" without. */
void lw_deflate_name(char text[LW_DEFLATE_TEXT], const lw_deflate_params *params);

/* --- what all connections of a loop share --- */

/* zlib's state for one direction; made when first needed. */
typedef struct lw_deflate_context lw_deflate_context;

/*
** Contexts that nobody uses just now, for reuse. Zeroed is empty. It outlives everything
** that was made with it; one thread.
*/
typedef struct lw_deflate_shelf {
  lw_deflate_context *deflating, *inflating;
  unsigned deflating_kept, inflating_kept;
  unsigned char *space; /* see lw_deflate_shelf_space */
  unsigned char *room; /* what was compressed last */
  size_t room_size;
  size_t held; /* bytes of zlib's, here and borrowed */
} lw_deflate_shelf;

void lw_deflate_shelf_clear(lw_deflate_shelf *shelf);

#define LW_DEFLATE_SPACE ((size_t)64 * 1024)

/* LW_DEFLATE_SPACE bytes for whoever needs them just now, made on first use. NULL: no memory. */
unsigned char *lw_deflate_shelf_space(lw_deflate_shelf *shelf);

/* --- out --- */

/* Compresses one side's messages. Everything in it is its own. */
typedef struct lw_deflater {
  lw_deflate_shelf *shelf;
  const lw_deflate_options *options;
  lw_deflate_context *context; /* while it remembers */
  lw_deflate_way way;
} lw_deflater;

/* shelf and options must outlive it. Allocates nothing. */
void lw_deflater_init(lw_deflater *d, lw_deflate_shelf *shelf, const lw_deflate_options *options,
                      lw_deflate_way way);
void lw_deflater_clear(lw_deflater *d);
/* 1 if a message of n bytes should go compressed. */
int lw_deflater_wants(const lw_deflater *d, size_t n);
/*
** Compresses one whole message: *out is the payload to frame, never empty, valid until the
** shelf's next message or lw_deflater_done. 0 or LW_ERR_MEMORY: then the message may go plain.
*/
int lw_deflater_message(lw_deflater *d, const void *bytes, size_t n, lw_slice *out);
/* *out is used: much memory for it is given back. */
void lw_deflater_done(lw_deflater *d);
/*
** The next message refers to none before it, whatever was agreed; its context is given back.
** So a message for many can be compressed once for all whose window is no smaller: by a deflater of its
** own with the way {bits, 1}, after which each receiver's forgets, for its peer now knows more than it.
** It may also be called for the memory's sake.
*/
void lw_deflater_forget(lw_deflater *d);

/* --- in --- */

/* Decompresses the other side's messages. Everything in it is its own. */
typedef struct lw_inflater {
  lw_deflate_shelf *shelf;
  lw_deflate_context *context; /* while it remembers, or a message is under way */
  const unsigned char *in;     /* fed and not looked at yet */
  size_t left;
  uint64_t made, limit; /* bytes of the message so far, and at most */
  int error;            /* nothing more comes out */
  lw_deflate_way way;
  unsigned char last;   /* the message's payload ends where `in` ends */
  unsigned char used;   /* there was payload in this message */
  unsigned char full;   /* the last call filled its room: there may be more without input */
  unsigned char final;  /* a block with BFINAL ended in this message */
  unsigned char at_end; /* ... and nothing came after it */
} lw_inflater;

/* The shelf must outlive it; a message may have `limit` bytes. Allocates nothing. */
void lw_inflater_init(lw_inflater *i, lw_deflate_shelf *shelf, lw_deflate_way way, uint64_t limit);
void lw_inflater_clear(lw_inflater *i);
/*
** The next n bytes (0 will do) of a message's payload, unmasked, cut wherever; `last`: there the message
** ends. They stay where they are until lw_inflater_next returns 0; only then may more be fed.
*/
void lw_inflater_feed(lw_inflater *i, const void *bytes, size_t n, int last);
/*
** Bytes of the message written to `to`; 0: it takes more payload, or after the last the message is whole.
** `room` is at least 1, but may be 0 once `limit` bytes were made, to see that it was all. Or:
** LW_ERR_PAYLOAD, the message is longer than that; LW_ERR_DEFLATE_DATA, this is no deflate data, or it
** refers to bytes it must not; LW_ERR_DEFLATE_CUT, it ends in the middle; LW_ERR_DEFLATE_TRAILING, what
** follows its final block is wrong in one of these ways; LW_ERR_MEMORY. What came before the mistake is
** handed out first, however the payload is cut, and the error stays. (But a reference past a window that
** was agreed to be smaller than 2^15 is sure to be noticed only from twice that window on.)
*/
long lw_inflater_next(lw_inflater *i, unsigned char *to, size_t room);

#pragma GCC visibility pop
#endif
