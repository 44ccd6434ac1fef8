/*
** wrong_clock.c -- preloaded into a program, it makes the wall clock leap: each time it is asked it is a year and a day
** before or after the last. The monotonic clock is left alone. How often it was asked is said at the end, on stderr.
*/
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long asked;

static time_t leap(void) {
  return (++asked & 1 ? 1 : -1) * 366L * 24 * 60 * 60;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  int result = (int)syscall(SYS_clock_gettime, clock, at);
  if (clock == CLOCK_REALTIME && result == 0) at->tv_sec += leap();
  return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

__attribute__((destructor)) static void tell(void) {
  fprintf(stderr, "the wall clock was asked %ld times\n", asked);
}
