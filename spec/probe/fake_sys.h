/*
** fake_sys.h -- the system as a spec wants it: calls that fail when told, a clock that moves
** when told, names that resolve to what is told. Untold, it is the system itself.
*/
#ifndef FAKE_SYS_H
#define FAKE_SYS_H

#include <stddef.h>
#include <stdint.h>

#include "sys.h"

extern lw_sys fake_sys;

/* Call `name` fails `times` times with `err` (an errno, or getaddrinfo's), after `skip` calls that work. 0: no such call. */
int fake_fail(const char *name, int err, unsigned skip, unsigned times);
/* How often it was called since fake_reset; -1: no such call. */
long fake_calls(const char *name);

/* From now on the clock stands at `now`; a wait moves it instead of waiting. */
void fake_clock(int64_t now);
int64_t fake_now(void);

/* A name's addresses, separated by commas; NULL: it has none. Names never told: only literals and localhost exist. */
int fake_host(const char *name, const char *addresses);
/* While the gate is shut, lookups of told names wait in front of it. */
void fake_gate(int open);
unsigned fake_waiting(void); /* how many do */
unsigned fake_lists(void);   /* answers of getaddrinfo not yet freed */

int fake_threads(void);      /* helper threads not yet at their end */

/* From now on a write stops before it is done, until this is off; and whether one does. */
void fake_stick(int on);
int fake_is_stuck(void);

/* From now on each TCP socket is bound, by chance, to the port it connects to. */
void fake_chance(int on);

/* From now on the system says that it holds so many bytes the peer has not acknowledged, of any socket; -1: what is so. */
void fake_hold(long n);

/* The address the nth new socket (from 0) was sent to since fake_reset, by its first connect. 0: there were not so many. */
int fake_dialled(unsigned n, void *address, size_t size);

/* No faults, counts at 0, the real clock, the gate open, no names. */
void fake_reset(void);

#endif
