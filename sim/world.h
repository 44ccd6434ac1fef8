/*
** world.h -- a whole system in memory: descriptors, sockets, pipes, a clock, names, a thread.
**
** world.c takes the place of sys.c where a program is linked for a simulation: lw_sys_real is
** then this world, and nothing but files and OpenSSL's own reaches the kernel. Time passes only
** while somebody waits. What might go either way in a real system (how much of a read is done,
** how long bytes are on their way, whether a call fails) is asked of a chooser, so the same
** choices give the same run.
**
** The network is one machine: every address of a family is its own. Two things stand for the
** rest of the world: to connect to 192.0.2.0/24 or 2001:db8::/32 leads nowhere (nobody ever
** answers), to 198.51.100.0/24 there is no route.
**
** One thread only. What the library would do on another (looking up a name) is done within the
** wait in which its time has come.
*/
#ifndef WORLD_H
#define WORLD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WORLD_FDS 256 /* descriptors there can be at once */

/* Chooses one of n (1 or more): 0 to n-1. 0 is the choice of an ideal system. */
typedef uint32_t world_choose(void *context, uint32_t n);

/* What the system is like; zeroed it is ideal. */
typedef struct world_rules {
  int64_t latency;   /* nanoseconds that bytes are on their way, at most */
  int64_t tick;      /* nanoseconds that each look at the clock takes, at most */
  int64_t oversleep; /* nanoseconds by which a wait may take longer, at most */
  size_t capacity;   /* bytes that are under way in one direction, at most; 0: 64 KiB */
  unsigned limit;    /* descriptors there may be at once; 0: WORLD_FDS */
  unsigned shorter;  /* of 256 reads and writes so many do less than they could */
  unsigned again;    /* of 256 reads and writes so many do nothing this time (EAGAIN) */
  unsigned reset;    /* of 65536 reads and writes so many find the connection reset */
  unsigned fault;    /* of 65536 other calls so many fail as such calls do */
  unsigned late;     /* of 256 waits so many oversleep */
} world_rules;

/* A new world. `context` goes to the chooser; NULL: an ideal one. */
void world_begin(const world_rules *rules, world_choose *choose, void *context);
/* Runs what threads have still to do, closes what is open. */
void world_end(void);
/* To be changed at any time. */
world_rules *world_law(void);

int64_t world_now(void); /* nanoseconds */
void world_pass(int64_t nanoseconds);
/* When something will next happen by itself; -1: nothing will. */
int64_t world_next(void);
/* 1 if somebody waited for ever and nothing could come, since the world began. */
int world_is_stuck(void);

/* Descriptors that are open: the library's, and the foreign ones below. */
unsigned world_open(void);
unsigned world_foreign(void);
unsigned world_threads(void); /* that have not run yet */
/* What was never closed or was closed twice shows here: calls that named no descriptor. */
unsigned world_strays(void);
uint64_t world_moved(void); /* bytes that were written or read since the world began */

/* --- faults on purpose --- */

/* Call `name` of lw_sys (or pthread_create) fails `times` times, after `skip` that do not; err 0: it does one byte only. 0: no such call. */
int world_fail(const char *name, int err, unsigned skip, unsigned times);
/* What world_fail has announced does not come. */
void world_spare(void);
/* How many calls have failed in this world because of it. */
long world_struck(void);
/* How often it was called in this world. */
long world_calls(const char *name);
/* The names, one after the other; NULL after the last. */
const char *world_call_name(unsigned i);
/* The errno that is plausible for it, one after the other; 0 after the last. */
int world_call_errno(const char *name, unsigned i);
/* Whether it can be done in part. */
int world_call_is_partial(const char *name);

/* --- names --- */

/* A name's addresses, separated by commas (NULL: it has none), and how long it takes to be told. 0: too many. */
int world_host(const char *name, const char *addresses, int64_t delay);

/* --- foreign programs: sockets that are not the library's, for scripted peers --- */

/* A wait of the library ends (with nothing) when one of them has news. All return a descriptor or -1 with errno. */
int world_listen(unsigned short *port);
int world_accept(int listener);
int world_dial(unsigned short port);
ssize_t world_recv(int fd, void *bytes, size_t n);
ssize_t world_send(int fd, const void *bytes, size_t n);
void world_shut(int fd);
void world_close(int fd);

/* --- what befalls a connection, by the descriptor of either end --- */

/* The nth open connected descriptor, of whomever, or -1. */
int world_link(unsigned n);
void world_break(int fd); /* both ends are reset, at once */
void world_cut(int fd);   /* from now on nothing arrives, and nobody is told */

#endif
