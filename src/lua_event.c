/*
** lua_event.c -- events, and the objects that have handlers and listeners for them.
**
** `onmessage` and `onclose` have user values of their own. Everything else is in a table
** made when it is needed: "onopen" -> function, and, once addEventListener was used,
** type -> list of entries { fn, once, capture, removed, faint } in the order in which they
** were set; the entry without fn stands for the on… handler and marks its place.
*/
#include "lua_event.h"

#include <stddef.h>
#include <string.h>

#include "lua_option.h"

/* Handler names; the type is what follows "on". */
static const char *const handler_names[LW_EVENT_TYPES] = {
    NULL,     "onmessage", "onclose",      "onopen",    "onerror",   "onping",        "onpong",
    "ondrain", "onconnection", "onupgrade", "onrequest", "onsocketerror", "onsocketclose"};

#define TYPE_NAME(type) (handler_names[type] + 2)

#define DEEP_STACK 1000 /* calls from which a traceback is of the innermost only */
#define INNERMOST 20

enum { ENTRY_FUNCTION = 1, ENTRY_ONCE, ENTRY_CAPTURE, ENTRY_REMOVED, ENTRY_FAINT };

const char *lw_event_handler_name(lw_event_type type) {
  return handler_names[type];
}

/* ------------------------------------------------------------------ events */

/* event:stopImmediatePropagation() */
static int stop_immediate(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushliteral(L, "stopped");
  lua_pushboolean(L, 1);
  lua_rawset(L, 1);
  return 0;
}

int lw_event_is_stopped(lua_State *L) {
  int stopped;
  lua_pushliteral(L, "stopped");
  stopped = lw_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 1);
  return stopped;
}

/*
** ws://host[:port] of the target's url: up to the slash after the authority. Of ws+unix:/path:/resource
** it is what stands before the second colon (the path has none, see url.h).
*/
static int push_origin(lua_State *L) {
  const char *url, *host, *end;
  lua_pushliteral(L, "target");
  lua_rawget(L, 1);
  if (lua_isnil(L, -1)) return 0;
  lua_getfield(L, -1, "url");
  url = lua_tostring(L, -1);
  host = url ? strchr(url, ':') : NULL;
  end = host ? strncmp(host, "://", 3) == 0 ? strchr(host + 3, '/') : strchr(host + 1, ':') : NULL;
  if (end) lua_pushlstring(L, url, (size_t)(end - url));
  else lua_pushliteral(L, "");
  return 1;
}

/* The name of a close event's code, from the function kept as second upvalue. */
static int push_code_name(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushliteral(L, "code");
  lua_rawget(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

/* message:__index: the shared fields, and what is worked out when asked for. */
static int message_index(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lw_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "origin") == 0) return push_origin(L);
  return 1;
}

static int close_index(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lw_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "name") == 0) return push_code_name(L);
  return 1;
}

/* tostring(event): "Event (message)". */
static int event_tostring(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return 1;
}

/* CloseCode.name(code) (RFC 6455, 7.4; the IANA registry): the range's name when the code has none. */
static int code_name(lua_State *L) {
  static const char *const known[] = {
      "NORMAL",          "GOING_AWAY",       "PROTOCOL_ERROR",   "UNSUPPORTED_DATA",    "reserved",
      "NO_STATUS",       "ABNORMAL",         "INVALID_PAYLOAD",  "POLICY_VIOLATION",    "MESSAGE_TOO_BIG",
      "MANDATORY_EXTENSION", "INTERNAL_ERROR", "SERVICE_RESTART", "TRY_AGAIN_LATER",     "BAD_GATEWAY",
      "TLS_HANDSHAKE"};
  lua_Number code = lua_tonumber(L, 1);
  if (lua_type(L, 1) != LUA_TNUMBER)
    lw_raise(L, "TypeError", "CloseCode.name: a number expected, got %s", lw_typename(L, 1));
  if (!(code >= 0 && code < 5000 && code == (lua_Number)(int)code)) lua_pushliteral(L, "invalid");
  else if (code >= 1000 && code < 1016) lua_pushstring(L, known[(int)code - 1000]);
  else if (code < 1000) lua_pushliteral(L, "unused");
  else if (code < 2000) lua_pushliteral(L, "reserved");
  else if (code < 3000) lua_pushliteral(L, "for extensions");
  else if (code < 4000) lua_pushliteral(L, "for libraries");
  else lua_pushliteral(L, "for applications");
  return 1;
}

/* Stack: …, list of metatables. Adds the one for `type`, `binary` (a place beyond the types). */
static void make_metatable(lua_State *L, lw_event_type type, int binary) {
  lua_createtable(L, 0, 4); /* list, metatable */
  lua_createtable(L, 0, 4); /* list, metatable, fields */
  lua_pushstring(L, TYPE_NAME(type));
  lua_setfield(L, -2, "type");
  lua_pushcfunction(L, stop_immediate);
  lua_setfield(L, -2, "stopImmediatePropagation");
  if (type == LW_ON_MESSAGE) {
    lua_pushboolean(L, binary);
    lua_setfield(L, -2, "binary");
    lua_pushcclosure(L, message_index, 1);
  } else if (type == LW_ON_CLOSE) {
    lua_pushcfunction(L, code_name);
    lua_pushcclosure(L, close_index, 2);
  }
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "lunawire.Event");
  lua_setfield(L, -2, "__name");
  lua_pushfstring(L, "Event (%s)", TYPE_NAME(type));
  lua_pushcclosure(L, event_tostring, 1);
  lua_setfield(L, -2, "__tostring");
  lua_rawseti(L, -2, binary ? LW_EVENT_TYPES : (int)type);
}

void lw_event_open(lua_State *L) {
  lua_createtable(L, LW_EVENT_TYPES, 0);
  for (int type = 1; type < LW_EVENT_TYPES; type++) make_metatable(L, (lw_event_type)type, 0);
  make_metatable(L, LW_ON_MESSAGE, 1);
  lua_pushcfunction(L, code_name);
  lua_setfield(L, -2, "codeName");
  lua_setiuservalue(L, -2, LW_HOST_EVENTS);
}

void lw_event_push(lua_State *L, lw_event_type type, int binary, int target, int more) {
  target = lua_absindex(L, target);
  lua_createtable(L, 0, 2 + more);
  lua_pushvalue(L, target);
  lua_setfield(L, -2, "target");
  lua_getiuservalue(L, LW_HOST, LW_HOST_EVENTS);
  lua_rawgeti(L, -1, binary ? LW_EVENT_TYPES : (int)type);
  lua_setmetatable(L, -3);
  lua_pop(L, 1);
}

/* ---------------------------------------------------------------- handlers */

static int own_value(lw_event_type type) {
  if (type == LW_ON_MESSAGE) return LW_TARGET_ONMESSAGE;
  return type == LW_ON_CLOSE ? LW_TARGET_ONCLOSE : 0;
}

/* Pushes the table of everything else, or nil; with `make` it is made. */
static int push_more(lua_State *L, int target, int make) {
  if (lua_getiuservalue(L, target, LW_TARGET_MORE) == LUA_TTABLE) return 1;
  if (!make) return 0;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, target, LW_TARGET_MORE);
  return 1;
}

void lw_target_get(lua_State *L, int target, lw_event_type type) {
  if (own_value(type)) {
    lua_getiuservalue(L, target, own_value(type));
    return;
  }
  if (push_more(L, target, 0)) {
    lua_getfield(L, -1, handler_names[type]);
    lua_remove(L, -2);
  }
}

/* Pushes the list of entries for a type, or returns 0 and pushes nothing. */
static int push_list(lua_State *L, int target, lw_event_type type) {
  int top = lua_gettop(L);
  if (push_more(L, target, 0) && lw_getfield(L, -1, TYPE_NAME(type)) == LUA_TTABLE) {
    lua_remove(L, -2);
    return 1;
  }
  lua_settop(L, top);
  return 0;
}

/* The entry at place i of the list on top is the handler's own. Pushes the entry. */
static int push_entry(lua_State *L, int list, int i) {
  lua_rawgeti(L, list, i);
  lua_rawgeti(L, -1, ENTRY_FUNCTION);
  int own = !lua_toboolean(L, -1);
  lua_pop(L, 1);
  return own;
}

static int find_own(lua_State *L, int list) {
  int count = (int)lua_rawlen(L, list);
  for (int i = 1; i <= count; i++) {
    int own = push_entry(L, list, i);
    lua_pop(L, 1);
    if (own) return i;
  }
  return 0;
}

/* Takes place i out of the list; who walks a copy of it sees that the entry is removed. */
static void remove_entry(lua_State *L, int list, int i) {
  int count = (int)lua_rawlen(L, list);
  lua_rawgeti(L, list, i);
  lua_pushboolean(L, 1);
  lua_rawseti(L, -2, ENTRY_REMOVED);
  lua_pop(L, 1);
  for (; i <= count; i++) {
    lua_rawgeti(L, list, i + 1);
    lua_rawseti(L, list, i);
  }
}

static void append_entry(lua_State *L, int list, int function, int once, int capture) {
  lua_createtable(L, ENTRY_FAINT, 0); /* to be marked takes no memory */
  if (function) lua_pushvalue(L, function);
  else lua_pushboolean(L, 0);
  lua_rawseti(L, -2, ENTRY_FUNCTION);
  lua_pushboolean(L, once);
  lua_rawseti(L, -2, ENTRY_ONCE);
  lua_pushboolean(L, capture);
  lua_rawseti(L, -2, ENTRY_CAPTURE);
  lua_rawseti(L, list, (int)lua_rawlen(L, list) + 1);
}

/* The handler came or went: its place in the order of listeners (HTML, "event handlers") too. */
static void mark_place(lua_State *L, int target, lw_event_type type, int set) {
  int list, place;
  if (!push_list(L, target, type)) return;
  list = lua_gettop(L);
  place = find_own(L, list);
  if (set && !place) append_entry(L, list, 0, 0, 0);
  if (!set && place) remove_entry(L, list, place);
  lua_settop(L, list - 1);
}

static void note_heard(lw_target *t, lw_event_type type) {
  t->heard = (t->heard | 1u << type) & ((1u << LW_EVENT_TYPES) - 1);
}

void lw_target_set(lua_State *L, int target, lw_event_type type, int value) {
  lw_target *t = lua_touserdata(L, target);
  int had, set = !lua_isnil(L, value);
  if (set) lw_check_function(L, value, handler_names[type]);
  lw_target_get(L, target, type);
  had = !lua_isnil(L, -1);
  lua_pop(L, 1);
  if (t->listeners && set) mark_place(L, target, type, 1); /* first: what it may lack memory for can be done again */
  if (own_value(type)) {
    lua_pushvalue(L, value);
    lua_setiuservalue(L, target, own_value(type));
  } else {
    push_more(L, target, 1);
    lua_pushvalue(L, value);
    lua_setfield(L, -2, handler_names[type]);
    lua_pop(L, 1);
  }
  t->handlers += set - had;
  if (set) note_heard(t, type);
  if (t->listeners && !set) mark_place(L, target, type, 0);
}

/* --------------------------------------------------------------- listeners */

static lw_event_type check_type(lua_State *L, unsigned allowed) {
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
  const char *names[LW_EVENT_TYPES] = {NULL}, *near;
  if (!name) lw_raise(L, "TypeError", "event type: a string expected, got %s", lw_typename(L, 2));
  for (int type = 1; type < LW_EVENT_TYPES; type++) {
    if (!(allowed & 1u << type)) continue;
    names[type] = TYPE_NAME(type);
    if (strcmp(name, names[type]) == 0) return (lw_event_type)type;
  }
  near = lw_nearest(name, names, LW_EVENT_TYPES, sizeof *names);
  if (near) lw_raise(L, "TypeError", "there is no event \"%s\" here (did you mean \"%s\"?)", name, near);
  lw_raise(L, "TypeError", "there is no event \"%s\" here", name);
}

typedef struct listener_options {
  int once, capture;
} listener_options;

/* Options at 4: { once =, capture = }, or a boolean for capture as in the browser. */
static listener_options check_options(lua_State *L, const char *what) {
  static const lw_option known[] = {{"once", LW_OPTION_BOOLEAN, offsetof(listener_options, once), 0, 0},
                                    {"capture", LW_OPTION_BOOLEAN, offsetof(listener_options, capture), 0, 0},
                                    {NULL, LW_OPTION_OTHER, 0, 0, 0}};
  listener_options options = {0, 0};
  if (lua_isboolean(L, 4)) options.capture = lua_toboolean(L, 4);
  else lw_options_read(L, 4, what, known, &options);
  return options;
}

/* The list for a type, made with the handler's place if there is a handler. */
static int make_list(lua_State *L, lw_event_type type) {
  lw_target *t = lua_touserdata(L, 1);
  int list;
  if (push_list(L, 1, type)) return lua_gettop(L);
  push_more(L, 1, 1);
  lua_newtable(L);
  list = lua_gettop(L);
  lw_target_get(L, 1, type);
  if (!lua_isnil(L, -1)) append_entry(L, list, 0, 0, 0);
  lua_settop(L, list);
  t->listeners = 1;
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, TYPE_NAME(type)); /* at the end: without memory nothing has changed */
  lua_remove(L, -2);
  list--;
  return list;
}

/* The place of the function at 3 with the same capture flag; 0: none. */
static int find_listener(lua_State *L, int list, int capture) {
  int count = (int)lua_rawlen(L, list), found = 0;
  for (int i = 1; i <= count && !found; i++) {
    lua_rawgeti(L, list, i);
    lua_rawgeti(L, -1, ENTRY_FUNCTION);
    lua_rawgeti(L, -2, ENTRY_CAPTURE);
    if (lua_rawequal(L, -2, 3) && lua_toboolean(L, -1) == capture) found = i;
    lua_pop(L, 3);
  }
  return found;
}

void lw_target_add(lua_State *L, unsigned allowed, int faint) {
  lw_target *t = lua_touserdata(L, 1);
  lw_event_type type = check_type(L, allowed);
  listener_options options = check_options(L, "addEventListener");
  int list;
  lw_check_function(L, 3, "addEventListener");
  list = make_list(L, type);
  if (find_listener(L, list, options.capture)) return;
  append_entry(L, list, 3, options.once, options.capture);
  if (faint) {
    lua_rawgeti(L, list, (int)lua_rawlen(L, list));
    lua_pushboolean(L, 1);
    lua_rawseti(L, -2, ENTRY_FAINT);
  }
  t->handlers++;
  note_heard(t, type);
}

void lw_target_remove(lua_State *L, unsigned allowed) {
  lw_target *t = lua_touserdata(L, 1);
  lw_event_type type = check_type(L, allowed);
  int capture = check_options(L, "removeEventListener").capture, list, place;
  if (!push_list(L, 1, type)) return;
  list = lua_gettop(L);
  place = find_listener(L, list, capture);
  if (!place) return;
  remove_entry(L, list, place);
  t->handlers--;
}

/*
** 1 if somebody waits who has no such mark (ENTRY_CAPTURE, ENTRY_FAINT; 0: whoever). The handler's place is nobody without a
** handler, which an error may have kept from coming.
*/
static int wants_without(lua_State *L, int target, lw_event_type type, int mark) {
  lw_target *t = lua_touserdata(L, target);
  int wants, top = lua_gettop(L), count;
  lw_target_get(L, target, type);
  wants = !lua_isnil(L, -1);
  lua_pop(L, 1);
  if (wants || !t->listeners || !push_list(L, target, type)) return wants;
  count = (int)lua_rawlen(L, -1);
  for (int i = 1; i <= count && !wants; i++) {
    lua_rawgeti(L, top + 1, i);
    lua_rawgeti(L, -1, ENTRY_FUNCTION);
    lua_rawgeti(L, -2, mark);
    wants = lua_toboolean(L, -2) && !lua_toboolean(L, -1);
    lua_pop(L, 3);
  }
  lua_settop(L, top);
  return wants;
}

int lw_target_wants(lua_State *L, int target, lw_event_type type) {
  const lw_target *t = lua_touserdata(L, target);
  return t->handlers > 0 && wants_without(L, target, type, 0);
}

int lw_target_needs(lua_State *L, int target, lw_event_type type) {
  return wants_without(L, target, type, ENTRY_FAINT);
}

int lw_target_handles(lua_State *L, int target, lw_event_type type) {
  return wants_without(L, target, type, ENTRY_CAPTURE);
}

/* ---------------------------------------------------------------- delivery */

/* Pushes lunawire.onerror. 0 when it is unset, or nothing that can be called. */
static int push_onerror(lua_State *L) {
  lua_getiuservalue(L, LW_HOST, LW_HOST_MODULE);
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "onerror");
    lua_remove(L, -2);
  }
  if (lua_isfunction(L, -1)) return 1;
  if (lua_isnil(L, -1) || !luaL_getmetafield(L, -1, "__call")) return 0;
  lua_pop(L, 1);
  return 1;
}

/* Pushes the traceback of the calls above this one. Of an overflown stack only the innermost: to find its end takes seconds. */
static void push_traceback(lua_State *L, const char *message) {
  lua_Debug call;
  if (lua_getstack(L, DEEP_STACK, &call)) lw_push_calls(L, message, 1, INNERMOST);
  else luaL_traceback(L, L, message, 1);
}

int lw_event_traceback(lua_State *L) {
  lw_host *host = lw_host_of(L);
  int traced = host->traced;
  host->traced = 0;
  lua_settop(L, 1);
  if (!traced && push_onerror(L)) {
    push_traceback(L, lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL);
    lua_setiuservalue(L, LW_HOST, LW_HOST_TRACEBACK);
  }
  lua_settop(L, 1);
  return 1;
}

int lw_event_report(lua_State *L, int source) {
  lw_host *host = lw_host_of(L);
  int error = lua_gettop(L), known = host->reported;
  host->reported = 0;
  if (known || !push_onerror(L)) {
    lua_settop(L, error);
    return 0;
  }
  lua_pushvalue(L, error);
  if (source) lua_pushvalue(L, source);
  else lua_pushnil(L);
  if (lua_getiuservalue(L, LW_HOST, LW_HOST_TRACEBACK) != LUA_TSTRING) { /* no memory for one */
    lua_pop(L, 1);
    lua_pushliteral(L, "");
  }
  lua_pushnil(L);
  lua_setiuservalue(L, LW_HOST, LW_HOST_TRACEBACK); /* the next error may have none */
  if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
    lua_replace(L, error);
    lua_settop(L, error);
    return 0;
  }
  lua_settop(L, error - 1);
  return 1;
}

/* The copy to walk: capturing listeners first. Returns its index. */
static int snapshot(lua_State *L, int list) {
  int count = (int)lua_rawlen(L, list), copy, n = 0;
  lua_createtable(L, count, 0);
  copy = lua_gettop(L);
  for (int capture = 1; capture >= 0; capture--) {
    for (int i = 1; i <= count; i++) {
      lua_rawgeti(L, list, i);
      lua_rawgeti(L, -1, ENTRY_CAPTURE);
      int here = lua_toboolean(L, -1) == capture;
      lua_pop(L, 1);
      if (here) lua_rawseti(L, copy, ++n);
      else lua_pop(L, 1);
    }
  }
  return copy;
}

static int entry_is(lua_State *L, int entry, int what) {
  int is;
  lua_rawgeti(L, entry, what);
  is = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is;
}

/* Pushes the function of the entry on top, in its place; 0 and nothing if it is gone. */
static int push_callee(lua_State *L, int target, lw_event_type type, int list) {
  lw_target *t = lua_touserdata(L, target);
  int entry = lua_gettop(L);
  if (entry_is(L, entry, ENTRY_REMOVED)) {
    lua_pop(L, 1);
    return 0;
  }
  if (entry_is(L, entry, ENTRY_ONCE)) {
    int count = (int)lua_rawlen(L, list);
    for (int i = 1; i <= count; i++) {
      lua_rawgeti(L, list, i);
      int same = lua_rawequal(L, -1, entry);
      lua_pop(L, 1);
      if (!same) continue;
      remove_entry(L, list, i);
      t->handlers--;
      break;
    }
  }
  if (entry_is(L, entry, ENTRY_FUNCTION)) lua_rawgeti(L, entry, ENTRY_FUNCTION);
  else lw_target_get(L, target, type);
  lua_remove(L, entry);
  if (!lua_isnil(L, -1)) return 1;
  lua_pop(L, 1);
  return 0;
}

void lw_event_warn(lua_State *L) {
  const char *text;
  lua_pushcfunction(L, lw_tostring);
  lua_insert(L, -2);
  text = lua_pcall(L, 1, 1, 0) == LUA_OK ? lua_tostring(L, -1) : NULL;
  lua_warning(L, "lunawire: a further listener of the same event failed: ", 1);
  lua_warning(L, text ? text : "(its __tostring failed, too)", 0);
  lua_pop(L, 1);
}

/* What calls on one occasion need, pushed: lw_event_traceback, whose index is returned, and behind it the first error (nil). */
static int begin_calls(lua_State *L) {
  lua_pushvalue(L, LW_HOST);
  lua_pushcclosure(L, lw_event_traceback, 1);
  lua_pushnil(L);
  return lua_gettop(L) - 1;
}

/* Calls the function on top. An error that nobody takes is the occasion's first, or only warned of. */
static void call_one(lua_State *L, lw_delivery *o, int faint) {
  lua_pushvalue(L, o->event);
  o->called++;
  lw_host_of(L)->told = 1;
  if (lua_pcall(L, 1, 0, o->calls) == LUA_OK) return;
  lw_host_of(L)->failures++;
  if (faint) lw_host_of(L)->lost = 1;
  if (lw_event_report(L, o->source)) return;
  if (o->failed) lw_event_warn(L);
  else lua_replace(L, o->calls + 1);
  o->failed = 1;
}

static int is_stopped(lua_State *L, const lw_delivery *o) {
  int stopped;
  lua_pushvalue(L, o->event);
  stopped = lw_event_is_stopped(L);
  lua_pop(L, 1);
  return stopped;
}

/* Pushes the list of a target's listeners, if it has one, and the copy to walk. */
static void prepare_list(lua_State *L, int target, lw_event_type type, lw_delivery *o) {
  lw_target *t = lua_touserdata(L, target);
  o->list = o->copy = 0;
  if (!t->listeners || !push_list(L, target, type)) return;
  o->list = lua_gettop(L);
  o->copy = snapshot(L, o->list);
}

/* Each listener of the list runs, whatever the others do, until one stops the event. Pops the list. */
static void call_all(lua_State *L, int target, lw_event_type type, lw_delivery *o) {
  int count = (int)lua_rawlen(L, o->copy);
  for (int i = 1; i <= count; i++) {
    int faint;
    lua_rawgeti(L, o->copy, i);
    faint = entry_is(L, lua_gettop(L), ENTRY_FAINT);
    if (!push_callee(L, target, type, o->list)) continue;
    call_one(L, o, faint);
    if (is_stopped(L, o)) break;
  }
  lua_settop(L, o->list - 1);
}

/* Everybody on a target, protected. */
static void call_target(lua_State *L, int target, lw_event_type type, lw_delivery *o) {
  if (o->list) {
    call_all(L, target, type, o);
    return;
  }
  lw_target_get(L, target, type);
  if (lua_isnil(L, -1)) lua_pop(L, 1);
  else call_one(L, o, 0);
}

/* The occasion is over: pops all from the event on, or raises the first error. */
static int end_calls(lua_State *L, const lw_delivery *o) {
  if (o->failed) {
    lw_host_of(L)->reported = 1;
    lua_settop(L, o->calls + 1);
    lua_error(L);
  }
  lua_settop(L, o->event - 1);
  return o->called;
}

/* A beginning, an end, and that one may go on, must be heard of: without memory to call, nobody is, and it is told again. */
static void make_sure(lua_State *L, lw_event_type type) {
  if (type == LW_ON_OPEN || type == LW_ON_CLOSE || type == LW_ON_DRAIN) lw_reserve_calls(L);
}

int lw_target_pass(lua_State *L, int target, lw_event_type type, int below, lw_event_type below_type) {
  lw_delivery o = {.event = lua_gettop(L), .source = target, .calls = begin_calls(L)}, behind = o;
  prepare_list(L, below, below_type, &behind); /* first: it may fail for want of memory */
  prepare_list(L, target, type, &o);
  make_sure(L, type);
  call_target(L, target, type, &o);
  if (!is_stopped(L, &o)) {
    o.list = behind.list;
    o.copy = behind.copy;
    call_target(L, below, below_type, &o);
  }
  return end_calls(L, &o);
}

void lw_target_prepare(lua_State *L, int target, lw_event_type type, lw_delivery *delivery) {
  lw_target *t = lua_touserdata(L, target);
  *delivery = (lw_delivery){.event = lua_gettop(L), .source = target};
  if (!t->listeners || !lw_target_wants(L, target, type)) return;
  delivery->calls = begin_calls(L);
  prepare_list(L, target, type, delivery);
}

int lw_target_deliver(lua_State *L, int target, lw_event_type type) {
  lw_delivery delivery;
  lw_target_prepare(L, target, type, &delivery);
  return lw_target_call(L, target, type, &delivery);
}

int lw_target_call(lua_State *L, int target, lw_event_type type, lw_delivery *delivery) {
  int event = delivery->event;
  make_sure(L, type);
  if (delivery->calls) {
    call_target(L, target, type, delivery);
    return end_calls(L, delivery);
  }
  lw_target_get(L, target, type);
  if (lua_isnil(L, -1)) {
    lua_settop(L, event - 1);
    return 0;
  }
  lua_insert(L, event);
  lw_host_of(L)->told = 1;
  lua_call(L, 1, 0);
  return 1;
}
