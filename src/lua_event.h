/*
** lua_event.h -- events, and the objects that have handlers and listeners for them
** (WHATWG DOM: EventTarget; HTML: event handlers).
*/
#ifndef LW_LUA_EVENT_H
#define LW_LUA_EVENT_H

#include "lua_box.h"

#pragma GCC visibility push(hidden)

typedef enum lw_event_type {
  LW_ON_MESSAGE = 1,
  LW_ON_CLOSE,
  LW_ON_OPEN,
  LW_ON_ERROR,
  LW_ON_PING,
  LW_ON_PONG,
  LW_ON_DRAIN,
  LW_ON_CONNECTION,
  LW_ON_UPGRADE,
  LW_ON_REQUEST,
  LW_ON_SOCKETERROR,
  LW_ON_SOCKETCLOSE,
  LW_EVENT_TYPES
} lw_event_type;

/* "onmessage" … */
const char *lw_event_handler_name(lw_event_type type);

/* The head of a box that has handlers. Its first three user values belong to this file. */
typedef struct lw_target {
  lw_box box;
  int handlers;           /* handlers and listeners set */
  unsigned listeners : 1; /* 1 once addEventListener was used */
  unsigned heard : 31;    /* bits of the types that ever had a handler or listener: of others nobody need be asked */
} lw_target;

enum { LW_TARGET_ONMESSAGE = 1, LW_TARGET_ONCLOSE, LW_TARGET_MORE, LW_TARGET_VALUES = LW_TARGET_MORE };

/* Makes the events' metatables; once a state. The host is on top and stays. */
void lw_event_open(lua_State *L);

/*
** Pushes a new event { target = value at `target` } with room for `more` further fields.
** `binary` chooses the message's kind.
*/
void lw_event_push(lua_State *L, lw_event_type type, int binary, int target, int more);

/* ws.on… as a value; pushes it (nil: none). */
void lw_target_get(lua_State *L, int target, lw_event_type type);
/* ws.on… = value at `value` (a function or nil; anything else raises TypeError). */
void lw_target_set(lua_State *L, int target, lw_event_type type, int value);
/*
** ws:addEventListener(type, fn [, options]) and back, with their arguments at 2, 3, 4 and the target at 1. `allowed`: bits
** of the types it has. One that is `faint` hears as long as the target lives, and is no reason for it to live.
*/
void lw_target_add(lua_State *L, unsigned allowed, int faint);
void lw_target_remove(lua_State *L, unsigned allowed);
/* 1 if somebody waits for this type. */
int lw_target_wants(lua_State *L, int target, lw_event_type type);

/* The same without those that are faint. */
int lw_target_needs(lua_State *L, int target, lw_event_type type);

/* The same without capturing listeners: those look on, and take an event only by stopping it. */
int lw_target_handles(lua_State *L, int target, lw_event_type type);

/*
** Calls whoever waits for the event on top of the stack and pops it. A lone handler's
** error is raised; with several listeners each runs, errors go to lw_event_report, and the
** first that nobody took is raised at the end. Returns how many were called.
*/
int lw_target_deliver(lua_State *L, int target, lw_event_type type);

/*
** The same in two steps: all that may fail for want of memory, and the calls. What is prepared
** stands on the stack above the event. In between the stack must stay as it is.
*/
typedef struct lw_delivery {
  int event, source; /* their places on the stack; whose errors they are, for onerror */
  int calls;         /* where the calls' message handler is; 0: a lone handler needs none */
  int list, copy;    /* of the listeners, and the copy to walk; 0: there is only a handler */
  int called, failed;
} lw_delivery;
void lw_target_prepare(lua_State *L, int target, lw_event_type type, lw_delivery *delivery);
int lw_target_call(lua_State *L, int target, lw_event_type type, lw_delivery *delivery);

/*
** The same for an event that passes through: the listeners of `target`, then, unless one of
** them stops it, whoever waits at `below`. Each runs, for `target` as an error's source; the
** first error that nobody took is raised.
*/
int lw_target_pass(lua_State *L, int target, lw_event_type type, int below, lw_event_type below_type);

/*
** The error on top of the stack goes to lunawire.onerror with `source` (an index, or 0:
** nil) and the traceback kept by lw_event_traceback: 1 and popped. Without an onerror: 0,
** still on top. An error in onerror itself replaces it: 0. One that is on its way because
** onerror had its say already (host->reported) is not told twice: 0.
*/
int lw_event_report(lua_State *L, int source);
/* The error on top of the stack came behind another of the same event, and nobody took it: to `warn`, and popped. */
void lw_event_warn(lua_State *L);
/* 1 if stopImmediatePropagation was said to the event on top. */
int lw_event_is_stopped(lua_State *L);
/* A message handler for lua_pcall: keeps the traceback for onerror, leaves the error as it is. Upvalue: host. */
int lw_event_traceback(lua_State *L);

#pragma GCC visibility pop
#endif
