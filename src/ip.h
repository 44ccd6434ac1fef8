/*
** ip.h -- IPv4 and IPv6 addresses, from and to text.
*/
#ifndef LW_IP_H
#define LW_IP_H

#include <stddef.h>

#include "text.h"

#pragma GCC visibility push(hidden)

#define LW_IP_TEXT_MAX 39 /* "ffff:" seven times and "ffff" */

typedef struct lw_ip {
  unsigned char size;      /* 4 or 16 */
  unsigned char bytes[16]; /* the first `size` of them, in the network's order; the rest is zero */
} lw_ip;

/*
** Whole text, no brackets and no zone; 1, or 0 if it is no such address.
** IPv4: four decimal parts without leading zeros. IPv6: RFC 4291, 2.2, in all three forms.
*/
int lw_ip_read4(lw_ip *ip, lw_text text);
int lw_ip_read6(lw_ip *ip, lw_text text);
int lw_ip_read(lw_ip *ip, lw_text text); /* either */

/* In its one form (RFC 5952, 4; IPv6 without a dotted tail, as in browsers). Returns its length, no NUL. */
size_t lw_ip_write(char to[LW_IP_TEXT_MAX], const lw_ip *ip);

/* ::ffff:192.0.2.1, as a socket for both families shows an IPv4 peer, becomes 192.0.2.1; others stay. */
lw_ip lw_ip_unmapped(const lw_ip *ip);
/* 127.0.0.0/8 (mapped or not) and ::1. */
int lw_ip_is_loopback(const lw_ip *ip);

#pragma GCC visibility pop
#endif
