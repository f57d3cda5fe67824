/* Exponentials of rows of few classes: rows in lanes. */

#define FEW FX_FEW(sizeof(REAL))

/* Ask for memory further on, once for every line that the columns from j on begin in so many rows; in the second-level cache,
   for columns fill the first. */
static inline void KERNEL(few_fetch)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t j, int written) {
    ptrdiff_t line = 64 / (ptrdiff_t)sizeof(REAL), step = stride < line ? line : stride;
    if (j % line) return;
    for (ptrdiff_t i = j; i < rows * stride; i += step)
        KERNEL(fetch)((const char *)(x + i) + ROWS_AHEAD, written, 1, 1);
}

/* LANES rows of a few numbers without gaps between them, to columns and back: each column is picked from as many vectors as a
   row has numbers, each vector from as many columns. With GAPLESS numbers and more too little is gained for its room. */
#ifdef FX_PICKS
#define GAPLESS C(5, 6)

static FX_INLINE void KERNEL(split)(const REAL *x, int n, V *column) {
    V from[GAPLESS];
    for (int v = 0; v < n; ++v) from[v] = OP(load)(x + v * LANES);
    for (int j = 0; j < n; ++j) {
        OP(places) places = OP(lane_numbers)() * n + j;
        V of = OP(pick)(from[0], ~0u, places, from[0]);
        for (int v = 1; v < n; ++v) of = OP(pick)(of, ~0u << (v * LANES - j + n - 1) / n, places, from[v]);
        column[j] = of;
    }
}

static FX_INLINE void KERNEL(join)(const V *column, int n, REAL *out) {
    static const unsigned every[] = {0, 0, 0x5555, 0x9249, 0x1111, 0x8421};
    for (int v = 0; v < n; ++v) {
        OP(places) places = (OP(lane_numbers)() + v * LANES) / n;
        V of = OP(pick)(column[0], ~0u, places, column[0]);
        for (int j = 1; j < n; ++j) {
            int first = (j + v * LANES * (n - 1)) % n; /* lane that column j goes to in this vector */
            of = OP(pick)(of, every[n] << first, places, column[j]);
        }
        OP(store)(out + v * LANES, of);
    }
}

static FX_INLINE int KERNEL(is_gapless)(ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n) {
    return rows == LANES && stride == n && n > 1 && n < GAPLESS;
}

/* With constants, which leave nothing of their loops. */
static FX_INLINE void KERNEL(split_gapless)(const REAL *x, ptrdiff_t n, V *column) {
    if (n == 2) KERNEL(split)(x, 2, column);
    if (n == 3) KERNEL(split)(x, 3, column);
    if (n == 4) KERNEL(split)(x, 4, column);
    if (n == 5 && GAPLESS > 5) KERNEL(split)(x, 5, column);
}

static FX_INLINE void KERNEL(join_gapless)(const V *column, ptrdiff_t n, REAL *out) {
    if (n == 2) KERNEL(join)(column, 2, out);
    if (n == 3) KERNEL(join)(column, 3, out);
    if (n == 4) KERNEL(join)(column, 4, out);
    if (n == 5 && GAPLESS > 5) KERNEL(join)(column, 5, out);
}
#endif

static FX_INLINE void KERNEL(load_tile)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t k, V *tile) {
    for (int i = 0; i < LANES; ++i) tile[i] = i < rows ? OP(load_part)(x + i * stride, k, 0) : OP(set)(0);
}

/* Columns of at most LANES rows, and unless these are gapless zeros after them until another LANES would begin. */
static FX_NOINLINE void KERNEL(few_load)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, V *column) {
#ifdef FX_PICKS
    if (KERNEL(is_gapless)(stride, rows, n)) {
        KERNEL(few_fetch)(x, stride, rows, 0, 0);
        KERNEL(split_gapless)(x, n, column);
        return;
    }
#endif
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
#ifdef FX_PICKS
    if (KERNEL(is_gapless)(stride, rows, n)) {
        KERNEL(few_fetch)(out, stride, rows, 0, 1);
        KERNEL(join_gapless)(column, n, out);
        return;
    }
#endif
    for (ptrdiff_t j = n; j % LANES; ++j) column[j] = OP(set)(0);
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
