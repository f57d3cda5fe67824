"""Row loops of the sigmoid family: elementwise.

Arrays are rows of elements (a contiguous array of any shape: one row), taken in pieces of at most PIECE elements. The
loss of a piece is one number, added up in order afterwards, so that neither the number of threads nor their order shows
in a result.
"""
from cython.parallel cimport prange, threadid
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cimport numpy as cnp

from fastxent._arrays cimport Integers, Rows, direct_rows, integers_of, read_integer, read_rows, rows_of, write_rows
from fastxent._kernels cimport Table, active, fx_sigmoid, real, row_expit, row_log_expit, share, sigmoid_loss, threads_for

cnp.import_array()

cdef enum:
    PIECE = 2048

# Everything that the threads of one call read.
cdef struct Call:
    Table kernels
    Py_ssize_t n
    Py_ssize_t width
    Py_ssize_t pieces
    fx_sigmoid options
    Rows scores
    bint sparse
    Rows dense
    Integers indptr
    Integers indices
    const double *values
    const double *row_weights
    bint has_weights
    Rows weights
    bint has_losses
    bint has_grad
    bint has_hess
    Rows losses
    Rows grad
    Rows hess
    double *sums
    Py_ssize_t refused

cdef enum:
    ROOMS = 6


cdef inline Rows part(const Rows *rows, Py_ssize_t first) noexcept nogil:
    """The same rows from element `first` on."""
    cdef Rows rest = rows[0]
    rest.data += first * rest.class_stride
    return rest


cdef inline const real *element_input(Table k, const Rows *rows, Py_ssize_t row, Py_ssize_t first, Py_ssize_t n,
                                      real *room) noexcept nogil:
    cdef Rows rest = part(rows, first)
    cdef const real *direct = direct_rows(&rest, row, 1, room)
    if direct != NULL:
        return direct
    read_rows(k, &rest, row, 1, n, room)
    return room


cdef inline real *element_output(const Rows *rows, Py_ssize_t row, Py_ssize_t first, real *room) noexcept nogil:
    cdef Rows rest = part(rows, first)
    cdef real *direct = direct_rows(&rest, row, 1, room)
    return room if direct == NULL else direct


cdef inline void put_back(Table k, const Rows *rows, Py_ssize_t row, Py_ssize_t first, Py_ssize_t n,
                          const real *values, const real *room) noexcept nogil:
    cdef Rows rest = part(rows, first)
    if values == room:
        write_rows(k, &rest, row, 1, n, values)


cdef void loss_piece(Call *c, real *room, Py_ssize_t which) noexcept nogil:
    """`room` is for ROOMS pieces."""
    cdef Table k = c.kernels
    cdef Py_ssize_t row = which // c.pieces, first = which % c.pieces * PIECE, n = min(PIECE, c.width - first)
    cdef Py_ssize_t entry, column, refused = 0
    cdef fx_sigmoid options = c.options
    cdef const real *x = element_input(k, &c.scores, row, first, n, room)
    cdef const real *y
    cdef const real *weights = NULL
    cdef real *losses = NULL
    cdef real *grad = NULL
    cdef real *hess = NULL
    if c.sparse:
        y = room + PIECE
        memset(room + PIECE, 0, n * sizeof(real))
        for entry in range(read_integer(&c.indptr, row), read_integer(&c.indptr, row + 1)):
            column = read_integer(&c.indices, entry) - first
            if 0 <= column < n:
                room[PIECE + column] += <real>c.values[entry]
    else:
        y = element_input(k, &c.dense, row, first, n, room + PIECE)
    if c.has_weights:
        weights = element_input(k, &c.weights, row, first, n, room + 2 * PIECE)
    if c.row_weights != NULL:
        options.weight = c.row_weights[row]
    if c.has_losses:
        losses = element_output(&c.losses, row, first, room + 3 * PIECE)
    if c.has_grad:
        grad = element_output(&c.grad, row, first, room + 4 * PIECE)
    if c.has_hess:
        hess = element_output(&c.hess, row, first, room + 5 * PIECE)
    c.sums[which] = sigmoid_loss(k, x, y, n, &options, weights, losses, grad, hess, &refused)
    if refused:
        c.refused = 1
    if c.has_losses:
        put_back(k, &c.losses, row, first, n, losses, room + 3 * PIECE)
    if c.has_grad:
        put_back(k, &c.grad, row, first, n, grad, room + 4 * PIECE)
    if c.has_hess:
        put_back(k, &c.hess, row, first, n, hess, room + 5 * PIECE)


cdef double run(Call *c, int threads, real *like) except? -1.0:
    cdef Py_ssize_t items = c.n * c.pieces, which
    cdef Py_ssize_t size = ROOMS * PIECE * <Py_ssize_t>sizeof(real)
    cdef char *memory = <char *>malloc(threads * size + items * <Py_ssize_t>sizeof(double))
    cdef double total
    if memory == NULL:
        raise MemoryError()
    with nogil:
        c.sums = <double *>(memory + threads * size)
        if threads == 1:
            for which in range(items):
                loss_piece(c, <real *>memory, which)
        else:
            for which in prange(items, num_threads=threads, schedule="dynamic", chunksize=share(items, threads)):
                loss_piece(c, <real *>(memory + threadid() * size), which)
        total = c.kernels.f64.sum(c.sums, items)
        free(memory)
    return total


def loss(scores, dense, sparse, weights, row_weights, double total_weight, double smoothing, double pos_weight,
         losses, grad, hess, n_threads):
    """The checked call, on arrays (rows, elements) or (outer, inner, elements): `dense` targets, or `sparse` ones as
    (indptr, indices, values); `weights` of elements or float64 `row_weights` or neither; `losses`, `grad` and `hess`
    arrays to fill or None. The gradient is divided by `total_weight`. Returns the sum of the losses; None if targets
    must be refused."""
    cdef Call c
    cdef bint single = scores.dtype.itemsize != 8
    cdef cnp.ndarray array
    cdef double total
    cdef int threads
    c.kernels = active
    c.scores = rows_of(scores)
    c.width = scores.shape[-1]
    c.n = scores.size // max(1, c.width)
    c.pieces = (c.width + PIECE - 1) // PIECE
    c.options.weight = 1.0
    c.options.scale = 1.0 / total_weight if total_weight > 0.0 else 0.0
    c.options.smoothing = smoothing
    c.options.pos_weight = pos_weight
    c.sparse = sparse is not None
    if c.sparse:
        c.indptr = integers_of(sparse[0])
        c.indices = integers_of(sparse[1])
        array = sparse[2]
        c.values = <double *>cnp.PyArray_DATA(array)
    else:
        c.dense = rows_of(dense)
    c.row_weights = NULL
    if row_weights is not None:
        array = row_weights
        c.row_weights = <double *>cnp.PyArray_DATA(array)
    c.has_weights = weights is not None
    if c.has_weights:
        c.weights = rows_of(weights)
    c.has_losses = losses is not None
    if c.has_losses:
        c.losses = rows_of(losses)
    c.has_grad = grad is not None
    if c.has_grad:
        c.grad = rows_of(grad)
    c.has_hess = hess is not None
    if c.has_hess:
        c.hess = rows_of(hess)
    c.refused = 0
    threads = threads_for(n_threads, c.n * c.width)
    total = run(&c, threads, <float *>NULL) if single else run(&c, threads, <double *>NULL)
    return None if c.refused else total


# ---- expit, log_expit -------------------------------------------------------------------------------------

cdef struct Elementwise:
    Table kernels
    bint logarithm
    Py_ssize_t n
    Py_ssize_t width
    Py_ssize_t pieces
    Rows x
    Rows out


cdef void elementwise_piece(const Elementwise *c, real *room, Py_ssize_t which) noexcept nogil:
    """`room` is for two pieces."""
    cdef Table k = c.kernels
    cdef Py_ssize_t row = which // c.pieces, first = which % c.pieces * PIECE, n = min(PIECE, c.width - first)
    cdef const real *x = element_input(k, &c.x, row, first, n, room)
    cdef real *out = element_output(&c.out, row, first, room + PIECE)
    if c.logarithm:
        row_log_expit(k, x, out, n)
    else:
        row_expit(k, x, out, n)
    put_back(k, &c.out, row, first, n, out, room + PIECE)


cdef int run_elementwise(Elementwise *c, int threads, real *like) except -1:
    cdef Py_ssize_t items = c.n * c.pieces, which
    cdef Py_ssize_t size = 2 * PIECE * <Py_ssize_t>sizeof(real)
    cdef char *memory = <char *>malloc(threads * size)
    if memory == NULL:
        raise MemoryError()
    with nogil:
        if threads == 1:
            for which in range(items):
                elementwise_piece(c, <real *>memory, which)
        else:
            for which in prange(items, num_threads=threads, schedule="dynamic", chunksize=share(items, threads)):
                elementwise_piece(c, <real *>(memory + threadid() * size), which)
        free(memory)
    return 0


def elementwise(str wanted, x, out, n_threads):
    """Fill `out` with "expit" or "log_expit" of `x`, arrays as in `loss`; `out` may be `x`."""
    cdef Elementwise c
    cdef bint single = x.dtype.itemsize != 8
    cdef int threads
    c.kernels = active
    c.logarithm = wanted == "log_expit"
    c.x = rows_of(x)
    c.out = rows_of(out)
    c.width = x.shape[-1]
    c.n = x.size // max(1, c.width)
    c.pieces = (c.width + PIECE - 1) // PIECE
    threads = threads_for(n_threads, c.n * c.width)
    if single:
        run_elementwise(&c, threads, <float *>NULL)
    else:
        run_elementwise(&c, threads, <double *>NULL)
