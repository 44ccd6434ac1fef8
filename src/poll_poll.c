/*
** poll_poll.c -- everywhere. The registrations lie in one dense array that the kernel reads
** at each wait, so this one is for few descriptors, and for systems without the others.
*/
#include "poll.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>

typedef struct poller {
  lw_poll head;
  struct pollfd *fds;
  void **tags;    /* beside fds */
  size_t *places; /* by descriptor: where in fds, from 1; 0: not there */
  size_t count, capacity;
  size_t place_count;
  size_t first; /* where the next wait begins to look, so that the last are served too */
} poller;

static lw_poll *create(const lw_sys *sys, int *err) {
  poller *p = calloc(1, sizeof *p);
  *err = p ? 0 : LW_ERR_MEMORY;
  if (!p) return NULL;
  p->head.backend = lw_poll_poll;
  p->head.sys = sys;
  return &p->head;
}

static void destroy(lw_poll *poll) {
  poller *p = (poller *)poll;
  free(p->fds);
  free(p->tags);
  free(p->places);
  free(p);
}

static int descriptor(const lw_poll *poll) {
  (void)poll;
  return -1;
}

/* Room for one more registration, of this descriptor. What a failure leaves is merely larger. */
static int make_room(poller *p, size_t fd) {
  if (fd >= p->place_count) {
    size_t count = p->place_count ? p->place_count : 64;
    size_t *places;
    while (count <= fd) count *= 2;
    places = realloc(p->places, count * sizeof *places);
    if (!places) return LW_ERR_MEMORY;
    for (size_t i = p->place_count; i < count; i++) places[i] = 0;
    p->places = places;
    p->place_count = count;
  }
  if (p->count == p->capacity) {
    size_t capacity = p->capacity ? p->capacity * 2 : 16;
    struct pollfd *fds = realloc(p->fds, capacity * sizeof *fds);
    void **tags;
    if (!fds) return LW_ERR_MEMORY;
    p->fds = fds;
    tags = realloc(p->tags, capacity * sizeof *tags);
    if (!tags) return LW_ERR_MEMORY;
    p->tags = tags;
    p->capacity = capacity;
  }
  return 0;
}

static short events_of(unsigned interest) {
  return (short)((interest & LW_READ ? POLLIN : 0) | (interest & LW_WRITE ? POLLOUT : 0));
}

/* The last registration takes the place of the one that goes. */
static void take_out(poller *p, size_t fd) {
  size_t place = fd < p->place_count ? p->places[fd] : 0;
  if (!place) return;
  p->count--;
  p->fds[place - 1] = p->fds[p->count];
  p->tags[place - 1] = p->tags[p->count];
  p->places[p->fds[place - 1].fd] = place;
  p->places[fd] = 0;
}

static int set(lw_poll *poll, int fd, unsigned had, unsigned want, void *tag) {
  poller *p = (poller *)poll;
  size_t index = (size_t)fd, place;
  if (fd < 0) return want ? LW_ERR_SYS(EBADF) : 0;
  if (!want) {
    take_out(p, index);
    return 0;
  }
  if (!had) {
    int err = make_room(p, index);
    if (err < 0) return err;
    if (p->places[index]) return LW_ERR_SYS(EEXIST);
    p->places[index] = ++p->count;
  }
  place = index < p->place_count ? p->places[index] : 0;
  if (!place) return LW_ERR_SYS(ENOENT);
  p->fds[place - 1] = (struct pollfd){fd, events_of(want), 0};
  p->tags[place - 1] = tag;
  return 0;
}

static int wait(lw_poll *poll, lw_poll_event *events, int max, int64_t timeout) {
  const short failed = POLLERR | POLLHUP | POLLNVAL;
  poller *p = (poller *)poll;
  int found = poll->sys->poll(p->fds, p->count, timeout), told = 0;
  size_t i = p->first < p->count ? p->first : 0;
  if (found < 0) return errno == EINTR ? 0 : LW_ERR_SYS(errno);
  for (size_t seen = 0; seen < p->count && told < found && told < max; seen++) {
    unsigned ready = 0;
    if (p->fds[i].revents & POLLIN) ready |= LW_READ;
    if (p->fds[i].revents & POLLOUT) ready |= LW_WRITE;
    if (p->fds[i].revents & failed) ready = LW_READ | LW_WRITE | LW_FAULT;
    if (ready) events[told++] = (lw_poll_event){p->tags[i], ready};
    if (++i == p->count) i = 0;
  }
  p->first = i;
  return told;
}

static const lw_poll_backend backend = {"poll", create, destroy, descriptor, set, wait};
const lw_poll_backend *const lw_poll_poll = &backend;
