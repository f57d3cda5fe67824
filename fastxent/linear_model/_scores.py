"""Scores of a linear classifier; and what is looked for in them by blocks, where not all are to exist at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastxent import _memory, _validate
from fastxent._blas import serial_blas
from fastxent.special import logsumexp

# Classes and scores of a block: enough for the speed of matrix products, and few megabytes.
_CLASSES, _SCORES = 1 << 14, 1 << 22
# Classes of the first block.
_FIRST = 256


def scores_of(X: Any, weight: np.ndarray, bias: np.ndarray | None, n_threads: int | None) -> np.ndarray:
    """``X @ weight.T + bias``, of shape (n, C); X dense or CSR, all of one dtype."""
    from fastxent import _linear  # half a second, for SciPy's linear algebra

    out = _memory.empty_like(np.empty((X.shape[0], len(weight)), weight.dtype))
    with serial_blas:
        if _validate.is_sparse(X):
            indptr, indices, values = _validate.csr_inputs(X, weight.dtype)
            rows = indptr[:-1], indptr[1:], indices, values
            _linear.csr_product(rows, np.ascontiguousarray(weight.T), out, False, bias, n_threads)
        else:
            inputs = X if _linear.is_direct(X) else np.ascontiguousarray(X)
            _linear.product(inputs, weight.T, out, False, bias, n_threads)
    return out


def top_k(
    X: Any, weight: np.ndarray, bias: np.ndarray, k: int, n_threads: int | None, normalize: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k classes of the largest scores of each row, largest first, of equal ones the first class; these scores; and
    if asked for, as float64, the logarithm of the sum of the exponentials of all scores of the row."""
    n = X.shape[0]
    classes = np.tile(np.arange(k), (n, 1))
    best = np.full((n, k), -np.inf, weight.dtype)
    log_sums = np.full(n, -np.inf)
    for rows, first, scores in _blocks(X, weight, bias, max(k, _FIRST), n_threads):
        _keep(scores, first, classes[rows], best[rows])
        if normalize:
            log_sums[rows] = np.logaddexp(log_sums[rows], logsumexp(scores, axis=1, n_threads=n_threads))
    return classes, best, log_sums


def close_to_best(
    X: Any, weight: np.ndarray, bias: np.ndarray, gap: float, n_threads: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and classes, by rows, of all scores that are less than `gap` below the largest of their row."""
    best = np.full(X.shape[0], -np.inf, weight.dtype)
    found = []
    for rows, first, scores in _blocks(X, weight, bias, _FIRST, n_threads):
        np.maximum(best[rows], scores.max(axis=1), out=best[rows])
        row, column = _where(scores > best[rows, None] - gap)
        found.append((row + rows.start, column + first, scores[row, column]))
    row, column, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # Those that were found before a better one came are among them.
    close = np.flatnonzero(values > best[row] - gap)
    close = close[np.argsort(row[close], kind="stable")]
    return row[close], column[close]


def _blocks(
    X: Any, weight: np.ndarray, bias: np.ndarray, width: int, n_threads: int | None
) -> Iterator[tuple[slice, int, np.ndarray]]:
    """Blocks of scores, with their rows and their first class; the classes of a row come in order. A block has as many
    classes as came before it, within limits: then about as many of them are among the best so far as came there."""
    first = 0
    while first < len(weight):
        some = slice(first, first + width)
        step = max(1, _SCORES // width)
        for start in range(0, X.shape[0], step):
            rows = slice(start, min(start + step, X.shape[0]))
            yield rows, first, scores_of(X[rows], weight[some], bias[some], n_threads)
        first += width
        width = max(width, min(first, _CLASSES))


def _keep(scores: np.ndarray, first: int, classes: np.ndarray, best: np.ndarray) -> None:
    """Put what is better among the scores of some classes, the first of which is `first`, in the place of the worst."""
    n, k = best.shape
    if k == 1:
        column = scores.argmax(axis=1)
        values = scores[np.arange(n), column]
        better = values > best[:, 0]
        best[better, 0], classes[better, 0] = values[better], column[better] + first
        return
    row, column = _where(scores > best[:, -1:])
    rows = np.concatenate((np.repeat(np.arange(n), k), row))
    values = np.concatenate((best.reshape(-1), scores[row, column]))
    which = np.concatenate((classes.reshape(-1), column + first))
    # Both sorts are stable: of equal scores, those that came first are kept.
    order = np.lexsort((-values, rows))
    starts = np.searchsorted(rows, np.arange(n), sorter=order)
    chosen = order[starts[:, None] + np.arange(k)]
    best[...], classes[...] = values[chosen], which[chosen]


def _where(condition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of what is true; numpy.nonzero takes several times as long where there are two dimensions."""
    return np.divmod(np.flatnonzero(condition), condition.shape[1])
