/*
** request.c -- a client's request, to a server.
**
** In pieces it must be judged as when it comes whole; its parts, written down again, must read
** the same; and the answer must be one that our own client takes.
*/
#include <stdio.h>
#include <string.h>

#include "forwarded.h"
#include "fuzz.h"
#include "upgrade.h"

FUZZ_BEGIN

#define ROOM 16384 /* a request, written again */

typedef struct setting {
  size_t max_size, max_fields;
  fuzz_cuts cuts;
} setting;

static void read_setting(setting *set, lw_slice *input) {
  static const size_t sizes[] = {4096, 64, 130, 300, 16384};
  static const size_t fields[] = {100, 1, 3, 6};
  set->max_size = FUZZ_CHOICE(input, sizes);
  set->max_fields = FUZZ_CHOICE(input, fields);
  set->cuts = fuzz_cuts_read(input);
}

/* --- a head's parts --- */

static void log_head(fuzz_log *log, const lw_http_head *head) {
  fuzz_log_slice(log, "method", head->method);
  fuzz_log_slice(log, "target", head->target);
  fuzz_log_slice(log, "authority", head->authority);
  fuzz_log_number(log, "minor", head->minor);
  for (size_t i = 0; i < head->count; i++) {
    fuzz_log_slice(log, "name", head->fields[i].name);
    fuzz_log_slice(log, "value", head->fields[i].value);
  }
}

static void log_ask(fuzz_log *log, const lw_upgrade *u) {
  lw_slice protocol;
  size_t count = 0;
  fuzz_log_number(log, "upgrade", u->ask.upgrade);
  if (!u->ask.upgrade) return;
  fuzz_log_bytes(log, "key", u->ask.key, LW_KEY_SIZE);
  for (; lw_handshake_protocol(&u->head, count, &protocol); count++) {
    EXPECT(lw_http_is_token((const char *)protocol.bytes, protocol.n), "a subprotocol that is no token");
    fuzz_log_slice(log, "protocol", protocol);
  }
  EXPECT(count == u->ask.protocol_count && count <= LW_PROTOCOLS_MAX, "another number of subprotocols");
}

/* Of a value that came: it may be sent again; and a browser's Origin, twice read, is one. */
static void check_origins(const lw_http_head *head) {
  for (size_t i = 0; i < head->count; i++) {
    lw_slice value = head->fields[i].value;
    char text[200];
    EXPECT(lw_http_is_value((const char *)value.bytes, value.n), "a value that came, and is none");
    if (value.n >= sizeof text || memchr(value.bytes, 0, value.n)) continue;
    if (value.n > 0) memcpy(text, value.bytes, value.n);
    text[value.n] = '\0';
    if (lw_handshake_is_origin(text)) EXPECT(strcmp(text, "null") == 0 || strstr(text, "://"), "an origin without a scheme");
  }
}

static void log_questions(fuzz_log *log, const lw_http_head *head) {
  lw_trusted trusted = {NULL, 0, 0};
  lw_forwarded client = {"", 0};
  int found;
  EXPECT(lw_trusted_add(&trusted, "10.0.0.0/8") == 0 && lw_trusted_add(&trusted, "unix") == 0, "proxies that are refused");
  found = lw_forwarded_client(&trusted, head, "10.0.0.1", &client);
  lw_trusted_clear(&trusted);
  fuzz_log_number(log, "forwarded", found);
  if (found) {
    lw_ip ip;
    EXPECT(lw_ip_read(&ip, (lw_text){client.address, strlen(client.address)}), "a client that has no address");
    EXPECT(client.port <= 65535, "a port that is none");
    fuzz_log_bytes(log, "client", client.address, strlen(client.address));
    fuzz_log_number(log, "port", client.port);
  }
  fuzz_log_number(log, "same origin", lw_handshake_same_origin(head));
  check_origins(head);
}

/* --- written again --- */

typedef struct text {
  unsigned char bytes[ROOM];
  size_t n;
} text;

static void put(text *to, const void *bytes, size_t n) {
  EXPECT(n <= sizeof to->bytes - to->n, "a head that has grown");
  if (n > 0) memcpy(to->bytes + to->n, bytes, n);
  to->n += n;
}

static void write_again(text *to, const lw_http_head *head) {
  char version[32];
  int n = snprintf(version, sizeof version, " HTTP/1.%d\r\n", head->minor);
  to->n = 0;
  put(to, head->method.bytes, head->method.n);
  put(to, " ", 1);
  if (head->authority.n > 0) put(to, "http://", 7);
  put(to, head->authority.bytes, head->authority.n);
  put(to, head->target.bytes, head->target.n);
  put(to, version, (size_t)n);
  for (size_t i = 0; i < head->count; i++) {
    put(to, head->fields[i].name.bytes, head->fields[i].name.n);
    put(to, ": ", 2);
    put(to, head->fields[i].value.bytes, head->fields[i].value.n);
    put(to, "\r\n", 2);
  }
  put(to, "\r\n", 2);
}

static void check_again(const lw_http_head *head) {
  static text again;
  lw_http_field fields[100];
  lw_http_head other = {.fields = fields, .max_fields = 100};
  fuzz_log before = {0, 0}, after = {0, 0};
  size_t scanned = 0;
  write_again(&again, head);
  EXPECT(lw_http_end(again.bytes, again.n, ROOM, &scanned) == (long)again.n, "written again, it has another end");
  EXPECT(lw_http_request(&other, again.bytes, again.n) == 0, "written again, it is refused");
  log_head(&before, head);
  log_head(&after, &other);
  EXPECT(fuzz_log_same(&before, &after), "written again, it has other parts");
}

/* --- the answer --- */

/* The 101, as a client sees it that offered what the request does. */
static void check_switch(lw_upgrade *u, const unsigned char *bytes, size_t n, lw_slice chosen) {
  static char offered[ROOM];
  lw_http_field fields[20];
  lw_http_head head = {.fields = fields, .max_fields = 20};
  lw_handshake_offer offer = {0};
  lw_slice protocol, extensions;
  size_t scanned = 0;
  EXPECT(lw_http_end(bytes, n, ROOM, &scanned) == (long)n && lw_http_response(&head, bytes, n) == 0,
         "a 101 that cannot be read");
  if (chosen.n > 0) {
    EXPECT(chosen.n < sizeof offered, "a subprotocol that long");
    memcpy(offered, chosen.bytes, chosen.n);
    offered[chosen.n] = '\0';
    offer.protocols = offered;
  }
  EXPECT(lw_handshake_response(&head, &offer, u->ask.key, &protocol, &extensions) == 0, "a 101 that is not taken");
  EXPECT(protocol.n == chosen.n, "another subprotocol than was chosen");
  EXPECT((extensions.n > 0) == (u->params.agreed != 0), "another agreement on extensions than is said");
  if (u->params.agreed)
    EXPECT(u->params.ours.bits >= LW_DEFLATE_BITS_OURS && u->params.ours.bits <= LW_DEFLATE_BITS_MAX &&
           u->params.theirs.bits >= LW_DEFLATE_BITS_MIN && u->params.theirs.bits <= LW_DEFLATE_BITS_MAX,
           "an agreement on windows that are none");
}

static void accept(lw_upgrade *u) {
  lw_buf out = {0};
  lw_slice slice, chosen = {NULL, 0};
  lw_handshake_protocol(&u->head, 0, &chosen);
  EXPECT(lw_upgrade_accept(u, &out, NULL, chosen, NULL) == 0, "a request that cannot be accepted");
  EXPECT(lw_buf_slices(&out, &slice, 1) == 1 && slice.n == out.length, "a 101 in more pieces than one");
  check_switch(u, slice.bytes, slice.n, chosen);
  lw_buf_clear(&out, NULL);
}

/* --- a run --- */

/* Whatever is wrong is answered by one of these, in a head that can be read. */
static void check_status(int err) {
  int status = lw_handshake_status(err);
  lw_http_field fields[10];
  lw_http_head head = {.fields = fields, .max_fields = 10};
  lw_buf out = {0};
  lw_slice answer;
  size_t scanned = 0;
  EXPECT(status == 400 || status == 405 || status == 414 || status == 426 || status == 431 || status == 505,
         "a mistake of the request's that is answered like one of ours");
  EXPECT(lw_http_reason(status)[0] != '\0' && lw_strerror(err)[0] != '\0', "a mistake without words");
  EXPECT(lw_handshake_respond(&out, NULL, status, "X-A: b\r\n", "why\n", 4, 0) == 0, "an answer that cannot be made");
  EXPECT(lw_buf_slices(&out, &answer, 1) == 1 && answer.n > 4, "an answer in more pieces than one");
  EXPECT(lw_http_end(answer.bytes, answer.n, 4096, &scanned) == (long)answer.n - 4, "an answer that ends elsewhere");
  EXPECT(lw_http_response(&head, answer.bytes, answer.n - 4) == 0 && head.status == status, "another answer");
  lw_buf_clear(&out, NULL);
}

static void do_run(const setting *set, lw_slice input, int pieces, fuzz_log *log) {
  lw_upgrade *u = lw_upgrade_new(1, set->max_size, set->max_fields);
  lw_deflate_options options;
  fuzz_cuts cuts = set->cuts;
  int verdict = 0;
  lw_deflate_defaults(&options);
  fuzz_trace(pieces ? "in pieces" : "whole");
  EXPECT(u && lw_upgrade_want(u, &options) == 0, "no memory");
  while (verdict == 0 && input.n > 0) {
    size_t n = pieces ? fuzz_cuts_next(&cuts, input.n) : input.n;
    unsigned char *copy = fuzz_copy(input.bytes, n);
    verdict = lw_upgrade_feed(u, copy, n);
    fuzz_drop(copy);
    input.bytes += n;
    input.n -= n;
    if (verdict == 0) EXPECT(u->used <= set->max_size, "more kept than is allowed, and no verdict");
  }
  fuzz_log_number(log, "verdict", verdict);
  if (verdict < 0) check_status(verdict);
  if (u->whole) {
    fuzz_log_number(log, "head", (int64_t)u->head_size);
    EXPECT(u->head_size <= set->max_size && u->head.count <= set->max_fields, "a head over the limits");
    log_head(log, &u->head);
    check_again(&u->head);
    log_questions(log, &u->head);
  }
  if (verdict == 1) log_ask(log, u);
  if (verdict == 1 && u->ask.upgrade) accept(u);
  if (u->whole) { /* what came behind the head, and what has not been fed */
    fuzz_log_slice(log, "agreed", (lw_slice){(const unsigned char *)&u->params, sizeof u->params});
    lw_slice rest = lw_upgrade_rest(u);
    fuzz_log_number(log, "rest", (int64_t)(rest.n + input.n));
    fuzz_log_bytes(log, "rest", rest.bytes, rest.n);
    fuzz_log_bytes(log, "rest", input.bytes, input.n);
  }
  lw_upgrade_free(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  lw_slice input = {bytes, n};
  fuzz_log whole = {0, 0}, pieces = {0, 0};
  size_t base = fuzz_held();
  setting set;
  read_setting(&set, &input);
  do_run(&set, input, 0, &whole);
  do_run(&set, input, 1, &pieces);
  EXPECT(fuzz_log_same(&whole, &pieces), "judged otherwise when it comes in pieces");
  EXPECT(fuzz_held() == base, "memory that was not given back");
  return 0;
}

FUZZ_END
