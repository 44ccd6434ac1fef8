/*
** sig.h -- signals as events, for those who ask (lunawire.onsignal). Nothing else touches signals.
**
** The handler only writes the signal's number into a pipe; the pipe's reading end is a
** source of the loop. One loop in a process can take a given signal at a time. In a forked
** child the signal does what it did before it was taken.
*/
#ifndef LW_SIG_H
#define LW_SIG_H

#include "err.h"
#include "loop.h"

#pragma GCC visibility push(hidden)

typedef struct lw_signals lw_signals; /* a loop's side */

/* The number of "INT", "TERM", "HUP", "USR1", …; 0: no such name, or one that cannot be caught. */
int lw_signal_number(const char *name);

/* `kind` and `owner` are what the loop hands out when a signal has come. NULL with *err. */
lw_signals *lw_signals_new(lw_loop *loop, int kind, void *owner, int *err);
/* Restores every handler it replaced, and leaves the loop, which must still be there. NULL is fine. */
void lw_signals_free(lw_signals *signals);
/* 0, or LW_ERR_BUSY when another loop has it, or LW_ERR_SYS. Twice is once. The number is one of lw_signal_number's. */
int lw_signals_take(lw_signals *signals, int number);
/* Puts back what was there before, unless another has replaced ours since; not taken: nothing. */
void lw_signals_restore(lw_signals *signals, int number);
/* The next signal that has come (each once, however often it was sent), or 0. */
int lw_signals_next(lw_signals *signals);

#pragma GCC visibility pop
#endif
