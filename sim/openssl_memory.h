/*
** openssl_memory.h -- OpenSSL's own memory, which is counted and may run out: a row of its own.
*/
#ifndef OPENSSL_MEMORY_H
#define OPENSSL_MEMORY_H

/* Before OpenSSL's first allocation. 0: too late. */
int openssl_memory_take(void);
/* Counts anew, and nothing fails. */
void openssl_memory_begin(void);
long openssl_memory_count(void);
long openssl_memory_failed(void);
/* After `skip` more that succeed, `times` fail; negative: all. */
void openssl_memory_fail(long skip, long times);
/*
** From now on notes, of allocations that have the same calls above them, so many: the first
** ones. Most of thousands are the same again, which a run with memory tells.
*/
void openssl_memory_note(unsigned of_each);
long openssl_memory_noted(long i); /* the number, from 1, of the ith noted, from 0; 0: no more */
long openssl_memory_places(void);  /* how many there are that differ */

#endif
