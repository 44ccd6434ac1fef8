/*
** url.c -- ws and wss URLs, parsed and serialised.
**
** The text is cut into parts, each part is brought into its canonical form in a scratch
** struct on the stack, and what is left is copied into one block.
*/
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "authority.h"
#include "text.h"

#define LOCAL_MAX (sizeof ((struct sockaddr_un *)0)->sun_path - 1) /* what the system takes */

/* The canonical parts. */
typedef struct scratch {
  int secure, is_local;
  lw_authority authority;
  char path[LOCAL_MAX + 1]; /* of a Unix socket, decoded */
  size_t path_length;
  char resource[LW_URL_MAX];
  size_t resource_length;
} scratch;

static int is_slash(char c) {
  return c == '/' || c == '\\';
}

/* --- the scheme --- */

static int parse_scheme(scratch *s, lw_text scheme) {
  s->is_local = lw_text_is(scheme, "ws+unix") || lw_text_is(scheme, "wss+unix");
  s->secure = lw_text_is(scheme, "wss") || lw_text_is(scheme, "https") || lw_text_is(scheme, "wss+unix");
  return s->is_local || s->secure || lw_text_is(scheme, "ws") || lw_text_is(scheme, "http") ? 0 : LW_ERR_URL_SCHEME;
}

static unsigned default_port(int secure) {
  return secure ? 443 : 80;
}

/* --- path and query --- */

static int put(scratch *s, char c) {
  if (s->resource_length == sizeof s->resource) return LW_ERR_URL_LENGTH;
  s->resource[s->resource_length++] = c;
  return 0;
}

/* The text, with these characters and all outside ASCII percent-encoded. */
static int put_encoded(scratch *s, lw_text text, const char *set) {
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
static int count_dots(lw_text segment) {
  int dots = 0;
  for (size_t i = 0; i < segment.n;) {
    if (dots == 2 || lw_text_decoded(segment, &i) != '.') return 0;
    dots++;
  }
  return dots;
}

static void drop_segment(scratch *s) {
  while (s->resource_length > 0 && s->resource[--s->resource_length] != '/')
    ;
}

/* Segment by segment: text is empty or begins with a slash. */
static int parse_path(scratch *s, lw_text text) {
  int err = text.n == 0 ? put(s, '/') : 0;
  while (text.n > 0 && err == 0) {
    text = lw_text_behind(text, 1);
    lw_text segment = lw_text_head(text, lw_text_find(text, "/\\"));
    text = lw_text_behind(text, segment.n);
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

static int parse_query(scratch *s, lw_text text) {
  return text.n == 0 ? 0 : put_encoded(s, text, "\"<>'");
}

static int parse_resource(scratch *s, lw_text text) {
  lw_text path = lw_text_head(text, lw_text_find(text, "?"));
  int err = parse_path(s, path);
  return err < 0 ? err : parse_query(s, lw_text_behind(text, path.n));
}

/* --- Unix sockets --- */

/* What cannot stand for itself in a socket's path. */
static int is_special(unsigned char c) {
  return c <= 0x20 || c >= 0x7f || strchr("%:?#\"<>^`{|}", c);
}

/* Percent-encoded, so that it reads as before; room for three bytes each, and a NUL. Returns its length. */
static size_t write_path(char *to, const scratch *s) {
  char *at = to;
  for (size_t i = 0; i < s->path_length; i++) {
    unsigned char c = (unsigned char)s->path[i];
    if (is_special(c) || (i == 1 && c == '/')) at += snprintf(at, 4, "%%%02X", c); /* two slashes begin a host */
    else *at++ = (char)c;
  }
  *at = '\0';
  return (size_t)(at - to);
}

static int copy_path(scratch *s, lw_text text) {
  if (text.n == 0 || text.at[0] != '/') return LW_ERR_URL_PATH;
  for (size_t i = 0; i < text.n;) {
    unsigned char c = lw_text_decoded(text, &i);
    if (c == '\0') return LW_ERR_URL_PATH_BYTE;
    if (s->path_length == LOCAL_MAX) return LW_ERR_URL_PATH_SIZE;
    s->path[s->path_length++] = (char)c;
  }
  return 0;
}

/* What stands behind "ws+unix:". */
static int parse_local(scratch *s, lw_text text) {
  /* "ws+unix:///path", with no host between the slashes, is what some write */
  if (text.n >= 2 && text.at[0] == '/' && text.at[1] == '/') text = lw_text_behind(text, 2);
  lw_text path = lw_text_head(text, lw_text_find(text, ":?"));
  int err = copy_path(s, path);
  if (err < 0) return err;
  text = lw_text_behind(text, path.n);
  if (text.n > 0 && text.at[0] == ':') text = lw_text_behind(text, 1);
  if (text.n > 0 && !is_slash(text.at[0]) && text.at[0] != '?') return LW_ERR_URL_RESOURCE;
  err = lw_authority_parse(&s->authority, (lw_text){"localhost", 9}, default_port(s->secure));
  return err < 0 ? err : parse_resource(s, text);
}

/* --- all of it --- */

static int check_bytes(lw_text text) {
  if (text.n == 0) return LW_ERR_URL_EMPTY;
  if (text.n > LW_URL_MAX) return LW_ERR_URL_LENGTH;
  for (size_t i = 0; i < text.n; i++)
    if ((unsigned char)text.at[i] <= 0x20 || text.at[i] == 0x7f) return LW_ERR_URL_BYTE;
  return 0;
}

static int parse(scratch *s, lw_text text) {
  int err = check_bytes(text);
  if (err < 0) return err;
  size_t colon = lw_text_find(text, ":");
  if (colon == text.n) return LW_ERR_URL_SCHEME;
  if ((err = parse_scheme(s, lw_text_head(text, colon))) < 0) return err;
  if (lw_text_find(text, "#") < text.n) return LW_ERR_URL_FRAGMENT;
  text = lw_text_behind(text, colon + 1);
  if (s->is_local) return parse_local(s, text);
  /* browsers forgive more slashes, fewer or none; RFC 6455, 3, has two */
  if (text.n < 2 || !is_slash(text.at[0]) || !is_slash(text.at[1])) return LW_ERR_URL_HOST;
  text = lw_text_behind(text, 2);
  lw_text authority = lw_text_head(text, lw_text_find(text, "/\\?"));
  if ((err = lw_authority_parse(&s->authority, authority, default_port(s->secure))) < 0) return err;
  return parse_resource(s, lw_text_behind(text, authority.n));
}

/* Copies n bytes and a NUL to *to and moves it behind them; returns where they stand. */
static const char *keep(char **to, const char *bytes, size_t n) {
  char *at = *to;
  memcpy(at, bytes, n);
  at[n] = '\0';
  *to = at + n + 1;
  return at;
}

/* "wss://" and the authority, or "wss+unix:" and the path, in the longest case. */
#define ORIGIN_MAX (9 + 3 * LOCAL_MAX + 1)
_Static_assert(ORIGIN_MAX >= 6 + LW_AUTHORITY_MAX, "room for an authority");

static size_t write_origin(char origin[ORIGIN_MAX], const scratch *s) {
  const char *scheme = s->is_local ? s->secure ? "wss+unix:" : "ws+unix:" : s->secure ? "wss://" : "ws://";
  size_t n = strlen(scheme);
  memcpy(origin, scheme, n);
  if (s->is_local) return n + write_path(origin + n, s);
  return n + lw_authority_write(origin + n, &s->authority, default_port(s->secure));
}

static const char *keep_decoded(char **to, lw_text text) {
  char *at = *to;
  *to = at + lw_text_decode(at, text) + 1;
  return at;
}

/* From the scratch to a block of its own. */
static int build(lw_url *url, const scratch *s) {
  const lw_authority *a = &s->authority;
  char origin[ORIGIN_MAX + 1];
  size_t origin_length = write_origin(origin, s), scheme = s->secure ? 6 : 5;
  size_t front = origin_length + (size_t)s->is_local, href_length = front + s->resource_length;
  if (href_length > LW_URL_MAX) /* else it could not be parsed again */
    return LW_ERR_URL_LENGTH;
  size_t size = href_length + origin_length + a->host_length + s->path_length + a->user.n + a->password.n + 6;
  char *to = malloc(size);
  if (!to) return LW_ERR_MEMORY;
  *url = (lw_url){.memory = to, .port = (unsigned short)a->port};
  url->secure = (unsigned char)s->secure;
  url->is_ip = (unsigned char)a->is_ip;
  url->href = to;
  origin[origin_length] = ':'; /* stands between a socket's path and the resource */
  memcpy(to, origin, front);
  url->resource = to += front;
  keep(&to, s->resource, s->resource_length);
  url->origin = keep(&to, origin, origin_length);
  url->host = keep(&to, a->host, a->host_length);
  url->authority = s->is_local ? url->host : url->origin + scheme;
  if (s->is_local) url->path = keep(&to, s->path, s->path_length);
  if (a->user.at) {
    url->user = keep_decoded(&to, a->user);
    url->password = keep_decoded(&to, a->password);
  }
  return 0;
}

int lw_url_parse(lw_url *url, const char *text, size_t n) {
  scratch s;
  s.path_length = s.resource_length = 0; /* not all of it: it is large */
  *url = (lw_url){0};
  int err = parse(&s, (lw_text){text, n});
  return err < 0 ? err : build(url, &s);
}

/* --- a reference at a base --- */

static int is_letter(char c) {
  return lw_text_lower(c) >= 'a' && lw_text_lower(c) <= 'z';
}

/* "http:", "ws:", "g:" (RFC 3986, 3.1): 1 if the text begins so, and is not relative. */
static int has_scheme(lw_text text) {
  size_t n = lw_text_find(text, ":/\\?");
  if (n == text.n || text.at[n] != ':' || !is_letter(text.at[0])) return 0;
  for (size_t i = 1; i < n; i++)
    if (!is_letter(text.at[i]) && !lw_text_is_digit(text.at[i]) && !strchr("+-.", text.at[i])) return 0;
  return 1;
}

/* How much of the base's href stands before a reference (5.2.2); dot segments go when both are parsed. */
static size_t kept_of_base(const lw_url *base, lw_text text) {
  lw_text href = {base->href, strlen(base->href)};
  size_t origin = strlen(base->origin) + (base->path != NULL), path; /* a colon ends a socket's path */
  if (has_scheme(text)) return 0;
  if (text.n == 0) return href.n;
  if (text.n >= 2 && is_slash(text.at[0]) && is_slash(text.at[1])) return lw_text_find(href, ":") + 1;
  if (is_slash(text.at[0])) return origin;
  path = lw_text_find(href, "?");
  if (text.at[0] == '?') return path;
  while (path > origin && href.at[path - 1] != '/')
    path--;
  return path;
}

int lw_url_join(lw_url *url, const lw_url *base, const char *reference, size_t n) {
  char text[2 * LW_URL_MAX];
  const char *fragment = n > 0 ? memchr(reference, '#', n) : NULL;
  lw_text rest = {reference, fragment ? (size_t)(fragment - reference) : n};
  *url = (lw_url){0};
  if (rest.n > LW_URL_MAX) return LW_ERR_URL_LENGTH;
  size_t kept = kept_of_base(base, rest);
  memcpy(text, base->href, kept);
  if (rest.n > 0) memcpy(text + kept, rest.at, rest.n);
  int err = lw_url_parse(url, text, kept + rest.n);
  /* a server must not send its client to the sockets of the client's own machine */
  if (err < 0 || !url->path || (base->path && strcmp(url->path, base->path) == 0)) return err;
  lw_url_clear(url);
  return LW_ERR_URL_SCHEME;
}

void lw_url_clear(lw_url *url) {
  free(url->memory);
  *url = (lw_url){0};
}
