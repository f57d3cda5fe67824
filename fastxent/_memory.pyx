"""New arrays for results; the memory of all but small ones is kept when they are freed (kept_memory.h)."""
import os

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport SIZE_MAX
from libc.string cimport memset, strcpy

import numpy as np

cdef extern from "kept_memory.h":
    void *fx_memory_malloc(void *context, size_t size) noexcept
    void *fx_memory_calloc(void *context, size_t count, size_t size) noexcept
    void *fx_memory_realloc(void *context, void *memory, size_t size) noexcept
    void fx_memory_free(void *context, void *memory, size_t size) noexcept
    size_t fx_memory_keep(size_t most) noexcept
    int fx_memory_serves(size_t size) noexcept
    size_t fx_memory_default() noexcept

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *ctx, size_t size) noexcept
        void *(*calloc)(void *ctx, size_t count, size_t size) noexcept
        void *(*realloc)(void *ctx, void *memory, size_t size) noexcept
        void (*free)(void *ctx, void *memory, size_t size) noexcept
    ctypedef struct PyDataMem_Handler:
        char name[127]
        unsigned char version
        PyDataMemAllocator allocator
    object PyDataMem_SetHandler(object handler)

cnp.import_array()

cdef PyDataMem_Handler handler
memset(&handler, 0, sizeof(handler))
strcpy(handler.name, b"fastxent")
handler.version = 1
handler.allocator.malloc = fx_memory_malloc
handler.allocator.calloc = fx_memory_calloc
handler.allocator.realloc = fx_memory_realloc
handler.allocator.free = fx_memory_free
cdef object capsule = PyCapsule_New(&handler, b"mem_handler", NULL)


cdef cnp.ndarray empty(int ndim, cnp.npy_intp *shape, int type_number):
    """A contiguous array of float32 or float64."""
    cdef cnp.npy_intp size = 4 if type_number == cnp.NPY_FLOAT else 8
    cdef int i
    for i in range(ndim):
        size *= shape[i]
    if not fx_memory_serves(size):
        return cnp.PyArray_EMPTY(ndim, shape, type_number, 0)
    before = PyDataMem_SetHandler(capsule)
    try:
        return cnp.PyArray_EMPTY(ndim, shape, type_number, 0)
    finally:
        PyDataMem_SetHandler(before)


def empty_like(cnp.ndarray array not None, dtype=None):
    """`numpy.empty_like`, never of a subclass."""
    cdef object kind = array.dtype if dtype is None else dtype
    if not fx_memory_serves(cnp.PyArray_SIZE(array) * kind.itemsize):
        return np.empty_like(array, kind, subok=False)
    before = PyDataMem_SetHandler(capsule)
    try:
        return np.empty_like(array, kind, subok=False)
    finally:
        PyDataMem_SetHandler(before)


def set_kept_memory(n_bytes):
    """Keep at most so much memory of results that were freed, for those of the next calls.

    New memory costs about as much as computing what goes into it: the system clears every page. So results of 128 KiB
    and more leave theirs to the next one of about that size. Blocks of 4 MiB and more are given back before new memory
    is asked for such a result, and taken by the system whenever memory is short; smaller ones, of which there are 16 at
    most, stay (Linux only; elsewhere nothing is kept, nor where the address space of the process is limited, unless you
    say how much).

    Parameters
    ----------
    n_bytes : int or None
        The most that is kept, in bytes, from now on; nothing below 4 MiB, and 0 gives all of it back. None for the
        default: a sixteenth of the machine's memory, at most 1 GiB, or what the environment variable
        ``FASTXENT_KEPT_MEMORY`` says, in bytes.

    Returns
    -------
    int
        The most that was kept before.

    Raises
    ------
    TypeError, ValueError
        `n_bytes` is not an integer, or negative; or ``FASTXENT_KEPT_MEMORY`` is no number.

    Examples
    --------
    >>> import fastxent as fx
    >>> before = fx.set_kept_memory(0)
    >>> fx.set_kept_memory(before)
    0
    """
    if n_bytes is None:
        return fx_memory_keep(default_memory())
    if isinstance(n_bytes, bool) or not hasattr(n_bytes, "__index__"):
        raise TypeError(f"n_bytes is {n_bytes!r}: give a number of bytes, or None")
    if not 0 <= n_bytes.__index__() <= SIZE_MAX:
        raise ValueError(f"n_bytes is {n_bytes}: give a number of bytes from 0 to {SIZE_MAX}, or None")
    return fx_memory_keep(n_bytes.__index__())


cdef size_t default_memory() except? 0:
    asked = os.environ.get("FASTXENT_KEPT_MEMORY")
    if asked is None:
        return fx_memory_default()
    if not asked.isdecimal() or int(asked) > SIZE_MAX:
        raise ValueError(f"FASTXENT_KEPT_MEMORY={asked}: give a number of bytes")
    return int(asked)


try:
    set_kept_memory(None)
except ValueError as error:
    raise ImportError(error) from None
