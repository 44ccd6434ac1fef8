/*
** lua_step.c -- one turn: what the loop hands out, taken to its class.
**
** All handlers of a turn run under one protected call. When one raises, `step` deals with
** the error and enters again where the turn was left; no C frame of a connection lies
** between a handler and `step`.
*/
#include "lua_step.h"

#include <math.h>
#include <string.h>

#include "lua_event.h"
#include "lua_loop.h"
#include "lua_server.h"
#include "lua_socket.h"
#include "lua_timer.h"

/* Fair turns: after so much of one connection the others have theirs, if there are others. */
#define FAIR_MESSAGES 64
#define FAIR_BYTES ((size_t)64 * 1024)
/*
** And after so much in any case: that others have become ready meanwhile, only the next turn finds out. One read of
** 64 KiB may be ten thousand small messages, or compressed ones that come to 64 MiB.
*/
#define ALONE_MESSAGES 1024
#define ALONE_BYTES ((size_t)1024 * 1024)

/* A turn in progress; on the C stack of `step`. */
typedef struct turn {
  lw_host *host;
  int64_t deadline; /* of the budget; < 0: none */
  lua_Integer handled;
  lw_conn *conn;   /* being served */
  int ended;       /* its last event has been handed out */
  int messages;    /* of it so far */
  size_t bytes;
  int untold;      /* the event at hand is not delivered yet */
  lw_conn_event_kind kind; /* of it */
  const lw_box *source; /* whose handler runs, for onerror; NULL: nobody's */
  int stands;           /* there is memory to call a handler */
  lw_box *dead;         /* of a server that has closed: alive until its last handler has run */
} turn;

/* The connection has had its share, or has nothing more. */
static void leave_conn(lua_State *L, turn *t) {
  lw_conn *c = t->conn;
  int ended = t->ended;
  t->conn = NULL;
  t->source = NULL;
  t->ended = 0;
  if (!c) return;
  if (ended) {
    if (lw_conn_is_guest(c)) lw_lua_server_forget(L, c);
    else lw_socket_end(L, c);
    return;
  }
  if (!lw_conn_owner(c) && lw_conn_where(c) == LW_CONN_OPEN && !lw_conn_is_guest(c)) lw_conn_orphan(c); /* its server is gone */
  lw_conn_rest(c);
}

/* 1 when others should have their turn. */
static int had_its_share(const turn *t) {
  if (t->messages < FAIR_MESSAGES && t->bytes < FAIR_BYTES) return 0;
  if (t->messages >= ALONE_MESSAGES || t->bytes >= ALONE_BYTES) return 1;
  return lw_loop_timeout(t->host->loop) == 0;
}

/* A handler has forked and this is the child, or has closed the state: nothing here may be touched. */
static int is_lost(const turn *t) {
  return !t->host->loop || lw_loop_forked(t->host->loop);
}

static int over_budget(const turn *t) {
  return t->deadline >= 0 && t->handled > 0 && t->host->loop->sys->now() >= t->deadline;
}

/* Whose handlers an event of the connection may call. */
static const lw_box *source_of(lw_conn *c, int guest) {
  lw_server *server = lw_conn_seat(c)->server;
  if (!guest) return lw_conn_owner(c);
  return server ? lw_server_owner(server) : NULL;
}

/* The message at hand could not be kept for a task, for want of memory as a rule: no other may follow it. */
static int is_message_lost(const turn *t) {
  return t->host->lost && t->kind == LW_CONN_MESSAGE;
}

static void serve_event(lua_State *L, turn *t, const lw_conn_event *event, int guest) {
  lw_conn *c = t->conn;
  t->messages++;
  t->bytes += event->n;
  t->ended = event->kind == LW_CONN_ENDED;
  t->source = source_of(c, guest);
  t->kind = event->kind;
  t->untold = 1;
  t->host->told = t->host->lost = 0;
  if (guest) t->handled += lw_lua_server_guest(L, c, event);
  else t->handled += lw_socket_deliver(L, c, event);
  if (is_message_lost(t) && !is_lost(t)) lw_conn_untell(c, t->kind); /* and onerror has taken the error */
  t->untold = 0;
}

/* The connection's events, one after the other. */
static void serve_conn(lua_State *L, turn *t) {
  lw_conn_event event;
  while (!t->ended && !had_its_share(t) && !over_budget(t)) {
    int guest = lw_conn_is_guest(t->conn);
    if (!lw_conn_next(t->conn, &event)) break;
    serve_event(L, t, &event, guest);
    if (is_lost(t)) return;
  }
  leave_conn(L, t);
}

static void bury(lua_State *L, turn *t) {
  if (t->dead) lw_box_die(L, t->dead);
  t->dead = NULL;
}

static void serve_server(lua_State *L, turn *t, lw_server *server, unsigned why) {
  lw_server_event event;
  lw_server_ready(server, why);
  t->source = lw_server_owner(server);
  while (lw_server_next(server, &event)) {
    t->handled += lw_lua_server_deliver(L, server, &event, &t->dead);
    if (event.kind == LW_SERVER_CLOSED || is_lost(t) || !t->source->slot) break; /* it is gone */
  }
}

/* What the loop has handed out. */
static void serve(lua_State *L, turn *t, const lw_ready *ready) {
  bury(L, t);
  t->source = NULL; /* whoever it was may be gone, had an error kept him from saying so */
  switch (ready->kind) {
    case LW_KIND_SOCKET:
      t->conn = ready->owner;
      t->messages = 0;
      t->bytes = 0;
      lw_conn_ready(t->conn, ready->why);
      serve_conn(L, t);
      break;
    case LW_KIND_SERVER: serve_server(L, t, ready->owner, ready->why); break;
    case LW_KIND_TIMER: t->handled += lw_timer_fire(L, ready->owner); break;
    case LW_KIND_WATCH: t->handled += lw_watch_fire(L, ready->owner, ready->why); break;
    case LW_KIND_SIGNAL: t->handled += lw_signal_fire(L); break;
  }
}

static int nothing(lua_State *L) {
  (void)L;
  return 0;
}

/*
** A handler that could not be called would never hear of what it was to be called for. So its frame is made sure of, and
** the stack of the largest function: in 5.1, 5.3 and 5.4 a garbage collection takes neither from the frame that is running.
*/
static void stand(lua_State *L, turn *t) {
  t->stands = 0;
  lw_reserve_stack(L, 32, "step");
  lua_pushcfunction(L, nothing);
  lua_call(L, 0, 0);
  t->stands = 1;
}

/* Stack: the turn. Upvalue: host. Goes on with the turn until it is over. */
static int go_on(lua_State *L) {
  turn *t = lua_touserdata(L, 1);
  lw_ready ready;
  t->host->rounds++;
  stand(L, t);
  if (t->conn && !is_lost(t)) serve_conn(L, t);
  while (!is_lost(t) && !over_budget(t) && lw_loop_next(t->host->loop, &ready)) {
    serve(L, t, &ready);
    lua_settop(L, 1);
  }
  return 0;
}

/* The error on top goes to onerror, or 0: it should leave step. Then it is still on top. */
static int report(lua_State *L, const turn *t) {
  int source = 0;
  if (t->source && t->source->slot) {
    lw_box_push(L, t->source);
    lua_insert(L, -2);
    source = lua_gettop(L) - 1;
  }
  return lw_event_report(L, source);
}

/*
** There was an error before anybody was called, so for want of memory: the event comes again with the next turn. A message
** cannot: it ends its connection.
*/
static void take_back(lua_State *L, turn *t) {
  if (!t->untold) return;
  t->untold = 0;
  if (!t->conn || is_lost(t) || (t->host->told && !is_message_lost(t))) return;
  lw_conn_untell(t->conn, t->kind);
  t->ended = 0;
  leave_conn(L, t);
}

static void end_turn(lua_State *L, turn *t) {
  if (!is_lost(t)) {
    bury(L, t);
    leave_conn(L, t);
    lw_hub_turn(&t->host->hub);
  }
  t->host->dispatching = 0;
}

/*
** Ctrl-C while we waited: the interpreter has set a hook that raises "interrupted!" at the
** next call. That must not be one of a handler, whose errors may go to onerror.
*/
static void let_interrupt(lua_State *L) {
  if (!lua_gethookmask(L)) return;
  lua_pushcfunction(L, nothing);
  lua_call(L, 0, 0);
}

/* The time in milliseconds at `index`: nanoseconds, < 0 for ever; absent: `otherwise`. */
static int64_t check_wait(lua_State *L, int index, int64_t otherwise) {
  if (lua_type(L, index) == LUA_TNUMBER && lua_tonumber(L, index) == HUGE_VAL) return -1;
  return lw_check_milliseconds(L, index, "step", otherwise);
}

/*
** step([timeout [, budget]]): one turn. Returns the number of events handled.
** Upvalues: host, lw_event_traceback, go_on.
*/
static int step(lua_State *L) {
  lw_host *host = lw_host_check(L);
  turn t = {.host = host, .deadline = -1};
  int64_t wait = check_wait(L, 1, 0), budget = check_wait(L, 2, -1);
  int err;
  if (host->dispatching) lw_raise(L, "InvalidStateError", "step: called inside a handler");
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(2)); /* 1: keeps the traceback */
  lw_hub_flush(&host->hub);
  if ((err = lw_loop_turn(host->loop, wait)) < 0) lw_raise_err(L, "step", err);
  if (budget >= 0) t.deadline = lw_loop_clock(host->loop) + budget;
  let_interrupt(L);
  host->dispatching = 1;
  for (;;) {
    lua_pushvalue(L, lua_upvalueindex(3));
    lua_pushlightuserdata(L, &t);
    if (lua_pcall(L, 1, 0, 1) == LUA_OK) break;
    take_back(L, &t);
    if (!t.stands || !report(L, &t)) {
      end_turn(L, &t);
      return lua_error(L);
    }
    lua_settop(L, 1);
  }
  end_turn(L, &t);
  lw_host_check(L); /* this may be a child by now */
  lua_pushinteger(L, t.handled);
  return 1;
}

void lw_step_open(lua_State *L) {
  lw_host_push(L);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, lw_event_traceback, 1);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, go_on, 1);
  lua_pushcclosure(L, step, 3);
  lua_setfield(L, -2, "step");
}
