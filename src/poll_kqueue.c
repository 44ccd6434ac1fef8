/*
** poll_kqueue.c -- the BSDs and macOS. Reading and writing are filters of their own.
*/
#include "poll.h"

#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__) || \
    defined(__DragonFly__)

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/event.h>
#include <sys/time.h>

typedef struct poller {
  lw_poll head;
  int fd;
  unsigned forks; /* a kqueue is not inherited: in a child its number is another's */
} poller;

static lw_poll *create(const lw_sys *sys, int *err) {
  poller *p = malloc(sizeof *p);
  if (!p) {
    *err = LW_ERR_MEMORY;
    return NULL;
  }
  p->head.backend = lw_poll_kqueue;
  p->head.sys = sys;
  p->forks = lw_sys_forks();
  p->fd = sys->kqueue();
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
  if (p->forks == lw_sys_forks()) poll->sys->close(p->fd);
  free(p);
}

static int descriptor(const lw_poll *poll) {
  return ((const poller *)poll)->fd;
}

static int change(lw_poll *poll, int fd, int filter, int flags, unsigned note, int data, void *tag) {
  struct kevent event;
  memset(&event, 0, sizeof event);
  event.ident = (uintptr_t)fd;
  event.filter = (__typeof__(event.filter))filter; /* the fields' widths differ from system to system, */
  event.flags = (__typeof__(event.flags))flags;
  event.fflags = note;
  event.data = data;
  event.udata = (__typeof__(event.udata))tag; /* and this is an integer on some */
  return poll->sys->kevent(descriptor(poll), &event, 1, NULL, 0, NULL);
}

/*
** What the reading filter is for. LW_FAULT alone has no filter of its own everywhere: a
** mark no buffer can reach leaves only the end of the stream to tell, once (EV_CLEAR),
** and wait passes over an end without an error.
*/
typedef enum reading { READ_NOTHING, READ_FAILURE, READ_ALL } reading;

static reading reading_of(unsigned interest) {
  if (interest & LW_READ) return READ_ALL;
  return interest & LW_FAULT ? READ_FAILURE : READ_NOTHING;
}

static int set_reading(lw_poll *poll, int fd, reading had, reading want, void *tag) {
  if (had == want) return 0;
  /* anew, for the flags of a filter that is there cannot all be changed */
  if (had != READ_NOTHING) change(poll, fd, EVFILT_READ, EV_DELETE, 0, 0, tag);
  if (want == READ_ALL) return change(poll, fd, EVFILT_READ, EV_ADD, 0, 0, tag);
  if (want == READ_FAILURE) return change(poll, fd, EVFILT_READ, EV_ADD | EV_CLEAR, NOTE_LOWAT, INT_MAX, tag);
  return 0;
}

static int set(lw_poll *poll, int fd, unsigned had, unsigned want, void *tag) {
  int failed = set_reading(poll, fd, reading_of(had), reading_of(want), tag) < 0;
  if (!failed && (want & LW_WRITE) && !(had & LW_WRITE))
    failed = change(poll, fd, EVFILT_WRITE, EV_ADD, 0, 0, tag) < 0;
  if ((had & LW_WRITE) && !(want & LW_WRITE)) change(poll, fd, EVFILT_WRITE, EV_DELETE, 0, 0, tag);
  if (failed && want) {
    int err = LW_ERR_SYS(errno);
    set_reading(poll, fd, reading_of(want), reading_of(had), tag); /* as it was, as far as can be */
    return err;
  }
  return 0;
}

static int wait(lw_poll *poll, lw_poll_event *events, int max, int64_t timeout) {
  struct kevent found[LW_POLL_MAX];
  struct timespec time;
  int count, told = 0;
  if (timeout >= 0) {
    int64_t seconds = timeout / 1000000000;
    time.tv_sec = seconds > INT_MAX ? INT_MAX : (time_t)seconds;
    time.tv_nsec = (long)(timeout % 1000000000);
  }
  count = poll->sys->kevent(descriptor(poll), NULL, 0, found, max, timeout < 0 ? NULL : &time);
  if (count < 0) return errno == EINTR ? 0 : LW_ERR_SYS(errno);
  for (int i = 0; i < count; i++) {
    unsigned ready = found[i].filter == EVFILT_WRITE ? LW_WRITE : LW_READ;
    if ((found[i].flags & EV_EOF) && found[i].fflags != 0) ready = LW_READ | LW_WRITE | LW_FAULT;
    else if ((found[i].flags & (EV_CLEAR | EV_EOF)) == (EV_CLEAR | EV_EOF)) continue; /* LW_FAULT: no failure */
    events[told++] = (lw_poll_event){(void *)found[i].udata, ready};
  }
  return told;
}

static const lw_poll_backend backend = {"kqueue", create, destroy, descriptor, set, wait};
const lw_poll_backend *const lw_poll_kqueue = &backend;

#else

const lw_poll_backend *const lw_poll_kqueue = NULL;

#endif
