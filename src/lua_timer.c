/*
** lua_timer.c -- setTimeout, setInterval and their handles; alarms.
**
** An alarm is for policy written in Lua that must go on when there is no memory. It has all it needs from the
** beginning: to set it, to stop it, and to call its function takes none. When it rings it is set anew at once, so that
** what fails midway is called again; the function sets it to another time, or stops it, once that is not needed.
*/
#include "lua_timer.h"

#include <string.h>

#define SHORTEST_INTERVAL INT64_C(1000000) /* 1 ms: an interval of 0 would keep the loop from ever waiting */
#define ALARM_AGAIN INT64_C(10000000)      /* 10 ms, after which there may be memory */

typedef struct timer_box {
  lw_box box;
  lw_timer timer;
  int64_t interval; /* 0: once */
  int joined;
  int alarm;
  int pending; /* an alarm that is set */
} timer_box;

/* User values. */
enum { FUNCTION = 1, ARGUMENTS, VALUES = ARGUMENTS };

/* An alarm that is not set is no reason for itself to live, nor for `run` to go on. */
static void stop_alarm(lua_State *L, timer_box *t) {
  if (!t->pending || !t->box.host->loop) return;
  t->pending = 0;
  lw_timer_stop(&t->box.host->loop->timers, &t->timer);
  t->box.host->waiting--;
  lw_box_rest(L, &t->box);
}

/* No longer pending; what it held on to may go. */
static void retire(lua_State *L, timer_box *t, int index) {
  index = lua_absindex(L, index);
  if (!t->joined) return;
  t->joined = 0;
  if (!t->box.host->loop) return;
  lw_timer_leave(&t->box.host->loop->timers, &t->timer);
  if (!t->alarm || t->pending) t->box.host->waiting--;
  lw_box_die(L, &t->box);
  lua_pushnil(L);
  lua_setiuservalue(L, index, FUNCTION);
  lua_pushnil(L);
  lua_setiuservalue(L, index, ARGUMENTS);
}

/* timer:close(), clearTimeout's work, the end of a <close> variable, and of the state. */
static int timer_close(lua_State *L) {
  timer_box *t = lw_box_check(L, 1, "lunawire.Timer");
  if (t->alarm) stop_alarm(L, t);
  else retire(L, t, 1);
  return 0;
}

/* clearTimeout(timer): nil is fine, as undefined is in the browser. */
static int clear(lua_State *L) {
  return lua_isnoneornil(L, 1) ? 0 : timer_close(L);
}

static int timer_gc(lua_State *L) {
  timer_box *t = lw_box_test(L, 1);
  if (t) retire(L, t, 1);
  return 0;
}

static int timer_tostring(lua_State *L) {
  timer_box *t = lw_box_check(L, 1, "lunawire.Timer");
  lua_pushfstring(L, "lunawire.Timer (%s): %p", (t->alarm ? t->pending : t->joined) ? "pending" : "over", (void *)t);
  return 1;
}

/* Keeps what stands above the function and its delay for the call. */
static void keep_arguments(lua_State *L, int box, int first, int last) {
  int count = last - first + 1;
  if (count <= 0) return;
  lua_createtable(L, count, 1);
  for (int i = 0; i < count; i++) {
    lua_pushvalue(L, first + i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushinteger(L, count);
  lua_setfield(L, -2, "n");
  lua_setiuservalue(L, box, ARGUMENTS);
}

/* Stack: function, ms, arguments. Upvalues: host, metatable. Returns the handle. */
static int start(lua_State *L, const char *name, int repeated) {
  lw_host *host = lw_host_check(L);
  int last = lua_gettop(L), err;
  int64_t delay;
  timer_box *t;
  lw_check_function(L, 1, name);
  delay = lw_check_milliseconds(L, 2, name, 0);
  t = lua_newuserdatauv(L, sizeof *t, VALUES);
  memset(t, 0, sizeof *t);
  t->box.host = host;
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_setmetatable(L, -2);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, last + 1, FUNCTION);
  keep_arguments(L, last + 1, 3, last);
  lw_box_live(L, &t->box, last + 1);
  if ((err = lw_timer_join(&host->loop->timers, &t->timer, LW_KIND_TIMER, t)) < 0) {
    lw_box_die(L, &t->box);
    lw_raise_err(L, name, err);
  }
  t->joined = 1;
  host->waiting++;
  if (repeated) t->interval = delay > SHORTEST_INTERVAL ? delay : SHORTEST_INTERVAL;
  lw_timer_set(&host->loop->timers, &t->timer, lw_loop_clock(host->loop) + (repeated ? t->interval : delay));
  return 1;
}

static int set_timeout(lua_State *L) {
  return start(L, "setTimeout", 0);
}

static int set_interval(lua_State *L) {
  return start(L, "setInterval", 1);
}

/* alarm(function, argument): a handle, not set yet. clearTimeout stops it. */
static int new_alarm(lua_State *L) {
  lw_host *host = lw_host_check(L);
  timer_box *t;
  int err;
  lw_check_function(L, 1, "alarm");
  lua_settop(L, 2);
  t = lua_newuserdatauv(L, sizeof *t, VALUES);
  memset(t, 0, sizeof *t);
  t->box.host = host;
  t->alarm = 1;
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_setmetatable(L, 3);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, FUNCTION);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 3, ARGUMENTS);
  lw_box_live(L, &t->box, 3);
  if ((err = lw_timer_join(&host->loop->timers, &t->timer, LW_KIND_TIMER, t)) < 0) {
    lw_box_die(L, &t->box);
    lw_raise_err(L, "alarm", err);
  }
  t->joined = 1;
  lw_box_rest(L, &t->box);
  return 1;
}

/* setAlarm(alarm, ms): sets or moves it. Takes no memory. */
static int set_alarm(lua_State *L) {
  lw_host *host = lw_host_check(L);
  timer_box *t = lw_box_check(L, 1, "lunawire.Timer");
  int64_t delay = lw_check_milliseconds(L, 2, "setAlarm", 0);
  if (!t->alarm || !t->joined) return 0;
  lw_timer_set(&host->loop->timers, &t->timer, lw_loop_clock(host->loop) + delay);
  if (t->pending) return 0;
  t->pending = 1;
  host->waiting++;
  lw_box_wake(L, &t->box, 1);
  return 0;
}

/* Stack: …, the alarm's box. */
static int ring(lua_State *L, timer_box *t, int box) {
  lw_loop *loop = t->box.host->loop;
  lw_timer_set(&loop->timers, &t->timer, loop->now + ALARM_AGAIN);
  lw_reserve_calls(L);
  lua_getiuservalue(L, box, FUNCTION);
  lua_getiuservalue(L, box, ARGUMENTS);
  lua_call(L, 1, 0);
  lua_settop(L, box - 1);
  return 1;
}

/* An interval keeps its beat; one that fell behind begins anew instead of catching up. */
static void set_again(timer_box *t) {
  lw_loop *loop = t->box.host->loop;
  int64_t due = t->timer.due + t->interval;
  lw_timer_set(&loop->timers, &t->timer, due > loop->now ? due : loop->now + t->interval);
}

int lw_timer_fire(lua_State *L, void *owner) {
  timer_box *t = owner;
  lw_loop *loop = t->box.host->loop;
  int box, count = 0;
  if (!t->joined) return 0;
  lw_box_push(L, &t->box);
  box = lua_gettop(L);
  if (t->alarm) return ring(L, t, box);
  if (t->interval) set_again(t);
  lua_getiuservalue(L, box, FUNCTION);
  if (lua_getiuservalue(L, box, ARGUMENTS) == LUA_TTABLE) {
    int list = lua_gettop(L);
    lua_getfield(L, list, "n");
    count = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (!t->interval) lw_timer_set(&loop->timers, &t->timer, loop->now + ALARM_AGAIN); /* there may be no memory for them */
    lw_reserve_stack(L, count, "timer");
    for (int i = 1; i <= count; i++) lua_rawgeti(L, list, i);
    lua_remove(L, list);
  } else {
    lua_pop(L, 1);
  }
  if (!t->interval) retire(L, t, box);
  lua_call(L, count, 0);
  lua_settop(L, box - 1);
  return 1;
}

static const luaL_Reg metamethods[] = {
    {"__gc", timer_gc}, {"__close", timer_close}, {"__tostring", timer_tostring}, {NULL, NULL}};
static const luaL_Reg methods[] = {{"close", timer_close}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"setTimeout", set_timeout},
                                     {"setInterval", set_interval},
                                     {"clearTimeout", clear},
                                     {"clearInterval", clear},
                                     {"alarm", new_alarm},
                                     {"setAlarm", set_alarm},
                                     {NULL, NULL}};

void lw_timer_open(lua_State *L) {
  lw_class_new(L, "lunawire.Timer", metamethods);
  lua_newtable(L); /* module, metatable, methods */
  lw_host_push(L);
  lua_pushvalue(L, -3);
  luaL_setfuncs(L, methods, 2);
  lua_setfield(L, -2, "__index");
  lw_host_push(L);
  lua_insert(L, -2);               /* module, host, metatable */
  luaL_setfuncs(L, functions, 2);
}
