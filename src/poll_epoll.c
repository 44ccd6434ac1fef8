/*
** poll_epoll.c -- Linux. The kernel keeps the registrations; an idle one costs nothing.
*/
#include "poll.h"

#ifdef __linux__

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

typedef struct poller {
  lw_poll head;
  int fd;
} poller;

static lw_poll *create(const lw_sys *sys, int *err) {
  poller *p = malloc(sizeof *p);
  if (!p) {
    *err = LW_ERR_MEMORY;
    return NULL;
  }
  p->head.backend = lw_poll_epoll;
  p->head.sys = sys;
  p->fd = sys->epoll_create();
  if (p->fd < 0) {
    *err = LW_ERR_SYS(errno);
    free(p);
    return NULL;
  }
  *err = 0;
  return &p->head;
}

static void destroy(lw_poll *poll) {
  poller *p = (poller *)poll;
  poll->sys->close(p->fd);
  free(p);
}

static int descriptor(const lw_poll *poll) {
  return ((const poller *)poll)->fd;
}

static int set(lw_poll *poll, int fd, unsigned had, unsigned want, void *tag) {
  const int operation = !had ? EPOLL_CTL_ADD : want ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
  struct epoll_event event = {0, {tag}}; /* errors and hang-ups are told unasked */
  int result;
  if (want & LW_READ) event.events |= EPOLLIN;
  if (want & LW_WRITE) event.events |= EPOLLOUT;
  result = poll->sys->epoll_ctl(descriptor(poll), operation, fd, &event);
  /* a deletion that fails has nothing to delete: the descriptor is closed already */
  return result < 0 && want ? LW_ERR_SYS(errno) : 0;
}

static int wait(lw_poll *poll, lw_poll_event *events, int max, int64_t timeout) {
  struct epoll_event found[LW_POLL_MAX];
  int count = poll->sys->epoll_wait(descriptor(poll), found, max, timeout);
  if (count < 0) return errno == EINTR ? 0 : LW_ERR_SYS(errno);
  for (int i = 0; i < count; i++) {
    unsigned ready = 0;
    if (found[i].events & EPOLLIN) ready |= LW_READ;
    if (found[i].events & EPOLLOUT) ready |= LW_WRITE;
    if (found[i].events & (EPOLLERR | EPOLLHUP)) ready = LW_READ | LW_WRITE | LW_FAULT;
    events[i] = (lw_poll_event){found[i].data.ptr, ready};
  }
  return count;
}

static const lw_poll_backend backend = {"epoll", create, destroy, descriptor, set, wait};
const lw_poll_backend *const lw_poll_epoll = &backend;

#else

const lw_poll_backend *const lw_poll_epoll = NULL;

#endif
