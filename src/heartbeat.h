/*
** heartbeat.h -- a server's heartbeat: which of its connections are silent, found by one timer.
**
** Each open connection gets a ping every `interval`; one that gives no sign of life for
** `timeout` after it is ended. What counts is in lw_conn_alive. A connection that does not
** read (pause) is let be.
**
** Nothing is kept but the time of the last beat: the server's ring of seats is itself the
** queue. Behind the mark, in the order of their beats, are those whose beat awaits a first
** look; before it, in the same order, those that wait for the second.
*/
#ifndef LW_HEARTBEAT_H
#define LW_HEARTBEAT_H

#include <stdint.h>

#include "conn.h"

#pragma GCC visibility push(hidden)

/* How often and how long, nanoseconds; interval 0: no heartbeat. */
typedef struct lw_heartbeat_settings {
  int64_t interval, timeout;
} lw_heartbeat_settings;

typedef struct lw_heartbeat {
  lw_heartbeat_settings settings;
  lw_seat *ring; /* the head of the server's ring of seats */
  lw_seat mark;  /* stands in that ring, and is nobody's: its `conn` is NULL */
} lw_heartbeat;

/* `ring` is empty; the mark joins it. */
void lw_heartbeat_init(lw_heartbeat *h, const lw_heartbeat_settings *settings, lw_seat *ring);
/* A seat that has just been put at the ring's end: its first beat is an interval from now. Returns when to look, or -1. */
int64_t lw_heartbeat_join(const lw_heartbeat *h, lw_seat *seat, int64_t now);
/*
** Beats and judges what is due at `now`, a limited number of connections at a time.
** Connections are ended, none is freed. Returns when to look again (at once, if it is not
** later than `now`), or -1 when there is nobody to look after.
*/
int64_t lw_heartbeat_look(lw_heartbeat *h, int64_t now);

#pragma GCC visibility pop
#endif
