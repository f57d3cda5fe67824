"""logsumexp, softmax and log_softmax over rows, taken in chunks as in `_softmax`."""
from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cimport numpy as cnp
import numpy as np

from fastxent._arrays cimport Rows, direct_rows, is_direct, read_rows, rows_of, write_rows
from fastxent._kernels cimport (FX_FEW, Table, Team, active, end_team, fetches_near, fx_is_long, fx_part, fx_rows,
                                long_from, next_item, real, rows_expsum, rows_scale, rows_subtract_max, start_team,
                                threads_for, watch_within)
from fastxent._parts cimport FX_PART, expsum_row, part_size, parts_of, scale_anew, scale_row, threads_within
from fastxent._rows cimport add3, align, block_size, chunk_rows, summed_rows

cnp.import_array()

cdef enum Wanted:
    LOGSUMEXP, SOFTMAX, LOG_SOFTMAX

cdef struct Special:
    Table kernels
    Wanted wanted
    Py_ssize_t n
    Py_ssize_t classes
    Py_ssize_t chunk
    int within                 # threads that take one row together, or 1
    Rows scores
    Rows out
    void *result


# Per-row figures of a chunk, and room for rows; one of these for each thread.
cdef struct Scratch:
    fx_rows stats
    double *log_total
    double *factor
    fx_part *parts             # of a row that is taken in parts
    void *x
    void *e
    void *out


cdef enum:
    FIGURES = 8

cdef double NEXT_TO_NOTHING = 1e-6


cdef Py_ssize_t scratch_size(Py_ssize_t chunk, Py_ssize_t classes, Py_ssize_t itemsize) noexcept nogil:
    """Bytes for one thread, all of it: pages that a call does not touch cost nothing."""
    return (64 + FIGURES * ((chunk + 7) // 8 * 64) + (parts_of(classes) * sizeof(fx_part) + 63) // 64 * 64
            + 3 * block_size(chunk, classes, itemsize))


cdef void lay_out(Scratch *s, char *memory, Py_ssize_t chunk, Py_ssize_t classes,
                  Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t figure = (chunk + 7) // 8 * 8, block = block_size(chunk, classes, itemsize)
    cdef double *figures = <double *>align(memory)
    memset(&s.stats, 0, sizeof(fx_rows))
    s.stats.max = figures
    s.stats.near = fetches_near
    s.stats.long_from = long_from
    s.stats.ties = figures + figure
    s.stats.others = figures + 2 * figure
    s.stats.rest = figures + 3 * figure
    s.stats.stored = figures + 4 * figure
    s.log_total = figures + 5 * figure
    s.factor = figures + 6 * figure
    s.stats.stored_rest = figures + 7 * figure
    memory = <char *>(figures + FIGURES * figure)
    s.parts = <fx_part *>memory
    memory += (parts_of(classes) * sizeof(fx_part) + 63) // 64 * 64
    s.x = memory
    s.e = memory + block
    s.out = memory + 2 * block


cdef void at_most_one(real *p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        p[i] = min(p[i], <real>1)


cdef void special_chunk(const Special *c, Scratch *s, Py_ssize_t which, real *like) noexcept nogil:
    cdef Table k = c.kernels
    cdef Py_ssize_t first = which * c.chunk, count = min(c.chunk, c.n - first), n = c.classes, i
    cdef Py_ssize_t x_stride = n, e_stride = n, out_stride = n
    cdef real *x = direct_rows(&c.scores, first, count, like)
    cdef real *out = NULL
    cdef real *e = NULL
    cdef bint anew
    if x != NULL:
        x_stride = c.scores.inner_stride // <Py_ssize_t>sizeof(real)
    else:
        x = <real *>s.x
        read_rows(k, &c.scores, first, count, n, x)
    if c.wanted != LOGSUMEXP:
        out = direct_rows(&c.out, first, count, like)
        if out != NULL:
            out_stride = c.out.inner_stride // <Py_ssize_t>sizeof(real)
        else:
            out = <real *>s.out
    if c.wanted == SOFTMAX:
        e = out
        e_stride = out_stride
        if n <= FX_FEW(sizeof(real)):
            e = <real *>s.e
            e_stride = n
    anew = fx_is_long(n, &s.stats)
    if c.within > 1:
        expsum_row(k, x, <real *>NULL, n, <real *>(e if not anew else NULL), &s.stats, s.parts, c.within)
    else:
        rows_expsum(k, x, NULL, x_stride, count, n, <real *>(e if not anew else NULL), e_stride, &s.stats)
    if c.wanted == SOFTMAX:
        for i in range(count):
            s.factor[i] = 1.0 / s.stats.stored[i]
        if anew:
            scale_anew(k, x, x_stride, count, n, &s.stats, s.factor, False, out, out_stride, c.within)
        elif c.within > 1:
            scale_row(k, e, n, s.factor, NULL, out, c.within)
        else:
            rows_scale(k, e, e_stride, count, n, s.factor, NULL, out, out_stride)
        for i in range(count):
            # Only where the others are next to nothing can the largest be rounded to more than one.
            if s.stats.ties[i] == 1.0 and s.stats.others[i] <= NEXT_TO_NOTHING * s.stats.stored[i]:
                at_most_one(out + i * out_stride, n)
    else:
        k.f64.rows_log_total(count, &s.stats, s.log_total, s.stats.rest)
        if c.wanted == LOG_SOFTMAX:
            if c.within > 1:
                for i in prange(parts_of(n), num_threads=c.within, schedule="static"):
                    rows_subtract_max(k, x + i * FX_PART, n, 1, part_size(i, n), s.stats.max, s.log_total,
                                      out + i * FX_PART, n)
            else:
                rows_subtract_max(k, x, x_stride, count, n, s.stats.max, s.log_total, out, out_stride)
        else:
            for i in range(count):
                # A row of -inf only has no ties; a NaN among them shows in the others.
                if s.stats.max[i] == -INFINITY:
                    s.log_total[i] = s.stats.others[i]
                    s.stats.rest[i] = 0.0
                (<real *>c.result)[first + i] = <real>add3(s.stats.max[i], s.log_total[i], s.stats.rest[i])
    if out != NULL and direct_rows(&c.out, first, count, like) == NULL:
        write_rows(k, &c.out, first, count, n, out)


cdef void special_chunks(Special *c, Scratch *s, Team *team, int thread, real *like) noexcept nogil:
    cdef Py_ssize_t which = next_item(team, thread)
    while which >= 0:
        special_chunk(c, s, which, like)
        which = next_item(team, thread)


cdef int run_special(Special *c, int threads, real *like) except -1:
    cdef Team team
    cdef Py_ssize_t itemsize = sizeof(real), chunks = (c.n + c.chunk - 1) // c.chunk
    cdef Py_ssize_t size = scratch_size(c.chunk, c.classes, itemsize)
    cdef char *memory
    cdef Scratch *scratch
    cdef int thread
    c.within = threads_within(threads, chunks, c.chunk, c.classes)
    if c.within > 1:
        threads = 1
    memory = <char *>malloc(threads * size + threads * sizeof(Scratch))
    start_team(&team, threads, chunks, c.n * c.classes, memory)
    if c.within > 1:
        watch_within(&team, c.within)
    with nogil:
        scratch = <Scratch *>(memory + threads * size)
        for thread in range(threads):
            lay_out(&scratch[thread], memory + thread * size, c.chunk, c.classes, itemsize)
        if threads == 1:
            special_chunks(c, scratch, &team, 0, like)
        else:
            for thread in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                special_chunks(c, &scratch[thread], &team, thread, like)
        end_team(&team)
        free(memory)
    return 0


def special(str wanted, scores, out, n_threads):
    """"logsumexp": the array of results; "softmax", "log_softmax": fills `out`, which may be `scores`."""
    cdef Special c
    cdef bint single = scores.dtype.itemsize != 8
    cdef int threads
    cdef Py_ssize_t row_size
    cdef cnp.ndarray array
    c.kernels = active
    c.wanted = LOGSUMEXP if wanted == "logsumexp" else SOFTMAX if wanted == "softmax" else LOG_SOFTMAX
    c.scores = rows_of(scores)
    c.classes = scores.shape[-1]
    c.n = scores.size // c.classes
    row_size = c.classes * (4 if single else 8)
    c.chunk = chunk_rows(summed_rows(row_size, c.classes <= FX_FEW(4 if single else 8)),
                         is_direct(&c.scores, <float *>NULL) if single else is_direct(&c.scores, <double *>NULL),
                         row_size, c.n, c.scores.inner)
    result = None
    if c.wanted == LOGSUMEXP:
        result = np.empty(c.n, np.float32 if single else np.float64)
        array = result
        c.result = cnp.PyArray_DATA(array)
    else:
        c.out = rows_of(out)
    threads = threads_for(n_threads, c.n * c.classes)
    if single:
        run_special(&c, threads, <float *>NULL)
    else:
        run_special(&c, threads, <double *>NULL)
    return result
