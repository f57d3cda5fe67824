"""The largest errors that a run has seen, for the table at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import oracle

# (function, dtype, bound) -> instruction set -> error in ulps
MAXIMA: dict[tuple[str, str, float], dict[str, float]] = {}


def record(name: str, dtype: Any, isa: str, error: float, bound: float) -> None:
    row = MAXIMA.setdefault((name, np.dtype(dtype).name, bound), {})
    row[isa] = max(error, row.get(isa, 0.0))


def rows() -> list[tuple[str, str, str, float, float]]:
    """What `record` has been called with, of each only the largest."""
    return [
        (name, dtype, isa, error, float(bound))
        for (name, dtype, bound), row in MAXIMA.items()
        for isa, error in row.items()
    ]


def assert_within(
    bound: float, name: str, isa: str, actual: Any, wanted: Any, scale: Any = None, *, inputs: Any = None
) -> None:
    """Record the largest error in ulps, and fail with the worst case if it is above the bound."""
    actual = np.asarray(actual)
    error = oracle.ulp_error(actual, wanted, scale)
    if error.size == 0:
        return
    worst = float(error.max())
    record(name, actual.dtype, isa, worst, bound)
    if worst <= bound:
        return
    at = np.unravel_index(int(np.argmax(error)), error.shape)
    message = f"{name} ({actual.dtype}, {isa}) at {tuple(map(int, at))}: {worst:.2f} ulp, allowed {bound:g};"
    message += f" got {actual[at]!r}, exact {oracle.exact(wanted)[at]!r}; {int((error > bound).sum())} of {error.size}"
    if inputs is not None:
        row = np.asarray(inputs)[at[: np.ndim(inputs) - 1]]
        message += f"; scores of the row {row[:64].tolist()}"
    raise AssertionError(message)


@contextmanager
def all_of_them() -> Iterator[Callable[..., None]]:
    """Several calls of `assert_within`, of which one that fails does not hide the others."""
    failures = []

    def check(*args: Any, **kwargs: Any) -> None:
        try:
            assert_within(*args, **kwargs)
        except AssertionError as failure:
            failures.append(str(failure))

    yield check
    assert not failures, "\n".join(failures)


def table() -> list[str]:
    """The lines of a table: a row for each function and dtype, a column for each instruction set."""
    isas = sorted({isa for row in MAXIMA.values() for isa in row})
    width = 2 + max((len(name) for name, _, _ in MAXIMA), default=0)
    lines = [f"{'':{width}}{'':9}{'allowed':>8}" + "".join(f"{isa:>9}" for isa in isas)]
    for (name, dtype, bound), row in sorted(MAXIMA.items()):
        cells = "".join(f"{min(row[isa], 99999):9.2f}" if isa in row else f"{'':9}" for isa in isas)
        lines.append(f"{name:{width}}{dtype:9}{bound:8g}{cells}")
    return lines
