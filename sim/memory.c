/*
** memory.c -- memory that is counted and may run out.
*/
#include "memory.h"

#include <execinfo.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEEP 40       /* calls that a trace tells, and that tell one place from another */
#define PLACE_BITS 17 /* of their table's size */

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *block, size_t n);
void __real_free(void *block);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *block, size_t n);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t most);

/* A row of allocations: which have been, which will fail. */
typedef struct row {
  long count, failed, skip, times;
} row;

static row ours, openssl;
static unsigned stacks; /* how many allocations of each place in OpenSSL are noted; 0: none */
static long blocks;
static size_t bytes;
static int resting, tracing;

void memory_begin(void) {
  memset(&ours, 0, sizeof ours);
  memset(&openssl, 0, sizeof openssl);
}

long memory_count(void) {
  return ours.count;
}

void memory_fail(long skip, long times) {
  ours.skip = skip;
  ours.times = times;
}

long memory_failed(void) {
  return ours.failed;
}

void memory_rest(int more) {
  resting += more;
}

long memory_blocks(void) {
  return blocks;
}

size_t memory_bytes(void) {
  return bytes;
}

void memory_trace(int on) {
  void *calls[DEEP];
  tracing = on;
  if (on) backtrace(calls, DEEP); /* its first call allocates */
}

static void print_calls(void) {
  void *calls[DEEP];
  backtrace_symbols_fd(calls, backtrace(calls, DEEP), STDERR_FILENO);
}

static int fails(row *r) {
  if (resting > 0) return 0;
  r->count++;
  if (r->times == 0) return 0;
  if (r->skip > 0) {
    r->skip--;
    return 0;
  }
  if (r->times > 0) r->times--;
  r->failed++;
  if (tracing) print_calls();
  return 1;
}

static void *gained(void *block) {
  if (!block) return NULL;
  blocks++;
  bytes += malloc_usable_size(block);
  return block;
}

static void lose(void *block) {
  if (!block) return;
  blocks--;
  bytes -= malloc_usable_size(block);
}

void *__wrap_malloc(size_t n) {
  return fails(&ours) ? NULL : gained(__real_malloc(n));
}

void *__wrap_calloc(size_t of, size_t n) {
  return fails(&ours) ? NULL : gained(__real_calloc(of, n));
}

static void *resize(void *block, size_t n) {
  size_t before = block ? malloc_usable_size(block) : 0;
  void *grown = __real_realloc(block, n);
  if (!grown) return NULL;
  bytes += malloc_usable_size(grown) - before;
  blocks += block == NULL;
  return grown;
}

void *__wrap_realloc(void *block, size_t n) {
  return fails(&ours) ? NULL : resize(block, n);
}

void __wrap_free(void *block) {
  lose(block);
  __real_free(block);
}

char *__wrap_strdup(const char *text) {
  return __wrap_strndup(text, strlen(text));
}

char *__wrap_strndup(const char *text, size_t most) {
  size_t n = strnlen(text, most);
  char *copy = __wrap_malloc(n + 1);
  if (!copy) return NULL;
  memcpy(copy, text, n);
  copy[n] = '\0';
  return copy;
}

void *memory_lua(void *context, void *block, size_t before, size_t n) {
  (void)context;
  if (n == 0) {
    __wrap_free(block);
    return NULL;
  }
  if (block && n <= before) return resize(block, n);
  return fails(&ours) ? NULL : resize(block, n);
}

/* --- OpenSSL's --- */

/* Open addressing, by a hash of all calls above. */
typedef struct place {
  uint64_t hash;
  unsigned seen;
} place;

static place places[1 << PLACE_BITS];
static long *noted;
static long noted_count, noted_room, place_count;

void memory_openssl_note(unsigned of_each) {
  void *calls[DEEP];
  stacks = of_each;
  backtrace(calls, DEEP); /* its first call allocates */
}

long memory_openssl_noted(long i) {
  return i < noted_count ? noted[i] : 0;
}

long memory_openssl_places(void) {
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
  noted[noted_count++] = openssl.count + 1;
}

static int openssl_fails(void) {
  if (stacks && resting <= 0) note();
  return fails(&openssl);
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

int memory_take_openssl(void) {
  return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
}

long memory_openssl_count(void) {
  return openssl.count;
}

long memory_openssl_failed(void) {
  return openssl.failed;
}

void memory_openssl_fail(long skip, long times) {
  openssl.skip = skip;
  openssl.times = times;
}
