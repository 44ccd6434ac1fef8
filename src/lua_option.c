/*
** lua_option.c -- option tables: every key known, every value checked, nothing ignored.
*/
#include "lua_option.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "lua_box.h"

#define NAME_MAX_COMPARED 32

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

static int same(char a, char b) {
  return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Letters that must be added, removed, changed or swapped with their neighbour (Damerau, Levenshtein), case aside. */
static size_t distance(const char *a, const char *b) {
  size_t rows[3][NAME_MAX_COMPARED + 1], *above = rows[0], *row = rows[1], *next = rows[2], *spare, n = strlen(b);
  if (n > NAME_MAX_COMPARED) return SIZE_MAX;
  for (size_t j = 0; j <= n; j++) row[j] = j;
  for (size_t i = 0; a[i]; i++) {
    next[0] = i + 1;
    for (size_t j = 0; j < n; j++) {
      next[j + 1] = least(row[j] + !same(a[i], b[j]), least(row[j + 1], next[j]) + 1);
      if (i > 0 && j > 0 && same(a[i], b[j - 1]) && same(a[i - 1], b[j])) next[j + 1] = least(next[j + 1], above[j - 1] + 1);
    }
    spare = above, above = row, row = next, next = spare;
  }
  return row[n];
}

/* Letters that both begin with, case aside. */
static size_t common(const char *a, const char *b) {
  size_t n = 0;
  while (a[n] && same(a[n], b[n])) n++;
  return n;
}

const char *lw_nearest(const char *name, const void *names, size_t count, size_t stride) {
  const char *best = NULL;
  size_t best_distance = strlen(name) / 2 + 1;
  for (size_t i = 0; i < count; i++) {
    const char *known = *(const char *const *)(const void *)((const char *)names + i * stride);
    size_t d = known ? distance(name, known) : SIZE_MAX;
    if (d > best_distance || (d == best_distance && !(best && common(name, known) > common(name, best)))) continue;
    best = known;
    best_distance = d;
  }
  return best;
}

/* Options of the table `tls` that people look for beside it. */
static int is_of_tls(const char *name) {
  static const char *const names[] = {"verify", "ca", "cert", "key", "passphrase", "certificates", "requestCert",
                                      "serverName", "minVersion", "ciphers", "alpn"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return 1;
  return 0;
}

static void unknown(lua_State *L, const char *what, const char *name, const lw_option *known) {
  size_t count = 0;
  const char *near;
  for (; known[count].name; count++)
    if (strcmp(known[count].name, "tls") == 0 && is_of_tls(name))
      lw_raise(L, "TypeError", "%s: unknown option \"%s\" (it belongs into tls = { %s = ... })", what, name, name);
  near = lw_nearest(name, known, count, sizeof *known);
  if (strncmp(name, "on", 2) == 0 && !(near && strncmp(near, "on", 2) == 0))
    lw_raise(L, "TypeError", "%s: unknown option \"%s\" (handlers are set on what %s returns)", what, name, what);
  if (near) lw_raise(L, "TypeError", "%s: unknown option \"%s\" (did you mean \"%s\"?)", what, name, near);
  lw_raise(L, "TypeError", "%s: unknown option \"%s\"", what, name);
}

/* The number on top, in range, whole unless it is a duration. */
static double check_number(lua_State *L, const char *what, const lw_option *option) {
  double value;
  if (lua_type(L, -1) != LUA_TNUMBER)
    lw_raise(L, "TypeError", "%s: option \"%s\": a number expected, got %s", what, option->name,
             lw_typename(L, -1));
  value = lua_tonumber(L, -1);
  if (isnan(value) || value < option->least || value > option->most)
    lw_raise(L, "TypeError", "%s: option \"%s\": %.16g is not from %.16g to %.16g", what, option->name, value,
             option->least, option->most);
  if (option->kind != LW_OPTION_DURATION && value != floor(value))
    lw_raise(L, "TypeError", "%s: option \"%s\": a whole number expected, got %.16g", what, option->name, value);
  return value;
}

static int check_boolean(lua_State *L, const char *what, const lw_option *option) {
  if (!lua_isboolean(L, -1))
    lw_raise(L, "TypeError", "%s: option \"%s\": a boolean expected, got %s", what, option->name,
             lw_typename(L, -1));
  return lua_toboolean(L, -1);
}

static void store(lua_State *L, const char *what, const lw_option *option, void *into) {
  void *at = (char *)into + option->offset;
  switch (option->kind) {
    case LW_OPTION_DURATION: *(int64_t *)at = (int64_t)(check_number(L, what, option) * 1e6); break;
    case LW_OPTION_SIZE: *(size_t *)at = (size_t)check_number(L, what, option); break;
    case LW_OPTION_COUNT: *(uint64_t *)at = (uint64_t)check_number(L, what, option); break;
    case LW_OPTION_INT: *(int *)at = (int)check_number(L, what, option); break;
    case LW_OPTION_BOOLEAN: *(int *)at = check_boolean(L, what, option); break;
    case LW_OPTION_OTHER: break;
  }
}

void lw_options_read(lua_State *L, int index, const char *what, const lw_option *known, void *into) {
  if (lua_isnoneornil(L, index)) return;
  if (!lua_istable(L, index))
    lw_raise(L, "TypeError", "%s: options: a table expected, got %s", what, lw_typename(L, index));
  index = lua_absindex(L, index);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    const lw_option *option = known;
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    if (!name) lw_raise(L, "TypeError", "%s: options: a name expected, got a %s as key", what, luaL_typename(L, -2));
    while (option->name && strcmp(option->name, name) != 0) option++;
    if (!option->name) unknown(L, what, name, known);
    store(L, what, option, into);
    lua_pop(L, 1);
  }
}
