/*
** ip.c -- IPv4 and IPv6 addresses, from and to text.
*/
#include "ip.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* --- reading --- */

/* Four decimal parts into bytes. 0 if they are none. */
static int read_parts(lw_text text, unsigned char bytes[4]) {
  for (int k = 0; k < 4; k++) {
    lw_text part = lw_text_head(text, lw_text_find(text, "."));
    unsigned value;
    if ((k < 3) != (part.n < text.n) || lw_text_number(part, 255, &value) < 0) return 0;
    if (part.at[0] == '0' && part.n > 1) return 0; /* octal to some, decimal to others */
    bytes[k] = (unsigned char)value;
    if (k < 3) text = lw_text_behind(text, part.n + 1);
  }
  return 1;
}

int lw_ip_read4(lw_ip *ip, lw_text text) {
  *ip = (lw_ip){.size = 4};
  return read_parts(text, ip->bytes);
}

/* One to four hexadecimal digits; how many were read, 0 if there are none or too many. */
static size_t read_group(lw_text text, uint16_t *group) {
  unsigned value = 0;
  size_t n = 0;
  for (; n < text.n && lw_text_hex(text.at[n]) >= 0; n++) {
    if (n == 4) return 0;
    value = value << 4 | (unsigned)lw_text_hex(text.at[n]);
  }
  *group = (uint16_t)value;
  return n;
}

/* The IPv4 address that may stand for the last two groups. 0 if it is none. */
static int read_tail(lw_text text, uint16_t groups[2]) {
  unsigned char bytes[4];
  if (!read_parts(text, bytes)) return 0;
  groups[0] = (uint16_t)(bytes[0] << 8 | bytes[1]);
  groups[1] = (uint16_t)(bytes[2] << 8 | bytes[3]);
  return 1;
}

/* Groups between single colons, up to `most`, the last pair of them maybe dotted. How many, or -1. */
static int read_groups(lw_text text, uint16_t *groups, int most) {
  int count = 0;
  while (text.n > 0) {
    if (count <= most - 2 && lw_text_find(text, ":") == text.n && lw_text_find(text, ".") < text.n)
      return read_tail(text, groups + count) ? count + 2 : -1;
    size_t n = count < most ? read_group(text, &groups[count]) : 0;
    if (n == 0) return -1;
    count++;
    text = lw_text_behind(text, n);
    if (text.n == 0) break;
    if (text.at[0] != ':' || text.n == 1) return -1;
    text = lw_text_behind(text, 1);
  }
  return count;
}

/* Where "::" stands, or text.n. */
static size_t find_gap(lw_text text) {
  for (size_t i = 0; i + 1 < text.n; i++)
    if (text.at[i] == ':' && text.at[i + 1] == ':') return i;
  return text.n;
}

static int read_all_groups(lw_text text, uint16_t groups[8]) {
  size_t gap = find_gap(text);
  lw_text left = lw_text_head(text, gap);
  int before = read_groups(left, groups, 8);
  if (gap == text.n) return before == 8;
  uint16_t rest[8];
  if (before < 0 || before > 7 || lw_text_find(left, ".") < left.n) return 0;
  int after = read_groups(lw_text_behind(text, gap + 2), rest, 7 - before);
  if (after < 0) return 0;
  memset(groups + before, 0, (size_t)(8 - before - after) * sizeof *groups);
  memcpy(groups + 8 - after, rest, (size_t)after * sizeof *groups);
  return 1;
}

int lw_ip_read6(lw_ip *ip, lw_text text) {
  uint16_t groups[8];
  *ip = (lw_ip){.size = 16};
  if (!read_all_groups(text, groups)) return 0;
  for (int i = 0; i < 8; i++) {
    ip->bytes[2 * i] = (unsigned char)(groups[i] >> 8);
    ip->bytes[2 * i + 1] = (unsigned char)(groups[i] & 0xff);
  }
  return 1;
}

int lw_ip_read(lw_ip *ip, lw_text text) {
  return lw_ip_read4(ip, text) || lw_ip_read6(ip, text);
}

/* --- writing --- */

static unsigned group_at(const lw_ip *ip, int i) {
  return (unsigned)ip->bytes[2 * i] << 8 | ip->bytes[2 * i + 1];
}

/* The first of the longest runs of at least two zero groups: its length, and where it begins. */
static int longest_zeros(const lw_ip *ip, int *first) {
  int longest = 1;
  for (int i = 0; i < 8; i++) {
    int n = 0;
    while (i + n < 8 && group_at(ip, i + n) == 0)
      n++;
    if (n > longest) {
      longest = n;
      *first = i;
    }
  }
  return longest > 1 ? longest : 0;
}

static size_t write6(char *to, const lw_ip *ip) {
  int first = 8, zeros = longest_zeros(ip, &first);
  char *at = to;
  for (int i = 0; i < 8;) {
    if (i == first) {
      *at++ = ':';
      *at++ = ':';
      i += zeros;
      continue;
    }
    if (i > 0 && i != first + zeros) *at++ = ':';
    at += snprintf(at, 5, "%x", group_at(ip, i++));
  }
  return (size_t)(at - to);
}

size_t lw_ip_write(char to[LW_IP_TEXT_MAX], const lw_ip *ip) {
  char text[LW_IP_TEXT_MAX + 1]; /* snprintf ends what it writes with a NUL */
  const unsigned char *b = ip->bytes;
  size_t n;
  if (ip->size == 16)
    n = write6(text, ip);
  else
    n = (size_t)snprintf(text, sizeof text, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
  memcpy(to, text, n);
  return n;
}

/* --- what kind it is --- */

lw_ip lw_ip_unmapped(const lw_ip *ip) {
  static const unsigned char prefix[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291, 2.5.5.2 */
  lw_ip plain = {.size = 4};
  if (ip->size != 16 || memcmp(ip->bytes, prefix, sizeof prefix) != 0) return *ip;
  memcpy(plain.bytes, ip->bytes + 12, 4);
  return plain;
}

int lw_ip_is_loopback(const lw_ip *ip) {
  static const unsigned char one[16] = {[15] = 1};
  lw_ip plain = lw_ip_unmapped(ip);
  return plain.size == 4 ? plain.bytes[0] == 127 : memcmp(plain.bytes, one, sizeof one) == 0;
}
