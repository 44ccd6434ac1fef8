/*
** lua_init.c -- luaopen_lunawire_core.
*/
#define _GNU_SOURCE /* dladdr, RTLD_NODELETE */
#include <dlfcn.h>

#include "lua_blob.h"
#include "lua_box.h"
#include "lua_buffer.h"
#include "lua_event.h"
#include "lua_loop.h"
#include "lua_policy.h"
#include "lua_server.h"
#include "lua_socket.h"
#include "lua_step.h"
#include "lua_timer.h"

/*
** A thread that looks up a name, and what runs after a fork, may outlive the state that
** loaded this library: it stays in memory once it is there.
*/
static void pin_library(void) {
  static const char here;
  Dl_info info;
  if (dladdr(&here, &info) && info.dli_fname) dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE);
}

/* CloseCode: name -> code and code -> name. */
static void set_codes(lua_State *L) {
  static const struct {
    const char *name;
    int code;
  } codes[] = {{"NORMAL", 1000},           {"GOING_AWAY", 1001},       {"PROTOCOL_ERROR", 1002},
               {"UNSUPPORTED_DATA", 1003}, {"NO_STATUS", 1005},        {"ABNORMAL", 1006},
               {"INVALID_PAYLOAD", 1007},  {"POLICY_VIOLATION", 1008}, {"MESSAGE_TOO_BIG", 1009},
               {"MANDATORY_EXTENSION", 1010}, {"INTERNAL_ERROR", 1011}, {"SERVICE_RESTART", 1012},
               {"TRY_AGAIN_LATER", 1013},  {"BAD_GATEWAY", 1014},      {"TLS_HANDSHAKE", 1015}};
  lua_newtable(L);
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    lua_pushinteger(L, codes[i].code);
    lua_setfield(L, -2, codes[i].name);
    lua_pushstring(L, codes[i].name);
    lua_rawseti(L, -2, codes[i].code);
  }
  lw_host_push(L);
  lua_getiuservalue(L, -1, LW_HOST_EVENTS);
  lua_getfield(L, -1, "codeName");
  lua_setfield(L, -4, "name");
  lua_pop(L, 2);
  lua_setfield(L, -2, "CloseCode");
}

#pragma GCC visibility push(default)
int luaopen_lunawire_core(lua_State *L);
#pragma GCC visibility pop

int luaopen_lunawire_core(lua_State *L) {
  pin_library();
  lw_host_push(L);
  lw_event_open(L);
  lua_pop(L, 1);
  lua_newtable(L);
  lw_buffer_open(L);
  lw_blob_open(L);
  lw_timer_open(L);
  lw_lua_loop_open(L);
  lw_socket_open(L);
  lw_lua_server_open(L);
  lw_step_open(L);
  lw_policy_open(L);
  set_codes(L);
  return 1;
}
