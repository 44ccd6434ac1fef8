/*
** tunnel.c -- a proxy's answers, to CONNECT and in SOCKS5.
**
** In pieces they must be judged as when they come whole; what is asked meanwhile must be the same.
*/
#include "tunnel.h"

#include <string.h>

#include "fuzz.h"

FUZZ_BEGIN

static const char *const proxies[] = {"http://p.example", "http://u:p@p.example", "socks5://p.example", "socks5://u:p@p.example"};
static const char *const hosts[] = {"host.example", "192.0.2.1", "2001:db8::1"};

static void log_text(fuzz_log *log, const char *name, const char *text) {
  fuzz_log_bytes(log, name, text, strlen(text) + 1);
}

static void log_output(fuzz_log *log, lw_buf *out) {
  lw_slice slices[8];
  int count = lw_buf_slices(out, slices, 8);
  for (int i = 0; i < count; i++) fuzz_log_bytes(log, "output", slices[i].bytes, slices[i].n);
  lw_buf_clear(out, NULL);
}

/* What came of it, and in *behind how many bytes came behind that. */
static int do_run(const lw_tunnel_options *options, fuzz_cuts cuts, lw_slice input, int pieces, fuzz_log *log, size_t *behind) {
  lw_tunnel *t = lw_tunnel_new(options);
  lw_buf out = {0};
  int verdict = 0;
  fuzz_trace(pieces ? "in pieces" : "whole");
  EXPECT(t && lw_tunnel_ask(t, &out, NULL) == 0, "no memory");
  while (verdict == 0 && input.n > 0) {
    size_t n = pieces ? fuzz_cuts_next(&cuts, input.n) : input.n;
    unsigned char *copy = fuzz_copy(input.bytes, n);
    verdict = lw_tunnel_feed(t, &out, NULL, copy, n);
    fuzz_drop(copy);
    input.bytes += n;
    input.n -= n;
  }
  if (verdict == 0) verdict = lw_tunnel_end(t);
  *behind = input.n;
  log_output(log, &out);
  EXPECT(verdict == 1 || (verdict <= LW_ERR_PROXY_STATUS && verdict >= LW_ERR_PROXY_EOF), "another error than is said");
  if (lw_tunnel_why(t)) {
    log_text(log, "why", lw_tunnel_why(t));
    for (const char *at = lw_tunnel_why(t); *at; at++) EXPECT(*at >= 0x20 && *at < 0x7f, "words that harm a terminal");
  }
  lw_tunnel_free(t);
  return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  lw_slice input = {bytes, n};
  fuzz_log whole = {0, 0}, pieces = {0, 0};
  size_t base = fuzz_held(), behind, rest;
  const char *name = FUZZ_CHOICE(&input, proxies);
  lw_proxy proxy;
  lw_tunnel_options options = {.proxy = &proxy, .host = FUZZ_CHOICE(&input, hosts), .port = 443};
  fuzz_cuts cuts = fuzz_cuts_read(&input);
  EXPECT(lw_proxy_parse(&proxy, name, strlen(name)) == 0, "a good proxy that is refused");
  int at_once = do_run(&options, cuts, input, 0, &whole, &rest);
  int cut = do_run(&options, cuts, input, 1, &pieces, &behind);
  /* more than the answer is a mistake only where it comes with it */
  if (at_once == LW_ERR_PROXY_EXTRA && cut == 1) EXPECT(behind > 0, "too much, and nothing too much");
  else EXPECT(at_once == cut, "judged otherwise when it comes in pieces");
  EXPECT(fuzz_log_same(&whole, &pieces), "other words, or other questions, when it comes in pieces");
  lw_proxy_clear(&proxy);
  EXPECT(fuzz_held() == base, "memory that was not given back");
  return 0;
}

FUZZ_END
