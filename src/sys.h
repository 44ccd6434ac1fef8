/*
** sys.h -- every system call the library makes, behind one table that tests replace.
**
** The functions have the system's own contracts (result, errno), except where a comment
** says otherwise: sockets and descriptors are always made close-on-exec and non-blocking,
** nothing raises SIGPIPE, and nothing but a wait is ever interrupted (EINTR). A table of
** one's own must live as long as the process: a lookup under way may still call it.
*/
#ifndef LW_SYS_H
#define LW_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#pragma GCC visibility push(hidden)

struct addrinfo;
struct epoll_event;
struct kevent;
struct timespec;
struct pollfd;
struct stat;

typedef struct lw_sys {
  int64_t (*now)(void); /* monotonic nanoseconds */
  int (*socket)(int family, int type, int protocol);
  int (*connect)(int fd, const struct sockaddr *address, socklen_t size);
  int (*bind)(int fd, const struct sockaddr *address, socklen_t size);
  int (*listen)(int fd, int backlog);
  int (*accept)(int fd, struct sockaddr *address, socklen_t *size);
  ssize_t (*recv)(int fd, void *bytes, size_t n);
  ssize_t (*sendv)(int fd, const struct iovec *parts, int count); /* sendmsg, MSG_NOSIGNAL */
  ssize_t (*read)(int fd, void *bytes, size_t n);
  ssize_t (*write)(int fd, const void *bytes, size_t n);
  int (*shutdown)(int fd, int how);
  int (*close)(int fd); /* EINTR counts as closed */
  int (*getsockopt)(int fd, int level, int name, void *value, socklen_t *size);
  int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t size);
  int (*getsockname)(int fd, struct sockaddr *address, socklen_t *size);
  long (*unsent)(int fd); /* bytes the system has taken and the peer has not acknowledged; -1: it does not tell */
  int (*pipe)(int fds[2]);                  /* both ends non-blocking */
  long (*descriptor_limit)(void);           /* RLIMIT_NOFILE's soft limit */
  int (*unlink)(const char *path);
  int (*is_socket)(const char *path); /* 1: the path itself is a socket; 0: it is something else; -1 */
  int (*stat)(const char *path, struct stat *status);
  int (*open_file)(const char *path); /* for reading; never waits for a writer, as of a pipe */
  int (*fstat)(int fd, struct stat *status);
  ssize_t (*pread)(int fd, void *bytes, size_t n, off_t from);
  int (*getaddrinfo)(const char *host, const char *service, const struct addrinfo *hints,
                     struct addrinfo **result); /* on a helper thread: must be thread-safe */
  void (*freeaddrinfo)(struct addrinfo *list);
  /* the pollers; those the system lacks are NULL */
  int (*epoll_create)(void);
  int (*epoll_ctl)(int poller, int operation, int fd, struct epoll_event *event);
  int (*epoll_wait)(int poller, struct epoll_event *events, int max, int64_t timeout); /* ns; < 0: for ever */
  int (*kqueue)(void);
  int (*kevent)(int poller, const struct kevent *changes, int change_count, struct kevent *events,
                int max, const struct timespec *timeout);
  int (*poll)(struct pollfd *fds, size_t count, int64_t timeout); /* ns; < 0: for ever */
} lw_sys;

/* The system itself. */
extern const lw_sys lw_sys_real;

/*
** How often this process has come out of a fork since the library was loaded: 0 in the
** process that loaded it, more in its children. Costs a load, no system call.
*/
unsigned lw_sys_forks(void);

#pragma GCC visibility pop
#endif
