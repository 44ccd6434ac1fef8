/*
** handshake.c -- the upgrade, asked and answered (RFC 6455, section 4).
*/
#include "handshake.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "pen.h"

/* --- the key --- */

int lw_handshake_accept(char accept[LW_ACCEPT_SIZE], const char key[LW_KEY_SIZE]) {
  static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* 1.3 */
  char text[LW_KEY_SIZE + sizeof guid - 1];
  unsigned char digest[LW_SHA1_SIZE];
  memcpy(text, key, LW_KEY_SIZE);
  memcpy(text + LW_KEY_SIZE, guid, sizeof guid - 1);
  int err = lw_sha1(digest, text, sizeof text);
  if (err == 0) lw_base64_encode(accept, digest, sizeof digest);
  return err;
}

int lw_handshake_key(char key[LW_KEY_SIZE], lw_entropy *entropy) {
  unsigned char nonce[16];
  int err = lw_entropy_take(entropy, nonce, sizeof nonce);
  if (err == 0) lw_base64_encode(key, nonce, sizeof nonce);
  return err;
}

/* --- the client asks --- */

static void put_request(lw_pen *p, const lw_handshake_offer *offer, const char key[LW_KEY_SIZE]) {
  lw_pen_put(p, "GET ");
  lw_pen_put(p, offer->url->resource);
  lw_pen_put(p, " HTTP/1.1\r\n");
  lw_pen_field(p, "Host", offer->url->authority);
  lw_pen_put(p, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ");
  lw_pen_bytes(p, key, LW_KEY_SIZE);
  lw_pen_put(p, "\r\nSec-WebSocket-Version: 13\r\n");
  lw_pen_field(p, "Origin", offer->origin);
  lw_pen_field(p, "Sec-WebSocket-Protocol", offer->protocols);
  lw_pen_field(p, "Sec-WebSocket-Extensions", offer->extensions);
  lw_pen_field(p, "User-Agent", offer->user_agent);
  lw_pen_basic(p, "Authorization", offer->url->user, offer->url->password);
  if (offer->headers) lw_pen_put(p, offer->headers);
  lw_pen_put(p, "\r\n");
}

int lw_handshake_request(lw_buf *out, lw_pool *pool, const lw_handshake_offer *offer,
                         const char key[LW_KEY_SIZE]) {
  lw_pen p = {0};
  put_request(&p, offer, key);
  p = lw_pen_reserve(out, pool, p);
  if (!p.to) return LW_ERR_MEMORY;
  put_request(&p, offer, key);
  lw_buf_commit(out, p.n, 0);
  return 0;
}

/* --- the grammar of lists --- */

static lw_slice text_slice(const char *text) {
  return (lw_slice){(const unsigned char *)text, strlen(text)};
}

static int is_space(unsigned char c) {
  return c == ' ' || c == '\t';
}

static int same(lw_slice a, lw_slice b) {
  return a.n == b.n && memcmp(a.bytes, b.bytes, a.n) == 0;
}

static int is_token(lw_slice slice) {
  return lw_http_is_token((const char *)slice.bytes, slice.n);
}

static void skip(lw_slice *rest, size_t n) {
  rest->bytes += n;
  rest->n -= n;
}

static void skip_spaces(lw_slice *rest) {
  while (rest->n > 0 && is_space(rest->bytes[0]))
    skip(rest, 1);
}

/* Passes over this character, and the spaces around it. 1 if it was there. */
static int skip_char(lw_slice *rest, char c) {
  skip_spaces(rest);
  if (rest->n == 0 || rest->bytes[0] != (unsigned char)c) return 0;
  skip(rest, 1);
  skip_spaces(rest);
  return 1;
}

static int skip_token(lw_slice *rest) {
  size_t n = 0;
  while (n < rest->n && lw_http_is_token((const char *)rest->bytes + n, 1))
    n++;
  skip(rest, n);
  return n > 0;
}

/* "the value after quoted-string unescaping MUST conform to the 'token' ABNF" (9.1). */
static int skip_quoted(lw_slice *rest) {
  size_t n = 1, tokens = 0;
  for (; n < rest->n && rest->bytes[n] != '"'; n++, tokens++) {
    if (rest->bytes[n] == '\\' && ++n == rest->n) return 0;
    if (!lw_http_is_token((const char *)rest->bytes + n, 1)) return 0;
  }
  if (n == rest->n || tokens == 0) return 0;
  skip(rest, n + 1);
  return 1;
}

/* extension = token *( ";" token [ "=" ( token | quoted-string ) ] ) (9.1). */
static int skip_extension(lw_slice *rest) {
  if (!skip_token(rest)) return 0;
  while (skip_char(rest, ';')) {
    if (!skip_token(rest)) return 0;
    if (!skip_char(rest, '=')) continue;
    if (rest->n > 0 && rest->bytes[0] == '"' ? !skip_quoted(rest) : !skip_token(rest)) return 0;
  }
  return 1;
}

/* extension-list = 1#extension (9.1). */
static int is_extension_list(lw_slice value) {
  do {
    if (!skip_extension(&value)) return 0;
  } while (skip_char(&value, ','));
  return value.n == 0;
}

/* --- the client judges --- */

/* The one field of that name: 1; none: 0; several: -1. */
static int only_field(const lw_http_head *head, const char *name, lw_slice *value) {
  const lw_http_field *field = lw_http_field_at(head, name, 0);
  if (!field) return 0;
  *value = field->value;
  return lw_http_field_at(head, name, 1) ? -1 : 1;
}

static int check_accept(const lw_http_head *head, const char key[LW_KEY_SIZE]) {
  char accept[LW_ACCEPT_SIZE];
  lw_slice value;
  int err = lw_handshake_accept(accept, key);
  if (err < 0) return err;
  if (only_field(head, "Sec-WebSocket-Accept", &value) != 1 || value.n != sizeof accept ||
      memcmp(value.bytes, accept, sizeof accept) != 0)
    return LW_ERR_ACCEPT;
  return 0;
}

/* One of those asked for; the standard fails a connection that got none of them, too. */
static int check_protocol(const lw_http_head *head, const char *offered, lw_slice *chosen) {
  lw_slice value, rest = text_slice(offered ? offered : ""), element;
  int found = only_field(head, "Sec-WebSocket-Protocol", &value);
  if (found == 0) return rest.n == 0 ? 0 : LW_ERR_PROTOCOL;
  while (found == 1 && lw_http_list_next(&rest, &element))
    if (same(element, value)) {
      *chosen = value;
      return 0;
    }
  return LW_ERR_PROTOCOL;
}

/* Several lines cannot be right either: one extension at most is ever offered. */
static int check_extensions(const lw_http_head *head, lw_slice *extensions) {
  lw_slice value = text_slice("");
  if (only_field(head, "Sec-WebSocket-Extensions", &value) < 0) return LW_ERR_EXTENSION;
  *extensions = value;
  return value.n == 0 || is_extension_list(value) ? 0 : LW_ERR_EXTENSION_LIST;
}

int lw_handshake_response(const lw_http_head *head, const lw_handshake_offer *offer,
                          const char key[LW_KEY_SIZE], lw_slice *protocol, lw_slice *extensions) {
  lw_slice upgrade;
  int err;
  *protocol = *extensions = text_slice("");
  if (head->status != 101) return LW_ERR_STATUS;
  if (head->minor < 1) return LW_ERR_HTTP_VERSION;
  if (only_field(head, "Upgrade", &upgrade) != 1 || !lw_slice_is(upgrade, "websocket"))
    return LW_ERR_UPGRADE;
  if (!lw_http_has_token(head, "Connection", "Upgrade")) return LW_ERR_CONNECTION;
  if ((err = check_accept(head, key)) < 0) return err;
  if ((err = check_extensions(head, extensions)) < 0) return err;
  return check_protocol(head, offer->protocols, protocol);
}

/* --- the server judges --- */

/* uri-host [ ":" port ] (RFC 9110, 7.2), as far as its characters go. */
static int is_host(lw_slice value) {
  for (size_t i = 0; i < value.n; i++)
    if (value.bytes[i] <= 0x20 || value.bytes[i] >= 0x7f ||
        strchr("\"#/<>?@\\^`{|}", value.bytes[i]))
      return 0;
  return value.n > 0;
}

/* "0" is no body; what is no number might be one. */
static int has_body(const lw_http_head *head) {
  const lw_http_field *field;
  if (lw_http_field_at(head, "Transfer-Encoding", 0)) return 1;
  for (size_t nth = 0; (field = lw_http_field_at(head, "Content-Length", nth)); nth++)
    if (!lw_slice_equals(field->value, "0")) return 1;
  return 0;
}

static int check_http(const lw_http_head *head) {
  lw_slice host;
  if (head->minor < 1) return LW_ERR_HTTP_VERSION;
  if (only_field(head, "Host", &host) != 1 || !is_host(host)) /* RFC 9112, 3.2 */
    return LW_ERR_HOST;
  if (head->authority.n > 0 && !is_host(head->authority)) return LW_ERR_HOST;
  return has_body(head) ? LW_ERR_BODY : 0;
}

/* "when decoded, is 16 bytes in length" (4.2.1, item 5). */
static int check_key(const lw_http_head *head, char key[LW_KEY_SIZE]) {
  unsigned char nonce[LW_KEY_SIZE / 4 * 3];
  lw_slice value;
  if (only_field(head, "Sec-WebSocket-Key", &value) != 1 || value.n != LW_KEY_SIZE)
    return LW_ERR_KEY;
  memcpy(key, value.bytes, LW_KEY_SIZE);
  return lw_base64_decode(nonce, key, LW_KEY_SIZE) == 16 ? 0 : LW_ERR_KEY;
}

/* All subprotocols offered, item by item over all lines. Begins as {head}. */
typedef struct walk {
  const lw_http_head *head;
  size_t line;
  lw_slice rest;
  int more; /* `rest` has another item, maybe an empty one */
} walk;

/* The next item without the space around it: 1, or 0 at the end. */
static int next_item(walk *w, lw_slice *item) {
  if (!w->more) {
    const lw_http_field *field = lw_http_field_at(w->head, "Sec-WebSocket-Protocol", w->line++);
    if (!field) return 0;
    w->rest = field->value;
  }
  skip_spaces(&w->rest);
  const unsigned char *comma = memchr(w->rest.bytes, ',', w->rest.n);
  *item = w->rest;
  w->more = comma != NULL;
  if (comma) {
    item->n = (size_t)(comma - w->rest.bytes);
    skip(&w->rest, item->n + 1);
  }
  while (item->n > 0 && is_space(item->bytes[item->n - 1]))
    item->n--;
  return 1;
}

/* "non-empty strings ... MUST all be unique" (4.1, item 10); the grammar is 1#token (11.3.4). */
static int check_protocols(const lw_http_head *head, size_t *count) {
  lw_slice seen[LW_PROTOCOLS_MAX], item;
  walk w = {.head = head};
  for (*count = 0; next_item(&w, &item); seen[(*count)++] = item) {
    if (!is_token(item) || *count == LW_PROTOCOLS_MAX) return LW_ERR_PROTOCOL_LIST;
    for (size_t i = 0; i < *count; i++)
      if (same(seen[i], item)) return LW_ERR_PROTOCOL_LIST;
  }
  return 0;
}

static int check_offers(const lw_http_head *head) {
  const lw_http_field *field;
  for (size_t nth = 0; (field = lw_http_field_at(head, "Sec-WebSocket-Extensions", nth)); nth++)
    if (!is_extension_list(field->value)) return LW_ERR_EXTENSION_LIST;
  return 0;
}

int lw_handshake_judge(const lw_http_head *head, lw_handshake_ask *ask) {
  lw_slice version;
  *ask = (lw_handshake_ask){0};
  int err = check_http(head);
  if (err < 0) return err;
  ask->upgrade = lw_http_has_token(head, "Upgrade", "websocket") &&
                 lw_http_has_token(head, "Connection", "Upgrade");
  if (!ask->upgrade) return 0;
  if (!lw_slice_equals(head->method, "GET")) return LW_ERR_METHOD;
  if (only_field(head, "Sec-WebSocket-Version", &version) != 1 || !lw_slice_equals(version, "13"))
    return LW_ERR_WS_VERSION;
  if ((err = check_key(head, ask->key)) < 0) return err;
  if ((err = check_protocols(head, &ask->protocol_count)) < 0) return err;
  return check_offers(head);
}

int lw_handshake_protocol(const lw_http_head *head, size_t nth, lw_slice *protocol) {
  walk w = {.head = head};
  do {
    if (!next_item(&w, protocol)) return 0;
  } while (nth-- > 0);
  return 1;
}

int lw_handshake_status(int err) {
  switch (err) {
  case LW_ERR_HTTP_VERSION:
    return 505;
  case LW_ERR_HTTP_TARGET:
    return 414;
  case LW_ERR_HTTP_COUNT:
  case LW_ERR_HTTP_SIZE:
    return 431;
  case LW_ERR_METHOD:
    return 405;
  case LW_ERR_UPGRADE:
  case LW_ERR_CONNECTION:
  case LW_ERR_WS_VERSION:
    return 426;
  case LW_ERR_ORIGIN:
    return 403;
  case LW_ERR_RESOURCE:
    return 404;
  case LW_ERR_BUSY:
  case LW_ERR_CLOSED:
    return 503;
  default:
    break;
  }
  /* the request's other faults, and what went wrong here */
  return err <= LW_ERR_HTTP_START && err > LW_ERR_EOF ? 400 : 500;
}

/* --- same origin --- */

typedef struct place {
  lw_slice host; /* an IPv6 address with its brackets */
  unsigned port;
} place;

static int read_port(lw_slice digits, unsigned *port) {
  *port = 0;
  for (size_t i = 0; i < digits.n; i++) {
    if (digits.bytes[i] < '0' || digits.bytes[i] > '9' || *port > 65535) return 0;
    *port = *port * 10 + digits.bytes[i] - '0';
  }
  return 1;
}

/* host [ ":" [ port ] ]; 0 if it is something else. */
static int read_place(place *p, lw_slice text, unsigned standard_port) {
  int bracket = text.n > 0 && text.bytes[0] == '[';
  const unsigned char *mark = text.n > 0 ? memchr(text.bytes, bracket ? ']' : ':', text.n) : NULL;
  p->host = text;
  p->port = standard_port;
  if (bracket && !mark) return 0;
  if (mark) p->host.n = (size_t)(mark - text.bytes) + (bracket ? 1 : 0);
  skip(&text, p->host.n);
  if (text.n > 0 && text.bytes[0] != ':') return 0;
  if (text.n > 1) {
    skip(&text, 1);
    return p->host.n > 0 && read_port(text, &p->port);
  }
  return p->host.n > 0;
}

static unsigned char lower(unsigned char c) {
  return c >= 'A' && c <= 'Z' ? (unsigned char)(c + ('a' - 'A')) : c;
}

static int same_place(const place *a, const place *b) {
  if (a->port != b->port || a->host.n != b->host.n) return 0;
  for (size_t i = 0; i < a->host.n; i++)
    if (lower(a->host.bytes[i]) != lower(b->host.bytes[i])) return 0;
  return 1;
}

/* Cuts the scheme off an origin and gives its default port; 0 for a scheme that is not of the web. */
static unsigned cut_scheme(lw_slice *origin) {
  static const struct {
    const char *scheme;
    unsigned port;
  } schemes[] = {{"http://", 80}, {"https://", 443}, {"ws://", 80}, {"wss://", 443}};
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
    size_t n = strlen(schemes[i].scheme);
    if (origin->n >= n && lw_slice_is((lw_slice){origin->bytes, n}, schemes[i].scheme)) {
      skip(origin, n);
      return schemes[i].port;
    }
  }
  return 0;
}

int lw_handshake_same_origin(const lw_http_head *head) {
  lw_slice origin, host = head->authority;
  place asking, asked;
  int found = only_field(head, "Origin", &origin);
  if (found == 0) /* not a browser */
    return 1;
  if (found < 0 || (host.n == 0 && only_field(head, "Host", &host) != 1)) return 0;
  unsigned standard_port = cut_scheme(&origin);
  return standard_port > 0 && read_place(&asking, origin, standard_port) &&
         read_place(&asked, host, standard_port) && same_place(&asking, &asked);
}

int lw_handshake_is_origin(const char *text) {
  const char *host = strstr(text, "://"), *port;
  if (strcmp(text, "null") == 0) return 1;
  if (!host || host == text || !host[3]) return 0;
  for (const char *at = text; *at; at++)
    if (*at <= ' ' || *at > '~') return 0; /* a host outside ASCII is sent in its xn-- form */
  host += 3;
  if (strpbrk(host, "/?#@\\*")) return 0;
  port = strchr(*host == '[' ? host + strcspn(host, "]") : host, ':');
  if (!port) return 1;
  if (port == host || !port[1] || port[1 + strspn(port + 1, "0123456789")]) return 0;
  return !(strncmp(text, "https:", 6) == 0 && strcmp(port, ":443") == 0) &&
         !(strncmp(text, "http:", 5) == 0 && strcmp(port, ":80") == 0);
}

/* --- the server answers --- */

static void put_switch(lw_pen *p, const char accept[LW_ACCEPT_SIZE], lw_slice protocol,
                       const char *extensions, const char *headers) {
  lw_pen_put(p, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Accept: ");
  lw_pen_bytes(p, accept, LW_ACCEPT_SIZE);
  lw_pen_put(p, "\r\n");
  if (protocol.n > 0) {
    lw_pen_put(p, "Sec-WebSocket-Protocol: ");
    lw_pen_bytes(p, protocol.bytes, protocol.n);
    lw_pen_put(p, "\r\n");
  }
  lw_pen_field(p, "Sec-WebSocket-Extensions", extensions);
  if (headers) lw_pen_put(p, headers);
  lw_pen_put(p, "\r\n");
}

int lw_handshake_switch(lw_buf *out, lw_pool *pool, const char key[LW_KEY_SIZE], lw_slice protocol,
                        const char *extensions, const char *headers) {
  char accept[LW_ACCEPT_SIZE];
  int err = lw_handshake_accept(accept, key);
  if (err < 0) return err;
  lw_pen p = {0};
  put_switch(&p, accept, protocol, extensions, headers);
  p = lw_pen_reserve(out, pool, p);
  if (!p.to) return LW_ERR_MEMORY;
  put_switch(&p, accept, protocol, extensions, headers);
  lw_buf_commit(out, p.n, 0);
  return 0;
}

/* RFC 9110, 8.6: no Content-Length where there cannot be content. */
static int has_content(int status) {
  return status >= 200 && status != 204 && status != 304;
}

static void put_head(lw_pen *p, int status, const char *headers, size_t n) {
  char text[64];
  snprintf(text, sizeof text, "HTTP/1.1 %d ", status);
  lw_pen_put(p, text);
  lw_pen_put(p, lw_http_reason(status));
  lw_pen_put(p, "\r\n");
  if (status == 426) /* RFC 9110, 15.5.22, and RFC 6455, 4.4 */
    lw_pen_put(p, "Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
  else
    lw_pen_put(p, "Connection: close\r\n");
  if (status == 405) /* RFC 9110, 15.5.6 */
    lw_pen_put(p, "Allow: GET\r\n");
  if (has_content(status)) {
    snprintf(text, sizeof text, "Content-Length: %zu\r\n", n);
    lw_pen_put(p, text);
  }
  if (headers) lw_pen_put(p, headers);
  lw_pen_put(p, "\r\n");
}

int lw_handshake_respond(lw_buf *out, lw_pool *pool, int status, const char *headers,
                         const void *body, size_t n, int head_only) {
  size_t sent = has_content(status) && !head_only ? n : 0;
  lw_pen p = {0};
  put_head(&p, status, headers, n);
  if (sent > SIZE_MAX - p.n) return LW_ERR_MEMORY;
  p.n += sent;
  p = lw_pen_reserve(out, pool, p);
  if (!p.to) return LW_ERR_MEMORY;
  put_head(&p, status, headers, n);
  lw_pen_bytes(&p, body, sent);
  lw_buf_commit(out, p.n, 0);
  return 0;
}
