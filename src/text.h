/*
** text.h -- a piece of somebody's text: cut, searched, compared, percent-decoded.
*/
#ifndef LW_TEXT_H
#define LW_TEXT_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* Not NUL-terminated; lives as long as the text it was cut from. `at` may be NULL when n is 0. */
typedef struct lw_text {
  const char *at;
  size_t n;
} lw_text;

int lw_text_is_digit(char c);
char lw_text_lower(char c); /* ASCII only */
/* The value of a hexadecimal digit, or -1. */
int lw_text_hex(char c);

/* The first n characters, and what is behind them; n is at most the text's length. */
lw_text lw_text_head(lw_text text, size_t n);
lw_text lw_text_behind(lw_text text, size_t n);
/* Where the first of these characters stands, or text.n. */
size_t lw_text_find(lw_text text, const char *any);
/* Equal to a NUL-terminated text in lower case, whatever the case of ours. */
int lw_text_is(lw_text text, const char *lower);

/* The byte at *i < n, percent-decoded; a percent sign with no two digits behind it is itself. Moves *i on. */
unsigned char lw_text_decoded(lw_text text, size_t *i);
/* All of it into `to`, which has room for text.n + 1; with a NUL behind. Returns its length. */
size_t lw_text_decode(char *to, lw_text text);

/* A decimal number of digits only, at most `most` (itself at most 99999999). 0, or -1 if it is none. */
int lw_text_number(lw_text text, unsigned most, unsigned *number);

#pragma GCC visibility pop
#endif
