/*
** session.c -- a peer's bytes, to a session that also sends.
**
** The same bytes, whole and in pieces, must give the same events, the same output and the
** same state. Between two events the session is used as an application would, by a script.
** Some inputs run a third time with little memory: then what is sent must still be frames, and
** nothing may leak or be used too late.
*/
#include "session.h"

#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#include "fuzz.h"

FUZZ_BEGIN

#define SCRIPT 8
#define ACTIONS_MAX 64 /* events after which something is done: a run stays short */

#define GIVEN_MAX 40000 /* bytes of long messages, too */

typedef struct setting {
  lw_role role;
  lw_limits limits;
  int agreed, strict; /* strict: where deflate data is wrong does not depend on the cuts */
  lw_deflate_options options;
  lw_deflate_params params;
  unsigned char script[SCRIPT][2]; /* what to do, and how much */
  fuzz_cuts cuts;
  int direct, stash;
  long memory; /* allocations of the third run; 0: there is none */
} setting;

/* What is judged of the output, frame by frame; compressed messages by zlib alone. */
typedef struct judge {
  unsigned char header[LW_FRAME_MAX];
  size_t used, left, at; /* of the header; of the payload still to come; of it, gone */
  unsigned char key[4];
  int data, fin; /* of this frame */
  int before;    /* the byte before in this message, -1 at its beginning */
  int in_message, squeezed, closed;
  int pings;
  z_stream z;
} judge;

typedef struct run {
  const setting *set;
  lw_session session;
  lw_pool pool;
  lw_entropy entropy;
  lw_deflate_shelf shelf;
  fuzz_cuts cuts;
  fuzz_log events, output;
  judge judge;
  size_t base;    /* what was held before */
  size_t given;   /* bytes queued so far, at most */
  size_t stashed; /* bytes in the stash, at most */
  int count;      /* events */
  int pings;      /* of ours */
  int ended, bad_data;
  int starving; /* memory may run out */
  unsigned char *block; /* what was fed */
  unsigned char *old;   /* what was fed before, in which the last event may lie */
} run;

/* What holds unless memory ran out. */
#define EXPECT_FED(r, holds, what) EXPECT((r)->starving || (holds), what)

/* What is sent: some of a sequence in which each byte tells the next one, and of long messages this. */
#define LONG 'f'
#define PERIOD 251
#define STEP(byte) ((unsigned char)(((byte) + 7) % PERIOD))
static unsigned char sequence[70000 + ACTIONS_MAX + PERIOD];
static unsigned char places[PERIOD]; /* where in it a byte first comes */

/* --- the setting --- */

static void read_setting(setting *set, lw_slice *input) {
  static const uint64_t payloads[] = {1, 5, 125, 126, 1000, 4096, 65535, 65536, 100000, 0};
  static const uint64_t fragments[] = {1, 2, 3, 10, 1000, UINT64_MAX};
  static const uint64_t sizes[] = {0, 1, 5, 125, 126, 1000, 65536};
  unsigned flags = fuzz_byte(input), bits = fuzz_byte(input);
  memset(set, 0, sizeof *set);
  set->role = flags & 1 ? LW_SERVER : LW_CLIENT;
  set->agreed = (flags & 2) != 0;
  set->direct = (flags & 4) != 0;
  set->stash = (flags & 8) != 0;
  set->limits.max_payload = FUZZ_CHOICE(input, payloads);
  set->limits.max_fragments = FUZZ_CHOICE(input, fragments);
  set->limits.fragment_size = FUZZ_CHOICE(input, sizes);
  lw_deflate_defaults(&set->options);
  set->options.level = 1;
  set->options.mem_level = 1;
  set->options.threshold = 0;
  set->params.agreed = 1;
  set->params.ours = (lw_deflate_way){(unsigned char)(9 + (bits & 7) % 7), (flags >> 4) & 1};
  set->params.theirs = (lw_deflate_way){(unsigned char)(15 - (bits >> 3 & 7)), (flags >> 5) & 1};
  set->params.server = set->role == LW_SERVER ? set->params.ours : set->params.theirs;
  set->params.client = set->role == LW_SERVER ? set->params.theirs : set->params.ours;
  set->strict = set->params.theirs.bits == LW_DEFLATE_BITS_MAX;
  set->cuts = fuzz_cuts_read(input);
  for (int i = 0; i < SCRIPT; i++) {
    set->script[i][0] = (unsigned char)fuzz_byte(input);
    set->script[i][1] = (unsigned char)fuzz_byte(input);
  }
  if (flags >= 128) set->memory = 1 + set->script[0][1] % 40;
}

/* --- judging what is sent --- */

/* Some of a message: mostly of the sequence, at one look; else it is seen byte by byte. */
static void judge_content(judge *j, const unsigned char *bytes, size_t n) {
  if (n > 0 && n <= sizeof sequence - PERIOD && bytes[0] < PERIOD && (j->before < 0 || bytes[0] == STEP(j->before)) &&
      memcmp(bytes, sequence + places[bytes[0]], n) == 0) {
    j->before = bytes[n - 1];
    return;
  }
  for (size_t i = 0; i < n; i++) {
    EXPECT(j->before < 0 || bytes[i] == STEP(j->before) || (bytes[i] == LONG && j->before == LONG), "another message was sent");
    j->before = bytes[i];
  }
}

/* Some of a compressed message. */
static void judge_squeezed(judge *j, const unsigned char *bytes, size_t n) {
  unsigned char out[4096];
  int code;
  j->z.next_in = bytes;
  j->z.avail_in = (unsigned)n;
  do {
    j->z.next_out = out;
    j->z.avail_out = sizeof out;
    code = inflate(&j->z, Z_SYNC_FLUSH);
    EXPECT(code == Z_OK || code == Z_BUF_ERROR, "no deflate data");
    judge_content(j, out, sizeof out - j->z.avail_out);
  } while (j->z.avail_in > 0 || j->z.avail_out == 0);
}

/* Eight bytes at a time: byte by byte it is what a run would spend most of its time at. */
static void unmask(judge *j, unsigned char *to, const unsigned char *from, size_t n) {
  unsigned char key[8];
  uint64_t wide, eight;
  size_t i = 0;
  for (size_t k = 0; k < 8; k++) key[k] = j->key[(j->at + k) & 3];
  memcpy(&wide, key, 8);
  for (; i + 8 <= n; i += 8) {
    memcpy(&eight, from + i, 8);
    eight ^= wide;
    memcpy(to + i, &eight, 8);
  }
  for (; i < n; i++) to[i] = from[i] ^ key[i & 7];
  j->at += n;
}

/* Some of a data frame's payload. */
static void judge_payload(judge *j, const unsigned char *bytes, size_t n) {
  unsigned char plain[1024];
  while (n > 0) {
    size_t some = n < sizeof plain ? n : sizeof plain;
    unmask(j, plain, bytes, some);
    if (j->squeezed) judge_squeezed(j, plain, some);
    else judge_content(j, plain, some);
    bytes += some;
    n -= some;
  }
}

/* A frame is whole: so may be a message, whose last four bytes were left out (RFC 7692, 7.2.2). */
static void judge_end(judge *j, const run *r) {
  static const unsigned char tail[4] = {0, 0, 0xff, 0xff};
  if (!j->data || !j->fin || !j->squeezed) return;
  judge_squeezed(j, tail, sizeof tail);
  if (r->set->params.ours.fresh) inflateReset(&j->z);
}

/* A whole header (RFC 6455, 5.2), read here by other code than the library's. */
static void judge_header(judge *j, const run *r, uint64_t length, size_t form) {
  unsigned first = j->header[0], opcode = first & 15;
  int rsv1 = (first & 0x40) != 0;
  j->data = opcode <= 2;
  j->fin = first >> 7;
  EXPECT((j->header[1] >> 7) == (r->set->role == LW_CLIENT), "masked by the wrong side");
  EXPECT(!j->closed, "something behind the Close frame");
  EXPECT(form == (length < 126 ? 0u : length < 65536 ? 2u : 8u), "a length not in its shortest form");
  EXPECT(j->data || (opcode >= 8 && opcode <= 10 && j->fin && length <= 125), "a wrong control frame");
  EXPECT((first & 0x30) == 0, "RSV2 or RSV3");
  EXPECT(!rsv1 || (r->set->agreed && (opcode == 1 || opcode == 2)), "RSV1");
  EXPECT(!j->data || (opcode == 0) == j->in_message, "fragments out of order");
  if (j->data) j->in_message = !j->fin;
  if (opcode == 1 || opcode == 2) {
    j->squeezed = rsv1;
    j->before = -1;
  }
  j->closed = opcode == 8;
  j->pings += opcode == 9;
  j->left = (size_t)length;
  j->at = 0;
  memset(j->key, 0, 4);
  if (j->header[1] >> 7) memcpy(j->key, j->header + 2 + form, 4);
  if (j->left == 0) judge_end(j, r);
}

static void judge_byte(judge *j, const run *r, unsigned char byte) {
  size_t form, need;
  uint64_t length;
  j->header[j->used++] = byte;
  if (j->used < 2) return;
  length = j->header[1] & 127;
  form = length == 126 ? 2 : length == 127 ? 8 : 0;
  need = 2 + form + (j->header[1] >> 7 ? 4 : 0);
  if (j->used < need) return;
  if (form > 0) length = 0;
  for (size_t i = 0; i < form; i++) length = length << 8 | j->header[2 + i];
  j->used = 0;
  judge_header(j, r, length, form);
}

static void judge_bytes(judge *j, const run *r, const unsigned char *bytes, size_t n) {
  while (n > 0) {
    size_t payload = j->left < n ? j->left : n;
    if (payload > 0) {
      if (j->data) judge_payload(j, bytes, payload);
      j->left -= payload;
      if (j->left == 0) judge_end(j, r);
      bytes += payload;
      n -= payload;
    }
    for (; n > 0 && j->left == 0; n--) judge_byte(j, r, *bytes++);
  }
}

/* Takes at most n bytes of the output, as a connection would. */
static void drain(run *r, size_t n) {
  lw_slice slices[3];
  while (n > 0) {
    int count = lw_session_output(&r->session, slices, 3);
    size_t went = 0;
    EXPECT_FED(r, count >= 0, "no output though there is memory");
    /* all that may go has gone: pings do not wait for a long message's payload */
    if (count == 0) EXPECT(r->judge.pings == r->pings, "a ping that waits");
    if (count <= 0) return;
    EXPECT(lw_session_pending(&r->session), "output that is not pending");
    for (int i = 0; i < count && went < n; i++) {
      size_t piece = slices[i].n < n - went ? slices[i].n : n - went;
      EXPECT(piece > 0, "an empty slice");
      fuzz_log_bytes(&r->output, "output", slices[i].bytes, piece);
      judge_bytes(&r->judge, r, slices[i].bytes, piece);
      went += piece;
    }
    lw_session_sent(&r->session, went);
    n -= went;
  }
}

/* --- using it --- */

/* One fragment of a long message, if one is wanted. */
static void fill(run *r) {
  size_t n = lw_session_wants(&r->session);
  unsigned char *room;
  int whole;
  if (n == 0) return;
  room = lw_session_room(&r->session);
  EXPECT_FED(r, room != NULL, "no room though there is memory");
  if (!room) return;
  memset(room, LONG, n);
  whole = lw_session_fill(&r->session);
  EXPECT(whole >= 0, "a fragment that is not taken");
  fuzz_log_number(&r->events, "filled", whole);
  r->given += n + 64;
}

static int send_shared(run *r, size_t n) {
  lw_chunk *chunk = lw_session_frame(&r->pool, &r->set->limits, LW_BINARY, 0, sequence + r->count, n);
  int err;
  EXPECT_FED(r, chunk != NULL, "no chunk though there is memory");
  if (!chunk) return LW_ERR_MEMORY;
  err = lw_session_share(&r->session, chunk, n, 0);
  lw_chunk_release(&r->pool, chunk);
  return err;
}

/* A message of n bytes, with all that may stand around it. */
static size_t framed(const run *r, size_t n) {
  size_t most = (size_t)r->set->limits.fragment_size;
  return n + (most > 0 ? n / most + 1 : 1) * (LW_FRAME_MAX + 4) + 256;
}

static void act(run *r, unsigned what, unsigned size) {
  static const size_t sizes[] = {0, 1, 5, 124, 125, 126, 300, 1000, 5000, 65536, 70000};
  size_t n = sizes[size % (sizeof sizes / sizeof *sizes)];
  static const unsigned char zeros[70000];
  const unsigned char *filling = sequence + r->count;
  lw_session *s = &r->session;
  int open = s->state == LW_SESSION_OPEN, err = 0;
  if (n > 300 && (r->set->limits.fragment_size == 1 || r->given > GIVEN_MAX)) n = 300;
  if (what % 12 >= 1 && what % 12 <= 9) r->given += framed(r, n);
  switch (what % 12) {
  case 1: err = lw_session_send(s, LW_TEXT, filling, n, 1); break;
  case 2: err = lw_session_send(s, LW_BINARY, filling, n, 0); break;
  case 3:
    err = lw_session_ping(s, filling, n < 125 ? n : 125);
    r->pings += err == 0;
    break;
  case 4: lw_session_close(s, size & 1 ? 1000 : 0, zeros, size & 1 ? n : 0); break;
  case 5: err = lw_session_begin(s, LW_BINARY, n + 1); break;
  case 6: fill(r); break;
  case 7: drain(r, n); break;
  case 8: drain(r, SIZE_MAX); break;
  case 9: if (r->set->role == LW_SERVER) err = send_shared(r, n); break;
  case 10: if (size % 16 == 0) lw_session_break(s, LW_ERR_SLOW); break;
  case 11: if (size % 4 == 0) lw_session_forsake(s); break;
  default: return;
  }
  EXPECT(err == 0 || (!open && err == LW_ERR_CLOSED) || (r->starving && err == LW_ERR_MEMORY), "what cannot fail failed");
  if (s->state >= LW_SESSION_CLOSED) r->ended = 1;
}

/* --- what comes --- */

static void check_memory(const run *r) {
  const lw_session *s = &r->session;
  size_t most = (size_t)s->limits->max_payload + r->stashed + r->given;
  /* corks: the pool's, the last one of each queue, and the long messages themselves */
  most += (LW_POOL_KEPT + 2) * (LW_CHUNK_SIZE + 64) + (size_t)r->count * 512 + 4096;
  /* two contexts, and what the shelf lends; see deflate.c */
  if (r->set->agreed) most += 512 * 1024;
  EXPECT(s->message_capacity <= s->limits->max_payload, "a message's memory over maxPayload");
  EXPECT(fuzz_held() - r->base <= most, "more memory than the limits allow");
}

static void log_event(run *r, const lw_event *event) {
  EXPECT(!r->ended, "an event after the last one");
  fuzz_log_number(&r->events, "event", event->kind);
  fuzz_log_number(&r->events, "binary", event->binary);
  fuzz_log_number(&r->events, "code", event->code);
  fuzz_log_number(&r->events, "error", event->error);
  fuzz_log_number(&r->events, "n", (int64_t)event->n);
  fuzz_log_bytes(&r->events, "bytes", event->bytes, event->n);
  fuzz_log_number(&r->events, "state", r->session.state);
  if (event->kind == LW_EVENT_MESSAGE) EXPECT(event->n <= r->session.limits->max_payload, "a message over maxPayload");
  if (event->kind >= LW_EVENT_CLOSE) r->ended = 1;
  if (event->error == LW_ERR_DEFLATE_DATA || event->error == LW_ERR_DEFLATE_TRAILING ||
      event->error == LW_ERR_DEFLATE_CUT)
    r->bad_data = 1;
}

/* What the application does at this event; the event's bytes must stay. */
static void use(run *r, const lw_event *event) {
  fuzz_log before = {0, 0}, after = {0, 0};
  const unsigned char *script = r->set->script[r->count % SCRIPT];
  fuzz_log_bytes(&before, "before", event->bytes, event->n);
  if (r->count < ACTIONS_MAX) act(r, script[0], script[1]);
  else drain(r, 1000);
  fuzz_log_bytes(&after, "after", event->bytes, event->n);
  EXPECT(fuzz_log_same(&before, &after), "an event's bytes changed while it was handled");
}

static void drop_block(unsigned char **block) {
  fuzz_drop(*block);
  *block = NULL;
}

static int next(run *r, lw_event *event) {
  int got = lw_session_next(&r->session, event);
  drop_block(&r->old);
  return got;
}

/*
** All events until it wants more. In pieces, some of them after a stash; and when all has been
** parsed, it may be fed again without being asked once more, unless this is the last piece.
*/
static void pull(run *r, size_t n, int pieces, int last) {
  lw_event event;
  while (next(r, &event)) {
    log_event(r, &event);
    use(r, &event);
    r->count++;
    check_memory(r);
    if (pieces && r->set->stash && fuzz_cuts_number(&r->cuts, 3) == 1) {
      int err = lw_session_stash(&r->session);
      EXPECT_FED(r, err == 0, "no stash though there is memory");
      if (err < 0) continue;
      drop_block(&r->block);
      r->stashed = n;
      check_memory(r);
    }
    if (pieces && !last && lw_session_hungry(&r->session) && fuzz_cuts_number(&r->cuts, 2) == 1) {
      r->old = r->block;
      r->block = NULL;
      return;
    }
  }
  EXPECT(lw_session_hungry(&r->session), "bytes that were not parsed");
  r->stashed = 0;
  drop_block(&r->block);
  check_memory(r);
}

/* Receives straight into the message, if it would have that. Returns the bytes taken. */
static size_t receive_direct(run *r, const unsigned char *bytes, size_t n) {
  size_t room = 0, least = fuzz_cuts_number(&r->cuts, 40), most = fuzz_cuts_number(&r->cuts, 600);
  unsigned char *space = lw_session_space(&r->session, least, most, &room);
  if (!space) return 0;
  EXPECT(room > 0 && room <= most, "a wrong amount of room");
  if (n > room) n = room;
  memcpy(space, bytes, n);
  lw_session_filled(&r->session, n);
  return n;
}

static void feed(run *r, const unsigned char *bytes, size_t n, int pieces) {
  while (n > 0 && !(r->ended && r->session.state >= LW_SESSION_CLOSED)) {
    size_t piece = pieces ? fuzz_cuts_next(&r->cuts, n) : n, direct = 0;
    if (pieces && r->set->direct) direct = receive_direct(r, bytes, piece);
    if (direct == 0) {
      r->block = fuzz_copy(bytes, piece);
      lw_session_feed(&r->session, r->block, piece);
    } else {
      piece = direct;
    }
    pull(r, piece, pieces, piece == n);
    bytes += piece;
    n -= piece;
  }
}

/* --- a run --- */

static void begin(run *r, const setting *set, int starving) {
  memset(r, 0, sizeof *r);
  r->starving = starving;
  r->set = set;
  r->cuts = set->cuts;
  r->base = fuzz_held();
  fuzz_reset_random();
  lw_session_init(&r->session, set->role, &set->limits, &r->pool, &r->entropy);
  if (!set->agreed) return;
  EXPECT(lw_session_extend(&r->session, &r->shelf, &set->options, &set->params) == 0, "no memory to extend");
  EXPECT(inflateInit2(&r->judge.z, -set->params.ours.bits) == Z_OK, "no memory for zlib");
}

static void log_state(run *r) {
  const lw_session *s = &r->session;
  fuzz_log_number(&r->events, "state", s->state);
  fuzz_log_number(&r->events, "pending", lw_session_pending(s));
  fuzz_log_number(&r->events, "held", (int64_t)lw_session_held(s));
  fuzz_log_number(&r->events, "buffered", (int64_t)lw_session_buffered(s));
  fuzz_log_number(&r->events, "sent", (int64_t)s->out.sent);
  if (s->state >= LW_SESSION_CLOSED) return;
  fuzz_log_number(&r->events, "between", lw_session_between(s));
  fuzz_log_number(&r->events, "in message", s->in_message);
  fuzz_log_number(&r->events, "in frame", s->in_frame);
  fuzz_log_number(&r->events, "left", (int64_t)s->left);
  fuzz_log_number(&r->events, "header", s->header_used);
  if (s->state != LW_SESSION_OPEN) return;
  fuzz_log_bytes(&r->events, "message", s->message, s->delivered ? 0 : s->message_used);
  if (s->in_message) fuzz_log_number(&r->events, "fragments", (int64_t)s->fragments);
}

/* Everything goes out, long messages too. */
static void flush(run *r) {
  do {
    fill(r);
    drain(r, SIZE_MAX);
  } while (lw_session_wants(&r->session) > 0);
  EXPECT(!lw_session_pending(&r->session), "pending though all has gone");
  EXPECT(r->judge.used == 0 && r->judge.left == 0, "the output ends within a frame");
  if (!r->session.out.forsaken) EXPECT(lw_session_buffered(&r->session) == 0, "buffered though all has gone");
  check_memory(r);
}

static void end(run *r) {
  lw_session_clear(&r->session);
  lw_deflate_shelf_clear(&r->shelf);
  lw_pool_clear(&r->pool);
  if (r->set->agreed) inflateEnd(&r->judge.z);
  drop_block(&r->block);
  drop_block(&r->old);
  EXPECT(fuzz_held() == r->base, "memory that was not given back");
}

static void do_run(run *r, const setting *set, lw_slice input, int pieces, int starving) {
  fuzz_trace(starving ? "with little memory" : pieces ? "in pieces" : "whole");
  begin(r, set, starving);
  if (starving) fuzz_starve(set->memory);
  feed(r, input.bytes, input.n, pieces);
  fuzz_starve(-1);
  log_state(r);
  flush(r);
  end(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  static run whole, pieces;
  lw_slice input = {bytes, n};
  setting set;
  if (sequence[1] == 0) {
    for (size_t i = 1; i < sizeof sequence; i++) sequence[i] = STEP(sequence[i - 1]);
    for (unsigned char i = 0; i < PERIOD; i++) places[sequence[i]] = i;
  }
  read_setting(&set, &input);
  if (set.memory > 0) do_run(&pieces, &set, input, 1, 1);
  do_run(&whole, &set, input, 0, 0);
  do_run(&pieces, &set, input, 1, 0);
  /* a reference past a small window is noticed sooner or later, as deflate.h says */
  if (!set.strict && (whole.bad_data || pieces.bad_data)) return 0;
  EXPECT(fuzz_log_same(&whole.events, &pieces.events), "other events, or another state, when the bytes come in pieces");
  EXPECT(fuzz_log_same(&whole.output, &pieces.output), "other output when the bytes come in pieces");
  return 0;
}

FUZZ_END
