/*
** probe_protocol.c -- floor 1 below session for specs: frame, url, http, handshake.
*/
#include "probe.h"

#include <string.h>

#include "buf.h"
#include "crypt.h"
#include "frame.h"
#include "handshake.h"
#include "http.h"
#include "url.h"

/* --- tables from C and back --- */

/* Sets field `name` of the table on top. */
static void set_number(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, int value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value); /* NULL is nil */
  lua_setfield(L, -2, name);
}

static void set_slice(lua_State *L, const char *name, lw_slice value) {
  lua_pushlstring(L, (const char *)value.bytes, value.n);
  lua_setfield(L, -2, name);
}

/* A string field of the table at `arg`, or NULL; the table keeps it alive. */
static const char *text_of(lua_State *L, int arg, const char *name) {
  lua_getfield(L, arg, name);
  const char *text = lua_tostring(L, -1);
  lua_pop(L, 1);
  return text;
}

static lua_Integer number_of(lua_State *L, int arg, const char *name) {
  lua_getfield(L, arg, name);
  lua_Integer number = lua_isboolean(L, -1) ? lua_toboolean(L, -1) : lua_tointeger(L, -1);
  lua_pop(L, 1);
  return number;
}

/* --- frame --- */

/* decode(bytes): bytes used (0: more are needed) and the frame as far as it is known, or nil and the error */
static int frame_decode(lua_State *L) {
  size_t n;
  lw_frame frame = {0};
  const unsigned char *bytes = probe_check_exact(L, 1, &n);
  int used = lw_frame_decode(&frame, bytes, n);
  if (used < 0) return probe_fail(L, used);
  lua_pushinteger(L, used);
  lua_newtable(L);
  set_flag(L, "fin", frame.fin);
  set_number(L, "rsv", frame.rsv);
  set_number(L, "opcode", frame.opcode);
  set_flag(L, "masked", frame.masked);
  set_number(L, "length", (lua_Integer)frame.length);
  if (frame.masked) set_slice(L, "key", (lw_slice){frame.key, 4});
  return 2;
}

/* encode{fin=, rsv=, opcode=, length=, key=}: the header's bytes */
static int frame_encode(lua_State *L) {
  unsigned char bytes[LW_FRAME_MAX];
  lw_frame frame = {.length = (uint64_t)number_of(L, 1, "length")};
  const char *key = text_of(L, 1, "key");
  frame.fin = (unsigned char)number_of(L, 1, "fin");
  frame.rsv = (unsigned char)number_of(L, 1, "rsv");
  frame.opcode = (unsigned char)number_of(L, 1, "opcode");
  frame.masked = key != NULL;
  if (key) memcpy(frame.key, key, 4);
  lua_pushlstring(L, (const char *)bytes, lw_frame_encode(&frame, bytes));
  return 1;
}

static int frame_code_valid(lua_State *L) {
  lua_pushboolean(L, lw_close_code_valid((unsigned)luaL_checkinteger(L, 1)));
  return 1;
}

static const luaL_Reg frame_functions[] = {
    {"decode", frame_decode},
    {"encode", frame_encode},
    {"codeValid", frame_code_valid},
    {NULL, NULL},
};

/* --- url --- */

/* What a URL came to, as a table, or nil and the error. Clears it. */
static int push_url(lua_State *L, lw_url *of, int err) {
  lw_url url = *of;
  if (err < 0) {
    if (url.memory) return luaL_error(L, "a URL that failed owns memory");
    return probe_fail(L, err);
  }
  lua_newtable(L);
  set_text(L, "href", url.href);
  set_text(L, "origin", url.origin);
  set_text(L, "host", url.host);
  set_text(L, "authority", url.authority);
  set_text(L, "resource", url.resource);
  set_text(L, "path", url.path);
  set_text(L, "user", url.user);
  set_text(L, "password", url.password);
  set_number(L, "port", url.port);
  set_flag(L, "secure", url.secure);
  set_flag(L, "isIp", url.is_ip);
  lw_url_clear(of);
  return 1;
}

/* parse(text): a table, or nil and the error */
static int url_parse(lua_State *L) {
  size_t n;
  lw_url url = {0};
  const unsigned char *text = probe_check_exact(L, 1, &n);
  int err = lw_url_parse(&url, (const char *)text, n);
  return push_url(L, &url, err);
}

/* join(base, reference): the same */
static int url_join(lua_State *L) {
  size_t base_n, n;
  lw_url base, url;
  const char *base_text = luaL_checklstring(L, 1, &base_n);
  const unsigned char *text = probe_check_exact(L, 2, &n);
  int err = lw_url_parse(&base, base_text, base_n);
  if (err < 0) return luaL_error(L, "no URL: %s", base_text);
  err = lw_url_join(&url, &base, (const char *)text, n);
  lw_url_clear(&base);
  return push_url(L, &url, err);
}

static const luaL_Reg url_functions[] = {
    {"parse", url_parse},
    {"join", url_join},
    {NULL, NULL},
};

/* --- http --- */

#define SCANNER "probe.scanner"
#define MAX_FIELDS 100

typedef struct scanner {
  size_t max_size, scanned;
} scanner;

/* scanner(maxSize) */
static int scanner_new(lua_State *L) {
  size_t max_size = (size_t)luaL_checkinteger(L, 1);
  scanner *s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = (scanner){.max_size = max_size};
  luaL_setmetatable(L, SCANNER);
  return 1;
}

/* scanner(bytes): all that came so far; the head's length, 0, or nil and the error */
static int scanner_call(lua_State *L) {
  size_t n;
  scanner *s = luaL_checkudata(L, 1, SCANNER);
  const unsigned char *bytes = probe_check_exact(L, 2, &n);
  long length = lw_http_end(bytes, n, s->max_size, &s->scanned);
  if (length < 0) return probe_fail(L, (int)length);
  lua_pushinteger(L, length);
  return 1;
}

static const luaL_Reg scanner_methods[] = {
    {"__call", scanner_call},
    {NULL, NULL},
};

/* The head parsed from the string argument; its bytes stay on the stack in its place. */
static int parse_head(lua_State *L, int arg, lw_http_head *head, lw_http_field *fields, size_t max,
                      int (*parser)(lw_http_head *, const unsigned char *, size_t)) {
  size_t n;
  const unsigned char *bytes = probe_check_exact(L, arg, &n);
  head->fields = fields;
  head->max_fields = max;
  return parser(head, bytes, n);
}

/* {minor=, fields={{name, value}, …}} */
static void push_head(lua_State *L, const lw_http_head *head) {
  lua_newtable(L);
  set_number(L, "minor", head->minor);
  lua_newtable(L);
  for (size_t i = 0; i < head->count; i++) {
    lua_newtable(L);
    lua_pushlstring(L, (const char *)head->fields[i].name.bytes, head->fields[i].name.n);
    lua_rawseti(L, -2, 1);
    lua_pushlstring(L, (const char *)head->fields[i].value.bytes, head->fields[i].value.n);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "fields");
}

static size_t check_max(lua_State *L, int arg) {
  lua_Integer max = luaL_optinteger(L, arg, MAX_FIELDS);
  luaL_argcheck(L, max >= 0 && max <= MAX_FIELDS, arg, "too many");
  return (size_t)max;
}

/* request(bytes [, max]): a table, or nil and the error */
static int http_request(lua_State *L) {
  lw_http_field fields[MAX_FIELDS];
  lw_http_head head;
  int err = parse_head(L, 1, &head, fields, check_max(L, 2), lw_http_request);
  if (err < 0) return probe_fail(L, err);
  push_head(L, &head);
  set_slice(L, "method", head.method);
  set_slice(L, "target", head.target);
  set_slice(L, "authority", head.authority);
  return 1;
}

/* response(bytes [, max]): a table, or nil and the error */
static int http_response(lua_State *L) {
  lw_http_field fields[MAX_FIELDS];
  lw_http_head head;
  int err = parse_head(L, 1, &head, fields, check_max(L, 2), lw_http_response);
  if (err < 0) return probe_fail(L, err);
  push_head(L, &head);
  set_number(L, "status", head.status);
  set_slice(L, "reason", head.reason);
  return 1;
}

/* A request that must parse, for what looks things up in it. */
static void check_request(lua_State *L, int arg, lw_http_head *head,
                          lw_http_field fields[MAX_FIELDS]) {
  int err = parse_head(L, arg, head, fields, MAX_FIELDS, lw_http_request);
  if (err < 0) luaL_error(L, "the request does not parse: %s", lw_strerror(err));
}

/* field(bytes, name [, nth]): the value, or nil */
static int http_field(lua_State *L) {
  lw_http_field fields[MAX_FIELDS];
  lw_http_head head;
  check_request(L, 1, &head, fields);
  const lw_http_field *field =
      lw_http_field_at(&head, luaL_checkstring(L, 2), (size_t)luaL_optinteger(L, 3, 0));
  if (!field) return 0;
  lua_pushlstring(L, (const char *)field->value.bytes, field->value.n);
  return 1;
}

/* hasToken(bytes, name, token) */
static int http_has_token(lua_State *L) {
  lw_http_field fields[MAX_FIELDS];
  lw_http_head head;
  check_request(L, 1, &head, fields);
  lua_pushboolean(L, lw_http_has_token(&head, luaL_checkstring(L, 2), luaL_checkstring(L, 3)));
  return 1;
}

/* list(value): its elements */
static int http_list(lua_State *L) {
  lw_slice rest, element;
  rest.bytes = probe_check_exact(L, 1, &rest.n);
  lua_newtable(L);
  for (int i = 1; lw_http_list_next(&rest, &element); i++) {
    lua_pushlstring(L, (const char *)element.bytes, element.n);
    lua_rawseti(L, -2, i);
  }
  return 1;
}

/* is(bytes, text), equals(bytes, text) */
static int http_is(lua_State *L) {
  lw_slice slice;
  slice.bytes = probe_check_exact(L, 1, &slice.n);
  lua_pushboolean(L, lw_slice_is(slice, luaL_checkstring(L, 2)));
  lua_pushboolean(L, lw_slice_equals(slice, luaL_checkstring(L, 2)));
  return 2;
}

static int http_is_token(lua_State *L) {
  size_t n;
  const unsigned char *bytes = probe_check_exact(L, 1, &n);
  lua_pushboolean(L, lw_http_is_token((const char *)bytes, n));
  return 1;
}

static int http_is_value(lua_State *L) {
  size_t n;
  const unsigned char *bytes = probe_check_exact(L, 1, &n);
  lua_pushboolean(L, lw_http_is_value((const char *)bytes, n));
  return 1;
}

/* --- http.chunks: a body as it arrives, taken apart where it lies --- */

static int chunks_new(lua_State *L) {
  memset(lua_newuserdatauv(L, sizeof(lw_http_chunks), 0), 0, sizeof(lw_http_chunks));
  luaL_setmetatable(L, "probe.Chunks");
  return 1;
}

/* chunks:feed(bytes): the content, and true (whole), false (more must come), or nil and the error */
static int chunks_feed(lua_State *L) {
  lw_http_chunks *chunks = luaL_checkudata(L, 1, "probe.Chunks");
  size_t n, kept;
  unsigned char *bytes = probe_check_exact(L, 2, &n);
  int got = lw_http_dechunk(chunks, bytes, n, bytes, &kept);
  lua_pushlstring(L, (const char *)bytes, kept);
  if (got < 0) return 1 + probe_fail(L, got);
  lua_pushboolean(L, got);
  return 2;
}

static const luaL_Reg chunks_methods[] = {{"feed", chunks_feed}, {NULL, NULL}};

static int http_reason(lua_State *L) {
  lua_pushstring(L, lw_http_reason((int)luaL_checkinteger(L, 1)));
  return 1;
}

static const luaL_Reg http_functions[] = {
    {"scanner", scanner_new},
    {"chunks", chunks_new},
    {"request", http_request},
    {"response", http_response},
    {"field", http_field},
    {"list", http_list},
    {"hasToken", http_has_token},
    {"is", http_is},
    {"isToken", http_is_token},
    {"isValue", http_is_value},
    {"reason", http_reason},
    {NULL, NULL},
};

/* --- handshake --- */

/* accept(key): for any 24 characters */
static int handshake_accept(lua_State *L) {
  char accept[LW_ACCEPT_SIZE];
  size_t n;
  const char *key = (const char *)probe_check_exact(L, 1, &n);
  luaL_argcheck(L, n == LW_KEY_SIZE, 1, "no key");
  int err = lw_handshake_accept(accept, key);
  if (err < 0) return probe_fail(L, err);
  lua_pushlstring(L, accept, sizeof accept);
  return 1;
}

/* key(): a fresh one */
static int handshake_key(lua_State *L) {
  char key[LW_KEY_SIZE];
  lw_entropy entropy = {.left = 0};
  int err = lw_handshake_key(key, &entropy);
  if (err < 0) return probe_fail(L, err);
  lua_pushlstring(L, key, sizeof key);
  return 1;
}

/* All that is queued, as one string; the queue is empty then. */
static int push_queue(lua_State *L, lw_buf *buf, int err) {
  lw_slice slice = {(const unsigned char *)"", 0};
  if (err == 0 && lw_buf_slices(buf, &slice, 1) == 1 && slice.n != buf->length)
    err = luaL_error(L, "not in one piece");
  if (err == 0) lua_pushlstring(L, (const char *)slice.bytes, slice.n);
  int content = lw_buf_content(buf) != 0, left = err < 0 && buf->length > 0;
  lw_buf_clear(buf, NULL);
  if (content || left) return luaL_error(L, "what is queued is wrong");
  return err < 0 ? probe_fail(L, err) : 1;
}

/* From {url=, protocols=, extensions=, origin=, userAgent=, headers=}; the URL is the caller's to clear. */
static void check_offer(lua_State *L, int arg, lw_handshake_offer *offer, lw_url *url) {
  const char *text = text_of(L, arg, "url");
  if (!text) text = "ws://server.example.com/chat";
  if (lw_url_parse(url, text, strlen(text)) < 0) luaL_error(L, "no URL: %s", text);
  *offer = (lw_handshake_offer){.url = url};
  offer->protocols = text_of(L, arg, "protocols");
  offer->extensions = text_of(L, arg, "extensions");
  offer->origin = text_of(L, arg, "origin");
  offer->user_agent = text_of(L, arg, "userAgent");
  offer->headers = text_of(L, arg, "headers");
}

/* request(offer, key): the bytes */
static int handshake_request(lua_State *L) {
  lw_handshake_offer offer;
  lw_url url = {0};
  lw_buf out;
  luaL_argcheck(L, strlen(luaL_checkstring(L, 2)) == LW_KEY_SIZE, 2, "no key");
  check_offer(L, 1, &offer, &url);
  lw_buf_init(&out);
  int err = lw_handshake_request(&out, NULL, &offer, lua_tostring(L, 2));
  lw_url_clear(&url);
  return push_queue(L, &out, err);
}

/* response(bytes, offer, key): {protocol=, extensions=}, or nil and the error (of http, too) */
static int handshake_response(lua_State *L) {
  lw_http_field fields[MAX_FIELDS];
  lw_http_head head;
  lw_handshake_offer offer;
  lw_url url = {0};
  lw_slice protocol, extensions;
  luaL_argcheck(L, strlen(luaL_checkstring(L, 3)) == LW_KEY_SIZE, 3, "no key");
  int err = parse_head(L, 1, &head, fields, MAX_FIELDS, lw_http_response);
  if (err < 0) return probe_fail(L, err);
  check_offer(L, 2, &offer, &url);
  err = lw_handshake_response(&head, &offer, lua_tostring(L, 3), &protocol, &extensions);
  lw_url_clear(&url);
  if (err < 0) return probe_fail(L, err);
  lua_newtable(L);
  set_slice(L, "protocol", protocol);
  set_slice(L, "extensions", extensions);
  return 1;
}

static int fail_with_status(lua_State *L, int err) {
  probe_fail(L, err);
  lua_pushinteger(L, lw_handshake_status(err));
  return 3;
}

/* judge(bytes): {upgrade=, key=, protocols={…}}, or nil, the error (of http, too) and its status */
static int handshake_judge(lua_State *L) {
  lw_http_field fields[MAX_FIELDS];
  lw_http_head head;
  lw_handshake_ask ask = {0};
  lw_slice protocol;
  int err = parse_head(L, 1, &head, fields, MAX_FIELDS, lw_http_request);
  if (err == 0) err = lw_handshake_judge(&head, &ask);
  if (err < 0) return fail_with_status(L, err);
  lua_newtable(L);
  set_flag(L, "upgrade", ask.upgrade);
  if (ask.upgrade) set_slice(L, "key", (lw_slice){(const unsigned char *)ask.key, LW_KEY_SIZE});
  lua_newtable(L);
  for (size_t nth = 0; ask.upgrade && lw_handshake_protocol(&head, nth, &protocol); nth++) {
    lua_pushlstring(L, (const char *)protocol.bytes, protocol.n);
    lua_rawseti(L, -2, (lua_Integer)nth + 1);
  }
  if (lua_rawlen(L, -1) != ask.protocol_count) return luaL_error(L, "protocols counted wrong");
  lua_setfield(L, -2, "protocols");
  return 1;
}

static int handshake_status(lua_State *L) {
  lua_pushinteger(L, lw_handshake_status(probe_check_err(L, 1)));
  return 1;
}

/* sameOrigin(bytes) */
static int handshake_same_origin(lua_State *L) {
  lw_http_field fields[MAX_FIELDS];
  lw_http_head head;
  check_request(L, 1, &head, fields);
  lua_pushboolean(L, lw_handshake_same_origin(&head));
  return 1;
}

/* switch(key [, protocol [, extensions [, headers]]]): the bytes */
static int handshake_switch(lua_State *L) {
  lw_buf out;
  lw_slice protocol;
  size_t n;
  const char *key = luaL_checklstring(L, 1, &n);
  luaL_argcheck(L, n == LW_KEY_SIZE, 1, "no key");
  protocol.bytes = (const unsigned char *)luaL_optlstring(L, 2, "", &protocol.n);
  lw_buf_init(&out);
  return push_queue(L, &out,
                    lw_handshake_switch(&out, NULL, key, protocol, luaL_optstring(L, 3, NULL),
                                        luaL_optstring(L, 4, NULL)));
}

/* respond(status [, headers [, body [, headOnly]]]): the bytes */
static int handshake_respond(lua_State *L) {
  lw_buf out;
  size_t n;
  int status = (int)luaL_checkinteger(L, 1);
  const char *headers = luaL_optstring(L, 2, NULL), *body = luaL_optlstring(L, 3, "", &n);
  lw_buf_init(&out);
  return push_queue(
      L, &out, lw_handshake_respond(&out, NULL, status, headers, body, n, lua_toboolean(L, 4)));
}

static const luaL_Reg handshake_functions[] = {
    {"accept", handshake_accept},
    {"key", handshake_key},
    {"request", handshake_request},
    {"response", handshake_response},
    {"judge", handshake_judge},
    {"status", handshake_status},
    {"switch", handshake_switch},
    {"respond", handshake_respond},
    {"sameOrigin", handshake_same_origin},
    {NULL, NULL},
};

void probe_protocol(lua_State *L) {
  probe_class(L, SCANNER, scanner_methods);
  probe_class(L, "probe.Chunks", chunks_methods);
  probe_library(L, "frame", frame_functions);
  probe_library(L, "url", url_functions);
  probe_library(L, "http", http_functions);
  probe_library(L, "handshake", handshake_functions);
}
