/*
** timer.c -- a heap with four children a node: flatter than two, and a node's children lie
** side by side in memory.
*/
#include "timer.h"

#include <stdlib.h>

#define CHILDREN 4

void lw_timers_init(lw_timers *timers) {
  *timers = (lw_timers){0};
  timers->ripe.prev = timers->ripe.next = &timers->ripe;
}

void lw_timers_clear(lw_timers *timers) {
  free(timers->heap);
  lw_timers_init(timers);
}

int lw_timer_join(lw_timers *timers, lw_timer *timer, int kind, void *owner) {
  if (timers->joined == timers->capacity) {
    size_t capacity = timers->capacity ? timers->capacity * 2 : 16;
    lw_timer **heap = realloc(timers->heap, capacity * sizeof(lw_timer *));
    if (!heap) return LW_ERR_MEMORY;
    timers->heap = heap;
    timers->capacity = capacity;
  }
  timers->joined++;
  *timer = (lw_timer){.kind = kind, .owner = owner};
  return 0;
}

void lw_timer_leave(lw_timers *timers, lw_timer *timer) {
  lw_timer_stop(timers, timer);
  timers->joined--;
}

/* The order counter may wrap; of two timers set less than 2^63 apart it still tells the first. */
static int before(const lw_timer *a, const lw_timer *b) {
  if (a->due != b->due) return a->due < b->due;
  return (int64_t)(a->order - b->order) < 0;
}

static void put(lw_timers *timers, size_t i, lw_timer *timer) {
  timers->heap[i] = timer;
  timer->place = i + 1;
}

/* Moves the hole at i towards the root until the timer may fill it. */
static void sift_up(lw_timers *timers, size_t i, lw_timer *timer) {
  while (i > 0) {
    size_t parent = (i - 1) / CHILDREN;
    if (!before(timer, timers->heap[parent])) break;
    put(timers, i, timers->heap[parent]);
    i = parent;
  }
  put(timers, i, timer);
}

/* Moves the hole at i towards the leaves until the timer may fill it. */
static void sift_down(lw_timers *timers, size_t i, lw_timer *timer) {
  for (;;) {
    size_t child = i * CHILDREN + 1, end = child + CHILDREN, least = child;
    if (child >= timers->count) break;
    if (end > timers->count) end = timers->count;
    while (++child < end)
      if (before(timers->heap[child], timers->heap[least])) least = child;
    if (!before(timers->heap[least], timer)) break;
    put(timers, i, timers->heap[least]);
    i = least;
  }
  put(timers, i, timer);
}

static void unlink_ripe(lw_timer *timer) {
  timer->prev->next = timer->next;
  timer->next->prev = timer->prev;
  timer->prev = timer->next = NULL;
}

void lw_timer_set(lw_timers *timers, lw_timer *timer, int64_t due) {
  const int later = due >= timer->due; /* and set anew: the order never brings it forward */
  if (timer->prev) unlink_ripe(timer);
  timer->due = due;
  timer->order = ++timers->order;
  if (!timer->place) sift_up(timers, timers->count++, timer);
  else if (later) sift_down(timers, timer->place - 1, timer);
  else sift_up(timers, timer->place - 1, timer);
}

void lw_timer_stop(lw_timers *timers, lw_timer *timer) {
  const size_t place = timer->place;
  lw_timer *last;
  if (timer->prev) unlink_ripe(timer);
  if (!place) return;
  timer->place = 0;
  last = timers->heap[--timers->count];
  if (last == timer) return;
  /* the last fills the hole, and may belong above or below it */
  if (before(last, timer)) sift_up(timers, place - 1, last);
  else sift_down(timers, place - 1, last);
}

int lw_timer_is_set(const lw_timer *timer) {
  return timer->place != 0 || timer->prev != NULL;
}

lw_timer *lw_timers_first(const lw_timers *timers) {
  if (lw_timers_are_ripe(timers)) return timers->ripe.next;
  return timers->count ? timers->heap[0] : NULL;
}

void lw_timers_ripen(lw_timers *timers, int64_t now) {
  lw_timer *ripe = &timers->ripe;
  while (timers->count && timers->heap[0]->due <= now) {
    lw_timer *timer = timers->heap[0];
    lw_timer_stop(timers, timer);
    timer->prev = ripe->prev;
    timer->next = ripe;
    ripe->prev->next = timer;
    ripe->prev = timer;
  }
}

int lw_timers_are_ripe(const lw_timers *timers) {
  return timers->ripe.next != &timers->ripe;
}

lw_timer *lw_timers_take(lw_timers *timers) {
  lw_timer *timer = timers->ripe.next;
  if (!lw_timers_are_ripe(timers)) return NULL;
  unlink_ripe(timer);
  return timer;
}
