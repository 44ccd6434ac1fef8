/*
** tls_echo.c -- the least a wss echo server can be: what lunawire's is measured against.
**
**   tls_echo CERTIFICATE KEY
**
** One thread, epoll, OpenSSL straight on the descriptors. Knows just enough of WebSocket to
** echo whole messages: no fragments, no UTF-8, no limits, no timeouts, no way to close. All
** that one turn brings to a connection is answered by one SSL_write. Prints its port.
*/
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE ((size_t)64 * 1024)
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */

typedef struct bytes {
  unsigned char *at;
  size_t used, room;
} bytes;

typedef struct client {
  int fd, open;
  SSL *ssl;
  bytes in, out;   /* a message that is not whole; what is not yet written */
  size_t written;  /* of `out` */
  uint32_t wanted; /* events asked for */
} client;

static int poller;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static unsigned char *reserve(bytes *b, size_t n) {
  size_t room = b->room ? b->room : 512;
  while (room < b->used + n) room *= 2;
  if (room != b->room && !(b->at = realloc(b->at, b->room = room))) die("realloc");
  return b->at + b->used;
}

static void append(bytes *b, const void *from, size_t n) {
  memcpy(reserve(b, n), from, n);
  b->used += n;
}

static void drop(client *c) {
  SSL_free(c->ssl);
  close(c->fd);
  free(c->in.at);
  free(c->out.at);
  free(c);
}

static void want(client *c, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = c};
  if (c->wanted == events) return;
  c->wanted = events;
  if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event) < 0) die("epoll_ctl");
}

/* 0: the connection has failed. */
static int flush(client *c) {
  while (c->written < c->out.used) {
    size_t sent;
    if (SSL_write_ex(c->ssl, c->out.at + c->written, c->out.used - c->written, &sent) != 1) {
      int why = SSL_get_error(c->ssl, 0);
      if (why != SSL_ERROR_WANT_WRITE && why != SSL_ERROR_WANT_READ) return 0;
      want(c, EPOLLIN | EPOLLOUT);
      return 1;
    }
    c->written += sent;
  }
  c->out.used = c->written = 0;
  want(c, EPOLLIN);
  return 1;
}

static void shake(client *c, char *head) {
  char text[64 + sizeof GUID], answer[200];
  unsigned char digest[EVP_MAX_MD_SIZE], accept[64];
  unsigned n;
  const char *key = strcasestr(head, "\r\nSec-WebSocket-Key:");
  if (!key || sscanf(key + 20, " %24s", text) != 1) die("no key");
  strcat(text, GUID);
  EVP_Digest(text, strlen(text), digest, &n, EVP_sha1(), NULL);
  EVP_EncodeBlock(accept, digest, (int)n);
  n = (unsigned)snprintf(answer, sizeof answer,
                         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Accept: %s\r\n\r\n",
                         accept);
  append(&c->out, answer, n);
  c->open = 1;
}

static void unmask(unsigned char *to, const unsigned char *from, size_t n, const unsigned char mask[4]) {
  uint64_t wide, word;
  size_t i = 0;
  memcpy(&wide, mask, 4);
  memcpy((unsigned char *)&wide + 4, mask, 4);
  for (; i + 8 <= n; i += 8) {
    memcpy(&word, from + i, 8);
    word ^= wide;
    memcpy(to + i, &word, 8);
  }
  for (; i < n; i++) to[i] = from[i] ^ mask[i % 4];
}

/* The length of the header in front, and of the payload; 0: not here yet. */
static size_t measure(const unsigned char *at, size_t n, size_t *payload) {
  size_t more;
  if (n < 2) return 0;
  *payload = at[1] & 127;
  more = *payload == 126 ? 2 : *payload == 127 ? 8 : 0;
  if (n < 2 + more) return 0;
  if (more) *payload = 0;
  for (size_t i = 0; i < more; i++) *payload = *payload << 8 | at[2 + i];
  return 2 + more + 4;
}

/* Echoes every whole frame. Returns how many bytes they were; *needs tells how many the next one has. */
static size_t echo(client *c, const unsigned char *at, size_t n, size_t *needs) {
  size_t used = 0, payload, head;
  while ((head = measure(at + used, n - used, &payload)) > 0) {
    const unsigned char *frame = at + used;
    if (n - used < head + payload) {
      *needs = head + payload;
      break;
    }
    unsigned char *to = reserve(&c->out, head + payload);
    memcpy(to, frame, head - 4);
    to[1] &= 127;
    unmask(to + head - 4, frame + head, payload, frame + head - 4);
    c->out.used += head - 4 + payload;
    used += head + payload;
  }
  return used;
}

static void feed(client *c, unsigned char *at, size_t n) {
  size_t used, needs = 0;
  if (!c->open) {
    append(&c->in, at, n);
    append(&c->in, "", 1);
    if (strstr((char *)c->in.at, "\r\n\r\n")) shake(c, (char *)c->in.at);
    c->in.used = c->open ? 0 : c->in.used - 1;
    return;
  }
  if (c->in.used) {
    append(&c->in, at, n);
    at = c->in.at;
    n = c->in.used;
  }
  used = echo(c, at, n, &needs);
  if (c->in.used) {
    memmove(c->in.at, at + used, n - used);
    c->in.used = n - used;
  } else {
    append(&c->in, at + used, n - used);
  }
  if (needs > c->in.used) reserve(&c->in, needs - c->in.used);
}

/* 0: the connection has ended. */
static int ready(client *c) {
  static unsigned char plain[READ_SIZE];
  size_t used, got;
  int result;
  do {
    for (used = 0; used < READ_SIZE; used += got)
      if ((result = SSL_read_ex(c->ssl, plain + used, READ_SIZE - used, &got)) != 1) break;
    if (used) feed(c, plain, used);
  } while (used == READ_SIZE);
  result = SSL_get_error(c->ssl, result);
  return (result == SSL_ERROR_WANT_READ || result == SSL_ERROR_WANT_WRITE) && flush(c);
}

static void accept_all(int listener, SSL_CTX *context) {
  int fd, on = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    client *c = calloc(1, sizeof *c);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (!c || !(c->ssl = SSL_new(context))) die("client");
    c->fd = fd;
    c->wanted = EPOLLIN;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    SSL_set_fd(c->ssl, fd);
    SSL_set_accept_state(c->ssl);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
  }
}

static int listen_anywhere(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 4096) < 0) die("listen");
  if (getsockname(fd, (struct sockaddr *)&address, &size) < 0) die("getsockname");
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

int main(int argc, char **argv) {
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  struct epoll_event events[256];
  int listener;
  if (argc != 3 || SSL_CTX_use_certificate_chain_file(context, argv[1]) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) != 1) {
    fprintf(stderr, "usage: tls_echo CERTIFICATE KEY\n");
    return 2;
  }
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
  listener = listen_anywhere();
  for (;;) {
    int count = epoll_wait(poller, events, 256, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
      client *c = events[i].data.ptr;
      if (!c) accept_all(listener, context);
      else if (!ready(c)) drop(c);
    }
  }
}
