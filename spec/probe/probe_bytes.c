/*
** probe_bytes.c -- floor 0 for specs: buf, utf8, mask, crypt.
*/
#define OPENSSL_SUPPRESS_DEPRECATED /* RAND_set_rand_method: how else to see randomness fail */

#include "probe.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <string.h>

#include "buf.h"
#include "crypt.h"
#include "mask.h"
#include "utf8.h"

/* --- pools and chunks --- */

#define POOL "probe.pool"
#define CHUNK "probe.chunk"
#define BUF "probe.buf"

static lw_pool *check_pool(lua_State *L, int arg) {
  return luaL_checkudata(L, arg, POOL);
}

/* pool() */
static int pool_new(lua_State *L) {
  lw_pool *pool = lua_newuserdatauv(L, sizeof *pool, 0);
  *pool = (lw_pool){0};
  luaL_setmetatable(L, POOL);
  return 1;
}

static int pool_kept(lua_State *L) {
  const lw_pool *pool = check_pool(L, 1);
  unsigned count = 0;
  for (const lw_chunk *chunk = pool->free; chunk; chunk = chunk->next)
    count++;
  if (count != pool->kept)
    return luaL_error(L, "the pool counts %d, and has %d", pool->kept, count);
  lua_pushinteger(L, count);
  return 1;
}

static int pool_clear(lua_State *L) {
  lw_pool_clear(check_pool(L, 1));
  return 0;
}

static const luaL_Reg pool_methods[] = {
    {"kept", pool_kept},
    {"clear", pool_clear},
    {"__gc", pool_clear},
    {NULL, NULL},
};

/* The pool an object was made with: its user value. */
static lw_pool *pool_of(lua_State *L, int arg) {
  lua_getiuservalue(L, arg, 1);
  lw_pool *pool = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return pool;
}

static lw_chunk **check_chunk(lua_State *L, int arg) {
  return luaL_checkudata(L, arg, CHUNK);
}

/* chunk(pool, bytes [, room [, measured]]): filled with these bytes; nil when there is no memory */
static int chunk_new(lua_State *L) {
  size_t n;
  lw_pool *pool = check_pool(L, 1);
  const char *bytes = luaL_checklstring(L, 2, &n);
  size_t room = (size_t)luaL_optinteger(L, 3, (lua_Integer)n);
  lw_chunk **chunk = lua_newuserdatauv(L, sizeof *chunk, 1);
  *chunk = NULL;
  luaL_setmetatable(L, CHUNK);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  *chunk = lua_toboolean(L, 4) ? lw_chunk_measured(pool, room) : lw_chunk_new(pool, room);
  if (!*chunk) return 0;
  memcpy((*chunk)->bytes, bytes, n);
  (*chunk)->used = n;
  return 1;
}

static int chunk_refs(lua_State *L) {
  lua_pushinteger(L, (*check_chunk(L, 1))->refs);
  return 1;
}

static int chunk_capacity(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)(*check_chunk(L, 1))->capacity);
  return 1;
}

static int chunk_release(lua_State *L) {
  lw_chunk **chunk = check_chunk(L, 1);
  lw_chunk_release(pool_of(L, 1), *chunk);
  *chunk = NULL;
  return 0;
}

static const luaL_Reg chunk_methods[] = {
    {"refs", chunk_refs},
    {"capacity", chunk_capacity},
    {"release", chunk_release},
    {"__gc", chunk_release},
    {NULL, NULL},
};

/* --- buf --- */

static lw_buf *check_buf(lua_State *L, int arg) {
  return luaL_checkudata(L, arg, BUF);
}

/* buf(pool [, frugal]) */
static int buf_new(lua_State *L) {
  check_pool(L, 1);
  lua_settop(L, 2);
  lw_buf *buf = lua_newuserdatauv(L, sizeof *buf, 1);
  lw_buf_init(buf);
  buf->frugal = lua_toboolean(L, 2) != 0;
  luaL_setmetatable(L, BUF);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* 0: the queue itself, which may be chained; else nil and the error. */
static int buf_result(lua_State *L, int err) {
  if (err < 0) return probe_fail(L, err);
  lua_settop(L, 1);
  return 1;
}

/* buf:put(bytes [, content [, room]]): reserves room (n by default), writes, commits n */
static int buf_put(lua_State *L) {
  size_t n;
  lw_buf *buf = check_buf(L, 1);
  const char *bytes = luaL_checklstring(L, 2, &n);
  size_t content = (size_t)luaL_optinteger(L, 3, 0);
  size_t room = (size_t)luaL_optinteger(L, 4, (lua_Integer)n);
  unsigned char *to = lw_buf_reserve(buf, pool_of(L, 1), room);
  if (!to) return probe_fail(L, LW_ERR_MEMORY);
  if (room <= LW_CHUNK_SIZE * 1024) memset(to, 0xee, room); /* all of it is ours to write */
  memcpy(to, bytes, n);
  lw_buf_commit(buf, n, content);
  return buf_result(L, 0);
}

/* buf:reserve(n): without a commit; true or nil */
static int buf_reserve(lua_State *L) {
  lw_buf *buf = check_buf(L, 1);
  if (!lw_buf_reserve(buf, pool_of(L, 1), (size_t)luaL_checkinteger(L, 2))) return 0;
  lua_pushboolean(L, 1);
  return 1;
}

static int buf_append(lua_State *L) {
  size_t n;
  lw_buf *buf = check_buf(L, 1);
  const char *bytes = luaL_checklstring(L, 2, &n);
  return buf_result(L, lw_buf_append(buf, pool_of(L, 1), bytes, n));
}

/* buf:share(chunk [, content]) */
static int buf_share(lua_State *L) {
  lw_buf *buf = check_buf(L, 1);
  return buf_result(L, lw_buf_share(buf, *check_chunk(L, 2), (size_t)luaL_optinteger(L, 3, 0)));
}

/* buf:slices([max]): a list of strings */
static int buf_slices(lua_State *L) {
  lw_slice slices[64];
  int count = lw_buf_slices(check_buf(L, 1), slices, (int)luaL_optinteger(L, 2, 64));
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    lua_pushlstring(L, (const char *)slices[i].bytes, slices[i].n);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int buf_consume(lua_State *L) {
  lw_buf *buf = check_buf(L, 1);
  size_t n = (size_t)luaL_checkinteger(L, 2);
  luaL_argcheck(L, n <= buf->length, 2, "more than is queued");
  lw_buf_consume(buf, pool_of(L, 1), n);
  return buf_result(L, 0);
}

static int buf_clear(lua_State *L) {
  lw_buf_clear(check_buf(L, 1), pool_of(L, 1));
  return buf_result(L, 0);
}

static int buf_content(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lw_buf_content(check_buf(L, 1)));
  return 1;
}

static int buf_length(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_buf(L, 1)->length);
  return 1;
}

/* buf:spans(): how many, and how many the ring has room for (0: there is no ring) */
static int buf_spans(lua_State *L) {
  const lw_buf *buf = check_buf(L, 1);
  lua_pushinteger(L, buf->count);
  lua_pushinteger(L, buf->spans ? buf->capacity : 0);
  return 2;
}

/* buf:rooms(): bytes of all chunks it refers to, used or not */
static int buf_rooms(lua_State *L) {
  const lw_buf *buf = check_buf(L, 1);
  size_t total = 0;
  for (unsigned i = 0; i < buf->count; i++)
    total += (buf->spans ? buf->spans[(buf->head + i) & (buf->capacity - 1)] : buf->one).chunk->capacity;
  lua_pushinteger(L, (lua_Integer)total);
  return 1;
}

static const luaL_Reg buf_methods[] = {
    {"put", buf_put},     {"reserve", buf_reserve}, {"append", buf_append},
    {"share", buf_share}, {"slices", buf_slices},   {"consume", buf_consume},
    {"clear", buf_clear}, {"content", buf_content}, {"length", buf_length},
    {"spans", buf_spans}, {"rooms", buf_rooms},     {"__gc", buf_clear},
    {NULL, NULL},
};

/* --- utf8 --- */

/* feed(state, bytes): the next state */
static int utf8_feed(lua_State *L) {
  size_t n;
  uint32_t state = (uint32_t)luaL_checkinteger(L, 1);
  const unsigned char *bytes = probe_check_exact(L, 2, &n);
  lua_pushinteger(L, lw_utf8_feed(state, bytes, n));
  return 1;
}

static int utf8_valid(lua_State *L) {
  size_t n;
  const unsigned char *bytes = probe_check_exact(L, 1, &n);
  lua_pushboolean(L, lw_utf8_valid(bytes, n));
  return 1;
}

static char utf8_verdict(uint32_t state) {
  return state == LW_UTF8_ACCEPT ? '.' : state == LW_UTF8_REJECT ? 'x' : '+';
}

/* row(prefix): 256 verdicts, one for each byte behind the prefix: "." whole, "+" unfinished, "x" never */
static int utf8_row(lua_State *L) {
  size_t n;
  char row[256];
  unsigned char bytes[64];
  const char *prefix = luaL_checklstring(L, 1, &n);
  luaL_argcheck(L, n < sizeof bytes, 1, "too long");
  memcpy(bytes, prefix, n);
  for (int c = 0; c < 256; c++) {
    bytes[n] = (unsigned char)c;
    row[c] = utf8_verdict(lw_utf8_feed(LW_UTF8_ACCEPT, bytes, n + 1));
  }
  lua_pushlstring(L, row, sizeof row);
  return 1;
}

static const luaL_Reg utf8_functions[] = {
    {"feed", utf8_feed},
    {"valid", utf8_valid},
    {"row", utf8_row},
    {NULL, NULL},
};

/* --- mask --- */

/*
** mask(bytes, key [, offset [, to [, from]]]): read `from` bytes past alignment, written `to`
** bytes past it; from nil: in place.
*/
static int mask(lua_State *L) {
  size_t n;
  lua_settop(L, 5);
  const char *bytes = luaL_checklstring(L, 1, &n);
  const unsigned char *key = (const unsigned char *)luaL_checkstring(L, 2);
  size_t offset = (size_t)luaL_optinteger(L, 3, 0), to = (size_t)luaL_optinteger(L, 4, 0);
  unsigned char *target = (unsigned char *)lua_newuserdatauv(L, n + to, 0) + to;
  if (lua_isnoneornil(L, 5)) {
    memcpy(target, bytes, n);
    lw_mask(target, target, n, key, offset);
  } else {
    size_t from = (size_t)luaL_checkinteger(L, 5);
    unsigned char *source = (unsigned char *)lua_newuserdatauv(L, n + from, 0) + from;
    memcpy(source, bytes, n);
    lw_mask(target, source, n, key, offset);
  }
  lua_pushlstring(L, (const char *)target, n);
  return 1;
}

/* --- crypt --- */

#define ENTROPY "probe.entropy"

static int crypt_random(lua_State *L) {
  size_t n = (size_t)luaL_checkinteger(L, 1);
  unsigned char *bytes = lua_newuserdatauv(L, n, 0);
  int err = lw_random(bytes, n);
  if (err < 0) return probe_fail(L, err);
  lua_pushlstring(L, (const char *)bytes, n);
  return 1;
}

static int crypt_sha1(lua_State *L) {
  size_t n;
  unsigned char digest[LW_SHA1_SIZE];
  const unsigned char *bytes = probe_check_exact(L, 1, &n);
  int err = lw_sha1(digest, bytes, n);
  if (err < 0) return probe_fail(L, err);
  lua_pushlstring(L, (const char *)digest, sizeof digest);
  return 1;
}

static int crypt_encode(lua_State *L) {
  size_t n;
  const unsigned char *bytes = probe_check_exact(L, 1, &n);
  char *text = lua_newuserdatauv(L, LW_BASE64_SIZE(n), 0);
  lua_pushlstring(L, text, lw_base64_encode(text, bytes, n));
  return 1;
}

static int crypt_decode(lua_State *L) {
  size_t n;
  const unsigned char *text = probe_check_exact(L, 1, &n);
  unsigned char *bytes = lua_newuserdatauv(L, n / 4 * 3, 0);
  long length = lw_base64_decode(bytes, (const char *)text, n);
  if (length < 0) return 0;
  lua_pushlstring(L, (const char *)bytes, (size_t)length);
  return 1;
}

/* entropy(): an empty stock */
static int entropy_new(lua_State *L) {
  lw_entropy *entropy = lua_newuserdatauv(L, sizeof *entropy, 0);
  *entropy = (lw_entropy){0};
  luaL_setmetatable(L, ENTROPY);
  return 1;
}

static int entropy_take(lua_State *L) {
  unsigned char bytes[1024];
  lw_entropy *entropy = luaL_checkudata(L, 1, ENTROPY);
  size_t n = (size_t)luaL_checkinteger(L, 2);
  luaL_argcheck(L, n <= sizeof bytes, 2, "too many");
  int err = lw_entropy_take(entropy, bytes, n);
  if (err < 0) return probe_fail(L, err);
  lua_pushlstring(L, (const char *)bytes, n);
  return 1;
}

/* entropy:stock(): the bytes left, and all that were handed out or never there */
static int entropy_stock(lua_State *L) {
  const lw_entropy *entropy = luaL_checkudata(L, 1, ENTROPY);
  size_t used = sizeof entropy->bytes - entropy->left;
  lua_pushlstring(L, (const char *)entropy->bytes + used, entropy->left);
  lua_pushlstring(L, (const char *)entropy->bytes, used);
  return 2;
}

static const luaL_Reg entropy_methods[] = {
    {"take", entropy_take},
    {"stock", entropy_stock},
    {NULL, NULL},
};

/* A source of randomness that has run dry, and says so in OpenSSL's error queue. */
static int no_bytes(unsigned char *bytes, int n) {
  memset(bytes, 0xdd, (size_t)n);
  ERR_raise(ERR_LIB_RAND, RAND_R_ERROR_RETRIEVING_ENTROPY);
  return 0;
}

/* fail(flag): from now on randomness fails, or no longer */
static int crypt_fail(lua_State *L) {
  static const RAND_METHOD dry = {.bytes = no_bytes, .pseudorand = no_bytes};
  RAND_set_rand_method(lua_toboolean(L, 1) ? &dry : NULL);
  return 0;
}

/* left(): the oldest entry in OpenSSL's error queue, 0 when it is empty */
static int crypt_left(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)ERR_peek_error());
  return 1;
}

static const luaL_Reg crypt_functions[] = {
    {"random", crypt_random}, {"sha1", crypt_sha1},
    {"encode", crypt_encode}, {"decode", crypt_decode},
    {"entropy", entropy_new}, {"fail", crypt_fail},
    {"left", crypt_left},     {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"pool", pool_new}, {"chunk", chunk_new}, {"buf", buf_new}, {"mask", mask}, {NULL, NULL},
};

void probe_bytes(lua_State *L) {
  probe_class(L, POOL, pool_methods);
  probe_class(L, CHUNK, chunk_methods);
  probe_class(L, BUF, buf_methods);
  probe_class(L, ENTROPY, entropy_methods);
  luaL_setfuncs(L, functions, 0);
  probe_library(L, "utf8", utf8_functions);
  probe_library(L, "crypt", crypt_functions);
}
