/*
** probe_tcp.c -- plain TCP for specs: lunawire.probe.tcp, sockets that never block, driven
** from the spec while the loop under test turns. Shares no code with the library.
**
**   tcp.listen([backlog [, host [, port]]]) -> listener; a host that begins with a slash is a Unix socket
**   listener.port  :accept() -> peer | nil  :refuse(boolean)  :fd()  :buffers(n)  :close()
**   tcp.connect(port [, host]) -> peer
**   peer:send(bytes) -> number taken | nil, "ECONNRESET"
**   peer:receive([max]) -> bytes | "" (nothing yet) | nil (the end) | nil, "ECONNRESET"
**   peer:unsent() -> number of bytes  :isReset() -> boolean  :shutdown()  :reset()  :fd()  :buffers(n)  :close()
*/
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4, SOCK_NONBLOCK on Linux */
#endif
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/sockios.h>
#include <sys/ioctl.h>
#endif

#define LISTENER "lunawire.probe.tcp.listener"
#define PEER "lunawire.probe.tcp.peer"
#define RECEIVE_MAX 65536 /* bytes in one receive */

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* where it is missing, socket options say it (macOS) */
#endif

typedef struct tcp_socket {
  int fd; /* -1 once closed */
  int port;
} tcp_socket;

/* --- what went wrong -------------------------------------------------------------------------- */

#define E(name) {#name, name},
static const struct {
  const char *name;
  int number;
} errors[] = {
  E(ECONNRESET) E(ECONNREFUSED) E(ECONNABORTED) E(EPIPE) E(ENOTCONN) E(ETIMEDOUT) E(EBADF) E(EMFILE) E(EADDRINUSE)
};
#undef E

/* nil and the error's name. For a C function's `return`. */
static int fail(lua_State *L, int number) {
  lua_pushnil(L);
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (errors[i].number == number) {
      lua_pushstring(L, errors[i].name);
      return 2;
    }
  lua_pushstring(L, strerror(number));
  return 2;
}

static int blocks(int number) {
  return number == EAGAIN || number == EWOULDBLOCK || number == EINPROGRESS || number == EINTR;
}

/* --- making ----------------------------------------------------------------------------------- */

static tcp_socket *new_socket(lua_State *L, const char *class) {
  tcp_socket *s = lua_newuserdatauv(L, sizeof *s, 0);
  s->fd = -1;
  s->port = 0;
  luaL_setmetatable(L, class);
  return s;
}

/* Takes the descriptor over. 0, or -1 with errno. */
static int adopt(tcp_socket *s, int fd) {
  int one = 1;
  s->fd = fd;
  if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return -1;
#ifdef SO_NOSIGPIPE
  setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return 0;
}

static struct sockaddr_in address_of(lua_State *L, const char *host, int port) {
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((uint16_t)port);
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) luaL_error(L, "%s is no IPv4 address", host);
  return address;
}

/*
** A socket of this address; 0, or -1 with errno. A port that is given may still have its last
** listener's connections; a free one must not be shared with a listener that refuses.
*/
static int take_port(tcp_socket *s, struct sockaddr_in *address) {
  int shared = address->sin_port != 0;
  socklen_t size = sizeof *address;
  if (adopt(s, socket(AF_INET, SOCK_STREAM, 0)) < 0 ||
      setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &shared, sizeof shared) < 0 ||
      bind(s->fd, (struct sockaddr *)address, size) < 0)
    return -1;
  shared = 1; /* from here on, also those it accepts: with whoever takes this port by number */
  if (setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &shared, sizeof shared) < 0) return -1;
  return getsockname(s->fd, (struct sockaddr *)address, &size);
}

static int listen_local(lua_State *L, const char *path, int backlog) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  tcp_socket *s = new_socket(L, LISTENER);
  if (strlen(path) >= sizeof address.sun_path) return luaL_error(L, "too long: %s", path);
  memcpy(address.sun_path, path, strlen(path));
  if (adopt(s, socket(AF_UNIX, SOCK_STREAM, 0)) < 0 ||
      bind(s->fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(s->fd, backlog) < 0)
    return luaL_error(L, "listen on %s: %s", path, strerror(errno));
  return 1;
}

/* listen([backlog [, host [, port]]]): on 127.0.0.1 and any free port */
static int tcp_listen(lua_State *L) {
  int backlog = (int)luaL_optinteger(L, 1, 64);
  const char *host = luaL_optstring(L, 2, "127.0.0.1");
  struct sockaddr_in address;
  tcp_socket *s;
  if (*host == '/') return listen_local(L, host, backlog);
  address = address_of(L, host, (int)luaL_optinteger(L, 3, 0));
  s = new_socket(L, LISTENER);
  if (take_port(s, &address) < 0 || listen(s->fd, backlog) < 0)
    return luaL_error(L, "listen: %s", strerror(errno));
  s->port = ntohs(address.sin_port);
  return 1;
}

/* connect(port [, host]): a refusal shows at the first send or receive. */
static int tcp_connect(lua_State *L) {
  struct sockaddr_in address = address_of(L, luaL_optstring(L, 2, "127.0.0.1"), (int)luaL_checkinteger(L, 1));
  tcp_socket *s = new_socket(L, PEER);
  if (adopt(s, socket(AF_INET, SOCK_STREAM, 0)) < 0) return luaL_error(L, "connect: %s", strerror(errno));
  if (connect(s->fd, (struct sockaddr *)&address, sizeof address) < 0 && !blocks(errno)) return fail(L, errno);
  return 1;
}

/* listener:accept(): nil while nobody is there. */
static int listener_accept(lua_State *L) {
  tcp_socket *listener = luaL_checkudata(L, 1, LISTENER);
  tcp_socket *s = new_socket(L, PEER);
  int fd = accept(listener->fd, NULL, NULL);
  if (fd < 0) {
    if (!blocks(errno)) return fail(L, errno);
    lua_pushnil(L);
    return 1;
  }
  if (adopt(s, fd) < 0) return fail(L, errno);
  return 1;
}

/*
** listener:refuse(true): connections are refused, as where nobody listens, but the port stays
** ours; those not yet accepted are reset. listener:refuse(false): listens again. Either way
** the descriptor is another one now.
*/
static int listener_refuse(lua_State *L) {
  tcp_socket *s = luaL_checkudata(L, 1, LISTENER);
  struct sockaddr_in address = {.sin_port = 0};
  socklen_t size = sizeof address;
  if (getsockname(s->fd, (struct sockaddr *)&address, &size) < 0) return fail(L, errno);
  close(s->fd);
  if (take_port(s, &address) < 0) return fail(L, errno);
  if (!lua_toboolean(L, 2) && listen(s->fd, 64) < 0) return fail(L, errno);
  lua_pushboolean(L, 1);
  return 1;
}

/* --- using ------------------------------------------------------------------------------------ */

/* peer:send(bytes) */
static int peer_send(lua_State *L) {
  tcp_socket *s = luaL_checkudata(L, 1, PEER);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  ssize_t sent = send(s->fd, bytes, n, MSG_NOSIGNAL);
  /* ENOTCONN: on its way still (macOS) */
  if (sent < 0 && !blocks(errno) && errno != ENOTCONN) return fail(L, errno);
  lua_pushinteger(L, sent < 0 ? 0 : sent);
  return 1;
}

/* peer:receive([max]): at most RECEIVE_MAX */
static int peer_receive(lua_State *L) {
  tcp_socket *s = luaL_checkudata(L, 1, PEER);
  static char bytes[RECEIVE_MAX]; /* Lua has one thread, and this keeps nothing between calls */
  lua_Integer max = luaL_optinteger(L, 2, RECEIVE_MAX);
  luaL_argcheck(L, max > 0, 2, "must be positive");
  ssize_t got = recv(s->fd, bytes, max < RECEIVE_MAX ? (size_t)max : RECEIVE_MAX, 0);
  if (got < 0 && !blocks(errno)) return fail(L, errno);
  if (got == 0) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushlstring(L, bytes, got < 0 ? 0 : (size_t)got);
  return 1;
}

/* peer:unsent(): what the system has taken and not yet put on the wire, since the receiver's window is full. */
static int peer_unsent(lua_State *L) {
  tcp_socket *s = luaL_checkudata(L, 1, PEER);
  int n = 0;
#ifdef SIOCOUTQNSD
  if (ioctl(s->fd, SIOCOUTQNSD, &n) < 0) return fail(L, errno);
#endif
  lua_pushinteger(L, n);
  return 1;
}

/* peer:isReset(): it was, which a receive would tell once everything before is read. */
static int peer_is_reset(lua_State *L) {
  tcp_socket *s = luaL_checkudata(L, 1, PEER);
  struct pollfd one = {.fd = s->fd};
  lua_pushboolean(L, poll(&one, 1, 0) > 0 && (one.revents & POLLERR));
  return 1;
}

/* peer:shutdown(): the end of our stream; receiving goes on. */
static int peer_shutdown(lua_State *L) {
  tcp_socket *s = luaL_checkudata(L, 1, PEER);
  if (shutdown(s->fd, SHUT_WR) < 0) return fail(L, errno);
  lua_pushboolean(L, 1);
  return 1;
}

/* A listener or a peer. */
static tcp_socket *check_socket(lua_State *L) {
  tcp_socket *s = luaL_testudata(L, 1, LISTENER);
  return s ? s : luaL_checkudata(L, 1, PEER);
}

static int socket_fd(lua_State *L) {
  lua_pushinteger(L, check_socket(L)->fd);
  return 1;
}

static int socket_close(lua_State *L) {
  tcp_socket *s = check_socket(L);
  if (s->fd >= 0) close(s->fd);
  s->fd = -1;
  return 0;
}

/* peer:reset(): ends with a RST instead of a FIN. */
static int peer_reset(lua_State *L) {
  tcp_socket *s = luaL_checkudata(L, 1, PEER);
  struct linger abrupt = {.l_onoff = 1, .l_linger = 0};
  if (s->fd >= 0 && setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &abrupt, sizeof abrupt) < 0) return fail(L, errno);
  return socket_close(L);
}

/* peer:buffers(n), listener:buffers(n): small ones, so that a reader that does not read is soon felt. */
static int socket_buffers(lua_State *L) {
  tcp_socket *s = check_socket(L);
  int size = (int)luaL_checkinteger(L, 2);
  setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return 0;
}

/* --- the library ------------------------------------------------------------------------------ */

static int listener_index(lua_State *L) {
  tcp_socket *s = luaL_checkudata(L, 1, LISTENER);
  if (strcmp(luaL_checkstring(L, 2), "port") == 0) {
    lua_pushinteger(L, s->port);
    return 1;
  }
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  return 1;
}

static const luaL_Reg functions[] = {{"listen", tcp_listen}, {"connect", tcp_connect}, {NULL, NULL}};

static const luaL_Reg listener_methods[] = {
    {"accept", listener_accept}, {"refuse", listener_refuse}, {"fd", socket_fd}, {"close", socket_close},
    {"buffers", socket_buffers}, {"__gc", socket_close},      {NULL, NULL},
};

static const luaL_Reg peer_methods[] = {
    {"send", peer_send},         {"receive", peer_receive},  {"unsent", peer_unsent}, {"shutdown", peer_shutdown},
    {"isReset", peer_is_reset},  {"reset", peer_reset},      {"fd", socket_fd},       {"close", socket_close},
    {"buffers", socket_buffers}, {"__gc", socket_close},     {NULL, NULL},
};

void probe_tcp(lua_State *L) {
  probe_class(L, PEER, peer_methods);
  probe_class(L, LISTENER, listener_methods);
  luaL_getmetatable(L, LISTENER);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, listener_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  probe_library(L, "tcp", functions);
}
