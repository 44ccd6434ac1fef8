/*
** utf8.c -- is this UTF-8 (RFC 3629, 4)?
**
** An automaton whose whole transition for one byte is one 64-bit row: six bits for each
** state it may be met in, so that a step is a shift. What is ASCII is skipped 32 bytes at
** a time.
*/
#include "utf8.h"

#include <string.h>

/* States; between two calls the caller keeps the number. */
enum {
  DONE = LW_UTF8_ACCEPT, /* between two characters */
  BAD = LW_UTF8_REJECT,  /* for good */
  ONE,                   /* one more continuation byte */
  TWO,                   /* two more */
  THREE,                 /* three more */
  E0,                    /* after E0: A0..BF, else it were overlong */
  ED,                    /* after ED: 80..9F, else it were a surrogate */
  F0,                    /* after F0: 90..BF, else it were overlong */
  F4                     /* after F4: 80..8F, else it were above U+10FFFF */
};

#define AT(state, next) ((uint64_t)((next)*6) << ((state)*6))
#define BAD_BUT_DONE                                                                               \
  (AT(BAD, BAD) | AT(ONE, BAD) | AT(TWO, BAD) | AT(THREE, BAD) | AT(E0, BAD) | AT(ED, BAD) |       \
   AT(F0, BAD) | AT(F4, BAD))
#define LEAD(next) (AT(DONE, next) | BAD_BUT_DONE)
#define MORE(e0, ed, f0, f4)                                                                       \
  (AT(DONE, BAD) | AT(BAD, BAD) | AT(ONE, DONE) | AT(TWO, ONE) | AT(THREE, TWO) | AT(E0, e0) |     \
   AT(ED, ed) | AT(F0, f0) | AT(F4, f4))

static const uint64_t rows[256] = {
    [0x00 ... 0x7f] = LEAD(DONE),
    [0x80 ... 0x8f] = MORE(BAD, ONE, BAD, TWO),
    [0x90 ... 0x9f] = MORE(BAD, ONE, TWO, BAD),
    [0xa0 ... 0xbf] = MORE(ONE, BAD, TWO, BAD),
    [0xc0 ... 0xc1] = LEAD(BAD), /* two bytes for what fits in one */
    [0xc2 ... 0xdf] = LEAD(ONE),
    [0xe0] = LEAD(E0),
    [0xe1 ... 0xec] = LEAD(TWO),
    [0xed] = LEAD(ED),
    [0xee ... 0xef] = LEAD(TWO),
    [0xf0] = LEAD(F0),
    [0xf1 ... 0xf3] = LEAD(THREE),
    [0xf4] = LEAD(F4),
    [0xf5 ... 0xff] = LEAD(BAD),
};

#define BLOCK 32u /* bytes skipped at once, or walked before ASCII is looked for again */

#define HIGH_BITS UINT64_C(0x8080808080808080)

static int block_is_ascii(const unsigned char *bytes) {
  uint64_t words[BLOCK / 8];
  memcpy(words, bytes, BLOCK);
  return ((words[0] | words[1] | words[2] | words[3]) & HIGH_BITS) == 0;
}

static int word_is_ascii(const unsigned char *bytes) {
  uint64_t word;
  memcpy(&word, bytes, 8);
  return (word & HIGH_BITS) == 0;
}

/* `shift` is six times a state; only its low six bits mean something. */
static uint64_t walk(uint64_t shift, const unsigned char *bytes, size_t n) {
  for (size_t i = 0; i < n; i++)
    shift = rows[bytes[i]] >> (shift & 63);
  return shift & 63;
}

uint32_t lw_utf8_feed(uint32_t state, const unsigned char *bytes, size_t n) {
  uint64_t shift = (uint64_t)state * 6;
  while (n >= BLOCK) {
    if (shift != DONE * 6 || !block_is_ascii(bytes)) shift = walk(shift, bytes, BLOCK);
    if (shift == BAD * 6) return BAD;
    bytes += BLOCK;
    n -= BLOCK;
  }
  for (; n >= 8 && shift == DONE * 6 && word_is_ascii(bytes); n -= 8)
    bytes += 8;
  return (uint32_t)(walk(shift, bytes, n) / 6);
}

size_t lw_utf8_prefix(const unsigned char *bytes, size_t n, size_t *bad) {
  uint64_t shift = DONE * 6;
  size_t start = 0; /* of the character under way */
  for (size_t i = 0; i < n; i++) {
    shift = walk(shift, bytes + i, 1);
    if (shift == BAD * 6) {
      *bad = i > start ? i - start : 1; /* the byte that shows it may begin the next */
      return start;
    }
    if (shift == DONE * 6) start = i + 1;
  }
  *bad = n - start;
  return start;
}

int lw_utf8_valid(const unsigned char *bytes, size_t n) {
  return lw_utf8_feed(LW_UTF8_ACCEPT, bytes, n) == LW_UTF8_ACCEPT;
}
