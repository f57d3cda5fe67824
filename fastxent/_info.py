"""What was built, and what runs here."""

from __future__ import annotations

from typing import Any

from fastxent import _kernels

__version__: str = _kernels.VERSION


def info() -> dict[str, Any]:
    """Version, instruction sets, threads and build flags.

    Returns
    -------
    dict
        ``version``; ``isa`` in use and ``isas`` that this machine has, best first; ``threads`` of a large call;
        ``openmp`` (the date of the OpenMP specification, 0 for a serial build); ``compiler``; ``flags``.

    Examples
    --------
    >>> import fastxent as fx
    >>> sorted(fx.info())
    ['compiler', 'flags', 'isa', 'isas', 'openmp', 'threads', 'version']
    """
    return {
        "version": __version__,
        "isa": _kernels.isa(),
        "isas": _kernels.available_isas(),
        "threads": _kernels.default_num_threads(),
        **_kernels.build_info(),
    }
