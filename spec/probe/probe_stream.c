/*
** probe_stream.c -- TLS and streams, driven from Lua over two pipes in memory.
**
**   probe.stream(options) -> s           options: tls = { layer, … }, the first next to the descriptor, each
**                                        { server =, host =, ca =, cert =, key =, insecure =, … }
**   s:cover(layer)                       another layer, between what is there and the owner
**   s:read() -> bytes, wire | nil, error, why
**   s:write{ slice, … } -> verdict, taken, wire | nil, error, why
**   s:pending()  s:done()  s:hasMore()
**   s:give(bytes)  s:eof()               what its descriptor will give
**   s:take() -> bytes                    what was written to its descriptor
**   s:limit(read, write, room)           bytes at a time, and bytes the "system" holds before EAGAIN
**   s:calls() -> recv, sendv             how often each was called since
**   s:warm() -> count                    connections of its (last) context that hold record buffers
**   s:later(ms)                          time goes on, for all streams: it does not by itself
**   s:free()
*/
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "probe.h"
#include "stream.h"
#include "tls_context.h"

#define CLASS "probe.stream"

typedef struct pipe_end {
  unsigned char *bytes;
  size_t used, capacity;
} pipe_end;

typedef struct stream_box {
  lw_loop *loop;
  lw_stream stream;
  lw_tls_context *context; /* of the last layer */
  pipe_end in, out;
  int eof;
  size_t read_limit, write_limit, room; /* 0: none */
  int recvs, sends;
} stream_box;

/* One for all, as in a host: streams with the same options have one context. */
static lw_tls_shelf shelf;

/* The system's calls carry no pointer: they serve the box that is being driven. */
static stream_box *driven;

static void put(lua_State *L, pipe_end *pipe, const void *bytes, size_t n) {
  if (n == 0) return;
  if (pipe->used + n > pipe->capacity) {
    size_t capacity = 2 * (pipe->used + n);
    unsigned char *longer = realloc(pipe->bytes, capacity);
    if (!longer) {
      if (L) luaL_error(L, "no memory");
      abort();
    }
    pipe->bytes = longer;
    pipe->capacity = capacity;
  }
  memcpy(pipe->bytes + pipe->used, bytes, n);
  pipe->used += n;
}

static int64_t instant = 1;

static int64_t memory_now(void) {
  return instant;
}

static ssize_t memory_recv(int fd, void *bytes, size_t n) {
  pipe_end *in = &driven->in;
  (void)fd;
  driven->recvs++;
  if (in->used == 0 && driven->eof) return 0;
  if (in->used == 0) {
    errno = EAGAIN;
    return -1;
  }
  if (n > in->used) n = in->used;
  if (driven->read_limit && n > driven->read_limit) n = driven->read_limit;
  memcpy(bytes, in->bytes, n);
  if (n < in->used) memmove(in->bytes, in->bytes + n, in->used - n);
  in->used -= n;
  return (ssize_t)n;
}

static ssize_t memory_sendv(int fd, const struct iovec *parts, int count) {
  size_t went = 0;
  (void)fd;
  driven->sends++;
  for (int i = 0; i < count; i++) {
    size_t n = parts[i].iov_len;
    if (driven->write_limit && went + n > driven->write_limit) n = driven->write_limit - went;
    if (driven->room && driven->out.used + n > driven->room) n = driven->room - driven->out.used;
    put(NULL, &driven->out, parts[i].iov_base, n);
    went += n;
    if (n < parts[i].iov_len) break;
  }
  if (went > 0 || count == 0) return (ssize_t)went;
  errno = EAGAIN;
  return -1;
}

static const lw_sys *memory_sys(void) {
  static lw_sys sys;
  sys = lw_sys_real;
  sys.now = memory_now;
  sys.recv = memory_recv;
  sys.sendv = memory_sendv;
  return &sys;
}

static stream_box *check(lua_State *L) {
  driven = luaL_checkudata(L, 1, CLASS);
  if (!driven->loop) luaL_error(L, "the stream was freed");
  lw_loop_clock(driven->loop);
  return driven;
}

static const char *text_field(lua_State *L, int table, const char *name) {
  const char *text;
  lua_getfield(L, table, name);
  text = lua_tostring(L, -1);
  return text; /* stays on the stack */
}

static int flag_field(lua_State *L, int table, const char *name) {
  int flag;
  lua_getfield(L, table, name);
  flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

static void cover(lua_State *L, stream_box *s, int table) {
  lw_tls_pair pair = {text_field(L, table, "cert"), text_field(L, table, "key"), NULL};
  lw_tls_options options;
  lw_tls_context *context;
  lw_tls *tls;
  const char *host;
  char why[LW_TLS_WHY];
  int err;
  memset(&options, 0, sizeof options);
  options.server = flag_field(L, table, "server");
  options.insecure = flag_field(L, table, "insecure");
  options.min_version = flag_field(L, table, "tls13") ? 13 : 12;
  options.ca = text_field(L, table, "ca");
  options.ciphers = text_field(L, table, "ciphers");
  options.pairs = &pair;
  options.pair_count = pair.cert != NULL;
  host = text_field(L, table, "host");
  context = lw_tls_shelf_get(&shelf, &lw_sys_real, &options, why, &err);
  if (!context) luaL_error(L, "tls: %s", err == LW_ERR_TLS ? why : lw_strerror(err));
  tls = lw_tls_new(context, &s->loop->pool, options.server ? NULL : host ? host : "localhost", 443);
  lw_tls_context_release(s->context);
  s->context = context;
  if (!tls) luaL_error(L, "no memory");
  lw_stream_cover(&s->stream, tls);
}

static int stream_new(lua_State *L) {
  stream_box *s = lua_newuserdatauv(L, sizeof *s, 0);
  memset(s, 0, sizeof *s);
  luaL_setmetatable(L, CLASS);
  if (!(s->loop = lw_loop_new(memory_sys(), NULL))) return luaL_error(L, "no memory");
  lua_getfield(L, 1, "tls");
  for (int i = 1, count = (int)lua_rawlen(L, -1); i <= count; i++) {
    int top = lua_gettop(L);
    lua_rawgeti(L, top, i);
    cover(L, s, top + 1);
    lua_settop(L, top);
  }
  lua_settop(L, 2);
  return 1;
}

static int stream_cover(lua_State *L) {
  cover(L, check(L), 2);
  return 0;
}

static int fail(lua_State *L, const stream_box *s, int err) {
  const char *why = err == LW_ERR_TLS ? lw_stream_why(&s->stream) : NULL;
  probe_fail(L, err);
  lua_pushstring(L, why);
  return 3;
}

static int stream_read(lua_State *L) {
  stream_box *s = check(L);
  unsigned char *bytes = lw_loop_receive(s->loop);
  size_t wire;
  long got = lw_stream_read(&s->stream, s->loop, 0, bytes, LW_STREAM_MOST, &wire);
  if (got < 0) return fail(L, s, (int)got);
  lua_pushlstring(L, (const char *)bytes, (size_t)got);
  lua_pushinteger(L, (lua_Integer)wire);
  return 2;
}

static int stream_write(lua_State *L) {
  static const char *const verdicts[] = {"full", "went", "waits"};
  stream_box *s = check(L);
  lw_slice slices[64];
  int count = lua_istable(L, 2) ? (int)lua_rawlen(L, 2) : 0, verdict;
  size_t taken, wire;
  for (int i = 0; i < count && i < 64; i++) {
    lua_rawgeti(L, 2, i + 1);
    slices[i].bytes = (const unsigned char *)luaL_checklstring(L, -1, &slices[i].n);
    lua_pop(L, 1); /* the table keeps it */
  }
  verdict = lw_stream_write(&s->stream, s->loop, 0, slices, count, &taken, &wire);
  if (verdict < 0) return fail(L, s, verdict);
  lua_pushstring(L, verdicts[verdict]);
  lua_pushinteger(L, (lua_Integer)taken);
  lua_pushinteger(L, (lua_Integer)wire);
  return 3;
}

static int stream_pending(lua_State *L) {
  lua_pushboolean(L, lw_stream_pending(&check(L)->stream));
  return 1;
}

static int stream_has_more(lua_State *L) {
  lua_pushboolean(L, lw_stream_has_more(&check(L)->stream));
  return 1;
}

static int stream_done(lua_State *L) {
  lw_stream_end(&check(L)->stream);
  return 0;
}

static int stream_give(lua_State *L) {
  stream_box *s = check(L);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  put(L, &s->in, bytes, n);
  return 0;
}

static int stream_eof(lua_State *L) {
  check(L)->eof = 1;
  return 0;
}

static int stream_take(lua_State *L) {
  stream_box *s = check(L);
  lua_pushlstring(L, (const char *)s->out.bytes, s->out.used);
  s->out.used = 0;
  return 1;
}

static int stream_limit(lua_State *L) {
  stream_box *s = check(L);
  s->read_limit = (size_t)luaL_optinteger(L, 2, 0);
  s->write_limit = (size_t)luaL_optinteger(L, 3, 0);
  s->room = (size_t)luaL_optinteger(L, 4, 0);
  return 0;
}

static int stream_calls(lua_State *L) {
  stream_box *s = check(L);
  lua_pushinteger(L, s->recvs);
  lua_pushinteger(L, s->sends);
  s->recvs = s->sends = 0;
  return 2;
}

static int stream_later(lua_State *L) {
  check(L);
  instant += (int64_t)luaL_checkinteger(L, 2) * 1000000;
  return 0;
}

static int stream_warm(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lw_tls_context_ring(check(L)->context)->count);
  return 1;
}

static int stream_free(lua_State *L) {
  stream_box *s = luaL_checkudata(L, 1, CLASS);
  if (!s->loop) return 0;
  lw_stream_clear(&s->stream);
  lw_tls_context_release(s->context);
  lw_loop_free(s->loop);
  s->loop = NULL;
  free(s->in.bytes);
  free(s->out.bytes);
  return 0;
}

static const luaL_Reg methods[] = {
    {"cover", stream_cover}, {"read", stream_read},       {"write", stream_write}, {"pending", stream_pending},
    {"done", stream_done},   {"hasMore", stream_has_more}, {"give", stream_give},   {"eof", stream_eof},
    {"take", stream_take},   {"limit", stream_limit},     {"calls", stream_calls}, {"free", stream_free},
    {"warm", stream_warm},   {"later", stream_later},
    {"__gc", stream_free},   {NULL, NULL},
};

void probe_stream(lua_State *L) {
  probe_class(L, CLASS, methods);
  lua_pushcfunction(L, stream_new);
  lua_setfield(L, -2, "stream");
}
