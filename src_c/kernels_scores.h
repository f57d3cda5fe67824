/* Scores after a soft cap, a bias and a temperature. */

#ifndef FX_CAPPING
#define FX_CAPPING
/* cap tanh(x / cap) as a sum of two, its derivative sech^2(x / cap), and the derivative of that. */
typedef struct {
    f64v high, low, slope, bend;
} f64_capped;

typedef struct {
    f64v cap, inverse, inverse_rest; /* inverse: 2 / cap */
} f64_capping;

/* e^(t + low) for t <= 0 as a sum of two, and in `up` 1 - e^(t + low) as one, relatively exact. */
static inline f64v f64_exp_and_up(f64v t, f64v low, f64v *rest, f64v *up, f64v *up_rest) {
    f64v n = f64_power_of_two(t), one = f64_set(1), zero = f64_set(0), less, less_rest, sum_rest, difference_rest;
    f64v sum = f64_exp_mantissa_long(t, low, n, &sum_rest, &less, &less_rest);
    *rest = f64_keep(f64_not_lt(t, f64_set(-600)), f64_scale2(sum_rest, n));
    f64v e = f64_keep(f64_not_lt(t, f64_set(F64_LOG_SMALLEST_NORMAL)), f64_scale2(sum, n));
    f64v difference = f64_two_sum(one, f64_sub(zero, e), &difference_rest);
    f64m reduced = f64_ne(n, zero);
    *up = f64_select(reduced, difference, f64_sub(zero, less));
    *up_rest = f64_select(reduced, f64_sub(difference_rest, *rest), f64_sub(zero, less_rest));
    return e;
}

static inline f64v f64_cap_bend(f64m negative, f64v quotient, f64v slope, const f64_capping *by) {
    f64v factor = f64_select(negative, by->inverse, f64_sub(f64_set(0), by->inverse));
    return f64_mul(f64_mul(factor, quotient), slope);
}

/* tanh = (1 - e) / (1 + e), e = exp(-2 |x| / cap): only absolute errors count, so that 1 - e may cancel. */
static inline f64_capped f64_cap(f64v x, const f64_capping *by, int bent) {
    f64v one = f64_set(1), zero = f64_set(0), size = f64_abs(x), e_rest, up_rest, down_rest;
    f64m negative = f64_lt(x, zero);
    f64v cap = f64_select(negative, f64_sub(zero, by->cap), by->cap);
    f64v t = f64_sub(zero, f64_mul(size, by->inverse));
    f64_capped at;
    f64v low = f64_fnma(size, by->inverse_rest, f64_sub(zero, f64_remainder(t, f64_sub(zero, size), by->inverse)));
    f64v up, e = f64_exp_and_up(t, f64_keep(f64_lt(f64_set(-1000), t), low), &e_rest, &up, &up_rest);
    f64v down = f64_two_sum(one, e, &down_rest);
    down_rest = f64_add(down_rest, e_rest);
    f64v quotient = f64_div(up, down);
    f64v remainder = f64_add(f64_remainder(up, quotient, down), f64_sub(up_rest, f64_mul(quotient, down_rest)));
    f64v quotient_rest = f64_div(remainder, down);
    at.high = f64_mul(cap, quotient);
    at.low = f64_fma(cap, quotient_rest, f64_sub(zero, f64_remainder(at.high, cap, quotient)));
    /* 4 e / (1 + e)^2, rounded once. */
    f64v inverse = f64_div(one, down);
    f64v inverse_rest = f64_mul(inverse, f64_sub(f64_remainder(one, inverse, down), f64_mul(inverse, down_rest)));
    f64v first = f64_mul(e, inverse);
    f64v first_rest =
        f64_fma(e_rest, inverse, f64_fma(e, inverse_rest, f64_sub(zero, f64_remainder(first, e, inverse))));
    f64v product = f64_mul(first, inverse);
    f64v product_rest = f64_fma(first_rest, inverse,
                                f64_fma(first, inverse_rest, f64_sub(zero, f64_remainder(product, first, inverse))));
    product_rest = f64_keep(f64_lt(f64_set(-600), t), product_rest);
    at.slope = f64_mul(f64_set(4), f64_add(product, product_rest));
    at.bend = bent ? f64_cap_bend(negative, quotient, at.slope, by) : zero;
    return at;
}

typedef struct {
    f32v high, low, slope, bend;
} f32_capped;

/* The same of floats, for which doubles have digits to spare; two vectors side by side, as four of doubles. */
static FX_INLINE void f32_cap_two(f32v a, f32v b, const f64_capping *by, int bent, f32_capped *at) {
    f64b x = {{f32_low(a), f32_high(a), f32_low(b), f32_high(b)}}, one = f64b_set(1), zero = f64b_set(0);
    f64b cap = f64b_all(by->cap), inverse = f64b_all(by->inverse);
    f64b_mask negative = f64b_lt(x, zero);
    /* A NaN stays one. */
    f64b t = f64b_max(f64b_set(-700), f64b_fnma(f64b_abs(x), inverse, zero));
    f64b n = f64b_power_of_two(t), r = f64b_fnma(n, f64b_set(0x1.62e42fefa39efp-1), t);
    /* e = 2^n (1 + m), and e - 1, of which a cap far above its score takes all digits. */
    f64b m = f64b_fma(f64b_mul(f64b_exp_tail(r), r), r, r), power = f64b_scale2(one, n);
    f64b e = f64b_mul(power, f64b_add(one, m)), less = f64b_fma(power, m, f64b_sub(power, one));
    f64b share = f64b_div(one, f64b_add(f64b_set(2), less));
    f64b quotient = f64b_mul(f64b_sub(zero, less), share);
    f64b high = f64b_mul(f64b_select(negative, f64b_sub(zero, cap), cap), quotient);
    f64b slope = f64b_mul(f64b_mul(f64b_mul(f64b_set(4), e), share), share);
    for (int u = 0; u < 2; ++u, ++at) {
        f64v first = high.at[2 * u], second = high.at[2 * u + 1];
        at->high = f32_join(first, second);
        at->low = f32_join(f64_sub(first, f32_low(at->high)), f64_sub(second, f32_high(at->high)));
        at->slope = f32_join(slope.at[2 * u], slope.at[2 * u + 1]);
        at->bend = f32_set(0);
        if (!bent) continue;
        f64v bend[2];
        for (int v = 0; v < 2; ++v)
            bend[v] = f64_cap_bend(negative.at[2 * u + v], quotient.at[2 * u + v], slope.at[2 * u + v], by);
        at->bend = f32_join(bend[0], bend[1]);
    }
}

static inline f32_capped f32_cap(f32v x, const f64_capping *by, int bent) {
    f32_capped at[2];
    f32_cap_two(x, x, by, bent, at);
    return at[0];
}
static FX_INLINE void f64_cap_two(f64v a, f64v b, const f64_capping *by, int bent, f64_capped *at) {
    at[0] = f64_cap(a, by, bent);
    at[1] = f64_cap(b, by, bent);
}
#endif

/* What is done to scores; constants wherever it is used. A bias of two parts makes `biased` 2. */
typedef struct {
    int capped, biased, scaled, paired, masked, loose;
} OP(changes);

/* Everything of a row's transformation. */
typedef struct {
    const REAL *x, *bias, *bias_low;
    const uint8_t *left_out;
    REAL *high, *low, *slope, *bend;
    V scale, scale_low;
    f64_capping cap;
} OP(transformation);

/* The largest scores so far. */
typedef struct {
    V high, low;
} OP(top);

static FX_INLINE OP(top) OP(larger_of)(OP(top) a, V high, V low) {
    V equal = OP(select)(OP(lt)(high, a.high), a.low, OP(max)(a.low, low));
    /* A NaN is not forgotten: see max_of. */
    OP(top) of = {OP(max)(high, a.high), OP(select)(OP(lt)(a.high, high), low, equal)};
    return of;
}

static FX_INLINE M OP(is_finite)(V score) { return OP(lt)(OP(abs)(score), OP(set)(INFINITY)); }

/* k scores, and what capping made of them. */
static FX_INLINE OP(top) OP(transform_some)(const OP(transformation) *to, OP(changes) changes, ptrdiff_t i, ptrdiff_t k,
                                            V score, const OP(capped) *at, OP(top) top) {
    V masked = OP(set)(-INFINITY), rest = OP(set)(0);
    if (changes.capped) {
        V slope = at->slope, bend = at->bend;
        if (changes.masked) {
            /* A NaN there does not count. */
            M counts = OP(zero_bytes_part)(to->left_out + i, k);
            slope = OP(keep)(counts, slope);
            bend = OP(keep)(counts, bend);
        }
        OP(store_some)(to->slope + i, slope, k);
        if (to->bend) OP(store_some)(to->bend + i, bend, k);
        /* A masked class stays one. */
        score = OP(select)(OP(ne)(score, masked), at->high, masked);
        rest = at->low;
    }
    if (changes.biased) {
        V lost, bias = OP(load_some)(to->bias + i, k, 0), sum = OP(two_sum)(score, bias, &lost);
        score = OP(select)(OP(ne)(bias, masked), sum, masked);
        if (changes.biased == 2) lost = OP(add)(OP(load_some)(to->bias_low + i, k, 0), lost);
        rest = changes.capped ? OP(add)(rest, lost) : lost;
        if (changes.loose) {
            V whole = OP(select)(OP(is_finite)(score), OP(add)(score, rest), score);
            rest = OP(sub)(rest, OP(sub)(whole, score));
            score = whole;
        }
    }
    if (changes.scaled) {
        V lost;
        score = OP(product)(score, to->scale, to->scale_low, &lost);
        rest = changes.biased || changes.capped ? OP(add)(OP(mul)(rest, to->scale), lost) : lost;
    }
    if (changes.masked) score = OP(leave_out)(score, to->left_out + i, k);
    if (changes.paired) {
        /* Where a score is infinite there is a NaN here; where a factor has made it so, infinity. */
        rest = OP(keep)(changes.scaled ? OP(is_finite)(score) : OP(ge)(rest, rest), rest);
        OP(store_some)(to->low + i, rest, k);
    }
    OP(store_some)(to->high + i, score, k);
    if (changes.paired) return OP(larger_of)(top, score, rest);
    top.high = OP(max)(score, top.high);
    return top;
}

static FX_INLINE OP(top)
    OP(transform_step)(const OP(transformation) *to, OP(changes) changes, ptrdiff_t i, ptrdiff_t k, OP(top) top) {
    V score = OP(load_some)(to->x + i, k, -INFINITY);
    OP(capped) at;
    if (changes.capped) at = OP(cap)(score, &to->cap, to->bend != NULL);
    return OP(transform_some)(to, changes, i, k, score, &at, top);
}

static FX_INLINE void KERNEL(transform_row)(const OP(transformation) *to, OP(changes) changes, ptrdiff_t ahead,
                                            ptrdiff_t n, double *max, double *max_low) {
    ptrdiff_t i = 0;
    /* Two in turn, since each waits for the one before. */
    OP(top) a = {OP(set)(-INFINITY), OP(set)(0)}, b = a;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        KERNEL(fetch)((const char *)(to->x + i) + ahead, 0, 0, 2);
        if (changes.masked) __builtin_prefetch(to->left_out + i + n, 0);
        if (sizeof(REAL) == sizeof(float) && changes.capped) {
            V first = OP(load)(to->x + i), second = OP(load)(to->x + i + LANES);
            OP(capped) at[2];
            OP(cap_two)(first, second, &to->cap, to->bend != NULL, at);
            a = OP(transform_some)(to, changes, i, LANES, first, at, a);
            b = OP(transform_some)(to, changes, i + LANES, LANES, second, at + 1, b);
        } else {
            a = OP(transform_step)(to, changes, i, LANES, a);
            b = OP(transform_step)(to, changes, i + LANES, LANES, b);
        }
    }
    for (; i < n; i += LANES) a = OP(transform_step)(to, changes, i, n - i < LANES ? n - i : LANES, a);
    a = OP(larger_of)(a, b.high, b.low);
    REAL largest = OP(max_lane)(a.high);
    *max = (double)largest;
    *max_low = (double)OP(max_lane)(OP(select)(OP(ne)(a.high, OP(set)(largest)), OP(set)(-INFINITY), a.low));
    if (!(*max_low > -INFINITY)) *max_low = 0.0;
}

/* The same for all that is asked for less often. */
static FX_NOINLINE void KERNEL(transform_any)(const OP(transformation) *to, OP(changes) changes, ptrdiff_t ahead,
                                              ptrdiff_t n, double *max, double *max_low) {
    KERNEL(transform_row)(to, changes, ahead, n, max, max_low);
}

static void KERNEL(rows_transform)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, const fx_transform *by,
                                   const REAL *bias, const REAL *bias_low, const uint8_t *left_out,
                                   ptrdiff_t left_out_stride, REAL *high, REAL *low, REAL *slope, REAL *bend,
                                   double *max, double *max_low) {
    ptrdiff_t ahead = stride * (ptrdiff_t)sizeof(REAL);
    double inverse = 2.0 / by->cap;
    f64v two = f64_set(2), cap = f64_set(by->cap);
    for (ptrdiff_t i = 0; i < rows; ++i) {
        double *at = max + i, *at_low = max_low + i;
        OP(transformation)
        to = {
            .x = x + i * stride,
            .bias = bias,
            .bias_low = bias_low,
            .left_out = left_out ? left_out + i * left_out_stride : NULL,
            .high = high + i * n,
            .low = low ? low + i * n : NULL,
            .slope = slope ? slope + i * n : NULL,
            .bend = bend ? bend + i * n : NULL,
            .scale = OP(set)((REAL)by->scale),
            .scale_low = OP(set)(OP(scale_low)(by)),
            .cap = {cap, f64_set(inverse), f64_div(f64_remainder(two, f64_set(inverse), cap), cap)},
        };
        int capped = by->cap > 0.0, masked = left_out != NULL;
        int biased = !bias ? 0 : !bias_low ? 1 : 2;
        int plainly = !capped && !masked && by->scale == 1.0 && !by->loose;
        OP(changes) changes = {capped, biased, by->scale != 1.0, low != NULL, masked, by->loose};
        if (biased == 1 && plainly && !COMPACT)
            KERNEL(transform_row)(&to, (OP(changes)){.biased = 1, .paired = 1}, ahead, n, at, at_low);
        else if (biased == 2 && plainly && !COMPACT && sizeof(REAL) == sizeof(float))
            KERNEL(transform_row)(&to, (OP(changes)){.biased = 2, .paired = 1}, ahead, n, at, at_low);
        else
            KERNEL(transform_any)(&to, changes, ahead, n, at, at_low);
    }
}

/* Scores as sums of two: as they are stored, or of a row that is yet to be multiplied. */
static inline V OP(load_score)(const REAL *x, const REAL *low, ptrdiff_t k, const fx_transform *by, V *score_low) {
    V score = OP(load_some)(x, k, -INFINITY);
    if (by) return OP(product)(score, OP(set)((REAL)by->scale), OP(set)(OP(scale_low)(by)), score_low);
    *score_low = OP(load_some)(low, k, 0);
    return score;
}

/* The sum of e m over the margins m below the maximum, e = exp(-m). */
static double KERNEL(row_moment)(const REAL *x, const REAL *low, ptrdiff_t n, const fx_transform *by, double max,
                                 double max_low) {
    V top = OP(set)((REAL)max), top_low = OP(set)((REAL)max_low), zero = OP(set)(0);
    SUM sum = OP(sum_zero)();
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V rest, e_rest, score_low, score = OP(load_score)(x + i, low + i, k, by, &score_low);
        V t = OP(two_sum)(score, OP(sub)(zero, top), &rest);
        M finite = OP(lt)(OP(abs)(t), OP(set)(INFINITY));
        rest = OP(keep)(finite, OP(add)(rest, OP(sub)(score_low, top_low)));
        V e = OP(exp_nonpositive_pair)(t, rest, 1, &e_rest);
        V margin = OP(keep)(OP(ne)(t, OP(set)(-INFINITY)), OP(sub)(zero, t));
        sum = OP(sum_product)(sum, margin, e, e_rest);
        sum = OP(sum_add)(sum, OP(sub)(zero, OP(mul)(e, rest)));
    }
    double rest;
    return OP(sum_total)(sum, &rest);
}

/* What stored_moment sums up: scores times a power of two and their largest, as sums of two or (no `low`) single. */
typedef struct {
    const REAL *e, *x, *low;
    V power, top, top_low;
} OP(margins);

/* Of k elements the margins, 0 where an exponential does not count. */
static FX_INLINE V OP(margin_counted)(const OP(margins) *of, V e, ptrdiff_t i, ptrdiff_t k) {
    V margin = OP(fnma)(OP(load_some)(of->x + i, k, 0), of->power, of->top);
    if (of->low) margin = OP(add)(margin, OP(sub)(of->top_low, OP(load_some)(of->low + i, k, 0)));
    return OP(keep)(OP(lt)(OP(set)(0), e), margin);
}

/* Two vectors at a time, since nothing cancels when their products are added before they are widened. */
static FX_INLINE double KERNEL(stored_moment)(const OP(margins) *of, ptrdiff_t n) {
    SUM sum = OP(sum_zero)();
    ptrdiff_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        V a = OP(load)(of->e + i), b = OP(load)(of->e + i + LANES);
        V first = OP(mul)(a, OP(margin_counted)(of, a, i, LANES));
        sum = OP(sum_add)(sum, OP(fma)(b, OP(margin_counted)(of, b, i + LANES, LANES), first));
    }
    for (; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V a = OP(load_some)(of->e + i, k, 0);
        sum = OP(sum_add)(sum, OP(mul)(a, OP(margin_counted)(of, a, i, k)));
    }
    double rest;
    return OP(sum_total)(sum, &rest);
}

/* row_moment with the exponentials as rows_expsum stored them, where floats will do. With `by` scores are the given ones, and
   `low` is not read: their margins are multiplied, by a power of two beforehand lest a float over- or underflows, by the rest
   in the end. The largest product has all digits of the largest score unless it is tiny. */
static double KERNEL(row_stored_moment)(const REAL *e, const REAL *x, const REAL *low, ptrdiff_t n,
                                        const fx_transform *by, double max, double max_low) {
    OP(margins) of = {e, x, low, OP(set)(1), OP(set)((REAL)max), OP(set)((REAL)max_low)};
    if (!by) return KERNEL(stored_moment)(&of, n);
    if (!(fabs(max) < INFINITY)) return NAN;
    double scale = by->scale + by->scale_rest, power = ldexp(1.0, ilogb(scale));
    REAL top = (REAL)((max + max_low) / (scale / power));
    if (max != 0.0 && !(fabs(max) > 0x1p-60)) {
        top = -INFINITY;
        for (ptrdiff_t i = 0; i < n; ++i)
            if (e[i] > 0 && x[i] * (REAL)power > top) top = x[i] * (REAL)power;
    }
    of.low = NULL;
    of.power = OP(set)((REAL)power);
    of.top = OP(set)(top);
    return scale / power * KERNEL(stored_moment)(&of, n);
}
