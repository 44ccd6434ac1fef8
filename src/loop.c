/*
** loop.c -- poll, timers, and the queue of what is ready.
**
** Two rings of sources: `queue` is what is left of this turn, `posted` what waits for the
** next. Beginning a turn puts one behind the other, so handing out is taking the head.
*/
#include "loop.h"

#include <errno.h>
#include <stdlib.h>

/* Waits in a row that come back full before a turn has gathered enough: 16 times 256 events. */
#define GATHER_ROUNDS 16

/* --- rings --- */

static void empty(lw_source *ring) {
  ring->prev = ring->next = ring;
}

static int is_empty(const lw_source *ring) {
  return ring->next == ring;
}

static void append(lw_source *ring, lw_source *source) {
  source->prev = ring->prev;
  source->next = ring;
  ring->prev->next = source;
  ring->prev = source;
}

static void take_out(lw_source *source) {
  if (!source->prev) return;
  source->prev->next = source->next;
  source->next->prev = source->prev;
  source->prev = source->next = NULL;
}

/* Moves all of one ring behind the other. */
static void splice(lw_source *ring, lw_source *from) {
  if (is_empty(from)) return;
  from->next->prev = ring->prev;
  ring->prev->next = from->next;
  from->prev->next = ring;
  ring->prev = from->prev;
  empty(from);
}

/* --- the loop --- */

lw_loop *lw_loop_new(const lw_sys *sys, const char *backend) {
  lw_loop *loop = calloc(1, sizeof *loop);
  if (!loop) return NULL;
  loop->sys = sys;
  loop->backend = backend;
  loop->forks = lw_sys_forks();
  lw_timers_init(&loop->timers);
  empty(&loop->queue);
  empty(&loop->posted);
  lw_source_init(&loop->due, 0, NULL);
  lw_source_init(&loop->lookups, 0, NULL);
  lw_loop_clock(loop);
  return loop;
}

/* The poller goes first and takes its registrations with it: in a child they are the parent's too. */
void lw_loop_free(lw_loop *loop) {
  if (!loop) return;
  lw_poll_free(loop->poll);
  if (loop->resolver) lw_resolver_free(loop->resolver);
  lw_timers_clear(&loop->timers);
  lw_pool_clear(&loop->pool);
  lw_deflate_shelf_clear(&loop->deflate);
  free(loop->receive);
  free(loop);
}

int lw_loop_open(lw_loop *loop) {
  int err = 0;
  if (!loop->poll) loop->poll = lw_poll_new(loop->sys, loop->backend, &err);
  return err;
}

unsigned char *lw_loop_receive(lw_loop *loop) {
  if (!loop->receive) loop->receive = malloc(LW_RECEIVE_HEAD + LW_RECEIVE_SIZE);
  return loop->receive;
}

lw_resolver *lw_loop_resolver(lw_loop *loop, int *err) {
  lw_resolver *resolver = loop->resolver;
  *err = 0;
  if (resolver) return resolver;
  resolver = lw_resolver_new(loop->sys, err);
  if (!resolver) return NULL;
  loop->lookups.fd = lw_resolver_fd(resolver);
  *err = lw_source_watch(loop, &loop->lookups, LW_READ);
  if (*err < 0) {
    lw_resolver_free(resolver);
    return NULL;
  }
  return loop->resolver = resolver;
}

int lw_loop_forked(const lw_loop *loop) {
  return loop->forks != lw_sys_forks();
}

int64_t lw_loop_clock(lw_loop *loop) {
  return loop->now = loop->sys->now();
}

/* --- sources --- */

void lw_source_init(lw_source *source, int kind, void *owner) {
  *source = (lw_source){.fd = -1, .kind = kind, .owner = owner};
}

/* A constant source queues itself anew whenever it has been handed out: no list of them is kept. */
static void tell_constant(lw_loop *loop, lw_source *source) {
  source->polled = source->interest & (LW_READ | LW_WRITE);
  if (source->polled && !source->prev) append(&loop->posted, source);
}

/* Takes back what the poller told and nobody waits for any more. */
static void take_back(lw_source *source) {
  source->polled &= source->interest;
  if (!source->polled && !source->posted) take_out(source);
}

/* Registers a changed interest. In a child the poller is shared with the parent, so it is left alone. */
static int tell_poller(lw_loop *loop, lw_source *source, unsigned interest) {
  int err;
  if (lw_loop_forked(loop)) return interest ? LW_ERR_FORKED : 0;
  if (source->constant || (!interest && !loop->poll)) return 0;
  err = lw_loop_open(loop);
  if (err == 0) err = lw_poll_set(loop->poll, source->fd, source->interest, interest, source);
  if (err != LW_ERR_SYS(EPERM)) return err;
  source->constant = 1;
  return 0;
}

int lw_source_watch(lw_loop *loop, lw_source *source, unsigned interest) {
  int err;
  if (interest == source->interest) return 0;
  err = tell_poller(loop, source, interest);
  if (err < 0) return err;
  source->interest = interest;
  if (!interest) source->constant = 0; /* the next descriptor may be another kind */
  if (source->constant) tell_constant(loop, source);
  take_back(source);
  return 0;
}

void lw_source_post(lw_loop *loop, lw_source *source, unsigned why) {
  source->posted |= why;
  if (!source->prev) append(&loop->posted, source);
}

void lw_source_leave(lw_loop *loop, lw_source *source) {
  lw_source_watch(loop, source, 0);
  source->posted = 0;
  take_out(source);
}

/* --- turns --- */

/* Nanoseconds until the first timer is due or 0 when there is work, -1 when there is no timer. */
static int64_t work_in(const lw_loop *loop, int64_t now) {
  const lw_timer *first;
  if (!is_empty(&loop->queue) || !is_empty(&loop->posted)) return 0;
  first = lw_timers_first(&loop->timers);
  if (!first) return -1;
  if (first->due <= now) return 0;
  /* a deadline at the end of time and a clock before 0 are further apart than an int64_t tells */
  if (now < 0 && first->due > INT64_MAX + now) return INT64_MAX;
  return first->due - now;
}

int64_t lw_loop_timeout(const lw_loop *loop) {
  return work_in(loop, loop->sys->now());
}

/* Queues the source in this turn for what the poller tells. Returns 1 if that was news. */
static int tell(lw_loop *loop, lw_source *source, unsigned ready) {
  const unsigned known = source->polled;
  if (source == &loop->lookups) {
    lw_source *done;
    while ((done = lw_resolver_next(loop->resolver)) != NULL) {
      done->posted |= LW_POSTED;
      if (!done->prev) append(&loop->queue, done);
    }
    return 0;
  }
  ready &= source->interest;
  if (ready & LW_FAULT) ready = (ready | LW_READ) & ~LW_FAULT; /* reading tells which */
  source->polled |= ready;
  if (source->polled && !source->prev) append(&loop->queue, source);
  return source->polled != known;
}

/* Queues what the events tell, and asks again while more may be waiting and there was news. */
static int gather(lw_loop *loop, lw_poll_event *events, int count) {
  for (int round = 1;; round++) {
    int news = 0;
    for (int i = 0; i < count; i++) news |= tell(loop, events[i].tag, events[i].ready);
    if (count < LW_POLL_MAX || !news || round == GATHER_ROUNDS) return 0;
    count = lw_poll_wait(loop->poll, events, LW_POLL_MAX, 0);
    if (count < 0) return count;
  }
}

/* Puts what is due behind the rest of the turn before, once that holds no timers any more. */
static void queue_due(lw_loop *loop) {
  if (lw_timers_are_ripe(&loop->timers)) return;
  take_out(&loop->due);
  lw_timers_ripen(&loop->timers, loop->now);
  if (lw_timers_are_ripe(&loop->timers)) append(&loop->queue, &loop->due);
}

int lw_loop_turn(lw_loop *loop, int64_t timeout) {
  lw_poll_event events[LW_POLL_MAX];
  int64_t work;
  int count = 0;
  if (lw_loop_forked(loop)) return LW_ERR_FORKED;
  work = work_in(loop, lw_loop_clock(loop));
  if (work >= 0 && (timeout < 0 || work < timeout)) timeout = work;
  if (timeout != 0) {
    int err = lw_loop_open(loop);
    if (err < 0) return err;
  }
  if (loop->poll) count = lw_poll_wait(loop->poll, events, LW_POLL_MAX, timeout);
  if (count < 0) return count;
  if (timeout != 0) lw_loop_clock(loop);
  loop->turn++;
  queue_due(loop);
  splice(&loop->queue, &loop->posted);
  return gather(loop, events, count);
}

/* The next ripe timer, if they are first in the queue; after the last, their place there is free. */
static lw_timer *next_due(lw_loop *loop) {
  lw_timer *timer = NULL;
  if (loop->queue.next != &loop->due) return NULL;
  timer = lw_timers_take(&loop->timers);
  if (!lw_timers_are_ripe(&loop->timers)) take_out(&loop->due);
  return timer;
}

int lw_loop_next(lw_loop *loop, lw_ready *ready) {
  lw_timer *timer = next_due(loop);
  lw_source *source = loop->queue.next;
  if (timer) {
    *ready = (lw_ready){timer->kind, timer->owner, LW_DUE};
    return 1;
  }
  if (is_empty(&loop->queue)) return 0;
  lw_fetch(source->next); /* while this one is dealt with */
  take_out(source);
  *ready = (lw_ready){source->kind, source->owner, source->polled | source->posted};
  source->polled = source->posted = 0;
  if (source->constant) tell_constant(loop, source);
  return 1;
}
