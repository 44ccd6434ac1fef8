/*
** sig.c -- the only file that touches signals.
**
** A table with a slot for every signal number tells the handler which pipe to write to. The
** handler may run on any thread of the host, so it reads nothing but atomics and what was
** written before it was installed. Loops of several threads share the table: a slot is
** claimed by exchanging its owner.
**
** The handlers are installed with SA_RESTART: a host's own blocking calls go on as if nothing
** had been; a poller's wait is interrupted all the same, and the pipe wakes it anyway.
*/
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* NSIG */
#endif

#include "sig.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef NSIG
#define NUMBERS NSIG
#else
#define NUMBERS 65
#endif

struct lw_signals {
  lw_loop *loop;
  lw_source source;
  int pipe[2];
};

typedef struct slot {
  _Atomic(lw_signals *) owner; /* NULL: free */
  atomic_uint forks;           /* the process that took it */
  atomic_int fd;               /* the pipe to write to, from 1 (0: none) */
  atomic_int pending;          /* a byte of this signal is in the pipe */
  struct sigaction before;     /* what was there; written before the handler is installed */
  ssize_t (*write)(int fd, const void *bytes, size_t n);
} slot;

static slot slots[NUMBERS];
static atomic_int running; /* handlers at work now, on whatever threads */

static const struct {
  const char *name;
  int number;
} names[] = {
  {"INT", SIGINT},       {"TERM", SIGTERM}, {"HUP", SIGHUP},   {"QUIT", SIGQUIT}, {"USR1", SIGUSR1},
  {"USR2", SIGUSR2},     {"CHLD", SIGCHLD}, {"CONT", SIGCONT}, {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},
  {"TSTP", SIGTSTP},     {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU}, {"URG", SIGURG},   {"PROF", SIGPROF},
  {"VTALRM", SIGVTALRM}, {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},
#ifdef SIGWINCH
  {"WINCH", SIGWINCH},
#endif
#ifdef SIGIO
  {"IO", SIGIO},
#endif
#ifdef SIGPWR
  {"PWR", SIGPWR},
#endif
#ifdef SIGINFO
  {"INFO", SIGINFO},
#endif
};

int lw_signal_number(const char *name) {
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(name, names[i].name) == 0) return names[i].number;
  return 0;
}

/* --- the handler: async-signal-safe throughout --- */

/* 1 if a parent of this process took the signal. */
static int is_inherited(slot *s) {
  return atomic_load(&s->forks) != lw_sys_forks();
}

/* In a child the pipe is the parent's too. What was there before the parent took the signal decides. */
static void hand_back(int number) {
  sigaction(number, &slots[number].before, NULL);
  raise(number); /* blocked until the handler returns */
}

static void handle(int number) {
  slot *s = &slots[number];
  const int saved = errno;
  atomic_fetch_add(&running, 1);
  if (is_inherited(s)) {
    hand_back(number);
  } else {
    const int fd = atomic_load(&s->fd) - 1;
    const unsigned char byte = (unsigned char)number;
    if (fd >= 0 && !atomic_exchange(&s->pending, 1) && s->write(fd, &byte, 1) != 1) atomic_store(&s->pending, 0);
  }
  atomic_fetch_sub(&running, 1);
  errno = saved;
}

/* --- taking and restoring --- */

lw_signals *lw_signals_new(lw_loop *loop, int kind, void *owner, int *err) {
  lw_signals *signals = malloc(sizeof *signals);
  *err = LW_ERR_MEMORY;
  if (!signals) return NULL;
  signals->loop = loop;
  lw_source_init(&signals->source, kind, owner);
  if (loop->sys->pipe(signals->pipe) < 0) {
    *err = LW_ERR_SYS(errno);
    goto fail;
  }
  signals->source.fd = signals->pipe[0];
  *err = lw_source_watch(loop, &signals->source, LW_READ);
  if (*err == 0) return signals;
  loop->sys->close(signals->pipe[0]);
  loop->sys->close(signals->pipe[1]);
fail:
  free(signals);
  return NULL;
}

/* Puts the handler in place. Everything it reads is written before. */
static int install(slot *s, const lw_signals *signals, int number) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  if (sigaction(number, NULL, &s->before) < 0) return LW_ERR_SYS(errno);
  s->write = signals->loop->sys->write;
  atomic_store(&s->forks, lw_sys_forks());
  atomic_store(&s->pending, 0);
  atomic_store(&s->fd, signals->pipe[1] + 1);
  if (sigaction(number, &action, NULL) == 0) return 0;
  atomic_store(&s->fd, 0);
  return LW_ERR_SYS(errno);
}

/* A handler that somebody has put over ours meanwhile stays. */
static void give_back(slot *s, int number) {
  struct sigaction current;
  if (sigaction(number, NULL, &current) == 0 && current.sa_handler == handle)
    sigaction(number, &s->before, NULL);
  atomic_store(&s->fd, 0);
  /* another thread may be between reading fd and writing to it: the pipe must not close under
     it. In a child that thread is not there, and its count would never go down */
  while (!is_inherited(s) && atomic_load(&running) > 0) sched_yield();
  atomic_store(&s->owner, NULL);
}

int lw_signals_take(lw_signals *signals, int number) {
  slot *s = &slots[number];
  lw_signals *owner = NULL;
  int err;
  if (atomic_load(&s->owner) && is_inherited(s)) give_back(s, number); /* what a parent took is free here */
  if (!atomic_compare_exchange_strong(&s->owner, &owner, signals))
    return owner == signals ? 0 : LW_ERR_BUSY;
  err = install(s, signals, number);
  if (err < 0) atomic_store(&s->owner, NULL);
  return err;
}

void lw_signals_restore(lw_signals *signals, int number) {
  if (atomic_load(&slots[number].owner) == signals) give_back(&slots[number], number);
}

void lw_signals_free(lw_signals *signals) {
  const lw_sys *sys;
  if (!signals) return;
  sys = signals->loop->sys;
  for (int number = 1; number < NUMBERS; number++) lw_signals_restore(signals, number);
  lw_source_leave(signals->loop, &signals->source);
  sys->close(signals->pipe[0]);
  sys->close(signals->pipe[1]);
  free(signals);
}

int lw_signals_next(lw_signals *signals) {
  unsigned char number;
  while (signals->loop->sys->read(signals->pipe[0], &number, 1) == 1) {
    if (atomic_load(&slots[number].owner) != signals) continue; /* restored since */
    atomic_store(&slots[number].pending, 0);
    return number;
  }
  return 0;
}
