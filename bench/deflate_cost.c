/*
** deflate_cost.c -- what src/deflate.c adds to zlib's own calls: JSON messages of 4 KiB, compressed
** and decompressed by both, with and without context takeover; and what an echo takes, each message
** decompressed and compressed, by contexts of CONNECTIONS in turn (with takeover; without, one does).
** Prints microseconds of CPU a message, and the ratio.
**
**   deflate_cost [CONNECTIONS [SECONDS]]
**
** With SECONDS it is the echo by zlib alone for so long: prints the microseconds with takeover and without.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#define ZLIB_CONST
#include <zlib.h>

#include "deflate.h"
#include "json.h"

#define SIZE JSON_SIZE
#define KINDS JSON_KINDS
#define TURNS 2000 /* of a measurement */
#define ROUNDS 5   /* the best counts */

#define MOST 1000 /* connections */

static unsigned char plain[KINDS][SIZE], room[4 * SIZE], copy[4 * SIZE];
/* Compressed one by one; and each behind the one before, the first behind the last. */
static unsigned char packed[KINDS][2 * SIZE], chained[KINDS][2 * SIZE];
static size_t packed_size[KINDS], chained_size[KINDS];
static int connections = 10;

static void die(const char *what) {
  fprintf(stderr, "deflate_cost: %s\n", what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* --- zlib alone --- */

static z_stream bare_out[MOST], bare_in[MOST];

static void bare_init(void) {
  for (int i = 0; i < connections; i++)
    if (deflateInit2(&bare_out[i], 6, Z_DEFLATED, -LW_DEFLATE_BITS_MAX, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
        inflateInit2(&bare_in[i], -LW_DEFLATE_BITS_MAX) != Z_OK)
      die("no memory");
}

static size_t squeeze(z_stream *z, const unsigned char *bytes, int fresh, unsigned char *to) {
  if (fresh) deflateReset(z);
  z->next_in = bytes;
  z->avail_in = SIZE;
  z->next_out = to;
  z->avail_out = sizeof room;
  deflate(z, Z_SYNC_FLUSH);
  return sizeof room - z->avail_out - 4;
}

static void swell(z_stream *z, const unsigned char *bytes, size_t n, int fresh, unsigned char *to) {
  static const unsigned char tail[4] = {0, 0, 0xff, 0xff};
  if (fresh) inflateReset(z);
  z->next_in = bytes;
  z->avail_in = (unsigned)n;
  z->next_out = to;
  z->avail_out = sizeof room;
  inflate(z, Z_SYNC_FLUSH);
  z->next_in = tail;
  z->avail_in = sizeof tail;
  inflate(z, Z_SYNC_FLUSH);
  if (z->avail_out != sizeof room - SIZE) die("zlib read something else");
}

static void bare_deflate(int turn, int fresh) {
  squeeze(&bare_out[0], plain[turn % KINDS], fresh, room);
}

static void bare_inflate(int turn, int fresh) {
  swell(&bare_in[0], packed[turn % KINDS], packed_size[turn % KINDS], fresh, room);
}

/*
** Every connection gets all messages in their order, and begins elsewhere: the same message several times in a row
** is cheap for a processor that remembers which way branches went.
*/
static int kind_of(int turn) {
  return (turn / connections + turn % connections * JSON_APART) % KINDS;
}

/* The first time nothing was before. */
static int stands_alone(int turn, int fresh) {
  return fresh || turn < KINDS * connections;
}

static void bare_echo(int turn, int fresh) {
  int kind = kind_of(turn), i = fresh ? 0 : turn % connections;
  if (stands_alone(turn, fresh)) swell(&bare_in[i], packed[kind], packed_size[kind], fresh, copy);
  else swell(&bare_in[i], chained[kind], chained_size[kind], 0, copy);
  squeeze(&bare_out[i], copy, fresh, room);
}

/* What the others are fed with. */
static void pack(void) {
  z_stream z = {0};
  if (deflateInit2(&z, 6, Z_DEFLATED, -LW_DEFLATE_BITS_MAX, 8, Z_DEFAULT_STRATEGY) != Z_OK) die("no memory");
  for (int kind = 0; kind < KINDS; kind++)
    packed_size[kind] = squeeze(&z, plain[kind], 1, packed[kind]);
  for (int kind = 0; kind < 2 * KINDS; kind++) /* once round: then the first is behind the last */
    chained_size[kind % KINDS] = squeeze(&z, plain[kind % KINDS], 0, chained[kind % KINDS]);
  deflateEnd(&z);
}

/* --- ours --- */

static lw_deflate_shelf shelf;
static lw_deflate_options options;
static lw_deflater deflater[2][MOST]; /* by `fresh` */
static lw_inflater inflater[2][MOST];

static void our_init(void) {
  lw_deflate_defaults(&options);
  options.level = 6;
  for (int fresh = 0; fresh < 2; fresh++)
    for (int i = 0; i < connections; i++) {
      lw_deflate_way way = {LW_DEFLATE_BITS_MAX, (unsigned char)fresh};
      lw_deflater_init(&deflater[fresh][i], &shelf, &options, way);
      lw_inflater_init(&inflater[fresh][i], &shelf, way, SIZE);
    }
}

static void our_squeeze(lw_deflater *d, const unsigned char *bytes) {
  lw_slice out;
  if (lw_deflater_message(d, bytes, SIZE, &out) < 0) die("no memory");
  lw_deflater_done(d);
}

static void our_swell(lw_inflater *i, const unsigned char *bytes, size_t size, unsigned char *to) {
  size_t made = 0;
  long n;
  lw_inflater_feed(i, bytes, size, 1);
  while ((n = lw_inflater_next(i, to + made, sizeof room - made)) > 0)
    made += (size_t)n;
  if (n < 0 || made != SIZE) die("we read something else");
}

static void our_deflate(int turn, int fresh) {
  our_squeeze(&deflater[fresh][0], plain[turn % KINDS]);
}

static void our_inflate(int turn, int fresh) {
  our_swell(&inflater[fresh][0], packed[turn % KINDS], packed_size[turn % KINDS], room);
}

static void our_echo(int turn, int fresh) {
  int kind = kind_of(turn), i = turn % connections;
  if (stands_alone(turn, fresh)) our_swell(&inflater[fresh][i], packed[kind], packed_size[kind], copy);
  else our_swell(&inflater[0][i], chained[kind], chained_size[kind], copy);
  our_squeeze(&deflater[fresh][i], copy);
}

/* --- measuring --- */

/* Both in turn, so that a machine that slows down slows both. */
static void compare(const char *what, void (*bare)(int, int), void (*ours)(int, int), int fresh) {
  void (*const both[2])(int, int) = {bare, ours};
  double best[2] = {1e300, 1e300};
  for (int round = 0; round < ROUNDS; round++)
    for (int who = 0; who < 2; who++) {
      double began = now();
      for (int turn = 0; turn < TURNS; turn++)
        both[who](turn + round * TURNS, fresh);
      double took = (now() - began) / TURNS;
      if (took < best[who]) best[who] = took;
    }
  printf("%-28s zlib %7.1f us   lunawire %7.1f us   %.2f\n", what, best[0], best[1], best[1] / best[0]);
}

/* Microseconds for an echo by zlib alone, over so many seconds of CPU. */
static double echo_for(double seconds, int fresh) {
  double began, took;
  int turn = 0;
  while (turn < KINDS * connections)
    bare_echo(turn++, fresh);
  int first = turn;
  began = now();
  do
    for (int i = 0; i < 100; i++)
      bare_echo(turn++, fresh);
  while ((took = now() - began) < seconds * 1e6);
  return took / (turn - first);
}

int main(int argc, char **argv) {
  size_t all = 0;
  if (argc > 1) connections = atoi(argv[1]);
  if (connections < 1 || connections > MOST) die("how many connections?");
  json_make(plain);
  pack();
  bare_init();
  if (argc > 2) {
    double kept = echo_for(atof(argv[2]), 0);
    printf("%.2f %.2f\n", kept, echo_for(atof(argv[2]), 1));
    return 0;
  }
  our_init();
  for (int kind = 0; kind < KINDS; kind++)
    all += packed_size[kind];
  printf("%d bytes of JSON, compressed to %zu, zlib %s\n", SIZE, all / KINDS, zlibVersion());
  compare("compressed, takeover", bare_deflate, our_deflate, 0);
  compare("compressed, no takeover", bare_deflate, our_deflate, 1);
  compare("decompressed, no takeover", bare_inflate, our_inflate, 1);
  printf("by %d connections:\n", connections);
  compare("echo, takeover", bare_echo, our_echo, 0);
  compare("echo, no takeover", bare_echo, our_echo, 1);
  return 0;
}
