/* Kernels of the losses on probabilities, for REAL = double and REAL = float.

   Logarithms are taken of what is exact. A probability is split into 2^k (1 + f), where f = p - 1 near one; of 1 - p,
   which rounds for p < 1/2, f is -p or 1 - 2p. Sums of -y log p have terms of one sign. Logarithms of normalised
   probabilities are differences of two that do not cancel: with S the sum of the row and 2^K its power of two,

       -log(p / S) = log(S / 2^K) - log(p / 2^K)

   where the first is in [0, log 2) and the second not above 0 for p <= S / 2. At most one element is larger: it is left
   to the caller, who forms log1p((S - p) / p). */

/* Numbers below the normal ones are taken times 2^LIFT. */
#define LIFT C(64.0, 32.0f)
#define TWO_TO_LIFT C(0x1p64, 0x1p32f)

/* f and k of x = 2^k (1 + f), f in [-1/4, 1/2), for finite x > 0. */
static inline V OP(log_parts)(V x, V *k) {
    V one = OP(set)(1), lift = OP(set)(0);
#ifndef FX_SUBNORMAL_PARTS
    M tiny = OP(lt)(x, OP(set)(SMALLEST_NORMAL));
    x = OP(select)(tiny, OP(mul)(x, OP(set)(TWO_TO_LIFT)), x);
    lift = OP(keep)(tiny, OP(set)(LIFT));
#endif
    V mantissa = OP(mantissa)(x);
    M halve = OP(ge)(mantissa, OP(set)(1.5));
    *k = OP(sub)(OP(add)(OP(exponent)(x), OP(keep)(halve, one)), lift);
    return OP(sub)(OP(select)(halve, OP(mul)(mantissa, OP(set)(0.5)), mantissa), one);
}

/* log(2^k (1 + f)) and what it rounds off, if x > 0; -inf for 0, NaN for NaN. */
static inline V OP(log_of_parts)(V x, V f, V k, V *rest) {
    V value = OP(log_reduced)(f, k, OP(set)(0), rest);
    M some = OP(lt)(OP(set)(0), x);
    *rest = OP(keep)(some, *rest);
    return OP(select)(some, value, OP(sub)(x, OP(set)(INFINITY)));
}

/* log(x / 2^shift) for x >= 0. */
static inline V OP(log_scaled)(V x, V shift, V *rest) {
    V k, f = OP(log_parts)(x, &k);
    return OP(log_of_parts)(x, f, OP(sub)(k, shift), rest);
}

/* log(p) where the outcome is yes, log(1 - p) elsewhere, and in `outcome` the rounded p or 1 - p. */
static inline V OP(log_outcome)(V p, M yes, V *outcome, V *rest) {
    V one = OP(set)(1), zero = OP(set)(0), half = OP(set)(0.5), k;
    *outcome = OP(select)(yes, p, OP(sub)(one, p));
    V f = OP(log_parts)(*outcome, &k);
    M rounded = OP(lt)(OP(select)(yes, one, p), half);
    V exact = OP(select)(OP(ne)(k, zero), OP(sub)(one, OP(add)(p, p)), OP(sub)(zero, p));
    return OP(log_of_parts)(*outcome, OP(select)(rounded, exact, f), k, rest);
}

/* ---- elements ---------------------------------------------------------------------------------------- */

/* Of one vector: each times its weight, gradient and curvature times the scale too. */
typedef struct {
    V loss, grad, hess;
} OP(binary);

#ifndef FX_BINARY_TERMS
#define FX_BINARY_TERMS
/* What all elements have in common, and what is wanted beside the loss. */
typedef struct {
    f64v kept, kept_rest, mixed, positive; /* targets become y (kept + kept_rest) + mixed */
    f64v scale, low, high, at_low, at_low_rest, at_high, at_high_rest;
    int mixes; /* targets are mixed, or the positive ones weighted */
    int clips, grad, hess;
} f64_binary_options;

static inline f64v f64_smoothed(f64v y, f64v y_rest, const f64_binary_options *by, f64v *rest) {
    f64v product = f64_mul(y, by->kept), lost;
    f64v value = f64_difference(product, f64_sub(f64_set(0), by->mixed), &lost);
    f64v correction = f64_fma(y, by->kept_rest, f64_mul(y_rest, by->kept));
    *rest = f64_add(lost, f64_sub(correction, f64_remainder(product, y, by->kept)));
    return value;
}

/* With a = 1 - y and b = pos_weight * y, targets smoothed:

       loss = a (-log(1 - p)) + b (-log p)
       gradient = a / (1 - p) - b / p = (a p - b (1 - p)) / (p (1 - p))

   the numerator being p - y if there is nothing but y. `yes` and `no` are -log p and -log(1 - p); where a target is hard the
   one that does not count may be anything. Roundings are carried along where elements come in pairs (`paired`, a constant):
   for floats, doubles have digits to spare. */
static inline f64_binary f64_binary_of(f64v p, f64v y, f64v yes, f64v yes_rest, f64v no, f64v no_rest, f64v positive,
                                       f64v weight, int paired, const f64_binary_options *by) {
    f64v zero = f64_set(0), one = f64_set(1), infinity = f64_set(INFINITY);
    f64_binary of = {zero, zero, zero};
    f64m not_below = f64_not_lt(p, by->low), not_above = f64_not_lt(by->high, p), is_nan = f64_ne(p, p);
    if (by->clips) {
        yes = f64_select(not_below, f64_select(not_above, yes, by->at_high), by->at_low);
        no = f64_select(not_below, f64_select(not_above, no, by->at_low), by->at_high);
        yes_rest = f64_select(not_below, f64_select(not_above, yes_rest, by->at_high_rest), by->at_low_rest);
        no_rest = f64_select(not_below, f64_select(not_above, no_rest, by->at_low_rest), by->at_high_rest);
    }

    f64v a_rest = zero, b_rest = zero, q_rest = zero, a, b = y, q;
    if (paired) {
        a = f64_difference(one, y, &a_rest);
        q = f64_difference(one, p, &q_rest);
    } else {
        a = f64_sub(one, y);
        q = f64_sub(one, p);
    }
    if (by->mixes && paired) {
        f64v part_rest, part = f64_smoothed(y, zero, by, &part_rest);
        a = f64_smoothed(a, a_rest, by, &a_rest);
        b = f64_mul(part, positive);
        b_rest = f64_sub(f64_mul(part_rest, positive), f64_remainder(b, part, positive));
    } else if (by->mixes) {
        a = f64_fma(a, by->kept, by->mixed);
        b = f64_mul(f64_fma(y, by->kept, by->mixed), positive);
    }
    f64m in_a = f64_ne(a, zero), in_b = f64_ne(b, zero);
    yes = f64_keep(in_b, yes);
    no = f64_keep(in_a, no);
    f64v small = zero;
    if (paired) {
        small = f64_fma(a, no_rest, f64_mul(b, yes_rest));
        small = f64_fma(a_rest, f64_keep(f64_lt(no, infinity), no), small);
        small = f64_fma(b_rest, f64_keep(f64_lt(yes, infinity), yes), small);
    }
    of.loss = f64_mul(f64_fma(a, no, f64_fma(b, yes, small)), weight);
    of.loss = f64_select(is_nan, p, of.loss);

    f64v factor = f64_mul(weight, by->scale);
    if (by->grad) {
        f64v both = f64_sub(p, y);
        if (by->mixes) {
            f64v up = f64_mul(a, p), down = f64_mul(b, q);
            both = f64_sub(up, down);
            if (paired) {
                f64v rest = f64_sub(f64_mul(a_rest, p), f64_fma(b_rest, q, f64_mul(b, q_rest)));
                rest = f64_add(rest, f64_sub(f64_remainder(down, b, q), f64_remainder(up, a, p)));
                both = f64_add(both, rest);
            }
        }
        f64v over = f64_select(in_b, f64_select(in_a, both, f64_sub(zero, b)), a);
        f64v under = f64_select(in_b, f64_select(in_a, f64_mul(p, q), p), q);
        of.grad = f64_keep(f64_ne(over, zero), f64_div(f64_mul(over, factor), under));
        of.grad = f64_select(is_nan, p, f64_keep(not_below, f64_keep(not_above, of.grad)));
    }
    if (by->hess) {
        f64v curved = f64_keep(in_b, f64_div(f64_div(f64_mul(b, factor), p), p));
        curved = f64_add(curved, f64_keep(in_a, f64_div(f64_div(f64_mul(a, factor), q), q)));
        of.hess = f64_select(is_nan, p, f64_keep(not_below, f64_keep(not_above, curved)));
    }
    return of;
}

static inline f64_binary f64_binary_in_double(f64v p, f64v y, f64v yes, f64v yes_rest, f64v no, f64v no_rest,
                                              const double *positive, f64v weight, const f64_binary_options *by) {
    f64v factor = positive ? f64_load(positive) : by->positive;
    return f64_binary_of(p, y, yes, yes_rest, no, no_rest, factor, weight, 1, by);
}
#else
static inline f32_binary f32_binary_in_double(f32v p, f32v y, f32v yes, f32v yes_rest, f32v no, f32v no_rest,
                                              const double *positive, f32v weight, const f64_binary_options *by) {
    f64v zero = f64_set(0), factor = positive ? f64_load(positive) : by->positive;
    f64_binary low = f64_binary_of(f32_low(p), f32_low(y), f64_add(f32_low(yes), f32_low(yes_rest)), zero,
                                   f64_add(f32_low(no), f32_low(no_rest)), zero, factor, f32_low(weight), 0, by);
    /* With a single lane there is no second half. */
    if (F32_LANES > F64_LANES && positive) factor = f64_load(positive + F64_LANES);
    f64_binary high = f64_binary_of(f32_high(p), f32_high(y), f64_add(f32_high(yes), f32_high(yes_rest)), zero,
                                    f64_add(f32_high(no), f32_high(no_rest)), zero, factor, f32_high(weight), 0, by);
    f32_binary of = {f32_join(low.loss, high.loss), f32_join(low.grad, high.grad), f32_join(low.hess, high.hess)};
    return of;
}
#endif

/* `general`: whether there is smoothing, pos_weight or clipping. Without them, a target of 0 or 1 needs a single
   logarithm, and loss and gradient stay in the type of the row. The curvature has too many roundings for that. */
static inline double KERNEL(binary_terms)(const REAL *p, const REAL *y, ptrdiff_t n, const fx_binary *options,
                                          const double *positive, int general, const REAL *weight, REAL *loss,
                                          REAL *grad, REAL *hess, ptrdiff_t *refused) {
    V zero = OP(set)(0), one = OP(set)(1);
    M always = OP(ge)(one, zero), never = OP(lt)(one, zero);
    double kept = 1.0 - options->smoothing;
    f64_binary_options by = {
        .kept = f64_set(kept),
        .kept_rest = f64_set((1.0 - kept) - options->smoothing),
        .mixed = f64_set(options->smoothing / 2),
        .positive = f64_set(options->pos_weight),
        .scale = f64_set(options->scale),
        .low = f64_set(options->low),
        .high = f64_set(1.0 - options->low),
        .at_low = f64_set(options->at_low),
        .at_low_rest = f64_set(options->at_low_rest),
        .at_high = f64_set(options->at_high),
        .at_high_rest = f64_set(options->at_high_rest),
        .mixes = general,
        .clips = options->low != 0.0,
        .grad = general && grad,
        .hess = hess != NULL,
    };
    V scale = OP(set)((REAL)options->scale);
    V scale_rest = OP(set)((REAL)(options->scale - (double)(REAL)options->scale));
    V minus_scale = OP(sub)(zero, scale);
    int smooth = options->smoothing != 0.0, simple = !general && !weight && !hess;
    SUM sum = OP(sum_zero)();
    ptrdiff_t outside = 0;
    REAL ones[LANES];
    OP(store)(ones, one);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V value = k == LANES ? OP(load)(p + i) : OP(load_part)(p + i, k, 0);
        V target = k == LANES ? OP(load)(y + i) : OP(load_part)(y + i, k, 0);
        M yes = OP(ne)(target, zero), soft = OP(ne)(OP(keep)(OP(ne)(target, one), target), zero);
        int mixed = smooth || OP(count)(soft);
        if (simple && !mixed && k == LANES) {
            /* The same as below, without what is of no use to hard targets without weights. */
            V outcome, rest, surprisal = OP(sub)(zero, OP(log_outcome)(value, yes, &outcome, &rest));
            outside += OP(count)(OP(lt)(value, zero)) + OP(count)(OP(lt)(one, value));
            sum = OP(sum_add)(sum, surprisal);
            if (loss) OP(store)(loss + i, surprisal);
            if (grad) OP(store)(grad + i, OP(div)(OP(select)(yes, minus_scale, scale), outcome));
            continue;
        }
        /* What is not an element has no weight. */
        V w = k == LANES && !weight ? one : OP(load_part)(weight ? weight + i : ones, k, 0);
        M counts = OP(ne)(w, zero);
        value = OP(keep)(counts, value);
        outside += OP(count)(OP(lt)(value, zero)) + OP(count)(OP(lt)(one, value));
        outside += LANES - OP(count)(OP(ge)(target, zero)) + OP(count)(OP(lt)(one, target));

        /* -log p and -log(1 - p), or the one that counts for both. */
        V outcome, yes_rest, no_rest, yes_log, no_log;
        if (mixed) {
            no_log = OP(sub)(zero, OP(log_outcome)(value, never, &outcome, &no_rest));
            yes_log = OP(sub)(zero, OP(log_outcome)(value, always, &outcome, &yes_rest));
            no_rest = OP(sub)(zero, no_rest);
            yes_rest = OP(sub)(zero, yes_rest);
            outcome = OP(select)(yes, value, OP(sub)(one, value));
        } else {
            yes_log = OP(sub)(zero, OP(log_outcome)(value, yes, &outcome, &yes_rest));
            no_log = yes_log;
            yes_rest = OP(sub)(zero, yes_rest);
            no_rest = yes_rest;
        }
        OP(binary) of = {zero, zero, zero};
        if (!general) {
            V factor = weight ? OP(fma)(w, scale, OP(mul)(w, scale_rest)) : scale;
            of.loss = OP(mul)(OP(select)(yes, yes_log, no_log), w);
            V over = OP(select)(yes, OP(sub)(zero, factor), factor), under = outcome;
            if (mixed) {
                over = OP(select)(soft, OP(mul)(OP(sub)(value, target), factor), over);
                under = OP(select)(soft, OP(mul)(value, OP(sub)(one, value)), under);
            }
            if (grad) of.grad = OP(keep)(OP(ne)(over, zero), OP(div)(over, under));
        }
        if (general || mixed || hess) {
            OP(binary) both = OP(binary_in_double)(value, target, yes_log, yes_rest, no_log, no_rest,
                                                   positive ? positive + i : NULL, w, &by);
            of.loss = general ? both.loss : OP(select)(soft, both.loss, of.loss);
            if (general) of.grad = both.grad;
            of.hess = both.hess;
        }
        of.loss = OP(keep)(counts, of.loss);
        sum = OP(sum_add)(sum, of.loss);
        if (loss) OP(store_part)(loss + i, of.loss, k);
        if (grad) OP(store_part)(grad + i, OP(keep)(counts, of.grad), k);
        if (hess) OP(store_part)(hess + i, OP(keep)(counts, of.hess), k);
    }
    *refused += outside;
    double rest;
    return OP(sum_total)(sum, &rest);
}

static double KERNEL(binary_loss)(const REAL *p, const REAL *y, ptrdiff_t n, const fx_binary *options,
                                  const double *positive, const REAL *weight, REAL *loss, REAL *grad, REAL *hess,
                                  ptrdiff_t *refused) {
    if (options->smoothing != 0.0 || options->pos_weight != 1.0 || options->low != 0.0 || positive)
        return KERNEL(binary_terms)(p, y, n, options, positive, 1, weight, loss, grad, hess, refused);
    return KERNEL(binary_terms)(p, y, n, options, NULL, 0, weight, loss, grad, hess, refused);
}

/* ---- rows -------------------------------------------------------------------------------------------- */

/* How many elements are negative or above `most`; adds the NaNs to *nans. */
static ptrdiff_t KERNEL(count_outside)(const REAL *x, ptrdiff_t n, double most, ptrdiff_t *nans) {
    V zero = OP(set)(0), top = OP(set)((REAL)most);
    ptrdiff_t within = 0, vectors = 0, i = 0;
    for (; i + LANES <= n; i += LANES, ++vectors) {
        V value = OP(load)(x + i);
        within += OP(count)(OP(ge)(value, zero)) + OP(count)(OP(ge)(top, value));
    }
    if (i < n) {
        V value = OP(load_part)(x + i, n - i, 0);
        within += OP(count)(OP(ge)(value, zero)) + OP(count)(OP(ge)(top, value));
        ++vectors;
    }
    ptrdiff_t lost = 2 * LANES * vectors - within, is_nan = 0;
    if (lost == 0) return 0;
    for (i = 0; i < n; ++i) is_nan += x[i] != x[i];
    *nans += is_nan;
    return lost - 2 * is_nan;
}

/* The sum, and what it rounds off (double only). */
static double KERNEL(row_sum)(const REAL *x, ptrdiff_t n, double *rest) {
    SUM sum = OP(sum_zero)();
    for (ptrdiff_t i = 0; i < n; i += LANES)
        sum = OP(sum_add)(sum, n - i < LANES ? OP(load_part)(x + i, n - i, 0) : OP(load)(x + i));
    return OP(sum_total)(sum, rest);
}

static void KERNEL(row_fill)(REAL *out, ptrdiff_t n, double value) {
    V filling = OP(set)((REAL)value);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) OP(store)(out + i, filling);
    if (i < n) OP(store_part)(out + i, filling, n - i);
}

static void KERNEL(row_mass)(const REAL *y, ptrdiff_t n, fx_mass *out) {
    V zero = OP(set)(0);
    SUM sum = OP(sum_zero)();
    ptrdiff_t count = 0, refused = 0, last = 0;
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        V target = n - i < LANES ? OP(load_part)(y + i, n - i, 0) : OP(load)(y + i);
        int here = OP(count)(OP(ne)(target, zero));
        if (here) {
            count += here;
            last = i;
            refused += OP(count)(OP(lt)(target, zero)) + OP(count)(OP(not_lt)(target, OP(set)(INFINITY)));
            sum = OP(sum_add)(sum, target);
        }
    }
    while (count && last + 1 < n && y[last] == 0) ++last;
    out->sum = OP(sum_total)(sum, &out->rest);
    out->count = count;
    out->last = last;
    out->refused = refused != 0;
}

/* Clipping bounds as numbers of the row: p < low as a REAL says the same as in double. */
static inline REAL OP(bound_above)(double bound) {
    REAL nearest = (REAL)bound;
    return (double)nearest < bound ? C(nextafter, nextafterf)(nearest, INFINITY) : nearest;
}
static inline REAL OP(bound_below)(double bound) {
    REAL nearest = (REAL)bound;
    return (double)nearest > bound ? C(nextafter, nextafterf)(nearest, -INFINITY) : nearest;
}

/* a - b, and what that rounds off (two-sum), also for floats; nothing if it is infinite. */
static inline V OP(two_difference)(V a, V b, V *rest) {
    V value = OP(sub)(a, b);
    V rounded = OP(sub)(value, a);
    V lost = OP(sub)(OP(sub)(a, OP(sub)(value, rounded)), OP(add)(b, rounded));
    *rest = OP(keep)(OP(lt)(OP(abs)(value), OP(set)(INFINITY)), lost);
    return value;
}

#ifndef FX_SUM_OF_PAIRS
#define FX_SUM_OF_PAIRS
/* a (b + rest), for `plain` floats a b, and b + rest. */
static inline f64s f64_sum_pair_product(f64s s, f64v a, f64v b, f64v rest, int plain) {
    (void)plain;
    f64m finite = f64_lt(b, f64_set(INFINITY));
    f64v product = f64_mul(a, b);
    f64v lost = f64_keep(finite, f64_sub(f64_mul(a, rest), f64_remainder(product, a, b)));
    return f64_sum_add_exact(s, product, lost);
}
static inline f64s f64_sum_pair(f64s s, f64v b, f64v rest) { return f64_sum_add_exact(s, b, rest); }
static inline f32s f32_sum_pair_product(f32s s, f32v a, f32v b, f32v rest, int plain) {
    s = f32_sum_fma(s, a, b);
    return plain ? s : f32_sum_fma(s, a, rest);
}
static inline f32s f32_sum_pair(f32s s, f32v b, f32v rest) { return f32_sum_add(f32_sum_add(s, b), rest); }
#endif

/* `plain`, a constant: no total and no clipping. Then floats do without what logarithms round off: terms have one sign. */
static inline void KERNEL(surprisal_terms)(const REAL *p, const REAL *y, ptrdiff_t n, int evenly, int plain,
                                           const fx_simplex *of, fx_surprisal *out) {
    V zero = OP(set)(0), one = OP(set)(1);
    V shift = OP(set)((REAL)of->shift), log_total = OP(set)((REAL)of->log_total);
    V log_total_rest = OP(set)((REAL)(of->log_total - (double)(REAL)of->log_total + of->log_total_rest));
    V low = OP(set)(OP(bound_above)(of->low)), high = OP(set)(OP(bound_below)(of->high));
    V at_low = OP(set)((REAL)of->at_low), at_high = OP(set)((REAL)of->at_high);
    V at_low_rest = OP(set)((REAL)(of->at_low - (double)(REAL)of->at_low + of->at_low_rest));
    V at_high_rest = OP(set)((REAL)(of->at_high - (double)(REAL)of->at_high + of->at_high_rest));
    V half = OP(set)(OP(bound_below)(of->half));
    SUM sum = OP(sum_zero)(), even = OP(sum_zero)(), inside = OP(sum_zero)();
    ptrdiff_t inside_count = 0, top = -1;
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V target = !y ? zero : k == LANES ? OP(load)(y + i) : OP(load_part)(y + i, k, 0);
        V value = k == LANES ? OP(load)(p + i) : OP(load_part)(p + i, k, 1);
        M set = OP(ne)(target, zero);
        if (!plain && OP(count)(OP(not_lt)(half, value)) < LANES)
            for (ptrdiff_t j = 0; j < k; ++j)
                if ((double)p[i + j] > of->half) top = i + j;
        if (!evenly && !OP(count)(set)) continue;
        V log_rest, rest, surprisal, logarithm = OP(log_scaled)(value, shift, &log_rest);
        if (plain) {
            surprisal = OP(sub)(zero, logarithm);
            rest = OP(sub)(zero, log_rest);
            /* A filling 1 adds 0. */
            if (evenly) even = OP(sum_add_exact)(even, surprisal, rest);
            if (y) sum = OP(sum_pair_product)(sum, target, OP(keep)(set, surprisal), OP(keep)(set, rest), plain);
            continue;
        }
        M not_below = OP(not_lt)(value, low), not_above = OP(not_lt)(high, value), other = OP(not_lt)(half, value);
        surprisal = OP(two_difference)(log_total, logarithm, &rest);
        rest = OP(add)(rest, OP(sub)(log_total_rest, log_rest));
        surprisal = OP(select)(not_below, OP(select)(not_above, surprisal, at_high), at_low);
        rest = OP(select)(not_below, OP(select)(not_above, rest, at_high_rest), at_low_rest);
        surprisal = OP(keep)(other, surprisal);
        rest = OP(keep)(other, rest);
        if (evenly) {
            M element = k == LANES ? OP(ge)(one, zero) : OP(ne)(OP(load_part)(p + i, k, -1), OP(set)(-1));
            even = OP(sum_pair)(even, OP(keep)(element, surprisal), OP(keep)(element, rest));
            V counted = OP(keep)(not_below, OP(keep)(not_above, OP(keep)(element, one)));
            inside_count += OP(count)(OP(ne)(counted, zero));
        }
        if (y) {
            sum = OP(sum_pair_product)(sum, target, OP(keep)(set, surprisal), OP(keep)(set, rest), plain);
            inside = OP(sum_add)(inside, OP(keep)(not_below, OP(keep)(not_above, target)));
        }
    }
    out->sum = OP(sum_total)(sum, &out->sum_rest);
    out->even = OP(sum_total)(even, &out->even_rest);
    out->inside = OP(sum_total)(inside, &out->inside_rest);
    out->inside_count = inside_count;
    out->top = top;
}

static void KERNEL(row_surprisal)(const REAL *p, const REAL *y, ptrdiff_t n, int evenly, const fx_simplex *of,
                                  fx_surprisal *out) {
    if (of->half < INFINITY || of->low > 0.0)
        KERNEL(surprisal_terms)(p, y, n, evenly, 0, of, out);
    else if (!y)
        KERNEL(surprisal_terms)(p, NULL, n, 1, 1, of, out);
    else
        KERNEL(surprisal_terms)(p, y, n, evenly, 1, of, out);
}

/* `plain`, a constant: no shift, no clipping, and only the gradient. */
static inline void KERNEL(slope_terms)(const REAL *p, const REAL *y, ptrdiff_t n, int plain, const fx_slope *of,
                                       REAL *grad, REAL *hess) {
    V zero = OP(set)(0), kept = OP(set)((REAL)of->kept), mixed = OP(set)((REAL)of->mixed);
    V low = OP(set)(OP(bound_above)(of->low)), high = OP(set)(OP(bound_below)(of->high));
    V offset = OP(set)((REAL)of->offset), bend = OP(set)((REAL)of->bend);
    /* In two steps, since 2^-shift may be no number. */
    int half_way = -(int)of->shift / 2;
    V first = OP(set)((REAL)ldexp(1.0, half_way)), second = OP(set)((REAL)ldexp(1.0, -(int)of->shift - half_way));
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V target = !y ? zero : k == LANES ? OP(load)(y + i) : OP(load_part)(y + i, k, 0);
        V value = k == LANES ? OP(load)(p + i) : OP(load_part)(p + i, k, 1);
        V weight = OP(fma)(target, kept, mixed);
        if (plain) {
            V slope = OP(keep)(OP(ne)(weight, zero), OP(div)(weight, value));
            if (k == LANES)
                OP(store)(grad + i, OP(sub)(offset, slope));
            else
                OP(store_part)(grad + i, OP(sub)(offset, slope), k);
            continue;
        }
        V scaled = OP(mul)(OP(mul)(value, first), second);
        V slope = OP(keep)(OP(ne)(weight, zero), OP(div)(weight, scaled));
        slope = OP(keep)(OP(not_lt)(value, low), OP(keep)(OP(not_lt)(high, value), slope));
        if (grad) OP(store_part)(grad + i, OP(mul)(OP(mul)(OP(sub)(offset, slope), first), second), k);
        if (hess) {
            V curved = OP(sub)(OP(keep)(OP(ne)(slope, zero), OP(div)(slope, scaled)), bend);
            curved = OP(mul)(OP(mul)(OP(mul)(OP(mul)(curved, first), second), first), second);
            OP(store_part)(hess + i, curved, k);
        }
    }
}

static void KERNEL(row_slope)(const REAL *p, const REAL *y, ptrdiff_t n, const fx_slope *of, REAL *grad, REAL *hess) {
    if (of->shift != 0.0 || of->low > 0.0 || hess || !grad)
        KERNEL(slope_terms)(p, y, n, 0, of, grad, hess);
    else if (!y)
        KERNEL(slope_terms)(p, NULL, n, 1, of, grad, NULL);
    else
        KERNEL(slope_terms)(p, y, n, 1, of, grad, NULL);
}
