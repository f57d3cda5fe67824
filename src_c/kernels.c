/* All kernels for one instruction set: compiled once for each, FX_SIMD naming the header of its vectors.
   The one exported symbol is the table. */
#include "kernels.h"

#include <math.h>
#include <string.h>

/* For functions that are told constants: what these leave of them is all that a loop should hold. With checks in it all, as
   sanitizers add them, that takes gcc minutes. */
#ifdef __SANITIZE_ADDRESS__
#define FX_INLINE inline
#else
#define FX_INLINE inline __attribute__((always_inline))
#endif

/* For room: what is called once a row from several places, and what hardly any row needs. */
#define FX_NOINLINE __attribute__((noinline))
#define FX_COLD __attribute__((noinline, cold))

#include FX_SIMD
#include "polynomials.h"
#include "simd_bundle.h"

#ifdef FX_UNFUSED
#define FUSED 0
#else
#define FUSED 1
#endif
/* Whether what is rarely asked for has one body that tests at every step, not a body for each case: for room. */
#ifdef FX_COMPACT
#define COMPACT 1
#else
#define COMPACT 0
#endif

/* Whether floats are added up without widening each: with AVX2 they overflow its sixteen registers. */
#ifdef FX_SIXTEEN_REGISTERS
#define RUNNING 0
#else
#define RUNNING 1
#endif

#define CONCATENATE_(a, b) a##b
#define CONCATENATE(a, b) CONCATENATE_(a, b)
#define STRING_(a) #a
#define STRING(a) STRING_(a)

/* double goes first: the floats' sums and per-row figures use its functions. */
#define REAL double
#define C(value, value_f32) value
#define TYPE(name) f64_##name
#define BUNDLED(name) f64b_##name
#define V f64b
#define M f64b_mask
#define OP(name) f64b_##name
#include "exp_body.h"
#undef V
#undef M
#undef OP
#define V f64v
#define M f64m
#define SUM f64s
#define LANES F64_LANES
#define OP(name) f64_##name
#define KERNEL(name) f64k_##name
#include "exp_body.h"
#include "kernels_body.h"
#undef REAL
#undef V
#undef M
#undef SUM
#undef LANES
#undef OP
#undef KERNEL
#undef BUNDLED
#undef TYPE
#undef C

#define REAL float
#define C(value, value_f32) value_f32
#define TYPE(name) f32_##name
#define BUNDLED(name) f32b_##name
#define V f32b
#define M f32b_mask
#define OP(name) f32b_##name
#include "exp_body.h"
#undef V
#undef M
#undef OP
#define V f32v
#define M f32m
#define SUM f32s
#define LANES F32_LANES
#define OP(name) f32_##name
#define KERNEL(name) f32k_##name
#include "exp_body.h"
#include "kernels_body.h"
#include "kernels_stream.h"

/* Whether a label is not in [0, classes). */
static int f64k_any_beyond(const int64_t *labels, ptrdiff_t n, ptrdiff_t classes) {
    uint64_t beyond = 0;
    for (ptrdiff_t i = 0; i < n; ++i) beyond |= (uint64_t)labels[i] | ((uint64_t)(classes - 1) - (uint64_t)labels[i]);
    return (int64_t)beyond < 0;
}

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
static inline f64v f64_log1p(f64v t, f64v *rest) {
    f64v one = f64_set(1.0), zero = f64_set(0.0);
    f64v u = f64_add(one, t);
    f64v mantissa = f64_mantissa(u);
    f64m halve = f64_ge(mantissa, f64_set(1.5));
    f64v k = f64_add(f64_exponent(u), f64_keep(halve, one));
    f64v f = f64_sub(f64_select(halve, f64_mul(mantissa, f64_set(0.5)), mantissa), one);
    f64v small = f64_sub(t, f64_sub(u, one)), large = f64_sub(one, f64_sub(u, t));
    f64m shifted = f64_ne(k, zero);
    f64v lost = f64_keep(shifted, f64_keep(f64_lt(k, f64_set(55.0)), f64_select(f64_lt(t, one), small, large)));
    lost = f64_div(f64_add(lost, *rest), u);
    f64v value = f64_log_reduced(f64_select(shifted, f, t), k, lost, rest);
    return f64_select(f64_ne(t, t), t, value);
}

static void f64k_log1p(const double *x, double *out, double *rest, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += F64_LANES) {
        ptrdiff_t k = n - i < F64_LANES ? n - i : F64_LANES;
        f64v value_rest = f64_load_part(rest + i, k, 0.0);
        f64_store_part(out + i, f64_log1p(f64_load_part(x + i, k, 0.0), &value_rest), k);
        f64_store_part(rest + i, value_rest, k);
    }
}

/* log(ties + others), and what it rounds off. */
static void f64k_rows_log_total(ptrdiff_t rows, const fx_rows *of, double *log_total, double *rest) {
    for (ptrdiff_t i = 0; i < rows; i += F64_LANES) {
        ptrdiff_t k = rows - i < F64_LANES ? rows - i : F64_LANES;
        f64v tied = f64_sub(f64_load_part(of->ties + i, k, 1.0), f64_set(1.0)), lost;
        if (of->coarse) {
            f64v total = f64_add(tied, f64_load_part(of->others + i, k, 0.0));
            f64_store_part(log_total + i, f64_plain_log1p(total), k);
            f64_store_part(rest + i, f64_set(0), k);
            continue;
        }
        f64v t = f64_two_sum(tied, f64_load_part(of->others + i, k, 0.0), &lost);
        lost = f64_add(f64_load_part(of->rest + i, k, 0.0), lost);
        f64_store_part(log_total + i, f64_log1p(t, &lost), k);
        f64_store_part(rest + i, lost, k);
    }
}

/* a (b + rest) as a sum of two. */
static inline f64v f64_multiple(f64v a, f64v b, f64v *rest) {
    f64v product = f64_mul(a, b);
    *rest = f64_finite_rest(f64_sub(f64_mul(a, *rest), f64_remainder(product, a, b)));
    return product;
}

static void f64k_hard_figures(ptrdiff_t rows, const fx_rows *of, const double *log_total, const double *rest,
                              const fx_hard *out) {
    f64v zero = f64_set(0.0), one = f64_set(1.0), scale = f64_set(out->scale), lost;
    for (ptrdiff_t i = 0; i < rows; i += F64_LANES) {
        ptrdiff_t k = rows - i < F64_LANES ? rows - i : F64_LANES;
        f64v weight = out->weight ? f64_load_part(out->weight + i, k, 0.0) : one;
        f64v mass = out->mass ? f64_load_part(out->mass + i, k, 0.0) : one, margin;
        if (out->score) {
            /* 0 for the maximum itself, even if it is infinite. */
            f64v max = f64_load_part(of->max + i, k, 0.0), score = f64_load_part(out->score + i, k, 0.0);
            margin = f64_keep(f64_ne(max, score), f64_sub(max, score));
        } else {
            margin = f64_load_part(out->margin + i, k, 0.0);
        }
        f64m counts = f64_ne(weight, zero);
        /* Rounded once, at the end. */
        f64v loss = f64_two_sum(margin, f64_load_part(log_total + i, k, 0.0), &lost);
        lost = f64_finite_rest(f64_add(lost, f64_load_part(rest + i, k, 0.0)));
        if (out->mass) loss = f64_multiple(mass, loss, &lost);
        if (out->weight) loss = f64_multiple(weight, loss, &lost);
        f64_store_part(out->loss + i, f64_keep(counts, f64_add(loss, lost)), k);
        if (!out->factor) continue;
        f64v ties = f64_load_part(of->ties + i, k, 1.0), others = f64_load_part(of->others + i, k, 0.0);
        f64v total = f64_load_part(of->stored + i, k, 1.0), all = f64_add(ties, others);
        if (of->coarse) {
            f64v not_label = f64_add(f64_sub(ties, f64_plain_exp(f64_sub(zero, margin))), others), share = scale;
            if (out->weight) share = f64_mul(share, weight);
            if (out->mass) share = f64_mul(share, mass);
            share = f64_div(share, f64_mul(all, total));
            f64_store_part(out->factor + i, f64_keep(counts, f64_mul(share, all)), k);
            f64_store_part(out->at_label + i, f64_keep(counts, f64_fnma(f64_mul(share, total), not_label, zero)), k);
            continue;
        }
        f64v at = f64_exp_nonpositive(f64_sub(zero, margin), &lost);
        f64v not_p = f64_div(f64_add(f64_sub(ties, at), others), all);
        /* With what it rounds off, as the total has it. */
        f64v by_rest = f64_set(out->scale_rest), by = scale;
        if (out->weight) by = f64_multiple(weight, by, &by_rest);
        if (out->mass) by = f64_multiple(mass, by, &by_rest);
        f64v total_rest = f64_load_part(of->stored_rest + i, k, 0.0);
        f64v inverse = f64_div(one, total), factor = f64_mul(by, inverse);
        lost = f64_add(f64_fnma(factor, total_rest, f64_remainder(by, factor, total)), by_rest);
        factor = f64_fma(f64_finite_rest(lost), inverse, factor);
        f64_store_part(out->factor + i, f64_keep(counts, factor), k);
        f64_store_part(out->at_label + i, f64_keep(counts, f64_sub(zero, f64_fma(by_rest, not_p, f64_mul(by, not_p)))),
                       k);
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

/* And in `rest` what the sum rounds off. */
static double f64k_sum(const double *x, ptrdiff_t n, double *rest) {
    f64s sum = f64_sum_zero();
    for (ptrdiff_t i = 0; i < n; i += F64_LANES)
        sum = f64_sum_add(sum, f64_load_part(x + i, n - i < F64_LANES ? n - i : F64_LANES, 0.0));
    return f64_sum_total(sum, rest);
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

static void f32k_from_bf16(const uint16_t *x, float *out, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; ++i) {
        uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

/* Rounded to nearest, ties to even; a NaN stays one. */
static void f32k_to_bf16(const float *x, uint16_t *out, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; ++i) {
        uint32_t bits, rounded;
        memcpy(&bits, x + i, sizeof bits);
        rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        out[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
    }
}

const fx_table CONCATENATE(fx_table_, FX_ISA) = {
    STRING(FX_ISA),
    FX_STREAMS,
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
