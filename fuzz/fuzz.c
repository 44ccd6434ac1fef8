/*
** fuzz.c -- what the fuzzers share.
*/
#include "fuzz.h"

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sim/memory.h"

FUZZ_BEGIN

void fuzz_fail(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: %s\n", file, line, what);
  abort();
}

/* --- the input --- */

unsigned fuzz_byte(lw_slice *input) {
  if (input->n == 0) return 0;
  input->n--;
  return *input->bytes++;
}

fuzz_cuts fuzz_cuts_read(lw_slice *input) {
  static const size_t sizes[] = {1, 2, 3, 7, 15, 64, 300, 5000};
  fuzz_cuts cuts;
  cuts.state = fuzz_byte(input) * 2654435761u + 1;
  cuts.most = FUZZ_CHOICE(input, sizes);
  return cuts;
}

size_t fuzz_cuts_number(fuzz_cuts *cuts, size_t most) {
  cuts->state = cuts->state * 1664525u + 1013904223u;
  return 1 + (cuts->state >> 8) % most;
}

size_t fuzz_cuts_next(fuzz_cuts *cuts, size_t n) {
  size_t piece = fuzz_cuts_number(cuts, cuts->most);
  return piece < n ? piece : n;
}

/* --- what was seen --- */

static int tracing(void) {
  static int on = -1;
  if (on < 0) on = getenv("FUZZ_TRACE") != NULL;
  return on;
}

void fuzz_trace(const char *text) {
  if (tracing()) fprintf(stderr, "== %s\n", text);
}

/* FNV-1a. */
__attribute__((no_sanitize("address", "undefined")))
static void digest(fuzz_log *log, const unsigned char *bytes, size_t n) {
  uint64_t d = log->digest ^ UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < n; i++) d = (d ^ bytes[i]) * UINT64_C(0x100000001b3);
  log->digest = d ^ UINT64_C(0xcbf29ce484222325);
}

void fuzz_log_number(fuzz_log *log, const char *name, int64_t number) {
  if (tracing()) fprintf(stderr, "%s %lld\n", name, (long long)number);
  digest(log, (const unsigned char *)&number, sizeof number);
  log->count++;
}

void fuzz_log_bytes(fuzz_log *log, const char *name, const void *bytes, size_t n) {
  if (tracing()) {
    fprintf(stderr, "%s %zu:", name, n);
    for (size_t i = 0; i < n && i < 200; i++) fprintf(stderr, " %02x", ((const unsigned char *)bytes)[i]);
    fprintf(stderr, "\n");
  }
  /* whether they may be read is asked once for all, and not at each of them */
  EXPECT(n == 0 || !__asan_region_is_poisoned((void *)(uintptr_t)bytes, n), "bytes that are nobody's");
  digest(log, bytes, n);
  log->count += n;
}

void fuzz_log_slice(fuzz_log *log, const char *name, lw_slice slice) {
  fuzz_log_number(log, name, (int64_t)slice.n);
  fuzz_log_bytes(log, name, slice.bytes, slice.n);
}

int fuzz_log_same(const fuzz_log *a, const fuzz_log *b) {
  return a->digest == b->digest && a->count == b->count;
}

/* --- memory --- */

size_t fuzz_held(void) {
  return memory_bytes();
}

void fuzz_starve(long n) {
  memory_fail(n < 0 ? 0 : n, n < 0 ? 0 : -1);
}

/*
** Copies lie in a pen of their own, all of it poisoned but they: no allocation is to be paid for each.
** What was dropped is poisoned again. In front of each stands its size.
*/
#define UNSEEN __attribute__((no_sanitize("address")))
#define PEN ((size_t)4 << 20)
static _Alignas(16) unsigned char pen[PEN];
static size_t pen_used, pen_copies;

UNSEEN unsigned char *fuzz_copy(const void *bytes, size_t n) {
  unsigned char *copy;
  if (pen_used == 0) __asan_poison_memory_region(pen, PEN);
  if (pen_copies == 0 && pen_used > PEN / 2) pen_used = 0;
  EXPECT(n < PEN - 64 && pen_used < PEN - 64 - n, "more copies than there is room for");
  copy = pen + pen_used + 16;
  pen_used += 16 + (n + 15) / 16 * 16;
  pen_copies++;
  __asan_unpoison_memory_region(copy, n);
  if (n > 0) memcpy(copy, bytes, n);
  ((size_t *)(void *)copy)[-1] = n;
  return copy;
}

UNSEEN void fuzz_drop(void *copy) {
  if (!copy) return;
  pen_copies--;
  __asan_poison_memory_region(copy, ((size_t *)copy)[-1]);
}

/* --- chance --- */

static uint32_t chance;
static int dry;

void fuzz_reset_random(void) {
  chance = 1;
  dry = 0;
}

void fuzz_dry(int is_dry) {
  dry = is_dry;
}

/* In place of libcrypto's: keys are the same in each run. */
int RAND_bytes(unsigned char *bytes, int n);
int RAND_bytes(unsigned char *bytes, int n) {
  if (dry) return 0;
  for (int i = 0; i < n; i++) {
    chance = chance * 1664525u + 1013904223u;
    bytes[i] = (unsigned char)(chance >> 24);
  }
  return 1;
}

FUZZ_END
