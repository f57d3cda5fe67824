"""What must be settled before NumPy is imported: the import path and the number of threads.

This module therefore imports nothing but the standard library.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]

# Every library reads its own variable, once, at import. XLA (JAX, TensorFlow) sizes its pool by
# NPROC; the often quoted `--xla_cpu_multi_thread_eigen=false` no longer changes anything.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",
    "TF_NUM_INTRAOP_THREADS",
)


def leave_checkout() -> None:
    """Take the checkout off ``sys.path``, so that ``fastxent`` means the one that was built.

    ``python -m`` puts the current folder first, where ``fastxent/`` holds sources without their
    extension modules. ``benchmarks`` itself stays importable: it is loaded and knows its folder.
    """
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != CHECKOUT]


def set_threads(threads: int) -> None:
    """Give every library the same number of threads and its huge pages, and keep all of them on the CPU."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # torch's huge pages, as NumPy and fastxent ask for
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def available_cpus() -> int:
    """CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def missing_fastxent() -> str | None:
    """Why the built fastxent cannot be imported, or None if it can."""
    try:
        import fastxent
    except ImportError as error:
        return (
            f"the built fastxent cannot be imported ({error}).\n"
            "Build it first: `pip install .`, or for development "
            "`pip install --no-build-isolation -e .`;\n"
            "or measure only the others: `python -m benchmarks --peers-only`."
        )
    if not hasattr(fastxent, "softmax_cross_entropy"):
        return (
            "`import fastxent` finds something without softmax_cross_entropy: not the built "
            "package.\nRun `pip install .` in the environment of this interpreter."
        )
    return None
