"""Memory is used as suits the processor: past the caches, ahead, once or twice. Every way is taken on every machine."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import fastxent as fx
import oracle
from fastxent import _kernels

NEVER = np.iinfo(np.intp).max
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "weights": {"sample_weight": np.r_[0.0, np.linspace(0.5, 2.0, 36)]},
    "smoothing": {"label_smoothing": 0.1},
    "z-loss": {"z_loss": 1e-3},
    "temperature": {"temperature": 1.7},
    "bias": {"logit_bias": np.linspace(-1.0, 1.0, 1003)},
    "mask": {"class_mask": np.arange(1003) % 5 == 4},
}


@pytest.fixture
def memory_use() -> Iterator[Any]:
    """Sets it; it is as before when the test is over."""
    before = _kernels.set_memory_use(NEVER, False, NEVER)
    yield _kernels.set_memory_use
    _kernels.set_memory_use(*before)


def targets(kind: str, n: int, classes: int, rng: np.random.Generator) -> Any:
    labels = rng.integers(0, classes // 5, n) * 5
    if kind == "labels":
        return labels
    # In turn two entries and one; of the second row's, one is given in two halves.
    counts = np.where(np.arange(n) % 2 == 0, 2, 1)
    counts[1] = 2
    rows = np.repeat(np.arange(n), counts)
    second = np.r_[False, rows[1:] == rows[:-1]] & (rows != 1)
    columns = (labels[rows] + 5 * second) % (classes - 3)
    values = np.full(len(rows), 0.5, np.float32)
    return sp.csr_array((values, columns, np.r_[0, np.cumsum(counts)]), shape=(n, classes))


@pytest.mark.parametrize("kind", ["labels", "csr"])
@pytest.mark.parametrize("options", OPTIONS)
def test_streaming_and_fetching_change_no_bit(memory_use: Any, isa: str, options: str, kind: str) -> None:
    rng = np.random.default_rng(5)
    logits = (4 * rng.standard_normal((37, 1003))).astype(np.float32)
    target = targets(kind, *logits.shape, rng)
    results = []
    for streamed, near in (NEVER, False), (NEVER, True), (0, False), (0, True):
        memory_use(streamed, near, NEVER)
        # Beside other numbers rows are never streamed.
        for n_threads, beside in product((1, 2), (0, 13)):
            grad = np.empty((37, 1003 + beside), np.float32)[:, beside:]
            loss, _ = fx.softmax_cross_entropy(
                logits, target, grad=grad, reduction="none", n_threads=n_threads, **OPTIONS[options]
            )
            results.append((loss.tobytes(), grad.tobytes()))
    assert len(set(results)) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("long_rows", [40_000, NEVER])
def test_long_rows_are_exact_either_way(memory_use: Any, isa: str, long_rows: int, dtype: Any) -> None:
    rng = np.random.default_rng(6)
    logits = (5 * rng.standard_normal((3, 50_021))).astype(dtype)
    labels = np.array([7, 50_020, int(logits[2].argmax())])
    memory_use(NEVER, False, long_rows)
    results = []
    for n_threads in 1, 2:
        loss, grad = fx.softmax_cross_entropy(logits, labels, grad=True, reduction="none", n_threads=n_threads)
        alone = fx.softmax_cross_entropy(logits, labels, reduction="none", n_threads=n_threads)
        results.append((loss.tobytes(), grad.tobytes(), alone.tobytes()))
    assert len(set(results)) == 1
    assert results[0][0] == results[0][2]
    wanted = oracle.softmax_cross_entropy(logits, labels, reduction="none")
    assert oracle.ulp_error(loss, wanted.loss).max() <= 2
    assert oracle.ulp_error(grad, wanted.grad).max() <= 4
    assert oracle.ulp_error(fx.softmax(logits, axis=1), oracle.softmax(logits)).max() <= 4
