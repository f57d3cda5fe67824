"""Row loops of the softmax family.

Rows are taken in chunks; losses are added up by rows whose number depends on the number of classes and the element
type alone, so that neither chunks nor the number of threads nor their order shows in a result.
A chunk is taken through these steps:

1.  its rows, directly or as a copy in the computing type; with a soft cap, bias, temperature or mask the scores that
    come of them, as sums of two numbers, so that no digit is lost on the way (`rows_transform`);
2.  `rows_expsum`: the largest score, how often it occurs, the sum of exponentials of all others; the exponentials
    themselves are stored where the gradient will stand (few classes, or output that is not writable row by row:
    in scratch memory);
3.  for every row its targets, by gathering: with the head (`_heads.pxd`: a function of -log p) they decide the loss
    and its derivatives. With A = sum_i y_i f'(nll_i) and B = sum_i y_i f''(nll_i) the gradient is A p_i - y_i f'_i, the
    Hessian's diagonal A p_i (1 - p_i) + B p_i^2 + y_i f''_i (1 - 2 p_i);
4.  `rows_scale` turns exponentials into gradients, `rows_curvature` into the Hessian's diagonal; targets are
    scattered into them or subtracted.

A hard target (a label, or the only nonzero entry of a row) goes one way, whatever form it came in: labels, one-hot
rows and one-hot CSR rows give the same bits. A soft one needs sums over its entries alone where the head is
cross-entropy, and the head for every class otherwise.
"""
from cython.parallel cimport prange, threadid
from libc.float cimport DBL_MAX
from libc.math cimport INFINITY, exp, expm1, fabs, isfinite, pow, sqrt
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cimport numpy as cnp
import numpy as np

from fastxent._arrays cimport (FLOAT32, FLOAT64, INT32, INT64, UINT64, Integers, Rows, Sparse, direct_rows,
                               integers_of, is_direct, read_integer, read_rows, rows_of, sparse_of, write_rows)
from fastxent._heads cimport NOT_P, P, Head, extended, head_of, wide
from fastxent._kernels cimport (FX_FEW, FX_MARGIN_UNIT, Table, Team, active, end_team, fetches_near, fx_ask_for,
                                fx_fence, fx_hard, fx_is_long, fx_part, fx_rows, fx_target, fx_transform, long_from,
                                next_item, real, row_chain, row_dot, row_moment, row_product, row_refused,
                                row_scale_less, row_stored_moment, row_subtract, row_target, rows_curvature,
                                rows_expsum, rows_pick, rows_put, rows_scale, rows_transform, start_team,
                                streamed_from, threads_for, watch_within)
from fastxent._memory cimport empty
from fastxent._parts cimport FX_PART, expsum_row, part_size, parts_of, scale_anew, scale_row, threads_within
from fastxent._rows cimport align, block_size, chunk_rows, mean_of, summed_rows

cdef extern from "<math.h>" nogil:
    extended expl(extended)
    extended expm1l(extended)
    extended log1pl(extended)
    extended powl(extended, extended)
    extended sqrtl(extended)
    extended fabsl(extended)

cnp.import_array()

# ---- calls ------------------------------------------------------------------------------------------------

cdef enum Kind:
    LABELS, DENSE, CSR

# Everything that the threads of one call read.
cdef struct Call:
    Table kernels
    Head head
    bint linear                # the head is cross-entropy
    bint double_scores
    bint plain                 # and there is neither smoothing nor z-loss nor a second part of the scores
    const double *alpha        # factors of the targets, class by class, or NULL
    double smoothing
    double z_loss
    Py_ssize_t n
    Py_ssize_t classes
    Py_ssize_t chunk
    Py_ssize_t summed
    int within                 # threads that take one row together, or 1
    Rows scores
    bint transformed
    bint paired
    bint only_scaled           # nothing but a temperature, which may be 1, and a mask changes scores
    fx_transform transform
    const void *bias
    const void *bias_low
    bint has_left_out
    Rows left_out
    Kind kind
    Integers labels
    Rows dense
    Sparse sparse
    bint has_ignored
    long long ignored
    const double *weights
    double scale
    double scale_rest          # what that rounds off
    bint has_grad
    bint has_hess
    bint in_place
    bint folded                # scores are multiplied, or else left out, as their exponentials are made
    bint streamed              # gradients are too large to stay in a cache until they are read
    Rows grad
    Rows hess
    bint has_vector            # `grad` is to hold the product of the Hessian and the vector
    Rows vector
    void *losses
    Py_ssize_t sums            # of `summed` losses each
    double *partial            # these, then what each rounds off
    double *temperature
    bint refused

# Per-row figures of a chunk, and room for rows; one of these for each thread.
cdef struct Scratch:
    fx_rows stats
    bint anew                  # exponentials are not stored, but made once more for the gradient
    fx_hard hard
    fx_part *parts             # of a row that is taken in parts
    fx_target *targets
    double *tops
    double *tops_low
    double *weight
    double *log_total
    double *log_rest           # what that rounds off
    double *margin             # maximum - score of a hard target; sum of y (maximum - score) of a soft one
    double *margin_rest
    double *exp_margin
    double *mass               # sum of y
    double *mass_rest
    double *moment             # mean of maximum - score
    double *loss
    double *factor             # the gradient is factor * exponential + offset, but for the targets
    double *offset
    double *at_label           # of a hard target: the gradient there; of a soft one: what y is multiplied by
    double *curve              # the Hessian's diagonal is made of these, see rows_curvature
    double *inverse
    double *not_top
    double *root
    double *curve_at_label
    double *slope              # A and B above, and what both are multiplied by
    double *bend
    double *curve_scale
    Py_ssize_t *label
    Rows dense                 # targets where they stand, or as copies in `y`
    void *x
    void *e
    void *out
    void *y
    void *high
    void *low
    void *cap_slope
    void *cap_bend
    void *given                # a row of a vector, and what is made of it
    void *vector
    void *soft                 # gradients of soft targets, and their rows of the Hessian
    void *soft_curve
    void *elements             # ELEMENTS rows of the head's arguments
    uint8_t *bytes

cdef enum:
    STREAMED_CLASSES = 1000    # with fewer, nothing is gained: measured
    FAR_APART = 256            # classes for each sparse target, on average, that are worth streaming: measured
    ELEMENTS = 6
    NO_LABEL = -1
    SOFT = -2
    SPREAD = -3                # a soft target that the head was evaluated for, class by class


cdef inline char *take(char **memory, Py_ssize_t size) noexcept nogil:
    cdef char *here = memory[0]
    memory[0] += (size + 63) // 64 * 64
    return here


cdef Py_ssize_t lay_out(const Call *c, Scratch *s, char *memory, Py_ssize_t itemsize) noexcept nogil:
    """Divide one thread's memory, all of it on its own cache lines; returns how much that takes."""
    cdef Py_ssize_t figure = c.chunk * <Py_ssize_t>sizeof(double)
    cdef Py_ssize_t block = block_size(c.chunk, c.classes, itemsize), rows = c.chunk * c.classes * itemsize
    cdef Py_ssize_t parts = parts_of(c.classes)
    cdef bint smoothed = c.smoothing != 0.0
    cdef bint direct = is_direct(&c.dense, <double *>NULL) if itemsize == 8 else is_direct(&c.dense, <float *>NULL)
    cdef char *start = align(memory)
    memory = start
    memset(&s.stats, 0, sizeof(fx_rows))
    s.stats.max = <double *>take(&memory, figure)
    s.stats.max_low = <double *>take(&memory, figure)
    s.stats.ties = <double *>take(&memory, figure)
    s.stats.others = <double *>take(&memory, figure)
    s.stats.rest = <double *>take(&memory, figure)
    s.stats.stored = <double *>take(&memory, figure)
    s.stats.stored_rest = <double *>take(&memory, figure)
    s.stats.margins = <double *>take(&memory, figure)
    s.stats.margins_rest = <double *>take(&memory, figure)
    s.stats.classes = <double *>take(&memory, figure)
    s.log_total = <double *>take(&memory, figure)
    s.log_rest = <double *>take(&memory, figure)
    s.weight = <double *>take(&memory, figure)
    s.margin = <double *>take(&memory, figure)
    s.margin_rest = <double *>take(&memory, figure)
    s.exp_margin = <double *>take(&memory, figure)
    s.mass = <double *>take(&memory, figure)
    s.mass_rest = <double *>take(&memory, figure)
    s.moment = <double *>take(&memory, figure)
    s.loss = <double *>take(&memory, figure)
    s.factor = <double *>take(&memory, figure)
    s.offset = <double *>take(&memory, figure)
    s.at_label = <double *>take(&memory, figure)
    s.curve = <double *>take(&memory, figure)
    s.inverse = <double *>take(&memory, figure)
    s.not_top = <double *>take(&memory, figure)
    s.root = <double *>take(&memory, figure)
    s.curve_at_label = <double *>take(&memory, figure)
    s.slope = <double *>take(&memory, figure)
    s.bend = <double *>take(&memory, figure)
    s.curve_scale = <double *>take(&memory, figure)
    # All that is to say of plain labels are their scores.
    s.hard.weight = s.weight if c.weights != NULL or c.has_ignored or c.kind != LABELS or not c.plain else NULL
    s.hard.mass = s.mass if c.kind != LABELS else NULL
    s.hard.score = s.margin if c.kind == LABELS and c.plain and not c.has_left_out else NULL
    s.hard.margin = s.margin
    s.hard.scale = c.scale
    s.hard.scale_rest = c.scale_rest
    s.hard.loss = s.loss
    s.hard.at_label = s.at_label
    s.stats.max_given = c.transformed and not c.folded
    s.stats.by = &c.transform if c.folded and not c.has_left_out else NULL
    s.stats.coarse = c.plain and not c.double_scores
    s.stats.precise = c.z_loss != 0.0 or c.head.magnifies or (c.double_scores and not c.linear)
    s.stats.near = fetches_near
    s.stats.long_from = long_from
    if not c.paired:
        s.stats.max_low = NULL
    if not smoothed:
        s.stats.margins = s.stats.margins_rest = s.stats.classes = NULL
    s.label = <Py_ssize_t *>take(&memory, c.chunk * sizeof(Py_ssize_t))
    s.parts = <fx_part *>take(&memory, parts * sizeof(fx_part))
    s.targets = <fx_target *>take(&memory, parts * sizeof(fx_target))
    s.tops = <double *>take(&memory, parts * sizeof(double))
    s.tops_low = <double *>take(&memory, parts * sizeof(double))
    # A row that stands by itself may be nearly all the memory there is: nothing is taken that will not be used.
    s.x = take(&memory, block if c.chunk > 1 or c.has_hess or c.has_vector else 0)
    s.anew = fx_is_long(c.classes, &s.stats) and not (c.has_hess or c.has_vector or (c.folded and c.has_left_out))
    s.e = take(&memory, block if c.chunk > 1 or c.transform.cap > 0.0 or ((c.in_place or c.streamed) and not s.anew)
               else 0)
    s.out = take(&memory, block if c.has_grad or c.has_hess else 0)
    s.y = take(&memory, block if c.kind == DENSE and (c.chunk > 1 or not direct) else 0)
    s.given = take(&memory, c.classes * itemsize if c.has_vector else 0)
    s.vector = take(&memory, c.classes * itemsize if c.has_vector else 0)
    if c.transformed:
        s.high = take(&memory, c.chunk * itemsize if c.folded else rows)
        s.low = take(&memory, c.chunk * itemsize if c.folded else rows)
        s.cap_slope = take(&memory, 0 if c.folded else rows)
        s.cap_bend = take(&memory, 0 if c.folded else rows)
        s.bytes = <uint8_t *>take(&memory, c.chunk * c.classes if c.has_left_out else 0)
    if not c.linear:
        s.soft = take(&memory, rows)
        s.soft_curve = take(&memory, rows)
        s.elements = take(&memory, ELEMENTS * c.classes * sizeof(extended))
    return memory - start + 64


cdef inline double below(double max, double score) noexcept nogil:
    """max - score, 0 for the maximum itself even if it is infinite."""
    cdef double margin = max - score
    return 0.0 if max == score else margin


cdef inline extended exactly_below(const Scratch *s, Py_ssize_t i, double score, double low) noexcept nogil:
    """The maximum of row i less score + low, rounded to long double only."""
    cdef double max = s.stats.max[i]
    if max == INFINITY and score == INFINITY:
        return 0.0
    return (<extended>max - score) + (s.stats.max_low[i] - low if s.stats.max_low != NULL else 0.0)


cdef inline extended log_of_total(const Call *c, const Scratch *s, Py_ssize_t i) noexcept nogil:
    """The logarithm of the sum of exponentials relative to the maximum's; for a head of doubles to all its digits."""
    if s.stats.precise and c.double_scores:
        return log1pl(((<extended>s.stats.ties[i] - 1) + s.stats.others[i]) + s.stats.rest[i])
    return <extended>s.log_total[i] + s.log_rest[i]


cdef inline extended largest(const Scratch *s, Py_ssize_t i) noexcept nogil:
    return <extended>s.stats.max[i] + (s.stats.max_low[i] if s.stats.max_low != NULL else 0.0)


cdef inline extended log_sum(const Scratch *s, Py_ssize_t i) noexcept nogil:
    """log sum exp of the scores of a row."""
    return largest(s, i) + (<extended>s.log_total[i] + s.log_rest[i])


cdef inline double rounded_off(extended exact, double value) noexcept nogil:
    return <double>(exact - value) if isfinite(value) else 0.0


cdef inline double nearest(extended exact) noexcept nogil:
    """A double that is finite if the number is: what it lacks is its rest."""
    return DBL_MAX if DBL_MAX < exact < INFINITY else <double>exact


# ---- targets of a chunk -----------------------------------------------------------------------------------

cdef inline bint is_left_out(const Call *c, Py_ssize_t row, Py_ssize_t j) noexcept nogil:
    cdef const Rows *m = &c.left_out
    return (c.has_left_out
            and m.data[(row // m.inner) * m.outer_stride + (row % m.inner) * m.inner_stride + j * m.class_stride] != 0)


cdef inline void set_hard(const Call *c, Scratch *s, Py_ssize_t i, Py_ssize_t label, double mass, double score,
                          double low) noexcept nogil:
    """A hard target, and the margin of its score."""
    cdef extended exact
    s.label[i] = label
    s.mass[i] = mass
    if c.plain:
        s.margin[i] = below(s.stats.max[i], score)
    else:
        exact = exactly_below(s, i, score, low)
        s.margin[i] = nearest(exact)
        s.margin_rest[i] = rounded_off(exact, s.margin[i])


cdef inline void set_soft(Scratch *s, Py_ssize_t i, double mass, double mass_rest, double margin,
                          double margin_rest) noexcept nogil:
    s.label[i] = SOFT
    s.mass[i] = mass
    s.mass_rest[i] = mass_rest
    s.margin[i] = margin
    s.margin_rest[i] = margin_rest


cdef inline const real *dense_row(const Call *c, const Rows *rows, Py_ssize_t row, real *room) noexcept nogil:
    """A row where it stands, or as a copy in `room`."""
    cdef const real *y = direct_rows(rows, row, 1, room)
    if y == NULL:
        read_rows(c.kernels, rows, row, 1, c.classes, room)
        y = room
    return y


cdef inline void add_pair(double *sum, double *rest, double more, double more_rest) noexcept nogil:
    """Add a number and its rest to a sum and its rest."""
    cdef double before = sum[0], rounded
    sum[0] = before + more
    rounded = sum[0] - before
    rest[0] += more_rest
    if isfinite(sum[0]):
        rest[0] += (before - (sum[0] - rounded)) + (more - rounded)


cdef inline void measure_target(const Call *c, Scratch *s, Py_ssize_t i, const real *y, const real *x,
                                const real *low, fx_target *out) noexcept nogil:
    """What a dense target comes to, part by part."""
    cdef Py_ssize_t part, start, n = c.classes, count = parts_of(n)
    cdef double max = s.stats.max[i], max_low = s.stats.max_low[i] if low != NULL else 0.0
    cdef fx_target *of
    if count == 1:
        row_target(c.kernels, y, x, low, n, max, max_low, out)
        return
    for part in prange(count, num_threads=c.within, schedule="static"):
        start = part * FX_PART
        row_target(c.kernels, y + start, x + start, low + start if low != NULL else NULL, part_size(part, n), max,
                   max_low, &s.targets[part])
    memset(out, 0, sizeof(fx_target))
    for part in range(count):
        of = &s.targets[part]
        add_pair(&out.sum, &out.sum_rest, of.sum, of.sum_rest)
        add_pair(&out.margin, &out.margin_rest, of.margin, of.margin_rest)
        out.count += of.count
        out.refused |= of.refused
        if of.count:
            out.last = part * FX_PART + of.last


cdef inline void read_dense(Call *c, Scratch *s, Py_ssize_t i, Py_ssize_t row, const real *x,
                            const real *low) noexcept nogil:
    cdef fx_target target
    cdef extended margin
    cdef const real *y = direct_rows(&s.dense, row, 1, x)
    measure_target(c, s, i, y, x, low, &target)
    if target.refused:
        c.refused = True
    if target.count == 1:
        set_hard(c, s, i, target.last, y[target.last], x[target.last], low[target.last] if low != NULL else 0.0)
    else:
        margin = (<extended>target.margin + target.margin_rest) * FX_MARGIN_UNIT(sizeof(real))
        set_soft(s, i, target.sum, target.sum_rest, nearest(margin), rounded_off(margin, nearest(margin)))


cdef inline void read_sparse(const Call *c, Scratch *s, Py_ssize_t i, Py_ssize_t row, const real *x,
                             const real *low) noexcept nogil:
    cdef Py_ssize_t j, entry, stored = 0, last = 0
    cdef double value
    cdef extended mass = 0.0, margin = 0.0
    cdef double narrow_mass = 0.0, narrow_margin = 0.0
    for entry in range(read_integer(&c.sparse.indptr, row), read_integer(&c.sparse.indptr, row + 1)):
        value = c.sparse.values[entry]
        if value != 0.0:
            j = read_integer(&c.sparse.indices, entry)
            stored += 1
            last = j
            if real is float:
                narrow_mass += value
                narrow_margin += value * (below(s.stats.max[i], x[j]) + (s.stats.max_low[i] - low[j]
                                                                         if low != NULL else 0.0))
            else:
                mass += value
                margin += value * exactly_below(s, i, x[j], low[j] if low != NULL else 0.0)
    if real is float:
        mass = narrow_mass
        margin = narrow_margin
    if stored == 1:
        set_hard(c, s, i, last, <double>mass, x[last], low[last] if low != NULL else 0.0)
    else:
        set_soft(s, i, <double>mass, rounded_off(mass, <double>mass), nearest(margin),
                 rounded_off(margin, nearest(margin)))


cdef bint misplaced(const Call *c, Scratch *s, Py_ssize_t i, Py_ssize_t row, const real *like) noexcept nogil:
    """Whether a target is at a class that is left out, or all classes are: asked where a score of -inf was met."""
    cdef Py_ssize_t entry, j
    cdef bint all_out = True
    cdef const real *y
    if s.stats.max[i] == -INFINITY:
        for j in range(c.classes):
            all_out = all_out and is_left_out(c, row, j)
        if all_out:
            return True
    if s.label[i] >= 0:
        return is_left_out(c, row, s.label[i])
    if c.kind == CSR:
        for entry in range(read_integer(&c.sparse.indptr, row), read_integer(&c.sparse.indptr, row + 1)):
            if c.sparse.values[entry] != 0.0 and is_left_out(c, row, read_integer(&c.sparse.indices, entry)):
                return True
    elif c.kind == DENSE:
        y = direct_rows(&s.dense, row, 1, like)
        for j in range(c.classes):
            if y[j] != 0 and is_left_out(c, row, j):
                return True
    return False


cdef inline void subtract_sparse(const Call *c, Py_ssize_t row, real *out, double scale) noexcept nogil:
    cdef Py_ssize_t entry, j
    for entry in range(read_integer(&c.sparse.indptr, row), read_integer(&c.sparse.indptr, row + 1)):
        j = read_integer(&c.sparse.indices, entry)
        out[j] = <real>(out[j] - scale * c.sparse.values[entry])


# ---- soft targets, class by class --------------------------------------------------------------------------

# What a row's targets and the head come to: sums of y f, y f', y f'' and y f' (maximum - score).
cdef struct Sums:
    extended value
    extended slope
    extended bend
    extended moment

cdef void expand_targets(const Call *c, Scratch *s, Py_ssize_t i, Py_ssize_t row, const real *x,
                         wide *target) noexcept nogil:
    """The smoothed targets of a row, multiplied by alpha."""
    cdef wide kept = 1 - <wide>c.smoothing, mixed = 0
    cdef Py_ssize_t j, entry
    cdef const real *y
    if c.smoothing != 0.0:
        mixed = <wide>c.smoothing / <wide>s.stats.classes[i]
    for j in range(c.classes):
        target[j] = mixed if x[j] != -INFINITY else 0
    if s.label[i] >= 0:
        target[s.label[i]] += kept * s.mass[i]
    elif c.kind == DENSE:
        y = direct_rows(&s.dense, row, 1, x)
        for j in range(c.classes):
            target[j] += kept * y[j]
    else:
        for entry in range(read_integer(&c.sparse.indptr, row), read_integer(&c.sparse.indptr, row + 1)):
            target[read_integer(&c.sparse.indices, entry)] += kept * c.sparse.values[entry]
    if c.alpha != NULL:
        for j in range(c.classes):
            target[j] *= c.alpha[j]


cdef void measure_classes(const Call *c, const Scratch *s, Py_ssize_t i, const real *x, const real *low, wide *nll,
                          wide *p, wide *not_p) noexcept nogil:
    """Of every class of a row -log p, p and 1 - p."""
    cdef Py_ssize_t j, n = c.classes
    cdef wide total = <wide>s.stats.ties[i] + s.stats.others[i]
    cdef wide log_total = <wide>log_of_total(c, s, i)
    cdef double not_top = ((s.stats.ties[i] - 1.0) + s.stats.others[i]) / <double>total
    if wide is double:
        for j in range(n):
            nll[j] = below(s.stats.max[i], x[j])
        if low != NULL:
            for j in range(n):
                nll[j] += s.stats.max_low[i] - low[j]
        for j in range(n):
            p[j] = -nll[j]
        c.kernels.f64.exp(p, p, n)
        for j in range(n):
            p[j] /= total
            # Only the largest score can have p above 1/2.
            not_p[j] = 1 - p[j] if not p[j] > 0.6 else not_top
            nll[j] += log_total
    else:
        for j in range(n):
            nll[j] = exactly_below(s, i, x[j], low[j] if low != NULL else 0.0) + log_total
            p[j] = expl(-nll[j])
            not_p[j] = -expm1l(-nll[j])


cdef inline void raise_one(const Head *head, wide nll, wide not_p, wide *power, wide *lack) noexcept nogil:
    if wide is double:
        if head.raised == P:
            power[0] = exp(-head.parameter * nll)
            lack[0] = -expm1(-head.parameter * nll)
        else:
            power[0] = pow(not_p, head.parameter) if head.raised == NOT_P else 1
            lack[0] = 1 - power[0]
    else:
        if head.raised == P:
            power[0] = expl(-head.parameter * nll)
            lack[0] = -expm1l(-head.parameter * nll)
        else:
            power[0] = powl(not_p, head.parameter) if head.raised == NOT_P else 1
            lack[0] = 1 - power[0]


cdef inline void apply_head(const Head *head, wide nll, wide p, wide not_p, wide power, wide lack,
                            wide *at) noexcept nogil:
    if wide is double:
        head.of_double(nll, p, not_p, power, lack, head.parameter, at)
    else:
        head.of_extended(nll, p, not_p, power, lack, head.parameter, at)


cdef void raise_classes(const Call *c, const wide *nll, const wide *p, const wide *not_p, wide *power,
                        wide *lack) noexcept nogil:
    """The powers that the head asks for, and 1 - power."""
    cdef Table k = c.kernels
    cdef Py_ssize_t j, n = c.classes
    cdef wide parameter = c.head.parameter, t
    if wide is double and c.head.raised == P:
        for j in range(n):
            power[j] = -parameter * nll[j]
        k.f64.exp(power, power, n)
        for j in range(n):
            t = parameter * nll[j]
            lack[j] = t * (1 - t / 2 * (1 - t / 3 * (1 - t / 4))) if t < 1e-3 else 1 - power[j]
    elif wide is double and c.head.raised == NOT_P:
        # (1 - p)^gamma = (1 + p / (1 - p))^-gamma
        for j in range(n):
            power[j] = p[j] / not_p[j] if not_p[j] != 0 else 0
            lack[j] = 0
        k.f64.log1p(power, power, lack, n)
        for j in range(n):
            power[j] *= -parameter
        k.f64.exp(power, power, n)
        for j in range(n):
            if not_p[j] == 0 and parameter > 0:
                power[j] = 0
            lack[j] = 1 - power[j]
    else:
        for j in range(n):
            raise_one(&c.head, nll[j], not_p[j], power + j, lack + j)


cdef Sums spread(const Call *c, Scratch *s, Py_ssize_t i, Py_ssize_t row, const real *x, const real *low, real *soft,
                 real *curve, wide scale, wide curve_scale) noexcept nogil:
    """The head for every class of a row: the row's sums, its gradient in `soft`, the Hessian's diagonal in `curve`."""
    cdef Py_ssize_t j, first, top = -1, n = c.classes
    cdef wide *target = <wide *>s.elements
    cdef wide *nll = target + n
    cdef wide *p = nll + n
    cdef wide *not_p = p + n
    cdef wide *power = not_p + n
    cdef wide *lack = power + n
    cdef wide at[3]
    cdef wide value = 0, slope = 0, bend = 0, moment = 0, top_bend = 0, log_total, others, weight, z_slope, z_bend
    cdef Sums sums, part
    log_total = <wide>log_of_total(c, s, i)
    # A NaN in the row is one in the loss even if no target counts.
    value = 0 * log_total
    expand_targets(c, s, i, row, x, target)
    measure_classes(c, s, i, x, low, nll, p, not_p)
    raise_classes(c, nll, p, not_p, power, lack)
    for first in range(0, n, 256):
        # Sums of sums: a hundred thousand terms added up one by one would lose too many digits.
        part.value = part.slope = part.bend = part.moment = 0
        for j in range(first, min(n, first + 256)):
            if target[j] != 0:
                apply_head(&c.head, nll[j], p[j], not_p[j], power[j], lack[j], at)
                weight = target[j]
                part.value += weight * at[0]
                target[j] = weight * at[1]
                part.slope += target[j]
                if c.temperature != NULL:
                    part.moment += target[j] * <wide>exactly_below(s, i, x[j], low[j] if low != NULL else 0.0)
                power[j] = weight * at[2]
            else:
                power[j] = 0
            if p[j] > 0.6:
                top = j
            else:
                part.bend += power[j]
        value += <wide>part.value
        slope += <wide>part.slope
        bend += <wide>part.bend
        moment += <wide>part.moment
    top_bend = power[top] if top >= 0 else 0
    sums.value = value
    sums.slope = slope
    sums.bend = bend + top_bend
    sums.moment = moment
    z_slope = slope + <wide>(2 * c.z_loss * log_sum(s, i) if c.z_loss != 0 else 0)
    z_bend = 2 * <wide>c.z_loss
    if c.has_grad or c.transform.cap > 0.0:
        for j in range(n):
            # Without the target's own term where that would cancel.
            soft[j] = <real>(scale * ((z_slope - target[j]) * p[j] - target[j] * not_p[j]))
    if c.has_hess:
        for j in range(n):
            # The bend of the others, which for the largest score would cancel.
            others = bend if j == top else bend + top_bend - power[j]
            at[0] = z_slope * p[j] * not_p[j] + (others + z_bend) * p[j] * p[j] + power[j] * not_p[j] * not_p[j]
            curve[j] = <real>(curve_scale * at[0])
    return sums


# ---- one chunk --------------------------------------------------------------------------------------------

cdef inline void curve_hard(const Call *c, Scratch *s, Py_ssize_t i) noexcept nogil:
    """What curvature is made of, of cross-entropy with a hard target and nothing else."""
    cdef double others = (s.stats.ties[i] - 1.0) + s.stats.others[i]
    s.slope[i] = s.mass[i] if c.kind != LABELS else 1.0
    s.bend[i] = 0.0
    s.curve_scale[i] = s.weight[i] * c.scale if s.hard.weight != NULL else c.scale
    s.curve[i] = s.factor[i]
    s.inverse[i] = 1.0 / s.stats.stored[i]
    s.not_top[i] = others / (s.stats.ties[i] + s.stats.others[i])


cdef inline void measure_label(const Call *c, const Scratch *s, Py_ssize_t i, wide nll, wide *p, wide *not_p,
                               wide *at) noexcept nogil:
    """p, 1 - p and the head of a hard target."""
    cdef double total = s.stats.ties[i] + s.stats.others[i]
    cdef wide power, lack
    p[0] = s.exp_margin[i] / total
    not_p[0] = ((s.stats.ties[i] - s.exp_margin[i]) + s.stats.others[i]) / total
    if c.linear:
        at[0] = nll
        at[1] = 1
        at[2] = 0
        return
    if wide is extended:
        p[0] = expl(-nll)
        not_p[0] = -expm1l(-nll)
    raise_one(&c.head, nll, not_p[0], &power, &lack)
    apply_head(&c.head, nll, p[0], not_p[0], power, lack, at)


cdef inline wide square_root(wide x) noexcept nogil:
    """Of the absolute value."""
    if wide is double:
        return sqrt(fabs(x))
    else:
        return sqrtl(fabsl(x))


cdef void figure(Call *c, Scratch *s, Py_ssize_t i, Py_ssize_t row, double weight, const real *x, const real *low,
                 wide *like) noexcept nogil:
    """Any loss, target and option; for doubles in long double, since there are too many terms for two ulps."""
    cdef wide inverse_temperature = <wide>c.transform.scale + c.transform.scale_rest
    cdef wide scale = <wide>weight * (<wide>c.scale + c.scale_rest) * inverse_temperature
    cdef wide curve_scale = scale * inverse_temperature
    cdef wide log_total = <wide>log_of_total(c, s, i)
    cdef wide smoothing = c.smoothing, kept = 1 - smoothing, mixed = 0, margins = 0
    # Of a margin that does not count nothing is left, infinite as it may be.
    cdef wide margin = <wide>s.margin[i] + s.margin_rest[i] if kept != 0 else 0, mass = s.mass[i], p = 0, not_p = 0
    cdef wide value, slope, bend, moment, label_bend = 0, log_partition, z, root
    cdef wide at[3]
    cdef Sums sums
    cdef bint is_hard = s.label[i] >= 0
    s.offset[i] = 0.0
    if not c.linear and (smoothing != 0 or not is_hard):
        sums = spread(c, s, i, row, x, low, <real *>s.soft + i * c.classes, <real *>s.soft_curve + i * c.classes, scale,
                      curve_scale)
        value = <wide>sums.value
        slope = <wide>sums.slope
        bend = <wide>sums.bend
        moment = <wide>sums.moment
        s.label[i] = SPREAD
        is_hard = False
    else:
        bend = 0
        if is_hard:
            measure_label(c, s, i, margin + log_total, &p, &not_p, at)
            if c.alpha != NULL:
                mass *= c.alpha[s.label[i]]
            value = kept * mass * at[0]
            slope = kept * mass * at[1]
            bend = label_bend = kept * mass * at[2]
            moment = slope * margin
        else:
            mass += s.mass_rest[i]
            value = kept * (margin + mass * log_total)
            slope = kept * mass
            moment = kept * margin
            s.at_label[i] = <double>(scale * kept)
        at[1] = slope
        if smoothing != 0:
            mixed = smoothing / s.stats.classes[i]
            margins = (<wide>s.stats.margins[i] + s.stats.margins_rest[i]) * FX_MARGIN_UNIT(sizeof(real))
            value += smoothing * log_total + mixed * margins
            moment += mixed * margins
            slope += smoothing
            s.offset[i] = <double>(-scale * mixed)
    log_partition = <wide>log_sum(s, i)
    z = 2 * c.z_loss * log_partition if c.z_loss != 0 else 0
    if c.z_loss != 0:
        value += c.z_loss * log_partition * log_partition
        slope += z
        bend += 2 * <wide>c.z_loss
    if is_hard:
        # A label at -inf is a masked class, which has no share in the mixture.
        if s.margin[i] == INFINITY and isfinite(s.stats.max[i]):
            smoothing = mixed = 0
        s.at_label[i] = <double>(scale * ((smoothing + z) * p - mixed - at[1] * not_p))
        s.curve_at_label[i] = <double>(curve_scale * (slope * p * not_p + label_bend * not_p * not_p
                                                      + 2 * c.z_loss * p * p))
    s.loss[i] = <double>(weight * value)
    s.factor[i] = <double>(scale * slope / (<wide>s.stats.stored[i] + s.stats.stored_rest[i]))
    if c.temperature != NULL:
        c.temperature[row] = <double>(scale * (slope * s.moment[i] - moment
                                               - (z * largest(s, i) if z != 0 else 0)))
    if c.has_hess or c.has_vector:
        s.slope[i] = <double>slope
        s.bend[i] = <double>bend
        s.curve_scale[i] = <double>curve_scale
        s.curve[i] = <double>(curve_scale * slope / (<wide>s.stats.stored[i] + s.stats.stored_rest[i]))
        s.inverse[i] = 1.0 / s.stats.stored[i]
        s.not_top[i] = ((s.stats.ties[i] - 1.0) + s.stats.others[i]) / (s.stats.ties[i] + s.stats.others[i])
        # Its square is what is needed, and alone it stays in the range of floats.
        root = square_root(curve_scale * bend) / s.stats.stored[i]
        s.root[i] = <double>(root if bend > 0 else -root)


cdef inline void figure_soft(const Call *c, Scratch *s, Py_ssize_t i) noexcept nogil:
    """Cross-entropy of floats with a soft target and nothing else, beside what hard_figures has found."""
    cdef double weight = s.weight[i]
    cdef double margin = s.margin[i] + s.margin_rest[i], mass = s.mass[i] + s.mass_rest[i]
    s.loss[i] = weight * (margin + mass * (s.log_total[i] + s.log_rest[i]))
    s.at_label[i] = weight * c.scale
    s.offset[i] = 0.0


cdef inline void leave_out(Call *c, Scratch *s, Py_ssize_t i, Py_ssize_t row) noexcept nogil:
    """A row that does not count."""
    s.label[i] = NO_LABEL
    s.loss[i] = s.factor[i] = s.offset[i] = 0.0
    s.curve[i] = s.inverse[i] = s.not_top[i] = s.root[i] = s.curve_scale[i] = s.slope[i] = s.bend[i] = 0.0
    if c.temperature != NULL:
        c.temperature[row] = 0.0


# What a chunk's steps hand on: its rows of scores (single numbers, or sums of two if `low` is not NULL), and of
# exponentials, which may be NULL.
cdef struct Block:
    Py_ssize_t first
    Py_ssize_t count
    void *given                # scores before anything is done to them
    Py_ssize_t given_stride
    void *x
    void *low
    Py_ssize_t x_stride
    void *e
    Py_ssize_t e_stride


cdef inline void transform_rows(const Call *c, Scratch *s, const Block *b, Py_ssize_t start, Py_ssize_t n,
                                const uint8_t *bytes, Py_ssize_t stride, double *max, double *max_low,
                                real *like) noexcept nogil:
    """n classes of each row, from `start` on."""
    cdef bint capped = c.transform.cap > 0.0
    cdef const real *bias = <const real *>c.bias
    cdef const real *bias_low = <const real *>c.bias_low
    rows_transform(c.kernels, <real *>b.x + start, b.x_stride, b.count, n, &c.transform,
                   bias + start if bias != NULL else NULL, bias_low + start if bias_low != NULL else NULL,
                   bytes + start if bytes != NULL else NULL, stride, <real *>s.high + start,
                   <real *>s.low + start if c.paired else NULL, <real *>s.cap_slope + start if capped else NULL,
                   <real *>s.cap_bend + start if capped and (c.has_hess or c.has_vector) else NULL, max, max_low)


cdef inline const uint8_t *find_left_out(const Call *c, Scratch *s, const Block *b, Py_ssize_t *stride) noexcept nogil:
    """A chunk's rows of the mask, where they stand or as a copy."""
    cdef const Rows *mask = &c.left_out
    cdef Py_ssize_t n = c.classes, i, j
    if mask.class_stride == 1 and b.first % mask.inner + b.count <= mask.inner:
        stride[0] = mask.inner_stride
        return <const uint8_t *>(mask.data + (b.first // mask.inner) * mask.outer_stride
                                 + (b.first % mask.inner) * mask.inner_stride)
    stride[0] = n
    for i in range(b.count):
        for j in range(n):
            s.bytes[i * n + j] = is_left_out(c, b.first + i, j)
    return s.bytes


cdef inline void transform_chunk(const Call *c, Scratch *s, Block *b, real *like) noexcept nogil:
    cdef Py_ssize_t n = c.classes, stride = 0, i, parts = parts_of(n)
    cdef const uint8_t *bytes = find_left_out(c, s, b, &stride) if c.has_left_out else NULL
    cdef double *max_low = s.moment if s.stats.max_low == NULL else s.stats.max_low
    if c.within > 1:
        for i in prange(parts, num_threads=c.within, schedule="static"):
            transform_rows(c, s, b, i * FX_PART, part_size(i, n), bytes, stride, s.tops + i, s.tops_low + i, like)
        s.stats.max[0] = s.tops[0]
        max_low[0] = s.tops_low[0]
        for i in range(1, parts):
            # NaN is larger than anything.
            if s.tops[i] > s.stats.max[0] or s.tops[i] != s.tops[i]:
                s.stats.max[0] = s.tops[i]
                max_low[0] = s.tops_low[i]
            elif s.tops[i] == s.stats.max[0] and s.tops_low[i] > max_low[0]:
                max_low[0] = s.tops_low[i]
    else:
        transform_rows(c, s, b, 0, n, bytes, stride, s.stats.max, max_low, like)
    b.x = s.high
    b.low = s.low if c.paired else NULL
    b.x_stride = n


cdef inline void read_targets(Call *c, Scratch *s, const Block *b, real *like) noexcept nogil:
    cdef Py_ssize_t i
    cdef const real *x = <const real *>b.x
    cdef const real *low = <const real *>b.low
    if s.hard.score != NULL:
        return
    for i in range(b.count):
        if c.kind == LABELS:
            # The score was picked by read_labels.
            if s.label[i] >= 0:
                set_hard(c, s, i, s.label[i], 1.0, s.margin[i], s.margin_rest[i])
        elif c.kind == DENSE:
            read_dense(c, s, i, b.first + i, x, low)
        else:
            read_sparse(c, s, i, b.first + i, x, low)
        if low != NULL:
            low += b.x_stride
        x += b.x_stride
        if c.has_left_out and s.label[i] != NO_LABEL and not (s.margin[i] < INFINITY and s.stats.max[i] > -INFINITY):
            if misplaced(c, s, i, b.first + i, <const real *>NULL):
                c.refused = True


cdef inline void find_dense(const Call *c, Scratch *s, const Block *b, real *like) noexcept nogil:
    """Dense targets: rows to read from, copied together, since they may stand in columns."""
    cdef Py_ssize_t row_size = c.classes * sizeof(real)
    s.dense = c.dense
    if direct_rows(&c.dense, b.first, b.count, like) == NULL:
        read_rows(c.kernels, &c.dense, b.first, b.count, c.classes, <real *>s.y)
        s.dense.data = <char *>s.y - b.first * row_size
        s.dense.storage = FLOAT32 if real is float else FLOAT64
        s.dense.inner = c.n
        s.dense.inner_stride = row_size
        s.dense.class_stride = sizeof(real)


cdef inline void scale_scores(const Call *c, Scratch *s, Py_ssize_t count, real *like) noexcept nogil:
    """Scores of labels, with the bits that they have among the scores of their rows."""
    cdef Py_ssize_t i
    cdef double max, max_low
    cdef real *high = <real *>s.high
    cdef real *low = <real *>s.low
    for i in range(count):
        high[i] = <real>s.margin[i]
    rows_transform(c.kernels, high, count, 1, count, &c.transform, <real *>NULL, <real *>NULL, <uint8_t *>NULL, 0,
                   high, low, <real *>NULL, <real *>NULL, &max, &max_low)
    for i in range(count):
        s.margin[i] = high[i]
        s.margin_rest[i] = low[i]


cdef inline void read_labels(const Call *c, Scratch *s, const Block *b, real *like) noexcept nogil:
    """Labels and the scores there."""
    cdef Py_ssize_t i
    if c.labels.storage == INT64 and c.labels.stride == sizeof(Py_ssize_t):
        memcpy(s.label, c.labels.data + b.first * c.labels.stride, b.count * sizeof(Py_ssize_t))
        # Those of the next chunk would be waited for.
        fx_ask_for(c.labels.data + (b.first + b.count) * c.labels.stride, b.count * sizeof(Py_ssize_t))
    else:
        for i in range(b.count):
            s.label[i] = read_integer(&c.labels, b.first + i)
    if c.has_ignored:
        for i in range(b.count):
            if s.label[i] == c.ignored:
                s.label[i] = NO_LABEL
    rows_pick(c.kernels, <const real *>b.x, b.x_stride, b.count, s.label, s.margin)
    if c.folded and c.has_left_out:
        for i in range(b.count):
            if s.label[i] >= 0 and is_left_out(c, b.first + i, s.label[i]):
                s.margin[i] = -INFINITY
    elif c.folded:
        scale_scores(c, s, b.count, like)
    elif b.low != NULL:
        rows_pick(c.kernels, <const real *>b.low, b.x_stride, b.count, s.label, s.margin_rest)
    elif not c.plain:
        memset(s.margin_rest, 0, b.count * sizeof(double))


cdef inline void measure_moments(const Call *c, Scratch *s, const Block *b, real *like) noexcept nogil:
    """The mean of each row's margins under its probabilities."""
    cdef Py_ssize_t i, n = c.classes
    cdef const real *x = <const real *>b.x
    cdef const real *given
    # Scores that are yet to be multiplied have no second part to read.
    cdef const real *low = <const real *>(b.low if b.low != NULL else b.x)
    for i in range(b.count):
        if real is double or b.e == NULL or n <= FX_FEW(sizeof(real)):
            s.moment[i] = row_moment(c.kernels, x + i * b.x_stride, low + i * b.x_stride, n, s.stats.by,
                                     s.stats.max[i], s.stats.max_low[i]) / (s.stats.ties[i] + s.stats.others[i])
        elif c.only_scaled:
            given = <const real *>b.given + i * b.given_stride
            s.moment[i] = row_stored_moment(c.kernels, <const real *>b.e + i * b.e_stride, given, given, n,
                                            &c.transform, s.stats.max[i], s.stats.max_low[i]) / s.stats.stored[i]
        else:
            s.moment[i] = row_stored_moment(c.kernels, <const real *>b.e + i * b.e_stride, x + i * b.x_stride,
                                            low + i * b.x_stride, n, <const fx_transform *>NULL, s.stats.max[i],
                                            s.stats.max_low[i]) / s.stats.stored[i]


cdef inline void figure_rows(Call *c, Scratch *s, const Block *b, real *like) noexcept nogil:
    """Losses, and what turns exponentials into gradients and curvature, for every row of a chunk."""
    cdef Py_ssize_t i
    cdef const real *x = <const real *>b.x
    cdef const real *low = <const real *>b.low
    cdef const real *row_low
    if s.hard.weight != NULL:
        for i in range(b.count):
            s.weight[i] = c.weights[b.first + i] if c.weights != NULL else 1.0
            if s.label[i] == NO_LABEL:
                s.weight[i] = 0.0
    if c.plain:
        s.hard.factor = s.factor if b.e != NULL else NULL
        c.kernels.f64.hard_figures(b.count, &s.stats, s.log_total, s.log_rest, &s.hard)
        if s.hard.score != NULL and not (c.has_hess or c.has_vector):
            return
    for i in range(b.count):
        if s.hard.weight != NULL and s.weight[i] == 0.0:
            leave_out(c, s, i, b.first + i)
        elif c.plain and s.label[i] >= 0:
            if c.has_hess or c.has_vector:
                curve_hard(c, s, i)
        elif real is float and c.plain and not (c.has_hess or c.has_vector):
            figure_soft(c, s, i)
        else:
            row_low = low + i * b.x_stride if low != NULL else NULL
            if real is float:
                figure(c, s, i, b.first + i, s.weight[i], x + i * b.x_stride, row_low, <double *>NULL)
            else:
                figure(c, s, i, b.first + i, s.weight[i], x + i * b.x_stride, row_low, <extended *>NULL)


cdef inline void scale_less_dense(const Call *c, Scratch *s, const Block *b, const double *offset, real *grad,
                                  Py_ssize_t stride) noexcept nogil:
    """Gradients with dense targets, with the bits that `rows_scale` and `add_targets` give them one after the other."""
    cdef Py_ssize_t i, n = c.classes
    cdef const real *e = <const real *>b.e
    cdef const double *offset_of = NULL
    for i in range(b.count):
        if offset != NULL:
            offset_of = offset + i
        if s.label[i] == SOFT:
            row_scale_less(c.kernels, e + i * b.e_stride, direct_rows(&s.dense, b.first + i, 1, grad), n, s.factor[i],
                           offset_of, s.at_label[i], grad + i * stride)
            continue
        rows_scale(c.kernels, e + i * b.e_stride, b.e_stride, 1, n, s.factor + i, offset_of, grad + i * stride, stride)
        if s.label[i] >= 0:
            grad[i * stride + s.label[i]] = <real>s.at_label[i]


cdef inline void add_targets(const Call *c, Scratch *s, const Block *b, real *grad, Py_ssize_t stride) noexcept nogil:
    """What the targets contribute to gradients."""
    cdef Py_ssize_t i, part, n = c.classes
    cdef const real *y
    if c.kind == LABELS and c.linear:
        rows_put(c.kernels, grad, stride, b.count, s.label, s.at_label)
        return
    for i in range(b.count):
        if s.label[i] >= 0:
            grad[i * stride + s.label[i]] = <real>s.at_label[i]
        elif s.label[i] == SPREAD:
            memcpy(grad + i * stride, <real *>s.soft + i * n, n * sizeof(real))
        elif s.label[i] == SOFT and c.kind == DENSE:
            y = direct_rows(&s.dense, b.first + i, 1, grad)
            if c.within == 1:
                row_subtract(c.kernels, grad + i * stride, y, n, s.at_label[i])
            else:
                for part in prange(parts_of(n), num_threads=c.within, schedule="static"):
                    row_subtract(c.kernels, grad + part * FX_PART, y + part * FX_PART, part_size(part, n),
                                 s.at_label[0])
        elif s.label[i] == SOFT:
            subtract_sparse(c, b.first + i, grad + i * stride, s.at_label[i])


cdef inline void curve_rows(const Call *c, Scratch *s, const Block *b, real *hess, Py_ssize_t stride) noexcept nogil:
    cdef Py_ssize_t i, n = c.classes
    cdef const double *root = NULL if c.linear and c.z_loss == 0.0 else s.root
    if c.within > 1:
        for i in prange(parts_of(n), num_threads=c.within, schedule="static"):
            rows_curvature(c.kernels, <real *>b.e + i * FX_PART, n, 1, part_size(i, n), s.inverse, s.not_top, s.curve,
                           root, hess + i * FX_PART, n)
    else:
        rows_curvature(c.kernels, <real *>b.e, b.e_stride, b.count, n, s.inverse, s.not_top, s.curve, root, hess,
                       stride)
    for i in range(b.count):
        if s.label[i] == SPREAD:
            memcpy(hess + i * stride, <real *>s.soft_curve + i * n, n * sizeof(real))
        elif s.label[i] >= 0 and not c.linear:
            hess[i * stride + s.label[i]] = <real>s.curve_at_label[i]


cdef inline void multiply_rows(const Call *c, Scratch *s, const Block *b, const real *grad, real *out,
                               Py_ssize_t stride) noexcept nogil:
    """The product of the Hessian and the vector, A p (v - p.v) + B p (p.v), from the scaled p in `out`. The vector less
    its element at the largest p goes in, so that this p, which may be nearly 1, has nothing to cancel with."""
    cdef Table k = c.kernels
    cdef Py_ssize_t i, j, top, n = c.classes
    cdef const real *given
    cdef const real *slope
    cdef double mean, level
    cdef real *row
    cdef real *v
    for i in range(b.count):
        row = out + i * stride
        if s.curve_scale[i] == 0.0:
            continue
        v = <real *>s.vector
        given = dense_row(c, &c.vector, b.first + i, <real *>s.given)
        slope = <const real *>s.cap_slope + i * n if c.transform.cap > 0.0 else NULL
        top = 0
        for j in range(n):
            v[j] = given[j] * slope[j] if slope != NULL else given[j]
            if row[j] > row[top]:
                top = j
        level = v[top]
        for j in range(n):
            v[j] -= <real>level
        mean = row_dot(k, row, v, n) / s.curve_scale[i]
        row_product(k, row, v, n, s.slope[i], s.bend[i] * (level + mean) - s.slope[i] * mean, row)
        if slope != NULL:
            for j in range(n):
                row[j] = slope[j] * row[j] + grad[i * n + j] * (<const real *>s.cap_bend)[i * n + j] * given[j]


cdef inline real *place(const Rows *rows, const Block *b, real *room, Py_ssize_t n, Py_ssize_t *stride) noexcept nogil:
    """Where results go: the rows themselves, or `room` if they must be copied there."""
    cdef real *here = direct_rows(rows, b.first, b.count, room)
    stride[0] = n
    if here == NULL:
        return room
    stride[0] = rows.inner_stride // <Py_ssize_t>sizeof(real)
    return here


cdef void loss_chunk(Call *c, Scratch *s, Py_ssize_t which, real *like) noexcept nogil:
    cdef Table k = c.kernels
    cdef Py_ssize_t n = c.classes, i, out_stride = 0, hess_stride = 0, grad_stride
    cdef Block b
    cdef double *partial
    cdef real *out = NULL
    cdef real *hess = NULL
    cdef real *grad = NULL
    cdef const double *offset
    cdef bint in_place, reads_scores, streamed = False, capped = c.transform.cap > 0.0, has_targets
    b.first = which * c.chunk
    b.count = min(c.chunk, c.n - b.first)
    b.low = b.e = NULL
    b.e_stride = n
    b.x = direct_rows(&c.scores, b.first, b.count, like)
    in_place = c.in_place and b.x != NULL and (c.folded or not c.transformed or c.temperature != NULL)
    if b.x != NULL:
        b.x_stride = c.scores.inner_stride // <Py_ssize_t>sizeof(real)
    else:
        b.x = s.x
        b.x_stride = n
        read_rows(k, &c.scores, b.first, b.count, n, <real *>b.x)
    b.given = b.x
    b.given_stride = b.x_stride
    if c.transformed and not c.folded:
        transform_chunk(c, s, &b, like)
        if b.given != s.x:
            # Where the scores of the next chunk stand.
            s.stats.next = <real *>b.given + b.count * b.given_stride
            s.stats.next_stride = b.given_stride * <Py_ssize_t>sizeof(real)
    elif c.has_left_out:
        s.stats.left_out = find_left_out(c, s, &b, &s.stats.left_out_stride)
    if c.has_grad or c.has_hess:
        out = place(&c.grad if c.has_grad else &c.hess, &b, <real *>s.out, n, &out_stride)
        streamed = c.streamed and (s.anew or c.within == 1) and out != <real *>s.out and out_stride == n
        # Whether scores are read once more when their exponentials are there.
        reads_scores = (c.kind != LABELS or s.stats.precise or c.temperature != NULL
                        or (not c.linear and c.smoothing != 0.0))
        if (n <= FX_FEW(sizeof(real)) or streamed or (capped and not c.has_grad) or (in_place and reads_scores)):
            b.e = s.e
        else:
            b.e = out
            b.e_stride = out_stride

    if c.kind == DENSE:
        find_dense(c, s, &b, like)
    elif c.kind == LABELS and c.in_place:
        # Exponentials overwrite the scores. Elsewhere these are waited for once, when the exponentials are made.
        read_labels(c, s, &b, like)
    if c.within > 1:
        expsum_row(k, <real *>b.x, <real *>b.low, n, <real *>(b.e if not s.anew else NULL), &s.stats, s.parts,
                   c.within)
    else:
        rows_expsum(k, <real *>b.x, <real *>b.low, b.x_stride, b.count, n, <real *>(b.e if not s.anew else NULL),
                    b.e_stride, &s.stats)
    if c.kind == LABELS and not c.in_place:
        read_labels(c, s, &b, like)
    k.f64.rows_log_total(b.count, &s.stats, s.log_total, s.log_rest)
    read_targets(c, s, &b, like)
    if not c.plain and (b.e != NULL or not c.linear):
        for i in range(b.count):
            s.exp_margin[i] = -s.margin[i]
        k.f64.exp(s.exp_margin, s.exp_margin, b.count)
    if c.temperature != NULL:
        measure_moments(c, s, &b, like)
    figure_rows(c, s, &b, like)

    if c.losses != NULL:
        for i in range(b.count):
            (<real *>c.losses)[b.first + i] = <real>s.loss[i]
    else:
        partial = c.partial + b.first // c.summed
        for i in range((b.count + c.summed - 1) // c.summed):
            partial[i] = k.f64.sum(s.loss + i * c.summed, min(c.summed, b.count - i * c.summed), partial + c.sums + i)
    if b.e == NULL:
        return
    if c.has_hess:
        hess = out
        hess_stride = out_stride
        if c.has_grad:
            hess = place(&c.hess, &b, <real *>s.x, n, &hess_stride)
        curve_rows(c, s, &b, hess, hess_stride)
    if c.has_grad and not c.has_vector:
        grad = out
        grad_stride = out_stride
    elif capped:
        # The chain rule needs the gradient by the capped scores; theirs are done with.
        grad = <real *>(s.x if c.has_vector else s.high)
        grad_stride = n
    if grad != NULL:
        offset = s.offset if c.smoothing != 0.0 else NULL
        has_targets = False
        if s.anew:
            scale_anew(k, <real *>b.x, b.x_stride, b.count, n, &s.stats, s.factor, streamed, grad, grad_stride,
                       c.within)
        elif streamed:
            k.f32.rows_stream(<float *>b.e, b.count, n, s.factor, offset, s.label, s.at_label, <float *>grad)
            has_targets = c.kind == LABELS
        elif c.within > 1:
            scale_row(k, <real *>b.e, n, s.factor, offset, grad, c.within)
        elif c.kind == DENSE and c.linear and n > FX_FEW(sizeof(real)):
            scale_less_dense(c, s, &b, offset, grad, grad_stride)
            has_targets = True
        else:
            rows_scale(k, <real *>b.e, b.e_stride, b.count, n, s.factor, offset, grad, grad_stride)
        if not has_targets:
            add_targets(c, s, &b, grad, grad_stride)
    if c.has_vector:
        for i in range(b.count):
            s.factor[i] = s.curve_scale[i] * s.inverse[i]
        rows_scale(k, <real *>b.e, b.e_stride, b.count, n, s.factor, NULL, out, out_stride)
        multiply_rows(c, s, &b, grad, out, out_stride)
    elif capped:
        for i in range(b.count):
            if s.weight[i] == 0.0:
                continue  # a NaN that does not count
            row_chain(k, grad + i * grad_stride, hess + i * hess_stride if hess != NULL else NULL,
                      <real *>s.cap_slope + i * n, <real *>s.cap_bend + i * n, n)
    if c.has_grad and out == <real *>s.out:
        write_rows(k, &c.grad, b.first, b.count, n, out)
    if c.has_hess and (hess == <real *>s.x or hess == <real *>s.out):
        write_rows(k, &c.hess, b.first, b.count, n, hess)


cdef void loss_chunks(Call *c, Scratch *s, Team *team, int thread, real *like) noexcept nogil:
    cdef Py_ssize_t which = next_item(team, thread)
    while which >= 0:
        loss_chunk(c, s, which, like)
        which = next_item(team, thread)
    if c.streamed:
        fx_fence()


cdef inline bint has_few_entries(const Call *c) noexcept nogil:
    cdef Py_ssize_t entries = read_integer(&c.sparse.indptr, c.n) - read_integer(&c.sparse.indptr, 0)
    return entries <= c.n * c.classes // FAR_APART


cdef extended run(Call *c, int threads, real *like) except? -1.0:
    """All chunks; the sum of their losses, added up in order."""
    cdef Team team
    cdef Py_ssize_t chunks = (c.n + c.chunk - 1) // c.chunk, size
    cdef Scratch measured
    cdef Scratch *scratch
    cdef char *memory
    cdef extended total = 0.0
    cdef double rest, rest_of_rests
    cdef int thread
    c.sums = (c.n + c.summed - 1) // c.summed
    c.within = threads_within(threads, chunks, c.chunk, c.classes)
    if c.within > 1:
        threads = 1
    # Where more than their exponentials is needed of scaled scores, they are stored: for heads that are evaluated class
    # by class, and where threads share a row. So are scores that are left out unless the loss is plain.
    c.only_scaled = c.transformed and c.transform.cap == 0.0 and c.bias == NULL
    c.folded = (real is float and c.kind == LABELS and c.classes > FX_FEW(sizeof(real)) and c.within == 1
                and (c.plain if c.has_left_out
                     else c.only_scaled and c.transform.scale != 1.0 and (c.linear or c.smoothing == 0.0)))
    # Labels are put into their rows on the way; sparse targets are fetched back to be changed.
    c.streamed = (real is float and c.has_grad and not (c.has_hess or c.has_vector or c.in_place)
                  and (c.kind == LABELS or c.kind == CSR and has_few_entries(c)) and c.linear and c.transform.cap == 0.0
                  and c.classes >= STREAMED_CLASSES and c.kernels.streams
                  and c.n * c.classes * <Py_ssize_t>sizeof(float) >= streamed_from)
    size = lay_out(c, &measured, NULL, sizeof(real))
    memory = <char *>malloc(threads * size + 2 * c.sums * sizeof(double) + threads * sizeof(Scratch))
    start_team(&team, threads, chunks, c.n * c.classes, memory)
    if c.within > 1:
        watch_within(&team, c.within)
    with nogil:
        c.partial = <double *>(memory + threads * size)
        scratch = <Scratch *>(c.partial + 2 * c.sums)
        for thread in range(threads):
            lay_out(c, &scratch[thread], memory + thread * size, sizeof(real))
        if threads == 1:
            loss_chunks(c, scratch, &team, 0, like)
        else:
            for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                loss_chunks(c, &scratch[thread], &team, thread, like)
        end_team(&team)
        if c.losses == NULL:
            total = c.kernels.f64.sum(c.partial, c.sums, &rest)
            total += rest + c.kernels.f64.sum(c.partial + c.sums, c.sums, &rest_of_rests)
        free(memory)
    return total


# ---- entry points -----------------------------------------------------------------------------------------

cdef Py_ssize_t bad_label(const Integers *labels, Py_ssize_t n, Py_ssize_t classes, bint has_ignored,
                          long long ignored) noexcept nogil:
    cdef bint wraps = labels.storage == UINT64
    cdef Py_ssize_t i
    cdef long long label
    if (labels.storage == INT64 and labels.stride == sizeof(int64_t)
            and not active.f64.any_beyond(<const int64_t *>labels.data, n, classes)):
        return -1
    for i in range(n):
        label = read_integer(labels, i)
        # A uint64 of 2^63 or more reads as a negative number, which it is not.
        if ((label < 0 or label >= classes)
                and not (has_ignored and label == ignored and not (wraps and label < 0))):
            return i
    return -1


def first_bad_label(labels, Py_ssize_t classes, ignored):
    """The first row whose label is neither in [0, classes) nor `ignored`, or -1."""
    cdef Integers integers = integers_of(labels)
    cdef Py_ssize_t n = len(labels), bad
    cdef bint has_ignored = ignored is not None
    cdef long long ignored_label = ignored if has_ignored else 0
    with nogil:
        bad = bad_label(&integers, n, classes, has_ignored, ignored_label)
    return bad


cdef bint falls(const Integers *pointers, Py_ssize_t n) noexcept nogil:
    """Whether one of n + 1 row pointers is smaller than the one before it."""
    cdef const int32_t *narrow = <const int32_t *>pointers.data
    cdef Py_ssize_t row
    cdef bint bad = False
    if pointers.storage == INT32 and pointers.stride == sizeof(int32_t):
        for row in range(n):
            bad |= narrow[row] > narrow[row + 1]
    else:
        for row in range(n):
            bad |= read_integer(pointers, row) > read_integer(pointers, row + 1)
    return bad


cdef bint is_good_csr(const Integers *pointers, const Integers *columns, const double *values, Py_ssize_t n,
                      Py_ssize_t length, Py_ssize_t classes) noexcept nogil:
    """Whether nothing is wrong with a CSR matrix, if that can be seen fast."""
    cdef const int32_t *narrow = <const int32_t *>columns.data
    cdef long long stop = read_integer(pointers, n)
    cdef uint32_t beyond = 0, last = <uint32_t>min(classes - 1, <Py_ssize_t>INT32_MAX)
    cdef Py_ssize_t entry, nans = 0
    if read_integer(pointers, 0) != 0 or stop > length or falls(pointers, n):
        return False
    if columns.storage == INT32 and columns.stride == sizeof(int32_t):
        for entry in range(stop):
            # Its highest bit is set by a column below 0 or above the last one.
            beyond |= <uint32_t>narrow[entry] | (last - <uint32_t>narrow[entry])
        if beyond >> 31:
            return False
    elif (columns.storage != INT64 or columns.stride != sizeof(int64_t)
          or active.f64.any_beyond(<const int64_t *>columns.data, stop, classes)):
        return False
    return active.f64.count_outside(values, stop, DBL_MAX, &nans) == 0 and nans == 0


def first_bad_csr(indptr, indices, values, Py_ssize_t classes):
    """What is wrong with a CSR matrix and where: ("indptr", row), ("indices", row, entry), ("values", row, entry),
    or None. `values` are float64, contiguous."""
    cdef Integers pointers = integers_of(indptr), columns = integers_of(indices)
    cdef cnp.ndarray array = values
    cdef const double *stored = <double *>cnp.PyArray_DATA(array)
    cdef Py_ssize_t row, entry = 0, n = len(indptr) - 1, length = min(len(indices), len(values)), wrong = 0
    cdef long long start, stop, column
    cdef bint good
    with nogil:
        good = is_good_csr(&pointers, &columns, stored, n, length, classes)
        for row in range(0 if good else n):
            start = read_integer(&pointers, row)
            stop = read_integer(&pointers, row + 1)
            if (row == 0 and start != 0) or start > stop or stop > length:
                wrong = 1
                break
            for entry in range(start, stop):
                column = read_integer(&columns, entry)
                if column < 0 or column >= classes:
                    wrong = 2
                    break
                if not (0.0 <= stored[entry] < INFINITY):
                    wrong = 3
                    break
            if wrong:
                break
    if wrong == 0:
        return None
    return ("indptr", row) if wrong == 1 else ("indices" if wrong == 2 else "values", row, entry)


cdef extended total_weight(const Call *c) noexcept nogil:
    """Sum of the weights of the rows that are not ignored, by blocks of rows."""
    cdef double[512] block
    cdef extended total = 0.0
    cdef double rest
    cdef Py_ssize_t first, i, count
    if c.weights == NULL and not c.has_ignored:
        return c.n
    for first in range(0, c.n, 512):
        count = min(512, c.n - first)
        for i in range(count):
            block[i] = c.weights[first + i] if c.weights != NULL else 1.0
            if c.has_ignored and read_integer(&c.labels, first + i) == c.ignored:
                block[i] = 0.0
        total += c.kernels.f64.sum(block, count, &rest)
        total += rest
    return total


cdef extended class_weight_of(const Call *c, Py_ssize_t row, const double *class_weights, real *room) noexcept nogil:
    """The sum of a row's targets, each times its class's weight."""
    cdef Py_ssize_t entry, j, n = c.classes, whole = n - n % 4
    cdef long long label
    cdef extended sum = 0.0
    cdef double a = 0.0, b = 0.0, d = 0.0, e = 0.0
    cdef const real *y
    if c.kind == LABELS:
        label = read_integer(&c.labels, row)
        return 0.0 if c.has_ignored and label == c.ignored else class_weights[label]
    if c.kind == CSR:
        for entry in range(read_integer(&c.sparse.indptr, row), read_integer(&c.sparse.indptr, row + 1)):
            sum += <extended>c.sparse.values[entry] * class_weights[read_integer(&c.sparse.indices, entry)]
        return sum
    y = dense_row(c, &c.dense, row, room)
    if real is float:
        # Four sums, so that additions do not wait for each other; of floats times doubles, in double.
        for j in range(0, whole, 4):
            a += y[j] * class_weights[j]
            b += y[j + 1] * class_weights[j + 1]
            d += y[j + 2] * class_weights[j + 2]
            e += y[j + 3] * class_weights[j + 3]
        for j in range(whole, n):
            a += y[j] * class_weights[j]
        return <extended>(a + b) + (d + e)
    else:
        return row_dot(c.kernels, y, class_weights, n)


cdef int sum_weights(const Call *c, const double *class_weights, double *out, int threads, real *like) except -1:
    cdef Py_ssize_t i
    cdef real *rooms = <real *>malloc(threads * c.classes * sizeof(real))
    if rooms == NULL:
        raise MemoryError()
    with nogil:
        for i in prange(c.n, num_threads=threads, schedule="static"):
            out[i] = <double>((c.weights[i] if c.weights != NULL else 1.0)
                              * class_weight_of(c, i, class_weights, rooms + threadid() * c.classes))
        free(rooms)
    return 0


cdef int look_for_refused(const Call *c, int threads, real *like) except -1:
    """Whether a row of the dense targets holds what must be refused."""
    cdef Py_ssize_t i
    cdef int refused = 0
    cdef real *rooms = <real *>malloc(threads * c.classes * sizeof(real))
    if rooms == NULL:
        raise MemoryError()
    with nogil:
        for i in prange(c.n, num_threads=threads, schedule="static"):
            refused |= row_refused(c.kernels, dense_row(c, &c.dense, i, rooms + threadid() * c.classes), c.classes)
        free(rooms)
    return refused


cdef bint is_refused(const Call *c, Py_ssize_t row, real *room) noexcept nogil:
    """Whether the mask leaves a row no class, or leaves out one of its targets."""
    cdef Py_ssize_t j, entry
    cdef const real *y
    cdef long long label
    if c.kind == LABELS:
        label = read_integer(&c.labels, row)
        return not (c.has_ignored and label == c.ignored) and is_left_out(c, row, label)
    elif c.kind == CSR:
        for entry in range(read_integer(&c.sparse.indptr, row), read_integer(&c.sparse.indptr, row + 1)):
            if c.sparse.values[entry] != 0.0 and is_left_out(c, row, read_integer(&c.sparse.indices, entry)):
                return True
    else:
        y = dense_row(c, &c.dense, row, room)
        for j in range(c.classes):
            if y[j] != 0 and is_left_out(c, row, j):
                return True
    for j in range(c.classes):
        if not is_left_out(c, row, j):
            return False
    return True


cdef int look_for_masked(const Call *c, int threads, real *like) except -1:
    cdef Py_ssize_t i
    cdef int refused = 0
    cdef real *rooms = <real *>malloc(threads * c.classes * sizeof(real))
    if rooms == NULL:
        raise MemoryError()
    with nogil:
        for i in prange(c.n, num_threads=threads, schedule="static"):
            refused |= is_refused(c, i, rooms + threadid() * c.classes)
        free(rooms)
    return refused


def has_masked_target(cnp.ndarray mask, labels, dense, sparse, ignored, n_threads):
    """Whether a mask (rows, n) or (outer, inner, n) leaves a row no class, or leaves out one of its targets."""
    cdef Call c
    c.kernels = active
    c.classes = cnp.PyArray_DIM(mask, cnp.PyArray_NDIM(mask) - 1)
    c.n = cnp.PyArray_SIZE(mask) // c.classes
    c.has_ignored = ignored is not None
    c.ignored = ignored if c.has_ignored else 0
    c.has_left_out = True
    c.left_out = rows_of(mask)
    set_targets(&c, labels, dense, sparse)
    return bool(look_for_masked(&c, threads_for(n_threads, 32 * c.n), <double *>NULL))


def has_bad_dense(cnp.ndarray dense, bint single, n_threads):
    """Whether dense targets (rows, n) or (outer, inner, n) hold numbers that are negative, or not finite in the
    computing type."""
    cdef Call c
    cdef int threads
    c.kernels = active
    c.dense = rows_of(dense)
    c.classes = cnp.PyArray_DIM(dense, cnp.PyArray_NDIM(dense) - 1)
    c.n = cnp.PyArray_SIZE(dense) // c.classes
    threads = threads_for(n_threads, c.n * c.classes)
    if single:
        return bool(look_for_refused(&c, threads, <float *>NULL))
    return bool(look_for_refused(&c, threads, <double *>NULL))


cdef void set_targets(Call *c, labels, dense, sparse) except *:
    if labels is not None:
        c.kind = LABELS
        c.labels = integers_of(labels)
    elif dense is not None:
        c.kind = DENSE
        c.dense = rows_of(dense)
    else:
        c.kind = CSR
        c.sparse = sparse_of(sparse)


cdef inline void *data_of(cnp.ndarray array):
    return cnp.PyArray_DATA(array) if array is not None else NULL


def class_weighted(Py_ssize_t n, Py_ssize_t classes, labels, dense, sparse, weights, ignored, bint single,
                   cnp.ndarray class_weights, n_threads):
    """The weights of n rows, each times the sum of its targets' class weights; all of them float64."""
    cdef Call c
    cdef cnp.ndarray out = np.empty(n)
    cdef double *result = <double *>cnp.PyArray_DATA(out)
    cdef double *given = <double *>cnp.PyArray_DATA(class_weights)
    cdef int threads
    c.kernels = active
    c.n = n
    c.classes = classes
    c.has_ignored = ignored is not None
    c.ignored = ignored if c.has_ignored else 0
    c.weights = <double *>data_of(weights)
    set_targets(&c, labels, dense, sparse)
    threads = threads_for(n_threads, n * (classes if c.kind == DENSE else 1))
    if single:
        sum_weights(&c, given, result, threads, <float *>NULL)
    else:
        sum_weights(&c, given, result, threads, <double *>NULL)
    return out


cdef two_parts(cnp.ndarray values, bint single):
    """Doubles as sums of two floats, or as they are: the second part is None if there is nothing in it."""
    if not single:
        return values, None
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        high = values.astype(np.float32)
        low = np.where(np.isfinite(high), values - high, 0.0).astype(np.float32)
    return high, low if low.any() else None


cdef bint is_loose(const fx_transform *by, bias_low, bint double_scores):
    """Whether what a soft cap, or a bias of two parts, rounds off is more than exponentials allow for."""
    cdef double rounded = 0.0 if bias_low is None else np.abs(bias_low).max()
    return (rounded + by.cap * (2.0 ** -53 if double_scores else 2.0 ** -24)) * by.scale > 2.0 ** -12


cdef int start(Call *c, Rows scores, Py_ssize_t n, Py_ssize_t classes, bint single, bint transformed) except -1:
    """A call for these scores without any option, targets or results."""
    cdef Py_ssize_t itemsize = 4 if single else 8, row_size = classes * itemsize
    memset(c, 0, sizeof(Call))
    c.kernels = active
    c.head = head_of("cross_entropy", 0.0)
    c.linear = True
    c.double_scores = not single
    c.scores = scores
    c.n = n
    c.classes = classes
    c.summed = summed_rows(row_size * (3 if transformed else 1), classes <= FX_FEW(itemsize))
    c.chunk = chunk_rows(c.summed,
                         is_direct(&c.scores, <float *>NULL) if single else is_direct(&c.scores, <double *>NULL),
                         row_size, n, scores.inner)
    c.transform.scale = 1.0
    c.transformed = transformed
    return 0


cdef int start_with(Call *c, cnp.ndarray scores, bint transformed) except -1:
    cdef Py_ssize_t classes = cnp.PyArray_DIM(scores, cnp.PyArray_NDIM(scores) - 1)
    return start(c, rows_of(scores), cnp.PyArray_SIZE(scores) // classes, classes,
                 cnp.PyArray_ITEMSIZE(scores) != 8, transformed)


cdef extended run_on(Call *c, n_threads) except? -1.0:
    cdef int threads = threads_for(n_threads, c.n * c.classes)
    return run(c, threads, <double *>NULL) if c.double_scores else run(c, threads, <float *>NULL)


cdef inline void scale_by(Call *c, extended weight) noexcept nogil:
    """Gradients are those of the sum divided by a weight."""
    cdef extended scale = 1.0 / weight if weight > 0.0 else 0.0
    c.scale = <double>scale
    c.scale_rest = rounded_off(scale, c.scale)


cdef object finish(Call *c, str reduction, n_threads, divisor=None):
    """Run a call; what `loss` returns."""
    cdef extended total
    cdef extended weight = 1.0
    cdef cnp.ndarray losses = None
    if reduction == "mean":
        weight = total_weight(c) if divisor is None else divisor
    elif reduction == "none":
        losses = np.empty(c.n, np.float64 if c.double_scores else np.float32)
        c.losses = cnp.PyArray_DATA(losses)
    scale_by(c, weight)
    total = run_on(c, n_threads)
    if c.refused:
        return None
    return losses if losses is not None else mean_of(total, weight)


def loss(cnp.ndarray scores, labels, dense, sparse, weights, str head, double parameter, alpha, double smoothing,
         double z_loss, transform, ignored, str reduction, grad, hess, vector, bint in_place, temperature, n_threads,
         divisor=None):
    """The checked call: exactly one of `labels`, `dense`, `sparse` is given, arrays are (rows, n) or
    (outer, inner, n), `sparse` is (indptr, indices, values), `weights` are float64, `grad` and `hess` arrays
    to fill or None; with a `vector`, `grad` takes the product of the Hessian and it. `transform` is None or
    (1 / temperature, what that rounds off, soft cap or 0, float64 bias or None, mask or None); `temperature` an array
    to fill with each row's derivative or None; `divisor` what a "mean" divides by, if these are not all of
    its rows. Returns a float, or with "none" an array; None if dense targets or a mask must be refused."""
    cdef Call c
    cdef cnp.ndarray bias_high = None, bias_low = None
    start_with(&c, scores, transform is not None)
    c.head = head_of(head, parameter)
    c.linear = head == "cross_entropy"
    c.alpha = <double *>data_of(alpha)
    c.smoothing = smoothing
    c.z_loss = z_loss
    c.has_ignored = ignored is not None
    c.ignored = ignored if c.has_ignored else 0
    set_targets(&c, labels, dense, sparse)
    c.weights = <double *>data_of(weights)
    if c.transformed:
        c.transform.scale, c.transform.scale_rest, c.transform.cap, bias, mask = transform
        if bias is not None:
            bias_high, bias_low = two_parts(bias, not c.double_scores)
            c.bias = data_of(bias_high)
            c.bias_low = data_of(bias_low)
            c.transform.loose = is_loose(&c.transform, bias_low, c.double_scores)
        c.has_left_out = mask is not None
        if c.has_left_out:
            c.left_out = rows_of(mask)
        c.paired = (c.transform.scale != 1.0 or c.transform.cap > 0.0 or bias is not None or temperature is not None)
    c.temperature = <double *>data_of(temperature)
    c.plain = c.linear and smoothing == 0.0 and z_loss == 0.0 and not c.paired
    c.has_grad = grad is not None
    if c.has_grad:
        c.grad = rows_of(grad)
    c.has_hess = hess is not None
    if c.has_hess:
        c.hess = rows_of(hess)
    c.has_vector = vector is not None
    if c.has_vector:
        c.vector = rows_of(vector)
    c.in_place = in_place
    return finish(&c, reduction, n_threads, divisor)


cdef inline bint is_whole(cnp.ndarray array, int ndim):
    """Whether an array is contiguous, aligned and of this machine's byte order, of so many dimensions."""
    return cnp.PyArray_NDIM(array) == ndim and cnp.PyArray_ISCARRAY_RO(array)


cdef inline bint is_off(object option, double value):
    return type(option) is float and <double>option == value


cdef inline bint is_apart(cnp.ndarray a, cnp.ndarray b):
    """Whether contiguous arrays share no memory."""
    cdef const char *x = <const char *>cnp.PyArray_DATA(a)
    cdef const char *y = <const char *>cnp.PyArray_DATA(b)
    return x + cnp.PyArray_NBYTES(a) <= y or y + cnp.PyArray_NBYTES(b) <= x


def quick(logits, targets, grad, hess, axis, sample_weight, class_weight, label_smoothing, ignore_index, class_mask,
          temperature, temperature_grad, softcap, logit_bias, z_loss, reduction, n_threads):
    """The call that is made most, labels for whole rows without options, checked here and computed, for a third of the
    time where arrays are small; None for every other call, and for all that must be refused."""
    cdef Call c
    cdef cnp.ndarray scores, labels, out = None
    cdef Py_ssize_t bad
    if not (cnp.PyArray_CheckExact(logits) and cnp.PyArray_CheckExact(targets) and hess is False
            and sample_weight is None and class_weight is None and is_off(label_smoothing, 0.0) and class_mask is None
            and is_off(temperature, 1.0) and temperature_grad is False and softcap is None and logit_bias is None
            and is_off(z_loss, 0.0) and (ignore_index is None or type(ignore_index) is int)
            and type(reduction) is str and reduction in ("mean", "sum", "none")
            and type(axis) is int and (axis == -1 or axis == 1)):
        return None
    scores = logits
    labels = targets
    if not (is_whole(scores, 2) and cnp.PyArray_NDIM(labels) == 1 and cnp.PyArray_ISALIGNED(labels)
            and cnp.PyArray_ISNOTSWAPPED(labels) and cnp.PyArray_ISINTEGER(labels)
            and (cnp.PyArray_TYPE(scores) == cnp.NPY_FLOAT or cnp.PyArray_TYPE(scores) == cnp.NPY_DOUBLE)
            and cnp.PyArray_DIM(scores, 1) >= 2 and cnp.PyArray_DIM(labels, 0) == cnp.PyArray_DIM(scores, 0)):
        return None
    start_with(&c, scores, False)
    c.plain = True
    c.kind = LABELS
    c.labels = integers_of(labels)
    c.has_ignored = ignore_index is not None
    if c.has_ignored:
        if not -(1 << 63) <= ignore_index < 1 << 63:
            return None
        c.ignored = ignore_index
    with nogil:
        bad = bad_label(&c.labels, c.n, c.classes, c.has_ignored, c.ignored)
    if bad >= 0:
        return None
    if grad is True:
        out = empty(2, cnp.PyArray_DIMS(scores), cnp.PyArray_TYPE(scores))
    elif cnp.PyArray_CheckExact(grad):
        out = grad
        if not (is_whole(out, 2) and cnp.PyArray_ISWRITEABLE(out)
                and cnp.PyArray_TYPE(out) == cnp.PyArray_TYPE(scores)
                and cnp.PyArray_DIM(out, 0) == c.n and cnp.PyArray_DIM(out, 1) == c.classes):
            return None
        c.in_place = cnp.PyArray_DATA(out) == cnp.PyArray_DATA(scores)
        if not ((c.in_place or is_apart(out, scores)) and (cnp.PyArray_ISONESEGMENT(labels) and is_apart(out, labels))):
            return None
    elif grad is not False:
        return None
    if out is None:
        return finish(&c, reduction, n_threads)
    c.has_grad = True
    c.grad = rows_of(out)
    return finish(&c, reduction, n_threads), out


cdef double *weights_at(const Call *c, size_t class_weights, bint single) except? NULL:
    """The class weight of each row, in new memory; NULL if one of the weights must be refused."""
    cdef double *weights = <double *>malloc(max(1, c.n) * sizeof(double))
    cdef double weight
    cdef long long label
    cdef Py_ssize_t i
    if weights == NULL:
        raise MemoryError()
    for i in range(c.classes):
        weight = (<float *>class_weights)[i] if single else (<double *>class_weights)[i]
        if not 0.0 <= weight < INFINITY:
            free(weights)
            return NULL
    for i in range(c.n):
        label = read_integer(&c.labels, i)
        if label == c.ignored:
            weights[i] = 0.0
        else:
            weights[i] = (<float *>class_weights)[label] if single else (<double *>class_weights)[label]
    return weights


def quick_at(size_t scores, size_t labels, size_t grad, size_t loss, bint single, str reduction, n_threads,
             Py_ssize_t n, Py_ssize_t classes, long long ignored, size_t class_weights):
    """The same for contiguous memory by its address: int64 labels; class weights and gradient of the type of the
    scores, 0 for none. The loss is stored at `loss`, in that type. Whether that was done: it is not where an address is
    missing or not aligned, a label out of range, a weight not finite or negative, and for means of extreme weight."""
    cdef Call c
    cdef Rows rows
    cdef size_t itemsize = 4 if single else 8
    cdef double total
    cdef extended weight = 1.0
    cdef double *weights = NULL
    if not (scores and labels and loss and reduction in ("mean", "sum", "none")
            and (scores | class_weights | grad | loss) % itemsize == 0 and labels % 8 == 0):
        return False
    rows.data = <char *>scores
    rows.storage = FLOAT32 if single else FLOAT64
    rows.inner = max(1, n)
    rows.outer_stride = 0
    rows.class_stride = itemsize
    rows.inner_stride = rows.class_stride * classes
    start(&c, rows, n, classes, single, False)
    c.plain = True
    c.kind = LABELS
    c.labels.data = <char *>labels
    c.labels.storage = INT64
    c.labels.stride = 8
    c.has_ignored = True
    c.ignored = ignored
    if bad_label(&c.labels, n, classes, True, ignored) >= 0:
        return False
    if class_weights:
        weights = weights_at(&c, class_weights, single)
        if weights == NULL:
            return False
        c.weights = weights
    try:
        if reduction == "mean":
            weight = total_weight(&c)
            if not 1e-30 < weight < 1e30:
                return False
        scale_by(&c, weight)
        if reduction == "none":
            c.losses = <void *>loss
        if grad:
            c.has_grad = True
            c.grad = rows
            c.grad.data = <char *>grad
            c.in_place = grad == scores
        total = mean_of(run_on(&c, n_threads), weight)
    finally:
        free(weights)
    if reduction != "none" and single:
        (<float *>loss)[0] = <float>total
    elif reduction != "none":
        (<double *>loss)[0] = total
    return True
