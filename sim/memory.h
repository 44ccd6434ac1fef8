/*
** memory.h -- memory that is counted and may run out.
**
** The linker (--wrap) brings every allocation of the library here, and Lua's come by an
** allocator of ours: they are one row, so "the nth fails" is one number.
*/
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

/* A row of allocations: which have been, which will fail. Zeroed: none. */
typedef struct memory_row {
  long count, failed, skip, times;
} memory_row;
/* Counts one more. 1 if it is to fail. */
int memory_row_fails(memory_row *row);

/* Counts anew, and nothing fails. */
void memory_begin(void);
/* Allocations asked for since memory_begin, failed ones too. */
long memory_count(void);
/* After `skip` more that succeed, `times` fail; negative: all. */
void memory_fail(long skip, long times);
/* How many have failed since memory_begin. */
long memory_failed(void);
/* While it is above 0 nothing is counted and nothing fails: for what stands for somebody else. */
void memory_rest(int more);
int memory_rests(void);
/* What is held now: all blocks of the library, and of the states that use memory_lua. */
long memory_blocks(void);
size_t memory_bytes(void);

/* A lua_Alloc. Making a block smaller never fails. */
void *memory_lua(void *context, void *block, size_t before, size_t n);

/* Each allocation that fails prints the calls above it on stderr. */
void memory_trace(int on);

#endif
