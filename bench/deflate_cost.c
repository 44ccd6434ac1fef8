/*
** deflate_cost.c -- what src/deflate.c adds to zlib's own calls: JSON messages of 4 KiB, compressed
** and decompressed by both, with and without context takeover. Prints microseconds a message,
** and the ratio.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#define ZLIB_CONST
#include <zlib.h>

#include "deflate.h"

#define SIZE 4096
#define KINDS 64   /* different messages */
#define TURNS 2000 /* of a measurement */
#define ROUNDS 5   /* the best counts */

static unsigned char plain[KINDS][SIZE], packed[KINDS][2 * SIZE], room[4 * SIZE];
static size_t packed_size[KINDS];

static void die(const char *what) {
  fprintf(stderr, "deflate_cost: %s\n", what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void make_messages(void) {
  static const char *const names[] = {"price", "volume", "symbol", "time", "bid", "ask", "user", "text"};
  unsigned state = 7692;
  for (int kind = 0; kind < KINDS; kind++)
    for (size_t n = 0; n < SIZE;) {
      char item[64];
      state = state * 1103515245u + 12345u;
      int length = snprintf(item, sizeof item, "{\"%s\":%u,\"%s\":\"%x\"},", names[state >> 16 & 7],
                            state >> 12, names[state >> 20 & 7], state >> 8 & 0xfff);
      size_t part = (size_t)length < SIZE - n ? (size_t)length : SIZE - n;
      memcpy(plain[kind] + n, item, part);
      n += part;
    }
}

/* --- zlib alone --- */

static z_stream bare_out, bare_in;

static void bare_deflate(int kind, int fresh) {
  if (fresh) deflateReset(&bare_out);
  bare_out.next_in = plain[kind];
  bare_out.avail_in = SIZE;
  bare_out.next_out = room;
  bare_out.avail_out = sizeof room;
  deflate(&bare_out, Z_SYNC_FLUSH);
}

static void bare_inflate(int kind, int fresh) {
  static const unsigned char tail[4] = {0, 0, 0xff, 0xff};
  if (fresh) inflateReset(&bare_in);
  bare_in.next_in = packed[kind];
  bare_in.avail_in = (unsigned)packed_size[kind];
  bare_in.next_out = room;
  bare_in.avail_out = sizeof room;
  inflate(&bare_in, Z_SYNC_FLUSH);
  bare_in.next_in = tail;
  bare_in.avail_in = sizeof tail;
  inflate(&bare_in, Z_SYNC_FLUSH);
  if (bare_in.avail_out != sizeof room - SIZE) die("zlib read something else");
}

/* --- ours --- */

static lw_deflate_shelf shelf;
static lw_deflate_options options;
static lw_deflater deflater[2]; /* by `fresh` */
static lw_inflater inflater[2];

static void our_deflate(int kind, int fresh) {
  lw_slice out;
  if (lw_deflater_message(&deflater[fresh], plain[kind], SIZE, &out) < 0) die("no memory");
  lw_deflater_done(&deflater[fresh]);
}

static void our_inflate(int kind, int fresh) {
  size_t made = 0;
  long n;
  lw_inflater_feed(&inflater[fresh], packed[kind], packed_size[kind], 1);
  while ((n = lw_inflater_next(&inflater[fresh], room + made, sizeof room - made)) > 0)
    made += (size_t)n;
  if (n < 0 || made != SIZE) die("we read something else");
}

/* --- measuring --- */

static double measure(void (*one)(int, int), int fresh) {
  double best = 1e300;
  for (int round = 0; round < ROUNDS; round++) {
    double began = now();
    for (int turn = 0; turn < TURNS; turn++)
      one(turn % KINDS, fresh);
    double took = (now() - began) / TURNS;
    if (took < best) best = took;
  }
  return best;
}

static void compare(const char *what, void (*bare)(int, int), void (*ours)(int, int), int fresh) {
  double theirs = measure(bare, fresh), own = measure(ours, fresh);
  printf("%-28s zlib %7.1f us   lunawire %7.1f us   %.2f\n", what, theirs, own, own / theirs);
}

int main(void) {
  make_messages();
  lw_deflate_defaults(&options);
  for (int fresh = 0; fresh < 2; fresh++) {
    lw_deflate_way way = {LW_DEFLATE_BITS_MAX, (unsigned char)fresh};
    lw_deflater_init(&deflater[fresh], &shelf, &options, way);
    lw_inflater_init(&inflater[fresh], &shelf, way, SIZE);
  }
  if (deflateInit2(&bare_out, options.level, Z_DEFLATED, -LW_DEFLATE_BITS_MAX, options.mem_level,
                   Z_DEFAULT_STRATEGY) != Z_OK ||
      inflateInit2(&bare_in, -LW_DEFLATE_BITS_MAX) != Z_OK)
    die("no memory");
  size_t all = 0;
  for (int kind = 0; kind < KINDS; kind++) { /* readable in any order */
    lw_slice out;
    if (lw_deflater_message(&deflater[1], plain[kind], SIZE, &out) < 0) die("no memory");
    memcpy(packed[kind], out.bytes, packed_size[kind] = out.n);
    all += out.n;
  }
  printf("%d bytes of JSON, compressed to %zu, zlib %s\n", SIZE, all / KINDS, zlibVersion());
  compare("compressed, takeover", bare_deflate, our_deflate, 0);
  compare("compressed, no takeover", bare_deflate, our_deflate, 1);
  compare("decompressed, takeover", bare_inflate, our_inflate, 0);
  compare("decompressed, no takeover", bare_inflate, our_inflate, 1);
  for (int fresh = 0; fresh < 2; fresh++) {
    lw_deflater_clear(&deflater[fresh]);
    lw_inflater_clear(&inflater[fresh]);
  }
  lw_deflate_shelf_clear(&shelf);
  deflateEnd(&bare_out);
  inflateEnd(&bare_in);
  return 0;
}
