/* Gradients that go past the caches, of floats: doubles take so long to compute that nothing is gained. */

/* Numbers on their way to memory. They are collected until cache lines are full, for only those go there at once; rows begin
   and end within lines. */
#define FX_LINE 16
#define FX_COLLECTED (64 * FX_LINE)
typedef struct {
    float *to; /* where collected[0] belongs */
    ptrdiff_t first, filled;
    _Alignas(64) float collected[FX_COLLECTED];
} f32_collector;

/* What is collected goes out: all of it, or whole lines. */
static FX_NOINLINE void f32k_flush(f32_collector *s, int all) {
    ptrdiff_t i = s->first;
    for (; i % FX_LINE && i < s->filled; ++i) s->to[i] = s->collected[i];
    for (; i + FX_LINE <= s->filled; i += FX_LINE)
        for (ptrdiff_t j = i; j < i + FX_LINE; j += F32_LANES) f32_stream(s->to + j, f32_load(s->collected + j));
    if (all) {
        for (; i < s->filled; ++i) s->to[i] = s->collected[i];
        return;
    }
    s->to += i;
    s->first = 0;
    s->filled -= i;
    memmove(s->collected, s->collected + i, (size_t)s->filled * sizeof(float));
}

static inline void f32k_begin_stream(f32_collector *s, float *out) {
    s->first = s->filled = (ptrdiff_t)((uintptr_t)out % 64 / sizeof(float));
    s->to = out - s->first;
}

/* Room for so many of n numbers: a line at least. */
static inline ptrdiff_t f32k_make_room(f32_collector *s, ptrdiff_t n) {
    if (s->filled > FX_COLLECTED - FX_LINE) f32k_flush(s, 0);
    return n < FX_COLLECTED - s->filled ? n : FX_COLLECTED - s->filled;
}

/* rows_scale and rows_put for rows one behind the other that will not be read soon. */
static void f32k_rows_stream(const float *e, ptrdiff_t rows, ptrdiff_t n, const double *factor, const double *offset,
                             const ptrdiff_t *label, const double *at_label, float *out) {
    f32_collector s;
    f32k_begin_stream(&s, out);
    for (ptrdiff_t i = 0; i < rows; ++i) {
        f32_scaling by = f32_scale_by(factor[i], offset ? offset[i] : 0.0);
        for (ptrdiff_t j = 0, k; j < n; j += k) {
            k = f32k_make_room(&s, n - j);
            float *to = s.collected + s.filled;
            f32k_scale_row(e + i * n + j, k, &by, 1, offset != NULL, to);
            if (label[i] >= j && label[i] < j + k) to[label[i] - j] = (float)at_label[i];
            s.filled += k;
        }
    }
    f32k_flush(&s, 1);
}

/* row_exp_scaled for a row, or a part of one, that will not be read soon. */
static void f32k_row_exp_stream(const float *x, ptrdiff_t n, const fx_rows *of, double factor, float *out) {
    f32_scaling by = f32_scale_by(factor, 0.0);
    f32_collector s;
    f32k_begin_stream(&s, out);
    for (ptrdiff_t j = 0, k; j < n; j += k) {
        k = f32k_make_room(&s, n - j);
        f32k_exp_scaled(x + j, k, of, &by, s.collected + s.filled, 0);
        s.filled += k;
    }
    f32k_flush(&s, 1);
}
