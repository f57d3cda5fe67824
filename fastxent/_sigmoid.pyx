"""Row loops of the sigmoid family: elementwise.

Elements are taken in their logical (C) order, in pieces of PIECE, whatever the strides of the arrays: a piece is used
where it stands if it is contiguous there, and gathered otherwise. The loss of a piece is one number, added up in order
afterwards, so that neither threads nor layouts show in a result.
"""
from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cimport numpy as cnp
import numpy as np

from fastxent._arrays cimport FLOAT32, FLOAT64, Sparse, sparse_of
from fastxent._elements cimport PIECE, Elements, elements_of, gathered, scattered, sparse_piece, target_of
from fastxent._kernels cimport (Table, Team, active, end_team, fx_sigmoid, next_item, real, row_expit, row_log_expit,
                                sigmoid_loss, start_team, sum_of, threads_for)
from fastxent._rows cimport mean_of

cnp.import_array()

cdef enum:
    ROOMS = 7


# Everything that the threads of one call read.
cdef struct Call:
    Table kernels
    Py_ssize_t n
    fx_sigmoid options
    Py_ssize_t period
    Elements scores
    bint is_sparse
    Elements dense
    Py_ssize_t columns
    Sparse sparse
    const double *row_weights
    Py_ssize_t row_width
    bint has_weights
    Elements weights
    bint has_losses
    bint has_grad
    bint has_hess
    bint has_vector
    Elements losses
    Elements grad
    Elements hess
    Elements vector
    double *sums
    Py_ssize_t refused


cdef void loss_piece(Call *c, real *room, Py_ssize_t which) noexcept nogil:
    """`room` is for ROOMS pieces."""
    cdef Table k = c.kernels
    cdef Py_ssize_t first = which * PIECE, n = min(PIECE, c.n - first), i, refused = 0
    cdef fx_sigmoid options = c.options
    cdef const real *x = gathered(k, &c.scores, first, n, room)
    cdef const real *y
    cdef const real *weights = NULL
    cdef const real *vector = NULL
    cdef real *losses = NULL
    cdef real *grad = NULL
    cdef real *hess = NULL
    cdef real *product
    if c.is_sparse:
        sparse_piece(&c.sparse, c.columns, first, n, room + PIECE)
        y = room + PIECE
    else:
        y = gathered(k, &c.dense, first, n, room + PIECE)
    if options.pos_weights != NULL:
        options.pos_weights += first % c.period
    if options.neg_weights != NULL:
        options.neg_weights += first % c.period
    if c.has_weights:
        weights = gathered(k, &c.weights, first, n, room + 2 * PIECE)
    elif c.row_weights != NULL:
        for i in range(n):
            room[2 * PIECE + i] = <real>c.row_weights[(first + i) // c.row_width]
        weights = room + 2 * PIECE
    if c.has_losses:
        losses = target_of(&c.losses, first, n, room + 3 * PIECE)
    if c.has_grad:
        grad = target_of(&c.grad, first, n, room + 4 * PIECE)
    if c.has_vector:
        # The product may replace the vector.
        hess = room + 5 * PIECE
        vector = gathered(k, &c.vector, first, n, room + 6 * PIECE)
    elif c.has_hess:
        hess = target_of(&c.hess, first, n, room + 5 * PIECE)
    c.sums[which] = sigmoid_loss(k, x, y, n, &options, weights, losses, grad, hess, &refused)
    if refused:
        c.refused = 1
    if c.has_losses:
        scattered(k, &c.losses, first, n, losses, room + 3 * PIECE)
    if c.has_grad:
        scattered(k, &c.grad, first, n, grad, room + 4 * PIECE)
    if c.has_vector:
        product = target_of(&c.hess, first, n, room + 5 * PIECE)
        for i in range(n):
            product[i] = hess[i] * vector[i]
        hess = product
    if c.has_hess:
        scattered(k, &c.hess, first, n, hess, room + 5 * PIECE)


cdef inline Py_ssize_t work_of(const Call *c, bint single) noexcept nogil:
    """In elements of a softmax: an element takes so many times what one of those does, and the more so in doubles."""
    return c.n * (3 if c.options.gamma == 0.0 else 8) * (1 if single else 2)


cdef void loss_pieces(Call *c, real *room, Team *team, int thread) noexcept nogil:
    cdef Py_ssize_t which = next_item(team, thread)
    while which >= 0:
        loss_piece(c, room, which)
        which = next_item(team, thread)


cdef double run(Call *c, int threads, real *like) except? -1.0:
    cdef Team team
    cdef Py_ssize_t items = (c.n + PIECE - 1) // PIECE
    cdef int thread
    cdef Py_ssize_t size = ROOMS * PIECE * <Py_ssize_t>sizeof(real)
    cdef char *memory = <char *>malloc(threads * size + items * <Py_ssize_t>sizeof(double))
    cdef double total
    start_team(&team, threads, items, work_of(c, real is float), memory)
    with nogil:
        c.sums = <double *>(memory + threads * size)
        if threads == 1:
            loss_pieces(c, <real *>memory, &team, 0)
        else:
            for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                loss_pieces(c, <real *>(memory + thread * size), &team, thread)
        end_team(&team)
        total = sum_of(c.kernels, c.sums, items)
        free(memory)
    return total


def total(weights):
    """The sum of weights in their logical order, an array as in `loss`."""
    cdef Elements elements = elements_of(weights)
    cdef Table k = active
    cdef Py_ssize_t n = weights.size, items = (n + PIECE - 1) // PIECE, which, count
    cdef double[PIECE] room
    cdef double *sums = <double *>malloc(max(1, items) * sizeof(double))
    cdef double sum
    if sums == NULL:
        raise MemoryError()
    with nogil:
        for which in range(items):
            count = min(PIECE, n - which * PIECE)
            sums[which] = sum_of(k, gathered(k, &elements, which * PIECE, count, room), count)
        sum = sum_of(k, sums, items)
        free(sums)
    return sum


cdef object periodic(object factors):
    """Factors along the last axis, followed by those of the elements after them: any piece finds its own in a row, from
    the column of its first element on."""
    return np.resize(factors, len(factors) + PIECE)


def loss(scores, dense, sparse, weights, row_weights, double total_weight, double smoothing, double gamma, positive,
         negative, losses, grad, hess, vector, n_threads):
    """The checked call, on arrays (rows, elements) or (outer, inner, elements), each with rows of its own but all in
    the same logical order: `dense` targets, or `sparse` ones as (indptr, indices, values); `weights` of elements or
    float64 `row_weights` or neither; the exponent `gamma` of the focal loss, 0 for cross-entropy; `positive` and
    `negative` factors of the two terms, floats or float64 arrays along the last axis; `losses`, `grad` and `hess` are
    arrays to fill or None, `hess` with the product with `vector` if there is one. Everything but `losses` is divided by
    `total_weight`. Returns the sum of the losses; None if targets must be refused."""
    cdef Call c
    cdef bint single = scores.dtype.itemsize != 8
    cdef cnp.ndarray array
    cdef double total
    c.kernels = active
    c.scores = elements_of(scores)
    c.n = scores.size
    c.options.gamma = gamma
    c.options.scale = 1.0 / total_weight if total_weight > 0.0 else 0.0
    c.options.smoothing = smoothing
    c.is_sparse = sparse is not None
    if c.is_sparse:
        c.columns = c.scores.width
        c.sparse = sparse_of(sparse)
    else:
        c.dense = elements_of(dense)
    c.options.pos_weights = c.options.neg_weights = NULL
    if isinstance(positive, float):
        c.options.pos_weight = positive
    else:
        positive = periodic(positive)
        c.period = len(positive) - PIECE
        c.options.pos_weights = <const double *>cnp.PyArray_DATA(positive)
    if isinstance(negative, float):
        c.options.neg_weight = negative
    else:
        negative = periodic(negative)
        c.period = len(negative) - PIECE
        c.options.neg_weights = <const double *>cnp.PyArray_DATA(negative)
    c.row_weights = NULL
    if row_weights is not None:
        array = row_weights
        c.row_weights = <double *>cnp.PyArray_DATA(array)
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
    c.has_vector = vector is not None
    if c.has_vector:
        c.vector = elements_of(vector)
    total = run_on(&c, single, n_threads)
    if c.refused:
        return None
    return mean_of(total, total_weight)


cdef double run_on(Call *c, bint single, n_threads) except? -1.0:
    cdef int threads = threads_for(n_threads, work_of(c, single))
    c.refused = 0
    return run(c, threads, <float *>NULL) if single else run(c, threads, <double *>NULL)


cdef inline Elements elements_at(size_t address, bint single, Py_ssize_t n):
    """Contiguous elements."""
    cdef Elements elements
    elements.rows.data = <char *>address
    elements.rows.storage = FLOAT32 if single else FLOAT64
    elements.rows.inner = 1
    elements.rows.class_stride = 4 if single else 8
    elements.rows.inner_stride = elements.rows.outer_stride = n * elements.rows.class_stride
    elements.width = max(1, n)
    return elements


def quick_at(size_t scores, size_t targets, size_t grad, size_t loss, bint single, str reduction, n_threads,
             Py_ssize_t n, double pos_weight):
    """Cross-entropy of n elements in contiguous memory by its address, all of one type; no gradient for an address of
    0. The loss is stored at `loss`. Whether that was done: it is not where an address is missing or not aligned, and
    for targets or a weight out of range."""
    cdef Call c
    cdef double total
    if not (scores and targets and loss and n > 0 and reduction in ("mean", "sum", "none")
            and 0.0 <= pos_weight < INFINITY and (scores | targets | grad | loss) % (4 if single else 8) == 0):
        return False
    memset(&c, 0, sizeof(Call))
    c.kernels = active
    c.n = n
    c.scores = elements_at(scores, single, n)
    c.dense = elements_at(targets, single, n)
    c.options.scale = 1.0 / n if reduction == "mean" else 1.0
    c.options.pos_weight = pos_weight
    c.options.neg_weight = 1.0
    c.has_losses = reduction == "none"
    if c.has_losses:
        c.losses = elements_at(loss, single, n)
    c.has_grad = grad != 0
    if c.has_grad:
        c.grad = elements_at(grad, single, n)
    total = run_on(&c, single, n_threads)
    if c.refused:
        return False
    total = mean_of(total, n if reduction == "mean" else 1)
    if not c.has_losses and single:
        (<float *>loss)[0] = <float>total
    elif not c.has_losses:
        (<double *>loss)[0] = total
    return True


# ---- expit, log_expit -------------------------------------------------------------------------------------

cdef struct Elementwise:
    Table kernels
    bint logarithm
    Py_ssize_t n
    Elements x
    Elements out


cdef void elementwise_piece(const Elementwise *c, real *room, Py_ssize_t which) noexcept nogil:
    """`room` is for two pieces."""
    cdef Table k = c.kernels
    cdef Py_ssize_t first = which * PIECE, n = min(PIECE, c.n - first)
    cdef const real *x = gathered(k, &c.x, first, n, room)
    cdef real *out = target_of(&c.out, first, n, room + PIECE)
    if c.logarithm:
        row_log_expit(k, x, out, n)
    else:
        row_expit(k, x, out, n)
    scattered(k, &c.out, first, n, out, room + PIECE)


cdef void elementwise_pieces(Elementwise *c, real *room, Team *team, int thread) noexcept nogil:
    cdef Py_ssize_t which = next_item(team, thread)
    while which >= 0:
        elementwise_piece(c, room, which)
        which = next_item(team, thread)


cdef int run_elementwise(Elementwise *c, int threads, real *like) except -1:
    cdef Team team
    cdef Py_ssize_t items = (c.n + PIECE - 1) // PIECE
    cdef int thread
    cdef Py_ssize_t size = 2 * PIECE * <Py_ssize_t>sizeof(real)
    cdef char *memory = <char *>malloc(threads * size)
    start_team(&team, threads, items, c.n, memory)
    with nogil:
        if threads == 1:
            elementwise_pieces(c, <real *>memory, &team, 0)
        else:
            for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                elementwise_pieces(c, <real *>(memory + thread * size), &team, thread)
        end_team(&team)
        free(memory)
    return 0


def elementwise(str wanted, x, out, n_threads):
    """Fill `out` with "expit" or "log_expit" of `x`, arrays as in `loss`; `out` may be `x`."""
    cdef Elementwise c
    cdef bint single = x.dtype.itemsize != 8
    cdef int threads
    c.kernels = active
    c.logarithm = wanted == "log_expit"
    c.x = elements_of(x)
    c.out = elements_of(out)
    c.n = x.size
    threads = threads_for(n_threads, c.n)
    if single:
        run_elementwise(&c, threads, <float *>NULL)
    else:
        run_elementwise(&c, threads, <double *>NULL)
