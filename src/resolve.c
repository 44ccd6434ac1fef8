/*
** resolve.c -- getaddrinfo on a helper thread.
**
** One mutex guards all that is shared, and is never held across a lookup, so nobody waits
** for one. A thread takes one job after the other while jobs wait, then ends.
*/
#include "resolve.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* getaddrinfo loads modules that put large things on the stack; only what is touched costs memory. */
#define STACK_SIZE ((size_t)512 * 1024)

typedef enum phase {
  WAITING,  /* in the queue of jobs, no thread has it yet */
  RUNNING,  /* a thread's; released meanwhile, the thread frees it */
  DONE,     /* in the list of the done, next will name it */
  ANSWERED, /* named, or its resolver is gone: the holder's alone */
} phase;

struct lw_lookup {
  struct lw_lookup *prev, *next; /* in the queue or the list; NULL: in neither */
  lw_resolver *resolver;
  void *owner;
  struct addrinfo *list;
  int result;   /* LW_ERR_SYS(EAGAIN) until the answer is there */
  int released; /* nobody waits for it any more */
  phase phase;
  int family;
  char service[6];
  char *host; /* behind this struct, in the same block */
};

struct lw_resolver {
  pthread_mutex_t mutex;
  const lw_sys *sys;
  lw_lookup jobs, done; /* heads of rings */
  unsigned refs;        /* the loop's side, each thread, each lookup */
  unsigned threads;
  unsigned forks;
  int orphan; /* the loop's side has let go: the pipe is closed */
  int told;   /* a byte is in the pipe */
  int pipe[2];
};

/* --- rings --- */

static void empty(lw_lookup *ring) {
  ring->prev = ring->next = ring;
}

static void append(lw_lookup *ring, lw_lookup *lookup) {
  lookup->prev = ring->prev;
  lookup->next = ring;
  ring->prev->next = lookup;
  ring->prev = lookup;
}

static void take_out(lw_lookup *lookup) {
  if (!lookup->prev) return;
  lookup->prev->next = lookup->next;
  lookup->next->prev = lookup->prev;
  lookup->prev = lookup->next = NULL;
}

static lw_lookup *take_first(lw_lookup *ring) {
  lw_lookup *first = ring->next;
  if (first == ring) return NULL;
  take_out(first);
  return first;
}

/* --- what is shared --- */

static int forked(const lw_resolver *resolver) {
  return resolver->forks != lw_sys_forks();
}

/* Gives `refs` references back and unlocks; the last ones free it. */
static void unlock(lw_resolver *resolver, unsigned refs) {
  const int last = (resolver->refs -= refs) == 0;
  pthread_mutex_unlock(&resolver->mutex);
  if (!last) return;
  pthread_mutex_destroy(&resolver->mutex);
  free(resolver);
}

static void destroy(const lw_sys *sys, lw_lookup *lookup) {
  if (lookup->list) sys->freeaddrinfo(lookup->list);
  free(lookup);
}

lw_resolver *lw_resolver_new(const lw_sys *sys, int *err) {
  lw_resolver *resolver = calloc(1, sizeof *resolver);
  *err = LW_ERR_MEMORY;
  if (!resolver) return NULL;
  resolver->sys = sys;
  resolver->refs = 1;
  resolver->forks = lw_sys_forks();
  empty(&resolver->jobs);
  empty(&resolver->done);
  if (pthread_mutex_init(&resolver->mutex, NULL) != 0) goto fail;
  if (sys->pipe(resolver->pipe) < 0) {
    *err = LW_ERR_SYS(errno);
    pthread_mutex_destroy(&resolver->mutex);
    goto fail;
  }
  *err = 0;
  return resolver;
fail:
  free(resolver);
  return NULL;
}

void lw_resolver_free(lw_resolver *resolver) {
  const int child = forked(resolver);
  lw_lookup *lookup;
  if (!child) pthread_mutex_lock(&resolver->mutex);
  resolver->sys->close(resolver->pipe[0]);
  resolver->sys->close(resolver->pipe[1]);
  if (child) return; /* the rest may have been caught in mid-change by the fork */
  resolver->orphan = 1;
  while ((lookup = take_first(&resolver->jobs)) || (lookup = take_first(&resolver->done)))
    lookup->phase = ANSWERED;
  unlock(resolver, 1);
}

int lw_resolver_fd(const lw_resolver *resolver) {
  return resolver->pipe[0];
}

void *lw_resolver_next(lw_resolver *resolver) {
  lw_lookup *lookup;
  void *owner = NULL;
  char byte;
  pthread_mutex_lock(&resolver->mutex);
  if (resolver->told && resolver->sys->read(resolver->pipe[0], &byte, 1) >= 0) resolver->told = 0;
  lookup = take_first(&resolver->done);
  if (lookup) {
    lookup->phase = ANSWERED;
    owner = lookup->owner;
  }
  pthread_mutex_unlock(&resolver->mutex);
  return owner;
}

/* --- the thread's side --- */

static int ask(const lw_sys *sys, lw_lookup *lookup) {
  struct addrinfo hints;
  int code;
  memset(&hints, 0, sizeof hints);
  hints.ai_family = lookup->family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  code = sys->getaddrinfo(lookup->host, lookup->service, &hints, &lookup->list);
  if (code == 0) return 0;
  lookup->list = NULL;
  return code == EAI_SYSTEM ? LW_ERR_SYS(errno) : LW_ERR_GAI(code);
}

/* Called with the mutex held. Returns 1 if the lookup is nobody's any more. */
static int answer(lw_resolver *resolver, lw_lookup *lookup, int result) {
  lookup->result = result;
  lookup->phase = ANSWERED;
  if (lookup->released) return 1;
  if (resolver->orphan) return 0;
  lookup->phase = DONE;
  append(&resolver->done, lookup);
  /* one byte for all that is done until somebody looks */
  if (!resolver->told && resolver->sys->write(resolver->pipe[1], "", 1) == 1) resolver->told = 1;
  return 0;
}

static void *work(void *argument) {
  lw_resolver *resolver = argument;
  lw_lookup *lookup;
  pthread_mutex_lock(&resolver->mutex);
  while ((lookup = take_first(&resolver->jobs)) != NULL) {
    int result, nobodys;
    lookup->phase = RUNNING;
    pthread_mutex_unlock(&resolver->mutex);
    result = ask(resolver->sys, lookup);
    pthread_mutex_lock(&resolver->mutex);
    nobodys = answer(resolver, lookup, result);
    if (!nobodys) continue;
    resolver->refs--; /* the lookup's; the thread has one of its own */
    pthread_mutex_unlock(&resolver->mutex);
    destroy(resolver->sys, lookup);
    pthread_mutex_lock(&resolver->mutex);
  }
  resolver->threads--;
  unlock(resolver, 1);
  return NULL;
}

/* A detached thread that takes no signals: they are the host's. 0 or an errno. */
static int start_thread(lw_resolver *resolver) {
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t all, before;
  int err = pthread_attr_init(&attributes);
  if (err != 0) return err;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, STACK_SIZE); /* refused: the default is larger */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  err = pthread_create(&thread, &attributes, work, resolver);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return err;
}

/* --- the loop's side --- */

static lw_lookup *new_lookup(const char *host, unsigned short port, int family, void *owner) {
  const size_t size = strlen(host) + 1;
  lw_lookup *lookup = calloc(1, sizeof *lookup + size);
  if (!lookup) return NULL;
  lookup->owner = owner;
  lookup->family = family;
  lookup->result = LW_ERR_SYS(EAGAIN);
  lookup->phase = WAITING;
  snprintf(lookup->service, sizeof lookup->service, "%hu", port);
  lookup->host = (char *)(lookup + 1);
  memcpy(lookup->host, host, size);
  return lookup;
}

lw_lookup *lw_lookup_start(lw_resolver *resolver, const char *host, unsigned short port, int family,
                           void *owner, int *err) {
  lw_lookup *lookup = new_lookup(host, port, family, owner);
  int failed = 0;
  *err = LW_ERR_MEMORY;
  if (!lookup) return NULL;
  lookup->resolver = resolver;
  pthread_mutex_lock(&resolver->mutex);
  append(&resolver->jobs, lookup);
  if (resolver->threads < LW_RESOLVE_THREADS) {
    /* the new thread waits for the mutex, and so for these counts */
    failed = start_thread(resolver);
    if (!failed) {
      resolver->threads++;
      resolver->refs++;
    }
  }
  if (failed) take_out(lookup);
  else resolver->refs++;
  pthread_mutex_unlock(&resolver->mutex);
  if (!failed) {
    *err = 0;
    return lookup;
  }
  *err = LW_ERR_SYS(failed);
  free(lookup);
  return NULL;
}

int lw_lookup_result(const lw_lookup *lookup, const struct addrinfo **list) {
  int result;
  pthread_mutex_lock(&lookup->resolver->mutex);
  result = lookup->result;
  *list = result == 0 ? lookup->list : NULL;
  pthread_mutex_unlock(&lookup->resolver->mutex);
  return result;
}

void lw_lookup_release(lw_lookup *lookup) {
  lw_resolver *resolver;
  const lw_sys *sys;
  int running;
  if (!lookup || forked(lookup->resolver)) return;
  resolver = lookup->resolver;
  sys = resolver->sys;
  pthread_mutex_lock(&resolver->mutex);
  running = lookup->phase == RUNNING;
  if (running) lookup->released = 1;
  else take_out(lookup);
  unlock(resolver, running ? 0 : 1);
  if (!running) destroy(sys, lookup);
}
