/*
** memory.c -- memory that is counted and may run out.
*/
#include "memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

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

static long count, failed, blocks, skip, times;
static size_t bytes;

void memory_begin(void) {
  count = failed = skip = times = 0;
}

long memory_count(void) {
  return count;
}

void memory_fail(long to_skip, long to_fail) {
  skip = to_skip;
  times = to_fail;
}

long memory_failed(void) {
  return failed;
}

long memory_blocks(void) {
  return blocks;
}

size_t memory_bytes(void) {
  return bytes;
}

static int fails(void) {
  count++;
  if (times == 0) return 0;
  if (skip > 0) {
    skip--;
    return 0;
  }
  if (times > 0) times--;
  failed++;
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
  return fails() ? NULL : gained(__real_malloc(n));
}

void *__wrap_calloc(size_t of, size_t n) {
  return fails() ? NULL : gained(__real_calloc(of, n));
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
  return fails() ? NULL : resize(block, n);
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
  return fails() ? NULL : resize(block, n);
}
