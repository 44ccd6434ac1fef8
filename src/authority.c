/*
** authority.c -- "user:password@host:port", the part of a URL that all schemes share.
*/
#include "authority.h"

#include <stdio.h>
#include <string.h>

#include "ip.h"

#define LABEL_MAX 63 /* RFC 1035, 2.3.4 */

/* --- credentials --- */

/* What Basic authorisation can carry (RFC 7617, 2): no control characters, and no colon in the name. */
static int check_credential(lw_text text, int is_name) {
  for (size_t i = 0; i < text.n;) {
    unsigned char c = lw_text_decoded(text, &i);
    if (c < 0x20 || c == 0x7f || (is_name && c == ':')) return LW_ERR_URL_USERINFO;
  }
  return 0;
}

static int parse_userinfo(lw_authority *a, lw_text text) {
  size_t colon = lw_text_find(text, ":");
  lw_text user = lw_text_head(text, colon);
  lw_text password = lw_text_behind(text, colon < text.n ? colon + 1 : colon);
  if (user.n + password.n == 0) /* "@" and ":@" say nothing */
    return 0;
  a->user = user;
  a->password = password;
  int err = check_credential(user, 1);
  return err < 0 ? err : check_credential(password, 0);
}

/* --- hosts --- */

static int parse_ip6(lw_authority *a, lw_text text) {
  lw_ip ip;
  if (!lw_ip_read6(&ip, text)) return LW_ERR_URL_IPV6;
  a->host_length = lw_ip_write(a->host, &ip);
  a->host[a->host_length] = '\0';
  a->is_ip = a->is_ip6 = 1;
  return 0;
}

/* What stands in no host (WHATWG URL, 3.1, "forbidden domain code point"). */
static int is_forbidden(unsigned char c) {
  return c <= 0x20 || c == 0x7f || strchr("#/:<>?@[\\]^|%", c);
}

static int copy_host(lw_authority *a, lw_text text) {
  size_t n = 0;
  for (size_t i = 0; i < text.n;) {
    unsigned char c = lw_text_decoded(text, &i);
    if (c >= 0x80) return LW_ERR_URL_IDNA;
    if (is_forbidden(c)) return LW_ERR_URL_HOST_BYTE;
    if (n == LW_HOST_MAX + 1) return LW_ERR_URL_HOST_SIZE;
    a->host[n++] = lw_text_lower((char)c);
  }
  a->host_length = n;
  a->host[n] = '\0';
  return 0;
}

/* The host's last label begins here; a dot at the end is not counted in. */
static lw_text last_label(lw_text host) {
  size_t first = host.n;
  while (first > 0 && host.at[first - 1] != '.')
    first--;
  return lw_text_behind(host, first);
}

/* WHATWG URL, 3.5, "ends in a number checker": then it is an address or nothing. */
static int ends_in_number(lw_text host) {
  lw_text label = last_label(host);
  size_t n = 0;
  if (label.n >= 2 && label.at[0] == '0' && label.at[1] == 'x') {
    for (n = 2; n < label.n && lw_text_hex(label.at[n]) >= 0; n++)
      ;
    return n == label.n;
  }
  while (n < label.n && lw_text_is_digit(label.at[n]))
    n++;
  return n > 0 && n == label.n;
}

static int check_sizes(lw_text host) {
  if (host.n > LW_HOST_MAX) return LW_ERR_URL_HOST_SIZE;
  while (host.n > 0) {
    size_t n = lw_text_find(host, ".");
    if (n > LABEL_MAX) return LW_ERR_URL_HOST_SIZE;
    host = lw_text_behind(host, n < host.n ? n + 1 : n);
  }
  return 0;
}

static int parse_name(lw_authority *a, lw_text text) {
  int err = copy_host(a, text);
  if (err < 0) return err;
  lw_text host = {a->host, a->host_length};
  if (host.n > 0 && host.at[host.n - 1] == '.') host.n--;
  if (!ends_in_number(host)) return check_sizes(host);
  lw_ip ip;
  if (!lw_ip_read4(&ip, host)) return LW_ERR_URL_IPV4;
  a->host_length = host.n; /* an address has no dot at its end */
  a->host[host.n] = '\0';
  a->is_ip = 1;
  return 0;
}

/* --- host and port --- */

/* What stands behind the host: nothing, ":", or a colon and a number. */
static int parse_port(lw_authority *a, lw_text text) {
  if (text.n <= 1) return text.n == 0 || text.at[0] == ':' ? 0 : LW_ERR_URL_HOST_BYTE;
  if (text.at[0] != ':') return LW_ERR_URL_HOST_BYTE;
  int err = lw_text_number(lw_text_behind(text, 1), 65535, &a->port);
  return err < 0 || a->port == 0 ? LW_ERR_URL_PORT : 0;
}

static int parse_host(lw_authority *a, lw_text text) {
  if (text.n == 0 || text.at[0] == ':') return LW_ERR_URL_HOST;
  int bracket = text.at[0] == '[';
  size_t end = lw_text_find(text, bracket ? "]" : ":");
  if (bracket && end == text.n) return LW_ERR_URL_IPV6;
  int err = bracket ? parse_ip6(a, (lw_text){text.at + 1, end - 1}) : parse_name(a, lw_text_head(text, end));
  return err < 0 ? err : parse_port(a, lw_text_behind(text, bracket ? end + 1 : end));
}

int lw_authority_parse(lw_authority *a, lw_text text, unsigned default_port) {
  size_t at = text.n; /* the last one: WHATWG takes the others for part of the password */
  *a = (lw_authority){.port = default_port};
  while (at > 0 && text.at[at - 1] != '@')
    at--;
  if (at > 0) {
    int err = parse_userinfo(a, lw_text_head(text, at - 1));
    if (err < 0) return err;
  }
  return parse_host(a, lw_text_behind(text, at));
}

size_t lw_authority_write(char to[LW_AUTHORITY_MAX], const lw_authority *a, unsigned default_port) {
  char text[LW_AUTHORITY_MAX + 1], port[8] = "";
  if (a->port != default_port) snprintf(port, sizeof port, ":%u", a->port);
  int n = snprintf(text, sizeof text, "%s%s%s%s", a->is_ip6 ? "[" : "", a->host, a->is_ip6 ? "]" : "", port);
  memcpy(to, text, (size_t)n);
  return (size_t)n;
}
