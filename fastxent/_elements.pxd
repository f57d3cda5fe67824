# Arrays as elements in their logical (C) order, taken in pieces of PIECE, whatever the strides: a piece is used where
# it stands if it is contiguous there, and gathered otherwise.
from libc.string cimport memset

from fastxent._arrays cimport Integers, Rows, Sparse, direct_rows, read_integer, read_rows, rows_of, write_rows
from fastxent._kernels cimport Table, real

cdef enum:
    PIECE = 2048

# An array as rows of `width` elements; a contiguous one is a single row.
cdef struct Elements:
    Rows rows
    Py_ssize_t width


cdef inline Elements elements_of(object array):
    cdef Elements elements
    elements.rows = rows_of(array)
    elements.width = max(1, array.shape[-1])
    return elements


cdef inline real *direct(const Elements *array, Py_ssize_t first, Py_ssize_t n, real *like) noexcept nogil:
    """Elements first to first + n where they stand; NULL if they are not contiguous or of another type."""
    cdef Rows rows = array.rows
    cdef Py_ssize_t column = first % array.width
    if column + n > array.width:
        return NULL
    rows.data += column * rows.class_stride
    return direct_rows(&rows, first // array.width, 1, like)


# Whole rows, or a part of one.
cdef struct Segment:
    Rows rows
    Py_ssize_t row
    Py_ssize_t lines
    Py_ssize_t count


cdef inline Segment segment_of(const Elements *array, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """The largest that starts at an element and has at most n."""
    cdef Segment part
    cdef Py_ssize_t column = first % array.width
    part.rows = array.rows
    part.rows.data += column * array.rows.class_stride
    part.row = first // array.width
    part.lines = n // array.width if column == 0 and n >= array.width else 1
    part.count = min(n, array.width - column)
    return part


cdef inline const real *gathered(Table k, const Elements *array, Py_ssize_t first, Py_ssize_t n,
                                 real *room) noexcept nogil:
    """The same, copied into `room` where need be."""
    cdef const real *here = direct(array, first, n, room)
    cdef Py_ssize_t done = 0
    cdef Segment part
    if here != NULL:
        return here
    while done < n:
        part = segment_of(array, first + done, n - done)
        read_rows(k, &part.rows, part.row, part.lines, part.count, room + done)
        done += part.lines * part.count
    return room


cdef inline void scattered(Table k, const Elements *array, Py_ssize_t first, Py_ssize_t n, const real *values,
                           const real *room) noexcept nogil:
    """Put results back that had to be computed in `room`."""
    cdef Py_ssize_t done = 0
    cdef Segment part
    if values != room:
        return
    while done < n:
        part = segment_of(array, first + done, n - done)
        write_rows(k, &part.rows, part.row, part.lines, part.count, values + done)
        done += part.lines * part.count


cdef inline real *target_of(const Elements *array, Py_ssize_t first, Py_ssize_t n, real *room) noexcept nogil:
    cdef real *here = direct(array, first, n, room)
    return room if here == NULL else here


cdef inline Py_ssize_t first_from(const Integers *sorted, Py_ssize_t start, Py_ssize_t stop,
                                  long long least) noexcept nogil:
    """The first of the elements from `start` to `stop` that is `least` or more."""
    cdef Py_ssize_t middle
    while start < stop:
        middle = start + (stop - start) // 2
        if read_integer(sorted, middle) < least:
            start = middle + 1
        else:
            stop = middle
    return start


cdef inline void sparse_piece(const Sparse *of, Py_ssize_t columns, Py_ssize_t first, Py_ssize_t n,
                              real *room) noexcept nogil:
    """Elements of a CSR matrix whose rows are in order, each element stored once at most."""
    cdef Py_ssize_t row, entry, start, stop, at
    memset(room, 0, n * sizeof(real))
    for row in range(first // columns, (first + n - 1) // columns + 1):
        at = row * columns - first
        start = read_integer(&of.indptr, row)
        stop = read_integer(&of.indptr, row + 1)
        if at < 0:
            start = first_from(&of.indices, start, stop, -at)
        if at + columns > n:
            stop = first_from(&of.indices, start, stop, n - at)
        for entry in range(start, stop):
            room[at + read_integer(&of.indices, entry)] = <real>of.values[entry]
