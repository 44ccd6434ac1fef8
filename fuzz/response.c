/*
** response.c -- a server's answer, to a client: 101, or a refusal with its page, or a redirect.
** In pieces it must be judged, and its page read, as when it comes whole.
*/
#include <string.h>

#include "fuzz.h"
#include "redirect.h"
#include "upgrade.h"

FUZZ_BEGIN

#define BASE "wss://user:secret@example.org/chat?room=1"
#define HEADERS "Cookie: c=1\r\nX-Other: 2\r\nAuthorization: Basic eA==\r\n"

typedef struct setting {
  size_t max_size, max_fields;
  const char *protocols;
  int deflate;
  lw_deflate_options options;
  fuzz_cuts cuts;
  size_t repeat; /* the last bytes come so many times: a page may be long; these come less cut */
} setting;

static void read_setting(setting *set, lw_slice *input) {
  static const size_t sizes[] = {4096, 64, 130, 300, 16384};
  static const size_t fields[] = {100, 1, 3, 6};
  static const size_t repeats[] = {1, 1, 1, 2, 20, 800};
  static const unsigned char bits[] = {15, 9, 12};
  unsigned flags = fuzz_byte(input);
  set->protocols = flags & 1 ? "chat, superchat" : NULL;
  set->deflate = (flags & 2) != 0;
  set->max_size = FUZZ_CHOICE(input, sizes);
  set->max_fields = FUZZ_CHOICE(input, fields);
  lw_deflate_defaults(&set->options);
  set->options.wishes[0].client = (lw_deflate_way){FUZZ_CHOICE(input, bits), (flags >> 2) & 1};
  set->options.wishes[0].server = (lw_deflate_way){FUZZ_CHOICE(input, bits), (flags >> 3) & 1};
  set->repeat = FUZZ_CHOICE(input, repeats);
  set->cuts = fuzz_cuts_read(input);
}

static void log_head(fuzz_log *log, const lw_http_head *head) {
  fuzz_log_number(log, "status", head->status);
  fuzz_log_number(log, "minor", head->minor);
  fuzz_log_slice(log, "reason", head->reason);
  for (size_t i = 0; i < head->count; i++) {
    fuzz_log_slice(log, "name", head->fields[i].name);
    fuzz_log_slice(log, "value", head->fields[i].value);
  }
}

/* --- a redirect --- */

/* Where it leads, and that it takes nothing there that is not for others. */
static void log_redirect(fuzz_log *log, const lw_http_head *head) {
  lw_url base;
  lw_handshake_offer offer = {.headers = HEADERS};
  lw_redirect *redirect;
  int err;
  EXPECT(lw_url_parse(&base, BASE, strlen(BASE)) == 0, "a good URL that is refused");
  offer.url = &base;
  redirect = lw_redirect_new(&offer, BASE, strlen(BASE), 2, 0);
  EXPECT(redirect != NULL, "no memory");
  err = lw_redirect_follow(redirect, head);
  fuzz_log_number(log, "redirect", err);
  if (err == 0) {
    const lw_url *to = redirect->offer.url;
    int same = strcmp(to->origin, "wss://example.org") == 0;
    fuzz_log_slice(log, "href", (lw_slice){(const unsigned char *)to->href, strlen(to->href)});
    EXPECT(to->secure && !to->path, "it leads out of TLS, or to a socket of this machine");
    EXPECT(same || !strstr(redirect->offer.headers, "Cookie"), "a cookie that went elsewhere");
    EXPECT(same || !strstr(redirect->offer.headers, "Authorization"), "credentials that went elsewhere");
    EXPECT(strstr(redirect->offer.headers, "X-Other: 2\r\n") != NULL, "a header that was lost");
  }
  lw_redirect_free(redirect);
  lw_url_clear(&base);
}

/* --- a run --- */

/* The next piece, from the input or from its last bytes once more. */
static lw_slice next_piece(lw_slice *input, lw_slice tail, size_t *repeat, fuzz_cuts *cuts, int pieces) {
  lw_slice piece;
  int again = input->n == 0 && *repeat > 1;
  if (again) {
    --*repeat;
    *input = tail;
  }
  piece = *input;
  if (pieces && piece.n > 0 && (!again || *repeat % 16 == 0)) piece.n = fuzz_cuts_next(cuts, piece.n);
  input->bytes += piece.n;
  input->n -= piece.n;
  return piece;
}

static lw_upgrade *ask(const setting *set, const lw_url *url) {
  lw_handshake_offer offer = {.url = url, .protocols = set->protocols};
  lw_upgrade *u = lw_upgrade_new(0, set->max_size, set->max_fields);
  lw_entropy entropy = {.left = 0};
  lw_buf out = {0};
  fuzz_reset_random();
  EXPECT(u != NULL, "no memory");
  if (set->deflate) EXPECT(lw_upgrade_want(u, &set->options) == 0, "no memory");
  EXPECT(lw_upgrade_ask(u, &out, NULL, &entropy, &offer) == 0, "a request that cannot be made");
  lw_buf_clear(&out, NULL);
  return u;
}

static void log_verdict(fuzz_log *log, const setting *set, const lw_upgrade *u, int verdict) {
  fuzz_log_number(log, "verdict", verdict);
  if (verdict == 1) {
    fuzz_log_slice(log, "protocol", u->protocol);
    fuzz_log_slice(log, "agreed", (lw_slice){(const unsigned char *)&u->params, sizeof u->params});
    EXPECT((u->protocol.n > 0) == (set->protocols != NULL), "another subprotocol than was asked for");
    EXPECT(!u->params.agreed || set->deflate, "compression that nobody asked for");
  }
  if (!u->whole) return;
  EXPECT(u->head_size <= set->max_size && u->head.count <= set->max_fields, "a head over the limits");
  log_head(log, &u->head);
}

static void do_run(const setting *set, const lw_url *url, lw_slice input, int pieces, fuzz_log *log) {
  lw_upgrade *u = ask(set, url);
  lw_slice tail = input, piece = {NULL, 0};
  fuzz_cuts cuts = set->cuts;
  size_t repeat = set->repeat;
  int verdict = 0, page = 0;
  if (tail.n > 100) tail = (lw_slice){input.bytes + input.n - 100, 100};
  fuzz_trace(pieces ? "in pieces" : "whole");
  while (verdict == 0 && (piece = next_piece(&input, tail, &repeat, &cuts, pieces)).n > 0) {
    unsigned char *copy = fuzz_copy(piece.bytes, piece.n);
    verdict = lw_upgrade_feed(u, copy, piece.n);
    fuzz_drop(copy);
  }
  log_verdict(log, set, u, verdict);
  if (verdict == LW_ERR_STATUS) {
    page = lw_upgrade_page(u, NULL, 0);
    while (page == 0 && (piece = next_piece(&input, tail, &repeat, &cuts, pieces)).n > 0) {
      unsigned char *copy = fuzz_copy(piece.bytes, piece.n);
      page = lw_upgrade_page(u, copy, piece.n);
      fuzz_drop(copy);
    }
    EXPECT(page >= 0, "a page that has no place though there is memory");
    EXPECT(lw_upgrade_rest(u).n <= LW_PAGE_MAX, "a page that is too long");
    fuzz_log_number(log, "page", page);
    fuzz_log_slice(log, "page", lw_upgrade_rest(u));
    log_head(log, &u->head);
    if (lw_redirect_is(&u->head)) log_redirect(log, &u->head);
  }
  lw_upgrade_free(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  lw_slice input = {bytes, n};
  fuzz_log whole = {0, 0}, pieces = {0, 0};
  size_t base = fuzz_held();
  lw_url url;
  setting set;
  read_setting(&set, &input);
  EXPECT(lw_url_parse(&url, BASE, strlen(BASE)) == 0, "a good URL that is refused");
  do_run(&set, &url, input, 0, &whole);
  do_run(&set, &url, input, 1, &pieces);
  lw_url_clear(&url);
  EXPECT(fuzz_log_same(&whole, &pieces), "judged otherwise when it comes in pieces");
  EXPECT(fuzz_held() == base, "memory that was not given back");
  return 0;
}

FUZZ_END
