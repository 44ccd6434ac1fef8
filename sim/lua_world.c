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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "openssl_memory.h"
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

/* The same for OpenSSL's own. */
static int starve_openssl(lua_State *L) {
  openssl_memory_fail((long)luaL_checkinteger(L, 1), (long)luaL_optinteger(L, 2, 1));
  return 0;
}

/* world.noteOpenssl(n): from now on n allocations of each place are noted; without n: which were, in a list, and how many places. */
static int note_openssl(lua_State *L) {
  long number;
  if (!lua_isnone(L, 1)) {
    openssl_memory_note((unsigned)luaL_checkinteger(L, 1));
    return 0;
  }
  lua_newtable(L);
  for (long i = 0; (number = openssl_memory_noted(i)) != 0; i++) {
    lua_pushinteger(L, number);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_pushinteger(L, openssl_memory_places());
  return 2;
}

/* Allocations since world.run began, and how many of them failed; the same of OpenSSL's own. */
static int allocations(lua_State *L) {
  lua_pushinteger(L, memory_count());
  lua_pushinteger(L, memory_failed());
  lua_pushinteger(L, openssl_memory_count());
  lua_pushinteger(L, openssl_memory_failed());
  return 4;
}

/* world.spare(yes): until world.spare(false) memory neither counts nor fails: a peer's script has its own. */
static int spare(lua_State *L) {
  memory_rest(lua_toboolean(L, 1) ? 1 : -1);
  return 0;
}

/* world.trace(yes): each allocation that fails tells on stderr where. */
static int trace(lua_State *L) {
  memory_trace(lua_toboolean(L, 1));
  return 0;
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

static int branch_out = -1; /* in a branch: where its result goes */
_Noreturn static void end_branch(lua_State *L);
static long struck; /* calls failed by world_fail, when the world of the state ended */

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
  openssl_memory_begin();
  L = lua_newstate(memory_lua, NULL);
  if (!L) return luaL_error(from, "no memory for a state");
  lua_gc(L, LUA_GCGEN, 0, 0);
  furnish(L, from);
  memory_begin();
  openssl_memory_begin();
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
  struck = world_struck();
  world_end();
  lua_pushinteger(from, memory_blocks() - blocks);
  lua_pushinteger(from, (lua_Integer)(memory_bytes() - bytes));
  lua_pushinteger(from, (lua_Integer)open);
  if (branch_out >= 0) end_branch(from);
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

/* ------------------------------------------------------------------ branches */

/*
** A state is loaded once, in a process of its own, up to where it calls world.branch(). From
** there on each command given to world.ask goes on in a copy of it, which ends with the state.
*/
static FILE *commands, *results; /* of the process that has the state */

/* All n bytes, or as many as somebody takes. */
static void put_all(int fd, const char *bytes, size_t n) {
  while (n > 0) {
    ssize_t went = write(fd, bytes, n);
    if (went <= 0) return;
    bytes += went;
    n -= (size_t)went;
  }
}

/* What run has pushed last: fine, text, blocks, bytes, descriptors. */
_Noreturn static void end_branch(lua_State *L) {
  size_t n;
  const char *text = lua_tolstring(L, -4, &n);
  char head[256];
  int size = snprintf(head, sizeof head, "\n=result= %d %ld %ld %ld %u %u %ld %ld\n", lua_toboolean(L, -5), (long)lua_tointeger(L, -3),
                      (long)lua_tointeger(L, -2), (long)lua_tointeger(L, -1), world_threads(), world_strays(),
                      memory_failed() + struck, openssl_memory_failed());
  put_all(branch_out, head, (size_t)size);
  put_all(branch_out, text, n);
  _exit(0);
}

/* In a copy: what it prints as an error comes before its result. */
static int be_branch(lua_State *L, int out, unsigned seconds, const char *words) {
  branch_out = out;
  dup2(out, STDERR_FILENO);
  alarm(seconds);
  lua_pushstring(L, words);
  return 1;
}

/* What a copy says, to its end, and how that was. */
static void relay(int in, pid_t child) {
  static char text[1 << 20];
  size_t n = 0;
  ssize_t got;
  int status;
  while ((got = read(in, text + n, sizeof text - n)) > 0 || (got < 0 && errno == EINTR))
    if (got > 0 && (n += (size_t)got) == sizeof text) n = sizeof text / 2; /* too much: its end is what matters */
  close(in);
  status = wait_for(child);
  fprintf(results, "%d %d %zu\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0, WIFSIGNALED(status) ? 0 : WEXITSTATUS(status), n);
  fwrite(text, 1, n, results);
  fflush(results);
}

/* world.branch(): returns a command, in a copy of this process; and again, in another copy. */
static int branch(lua_State *L) {
  static char line[1024];
  unsigned long seconds;
  int pipes[2];
  pid_t child;
  if (!commands) return luaL_error(L, "branch: not within world.serve");
  while (fgets(line, sizeof line, commands)) {
    char *words;
    line[strcspn(line, "\n")] = '\0';
    seconds = strtoul(line, &words, 10);
    if (*words++ != ' ') return luaL_error(L, "branch: %s", line);
    if (pipe(pipes) < 0) return luaL_error(L, "pipe: %s", strerror(errno));
    child = fork();
    if (child < 0) return luaL_error(L, "fork: %s", strerror(errno));
    if (child == 0) {
      close(pipes[0]);
      return be_branch(L, pipes[1], (unsigned)seconds, words);
    }
    close(pipes[1]);
    relay(pipes[0], child);
  }
  _exit(0);
}

typedef struct served {
  FILE *to, *from;
  pid_t child;
} served;

static int served_gc(lua_State *L) {
  served *s = luaL_checkudata(L, 1, "world.Served");
  if (s->to) fclose(s->to);
  if (s->from) fclose(s->from);
  if (s->child > 0) { /* a later one has the pipe, too, so its end would not be seen */
    kill(s->child, SIGKILL);
    wait_for(s->child);
  }
  memset(s, 0, sizeof *s);
  return 0;
}

_Noreturn static void be_server(lua_State *L, int in, int out) {
  commands = fdopen(in, "r");
  results = fdopen(out, "w");
  run(L); /* comes back only when the file has not come to world.branch */
  fprintf(results, "0 1 %zu\n%s", strlen(lua_tostring(L, -4)), lua_tostring(L, -4));
  fflush(results);
  _exit(1);
}

/* world.serve(file, argument): a process with a state that has come to world.branch. */
static int serve(lua_State *L) {
  served *s = lua_newuserdatauv(L, sizeof *s, 0);
  int there[2], back[2];
  memset(s, 0, sizeof *s);
  if (luaL_newmetatable(L, "world.Served")) {
    lua_pushcfunction(L, served_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  lua_insert(L, 1);
  if (pipe(there) < 0 || pipe(back) < 0) return luaL_error(L, "pipe: %s", strerror(errno));
  fflush(NULL);
  s->child = fork();
  if (s->child < 0) return luaL_error(L, "fork: %s", strerror(errno));
  if (s->child == 0) {
    close(there[1]);
    close(back[0]);
    lua_remove(L, 1);
    be_server(L, there[0], back[1]);
  }
  close(there[0]);
  close(back[1]);
  s->to = fdopen(there[1], "w");
  s->from = fdopen(back[0], "r");
  lua_pushvalue(L, 1);
  return 1;
}

/* world.ask(served, command [, seconds]): the signal that has ended it or 0, its exit status, what it has said. */
static int ask(lua_State *L) {
  served *s = luaL_checkudata(L, 1, "world.Served");
  luaL_Buffer text;
  char head[80], *at = head;
  long by_signal, status;
  size_t n;
  fprintf(s->to, "%d %s\n", (int)luaL_optinteger(L, 3, 20), luaL_checkstring(L, 2));
  fflush(s->to);
  if (!fgets(head, sizeof head, s->from)) return luaL_error(L, "ask: the process is gone");
  by_signal = strtol(at, &at, 10);
  status = strtol(at, &at, 10);
  n = strtoul(at, &at, 10);
  lua_pushinteger(L, by_signal);
  lua_pushinteger(L, status);
  n = fread(luaL_buffinitsize(L, &text, n), 1, n, s->from);
  luaL_pushresultsize(&text, n);
  return 3;
}

/* world.setenv(name, value): in this process, and those it begins. */
static int set_variable(lua_State *L) {
  if (setenv(luaL_checkstring(L, 1), luaL_checkstring(L, 2), 1) < 0) return luaL_error(L, "setenv: %s", strerror(errno));
  return 0;
}

static const luaL_Reg functions[] = {
  {"begin", begin},         {"finish", finish},       {"law", law},           {"now", now},
  {"pass", pass},           {"next", next_time},      {"state", tell_state},  {"host", host},
  {"fail", fail},           {"calls", calls},         {"errnos", errnos},     {"starve", starve},
  {"allocations", allocations}, {"listen", foreign_listen}, {"accept", foreign_accept}, {"dial", foreign_dial},
  {"recv", foreign_recv},   {"send", foreign_send},   {"shut", foreign_shut}, {"close", foreign_close},
  {"link", link_at},        {"snap", break_link},     {"cut", cut_link},      {"random", random_number},
  {"run", run},               {"apart", apart},         {"starveOpenssl", starve_openssl}, {"spare", spare},
  {"noteOpenssl", note_openssl}, {"trace", trace},    {"branch", branch},       {"serve", serve},       {"ask", ask},
  {"setenv", set_variable},
  {NULL, NULL},
};

__attribute__((visibility("default"))) int luaopen_world(lua_State *L) {
  openssl_memory_take(); /* too late when it is opened again, and then long done */
  luaL_newlib(L, functions);
  return 1;
}
