/*
** cidr.c -- networks of addresses, and whether they hold one.
*/
#include "cidr.h"

#include <string.h>

#define MAPPED_BITS 96 /* of an IPv6 address, before the IPv4 address mapped into it */

/* 0 or LW_ERR_CIDR_PREFIX. One form for each number: "/08" is refused like "/+8". */
static int parse_bits(lw_cidr *cidr, lw_text text) {
  unsigned most = cidr->ip.size * 8U;
  if (text.n > 1 && text.at[0] == '0') return LW_ERR_CIDR_PREFIX;
  return lw_text_number(text, most, &cidr->bits) < 0 ? LW_ERR_CIDR_PREFIX : 0;
}

int lw_cidr_parse(lw_cidr *cidr, lw_text text) {
  size_t slash = lw_text_find(text, "/");
  *cidr = (lw_cidr){.bits = 0};
  if (!lw_ip_read(&cidr->ip, lw_text_head(text, slash))) return LW_ERR_CIDR_ADDRESS;
  cidr->bits = cidr->ip.size * 8U;
  if (slash < text.n) {
    int err = parse_bits(cidr, lw_text_behind(text, slash + 1));
    if (err < 0) return err;
  }
  lw_ip plain = lw_ip_unmapped(&cidr->ip);
  if (plain.size != cidr->ip.size && cidr->bits >= MAPPED_BITS) {
    cidr->ip = plain;
    cidr->bits -= MAPPED_BITS;
  }
  return 0;
}

int lw_cidr_holds(const lw_cidr *cidr, const lw_ip *ip) {
  lw_ip plain = lw_ip_unmapped(ip);
  size_t whole = cidr->bits / 8, rest = cidr->bits % 8;
  if (plain.size != cidr->ip.size || memcmp(plain.bytes, cidr->ip.bytes, whole) != 0) return 0;
  return rest == 0 || (plain.bytes[whole] ^ cidr->ip.bytes[whole]) >> (8 - rest) == 0;
}
