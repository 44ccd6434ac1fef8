/*
** lua_settings.c -- the settings that clients and servers share.
*/
#include "lua_settings.h"

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

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
