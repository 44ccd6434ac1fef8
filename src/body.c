/*
** body.c -- the bytes of a long message: pieces of memory and of files.
*/
#include "body.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifdef __APPLE__
#define st_mtim st_mtimespec
#endif

typedef struct piece {
  unsigned char *bytes; /* NULL: of a file */
  char *path;
  int fd;
  uint64_t first, n; /* what is to be read */
} piece;

struct lw_body {
  const lw_sys *sys;
  uint64_t size;
  size_t held, files;
  size_t count, at; /* pieces; the one that is read */
  piece pieces[];
};

/* ------------------------------------------------------------------ marks */

static lw_file_mark mark_of(const struct stat *status) {
  return (lw_file_mark){.device = (uint64_t)status->st_dev,
                        .inode = (uint64_t)status->st_ino,
                        .seconds = (int64_t)status->st_mtim.tv_sec,
                        .nanoseconds = (int64_t)status->st_mtim.tv_nsec,
                        .size = (uint64_t)status->st_size};
}

static int same_mark(const lw_file_mark *a, const lw_file_mark *b) {
  return a->device == b->device && a->inode == b->inode && a->seconds == b->seconds &&
         a->nanoseconds == b->nanoseconds && a->size == b->size;
}

int lw_file_look(const lw_sys *sys, const char *path, lw_file_mark *mark) {
  struct stat status;
  if (sys->stat(path, &status) < 0) return LW_ERR_SYS(errno);
  if (!S_ISREG(status.st_mode)) return LW_ERR_FILE_KIND;
  *mark = mark_of(&status);
  return 0;
}

/* ----------------------------------------------------------------- pieces */

lw_body *lw_body_new(const lw_sys *sys, size_t pieces) {
  lw_body *body;
  if (pieces > (SIZE_MAX - sizeof *body) / sizeof *body->pieces) return NULL;
  body = calloc(1, sizeof *body + pieces * sizeof *body->pieces);
  if (body) body->sys = sys;
  return body;
}

static void drop_piece(lw_body *body, piece *p) {
  if (p->bytes) {
    body->held -= (size_t)(p->first + p->n);
  } else if (p->path) {
    body->sys->close(p->fd);
    body->files--;
  }
  free(p->bytes);
  free(p->path);
  memset(p, 0, sizeof *p);
}

void lw_body_free(lw_body *body) {
  if (!body) return;
  for (size_t i = 0; i < body->count; i++) drop_piece(body, &body->pieces[i]);
  free(body);
}

int lw_body_add(lw_body *body, const void *bytes, size_t n) {
  piece *p = &body->pieces[body->count];
  if (n == 0) return 0;
  if (!(p->bytes = malloc(n))) return LW_ERR_MEMORY;
  memcpy(p->bytes, bytes, n);
  p->n = n;
  body->count++;
  body->size += n;
  body->held += n;
  return 0;
}

/* A descriptor of the file that was marked, or a negative lw_err. */
static int open_marked(const lw_sys *sys, const char *path, const lw_file_mark *mark) {
  struct stat status;
  lw_file_mark now;
  int err = 0, fd = sys->open_file(path);
  if (fd < 0) return LW_ERR_SYS(errno);
  if (sys->fstat(fd, &status) < 0) err = LW_ERR_SYS(errno);
  else if (!S_ISREG(status.st_mode)) err = LW_ERR_FILE_KIND;
  if (err == 0) {
    now = mark_of(&status);
    if (same_mark(&now, mark)) return fd;
    err = LW_ERR_FILE_CHANGED;
  }
  sys->close(fd);
  return err;
}

int lw_body_add_file(lw_body *body, const char *path, const lw_file_mark *mark, uint64_t first, uint64_t n) {
  piece *p = &body->pieces[body->count];
  char *copy;
  int fd;
  if (n == 0) return 0;
  if (!(copy = strdup(path))) return LW_ERR_MEMORY;
  fd = open_marked(body->sys, path, mark);
  if (fd < 0) {
    free(copy);
    return fd;
  }
  *p = (piece){.path = copy, .fd = fd, .first = first, .n = n};
  body->count++;
  body->files++;
  body->size += n;
  return 0;
}

/* ---------------------------------------------------------------- reading */

/* Some of a piece: how many bytes, or a negative lw_err. */
static long read_piece(lw_body *body, piece *p, unsigned char *bytes, size_t n) {
  ssize_t got;
  if (n > p->n) n = (size_t)p->n;
  if (p->bytes) {
    memcpy(bytes, p->bytes + p->first, n);
    return (long)n;
  }
  got = body->sys->pread(p->fd, bytes, n, (off_t)p->first);
  if (got < 0) return LW_ERR_SYS(errno);
  return got == 0 ? LW_ERR_FILE_SHORT : (long)got;
}

int lw_body_read(lw_body *body, void *bytes, size_t n) {
  unsigned char *to = bytes;
  while (n > 0) {
    piece *p = &body->pieces[body->at];
    long got = read_piece(body, p, to, n);
    if (got < 0) return (int)got;
    to += got;
    n -= (size_t)got;
    p->first += (uint64_t)got;
    p->n -= (uint64_t)got;
    if (p->n > 0) continue;
    drop_piece(body, p);
    body->at++;
  }
  return 0;
}

uint64_t lw_body_size(const lw_body *body) {
  return body->size;
}

size_t lw_body_held(const lw_body *body) {
  return body->held;
}

size_t lw_body_files(const lw_body *body) {
  return body->files;
}

const char *lw_body_path(const lw_body *body) {
  const char *path = body->at < body->count ? body->pieces[body->at].path : NULL;
  return path ? path : "";
}
