/*
** session.c -- one WebSocket conversation (RFC 6455): bytes in, events out.
** The only file that knows the closing handshake.
*/
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "mask.h"
#include "utf8.h"

/* The first piece of a message gets room for this much, however much was announced. */
#define MESSAGE_FIRST 1024
/* Of a long message, a fragment: what one read of a file and one write are worth. */
#define FRAGMENT ((size_t)64 * 1024)

/*
** Pongs queued before any output is asked for: more than a server has to say to one read full of pings. Past it only
** the last ping is answered, so that what one feed can make us hold is bounded.
*/
#define PONGS_AHEAD ((uint32_t)64 * 1024)

/* A compressed message's first room. */
#define SWOLLEN_FIRST 4096

/* A compressed message may be longer in frames than it is by this much, and this for each fragment. */
#define SQUEEZED_MORE 1024
#define SQUEEZED_FLUSH 16

#define RSV1 4

struct lw_codec {
  lw_deflate_params params;
  lw_deflate_options options;
  lw_deflater out;
  lw_inflater in;
};

void lw_session_init(lw_session *s, lw_role role, const lw_limits *limits, lw_pool *pool,
                     lw_entropy *entropy) {
  memset(s, 0, sizeof *s);
  s->role = role;
  s->state = LW_SESSION_OPEN;
  s->limits = limits;
  s->pool = pool;
  s->entropy = entropy;
}

static void drop_input(lw_session *s) {
  free(s->stash);
  s->stash = s->in = s->end = NULL;
  s->stashed = 0;
}

static void drop_message(lw_session *s) {
  free(s->message);
  s->message = NULL;
  s->message_used = s->message_capacity = 0;
}

static void drop_codec(lw_session *s) {
  if (!s->codec) return;
  lw_deflater_clear(&s->codec->out);
  lw_inflater_clear(&s->codec->in);
  free(s->codec);
  s->codec = NULL;
}

void lw_session_clear(lw_session *s) {
  drop_input(s);
  drop_message(s);
  drop_codec(s);
  lw_outgoing_clear(&s->out, s->pool);
}

int lw_session_extend(lw_session *s, lw_deflate_shelf *shelf, const lw_deflate_options *options,
                      const lw_deflate_params *params) {
  lw_codec *codec = malloc(sizeof *codec);
  if (!codec) return LW_ERR_MEMORY;
  codec->params = *params;
  codec->options = *options;
  lw_deflater_init(&codec->out, shelf, &codec->options, params->ours);
  lw_inflater_init(&codec->in, shelf, params->theirs, s->limits->max_payload);
  s->codec = codec;
  return 0;
}

const lw_deflate_params *lw_session_params(const lw_session *s) {
  return s->codec ? &s->codec->params : NULL;
}

/* ------------------------------------------------------------------ out */

/* A frame's header and payload written to `at`, masked if we are the client. Returns its length. */
static size_t put_frame(unsigned char *at, lw_frame *frame, const unsigned char *bytes) {
  size_t n = (size_t)frame->length;
  size_t used = lw_frame_encode(frame, at);
  if (frame->masked)
    lw_mask(at + used, bytes, n, frame->key, 0);
  else if (n > 0)
    memcpy(at + used, bytes, n);
  return used + n;
}

/* Writes a control frame to `at`. Returns its length or a negative lw_err. */
static int put_control(lw_session *s, unsigned char *at, lw_opcode opcode, const void *bytes,
                       size_t n) {
  lw_frame frame = {.length = n, .opcode = (unsigned char)opcode, .fin = 1};
  if (s->role == LW_CLIENT) {
    int err = lw_entropy_take(s->entropy, frame.key, 4);
    if (err < 0) return err;
    frame.masked = 1;
  }
  return (int)put_frame(at, &frame, bytes);
}

static int queue_control(lw_session *s, lw_opcode opcode, const void *bytes, size_t n) {
  unsigned char frame[LW_FRAME_MAX + LW_CONTROL_MAX];
  int used = put_control(s, frame, opcode, bytes, n);
  return used < 0 ? used : lw_buf_append(lw_outgoing_control(&s->out), s->pool, frame, (size_t)used);
}

/* Some of what was shown has not gone: the peer does not take what we send, for now. */
static int is_blocked(const lw_session *s) {
  return s->out.sent < s->shown;
}

/* Of many pings that come while nothing can be sent, only the last is answered (5.5.3): one pong at most waits. */
static int queue_pong(lw_session *s) {
  uint64_t before = lw_outgoing_end(&s->out);
  int err;
  if (!s->pong_due || (is_blocked(s) && s->pong_end > s->out.sent)) return 0;
  err = queue_control(s, LW_PONG, s->pong, s->pong_length);
  if (err < 0) return err;
  s->pong_due = 0;
  s->pong_end = lw_outgoing_end(&s->out);
  s->pongs += (uint32_t)(s->pong_end - before);
  return 0;
}

/* Another ping has come. The one before it gets an answer of its own unless those pile up. */
static void take_ping(lw_session *s, const unsigned char *bytes, size_t n) {
  if (!is_blocked(s) && s->pongs < PONGS_AHEAD) (void)queue_pong(s); /* without memory only the last is answered */
  memcpy(s->pong, bytes, n);
  s->pong_length = (unsigned char)n;
  s->pong_due = 1;
}

/* A ping is answered before what is sent after it (5.5.2: "as soon as is practical"); without memory it stays due. */
static void pong_first(lw_session *s) {
  (void)queue_pong(s);
}

static size_t frame_count(const lw_limits *limits, size_t n) {
  if (limits->fragment_size == 0 || n <= limits->fragment_size) return 1;
  return (size_t)((n - 1) / limits->fragment_size + 1);
}

/*
** Writes a message as `frames` frames, their headers carrying the keys given (NULL: not
** masked), the first one these reserved bits. Returns the bytes written.
*/
static size_t put_message(unsigned char *at, const lw_limits *limits, lw_opcode opcode, unsigned rsv,
                          size_t frames, unsigned char (*keys)[4], const unsigned char *bytes,
                          size_t n) {
  unsigned char *start = at;
  for (size_t i = 0; i < frames; i++) {
    int last = i + 1 == frames;
    size_t piece = last ? n : (size_t)limits->fragment_size;
    lw_frame frame = {.length = piece, .fin = (unsigned char)last, .masked = keys != NULL};
    frame.opcode = (unsigned char)(i == 0 ? opcode : LW_CONTINUATION);
    frame.rsv = (unsigned char)(i == 0 ? rsv : 0);
    if (keys) memcpy(frame.key, keys[i], 4);
    at += put_frame(at, &frame, bytes);
    bytes += piece;
    n -= piece;
  }
  return (size_t)(at - start);
}

/* Room for a message of n bytes in `frames` frames; 0 when that is more than a size_t can say. */
static size_t message_room(size_t n, size_t frames) {
  if (frames > (SIZE_MAX - n) / LW_FRAME_MAX) return 0;
  return n + frames * LW_FRAME_MAX;
}

static int take_keys(lw_session *s, unsigned char (*keys)[4], size_t count) {
  for (size_t i = 0; i < count; i++) {
    int err = lw_entropy_take(s->entropy, keys[i], 4);
    if (err < 0) return err;
  }
  return 0;
}

/* Queues a payload that stands for `content` bytes. */
static int queue_message(lw_session *s, lw_opcode opcode, unsigned rsv, const void *bytes, size_t n,
                         size_t content) {
  unsigned char one[1][4];
  unsigned char(*keys)[4] = NULL, (*many)[4] = NULL;
  size_t frames = frame_count(s->limits, n);
  size_t room = message_room(n, frames);
  lw_buf *out = lw_outgoing_tail(&s->out);
  unsigned char *at;
  int err = 0;

  if (room == 0) return LW_ERR_MEMORY;
  if (s->role == LW_CLIENT) {
    if (frames > 1 && !(many = calloc(frames, 4))) return LW_ERR_MEMORY;
    keys = many ? many : one;
    err = take_keys(s, keys, frames);
  }
  if (err == 0 && !(at = lw_buf_reserve(out, s->pool, room))) err = LW_ERR_MEMORY;
  if (err == 0)
    lw_buf_commit(out, put_message(at, s->limits, opcode, rsv, frames, keys, bytes, n), content);
  free(many);
  return err;
}

int lw_session_send(lw_session *s, lw_opcode opcode, const void *bytes, size_t n, int compress) {
  lw_slice payload;
  int err;
  if (s->state != LW_SESSION_OPEN) return LW_ERR_CLOSED;
  pong_first(s);
  if (!compress || !s->codec || !lw_deflater_wants(&s->codec->out, n) ||
      lw_deflater_message(&s->codec->out, bytes, n, &payload) < 0) /* no memory for that: plain */
    return queue_message(s, opcode, 0, bytes, n, n);
  err = queue_message(s, opcode, RSV1, payload.bytes, payload.n, n);
  if (err < 0) lw_deflater_forget(&s->codec->out); /* the peer will not have seen it */
  lw_deflater_done(&s->codec->out);
  return err;
}

lw_chunk *lw_session_frame(lw_pool *pool, const lw_limits *limits, lw_opcode opcode, int compressed,
                           const void *bytes, size_t n) {
  size_t frames = frame_count(limits, n);
  size_t room = message_room(n, frames);
  lw_chunk *chunk = room ? lw_chunk_measured(pool, room) : NULL;
  if (chunk) chunk->used = put_message(chunk->bytes, limits, opcode, compressed ? RSV1 : 0, frames, NULL, bytes, n);
  return chunk;
}

int lw_session_share(lw_session *s, lw_chunk *chunk, size_t n, int compressed) {
  int err;
  if (s->state != LW_SESSION_OPEN) return LW_ERR_CLOSED;
  pong_first(s);
  err = lw_buf_share(lw_outgoing_tail(&s->out), chunk, n);
  if (err == 0 && compressed) lw_deflater_forget(&s->codec->out); /* the peer knows more than our context */
  return err;
}

int lw_session_begin(lw_session *s, lw_opcode opcode, uint64_t n) {
  uint64_t most = s->limits->fragment_size;
  if (s->state != LW_SESSION_OPEN) return LW_ERR_CLOSED;
  pong_first(s);
  if (most == 0 || most > FRAGMENT) most = FRAGMENT;
  return lw_outgoing_begin(&s->out, opcode, n, (size_t)most, s->role == LW_CLIENT);
}

size_t lw_session_wants(const lw_session *s) {
  return lw_outgoing_wants(&s->out);
}

unsigned char *lw_session_room(lw_session *s) {
  return lw_outgoing_room(&s->out, s->pool);
}

int lw_session_fill(lw_session *s) {
  unsigned char key[4];
  int err;
  if (s->role == LW_SERVER) return lw_outgoing_fill(&s->out, NULL);
  err = lw_entropy_take(s->entropy, key, 4);
  return err < 0 ? err : lw_outgoing_fill(&s->out, key);
}

void lw_session_forsake(lw_session *s) {
  lw_outgoing_forsake(&s->out);
}

int lw_session_ping(lw_session *s, const void *bytes, size_t n) {
  if (s->state != LW_SESSION_OPEN) return LW_ERR_CLOSED;
  if (n > LW_CONTROL_MAX) return LW_ERR_CONTROL_LENGTH;
  return queue_control(s, LW_PING, bytes, n);
}

/* No message will be sent or read any more. */
static void give_contexts_back(lw_session *s) {
  if (!s->codec) return;
  lw_deflater_forget(&s->codec->out);
  lw_inflater_clear(&s->codec->in);
}

/*
** Our Close frame, into the place kept for it. A ping that came before it is answered
** before it, however the bytes were cut; only without memory that is left out.
*/
static void put_close(lw_session *s, unsigned code, const void *reason, size_t n) {
  unsigned char body[LW_CONTROL_MAX];
  int used;
  give_contexts_back(s);
  if (s->last_length > 0) return;
  (void)queue_pong(s);
  s->pong_due = 0;
  if (n > LW_CLOSE_REASON_MAX) n = LW_CLOSE_REASON_MAX;
  body[0] = (unsigned char)(code >> 8);
  body[1] = (unsigned char)code;
  if (n > 0) memcpy(body + 2, reason, n);
  used = put_control(s, s->last, LW_CLOSE, body, code ? n + 2 : 0);
  /* Without a masking key nothing may be said any more: then the connection just ends. */
  s->last_length = (unsigned char)(used > 0 ? used : 0);
}

void lw_session_close(lw_session *s, unsigned code, const void *reason, size_t n) {
  if (s->state != LW_SESSION_OPEN) return;
  put_close(s, code, reason, n);
  s->state = LW_SESSION_CLOSING;
}

int lw_session_output(lw_session *s, lw_slice *slices, int max) {
  int err = queue_pong(s);
  int count;
  if (err < 0) return err;
  s->shown = lw_outgoing_end(&s->out);
  s->pongs = 0; /* these go, or we are blocked */
  count = lw_outgoing_slices(&s->out, slices, max);
  if (count < max && s->last_sent < s->last_length && lw_outgoing_ends(&s->out)) {
    slices[count].bytes = s->last + s->last_sent;
    slices[count].n = (size_t)(s->last_length - s->last_sent);
    count++;
  }
  return count;
}

void lw_session_sent(lw_session *s, size_t n) {
  size_t rest = n - lw_outgoing_went(&s->out, s->pool, n);
  s->out.sent += rest;
  if (s->out.first) s->out.apart += rest; /* it passes messages that will never go: none of these is reached by it */
  s->last_sent = (unsigned char)(s->last_sent + rest);
}

int lw_session_pending(const lw_session *s) {
  return lw_outgoing_pending(&s->out) || s->last_sent < s->last_length || s->pong_due;
}

size_t lw_session_held(const lw_session *s) {
  return lw_outgoing_held(&s->out);
}

uint64_t lw_session_buffered(const lw_session *s) {
  return lw_outgoing_held(&s->out) + lw_outgoing_awaited(&s->out);
}

/* ------------------------------------------------------------------- in */

void lw_session_feed(lw_session *s, unsigned char *bytes, size_t n) {
  s->in = bytes;
  s->end = bytes + n;
  s->stashed = 0; /* a stash that is used up stays for the last event from it */
}

int lw_session_hungry(const lw_session *s) {
  return s->in == s->end;
}

int lw_session_between(const lw_session *s) {
  if (s->state >= LW_SESSION_CLOSED) return 1;
  return s->in == s->end && !s->in_frame && s->header_used == 0 && s->in_message == 0;
}

int lw_session_stash(lw_session *s) {
  size_t n = (size_t)(s->end - s->in);
  unsigned char *copy;
  if (s->stashed || n == 0) return 0;
  if (!(copy = malloc(n))) return LW_ERR_MEMORY;
  memcpy(copy, s->in, n);
  free(s->stash);
  s->stash = s->in = copy;
  s->end = copy + n;
  s->stashed = 1;
  return 0;
}

void lw_session_break(lw_session *s, int err) {
  const char *why = lw_strerror(err);
  if (s->out.first && !s->out.forsaken) s->last_length = 0; /* a Close frame that waits behind what will not come */
  lw_outgoing_forsake(&s->out);
  put_close(s, (unsigned)lw_err_close_code(err), why, strlen(why));
  s->state = LW_SESSION_FAILED;
}

/* The peer broke the protocol (or we cannot go on): tell it why and read no more. */
static int fail(lw_session *s, int err, lw_event *event) {
  event->kind = LW_EVENT_FAILURE;
  event->error = err;
  event->code = lw_err_close_code(err);
  lw_session_break(s, err);
  drop_input(s);
  drop_message(s);
  return 1;
}

/* RSV1 says that a message is compressed, on its first frame (RFC 7692, 6); the others have no meaning. */
static int has_wrong_rsv(const lw_session *s, const lw_frame *frame) {
  int begins = frame->opcode == LW_TEXT || frame->opcode == LW_BINARY;
  return frame->rsv != 0 && !(frame->rsv == RSV1 && s->codec && begins);
}

/* What the first two bytes of a frame already show, beyond what frame.c refuses. */
static int check_start(const lw_session *s, const lw_frame *frame) {
  if (has_wrong_rsv(s, frame)) return LW_ERR_RSV;
  if (s->role == LW_SERVER && !frame->masked) return LW_ERR_UNMASKED;
  if (s->role == LW_CLIENT && frame->masked) return LW_ERR_MASKED;
  if (frame->opcode >= LW_CLOSE) return 0;
  if (frame->opcode == LW_CONTINUATION) return s->in_message ? 0 : LW_ERR_CONTINUATION;
  return s->in_message ? LW_ERR_INTERLEAVED : 0;
}

/*
** How long a message may be in frames so far. What cannot be compressed grows by an eighth at most
** (a fixed code's nine bits for a byte), by what its blocks' heads take, and in each fragment by a flush.
*/
static uint64_t most_in_frames(const lw_session *s) {
  uint64_t most = s->limits->max_payload, more = most / 8 + SQUEEZED_MORE + SQUEEZED_FLUSH * s->fragments;
  return s->compressed && most < UINT64_MAX - more ? most + more : most;
}

/* The limits, before any memory is taken for the payload. */
static int check_size(const lw_session *s, const lw_frame *frame) {
  uint64_t before = s->compressed ? s->squeezed : s->message_used, most = most_in_frames(s);
  if (s->fragments > s->limits->max_fragments) return LW_ERR_FRAGMENTS;
  if (frame->length > most || before > most - frame->length) return LW_ERR_PAYLOAD;
  return 0;
}

/*
** A frame's header from the input: 1 when it is all here, 0 when bytes are missing (those
** that came are kept), or a negative lw_err. The order of the checks is that of the bytes,
** so that slicing never changes the reaction.
*/
static int read_header(lw_session *s) {
  size_t here = (size_t)(s->end - s->in);
  size_t kept = s->header_used, n = here;
  const unsigned char *bytes = s->in;
  int used, err;

  if (kept > 0) {
    if (n > LW_FRAME_MAX - kept) n = LW_FRAME_MAX - kept;
    memcpy(s->header + kept, s->in, n);
    bytes = s->header;
    n += kept;
  }
  used = lw_frame_decode(&s->frame, bytes, n);
  if (n >= 2 && (used >= 0 || used == LW_ERR_LENGTH_FORM || used == LW_ERR_LENGTH_RANGE)) {
    if ((err = check_start(s, &s->frame)) < 0) return err;
  }
  if (used < 0) return used;
  if (used == 0) { /* fewer than LW_FRAME_MAX bytes in all */
    if (kept == 0) memcpy(s->header, s->in, n);
    s->header_used = (unsigned char)n;
    s->in = s->end;
    return 0;
  }
  s->in += (size_t)used - kept;
  s->header_used = 0;
  return 1;
}

/* A header is known: opens the frame. 0 or a negative lw_err. */
static int open_frame(lw_session *s) {
  const lw_frame *frame = &s->frame;
  s->in_frame = 1;
  s->left = frame->length;
  s->control_used = 0;
  if (frame->opcode >= LW_CLOSE) return 0;
  if (frame->opcode != LW_CONTINUATION) {
    s->in_message = frame->opcode;
    s->compressed = frame->rsv == RSV1;
    s->squeezed = 0;
    s->fragments = 0;
    s->utf8 = LW_UTF8_ACCEPT;
  }
  if (s->state != LW_SESSION_OPEN) return 0; /* it will be skipped, of whatever size */
  s->fragments++;
  return check_size(s, frame);
}

/* Unmasks n bytes that belong at the place the frame has come to, and counts them. */
static void unmask(lw_session *s, unsigned char *bytes, size_t n) {
  size_t offset = (size_t)((s->frame.length - s->left) & 3);
  if (s->frame.masked) lw_mask(bytes, bytes, n, s->frame.key, offset);
  s->left -= n;
}

/* n more bytes of a text: still UTF-8? And, at the end of the message, between two characters? */
static int check_text(lw_session *s, const unsigned char *bytes, size_t n) {
  if (s->in_message != LW_TEXT) return 0;
  s->utf8 = lw_utf8_feed(s->utf8, bytes, n);
  if (s->utf8 == LW_UTF8_REJECT) return LW_ERR_UTF8;
  if (s->left == 0 && s->frame.fin && s->utf8 != LW_UTF8_ACCEPT) return LW_ERR_UTF8;
  return 0;
}

/*
** Room for `more` bytes behind the message so far: doubles with what has arrived, up to
** where the message must end.
*/
static int grow_message(lw_session *s, size_t more) {
  size_t need = s->message_used + more, capacity = s->message_capacity;
  uint64_t most = s->frame.fin ? (uint64_t)s->message_used + s->left : s->limits->max_payload;
  unsigned char *grown;
  if (need <= capacity) return 0;
  capacity = capacity ? capacity * 2 : MESSAGE_FIRST;
  if (capacity > most) capacity = (size_t)most;
  if (capacity < need) capacity = need;
  if (!(grown = realloc(s->message, capacity))) return LW_ERR_MEMORY;
  s->message = grown;
  s->message_capacity = capacity;
  return 0;
}

/* The frame is complete: 1 if that completes a message. */
static int end_data(lw_session *s, lw_event *event, const unsigned char *bytes, size_t n) {
  s->in_frame = 0;
  if (!s->frame.fin) return 0;
  event->kind = LW_EVENT_MESSAGE;
  event->binary = s->in_message == LW_BINARY;
  event->bytes = bytes;
  event->n = n;
  s->in_message = 0;
  return 1;
}

/* Payload of a data frame that comes while we are closing: only its end matters. */
static int skip_data(lw_session *s) {
  size_t here = (size_t)(s->end - s->in);
  size_t n = here < s->left ? here : (size_t)s->left;
  s->in += n;
  s->left -= n;
  if (s->left > 0) return 0;
  s->in_frame = 0;
  if (s->frame.fin) s->in_message = 0;
  return 0;
}

/* Room for more of a compressed message: doubles with what has come out, up to the limit. */
static int grow_swollen(lw_session *s) {
  size_t capacity = s->message_capacity ? s->message_capacity * 2 : SWOLLEN_FIRST;
  unsigned char *grown;
  if (s->message_used < s->message_capacity) return 0;
  if (capacity > s->limits->max_payload) capacity = (size_t)s->limits->max_payload;
  if (capacity <= s->message_capacity) return 0; /* all that may come has come: whether it was all, will be seen */
  if (!(grown = realloc(s->message, capacity))) return LW_ERR_MEMORY;
  s->message = grown;
  s->message_capacity = capacity;
  return 0;
}

/* n bytes that came out of a compressed message: still UTF-8, if it is a text? */
static int check_swollen(lw_session *s, const unsigned char *bytes, size_t n) {
  if (s->in_message == LW_TEXT) s->utf8 = lw_utf8_feed(s->utf8, bytes, n);
  return s->utf8 == LW_UTF8_REJECT ? LW_ERR_UTF8 : 0;
}

/* All that comes out of what was fed, behind what came before. 0 or a negative lw_err. */
static int swell(lw_session *s) {
  for (;;) {
    long got;
    unsigned char *to;
    int err = grow_swollen(s);
    if (err < 0) return err;
    to = s->message ? s->message + s->message_used : NULL; /* none, if no message may have a byte */
    got = lw_inflater_next(&s->codec->in, to, s->message_capacity - s->message_used);
    if (got <= 0) return (int)got;
    if ((err = check_swollen(s, to, (size_t)got)) < 0) return err;
    s->message_used += (size_t)got;
  }
}

/* A message that comes whole needs no memory of its own, unless it is long. 1 if it was `n` bytes at `*bytes`. */
static int swell_at_once(lw_session *s, const unsigned char **bytes, size_t *n) {
  unsigned char *space = lw_deflate_shelf_space(s->codec->in.shelf);
  long got = 0;
  int err;
  *bytes = space;
  *n = 0;
  if (!space) return LW_ERR_MEMORY;
  while (*n < LW_DEFLATE_SPACE && (got = lw_inflater_next(&s->codec->in, space + *n, LW_DEFLATE_SPACE - *n)) > 0) {
    if ((err = check_swollen(s, space + *n, (size_t)got)) < 0) return err;
    *n += (size_t)got;
  }
  if (got <= 0) return got < 0 ? (int)got : 1;
  drop_message(s);
  if (!(s->message = malloc(*n))) return LW_ERR_MEMORY; /* longer, it may be */
  memcpy(s->message, space, *n);
  s->message_used = s->message_capacity = *n;
  return 0;
}

/* Payload of a compressed message's frame: as read_data. */
static int read_squeezed(lw_session *s, lw_event *event) {
  size_t here = (size_t)(s->end - s->in);
  size_t n = here < s->left ? here : (size_t)s->left;
  unsigned char *bytes = s->in;
  int first = s->squeezed == 0, last, err = 0;
  const unsigned char *whole = NULL;
  size_t swollen = 0;
  s->in += n;
  unmask(s, bytes, n);
  s->squeezed += n;
  last = s->left == 0 && s->frame.fin;
  lw_inflater_feed(&s->codec->in, bytes, n, last);
  if (first && last) err = swell_at_once(s, &whole, &swollen);
  if (err == 0) err = swell(s);
  if (err < 0 || s->left > 0) return err;
  if (last && s->utf8 != LW_UTF8_ACCEPT) return LW_ERR_UTF8;
  if (err > 0) return end_data(s, event, whole, swollen);
  s->delivered = s->frame.fin;
  return end_data(s, event, s->message, s->message_used);
}

/* Payload of a data frame: 1 with an event, 0 to go on, or a negative lw_err. */
static int read_data(lw_session *s, lw_event *event) {
  size_t here = (size_t)(s->end - s->in);
  size_t n = here < s->left ? here : (size_t)s->left;
  unsigned char *bytes = s->in;
  int whole = n == s->left && s->frame.fin && s->message_used == 0;
  int err;

  if (s->state != LW_SESSION_OPEN) return skip_data(s);
  if (s->compressed) return read_squeezed(s, event);
  if (!whole && n > 0 && grow_message(s, n) < 0) return LW_ERR_MEMORY;
  s->in += n;
  unmask(s, bytes, n);
  if ((err = check_text(s, bytes, n)) < 0) return err;
  if (whole) return end_data(s, event, bytes, n);
  if (n > 0 && bytes != s->message + s->message_used)
    memcpy(s->message + s->message_used, bytes, n);
  s->message_used += n;
  if (s->left > 0) return 0;
  s->delivered = s->frame.fin;
  return end_data(s, event, s->message, s->message_used);
}

/* The peer's Close frame (5.5.1, 7.1.5). */
static int end_close(lw_session *s, lw_event *event, const unsigned char *bytes, size_t n) {
  unsigned code = n >= 2 ? (unsigned)bytes[0] << 8 | bytes[1] : 0;
  if (n == 1) return LW_ERR_CLOSE_LENGTH;
  if (n >= 2 && !lw_close_code_valid(code)) return LW_ERR_CLOSE_CODE;
  if (n > 2 && !lw_utf8_valid(bytes + 2, n - 2)) return LW_ERR_CLOSE_REASON;
  event->kind = LW_EVENT_CLOSE;
  event->code = code ? (int)code : 1005;
  event->bytes = n > 2 ? bytes + 2 : (const unsigned char *)"";
  event->n = n > 2 ? n - 2 : 0;
  lw_outgoing_forsake(&s->out);               /* who has closed reads no more of it */
  put_close(s, code, event->bytes, event->n); /* code and reason come back, as people's peers expect */
  s->state = LW_SESSION_CLOSED;
  drop_message(s);
  return 1;
}

static int end_control(lw_session *s, lw_event *event, const unsigned char *bytes, size_t n) {
  s->in_frame = 0;
  if (s->frame.opcode == LW_CLOSE) return end_close(s, event, bytes, n);
  event->kind = s->frame.opcode == LW_PING ? LW_EVENT_PING : LW_EVENT_PONG;
  event->bytes = bytes;
  event->n = n;
  if (s->frame.opcode == LW_PING && s->state == LW_SESSION_OPEN) take_ping(s, bytes, n);
  return 1;
}

/* Payload of a control frame: 1 with an event, 0 to go on, or a negative lw_err. */
static int read_control(lw_session *s, lw_event *event) {
  size_t here = (size_t)(s->end - s->in);
  size_t n = here < s->left ? here : (size_t)s->left;
  unsigned char *bytes = s->control;
  /* Copied even when whole: 125 bytes cost nothing, and the event outlives the input. */
  if (n > 0) memcpy(bytes + s->control_used, s->in, n);
  s->in += n;
  unmask(s, bytes + s->control_used, n);
  s->control_used = (unsigned char)(s->control_used + n);
  if (s->left > 0) return 0;
  return end_control(s, event, bytes, s->control_used);
}

/* One step through the input: 1 with an event, 0 to go on, or a negative lw_err. */
static int advance(lw_session *s, lw_event *event) {
  if (!s->in_frame) {
    int got = read_header(s);
    int err = got > 0 ? open_frame(s) : got;
    if (err < 0 || got == 0) return err;
  }
  return s->frame.opcode >= LW_CLOSE ? read_control(s, event) : read_data(s, event);
}

/* The message that was handed out is used up; its memory stays while more may follow at once. */
static void forget_delivered(lw_session *s) {
  if (!s->delivered) return;
  s->delivered = 0;
  s->message_used = 0;
  if (s->message_capacity > MESSAGE_FIRST) drop_message(s);
}

int lw_session_next(lw_session *s, lw_event *event) {
  memset(event, 0, sizeof *event);
  forget_delivered(s);
  while (s->state < LW_SESSION_CLOSED && s->in < s->end) {
    int got = advance(s, event);
    if (got < 0) return fail(s, got, event);
    if (got > 0) return 1;
  }
  drop_input(s);
  if (s->message_used == 0 || s->state != LW_SESSION_OPEN) drop_message(s);
  return 0;
}

unsigned char *lw_session_space(lw_session *s, size_t least, size_t most, size_t *n) {
  size_t room;
  if (s->state != LW_SESSION_OPEN || s->frame.opcode >= LW_CLOSE) return NULL;
  /* `left` is 0 between frames; in a frame's first bytes a short message may yet come whole */
  if (s->in < s->end || s->left < least || s->message_used == 0 || s->compressed) return NULL;
  if (grow_message(s, least < most ? least : most) < 0) return NULL;
  room = s->message_capacity - s->message_used;
  if (room > s->left) room = (size_t)s->left;
  *n = room < most ? room : most;
  return s->message + s->message_used;
}

void lw_session_filled(lw_session *s, size_t n) {
  /* Parsed like any input, only that it already lies where read_data would copy it. */
  unsigned char *bytes = s->message + s->message_used;
  lw_session_feed(s, bytes, n);
}
