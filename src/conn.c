/*
** conn.c -- the life of one WebSocket connection: net and session under one loop.
*/
#include "conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reel.h"
#include "route.h"

/* Slices of output in one write: 64 corks are 1 MiB. */
#define SLICES 64
/* How often the system is asked within the time a peer has to take something: a quarter is what it may get too much. */
#define LOOKS 4
/* Writes of a file's fragments in one turn, 256 KiB, before others have theirs. */
#define ROUNDS 4
/* Open files of one connection from which on a sender should wait: a process has few descriptors, often 1024. */
#define FILES 16

/* What every frame touches comes first and lies together: with many connections, fetching it is what a frame costs. */
struct lw_conn {
  lw_hub *hub;          /* NULL: the loop is gone */
  lw_source source;
  lw_stream stream; /* over source.fd */
  void *owner;
  lw_seat seat;
  lw_conn *dirty_next;  /* in hub->dirty */
  int64_t progress; /* when the deadline's clock began, or bytes last went */
  int64_t received;
  int64_t pinged;   /* when the last ping was queued; 0: never, or answered */
  uint64_t ping_end; /* its end in the stream */
  uint64_t said;     /* the last message's */
  lw_upgrade *upgrade; /* until the connection is open, or its end was told */
  lw_conn_state state;
  unsigned heard : 16;    /* see lw_conn_hear */
  unsigned dirty : 1;
  unsigned readable : 1;
  unsigned blocked : 1;   /* the system takes no more output for now */
  unsigned mute : 1;      /* the system will take no more output at all */
  unsigned eof : 1;       /* the peer's end, or a reset */
  unsigned paused : 1;
  unsigned hung : 1;      /* paused, and the peer has hung up: the poller has nothing more to tell */
  unsigned aborted : 1;   /* close() before it was open */
  unsigned asked : 1;     /* LW_CONN_REQUEST is to be taken */
  unsigned opened : 1;    /* LW_CONN_OPENED is to be taken */
  unsigned failed : 1;    /* LW_CONN_FAILED is to be taken */
  unsigned ended : 1;     /* LW_CONN_ENDED is to be taken */
  unsigned behind : 1;    /* messages were under way to the peer's system, when ours was last asked */
  unsigned want_drain : 1;
  unsigned orphan : 1;
  unsigned was_open : 1;
  lw_conn_settings settings;
  lw_session session;
  lw_conn *prev, *next; /* in hub->all */
  lw_timer deadline; /* what it means depends on the state */
  lw_route *route;     /* client: until it has come to its server */
  char *through;       /* client: the proxy's name; NULL: none */
  char *protocol; /* NULL: none */
  union { /* a guest's address; of a Unix socket there is none worth keeping */
    struct sockaddr any;
    struct sockaddr_in ip4;
    struct sockaddr_in6 ip6;
  } address;
  uint64_t acknowledged; /* bytes of the stream the peer's system had when ours was last asked */
  int64_t taken;    /* when it opened, or the peer was last seen to take some of a backlog; 0: never */
  uint64_t epoch;         /* when epoch_content was counted */
  uint64_t epoch_content; /* content queued in that turn */
  lw_reel *reel;          /* files on their way; NULL: none */
  int error;
  char *why; /* of the error, in words; NULL: none but lw_strerror's */
  int close_code;
  int code;
  unsigned char reason_length;
  const unsigned char *reason; /* the session's copy of the peer's, or own_reason */
  unsigned char *own_reason;
};

/* ---------------------------------------------------------------- making */

static void join_hub(lw_conn *c, lw_hub *hub) {
  c->hub = hub;
  c->next = hub->all;
  if (c->next) c->next->prev = c;
  hub->all = c;
}

static void leave_dirty(lw_conn *c) {
  lw_conn **at = &c->hub->dirty;
  if (!c->dirty) return;
  while (*at && *at != c) at = &(*at)->dirty_next;
  if (*at) *at = c->dirty_next;
  c->dirty = 0;
}

static void leave_hub(lw_conn *c) {
  leave_dirty(c);
  if (c->prev) c->prev->next = c->next;
  else c->hub->all = c->next;
  if (c->next) c->next->prev = c->prev;
  c->prev = c->next = NULL;
}

static lw_conn *new_conn(lw_hub *hub, const lw_conn_settings *settings, lw_role role, int kind, int *err) {
  lw_conn *c = calloc(1, sizeof *c);
  *err = LW_ERR_MEMORY;
  if (!c) return NULL;
  c->upgrade = lw_upgrade_new(role == LW_SERVER, settings->max_header_size, settings->max_header_count);
  if (!c->upgrade) goto fail;
  if ((*err = lw_timer_join(&hub->loop->timers, &c->deadline, kind, c)) < 0) goto fail;
  c->settings = *settings;
  c->seat.conn = c;
  lw_source_init(&c->source, kind, c);
  lw_session_init(&c->session, role, &c->settings.limits, &hub->loop->pool, &hub->loop->entropy);
  if (settings->deflate && (*err = lw_upgrade_want(c->upgrade, settings->deflate)) < 0) goto leave;
  join_hub(c, hub);
  c->progress = lw_loop_clock(hub->loop);
  lw_timer_set(&hub->loop->timers, &c->deadline, c->progress + settings->handshake_timeout);
  return c;
leave:
  lw_timer_leave(&hub->loop->timers, &c->deadline);
fail:
  lw_upgrade_free(c->upgrade);
  free(c);
  return NULL;
}

static void drop_route(lw_conn *c) {
  lw_route_free(c->route);
  c->route = NULL;
}

static void drop_upgrade(lw_conn *c) {
  lw_upgrade_free(c->upgrade);
  c->upgrade = NULL;
}

/* Keeps what the way there takes. 0 or LW_ERR_MEMORY. */
static int set_out(lw_conn *c, const lw_handshake_offer *offer, const lw_conn_way *way) {
  lw_route_options options = {
      .url = offer->url, .path = way->path, .tls = way->tls, .server_name = way->server_name, .proxy = way->proxy,
      .proxy_tls = way->proxy_tls, .proxy_name = way->proxy_name, .user_agent = offer->user_agent,
      .family = c->settings.family, .no_delay = c->settings.no_delay};
  if (way->proxy && !(c->through = strdup(way->proxy->href))) return LW_ERR_MEMORY;
  c->route = lw_route_new(&options);
  return c->route ? 0 : LW_ERR_MEMORY;
}

lw_conn *lw_conn_connect(lw_hub *hub, const lw_conn_settings *settings, const lw_handshake_offer *offer,
                         const lw_conn_way *way, int kind, void *owner, int *err) {
  lw_conn *c = new_conn(hub, settings, LW_CLIENT, kind, err);
  if (!c) return NULL;
  c->owner = owner;
  if ((*err = set_out(c, offer, way)) < 0) goto fail;
  *err = lw_upgrade_ask(c->upgrade, &c->session.out.ready, &hub->loop->pool, &hub->loop->entropy, offer);
  if (*err < 0) goto fail;
  lw_source_post(hub->loop, &c->source, LW_POSTED);
  return c;
fail:
  lw_conn_free(c);
  return NULL;
}

/* TLS between the descriptor and the session. 0 or LW_ERR_MEMORY. */
static int cover(lw_conn *c, lw_tls_context *context, const char *host, unsigned short port) {
  lw_tls *tls = lw_tls_new(context, &c->hub->loop->pool, host, port);
  if (!tls) return LW_ERR_MEMORY;
  lw_stream_cover(&c->stream, tls);
  return 0;
}

lw_conn *lw_conn_guest(lw_hub *hub, const lw_conn_settings *settings, lw_tls_context *tls, int fd,
                       const lw_address *address, int kind, int *err) {
  lw_conn *c = new_conn(hub, settings, LW_SERVER, kind, err);
  if (!c) {
    hub->loop->sys->close(fd);
    return NULL;
  }
  c->source.fd = fd;
  if (address->any.sa_family != AF_UNIX) memcpy(&c->address, address, sizeof c->address);
  c->state = LW_CONN_SHAKING;
  *err = tls ? cover(c, tls, NULL, 0) : 0;
  if (*err == 0) *err = lw_source_watch(hub->loop, &c->source, LW_READ);
  if (*err == 0) return c;
  lw_conn_free(c);
  return NULL;
}

/* Files that will not be read any more need not stay open. */
static void drop_reel(lw_conn *c) {
  lw_reel_free(c->reel);
  c->reel = NULL;
}

static void close_fd(lw_conn *c) {
  lw_loop *loop = c->hub->loop;
  int fd;
  drop_route(c);
  drop_reel(c);
  fd = c->source.fd;
  lw_source_leave(loop, &c->source);
  c->source.fd = -1;
  if (fd >= 0) loop->sys->close(fd);
  lw_stream_clear(&c->stream);
}

void lw_conn_free(lw_conn *c) {
  if (!c) return;
  if (c->hub) {
    close_fd(c);
    lw_timer_leave(&c->hub->loop->timers, &c->deadline);
    lw_session_clear(&c->session);
    leave_hub(c);
  }
  drop_upgrade(c);
  free(c->protocol);
  free(c->own_reason);
  free(c->why);
  free(c->through);
  free(c);
}

void *lw_conn_owner(const lw_conn *c) {
  return c->owner;
}

void lw_conn_set_owner(lw_conn *c, void *owner) {
  c->owner = owner;
}

void lw_conn_hear(lw_conn *c, unsigned what) {
  c->heard = what & 0xffff;
}

unsigned lw_conn_heard(const lw_conn *c) {
  return c->heard;
}

lw_conn_state lw_conn_where(const lw_conn *c) {
  return c->state;
}

int lw_conn_aborted(const lw_conn *c) {
  return c->aborted;
}

int lw_conn_is_guest(const lw_conn *c) {
  return c->session.role == LW_SERVER && !c->was_open;
}

lw_seat *lw_conn_seat(lw_conn *c) {
  return &c->seat;
}

const lw_conn_settings *lw_conn_settings_of(const lw_conn *c) {
  return &c->settings;
}

unsigned short lw_conn_address(const lw_conn *c, char text[LW_ADDRESS_TEXT]) {
  lw_address address;
  memset(&address, 0, sizeof address);
  address.any.sa_family = AF_UNIX;
  if (c->address.any.sa_family != AF_UNSPEC) memcpy(&address, &c->address, sizeof c->address);
  return lw_address_text(&address, text);
}

const lw_tls *lw_conn_tls(const lw_conn *c) {
  return c->stream.tls && lw_tls_has_agreed(c->stream.tls) ? c->stream.tls : NULL;
}

const char *lw_conn_through(const lw_conn *c) {
  return c->through;
}

const lw_deflate_params *lw_conn_params(const lw_conn *c) {
  return lw_session_params(&c->session);
}

const char *lw_conn_protocol(const lw_conn *c) {
  return c->protocol ? c->protocol : "";
}

char *lw_conn_take_protocol(lw_conn *c) {
  char *protocol = c->protocol;
  c->protocol = NULL;
  return protocol;
}

/*
** Asks the system how far the peer's has come. If further than it was, that is progress; and
** if messages were under way, a sign of life: the peer takes them. A ping is not: an idle
** peer's system acknowledges that even if nobody is behind it any more.
*/
static void ask_progress(lw_conn *c) {
  long held = c->hub->loop->sys->unsent(c->source.fd);
  uint64_t before = c->acknowledged;
  if (held < 0 || (uint64_t)held > c->session.out.sent) return; /* it does not tell, or not of our stream alone */
  if (c->session.out.sent - (uint64_t)held > before) { /* answers of TLS count in `held`, too: it is never further back */
    c->acknowledged = c->session.out.sent - (uint64_t)held;
    c->progress = lw_loop_clock(c->hub->loop);
    if (c->behind) c->taken = c->progress;
  }
  c->behind = held > 0 && c->acknowledged < c->said;
}

int lw_conn_is_paused(const lw_conn *c) {
  return c->paused;
}

int lw_conn_owes_drain(const lw_conn *c) {
  return c->want_drain;
}

uint64_t lw_conn_sent(const lw_conn *c) {
  return lw_outgoing_gone(&c->session.out);
}

uint64_t lw_conn_written(const lw_conn *c) {
  return lw_outgoing_written(&c->session.out);
}

int64_t lw_conn_received(const lw_conn *c) {
  return c->received;
}

int64_t lw_conn_alive(lw_conn *c) {
  lw_loop *loop = c->hub ? c->hub->loop : NULL;
  int connected = c->state > LW_CONN_DIALING && c->state < LW_CONN_CLOSED && !c->eof;
  if (loop && connected && lw_is_readable(loop->sys, c->source.fd)) return loop->sys->now();
  if (loop && connected && c->acknowledged < lw_outgoing_end(&c->session.out)) ask_progress(c);
  return c->received > c->taken ? c->received : c->taken;
}

const lw_http_head *lw_conn_head(const lw_conn *c) {
  return c->upgrade && c->upgrade->whole ? &c->upgrade->head : NULL;
}

lw_slice lw_conn_page(const lw_conn *c) {
  lw_slice none = {NULL, 0};
  return c->upgrade && c->upgrade->refused && c->upgrade->whole ? lw_upgrade_rest(c->upgrade) : none;
}

int lw_conn_wants_upgrade(const lw_conn *c) {
  return c->upgrade && c->upgrade->ask.upgrade;
}

/* ------------------------------------------------------ states and ends */

/* The one function that changes the state. */
static void enter(lw_conn *c, lw_conn_state state) {
  if (c->seat.open_count && (c->state == LW_CONN_OPEN) != (state == LW_CONN_OPEN)) {
    if (state == LW_CONN_OPEN) ++*c->seat.open_count;
    else --*c->seat.open_count;
  }
  c->state = state;
  if (state > LW_CONN_OPEN && state < LW_CONN_CLOSED) c->paused = 0; /* who waits for an end reads until it comes */
}

/* pause() before the connection is open counts from then on. */
static int is_paused(const lw_conn *c) {
  return c->paused && c->state == LW_CONN_OPEN;
}

/* The peer has so long, from now on and from each time bytes go: see expire. */
static void set_deadline(lw_conn *c, int64_t limit) {
  c->progress = lw_loop_clock(c->hub->loop);
  lw_timer_set(&c->hub->loop->timers, &c->deadline, c->progress + limit / LOOKS);
}

/* A reason given here. Without memory for it there is none: ending a connection cannot fail. */
static void set_reason(lw_conn *c, const void *reason, size_t n) {
  if (n > LW_CLOSE_REASON_MAX) n = LW_CLOSE_REASON_MAX;
  c->reason_length = 0;
  if (n == 0 || c->own_reason || !(c->own_reason = malloc(n))) return;
  memcpy(c->own_reason, reason, n);
  c->reason = c->own_reason;
  c->reason_length = (unsigned char)n;
}

/* The words for the error that ends it, unless there are some; NULL: none. */
static void explain(lw_conn *c, const char *why) {
  if (why && !c->why) c->why = strdup(why);
}

/* The last that TLS has to say: why it failed (an alert), or that nothing more comes. One try. */
static void part(lw_conn *c) {
  size_t taken, wire;
  if (!c->stream.tls || c->source.fd < 0) return;
  if (c->error == LW_ERR_TLS) explain(c, lw_stream_why(&c->stream));
  if (c->mute || c->blocked) return;
  lw_stream_end(&c->stream);
  lw_stream_write(&c->stream, c->hub->loop, c->source.fd, NULL, 0, &taken, &wire);
}

/*
** Who did not take what was sent will not take what the system still holds of it, which may be
** megabytes: closing is to drop that, and a reset tells the peer. However it ends: what the system
** did not take is lost to him in any case, and with it the end of a message.
*/
static void give_up(lw_conn *c) {
  const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  if (c->source.fd < 0) return;
  c->hub->loop->sys->setsockopt(c->source.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

/* The connection is over; what is left is LW_CONN_ENDED. */
static void finish(lw_conn *c, int error) {
  if (c->state == LW_CONN_CLOSED) return;
  if (c->error == 0) c->error = error;
  if (error == LW_ERR_SLOW || c->blocked) give_up(c);
  part(c);
  enter(c, LW_CONN_CLOSED);
  lw_timer_stop(&c->hub->loop->timers, &c->deadline);
  close_fd(c);
  c->asked = c->opened = c->want_drain = 0;
  c->failed = c->error != 0;
  c->ended = 1;
  lw_source_post(c->hub->loop, &c->source, LW_POSTED);
}

static void flush(lw_conn *c);

/* Half-closes: the layers' goodbye, then the descriptor's. 0 while the system does not take the first. */
static int say_goodbye(lw_conn *c) {
  lw_stream_end(&c->stream);
  if (lw_stream_pending(&c->stream)) flush(c);
  if (c->state == LW_CONN_CLOSED || (lw_stream_pending(&c->stream) && !c->mute)) return 0;
  c->hub->loop->sys->shutdown(c->source.fd, SHUT_WR);
  return 1;
}

/* Everything is said. A client that closed cleanly leaves the end to the server (7.1.1); all others half-close. */
static void linger(lw_conn *c) {
  int client_waits = c->session.role == LW_CLIENT && c->session.state == LW_SESSION_CLOSED;
  if (c->eof) {
    finish(c, 0);
    return;
  }
  if (!client_waits && !say_goodbye(c)) return;
  enter(c, LW_CONN_LINGERING);
  set_deadline(c, c->settings.close_timeout);
}

/* 1 when nothing more will be said and everything was. */
static int all_said(const lw_conn *c) {
  if (c->state == LW_CONN_CLOSING)
    return c->session.state >= LW_SESSION_CLOSED &&
           (c->mute || (!lw_session_pending(&c->session) && !lw_stream_pending(&c->stream)));
  return 0;
}

/* ---------------------------------------------------------------- output */

/* The peer will never read it: what is queued is dropped, what it sent before may still be read. */
static void go_mute(lw_conn *c) {
  c->mute = 1;
  c->blocked = 0;
  c->readable = 1; /* a reset shows in the next read */
  lw_source_post(c->hub->loop, &c->source, LW_POSTED);
}

/* Content in memory that has not gone: what the marks are about. */
static size_t held(const lw_conn *c) {
  return lw_session_held(&c->session) + (c->reel ? lw_reel_held(c->reel) : 0);
}

static size_t files(const lw_conn *c) {
  return c->reel ? lw_reel_files(c->reel) : 0;
}

/* A sender that was told to wait may go on. */
static int is_drained(const lw_conn *c) {
  return held(c) <= c->settings.high_water / 2 && files(c) <= FILES / 2;
}

static void note_drained(lw_conn *c) {
  if (!c->want_drain || !is_drained(c)) return;
  if (c->state == LW_CONN_OPEN) lw_source_post(c->hub->loop, &c->source, LW_POSTED);
}

/* The output of a stalled connection is looked at again when this is over. */
static void watch_stall(lw_conn *c) {
  if (c->blocked || c->state != LW_CONN_OPEN) return;
  set_deadline(c, LW_WRITE_STALL);
}

/* One write. A lw_stream_verdict or a negative lw_err. */
static int write_slices(lw_conn *c, const lw_slice *slices, int count) {
  size_t taken, wire;
  int verdict = lw_stream_write(&c->stream, c->hub->loop, c->source.fd, slices, count, &taken, &wire);
  int is_long = c->session.out.first != NULL;
  lw_session_sent(&c->session, taken);
  if (is_long) c->said = c->session.out.sent + c->session.out.ready.length;
  if (wire > 0 && count > 0) c->progress = c->hub->loop->now; /* answers of TLS are none: a peer may ask for them for ever */
  return verdict;
}

/* The system will never take more, or the connection cannot go on at all. */
static void fail_write(lw_conn *c, int err) {
  if (!LW_IS_SYS(err)) finish(c, err);
  else if (is_paused(c)) finish(c, 0); /* a reset (API: pause), which no read would come to see */
  else go_mute(c);
  if (c->state == LW_CONN_OPEN) set_deadline(c, c->settings.close_timeout); /* by then a read has met the reason, too */
}

/* A message that has begun cannot be finished: the peer is told, and it ends. */
static void break_off(lw_conn *c, int err, const char *path) {
  char why[512];
  if (path) {
    snprintf(why, sizeof why, "reading %.300s: %s", path, lw_strerror(err));
    explain(c, why);
    err = LW_ERR_FILE;
  }
  if (c->error == 0) c->error = err;
  c->close_code = lw_err_close_code(err);
  lw_session_break(&c->session, err);
  drop_reel(c); /* and with it the path */
  if (c->state != LW_CONN_OPEN) return;
  enter(c, LW_CONN_CLOSING);
  set_deadline(c, c->settings.close_timeout);
}

/* Fetches what the session wants of a file. */
static void wind(lw_conn *c) {
  const char *path;
  int got = c->reel ? lw_reel_wind(c->reel, &c->session, &path) : 0;
  if (got < 0) break_off(c, got, path);
}

/* 1 when a file has had its share of this turn. */
static int had_its_share(lw_conn *c, int rounds) {
  if (rounds < ROUNDS || lw_session_wants(&c->session) == 0) return 0;
  lw_source_post(c->hub->loop, &c->source, LW_POSTED);
  return 1;
}

static void flush(lw_conn *c) {
  lw_slice slices[SLICES];
  int count, verdict, rounds = 0;
  if (c->state <= LW_CONN_DIALING || c->state >= LW_CONN_LINGERING || c->mute) return;
  do {
    wind(c);
    count = lw_session_output(&c->session, slices, SLICES);
    verdict = count < 0 ? count : write_slices(c, slices, count);
  } while (count > 0 && verdict == LW_STREAM_WENT && !had_its_share(c, ++rounds));
  if (verdict < 0) {
    if (count < 0) finish(c, count);
    else fail_write(c, verdict);
    return;
  }
  if (verdict == LW_STREAM_FULL) watch_stall(c);
  if (verdict == LW_STREAM_FULL || c->state == LW_CONN_CLOSING) ask_progress(c);
  c->blocked = verdict == LW_STREAM_FULL;
  note_drained(c);
}

/* What the poller should tell of this connection. */
static unsigned interest(const lw_conn *c) {
  unsigned want = c->blocked && !c->mute ? LW_WRITE : 0;
  if (c->eof) return want;
  if (c->state == LW_CONN_ASKED || is_paused(c)) return c->hung ? want : want | LW_FAULT;
  return want | LW_READ;
}

static void set_interest(lw_conn *c) {
  int err;
  if (c->state <= LW_CONN_DIALING || c->state == LW_CONN_CLOSED || c->source.fd < 0) return;
  err = lw_source_watch(c->hub->loop, &c->source, interest(c));
  if (err < 0) finish(c, err);
}

/* Output has been queued by somebody: it goes when the turn is over at the latest. */
static void mark_dirty(lw_conn *c) {
  if (c->dirty) return;
  c->dirty = 1;
  c->dirty_next = c->hub->dirty;
  c->hub->dirty = c;
}

static void settle(lw_conn *c) {
  if (c->mute && is_paused(c)) finish(c, 0); /* a reset a write met, which no read would come to see */
  if (all_said(c)) linger(c);
  set_interest(c);
}

void lw_conn_flush(lw_conn *c) {
  if (!c->dirty || c->hub->dirty != c) return; /* nothing is new, or others are to go before */
  c->hub->dirty = c->dirty_next;
  c->dirty = 0;
  if (!c->blocked) flush(c);
  settle(c);
}

void lw_hub_flush(lw_hub *hub) {
  while (hub->dirty) lw_conn_flush(hub->dirty);
}

void lw_hub_turn(lw_hub *hub) {
  lw_hub_flush(hub);
  hub->epoch++;
}

/* ----------------------------------------------------------------- input */

/* Of the loop's buffer: without TLS one read fills no more than what it always did. */
static size_t receive_room(const lw_conn *c) {
  return c->stream.tls ? LW_STREAM_MOST : LW_RECEIVE_SIZE;
}

/* The stream has failed. A browser's plain request to a TLS port gets a plain answer. */
static void fail_read(lw_conn *c, int err) {
  static const char body[] = "this port speaks TLS: the URL begins with https:// or wss://\n";
  lw_tls *tls = c->stream.tls;
  if (err == LW_ERR_TLS && c->session.state == LW_SESSION_CLOSED) err = 0; /* all was said: however it ends */
  if (err == LW_ERR_TLS && c->state == LW_CONN_LINGERING) err = 0;
  if (err == LW_ERR_TLS && c->state == LW_CONN_SHAKING && lw_tls_heard_http(tls)) {
    lw_buf_clear(lw_tls_output(tls), &c->hub->loop->pool); /* an alert, which the client could not read */
    lw_handshake_respond(lw_tls_output(tls), &c->hub->loop->pool, 400, NULL, body, sizeof body - 1, 0);
  }
  finish(c, err);
}

/* One read. Returns the bytes got, 0 for none; sets eof. */
static size_t receive(lw_conn *c, unsigned char *bytes, size_t room) {
  lw_loop *loop = c->hub->loop;
  size_t wire;
  long got = lw_stream_read(&c->stream, loop, c->source.fd, bytes, room, &wire);
  c->readable = got > 0 && lw_stream_has_more(&c->stream);
  if (wire > 0) c->received = lw_loop_clock(loop); /* late in a long turn, and a heartbeat may have asked within it */
  if (got >= 0) return (size_t)got;
  if (got != LW_ERR_EOF && !LW_IS_SYS(got)) {
    fail_read(c, (int)got);
    return 0;
  }
  c->eof = 1;
  if (LW_IS_SYS(got)) go_mute(c);
  return 0;
}

/* Reads for the session: into the message under way, or into the loop's buffer. */
static void receive_frames(lw_conn *c) {
  size_t room, got;
  unsigned char *bytes = lw_session_space(&c->session, c->stream.tls ? LW_STREAM_MOST : LW_RECEIVE_SIZE, LW_DIRECT_SIZE, &room);
  if (bytes) {
    got = receive(c, bytes, room);
    if (got > 0) lw_session_filled(&c->session, got);
    return;
  }
  if (!(bytes = lw_loop_receive(c->hub->loop))) {
    finish(c, LW_ERR_MEMORY);
    return;
  }
  got = receive(c, bytes, receive_room(c));
  if (got > 0) lw_session_feed(&c->session, bytes, got);
}

/* ------------------------------------------------------------- handshake */

/* On the way to the server. What there is to say of a failure is kept. 1: there; 0; or a negative lw_err. */
static int travel(lw_conn *c) {
  int got = lw_route_next(c->route, c->hub->loop, &c->source, &c->stream);
  if (got < 0) explain(c, lw_route_why(c->route, got));
  if (got <= 0) return got;
  drop_route(c);
  c->readable = lw_stream_has_more(&c->stream) != 0;
  enter(c, LW_CONN_SHAKING);
  return 1;
}

/* The handshake is done; frames that came with it go to the session. 0 or LW_ERR_MEMORY. */
static int open_conn(lw_conn *c, lw_slice protocol) {
  lw_slice rest = lw_upgrade_rest(c->upgrade);
  const lw_upgrade *u = c->upgrade;
  if (protocol.n > 0 && !(c->protocol = strndup((const char *)protocol.bytes, protocol.n))) return LW_ERR_MEMORY;
  if (u->params.agreed && lw_session_extend(&c->session, &c->hub->loop->deflate, u->deflate, &u->params) < 0) return LW_ERR_MEMORY;
  lw_session_feed(&c->session, (unsigned char *)(uintptr_t)rest.bytes, rest.n);
  if (lw_session_stash(&c->session) < 0) return LW_ERR_MEMORY;
  lw_timer_stop(&c->hub->loop->timers, &c->deadline);
  c->opened = 1;
  c->taken = lw_loop_clock(c->hub->loop); /* the peer may have waited long for this: see lw_conn_alive */
  return 0;
}

/* The head is whole and right. 0 or a negative lw_err. */
static int take_head(lw_conn *c) {
  if (c->session.role == LW_CLIENT) return open_conn(c, c->upgrade->protocol);
  enter(c, LW_CONN_ASKED);
  c->asked = 1;
  return 0;
}

/* A request that breaks the rules gets its status, and the reason in a line of text. */
static void refuse(lw_conn *c, int err) {
  const char *why = lw_strerror(err);
  char body[256];
  size_t n = strlen(why);
  if (n > sizeof body - 1) n = sizeof body - 1;
  memcpy(body, why, n);
  body[n++] = '\n';
  lw_conn_respond(c, lw_handshake_status(err), NULL, body, n);
}

/* The answer was no 101, or more of its page is here: that is awaited, but not for long. */
static void await_page(lw_conn *c, const unsigned char *bytes, size_t n) {
  int64_t until = c->hub->loop->now + LW_PAGE_WAIT;
  if (lw_upgrade_page(c->upgrade, bytes, n) != 0 || c->eof) finish(c, LW_ERR_STATUS);
  else if (until < c->deadline.due && n == 0) lw_timer_set(&c->hub->loop->timers, &c->deadline, until);
}

/* What ends a handshake before its time. */
static void fail_shake(lw_conn *c, int err) {
  int told = c->session.role == LW_SERVER && err != LW_ERR_EOF && err != LW_ERR_MEMORY;
  if (told) refuse(c, err);
  else if (err == LW_ERR_STATUS) await_page(c, NULL, 0);
  else finish(c, err);
}

/* One read of the head. */
static void shake_hands(lw_conn *c) {
  unsigned char *bytes;
  size_t n;
  int got = 0;
  if (!c->readable) return;
  if (!(bytes = lw_loop_receive(c->hub->loop))) {
    finish(c, LW_ERR_MEMORY);
    return;
  }
  n = receive(c, bytes, receive_room(c));
  if (c->state != LW_CONN_SHAKING) return;
  if (c->upgrade->refused) {
    await_page(c, bytes, n);
    return;
  }
  if (n > 0) got = lw_upgrade_feed(c->upgrade, bytes, n);
  if (got > 0) got = take_head(c);
  else if (got == 0 && c->eof) got = LW_ERR_EOF;
  if (got < 0) fail_shake(c, got);
}

int lw_conn_accept(lw_conn *c, lw_slice protocol, const char *headers) {
  int err;
  if (c->state != LW_CONN_ASKED || c->opened || !c->upgrade->ask.upgrade) return LW_ERR_CLOSED;
  err = lw_upgrade_accept(c->upgrade, &c->session.out.ready, &c->hub->loop->pool, protocol, headers);
  if (err == 0) err = open_conn(c, protocol);
  if (err < 0) {
    finish(c, err);
    return err;
  }
  c->asked = 0;
  mark_dirty(c);
  lw_source_post(c->hub->loop, &c->source, LW_POSTED);
  return 0;
}

int lw_conn_respond(lw_conn *c, int status, const char *headers, const void *body, size_t n) {
  const lw_http_head *head = lw_conn_head(c);
  int head_only = head && lw_slice_equals(head->method, "HEAD");
  int err;
  if (c->state < LW_CONN_SHAKING || c->state > LW_CONN_ASKED || c->opened) return LW_ERR_CLOSED;
  err = lw_handshake_respond(&c->session.out.ready, &c->hub->loop->pool, status, headers, body, n, head_only);
  if (err < 0) {
    finish(c, err);
    return err;
  }
  c->asked = 0;
  c->session.state = LW_SESSION_FAILED; /* no frames will follow, in or out */
  enter(c, LW_CONN_CLOSING);
  set_deadline(c, c->settings.close_timeout);
  mark_dirty(c);
  return 0;
}

/* ---------------------------------------------------------------- a turn */

/* The deadline's time has come: what it means depends on the state. */
static void expire(lw_conn *c) {
  int64_t limit = c->settings.close_timeout;
  int64_t now = c->hub->loop->now, until;
  if (c->state < LW_CONN_OPEN) {
    if (c->route) explain(c, lw_route_why(c->route, LW_ERR_TIMEOUT));
    else if (c->stream.tls && lw_tls_shaking(c->stream.tls)) explain(c, "the TLS handshake took longer than handshakeTimeout");
    finish(c, c->upgrade && c->upgrade->refused ? LW_ERR_STATUS : LW_ERR_TIMEOUT);
    return;
  }
  if (c->state == LW_CONN_OPEN) {
    if (!c->blocked && !c->mute) return;
    if (!c->mute) limit = LW_WRITE_STALL;
  }
  ask_progress(c); /* the system may hold many of our bytes, and the peer take them */
  until = c->progress + limit;
  if (now >= until) {
    finish(c, c->state == LW_CONN_OPEN && !c->mute ? LW_ERR_STALL : 0);
    return;
  }
  if (until > now + limit / LOOKS) until = now + limit / LOOKS; /* what it takes is dated by when that is seen */
  lw_timer_set(&c->hub->loop->timers, &c->deadline, until);
}

/*
** A connection that does not read has become ready: it may have been reset, which is told
** now (API: pause). Merely hung up on, as over a Unix socket, it waits until it reads again.
*/
static void check_reset(lw_conn *c) {
  int reset = 0;
  socklen_t size = sizeof reset;
  if (c->hub->loop->sys->getsockopt(c->source.fd, SOL_SOCKET, SO_ERROR, &reset, &size) == 0 && reset == 0) {
    c->hung = !(c->source.interest & LW_READ);
    return;
  }
  c->mute = 1;
  finish(c, 0);
}

void lw_conn_ready(lw_conn *c, unsigned why) {
  if (c->state == LW_CONN_CLOSED) return;
  if (why & (LW_READ | LW_FAULT)) {
    if (is_paused(c) || c->state == LW_CONN_ASKED) check_reset(c);
    else c->readable = 1;
  }
  if (why & LW_WRITE) {
    c->blocked = 0;
    c->taken = c->hub->loop->now;
  }
  if (why & LW_DUE && !lw_timer_is_set(&c->deadline)) expire(c); /* else it was the dial's timer */
  if (c->orphan && c->state != LW_CONN_CLOSED) lw_conn_close(c, 0, NULL, 0);
}

/* A session's event in the words of a connection. 1 if there is something to tell. */
static int translate(lw_conn *c, const lw_event *from, lw_conn_event *to) {
  to->bytes = from->bytes;
  to->n = from->n;
  to->binary = from->binary;
  switch (from->kind) {
    case LW_EVENT_MESSAGE: to->kind = LW_CONN_MESSAGE; return 1;
    case LW_EVENT_PING: to->kind = LW_CONN_PING; return 1;
    case LW_EVENT_PONG:
      to->kind = LW_CONN_PONG;
      to->latency = -1;
      if (!c->pinged || c->received < c->pinged) return 1; /* unasked, or it answers a ping before the last */
      to->latency = c->received - c->pinged;
      c->pinged = 0;
      if (c->acknowledged < c->ping_end) c->acknowledged = c->ping_end; /* so the next ping need not ask */
      return 1;
    case LW_EVENT_CLOSE:
      c->code = from->code;
      c->reason = from->bytes; /* stays: nothing more is read */
      c->reason_length = (unsigned char)from->n;
      break;
    case LW_EVENT_FAILURE:
      c->error = from->error;
      c->close_code = from->code;
      break;
  }
  drop_reel(c);
  enter(c, LW_CONN_CLOSING);
  set_deadline(c, c->settings.close_timeout);
  return 0;
}

/* 1 if both Close frames went. Without a failure, and with ours on its way to the peer. */
static int was_clean(const lw_conn *c) {
  return c->error == 0 && c->code != 0 && c->session.last_length > 0 &&
         c->session.last_sent == c->session.last_length;
}

static int end_event(lw_conn *c, lw_conn_event *event) {
  event->error = c->error;
  event->why = c->why;
  event->close_code = c->close_code;
  event->kind = c->failed ? LW_CONN_FAILED : LW_CONN_ENDED;
  if (c->failed) {
    c->failed = 0;
    return 1;
  }
  c->ended = 0;
  event->clean = was_clean(c);
  event->code = c->error == 0 && c->code ? c->code : 1006;
  event->bytes = c->reason ? c->reason : (const unsigned char *)"";
  event->n = c->reason_length;
  return 1;
}

/* In LW_CONN_OPEN and CLOSING: 1 with an event, 0 when there is nothing more. */
static int next_open(lw_conn *c, lw_conn_event *event) {
  lw_event got;
  while (c->state == LW_CONN_OPEN || c->state == LW_CONN_CLOSING) {
    if (c->want_drain && c->state == LW_CONN_OPEN && is_drained(c)) {
      c->want_drain = 0;
      event->kind = LW_CONN_DRAIN;
      return 1;
    }
    if (c->paused) return 0;
    if (lw_session_next(&c->session, &got)) {
      if (translate(c, &got, event)) return 1;
    } else if (c->eof && c->session.state < LW_SESSION_CLOSED) {
      finish(c, 0);
    } else if (c->readable && !c->eof) {
      receive_frames(c);
    } else {
      return 0;
    }
  }
  return 0;
}

/* Drains what still comes, so that no reset eats what was said last (RFC 9112, 9.6). */
static void drain(lw_conn *c) {
  unsigned char *bytes;
  if (!c->readable) return;
  bytes = lw_loop_receive(c->hub->loop);
  if (bytes) receive(c, bytes, receive_room(c));
  if (!bytes || c->eof) finish(c, 0); /* without memory to read into, the poller would tell of it for ever */
}

int lw_conn_next(lw_conn *c, lw_conn_event *event) {
  memset(event, 0, sizeof *event);
  if (c->state == LW_CONN_DIALING) {
    int err = travel(c);
    if (err < 0) finish(c, err);
    if (err > 0) flush(c);
  }
  if (c->state == LW_CONN_SHAKING && !c->opened) shake_hands(c);
  if (c->asked) {
    c->asked = 0;
    event->kind = LW_CONN_REQUEST;
    return 1;
  }
  if (c->opened) {
    c->opened = 0;
    drop_upgrade(c);
    if (c->state < LW_CONN_OPEN) enter(c, LW_CONN_OPEN); /* else it is told again */
    c->was_open = 1;
    event->kind = LW_CONN_OPENED;
    return 1;
  }
  if (next_open(c, event)) return 1;
  if (c->state == LW_CONN_LINGERING) drain(c);
  return c->ended ? end_event(c, event) : 0;
}

void lw_conn_untell(lw_conn *c, lw_conn_event_kind kind) {
  switch (kind) {
    case LW_CONN_REQUEST: c->asked = c->state == LW_CONN_ASKED; break;
    case LW_CONN_OPENED:
      c->opened = c->state != LW_CONN_CLOSED;
      c->was_open = 0;
      break;
    case LW_CONN_DRAIN: c->want_drain = 1; break;
    case LW_CONN_FAILED: c->failed = 1; break;
    case LW_CONN_ENDED: c->ended = 1; break;
    case LW_CONN_MESSAGE: finish(c, LW_ERR_MEMORY); break;
    case LW_CONN_PING:
    case LW_CONN_PONG: break;
  }
}

/* 1 when lw_conn_next has something without anything new from outside. */
static int has_more(const lw_conn *c) {
  if (c->asked || c->opened || c->ended) return 1;
  if (c->state == LW_CONN_SHAKING || c->state == LW_CONN_LINGERING) return c->readable;
  if (c->state != LW_CONN_OPEN && c->state != LW_CONN_CLOSING) return 0;
  if (c->paused) return 0;
  return !lw_session_hungry(&c->session) || c->readable;
}

void lw_conn_rest(lw_conn *c) {
  if (c->session.role == LW_SERVER && (c->opened || c->state > LW_CONN_ASKED)) drop_upgrade(c);
  if (c->state != LW_CONN_CLOSED) {
    if (lw_session_stash(&c->session) < 0) finish(c, LW_ERR_MEMORY);
    if (!c->blocked) flush(c);
    settle(c);
  }
  if (has_more(c)) lw_source_post(c->hub->loop, &c->source, LW_POSTED);
}

/* -------------------------------------------------------------- messages */

/* What a send came to: counted, and too much ends it. */
static int sent(lw_conn *c, int err, uint64_t n) {
  if (err < 0) return err;
  if (c->epoch != c->hub->epoch) {
    c->epoch = c->hub->epoch;
    c->epoch_content = 0;
  }
  c->epoch_content += n;
  if (!c->session.out.first) c->said = lw_outgoing_end(&c->session.out); /* else when it is ready */
  mark_dirty(c);
  if (held(c) < c->settings.high_water && files(c) < FILES) return 1;
  c->want_drain = 1;
  return 0;
}

/* 1 if n more bytes are too many for a peer that does not read. */
static int too_slow(lw_conn *c, size_t n) {
  size_t queued = held(c), framing = lw_outgoing_framing(&c->session.out);
  if (n <= c->settings.max_buffered && queued <= c->settings.max_buffered - n && framing <= c->settings.max_buffered) return 0;
  c->mute = 1;
  finish(c, LW_ERR_SLOW);
  return 1;
}

int lw_conn_send(lw_conn *c, lw_opcode opcode, const void *bytes, size_t n, int compress) {
  if (c->state != LW_CONN_OPEN) return LW_ERR_CLOSED;
  if (too_slow(c, n)) return LW_ERR_SLOW;
  return sent(c, lw_session_send(&c->session, opcode, bytes, n, compress), n);
}

int lw_conn_share(lw_conn *c, lw_chunk *chunk, size_t n, int compressed) {
  if (c->state != LW_CONN_OPEN) return LW_ERR_CLOSED;
  if (too_slow(c, n)) return LW_ERR_SLOW;
  return sent(c, lw_session_share(&c->session, chunk, n, compressed), n);
}

int lw_conn_send_body(lw_conn *c, lw_opcode opcode, lw_body *body) {
  uint64_t n = lw_body_size(body);
  int err = c->state != LW_CONN_OPEN ? LW_ERR_CLOSED : too_slow(c, lw_body_held(body)) ? LW_ERR_SLOW : 0;
  if (err == 0 && !c->reel && !(c->reel = lw_reel_new())) err = LW_ERR_MEMORY;
  if (err == 0) return sent(c, lw_reel_add(c->reel, &c->session, opcode, body), n);
  lw_body_free(body);
  return err;
}

int lw_conn_ping(lw_conn *c, const void *bytes, size_t n) {
  int err;
  if (c->state != LW_CONN_OPEN) return LW_ERR_CLOSED;
  if (too_slow(c, 0)) return LW_ERR_CLOSED;
  if (c->acknowledged < lw_outgoing_end(&c->session.out)) ask_progress(c); /* what it takes of this from now on is life */
  else c->behind = 0;
  err = lw_session_ping(&c->session, bytes, n);
  if (err < 0) return err;
  c->pinged = lw_loop_clock(c->hub->loop);
  c->ping_end = lw_outgoing_end(&c->session.out);
  mark_dirty(c);
  return 0;
}

void lw_conn_close(lw_conn *c, unsigned code, const void *reason, size_t n) {
  if (c->state == LW_CONN_ASKED && c->opened) { /* the 101 is on its way, so a Close frame may follow */
    c->opened = 0;
    enter(c, LW_CONN_OPEN);
  }
  if (c->state < LW_CONN_OPEN) {
    if (c->aborted) return;
    c->aborted = 1;
    finish(c, LW_ERR_ABORTED);
  } else if (c->state == LW_CONN_OPEN) {
    lw_session_close(&c->session, code, reason, n);
    enter(c, LW_CONN_CLOSING);
    set_deadline(c, c->settings.close_timeout);
    mark_dirty(c);
    lw_source_post(c->hub->loop, &c->source, LW_POSTED);
  }
}

void lw_conn_terminate(lw_conn *c, const void *reason, size_t n) {
  if (c->state == LW_CONN_CLOSED) return;
  set_reason(c, reason, n);
  c->code = 0;
  c->mute = 1;
  finish(c, c->state < LW_CONN_OPEN ? LW_ERR_ABORTED : 0);
}

void lw_conn_end(lw_conn *c) {
  if (c->state == LW_CONN_CLOSED) return;
  c->mute = 1;
  finish(c, c->state < LW_CONN_OPEN ? LW_ERR_ABORTED : 0);
}

void lw_conn_orphan(lw_conn *c) {
  c->owner = NULL;
  c->orphan = 1;
  if (c->hub) lw_source_post(c->hub->loop, &c->source, LW_POSTED);
  else lw_conn_free(c);
}

void lw_conn_pause(lw_conn *c) {
  if (c->state > LW_CONN_OPEN || c->paused) return;
  c->paused = 1;
  c->hung = 0;
  mark_dirty(c);
}

void lw_conn_resume(lw_conn *c) {
  if (!c->paused) return;
  c->paused = 0;
  mark_dirty(c);
  lw_source_post(c->hub->loop, &c->source, LW_POSTED);
}

uint64_t lw_conn_unsent(const lw_conn *c) {
  return lw_session_buffered(&c->session);
}

uint64_t lw_conn_buffered(const lw_conn *c) {
  uint64_t queued = lw_session_buffered(&c->session);
  if (c->hub && c->epoch == c->hub->epoch && c->epoch_content > queued) return c->epoch_content;
  return queued;
}

/* ------------------------------------------------------------ the loop's end */

/* One try to say goodbye, without waiting for anything. */
static void farewell(lw_conn *c) {
  if (c->state == LW_CONN_OPEN) lw_conn_close(c, 1001, NULL, 0);
  if (!c->blocked) flush(c);
  lw_session_forsake(&c->session); /* a file that is not through by now */
  if (!c->blocked) flush(c);
  if (c->source.fd >= 0 && c->state >= LW_CONN_OPEN && c->state < LW_CONN_CLOSED) {
    part(c);
    c->hub->loop->sys->shutdown(c->source.fd, SHUT_WR);
  }
}

void lw_hub_clear(lw_hub *hub) {
  int forked = lw_loop_forked(hub->loop);
  while (hub->all) {
    lw_conn *c = hub->all;
    if (!forked) farewell(c);
    enter(c, LW_CONN_CLOSED);
    c->seat.open_count = NULL;
    close_fd(c);
    lw_timer_leave(&hub->loop->timers, &c->deadline);
    lw_session_clear(&c->session);
    drop_upgrade(c);
    leave_hub(c);
    c->hub = NULL;
    if (!c->owner && !c->seat.server) lw_conn_free(c);
  }
}
