"""Row loops of the sampled losses and of row-sparse arrays.

Arrays of rows are given with the stride of their rows; the elements of a row are next to each other.
"""
from cython.parallel cimport prange
from libc.math cimport sqrt, sqrtf
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

cimport numpy as cnp

from fastxent._elements cimport PIECE
from fastxent._kernels cimport (Table, active, fx_sigmoid, real, row_dot, row_fill, row_subtract, sigmoid_loss,
                                threads_for)

cnp.import_array()

# Rows, and the distance from one to the next in elements.
cdef struct Rows:
    char *data
    Py_ssize_t count
    Py_ssize_t width
    Py_ssize_t stride


cdef Rows rows_of(cnp.ndarray array):
    cdef Rows rows
    rows.data = <char *>cnp.PyArray_DATA(array)
    rows.count = cnp.PyArray_DIM(array, 0)
    rows.width = cnp.PyArray_DIM(array, 1) if cnp.PyArray_NDIM(array) == 2 else 1
    rows.stride = cnp.PyArray_STRIDE(array, 0) // cnp.PyArray_ITEMSIZE(array) if rows.count > 1 else rows.width
    return rows


cdef inline real *row_at(const Rows *rows, Py_ssize_t i, real *like) noexcept nogil:
    return <real *>rows.data + i * rows.stride


cdef inline bint is_single(cnp.ndarray array):
    return cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT


cdef inline int64_t *integers(cnp.ndarray array):
    return <int64_t *>cnp.PyArray_DATA(array)


# ---- the sampled losses -----------------------------------------------------------------------------------


def gather(cnp.ndarray source, cnp.ndarray which, cnp.ndarray out, n_threads):
    """Copy the rows `which` of `source` into the first columns of `out`."""
    cdef Rows a = rows_of(source), b = rows_of(out)
    cdef const int64_t *ids = integers(which)
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(source), n = cnp.PyArray_SIZE(which), i
    cdef int threads = threads_for(n_threads, n * a.width)
    for i in prange(n, num_threads=threads, schedule="static", nogil=True):
        memcpy(b.data + i * b.stride * item, a.data + ids[i] * a.stride * item, a.width * item)


cdef void dots(Table k, const Rows *x, const Rows *y, const Rows *out, real *like) noexcept nogil:
    cdef Py_ssize_t i, t
    for i in range(x.count):
        for t in range(out.width):
            row_at(out, i, like)[t] = <real>row_dot(k, row_at(x, i, like), row_at(y, i * out.width + t, like), x.width)


def true_logits(cnp.ndarray inputs, cnp.ndarray weights, cnp.ndarray out):
    """Products of each row of inputs (n, d) with its own rows of weights (n num_true, d), into (n, num_true)."""
    cdef Rows x = rows_of(inputs), y = rows_of(weights), z = rows_of(out)
    cdef Table k = active
    cdef bint single = is_single(out)
    with nogil:
        if single:
            dots(k, &x, &y, &z, <float *>NULL)
        else:
            dots(k, &x, &y, &z, <double *>NULL)


cdef void add_rows(Table k, const Rows *factors, const Rows *y, const Rows *out, real *like) noexcept nogil:
    cdef Py_ssize_t i, t
    for i in range(out.count):
        for t in range(factors.width):
            row_subtract(k, row_at(out, i, like), row_at(y, i * factors.width + t, like), out.width,
                         -row_at(factors, i, like)[t])


def add_true(cnp.ndarray factors, cnp.ndarray weights, cnp.ndarray out):
    """Add to each row of `out` (n, d) its own rows of weights (n num_true, d), times factors (n, num_true)."""
    cdef Rows x = rows_of(factors), y = rows_of(weights), z = rows_of(out)
    cdef Table k = active
    cdef bint single = is_single(out)
    with nogil:
        if single:
            add_rows(k, &x, &y, &z, <float *>NULL)
        else:
            add_rows(k, &x, &y, &z, <double *>NULL)


cdef double sigmoid_row(Table k, real *x, Py_ssize_t n, double target, double scale, bint grad) noexcept nogil:
    cdef fx_sigmoid options
    cdef real[PIECE] targets
    cdef double sum = 0
    cdef Py_ssize_t first, count, refused = 0
    memset(&options, 0, sizeof(options))
    options.scale, options.pos_weight, options.neg_weight = scale, 1, 1
    row_fill(k, targets, min(n, <Py_ssize_t>PIECE), target)
    first = 0
    while first < n:
        count = min(n - first, <Py_ssize_t>PIECE)
        sum += sigmoid_loss(k, x + first, targets, count, &options, NULL, NULL, x + first if grad else NULL, NULL,
                            &refused)
        first += count
    return sum


def sigmoid_rows(cnp.ndarray logits, double target, cnp.ndarray scales, cnp.ndarray losses, bint grad, n_threads):
    """Add the sigmoid cross-entropy of each row, all of whose targets are `target`, to `losses` (float64); and replace
    the scores by their gradient, times the row's scale (float64), if `grad`."""
    cdef Rows x = rows_of(logits)
    cdef const double *scale = <double *>cnp.PyArray_DATA(scales)
    cdef double *loss = <double *>cnp.PyArray_DATA(losses)
    cdef Table k = active
    cdef int threads = threads_for(n_threads, 3 * x.count * x.width)
    cdef Py_ssize_t i
    if is_single(logits):
        for i in prange(x.count, num_threads=threads, schedule="dynamic", chunksize=4, nogil=True):
            loss[i] += sigmoid_row(k, row_at(&x, i, <float *>NULL), x.width, target, scale[i], grad)
    else:
        for i in prange(x.count, num_threads=threads, schedule="dynamic", chunksize=4, nogil=True):
            loss[i] += sigmoid_row(k, row_at(&x, i, <double *>NULL), x.width, target, scale[i], grad)


# The gradient of each class, the sum over the places where it stands among the sampled and the true ones.
cdef struct Sum:
    const int64_t *order
    const int64_t *starts
    Rows of_sampled
    Rows of_true
    Rows inputs
    Rows out
    Rows bias


cdef void sum_class(Table k, const Sum *s, Py_ssize_t u, real *like) noexcept nogil:
    cdef Py_ssize_t d = s.out.width, num_true = s.of_true.width, j, at
    cdef real *out = row_at(&s.out, u, like)
    cdef real *bias = row_at(&s.bias, u, like)
    cdef real *row
    cdef real factor
    memset(out, 0, d * sizeof(real))
    bias[0] = 0
    for j in range(s.starts[u], s.starts[u + 1]):
        at = s.order[j]
        factor = 1
        if at < s.of_sampled.count:
            row = row_at(&s.of_sampled, at, like)
        else:
            at -= s.of_sampled.count
            factor = row_at(&s.of_true, at // num_true, like)[at % num_true]
            row = row_at(&s.inputs, at // num_true, like)
        row_subtract(k, out, row, d, -factor)
        # What follows a row of inputs is 1.
        bias[0] += factor * row[d]


def sum_by_class(cnp.ndarray order, cnp.ndarray starts, cnp.ndarray of_sampled, cnp.ndarray of_true,
                 cnp.ndarray inputs, cnp.ndarray out, cnp.ndarray bias, n_threads):
    """Sum gradients by class: `order` has the places of each among the sampled and then the true classes, from
    `starts[u]` on; gradients of sampled classes (S, d + 1), factors of true ones (n, num_true) and inputs (n, d + 1),
    whose last column belongs to the bias; into `out` (u, d) and `bias` (u,)."""
    cdef Sum s
    cdef Table k = active
    cdef Py_ssize_t u
    cdef int threads
    s.order, s.starts = integers(order), integers(starts)
    s.of_sampled, s.of_true, s.inputs = rows_of(of_sampled), rows_of(of_true), rows_of(inputs)
    s.out, s.bias = rows_of(out), rows_of(bias)
    threads = threads_for(n_threads, s.out.count * s.out.width)
    if is_single(out):
        for u in prange(s.out.count, num_threads=threads, schedule="static", nogil=True):
            sum_class(k, &s, u, <float *>NULL)
    else:
        for u in prange(s.out.count, num_threads=threads, schedule="static", nogil=True):
            sum_class(k, &s, u, <double *>NULL)


# ---- rows of an array by their ids ------------------------------------------------------------------------

# What an update does to the rows `ids` of one, two or three arrays.
cdef enum Rule:
    ADD, ADAGRAD, ADAM

cdef struct Update:
    Rule rule
    const int64_t *ids
    Rows values
    Rows target
    Rows first
    Rows second
    double step
    double eps
    double rest1               # 1 - beta1: subtracted from 1 in the type of the row, little of it would be left
    double rest2
    double root                # of the correction of the second moment


cdef inline real root_of(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef void adagrad_row(const real *g, Py_ssize_t n, real step, real eps, real *w, real *sum) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        sum[j] += g[j] * g[j]
        w[j] -= step * g[j] / (root_of(sum[j]) + eps)


cdef void adam_row(const real *g, Py_ssize_t n, real step, real eps, real rest1, real rest2, real root, real *w,
                   real *mean, real *square) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        mean[j] += rest1 * (g[j] - mean[j])
        square[j] += rest2 * (g[j] * g[j] - square[j])
        w[j] -= step * mean[j] / (root_of(square[j]) / root + eps)


cdef void update_row(Table k, const Update *c, Py_ssize_t u, real *like) noexcept nogil:
    cdef const real *g = row_at(&c.values, u, like)
    cdef real *w = row_at(&c.target, c.ids[u], like)
    if c.rule == ADD:
        row_subtract(k, w, g, c.values.width, -c.step)
    elif c.rule == ADAGRAD:
        adagrad_row(g, c.values.width, <real>c.step, <real>c.eps, w, row_at(&c.first, c.ids[u], like))
    else:
        adam_row(g, c.values.width, <real>c.step, <real>c.eps, <real>c.rest1, <real>c.rest2, <real>c.root, w,
                 row_at(&c.first, c.ids[u], like), row_at(&c.second, c.ids[u], like))


cdef run(Update *c, cnp.ndarray ids, cnp.ndarray values, cnp.ndarray target, n_threads):
    cdef Table k = active
    cdef Py_ssize_t u
    cdef int threads
    c.ids = integers(ids)
    c.values, c.target = rows_of(values), rows_of(target)
    threads = threads_for(n_threads, c.values.count * c.values.width)
    if is_single(target):
        for u in prange(c.values.count, num_threads=threads, schedule="static", nogil=True):
            update_row(k, c, u, <float *>NULL)
    else:
        for u in prange(c.values.count, num_threads=threads, schedule="static", nogil=True):
            update_row(k, c, u, <double *>NULL)


def scatter_add(ids, values, target, double scale, n_threads):
    """target[ids] += scale * values"""
    cdef Update c
    c.rule, c.step = ADD, scale
    run(&c, ids, values, target, n_threads)


def adagrad(ids, values, target, accumulator, double learning_rate, double eps, n_threads):
    """The rows of Adagrad's weights and sums of squares."""
    cdef Update c
    c.rule, c.step, c.eps = ADAGRAD, learning_rate, eps
    c.first = rows_of(accumulator)
    run(&c, ids, values, target, n_threads)


def adam(ids, values, target, mean, square, double step, double beta1, double beta2, double root, double eps,
         n_threads):
    """The rows of Adam's weights and moments, the corrections put into `step` and `root`."""
    cdef Update c
    c.rule, c.step, c.rest1, c.rest2, c.root, c.eps = ADAM, step, 1 - beta1, 1 - beta2, root, eps
    c.first, c.second = rows_of(mean), rows_of(square)
    run(&c, ids, values, target, n_threads)
