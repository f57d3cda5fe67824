/* Exponentials of one row, or of a part of it, and their sum. */

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
    all = {BUNDLED(all)(to->max),   BUNDLED(all)(to->max_low), BUNDLED(all)(to->origin), BUNDLED(all)(to->origin_low),
           BUNDLED(all)(to->shift), BUNDLED(all)(to->floor),   BUNDLED(all)(to->least)};
    return all;
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
    const char *ahead = (const char *)x + at->ahead, *e_ahead = e && at->e_ahead ? (const char *)e + at->e_ahead : NULL;
    int distant = at->distant;
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
                KERNEL(fetch)(ahead + i * (ptrdiff_t)sizeof(REAL), 0, distant, BUNDLE);
                if (e_ahead) KERNEL(fetch)(e_ahead + i * (ptrdiff_t)sizeof(REAL), 1, distant, BUNDLE);
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
