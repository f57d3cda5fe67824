/* The sigmoid family, for REAL = double and REAL = float, on top of kernels_common.h: elementwise. */

/* ---- numbers with digits to spare ------------------------------------------------------------------ */

/* The relative error of log s comes out of s^gamma = exp(gamma log s) multiplied by gamma log s: ten bits more in
   double, seven in float. So these are wide numbers: for doubles pairs, the second being what the first rounds off (the
   two have 64 bits); for floats doubles, in two halves (of which 33 bits are right). */
#ifndef FX_WIDE
#define FX_WIDE
typedef struct {
    f64v value, rest;
} f64_wide;
typedef struct {
    f64v low, high;
} f32_wide;
typedef f64m f64_wide_mask;
typedef struct {
    f64m low, high;
} f32_wide_mask;

static inline f64_wide f64_widen(f64v a) { return (f64_wide){a, f64_set(0)}; }
static inline f32_wide f32_widen(f32v a) { return (f32_wide){f32_low(a), f32_high(a)}; }
static inline f64_wide f64_wide_set(double a) { return (f64_wide){f64_set(a), f64_set(0)}; }
static inline f32_wide f32_wide_set(double a) { return (f32_wide){f64_set(a), f64_set(a)}; }
static inline f64_wide f64_wide_load(const double *p, ptrdiff_t k) {
    return (f64_wide){f64_load_part(p, k, 0), f64_set(0)};
}
static inline f32_wide f32_wide_load(const double *p, ptrdiff_t k) {
    if (k <= F64_LANES) return (f32_wide){f64_load_part(p, k, 0), f64_set(0)};
    return (f32_wide){f64_load(p), f64_load_part(p + F64_LANES, k - F64_LANES, 0)};
}
static inline f64_wide_mask f64_widen_mask(f64m m) { return m; }
static inline f32_wide_mask f32_widen_mask(f32m m) { return (f32_wide_mask){f32_low_mask(m), f32_high_mask(m)}; }
static inline f64v f64_narrow(f64_wide a) { return f64_add(a.value, f64_finite_rest(a.rest)); }
static inline f32v f32_narrow(f32_wide a) { return f32_join(a.low, a.high); }

static inline f64_wide_mask f64_wide_lt(f64_wide a, f64_wide b) { return f64_lt(a.value, b.value); }
static inline f32_wide_mask f32_wide_lt(f32_wide a, f32_wide b) {
    return (f32_wide_mask){f64_lt(a.low, b.low), f64_lt(a.high, b.high)};
}
static inline f64_wide f64_wide_keep(f64_wide_mask m, f64_wide a) {
    return (f64_wide){f64_keep(m, a.value), f64_keep(m, a.rest)};
}
static inline f32_wide f32_wide_keep(f32_wide_mask m, f32_wide a) {
    return (f32_wide){f64_keep(m.low, a.low), f64_keep(m.high, a.high)};
}
static inline f64_wide f64_wide_select(f64_wide_mask m, f64_wide a, f64_wide b) {
    return (f64_wide){f64_select(m, a.value, b.value), f64_select(m, a.rest, b.rest)};
}
static inline f32_wide f32_wide_select(f32_wide_mask m, f32_wide a, f32_wide b) {
    return (f32_wide){f64_select(m.low, a.low, b.low), f64_select(m.high, a.high, b.high)};
}

static inline f64_wide f64_wide_add(f64_wide a, f64_wide b) {
    f64v value = f64_add(a.value, b.value);
    f64v rounded = f64_sub(value, a.value);
    f64v lost = f64_add(f64_sub(a.value, f64_sub(value, rounded)), f64_sub(b.value, rounded));
    return (f64_wide){value, f64_add(lost, f64_add(a.rest, b.rest))};
}
static inline f32_wide f32_wide_add(f32_wide a, f32_wide b) {
    return (f32_wide){f64_add(a.low, b.low), f64_add(a.high, b.high)};
}
static inline f64_wide f64_wide_sub(f64_wide a, f64_wide b) {
    return f64_wide_add(a, (f64_wide){f64_sub(f64_set(0), b.value), f64_sub(f64_set(0), b.rest)});
}
static inline f32_wide f32_wide_sub(f32_wide a, f32_wide b) {
    return (f32_wide){f64_sub(a.low, b.low), f64_sub(a.high, b.high)};
}
/* a + b where |a| is the larger, or 0. */
static inline f64_wide f64_wide_add_smaller(f64_wide a, f64_wide b) {
    f64v value = f64_add(a.value, b.value);
    f64v lost = f64_add(f64_sub(a.value, value), b.value);
    return (f64_wide){value, f64_add(lost, f64_add(a.rest, b.rest))};
}
static inline f64_wide f64_wide_mul(f64_wide a, f64_wide b) {
    f64v value = f64_mul(a.value, b.value);
    f64v lost = f64_remainder(value, a.value, b.value);
    return (f64_wide){value, f64_sub(f64_fma(a.value, b.rest, f64_mul(a.rest, b.value)), lost)};
}
static inline f32_wide f32_wide_mul(f32_wide a, f32_wide b) {
    return (f32_wide){f64_mul(a.low, b.low), f64_mul(a.high, b.high)};
}
static inline f64_wide f64_wide_scale(f64_wide a, f64v b) {
    f64v value = f64_mul(a.value, b);
    return (f64_wide){value, f64_sub(f64_mul(a.rest, b), f64_remainder(value, a.value, b))};
}
static inline f32_wide f32_wide_scale(f32_wide a, f64v b) { return (f32_wide){f64_mul(a.low, b), f64_mul(a.high, b)}; }

/* e^t for t <= 0, flushed to zero below the smallest normal number: `exactly`, or with a rest good to three bits. */
static inline f64_wide f64_wide_exp(f64_wide t, int exactly) {
    f64_wide p, r;
    if (!exactly) {
        p.value = f64_exp_nonpositive_pair(t.value, t.rest, 1, &p.rest);
        return p;
    }
    f64v n = f64_power_of_two(t.value), low = f64_set(F64_LN2_LOW), product = f64_mul(n, low);
    f64v high = f64_fnma(n, f64_set(F64_LN2_HIGH), t.value);
    r.value = f64_difference(high, product, &r.rest);
    r.rest = f64_add(r.rest, f64_add(t.rest, f64_remainder(product, n, low)));
    f64v tail = f64_polynomial(r.value, pair_exp_coefficients, sizeof pair_exp_coefficients);
    p = (f64_wide){f64_set(PAIR_SIXTH), f64_set(PAIR_SIXTH_REST)};
    p = f64_wide_add_smaller(p, f64_widen(f64_mul(r.value, tail)));
    p = f64_wide_add_smaller(f64_wide_set(0.5), f64_wide_mul(p, r));
    p = f64_wide_add_smaller(f64_wide_set(1), f64_wide_mul(p, r));
    p = f64_wide_add_smaller(f64_wide_set(1), f64_wide_mul(p, r));
    f64m counts = f64_not_lt(t.value, f64_set(LOG_SMALLEST_NORMAL));
    return f64_wide_keep(counts, (f64_wide){f64_scale2(p.value, n), f64_scale2(p.rest, n)});
}
static inline f32_wide f32_wide_exp(f32_wide t, int exactly) {
    (void)exactly;
    return (f32_wide){f64_plain_exp(t.low), f64_plain_exp(t.high)};
}

/* log(1 + e^-size), expit(-size) and expit(size) for size >= 0. */
typedef struct {
    f64_wide log, small, large;
} f64_wide_logistic;
typedef struct {
    f32_wide log, small, large;
} f32_wide_logistic;

/* `exactly` for logarithms that are multiplied, otherwise with rests good to three bits. One division for both
   quotients: their rests make up for what the inverses lack. */
static inline f64_wide_logistic f64_wide_logistic_of(f64_wide size, int exactly) {
    f64v zero = f64_set(0), one = f64_set(1), half = f64_set(0.5);
    f64_wide e = f64_wide_exp((f64_wide){f64_sub(zero, size.value), zero}, exactly);
    f64m big = f64_lt(half, e.value);
    f64_wide f = {f64_select(big, f64_mul(f64_sub(e.value, one), half), e.value),
                  f64_select(big, f64_mul(e.rest, half), e.rest)};
    f64_wide above_one = f64_wide_add_smaller(f64_wide_set(1), e), above_two = f64_wide_add_smaller(f64_wide_set(2), f);
    f64v inverse = f64_div(one, f64_mul(above_one.value, above_two.value));
    f64v inverse_one = f64_mul(inverse, above_two.value), inverse_two = f64_mul(inverse, above_one.value);

    f64_wide_logistic at;
    f64v lost = f64_fnma(inverse_one, above_one.rest, f64_remainder(one, inverse_one, above_one.value));
    at.large = (f64_wide){inverse_one, f64_mul(lost, inverse_one)};
    at.small = f64_wide_mul(e, at.large);

    f64_wide s = f64_widen(f64_mul(f.value, inverse_two)), two = f64_wide_set(2), p;
    lost = f64_fnma(s.value, above_two.rest, f64_add(f64_remainder(f.value, s.value, above_two.value), f.rest));
    s.rest = f64_mul(lost, inverse_two);
    if (exactly) {
        f64_wide z = f64_wide_mul(s, s);
        f64v tail = f64_polynomial(z.value, pair_log_coefficients, sizeof pair_log_coefficients);
        p = (f64_wide){f64_set(PAIR_TWO_THIRDS), f64_set(PAIR_TWO_THIRDS_REST)};
        p = f64_wide_add_smaller(p, f64_widen(f64_mul(z.value, tail)));
        p = f64_wide_mul(f64_wide_add_smaller(two, f64_wide_mul(p, z)), s);
    } else {
        f64v z = f64_mul(s.value, s.value);
        f64v tail = f64_polynomial(z, f64_log_coefficients, sizeof f64_log_coefficients);
        p = f64_wide_add_smaller((f64_wide){f64_add(s.value, s.value), f64_add(s.rest, s.rest)},
                                 f64_widen(f64_mul(f64_mul(s.value, z), tail)));
    }
    f64_wide doubled = {f64_keep(big, f64_set(PAIR_LN2)), f64_keep(big, f64_set(PAIR_LN2_REST))};
    at.log = f64_wide_add_smaller(doubled, p);
    return at;
}
static inline void f64_plain_logistic(f64v size, f64v *log, f64v *small, f64v *large) {
    f64v e = f64_plain_exp(f64_sub(f64_set(0), size));
    f64v above_one = f64_add(f64_set(1), e), above_two = f64_add(f64_set(2), e);
    f64v inverse = f64_div(f64_set(1), f64_mul(above_one, above_two));
    *large = f64_mul(inverse, above_two);
    *small = f64_mul(e, *large);
    *log = f64_plain_log(f64_mul(e, f64_mul(inverse, above_one)));
}
static inline f32_wide_logistic f32_wide_logistic_of(f32_wide size, int exactly) {
    (void)exactly;
    f32_wide_logistic at;
    f64_plain_logistic(size.low, &at.log.low, &at.small.low, &at.large.low);
    f64_plain_logistic(size.high, &at.log.high, &at.small.high, &at.large.high);
    return at;
}
#endif

/* ---- sigmoid ----------------------------------------------------------------------------------------- */

static void KERNEL(expit)(const REAL *x, REAL *out, ptrdiff_t n) {
    ptrdiff_t i = 0;
    for (; i + BUNDLE * LANES <= n; i += BUNDLE * LANES) {
        BUNDLED(logistic) at = BUNDLED(logistic_of)(BUNDLED(load)(x + i, LANES));
        for (int u = 0; u < BUNDLE; ++u) OP(store)(out + i + u * LANES, at.p.at[u]);
    }
    for (; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        OP(store_part)(out + i, OP(logistic_of)(OP(load_some)(x + i, k, 0)).p, k);
    }
}

static void KERNEL(log_expit)(const REAL *x, REAL *out, ptrdiff_t n) {
    ptrdiff_t i = 0;
    for (; i + BUNDLE * LANES <= n; i += BUNDLE * LANES) {
        BUNDLED(vector) value = BUNDLED(log_logistic)(BUNDLED(load)(x + i, LANES));
        for (int u = 0; u < BUNDLE; ++u) OP(store)(out + i + u * LANES, value.at[u]);
    }
    for (; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        OP(store_part)(out + i, OP(log_logistic)(OP(load_some)(x + i, k, 0)), k);
    }
}

/* The computation of a vector is so long that the processor does not look ahead to the next page by itself: a fifth of
   the time. In bytes. */
#define AHEAD 4096

/* Cross-entropy without factors or smoothing: the loss (1 - y) softplus(x) + y softplus(-x), the gradient
   (1 - y) p - y q, the curvature p q, each times the element's weight if there are weights, gradient and curvature times
   the scale (which is not rounded to a float before it has met the weight). Any result may be NULL. */
typedef struct {
    const REAL *x, *y, *weight;
    REAL *loss, *grad, *hess;
    V scale, scale_rest;
} OP(plain);

/* Of k elements from the i-th, given the logistic function of their scores and log(1 + e^-|x|): adds the losses to the
   sum, and to *outside the targets outside [0, 1]. */
static FX_INLINE SUM OP(plain_terms)(SUM sum, const OP(plain) *of, ptrdiff_t i, ptrdiff_t k, V score, OP(logistic) at,
                                     V log_term, ptrdiff_t *outside) {
    V zero = OP(set)(0), one = OP(set)(1), least = OP(set)(SMALLEST_NORMAL);
    V target = OP(load_some)(of->y + i, k, 0), factor = of->scale, w = one;
    if (of->weight) {
        w = OP(load_some)(of->weight + i, k, 0);
        factor = OP(fma)(w, of->scale, OP(mul)(w, of->scale_rest));
    }
    *outside += LANES - OP(count)(OP(ge)(target, zero)) + OP(count)(OP(lt)(one, target));
    V a = OP(sub)(one, target), b = target;
    V slope = OP(select)(OP(lt)(zero, score), a, b);
    V linear = OP(keep)(OP(ne)(slope, zero), OP(mul)(slope, OP(abs)(score)));
    V value = OP(add)(linear, log_term), g = zero, h = zero;
    if (of->grad) {
        g = OP(mul)(OP(sub)(OP(mul)(a, at.p), OP(mul)(b, at.q)), factor);
        g = OP(keep)(OP(not_lt)(OP(abs)(g), least), g);
    }
    if (of->hess) {
        /* p (1 - p) = s - s^2 suffers less from the error of s than the product. */
        h = OP(mul)(OP(fnma)(at.small, at.small, at.small), factor);
        h = OP(keep)(OP(not_lt)(h, least), h);
    }
    if (of->weight) {
        M counts = OP(ne)(w, zero);
        value = OP(keep)(counts, OP(mul)(value, w));
        g = OP(keep)(counts, g);
        h = OP(keep)(counts, h);
    }
    if (of->loss) OP(store_some)(of->loss + i, value, k);
    if (of->grad) OP(store_some)(of->grad + i, g, k);
    if (of->hess) OP(store_some)(of->hess + i, h, k);
    /* What is not an element does not count. */
    if (k < LANES) {
        REAL part[LANES];
        OP(store)(part, value);
        value = OP(load_part)(part, k, 0);
    }
    return OP(sum_add)(sum, value);
}

/* Returns the sum of the losses; adds to *refused. */
static FX_INLINE double KERNEL(plain_loss)(const OP(plain) *of, ptrdiff_t n, ptrdiff_t *refused) {
    SUM sum = OP(sum_zero)();
    ptrdiff_t outside = 0, i = 0;
    for (; i + BUNDLE * LANES <= n; i += BUNDLE * LANES) {
        KERNEL(fetch)((const char *)(of->x + i) + AHEAD, 0, 0, BUNDLE);
        KERNEL(fetch)((const char *)(of->y + i) + AHEAD, 0, 0, BUNDLE);
        if (of->grad) KERNEL(fetch)((const char *)(of->grad + i) + AHEAD, 1, 0, BUNDLE);
        BUNDLED(vector) score = BUNDLED(load)(of->x + i, LANES), rest;
        BUNDLED(logistic) at = BUNDLED(logistic_of)(score);
        BUNDLED(vector) log_term = BUNDLED(log1p_unit)(at.e, &rest);
        for (int u = 0; u < BUNDLE; ++u) {
            OP(logistic) one = {at.e.at[u], at.p.at[u], at.q.at[u], at.small.at[u], at.large.at[u], at.e_rest.at[u]};
            sum = OP(plain_terms)(sum, of, i + u * LANES, LANES, score.at[u], one, log_term.at[u], &outside);
        }
    }
    for (; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V score = OP(load_some)(of->x + i, k, 0), rest;
        OP(logistic) at = OP(logistic_of)(score);
        sum = OP(plain_terms)(sum, of, i, k, score, at, OP(log1p_unit)(at.e, &rest), &outside);
    }
    *refused += outside;
    double rest;
    return OP(sum_total)(sum, &rest);
}

static double KERNEL(plain_sigmoid)(const REAL *x, const REAL *y, ptrdiff_t n, const fx_sigmoid *options,
                                    const REAL *weight, REAL *loss, REAL *grad, REAL *hess, ptrdiff_t *refused) {
    REAL scale = (REAL)options->scale;
    OP(plain) of = {x, y, weight, loss, grad, hess, OP(set)(scale), OP(set)((REAL)(options->scale - (double)scale))};
    if (weight || loss || hess) return KERNEL(plain_loss)(&of, n, refused);
    /* Constants, for the loops of the calls that are made most. */
    of.weight = of.loss = of.hess = NULL;
    if (grad) return KERNEL(plain_loss)(&of, n, refused);
    of.grad = NULL;
    return KERNEL(plain_loss)(&of, n, refused);
}

/* ---- focal loss, and cross-entropy with factors ------------------------------------------------------ */

#ifndef FX_FOCAL
#define FX_FOCAL
/* Whole exponents up to here are reached by multiplications, which also multiply the error of s. */
#define FX_MOST_MULTIPLIED 5.0
#endif

/* For a score x in favour of its outcome, with p = expit(x), s = expit(-x), L = -log p: the loss s^gamma L, minus its
   derivative, s^gamma (s + gamma p L), and its second one, s^gamma p (s + gamma (gamma p L + s (2 - L))). */
typedef struct {
    OP(wide) value, slope, curve;
} OP(focal);

static inline OP(focal) OP(focal_of)(OP(wide) size, OP(wide_logistic) at, OP(wide_mask) in_favour, double gamma,
                                     int multiplied, int sloped, int curved) {
    OP(wide) far = OP(wide_add)(size, at.log), zero = OP(wide_set)(0);
    OP(wide) s = OP(wide_select)(in_favour, at.small, at.large), p = OP(wide_select)(in_favour, at.large, at.small);
    OP(wide) loss = OP(wide_select)(in_favour, at.log, far), power;
    if (gamma == 0.0) return (OP(focal)){loss, s, curved ? OP(wide_mul)(p, s) : zero};
    if (multiplied) {
        OP(wide) square = s;
        unsigned left = (unsigned)gamma;
        power = left & 1 ? s : OP(wide_set)(1);
        while (left >>= 1) {
            square = OP(wide_mul)(square, square);
            if (left & 1) power = OP(wide_mul)(power, square);
        }
    } else {
        OP(wide) minus_log_s = OP(wide_select)(in_favour, far, at.log);
        power = OP(wide_exp)(OP(wide_scale)(minus_log_s, f64_set(-gamma)), 0);
    }
    OP(focal) of = {OP(wide_mul)(power, loss), zero, zero};
    if (sloped) {
        /* Where the loss is beyond this, infinite perhaps, p and all it multiplies are 0. */
        OP(wide) finite = OP(wide_keep)(OP(wide_lt)(loss, OP(wide_set)(0x1p20)), loss);
        OP(wide) weighted = OP(wide_scale)(OP(wide_mul)(p, finite), f64_set(gamma));
        of.slope = OP(wide_mul)(power, OP(wide_add)(s, weighted));
        if (curved) {
            OP(wide) bend = OP(wide_mul)(s, OP(wide_sub)(OP(wide_set)(2), finite));
            bend = OP(wide_scale)(OP(wide_add)(weighted, bend), f64_set(gamma));
            of.curve = OP(wide_mul)(OP(wide_mul)(power, p), OP(wide_add)(s, bend));
        }
    }
    return of;
}

/* a b, where a factor 0 silences what is infinite. */
static inline OP(wide) OP(wide_share)(OP(wide) a, OP(wide) b) {
    return OP(wide_keep)(OP(wide_lt)(OP(wide_set)(0), a), OP(wide_mul)(a, b));
}

/* Rounded, and flushed to zero below the smallest normal number. */
static inline V OP(flushed)(OP(wide) a) {
    V value = OP(narrow)(a);
    return OP(keep)(OP(not_lt)(OP(abs)(value), OP(set)(SMALLEST_NORMAL)), value);
}

/* With a = neg_weight (1 - y), b = pos_weight y and f the loss of focal_of: a f(-x) + b f(x), and its derivatives.
   Weights, scale and what is returned are those of plain_terms. */
static inline double KERNEL(focal_terms)(const REAL *x, const REAL *y, ptrdiff_t n, const fx_sigmoid *options,
                                         int multiplied, const REAL *weight, REAL *loss, REAL *grad, REAL *hess,
                                         ptrdiff_t *refused) {
    V zero = OP(set)(0), one = OP(set)(1);
    OP(wide) none = OP(wide_set)(0), scale = OP(wide_set)(options->scale);
    OP(wide) kept = OP(wide_sub)(OP(wide_set)(1), OP(wide_set)(options->smoothing));
    OP(wide) mixed = OP(wide_set)(options->smoothing / 2);
    OP(wide) positive = OP(wide_set)(options->pos_weight), negative = OP(wide_set)(options->neg_weight);
    SUM sum = OP(sum_zero)();
    double gamma = options->gamma;
    int sloped = grad || hess, curved = hess != NULL;
    ptrdiff_t outside = 0;
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        KERNEL(fetch)((const char *)(x + i) + AHEAD, 0, 0, 1);
        KERNEL(fetch)((const char *)(y + i) + AHEAD, 0, 0, 1);
        if (grad) KERNEL(fetch)((const char *)(grad + i) + AHEAD, 1, 0, 1);
        V score = k == LANES ? OP(load)(x + i) : OP(load_part)(x + i, k, 0);
        V target = k == LANES ? OP(load)(y + i) : OP(load_part)(y + i, k, 0);
        outside += LANES - OP(count)(OP(ge)(target, zero)) + OP(count)(OP(lt)(one, target));
        if (options->pos_weights) positive = OP(wide_load)(options->pos_weights + i, k);
        if (options->neg_weights) negative = OP(wide_load)(options->neg_weights + i, k);
        OP(wide) size = OP(widen)(OP(abs)(score)), value, slope = none, curve = none;
        OP(wide_logistic) at = OP(wide_logistic_of)(size, !multiplied);
        int labels = !OP(count)(OP(ne)(OP(mul)(target, OP(sub)(one, target)), zero));
        if (options->smoothing == 0.0 && labels) {
            /* One of the two terms is left, with the same bits as below. */
            M set = OP(lt)(zero, target);
            V turned = OP(select)(set, score, OP(sub)(zero, score));
            OP(focal) of =
                OP(focal_of)(size, at, OP(widen_mask)(OP(lt)(zero, turned)), gamma, multiplied, sloped, curved);
            OP(wide) share = OP(wide_select)(OP(widen_mask)(set), positive, negative);
            value = OP(wide_share)(share, of.value);
            if (sloped) {
                OP(wide) minus = OP(wide_select)(OP(widen_mask)(set), OP(wide_sub)(none, positive), negative);
                slope = OP(wide_mul)(minus, of.slope);
            }
            if (curved) curve = OP(wide_mul)(share, of.curve);
        } else {
            OP(wide) yes = OP(widen)(target), no = OP(wide_sub)(OP(wide_set)(1), yes);
            OP(wide) a = OP(wide_mul)(OP(wide_add)(OP(wide_mul)(no, kept), mixed), negative);
            OP(wide) b = OP(wide_mul)(OP(wide_add)(OP(wide_mul)(yes, kept), mixed), positive);
            OP(wide_mask) above = OP(widen_mask)(OP(lt)(zero, score)), below = OP(widen_mask)(OP(lt)(score, zero));
            OP(focal) of_no = OP(focal_of)(size, at, below, gamma, multiplied, sloped, curved);
            OP(focal) of_yes = OP(focal_of)(size, at, above, gamma, multiplied, sloped, curved);
            value = OP(wide_add)(OP(wide_share)(a, of_no.value), OP(wide_share)(b, of_yes.value));
            if (sloped) slope = OP(wide_sub)(OP(wide_mul)(a, of_no.slope), OP(wide_mul)(b, of_yes.slope));
            if (curved) curve = OP(wide_add)(OP(wide_mul)(a, of_no.curve), OP(wide_mul)(b, of_yes.curve));
        }
        /* A factor 0 does not silence NaN. */
        V nothing = OP(keep)(OP(ne)(score, score), score);
        OP(wide) factor = scale;
        if (weight) {
            V w = k == LANES ? OP(load)(weight + i) : OP(load_part)(weight + i, k, 0);
            /* An element without weight may be anything. */
            M counts = OP(lt)(zero, w);
            nothing = OP(keep)(counts, nothing);
            factor = OP(wide_mul)(OP(widen)(w), scale);
            value = OP(wide_keep)(OP(widen_mask)(counts), OP(wide_mul)(value, OP(widen)(w)));
            slope = OP(wide_keep)(OP(widen_mask)(counts), slope);
            curve = OP(wide_keep)(OP(widen_mask)(counts), curve);
        }
        V rounded = OP(add)(OP(flushed)(value), nothing);
        if (k == LANES) {
            sum = OP(sum_add)(sum, rounded);
            if (loss) OP(store)(loss + i, rounded);
            if (grad) OP(store)(grad + i, OP(flushed)(OP(wide_mul)(slope, factor)));
            if (hess) OP(store)(hess + i, OP(flushed)(OP(wide_mul)(curve, factor)));
        } else {
            REAL part[LANES];
            OP(store)(part, rounded);
            sum = OP(sum_add)(sum, OP(load_part)(part, k, 0));
            if (loss) OP(store_part)(loss + i, rounded, k);
            if (grad) OP(store_part)(grad + i, OP(flushed)(OP(wide_mul)(slope, factor)), k);
            if (hess) OP(store_part)(hess + i, OP(flushed)(OP(wide_mul)(curve, factor)), k);
        }
    }
    *refused += outside;
    double rest;
    return OP(sum_total)(sum, &rest);
}

static double KERNEL(sigmoid_loss)(const REAL *x, const REAL *y, ptrdiff_t n, const fx_sigmoid *options,
                                   const REAL *weight, REAL *loss, REAL *grad, REAL *hess, ptrdiff_t *refused) {
    double gamma = options->gamma;
    int factors =
        options->pos_weight != 1.0 || options->neg_weight != 1.0 || options->pos_weights || options->neg_weights;
    if (gamma == 0.0 && options->smoothing == 0.0 && !factors)
        return KERNEL(plain_sigmoid)(x, y, n, options, weight, loss, grad, hess, refused);
    if (gamma <= FX_MOST_MULTIPLIED && gamma == rint(gamma))
        return KERNEL(focal_terms)(x, y, n, options, 1, weight, loss, grad, hess, refused);
    return KERNEL(focal_terms)(x, y, n, options, 0, weight, loss, grad, hess, refused);
}
