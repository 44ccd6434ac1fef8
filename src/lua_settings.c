/*
** lua_settings.c -- the settings that clients and servers share.
*/
#include "lua_settings.h"

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "lua_box.h"

/* perMessageDeflate, as it is written. */
typedef struct deflate_given {
  size_t threshold;
  int level, mem_level;
  int client_bits, server_bits;
  int client_fresh, server_fresh;
} deflate_given;

#define PLACE(member) offsetof(deflate_given, member)

/* Of the bits, our own side's begin with what zlib can do. */
static const lw_option deflate_known[] = {
    {"threshold", LW_OPTION_SIZE, PLACE(threshold), 0, LW_LARGEST},
    {"level", LW_OPTION_INT, PLACE(level), 0, 9},
    {"memLevel", LW_OPTION_INT, PLACE(mem_level), 1, 9},
    {"clientMaxWindowBits", LW_OPTION_INT, PLACE(client_bits), LW_DEFLATE_BITS_MIN, LW_DEFLATE_BITS_MAX},
    {"serverMaxWindowBits", LW_OPTION_INT, PLACE(server_bits), LW_DEFLATE_BITS_MIN, LW_DEFLATE_BITS_MAX},
    {"clientNoContextTakeover", LW_OPTION_BOOLEAN, PLACE(client_fresh), 0, 0},
    {"serverNoContextTakeover", LW_OPTION_BOOLEAN, PLACE(server_fresh), 0, 0},
    {NULL, LW_OPTION_OTHER, 0, 0, 0}};

/* zlib compresses with no window of 8 bits. */
static void check_own_bits(lua_State *L, const char *what, const char *option, int bits) {
  if (bits < LW_DEFLATE_BITS_OURS)
    lw_raise(L, "TypeError", "%s: perMessageDeflate: option \"%s\": zlib compresses with windows of 9 to 15 bits, not with 8",
             what, option);
}

int lw_check_deflate(lua_State *L, const char *what, int server, lw_deflate_options *options) {
  deflate_given given;
  lw_deflate_wish *wish = options->wishes;
  int wanted = server ? 0 : 1, option = lua_gettop(L);
  if (lua_isboolean(L, option)) wanted = lua_toboolean(L, option);
  else if (lua_istable(L, option)) wanted = 1;
  else if (!lua_isnil(L, option))
    lw_raise(L, "TypeError", "%s: option \"perMessageDeflate\": a boolean or a table expected, got %s", what,
             lw_typename(L, option));
  lw_deflate_defaults(options);
  given = (deflate_given){options->threshold, options->level, options->mem_level, wish->client.bits, wish->server.bits, 0, 0};
  if (lua_istable(L, option)) {
    lua_pushfstring(L, "%s: perMessageDeflate", what);
    lw_options_read(L, option, lua_tostring(L, -1), deflate_known, &given);
  }
  if (server) check_own_bits(L, what, "serverMaxWindowBits", given.server_bits);
  else check_own_bits(L, what, "clientMaxWindowBits", given.client_bits);
  options->threshold = given.threshold;
  options->level = given.level;
  options->mem_level = given.mem_level;
  wish->client = (lw_deflate_way){(unsigned char)given.client_bits, (unsigned char)given.client_fresh};
  wish->server = (lw_deflate_way){(unsigned char)given.server_bits, (unsigned char)given.server_fresh};
  lua_settop(L, option - 1);
  return wanted;
}

void lw_settings_default(lw_conn_settings *settings) {
  memset(settings, 0, sizeof *settings);
  settings->limits.max_payload = 16 * 1024 * 1024;
  settings->limits.max_fragments = 131072;
  settings->high_water = 1024 * 1024;
  settings->max_buffered = 64 * 1024 * 1024;
  settings->handshake_timeout = INT64_C(10000000000);
  settings->close_timeout = INT64_C(5000000000);
  settings->max_header_size = 16 * 1024;
  settings->max_header_count = 100;
  settings->no_delay = 1;
  settings->family = AF_UNSPEC;
}
