/*
** poll.h -- which descriptors are ready: epoll, kqueue or poll behind one face.
**
** Level-triggered. A registration carries a tag, which wait hands back. One registration
** a descriptor: epoll and poll refuse a second one with LW_ERR_SYS(EEXIST). What the system
** cannot wait for, since it is always ready (a regular file), epoll refuses with EPERM.
*/
#ifndef LW_POLL_H
#define LW_POLL_H

#include "err.h"
#include "sys.h"

#pragma GCC visibility push(hidden)

#define LW_READ 1u  /* readable, at its end, or failed */
#define LW_WRITE 2u /* writable, or failed */
#define LW_FAULT 16u /* an error, or a hang-up on both sides: asked for by who does not want to read */

#define LW_POLL_MAX 256 /* events one wait hands out at most */

typedef struct lw_poll lw_poll;

typedef struct lw_poll_event {
  void *tag;
  unsigned ready; /* LW_READ | LW_WRITE; an error or hang-up sets all three, whatever was asked for */
} lw_poll_event;

/* What a backend offers; each lives in a file of its own and is NULL where the system lacks it. */
typedef struct lw_poll_backend {
  const char *name; /* "epoll", "kqueue", "poll" */
  lw_poll *(*create)(const lw_sys *sys, int *err);
  void (*destroy)(lw_poll *poll); /* closes the poller's own descriptor, touches no other */
  int (*fd)(const lw_poll *poll);
  /* `had` is the interest registered before (0: none), `want` the one from now on (0: none). */
  int (*set)(lw_poll *poll, int fd, unsigned had, unsigned want, void *tag);
  int (*wait)(lw_poll *poll, lw_poll_event *events, int max, int64_t timeout);
} lw_poll_backend;

extern const lw_poll_backend *const lw_poll_epoll, *const lw_poll_kqueue, *const lw_poll_poll;

/* The head every backend's own struct begins with. */
struct lw_poll {
  const lw_poll_backend *backend;
  const lw_sys *sys;
};

/* The best backend there is, or the one named (NULL: the best). NULL with *err on failure. */
lw_poll *lw_poll_new(const lw_sys *sys, const char *name, int *err);
void lw_poll_free(lw_poll *poll); /* NULL is fine */
/* One pollable descriptor for all that is waited on, or -1 (the plain poll backend has none). */
int lw_poll_fd(const lw_poll *poll);
/*
** Changes what is waited for on a descriptor. Must be told want = 0 before the descriptor
** is closed. 0 or a negative lw_err; with want = 0 it cannot fail.
*/
int lw_poll_set(lw_poll *poll, int fd, unsigned had, unsigned want, void *tag);
/*
** Waits at most `timeout` nanoseconds (< 0: for ever, 0: not at all). Returns how many
** events, at most LW_POLL_MAX, or a negative lw_err; an interrupted wait is 0 events.
** Called again at once, it begins with those it had no room for.
*/
int lw_poll_wait(lw_poll *poll, lw_poll_event *events, int max, int64_t timeout);

#pragma GCC visibility pop
#endif
