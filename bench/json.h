/*
** json.h -- the messages that compression is measured with: lists of small records, 4 KiB each.
*/
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include <stdio.h>
#include <string.h>

#define JSON_SIZE 4096
#define JSON_KINDS 64 /* different messages */
#define JSON_APART 7  /* how far apart in these connections begin */

static inline void json_make(unsigned char messages[JSON_KINDS][JSON_SIZE]) {
  static const char *const names[] = {"price", "volume", "symbol", "time", "bid", "ask", "user", "text"};
  unsigned state = 7692;
  for (int kind = 0; kind < JSON_KINDS; kind++)
    for (size_t n = 0; n < JSON_SIZE;) {
      char item[64];
      state = state * 1103515245u + 12345u;
      int length = snprintf(item, sizeof item, "{\"%s\":%u,\"%s\":\"%x\"},", names[state >> 16 & 7],
                            state >> 12, names[state >> 20 & 7], state >> 8 & 0xfff);
      size_t part = (size_t)length < JSON_SIZE - n ? (size_t)length : JSON_SIZE - n;
      memcpy(messages[kind] + n, item, part);
      n += part;
    }
}

#endif
