"""Draws of the candidate samplers, from numpy's bit generators and by numbers that are the same on every machine."""
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport ldexp
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

cimport numpy as cnp
from numpy.random cimport bitgen_t

cnp.import_array()

cdef enum Kind:
    LOG_UNIFORM, ALIAS, TREE

# Where ids come from: one of three kinds.
cdef struct Source:
    Kind kind
    bitgen_t *bits
    int64_t classes
    double log2_classes        # log uniform: the binary logarithm of classes + 1
    const double *thresholds   # alias: the share of the column that is its own id's
    const int64_t *aliases
    const int64_t *tree        # Fenwick's: sums of weights
    int64_t top                # the largest power of two not above `classes`
    uint64_t total
    uint64_t most              # the largest multiple of `total` that 64 bits hold, less 1


cdef inline double power_of_two(double y) noexcept nogil:
    """2^y for y >= 0, in operations that every machine rounds alike (the exponential of C libraries differs)."""
    cdef int whole = <int>(y + 0.5), i
    cdef double x = (y - whole) * 0.6931471805599453, sum = 1
    # Taylor's series; |x| <= log(2) / 2, where the 15th term is below 2^-57.
    for i in range(14, 0, -1):
        sum = 1 + x / i * sum
    return ldexp(sum, whole)


cdef inline double uniform(Source *s) noexcept nogil:
    """In [0, 1), a multiple of 2^-53."""
    return s.bits.next_double(s.bits.state)


cdef inline int64_t next_id(Source *s) noexcept nogil:
    cdef int64_t at, step
    cdef uint64_t rest
    if s.kind == LOG_UNIFORM:
        # P(id < k) = log(k + 1) / log(classes + 1)
        at = <int64_t>power_of_two(uniform(s) * s.log2_classes) - 1
        return min(at, s.classes - 1)
    if s.kind == ALIAS:
        at = min(<int64_t>(uniform(s) * s.classes), s.classes - 1)
        return at if uniform(s) < s.thresholds[at] else s.aliases[at]
    rest = s.bits.next_uint64(s.bits.state)
    while rest > s.most:
        rest = s.bits.next_uint64(s.bits.state)
    rest %= s.total
    at, step = 0, s.top
    while step:
        if at + step <= s.classes and <uint64_t>s.tree[at + step] <= rest:
            at += step
            rest -= <uint64_t>s.tree[at]
        step >>= 1
    return at


cdef inline int64_t *integers(cnp.ndarray array):
    return <int64_t *>cnp.PyArray_DATA(array)


cdef inline double *doubles(cnp.ndarray array):
    return <double *>cnp.PyArray_DATA(array)


cdef draw(Source *s, generator, cnp.ndarray into, cnp.ndarray counts):
    cdef Py_ssize_t wanted = cnp.PyArray_SIZE(into), found = 0, i, size = 8, at
    cdef int64_t *ids = integers(into)
    cdef int64_t *times
    cdef int64_t *table
    cdef int64_t id, tries = 0, until = 0
    cdef uint64_t hash
    s.bits = <bitgen_t *>PyCapsule_GetPointer(generator.bit_generator.capsule, "BitGenerator")
    if counts is None:
        with generator.bit_generator.lock:
            with nogil:
                for i in range(wanted):
                    ids[i] = next_id(s)
        return wanted, wanted
    times = integers(counts)
    while size < 4 * wanted:
        size *= 2
    # Open addressing; holds 1 + the place among `ids`, 0 where free.
    table = <int64_t *>calloc(size, sizeof(int64_t))
    if table == NULL:
        raise MemoryError()
    try:
        with generator.bit_generator.lock:
            with nogil:
                while True:
                    id = next_id(s)
                    until += 1
                    hash = <uint64_t>id * <uint64_t>0x9E3779B97F4A7C15
                    at = (hash >> 20) & (size - 1)
                    while table[at] and ids[table[at] - 1] != id:
                        at = (at + 1) & (size - 1)
                    if table[at]:
                        times[table[at] - 1] += 1
                    elif found == wanted:
                        break
                    else:
                        ids[found] = id
                        times[found] = 1
                        found += 1
                        table[at] = found
                        if found == wanted:
                            tries = until
    finally:
        free(table)
    return tries, until


def log_uniform(generator, int64_t classes, double log2_classes, cnp.ndarray ids, cnp.ndarray times):
    """Draw ids with probability log((id + 2) / (id + 1)) / log(classes + 1), into `ids`.

    With `times`: different ids, and one draw more, up to the first of yet another id. Returns the number of draws that
    it took to have all of `ids`, and those including the one more; `times` says how often each id was among these.
    There must be more than `len(ids)` ids that can be drawn.
    """
    cdef Source s
    s.kind, s.classes, s.log2_classes = LOG_UNIFORM, classes, log2_classes
    return draw(&s, generator, ids, times)


def from_alias(generator, cnp.ndarray thresholds, cnp.ndarray aliases, cnp.ndarray ids, cnp.ndarray times):
    """The same from the tables of `alias_tables`."""
    cdef Source s
    s.kind, s.classes = ALIAS, cnp.PyArray_SIZE(thresholds)
    s.thresholds, s.aliases = doubles(thresholds), integers(aliases)
    return draw(&s, generator, ids, times)


def from_tree(generator, cnp.ndarray tree, int64_t total, cnp.ndarray ids, cnp.ndarray times):
    """The same from integer weights in the tree of `grow`, whose sum is `total`."""
    cdef Source s
    s.kind, s.classes, s.tree, s.total = TREE, cnp.PyArray_SIZE(tree) - 1, integers(tree), total
    s.most = <uint64_t>-1 - (<uint64_t>-1 % s.total + 1) % s.total
    s.top = 1
    while 2 * s.top <= s.classes:
        s.top *= 2
    return draw(&s, generator, ids, times)


def alias_tables(cnp.ndarray of, cnp.ndarray into, cnp.ndarray others):
    """Vose's tables of weights whose mean is 1: a column is drawn evenly, and its own id below the threshold."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(of), i, small, large
    cdef const double *weights = doubles(of)
    cdef double *thresholds = doubles(into)
    cdef int64_t *aliases = integers(others)
    cdef int64_t heavy = 0
    # Both lists in one array: those below the mean from the front, the others from the back.
    cdef int64_t *lists = <int64_t *>calloc(n, sizeof(int64_t))
    if lists == NULL:
        raise MemoryError()
    with nogil:
        for i in range(n):
            thresholds[i] = weights[i]
            aliases[i] = i
            if weights[i] > weights[heavy]:
                heavy = i
        small, large = 0, n
        for i in range(n):
            if thresholds[i] < 1:
                lists[small] = i
                small += 1
            else:
                large -= 1
                lists[large] = i
        while small > 0 and large < n:
            small -= 1
            i = lists[small]
            aliases[i] = lists[large]
            thresholds[lists[large]] -= 1 - thresholds[i]
            if thresholds[lists[large]] < 1:
                # It has given what it had above the mean; its place in the other list is free.
                lists[small] = lists[large]
                small += 1
                large += 1
        # What is left over would be at 1 but for rounding, or has no weight.
        while small > 0:
            small -= 1
            i = lists[small]
            if weights[i] > 0:
                thresholds[i] = 1
            else:
                aliases[i] = heavy
        free(lists)


def grow(cnp.ndarray into, cnp.ndarray of):
    """Make `into` a Fenwick tree of weights: entry i > 0 is the sum of those from i - (i & -i) to i - 1."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(of), i, parent
    cdef int64_t *tree = integers(into)
    cdef const int64_t *weights = integers(of)
    with nogil:
        tree[0] = 0
        for i in range(n):
            tree[i + 1] = weights[i]
        for i in range(1, n + 1):
            parent = i + (i & -i)
            if parent <= n:
                tree[parent] += tree[i]


def add(cnp.ndarray into, cnp.ndarray to, cnp.ndarray which):
    """Add 1 to the weight of each id, in the tree and in the weights."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(to), count = cnp.PyArray_SIZE(which), k, i
    cdef int64_t *tree = integers(into)
    cdef int64_t *weights = integers(to)
    cdef const int64_t *ids = integers(which)
    with nogil:
        for k in range(count):
            weights[ids[k]] += 1
            i = ids[k] + 1
            while i <= n:
                tree[i] += 1
                i += i & -i
