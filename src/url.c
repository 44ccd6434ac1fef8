/*
** url.c -- ws and wss URLs, parsed and serialised.
**
** The text is cut into parts, each part is brought into its canonical form in a scratch
** struct on the stack, and what is left is copied into one block.
*/
#include "url.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_MAX 253 /* RFC 1035, 2.3.4, as text and without the dot at its end */
#define LABEL_MAX 63

typedef struct part {
  const char *at;
  size_t n;
} part;

/* The canonical parts. */
typedef struct scratch {
  int secure, is_ip, is_ip6;
  unsigned port;
  part user, password; /* as written; at is NULL where there are none */
  char host[HOST_MAX + 2];
  size_t host_length;
  char resource[LW_URL_MAX];
  size_t resource_length;
} scratch;

/* --- characters --- */

static int is_digit(char c) {
  return c >= '0' && c <= '9';
}

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static int is_slash(char c) {
  return c == '/' || c == '\\';
}

static int hex(char c) {
  if (is_digit(c)) return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at *i, percent-decoded; a percent sign with no two digits behind it is itself. Moves *i on. */
static unsigned char decoded(part text, size_t *i) {
  const char *at = text.at + *i;
  *i += 1;
  if (*at == '%' && text.n - *i >= 2) {
    int high = hex(at[1]), low = hex(at[2]);
    if (high >= 0 && low >= 0) {
      *i += 2;
      return (unsigned char)(high << 4 | low);
    }
  }
  return (unsigned char)*at;
}

/* The first n characters of a text, as a part; and what is behind them. */
static part head(part text, size_t n) {
  return (part){text.at, n};
}

static part behind(part text, size_t n) {
  return (part){text.at + n, text.n - n};
}

/* Where the first of these characters stands, or text.n. */
static size_t find(part text, const char *any) {
  size_t i = 0;
  while (i < text.n && !strchr(any, text.at[i]))
    i++;
  return i;
}

/* --- the scheme --- */

static int scheme_is(part scheme, const char *name) {
  if (scheme.n != strlen(name)) return 0;
  for (size_t i = 0; i < scheme.n; i++)
    if (lower(scheme.at[i]) != name[i]) return 0;
  return 1;
}

static int parse_scheme(scratch *s, part scheme) {
  s->secure = scheme_is(scheme, "wss") || scheme_is(scheme, "https");
  return s->secure || scheme_is(scheme, "ws") || scheme_is(scheme, "http") ? 0 : LW_ERR_URL_SCHEME;
}

/* --- credentials --- */

/* Percent-decoded into `to`, which has room for as many bytes as the text; with a NUL behind. */
static size_t decode(char *to, part text) {
  size_t n = 0;
  for (size_t i = 0; i < text.n;)
    to[n++] = (char)decoded(text, &i);
  to[n] = '\0';
  return n;
}

/* What Basic authorisation can carry (RFC 7617, 2): no control characters, and no colon in the name. */
static int check_credential(part text, int is_name) {
  for (size_t i = 0; i < text.n;) {
    unsigned char c = decoded(text, &i);
    if (c < 0x20 || c == 0x7f || (is_name && c == ':')) return LW_ERR_URL_USERINFO;
  }
  return 0;
}

static int parse_userinfo(scratch *s, part text) {
  size_t colon = find(text, ":");
  part user = head(text, colon), password = behind(text, colon < text.n ? colon + 1 : colon);
  if (user.n + password.n == 0) /* "@" and ":@" say nothing */
    return 0;
  s->user = user;
  s->password = password;
  int err = check_credential(user, 1);
  return err < 0 ? err : check_credential(password, 0);
}

/* --- IPv6 --- */

/* A dotted IPv4 address: four decimal parts, no leading zeros. 0 if it is none. */
static int read_ip4(part text, unsigned char bytes[4]) {
  size_t at = 0;
  for (int k = 0; k < 4; k++) {
    if (k > 0 && (at == text.n || text.at[at++] != '.')) return 0;
    size_t first = at;
    unsigned value = 0;
    while (at < text.n && is_digit(text.at[at]) && value <= 255)
      value = value * 10 + (unsigned)(text.at[at++] - '0');
    if (at == first || value > 255 || (text.at[first] == '0' && at - first > 1)) return 0;
    bytes[k] = (unsigned char)value;
  }
  return at == text.n;
}

/* One to four hexadecimal digits; how many were read, 0 if there are none or too many. */
static size_t read_group(part text, uint16_t *group) {
  unsigned value = 0;
  size_t n = 0;
  for (; n < text.n && hex(text.at[n]) >= 0; n++) {
    if (n == 4) return 0;
    value = value << 4 | (unsigned)hex(text.at[n]);
  }
  *group = (uint16_t)value;
  return n;
}

/* The IPv4 address that may stand for the last two groups. 0 if it is none. */
static int read_ip4_groups(part text, uint16_t groups[2]) {
  unsigned char bytes[4];
  if (!read_ip4(text, bytes)) return 0;
  groups[0] = (uint16_t)(bytes[0] << 8 | bytes[1]);
  groups[1] = (uint16_t)(bytes[2] << 8 | bytes[3]);
  return 1;
}

/* Groups between single colons, up to `most`, the last pair of them maybe dotted. How many, or -1. */
static int read_groups(part text, uint16_t *groups, int most) {
  int count = 0;
  while (text.n > 0) {
    if (count <= most - 2 && find(text, ":") == text.n && find(text, ".") < text.n)
      return read_ip4_groups(text, groups + count) ? count + 2 : -1;
    size_t n = count < most ? read_group(text, &groups[count]) : 0;
    if (n == 0) return -1;
    count++;
    text = behind(text, n);
    if (text.n == 0) break;
    if (text.at[0] != ':' || text.n == 1) return -1;
    text = behind(text, 1);
  }
  return count;
}

/* Where "::" stands, or text.n. */
static size_t find_gap(part text) {
  for (size_t i = 0; i + 1 < text.n; i++)
    if (text.at[i] == ':' && text.at[i + 1] == ':') return i;
  return text.n;
}

static int read_ip6(part text, uint16_t groups[8]) {
  size_t gap = find_gap(text);
  part left = head(text, gap);
  int before = read_groups(left, groups, 8);
  if (gap == text.n) return before == 8;
  uint16_t rest[8];
  if (before < 0 || before > 7 || find(left, ".") < left.n) return 0;
  int after = read_groups(behind(text, gap + 2), rest, 7 - before);
  if (after < 0) return 0;
  memset(groups + before, 0, (size_t)(8 - before - after) * sizeof *groups);
  memcpy(groups + 8 - after, rest, (size_t)after * sizeof *groups);
  return 1;
}

/* The first of the longest runs of at least two zero groups: its length, and where it begins. */
static int longest_zeros(const uint16_t groups[8], int *first) {
  int longest = 1;
  for (int i = 0; i < 8; i++) {
    int n = 0;
    while (i + n < 8 && groups[i + n] == 0)
      n++;
    if (n > longest) {
      longest = n;
      *first = i;
    }
  }
  return longest > 1 ? longest : 0;
}

/* In its one form (RFC 5952, 4; the dotted tail is not used, as in browsers). Returns its length. */
static size_t write_ip6(char *to, const uint16_t groups[8]) {
  int first = 8, zeros = longest_zeros(groups, &first);
  char *at = to;
  for (int i = 0; i < 8;) {
    if (i == first) {
      *at++ = ':';
      *at++ = ':';
      i += zeros;
      continue;
    }
    if (i > 0 && i != first + zeros) *at++ = ':';
    at += snprintf(at, 5, "%x", groups[i++]);
  }
  return (size_t)(at - to);
}

static int parse_ip6(scratch *s, part text) {
  uint16_t groups[8];
  if (!read_ip6(text, groups)) return LW_ERR_URL_IPV6;
  s->host_length = write_ip6(s->host, groups);
  s->is_ip = s->is_ip6 = 1;
  return 0;
}

/* --- names and IPv4 --- */

/* What stands in no host (WHATWG URL, 3.1, "forbidden domain code point"). */
static int is_forbidden(unsigned char c) {
  return c <= 0x20 || c == 0x7f || strchr("#/:<>?@[\\]^|%", c);
}

static int copy_host(scratch *s, part text) {
  size_t n = 0;
  for (size_t i = 0; i < text.n;) {
    unsigned char c = decoded(text, &i);
    if (c >= 0x80) return LW_ERR_URL_IDNA;
    if (is_forbidden(c)) return LW_ERR_URL_HOST_BYTE;
    if (n == HOST_MAX + 1) return LW_ERR_URL_HOST_SIZE;
    s->host[n++] = lower((char)c);
  }
  s->host_length = n;
  return 0;
}

/* The host's last label begins here; a dot at the end is not counted in. */
static part last_label(part host) {
  size_t first = host.n;
  while (first > 0 && host.at[first - 1] != '.')
    first--;
  return behind(host, first);
}

/* WHATWG URL, 3.5, "ends in a number checker": then it is an address or nothing. */
static int ends_in_number(part host) {
  part label = last_label(host);
  size_t n = 0;
  if (label.n >= 2 && label.at[0] == '0' && label.at[1] == 'x') {
    for (n = 2; n < label.n && hex(label.at[n]) >= 0; n++)
      ;
    return n == label.n;
  }
  while (n < label.n && is_digit(label.at[n]))
    n++;
  return n > 0 && n == label.n;
}

static int check_sizes(part host) {
  if (host.n > HOST_MAX) return LW_ERR_URL_HOST_SIZE;
  while (host.n > 0) {
    size_t n = find(host, ".");
    if (n > LABEL_MAX) return LW_ERR_URL_HOST_SIZE;
    host = behind(host, n < host.n ? n + 1 : n);
  }
  return 0;
}

static int parse_name(scratch *s, part text) {
  int err = copy_host(s, text);
  if (err < 0) return err;
  part host = {s->host, s->host_length};
  if (host.n > 0 && host.at[host.n - 1] == '.') host.n--;
  if (!ends_in_number(host)) return check_sizes(host);
  unsigned char bytes[4];
  if (!read_ip4(host, bytes)) return LW_ERR_URL_IPV4;
  s->host_length = host.n; /* an address has no dot at its end */
  s->is_ip = 1;
  return 0;
}

/* --- host and port --- */

static unsigned default_port(int secure) {
  return secure ? 443 : 80;
}

/* What stands behind the host: nothing, ":", or a colon and a number. */
static int parse_port(scratch *s, part text) {
  s->port = default_port(s->secure);
  if (text.n <= 1) return text.n == 0 || text.at[0] == ':' ? 0 : LW_ERR_URL_HOST_BYTE;
  if (text.at[0] != ':') return LW_ERR_URL_HOST_BYTE;
  s->port = 0;
  for (size_t i = 1; i < text.n; i++) {
    if (!is_digit(text.at[i])) return LW_ERR_URL_PORT;
    s->port = s->port * 10 + (unsigned)(text.at[i] - '0');
    if (s->port > 65535) return LW_ERR_URL_PORT;
  }
  return s->port > 0 ? 0 : LW_ERR_URL_PORT;
}

static int parse_host(scratch *s, part text) {
  if (text.n == 0 || text.at[0] == ':') return LW_ERR_URL_HOST;
  int bracket = text.at[0] == '[';
  size_t end = find(text, bracket ? "]" : ":");
  if (bracket && end == text.n) return LW_ERR_URL_IPV6;
  int err = bracket ? parse_ip6(s, (part){text.at + 1, end - 1}) : parse_name(s, head(text, end));
  return err < 0 ? err : parse_port(s, behind(text, bracket ? end + 1 : end));
}

static int parse_authority(scratch *s, part text) {
  size_t at = text.n; /* the last one: WHATWG takes the others for part of the password */
  while (at > 0 && text.at[at - 1] != '@')
    at--;
  if (at > 0) {
    int err = parse_userinfo(s, head(text, at - 1));
    if (err < 0) return err;
  }
  return parse_host(s, behind(text, at));
}

/* --- path and query --- */

static int put(scratch *s, char c) {
  if (s->resource_length == sizeof s->resource) return LW_ERR_URL_LENGTH;
  s->resource[s->resource_length++] = c;
  return 0;
}

/* The text, with these characters and all outside ASCII percent-encoded. */
static int put_encoded(scratch *s, part text, const char *set) {
  static const char digits[] = "0123456789ABCDEF";
  int err = 0;
  for (size_t i = 0; i < text.n && err == 0; i++) {
    unsigned char c = (unsigned char)text.at[i];
    if (c < 0x7f && !strchr(set, c)) { /* no control character comes this far */
      err = put(s, text.at[i]);
      continue;
    }
    if ((err = put(s, '%')) == 0 && (err = put(s, digits[c >> 4])) == 0)
      err = put(s, digits[c & 15]);
  }
  return err;
}

/* How many dots a segment consists of, "%2e" being one too; 0 if it is none of "." and "..". */
static int count_dots(part segment) {
  int dots = 0;
  for (size_t i = 0; i < segment.n;) {
    if (dots == 2 || decoded(segment, &i) != '.') return 0;
    dots++;
  }
  return dots;
}

static void drop_segment(scratch *s) {
  while (s->resource_length > 0 && s->resource[--s->resource_length] != '/')
    ;
}

/* Segment by segment: text is empty or begins with a slash. */
static int parse_path(scratch *s, part text) {
  int err = text.n == 0 ? put(s, '/') : 0;
  while (text.n > 0 && err == 0) {
    text = behind(text, 1);
    part segment = head(text, find(text, "/\\"));
    text = behind(text, segment.n);
    int dots = count_dots(segment);
    if (dots == 2) drop_segment(s);
    if (dots == 0) {
      if ((err = put(s, '/')) == 0) err = put_encoded(s, segment, "\"<>^`{}");
    } else if (text.n == 0) {
      err = put(s, '/');
    }
  }
  return err;
}

static int parse_query(scratch *s, part text) {
  return text.n == 0 ? 0 : put_encoded(s, text, "\"<>'");
}

/* --- all of it --- */

static int check_bytes(part text) {
  if (text.n == 0) return LW_ERR_URL_EMPTY;
  if (text.n > LW_URL_MAX) return LW_ERR_URL_LENGTH;
  for (size_t i = 0; i < text.n; i++)
    if ((unsigned char)text.at[i] <= 0x20 || text.at[i] == 0x7f) return LW_ERR_URL_BYTE;
  return 0;
}

static int parse(scratch *s, part text) {
  int err = check_bytes(text);
  if (err < 0) return err;
  size_t colon = find(text, ":");
  if (colon == text.n) return LW_ERR_URL_SCHEME;
  if ((err = parse_scheme(s, head(text, colon))) < 0) return err;
  if (find(text, "#") < text.n) return LW_ERR_URL_FRAGMENT;
  text = behind(text, colon + 1);
  /* browsers forgive more slashes, fewer or none; RFC 6455, 3, has two */
  if (text.n < 2 || !is_slash(text.at[0]) || !is_slash(text.at[1])) return LW_ERR_URL_HOST;
  text = behind(text, 2);
  part authority = head(text, find(text, "/\\?"));
  if ((err = parse_authority(s, authority)) < 0) return err;
  text = behind(text, authority.n);
  part path = head(text, find(text, "?"));
  if ((err = parse_path(s, path)) < 0) return err;
  return parse_query(s, behind(text, path.n));
}

/* Copies n bytes and a NUL to *to and moves it behind them; returns where they stand. */
static const char *keep(char **to, const char *bytes, size_t n) {
  char *at = *to;
  memcpy(at, bytes, n);
  at[n] = '\0';
  *to = at + n + 1;
  return at;
}

/* "wss://" and the authority, in the longest case. */
#define ORIGIN_MAX (6 + HOST_MAX + 1 + 2 + 6 + 1)

static size_t write_origin(char origin[ORIGIN_MAX], const scratch *s) {
  char port[8] = "";
  if (s->port != default_port(s->secure)) snprintf(port, sizeof port, ":%u", s->port);
  int n = snprintf(origin, ORIGIN_MAX, "%s://%s%.*s%s%s", s->secure ? "wss" : "ws",
                   s->is_ip6 ? "[" : "", (int)s->host_length, s->host, s->is_ip6 ? "]" : "", port);
  return (size_t)n;
}

static const char *keep_decoded(char **to, part text) {
  char *at = *to;
  *to = at + decode(at, text) + 1;
  return at;
}

/* From the scratch to a block of its own. */
static int build(lw_url *url, const scratch *s) {
  char origin[ORIGIN_MAX];
  size_t origin_length = write_origin(origin, s), scheme = s->secure ? 6 : 5;
  size_t href_length = origin_length + s->resource_length;
  if (href_length > LW_URL_MAX) /* else it could not be parsed again */
    return LW_ERR_URL_LENGTH;
  size_t size = href_length + origin_length + s->host_length + s->user.n + s->password.n + 5;
  char *to = malloc(size);
  if (!to) return LW_ERR_MEMORY;
  *url = (lw_url){.memory = to, .port = (unsigned short)s->port};
  url->secure = (unsigned char)s->secure;
  url->is_ip = (unsigned char)s->is_ip;
  url->href = to;
  memcpy(to, origin, origin_length);
  url->resource = to += origin_length;
  keep(&to, s->resource, s->resource_length);
  url->origin = keep(&to, origin, origin_length);
  url->authority = url->origin + scheme;
  url->host = keep(&to, s->host, s->host_length);
  if (s->user.at) {
    url->user = keep_decoded(&to, s->user);
    url->password = keep_decoded(&to, s->password);
  }
  return 0;
}

int lw_url_parse(lw_url *url, const char *text, size_t n) {
  scratch s;
  s.is_ip = s.is_ip6 = 0; /* not all of it: it is large */
  s.user = s.password = (part){NULL, 0};
  s.host_length = s.resource_length = 0;
  *url = (lw_url){0};
  int err = parse(&s, (part){text, n});
  return err < 0 ? err : build(url, &s);
}

void lw_url_clear(lw_url *url) {
  free(url->memory);
  *url = (lw_url){0};
}
