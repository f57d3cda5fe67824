/* What kernels share: sums that end in double, doubles for floats, parts of vectors, memory asked for ahead. */

/* ---- sums that end in double ----------------------------------------------------------------------- */

#ifndef FX_SUM_OF_DOUBLES
#define FX_SUM_OF_DOUBLES
/* Doubles are summed with the rounding errors kept apart (Knuth's two-sum). */
typedef struct {
    f64v sum, error;
} f64s;

static inline f64s f64_sum_zero(void) {
    f64s s = {f64_set(0), f64_set(0)};
    return s;
}
static inline f64s f64_sum_add(f64s s, f64v a) {
    f64v sum = f64_add(s.sum, a);
    f64v rounded = f64_sub(sum, s.sum);
    f64v error = f64_add(f64_sub(s.sum, f64_sub(sum, rounded)), f64_sub(a, rounded));
    s.sum = sum;
    s.error = f64_add(s.error, error);
    return s;
}
/* a and what it rounds off; a float's sum has no use for that. */
static inline f64s f64_sum_add_exact(f64s s, f64v a, f64v rest) {
    s = f64_sum_add(s, a);
    s.error = f64_add(s.error, rest);
    return s;
}
static inline f32s f32_sum_add_exact(f32s s, f32v a, f32v rest) {
    (void)rest;
    return f32_sum_add(s, a);
}
static inline f64s f64_sum_add_both(f64s s, f64v a, f64v rest, int brief) {
    (void)brief;
    return f64_sum_add_exact(s, a, rest);
}
/* For once a float's sum counts what its terms round off. */
static inline f32s f32_sum_add_both(f32s s, f32v a, f32v rest, int brief) {
    s = f32_sum_add(s, a);
    return brief ? s : f32_sum_add(s, rest);
}
/* An infinite or NaN number comes with a NaN rest, and has none. */
static inline f64v f64_finite_rest(f64v rest) { return f64_keep(f64_lt(f64_abs(rest), f64_set(INFINITY)), rest); }
/* a - b, and what that rounds off. */
static inline f64v f64_difference(f64v a, f64v b, f64v *rest) {
    f64v value = f64_sub(a, b);
    f64v rounded = f64_sub(value, a);
    *rest = f64_sub(f64_sub(a, f64_sub(value, rounded)), f64_add(b, rounded));
    return value;
}
static inline f32v f32_difference(f32v a, f32v b, f32v *rest) {
    *rest = f32_set(0);
    return f32_sub(a, b);
}
/* a b, b having a rest. */
static inline f64s f64_sum_product(f64s s, f64v a, f64v b, f64v rest) {
    f64v product = f64_mul(a, b);
    return f64_sum_add_exact(s, product, f64_sub(f64_mul(a, rest), f64_remainder(product, a, b)));
}
static inline f32s f32_sum_product(f32s s, f32v a, f32v b, f32v rest) {
    (void)rest;
    return f32_sum_fma(s, a, b);
}
/* Lane by lane, and what that rounds off. */
static inline void f64_sum_store(f64s s, double *p, double *rest) {
    f64v sum = f64_add(s.sum, s.error);
    f64_store(p, sum);
    f64_store(rest, f64_sub(s.error, f64_sub(sum, s.sum)));
}

static inline double f64_sum_total(f64s s, double *rest) {
    f64v sums = s.sum, errors = s.error, lost;
    for (int width = F64_LANES / 2; width; width /= 2) {
        sums = f64_two_sum(sums, f64_swap(sums, width), &lost);
        errors = f64_add(f64_add(errors, f64_swap(errors, width)), lost);
    }
    double sum = f64_first_lane(sums), error = f64_first_lane(errors);
    *rest = 0.0;
    /* An infinite or NaN sum has a NaN error. */
    if (!isfinite(sum)) return sum;
    double total = sum + error;
    *rest = error - (total - sum);
    return total;
}
static inline double f32_sum_total(f32s s, double *rest) {
    f64v sums = f32_sum_fold(s);
    for (int width = F64_LANES / 2; width; width /= 2) sums = f64_add(sums, f64_swap(sums, width));
    *rest = 0.0;
    return f64_first_lane(sums);
}
#endif

#ifndef FX_PLAIN_DOUBLES
#define FX_PLAIN_DOUBLES
/* What floats need of these, in double: 33 bits. 2^-n e^(t + low) for n = power_of_two(t) and a small low. */
static inline f64v f64_plain_exp_mantissa(f64v t, f64v low, f64v n) {
    f64v one = f64_set(1), r = f64_add(f64_fnma(n, f64_set(PAIR_LN2), t), low);
    f64v tail = f64_polynomial(r, plain_exp_coefficients, sizeof plain_exp_coefficients);
    return f64_fma(f64_fma(tail, r, one), r, one);
}
/* e^t for t <= 0, which floats do not see below e^-700. The maximum of a number and NaN, in this order, is NaN everywhere. */
static inline f64v f64_plain_exp(f64v t) {
    f64v bounded = f64_max(f64_set(-700), t), n = f64_power_of_two(bounded);
    return f64_scale2(f64_plain_exp_mantissa(bounded, f64_set(0), n), n);
}
/* log(1 + f) for f in [0, 1], from s = f / (2 + f) */
static inline f64v f64_plain_log(f64v s) {
    f64v z = f64_mul(s, s), p = f64_polynomial(z, plain_log_coefficients, sizeof plain_log_coefficients);
    return f64_mul(s, f64_fma(z, p, f64_set(2)));
}
/* log(1 + t) for t >= 0: 1 + t = 2^k (1 + f) */
static inline f64v f64_plain_log1p(f64v t) {
    f64v one = f64_set(1), u = f64_add(one, t), k = f64_exponent(u);
    f64v f = f64_select(f64_ne(k, f64_set(0)), f64_sub(f64_mantissa(u), one), t);
    f64v value = f64_fma(k, f64_set(PAIR_LN2), f64_plain_log(f64_div(f, f64_add(f64_set(2), f))));
    return f64_select(f64_ne(t, t), t, value);
}
#endif

#ifndef FX_OF_DOUBLES
#define FX_OF_DOUBLES
/* k doubles, at most as many as a vector of either type has lanes, in that type; and back. */
static inline f64v f64_of_doubles(const double *p, ptrdiff_t k) { return f64_load_part(p, k, 0.0); }
static inline f32v f32_of_doubles(const double *p, ptrdiff_t k) {
    ptrdiff_t more = k > F64_LANES ? k - F64_LANES : 0;
    f64v low = f64_load_part(p, k - more, 0.0);
    return f32_join(low, F32_LANES > F64_LANES ? f64_load_part(p + F64_LANES, more, 0.0) : low);
}
static inline void f64_to_doubles(f64v a, double *p, ptrdiff_t k) { f64_store_part(p, a, k); }
static inline void f32_to_doubles(f32v a, double *p, ptrdiff_t k) {
    ptrdiff_t more = k > F64_LANES ? k - F64_LANES : 0;
    f64_store_part(p, f32_low(a), k - more);
    if (F32_LANES > F64_LANES) f64_store_part(p + F64_LANES, f32_high(a), more);
}
#endif

#ifndef FX_ONCE
#define FX_ONCE
/* a b + c and c - a b, of floats rounded once even where there is no fused multiply-add. */
static inline f64v f64_fma_once(f64v a, f64v b, f64v c) { return f64_fma(a, b, c); }
static inline f32v f32_fma_once(f32v a, f32v b, f32v c) {
    if (FUSED) return f32_fma(a, b, c);
    return f32_join(f64_fma(f32_low(a), f32_low(b), f32_low(c)), f64_fma(f32_high(a), f32_high(b), f32_high(c)));
}
static inline f64v f64_fnma_once(f64v a, f64v b, f64v c) { return f64_fnma(a, b, c); }
static inline f32v f32_fnma_once(f32v a, f32v b, f32v c) { return f32_fma_once(f32_sub(f32_set(0), a), b, c); }
#endif

/* How many of n elements come before the first whole vector that no line of the cache cuts in two. */
static inline ptrdiff_t OP(to_alignment)(const REAL *p, ptrdiff_t n) {
    ptrdiff_t count = (ptrdiff_t)(-(uintptr_t)p % sizeof(V) / sizeof(REAL));
    return count < n ? count : n;
}

/* ---- vectors and parts of them ------------------------------------------------------------------------ */

static inline V OP(load_some)(const REAL *p, ptrdiff_t k, REAL fill) {
    return k == LANES ? OP(load)(p) : OP(load_part)(p, k, fill);
}

static inline void OP(store_some)(REAL *p, V a, ptrdiff_t k) {
    if (k == LANES)
        OP(store)(p, a);
    else
        OP(store_part)(p, a, k);
}

/* ---- memory asked for ahead ---------------------------------------------------------------------------- */

/* How many bytes ahead of a row the memory is asked for, where rows are shorter than that; and from which length of a row
   on in the second-level cache: measured, as are rows so short that what is written need not be asked for, and so long that
   a whole one ahead would leave the caches. */
#define ROWS_AHEAD 8192
#define DISTANT 8192
#define SHORT_ROW 4800
#define HUGE_ROW (1 << 20)

/* How many bytes more than one row the memory is asked for ahead: its end, and the beginning of the one after it, are needed
   as soon as its maximum is looked for. */
#define LEAD 256

/* Ask for memory that so many vectors will come from or go to: into the first-level cache or, if it will be needed only
   when that has been filled with others, into the second. */
static FX_INLINE void KERNEL(fetch)(const char *p, int written, int distant, int vectors) {
    for (int line = 0; line < vectors * (int)sizeof(V); line += 64) {
        if (written && distant)
            __builtin_prefetch(p + line, 1, 2);
        else if (written)
            __builtin_prefetch(p + line, 1, 3);
        else if (distant)
            __builtin_prefetch(p + line, 0, 2);
        else
            __builtin_prefetch(p + line, 0, 3);
    }
}
