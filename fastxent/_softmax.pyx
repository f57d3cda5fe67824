"""Row loops of the softmax family.

Rows are taken in chunks whose size depends on the number of classes and the element type alone, so that neither
the number of threads nor their order shows in a result. A chunk is taken through these steps:

1.  its rows, directly or as a copy in the computing type;
2.  `rows_expsum`: the largest score, how often it occurs, the sum of exponentials of all others; the exponentials
    themselves are stored where the gradient will stand (few classes, or output that is not writable row by row:
    in scratch memory);
3.  for every row its targets, by gathering: what they are decides the loss (a head: a scalar function of -log p)
    and four numbers, the gradient being factor * exponential + offset, and a value of its own at the label;
4.  `rows_scale` turns exponentials into gradients, `rows_curvature` into the Hessian's diagonal; targets are
    scattered into them.

A hard target (a label, or the only nonzero entry of a row) goes one way, whatever form it came in: labels, one-hot
rows and one-hot CSR rows give the same bits.
"""
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, isfinite
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

cimport numpy as cnp
import numpy as np

from fastxent._arrays cimport (UINT64, Integers, Rows, direct_rows, integers_of, is_direct, read_integer, read_rows,
                               rows_of, write_rows)
from fastxent._kernels cimport (FX_FEW, FX_FEW_SIZE, Table, active, fx_rows, fx_target, real, row_subtract,
                                row_target, rows_curvature, rows_expsum, rows_scale, rows_subtract_max, share,
                                threads_for)

cnp.import_array()

# ---- heads ------------------------------------------------------------------------------------------------

# One row with a hard target, as a head sees it: -log p, and p as a fraction; 1 - p = (total - e) / total is given
# because it cannot be had from p.
cdef struct Hard:
    double nll
    double e
    double total
    double not_p

# A loss as a function of nll = -log p: its value, and its first and second derivative.
cdef struct Slope:
    double value
    double first
    double second

ctypedef void (*Head)(const Hard *row, double parameter, Slope *at) noexcept nogil


cdef void cross_entropy_head(const Hard *row, double parameter, Slope *at) noexcept nogil:
    at.value = row.nll
    at.first = 1.0
    at.second = 0.0


# ---- calls ------------------------------------------------------------------------------------------------

cdef enum Kind:
    LABELS, DENSE, CSR

cdef struct Sparse:
    Integers indptr
    Integers indices
    const double *values

# Everything that the threads of one call read.
cdef struct Call:
    Table kernels
    Head head
    double parameter
    double smoothing
    Py_ssize_t n
    Py_ssize_t classes
    Py_ssize_t chunk
    Py_ssize_t summed
    Rows scores
    Kind kind
    Integers labels
    Rows dense
    Sparse sparse
    bint has_ignored
    long long ignored
    const double *weights
    double scale
    bint has_grad
    bint has_hess
    bint in_place
    Rows grad
    Rows hess
    void *losses
    double *partial
    Py_ssize_t refused

# Per-row figures of a chunk, and room for rows; one of these for each thread.
cdef struct Scratch:
    fx_rows stats
    double *log_total
    double *margin
    double *margin_rest
    double *exp_margin
    double *mass
    double *mass_rest
    double *factor
    double *offset
    double *at_label
    double *loss
    Py_ssize_t *label
    void *x
    void *e
    void *out
    void *y

cdef enum:
    FIGURES = 18
    NO_LABEL = -1
    SOFT = -2


cdef Py_ssize_t summed_rows(Py_ssize_t classes, Py_ssize_t itemsize) noexcept nogil:
    """Rows whose losses are added up together: as many as stay in the first-level cache, a power of two."""
    cdef Py_ssize_t fitting = 16384 // (classes * itemsize), rows = 16 if classes <= FX_FEW else 1
    while 2 * rows <= min(fitting, 128 if classes <= FX_FEW else 16):
        rows *= 2
    return rows


cdef Py_ssize_t chunk_rows(Py_ssize_t summed, bint direct) noexcept nogil:
    """Rows taken together: more where they are gathered from columns, so that cache lines are used whole."""
    return summed if direct else max(16, summed)


cdef inline char *align(char *p) noexcept nogil:
    return <char *>((<uintptr_t>p + 63) & ~<uintptr_t>63)


cdef inline Py_ssize_t block_size(Py_ssize_t chunk, Py_ssize_t classes, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t size = FX_FEW_SIZE(chunk, classes) if classes <= FX_FEW else chunk * classes
    return (size * itemsize + 63) // 64 * 64


cdef Py_ssize_t scratch_size(Py_ssize_t chunk, Py_ssize_t classes, Py_ssize_t itemsize) noexcept nogil:
    """Bytes for one thread, all of it: pages that a call does not touch cost nothing."""
    cdef Py_ssize_t figures = (FIGURES + 1) * ((chunk + 7) // 8 * 8) * <Py_ssize_t>sizeof(double)
    return 64 + figures + 4 * block_size(chunk, classes, itemsize)


cdef void lay_out(Scratch *s, char *memory, Py_ssize_t chunk, Py_ssize_t classes, Py_ssize_t itemsize,
                  bint smoothed) noexcept nogil:
    cdef Py_ssize_t figure = (chunk + 7) // 8 * 8
    cdef Py_ssize_t block = block_size(chunk, classes, itemsize)
    cdef double *figures
    memory = align(memory)
    figures = <double *>memory
    s.stats.max = figures
    s.stats.ties = figures + figure
    s.stats.others = figures + 2 * figure
    s.stats.stored = figures + 3 * figure
    s.stats.margins = figures + 4 * figure if smoothed else NULL
    s.stats.classes = figures + 5 * figure if smoothed else NULL
    s.stats.margins_rest = figures + 15 * figure if smoothed else NULL
    s.margin_rest = figures + 16 * figure
    s.mass_rest = figures + 17 * figure
    s.log_total = figures + 6 * figure
    s.margin = figures + 7 * figure
    s.exp_margin = figures + 8 * figure
    s.mass = figures + 9 * figure
    s.factor = figures + 10 * figure
    s.offset = figures + 11 * figure
    s.at_label = figures + 12 * figure
    s.loss = figures + 13 * figure
    s.stats.rest = figures + 14 * figure
    s.label = <Py_ssize_t *>(figures + FIGURES * figure)
    memory = <char *>(figures + (FIGURES + 1) * figure)
    s.x = memory
    s.e = memory + block
    s.out = memory + 2 * block
    s.y = memory + 3 * block


cdef inline double below(double max, double score) noexcept nogil:
    """max - score, 0 for the maximum itself even if it is infinite."""
    # Asking for equality first would be a branch that no processor foresees.
    if max == INFINITY and score == INFINITY:
        return 0.0
    return max - score


cdef inline long double exactly_below(double max, double score) noexcept nogil:
    """`below`, rounded to long double only."""
    if max == INFINITY and score == INFINITY:
        return 0.0
    return <long double>max - score


cdef inline double rounded_off(long double exact, double value) noexcept nogil:
    return <double>(exact - value) if isfinite(value) else 0.0


cdef inline double add3(double a, double b, double c) noexcept nogil:
    """a + b + c for c of the size of b's rounding, rounded once; infinite and NaN sums as they are."""
    cdef double sum = a + b, rounded = sum - a
    if not isfinite(sum):
        return sum
    return sum + (((a - (sum - rounded)) + (b - rounded)) + c)


# ---- targets of a chunk -----------------------------------------------------------------------------------

cdef inline void read_labels(const Call *c, Scratch *s, Py_ssize_t first, Py_ssize_t count, const real *x,
                             Py_ssize_t x_stride) noexcept nogil:
    """Labels and, before anything overwrites the scores, the scores there (into `margin`)."""
    cdef Py_ssize_t i
    cdef long long label
    for i in range(count):
        label = read_integer(&c.labels, first + i)
        if c.has_ignored and label == c.ignored:
            s.label[i] = NO_LABEL
            s.margin[i] = 0.0
        else:
            s.label[i] = label
            s.margin[i] = x[i * x_stride + label]
            s.mass[i] = 1.0


cdef inline const real *dense_row(const Call *c, Scratch *s, Py_ssize_t row, real *like) noexcept nogil:
    cdef const real *y = direct_rows(&c.dense, row, 1, like)
    if y == NULL:
        read_rows(c.kernels, &c.dense, row, 1, c.classes, <real *>s.y)
        y = <real *>s.y
    return y


cdef inline void read_dense(Call *c, Scratch *s, Py_ssize_t first, Py_ssize_t count, const real *x,
                            Py_ssize_t x_stride) noexcept nogil:
    cdef Py_ssize_t i
    cdef const real *y
    cdef fx_target target
    for i in range(count):
        y = dense_row(c, s, first + i, <real *>NULL)
        row_target(c.kernels, y, x + i * x_stride, c.classes, s.stats.max[i], &target)
        if target.refused:
            c.refused = 1
        if target.count == 1:
            s.label[i] = target.last
            s.margin[i] = x[i * x_stride + target.last]
            s.mass[i] = y[target.last]
        else:
            s.label[i] = SOFT
            s.margin[i] = target.margin
            s.margin_rest[i] = target.margin_rest
            s.mass[i] = target.sum
            s.mass_rest[i] = target.sum_rest


cdef inline void read_sparse(const Call *c, Scratch *s, Py_ssize_t first, Py_ssize_t count, const real *x,
                             Py_ssize_t x_stride) noexcept nogil:
    cdef Py_ssize_t i, j, entry, stored
    cdef double value
    cdef long double mass, margin
    for i in range(count):
        mass = 0.0
        margin = 0.0
        stored = 0
        for entry in range(read_integer(&c.sparse.indptr, first + i), read_integer(&c.sparse.indptr, first + i + 1)):
            value = c.sparse.values[entry]
            if value != 0.0:
                j = read_integer(&c.sparse.indices, entry)
                stored += 1
                mass += value
                margin += value * exactly_below(s.stats.max[i], x[i * x_stride + j])
                s.label[i] = j
        s.mass[i] = <double>mass
        if stored == 1:
            s.margin[i] = x[i * x_stride + s.label[i]]
        else:
            s.label[i] = SOFT
            s.margin[i] = <double>margin
            s.margin_rest[i] = rounded_off(margin, s.margin[i])
            s.mass_rest[i] = rounded_off(mass, s.mass[i])


cdef inline void subtract_sparse(const Call *c, Py_ssize_t row, real *out, double scale) noexcept nogil:
    cdef Py_ssize_t entry, j
    for entry in range(read_integer(&c.sparse.indptr, row), read_integer(&c.sparse.indptr, row + 1)):
        j = read_integer(&c.sparse.indices, entry)
        out[j] = <real>(out[j] - scale * c.sparse.values[entry])


# ---- one chunk --------------------------------------------------------------------------------------------

cdef inline void figure_hard(const Call *c, Scratch *s, Py_ssize_t i, double weight) noexcept nogil:
    """A hard target without smoothing."""
    cdef double scale = weight * c.scale, total = s.stats.ties[i] + s.stats.others[i], slope
    cdef Hard hard
    cdef Slope at
    hard.nll = add3(s.margin[i], s.log_total[i], s.stats.rest[i])
    hard.e = s.exp_margin[i]
    hard.total = total
    hard.not_p = ((s.stats.ties[i] - s.exp_margin[i]) + s.stats.others[i]) / total
    c.head(&hard, c.parameter, &at)
    slope = s.mass[i] * at.first
    s.loss[i] = weight * (s.mass[i] * at.value)
    s.factor[i] = scale * slope / s.stats.stored[i]
    s.at_label[i] = -scale * slope * hard.not_p


cdef void figure_mixture(const Call *c, Scratch *s, Py_ssize_t i, double weight) noexcept nogil:
    """A soft target, or a smoothed one: in long double, since it has too many terms for two ulps in double."""
    cdef long double scale = <long double>weight * c.scale, total = <long double>s.stats.ties[i] + s.stats.others[i]
    cdef long double smoothing = c.smoothing, kept = 1 - smoothing, mass = s.mass[i]
    cdef long double log_total = <long double>s.log_total[i] + s.stats.rest[i], margin, loss, slope, mixed
    cdef Hard hard
    cdef Slope at
    if s.label[i] == SOFT:
        mass += s.mass_rest[i]
        margin = <long double>s.margin[i] + s.margin_rest[i]
        loss = kept * (margin + mass * log_total)
        slope = kept * mass
        s.at_label[i] = <double>(scale * kept)
    else:
        margin = <long double>s.margin[i] + s.margin_rest[i]
        hard.nll = <double>(margin + log_total)
        hard.e = s.exp_margin[i]
        hard.total = <double>total
        hard.not_p = <double>(((s.stats.ties[i] - hard.e) + <long double>s.stats.others[i]) / total)
        c.head(&hard, c.parameter, &at)
        loss = kept * mass * (margin + log_total if c.head == cross_entropy_head else at.value)
        slope = kept * mass * at.first
        s.at_label[i] = <double>(-scale * slope * hard.not_p)
    if smoothing != 0:
        mixed = smoothing / s.stats.classes[i]
        loss += smoothing * log_total + mixed * (<long double>s.stats.margins[i] + s.stats.margins_rest[i])
        s.offset[i] = <double>(-scale * mixed)
        # A label at -inf is a masked class, which has no share in the mixture.
        if s.label[i] >= 0 and not (s.margin[i] == INFINITY and isfinite(s.stats.max[i])):
            s.at_label[i] = <double>(scale * (smoothing * (hard.e / total) - mixed - slope * hard.not_p))
        slope += smoothing
    s.loss[i] = <double>(weight * loss)
    s.factor[i] = <double>(scale * slope / s.stats.stored[i])


cdef inline void figure_rows(const Call *c, Scratch *s, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """Losses, and what turns exponentials into gradients and curvature, for every row of a chunk."""
    cdef Py_ssize_t i
    cdef double weight
    for i in range(count):
        weight = c.weights[first + i] if c.weights != NULL else 1.0
        if weight == 0.0 or s.label[i] == NO_LABEL:
            s.label[i] = NO_LABEL
            s.loss[i] = 0.0
            s.factor[i] = s.offset[i] = s.margin[i] = s.exp_margin[i] = 0.0
            continue
        if c.smoothing != 0.0 or s.label[i] == SOFT:
            figure_mixture(c, s, i, weight)
        else:
            figure_hard(c, s, i, weight)
        if c.has_hess:
            # What the curvature takes, in place of figures that are done with.
            s.exp_margin[i] = 1.0 / s.stats.stored[i]
            s.margin[i] = ((s.stats.ties[i] - 1.0) + s.stats.others[i]) / (s.stats.ties[i] + s.stats.others[i])


cdef void loss_chunk(Call *c, Scratch *s, Py_ssize_t which, real *like) noexcept nogil:
    cdef Table k = c.kernels
    cdef Py_ssize_t first = which * c.chunk, count = min(c.chunk, c.n - first), n = c.classes, i, x_stride
    cdef Py_ssize_t e_stride = n, out_stride = n, hess_stride = n
    cdef real *x = direct_rows(&c.scores, first, count, like)
    cdef real *e = NULL
    cdef real *out = NULL
    cdef real *hess = NULL
    cdef bint in_place = c.in_place and x != NULL, out_direct = True, hess_direct = True
    cdef Rows *first_output = &c.grad if c.has_grad else &c.hess
    cdef long double exact

    if x != NULL:
        x_stride = c.scores.inner_stride // <Py_ssize_t>sizeof(real)
    else:
        x = <real *>s.x
        x_stride = n
        read_rows(k, &c.scores, first, count, n, x)
    if c.has_grad or c.has_hess:
        out = direct_rows(first_output, first, count, like)
        out_direct = out != NULL
        if out_direct:
            out_stride = first_output.inner_stride // <Py_ssize_t>sizeof(real)
        else:
            out = <real *>s.out
        if n <= FX_FEW or (in_place and c.kind != LABELS):
            e = <real *>s.e
        else:
            e = out
            e_stride = out_stride

    if c.kind == LABELS:
        read_labels(c, s, first, count, x, x_stride)
    rows_expsum(k, x, x_stride, count, n, e, e_stride, &s.stats)
    for i in range(count):
        s.log_total[i] = (s.stats.ties[i] - 1.0) + s.stats.others[i]
    k.f64.log1p(s.log_total, s.log_total, s.stats.rest, count)
    if c.kind == DENSE:
        read_dense(c, s, first, count, x, x_stride)
    elif c.kind == CSR:
        read_sparse(c, s, first, count, x, x_stride)
    for i in range(count):
        if s.label[i] >= 0:
            if c.smoothing != 0.0:
                exact = exactly_below(s.stats.max[i], s.margin[i])
                s.margin[i] = <double>exact
                s.margin_rest[i] = rounded_off(exact, s.margin[i])
            else:
                s.margin[i] = below(s.stats.max[i], s.margin[i])
        s.exp_margin[i] = -s.margin[i]
    if e != NULL or c.head != cross_entropy_head:
        k.f64.exp(s.exp_margin, s.exp_margin, count)
    figure_rows(c, s, first, count)

    if c.losses != NULL:
        for i in range(count):
            (<real *>c.losses)[first + i] = <real>s.loss[i]
    else:
        for i in range((count + c.summed - 1) // c.summed):
            c.partial[first // c.summed + i] = k.f64.sum(s.loss + i * c.summed, min(c.summed, count - i * c.summed))
    if c.has_hess:
        hess = out
        hess_stride = out_stride
        if c.has_grad:
            hess = direct_rows(&c.hess, first, count, like)
            hess_direct = hess != NULL
            if hess_direct:
                hess_stride = c.hess.inner_stride // <Py_ssize_t>sizeof(real)
            else:
                hess = <real *>s.x
                hess_stride = n
        rows_curvature(k, e, e_stride, count, n, s.exp_margin, s.margin, s.factor, hess, hess_stride)
        if not (hess_direct and (c.has_grad or out_direct)):
            write_rows(k, &c.hess, first, count, n, hess)
    if c.has_grad:
        rows_scale(k, e, e_stride, count, n, s.factor, s.offset if c.smoothing != 0.0 else NULL, out, out_stride)
        for i in range(count):
            if s.label[i] >= 0:
                out[i * out_stride + s.label[i]] = <real>s.at_label[i]
            elif s.label[i] == SOFT and c.kind == DENSE:
                row_subtract(k, out + i * out_stride, dense_row(c, s, first + i, like), n, s.at_label[i])
            elif s.label[i] == SOFT:
                subtract_sparse(c, first + i, out + i * out_stride, s.at_label[i])
        if not out_direct:
            write_rows(k, &c.grad, first, count, n, out)


cdef double run(Call *c, int threads, real *like) except? -1.0:
    """All chunks; the sum of their losses, added up in order."""
    cdef Py_ssize_t itemsize = sizeof(real), chunks = (c.n + c.chunk - 1) // c.chunk, which
    cdef Py_ssize_t sums = (c.n + c.summed - 1) // c.summed
    cdef Py_ssize_t size = scratch_size(c.chunk, c.classes, itemsize)
    cdef bint smoothed = c.smoothing != 0.0
    cdef char *memory = <char *>malloc(threads * size + sums * sizeof(double) + threads * sizeof(Scratch))
    cdef Scratch *scratch
    cdef double total
    cdef int thread
    if memory == NULL:
        raise MemoryError()
    with nogil:
        c.partial = <double *>(memory + threads * size)
        scratch = <Scratch *>(c.partial + sums)
        for thread in range(threads):
            lay_out(&scratch[thread], memory + thread * size, c.chunk, c.classes, itemsize, smoothed)
        if threads == 1:
            for which in range(chunks):
                loss_chunk(c, scratch, which, like)
        else:
            for which in prange(chunks, num_threads=threads, schedule="dynamic", chunksize=share(chunks, threads)):
                loss_chunk(c, &scratch[threadid()], which, like)
        total = c.kernels.f64.sum(c.partial, sums) if c.losses == NULL else 0.0
        free(memory)
    return total


# ---- entry points -----------------------------------------------------------------------------------------

def first_bad_label(labels, Py_ssize_t classes, ignored):
    """The first row whose label is neither in [0, classes) nor `ignored`, or -1."""
    cdef Integers integers = integers_of(labels)
    cdef Py_ssize_t i, n = len(labels), bad = -1
    cdef bint has_ignored = ignored is not None, wraps = integers.storage == UINT64
    cdef long long label, ignored_label = ignored if has_ignored else 0
    with nogil:
        for i in range(n):
            label = read_integer(&integers, i)
            # A uint64 of 2^63 or more reads as a negative number, which it is not.
            if ((label < 0 or label >= classes)
                    and not (has_ignored and label == ignored_label and not (wraps and label < 0))):
                bad = i
                break
    return bad


def first_bad_csr(indptr, indices, values, Py_ssize_t classes):
    """What is wrong with a CSR matrix and where: ("indptr", row), ("indices", row, entry), ("values", row, entry),
    or None. `values` are float64, contiguous."""
    cdef Integers pointers = integers_of(indptr), columns = integers_of(indices)
    cdef cnp.ndarray array = values
    cdef const double *stored = <double *>cnp.PyArray_DATA(array)
    cdef Py_ssize_t row, entry = 0, n = len(indptr) - 1, length = min(len(indices), len(values)), wrong = 0
    cdef long long start, stop, column
    with nogil:
        for row in range(n):
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


cdef double total_weight(const Call *c) noexcept nogil:
    """Sum of the weights of the rows that are not ignored, by blocks of rows."""
    cdef double[512] block
    cdef double total = 0.0, rest = 0.0, part, rounded
    cdef Py_ssize_t first, i, count
    if c.weights == NULL and not c.has_ignored:
        return <double>c.n
    for first in range(0, c.n, 512):
        count = min(512, c.n - first)
        for i in range(count):
            block[i] = c.weights[first + i] if c.weights != NULL else 1.0
            if c.has_ignored and read_integer(&c.labels, first + i) == c.ignored:
                block[i] = 0.0
        part = c.kernels.f64.sum(block, count)
        rounded = total + part
        rest += part - (rounded - total) if total >= part else total - (rounded - part)
        total = rounded
    return total + rest


def loss(cnp.ndarray scores, labels, dense, sparse, weights, double smoothing, ignored, str reduction, grad, hess,
         bint in_place, n_threads):
    """The checked call: exactly one of `labels`, `dense`, `sparse` is given, arrays are (rows, n) or
    (outer, inner, n), `sparse` is (indptr, indices, values), `weights` are float64, `grad` and `hess` arrays
    to fill or None. Returns a float, or with "none" an array; None if dense targets must be refused."""
    cdef Call c
    cdef bint single = cnp.PyArray_ITEMSIZE(scores) != 8
    cdef double total
    cdef int threads
    cdef cnp.ndarray array
    c.kernels = active
    c.head = cross_entropy_head
    c.parameter = 0.0
    c.smoothing = smoothing
    c.scores = rows_of(scores)
    c.classes = cnp.PyArray_DIM(scores, cnp.PyArray_NDIM(scores) - 1)
    c.n = cnp.PyArray_SIZE(scores) // c.classes
    c.summed = summed_rows(c.classes, 4 if single else 8)
    c.chunk = chunk_rows(c.summed,
                         is_direct(&c.scores, <float *>NULL) if single else is_direct(&c.scores, <double *>NULL))
    c.has_ignored = ignored is not None
    c.ignored = ignored if c.has_ignored else 0
    if labels is not None:
        c.kind = LABELS
        c.labels = integers_of(labels)
    elif dense is not None:
        c.kind = DENSE
        c.dense = rows_of(dense)
    else:
        c.kind = CSR
        c.sparse.indptr = integers_of(sparse[0])
        c.sparse.indices = integers_of(sparse[1])
        array = sparse[2]
        c.sparse.values = <double *>cnp.PyArray_DATA(array)
    c.weights = NULL
    if weights is not None:
        array = weights
        c.weights = <double *>cnp.PyArray_DATA(array)
    c.has_grad = grad is not None
    if c.has_grad:
        c.grad = rows_of(grad)
    c.has_hess = hess is not None
    if c.has_hess:
        c.hess = rows_of(hess)
    c.in_place = in_place
    c.refused = 0
    c.scale = 1.0
    if reduction == "mean":
        total = total_weight(&c)
        c.scale = 1.0 / total if total > 0.0 else 0.0
    c.losses = NULL
    losses = None
    if reduction == "none":
        losses = np.empty(c.n, np.float32 if single else np.float64)
        array = losses
        c.losses = cnp.PyArray_DATA(array)
    threads = threads_for(n_threads, c.n * c.classes)
    total = run(&c, threads, <float *>NULL) if single else run(&c, threads, <double *>NULL)
    if c.refused:
        return None
    return losses if losses is not None else total * c.scale


# ---- logsumexp, softmax, log_softmax ----------------------------------------------------------------------

cdef enum Wanted:
    LOGSUMEXP, SOFTMAX, LOG_SOFTMAX

cdef struct Special:
    Table kernels
    Wanted wanted
    Py_ssize_t n
    Py_ssize_t classes
    Py_ssize_t chunk
    Rows scores
    Rows out
    void *result


cdef void special_chunk(const Special *c, Scratch *s, Py_ssize_t which, real *like) noexcept nogil:
    cdef Table k = c.kernels
    cdef Py_ssize_t first = which * c.chunk, count = min(c.chunk, c.n - first), n = c.classes, i
    cdef Py_ssize_t x_stride = n, e_stride = n, out_stride = n
    cdef real *x = direct_rows(&c.scores, first, count, like)
    cdef real *out = NULL
    cdef real *e = NULL
    if x != NULL:
        x_stride = c.scores.inner_stride // <Py_ssize_t>sizeof(real)
    else:
        x = <real *>s.x
        read_rows(k, &c.scores, first, count, n, x)
    if c.wanted != LOGSUMEXP:
        out = direct_rows(&c.out, first, count, like)
        if out != NULL:
            out_stride = c.out.inner_stride // <Py_ssize_t>sizeof(real)
        else:
            out = <real *>s.out
    if c.wanted == SOFTMAX:
        e = out
        e_stride = out_stride
        if n <= FX_FEW:
            e = <real *>s.e
            e_stride = n
    rows_expsum(k, x, x_stride, count, n, e, e_stride, &s.stats)
    if c.wanted == SOFTMAX:
        for i in range(count):
            s.factor[i] = 1.0 / s.stats.stored[i]
        rows_scale(k, e, e_stride, count, n, s.factor, NULL, out, out_stride)
    else:
        for i in range(count):
            s.log_total[i] = (s.stats.ties[i] - 1.0) + s.stats.others[i]
        k.f64.log1p(s.log_total, s.log_total, s.stats.rest, count)
        if c.wanted == LOG_SOFTMAX:
            rows_subtract_max(k, x, x_stride, count, n, s.stats.max, s.log_total, out, out_stride)
        else:
            for i in range(count):
                # A row of -inf only has no ties; a NaN among them shows in the others.
                if s.stats.max[i] == -INFINITY:
                    s.log_total[i] = s.stats.others[i]
                    s.stats.rest[i] = 0.0
                (<real *>c.result)[first + i] = <real>add3(s.stats.max[i], s.log_total[i], s.stats.rest[i])
    if out != NULL and direct_rows(&c.out, first, count, like) == NULL:
        write_rows(k, &c.out, first, count, n, out)


cdef int run_special(Special *c, int threads, real *like) except -1:
    cdef Py_ssize_t itemsize = sizeof(real), chunks = (c.n + c.chunk - 1) // c.chunk, which
    cdef Py_ssize_t size = scratch_size(c.chunk, c.classes, itemsize)
    cdef char *memory = <char *>malloc(threads * size + threads * sizeof(Scratch))
    cdef Scratch *scratch
    cdef int thread
    if memory == NULL:
        raise MemoryError()
    with nogil:
        scratch = <Scratch *>(memory + threads * size)
        for thread in range(threads):
            lay_out(&scratch[thread], memory + thread * size, c.chunk, c.classes, itemsize, False)
        if threads == 1:
            for which in range(chunks):
                special_chunk(c, scratch, which, like)
        else:
            for which in prange(chunks, num_threads=threads, schedule="dynamic", chunksize=share(chunks, threads)):
                special_chunk(c, &scratch[threadid()], which, like)
        free(memory)
    return 0


def special(str wanted, scores, out, n_threads):
    """"logsumexp": the array of results; "softmax", "log_softmax": fills `out`, which may be `scores`."""
    cdef Special c
    cdef bint single = scores.dtype.itemsize != 8
    cdef int threads
    cdef cnp.ndarray array
    c.kernels = active
    c.wanted = LOGSUMEXP if wanted == "logsumexp" else SOFTMAX if wanted == "softmax" else LOG_SOFTMAX
    c.scores = rows_of(scores)
    c.classes = scores.shape[-1]
    c.n = scores.size // c.classes
    c.chunk = chunk_rows(summed_rows(c.classes, 4 if single else 8),
                         is_direct(&c.scores, <float *>NULL) if single else is_direct(&c.scores, <double *>NULL))
    result = None
    if c.wanted == LOGSUMEXP:
        result = np.empty(c.n, np.float32 if single else np.float64)
        array = result
        c.result = cnp.PyArray_DATA(array)
    else:
        c.out = rows_of(out)
    threads = threads_for(n_threads, c.n * c.classes)
    if single:
        run_special(&c, threads, <float *>NULL)
    else:
        run_special(&c, threads, <double *>NULL)
    return result
