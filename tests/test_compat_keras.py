"""`fastxent.compat.keras`: Keras's formulas written out in long double, its reductions, its clipping, our refusals."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

import oracle
from fastxent.compat import keras

RNG = np.random.default_rng(0)
N, C = 30, 4
EPS32 = (float(np.float32(1e-7)), float(np.float32(1) - np.float32(1e-7)))
EPS64 = (1e-7, 1 - 1e-7)
CLASSES = [
    keras.BinaryCrossentropy,
    keras.BinaryFocalCrossentropy,
    keras.CategoricalCrossentropy,
    keras.CategoricalFocalCrossentropy,
    keras.CategoricalGeneralizedCrossEntropy,
    keras.SigmoidFocalCrossEntropy,
    keras.SparseCategoricalCrossentropy,
]


def bounds(dtype: Any) -> tuple[float, float]:
    return EPS32 if dtype == np.float32 else EPS64


def wide_binary(y: Any, p: Any, dtype: Any, smoothing: float = 0.0) -> np.ndarray:
    """Losses and what is missing from p at the target, from clipped probabilities."""
    y, p = np.asarray(y, np.longdouble), np.asarray(p, np.longdouble)
    y = (1 - np.longdouble(smoothing)) * y + np.longdouble(smoothing) / 2
    clipped = np.clip(p, *map(np.longdouble, bounds(dtype)))
    return -y * np.log(clipped) - (1 - y) * np.log1p(-clipped)


def probabilities(dtype: Any) -> np.ndarray:
    p = RNG.random((N, C))
    p[0] = [0, 1, 1e-9, 1 - 1e-9]
    p[1] = [1, 0, 0.5, 0.25]
    return p.astype(dtype)


both = pytest.mark.parametrize("dtype", [np.float32, np.float64])
smoothed = pytest.mark.parametrize("smoothing", [0.0, 0.2])


def close(got: Any, wanted: Any, dtype: Any, ulps: float = 6) -> None:
    wanted = np.asarray(wanted, np.longdouble)
    assert np.asarray(got).dtype == dtype
    np.testing.assert_allclose(np.asarray(got, np.longdouble), wanted, rtol=ulps * np.finfo(dtype).eps)


# ---- functions -------------------------------------------------------------------------------------------------


@both
@smoothed
@pytest.mark.parametrize("axis", [-1, 0])
def test_binary(dtype: Any, smoothing: float, axis: int) -> None:
    p, y = probabilities(dtype), RNG.integers(0, 2, (N, C))
    got = keras.binary_crossentropy(y, p, label_smoothing=smoothing, axis=axis)
    close(got, wide_binary(y, p, dtype, smoothing).mean(axis), dtype)
    x = (5 * RNG.standard_normal((N, C))).astype(dtype)
    got = keras.binary_crossentropy(y, x, from_logits=True, label_smoothing=smoothing, axis=axis)
    wanted = oracle.sigmoid_cross_entropy(x, y, label_smoothing=smoothing, reduction="none").loss
    close(got, wanted.mean(axis), dtype)


@both
@smoothed
def test_binary_as_in_tensorflow_2_1(dtype: Any, smoothing: float) -> None:
    p, y = probabilities(dtype), RNG.integers(0, 2, (N, C))
    low, high = map(np.longdouble, bounds(dtype))
    q, t = np.clip(p.astype(np.longdouble), low, high), (1 - smoothing) * y + smoothing / 2
    wanted = -t * np.log(q + np.longdouble(1e-7)) - (1 - t) * np.log(1 - q + np.longdouble(1e-7))
    got = keras.binary_crossentropy(y, p, label_smoothing=smoothing, epsilon_mode="tf2.1")
    np.testing.assert_allclose(got, wanted.mean(-1).astype(float), rtol=1e-6 if dtype == np.float32 else 1e-9)


@both
@smoothed
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
def test_binary_focal(dtype: Any, smoothing: float, balanced: bool, gamma: float) -> None:
    p, y = probabilities(dtype), RNG.integers(0, 2, (N, C))
    options = {"apply_class_balancing": balanced, "alpha": 0.3, "gamma": gamma, "label_smoothing": smoothing}
    t = (1 - np.longdouble(smoothing)) * y + np.longdouble(smoothing) / 2

    def formula(entropy: Any, q: Any, not_q: Any) -> Any:
        factor = t * np.longdouble(0.3) + (1 - t) * (1 - np.longdouble(0.3)) if balanced else 1
        return (factor * (t * not_q + (1 - t) * q) ** np.longdouble(gamma) * entropy).mean(-1)

    wide = p.astype(np.longdouble)
    wanted = formula(wide_binary(y, p, dtype, smoothing), wide, 1 - wide)
    close(keras.binary_focal_crossentropy(y, p, **options), wanted, dtype, 20)
    x = (5 * RNG.standard_normal((N, C))).astype(dtype)
    entropy = oracle.sigmoid_cross_entropy(x, y, label_smoothing=smoothing, reduction="none").loss
    wanted = formula(entropy, oracle.expit(x), oracle.expit(-x))
    close(keras.binary_focal_crossentropy(y, x, from_logits=True, **options), wanted, dtype, 20)
    wanted = formula(entropy, oracle.expit(x), oracle.expit(-x)) * C
    if smoothing == 0.0:
        alpha = 0.3 if balanced else None
        got = keras.sigmoid_focal_crossentropy(y, x, alpha=alpha, gamma=gamma, from_logits=True)
        close(got, wanted, dtype, 20)


@both
@smoothed
@pytest.mark.parametrize("axis", [-1, 0])
def test_categorical(dtype: Any, smoothing: float, axis: int) -> None:
    p, y = probabilities(dtype), RNG.random((N, C)).astype(dtype)
    classes = p.shape[axis]
    t = (1 - np.longdouble(smoothing)) * y + np.longdouble(smoothing) / classes
    q = p.astype(np.longdouble) / p.astype(np.longdouble).sum(axis, keepdims=True)
    wanted = -(t * np.log(np.clip(q, *map(np.longdouble, bounds(dtype))))).sum(axis)
    # The upper bound as float32 rounds it shows where a single target is met.
    close(keras.categorical_crossentropy(y, p, label_smoothing=smoothing, axis=axis), wanted, dtype)
    x = (5 * RNG.standard_normal((N, C))).astype(dtype)
    got = keras.categorical_crossentropy(y, x, from_logits=True, label_smoothing=smoothing, axis=axis)
    moved = [np.moveaxis(a, axis, -1) for a in (x, y)]
    wanted = oracle.softmax_cross_entropy(*moved, label_smoothing=smoothing, reduction="none").loss
    close(got, wanted, dtype)


def test_a_perfect_prediction_costs_what_its_clipping_leaves() -> None:
    for dtype, wanted in ((np.float32, 1.1920929e-07), (np.float64, 1e-7)):
        p = np.eye(3, dtype=dtype)
        np.testing.assert_allclose(keras.categorical_crossentropy(np.eye(3), p), wanted, rtol=1e-6)
        np.testing.assert_allclose(keras.binary_crossentropy(np.eye(3), p), (wanted + 2e-7) / 3, rtol=1e-6)
        # Clipped first, divided by the sum afterwards, as TensorFlow does it.
        low, high = bounds(dtype)
        np.testing.assert_allclose(
            keras.sparse_categorical_crossentropy([0, 1, 2], p), np.log1p(2 * low / high), rtol=1e-6
        )


@both
@smoothed
@pytest.mark.parametrize("alpha", [0.25, [0.1, 0.2, 0.3, 0.4]])
def test_categorical_focal(dtype: Any, smoothing: float, alpha: Any) -> None:
    p, y = probabilities(dtype), RNG.random((N, C)).astype(dtype)
    t = (1 - np.longdouble(smoothing)) * y + np.longdouble(smoothing) / C
    q = p.astype(np.longdouble) / p.astype(np.longdouble).sum(-1, keepdims=True)
    q = np.clip(q, *map(np.longdouble, bounds(dtype)))
    wanted = (np.asarray(alpha, np.longdouble) * (1 - q) ** 2 * -t * np.log(q)).sum(-1)
    close(keras.categorical_focal_crossentropy(y, p, alpha, label_smoothing=smoothing), wanted, dtype)
    x = (5 * RNG.standard_normal((N, C))).astype(dtype)
    q = oracle.softmax(x)
    wanted = (np.asarray(alpha, np.longdouble) * (1 - q) ** 2 * -t * oracle.log_softmax(x)).sum(-1)
    got = keras.categorical_focal_crossentropy(y, x, alpha, from_logits=True, label_smoothing=smoothing)
    np.testing.assert_allclose(got, wanted.astype(float), rtol=1e-5 if dtype == np.float32 else 1e-12)
    got = keras.categorical_focal_crossentropy(y.T, p.T, alpha, label_smoothing=smoothing, axis=0)
    np.testing.assert_array_equal(got, keras.categorical_focal_crossentropy(y, p, alpha, label_smoothing=smoothing))


@both
def test_sparse(dtype: Any) -> None:
    p, labels = probabilities(dtype), RNG.integers(0, C, N)
    low, high = bounds(dtype)
    q = np.clip(p.astype(np.longdouble), np.longdouble(low), np.longdouble(high))
    wanted = np.log(q.sum(1)) - np.log(q[np.arange(N), labels])
    for y in (labels, labels[:, None], labels.astype(np.float32), labels.tolist()):
        got = keras.sparse_categorical_crossentropy(y, p)
        np.testing.assert_allclose(got, wanted.astype(float), rtol=1e-5 if dtype == np.float32 else 1e-9)
    x = (5 * RNG.standard_normal((N, C))).astype(dtype)
    close(
        keras.sparse_categorical_crossentropy(labels, x, True),
        oracle.softmax_cross_entropy(x, labels, reduction="none").loss,
        dtype,
    )
    np.testing.assert_array_equal(
        keras.sparse_categorical_crossentropy(labels, x.T, True, axis=0),
        keras.sparse_categorical_crossentropy(labels, x, True),
    )


def test_sparse_of_two_outcomes_takes_booleans() -> None:
    x = np.array([[1.0, 2.0], [3.0, 0.0]])
    np.testing.assert_array_equal(
        keras.sparse_categorical_crossentropy(np.array([True, False]), x, True),
        keras.sparse_categorical_crossentropy([1, 0], x, True),
    )


@both
def test_generalized(dtype: Any) -> None:
    p, labels = probabilities(dtype), RNG.integers(0, C, N)
    at = p[np.arange(N), labels].astype(np.longdouble)
    wanted = (1 - at ** np.longdouble(0.3)) / np.longdouble(0.3)
    np.testing.assert_allclose(
        keras.categorical_generalized_cross_entropy(labels[:, None], p, 0.3), wanted.astype(float), rtol=1e-6
    )


def test_logits_keep_all_digits() -> None:
    x = np.array([[20, 0]], np.float32)
    truth = 2.0611536e-9
    assert keras.CategoricalCrossentropy(from_logits=True)([[1, 0]], x) == pytest.approx(truth, rel=1e-7)
    assert keras.SparseCategoricalCrossentropy(from_logits=True)([0], x) == pytest.approx(truth, rel=1e-7)
    assert keras.BinaryCrossentropy(from_logits=True)([[1]], [[20.0]]) == pytest.approx(truth, rel=1e-7)


# ---- classes ---------------------------------------------------------------------------------------------------

Y, X = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]]), np.array([[3.0, -1.0, 0.5], [0.0, 2.0, -2.0], [1.0, 1.0, 1.0]])


def rows() -> np.ndarray:
    return keras.binary_crossentropy(Y, X, from_logits=True)


@pytest.mark.parametrize(
    "reduction, divisor",
    [
        ("sum_over_batch_size", 3),
        ("mean", 3),
        ("auto", 3),
        ("sum", 1),
        ("mean_with_sample_weight", None),
    ],
)
@pytest.mark.parametrize("weight", [None, 2.0, [0.5, 0.0, 2.0], [[0.5], [0.0], [2.0]]], ids=str)
def test_reductions(reduction: str, divisor: int | None, weight: Any) -> None:
    got = keras.BinaryCrossentropy(from_logits=True, reduction=reduction)(Y, X, weight)
    weights = np.broadcast_to(1.0 if weight is None else np.ravel(weight), 3)
    wanted = (weights * rows()).sum() / (weights.sum() if divisor is None else divisor)
    assert type(got) is float
    assert got == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("reduction", [None, "none"])
def test_no_reduction(reduction: str | None) -> None:
    loss = keras.BinaryCrossentropy(from_logits=True, reduction=reduction)
    np.testing.assert_array_equal(loss(Y, X), rows())
    np.testing.assert_array_equal(loss(Y, X, [2.0, 0.0, 1.0]), rows() * [2.0, 0.0, 1.0])


def test_weights_of_zero_leave_out_what_is_infinite() -> None:
    loss = keras.CategoricalCrossentropy(from_logits=True)
    x = np.array([[0.0, -np.inf], [1.0, 0.0]])
    y = np.array([[0, 1], [1, 0]])
    assert np.isfinite(loss(y, x, [0.0, 1.0])) and loss(y, x) == np.inf
    for reduction in ("mean", "mean_with_sample_weight", "sum"):
        assert keras.CategoricalCrossentropy(from_logits=True, reduction=reduction)(y, x, [0.0, 0.0]) == 0.0


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", None])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]], ids=str)
def test_ignored_classes(reduction: str | None, weight: Any) -> None:
    x, y = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]]), np.array([0, 255, 1])
    loss = keras.SparseCategoricalCrossentropy(True, ignore_class=255, reduction=reduction)
    kept = keras.sparse_categorical_crossentropy([0, 1], x[[0, 2]], True)
    weights = np.ones(2) if weight is None else np.array(weight)[[0, 2]]
    wanted: Any = {
        "sum_over_batch_size": (kept * weights).sum() / 2,
        "sum": (kept * weights).sum(),
        "mean_with_sample_weight": (kept * weights).sum() / weights.sum(),
        None: np.array([kept[0] * weights[0], 0, kept[1] * weights[1]]),
    }[reduction]
    np.testing.assert_allclose(loss(y, x, weight), wanted, rtol=1e-14)
    np.testing.assert_allclose(loss(y[:, None], x, weight), wanted, rtol=1e-14)
    assert np.all(np.asarray(loss(np.full(3, 255), x, weight)) == 0.0)


def test_ignored_classes_with_weights_in_a_column() -> None:
    y, p = np.array([0, -1, 2]), np.full((3, 3), 1 / 3)
    loss = keras.SparseCategoricalCrossentropy(ignore_class=-1, reduction="none")
    np.testing.assert_allclose(loss(y, p, [[1.0], [2.0], [3.0]]), np.log([[3.0], [1.0], [27.0]]), rtol=1e-6)
    loss = keras.SparseCategoricalCrossentropy(ignore_class=-1)
    assert loss(y, p, [[1.0], [2.0], [3.0]]) == pytest.approx(2 * np.log(3), rel=1e-6)


def test_a_nan_beside_the_label() -> None:
    for loss in (keras.CategoricalGeneralizedCrossEntropy(), keras.SparseCategoricalCrossentropy()):
        assert np.isnan(loss([1], np.float32([[np.nan, 0.5, 0.5]])))


def test_no_warning_where_numbers_leave_a_type() -> None:
    with np.errstate(all="raise"):
        half = keras.CategoricalCrossentropy(dtype="float16", reduction="sum")
        assert half(np.tile([[1.0, 0]], (8000, 1)), np.tile([[1e-7, 1]], (8000, 1))) == np.inf
        assert keras.CategoricalCrossentropy(dtype="float16", from_logits=True)([[1.0, 0]], [[7e4, 0]]) >= 0
        assert keras.binary_focal_crossentropy(np.float32([[0.0]]), np.float32([[1e-20]])) == 0
        assert keras.categorical_generalized_cross_entropy([0], np.float32([[1e-30, 1]]), 0.5) == 2


@pytest.mark.filterwarnings("error")
def test_nothing_to_average_and_too_much() -> None:
    rows = np.zeros((0, 3))
    for make in (
        keras.BinaryCrossentropy,
        keras.BinaryFocalCrossentropy,
        keras.CategoricalCrossentropy,
        keras.CategoricalFocalCrossentropy,
    ):
        assert make()(rows, rows) == 0.0
    assert np.isnan(keras.binary_crossentropy(rows.T, rows.T)).all()
    loss = keras.BinaryCrossentropy(from_logits=True)
    assert loss(np.array([0.0]), np.array([1e300]), sample_weight=1e300) == np.inf


def test_a_last_axis_of_one_is_added_or_left_out() -> None:
    loss = keras.BinaryCrossentropy(from_logits=True)
    assert loss([1, 0], [[2.0], [1.0]]) == loss([[1], [0]], [[2.0], [1.0]]) == loss([[1], [0]], [2.0, 1.0])


def test_dtypes() -> None:
    """What has a dtype keeps it; numbers without become float32; a dtype that is asked for is given."""
    loss = keras.BinaryCrossentropy(reduction=None)
    assert loss([[1, 0]], [[0.5, 0.25]]).dtype == np.float32
    assert loss([[1, 0]], np.array([[1, 0]])).dtype == np.float32
    assert loss([[1, 0]], np.array([[0.5, 0.25]])).dtype == np.float64
    for dtype in ("float16", "float32", "float64", np.float32):
        asked = keras.BinaryCrossentropy(dtype=dtype)
        assert asked([[1, 0]], [[0.5, 0.25]]).dtype == np.dtype(dtype) == asked.dtype
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert keras.CategoricalCrossentropy(dtype="bfloat16")([[1, 0]], [[0.5, 0.5]]).dtype == ml_dtypes.bfloat16


def test_a_loss_of_ones_own() -> None:
    class Squared(keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return np.mean(np.square(y_true - y_pred), axis=-1)

    loss = Squared(reduction="sum")
    assert loss.name == "Squared"
    assert loss(np.zeros((2, 2)), np.ones((2, 2)), [1.0, 3.0]) == 4.0
    with pytest.raises(NotImplementedError, match="Loss has no call"):
        keras.Loss()([0], [0.0])


@pytest.mark.parametrize("make", CLASSES, ids=lambda make: make.__name__)
def test_configurations_make_the_same_loss(make: Any) -> None:
    loss = make(name="mine", reduction="sum")
    config = json.loads(json.dumps(loss.get_config()))
    again = make.from_config(config)
    assert again.get_config() == config == pickle.loads(pickle.dumps(loss)).get_config()
    assert again.name == "mine" and again.reduction == "sum"


def test_names_of_the_documentation() -> None:
    assert keras.losses.BinaryCrossentropy is keras.BinaryCrossentropy
    for name in keras.__all__:
        thing = getattr(keras, name)
        assert not callable(thing) or (thing.__doc__ or "").strip(), f"{name} has no docstring"


# ---- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: keras.binary_crossentropy([1, 0], [2.5, -1.0]), ("y_pred[0] is 2.5", "from_logits=True")),
        (lambda: keras.binary_crossentropy([1, 2], [0.5, 0.5]), ("y_true[1] is 2",)),
        (lambda: keras.binary_crossentropy([[1, 0]], [0.5, 0.5]), ("y_true has shape (1, 2)", "same shape")),
        (lambda: keras.binary_focal_crossentropy([1, -1], [0.5, 0.5]), ("y_true[1] is -1",)),
        (lambda: keras.categorical_crossentropy([[1, 0]], [[3.0, -1.0]]), ("y_pred[0, 1] is -1", "from_logits=True")),
        (lambda: keras.categorical_crossentropy([[1, -1]], [[0.5, 0.5]]), ("y_true[0, 1] is -1",)),
        (lambda: keras.categorical_crossentropy([0], [[0.5, 0.5]]), ("SparseCategoricalCrossentropy",)),
        (lambda: keras.categorical_crossentropy([[1]], [[0.5]]), ("BinaryCrossentropy",)),
        (lambda: keras.categorical_focal_crossentropy([[1, 0]], [[3.0, -1.0]]), ("y_pred[0, 1] is -1",)),
        (lambda: keras.sparse_categorical_crossentropy([0, 2], [[0.5, 0.5]] * 2), ("y_true[1] is 2", "ignore_class")),
        (lambda: keras.sparse_categorical_crossentropy([0.5], [[0.5, 0.5]]), ("y_true[0] is 0.5", "whole")),
        (lambda: keras.sparse_categorical_crossentropy([0], [[5.0, -3.0]]), ("y_pred[0, 0] is 5", "from_logits=True")),
        (lambda: keras.sparse_categorical_crossentropy([[1, 0]], [[0.5, 0.5]]), ("y_true",)),
        (lambda: keras.categorical_generalized_cross_entropy([3], [[0.5, 0.5]], 0.5), ("y_true[0] is 3",)),
        (lambda: keras.sparse_categorical_crossentropy([0], [[0.5, 0.5]], axis=3), ("axis is 3", "y_pred")),
        (lambda: keras.CategoricalGeneralizedCrossEntropy(q=1.0), ("q must be in the interval (0, 1)",)),
        (lambda: keras.BinaryCrossentropy(reduction="average"), ("reduction is 'average'",)),
        (lambda: keras.BinaryCrossentropy(epsilon_mode="tf2.2"), ("epsilon_mode",)),
        (lambda: keras.BinaryCrossentropy()([[1, 0]], [[0.5, 0.5]], [1.0, 2.0]), ("sample_weight has shape (2,)",)),
        (lambda: keras.BinaryCrossentropy()([[1, 0]], [[0.5, 0.5]], np.nan), ("sample_weight[0] is nan",)),
        (lambda: keras.binary_crossentropy([1], [0.5], label_smoothing=1.5), ("label_smoothing is 1.5",)),
        (lambda: keras.sigmoid_focal_crossentropy([1.0], [0.5], gamma=-1.0), ("gamma is -1",)),
        (lambda: keras.BinaryCrossentropy()(1.0, 0.5), ("y_pred", "single number")),
        (lambda: keras.BinaryCrossentropy(dtype="int32"), ("dtype is 'int32'", "floating")),
        (
            lambda: keras.categorical_crossentropy([[1, 0]], [[0.0, 0.0]]),
            ("y_pred of row 0", "mend the row"),
        ),
    ],
)
def test_refusals(call: Any, says: tuple[str, ...]) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    for words in says:
        assert words in str(caught.value)
    for foreign in ("logits[", "targets[", "targets have", "probabilities[", "ignore_index", "softmax_cross_entropy"):
        assert foreign not in str(caught.value)


def test_a_rounding_above_one_is_no_mistake() -> None:
    p = np.array([[np.nextafter(1, 2), 0.0]])
    assert np.isfinite(keras.sparse_categorical_crossentropy([0], p)).all()
    assert np.isfinite(keras.binary_crossentropy([[1, 0]], p)).all()
