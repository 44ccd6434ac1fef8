/*
** session.h -- one WebSocket conversation (RFC 6455): bytes in, events out.
**
** Knows no descriptor, no clock and no Lua. What arrived is fed, what it means is pulled
** with lw_session_next, what must be sent is pulled with lw_session_output. Pings are
** answered, Close frames are answered, and a peer that breaks the protocol is told so in
** a Close frame, all by itself. How long to wait for the peer is the owner's business.
*/
#ifndef LW_SESSION_H
#define LW_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "crypt.h"
#include "deflate.h"
#include "err.h"
#include "frame.h"
#include "outgoing.h"

#pragma GCC visibility push(hidden)

typedef enum lw_role { LW_CLIENT, LW_SERVER } lw_role;

/* What a peer may make us hold, and how we send. */
typedef struct lw_limits {
  uint64_t max_payload;   /* bytes of one message, all fragments together */
  uint64_t max_fragments; /* of one message, empty ones included */
  uint64_t fragment_size; /* messages longer than this go in fragments; 0: never */
} lw_limits;

typedef enum lw_session_state {
  LW_SESSION_OPEN,    /* both sides may send */
  LW_SESSION_CLOSING, /* our Close frame is queued or sent; the peer still owes one */
  LW_SESSION_CLOSED,  /* both Close frames are queued, sent or here; the connection may end */
  LW_SESSION_FAILED   /* the peer broke the protocol and will be told; nothing more is read */
} lw_session_state;

typedef enum lw_event_kind {
  LW_EVENT_MESSAGE, /* binary, bytes */
  LW_EVENT_PING,    /* bytes; it is answered by itself, unless we are closing */
  LW_EVENT_PONG,    /* bytes */
  LW_EVENT_CLOSE,   /* code (1005: none came), bytes is the reason; the last event */
  LW_EVENT_FAILURE  /* error; code: our Close frame's, unless one went before; the last event */
} lw_event_kind;

typedef struct lw_event {
  lw_event_kind kind;
  int binary;
  int code;
  int error;
  const unsigned char *bytes; /* until the next call of lw_session_next (of any session of the loop), _stash or _clear */
  size_t n;
} lw_event;

typedef struct lw_codec lw_codec; /* permessage-deflate, where that was agreed */

/*
** Everything here is the session's own; owners embed it and use the functions below. What
** every frame touches comes first.
*/
typedef struct lw_session {
  lw_role role;
  lw_session_state state;
  const lw_limits *limits;
  lw_pool *pool;
  lw_entropy *entropy;

  unsigned char *in, *end; /* fed and not parsed yet */
  unsigned char *stash;    /* a copy of ours, in which they lie when `stashed` */
  unsigned char stashed;
  unsigned char header_used;
  unsigned char in_frame;   /* the header is known, payload is awaited */
  unsigned char in_message; /* LW_TEXT or LW_BINARY while fragments are awaited, else 0 */
  unsigned char compressed; /* ... of a message that is */
  unsigned char delivered;  /* the last event was the message in `message` */
  unsigned char control_used;
  unsigned char pong_due;    /* a ping awaits its answer */
  unsigned char pong_length;
  unsigned char last_length, last_sent;
  uint32_t utf8;      /* of the text message so far */
  lw_frame frame;
  uint64_t left;      /* payload bytes of the frame still to come */

  lw_outgoing out;
  uint64_t pong_end; /* where in the stream the last queued pong ends */
  uint64_t shown;    /* where what lw_session_output told last ends */
  uint32_t pongs;    /* bytes of pongs queued since then */

  lw_codec *codec;    /* NULL: none */
  uint64_t squeezed;  /* of a compressed message so far: its bytes in frames */
  uint64_t fragments; /* of the message so far */
  unsigned char *message; /* of a message that did not come in one piece */
  size_t message_used, message_capacity;

  unsigned char header[LW_FRAME_MAX];     /* of a frame whose header is not all here */
  unsigned char control[LW_CONTROL_MAX];  /* of a control frame that did not come in one piece */
  unsigned char pong[LW_CONTROL_MAX];
  unsigned char last[LW_FRAME_MAX + LW_CONTROL_MAX]; /* our Close frame: behind all of `out` */
} lw_session;

/* limits, pool and entropy must outlive the session. Allocates nothing. */
void lw_session_init(lw_session *s, lw_role role, const lw_limits *limits, lw_pool *pool,
                     lw_entropy *entropy);
void lw_session_clear(lw_session *s);
/*
** permessage-deflate was agreed on (RFC 7692), before the first frame. The options are copied, the
** shelf must outlive the session. 0 or LW_ERR_MEMORY.
*/
int lw_session_extend(lw_session *s, lw_deflate_shelf *shelf, const lw_deflate_options *options,
                      const lw_deflate_params *params);
/* What was agreed on; NULL: nothing. */
const lw_deflate_params *lw_session_params(const lw_session *s);

/* --- in --- */

/*
** Gives what has arrived. The bytes are changed (unmasked in place) and must stay where
** they are until lw_session_next returns 0 or lw_session_stash was called. Only when
** lw_session_hungry.
*/
void lw_session_feed(lw_session *s, unsigned char *bytes, size_t n);
/* 1 when everything fed has been parsed. */
int lw_session_hungry(const lw_session *s);
/* The next event: 1, or 0 when it takes more bytes. send, ping, close may be called in between. */
int lw_session_next(lw_session *s, lw_event *event);
/* Copies what is not parsed yet, so that the caller's bytes may go. 0 or LW_ERR_MEMORY. */
int lw_session_stash(lw_session *s);

/*
** While a long payload is under way: room for its bytes in the message itself, to be
** received into directly. NULL when the bytes should go through feed. At least `least`
** (1 or more) bytes must still be missing, or it is not worth it; `most` (1 or more)
** bounds *n, which is never 0.
*/
unsigned char *lw_session_space(lw_session *s, size_t least, size_t most, size_t *n);
/* n bytes of that room were filled. Then ask lw_session_next. */
void lw_session_filled(lw_session *s, size_t n);
/* 1 between two messages (or when no more are read): an end here cuts none. */
int lw_session_between(const lw_session *s);

/* --- out --- */

/*
** Queues one message (opcode LW_TEXT, which the caller knows to be UTF-8, or LW_BINARY),
** in fragments if it is longer than fragment_size. With `compress` it is compressed where that
** was agreed and is worth it. 0, LW_ERR_CLOSED unless the session is open, LW_ERR_MEMORY,
** LW_ERR_RANDOM; on failure nothing is queued.
*/
int lw_session_send(lw_session *s, lw_opcode opcode, const void *bytes, size_t n, int compress);
/*
** A server's message, framed once for many sessions; the caller's reference. `compressed`: the
** bytes are the payload that lw_deflater_message made. NULL: no memory.
*/
lw_chunk *lw_session_frame(lw_pool *pool, const lw_limits *limits, lw_opcode opcode, int compressed,
                           const void *bytes, size_t n);
/*
** Queues such a chunk, n bytes of content, by reference. A compressed one only where that was
** agreed, with a window of at least its bits. As lw_session_send.
*/
int lw_session_share(lw_session *s, lw_chunk *chunk, size_t n, int compressed);
/*
** Queues a message of n (1 or more) bytes whose payload comes while it is sent, in fragments. As lw_session_send.
** While lw_session_wants tells a number, lw_session_room has room for just so many bytes (NULL: no
** memory) and lw_session_fill takes them: 1 if the message is whole, 0, or a negative lw_err.
*/
int lw_session_begin(lw_session *s, lw_opcode opcode, uint64_t n);
size_t lw_session_wants(const lw_session *s);
unsigned char *lw_session_room(lw_session *s);
int lw_session_fill(lw_session *s);
/* They cannot be had: the peer is told in a Close frame, LW_SESSION_FAILED. The last event's bytes stay. */
void lw_session_break(lw_session *s, int err);
/* Waits for no payload any more: what is ready goes, then the Close frame. */
void lw_session_forsake(lw_session *s);
/* n <= 125 bytes. As lw_session_send. */
int lw_session_ping(lw_session *s, const void *bytes, size_t n);
/*
** Queues our Close frame behind everything queued so far; code 0: without one. Needs no
** memory, so it cannot fail; when a Close frame was queued before, nothing happens. From
** now on data that arrives is not delivered any more.
*/
void lw_session_close(lw_session *s, unsigned code, const void *reason, size_t n);

/*
** What is to be sent now, as at most `max` slices, valid until the session is used
** otherwise. Returns how many, or a negative lw_err.
*/
int lw_session_output(lw_session *s, lw_slice *slices, int max);
/* The first n of these bytes have gone. */
void lw_session_sent(lw_session *s, size_t n);
/* 1 while lw_session_output has something. */
int lw_session_pending(const lw_session *s);
/* Content in memory and not gone yet, as exact as lw_buf_content. */
size_t lw_session_held(const lw_session *s);
/* The same with the payload that is still to come: bufferedAmount. */
uint64_t lw_session_buffered(const lw_session *s);

#pragma GCC visibility pop
#endif
