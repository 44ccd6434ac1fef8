/*
** stream.c -- the bytes of a connection: straight from its descriptor, or through TLS.
*/
#include "stream.h"

#include <errno.h>
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

void lw_stream_cover(lw_stream *s, lw_tls *tls) {
  s->below = s->tls;
  s->tls = tls;
}

void lw_stream_clear(lw_stream *s) {
  lw_tls_free(s->tls);
  lw_tls_free(s->below);
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
  if (unread(s) > UNREAD_MAX) return LW_ERR_SLOW;
  if (!(between = lw_loop_receive(loop))) return LW_ERR_MEMORY;
  between += LW_TLS_HEAD; /* each layer writes before what it reads */
  cipher = s->below ? between + LW_TLS_HEAD : between;
  if (s->below && lw_tls_over(s->below) < 0) return read_end(s, lw_tls_over(s->below));
  got = receive(loop, fd, cipher, LW_RECEIVE_SIZE);
  if (got < 0) return read_end(s, got);
  if (got == 0) return 0;
  *wire = (size_t)got;
  if (s->below) got = lw_tls_open(s->below, cipher, (size_t)got, between, LW_RECEIVE_SIZE + LW_TLS_HEAD);
  if (got < 0) return read_end(s, got);
  got = lw_tls_open(s->tls, between, (size_t)got, bytes, room);
  if (got == 0 && s->below && lw_tls_over(s->below) < 0) return read_end(s, lw_tls_over(s->below)); /* nothing will wake us */
  return got;
}

/* ------------------------------------------------------------------ writing */

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
  if (went < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOBUFS ? LW_STREAM_FULL : LW_ERR_SYS(errno);
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

/* From the head of the slices, at most BATCH bytes. Returns how many, or a negative lw_err. */
static long seal(lw_tls *tls, const lw_slice *slices, int count) {
  size_t total = 0, sealed = 0;
  int err;
  for (int i = 0; i < count && total < BATCH; i++) total += slices[i].n;
  if (total > BATCH) total = BATCH;
  err = total > 0 ? lw_tls_reserve(tls, total) : 0;
  for (int i = 0; err == 0 && sealed < total; i++) {
    size_t n = slices[i].n < total - sealed ? slices[i].n : total - sealed;
    err = lw_tls_seal(tls, slices[i].bytes, n);
    sealed += n;
  }
  return err < 0 ? err : (long)total;
}

/* What the upper layer has to send goes into the lower one. 0 or a negative lw_err. */
static int pass_down(lw_stream *s, lw_loop *loop) {
  lw_buf *out = lw_tls_output(s->tls);
  lw_slice slices[SLICES];
  while (out->length > 0) {
    long n = seal(s->below, slices, lw_buf_slices(out, slices, SLICES));
    if (n < 0) return (int)n;
    lw_buf_consume(out, &loop->pool, (size_t)n);
  }
  return 0;
}

int lw_stream_write(lw_stream *s, lw_loop *loop, int fd, const lw_slice *slices, int count, size_t *taken, size_t *wire) {
  long sealed = 0;
  int verdict, err = 0;
  *taken = *wire = 0;
  if (!s->tls) {
    if (count == 0) return LW_STREAM_WENT;
    verdict = send_slices(loop, fd, slices, count, taken);
    *wire = *taken;
    return verdict;
  }
  err = lw_tls_shake(s->tls);
  if (err == 0 && s->in_flight == 0 && lw_tls_is_ready(s->tls)) sealed = seal(s->tls, slices, count);
  if (sealed > 0) s->in_flight = (size_t)sealed;
  if (err == 0 && sealed < 0) err = (int)sealed;
  if (err == 0 && s->below) err = pass_down(s, loop);
  verdict = drain(loop, fd, lw_tls_output(s->below ? s->below : s->tls), wire);
  if (err < 0) return err;
  if (verdict != LW_STREAM_WENT) return verdict;
  *taken = s->in_flight;
  s->in_flight = 0;
  return lw_tls_is_ready(s->tls) || count == 0 ? LW_STREAM_WENT : LW_STREAM_WAITS;
}

int lw_stream_pending(const lw_stream *s) {
  return s->tls && (lw_tls_output(s->tls)->length > 0 || (s->below && lw_tls_output(s->below)->length > 0));
}

void lw_stream_end(lw_stream *s) {
  if (!s->tls) return;
  lw_tls_end(s->tls);
}
