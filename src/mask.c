/*
** mask.c -- the XOR of RFC 6455, section 5.3, wide.
*/
#include "mask.h"

#include <stdint.h>
#include <string.h>

/* Two registers of SSE2 or NEON; memcpy lets it stand anywhere. */
typedef uint64_t wide __attribute__((vector_size(32)));

void lw_mask(unsigned char *to, const unsigned char *from, size_t n, const unsigned char key[4],
             size_t offset) {
  /* the key as it meets from[0]; every step but the last is a multiple of four bytes */
  unsigned char turned[4];
  for (size_t i = 0; i < 4; i++)
    turned[i] = key[(offset + i) & 3];
  uint32_t four;
  memcpy(&four, turned, 4);
  uint64_t eight = (uint64_t)four << 32 | four;
  size_t i = 0;
  for (wide all = {eight, eight, eight, eight}; n - i >= sizeof all; i += sizeof all) {
    wide part;
    memcpy(&part, from + i, sizeof part);
    part ^= all;
    memcpy(to + i, &part, sizeof part);
  }
  for (; n - i >= 8; i += 8) {
    uint64_t part;
    memcpy(&part, from + i, 8);
    part ^= eight;
    memcpy(to + i, &part, 8);
  }
  for (; i < n; i++)
    to[i] = (unsigned char)(from[i] ^ turned[i & 3]);
}
