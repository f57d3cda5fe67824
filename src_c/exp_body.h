/* Exponentials and logarithms, for vectors and for bundles of them (simd_bundle.h), of either type: REAL, V and M are the
   types, OP(...) their operations, TYPE(...) what belongs to the element type. */

/* Scores at least FAR from zero are at most a factor two from their row's maximum if they still count:
   beyond 2^-BIAS times the smallest number an exponential is dropped, 110 (752) below the maximum. */
#define FAR C(2048.0, 256.0f)
#define REACH C(752.0, 110.0f)
/* Exponentials are stored 2^BIAS times too large, so that whatever is a normal number as a probability
   is one here. */
#define BIAS C(64.0, 32.0f)
#define TWO_TO_BIAS C(0x1p64, 0x1p32f)
#define TWO_TO_MINUS_BIAS C(0x1p-64, 0x1p-32f)
/* Where the maximum lies here, exponentials are stored as they are: what underflows is no normal number as a probability
   either, none overflows, and the factor that makes gradients of them is not much smaller than beside shifted ones. */
#define PLAIN_FROM 1
#define PLAIN_TO C(44, 40)
#define F64_LOG_SMALLEST_NORMAL -0x1.6232bdd7abcd2p+9
#define LOG_SMALLEST_NORMAL C(F64_LOG_SMALLEST_NORMAL, -0x1.5d589ep+6f)
#define SMALLEST_NORMAL C(0x1p-1022, 0x1p-126f)
/* Adding and subtracting 1.5 * 2^(mantissa bits) rounds to an integer. */
#define ROUND_TO_INTEGER C(0x1.8p52, 0x1.8p23f)
#define EXPONENT_BIAS C(1023.0, 127.0f)
#define LN2 C(0x1.62e42fefa39efp-1, 0x1.62e43p-1f)
/* Where there is no operation for it (FX_SCALES), numbers are multiplied by 2^n through the bits of n + LIFTED_ZERO, and scores
   so small that they do not count are raised to where this is 0. */
#define LIFTED_ZERO (ROUND_TO_INTEGER + EXPONENT_BIAS)
/* Whether the sixteenth root of two is looked up: a brief float takes less time without. */
#ifdef FX_LOOKUP
#define BY_ROOTS(brief) (sizeof(REAL) == sizeof(double) || !(brief))
#else
#define BY_ROOTS(brief) ((void)(brief), 0)
#endif

#ifndef FX_MODE
#define FX_MODE
/* How a row is gone through; constants wherever it is used. */
typedef struct {
    int plain;    /* see refer_plainly */
    int paired;   /* scores are sums of two */
    int apart;    /* exponentials equal to the top one are left out of the sum, and counted */
    int marked;   /* exponentials of -inf are stored as -1 */
    int brief;    /* exponentials are no more exact than a result in the type needs */
    int scaled;   /* scores are multiplied on the way, which makes them sums of two */
    int left_out; /* some become -inf on the way */
} fx_mode;
#endif

#ifndef FX_SCALES
/* a 2^n for a normal number 2^n. */
static FX_INLINE V OP(scale2)(V a, V n) { return OP(times_lifted)(a, OP(add)(n, OP(set)(LIFTED_ZERO))); }
#endif

/* ---- exp and log1p -------------------------------------------------------------------------------- */

/* c[0] + c[1] x + ... */
static FX_INLINE V OP(polynomial)(V x, const REAL *c, size_t size) {
    ptrdiff_t last = (ptrdiff_t)(size / sizeof *c) - 1;
    V p = OP(set)(c[last]);
    for (ptrdiff_t i = last - 1; i >= 0; --i) p = OP(fma)(p, x, OP(set)(c[i]));
    return p;
}

/* (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2. */
static FX_INLINE V OP(exp_tail)(V r) {
    return OP(polynomial)(r, TYPE(exp_coefficients), sizeof TYPE(exp_coefficients));
}

/* rint(t log2 e) */
static FX_INLINE V OP(power_of_two)(V t) {
    return OP(sub)(OP(fma)(t, OP(set)(C(F64_LOG2E, F32_LOG2E)), OP(set)(ROUND_TO_INTEGER)), OP(set)(ROUND_TO_INTEGER));
}

/* The power of two that an exponential is reduced by, as it stands in a sum that rounds it: an integer, or sixteenths where
   roots of two are looked up; without FX_SCALES with the exponent's bias. */
static FX_INLINE V OP(lift)(int brief) {
#ifdef FX_SCALES
    return OP(set)(BY_ROOTS(brief) ? ROUND_TO_INTEGER / 16 : ROUND_TO_INTEGER);
#else
    (void)brief;
    return OP(set)(LIFTED_ZERO);
#endif
}
static FX_INLINE V OP(lifted_power)(V t, int brief) {
    return OP(fma)(t, OP(set)(C(F64_LOG2E, F32_LOG2E)), OP(lift)(brief));
}
static FX_INLINE V OP(lowered)(V lifted, int brief) { return OP(sub)(lifted, OP(lift)(brief)); }

/* a + b, and what that rounds off (Knuth). */
static FX_INLINE V OP(two_sum)(V a, V b, V *rest) {
    V sum = OP(add)(a, b), rounded = OP(sub)(sum, a);
    *rest = OP(add)(OP(sub)(a, OP(sub)(sum, rounded)), OP(sub)(b, rounded));
    return sum;
}

/* x (scale + scale_low) as a sum of two. */
static FX_INLINE V OP(product)(V x, V scale, V scale_low, V *rest) {
    V product = OP(mul)(x, scale);
    *rest = OP(sub)(OP(set)(0), OP(fnma)(x, scale_low, OP(remainder)(product, x, scale)));
    return product;
}

#ifdef FX_LOOKUP
/* 2^(j / 16) e^r for a small r and the j that `lifted` ends in, and what the last addition loses (0.57 ulp). */
static FX_INLINE V OP(exp_from_root)(V r, V lifted, V *rest) {
    V tail = OP(polynomial)(r, TYPE(root_exp_coefficients), sizeof TYPE(root_exp_coefficients));
    V less = OP(fma)(OP(mul)(tail, r), r, r), root = OP(lookup)(lifted, TYPE(roots));
    V more = OP(fma)(root, less, OP(lookup)(lifted, TYPE(roots_low)));
    V value = OP(add)(root, more);
    *rest = OP(add)(OP(sub)(root, value), more);
    return value;
}
#endif

/* What scale2 makes e^(t + low) of, with the power that is lifted (sixteenths are rounded down); `low` is small, and counted if
   `paired`. Floats with a fused multiply-add may take a short way (0.87 ulp; without one it would be 1.14) if `brief`.
   Otherwise what is lost in rounding 1 + r is added to the tail (0.69 ulp), and what the last addition loses is given to
   `rest`. */
static FX_INLINE V OP(exp_mantissa_pair)(V t, V low, int paired, V lifted, int brief, V *rest) {
    V one = OP(set)(1), ln2_low = OP(set)(C(F64_LN2_LOW, F32_LN2_LOW)), n = OP(lowered)(lifted, brief);
    V high = OP(fnma)(n, OP(set)(C(F64_LN2_HIGH, F32_LN2_HIGH)), t);
    V r = paired ? OP(add)(high, OP(fnma)(n, ln2_low, low)) : OP(fnma)(n, ln2_low, high);
    *rest = OP(set)(0);
#ifdef FX_LOOKUP
    if (BY_ROOTS(brief)) return OP(exp_from_root)(r, lifted, rest);
#endif
    V tail = OP(exp_tail)(r);
    if (sizeof(REAL) == sizeof(float) && FUSED && brief) return OP(fma)(OP(fma)(tail, r, one), r, one);
    V head = OP(add)(one, high);
    V lost = OP(fnma)(n, ln2_low, OP(add)(OP(sub)(one, head), high));
    if (paired) lost = OP(add)(lost, low);
    tail = OP(fma)(tail, OP(mul)(r, r), lost);
    V value = OP(add)(head, tail);
    *rest = OP(add)(OP(sub)(head, value), tail);
    return value;
}

/* e^(t + low) for t <= 0 and a small low, counted if `paired`: flushed to zero below the smallest normal number, and what it
   rounds off (nothing where that is too small for a normal number). */
static FX_INLINE V OP(exp_nonpositive_pair)(V t, V low, int paired, V *rest) {
    V lifted = OP(lifted_power)(t, 0), n = OP(lowered)(lifted, 0);
    V value = OP(scale2)(OP(exp_mantissa_pair)(t, low, paired, lifted, 0, rest), n);
    *rest = OP(keep)(OP(lt)(OP(set)(C(-600, -60)), t), OP(scale2)(*rest, n));
    return OP(keep)(OP(not_lt)(t, OP(set)(LOG_SMALLEST_NORMAL)), value);
}

static FX_INLINE V OP(exp_nonpositive)(V t, V *rest) { return OP(exp_nonpositive_pair)(t, OP(set)(0), 0, rest); }

/* The same to some seven digits more, with the square of the reduced argument as a sum of two; in `less` and its rest that
   less 1, relatively exact for n = 0. */
static FX_INLINE V OP(exp_mantissa_long)(V t, V low, V n, V *rest, V *less, V *less_rest) {
    V one = OP(set)(1), half = OP(set)(0.5), r_rest, lost;
    V high = OP(fnma)(n, OP(set)(C(F64_LN2_HIGH, F32_LN2_HIGH)), t);
    V r = OP(two_sum)(high, OP(fnma)(n, OP(set)(C(F64_LN2_LOW, F32_LN2_LOW)), low), &r_rest);
    /* (e^r - 1 - r - r^2 / 2) / r^2 */
    V series = OP(polynomial)(r, TYPE(exp_coefficients) + 1, sizeof TYPE(exp_coefficients) - sizeof(REAL));
    series = OP(fma)(series, r, OP(set)(TYPE(exp_coefficients)[0] - C(0.5, 0.5f)));
    V square = OP(mul)(r, r), cubic = OP(mul)(square, series);
    V square_rest = OP(fma)(OP(add)(r, r), r_rest, OP(sub)(OP(set)(0), OP(remainder)(square, r, r)));
    V two = OP(two_sum)(r, OP(mul)(half, square), &lost);
    V small = OP(add)(lost, OP(add)(r_rest, OP(fma)(half, square_rest, cubic)));
    *less = OP(two_sum)(two, small, less_rest);
    V sum = OP(two_sum)(one, *less, rest);
    *rest = OP(add)(*rest, *less_rest);
    return sum;
}

/* log(2^k (1 + f)) + c for f in [-1/4, 1/2], c small, and in `rest` what the sum rounds off: the logarithm's
   series in s = f / (2 + f), arranged as in fdlibm so that the rounding of s hardly counts. */
static FX_INLINE V OP(log_reduced)(V f, V k, V c, V *rest) {
    V half_square = OP(mul)(OP(mul)(f, OP(set)(0.5)), f);
    V s = OP(div)(f, OP(add)(OP(set)(2), f));
    V z = OP(mul)(s, s);
    V p = OP(polynomial)(z, TYPE(log_coefficients), sizeof TYPE(log_coefficients));
    V tail = OP(fma)(s, OP(fma)(z, p, half_square), OP(fma)(k, OP(set)(C(F64_LN2_LOW, F32_LN2_LOW)), c));
    V less = OP(sub)(half_square, tail);
    V part = OP(sub)(f, less);
    V high = OP(mul)(k, OP(set)(C(F64_LN2_HIGH, F32_LN2_HIGH)));
    V value = OP(add)(high, part);
    *rest = OP(add)(OP(add)(OP(sub)(high, value), part), OP(sub)(OP(sub)(f, part), less));
    return value;
}

/* log(1 + t) for t in [0, 1], and what that rounds off. */
static FX_INLINE V OP(log1p_unit)(V t, V *rest) {
    M big = OP(lt)(OP(set)(0.5), t);
    V halved = OP(mul)(OP(sub)(t, OP(set)(1)), OP(set)(0.5));
    return OP(log_reduced)(OP(select)(big, halved, t), OP(keep)(big, OP(set)(1)), OP(set)(0), rest);
}

/* ---- the logistic function ----------------------------------------------------------------------------- */

/* expit(x), expit(-x), the smaller and the larger of the two, and e = exp(-|x|). */
typedef struct {
    V e, p, q, small, large;
    V e_rest; /* what e rounds off */
} OP(logistic);

static FX_INLINE OP(logistic) OP(logistic_of)(V x) {
    OP(logistic) at;
    V one = OP(set)(1);
    at.e = OP(exp_nonpositive)(OP(sub)(OP(set)(0), OP(abs)(x)), &at.e_rest);
    at.large = OP(div)(one, OP(add)(one, at.e));
    at.small = OP(div)(at.e, OP(add)(one, at.e));
    M negative = OP(lt)(x, OP(set)(0));
    at.p = OP(select)(negative, at.small, at.large);
    at.q = OP(select)(negative, at.large, at.small);
    return at;
}

/* log expit(x) */
static FX_INLINE V OP(log_logistic)(V x) {
    V zero = OP(set)(0), rest, e = OP(exp_nonpositive)(OP(sub)(zero, OP(abs)(x)), &rest);
    return OP(sub)(OP(keep)(OP(lt)(x, zero), x), OP(log1p_unit)(e, &rest));
}

/* ---- exponentials relative to a row's largest ------------------------------------------------------- */

/* What all scores of a row have in common (one row in all lanes, or a row a lane). */
typedef struct {
    V max, max_low, origin, origin_low, shift, floor;
    V least; /* without FX_SCALES: where 2^n is 0, to which lower scores are raised */
} OP(reference);

static FX_INLINE OP(reference) OP(refer_to)(V max, V max_low) {
    OP(reference) to;
    M near = OP(lt)(OP(abs)(max), OP(set)(FAR));
    to.max = max;
    to.max_low = max_low;
    to.origin = OP(select)(near, OP(set)(0), max);
    to.origin_low = OP(select)(near, OP(set)(0), max_low);
    to.shift = OP(sub)(OP(power_of_two)(OP(sub)(max, to.origin)), OP(set)(BIAS));
    to.floor = OP(sub)(max, OP(set)(REACH));
    to.least = OP(mul)(OP(sub)(to.shift, OP(set)(EXPONENT_BIAS)), OP(set)(LN2));
    return to;
}

/* The same for a maximum from PLAIN_FROM to PLAIN_TO, which needs no shift. */
static inline int OP(is_plain)(REAL max) { return max >= PLAIN_FROM && max <= PLAIN_TO; }
static FX_INLINE OP(reference) OP(refer_plainly)(V max, V max_low) {
    V zero = OP(set)(0), floor = OP(max)(OP(sub)(max, OP(set)(REACH)), OP(set)(LOG_SMALLEST_NORMAL));
    OP(reference) to = {max, max_low, zero, zero, zero, floor, OP(set)(-EXPONENT_BIAS * LN2)};
    return to;
}

/* The exponential, 0 where it does not count, and in `rest` what it rounds off unless it is brief. */
static FX_INLINE V OP(exp_relative)(V x, V low, const OP(reference) *to, fx_mode mode, V *rest) {
    V t = mode.plain ? x : OP(sub)(x, to->origin);
    if (mode.paired && !mode.plain) {
        /* Far from zero the lower parts may be larger than the difference of the upper ones, which is a multiple of
           their last place: then this sum is exact as well. */
        V less = OP(sub)(low, to->origin_low), sum = OP(add)(t, less);
        low = OP(sub)(less, OP(sub)(sum, t));
        t = sum;
    }
    V n, mantissa, less, less_rest;
#ifndef FX_SCALES
    /* Masked ones, too: far from zero the floor may be rounded to less. */
    t = OP(max)(to->least, t);
    if (mode.brief && !mode.paired) {
        V lifted = OP(lifted_power)(t, 1), power = mode.plain ? lifted : OP(sub)(lifted, to->shift);
        mantissa = OP(exp_mantissa_pair)(t, low, 0, lifted, 1, rest);
        if (sizeof(REAL) == sizeof(double)) *rest = OP(times_lifted)(*rest, power);
        return OP(times_lifted)(mantissa, power);
    }
#endif
    if (sizeof(REAL) == sizeof(float) || mode.brief) {
        V lifted = OP(lifted_power)(t, mode.brief);
        n = OP(lowered)(lifted, mode.brief);
        mantissa = OP(exp_mantissa_pair)(t, low, mode.paired, lifted, mode.brief, rest);
    } else {
        n = OP(power_of_two)(t);
        mantissa = OP(exp_mantissa_long)(t, mode.paired ? low : OP(set)(0), n, rest, &less, &less_rest);
    }
    V power = mode.plain ? n : OP(sub)(n, to->shift);
    V value = OP(scale2)(mantissa, power);
    M counts = OP(not_lt)(x, to->floor);
    if (sizeof(REAL) == sizeof(double) || !mode.brief) *rest = OP(keep)(counts, OP(scale2)(*rest, power));
    return OP(keep)(counts, value);
}

/* The same of x - max, with what that difference rounds off: 2^BIAS times too large, wherever the maximum is. */
static FX_INLINE V OP(exp_below)(V x, V max, V *rest) {
    V low, t = OP(two_sum)(x, OP(sub)(OP(set)(0), max), &low);
    V lifted = OP(lifted_power)(t, 1), power = OP(add)(OP(lowered)(lifted, 1), OP(set)(BIAS));
    V value = OP(scale2)(OP(exp_mantissa_pair)(t, low, 1, lifted, 1, rest), power);
    M counts = OP(not_lt)(t, OP(set)(-REACH));
    *rest = OP(keep)(counts, OP(scale2)(*rest, power));
    return OP(keep)(counts, value);
}
