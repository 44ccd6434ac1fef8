/*
** http.c -- a message head (RFC 9112), as slices of the caller's bytes.
** One pass over the bytes, no copy; what is not clearly HTTP is refused.
*/
#include "http.h"

#include <string.h>

/* --- characters --- */

enum {
  TOKEN = 1,  /* in a token (RFC 9110, 5.6.2) */
  VALUE = 2,  /* in a field value: visible, space, TAB, and 80-FF (5.5) */
  TARGET = 4, /* in a request target: visible ASCII but '#' */
  STOP = 8    /* where lw_http_end looks twice: NUL, LF, CR */
};

#define SEEN (VALUE | TARGET)
#define WORD (TOKEN | VALUE | TARGET)

/* clang-format off */
static const unsigned char class[256] = {
    ['\0'] = STOP,          ['\n'] = STOP,         ['\r'] = STOP,
    ['\t'] = VALUE,         [' '] = VALUE,         ['"'] = SEEN,
    ['#'] = TOKEN | VALUE,  ['$'... '\''] = WORD,  ['!'] = WORD,
    ['('... ')'] = SEEN,    ['*'... '+'] = WORD,   [','] = SEEN,
    ['-'... '.'] = WORD,    ['/'] = SEEN,          ['0'... '9'] = WORD,
    [':'... '@'] = SEEN,    ['A'... 'Z'] = WORD,   ['['... ']'] = SEEN,
    ['^'... '`'] = WORD,    ['a'... 'z'] = WORD,   ['{'] = SEEN,
    ['|'] = WORD,           ['}'] = SEEN,          ['~'] = WORD,
    [0x80 ... 0xff] = VALUE,
};
/* clang-format on */

static int is(unsigned char c, int what) {
  return class[c] & what;
}

static int is_digit(unsigned char c) {
  return c >= '0' && c <= '9';
}

static int is_space(unsigned char c) {
  return c == ' ' || c == '\t';
}

static unsigned char lower(unsigned char c) {
  return c >= 'A' && c <= 'Z' ? (unsigned char)(c + ('a' - 'A')) : c;
}

/* How many of the first bytes are of this class. */
static size_t span(lw_slice text, int what) {
  size_t i = 0;
  while (i < text.n && is(text.bytes[i], what))
    i++;
  return i;
}

static lw_slice head_of(lw_slice text, size_t n) {
  return (lw_slice){text.bytes, n};
}

static lw_slice behind(lw_slice text, size_t n) {
  return (lw_slice){text.bytes + n, text.n - n};
}

static lw_slice trimmed(lw_slice text) {
  while (text.n > 0 && is_space(text.bytes[0]))
    text = behind(text, 1);
  while (text.n > 0 && is_space(text.bytes[text.n - 1]))
    text.n--;
  return text;
}

static int begins(lw_slice text, const char *with) {
  size_t n = strlen(with);
  return text.n >= n && memcmp(text.bytes, with, n) == 0;
}

/* --- where a head ends --- */

/* "HTTP/" DIGIT "." DIGIT at the start of the text (RFC 9112, 2.3). */
static int is_version(lw_slice text) {
  return text.n >= 8 && begins(text, "HTTP/") && is_digit(text.bytes[5]) && text.bytes[6] == '.' &&
         is_digit(text.bytes[7]);
}

/* A first line without its CRLF: does it end or begin as one must? */
static int is_first_line(lw_slice line) {
  return is_version(line) ||
         (line.n > 9 && line.bytes[line.n - 9] == ' ' && is_version(behind(line, line.n - 8)));
}

/* At an LF, the first or not: 1 if it ends the head, 0 if it ends a line, or a negative lw_err. */
static int line_end(const unsigned char *bytes, size_t at, int first) {
  if (at == 0 || bytes[at - 1] != '\r') return LW_ERR_HTTP_LINE;
  if (first) return is_first_line((lw_slice){bytes, at - 1}) ? 0 : LW_ERR_HTTP_START;
  return bytes[at - 2] == '\n';
}

/* What to say of more than max_size bytes without an end; `lines`: a line of them did end. */
static int too_large(const unsigned char *bytes, size_t n, int lines) {
  return lines || is_version((lw_slice){bytes, n}) ? LW_ERR_HTTP_SIZE : LW_ERR_HTTP_TARGET;
}

long lw_http_end(const unsigned char *bytes, size_t n, size_t max_size, size_t *scanned) {
  /* what is remembered: how far, and in the lowest bit whether the first line was seen */
  size_t end = n < max_size ? n : max_size, at = *scanned >> 1;
  int lines = *scanned & 1;
  if (n > 0 && !is(bytes[0], TOKEN)) return LW_ERR_HTTP_START;
  for (; at < end; at++) {
    if (!is(bytes[at], STOP)) continue;
    if (bytes[at] == '\r' && at + 1 == n) /* what follows decides */
      break;
    if (bytes[at] == '\0' || (bytes[at] == '\r' && bytes[at + 1] != '\n')) return LW_ERR_HTTP_LINE;
    if (bytes[at] == '\n') {
      int ended = line_end(bytes, at, !lines);
      if (ended != 0) return ended < 0 ? ended : (long)at + 1;
      lines = 1;
    }
  }
  *scanned = at << 1 | (size_t)lines;
  return n > max_size ? too_large(bytes, max_size, lines) : 0;
}

/* --- the first line --- */

/* Cuts one line off, without its CRLF. 0 or LW_ERR_HTTP_LINE. */
static int cut_line(lw_slice *rest, lw_slice *line) {
  const unsigned char *lf = memchr(rest->bytes, '\n', rest->n);
  if (!lf || lf == rest->bytes || lf[-1] != '\r') return LW_ERR_HTTP_LINE;
  *line = head_of(*rest, (size_t)(lf - rest->bytes) - 1);
  *rest = behind(*rest, line->n + 2);
  return 0;
}

/* Just "HTTP/1.x". */
static int parse_version(lw_http_head *head, lw_slice text) {
  if (text.n < 8 || !is_version(text)) return LW_ERR_HTTP_START;
  head->minor = text.bytes[7] - '0';
  return text.bytes[5] == '1' ? 0 : LW_ERR_HTTP_VERSION;
}

/* The length of "http://" and its like, 0 if the target does not begin so. */
static size_t scheme_length(lw_slice target) {
  static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
    size_t n = strlen(schemes[i]);
    if (target.n > n && lw_slice_is(head_of(target, n), schemes[i])) return n;
  }
  return 0;
}

/* "To allow for transition to the absolute-form ... a server MUST accept" it (RFC 9112, 3.2.2). */
static int parse_absolute(lw_http_head *head, lw_slice target) {
  size_t n = scheme_length(target), length = 0;
  lw_slice rest = behind(target, n);
  while (length < rest.n && rest.bytes[length] != '/' && rest.bytes[length] != '?')
    length++;
  head->authority = head_of(rest, length);
  if (n == 0 || length == 0 || memchr(rest.bytes, '@', length)) return LW_ERR_HTTP_START;
  head->target = behind(rest, length);
  if (head->target.n == 0) head->target = (lw_slice){(const unsigned char *)"/", 1};
  /* "http://host?query" has no slash of its own to begin with, and nobody sends it */
  return head->target.bytes[0] == '/' ? 0 : LW_ERR_HTTP_START;
}

static int parse_target(lw_http_head *head, lw_slice target) {
  if (target.n == 0 || span(target, TARGET) < target.n) return LW_ERR_HTTP_START;
  if (target.n > LW_HTTP_TARGET_MAX) return LW_ERR_HTTP_TARGET;
  head->target = target;
  if (target.bytes[0] == '/' || lw_slice_equals(head->method, "CONNECT")) return 0;
  if (lw_slice_equals(target, "*"))
    return lw_slice_equals(head->method, "OPTIONS") ? 0 : LW_ERR_HTTP_START;
  return parse_absolute(head, target);
}

static int parse_request_line(lw_http_head *head, lw_slice line) {
  head->method = head_of(line, span(line, TOKEN));
  lw_slice rest = behind(line, head->method.n);
  /* "METHOD SP target SP HTTP/1.1", and no space more */
  if (head->method.n == 0 || rest.n < 10 || rest.bytes[0] != ' ' || rest.bytes[rest.n - 9] != ' ')
    return LW_ERR_HTTP_START;
  int err = parse_version(head, behind(rest, rest.n - 8));
  if (err < 0) return err;
  return parse_target(head, (lw_slice){rest.bytes + 1, rest.n - 10});
}

/* "HTTP/1.1 101 Switching Protocols"; the phrase may be missing, and the space before it. */
static int parse_status_line(lw_http_head *head, lw_slice line) {
  int err = parse_version(head, line);
  if (err < 0) return err;
  lw_slice rest = behind(line, 8);
  if (rest.n < 4 || rest.bytes[0] != ' ' || (rest.n > 4 && rest.bytes[4] != ' '))
    return LW_ERR_HTTP_START;
  for (size_t i = 1; i < 4; i++) {
    if (!is_digit(rest.bytes[i])) return LW_ERR_HTTP_START;
    head->status = head->status * 10 + rest.bytes[i] - '0';
  }
  head->reason = rest.n > 4 ? behind(rest, 5) : behind(rest, 4);
  if (head->status < 100 || head->status > 599 || span(head->reason, VALUE) < head->reason.n)
    return LW_ERR_HTTP_START;
  return 0;
}

/* --- the fields --- */

static int parse_field(lw_http_head *head, lw_slice line) {
  if (is_space(line.bytes[0])) /* a folded line: "MUST reject" (RFC 9112, 5.2) */
    return LW_ERR_HTTP_LINE;
  lw_slice name = head_of(line, span(line, TOKEN));
  /* "No whitespace is allowed between the field name and colon" (5.1) */
  if (name.n == 0 || name.n == line.n || line.bytes[name.n] != ':') return LW_ERR_HTTP_FIELD;
  lw_slice value = trimmed(behind(line, name.n + 1));
  size_t good = span(value, VALUE);
  if (good < value.n) return is(value.bytes[good], STOP) ? LW_ERR_HTTP_LINE : LW_ERR_HTTP_VALUE;
  if (head->count == head->max_fields) return LW_ERR_HTTP_COUNT;
  head->fields[head->count++] = (lw_http_field){name, value};
  return 0;
}

static int parse_fields(lw_http_head *head, lw_slice rest) {
  for (;;) {
    lw_slice line;
    int err = cut_line(&rest, &line);
    if (err < 0) return err;
    if (line.n == 0) return rest.n == 0 ? 0 : LW_ERR_HTTP_LINE;
    if ((err = parse_field(head, line)) < 0) return err;
  }
}

static int parse(lw_http_head *head, const unsigned char *bytes, size_t n,
                 int (*first_line)(lw_http_head *, lw_slice)) {
  static const lw_slice none = {(const unsigned char *)"", 0};
  head->method = head->target = head->authority = head->reason = none;
  head->status = head->minor = 0;
  head->count = 0;
  lw_slice rest = {bytes, n}, line;
  int err = cut_line(&rest, &line);
  if (err == 0) err = first_line(head, line);
  return err < 0 ? err : parse_fields(head, rest);
}

int lw_http_request(lw_http_head *head, const unsigned char *bytes, size_t n) {
  return parse(head, bytes, n, parse_request_line);
}

int lw_http_response(lw_http_head *head, const unsigned char *bytes, size_t n) {
  return parse(head, bytes, n, parse_status_line);
}

/* --- a body in chunks --- */

enum {
  CHUNK_SIZE,      /* its hexadecimal digits */
  CHUNK_EXTENSION, /* what may follow them, up to the CR */
  CHUNK_SIZE_LF,   /* the end of that line */
  CHUNK_DATA,
  CHUNK_DATA_CR,   /* the line end behind the content */
  CHUNK_DATA_LF,
  CHUNK_LAST,      /* the chunk of size 0 was there */
  CHUNK_BROKEN
};

static int hex(unsigned char c) {
  if (is_digit(c)) return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int after_digits(const lw_http_chunks *chunks, unsigned char c) {
  if (chunks->digits == 0) return CHUNK_BROKEN;
  if (c == '\r') return CHUNK_SIZE_LF;
  return c == ';' || is_space(c) ? CHUNK_EXTENSION : CHUNK_BROKEN;
}

static int take_digit(lw_http_chunks *chunks, unsigned char c) {
  int digit = hex(c);
  if (digit < 0) return after_digits(chunks, c);
  if (chunks->left >> 56) return CHUNK_BROKEN;
  chunks->left = chunks->left << 4 | (unsigned)digit;
  chunks->digits = 1;
  return CHUNK_SIZE;
}

/* The state after a byte that is no content. */
static int frame_chunk(lw_http_chunks *chunks, unsigned char c) {
  switch (chunks->state) {
  case CHUNK_SIZE:
    return take_digit(chunks, c);
  case CHUNK_EXTENSION:
    return c == '\r' ? CHUNK_SIZE_LF : is(c, STOP) ? CHUNK_BROKEN : CHUNK_EXTENSION;
  case CHUNK_SIZE_LF:
    return c != '\n' ? CHUNK_BROKEN : chunks->left > 0 ? CHUNK_DATA : CHUNK_LAST;
  case CHUNK_DATA_CR:
    return c == '\r' ? CHUNK_DATA_LF : CHUNK_BROKEN;
  case CHUNK_DATA_LF:
    chunks->digits = 0;
    return c == '\n' ? CHUNK_SIZE : CHUNK_BROKEN;
  default:
    return chunks->state;
  }
}

int lw_http_dechunk(lw_http_chunks *chunks, const unsigned char *bytes, size_t n, unsigned char *to, size_t *kept) {
  *kept = 0;
  for (size_t i = 0; i < n && chunks->state < CHUNK_LAST;) {
    if (chunks->state != CHUNK_DATA) {
      chunks->state = frame_chunk(chunks, bytes[i++]);
      continue;
    }
    size_t run = n - i < chunks->left ? n - i : (size_t)chunks->left;
    memmove(to + *kept, bytes + i, run);
    *kept += run;
    i += run;
    chunks->left -= run;
    if (chunks->left == 0) chunks->state = CHUNK_DATA_CR;
  }
  return chunks->state == CHUNK_BROKEN ? LW_ERR_HTTP_CHUNK : chunks->state == CHUNK_LAST;
}

/* --- looking things up --- */

const lw_http_field *lw_http_field_at(const lw_http_head *head, const char *name, size_t nth) {
  for (size_t i = 0; i < head->count; i++)
    if (lw_slice_is(head->fields[i].name, name) && nth-- == 0) return &head->fields[i];
  return NULL;
}

int lw_http_list_next(lw_slice *rest, lw_slice *element) {
  while (rest->n > 0) {
    const unsigned char *comma = memchr(rest->bytes, ',', rest->n);
    size_t n = comma ? (size_t)(comma - rest->bytes) : rest->n;
    *element = trimmed(head_of(*rest, n));
    *rest = behind(*rest, comma ? n + 1 : n);
    if (element->n > 0) return 1;
  }
  return 0;
}

int lw_http_has_token(const lw_http_head *head, const char *name, const char *token) {
  for (size_t i = 0; i < head->count; i++) {
    if (!lw_slice_is(head->fields[i].name, name)) continue;
    lw_slice rest = head->fields[i].value, element;
    while (lw_http_list_next(&rest, &element))
      if (lw_slice_is(element, token)) return 1;
  }
  return 0;
}

int lw_slice_is(lw_slice slice, const char *text) {
  for (size_t i = 0; i < slice.n; i++)
    if (text[i] == '\0' || lower(slice.bytes[i]) != lower((unsigned char)text[i])) return 0;
  return text[slice.n] == '\0';
}

int lw_slice_equals(lw_slice slice, const char *text) {
  return slice.n == strlen(text) && memcmp(slice.bytes, text, slice.n) == 0;
}

int lw_http_is_token(const char *bytes, size_t n) {
  return n > 0 && span((lw_slice){(const unsigned char *)bytes, n}, TOKEN) == n;
}

int lw_http_is_value(const char *bytes, size_t n) {
  return span((lw_slice){(const unsigned char *)bytes, n}, VALUE) == n;
}

/* RFC 9110, 15, and the registry. */
static const struct {
  int status;
  const char *reason;
} reasons[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {511, "Network Authentication Required"},
};

const char *lw_http_reason(int status) {
  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
    if (reasons[i].status == status) return reasons[i].reason;
  return "";
}
