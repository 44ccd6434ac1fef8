/*
** probe_system.c -- floor 2, driven from specs: lunawire.probe.sys, .poll, .timers, .loop,
** .resolver, .dial, .listen, .accept, .signals.
**
** All of it runs on fake_sys, which is the system itself until told otherwise. What failed
** gives nil and the error's name ("ECONNREFUSED"). Times are nanoseconds.
**
** Sources and timers lie in memory of their own, freed the moment a spec frees them, so that
** a sanitizer sees every look too late.
*/
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* EAI_NODATA, RTLD_NODELETE, setns */
#endif
#include "probe.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#include <sys/syscall.h>
#endif

#include "fake_sys.h"
#include "loop.h"
#include "net.h"
#include "sig.h"

#define POLL "lunawire.probe.poll"
#define TIMERS "lunawire.probe.timers"
#define LOOP "lunawire.probe.loop"
#define TIMER "lunawire.probe.timer"
#define SOURCE "lunawire.probe.source"
#define RESOLVER "lunawire.probe.resolver"
#define LOOKUP "lunawire.probe.lookup"
#define DIAL "lunawire.probe.dial"
#define SIGNALS "lunawire.probe.signals"

/* --- errors by name ------------------------------------------------------------------------- */

#define E(name) {#name, LW_ERR_SYS(name)},
#define G(name) {#name, LW_ERR_GAI(name)},
static const struct {
  const char *name;
  int err;
} errors[] = {E(EPERM) E(ENOENT) E(EINTR) E(EIO) E(EBADF) E(EAGAIN) E(ENOMEM) E(EACCES) E(EEXIST)
                  E(EINVAL) E(ENFILE) E(EMFILE) E(ENOSPC) E(EPIPE) E(ENAMETOOLONG) E(ENOSYS)
                      E(ENOTSOCK) E(EPROTO) E(ENOPROTOOPT) E(EADDRINUSE) E(EADDRNOTAVAIL)
                          E(ENETUNREACH) E(ECONNABORTED) E(ECONNRESET) E(ENOBUFS) E(EISCONN)
                              E(ETIMEDOUT) E(ECONNREFUSED) E(EHOSTUNREACH) E(EINPROGRESS) E(EAFNOSUPPORT)
                                  G(EAI_AGAIN) G(EAI_FAIL) G(EAI_FAMILY) G(EAI_MEMORY) G(EAI_NONAME)
                                      G(EAI_SYSTEM)
#ifdef EAI_NODATA
                                          G(EAI_NODATA)
#endif
#ifdef EAI_ADDRFAMILY
                                              G(EAI_ADDRFAMILY)
#endif
};

static int failed(lua_State *L, int err) {
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    if (errors[i].err != err) continue;
    lua_pushnil(L);
    lua_pushstring(L, errors[i].name);
    return 2;
  }
  return probe_fail(L, err);
}

/* true, or what failed */
static int outcome(lua_State *L, int err) {
  if (err < 0) return failed(L, err);
  lua_pushboolean(L, 1);
  return 1;
}

/* a number the system returned, or its errno */
static int result(lua_State *L, long value) {
  if (value < 0) return failed(L, LW_ERR_SYS(errno));
  lua_pushinteger(L, value);
  return 1;
}

/* The number behind a name: an errno, or getaddrinfo's own code. */
static int check_errno(lua_State *L, int arg) {
  const char *name = luaL_checkstring(L, arg);
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    if (strcmp(errors[i].name, name) != 0) continue;
    if (LW_IS_SYS(errors[i].err)) return LW_ERRNO(errors[i].err);
    if (LW_IS_GAI(errors[i].err))
      return EAI_NONAME < 0 ? errors[i].err + 100000 : -100000 - errors[i].err;
  }
  return luaL_argerror(L, arg, "no such error");
}

static int check_fd(lua_State *L, int arg) {
  return (int)luaL_checkinteger(L, arg);
}

/* --- what is waited for, in letters: r(ead) w(rite) f(ault) d(ue) p(osted) ------------------------ */

static const char letters[] =
    "rwdpf"; /* in the order of the bits LW_READ, LW_WRITE, LW_DUE, LW_POSTED, LW_FAULT */

static unsigned check_reasons(lua_State *L, int arg) {
  unsigned reasons = 0;
  for (const char *s = luaL_checkstring(L, arg); *s; s++) {
    const char *letter = strchr(letters, *s);
    if (!letter)
      luaL_argerror(L, arg, "letters of \"rwdpf\" expected");
    else
      reasons |= 1u << (letter - letters);
  }
  return reasons;
}

static void push_reasons(lua_State *L, unsigned reasons) {
  char text[sizeof letters];
  size_t n = 0;
  for (size_t i = 0; letters[i]; i++)
    if (reasons & (1u << i)) text[n++] = letters[i];
  lua_pushlstring(L, text, n);
}

/* --- probe.sys: the replaced system, and bare descriptors for specs ------------------------------- */

/* sys.fail(call, error [, nth [, times]]): the nth call from now (1) and the following fail, `times` in all (1). */
static int sys_fail(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const int err = check_errno(L, 2);
  const lua_Integer nth = luaL_optinteger(L, 3, 1), times = luaL_optinteger(L, 4, 1);
  luaL_argcheck(L, fake_fail(name, err, (unsigned)(nth - 1), (unsigned)times), 1, "no such call");
  return 0;
}

static int sys_calls(lua_State *L) {
  const long count = fake_calls(luaL_checkstring(L, 1));
  luaL_argcheck(L, count >= 0, 1, "no such call");
  lua_pushinteger(L, count);
  return 1;
}

/* sys.clock(): what it is; sys.clock(ns): from now on it stands there, and waits move it */
static int sys_clock(lua_State *L) {
  if (!lua_isnoneornil(L, 1)) fake_clock(luaL_checkinteger(L, 1));
  lua_pushinteger(L, fake_now());
  return 1;
}

/* sys.hosts{ name = "address,address" } */
static int sys_hosts(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
    luaL_argcheck(L, fake_host(luaL_checkstring(L, -2), luaL_checkstring(L, -1)), 1, "too much");
  return 0;
}

static int sys_gate(lua_State *L) {
  static const char *const states[] = {"shut", "open", NULL};
  fake_gate(luaL_checkoption(L, 1, NULL, states));
  return 0;
}

static int sys_waiting(lua_State *L) {
  lua_pushinteger(L, fake_waiting());
  return 1;
}

static int sys_lists(lua_State *L) {
  lua_pushinteger(L, fake_lists());
  return 1;
}

static int sys_threads(lua_State *L) {
  lua_pushinteger(L, fake_threads());
  return 1;
}

static int sys_stick(lua_State *L) {
  fake_stick(lua_toboolean(L, 1));
  return 0;
}

static int sys_is_stuck(lua_State *L) {
  lua_pushboolean(L, fake_is_stuck());
  return 1;
}

/* sys.alarm(seconds): ends this process, should it hang */
static int sys_alarm(lua_State *L) {
  alarm((unsigned)luaL_checkinteger(L, 1));
  return 0;
}

static int sys_chance(lua_State *L) {
  fake_chance(lua_toboolean(L, 1));
  return 0;
}

/* sys.hold(n): the system says that it holds so many bytes which the peer has not acknowledged */
static int sys_hold(lua_State *L) {
  fake_hold((long)luaL_checkinteger(L, 1));
  return 0;
}

/* sys.dialled(): every address that a socket was sent to, in this order, since the last reset */
static int sys_dialled(lua_State *L) {
  lw_address address;
  char text[LW_ADDRESS_TEXT];
  lua_newtable(L);
  for (int n = 0; fake_dialled((unsigned)n, &address, sizeof address); n++) {
    lw_address_text(&address, text);
    lua_pushstring(L, text);
    lua_rawseti(L, -2, n + 1);
  }
  return 1;
}

static int sys_reset(lua_State *L) {
  (void)L;
  fake_reset();
  return 0;
}

/* how many descriptors are open */
static int sys_descriptors(lua_State *L) {
  const long limit = lw_sys_real.descriptor_limit();
  int count = 0;
  for (int fd = 0; fd < 4096 && fd < limit; fd++)
    count += fcntl(fd, F_GETFD) != -1;
  lua_pushinteger(L, count);
  return 1;
}

/* sys.limit([n]): how many descriptors may be open, and sets it */
static int sys_limit(lua_State *L) {
  if (!lua_isnoneornil(L, 1)) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = (rlim_t)luaL_checkinteger(L, 1);
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) return result(L, -1);
  }
  lua_pushinteger(L, lw_sys_real.descriptor_limit());
  return 1;
}

/* sys.hasFineWaits(backend): whether the system can wait for less than a millisecond */
static int sys_has_fine_waits(lua_State *L) {
  int has = 0;
#ifdef __linux__
  has = 1; /* ppoll has always been there, its twin for epoll came with Linux 5.11 */
  if (strcmp(luaL_checkstring(L, 1), "epoll") == 0) {
#ifdef SYS_epoll_pwait2
    const int64_t zero[2] = {0, 0};
    struct epoll_event event;
    const int poller = epoll_create1(EPOLL_CLOEXEC);
    has = syscall(SYS_epoll_pwait2, poller, &event, 1, zero, NULL, (size_t)0) == 0;
    close(poller);
#else
    has = 0;
#endif
  }
#endif
  lua_pushboolean(L, has);
  return 1;
}

static int sys_forks(lua_State *L) {
  lua_pushinteger(L, lw_sys_forks());
  return 1;
}

/* Waits for a child. Pushes how it ended. */
static int join(lua_State *L, pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
    continue;
  if (WIFSIGNALED(status))
    lua_pushfstring(L, "signal %d", WTERMSIG(status));
  else if (WEXITSTATUS(status) > 1)
    lua_pushfstring(L, "exit %d", WEXITSTATUS(status));
  else
    lua_pushstring(L, WEXITSTATUS(status) ? "raised" : "returned");
  return 1;
}

/* sys.fork(fn): runs it in a child, which then ends. How that ended: "returned", "raised", "exit 7", "signal 15". */
static int sys_fork(lua_State *L) {
  pid_t pid;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  fflush(NULL);
  pid = fork();
  if (pid < 0) return result(L, pid);
  if (pid == 0) {
    lua_settop(L, 1);
    if (lua_pcall(L, 0, 0, 0) == LUA_OK) _exit(0);
    fprintf(stderr, "in the child: %s\n", luaL_tolstring(L, -1, NULL));
    _exit(1);
  }
  return join(L, pid);
}

/* sys.split(): fork itself, which returns twice: the child's number, and 0 in the child, which ends by os.exit */
static int sys_split(lua_State *L) {
  fflush(NULL);
  return result(L, fork());
}

/* sys.join(pid): waits for it, and tells like sys.fork how it ended */
static int sys_join(lua_State *L) {
  return join(L, (pid_t)luaL_checkinteger(L, 1));
}

/* sys.raise(number): sends it to this process */
static int sys_raise(lua_State *L) {
  kill(getpid(), (int)luaL_checkinteger(L, 1));
  return 0;
}

/* sys.raiseLater(number, ms): the same, by another process */
static int sys_raise_later(lua_State *L) {
  const int number = (int)luaL_checkinteger(L, 1), after = (int)luaL_checkinteger(L, 2);
  const pid_t target = getpid(), child = fork();
  if (child == 0) {
    if (fork() == 0) { /* whom nobody here has to wait for */
      poll(NULL, 0, after);
      kill(target, number);
    }
    _exit(0);
  }
  while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
    continue;
  return 0;
}

/* sys.action(number [, "default" | "ignore"]): what a signal does ("default", "ignore", "handler"), and sets it */
static int sys_action(lua_State *L) {
  static const char *const names[] = {"default", "ignore", NULL};
  const int number = (int)luaL_checkinteger(L, 1);
  struct sigaction action;
  if (!lua_isnoneornil(L, 2))
    signal(number, luaL_checkoption(L, 2, NULL, names) ? SIG_IGN : SIG_DFL);
  if (sigaction(number, NULL, &action) < 0) return result(L, -1);
  lua_pushstring(L, action.sa_handler == SIG_DFL   ? "default"
                    : action.sa_handler == SIG_IGN ? "ignore"
                                                   : "handler");
  return 1;
}

/* sys.await(fd, "r" | "w" [, ms]): waits for a descriptor, bypassing everything under test */
static int sys_await(lua_State *L) {
  struct pollfd one = {check_fd(L, 1), 0, 0};
  one.events = check_reasons(L, 2) & LW_WRITE ? POLLOUT : POLLIN;
  lua_pushboolean(L, poll(&one, 1, (int)luaL_optinteger(L, 3, 5000)) > 0);
  return 1;
}

static int sys_sleep(lua_State *L) {
  poll(NULL, 0, (int)luaL_checkinteger(L, 1));
  return 0;
}

/* the descriptor's flags, as far as we promise them */
static int sys_flags(lua_State *L) {
  const int fd = check_fd(L, 1), own = fcntl(fd, F_GETFD), shared = fcntl(fd, F_GETFL);
  if (own < 0 || shared < 0) return result(L, -1);
  lua_pushfstring(L, "%s%s", own & FD_CLOEXEC ? "cloexec " : "",
                  shared & O_NONBLOCK ? "nonblocking" : "");
  return 1;
}

static int sys_option(lua_State *L) {
  static const char *const names[] = {"noDelay", "reuseAddress", "type", NULL};
  static const int levels[] = {IPPROTO_TCP, SOL_SOCKET, SOL_SOCKET},
                   options[] = {TCP_NODELAY, SO_REUSEADDR, SO_TYPE};
  const int which = luaL_checkoption(L, 2, NULL, names);
  int value = 0;
  socklen_t size = sizeof value;
  if (getsockopt(check_fd(L, 1), levels[which], options[which], &value, &size) < 0)
    return result(L, -1);
  lua_pushboolean(L, value);
  return 1;
}

static int two(lua_State *L, int failure, const int fds[2]) {
  if (failure < 0) return result(L, failure);
  lua_pushinteger(L, fds[0]);
  lua_pushinteger(L, fds[1]);
  return 2;
}

static int sys_pipe(lua_State *L) {
  int fds[2];
  return two(L, lw_sys_real.pipe(fds), fds);
}

static int sys_pair(lua_State *L) {
  int fds[2];
  const int failure = socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
  for (int i = 0; failure == 0 && i < 2; i++)
    fcntl(fds[i], F_SETFL, O_NONBLOCK);
  return two(L, failure, fds);
}

static int sys_socket(lua_State *L) {
  static const char *const names[] = {"ip4", "ip6", "local", NULL};
  static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
  return result(L,
                lw_sys_real.socket(families[luaL_checkoption(L, 1, "ip4", names)], SOCK_STREAM, 0));
}

static int sys_open(lua_State *L) {
  return result(L, open(luaL_checkstring(L, 1), O_RDONLY | O_CLOEXEC));
}

static int sys_close(lua_State *L) {
  return result(L, lw_sys_real.close(check_fd(L, 1)));
}

static int sys_read(lua_State *L) {
  char bytes[4096];
  const ssize_t n = lw_sys_real.read(check_fd(L, 1), bytes, sizeof bytes);
  if (n < 0) return result(L, (long)n);
  lua_pushlstring(L, bytes, (size_t)n);
  return 1;
}

static int sys_receive(lua_State *L) {
  char bytes[4096];
  const ssize_t n = lw_sys_real.recv(check_fd(L, 1), bytes, sizeof bytes);
  if (n < 0) return result(L, (long)n);
  lua_pushlstring(L, bytes, (size_t)n);
  return 1;
}

static int sys_write(lua_State *L) {
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  return result(L, (long)lw_sys_real.write(check_fd(L, 1), bytes, n));
}

/* sys.send(fd, part, part, ...) */
static int sys_send(lua_State *L) {
  struct iovec parts[8];
  const int count = lua_gettop(L) - 1;
  luaL_argcheck(L, count <= 8, 2, "too many parts");
  for (int i = 0; i < count; i++) {
    parts[i].iov_base = (void *)(uintptr_t)luaL_checklstring(L, i + 2, &parts[i].iov_len);
  }
  return result(L, (long)lw_sys_real.sendv(check_fd(L, 1), parts, count));
}

/* sys.reserve(): a descriptor and a port of 127.0.0.1 that is taken, and where nobody listens */
static int sys_reserve(lua_State *L) {
  struct sockaddr_in address;
  socklen_t size = sizeof address;
  const int fd = lw_sys_real.socket(AF_INET, SOCK_STREAM, 0);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
      getsockname(fd, (struct sockaddr *)&address, &size) < 0)
    return result(L, -1);
  lua_pushinteger(L, fd);
  lua_pushinteger(L, ntohs(address.sin_port));
  return 2;
}

/* sys.shutdown(fd): no more from this side */
static int sys_shutdown(lua_State *L) {
  return result(L, lw_sys_real.shutdown(check_fd(L, 1), SHUT_WR));
}

/* sys.reset(fd): closes it so that the peer sees a reset */
static int sys_abort(lua_State *L) {
  const struct linger now = {1, 0};
  setsockopt(check_fd(L, 1), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  return sys_close(L);
}

/* sys.connect(port | path [, literal]): a connected socket, the plain way; a port's is of 127.0.0.1 unless said */
static int sys_connect(lua_State *L) {
  lw_address address;
  socklen_t size = sizeof address.ip4;
  int fd;
  memset(&address, 0, sizeof address);
  if (lua_type(L, 2) == LUA_TSTRING && inet_pton(AF_INET6, lua_tostring(L, 2), &address.ip6.sin6_addr) == 1) {
    size = sizeof address.ip6;
    address.ip6.sin6_family = AF_INET6;
    address.ip6.sin6_port = htons((uint16_t)luaL_checkinteger(L, 1));
  } else if (lua_type(L, 1) == LUA_TNUMBER) {
    address.ip4.sin_family = AF_INET;
    address.ip4.sin_port = htons((uint16_t)luaL_checkinteger(L, 1));
    address.ip4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!lua_isnoneornil(L, 2)) inet_pton(AF_INET, luaL_checkstring(L, 2), &address.ip4.sin_addr);
  } else {
    size = sizeof address.local;
    address.local.sun_family = AF_UNIX;
    strncpy(address.local.sun_path, luaL_checkstring(L, 1), sizeof address.local.sun_path - 1);
  }
  fd = socket(address.any.sa_family, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, &address.any, size) < 0) {
    close(fd);
    return result(L, -1);
  }
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return result(L, fd);
}

/* sys.name(fd): its own address and port */
static int sys_name(lua_State *L) {
  lw_address address;
  char text[LW_ADDRESS_TEXT];
  socklen_t size = sizeof address;
  memset(&address, 0, sizeof address);
  if (lw_sys_real.getsockname(check_fd(L, 1), &address.any, &size) < 0) return result(L, -1);
  lua_pushinteger(L, lw_address_text(&address, text));
  lua_pushstring(L, text);
  lua_insert(L, -2);
  return 2;
}

/* sys.peer(fd): the address and port at its other end */
static int sys_peer(lua_State *L) {
  lw_address address;
  char text[LW_ADDRESS_TEXT];
  socklen_t size = sizeof address;
  unsigned short port;
  memset(&address, 0, sizeof address);
  if (getpeername(check_fd(L, 1), &address.any, &size) < 0) return result(L, -1);
  port = lw_address_text(&address, text);
  lua_pushstring(L, text);
  lua_pushinteger(L, port);
  return 2;
}

/* sys.enter(fd): from now on this process makes its sockets in that network namespace (Linux) */
static int sys_enter(lua_State *L) {
#ifdef __linux__
  return result(L, setns(check_fd(L, 1), CLONE_NEWNET));
#else
  return failed(L, LW_ERR_SYS(ENOSYS));
#endif
}

static int sys_is_socket(lua_State *L) {
  const int answer = lw_sys_real.is_socket(luaL_checkstring(L, 1));
  if (answer < 0) return result(L, answer);
  lua_pushboolean(L, answer);
  return 1;
}

static const luaL_Reg sys_functions[] = {
    {"fail", sys_fail},
    {"calls", sys_calls},
    {"clock", sys_clock},
    {"hosts", sys_hosts},
    {"gate", sys_gate},
    {"waiting", sys_waiting},
    {"lists", sys_lists},
    {"reserve", sys_reserve},
    {"stick", sys_stick},
    {"isStuck", sys_is_stuck},
    {"alarm", sys_alarm},
    {"threads", sys_threads},
    {"chance", sys_chance},
    {"hold", sys_hold},
    {"dialled", sys_dialled},
    {"reset", sys_reset},
    {"descriptors", sys_descriptors},
    {"limit", sys_limit},
    {"hasFineWaits", sys_has_fine_waits},
    {"forks", sys_forks},
    {"fork", sys_fork},
    {"split", sys_split},
    {"join", sys_join},
    {"raise", sys_raise},
    {"raiseLater", sys_raise_later},
    {"action", sys_action},
    {"await", sys_await},
    {"sleep", sys_sleep},
    {"flags", sys_flags},
    {"option", sys_option},
    {"pipe", sys_pipe},
    {"pair", sys_pair},
    {"socket", sys_socket},
    {"open", sys_open},
    {"close", sys_close},
    {"read", sys_read},
    {"receive", sys_receive},
    {"write", sys_write},
    {"send", sys_send},
    {"shutdown", sys_shutdown},
    {"abort", sys_abort},
    {"connect", sys_connect},
    {"name", sys_name},
    {"peer", sys_peer},
    {"enter", sys_enter},
    {"isSocket", sys_is_socket},
    {NULL, NULL},
};

/* --- probe.poll(backend): tags are small integers -------------------------------------------------- */

static lw_poll **poll_box(lua_State *L) {
  lw_poll **box = luaL_checkudata(L, 1, POLL);
  if (!*box) luaL_error(L, "the poller is freed");
  return box;
}

static int poll_new(lua_State *L) {
  const char *name = luaL_optstring(L, 1, NULL);
  lw_poll **box = lua_newuserdatauv(L, sizeof *box, 0);
  int err = 0;
  *box = NULL;
  luaL_setmetatable(L, POLL);
  *box = lw_poll_new(&fake_sys, name, &err);
  return *box ? 1 : failed(L, err);
}

static int poll_free(lua_State *L) {
  lw_poll **box = luaL_checkudata(L, 1, POLL);
  lw_poll_free(*box);
  *box = NULL;
  return 0;
}

static int poll_name(lua_State *L) {
  lua_pushstring(L, (*poll_box(L))->backend->name);
  return 1;
}

static int poll_fd(lua_State *L) {
  lua_pushinteger(L, lw_poll_fd(*poll_box(L)));
  return 1;
}

/* poller:set(fd, had, want [, tag]) */
static int poll_set(lua_State *L) {
  void *tag = (void *)(uintptr_t)luaL_optinteger(L, 5, 0);
  return outcome(
      L, lw_poll_set(*poll_box(L), check_fd(L, 2), check_reasons(L, 3), check_reasons(L, 4), tag));
}

/* poller:wait(ns [, max]): { [tag] = reasons }, how many events */
static int poll_wait(lua_State *L) {
  lw_poll_event events[LW_POLL_MAX];
  const int max = (int)luaL_optinteger(L, 3, LW_POLL_MAX);
  const int count = lw_poll_wait(*poll_box(L), events, max, luaL_checkinteger(L, 2));
  if (count < 0) return failed(L, count);
  lua_newtable(L);
  for (int i = 0; i < count; i++) {
    push_reasons(L, events[i].ready);
    lua_rawseti(L, -2, (lua_Integer)(uintptr_t)events[i].tag);
  }
  lua_pushinteger(L, count);
  return 2;
}

static const luaL_Reg poll_methods[] = {
    {"free", poll_free}, {"__gc", poll_free}, {"name", poll_name}, {"fd", poll_fd},
    {"set", poll_set},   {"wait", poll_wait}, {NULL, NULL},
};

/* --- holders: probe.timers() and probe.loop(backend) ------------------------------------------------ */

/* User value 1: a table from kinds (numbers that we give) to the spec's names. */
typedef struct holder {
  lw_timers *timers; /* NULL: freed */
  lw_loop *loop;     /* NULL for bare timers */
  lw_timers own;
  int kinds;
} holder;

static holder *new_holder(lua_State *L, const char *class) {
  holder *h = lua_newuserdatauv(L, sizeof *h, 1);
  memset(h, 0, sizeof *h);
  luaL_setmetatable(L, class);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  return h;
}

static holder *check_holder(lua_State *L, int arg) {
  holder *h = luaL_testudata(L, arg, LOOP);
  if (!h) h = luaL_checkudata(L, arg, TIMERS);
  if (!h->timers) luaL_argerror(L, arg, "it is freed");
  return h;
}

static lw_loop *check_loop(lua_State *L, int arg) {
  luaL_checkudata(L, arg, LOOP);
  return check_holder(L, arg)->loop;
}

/* Remembers the name at `arg`; returns its kind. */
static int add_name(lua_State *L, holder *h, int holder_arg, int arg) {
  luaL_checkany(L, arg);
  lua_getiuservalue(L, holder_arg, 1);
  lua_pushvalue(L, arg);
  lua_rawseti(L, -2, ++h->kinds);
  lua_pop(L, 1);
  return h->kinds;
}

static void push_name(lua_State *L, int holder_arg, int kind) {
  lua_getiuservalue(L, holder_arg, 1);
  lua_rawgeti(L, -1, kind);
  lua_remove(L, -2);
}

static int holder_free(lua_State *L) {
  holder *h = lua_touserdata(L, 1);
  if (!h->timers) return 0;
  if (h->loop)
    lw_loop_free(h->loop);
  else
    lw_timers_clear(h->timers);
  h->timers = NULL;
  return 0;
}

/* --- timers ------------------------------------------------------------------------------------------ */

/* User value 1: the holder. */
typedef struct timer_box {
  holder *holder;
  lw_timer *timer; /* NULL: left */
} timer_box;

static int timer_new(lua_State *L) {
  holder *h = check_holder(L, 1);
  const int kind = add_name(L, h, 1, 2);
  timer_box *box = lua_newuserdatauv(L, sizeof *box, 1);
  int err;
  box->holder = h;
  box->timer = NULL;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, TIMER);
  if (!(box->timer = malloc(sizeof *box->timer))) return failed(L, LW_ERR_MEMORY);
  err = lw_timer_join(h->timers, box->timer, kind, NULL);
  if (err == 0) return 1;
  free(box->timer);
  box->timer = NULL;
  return failed(L, err);
}

static int timer_leave(lua_State *L) {
  timer_box *box = luaL_checkudata(L, 1, TIMER);
  if (!box->timer) return 0;
  if (box->holder->timers) lw_timer_leave(box->holder->timers, box->timer);
  free(box->timer);
  box->timer = NULL;
  return 0;
}

static timer_box *check_timer(lua_State *L) {
  timer_box *box = luaL_checkudata(L, 1, TIMER);
  if (!box->timer || !box->holder->timers) luaL_error(L, "the timer has left");
  return box;
}

static int timer_set(lua_State *L) {
  timer_box *box = check_timer(L);
  lw_timer_set(box->holder->timers, box->timer, luaL_checkinteger(L, 2));
  return 0;
}

static int timer_stop(lua_State *L) {
  timer_box *box = check_timer(L);
  lw_timer_stop(box->holder->timers, box->timer);
  return 0;
}

static int timer_is_set(lua_State *L) {
  lua_pushboolean(L, lw_timer_is_set(check_timer(L)->timer));
  return 1;
}

static const luaL_Reg timer_methods[] = {
    {"set", timer_set},     {"stop", timer_stop},  {"isSet", timer_is_set},
    {"leave", timer_leave}, {"__gc", timer_leave}, {NULL, NULL},
};

static int timers_new(lua_State *L) {
  holder *h = new_holder(L, TIMERS);
  lw_timers_init(&h->own);
  h->timers = &h->own;
  return 1;
}

static int push_timer(lua_State *L, const lw_timer *timer) {
  if (timer)
    push_name(L, 1, timer->kind);
  else
    lua_pushnil(L);
  return 1;
}

static int timers_first(lua_State *L) {
  return push_timer(L, lw_timers_first(check_holder(L, 1)->timers));
}

static int timers_ripen(lua_State *L) {
  lw_timers_ripen(check_holder(L, 1)->timers, luaL_checkinteger(L, 2));
  return 0;
}

static int timers_take(lua_State *L) {
  return push_timer(L, lw_timers_take(check_holder(L, 1)->timers));
}

/* timers:order(n): the next one set is the n+1st */
static int timers_order(lua_State *L) {
  check_holder(L, 1)->timers->order = (uint64_t)luaL_checkinteger(L, 2);
  return 0;
}

static const luaL_Reg timers_methods[] = {
    {"order", timers_order}, {"timer", timer_new},  {"first", timers_first},
    {"ripen", timers_ripen}, {"take", timers_take}, {"free", holder_free},
    {"__gc", holder_free},   {NULL, NULL},
};

/* --- sources ------------------------------------------------------------------------------------------ */

/* User value 1: the loop. */
typedef struct source_box {
  holder *holder;
  lw_source *source; /* NULL: freed */
} source_box;

/* loop:source(name [, fd]) */
static int source_new(lua_State *L) {
  lw_loop *loop = check_loop(L, 1);
  holder *h = check_holder(L, 1);
  const int fd = (int)luaL_optinteger(L, 3, -1), kind = add_name(L, h, 1, 2);
  source_box *box = lua_newuserdatauv(L, sizeof *box, 1);
  (void)loop;
  box->holder = h;
  box->source = NULL;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, SOURCE);
  if (!(box->source = malloc(sizeof *box->source))) return failed(L, LW_ERR_MEMORY);
  lw_source_init(box->source, kind, box);
  box->source->fd = fd;
  return 1;
}

static source_box *check_source(lua_State *L, int arg) {
  source_box *box = luaL_checkudata(L, arg, SOURCE);
  if (!box->source || !box->holder->timers) luaL_argerror(L, arg, "the source is freed");
  return box;
}

static int source_watch(lua_State *L) {
  source_box *box = check_source(L, 1);
  return outcome(L, lw_source_watch(box->holder->loop, box->source, check_reasons(L, 2)));
}

static int source_post(lua_State *L) {
  source_box *box = check_source(L, 1);
  lw_source_post(box->holder->loop, box->source,
                 lua_isnoneornil(L, 2) ? LW_POSTED : check_reasons(L, 2));
  return 0;
}

static int source_leave(lua_State *L) {
  source_box *box = check_source(L, 1);
  lw_source_leave(box->holder->loop, box->source);
  return 0;
}

/* source:fd([fd]): its descriptor, and gives it another */
static int source_fd(lua_State *L) {
  if (!lua_isnoneornil(L, 2)) check_source(L, 1)->source->fd = check_fd(L, 2);
  lua_pushinteger(L, check_source(L, 1)->source->fd);
  return 1;
}

/* leaves the loop and gives its memory back */
static int source_free(lua_State *L) {
  source_box *box = luaL_checkudata(L, 1, SOURCE);
  if (!box->source) return 0;
  if (box->holder->timers) lw_source_leave(box->holder->loop, box->source);
  free(box->source);
  box->source = NULL;
  return 0;
}

static const luaL_Reg source_methods[] = {
    {"watch", source_watch},
    {"post", source_post},
    {"leave", source_leave},
    {"fd", source_fd},
    {"free", source_free},
    {"__gc", source_free},
    {NULL, NULL},
};

/* --- loops -------------------------------------------------------------------------------------------- */

static int loop_new(lua_State *L) {
  static const char *const backends[] = {"epoll", "kqueue", "poll", "best", NULL};
  const int which = luaL_checkoption(L, 1, "best", backends);
  holder *h = new_holder(L, LOOP);
  h->loop = lw_loop_new(&fake_sys, which == 3 ? NULL : backends[which]);
  if (!h->loop) return failed(L, LW_ERR_MEMORY);
  h->timers = &h->loop->timers;
  return 1;
}

/* loop:turn([ns]): true, or nil and the error */
static int loop_turn(lua_State *L) {
  return outcome(L, lw_loop_turn(check_loop(L, 1), luaL_optinteger(L, 2, 0)));
}

/* loop:next(): a name and the reasons, or nil when the turn is over */
static int loop_next(lua_State *L) {
  lw_ready ready;
  if (!lw_loop_next(check_loop(L, 1), &ready)) {
    lua_pushnil(L);
    return 1;
  }
  push_name(L, 1, ready.kind);
  push_reasons(L, ready.why);
  return 2;
}

static int loop_timeout(lua_State *L) {
  const int64_t timeout = lw_loop_timeout(check_loop(L, 1));
  if (timeout < 0)
    lua_pushnil(L);
  else
    lua_pushinteger(L, timeout);
  return 1;
}

static int loop_now(lua_State *L) {
  lua_pushinteger(L, check_loop(L, 1)->now);
  return 1;
}

static int loop_open(lua_State *L) {
  return outcome(L, lw_loop_open(check_loop(L, 1)));
}

static int loop_fd(lua_State *L) {
  lw_loop *loop = check_loop(L, 1);
  if (!loop->poll)
    lua_pushnil(L);
  else
    lua_pushinteger(L, lw_poll_fd(loop->poll));
  return 1;
}

static int loop_receive(lua_State *L) {
  unsigned char *bytes = lw_loop_receive(check_loop(L, 1));
  if (!bytes) return failed(L, LW_ERR_MEMORY);
  memset(bytes, 0, LW_RECEIVE_SIZE); /* all of it is ours */
  lua_pushlightuserdata(L, bytes);
  return 1;
}

static int loop_forked(lua_State *L) {
  lua_pushboolean(L, lw_loop_forked(check_loop(L, 1)));
  return 1;
}

/* --- lookups: loop:lookup(source, host, ...) and probe.resolver():start(owner, host, ...) -------------- */

typedef struct lookup_box {
  lw_lookup *lookup; /* NULL: released */
} lookup_box;

static int family_of(lua_State *L, int arg) {
  switch (luaL_optinteger(L, arg, 0)) {
  case 4:
    return AF_INET;
  case 6:
    return AF_INET6;
  default:
    return AF_UNSPEC;
  }
}

static int start(lua_State *L, lw_resolver *resolver, void *owner) {
  const char *host = luaL_checkstring(L, 3);
  const unsigned short port = (unsigned short)luaL_optinteger(L, 4, 0);
  const int family = family_of(L, 5);
  lookup_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  int err = 0;
  box->lookup = NULL;
  luaL_setmetatable(L, LOOKUP);
  box->lookup = lw_lookup_start(resolver, host, port, family, owner, &err);
  return box->lookup ? 1 : failed(L, err);
}

static int loop_lookup(lua_State *L) {
  int err = 0;
  lw_resolver *resolver = lw_loop_resolver(check_loop(L, 1), &err);
  if (!resolver) return failed(L, err);
  return start(L, resolver, check_source(L, 2)->source);
}

static int lookup_release(lua_State *L) {
  lookup_box *box = luaL_checkudata(L, 1, LOOKUP);
  lw_lookup_release(box->lookup);
  box->lookup = NULL;
  return 0;
}

/* { "address:port", ... }, or nil and the error */
static int lookup_result(lua_State *L) {
  lookup_box *box = luaL_checkudata(L, 1, LOOKUP);
  const struct addrinfo *list;
  int err, n = 0;
  if (!box->lookup) return luaL_error(L, "the lookup is freed");
  err = lw_lookup_result(box->lookup, &list);
  if (err < 0) return failed(L, err);
  lua_newtable(L);
  for (; list; list = list->ai_next) {
    lw_address address;
    char text[LW_ADDRESS_TEXT];
    unsigned short port;
    memcpy(&address, list->ai_addr, list->ai_addrlen);
    port = lw_address_text(&address, text);
    lua_pushfstring(L, "%s:%d", text, (int)port);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static const luaL_Reg lookup_methods[] = {
    {"result", lookup_result},
    {"free", lookup_release},
    {"__gc", lookup_release},
    {NULL, NULL},
};

static lw_resolver *check_resolver(lua_State *L) {
  lw_resolver **box = luaL_checkudata(L, 1, RESOLVER);
  if (!*box) luaL_error(L, "the resolver is freed");
  return *box;
}

static int resolver_new(lua_State *L) {
  lw_resolver **box = lua_newuserdatauv(L, sizeof *box, 0);
  int err = 0;
  *box = NULL;
  luaL_setmetatable(L, RESOLVER);
  *box = lw_resolver_new(&fake_sys, &err);
  return *box ? 1 : failed(L, err);
}

static int resolver_free(lua_State *L) {
  lw_resolver **box = luaL_checkudata(L, 1, RESOLVER);
  if (*box) lw_resolver_free(*box);
  *box = NULL;
  return 0;
}

static int resolver_fd(lua_State *L) {
  lua_pushinteger(L, lw_resolver_fd(check_resolver(L)));
  return 1;
}

/* resolver:start(owner, host [, port [, family]]): the owner is an integer */
static int resolver_start(lua_State *L) {
  return start(L, check_resolver(L), (void *)(uintptr_t)luaL_checkinteger(L, 2));
}

static int resolver_next(lua_State *L) {
  void *owner = lw_resolver_next(check_resolver(L));
  if (!owner)
    lua_pushnil(L);
  else
    lua_pushinteger(L, (lua_Integer)(uintptr_t)owner);
  return 1;
}

static const luaL_Reg resolver_methods[] = {
    {"free", resolver_free},   {"__gc", resolver_free}, {"fd", resolver_fd},
    {"start", resolver_start}, {"next", resolver_next}, {NULL, NULL},
};

/* --- loop:dial(source, { host, port, family, noDelay, path }) -------------------------------------------------- */

/* User value 1: the source. */
typedef struct dial_box {
  lw_dial *dial; /* NULL: freed */
  holder *holder;
} dial_box;

static int loop_dial(lua_State *L) {
  lw_loop *loop = check_loop(L, 1);
  source_box *source = check_source(L, 2);
  lw_dial_options options = {.family = AF_UNSPEC};
  dial_box *box;
  int err = 0;
  lua_settop(L, 3);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_getfield(L, 3, "path");
  options.path = luaL_optstring(L, -1, NULL);
  lua_getfield(L, 3, "host");
  options.host = luaL_optstring(L, -1, "host.of.a.path");
  lua_getfield(L, 3, "port");
  options.port = (unsigned short)luaL_optinteger(L, -1, 0);
  lua_getfield(L, 3, "family");
  options.family = family_of(L, -1);
  lua_getfield(L, 3, "noDelay");
  options.no_delay = lua_toboolean(L, -1);
  box = lua_newuserdatauv(L, sizeof *box, 1);
  box->dial = NULL;
  box->holder = check_holder(L, 1);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, DIAL);
  box->dial = lw_dial_start(loop, &options, source->source, &err);
  return box->dial ? 1 : failed(L, err);
}

/* dial:next(): the descriptor, false while it is on its way, or nil and the error */
static int dial_next(lua_State *L) {
  dial_box *box = luaL_checkudata(L, 1, DIAL);
  int fd = -1, told;
  if (!box->dial) return luaL_error(L, "the dial is freed");
  told = lw_dial_next(box->dial, &fd);
  if (told < 0) return failed(L, told);
  if (told > 0)
    lua_pushinteger(L, fd);
  else
    lua_pushboolean(L, 0);
  return 1;
}

static int dial_free(lua_State *L) {
  dial_box *box = luaL_checkudata(L, 1, DIAL);
  if (box->dial && box->holder->timers) lw_dial_free(box->dial);
  box->dial = NULL;
  return 0;
}

static const luaL_Reg dial_methods[] = {
    {"next", dial_next},
    {"free", dial_free},
    {"__gc", dial_free},
    {NULL, NULL},
};

static const luaL_Reg loop_methods[] = {
    {"turn", loop_turn},       {"next", loop_next},     {"timeout", loop_timeout},
    {"now", loop_now},         {"open", loop_open},     {"fd", loop_fd},
    {"receive", loop_receive}, {"forked", loop_forked}, {"source", source_new},
    {"timer", timer_new},      {"lookup", loop_lookup}, {"dial", loop_dial},
    {"free", holder_free},     {"__gc", holder_free},   {NULL, NULL},
};

/* --- probe.listen{ host, port, path, backlog, reusePort }, probe.accept(fd [, noDelay]) ------------------- */

static int push_address(lua_State *L, int fd, const lw_address *address) {
  char text[LW_ADDRESS_TEXT];
  const unsigned short port = lw_address_text(address, text);
  if (fd < 0) return failed(L, fd);
  lua_pushinteger(L, fd);
  lua_pushstring(L, text);
  lua_pushinteger(L, port);
  return 3;
}

static int net_listen(lua_State *L) {
  lw_listen_options options;
  lw_address bound;
  int fd;
  memset(&options, 0, sizeof options);
  memset(&bound, 0, sizeof bound);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "host");
  options.host = luaL_optstring(L, -1, NULL);
  lua_getfield(L, 1, "path");
  options.path = luaL_optstring(L, -1, NULL);
  lua_getfield(L, 1, "port");
  options.port = (unsigned short)luaL_optinteger(L, -1, 0);
  lua_getfield(L, 1, "backlog");
  options.backlog = (int)luaL_optinteger(L, -1, 0);
  lua_getfield(L, 1, "reusePort");
  options.reuse_port = lua_toboolean(L, -1);
  fd = lw_listen(&fake_sys, &options, &bound);
  return push_address(L, fd, &bound);
}

static int net_accept(lua_State *L) {
  lw_address guest;
  const int fd = lw_accept(&fake_sys, check_fd(L, 1), lua_toboolean(L, 2), &guest);
  return push_address(L, fd, &guest);
}

/* --- probe.signals(loop, name) -------------------------------------------------------------------------- */

/* User value 1: the loop. */
typedef struct signals_box {
  lw_signals *signals; /* NULL: freed */
  holder *holder;
} signals_box;

static int signals_new(lua_State *L) {
  lw_loop *loop = check_loop(L, 1);
  holder *h = check_holder(L, 1);
  const int kind = add_name(L, h, 1, 2);
  signals_box *box = lua_newuserdatauv(L, sizeof *box, 1);
  int err = 0;
  box->signals = NULL;
  box->holder = h;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, SIGNALS);
  box->signals = lw_signals_new(loop, kind, NULL, &err);
  return box->signals ? 1 : failed(L, err);
}

static signals_box *check_signals(lua_State *L) {
  signals_box *box = luaL_checkudata(L, 1, SIGNALS);
  if (!box->signals) luaL_error(L, "the signals are freed");
  return box;
}

static int signals_free(lua_State *L) {
  signals_box *box = luaL_checkudata(L, 1, SIGNALS);
  if (box->holder->timers) lw_signals_free(box->signals);
  box->signals = NULL;
  return 0;
}

static int signals_take(lua_State *L) {
  return outcome(L, lw_signals_take(check_signals(L)->signals, (int)luaL_checkinteger(L, 2)));
}

static int signals_restore(lua_State *L) {
  lw_signals_restore(check_signals(L)->signals, (int)luaL_checkinteger(L, 2));
  return 0;
}

static int signals_next(lua_State *L) {
  lua_pushinteger(L, lw_signals_next(check_signals(L)->signals));
  return 1;
}

static int signal_number(lua_State *L) {
  lua_pushinteger(L, lw_signal_number(luaL_checkstring(L, 1)));
  return 1;
}

static const luaL_Reg signals_methods[] = {
    {"free", signals_free},       {"__gc", signals_free}, {"take", signals_take},
    {"restore", signals_restore}, {"next", signals_next}, {NULL, NULL},
};

/* --- the module ------------------------------------------------------------------------------------------ */

/* A lookup's thread may outlive the Lua state: the code it runs must stay. */
static void pin(void) {
  Dl_info info;
  if (dladdr((const void *)&fake_sys, &info) && info.dli_fname)
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE);
}

void probe_system(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"poll", poll_new},         {"timers", timers_new},    {"loop", loop_new},
      {"resolver", resolver_new}, {"listen", net_listen},    {"accept", net_accept},
      {"signals", signals_new},   {"signal", signal_number}, {NULL, NULL},
  };
  pin();
  probe_class(L, POLL, poll_methods);
  probe_class(L, TIMERS, timers_methods);
  probe_class(L, LOOP, loop_methods);
  probe_class(L, TIMER, timer_methods);
  probe_class(L, SOURCE, source_methods);
  probe_class(L, RESOLVER, resolver_methods);
  probe_class(L, LOOKUP, lookup_methods);
  probe_class(L, DIAL, dial_methods);
  probe_class(L, SIGNALS, signals_methods);
  luaL_setfuncs(L, functions, 0);
  probe_library(L, "sys", sys_functions);
}
