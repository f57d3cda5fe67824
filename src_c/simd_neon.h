/* AArch64 NEON: four floats or two doubles a vector, comparisons give vectors of ones. */
#ifndef FX_SIMD_NEON_H
#define FX_SIMD_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#define FX_ISA neon
#define FX_STREAMS 0
#define F32_LANES 4
#define F64_LANES 2

typedef float32x4_t f32v;
typedef float64x2_t f64v;
typedef uint32x4_t f32m;
typedef uint64x2_t f64m;

/* Sums over rows of floats end in double: one accumulator for each half of the lanes. */
typedef struct {
    float64x2_t low, high;
} f32s;

static inline f32v f32_set(float a) { return vdupq_n_f32(a); }
static inline f64v f64_set(double a) { return vdupq_n_f64(a); }
static inline f32v f32_load(const float *p) { return vld1q_f32(p); }
static inline f64v f64_load(const double *p) { return vld1q_f64(p); }
static inline void f32_store(float *p, f32v a) { vst1q_f32(p, a); }
static inline void f64_store(double *p, f64v a) { vst1q_f64(p, a); }
/* To an aligned place, past the caches elsewhere: no such store is used. */
static inline void f32_stream(float *p, f32v a) { f32_store(p, a); }
static inline f32v f32_load_part(const float *p, ptrdiff_t k, float fill) {
    float lanes[4] = {fill, fill, fill, fill};
    for (ptrdiff_t i = 0; i < k; ++i) lanes[i] = p[i];
    return vld1q_f32(lanes);
}
static inline f64v f64_load_part(const double *p, ptrdiff_t k, double fill) {
    double lanes[2] = {fill, fill};
    for (ptrdiff_t i = 0; i < k; ++i) lanes[i] = p[i];
    return vld1q_f64(lanes);
}
static inline void f32_store_part(float *p, f32v a, ptrdiff_t k) {
    float lanes[4];
    vst1q_f32(lanes, a);
    for (ptrdiff_t i = 0; i < k; ++i) p[i] = lanes[i];
}
static inline void f64_store_part(double *p, f64v a, ptrdiff_t k) {
    double lanes[2];
    vst1q_f64(lanes, a);
    for (ptrdiff_t i = 0; i < k; ++i) p[i] = lanes[i];
}

static inline f32v f32_add(f32v a, f32v b) { return vaddq_f32(a, b); }
static inline f64v f64_add(f64v a, f64v b) { return vaddq_f64(a, b); }
static inline f32v f32_sub(f32v a, f32v b) { return vsubq_f32(a, b); }
static inline f64v f64_sub(f64v a, f64v b) { return vsubq_f64(a, b); }
static inline f32v f32_mul(f32v a, f32v b) { return vmulq_f32(a, b); }
static inline f64v f64_mul(f64v a, f64v b) { return vmulq_f64(a, b); }
static inline f32v f32_div(f32v a, f32v b) { return vdivq_f32(a, b); }
static inline f64v f64_div(f64v a, f64v b) { return vdivq_f64(a, b); }
static inline f32v f32_fma(f32v a, f32v b, f32v c) { return vfmaq_f32(c, a, b); }
static inline f64v f64_fma(f64v a, f64v b, f64v c) { return vfmaq_f64(c, a, b); }
static inline f32v f32_fnma(f32v a, f32v b, f32v c) { return vfmsq_f32(c, a, b); }
static inline f64v f64_fnma(f64v a, f64v b, f64v c) { return vfmsq_f64(c, a, b); }
/* n - q d, exactly */
static inline f64v f64_remainder(f64v n, f64v q, f64v d) { return vfmsq_f64(n, q, d); }
static inline f32v f32_remainder(f32v n, f32v q, f32v d) { return vfmsq_f32(n, q, d); }
static inline f32v f32_max(f32v a, f32v b) { return vmaxq_f32(a, b); }
static inline f64v f64_max(f64v a, f64v b) { return vmaxq_f64(a, b); }
static inline f32v f32_abs(f32v a) { return vabsq_f32(a); }
static inline f64v f64_abs(f64v a) { return vabsq_f64(a); }

static inline f32m f32_not(f32m m) { return vmvnq_u32(m); }
static inline f64m f64_not(f64m m) { return vreinterpretq_u64_u32(vmvnq_u32(vreinterpretq_u32_u64(m))); }
static inline f32m f32_lt(f32v a, f32v b) { return vcltq_f32(a, b); }
static inline f64m f64_lt(f64v a, f64v b) { return vcltq_f64(a, b); }
static inline f32m f32_ge(f32v a, f32v b) { return vcgeq_f32(a, b); }
static inline f64m f64_ge(f64v a, f64v b) { return vcgeq_f64(a, b); }
static inline f32m f32_not_lt(f32v a, f32v b) { return f32_not(vcltq_f32(a, b)); }
static inline f64m f64_not_lt(f64v a, f64v b) { return f64_not(vcltq_f64(a, b)); }
static inline f32m f32_ne(f32v a, f32v b) { return f32_not(vceqq_f32(a, b)); }
static inline f64m f64_ne(f64v a, f64v b) { return f64_not(vceqq_f64(a, b)); }
static inline f32v f32_keep(f32m m, f32v a) { return vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(a))); }
static inline f64v f64_keep(f64m m, f64v a) { return vreinterpretq_f64_u64(vandq_u64(m, vreinterpretq_u64_f64(a))); }
static inline f32v f32_select(f32m m, f32v a, f32v b) { return vbslq_f32(m, a, b); }
static inline f64v f64_select(f64m m, f64v a, f64v b) { return vbslq_f64(m, a, b); }
static inline int f32_count(f32m m) { return (int)vaddvq_u32(vshrq_n_u32(m, 31)); }
static inline int f64_count(f64m m) { return (int)vaddvq_u64(vshrq_n_u64(m, 63)); }

/* Where bytes are 0. */
static inline f32m f32_zero_bytes(const uint8_t *p) {
    uint32x4_t bytes = {p[0], p[1], p[2], p[3]};
    return vceqzq_u32(bytes);
}
static inline f64m f64_zero_bytes(const uint8_t *p) {
    uint64x2_t bytes = {p[0], p[1]};
    return vceqzq_u64(bytes);
}

/* a * 2^n for a normal number 2^n or 0, from n + LIFTED_ZERO (exp_body.h), which has the biased exponent in its low bits.
   The product, unlike an addition to the exponent field, keeps a NaN a NaN. */
static inline f32v f32_times_lifted(f32v a, f32v lifted) {
    return vmulq_f32(a, vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(lifted), 23)));
}
static inline f64v f64_times_lifted(f64v a, f64v lifted) {
    return vmulq_f64(a, vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(lifted), 52)));
}
static inline f64v f64_exponent(f64v a) {
    int64x2_t field = vreinterpretq_s64_u64(vshrq_n_u64(vreinterpretq_u64_f64(a), 52));
    return vcvtq_f64_s64(vsubq_s64(field, vdupq_n_s64(1023)));
}
static inline f64v f64_mantissa(f64v a) {
    uint64x2_t bits = vandq_u64(vreinterpretq_u64_f64(a), vdupq_n_u64(0x000fffffffffffffULL));
    return vreinterpretq_f64_u64(vorrq_u64(bits, vdupq_n_u64(0x3ff0000000000000ULL)));
}
static inline f32v f32_exponent(f32v a) {
    int32x4_t field = vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_f32(a), 23));
    return vcvtq_f32_s32(vsubq_s32(field, vdupq_n_s32(127)));
}
static inline f32v f32_mantissa(f32v a) {
    uint32x4_t bits = vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x007fffffu));
    return vreinterpretq_f32_u32(vorrq_u32(bits, vdupq_n_u32(0x3f800000u)));
}

/* Floats as doubles, in two halves, and back. */
static inline f64v f32_low(f32v a) { return vcvt_f64_f32(vget_low_f32(a)); }
static inline f64v f32_high(f32v a) { return vcvt_high_f64_f32(a); }
static inline f64m f32_low_mask(f32m m) {
    return vreinterpretq_u64_s64(vmovl_s32(vget_low_s32(vreinterpretq_s32_u32(m))));
}
static inline f64m f32_high_mask(f32m m) { return vreinterpretq_u64_s64(vmovl_high_s32(vreinterpretq_s32_u32(m))); }
static inline f32v f32_join(f64v low, f64v high) { return vcvt_high_f32_f64(vcvt_f32_f64(low), high); }

/* Each lane gets that which is `width` further on, or back: a power of two below the number of lanes. */
static inline f64v f64_swap(f64v a, int width) {
    (void)width;
    return vextq_f64(a, a, 1);
}
static inline double f64_first_lane(f64v a) { return vgetq_lane_f64(a, 0); }
static inline float f32_first_lane(f32v a) { return vgetq_lane_f32(a, 0); }
static inline float f32_max_lane(f32v a) { return vmaxvq_f32(a); }
static inline double f64_max_lane(f64v a) { return vmaxvq_f64(a); }

static inline f32s f32_sum_zero(void) {
    f32s s = {vdupq_n_f64(0.0), vdupq_n_f64(0.0)};
    return s;
}
static inline f32s f32_sum_add(f32s s, f32v a) {
    s.low = vaddq_f64(s.low, vcvt_f64_f32(vget_low_f32(a)));
    s.high = vaddq_f64(s.high, vcvt_high_f64_f32(a));
    return s;
}
/* The product of two floats is exact in double. */
static inline f32s f32_sum_fma(f32s s, f32v a, f32v b) {
    s.low = vfmaq_f64(s.low, vcvt_f64_f32(vget_low_f32(a)), vcvt_f64_f32(vget_low_f32(b)));
    s.high = vfmaq_f64(s.high, vcvt_high_f64_f32(a), vcvt_high_f64_f32(b));
    return s;
}
static inline f64v f32_sum_fold(f32s s) { return vaddq_f64(s.low, s.high); }
/* Lane by lane; what doubles round off is of no use to floats. */
static inline void f32_sum_store(f32s s, double *p, double *rest) {
    (void)rest;
    vst1q_f64(p, s.low);
    vst1q_f64(p + 2, s.high);
}

static inline void f64_transpose(f64v t[2]) {
    f64v first = vtrn1q_f64(t[0], t[1]);
    t[1] = vtrn2q_f64(t[0], t[1]);
    t[0] = first;
}
static inline void f32_transpose(f32v t[4]) {
    f64v even[2] = {vreinterpretq_f64_f32(vtrn1q_f32(t[0], t[1])), vreinterpretq_f64_f32(vtrn1q_f32(t[2], t[3]))};
    f64v odd[2] = {vreinterpretq_f64_f32(vtrn2q_f32(t[0], t[1])), vreinterpretq_f64_f32(vtrn2q_f32(t[2], t[3]))};
    f64_transpose(even);
    f64_transpose(odd);
    t[0] = vreinterpretq_f32_f64(even[0]);
    t[1] = vreinterpretq_f32_f64(odd[0]);
    t[2] = vreinterpretq_f32_f64(even[1]);
    t[3] = vreinterpretq_f32_f64(odd[1]);
}

#define FX_HALF_LANES 4
static inline f32v f16_load(const unsigned short *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline void f16_store(unsigned short *p, f32v a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }

#endif
