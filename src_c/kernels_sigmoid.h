/* The sigmoid family, for REAL = double and REAL = float, on top of kernels_body.h: elementwise. */

/* expit(x), expit(-x), the smaller and the larger of the two, and e = exp(-|x|). */
typedef struct {
    V e, p, q, small, large;
    V e_rest; /* what e rounds off */
} OP(logistic);

static inline OP(logistic) OP(logistic_of)(V x) {
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

static void KERNEL(expit)(const REAL *x, REAL *out, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V score = k == LANES ? OP(load)(x + i) : OP(load_part)(x + i, k, 0);
        OP(store_part)(out + i, OP(logistic_of)(score).p, k);
    }
}

static void KERNEL(log_expit)(const REAL *x, REAL *out, ptrdiff_t n) {
    V zero = OP(set)(0);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V score = k == LANES ? OP(load)(x + i) : OP(load_part)(x + i, k, 0);
        V rest, e = OP(exp_nonpositive)(OP(sub)(zero, OP(abs)(score)), &rest);
        V below = OP(keep)(OP(lt)(score, zero), score);
        OP(store_part)(out + i, OP(sub)(below, OP(log1p_unit)(e, &rest)), k);
    }
}

/* a |x| or b |x|, whichever counts, + (a + b) log1p(e), with a = (1 - y) kept + mixed, b = pos_weight (y kept + mixed):
   too many roundings for two ulps, unless those of a and b are carried along. */
#ifndef FX_SIGMOID_MIXTURE
#define FX_SIGMOID_MIXTURE
typedef struct {
    f64v kept, kept_rest, mixed, positive;
} f64_mixing;

static inline f64v f64_mix(f64v y, f64v y_rest, const f64_mixing *by, f64v *rest) {
    f64v product = f64_mul(y, by->kept), lost;
    f64v value = f64_difference(product, f64_sub(f64_set(0), by->mixed), &lost);
    f64v correction = f64_fma(y, by->kept_rest, f64_mul(y_rest, by->kept));
    *rest = f64_add(lost, f64_sub(correction, f64_remainder(product, y, by->kept)));
    return value;
}

static inline f64v f64_mixture(f64v x, f64v y, f64v log_term, f64v log_rest, const f64_mixing *by) {
    f64v zero = f64_set(0), not_y_rest, a_rest, b_rest, total_rest;
    f64v not_y = f64_difference(f64_set(1), y, &not_y_rest);
    f64v a = f64_mix(not_y, not_y_rest, by, &a_rest);
    f64v part = f64_mix(y, zero, by, &b_rest);
    f64v b = f64_mul(part, by->positive);
    b_rest = f64_sub(f64_mul(b_rest, by->positive), f64_remainder(b, part, by->positive));
    f64v total = f64_difference(a, f64_sub(zero, b), &total_rest);
    total_rest = f64_add(total_rest, f64_add(a_rest, b_rest));
    f64m above = f64_lt(zero, x);
    f64v slope = f64_select(above, a, b), slope_rest = f64_select(above, a_rest, b_rest);
    f64v counted = f64_keep(f64_ne(slope, zero), f64_abs(x));
    f64v small = f64_fma(total, log_rest, f64_mul(total_rest, log_term));
    f64v finite = f64_keep(f64_lt(counted, f64_set(INFINITY)), counted);
    small = f64_fma(slope_rest, finite, small);
    return f64_fma(slope, counted, f64_fma(total, log_term, small));
}

static inline f64v f64_in_double(f64v x, f64v y, f64v log_term, f64v log_rest, const f64_mixing *by) {
    return f64_mixture(x, y, log_term, log_rest, by);
}
static inline f32v f32_in_double(f32v x, f32v y, f32v log_term, f32v log_rest, const f64_mixing *by) {
    f64v low = f64_add(f32_low(log_term), f32_low(log_rest)), zero = f64_set(0);
    f64v high = f64_add(f32_high(log_term), f32_high(log_rest));
    return f32_join(f64_mixture(f32_low(x), f32_low(y), low, zero, by),
                    f64_mixture(f32_high(x), f32_high(y), high, zero, by));
}
#endif

/* With a = 1 - y and b = pos_weight * y:  loss = a softplus(x) + b softplus(-x), gradient = a p - b q,
   curvature = (a + b) p q, each times the element's weight if there are weights, gradient and curvature times the scale
   (which is not rounded to a float before it has met the weight). Returns the sum of the losses; adds to
   *refused the targets outside [0, 1]. */
static inline double KERNEL(sigmoid_terms)(const REAL *x, const REAL *y, ptrdiff_t n, const fx_sigmoid *options,
                                           int mixing, const REAL *weight, REAL *loss, REAL *grad, REAL *hess,
                                           ptrdiff_t *refused) {
    V zero = OP(set)(0), one = OP(set)(1);
    double kept_exactly = 1.0 - options->smoothing;
    f64_mixing by = {f64_set(kept_exactly), f64_set((1.0 - kept_exactly) - options->smoothing),
                     f64_set(options->smoothing / 2), f64_set(options->pos_weight)};
    V kept = OP(set)((REAL)kept_exactly), mixed = OP(set)((REAL)(options->smoothing / 2));
    V positive = OP(set)((REAL)options->pos_weight), scale = OP(set)((REAL)options->scale);
    V scale_rest = OP(set)((REAL)(options->scale - (double)(REAL)options->scale));
    V least = OP(set)(SMALLEST_NORMAL);
    SUM sum = OP(sum_zero)();
    ptrdiff_t outside = 0;
    REAL ones[LANES];
    OP(store)(ones, one);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        ptrdiff_t k = n - i < LANES ? n - i : LANES;
        V score = k == LANES ? OP(load)(x + i) : OP(load_part)(x + i, k, 0);
        V target = k == LANES ? OP(load)(y + i) : OP(load_part)(y + i, k, 0);
        /* What is not an element has no weight. */
        V w = k == LANES && !weight ? one : OP(load_part)(weight ? weight + i : ones, k, 0);
        V factor = weight ? OP(fma)(w, scale, OP(mul)(w, scale_rest)) : scale;
        M counts = OP(ne)(w, zero);
        outside += LANES - OP(count)(OP(ge)(target, zero)) + OP(count)(OP(lt)(one, target));
        V a = OP(sub)(one, target), b = target;
        if (mixing) {
            a = OP(fma)(a, kept, mixed);
            b = OP(mul)(OP(fma)(b, kept, mixed), positive);
        }
        OP(logistic) at = OP(logistic_of)(score);
        V log_rest, log_term = OP(log1p_unit)(at.e, &log_rest), value;
        if (mixing) {
            log_rest = OP(fma)(at.e_rest, at.large, log_rest);
            value = OP(in_double)(score, target, log_term, log_rest, &by);
        } else {
            V slope = OP(select)(OP(lt)(zero, score), a, b);
            V linear = OP(keep)(OP(ne)(slope, zero), OP(mul)(slope, OP(abs)(score)));
            value = OP(add)(linear, log_term);
        }
        value = OP(keep)(counts, OP(mul)(value, w));
        sum = OP(sum_add)(sum, value);
        if (loss) OP(store_part)(loss + i, value, k);
        if (grad) {
            V g = OP(mul)(OP(sub)(OP(mul)(a, at.p), OP(mul)(b, at.q)), factor);
            g = OP(keep)(OP(not_lt)(OP(abs)(g), least), g);
            OP(store_part)(grad + i, OP(keep)(counts, g), k);
        }
        if (hess) {
            /* p (1 - p) = s - s^2 suffers less from the error of s than the product. */
            V h = OP(mul)(OP(mul)(OP(add)(a, b), OP(fnma)(at.small, at.small, at.small)), factor);
            h = OP(keep)(OP(not_lt)(h, least), h);
            OP(store_part)(hess + i, OP(keep)(counts, h), k);
        }
    }
    *refused += outside;
    double rest;
    return OP(sum_total)(sum, &rest);
}

static double KERNEL(sigmoid_loss)(const REAL *x, const REAL *y, ptrdiff_t n, const fx_sigmoid *options,
                                   const REAL *weight, REAL *loss, REAL *grad, REAL *hess, ptrdiff_t *refused) {
    if (options->smoothing != 0.0 || options->pos_weight != 1.0)
        return KERNEL(sigmoid_terms)(x, y, n, options, 1, weight, loss, grad, hess, refused);
    return KERNEL(sigmoid_terms)(x, y, n, options, 0, weight, loss, grad, hess, refused);
}
