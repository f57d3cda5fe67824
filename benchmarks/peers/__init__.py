"""One file for each library; a library that is not installed is left out with a reason.

Each file has ``VERSION``, that of the library, and
``prepare(case, inputs, threads) -> list[Implementation]``, which converts the inputs as its users
would, outside the timing, and returns nothing for a case the library does not do. It is asked for
cross-entropies and logsumexp, and for the operations in its ``FURTHER_OPERATIONS`` if it has any.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from benchmarks.cases import Case, Inputs
from benchmarks.implementation import Implementation

OURS = "fastxent"
BASIC_OPERATIONS = ("softmax_cross_entropy", "sigmoid_cross_entropy", "logsumexp")
FLOOR = "floor"
LIBRARIES = ("numpy", "scipy", "sklearn", "torch", "jax", "tensorflow", "numba")


def load(library: str) -> ModuleType:
    """The file of one library; ImportError if the library is not installed."""
    return importlib.import_module(f"benchmarks.peers.{library}")


def version(library: str) -> str:
    """Version of the library itself."""
    return load(library).VERSION


def prepare(library: str, case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """Implementations of one case by one library, or by a plug-in ``path.py:function``."""
    if ":" in library:
        return _prepare_plugin(library, case, inputs, threads)
    module = load(library)
    if case.operation not in (*BASIC_OPERATIONS, *getattr(module, "FURTHER_OPERATIONS", ())):
        return []
    return module.prepare(case, inputs, threads)


def _prepare_plugin(plugin: str, case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """Ask the user's function for a call; None says that it does not do this case."""
    path, _, function = plugin.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    call = getattr(module, function)(case, inputs, threads)
    return [] if call is None else [Implementation(function, plugin, call)]
