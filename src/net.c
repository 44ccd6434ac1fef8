/*
** net.c -- connect, listen, accept.
*/
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* EAI_NODATA, EAI_ADDRFAMILY */
#endif

#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Guests in a row that were gone before they were taken, until others in the loop get their turn. */
#define ACCEPT_TRIES 64

static int last_error(void) {
  return LW_ERR_SYS(errno);
}

static void set_flag(const lw_sys *sys, int fd, int level, int name, int value) {
  sys->setsockopt(fd, level, name, &value, sizeof value); /* for speed or comfort: a refusal is no failure */
}

unsigned short lw_address_text(const lw_address *address, char text[LW_ADDRESS_TEXT]) {
  const struct in6_addr *ip6 = &address->ip6.sin6_addr;
  text[0] = '\0';
  switch (address->any.sa_family) {
    case AF_INET:
      inet_ntop(AF_INET, &address->ip4.sin_addr, text, LW_ADDRESS_TEXT);
      return ntohs(address->ip4.sin_port);
    case AF_INET6:
      if (IN6_IS_ADDR_V4MAPPED(ip6)) inet_ntop(AF_INET, &ip6->s6_addr[12], text, LW_ADDRESS_TEXT);
      else inet_ntop(AF_INET6, ip6, text, LW_ADDRESS_TEXT);
      return ntohs(address->ip6.sin6_port);
    case AF_UNIX: /* a path that fills its field has no NUL */
      snprintf(text, LW_ADDRESS_TEXT, "%.*s", (int)sizeof address->local.sun_path, address->local.sun_path);
      return 0;
    default:
      return 0;
  }
}

/* The addresses of a host at once, without the network if it is a literal. 0 or a negative lw_err. */
static int look_up(const lw_sys *sys, const char *host, unsigned short port, int flags, struct addrinfo **list) {
  struct addrinfo hints;
  char service[6];
  int code;
  memset(&hints, 0, sizeof hints);
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  snprintf(service, sizeof service, "%hu", port);
  code = sys->getaddrinfo(host, service, &hints, list);
  if (code == 0) return 0;
  *list = NULL;
  return code == EAI_SYSTEM ? last_error() : LW_ERR_GAI(code);
}

/* The address of a Unix socket. 0 or a negative lw_err. */
static int name_local(struct sockaddr_un *local, const char *path) {
  const size_t length = strlen(path);
  memset(local, 0, sizeof *local);
  local->sun_family = AF_UNIX;
  if (length == 0) return LW_ERR_SYS(ENOENT);
  if (length >= sizeof local->sun_path) return LW_ERR_SYS(ENAMETOOLONG);
  memcpy(local->sun_path, path, length);
  return 0;
}

/* --- reaching a host --- */

typedef enum phase {
  LOOKING_UP, /* a helper thread has the name */
  TRYING,     /* addresses are known: some under way, some left */
  OVER,       /* connected, or nothing is left to try: `err` says which */
} phase;

/* One address on its way. */
typedef struct attempt {
  lw_source source; /* its socket; fd -1: this place is free */
  const struct addrinfo *address;
  unsigned number;  /* how many began before */
} attempt;

struct lw_dial {
  lw_loop *loop;
  lw_source *source;
  lw_lookup *lookup;               /* owns the list; NULL for a literal and a path */
  struct addrinfo *literal;        /* its own list; NULL for a name and a path */
  const struct addrinfo *left[2];  /* to be tried next: of the first address's family, and of the other */
  int turn;                        /* which of the two it is */
  phase phase;
  int family;
  int no_delay;
  int err;        /* the most telling one so far */
  unsigned began; /* attempts, so far */
  lw_timer pause; /* set: the next attempt must wait for it */
  struct addrinfo path;            /* of a Unix socket: `local` as a list of one */
  struct sockaddr_un local;
  attempt attempts[LW_DIAL_ATTEMPTS];
};

/* The first of the list that is of this family. */
static const struct addrinfo *of_family(const struct addrinfo *list, int family) {
  while (list && list->ai_family != family) list = list->ai_next;
  return list;
}

/* The addresses are here. */
static void set_out(lw_dial *dial, const struct addrinfo *list) {
  dial->phase = TRYING;
  if (dial->family != AF_UNSPEC) list = of_family(list, dial->family);
  dial->left[0] = list;
  if (list && dial->family == AF_UNSPEC)
    dial->left[1] = of_family(list, list->ai_family == AF_INET ? AF_INET6 : AF_INET);
}

/* A path is an address already. */
static int begin_local(lw_dial *dial, const char *path) {
  const int err = name_local(&dial->local, path);
  dial->path.ai_family = dial->family = AF_UNIX;
  dial->path.ai_socktype = SOCK_STREAM;
  dial->path.ai_addr = (struct sockaddr *)&dial->local;
  dial->path.ai_addrlen = sizeof dial->local;
  if (err == 0) set_out(dial, &dial->path);
  return err;
}

/* A literal needs no helper; what is none goes to one. */
static int begin(lw_dial *dial, const lw_dial_options *options) {
  lw_resolver *resolver;
  int err;
  if (options->path) return begin_local(dial, options->path);
  if (strcmp(options->host, "*") == 0) return LW_ERR_GAI(EAI_NONAME); /* to getaddrinfo it is this machine */
  err = look_up(dial->loop->sys, options->host, options->port, AI_NUMERICHOST, &dial->literal);
  if (err == 0) {
    set_out(dial, dial->literal);
    return 0;
  }
  resolver = lw_loop_resolver(dial->loop, &err);
  if (!resolver) return err;
  dial->phase = LOOKING_UP;
  dial->lookup =
      lw_lookup_start(resolver, options->host, options->port, options->family, dial->source, &err);
  return err;
}

lw_dial *lw_dial_start(lw_loop *loop, const lw_dial_options *options, lw_source *source, int *err) {
  lw_dial *dial = calloc(1, sizeof *dial);
  *err = LW_ERR_MEMORY;
  if (!dial) return NULL;
  dial->loop = loop;
  dial->source = source;
  dial->family = options->family;
  dial->no_delay = options->no_delay && !options->path;
  dial->err = LW_ERR_NO_ADDRESS;
  for (int i = 0; i < LW_DIAL_ATTEMPTS; i++)
    lw_source_init(&dial->attempts[i].source, source->kind, source->owner);
  if ((*err = lw_timer_join(&loop->timers, &dial->pause, source->kind, source->owner)) < 0) goto fail;
  if ((*err = begin(dial, options)) < 0) goto leave;
  if (dial->phase == TRYING) lw_source_post(loop, source, LW_POSTED);
  return dial;
leave:
  lw_timer_leave(&loop->timers, &dial->pause);
fail:
  free(dial);
  return NULL;
}

/* A name that exists, but not in the family asked for. */
static int is_no_address(int err) {
#ifdef EAI_ADDRFAMILY
  if (err == LW_ERR_GAI(EAI_ADDRFAMILY)) return 1;
#endif
#ifdef EAI_NODATA
  if (err == LW_ERR_GAI(EAI_NODATA)) return 1;
#endif
  (void)err;
  return 0;
}

/* Takes the helper's answer. 0, or a negative lw_err (EAGAIN: not there yet). */
static int take_answer(lw_dial *dial) {
  const struct addrinfo *list;
  int err = lw_lookup_result(dial->lookup, &list);
  if (err == LW_ERR_SYS(EAGAIN)) return err;
  if (err < 0) return is_no_address(err) ? LW_ERR_NO_ADDRESS : err;
  set_out(dial, list);
  return 0;
}

/* The next address: families take turns while both have some (RFC 8305, 4). NULL: none is left. */
static const struct addrinfo *take_address(lw_dial *dial) {
  const int which = dial->left[dial->turn] ? dial->turn : !dial->turn;
  const struct addrinfo *address = dial->left[which];
  if (!address) return NULL;
  dial->left[which] = of_family(address->ai_next, address->ai_family);
  dial->turn = !which;
  return address;
}

/* How much an error tells of the host, see lw_dial_next. */
static int weight(int err) {
  switch (err) {
    case LW_ERR_MEMORY:
    case LW_ERR_SYS(EMFILE):
    case LW_ERR_SYS(ENFILE):
    case LW_ERR_SYS(ENOMEM):
    case LW_ERR_SYS(ENOBUFS):
      return 4;
    case LW_ERR_SYS(ECONNREFUSED):
      return 3;
    case LW_ERR_SYS(ENETDOWN):
    case LW_ERR_SYS(ENETUNREACH):
    case LW_ERR_SYS(EADDRNOTAVAIL):
    case LW_ERR_SYS(EAFNOSUPPORT):
      return 1;
    case LW_ERR_NO_ADDRESS:
      return 0;
    default:
      return 2;
  }
}

/* Lets go of an attempt and of its socket, unless that is somebody else's by now (fd -1). */
static void drop(lw_dial *dial, attempt *a) {
  const int fd = a->source.fd;
  lw_source_leave(dial->loop, &a->source);
  a->source.fd = -1;
  if (fd >= 0) dial->loop->sys->close(fd);
}

static void set_pause(lw_dial *dial, int64_t length) {
  lw_timer_set(&dial->loop->timers, &dial->pause, lw_loop_clock(dial->loop) + length);
}

/* An attempt has failed: the next begins at once, or the same again when a full backlog had a little time. */
static void fail(lw_dial *dial, attempt *a, int err) {
  const int full = err == LW_ERR_SYS(EAGAIN) && a->address->ai_family == AF_UNIX;
  drop(dial, a);
  lw_timer_stop(&dial->loop->timers, &dial->pause);
  if (full) {
    dial->left[0] = a->address;
    set_pause(dial, LW_DIAL_RETRY);
  } else if (weight(err) >= weight(dial->err)) {
    dial->err = err;
  }
}

/* Opens a socket and sends it off. 1: connected at once, 0: on its way, or a negative lw_err. */
static int launch(lw_dial *dial, attempt *a) {
  const struct addrinfo *address = a->address;
  const lw_sys *sys = dial->loop->sys;
  int fd = sys->socket(address->ai_family, address->ai_socktype, address->ai_protocol);
  if (fd < 0) return last_error();
  a->source.fd = fd;
  if (dial->no_delay) set_flag(sys, fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (sys->connect(fd, address->ai_addr, address->ai_addrlen) == 0) return 1;
  if (errno != EINPROGRESS) return last_error();
  return lw_source_watch(dial->loop, &a->source, LW_WRITE);
}

/*
** A port that nobody listens on may be the very one the system chose for our side: the
** socket is then connected to itself.
*/
static int is_own_echo(const lw_dial *dial, const attempt *a) {
  const lw_address *peer = (const lw_address *)(const void *)a->address->ai_addr;
  lw_address own;
  socklen_t size = sizeof own;
  if (peer->any.sa_family == AF_UNIX) return 0;
  if (dial->loop->sys->getsockname(a->source.fd, &own.any, &size) < 0) return 0;
  if (own.any.sa_family != peer->any.sa_family) return 0;
  if (own.any.sa_family == AF_INET)
    return own.ip4.sin_port == peer->ip4.sin_port && own.ip4.sin_addr.s_addr == peer->ip4.sin_addr.s_addr;
  return own.ip6.sin6_port == peer->ip6.sin6_port &&
         memcmp(&own.ip6.sin6_addr, &peer->ip6.sin6_addr, sizeof own.ip6.sin6_addr) == 0;
}

/* What became of the attempt. 1: connected, 0: still on its way, or a negative lw_err. */
static int outcome(const lw_dial *dial, const attempt *a) {
  const struct addrinfo *address = a->address;
  const lw_sys *sys = dial->loop->sys;
  const int fd = a->source.fd;
  int err = 0;
  socklen_t size = sizeof err;
  if (sys->getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0) return last_error();
  if (err != 0) return LW_ERR_SYS(err);
  /* no error may also mean no answer yet: asking to connect again tells the two apart */
  if (sys->connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EISCONN) return 1;
  return errno == EALREADY || errno == EINPROGRESS ? 0 : last_error();
}

/* Begins an attempt, or looks what became of it. 1: connected; 0: not (yet). */
static int try(lw_dial *dial, attempt *a) {
  int result = a->source.fd < 0 ? launch(dial, a) : outcome(dial, a);
  if (result == 1 && is_own_echo(dial, a)) result = LW_ERR_SYS(ECONNREFUSED);
  if (result < 0) fail(dial, a, result);
  return result == 1;
}

/* A free place, or that of the oldest attempt, which has been silent for long enough. */
static attempt *make_room(lw_dial *dial) {
  attempt *oldest = dial->attempts;
  for (attempt *a = dial->attempts; a < dial->attempts + LW_DIAL_ATTEMPTS; a++) {
    if (a->source.fd < 0) return a;
    if (a->number < oldest->number) oldest = a;
  }
  fail(dial, oldest, LW_ERR_SYS(ETIMEDOUT));
  return oldest;
}

/* Begins attempts until one has to be waited for. The one that connected at once, or NULL. */
static attempt *begin_next(lw_dial *dial) {
  const struct addrinfo *address;
  while (!lw_timer_is_set(&dial->pause) && (address = take_address(dial)) != NULL) {
    attempt *a = make_room(dial);
    a->address = address;
    a->number = dial->began++;
    if (try(dial, a)) return a;
    if (a->source.fd >= 0 && (dial->left[0] || dial->left[1])) set_pause(dial, LW_DIAL_STAGGER);
  }
  return NULL;
}

/* Looks at those under way, and begins what is to begin. The one that has connected, or NULL. */
static attempt *advance(lw_dial *dial) {
  for (attempt *a = dial->attempts; a < dial->attempts + LW_DIAL_ATTEMPTS; a++)
    if (a->source.fd >= 0 && try(dial, a)) return a;
  return begin_next(dial);
}

/* 1 while there is something to wait for. */
static int is_under_way(const lw_dial *dial) {
  for (int i = 0; i < LW_DIAL_ATTEMPTS; i++)
    if (dial->attempts[i].source.fd >= 0) return 1;
  return lw_timer_is_set(&dial->pause);
}

/* The end, whichever it was: nothing stays open, set or watched. */
static void end(lw_dial *dial, int err) {
  dial->phase = OVER;
  dial->err = err;
  lw_timer_stop(&dial->loop->timers, &dial->pause);
  for (int i = 0; i < LW_DIAL_ATTEMPTS; i++) drop(dial, &dial->attempts[i]);
}

int lw_dial_next(lw_dial *dial, int *fd) {
  attempt *winner;
  int err = 0;
  if (dial->phase == OVER) return dial->err;
  if (dial->phase == LOOKING_UP) err = take_answer(dial);
  if (err == LW_ERR_SYS(EAGAIN)) return 0;
  if (err < 0) {
    end(dial, err);
    return err;
  }
  winner = advance(dial);
  if (!winner && is_under_way(dial)) return 0;
  if (winner) {
    lw_source_leave(dial->loop, &winner->source);
    *fd = winner->source.fd;
    winner->source.fd = -1;
  }
  end(dial, winner ? LW_ERR_SYS(EISCONN) : dial->err);
  return winner ? 1 : dial->err;
}

void lw_dial_free(lw_dial *dial) {
  if (!dial) return;
  if (dial->phase != OVER) {
    end(dial, LW_ERR_ABORTED);
    lw_source_leave(dial->loop, dial->source);
  }
  lw_timer_leave(&dial->loop->timers, &dial->pause);
  lw_lookup_release(dial->lookup);
  if (dial->literal) dial->loop->sys->freeaddrinfo(dial->literal);
  free(dial);
}

/* --- waiting for guests --- */

/* A port of this machine that is closed may still be in use by old connections (TIME_WAIT): no matter. */
static int share_port(const lw_sys *sys, int fd, int reuse_port) {
  int on = 1;
  set_flag(sys, fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (!reuse_port) return 0;
#if defined(SO_REUSEPORT_LB)
  return sys->setsockopt(fd, SOL_SOCKET, SO_REUSEPORT_LB, &on, sizeof on) < 0 ? last_error() : 0;
#elif defined(SO_REUSEPORT)
  return sys->setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ? last_error() : 0;
#else
  (void)on;
  return LW_ERR_SYS(ENOPROTOOPT);
#endif
}

/* The last steps of every listener. Closes it if they fail. */
static int finish(const lw_sys *sys, int fd, int backlog, lw_address *bound) {
  socklen_t size = sizeof *bound;
  int err;
  memset(bound, 0, sizeof *bound);
  if (sys->listen(fd, backlog > 0 ? backlog : INT_MAX) == 0 && sys->getsockname(fd, &bound->any, &size) == 0)
    return fd;
  err = last_error();
  sys->close(fd);
  return err;
}

static int listen_at(const lw_sys *sys, const lw_listen_options *options, const struct addrinfo *address,
                     lw_address *bound) {
  int err;
  int fd = sys->socket(address->ai_family, address->ai_socktype, address->ai_protocol);
  if (fd < 0) return last_error();
  /* "::" means every address of this machine, also where the system would keep the families apart */
  if (address->ai_family == AF_INET6) set_flag(sys, fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  err = share_port(sys, fd, options->reuse_port);
  if (err == 0 && sys->bind(fd, address->ai_addr, address->ai_addrlen) < 0) err = last_error();
  if (err == 0) return finish(sys, fd, options->backlog, bound);
  sys->close(fd);
  return err;
}

static int listen_ip(const lw_sys *sys, const lw_listen_options *options, lw_address *bound) {
  const char *host = options->host ? options->host : "127.0.0.1";
  if (strcmp(host, "*") == 0) host = "0.0.0.0"; /* what many programs mean by it; getaddrinfo would not */
  struct addrinfo *list;
  int result = look_up(sys, host, options->port, 0, &list);
  if (result < 0) return result;
  result = LW_ERR_NO_ADDRESS;
  for (const struct addrinfo *address = list; address && result < 0; address = address->ai_next)
    result = listen_at(sys, options, address, bound);
  sys->freeaddrinfo(list);
  return result;
}

/* 1 if nobody answers at this path any more, and it is a socket that may go. */
static int is_stale(const lw_sys *sys, const struct sockaddr_un *local) {
  int refused;
  int fd = sys->socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return 0;
  refused = sys->connect(fd, (const struct sockaddr *)local, sizeof *local) < 0 && errno == ECONNREFUSED;
  sys->close(fd);
  /* a plain file refuses too */
  return refused && sys->is_socket(local->sun_path) == 1;
}

static int bind_local(const lw_sys *sys, int fd, const struct sockaddr_un *local) {
  const struct sockaddr *address = (const struct sockaddr *)local;
  if (sys->bind(fd, address, sizeof *local) == 0) return 0;
  if (errno != EADDRINUSE) return last_error();
  if (!is_stale(sys, local)) return LW_ERR_SYS(EADDRINUSE);
  if (sys->unlink(local->sun_path) < 0 && errno != ENOENT) return last_error();
  return sys->bind(fd, address, sizeof *local) == 0 ? 0 : last_error();
}

static int listen_local(const lw_sys *sys, const lw_listen_options *options, lw_address *bound) {
  struct sockaddr_un local;
  int fd, err = name_local(&local, options->path);
  if (err < 0) return err;
  fd = sys->socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return last_error();
  err = bind_local(sys, fd, &local);
  if (err < 0) {
    sys->close(fd);
    return err;
  }
  fd = finish(sys, fd, options->backlog, bound);
  if (fd < 0) sys->unlink(local.sun_path);
  return fd;
}

int lw_listen(const lw_sys *sys, const lw_listen_options *options, lw_address *bound) {
  return options->path ? listen_local(sys, options, bound) : listen_ip(sys, options, bound);
}

/* Errors of one guest or of its network, which accept reports in place of that guest. */
static int is_guests_own(int error) {
  switch (error) {
    case ECONNABORTED:
    case ECONNRESET:
    case EPROTO:
    case EPERM: /* a firewall's word */
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
#ifdef ENONET
    case ENONET:
#endif
      return 1;
    default:
      return 0;
  }
}

int lw_accept(const lw_sys *sys, int listener, int no_delay, lw_address *guest) {
  for (int tries = 0; tries < ACCEPT_TRIES; tries++) {
    socklen_t size = sizeof *guest;
    int fd;
    memset(guest, 0, sizeof *guest);
    fd = sys->accept(listener, &guest->any, &size);
    if (fd >= 0) {
      if (no_delay && guest->any.sa_family != AF_UNIX) set_flag(sys, fd, IPPROTO_TCP, TCP_NODELAY, 1);
      return fd;
    }
    if (errno == EWOULDBLOCK) return LW_ERR_SYS(EAGAIN);
    if (!is_guests_own(errno)) return last_error();
  }
  return LW_ERR_SYS(EAGAIN);
}

int lw_is_readable(const lw_sys *sys, int fd) {
  struct pollfd look = {.fd = fd, .events = POLLIN};
  return sys->poll(&look, 1, 0) > 0;
}
