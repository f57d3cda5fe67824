/* What the row loops need of OpenMP, where there is none as well, and of the system. */
#ifndef FX_THREADS_H
#define FX_THREADS_H

#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
static inline int fx_max_threads(void) { return omp_get_max_threads(); }
static inline int fx_in_parallel(void) { return omp_in_parallel(); }
#define FX_OPENMP _OPENMP
#else
static inline int fx_max_threads(void) { return 1; }
static inline int fx_in_parallel(void) { return 0; }
#define FX_OPENMP 0
#endif

/* libgomp hangs in a child forked after its parent used it: there the library runs serially. */
static inline void fx_at_fork(void (*in_child)(void)) { pthread_atfork(0, 0, in_child); }

/* Seconds. */
static inline double fx_seconds(clockid_t clock) {
    struct timespec now = {0, 0};
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
static inline double fx_clock(void) { return fx_seconds(CLOCK_MONOTONIC); }
static inline double fx_busy_clock(void) { return fx_seconds(CLOCK_THREAD_CPUTIME_ID); }

/* How often this thread has lost its processor to another; 0 where the system does not tell. */
static inline long fx_preemptions(void) {
#ifdef RUSAGE_THREAD
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_nivcsw;
#else
    return 0;
#endif
}

#ifdef __VERSION__
#define FX_COMPILER __VERSION__
#else
#define FX_COMPILER "unknown"
#endif

#endif
