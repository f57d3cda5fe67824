"""Memory is used as suits the processor: past the caches, ahead, once or twice. Every way is taken on every machine."""

from collections.abc import Iterator
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
    # One entry in some rows, two in others, and of these one row has the same twice.
    rows = np.r_[np.arange(n), np.arange(0, n, 2)]
    columns = np.r_[labels, (labels[::2] + 5 * (np.arange(0, n, 2) > 0)) % (classes - 3)]
    return sp.csr_array((np.full(len(rows), 0.5, np.float32), (rows, columns)), shape=(n, classes))


@pytest.mark.parametrize("kind", ["labels", "csr"])
@pytest.mark.parametrize("options", OPTIONS)
def test_streaming_and_fetching_change_no_bit(memory_use: Any, isa: str, options: str, kind: str) -> None:
    rng = np.random.default_rng(5)
    logits = (4 * rng.standard_normal((37, 1003))).astype(np.float32)
    target = targets(kind, *logits.shape, rng)
    results = []
    for streamed, near in (NEVER, False), (NEVER, True), (0, False), (0, True):
        memory_use(streamed, near, NEVER)
        for n_threads in 1, 2:
            grad = np.full((37, 1003 + 13), 7, np.float32)[:, 13:] if n_threads == 2 else np.empty_like(logits)
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
