/*
** crypt.h -- all we ask of libcrypto: random bytes, SHA-1, base64.
*/
#ifndef LW_CRYPT_H
#define LW_CRYPT_H

#include <stddef.h>

#include "err.h"

#pragma GCC visibility push(hidden)

#define LW_SHA1_SIZE 20
#define LW_BASE64_SIZE(n) (((n) + 2) / 3 * 4) /* characters for n bytes, without a NUL */

/* n bytes from the system's random source. 0 or LW_ERR_RANDOM. */
int lw_random(void *bytes, size_t n);

/*
** Random bytes in stock, so that a masking key costs no system call. Zeroed is an empty
** stock. One a loop; bytes handed out are wiped from it.
*/
typedef struct lw_entropy {
  unsigned char bytes[512];
  size_t left; /* the last `left` bytes are unused */
} lw_entropy;

/* n <= 64 bytes from the stock, filled anew when short. 0 or LW_ERR_RANDOM. */
int lw_entropy_take(lw_entropy *entropy, void *bytes, size_t n);

/* 0, or LW_ERR_MEMORY when libcrypto cannot do it. */
int lw_sha1(unsigned char digest[LW_SHA1_SIZE], const void *bytes, size_t n);

/* Writes LW_BASE64_SIZE(n) characters, no NUL. Returns how many. */
size_t lw_base64_encode(char *text, const void *bytes, size_t n);
/*
** Strict: length a multiple of four, padding only at the end, unused bits zero. Writes at
** most n / 4 * 3 bytes. Returns how many, or -1.
*/
long lw_base64_decode(void *bytes, const char *text, size_t n);

#pragma GCC visibility pop
#endif
