/* The kernels, once, for REAL = double and REAL = float, over the operations of one simd_*.h. */

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

/* How many of n elements come before the first whole vector that no line of the cache cuts in two. */
static inline ptrdiff_t OP(to_alignment)(const REAL *p, ptrdiff_t n) {
    ptrdiff_t count = (ptrdiff_t)(-(uintptr_t)p % sizeof(V) / sizeof(REAL));
    return count < n ? count : n;
}

/* ---- exponentials of a row ------------------------------------------------------------------------- */

/* max - x - low, `low` relative to that of the maximum and counted if `paired`; and what it rounds off (of floats if `paired`). */
static inline V OP(below)(V max, V x, V low, int paired, V *rest) {
    if (!paired) return OP(difference)(max, x, rest);
    V value = OP(two_sum)(max, OP(sub)(OP(set)(0), x), rest);
    *rest = OP(sub)(*rest, low);
    return value;
}

/* The same in units of FX_MARGIN_UNIT; of floats that are single numbers it is rounded. */
static FX_INLINE V OP(margin)(V max, V x, V low, int paired, V *rest) {
    V unit = OP(set)((REAL)(1 / FX_MARGIN_UNIT(sizeof(REAL))));
    if (sizeof(REAL) == sizeof(double) || paired)
        return OP(below)(OP(mul)(max, unit), OP(mul)(x, unit), OP(mul)(low, unit), paired, rest);
    *rest = OP(set)(0);
    return OP(fnma)(x, unit, OP(mul)(max, unit));
}

static inline V OP(mark_masked)(V x, V e) { return OP(select)(OP(ne)(x, OP(set)(-INFINITY)), e, OP(set)(-1)); }

static inline V OP(load_some)(const REAL *p, ptrdiff_t k, REAL fill) {
    return k == LANES ? OP(load)(p) : OP(load_part)(p, k, fill);
}

static inline void OP(store_some)(REAL *p, V a, ptrdiff_t k) {
    if (k == LANES)
        OP(store)(p, a);
    else
        OP(store_part)(p, a, k);
}

static inline M OP(zero_bytes_part)(const uint8_t *p, ptrdiff_t k) {
    uint8_t part[LANES] = {0};
    if (k == LANES) return OP(zero_bytes)(p);
    for (ptrdiff_t i = 0; i < k; ++i) part[i] = p[i];
    return OP(zero_bytes)(part);
}

/* Scores that are to be left out become -inf. */
static inline V OP(leave_out)(V score, const uint8_t *left_out, ptrdiff_t k) {
    return OP(select)(OP(zero_bytes_part)(left_out, k), score, OP(set)(-INFINITY));
}

/* A row whose largest score is not finite. */
static FX_COLD void KERNEL(limit_row)(const REAL *x, ptrdiff_t n, double max, REAL *e, ptrdiff_t step,
                                      const fx_rows *out, ptrdiff_t row) {
    REAL scale = out->by ? (REAL)out->by->scale : 1;
    const uint8_t *left_out = out->left_out ? out->left_out + row * out->left_out_stride : NULL;
    double ties = 0.0, others = 0.0, classes = 0.0, margins = 0.0;
    for (ptrdiff_t j = 0; j < n; ++j) {
        REAL score = left_out && left_out[j] ? (REAL)-INFINITY : x[j] * scale;
        if (score != score) others = NAN;
        if (score == INFINITY) ties += 1.0;
        if (score != -INFINITY) classes += 1.0;
        if (score != -INFINITY && score != INFINITY) margins = INFINITY;
        if (e) e[j * step] = score == INFINITY ? 1 : out->margins && score == -INFINITY ? -1 : 0;
    }
    out->max[row] = max;
    out->ties[row] = max == -INFINITY ? NAN : ties;
    out->others[row] = others;
    out->rest[row] = 0.0;
    if (out->margins) {
        out->margins[row] = margins;
        out->margins_rest[row] = 0.0;
        out->classes[row] = classes;
    }
}

static FX_INLINE V OP(load_left)(const REAL *x, const uint8_t *left_out, ptrdiff_t k) {
    V score = OP(load_some)(x, k, -INFINITY);
    return left_out ? OP(leave_out)(score, left_out, k) : score;
}

/* How many bytes more than one row the memory is asked for ahead: its end, and the beginning of the one after it, are needed
   as soon as its maximum is looked for. */
#define LEAD 256

/* The largest number; where there is a NaN, that or this. x86 takes the second of two if either is a NaN, so what was found
   comes second and is not forgotten. Sums, not this, tell of a NaN. */
static FX_INLINE REAL KERNEL(max_of)(const REAL *x, const uint8_t *left_out, ptrdiff_t left_out_ahead, ptrdiff_t n) {
    if (n < LANES) return OP(max_lane)(OP(max)(OP(load_left)(x, left_out, n), OP(set)(-INFINITY)));
    /* Both ends may be looked at twice. */
    ptrdiff_t i = OP(to_alignment)(x, n), end = n - LANES;
    V b = OP(set)(-INFINITY), c = b, d = b, a = OP(max)(OP(load_left)(x, left_out, LANES), b);
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        V score[4];
        if (left_out) __builtin_prefetch(left_out + i + left_out_ahead + LEAD, 0);
        for (int u = 0; u < 4; ++u)
            score[u] = OP(load_left)(x + i + u * LANES, left_out ? left_out + i + u * LANES : NULL, LANES);
        a = OP(max)(score[0], a);
        b = OP(max)(score[1], b);
        c = OP(max)(score[2], c);
        d = OP(max)(score[3], d);
    }
    for (; i + LANES <= n; i += LANES) a = OP(max)(OP(load_left)(x + i, left_out ? left_out + i : NULL, LANES), a);
    b = OP(max)(OP(load_left)(x + end, left_out ? left_out + end : NULL, LANES), b);
    return OP(max_lane)(OP(max)(OP(max)(a, b), OP(max)(c, d)));
}

static REAL KERNEL(max)(const REAL *x, ptrdiff_t n) { return KERNEL(max_of)(x, NULL, 0, n); }

/* The same of floats, and their sum in double. */
static FX_NOINLINE REAL KERNEL(max_and_sum)(const REAL *x, ptrdiff_t n, double *sum) {
    V max[4], lowest = OP(set)(-INFINITY);
    SUM sums[] = {OP(sum_zero)(), OP(sum_zero)()};
    for (int u = 0; u < 4; ++u) max[u] = lowest;
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        for (int u = 0; u < 4; ++u) {
            V score = OP(load)(x + i + u * LANES);
            max[u] = OP(max)(score, max[u]);
            sums[u % 2] = OP(sum_add)(sums[u % 2], score);
        }
    }
    for (; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        max[0] = OP(max)(OP(load_some)(x + i, k, -INFINITY), max[0]);
        sums[0] = OP(sum_add)(sums[0], OP(load_some)(x + i, k, 0));
    }
    double rest;
    *sum = OP(sum_total)(sums[0], &rest) + OP(sum_total)(sums[1], &rest);
    return OP(max_lane)(OP(max)(OP(max)(max[0], max[1]), OP(max)(max[2], max[3])));
}

/* Of a row in which some are left out. */
static FX_NOINLINE REAL KERNEL(max_left)(const REAL *x, const uint8_t *left_out, ptrdiff_t left_out_ahead,
                                         ptrdiff_t n) {
    return KERNEL(max_of)(x, left_out, left_out_ahead, n);
}

/* What is counted of a row beside the sum: exponentials other than the top one if they are set apart; scores above -inf and
   their margins if those of -inf are marked. */
typedef struct {
    ptrdiff_t others, present;
    SUM margins;
} OP(tally);

/* Floats that are single numbers: what their exponentials round off may be added up before it is widened to doubles. */
static FX_INLINE int OP(joins)(fx_mode mode) { return sizeof(REAL) == sizeof(float) && !mode.paired; }

/* The margin of scores above -inf, which are counted; and what it rounds off. */
static FX_INLINE V OP(margin_of)(V score, V score_low, const OP(reference) *to, fx_mode mode, OP(tally) *tally,
                                 V *rest) {
    M present = OP(ne)(score, OP(set)(-INFINITY));
    tally->present += OP(count)(present);
    V low = OP(keep)(present, OP(sub)(score_low, to->max_low));
    return OP(margin)(to->max, OP(select)(present, score, to->max), low, mode.paired, rest);
}

static FX_INLINE void OP(put_in)(REAL *e, V score, V value, ptrdiff_t k, fx_mode mode) {
    if (e) OP(store_some)(e, mode.marked ? OP(mark_masked)(score, value) : value, k);
}

/* The exponentials of k scores are stored, and added to the sum. */
static FX_INLINE SUM OP(count_in)(SUM sum, V score, V value, V rest, REAL *e, ptrdiff_t k, V top, fx_mode mode,
                                  OP(tally) *tally) {
    OP(put_in)(e, score, value, k, mode);
    if (!mode.apart) return OP(sum_add_both)(sum, value, rest, mode.brief);
    M other = OP(ne)(value, top);
    tally->others += OP(count)(other);
    return OP(sum_add_both)(sum, OP(keep)(other, value), OP(keep)(other, rest), mode.brief);
}

typedef struct {
    const REAL *x, *low;
    ptrdiff_t n;
    REAL *e;
    ptrdiff_t ahead, e_ahead; /* bytes to the next row, or 0 */
    int distant;              /* see fetch */
    int paired;
    const fx_transform *by;  /* see fx_rows */
    const uint8_t *left_out; /* see fx_rows, of this row */
} OP(row);

static FX_INLINE SUM OP(expsum_step)(SUM sum, const OP(row) *at, ptrdiff_t i, ptrdiff_t k, const OP(reference) *to,
                                     V scale, V scale_low, V top, fx_mode mode, OP(tally) *tally) {
    V score = OP(load_some)(at->x + i, k, -INFINITY), score_low = OP(set)(0);
    if (mode.left_out) score = OP(leave_out)(score, at->left_out + i, k);
    if (mode.scaled)
        score = OP(product)(score, scale, scale_low, &score_low);
    else if (mode.paired)
        score_low = OP(load_some)(at->low + i, k, 0);
    if (mode.marked) {
        V lost, margin = OP(margin_of)(score, score_low, to, mode, tally, &lost);
        tally->margins = OP(sum_add_both)(tally->margins, margin, lost, !mode.paired);
    }
    V rest, value = OP(exp_relative)(score, score_low, to, mode, &rest);
    return OP(count_in)(sum, score, value, rest, at->e ? at->e + i : NULL, k, top, mode, tally);
}

/* What a factor loses in the type. */
static inline REAL OP(scale_low)(const fx_transform *by) {
    return (REAL)(by->scale - (double)(REAL)by->scale + by->scale_rest);
}

static FX_INLINE BUNDLED(reference) OP(refer_all)(const OP(reference) *to) {
    BUNDLED(reference)
    all = {BUNDLED(all)(to->max),        BUNDLED(all)(to->max_low), BUNDLED(all)(to->origin),
           BUNDLED(all)(to->origin_low), BUNDLED(all)(to->shift),   BUNDLED(all)(to->floor)};
    return all;
}

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

/* What a bundle adds to the sums beside its exponentials: margins, and of floats that are joined what exponentials round off
   unless the top one is set apart. */
static FX_INLINE SUM OP(count_more)(SUM sum, const BUNDLED(vector) * score, const BUNDLED(vector) * low,
                                    const BUNDLED(vector) * rest, const OP(reference) *to, fx_mode mode,
                                    OP(tally) *tally) {
    for (int u = 0; mode.marked && u < BUNDLE; ++u) {
        V lost, margin = OP(margin_of)(score->at[u], low->at[u], to, mode, tally, &lost);
        tally->margins = OP(sum_add_both)(tally->margins, margin, lost, !mode.paired);
    }
    if (!OP(joins)(mode) || mode.apart || mode.brief) return sum;
    V all = rest->at[0];
    for (int u = 1; u < BUNDLE; ++u) all = OP(add)(all, rest->at[u]);
    return OP(sum_add)(sum, all);
}

/* Positive floats are added up without widening each: what an addition to `total` rounds off (Dekker) is added to `lost`, and
   what that rounds off to `rest`. Both begin larger than each of what will be added to them, which is taken off at the end:
   that pays from some length of a row on. */
#define TOGETHER 16
#define TOGETHER_FROM 512
typedef struct {
    V total, lost, rest;
} OP(running);

/* For so many bundles of elements that are no larger than `top`. */
static FX_INLINE OP(running) OP(run_from)(V top) {
    OP(running) of = {OP(add)(top, top), OP(mul)(top, OP(set)(C(0, TOGETHER * (BUNDLE * TOGETHER + 2) * 0x1p-21f))),
                      OP(set)(0)};
    return of;
}

static FX_INLINE void OP(run_on)(OP(running) *of, const BUNDLED(vector) * value) {
    for (int u = 0; u < BUNDLE; ++u) {
        V total = OP(add)(of->total, value->at[u]), lost = OP(sub)(value->at[u], OP(sub)(total, of->total));
        V more = OP(add)(of->lost, lost);
        of->rest = OP(add)(of->rest, OP(sub)(lost, OP(sub)(more, of->lost)));
        of->total = total;
        of->lost = more;
    }
}

static FX_INLINE SUM OP(run_out)(SUM sum, const OP(running) *of, const OP(running) *from) {
    V zero = OP(set)(0);
    sum = OP(sum_add)(OP(sum_add)(sum, of->total), OP(sub)(zero, from->total));
    sum = OP(sum_add)(OP(sum_add)(sum, of->lost), OP(sub)(zero, from->lost));
    return OP(sum_add)(sum, of->rest);
}

static FX_INLINE void KERNEL(part_to)(const OP(row) *at, const OP(reference) *to, fx_mode mode, fx_part *out) {
    const REAL *x = at->x;
    REAL *e = at->e;
    V top_rest, top = OP(exp_relative)(to->max, to->max_low, to, mode, &top_rest);
    SUM sum = OP(sum_zero)();
    OP(tally) tally = {0, 0, OP(sum_zero)()};
    ptrdiff_t i = 0, n = at->n;
    V scale = OP(set)(0), scale_low = scale;
    if (mode.scaled) {
        scale = OP(set)((REAL)at->by->scale);
        scale_low = OP(set)(OP(scale_low)(at->by));
    }
    int joined = OP(joins)(mode), together = RUNNING && joined && !mode.apart && n >= TOGETHER_FROM;
    if (!mode.paired || mode.scaled) {
        BUNDLED(reference) all = OP(refer_all)(to);
        OP(running) from = OP(run_from)(top);
        fx_mode alone = mode;
        if (joined && !mode.apart) alone.brief = 1;
        while (i + BUNDLE * LANES <= n) {
            OP(running) run = from;
            ptrdiff_t end = together && n - i > TOGETHER * BUNDLE * LANES ? i + TOGETHER * BUNDLE * LANES : n;
            for (; i + BUNDLE * LANES <= end; i += BUNDLE * LANES) {
                KERNEL(fetch)((const char *)(x + i) + at->ahead, 0, at->distant, BUNDLE);
                if (e && at->e_ahead) KERNEL(fetch)((const char *)(e + i) + at->e_ahead, 1, at->distant, BUNDLE);
                BUNDLED(vector) score = BUNDLED(load)(x + i, LANES), low = BUNDLED(set)(0), rest;
                if (mode.left_out)
                    for (int u = 0; u < BUNDLE; ++u)
                        score.at[u] = OP(leave_out)(score.at[u], at->left_out + i + u * LANES, LANES);
                if (mode.scaled) score = BUNDLED(product)(score, BUNDLED(all)(scale), BUNDLED(all)(scale_low), &low);
                BUNDLED(vector) value = BUNDLED(exp_relative)(score, low, &all, mode, &rest);
                sum = OP(count_more)(sum, &score, &low, &rest, to, mode, &tally);
                for (int u = 0; u < BUNDLE; ++u) {
                    REAL *place = e ? e + i + u * LANES : NULL;
                    if (together)
                        OP(put_in)(place, score.at[u], value.at[u], LANES, mode);
                    else
                        sum = OP(count_in)(sum, score.at[u], value.at[u], rest.at[u], place, LANES, top, alone, &tally);
                }
                if (together) OP(run_on)(&run, &value);
            }
            if (together) sum = OP(run_out)(sum, &run, &from);
        }
    }
    for (; i + LANES <= n; i += LANES) {
        KERNEL(fetch)((const char *)(x + i) + at->ahead, 0, at->distant, 1);
        sum = OP(expsum_step)(sum, at, i, LANES, to, scale, scale_low, top, mode, &tally);
    }
    if (i < n) {
        KERNEL(fetch)((const char *)(x + i) + at->ahead, 0, at->distant, 1);
        sum = OP(expsum_step)(sum, at, i, n - i, to, scale, scale_low, top, mode, &tally);
    }
    ptrdiff_t vectors = (n + LANES - 1) / LANES;
    out->ties = mode.apart ? (double)(vectors * LANES - tally.others) : 0.0;
    out->margins = out->margins_rest = 0.0;
    if (mode.marked) out->margins = OP(sum_total)(tally.margins, &out->margins_rest);
    out->classes = (double)tally.present;
    out->others = OP(sum_total)(sum, &out->rest);
    out->shift = (double)OP(first_lane)(to->shift);
    out->top = (double)OP(first_lane)(top);
    out->top_rest = (double)OP(first_lane)(top_rest);
}

/* Of stored exponentials, what is not the top one. */
static void KERNEL(part_stored)(const REAL *e, ptrdiff_t n, fx_part *out) {
    SUM sum = OP(sum_zero)();
    V top = OP(set)((REAL)out->top);
    ptrdiff_t others = 0, vectors = 0;
    for (ptrdiff_t i = 0; i < n; i += LANES, ++vectors) {
        V value = OP(load_part)(e + i, n - i < LANES ? n - i : LANES, 0);
        value = OP(keep)(OP(not_lt)(value, OP(set)(0)), value);
        M other = OP(ne)(value, top);
        others += OP(count)(other);
        sum = OP(sum_add)(sum, OP(keep)(other, value));
    }
    out->ties = (double)(vectors * LANES - others);
    out->others = OP(sum_total)(sum, &out->rest);
}

static FX_INLINE void KERNEL(part_of)(const OP(row) *at, int paired, int scaled, int left_out, int brief, int apart,
                                      const fx_rows *of, ptrdiff_t row, fx_part *out) {
    REAL max = (REAL)out->max, max_low = paired ? (REAL)of->max_low[row] : 0;
    V top = OP(set)(max), top_low = OP(set)(max_low);
    if (of->margins && !left_out && (sizeof(REAL) == sizeof(double) || !paired)) {
        OP(reference) to = OP(refer_to)(top, top_low);
        fx_mode mode = {0, paired, apart, 1, brief, 0, 0};
        KERNEL(part_to)(at, &to, mode, out);
    } else if (OP(is_plain)(max)) {
        OP(reference) to = OP(refer_plainly)(top, top_low);
        fx_mode mode = {1, paired, apart, 0, brief, scaled, left_out};
        KERNEL(part_to)(at, &to, mode, out);
    } else {
        OP(reference) to = OP(refer_to)(top, top_low);
        fx_mode mode = {0, paired, apart, 0, brief, scaled, left_out};
        KERNEL(part_to)(at, &to, mode, out);
    }
}

/* The same in one body for all that may be asked for, which tests at every step. */
static FX_INLINE void KERNEL(part_rare)(const OP(row) *at, int paired, int scaled, int left_out, int brief, int apart,
                                        const fx_rows *of, ptrdiff_t row, fx_part *out) {
    REAL max = (REAL)out->max;
    V top = OP(set)(max), top_low = OP(set)(paired ? (REAL)of->max_low[row] : 0);
    int marked = of->margins != NULL, plain = !marked && OP(is_plain)(max);
    OP(reference) to = plain ? OP(refer_plainly)(top, top_low) : OP(refer_to)(top, top_low);
    fx_mode mode = {plain, paired, apart, marked, brief, scaled, left_out};
    KERNEL(part_to)(at, &to, mode, out);
}

/* Gives a part its own maximum; where that lies too far from zero for parts to be compared by a power of two, all there is to
   say is that others are NaN. A NaN among masked classes hides from the maximum. While a part is summed up the next one is
   asked for, which would be waited for when the next maximum is looked for. Returns whether there is something to sum up. */
static FX_NOINLINE int KERNEL(find_own)(OP(row) *at, fx_part *out) {
    fx_part none = {.max = (double)KERNEL(max)(at->x, at->n)};
    *out = none;
    at->ahead = FX_PART * (ptrdiff_t)sizeof(REAL);
    at->distant = 1;
    if (fabs(none.max) < (double)FAR) return 1;
    if (none.max != -INFINITY) out->others = NAN;
    for (ptrdiff_t i = 0; i < at->n; ++i)
        if (at->x[i] != at->x[i]) out->others = NAN;
    return 0;
}

/* A part of a row of finite maximum, which is given unless each part is to have its own; FX_STORED keeps what an earlier way
   has left in `out`, of this part or another, but for ties and others. */
static FX_NOINLINE void KERNEL(part)(OP(row) *at, int how, const fx_rows *of, ptrdiff_t row, fx_part *out) {
    int wide = sizeof(REAL) == sizeof(double), apart = wide || how == FX_APART, brief = !of->precise;
    int scaled = !wide && at->by, left_out = !wide && at->left_out, paired = at->paired || scaled;
    int usual = !paired && brief && !left_out;
    /* Floats that are summed up a second time, and two things asked for at once. */
    int rare = !wide && (apart || ((paired || left_out) && (of->margins || !brief)));
    if (how == FX_OWN) {
        if (!KERNEL(find_own)(at, out)) return;
    } else {
        out->max = of->max[row];
    }
    if (how == FX_STORED)
        KERNEL(part_stored)(at->e, at->n, out);
    else if (rare || (COMPACT && !usual))
        KERNEL(part_rare)(at, paired, scaled, left_out, brief, apart, of, row, out);
    else if (usual)
        KERNEL(part_of)(at, 0, 0, 0, 1, wide, of, row, out);
    else if (left_out)
        KERNEL(part_of)(at, 0, 0, 1, 1, wide, of, row, out);
    else if (!paired)
        KERNEL(part_of)(at, 0, 0, 0, 0, wide, of, row, out);
    else if (scaled)
        KERNEL(part_of)(at, 1, 1, 0, 1, wide, of, row, out);
    else
        KERNEL(part_of)(at, 1, 0, 0, wide ? brief : 1, wide, of, row, out);
}

/* Take a part relative to a larger maximum: what was tied with its own is one of the others, and all of it a power of two
   smaller. */
static inline void KERNEL(lower_part)(fx_part *part, const fx_part *to) {
    int power = (int)(part->shift - to->shift);
    double tied = part->ties * part->top, others = part->others + tied, rounded = others - part->others;
    double rest = (part->others - (others - rounded)) + (tied - rounded);
    rest += fma(part->ties, part->top, -tied) + part->ties * part->top_rest;
    part->others = ldexp(others, power);
    part->rest = ldexp(part->rest + rest, power);
    part->ties = 0.0;
}

/* Add a part to those before it. */
static FX_COLD void KERNEL(add_part)(fx_part *sum, const fx_part *given) {
    fx_part more = *given, *part = &more;
    if (part->max > sum->max || part->max != part->max) {
        KERNEL(lower_part)(sum, part);
        sum->max = part->max;
        sum->shift = part->shift;
        sum->top = part->top;
        sum->top_rest = part->top_rest;
    } else if (part->max < sum->max) {
        KERNEL(lower_part)(part, sum);
    }
    double others = sum->others + part->others, margins = sum->margins + part->margins;
    double rounded = others - sum->others, margins_rounded = margins - sum->margins;
    sum->rest += part->rest + ((sum->others - (others - rounded)) + (part->others - rounded));
    sum->margins_rest += part->margins_rest;
    if (margins < (double)INFINITY)
        sum->margins_rest += (sum->margins - (margins - margins_rounded)) + (part->margins - margins_rounded);
    sum->others = others;
    sum->margins = margins;
    sum->ties += part->ties;
    sum->classes += part->classes;
}

/* A row is the sum of its parts; or how they are to be taken once more. The double that holds a sum of floats has digits to
   spare: the top one is taken out afterwards, which is a tenth faster, unless what remains is so small that the sum's rounding
   would show. */
static inline int KERNEL(end_row)(const fx_part *sum, ptrdiff_t n, int how, int stored, const fx_rows *out,
                                  ptrdiff_t row) {
    int brief = !out->precise;
    double others = sum->others, rest = sum->rest, ties = sum->ties;
    if (how == FX_OWN) {
        out->max[row] = sum->max;
        if (others != others) return FX_WHOLE;
    }
    if (out->margins && how != FX_STORED) {
        out->margins[row] = sum->margins;
        out->margins_rest[row] = sum->margins_rest;
        out->classes[row] = sum->classes;
    }
    if ((how == FX_WHOLE || how == FX_OWN) && sizeof(REAL) == sizeof(float)) {
        double least = others * (double)(n / LANES + 2 * LANES) * (brief ? 0x1p-25 : 0x1p-20);
        others -= sum->top;
        if (!brief) others -= sum->top_rest;
        if (others < least) return brief && stored ? FX_STORED : FX_APART; /* e may have overwritten the scores */
        ties = 1.0;
    }
    if (sizeof(REAL) == sizeof(float)) {
        others += rest;
        rest = 0.0;
    }
    out->ties[row] = ties;
    out->others[row] = others;
    out->rest[row] = rest;
    out->stored[row] = sum->shift;
    return FX_DONE;
}

/* All parts of a row, one way; returns how they are to be taken once more, with the same `sum` and `part`. */
static inline int KERNEL(expsum_parts)(const OP(row) *at, int how, const fx_rows *out, ptrdiff_t row, fx_part *sum,
                                       fx_part *part) {
    for (ptrdiff_t start = 0, k; start < at->n; start += k) {
        OP(row) of = *at;
        of.n = k = fx_part_size(start, at->n);
        of.x += start;
        of.low += start;
        if (of.e) of.e += start;
        if (of.left_out) of.left_out += start;
        KERNEL(part)(&of, how, out, row, start ? part : sum);
        if (start) KERNEL(add_part)(sum, part);
    }
    return KERNEL(end_row)(sum, at->n, how, at->e != NULL, out, row);
}

/* Elements at labels, 0 for a negative one; and numbers put there, none for a negative one. */
static void KERNEL(rows_pick)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, const ptrdiff_t *label, double *out) {
    for (ptrdiff_t i = 0; i < rows; ++i) out[i] = label[i] < 0 ? 0.0 : (double)x[i * stride + label[i]];
}
static void KERNEL(rows_put)(REAL *out, ptrdiff_t stride, ptrdiff_t rows, const ptrdiff_t *label, const double *value) {
    for (ptrdiff_t i = 0; i < rows; ++i)
        if (label[i] >= 0) out[i * stride + label[i]] = (REAL)value[i];
}

/* ---- few classes: rows in lanes --------------------------------------------------------------------- */

#define FEW FX_FEW(sizeof(REAL))

/* How many bytes ahead of a row the memory is asked for, where rows are shorter than that; and from which length of a row
   on in the second-level cache: measured, as are rows so short that what is written need not be asked for, and so long that
   a whole one ahead would leave the caches. */
#define ROWS_AHEAD 8192
#define DISTANT 8192
#define SHORT_ROW 4800
#define HUGE_ROW (1 << 20)

/* Ask for memory further on: once for every line that the columns from j on begin in so many rows. */
static inline void KERNEL(few_fetch)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t j, int written) {
    ptrdiff_t line = 64 / (ptrdiff_t)sizeof(REAL), step = stride < line ? line : stride;
    if (j % line) return;
    for (ptrdiff_t i = j; i < rows * stride; i += step)
        KERNEL(fetch)((const char *)(x + i) + ROWS_AHEAD, written, 0, 1);
}

static FX_INLINE void KERNEL(load_tile)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t k, V *tile) {
    for (int i = 0; i < LANES; ++i) tile[i] = i < rows ? OP(load_part)(x + i * stride, k, 0) : OP(set)(0);
}

/* Columns of at most LANES rows, and zeros after them until another LANES would begin. */
static FX_NOINLINE void KERNEL(few_load)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, V *column) {
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        KERNEL(few_fetch)(x, stride, rows, j, 0);
        ptrdiff_t k = n - j < LANES ? n - j : LANES;
        V tile[LANES];
        if (rows == LANES)
            KERNEL(load_tile)(x + j, stride, LANES, k, tile);
        else
            KERNEL(load_tile)(x + j, stride, rows, k, tile);
        OP(transpose)(tile);
        for (int i = 0; i < LANES; ++i) column[j + i] = tile[i];
    }
}

static FX_NOINLINE void KERNEL(few_store)(V *column, ptrdiff_t rows, ptrdiff_t n, REAL *out, ptrdiff_t stride) {
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        KERNEL(few_fetch)(out, stride, rows, j, 1);
        ptrdiff_t k = n - j < LANES ? n - j : LANES;
        V tile[LANES];
        for (int i = 0; i < LANES; ++i) tile[i] = column[j + i];
        OP(transpose)(tile);
        for (int i = 0; i < LANES; ++i)
            if (rows == LANES || i < rows) OP(store_part)(out + i * stride + j, tile[i], k);
    }
}

/* Sums of a row a lane, those of the first `rows` lanes, and what they round off: nothing of floats. */
static FX_INLINE void KERNEL(sums_to)(SUM sum, double *value, double *rest, ptrdiff_t rows) {
    double values[LANES], rests[LANES];
    if (rows == LANES) {
        memset(rest, 0, sizeof rests);
        OP(sum_store)(sum, value, rest);
        return;
    }
    memset(rests, 0, sizeof rests);
    OP(sum_store)(sum, values, rests);
    for (ptrdiff_t i = 0; i < rows; ++i) {
        value[i] = values[i];
        rest[i] = rests[i];
    }
}

/* Doubles that are single numbers, and no more exact than usual: to subtract the maximum from each of a few costs less than a
   quotient by its exponential once. */
#define RELATIVE_TO_MAX (sizeof(REAL) == sizeof(double))

/* Of these so few that several groups of rows go through the exponential together, to fill its bundles: measured, with more
   they outgrow the first-level cache. */
#define VERY_FEW (COMPACT ? FEW : 768 / (ptrdiff_t)sizeof(V))
#define FEW_TOGETHER 4
#define FEW_OTHERS (FEW_TOGETHER * (VERY_FEW - 1))

/* Rows in lanes without the largest score of each, which is handed on from column to column while those below it stay behind:
   n - 1 of a group, one group after the other. */
typedef struct {
    V score[FEW_OTHERS];
    V value[FEW_OTHERS]; /* the maximum, then the exponential */
    V rest[FEW_OTHERS];
    M larger[FEW_TOGETHER][VERY_FEW]; /* where a column's score was handed on */
} OP(few);

static FX_INLINE V KERNEL(set_apart)(const V *column, ptrdiff_t n, V *score, V *max, M *larger) {
    V top = column[0];
    for (ptrdiff_t j = 1; j < n; ++j) {
        larger[j] = OP(lt)(top, column[j]);
        score[j - 1] = OP(select)(larger[j], top, column[j]);
        top = OP(max)(column[j], top);
    }
    for (ptrdiff_t j = 0; j < n - 1; ++j) max[j] = top;
    return top;
}

/* Exponentials back to their columns. */
static FX_INLINE void KERNEL(put_back)(const V *score, const V *value, const M *larger, int marked, ptrdiff_t n,
                                       REAL *e) {
    V top = OP(set)(TWO_TO_BIAS);
    for (ptrdiff_t j = n - 1; j > 0; --j) {
        V other = marked ? OP(mark_masked)(score[j - 1], value[j - 1]) : value[j - 1];
        OP(store)(e + j * LANES, OP(select)(larger[j], top, other));
        top = OP(select)(larger[j], other, top);
    }
    OP(store)(e, top);
}

static FX_INLINE void KERNEL(sum_others)(V max, const V *score, const V *value, const V *rest, ptrdiff_t rows,
                                         ptrdiff_t n, const fx_rows *out, ptrdiff_t first) {
    int marked = out->margins != NULL;
    V one = OP(set)(1), different = OP(set)(0), present = one;
    SUM sum = OP(sum_zero)(), margin = OP(sum_zero)();
    for (ptrdiff_t j = 0; j < n - 1; ++j) {
        M other = OP(ne)(score[j], max);
        different = OP(add)(different, OP(keep)(other, one));
        sum = OP(sum_add_exact)(sum, OP(keep)(other, value[j]), OP(keep)(other, rest[j]));
        if (!marked) continue;
        M unmasked = OP(ne)(score[j], OP(set)(-INFINITY));
        present = OP(add)(present, OP(keep)(unmasked, one));
        V lost, below = OP(margin)(max, score[j], OP(set)(0), 0, &lost);
        margin = OP(sum_add_exact)(margin, OP(keep)(unmasked, below), OP(keep)(unmasked, lost));
    }
    OP(to_doubles)(max, out->max + first, rows);
    OP(to_doubles)(OP(sub)(OP(set)((REAL)n), different), out->ties + first, rows);
    KERNEL(sums_to)(sum, out->others + first, out->rest + first, rows);
    if (!marked) return;
    OP(to_doubles)(present, out->classes + first, rows);
    KERNEL(sums_to)(margin, out->margins + first, out->margins_rest + first, rows);
}

/* `rows` are FEW_TOGETHER groups of LANES at most. */
static FX_INLINE void KERNEL(expsum_others)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, REAL *e,
                                            const fx_rows *out, ptrdiff_t first) {
    OP(few) at;
    V max[FEW_TOGETHER];
    ptrdiff_t others = 0, finite = 0, groups = (rows + LANES - 1) / LANES;
    for (ptrdiff_t g = 0; g < groups; ++g, others += n - 1) {
        V column[FEW + LANES];
        ptrdiff_t k = g < groups - 1 ? LANES : rows - g * LANES;
        KERNEL(few_load)(x + g * LANES * stride, stride, k, n, column);
        max[g] = KERNEL(set_apart)(column, n, at.score + others, at.value + others, at.larger[g]);
        finite += OP(count)(OP(lt)(OP(abs)(max[g]), OP(set)(INFINITY)));
    }
    for (ptrdiff_t j = others; j % BUNDLE; ++j) at.score[j] = at.value[j] = OP(set)(0);
    for (ptrdiff_t j = 0; j < others; j += BUNDLE) {
        BUNDLED(vector) score, top, value, rest;
        for (int u = 0; u < BUNDLE; ++u) {
            score.at[u] = at.score[j + u];
            top.at[u] = at.value[j + u];
        }
        value = BUNDLED(exp_below)(score, top, &rest);
        for (int u = 0; u < BUNDLE; ++u) {
            at.value[j + u] = value.at[u];
            at.rest[j + u] = rest.at[u];
        }
    }
    others = 0;
    for (ptrdiff_t g = 0; g < groups; ++g, others += n - 1) {
        const V *score = at.score + others, *value = at.value + others;
        ptrdiff_t k = g < groups - 1 ? LANES : rows - g * LANES;
        KERNEL(sum_others)(max[g], score, value, at.rest + others, k, n, out, first + g * LANES);
        if (e) KERNEL(put_back)(score, value, at.larger[g], out->margins != NULL, n, e + g * n * LANES);
    }
    if (finite == groups * LANES) return;
    for (ptrdiff_t i = 0; i < rows; ++i)
        if (!(fabs(out->max[first + i]) < INFINITY))
            KERNEL(limit_row)(x + i * stride, n, out->max[first + i], e ? e + i / LANES * LANES * n + i % LANES : NULL,
                              LANES, out, first + i);
}

/* `rows` is at most LANES; `e` takes n vectors. */
static FX_INLINE void KERNEL(expsum_group)(const REAL *x, const REAL *low, int paired, int brief, ptrdiff_t stride,
                                           ptrdiff_t rows, ptrdiff_t n, REAL *e, const fx_rows *out, ptrdiff_t first) {
    V column[FEW + LANES], lows[FEW + LANES], max_low = OP(set)(0);
    int marked = out->margins != NULL;
    KERNEL(few_load)(x, stride, rows, n, column);
    V max = column[0];
    for (ptrdiff_t j = 1; j < n; ++j) max = OP(max)(column[j], max);
    if (paired) {
        KERNEL(few_load)(low, stride, rows, n, lows);
        max_low = OP(of_doubles)(out->max_low + first, rows);
    }
    fx_mode mode = {0, paired, 1, 0, brief, 0, 0};
    OP(reference) to = OP(refer_to)(max, max_low);
    BUNDLED(reference) all = OP(refer_all)(&to);
    SUM sum = OP(sum_zero)(), margin = OP(sum_zero)();
    V zero = OP(set)(0), one = OP(set)(1), different = zero, present = zero;
    for (ptrdiff_t j = n; j % BUNDLE; ++j) column[j] = lows[j] = zero;
    for (ptrdiff_t j = 0; j < n; j += BUNDLE) {
        BUNDLED(vector) score, low_of = BUNDLED(set)(0), rest, value;
        for (int u = 0; u < BUNDLE; ++u) score.at[u] = column[j + u];
        if (paired)
            for (int u = 0; u < BUNDLE; ++u) low_of.at[u] = lows[j + u];
        if (RELATIVE_TO_MAX && !paired && brief)
            value = BUNDLED(exp_below)(score, all.max, &rest);
        else
            value = BUNDLED(exp_relative)(score, low_of, &all, mode, &rest);
        for (int u = 0; u < BUNDLE && j + u < n; ++u) {
            M other = OP(ne)(score.at[u], max);
            if (paired) other = OP(ne)(OP(sub)(max, score.at[u]), OP(sub)(low_of.at[u], max_low));
            different = OP(add)(different, OP(keep)(other, one));
            sum = OP(sum_add_both)(sum, OP(keep)(other, value.at[u]), OP(keep)(other, rest.at[u]), brief);
            if (marked) {
                M unmasked = OP(ne)(score.at[u], OP(set)(-INFINITY));
                present = OP(add)(present, OP(keep)(unmasked, one));
                V lost, below = OP(margin)(max, score.at[u], OP(sub)(low_of.at[u], max_low), paired, &lost);
                margin = OP(sum_add_both)(margin, OP(keep)(unmasked, below), OP(keep)(unmasked, lost), !paired);
                value.at[u] = OP(mark_masked)(score.at[u], value.at[u]);
            }
            if (e) OP(store)(e + (j + u) * LANES, value.at[u]);
        }
    }
    OP(to_doubles)(max, out->max + first, rows);
    OP(to_doubles)(OP(sub)(OP(set)((REAL)n), different), out->ties + first, rows);
    OP(to_doubles)(to.shift, out->stored + first, rows);
    KERNEL(sums_to)(sum, out->others + first, out->rest + first, rows);
    if (marked) {
        OP(to_doubles)(present, out->classes + first, rows);
        KERNEL(sums_to)(margin, out->margins + first, out->margins_rest + first, rows);
    }
    if (OP(count)(OP(lt)(OP(abs)(max), OP(set)(INFINITY))) == LANES) return;
    for (ptrdiff_t i = first; i < first + rows; ++i)
        if (!(fabs(out->max[i]) < INFINITY))
            KERNEL(limit_row)(x + (i - first) * stride, n, out->max[i], e ? e + (i - first) : NULL, LANES, out, i);
}

/* From the sum of the stored exponentials, and the shift in `stored`, to `others` and `stored`. The stored exponential
   of the maximum is 2^-shift exp(max - origin) = 2^power unit, unit in [0.7, 1.5). For doubles and precise floats the unit
   is a sum of two, to nearly twice double precision; for other floats a double has digits to spare. */
static inline void KERNEL(finish_rows)(ptrdiff_t rows, int brief, const fx_rows *out) {
    f64v one = f64_set(1.0), zero = f64_set(0.0), far = f64_set((double)FAR);
    for (ptrdiff_t i = 0; i < rows; i += F64_LANES) {
        ptrdiff_t k = rows - i < F64_LANES ? rows - i : F64_LANES;
        f64v max = f64_load_part(out->max + i, k, 0.0);
        f64v ties = f64_load_part(out->ties + i, k, 1.0);
        f64v others = f64_load_part(out->others + i, k, 0.0);
        f64v stored = f64_load_part(out->stored + i, k, 0.0);
        f64v max_low = out->max_low ? f64_load_part(out->max_low + i, k, 0.0) : zero;
        f64m finite = f64_lt(f64_abs(max), f64_set(INFINITY));
        f64m near = f64_lt(f64_abs(max), far);
        f64v t = f64_keep(near, max);
        f64v n = f64_power_of_two(t);
        f64v power = f64_keep(finite, f64_sub(n, stored));
        f64v down = f64_scale2(one, f64_sub(zero, power));
        f64v sum = f64_mul(others, down), low = f64_keep(near, max_low), rest, total_rest, quotient_rest, unit_rest;
        f64v total, quotient, limit = f64_add(ties, others);
        if (brief) {
            f64v unit = f64_plain_exp_mantissa(t, low, n);
            quotient = f64_div(sum, unit);
            total = f64_fma(ties, unit, sum);
            quotient_rest = total_rest = zero;
        } else {
            f64v less, less_rest, unit = f64_exp_mantissa_long(t, low, n, &unit_rest, &less, &less_rest);
            rest = f64_mul(f64_load_part(out->rest + i, k, 0.0), down);
            quotient = f64_div(sum, unit);
            f64v remainder = f64_sub(f64_remainder(sum, quotient, unit), f64_mul(quotient, unit_rest));
            quotient_rest = f64_keep(finite, f64_div(f64_add(remainder, rest), unit));
            f64v tied = f64_mul(ties, unit);
            total = f64_add(tied, sum);
            f64v rounded = f64_sub(total, tied);
            total_rest = f64_add(f64_sub(tied, f64_sub(total, rounded)), f64_sub(sum, rounded));
            total = f64_two_sum(total, f64_add(f64_fma(ties, unit_rest, rest), total_rest), &total_rest);
            total_rest = f64_keep(finite, f64_scale2(total_rest, power));
        }
        f64_store_part(out->others + i, f64_select(finite, quotient, others), k);
        f64_store_part(out->rest + i, quotient_rest, k);
        f64_store_part(out->stored + i, f64_select(finite, f64_scale2(total, power), limit), k);
        f64_store_part(out->stored_rest + i, total_rest, k);
    }
}

/* The same of exponentials relative to the maximum. */
static inline void KERNEL(finish_relative)(ptrdiff_t rows, const fx_rows *out) {
    f64v down = f64_set((double)TWO_TO_MINUS_BIAS), up = f64_set((double)TWO_TO_BIAS);
    for (ptrdiff_t i = 0; i < rows; i += F64_LANES) {
        ptrdiff_t k = rows - i < F64_LANES ? rows - i : F64_LANES;
        f64v others = f64_load_part(out->others + i, k, 0.0), rest = f64_load_part(out->rest + i, k, 0.0), total_rest;
        f64m finite = f64_lt(f64_abs(f64_load_part(out->max + i, k, 0.0)), f64_set(INFINITY));
        others = f64_select(finite, f64_mul(others, down), others);
        rest = f64_mul(rest, down);
        f64v total = f64_two_sum(f64_load_part(out->ties + i, k, 1.0), others, &total_rest);
        total_rest = f64_mul(f64_add(total_rest, rest), up);
        f64_store_part(out->others + i, others, k);
        f64_store_part(out->rest + i, rest, k);
        f64_store_part(out->stored + i, f64_select(finite, f64_mul(total, up), total), k);
        f64_store_part(out->stored_rest + i, f64_keep(finite, total_rest), k);
    }
}

/* What memory is asked for while a row of n scores is gone through. */
static inline void KERNEL(look_ahead)(OP(row) *at, ptrdiff_t stride, ptrdiff_t e_stride, int near) {
    ptrdiff_t size = at->n * (ptrdiff_t)sizeof(REAL), next = stride * (ptrdiff_t)sizeof(REAL);
    ptrdiff_t e_next = e_stride * (ptrdiff_t)sizeof(REAL);
    at->ahead = next > ROWS_AHEAD ? next : ROWS_AHEAD;
    at->e_ahead = e_next > ROWS_AHEAD ? e_next : ROWS_AHEAD;
    at->distant = size >= DISTANT;
    if (!near) return;
    if (size >= SHORT_ROW) {
        at->ahead = next > HUGE_ROW || next < 2 * ROWS_AHEAD ? 2 * ROWS_AHEAD : next + LEAD;
        at->e_ahead = ROWS_AHEAD;
        at->distant = 1;
    } else if (at->e) {
        at->ahead = next + LEAD;
        at->e_ahead = 0;
        at->distant = size >= DISTANT / 4;
    }
}

static FX_INLINE void KERNEL(expsum_few)(const REAL *x, const REAL *low, int paired, int brief, ptrdiff_t stride,
                                         ptrdiff_t rows, ptrdiff_t n, REAL *e, const fx_rows *out) {
    for (ptrdiff_t i = 0; i < rows; i += LANES) {
        const REAL *group = x + i * stride, *group_low = low + i * stride;
        ptrdiff_t k = rows - i < LANES ? rows - i : LANES;
        KERNEL(expsum_group)(group, group_low, paired, brief, stride, k, n, e ? e + i * n : NULL, out, i);
    }
}

static FX_INLINE void KERNEL(expsum_very_few)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, REAL *e,
                                              const fx_rows *out) {
    for (ptrdiff_t i = 0; i < rows; i += FEW_TOGETHER * LANES) {
        ptrdiff_t k = rows - i < FEW_TOGETHER * LANES ? rows - i : FEW_TOGETHER * LANES;
        KERNEL(expsum_others)(x + i * stride, stride, k, n, e ? e + i * n : NULL, out, i);
    }
}

/* The largest score, part by part; where there is a NaN, that or another. `left_out_ahead`: bytes to the mask of the next row. */
static inline double KERNEL(max_of_parts)(const OP(row) *at, ptrdiff_t left_out_ahead) {
    double max = -INFINITY;
    for (ptrdiff_t start = 0, k; start < at->n; start += k) {
        const REAL *x = at->x + start;
        k = fx_part_size(start, at->n);
        double more;
        if (sizeof(REAL) == sizeof(float) && at->left_out)
            more = (double)KERNEL(max_left)(x, at->left_out + start, left_out_ahead, k);
        else
            more = (double)KERNEL(max)(x, k);
        max = start ? fx_larger(max, more) : more;
    }
    return max;
}

/* A row that each pass would read from memory; its figures are `row` in `out`. */
static FX_NOINLINE void KERNEL(expsum_long)(OP(row) at, const fx_rows *out, ptrdiff_t row) {
    OP(row) summed = at;
    summed.e = NULL;
    fx_part sum = {0}, part = {0};
    int how = FX_OWN;
    do {
        how = KERNEL(expsum_parts)(&summed, how, out, row, &sum, &part);
        if (!(fabs(out->max[row]) < INFINITY)) {
            KERNEL(limit_row)(at.x, at.n, out->max[row], at.e, 1, out, row);
            return;
        }
    } while (how != FX_DONE);
    if (!at.e) return;
    KERNEL(part)(&at, FX_WHOLE, out, row, &part);
}

/* The largest of the products, from the largest score. */
static inline void KERNEL(scale_max)(const fx_transform *by, const fx_rows *out, ptrdiff_t row) {
    V rest, max = OP(set)((REAL)out->max[row]);
    max = OP(product)(max, OP(set)((REAL)by->scale), OP(set)(OP(scale_low)(by)), &rest);
    out->max[row] = (double)OP(first_lane)(max);
    out->max_low[row] = fabs(out->max[row]) < INFINITY ? (double)OP(first_lane)(rest) : 0.0;
}

/* A row of floats whose maximum is near zero, none of them -inf: their margins are that maximum as many times, less their sum.
   What a double rounds off of that is nothing beside the logarithm of the row's sum, or beside margins where that is small.
   Returns whether it was such a row; of another one the maximum is found, and nothing else. */
static FX_NOINLINE int KERNEL(expsum_summed)(const OP(row) *at, const fx_rows *out, ptrdiff_t row) {
    double scores;
    REAL max = KERNEL(max_and_sum)(at->x, at->n, &scores);
    out->max[row] = (double)max;
    if (!isfinite(scores) || !OP(is_plain)(max)) return 0;
    fx_rows without = *out;
    without.margins = NULL;
    fx_part sum = {0}, part = {0};
    int how = FX_WHOLE;
    while (how != FX_DONE) how = KERNEL(expsum_parts)(at, how, &without, row, &sum, &part);
    out->margins[row] = ((double)at->n * (double)max - scores) / FX_MARGIN_UNIT(sizeof(REAL));
    out->margins_rest[row] = 0.0;
    out->classes[row] = (double)at->n;
    return 1;
}

/* A row of more than FEW scores. */
static inline void KERNEL(expsum_row)(const OP(row) *at, const fx_rows *out, ptrdiff_t row) {
    if (fx_is_long(at->n, out)) {
        KERNEL(expsum_long)(*at, out, row);
        return;
    }
    int summed = sizeof(REAL) == sizeof(float) && out->margins && !at->paired && !at->by && !at->left_out &&
                 !out->max_given && at->n < 2 * FX_PART;
    if (summed) {
        if (KERNEL(expsum_summed)(at, out, row)) return;
    } else if (!out->max_given) {
        out->max[row] = KERNEL(max_of_parts)(at, out->left_out_stride);
    }
    if (sizeof(REAL) == sizeof(float) && at->by) KERNEL(scale_max)(at->by, out, row);
    if (!(fabs(out->max[row]) < INFINITY)) {
        KERNEL(limit_row)(at->x, at->n, out->max[row], at->e, 1, out, row);
        return;
    }
    fx_part sum = {0}, part = {0};
    int how = FX_WHOLE;
    while (how != FX_DONE) how = KERNEL(expsum_parts)(at, how, out, row, &sum, &part);
}

static FX_NOINLINE void KERNEL(end_rows)(ptrdiff_t rows, const fx_rows *out) {
    if (sizeof(REAL) == sizeof(float) && !out->precise)
        KERNEL(finish_rows)(rows, 1, out);
    else
        KERNEL(finish_rows)(rows, 0, out);
}

static void KERNEL(rows_expsum)(const REAL *x, const REAL *low, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, REAL *e,
                                ptrdiff_t e_stride, const fx_rows *out) {
    const REAL *second = low ? low : x; /* which is only read where scores are pairs */
    if (n > FEW) {
        for (ptrdiff_t i = 0; i < rows; ++i) {
            OP(row) at = {x + i * stride,
                          second + i * stride,
                          n,
                          e ? e + i * e_stride : NULL,
                          0,
                          0,
                          0,
                          low != NULL,
                          out->by,
                          out->left_out ? out->left_out + i * out->left_out_stride : NULL};
            KERNEL(look_ahead)(&at, stride, e_stride, out->near);
            if (out->next) {
                at.ahead = (ptrdiff_t)((uintptr_t)out->next + (uintptr_t)(i * out->next_stride) - (uintptr_t)at.x);
                at.distant = 1;
            }
            KERNEL(expsum_row)(&at, out, i);
        }
    } else if (low || out->precise) {
        int brief = !out->precise;
        if (COMPACT)
            KERNEL(expsum_few)(x, second, low != NULL, brief, stride, rows, n, e, out);
        else if (low)
            KERNEL(expsum_few)(x, second, 1, brief, stride, rows, n, e, out);
        else
            KERNEL(expsum_few)(x, second, 0, 0, stride, rows, n, e, out);
    } else {
        if (RELATIVE_TO_MAX && n <= VERY_FEW)
            KERNEL(expsum_very_few)(x, stride, rows, n, e, out);
        else
            KERNEL(expsum_few)(x, second, 0, 1, stride, rows, n, e, out);
        if (RELATIVE_TO_MAX) {
            KERNEL(finish_relative)(rows, out);
            return;
        }
    }
    KERNEL(end_rows)(rows, out);
}

/* The same for one row, part by part: its maximum, which must be finite for the others and is not needed first if each part
   has its own; a part; and what all parts come to. */
static double KERNEL(row_max)(const REAL *x, ptrdiff_t n) { return (double)KERNEL(max)(x, n); }

static void KERNEL(row_part)(const REAL *x, const REAL *low, ptrdiff_t n, REAL *e, int how, const fx_rows *of,
                             fx_part *out) {
    OP(row) at = {x, low ? low : x, n, e, ROWS_AHEAD, ROWS_AHEAD, 1, low != NULL, NULL, NULL};
    KERNEL(part)(&at, how, of, 0, out);
}

static int KERNEL(row_end)(const fx_part *parts, ptrdiff_t count, ptrdiff_t n, int how, int stored,
                           const fx_rows *out) {
    fx_part sum = parts[0];
    for (ptrdiff_t i = 1; i < count; ++i) KERNEL(add_part)(&sum, parts + i);
    int again = KERNEL(end_row)(&sum, n, how, stored, out, 0);
    if (again == FX_DONE) KERNEL(end_rows)(1, out);
    return again;
}

/* ---- rows and columns exchanged ----------------------------------------------------------------------- */

static FX_INLINE void KERNEL(transpose_tile)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, REAL *out,
                                             ptrdiff_t out_stride) {
    V tile[LANES];
    for (int u = 0; u < LANES; ++u) tile[u] = u < rows ? OP(load_some)(x + u * stride, n, 0) : OP(set)(0);
    OP(transpose)(tile);
    for (int u = 0; u < LANES; ++u)
        if (u < n) OP(store_some)(out + u * out_stride, tile[u], rows);
}

/* out[j, i] = x[i, j]. On the side whose rows are many, each of them is far from the last: the memory is asked for ahead. */
static void KERNEL(transpose)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, REAL *out,
                              ptrdiff_t out_stride) {
    const ptrdiff_t ahead = 64;
    for (ptrdiff_t i = 0; i < rows; i += LANES) {
        ptrdiff_t k = rows - i < LANES ? rows - i : LANES;
        for (ptrdiff_t j = 0; j < n; j += LANES) {
            const REAL *from = x + i * stride + j;
            REAL *to = out + j * out_stride + i;
            if (i + ahead < rows)
                for (int u = 0; u < LANES; ++u) __builtin_prefetch(from + (u + ahead) * stride, 0);
            if (j + ahead < n)
                for (int u = 0; u < LANES; ++u) __builtin_prefetch(to + (u + ahead) * out_stride, 1);
            if (k == LANES && n - j >= LANES)
                KERNEL(transpose_tile)(from, stride, LANES, LANES, to, out_stride);
            else
                KERNEL(transpose_tile)(from, stride, k, n - j < LANES ? n - j : LANES, to, out_stride);
        }
    }
}

/* ---- scores after a soft cap, a bias and a temperature ------------------------------------------------ */

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

/* What is done to scores; constants wherever it is used. */
typedef struct {
    int capped, biased, scaled, paired, masked;
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
        V lost, low = OP(load_some)(to->bias_low + i, k, 0);
        V bias = OP(load_some)(to->bias + i, k, 0), sum = OP(two_sum)(score, bias, &lost);
        score = OP(select)(OP(ne)(bias, masked), sum, masked);
        rest = OP(add)(changes.capped ? OP(add)(rest, low) : low, lost);
    }
    if (changes.scaled) {
        V lost;
        score = OP(product)(score, to->scale, to->scale_low, &lost);
        rest = changes.biased || changes.capped ? OP(add)(OP(mul)(rest, to->scale), lost) : lost;
    }
    if (changes.masked) score = OP(leave_out)(score, to->left_out + i, k);
    if (changes.paired) {
        /* Infinite scores have a NaN here. */
        rest = OP(keep)(OP(ge)(rest, rest), rest);
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
    if (i + LANES <= n) {
        a = OP(transform_step)(to, changes, i, LANES, a);
        i += LANES;
    }
    if (i < n) b = OP(transform_step)(to, changes, i, n - i, b);
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
        OP(changes) changes = {capped, bias != NULL, by->scale != 1.0, low != NULL, masked};
        if (bias && !capped && !masked && by->scale == 1.0 && !COMPACT)
            KERNEL(transform_row)(&to, (OP(changes)){0, 1, 0, 1, 0}, ahead, n, at, at_low);
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

/* ---- from exponentials to gradients and curvature ---------------------------------------------------- */

/* factor * e + offset, the product flushed to zero below the smallest normal number; `masked` where an exponential is marked as
   such, 0 but in a row of NaN. Where the factor itself is not a normal number, it stands 2^64 times as large, which makes it one
   wherever a product is, and `first` takes that off. */
typedef struct {
    V least, first, factor, offset, masked;
} OP(scaling);

/* The same for one row in all lanes. */
static inline OP(scaling) OP(scale_by)(double factor, double offset) {
    int tiny = fabs(factor) < (double)SMALLEST_NORMAL;
    OP(scaling) by = {OP(set)((REAL)((double)SMALLEST_NORMAL / fabs(factor))), OP(set)(tiny ? C(0x1p-64, 0x1p-64f) : 1),
                      OP(set)((REAL)(tiny ? factor * 0x1p64 : factor)), OP(set)((REAL)offset),
                      OP(set)(factor == factor ? 0 : (REAL)NAN)};
    return by;
}

/* For a row a lane. */
static inline OP(scaling) OP(scale_each_by)(const double *factor, const double *offset, ptrdiff_t rows) {
    double least[LANES], first[LANES], scaled[LANES];
    f64v smallest = f64_set((double)SMALLEST_NORMAL), one = f64_set(1.0);
    for (ptrdiff_t i = 0; i < LANES; i += F64_LANES) {
        ptrdiff_t k = rows - i < 0 ? 0 : rows - i < F64_LANES ? rows - i : F64_LANES;
        f64v f = f64_load_part(factor + i, k, 1.0), size = f64_abs(f);
        f64m tiny = f64_lt(size, smallest);
        f64_store(least + i, f64_div(smallest, size));
        f64_store(first + i, f64_select(tiny, f64_set(0x1p-64), one));
        f64_store(scaled + i, f64_mul(f, f64_select(tiny, f64_set(0x1p64), one)));
    }
    OP(scaling) by = {OP(of_doubles)(least, LANES), OP(of_doubles)(first, LANES), OP(of_doubles)(scaled, LANES),
                      offset ? OP(of_doubles)(offset, rows) : OP(set)(0), OP(set)(0)};
    by.masked = OP(keep)(OP(ne)(by.factor, by.factor), by.factor);
    return by;
}

static inline V OP(scaled)(V e, const OP(scaling) *by, int tiny, int shifted) {
    V counted = OP(keep)(OP(ge)(e, by->least), e);
    if (tiny) counted = OP(mul)(counted, by->first);
    if (!shifted) return OP(mul)(counted, by->factor);
    return OP(select)(OP(not_lt)(e, OP(set)(0)), OP(fma)(counted, by->factor, by->offset), by->masked);
}

/* `out` may be `e`. Both ends are vectors that overlap others, not parts of vectors: a masked store keeps the loads of the
   next row waiting. */
static inline void KERNEL(scale_row)(const REAL *e, ptrdiff_t n, const OP(scaling) *by, int tiny, int shifted,
                                     REAL *out) {
    if (n < LANES) {
        OP(store_part)(out, OP(scaled)(OP(load_part)(e, n, 0), by, tiny, shifted), n);
        return;
    }
    V first = OP(scaled)(OP(load)(e), by, tiny, shifted);
    V last = OP(scaled)(OP(load)(e + n - LANES), by, tiny, shifted);
    for (ptrdiff_t i = OP(to_alignment)(out, n); i + LANES <= n; i += LANES)
        OP(store)(out + i, OP(scaled)(OP(load)(e + i), by, tiny, shifted));
    OP(store)(out, first);
    OP(store)(out + n - LANES, last);
}

static void KERNEL(rows_scale)(const REAL *e, ptrdiff_t e_stride, ptrdiff_t rows, ptrdiff_t n, const double *factor,
                               const double *offset, REAL *out, ptrdiff_t stride) {
    if (n <= FEW) {
        for (ptrdiff_t i = 0; i < rows; i += LANES) {
            ptrdiff_t k = rows - i < LANES ? rows - i : LANES;
            V column[FEW + LANES];
            OP(scaling) by = OP(scale_each_by)(factor + i, offset ? offset + i : NULL, k);
            for (ptrdiff_t j = 0; j < n; ++j)
                column[j] = OP(scaled)(OP(load)(e + i * n + j * LANES), &by, 1, offset != NULL);
            for (ptrdiff_t j = n; j % LANES; ++j) column[j] = OP(set)(0);
            KERNEL(few_store)(column, k, n, out + i * stride, stride);
        }
        return;
    }
    for (ptrdiff_t i = 0; i < rows; ++i) {
        const REAL *row = e + i * e_stride;
        REAL *to = out + i * stride;
        OP(scaling) by = OP(scale_by)(factor[i], offset ? offset[i] : 0.0);
        int tiny = fabs(factor[i]) < (double)SMALLEST_NORMAL;
        if (offset && (tiny || COMPACT))
            KERNEL(scale_row)(row, n, &by, 1, 1, to);
        else if (offset)
            KERNEL(scale_row)(row, n, &by, 0, 1, to);
        else if (tiny)
            KERNEL(scale_row)(row, n, &by, 1, 0, to);
        else
            KERNEL(scale_row)(row, n, &by, 0, 0, to);
    }
}

/* Exponentials multiplied by a factor as soon as they are made; memory is asked for ahead, in bytes. */
static FX_INLINE void KERNEL(exp_scaled_to)(const REAL *x, ptrdiff_t n, const OP(reference) *to, int plain,
                                            const OP(scaling) *by, REAL *out, ptrdiff_t out_ahead) {
    fx_mode mode = {plain, 0, 0, 0, 1, 0, 0};
    BUNDLED(reference) all = OP(refer_all)(to);
    ptrdiff_t i = 0;
    for (; i + BUNDLE * LANES <= n; i += BUNDLE * LANES) {
        KERNEL(fetch)((const char *)(x + i) + ROWS_AHEAD, 0, 0, BUNDLE);
        if (out_ahead) KERNEL(fetch)((const char *)(out + i) + out_ahead, 1, 0, BUNDLE);
        BUNDLED(vector) rest, zero = BUNDLED(set)(0);
        BUNDLED(vector) e = BUNDLED(exp_relative)(BUNDLED(load)(x + i, LANES), zero, &all, mode, &rest);
        for (int u = 0; u < BUNDLE; ++u) OP(store)(out + i + u * LANES, OP(scaled)(e.at[u], by, 1, 0));
    }
    for (; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V rest, e = OP(exp_relative)(OP(load_part)(x + i, k, -INFINITY), OP(set)(0), to, mode, &rest);
        OP(store_part)(out + i, OP(scaled)(e, by, 1, 0), k);
    }
}

static FX_NOINLINE void KERNEL(exp_scaled)(const REAL *x, ptrdiff_t n, const fx_rows *of, const OP(scaling) *by,
                                           REAL *out, ptrdiff_t out_ahead) {
    REAL max = (REAL)of->max[0];
    V top = OP(set)(max), none = OP(set)(0);
    if (of->precise) {
        fx_part unused;
        OP(row) at = {x, x, n, out, ROWS_AHEAD, out_ahead, 1, 0, NULL, NULL};
        KERNEL(part)(&at, FX_WHOLE, of, 0, &unused);
        KERNEL(scale_row)(out, n, by, 1, 0, out);
        return;
    }
    int plain = OP(is_plain)(max);
    OP(reference) to = plain ? OP(refer_plainly)(top, none) : OP(refer_to)(top, none);
    if (COMPACT)
        KERNEL(exp_scaled_to)(x, n, &to, plain, by, out, out_ahead);
    else if (plain)
        KERNEL(exp_scaled_to)(x, n, &to, 1, by, out, out_ahead);
    else
        KERNEL(exp_scaled_to)(x, n, &to, 0, by, out, out_ahead);
}

/* What rows_expsum would store of scores in a row of finite maximum, multiplied by a factor as in rows_scale. */
static void KERNEL(row_exp_scaled)(const REAL *x, ptrdiff_t n, const fx_rows *of, double factor, REAL *out) {
    OP(scaling) by = OP(scale_by)(factor, 0.0);
    KERNEL(exp_scaled)(x, n, of, &by, out, ROWS_AHEAD);
}

/* factor * e * (1 - p) + root |root| e^2, p = inverse * e; the second term if it is `bent`. Only the largest score can have
   p above 1/2: there p comes from 1 - p, which is the
   given `not_top`; below, the difference of the two products suffers less from the error of p than their product would. */
typedef struct {
    V least, inverse, not_top, first, factor, root_least, root, top_product;
} OP(curving);

/* The numbers of a row, in the order of OP(curving). */
static inline void OP(curve_row)(double inverse, double not_top, double factor, double root, int bent, REAL *of,
                                 ptrdiff_t step) {
    REAL scaled_root = bent ? (REAL)(root * sqrt((double)TWO_TO_BIAS)) : 0;
    int tiny = bent || fabs(factor) < (double)SMALLEST_NORMAL;
    of[0] = (REAL)((double)SMALLEST_NORMAL / fabs(factor));
    of[step] = (REAL)inverse;
    of[2 * step] = (REAL)not_top;
    of[3 * step] = tiny ? TWO_TO_MINUS_BIAS : 1;
    of[4 * step] = (REAL)(tiny ? factor * (double)TWO_TO_BIAS : factor);
    of[5 * step] = scaled_root == 0 && factor == 0 ? (REAL)INFINITY : 0;
    of[6 * step] = scaled_root;
    of[7 * step] = (REAL)((double)scaled_root * (1.0 - not_top) / inverse);
}

static inline OP(curving) OP(curve_by)(double inverse, double not_top, double factor, double root, int bent) {
    REAL of[8];
    OP(curve_row)(inverse, not_top, factor, root, bent, of, 1);
    OP(curving) by = {OP(set)(of[0]), OP(set)(of[1]), OP(set)(of[2]), OP(set)(of[3]),
                      OP(set)(of[4]), OP(set)(of[5]), OP(set)(of[6]), OP(set)(of[7])};
    return by;
}

static inline OP(curving) OP(curve_each_by)(const double *inverse, const double *not_top, const double *factor,
                                            const double *root, int bent, ptrdiff_t rows) {
    REAL of[8][LANES];
    for (ptrdiff_t i = 0; i < LANES; ++i) {
        ptrdiff_t k = i < rows ? i : 0;
        OP(curve_row)(inverse[k], not_top[k], factor[k], bent ? root[k] : 0.0, bent, &of[0][i], LANES);
    }
    OP(curving) by = {OP(load)(of[0]), OP(load)(of[1]), OP(load)(of[2]), OP(load)(of[3]),
                      OP(load)(of[4]), OP(load)(of[5]), OP(load)(of[6]), OP(load)(of[7])};
    return by;
}

static inline V OP(curved)(V e, const OP(curving) *by, int bent) {
    V counted = OP(keep)(OP(ge)(e, bent ? by->root_least : by->least), e);
    V p = OP(mul)(counted, by->inverse);
    V scaled = OP(mul)(bent ? counted : OP(mul)(counted, by->first), by->factor);
    M top = OP(lt)(OP(set)(C(0x1.5p-1, 0x1.5p-1f)), p);
    V h = OP(select)(top, OP(mul)(scaled, by->not_top), OP(fnma)(p, scaled, scaled));
    if (!bent) return h;
    /* The sum is what may be too small for a normal number: it stands 2^BIAS times as large until then. */
    V product = OP(select)(top, by->top_product, OP(mul)(counted, by->root));
    h = OP(fma)(product, OP(abs)(product), h);
    return OP(mul)(OP(keep)(OP(not_lt)(OP(abs)(h), OP(set)(SMALLEST_NORMAL * TWO_TO_BIAS)), h), by->first);
}

static inline void KERNEL(curvature)(const REAL *e, ptrdiff_t e_stride, ptrdiff_t rows, ptrdiff_t n,
                                     const double *inverse, const double *not_top, const double *factor,
                                     const double *root, int bent, REAL *out, ptrdiff_t stride) {
    if (n <= FEW) {
        for (ptrdiff_t i = 0; i < rows; i += LANES) {
            ptrdiff_t k = rows - i < LANES ? rows - i : LANES;
            V column[FEW + LANES];
            OP(curving) by = OP(curve_each_by)(inverse + i, not_top + i, factor + i, bent ? root + i : NULL, bent, k);
            for (ptrdiff_t j = 0; j < n; ++j) column[j] = OP(curved)(OP(load)(e + i * n + j * LANES), &by, bent);
            for (ptrdiff_t j = n; j % LANES; ++j) column[j] = OP(set)(0);
            KERNEL(few_store)(column, k, n, out + i * stride, stride);
        }
        return;
    }
    for (ptrdiff_t i = 0; i < rows; ++i) {
        const REAL *row = e + i * e_stride;
        REAL *to = out + i * stride;
        OP(curving) by = OP(curve_by)(inverse[i], not_top[i], factor[i], bent ? root[i] : 0.0, bent);
        ptrdiff_t j = 0;
        for (; j + LANES <= n; j += LANES) OP(store)(to + j, OP(curved)(OP(load)(row + j), &by, bent));
        if (j < n) OP(store_part)(to + j, OP(curved)(OP(load_part)(row + j, n - j, 0), &by, bent), n - j);
    }
}

static void KERNEL(rows_curvature)(const REAL *e, ptrdiff_t e_stride, ptrdiff_t rows, ptrdiff_t n,
                                   const double *inverse, const double *not_top, const double *factor,
                                   const double *root, REAL *out, ptrdiff_t stride) {
    if (root)
        KERNEL(curvature)(e, e_stride, rows, n, inverse, not_top, factor, root, 1, out, stride);
    else
        KERNEL(curvature)(e, e_stride, rows, n, inverse, not_top, factor, root, 0, out, stride);
}

/* (x - max) - log_total: both terms have the same sign, nothing cancels. */
static void KERNEL(rows_subtract_max)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, const double *max,
                                      const double *log_total, REAL *out, ptrdiff_t out_stride) {
    for (ptrdiff_t i = 0; i < rows; ++i) {
        const REAL *row = x + i * stride;
        REAL *to = out + i * out_stride;
        V top = OP(set)((REAL)max[i]), total = OP(set)((REAL)log_total[i]);
        for (ptrdiff_t j = 0; j < n; j += LANES) {
            ptrdiff_t k = n - j < LANES ? n - j : LANES;
            V score = OP(load_part)(row + j, k, 0);
            V below = OP(keep)(OP(ne)(score, top), OP(sub)(score, top));
            OP(store_part)(to + j, OP(sub)(below, total), k);
        }
    }
}

/* ---- dense targets ----------------------------------------------------------------------------------- */

/* Whether a target is negative, NaN or infinite. */
static FX_NOINLINE int KERNEL(row_refused)(const REAL *y, ptrdiff_t n) {
    V zero = OP(set)(0), infinity = OP(set)(INFINITY), lowest = zero;
    ptrdiff_t i = 0, good = 0;
    for (; i + LANES <= n; i += LANES) {
        V target = OP(load)(y + i);
        good += OP(count)(OP(lt)(target, infinity));
        lowest = OP(max)(lowest, OP(sub)(zero, target));
    }
    if (i < n) {
        V target = OP(load_part)(y + i, n - i, 0);
        good += OP(count)(OP(lt)(target, infinity)) - (LANES - (n - i));
        lowest = OP(max)(lowest, OP(sub)(zero, target));
    }
    return good != n || OP(max_lane)(lowest) > 0;
}

/* What is gathered of a dense target. */
typedef struct {
    SUM sum, margin;
    V lowest; /* minus the smallest target, where that is negative */
    ptrdiff_t count, last;
} OP(targets);

static inline void OP(target_step)(OP(targets) *so_far, const REAL *y, const REAL *x, const REAL *low, int paired,
                                   ptrdiff_t i, ptrdiff_t k, V top, V top_low, int infinite) {
    V zero = OP(set)(0), target = OP(load_some)(y + i, k, 0);
    M set = OP(ne)(target, zero);
    int here = OP(count)(set);
    if (!here) return;
    V score = OP(load_some)(x + i, k, 0), score_low = paired ? OP(load_some)(low + i, k, 0) : zero, rest;
    V below = OP(margin)(top, score, OP(sub)(score_low, top_low), paired, &rest);
    /* A score at the maximum has margin 0 even if both are infinite. */
    if (infinite) below = OP(keep)(OP(ne)(score, top), below);
    below = OP(keep)(set, below);
    rest = OP(keep)(OP(lt)(below, OP(set)(INFINITY)), OP(keep)(set, rest));
    so_far->count += here;
    so_far->last = i;
    so_far->lowest = OP(max)(so_far->lowest, OP(sub)(zero, target));
    so_far->sum = OP(sum_add)(so_far->sum, target);
    so_far->margin = OP(sum_product)(so_far->margin, target, below, rest);
    if (paired && sizeof(REAL) == sizeof(float)) so_far->margin = OP(sum_product)(so_far->margin, target, rest, zero);
}

static inline void KERNEL(target)(const REAL *y, const REAL *x, const REAL *low, int paired, ptrdiff_t n, double max,
                                  double max_low, fx_target *out) {
    V top = OP(set)((REAL)max), top_low = OP(set)((REAL)max_low);
    OP(targets) so_far = {OP(sum_zero)(), OP(sum_zero)(), OP(set)(0), 0, 0};
    int infinite = !(max < INFINITY);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __builtin_prefetch(y + i + n, 0);
        OP(target_step)(&so_far, y, x, low, paired, i, LANES, top, top_low, infinite);
    }
    if (i < n) OP(target_step)(&so_far, y, x, low, paired, i, n - i, top, top_low, infinite);
    ptrdiff_t last = so_far.last;
    while (so_far.count && last + 1 < n && y[last] == 0) ++last;
    out->sum = OP(sum_total)(so_far.sum, &out->sum_rest);
    out->margin = OP(sum_total)(so_far.margin, &out->margin_rest);
    out->count = so_far.count;
    out->last = last;
    out->refused = 0;
    if (out->sum < INFINITY && !(OP(max_lane)(so_far.lowest) > 0)) return;
    out->refused = KERNEL(row_refused)(y, n);
}

static void KERNEL(row_target)(const REAL *y, const REAL *x, const REAL *low, ptrdiff_t n, double max, double max_low,
                               fx_target *out) {
    if (low)
        KERNEL(target)(y, x, low, 1, n, max, max_low, out);
    else
        KERNEL(target)(y, x, x, 0, n, max, max_low, out);
}

static void KERNEL(row_subtract)(REAL *out, const REAL *y, ptrdiff_t n, double weight) {
    V w = OP(set)((REAL)weight);
    ptrdiff_t i = 0, k;
    for (; i + LANES <= n; i += LANES) OP(store)(out + i, OP(fnma)(w, OP(load)(y + i), OP(load)(out + i)));
    if ((k = n - i)) OP(store_part)(out + i, OP(fnma)(w, OP(load_part)(y + i, k, 0), OP(load_part)(out + i, k, 0)), k);
}

static FX_INLINE void KERNEL(scale_less)(const REAL *e, const REAL *y, ptrdiff_t n, const OP(scaling) *by, int shifted,
                                         double weight, REAL *out) {
    V w = OP(set)((REAL)weight);
    for (ptrdiff_t i = 0, k; i < n; i += k) {
        k = n - i < LANES ? n - i : LANES;
        V scaled = OP(scaled)(OP(load_some)(e + i, k, 0), by, 1, shifted);
        OP(store_some)(out + i, OP(fnma)(w, OP(load_some)(y + i, k, 0), scaled), k);
    }
}

/* rows_scale and row_subtract of a row at once. */
static void KERNEL(row_scale_less)(const REAL *e, const REAL *y, ptrdiff_t n, double factor, const double *offset,
                                   double weight, REAL *out) {
    OP(scaling) by = OP(scale_by)(factor, offset ? *offset : 0.0);
    if (offset)
        KERNEL(scale_less)(e, y, n, &by, 1, weight, out);
    else
        KERNEL(scale_less)(e, y, n, &by, 0, weight, out);
}

/* The sum of y weight. */
static double KERNEL(row_dot)(const REAL *y, const REAL *weight, ptrdiff_t n) {
    SUM sum = OP(sum_zero)();
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        sum = OP(sum_product)(sum, OP(load_some)(y + i, k, 0), OP(load_some)(weight + i, k, 0), OP(set)(0));
    }
    double rest;
    return OP(sum_total)(sum, &rest);
}

/* p (factor v + offset) */
static void KERNEL(row_product)(const REAL *p, const REAL *v, ptrdiff_t n, double factor, double offset, REAL *out) {
    V by = OP(set)((REAL)factor), add = OP(set)((REAL)offset);
    V by_rest = OP(set)((REAL)(factor - (double)(REAL)factor)),
      add_rest = OP(set)((REAL)(offset - (double)(REAL)offset));
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V a = OP(load_some)(v + i, k, 0);
        V inner = OP(fma)(a, by, OP(add)(add, OP(fma)(a, by_rest, add_rest)));
        OP(store_part)(out + i, OP(mul)(OP(load_some)(p + i, k, 0), inner), k);
    }
}

/* The chain rule for scores that have a slope and a bend: curvature slope^2 + gradient bend, then gradient slope. */
static void KERNEL(row_chain)(REAL *grad, REAL *hess, const REAL *slope, const REAL *bend, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V s = OP(load_some)(slope + i, k, 0), g = OP(load_some)(grad + i, k, 0);
        if (hess) {
            V h = OP(mul)(OP(load_some)(hess + i, k, 0), OP(mul)(s, s));
            OP(store_part)(hess + i, OP(fma)(g, OP(load_some)(bend + i, k, 0), h), k);
        }
        OP(store_part)(grad + i, OP(mul)(g, s), k);
    }
}
