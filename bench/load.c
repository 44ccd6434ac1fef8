/*
** load.c -- a load generator for echo servers, on the library's floors 0 and 1.
**
**   load [tls] [json | deflate | fresh] PORT PID CONNECTIONS SIZE DEPTH SECONDS
**   load [tls] PORT PID CONNECTIONS SECONDS
**
** Opens CONNECTIONS, keeps DEPTH binary messages of SIZE bytes under way on each, and after a
** warm-up counts what comes back for SECONDS. PID is the server's: its CPU time is read from
** /proc. Prints one line: messages per second, the server's CPU microseconds for each
** message, and the median, 99th percentile and worst of the round trips in microseconds.
**
** The short form opens the connections and lets them rest, but for answering pings: prints
** the server's resident bytes for each; of the SECONDS that follow, the milliseconds the
** server spent outside and inside the system, and the pings that came.
**
** With "tls" it is wss, by TLS 1.3 and one cipher, whatever else a server would prefer; no
** certificate is verified.
**
** With "json" the messages are texts of bench/json.h, SIZE is theirs; with "deflate" they go compressed, with
** "fresh" compressed without context takeover on either side: level 6, memLevel 8, windows of 32 KiB.
*/
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "deflate.h"
#include "handshake.h"
#include "http.h"
#include "session.h"
#include "json.h"
#include "url.h"

#define WARM_UP 0.5 /* seconds */
#define SLICES 64
#define SAMPLES (1 << 20)
#define CIPHER "TLS_AES_128_GCM_SHA256"

typedef struct client {
  int fd;
  SSL *ssl; /* NULL: plain */
  int open;
  char key[LW_KEY_SIZE];
  lw_session session;
  char head[4096];
  size_t head_used;
  double *sent; /* when each message under way was sent: a ring of `depth` */
  unsigned first;
  unsigned due, next; /* of the json messages: what comes back next, what goes next */
} client;

static struct {
  int poller, depth;
  SSL_CTX *tls; /* NULL: plain */
  long pid;
  size_t size, count;
  lw_limits limits;
  lw_pool pool;
  lw_entropy entropy;
  unsigned char receive[256 * 1024];
  unsigned char *message;
  int json, deflate;
  unsigned char texts[JSON_KINDS][JSON_SIZE];
  lw_deflate_options options;
  lw_deflate_shelf shelf;
  double from, until; /* what is measured */
  uint64_t messages, pings;
  float *samples;
  size_t sample_count;
} load;

static void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Seconds of the server so far, outside the system and inside. */
typedef struct cpu {
  double user, system;
} cpu;

static cpu server_cpu(void) {
  char path[64], line[1024], *at;
  unsigned long user = 0, system = 0;
  FILE *file;
  snprintf(path, sizeof path, "/proc/%ld/stat", load.pid);
  if (!(file = fopen(path, "r"))) die(path);
  if (!fgets(line, sizeof line, file)) die(path);
  fclose(file);
  at = strrchr(line, ')'); /* the name may hold anything */
  if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) die("stat");
  return (cpu){(double)user / (double)sysconf(_SC_CLK_TCK), (double)system / (double)sysconf(_SC_CLK_TCK)};
}

/* What the server has used since, in seconds. */
static cpu cpu_since(cpu before) {
  cpu after = server_cpu();
  return (cpu){after.user - before.user, after.system - before.system};
}

/* Resident bytes of the server. */
static double server_memory(void) {
  char path[64];
  long all, resident = 0;
  FILE *file;
  snprintf(path, sizeof path, "/proc/%ld/statm", load.pid);
  if (!(file = fopen(path, "r")) || fscanf(file, "%ld %ld", &all, &resident) != 2) die(path);
  fclose(file);
  return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

/* What SSL_read and SSL_write could not do now is to be done later, as if the system had said so. */
static ssize_t later(client *c, int result) {
  int why = SSL_get_error(c->ssl, result);
  errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
  return why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* Each slice is a record or more: what a session has queued lies in few of them. */
static ssize_t write_sealed(client *c, const lw_slice *slices, int count) {
  size_t total = 0, sent = 0;
  for (int i = 0; i < count; i++) {
    int result = SSL_write_ex(c->ssl, slices[i].bytes, slices[i].n, &sent);
    if (result != 1) return total > 0 ? (ssize_t)total : later(c, result);
    total += sent;
    if (sent < slices[i].n) break;
  }
  return (ssize_t)total;
}

static ssize_t read_some(client *c) {
  size_t used = 0, got;
  int result = 1;
  if (!c->ssl) return read(c->fd, load.receive, sizeof load.receive);
  while (used < sizeof load.receive && (result = SSL_read_ex(c->ssl, load.receive + used, sizeof load.receive - used, &got)) == 1)
    used += got;
  return used > 0 ? (ssize_t)used : later(c, result);
}

static void flush(client *c) {
  lw_slice slices[SLICES];
  struct iovec parts[SLICES];
  int count;
  while ((count = lw_session_output(&c->session, slices, SLICES)) > 0) {
    ssize_t sent;
    for (int i = 0; i < count; i++) {
      parts[i].iov_base = (void *)(uintptr_t)slices[i].bytes;
      parts[i].iov_len = slices[i].n;
    }
    sent = c->ssl ? write_sealed(c, slices, count) : writev(c->fd, parts, count);
    if (sent < 0 && errno == EAGAIN) break;
    if (sent < 0) die("write");
    lw_session_sent(&c->session, (size_t)sent);
  }
  struct epoll_event event = {.events = EPOLLIN | (lw_session_pending(&c->session) ? (uint32_t)EPOLLOUT : 0),
                              .data.ptr = c};
  epoll_ctl(load.poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void send_one(client *c, unsigned place) {
  c->sent[place] = now();
  lw_opcode opcode = load.json ? LW_TEXT : LW_BINARY;
  const unsigned char *bytes = load.json ? load.texts[c->next++ % JSON_KINDS] : load.message;
  if (lw_session_send(&c->session, opcode, bytes, load.size, load.deflate) < 0) die("send");
}

static void start(client *c) {
  c->open = 1;
  for (int i = 0; i < load.depth; i++) send_one(c, (unsigned)i);
  flush(c);
}

/* An echo is here: counted while the measuring lasts, and the next message goes. */
static void echoed(client *c, const lw_event *event) {
  double at = now();
  if (event->n != load.size) {
    fprintf(stderr, "load: an echo of %zu bytes, not %zu\n", event->n, load.size);
    exit(1);
  }
  if (load.json && memcmp(event->bytes, load.texts[c->due++ % JSON_KINDS], JSON_SIZE) != 0) die("another echo");
  if (at >= load.from && at < load.until) {
    load.messages++;
    if (load.sample_count < SAMPLES) load.samples[load.sample_count++] = (float)((at - c->sent[c->first]) * 1e6);
  }
  send_one(c, c->first);
  c->first = (c->first + 1) % (unsigned)load.depth;
}

static void feed(client *c, unsigned char *bytes, size_t n) {
  lw_event event;
  lw_session_feed(&c->session, bytes, n);
  while (lw_session_next(&c->session, &event)) {
    if (event.kind == LW_EVENT_MESSAGE) echoed(c, &event);
    else if (event.kind == LW_EVENT_PING) load.pings++;
    else if (event.kind == LW_EVENT_CLOSE || event.kind == LW_EVENT_FAILURE) {
      fprintf(stderr, "load: the server closed: %d\n", event.code);
      exit(1);
    }
  }
}

/* What was agreed on must be what was asked for. */
static void extend(client *c, lw_slice extensions) {
  lw_deflate_params params;
  lw_deflate_way way = load.options.wishes[0].client;
  if (lw_deflate_accept(&params, extensions, &load.options) < 0 || !params.agreed || params.ours.bits != way.bits ||
      params.theirs.bits != way.bits || params.ours.fresh != way.fresh || params.theirs.fresh != way.fresh)
    die("no compression, or another");
  if (lw_session_extend(&c->session, &load.shelf, &load.options, &params) < 0) die("memory");
}

static void shake(client *c, const unsigned char *bytes, size_t n) {
  lw_http_field fields[64];
  lw_http_head head = {.fields = fields, .max_fields = 64};
  lw_handshake_offer offer = {.protocols = NULL};
  lw_slice protocol, extensions;
  size_t scanned = 0;
  long size;
  if (n > sizeof c->head - c->head_used) die("head");
  memcpy(c->head + c->head_used, bytes, n);
  c->head_used += n;
  size = lw_http_end((unsigned char *)c->head, c->head_used, sizeof c->head, &scanned);
  if (size == 0) return;
  if (size < 0 || lw_http_response(&head, (unsigned char *)c->head, (size_t)size) < 0 ||
      lw_handshake_response(&head, &offer, c->key, &protocol, &extensions) < 0)
    die("handshake");
  if (load.deflate) extend(c, extensions);
  start(c);
}

static void ready(client *c, unsigned events) {
  ssize_t got;
  if (events & EPOLLOUT) flush(c);
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  do {
    got = read_some(c);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) die("the server ended a connection");
    if (c->open) feed(c, load.receive, (size_t)got);
    else shake(c, load.receive, (size_t)got);
    flush(c);
  } while (c->ssl && SSL_has_pending(c->ssl)); /* OpenSSL has it, so the system will not tell */
}

/* The handshake is done at once: the descriptor blocks until later. */
static void cover(client *c) {
  if (!(c->ssl = SSL_new(load.tls)) || SSL_set_fd(c->ssl, c->fd) != 1 || SSL_connect(c->ssl) != 1) die("TLS");
}

static void prepare_tls(void) {
  if (!(load.tls = SSL_CTX_new(TLS_client_method())) || SSL_CTX_set_ciphersuites(load.tls, CIPHER) != 1) die("TLS");
  SSL_CTX_set_min_proto_version(load.tls, TLS1_3_VERSION);
  SSL_CTX_set_mode(load.tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
}

static void connect_one(client *c, const lw_handshake_offer *offer) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(offer->url->port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  int on = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (load.tls) cover(c);
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  c->sent = calloc((size_t)load.depth + 1, sizeof *c->sent);
  lw_session_init(&c->session, LW_CLIENT, &load.limits, &load.pool, &load.entropy);
  if (!c->sent || lw_handshake_key(c->key, &load.entropy) < 0 ||
      lw_handshake_request(&c->session.out.ready, &load.pool, offer, c->key) < 0)
    die("request");
  epoll_ctl(load.poller, EPOLL_CTL_ADD, c->fd, &event);
  flush(c);
}

static void turn(double until) {
  struct epoll_event events[256];
  double at;
  while ((at = now()) < until) {
    int count = epoll_wait(load.poller, events, 256, (int)((until - at) * 1000) + 1);
    for (int i = 0; i < count; i++) ready(events[i].data.ptr, events[i].events);
  }
}

static int compare(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static double percentile(double p) {
  size_t i = (size_t)(p * (double)load.sample_count);
  if (load.sample_count == 0) return 0;
  return (double)load.samples[i < load.sample_count ? i : load.sample_count - 1];
}

/* Opened, and then nothing: what do they cost? */
static void measure_idle(client *clients, const lw_handshake_offer *offer, double seconds) {
  double memory = 0;
  size_t opened = 0;
  cpu used;
  for (size_t i = 0; i < load.count; i++) {
    connect_one(&clients[i], offer);
    if (i % 64 == 63) turn(now() + 0.001);
    if (i == load.count / 100) { /* the first hundredth warms the server up */
      turn(now() + WARM_UP);
      memory = server_memory();
    }
  }
  turn(now() + 2 * WARM_UP);
  for (size_t i = 0; i < load.count; i++) opened += (size_t)clients[i].open;
  if (opened != load.count) {
    fprintf(stderr, "load: only %zu of %zu connections opened\n", opened, load.count);
    exit(1);
  }
  memory = (server_memory() - memory) / (double)(load.count - load.count / 100 - 1);
  load.pings = 0;
  used = server_cpu();
  turn(now() + seconds);
  used = cpu_since(used);
  printf("%.0f %.0f %.0f %.0f\n", memory, used.user * 1e3, used.system * 1e3, (double)load.pings);
}

/* The words in front: how many. */
static int read_words(int argc, char **argv) {
  int i = 1;
  if (i < argc && strcmp(argv[i], "tls") == 0) {
    prepare_tls();
    i++;
  }
  if (i == argc || argv[i][0] < 'a') return i - 1;
  load.json = 1;
  load.deflate = strcmp(argv[i], "json") != 0;
  json_make(load.texts);
  lw_deflate_defaults(&load.options);
  load.options.level = 6;
  if (strcmp(argv[i], "fresh") == 0) load.options.wishes[0].client.fresh = load.options.wishes[0].server.fresh = 1;
  return i;
}

int main(int argc, char **argv) {
  char text[64], extensions[LW_DEFLATE_OFFER];
  struct rlimit descriptors;
  lw_url url;
  lw_handshake_offer offer = {.url = &url};
  client *clients;
  double seconds;
  cpu used;
  int words = read_words(argc, argv);
  argc -= words;
  argv += words;
  if (argc != 7 && argc != 5) {
    fprintf(stderr, "usage: load [tls] [json | deflate | fresh] PORT PID CONNECTIONS [SIZE DEPTH] SECONDS\n");
    return 2;
  }
  snprintf(text, sizeof text, "ws://127.0.0.1:%s/", argv[1]);
  if (lw_url_parse(&url, text, strlen(text)) < 0) die("url");
  load.pid = atol(argv[2]);
  load.count = (size_t)atol(argv[3]);
  load.size = load.json ? JSON_SIZE : argc == 7 ? (size_t)atol(argv[4]) : 0;
  load.depth = argc == 7 ? atoi(argv[5]) : 0;
  seconds = atof(argv[argc - 1]);
  getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  setrlimit(RLIMIT_NOFILE, &descriptors);
  if (load.deflate) {
    lw_deflate_offer(extensions, &load.options);
    offer.extensions = extensions;
  }
  load.limits = (lw_limits){.max_payload = 1 << 30, .max_fragments = 1 << 20};
  load.poller = epoll_create1(EPOLL_CLOEXEC);
  load.samples = malloc(SAMPLES * sizeof *load.samples);
  load.message = malloc(load.size + 1);
  clients = calloc(load.count, sizeof *clients);
  if (!clients || !load.samples || !load.message) die("memory");
  memset(load.message, 'm', load.size);
  load.from = load.until = now() + 1e9;
  if (argc == 5) {
    measure_idle(clients, &offer, seconds);
    return 0;
  }
  for (size_t i = 0; i < load.count; i++) {
    clients[i].due = clients[i].next = (unsigned)i * JSON_APART;
    connect_one(&clients[i], &offer);
  }
  turn(now() + WARM_UP);
  used = server_cpu();
  load.from = now();
  load.until = load.from + seconds;
  turn(load.until);
  used = cpu_since(used);
  qsort(load.samples, load.sample_count, sizeof *load.samples, compare);
  printf("%.0f %.3f %.0f %.0f %.0f\n", (double)load.messages / seconds,
         load.messages ? (used.user + used.system) * 1e6 / (double)load.messages : 0.0, percentile(0.5), percentile(0.99), percentile(1));
  return 0;
}
