/* All kernels for one instruction set: compiled once for each, FX_SIMD naming the header of its vectors.
   The one exported symbol is the table. */
#include "kernels.h"

#include <math.h>

#include FX_SIMD
#include "polynomials.h"

#ifdef FX_UNFUSED
#define FUSED 0
#else
#define FUSED 1
#endif
#define CONCATENATE_(a, b) a##b
#define CONCATENATE(a, b) CONCATENATE_(a, b)
#define STRING_(a) #a
#define STRING(a) STRING_(a)

/* double goes first: the floats' sums and per-row figures use its functions. */
#define REAL double
#define V f64v
#define M f64m
#define SUM f64s
#define LANES F64_LANES
#define OP(name) f64_##name
#define KERNEL(name) f64k_##name
#define C(value, value_f32) value
#include "kernels_body.h"
#include "kernels_sigmoid.h"
#include "kernels_probability.h"
#undef REAL
#undef V
#undef M
#undef SUM
#undef LANES
#undef OP
#undef KERNEL
#undef C

#define REAL float
#define V f32v
#define M f32m
#define SUM f32s
#define LANES F32_LANES
#define OP(name) f32_##name
#define KERNEL(name) f32k_##name
#define C(value, value_f32) value_f32
#include "kernels_body.h"
#include "kernels_sigmoid.h"
#include "kernels_probability.h"

/* e^t for t <= 0. */
static void f64k_exp(const double *x, double *out, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += F64_LANES) {
        ptrdiff_t k = n - i < F64_LANES ? n - i : F64_LANES;
        f64v rest;
        f64_store_part(out + i, f64_exp_nonpositive(f64_load_part(x + i, k, 0.0), &rest), k);
    }
}

/* log(1 + t + rest) for t >= 0, and in `rest` what the result rounds off: 1 + t = 2^k (1 + f), and over 1 + t what
   that addition rounds off. */
static void f64k_log1p(const double *x, double *out, double *rest, ptrdiff_t n) {
    f64v one = f64_set(1.0), zero = f64_set(0.0);
    for (ptrdiff_t i = 0; i < n; i += F64_LANES) {
        ptrdiff_t part = n - i < F64_LANES ? n - i : F64_LANES;
        f64v t = f64_load_part(x + i, part, 0.0);
        f64v u = f64_add(one, t);
        f64v mantissa = f64_mantissa(u);
        f64m halve = f64_ge(mantissa, f64_set(1.5));
        f64v k = f64_add(f64_exponent(u), f64_keep(halve, one));
        f64v f = f64_sub(f64_select(halve, f64_mul(mantissa, f64_set(0.5)), mantissa), one);
        f64v small = f64_sub(t, f64_sub(u, one)), large = f64_sub(one, f64_sub(u, t));
        f64m shifted = f64_ne(k, zero);
        f64v lost = f64_keep(shifted, f64_keep(f64_lt(k, f64_set(55.0)), f64_select(f64_lt(t, one), small, large)));
        lost = f64_div(f64_add(lost, f64_load_part(rest + i, part, 0.0)), u);
        f = f64_select(shifted, f, t);
        f64v value_rest, value = f64_log_reduced(f, k, lost, &value_rest);
        f64_store_part(out + i, f64_select(f64_ne(t, t), t, value), part);
        f64_store_part(rest + i, value_rest, part);
    }
}

/* log(x) for x >= 0, and what it rounds off. */
static void f64k_log(const double *x, double *out, double *rest, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += F64_LANES) {
        ptrdiff_t k = n - i < F64_LANES ? n - i : F64_LANES;
        f64v value_rest, value = f64_log_scaled(f64_load_part(x + i, k, 1.0), f64_set(0.0), &value_rest);
        f64_store_part(out + i, value, k);
        f64_store_part(rest + i, value_rest, k);
    }
}

static double f64k_sum(const double *x, ptrdiff_t n) {
    f64s sum = f64_sum_zero();
    for (ptrdiff_t i = 0; i < n; i += F64_LANES)
        sum = f64_sum_add(sum, f64_load_part(x + i, n - i < F64_LANES ? n - i : F64_LANES, 0.0));
    double rest;
    return f64_sum_total(sum, &rest);
}

static void f32k_from_f16(const uint16_t *x, float *out, ptrdiff_t n) {
    ptrdiff_t i = 0;
    for (; i + FX_HALF_LANES <= n; i += FX_HALF_LANES) f32_store(out + i, f16_load(x + i));
    if (i < n) {
        uint16_t part[FX_HALF_LANES] = {0};
        for (ptrdiff_t j = 0; i + j < n; ++j) part[j] = x[i + j];
        f32_store_part(out + i, f16_load(part), n - i);
    }
}

static void f32k_to_f16(const float *x, uint16_t *out, ptrdiff_t n) {
    ptrdiff_t i = 0;
    for (; i + FX_HALF_LANES <= n; i += FX_HALF_LANES) f16_store(out + i, f32_load(x + i));
    if (i < n) {
        uint16_t part[FX_HALF_LANES];
        f16_store(part, f32_load_part(x + i, n - i, 0.0f));
        for (ptrdiff_t j = 0; i + j < n; ++j) out[i + j] = part[j];
    }
}

const fx_table CONCATENATE(fx_table_, FX_ISA) = {
    STRING(FX_ISA),
    {
#define FX_KERNEL(type, name, arguments) f32k_##name,
#define FX_FLOAT(type, name, arguments) f32k_##name,
#include "kernels.def"
    },
    {
#define FX_KERNEL(type, name, arguments) f64k_##name,
#define FX_DOUBLE(type, name, arguments) f64k_##name,
#include "kernels.def"
    },
};
