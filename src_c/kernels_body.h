/* The kernels, once, for REAL = double and REAL = float, over the operations of one simd_*.h. */

/* Scores at least FAR from zero are at most a factor two from their row's maximum if they still count:
   beyond 2^-BIAS times the smallest number an exponential is dropped, 110 (752) below the maximum. */
#define FAR C(2048.0, 256.0f)
#define REACH C(752.0, 110.0f)
/* Exponentials are stored 2^BIAS times too large, so that whatever is a normal number as a probability
   is one here. */
#define BIAS C(64.0, 32.0f)
#define TWO_TO_BIAS C(0x1p64, 0x1p32f)
#define TWO_TO_MINUS_BIAS C(0x1p-64, 0x1p-32f)
/* Where the maximum lies here, exponentials are stored as they are: none overflows, and what underflows is no normal
   number as a probability either. */
#define PLAIN_FROM C(1.0, 1.0f)
#define PLAIN_TO C(400.0, 40.0f)
#define LOG_SMALLEST_NORMAL C(-0x1.6232bdd7abcd2p+9, -0x1.5d589ep+6f)
#define SMALLEST_NORMAL C(0x1p-1022, 0x1p-126f)
/* Adding and subtracting 1.5 * 2^(mantissa bits) rounds to an integer. */
#define ROUND_TO_INTEGER C(0x1.8p52, 0x1.8p23f)

/* ---- exp and log1p -------------------------------------------------------------------------------- */

/* c[0] + c[1] x + ... */
static inline V OP(polynomial)(V x, const REAL *c, size_t size) {
    ptrdiff_t last = (ptrdiff_t)(size / sizeof *c) - 1;
    V p = OP(set)(c[last]);
    for (ptrdiff_t i = last - 1; i >= 0; --i) p = OP(fma)(p, x, OP(set)(c[i]));
    return p;
}

/* (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2. */
static inline V OP(exp_tail)(V r) { return OP(polynomial)(r, OP(exp_coefficients), sizeof OP(exp_coefficients)); }

/* rint(t log2 e) */
static inline V OP(power_of_two)(V t) {
    return OP(sub)(OP(fma)(t, OP(set)(C(F64_LOG2E, F32_LOG2E)), OP(set)(ROUND_TO_INTEGER)), OP(set)(ROUND_TO_INTEGER));
}

/* 2^-n e^t for n = power_of_two(t). Floats with a fused multiply-add may take a short way (0.87 ulp; without one it would
   be 1.14). Otherwise what is lost in rounding 1 + r is added to the tail (0.69 ulp). In double, whose sums have no digits
   to spare, what the last addition loses is given to `rest`. */
static inline V OP(exp_mantissa)(V t, V n, int brief, V *rest) {
    V one = OP(set)(1);
    V high = OP(fnma)(n, OP(set)(C(F64_LN2_HIGH, F32_LN2_HIGH)), t);
    V r = OP(fnma)(n, OP(set)(C(F64_LN2_LOW, F32_LN2_LOW)), high);
    V tail = OP(exp_tail)(r);
    *rest = OP(set)(0);
    if (sizeof(REAL) == sizeof(float) && FUSED && brief) return OP(fma)(OP(fma)(tail, r, one), r, one);
    V head = OP(add)(one, high);
    V lost = OP(fnma)(n, OP(set)(C(F64_LN2_LOW, F32_LN2_LOW)), OP(add)(OP(sub)(one, head), high));
    tail = OP(fma)(tail, OP(mul)(r, r), lost);
    V value = OP(add)(head, tail);
    if (sizeof(REAL) == sizeof(double)) *rest = OP(add)(OP(sub)(head, value), tail);
    return value;
}

/* e^t for t <= 0, flushed to zero below the smallest normal number, and what it rounds off (double only; nothing where
   that is too small for a normal number). */
static inline V OP(exp_nonpositive)(V t, V *rest) {
    V n = OP(power_of_two)(t);
    V value = OP(scale2)(OP(exp_mantissa)(t, n, 0, rest), n);
    if (sizeof(REAL) == sizeof(double)) *rest = OP(keep)(OP(lt)(OP(set)(-600), t), OP(scale2)(*rest, n));
    return OP(keep)(OP(not_lt)(t, OP(set)(LOG_SMALLEST_NORMAL)), value);
}

/* log(2^k (1 + f)) + c for f in [-1/4, 1/2], c small, and in `rest` what the sum rounds off: the logarithm's
   series in s = f / (2 + f), arranged as in fdlibm so that the rounding of s hardly counts. */
static inline V OP(log_reduced)(V f, V k, V c, V *rest) {
    V half_square = OP(mul)(OP(mul)(f, OP(set)(0.5)), f);
    V s = OP(div)(f, OP(add)(OP(set)(2), f));
    V z = OP(mul)(s, s);
    V p = OP(polynomial)(z, OP(log_coefficients), sizeof OP(log_coefficients));
    V tail = OP(fma)(s, OP(fma)(z, p, half_square), OP(fma)(k, OP(set)(C(F64_LN2_LOW, F32_LN2_LOW)), c));
    V less = OP(sub)(half_square, tail);
    V part = OP(sub)(f, less);
    V high = OP(mul)(k, OP(set)(C(F64_LN2_HIGH, F32_LN2_HIGH)));
    V value = OP(add)(high, part);
    *rest = OP(add)(OP(add)(OP(sub)(high, value), part), OP(sub)(OP(sub)(f, part), less));
    return value;
}

/* log(1 + t) for t in [0, 1], and what that rounds off. */
static inline V OP(log1p_unit)(V t, V *rest) {
    M big = OP(lt)(OP(set)(0.5), t);
    V halved = OP(mul)(OP(sub)(t, OP(set)(1)), OP(set)(0.5));
    return OP(log_reduced)(OP(select)(big, halved, t), OP(keep)(big, OP(set)(1)), OP(set)(0), rest);
}

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
    double sums[F64_LANES], errors[F64_LANES], sum = 0.0, error = 0.0;
    f64_store(sums, s.sum);
    f64_store(errors, s.error);
    for (int i = 0; i < F64_LANES; ++i) {
        double next = sum + sums[i], rounded = next - sum;
        error += ((sum - (next - rounded)) + (sums[i] - rounded)) + errors[i];
        sum = next;
    }
    *rest = 0.0;
    /* An infinite or NaN sum has a NaN error. */
    if (!isfinite(sum)) return sum;
    double total = sum + error;
    *rest = error - (total - sum);
    return total;
}
static inline double f32_sum_total(f32s s, double *rest) {
    double sums[F32_LANES];
    f32_sum_store(s, sums, sums);
    *rest = 0.0;
    for (int width = F32_LANES / 2; width; width /= 2)
        for (int i = 0; i < width; ++i) sums[i] += sums[i + width];
    return sums[0];
}
#endif

/* ---- exponentials of a row ------------------------------------------------------------------------- */

/* What all scores of a row have in common (one row in all lanes, or a row a lane). */
typedef struct {
    V max, origin, shift, floor;
} OP(reference);

static inline OP(reference) OP(refer_to)(V max) {
    OP(reference) to;
    M near = OP(lt)(OP(abs)(max), OP(set)(FAR));
    to.max = max;
    to.origin = OP(select)(near, OP(set)(0), max);
    to.shift = OP(sub)(OP(power_of_two)(OP(sub)(max, to.origin)), OP(set)(BIAS));
    to.floor = OP(sub)(max, OP(set)(REACH));
    return to;
}

/* The same for a maximum from PLAIN_FROM to PLAIN_TO, which needs no shift. */
static inline OP(reference) OP(refer_plainly)(V max) {
    OP(reference) to = {max, OP(set)(0), OP(set)(0),
                        OP(max)(OP(sub)(max, OP(set)(REACH)), OP(set)(LOG_SMALLEST_NORMAL))};
    return to;
}

/* The exponential, 0 below the floor, and in `rest` what it rounds off (double only). */
static inline V OP(exp_relative)(V x, const OP(reference) *to, int plain, V *rest) {
    V t = plain ? x : OP(sub)(x, to->origin);
    V n = OP(power_of_two)(t);
    V power = plain ? n : OP(sub)(n, to->shift);
    V value = OP(scale2)(OP(exp_mantissa)(t, n, 1, rest), power);
    M counts = OP(not_lt)(x, to->floor);
    if (sizeof(REAL) == sizeof(double)) *rest = OP(keep)(counts, OP(scale2)(*rest, power));
    return OP(keep)(counts, value);
}

static inline V OP(mark_masked)(V x, V e) { return OP(select)(OP(ne)(x, OP(set)(-INFINITY)), e, OP(set)(-1)); }

/* A row whose largest score is not finite. */
static void KERNEL(limit_row)(const REAL *x, ptrdiff_t n, double max, REAL *e, ptrdiff_t step, const fx_rows *out,
                              ptrdiff_t row) {
    double ties = 0.0, others = 0.0, classes = 0.0, margins = 0.0;
    for (ptrdiff_t j = 0; j < n; ++j) {
        REAL score = x[j];
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

static REAL KERNEL(max)(const REAL *x, ptrdiff_t n) {
    ptrdiff_t i = 0;
    V a = OP(set)(-INFINITY), b = a, c = a, d = a;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        a = OP(max)(a, OP(load)(x + i));
        b = OP(max)(b, OP(load)(x + i + LANES));
        c = OP(max)(c, OP(load)(x + i + 2 * LANES));
        d = OP(max)(d, OP(load)(x + i + 3 * LANES));
    }
    for (; i + LANES <= n; i += LANES) a = OP(max)(a, OP(load)(x + i));
    if (i < n) b = OP(max)(b, OP(load_part)(x + i, n - i, -INFINITY));
    return OP(max_lane)(OP(max)(OP(max)(a, b), OP(max)(c, d)));
}

/* How a row is gone through; constants wherever it is used. */
typedef struct {
    int plain;  /* see refer_plainly */
    int apart;  /* exponentials equal to the top one are left out of the sum, and counted */
    int marked; /* exponentials of -inf are stored as -1 */
} OP(mode);

/* Exponentials of k scores: stored, and added to the sum. */
static inline SUM OP(expsum_step)(SUM sum, const REAL *x, REAL *e, ptrdiff_t k, const OP(reference) *to, V top,
                                  OP(mode) mode, ptrdiff_t *others) {
    V score = k == LANES ? OP(load)(x) : OP(load_part)(x, k, -INFINITY);
    V rest, value = OP(exp_relative)(score, to, mode.plain, &rest);
    if (e) {
        V stored = mode.marked ? OP(mark_masked)(score, value) : value;
        if (k == LANES)
            OP(store)(e, stored);
        else
            OP(store_part)(e, stored, k);
    }
    if (!mode.apart) return OP(sum_add_exact)(sum, value, rest);
    M other = OP(ne)(value, top);
    *others += OP(count)(other);
    return OP(sum_add_exact)(sum, OP(keep)(other, value), OP(keep)(other, rest));
}

typedef struct {
    const REAL *x;
    ptrdiff_t n;
    REAL *e;
    ptrdiff_t ahead, e_ahead; /* bytes to the next row */
} OP(row);

static inline void KERNEL(expsum_row)(const OP(row) *at, const OP(reference) *to, V top, OP(mode) mode,
                                      const fx_rows *out, ptrdiff_t row) {
    const REAL *x = at->x;
    REAL *e = at->e, shift[LANES];
    SUM sum = OP(sum_zero)();
    ptrdiff_t i = 0, vectors = 0, others = 0, n = at->n;
    for (; i + LANES <= n; i += LANES, ++vectors) {
        /* The next row comes from memory while this one is computed: half again as fast on two threads. */
        __builtin_prefetch((const char *)(x + i) + at->ahead, 0);
        if (e) __builtin_prefetch((const char *)(e + i) + at->e_ahead, 1);
        sum = OP(expsum_step)(sum, x + i, e ? e + i : NULL, LANES, to, top, mode, &others);
    }
    if (i < n) {
        sum = OP(expsum_step)(sum, x + i, e ? e + i : NULL, n - i, to, top, mode, &others);
        ++vectors;
    }
    OP(store)(shift, to->shift);
    out->ties[row] = mode.apart ? (double)(vectors * LANES - others) : 1.0;
    out->others[row] = OP(sum_total)(sum, &out->rest[row]);
    out->stored[row] = (double)shift[0];
}

/* The sum of stored exponentials other than the top one, which are counted. */
static void KERNEL(sum_apart)(const REAL *e, ptrdiff_t n, V top, const fx_rows *out, ptrdiff_t row) {
    SUM sum = OP(sum_zero)();
    ptrdiff_t others = 0, vectors = 0;
    for (ptrdiff_t i = 0; i < n; i += LANES, ++vectors) {
        V value = OP(load_part)(e + i, n - i < LANES ? n - i : LANES, 0);
        M other = OP(ne)(value, top);
        others += OP(count)(other);
        sum = OP(sum_add)(sum, OP(keep)(other, value));
    }
    out->ties[row] = (double)(vectors * LANES - others);
    out->others[row] = OP(sum_total)(sum, &out->rest[row]);
}

/* A row without marks. The double that holds a sum of floats has digits to spare: the top one is taken out
   afterwards, which is a tenth faster, unless what remains is so small that the sum's rounding would show. */
static inline void KERNEL(expsum_unmarked)(const OP(row) *at, const OP(reference) *to, int plain, const fx_rows *out,
                                           ptrdiff_t row) {
    V rest, top = OP(exp_relative)(to->max, to, plain, &rest);
    if (sizeof(REAL) == sizeof(float)) {
        REAL first[LANES];
        OP(store)(first, top);
        KERNEL(expsum_row)(at, to, top, (OP(mode)){plain, 0, 0}, out, row);
        double least = out->others[row] * (double)(at->n / LANES + 2 * LANES) * 0x1p-25;
        out->others[row] -= (double)first[0];
        if (!(out->others[row] < least)) return;
        if (at->e) {
            KERNEL(sum_apart)(at->e, at->n, top, out, row);
            return;
        }
    }
    KERNEL(expsum_row)(at, to, top, (OP(mode)){plain, 1, 0}, out, row);
}

static void KERNEL(margins_row)(const REAL *x, ptrdiff_t n, REAL row_max, const fx_rows *out, ptrdiff_t row) {
    V max = OP(set)(row_max), masked = OP(set)(-INFINITY);
    SUM sum = OP(sum_zero)();
    ptrdiff_t classes = 0;
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V score = k == LANES ? OP(load)(x + i) : OP(load_part)(x + i, k, -INFINITY);
        M present = OP(ne)(score, masked);
        classes += OP(count)(present);
        V rest, below = OP(difference)(max, score, &rest);
        sum = OP(sum_add_exact)(sum, OP(keep)(present, below), OP(keep)(present, rest));
    }
    out->margins[row] = OP(sum_total)(sum, &out->margins_rest[row]);
    out->classes[row] = (double)classes;
}

/* ---- few classes: rows in lanes --------------------------------------------------------------------- */

static inline void KERNEL(few_load)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, V *column) {
    ptrdiff_t j = 0;
    do {
        ptrdiff_t k = n - j < LANES ? n - j : LANES;
        V tile[LANES];
        for (int i = 0; i < LANES; ++i) tile[i] = i < rows ? OP(load_part)(x + i * stride + j, k, 0) : OP(set)(0);
        OP(transpose)(tile);
        for (int i = 0; i < LANES; ++i) column[j + i] = tile[i];
        j += LANES;
    } while (j < n);
}

static inline void KERNEL(few_store)(V *column, ptrdiff_t rows, ptrdiff_t n, REAL *out, ptrdiff_t stride) {
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        ptrdiff_t k = n - j < LANES ? n - j : LANES;
        OP(transpose)(column + j);
        for (int i = 0; i < LANES; ++i)
            if (i < rows) OP(store_part)(out + i * stride + j, column[j + i], k);
    }
}

/* `rows` is at most LANES; `e` takes n vectors. */
static void KERNEL(expsum_group)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, REAL *e,
                                 const fx_rows *out, ptrdiff_t first) {
    V column[FX_FEW + LANES];
    KERNEL(few_load)(x, stride, rows, n, column);
    V max = column[0];
    for (ptrdiff_t j = 1; j < n; ++j) max = OP(max)(max, column[j]);
    OP(reference) to = OP(refer_to)(max);
    SUM sum = OP(sum_zero)(), margin = OP(sum_zero)();
    V zero = OP(set)(0), one = OP(set)(1), different = zero, present = zero;
    for (ptrdiff_t j = 0; j < n; ++j) {
        V score = column[j], rest, value = OP(exp_relative)(score, &to, 0, &rest);
        M other = OP(ne)(score, max);
        different = OP(add)(different, OP(keep)(other, one));
        sum = OP(sum_add_exact)(sum, OP(keep)(other, value), OP(keep)(other, rest));
        if (out->margins) {
            M unmasked = OP(ne)(score, OP(set)(-INFINITY));
            present = OP(add)(present, OP(keep)(unmasked, one));
            V lost, below = OP(difference)(max, score, &lost);
            margin = OP(sum_add_exact)(margin, OP(keep)(unmasked, below), OP(keep)(unmasked, lost));
            value = OP(mark_masked)(score, value);
        }
        if (e) OP(store)(e + j * LANES, value);
    }
    REAL maxima[LANES], shifts[LANES], counts[LANES], classes[LANES];
    double sums[LANES], rests[LANES] = {0}, margins[LANES], margin_rests[LANES] = {0};
    OP(store)(maxima, max);
    OP(store)(shifts, to.shift);
    OP(store)(counts, different);
    OP(store)(classes, present);
    OP(sum_store)(sum, sums, rests);
    OP(sum_store)(margin, margins, margin_rests);
    for (ptrdiff_t i = 0; i < rows; ++i) {
        out->max[first + i] = (double)maxima[i];
        out->ties[first + i] = (double)n - (double)counts[i];
        out->others[first + i] = sums[i];
        out->rest[first + i] = rests[i];
        out->stored[first + i] = (double)shifts[i];
        if (out->margins) {
            out->margins[first + i] = margins[i];
            out->margins_rest[first + i] = margin_rests[i];
            out->classes[first + i] = (double)classes[i];
        }
    }
    for (ptrdiff_t i = 0; i < rows; ++i)
        if (!(maxima[i] > -INFINITY && maxima[i] < INFINITY))
            KERNEL(limit_row)(x + i * stride, n, (double)maxima[i], e ? e + i : NULL, LANES, out, first + i);
}

/* From the sum of the stored exponentials, and the shift in `stored`, to `others` and `stored`. The stored exponential
   of the maximum, 2^-shift exp(max - origin) = 2^power e^r, is had to nearly twice double precision: 1 + s and what
   that rounds off. */
static void KERNEL(finish_rows)(ptrdiff_t rows, const fx_rows *out) {
    f64v one = f64_set(1), far = f64_set((double)FAR);
    for (ptrdiff_t i = 0; i < rows; i += F64_LANES) {
        ptrdiff_t k = rows - i < F64_LANES ? rows - i : F64_LANES;
        f64v max = f64_load_part(out->max + i, k, 0.0);
        f64v ties = f64_load_part(out->ties + i, k, 1.0);
        f64v others = f64_load_part(out->others + i, k, 0.0);
        f64v rest = f64_load_part(out->rest + i, k, 0.0);
        f64v stored = f64_load_part(out->stored + i, k, 0.0);
        f64m finite = f64_lt(f64_abs(max), f64_set(INFINITY));
        f64v t = f64_keep(f64_lt(f64_abs(max), far), max);
        f64v n = f64_power_of_two(t);
        f64v power = f64_keep(finite, f64_sub(n, stored));
        f64v high = f64_fnma(n, f64_set(F64_LN2_HIGH), t), low = f64_mul(n, f64_set(F64_LN2_LOW));
        f64v r = f64_sub(high, low);
        f64v r_rest = f64_sub(f64_sub(high, r), low);
        f64v s = f64_fma(f64_mul(r, r), f64_exp_tail(r), r);
        f64v unit = f64_add(one, s);
        f64v unit_rest = f64_add(f64_add(f64_sub(one, unit), s), r_rest);
        f64v down = f64_scale2(one, f64_sub(f64_set(0), power));
        f64v sum = f64_mul(others, down);
        rest = f64_mul(rest, down);
        f64v quotient = f64_div(sum, unit);
        f64v remainder = f64_sub(f64_remainder(sum, quotient, unit), f64_mul(quotient, unit_rest));
        f64v quotient_rest = f64_div(f64_add(remainder, rest), unit);
        f64v tied = f64_mul(ties, unit);
        f64v total = f64_add(tied, sum);
        f64v rounded = f64_sub(total, tied);
        f64v total_rest = f64_add(f64_sub(tied, f64_sub(total, rounded)), f64_sub(sum, rounded));
        total = f64_add(total, f64_add(f64_fma(ties, unit_rest, rest), total_rest));
        f64_store_part(out->others + i, f64_select(finite, quotient, others), k);
        f64_store_part(out->rest + i, f64_keep(finite, quotient_rest), k);
        f64_store_part(out->stored + i, f64_select(finite, f64_scale2(total, power), f64_add(ties, others)), k);
    }
}

static void KERNEL(rows_expsum)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, REAL *e,
                                ptrdiff_t e_stride, const fx_rows *out) {
    if (n <= FX_FEW) {
        for (ptrdiff_t i = 0; i < rows; i += LANES)
            KERNEL(expsum_group)(x + i * stride, stride, rows - i < LANES ? rows - i : LANES, n, e ? e + i * n : NULL,
                                 out, i);
    } else {
        for (ptrdiff_t i = 0; i < rows; ++i) {
            OP(row) at = {x + i * stride, n, e ? e + i * e_stride : NULL, stride * (ptrdiff_t)sizeof(REAL),
                          e_stride * (ptrdiff_t)sizeof(REAL)};
            REAL max = KERNEL(max)(at.x, n);
            out->max[i] = (double)max;
            if (!(max > -INFINITY && max < INFINITY)) {
                KERNEL(limit_row)(at.x, n, max, at.e, 1, out, i);
            } else if (out->margins) {
                /* Margins first: the exponentials may overwrite the scores. */
                OP(reference) to = OP(refer_to)(OP(set)(max));
                KERNEL(margins_row)(at.x, n, max, out, i);
                V rest, top = OP(exp_relative)(to.max, &to, 0, &rest);
                KERNEL(expsum_row)(&at, &to, top, (OP(mode)){0, 1, 1}, out, i);
            } else if (max >= PLAIN_FROM && max <= PLAIN_TO) {
                OP(reference) to = OP(refer_plainly)(OP(set)(max));
                KERNEL(expsum_unmarked)(&at, &to, 1, out, i);
            } else {
                OP(reference) to = OP(refer_to)(OP(set)(max));
                KERNEL(expsum_unmarked)(&at, &to, 0, out, i);
            }
        }
    }
    KERNEL(finish_rows)(rows, out);
}

/* ---- from exponentials to gradients and curvature ---------------------------------------------------- */

/* factor * e + offset, the product flushed to zero below the smallest normal number, masked classes 0. Where
   the factor itself is not a normal number, 2^-BIAS of it is applied first. */
typedef struct {
    V least, first, factor, offset;
} OP(scaling);

static inline OP(scaling) OP(scale_by)(const double *factor, const double *offset, ptrdiff_t rows) {
    REAL least[LANES], first[LANES], scaled[LANES], offsets[LANES];
    for (ptrdiff_t i = 0; i < LANES; ++i) {
        double f = i < rows ? factor[i] : factor[0];
        int tiny = f < (double)SMALLEST_NORMAL;
        least[i] = (REAL)((double)SMALLEST_NORMAL / f);
        first[i] = tiny ? TWO_TO_MINUS_BIAS : 1;
        scaled[i] = (REAL)(tiny ? f * (double)TWO_TO_BIAS : f);
        offsets[i] = offset ? (REAL)offset[i < rows ? i : 0] : 0;
    }
    OP(scaling) by = {OP(load)(least), OP(load)(first), OP(load)(scaled), OP(load)(offsets)};
    return by;
}

static inline V OP(scaled)(V e, const OP(scaling) *by, int tiny, int shifted) {
    V counted = OP(keep)(OP(ge)(e, by->least), e);
    if (tiny) counted = OP(mul)(counted, by->first);
    if (!shifted) return OP(mul)(counted, by->factor);
    return OP(keep)(OP(not_lt)(e, OP(set)(0)), OP(fma)(counted, by->factor, by->offset));
}

static inline void KERNEL(scale_row)(const REAL *e, ptrdiff_t n, const OP(scaling) *by, int tiny, int shifted,
                                     REAL *out) {
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) OP(store)(out + i, OP(scaled)(OP(load)(e + i), by, tiny, shifted));
    if (i < n) OP(store_part)(out + i, OP(scaled)(OP(load_part)(e + i, n - i, 0), by, tiny, shifted), n - i);
}

static void KERNEL(rows_scale)(const REAL *e, ptrdiff_t e_stride, ptrdiff_t rows, ptrdiff_t n, const double *factor,
                               const double *offset, REAL *out, ptrdiff_t stride) {
    if (n <= FX_FEW) {
        for (ptrdiff_t i = 0; i < rows; i += LANES) {
            ptrdiff_t k = rows - i < LANES ? rows - i : LANES;
            V column[FX_FEW + LANES];
            OP(scaling) by = OP(scale_by)(factor + i, offset ? offset + i : NULL, k);
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
        OP(scaling) by = OP(scale_by)(factor + i, offset ? offset + i : NULL, 1);
        if (offset)
            KERNEL(scale_row)(row, n, &by, 1, 1, to);
        else if (factor[i] < (double)SMALLEST_NORMAL)
            KERNEL(scale_row)(row, n, &by, 1, 0, to);
        else
            KERNEL(scale_row)(row, n, &by, 0, 0, to);
    }
}

/* factor * e * (1 - p), p = inverse * e. Only the largest score can have p above 1/2: there 1 - p is the given
   `not_top`; below, the difference of the two products suffers less from the error of p than their product would. */
typedef struct {
    V least, inverse, not_top, factor;
} OP(curving);

static inline OP(curving)
    OP(curve_by)(const double *inverse, const double *not_top, const double *factor, ptrdiff_t rows) {
    REAL least[LANES], inverses[LANES], not_tops[LANES], factors[LANES];
    for (ptrdiff_t i = 0; i < LANES; ++i) {
        ptrdiff_t k = i < rows ? i : 0;
        least[i] = (REAL)((double)SMALLEST_NORMAL / factor[k]);
        inverses[i] = (REAL)inverse[k];
        not_tops[i] = (REAL)not_top[k];
        factors[i] = (REAL)factor[k];
    }
    OP(curving) by = {OP(load)(least), OP(load)(inverses), OP(load)(not_tops), OP(load)(factors)};
    return by;
}

static inline V OP(curved)(V e, const OP(curving) *by) {
    V counted = OP(keep)(OP(ge)(e, by->least), e);
    V p = OP(mul)(counted, by->inverse), scaled = OP(mul)(counted, by->factor);
    return OP(select)(OP(lt)(OP(set)(0.5), p), OP(mul)(scaled, by->not_top), OP(fnma)(p, scaled, scaled));
}

static void KERNEL(rows_curvature)(const REAL *e, ptrdiff_t e_stride, ptrdiff_t rows, ptrdiff_t n,
                                   const double *inverse, const double *not_top, const double *factor, REAL *out,
                                   ptrdiff_t stride) {
    if (n <= FX_FEW) {
        for (ptrdiff_t i = 0; i < rows; i += LANES) {
            ptrdiff_t k = rows - i < LANES ? rows - i : LANES;
            V column[FX_FEW + LANES];
            OP(curving) by = OP(curve_by)(inverse + i, not_top + i, factor + i, k);
            for (ptrdiff_t j = 0; j < n; ++j) column[j] = OP(curved)(OP(load)(e + i * n + j * LANES), &by);
            for (ptrdiff_t j = n; j % LANES; ++j) column[j] = OP(set)(0);
            KERNEL(few_store)(column, k, n, out + i * stride, stride);
        }
        return;
    }
    for (ptrdiff_t i = 0; i < rows; ++i) {
        const REAL *row = e + i * e_stride;
        REAL *to = out + i * stride;
        OP(curving) by = OP(curve_by)(inverse + i, not_top + i, factor + i, 1);
        ptrdiff_t j = 0;
        for (; j + LANES <= n; j += LANES) OP(store)(to + j, OP(curved)(OP(load)(row + j), &by));
        if (j < n) OP(store_part)(to + j, OP(curved)(OP(load_part)(row + j, n - j, 0), &by), n - j);
    }
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

static void KERNEL(row_target)(const REAL *y, const REAL *x, ptrdiff_t n, REAL max, fx_target *out) {
    V top = OP(set)(max), zero = OP(set)(0);
    SUM sum = OP(sum_zero)(), margin = OP(sum_zero)();
    ptrdiff_t count = 0, refused = 0, last = 0;
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V target = k == LANES ? OP(load)(y + i) : OP(load_part)(y + i, k, 0);
        V score = k == LANES ? OP(load)(x + i) : OP(load_part)(x + i, k, 0);
        M set = OP(ne)(target, zero);
        int here = OP(count)(set);
        if (here) {
            /* A score at the maximum has margin 0 even if both are infinite. */
            V rest, below = OP(difference)(top, score, &rest);
            M lower = OP(ne)(score, top);
            below = OP(keep)(lower, OP(keep)(set, below));
            rest = OP(keep)(OP(lt)(below, OP(set)(INFINITY)), OP(keep)(set, rest));
            count += here;
            last = i;
            refused += OP(count)(OP(lt)(target, zero)) + OP(count)(OP(not_lt)(target, OP(set)(INFINITY)));
            sum = OP(sum_add)(sum, target);
            margin = OP(sum_product)(margin, target, below, rest);
        }
    }
    while (count && last + 1 < n && y[last] == 0) ++last;
    out->sum = OP(sum_total)(sum, &out->sum_rest);
    out->margin = OP(sum_total)(margin, &out->margin_rest);
    out->count = count;
    out->last = last;
    out->refused = refused != 0;
}

static void KERNEL(row_subtract)(REAL *out, const REAL *y, ptrdiff_t n, double weight) {
    V w = OP(set)((REAL)weight);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V difference = OP(fnma)(w, OP(load_part)(y + i, k, 0), OP(load_part)(out + i, k, 0));
        OP(store_part)(out + i, difference, k);
    }
}
