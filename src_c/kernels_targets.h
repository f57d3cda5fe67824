/* Dense targets, and products of whole rows. */

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
    for (; i + LANES <= n; i += LANES) OP(store)(out + i, OP(fnma_once)(w, OP(load)(y + i), OP(load)(out + i)));
    if ((k = n - i))
        OP(store_part)(out + i, OP(fnma_once)(w, OP(load_part)(y + i, k, 0), OP(load_part)(out + i, k, 0)), k);
}

static FX_INLINE void KERNEL(scale_less)(const REAL *e, const REAL *y, ptrdiff_t n, const OP(scaling) *by, int shifted,
                                         double weight, REAL *out) {
    V w = OP(set)((REAL)weight);
    for (ptrdiff_t i = 0, k; i < n; i += k) {
        k = n - i < LANES ? n - i : LANES;
        V scaled = OP(scaled)(OP(load_some)(e + i, k, 0), by, 1, shifted);
        OP(store_some)(out + i, OP(fnma_once)(w, OP(load_some)(y + i, k, 0), scaled), k);
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

#ifndef FX_CHAIN
#define FX_CHAIN
/* curvature slope^2 + gradient bend; of floats in double, for the curvature brings errors enough of its own. */
static inline f64v f64_chain(f64v curvature, f64v slope, f64v gradient, f64v bend) {
    return f64_fma(gradient, bend, f64_mul(curvature, f64_mul(slope, slope)));
}
static inline f32v f32_chain(f32v curvature, f32v slope, f32v gradient, f32v bend) {
    return f32_join(f64_chain(f32_low(curvature), f32_low(slope), f32_low(gradient), f32_low(bend)),
                    f64_chain(f32_high(curvature), f32_high(slope), f32_high(gradient), f32_high(bend)));
}
#endif

/* The chain rule for scores that have a slope and a bend: curvature slope^2 + gradient bend, then gradient slope. */
static void KERNEL(row_chain)(REAL *grad, REAL *hess, const REAL *slope, const REAL *bend, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V s = OP(load_some)(slope + i, k, 0), g = OP(load_some)(grad + i, k, 0);
        if (hess) {
            V h = OP(load_some)(hess + i, k, 0), b = OP(load_some)(bend + i, k, 0);
            OP(store_part)(hess + i, OP(chain)(h, s, g, b), k);
        }
        OP(store_part)(grad + i, OP(mul)(g, s), k);
    }
}
