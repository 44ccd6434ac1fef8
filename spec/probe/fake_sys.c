/*
** fake_sys.c -- every call passes one gate that counts it and may fail it.
*/
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "fake_sys.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

#define CALLS(X)                                                                                   \
  X(socket)                                                                                        \
  X(connect)                                                                                       \
  X(bind)                                                                                          \
  X(listen) X(accept) X(recv) X(sendv) X(read) X(write) X(shutdown) X(close) X(getsockopt)         \
      X(setsockopt) X(getsockname) X(pipe) X(unlink) X(is_socket) X(stat) X(getaddrinfo)     \
          X(epoll_create) X(epoll_ctl) X(epoll_wait) X(poll) X(pthread_create)

#define AS_ENUM(name) CALL_##name,
#define AS_NAME(name) #name,
enum { CALLS(AS_ENUM) CALL_COUNT };
static const char *const names[] = {CALLS(AS_NAME)};

/* The longest a wait "for ever" lasts, so that a spec that has lost its event fails instead of hanging. */
#define FOREVER INT64_C(5000000000)
#define HOSTS 16

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards all of the following */
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static struct {
  long count;
  unsigned skip, times;
  int err;
} calls[CALL_COUNT];
static int frozen; /* the clock is ours */
static int64_t frozen_now;
static struct {
  char name[64];
  char addresses[512];
} hosts[HOSTS];
static unsigned host_count, waiting, lists;
static int shut, chance, threads, sticky, stuck;

static int number_of(const char *name) {
  for (int i = 0; i < CALL_COUNT; i++)
    if (strcmp(names[i], name) == 0) return i;
  return -1;
}

int fake_fail(const char *name, int err, unsigned skip, unsigned times) {
  int call = number_of(name);
  if (call < 0) return 0;
  pthread_mutex_lock(&mutex);
  calls[call].err = err;
  calls[call].skip = skip;
  calls[call].times = times;
  pthread_mutex_unlock(&mutex);
  return 1;
}

long fake_calls(const char *name) {
  int call = number_of(name);
  long count;
  if (call < 0) return -1;
  pthread_mutex_lock(&mutex);
  count = calls[call].count;
  pthread_mutex_unlock(&mutex);
  return count;
}

/* Counts a call. The error it is to fail with, or 0. */
static int fault(int call) {
  int err = 0;
  pthread_mutex_lock(&mutex);
  calls[call].count++;
  if (calls[call].times > 0) {
    if (calls[call].skip > 0)
      calls[call].skip--;
    else {
      calls[call].times--;
      err = calls[call].err;
    }
  }
  pthread_mutex_unlock(&mutex);
  return err;
}

/* Counts, and returns -1 with errno set if the call is to fail. */
static int fails(int call) {
  int err = fault(call);
  if (err) errno = err;
  return err != 0;
}

/* --- the clock, and waits that move it --- */

void fake_clock(int64_t now) {
  pthread_mutex_lock(&mutex);
  frozen = 1;
  frozen_now = now;
  pthread_mutex_unlock(&mutex);
}

int64_t fake_now(void) {
  int64_t now = lw_sys_real.now();
  pthread_mutex_lock(&mutex);
  if (frozen) now = frozen_now;
  pthread_mutex_unlock(&mutex);
  return now;
}

/* How long to wait in truth. */
static int64_t patience(int64_t timeout) {
  int is_frozen;
  pthread_mutex_lock(&mutex);
  is_frozen = frozen;
  pthread_mutex_unlock(&mutex);
  if (timeout < 0) return FOREVER;
  return is_frozen ? 0 : timeout;
}

static int waited(int count, int64_t timeout) {
  pthread_mutex_lock(&mutex);
  if (frozen && count == 0 && timeout > 0) frozen_now += timeout;
  pthread_mutex_unlock(&mutex);
  return count;
}

#ifdef __linux__
static int fake_epoll_create(void) {
  return fails(CALL_epoll_create) ? -1 : lw_sys_real.epoll_create();
}

static int fake_epoll_ctl(int poller, int operation, int fd, struct epoll_event *event) {
  return fails(CALL_epoll_ctl) ? -1 : lw_sys_real.epoll_ctl(poller, operation, fd, event);
}

static int fake_epoll_wait(int poller, struct epoll_event *events, int max, int64_t timeout) {
  if (fails(CALL_epoll_wait)) return -1;
  return waited(lw_sys_real.epoll_wait(poller, events, max, patience(timeout)), timeout);
}
#endif

static int fake_poll(struct pollfd *fds, size_t count, int64_t timeout) {
  if (fails(CALL_poll)) return -1;
  return waited(lw_sys_real.poll(fds, count, patience(timeout)), timeout);
}

/* --- names --- */

int fake_host(const char *name, const char *addresses) {
  if (host_count == HOSTS || strlen(name) >= sizeof hosts->name) return 0;
  if (addresses && strlen(addresses) >= sizeof hosts->addresses) return 0;
  pthread_mutex_lock(&mutex);
  snprintf(hosts[host_count].name, sizeof hosts->name, "%s", name);
  snprintf(hosts[host_count].addresses, sizeof hosts->addresses, "%s", addresses ? addresses : "");
  host_count++;
  pthread_mutex_unlock(&mutex);
  return 1;
}

void fake_gate(int open) {
  pthread_mutex_lock(&mutex);
  shut = !open;
  pthread_cond_broadcast(&opened);
  pthread_mutex_unlock(&mutex);
}

unsigned fake_waiting(void) {
  unsigned count;
  pthread_mutex_lock(&mutex);
  count = waiting;
  pthread_mutex_unlock(&mutex);
  return count;
}

unsigned fake_lists(void) {
  unsigned count;
  pthread_mutex_lock(&mutex);
  count = lists;
  pthread_mutex_unlock(&mutex);
  return count;
}

/* The addresses told for a name, after waiting at the gate; 0 if it was never told of. */
static int told(const char *name, char addresses[sizeof hosts->addresses]) {
  int found = 0;
  pthread_mutex_lock(&mutex);
  for (unsigned i = 0; i < host_count && !found; i++) {
    found = strcmp(hosts[i].name, name) == 0;
    if (found) snprintf(addresses, sizeof hosts->addresses, "%s", hosts[i].addresses);
  }
  if (found) {
    waiting++;
    while (shut)
      pthread_cond_wait(&opened, &mutex);
    waiting--;
  }
  pthread_mutex_unlock(&mutex);
  return found;
}

static void fake_freeaddrinfo(struct addrinfo *list) {
  pthread_mutex_lock(&mutex);
  lists--;
  pthread_mutex_unlock(&mutex);
  while (list) { /* one by one, for we may have made it of several */
    struct addrinfo *next = list->ai_next;
    list->ai_next = NULL;
    lw_sys_real.freeaddrinfo(list);
    list = next;
  }
}

/* One list of all the literals in `addresses` that are of the family asked for. */
static int list_of(char *addresses, const char *service, const struct addrinfo *hints,
                   struct addrinfo **result) {
  struct addrinfo numeric = *hints;
  struct addrinfo **end = result;
  char *rest = NULL;
  *result = NULL;
  numeric.ai_flags |= AI_NUMERICHOST;
  for (char *one = strtok_r(addresses, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
    if (lw_sys_real.getaddrinfo(one, service, &numeric, end) != 0)
      *end = NULL;
    else
      end = &(*end)->ai_next;
  }
  return *result ? 0 : EAI_NONAME;
}

static int fake_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                            struct addrinfo **result) {
  char addresses[sizeof hosts->addresses];
  struct addrinfo numeric = *hints;
  int code = fault(CALL_getaddrinfo);
  if (code) return code;
  if (!(hints->ai_flags & AI_NUMERICHOST) && told(host, addresses)) {
    code = list_of(addresses, service, hints, result);
  } else {
    if (strcmp(host, "localhost") != 0)
      numeric.ai_flags |= AI_NUMERICHOST; /* specs ask no name server */
    code = lw_sys_real.getaddrinfo(host, service, &numeric, result);
  }
  if (code != 0) return code;
  pthread_mutex_lock(&mutex);
  lists++;
  pthread_mutex_unlock(&mutex);
  return 0;
}

/* --- writing --- */

void fake_stick(int on) {
  pthread_mutex_lock(&mutex);
  sticky = on;
  pthread_cond_broadcast(&opened);
  pthread_mutex_unlock(&mutex);
}

int fake_is_stuck(void) {
  int count;
  pthread_mutex_lock(&mutex);
  count = stuck;
  pthread_mutex_unlock(&mutex);
  return count > 0;
}

static ssize_t fake_write(int fd, const void *bytes, size_t n) {
  if (fails(CALL_write)) return -1;
  pthread_mutex_lock(&mutex);
  stuck++;
  while (sticky)
    pthread_cond_wait(&opened, &mutex);
  stuck--;
  pthread_mutex_unlock(&mutex);
  return lw_sys_real.write(fd, bytes, n);
}

/* --- connecting --- */

void fake_chance(int on) {
  pthread_mutex_lock(&mutex);
  chance = on;
  pthread_mutex_unlock(&mutex);
}

static long held = -1;

void fake_hold(long n) {
  pthread_mutex_lock(&mutex);
  held = n;
  pthread_mutex_unlock(&mutex);
}

static long fake_unsent(int fd) {
  long n;
  pthread_mutex_lock(&mutex);
  n = held;
  pthread_mutex_unlock(&mutex);
  return n < 0 ? lw_sys_real.unsent(fd) : n;
}

/* A socket is new until it is sent somewhere: asking it again what became of that is another thing. */
#define SOCKETS 1024
#define DIALS 128
static unsigned char is_new[SOCKETS]; /* by descriptor */
static struct sockaddr_storage dials[DIALS];
static unsigned dial_count;

static int fake_socket(int family, int type, int protocol) {
  int fd;
  if (fails(CALL_socket)) return -1;
  fd = lw_sys_real.socket(family, type, protocol);
  if (fd < 0 || fd >= SOCKETS) return fd;
  pthread_mutex_lock(&mutex);
  is_new[fd] = 1;
  pthread_mutex_unlock(&mutex);
  return fd;
}

static void note_dial(int fd, const struct sockaddr *address, socklen_t size) {
  pthread_mutex_lock(&mutex);
  if (fd >= 0 && fd < SOCKETS && is_new[fd] && dial_count < DIALS) memcpy(&dials[dial_count++], address, size);
  if (fd >= 0 && fd < SOCKETS) is_new[fd] = 0;
  pthread_mutex_unlock(&mutex);
}

int fake_dialled(unsigned n, void *address, size_t size) {
  int known;
  pthread_mutex_lock(&mutex);
  known = n < dial_count;
  if (known) memcpy(address, &dials[n], size < sizeof *dials ? size : sizeof *dials);
  pthread_mutex_unlock(&mutex);
  return known;
}

static int fake_connect(int fd, const struct sockaddr *address, socklen_t size) {
  int bind_first;
  note_dial(fd, address, size);
  if (fails(CALL_connect)) return -1;
  pthread_mutex_lock(&mutex);
  bind_first = chance;
  pthread_mutex_unlock(&mutex);
  if (bind_first) lw_sys_real.bind(fd, address, size); /* again: refused, and no matter */
  return lw_sys_real.connect(fd, address, size);
}

/* --- the rest: count, then fail or pass on --- */

#define PASS(result, name, parameters, arguments)                                                  \
  static result fake_##name parameters {                                                           \
    return fails(CALL_##name) ? -1 : lw_sys_real.name arguments;                                   \
  }

PASS(int, bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
PASS(int, listen, (int fd, int backlog), (fd, backlog))
PASS(int, accept, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size))
PASS(ssize_t, recv, (int fd, void *bytes, size_t n), (fd, bytes, n))
PASS(ssize_t, sendv, (int fd, const struct iovec *parts, int count), (fd, parts, count))
PASS(ssize_t, read, (int fd, void *bytes, size_t n), (fd, bytes, n))
PASS(int, shutdown, (int fd, int how), (fd, how))
PASS(int, close, (int fd), (fd))
PASS(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size),
     (fd, level, name, value, size))
PASS(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t size),
     (fd, level, name, value, size))
PASS(int, getsockname, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size))
PASS(int, pipe, (int fds[2]), (fds))
PASS(int, unlink, (const char *path), (path))
PASS(int, is_socket, (const char *path), (path))
PASS(int, stat, (const char *path, struct stat *status), (path, status))

/* --- threads --- */

typedef struct task {
  void *(*work)(void *);
  void *argument;
} task;

static void count_thread(int change) {
  pthread_mutex_lock(&mutex);
  threads += change;
  pthread_mutex_unlock(&mutex);
}

static void *run(void *argument) {
  task one = *(task *)argument;
  void *answer;
  free(argument);
  answer = one.work(one.argument);
  count_thread(-1);
  return answer;
}

/* Not of the table, and found by the library's objects only because they are linked with this one. */
#pragma GCC visibility push(hidden)
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*work)(void *),
                   void *argument) {
  int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  int err = fault(CALL_pthread_create);
  task *one = err ? NULL : malloc(sizeof *one);
  if (!one) return err ? err : EAGAIN;
  *one = (task){work, argument};
  *(void **)&real = dlsym(RTLD_DEFAULT, "pthread_create");
  count_thread(1);
  err = real(thread, attributes, run, one);
  if (err == 0) return 0;
  count_thread(-1);
  free(one);
  return err;
}
#pragma GCC visibility pop

int fake_threads(void) {
  int count;
  pthread_mutex_lock(&mutex);
  count = threads;
  pthread_mutex_unlock(&mutex);
  return count;
}

/* A fork takes all of this along in one piece. */
static void before_fork(void) { pthread_mutex_lock(&mutex); }

static void after_fork(void) { pthread_mutex_unlock(&mutex); }

lw_sys fake_sys;

/* Whatever stands in the table and not here (kqueue) is the system's own. */
__attribute__((constructor)) static void fill(void) {
  pthread_atfork(before_fork, after_fork, after_fork);
  fake_sys = lw_sys_real;
  fake_sys.now = fake_now;
  fake_sys.socket = fake_socket;
  fake_sys.connect = fake_connect;
  fake_sys.bind = fake_bind;
  fake_sys.listen = fake_listen;
  fake_sys.accept = fake_accept;
  fake_sys.recv = fake_recv;
  fake_sys.sendv = fake_sendv;
  fake_sys.read = fake_read;
  fake_sys.write = fake_write;
  fake_sys.shutdown = fake_shutdown;
  fake_sys.close = fake_close;
  fake_sys.getsockopt = fake_getsockopt;
  fake_sys.setsockopt = fake_setsockopt;
  fake_sys.getsockname = fake_getsockname;
  fake_sys.unsent = fake_unsent;
  fake_sys.pipe = fake_pipe;
  fake_sys.unlink = fake_unlink;
  fake_sys.is_socket = fake_is_socket;
  fake_sys.stat = fake_stat;
  fake_sys.getaddrinfo = fake_getaddrinfo;
  fake_sys.freeaddrinfo = fake_freeaddrinfo;
#ifdef __linux__
  fake_sys.epoll_create = fake_epoll_create;
  fake_sys.epoll_ctl = fake_epoll_ctl;
  fake_sys.epoll_wait = fake_epoll_wait;
#endif
  fake_sys.poll = fake_poll;
}

void fake_reset(void) {
  pthread_mutex_lock(&mutex);
  memset(calls, 0, sizeof calls);
  frozen = 0;
  host_count = 0;
  shut = chance = sticky = 0;
  held = -1;
  dial_count = 0;
  pthread_cond_broadcast(&opened);
  pthread_mutex_unlock(&mutex);
}
