/*
** poll.c -- chooses a backend and passes the calls on.
*/
#include "poll.h"

#include <errno.h>
#include <string.h>

/* The backends this system has, the best first. */
static const lw_poll_backend *backend_at(int i) {
  const lw_poll_backend *all[3];
  int count = 0;
  if (lw_poll_epoll) all[count++] = lw_poll_epoll;
  if (lw_poll_kqueue) all[count++] = lw_poll_kqueue;
  if (lw_poll_poll) all[count++] = lw_poll_poll;
  return i < count ? all[i] : NULL;
}

lw_poll *lw_poll_new(const lw_sys *sys, const char *name, int *err) {
  const lw_poll_backend *backend;
  *err = LW_ERR_SYS(ENOSYS); /* no such backend here */
  for (int i = 0; (backend = backend_at(i)) != NULL; i++) {
    lw_poll *poll;
    if (name && strcmp(name, backend->name) != 0) continue;
    poll = backend->create(sys, err);
    /* a kernel built without the call leaves us the next best */
    if (poll || *err != LW_ERR_SYS(ENOSYS)) return poll;
  }
  return NULL;
}

void lw_poll_free(lw_poll *poll) {
  if (poll) poll->backend->destroy(poll);
}

int lw_poll_fd(const lw_poll *poll) {
  return poll->backend->fd(poll);
}

int lw_poll_set(lw_poll *poll, int fd, unsigned had, unsigned want, void *tag) {
  return poll->backend->set(poll, fd, had, want, tag);
}

int lw_poll_wait(lw_poll *poll, lw_poll_event *events, int max, int64_t timeout) {
  if (max > LW_POLL_MAX) max = LW_POLL_MAX;
  return poll->backend->wait(poll, events, max, timeout);
}
