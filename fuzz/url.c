/*
** url.c -- URLs, references, proxies, networks and addresses.
**
** What is parsed and written down reads the same again; and addresses are judged by the C
** library's own readers.
*/
#include "url.h"
#include "utf8.h"

#include <arpa/inet.h>
#include <string.h>

#include "authority.h"
#include "cidr.h"
#include "fuzz.h"
#include "ip.h"
#include "proxy.h"

FUZZ_BEGIN

static int same(const char *a, const char *b) {
  return a == b || (a && b && strcmp(a, b) == 0);
}

/* --- URLs --- */

static void check_bytes(const char *text) {
  for (; *text; text++) EXPECT(*text > 0x20 && *text < 0x7f && *text != '#', "a byte that no URL has");
}

static void check_url(const lw_url *url) {
  lw_url again;
  fuzz_trace(url->href);
  check_bytes(url->href);
  EXPECT(strlen(url->href) <= LW_URL_MAX, "a URL that is too long");
  EXPECT(lw_url_parse(&again, url->href, strlen(url->href)) == 0, "what was written is refused");
  EXPECT(same(again.href, url->href), "another URL when written again");
  EXPECT(same(again.origin, url->origin) && same(again.authority, url->authority), "another origin");
  EXPECT(same(again.host, url->host) && again.port == url->port && again.is_ip == url->is_ip, "another host");
  EXPECT(same(again.resource, url->resource), "another resource");
  EXPECT(same(again.path, url->path) && again.secure == url->secure, "another way there");
  EXPECT(!again.user && !again.password, "credentials in what is shown");
  EXPECT(strncmp(url->href, url->origin, strlen(url->origin)) == 0, "an origin that is not its beginning");
  EXPECT(url->resource[0] == '/' && url->port > 0 && url->host[0] != '\0', "a part that is missing");
  EXPECT(!url->user == !url->password, "half of the credentials");
  lw_url_clear(&again);
}

/* Each of them at each of these bases. */
static void check_join(const char *text, size_t n) {
  static const char *const bases[] = {"wss://a.example/b/c?d", "ws://[::1]:81/", "ws+unix:/run/a:/b/c"};
  for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
    lw_url base, url;
    EXPECT(lw_url_parse(&base, bases[i], strlen(bases[i])) == 0, "a good URL that is refused");
    if (lw_url_join(&url, &base, text, n) == 0) {
      check_url(&url);
      EXPECT(!url.path || same(url.path, base.path), "a reference that leads to a socket");
      lw_url_clear(&url);
    } else {
      EXPECT(url.memory == NULL, "a URL that is refused, and kept");
    }
    lw_url_clear(&base);
  }
}

/* --- proxies --- */

static void check_proxy(const lw_proxy *proxy) {
  lw_proxy again, copy;
  fuzz_trace(proxy->href);
  check_bytes(proxy->href);
  EXPECT(lw_proxy_parse(&again, proxy->href, strlen(proxy->href)) == 0, "what was written is refused");
  EXPECT(same(again.href, proxy->href) && same(again.host, proxy->host) && again.port == proxy->port &&
         again.kind == proxy->kind && again.secure == proxy->secure && !again.user,
         "another proxy when written again");
  lw_proxy_clear(&again);
  EXPECT(lw_proxy_copy(&copy, proxy) == 0, "no memory");
  EXPECT(same(copy.href, proxy->href) && same(copy.host, proxy->host) && same(copy.user, proxy->user) &&
         same(copy.password, proxy->password), "a copy that differs");
  lw_proxy_clear(&copy);
}

static char *listed;

static char *get(const char *name) {
  static char proxy[] = "http://proxy.example:3128";
  return strcmp(name, "no_proxy") == 0 ? listed : strcmp(name, "all_proxy") == 0 ? proxy : NULL;
}

/* The text as no_proxy; and the URL's own host in the list, which then names it. */
static void check_no_proxy(const char *text, const lw_url *url) {
  static char list[4096];
  lw_proxy proxy;
  const char *variable;
  size_t n = strlen(text), more = strlen(url->host);
  int chosen;
  if (n + more + 2 > sizeof list) return;
  memcpy(list, text, n + 1);
  listed = list;
  chosen = lw_proxy_choose(&proxy, url, get, &variable);
  EXPECT(chosen >= 0, "a good proxy that is refused");
  if (chosen > 0) check_proxy(&proxy);
  lw_proxy_clear(&proxy);
  list[n] = ',';
  memcpy(list + n + 1, url->host, more + 1);
  if (!strpbrk(url->host, ",*") && strspn(url->host, ".") < more) /* which no entry can say */
    EXPECT(lw_proxy_choose(&proxy, url, get, &variable) == 0, "a host that is in no_proxy");
}

/* --- addresses --- */

static int has_nul(lw_text text) {
  return text.n > 0 && memchr(text.at, '\0', text.n) != NULL;
}

static void check_ip(lw_text text) {
  char nul_ended[64], written[64];
  unsigned char bytes[16];
  lw_ip ip, again;
  int found = lw_ip_read(&ip, text), family;
  if (has_nul(text) || text.n >= sizeof nul_ended) {
    EXPECT(!found, "an address that is none");
    return;
  }
  if (text.n > 0) memcpy(nul_ended, text.at, text.n);
  nul_ended[text.n] = '\0';
  family = inet_pton(AF_INET, nul_ended, bytes) == 1 ? 4 : inet_pton(AF_INET6, nul_ended, bytes) == 1 ? 16 : 0;
  EXPECT(found == (family != 0), "read otherwise than by the C library");
  if (!found) return;
  EXPECT(ip.size == family && memcmp(ip.bytes, bytes, ip.size) == 0, "another address than the C library's");
  size_t n = lw_ip_write(written, &ip);
  EXPECT(n <= LW_IP_TEXT_MAX && lw_ip_read(&again, (lw_text){written, n}), "what was written is refused");
  EXPECT(again.size == ip.size && memcmp(again.bytes, ip.bytes, ip.size) == 0, "another address when written again");
}

static void check_cidr(lw_text text) {
  lw_cidr cidr;
  if (lw_cidr_parse(&cidr, text) < 0) return;
  EXPECT(cidr.bits <= cidr.ip.size * 8U, "a prefix that is too long");
  lw_ip plain = lw_ip_unmapped(&cidr.ip);
  if (plain.size == cidr.ip.size) EXPECT(lw_cidr_holds(&cidr, &cidr.ip), "a network that does not hold its own address");
  if (cidr.bits == 0) return;
  cidr.ip.bytes[(cidr.bits - 1) / 8] ^= (unsigned char)(0x80 >> (cidr.bits - 1) % 8);
  if (plain.size == cidr.ip.size) EXPECT(!lw_cidr_holds(&cidr, &plain), "a network that holds its neighbour");
}

/* --- text --- */

/* Cut at its mistakes, each no longer than a character's beginning: what lies between is text, and all of it is that without any. */
static void check_utf8(const unsigned char *bytes, size_t n) {
  size_t at = 0, bad;
  int mistakes = 0;
  while (at < n) {
    size_t good = lw_utf8_prefix(bytes + at, n - at, &bad);
    EXPECT(good + bad <= n - at && bad <= 3 && (bad > 0 || good == n - at), "a cut elsewhere");
    EXPECT(lw_utf8_valid(bytes + at, good), "a beginning that is no text");
    if (bad > 0) EXPECT(!lw_utf8_valid(bytes + at, good + bad), "a mistake that is none");
    mistakes += bad > 0;
    at += good + bad;
  }
  EXPECT(lw_utf8_valid(bytes, n) == (mistakes == 0), "text with mistakes");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  char *copy = (char *)fuzz_copy(bytes, n);
  static char text[4096]; /* as from the environment: it ends with a NUL */
  size_t base = fuzz_held();
  lw_url url;
  lw_proxy proxy;
  if (n >= sizeof text) n = sizeof text - 1;
  if (n > 0) memcpy(text, copy, n);
  text[n] = '\0';
  if (lw_url_parse(&url, copy, n) == 0) {
    check_url(&url);
    check_no_proxy("a.example", &url);
    lw_url_clear(&url);
  } else {
    EXPECT(url.memory == NULL, "a URL that is refused, and kept");
  }
  check_join(copy, n);
  if (lw_proxy_parse(&proxy, copy, n) == 0) {
    check_proxy(&proxy);
    lw_proxy_clear(&proxy);
  }
  EXPECT(lw_url_parse(&url, "ws://b.a.example:81/", 20) == 0, "a good URL that is refused");
  check_no_proxy(text, &url);
  lw_url_clear(&url);
  EXPECT(lw_url_parse(&url, "ws://[2001:db8::1]/", 19) == 0, "a good URL that is refused");
  check_no_proxy(text, &url);
  lw_url_clear(&url);
  check_ip((lw_text){copy, n});
  check_cidr((lw_text){copy, n});
  check_utf8((const unsigned char *)copy, n);
  fuzz_drop(copy);
  EXPECT(fuzz_held() == base, "memory that was not given back");
  return 0;
}

FUZZ_END
