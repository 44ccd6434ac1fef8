/*
** memory.c -- memory that is counted and may run out.
*/
#include "memory.h"

#include <execinfo.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEEP 40 /* calls that a trace tells */

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

static memory_row ours;
static long blocks;
static size_t bytes;
static int resting, tracing;

void memory_begin(void) {
  memset(&ours, 0, sizeof ours);
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

int memory_rests(void) {
  return resting > 0;
}

int memory_row_fails(memory_row *r) {
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
  return memory_row_fails(&ours) ? NULL : gained(__real_malloc(n));
}

void *__wrap_calloc(size_t of, size_t n) {
  return memory_row_fails(&ours) ? NULL : gained(__real_calloc(of, n));
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
  return memory_row_fails(&ours) ? NULL : resize(block, n);
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
  return memory_row_fails(&ours) ? NULL : resize(block, n);
}
