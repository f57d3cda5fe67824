/* Checks of the kernels that exist for both element types: included for REAL = double, then float. */

/* In units of the last place of a REAL of size `scale`, by default of the result itself. Where one result is zero
   and the other hardly a normal number, both are as good. */
static void NAME(compare)(const char *where, ptrdiff_t n, double got, double wanted, double scale) {
    if (got == wanted || (isnan(got) && isnan(wanted))) return;
    double size = fmax(fabs(got), fabs(wanted));
    if ((got == 0.0 || wanted == 0.0) && size <= (double)SMALLEST_NORMAL * (1.0 + 0x1p-20)) return;
    size = fmax(fmax(size, fabs(scale)), (double)SMALLEST_NORMAL);
    differ(where, n, isfinite(size) ? fabs(got - wanted) / ldexp(1.0, ilogb(size) + 1 - DIGITS) : INFINITY);
}

static void NAME(compare_all)(const char *where, ptrdiff_t n, const REAL *got, const REAL *wanted) {
    for (ptrdiff_t i = 0; i < SIZE; ++i) NAME(compare)(where, n, (double)got[i], (double)wanted[i], 0.0);
}

static void NAME(clear)(REAL *a, REAL *b) {
    for (ptrdiff_t i = 0; i < SIZE; ++i) a[i] = b[i] = (REAL)UNTOUCHED;
}

static void NAME(copy)(REAL *to, const REAL *from) { memcpy(to, from, SIZE * sizeof *to); }

/* ---- rows -------------------------------------------------------------------------------------------- */

/* Rows of scores `x`, or x + low, `shift` elements behind an aligned place. */
typedef struct {
    REAL x[SIZE], low[SIZE];
    double max[ROWS], max_low[ROWS];
    ptrdiff_t n, rows, stride, shift;
    int masked, in_place, paired, precise;
} NAME(scores);

/* What one instruction set makes of them. */
typedef struct {
    double max[ROWS], max_low[ROWS], ties[ROWS], others[ROWS], rest[ROWS], stored[ROWS], stored_rest[ROWS],
        margins[ROWS], margins_rest[ROWS], classes[ROWS];
    REAL e[FX_FEW_SIZE(ROWS, LONGEST + 3)], out[SIZE];
    const REAL *exponentials;
    ptrdiff_t e_stride;
} NAME(figures);

static NAME(scores) NAME(at);
static NAME(figures) NAME(got), NAME(wanted);

/* Lower parts, and the largest score of each row. */
static void NAME(draw_low)(NAME(scores) *at) {
    for (ptrdiff_t i = 0; i < SIZE; ++i)
        at->low[i] = isfinite(at->x[i]) ? (REAL)ldexp((double)at->x[i] * (uniform() - 0.5), -DIGITS) : 0;
    for (ptrdiff_t i = 0; i < at->rows; ++i) {
        const REAL *x = at->x + at->shift + i * at->stride, *low = at->low + at->shift + i * at->stride;
        at->max[i] = -INFINITY;
        at->max_low[i] = 0.0;
        for (ptrdiff_t j = 0; j < at->n; ++j)
            if ((double)x[j] > at->max[i] || ((double)x[j] == at->max[i] && (double)low[j] > at->max_low[i])) {
                at->max[i] = (double)x[j];
                at->max_low[i] = (double)low[j];
            }
    }
}

static void NAME(draw_scores)(ptrdiff_t n) {
    static const double spreads[] = {1.0, 6.0, 40.0, 300.0}, centres[] = {0.0, 0.0, 90.0, -1000.0, 30000.0};
    NAME(scores) *at = &NAME(at);
    NAME(clear)(at->x, at->x);
    at->n = n;
    at->rows = n <= FX_FEW(sizeof(REAL)) ? 1 + pick(ROWS) : 3;
    at->stride = n + pick(3);
    at->shift = pick(4);
    at->masked = (int)pick(2);
    at->paired = (int)pick(2);
    at->precise = (int)pick(2);
    at->in_place = !at->paired && !at->precise && n > FX_FEW(sizeof(REAL)) && pick(2);
    for (ptrdiff_t i = 0; i < at->rows; ++i) {
        REAL *row = at->x + at->shift + i * at->stride;
        double spread = spreads[pick(4)], centre = centres[pick(5)];
        for (ptrdiff_t j = 0; j < n; ++j) row[j] = (REAL)(centre + spread * (uniform() + uniform() + uniform() - 1.5));
        ptrdiff_t kind = pick(12), first = pick(n), second = pick(n);
        if (kind == 0) row[first] = NAN;
        if (kind == 1) row[first] = INFINITY;
        if (kind == 2) row[first] = row[second] = (REAL)(centre + 2.0 * spread);
        if (kind == 3 || (kind == 4 && n > 1)) row[first] = -INFINITY;
        if (kind == 4) row[second] = NAN;
        if (kind == 5 && pick(4) == 0)
            for (ptrdiff_t j = 0; j < n; ++j) row[j] = -INFINITY;
    }
    NAME(draw_low)(at);
}

/* Few classes: exponentials in groups of lanes, as many as the instruction set has. Otherwise in rows, and in place
   as where the gradient overwrites the scores. */
static void NAME(run_expsum)(const KERNELS *kernels, NAME(figures) *to) {
    const NAME(scores) *at = &NAME(at);
    fx_rows out = {
        .max = to->max,
        .max_low = at->paired ? to->max_low : NULL,
        .ties = to->ties,
        .others = to->others,
        .rest = to->rest,
        .stored = to->stored,
        .stored_rest = to->stored_rest,
        .margins = at->masked ? to->margins : NULL,
        .margins_rest = at->masked ? to->margins_rest : NULL,
        .classes = at->masked ? to->classes : NULL,
        .max_given = at->paired,
        .precise = at->precise,
    };
    REAL *e = at->in_place ? to->out + at->shift : to->e;
    const REAL *x = at->in_place ? e : at->x + at->shift;
    if (at->in_place) NAME(copy)(to->out, at->x);
    to->e_stride = at->in_place ? at->stride : at->n;
    to->exponentials = e;
    memcpy(to->max, at->max, sizeof to->max);
    memcpy(to->max_low, at->max_low, sizeof to->max_low);
    kernels->rows_expsum(x, at->paired ? at->low + at->shift : NULL, at->stride, at->rows, at->n, e, to->e_stride,
                         &out);
}

static void NAME(draw_exponentials)(ptrdiff_t n, const KERNELS *ours, const KERNELS *scalar) {
    NAME(draw_scores)(n);
    NAME(clear)(NAME(got).out, NAME(wanted).out);
    NAME(run_expsum)(ours, &NAME(got));
    NAME(run_expsum)(scalar, &NAME(wanted));
}

static void NAME(check_rows_pick)(const KERNELS *ours, const KERNELS *scalar) {
    static double picked[2][ROWS + 1];
    static ptrdiff_t label[ROWS];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i);
        NAME(draw_scores)(n);
        const NAME(scores) *at = &NAME(at);
        for (ptrdiff_t row = 0; row < at->rows; ++row) label[row] = pick(n + 1) - 1;
        for (int k = 0; k < 2; ++k) {
            picked[k][at->rows] = UNTOUCHED;
            (k ? scalar : ours)->rows_pick(at->x + at->shift, at->stride, at->rows, label, picked[k]);
        }
        for (ptrdiff_t row = 0; row <= at->rows; ++row) must_equal("", n, picked[0][row], picked[1][row]);
    }
}

static void NAME(check_rows_put)(const KERNELS *ours, const KERNELS *scalar) {
    static ptrdiff_t label[ROWS];
    static double value[ROWS];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), rows = n <= FX_FEW(sizeof(REAL)) ? 1 + pick(ROWS) : 3, stride = n + pick(3),
                  shift = pick(4);
        NAME(clear)(NAME(got).out, NAME(wanted).out);
        for (ptrdiff_t row = 0; row < rows; ++row) {
            label[row] = pick(n + 1) - 1;
            value[row] = uniform();
        }
        ours->rows_put(NAME(got).out + shift, stride, rows, label, value);
        scalar->rows_put(NAME(wanted).out + shift, stride, rows, label, value);
        NAME(compare_all)("", n, NAME(got).out, NAME(wanted).out);
    }
}

static void NAME(check_rows_expsum)(const KERNELS *ours, const KERNELS *scalar) {
    const NAME(figures) *got = &NAME(got), *wanted = &NAME(wanted);
    for (int i = 0; i < 2 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 2);
        NAME(draw_exponentials)(n, ours, scalar);
        for (ptrdiff_t row = 0; row < NAME(at).rows; ++row) {
            /* Of sums of two, those that differ in the lower part alone may be counted or added up. */
            double ties = NAME(at).paired ? got->ties[row] - wanted->ties[row] : 0.0;
            NAME(compare)("others", n, got->others[row] + ties, wanted->others[row], fabs(ties));
            if (isnan(wanted->others[row])) continue; /* then nothing else is promised */
            must_equal("max", n, got->max[row], wanted->max[row]);
            if (!NAME(at).paired) must_equal("ties", n, got->ties[row], wanted->ties[row]);
            NAME(compare)("stored", n, got->stored[row], wanted->stored[row], 0.0);
            if (!isfinite(wanted->max[row]) || !NAME(at).masked) continue;
            must_equal("classes", n, got->classes[row], wanted->classes[row]);
            NAME(compare)("margins", n, got->margins[row], wanted->margins[row], 0.0);
        }
    }
}

static void NAME(check_row_max)(const KERNELS *ours, const KERNELS *scalar) {
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i);
        NAME(draw_scores)(n);
        REAL *x = NAME(at).x + NAME(at).shift;
        for (ptrdiff_t j = 0; j < n; ++j)
            if (isnan(x[j])) x[j] = -INFINITY;
        must_equal("", n, ours->row_max(x, n), scalar->row_max(x, n));
    }
}

/* A row's ten figures, one behind the other. */
static fx_rows NAME(figures_at)(double *to, int marked, int precise) {
    fx_rows out = {.max = to,
                   .max_low = to + 1,
                   .ties = to + 2,
                   .others = to + 3,
                   .rest = to + 4,
                   .stored = to + 5,
                   .stored_rest = to + 6,
                   .margins = marked ? to + 7 : NULL,
                   .margins_rest = to + 8,
                   .classes = to + 9,
                   .precise = precise};
    return out;
}

/* Rows of several parts: taken part by part, with the bits of the whole. */
#define PARTED (3 * FX_PART + 77)

static void NAME(check_row_part)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL x[PARTED], low[PARTED], e[2][PARTED];
    static const double spreads[] = {1.0, 6.0, 300.0};
    const KERNELS *both[] = {ours, scalar};
    for (int i = 0; i < 48; ++i) {
        ptrdiff_t n = 2 * FX_PART + pick(FX_PART + 77);
        double spread = spreads[i % 3], max = -INFINITY, max_low = 0.0;
        int paired = i / 3 % 2, precise = i / 6 % 2, masked = i / 12 % 2;
        for (ptrdiff_t j = 0; j < n; ++j) {
            x[j] = masked && pick(9) == 0 ? -(REAL)INFINITY : (REAL)(spread * (uniform() + uniform() - 1.0));
            low[j] = isfinite(x[j]) ? (REAL)ldexp((double)x[j] * (uniform() - 0.5), -DIGITS) : 0;
        }
        for (ptrdiff_t j = 0; j < n; ++j)
            if ((double)x[j] > max) {
                max = (double)x[j];
                max_low = (double)low[j];
            }
        for (int k = 0; k < 2; ++k) {
            double figures[2][10];
            fx_part parts[PARTED / FX_PART] = {{0}};
            ptrdiff_t count = n / FX_PART;
            int how = FX_WHOLE;
            for (int whole = 0; whole < 2; ++whole) {
                double *to = figures[whole];
                fx_rows out = NAME(figures_at)(to, masked, precise);
                if (!paired) out.max_low = NULL;
                out.max_given = 1;
                memset(to, 0, sizeof figures[whole]);
                to[0] = max;
                to[1] = max_low;
                if (whole) both[k]->rows_expsum(x, paired ? low : NULL, n, 1, n, e[whole], n, &out);
                while (!whole && how != FX_DONE) {
                    for (ptrdiff_t j = count; j-- > 0;) {
                        ptrdiff_t start = j * FX_PART, size = fx_part_size(start, n);
                        both[k]->row_part(x + start, paired ? low + start : NULL, size, e[0] + start, how, &out,
                                          parts + j);
                    }
                    how = both[k]->row_end(parts, count, n, how, 1, &out);
                }
            }
            for (int j = 0; j < 10; ++j) must_equal("figures", n, figures[0][j], figures[1][j]);
            for (ptrdiff_t j = 0; j < n; ++j) must_equal("exponentials", n, (double)e[0][j], (double)e[1][j]);
        }
    }
}

/* Rows that come from memory once: the parts, last one first, have the bits of the whole, its figures are those of sums
   relative to the row's largest score, and its exponentials times a factor those that are stored and scaled. */
#define LONG 125000
#define LONG_ROW (LONG + FX_PART)
#define BELOW (DIGITS == DBL_MANT_DIG ? 700.0 : 84.0)

static void NAME(check_row_exp_scaled)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL x[LONG_ROW], stored[LONG_ROW], anew[LONG_ROW];
    static fx_part parts[LONG_ROW / FX_PART];
    static const double spreads[] = {1.0, 6.0, 300.0, 5000.0}, sizes[] = {1.0, 3e-37, 1e-300};
    const KERNELS *both[] = {ours, scalar};
    /* A score as far above all others as they still count, above zero and below. */
    static const double apart[][2] = {{1.2 * BELOW, 0.45 * BELOW}, {3.0, -BELOW}, {-0.2 * BELOW, -0.95 * BELOW}};
    for (int i = 0; i < 36; ++i) {
        ptrdiff_t n = LONG + pick(FX_PART), count = n / FX_PART, first = pick(n), last = first + pick(3 * FX_PART);
        double spread = spreads[i % 4], max = -INFINITY;
        int masked = i / 4 % 2, peaked = i < 24 && i / 8 % 2, precise = i / 2 % 2, bad = i == 4;
        for (ptrdiff_t j = 0; j < n; ++j) {
            x[j] = (REAL)(spread * (uniform() + uniform() - 1.0));
            if (i >= 24) x[j] = (REAL)(j == first ? apart[i % 3][0] : apart[i % 3][1] + uniform());
            if (masked && j >= first && j < last) x[j] = -INFINITY;
            if (bad && j == first) x[j] = NAN;
            if (peaked && j == first) x[j] = (REAL)(spread * 2.0 + 40.0);
            if (peaked && j == n - 1 && pick(2)) x[j] = x[first];
            if ((double)x[j] > max) max = (double)x[j];
        }
        for (int k = 0; k < 2; ++k) {
            double figures[3][10] = {{0}, {max}, {0}};
            fx_rows out[3];
            for (int way = 0; way < 3; ++way) {
                out[way] = NAME(figures_at)(figures[way], 0, precise);
                out[way].max_low = NULL;
                out[way].max_given = way == 1;
                out[way].long_from = LONG;
                if (way < 2) both[k]->rows_expsum(x, NULL, n, 1, n, stored, n, out + way);
            }
            if (bad) {
                must_equal("bad", n, figures[0][3], (double)NAN); /* and nothing else is promised */
                continue;
            }
            for (int how = FX_OWN; how != FX_DONE;) {
                for (ptrdiff_t j = count; j-- > 0;)
                    both[k]->row_part(x + j * FX_PART, NULL, fx_part_size(j * FX_PART, n), NULL, how, out + 2,
                                      parts + j);
                how = both[k]->row_end(parts, count, n, how, 0, out + 2);
            }
            for (int j = 0; j < 7; ++j) {
                must_equal("parts", n, figures[2][j], figures[0][j]);
                if (j != 4 && j != 6) NAME(compare)("figures", n, figures[0][j], figures[1][j], 0.0);
            }
            double factor = sizes[i % 3] / figures[0][5];
            both[k]->rows_scale(stored, n, 1, n, &factor, NULL, stored, n);
            for (ptrdiff_t j = 0; j < n; j += FX_PART)
                both[k]->row_exp_scaled(x + j, n - j < FX_PART ? n - j : FX_PART, out, factor, anew + j);
            for (ptrdiff_t j = 0; j < n; ++j) must_equal("scaled", n, (double)anew[j], (double)stored[j]);
            memcpy(anew, x, sizeof anew);
            both[k]->row_exp_scaled(anew, n, out, factor, anew);
            for (ptrdiff_t j = 0; j < n; ++j) must_equal("in place", n, (double)anew[j], (double)stored[j]);
        }
    }
}

/* Checked with the parts. */
static void NAME(check_row_end)(const KERNELS *ours, const KERNELS *scalar) {
    fx_part part = {.ties = 2.0, .others = 3.0};
    double figures[2][7] = {{0.5}, {0.5}};
    for (int k = 0; k < 2; ++k) {
        double *to = figures[k];
        fx_rows out = {
            .max = to, .ties = to + 1, .others = to + 2, .rest = to + 3, .stored = to + 4, .stored_rest = to + 5};
        must_equal("done", 1, (k ? scalar : ours)->row_end(&part, 1, 100, FX_APART, 0, &out), FX_DONE);
    }
    for (int j = 0; j < 7; ++j) NAME(compare)("", 100, figures[0][j], figures[1][j], 0.0);
}

static void NAME(check_rows_scale)(const KERNELS *ours, const KERNELS *scalar) {
    static const double sizes[] = {1.0, 0.01, 3e-37, 0.0};
    NAME(figures) *both[] = {&NAME(got), &NAME(wanted)};
    const NAME(scores) *at = &NAME(at);
    for (int i = 0; i < 2 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 2);
        double factors[2][ROWS], offsets[ROWS];
        NAME(draw_exponentials)(n, ours, scalar);
        for (ptrdiff_t row = 0; row < at->rows; ++row) {
            double size = sizes[pick(4)];
            for (int k = 0; k < 2; ++k) factors[k][row] = size / both[k]->stored[row];
            offsets[row] = -uniform() / (double)n;
        }
        for (int k = 0; k < 2; ++k)
            (k ? scalar : ours)
                ->rows_scale(both[k]->exponentials, both[k]->e_stride, at->rows, n, factors[k],
                             at->masked ? offsets : NULL, both[k]->out + at->shift, at->stride);
        for (ptrdiff_t j = 0; j < SIZE; ++j)
            NAME(compare)("", n, (double)both[0]->out[j], (double)both[1]->out[j], at->masked ? 1.0 / (double)n : 0.0);
    }
}

static void NAME(check_rows_curvature)(const KERNELS *ours, const KERNELS *scalar) {
    NAME(figures) *both[] = {&NAME(got), &NAME(wanted)};
    const NAME(scores) *at = &NAME(at);
    for (int i = 0; i < 2 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 2);
        double inverse[ROWS], not_top[ROWS], factor[ROWS], weights[ROWS], root[ROWS];
        int bent = (int)pick(2);
        NAME(draw_exponentials)(n, ours, scalar);
        for (ptrdiff_t row = 0; row < at->rows; ++row) weights[row] = pick(8) ? uniform() * 3.0 : 0.0;
        for (int k = 0; k < 2; ++k) {
            const NAME(figures) *figures = both[k];
            for (ptrdiff_t row = 0; row < at->rows; ++row) {
                double others = figures->ties[row] - 1.0 + figures->others[row];
                inverse[row] = 1.0 / figures->stored[row];
                not_top[row] = others / (1.0 + others);
                factor[row] = weights[row] * inverse[row];
                root[row] = 2.0 * weights[row] * inverse[row];
            }
            (k ? scalar : ours)
                ->rows_curvature(figures->exponentials, figures->e_stride, at->rows, n, inverse, not_top, factor,
                                 bent ? root : NULL, both[k]->out + at->shift, at->stride);
        }
        if (!at->masked) NAME(compare_all)("", n, both[0]->out, both[1]->out);
    }
}

static void NAME(check_rows_subtract_max)(const KERNELS *ours, const KERNELS *scalar) {
    const NAME(scores) *at = &NAME(at);
    for (int i = 0; i < 2 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 2);
        double max[ROWS], log_total[ROWS];
        REAL *out[] = {NAME(got).out, NAME(wanted).out};
        NAME(draw_scores)(n);
        NAME(clear)(out[0], out[1]);
        for (ptrdiff_t row = 0; row < at->rows; ++row) {
            max[row] = -INFINITY;
            for (ptrdiff_t j = 0; j < n; ++j)
                max[row] = fmax(max[row], (double)at->x[at->shift + row * at->stride + j]);
            log_total[row] = uniform() * 10.0;
        }
        for (int k = 0; k < 2; ++k) {
            if (at->in_place) NAME(copy)(out[k], at->x);
            (k ? scalar : ours)
                ->rows_subtract_max((at->in_place ? out[k] : at->x) + at->shift, at->stride, at->rows, n, max,
                                    log_total, out[k] + at->shift, at->stride);
        }
        NAME(compare_all)("", n, out[0], out[1]);
    }
}

/* Rows that are only to be multiplied have the bits of those that were. */
static void NAME(must_fold)(const KERNELS *kernels, ptrdiff_t n, const fx_transform *by, const REAL *high,
                            const REAL *low, const double *max, const double *max_low) {
    const NAME(scores) *at = &NAME(at);
    static REAL e[2][SIZE];
    for (ptrdiff_t row = 0; row < at->rows; ++row) {
        double figures[2][10] = {{max[row], max_low[row]}, {0}};
        int marked = (int)pick(2), precise = (int)pick(2), loss_only = (int)pick(2);
        int usable = 1;
        for (ptrdiff_t j = 0; j < n; ++j) usable &= !isnan(high[row * n + j]);
        if (!usable) continue;
        for (int fold = 0; fold < 2; ++fold) {
            fx_rows out = NAME(figures_at)(figures[fold], marked, precise);
            out.max_given = !fold;
            out.by = fold ? by : NULL;
            if (fold)
                kernels->rows_expsum(at->x + at->shift + row * at->stride, NULL, n, 1, n, loss_only ? NULL : e[1], n,
                                     &out);
            else
                kernels->rows_expsum(high + row * n, low + row * n, n, 1, n, loss_only ? NULL : e[0], n, &out);
        }
        if (isfinite(max[row]) && !loss_only) {
            const REAL *x = at->x + at->shift + row * at->stride, *stored = high + row * n, *rest = low + row * n;
            must_equal("folded moment", n, kernels->row_moment(x, x, n, by, max[row], max_low[row]),
                       kernels->row_moment(stored, rest, n, NULL, max[row], max_low[row]));
            NAME(compare)("folded moment", n, kernels->row_stored_moment(e[0], x, x, n, by, max[row], max_low[row]),
                          kernels->row_stored_moment(e[0], stored, rest, n, NULL, max[row], max_low[row]), 0.0);
        }
        for (int j = 0; j < 10; ++j) must_equal("folded figures", n, figures[1][j], figures[0][j]);
        for (ptrdiff_t j = 0; !loss_only && j < n; ++j) must_equal("folded", n, (double)e[1][j], (double)e[0][j]);
    }
}

/* Scores that are left out on the way: as if they had been -inf. */
static void NAME(must_leave_out)(const KERNELS *kernels, ptrdiff_t n, const uint8_t *left_out) {
    const NAME(scores) *at = &NAME(at);
    static REAL e[2][SIZE], given[SIZE];
    for (ptrdiff_t row = 0; row < at->rows; ++row) {
        const REAL *x = at->x + at->shift + row * at->stride;
        double figures[2][10] = {{0}, {0}};
        int marked = (int)pick(2), precise = (int)pick(2), loss_only = (int)pick(2), usable = 1;
        for (ptrdiff_t j = 0; j < n; ++j) {
            given[j] = left_out[row * at->stride + j] ? (REAL)-INFINITY : x[j];
            usable &= !isnan(given[j]);
        }
        for (int fold = 0; fold < 2; ++fold) {
            fx_rows out = NAME(figures_at)(figures[fold], marked, precise);
            out.max_low = NULL;
            out.left_out = fold ? left_out + row * at->stride : NULL;
            out.left_out_stride = at->stride;
            kernels->rows_expsum(fold ? x : given, NULL, n, 1, n, loss_only ? NULL : e[fold], n, &out);
        }
        if (!usable) {
            must_equal("left out", n, figures[1][3], (double)NAN);
            continue;
        }
        for (int j = 0; j < 10; ++j) must_equal("left out figures", n, figures[1][j], figures[0][j]);
        for (ptrdiff_t j = 0; !loss_only && j < n; ++j) must_equal("left out", n, (double)e[1][j], (double)e[0][j]);
    }
}

/* As sums, to far more digits than the upper part has; after a cap of doubles, to a few. */
static void NAME(check_rows_transform)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL bias[SIZE], high[2][SIZE], low[2][SIZE], slope[2][SIZE], bend[2][SIZE];
    static uint8_t left_out[SIZE];
    static const double caps[] = {0.0, 0.0, 30.0, 2.5}, temperatures[] = {1.0, 1.0, 0.37, 3.0};
    const NAME(scores) *at = &NAME(at);
    for (int i = 0; i < 4 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 4);
        double temperature = temperatures[pick(4)], max[2][ROWS], max_low[2][ROWS];
        int biased = (int)pick(2), masked = (int)pick(2);
        fx_transform by = {.scale = 1.0 / temperature, .scale_rest = 0.0, .cap = caps[pick(4)], .loose = (int)pick(2)};
        NAME(draw_scores)(n);
        for (ptrdiff_t j = 0; j < n; ++j) bias[at->shift + j] = (REAL)(5.0 * (uniform() - 0.5));
        if (pick(3) == 0) bias[at->shift + pick(n)] = -INFINITY;
        for (ptrdiff_t j = 0; j < SIZE; ++j) left_out[j] = pick(5) == 0;
        for (int k = 0; k < 2; ++k) {
            NAME(clear)(high[k], low[k]);
            NAME(clear)(slope[k], bend[k]);
            (k ? scalar : ours)
                ->rows_transform(at->x + at->shift, at->stride, at->rows, n, &by, biased ? bias + at->shift : NULL,
                                 at->low, masked ? left_out + at->shift : NULL, at->stride, high[k] + at->shift,
                                 low[k] + at->shift, slope[k] + at->shift, bend[k] + at->shift, max[k], max_low[k]);
        }
        for (ptrdiff_t j = 0; j < SIZE; ++j) {
            double sums[2];
            for (int k = 0; k < 2; ++k) sums[k] = (double)(high[k][j] - high[1][j]) + (double)low[k][j];
            double digits = by.cap > 0.0 ? by.cap * by.scale / 8.0 : ldexp(fabs((double)high[1][j]) + 5.0, -14);
            if (isfinite(high[1][j]))
                NAME(compare)("pair", n, sums[0], sums[1], digits);
            else
                NAME(compare)("upper part", n, (double)high[0][j], (double)high[1][j], 0.0);
        }
        NAME(compare_all)("slope", n, slope[0], slope[1]);
        for (ptrdiff_t j = 0; j < SIZE; ++j) NAME(compare)("bend", n, (double)bend[0][j], (double)bend[1][j], 1.0);
        for (ptrdiff_t row = 0; row < at->rows; ++row) {
            int usable = 1;
            for (ptrdiff_t j = 0; j < n; ++j) usable &= !isnan(high[1][at->shift + row * n + j]);
            if (usable) NAME(compare)("max", n, max[0][row], max[1][row], 0.0);
        }
        if (sizeof(REAL) == sizeof(float) && n > FX_FEW(sizeof(REAL)) && by.cap == 0.0 && !biased && !masked)
            for (int k = 0; k < 2; ++k)
                NAME(must_fold)(k ? scalar : ours, n, &by, high[k] + at->shift, low[k] + at->shift, max[k], max_low[k]);
        if (sizeof(REAL) == sizeof(float) && n > FX_FEW(sizeof(REAL)))
            for (int k = 0; k < 2; ++k) NAME(must_leave_out)(k ? scalar : ours, n, left_out + at->shift);
    }
}

static void NAME(check_row_moment)(const KERNELS *ours, const KERNELS *scalar) {
    const NAME(scores) *at = &NAME(at);
    for (int i = 0; i < 2 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 2);
        NAME(draw_scores)(n);
        if (!isfinite(at->max[0])) continue;
        const REAL *x = at->x + at->shift, *low = at->low + at->shift;
        NAME(compare)("", n, ours->row_moment(x, low, n, NULL, at->max[0], at->max_low[0]),
                      scalar->row_moment(x, low, n, NULL, at->max[0], at->max_low[0]), 0.0);
    }
}

static void NAME(check_row_stored_moment)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL e[SIZE];
    const NAME(scores) *at = &NAME(at);
    for (int i = 0; i < 2 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 2);
        NAME(draw_scores)(n);
        if (!isfinite(at->max[0])) continue;
        for (ptrdiff_t j = 0; j < SIZE; ++j) e[j] = pick(4) ? (REAL)uniform() : -1;
        const REAL *x = at->x + at->shift, *low = at->low + at->shift;
        for (ptrdiff_t j = 0; j < n; ++j)
            if (!isfinite(x[j])) e[j] = 0;
        NAME(compare)("", n, ours->row_stored_moment(e, x, low, n, NULL, at->max[0], at->max_low[0]),
                      scalar->row_stored_moment(e, x, low, n, NULL, at->max[0], at->max_low[0]), 0.0);
    }
}

/* ---- targets ----------------------------------------------------------------------------------------- */

static void NAME(check_row_target)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL y[SIZE];
    static const double refused[] = {-0.5, NAN, INFINITY};
    const NAME(scores) *at = &NAME(at);
    for (int i = 0; i < 4 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 4), shift = pick(4);
        fx_target got, wanted;
        REAL max = -INFINITY;
        NAME(draw_scores)(n);
        const REAL *x = at->x + at->shift;
        for (ptrdiff_t j = 0; j < n; ++j) max = x[j] > max ? x[j] : max;
        for (ptrdiff_t j = 0; j < n; ++j) y[shift + j] = pick(3) ? 0 : (REAL)uniform();
        if (pick(2)) memset(y, 0, sizeof y);
        if (pick(4)) y[shift + pick(n)] = 1;
        if (pick(6) == 0) y[shift + pick(n)] = (REAL)refused[pick(3)];
        const REAL *low = at->paired ? at->low + at->shift : NULL;
        ours->row_target(y + shift, x, low, n, (double)max, at->max_low[0], &got);
        scalar->row_target(y + shift, x, low, n, (double)max, at->max_low[0], &wanted);
        must_equal("refused", n, got.refused, wanted.refused);
        if (wanted.refused) continue;
        must_equal("count", n, (double)got.count, (double)wanted.count);
        if (wanted.count == 1) must_equal("last", n, (double)got.last, (double)wanted.last);
        NAME(compare)("sum", n, got.sum, wanted.sum, 0.0);
        NAME(compare)("margin", n, got.margin, wanted.margin, 0.0);
    }
}

static void NAME(check_row_subtract)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL y[SIZE];
    REAL *out[] = {NAME(got).out, NAME(wanted).out};
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), shift = pick(4);
        double weight = uniform();
        NAME(clear)(out[0], out[1]);
        for (ptrdiff_t j = shift; j < shift + n; ++j) {
            out[0][j] = out[1][j] = (REAL)uniform();
            y[j] = pick(4) ? 0 : (REAL)uniform();
        }
        if (pick(4) == 0) out[0][shift] = out[1][shift] = NAN;
        ours->row_subtract(out[0] + shift, y + shift, n, weight);
        scalar->row_subtract(out[1] + shift, y + shift, n, weight);
        for (ptrdiff_t j = 0; j < SIZE; ++j)
            NAME(compare)("", n, (double)out[0][j], (double)out[1][j], weight * (double)y[j]);
    }
}

/* With the bits of rows_scale and row_subtract. */
static void NAME(check_row_scale_less)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL e[SIZE], y[SIZE];
    REAL *out[] = {NAME(got).out, NAME(wanted).out};
    for (int i = 0; i < 2 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 2), shift = pick(4);
        if (n <= FX_FEW(sizeof(REAL))) continue; /* whose exponentials stand in columns */
        double factor = pick(4) ? 1e-3 : 3e-37, offset = -uniform() / (double)n, weight = uniform();
        const double *offset_of = i % 2 ? &offset : NULL;
        for (ptrdiff_t j = 0; j < SIZE; ++j) {
            e[j] = pick(8) ? (REAL)uniform() : -1;
            y[j] = pick(4) ? 0 : (REAL)uniform();
        }
        for (int k = 0; k < 2; ++k) {
            const KERNELS *of = k ? scalar : ours;
            NAME(clear)(out[0], out[1]);
            of->row_scale_less(e + shift, y, n, factor, offset_of, weight, out[0] + shift);
            of->rows_scale(e + shift, n, 1, n, &factor, offset_of, out[1] + shift, n);
            of->row_subtract(out[1] + shift, y, n, weight);
            for (ptrdiff_t j = 0; j < SIZE; ++j) must_equal("", n, (double)out[0][j], (double)out[1][j]);
        }
    }
}

static void NAME(check_row_refused)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL y[SIZE];
    static const double refused[] = {-0.5, NAN, INFINITY, -INFINITY, 0.0, -0.0};
    for (int i = 0; i < 4 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 4), shift = pick(4);
        for (ptrdiff_t j = 0; j < SIZE; ++j) y[j] = (REAL)uniform();
        y[shift + pick(n)] = (REAL)refused[pick(6)];
        must_equal("", n, ours->row_refused(y + shift, n), scalar->row_refused(y + shift, n));
    }
}

static void NAME(check_row_dot)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL y[SIZE], weight[SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), shift = pick(4);
        for (ptrdiff_t j = 0; j < SIZE; ++j) {
            y[j] = (REAL)uniform();
            weight[j] = (REAL)(3.0 * uniform());
        }
        NAME(compare)("", n, ours->row_dot(y + shift, weight + shift, n), scalar->row_dot(y + shift, weight + shift, n),
                      0.0);
    }
}

static void NAME(check_row_product)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL p[SIZE], v[SIZE];
    REAL *out[] = {NAME(got).out, NAME(wanted).out};
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), shift = pick(4);
        NAME(clear)(out[0], out[1]);
        for (ptrdiff_t j = 0; j < SIZE; ++j) {
            p[j] = (REAL)uniform();
            v[j] = (REAL)(10.0 * uniform() - 5.0);
        }
        ours->row_product(p + shift, v + shift, n, 0.7, -1.3, out[0] + shift);
        scalar->row_product(p + shift, v + shift, n, 0.7, -1.3, out[1] + shift);
        for (ptrdiff_t j = 0; j < SIZE; ++j) NAME(compare)("", n, (double)out[0][j], (double)out[1][j], 4.8);
    }
}

/* Entries of a row, with indices of both widths, and a dense matrix. */
typedef struct {
    int32_t narrow[ENTRIES];
    int64_t wide[ENTRIES];
    REAL values[ENTRIES], x[LONGEST], dense[SIZE];
    fx_entries of;
    ptrdiff_t n, rows, first, last;
} NAME(sparse);

static void NAME(draw_sparse)(NAME(sparse) *at, int i) {
    at->n = length_of(i);
    at->rows = 1 + pick(SIZE / at->n);
    at->of.wide = i % 2;
    at->of.indices = i % 2 ? (const void *)at->wide : (const void *)at->narrow;
    at->of.count = pick(ENTRIES);
    at->first = pick(at->rows + 1);
    at->last = at->first + pick(at->rows + 1 - at->first);
    for (ptrdiff_t j = 0; j < ENTRIES; ++j) {
        at->wide[j] = at->narrow[j] = (int32_t)pick(at->rows);
        at->values[j] = (REAL)uniform();
    }
    for (ptrdiff_t j = 0; j < at->n; ++j) at->x[j] = (REAL)uniform();
    for (ptrdiff_t j = 0; j < SIZE; ++j) at->dense[j] = (REAL)uniform();
}

static void NAME(check_row_gather)(const KERNELS *ours, const KERNELS *scalar) {
    static NAME(sparse) at;
    static REAL got[SIZE], wanted[SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        NAME(draw_sparse)(&at, i);
        NAME(clear)(got, wanted);
        memcpy(got, at.x, (size_t)at.n * sizeof *got);
        ours->row_gather(&at.of, at.values, at.dense, at.n, got);
        for (ptrdiff_t j = 0; j < at.n; ++j) {
            double sum = (double)at.x[j];
            for (ptrdiff_t k = 0; k < at.of.count; ++k)
                sum += (double)at.values[k] * (double)at.dense[at.wide[k] * at.n + j];
            wanted[j] = (REAL)sum;
        }
        for (ptrdiff_t j = 0; j < SIZE; ++j) NAME(compare)("ours", at.n, (double)got[j], (double)wanted[j], ENTRIES);
        memcpy(got, at.x, (size_t)at.n * sizeof *got);
        scalar->row_gather(&at.of, at.values, at.dense, at.n, got);
        for (ptrdiff_t j = 0; j < SIZE; ++j) NAME(compare)("scalar", at.n, (double)got[j], (double)wanted[j], ENTRIES);
    }
}

static void NAME(check_row_scatter)(const KERNELS *ours, const KERNELS *scalar) {
    static NAME(sparse) at;
    static REAL got[SIZE], other[SIZE], wanted[SIZE];
    static double sums[SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        NAME(draw_sparse)(&at, i);
        NAME(copy)(got, at.dense);
        NAME(copy)(other, at.dense);
        for (ptrdiff_t j = 0; j < SIZE; ++j) sums[j] = (double)at.dense[j];
        for (ptrdiff_t k = 0; k < at.of.count; ++k)
            if (at.first <= at.wide[k] && at.wide[k] < at.last)
                for (ptrdiff_t j = 0; j < at.n; ++j)
                    sums[at.wide[k] * at.n + j] += (double)at.values[k] * (double)at.x[j];
        for (ptrdiff_t j = 0; j < SIZE; ++j) wanted[j] = (REAL)sums[j];
        ours->row_scatter(&at.of, at.values, at.first, at.last, at.x, at.n, got);
        scalar->row_scatter(&at.of, at.values, at.first, at.last, at.x, at.n, other);
        for (ptrdiff_t j = 0; j < SIZE; ++j) {
            NAME(compare)("ours", at.n, (double)got[j], (double)wanted[j], ENTRIES);
            NAME(compare)("scalar", at.n, (double)other[j], (double)wanted[j], ENTRIES);
        }
    }
}

static void NAME(check_transpose)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL got[SIZE], wanted[SIZE];
    const REAL *x = NAME(at).x;
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), rows = 1 + pick(SIZE / 2 / (n + 3)), stride = n + pick(3),
                  out_stride = rows + pick(3);
        if (n * out_stride > SIZE) out_stride = rows = 1;
        NAME(draw_scores)(n);
        NAME(clear)(got, wanted);
        ours->transpose(x, stride, rows, n, got, out_stride);
        for (ptrdiff_t j = 0; j < n; ++j)
            for (ptrdiff_t row = 0; row < rows; ++row) wanted[j * out_stride + row] = x[row * stride + j];
        NAME(compare_all)("ours", n, got, wanted);
        NAME(clear)(got, got);
        scalar->transpose(x, stride, rows, n, got, out_stride);
        NAME(compare_all)("scalar", n, got, wanted);
    }
}

static void NAME(check_row_chain)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL slope[SIZE], bend[SIZE], hess[2][SIZE];
    REAL *grad[] = {NAME(got).out, NAME(wanted).out};
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), shift = pick(4);
        int bent = (int)pick(2);
        for (ptrdiff_t j = 0; j < SIZE; ++j) {
            slope[j] = (REAL)uniform();
            bend[j] = (REAL)(uniform() - 0.5);
            grad[0][j] = grad[1][j] = (REAL)(uniform() - 0.5);
            hess[0][j] = hess[1][j] = (REAL)uniform();
        }
        ours->row_chain(grad[0] + shift, bent ? hess[0] + shift : NULL, slope + shift, bend + shift, n);
        scalar->row_chain(grad[1] + shift, bent ? hess[1] + shift : NULL, slope + shift, bend + shift, n);
        NAME(compare_all)("gradient", n, grad[0], grad[1]);
        for (ptrdiff_t j = 0; j < SIZE; ++j) NAME(compare)("curvature", n, (double)hess[0][j], (double)hess[1][j], 1.0);
    }
}

/* ---- sigmoid ----------------------------------------------------------------------------------------- */

static void NAME(draw_row)(ptrdiff_t n) {
    static const double specials[] = {INFINITY, -INFINITY, NAN, 0.0, -0.0, 1e30, -1e30};
    NAME(scores) *at = &NAME(at);
    double spread = pick(2) ? 5.0 : 200.0;
    at->n = n;
    at->shift = pick(4);
    for (ptrdiff_t j = 0; j < n; ++j) at->x[at->shift + j] = (REAL)(spread * (uniform() + uniform() - 1.0));
    if (pick(2)) at->x[at->shift + pick(n)] = (REAL)specials[pick(7)];
}

static void NAME(check_elementwise)(void (*ours)(const REAL *, REAL *, ptrdiff_t),
                                    void (*scalar)(const REAL *, REAL *, ptrdiff_t)) {
    const NAME(scores) *at = &NAME(at);
    REAL *out[] = {NAME(got).out, NAME(wanted).out};
    for (int i = 0; i < 2 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 2);
        int in_place = (int)pick(2);
        NAME(draw_row)(n);
        NAME(clear)(out[0], out[1]);
        for (int k = 0; k < 2; ++k) {
            if (in_place) memcpy(out[k], at->x, (size_t)(at->shift + n) * sizeof *out[k]);
            (k ? scalar : ours)((in_place ? out[k] : at->x) + at->shift, out[k] + at->shift, n);
        }
        NAME(compare_all)("", n, out[0], out[1]);
    }
}

static void NAME(check_expit)(const KERNELS *ours, const KERNELS *scalar) {
    NAME(check_elementwise)(ours->expit, scalar->expit);
}

static void NAME(check_log_expit)(const KERNELS *ours, const KERNELS *scalar) {
    NAME(check_elementwise)(ours->log_expit, scalar->log_expit);
}

/* Where a target lies between 0 and 1 two terms are subtracted: ulps are those of their weights. */
static void NAME(check_sigmoid_loss)(const KERNELS *ours, const KERNELS *scalar) {
    static const double gammas[] = {0.0, 0.0, 0.5, 1.0, 2.0, 3.3, 5.0, 40.0};
    static REAL y[SIZE], weight[SIZE], loss[2][SIZE], grad[2][SIZE], hess[2][SIZE];
    static double factors[SIZE];
    const NAME(scores) *at = &NAME(at);
    for (ptrdiff_t j = 0; j < SIZE; ++j) factors[j] = pick(9) ? uniform() * 2.0 : 0.0;
    for (int i = 0; i < 8 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 8), outside[2] = {0, 0};
        int hard = (int)pick(2), weighted = (int)pick(2), wanted = (int)pick(8);
        fx_sigmoid options = {
            .scale = pick(4) ? 1.0 : 1e-5,
            .smoothing = hard ? 0.0 : 0.1,
            .gamma = gammas[pick(8)],
            .pos_weight = pick(2) ? 1.0 : 3.5,
            .neg_weight = pick(2) ? 1.0 : 0.3,
            .pos_weights = pick(2) ? NULL : factors + pick(SIZE - n),
            .neg_weights = pick(2) ? NULL : factors + pick(SIZE - n),
        };
        double sums[2], scale = hard ? 0.0 : 7.0;
        NAME(draw_row)(n);
        for (ptrdiff_t j = at->shift; j < at->shift + n; ++j) {
            y[j] = hard ? (REAL)pick(2) : (REAL)uniform();
            weight[j] = pick(5) ? (REAL)(uniform() * 2.0) : 0;
        }
        if (pick(6) == 0) y[at->shift + pick(n)] = pick(2) ? (REAL)-0.25 : NAN;
        NAME(clear)(loss[0], loss[1]);
        NAME(clear)(grad[0], grad[1]);
        NAME(clear)(hess[0], hess[1]);
        for (int k = 0; k < 2; ++k)
            sums[k] =
                (k ? scalar : ours)
                    ->sigmoid_loss(at->x + at->shift, y + at->shift, n, &options, weighted ? weight + at->shift : NULL,
                                   wanted & 1 ? loss[k] + at->shift : NULL, wanted & 2 ? grad[k] + at->shift : NULL,
                                   wanted & 4 ? hess[k] + at->shift : NULL, &outside[k]);
        must_equal("refused", n, (double)outside[0], (double)outside[1]);
        if (outside[1]) continue;
        NAME(compare)("sum", n, sums[0], sums[1], 0.0);
        NAME(compare_all)("loss", n, loss[0], loss[1]);
        for (ptrdiff_t j = 0; j < SIZE; ++j)
            NAME(compare)("gradient", n, (double)grad[0][j], (double)grad[1][j], scale * options.scale);
        /* Far on the wrong side the focal loss bends down: two terms are subtracted. */
        for (ptrdiff_t j = 0; j < SIZE; ++j)
            NAME(compare)("curvature", n, (double)hess[0][j], (double)hess[1][j],
                          options.gamma == 0.0 ? 0.0 : 7.0 * options.scale);
    }
}

/* ---- probabilities ------------------------------------------------------------------------------------- */

/* Probabilities of all sizes, some 0 and 1, next to 1, below the normal numbers. */
static REAL NAME(probability)(void) {
    static const double specials[] = {0.0, 1.0, 0.5, 0.25, 0.75, 1e-310, 1e-44};
    switch (pick(6)) {
        case 0:
            return (REAL)specials[pick(7)];
        case 1:
            return (REAL)exp(-uniform() * 100.0);
        case 2:
            return 1 - (REAL)exp(-uniform() * 15.0);
        default:
            return (REAL)uniform();
    }
}

static REAL *NAME(draw_probabilities)(ptrdiff_t n) {
    NAME(scores) *at = &NAME(at);
    at->n = n;
    at->shift = pick(4);
    for (ptrdiff_t j = 0; j < n; ++j) at->x[at->shift + j] = NAME(probability)();
    return at->x + at->shift;
}

static REAL *NAME(draw_targets)(ptrdiff_t n) {
    static REAL y[SIZE];
    memset(y, 0, sizeof y);
    int density = 1 + (int)pick(20);
    for (ptrdiff_t j = 0; j < n; ++j)
        if (pick(density) == 0) y[j] = (REAL)uniform();
    return y;
}

static void NAME(check_binary_loss)(const KERNELS *ours, const KERNELS *scalar) {
    static REAL y[SIZE], weight[SIZE], loss[2][SIZE], grad[2][SIZE], hess[2][SIZE];
    static double positive[SIZE];
    for (int i = 0; i < 8 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 8), outside[2] = {0, 0};
        REAL *p = NAME(draw_probabilities)(n);
        int hard = (int)pick(3), weighted = (int)pick(2), wanted = (int)pick(8), each = (int)pick(3) == 0;
        fx_binary options = {
            .scale = pick(4) ? 1.0 : 1e-5,
            .smoothing = pick(3) ? 0.0 : 0.1,
            .pos_weight = pick(2) ? 1.0 : 3.5,
            .low = pick(3) ? 0.0 : 0x1p-10,
        };
        options.at_low = -log(options.low);
        options.at_high = -log1p(-options.low);
        double sums[2];
        for (ptrdiff_t j = 0; j < n; ++j) {
            y[j] = hard ? (REAL)pick(2) : (REAL)uniform();
            weight[j] = pick(5) ? (REAL)(uniform() * 2.0) : 0;
            positive[j] = uniform() * 4.0;
        }
        if (pick(6) == 0) y[pick(n)] = pick(2) ? (REAL)-0.25 : NAN;
        if (pick(6) == 0) p[pick(n)] = NAN;
        if (pick(6) == 0) p[pick(n)] = pick(2) ? (REAL)-0.25 : (REAL)1.5;
        NAME(clear)(loss[0], loss[1]);
        NAME(clear)(grad[0], grad[1]);
        NAME(clear)(hess[0], hess[1]);
        for (int k = 0; k < 2; ++k)
            sums[k] = (k ? scalar : ours)
                          ->binary_loss(p, y, n, &options, each ? positive : NULL, weighted ? weight : NULL,
                                        wanted & 1 ? loss[k] : NULL, wanted & 2 ? grad[k] : NULL,
                                        wanted & 4 ? hess[k] : NULL, &outside[k]);
        must_equal("refused", n, (double)outside[0], (double)outside[1]);
        if (outside[1]) continue;
        NAME(compare)("sum", n, sums[0], sums[1], 0.0);
        NAME(compare_all)("loss", n, loss[0], loss[1]);
        NAME(compare_all)("curvature", n, hess[0], hess[1]);
        /* Two terms are subtracted, of which none is larger than one with both weights. */
        for (ptrdiff_t j = 0; j < SIZE; ++j) {
            double size = j < n && !hard && isfinite(wanted & 2 ? (double)grad[1][j] : 0.0)
                              ? 8.0 * options.scale / (double)fmin(p[j], 1 - p[j])
                              : 0.0;
            NAME(compare)("gradient", n, (double)grad[0][j], (double)grad[1][j],
                          hard && options.smoothing == 0.0 ? 0.0 : size);
        }
    }
}

static void NAME(check_count_outside)(const KERNELS *ours, const KERNELS *scalar) {
    static const double strange[] = {NAN, -1e-30, 1.5, INFINITY, -INFINITY, -0.0};
    for (int i = 0; i < 4 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 4), nans[2] = {0, 0};
        REAL *p = NAME(draw_probabilities)(n);
        for (ptrdiff_t j = pick(4); j > 0; --j) p[pick(n)] = (REAL)strange[pick(6)];
        must_equal("count", n, (double)ours->count_outside(p, n, 1.0, &nans[0]),
                   (double)scalar->count_outside(p, n, 1.0, &nans[1]));
        must_equal("NaNs", n, (double)nans[0], (double)nans[1]);
    }
}

static void NAME(check_row_sum)(const KERNELS *ours, const KERNELS *scalar) {
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i);
        double rest[2];
        REAL *p = NAME(draw_probabilities)(n);
        if (pick(8) == 0) p[pick(n)] = NAN;
        NAME(compare)("", n, ours->row_sum(p, n, &rest[0]), scalar->row_sum(p, n, &rest[1]), 0.0);
    }
}

static void NAME(check_row_fill)(const KERNELS *ours, const KERNELS *scalar) {
    REAL *out[] = {NAME(got).out, NAME(wanted).out};
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), shift = pick(4);
        NAME(clear)(out[0], out[1]);
        ours->row_fill(out[0] + shift, n, 0.1);
        scalar->row_fill(out[1] + shift, n, 0.1);
        NAME(compare_all)("", n, out[0], out[1]);
    }
}

static void NAME(check_row_mass)(const KERNELS *ours, const KERNELS *scalar) {
    static const double refused[] = {-0.5, NAN, INFINITY};
    for (int i = 0; i < 4 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 4);
        REAL *y = NAME(draw_targets)(n);
        fx_mass got, wanted;
        if (pick(6) == 0) y[pick(n)] = (REAL)refused[pick(3)];
        ours->row_mass(y, n, &got);
        scalar->row_mass(y, n, &wanted);
        must_equal("refused", n, got.refused, wanted.refused);
        if (wanted.refused) continue;
        must_equal("count", n, (double)got.count, (double)wanted.count);
        if (wanted.count == 1) must_equal("last", n, (double)got.last, (double)wanted.last);
        NAME(compare)("sum", n, got.sum, wanted.sum, 0.0);
    }
}

/* A row of positive probabilities, to be divided by their sum or not. */
static fx_simplex NAME(draw_simplex)(REAL *p, ptrdiff_t n) {
    fx_simplex of = {.half = INFINITY, .high = INFINITY, .at_low = INFINITY};
    double total = 0.0;
    int power;
    if (pick(2)) {
        for (ptrdiff_t j = 0; j < n; ++j) total += (double)(p[j] += (REAL)1e-3);
        if (pick(3) == 0) total += (double)(p[pick(n)] = (REAL)total);
        frexp(total, &power);
        of.shift = power - 1;
        of.log_total = log(ldexp(total, 1 - power));
        of.half = 0.5 * total;
    }
    if (pick(3) == 0) {
        of.low = 0x1p-7;
        of.high = 1.0 - of.low;
        of.at_low = -log(of.low);
        of.at_high = -log1p(-of.low);
        if (total > 0.0) {
            of.low *= total;
            of.high *= total;
        }
    }
    return of;
}

static void NAME(check_row_surprisal)(const KERNELS *ours, const KERNELS *scalar) {
    for (int i = 0; i < 8 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 8);
        REAL *p = NAME(draw_probabilities)(n), *y = pick(2) ? NAME(draw_targets)(n) : NULL;
        int evenly = !y || pick(2);
        fx_simplex of = NAME(draw_simplex)(p, n);
        fx_surprisal got, wanted;
        ours->row_surprisal(p, y, n, evenly, &of, &got);
        scalar->row_surprisal(p, y, n, evenly, &of, &wanted);
        must_equal("top", n, (double)got.top, (double)wanted.top);
        must_equal("count", n, (double)got.inside_count, (double)wanted.inside_count);
        NAME(compare)("sum", n, got.sum, wanted.sum, 0.0);
        NAME(compare)("even", n, got.even, wanted.even, 0.0);
        NAME(compare)("inside", n, got.inside, wanted.inside, 0.0);
    }
}

static void NAME(check_row_slope)(const KERNELS *ours, const KERNELS *scalar) {
    REAL *grad[] = {NAME(got).out, NAME(wanted).out};
    static REAL hess[2][SIZE];
    for (int i = 0; i < 8 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 8);
        REAL *p = NAME(draw_probabilities)(n), *y = pick(2) ? NAME(draw_targets)(n) : NULL;
        int wanted = (int)pick(4);
        fx_slope of = {.kept = uniform(), .mixed = pick(2) ? 0.0 : 0.1, .high = INFINITY};
        if (pick(2)) {
            of.offset = uniform();
            of.bend = uniform();
            of.shift = (double)-pick(40);
        }
        if (pick(3) == 0) {
            of.low = 0x1p-7;
            of.high = 1.0 - of.low;
        }
        NAME(clear)(grad[0], grad[1]);
        NAME(clear)(hess[0], hess[1]);
        for (int k = 0; k < 2; ++k)
            (k ? scalar : ours)->row_slope(p, y, n, &of, wanted & 1 ? grad[k] : NULL, wanted & 2 ? hess[k] : NULL);
        for (ptrdiff_t j = 0; j < SIZE; ++j) {
            NAME(compare)("gradient", n, (double)grad[0][j], (double)grad[1][j], ldexp(of.offset, -(int)of.shift));
            NAME(compare)("curvature", n, (double)hess[0][j], (double)hess[1][j], ldexp(of.bend, -2 * (int)of.shift));
        }
    }
}
