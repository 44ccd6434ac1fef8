/*
** probe_ip.c -- text, addresses and networks of them, for specs.
*/
#include "probe.h"

#include "cidr.h"
#include "ip.h"
#include "text.h"

/* The argument as a text with nothing behind it. */
static lw_text check_text(lua_State *L, int arg) {
  lw_text text;
  text.at = (const char *)probe_check_exact(L, arg, &text.n);
  return text;
}

/* --- text --- */

/* find(text, any): how many bytes before the first of these */
static int text_find(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lw_text_find(check_text(L, 1), luaL_checkstring(L, 2)));
  return 1;
}

/* is(text, lower) */
static int text_is(lua_State *L) {
  lua_pushboolean(L, lw_text_is(check_text(L, 1), luaL_checkstring(L, 2)));
  return 1;
}

/* decode(text) */
static int text_decode(lua_State *L) {
  lw_text text = check_text(L, 1);
  char *to = lua_newuserdatauv(L, text.n + 1, 0);
  size_t n = lw_text_decode(to, text);
  if (to[n] != '\0') return luaL_error(L, "no NUL behind it");
  lua_pushlstring(L, to, n);
  return 1;
}

/* number(text, most): nil if it is none */
static int text_number(lua_State *L) {
  unsigned number;
  if (lw_text_number(check_text(L, 1), (unsigned)luaL_checkinteger(L, 2), &number) < 0) return 0;
  lua_pushinteger(L, number);
  return 1;
}

static const luaL_Reg text_functions[] = {
    {"find", text_find},
    {"is", text_is},
    {"decode", text_decode},
    {"number", text_number},
    {NULL, NULL},
};

/* --- addresses --- */

static void push_ip(lua_State *L, const lw_ip *ip) {
  char text[LW_IP_TEXT_MAX];
  lua_pushlstring(L, text, lw_ip_write(text, ip));
}

/* read(text): its bytes, nil if it is no address; both families' readers must agree */
static int ip_read(lua_State *L) {
  lw_ip ip, one;
  lw_text text = check_text(L, 1);
  int found = lw_ip_read(&ip, text), four = lw_ip_read4(&one, text), six = lw_ip_read6(&one, text);
  if (found != (four || six) || (four && six)) return luaL_error(L, "the readers do not agree");
  if (!found) return 0;
  if (ip.size != (four ? 4 : 16)) return luaL_error(L, "the size is wrong");
  lua_pushlstring(L, (const char *)ip.bytes, ip.size);
  return 1;
}

static lw_ip check_ip(lua_State *L, int arg) {
  lw_ip ip;
  if (!lw_ip_read(&ip, check_text(L, arg))) luaL_argerror(L, arg, "no address");
  return ip;
}

/* write(text): the address in its one form */
static int ip_write(lua_State *L) {
  lw_ip ip = check_ip(L, 1);
  push_ip(L, &ip);
  return 1;
}

/* unmapped(text): the address, an IPv4 one without its IPv6 clothes */
static int ip_unmapped(lua_State *L) {
  lw_ip ip = check_ip(L, 1), plain = lw_ip_unmapped(&ip);
  push_ip(L, &plain);
  return 1;
}

static int ip_is_loopback(lua_State *L) {
  lw_ip ip = check_ip(L, 1);
  lua_pushboolean(L, lw_ip_is_loopback(&ip));
  return 1;
}

static const luaL_Reg ip_functions[] = {
    {"read", ip_read},
    {"write", ip_write},
    {"unmapped", ip_unmapped},
    {"isLoopback", ip_is_loopback},
    {NULL, NULL},
};

/* --- networks --- */

/* parse(text): the address and the length of the prefix, or nil and the error */
static int cidr_parse(lua_State *L) {
  lw_cidr cidr;
  int err = lw_cidr_parse(&cidr, check_text(L, 1));
  if (err < 0) return probe_fail(L, err);
  push_ip(L, &cidr.ip);
  lua_pushinteger(L, cidr.bits);
  return 2;
}

/* holds(network, address) */
static int cidr_holds(lua_State *L) {
  lw_cidr cidr;
  int err = lw_cidr_parse(&cidr, check_text(L, 1));
  if (err < 0) return probe_fail(L, err);
  lw_ip ip = check_ip(L, 2);
  lua_pushboolean(L, lw_cidr_holds(&cidr, &ip));
  return 1;
}

static const luaL_Reg cidr_functions[] = {
    {"parse", cidr_parse},
    {"holds", cidr_holds},
    {NULL, NULL},
};

void probe_ip(lua_State *L) {
  probe_library(L, "text", text_functions);
  probe_library(L, "ip", ip_functions);
  probe_library(L, "cidr", cidr_functions);
}
