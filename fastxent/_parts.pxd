# A row that several threads take together, part by part, with the bits that one thread would get: for few long rows.
from cython.parallel cimport prange
from libc.math cimport isfinite

from fastxent._kernels cimport (FX_DONE, FX_OWN, FX_PART, FX_WHOLE, Table, fx_fence, fx_is_long, fx_larger, fx_part,
                                fx_part_size, fx_rows, real, row_end, row_exp_scaled, row_max, row_part, rows_expsum,
                                rows_scale)


cdef inline Py_ssize_t parts_of(Py_ssize_t n) noexcept nogil:
    """How many parts a row has."""
    return max(1, n // FX_PART)


cdef inline Py_ssize_t part_size(Py_ssize_t part, Py_ssize_t n) noexcept nogil:
    return fx_part_size(part * FX_PART, n)


cdef inline int threads_within(int threads, Py_ssize_t chunks, Py_ssize_t chunk, Py_ssize_t n) noexcept nogil:
    """How many threads are to take each row, where there are too few rows to give every thread its share; or 1."""
    cdef Py_ssize_t rounds = (chunks + threads - 1) // threads
    return <int>min(threads, parts_of(n)) if chunk == 1 and 5 * chunks < 4 * rounds * threads else 1


cdef inline int expsum_parts(Table k, const real *x, const real *low, Py_ssize_t n, real *e, int how, const fx_rows *of,
                             fx_part *parts, int threads) noexcept nogil:
    """All parts of a row, one way; returns how they are to be taken once more."""
    cdef Py_ssize_t i, count = parts_of(n)
    for i in prange(count, num_threads=threads, schedule="static"):
        row_part(k, x + i * FX_PART, low + i * FX_PART if low != NULL else NULL, part_size(i, n),
                 e + i * FX_PART if e != NULL else NULL, how, of, &parts[i])
    return row_end(k, parts, count, n, how, e != NULL, of, x)


cdef inline void expsum_row(Table k, const real *x, const real *low, Py_ssize_t n, real *e, const fx_rows *of,
                            fx_part *parts, int threads) noexcept nogil:
    """`rows_expsum` of one row; `parts` has room for them."""
    cdef Py_ssize_t i, count = parts_of(n)
    cdef bint is_long = fx_is_long(n, of)
    cdef int how = FX_WHOLE
    if is_long:
        how = expsum_parts(k, x, low, n, <real *>NULL, FX_OWN, of, parts, threads)
    elif not of.max_given:
        for i in prange(count, num_threads=threads, schedule="static"):
            parts[i].top = row_max(k, x + i * FX_PART, part_size(i, n))
        of.max[0] = parts[0].top
        for i in range(1, count):
            of.max[0] = fx_larger(of.max[0], parts[i].top)
    if not isfinite(of.max[0]):
        rows_expsum(k, x, low, n, 1, n, e, n, of)
        return
    while how != FX_DONE:
        how = expsum_parts(k, x, low, n, e if not is_long else NULL, how, of, parts, threads)
    if is_long and e != NULL:
        for i in prange(count, num_threads=threads, schedule="static"):
            row_part(k, x + i * FX_PART, <real *>NULL, part_size(i, n), e + i * FX_PART, FX_WHOLE, of, &parts[i])


cdef inline void scale_row(Table k, const real *e, Py_ssize_t n, const double *factor, const double *offset, real *out,
                           int threads) noexcept nogil:
    """`rows_scale` of one row."""
    cdef Py_ssize_t i
    for i in prange(parts_of(n), num_threads=threads, schedule="static"):
        rows_scale(k, e + i * FX_PART, n, 1, part_size(i, n), factor, offset, out + i * FX_PART, n)


cdef inline void scale_part(Table k, const real *x, Py_ssize_t n, const fx_rows *of, double factor, bint streamed,
                            real *out) noexcept nogil:
    if real is float:
        if streamed:
            k.f32.row_exp_stream(x, n, of, factor, out)
            fx_fence()
            return
    row_exp_scaled(k, x, n, of, factor, out)


cdef inline void scale_anew(Table k, const real *x, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n, const fx_rows *of,
                            const double *factor, bint streamed, real *out, Py_ssize_t out_stride,
                            int threads) noexcept nogil:
    """`rows_scale` of exponentials that long rows have not stored. `out` may be `x` unless it is streamed."""
    cdef Py_ssize_t i, row
    cdef fx_rows one = of[0]
    for row in range(rows):
        one.max = of.max + row
        if isfinite(one.max[0]):
            for i in prange(parts_of(n), num_threads=threads, schedule="static"):
                scale_part(k, x + row * stride + i * FX_PART, part_size(i, n), &one, factor[row], streamed,
                           out + row * out_stride + i * FX_PART)
        else:
            one.ties = of.ties + row
            one.others = of.others + row
            one.rest = of.rest + row
            one.stored = of.stored + row
            one.stored_rest = of.stored_rest + row
            rows_expsum(k, x + row * stride, <real *>NULL, n, 1, n, out + row * out_stride, n, &one)
            rows_scale(k, out + row * out_stride, n, 1, n, factor + row, NULL, out + row * out_stride, n)
