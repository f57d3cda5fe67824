/* Exponentials of many rows and their sums, whatever their length. */

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
