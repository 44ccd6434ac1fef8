/*
** loop.c -- the whole loop over a system in memory: connections, servers, and what befalls them.
**
** The input is a setting, then what an application and a network do: one hub with servers and clients
** that talk to each other, foreign programs that say what the input says, and a system that
** chooses by the input what it does. What holds for every run is judged after each turn; at its
** end the world becomes an ideal one, and then nothing may be left undone.
*/
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "../sim/world.h"
#include "fuzz.h"
#include "handshake.h"
#include "server.h"

FUZZ_BEGIN

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)

#define STEPS 80      /* what is done between turns, at most */
#define CLIENTS 14    /* there ever are */
#define RECORDS 48    /* connections of ours: clients and guests, those of foreign programs, too */
#define SAID 48       /* messages of one of them */
#define FOREIGN 8     /* foreign programs' connections there ever are */
#define SCRIPT 8      /* what handlers do, over and over */
#define HANDLED 120   /* events after which they do nothing any more */
#define QUEUED_MAX 160000 /* bytes of messages in a run, at most: it stays short */
#define IDLE_MAX 64   /* turns in a row in which nothing has moved: the loop spins */

enum { KIND_CONN = 1, KIND_SERVER };

/* One message that was sent: its bytes lie in `pattern`. */
typedef struct said {
  const unsigned char *bytes;
  size_t n;
  int binary;
} said;

/* One connection of ours, from when it is first seen; stays when it is freed. */
typedef struct record {
  lw_conn *conn;  /* NULL: freed */
  int is_server;
  struct record *partner; /* the other end, where that is ours; known from the request on */
  lw_conn_state state;
  int64_t born;   /* when it was first seen */
  unsigned requested : 1, opened : 1, failed : 1, ended : 1, clean : 1;
  unsigned killed : 1;   /* freed by the application before its end */
  unsigned orphan : 1;
  unsigned closed : 1;   /* the first Close frame of this side was asked for here */
  unsigned paused : 1;
  unsigned told : 1;     /* to wait for DRAIN */
  unsigned accepted : 1;
  unsigned well : 1;     /* it has to end cleanly */
  int given;             /* the code it closed with; 1005: none */
  int code, error, close_code; /* as it was told */
  size_t count, heard;   /* messages of its own; of its partner's that came */
  size_t pings, pongs;
  uint64_t content;      /* of all of them */
  uint64_t sent, written;
  uint64_t before_close; /* what was written when it was last seen open */
  int has_bodies;
  uint64_t epoch, fresh; /* the hub's when it last sent; content sent in that turn */
  said said[SAID];
} record;

typedef struct action {
  unsigned char what, how;
} action;

typedef struct setting {
  unsigned flags;
  lw_conn_settings conn;
  lw_deflate_options deflate;
  lw_heartbeat_settings heartbeat;
  size_t max_connections;
  world_rules rules;
  action script[SCRIPT];
  const char *backend;
} setting;

enum {
  WITH_DEFLATE = 1,
  WITH_HEARTBEAT = 2,
  DIRECT = 4,      /* what the system does is chosen by the input, byte for byte; else by a seed from it */
  WITH_POLL = 8,
  FEW = 16,        /* few connections are let in */
  STAY_PAUSED = 32, /* at the end, too */
  LEAVE = 64,      /* all is dropped as it is */
  HURRY = 128      /* connections are left early, as turns are */
};

typedef struct foreign {
  int fd; /* -1: closed */
  int to_server, hears;
  unsigned char key[LW_KEY_SIZE];
} foreign;

/* A run. */
static struct {
  setting set;
  lw_slice input;
  uint32_t chance;
  int chose;      /* the system did something of its own accord in this turn */
  size_t base;
  lw_loop *loop;
  lw_hub hub;
  lw_server *server;
  unsigned short port, foreign_port;
  int listener;   /* a foreign one, or -1 */
  int server_closing, server_closed, servers, clients;
  record records[RECORDS];
  size_t record_count;
  record *current; /* whose event is handled */
  foreign foreign[FOREIGN];
  size_t foreign_count;
  size_t queued;
  unsigned offset; /* where in `pattern` the next message begins */
  unsigned events, handled;
  unsigned handed; /* out by the loop in this turn */
  int idle;
  int starving;   /* memory or random bytes may have run out */
  int unkind;     /* memory or a call has failed, or may have */
  int cut;        /* some connection carries nothing any more */
  int settling;
  int64_t turned; /* when the turn began */
  int was_over;   /* the turn before was not left early */
  fuzz_log log;
} a;

static unsigned char pattern[80000];

#define NOTE(name, number) fuzz_log_number(&a.log, name, (int64_t)(number))

/* ------------------------------------------------------------------ chance */

static uint32_t choose(void *context, uint32_t n) {
  uint32_t got;
  (void)context;
  if (a.settling) return 0;
  if (a.set.flags & DIRECT) {
    got = fuzz_byte(&a.input);
    if (n > 256) got = got << 8 | fuzz_byte(&a.input);
  } else {
    a.chance = a.chance * 1664525u + 1013904223u;
    got = a.chance >> 8;
  }
  got %= n;
  if (got > 0) a.chose = 1;
  return got;
}

static void read_rules(world_rules *rules, lw_slice *input) {
  static const int64_t latencies[] = {0, 0, MS, 40 * MS, 300 * MS, 5 * SECOND};
  static const size_t capacities[] = {0, 0, 200, 4096, 20};
  static const unsigned often[] = {0, 0, 30, 128};
  static const unsigned seldom[] = {0, 0, 0, 0, 60, 600, 6000};
  unsigned what = fuzz_byte(input);
  memset(rules, 0, sizeof *rules);
  rules->latency = FUZZ_CHOICE(input, latencies);
  rules->capacity = FUZZ_CHOICE(input, capacities);
  rules->shorter = often[what & 3];
  rules->again = often[what >> 2 & 3];
  rules->tick = what & 16 ? MS / 10 : 0;
  if (what & 32) {
    rules->late = 64;
    rules->oversleep = SECOND;
  }
  what = fuzz_byte(input);
  rules->fault = seldom[what % 7];
  rules->reset = seldom[what / 7 % 7];
  if (what >= 0xe0) rules->limit = 4 + what % 8;
  if (rules->fault || rules->reset || rules->limit) a.unkind = 1;
}

static void read_setting(setting *set, lw_slice *input) {
  static const int64_t handshakes[] = {10 * SECOND, 50 * MS, SECOND};
  static const int64_t closes[] = {5 * SECOND, 20 * MS, SECOND};
  static const uint64_t payloads[] = {1 << 20, 1000, 65536, 0};
  static const uint64_t fragments[] = {0, 100, 1000, 16384};
  static const size_t marks[] = {1 << 20, 0, 100, 4096, 65536};
  static const size_t buffers[] = {16 << 20, 1000, 70000, 0};
  static const int64_t beats[] = {30 * SECOND, 2 * SECOND, SECOND / 2};
  unsigned limits, times;
  set->flags = fuzz_byte(input);
  times = fuzz_byte(input);
  limits = fuzz_byte(input);
  set->conn = (lw_conn_settings){.limits = {.max_payload = payloads[limits & 3], .max_fragments = limits & 4 ? 20 : 100000,
                                            .fragment_size = fragments[limits >> 3 & 3]},
                                 .max_buffered = buffers[limits >> 5 & 3],
                                 .handshake_timeout = handshakes[times % 3], .close_timeout = closes[times / 3 % 3],
                                 .max_header_size = 1000, .max_header_count = 20, .no_delay = 1};
  set->conn.high_water = FUZZ_CHOICE(input, marks);
  lw_deflate_defaults(&set->deflate);
  set->deflate.level = 1;
  set->deflate.mem_level = 1;
  set->deflate.threshold = 10;
  if (set->flags & WITH_DEFLATE) set->conn.deflate = &set->deflate;
  set->heartbeat = (lw_heartbeat_settings){0, 10 * SECOND};
  if (set->flags & WITH_HEARTBEAT) set->heartbeat = (lw_heartbeat_settings){beats[times / 9 % 3], beats[times / 27 % 3]};
  set->max_connections = set->flags & FEW ? 2 : 40;
  set->backend = set->flags & WITH_POLL ? "poll" : NULL;
  read_rules(&set->rules, input);
  a.chance = fuzz_byte(input) * 2654435761u + 1;
  for (int i = 0; i < SCRIPT; i++) {
    set->script[i].what = (unsigned char)fuzz_byte(input);
    set->script[i].how = (unsigned char)fuzz_byte(input);
  }
}

/* ------------------------------------------------------------------ records */

static record *record_of(const lw_conn *c) {
  for (size_t i = 0; i < a.record_count; i++)
    if (a.records[i].conn == c) return &a.records[i];
  return NULL;
}

static record *new_record(lw_conn *c, int is_server) {
  record *r = &a.records[a.record_count++];
  EXPECT(a.record_count <= RECORDS, "more connections than were made");
  memset(r, 0, offsetof(record, said));
  r->conn = c;
  r->is_server = is_server;
  r->born = world_now();
  r->state = lw_conn_where(c);
  return r;
}

static record *seen(lw_conn *c) {
  record *r = record_of(c);
  return r ? r : new_record(c, 1);
}

/* Those that were let in and not handed out yet, too. */
static void see_all(void) {
  if (!a.server) return;
  for (lw_conn *c = lw_server_first(a.server); c; c = lw_server_after(a.server, c)) seen(c);
}

/* One that lives, chosen by n; NULL: none does. */
static record *pick(unsigned n) {
  size_t living = 0;
  for (size_t i = 0; i < a.record_count; i++) living += a.records[i].conn != NULL;
  if (living == 0) return NULL;
  n %= living;
  for (size_t i = 0;; i++)
    if (a.records[i].conn && n-- == 0) return &a.records[i];
}

static void drop(record *r) {
  lw_server_leave(r->conn);
  lw_conn_free(r->conn);
  r->conn = NULL;
  if (a.current == r) a.current = NULL;
}

/* A number in a target, in a way that no mutation comes upon. */
static uint32_t disguise(size_t number) {
  return (uint32_t)(number + 1) * 2654435761u ^ 0x5bd1e995u;
}

/* Whose request it is, of the clients here. */
static void find_partner(record *r) {
  const lw_http_head *head = lw_conn_head(r->conn);
  uint32_t number = 0;
  EXPECT(head != NULL, "a request without a head");
  if (head->target.n < 9) return;
  for (size_t i = 1; i < 9; i++) {
    unsigned char c = head->target.bytes[i];
    if (c < 'a' || c > 'p') return;
    number = number << 4 | (uint32_t)(c - 'a');
  }
  for (size_t i = 0; i < a.record_count; i++) {
    record *client = &a.records[i];
    if (disguise(i) != number || client->is_server) continue;
    EXPECT(client->partner == NULL, "a request that came twice");
    r->partner = client;
    client->partner = r;
  }
}

/* ------------------------------------------------------------------ what is always so */

/* What must be true of a connection whenever nothing is being done with it. */
static void check_conn(record *r) {
  lw_conn *c = r->conn;
  lw_conn_state state = lw_conn_where(c);
  uint64_t unsent = lw_conn_unsent(c), sent = lw_conn_sent(c), written = lw_conn_written(c);
  EXPECT(state >= r->state, "a state that goes back");
  r->state = state;
  EXPECT(unsent <= r->content, "more is unsent than was sent");
  EXPECT(lw_conn_buffered(c) == unsent, "a wrong bufferedAmount");
  EXPECT(unsent <= a.set.conn.max_buffered, "more is queued than maxBufferedAmount");
  EXPECT(sent >= r->sent && written >= r->written && sent <= written, "bytes that came back");
  if (sent == written && state == LW_CONN_OPEN) EXPECT(unsent == 0, "all has gone, and something is unsent");
  if (lw_conn_owes_drain(c)) EXPECT(r->told, "a drain that is owed to nobody");
  if (state == LW_CONN_OPEN) EXPECT(lw_conn_is_paused(c) == (int)r->paused, "paused otherwise than was asked for");
  r->sent = sent;
  r->written = written;
  if (state == LW_CONN_OPEN) r->before_close = written;
}

static void check_server(void) {
  size_t open = 0;
  for (lw_conn *c = lw_server_first(a.server); c; c = lw_server_after(a.server, c)) open += lw_conn_where(c) == LW_CONN_OPEN;
  EXPECT(open == lw_server_count(a.server), "another number of open connections");
}

/* So much memory may be held: what peers can make us hold, and what the application has queued. */
static void check_memory(void) {
  size_t most = LW_RECEIVE_HEAD + LW_RECEIVE_SIZE + (LW_POOL_KEPT + 2) * (LW_CHUNK_SIZE + 64) + 50000;
  for (size_t i = 0; i < a.record_count; i++) {
    const record *r = &a.records[i];
    if (!r->conn) continue;
    most += 16000 + 70000 + (size_t)a.set.conn.limits.max_payload + (size_t)lw_conn_unsent(r->conn) * 2 + 2 * 16500;
    most += r->count * 16 * (a.set.conn.limits.fragment_size == 100 ? 1000 : 64); /* framing */
    if (a.set.conn.deflate) most += 400000;
  }
  if (a.set.conn.deflate) most += 2100000; /* the shelf: 4 contexts that compress, 16 that decompress, and its room; see deflate.c */
  EXPECT(fuzz_held() - a.base <= most, "more memory than the limits allow");
}

static void check_all(void) {
  if (!a.loop) return;
  see_all();
  for (size_t i = 0; i < a.record_count; i++)
    if (a.records[i].conn) check_conn(&a.records[i]);
  if (a.server) check_server();
  check_memory();
  EXPECT(world_strays() == 0, "a call with a descriptor that is none");
}

/* After two whole turns (of one that is left early the rest comes first) nobody shakes hands who should have been given up. */
static void check_deadlines(void) {
  for (size_t i = 0; i < a.record_count; i++) {
    const record *r = &a.records[i];
    if (!r->conn || r->accepted || lw_conn_where(r->conn) >= LW_CONN_OPEN) continue;
    EXPECT(a.turned - r->born < a.set.conn.handshake_timeout, "a handshake without end");
  }
}

/* ------------------------------------------------------------------ messages */

static size_t size_of(unsigned how) {
  static const size_t sizes[] = {5, 0, 1, 40, 125, 126, 300, 1000, 1001, 4000, 16384, 20000, 65536, 70000, 3, 60};
  size_t n = sizes[how & 15];
  return a.queued + n > QUEUED_MAX ? n % 8 : n;
}

/* The next message: letters that no other message has so at its beginning. */
static said next_message(size_t n, int binary) {
  a.offset = (a.offset + 37) % 9973;
  return (said){pattern + a.offset, n, binary};
}

/* It was queued. */
static void note_said(record *r, said what) {
  uint64_t unsent = lw_conn_unsent(r->conn);
  if (r->epoch != a.hub.epoch) r->fresh = 0;
  r->epoch = a.hub.epoch;
  r->fresh += what.n;
  r->said[r->count++] = what;
  r->content += what.n;
  a.queued += what.n;
  EXPECT(lw_conn_buffered(r->conn) == (unsent > r->fresh ? unsent : r->fresh), "a wrong bufferedAmount");
}

static void note_sent(record *r, int result, said what) {
  NOTE("sent", result);
  if (result >= 0) note_said(r, what);
  if (result == 0) {
    r->told = 1;
    EXPECT(lw_conn_owes_drain(r->conn), "told to wait, and no drain is owed");
  }
  if (result == LW_ERR_SLOW) EXPECT(lw_conn_where(r->conn) == LW_CONN_CLOSED, "too slow, and goes on");
  EXPECT(result == 0 || result == 1 || result == LW_ERR_SLOW || (a.starving && (result == LW_ERR_MEMORY || result == LW_ERR_RANDOM)) ||
         (result == LW_ERR_CLOSED && r->state != LW_CONN_OPEN), "a send that fails");
}

static void send_one(record *r, unsigned how) {
  said what = next_message(size_of(how), how & 16);
  if (r->count == SAID) return;
  r->state = lw_conn_where(r->conn);
  note_sent(r, lw_conn_send(r->conn, what.binary ? LW_BINARY : LW_TEXT, what.bytes, what.n, how & 32), what);
}

/* A long message, of two pieces. */
static void send_body(record *r, unsigned how) {
  said what = next_message(size_of(how) + 1, how & 16);
  size_t first = how & 32 ? what.n / 3 : 0;
  lw_body *body;
  if (r->count == SAID || !(body = lw_body_new(&lw_sys_real, 2))) return;
  if (lw_body_add(body, what.bytes, first) < 0 || lw_body_add(body, what.bytes + first, what.n - first) < 0) {
    lw_body_free(body);
    return;
  }
  r->state = lw_conn_where(r->conn);
  r->has_bodies = 1;
  note_sent(r, lw_conn_send_body(r->conn, what.binary ? LW_BINARY : LW_TEXT, body), what);
}

static void ping(record *r, unsigned how) {
  size_t n = how % 126;
  int err = lw_conn_ping(r->conn, pattern, n);
  r->pings += err == 0;
}

/* What has been written shows a message of no bytes, too; but without memory it may be a pong alone. */
static uint64_t shown(const record *r, size_t n) {
  return n > 0 ? lw_conn_unsent(r->conn) : lw_conn_written(r->conn);
}

static int is_receiver(const record *r, const record *except, int by_topic) {
  if (!r->conn || lw_conn_seat(r->conn)->server != a.server || lw_conn_where(r->conn) != LW_CONN_OPEN) return 0;
  return !by_topic || (r != except && lw_server_subscribed(r->conn, "t", 1));
}

/* To all, or to those of a topic. Who got it shows. */
static void cast(unsigned how, const record *except) {
  said what = next_message(size_of(how), how & 16);
  lw_server_message message = {what.binary ? LW_BINARY : LW_TEXT, what.bytes, what.n, (how & 32) != 0};
  int by_topic = (how & 64) != 0;
  uint64_t before[RECORDS];
  long count, got = 0;
  if (what.n == 0 && a.starving) return;
  for (size_t i = 0; i < a.record_count; i++) {
    if (a.records[i].conn) before[i] = shown(&a.records[i], what.n);
    if (a.records[i].is_server && a.records[i].count == SAID) return;
  }
  if (by_topic) count = lw_server_publish(a.server, except ? except->conn : NULL, "t", 1, &message);
  else count = lw_server_broadcast(a.server, &message);
  for (size_t i = 0; i < a.record_count; i++) {
    record *r = &a.records[i];
    if (!r->conn || shown(r, what.n) == before[i]) {
      EXPECT(count < 0 || a.starving || !is_receiver(r, except, by_topic), "not sent to whom it was for");
      continue;
    }
    EXPECT(r->is_server && lw_conn_where(r->conn) == LW_CONN_OPEN && !(by_topic && r == except), "sent to whom it was not for");
    if (by_topic) EXPECT(lw_server_subscribed(r->conn, "t", 1), "published to who has not subscribed");
    if (lw_conn_owes_drain(r->conn)) r->told = 1;
    note_said(r, what);
    got++;
  }
  NOTE("cast", count);
  EXPECT(count == got || (count == LW_ERR_MEMORY && a.starving), "another number of receivers");
}

/* ------------------------------------------------------------------ ends */

static void note_close(record *r, lw_conn_state before, int code) {
  if (before >= LW_CONN_CLOSING || lw_conn_where(r->conn) != LW_CONN_CLOSING) return;
  r->closed = 1;
  r->paused = 0;
  r->given = code ? code : 1005;
}

static void close_conn(record *r, unsigned how) {
  static const unsigned codes[] = {1000, 0, 1001, 3000, 4999};
  unsigned code = codes[how % 5];
  lw_conn_state before = lw_conn_where(r->conn);
  lw_conn_close(r->conn, code, pattern, code ? how % 124 : 0);
  note_close(r, before, (int)code);
  EXPECT(lw_conn_where(r->conn) >= LW_CONN_CLOSING, "closed, and open");
}

static void orphan(record *r) {
  r->orphan = 1;
  lw_conn_orphan(r->conn);
}

static void kill_conn(record *r) {
  r->killed = 1;
  drop(r);
}

static void close_server(unsigned how) {
  lw_conn_state before[RECORDS];
  static const char body[] = "bye";
  see_all();
  for (size_t i = 0; i < a.record_count; i++)
    if (a.records[i].conn) before[i] = lw_conn_where(a.records[i].conn);
  lw_server_close(a.server, how & 1 ? 1001 : 1012, body, how & 1 ? sizeof body - 1 : 0);
  a.server_closing = 1;
  for (size_t i = 0; i < a.record_count; i++)
    if (a.records[i].conn && a.records[i].is_server) note_close(&a.records[i], before[i], how & 1 ? 1001 : 1012);
  for (lw_conn *c = lw_server_first(a.server); c; c = lw_server_after(a.server, c))
    EXPECT(lw_conn_where(c) >= LW_CONN_CLOSING, "a server's connection that was not closed with it");
}

static void free_server(void) {
  if (a.server && a.loop) see_all();
  for (size_t i = 0; i < a.record_count; i++) { /* guests nobody knows: the hub ends them, and without one they are freed */
    record *r = &a.records[i];
    if (!r->conn || !lw_conn_seat(r->conn)->server || lw_conn_owner(r->conn)) continue;
    r->orphan = 1;
    if (!a.loop) r->conn = NULL;
  }
  lw_server_free(a.server);
  a.server = NULL;
}

/* The hub goes in the middle of all. Whoever has an owner, or a place in a server, is freed after it. */
static void free_hub(unsigned how) {
  a.current = NULL;
  see_all();
  if (a.server && how & 1) free_server();
  if (a.server) lw_server_detach(a.server);
  for (size_t i = 0; i < a.record_count; i++) {
    record *r = &a.records[i];
    if (!r->conn) continue;
    r->killed = 1;
    if (!lw_conn_owner(r->conn) && !lw_conn_seat(r->conn)->server) r->conn = NULL;
  }
  lw_hub_clear(&a.hub);
  lw_loop_free(a.loop);
  a.loop = a.hub.loop = NULL;
  if (how & 2) free_server();
  for (size_t i = 0; i < a.record_count; i++) {
    record *r = &a.records[i];
    if (!r->conn) continue;
    if (how & 4 && !lw_conn_seat(r->conn)->server) lw_conn_orphan(r->conn);
    else drop(r);
    r->conn = NULL;
  }
  free_server();
}

/* ------------------------------------------------------------------ servers and clients */

static void new_server(unsigned how) {
  lw_server_options options = {.settings = a.set.conn, .max_connections = a.set.max_connections, .heartbeat = a.set.heartbeat};
  int err;
  if (a.server || a.servers >= 3) return;
  if (how % 8 == 7) options.listen.path = "/world";
  a.servers++;
  a.server = lw_server_new(&a.hub, &options, KIND_SERVER, KIND_CONN, &a, &err);
  NOTE("server", a.server ? 0 : err);
  if (!a.server) EXPECT(a.unkind, "no server in a kind world");
  else a.port = lw_server_address(a.server)->any.sa_family == AF_INET ? ntohs(lw_server_address(a.server)->ip4.sin_port) : 0;
  a.server_closing = a.server_closed = 0;
}

static const char *const ways[] = {"ws://127.0.0.1:%d/%s", "ws://127.0.0.1:%d/%s", "ws://localhost:%d/%s", "ws://name.example:%d/%s",
                                   "ws://192.0.2.1:%d/%s", "ws://198.51.100.1:%d/%s", "ws://nobody.example:%d/%s",
                                   "ws://[::1]:%d/%s", "ws+unix:/world:/%.0d%s"};

static record *connect_to(const char *way, unsigned short port) {
  static const lw_conn_way straight;
  char text[100], name[9];
  uint32_t number = disguise(a.record_count);
  lw_handshake_offer offer = {.origin = NULL};
  lw_url url;
  lw_conn *c;
  int err = 0;
  for (int i = 0; i < 8; i++) name[i] = (char)('a' + (number >> (28 - 4 * i) & 15));
  name[8] = '\0';
  snprintf(text, sizeof text, way, port, name);
  if (lw_url_parse(&url, text, strlen(text)) < 0) return NULL;
  offer.url = &url;
  c = lw_conn_connect(&a.hub, &a.set.conn, &offer, &straight, KIND_CONN, &a, &err);
  lw_url_clear(&url);
  NOTE("connect", err);
  EXPECT(c || a.starving, "no client though there is memory");
  return c ? new_record(c, 0) : NULL;
}

static void new_client(unsigned how) {
  unsigned short port = how & 16 ? a.foreign_port : a.port;
  const char *way = ways[how % (sizeof ways / sizeof *ways)];
  int local = strncmp(way, "ws+unix:", 8) == 0;
  if (a.clients == CLIENTS || (!port && !local)) return;
  if (local) port = 0; /* which is not written */
  a.clients++;
  connect_to(way, port);
}

/* ------------------------------------------------------------------ foreign programs */

static foreign *new_foreign(int fd, int to_server) {
  foreign *f = &a.foreign[a.foreign_count++];
  *f = (foreign){.fd = fd, .to_server = to_server, .hears = 1};
  return f;
}

static foreign *pick_foreign(unsigned how) {
  foreign *f = a.foreign_count > 0 ? &a.foreign[how % a.foreign_count] : NULL;
  return f && f->fd >= 0 ? f : NULL;
}

static void dial(void) {
  int fd;
  if (a.foreign_count == FOREIGN || !a.port) return;
  if ((fd = world_dial(a.port)) >= 0) new_foreign(fd, 1);
}

/* The key of a client's request, for the answer. */
static void find_key(foreign *f, const unsigned char *bytes, size_t n) {
  static const char field[] = "Sec-WebSocket-Key: ";
  for (size_t i = 0; i + sizeof field - 1 + LW_KEY_SIZE <= n; i++)
    if (memcmp(bytes + i, field, sizeof field - 1) == 0) memcpy(f->key, bytes + i + sizeof field - 1, LW_KEY_SIZE);
}

/* What they do by themselves: let clients in, and read. */
static void serve_foreign(void) {
  static unsigned char bytes[65536];
  ssize_t got;
  int fd;
  while (a.listener >= 0 && a.foreign_count < FOREIGN && (fd = world_accept(a.listener)) >= 0) new_foreign(fd, 0);
  for (size_t i = 0; i < a.foreign_count; i++) {
    foreign *f = &a.foreign[i];
    while (f->fd >= 0 && f->hears && (got = world_recv(f->fd, bytes, sizeof bytes)) > 0)
      if (!f->to_server) find_key(f, bytes, (size_t)got);
  }
}

static void say(foreign *f, const void *bytes, size_t n) {
  world_send(f->fd, bytes, n);
}

/* A right handshake, to a server or a client. */
static void say_handshake(foreign *f, unsigned how) {
  static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n";
  static const char answer[] = "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n";
  const char *more = how & 1 ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "";
  char text[500], accept[LW_ACCEPT_SIZE + 1] = "";
  int n;
  if (!f->to_server) lw_handshake_accept(accept, (const char *)f->key);
  if (f->to_server) n = snprintf(text, sizeof text, request, more);
  else n = snprintf(text, sizeof text, answer, accept, more);
  say(f, text, (size_t)n);
}

/* One frame, whose payload the input has; masked as it should be. */
static void say_frame(foreign *f, unsigned how) {
  static const unsigned char openings[] = {0x81, 0x82, 0x89, 0x8a, 0x88, 0x01, 0x02, 0x00, 0x80, 0xc1, 0xc2, 0x41};
  unsigned char bytes[140];
  size_t n = fuzz_byte(&a.input) % 126, at = 2;
  bytes[0] = openings[how % sizeof openings];
  bytes[1] = (unsigned char)(n | (f->to_server ? 0x80 : 0));
  for (int i = 0; f->to_server && i < 4; i++) bytes[at++] = 0;
  for (size_t i = 0; i < n; i++) bytes[at++] = (unsigned char)fuzz_byte(&a.input);
  say(f, bytes, at);
}

/* Bytes of the input, as they are. */
static void say_raw(foreign *f, unsigned how) {
  lw_slice raw = {a.input.bytes, how < a.input.n ? how : a.input.n};
  a.input.bytes += raw.n; /* first: the system may choose by what comes next */
  a.input.n -= raw.n;
  say(f, raw.bytes, raw.n);
}

static void hang_up(foreign *f) {
  world_close(f->fd);
  f->fd = -1;
}

/* ------------------------------------------------------------------ what is done */

static void accept_guest(record *r, unsigned how) {
  static const lw_slice none;
  if (lw_conn_where(r->conn) != LW_CONN_ASKED) return;
  if (how & 1) lw_conn_respond(r->conn, 403, NULL, "no\n", 3);
  else if (lw_conn_wants_upgrade(r->conn)) r->accepted |= lw_conn_accept(r->conn, none, NULL) == 0;
}

static void harm(unsigned how) {
  unsigned call = how % 29;
  const char *name = world_call_name(call);
  int err = name ? world_call_errno(name, how / 29 % 8) : 0;
  if (!name || !err) return;
  world_fail(name, err, how % 3, 1 + how % 2);
  a.unkind = 1;
}

static void pass(unsigned how) {
  static const int64_t times[] = {MS, 20 * MS, 100 * MS, 250 * MS, SECOND, 5 * SECOND, 10 * SECOND, 31 * SECOND};
  world_pass(times[how & 7]);
}

/* Of memory, or of random bytes. */
static void starve(unsigned how) {
  if (how & 128) fuzz_dry(!(how & 64));
  else fuzz_starve(how & 64 ? -1 : (long)(how & 63));
  a.starving |= !(how & 64);
  a.unkind = 1;
}

enum {
  NOTHING, TURN, CONNECT, SEND, BODY, PING, CLOSE, PAUSE, RESUME, DIAL, SHAKE, FRAME, RAW, TURNS, CAST, SUBSCRIBE,
  TERMINATE, END, KILL, ORPHAN, SHUT, HANG_UP, DEAF, BREAK, CUT, PASS, STARVE, HARM, ANSWER, CLOSE_SERVER, FREE_SERVER,
  NEW_SERVER, FREE_HUB, FLUSH, RULES, ALIVE, ACTIONS
};

static void act_on_foreign(unsigned what, unsigned how) {
  foreign *f = pick_foreign(how >> 5);
  if (!f) return;
  switch (what) {
    case SHAKE: say_handshake(f, how); break;
    case FRAME: say_frame(f, how & 31); break;
    case RAW: say_raw(f, how); break;
    case SHUT: world_shut(f->fd); break;
    case HANG_UP: hang_up(f); break;
    case DEAF: f->hears = !f->hears; break;
  }
}

static void act_on_conn(record *r, unsigned what, unsigned how) {
  lw_conn *c = r->conn;
  switch (what) {
    case SEND: send_one(r, how); break;
    case BODY: send_body(r, how); break;
    case PING: ping(r, how); break;
    case CLOSE: close_conn(r, how); break;
    case PAUSE:
      if (lw_conn_where(c) <= LW_CONN_OPEN) r->paused = 1;
      lw_conn_pause(c);
      break;
    case RESUME:
      r->paused = 0;
      lw_conn_resume(c);
      break;
    case SUBSCRIBE:
      if (how & 16) lw_server_unsubscribe(c, "t", 1);
      else lw_server_subscribe(c, "t", 1);
      break;
    case TERMINATE: lw_conn_terminate(c, pattern, how & 15); break;
    case END: lw_conn_end(c); break;
    case KILL: kill_conn(r); break;
    case ORPHAN: orphan(r); break;
    case ANSWER: accept_guest(r, how); break;
    case FLUSH: lw_conn_flush(c); break;
    case ALIVE: lw_conn_alive(c); break;
  }
}

static void act_on_server(unsigned what, unsigned how) {
  switch (what) {
    case CAST: cast(how, pick(how >> 4)); break;
    case CLOSE_SERVER: close_server(how); break;
    case FREE_SERVER: free_server(); break;
  }
}

static void act(record *r, unsigned what, unsigned how) {
  int link;
  a.idle = 0;
  NOTE("act", what);
  NOTE("how", how);
  if (!a.loop) return;
  switch (what) {
    case CONNECT: new_client(how); break;
    case DIAL: dial(); break;
    case BREAK:
    case CUT:
      if ((link = world_link(how)) < 0) break;
      if (what == BREAK) world_break(link);
      else world_cut(link);
      a.unkind = 1;
      a.cut |= what == CUT;
      break;
    case PASS: pass(how); break;
    case STARVE: starve(how); break;
    case HARM: harm(how); break;
    case NEW_SERVER: new_server(how); break;
    case FREE_HUB: if (how % 4 == 3) free_hub(how >> 2); break;
    case RULES: read_rules(world_law(), &a.input); break;
    case SHAKE: case FRAME: case RAW: case SHUT: case HANG_UP: case DEAF: act_on_foreign(what, how); break;
    case CAST: case CLOSE_SERVER: case FREE_SERVER: if (a.server) act_on_server(what, how); break;
    case NOTHING: case TURN: case TURNS: break;
    default: if (r) act_on_conn(r, what, how);
  }
}

/* ------------------------------------------------------------------ events */

static void check_message(record *r, const lw_conn_event *event) {
  const record *p = r->partner;
  EXPECT(event->n <= a.set.conn.limits.max_payload, "a message over maxPayload");
  EXPECT(lw_conn_where(r->conn) == LW_CONN_OPEN, "a message, and it is not open");
  if (!p) return;
  EXPECT(r->heard < p->count, "a message that was not sent");
  EXPECT(p->said[r->heard].n == event->n && p->said[r->heard].binary == (event->binary ? 16 : 0), "another message");
  EXPECT(memcmp(p->said[r->heard].bytes, event->bytes, event->n) == 0, "another message, or in another order");
  r->heard++;
}

/* Between two ends of ours nobody breaks the protocol. */
static void check_failure(record *r, const lw_conn_event *event) {
  int err = event->error;
  r->error = err;
  r->close_code = event->close_code;
  EXPECT(err != 0 && lw_strerror(err)[0] != '\0', "a failure without a reason");
  if (!r->partner) return;
  EXPECT(!(err <= LW_ERR_RSV && err >= LW_ERR_DEFLATE_TRAILING) || err == LW_ERR_PAYLOAD || err == LW_ERR_FRAGMENTS,
         "the protocol was broken by ourselves");
  EXPECT(!(err <= LW_ERR_HTTP_START && err >= LW_ERR_HTTP_CHUNK), "no HTTP");
  EXPECT(!(err < LW_ERR_STATUS && err >= LW_ERR_EXTENSION_ANSWER), "a handshake that is wrong");
  if (!a.unkind) EXPECT(!LW_IS_SYS(err) && err != LW_ERR_MEMORY, "the system was blamed");
}

static int is_code_of(const record *r, int code) {
  return (r->closed && r->given == code) || (r->orphan && code == 1005) || (r->failed && r->close_code == code);
}

static void check_end(record *r, const lw_conn_event *event) {
  r->code = event->code;
  r->clean = event->clean != 0;
  EXPECT(event->code == 1005 || event->code == 1006 || lw_close_code_valid((unsigned)event->code), "a code that is none");
  EXPECT(event->n <= LW_CLOSE_REASON_MAX, "a reason that is too long");
  if (event->clean) EXPECT(!r->failed && event->code != 1006 && (r->opened || r->accepted), "clean, and failed");
  if (event->clean && !r->has_bodies) EXPECT(lw_conn_sent(r->conn) >= r->before_close + 2, "clean, and no Close frame has gone");
  EXPECT(lw_conn_where(r->conn) == LW_CONN_CLOSED, "ended, and not closed");
}

/* The order in which events may come. */
static void check_order(record *r, const lw_conn_event *event) {
  int in_talk = event->kind >= LW_CONN_MESSAGE && event->kind <= LW_CONN_DRAIN;
  EXPECT(!r->ended, "an event behind the last");
  EXPECT(!r->failed || event->kind == LW_CONN_ENDED, "an event behind the failure");
  /* who is closed between his 101 and OPENED hears of pings all the same; nobody listens */
  if (in_talk) EXPECT(r->opened || (r->accepted && event->kind != LW_CONN_MESSAGE), "a message before it was open");
  if (event->kind == LW_CONN_MESSAGE || event->kind == LW_CONN_PING || event->kind == LW_CONN_PONG)
    EXPECT(!r->paused || lw_conn_where(r->conn) != LW_CONN_OPEN, "an event though it is paused");
  if (event->kind == LW_CONN_REQUEST) EXPECT(r->is_server && !r->requested && !r->opened, "a request too many");
  if (event->kind == LW_CONN_OPENED) {
    EXPECT(!r->opened && (!r->is_server || r->requested), "opened twice, or unasked");
    EXPECT(lw_conn_where(r->conn) == LW_CONN_OPEN, "opened, and not open");
  }
  if (event->kind == LW_CONN_DRAIN) EXPECT(r->told, "a drain that nobody waits for");
  if (event->kind == LW_CONN_PONG && r->partner && !(a.set.flags & WITH_HEARTBEAT))
    EXPECT(++r->pongs <= r->pings, "more pongs than pings");
}

static void answer_request(record *r) {
  lw_server *server = lw_conn_seat(r->conn)->server;
  lw_slice protocol = {NULL, 0};
  lw_verdict verdict;
  find_partner(r);
  if (!server) return;
  verdict = lw_server_judge(server, r->conn, &protocol);
  EXPECT(!r->partner || verdict != LW_VERDICT_PLAIN, "a client's request that is plain");
  if (verdict == LW_VERDICT_PLAIN) lw_conn_respond(r->conn, 426, NULL, "no\n", 3);
  if (verdict != LW_VERDICT_UPGRADE) return;
  if (a.handled % 8 == 7 && !a.settling) return; /* somebody answers later, or nobody */
  r->accepted = lw_conn_accept(r->conn, protocol, NULL) == 0;
}

static void note_event(record *r, const lw_conn_event *event) {
  switch (event->kind) {
    case LW_CONN_REQUEST: r->requested = 1; break;
    case LW_CONN_OPENED: r->opened = 1; break;
    case LW_CONN_MESSAGE: check_message(r, event); break;
    case LW_CONN_DRAIN: r->told = 0; break;
    case LW_CONN_FAILED:
      r->failed = 1;
      check_failure(r, event);
      break;
    case LW_CONN_ENDED:
      check_end(r, event);
      r->ended = 1;
      break;
    case LW_CONN_PING:
    case LW_CONN_PONG: break;
  }
}

/* What the library expects, then what the script has. */
static void handle(record *r, const lw_conn_event *event) {
  const action *todo = &a.set.script[a.handled % SCRIPT];
  a.events++;
  a.idle = 0;
  NOTE("conn", r - a.records);
  NOTE("event", event->kind);
  NOTE("code", event->code);
  NOTE("error", event->error);
  NOTE("n", event->n);
  check_order(r, event);
  note_event(r, event);
  if (event->kind == LW_CONN_REQUEST) answer_request(r);
  if (event->kind == LW_CONN_OPENED && r->is_server && lw_conn_seat(r->conn)->server) lw_conn_set_owner(r->conn, &a);
  if (a.settling || a.handled++ >= HANDLED) return;
  act(todo->how & 128 ? pick(todo->how) : r, todo->what % ACTIONS, todo->how);
}

/* ------------------------------------------------------------------ turns */

/* As lua_step.c does it. */
static void leave_conn(void) {
  lw_conn_event behind;
  record *r = a.current;
  a.current = NULL;
  if (!r) return;
  if (r->ended) {
    EXPECT(!lw_conn_next(r->conn, &behind), "an event behind the last");
    drop(r);
    return;
  }
  if (!lw_conn_owner(r->conn) && lw_conn_where(r->conn) == LW_CONN_OPEN) orphan(r);
  lw_conn_rest(r->conn);
}

static void serve_conn(lw_conn *c, unsigned why) {
  lw_conn_event event;
  unsigned most = a.set.flags & HURRY && !a.settling ? 1 + a.events % 5 : 64;
  a.current = seen(c);
  lw_conn_ready(c, why);
  while (a.current && !a.current->ended && most-- > 0 && lw_conn_next(c, &event)) {
    handle(a.current, &event);
    if (!a.loop) return;
  }
  leave_conn();
}

/* Of descriptors or memory: what befalls a single guest is nothing to tell. */
static int is_want(int err) {
  return err == LW_ERR_SYS(EMFILE) || err == LW_ERR_SYS(ENFILE) || err == LW_ERR_SYS(ENOBUFS) || err == LW_ERR_SYS(ENOMEM) ||
         err == LW_ERR_SYS(ENOSPC) || err == LW_ERR_MEMORY;
}

static void serve_server(lw_server *server, unsigned why) {
  lw_server_event event;
  EXPECT(server == a.server, "a server that is gone");
  lw_server_ready(server, why);
  while (a.server == server && lw_server_next(server, &event)) {
    a.idle = 0;
    NOTE("server event", event.kind);
    EXPECT(!a.server_closed, "a server's event behind the last");
    if (event.kind == LW_SERVER_ERROR) EXPECT(a.unkind && is_want(event.error), "no guest can be let in, in a kind world");
    if (event.kind == LW_SERVER_CLOSED) {
      EXPECT(a.server_closing && !lw_server_first(server), "closed, and not asked for");
      free_server();
      a.server_closed = 1;
    }
  }
}

/* Something was handed out, and nothing came of it: no time went by, nothing moved, and not by chance. */
static void check_spin(int64_t before, uint64_t moved) {
  if (a.chose || world_now() != before || world_moved() != moved) a.idle = 0;
  EXPECT(++a.idle < IDLE_MAX, "the loop spins");
}

/* What became ready. 1 if that was all: a turn that is left early has its rest in the next. */
static int serve(int64_t timeout, int64_t before, uint64_t moved) {
  unsigned most = a.set.flags & HURRY && !a.settling ? 1 + a.events % 3 : 1000;
  lw_ready ready;
  a.handed = 0;
  while (lw_loop_next(a.loop, &ready)) {
    NOTE("ready", ready.kind);
    NOTE("why", ready.why);
    if (ready.kind == KIND_SERVER) serve_server(ready.owner, ready.why);
    else serve_conn(ready.owner, ready.why);
    if (!a.loop || ++a.handed == most) return 0;
  }
  if (a.handed > 0 || timeout > 0) check_spin(before, moved);
  return 1;
}

/* Of so many nanoseconds at most. */
static void turn(int64_t timeout) {
  int64_t before = world_now();
  uint64_t moved = world_moved();
  int err, over;
  if (!a.loop) return;
  a.chose = 0;
  if (!a.settling) serve_foreign();
  lw_hub_flush(&a.hub);
  err = lw_loop_turn(a.loop, timeout);
  if (err < 0) EXPECT(a.unkind && !a.settling, "a turn that fails");
  if (err < 0) return;
  a.turned = a.loop->now;
  over = serve(timeout, before, moved);
  if (!a.loop) return;
  lw_hub_turn(&a.hub);
  check_all();
  if (over && a.was_over) check_deadlines();
  a.was_over = over;
}

static void step(void) {
  static const int64_t waits[] = {0, 0, MS, 100 * MS, SECOND, 40 * SECOND};
  unsigned what = fuzz_byte(&a.input) % ACTIONS, how = fuzz_byte(&a.input);
  if (what == TURN) turn(waits[how % 6]);
  else if (what == TURNS) for (unsigned i = 0; i <= how % 16; i++) turn(waits[how / 16 % 6]);
  else act(pick(how >> 5), what, how);
}

/* ------------------------------------------------------------------ the end */

/* The other end is ours and has gone; or it is there, and this one has all of its messages. */
static void check_pair(const record *r) {
  const record *p = r->partner;
  if (!p || a.cut || r->paused || lw_conn_where(r->conn) != LW_CONN_OPEN) return;
  EXPECT(p->conn && !p->ended && !p->killed, "open, and the other end is gone");
  if (lw_conn_where(p->conn) == LW_CONN_OPEN) EXPECT(r->heard == p->count, "messages that do not come");
}

/* Whether time alone must still change something. */
static int is_restless(const record *r) {
  lw_conn_state state;
  if (!r->conn) return 0;
  state = lw_conn_where(r->conn);
  if (state != LW_CONN_OPEN) return 1;
  if (r->orphan || lw_conn_unsent(r->conn) > 0) return 1;
  if (a.set.flags & WITH_HEARTBEAT && r->is_server && !r->partner && !r->paused && lw_conn_seat(r->conn)->server) return 1;
  return 0;
}

static int count_restless(void) {
  int count = 0;
  for (size_t i = 0; i < a.record_count; i++) count += is_restless(&a.records[i]);
  return count;
}

/*
** Turns until nothing is under way and nobody waits for anything but others, which takes as long as all
** timeouts at most; and a quarter of a second, within which a server that was full tries again.
*/
static void rest(const char *what) {
  int64_t least = world_now() + SECOND / 4;
  int64_t most = world_now() + 64 * (a.set.conn.close_timeout + a.set.conn.handshake_timeout + 40 * SECOND);
  for (int turns = 0; a.loop; turns++) {
    EXPECT(world_now() < most && turns < 30000, what);
    if (lw_loop_timeout(a.loop) != 0 && world_next() < 0 && world_now() >= least && count_restless() == 0) {
      turn(0);
      if (a.handed == 0) return;
    } else {
      turn(world_now() < least ? SECOND / 4 : 60 * SECOND);
    }
  }
}

/* The server is there for whoever comes. */
static void probe(void) {
  size_t guests = 0, n = a.set.conn.limits.max_payload == 0 || a.set.conn.max_buffered == 0 ? 1 : 0;
  record *r;
  size_t way;
  for (lw_conn *c = lw_server_first(a.server); c; c = lw_server_after(a.server, c)) guests++;
  if (guests >= a.set.max_connections) return;
  way = a.set.conn.handshake_timeout < SECOND ? 0 : a.record_count % 4; /* by an address, or a name, the first of whose addresses is silent */
  r = connect_to(ways[way], a.port);
  rest("a probe without end");
  EXPECT(r->opened && r->partner && r->partner->opened && r->conn && r->partner->conn, "the server lets nobody in any more");
  send_one(r, (unsigned)n);
  send_one(r->partner, (unsigned)n);
  rest("a probe without end");
  EXPECT(r->heard == 1 && r->partner->heard == 1 && !r->told && !r->partner->told, "a message that does not come through");
}

/*
** Of two ends that are well, one says something long and closes: the other hears all of it. Or the other
** does, and has not done when it hears of the end: its answer comes behind it.
*/
static int part_well(record *r) {
  record *p = r->partner;
  const lw_limits *limits = &a.set.conn.limits;
  int fits = limits->max_payload >= 70000 && limits->max_fragments >= 1000 && a.set.conn.max_buffered >= 100000;
  int rested;
  if (!p || a.cut || !p->conn || lw_conn_where(r->conn) != LW_CONN_OPEN || lw_conn_where(p->conn) != LW_CONN_OPEN) return 0;
  rested = p->paused; /* and may find more than it takes */
  p->paused = 0;
  lw_conn_resume(p->conn);
  if (fits && !r->paused) send_one(r->count % 2 ? r : p, r->count % 2 ? 13 : 12);
  r->well = p->well = !r->paused && (fits || !rested);
  close_conn(r, 0);
  return 1;
}

static void close_all(void) {
  for (size_t i = 0; i < a.record_count; i++) {
    record *r = &a.records[i];
    if (!r->conn || r->well || part_well(r)) continue;
    r->paused = 0;
    lw_conn_resume(r->conn);
    close_conn(r, (unsigned)i);
  }
}

static void resume_all(void) {
  for (size_t i = 0; i < a.record_count; i++) {
    record *r = &a.records[i];
    if (!r->conn || !r->paused) continue;
    r->paused = 0;
    lw_conn_resume(r->conn);
  }
}

/* The world becomes an ideal one, in which nobody says anything any more. */
static void be_kind(void) {
  a.settling = 1;
  a.starving = 0;
  fuzz_starve(-1);
  fuzz_dry(0);
  *world_law() = (world_rules){.latency = 0};
  world_spare();
}

static void settle(void) {
  be_kind();
  if (!(a.set.flags & STAY_PAUSED)) resume_all();
  rest("somebody waits for ever");
  for (size_t i = 0; i < a.record_count; i++)
    if (a.records[i].conn) check_pair(&a.records[i]);
  if (a.server && a.port && !a.server_closing) probe();
  close_all();
  rest("a connection without end");
  for (size_t i = 0; i < a.record_count; i++) EXPECT(!a.records[i].conn, "a connection that was closed, and does not end");
  if (!a.server) return;
  if (!a.server_closing) close_server(0);
  rest("a server without end");
  EXPECT(!a.server && a.server_closed, "a server that does not close");
}

/* What two ends have seen of each other, when all is over. */
static void judge(const record *r) {
  const record *p = r->partner;
  if (!r->ended) EXPECT(r->killed, "a connection whose end nobody was told");
  if (!r->ended || !p) return;
  if (r->well) EXPECT(r->clean && r->code == 1000, "well, and not clean");
  if (r->code != 1006)
    EXPECT(is_code_of(p, r->code) || is_code_of(r, r->code) || p->killed, "a code that nobody has sent");
  if (r->clean) EXPECT(p->closed || p->orphan || p->failed || p->killed || p->code != 1006 || p->state >= LW_CONN_CLOSING, "clean, and the other end knows nothing of it");
  /* it has the other's Close frame, and did not close before: so it has all that was sent before that */
  if (r->code != 1006 && !r->closed && !r->orphan && !p->failed && !p->killed)
    EXPECT(r->heard == p->count, "a Close frame without the messages before it");
}

static void begin(lw_slice input) {
  for (size_t i = 0; i < a.record_count; i++) a.records[i].conn = NULL;
  a.input = input;
  a.record_count = a.foreign_count = a.queued = 0;
  a.events = a.handled = a.offset = 0;
  a.server_closing = a.server_closed = a.servers = a.clients = a.idle = a.starving = a.unkind = a.cut = a.settling = a.was_over = 0;
  a.port = a.foreign_port = 0;
  a.current = NULL;
  a.server = NULL;
  a.log = (fuzz_log){0, 0};
  fuzz_reset_random();
  a.base = fuzz_held();
  read_setting(&a.set, &a.input);
  world_begin(NULL, choose, NULL);
  world_host("name.example", "192.0.2.1,127.0.0.1", 10 * MS);
  world_host("nobody.example", NULL, MS);
  a.listener = world_listen(&a.foreign_port);
  a.loop = lw_loop_new(&lw_sys_real, a.set.backend);
  a.hub = (lw_hub){.loop = a.loop};
  new_server(0);
  *world_law() = a.set.rules;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  if (!pattern[0])
    for (size_t i = 0, k = 1; i < sizeof pattern; i++, k = k * 1103515245 + 12345) pattern[i] = (unsigned char)('a' + (k >> 16) % 26);
  begin((lw_slice){bytes, n});
  for (int i = 0; i < STEPS && a.input.n > 0 && a.loop; i++) step();
  if (a.loop && !(a.set.flags & LEAVE)) settle();
  be_kind();
  if (a.loop) free_hub(a.set.flags >> 4 & 7);
  EXPECT(world_open() == world_foreign(), "a descriptor that was left open");
  EXPECT(world_strays() == 0, "a call with a descriptor that is none");
  world_end();
  EXPECT(fuzz_held() == a.base, "memory that was not given back");
  for (size_t i = 0; i < a.record_count; i++) judge(&a.records[i]);
  return 0;
}

FUZZ_END
