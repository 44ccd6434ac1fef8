/*
** probe_deflate.c -- permessage-deflate for specs: lunawire.probe.deflate.
**
** What is fed and what is filled lies in memory of just that size, freed the moment nobody
** has a right to it any more, so that a sanitizer sees every byte too far and every look too late.
*/
#include "probe.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "deflate.h"

#define SHELF "probe.deflate.shelf"
#define DEFLATER "probe.deflate.deflater"
#define INFLATER "probe.deflate.inflater"

/* --- options and parameters --- */

static lua_Integer integer(lua_State *L, int index, const char *name, lua_Integer otherwise) {
  lua_getfield(L, index, name);
  lua_Integer value = luaL_optinteger(L, -1, otherwise);
  lua_pop(L, 1);
  return value;
}

static unsigned char flag(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  int value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return (unsigned char)value;
}

static lw_deflate_wish wish_of(lua_State *L, int index) {
  lw_deflate_wish wish;
  wish.client.bits = (unsigned char)integer(L, index, "clientMaxWindowBits", 15);
  wish.server.bits = (unsigned char)integer(L, index, "serverMaxWindowBits", 15);
  wish.client.fresh = flag(L, index, "clientNoContextTakeover");
  wish.server.fresh = flag(L, index, "serverNoContextTakeover");
  return wish;
}

/* {clientMaxWindowBits=, …, level=, memLevel=, threshold=}, or a list of wishes, or nil */
static void check_options(lua_State *L, int arg, lw_deflate_options *options) {
  lw_deflate_defaults(options);
  if (lua_isnoneornil(L, arg)) return;
  luaL_checktype(L, arg, LUA_TTABLE);
  options->level = (int)integer(L, arg, "level", options->level);
  options->mem_level = (int)integer(L, arg, "memLevel", options->mem_level);
  options->threshold = (size_t)integer(L, arg, "threshold", (lua_Integer)options->threshold);
  unsigned count = (unsigned)lua_rawlen(L, arg);
  luaL_argcheck(L, count <= LW_DEFLATE_WISHES_MAX, arg, "too many wishes");
  if (count == 0) {
    options->wishes[0] = wish_of(L, arg);
    return;
  }
  options->count = count;
  for (unsigned i = 0; i < count; i++) {
    lua_rawgeti(L, arg, (lua_Integer)i + 1);
    options->wishes[i] = wish_of(L, lua_gettop(L));
    lua_pop(L, 1);
  }
}

/* "15", or "9 fresh" */
static void set_way(lua_State *L, const char *name, lw_deflate_way way) {
  lua_pushfstring(L, way.fresh ? "%d fresh" : "%d", way.bits);
  lua_setfield(L, -2, name);
}

/* {client=, server=, ours=, theirs=, name=}, or false where nothing was agreed */
static int push_params(lua_State *L, const lw_deflate_params *params) {
  char text[LW_DEFLATE_TEXT];
  lw_deflate_name(text, params);
  if (!params->agreed) {
    luaL_argcheck(L, text[0] == '\0', 1, "a name, and nothing was agreed");
    lua_pushboolean(L, 0);
    return 1;
  }
  lua_newtable(L);
  set_way(L, "client", params->client);
  set_way(L, "server", params->server);
  set_way(L, "ours", params->ours);
  set_way(L, "theirs", params->theirs);
  lua_pushstring(L, text);
  lua_setfield(L, -2, "name");
  return 1;
}

/* A text that was written into `room` bytes of memory of its own. */
static int push_exact(lua_State *L, const char *text, size_t room) {
  luaL_argcheck(L, strlen(text) < room, 1, "does not fit");
  lua_pushstring(L, text);
  return 1;
}

/* offer(options): the header's value */
static int offer(lua_State *L) {
  lw_deflate_options options;
  check_options(L, 1, &options);
  char *text = lua_newuserdatauv(L, LW_DEFLATE_OFFER, 0);
  lw_deflate_offer(text, &options);
  return push_exact(L, text, LW_DEFLATE_OFFER);
}

/* answer(line, options): the header's value and what was agreed; false: declined */
static int answer(lua_State *L) {
  lw_deflate_options options;
  lw_deflate_params params;
  lw_slice line;
  line.bytes = probe_check_exact(L, 1, &line.n);
  check_options(L, 2, &options);
  char *text = lua_newuserdatauv(L, LW_DEFLATE_TEXT, 0);
  int agreed = lw_deflate_answer(text, &params, line, &options);
  if (agreed != params.agreed || (text[0] != '\0') != agreed)
    return luaL_error(L, "answer and parameters differ");
  if (!agreed) return push_params(L, &params);
  push_exact(L, text, LW_DEFLATE_TEXT);
  push_params(L, &params);
  return 2;
}

/* accept(value, options or false): what was agreed, or nil and the error */
static int accept(lua_State *L) {
  lw_deflate_options options;
  lw_deflate_params params;
  lw_slice value;
  int offered = lua_isnil(L, 2) || lua_toboolean(L, 2);
  value.bytes = probe_check_exact(L, 1, &value.n);
  check_options(L, offered ? 2 : 3, &options);
  int err = lw_deflate_accept(&params, value, offered ? &options : NULL);
  if (err < 0) {
    if (params.agreed) return luaL_error(L, "an error, and yet it is agreed");
    return probe_fail(L, err);
  }
  return push_params(L, &params);
}

/* zlib(): its version */
static int version(lua_State *L) {
  lua_pushstring(L, zlibVersion());
  return 1;
}

/* --- the shelf --- */

static lw_deflate_shelf *check_shelf(lua_State *L, int arg) {
  return luaL_checkudata(L, arg, SHELF);
}

/* shelf() */
static int shelf_new(lua_State *L) {
  lw_deflate_shelf *shelf = lua_newuserdatauv(L, sizeof *shelf, 0);
  memset(shelf, 0, sizeof *shelf);
  luaL_setmetatable(L, SHELF);
  return 1;
}

static int shelf_clear(lua_State *L) {
  lw_deflate_shelf_clear(check_shelf(L, 1));
  return 0;
}

/* shelf:kept(): contexts that wait there, to compress and to decompress */
static int shelf_kept(lua_State *L) {
  const lw_deflate_shelf *shelf = check_shelf(L, 1);
  if (!shelf->deflating != !shelf->deflating_kept || !shelf->inflating != !shelf->inflating_kept)
    return luaL_error(L, "the shelf has counted wrong");
  lua_pushinteger(L, shelf->deflating_kept);
  lua_pushinteger(L, shelf->inflating_kept);
  return 2;
}

/* shelf:held(): bytes of zlib's, and of the room for compressed messages */
static int shelf_held(lua_State *L) {
  const lw_deflate_shelf *shelf = check_shelf(L, 1);
  lua_pushinteger(L, (lua_Integer)shelf->held);
  lua_pushinteger(L, (lua_Integer)shelf->room_size);
  return 2;
}

static const luaL_Reg shelf_methods[] = {
    {"clear", shelf_clear}, {"kept", shelf_kept}, {"held", shelf_held},
    {"__gc", shelf_clear},  {NULL, NULL},
};

/* The way in the table `arg`: {bits=15, fresh=false}. */
static lw_deflate_way check_way(lua_State *L, int arg) {
  lw_deflate_way way = {LW_DEFLATE_BITS_MAX, 0};
  if (lua_isnoneornil(L, arg)) return way;
  luaL_checktype(L, arg, LUA_TTABLE);
  way.bits = (unsigned char)integer(L, arg, "bits", way.bits);
  way.fresh = flag(L, arg, "fresh");
  return way;
}

/* --- out --- */

typedef struct squeezing {
  lw_deflater deflater;
  lw_deflate_options options;
} squeezing;

static squeezing *check_deflater(lua_State *L) {
  return luaL_checkudata(L, 1, DEFLATER);
}

/* deflater(shelf, {bits=, fresh=, level=, memLevel=, threshold=}) */
static int deflater_new(lua_State *L) {
  lw_deflate_shelf *shelf = check_shelf(L, 1);
  lua_settop(L, 2);
  lw_deflate_way way = check_way(L, 2);
  squeezing *s = lua_newuserdatauv(L, sizeof *s, 1);
  check_options(L, 2, &s->options);
  lw_deflater_init(&s->deflater, shelf, &s->options, way);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, DEFLATER);
  return 1;
}

static int deflater_wants(lua_State *L) {
  lua_pushboolean(L, lw_deflater_wants(&check_deflater(L)->deflater, (size_t)luaL_checkinteger(L, 2)));
  return 1;
}

/* d:message(bytes): the payload, or nil and the error */
static int deflater_message(lua_State *L) {
  squeezing *s = check_deflater(L);
  size_t n;
  lw_slice out;
  const unsigned char *bytes = probe_check_exact(L, 2, &n);
  int err = lw_deflater_message(&s->deflater, bytes, n, &out);
  if (err < 0) return probe_fail(L, err);
  lua_pushlstring(L, (const char *)out.bytes, out.n);
  return 1;
}

static int deflater_done(lua_State *L) {
  lw_deflater_done(&check_deflater(L)->deflater);
  return 0;
}

static int deflater_forget(lua_State *L) {
  lw_deflater_forget(&check_deflater(L)->deflater);
  return 0;
}

static int deflater_owns(lua_State *L) {
  lua_pushboolean(L, check_deflater(L)->deflater.context != NULL);
  return 1;
}

static int deflater_clear(lua_State *L) {
  lw_deflater_clear(&check_deflater(L)->deflater);
  return 0;
}

static const luaL_Reg deflater_methods[] = {
    {"wants", deflater_wants}, {"message", deflater_message}, {"done", deflater_done},
    {"forget", deflater_forget}, {"owns", deflater_owns}, {"clear", deflater_clear},
    {"__gc", deflater_clear}, {NULL, NULL},
};

/* --- in --- */

typedef struct swelling {
  lw_inflater inflater;
  unsigned char *input; /* fed, and perhaps still looked at */
} swelling;

static swelling *check_inflater(lua_State *L) {
  return luaL_checkudata(L, 1, INFLATER);
}

/* inflater(shelf, {bits=, fresh=} [, limit]) */
static int inflater_new(lua_State *L) {
  lw_deflate_shelf *shelf = check_shelf(L, 1);
  lw_deflate_way way = (lua_settop(L, 3), check_way(L, 2));
  lua_Integer limit = luaL_optinteger(L, 3, (lua_Integer)1 << 30);
  swelling *s = lua_newuserdatauv(L, sizeof *s, 1);
  s->input = NULL;
  lw_inflater_init(&s->inflater, shelf, way, (uint64_t)limit);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, INFLATER);
  return 1;
}

static void drop_input(swelling *s) {
  free(s->input);
  s->input = NULL;
}

/* i:feed(bytes [, last]) */
static int inflater_feed(lua_State *L) {
  swelling *s = check_inflater(L);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  luaL_argcheck(L, !s->input, 2, "there is something left of what was fed before");
  if (!(s->input = malloc(n ? n : 1))) return luaL_error(L, "no memory");
  memcpy(s->input, bytes, n);
  lw_inflater_feed(&s->inflater, s->input, n, lua_toboolean(L, 3));
  return 0;
}

/* i:next([room]): bytes, "" when it takes more or the message is whole, or nil and the error */
static int inflater_next(lua_State *L) {
  swelling *s = check_inflater(L);
  size_t room = (size_t)luaL_optinteger(L, 2, 65536);
  unsigned char *to = lua_newuserdatauv(L, room, 0); /* not of the memory that specs let run out */
  long n = lw_inflater_next(&s->inflater, to, room);
  if (n <= 0) drop_input(s);
  if (n < 0) return probe_fail(L, (int)n);
  lua_pushlstring(L, (const char *)to, (size_t)n);
  return 1;
}

static int inflater_owns(lua_State *L) {
  lua_pushboolean(L, check_inflater(L)->inflater.context != NULL);
  return 1;
}

static int inflater_clear(lua_State *L) {
  swelling *s = check_inflater(L);
  lw_inflater_clear(&s->inflater);
  drop_input(s);
  return 0;
}

static const luaL_Reg inflater_methods[] = {
    {"feed", inflater_feed},   {"next", inflater_next},  {"owns", inflater_owns},
    {"clear", inflater_clear}, {"__gc", inflater_clear}, {NULL, NULL},
};

/* sizes(): what an idle connection has of all this, in bytes: out, in */
static int sizes(lua_State *L) {
  lua_pushinteger(L, sizeof(lw_deflater));
  lua_pushinteger(L, sizeof(lw_inflater));
  return 2;
}

static const luaL_Reg functions[] = {
    {"offer", offer},       {"answer", answer},         {"accept", accept},
    {"shelf", shelf_new},   {"deflater", deflater_new}, {"inflater", inflater_new},
    {"zlib", version},      {"sizes", sizes},           {NULL, NULL},
};

void probe_deflate(lua_State *L) {
  probe_class(L, SHELF, shelf_methods);
  probe_class(L, DEFLATER, deflater_methods);
  probe_class(L, INFLATER, inflater_methods);
  probe_library(L, "deflate", functions);
}
