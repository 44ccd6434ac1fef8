/*
** stream.c -- the bytes of a connection: straight from its descriptor, or through TLS.
*/
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLICES 64 /* in one write: 64 corks are 1 MiB */

/*
** Plain bytes sealed at once: what is sealed lies in memory twice until it has gone, and a
** peer who does not read should not double what is queued for him.
*/
#define BATCH ((size_t)64 * 1024)

/*
** Bytes waiting that nobody who reads would leave waiting: a batch, and then only answers to
** what the peer asks of TLS itself (new keys, a renegotiation that is refused). Past it
** nothing more is read: he could make us hold any number of them.
*/
#define UNREAD_MAX (4 * BATCH)

/* A record ends with a slice, or is full: so many come of a batch. */
#define RECORDS (SLICES + (int)(BATCH / LW_TLS_RECORD) + 1)

/* The records of a batch: how many bytes must leave until each has gone, and what is in it. */
typedef struct lw_stream_marks {
  int first, count;
  size_t gone; /* bytes that have left since it was sealed */
  struct {
    size_t end, plain;
  } records[RECORDS];
} lw_stream_marks;

void lw_stream_cover(lw_stream *s, lw_tls *tls) {
  s->below = s->tls;
  s->tls = tls;
}

void lw_stream_clear(lw_stream *s) {
  lw_tls_free(s->tls);
  lw_tls_free(s->below);
  free(s->marks);
  memset(s, 0, sizeof *s);
}

const char *lw_stream_why(const lw_stream *s) {
  if (s->below && lw_tls_over(s->below) == LW_ERR_TLS) return lw_tls_why(s->below);
  return s->tls ? lw_tls_why(s->tls) : NULL;
}

/* ------------------------------------------------------------------ reading */

static long receive(lw_loop *loop, int fd, unsigned char *bytes, size_t room) {
  ssize_t got = loop->sys->recv(fd, bytes, room);
  if (got > 0) return (long)got;
  if (got == 0) return LW_ERR_EOF;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : LW_ERR_SYS(errno);
}

static void touch(lw_stream *s, const lw_loop *loop) {
  lw_tls_touch(s->tls, loop->now);
  if (s->below) lw_tls_touch(s->below, loop->now);
}

/* Sealed and not gone, in all layers: the one next to the descriptor has answers of its own to give. */
static size_t unread(const lw_stream *s) {
  return lw_tls_output(s->tls)->length + (s->below ? lw_tls_output(s->below)->length : 0);
}

/* The descriptor's end: in the middle of a handshake it is a failure, with its own words. */
static long read_end(lw_stream *s, long err) {
  lw_tls *layer = s->below && !lw_tls_is_ready(s->below) ? s->below : s->tls;
  return lw_tls_shaking(layer) ? lw_tls_cut(layer) : err;
}

int lw_stream_has_more(const lw_stream *s) {
  return (s->tls && lw_tls_over(s->tls) < 0) || (s->below && lw_tls_over(s->below) < 0);
}

long lw_stream_read(lw_stream *s, lw_loop *loop, int fd, unsigned char *bytes, size_t room, size_t *wire) {
  unsigned char *cipher, *between;
  long got;
  *wire = 0;
  if (!s->tls) {
    got = receive(loop, fd, bytes, room);
    if (got > 0) *wire = (size_t)got;
    return got;
  }
  if (lw_tls_over(s->tls) < 0) return lw_tls_over(s->tls);
  if (unread(s) > UNREAD_MAX) return LW_ERR_UNREAD;
  if (!(between = lw_loop_receive(loop))) return LW_ERR_MEMORY;
  between += LW_TLS_HEAD; /* each layer writes before what it reads */
  cipher = s->below ? between + LW_TLS_HEAD : between;
  if (s->below && lw_tls_over(s->below) < 0) return read_end(s, lw_tls_over(s->below));
  got = receive(loop, fd, cipher, LW_RECEIVE_SIZE);
  if (got < 0) return read_end(s, got);
  if (got == 0) return 0;
  touch(s, loop);
  *wire = (size_t)got;
  if (s->below) got = lw_tls_open(s->below, cipher, (size_t)got, between, LW_RECEIVE_SIZE + LW_TLS_HEAD);
  if (got < 0) return read_end(s, got);
  got = lw_tls_open(s->tls, between, (size_t)got, bytes, room);
  if (got == 0 && s->below && lw_tls_over(s->below) < 0) return read_end(s, lw_tls_over(s->below)); /* nothing will wake us */
  return got;
}

/* ------------------------------------------------------------------ writing */

/* The system cannot take anything now, and may later. */
static int is_for_now(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ENOBUFS || error == ENOMEM;
}

static int send_slices(lw_loop *loop, int fd, const lw_slice *slices, int count, size_t *sent) {
  struct iovec parts[SLICES];
  size_t total = 0;
  ssize_t went;
  *sent = 0;
  for (int i = 0; i < count; i++) {
    parts[i].iov_base = (void *)(uintptr_t)slices[i].bytes;
    parts[i].iov_len = slices[i].n;
    total += slices[i].n;
  }
  went = loop->sys->sendv(fd, parts, count);
  if (went < 0) return is_for_now(errno) ? LW_STREAM_FULL : LW_ERR_SYS(errno);
  *sent = (size_t)went;
  return *sent == total ? LW_STREAM_WENT : LW_STREAM_FULL;
}

/* The descriptor's queue goes to the system. */
static int drain(lw_loop *loop, int fd, lw_buf *out, size_t *wire) {
  lw_slice slices[SLICES];
  int verdict = LW_STREAM_WENT;
  while (verdict == LW_STREAM_WENT && out->length > 0) {
    size_t sent;
    verdict = send_slices(loop, fd, slices, lw_buf_slices(out, slices, SLICES), &sent);
    lw_buf_consume(out, &loop->pool, sent);
    *wire += sent;
  }
  return verdict;
}

/* The queue that goes to the descriptor. */
static lw_buf *lowest(const lw_stream *s) {
  return lw_tls_output(s->below ? s->below : s->tls);
}

/* What the upper layer has to send goes into the lower one. 0 or a negative lw_err. */
static int pass_down(lw_stream *s, lw_loop *loop) {
  lw_buf *out = lw_tls_output(s->tls);
  int err = out->length > 0 ? lw_tls_reserve(s->below, out->length) : 0;
  while (err == 0 && out->length > 0) {
    lw_slice slice;
    lw_buf_slices(out, &slice, 1);
    err = lw_tls_seal(s->below, slice.bytes, slice.n);
    lw_buf_consume(out, &loop->pool, slice.n);
  }
  return err;
}

/* One record, through all layers. 0 or a negative lw_err. */
static int seal_record(lw_stream *s, lw_loop *loop, const unsigned char *bytes, size_t n, lw_stream_marks *marks) {
  int err = lw_tls_seal(s->tls, bytes, n);
  if (err == 0 && s->below) err = pass_down(s, loop);
  marks->records[marks->count].end = lowest(s)->length;
  marks->records[marks->count++].plain = n;
  return err;
}

/* What of the slices is still to be sealed: `left` bytes, from slices->bytes[at] on. */
typedef struct rest {
  const lw_slice *slices;
  size_t at, left;
} rest;

/* Takes what a record has room for, n bytes, of the slice that comes next. */
static lw_slice cut(rest *r, size_t n) {
  lw_slice piece;
  while (r->at == r->slices->n) { /* done, or empty */
    r->slices++;
    r->at = 0;
  }
  piece = (lw_slice){r->slices->bytes + r->at, r->slices->n - r->at};
  if (piece.n > r->left) piece.n = r->left;
  if (piece.n > n) piece.n = n;
  r->at += piece.n;
  r->left -= piece.n;
  return piece;
}

/* 1 if this slice is through and the whole of the next fits into a record that has n bytes. */
static int fits(const rest *r, size_t n) {
  return r->left > 0 && r->at == r->slices->n && r->slices[1].n <= LW_TLS_RECORD - n;
}

/* The next record's bytes where they lie; of short slices several, put together in `room`: a copy costs less than a record. */
static lw_slice next_record(rest *r, unsigned char *room) {
  lw_slice piece = cut(r, LW_TLS_RECORD);
  size_t n = piece.n;
  if (!fits(r, n)) return piece;
  memcpy(room, piece.bytes, n);
  do {
    piece = cut(r, LW_TLS_RECORD - n);
    memcpy(room + n, piece.bytes, piece.n);
    n += piece.n;
  } while (fits(r, n));
  return (lw_slice){room, n};
}

/* A batch from the head of the slices. 0 or a negative lw_err. */
static int seal(lw_stream *s, lw_loop *loop, const lw_slice *slices, int count, lw_stream_marks *marks) {
  unsigned char room[LW_TLS_RECORD];
  rest left = {slices, 0, 0};
  int err;
  for (int i = 0; i < count && left.left < BATCH; i++) left.left += slices[i].n;
  if (left.left > BATCH) left.left = BATCH;
  err = left.left > 0 ? lw_tls_reserve(s->tls, left.left) : 0;
  s->in_flight = left.left;
  while (err == 0 && left.left > 0) {
    lw_slice record = next_record(&left, room);
    err = seal_record(s, loop, record.bytes, record.n, marks);
  }
  return err;
}

/* So many bytes have left: what was in the records that are whole among them. */
static size_t count_gone(lw_stream_marks *marks, size_t n) {
  size_t plain = 0;
  marks->gone += n;
  while (marks->first < marks->count && marks->records[marks->first].end <= marks->gone)
    plain += marks->records[marks->first++].plain;
  return plain;
}

/* What has gone of the batch; of the rest the marks are kept, those on the stack in a copy. */
static size_t settle(lw_stream *s, lw_stream_marks *fresh, size_t wire, int all) {
  lw_stream_marks *marks = s->marks ? s->marks : fresh;
  size_t taken = all ? s->in_flight : marks ? count_gone(marks, wire) : 0;
  s->in_flight -= taken;
  if (s->in_flight == 0) {
    free(s->marks);
    s->marks = NULL;
  } else if (fresh && (s->marks = malloc(sizeof *fresh))) {
    memcpy(s->marks, fresh, sizeof *fresh);
  }
  return taken;
}

int lw_stream_write(lw_stream *s, lw_loop *loop, int fd, const lw_slice *slices, int count, size_t *taken, size_t *wire) {
  lw_stream_marks marks; /* filled only where there is TLS */
  int verdict, err, fresh = 0;
  *taken = *wire = 0;
  if (!s->tls) {
    if (count == 0) return LW_STREAM_WENT;
    verdict = send_slices(loop, fd, slices, count, taken);
    *wire = *taken;
    return verdict;
  }
  marks.first = marks.count = 0;
  marks.gone = 0;
  err = lw_tls_shake(s->tls);
  if (err == 0 && s->below) err = pass_down(s, loop);
  if (err == 0 && s->in_flight == 0 && lw_tls_is_ready(s->tls)) {
    fresh = 1;
    err = seal(s, loop, slices, count, &marks);
  }
  verdict = drain(loop, fd, lowest(s), wire);
  if (*wire > 0) touch(s, loop);
  *taken = settle(s, fresh ? &marks : NULL, *wire, err == 0 && verdict == LW_STREAM_WENT);
  if (err < 0) return err;
  if (verdict != LW_STREAM_WENT) return verdict;
  return lw_tls_is_ready(s->tls) || count == 0 ? LW_STREAM_WENT : LW_STREAM_WAITS;
}

int lw_stream_pending(const lw_stream *s) {
  return s->tls && (lw_tls_output(s->tls)->length > 0 || (s->below && lw_tls_output(s->below)->length > 0));
}

void lw_stream_end(lw_stream *s) {
  if (!s->tls) return;
  lw_tls_end(s->tls);
}
