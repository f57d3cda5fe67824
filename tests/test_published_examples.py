"""Numbers that the others' documentation and tests print, computed with ours.

A printed number is met to its last digit, except where the printer's own test allows more; and the exact value, worked
out apart in double precision, to eleven digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastxent as fx
from fastxent import losses
from fastxent.compat import keras, tf_losses, tf_nn
from fastxent.objectives import xgboost_objective


class Example(NamedTuple):
    name: str
    call: Callable[[], Any]
    printed: str
    exact: float | list[float]
    allowed: float | None = None  # relative, where the page itself rounds or tests more coarsely than it prints


KERAS = "Keras, losses.py"
KERAS_TESTS = "Keras, losses_test.py"

Y4, Z4 = np.array([0, 1, 0, 0]), np.array([-18.6, 0.51, 2.94, -12.8])
Y22, Z22 = Y4.reshape(2, 2), Z4.reshape(2, 2)
Y23, P23 = np.array([[0, 1, 0], [0, 0, 1]]), np.array([[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
B22, Q22 = np.array([[0, 1], [0, 0]]), np.array([[0.6, 0.4], [0.4, 0.6]])
Z33 = np.array([[8.0, 1.0, 1.0], [0.0, 9.0, 1.0], [2.0, 3.0, 5.0]])
T23, L23 = np.array([[1, 0, 1], [0, 1, 1]]), np.array([[10.0, -10.0, 10.0], [10.0, 10.0, -10.0]])
FAR = np.array([[100.0, -100.0, -100.0]])
WRONG = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
DISTRIBUTIONS, SCORES = [[1.0, 0.0, 0.0], [0.0, 0.8, 0.2]], [[4.0, 2.0, 1.0], [0.0, 5.0, 1.0]]


def focal(**options: Any) -> keras.Loss:
    return keras.losses.BinaryFocalCrossentropy(from_logits=True, **options)


EXAMPLES = [
    Example(f"{KERAS}: BinaryCrossentropy", lambda: keras.BinaryCrossentropy(True)(Y4, Z4), "0.8654", 0.865457949781),
    Example(
        f"{KERAS}: BinaryCrossentropy, rows",
        lambda: keras.BinaryCrossentropy(True, reduction=None)(Y22, Z22),
        "0.235 1.496",
        [0.235156663202, 1.49575923636],
    ),
    Example(
        f"{KERAS}: BinaryCrossentropy, sum",
        lambda: keras.BinaryCrossentropy(True, reduction="sum")(Y22, Z22),
        "1.730",
        1.73091589956,
    ),
    Example(f"{KERAS}: BinaryFocalCrossentropy", lambda: focal()(Y22, Z22), "0.691", 0.691212075832),
    Example(f"{KERAS}: gamma 3", lambda: focal(gamma=3)(Y22, Z22), "0.647", 0.646995011887),
    Example(
        f"{KERAS}: gamma 3, balanced",
        lambda: focal(gamma=3, apply_class_balancing=True)(Y22, Z22),
        "0.482",
        0.482141246819,
    ),
    Example(f"{KERAS}: gamma 3, weights", lambda: focal(gamma=3)(Y22, Z22, [0.8, 0.2]), "0.133", 0.133125016892),
    Example(f"{KERAS}: gamma 4, sum", lambda: focal(gamma=4, reduction="sum")(Y22, Z22), "1.222", 1.22188063698),
    Example(
        f"{KERAS}: gamma 4, balanced, sum",
        lambda: focal(gamma=4, apply_class_balancing=True, reduction="sum")(Y22, Z22),
        "0.914",
        0.914080516868,
    ),
    Example(
        f"{KERAS}: gamma 5, balanced, rows",
        lambda: focal(gamma=5, apply_class_balancing=True, reduction=None)(Y22, Z22),
        "0.0004 0.867",
        [0.000437093116581, 0.867076885033],
    ),
    Example(
        f"{KERAS}: CategoricalCrossentropy", lambda: keras.CategoricalCrossentropy()(Y23, P23), "1.177", 1.17693919369
    ),
    Example(
        f"{KERAS}: CategoricalCrossentropy, rows",
        lambda: keras.CategoricalCrossentropy(reduction=None)(Y23, P23),
        "0.0513 2.303",
        [0.0512932943876, 2.30258509299],
    ),
    Example(
        f"{KERAS}: CategoricalFocalCrossentropy, rows",
        lambda: keras.CategoricalFocalCrossentropy(reduction=None)(Y23, P23),
        "3.2058331e-05 4.6627346e-01",
        [3.20583089922e-05, 0.466273481331],
        7e-7,  # printed from float32
    ),
    Example(
        f"{KERAS}: binary_crossentropy",
        lambda: keras.binary_crossentropy(B22, Q22),
        "0.916 0.714",
        [0.916290731874, 0.71355817782],
    ),
    Example(
        # The page goes on to say that this is binary cross-entropy: not with its default gamma of 2.
        f"{KERAS}: binary_focal_crossentropy",
        lambda: keras.binary_focal_crossentropy(B22, Q22),
        "0.330 0.206",
        [0.329864663475, 0.205798381639],
    ),
    Example(
        f"{KERAS_TESTS}: CategoricalCrossentropy, rows",
        lambda: keras.CategoricalCrossentropy(from_logits=True, reduction=None)(np.eye(3), Z33),
        "0.001822 0.000459 0.169846",
        [0.00182210289293, 0.000458767182231, 0.169846019556],
    ),
    Example(
        f"{KERAS_TESTS}: CategoricalCrossentropy",
        lambda: keras.CategoricalCrossentropy(from_logits=True)(np.eye(3), Z33),
        "0.0573",
        0.0573756298771,
    ),
    Example(
        f"{KERAS_TESTS}: a weight of 2.3",
        lambda: keras.CategoricalCrossentropy(from_logits=True)(np.eye(3), Z33, 2.3),
        "0.1317",
        0.131963948717,
        2.1e-3,  # tested to two digits
    ),
    Example(
        f"{KERAS_TESTS}: smoothing",
        lambda: keras.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)([[1, 0, 0]], FAR),
        "13.333333333333334",
        13.3333333333333,
    ),
    Example(
        f"{KERAS_TESTS}: BinaryCrossentropy, weights",
        lambda: keras.BinaryCrossentropy(from_logits=True)(T23, L23, [4, 3]),
        "10.0",
        10.0001588961,
    ),
    Example(
        f"{KERAS_TESTS}: BinaryCrossentropy, smoothing",
        lambda: keras.BinaryCrossentropy(from_logits=True, label_smoothing=0.1)([[1, 0, 1]], FAR / 10),
        "3.5",
        3.5000453989,
    ),
    Example(
        f"{KERAS_TESTS}: CategoricalGeneralizedCrossEntropy",
        lambda: keras.CategoricalGeneralizedCrossEntropy()(
            np.array([0, 1, 0, 1]), np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6]])
        ),
        "0.3598597",
        0.359859721992,
    ),
    Example(
        "TensorFlow, nn_impl.py: sigmoid_cross_entropy_with_logits",
        lambda: tf_nn.sigmoid_cross_entropy_with_logits([0, 0, 0, 1, 1, 1, 0.5], [1.0, -1, 0, 1, -1, 0, 0]),
        "1.3132617 0.3132617 0.6931472 0.3132617 1.3132617 0.6931472 0.6931472",
        [1.31326168752, 0.313261687518, 0.69314718056, 0.313261687518, 1.31326168752, 0.69314718056, 0.69314718056],
    ),
    Example(
        "TensorFlow, keras backend: categorical_crossentropy",
        lambda: keras.categorical_crossentropy(
            np.eye(3), np.array([[0.9, 0.05, 0.05], [0.05, 0.89, 0.06], [0.05, 0.01, 0.94]])
        ),
        "0.10536 0.11653 0.06188",
        [0.105360515658, 0.116533816256, 0.0618754037181],
    ),
    Example(
        "TensorFlow 2.1: BinaryCrossentropy",
        lambda: keras.BinaryCrossentropy(epsilon_mode="tf2.1")([0, 0, 1, 1], [1, 1, 1, 0]),
        "11.522857",
        11.5228567123,
        1e-7,  # rounds in float32
    ),
    Example(
        "TensorFlow, sparse_xent_op_test_base.py",
        lambda: tf_nn.sparse_softmax_cross_entropy_with_logits([3, 0], [[1.0, 1, 1, 1], [1, 2, 3, 4]]),
        "1.3862 3.4420",
        [1.38629436112, 3.44018969856],
        1e-3,  # tested to that
    ),
    Example(
        "TensorFlow, losses_test.py: softmax_cross_entropy, weights",
        lambda: tf_losses.softmax_cross_entropy(WRONG, 10 * np.eye(3), np.array([1.2, 3.4, 5.6])),
        "34.0",
        34.0003087055,
    ),
    Example(
        "TensorFlow, losses_test.py: sigmoid_cross_entropy",
        lambda: tf_losses.sigmoid_cross_entropy(WRONG, 200 * np.eye(3) - 100),
        "66.66666666666667",
        66.6666666666667,
    ),
    Example(
        "TensorFlow, losses_test.py: sigmoid_cross_entropy, smoothing",
        lambda: tf_losses.sigmoid_cross_entropy([[1, 0, 1]], FAR, label_smoothing=0.1),
        "35.0",
        35.0,
    ),
    Example(
        "optax, _classification.py: softmax_cross_entropy_with_integer_labels",
        lambda: fx.softmax_cross_entropy([[1.2, -0.8, -0.5], [0.9, -1.2, 1.1]], [0, 1], reduction="none"),
        "0.2761 2.9518",
        [0.276129705546, 2.95179879585],
    ),
    Example(
        "optax, _classification_test.py: softmax_cross_entropy",
        lambda: fx.softmax_cross_entropy([[10.0, 1, -2], [1, 4, 0.2]], [1, 0], reduction="none"),
        "9.00013 3.0696733",
        [9.00012954563, 3.06967329082],
    ),
    Example(
        "optax, _classification_test.py: poly_loss_cross_entropy",
        lambda: fx.poly_cross_entropy(
            [[0.14, 1.456, 2.356, -0.124, -2.47]], [[0.1, 0.15, 0.2, 0.25, 0.3]], epsilon=-1.0
        ),
        "2.0827",
        2.08267575395,
    ),
    Example(
        "optax, _classification_test.py: poly_loss_cross_entropy, rows",
        lambda: fx.poly_cross_entropy(SCORES, DISTRIBUTIONS, epsilon=2.0, reduction="none"),
        "0.4823 1.2567",
        [0.482256550594, 1.25670368948],
    ),
    Example(
        "optax, _classification_test.py: sigmoid_binary_cross_entropy",
        lambda: fx.sigmoid_cross_entropy([-1e9, -1e-9], [0, 1]),
        "0.3465736",
        0.34657359053,
    ),
    Example(
        "torch, loss.py: BCEWithLogitsLoss",
        lambda: fx.sigmoid_cross_entropy(np.full((10, 64), 1.5), np.ones((10, 64)), pos_weight=np.ones(64)),
        "0.20",
        0.201413277983,
    ),
    Example(
        # Older versions returned 0.
        "torch, issue 11752: cross_entropy",
        lambda: fx.softmax_cross_entropy(np.array([[1e8, 1e8]]), [1]),
        "0.6931471824645996",
        0.69314718056,
        3e-9,  # rounds in float32
    ),
    Example(
        "scikit-learn, _classification.py: log_loss",
        lambda: fx.categorical_cross_entropy([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]], [1, 0, 0, 1]),
        "0.21616",
        0.216161874681,
    ),
    Example(
        "scikit-learn, test_classification.py: log_loss",
        lambda: fx.categorical_cross_entropy([[0.3, 0.7], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3]], [0, 1, 1, 0]),
        "0.746941",
        0.746941025976,
    ),
    Example(
        "scikit-learn, test_loss.py: HalfBinomialLoss, loss, gradient and Hessian",
        lambda: [
            *losses.SigmoidCrossEntropy().loss_gradient(np.array([0.0]), np.array([-36.9])),
            losses.SigmoidCrossEntropy().gradient_hessian(np.array([0.0]), np.array([-36.9]))[1],
        ],
        "9.430476078526806e-17 9.430476078526806e-17 9.430476078526806e-17",
        [9.43047607853e-17] * 3,
    ),
    Example("SciPy, _logsumexp.py: logsumexp", lambda: fx.logsumexp(np.arange(10)), "9.45862974442671", 9.45862974443),
    Example(
        "SciPy, _logsumexp.py: logsumexp with b",
        lambda: fx.logsumexp(np.arange(10), b=np.arange(10, 0, -1)),
        "9.917017853303467",
        9.9170178533,
    ),
    Example(
        "SciPy, test_logsumexp.py: log_softmax",
        lambda: fx.log_softmax(np.arange(4.0)),
        "-3.4401896985611953 -2.4401896985611953 -1.4401896985611953 -0.44018969856119533",
        [-3.44018969856, -2.44018969856, -1.44018969856, -0.440189698561],
    ),
    Example(
        "XGBoost, test_multiclass_obj.cc: second derivatives",
        lambda: xgboost_objective(losses.SoftmaxCrossEntropy(), hessian="upper")(
            np.array([1, 0]), np.array([[1.0, 0, 2], [2, 0, 1]])
        )[1],
        "0.36 0.16 0.44 0.45 0.16 0.37",
        [0.36967289302, 0.16385013813, 0.445390853069, 0.445390853069, 0.16385013813, 0.36967289302],
    ),
]


def last_digit(number: str) -> float:
    """The size of one in the last digit that is printed."""
    mantissa, _, exponent = number.partition("e")
    return float(10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))


def test_all_are_here() -> None:
    assert len(EXAMPLES) == 43


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example(example: Example) -> None:
    got = np.asarray(example.call(), np.float64).ravel()
    printed = example.printed.split()
    exact = np.ravel(example.exact)
    assert len(got) == len(printed) == len(exact)
    for value, number, wide in zip(got, printed, exact, strict=True):
        allowed = example.allowed * abs(float(number)) if example.allowed else 0.0
        # What follows is cut off on some pages and rounded on others.
        assert abs(value - float(number)) <= max(allowed, 1.001 * last_digit(number), 4e-16 * abs(value))
        assert value == pytest.approx(wide, rel=1e-11)


def test_gradient_of_tensorflow() -> None:
    """`sparse_xent_op_test_base.py` prints it beside the losses."""
    _, grad = tf_nn.sparse_softmax_cross_entropy_with_logits([3, 0], [[1.0, 1, 1, 1], [1, 2, 3, 4]], grad=True)
    wanted = [[0.25, 0.25, 0.25, -0.75], [-0.968, 0.087, 0.237, 0.6439]]
    np.testing.assert_allclose(grad, wanted, rtol=1e-3, atol=1e-3)


def test_keras_3_where_tensorflow_2_1_added_epsilon_twice() -> None:
    assert keras.BinaryCrossentropy()([0, 0, 1, 1], [1, 1, 1, 0]) == pytest.approx(12.000716, rel=1e-7)
