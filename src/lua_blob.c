/*
** lua_blob.c -- Blob: bytes that never change, in memory and in files (W3C File API).
**
** A Blob is a list of pieces. Those in memory lie in Lua strings, those in files have a path and
** a mark; strings and paths are kept by a user value. Neighbours in memory are joined when a Blob
** is made, so one that has no file is a single piece.
*/
#include "lua_blob.h"

#include <limits.h>
#include <string.h>

#include "lua_box.h"
#include "lua_buffer.h"
#include "lua_option.h"
#include "utf8.h"

#define CLASS "Blob"
#define MOST_PIECES 100000 /* of a Blob with files: a message of as many descriptors there could never be */

typedef struct piece {
  const char *bytes; /* of a string that is kept; NULL: in a file */
  const char *path;  /* of a string that is kept */
  lw_file_mark mark;
  uint64_t first, n; /* of the file */
} piece;

struct lw_blob {
  uint64_t size;
  size_t count;
  piece pieces[];
};

/* User values: a list of the strings that are kept, or the only one; and the type. */
enum { KEPT = 1, TYPE, VALUES = TYPE };

static const char metatable_key; /* its address is a registry key */

/* -------------------------------------------------------------- for others */

const lw_blob *lw_blob_test(lua_State *L, int index) {
  return lw_class_test(L, index, &metatable_key);
}

uint64_t lw_blob_size(const lw_blob *blob) {
  return blob->size;
}

const char *lw_blob_bytes(const lw_blob *blob) {
  if (blob->count == 0) return "";
  return blob->count == 1 ? blob->pieces[0].bytes : NULL;
}

size_t lw_blob_held(const lw_blob *blob) {
  uint64_t held = 0;
  for (size_t i = 0; i < blob->count; i++)
    if (blob->pieces[i].bytes) held += blob->pieces[i].n;
  return (size_t)held;
}

lw_body *lw_blob_body(lua_State *L, const lw_blob *blob, const char *what) {
  lw_body *body = lw_body_new(&lw_sys_real, blob->count);
  int err = body ? 0 : LW_ERR_MEMORY;
  const char *path = NULL;
  for (size_t i = 0; i < blob->count && err == 0; i++) {
    const piece *p = &blob->pieces[i];
    path = p->path;
    if (p->bytes) err = lw_body_add(body, p->bytes, (size_t)p->n);
    else err = lw_body_add_file(body, p->path, &p->mark, p->first, p->n);
  }
  if (err == 0) return body;
  lw_body_free(body);
  if (err == LW_ERR_MEMORY) lw_raise_err(L, what, err);
  lw_raise(L, "NotReadableError", "%s: %s: %s", what, path, lw_strerror(err));
}

/* ------------------------------------------------------------------ making */

/* Pushes a Blob with room for so many pieces. Its user values are the caller's to set. */
static lw_blob *push_blob(lua_State *L, size_t pieces) {
  lw_blob *blob = lua_newuserdatauv(L, sizeof *blob + pieces * sizeof *blob->pieces, VALUES);
  blob->size = 0;
  blob->count = 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_setmetatable(L, -2);
  return blob;
}

static void add_piece(lw_blob *blob, piece p) {
  if (p.n == 0) return;
  blob->pieces[blob->count++] = p;
  blob->size += p.n;
}

void lw_blob_wrap(lua_State *L) {
  size_t n;
  const char *bytes = lua_tolstring(L, -1, &n);
  lw_blob *blob = push_blob(L, 1);
  add_piece(blob, (piece){.bytes = bytes, .n = n});
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, KEPT);
}

/* Pushes the type at `index` as a Blob tells it: in lower case; with a character beyond ASCII's printable ones there is none. */
static void push_type(lua_State *L, int index, const char *what) {
  size_t n;
  const char *type;
  luaL_Buffer lower;
  if (lua_isnoneornil(L, index)) {
    lua_pushliteral(L, "");
    return;
  }
  if (lua_type(L, index) != LUA_TSTRING)
    lw_raise(L, "TypeError", "%s: type: a string expected, got %s", what, lw_typename(L, index));
  type = lua_tolstring(L, index, &n);
  for (size_t i = 0; i < n; i++)
    if (type[i] < 0x20 || type[i] > 0x7e) n = 0;
  luaL_buffinit(L, &lower);
  for (size_t i = 0; i < n; i++) luaL_addchar(&lower, (char)(type[i] >= 'A' && type[i] <= 'Z' ? type[i] + 32 : type[i]));
  luaL_pushresult(&lower);
}

/* Pushes the type that the options at `index` name. */
static void push_option_type(lua_State *L, int index, const char *what) {
  static const lw_option known[] = {{"type", LW_OPTION_OTHER, 0, 0, 0}, {NULL, LW_OPTION_OTHER, 0, 0, 0}};
  lw_options_read(L, index, what, known, NULL);
  if (lua_isnoneornil(L, index)) {
    lua_pushliteral(L, "");
    return;
  }
  lua_getfield(L, index, "type");
  push_type(L, lua_gettop(L), what);
  lua_remove(L, -2);
}

/* The stack while a Blob is made of parts: RUN is a list of neighbours in memory that are to be one piece. */
enum { PARTS = 2, OPTIONS = 3, OUT = 4, STRINGS = 5, RUN = 6 };

/*
** Copies the list of parts, so that no finalizer can change it any more, and checks them. How many
** pieces they may come to: those of Blobs with files, and a run before, between and behind these.
*/
static size_t take_parts(lua_State *L, size_t parts) {
  size_t pieces = 1;
  if (parts > INT_MAX - 1) lw_raise(L, "RangeError", CLASS ": %zu parts", parts);
  lua_createtable(L, parts < MOST_PIECES ? (int)parts : 0, 0);
  for (size_t i = 1; i <= parts; i++) {
    const lw_blob *blob;
    lua_rawgeti(L, PARTS, (int)i);
    blob = lw_blob_test(L, -1);
    if (!blob && lua_type(L, -1) != LUA_TSTRING && !lw_buffer_test(L, -1))
      lw_raise(L, "TypeError", CLASS ": part %d: a string, an ArrayBuffer or a Blob expected, got %s", (int)i,
               lw_typename(L, -1));
    if (blob && !lw_blob_bytes(blob)) pieces += blob->count + 1;
    if (pieces > MOST_PIECES) lw_raise(L, "RangeError", CLASS ": more than %d pieces of files", MOST_PIECES);
    lua_rawseti(L, -2, (int)i);
  }
  lua_replace(L, PARTS);
  return pieces;
}

/* Keeps the string on top, and pops it. */
static const char *keep(lua_State *L) {
  const char *string = lua_tostring(L, -1);
  lua_rawseti(L, STRINGS, (int)lua_rawlen(L, STRINGS) + 1);
  return string;
}

/* The run becomes one piece, and the next begins. */
static void end_run(lua_State *L, lw_blob *blob) {
  int count = (int)lua_rawlen(L, RUN);
  luaL_Buffer bytes;
  size_t n;
  if (count == 0) return;
  lua_rawgeti(L, RUN, 1);
  if (count > 1) {
    luaL_buffinit(L, &bytes);
    for (int i = 1; i <= count; i++) {
      lua_rawgeti(L, RUN, i);
      luaL_addvalue(&bytes);
    }
    luaL_pushresult(&bytes);
    lua_replace(L, -2);
  }
  lua_tolstring(L, -1, &n);
  add_piece(blob, (piece){.bytes = keep(L), .n = n});
  lua_newtable(L);
  lua_replace(L, RUN);
}

/* Adds the string on top to the run, and pops it. */
static void add_to_run(lua_State *L) {
  lua_rawseti(L, RUN, (int)lua_rawlen(L, RUN) + 1);
}

static void add_blob(lua_State *L, lw_blob *to, const lw_blob *from) {
  for (size_t i = 0; i < from->count; i++) {
    piece p = from->pieces[i];
    if (p.bytes) {
      lua_pushlstring(L, p.bytes, (size_t)p.n);
      add_to_run(L);
      continue;
    }
    end_run(L, to);
    lua_pushstring(L, p.path);
    p.path = keep(L);
    add_piece(to, p);
  }
}

/* Adds part number i. */
static void add_part(lua_State *L, lw_blob *blob, int i) {
  const lw_blob *part;
  const lw_array_buffer *buffer;
  lua_rawgeti(L, PARTS, i);
  part = lw_blob_test(L, -1);
  buffer = lw_buffer_test(L, -1);
  if (part) add_blob(L, blob, part);
  if (buffer) {
    lua_pushlstring(L, (const char *)buffer->bytes, buffer->n);
    lua_replace(L, -2);
  }
  if (part) lua_pop(L, 1);
  else add_to_run(L);
}

/* Blob([parts [, options]]): stack: class, parts, options. */
static int blob_new(lua_State *L) {
  size_t parts = 0, pieces = 0;
  lw_blob *blob;
  lua_settop(L, 3);
  if (!lua_isnil(L, PARTS)) {
    if (!lua_istable(L, PARTS))
      lw_raise(L, "TypeError", CLASS ": a list of parts expected, got %s", lw_typename(L, PARTS));
    parts = lua_rawlen(L, PARTS);
    pieces = take_parts(L, parts);
  }
  blob = push_blob(L, pieces);
  lua_newtable(L); /* class, parts, options, blob, strings */
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, OUT, KEPT);
  lua_newtable(L); /* the run */
  push_option_type(L, OPTIONS, CLASS);
  lua_setiuservalue(L, OUT, TYPE);
  for (size_t i = 1; i <= parts; i++) add_part(L, blob, (int)i);
  end_run(L, blob);
  lua_settop(L, OUT);
  return 1;
}

/* Blob.fromFile(path [, options]) */
static int blob_from_file(lua_State *L) {
  size_t n;
  const char *path;
  lw_file_mark mark;
  lw_blob *blob;
  int err;
  lua_settop(L, 2);
  if (lua_type(L, 1) != LUA_TSTRING)
    lw_raise(L, "TypeError", "Blob.fromFile: a path expected, got %s", lw_typename(L, 1));
  path = lua_tolstring(L, 1, &n);
  if (strlen(path) != n) lw_raise(L, "TypeError", "Blob.fromFile: the path has a NUL");
  if ((err = lw_file_look(&lw_sys_real, path, &mark)) < 0)
    lw_raise(L, "NotReadableError", "Blob.fromFile: %s: %s", path, lw_strerror(err));
  blob = push_blob(L, 1);
  add_piece(blob, (piece){.path = path, .mark = mark, .n = mark.size});
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, KEPT);
  push_option_type(L, 2, "Blob.fromFile");
  lua_setiuservalue(L, -2, TYPE);
  return 1;
}

/* ----------------------------------------------------------------- methods */

static const lw_blob *check_blob(lua_State *L) {
  return lw_box_check(L, 1, CLASS);
}

/* The part of a piece that lies between `first` and `last`, which count from its beginning. */
static piece cut(piece p, uint64_t first, uint64_t last) {
  if (last > p.n) last = p.n;
  if (p.bytes) p.bytes += first;
  else p.first += first;
  p.n = last - first;
  return p;
}

/* How many pieces lie between `first` and `last`; adds their parts to the slice unless it is NULL. */
static size_t cut_all(const lw_blob *from, uint64_t first, uint64_t last, lw_blob *slice) {
  uint64_t at = 0;
  size_t count = 0;
  for (size_t i = 0; i < from->count && at < last; i++) {
    piece p = from->pieces[i];
    if (first < at + p.n) {
      count++;
      if (slice) add_piece(slice, cut(p, first > at ? first - at : 0, last - at));
    }
    at += p.n;
  }
  return count;
}

/* blob:slice([first [, last [, type]]]) */
static int blob_slice(lua_State *L) {
  const lw_blob *from = check_blob(L);
  uint64_t first, last;
  lw_blob *slice;
  lua_settop(L, 4);
  lw_check_range(L, 2, "slice", from->size, &first, &last);
  slice = push_blob(L, cut_all(from, first, last, NULL));
  lua_getiuservalue(L, 1, KEPT);
  lua_setiuservalue(L, -2, KEPT);
  push_type(L, 4, "slice");
  lua_setiuservalue(L, -2, TYPE);
  cut_all(from, first, last, slice);
  return 1;
}

static int free_body(lua_State *L) {
  lw_body **body = lua_touserdata(L, 1);
  lw_body_free(*body);
  *body = NULL;
  return 0;
}

/* Reads all of it to `bytes`. Raises NotReadableError. */
static void read_all(lua_State *L, const lw_blob *blob, const char *what, void *bytes) {
  const char *whole = lw_blob_bytes(blob);
  lw_body **body;
  int err;
  if (whole) {
    memcpy(bytes, whole, (size_t)blob->size);
    return;
  }
  body = lw_guard_push(L, sizeof *body, free_body);
  *body = lw_blob_body(L, blob, what);
  if ((err = lw_body_read(*body, bytes, (size_t)blob->size)) < 0)
    lw_raise(L, "NotReadableError", "%s: %s: %s", what, lw_body_path(*body), lw_strerror(err));
  lw_body_free(*body);
  *body = NULL;
  lua_pop(L, 1);
}

static lw_array_buffer *push_all(lua_State *L, const lw_blob *blob, const char *what) {
  lw_array_buffer *b;
  if (blob->size > SIZE_MAX / 2) lw_raise(L, "NotReadableError", "%s: more than memory can hold", what);
  b = lw_buffer_push(L, (size_t)blob->size);
  read_all(L, blob, what, b->bytes);
  return b;
}

/* blob:arrayBuffer() */
static int blob_array_buffer(lua_State *L) {
  push_all(L, check_blob(L), "arrayBuffer");
  return 1;
}

static const char *push_string(lua_State *L, const lw_blob *blob, const char *what) {
  const char *whole = lw_blob_bytes(blob);
  if (whole) {
    lua_pushlstring(L, whole, (size_t)blob->size);
  } else {
    const lw_array_buffer *b = push_all(L, blob, what);
    lua_pushlstring(L, (const char *)b->bytes, b->n);
    lua_replace(L, -2);
  }
  return lua_tostring(L, -1);
}

/* blob:string() */
static int blob_string(lua_State *L) {
  push_string(L, check_blob(L), "string");
  return 1;
}

/* blob:text(): decoded as UTF-8 is (WHATWG Encoding): no byte order mark, U+FFFD for what is wrong. */
static int blob_text(lua_State *L) {
  const lw_blob *blob = check_blob(L);
  const unsigned char *bytes = (const unsigned char *)push_string(L, blob, "text");
  size_t n = (size_t)blob->size, good, bad;
  luaL_Buffer text;
  if (n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
    bytes += 3;
    n -= 3;
  }
  good = lw_utf8_prefix(bytes, n, &bad);
  if (good == blob->size) return 1; /* as it stands */
  luaL_buffinit(L, &text);
  for (;;) {
    luaL_addlstring(&text, (const char *)bytes, good);
    if (good == n) break;
    luaL_addlstring(&text, "\xef\xbf\xbd", 3);
    bytes += good + bad;
    n -= good + bad;
    good = lw_utf8_prefix(bytes, n, &bad);
  }
  luaL_pushresult(&text);
  return 1;
}

static int blob_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_blob(L)->size);
  return 1;
}

static int get_type(lua_State *L) {
  if (lua_getiuservalue(L, 1, TYPE) == LUA_TSTRING) return 1;
  lua_pushliteral(L, "");
  return 1;
}

static int blob_tostring(lua_State *L) {
  char size[32];
  snprintf(size, sizeof size, "%llu", (unsigned long long)check_blob(L)->size);
  get_type(L);
  lua_pushfstring(L, *lua_tostring(L, -1) ? CLASS " (%s bytes, %s)" : CLASS " (%s bytes)", size, lua_tostring(L, -1));
  return 1;
}

/* blob:__index; upvalues: host, metatable, methods. */
static int blob_index(lua_State *L) {
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  check_blob(L);
  if (strcmp(name, "size") == 0) return blob_len(L);
  if (strcmp(name, "type") == 0) return get_type(L);
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(3));
  return 1;
}

static int blob_newindex(lua_State *L) {
  check_blob(L);
  lw_raise(L, "TypeError", "a " CLASS " never changes");
}

/* ------------------------------------------------------------------- class */

static const luaL_Reg methods[] = {{"slice", blob_slice},
                                   {"string", blob_string},
                                   {"text", blob_text},
                                   {"arrayBuffer", blob_array_buffer},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__len", blob_len}, {"__tostring", blob_tostring}, {"__newindex", blob_newindex}, {NULL, NULL}};

void lw_blob_open(lua_State *L) {
  lw_value_class_new(L, CLASS, &metatable_key, metamethods, methods, blob_index); /* module, metatable */
  lua_pop(L, 1);
  lw_callable_push(L, blob_new);
  lw_host_push(L);
  lua_pushcclosure(L, blob_from_file, 1);
  lua_setfield(L, -2, "fromFile");
  lua_setfield(L, -2, CLASS);
}
