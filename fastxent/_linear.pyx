"""Products of blocks of rows with the weights, by the BLAS that SciPy carries, one tile of a result at a time.

Every tile is one call of `gemm` on one of our own threads, with the BLAS held to a single thread (see `linear.py`): its
threads and ours would wait for each other's processors. How a result is cut into tiles depends on its shape alone, so
that the number of threads does not show in the bits. A result too small to be cut is made of parts of the inner
dimension instead, each on its own and added up in turn; so every factor is read once.
"""
from cython.parallel cimport prange
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from libc.limits cimport INT_MAX
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cimport numpy as cnp

from scipy.linalg import cython_blas

from fastxent._kernels cimport Team, end_team, next_item, real, start_team, threads_for

cnp.import_array()

cdef extern from "turns.h" nogil:
    ctypedef struct fx_turns:
        pass
    void fx_begin_turns(fx_turns *turns, Py_ssize_t items)
    Py_ssize_t fx_take_turn(fx_turns *turns)
    void fx_await_turn(fx_turns *turns, Py_ssize_t item)
    void fx_end_turn(fx_turns *turns, Py_ssize_t item)

ctypedef void (*Sgemm)(char *, char *, int *, int *, int *, float *, float *, int *, float *, int *, float *, float *,
                       int *) noexcept nogil
ctypedef void (*Dgemm)(char *, char *, int *, int *, int *, double *, double *, int *, double *, int *, double *,
                       double *, int *) noexcept nogil

ctypedef fused index:
    int32_t
    int64_t


cdef void *blas_function(str name) except NULL:
    capsule = cython_blas.__pyx_capi__[name]
    return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


# By their addresses, so that SciPy is not needed to build.
cdef Sgemm sgemm = <Sgemm>blas_function("sgemm")
cdef Dgemm dgemm = <Dgemm>blas_function("dgemm")

cdef enum:
    TILE = 512                 # rows and columns of a tile at most: packed, it stays in the second-level cache
    LEAST_TILE = 128           # below, packing shows
    TILES = 6                  # that a large result should have, for as many threads
    PART = 1536                # of the inner dimension at least
    PARTS = 64
    PART_BYTES = 2 << 20       # of a result that is made of parts, at most
    # Multiplications up to which OpenBLAS packs nothing on processors with AVX-512; long sums of a small result are
    # made of pieces for which that holds, in about half the time. Other processors were not timed well enough.
    UNPACKED = 1000000
    LEAST_PIECE = 128
    # Multiplications that take as long as an element of a loss, see threads_for.
    PER_ELEMENT = 16


# ---- dense ------------------------------------------------------------------------------------------------

cdef struct Matrix:
    char *data
    Py_ssize_t row_stride      # in elements; one of the two is 1
    Py_ssize_t column_stride
    bint by_columns
    int ld


cdef bint describe(cnp.ndarray array, Matrix *m):
    """Whether the BLAS can take the array as it is."""
    cdef Py_ssize_t rows = cnp.PyArray_DIM(array, 0), columns = cnp.PyArray_DIM(array, 1)
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(array), ld
    cdef Py_ssize_t down = cnp.PyArray_STRIDE(array, 0), right = cnp.PyArray_STRIDE(array, 1)
    m.data = <char *>cnp.PyArray_DATA(array)
    if not cnp.PyArray_ISALIGNED(array) or max(rows, columns) > INT_MAX:
        return False
    if (columns <= 1 or right == size) and (rows <= 1 or (down >= columns * size and down % size == 0)):
        ld = max(1, columns if rows <= 1 else down // size)
        m.by_columns = False
        m.row_stride, m.column_stride = ld, 1
    elif (rows <= 1 or down == size) and (columns <= 1 or (right >= rows * size and right % size == 0)):
        ld = max(1, rows if columns <= 1 else right // size)
        m.by_columns = True
        m.row_stride, m.column_stride = 1, ld
    else:
        return False
    m.ld = <int>min(ld, INT_MAX)
    return ld <= INT_MAX


def is_direct(cnp.ndarray array):
    """Whether the BLAS can take a two-dimensional array as it is, by rows or by columns."""
    cdef Matrix m
    return describe(array, &m)


cdef struct Product:
    Matrix a
    Matrix b
    Matrix out
    Py_ssize_t rows
    Py_ssize_t columns
    Py_ssize_t inner
    Py_ssize_t tile_rows
    Py_ssize_t tile_columns
    Py_ssize_t across          # tiles beside each other
    Py_ssize_t part            # of the inner dimension, the whole of it but for small results
    Py_ssize_t parts
    Py_ssize_t piece           # of a part, for one call of the BLAS
    bint accumulate
    const char *bias
    double *sums               # of the parts, (rows, columns)
    char *partial              # a tile for each thread


cdef inline void gemm(char *a_form, char *b_form, int m, int n, int k, real *a, int lda, real *b, int ldb, real beta,
                      real *c, int ldc) noexcept nogil:
    cdef real one = 1
    if real is float:
        sgemm(a_form, b_form, &m, &n, &k, &one, a, &lda, b, &ldb, &beta, c, &ldc)
    else:
        dgemm(a_form, b_form, &m, &n, &k, &one, a, &lda, b, &ldb, &beta, c, &ldc)


cdef void multiply_tile(const Product *p, Py_ssize_t which, fx_turns *turns, int thread, real *like) noexcept nogil:
    cdef Py_ssize_t part = which % p.parts, tile = which // p.parts
    cdef Py_ssize_t row = tile // p.across * p.tile_rows, column = tile % p.across * p.tile_columns, i
    cdef Py_ssize_t first = part * p.part, end = min(first + p.part, p.inner)
    cdef Py_ssize_t rows = min(p.tile_rows, p.rows - row), columns = min(p.tile_columns, p.columns - column)
    cdef real *a = <real *>p.a.data + row * p.a.row_stride
    cdef real *b = <real *>p.b.data + column * p.b.column_stride
    cdef real *out = <real *>p.out.data + row * p.out.row_stride + column
    cdef const real *bias = <const real *>p.bias + column if p.bias != NULL else NULL
    cdef int ld = p.out.ld
    cdef real beta = p.accumulate
    if p.parts > 1:
        out = <real *>p.partial + thread * p.tile_rows * p.tile_columns
        ld = <int>columns
        beta = 0
    elif bias != NULL:
        for i in range(rows):
            memcpy(out + i * ld, bias, columns * sizeof(real))
        beta = 1
    # The BLAS counts by columns: what it is given is the transposed product, the right factor first.
    while True:
        gemm(b"T" if p.b.by_columns else b"N", b"T" if p.a.by_columns else b"N", <int>columns, <int>rows,
             <int>min(p.piece, end - first), b + first * p.b.row_stride, p.b.ld, a + first * p.a.column_stride, p.a.ld,
             beta, out, ld)
        first += p.piece
        if first >= end:
            break
        beta = 1
    if p.parts > 1:
        fx_await_turn(turns, which)
        for i in range(rows):
            add_part(p, part, columns, out + i * ld, bias, p.sums + (row + i) * p.columns + column,
                     <real *>p.out.data + (row + i) * p.out.row_stride + column)
        fx_end_turn(turns, which)


cdef void add_part(const Product *p, Py_ssize_t part, Py_ssize_t columns, const real *terms, const real *bias,
                   double *sums, real *out) noexcept nogil:
    """Of a row; the first adds to what there was, the last is followed by the result."""
    cdef Py_ssize_t j
    if part > 0:
        for j in range(columns):
            sums[j] += terms[j]
    elif bias != NULL:
        for j in range(columns):
            sums[j] = <double>bias[j] + terms[j]
    elif p.accumulate:
        for j in range(columns):
            sums[j] = <double>out[j] + terms[j]
    else:
        for j in range(columns):
            sums[j] = terms[j]
    if part == p.parts - 1:
        for j in range(columns):
            out[j] = <real>sums[j]


cdef inline Py_ssize_t next_tile(const Product *p, Team *team, fx_turns *turns, int thread) noexcept nogil:
    return fx_take_turn(turns) if p.parts > 1 else next_item(team, thread)


cdef void multiply_tiles(const Product *p, Team *team, fx_turns *turns, int thread, real *like) noexcept nogil:
    cdef Py_ssize_t which = next_tile(p, team, turns, thread)
    while which >= 0:
        multiply_tile(p, which, turns, thread, like)
        which = next_tile(p, team, turns, thread)


cdef inline Py_ssize_t tiles_of(const Product *p) noexcept nogil:
    return (((p.rows + p.tile_rows - 1) // p.tile_rows)
            * ((p.columns + p.tile_columns - 1) // p.tile_columns))


cdef int run(Product *p, n_threads, real *like) except -1:
    cdef Team team
    cdef fx_turns turns
    cdef Py_ssize_t items, work = p.rows * p.columns * max(1, p.inner) // PER_ELEMENT
    cdef Py_ssize_t sums = 0, tiles = 1, longest, pieces
    cdef int threads, thread
    cdef void *memory
    p.tile_rows = min(p.rows, TILE)
    p.tile_columns = min(p.columns, TILE)
    p.parts = 1
    if tiles_of(p) < TILES and p.rows * p.columns * <Py_ssize_t>sizeof(real) <= PART_BYTES:
        p.parts = max(1, min(p.inner // PART, PARTS))
    p.part = (p.inner + p.parts - 1) // p.parts
    while tiles_of(p) * p.parts < TILES and max(p.tile_rows, p.tile_columns) >= 2 * LEAST_TILE:
        if p.tile_columns > p.tile_rows:
            p.tile_columns = (p.tile_columns + 1) // 2
        else:
            p.tile_rows = (p.tile_rows + 1) // 2
    p.piece = max(1, p.part)
    longest = UNPACKED // (p.tile_rows * p.tile_columns)
    if longest >= LEAST_PIECE and p.piece > max(longest, 2 * p.tile_rows, 2 * p.tile_columns):
        pieces = (p.piece + longest - 1) // longest
        p.piece = (p.piece + pieces - 1) // pieces
    items = tiles_of(p) * p.parts
    p.across = (p.columns + p.tile_columns - 1) // p.tile_columns
    threads = min(threads_for(n_threads, work), items)
    if p.parts > 1:
        sums = p.rows * p.columns * <Py_ssize_t>sizeof(double)
        tiles = threads * p.tile_rows * p.tile_columns * <Py_ssize_t>sizeof(real)
    memory = malloc(sums + tiles)
    p.sums = <double *>memory
    p.partial = <char *>memory + sums
    start_team(&team, threads, items, work, memory)
    fx_begin_turns(&turns, items)
    with nogil:
        if threads == 1:
            multiply_tiles(p, &team, &turns, 0, like)
        else:
            for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                multiply_tiles(p, &team, &turns, thread, like)
        end_team(&team)
        free(memory)
    return 0


def product(cnp.ndarray a, cnp.ndarray b, cnp.ndarray out, bint accumulate, cnp.ndarray bias, n_threads):
    """`out` = a @ b, plus what was there if `accumulate`, plus the `bias` in every row if there is one: all of them of
    one dtype and for the BLAS to take, see `is_direct`; a bias goes with an `out` by rows."""
    cdef Product p
    if not (describe(a, &p.a) and describe(b, &p.b) and describe(out, &p.out)):
        raise ValueError("the BLAS cannot take these arrays")
    if p.out.by_columns:
        a, b, out = b.T, a.T, out.T
        describe(a, &p.a)
        describe(b, &p.b)
        describe(out, &p.out)
    p.rows = cnp.PyArray_DIM(out, 0)
    p.columns = cnp.PyArray_DIM(out, 1)
    p.inner = cnp.PyArray_DIM(a, 1)
    if p.rows == 0 or p.columns == 0:
        return
    p.accumulate = accumulate
    p.bias = <const char *>cnp.PyArray_DATA(bias) if bias is not None else NULL
    if cnp.PyArray_ITEMSIZE(out) == 4:
        run(&p, n_threads, <float *>NULL)
    else:
        run(&p, n_threads, <double *>NULL)


# ---- sums of columns --------------------------------------------------------------------------------------

cdef void sum_tile(const real *x, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns, double *out) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(columns):
            out[j] += x[i * stride + j]


cdef int sum_tiles(const real *x, Py_ssize_t rows, Py_ssize_t columns, double *out, n_threads) except -1:
    cdef Py_ssize_t parts = (rows + PART - 1) // PART, across = (columns + TILE - 1) // TILE, item, part, tile, i
    cdef int threads = threads_for(n_threads, rows * columns)
    cdef double *partial = out
    if parts > 1:
        partial = <double *>malloc(parts * columns * sizeof(double))
        if partial == NULL:
            raise MemoryError()
    with nogil:
        if parts > 1:
            memset(partial, 0, parts * columns * sizeof(double))
        for item in prange(parts * across, num_threads=threads, schedule="static"):
            part = item // across
            tile = item % across * TILE
            sum_tile(x + part * PART * columns + tile, columns, min(PART, rows - part * PART),
                     min(TILE, columns - tile), partial + part * columns + tile)
        if parts > 1:
            for part in range(parts):
                for i in range(columns):
                    out[i] += partial[part * columns + i]
            free(partial)
    return 0


def add_columns(cnp.ndarray x, cnp.ndarray out, n_threads):
    """Add the sum of every column of a contiguous array to float64 `out`."""
    cdef Py_ssize_t rows = cnp.PyArray_DIM(x, 0), columns = cnp.PyArray_DIM(x, 1)
    cdef double *sums = <double *>cnp.PyArray_DATA(out)
    if cnp.PyArray_ITEMSIZE(x) == 4:
        sum_tiles(<const float *>cnp.PyArray_DATA(x), rows, columns, sums, n_threads)
    else:
        sum_tiles(<const double *>cnp.PyArray_DATA(x), rows, columns, sums, n_threads)


# ---- CSR --------------------------------------------------------------------------------------------------

cdef extern from *:
    void __builtin_prefetch(const void *address) nogil

cdef enum:
    WIDE = 16                  # columns that are added up in registers
    NARROW = 4
    AHEAD = 12                 # entries that are asked for before they are needed

# The rows of a CSR matrix that are taken, from `start` to `stop` among its entries.
cdef struct Csr:
    const int64_t *start
    const int64_t *stop
    const char *indices
    const char *values
    Py_ssize_t rows
    Py_ssize_t columns         # of the weights' transpose, one for each class
    Py_ssize_t features


cdef inline void fetch(const Csr *m, Py_ssize_t entry, const real *rows, index *like) noexcept nogil:
    """Ask for what an entry further on will need."""
    cdef Py_ssize_t size = m.columns * <Py_ssize_t>sizeof(real), at
    cdef const char *row = <const char *>(rows + (<const index *>m.indices)[entry] * m.columns)
    for at in range(0, size, 64):
        __builtin_prefetch(row + at)


cdef void gather_row(const Csr *m, Py_ssize_t row, const real *weight, const real *bias, real *out,
                     index *like) noexcept nogil:
    """Sums of so many columns at a time as stay in registers."""
    cdef Py_ssize_t n = m.columns, start = m.start[row], stop = m.stop[row], entry, column = 0, j
    cdef const index *indices = <const index *>m.indices
    cdef const real *values = <const real *>m.values
    cdef const real *w
    cdef real[WIDE] wide
    cdef real[NARROW] narrow
    cdef real value
    for j in range(n):
        out[j] = bias[j] if bias != NULL else 0
    for entry in range(start, min(stop, start + AHEAD)):
        fetch(m, entry, weight, like)
    while column + WIDE <= n:
        for j in range(WIDE):
            wide[j] = out[column + j]
        for entry in range(start, stop):
            if column == 0 and entry + AHEAD < stop:
                fetch(m, entry + AHEAD, weight, like)
            w = weight + indices[entry] * n + column
            value = values[entry]
            for j in range(WIDE):
                wide[j] += value * w[j]
        for j in range(WIDE):
            out[column + j] = wide[j]
        column += WIDE
    while column + NARROW <= n:
        for j in range(NARROW):
            narrow[j] = out[column + j]
        for entry in range(start, stop):
            w = weight + indices[entry] * n + column
            value = values[entry]
            for j in range(NARROW):
                narrow[j] += value * w[j]
        for j in range(NARROW):
            out[column + j] = narrow[j]
        column += NARROW
    if column < n:
        for entry in range(start, stop):
            w = weight + indices[entry] * n
            value = values[entry]
            for j in range(column, n):
                out[j] += value * w[j]


cdef int gather(const Csr *m, const real *weight, const real *bias, real *out, int threads, index *like) except -1:
    cdef Py_ssize_t row
    with nogil:
        for row in prange(m.rows, num_threads=threads, schedule="static"):
            gather_row(m, row, weight, bias, out + row * m.columns, like)
    return 0


cdef void scatter_rows(const Csr *m, Py_ssize_t first, Py_ssize_t last, const real *grad, real *out,
                       index *like) noexcept nogil:
    """Adds to the features from `first` to `last`."""
    cdef Py_ssize_t n = m.columns, row, entry, start, stop, ahead, column, j
    cdef const index *indices = <const index *>m.indices
    cdef const real *g
    cdef real *o
    cdef real[NARROW] terms
    cdef real value
    for row in range(m.rows):
        g = grad + row * n
        start, stop = m.start[row], m.stop[row]
        for entry in range(start, stop):
            ahead = entry + AHEAD
            if ahead < stop and first <= indices[ahead] < last:
                fetch(m, ahead, <const real *>out, like)
            if first <= indices[entry] < last:
                value = (<const real *>m.values)[entry]
                o = out + indices[entry] * n
                column = 0
                while column + NARROW <= n:
                    # In two steps, or the compiler must expect that one row is the other.
                    for j in range(NARROW):
                        terms[j] = value * g[column + j]
                    for j in range(NARROW):
                        o[column + j] += terms[j]
                    column += NARROW
                for j in range(column, n):
                    o[j] += value * g[j]


cdef int scatter(const Csr *m, const real *grad, real *out, const int64_t *before, int threads, index *like) except -1:
    """Every thread looks for its own features, so that each is added to in the order of the rows: as many as hold its
    share of the entries, or most would fall to those that have the frequent ones."""
    cdef Py_ssize_t first, last
    cdef int thread
    with nogil:
        for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            first = share_of(before, m.features, thread, threads)
            last = share_of(before, m.features, thread + 1, threads)
            scatter_rows(m, first, last, grad, out, like)
    return 0


cdef inline Py_ssize_t share_of(const int64_t *before, Py_ssize_t features, int thread, int threads) noexcept nogil:
    """The first feature of a thread: its share of the entries begins there."""
    cdef Py_ssize_t low = 0, high = features, middle
    cdef int64_t wanted = before[features] * thread // threads
    if thread == threads:
        return features
    while low < high:
        middle = (low + high) // 2
        if before[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


cdef int threads_of(Csr *m, tuple csr, n_threads) except -1:
    cdef cnp.ndarray start = csr[0], stop = csr[1], indices = csr[2], values = csr[3]
    m.start = <const int64_t *>cnp.PyArray_DATA(start)
    m.stop = <const int64_t *>cnp.PyArray_DATA(stop)
    m.indices = <const char *>cnp.PyArray_DATA(indices)
    m.values = <const char *>cnp.PyArray_DATA(values)
    m.rows = cnp.PyArray_DIM(start, 0)
    if m.rows == 0:
        return 1
    return threads_for(n_threads, (m.stop[m.rows - 1] - m.start[0]) * m.columns)


def csr_product(tuple csr, cnp.ndarray weight, cnp.ndarray out, cnp.ndarray bias, n_threads):
    """`out` = rows @ weight + bias, contiguous arrays of one dtype; rows are (starts, stops, indices, values) of CSR,
    the first two int64, indices int32 or int64."""
    cdef Csr m
    cdef int threads
    cdef void *added = cnp.PyArray_DATA(bias) if bias is not None else NULL
    cdef void *w = cnp.PyArray_DATA(weight)
    cdef void *z = cnp.PyArray_DATA(out)
    m.features = cnp.PyArray_DIM(weight, 0)
    m.columns = cnp.PyArray_DIM(weight, 1)
    threads = threads_of(&m, csr, n_threads)
    if cnp.PyArray_ITEMSIZE(out) == 4:
        if csr[2].itemsize == 4:
            gather(&m, <const float *>w, <const float *>added, <float *>z, threads, <int32_t *>NULL)
        else:
            gather(&m, <const float *>w, <const float *>added, <float *>z, threads, <int64_t *>NULL)
    elif csr[2].itemsize == 4:
        gather(&m, <const double *>w, <const double *>added, <double *>z, threads, <int32_t *>NULL)
    else:
        gather(&m, <const double *>w, <const double *>added, <double *>z, threads, <int64_t *>NULL)


def csr_add_product(tuple csr, cnp.ndarray grad, cnp.ndarray out, cnp.ndarray before, n_threads):
    """`out` += rows.T @ grad, with rows as in `csr_product`; threads share the features by how many entries, or of a
    sample of them, are of those before each, (d + 1,) int64."""
    cdef Csr m
    cdef int threads
    cdef const int64_t *counts = <const int64_t *>cnp.PyArray_DATA(before)
    cdef void *g = cnp.PyArray_DATA(grad)
    cdef void *sums = cnp.PyArray_DATA(out)
    m.features = cnp.PyArray_DIM(out, 0)
    m.columns = cnp.PyArray_DIM(out, 1)
    threads = threads_of(&m, csr, n_threads)
    if cnp.PyArray_ITEMSIZE(out) == 4:
        if csr[2].itemsize == 4:
            scatter(&m, <const float *>g, <float *>sums, counts, threads, <int32_t *>NULL)
        else:
            scatter(&m, <const float *>g, <float *>sums, counts, threads, <int64_t *>NULL)
    elif csr[2].itemsize == 4:
        scatter(&m, <const double *>g, <double *>sums, counts, threads, <int32_t *>NULL)
    else:
        scatter(&m, <const double *>g, <double *>sums, counts, threads, <int64_t *>NULL)
