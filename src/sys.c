/*
** sys.c -- the system's own calls, brought to one contract.
*/
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4, pipe2, ppoll */
#endif

#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/syscall.h>
#endif
#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__) || \
    defined(__DragonFly__)
#define HAVE_KQUEUE 1
#include <sys/event.h>
#endif

#define NS_PER_SECOND INT64_C(1000000000)
#define NS_PER_MILLISECOND INT64_C(1000000)

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time); /* cannot fail: the clock exists, the pointer is good */
  return (int64_t)time.tv_sec * NS_PER_SECOND + (int64_t)time.tv_nsec;
}

/* --- descriptors, close-on-exec and non-blocking from their first moment where that can be had --- */

/* Closes a descriptor on a way out with an error, which it keeps. */
static int give_up(int fd) {
  int saved = errno;
  close(fd);
  errno = saved;
  return -1;
}

#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK)

static int make_socket(int family, int type, int protocol) {
  return socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
}

static int take_guest(int fd, struct sockaddr *address, socklen_t *size) {
  return accept4(fd, address, size, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static int make_pipe(int fds[2]) {
  return pipe2(fds, O_CLOEXEC | O_NONBLOCK);
}

#else

/* The flags afterwards: a fork in another thread between the two calls may inherit the descriptor. */
static int tame(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -1;
  return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int make_socket(int family, int type, int protocol) {
  int fd = socket(family, type, protocol);
  if (fd >= 0 && tame(fd) < 0) return give_up(fd);
  return fd;
}

static int take_guest(int fd, struct sockaddr *address, socklen_t *size) {
  int guest = accept(fd, address, size);
  if (guest >= 0 && tame(guest) < 0) return give_up(guest);
  return guest;
}

static int make_pipe(int fds[2]) {
  if (pipe(fds) < 0) return -1;
  if (tame(fds[0]) < 0 || tame(fds[1]) < 0) {
    give_up(fds[0]);
    return give_up(fds[1]);
  }
  return 0;
}

#endif

/* Where send has no flag against SIGPIPE, the socket has an option. */
static int without_sigpipe(int fd) {
#if !defined(MSG_NOSIGNAL) && defined(SO_NOSIGPIPE)
  int on = 1;
  if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on) < 0) return give_up(fd);
#else
  (void)give_up;
#endif
  return fd;
}

static int open_socket(int family, int type, int protocol) {
  return without_sigpipe(make_socket(family, type, protocol));
}

static int accept_guest(int fd, struct sockaddr *address, socklen_t *size) {
  socklen_t room = *size;
  int guest;
  do {
    *size = room;
    guest = take_guest(fd, address, size);
  } while (guest < 0 && errno == EINTR);
  return without_sigpipe(guest);
}

/* An interrupted close has closed all the same, and the number may be another's by now. */
static int close_once(int fd) {
  if (close(fd) == 0 || errno == EINTR) return 0;
  return -1;
}

static long descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -1;
  return limit.rlim_cur > LONG_MAX ? LONG_MAX : (long)limit.rlim_cur;
}

static long unsent(int fd) {
#ifdef TIOCOUTQ
  int n;
  if (ioctl(fd, TIOCOUTQ, &n) == 0) return n;
#else
  (void)fd;
#endif
  return -1;
}

static int is_socket(const char *path) {
  struct stat info;
  if (lstat(path, &info) < 0) return -1;
  return S_ISSOCK(info.st_mode) ? 1 : 0;
}

static int open_file(const char *path) {
  return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

/* --- bytes --- */

static ssize_t read_from(int fd, void *bytes, size_t n, off_t from) {
  ssize_t got;
  do got = pread(fd, bytes, n, from);
  while (got < 0 && errno == EINTR);
  return got;
}

/* An interrupted connect goes on by itself, like one that cannot finish at once. */
static int begin_connect(int fd, const struct sockaddr *address, socklen_t size) {
  int result = connect(fd, address, size);
  if (result < 0 && errno == EINTR) errno = EINPROGRESS;
  return result;
}

static ssize_t receive(int fd, void *bytes, size_t n) {
  ssize_t got;
  do got = recv(fd, bytes, n, 0);
  while (got < 0 && errno == EINTR);
  return got;
}

static ssize_t send_parts(int fd, const struct iovec *parts, int count) {
#ifdef MSG_NOSIGNAL
  const int flags = MSG_NOSIGNAL;
#else
  const int flags = 0;
#endif
  struct msghdr message;
  ssize_t sent;
  memset(&message, 0, sizeof message);
  message.msg_iov = (struct iovec *)(uintptr_t)parts; /* only read, but not declared so */
  message.msg_iovlen = (__typeof__(message.msg_iovlen))count;
  do sent = sendmsg(fd, &message, flags);
  while (sent < 0 && errno == EINTR);
  return sent;
}

static ssize_t read_some(int fd, void *bytes, size_t n) {
  ssize_t got;
  do got = read(fd, bytes, n);
  while (got < 0 && errno == EINTR);
  return got;
}

static ssize_t write_some(int fd, const void *bytes, size_t n) {
  ssize_t put;
  do put = write(fd, bytes, n);
  while (put < 0 && errno == EINTR);
  return put;
}

/* --- waiting --- */

/* For calls that count in milliseconds: rounded up, since waking early would mean spinning. */
static int milliseconds(int64_t timeout) {
  int64_t whole;
  if (timeout < 0) return -1;
  whole = timeout / NS_PER_MILLISECOND + (timeout % NS_PER_MILLISECOND != 0);
  return whole > INT_MAX ? INT_MAX : (int)whole;
}

#ifdef __linux__

static int new_epoll(void) {
  return epoll_create1(EPOLL_CLOEXEC);
}

#ifdef SYS_epoll_pwait2

/* Cleared when the kernel (before 5.11) or its guard says it has no such call. */
static atomic_int fine_waits = 1;

static int wait_epoll(int poller, struct epoll_event *events, int max, int64_t timeout) {
  if (timeout > 0 && timeout % NS_PER_MILLISECOND != 0 &&
      atomic_load_explicit(&fine_waits, memory_order_relaxed)) {
    struct { /* the kernel's timespec: 64 bits everywhere, whatever libc's is */
      int64_t seconds;
      int64_t nanoseconds;
    } time = {timeout / NS_PER_SECOND, timeout % NS_PER_SECOND};
    long count = syscall(SYS_epoll_pwait2, poller, events, max, &time, NULL, (size_t)0);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return (int)count;
    atomic_store_explicit(&fine_waits, 0, memory_order_relaxed);
  }
  return epoll_wait(poller, events, max, milliseconds(timeout));
}

#else

static int wait_epoll(int poller, struct epoll_event *events, int max, int64_t timeout) {
  return epoll_wait(poller, events, max, milliseconds(timeout));
}

#endif
#endif

#ifdef HAVE_KQUEUE

static int new_kqueue(void) {
  int fd = kqueue();
  if (fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return give_up(fd);
  return fd;
}

/* NetBSD counts in size_t, and FreeBSD's name is a macro in places: hence a function of our own. */
static int call_kevent(int poller, const struct kevent *changes, int change_count, struct kevent *events,
                       int max, const struct timespec *timeout) {
#ifdef __NetBSD__
  return kevent(poller, changes, (size_t)change_count, events, (size_t)max, timeout);
#else
  return kevent(poller, changes, change_count, events, max, timeout);
#endif
}

#endif

static int wait_poll(struct pollfd *fds, size_t count, int64_t timeout) {
#if defined(__linux__) || defined(__FreeBSD__) || defined(__OpenBSD__)
  struct timespec time;
  if (timeout > 0) {
    int64_t seconds = timeout / NS_PER_SECOND;
    time.tv_sec = seconds > INT_MAX ? INT_MAX : (time_t)seconds;
    time.tv_nsec = (long)(timeout % NS_PER_SECOND);
    return ppoll(fds, (nfds_t)count, &time, NULL);
  }
#endif
  return poll(fds, (nfds_t)count, milliseconds(timeout));
}

const lw_sys lw_sys_real = {
  .now = now,
  .socket = open_socket,
  .connect = begin_connect,
  .bind = bind,
  .listen = listen,
  .accept = accept_guest,
  .recv = receive,
  .sendv = send_parts,
  .read = read_some,
  .write = write_some,
  .shutdown = shutdown,
  .close = close_once,
  .getsockopt = getsockopt,
  .setsockopt = setsockopt,
  .getsockname = getsockname,
  .pipe = make_pipe,
  .descriptor_limit = descriptor_limit,
  .unlink = unlink,
  .is_socket = is_socket,
  .stat = stat,
  .open_file = open_file,
  .fstat = fstat,
  .pread = read_from,
  .unsent = unsent,
  .getaddrinfo = getaddrinfo,
  .freeaddrinfo = freeaddrinfo,
#ifdef __linux__
  .epoll_create = new_epoll,
  .epoll_ctl = epoll_ctl,
  .epoll_wait = wait_epoll,
#endif
#ifdef HAVE_KQUEUE
  .kqueue = new_kqueue,
  .kevent = call_kevent,
#endif
  .poll = wait_poll,
};

/* --- forks --- */

static atomic_uint forks;

static void count_fork(void) {
  atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}

/*
** Registered once, when the library is loaded. It fails only for want of memory; forks then
** go unnoticed, which is what they would do without us.
*/
__attribute__((constructor)) static void watch_forks(void) {
  pthread_atfork(NULL, NULL, count_fork);
}

unsigned lw_sys_forks(void) {
  return atomic_load_explicit(&forks, memory_order_relaxed);
}
