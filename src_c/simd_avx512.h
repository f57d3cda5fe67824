/* AVX-512 (F, BW, DQ, VL): sixteen floats or eight doubles a vector, comparisons give bit masks. */
#ifndef FX_SIMD_AVX512_H
#define FX_SIMD_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define FX_ISA avx512
#define FX_STREAMS 1
#define F32_LANES 16
#define F64_LANES 8

typedef __m512 f32v;
typedef __m512d f64v;
typedef __mmask16 f32m;
typedef __mmask8 f64m;

/* Sums over rows of floats end in double: one accumulator for each half of the lanes. */
typedef struct {
    __m512d low, high;
} f32s;

static inline f32v f32_set(float a) { return _mm512_set1_ps(a); }
static inline f64v f64_set(double a) { return _mm512_set1_pd(a); }
static inline f32v f32_load(const float *p) { return _mm512_loadu_ps(p); }
static inline f64v f64_load(const double *p) { return _mm512_loadu_pd(p); }
static inline void f32_store(float *p, f32v a) { _mm512_storeu_ps(p, a); }
static inline void f64_store(double *p, f64v a) { _mm512_storeu_pd(p, a); }

/* To an aligned place, past the caches. */
static inline void f32_stream(float *p, f32v a) { _mm512_stream_ps(p, a); }

static inline f32v f32_load_part(const float *p, ptrdiff_t k, float fill) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), (__mmask16)((1u << k) - 1u), p);
}
static inline f64v f64_load_part(const double *p, ptrdiff_t k, double fill) {
    return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), (__mmask8)((1u << k) - 1u), p);
}
static inline void f32_store_part(float *p, f32v a, ptrdiff_t k) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << k) - 1u), a);
}
static inline void f64_store_part(double *p, f64v a, ptrdiff_t k) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << k) - 1u), a);
}

static inline f32v f32_add(f32v a, f32v b) { return _mm512_add_ps(a, b); }
static inline f64v f64_add(f64v a, f64v b) { return _mm512_add_pd(a, b); }
static inline f32v f32_sub(f32v a, f32v b) { return _mm512_sub_ps(a, b); }
static inline f64v f64_sub(f64v a, f64v b) { return _mm512_sub_pd(a, b); }
static inline f32v f32_mul(f32v a, f32v b) { return _mm512_mul_ps(a, b); }
static inline f64v f64_mul(f64v a, f64v b) { return _mm512_mul_pd(a, b); }
static inline f32v f32_div(f32v a, f32v b) { return _mm512_div_ps(a, b); }
static inline f64v f64_div(f64v a, f64v b) { return _mm512_div_pd(a, b); }
static inline f32v f32_fma(f32v a, f32v b, f32v c) { return _mm512_fmadd_ps(a, b, c); }
static inline f64v f64_fma(f64v a, f64v b, f64v c) { return _mm512_fmadd_pd(a, b, c); }
static inline f32v f32_fnma(f32v a, f32v b, f32v c) { return _mm512_fnmadd_ps(a, b, c); }
static inline f64v f64_fnma(f64v a, f64v b, f64v c) { return _mm512_fnmadd_pd(a, b, c); }
/* n - q d, exactly */
static inline f64v f64_remainder(f64v n, f64v q, f64v d) { return _mm512_fnmadd_pd(q, d, n); }
static inline f32v f32_remainder(f32v n, f32v q, f32v d) { return _mm512_fnmadd_ps(q, d, n); }
static inline f32v f32_max(f32v a, f32v b) { return _mm512_max_ps(a, b); }
static inline f64v f64_max(f64v a, f64v b) { return _mm512_max_pd(a, b); }
static inline f32v f32_abs(f32v a) { return _mm512_abs_ps(a); }
static inline f64v f64_abs(f64v a) { return _mm512_abs_pd(a); }

static inline f32m f32_lt(f32v a, f32v b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline f64m f64_lt(f64v a, f64v b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
static inline f32m f32_ge(f32v a, f32v b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
static inline f64m f64_ge(f64v a, f64v b) { return _mm512_cmp_pd_mask(a, b, _CMP_GE_OQ); }
static inline f32m f32_not_lt(f32v a, f32v b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
static inline f64m f64_not_lt(f64v a, f64v b) { return _mm512_cmp_pd_mask(a, b, _CMP_NLT_UQ); }
static inline f32m f32_ne(f32v a, f32v b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
static inline f64m f64_ne(f64v a, f64v b) { return _mm512_cmp_pd_mask(a, b, _CMP_NEQ_UQ); }
static inline f32v f32_keep(f32m m, f32v a) { return _mm512_maskz_mov_ps(m, a); }
static inline f64v f64_keep(f64m m, f64v a) { return _mm512_maskz_mov_pd(m, a); }
static inline f32v f32_select(f32m m, f32v a, f32v b) { return _mm512_mask_mov_ps(b, m, a); }
static inline f64v f64_select(f64m m, f64v a, f64v b) { return _mm512_mask_mov_pd(b, m, a); }
static inline int f32_count(f32m m) { return __builtin_popcount(m); }
static inline int f64_count(f64m m) { return __builtin_popcount(m); }

/* Where bytes are 0. */
static inline f32m f32_zero_bytes(const uint8_t *p) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return _mm_testn_epi8_mask(bytes, bytes);
}
static inline f64m f64_zero_bytes(const uint8_t *p) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)p);
    return (f64m)_mm_testn_epi8_mask(bytes, bytes);
}

#define FX_SCALES
/* 2^n a, n rounded down, which only exponentials by roots of two rely on. */
static inline f32v f32_scale2(f32v a, f32v n) { return _mm512_scalef_ps(a, n); }
static inline f64v f64_scale2(f64v a, f64v n) { return _mm512_scalef_pd(a, n); }

/* From a table of sixteen, by the last bits of an index. */
#define FX_LOOKUP
static inline f32v f32_lookup(f32v index, const float *table) {
    return _mm512_permutexvar_ps(_mm512_castps_si512(index), _mm512_loadu_ps(table));
}
static inline f64v f64_lookup(f64v index, const double *table) {
    return _mm512_permutex2var_pd(_mm512_loadu_pd(table), _mm512_castpd_si512(index), _mm512_loadu_pd(table + 8));
}

static inline f64v f64_exponent(f64v a) { return _mm512_getexp_pd(a); }
static inline f64v f64_mantissa(f64v a) { return _mm512_getmant_pd(a, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero); }
/* Of subnormal numbers too, as if these were normal. */
#define FX_SUBNORMAL_PARTS
static inline f32v f32_exponent(f32v a) { return _mm512_getexp_ps(a); }
static inline f32v f32_mantissa(f32v a) { return _mm512_getmant_ps(a, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero); }

/* Floats as doubles, in two halves, and back. */
static inline f64v f32_low(f32v a) { return _mm512_cvtps_pd(_mm512_castps512_ps256(a)); }
static inline f64v f32_high(f32v a) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)); }
static inline f64m f32_low_mask(f32m m) { return (f64m)m; }
static inline f64m f32_high_mask(f32m m) { return (f64m)(m >> 8); }
static inline f32v f32_join(f64v low, f64v high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

/* Each lane gets that which is `width` further on, or back: a power of two below the number of lanes. */
static inline f64v f64_swap(f64v a, int width) {
    if (width == 4) return _mm512_shuffle_f64x2(a, a, 0x4e);
    return width == 2 ? _mm512_permutex_pd(a, 0x4e) : _mm512_permute_pd(a, 0x55);
}
static inline double f64_first_lane(f64v a) { return _mm512_cvtsd_f64(a); }
static inline float f32_first_lane(f32v a) { return _mm512_cvtss_f32(a); }
static inline float f32_max_lane(f32v a) { return _mm512_reduce_max_ps(a); }
static inline double f64_max_lane(f64v a) { return _mm512_reduce_max_pd(a); }

static inline f32s f32_sum_zero(void) {
    f32s s = {_mm512_setzero_pd(), _mm512_setzero_pd()};
    return s;
}
static inline f32s f32_sum_add(f32s s, f32v a) {
    s.low = _mm512_add_pd(s.low, _mm512_cvtps_pd(_mm512_castps512_ps256(a)));
    s.high = _mm512_add_pd(s.high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)));
    return s;
}
/* The product of two floats is exact in double. */
static inline f32s f32_sum_fma(f32s s, f32v a, f32v b) {
    s.low =
        _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(a)), _mm512_cvtps_pd(_mm512_castps512_ps256(b)), s.low);
    s.high = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)),
                             _mm512_cvtps_pd(_mm512_extractf32x8_ps(b, 1)), s.high);
    return s;
}
static inline f64v f32_sum_fold(f32s s) { return _mm512_add_pd(s.low, s.high); }
/* Lane by lane; what doubles round off is of no use to floats. */
static inline void f32_sum_store(f32s s, double *p, double *rest) {
    (void)rest;
    _mm512_storeu_pd(p, s.low);
    _mm512_storeu_pd(p + 8, s.high);
}

/* Rows to columns: pairs of lanes, then quadruples, then the four 128-bit quarters. */
static inline void f32_transpose(f32v t[16]) {
    f32v u[16];
    for (int i = 0; i < 16; i += 2) {
        u[i] = _mm512_unpacklo_ps(t[i], t[i + 1]);
        u[i + 1] = _mm512_unpackhi_ps(t[i], t[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        t[i] = _mm512_shuffle_ps(u[i], u[i + 2], 0x44);
        t[i + 1] = _mm512_shuffle_ps(u[i], u[i + 2], 0xee);
        t[i + 2] = _mm512_shuffle_ps(u[i + 1], u[i + 3], 0x44);
        t[i + 3] = _mm512_shuffle_ps(u[i + 1], u[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        u[i] = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
        u[i + 4] = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        u[i + 8] = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
        u[i + 12] = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_f32x4(u[i], u[i + 8], 0x88);
        t[i + 8] = _mm512_shuffle_f32x4(u[i], u[i + 8], 0xdd);
        t[i + 4] = _mm512_shuffle_f32x4(u[i + 4], u[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(u[i + 4], u[i + 12], 0xdd);
    }
}

static inline void f64_transpose(f64v t[8]) {
    f64v u[8];
    for (int i = 0; i < 8; i += 2) {
        u[i] = _mm512_unpacklo_pd(t[i], t[i + 1]);
        u[i + 1] = _mm512_unpackhi_pd(t[i], t[i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
        t[i] = _mm512_shuffle_f64x2(u[i], u[i + 2], 0x88);
        t[i + 2] = _mm512_shuffle_f64x2(u[i], u[i + 2], 0xdd);
        t[i + 4] = _mm512_shuffle_f64x2(u[i + 4], u[i + 6], 0x88);
        t[i + 6] = _mm512_shuffle_f64x2(u[i + 4], u[i + 6], 0xdd);
    }
    for (int i = 0; i < 2; ++i) {
        u[i] = _mm512_shuffle_f64x2(t[i], t[i + 4], 0x88);
        u[i + 4] = _mm512_shuffle_f64x2(t[i], t[i + 4], 0xdd);
        u[i + 2] = _mm512_shuffle_f64x2(t[i + 2], t[i + 6], 0x88);
        u[i + 6] = _mm512_shuffle_f64x2(t[i + 2], t[i + 6], 0xdd);
    }
    for (int i = 0; i < 8; ++i) t[i] = u[i];
}

/* Lanes of `a`, but where bits of `where` are set those of `from` at `places`, of which the last bits count. */
#define FX_PICKS
typedef uint32_t f32_places __attribute__((vector_size(64)));
typedef uint64_t f64_places __attribute__((vector_size(64)));
static inline f32_places f32_lane_numbers(void) {
    f32_places lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lanes;
}
static inline f64_places f64_lane_numbers(void) {
    f64_places lanes = {0, 1, 2, 3, 4, 5, 6, 7};
    return lanes;
}
static inline f32v f32_pick(f32v a, unsigned where, f32_places places, f32v from) {
    return _mm512_mask_permutexvar_ps(a, (f32m)where, (__m512i)places, from);
}
static inline f64v f64_pick(f64v a, unsigned where, f64_places places, f64v from) {
    return _mm512_mask_permutexvar_pd(a, (f64m)where, (__m512i)places, from);
}

#define FX_HALF_LANES 16
static inline f32v f16_load(const unsigned short *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
static inline void f16_store(unsigned short *p, f32v a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

#endif
