/* Plain C, one element a vector: the fallback for every machine, and the readable reference for the others.
   No fma(): without the instruction it is a library call of some fifty times the cost. */
#ifndef FX_SIMD_SCALAR_H
#define FX_SIMD_SCALAR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FX_ISA scalar
#define FX_UNFUSED /* f32_fma and f64_fma round twice */
#define F32_LANES 1
#define F64_LANES 1

typedef float f32v;
typedef double f64v;
typedef int f32m;
typedef int f64m;
typedef struct {
    double sum;
} f32s;

static inline f32v f32_set(float a) { return a; }
static inline f64v f64_set(double a) { return a; }
static inline f32v f32_load(const float *p) { return *p; }
static inline f64v f64_load(const double *p) { return *p; }
static inline void f32_store(float *p, f32v a) { *p = a; }
static inline void f64_store(double *p, f64v a) { *p = a; }
static inline f32v f32_load_part(const float *p, ptrdiff_t k, float fill) { return k ? *p : fill; }
static inline f64v f64_load_part(const double *p, ptrdiff_t k, double fill) { return k ? *p : fill; }
static inline void f32_store_part(float *p, f32v a, ptrdiff_t k) {
    if (k) *p = a;
}
static inline void f64_store_part(double *p, f64v a, ptrdiff_t k) {
    if (k) *p = a;
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
/* n - q d, exactly: the product by Dekker's splitting into halves of 26 bits. */
static inline f64v f64_remainder(f64v n, f64v q, f64v d) {
    double q_high = q * 134217729.0, d_high = d * 134217729.0, product = q * d;
    q_high -= q_high - q;
    d_high -= d_high - d;
    double q_low = q - q_high, d_low = d - d_high;
    double lost = ((q_high * d_high - product) + q_high * d_low + q_low * d_high) + q_low * d_low;
    return (n - product) - lost;
}
static inline f32v f32_remainder(f32v n, f32v q, f32v d) { return (float)((double)n - (double)q * (double)d); }
static inline f32v f32_max(f32v a, f32v b) { return a > b ? a : b; }
static inline f64v f64_max(f64v a, f64v b) { return a > b ? a : b; }
static inline f32v f32_abs(f32v a) { return __builtin_fabsf(a); }
static inline f64v f64_abs(f64v a) { return __builtin_fabs(a); }

static inline f32m f32_lt(f32v a, f32v b) { return a < b; }
static inline f64m f64_lt(f64v a, f64v b) { return a < b; }
static inline f32m f32_ge(f32v a, f32v b) { return a >= b; }
static inline f64m f64_ge(f64v a, f64v b) { return a >= b; }
static inline f32m f32_not_lt(f32v a, f32v b) { return !(a < b); }
static inline f64m f64_not_lt(f64v a, f64v b) { return !(a < b); }
static inline f32m f32_ne(f32v a, f32v b) { return a != b; }
static inline f64m f64_ne(f64v a, f64v b) { return a != b; }
static inline f32v f32_keep(f32m m, f32v a) { return m ? a : 0.0f; }
static inline f64v f64_keep(f64m m, f64v a) { return m ? a : 0.0; }
static inline f32v f32_select(f32m m, f32v a, f32v b) { return m ? a : b; }
static inline f64v f64_select(f64m m, f64v a, f64v b) { return m ? a : b; }
static inline int f32_count(f32m m) { return m; }
static inline int f64_count(f64m m) { return m; }

/* Where bytes are 0. */
static inline f32m f32_zero_bytes(const uint8_t *p) { return *p == 0; }
static inline f64m f64_zero_bytes(const uint8_t *p) { return *p == 0; }

/* a * 2^n for integral n with 2^n a normal number. Adding 1.5 * 2^(mantissa bits) + bias leaves the biased
   exponent in the low bits; the product, unlike an addition to the exponent field, keeps a NaN a NaN. */
static inline f32v f32_scale2(f32v a, f32v n) {
    float power = n + (0x1.8p23f + 127.0f);
    uint32_t bits;
    memcpy(&bits, &power, sizeof bits);
    bits <<= 23;
    memcpy(&power, &bits, sizeof power);
    return a * power;
}
static inline f64v f64_scale2(f64v a, f64v n) {
    double power = n + (0x1.8p52 + 1023.0);
    uint64_t bits;
    memcpy(&bits, &power, sizeof bits);
    bits <<= 52;
    memcpy(&power, &bits, sizeof power);
    return a * power;
}
static inline f64v f64_exponent(f64v a) {
    uint64_t bits;
    memcpy(&bits, &a, sizeof bits);
    return (double)((int)(bits >> 52) - 1023);
}
static inline f64v f64_mantissa(f64v a) {
    uint64_t bits;
    memcpy(&bits, &a, sizeof bits);
    bits = (bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL;
    memcpy(&a, &bits, sizeof bits);
    return a;
}
static inline f32v f32_exponent(f32v a) {
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    return (float)((int)(bits >> 23) - 127);
}
static inline f32v f32_mantissa(f32v a) {
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    bits = (bits & 0x007fffffu) | 0x3f800000u;
    memcpy(&a, &bits, sizeof bits);
    return a;
}

/* Floats as doubles and back; there is no second half. */
static inline f64v f32_low(f32v a) { return (double)a; }
static inline f64v f32_high(f32v a) {
    (void)a;
    return 0.0;
}
static inline f64m f32_low_mask(f32m m) { return m; }
static inline f64m f32_high_mask(f32m m) {
    (void)m;
    return 0;
}
static inline f32v f32_join(f64v low, f64v high) {
    (void)high;
    return (float)low;
}

/* There is no other lane to get. */
static inline f64v f64_swap(f64v a, int width) {
    (void)width;
    return a;
}
static inline double f64_first_lane(f64v a) { return a; }
static inline float f32_first_lane(f32v a) { return a; }
static inline float f32_max_lane(f32v a) { return a; }
static inline double f64_max_lane(f64v a) { return a; }

static inline f32s f32_sum_zero(void) {
    f32s s = {0.0};
    return s;
}
static inline f32s f32_sum_add(f32s s, f32v a) {
    s.sum += (double)a;
    return s;
}
static inline f32s f32_sum_fma(f32s s, f32v a, f32v b) {
    s.sum += (double)a * (double)b;
    return s;
}
static inline f64v f32_sum_fold(f32s s) { return s.sum; }
static inline void f32_sum_store(f32s s, double *p, double *rest) {
    (void)rest;
    *p = s.sum;
}

static inline void f32_transpose(f32v t[1]) { (void)t; }
static inline void f64_transpose(f64v t[1]) { (void)t; }

/* IEEE half precision by moving fields: subnormal halves go through an exact product with 2^112. */
#define FX_HALF_LANES 1
static inline f32v f16_load(const unsigned short *p) {
    uint32_t half = *p, bits = (half & 0x7fffu) << 13;
    float a;
    memcpy(&a, &bits, sizeof a);
    a *= 0x1p112f;
    memcpy(&bits, &a, sizeof a);
    if ((half & 0x7c00u) == 0x7c00u) bits = 0x7f800000u | (half & 0x3ffu) << 13;
    bits |= (half & 0x8000u) << 16;
    memcpy(&a, &bits, sizeof a);
    return a;
}
static inline void f16_store(unsigned short *p, f32v a) {
    uint32_t bits, sign, half;
    memcpy(&bits, &a, sizeof bits);
    sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) {
        half = 0x7e00u; /* NaN */
    } else if (bits >= 0x477ff000u) {
        half = 0x7c00u; /* 65520 and above round to infinity */
    } else if (bits < 0x38800000u) {
        /* Below 2^-14: adding 1/2 makes the addition round at the last place of a subnormal half. */
        float magnitude;
        memcpy(&magnitude, &bits, sizeof bits);
        magnitude += 0.5f;
        memcpy(&bits, &magnitude, sizeof bits);
        half = bits - 0x3f000000u;
    } else {
        half = (bits + 0xc8000fffu + (bits >> 13 & 1u)) >> 13;
    }
    *p = (unsigned short)(sign | half);
}

#endif
