/*
** count_zlib.c -- preloaded into a program, it counts what zlib is given to compress, and says at the end,
** on stderr: `zlib <version>: deflate <bytes>`. (Asking for the version, it needs zlib itself, which then is next.)
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <zlib.h>

static unsigned long long given;

int deflate(z_streamp z, int flush) {
  static int (*real)(z_streamp, int);
  unsigned before = z->avail_in;
  int code;
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "deflate");
  code = real(z, flush);
  given += before - z->avail_in;
  return code;
}

__attribute__((destructor)) static void tell(void) {
  fprintf(stderr, "zlib %s: deflate %llu\n", zlibVersion(), given);
}
