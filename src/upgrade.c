/*
** upgrade.c -- a handshake under way: bytes in, verdict out.
*/
#include "upgrade.h"

#include <stdlib.h>
#include <string.h>

lw_upgrade *lw_upgrade_new(int server, size_t max_size, size_t max_fields) {
  lw_upgrade *u = calloc(1, sizeof *u);
  if (!u) return NULL;
  u->server = server;
  u->max_size = max_size;
  u->max_fields = max_fields;
  return u;
}

void lw_upgrade_free(lw_upgrade *u) {
  if (!u) return;
  free(u->protocols);
  free(u->deflate);
  free(u->bytes);
  free(u->head.fields);
  free(u);
}

int lw_upgrade_want(lw_upgrade *u, const lw_deflate_options *options) {
  if (!(u->deflate = malloc(sizeof *u->deflate))) return LW_ERR_MEMORY;
  *u->deflate = *options;
  return 0;
}

int lw_upgrade_ask(lw_upgrade *u, lw_buf *out, lw_pool *pool, lw_entropy *entropy,
                   const lw_handshake_offer *given) {
  lw_handshake_offer with = *given, *offer = &with;
  char extensions[LW_DEFLATE_OFFER];
  int err;
  if (u->deflate) {
    lw_deflate_offer(extensions, u->deflate);
    with.extensions = extensions;
  }
  if (offer->protocols && !(u->protocols = strdup(offer->protocols))) return LW_ERR_MEMORY;
  if ((err = lw_handshake_key(u->key, entropy)) < 0) return err;
  return lw_handshake_request(out, pool, offer, u->key);
}

/* 0 or LW_ERR_MEMORY. */
static int keep(lw_upgrade *u, const unsigned char *bytes, size_t n) {
  if (n > u->capacity - u->used) {
    size_t capacity = u->capacity * 2 > u->used + n ? u->capacity * 2 : u->used + n;
    unsigned char *grown = realloc(u->bytes, capacity);
    if (!grown) return LW_ERR_MEMORY;
    u->bytes = grown;
    u->capacity = capacity;
  }
  if (n > 0) memcpy(u->bytes + u->used, bytes, n);
  u->used += n;
  return 0;
}

/* The head's slices, from the bytes where they lie now. 0 or a negative lw_err. */
static int parse(lw_upgrade *u) {
  u->head.count = 0;
  return u->server ? lw_http_request(&u->head, u->bytes, u->head_size)
                   : lw_http_response(&u->head, u->bytes, u->head_size);
}

/* 1 once a whole head is there and parsed; 0, or a negative lw_err. */
static int take_head(lw_upgrade *u) {
  long size = lw_http_end(u->bytes, u->used, u->max_size, &u->scanned);
  int err;
  if (size <= 0) return (int)size;
  u->head_size = (size_t)size;
  if (!u->head.fields) {
    u->head.fields = calloc(u->max_fields, sizeof *u->head.fields);
    if (!u->head.fields) return LW_ERR_MEMORY;
    u->head.max_fields = u->max_fields;
  }
  if ((err = parse(u)) < 0) return err;
  u->whole = 1;
  return 1;
}

/* A 1xx before the answer (RFC 9110, 15.2) is passed over. */
static void skip_head(lw_upgrade *u) {
  memmove(u->bytes, u->bytes + u->head_size, u->used - u->head_size);
  u->used -= u->head_size;
  u->head_size = u->scanned = 0;
  u->whole = 0;
}

static int is_interim(const lw_http_head *head) {
  return head->status >= 100 && head->status < 200 && head->status != 101;
}

/* 1 if "chunked" is all that was done to the page: what is compressed besides cannot be read here. */
static int is_chunked(const lw_http_head *head) {
  const lw_http_field *field = lw_http_field_at(head, "Transfer-Encoding", 0);
  return field && lw_slice_is(field->value, "chunked") && !lw_http_field_at(head, "Transfer-Encoding", 1);
}

/* How much of the refusal's page to wait for. It may end with the connection, or with its last chunk (RFC 9112, 6.3). */
static size_t page_size(const lw_http_head *head) {
  const lw_http_field *field = lw_http_field_at(head, "Content-Length", 0);
  size_t size = 0;
  if (head->status < 200 || head->status == 204 || head->status == 304) return 0;
  if (lw_http_field_at(head, "Transfer-Encoding", 0)) return is_chunked(head) ? LW_PAGE_MAX : 0;
  if (!field) return LW_PAGE_MAX;
  for (size_t i = 0; i < field->value.n && size < LW_PAGE_MAX; i++) {
    unsigned digit = field->value.bytes[i] - (unsigned)'0';
    if (digit > 9) return 0;
    size = size * 10 + digit;
  }
  return size < LW_PAGE_MAX ? size : LW_PAGE_MAX;
}

/* What was kept of the page from here on loses its chunks, where it lies. */
static void dechunk(lw_upgrade *u, size_t from) {
  unsigned char *bytes = u->bytes + from;
  size_t kept;
  if (!u->chunked) return;
  if (lw_http_dechunk(&u->chunks, bytes, u->used - from, bytes, &kept) != 0) u->page_done = 1;
  u->used = from + kept;
}

static int judge_response(lw_upgrade *u) {
  lw_handshake_offer offer = {.protocols = u->protocols};
  lw_slice extensions;
  int err = lw_handshake_response(&u->head, &offer, u->key, &u->protocol, &extensions);
  if (err == 0) err = lw_deflate_accept(&u->params, extensions, u->deflate);
  if (err != LW_ERR_STATUS) return err;
  u->refused = 1;
  u->page_size = page_size(&u->head);
  u->chunked = is_chunked(&u->head);
  dechunk(u, u->head_size);
  return err;
}

int lw_upgrade_feed(lw_upgrade *u, const unsigned char *bytes, size_t n) {
  int got = keep(u, bytes, n);
  if (got < 0) return got;
  while ((got = take_head(u)) > 0 && !u->server && is_interim(&u->head)) skip_head(u);
  if (got <= 0) return got;
  got = u->server ? lw_handshake_judge(&u->head, &u->ask) : judge_response(u);
  return got < 0 ? got : 1;
}

/* The first line with an offer that can be met says what is agreed on. */
static const char *agree(lw_upgrade *u, char text[LW_DEFLATE_TEXT]) {
  const lw_http_field *field;
  for (size_t nth = 0; u->deflate && (field = lw_http_field_at(&u->head, "Sec-WebSocket-Extensions", nth)); nth++)
    if (lw_deflate_answer(text, &u->params, field->value, u->deflate)) return text;
  return NULL;
}

int lw_upgrade_accept(lw_upgrade *u, lw_buf *out, lw_pool *pool, lw_slice protocol, const char *headers) {
  char text[LW_DEFLATE_TEXT];
  return lw_handshake_switch(out, pool, u->ask.key, protocol, agree(u, text), headers);
}

lw_slice lw_upgrade_rest(const lw_upgrade *u) {
  lw_slice rest = {u->bytes + u->head_size, u->used - u->head_size};
  if (u->refused && rest.n > u->page_size) rest.n = u->page_size;
  return rest;
}

/* Takes n bytes of the page, or fewer: no more than still have room. Returns how many, or LW_ERR_MEMORY. */
static long take_page(lw_upgrade *u, const unsigned char *bytes, size_t n) {
  size_t from = u->used, here = from - u->head_size;
  size_t room = here < u->page_size ? u->page_size - here : 0;
  if (n > room) n = room;
  int err = keep(u, bytes, n);
  if (err < 0) return err;
  dechunk(u, from);
  if (u->used - u->head_size >= u->page_size) u->page_done = 1;
  return (long)n;
}

int lw_upgrade_page(lw_upgrade *u, const unsigned char *bytes, size_t n) {
  long taken;
  int err;
  while ((taken = take_page(u, bytes, n)) >= 0 && (size_t)taken < n && !u->page_done) {
    bytes += taken;
    n -= (size_t)taken;
  }
  err = taken < 0 ? (int)taken : parse(u); /* the bytes may have moved */
  if (err < 0) u->whole = 0;
  return err < 0 ? err : u->page_done;
}
