/*
** frame.c -- the header in front of every payload (RFC 6455, 5.2).
** Works on bytes the caller owns; allocates nothing, remembers nothing.
*/
#include "frame.h"

#define OPCODES 0x0707u /* a bit for each that exists: 0-2, 8-10 */

/* Reads a length of n bytes, highest first. */
static uint64_t read_length(const unsigned char *bytes, size_t n) {
  uint64_t length = 0;
  for (size_t i = 0; i < n; i++)
    length = length << 8 | bytes[i];
  return length;
}

/*
** The length behind its seven bits of 126 or 127: bytes used, 0, or a negative lw_err as
** soon as a byte shows it. "The minimal number of bytes MUST be used" (5.2).
*/
static int decode_length(lw_frame *frame, const unsigned char *bytes, size_t n, int wide) {
  if (!wide) {
    if (n < 2) return 0;
    frame->length = read_length(bytes, 2);
    return frame->length < 126 ? LW_ERR_LENGTH_FORM : 2;
  }
  if (n >= 1 && bytes[0] & 0x80) /* "the most significant bit MUST be 0" (5.2) */
    return LW_ERR_LENGTH_RANGE;
  if (n >= 6 && read_length(bytes, 6) == 0) return LW_ERR_LENGTH_FORM;
  if (n < 8) return 0;
  frame->length = read_length(bytes, 8);
  return 8;
}

/* What the first byte says: 0 or a negative lw_err. */
static int decode_first(lw_frame *frame, unsigned char byte) {
  frame->fin = byte >> 7;
  frame->rsv = byte >> 4 & 7;
  frame->opcode = byte & 15;
  if (!(OPCODES >> frame->opcode & 1)) return LW_ERR_OPCODE;
  if (frame->opcode >= LW_CLOSE && !frame->fin) /* 5.5 */
    return LW_ERR_CONTROL_FIN;
  return 0;
}

int lw_frame_decode(lw_frame *frame, const unsigned char *bytes, size_t n) {
  int err;
  if (n >= 1 && (err = decode_first(frame, bytes[0])) < 0) return err;
  if (n < 2) return 0;
  unsigned char length = bytes[1] & 127;
  frame->masked = bytes[1] >> 7;
  frame->length = length;
  if (frame->opcode >= LW_CLOSE && length > LW_CONTROL_MAX) /* 5.5 */
    return LW_ERR_CONTROL_LENGTH;
  size_t used = 2;
  if (length > 125) {
    int more = decode_length(frame, bytes + 2, n - 2, length == 127);
    if (more <= 0) return more;
    used += (size_t)more;
  }
  if (!frame->masked) return (int)used;
  if (n - used < 4) return 0;
  for (size_t i = 0; i < 4; i++)
    frame->key[i] = bytes[used + i];
  return (int)used + 4;
}

/* Writes the n lowest bytes of a length, highest first. */
static void write_length(unsigned char *bytes, uint64_t length, size_t n) {
  for (size_t i = 0; i < n; i++)
    bytes[i] = (unsigned char)(length >> 8 * (n - 1 - i));
}

size_t lw_frame_encode(const lw_frame *frame, unsigned char bytes[LW_FRAME_MAX]) {
  size_t used = 2;
  unsigned masked = frame->masked ? 0x80u : 0;
  bytes[0] =
      (unsigned char)((frame->fin ? 0x80u : 0) | (frame->rsv & 7u) << 4 | (frame->opcode & 15u));
  if (frame->length < 126) {
    bytes[1] = (unsigned char)(masked | frame->length);
  } else {
    size_t wide = frame->length > 0xffff ? 8 : 2;
    bytes[1] = (unsigned char)(masked | (wide == 8 ? 127 : 126));
    write_length(bytes + 2, frame->length, wide);
    used += wide;
  }
  if (masked)
    for (size_t i = 0; i < 4; i++)
      bytes[used++] = frame->key[i];
  return used;
}

int lw_close_code_valid(unsigned code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
         (code >= 3000 && code <= 4999);
}
