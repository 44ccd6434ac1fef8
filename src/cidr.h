/*
** cidr.h -- networks of addresses ("10.0.0.0/8"), and whether they hold one (RFC 4632, 3.1).
*/
#ifndef LW_CIDR_H
#define LW_CIDR_H

#include "err.h"
#include "ip.h"

#pragma GCC visibility push(hidden)

typedef struct lw_cidr {
  lw_ip ip;      /* as written: what is behind the prefix is not looked at */
  unsigned bits; /* length of the prefix: up to 32 or 128 */
} lw_cidr;

/*
** "10.0.0.0/8", "2001:db8::/32"; an address alone is a network of itself. IPv4 in IPv6's
** clothes is IPv4: "::ffff:10.0.0.0/104" is "10.0.0.0/8". No brackets, no zone.
** 0, LW_ERR_CIDR_ADDRESS, LW_ERR_CIDR_PREFIX.
*/
int lw_cidr_parse(lw_cidr *cidr, lw_text text);
/*
** 1 if it holds that address, a mapped one being taken for the IPv4 address it is. A network
** of one family holds nothing of the other: "::/0" is all of IPv6, and no more.
*/
int lw_cidr_holds(const lw_cidr *cidr, const lw_ip *ip);

#pragma GCC visibility pop
#endif
