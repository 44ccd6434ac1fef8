/*
** heartbeat.c -- a server's heartbeat: which of its connections are silent, found by one timer.
**
** A beat is looked at twice. First after the shorter of interval and timeout: when that is
** the timeout, silence is the end, and whoever lives rests until the next beat; when it is
** the interval, whoever lives gets the next beat, and silence is late. Then after the
** longer: who rested gets a beat, who was late lives by now or is ended. As everybody has
** the same interval and timeout, each of the two queues stays in the order of beats.
*/
#include "heartbeat.h"

#define LOOKS_AT_ONCE 256 /* then the others have their turn */

static const char why[] = "heartbeat timeout";

static int64_t shorter(const lw_heartbeat *h) {
  return h->settings.interval < h->settings.timeout ? h->settings.interval : h->settings.timeout;
}

static int64_t longer(const lw_heartbeat *h) {
  return h->settings.interval < h->settings.timeout ? h->settings.timeout : h->settings.interval;
}

static void take_out(lw_seat *seat) {
  seat->prev->next = seat->next;
  seat->next->prev = seat->prev;
}

static void put_before(lw_seat *place, lw_seat *seat) {
  seat->prev = place->prev;
  seat->next = place;
  seat->prev->next = seat;
  place->prev = seat;
}

void lw_heartbeat_init(lw_heartbeat *h, const lw_heartbeat_settings *settings, lw_seat *ring) {
  h->settings = *settings;
  h->ring = ring;
  put_before(ring, &h->mark);
}

int64_t lw_heartbeat_join(const lw_heartbeat *h, lw_seat *seat, int64_t now) {
  seat->beat = now;
  return h->settings.interval == 0 ? -1 : now + shorter(h);
}

/*
** 1 if there was no sign of life since the last beat. Who shakes hands or says goodbye has
** deadlines of its own. The system is asked about those only from whom nothing was read.
*/
static int is_silent(const lw_seat *seat) {
  if (lw_conn_received(seat->conn) >= seat->beat) return 0;
  return lw_conn_where(seat->conn) == LW_CONN_OPEN && !lw_conn_is_paused(seat->conn) &&
         lw_conn_alive(seat->conn) < seat->beat;
}

static void end(lw_heartbeat *h, lw_seat *seat, int64_t now) {
  lw_conn_terminate(seat->conn, why, sizeof why - 1);
  seat->beat = now; /* it goes when its end is taken: until then it stays in order */
  take_out(seat);
  put_before(h->ring, seat);
}

static void beat(lw_heartbeat *h, lw_seat *seat, int64_t now) {
  lw_fetch(seat->next); /* while this one's ping goes to the system */
  if (!lw_conn_is_paused(seat->conn)) lw_conn_ping(seat->conn, NULL, 0); /* not open: nothing */
  lw_conn_flush(seat->conn);
  seat->beat = now;
  take_out(seat);
  put_before(h->ring, seat);
}

static void look_first(lw_heartbeat *h, lw_seat *seat, int64_t now) {
  int silent = is_silent(seat);
  if (silent && h->settings.timeout <= h->settings.interval) {
    end(h, seat, now);
  } else if (!silent && h->settings.interval <= h->settings.timeout) {
    beat(h, seat, now);
  } else {
    take_out(seat);
    put_before(&h->mark, seat);
  }
}

static void look_again(lw_heartbeat *h, lw_seat *seat, int64_t now) {
  if (h->settings.timeout > h->settings.interval && is_silent(seat)) end(h, seat, now);
  else beat(h, seat, now);
}

int64_t lw_heartbeat_look(lw_heartbeat *h, int64_t now) {
  if (h->settings.interval == 0) return -1;
  for (int looks = 0;; looks++) {
    lw_seat *first = h->mark.next == h->ring ? NULL : h->mark.next;
    lw_seat *second = h->ring->next == &h->mark ? NULL : h->ring->next;
    int64_t first_due = first ? first->beat + shorter(h) : INT64_MAX;
    int64_t second_due = second ? second->beat + longer(h) : INT64_MAX;
    int64_t due = first_due < second_due ? first_due : second_due;
    if (due == INT64_MAX) return -1;
    if (due > now || looks == LOOKS_AT_ONCE) return due;
    if (first_due <= second_due) look_first(h, first, now);
    else look_again(h, second, now);
  }
}
