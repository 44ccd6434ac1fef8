/*
** http.h -- a message head (RFC 9112), as slices of the caller's bytes.
*/
#ifndef LW_HTTP_H
#define LW_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"

#pragma GCC visibility push(hidden)

#define LW_HTTP_TARGET_MAX 8192

typedef struct lw_http_field {
  lw_slice name;  /* a token, in the sender's case */
  lw_slice value; /* without the space around it */
} lw_http_field;

/* The slices live as long as the bytes parsed; `fields` and `max_fields` are the caller's. */
typedef struct lw_http_head {
  lw_slice method;
  lw_slice target;         /* of a request, in origin form: "/path?query"; "*" of OPTIONS, "host:port" of CONNECT */
  lw_slice authority;      /* of a request in absolute form: counts in place of Host (RFC 9112, 3.2.2); else empty */
  lw_slice reason;         /* of a response; may be empty */
  int status;              /* of a response: 100 to 599 */
  int minor;               /* HTTP/1.minor; whether 1.0 will do is for the caller */
  lw_http_field *fields;
  size_t max_fields;
  size_t count;
} lw_http_head;

/*
** How a head is awaited: call lw_http_end with all bytes so far each time more came. It
** looks only at the new ones (`*scanned` remembers, in its own way; 0 at first), so a head that dribbles in
** costs no more than one that comes at once.
** Returns the head's length with its empty line, 0 while it is not all here, or the
** first of these that the bytes show, however they are cut:
** LW_ERR_HTTP_START when no message begins like this: the first byte is none of a token
** (a TLS hello, noise, an empty line before the first; RFC 9112, 2.2, would have a server
** pass over that one, for the sake of a second request, and here there is none), or the
** first line is whole and neither a request line nor a status line (an SSH banner);
** LW_ERR_HTTP_LINE at a bare LF, a bare CR or a NUL;
** LW_ERR_HTTP_SIZE once more than max_size bytes came without an end, or
** LW_ERR_HTTP_TARGET if they are all of one request line.
*/
long lw_http_end(const unsigned char *bytes, size_t n, size_t max_size, size_t *scanned);

/*
** Parse a whole head of n bytes (as lw_http_end measured it). 0 or a LW_ERR_HTTP_…:
** LW_ERR_HTTP_VERSION for another major version than 1, LW_ERR_HTTP_TARGET for a target
** over LW_HTTP_TARGET_MAX, LW_ERR_HTTP_START for anything else in the first line.
*/
int lw_http_request(lw_http_head *head, const unsigned char *bytes, size_t n);
int lw_http_response(lw_http_head *head, const unsigned char *bytes, size_t n);

/* The n-th (0-based) field of that name, any case; NULL when there are not so many. */
const lw_http_field *lw_http_field_at(const lw_http_head *head, const char *name, size_t nth);

/* Walks a comma-separated list: the next non-empty element, trimmed. 0 at the end. *rest begins as the value. */
int lw_http_list_next(lw_slice *rest, lw_slice *element);
/* 1 if any field of that name lists this token, any case. */
int lw_http_has_token(const lw_http_head *head, const char *name, const char *token);

/*
** A body in chunks (RFC 9112, 7.1), as it arrives. Zeroed is ready.
*/
typedef struct lw_http_chunks {
  uint64_t left; /* of the chunk under way, or its size so far */
  int digits;    /* of that size */
  int state;
} lw_http_chunks;

/*
** n more bytes, of which the content goes to `to`: `to` may be `bytes`, for content never
** overtakes. *kept is its length. 1: the last chunk was there (its trailer is nobody's, and what
** follows is left alone); 0: more must come; LW_ERR_HTTP_CHUNK, with the content before it kept.
*/
int lw_http_dechunk(lw_http_chunks *chunks, const unsigned char *bytes, size_t n, unsigned char *to, size_t *kept);

/* 1 if slice equals the NUL-terminated text: any ASCII case, or exactly. */
int lw_slice_is(lw_slice slice, const char *text);
int lw_slice_equals(lw_slice slice, const char *text);
/* 1 if the bytes are a token (RFC 9110, 5.6.2), so not empty. */
int lw_http_is_token(const char *bytes, size_t n);
/* 1 if the bytes may stand in a field value: no CR, LF, NUL, other control character but TAB. */
int lw_http_is_value(const char *bytes, size_t n);
/* The standard reason phrase, or "". */
const char *lw_http_reason(int status);

#pragma GCC visibility pop
#endif
