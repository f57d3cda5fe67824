"""Row loops of the losses on probabilities.

Elements of the binary loss are taken as those of the sigmoid's, in pieces in their logical order.

Rows of the categorical loss are taken in chunks whose size depends on the number of classes and the element type alone.
A hard target (a label, or the only nonzero entry of a row) goes one way, whatever form it came in: -log p of the
chunk's labels in one sweep, and a gradient that is one number but at the label. For other rows `row_surprisal` adds up
the logarithms and `row_slope` fills in the gradient; CSR rows with several entries are spread out for that. Whatever
the targets, every row is looked through for what is no probability.
"""
from cython.parallel cimport prange
from libc.math cimport INFINITY, NAN, frexp, isfinite, ldexp, ldexpl, log, log1pl, logl
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

cimport numpy as cnp
import numpy as np

from fastxent._arrays cimport (Integers, Rows, Sparse, direct_rows, integers_of, is_direct, read_integer, read_rows,
                               rows_of, sparse_of, write_rows)
from fastxent._elements cimport PIECE, Elements, elements_of, gathered, scattered, sparse_piece, target_of
from fastxent._kernels cimport (Table, Team, active, binary_loss, count_outside, end_team, fx_binary, fx_mass,
                                fx_simplex, fx_slope, fx_surprisal, next_item, real, row_fill, row_mass, row_slope,
                                row_sum, row_surprisal, start_team, sum_of, threads_for)
from fastxent._rows cimport mean_of

cnp.import_array()

cdef const double *doubles(object array):
    """The elements of a contiguous float64 array, NULL for None."""
    cdef cnp.ndarray a
    if array is None:
        return NULL
    a = array
    return <double *>cnp.PyArray_DATA(a)


cdef double at_bound(double eps, bint high, double *rest) noexcept:
    """-log(eps) or -log(1 - eps), and what it rounds off; as if nothing were to be clipped for eps = 0."""
    cdef long double exactly = -log1pl(-<long double>eps) if high else -logl(eps)
    cdef double value = <double>exactly
    rest[0] = <double>(exactly - value) if eps > 0.0 else 0.0
    return value


# ---- elements ---------------------------------------------------------------------------------------------

cdef enum:
    ROOMS = 6
    SPARE = 16  # elements that a kernel may read beyond a piece of positive weights

# Everything that the threads of one call read.
cdef struct Binary:
    Table kernels
    Py_ssize_t n
    fx_binary options
    Elements probabilities
    bint is_sparse
    Elements dense
    Sparse sparse
    Py_ssize_t columns
    const double *positive
    const double *row_weights
    Py_ssize_t row_width
    bint has_weights
    Elements weights
    bint has_losses
    bint has_grad
    bint has_hess
    Elements losses
    Elements grad
    Elements hess
    double *sums
    Py_ssize_t refused


cdef inline const real *weights_piece(const Binary *c, Py_ssize_t first, Py_ssize_t n, real *room) noexcept nogil:
    cdef Py_ssize_t i, row, left
    if c.has_weights:
        return gathered(c.kernels, &c.weights, first, n, room)
    if c.row_weights == NULL:
        return NULL
    row = first // c.row_width
    left = (row + 1) * c.row_width - first
    for i in range(n):
        if left == 0:
            row += 1
            left = c.row_width
        room[i] = <real>c.row_weights[row]
        left -= 1
    return room


cdef inline const double *positive_piece(const Binary *c, Py_ssize_t first, Py_ssize_t n, double *room) noexcept nogil:
    cdef Py_ssize_t i, column
    if c.positive == NULL:
        return NULL
    column = first % c.columns
    for i in range(n):
        room[i] = c.positive[column]
        column += 1
        if column == c.columns:
            column = 0
    return room


cdef void binary_piece(Binary *c, double *positive_room, real *room, Py_ssize_t which) noexcept nogil:
    """`room` is for ROOMS pieces, `positive_room` for one and SPARE elements."""
    cdef Table k = c.kernels
    cdef Py_ssize_t first = which * PIECE, n = min(PIECE, c.n - first), refused = 0
    cdef const real *p = gathered(k, &c.probabilities, first, n, room)
    cdef const real *y
    cdef const real *weights = weights_piece(c, first, n, room + 2 * PIECE)
    cdef const double *positive = positive_piece(c, first, n, positive_room)
    cdef real *losses = NULL
    cdef real *grad = NULL
    cdef real *hess = NULL
    if c.is_sparse:
        sparse_piece(&c.sparse, c.columns, first, n, room + PIECE)
        y = room + PIECE
    else:
        y = gathered(k, &c.dense, first, n, room + PIECE)
    if c.has_losses:
        losses = target_of(&c.losses, first, n, room + 3 * PIECE)
    if c.has_grad:
        grad = target_of(&c.grad, first, n, room + 4 * PIECE)
    if c.has_hess:
        hess = target_of(&c.hess, first, n, room + 5 * PIECE)
    c.sums[which] = binary_loss(k, p, y, n, &c.options, positive, weights, losses, grad, hess, &refused)
    if refused:
        c.refused = 1
    if c.has_losses:
        scattered(k, &c.losses, first, n, losses, room + 3 * PIECE)
    if c.has_grad:
        scattered(k, &c.grad, first, n, grad, room + 4 * PIECE)
    if c.has_hess:
        scattered(k, &c.hess, first, n, hess, room + 5 * PIECE)


cdef void binary_pieces(Binary *c, char *room, Py_ssize_t positives, Team *team, int thread, real *like) noexcept nogil:
    cdef Py_ssize_t which = next_item(team, thread)
    while which >= 0:
        binary_piece(c, <double *>room, <real *>(room + positives), which)
        which = next_item(team, thread)


cdef double run_binary(Binary *c, int threads, real *like) except? -1.0:
    cdef Team team
    cdef Py_ssize_t items = (c.n + PIECE - 1) // PIECE
    cdef Py_ssize_t positives = (PIECE + SPARE) * <Py_ssize_t>sizeof(double)
    cdef Py_ssize_t size = positives + ROOMS * PIECE * <Py_ssize_t>sizeof(real)
    cdef char *memory = <char *>malloc(threads * size + items * <Py_ssize_t>sizeof(double))
    cdef double total
    cdef int thread
    start_team(&team, threads, items, c.n, memory)
    # What is beyond the last piece of positive weights is read, and not used.
    for thread in range(threads):
        memset(memory + thread * size, 0, positives)
    with nogil:
        c.sums = <double *>(memory + threads * size)
        if threads == 1:
            binary_pieces(c, memory, positives, &team, 0, like)
        else:
            for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                binary_pieces(c, memory + thread * size, positives, &team, thread, like)
        end_team(&team)
        total = sum_of(c.kernels, c.sums, items)
        free(memory)
    return total


def binary(probabilities, dense, sparse, weights, row_weights, double total_weight, double smoothing, pos_weight,
           double eps, losses, grad, hess, n_threads):
    """The checked call, on arrays (rows, elements) or (outer, inner, elements), each with rows of its own but all in
    the same logical order: `dense` targets, or `sparse` ones as (indptr, indices, values); `weights` of elements or
    float64 `row_weights` or neither; `pos_weight` a float, or float64 ones of the last axis; `losses`, `grad` and
    `hess` arrays to fill or None. Everything but `losses` is divided by `total_weight`. With `sparse` or several
    `pos_weight` the last axis of `probabilities` is that of the elements. Returns the sum of the losses; None if
    targets or probabilities must be refused."""
    cdef Binary c
    cdef bint single = probabilities.dtype.itemsize != 8
    cdef double total
    cdef int threads
    c.kernels = active
    c.probabilities = elements_of(probabilities)
    c.n = probabilities.size
    c.columns = c.probabilities.width
    c.positive = NULL
    c.options.pos_weight = 1.0
    if isinstance(pos_weight, float):
        c.options.pos_weight = pos_weight
    else:
        c.positive = doubles(pos_weight)
        c.columns = len(pos_weight)
    c.options.scale = 1.0 / total_weight if total_weight > 0.0 else 0.0
    c.options.smoothing = smoothing
    c.options.low = eps
    c.options.at_low = at_bound(eps, False, &c.options.at_low_rest)
    c.options.at_high = at_bound(eps, True, &c.options.at_high_rest)
    c.is_sparse = sparse is not None
    if c.is_sparse:
        c.sparse = sparse_of(sparse)
    else:
        c.dense = elements_of(dense)
    c.row_weights = doubles(row_weights)
    if row_weights is not None:
        c.row_width = max(1, c.n // max(1, len(row_weights)))
    c.has_weights = weights is not None
    if c.has_weights:
        c.weights = elements_of(weights)
    c.has_losses = losses is not None
    if c.has_losses:
        c.losses = elements_of(losses)
    c.has_grad = grad is not None
    if c.has_grad:
        c.grad = elements_of(grad)
    c.has_hess = hess is not None
    if c.has_hess:
        c.hess = elements_of(hess)
    c.refused = 0
    threads = threads_for(n_threads, c.n)
    total = run_binary(&c, threads, <float *>NULL) if single else run_binary(&c, threads, <double *>NULL)
    if c.refused:
        return None
    return mean_of(total, total_weight)


# ---- rows -------------------------------------------------------------------------------------------------

cdef enum Kind:
    LABELS, DENSE, CSR

# Everything that the threads of one call read.
cdef struct Call:
    Table kernels
    Py_ssize_t n
    Py_ssize_t classes
    Py_ssize_t chunk
    Py_ssize_t summed
    Rows probabilities
    Kind kind
    Integers labels
    Rows dense
    Sparse sparse
    const double *weights
    double smoothing
    bint normalize
    double most
    double low
    double at_low
    double at_low_rest
    double at_high
    double at_high_rest
    double scale
    bint has_grad
    bint has_hess
    bint zeros
    bint checking
    Rows grad
    Rows hess
    void *losses
    double *partial
    bint sound
    Py_ssize_t refused
    Py_ssize_t nans

# Per-row figures of a chunk, and room for rows; one of these for each thread.
cdef struct Scratch:
    double *p
    double *others
    double *others_rest
    double *total
    double *total_rest
    double *mass
    double *surprisal
    double *surprisal_rest
    double *loss
    Py_ssize_t *label
    void *x
    void *y
    void *grad
    void *hess

cdef enum:
    FIGURES = 10
    # What stands for a label in rows that do not count, have a soft target, or a NaN.
    NO_ROW = -1
    SOFT = -2
    NAN_ROW = -3


cdef Py_ssize_t summed_rows(Py_ssize_t classes, Py_ssize_t itemsize) noexcept nogil:
    """Rows whose losses are added up together: as many as stay in the second-level cache, a power of two."""
    cdef Py_ssize_t most = min(65536 // (classes * itemsize), 256), rows = 1
    while 2 * rows <= most:
        rows *= 2
    return rows


cdef inline Py_ssize_t block_size(Py_ssize_t size) noexcept nogil:
    return (size + 63) // 64 * 64


cdef Py_ssize_t scratch_size(const Call *c, Py_ssize_t itemsize) noexcept nogil:
    """Bytes for one thread, all of it: pages that a call does not touch cost nothing."""
    cdef Py_ssize_t rows = block_size(c.chunk * c.classes * itemsize)
    return block_size(FIGURES * c.chunk * sizeof(double)) + 3 * rows + block_size(c.classes * itemsize)


cdef void lay_out(Scratch *s, const Call *c, char *memory, Py_ssize_t itemsize) noexcept nogil:
    cdef double *figures = <double *>memory
    cdef Py_ssize_t rows = block_size(c.chunk * c.classes * itemsize)
    s.p = figures
    s.others = figures + c.chunk
    s.others_rest = figures + 2 * c.chunk
    s.total = figures + 3 * c.chunk
    s.total_rest = figures + 4 * c.chunk
    s.mass = figures + 5 * c.chunk
    s.surprisal = figures + 6 * c.chunk
    s.surprisal_rest = figures + 7 * c.chunk
    s.loss = figures + 8 * c.chunk
    s.label = <Py_ssize_t *>(figures + 9 * c.chunk)
    memory += block_size(FIGURES * c.chunk * sizeof(double))
    s.x = memory
    s.grad = memory + rows
    s.hess = memory + 2 * rows
    s.y = memory + 3 * rows


cdef inline double weight_of(const Call *c, Py_ssize_t row) noexcept nogil:
    return 1.0 if c.weights == NULL else c.weights[row]


cdef inline double add_pairs(double a, double a_rest, double b, double b_rest, double *rest) noexcept nogil:
    """(a + a_rest) + (b + b_rest), and what that rounds off."""
    cdef double sum = a + b, rounded = sum - a, value
    b_rest = ((a - (sum - rounded)) + (b - rounded)) + a_rest + b_rest
    value = sum + b_rest
    rest[0] = b_rest - (value - sum)
    return value


cdef inline double sum_of_others(Table k, const real *row, Py_ssize_t n, Py_ssize_t label, double *rest) noexcept nogil:
    """The sum of a row without one element, which is not subtracted: that would cancel."""
    cdef double before_rest, behind_rest
    cdef double before = row_sum(k, row, label, &before_rest)
    cdef double behind = row_sum(k, row + label + 1, n - label - 1, &behind_rest)
    return add_pairs(before, before_rest, behind, behind_rest, rest)


# ---- targets of a row ---------------------------------------------------------------------------------------

cdef inline const real *dense_row(const Call *c, Scratch *s, Py_ssize_t row, real *like) noexcept nogil:
    cdef const real *y = direct_rows(&c.dense, row, 1, like)
    if y == NULL:
        read_rows(c.kernels, &c.dense, row, 1, c.classes, <real *>s.y)
        y = <real *>s.y
    return y


cdef inline void spread(const Call *c, real *y, Py_ssize_t row, bint clear) noexcept nogil:
    """Add the entries of a CSR row to a row of zeros, or make it zeros again."""
    cdef Py_ssize_t entry, j
    for entry in range(read_integer(&c.sparse.indptr, row), read_integer(&c.sparse.indptr, row + 1)):
        j = read_integer(&c.sparse.indices, entry)
        y[j] = 0 if clear else <real>(y[j] + c.sparse.values[entry])


cdef inline void read_target(Call *c, Scratch *s, Py_ssize_t i, Py_ssize_t row, real *like) noexcept nogil:
    """The label of a hard target or SOFT, and the sum of the targets."""
    cdef Py_ssize_t entry, stored = 0
    cdef const real *y
    cdef fx_mass mass
    if c.kind == LABELS:
        s.label[i] = read_integer(&c.labels, row)
        s.mass[i] = 1.0
        return
    s.label[i] = SOFT
    if c.kind == CSR:
        for entry in range(read_integer(&c.sparse.indptr, row), read_integer(&c.sparse.indptr, row + 1)):
            if c.sparse.values[entry] != 0.0:
                stored += 1
                s.mass[i] = <real>c.sparse.values[entry]
                s.label[i] = read_integer(&c.sparse.indices, entry)
        if stored != 1:
            s.label[i] = SOFT
        return
    y = dense_row(c, s, row, like)
    row_mass(c.kernels, y, c.classes, &mass)
    if mass.refused:
        c.refused = 1
    if mass.count == 1:
        s.label[i] = mass.last
        s.mass[i] = y[mass.last]


# ---- one chunk ----------------------------------------------------------------------------------------------

cdef inline void read_row(Call *c, Scratch *s, Py_ssize_t i, const real *row, bint sound) noexcept nogil:
    """Refuse what is no probability; of hard targets, the probability of the label; what they are divided by."""
    cdef Table k = c.kernels
    cdef Py_ssize_t n = c.classes, nans = 0, label = s.label[i]
    if not sound:
        if count_outside(k, row, n, c.most, &nans):
            c.refused = 1
            s.label[i] = NO_ROW
            return
        if nans:
            c.nans = 1
            s.label[i] = NAN_ROW
            return
    s.total[i] = 1.0
    s.total_rest[i] = 0.0
    if label >= 0:
        s.p[i] = row[label]
    if not c.normalize:
        return
    if label >= 0:
        s.others[i] = sum_of_others(k, row, n, label, &s.others_rest[i])
        s.total[i] = add_pairs(s.others[i], s.others_rest[i], s.p[i], 0.0, &s.total_rest[i])
    else:
        s.total[i] = row_sum(k, row, n, &s.total_rest[i])
    if not (0.0 < s.total[i] < INFINITY):
        c.refused = 1
        s.label[i] = NO_ROW


cdef inline void surprisals(const Call *c, Scratch *s, Py_ssize_t count, real *like) noexcept nogil:
    """-log p of hard targets, p divided by the row's sum if asked for, and what that rounds off."""
    cdef Table k = c.kernels
    cdef Py_ssize_t i
    cdef double ratio
    if not c.normalize:
        for i in range(count):
            s.surprisal[i] = s.p[i] if s.label[i] >= 0 else 1.0
        k.f64.log(s.surprisal, s.surprisal, s.surprisal_rest, count)
        for i in range(count):
            s.surprisal[i] = 0.0 - s.surprisal[i]
            s.surprisal_rest[i] = 0.0 - s.surprisal_rest[i]
        return
    for i in range(count):
        s.surprisal[i] = s.surprisal_rest[i] = 0.0
        if s.label[i] >= 0:
            ratio = s.others[i] / s.p[i] if s.p[i] > 0.0 else INFINITY
            if isfinite(ratio):
                s.surprisal[i] = ratio
                # A float has no use for it.
                if real is double:
                    s.surprisal_rest[i] = <double>(
                        (<long double>s.others[i] + s.others_rest[i]) / s.p[i] - <long double>ratio)
    k.f64.log1p(s.surprisal, s.surprisal, s.surprisal_rest, count)
    for i in range(count):
        if s.label[i] >= 0 and not (s.p[i] > 0.0 and isfinite(s.others[i] / s.p[i])):
            s.surprisal[i] = log(s.others[i]) - log(s.p[i]) if s.p[i] > 0.0 else INFINITY
            s.surprisal_rest[i] = 0.0


cdef inline bint clipped_label(const Call *c, Scratch *s, Py_ssize_t i) noexcept nogil:
    """Whether the label's probability is clipped; if so, its surprisal is that of the bound."""
    if s.p[i] < c.low * s.total[i]:
        s.surprisal[i] = c.at_low
        s.surprisal_rest[i] = c.at_low_rest
        return True
    if c.low > 0.0 and s.p[i] > (1.0 - c.low) * s.total[i]:
        s.surprisal[i] = c.at_high
        s.surprisal_rest[i] = c.at_high_rest
        return True
    return False


cdef inline void hard_row(const Call *c, Scratch *s, Py_ssize_t i, double weight, real *grad, real *hess,
                          bint zeros) noexcept nogil:
    """A hard target without smoothing."""
    cdef Table k = c.kernels
    cdef Py_ssize_t n = c.classes, label = s.label[i]
    cdef bint clipped = clipped_label(c, s, i)
    cdef double factor = 0.0 if clipped else weight * c.scale * s.mass[i], slope = factor / s.p[i] if factor else 0.0
    cdef double bend = slope / s.p[i] if factor else 0.0, offset = 0.0, offset_bend = 0.0
    cdef long double total, not_p
    # A target that is zero as a float does not count.
    s.loss[i] = <double>((<long double>s.surprisal[i] + s.surprisal_rest[i]) * s.mass[i] * weight) if s.mass[i] else 0.0
    if c.normalize and factor:
        total = s.total[i]
        not_p = s.others[i] / total
        offset = <double>(factor / total)
        offset_bend = <double>(offset / total)
        slope = <double>(not_p * factor / s.p[i])
        bend = <double>(not_p * (1 + s.p[i] / total) * factor / s.p[i] / s.p[i])
    if grad != NULL:
        if not (zeros and offset == 0.0):
            row_fill(k, grad, n, offset)
        grad[label] = <real>(0.0 - slope)
    if hess != NULL:
        if not (zeros and offset_bend == 0.0):
            row_fill(k, hess, n, 0.0 - offset_bend)
        hess[label] = <real>bend


cdef void read_simplex(const Call *c, const Scratch *s, Py_ssize_t i, fx_simplex *of) noexcept nogil:
    cdef double total = s.total[i]
    cdef int power
    cdef long double log_total
    of.shift = of.log_total = of.log_total_rest = 0.0
    of.half = INFINITY
    of.low = c.low
    of.high = 1.0 - c.low if c.low > 0.0 else INFINITY
    of.at_low = c.at_low
    of.at_low_rest = c.at_low_rest
    of.at_high = c.at_high
    of.at_high_rest = c.at_high_rest
    if not c.normalize:
        return
    frexp(total, &power)
    of.shift = power - 1
    # From 1 to 2; in two steps, since the power may be that of no double.
    log_total = ldexp(ldexp(total, -power // 2), 1 - power - -power // 2)
    log_total = logl(log_total + log_total * (s.total_rest[i] / total))
    of.log_total = <double>log_total
    of.log_total_rest = <double>(log_total - of.log_total)
    of.half = 0.5 * total
    of.low *= total
    of.high *= total


cdef void mixed_row(const Call *c, Scratch *s, Py_ssize_t i, const real *row, const real *y, double weight, real *grad,
                    real *hess) noexcept nogil:
    """A soft target `y`, or a smoothed label without one; sums in long double, having too many terms for two ulps."""
    cdef Table k = c.kernels
    cdef Py_ssize_t n = c.classes
    cdef fx_simplex simplex
    cdef fx_surprisal sums
    cdef fx_slope of
    cdef double others, others_rest, p = 0.0
    cdef long double smoothing = c.smoothing, kept = 1 - smoothing, mixed = smoothing / n
    cdef long double loss, inside, offset = 0.0, bend = 0.0, at_label, top = 0.0, factor = <long double>weight * c.scale
    cdef bint clipped = False
    read_simplex(c, s, i, &simplex)
    row_surprisal(k, row, y, n, smoothing != 0, &simplex, &sums)
    inside = mixed * sums.inside_count
    loss = 0.0
    if smoothing != 0:
        loss = mixed * (<long double>sums.even + sums.even_rest)
    if sums.top >= 0:
        p = row[sums.top]
        others = sum_of_others(k, row, n, sums.top, &others_rest)
        if p > simplex.high:
            top = <long double>c.at_high + c.at_high_rest
        else:
            top = log1pl((<long double>others + others_rest) / p)
        loss += mixed * top
    if y == NULL:
        clipped = clipped_label(c, s, i)
        # With nothing kept, 0 times infinity is 0.
        if kept != 0:
            loss += kept * s.mass[i] * (<long double>s.surprisal[i] + s.surprisal_rest[i])
        if not clipped:
            inside += kept * s.mass[i]
    else:
        if kept != 0:
            loss += kept * (<long double>sums.sum + sums.sum_rest)
        if sums.top >= 0:
            loss += kept * y[sums.top] * top
        inside += kept * (<long double>sums.inside + sums.inside_rest)
    s.loss[i] = <double>(loss * weight)
    if grad == NULL and hess == NULL:
        return
    of.kept = <double>(factor * kept)
    of.mixed = <double>(factor * mixed)
    of.offset = of.bend = 0.0
    # A sum above 1 has an inverse, and its smallest elements might not be divided by its power of two.
    of.shift = min(simplex.shift, 0.0)
    if c.normalize:
        offset = factor * inside / s.total[i]
        bend = offset / s.total[i]
        of.offset = <double>ldexpl(offset, <int>of.shift)
        of.bend = <double>ldexpl(bend, 2 * <int>of.shift)
    of.low = simplex.low
    of.high = simplex.high
    row_slope(k, row, y, n, &of, grad, hess)
    if y == NULL and not clipped:
        at_label = factor * (kept * s.mass[i] + mixed) / s.p[i] if factor else 0.0
        if grad != NULL:
            grad[s.label[i]] = <real>(offset - at_label)
        if hess != NULL:
            hess[s.label[i]] = <real>((at_label / s.p[i] if at_label else 0.0) - bend)


cdef void loss_chunk(Call *c, Scratch *s, Py_ssize_t which, real *like) noexcept nogil:
    cdef Table k = c.kernels
    cdef Py_ssize_t first = which * c.chunk, count = min(c.chunk, c.n - first), n = c.classes, i, nans = 0
    cdef Py_ssize_t x_stride = n, grad_stride = n, hess_stride = n
    cdef real *x = direct_rows(&c.probabilities, first, count, like)
    cdef real *grad = NULL
    cdef real *hess = NULL
    cdef real *grad_row = NULL
    cdef real *hess_row = NULL
    cdef double weight
    cdef bint sound = c.sound, grad_direct = False, hess_direct = False
    if x != NULL:
        x_stride = c.probabilities.inner_stride // <Py_ssize_t>sizeof(real)
    else:
        x = <real *>s.x
        read_rows(k, &c.probabilities, first, count, n, x)
    if c.has_grad:
        grad = direct_rows(&c.grad, first, count, like)
        grad_direct = grad != NULL
        if grad_direct:
            grad_stride = c.grad.inner_stride // <Py_ssize_t>sizeof(real)
        else:
            grad = <real *>s.grad
    if c.has_hess:
        hess = direct_rows(&c.hess, first, count, like)
        hess_direct = hess != NULL
        if hess_direct:
            hess_stride = c.hess.inner_stride // <Py_ssize_t>sizeof(real)
        else:
            hess = <real *>s.hess

    if not sound and not c.normalize and (x_stride == n or count == 1):
        sound = count_outside(k, x, count * n, c.most, &nans) == 0 and nans == 0
    for i in range(count):
        read_target(c, s, i, first + i, like)
        if weight_of(c, first + i) == 0.0:
            s.label[i] = NO_ROW
        else:
            read_row(c, s, i, x + i * x_stride, sound)
    if c.checking:
        return
    surprisals(c, s, count, like)

    for i in range(count):
        if grad != NULL:
            grad_row = grad + i * grad_stride
        if hess != NULL:
            hess_row = hess + i * hess_stride
        weight = weight_of(c, first + i)
        if s.label[i] == NO_ROW or s.label[i] == NAN_ROW:
            s.loss[i] = 0.0 if s.label[i] == NO_ROW else NAN
            if grad != NULL:
                row_fill(k, grad_row, n, s.loss[i])
            if hess != NULL:
                row_fill(k, hess_row, n, s.loss[i])
        elif s.label[i] >= 0 and c.smoothing == 0.0:
            hard_row(c, s, i, weight, grad_row, hess_row, c.zeros and grad_direct == c.has_grad
                     and hess_direct == c.has_hess)
        elif s.label[i] >= 0:
            mixed_row(c, s, i, x + i * x_stride, <const real *>NULL, weight, grad_row, hess_row)
        elif c.kind == DENSE:
            mixed_row(c, s, i, x + i * x_stride, dense_row(c, s, first + i, like), weight, grad_row, hess_row)
        else:
            spread(c, <real *>s.y, first + i, False)
            mixed_row(c, s, i, x + i * x_stride, <const real *>s.y, weight, grad_row, hess_row)
            spread(c, <real *>s.y, first + i, True)
    if c.has_grad and not grad_direct:
        write_rows(k, &c.grad, first, count, n, grad)
    if c.has_hess and not hess_direct:
        write_rows(k, &c.hess, first, count, n, hess)

    if c.losses != NULL:
        for i in range(count):
            (<real *>c.losses)[first + i] = <real>s.loss[i]
    else:
        for i in range((count + c.summed - 1) // c.summed):
            c.partial[first // c.summed + i] = sum_of(k, s.loss + i * c.summed, min(c.summed, count - i * c.summed))


cdef void loss_chunks(Call *c, Scratch *s, Team *team, int thread, real *like) noexcept nogil:
    cdef Py_ssize_t which = next_item(team, thread)
    while which >= 0:
        loss_chunk(c, s, which, like)
        which = next_item(team, thread)


cdef double run(Call *c, int threads, real *like) except? -1.0:
    """All chunks; the sum of their losses, added up in order."""
    cdef Team team
    cdef Py_ssize_t itemsize = sizeof(real), chunks = (c.n + c.chunk - 1) // c.chunk
    cdef Py_ssize_t sums = (c.n + c.summed - 1) // c.summed, size = scratch_size(c, itemsize)
    # Zeros: what CSR rows are spread out in.
    cdef char *memory = <char *>calloc(1, 64 + threads * (size + sizeof(Scratch)) + sums * sizeof(double))
    cdef Scratch *scratch
    cdef double total
    cdef int thread
    start_team(&team, threads, chunks, c.n * c.classes, memory)
    with nogil:
        c.partial = <double *>(memory + threads * size)
        scratch = <Scratch *>(c.partial + sums)
        for thread in range(threads):
            lay_out(&scratch[thread], c, memory + thread * size, itemsize)
        if threads == 1:
            loss_chunks(c, scratch, &team, 0, like)
        else:
            for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                loss_chunks(c, &scratch[thread], &team, thread, like)
        end_team(&team)
        total = sum_of(c.kernels, c.partial, sums) if c.losses == NULL else 0.0
        free(memory)
    return total


def categorical(cnp.ndarray probabilities, labels, dense, sparse, weights, double smoothing, bint normalize, double eps,
                str reduction, grad, hess, bint zeros, bint checking, bint sound, n_threads):
    """The checked call: exactly one of `labels`, `dense`, `sparse` is given, arrays are (rows, n) or
    (outer, inner, n), `sparse` is (indptr, indices, values), `weights` are float64, `grad` and `hess` arrays
    to fill or None, all `zeros` or not. Returns a float, or with "none" an array; None if dense targets or
    probabilities must be refused. With `checking` nothing is computed but whether no row that counts has a NaN: then
    the call that follows need not look again, probabilities are `sound`."""
    cdef Call c
    cdef bint single = cnp.PyArray_ITEMSIZE(probabilities) != 8
    cdef double total, weight
    cdef int threads
    cdef cnp.ndarray array
    c.kernels = active
    c.probabilities = rows_of(probabilities)
    c.classes = cnp.PyArray_DIM(probabilities, cnp.PyArray_NDIM(probabilities) - 1)
    c.n = cnp.PyArray_SIZE(probabilities) // c.classes
    c.summed = summed_rows(c.classes, 4 if single else 8)
    c.chunk = c.summed
    # Rows that are gathered from columns are taken together, so that cache lines are used whole.
    if not (is_direct(&c.probabilities, <float *>NULL) if single else is_direct(&c.probabilities, <double *>NULL)):
        c.chunk = max(16, c.summed)
    c.smoothing = smoothing
    c.normalize = normalize
    c.most = 1.0 if not normalize else np.finfo(np.float32 if single else np.float64).max
    c.low = eps
    c.at_low = at_bound(eps, False, &c.at_low_rest)
    c.at_high = at_bound(eps, True, &c.at_high_rest)
    if labels is not None:
        c.kind = LABELS
        c.labels = integers_of(labels)
    elif dense is not None:
        c.kind = DENSE
        c.dense = rows_of(dense)
    else:
        c.kind = CSR
        c.sparse = sparse_of(sparse)
    c.weights = doubles(weights)
    c.has_grad = grad is not None
    if c.has_grad:
        c.grad = rows_of(grad)
    c.has_hess = hess is not None
    if c.has_hess:
        c.hess = rows_of(hess)
    c.zeros = zeros
    c.checking = checking
    c.sound = sound
    c.refused = c.nans = 0
    weight = 1.0
    if reduction == "mean":
        weight = <double>c.n if c.weights == NULL else sum_of(c.kernels, c.weights, c.n)
    c.scale = 1.0 / weight if weight > 0.0 else 0.0
    c.losses = NULL
    losses = None
    if reduction == "none" and not checking:
        losses = np.empty(c.n, np.float32 if single else np.float64)
        array = losses
        c.losses = cnp.PyArray_DATA(array)
    threads = threads_for(n_threads, c.n * c.classes)
    total = run(&c, threads, <float *>NULL) if single else run(&c, threads, <double *>NULL)
    if c.refused:
        return None
    if checking:
        return c.nans == 0
    return losses if losses is not None else mean_of(total, weight)


def row_weights(Py_ssize_t n, Py_ssize_t classes, labels, dense, sparse, class_weight, sample_weight, ignored):
    """Float64 weights of rows: `sample_weight` times sum_c target_c class_weight_c, 0 for the `ignored` label. Targets
    as in `categorical`, the others float64 or None."""
    cdef Integers integers
    cdef Rows rows
    cdef Sparse entries
    cdef Table k = active
    cdef const double *by_class = doubles(class_weight)
    cdef const double *given = doubles(sample_weight)
    cdef const double *y
    cdef double *room = <double *>malloc(max(1, classes) * sizeof(double))
    cdef Py_ssize_t i, j, entry
    cdef long double sum
    cdef bint has_ignored = ignored is not None
    cdef long long label, ignored_label = ignored if has_ignored else 0
    weights = np.empty(n)
    cdef double[::1] out = weights
    if room == NULL:
        raise MemoryError()
    if labels is not None:
        integers = integers_of(labels)
    elif dense is not None:
        rows = rows_of(dense)
    else:
        entries = sparse_of(sparse)
    cdef int kind = LABELS if labels is not None else DENSE if dense is not None else CSR
    with nogil:
        for i in range(n):
            sum = 0.0
            if kind == LABELS:
                label = read_integer(&integers, i)
                if not (has_ignored and label == ignored_label):
                    sum = 1.0 if by_class == NULL else by_class[label]
            elif kind == DENSE:
                y = direct_rows(&rows, i, 1, <double *>NULL)
                if y == NULL:
                    read_rows(k, &rows, i, 1, classes, room)
                    y = room
                for j in range(classes):
                    sum += <long double>y[j] * by_class[j]
            else:
                for entry in range(read_integer(&entries.indptr, i), read_integer(&entries.indptr, i + 1)):
                    sum += <long double>entries.values[entry] * by_class[read_integer(&entries.indices, entry)]
            out[i] = <double>(sum if given == NULL else sum * given[i])
        free(room)
    return weights


# ---- what is no probability -----------------------------------------------------------------------------------

cdef Py_ssize_t outside_of_piece(Table k, const Elements *array, Py_ssize_t first, Py_ssize_t n, bint nan_too,
                                 real *room) noexcept nogil:
    cdef Py_ssize_t nans = 0
    cdef Py_ssize_t outside = count_outside(k, gathered(k, array, first, n, room), n, 1.0, &nans)
    return outside + nans if nan_too else outside


cdef Py_ssize_t outside_of_pieces(Table k, const Elements *array, Py_ssize_t n, bint nan_too, real *room, Team *team,
                                  int thread) noexcept nogil:
    cdef Py_ssize_t outside = 0, which = next_item(team, thread)
    while which >= 0:
        outside += outside_of_piece(k, array, which * PIECE, min(PIECE, n - which * PIECE), nan_too, room)
        which = next_item(team, thread)
    return outside


cdef bint look_through(Table k, const Elements *array, Py_ssize_t n, bint nan_too, int threads, real *like) except -1:
    cdef Team team
    cdef Py_ssize_t outside = 0
    cdef Py_ssize_t size = PIECE * <Py_ssize_t>sizeof(real)
    cdef char *memory = <char *>malloc(threads * size)
    cdef int thread
    start_team(&team, threads, (n + PIECE - 1) // PIECE, n, memory)
    with nogil:
        if threads == 1:
            outside = outside_of_pieces(k, array, n, nan_too, <real *>memory, &team, 0)
        else:
            for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                outside += outside_of_pieces(k, array, n, nan_too, <real *>(memory + thread * size), &team, thread)
        end_team(&team)
        free(memory)
    return outside != 0


def any_outside(array, bint nan_too, n_threads):
    """Whether an element, of an array as in `binary`, is negative or above 1, or NaN if that counts."""
    cdef Elements elements = elements_of(array)
    cdef Py_ssize_t n = array.size
    cdef int threads = threads_for(n_threads, n)
    if array.dtype.itemsize != 8:
        return look_through(active, &elements, n, nan_too, threads, <float *>NULL)
    return look_through(active, &elements, n, nan_too, threads, <double *>NULL)
