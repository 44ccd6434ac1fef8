/*
** deflate.c -- permessage-deflate (RFC 7692): agreed in the handshake, then messages are
** compressed and decompressed.
*/
#include "deflate.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#include "pen.h"
#include "text.h"

/* Idle contexts a shelf keeps: a quarter of a megabyte each (one per window, mostly one in all), ... */
#define DEFLATING_KEPT 4
/* ... and 40 KiB each: as many as are likely to be in the middle of a message at once. */
#define INFLATING_KEPT 16
/* What a shelf keeps for compressed messages, and where its growth begins. */
#define ROOM_KEPT ((size_t)64 * 1024)
#define ROOM_FIRST ((size_t)4 * 1024)
/* A flush takes six bytes, and is repeated where it ends with the room: that is as good. */
#define FLUSH_ROOM ((size_t)16)
/* What one call of zlib is given and asked for; its counts are unsigned ints, ours a long. */
#define CALL_MAX ((size_t)1 << 30)

/* ------------------------------------------------------- the agreement */

static const char extension[] = "permessage-deflate";

enum { SERVER_FRESH, CLIENT_FRESH, SERVER_BITS, CLIENT_BITS, PARAMETERS };

static const char *const names[PARAMETERS] = {
    [SERVER_FRESH] = "server_no_context_takeover",
    [CLIENT_FRESH] = "client_no_context_takeover",
    [SERVER_BITS] = "server_max_window_bits",
    [CLIENT_BITS] = "client_max_window_bits",
};

/* One extension of a list, as far as it is ours. */
typedef struct element {
  int ours;  /* it is permessage-deflate */
  int wrong; /* a parameter that is unknown, repeated, or has a value it must not have */
  unsigned char seen[PARAMETERS];
  unsigned char bits[PARAMETERS]; /* where a number was given */
} element;

void lw_deflate_defaults(lw_deflate_options *options) {
  lw_deflate_way all = {LW_DEFLATE_BITS_MAX, 0};
  memset(options, 0, sizeof *options);
  options->level = Z_DEFAULT_COMPRESSION;
  options->mem_level = 8;
  options->threshold = LW_DEFLATE_THRESHOLD;
  options->count = 1;
  options->wishes[0] = (lw_deflate_wish){all, all};
}

/* --- writing --- */

static void put_name(lw_pen *pen, int parameter) {
  lw_pen_put(pen, "; ");
  lw_pen_put(pen, names[parameter]);
}

static void put_bits(lw_pen *pen, int parameter, unsigned bits) {
  char text[3] = {(char)('0' + bits / 10), (char)('0' + bits % 10), '\0'};
  put_name(pen, parameter);
  lw_pen_put(pen, "=");
  lw_pen_put(pen, bits < 10 ? text + 1 : text);
}

/* The extension with all it takes to say this; the server's bits also when they are the most. */
static void put_ways(lw_pen *pen, lw_deflate_way client, lw_deflate_way server, int say_bits) {
  lw_pen_put(pen, extension);
  if (server.fresh) put_name(pen, SERVER_FRESH);
  if (client.fresh) put_name(pen, CLIENT_FRESH);
  if (server.bits < LW_DEFLATE_BITS_MAX || say_bits) put_bits(pen, SERVER_BITS, server.bits);
  if (client.bits < LW_DEFLATE_BITS_MAX) put_bits(pen, CLIENT_BITS, client.bits);
}

static void end_text(lw_pen *pen) {
  lw_pen_bytes(pen, "", 1);
}

void lw_deflate_offer(char text[LW_DEFLATE_OFFER], const lw_deflate_options *options) {
  lw_pen pen = {text, 0};
  for (unsigned i = 0; i < options->count; i++) {
    const lw_deflate_wish *wish = &options->wishes[i];
    if (i > 0) lw_pen_put(&pen, ", ");
    put_ways(&pen, wish->client, wish->server, 0);
    /* named even so: only then may the server ask for less (7.1.2.2) */
    if (wish->client.bits == LW_DEFLATE_BITS_MAX) put_name(&pen, CLIENT_BITS);
  }
  end_text(&pen);
}

void lw_deflate_name(char text[LW_DEFLATE_TEXT], const lw_deflate_params *params) {
  lw_pen pen = {text, 0};
  if (params->agreed) put_ways(&pen, params->client, params->server, 0);
  end_text(&pen);
}

/* --- reading --- */

static void skip_spaces(lw_text *rest) {
  while (rest->n > 0 && (rest->at[0] == ' ' || rest->at[0] == '\t'))
    *rest = lw_text_behind(*rest, 1);
}

/* Passes over this character, and the spaces around it. 1 if it was there. */
static int skip_char(lw_text *rest, char c) {
  skip_spaces(rest);
  if (rest->n == 0 || rest->at[0] != c) return 0;
  *rest = lw_text_behind(*rest, 1);
  skip_spaces(rest);
  return 1;
}

static lw_text cut(lw_text *rest, const char *before) {
  size_t n = lw_text_find(*rest, before);
  lw_text head = lw_text_head(*rest, n);
  *rest = lw_text_behind(*rest, n);
  return head;
}

static int same(lw_text text, const char *other) {
  return text.n == strlen(other) && memcmp(text.at, other, text.n) == 0;
}

/* A value, quoted or not: with no backslashes in it, as far as it fits. Returns its length in full. */
static size_t cut_value(lw_text *rest, char *value, size_t room) {
  size_t n = 0;
  int quoted = rest->n > 0 && rest->at[0] == '"';
  if (quoted) *rest = lw_text_behind(*rest, 1);
  while (rest->n > 0 && !(quoted ? rest->at[0] == '"' : strchr(" \t,;", rest->at[0]) != NULL)) {
    if (quoted && rest->at[0] == '\\' && rest->n > 1) *rest = lw_text_behind(*rest, 1);
    if (n < room) value[n] = rest->at[0];
    n++;
    *rest = lw_text_behind(*rest, 1);
  }
  if (quoted && rest->n > 0) *rest = lw_text_behind(*rest, 1);
  return n;
}

/* "a decimal integer value without leading zeroes between 8 to 15" (7.1.2.1). 0 if it is none. */
static unsigned char read_bits(lw_text *rest) {
  char value[3];
  unsigned bits;
  size_t n = cut_value(rest, value, sizeof value);
  if (n > sizeof value || lw_text_number((lw_text){value, n}, LW_DEFLATE_BITS_MAX, &bits) < 0)
    return 0;
  return bits >= LW_DEFLATE_BITS_MIN && value[0] != '0' ? (unsigned char)bits : 0;
}

static void read_parameter(lw_text *rest, element *e) {
  lw_text name = cut(rest, " \t,;=\"");
  int i = 0, valued;
  unsigned char bits = 0;
  while (i < PARAMETERS && !same(name, names[i]))
    i++;
  valued = skip_char(rest, '=');
  if (valued) bits = read_bits(rest);
  if (i == PARAMETERS || e->seen[i] || (valued && bits == 0)) {
    e->wrong = 1;
    return;
  }
  e->seen[i] = 1;
  e->bits[i] = bits;
  if (i == SERVER_BITS ? !valued : i != CLIENT_BITS && valued) e->wrong = 1;
}

/* The next extension of a list: 1, or 0 at its end. */
static int next_element(lw_text *rest, element *e) {
  memset(e, 0, sizeof *e);
  while (skip_char(rest, ','))
    ;
  if (rest->n == 0) return 0;
  e->ours = same(cut(rest, " \t,;"), extension);
  while (skip_char(rest, ';'))
    read_parameter(rest, e);
  if (rest->n > 0 && rest->at[0] != ',') { /* not after the handshake's check */
    e->wrong = 1;
    (void)cut(rest, ",");
  }
  return 1;
}

static lw_text whole(lw_slice slice) {
  return (lw_text){(const char *)slice.bytes, slice.n};
}

static unsigned char least(unsigned a, unsigned b) {
  return (unsigned char)(a < b ? a : b);
}

/* What a side may use at most: what was said, or all. */
static unsigned said_bits(const element *e, int parameter) {
  return e->bits[parameter] ? e->bits[parameter] : LW_DEFLATE_BITS_MAX;
}

/* --- choosing --- */

/* The server's side of one offer and one wish: 1 if they go together. */
static int suit(lw_deflate_params *params, const element *e, const lw_deflate_wish *wish) {
  params->server.bits = least(said_bits(e, SERVER_BITS), wish->server.bits);
  params->client.bits = least(said_bits(e, CLIENT_BITS), wish->client.bits);
  params->server.fresh = e->seen[SERVER_FRESH] || wish->server.fresh;
  params->client.fresh = e->seen[CLIENT_FRESH] || wish->client.fresh;
  if (params->server.bits < LW_DEFLATE_BITS_OURS) return 0;
  /* the answer "MUST NOT include" what the offer did not name (7.1.2.2) */
  return e->seen[CLIENT_BITS] || wish->client.bits == LW_DEFLATE_BITS_MAX;
}

static int find_wish(lw_deflate_params *params, const element *e,
                     const lw_deflate_options *options) {
  if (!e->ours || e->wrong) return 0;
  for (unsigned i = 0; i < options->count; i++)
    if (suit(params, e, &options->wishes[i])) return 1;
  return 0;
}

int lw_deflate_answer(char text[LW_DEFLATE_TEXT], lw_deflate_params *params, lw_slice line,
                      const lw_deflate_options *options) {
  lw_text rest = whole(line);
  lw_pen pen = {text, 0};
  element e;
  memset(params, 0, sizeof *params);
  text[0] = '\0';
  do {
    if (!next_element(&rest, &e)) return 0;
  } while (!find_wish(params, &e, options));
  params->agreed = 1;
  params->ours = params->server;
  params->theirs = params->client;
  /* "A server accepts ... by including" it (7.1.2.1) */
  put_ways(&pen, params->client, params->server, e.seen[SERVER_BITS]);
  end_text(&pen);
  return 1;
}

/* The client's side of the answer and one wish: 1 if this answers that. */
static int answers(lw_deflate_params *params, const element *e, const lw_deflate_wish *wish) {
  if (wish->server.fresh && !e->seen[SERVER_FRESH]) return 0;
  if (said_bits(e, SERVER_BITS) > wish->server.bits) return 0;
  params->server = (lw_deflate_way){(unsigned char)said_bits(e, SERVER_BITS), e->seen[SERVER_FRESH]};
  params->client = (lw_deflate_way){(unsigned char)said_bits(e, CLIENT_BITS), e->seen[CLIENT_FRESH]};
  params->theirs = params->server;
  /* We keep to our own hints, though the server leaves them out or names more (7.1.1.2, 7.1.2.2). */
  params->ours.bits = least(params->client.bits, wish->client.bits);
  params->ours.fresh = params->client.fresh || wish->client.fresh;
  return 1;
}

int lw_deflate_accept(lw_deflate_params *params, lw_slice value,
                      const lw_deflate_options *options) {
  lw_text rest = whole(value);
  element e, more;
  memset(params, 0, sizeof *params);
  if (!next_element(&rest, &e)) return 0;
  if (!options || !e.ours) return LW_ERR_EXTENSION;
  if (next_element(&rest, &more)) return more.ours ? LW_ERR_EXTENSION_ANSWER : LW_ERR_EXTENSION;
  if (e.wrong || (e.seen[CLIENT_BITS] && e.bits[CLIENT_BITS] == 0)) return LW_ERR_EXTENSION_ANSWER;
  for (unsigned i = 0; i < options->count && !params->agreed; i++)
    params->agreed = answers(params, &e, &options->wishes[i]);
  return params->agreed ? 0 : LW_ERR_EXTENSION_ANSWER;
}

/* ----------------------------------------------------------- the shelf */

struct lw_deflate_context {
  lw_deflate_context *next; /* on the shelf */
  z_stream z;
  int bits, level, mem_level; /* what it was made for; level and mem_level when it deflates */
};

/* In front of what zlib asks for: how much that is. */
typedef union counted {
  size_t n;
  max_align_t align;
} counted;

static void *zlib_alloc(void *shelf, unsigned items, unsigned size) {
  size_t n = (size_t)items * size;
  counted *block = malloc(sizeof *block + n);
  if (!block) return NULL;
  block->n = n;
  ((lw_deflate_shelf *)shelf)->held += n;
  return block + 1;
}

static void zlib_free(void *shelf, void *bytes) {
  counted *block = (counted *)bytes - 1;
  ((lw_deflate_shelf *)shelf)->held -= block->n;
  free(block);
}

static lw_deflate_context *new_context(lw_deflate_shelf *shelf, int bits) {
  lw_deflate_context *context = calloc(1, sizeof *context);
  if (!context) return NULL;
  context->z.zalloc = zlib_alloc;
  context->z.zfree = zlib_free;
  context->z.opaque = shelf;
  context->bits = bits;
  return context;
}

static void free_deflating(lw_deflate_context *context) {
  deflateEnd(&context->z);
  free(context);
}

static void free_inflating(lw_deflate_context *context) {
  inflateEnd(&context->z);
  free(context);
}

/* Puts it in front; when that makes too many, the one that waited longest is taken off and returned. */
static lw_deflate_context *keep(lw_deflate_context **list, unsigned *count, unsigned most,
                                lw_deflate_context *context) {
  context->next = *list;
  *list = context;
  if (++*count <= most) return NULL;
  while (context->next->next)
    context = context->next;
  lw_deflate_context *oldest = context->next;
  context->next = NULL;
  --*count;
  return oldest;
}

static void return_deflating(lw_deflate_shelf *shelf, lw_deflate_context *context) {
  context = keep(&shelf->deflating, &shelf->deflating_kept, DEFLATING_KEPT, context);
  if (context) free_deflating(context);
}

static void return_inflating(lw_deflate_shelf *shelf, lw_deflate_context *context) {
  context = keep(&shelf->inflating, &shelf->inflating_kept, INFLATING_KEPT, context);
  if (context) free_inflating(context);
}

/* One that knows of no message; NULL: no memory. */
static lw_deflate_context *borrow_deflating(lw_deflate_shelf *shelf, int bits,
                                            const lw_deflate_options *options) {
  lw_deflate_context **at = &shelf->deflating, *context;
  while ((context = *at) && !(context->bits == bits && context->level == options->level &&
                              context->mem_level == options->mem_level))
    at = &context->next;
  if (context) {
    *at = context->next;
    shelf->deflating_kept--;
    deflateReset(&context->z);
    return context;
  }
  if (!(context = new_context(shelf, bits))) return NULL;
  context->level = options->level;
  context->mem_level = options->mem_level;
  if (deflateInit2(&context->z, options->level, Z_DEFLATED, -bits, options->mem_level,
                   Z_DEFAULT_STRATEGY) == Z_OK)
    return context;
  free(context);
  return NULL;
}

static lw_deflate_context *borrow_inflating(lw_deflate_shelf *shelf, int bits) {
  lw_deflate_context *context = shelf->inflating;
  if (context) {
    shelf->inflating = context->next;
    shelf->inflating_kept--;
    inflateReset2(&context->z, -bits);
    return context;
  }
  if (!(context = new_context(shelf, bits))) return NULL;
  if (inflateInit2(&context->z, -bits) == Z_OK) return context;
  free(context);
  return NULL;
}

static void drop_room(lw_deflate_shelf *shelf) {
  free(shelf->room);
  shelf->room = NULL;
  shelf->room_size = 0;
}

void lw_deflate_shelf_clear(lw_deflate_shelf *shelf) {
  lw_deflate_context *context;
  while ((context = shelf->deflating)) {
    shelf->deflating = context->next;
    free_deflating(context);
  }
  while ((context = shelf->inflating)) {
    shelf->inflating = context->next;
    free_inflating(context);
  }
  shelf->deflating_kept = shelf->inflating_kept = 0;
  drop_room(shelf);
  free(shelf->space);
  shelf->space = NULL;
}

unsigned char *lw_deflate_shelf_space(lw_deflate_shelf *shelf) {
  if (!shelf->space) shelf->space = malloc(LW_DEFLATE_SPACE);
  return shelf->space;
}

/* ----------------------------------------------------------------- out */

void lw_deflater_init(lw_deflater *d, lw_deflate_shelf *shelf, const lw_deflate_options *options,
                      lw_deflate_way way) {
  *d = (lw_deflater){shelf, options, NULL, way};
}

void lw_deflater_forget(lw_deflater *d) {
  if (d->context) return_deflating(d->shelf, d->context);
  d->context = NULL;
}

void lw_deflater_clear(lw_deflater *d) {
  lw_deflater_forget(d);
}

int lw_deflater_wants(const lw_deflater *d, size_t n) {
  return n >= d->options->threshold && d->way.bits >= LW_DEFLATE_BITS_OURS;
}

void lw_deflater_done(lw_deflater *d) {
  if (d->shelf->room_size > ROOM_KEPT) drop_room(d->shelf);
}

/* Makes the room larger: twice, up to what zlib says is enough for n bytes. 0 or LW_ERR_MEMORY. */
static int grow_room(lw_deflate_shelf *shelf, z_stream *z, size_t n) {
  size_t size = shelf->room_size ? shelf->room_size * 2 : ROOM_FIRST;
  /* it answers for the end of a stream instead */
  size_t enough = n < ULONG_MAX / 2 ? deflateBound(z, (unsigned long)n) + FLUSH_ROOM : size;
  if (size > enough && enough > shelf->room_size) size = enough;
  unsigned char *room = realloc(shelf->room, size);
  if (!room) return LW_ERR_MEMORY;
  shelf->room = room;
  shelf->room_size = size;
  return 0;
}

/* All of it and a flush, into the room. 0 or LW_ERR_MEMORY. */
static int compress_all(lw_deflate_shelf *shelf, z_stream *z, const unsigned char *bytes, size_t n,
                        size_t *used) {
  size_t left = n;
  *used = 0;
  do {
    if (shelf->room_size == *used && grow_room(shelf, z, n) < 0) return LW_ERR_MEMORY;
    size_t give = left < CALL_MAX ? left : CALL_MAX;
    size_t room = shelf->room_size - *used < CALL_MAX ? shelf->room_size - *used : CALL_MAX;
    z->next_in = bytes + (n - left);
    z->avail_in = (unsigned)give;
    z->next_out = shelf->room + *used;
    z->avail_out = (unsigned)room;
    (void)deflate(z, give == left ? Z_SYNC_FLUSH : Z_NO_FLUSH); /* cannot fail */
    left -= give - z->avail_in;
    *used += room - z->avail_out;
  } while (left > 0 || z->avail_out == 0);
  return 0;
}

int lw_deflater_message(lw_deflater *d, const void *bytes, size_t n, lw_slice *out) {
  size_t used;
  int err;
  if (n == 0) { /* the header of an empty stored block (7.2.3.6), which leaves the context as it is */
    *out = (lw_slice){(const unsigned char *)"", 1};
    return 0;
  }
  if (!d->context && !(d->context = borrow_deflating(d->shelf, d->way.bits, d->options)))
    return LW_ERR_MEMORY;
  err = compress_all(d->shelf, &d->context->z, bytes, n, &used);
  /* half a message has no place in a history */
  if (err < 0 || d->way.fresh) lw_deflater_forget(d);
  if (err < 0) return err;
  *out = (lw_slice){d->shelf->room, used - 4}; /* without 00 00 ff ff (7.2.1) */
  return 0;
}

/* ------------------------------------------------------------------ in */

void lw_inflater_init(lw_inflater *i, lw_deflate_shelf *shelf, lw_deflate_way way, uint64_t limit) {
  memset(i, 0, sizeof *i);
  i->shelf = shelf;
  i->way = way;
  i->limit = limit;
}

static void give_back(lw_inflater *i) {
  if (i->context) return_inflating(i->shelf, i->context);
  i->context = NULL;
}

void lw_inflater_clear(lw_inflater *i) {
  give_back(i);
}

void lw_inflater_feed(lw_inflater *i, const void *bytes, size_t n, int last) {
  i->in = bytes;
  i->left = n;
  i->last = (unsigned char)(last != 0);
}

/* The window, of which 2^8 bytes cost no less than 2^9: some compressors that were told 8 use 9. */
static int window_bits(const lw_inflater *i) {
  return i->way.bits < LW_DEFLATE_BITS_OURS ? LW_DEFLATE_BITS_OURS : i->way.bits;
}

/*
** How much one call may write. zlib finds what it wrote in the same call however far back
** it is, so a reference past a small window goes unnoticed for no longer than that window.
*/
static size_t call_room(const lw_inflater *i, size_t room) {
  size_t most = window_bits(i) < LW_DEFLATE_BITS_MAX ? (size_t)1 << window_bits(i) : CALL_MAX;
  if (room > i->limit - i->made) room = (size_t)(i->limit - i->made);
  return room < most ? room : most;
}

static int data_error(const lw_inflater *i) {
  return i->final ? LW_ERR_DEFLATE_TRAILING : LW_ERR_DEFLATE_DATA;
}

/* A final block (7.2.3.4): what follows is deflate data again, with the same history. */
static void begin_again(lw_inflater *i) {
  inflateResetKeep(&i->context->z);
  i->final = i->at_end = 1;
}

/* One call of zlib: n bytes from `in`, room for `room` at `to`. Its code, and in *made what it wrote. */
static int call(lw_inflater *i, const unsigned char *in, size_t n, unsigned char *to, size_t room,
                size_t *made) {
  z_stream *z = &i->context->z;
  z->next_in = in;
  z->avail_in = (unsigned)n;
  z->next_out = to;
  z->avail_out = (unsigned)room;
  int code = inflate(z, Z_SYNC_FLUSH);
  *made = room - z->avail_out;
  return code;
}

/* Some of the payload: the bytes written, 0 to go on, or a negative lw_err. */
static long pour(lw_inflater *i, unsigned char *to, size_t room) {
  unsigned char beyond[1]; /* what the limit does not let out */
  size_t give = i->left < CALL_MAX ? i->left : CALL_MAX, made;
  int over = i->made == i->limit;
  if (!i->context && !(i->context = borrow_inflating(i->shelf, window_bits(i))))
    return LW_ERR_MEMORY;
  if (give > 0) i->used = 1;
  room = over ? sizeof beyond : call_room(i, room);
  int code = call(i, i->in, give, over ? beyond : to, room, &made);
  size_t taken = give - i->context->z.avail_in;
  i->in += taken;
  i->left -= taken;
  i->full = made == room;
  if (taken > 0) i->at_end = 0;
  if (over && made > 0) return LW_ERR_PAYLOAD;
  i->made += made;
  if (code == Z_STREAM_END) {
    begin_again(i);
    i->full = 0;
  } else if (code != Z_OK && code != Z_BUF_ERROR) {
    i->error = code == Z_MEM_ERROR ? LW_ERR_MEMORY : data_error(i);
  }
  return made > 0 ? (long)made : i->error;
}

/*
** The payload is all here: 1 if it ends as it must, in the header of an empty stored block
** whose other four bytes were left out (7.2.2). With these four behind it, zlib has then written
** nothing more, and stands between two blocks with no bit left over (data_type is 128). Anything
** else has lost its end. What ends right behind a final block is whole, too; and so is nothing at all.
*/
static int ends_well(lw_inflater *i) {
  static const unsigned char tail[4] = {0x00, 0x00, 0xff, 0xff};
  unsigned char beyond[4]; /* the tail itself, where it is taken for the rest of a stored block */
  size_t made;
  if (!i->used || i->at_end) return 1;
  int code = call(i, tail, sizeof tail, beyond, sizeof beyond, &made);
  if (made > 0 || i->context->z.avail_in > 0) return 0;
  if (code == Z_STREAM_END) { /* the stored block was final */
    begin_again(i);
    return 1;
  }
  return code == Z_OK && i->context->z.data_type == 128;
}

static int finish(lw_inflater *i) {
  if (!ends_well(i)) return i->final ? LW_ERR_DEFLATE_TRAILING : LW_ERR_DEFLATE_CUT;
  if (i->way.fresh) give_back(i);
  i->made = 0;
  i->last = i->used = i->full = i->final = i->at_end = 0;
  return 0;
}

long lw_inflater_next(lw_inflater *i, unsigned char *to, size_t room) {
  if (room == 0 && i->made < i->limit) return LW_ERR_SIZE; /* or it would turn for ever */
  while (i->error == 0 && (i->left > 0 || i->full)) {
    long n = pour(i, to, room);
    if (n > 0) return n;
    if (n < 0) i->error = (int)n;
  }
  if (i->error == 0 && i->last) i->error = finish(i);
  return i->error;
}
