/*
** proxy.c -- what a proxy is, and which one the environment names for a URL.
*/
#include "proxy.h"

#include <stdlib.h>
#include <string.h>

#include "authority.h"
#include "cidr.h"
#include "ip.h"
#include "text.h"

#define CREDENTIAL_MAX 255 /* of a user or a password in SOCKS5 (RFC 1929, 2) */

/* --- a proxy's URL --- */

typedef struct scheme {
  const char *name, *written; /* all of SOCKS5's are written alike */
  lw_proxy_kind kind;
  unsigned char secure;
  unsigned short port;
} scheme;

static const scheme schemes[] = {
    {"http", "http://", LW_PROXY_HTTP, 0, 80},       {"https", "https://", LW_PROXY_HTTP, 1, 443},
    {"socks5", "socks5://", LW_PROXY_SOCKS, 0, 1080}, {"socks5h", "socks5://", LW_PROXY_SOCKS, 0, 1080},
    {"socks", "socks5://", LW_PROXY_SOCKS, 0, 1080},
};

/* Cuts the scheme and its slashes off. NULL: none we know. */
static const scheme *cut_scheme(lw_text *text) {
  size_t n = lw_text_find(*text, ":");
  lw_text name = lw_text_head(*text, n), rest = lw_text_behind(*text, n);
  if (rest.n < 3 || memcmp(rest.at, "://", 3) != 0) return &schemes[0];
  *text = lw_text_behind(rest, 3);
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
    if (lw_text_is(name, schemes[i].name)) return &schemes[i];
  return NULL;
}

static int check_bytes(lw_text text) {
  if (text.n == 0) return LW_ERR_URL_EMPTY;
  if (text.n > LW_URL_MAX) return LW_ERR_URL_LENGTH;
  for (size_t i = 0; i < text.n; i++)
    if ((unsigned char)text.at[i] <= 0x20 || text.at[i] == 0x7f) return LW_ERR_URL_BYTE;
  return 0;
}

static const char *keep_decoded(char **to, lw_text text) {
  char *at = *to;
  *to = at + lw_text_decode(at, text) + 1;
  return at;
}

/* From the parts to a block of its own. */
static int build(lw_proxy *proxy, const scheme *s, const lw_authority *a) {
  size_t length = strlen(s->written), size = length + LW_AUTHORITY_MAX + a->host_length + a->user.n + a->password.n + 4;
  char *to = calloc(1, size);
  if (!to) return LW_ERR_MEMORY;
  *proxy = (lw_proxy){.memory = to, .size = size, .href = to, .kind = s->kind, .secure = s->secure};
  proxy->port = (unsigned short)a->port;
  memcpy(to, s->written, length);
  to += length;
  to += lw_authority_write(to, a, 0); /* always with its port: the defaults are not well known */
  *to++ = '\0';
  proxy->host = memcpy(to, a->host, a->host_length + 1);
  to += a->host_length + 1;
  if (!a->user.at) return 0;
  proxy->user = keep_decoded(&to, a->user);
  proxy->password = keep_decoded(&to, a->password);
  return 0;
}

/* What SOCKS5 can carry: a name of 1 to 255 bytes, and a password of up to 255. */
static int check_credentials(const lw_proxy *proxy) {
  if (proxy->kind != LW_PROXY_SOCKS || !proxy->user) return 0;
  size_t user = strlen(proxy->user), password = strlen(proxy->password);
  return user == 0 || user > CREDENTIAL_MAX || password > CREDENTIAL_MAX ? LW_ERR_PROXY_CREDENTIALS : 0;
}

int lw_proxy_parse(lw_proxy *proxy, const char *bytes, size_t n) {
  lw_text text = {bytes, n};
  lw_authority a;
  *proxy = (lw_proxy){0};
  int err = check_bytes(text);
  if (err < 0) return err;
  const scheme *s = cut_scheme(&text);
  if (!s) return LW_ERR_PROXY_SCHEME;
  size_t end = lw_text_find(text, "/\\?#");
  if (text.n - end > 1 || (end < text.n && text.at[end] != '/')) return LW_ERR_PROXY_PATH;
  if ((err = lw_authority_parse(&a, lw_text_head(text, end), s->port)) < 0) return err;
  if ((err = build(proxy, s, &a)) < 0) return err;
  if ((err = check_credentials(proxy)) < 0) lw_proxy_clear(proxy);
  return err;
}

int lw_proxy_copy(lw_proxy *proxy, const lw_proxy *from) {
  char *memory = malloc(from->size);
  *proxy = (lw_proxy){0};
  if (!memory) return LW_ERR_MEMORY;
  memcpy(memory, from->memory, from->size);
  *proxy = *from;
  proxy->memory = memory;
  proxy->href = memory + (from->href - from->memory);
  proxy->host = memory + (from->host - from->memory);
  if (from->user) proxy->user = memory + (from->user - from->memory);
  if (from->user) proxy->password = memory + (from->password - from->memory);
  return 0;
}

void lw_proxy_clear(lw_proxy *proxy) {
  free(proxy->memory);
  *proxy = (lw_proxy){0};
}

/* --- who is not reached through one --- */

static lw_text text_of(const char *text) {
  return (lw_text){text, strlen(text)};
}

/* A name without the dot that may stand at its end. */
static lw_text without_dot(lw_text name) {
  return name.n > 0 && name.at[name.n - 1] == '.' ? lw_text_head(name, name.n - 1) : name;
}

/* Is `host`, in lower case, this domain or below it? */
static int is_below(lw_text host, lw_text domain) {
  host = without_dot(host);
  domain = without_dot(domain);
  if (domain.n == 0 || host.n < domain.n) return 0;
  size_t before = host.n - domain.n;
  for (size_t i = 0; i < domain.n; i++)
    if (host.at[before + i] != lw_text_lower(domain.at[i])) return 0;
  return before == 0 || host.at[before - 1] == '.';
}

static int is_local(const lw_url *url) {
  lw_ip ip;
  if (url->path) return 1;
  if (url->is_ip) return lw_ip_read(&ip, text_of(url->host)) && lw_ip_is_loopback(&ip);
  return is_below(text_of(url->host), text_of("localhost"));
}

/* Cuts ":port" off a host. 0 if what is behind the colon is no port. */
static int cut_port(lw_text *host, size_t colon, unsigned *port) {
  if (lw_text_number(lw_text_behind(*host, colon + 1), 65535, port) < 0) return 0;
  *host = lw_text_head(*host, colon);
  return *port > 0;
}

/* Cuts an entry into host and port (0: any). 0 if it has no such form. */
static int cut_entry(lw_text *entry, unsigned *port) {
  *port = 0;
  size_t colon = lw_text_find(*entry, ":");
  if (entry->at[0] != '[') { /* more than one colon: an IPv6 address */
    if (colon == entry->n || lw_text_find(lw_text_behind(*entry, colon + 1), ":") < entry->n - colon - 1) return 1;
    return cut_port(entry, colon, port);
  }
  size_t end = lw_text_find(*entry, "]");
  if (end == entry->n) return 0;
  if (end + 1 < entry->n && (entry->at[end + 1] != ':' || !cut_port(entry, end + 1, port))) return 0;
  *entry = lw_text_behind(lw_text_head(*entry, end), 1);
  return 1;
}

static int holds_address(lw_text entry, const char *host) {
  lw_cidr cidr;
  lw_ip ip;
  return lw_cidr_parse(&cidr, entry) == 0 && lw_ip_read(&ip, text_of(host)) && lw_cidr_holds(&cidr, &ip);
}

/* Does this entry of no_proxy name the URL's host? */
static int names(lw_text entry, const lw_url *url) {
  unsigned port;
  if (lw_text_is(entry, "*")) return 1;
  if (!cut_entry(&entry, &port) || (port > 0 && port != url->port)) return 0;
  if (url->is_ip) return holds_address(entry, url->host);
  if (entry.n > 1 && entry.at[0] == '*') entry = lw_text_behind(entry, 1);
  if (entry.n > 1 && entry.at[0] == '.') entry = lw_text_behind(entry, 1);
  return is_below(text_of(url->host), entry);
}

static int is_listed(lw_text list, const lw_url *url) {
  while (list.n > 0) {
    size_t n = lw_text_find(list, ", \t\r\n");
    if (n > 0 && names(lw_text_head(list, n), url)) return 1;
    list = lw_text_behind(list, n < list.n ? n + 1 : n);
  }
  return 0;
}

/* --- which one --- */

/* The first of these variables that is not empty, NULL if there is none. */
static const char *first_of(const char *const which[], lw_proxy_getenv *get, const char **variable) {
  for (size_t i = 0; which[i]; i++) {
    const char *value = get(which[i]);
    *variable = which[i];
    if (value && *value) return value;
  }
  *variable = NULL;
  return NULL;
}

int lw_proxy_choose(lw_proxy *proxy, const lw_url *url, lw_proxy_getenv *get, const char **variable) {
  static const char *const plain[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
  static const char *const secure[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
  static const char *const none[] = {"no_proxy", "NO_PROXY", NULL};
  const char *unused;
  *proxy = (lw_proxy){0};
  const char *value = first_of(url->secure ? secure : plain, get, variable);
  if (!value || is_local(url)) return 0;
  const char *list = first_of(none, get, &unused);
  if (list && is_listed(text_of(list), url)) return 0;
  int err = lw_proxy_parse(proxy, value, strlen(value));
  return err < 0 ? err : 1;
}
