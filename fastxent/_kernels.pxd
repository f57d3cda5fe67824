# The function table of the kernels, and wrappers that pick the element type: the only place that says f32 or f64.
from libc.stdint cimport int64_t, uint8_t, uint16_t

cdef extern from "kernels.h" nogil:
    Py_ssize_t FX_FEW(size_t size)
    double FX_MARGIN_UNIT(size_t size)
    Py_ssize_t FX_FEW_SIZE(Py_ssize_t rows, Py_ssize_t n)

    ctypedef struct fx_transform:
        double scale
        double scale_rest
        double cap
        int loose

    ctypedef struct fx_rows:
        double *max
        double *max_low
        double *ties
        double *others
        double *rest
        double *stored
        double *stored_rest
        double *margins
        double *margins_rest
        double *classes
        int max_given
        int coarse
        int precise
        const fx_transform *by
        const uint8_t *left_out
        Py_ssize_t left_out_stride
        int near
        Py_ssize_t long_from
        const void *next
        Py_ssize_t next_stride

    Py_ssize_t fx_part_size(Py_ssize_t start, Py_ssize_t n)
    double fx_larger(double max, double more)
    void fx_fence()
    void fx_ask_for(const char *start, Py_ssize_t bytes)
    Py_ssize_t fx_streamed_from()
    bint fx_fetches_near()
    Py_ssize_t fx_long_from()
    bint fx_is_long(Py_ssize_t n, const fx_rows *of)

    enum:
        FX_PART
        FX_DONE
        FX_WHOLE
        FX_OWN

    ctypedef struct fx_part:
        double top

    ctypedef struct fx_hard:
        const double *weight
        const double *mass
        const double *score
        const double *margin
        double scale
        double scale_rest
        double *loss
        double *factor
        double *at_label

    ctypedef struct fx_target:
        double sum
        double margin
        double sum_rest
        double margin_rest
        Py_ssize_t count
        Py_ssize_t last
        int refused

    ctypedef struct fx_sigmoid:
        double scale
        double smoothing
        double gamma
        double pos_weight
        double neg_weight
        const double *pos_weights
        const double *neg_weights

    ctypedef struct fx_binary:
        double scale
        double smoothing
        double pos_weight
        double low
        double at_low
        double at_low_rest
        double at_high
        double at_high_rest

    ctypedef struct fx_mass:
        double sum
        double rest
        Py_ssize_t count
        Py_ssize_t last
        int refused

    ctypedef struct fx_simplex:
        double shift
        double log_total
        double log_total_rest
        double half
        double low
        double high
        double at_low
        double at_high
        double at_low_rest
        double at_high_rest

    ctypedef struct fx_surprisal:
        double sum
        double sum_rest
        double even
        double even_rest
        double inside
        double inside_rest
        Py_ssize_t inside_count
        Py_ssize_t top

    ctypedef struct fx_slope:
        double kept
        double mixed
        double offset
        double bend
        double shift
        double low
        double high

    ctypedef struct fx_entries:
        const void *indices
        int wide
        Py_ssize_t count

    ctypedef struct fx_f32_kernels:
        void (*rows_expsum)(const float *, const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, float *, Py_ssize_t,
                            const fx_rows *) noexcept nogil
        double (*row_max)(const float *, Py_ssize_t) noexcept nogil
        void (*row_part)(const float *, const float *, Py_ssize_t, float *, int, const fx_rows *,
                         fx_part *) noexcept nogil
        int (*row_end)(const fx_part *, Py_ssize_t, Py_ssize_t, int, int, const fx_rows *) noexcept nogil
        void (*rows_pick)(const float *, Py_ssize_t, Py_ssize_t, const Py_ssize_t *, double *) noexcept nogil
        void (*rows_put)(float *, Py_ssize_t, Py_ssize_t, const Py_ssize_t *, const double *) noexcept nogil
        void (*rows_transform)(const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const fx_transform *, const float *,
                               const float *, const uint8_t *, Py_ssize_t, float *, float *, float *, float *, double *,
                               double *) noexcept nogil
        double (*row_moment)(const float *, const float *, Py_ssize_t, const fx_transform *, double,
                             double) noexcept nogil
        double (*row_stored_moment)(const float *, const float *, const float *, Py_ssize_t, const fx_transform *,
                                    double, double) noexcept nogil
        void (*rows_scale)(const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                           const double *, float *, Py_ssize_t) noexcept nogil
        void (*row_exp_scaled)(const float *, Py_ssize_t, const fx_rows *, double, float *) noexcept nogil
        void (*rows_curvature)(const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                               const double *, const double *, const double *, float *,
                               Py_ssize_t) noexcept nogil
        void (*rows_subtract_max)(const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                                  const double *, float *, Py_ssize_t) noexcept nogil
        void (*row_target)(const float *, const float *, const float *, Py_ssize_t, double, double,
                           fx_target *) noexcept nogil
        void (*row_subtract)(float *, const float *, Py_ssize_t, double) noexcept nogil
        void (*row_scale_less)(const float *, const float *, Py_ssize_t, double, const double *, double,
                               float *) noexcept nogil
        int (*row_refused)(const float *, Py_ssize_t) noexcept nogil
        double (*row_dot)(const float *, const float *, Py_ssize_t) noexcept nogil
        void (*row_product)(const float *, const float *, Py_ssize_t, double, double, float *) noexcept nogil
        void (*transpose)(const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, float *, Py_ssize_t) noexcept nogil
        void (*row_chain)(float *, float *, const float *, const float *, Py_ssize_t) noexcept nogil
        void (*expit)(const float *, float *, Py_ssize_t) noexcept nogil
        void (*log_expit)(const float *, float *, Py_ssize_t) noexcept nogil
        double (*sigmoid_loss)(const float *, const float *, Py_ssize_t, const fx_sigmoid *, const float *,
                               float *, float *, float *, Py_ssize_t *) noexcept nogil
        double (*binary_loss)(const float *, const float *, Py_ssize_t, const fx_binary *, const double *,
                              const float *, float *, float *, float *, Py_ssize_t *) noexcept nogil
        Py_ssize_t (*count_outside)(const float *, Py_ssize_t, double, Py_ssize_t *) noexcept nogil
        double (*row_sum)(const float *, Py_ssize_t, double *) noexcept nogil
        void (*row_fill)(float *, Py_ssize_t, double) noexcept nogil
        void (*row_mass)(const float *, Py_ssize_t, fx_mass *) noexcept nogil
        void (*row_surprisal)(const float *, const float *, Py_ssize_t, int, const fx_simplex *,
                              fx_surprisal *) noexcept nogil
        void (*row_slope)(const float *, const float *, Py_ssize_t, const fx_slope *, float *,
                          float *) noexcept nogil
        void (*row_gather)(const fx_entries *, const float *, const float *, Py_ssize_t, float *) noexcept nogil
        void (*row_scatter)(const fx_entries *, const float *, Py_ssize_t, Py_ssize_t, const float *, Py_ssize_t,
                            float *) noexcept nogil
        void (*rows_stream)(const float *, Py_ssize_t, Py_ssize_t, const double *, const double *,
                            const Py_ssize_t *, const double *, float *) noexcept nogil
        void (*row_exp_stream)(const float *, Py_ssize_t, const fx_rows *, double, float *) noexcept nogil
        void (*from_f16)(const uint16_t *, float *, Py_ssize_t) noexcept nogil
        void (*to_f16)(const float *, uint16_t *, Py_ssize_t) noexcept nogil
        void (*from_bf16)(const uint16_t *, float *, Py_ssize_t) noexcept nogil
        void (*to_bf16)(const float *, uint16_t *, Py_ssize_t) noexcept nogil

    ctypedef struct fx_f64_kernels:
        void (*rows_expsum)(const double *, const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, double *, Py_ssize_t,
                            const fx_rows *) noexcept nogil
        double (*row_max)(const double *, Py_ssize_t) noexcept nogil
        void (*row_part)(const double *, const double *, Py_ssize_t, double *, int, const fx_rows *,
                         fx_part *) noexcept nogil
        int (*row_end)(const fx_part *, Py_ssize_t, Py_ssize_t, int, int, const fx_rows *) noexcept nogil
        void (*rows_pick)(const double *, Py_ssize_t, Py_ssize_t, const Py_ssize_t *, double *) noexcept nogil
        void (*rows_put)(double *, Py_ssize_t, Py_ssize_t, const Py_ssize_t *, const double *) noexcept nogil
        void (*rows_transform)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const fx_transform *, const double *,
                               const double *, const uint8_t *, Py_ssize_t, double *, double *, double *, double *,
                               double *, double *) noexcept nogil
        double (*row_moment)(const double *, const double *, Py_ssize_t, const fx_transform *, double,
                             double) noexcept nogil
        double (*row_stored_moment)(const double *, const double *, const double *, Py_ssize_t, const fx_transform *,
                                    double, double) noexcept nogil
        void (*rows_scale)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                           const double *, double *, Py_ssize_t) noexcept nogil
        void (*row_exp_scaled)(const double *, Py_ssize_t, const fx_rows *, double, double *) noexcept nogil
        void (*rows_curvature)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                               const double *, const double *, const double *, double *,
                               Py_ssize_t) noexcept nogil
        void (*rows_subtract_max)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                                  const double *, double *, Py_ssize_t) noexcept nogil
        void (*row_target)(const double *, const double *, const double *, Py_ssize_t, double, double,
                           fx_target *) noexcept nogil
        void (*row_subtract)(double *, const double *, Py_ssize_t, double) noexcept nogil
        void (*row_scale_less)(const double *, const double *, Py_ssize_t, double, const double *, double,
                               double *) noexcept nogil
        int (*row_refused)(const double *, Py_ssize_t) noexcept nogil
        double (*row_dot)(const double *, const double *, Py_ssize_t) noexcept nogil
        void (*row_product)(const double *, const double *, Py_ssize_t, double, double, double *) noexcept nogil
        void (*transpose)(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, double *, Py_ssize_t) noexcept nogil
        void (*row_chain)(double *, double *, const double *, const double *, Py_ssize_t) noexcept nogil
        void (*expit)(const double *, double *, Py_ssize_t) noexcept nogil
        void (*log_expit)(const double *, double *, Py_ssize_t) noexcept nogil
        double (*sigmoid_loss)(const double *, const double *, Py_ssize_t, const fx_sigmoid *,
                               const double *, double *, double *, double *, Py_ssize_t *) noexcept nogil
        double (*binary_loss)(const double *, const double *, Py_ssize_t, const fx_binary *, const double *,
                              const double *, double *, double *, double *, Py_ssize_t *) noexcept nogil
        Py_ssize_t (*count_outside)(const double *, Py_ssize_t, double, Py_ssize_t *) noexcept nogil
        double (*row_sum)(const double *, Py_ssize_t, double *) noexcept nogil
        void (*row_fill)(double *, Py_ssize_t, double) noexcept nogil
        void (*row_mass)(const double *, Py_ssize_t, fx_mass *) noexcept nogil
        void (*row_surprisal)(const double *, const double *, Py_ssize_t, int, const fx_simplex *,
                              fx_surprisal *) noexcept nogil
        void (*row_slope)(const double *, const double *, Py_ssize_t, const fx_slope *, double *,
                          double *) noexcept nogil
        void (*row_gather)(const fx_entries *, const double *, const double *, Py_ssize_t, double *) noexcept nogil
        void (*row_scatter)(const fx_entries *, const double *, Py_ssize_t, Py_ssize_t, const double *, Py_ssize_t,
                            double *) noexcept nogil
        int (*any_beyond)(const int64_t *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*log)(const double *, double *, double *, Py_ssize_t) noexcept nogil
        void (*exp)(const double *, double *, Py_ssize_t) noexcept nogil
        void (*log1p)(const double *, double *, double *, Py_ssize_t) noexcept nogil
        void (*rows_log_total)(Py_ssize_t, const fx_rows *, double *, double *) noexcept nogil
        void (*hard_figures)(Py_ssize_t, const fx_rows *, const double *, const double *,
                             const fx_hard *) noexcept nogil
        double (*sum)(const double *, Py_ssize_t, double *rest) noexcept nogil

    ctypedef struct fx_table:
        const char *isa
        int streams
        fx_f32_kernels f32
        fx_f64_kernels f64

    int fx_tables(const fx_table **tables, int room)

ctypedef fused real:
    float
    double

ctypedef const fx_table *Table

# Chosen at import and by set_isa(); read it once per call.
cdef Table active

# Results of so many bytes are streamed, if the table has stores for it.
cdef Py_ssize_t streamed_from

# Whether short rows ask for the next one's scores alone, and which rows are long.
cdef bint fetches_near
cdef Py_ssize_t long_from

# How many threads to use for `work` elements: what was asked for (0: the default), less where work is small.
cdef int threads_for(object n_threads, Py_ssize_t work) except -1

cdef extern from "threads.h" nogil:
    double fx_clock()
    double fx_busy_clock()
    long fx_preemptions()

cdef extern from "team.h" nogil:
    ctypedef struct fx_hand:
        pass
    void fx_deal(fx_hand *hands, int threads, ptrdiff_t items)
    ptrdiff_t fx_take(fx_hand *hands, int threads, int thread)

# Several threads that go through items, under watch: when they began, how long the thread that called had been busy by
# then, and when it found nothing more to do. Where another library's threads spin or other processes compute, a thread
# that finds no processor comes late to a loop that all others have finished, and all others wait for it; or the one
# that called loses its own.
cdef struct Team:
    fx_hand own
    fx_hand *hands
    void *memory
    int threads
    int within                 # threads that its one thread starts within each item, or 1
    Py_ssize_t work
    bint watched
    double began
    double busy
    double done
    long preemptions

# Deals out the items, `work` elements in all. Raises MemoryError if the memory that the caller has just asked for is
# NULL, and frees it if there is none for the team.
cdef int start_team(Team *team, int threads, Py_ssize_t items, Py_ssize_t work, void *memory) except -1

# For a team of one thread that starts others within each item.
cdef void watch_within(Team *team, int threads) noexcept nogil

# Of the thread that called, which takes items otherwise than by next_item.
cdef inline void nothing_left(Team *team) noexcept nogil:
    team.done = fx_clock()


cdef inline Py_ssize_t next_item(Team *team, int thread) noexcept nogil:
    """The next item of the thread, of which 0 is the one that called; -1 if there is none."""
    cdef Py_ssize_t item = fx_take(team.hands, team.threads, thread)
    if item < 0 and thread == 0:
        nothing_left(team)
    return item

# Once for every team; remembers for threads_for whether a thread was late.
cdef void end_team(const Team *team) noexcept nogil


cdef inline double sum_of(Table k, const double *x, Py_ssize_t n) noexcept nogil:
    cdef double rest
    return k.f64.sum(x, n, &rest)


cdef inline void rows_expsum(Table k, const real *x, const real *low, Py_ssize_t stride, Py_ssize_t rows,
                             Py_ssize_t n, real *e, Py_ssize_t e_stride, const fx_rows *out) noexcept nogil:
    if real is float:
        k.f32.rows_expsum(x, low, stride, rows, n, e, e_stride, out)
    else:
        k.f64.rows_expsum(x, low, stride, rows, n, e, e_stride, out)


cdef inline double row_max(Table k, const real *x, Py_ssize_t n) noexcept nogil:
    if real is float:
        return k.f32.row_max(x, n)
    else:
        return k.f64.row_max(x, n)


cdef inline void row_part(Table k, const real *x, const real *low, Py_ssize_t n, real *e, int how, const fx_rows *of,
                          fx_part *out) noexcept nogil:
    if real is float:
        k.f32.row_part(x, low, n, e, how, of, out)
    else:
        k.f64.row_part(x, low, n, e, how, of, out)


cdef inline int row_end(Table k, const fx_part *parts, Py_ssize_t count, Py_ssize_t n, int how, bint stored,
                        const fx_rows *of, const real *like) noexcept nogil:
    if real is float:
        return k.f32.row_end(parts, count, n, how, stored, of)
    else:
        return k.f64.row_end(parts, count, n, how, stored, of)


cdef inline void rows_pick(Table k, const real *x, Py_ssize_t stride, Py_ssize_t rows, const Py_ssize_t *label,
                           double *out) noexcept nogil:
    if real is float:
        k.f32.rows_pick(x, stride, rows, label, out)
    else:
        k.f64.rows_pick(x, stride, rows, label, out)


cdef inline void rows_put(Table k, real *out, Py_ssize_t stride, Py_ssize_t rows, const Py_ssize_t *label,
                          const double *value) noexcept nogil:
    if real is float:
        k.f32.rows_put(out, stride, rows, label, value)
    else:
        k.f64.rows_put(out, stride, rows, label, value)


cdef inline void rows_transform(Table k, const real *x, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n,
                                const fx_transform *by, const real *bias, const real *bias_low,
                                const uint8_t *left_out, Py_ssize_t left_out_stride, real *high, real *low,
                                real *slope, real *bend, double *max, double *max_low) noexcept nogil:
    if real is float:
        k.f32.rows_transform(x, stride, rows, n, by, bias, bias_low, left_out, left_out_stride, high, low, slope, bend,
                             max, max_low)
    else:
        k.f64.rows_transform(x, stride, rows, n, by, bias, bias_low, left_out, left_out_stride, high, low, slope, bend,
                             max, max_low)


cdef inline double row_moment(Table k, const real *x, const real *low, Py_ssize_t n, const fx_transform *by,
                              double max, double max_low) noexcept nogil:
    if real is float:
        return k.f32.row_moment(x, low, n, by, max, max_low)
    else:
        return k.f64.row_moment(x, low, n, by, max, max_low)


cdef inline double row_stored_moment(Table k, const real *e, const real *x, const real *low, Py_ssize_t n,
                                     const fx_transform *by, double max, double max_low) noexcept nogil:
    if real is float:
        return k.f32.row_stored_moment(e, x, low, n, by, max, max_low)
    else:
        return k.f64.row_stored_moment(e, x, low, n, by, max, max_low)


cdef inline void rows_scale(Table k, const real *e, Py_ssize_t e_stride, Py_ssize_t rows, Py_ssize_t n,
                            const double *factor, const double *offset, real *out,
                            Py_ssize_t stride) noexcept nogil:
    if real is float:
        k.f32.rows_scale(e, e_stride, rows, n, factor, offset, out, stride)
    else:
        k.f64.rows_scale(e, e_stride, rows, n, factor, offset, out, stride)


cdef inline void row_exp_scaled(Table k, const real *x, Py_ssize_t n, const fx_rows *of, double factor,
                                real *out) noexcept nogil:
    if real is float:
        k.f32.row_exp_scaled(x, n, of, factor, out)
    else:
        k.f64.row_exp_scaled(x, n, of, factor, out)


cdef inline void rows_curvature(Table k, const real *e, Py_ssize_t e_stride, Py_ssize_t rows, Py_ssize_t n,
                                const double *inverse, const double *not_top, const double *factor,
                                const double *root, real *out, Py_ssize_t stride) noexcept nogil:
    if real is float:
        k.f32.rows_curvature(e, e_stride, rows, n, inverse, not_top, factor, root, out, stride)
    else:
        k.f64.rows_curvature(e, e_stride, rows, n, inverse, not_top, factor, root, out, stride)


cdef inline void rows_subtract_max(Table k, const real *x, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n,
                                   const double *max, const double *log_total, real *out,
                                   Py_ssize_t out_stride) noexcept nogil:
    if real is float:
        k.f32.rows_subtract_max(x, stride, rows, n, max, log_total, out, out_stride)
    else:
        k.f64.rows_subtract_max(x, stride, rows, n, max, log_total, out, out_stride)


cdef inline void row_target(Table k, const real *y, const real *x, const real *low, Py_ssize_t n, double max,
                            double max_low, fx_target *out) noexcept nogil:
    if real is float:
        k.f32.row_target(y, x, low, n, max, max_low, out)
    else:
        k.f64.row_target(y, x, low, n, max, max_low, out)


cdef inline void row_subtract(Table k, real *out, const real *y, Py_ssize_t n, double weight) noexcept nogil:
    if real is float:
        k.f32.row_subtract(out, y, n, weight)
    else:
        k.f64.row_subtract(out, y, n, weight)


cdef inline void row_scale_less(Table k, const real *e, const real *y, Py_ssize_t n, double factor,
                                const double *offset, double weight, real *out) noexcept nogil:
    if real is float:
        k.f32.row_scale_less(e, y, n, factor, offset, weight, out)
    else:
        k.f64.row_scale_less(e, y, n, factor, offset, weight, out)


cdef inline int row_refused(Table k, const real *y, Py_ssize_t n) noexcept nogil:
    if real is float:
        return k.f32.row_refused(y, n)
    else:
        return k.f64.row_refused(y, n)


cdef inline double row_dot(Table k, const real *y, const real *weight, Py_ssize_t n) noexcept nogil:
    if real is float:
        return k.f32.row_dot(y, weight, n)
    else:
        return k.f64.row_dot(y, weight, n)


cdef inline void row_product(Table k, const real *p, const real *v, Py_ssize_t n, double factor, double offset,
                             real *out) noexcept nogil:
    if real is float:
        k.f32.row_product(p, v, n, factor, offset, out)
    else:
        k.f64.row_product(p, v, n, factor, offset, out)


cdef inline void transpose(Table k, const real *x, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n, real *out,
                           Py_ssize_t out_stride) noexcept nogil:
    if real is float:
        k.f32.transpose(x, stride, rows, n, out, out_stride)
    else:
        k.f64.transpose(x, stride, rows, n, out, out_stride)


cdef inline void row_chain(Table k, real *grad, real *hess, const real *slope, const real *bend,
                           Py_ssize_t n) noexcept nogil:
    if real is float:
        k.f32.row_chain(grad, hess, slope, bend, n)
    else:
        k.f64.row_chain(grad, hess, slope, bend, n)


cdef inline void row_expit(Table k, const real *x, real *out, Py_ssize_t n) noexcept nogil:
    if real is float:
        k.f32.expit(x, out, n)
    else:
        k.f64.expit(x, out, n)


cdef inline void row_log_expit(Table k, const real *x, real *out, Py_ssize_t n) noexcept nogil:
    if real is float:
        k.f32.log_expit(x, out, n)
    else:
        k.f64.log_expit(x, out, n)


cdef inline double sigmoid_loss(Table k, const real *x, const real *y, Py_ssize_t n, const fx_sigmoid *options,
                                const real *weight, real *loss, real *grad, real *hess,
                                Py_ssize_t *refused) noexcept nogil:
    if real is float:
        return k.f32.sigmoid_loss(x, y, n, options, weight, loss, grad, hess, refused)
    else:
        return k.f64.sigmoid_loss(x, y, n, options, weight, loss, grad, hess, refused)


cdef inline double binary_loss(Table k, const real *p, const real *y, Py_ssize_t n, const fx_binary *options,
                               const double *positive, const real *weight, real *loss, real *grad, real *hess,
                               Py_ssize_t *refused) noexcept nogil:
    if real is float:
        return k.f32.binary_loss(p, y, n, options, positive, weight, loss, grad, hess, refused)
    else:
        return k.f64.binary_loss(p, y, n, options, positive, weight, loss, grad, hess, refused)


cdef inline Py_ssize_t count_outside(Table k, const real *x, Py_ssize_t n, double most,
                                     Py_ssize_t *nans) noexcept nogil:
    if real is float:
        return k.f32.count_outside(x, n, most, nans)
    else:
        return k.f64.count_outside(x, n, most, nans)


cdef inline double row_sum(Table k, const real *x, Py_ssize_t n, double *rest) noexcept nogil:
    if real is float:
        return k.f32.row_sum(x, n, rest)
    else:
        return k.f64.row_sum(x, n, rest)


cdef inline void row_fill(Table k, real *out, Py_ssize_t n, double value) noexcept nogil:
    if real is float:
        k.f32.row_fill(out, n, value)
    else:
        k.f64.row_fill(out, n, value)


cdef inline void row_mass(Table k, const real *y, Py_ssize_t n, fx_mass *out) noexcept nogil:
    if real is float:
        k.f32.row_mass(y, n, out)
    else:
        k.f64.row_mass(y, n, out)


cdef inline void row_surprisal(Table k, const real *p, const real *y, Py_ssize_t n, int evenly,
                               const fx_simplex *of, fx_surprisal *out) noexcept nogil:
    if real is float:
        k.f32.row_surprisal(p, y, n, evenly, of, out)
    else:
        k.f64.row_surprisal(p, y, n, evenly, of, out)


cdef inline void row_slope(Table k, const real *p, const real *y, Py_ssize_t n, const fx_slope *of, real *grad,
                           real *hess) noexcept nogil:
    if real is float:
        k.f32.row_slope(p, y, n, of, grad, hess)
    else:
        k.f64.row_slope(p, y, n, of, grad, hess)


cdef inline void row_gather(Table k, const fx_entries *of, const real *values, const real *dense, Py_ssize_t n,
                            real *out) noexcept nogil:
    if real is float:
        k.f32.row_gather(of, values, dense, n, out)
    else:
        k.f64.row_gather(of, values, dense, n, out)


cdef inline void row_scatter(Table k, const fx_entries *of, const real *values, Py_ssize_t first, Py_ssize_t last,
                             const real *x, Py_ssize_t n, real *dense) noexcept nogil:
    if real is float:
        k.f32.row_scatter(of, values, first, last, x, n, dense)
    else:
        k.f64.row_scatter(of, values, first, last, x, n, dense)
