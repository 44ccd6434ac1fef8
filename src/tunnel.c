/*
** tunnel.c -- the way through a proxy, asked and answered: bytes in, verdict out.
*/
#include "tunnel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "ip.h"
#include "pen.h"
#include "text.h"

#define REASON_SHOWN 80 /* bytes of a reason phrase: it stands in a message of one line */

/* RFC 1928 and RFC 1929 */
enum {
  VERSION = 5,
  PASSWORD_VERSION = 1,
  METHOD_NONE = 0,
  METHOD_PASSWORD = 2,
  METHOD_REFUSED = 0xff,
  COMMAND_CONNECT = 1,
  ADDRESS_IP4 = 1,
  ADDRESS_NAME = 3,
  ADDRESS_IP6 = 4,
  NAME_MAX_SIZE = 255,
  ANSWER_MAX = 4 + 1 + NAME_MAX_SIZE + 2
};

/* What the proxy's next bytes are. */
typedef enum stage {
  HEAD,     /* the answer to CONNECT */
  METHOD,   /* SOCKS5: the way to sign in that it chose */
  SIGNED,   /* SOCKS5: what it says to the password */
  REPLY     /* SOCKS5: what came of the request */
} stage;

struct lw_tunnel {
  lw_tunnel_options options;
  stage stage;
  unsigned char answer[ANSWER_MAX]; /* SOCKS5: the answer so far */
  size_t answered;
  unsigned char *head; /* HTTP: the answer so far */
  size_t used, capacity, scanned;
  size_t skipped; /* of interim answers before it */
  char why[240];
};

lw_tunnel *lw_tunnel_new(const lw_tunnel_options *options) {
  lw_tunnel *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  t->options = *options;
  t->stage = options->proxy->kind == LW_PROXY_SOCKS ? METHOD : HEAD;
  return t;
}

void lw_tunnel_free(lw_tunnel *t) {
  if (!t) return;
  free(t->head);
  free(t);
}

const char *lw_tunnel_why(const lw_tunnel *t) {
  return t->why[0] ? t->why : NULL;
}

/* --- CONNECT --- */

/* The authority form, always with a port (RFC 9112, 3.2.3). */
static void put_target(lw_pen *p, const lw_tunnel_options *o) {
  int bracket = strchr(o->host, ':') != NULL;
  char port[8];
  snprintf(port, sizeof port, ":%u", o->port);
  if (bracket) lw_pen_put(p, "[");
  lw_pen_put(p, o->host);
  if (bracket) lw_pen_put(p, "]");
  lw_pen_put(p, port);
}

static void put_connect(lw_pen *p, const lw_tunnel_options *o) {
  lw_pen_put(p, "CONNECT ");
  put_target(p, o);
  lw_pen_put(p, " HTTP/1.1\r\nHost: ");
  put_target(p, o);
  lw_pen_put(p, "\r\n");
  lw_pen_basic(p, "Proxy-Authorization", o->proxy->user, o->proxy->password);
  lw_pen_field(p, "User-Agent", o->user_agent);
  lw_pen_put(p, "\r\n");
}

static int ask_connect(const lw_tunnel *t, lw_buf *out, lw_pool *pool) {
  lw_pen p = {0};
  put_connect(&p, &t->options);
  p = lw_pen_reserve(out, pool, p);
  if (!p.to) return LW_ERR_MEMORY;
  put_connect(&p, &t->options);
  lw_buf_commit(out, p.n, 0);
  return 0;
}

/* 0 or LW_ERR_MEMORY. */
static int keep(lw_tunnel *t, const unsigned char *bytes, size_t n) {
  if (n > t->capacity - t->used) {
    size_t capacity = t->capacity * 2 > t->used + n ? t->capacity * 2 : t->used + n;
    unsigned char *grown = realloc(t->head, capacity);
    if (!grown) return LW_ERR_MEMORY;
    t->head = grown;
    t->capacity = capacity;
  }
  if (n > 0) memcpy(t->head + t->used, bytes, n);
  t->used += n;
  return 0;
}

/* What is wrong with the head of a message is told as what is wrong with a proxy. */
static int proxy_error(int err) {
  switch (err) {
  case LW_ERR_HTTP_SIZE:
  case LW_ERR_HTTP_TARGET: /* that large, and not even a first line */
  case LW_ERR_HTTP_COUNT:
    return LW_ERR_PROXY_SIZE;
  default:
    return LW_ERR_PROXY_HTTP;
  }
}

/* The proxy's own words: bytes that a terminal would take for something else are not shown. */
static void quote(char *to, lw_slice reason) {
  size_t n = reason.n < REASON_SHOWN ? reason.n : REASON_SHOWN;
  for (size_t i = 0; i < n; i++)
    to[i] = reason.bytes[i] >= 0x20 && reason.bytes[i] < 0x7f ? (char)reason.bytes[i] : '?';
  to[n] = '\0';
}

static int refused(lw_tunnel *t, const lw_http_head *head) {
  const char *more = "";
  char reason[REASON_SHOWN + 1];
  quote(reason, head->reason);
  if (reason[0] == '\0') snprintf(reason, sizeof reason, "%s", lw_http_reason(head->status));
  if (head->status == 407)
    more = t->options.proxy->user ? ": it does not accept this user name and password"
                                  : ": it wants a user name and a password";
  snprintf(t->why, sizeof t->why, "the proxy answered %d%s%s%s", head->status, reason[0] ? " " : "",
           reason, more);
  return LW_ERR_PROXY_STATUS;
}

/* The answer's head is whole: 1 if it is any 2xx, 0 if it is only interim, or what is wrong. */
static int judge_head(lw_tunnel *t, size_t size) {
  lw_http_field fields[LW_TUNNEL_MAX_FIELDS];
  lw_http_head head = {.fields = fields, .max_fields = LW_TUNNEL_MAX_FIELDS};
  int err = lw_http_response(&head, t->head, size);
  if (err < 0) return proxy_error(err);
  if (head.status >= 200 && head.status < 300) return 1;
  return head.status < 200 && head.status != 101 ? 0 : refused(t, &head);
}

static void skip_head(lw_tunnel *t, size_t size) {
  memmove(t->head, t->head + size, t->used - size);
  t->used -= size;
  t->skipped += size;
  t->scanned = 0;
}

/* Content-Length and Transfer-Encoding of a 2xx mean nothing (RFC 9110, 9.3.6). */
static int feed_head(lw_tunnel *t, const unsigned char *bytes, size_t n) {
  size_t room = LW_TUNNEL_MAX_SIZE + 1 - t->skipped - t->used; /* one more shows that it is too much */
  if (keep(t, bytes, n < room ? n : room) < 0) return LW_ERR_MEMORY;
  for (;;) {
    long size = lw_http_end(t->head, t->used, LW_TUNNEL_MAX_SIZE - t->skipped, &t->scanned);
    if (size <= 0) return size < 0 ? proxy_error((int)size) : 0;
    int got = judge_head(t, (size_t)size);
    if (got == 0) {
      skip_head(t, (size_t)size);
      continue;
    }
    return got > 0 && (size_t)size < t->used ? LW_ERR_PROXY_EXTRA : got;
  }
}

/* --- SOCKS5 --- */

/* The ways to sign in: a password is only offered if there is one. */
static int greet(const lw_tunnel *t, lw_buf *out, lw_pool *pool) {
  static const unsigned char plain[] = {VERSION, 1, METHOD_NONE};
  static const unsigned char both[] = {VERSION, 2, METHOD_NONE, METHOD_PASSWORD};
  if (strlen(t->options.host) > NAME_MAX_SIZE) return LW_ERR_URL_HOST_SIZE;
  return t->options.proxy->user ? lw_buf_append(out, pool, both, sizeof both)
                                : lw_buf_append(out, pool, plain, sizeof plain);
}

/* A length in one byte, and so many bytes. lw_proxy_parse and greet have seen to it that they fit. */
static size_t put_counted(unsigned char *to, const char *text) {
  size_t n = strlen(text);
  to[0] = (unsigned char)n;
  memcpy(to + 1, text, n);
  return n + 1;
}

static int sign_in(const lw_tunnel *t, lw_buf *out, lw_pool *pool) {
  unsigned char bytes[1 + 2 * (1 + NAME_MAX_SIZE)] = {PASSWORD_VERSION};
  size_t n = 1;
  n += put_counted(bytes + n, t->options.proxy->user);
  n += put_counted(bytes + n, t->options.proxy->password);
  return lw_buf_append(out, pool, bytes, n);
}

static int request(const lw_tunnel *t, lw_buf *out, lw_pool *pool) {
  unsigned char bytes[ANSWER_MAX] = {VERSION, COMMAND_CONNECT, 0, ADDRESS_NAME};
  size_t n = 4;
  lw_ip ip;
  if (lw_ip_read(&ip, (lw_text){t->options.host, strlen(t->options.host)})) {
    bytes[3] = ip.size == 4 ? ADDRESS_IP4 : ADDRESS_IP6;
    memcpy(bytes + n, ip.bytes, ip.size);
    n += ip.size;
  } else {
    n += put_counted(bytes + n, t->options.host);
  }
  bytes[n++] = (unsigned char)(t->options.port >> 8);
  bytes[n++] = (unsigned char)(t->options.port & 0xff);
  return lw_buf_append(out, pool, bytes, n);
}

/* On to the next answer, after whatever was queued for it. */
static int await(lw_tunnel *t, stage next, int err) {
  t->stage = next;
  t->answered = 0;
  return err;
}

static int judge_method(lw_tunnel *t, lw_buf *out, lw_pool *pool) {
  const unsigned char *a = t->answer;
  int user = t->options.proxy->user != NULL;
  if (a[0] != VERSION) return LW_ERR_PROXY_SOCKS;
  if (t->answered < 2) return 0;
  if (a[1] == METHOD_NONE) return await(t, REPLY, request(t, out, pool));
  if (a[1] == METHOD_PASSWORD && user) return await(t, SIGNED, sign_in(t, out, pool));
  if (a[1] == METHOD_REFUSED && !user) return LW_ERR_PROXY_AUTH;
  return LW_ERR_PROXY_METHOD;
}

static int judge_signed(lw_tunnel *t, lw_buf *out, lw_pool *pool) {
  const unsigned char *a = t->answer;
  if (a[0] != PASSWORD_VERSION) return LW_ERR_PROXY_SOCKS;
  if (t->answered < 2) return 0;
  return a[1] == 0 ? await(t, REPLY, request(t, out, pool)) : LW_ERR_PROXY_PASSWORD;
}

/* RFC 1928, 6 */
static int no_way(lw_tunnel *t, unsigned char reply) {
  static const char *const texts[] = {
      [1] = "general failure",       [2] = "not allowed by its rules",
      [3] = "network unreachable",   [4] = "host unreachable",
      [5] = "connection refused",    [6] = "it took too many hops (TTL expired)",
      [7] = "command not supported", [8] = "this kind of address is not supported",
  };
  if (reply < sizeof texts / sizeof *texts)
    snprintf(t->why, sizeof t->why, "the proxy answered: %s", texts[reply]);
  else
    snprintf(t->why, sizeof t->why, "the proxy answered with an error that SOCKS5 does not know (%d)", reply);
  return LW_ERR_PROXY_REPLY;
}

/* How long the reply is as far as one can tell; 0: nothing that SOCKS5 knows. */
static size_t reply_size(const lw_tunnel *t) {
  if (t->answered < 4) return 5;
  switch (t->answer[3]) {
  case ADDRESS_IP4: return 4 + 4 + 2;
  case ADDRESS_IP6: return 4 + 16 + 2;
  case ADDRESS_NAME: return t->answered < 5 ? 5 : (size_t)4 + 1 + t->answer[4] + 2;
  default: return 0;
  }
}

/* A refusal is one at its second byte: some proxies send no more. */
static int judge_reply(lw_tunnel *t) {
  if (t->answer[0] != VERSION) return LW_ERR_PROXY_SOCKS;
  if (t->answered >= 2 && t->answer[1] != 0) return no_way(t, t->answer[1]);
  size_t size = reply_size(t);
  if (size == 0) return LW_ERR_PROXY_SOCKS;
  return t->answered == size;
}

static int judge_answer(lw_tunnel *t, lw_buf *out, lw_pool *pool) {
  switch (t->stage) {
  case METHOD: return judge_method(t, out, pool);
  case SIGNED: return judge_signed(t, out, pool);
  default: return judge_reply(t);
  }
}

/* Byte by byte, so that how they are cut changes nothing. */
static int feed_socks(lw_tunnel *t, lw_buf *out, lw_pool *pool, const unsigned char *bytes, size_t n) {
  int got = 0;
  size_t i = 0;
  while (i < n && got == 0) {
    t->answer[t->answered++] = bytes[i++];
    got = judge_answer(t, out, pool);
  }
  return got > 0 && i < n ? LW_ERR_PROXY_EXTRA : got;
}

/* --- both --- */

int lw_tunnel_ask(lw_tunnel *t, lw_buf *out, lw_pool *pool) {
  return t->stage == HEAD ? ask_connect(t, out, pool) : greet(t, out, pool);
}

int lw_tunnel_feed(lw_tunnel *t, lw_buf *out, lw_pool *pool, const unsigned char *bytes, size_t n) {
  return t->stage == HEAD ? feed_head(t, bytes, n) : feed_socks(t, out, pool, bytes, n);
}

int lw_tunnel_end(lw_tunnel *t) {
  int silent = t->used == 0 && t->answered == 0 && (t->stage == HEAD || t->stage == METHOD);
  snprintf(t->why, sizeof t->why, "the proxy ended the connection %s",
           silent ? "without an answer" : "in the middle of its answer");
  return LW_ERR_PROXY_EOF;
}
