/*
** text.c -- a piece of somebody's text: cut, searched, compared, percent-decoded.
*/
#include "text.h"

#include <string.h>

int lw_text_is_digit(char c) {
  return c >= '0' && c <= '9';
}

char lw_text_lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

int lw_text_hex(char c) {
  if (lw_text_is_digit(c)) return c - '0';
  c = lw_text_lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

lw_text lw_text_head(lw_text text, size_t n) {
  return (lw_text){text.at, n};
}

lw_text lw_text_behind(lw_text text, size_t n) {
  if (n == 0) return text; /* NULL + 0 is not C */
  return (lw_text){text.at + n, text.n - n};
}

/* strchr would find the NUL at the end of `any`. */
static int is_one_of(char c, const char *any) {
  return c != '\0' && strchr(any, c);
}

size_t lw_text_find(lw_text text, const char *any) {
  size_t i = 0;
  while (i < text.n && !is_one_of(text.at[i], any))
    i++;
  return i;
}

int lw_text_is(lw_text text, const char *lower) {
  if (text.n != strlen(lower)) return 0;
  for (size_t i = 0; i < text.n; i++)
    if (lw_text_lower(text.at[i]) != lower[i]) return 0;
  return 1;
}

unsigned char lw_text_decoded(lw_text text, size_t *i) {
  const char *at = text.at + *i;
  *i += 1;
  if (*at == '%' && text.n - *i >= 2) {
    int high = lw_text_hex(at[1]), low = lw_text_hex(at[2]);
    if (high >= 0 && low >= 0) {
      *i += 2;
      return (unsigned char)(high << 4 | low);
    }
  }
  return (unsigned char)*at;
}

size_t lw_text_decode(char *to, lw_text text) {
  size_t n = 0;
  for (size_t i = 0; i < text.n;)
    to[n++] = (char)lw_text_decoded(text, &i);
  to[n] = '\0';
  return n;
}

int lw_text_number(lw_text text, unsigned most, unsigned *number) {
  *number = 0;
  for (size_t i = 0; i < text.n; i++) {
    if (!lw_text_is_digit(text.at[i])) return -1;
    *number = *number * 10 + (unsigned)(text.at[i] - '0');
    if (*number > most) return -1;
  }
  return text.n > 0 ? 0 : -1;
}
