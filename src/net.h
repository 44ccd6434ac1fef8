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

/* --- reaching a host: the name looked up, its addresses tried in turn --- */

typedef struct lw_dial lw_dial;

typedef struct lw_dial_options {
  const char *host; /* a name or a literal address */
  unsigned short port;
  int family;   /* AF_UNSPEC, AF_INET, AF_INET6 */
  int no_delay; /* TCP_NODELAY */
} lw_dial_options;

/*
** Begins. Progress is told by handing out `source`, which has joined nothing yet (LW_POSTED,
** or readiness of the socket being tried, lent to it as source->fd): then call lw_dial_next.
** Calling it at other times does no harm. NULL with *err.
*/
lw_dial *lw_dial_start(lw_loop *loop, const lw_dial_options *options, lw_source *source, int *err);
/*
** 1: connected, *fd is the caller's from now on (source->fd is set and not watched);
** 0: still on its way; negative lw_err: every address failed, the error is the last one's
** (LW_ERR_GAI, LW_ERR_NO_ADDRESS, LW_ERR_SYS).
*/
int lw_dial_next(lw_dial *dial, int *fd);
/*
** At any time before the loop is freed. Unless it had connected, closes what it had open and
** takes the source out of the loop. NULL is fine.
*/
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
