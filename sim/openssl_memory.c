/*
** openssl_memory.c -- OpenSSL's own memory, which is counted and may run out.
*/
#include "openssl_memory.h"

#include <execinfo.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define DEEP 40       /* calls that tell one place from another */
#define PLACE_BITS 17 /* of their table's size */

void *__real_malloc(size_t n);
void *__real_realloc(void *block, size_t n);
void __real_free(void *block);

static memory_row row;
static unsigned stacks; /* how many allocations of each place are noted; 0: none */

void openssl_memory_begin(void) {
  memset(&row, 0, sizeof row);
}

/* Open addressing, by a hash of all calls above. */
typedef struct place {
  uint64_t hash;
  unsigned seen;
} place;

static place places[1 << PLACE_BITS];
static long *noted;
static long noted_count, noted_room, place_count;

void openssl_memory_note(unsigned of_each) {
  void *calls[DEEP];
  stacks = of_each;
  backtrace(calls, DEEP); /* its first call allocates */
}

long openssl_memory_noted(long i) {
  return i < noted_count ? noted[i] : 0;
}

long openssl_memory_places(void) {
  return place_count;
}

static place *find_place(uint64_t hash) {
  size_t at = (size_t)(hash >> (64 - PLACE_BITS));
  while (places[at].seen && places[at].hash != hash) at = (at + 1) % (sizeof places / sizeof *places);
  return &places[at];
}

/* Called before it is counted. */
static void note(void) {
  void *calls[DEEP];
  uint64_t hash = 1;
  place *here;
  int n = backtrace(calls, DEEP);
  for (int i = 0; i < n; i++) hash = (hash ^ (uintptr_t)calls[i]) * UINT64_C(0x9e3779b97f4a7c15);
  here = find_place(hash);
  if (!here->seen) {
    if (place_count == (1 << PLACE_BITS) - 1) abort(); /* one place stays free, so that a search ends */
    here->hash = hash;
    place_count++;
  }
  if (here->seen++ >= stacks) return;
  if (noted_count == noted_room) {
    noted_room = noted_room ? 2 * noted_room : 4096;
    noted = __real_realloc(noted, (size_t)noted_room * sizeof *noted);
    if (!noted) abort();
  }
  noted[noted_count++] = row.count + 1;
}

static int openssl_fails(void) {
  if (stacks && !memory_rests()) note();
  return memory_row_fails(&row);
}

static void *openssl_malloc(size_t n, const char *file, int line) {
  (void)file;
  (void)line;
  return openssl_fails() ? NULL : __real_malloc(n);
}

static void *openssl_realloc(void *block, size_t n, const char *file, int line) {
  (void)file;
  (void)line;
  return openssl_fails() ? NULL : __real_realloc(block, n);
}

static void openssl_free(void *block, const char *file, int line) {
  (void)file;
  (void)line;
  __real_free(block);
}

int openssl_memory_take(void) {
  return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
}

long openssl_memory_count(void) {
  return row.count;
}

long openssl_memory_failed(void) {
  return row.failed;
}

void openssl_memory_fail(long skip, long times) {
  row.skip = skip;
  row.times = times;
}
