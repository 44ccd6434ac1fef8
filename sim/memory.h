/*
** memory.h -- memory that is counted and may run out.
**
** The linker (--wrap) brings every allocation of the library here, and Lua's come by an
** allocator of ours: they are one row, so "the nth fails" is one number.
*/
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

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
/* What is held now: all blocks of the library, and of the states that use memory_lua. */
long memory_blocks(void);
size_t memory_bytes(void);

/* A lua_Alloc. Making a block smaller never fails. */
void *memory_lua(void *context, void *block, size_t before, size_t n);

/*
** OpenSSL's own allocations are a row of their own, once this was called before its first. 0: too late.
** memory_begin begins it anew, too.
*/
int memory_take_openssl(void);
long memory_openssl_count(void);
long memory_openssl_failed(void);
void memory_openssl_fail(long skip, long times);
/*
** From now on notes, of OpenSSL's allocations that have the same calls above them, so many: the
** first ones. Most of thousands are the same again, which a run with memory tells.
*/
void memory_openssl_note(unsigned of_each);
long memory_openssl_noted(long i); /* the number, from 1, of the ith noted, from 0; 0: no more */
long memory_openssl_places(void);  /* how many there are that differ */

/* Each allocation that fails prints the calls above it on stderr. */
void memory_trace(int on);

#endif
