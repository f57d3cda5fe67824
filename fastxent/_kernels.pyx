"""Instruction sets and threads: which function table is in use, how many threads a call gets."""
import os

from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

from fastxent._cpus import available_cpus

cdef extern from "threads.h" nogil:
    int fx_max_threads()
    int fx_in_parallel()
    void fx_at_fork(void (*in_child)() noexcept nogil)
    const char *FX_COMPILER
    const char *FX_FLAGS
    const char *FX_VERSION
    int FX_OPENMP

VERSION = FX_VERSION.decode()

# A thread is worth its start from about ten microseconds of work on.
cdef Py_ssize_t work_per_thread = 16384

cdef const fx_table *tables[4]
cdef int n_tables = fx_tables(tables, 4)
streamed_from = fx_streamed_from()
fetches_near = fx_fetches_near()
long_from = fx_long_from()
cdef int forked = 0
cdef int cpu_limit = 0
cdef int default_threads = 0


cdef void after_fork() noexcept nogil:
    global forked
    forked = 1


fx_at_fork(after_fork)


def available_isas():
    """Names of the instruction sets that this machine has kernels for, best first."""
    return tuple([tables[i].isa.decode() for i in range(n_tables)])


def isa():
    """The instruction set in use: "avx512", "avx2", "neon" or "scalar".

    Examples
    --------
    >>> import fastxent as fx
    >>> fx.isa() in fx.info()["isas"]
    True
    """
    return active.isa.decode()


def set_memory_use(Py_ssize_t streamed, bint near, Py_ssize_t long_rows):
    """How the next calls use memory, as measured on one processor or another: for tests. Returns what it was."""
    global streamed_from, fetches_near, long_from
    before = streamed_from, fetches_near, long_from
    streamed_from, fetches_near, long_from = streamed, near, long_rows
    return before


def set_isa(name):
    """Use the kernels of another instruction set from the next call on, in every thread.

    Parameters
    ----------
    name : str
        One of ``fastxent.info()["isas"]``, or "auto" for the best one.

    Returns
    -------
    str
        The instruction set that was in use before.

    Raises
    ------
    ValueError
        This machine has no such instruction set.

    Examples
    --------
    >>> import fastxent as fx
    >>> before = fx.set_isa("scalar")
    >>> fx.isa()
    'scalar'
    >>> _ = fx.set_isa(before)
    """
    global active
    before = isa()
    if name == "auto":
        active = tables[0]
        return before
    for i in range(n_tables):
        if tables[i].isa.decode() == name:
            active = tables[i]
            return before
    raise ValueError(f"no kernels for {name!r} here: choose one of {', '.join(available_isas())} or auto")


def set_num_threads(n_threads):
    """Set how many threads calls without ``n_threads`` use.

    Parameters
    ----------
    n_threads : int or None
        At least 1; None for the default, which is OpenMP's own number (``OMP_NUM_THREADS``, or what
        threadpoolctl set) capped by the processors that affinity and control group leave to the process. Calls that
        leave it to the default use fewer for up to a second after some came too late to be of use, because something
        else was running on their processors. A process that was forked off one that has imported fastxent runs on one
        thread whatever is asked for, since OpenMP does not survive a fork: start it by spawn or forkserver.

    Returns
    -------
    int or None
        The setting before.

    Raises
    ------
    TypeError, ValueError
        Not an integer; less than 1.

    Examples
    --------
    >>> import fastxent as fx
    >>> before = fx.set_num_threads(1)
    >>> fx.info()["threads"]
    1
    >>> _ = fx.set_num_threads(before)
    """
    global default_threads
    before = default_threads or None
    default_threads = 0 if n_threads is None else checked_threads(n_threads)
    return before


cdef int checked_threads(object n_threads) except -1:
    if isinstance(n_threads, bool) or not hasattr(n_threads, "__index__"):
        raise TypeError(f"n_threads is {n_threads!r}: give an integer of at least 1, or None")
    cdef object number = n_threads.__index__()
    if not 1 <= number <= 65536:
        raise ValueError(f"n_threads is {number}: give an integer from 1 to 65536, or None")
    return number


def check_threads(n_threads):
    """Refuse what is neither None nor a number of threads."""
    if n_threads is not None:
        checked_threads(n_threads)


cdef Py_ssize_t threads_at_most(object n_threads) except -1:
    if n_threads is not None:
        threads = checked_threads(n_threads)
    elif default_threads:
        threads = default_threads
    else:
        threads = min(fx_max_threads(), cpu_limit)
    return 1 if forked or fx_in_parallel() or FX_OPENMP == 0 else threads


cdef int threads_for(object n_threads, Py_ssize_t work) except -1:
    cdef Py_ssize_t threads = max(1, min(threads_at_most(n_threads), work // work_per_thread))
    cdef const Fewer *of = &fewer[size_of(work)]
    if n_threads is None and threads > 1 and fx_clock() < of.until:
        return max(1, min(threads, of.most))
    return threads


# After a loop that waited for a thread that came late, calls of that size use half as many for a while, which doubles
# each time that it happens again. All in seconds; that several threads may write here at a time does no harm.
cdef struct Fewer:
    int most
    double since
    double until
    double pause

cdef enum:
    LONG_WORK = 1 << 22
    # With fewer, the last item of one thread may keep all others waiting, and nobody was late.
    WATCHED_ITEMS = 16

cdef double SHORTEST_PAUSE = 0.02, LONGEST_PAUSE = 1.0, SHORTEST_LOSS = 1e-4, LARGEST_SHARE = 0.12
cdef Fewer[2] fewer


cdef int size_of(Py_ssize_t work) noexcept nogil:
    return work >= LONG_WORK


cdef int start_team(Team *team, int threads, Py_ssize_t items, Py_ssize_t work, void *memory) except -1:
    if memory == NULL:
        raise MemoryError()
    team.threads = threads
    team.within = 1
    team.work = work
    if threads == 1:
        team.hands = &team.own
        fx_deal(team.hands, 1, items)
        return 0
    team.memory = malloc((threads + 1) * sizeof(fx_hand))
    if team.memory == NULL:
        free(memory)
        raise MemoryError()
    team.hands = <fx_hand *>((<uintptr_t>team.memory + 63) & ~<uintptr_t>63)
    fx_deal(team.hands, threads, items)
    team.watched = items >= WATCHED_ITEMS * threads
    watch(team)
    return 0


cdef inline void watch(Team *team) noexcept nogil:
    team.preemptions = fx_preemptions()
    team.busy = fx_busy_clock()
    team.began = team.done = fx_clock()


cdef void watch_within(Team *team, int threads) noexcept nogil:
    team.within = threads
    team.watched = True
    watch(team)


cdef void end_team(const Team *team) noexcept nogil:
    cdef Fewer *of
    cdef double now, taken, lost
    cdef int threads = max(team.threads, team.within)
    if threads == 1:
        return
    if team.threads > 1:
        free(team.memory)
    if not team.watched:
        return
    of = &fewer[size_of(team.work)]
    # What delayed several calls at once counts once.
    if team.began < of.since:
        return
    now = fx_clock()
    taken = now - team.began
    lost = now - team.done
    # A thread may also have waited for the disk.
    if team.within > 1 or fx_preemptions() > team.preemptions:
        lost = max(lost, taken - (fx_busy_clock() - team.busy))
    if lost >= SHORTEST_LOSS and lost >= LARGEST_SHARE * taken:
        of.most = min(of.most, threads // 2) if now < of.until else threads // 2
        of.pause = min(max(2.0 * of.pause, SHORTEST_PAUSE), LONGEST_PAUSE)
        of.since = now
        of.until = now + of.pause
    elif now >= of.until:
        of.pause = 0.0


def default_num_threads():
    """Threads that a large call without ``n_threads`` may use now."""
    return threads_at_most(None)


def build_info():
    """How the extension modules were built."""
    return {"openmp": FX_OPENMP, "compiler": FX_COMPILER.decode(), "flags": FX_FLAGS.decode()}


def _choose_isa():
    global active
    active = tables[0]
    asked = os.environ.get("FASTXENT_ISA", "auto")
    try:
        set_isa(asked)
    except ValueError as error:
        raise ImportError(f"FASTXENT_ISA={asked}: {error}") from None


_choose_isa()
cpu_limit = available_cpus()
