/*
** inflate.c -- compressed messages, a peer's and our own.
**
** A peer's payloads, in pieces and into pieces, must give the same bytes and the same error as
** whole ones, and never more than the limit. What we compress must come out again; zlib's own
** inflate, which knows of no messages, must see it so too.
*/
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#include "deflate.h"
#include "fuzz.h"

FUZZ_BEGIN

#define OUTPUT (1 << 18) /* of one run at most: zip bombs are bounded by this too */
#define MESSAGES 12
#define LONGEST 40000

typedef struct setting {
  lw_deflate_way way;
  uint64_t limit;
  fuzz_cuts cuts;
  lw_deflate_options options;
  int ours; /* the messages are to be compressed first */
} setting;

/* What came out, over all messages, and how it ended. */
typedef struct output {
  unsigned char bytes[OUTPUT];
  size_t n;
  int error, messages;
  size_t ends[MESSAGES];
} output;

static void read_setting(setting *set, lw_slice *input) {
  static const uint64_t limits[] = {10000, 0, 1, 100, 512, 70000};
  static const int levels[] = {6, 0, 1, 9, -1};
  unsigned flags = fuzz_byte(input), bits = fuzz_byte(input);
  set->ours = flags & 1;
  set->way = (lw_deflate_way){(unsigned char)(15 - bits % 8), (flags >> 1) & 1};
  set->limit = FUZZ_CHOICE(input, limits);
  set->cuts = fuzz_cuts_read(input);
  lw_deflate_defaults(&set->options);
  set->options.level = FUZZ_CHOICE(input, levels);
  set->options.mem_level = 1 + (int)(flags >> 2) % 9;
}

/* --- a message that comes --- */

/* Room for so much is given: a little, and when much has come more, so that a run does not take long. */
static size_t room_of(const output *to, fuzz_cuts *cuts, int pieces) {
  size_t room = pieces ? fuzz_cuts_number(cuts, cuts->most + to->n / 8) : OUTPUT;
  size_t left = sizeof to->bytes - to->n;
  return room < left ? room : left;
}

/* One payload; 1 if it was whole. */
static int inflate_one(lw_inflater *i, uint64_t limit, lw_slice payload, output *to, fuzz_cuts *cuts, int pieces) {
  size_t begin = to->n;
  do {
    size_t n = pieces && payload.n > 0 ? fuzz_cuts_next(cuts, payload.n) : payload.n, room;
    int last = n == payload.n && !(pieces && n > 0 && fuzz_cuts_number(cuts, 8) == 1); /* or its end alone, later */
    unsigned char *copy = fuzz_copy(payload.bytes, n);
    long got;
    lw_inflater_feed(i, copy, n, last);
    payload.bytes += n;
    payload.n -= n;
    while ((room = room_of(to, cuts, pieces)) > 0 &&
           (got = lw_inflater_next(i, to->bytes + to->n, room)) > 0) {
      EXPECT((size_t)got <= room, "more than there was room for");
      to->n += (size_t)got;
      EXPECT(to->n - begin <= limit, "more than the limit");
    }
    fuzz_drop(copy);
    if (room == 0) return 0; /* a run that is long enough */
    if (got < 0) to->error = (int)got;
    if (got < 0) EXPECT(lw_inflater_next(i, to->bytes, 1) == got, "an error that does not stay");
    if (got < 0) return 0;
    if (last) return 1;
  } while (1);
}

/* All payloads until one is wrong. */
static void inflate_all(const setting *set, const lw_slice *payloads, int count, output *to, int pieces) {
  lw_deflate_shelf shelf = {.held = 0};
  lw_inflater i;
  fuzz_cuts cuts = set->cuts;
  to->n = 0;
  to->error = to->messages = 0;
  lw_inflater_init(&i, &shelf, set->way, set->limit);
  for (int k = 0; k < count && inflate_one(&i, set->limit, payloads[k], to, &cuts, pieces); k++)
    to->ends[to->messages++] = to->n;
  EXPECT(to->error == 0 || to->error == LW_ERR_PAYLOAD || to->error == LW_ERR_DEFLATE_DATA ||
         to->error == LW_ERR_DEFLATE_CUT || to->error == LW_ERR_DEFLATE_TRAILING, "another error than is said");
  lw_inflater_clear(&i);
  lw_deflate_shelf_clear(&shelf);
  EXPECT(shelf.held == 0, "zlib's memory that was not given back");
}

static int is_data_error(int err) {
  return err == LW_ERR_DEFLATE_DATA || err == LW_ERR_DEFLATE_TRAILING || err == LW_ERR_DEFLATE_CUT;
}

static void compare(const setting *set, const output *a, const output *b) {
  size_t least = a->n < b->n ? a->n : b->n;
  EXPECT(memcmp(a->bytes, b->bytes, least) == 0, "other bytes when it comes in pieces");
  /* a reference past a small window is noticed sooner or later, as deflate.h says */
  if (set->way.bits < LW_DEFLATE_BITS_MAX && (is_data_error(a->error) || is_data_error(b->error))) return;
  EXPECT(a->error == b->error, "another error when it comes in pieces");
  EXPECT(a->n == b->n, "another length when it comes in pieces");
  EXPECT(a->messages == b->messages && memcmp(a->ends, b->ends, (size_t)a->messages * sizeof *a->ends) == 0,
         "other messages when it comes in pieces");
}

/* Payloads, each behind a byte that says its length (0: all that is left). */
static int cut_payloads(lw_slice input, lw_slice payloads[MESSAGES]) {
  int count = 0;
  while (input.n > 0 && count < MESSAGES) {
    size_t n = fuzz_byte(&input);
    if (n == 0 || n > input.n || count + 1 == MESSAGES) n = input.n;
    payloads[count++] = (lw_slice){input.bytes, n};
    input.bytes += n;
    input.n -= n;
  }
  return count;
}

/* --- and there again --- */

static unsigned char message[LONGEST];

/* The next message: some of the input, over and over, with a number that counts on in it. Returns its length. */
static size_t make_message(lw_slice *input) {
  static const size_t lengths[] = {0, 1, 5, 20, 100, 300, 600, 1500, 5000, LONGEST};
  size_t n = FUZZ_CHOICE(input, lengths), period = 1 + fuzz_byte(input);
  lw_slice source = *input;
  if (period > source.n) period = source.n;
  for (size_t i = 0, k = 0, turn = 0; i < n; i++) {
    message[i] = period > 0 ? (unsigned char)(source.bytes[k] + (turn & source.bytes[0])) : 0;
    if (++k >= period) {
      k = 0;
      turn++;
    }
  }
  input->bytes += period;
  input->n -= period;
  return n;
}

/* As zlib alone reads it: one stream of all messages, with the flushes' ends put back. */
static void check_foreign(z_stream *z, const setting *set, lw_slice payload, size_t n) {
  static unsigned char out[LONGEST + 1];
  static const unsigned char tail[4] = {0, 0, 0xff, 0xff};
  if (set->way.fresh) inflateReset(z);
  z->next_out = out;
  z->avail_out = sizeof out;
  z->next_in = payload.bytes;
  z->avail_in = (unsigned)payload.n;
  EXPECT(inflate(z, Z_SYNC_FLUSH) >= 0 || z->avail_in == 0, "zlib cannot read it");
  z->next_in = tail;
  z->avail_in = sizeof tail;
  EXPECT(inflate(z, Z_SYNC_FLUSH) == Z_OK && z->avail_in == 0, "zlib sees another end");
  EXPECT(sizeof out - z->avail_out == n && memcmp(out, message, n) == 0, "zlib reads another message");
}

static void check_back(lw_inflater *i, lw_slice payload, size_t n, fuzz_cuts *cuts) {
  static output back;
  back.n = 0;
  back.error = 0;
  EXPECT(inflate_one(i, LONGEST, payload, &back, cuts, 1), "our own message is refused");
  EXPECT(back.n == n && memcmp(back.bytes, message, n) == 0, "another message comes back");
}

static void check_ours(setting *set, lw_slice input) {
  lw_deflate_shelf shelf = {.held = 0};
  lw_deflater d;
  lw_inflater i;
  fuzz_cuts cuts = set->cuts;
  z_stream z = {.next_in = NULL};
  if (set->way.bits < LW_DEFLATE_BITS_OURS) set->way.bits = LW_DEFLATE_BITS_OURS;
  set->limit = LONGEST;
  lw_deflater_init(&d, &shelf, &set->options, set->way);
  lw_inflater_init(&i, &shelf, set->way, set->limit);
  EXPECT(inflateInit2(&z, -set->way.bits) == Z_OK, "no memory for zlib");
  for (int count = 0; input.n > 0 && count < 4; count++) {
    size_t n = make_message(&input);
    lw_slice payload;
    if (fuzz_byte(&input) % 8 == 7) lw_deflater_forget(&d);
    EXPECT(lw_deflater_message(&d, message, n, &payload) == 0 && payload.n > 0, "a message that is not compressed");
    check_foreign(&z, set, payload, n);
    check_back(&i, payload, n, &cuts);
    lw_deflater_done(&d);
  }
  inflateEnd(&z);
  lw_deflater_clear(&d);
  lw_inflater_clear(&i);
  lw_deflate_shelf_clear(&shelf);
  EXPECT(shelf.held == 0, "zlib's memory that was not given back");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  static output whole, pieces;
  lw_slice input = {bytes, n}, payloads[MESSAGES];
  size_t base = fuzz_held();
  setting set;
  read_setting(&set, &input);
  if (set.ours) {
    check_ours(&set, input);
  } else {
    int count = cut_payloads(input, payloads);
    inflate_all(&set, payloads, count, &whole, 0);
    inflate_all(&set, payloads, count, &pieces, 1);
    compare(&set, &whole, &pieces);
  }
  EXPECT(fuzz_held() == base, "memory that was not given back");
  return 0;
}

FUZZ_END
