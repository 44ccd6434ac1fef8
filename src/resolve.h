/*
** resolve.h -- getaddrinfo on a helper thread.
**
** What loop and threads share is counted by reference. Once the loop's side lets go, a
** thread finishes its lookup, throws the answer away and ends. No thread runs Lua.
**
** In a forked child the locks may be held by threads that are not there: freeing only
** closes descriptors, releasing a lookup does nothing.
*/
#ifndef LW_RESOLVE_H
#define LW_RESOLVE_H

#include <stddef.h>

#include "err.h"
#include "sys.h"

#pragma GCC visibility push(hidden)

#define LW_RESOLVE_THREADS 8 /* lookups of one resolver under way at once; the rest wait their turn */

typedef struct lw_resolver lw_resolver; /* a loop's side: the jobs done and the pipe that tells of them */
typedef struct lw_lookup lw_lookup;     /* one job */

/* NULL with *err on failure. */
lw_resolver *lw_resolver_new(const lw_sys *sys, int *err);
/* Lookups under way are orphaned. Never waits for a thread. */
void lw_resolver_free(lw_resolver *resolver);
/* Readable when a lookup is done. */
int lw_resolver_fd(const lw_resolver *resolver);
/* The owner of the next lookup that is done, or NULL; empties the pipe first. A released one is never named. */
void *lw_resolver_next(lw_resolver *resolver);

/*
** Starts looking up a host (`family`: AF_INET, AF_INET6, or AF_UNSPEC). NULL with *err
** on failure. `owner` is what next names.
*/
lw_lookup *lw_lookup_start(lw_resolver *resolver, const char *host, unsigned short port, int family,
                           void *owner, int *err);
/* 0 and the list (owned by the lookup), or LW_ERR_GAI(…), LW_ERR_SYS(…); not done yet: LW_ERR_SYS(EAGAIN). */
int lw_lookup_result(const lw_lookup *lookup, const struct addrinfo **list);
/* Done or not: this side lets go. NULL is fine. */
void lw_lookup_release(lw_lookup *lookup);

#pragma GCC visibility pop
#endif
