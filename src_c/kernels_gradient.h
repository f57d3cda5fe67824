/* From exponentials to gradients and curvature. */

/* factor * e + offset, the product flushed to zero below the smallest normal number; `masked` where an exponential is marked as
   such, 0 but in a row of NaN. Where the factor itself is not a normal number of the type, it stands 2^64 times as large, and
   `first` takes that off: so floats have all digits wherever a product is a normal number. */
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
    return OP(select)(OP(not_lt)(e, OP(set)(0)), OP(fma_once)(counted, by->factor, by->offset), by->masked);
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
    ptrdiff_t i = OP(to_alignment)(out, n);
    for (; !tiny && !shifted && i + BUNDLE * LANES <= n; i += BUNDLE * LANES)
        for (int u = 0; u < BUNDLE; ++u)
            OP(store)(out + i + u * LANES, OP(scaled)(OP(load)(e + i + u * LANES), by, tiny, shifted));
    for (; i + LANES <= n; i += LANES) OP(store)(out + i, OP(scaled)(OP(load)(e + i), by, tiny, shifted));
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
    double up = bent ? (double)TWO_TO_BIAS : 0x1p64;
    of[0] = (REAL)((double)SMALLEST_NORMAL / fabs(factor));
    of[step] = (REAL)inverse;
    of[2 * step] = (REAL)not_top;
    of[3 * step] = (REAL)(tiny ? 1 / up : 1);
    of[4 * step] = (REAL)(tiny ? factor * up : factor);
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
