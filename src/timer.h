/*
** timer.h -- deadlines in a heap.
**
** A timer is part of its owner's struct. Setting a timer cannot fail: the heap makes room
** when the timer joins. A deadline that only moves away (a heartbeat, a stall) need not be
** told each time: the owner looks back when the timer fires and sets it again.
*/
#ifndef LW_TIMER_H
#define LW_TIMER_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

#pragma GCC visibility push(hidden)

typedef struct lw_timer {
  struct lw_timer *prev, *next; /* among the ripe; prev NULL: not ripe */
  int64_t due;    /* nanoseconds on the loop's clock */
  uint64_t order; /* of two that are due together, the one set first goes first */
  size_t place;   /* in the heap, from 1; 0: not set */
  int kind;       /* the owner's: what fires */
  void *owner;
} lw_timer;

typedef struct lw_timers {
  lw_timer **heap; /* four children a node, from index 0 */
  size_t count;
  size_t capacity;
  size_t joined; /* timers there is room for */
  uint64_t order;
  lw_timer ripe; /* the head of the ring of those that were due; it must not move */
} lw_timers;

void lw_timers_init(lw_timers *timers);
void lw_timers_clear(lw_timers *timers); /* timers still set are merely forgotten */

/* Makes room for one more. Every timer joins once before it is set, and leaves at the end. 0 or LW_ERR_MEMORY. */
int lw_timer_join(lw_timers *timers, lw_timer *timer, int kind, void *owner);
void lw_timer_leave(lw_timers *timers, lw_timer *timer); /* stops it too */

/* Sets or moves it; counts as set anew among those due together. */
void lw_timer_set(lw_timers *timers, lw_timer *timer, int64_t due);
void lw_timer_stop(lw_timers *timers, lw_timer *timer); /* not set: nothing */
int lw_timer_is_set(const lw_timer *timer);

/* The earliest, ripe or not, or NULL. */
lw_timer *lw_timers_first(const lw_timers *timers);

/*
** A turn takes its timers in two steps, so that one set meanwhile, even to a time gone by,
** waits for the next: first all that are due ripen, then they are taken one by one. A ripe
** timer is still set: it can be moved (it is ripe no longer), stopped, or leave.
*/
void lw_timers_ripen(lw_timers *timers, int64_t now);
int lw_timers_are_ripe(const lw_timers *timers); /* 1 if any is ripe */
/* The next ripe one by deadline, not set any more, or NULL. */
lw_timer *lw_timers_take(lw_timers *timers);

#pragma GCC visibility pop
#endif
