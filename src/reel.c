/*
** reel.c -- bodies of long messages, wound into a session fragment by fragment.
*/
#include "reel.h"

#include <stdlib.h>

typedef struct turn {
  struct turn *next;
  lw_body *body;
} turn;

struct lw_reel {
  turn *first, *last; /* in the order of the session's long messages */
  size_t held, files; /* of their bodies */
};

lw_reel *lw_reel_new(void) {
  return calloc(1, sizeof(lw_reel));
}

/* Counts what a body has (1), or has no longer (-1 as a size_t). */
static void count(lw_reel *reel, const lw_body *body, size_t sign) {
  reel->held += sign * lw_body_held(body);
  reel->files += sign * lw_body_files(body);
}

static void drop_first(lw_reel *reel) {
  turn *first = reel->first;
  reel->first = first->next;
  if (!reel->first) reel->last = NULL;
  count(reel, first->body, (size_t)-1);
  lw_body_free(first->body);
  free(first);
}

void lw_reel_free(lw_reel *reel) {
  if (!reel) return;
  while (reel->first) drop_first(reel);
  free(reel);
}

int lw_reel_add(lw_reel *reel, lw_session *s, lw_opcode opcode, lw_body *body) {
  turn *added = calloc(1, sizeof *added);
  int err = added ? lw_session_begin(s, opcode, lw_body_size(body)) : LW_ERR_MEMORY;
  if (err < 0) {
    free(added);
    lw_body_free(body);
    return err;
  }
  added->body = body;
  count(reel, body, 1);
  if (reel->last) reel->last->next = added;
  else reel->first = added;
  reel->last = added;
  return 0;
}

/* Reads n bytes of the first body. 0 or a negative lw_err. */
static int read_first(lw_reel *reel, unsigned char *bytes, size_t n) {
  lw_body *body = reel->first->body;
  int err;
  count(reel, body, (size_t)-1);
  err = lw_body_read(body, bytes, n);
  count(reel, body, 1);
  return err;
}

int lw_reel_wind(lw_reel *reel, lw_session *s, const char **path) {
  int took = 0;
  size_t n;
  *path = NULL;
  while ((n = lw_session_wants(s)) > 0) {
    unsigned char *room = lw_session_room(s);
    int got = room ? read_first(reel, room, n) : LW_ERR_MEMORY;
    if (got < 0 && room) *path = lw_body_path(reel->first->body);
    if (got == 0) got = lw_session_fill(s);
    if (got < 0) return got;
    if (got > 0) drop_first(reel);
    took = 1;
  }
  return took;
}

size_t lw_reel_held(const lw_reel *reel) {
  return reel->held;
}

size_t lw_reel_files(const lw_reel *reel) {
  return reel->files;
}
