"""`fastxent.compat.tf_nn` and `tf_losses`: TensorFlow's formulas in long double, its broadcasting and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastxent as fx
import oracle
from fastxent.compat import tf_losses, tf_nn
from losses import same_bits
from measured import assert_within

RNG = np.random.default_rng(1)
N, C = 30, 5
sparse = tf_nn.sparse_softmax_cross_entropy_with_logits
both = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def logits(dtype: Any, *shape: int) -> np.ndarray:
    return (4 * RNG.standard_normal(shape or (N, C))).astype(dtype)


# ---- tf.nn -----------------------------------------------------------------------------------------------------


@both
def test_distributions_that_add_up_to_one_have_the_core_s_gradient(dtype: Any) -> None:
    x, labels = logits(dtype), RNG.integers(0, C, N)
    got = tf_nn.softmax_cross_entropy_with_logits(np.eye(C)[labels], x, grad=True)
    wanted = fx.softmax_cross_entropy(x, labels, reduction="none", grad=True)
    assert all(map(same_bits, got, wanted))
    assert same_bits(tf_nn.softmax_cross_entropy_with_logits(np.eye(C)[labels], x), wanted[0])
    got = tf_nn.sparse_softmax_cross_entropy_with_logits(labels, x, grad=True)
    assert all(map(same_bits, got, wanted))


@both
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("signs", ["positive", "any"])
def test_gradient_is_p_minus_y_for_any_labels(isa: str, dtype: Any, axis: int, signs: str) -> None:
    x, y = logits(dtype, 4, 3, 5), RNG.random((4, 3, 5)).astype(dtype)
    y[0] = 0
    if signs == "any":
        y[1:] *= RNG.choice([-1, 1], (3, 3, 5))
        rows = np.moveaxis(y, axis, -1)
        rows[0, -1] = 0
        rows[0, -1, :3] = 1.5, -2, 1.5  # their sum is 1
    p, log_p = (np.moveaxis(f(np.moveaxis(x, axis, -1)), -1, axis) for f in (oracle.softmax, oracle.log_softmax))
    wide = oracle.exact(y)
    loss, grad = tf_nn.softmax_cross_entropy_with_logits(y, x, axis, grad=True)
    scale = np.abs(wide * log_p).sum(axis)
    assert_within(4, f"tf_nn softmax loss, labels of {signs} sign", isa, loss, -(wide * log_p).sum(axis), scale)
    assert_within(4, "tf_nn softmax gradient p - y", isa, grad, p - wide, np.maximum(p, np.abs(wide)))
    assert grad.dtype == loss.dtype == dtype


@both
@pytest.mark.parametrize("shape", [(1, C), (N, 1), (C,), (1, 1), ()], ids=str)
def test_labels_are_broadcast(dtype: Any, shape: tuple[int, ...]) -> None:
    x, y = logits(dtype), RNG.random(shape).astype(dtype)
    got = tf_nn.softmax_cross_entropy_with_logits(y, x, grad=True)
    whole = np.broadcast_to(y, x.shape).copy()
    assert all(map(same_bits, got, tf_nn.softmax_cross_entropy_with_logits(whole, x, grad=True)))
    for words in ("labels have shape (3,)", "broadcast"):
        with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
            tf_nn.softmax_cross_entropy_with_logits(np.zeros(3), x)


def test_into_buffers_and_in_place() -> None:
    y, x = RNG.random((N, C)), logits(np.float64)
    _, grad = tf_nn.softmax_cross_entropy_with_logits(y, x, grad=True)
    buffer = np.empty_like(x)
    assert tf_nn.softmax_cross_entropy_with_logits(y, x, grad=buffer)[1] is buffer
    assert same_bits(buffer, grad)
    again = tf_nn.softmax_cross_entropy_with_logits(-y, x, grad=True)
    in_place = x.copy()
    got = tf_nn.softmax_cross_entropy_with_logits(-y, in_place, grad=in_place)
    assert got[1] is in_place and all(map(same_bits, got, again))
    with pytest.raises(ValueError, match="grad overlaps"):
        tf_nn.softmax_cross_entropy_with_logits(y, x, grad=y)
    single = logits(np.float64, N, 1)
    assert tf_nn.softmax_cross_entropy_with_logits(np.ones((N, 1)), single, grad=single)[1] is single


def test_a_single_class() -> None:
    x = np.array([[1.0], [-1.0], [np.nan]])
    loss, grad = tf_nn.softmax_cross_entropy_with_logits([[-1.0], [0.25], [1.0]], x, grad=True)
    np.testing.assert_array_equal(loss, [0, 0, np.nan])
    np.testing.assert_array_equal(grad, [[2], [0.75], [np.nan]])
    loss, grad = tf_nn.sparse_softmax_cross_entropy_with_logits([0, 0, 0], x, grad=True)
    np.testing.assert_array_equal(loss, [0, 0, np.nan])
    np.testing.assert_array_equal(grad, [[0], [0], [np.nan]])
    with pytest.raises(ValueError, match=r"labels\[1\] is 1"):
        tf_nn.sparse_softmax_cross_entropy_with_logits([0, 1, 0], x)


@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (0,), (0, 4)], ids=str)
def test_sparse_labels_of_any_shape(shape: tuple[int, ...]) -> None:
    labels, x = RNG.integers(0, C, shape), logits(np.float64, *shape, C)
    loss, grad = tf_nn.sparse_softmax_cross_entropy_with_logits(labels, x, grad=True)
    assert loss.shape == shape and grad.shape == x.shape
    flat = fx.softmax_cross_entropy(x.reshape(-1, C), labels.reshape(-1), reduction="none", grad=True)
    assert same_bits(np.reshape(loss, -1), flat[0]) and same_bits(grad.reshape(-1, C), flat[1])


@both
@pytest.mark.parametrize("shape", [(), (C,), (N, 1), (N, C), (1,)], ids=str)
def test_weighted_sigmoid(isa: str, dtype: Any, shape: tuple[int, ...]) -> None:
    x, y, factor = logits(dtype), RNG.random((N, C)).astype(dtype), 3 * RNG.random(shape)
    y[::3] = np.rint(y[::3])
    loss, grad = tf_nn.weighted_cross_entropy_with_logits(y, x, factor, grad=True)
    wide, w = oracle.exact(y), oracle.exact(factor)
    yes, no = -w * wide * oracle.log_expit(x), -(1 - wide) * oracle.log_expit(-x)
    assert_within(3, "tf_nn weighted sigmoid loss", isa, loss, yes + no)
    up, down = (1 - wide) * oracle.expit(x), w * wide * oracle.expit(-x)
    assert_within(6, "tf_nn weighted sigmoid gradient", isa, grad, up - down, np.maximum(up, down))
    np.testing.assert_array_equal(tf_nn.weighted_cross_entropy_with_logits(y, x, factor), loss)


def test_weighted_sigmoid_where_tensorflow_loses_its_digits() -> None:
    got = tf_nn.weighted_cross_entropy_with_logits([0.0, 0.0], np.array([-10.0, -40.0]), 1.5)
    np.testing.assert_allclose(got, [4.5398899216864646e-05, 4.248354255291589e-18], rtol=1e-15)
    np.testing.assert_array_equal(tf_nn.weighted_cross_entropy_with_logits([1.0], np.array([5.0]), [0.0]), [0.0])


@both
def test_sigmoid(dtype: Any) -> None:
    x, y = logits(dtype), RNG.random((N, C)).astype(dtype)
    got = tf_nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x, grad=True)
    assert all(map(same_bits, got, fx.sigmoid_cross_entropy(x, y, reduction="none", grad=True)))


def test_all_digits() -> None:
    x = np.array([[20, 0]], np.float32)
    loss, grad = tf_nn.softmax_cross_entropy_with_logits([[1, 0]], x, grad=True)
    np.testing.assert_allclose([loss[0], -grad[0, 0], grad[0, 1]], 2.0611536e-9, rtol=1e-7)


@pytest.mark.filterwarnings("error")
def test_labels_too_large_to_add_up() -> None:
    loss, gradient = tf_nn.softmax_cross_entropy_with_logits([[1e308, 1e308]], [[1.0, 2.0]], grad=True)
    assert loss == np.inf and np.isfinite(gradient).all()
    y = np.array([[0.5, -0.5]])
    for call in (
        lambda: tf_nn.softmax_cross_entropy_with_logits(y, y + 1.0, grad=y),
        lambda: tf_nn.softmax_cross_entropy_with_logits(y[:, :1], np.ones((1, 1)), grad=y[:, :1]),
        lambda: tf_nn.weighted_cross_entropy_with_logits(abs(y), y, np.array([1.0, 2.0]), grad=y[0]),
    ):
        with pytest.raises(ValueError, match=r"overlaps labels|has shape"):
            call()
    weight = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="grad overlaps pos_weight"):
        tf_nn.weighted_cross_entropy_with_logits(weight / 2, np.zeros(2), weight, grad=weight)
    np.testing.assert_array_equal(weight, [1.0, 2.0])


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: tf_nn.softmax_cross_entropy_with_logits([[1, np.nan]], [[0.0, 1.0]]), ("labels[0, 1] is nan",)),
        (lambda: tf_nn.softmax_cross_entropy_with_logits([[-np.inf, 0]], [[0.0, 1.0]]), ("labels[0, 0] is -inf",)),
        (lambda: tf_nn.softmax_cross_entropy_with_logits([1.0], 0.0), ("logits",)),
        (
            lambda: tf_nn.sparse_softmax_cross_entropy_with_logits([0, 7], np.zeros((2, 3))),
            ("labels[1] is 7", "0 to 2"),
        ),
        (
            lambda: tf_nn.sparse_softmax_cross_entropy_with_logits([0.0], np.zeros((1, 3))),
            ("labels have dtype", "int64"),
        ),
        (
            lambda: tf_nn.sparse_softmax_cross_entropy_with_logits([[0]], np.zeros((1, 3))),
            ("labels have shape (1, 1)",),
        ),
        (lambda: tf_nn.sparse_softmax_cross_entropy_with_logits(0, 1.0), ("`logits` cannot be a scalar",)),
        (lambda: tf_nn.sigmoid_cross_entropy_with_logits([2.0], [0.0]), ("labels[0] is 2",)),
        (lambda: tf_nn.sigmoid_cross_entropy_with_logits([0.0, 1.0], [0.0]), ("labels have shape (2,)",)),
        (lambda: tf_nn.sigmoid_cross_entropy_with_logits(logits=[0.0]), ("labels is None",)),
        (lambda: tf_nn.weighted_cross_entropy_with_logits([0.0], [0.0]), ("pos_weight is None",)),
        (lambda: tf_nn.weighted_cross_entropy_with_logits([0.0], [0.0], -1.0), ("pos_weight is -1",)),
        (lambda: tf_nn.weighted_cross_entropy_with_logits([[0.0]], [[0.0]], [[-1.0]]), ("pos_weight[0, 0] is -1",)),
        (lambda: tf_nn.weighted_cross_entropy_with_logits([0.0], [0.0], [1.0, 2.0]), ("pos_weight has shape (2,)",)),
        (lambda: tf_nn.weighted_cross_entropy_with_logits([3.0], [0.0], [1.0]), ("labels[0] is 3",)),
    ],
)
def test_refusals_of_nn(call: Any, says: tuple[str, ...]) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    for words in says:
        assert words in str(caught.value)
    for foreign in ("targets[", "targets have", "ignore_index"):
        assert foreign not in str(caught.value)


# ---- tf.losses -------------------------------------------------------------------------------------------------

R = tf_losses.Reduction


@pytest.mark.parametrize(
    "weights, divisors",
    [
        # sum of weighted losses, nonzero weights, sum of weights, number of losses
        (1.0, (6, 6, 6)),
        (0.5, (6, 3, 6)),
        (0.0, (0, 0, 6)),
        ([[1.0], [0.0]], (3, 3, 6)),
        ([[2.0, 0.0, 1.0]], (4, 6, 6)),
        (np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]), (3, 6, 6)),
        (np.zeros((2, 3)), (0, 0, 6)),
    ],
    ids=str,
)
def test_reductions(weights: Any, divisors: tuple[float, float, float]) -> None:
    losses = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    weighted = losses * weights
    total, (nonzero, mass, size) = weighted.sum(), divisors
    np.testing.assert_array_equal(tf_losses.compute_weighted_loss(losses, weights, reduction=R.NONE), weighted)
    for reduction, wanted in (
        (R.SUM, total),
        (R.SUM_BY_NONZERO_WEIGHTS, total / nonzero if nonzero else 0),
        (R.SUM_OVER_NONZERO_WEIGHTS, total / nonzero if nonzero else 0),
        (R.MEAN, total / mass if mass else 0),
        (R.SUM_OVER_BATCH_SIZE, total / size),
    ):
        got = tf_losses.compute_weighted_loss(losses, weights, reduction=reduction)
        assert type(got) is float and got == pytest.approx(wanted, rel=1e-15)
    assert tf_losses.compute_weighted_loss(losses, weights) == pytest.approx(total / nonzero if nonzero else 0)
    assert len(set(R.all())) == 5


def test_a_weight_of_zero_leaves_out_what_is_infinite() -> None:
    assert tf_losses.compute_weighted_loss([np.inf, 1.0], [0.0, 1.0]) == 1.0


def test_distributions_of_any_sign_and_of_one_class() -> None:
    # The numbers of TensorFlow 2.21.
    assert tf_losses.softmax_cross_entropy([[1.0], [1.0]], [[3.0], [4.0]], label_smoothing=0.1) == 0.0
    assert tf_losses.softmax_cross_entropy([[2.0, -1.0]], [[1.0, 2.0]]) == pytest.approx(2.3132617)
    smoothed = tf_losses.softmax_cross_entropy([[2.0, -1.0]], [[1.0, 2.0]], label_smoothing=0.1)
    assert smoothed == pytest.approx(0.9 * 2.3132617 + 0.05 * (1.3132617 + 0.3132617))


@both
def test_losses_are_those_of_nn(dtype: Any) -> None:
    x, labels = logits(dtype), RNG.integers(0, C, N)
    weights = RNG.random(N)
    one_hot = np.eye(C)[labels]
    rows = tf_nn.sparse_softmax_cross_entropy_with_logits(labels, x)
    got = tf_losses.sparse_softmax_cross_entropy(labels[:, None], x, weights[:, None], reduction=R.NONE)
    np.testing.assert_allclose(got, rows * weights, rtol=1e-6)
    np.testing.assert_array_equal(got, tf_losses.softmax_cross_entropy(one_hot, x, weights, reduction=R.NONE))
    got = tf_losses.softmax_cross_entropy(one_hot, x, label_smoothing=0.1, reduction=R.SUM)
    assert got == pytest.approx(fx.softmax_cross_entropy(x, labels, label_smoothing=0.1, reduction="sum"), rel=1e-6)
    got = tf_losses.sigmoid_cross_entropy(one_hot, x, weights[:, None], label_smoothing=0.2)
    wanted = fx.sigmoid_cross_entropy(x, one_hot, label_smoothing=0.2, reduction="none") * weights[:, None]
    assert got == pytest.approx(wanted.mean(), rel=1e-6)
    p = fx.expit(x.astype(np.float64))
    wanted = -one_hot * np.log(p + 1e-7) - (1 - one_hot) * np.log(1 - p + 1e-7)
    np.testing.assert_allclose(tf_losses.log_loss(one_hot, p, reduction=R.NONE), wanted, rtol=1e-12)
    assert tf_losses.log_loss([1, 0], [1.0, 0.0], epsilon=0.0) == 0.0


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: tf_losses.compute_weighted_loss([1.0], None), ("weights is None",)),
        (lambda: tf_losses.compute_weighted_loss([1.0], [1.0, 2.0]), ("weights have shape (2,)",)),
        (lambda: tf_losses.compute_weighted_loss([[1.0, 2.0]], [1.0, 2.0]), ("as many axes",)),
        (lambda: tf_losses.compute_weighted_loss([1.0], np.inf), ("weights[0] is inf",)),
        (lambda: tf_losses.compute_weighted_loss([1.0], reduction="average"), ("reduction is 'average'",)),
        (lambda: tf_losses.softmax_cross_entropy(None, [[0.0, 1.0]]), ("onehot_labels is None",)),
        (lambda: tf_losses.softmax_cross_entropy([0], [[0.0, 1.0]]), ("onehot_labels have shape (1,)", "sparse")),
        (lambda: tf_losses.softmax_cross_entropy([[np.inf, 0]], [[0.0, 1.0]]), ("onehot_labels[0, 0] is inf",)),
        (lambda: tf_losses.sparse_softmax_cross_entropy([2], [[0.0, 1.0]]), ("labels[0] is 2",)),
        (
            lambda: tf_losses.sparse_softmax_cross_entropy([[2, 0]], [[0.0, 1.0]]),
            ("labels have shape (1, 2)", "use softmax_cross_entropy for distributions"),
        ),
        (lambda: tf_losses.sparse_softmax_cross_entropy([2], [[0.0, 1.0]]), ("labels[0] is 2",)),
        (lambda: tf_losses.sigmoid_cross_entropy([[2]], [[0.0]]), ("multi_class_labels[0, 0] is 2",)),
        (lambda: tf_losses.log_loss([1], [1.5]), ("predictions[0] is 1.5", "sigmoid_cross_entropy")),
        (lambda: tf_losses.log_loss([1], [0.5, 0.5]), ("same shape",)),
    ],
)
def test_refusals_of_losses(call: Any, says: tuple[str, ...]) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    for words in says:
        assert words in str(caught.value)
