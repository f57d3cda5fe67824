/* What this machine can run, and what pays on it. */
#define _DEFAULT_SOURCE
#include "kernels.h"

#include <unistd.h>

extern const fx_table fx_table_scalar;
#if defined(__x86_64__)
extern const fx_table fx_table_avx2;
extern const fx_table fx_table_avx512;
#elif defined(__aarch64__)
extern const fx_table fx_table_neon;
#endif

int fx_tables(const fx_table **tables, int room) {
    const fx_table *present[3];
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        present[count++] = &fx_table_avx512;
    /* Every processor with AVX2 and FMA converts half precision too (F16C came two generations before). */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) present[count++] = &fx_table_avx2;
#elif defined(__aarch64__)
    present[count++] = &fx_table_neon;
#endif
    present[count++] = &fx_table_scalar;
    if (count > room) count = room;
    for (int i = 0; i < count; ++i) tables[i] = present[i];
    return count;
}

/* Results that the last cache holds are there for whoever reads them next: half of it is left to them. Measured: Intel's
   processors gain up to a sixth, AMD's (Zen 4) lose. */
ptrdiff_t fx_streamed_from(void) {
#if defined(__x86_64__) && defined(_SC_LEVEL3_CACHE_SIZE)
    ptrdiff_t cache = (ptrdiff_t)sysconf(_SC_LEVEL3_CACHE_SIZE), least = (ptrdiff_t)32 << 20;
    __builtin_cpu_init();
    if (__builtin_cpu_is("intel")) return cache / 2 > least ? cache / 2 : least;
#endif
    return PTRDIFF_MAX;
}

/* Measured: on Intel's processors a row of 125,000 leaves the second-level cache, and to make exponentials anew costs less than
   to fetch them. On AMD's (Zen 4), where they cost more and the last cache is faster, rows of 1,000,000 lose and those of
   10,000,000 gain. A number, not a share of the cache: what is told of that differs from system to system. */
ptrdiff_t fx_long_from(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_is("amd")) return 4000000;
#endif
    return 125000;
}

/* Measured on Zen 4, arrays beyond the caches: rows of 300 to 1,200 floats take 4 to 9 % less time. Not measured elsewhere. */
int fx_fetches_near(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_is("amd") != 0;
#else
    return 0;
#endif
}
