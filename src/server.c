/*
** server.c -- a listener that makes connections, what it lets in, and topics.
*/
#include "server.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "forwarded.h"

#define ACCEPTS_A_TURN 64                    /* guests let in before others have their turn */
#define FULL_PAUSE INT64_C(100000000)        /* 100 ms without accepting when no descriptor is left */
#define TOLD_AT_ONCE ((size_t)64)            /* guests over the limit that are told so; more are just closed */
#define DESCRIPTORS_SPARED ((size_t)32)      /* of the descriptor limit: for everything else the program does */

/* A topic's receivers in one dense array, so that publishing walks nothing else. */
typedef struct topic {
  struct topic *next; /* in its bucket */
  uint64_t hash;
  struct lw_subscription **members;
  size_t count, capacity;
  size_t n;
  unsigned char name[];
} topic;

struct lw_subscription {
  struct lw_subscription *next; /* of the same seat */
  topic *topic;
  lw_seat *seat;
  size_t place; /* in topic->members */
};
typedef struct lw_subscription subscription;

struct lw_server {
  lw_hub *hub; /* NULL: the loop is gone */
  void *owner;
  lw_source source;
  lw_timer timer; /* the pause while full; the close timeout */
  lw_timer beats; /* when to look after the heartbeat */
  lw_heartbeat heartbeat;
  lw_address address;
  lw_conn_settings settings;
  lw_deflate_options deflate; /* if the settings have it */
  size_t max_connections, max_told;
  int conn_kind;
  char *path;     /* of a Unix socket, to be removed */
  char *resource;
  lw_strings *origins, *protocols;
  lw_trusted trusted;
  lw_tls_context *tls; /* NULL: none is spoken */
  lw_seat seats;  /* the head of the ring of all connections */
  size_t count;   /* in that ring */
  size_t refused_count; /* of these, over the limit: they are told and go */
  size_t open_count;
  topic **buckets; /* bucket_count of them, a power of two */
  size_t bucket_count, topic_count;
  uint64_t hash_key;
  int error; /* LW_SERVER_ERROR to be taken */
  unsigned accepting : 1; /* the listener is readable */
  unsigned timed : 1;     /* `timer` was set and has not fired yet */
  unsigned full : 1;      /* no descriptor was left; said once */
  unsigned closing : 1;
};

/* The seat after this one (the ring's head: the first), or NULL. The heartbeat's mark is nobody's. */
static lw_seat *after(const lw_server *server, const lw_seat *seat) {
  lw_seat *next = seat->next;
  if (next == &server->heartbeat.mark) next = next->next;
  return next == &server->seats ? NULL : next;
}

/* ---------------------------------------------------------------- making */

static void free_strings(lw_strings *list) {
  if (!list) return;
  for (size_t i = 0; i < list->count; i++) free((void *)(uintptr_t)list->items[i]);
  free((void *)(uintptr_t)list->items);
  free(list);
}

static lw_strings *copy_strings(const lw_strings *list) {
  lw_strings *copy = calloc(1, sizeof *copy);
  const char **items = calloc(list->count + 1, sizeof *items);
  if (!copy || !items) goto fail;
  copy->items = items;
  for (; copy->count < list->count; copy->count++)
    if (!(items[copy->count] = strdup(list->items[copy->count]))) goto fail;
  return copy;
fail:
  if (copy && copy->items) free_strings(copy);
  else {
    free(copy);
    free((void *)(uintptr_t)items);
  }
  return NULL;
}

static int copy_options(lw_server *server, const lw_server_options *options) {
  server->settings = options->settings;
  if (options->settings.deflate) {
    server->deflate = *options->settings.deflate;
    server->settings.deflate = &server->deflate;
  }
  server->tls = lw_tls_context_hold(options->tls);
  server->max_connections = options->max_connections;
  if (options->listen.path && !(server->path = strdup(options->listen.path))) return LW_ERR_MEMORY;
  if (options->resource && !(server->resource = strdup(options->resource))) return LW_ERR_MEMORY;
  if (options->origins && !(server->origins = copy_strings(options->origins))) return LW_ERR_MEMORY;
  if (options->protocols && !(server->protocols = copy_strings(options->protocols))) return LW_ERR_MEMORY;
  for (size_t i = 0; options->trusted && i < options->trusted->count; i++) {
    int err = lw_trusted_add(&server->trusted, options->trusted->items[i]);
    if (err < 0) return err;
  }
  return lw_random(&server->hash_key, sizeof server->hash_key);
}

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

/*
** Shares the descriptors out, so that one guest too many is told so and does not find none left:
** for the rest of the program, for guests who are being told (a connection of theirs stays until
** they have heard), and for connections, as many as are left unless their number is given.
*/
static void share_descriptors(lw_server *server, const lw_sys *sys) {
  long limit = sys->descriptor_limit();
  size_t all = limit > 8 ? (size_t)limit : 8;
  size_t ours = all - least(all / 4, DESCRIPTORS_SPARED), told = least(ours / 8 + 1, TOLD_AT_ONCE);
  if (server->max_connections == 0) server->max_connections = ours - told;
  else if (ours > server->max_connections) told = least(ours - server->max_connections, TOLD_AT_ONCE);
  server->max_told = told;
}

static void stop_listening(lw_server *server) {
  int fd = server->source.fd;
  if (!server->hub) return;
  lw_source_leave(server->hub->loop, &server->source);
  server->source.fd = -1;
  server->accepting = 0;
  if (fd < 0) return;
  server->hub->loop->sys->close(fd);
  if (server->path && !lw_loop_forked(server->hub->loop)) server->hub->loop->sys->unlink(server->path);
}

static void free_topics(lw_server *server);

static void free_parts(lw_server *server) {
  lw_tls_context_release(server->tls);
  free_strings(server->origins);
  free_strings(server->protocols);
  lw_trusted_clear(&server->trusted);
  free(server->resource);
  free(server->path);
  free_topics(server);
  free(server);
}

lw_server *lw_server_new(lw_hub *hub, const lw_server_options *options, int kind, int conn_kind,
                         void *owner, int *err) {
  lw_server *server = calloc(1, sizeof *server);
  int fd = -1;
  *err = LW_ERR_MEMORY;
  if (!server) return NULL;
  server->seats.next = server->seats.prev = &server->seats;
  lw_heartbeat_init(&server->heartbeat, &options->heartbeat, &server->seats);
  server->owner = owner;
  server->conn_kind = conn_kind;
  if ((*err = copy_options(server, options)) < 0) goto fail;
  share_descriptors(server, hub->loop->sys);
  if ((*err = lw_loop_open(hub->loop)) < 0) goto fail;
  if ((*err = fd = lw_listen(hub->loop->sys, &options->listen, &server->address)) < 0) goto fail;
  if ((*err = lw_timer_join(&hub->loop->timers, &server->timer, kind, server)) < 0) goto fail;
  if ((*err = lw_timer_join(&hub->loop->timers, &server->beats, kind, server)) < 0) {
    lw_timer_leave(&hub->loop->timers, &server->timer);
    goto fail;
  }
  server->hub = hub;
  lw_source_init(&server->source, kind, server);
  server->source.fd = fd;
  if ((*err = lw_source_watch(hub->loop, &server->source, LW_READ)) < 0) {
    lw_server_free(server);
    return NULL;
  }
  return server;
fail:
  if (fd >= 0) hub->loop->sys->close(fd);
  free_parts(server);
  return NULL;
}

void *lw_server_owner(const lw_server *server) {
  return server->owner;
}

const lw_address *lw_server_address(const lw_server *server) {
  return &server->address;
}

void lw_server_set_tls(lw_server *server, lw_tls_context *tls) {
  lw_tls_context_hold(tls);
  lw_tls_context_release(server->tls);
  server->tls = tls;
}

int lw_server_has_tls(const lw_server *server) {
  return server->tls != NULL;
}

size_t lw_server_count(const lw_server *server) {
  return server->open_count;
}

void lw_server_detach(lw_server *server) {
  if (!server->hub || !server->hub->loop) return;
  stop_listening(server);
  lw_timer_leave(&server->hub->loop->timers, &server->timer);
  lw_timer_leave(&server->hub->loop->timers, &server->beats);
  server->hub = NULL;
}

void lw_server_free(lw_server *server) {
  if (!server) return;
  lw_server_detach(server);
  for (lw_seat *seat; (seat = after(server, &server->seats)) != NULL;) {
    lw_conn *c = seat->conn;
    lw_server_leave(c);
    if (!lw_conn_owner(c)) lw_conn_orphan(c); /* nobody knows it: the loop ends it */
  }
  free_parts(server);
}

/* -------------------------------------------------------------- its guests */

/*
** Looks after the heartbeat, and sets when to do so again. A beat leaves at once, so what
** others have queued goes first; and it counts from now, not from when this turn began: the
** peer has the whole of the timeout, however busy we are.
*/
static void keep_heartbeat(lw_server *server) {
  lw_loop *loop = server->hub->loop;
  int64_t due;
  lw_hub_flush(server->hub);
  due = lw_heartbeat_look(&server->heartbeat, lw_loop_clock(loop));
  if (due >= 0) lw_timer_set(&loop->timers, &server->beats, due);
}

static void take_seat(lw_server *server, lw_conn *c) {
  lw_seat *seat = lw_conn_seat(c);
  int64_t due;
  seat->server = server;
  seat->open_count = &server->open_count;
  seat->prev = server->seats.prev;
  seat->next = &server->seats;
  seat->prev->next = seat;
  server->seats.prev = seat;
  server->count++;
  due = lw_heartbeat_join(&server->heartbeat, seat, server->hub->loop->now);
  if (due >= 0 && (!lw_timer_is_set(&server->beats) || due < server->beats.due))
    lw_timer_set(&server->hub->loop->timers, &server->beats, due);
}

static void drop_subscription(lw_server *server, subscription *sub);

void lw_server_leave(lw_conn *c) {
  lw_seat *seat = lw_conn_seat(c);
  lw_server *server = seat->server;
  if (!server) return;
  while (seat->subscriptions) drop_subscription(server, seat->subscriptions);
  if (lw_conn_where(c) == LW_CONN_OPEN) server->open_count--;
  seat->prev->next = seat->next;
  seat->next->prev = seat->prev;
  seat->prev = seat->next = NULL;
  seat->server = NULL;
  if (!seat->open_count) server->refused_count--;
  seat->open_count = NULL;
  server->count--;
  if (server->closing && server->count == 0 && server->hub)
    lw_source_post(server->hub->loop, &server->source, LW_POSTED);
}

lw_conn *lw_server_first(const lw_server *server) {
  const lw_seat *first = after(server, &server->seats);
  return first ? first->conn : NULL;
}

lw_conn *lw_server_after(const lw_server *server, lw_conn *c) {
  const lw_seat *next = after(server, lw_conn_seat(c));
  return next ? next->conn : NULL;
}

/* One too many: told so without reading its request, as long as few are being told. */
static void turn_away(lw_server *server, lw_conn *c) {
  static const char body[] = "too many connections\n";
  lw_conn_seat(c)->open_count = NULL;
  if (++server->refused_count <= server->max_told)
    lw_conn_respond(c, 503, "Retry-After: 1\r\n", body, sizeof body - 1);
  else
    lw_conn_terminate(c, NULL, 0);
}

static void let_in(lw_server *server, int fd, const lw_address *address) {
  int err;
  lw_conn *c = lw_conn_guest(server->hub, &server->settings, server->tls, fd, address, server->conn_kind, &err);
  if (!c) return; /* no memory: the guest sees the connection end */
  take_seat(server, c);
  if (server->count - server->refused_count > server->max_connections) turn_away(server, c);
}

/* No descriptor or memory is left: the guests wait in the system's queue, and the listener rests. */
static void pause_accepting(lw_server *server, int err) {
  lw_loop *loop = server->hub->loop;
  lw_source_watch(loop, &server->source, 0);
  lw_timer_set(&loop->timers, &server->timer, lw_loop_clock(loop) + FULL_PAUSE);
  server->timed = 1;
  if (!server->full) server->error = err;
  server->full = 1;
}

static void accept_guests(lw_server *server) {
  lw_address address;
  int fd = 0;
  for (int i = 0; i < ACCEPTS_A_TURN; i++) {
    fd = lw_accept(server->hub->loop->sys, server->source.fd, server->settings.no_delay, &address);
    if (fd < 0) break;
    let_in(server, fd, &address);
  }
  server->accepting = 0;
  if (fd >= 0) return;
  if (fd != LW_ERR_SYS(EAGAIN) && fd != LW_ERR_SYS(EWOULDBLOCK)) pause_accepting(server, fd);
  else if (server->source.interest) server->full = 0; /* else only the poller is still short of memory */
}

static void end_all(lw_server *server) {
  lw_seat *seat, *next;
  for (seat = after(server, &server->seats); seat; seat = next) {
    next = after(server, seat);
    lw_conn_end(seat->conn);
  }
}

/* The pause of a full server is over, or the time to close in. */
static void time_is_up(lw_server *server) {
  server->timed = 0;
  if (server->closing) {
    end_all(server);
  } else {
    int err = lw_source_watch(server->hub->loop, &server->source, LW_READ);
    server->accepting = 1;
    if (err < 0) pause_accepting(server, err); /* looks for guests all the same, and tries again */
  }
}

/* A timer that has fired is not set any more: so the two tell which it was. */
void lw_server_ready(lw_server *server, unsigned why) {
  if (why & LW_READ) server->accepting = 1;
  if (!(why & LW_DUE)) return;
  if (server->timed && !lw_timer_is_set(&server->timer)) time_is_up(server);
  if (!server->closing && !lw_timer_is_set(&server->beats)) keep_heartbeat(server);
}

int lw_server_next(lw_server *server, lw_server_event *event) {
  if (server->accepting && !server->closing) accept_guests(server);
  if (server->error) {
    event->kind = LW_SERVER_ERROR;
    event->error = server->error;
    server->error = 0;
    return 1;
  }
  if (server->closing && server->count == 0) {
    lw_timer_stop(&server->hub->loop->timers, &server->timer);
    event->kind = LW_SERVER_CLOSED;
    event->error = 0;
    return 1;
  }
  return 0;
}

void lw_server_retell(lw_server *server) {
  lw_source_post(server->hub->loop, &server->source, LW_POSTED);
}

static int in_strings(const lw_strings *list, lw_slice what, int any_case) {
  for (size_t i = 0; i < list->count; i++)
    if (any_case ? lw_slice_is(what, list->items[i]) : lw_slice_equals(what, list->items[i])) return 1;
  return 0;
}

static int origin_allowed(const lw_server *server, const lw_http_head *head) {
  static const lw_slice any = {(const unsigned char *)"*", 1};
  const lw_http_field *origin;
  if (!server->origins) return lw_handshake_same_origin(head);
  if (in_strings(server->origins, any, 0)) return 1;
  origin = lw_http_field_at(head, "Origin", 0);
  if (!origin) return 1; /* not a browser: nothing to protect */
  return !lw_http_field_at(head, "Origin", 1) && in_strings(server->origins, origin->value, 1);
}

unsigned short lw_server_client(const lw_server *server, lw_conn *c, char text[LW_ADDRESS_TEXT]) {
  unsigned short port = lw_conn_address(c, text);
  lw_forwarded client;
  if (!lw_forwarded_client(&server->trusted, lw_conn_head(c), text, &client)) return port;
  memcpy(text, client.address, sizeof client.address);
  return (unsigned short)client.port;
}

static int resource_served(const lw_server *server, lw_slice target) {
  const void *query = memchr(target.bytes, '?', target.n);
  if (query) target.n = (size_t)((const unsigned char *)query - target.bytes);
  return !server->resource || lw_slice_equals(target, server->resource);
}

/* The first of those offered that is spoken here. */
static lw_slice choose_protocol(const lw_server *server, const lw_http_head *head) {
  lw_slice offered, none = {NULL, 0};
  if (!server->protocols) return none;
  for (size_t i = 0; lw_handshake_protocol(head, i, &offered); i++)
    if (in_strings(server->protocols, offered, 0)) return offered;
  return none;
}

static lw_verdict refuse(lw_conn *c, int status, const char *body) {
  lw_conn_respond(c, status, NULL, body, strlen(body));
  return LW_VERDICT_REFUSED;
}

lw_verdict lw_server_judge(lw_server *server, lw_conn *c, lw_slice *protocol) {
  const lw_http_head *head = lw_conn_head(c);
  if (server->closing) return refuse(c, 503, "the server is closing\n");
  if (!lw_conn_wants_upgrade(c)) return LW_VERDICT_PLAIN;
  if (!resource_served(server, head->target)) return refuse(c, 404, "no WebSocket is served at this path\n");
  if (!origin_allowed(server, head))
    return refuse(c, 403, "this Origin is not allowed here (server option `origins`)\n");
  *protocol = choose_protocol(server, head);
  return LW_VERDICT_UPGRADE;
}

void lw_server_close(lw_server *server, unsigned code, const void *reason, size_t n) {
  static const char body[] = "the server is closing\n";
  lw_seat *seat, *next;
  if (server->closing || !server->hub) return;
  server->closing = 1;
  stop_listening(server);
  for (seat = after(server, &server->seats); seat; seat = next) {
    next = after(server, seat);
    if (lw_conn_where(seat->conn) >= LW_CONN_OPEN || lw_conn_respond(seat->conn, 503, NULL, body, sizeof body - 1) < 0)
      lw_conn_close(seat->conn, code, reason, n);
  }
  lw_timer_set(&server->hub->loop->timers, &server->timer,
               lw_loop_clock(server->hub->loop) + server->settings.close_timeout);
  server->timed = 1;
  if (server->count == 0) lw_source_post(server->hub->loop, &server->source, LW_POSTED);
}

/* ----------------------------------------------------------------- topics */

/* FNV-1a from a random start: names come from users, who must not choose their bucket. */
static uint64_t hash_name(const lw_server *server, const unsigned char *name, size_t n) {
  uint64_t hash = UINT64_C(14695981039346656037) ^ server->hash_key;
  for (size_t i = 0; i < n; i++) hash = (hash ^ name[i]) * UINT64_C(1099511628211);
  return hash ^ (hash >> 32);
}

static topic **find_topic(const lw_server *server, const void *name, size_t n, uint64_t hash) {
  topic **at = &server->buckets[hash & (server->bucket_count - 1)];
  while (*at && !((*at)->hash == hash && (*at)->n == n && memcmp((*at)->name, name, n) == 0)) at = &(*at)->next;
  return at;
}

/* Twice the buckets once there are as many topics as buckets. */
static int grow_buckets(lw_server *server) {
  size_t count = server->bucket_count ? server->bucket_count * 2 : 16;
  topic **buckets;
  if (server->topic_count < server->bucket_count) return 0;
  if (!(buckets = calloc(count, sizeof *buckets))) return LW_ERR_MEMORY;
  for (size_t i = 0; i < server->bucket_count; i++) {
    topic *next;
    for (topic *t = server->buckets[i]; t; t = next) {
      next = t->next;
      t->next = buckets[t->hash & (count - 1)];
      buckets[t->hash & (count - 1)] = t;
    }
  }
  free(server->buckets);
  server->buckets = buckets;
  server->bucket_count = count;
  return 0;
}

static topic *make_topic(lw_server *server, const void *name, size_t n) {
  uint64_t hash = hash_name(server, name, n);
  topic **at, *made;
  if (grow_buckets(server) < 0) return NULL;
  at = find_topic(server, name, n, hash);
  if (*at) return *at;
  if (!(made = calloc(1, sizeof *made + n))) return NULL;
  made->hash = hash;
  made->n = n;
  if (n > 0) memcpy(made->name, name, n);
  *at = made;
  server->topic_count++;
  return made;
}

static topic *known_topic(const lw_server *server, const void *name, size_t n) {
  if (server->topic_count == 0) return NULL;
  return *find_topic(server, name, n, hash_name(server, name, n));
}

/* A topic nobody listens to is no topic. */
static void drop_topic(lw_server *server, topic *t) {
  topic **at = find_topic(server, t->name, t->n, t->hash);
  *at = t->next;
  server->topic_count--;
  free(t->members);
  free(t);
}

static void free_topics(lw_server *server) {
  free(server->buckets); /* the topics went with the last subscription */
}

static subscription **find_subscription(lw_seat *seat, const topic *t) {
  subscription **at = &seat->subscriptions;
  while (*at && (*at)->topic != t) at = &(*at)->next;
  return at;
}

static void drop_subscription(lw_server *server, subscription *sub) {
  topic *t = sub->topic;
  subscription **at = find_subscription(sub->seat, t);
  *at = sub->next;
  t->members[sub->place] = t->members[--t->count];
  t->members[sub->place]->place = sub->place;
  free(sub);
  if (t->count == 0) drop_topic(server, t);
}

static int add_member(topic *t, subscription *sub) {
  if (t->count == t->capacity) {
    size_t capacity = t->capacity ? t->capacity * 2 : 4;
    subscription **members = realloc(t->members, capacity * sizeof *members);
    if (!members) return LW_ERR_MEMORY;
    t->members = members;
    t->capacity = capacity;
  }
  sub->place = t->count;
  t->members[t->count++] = sub;
  return 0;
}

int lw_server_subscribe(lw_conn *c, const void *name, size_t n) {
  lw_seat *seat = lw_conn_seat(c);
  topic *t;
  subscription *sub;
  if (!seat->server || lw_conn_where(c) >= LW_CONN_CLOSED) return LW_ERR_CLOSED;
  if (!(t = make_topic(seat->server, name, n))) return LW_ERR_MEMORY;
  if (*find_subscription(seat, t)) return 0;
  if (!(sub = calloc(1, sizeof *sub)) || add_member(t, sub) < 0) {
    free(sub);
    if (t->count == 0) drop_topic(seat->server, t);
    return LW_ERR_MEMORY;
  }
  sub->topic = t;
  sub->seat = seat;
  sub->next = seat->subscriptions;
  seat->subscriptions = sub;
  return 0;
}

static subscription *subscribed(lw_conn *c, const void *name, size_t n) {
  lw_seat *seat = lw_conn_seat(c);
  topic *t = seat->server ? known_topic(seat->server, name, n) : NULL;
  return t ? *find_subscription(seat, t) : NULL;
}

void lw_server_unsubscribe(lw_conn *c, const void *name, size_t n) {
  subscription *sub = subscribed(c, name, n);
  if (sub) drop_subscription(lw_conn_seat(c)->server, sub);
}

int lw_server_subscribed(lw_conn *c, const void *name, size_t n) {
  return subscribed(c, name, n) != NULL;
}

/*
** One message on its way to many: framed once as it is, and once compressed for each size of
** window that receivers have (on its own, so that all who have that much can read it).
*/
typedef struct cast {
  lw_server_message message;
  lw_chunk *chunks[LW_DEFLATE_BITS_MAX + 1]; /* by bits of the window, made for the first who has it; 0: as it is */
  long count;
} cast;

/* The frame as it is, or with a window of so many bits. NULL: no memory. */
static lw_chunk *new_chunk(lw_server *server, const lw_server_message *m, unsigned bits) {
  lw_loop *loop = server->hub->loop;
  lw_deflate_way way = {(unsigned char)bits, 1};
  lw_deflater deflater;
  lw_slice payload;
  lw_chunk *chunk = NULL;
  if (bits == 0) return lw_session_frame(&loop->pool, &server->settings.limits, m->opcode, 0, m->bytes, m->n);
  lw_deflater_init(&deflater, &loop->deflate, server->settings.deflate, way);
  if (lw_deflater_message(&deflater, m->bytes, m->n, &payload) == 0) {
    chunk = lw_session_frame(&loop->pool, &server->settings.limits, m->opcode, 1, payload.bytes, payload.n);
    lw_deflater_done(&deflater);
  }
  lw_deflater_clear(&deflater);
  return chunk;
}

/* The bits with which a receiver gets it; 0: as it is. */
static unsigned bits_for(lw_server *server, const lw_server_message *m, const lw_conn *c) {
  const lw_deflate_params *params = lw_conn_params(c);
  if (!params || !m->compress || m->n < server->settings.deflate->threshold) return 0;
  return params->ours.bits;
}

/* 0 or LW_ERR_MEMORY (of the frame itself; a receiver that cannot take it is not counted). */
static int cast_to(lw_server *server, cast *frame, lw_conn *c) {
  unsigned bits;
  lw_chunk **chunk;
  if (lw_conn_where(c) != LW_CONN_OPEN) return 0;
  bits = bits_for(server, &frame->message, c);
  chunk = &frame->chunks[bits];
  if (bits > 0 && !*chunk && !(*chunk = new_chunk(server, &frame->message, bits))) /* no memory for that: plain */
    chunk = &frame->chunks[bits = 0];
  if (!*chunk && !(*chunk = new_chunk(server, &frame->message, 0))) return LW_ERR_MEMORY;
  if (lw_conn_share(c, *chunk, frame->message.n, bits > 0) >= 0) frame->count++;
  return 0;
}

static long end_cast(lw_server *server, cast *frame, int err) {
  for (size_t i = 0; i < sizeof frame->chunks / sizeof *frame->chunks; i++)
    lw_chunk_release(&server->hub->loop->pool, frame->chunks[i]);
  return err < 0 ? err : frame->count;
}

long lw_server_publish(lw_server *server, const lw_conn *except, const void *name, size_t name_n,
                       const lw_server_message *message) {
  cast frame = {.message = *message};
  topic *t = server->hub ? known_topic(server, name, name_n) : NULL;
  int err = 0;
  if (!t) return 0;
  for (size_t i = 0; i < t->count && err == 0; i++)
    if (t->members[i]->seat->conn != except) err = cast_to(server, &frame, t->members[i]->seat->conn);
  return end_cast(server, &frame, err);
}

long lw_server_broadcast(lw_server *server, const lw_server_message *message) {
  cast frame = {.message = *message};
  int err = 0;
  if (!server->hub) return 0;
  for (lw_seat *seat = after(server, &server->seats); seat && err == 0; seat = after(server, seat))
    err = cast_to(server, &frame, seat->conn);
  return end_cast(server, &frame, err);
}
