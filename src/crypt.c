/*
** crypt.c -- all we ask of libcrypto: random bytes and SHA-1; and base64, stricter than its own.
*/
#include "crypt.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdint.h>
#include <string.h>

/* --- random --- */

int lw_random(void *bytes, size_t n) {
  unsigned char *at = bytes;
  while (n > 0) {
    int part = n < INT_MAX ? (int)n : INT_MAX;
    if (RAND_bytes(at, part) != 1) {
      ERR_clear_error();
      return LW_ERR_RANDOM;
    }
    at += part;
    n -= (size_t)part;
  }
  return 0;
}

int lw_entropy_take(lw_entropy *entropy, void *bytes, size_t n) {
  if (n > sizeof entropy->bytes) return lw_random(bytes, n);
  if (n > entropy->left) {
    int err = lw_random(entropy->bytes, sizeof entropy->bytes);
    if (err < 0) {
      entropy->left = 0; /* who knows what stands there now */
      return err;
    }
    entropy->left = sizeof entropy->bytes;
  }
  unsigned char *at = entropy->bytes + sizeof entropy->bytes - entropy->left;
  memcpy(bytes, at, n);
  memset(at, 0, n); /* a key once used is nobody's business */
  entropy->left -= n;
  return 0;
}

/* --- SHA-1 --- */

int lw_sha1(unsigned char digest[LW_SHA1_SIZE], const void *bytes, size_t n) {
  if (EVP_Digest(bytes, n, digest, NULL, EVP_sha1(), NULL) == 1) return 0;
  ERR_clear_error();
  return LW_ERR_MEMORY;
}

/* --- base64 (RFC 4648, 4) --- */

static const char alphabet[64] = {
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"};

size_t lw_base64_encode(char *text, const void *bytes, size_t n) {
  const unsigned char *from = bytes;
  char *to = text;
  for (; n > 0; to += 4) {
    size_t k = n < 3 ? n : 3;
    unsigned b1 = k > 1 ? from[1] : 0, b2 = k > 2 ? from[2] : 0;
    to[0] = alphabet[from[0] >> 2];
    to[1] = alphabet[(from[0] & 3u) << 4 | b1 >> 4];
    to[2] = k > 1 ? alphabet[(b1 & 15) << 2 | b2 >> 6] : '=';
    to[3] = k > 2 ? alphabet[b2 & 63] : '=';
    from += k;
    n -= k;
  }
  return (size_t)(to - text);
}

/* The six bits a character stands for, or -1. */
static int sextet(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, of which the last `pads` are padding, to 3 - pads bytes; 0 if they are wrong. */
static int decode_four(unsigned char *to, const char *text, int pads) {
  uint32_t bits = 0;
  for (int i = 0; i < 4 - pads; i++) {
    int six = sextet(text[i]);
    if (six < 0) return 0;
    bits |= (uint32_t)six << (18 - 6 * i);
  }
  if (bits & ((UINT32_C(1) << 8 * pads) - 1)) /* bits that stand for nothing (RFC 4648, 3.5) */
    return 0;
  for (int i = 0; i < 3 - pads; i++)
    to[i] = (unsigned char)(bits >> (16 - 8 * i));
  return 1;
}

long lw_base64_decode(void *bytes, const char *text, size_t n) {
  if (n % 4 != 0 || n > LONG_MAX) return -1;
  if (n == 0) return 0;
  unsigned char *to = bytes;
  int pads = text[n - 1] != '=' ? 0 : text[n - 2] != '=' ? 1 : 2;
  size_t i = 0;
  for (; i < n - 4; i += 4, to += 3)
    if (!decode_four(to, text + i, 0)) return -1;
  if (!decode_four(to, text + i, pads)) return -1;
  return (long)(n / 4 * 3) - pads;
}
