# What the row loops of the softmax family have in common: how many rows are taken together, and room for them.
from libc.math cimport isfinite
from libc.stdint cimport uintptr_t

from fastxent._kernels cimport FX_FEW, FX_FEW_SIZE


cdef inline Py_ssize_t summed_rows(Py_ssize_t row_size, bint few) noexcept nogil:
    """Rows whose losses are added up together: as many as stay in the first-level cache, a power of two."""
    cdef Py_ssize_t fitting = 16384 // row_size, rows = 16 if few else 1
    while 2 * rows <= min(fitting, 128 if few else 16):
        rows *= 2
    return rows


cdef inline Py_ssize_t chunk_rows(Py_ssize_t summed, bint direct, Py_ssize_t row_size, Py_ssize_t n,
                                  Py_ssize_t inner) noexcept nogil:
    """Rows of `row_size` bytes, of n, taken together. As many as a vector has doubles, for their figures, if they stay
    in the second-level cache; more where there are plenty, since memory that was asked for has more time to come, and
    where they are gathered from columns, so that cache lines and pages are used well. `inner` rows are evenly spaced:
    a chunk that crosses their end is copied, as few should be."""
    cdef Py_ssize_t rows = summed if direct else max(16, summed), most = 8 if direct else 64
    while rows < most and 2 * rows * row_size <= (65536 if direct else 262144):
        rows *= 2
    while (rows < 64 and 2 * rows * row_size <= 131072 and 128 * rows <= n
           and (inner % (2 * rows) == 0 or inner >= 128 * rows)):
        rows *= 2
    return rows


cdef inline char *align(char *p) noexcept nogil:
    return <char *>((<uintptr_t>p + 63) & ~<uintptr_t>63)


cdef inline Py_ssize_t block_size(Py_ssize_t chunk, Py_ssize_t classes, Py_ssize_t itemsize) noexcept nogil:
    """Bytes for the rows of a chunk, in rows or (few classes) in groups of lanes."""
    cdef Py_ssize_t size = FX_FEW_SIZE(chunk, classes) if classes <= FX_FEW(itemsize) else chunk * classes
    return (size * itemsize + 63) // 64 * 64


cdef inline double mean_of(long double sum, long double weight) noexcept nogil:
    """sum / weight, rounded once. Without any weight 0, or NaN."""
    return <double>(sum / weight if weight > 0.0 else 0.0 * sum)


cdef inline double add3(double a, double b, double c) noexcept nogil:
    """a + b + c for c of the size of b's rounding, rounded once; infinite and NaN sums as they are."""
    cdef double sum = a + b, rounded = sum - a
    if not isfinite(sum):
        return sum
    return sum + (((a - (sum - rounded)) + (b - rounded)) + c)
