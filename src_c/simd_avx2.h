/* AVX2 with FMA and F16C: eight floats or four doubles a vector, comparisons give vectors of ones. */
#ifndef FX_SIMD_AVX2_H
#define FX_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FX_ISA avx2
#define FX_SIXTEEN_REGISTERS /* see kernels.c */
#define FX_STREAMS 1
#define F32_LANES 8
#define F64_LANES 4

typedef __m256 f32v;
typedef __m256d f64v;
typedef __m256 f32m;
typedef __m256d f64m;

/* Sums over rows of floats end in double: one accumulator for each half of the lanes. */
typedef struct {
    __m256d low, high;
} f32s;

static inline f32v f32_set(float a) { return _mm256_set1_ps(a); }
static inline f64v f64_set(double a) { return _mm256_set1_pd(a); }
static inline f32v f32_load(const float *p) { return _mm256_loadu_ps(p); }
static inline f64v f64_load(const double *p) { return _mm256_loadu_pd(p); }
static inline void f32_store(float *p, f32v a) { _mm256_storeu_ps(p, a); }
static inline void f64_store(double *p, f64v a) { _mm256_storeu_pd(p, a); }
/* To an aligned place, past the caches. */
static inline void f32_stream(float *p, f32v a) { _mm256_stream_ps(p, a); }

/* Ones in the first k lanes. */
static inline __m256i f32_first(ptrdiff_t k) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)k), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline __m256i f64_first(ptrdiff_t k) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)k), _mm256_setr_epi64x(0, 1, 2, 3));
}
static inline f32v f32_load_part(const float *p, ptrdiff_t k, float fill) {
    if (k == 8) return _mm256_loadu_ps(p);
    __m256i first = f32_first(k);
    return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, first), _mm256_castsi256_ps(first));
}
static inline f64v f64_load_part(const double *p, ptrdiff_t k, double fill) {
    if (k == 4) return _mm256_loadu_pd(p);
    __m256i first = f64_first(k);
    return _mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(p, first), _mm256_castsi256_pd(first));
}
/* In pieces, since some processors take tens of cycles for a masked store. */
static inline void f32_store_part(float *p, f32v a, ptrdiff_t k) {
    __m128 part = _mm256_castps256_ps128(a);
    if (k == 8) {
        _mm256_storeu_ps(p, a);
        return;
    }
    if (k & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps(a, 1);
        p += 4;
    }
    if (k & 2) {
        _mm_storel_pi((__m64 *)p, part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (k & 1) _mm_store_ss(p, part);
}
static inline void f64_store_part(double *p, f64v a, ptrdiff_t k) {
    __m128d part = _mm256_castpd256_pd128(a);
    if (k == 4) {
        _mm256_storeu_pd(p, a);
        return;
    }
    if (k & 2) {
        _mm_storeu_pd(p, part);
        part = _mm256_extractf128_pd(a, 1);
        p += 2;
    }
    if (k & 1) _mm_store_sd(p, part);
}

static inline f32v f32_add(f32v a, f32v b) { return _mm256_add_ps(a, b); }
static inline f64v f64_add(f64v a, f64v b) { return _mm256_add_pd(a, b); }
static inline f32v f32_sub(f32v a, f32v b) { return _mm256_sub_ps(a, b); }
static inline f64v f64_sub(f64v a, f64v b) { return _mm256_sub_pd(a, b); }
static inline f32v f32_mul(f32v a, f32v b) { return _mm256_mul_ps(a, b); }
static inline f64v f64_mul(f64v a, f64v b) { return _mm256_mul_pd(a, b); }
static inline f32v f32_div(f32v a, f32v b) { return _mm256_div_ps(a, b); }
static inline f64v f64_div(f64v a, f64v b) { return _mm256_div_pd(a, b); }
static inline f32v f32_fma(f32v a, f32v b, f32v c) { return _mm256_fmadd_ps(a, b, c); }
static inline f64v f64_fma(f64v a, f64v b, f64v c) { return _mm256_fmadd_pd(a, b, c); }
static inline f32v f32_fnma(f32v a, f32v b, f32v c) { return _mm256_fnmadd_ps(a, b, c); }
static inline f64v f64_fnma(f64v a, f64v b, f64v c) { return _mm256_fnmadd_pd(a, b, c); }
/* n - q d, exactly */
static inline f64v f64_remainder(f64v n, f64v q, f64v d) { return _mm256_fnmadd_pd(q, d, n); }
static inline f32v f32_remainder(f32v n, f32v q, f32v d) { return _mm256_fnmadd_ps(q, d, n); }
static inline f32v f32_max(f32v a, f32v b) { return _mm256_max_ps(a, b); }
static inline f64v f64_max(f64v a, f64v b) { return _mm256_max_pd(a, b); }
static inline f32v f32_abs(f32v a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline f64v f64_abs(f64v a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }

static inline f32m f32_lt(f32v a, f32v b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline f64m f64_lt(f64v a, f64v b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
static inline f32m f32_ge(f32v a, f32v b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
static inline f64m f64_ge(f64v a, f64v b) { return _mm256_cmp_pd(a, b, _CMP_GE_OQ); }
static inline f32m f32_not_lt(f32v a, f32v b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
static inline f64m f64_not_lt(f64v a, f64v b) { return _mm256_cmp_pd(a, b, _CMP_NLT_UQ); }
static inline f32m f32_ne(f32v a, f32v b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
static inline f64m f64_ne(f64v a, f64v b) { return _mm256_cmp_pd(a, b, _CMP_NEQ_UQ); }
static inline f32v f32_keep(f32m m, f32v a) { return _mm256_and_ps(m, a); }
static inline f64v f64_keep(f64m m, f64v a) { return _mm256_and_pd(m, a); }
static inline f32v f32_select(f32m m, f32v a, f32v b) { return _mm256_blendv_ps(b, a, m); }
static inline f64v f64_select(f64m m, f64v a, f64v b) { return _mm256_blendv_pd(b, a, m); }
static inline int f32_count(f32m m) { return __builtin_popcount((unsigned)_mm256_movemask_ps(m)); }
static inline int f64_count(f64m m) { return __builtin_popcount((unsigned)_mm256_movemask_pd(m)); }

/* Where bytes are 0. */
static inline f32m f32_zero_bytes(const uint8_t *p) {
    __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(bytes, _mm256_setzero_si256()));
}
static inline f64m f64_zero_bytes(const uint8_t *p) {
    int four;
    memcpy(&four, p, sizeof four);
    __m256i bytes = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
    return _mm256_castsi256_pd(_mm256_cmpeq_epi64(bytes, _mm256_setzero_si256()));
}

/* a * 2^n for a normal number 2^n or 0, from n + LIFTED_ZERO (exp_body.h), which has the biased exponent in its low bits.
   The product, unlike an addition to the exponent field, keeps a NaN a NaN. */
static inline f32v f32_times_lifted(f32v a, f32v lifted) {
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(lifted), 23)));
}
static inline f64v f64_times_lifted(f64v a, f64v lifted) {
    return _mm256_mul_pd(a, _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(lifted), 52)));
}
static inline f64v f64_exponent(f64v a) {
    __m256i field = _mm256_srli_epi64(_mm256_castpd_si256(a), 52);
    __m256d shifted = _mm256_castsi256_pd(_mm256_or_si256(field, _mm256_castpd_si256(_mm256_set1_pd(0x1p52))));
    return _mm256_sub_pd(shifted, _mm256_set1_pd(0x1p52 + 1023.0));
}
static inline f64v f64_mantissa(f64v a) {
    f64v fraction = _mm256_and_pd(a, _mm256_castsi256_pd(_mm256_set1_epi64x((long long)0x000fffffffffffffULL)));
    return _mm256_or_pd(fraction, _mm256_set1_pd(1.0));
}
static inline f32v f32_exponent(f32v a) {
    __m256i field = _mm256_srli_epi32(_mm256_castps_si256(a), 23);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(field, _mm256_set1_epi32(127)));
}
static inline f32v f32_mantissa(f32v a) {
    f32v fraction = _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x007fffff)));
    return _mm256_or_ps(fraction, _mm256_set1_ps(1.0f));
}

/* Floats as doubles, in two halves, and back. */
static inline f64v f32_low(f32v a) { return _mm256_cvtps_pd(_mm256_castps256_ps128(a)); }
static inline f64v f32_high(f32v a) { return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)); }
static inline f64m f32_low_mask(f32m m) {
    return _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm_castps_si128(_mm256_castps256_ps128(m))));
}
static inline f64m f32_high_mask(f32m m) {
    return _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm_castps_si128(_mm256_extractf128_ps(m, 1))));
}
static inline f32v f32_join(f64v low, f64v high) {
    return _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low));
}

/* Each lane gets that which is `width` further on, or back: a power of two below the number of lanes. */
static inline f64v f64_swap(f64v a, int width) {
    return width == 2 ? _mm256_permute2f128_pd(a, a, 1) : _mm256_permute_pd(a, 5);
}
static inline double f64_first_lane(f64v a) { return _mm256_cvtsd_f64(a); }
static inline float f32_first_lane(f32v a) { return _mm256_cvtss_f32(a); }
static inline double f64_max_lane(f64v a) {
    __m128d m = _mm_max_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_max_pd(m, _mm_unpackhi_pd(m, m)));
}
static inline float f32_max_lane(f32v a) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ps(m, _mm_shuffle_ps(m, m, 1)));
}

static inline f32s f32_sum_zero(void) {
    f32s s = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    return s;
}
static inline f32s f32_sum_add(f32s s, f32v a) {
    s.low = _mm256_add_pd(s.low, _mm256_cvtps_pd(_mm256_castps256_ps128(a)));
    s.high = _mm256_add_pd(s.high, _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)));
    return s;
}
/* The product of two floats is exact in double. */
static inline f32s f32_sum_fma(f32s s, f32v a, f32v b) {
    s.low =
        _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(a)), _mm256_cvtps_pd(_mm256_castps256_ps128(b)), s.low);
    s.high = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)), _mm256_cvtps_pd(_mm256_extractf128_ps(b, 1)),
                             s.high);
    return s;
}
static inline f64v f32_sum_fold(f32s s) { return _mm256_add_pd(s.low, s.high); }
/* Lane by lane; what doubles round off is of no use to floats. */
static inline void f32_sum_store(f32s s, double *p, double *rest) {
    (void)rest;
    _mm256_storeu_pd(p, s.low);
    _mm256_storeu_pd(p + 4, s.high);
}

static inline void f32_transpose(f32v t[8]) {
    f32v u[8];
    for (int i = 0; i < 8; i += 2) {
        u[i] = _mm256_unpacklo_ps(t[i], t[i + 1]);
        u[i + 1] = _mm256_unpackhi_ps(t[i], t[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        t[i] = _mm256_shuffle_ps(u[i], u[i + 2], 0x44);
        t[i + 1] = _mm256_shuffle_ps(u[i], u[i + 2], 0xee);
        t[i + 2] = _mm256_shuffle_ps(u[i + 1], u[i + 3], 0x44);
        t[i + 3] = _mm256_shuffle_ps(u[i + 1], u[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        u[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        u[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
    for (int i = 0; i < 8; ++i) t[i] = u[i];
}

static inline void f64_transpose(f64v t[4]) {
    f64v u[4];
    for (int i = 0; i < 4; i += 2) {
        u[i] = _mm256_unpacklo_pd(t[i], t[i + 1]);
        u[i + 1] = _mm256_unpackhi_pd(t[i], t[i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
        t[i] = _mm256_permute2f128_pd(u[i], u[i + 2], 0x20);
        t[i + 2] = _mm256_permute2f128_pd(u[i], u[i + 2], 0x31);
    }
}

#define FX_HALF_LANES 8
static inline f32v f16_load(const unsigned short *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
static inline void f16_store(unsigned short *p, f32v a) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

#endif
