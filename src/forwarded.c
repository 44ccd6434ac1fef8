/*
** forwarded.c -- who a request comes from when proxies stand between.
*/
#include "forwarded.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

static lw_text text_of(const char *text) {
  return (lw_text){text, strlen(text)};
}

int lw_trusted_add(lw_trusted *trusted, const char *item) {
  lw_cidr network, *grown;
  int err;
  if (strcmp(item, "unix") == 0) {
    trusted->local = 1;
    return 0;
  }
  if ((err = lw_cidr_parse(&network, text_of(item))) < 0) return err;
  if (!(grown = realloc(trusted->networks, (trusted->count + 1) * sizeof *grown))) return LW_ERR_MEMORY;
  trusted->networks = grown;
  trusted->networks[trusted->count++] = network;
  return 0;
}

void lw_trusted_clear(lw_trusted *trusted) {
  free(trusted->networks);
  *trusted = (lw_trusted){0};
}

static int is_trusted(const lw_trusted *trusted, const lw_ip *ip) {
  for (size_t i = 0; i < trusted->count; i++)
    if (lw_cidr_holds(&trusted->networks[i], ip)) return 1;
  return 0;
}

static int peer_is_trusted(const lw_trusted *trusted, const char *peer) {
  lw_ip ip;
  if (!*peer) return trusted->local;
  return lw_ip_read(&ip, text_of(peer)) && is_trusted(trusted, &ip);
}

/* A hop as it is written in practice: an address, with a port ("192.0.2.1:80", "[::1]:80") or brackets or without. 0: none. */
static int read_hop(lw_slice slice, lw_ip *ip, unsigned *port) {
  lw_text text = {(const char *)slice.bytes, slice.n}, rest;
  size_t end;
  *port = 0;
  if (lw_ip_read(ip, text)) return 1;
  if (text.n > 0 && text.at[0] == '[') {
    text = lw_text_behind(text, 1);
    end = lw_text_find(text, "]");
    if (end == text.n || !lw_ip_read6(ip, lw_text_head(text, end))) return 0;
    rest = lw_text_behind(text, end + 1);
  } else {
    end = lw_text_find(text, ":");
    if (!lw_ip_read4(ip, lw_text_head(text, end))) return 0;
    rest = lw_text_behind(text, end);
  }
  if (rest.n == 0) return 1;
  return rest.at[0] == ':' && lw_text_number(lw_text_behind(rest, 1), 65535, port) == 0;
}

/*
** From left to right, which comes to the same as from the right and remembers nothing: junk
** takes back all before it, a client replaces whoever was before him, and a proxy counts only
** while nobody else does.
*/
static int find_client(const lw_trusted *trusted, const lw_http_head *head, lw_ip *client, unsigned *client_port) {
  const lw_http_field *field;
  lw_slice element;
  lw_ip ip = {0};
  unsigned port;
  int found = 0;
  for (size_t nth = 0; (field = lw_http_field_at(head, "X-Forwarded-For", nth)); nth++) {
    lw_slice rest = field->value;
    while (lw_http_list_next(&rest, &element)) {
      int good = read_hop(element, &ip, &port);
      if (good && found && is_trusted(trusted, &ip)) continue;
      *client = ip;
      *client_port = port;
      found = good;
    }
  }
  return found;
}

int lw_forwarded_client(const lw_trusted *trusted, const lw_http_head *head, const char *peer, lw_forwarded *client) {
  lw_ip ip;
  if (!peer_is_trusted(trusted, peer) || !find_client(trusted, head, &ip, &client->port)) return 0;
  ip = lw_ip_unmapped(&ip);
  client->address[lw_ip_write(client->address, &ip)] = '\0';
  return 1;
}
