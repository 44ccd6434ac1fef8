/*
** lua_settings.h -- the settings that clients and servers share.
*/
#ifndef LW_LUA_SETTINGS_H
#define LW_LUA_SETTINGS_H

#include <stddef.h>

#include "conn.h"
#include "lua_option.h"

#pragma GCC visibility push(hidden)

/* Settings a WebSocket and a WebSocketServer share; both keep them first in what they fill. */
#define LW_SETTINGS                                                                              \
  {"handshakeTimeout", LW_OPTION_DURATION, offsetof(lw_conn_settings, handshake_timeout), 1, 1e9},     \
      {"closeTimeout", LW_OPTION_DURATION, offsetof(lw_conn_settings, close_timeout), 1, 1e9},         \
      {"maxPayload", LW_OPTION_COUNT, offsetof(lw_conn_settings, limits.max_payload), 1, LW_LARGEST},  \
      {"maxFragments", LW_OPTION_COUNT, offsetof(lw_conn_settings, limits.max_fragments), 1, LW_LARGEST}, \
      {"fragmentSize", LW_OPTION_COUNT, offsetof(lw_conn_settings, limits.fragment_size), 0, LW_LARGEST}, \
      {"highWaterMark", LW_OPTION_SIZE, offsetof(lw_conn_settings, high_water), 1, LW_LARGEST},        \
      {"maxBufferedAmount", LW_OPTION_SIZE, offsetof(lw_conn_settings, max_buffered), 1, LW_LARGEST},  \
      {"noDelay", LW_OPTION_BOOLEAN, offsetof(lw_conn_settings, no_delay), 0, 0}
#define LW_LARGEST 9007199254740991.0 /* 2^53 - 1 */

/* As a client has them (API, "WebSocket"). */
void lw_settings_default(lw_conn_settings *settings);
/*
** The option `perMessageDeflate` on top of the stack, of a client or a server; popped. 1: it is wanted,
** as `options` says; 0: not. Raises TypeError.
*/
int lw_check_deflate(lua_State *L, const char *what, int server, lw_deflate_options *options);

#pragma GCC visibility pop
#endif
