/*
** net.h -- connect, listen, accept: sockets and addresses, no bytes.
*/
#ifndef LW_NET_H
#define LW_NET_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "err.h"
#include "loop.h"

#pragma GCC visibility push(hidden)

#define LW_ADDRESS_TEXT 110 /* room for any address in words, NUL included */

typedef union lw_address {
  struct sockaddr any;
  struct sockaddr_in ip4;
  struct sockaddr_in6 ip6;
  struct sockaddr_un local;
} lw_address;

/*
** "192.0.2.1" (also for an IPv4 guest of an IPv6 listener), "2001:db8::1" or a socket's
** path, "" if it has none. Returns the port (0 for a path).
*/
unsigned short lw_address_text(const lw_address *address, char text[LW_ADDRESS_TEXT]);

/* --- reaching a host: the name looked up, its addresses tried side by side (RFC 8305) --- */

/* So long an address has to itself before the next is tried too: RFC 8305, 5 and 8, "Connection Attempt Delay". */
#define LW_DIAL_STAGGER INT64_C(250000000)
/*
** Addresses tried at once. A name may have hundreds that keep silent, each holding a descriptor:
** with so many under way, which takes 4 s, the one that has been silent longest makes room.
*/
#define LW_DIAL_ATTEMPTS 16
/* A Unix socket whose backlog is full cannot be waited for (Linux: EAGAIN): it is asked again after so long. */
#define LW_DIAL_RETRY INT64_C(20000000)

typedef struct lw_dial lw_dial;

typedef struct lw_dial_options {
  const char *path; /* a Unix socket's: then nothing below counts. NULL: none */
  const char *host; /* a name or a literal address */
  unsigned short port;
  int family;   /* AF_UNSPEC, AF_INET, AF_INET6 */
  int no_delay; /* TCP_NODELAY */
} lw_dial_options;

/*
** Begins. The addresses are tried in the resolver's order with their families taking turns,
** the next as soon as one fails or LW_DIAL_STAGGER has passed since the last began; all stay
** under way until one connects, which ends the others.
**
** Whenever there is news the loop hands out kind and owner of `source` (which has joined
** nothing yet, and whose fd is left alone): for LW_POSTED, or for LW_WRITE and LW_DUE of
** sources and a timer of the dial's own. Then call lw_dial_next; calling it at other times
** does no harm. An owner with a timer of its own tells the two apart by lw_timer_is_set.
** NULL with *err.
*/
lw_dial *lw_dial_start(lw_loop *loop, const lw_dial_options *options, lw_source *source, int *err);
/*
** 1: connected, *fd is the caller's from now on, nobody watches it, and all else is closed.
** 0: still on its way.
** Negative: all addresses failed (LW_ERR_GAI, LW_ERR_NO_ADDRESS, LW_ERR_SYS), and of their
** errors this one tells most: a want of this machine's own (descriptors, memory) before a
** refusal, for somebody was there; that before silence; and last, that this machine has no
** way to addresses of that family. Of two that tell as much, the later.
*/
int lw_dial_next(lw_dial *dial, int *fd);
/* At any time before the loop is freed. Unless it had connected, takes the source out of the loop. NULL is fine. */
void lw_dial_free(lw_dial *dial);

/* --- waiting for guests --- */

typedef struct lw_listen_options {
  const char *host; /* a literal address or a name of this machine; NULL: 127.0.0.1 */
  const char *path; /* a Unix socket instead */
  unsigned short port;
  int backlog;      /* 0: the system's most */
  int reuse_port;
} lw_listen_options;

/*
** A listening descriptor, or a negative lw_err with nothing left open. *bound gets its
** address. A name is looked up at once, which may block. A stale Unix socket (nobody
** answers) is replaced; a live one, and anything that is no socket, is LW_ERR_SYS(EADDRINUSE).
*/
int lw_listen(const lw_sys *sys, const lw_listen_options *options, lw_address *bound);
/*
** A guest's descriptor; LW_ERR_SYS(EAGAIN) when there is none; LW_ERR_SYS(EMFILE, ENFILE,
** ENOBUFS, ENOMEM) when one waits but cannot be taken. Errors of one guest (ECONNABORTED
** and the like) are passed over.
*/
int lw_accept(const lw_sys *sys, int listener, int no_delay, lw_address *guest);

/* 1 when a read would give something now: bytes, the end, or an error. */
int lw_is_readable(const lw_sys *sys, int fd);

#pragma GCC visibility pop
#endif
