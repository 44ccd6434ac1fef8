/*
** world.c -- a whole system in memory.
**
** A descriptor names an end (of a connection, of a pipe), a listener, a poller, or a file. Ends
** come in pairs; each writes into the other's inbox, where bytes wait until their time has come.
** All storage is static: a simulation counts memory, and this is not to be counted.
*/
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys.h"

#define FIRST_FD 100   /* so that none is taken for one of the process */
#define ENDS WORLD_FDS /* of connections and pipes, accepted or not */
#define POLLERS 4
#define THREADS 8
#define HOSTS 16
#define SEGMENTS 32 /* times of arrival an inbox remembers */
#define CAPACITY ((size_t)64 * 1024)
#define NEVER INT64_MAX
#define START INT64_C(1000000000000) /* the clock when a world begins */

/* ------------------------------------------------------------------ what there is */

typedef struct inbox {
  size_t head, n; /* of the ring: all that was sent and not read */
  size_t arrived; /* of these */
  struct {
    size_t end; /* bytes of the ring, counted from its head */
    int64_t at;
  } segments[SEGMENTS];
  unsigned segment_count;
  int64_t last;   /* when the last byte sent arrives */
  int64_t end_at; /* when the end arrives; NEVER: the other end still writes */
  unsigned char bytes[CAPACITY];
} inbox;

typedef struct address {
  socklen_t size;
  struct sockaddr_storage it;
} address;

/* One end of a connection or of a pipe. */
typedef struct end {
  struct end *other;  /* NULL: not connected, or gone */
  int used;
  int is_pipe;
  int64_t connect_at; /* when an attempt is decided; NEVER: never */
  int64_t reset_at;   /* when a reset arrives; NEVER: none is under way */
  size_t lost;        /* cut, and the other end is gone: what was sent there all the same */
  int connecting;
  int connected;
  int read_shut, write_shut; /* by ourselves */
  int error;          /* to be told once: SO_ERROR */
  int broken;         /* was reset */
  int cut;            /* nothing arrives any more */
  int drops;          /* closing it drops what is under way (SO_LINGER of 0) */
  int wants_room;     /* foreign: a write was short */
  int end_told;       /* foreign: that the other has ended is among its news */
  uint64_t news, told; /* foreign: what has happened to it, what of this ended a wait */
  address own, peer;
  inbox in;
} end;

typedef enum kind { FREE, END, LISTENER, POLLER, PLAIN } kind;

typedef struct descriptor {
  kind kind;
  int family;
  end *end;
  end *guests[128];    /* LISTENER: not accepted, oldest first */
  unsigned guest_count, backlog;
  uint64_t news, told;
  address bound;       /* LISTENER, and an END that was bound */
  int is_bound, reuse;
  int foreign;
  int listening;
  int poller;          /* POLLER: which */
  int file;            /* PLAIN: the kernel's */
} descriptor;

typedef struct interest {
  uint32_t events; /* 0: none is registered */
  epoll_data_t data;
  int is_set;
} interest;

typedef struct thread {
  void *(*run)(void *argument);
  void *argument;
  int64_t at; /* NEVER: this place is free */
} thread;

#define CALLS(X)                                                                                                      \
  X(socket) X(connect) X(bind) X(listen) X(accept) X(recv) X(sendv) X(read) X(write) X(shutdown) X(close)             \
  X(getsockopt) X(setsockopt) X(getsockname) X(unsent) X(pipe) X(unlink) X(is_socket) X(stat) X(open_file)            \
  X(fstat) X(pread) X(getaddrinfo) X(epoll_create) X(epoll_ctl) X(epoll_wait) X(poll) X(pthread_create)
#define AS_ENUM(name) CALL_##name,
#define AS_NAME(name) #name,
enum { CALLS(AS_ENUM) CALL_COUNT };
static const char *const call_names[] = {CALLS(AS_NAME)};

static struct {
  world_rules rules;
  world_choose *choose;
  void *context;
  int64_t now;
  int stuck;
  unsigned strays;
  uint64_t moved;
  unsigned short next_port;
  unsigned used;      /* descriptors from FIRST_FD on that were ever used */
  unsigned ends_used; /* the same of `ends` */
  struct {
    long count;
    unsigned skip, times;
    int err;
  } calls[CALL_COUNT];
  long struck; /* calls that failed because of world_fail */
  thread threads[THREADS];
  struct {
    char name[64], addresses[256];
    int64_t delay;
  } hosts[HOSTS];
  unsigned host_count;
  char paths[8][sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* of Unix sockets; "": free */
} w;

static descriptor descriptors[WORLD_FDS];
static end ends[ENDS];
static interest interests[POLLERS][WORLD_FDS];
static int poller_used[POLLERS];

/* ------------------------------------------------------------------ chance and faults */

static uint32_t choose(uint32_t n) {
  if (n <= 1 || !w.choose) return 0;
  return w.choose(w.context, n) % n;
}

/* 1 as often as the rules say; the choice 0 is never it. */
static int happens(unsigned often, uint32_t of) {
  return often > 0 && choose(of) >= of - (often < of ? often : of);
}

static int64_t up_to(int64_t most) {
  const int64_t parts = 64;
  return most <= 0 ? 0 : most / parts * (int64_t)choose(64) + (most < parts ? (int64_t)choose((uint32_t)most + 1) : 0);
}

static int fail_with(int err) {
  errno = err;
  return -1;
}

/* What each call fails with, once in a while, in any system. */
typedef struct errnos {
  int call;
  int list[8];
} errnos;
static const errnos plausible[] = {
  {CALL_socket, {EMFILE, ENFILE, ENOBUFS, ENOMEM, EAFNOSUPPORT, EACCES}},
  {CALL_connect, {ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, ETIMEDOUT, EACCES, ENOBUFS}},
  {CALL_bind, {EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOMEM}},
  {CALL_listen, {EADDRINUSE, ENOBUFS}},
  {CALL_accept, {ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, EPERM, ENETDOWN}},
  {CALL_recv, {ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOMEM, EAGAIN, ENOTCONN}},
  {CALL_sendv, {ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, ENOBUFS, ENOMEM, EAGAIN}},
  {CALL_read, {EAGAIN, EIO}},
  {CALL_write, {EAGAIN, EPIPE, EIO}},
  {CALL_shutdown, {ENOTCONN, ENOBUFS}},
  {CALL_close, {EIO}},
  {CALL_getsockopt, {ENOBUFS, ENOMEM}},
  {CALL_setsockopt, {ENOBUFS, ENOPROTOOPT, EINVAL}},
  {CALL_getsockname, {ENOBUFS}},
  {CALL_unsent, {ENOTTY}},
  {CALL_pipe, {EMFILE, ENFILE}},
  {CALL_unlink, {ENOENT, EACCES, EBUSY}},
  {CALL_is_socket, {ENOENT, EACCES}},
  {CALL_stat, {ENOENT, EACCES, ENOMEM}},
  {CALL_open_file, {ENOENT, EACCES, EMFILE, ENFILE, ENOMEM}},
  {CALL_fstat, {EIO, ENOMEM}},
  {CALL_pread, {EIO, EAGAIN}},
  {CALL_getaddrinfo, {EAI_AGAIN, EAI_FAIL, EAI_NONAME, EAI_MEMORY, EAI_SYSTEM}},
  {CALL_epoll_create, {EMFILE, ENFILE, ENOMEM}},
  {CALL_epoll_ctl, {ENOMEM, ENOSPC}},
  {CALL_epoll_wait, {EINTR}},
  {CALL_poll, {EINTR, ENOMEM}},
  {CALL_pthread_create, {EAGAIN}},
};

static const errnos *errnos_of(int call) {
  for (size_t i = 0; i < sizeof plausible / sizeof *plausible; i++)
    if (plausible[i].call == call) return &plausible[i];
  return NULL;
}

static int number_of(const char *name) {
  for (int i = 0; i < CALL_COUNT; i++)
    if (strcmp(call_names[i], name) == 0) return i;
  return -1;
}

/* The errno a random fault has. A wait's and a look at the clock's would only be noise. */
static int random_fault(int call) {
  const errnos *list = errnos_of(call);
  unsigned count = 0;
  if (!list || !happens(w.rules.fault, 65536)) return 0;
  while (count < 8 && list->list[count]) count++;
  return list->list[choose(count)];
}

/* Counts a call. What it is to fail with; 0: nothing; -1: it is to do one byte only. */
static int gate(int call) {
  w.calls[call].count++;
  if (w.calls[call].times > 0) {
    if (w.calls[call].skip > 0) {
      w.calls[call].skip--;
    } else {
      w.calls[call].times--;
      w.struck++;
      return w.calls[call].err ? w.calls[call].err : -1;
    }
  }
  if (call == CALL_recv || call == CALL_sendv) return 0; /* these have rules of their own */
  return random_fault(call);
}

int world_fail(const char *name, int err, unsigned skip, unsigned times) {
  int call = number_of(name);
  if (call < 0) return 0;
  w.calls[call].err = err;
  w.calls[call].skip = skip;
  w.calls[call].times = times;
  return 1;
}

void world_spare(void) {
  for (unsigned i = 0; i < CALL_COUNT; i++) w.calls[i].times = 0;
}

long world_struck(void) {
  return w.struck;
}

long world_calls(const char *name) {
  int call = number_of(name);
  return call < 0 ? -1 : w.calls[call].count;
}

const char *world_call_name(unsigned i) {
  return i < CALL_COUNT ? call_names[i] : NULL;
}

int world_call_errno(const char *name, unsigned i) {
  const errnos *list = errnos_of(number_of(name));
  return list && i < 8 ? list->list[i] : 0;
}

int world_call_is_partial(const char *name) {
  int call = number_of(name);
  return call == CALL_recv || call == CALL_sendv || call == CALL_pread;
}

/* ------------------------------------------------------------------ descriptors */

static descriptor *at(int fd) {
  unsigned i = (unsigned)(fd - FIRST_FD);
  if (fd < FIRST_FD || i >= WORLD_FDS || descriptors[i].kind == FREE) {
    w.strays++;
    errno = EBADF;
    return NULL;
  }
  return &descriptors[i];
}

/* The end of a connection or pipe that a descriptor names, or NULL with errno. */
static end *end_at(int fd) {
  descriptor *d = at(fd);
  if (d && d->kind == END) return d->end;
  if (d) errno = ENOTSOCK;
  return NULL;
}

unsigned world_open(void) {
  unsigned count = 0;
  for (unsigned i = 0; i < w.used; i++) count += descriptors[i].kind != FREE;
  return count;
}

unsigned world_foreign(void) {
  unsigned count = 0;
  for (unsigned i = 0; i < w.used; i++) count += descriptors[i].kind != FREE && descriptors[i].foreign;
  return count;
}

/* The lowest free one, as a system gives it, or -1 with errno. */
static int new_fd(kind of) {
  for (unsigned i = 0; i < WORLD_FDS; i++) {
    descriptor *d = &descriptors[i];
    if (d->kind != FREE) continue;
    memset(d, 0, sizeof *d);
    d->kind = of;
    if (w.used <= i) w.used = i + 1;
    return FIRST_FD + (int)i;
  }
  return fail_with(EMFILE);
}

/* The same for the library, which is limited. */
static int new_own_fd(kind of) {
  if (w.rules.limit && world_open() - world_foreign() >= w.rules.limit) return fail_with(EMFILE);
  return new_fd(of);
}

static end *new_end(void) {
  for (unsigned i = 0; i < ENDS; i++) {
    end *e = &ends[i];
    if (e->used) continue;
    if (w.ends_used <= i) w.ends_used = i + 1;
    memset(e, 0, offsetof(end, in.bytes));
    e->used = 1;
    e->connect_at = e->reset_at = e->in.end_at = NEVER;
    return e;
  }
  return NULL;
}

static void join(end *a, end *b) {
  a->other = b;
  b->other = a;
  a->connected = b->connected = 1;
}

static size_t capacity(void) {
  return w.rules.capacity && w.rules.capacity < CAPACITY ? w.rules.capacity : CAPACITY;
}

/* ------------------------------------------------------------------ bytes under way */

/* When what is sent now arrives: nothing overtakes. */
static int64_t arrival(inbox *in, int is_pipe) {
  int64_t when = w.now + (is_pipe ? 0 : up_to(w.rules.latency));
  if (when < in->last) when = in->last;
  return in->last = when;
}

static void deliver(end *e) {
  inbox *in = &e->in;
  unsigned done = 0;
  if (e->cut) return;
  while (done < in->segment_count && in->segments[done].at <= w.now) {
    if (in->segments[done].end > in->arrived) e->news++;
    in->arrived = in->segments[done++].end;
  }
  if (done > 0) {
    memmove(in->segments, in->segments + done, (in->segment_count - done) * sizeof *in->segments);
    in->segment_count -= done;
  }
}

static void put(end *to, const unsigned char *bytes, size_t n) {
  inbox *in = &to->in;
  size_t from = (in->head + in->n) % CAPACITY, first = n < CAPACITY - from ? n : CAPACITY - from;
  if (n == 0) return;
  memcpy(in->bytes + from, bytes, first);
  memcpy(in->bytes, bytes + first, n - first);
  in->n += n;
  w.moved += n;
}

/* The bytes just put will arrive. */
static void send_off(end *to, int is_pipe) {
  inbox *in = &to->in;
  int64_t when = arrival(in, is_pipe);
  if (in->segment_count == SEGMENTS) in->segment_count--; /* the last two arrive together */
  in->segments[in->segment_count].end = in->n;
  in->segments[in->segment_count++].at = when;
  deliver(to);
}

static size_t take(end *e, unsigned char *bytes, size_t n) {
  inbox *in = &e->in;
  size_t first;
  if (n > in->arrived) n = in->arrived;
  first = n < CAPACITY - in->head ? n : CAPACITY - in->head;
  memcpy(bytes, in->bytes + in->head, first);
  memcpy(bytes + first, in->bytes, n - first);
  w.moved += n;
  in->head = (in->head + n) % CAPACITY;
  in->n -= n;
  in->arrived -= n;
  for (unsigned i = 0; i < in->segment_count; i++) in->segments[i].end -= n;
  return n;
}

/* What the peer's system knows: all that arrived is acknowledged. */
static size_t unacknowledged(const end *e) {
  return e->other ? e->other->in.n - e->other->in.arrived : e->lost;
}

static size_t room(const end *e) {
  size_t held = e->other ? e->other->in.n : e->lost;
  return held >= capacity() ? 0 : capacity() - held;
}

/* A reset is under way from the other side, behind what that has sent. */
static void reset(end *e) {
  if (e->cut || e->broken || e->reset_at != NEVER) return;
  e->reset_at = arrival(&e->in, 0);
}

/* It has arrived: what waits unread may be lost with it, as some systems have it. */
static void break_end(end *e, int error) {
  e->reset_at = NEVER;
  if (e->broken) return;
  e->broken = 1;
  e->error = error;
  e->news++;
  e->in.segment_count = 0;
  if (choose(2)) e->in.arrived = 0;
  e->in.n = e->in.arrived;
  if (e->other) e->other->other = NULL;
  e->other = NULL;
}

static int at_end(const end *e) {
  return e->read_shut || (!e->cut && e->in.n == 0 && e->in.end_at <= w.now);
}

static unsigned readiness(const end *e) {
  unsigned ready = 0;
  if (e->connecting) return 0;
  if (!e->connected && !e->broken) return EPOLLHUP | EPOLLOUT; /* as the system says of a socket that goes nowhere */
  if (e->in.arrived > 0 || at_end(e) || e->broken) ready |= EPOLLIN;
  if (e->broken || e->write_shut || room(e) > capacity() / 4) ready |= EPOLLOUT;
  if (e->error) ready |= EPOLLERR;
  if (e->broken || (e->write_shut && at_end(e))) ready |= EPOLLHUP;
  return ready;
}

/* ------------------------------------------------------------------ addresses */

static unsigned short *port_of(address *a) {
  if (a->it.ss_family == AF_INET) return &((struct sockaddr_in *)&a->it)->sin_port;
  if (a->it.ss_family == AF_INET6) return &((struct sockaddr_in6 *)&a->it)->sin6_port;
  return NULL;
}

static const char *path_of(const address *a) {
  return ((const struct sockaddr_un *)&a->it)->sun_path;
}

static int is_any(const address *a) {
  if (a->it.ss_family == AF_INET) return ((const struct sockaddr_in *)&a->it)->sin_addr.s_addr == htonl(INADDR_ANY);
  return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&a->it)->sin6_addr);
}

/* 1 if what comes to `b` is taken by who is bound to `a`. */
static int covers(address *a, address *b) {
  if (a->it.ss_family != b->it.ss_family) return 0;
  if (a->it.ss_family == AF_UNIX) return strcmp(path_of(a), path_of(b)) == 0;
  if (*port_of(a) != *port_of(b)) return 0;
  if (is_any(a) || is_any(b)) return 1;
  if (a->it.ss_family == AF_INET)
    return ((struct sockaddr_in *)&a->it)->sin_addr.s_addr == ((struct sockaddr_in *)&b->it)->sin_addr.s_addr;
  return memcmp(&((struct sockaddr_in6 *)&a->it)->sin6_addr, &((struct sockaddr_in6 *)&b->it)->sin6_addr, 16) == 0;
}

static int set_address(address *a, const struct sockaddr *from, socklen_t size) {
  if (size > sizeof a->it) return fail_with(EINVAL);
  memset(a, 0, sizeof *a);
  memcpy(&a->it, from, size);
  a->size = size;
  return 0;
}

/* NULL: nobody asks for it. */
static void give_address(const address *a, struct sockaddr *to, socklen_t *size) {
  if (!to || !size) return;
  memcpy(to, &a->it, *size < a->size ? *size : a->size);
  *size = a->size;
}

/* Loopback and a port nobody has: the near end of what connects. */
static void name_own(address *a, int family) {
  memset(a, 0, sizeof *a);
  a->it.ss_family = (sa_family_t)family;
  a->size = family == AF_INET ? sizeof(struct sockaddr_in) : family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(sa_family_t);
  if (family == AF_INET) ((struct sockaddr_in *)&a->it)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (family == AF_INET6) ((struct sockaddr_in6 *)&a->it)->sin6_addr = in6addr_loopback;
  if (port_of(a)) *port_of(a) = htons(w.next_port++);
}

static descriptor *listener_at(address *to) {
  for (unsigned i = 0; i < w.used; i++) {
    descriptor *d = &descriptors[i];
    if (d->kind == LISTENER && d->listening && covers(&d->bound, to)) return d;
  }
  return NULL;
}

/* ECONNREFUSED, ENETUNREACH, or 0: an answer is possible; -1: never. */
static int fate_of(const address *to) {
  if (to->it.ss_family == AF_INET) {
    uint32_t ip = ntohl(((const struct sockaddr_in *)&to->it)->sin_addr.s_addr);
    if (ip >> 8 == 0xc00002) return -1;         /* 192.0.2.0/24 */
    if (ip >> 8 == 0xc63364) return ENETUNREACH; /* 198.51.100.0/24 */
  } else if (to->it.ss_family == AF_INET6) {
    const unsigned char *ip = ((const struct sockaddr_in6 *)&to->it)->sin6_addr.s6_addr;
    if (memcmp(ip, "\x20\x01\x0d\xb8", 4) == 0) return -1; /* 2001:db8::/32 */
  }
  return 0;
}

static char *path_place(const char *path) {
  for (size_t i = 0; i < sizeof w.paths / sizeof *w.paths; i++)
    if (strcmp(w.paths[i], path) == 0) return w.paths[i];
  return NULL;
}

/* An attempt to connect is decided. */
static void arrive(end *e) {
  descriptor *listener = listener_at(&e->peer);
  end *guest = NULL;
  e->connecting = 0;
  e->connect_at = NEVER;
  if (listener && listener->guest_count < listener->backlog) guest = new_end();
  if (!guest) {
    e->error = ECONNREFUSED;
    e->broken = 1;
    e->news++;
    return;
  }
  guest->own = e->peer;
  guest->peer = e->own;
  join(e, guest);
  e->news++;
  listener->guests[listener->guest_count++] = guest;
  listener->news++;
}

/* ------------------------------------------------------------------ time */

static int64_t sooner(int64_t a, int64_t b) {
  return a < b ? a : b;
}

int64_t world_next(void) {
  int64_t next = NEVER;
  for (unsigned i = 0; i < w.ends_used; i++) {
    const end *e = &ends[i];
    if (!e->used) continue;
    next = sooner(next, sooner(e->connect_at, e->reset_at));
    if (e->cut) continue;
    if (e->in.segment_count > 0) next = sooner(next, e->in.segments[0].at);
    if (e->in.end_at > w.now) next = sooner(next, e->in.end_at);
  }
  for (unsigned i = 0; i < THREADS; i++) next = sooner(next, w.threads[i].at);
  return next == NEVER ? -1 : next;
}

/* What threads do, they do here: the library holds no lock while it waits. */
static void run_threads(int all) {
  for (unsigned i = 0; i < THREADS; i++) {
    thread *t = &w.threads[i];
    if (t->at == NEVER || (!all && t->at > w.now)) continue;
    t->at = NEVER;
    t->run(t->argument);
  }
}

/* Everything on the network whose time has come happens. */
static void happen(void) {
  for (unsigned i = 0; i < w.ends_used; i++) {
    end *e = &ends[i];
    if (!e->used) continue;
    if (e->connect_at <= w.now) arrive(e);
    deliver(e);
    if (e->reset_at <= w.now) break_end(e, ECONNRESET);
  }
}

int64_t world_now(void) {
  return w.now;
}

void world_pass(int64_t nanoseconds) {
  w.now += nanoseconds;
  happen();
  run_threads(0);
}

static int64_t look_at_clock(void) {
  return w.now += up_to(w.rules.tick);
}

/* 1 if a foreign program has news that it has not been woken for. */
static int bell(void) {
  int rings = 0;
  for (unsigned i = 0; i < w.used; i++) {
    descriptor *d = &descriptors[i];
    uint64_t *news = &d->news, *told = &d->told;
    if (d->kind == FREE || !d->foreign) continue;
    if (d->kind == END) {
      news = &d->end->news;
      told = &d->end->told;
      if (d->end->in.end_at <= w.now && !d->end->end_told) {
        d->end->end_told = 1;
        ++*news;
      }
      if (d->end->wants_room && room(d->end) > 0) {
        d->end->wants_room = 0;
        ++*news;
      }
    }
    if (*news == *told) continue;
    *told = *news;
    rings = 1;
  }
  return rings;
}

/*
** Lets time pass until `look` finds something, a foreign program has news, or the timeout
** (nanoseconds; < 0: none) is over.
*/
static int wait_until(int (*look)(void *what), void *what, int64_t timeout) {
  const int64_t until = timeout < 0 ? NEVER : timeout > NEVER - w.now ? NEVER : w.now + timeout;
  for (;;) {
    int found;
    int64_t next;
    happen();
    run_threads(0);
    found = look(what);
    if (found || timeout == 0) return found;
    if (bell()) return 0;
    next = world_next();
    if (next < 0 && timeout < 0) {
      w.stuck = 1;
      return 0;
    }
    if (next < 0 || next > until) next = until;
    if (next > w.now) w.now = next;
    if (happens(w.rules.late, 256)) w.now += up_to(w.rules.oversleep);
    if (w.now < until) continue;
    happen();
    run_threads(0);
    return look(what);
  }
}

/* ------------------------------------------------------------------ the calls */

static int call_socket(int family, int type, int protocol) {
  int err = gate(CALL_socket), fd;
  end *e;
  (void)type;
  (void)protocol;
  if (err > 0) return fail_with(err);
  fd = new_own_fd(END);
  if (fd < 0) return -1;
  e = new_end();
  if (!e) {
    at(fd)->kind = FREE;
    return fail_with(ENOBUFS);
  }
  at(fd)->end = e;
  at(fd)->family = family;
  return fd;
}

static int call_connect(int fd, const struct sockaddr *to, socklen_t size) {
  end *e = end_at(fd);
  int err = gate(CALL_connect), fate;
  if (!e) return -1;
  if (e->connected) return fail_with(EISCONN);
  if (e->connecting) return fail_with(EALREADY);
  if (e->error || err > 0) {
    err = err > 0 ? err : e->error;
    e->error = 0;
    return fail_with(err);
  }
  if (set_address(&e->peer, to, size) < 0) return -1;
  fate = fate_of(&e->peer);
  if (fate > 0) return fail_with(fate);
  name_own(&e->own, to->sa_family);
  if (to->sa_family == AF_UNIX) {
    if (!path_place(path_of(&e->peer))) return fail_with(ENOENT);
    arrive(e);
    if (e->connected) return 0;
    err = e->error;
    e->error = e->broken = 0;
    return fail_with(err);
  }
  e->connecting = 1;
  e->connect_at = fate < 0 ? NEVER : w.now + up_to(w.rules.latency);
  if (e->connect_at <= w.now && choose(4) == 3) { /* sometimes it is there at once */
    arrive(e);
    if (e->connected) return 0;
  }
  return fail_with(EINPROGRESS);
}

static int call_bind(int fd, const struct sockaddr *to, socklen_t size) {
  descriptor *d = at(fd);
  int err = gate(CALL_bind);
  address wanted;
  char *place;
  if (!d) return -1;
  if (err > 0) return fail_with(err);
  if (set_address(&wanted, to, size) < 0) return -1;
  if (to->sa_family == AF_UNIX) {
    if (path_place(path_of(&wanted))) return fail_with(EADDRINUSE);
    if (!(place = path_place(""))) return fail_with(ENOSPC);
    snprintf(place, sizeof *w.paths, "%s", path_of(&wanted));
  } else {
    if (*port_of(&wanted) == 0) *port_of(&wanted) = htons(w.next_port++);
    for (unsigned i = 0; i < w.used; i++) {
      descriptor *other = &descriptors[i];
      if (other != d && other->kind == LISTENER && !(other->reuse && d->reuse) && covers(&other->bound, &wanted))
        return fail_with(EADDRINUSE);
    }
  }
  d->bound = wanted;
  d->is_bound = 1;
  return 0;
}

static int call_listen(int fd, int backlog) {
  descriptor *d = at(fd);
  const unsigned most = sizeof d->guests / sizeof *d->guests;
  int err = gate(CALL_listen);
  if (!d) return -1;
  if (err > 0) return fail_with(err);
  if (d->kind == END) {
    d->end->used = 0;
    d->end = NULL;
  }
  d->kind = LISTENER;
  d->listening = 1;
  d->backlog = backlog < 1 ? 1 : (unsigned)backlog > most ? most : (unsigned)backlog;
  return 0;
}

static void close_end(end *e);

/* The oldest guest gets a descriptor. */
static int accept_guest(descriptor *d, struct sockaddr *from, socklen_t *size) {
  end *guest = d->guests[0];
  int fd = d->foreign ? new_fd(END) : new_own_fd(END);
  if (fd < 0) return -1;
  d->guest_count--;
  memmove(d->guests, d->guests + 1, d->guest_count * sizeof *d->guests);
  at(fd)->end = guest;
  at(fd)->family = guest->own.it.ss_family;
  give_address(&guest->peer, from, size);
  return fd;
}

static int call_accept(int fd, struct sockaddr *from, socklen_t *size) {
  descriptor *d = at(fd);
  int err = gate(CALL_accept);
  if (!d) return -1;
  if (d->kind != LISTENER) return fail_with(EINVAL);
  happen();
  if (d->guest_count == 0) return fail_with(EAGAIN);
  if (err == ECONNABORTED || err == EPROTO || err == EPERM) { /* this guest is gone */
    end *guest = d->guests[0];
    d->guest_count--;
    memmove(d->guests, d->guests + 1, d->guest_count * sizeof *d->guests);
    close_end(guest);
  }
  if (err > 0) return fail_with(err);
  return accept_guest(d, from, size);
}

/* A read or write of an end that is broken. */
static ssize_t told_broken(end *e, ssize_t otherwise) {
  if (e->error) {
    int err = e->error;
    e->error = 0;
    return fail_with(err);
  }
  if (otherwise < 0) errno = EPIPE;
  return otherwise;
}

/* What a call that fails on purpose does to its connection: most of these errors are the end of it. */
static ssize_t fail_transfer(end *e, int err) {
  if (err == ECONNRESET || err == EPIPE || err == ETIMEDOUT || err == EHOSTUNREACH) {
    if (e->other && !e->is_pipe) reset(e->other);
    if (!e->is_pipe) break_end(e, 0);
  }
  return fail_with(err);
}

/* How much of a read or write is done this time: 1 to n, or 0 for EAGAIN. */
static size_t portion(size_t n, int fault) {
  if (fault < 0) return 1;
  if (n > 0 && happens(w.rules.again, 256)) return 0;
  if (n > 1 && happens(w.rules.shorter, 256)) {
    size_t most = n - 1 < 4096 ? n - 1 : 4096;
    return choose(2) ? 1 : 1 + choose((uint32_t)most);
  }
  return n;
}

static ssize_t read_end(end *e, void *bytes, size_t n, int fault) {
  size_t portion_n;
  happen();
  if (fault > 0) return fail_transfer(e, fault);
  if (!e->is_pipe && e->connected && !e->broken && happens(w.rules.reset, 65536)) return fail_transfer(e, ECONNRESET);
  if (e->in.arrived == 0) {
    if (e->broken) return told_broken(e, 0);
    if (!e->connected) return fail_with(ENOTCONN);
    if (at_end(e)) return 0;
    return fail_with(EAGAIN);
  }
  if (n > e->in.arrived) n = e->in.arrived;
  portion_n = e->is_pipe ? n : portion(n, fault);
  if (portion_n == 0) return fail_with(EAGAIN);
  return (ssize_t)take(e, bytes, portion_n);
}

static ssize_t write_end(end *e, const struct iovec *parts, int count, int fault) {
  size_t n = 0, done = 0;
  happen();
  for (int i = 0; i < count; i++) n += parts[i].iov_len;
  if (fault > 0) return fail_transfer(e, fault);
  if (!e->is_pipe && e->connected && !e->broken && happens(w.rules.reset, 65536)) return fail_transfer(e, ECONNRESET);
  if (e->broken || e->write_shut) return told_broken(e, -1);
  if (!e->connected) return fail_with(ENOTCONN);
  if (!e->other && e->is_pipe) return fail_with(EPIPE);
  if (!e->other) reset(e); /* nobody takes it there */
  if (n > room(e)) n = room(e);
  if (n == 0) return fail_with(EAGAIN);
  n = e->is_pipe ? n : portion(n, fault);
  if (n == 0) return fail_with(EAGAIN);
  if (!e->other) {
    if (e->cut) e->lost += n;
    return (ssize_t)n;
  }
  for (int i = 0; i < count && done < n; i++) {
    size_t piece = parts[i].iov_len < n - done ? parts[i].iov_len : n - done;
    put(e->other, parts[i].iov_base, piece);
    done += piece;
  }
  send_off(e->other, e->is_pipe);
  return (ssize_t)done;
}

static ssize_t call_recv(int fd, void *bytes, size_t n) {
  end *e = end_at(fd);
  int fault = gate(CALL_recv);
  return e ? read_end(e, bytes, n, fault) : -1;
}

static ssize_t call_sendv(int fd, const struct iovec *parts, int count) {
  end *e = end_at(fd);
  int fault = gate(CALL_sendv);
  return e ? write_end(e, parts, count, fault) : -1;
}

static ssize_t call_read(int fd, void *bytes, size_t n) {
  end *e = end_at(fd);
  int fault = gate(CALL_read);
  return e ? read_end(e, bytes, n, fault > 0 ? fault : 0) : -1;
}

static ssize_t call_write(int fd, const void *bytes, size_t n) {
  struct iovec part = {(void *)(uintptr_t)bytes, n};
  end *e = end_at(fd);
  int fault = gate(CALL_write);
  return e ? write_end(e, &part, 1, fault > 0 ? fault : 0) : -1;
}

/* No more will be written: the other end learns it behind the last byte. */
static void end_writing(end *e) {
  if (e->write_shut) return;
  e->write_shut = 1;
  if (e->other && e->other->in.end_at == NEVER) e->other->in.end_at = arrival(&e->other->in, e->is_pipe);
}

static int call_shutdown(int fd, int how) {
  end *e = end_at(fd);
  int err = gate(CALL_shutdown);
  if (!e) return -1;
  if (err > 0) return fail_with(err);
  if (!e->connected || e->broken) return fail_with(ENOTCONN);
  if (how != SHUT_WR) e->read_shut = 1;
  if (how != SHUT_RD) end_writing(e);
  return 0;
}

static void close_end(end *e) {
  end *other = e->other;
  if (other) {
    if ((e->in.n > 0 || e->drops) && !e->is_pipe) reset(other);
    else end_writing(e);
    other->lost = other->cut ? e->in.n - e->in.arrived : 0;
    other->other = NULL;
  }
  e->used = 0;
}

static void close_descriptor(descriptor *d, int fd) {
  switch (d->kind) {
    case END: close_end(d->end); break;
    case LISTENER:
      for (unsigned i = 0; i < d->guest_count; i++) {
        if (d->guests[i]->other) reset(d->guests[i]->other);
        close_end(d->guests[i]);
      }
      break;
    case POLLER:
      poller_used[d->poller] = 0;
      break;
    case PLAIN: close(d->file); break;
    case FREE: break;
  }
  for (int i = 0; i < POLLERS; i++) interests[i][fd - FIRST_FD].is_set = 0;
  d->kind = FREE;
}

static int call_close(int fd) {
  descriptor *d = at(fd);
  int err = gate(CALL_close);
  if (!d) return -1;
  close_descriptor(d, fd);
  return err > 0 ? fail_with(err) : 0;
}

static int call_getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
  end *e = end_at(fd);
  int err = gate(CALL_getsockopt);
  if (!e) return -1;
  if (err > 0) return fail_with(err);
  if (level != SOL_SOCKET || name != SO_ERROR || *size < sizeof(int)) return fail_with(ENOPROTOOPT);
  happen();
  memcpy(value, &e->error, sizeof e->error);
  *size = sizeof e->error;
  e->error = 0;
  return 0;
}

static int call_setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
  descriptor *d = at(fd);
  int err = gate(CALL_setsockopt);
  (void)value;
  (void)size;
  if (!d) return -1;
  if (err > 0) return fail_with(err);
  if (level == SOL_SOCKET && name == SO_REUSEPORT) d->reuse = 1;
  if (level == SOL_SOCKET && name == SO_LINGER && d->kind == END) d->end->drops = 1;
  return 0;
}

static int call_getsockname(int fd, struct sockaddr *to, socklen_t *size) {
  descriptor *d = at(fd);
  int err = gate(CALL_getsockname);
  if (!d) return -1;
  if (err > 0) return fail_with(err);
  give_address(d->is_bound || d->kind != END ? &d->bound : &d->end->own, to, size);
  return 0;
}

static long call_unsent(int fd) {
  end *e = end_at(fd);
  int err = gate(CALL_unsent);
  if (!e) return -1;
  if (err > 0) return fail_with(err);
  happen();
  return (long)unacknowledged(e);
}

static int call_pipe(int fds[2]) {
  int err = gate(CALL_pipe);
  end *a, *b;
  if (err > 0) return fail_with(err);
  if ((fds[0] = new_own_fd(END)) < 0) return -1;
  if ((fds[1] = new_own_fd(END)) < 0) {
    at(fds[0])->kind = FREE;
    return fail_with(EMFILE);
  }
  a = new_end();
  b = a ? new_end() : NULL;
  if (!b) {
    if (a) a->used = 0;
    at(fds[0])->kind = at(fds[1])->kind = FREE;
    return fail_with(ENFILE);
  }
  join(a, b);
  a->is_pipe = b->is_pipe = 1;
  at(fds[0])->end = a;
  at(fds[1])->end = b;
  return 0;
}

static long call_descriptor_limit(void) {
  return w.rules.limit ? (long)w.rules.limit : WORLD_FDS;
}

static int call_unlink(const char *path) {
  char *place = path_place(path);
  int err = gate(CALL_unlink);
  if (err > 0) return fail_with(err);
  if (!*path || !place) return fail_with(ENOENT);
  *place = '\0';
  return 0;
}

static int call_is_socket(const char *path) {
  int err = gate(CALL_is_socket);
  if (err > 0) return fail_with(err);
  if (*path && path_place(path)) return 1;
  return fail_with(ENOENT);
}

/* --- files are the kernel's --- */

static int call_stat(const char *path, struct stat *status) {
  int err = gate(CALL_stat);
  return err > 0 ? fail_with(err) : stat(path, status);
}

static int call_open_file(const char *path) {
  int err = gate(CALL_open_file), fd;
  if (err > 0) return fail_with(err);
  if ((fd = new_own_fd(PLAIN)) < 0) return -1;
  at(fd)->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (at(fd)->file >= 0) return fd;
  at(fd)->kind = FREE;
  return -1;
}

static int call_fstat(int fd, struct stat *status) {
  descriptor *d = at(fd);
  int err = gate(CALL_fstat);
  if (!d) return -1;
  return err > 0 ? fail_with(err) : fstat(d->file, status);
}

static ssize_t call_pread(int fd, void *bytes, size_t n, off_t from) {
  descriptor *d = at(fd);
  int err = gate(CALL_pread);
  if (!d) return -1;
  if (err > 0) return fail_with(err);
  return pread(d->file, bytes, err < 0 && n > 1 ? 1 : n, from);
}

/* --- names --- */

int world_host(const char *name, const char *addresses, int64_t delay) {
  if (w.host_count == HOSTS || strlen(name) >= sizeof w.hosts->name) return 0;
  if (addresses && strlen(addresses) >= sizeof w.hosts->addresses) return 0;
  snprintf(w.hosts[w.host_count].name, sizeof w.hosts->name, "%s", name);
  snprintf(w.hosts[w.host_count].addresses, sizeof w.hosts->addresses, "%s", addresses ? addresses : "");
  w.hosts[w.host_count++].delay = delay;
  return 1;
}

static void call_freeaddrinfo(struct addrinfo *list) {
  while (list) { /* one by one, for it may have been made of several */
    struct addrinfo *next = list->ai_next;
    list->ai_next = NULL;
    freeaddrinfo(list);
    list = next;
  }
}

/* All the literals in `addresses` that are of the family asked for, as one list. */
static int list_of(const char *addresses, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
  struct addrinfo numeric = *hints, **last = result;
  char copy[sizeof w.hosts->addresses], *rest = NULL;
  snprintf(copy, sizeof copy, "%s", addresses);
  *result = NULL;
  numeric.ai_flags |= AI_NUMERICHOST;
  for (char *one = strtok_r(copy, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
    if (getaddrinfo(one, service, &numeric, last) != 0) *last = NULL;
    else last = &(*last)->ai_next;
  }
  return *result ? 0 : EAI_NONAME;
}

static int call_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
  struct addrinfo numeric = *hints;
  int err = gate(CALL_getaddrinfo);
  *result = NULL;
  if (err == EAI_SYSTEM) errno = ENOMEM;
  if (err) return err;
  for (unsigned i = 0; i < w.host_count && host; i++)
    if (strcmp(w.hosts[i].name, host) == 0 && !(hints->ai_flags & AI_NUMERICHOST))
      return list_of(w.hosts[i].addresses, service, hints, result);
  if (host && strcmp(host, "localhost") == 0 && !(hints->ai_flags & AI_NUMERICHOST))
    return list_of("127.0.0.1,::1", service, hints, result);
  numeric.ai_flags |= AI_NUMERICHOST; /* nobody else is known here */
  return getaddrinfo(host, service, &numeric, result);
}

/* --- pollers --- */

static int call_epoll_create(void) {
  int err = gate(CALL_epoll_create), fd;
  if (err > 0) return fail_with(err);
  if ((fd = new_own_fd(POLLER)) < 0) return -1;
  for (int i = 0; i < POLLERS; i++) {
    if (poller_used[i]) continue;
    poller_used[i] = 1;
    memset(interests[i], 0, sizeof interests[i]);
    at(fd)->poller = i;
    return fd;
  }
  at(fd)->kind = FREE;
  return fail_with(ENFILE);
}

static int call_epoll_ctl(int poller, int operation, int fd, struct epoll_event *event) {
  descriptor *p = at(poller), *d = at(fd);
  int err = gate(CALL_epoll_ctl);
  interest *i;
  if (!p || !d) return -1;
  if (p->kind != POLLER) return fail_with(EINVAL);
  if (err > 0 && operation != EPOLL_CTL_DEL) return fail_with(err);
  if (d->kind == PLAIN) return fail_with(EPERM);
  i = &interests[p->poller][fd - FIRST_FD];
  if (operation == EPOLL_CTL_ADD && i->is_set) return fail_with(EEXIST);
  if (operation != EPOLL_CTL_ADD && !i->is_set) return fail_with(ENOENT);
  i->is_set = operation != EPOLL_CTL_DEL;
  if (!i->is_set) return 0;
  i->events = event->events;
  i->data = event->data;
  return 0;
}

static unsigned readiness_of(const descriptor *d) {
  switch (d->kind) {
    case END: return readiness(d->end);
    case LISTENER: return d->guest_count > 0 ? EPOLLIN : 0;
    case PLAIN: return EPOLLIN | EPOLLOUT;
    case POLLER:
    case FREE: break;
  }
  return 0;
}

typedef struct epoll_look {
  int poller, max;
  struct epoll_event *events;
} epoll_look;

/* Begins anywhere: who is served first is nobody's right. */
static int look_epoll(void *what) {
  epoll_look *look = what;
  unsigned first = w.used > 0 ? choose(w.used) : 0;
  int count = 0;
  for (unsigned k = 0; k < w.used && count < look->max; k++) {
    unsigned fd = (first + k) % w.used;
    const interest *i = &interests[look->poller][fd];
    unsigned ready;
    if (!i->is_set || descriptors[fd].kind == FREE) continue;
    ready = readiness_of(&descriptors[fd]) & (i->events | EPOLLERR | EPOLLHUP);
    if (!ready) continue;
    look->events[count].events = ready;
    look->events[count++].data = i->data;
  }
  return count;
}

static int call_epoll_wait(int poller, struct epoll_event *events, int max, int64_t timeout) {
  descriptor *p = at(poller);
  int err = gate(CALL_epoll_wait);
  epoll_look look;
  if (!p) return -1;
  if (err > 0) return fail_with(err);
  look = (epoll_look){p->poller, max, events};
  return wait_until(look_epoll, &look, timeout);
}

typedef struct poll_look {
  struct pollfd *fds;
  size_t count;
} poll_look;

static int look_poll(void *what) {
  poll_look *look = what;
  int count = 0;
  for (size_t i = 0; i < look->count; i++) {
    unsigned fd = (unsigned)(look->fds[i].fd - FIRST_FD), ready;
    short told = 0;
    if (fd >= WORLD_FDS || descriptors[fd].kind == FREE) {
      w.strays++;
      told = POLLNVAL;
    } else {
      ready = readiness_of(&descriptors[fd]);
      if (ready & EPOLLIN && look->fds[i].events & POLLIN) told |= POLLIN;
      if (ready & EPOLLOUT && look->fds[i].events & POLLOUT) told |= POLLOUT;
      if (ready & EPOLLERR) told |= POLLERR;
      if (ready & EPOLLHUP) told |= POLLHUP;
    }
    look->fds[i].revents = told;
    count += told != 0;
  }
  return count;
}

static int call_poll(struct pollfd *fds, size_t count, int64_t timeout) {
  poll_look look = {fds, count};
  int err = gate(CALL_poll);
  return err > 0 ? fail_with(err) : wait_until(look_poll, &look, timeout);
}

/* ------------------------------------------------------------------ threads */

/* In place of libpthread's, by the linker (--wrap). */
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
  int err = gate(CALL_pthread_create);
  int64_t delay = up_to(w.rules.latency);
  (void)attributes;
  if (err > 0) return err;
  for (unsigned i = 0; i < w.host_count; i++) /* all are as slow as the slowest */
    if (w.hosts[i].delay > delay) delay = w.hosts[i].delay;
  for (unsigned i = 0; i < THREADS; i++) {
    if (w.threads[i].at != NEVER) continue;
    w.threads[i] = (thread){run, argument, w.now + delay};
    memset(id, 0, sizeof *id);
    return 0;
  }
  return EAGAIN;
}

unsigned world_threads(void) {
  unsigned count = 0;
  for (unsigned i = 0; i < THREADS; i++) count += w.threads[i].at != NEVER;
  return count;
}

/* ------------------------------------------------------------------ foreign programs */

static int foreign(int fd) {
  descriptor *d = fd < 0 ? NULL : at(fd);
  if (d) d->foreign = 1;
  return fd;
}

int world_listen(unsigned short *port) {
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int fd = new_fd(LISTENER);
  descriptor *d = fd < 0 ? NULL : at(fd);
  if (!d) return -1;
  if (*port == 0) any.sin_port = htons(w.next_port++);
  *port = ntohs(any.sin_port);
  set_address(&d->bound, (const struct sockaddr *)&any, sizeof any);
  d->listening = d->is_bound = 1;
  d->backlog = sizeof d->guests / sizeof *d->guests;
  return foreign(fd);
}

int world_accept(int listener) {
  descriptor *d = at(listener);
  if (!d) return -1;
  happen();
  if (d->guest_count == 0) return fail_with(EAGAIN);
  return foreign(accept_guest(d, NULL, NULL));
}

int world_dial(unsigned short port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int fd = new_fd(END);
  end *e = fd < 0 ? NULL : new_end();
  if (fd < 0) return -1;
  if (!e) {
    at(fd)->kind = FREE;
    return fail_with(ENOBUFS);
  }
  at(fd)->end = e;
  set_address(&e->peer, (const struct sockaddr *)&to, sizeof to);
  name_own(&e->own, AF_INET);
  e->connecting = 1;
  e->connect_at = w.now + up_to(w.rules.latency);
  happen();
  return foreign(fd);
}

ssize_t world_recv(int fd, void *bytes, size_t n) {
  end *e = end_at(fd);
  return e ? read_end(e, bytes, n, 0) : -1;
}

ssize_t world_send(int fd, const void *bytes, size_t n) {
  struct iovec part = {(void *)(uintptr_t)bytes, n};
  end *e = end_at(fd);
  ssize_t went = e ? write_end(e, &part, 1, 0) : -1;
  if (e) e->wants_room = went < (ssize_t)n;
  return went;
}

void world_shut(int fd) {
  end *e = end_at(fd);
  if (e) end_writing(e);
}

void world_close(int fd) {
  descriptor *d = at(fd);
  if (d) close_descriptor(d, fd);
}

/* ------------------------------------------------------------------ what befalls a connection */

int world_link(unsigned n) {
  for (unsigned i = 0; i < w.used; i++) {
    const descriptor *d = &descriptors[i];
    if (d->kind != END || d->end->is_pipe || !d->end->other) continue;
    if (n-- == 0) return FIRST_FD + (int)i;
  }
  return -1;
}

void world_break(int fd) {
  end *e = end_at(fd), *other;
  if (!e || e->is_pipe) return;
  other = e->other;
  break_end(e, ECONNRESET);
  if (other) break_end(other, ECONNRESET);
}

void world_cut(int fd) {
  end *e = end_at(fd);
  if (!e || e->is_pipe) return;
  e->cut = 1;
  if (e->other) e->other->cut = 1;
}

/* ------------------------------------------------------------------ beginning and end */

void world_begin(const world_rules *rules, world_choose *chooser, void *context) {
  for (unsigned i = 0; i < w.used; i++) descriptors[i].kind = FREE; /* the rest is cleared when it is used again */
  for (unsigned i = 0; i < w.ends_used; i++) ends[i].used = 0;
  memset(&w, 0, sizeof w);
  memset(poller_used, 0, sizeof poller_used);
  if (rules) w.rules = *rules;
  w.choose = chooser;
  w.context = context;
  w.now = START;
  w.next_port = 40000;
  for (unsigned i = 0; i < THREADS; i++) w.threads[i].at = NEVER;
}

void world_end(void) {
  run_threads(1);
  for (unsigned i = 0; i < w.used; i++)
    if (descriptors[i].kind != FREE) close_descriptor(&descriptors[i], FIRST_FD + (int)i);
}

world_rules *world_law(void) {
  return &w.rules;
}

int world_is_stuck(void) {
  return w.stuck;
}

unsigned world_strays(void) {
  return w.strays;
}

uint64_t world_moved(void) {
  return w.moved;
}

unsigned lw_sys_forks(void) {
  return 0;
}

const lw_sys lw_sys_real = {
  .now = look_at_clock,
  .socket = call_socket,
  .connect = call_connect,
  .bind = call_bind,
  .listen = call_listen,
  .accept = call_accept,
  .recv = call_recv,
  .sendv = call_sendv,
  .read = call_read,
  .write = call_write,
  .shutdown = call_shutdown,
  .close = call_close,
  .getsockopt = call_getsockopt,
  .setsockopt = call_setsockopt,
  .getsockname = call_getsockname,
  .unsent = call_unsent,
  .pipe = call_pipe,
  .descriptor_limit = call_descriptor_limit,
  .unlink = call_unlink,
  .is_socket = call_is_socket,
  .stat = call_stat,
  .open_file = call_open_file,
  .fstat = call_fstat,
  .pread = call_pread,
  .getaddrinfo = call_getaddrinfo,
  .freeaddrinfo = call_freeaddrinfo,
  .epoll_create = call_epoll_create,
  .epoll_ctl = call_epoll_ctl,
  .epoll_wait = call_epoll_wait,
  .poll = call_poll,
};
