/* Plain C, in vectors of sixteen bytes as GCC and Clang have them: what every processor of a kind has for them (SSE2 on
   x86-64), or element by element where it has nothing. No fma(): without the instruction it is a library call of some
   fifty times the cost. */
#ifndef FX_SIMD_SCALAR_H
#define FX_SIMD_SCALAR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define FX_ISA scalar
#define FX_UNFUSED /* f32_fma and f64_fma round twice */
#define FX_COMPACT /* see kernels.c */
#define FX_STREAMS 0
#define F32_LANES 4
#define F64_LANES 2

typedef float f32v __attribute__((vector_size(16)));
typedef double f64v __attribute__((vector_size(16)));
typedef int32_t f32m __attribute__((vector_size(16)));
typedef int64_t f64m __attribute__((vector_size(16)));
typedef uint32_t fx_u32v __attribute__((vector_size(16)));
typedef uint64_t fx_u64v __attribute__((vector_size(16)));
typedef float fx_f32_half __attribute__((vector_size(8)));
typedef int32_t fx_i32_half __attribute__((vector_size(8)));
typedef uint16_t fx_u16_half __attribute__((vector_size(8)));

/* Sums over rows of floats end in double: one accumulator for each half of the lanes. */
typedef struct {
    f64v low, high;
} f32s;

static inline f32v f32_set(float a) { return (f32v){a, a, a, a}; }
static inline f64v f64_set(double a) { return (f64v){a, a}; }
static inline f32v f32_load(const float *p) {
    f32v a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline f64v f64_load(const double *p) {
    f64v a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline void f32_store(float *p, f32v a) { memcpy(p, &a, sizeof a); }
static inline void f64_store(double *p, f64v a) { memcpy(p, &a, sizeof a); }
/* To an aligned place, past the caches elsewhere: plain C has no such store. */
static inline void f32_stream(float *p, f32v a) { f32_store(p, a); }
static inline f32v f32_load_part(const float *p, ptrdiff_t k, float fill) {
    f32v a = f32_set(fill);
    if (k == 4) return f32_load(p);
    if (k > 0) a[0] = p[0];
    if (k > 1) a[1] = p[1];
    if (k > 2) a[2] = p[2];
    return a;
}
static inline f64v f64_load_part(const double *p, ptrdiff_t k, double fill) {
    if (k == 2) return f64_load(p);
    return (f64v){k ? p[0] : fill, fill};
}
static inline void f32_store_part(float *p, f32v a, ptrdiff_t k) {
    if (k == 4) {
        f32_store(p, a);
        return;
    }
    if (k > 0) p[0] = a[0];
    if (k > 1) p[1] = a[1];
    if (k > 2) p[2] = a[2];
}
static inline void f64_store_part(double *p, f64v a, ptrdiff_t k) {
    if (k == 2)
        f64_store(p, a);
    else if (k)
        p[0] = a[0];
}

static inline f32v f32_add(f32v a, f32v b) { return a + b; }
static inline f64v f64_add(f64v a, f64v b) { return a + b; }
static inline f32v f32_sub(f32v a, f32v b) { return a - b; }
static inline f64v f64_sub(f64v a, f64v b) { return a - b; }
static inline f32v f32_mul(f32v a, f32v b) { return a * b; }
static inline f64v f64_mul(f64v a, f64v b) { return a * b; }
static inline f32v f32_div(f32v a, f32v b) { return a / b; }
static inline f64v f64_div(f64v a, f64v b) { return a / b; }
static inline f32v f32_fma(f32v a, f32v b, f32v c) { return a * b + c; }
static inline f64v f64_fma(f64v a, f64v b, f64v c) { return a * b + c; }
static inline f32v f32_fnma(f32v a, f32v b, f32v c) { return c - a * b; }
static inline f64v f64_fnma(f64v a, f64v b, f64v c) { return c - a * b; }

static inline f32m f32_lt(f32v a, f32v b) { return a < b; }
static inline f64m f64_lt(f64v a, f64v b) { return a < b; }
static inline f32m f32_ge(f32v a, f32v b) { return a >= b; }
static inline f64m f64_ge(f64v a, f64v b) { return a >= b; }
static inline f32m f32_not_lt(f32v a, f32v b) { return ~(a < b); }
static inline f64m f64_not_lt(f64v a, f64v b) { return ~(a < b); }
static inline f32m f32_ne(f32v a, f32v b) { return a != b; }
static inline f64m f64_ne(f64v a, f64v b) { return a != b; }
static inline f32v f32_keep(f32m m, f32v a) { return (f32v)(m & (f32m)a); }
static inline f64v f64_keep(f64m m, f64v a) { return (f64v)(m & (f64m)a); }
static inline f32v f32_select(f32m m, f32v a, f32v b) { return (f32v)((m & (f32m)a) | (~m & (f32m)b)); }
static inline f64v f64_select(f64m m, f64v a, f64v b) { return (f64v)((m & (f64m)a) | (~m & (f64m)b)); }

static inline f32v f32_abs(f32v a) { return (f32v)((f32m)a & 0x7fffffff); }
static inline f64v f64_abs(f64v a) { return (f64v)((f64m)a & 0x7fffffffffffffff); }
#ifdef __SSE2__
static inline f32v f32_max(f32v a, f32v b) { return (f32v)_mm_max_ps((__m128)a, (__m128)b); }
static inline f64v f64_max(f64v a, f64v b) { return (f64v)_mm_max_pd((__m128d)a, (__m128d)b); }
static inline int f32_count(f32m m) { return __builtin_popcount((unsigned)_mm_movemask_ps((__m128)m)); }
static inline int f64_count(f64m m) {
    int mask = _mm_movemask_pd((__m128d)m);
    return (mask & 1) + (mask >> 1);
}
#else
static inline f32v f32_max(f32v a, f32v b) { return f32_select(a > b, a, b); }
static inline f64v f64_max(f64v a, f64v b) { return f64_select(a > b, a, b); }
static inline int f32_count(f32m m) { return -(m[0] + m[1] + m[2] + m[3]); }
static inline int f64_count(f64m m) { return (int)-(m[0] + m[1]); }
#endif

/* Where bytes are 0. */
static inline f32m f32_zero_bytes(const uint8_t *p) {
    f32m bytes = {p[0], p[1], p[2], p[3]};
    return bytes == 0;
}
static inline f64m f64_zero_bytes(const uint8_t *p) {
    f64m bytes = {p[0], p[1]};
    return bytes == 0;
}

/* a * 2^n for a normal number 2^n or 0, from n + LIFTED_ZERO (exp_body.h), which has the biased exponent in its low bits.
   The product, unlike an addition to the exponent field, keeps a NaN a NaN. */
static inline f32v f32_times_lifted(f32v a, f32v lifted) { return a * (f32v)((fx_u32v)lifted << 23); }
static inline f64v f64_times_lifted(f64v a, f64v lifted) { return a * (f64v)((fx_u64v)lifted << 52); }
/* The exponent field in the last places of 2^(mantissa bits). */
static inline f64v f64_exponent(f64v a) {
    return (f64v)(((fx_u64v)a >> 52) | (fx_u64v)f64_set(0x1p52)) - (0x1p52 + 1023.0);
}
static inline f32v f32_exponent(f32v a) {
    return (f32v)(((fx_u32v)a >> 23) | (fx_u32v)f32_set(0x1p23f)) - (0x1p23f + 127.0f);
}
static inline f64v f64_mantissa(f64v a) { return (f64v)(((fx_u64v)a & 0x000fffffffffffff) | (fx_u64v)f64_set(1.0)); }
static inline f32v f32_mantissa(f32v a) { return (f32v)(((fx_u32v)a & 0x007fffff) | (fx_u32v)f32_set(1.0f)); }

/* Floats as doubles, in two halves, and back. */
static inline f64v f32_half(f32v a, int which) {
    fx_f32_half half;
    memcpy(&half, (const char *)&a + 8 * which, sizeof half);
    return __builtin_convertvector(half, f64v);
}
static inline f64m f32_half_mask(f32m m, int which) {
    fx_i32_half half;
    memcpy(&half, (const char *)&m + 8 * which, sizeof half);
    return __builtin_convertvector(half, f64m);
}
static inline f64v f32_low(f32v a) { return f32_half(a, 0); }
static inline f64v f32_high(f32v a) { return f32_half(a, 1); }
static inline f64m f32_low_mask(f32m m) { return f32_half_mask(m, 0); }
static inline f64m f32_high_mask(f32m m) { return f32_half_mask(m, 1); }
static inline f32v f32_join(f64v low, f64v high) {
    fx_f32_half halves[] = {__builtin_convertvector(low, fx_f32_half), __builtin_convertvector(high, fx_f32_half)};
    f32v a;
    memcpy(&a, halves, sizeof a);
    return a;
}

/* n - q d, exactly: the product by Dekker's splitting into halves of 26 bits; of floats it is exact in double. */
static inline f64v f64_remainder(f64v n, f64v q, f64v d) {
    f64v q_high = q * 134217729.0, d_high = d * 134217729.0, product = q * d;
    q_high -= q_high - q;
    d_high -= d_high - d;
    f64v q_low = q - q_high, d_low = d - d_high;
    f64v lost = ((q_high * d_high - product) + q_high * d_low + q_low * d_high) + q_low * d_low;
    return (n - product) - lost;
}
static inline f32v f32_remainder(f32v n, f32v q, f32v d) {
    return f32_join(f32_low(n) - f32_low(q) * f32_low(d), f32_high(n) - f32_high(q) * f32_high(d));
}

/* Each lane gets that which is `width` further on, or back: a power of two below the number of lanes. */
static inline f64v f64_swap(f64v a, int width) {
    (void)width;
    return (f64v){a[1], a[0]};
}
static inline double f64_first_lane(f64v a) { return a[0]; }
static inline float f32_first_lane(f32v a) { return a[0]; }
static inline double f64_max_lane(f64v a) { return f64_max(a, f64_swap(a, 1))[0]; }
static inline float f32_max_lane(f32v a) {
    a = f32_max(a, (f32v){a[2], a[3], a[2], a[3]});
    return f32_max(a, (f32v){a[1], a[1], a[1], a[1]})[0];
}

static inline f32s f32_sum_zero(void) {
    f32s s = {{0, 0}, {0, 0}};
    return s;
}
static inline f32s f32_sum_add(f32s s, f32v a) {
    s.low += f32_low(a);
    s.high += f32_high(a);
    return s;
}
/* The product of two floats is exact in double. */
static inline f32s f32_sum_fma(f32s s, f32v a, f32v b) {
    s.low += f32_low(a) * f32_low(b);
    s.high += f32_high(a) * f32_high(b);
    return s;
}
static inline f64v f32_sum_fold(f32s s) { return s.low + s.high; }
/* Lane by lane; what doubles round off is of no use to floats. */
static inline void f32_sum_store(f32s s, double *p, double *rest) {
    (void)rest;
    f64_store(p, s.low);
    f64_store(p + 2, s.high);
}

static inline void f64_transpose(f64v t[2]) {
    f64v first = {t[0][0], t[1][0]};
    t[1] = (f64v){t[0][1], t[1][1]};
    t[0] = first;
}
static inline void f32_transpose(f32v t[4]) {
    f64v low[2] = {(f64v)(f32v){t[0][0], t[1][0], t[0][1], t[1][1]}, (f64v)(f32v){t[2][0], t[3][0], t[2][1], t[3][1]}};
    f64v high[2] = {(f64v)(f32v){t[0][2], t[1][2], t[0][3], t[1][3]}, (f64v)(f32v){t[2][2], t[3][2], t[2][3], t[3][3]}};
    f64_transpose(low);
    f64_transpose(high);
    t[0] = (f32v)low[0];
    t[1] = (f32v)low[1];
    t[2] = (f32v)high[0];
    t[3] = (f32v)high[1];
}

/* IEEE half precision by moving fields. */
#define FX_HALF_LANES 4
static inline f32v f16_load(const unsigned short *p) {
    fx_u16_half halves;
    memcpy(&halves, p, sizeof halves);
    fx_u32v half = __builtin_convertvector(halves, fx_u32v), sign = (half & 0x8000) << 16;
    /* Subnormal halves go through an exact product with 2^112. */
    f32v finite = (f32v)((half & 0x7fff) << 13) * 0x1p112f, special = (f32v)(0x7f800000 | (half & 0x3ff) << 13);
    return (f32v)((fx_u32v)f32_select((half & 0x7c00) == 0x7c00, special, finite) | sign);
}
static inline void f16_store(unsigned short *p, f32v a) {
    fx_u32v bits = (fx_u32v)a & 0x7fffffff, sign = (fx_u32v)a >> 16 & 0x8000;
    fx_u32v half = (bits + 0xc8000fff + (bits >> 13 & 1)) >> 13;
    /* Below 2^-14: adding 1/2 makes the addition round at the last place of a subnormal half. */
    fx_u32v subnormal = (fx_u32v)((f32v)bits + 0.5f) - 0x3f000000;
    f32v of = f32_select((f32v)bits < 0x1p-14f, (f32v)subnormal, (f32v)half);
    of = f32_select((f32v)bits >= 65520.0f, (f32v)(f32m){0x7c00, 0x7c00, 0x7c00, 0x7c00}, of);
    of = f32_select(a != a, (f32v)(f32m){0x7e00, 0x7e00, 0x7e00, 0x7e00}, of);
    fx_u16_half halves = __builtin_convertvector((fx_u32v)of | sign, fx_u16_half);
    memcpy(p, &halves, sizeof halves);
}

#endif
