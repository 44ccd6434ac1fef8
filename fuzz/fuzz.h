/*
** fuzz.h -- what the fuzzers share: numbers cut off the input, a log of what was seen, and
** memory that is counted and may run out.
**
** A fuzzer is a C file with LLVMFuzzerTestOneInput (libFuzzer calls it with each input). The
** first bytes of an input say how it is to be taken, the rest is the peer's.
*/
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* Coverage is to be that of the library: inputs are not kept for new ways through a fuzzer. */
#define FUZZ_BEGIN _Pragma("clang attribute push(__attribute__((no_sanitize(\"coverage\"))), apply_to = function)")
#define FUZZ_END _Pragma("clang attribute pop")

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* A finding: says where and what, and ends the process. */
#define EXPECT(holds, what) \
  do { \
    if (!(holds)) fuzz_fail(__FILE__, __LINE__, what); \
  } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *what);

/* --- the input --- */

/* The next byte of the input, 0 behind its end. */
unsigned fuzz_byte(lw_slice *input);
/* One of these, by the next byte. */
#define FUZZ_CHOICE(input, table) ((table)[fuzz_byte(input) % (sizeof(table) / sizeof *(table))])

/* How the bytes are cut: a chain of pieces, the same for the same seed. */
typedef struct fuzz_cuts {
  uint32_t state;
  size_t most; /* bytes of a piece */
} fuzz_cuts;

/* From the next two bytes: pieces of a byte, of a few, or of many. */
fuzz_cuts fuzz_cuts_read(lw_slice *input);
/* 1 to `most`. */
size_t fuzz_cuts_number(fuzz_cuts *cuts, size_t most);
/* How long the next piece of n (1 or more) bytes is. */
size_t fuzz_cuts_next(fuzz_cuts *cuts, size_t n);

/* --- what was seen --- */

/* A digest of numbers and bytes. With FUZZ_TRACE in the environment all of it is printed, too. */
typedef struct fuzz_log {
  uint64_t digest;
  size_t count;
} fuzz_log;

void fuzz_log_number(fuzz_log *log, const char *name, int64_t number);
/* The bytes one by one: how they were cut leaves no trace. */
void fuzz_log_bytes(fuzz_log *log, const char *name, const void *bytes, size_t n);
/* How many bytes, and which. */
void fuzz_log_slice(fuzz_log *log, const char *name, lw_slice slice);
int fuzz_log_same(const fuzz_log *a, const fuzz_log *b);
void fuzz_trace(const char *text);

/* --- memory, and chance --- */

/* Bytes the library (and the fuzzer, which uses fuzz_copy) holds. */
size_t fuzz_held(void);
/* n more allocations succeed, then none; negative: all. */
void fuzz_starve(long n);
/* A copy in memory of just that size, so that every byte too far is seen; not counted, never starved. */
unsigned char *fuzz_copy(const void *bytes, size_t n);
void fuzz_drop(void *copy);
/* Random bytes begin anew: the same for each run. */
void fuzz_reset_random(void);
/* From now on there are none (1), or there are again (0). */
void fuzz_dry(int is_dry);

#endif
