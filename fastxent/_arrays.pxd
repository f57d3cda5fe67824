# Arrays as the row loops see them: any strides, any storage, read and written by blocks of rows.
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t

from fastxent._kernels cimport Table, real

cdef enum Storage:
    FLOAT64, FLOAT32, FLOAT16, BFLOAT16, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64

# Row r starts at data + (r / inner) * outer_stride + (r % inner) * inner_stride; strides in bytes.
cdef struct Rows:
    char *data
    Storage storage
    Py_ssize_t inner
    Py_ssize_t outer_stride
    Py_ssize_t inner_stride
    Py_ssize_t class_stride

# A one-dimensional array of integers.
cdef struct Integers:
    char *data
    Storage storage
    Py_ssize_t stride

# The arrays of a CSR matrix; `values` are float64.
cdef struct Sparse:
    Integers indptr
    Integers indices
    const double *values

cdef Rows rows_of(object array)
cdef Integers integers_of(object array)
cdef Sparse sparse_of(object arrays)
cdef bint is_direct(const Rows *rows, real *like) noexcept nogil
cdef real *direct_rows(const Rows *rows, Py_ssize_t first, Py_ssize_t count, real *like) noexcept nogil
cdef void read_rows(Table k, const Rows *rows, Py_ssize_t first, Py_ssize_t count, Py_ssize_t n,
                    real *out) noexcept nogil
cdef void write_rows(Table k, const Rows *rows, Py_ssize_t first, Py_ssize_t count, Py_ssize_t n,
                     const real *values) noexcept nogil


cdef inline long long read_integer(const Integers *array, Py_ssize_t i) noexcept nogil:
    """An element; a uint64 too large for int64 comes out negative."""
    cdef const char *p = array.data + i * array.stride
    if array.storage == INT64 or array.storage == UINT64:
        return (<const int64_t *>p)[0]
    if array.storage == INT32:
        return (<const int32_t *>p)[0]
    if array.storage == UINT8:
        return (<const uint8_t *>p)[0]
    if array.storage == INT16:
        return (<const int16_t *>p)[0]
    if array.storage == INT8:
        return (<const int8_t *>p)[0]
    if array.storage == UINT16:
        return (<const uint16_t *>p)[0]
    return (<const uint32_t *>p)[0]
