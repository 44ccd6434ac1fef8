/*
** server.h -- a listener that makes connections, what it lets in, and topics.
*/
#ifndef LW_SERVER_H
#define LW_SERVER_H

#include <stddef.h>

#include "conn.h"
#include "err.h"
#include "heartbeat.h"

#pragma GCC visibility push(hidden)

typedef struct lw_server lw_server;

/* A list of strings; the server copies it. */
typedef struct lw_strings {
  const char *const *items;
  size_t count;
} lw_strings;

typedef struct lw_server_options {
  lw_listen_options listen;
  lw_conn_settings settings;
  size_t max_connections;  /* 0: from the descriptor limit */
  lw_heartbeat_settings heartbeat;
  const char *resource;    /* the only path served; NULL: any */
  const lw_strings *trusted; /* proxies whose X-Forwarded-For is believed, see forwarded.h; NULL: none */
  const lw_strings *origins; /* allowed; NULL: the same origin; an item "*" allows any */
  const lw_strings *protocols; /* spoken; NULL: none, or somebody else chooses */
  lw_tls_context *tls;     /* NULL: none is spoken */
} lw_server_options;

/*
** Listens. `kind` is the server's own in the loop, `conn_kind` that of its connections.
** NULL with *err and nothing left open.
*/
lw_server *lw_server_new(lw_hub *hub, const lw_server_options *options, int kind, int conn_kind,
                         void *owner, int *err);
/* At any time, hub gone or not. Its connections live on without it; those not open yet end. */
void lw_server_free(lw_server *server);
/* The loop is about to go: stops listening and waiting. */
void lw_server_detach(lw_server *server);

void *lw_server_owner(const lw_server *server);
const lw_address *lw_server_address(const lw_server *server);
/* From now on guests are met with this; those that are here keep what they have. */
void lw_server_set_tls(lw_server *server, lw_tls_context *tls);
int lw_server_has_tls(const lw_server *server);
/* Connections in LW_CONN_OPEN. */
size_t lw_server_count(const lw_server *server);

typedef enum lw_server_event_kind {
  LW_SERVER_ERROR, /* error: guests wait that cannot be let in; said once until it is over */
  LW_SERVER_CLOSED /* the last one: closed, and no connection is left */
} lw_server_event_kind;

typedef struct lw_server_event {
  lw_server_event_kind kind;
  int error;
} lw_server_event;

/* --- a turn, as with a connection --- */
void lw_server_ready(lw_server *server, unsigned why);
int lw_server_next(lw_server *server, lw_server_event *event);
/* LW_SERVER_CLOSED is there again in the next turn, if the server is. */
void lw_server_retell(lw_server *server);

typedef enum lw_verdict {
  LW_VERDICT_REFUSED, /* it has been answered */
  LW_VERDICT_PLAIN,   /* a plain HTTP request: somebody should respond */
  LW_VERDICT_UPGRADE  /* may be accepted, with the protocol named */
} lw_verdict;

/*
** Who asks on a connection in LW_CONN_ASKED: its peer, or whom a trusted proxy names. Returns
** the port; 0: not known.
*/
unsigned short lw_server_client(const lw_server *server, lw_conn *c, char text[LW_ADDRESS_TEXT]);
/* What the options say to a connection in LW_CONN_ASKED. `protocol` is a slice of its head, or empty. */
lw_verdict lw_server_judge(lw_server *server, lw_conn *c, lw_slice *protocol);
/* The connection leaves (it has ended, or is about to be freed); drops its subscriptions. No server: nothing. */
void lw_server_leave(lw_conn *c);
/* The first connection, open or not, and the one after; for a walk in which nothing leaves. */
lw_conn *lw_server_first(const lw_server *server);
lw_conn *lw_server_after(const lw_server *server, lw_conn *c);

/* Stops listening, answers 503 to handshakes, closes every connection; ends what is left after the close timeout. Twice is once. */
void lw_server_close(lw_server *server, unsigned code, const void *reason, size_t n);

/* --- topics --- */

/* 0 or LW_ERR_MEMORY; twice is once. A connection without server is LW_ERR_CLOSED. */
int lw_server_subscribe(lw_conn *c, const void *topic, size_t n);
void lw_server_unsubscribe(lw_conn *c, const void *topic, size_t n);
int lw_server_subscribed(lw_conn *c, const void *topic, size_t n);
typedef struct lw_server_message {
  lw_opcode opcode;
  const void *bytes;
  size_t n;
  int compress; /* for those with whom that was agreed on, if it is worth it */
} lw_server_message;

/*
** Queues a message, framed once, for every open connection that has subscribed, but for
** `except` (or NULL). Returns for how many, or LW_ERR_MEMORY.
*/
long lw_server_publish(lw_server *server, const lw_conn *except, const void *topic, size_t topic_n,
                       const lw_server_message *message);
/* The same for every open connection. */
long lw_server_broadcast(lw_server *server, const lw_server_message *message);

#pragma GCC visibility pop
#endif
