/*
** body.h -- the bytes of a long message: pieces of memory and of files, read from front to back.
**
** A file is recognised again by what the system tells of it (a mark): one that has changed since
** it was looked at is not sent for what it was. It is open only while it is read.
*/
#ifndef LW_BODY_H
#define LW_BODY_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "sys.h"

#pragma GCC visibility push(hidden)

/* By what a file is recognised. */
typedef struct lw_file_mark {
  uint64_t device, inode;
  int64_t seconds, nanoseconds; /* when it was last written */
  uint64_t size;
} lw_file_mark;

/* Marks the regular file at `path`. 0 or a negative lw_err. */
int lw_file_look(const lw_sys *sys, const char *path, lw_file_mark *mark);

typedef struct lw_body lw_body;

/* Room for so many pieces. NULL: no memory. */
lw_body *lw_body_new(const lw_sys *sys, size_t pieces);
void lw_body_free(lw_body *body);
/* The n bytes, copied. 0 or LW_ERR_MEMORY. */
int lw_body_add(lw_body *body, const void *bytes, size_t n);
/* n bytes of a file from `first` on, which lie within its mark: opens it. 0 or a negative lw_err. */
int lw_body_add_file(lw_body *body, const char *path, const lw_file_mark *mark, uint64_t first, uint64_t n);

/* The next n bytes, which must be there. 0 or a negative lw_err: then nothing more can be read. */
int lw_body_read(lw_body *body, void *bytes, size_t n);
/* Of all pieces, also those read. */
uint64_t lw_body_size(const lw_body *body);
/* Bytes of memory it holds. */
size_t lw_body_held(const lw_body *body);
/* Files it has open. */
size_t lw_body_files(const lw_body *body);
/* The path of the file that failed, after a failure. */
const char *lw_body_path(const lw_body *body);

#pragma GCC visibility pop
#endif
