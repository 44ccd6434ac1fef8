/*
** frame.h -- the header in front of every payload (RFC 6455, 5.2), to and from bytes.
*/
#ifndef LW_FRAME_H
#define LW_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

#pragma GCC visibility push(hidden)

#define LW_FRAME_MAX 14         /* the longest header */
#define LW_CONTROL_MAX 125      /* the longest payload of a control frame */
#define LW_CLOSE_REASON_MAX 123 /* what a Close frame's code leaves of it */

typedef enum lw_opcode {
  LW_CONTINUATION = 0,
  LW_TEXT = 1,
  LW_BINARY = 2,
  LW_CLOSE = 8,
  LW_PING = 9,
  LW_PONG = 10
} lw_opcode;

typedef struct lw_frame {
  uint64_t length;
  unsigned char opcode;
  unsigned char rsv; /* RSV1 is 4, RSV2 is 2, RSV3 is 1 */
  unsigned char fin;
  unsigned char masked;
  unsigned char key[4]; /* set when masked */
} lw_frame;

/*
** Bytes used, 0 while the header is not all here, or a negative lw_err: an opcode that
** does not exist, a control frame too long or in fragments, a length not in its shortest
** form or of 2^63 or more. Each is reported with the first byte that shows it, however
** the bytes are cut. Whether rsv and masked are right is for the session to say; both are
** set as soon as the first two bytes are here.
*/
int lw_frame_decode(lw_frame *frame, const unsigned char *bytes, size_t n);

/* Writes the header; returns its length, 2 to LW_FRAME_MAX. */
size_t lw_frame_encode(const lw_frame *frame, unsigned char bytes[LW_FRAME_MAX]);

/* 1 if an endpoint may send this close code: 1000-1003, 1007-1014, 3000-4999 (7.4). */
int lw_close_code_valid(unsigned code);

#pragma GCC visibility pop
#endif
