/*
** conn.h -- the life of one WebSocket connection: net and session under one loop.
**
** Pull, never push: when the loop hands out a connection, say so with lw_conn_ready, take
** its events with lw_conn_next until there is none (or enough), then lw_conn_rest. Every
** other function may be called at any time, between two events too; none of them delivers.
*/
#ifndef LW_CONN_H
#define LW_CONN_H

#include <stddef.h>
#include <stdint.h>

#include "body.h"
#include "buf.h"
#include "err.h"
#include "handshake.h"
#include "http.h"
#include "loop.h"
#include "net.h"
#include "proxy.h"
#include "session.h"
#include "stream.h"
#include "tls_context.h"
#include "upgrade.h"
#include "url.h"

#pragma GCC visibility push(hidden)

#define LW_WRITE_STALL INT64_C(30000000000) /* 30 s without a byte leaving end a connection */
#define LW_DIRECT_SIZE ((size_t)256 * 1024) /* at most so much of a long message in one read */
#define LW_PAGE_WAIT INT64_C(1000000000)    /* and no longer than 1 s, within the handshake's time */

typedef struct lw_conn lw_conn;

/* What the connections of one loop have in common. Zeroed but for `loop` is ready. */
typedef struct lw_hub {
  lw_loop *loop;
  lw_conn *all;   /* every connection there is */
  lw_conn *dirty; /* those with output that has not been tried yet */
  uint64_t epoch; /* changes with each turn: output of the current one counts as buffered */
} lw_hub;

/* Tries to send what was written to connections since they were last flushed. */
void lw_hub_flush(lw_hub *hub);
/* The turn is over: flushes, and what was sent in it counts as buffered no longer. */
void lw_hub_turn(lw_hub *hub);
/* The loop is about to go: every connection makes one try to say 1001 and ends. Those without owner are freed. */
void lw_hub_clear(lw_hub *hub);

typedef struct lw_conn_settings {
  lw_limits limits;
  size_t high_water;         /* bytes queued from which a sender should wait */
  size_t max_buffered;       /* bytes queued past which the peer is too slow */
  int64_t handshake_timeout; /* nanoseconds */
  int64_t close_timeout;
  size_t max_header_size;
  size_t max_header_count;
  int family;
  int no_delay;
  const lw_deflate_options *deflate; /* permessage-deflate; NULL: not. Used when a connection is made */
} lw_conn_settings;

typedef enum lw_conn_state {
  LW_CONN_DIALING,   /* client: a name is looked up, an address is tried */
  LW_CONN_SHAKING,   /* the head of the request or response is awaited */
  LW_CONN_ASKED,     /* server: the request is here, the answer is not decided */
  LW_CONN_OPEN,      /* messages both ways */
  LW_CONN_CLOSING,   /* the closing handshake is under way, or a failure is being told */
  LW_CONN_LINGERING, /* everything is said and half-closed: what still comes is drained */
  LW_CONN_CLOSED     /* the descriptor is closed; LW_CONN_ENDED is still to be taken, or was */
} lw_conn_state;

typedef enum lw_conn_event_kind {
  LW_CONN_REQUEST, /* server, before it is open: see lw_conn_head, then accept, respond, or defer */
  LW_CONN_OPENED,  /* the state is LW_CONN_OPEN from now on */
  LW_CONN_MESSAGE, /* binary, bytes */
  LW_CONN_PING,    /* bytes */
  LW_CONN_PONG,    /* bytes */
  LW_CONN_DRAIN,   /* a sender that was told to wait may go on */
  LW_CONN_FAILED,  /* error, close_code; LW_CONN_ENDED follows */
  LW_CONN_ENDED    /* the last one: code, clean, bytes is the reason */
} lw_conn_event_kind;

typedef struct lw_conn_event {
  lw_conn_event_kind kind;
  int binary;
  int error;      /* why it failed: a negative lw_err */
  const char *why; /* more about that in words; NULL: lw_strerror has them all */
  int close_code; /* what we told a peer that broke the protocol, else 0 */
  int code;  /* 1000-4999 as received; 1005: a Close without; 1006: none */
  int clean; /* both Close frames went and the connection ended after them */
  int64_t latency; /* of a pong: nanoseconds since the last ping; -1: nobody asked */
  const unsigned char *bytes; /* until the connection is used again */
  size_t n;
} lw_conn_event;

/* A connection's place in a server; server.c fills it, conn.c only keeps the count true. */
typedef struct lw_seat {
  struct lw_seat *prev, *next; /* among the server's; prev NULL: in none */
  struct lw_server *server;
  lw_conn *conn;
  int64_t beat; /* when the server's heartbeat last asked for a sign of life, see heartbeat.h */
  struct lw_subscription *subscriptions;
  size_t *open_count; /* of the server: its connections in LW_CONN_OPEN; NULL: it never comes to that */
} lw_seat;

/* How a client gets to its server. Zeroed: straight to where the URL says. Copied. */
typedef struct lw_conn_way {
  const char *path;        /* a Unix socket's, wherever the URL leads; NULL: the URL's own, if it has one */
  lw_tls_context *tls;     /* of wss */
  const char *server_name; /* whom the certificate must name; NULL: the URL's host */
  const lw_proxy *proxy;   /* NULL: none stands between; never with a path */
  lw_tls_context *proxy_tls; /* of a proxy that is reached by TLS */
  const char *proxy_name;  /* whom its certificate must name; NULL: its host */
} lw_conn_way;

/*
** A client. Nothing happens before the next turn. `kind` and `owner` as in loop.h: the
** loop hands out the connection itself as the source's owner. The settings and the offer
** are copied. NULL with *err.
*/
lw_conn *lw_conn_connect(lw_hub *hub, const lw_conn_settings *settings, const lw_handshake_offer *offer,
                         const lw_conn_way *way, int kind, void *owner, int *err);
/* A server's guest, over TLS unless `tls` is NULL: takes the descriptor over, also when it fails. NULL with *err. */
lw_conn *lw_conn_guest(lw_hub *hub, const lw_conn_settings *settings, lw_tls_context *tls, int fd,
                       const lw_address *address, int kind, int *err);
/* At any time, hub gone or not, once it has left its server: closes the descriptor and forgets everything. */
void lw_conn_free(lw_conn *c);
/* The owner is gone: the connection ends politely and says LW_CONN_ENDED to whoever asks. */
void lw_conn_orphan(lw_conn *c);

void *lw_conn_owner(const lw_conn *c);
void lw_conn_set_owner(lw_conn *c, void *owner);
/* 16 bits that are the owner's alone: of what he wants to hear, kept where they are at hand. */
void lw_conn_hear(lw_conn *c, unsigned what);
unsigned lw_conn_heard(const lw_conn *c);
lw_conn_state lw_conn_where(const lw_conn *c);
/* 1 when close() was called before it was open. */
int lw_conn_aborted(const lw_conn *c);
/* 1 for a server's connection whose LW_CONN_OPENED was not taken: there is no socket for it yet. */
int lw_conn_is_guest(const lw_conn *c);
lw_seat *lw_conn_seat(lw_conn *c);
/* As they were given; until the connection is freed. */
const lw_conn_settings *lw_conn_settings_of(const lw_conn *c);
/* A guest's address in words; returns its port. */
unsigned short lw_conn_address(const lw_conn *c, char text[LW_ADDRESS_TEXT]);

/* --- a turn --- */

void lw_conn_ready(lw_conn *c, unsigned why);
/* 1 with the next event, or 0. */
int lw_conn_next(lw_conn *c, lw_conn_event *event);
/*
** The event just taken could not be told, for want of memory: the next turn has it again. A
** message is not kept, so the connection ends; a ping or pong is nothing to anybody.
*/
void lw_conn_untell(lw_conn *c, lw_conn_event_kind kind);
/* Done with it for now: sends what is queued, keeps what was not taken, waits for what comes next. */
void lw_conn_rest(lw_conn *c);

/* --- the handshake --- */

/* The request (server: from LW_CONN_REQUEST until the answer) or the response (client: until LW_CONN_ENDED was taken); NULL when there is none. */
const lw_http_head *lw_conn_head(const lw_conn *c);
/* What came with a response that refuses, up to LW_PAGE_MAX; empty for nothing. As long as the head. */
lw_slice lw_conn_page(const lw_conn *c);
/* 1 if the request wants to become a WebSocket. */
int lw_conn_wants_upgrade(const lw_conn *c);
/* Its TLS once the handshake is done; NULL: there is none. */
const lw_tls *lw_conn_tls(const lw_conn *c);
/* What the proxy it goes through is called; NULL: it goes through none. */
const char *lw_conn_through(const lw_conn *c);
/* What was agreed on of permessage-deflate; NULL: nothing. */
const lw_deflate_params *lw_conn_params(const lw_conn *c);
/* The subprotocol agreed on, "" for none. */
const char *lw_conn_protocol(const lw_conn *c);
/* The same for the caller to keep and to free (NULL: none); the connection forgets it. */
char *lw_conn_take_protocol(lw_conn *c);
/* The 101. `headers` are lines, or NULL. 0, or a negative lw_err: then it ends. Only in LW_CONN_ASKED. */
int lw_conn_accept(lw_conn *c, lw_slice protocol, const char *headers);
/* Any other answer, after which it ends. Only before LW_CONN_OPEN. */
int lw_conn_respond(lw_conn *c, int status, const char *headers, const void *body, size_t n);

/* --- messages --- */

/*
** With `compress` it goes compressed where that was agreed on and is worth it.
** 1: queued, below the high-water mark. 0: queued, but wait for LW_CONN_DRAIN. LW_ERR_CLOSED:
** not open, nothing queued. LW_ERR_SLOW: too much is queued already, the connection has
** ended. LW_ERR_MEMORY: nothing queued.
*/
int lw_conn_send(lw_conn *c, lw_opcode opcode, const void *bytes, size_t n, int compress);
/* A frame of lw_session_frame with n bytes of content, shared. As lw_conn_send. */
int lw_conn_share(lw_conn *c, lw_chunk *chunk, size_t n, int compressed);
/* A message of 1 byte or more that is read while it is sent; takes the body over, also when it fails. As lw_conn_send. */
int lw_conn_send_body(lw_conn *c, lw_opcode opcode, lw_body *body);
int lw_conn_ping(lw_conn *c, const void *bytes, size_t n);
/* Tries to send what is queued now, and not when the turn is over: its memory serves the next connection at once. */
void lw_conn_flush(lw_conn *c);
/* Queued messages go first. Before it is open: fails the attempt. code 0: without. */
void lw_conn_close(lw_conn *c, unsigned code, const void *reason, size_t n);
/* Drops the connection at once: 1006 with this reason. */
void lw_conn_terminate(lw_conn *c, const void *reason, size_t n);
/* Waits no longer for the peer: ends now, clean only if both Close frames went. */
void lw_conn_end(lw_conn *c);
void lw_conn_pause(lw_conn *c);
void lw_conn_resume(lw_conn *c);
/* Content queued and not handed to the system; all of the current turn's counts. */
uint64_t lw_conn_buffered(const lw_conn *c);
/* Content queued and not handed to the system, whenever it was queued. */
uint64_t lw_conn_unsent(const lw_conn *c);
int lw_conn_is_paused(const lw_conn *c);
/* 1 if a send found too much queued, and LW_CONN_DRAIN has not come since. */
int lw_conn_owes_drain(const lw_conn *c);
/*
** Bytes of the stream so far, framing and all: given to the system, and with what is queued,
** files included. What passes between a file's fragments (pings, pongs) counts in neither.
*/
uint64_t lw_conn_sent(const lw_conn *c);
uint64_t lw_conn_written(const lw_conn *c);
/* When bytes were last received; 0: never. */
int64_t lw_conn_received(const lw_conn *c);
/*
** When the peer last gave a sign of life; 0: never. Bytes were received; or its system
** acknowledged some of what was under way before the last ping, or at the last look (a slow
** reader's pong is late); and if bytes wait unread, now: however late we are, nobody is
** given up whose answer is here. Opening counts, too.
*/
int64_t lw_conn_alive(lw_conn *c);

#pragma GCC visibility pop
#endif
