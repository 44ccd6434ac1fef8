/*
** mask.h -- the XOR of RFC 6455, section 5.3, wide.
*/
#ifndef LW_MASK_H
#define LW_MASK_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/*
** to[i] = from[i] ^ key[(offset + i) % 4]. `to` may be `from`; otherwise they do not
** overlap. No alignment is asked for.
*/
void lw_mask(unsigned char *to, const unsigned char *from, size_t n, const unsigned char key[4],
             size_t offset);

#pragma GCC visibility pop
#endif
