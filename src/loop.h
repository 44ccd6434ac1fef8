/*
** loop.h -- poll, timers, and the queue of what is ready.
**
** The loop calls nobody. A turn begins with lw_loop_turn (waits, and puts what became
** ready into the queue), then lw_loop_next hands out one owner after the other until the
** turn is empty. What is posted during a turn belongs to the next, so a turn always ends.
**
** Nothing here runs while an owner works, so owners may free themselves and each other at
** any time: leaving the loop takes them out of the queue.
*/
#ifndef LW_LOOP_H
#define LW_LOOP_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "crypt.h"
#include "deflate.h"
#include "err.h"
#include "poll.h"
#include "resolve.h"
#include "sys.h"
#include "timer.h"

#pragma GCC visibility push(hidden)

#define LW_RECEIVE_SIZE ((size_t)64 * 1024) /* one read into the loop's receive buffer */
#define LW_RECEIVE_HEAD ((size_t)34 * 1024) /* and room before it: see stream.h */

#define LW_FETCH 512     /* what a small frame touches of a connection, see struct lw_conn */
#define LW_FETCH_LINE 64 /* bytes memory gives at a time */

/* Why an owner is handed out, beside LW_READ and LW_WRITE. */
#define LW_DUE 4u    /* a timer of its own fired */
#define LW_POSTED 8u /* it was posted */

/* One thing that may become ready: part of its owner's struct. */
typedef struct lw_source {
  struct lw_source *prev, *next; /* in a queue; prev NULL: not queued */
  int fd;                        /* -1: none */
  unsigned interest;             /* LW_READ, LW_WRITE, LW_FAULT: what the poller is asked for */
  unsigned polled;               /* what the poller told, if queued for that */
  unsigned posted;               /* what it was posted for, if queued for that */
  int constant;                  /* a file no poller takes: ready in every turn */
  int kind;                      /* the owner's: who it is */
  void *owner;
} lw_source;

/*
** Begins to fetch the memory from here on. Of ten thousand connections each lies in memory
** and none in a cache: to wait for the next one would cost more than what is done with it.
*/
static inline void lw_fetch(const void *at) {
  for (uintptr_t i = 0; i < LW_FETCH; i += LW_FETCH_LINE) __builtin_prefetch((const void *)((uintptr_t)at + i), 1);
}

typedef struct lw_loop lw_loop;

/* Parts of the loop that its connections use. */
struct lw_loop {
  const lw_sys *sys;
  lw_poll *poll;          /* NULL until something is waited for */
  lw_timers timers;
  lw_resolver *resolver;  /* NULL until a name is looked up */
  lw_pool pool;           /* corks */
  lw_entropy entropy;     /* masking keys */
  lw_deflate_shelf deflate; /* contexts that connections share */
  unsigned char *receive; /* LW_RECEIVE_HEAD + LW_RECEIVE_SIZE bytes; NULL until lw_loop_receive */
  int64_t now;            /* nanoseconds; read once a turn */
  uint64_t turn;          /* how many have begun */
  lw_source queue;        /* the head of the ring of what is ready in this turn */
  lw_source posted;       /* the head of the ring of what belongs to the next */
  lw_source due;          /* stands in the queue for all ripe timers */
  lw_source lookups;      /* the resolver's own source */
  unsigned forks;         /* lw_sys_forks() when it was made */
  const char *backend;    /* the poller asked for; NULL: the best */
};

/* Opens nothing yet. NULL: no memory. `backend` is NULL, "epoll", "kqueue" or "poll" (a string that stays). */
lw_loop *lw_loop_new(const lw_sys *sys, const char *backend);
/* Whoever joined must have left, or is merely forgotten: nobody is called, no foreign descriptor closed. */
void lw_loop_free(lw_loop *loop);

/* Opens the poller if it is not open yet. 0 or a negative lw_err. */
int lw_loop_open(lw_loop *loop);
/* The receive buffer, made on first use. NULL: no memory. */
unsigned char *lw_loop_receive(lw_loop *loop);
/* The resolver, made and watched on first use: the owner of its lookups is an lw_source, posted when done. NULL with *err. */
lw_resolver *lw_loop_resolver(lw_loop *loop, int *err);
/* 1 in a child of the process that made the loop: then nothing but lw_loop_free may be used. */
int lw_loop_forked(const lw_loop *loop);
/* Reads the clock into loop->now. */
int64_t lw_loop_clock(lw_loop *loop);

void lw_source_init(lw_source *source, int kind, void *owner);
/*
** What to wait for on source->fd; 0 stops waiting. A fault is handed out as LW_READ. What the poller told before and nobody
** waits for now is taken back (it will tell again); what was posted stays. A regular file,
** which no poller takes, is ready in every turn. 0 or a negative lw_err; stopping cannot
** fail. An unchanged interest costs no system call.
*/
int lw_source_watch(lw_loop *loop, lw_source *source, unsigned interest);
/*
** Queues it for the next turn (or this one, if none is in progress), for the reasons in
** `why`. One that is still queued in this turn stays there: it is handed out once, for all
** its reasons.
*/
void lw_source_post(lw_loop *loop, lw_source *source, unsigned why);
/* Out of the queue and out of the poller; the descriptor is the owner's to close. */
void lw_source_leave(lw_loop *loop, lw_source *source);

/*
** Begins a turn: reads the clock, waits for at most `timeout` nanoseconds (< 0: for ever;
** not at all while anything is queued or due), reads the clock again if it waited, and
** queues what is ready, the owners of due timers first, then what was posted, then what
** the poller tells. 0 or a negative lw_err.
**
** A turn that was left early keeps its rest at the head of the queue, before all that is
** new. While the rest still holds timers no more are added to them: so timers that are
** always due and descriptors that are always ready cannot starve each other, however few
** of each turn the caller takes.
*/
int lw_loop_turn(lw_loop *loop, int64_t timeout);

/* What is handed out: kind and owner of a source or of a timer. */
typedef struct lw_ready {
  int kind;
  void *owner;
  unsigned why;
} lw_ready;

/*
** The next of this turn: 1, or 0 when the turn is over. A timer that is handed out is not
** set any more; those of one turn come by deadline, then in the order they were set.
*/
int lw_loop_next(lw_loop *loop, lw_ready *ready);

/* Nanoseconds from now (the clock is read) until a turn has work: 0 while anything is queued or due, -1: no timer is set. */
int64_t lw_loop_timeout(const lw_loop *loop);

#pragma GCC visibility pop
#endif
