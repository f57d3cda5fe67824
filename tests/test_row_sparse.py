"""Row-sparse arrays: what they are as other arrays, and what they do to the rows of others."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastxent as fx
import oracle
from losses import same_bits

both = pytest.mark.parametrize("dtype", [np.float32, np.float64])
shapes = pytest.mark.parametrize("shape", [(50, 7), (50,), (50, 1), (2000, 130)], ids=str)


def example(rng: Any, shape: tuple[int, ...], dtype: Any) -> fx.RowSparse:
    ids = np.flatnonzero(rng.random(shape[0]) < 0.5)
    return fx.RowSparse(ids, rng.standard_normal((len(ids), *shape[1:])).astype(dtype), shape)


def filled(rng: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


@both
@shapes
def test_as_other_arrays(shape: tuple[int, ...], dtype: Any) -> None:
    sparse = example(np.random.default_rng(0), shape, dtype)
    whole = np.zeros(shape, dtype)
    for row, values in zip(sparse.ids, sparse.values, strict=True):
        whole[row] = values
    assert same_bits(sparse.toarray(), whole)
    matrix = sparse.to_scipy()
    assert isinstance(matrix, scipy.sparse.csr_array) and matrix.dtype == dtype
    assert matrix.has_sorted_indices and matrix.nnz == sparse.values.size
    assert same_bits(matrix.toarray(), whole.reshape(shape[0], -1))


@both
@shapes
def test_scatter_add_and_sgd(isa: str, shape: tuple[int, ...], dtype: Any) -> None:
    rng = np.random.default_rng(1)
    sparse, target = example(rng, shape, dtype), filled(rng, shape, dtype)
    for factor, change in ((1.0, sparse.scatter_add), (-0.25, lambda x: sparse.scatter_add(x, scale=-0.25))):
        moved = target.copy()
        change(moved)
        exact = oracle.exact(target) + oracle.exact(factor) * oracle.exact(sparse.toarray())
        assert oracle.ulp_error(moved, exact).max() <= 0.501
        untouched = np.setdiff1d(np.arange(shape[0]), sparse.ids)
        assert same_bits(moved[untouched], target[untouched])
    again = target.copy()
    sparse.sgd(again, 0.25)
    assert same_bits(again, moved)


@both
@shapes
def test_adagrad(shape: tuple[int, ...], dtype: Any) -> None:
    rng = np.random.default_rng(2)
    target, sums = filled(rng, shape, dtype), rng.random(shape).astype(dtype)
    w, s = oracle.exact(target), oracle.exact(sums)
    for _ in range(3):
        sparse = example(rng, shape, dtype)
        sparse.adagrad(target, sums, learning_rate=0.5, eps=1e-6)
        g = oracle.exact(sparse.toarray())
        s = s + g * g
        w = w - 0.5 * g / (s**0.5 + 1e-6)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(sums, s.astype(float), rtol=4 * eps)
    np.testing.assert_allclose(target, w.astype(float), rtol=0, atol=16 * eps)


@both
@shapes
def test_adam(shape: tuple[int, ...], dtype: Any) -> None:
    rng = np.random.default_rng(3)
    target, mean, square = filled(rng, shape, dtype), np.zeros(shape, dtype), np.zeros(shape, dtype)
    w, m, v = (oracle.exact(array) for array in (target, mean, square))
    for step in range(1, 5):
        sparse = example(rng, shape, dtype)
        sparse.adam(target, mean, square, step, learning_rate=0.1, beta1=0.8, beta2=0.99, eps=1e-3)
        g, at = oracle.exact(sparse.values), sparse.ids
        m[at] = 0.8 * m[at] + (1 - oracle.exact(0.8)) * g
        v[at] = 0.99 * v[at] + (1 - oracle.exact(0.99)) * g * g
        w[at] = w[at] - 0.1 * (m[at] / (1 - 0.8**step)) / ((v[at] / (1 - 0.99**step)) ** 0.5 + 1e-3)
    eps = np.finfo(dtype).eps
    for got, wanted in ((mean, m), (square, v), (target, w)):
        np.testing.assert_allclose(got, wanted.astype(float), rtol=0, atol=32 * eps)


@both
def test_adam_with_betas_close_to_1(dtype: Any) -> None:
    """What is left of them is not rounded to the dtype: after the first step the corrected moments are the gradient."""
    for beta in (0.9999, 1 - 2.0**-30, 1 - 2.0**-40):
        target, mean, square = np.zeros((3, 1, 5), dtype)
        values = np.array([[1e-3, -2.0, 3.5, 1e3, -1e-6]], dtype)
        sparse = fx.RowSparse(np.array([0]), values, (1, 5))
        sparse.adam(target, mean, square, 1, learning_rate=1.0, beta1=beta, beta2=beta)
        wanted = -values / (np.abs(values) + 1e-8)
        np.testing.assert_allclose(target, wanted, rtol=16 * np.finfo(dtype).eps)


@both
@pytest.mark.parametrize("eps", [0.0, 1e-50])
def test_steps_that_have_nothing_to_divide(dtype: Any, eps: float) -> None:
    """Without an eps, or with one that is 0 in the dtype, a gradient that has been 0 ever since is no step."""
    sparse = fx.RowSparse(np.array([1]), np.array([[0.0, 2.0]], dtype), (2, 2))
    for update in (
        lambda w: sparse.adagrad(w, np.zeros_like(w), learning_rate=0.5, eps=eps),
        lambda w: sparse.adam(w, *np.zeros((2, 2, 2), dtype), 1, learning_rate=0.5, eps=eps),
    ):
        weight = np.ones((2, 2), dtype)
        update(weight)
        np.testing.assert_allclose(weight, [[1, 1], [1, 0.5]], rtol=4 * np.finfo(dtype).eps)


def test_values_beyond_the_dtype_of_the_target() -> None:
    sparse = fx.RowSparse(np.array([0]), np.array([[1e300, -1.0, 1e-300]]), (1, 3))
    target = np.ones((1, 3), np.float32)
    with np.errstate(all="raise"):
        sparse.scatter_add(target)
    assert target.tolist() == [[np.inf, 0, 1]]


@both
def test_same_bits_for_any_threads(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    shape = (5000, 130)
    sparse, begin = example(rng, shape, dtype), [np.abs(filled(rng, shape, dtype)) for _ in range(3)]
    results = []
    for threads in (1, 2, None):
        arrays = [array.copy() for array in begin]
        sparse.sgd(arrays[0], 0.1, n_threads=threads)
        sparse.adagrad(arrays[0], arrays[1], n_threads=threads)
        sparse.adam(arrays[0], arrays[1], arrays[2], 3, n_threads=threads)
        sparse.scatter_add(arrays[0], 2.0, n_threads=threads)
        results.append(arrays)
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))


def test_frozen_and_pickled() -> None:
    sparse = fx.RowSparse(np.array([0, 2]), np.ones((2, 3)), (4, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        sparse.ids = np.array([1])  # type: ignore[misc]
    again = pickle.loads(pickle.dumps(sparse))
    assert same_bits(again.toarray(), sparse.toarray()) and again.shape == (4, 3)
    empty = fx.RowSparse([], np.zeros((0, 3), np.float32), (4, 3))
    assert not empty.toarray().any() and empty.to_scipy().nnz == 0
    empty.sgd(np.ones((4, 3)), 1.0)


def test_values_of_another_dtype_and_strided_rows() -> None:
    sparse = fx.RowSparse(np.array([1, 3]), np.array([[1.5, 2.0], [0.5, 0.25]], np.float32), (4, 2))
    wide = np.zeros((8, 5))
    sparse.scatter_add(wide[::2, 1:3])
    assert wide[2, 1:3].tolist() == [1.5, 2.0] and wide[6, 1:3].tolist() == [0.5, 0.25] and wide.sum() == 4.25
    backwards = np.zeros((4, 2))
    sparse.scatter_add(backwards[::-1])
    assert same_bits(backwards[::-1], sparse.toarray().astype(float))


@pytest.mark.parametrize(
    "ids, values, shape, error, says",
    [
        ([0, 4], np.zeros((2, 3)), (4, 3), ValueError, r"ids\[1\] is 4, but the classes are 0 to 3"),
        ([-1, 2], np.zeros((2, 3)), (4, 3), ValueError, r"ids\[0\] is -1"),
        ([2, 1], np.zeros((2, 3)), (4, 3), ValueError, r"ids\[1\] is 1 after 2"),
        ([2, 2], np.zeros((2, 3)), (4, 3), ValueError, r"ids\[1\] is 2 after 2"),
        ([0.0], np.zeros((1, 3)), (4, 3), TypeError, "ids have dtype float64"),
        ([0], np.zeros((1, 2)), (4, 3), ValueError, r"values have shape \(1, 2\)"),
        ([0], np.zeros((2, 3)), (4, 3), ValueError, r"values have shape \(2, 3\)"),
        ([0], np.zeros((1, 3), int), (4, 3), TypeError, "values have dtype int64"),
        ([0], np.zeros((1, 3)), [4, 3], ValueError, r"shape is \[4, 3\]"),
        ([], np.zeros((0, 3)), (-1, 3), ValueError, "element of shape is -1: give a whole number of at least 0"),
        ([0], np.zeros((1, 3)), (4.0, 3), TypeError, r"element of shape is 4\.0"),
        ([0], np.zeros((1, 1, 1)), (4, 1, 1), ValueError, "shape is"),
    ],
)
def test_what_it_cannot_be(ids: Any, values: Any, shape: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        fx.RowSparse(ids, values, shape)


def test_targets_that_are_refused() -> None:
    ids, values = np.array([0, 2]), np.ones((2, 3))
    sparse = fx.RowSparse(ids, values, (4, 3))
    read_only = np.zeros((4, 3))
    read_only.setflags(write=False)
    around = np.zeros((6, 3))
    inside = fx.RowSparse(ids, around[1:3], (4, 3))
    for call, error, says in (
        (lambda: sparse.sgd([[0.0] * 3] * 4, 1.0), TypeError, "target is list"),
        (lambda: sparse.sgd(np.zeros((3, 4)), 1.0), ValueError, r"target has shape \(3, 4\)"),
        (lambda: sparse.sgd(np.zeros((4, 3), int), 1.0), TypeError, "target has dtype int64"),
        (lambda: sparse.sgd(read_only, 1.0), ValueError, "target is read-only"),
        (lambda: sparse.sgd(np.zeros((3, 4)).T, 1.0), ValueError, "target has rows whose elements are apart"),
        (lambda: sparse.sgd(np.zeros((4, 3)), -1.0), ValueError, "learning_rate is -1"),
        (lambda: sparse.sgd(np.zeros((4, 3)), np.nan), ValueError, "learning_rate is nan"),
        (lambda: sparse.scatter_add(np.zeros((4, 3)), np.inf), ValueError, "scale is inf"),
        (lambda: inside.scatter_add(around[:4]), ValueError, "target overlaps values"),
        (
            lambda: sparse.adagrad(np.zeros((4, 3)), np.zeros((4, 3), np.float32)),
            TypeError,
            "accumulator has dtype float32, but target float64",
        ),
        (lambda: sparse.adagrad(around[:4], around[2:]), ValueError, "accumulator overlaps target"),
        (lambda: sparse.sgd(np.zeros((4, 3)), 1.0, n_threads=0), ValueError, "n_threads"),
        (lambda: sparse.adam(*np.zeros((3, 4, 3)), 0), ValueError, "step is 0"),
        (lambda: sparse.adam(*np.zeros((3, 4, 3)), 1, beta1=1.0), ValueError, "beta1 is 1"),
        (lambda: sparse.adam(*np.zeros((2, 4, 3)), np.zeros((4, 2)), 1), ValueError, "square has shape"),
    ):
        with pytest.raises(error, match=says):
            call()
    assert not around.any()
    # What was right when it was made is looked at again.
    sparse.ids[1] = 4
    with pytest.raises(ValueError, match=r"ids\[1\] is 4"):
        sparse.sgd(np.zeros((4, 3)), 1.0)
