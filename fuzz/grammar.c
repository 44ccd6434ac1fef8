/*
** grammar.c -- the handshake's lists: extensions and subprotocols.
**
** What we answer to an offer of our own we take; whatever else is offered gets an answer that
** only says what the offer allows; a name says what was agreed on; and how a list is spread
** over lines makes no difference.
*/
#include <stdio.h>
#include <string.h>

#include "deflate.h"
#include "fuzz.h"
#include "handshake.h"

FUZZ_BEGIN

#define TEXT 1024 /* of the input that much is the list */

static lw_deflate_way read_way(lw_slice *input, unsigned least) {
  unsigned byte = fuzz_byte(input);
  return (lw_deflate_way){(unsigned char)(least + (byte & 15) % (16 - least)), byte >= 128};
}

/* What one side wants; its own bits at least LW_DEFLATE_BITS_OURS, as the header has it. */
static lw_deflate_options read_options(lw_slice *input, int server) {
  lw_deflate_options options;
  lw_deflate_defaults(&options);
  options.count = 1 + fuzz_byte(input) % LW_DEFLATE_WISHES_MAX;
  for (unsigned i = 0; i < options.count; i++) {
    options.wishes[i].client = read_way(input, server ? 8 : 9);
    options.wishes[i].server = read_way(input, server ? 9 : 8);
  }
  return options;
}

static lw_slice slice_of(const char *text) {
  return (lw_slice){(const unsigned char *)text, strlen(text)};
}

static int same_way(lw_deflate_way a, lw_deflate_way b) {
  return a.bits == b.bits && a.fresh == b.fresh;
}

/* What one side may send, the other reads. */
static int within(lw_deflate_way sender, lw_deflate_way reader) {
  return sender.bits <= reader.bits && sender.fresh >= reader.fresh;
}

static int finds(lw_slice text, const char *what) {
  size_t n = strlen(what);
  for (size_t i = 0; i + n <= text.n; i++)
    if (memcmp(text.bytes + i, what, n) == 0) return 1;
  return 0;
}

/* --- as HTTP has it --- */

/* A request with this field: what lw_handshake_judge says. */
static int judge(const char *field, lw_slice value, lw_http_head *head, lw_handshake_ask *ask, char *text, size_t room) {
  int n = snprintf(text, room,
                   "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s: ",
                   field);
  int err;
  memcpy(text + n, value.bytes, value.n);
  memcpy(text + (size_t)n + value.n, "\r\n\r\n", 4);
  err = lw_http_request(head, (const unsigned char *)text, (size_t)n + value.n + 4);
  return err < 0 ? err : lw_handshake_judge(head, ask);
}

/* --- extensions --- */

/* Its name, as an answer, is the same agreement again. */
static void check_name(const lw_deflate_params *params) {
  char name[LW_DEFLATE_TEXT];
  lw_deflate_params again;
  lw_deflate_options options;
  lw_deflate_defaults(&options);
  lw_deflate_name(name, params);
  EXPECT(lw_deflate_accept(&again, slice_of(name), &options) == 0 && again.agreed, "a name that is no answer");
  EXPECT(same_way(again.client, params->client) && same_way(again.server, params->server), "a name that says something else");
}

static void check_ours(const lw_deflate_options *client, const lw_deflate_options *server) {
  char offer[LW_DEFLATE_OFFER], answer[LW_DEFLATE_TEXT];
  lw_deflate_params there, here;
  lw_deflate_offer(offer, client);
  if (!lw_deflate_answer(answer, &there, slice_of(offer), server)) return;
  fuzz_trace(offer);
  fuzz_trace(answer);
  EXPECT(lw_deflate_accept(&here, slice_of(answer), client) == 0 && here.agreed, "an answer that our own client refuses");
  EXPECT(same_way(here.client, there.client) && same_way(here.server, there.server), "the two sides agreed on different things");
  EXPECT(within(here.ours, there.theirs) && within(there.ours, here.theirs), "a side that sends what the other cannot read");
  EXPECT(there.ours.bits >= LW_DEFLATE_BITS_OURS, "a window that zlib has not"); /* a client may be told 8: then it sends plain */
  check_name(&here);
  check_name(&there);
}

/* The answer to any offer: what RFC 7692, 7.1, forbids it to say. */
static void check_answer(lw_slice line, const lw_deflate_options *server) {
  char answer[LW_DEFLATE_TEXT];
  lw_deflate_params params, again;
  lw_deflate_options all;
  lw_slice said;
  if (!lw_deflate_answer(answer, &params, line, server)) {
    EXPECT(answer[0] == '\0' && !params.agreed, "no answer, and yet something");
    return;
  }
  fuzz_trace(answer);
  said = slice_of(answer);
  lw_deflate_defaults(&all);
  EXPECT(finds(line, "permessage-deflate"), "an answer to nobody");
  EXPECT(!finds(said, "client_max_window_bits") || finds(line, "client_max_window_bits"), "bits that were not offered (7.1.2.2)");
  if (!finds(line, ",")) { /* which of the offers it answers is clear */
    EXPECT(!finds(line, "server_max_window_bits") || finds(said, "server_max_window_bits"), "a condition not accepted (7.1.2.1)");
    EXPECT(!finds(line, "server_no_context") || finds(said, "server_no_context"), "a condition not accepted (7.1.1.1)");
  }
  EXPECT(params.ours.bits >= LW_DEFLATE_BITS_OURS && params.ours.bits <= 15, "a window that zlib has not");
  EXPECT(lw_deflate_accept(&again, said, &all) == 0, "an answer that breaks its grammar");
  EXPECT(same_way(again.client, params.client) && same_way(again.server, params.server), "an answer that says something else");
  check_name(&params);
}

static void check_extensions(lw_slice text, const lw_deflate_options *client, const lw_deflate_options *server) {
  char request[TEXT + 300];
  lw_http_field fields[10];
  lw_http_head head = {.fields = fields, .max_fields = 10};
  lw_handshake_ask ask;
  lw_deflate_params params;
  int err = judge("Sec-WebSocket-Extensions", text, &head, &ask, request, sizeof request);
  if (err < 0) return;
  lw_slice line = lw_http_field_at(&head, "Sec-WebSocket-Extensions", 0)->value;
  check_answer(line, server);
  err = lw_deflate_accept(&params, line, client);
  EXPECT(err == 0 || err == LW_ERR_EXTENSION || err == LW_ERR_EXTENSION_ANSWER, "another error than is said");
  EXPECT(err == 0 || !params.agreed, "refused, and yet agreed");
  if (!params.agreed) return;
  EXPECT(within(params.ours, params.client), "more than the answer allows");
  check_name(&params);
}

/* --- subprotocols --- */

/* The list, with every other comma made a new line. */
static size_t spread(char *to, lw_slice text) {
  static const char line[] = "\r\nSec-WebSocket-Protocol: ";
  size_t n = 0;
  int commas = 0;
  for (size_t i = 0; i < text.n; i++) {
    if (text.bytes[i] == ',' && commas++ % 2 == 0) {
      memcpy(to + n, line, sizeof line - 1);
      n += sizeof line - 1;
    } else {
      to[n++] = (char)text.bytes[i];
    }
  }
  return n;
}

static void check_protocols(lw_slice text) {
  static char request[TEXT + 300], other[TEXT * 30 + 300], lines[TEXT * 30];
  lw_http_field fields[10], more[TEXT];
  lw_http_head head = {.fields = fields, .max_fields = 10}, again = {.fields = more, .max_fields = TEXT};
  lw_handshake_ask ask, same;
  lw_slice protocol, twin;
  int err = judge("Sec-WebSocket-Protocol", text, &head, &ask, request, sizeof request);
  size_t n = spread(lines, text);
  if (err == LW_ERR_HTTP_FIELD || err == LW_ERR_HTTP_LINE || err == LW_ERR_HTTP_VALUE || memchr(text.bytes, '\r', text.n)) return;
  EXPECT(err == 0 || err == LW_ERR_PROTOCOL_LIST, "another error than is said");
  EXPECT(judge("Sec-WebSocket-Protocol", (lw_slice){(unsigned char *)lines, n}, &again, &same, other, sizeof other) == err,
         "judged otherwise over several lines");
  if (err < 0) return;
  EXPECT(ask.protocol_count == same.protocol_count, "counted otherwise over several lines");
  for (size_t i = 0; i < ask.protocol_count; i++) {
    EXPECT(lw_handshake_protocol(&head, i, &protocol) && lw_handshake_protocol(&again, i, &twin), "fewer than were counted");
    EXPECT(protocol.n == twin.n && memcmp(protocol.bytes, twin.bytes, twin.n) == 0, "other subprotocols over several lines");
    EXPECT(lw_http_is_token((const char *)protocol.bytes, protocol.n), "a subprotocol that is no token");
  }
  EXPECT(!lw_handshake_protocol(&head, ask.protocol_count, &protocol), "more than were counted");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  lw_slice input = {bytes, n};
  lw_deflate_options client = read_options(&input, 0), server = read_options(&input, 1);
  unsigned char *copy;
  check_ours(&client, &server);
  if (input.n > TEXT) input.n = TEXT;
  if (input.n == 0) return 0;
  copy = fuzz_copy(input.bytes, input.n);
  input.bytes = copy;
  check_extensions(input, &client, &server);
  check_protocols(input);
  fuzz_drop(copy);
  return 0;
}

FUZZ_END
