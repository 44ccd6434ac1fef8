/*
** lua_box.h -- what the classes share: boxes, error objects, the host.
**
** Every C function of this floor is a closure whose first upvalue is the host: the one
** userdata of a Lua state that owns the loop. A box is a userdata of ours; while the loop
** may still call back for it, it stands in the host's table of the living, at its slot.
*/
#ifndef LW_LUA_BOX_H
#define LW_LUA_BOX_H

#include "conn.h"
#include "loop.h"
#include "lua_compat.h"
#include "sig.h"
#include "tls_context.h"

#pragma GCC visibility push(hidden)

/* Who owns what the loop hands out. */
enum { LW_KIND_TIMER = 1, LW_KIND_SOCKET, LW_KIND_SERVER, LW_KIND_WATCH, LW_KIND_SIGNAL };

typedef struct lw_host {
  lw_loop *loop; /* NULL: closed, with the state about to go */
  lw_hub hub;
  lw_tls_shelf tls;
  lw_signals *signals;
  int free_slot;   /* first of the free places among the living; 0: none */
  int slots;       /* places there are */
  int waiting;     /* timers, watches and servers that keep `run` from ending */
  int dispatching; /* a handler is running */
  unsigned rounds; /* how often handlers began to run: once a turn, and again after each error */
  int stopping;    /* `run` was asked to return */
  int reported;    /* onerror knows the error on its way out, or there is none */
  int warned_insecure; /* of tls.verify = false */
  int traced;      /* an error goes on its way again: its traceback is known */
  unsigned failures; /* of listeners, counted */
  int told;        /* somebody was called for the event at hand */
  int lost;        /* an error kept who listens faintly from taking it */
} lw_host;

/* The host's user values. */
enum {
  LW_HOST_LIVING = 1, /* slot -> box, or the next free slot */
  LW_HOST_EVENTS,     /* metatables of events, see lua_event.h */
  LW_HOST_MODULE,     /* the table whose `onerror` is asked */
  LW_HOST_SIGNALS,    /* number -> function */
  LW_HOST_TRACEBACK,  /* of the last error */
  LW_HOST_WATCHED,    /* number -> descriptor, see lua_loop.c */
  LW_HOST_FAINT,      /* address -> box, as long as it lives: weak */
  LW_HOST_VALUES = LW_HOST_FAINT
};

#define LW_HOST lua_upvalueindex(1)

/* Pushes the host of this state, made on first use; raises when there is no memory. */
lw_host *lw_host_push(lua_State *L);
/* The host of the running C function. Raises when the state is being closed or the process has forked. */
lw_host *lw_host_check(lua_State *L);
/* The same without the checks. */
lw_host *lw_host_of(lua_State *L);

/* The head of every box. */
typedef struct lw_box {
  lw_host *host;
  int slot; /* among the living; 0: not there */
} lw_box;

/* Puts the box at `index` among the living; there already: nothing. May raise (then it is not). */
void lw_box_live(lua_State *L, lw_box *box, int index);
/* Takes it out; not there: nothing. Never raises. */
void lw_box_die(lua_State *L, lw_box *box);
/* A living box lives no longer for that, but keeps its place, so that to wake it takes no memory. */
void lw_box_rest(lua_State *L, const lw_box *box);
void lw_box_wake(lua_State *L, const lw_box *box, int index);
/* Pushes a living box. */
void lw_box_push(lua_State *L, const lw_box *box);
/* The box at `index` can be found from now on, living or not, and lives no longer for it. May raise. */
void lw_box_note(lua_State *L, const lw_box *box, int index);
/* Pushes a box that was noted, and returns 1; or 0 and nothing: it is about to be collected. */
int lw_box_find(lua_State *L, const lw_box *box);

/*
** Makes a class: a metatable (left on the stack) with __name, __metatable, these
** metamethods, and the host as every function's first upvalue. The metatable itself is
** their second, so that lw_box_check can tell its own.
*/
void lw_class_new(lua_State *L, const char *name, const luaL_Reg *metamethods);
/*
** The same for values that nobody calls back: its metatable, left on the stack, is in the registry
** at `key`; `index` is its __index, whose upvalues are host, metatable and a table of `methods`.
*/
void lw_value_class_new(lua_State *L, const char *name, const void *key, const luaL_Reg *metamethods,
                        const luaL_Reg *methods, lua_CFunction index);
/* The userdata at `index` if its metatable is the one in the registry at `key`; NULL otherwise. */
void *lw_class_test(lua_State *L, int index, const void *key);
/* Pushes a table that can be called: `call` gets it and the arguments. */
void lw_callable_push(lua_State *L, lua_CFunction call);
/* The box at `index` if its metatable is the running function's second upvalue; NULL otherwise. */
void *lw_box_test(lua_State *L, int index);
/* The same, raising TypeError "<class> expected, got …". */
void *lw_box_check(lua_State *L, int index, const char *name);

/* Some calls deep, and for what those put on the stack, there is memory from now on. Raises when there is none. */
void lw_reserve_calls(lua_State *L);
/* Makes sure of the stack for n values and a call of whatever function with these. Raises, named `what`, without memory. */
void lw_reserve_stack(lua_State *L, int n, const char *what);

/*
** Pushes zeroed memory that `gc` clears when it is collected: for what a function acquires
** and needs no longer than it runs, though it may raise.
*/
void *lw_guard_push(lua_State *L, size_t size, lua_CFunction gc);

/* Pushes an error object: `name` as in the browser, `message`, and the nearest place outside the library's own files. */
void lw_push_error(lua_State *L, const char *name, const char *message);
/* The file of the Lua function that called the running one is the library's own. */
void lw_own_file(lua_State *L);
/* Raises an error object. */
int lw_raise(lua_State *L, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
/* The same for a negative lw_err of the system or of memory. `what` says what was tried. */
int lw_raise_err(lua_State *L, const char *what, int err) __attribute__((noreturn));
/* "nil", "number", … or a class's __name: for messages. */
const char *lw_typename(lua_State *L, int index);
/* A function or callable at `index`, or raises TypeError naming `what`. */
void lw_check_function(lua_State *L, int index, const char *what);
/* Milliseconds at `index` as nanoseconds; absent: `otherwise`. Raises TypeError on NaN, infinity and what is no number. Negative is 0. */
int64_t lw_check_milliseconds(lua_State *L, int index, const char *what, int64_t otherwise);

#pragma GCC visibility pop
#endif
