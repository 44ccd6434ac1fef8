/*
** utf8.h -- is this UTF-8 (RFC 3629)? A validator that can stop anywhere and go on.
*/
#ifndef LW_UTF8_H
#define LW_UTF8_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define LW_UTF8_ACCEPT 0u /* between two characters: where a text begins and may end */
#define LW_UTF8_REJECT 1u /* never again UTF-8 */

/*
** The state after n more bytes, from `state` (LW_UTF8_ACCEPT at the start of a text).
** Rejects at the first byte that cannot go on: overlong forms, surrogates and what lies
** above U+10FFFF are refused at their second byte.
*/
uint32_t lw_utf8_feed(uint32_t state, const unsigned char *bytes, size_t n);

/*
** The length of the longest beginning that is valid; *bad is that of what stands behind it and is
** one mistake to a decoder (WHATWG Encoding, "UTF-8 decoder"); 0: nothing does.
*/
size_t lw_utf8_prefix(const unsigned char *bytes, size_t n, size_t *bad);

/* 1 if the n bytes are a whole valid text. */
int lw_utf8_valid(const unsigned char *bytes, size_t n);

#pragma GCC visibility pop
#endif
