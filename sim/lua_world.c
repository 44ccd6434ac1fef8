/*
** lua_world.c -- the module `world`: a simulation's hold on the system it runs on.
**
** It lies in the same library as the core that is linked for simulations:
** package.loadlib(path, "luaopen_world"). Times are milliseconds, as everywhere in Lua.
*/
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "world.h"

#define MS INT64_C(1000000)

int luaopen_world(lua_State *L);

/* ------------------------------------------------------------------ chance */

/* xorshift64*: small, and good enough to be shaken out of. */
static uint64_t state;

static uint32_t draw(void *context, uint32_t n) {
  (void)context;
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return (uint32_t)((state * UINT64_C(2685821657736338717) >> 32) % n);
}

/* world.random(n): 1 to n, from the seed's own row. */
static int random_number(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  luaL_argcheck(L, n >= 1 && n <= UINT32_MAX, 1, "1 or more");
  lua_pushinteger(L, 1 + (lua_Integer)draw(NULL, (uint32_t)n));
  return 1;
}

/* In place of libcrypto's: masking keys are the same for the same seed. */
int __wrap_RAND_bytes(unsigned char *bytes, int n);
int __wrap_RAND_bytes(unsigned char *bytes, int n) {
  for (int i = 0; i < n; i++) bytes[i] = (unsigned char)draw(NULL, 256);
  return 1;
}

/* ------------------------------------------------------------------ the world as a whole */

static int64_t field_ms(lua_State *L, const char *name, int64_t otherwise) {
  int64_t value = otherwise;
  if (lua_getfield(L, 1, name) != LUA_TNIL) value = (int64_t)(luaL_checknumber(L, -1) * (lua_Number)MS);
  lua_pop(L, 1);
  return value;
}

static unsigned field_number(lua_State *L, const char *name, unsigned otherwise) {
  unsigned value = otherwise;
  if (lua_getfield(L, 1, name) != LUA_TNIL) value = (unsigned)luaL_checkinteger(L, -1);
  lua_pop(L, 1);
  return value;
}

static void read_rules(lua_State *L, world_rules *rules) {
  if (!lua_istable(L, 1)) return;
  rules->latency = field_ms(L, "latency", rules->latency);
  rules->tick = field_ms(L, "tick", rules->tick);
  rules->oversleep = field_ms(L, "oversleep", rules->oversleep);
  rules->capacity = field_number(L, "capacity", (unsigned)rules->capacity);
  rules->limit = field_number(L, "limit", rules->limit);
  rules->shorter = field_number(L, "shorter", rules->shorter);
  rules->again = field_number(L, "again", rules->again);
  rules->reset = field_number(L, "reset", rules->reset);
  rules->fault = field_number(L, "fault", rules->fault);
  rules->late = field_number(L, "late", rules->late);
}

/* world.begin{seed=, latency=, ...}: a new one; without seed an ideal one. */
static int begin(lua_State *L) {
  world_rules rules;
  uint64_t seed = 0;
  memset(&rules, 0, sizeof rules);
  read_rules(L, &rules);
  if (lua_istable(L, 1)) seed = field_number(L, "seed", 0);
  state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
  world_begin(&rules, seed ? draw : NULL, NULL);
  return 0;
}

static int finish(lua_State *L) {
  (void)L;
  world_end();
  return 0;
}

/* world.law{latency=, ...}: from now on. */
static int law(lua_State *L) {
  read_rules(L, world_law());
  return 0;
}

static int now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)world_now() / (lua_Number)MS);
  return 1;
}

static int pass(lua_State *L) {
  world_pass((int64_t)(luaL_checknumber(L, 1) * (lua_Number)MS));
  return 0;
}

/* When something will happen by itself, or nil. */
static int next_time(lua_State *L) {
  int64_t next = world_next();
  if (next < 0) return 0;
  lua_pushnumber(L, (lua_Number)next / (lua_Number)MS);
  return 1;
}

/* world.state(): what is open, as a table. */
static int tell_state(lua_State *L) {
  lua_createtable(L, 0, 8);
  lua_pushboolean(L, world_is_stuck());
  lua_setfield(L, -2, "stuck");
  lua_pushinteger(L, (lua_Integer)world_open() - (lua_Integer)world_foreign());
  lua_setfield(L, -2, "open");
  lua_pushinteger(L, (lua_Integer)world_foreign());
  lua_setfield(L, -2, "foreign");
  lua_pushinteger(L, (lua_Integer)world_threads());
  lua_setfield(L, -2, "threads");
  lua_pushinteger(L, (lua_Integer)world_strays());
  lua_setfield(L, -2, "strays");
  lua_pushinteger(L, memory_blocks());
  lua_setfield(L, -2, "blocks");
  lua_pushinteger(L, (lua_Integer)memory_bytes());
  lua_setfield(L, -2, "bytes");
  return 1;
}

/* world.host(name, addresses, delay): addresses separated by commas; nil: it has none. */
static int host(lua_State *L) {
  const char *name = luaL_checkstring(L, 1), *addresses = luaL_optstring(L, 2, NULL);
  if (!world_host(name, addresses, (int64_t)(luaL_optnumber(L, 3, 0) * (lua_Number)MS))) return luaL_error(L, "too many names");
  return 0;
}

/* ------------------------------------------------------------------ faults */

/* world.fail(call, errno, skip, times): errno 0: it does one byte only. */
static int fail(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  int known = world_fail(name, (int)luaL_checkinteger(L, 2), (unsigned)luaL_optinteger(L, 3, 0), (unsigned)luaL_optinteger(L, 4, 1));
  if (!known) return luaL_error(L, "no such call: %s", name);
  return 0;
}

/* world.calls(): how often each was called: {socket = 2, ...}. */
static int calls(lua_State *L) {
  lua_newtable(L);
  for (unsigned i = 0; world_call_name(i); i++) {
    lua_pushinteger(L, world_calls(world_call_name(i)));
    lua_setfield(L, -2, world_call_name(i));
  }
  return 1;
}

/* world.errnos(call): those plausible, in a list; 0, if it can be done in part. */
static int errnos(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  int err;
  lua_newtable(L);
  for (unsigned i = 0; (err = world_call_errno(name, i)) != 0; i++) {
    lua_pushinteger(L, err);
    lua_rawseti(L, -2, (int)i + 1);
  }
  if (!world_call_is_partial(name)) return 1;
  lua_pushinteger(L, 0);
  lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
  return 1;
}

/* world.starve(skip, times): allocations, Lua's and the library's; times < 0: all from then on. */
static int starve(lua_State *L) {
  memory_fail((long)luaL_checkinteger(L, 1), (long)luaL_optinteger(L, 2, 1));
  return 0;
}

/* Allocations since world.run began, and how many of them failed. */
static int allocations(lua_State *L) {
  lua_pushinteger(L, memory_count());
  lua_pushinteger(L, memory_failed());
  return 2;
}

/* ------------------------------------------------------------------ foreign programs */

static int give_fd(lua_State *L, int fd) {
  if (fd < 0) return luaL_fileresult(L, 0, NULL);
  lua_pushinteger(L, fd);
  return 1;
}

static int check_fd(lua_State *L) {
  return (int)luaL_checkinteger(L, 1);
}

/* world.listen([port]): descriptor, port. */
static int foreign_listen(lua_State *L) {
  unsigned short port = (unsigned short)luaL_optinteger(L, 1, 0);
  int fd = world_listen(&port);
  if (fd < 0) return give_fd(L, fd);
  lua_pushinteger(L, fd);
  lua_pushinteger(L, port);
  return 2;
}

static int foreign_accept(lua_State *L) {
  return give_fd(L, world_accept(check_fd(L)));
}

static int foreign_dial(lua_State *L) {
  return give_fd(L, world_dial((unsigned short)luaL_checkinteger(L, 1)));
}

/* world.recv(fd [, most]): bytes; "" at the end; nil and why. */
static int foreign_recv(lua_State *L) {
  char bytes[16384];
  size_t most = (size_t)luaL_optinteger(L, 2, (lua_Integer)sizeof bytes);
  ssize_t got = world_recv(check_fd(L), bytes, most < sizeof bytes ? most : sizeof bytes);
  if (got < 0) return luaL_fileresult(L, 0, NULL);
  lua_pushlstring(L, bytes, (size_t)got);
  return 1;
}

/* world.send(fd, bytes): how many went; nil and why. */
static int foreign_send(lua_State *L) {
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  ssize_t went = world_send(check_fd(L), bytes, n);
  if (went < 0) return luaL_fileresult(L, 0, NULL);
  lua_pushinteger(L, (lua_Integer)went);
  return 1;
}

static int foreign_shut(lua_State *L) {
  world_shut(check_fd(L));
  return 0;
}

static int foreign_close(lua_State *L) {
  world_close(check_fd(L));
  return 0;
}

/* world.link(n): the nth connected descriptor, from 1, or nil. */
static int link_at(lua_State *L) {
  int fd = world_link((unsigned)luaL_checkinteger(L, 1) - 1);
  if (fd < 0) return 0;
  lua_pushinteger(L, fd);
  return 1;
}

static int break_link(lua_State *L) {
  world_break(check_fd(L));
  return 0;
}

static int cut_link(lua_State *L) {
  world_cut(check_fd(L));
  return 0;
}

/* ------------------------------------------------------------------ states and processes */

static int load_and_call(lua_State *L) {
  const char *file = lua_touserdata(L, 1), *argument = lua_touserdata(L, 2);
  if (luaL_loadfile(L, file) != LUA_OK) return lua_error(L);
  lua_pushstring(L, argument);
  lua_call(L, 1, 1);
  luaL_tolstring(L, -1, NULL);
  return 1;
}

/* An error object in words. */
static int in_words(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* The paths of the state that begins it, and this module. */
static void furnish(lua_State *L, lua_State *from) {
  static const char *const paths[] = {"path", "cpath"};
  luaL_openlibs(L);
  lua_getglobal(from, "package");
  lua_getglobal(L, "package");
  for (int i = 0; i < 2; i++) {
    lua_getfield(from, -1, paths[i]);
    lua_pushstring(L, lua_tostring(from, -1));
    lua_setfield(L, -2, paths[i]);
    lua_pop(from, 1);
  }
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, luaopen_world);
  lua_setfield(L, -2, "world");
  lua_settop(L, 0);
  lua_pop(from, 1);
}

/*
** world.run(file, argument): the file in a state of its own, whose memory is counted from its
** first line on. Returns true or false, the result or error as text, and what it left when the
** state was closed: blocks and bytes of memory, descriptors.
*/
static int run(lua_State *from) {
  const char *file = luaL_checkstring(from, 1), *argument = luaL_optstring(from, 2, "");
  long blocks = memory_blocks();
  size_t bytes = memory_bytes();
  unsigned open = world_open() - world_foreign();
  lua_State *L;
  int ok;
  memory_begin();
  L = lua_newstate(memory_lua, NULL);
  if (!L) return luaL_error(from, "no memory for a state");
  lua_gc(L, LUA_GCGEN, 0, 0);
  furnish(L, from);
  memory_begin();
  lua_pushcfunction(L, in_words);
  lua_pushcfunction(L, load_and_call);
  lua_pushlightuserdata(L, (void *)(uintptr_t)file);
  lua_pushlightuserdata(L, (void *)(uintptr_t)argument);
  ok = lua_pcall(L, 2, 1, 1) == LUA_OK;
  lua_pushboolean(from, ok);
  lua_pushstring(from, lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
  lua_close(L);
  memory_fail(0, 0);
  open = world_open() - world_foreign() - open;
  world_end();
  lua_pushinteger(from, memory_blocks() - blocks);
  lua_pushinteger(from, (lua_Integer)(memory_bytes() - bytes));
  lua_pushinteger(from, (lua_Integer)open);
  return 5;
}

static int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return status;
}

/* In the child: what the function returns goes into the pipe. */
_Noreturn static void be_child(lua_State *L, int out, unsigned seconds) {
  size_t n;
  const char *text;
  int ok;
  alarm(seconds);
  lua_pushvalue(L, 1);
  ok = lua_pcall(L, 0, 1, 0) == LUA_OK;
  text = luaL_tolstring(L, -1, &n);
  while (n > 0) {
    ssize_t went = write(out, text, n);
    if (went <= 0) break;
    text += went;
    n -= (size_t)went;
  }
  _exit(ok ? 0 : 1);
}

/*
** world.apart(function [, seconds]): calls it in a process of its own, which may take so long
** (10). Returns "returned", "raised" or "killed", and what was returned or raised, as text, or
** what killed it.
*/
static int apart(lua_State *L) {
  unsigned seconds = (unsigned)luaL_optinteger(L, 2, 10);
  int pipes[2], status;
  pid_t child;
  luaL_Buffer text;
  ssize_t got;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  if (pipe(pipes) < 0) return luaL_error(L, "pipe: %s", strerror(errno));
  child = fork();
  if (child < 0) return luaL_error(L, "fork: %s", strerror(errno));
  if (child == 0) {
    close(pipes[0]);
    be_child(L, pipes[1], seconds);
  }
  close(pipes[1]);
  luaL_buffinit(L, &text);
  do {
    char *room = luaL_prepbuffsize(&text, 4096);
    got = read(pipes[0], room, 4096);
    if (got > 0) luaL_addsize(&text, (size_t)got);
  } while (got > 0 || (got < 0 && errno == EINTR));
  close(pipes[0]);
  status = wait_for(child);
  luaL_pushresult(&text);
  if (WIFSIGNALED(status)) {
    lua_pushliteral(L, "killed");
    lua_pushfstring(L, "%s\n%s", strsignal(WTERMSIG(status)), lua_tostring(L, -2));
  } else if (WEXITSTATUS(status) > 1) { /* a sanitizer's */
    lua_pushliteral(L, "killed");
    lua_pushfstring(L, "exit status %d\n%s", WEXITSTATUS(status), lua_tostring(L, -2));
  } else {
    lua_pushstring(L, WEXITSTATUS(status) == 0 ? "returned" : "raised");
    lua_pushvalue(L, -2);
  }
  return 2;
}

static const luaL_Reg functions[] = {
  {"begin", begin},         {"finish", finish},       {"law", law},           {"now", now},
  {"pass", pass},           {"next", next_time},      {"state", tell_state},  {"host", host},
  {"fail", fail},           {"calls", calls},         {"errnos", errnos},     {"starve", starve},
  {"allocations", allocations}, {"listen", foreign_listen}, {"accept", foreign_accept}, {"dial", foreign_dial},
  {"recv", foreign_recv},   {"send", foreign_send},   {"shut", foreign_shut}, {"close", foreign_close},
  {"link", link_at},        {"snap", break_link},     {"cut", cut_link},      {"random", random_number},
  {"run", run},               {"apart", apart},         {NULL, NULL},
};

__attribute__((visibility("default"))) int luaopen_world(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
