"""Products of blocks of rows with the weights, by the BLAS that SciPy carries, one tile of a result at a time.

Every tile is one call of `gemm` on one of our own threads, with the BLAS held to a single thread (see `linear.py`): its
threads and ours would wait for each other's processors. How a result is cut into tiles depends on its shape alone, so
that the number of threads does not show in the bits. A result too small to be cut is made of parts of the inner
dimension instead, each on its own and added up in turn; so every factor is read once.
"""
from cython.parallel cimport prange
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cimport numpy as cnp

from scipy.linalg import cython_blas

from fastxent._kernels cimport (Table, Team, active, end_team, fx_entries, next_item, nothing_left, real, row_gather,
                                row_scatter, start_team, threads_for)

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


cdef void *blas_function(str name) except NULL:
    capsule = cython_blas.__pyx_capi__[name]
    return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


# By their addresses, so that SciPy is not needed to build.
cdef Sgemm sgemm = <Sgemm>blas_function("sgemm")
cdef Dgemm dgemm = <Dgemm>blas_function("dgemm")

cdef enum:
    TILE = 512                 # rows and columns of a tile at most: packed, it stays in the second-level cache
    EVEN = 8                   # more tiles are a multiple of so many, for threads to have the same number
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
    ROWS = 8                   # of CSR, an item for a thread


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
    cdef Py_ssize_t which
    if p.parts == 1:
        return next_item(team, thread)
    which = fx_take_turn(turns)
    if which < 0 and thread == 0:
        nothing_left(team)
    return which


cdef void multiply_tiles(const Product *p, Team *team, fx_turns *turns, int thread, real *like) noexcept nogil:
    cdef Py_ssize_t which = next_tile(p, team, turns, thread)
    while which >= 0:
        multiply_tile(p, which, turns, thread, like)
        which = next_tile(p, team, turns, thread)


cdef inline Py_ssize_t tile_of(Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t tiles = (size + TILE - 1) // TILE
    if tiles <= EVEN:
        return min(size, TILE)
    tiles = (tiles + EVEN - 1) // EVEN * EVEN
    return (size + tiles - 1) // tiles


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
    p.tile_rows = tile_of(p.rows)
    p.tile_columns = tile_of(p.columns)
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
    """`out` = a @ b, plus what was there if `accumulate`, or plus the `bias` in every row if there is one: all of
    them of one dtype and for the BLAS to take, see `is_direct`; a bias goes with an `out` by rows."""
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

# The rows of a CSR matrix that are taken, from `start` to `stop` among its entries.
cdef struct Csr:
    const int64_t *start
    const int64_t *stop
    const char *indices
    bint wide                  # indices are int64, not int32
    const char *values
    Py_ssize_t rows
    Py_ssize_t columns         # of the dense factor, one for each class
    Py_ssize_t features


cdef inline fx_entries entries_of(const Csr *m, Py_ssize_t row) noexcept nogil:
    cdef fx_entries of
    of.wide = m.wide
    of.indices = m.indices + m.start[row] * (8 if m.wide else 4)
    of.count = m.stop[row] - m.start[row]
    return of


cdef void gather_rows(Table k, const Csr *m, Team *team, int thread, const real *weight, bint accumulate,
                      const real *bias, real *out) noexcept nogil:
    cdef Py_ssize_t row, item = next_item(team, thread)
    cdef fx_entries of
    cdef real *scores
    while item >= 0:
        for row in range(item * ROWS, min((item + 1) * ROWS, m.rows)):
            scores = out + row * m.columns
            if bias != NULL:
                memcpy(scores, bias, m.columns * sizeof(real))
            elif not accumulate:
                memset(scores, 0, m.columns * sizeof(real))
            of = entries_of(m, row)
            if of.count > 0:
                row_gather(k, &of, <const real *>m.values + m.start[row], weight, m.columns, scores)
        item = next_item(team, thread)


cdef int gather(const Csr *m, const real *weight, bint accumulate, const real *bias, real *out, n_threads) except -1:
    cdef Team team
    cdef Table k = active
    cdef Py_ssize_t work = work_of(m), items = (m.rows + ROWS - 1) // ROWS
    cdef int thread, threads = min(threads_for(n_threads, work), max(1, items))
    cdef void *memory = malloc(1)
    start_team(&team, threads, items, work, memory)
    with nogil:
        if threads == 1:
            gather_rows(k, m, &team, 0, weight, accumulate, bias, out)
        else:
            for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                gather_rows(k, m, &team, thread, weight, accumulate, bias, out)
        end_team(&team)
        free(memory)
    return 0


cdef void scatter_rows(Table k, const Csr *m, Py_ssize_t first, Py_ssize_t last, const real *grad,
                       real *out) noexcept nogil:
    """Adds to the features from `first` to `last`, to each in the order of the rows, however many threads there are."""
    cdef Py_ssize_t row
    cdef fx_entries of
    for row in range(m.rows):
        of = entries_of(m, row)
        row_scatter(k, &of, <const real *>m.values + m.start[row], first, last, grad + row * m.columns, m.columns, out)


cdef int scatter(const Csr *m, const real *grad, real *out, const int64_t *before, n_threads) except -1:
    cdef Table k = active
    cdef int thread, threads = threads_for(n_threads, work_of(m))
    with nogil:
        for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            scatter_rows(k, m, share_of(before, m.features, thread, threads),
                         share_of(before, m.features, thread + 1, threads), grad, out)
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


cdef inline Py_ssize_t work_of(const Csr *m) noexcept nogil:
    return (m.stop[m.rows - 1] - m.start[0]) * m.columns if m.rows > 0 else 0


cdef Csr describe_rows(tuple csr, cnp.ndarray dense) except *:
    cdef Csr m
    cdef cnp.ndarray start = csr[0], stop = csr[1], indices = csr[2], values = csr[3]
    m.start = <const int64_t *>cnp.PyArray_DATA(start)
    m.stop = <const int64_t *>cnp.PyArray_DATA(stop)
    m.indices = <const char *>cnp.PyArray_DATA(indices)
    m.wide = cnp.PyArray_ITEMSIZE(indices) == 8
    m.values = <const char *>cnp.PyArray_DATA(values)
    m.rows = cnp.PyArray_DIM(start, 0)
    m.features = cnp.PyArray_DIM(dense, 0)
    m.columns = cnp.PyArray_DIM(dense, 1)
    return m


def csr_product(tuple csr, cnp.ndarray weight, cnp.ndarray out, bint accumulate, cnp.ndarray bias, n_threads):
    """`out` = rows @ weight, plus what was there if `accumulate`, or plus the `bias`: contiguous arrays of one dtype.
    Rows are (starts, stops, indices, values) of CSR, the first two int64, indices int32 or int64."""
    cdef Csr m = describe_rows(csr, weight)
    cdef void *added = cnp.PyArray_DATA(bias) if bias is not None else NULL
    cdef void *w = cnp.PyArray_DATA(weight)
    cdef void *z = cnp.PyArray_DATA(out)
    if cnp.PyArray_ITEMSIZE(out) == 4:
        gather(&m, <const float *>w, accumulate, <const float *>added, <float *>z, n_threads)
    else:
        gather(&m, <const double *>w, accumulate, <const double *>added, <double *>z, n_threads)


def csr_add_product(tuple csr, cnp.ndarray grad, cnp.ndarray out, cnp.ndarray before, n_threads):
    """`out` += rows.T @ grad, with rows as in `csr_product`; threads share the features by how many entries, or of a
    sample of them, are of those before each, (d + 1,) int64."""
    cdef Csr m = describe_rows(csr, out)
    cdef const int64_t *counts = <const int64_t *>cnp.PyArray_DATA(before)
    cdef void *g = cnp.PyArray_DATA(grad)
    cdef void *sums = cnp.PyArray_DATA(out)
    if cnp.PyArray_ITEMSIZE(out) == 4:
        scatter(&m, <const float *>g, <float *>sums, counts, n_threads)
    else:
        scatter(&m, <const double *>g, <double *>sums, counts, n_threads)
