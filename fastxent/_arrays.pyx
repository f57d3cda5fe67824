"""Arrays as the row loops see them: any strides, any storage, read and written by blocks of rows."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cimport numpy as cnp
import numpy as np

from fastxent._kernels cimport transpose

cnp.import_array()

ctypedef fused number:
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t
    uint64_t
    float
    double

cdef dict STORAGES = {
    np.dtype(np.float64): FLOAT64, np.dtype(np.float32): FLOAT32, np.dtype(np.float16): FLOAT16,
    np.dtype(np.int8): INT8, np.dtype(np.int16): INT16, np.dtype(np.int32): INT32, np.dtype(np.int64): INT64,
    np.dtype(np.uint8): UINT8, np.dtype(np.uint16): UINT16, np.dtype(np.uint32): UINT32,
    np.dtype(np.uint64): UINT64, np.dtype(np.bool_): UINT8,
}


cdef Storage storage_of(cnp.ndarray array) except *:
    cdef int number = cnp.PyArray_TYPE(array)
    if number == cnp.NPY_FLOAT:
        return FLOAT32
    if number == cnp.NPY_DOUBLE:
        return FLOAT64
    dtype = array.dtype
    code = STORAGES.get(dtype)
    if code is None:
        if dtype.name == "bfloat16":
            code = BFLOAT16
        elif dtype.kind in "iu":
            # long and long long are two dtypes of one size.
            code = STORAGES[np.dtype(f"{dtype.kind}{dtype.itemsize}")]
        else:
            raise TypeError(f"no kernels for {dtype}")
    return <Storage><int>code


cdef Rows rows_of(object array):
    """Of an array (rows, n), or (outer, inner, n) taken as outer * inner rows."""
    cdef cnp.ndarray a = array
    cdef Rows rows
    rows.data = <char *>cnp.PyArray_DATA(a)
    rows.storage = storage_of(a)
    if cnp.PyArray_NDIM(a) == 2:
        rows.inner = max(1, cnp.PyArray_DIM(a, 0))
        rows.outer_stride = 0
        rows.inner_stride = cnp.PyArray_STRIDE(a, 0)
        rows.class_stride = cnp.PyArray_STRIDE(a, 1)
    else:
        rows.inner = max(1, cnp.PyArray_DIM(a, 1))
        rows.outer_stride = cnp.PyArray_STRIDE(a, 0)
        rows.inner_stride = cnp.PyArray_STRIDE(a, 1)
        rows.class_stride = cnp.PyArray_STRIDE(a, 2)
    return rows


cdef void extent(cnp.ndarray a, char **first, char **end):
    """The memory from the first to behind the last byte of an array."""
    cdef Py_ssize_t i, span
    first[0] = <char *>cnp.PyArray_DATA(a)
    end[0] = first[0] + cnp.PyArray_ITEMSIZE(a)
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, i) == 0:
            end[0] = first[0]
            return
    for i in range(cnp.PyArray_NDIM(a)):
        span = (cnp.PyArray_DIM(a, i) - 1) * cnp.PyArray_STRIDE(a, i)
        if span < 0:
            first[0] += span
        else:
            end[0] += span


def same_memory(cnp.ndarray a, cnp.ndarray b):
    """Whether two arrays are one and the same memory, element by element."""
    cdef Py_ssize_t i
    if a is b:
        return True
    if (cnp.PyArray_DATA(a) != cnp.PyArray_DATA(b) or cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(b)
            or a.dtype != b.dtype):
        return False
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, i) != cnp.PyArray_DIM(b, i) or cnp.PyArray_STRIDE(a, i) != cnp.PyArray_STRIDE(b, i):
            return False
    return True


def overlap(cnp.ndarray a, cnp.ndarray b):
    """Whether two arrays share memory; True where that is too hard to tell."""
    cdef char *a_first
    cdef char *a_end
    cdef char *b_first
    cdef char *b_end
    extent(a, &a_first, &a_end)
    extent(b, &b_first, &b_end)
    if a_first >= b_end or b_first >= a_end or a_first == a_end or b_first == b_end:
        return False
    try:
        return bool(np.shares_memory(a, b, max_work=100_000))
    except np.exceptions.TooHardError:
        return True


cdef Integers integers_of(object array):
    cdef cnp.ndarray a = array
    cdef Integers integers
    integers.data = <char *>cnp.PyArray_DATA(a)
    integers.storage = storage_of(a)
    integers.stride = cnp.PyArray_STRIDE(a, 0)
    return integers


cdef Sparse sparse_of(object arrays):
    cdef Sparse sparse
    cdef cnp.ndarray values = arrays[2]
    sparse.indptr = integers_of(arrays[0])
    sparse.indices = integers_of(arrays[1])
    sparse.values = <double *>cnp.PyArray_DATA(values)
    return sparse


cdef bint is_direct(const Rows *rows, real *like) noexcept nogil:
    """Whether rows are contiguous arrays of the computing type; `like` only tells the type."""
    cdef Storage own
    if real is float:
        own = FLOAT32
    else:
        own = FLOAT64
    return (rows.storage == own and rows.class_stride == <Py_ssize_t>sizeof(real)
            and rows.inner_stride % <Py_ssize_t>sizeof(real) == 0)


cdef inline char *row_start(const Rows *rows, Py_ssize_t row) noexcept nogil:
    return rows.data + (row // rows.inner) * rows.outer_stride + (row % rows.inner) * rows.inner_stride


cdef real *direct_rows(const Rows *rows, Py_ssize_t first, Py_ssize_t count, real *like) noexcept nogil:
    """The rows themselves, inner_stride apart, or NULL where they must be read and written by copies."""
    if not is_direct(rows, like) or first % rows.inner + count > rows.inner:
        return NULL
    return <real *>row_start(rows, first)


cdef void gather(const char *source, Py_ssize_t row_stride, Py_ssize_t class_stride, Py_ssize_t count,
                 Py_ssize_t n, real *out, number like) noexcept nogil:
    cdef Py_ssize_t i, j
    if -class_stride < row_stride < class_stride:
        # Rows are neighbours in memory: class by class, so that a cache line is used whole.
        for j in range(n):
            for i in range(count):
                out[i * n + j] = <real>(<const number *>(source + i * row_stride + j * class_stride))[0]
    else:
        for i in range(count):
            for j in range(n):
                out[i * n + j] = <real>(<const number *>(source + i * row_stride + j * class_stride))[0]


cdef void scatter(char *target, Py_ssize_t row_stride, Py_ssize_t class_stride, Py_ssize_t count, Py_ssize_t n,
                  const real *values, number like) noexcept nogil:
    cdef Py_ssize_t i, j
    if -class_stride < row_stride < class_stride:
        for j in range(n):
            for i in range(count):
                (<number *>(target + i * row_stride + j * class_stride))[0] = <number>values[i * n + j]
    else:
        for i in range(count):
            for j in range(n):
                (<number *>(target + i * row_stride + j * class_stride))[0] = <number>values[i * n + j]


cdef enum:
    HALVES = 256


cdef void read_halves(Table k, const Rows *rows, const char *source, Py_ssize_t count, Py_ssize_t n,
                      real *out) noexcept nogil:
    cdef Py_ssize_t i, j, part, first, here
    cdef uint16_t[HALVES] gathered
    cdef float[HALVES] widened
    cdef const uint16_t *halves
    cdef float *values
    for i in range(count):
        for part in range((n + HALVES - 1) // HALVES):
            first = part * HALVES
            here = min(<Py_ssize_t>HALVES, n - first)
            halves = <const uint16_t *>(source + i * rows.inner_stride + first * rows.class_stride)
            if rows.class_stride != 2:
                for j in range(here):
                    gathered[j] = (<const uint16_t *>(<const char *>halves + j * rows.class_stride))[0]
                halves = gathered
            values = widened
            if real is float:
                values = out + i * n + first
            if rows.storage == FLOAT16:
                k.f32.from_f16(halves, values, here)
            else:
                k.f32.from_bf16(halves, values, here)
            if real is double:
                for j in range(here):
                    out[i * n + first + j] = widened[j]


cdef void write_halves(Table k, const Rows *rows, char *target, Py_ssize_t count, Py_ssize_t n,
                       const real *values) noexcept nogil:
    cdef Py_ssize_t i, j, part, first, here
    cdef uint16_t[HALVES] scattered
    cdef float[HALVES] narrowed
    cdef const float *given
    cdef uint16_t *halves
    for i in range(count):
        for part in range((n + HALVES - 1) // HALVES):
            first = part * HALVES
            here = min(<Py_ssize_t>HALVES, n - first)
            given = narrowed
            if real is float:
                given = values + i * n + first
            else:
                for j in range(here):
                    narrowed[j] = <float>values[i * n + first + j]
            halves = <uint16_t *>(target + i * rows.inner_stride + first * rows.class_stride)
            if rows.class_stride != 2:
                halves = scattered
            if rows.storage == FLOAT16:
                k.f32.to_f16(given, halves, here)
            else:
                k.f32.to_bf16(given, halves, here)
            if rows.class_stride != 2:
                for j in range(here):
                    (<uint16_t *>(target + i * rows.inner_stride + (first + j) * rows.class_stride))[0] = scattered[j]


cdef inline bint is_transposed(const Rows *rows, real *like) noexcept nogil:
    """Whether columns of rows are contiguous arrays of the computing type."""
    cdef Storage own
    if real is float:
        own = FLOAT32
    else:
        own = FLOAT64
    return (rows.storage == own and rows.inner_stride == <Py_ssize_t>sizeof(real)
            and rows.class_stride % <Py_ssize_t>sizeof(real) == 0)


cdef void read_rows(Table k, const Rows *rows, Py_ssize_t first, Py_ssize_t count, Py_ssize_t n,
                    real *out) noexcept nogil:
    """Copy rows into a contiguous block, converted to the computing type."""
    cdef Py_ssize_t row_stride = rows.inner_stride, class_stride = rows.class_stride, here
    cdef const char *source
    while count > 0:
        source = row_start(rows, first)
        here = min(count, rows.inner - first % rows.inner)
        if is_transposed(rows, out):
            transpose(k, <const real *>source, class_stride // <Py_ssize_t>sizeof(real), n, here, out, n)
        elif rows.storage == FLOAT64:
            gather(source, row_stride, class_stride, here, n, out, <double>0)
        elif rows.storage == FLOAT32:
            gather(source, row_stride, class_stride, here, n, out, <float>0)
        elif rows.storage == FLOAT16 or rows.storage == BFLOAT16:
            read_halves(k, rows, source, here, n, out)
        elif rows.storage == INT64:
            gather(source, row_stride, class_stride, here, n, out, <int64_t>0)
        elif rows.storage == INT32:
            gather(source, row_stride, class_stride, here, n, out, <int32_t>0)
        elif rows.storage == INT16:
            gather(source, row_stride, class_stride, here, n, out, <int16_t>0)
        elif rows.storage == INT8:
            gather(source, row_stride, class_stride, here, n, out, <int8_t>0)
        elif rows.storage == UINT64:
            gather(source, row_stride, class_stride, here, n, out, <uint64_t>0)
        elif rows.storage == UINT32:
            gather(source, row_stride, class_stride, here, n, out, <uint32_t>0)
        elif rows.storage == UINT16:
            gather(source, row_stride, class_stride, here, n, out, <uint16_t>0)
        else:
            gather(source, row_stride, class_stride, here, n, out, <uint8_t>0)
        first += here
        count -= here
        out += here * n


cdef void write_rows(Table k, const Rows *rows, Py_ssize_t first, Py_ssize_t count, Py_ssize_t n,
                     const real *values) noexcept nogil:
    """Copy a contiguous block into floating-point rows, converted to their storage."""
    cdef Py_ssize_t row_stride = rows.inner_stride, class_stride = rows.class_stride, here
    cdef char *target
    while count > 0:
        target = row_start(rows, first)
        here = min(count, rows.inner - first % rows.inner)
        if is_transposed(rows, <real *>NULL):
            transpose(k, values, n, here, n, <real *>target, class_stride // <Py_ssize_t>sizeof(real))
        elif rows.storage == FLOAT64:
            scatter(target, row_stride, class_stride, here, n, values, <double>0)
        elif rows.storage == FLOAT32:
            scatter(target, row_stride, class_stride, here, n, values, <float>0)
        else:
            write_halves(k, rows, target, here, n, values)
        first += here
        count -= here
        values += here * n
