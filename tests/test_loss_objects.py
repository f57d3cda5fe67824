"""Loss objects: the numbers of the functions, the manners of scikit-learn's `BaseLoss`."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastxent as fx
from fastxent import losses
from losses import same_bits

N, C = 40, 5

SOFTMAX: list[Any] = [
    (losses.SoftmaxCrossEntropy(), fx.softmax_cross_entropy, {}),
    (losses.SoftmaxCrossEntropy(label_smoothing=0.1, temperature=0.7), fx.softmax_cross_entropy, None),
    (losses.SoftmaxCrossEntropy(class_weight=[1.0, 2.0, 0.5, 1.0, 3.0], z_loss=0.01), fx.softmax_cross_entropy, None),
    (losses.SoftmaxCrossEntropy(logit_bias=[0.3, -1.0, 0.0, 2.0, 0.5], softcap=20.0), fx.softmax_cross_entropy, None),
    (losses.SoftmaxFocalLoss(gamma=1.5, alpha=[0.2, 0.4, 0.6, 0.8, 1.0]), fx.softmax_focal_loss, None),
    (losses.PolyCrossEntropy(epsilon=2.0), fx.poly_cross_entropy, None),
    (losses.GeneralizedCrossEntropy(q=0.4), fx.generalized_cross_entropy, None),
]
SIGMOID: list[Any] = [
    (losses.SigmoidCrossEntropy(), fx.sigmoid_cross_entropy, {}),
    (losses.SigmoidCrossEntropy(pos_weight=3.0, label_smoothing=0.2), fx.sigmoid_cross_entropy, None),
    (losses.SigmoidFocalLoss(gamma=0.5), fx.sigmoid_focal_loss, None),
    (losses.SigmoidFocalLoss(alpha=0.25, pos_weight=2.0), fx.sigmoid_focal_loss, None),
]


def options_of(loss: Any) -> dict[str, Any]:
    """The fields of an object as keywords of its function."""
    options = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}
    options.pop("n_classes", None)
    return options


def name_of(value: Any) -> str:
    return repr(value[0])


every_object = pytest.mark.parametrize("loss, function, _", SOFTMAX + SIGMOID, ids=map(name_of, SOFTMAX + SIGMOID))
softmax_objects = pytest.mark.parametrize("loss, function, _", SOFTMAX, ids=map(name_of, SOFTMAX))
sigmoid_objects = pytest.mark.parametrize("loss, function, _", SIGMOID, ids=map(name_of, SIGMOID))


def draw(loss: Any, dtype: Any = np.float64, n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets as scikit-learn's estimators have them, raw predictions and weights."""
    rng = np.random.default_rng(7)
    if loss.is_multiclass:
        return rng.integers(0, C, n).astype(dtype), 3 * rng.standard_normal((n, C)).astype(dtype), rng.random(n)
    return rng.random(n).astype(dtype), 3 * rng.standard_normal(n).astype(dtype), rng.random(n)


# ---- numbers ---------------------------------------------------------------------------------------------------


@every_object
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_numbers_are_those_of_the_function(loss: Any, function: Any, _: Any, dtype: Any, weighted: bool) -> None:
    y, x, weights = draw(loss, dtype)
    labels = y.astype(np.int64) if loss.is_multiclass else y
    options = options_of(loss) | {"sample_weight": weights if weighted else None}
    given = weights if weighted else None
    value, grad, hess = function(x, labels, grad=True, hess=True, reduction="none", **options)
    assert same_bits(loss.loss(y, x, given), value)
    assert same_bits(loss.gradient(y, x, given), grad)
    assert all(map(same_bits, loss.loss_gradient(y, x, given), (value, grad)))
    assert all(map(same_bits, loss.gradient_hessian(y, x, given), (grad, hess)))
    assert loss(y, x, given) == function(x, labels, **options)
    gradient, proba = loss.gradient_proba(y, x, given, n_threads=1)
    assert same_bits(gradient, grad)
    assert same_bits(proba, loss.predict_proba(x))


@every_object
def test_weights_multiply_whatever_their_sign(loss: Any, function: Any, _: Any) -> None:
    y, x, weights = draw(loss)
    weights = weights * np.where(np.arange(N) % 3, 1, -1)
    rows = weights[:, None] if loss.is_multiclass else weights
    for result, plain, factor in zip(
        (*loss.loss_gradient(y, x, weights), *loss.gradient_hessian(y, x, weights)),
        (*loss.loss_gradient(y, x), *loss.gradient_hessian(y, x)),
        (weights, rows, rows, rows),
        strict=True,
    ):
        np.testing.assert_allclose(result, factor * plain, rtol=1e-12)
    with pytest.raises(ValueError, match=r"sample_weight\[0\] is -.*not negative"):
        loss(y, x, weights)  # an average has no such weights


@every_object
@pytest.mark.parametrize("buffer_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_buffers_of_either_dtype(loss: Any, function: Any, _: Any, dtype: Any, buffer_dtype: Any) -> None:
    y, x, weights = draw(loss, dtype)
    loss_out = np.full(N, 7, buffer_dtype)
    gradient_out, hessian_out, proba_out = (np.full(x.shape, 7, buffer_dtype) for _ in range(3))
    assert loss.loss(y, x, loss_out=loss_out) is loss_out
    assert same_bits(loss_out, loss.loss(y, x).astype(buffer_dtype))
    assert loss.gradient(y, x, weights, gradient_out=gradient_out) is gradient_out
    assert same_bits(gradient_out, loss.gradient(y, x, weights).astype(buffer_dtype))
    a, b = loss.loss_gradient(y, x, loss_out=loss_out, gradient_out=gradient_out)
    assert a is loss_out and b is gradient_out
    assert same_bits(gradient_out, loss.gradient(y, x).astype(buffer_dtype))
    a, b = loss.gradient_hessian(y, x, gradient_out=gradient_out, hessian_out=hessian_out)
    assert a is gradient_out and b is hessian_out
    assert same_bits(hessian_out, loss.gradient_hessian(y, x)[1].astype(buffer_dtype))
    proba_out = np.full(loss.predict_proba(x).shape, 7, buffer_dtype)
    a, b = loss.gradient_proba(y, x, gradient_out=gradient_out, proba_out=proba_out)
    assert a is gradient_out and b is proba_out
    assert same_bits(proba_out, loss.predict_proba(x).astype(buffer_dtype))


@every_object
def test_in_place(loss: Any, function: Any, _: Any) -> None:
    y, x, weights = draw(loss)
    wanted = loss.gradient(y, x, weights)
    assert loss.gradient(y, x, weights, gradient_out=x) is x
    assert same_bits(x, wanted)


@softmax_objects
def test_every_form_of_target(loss: Any, function: Any, _: Any) -> None:
    y, x, _weights = draw(loss)
    one_hot = np.eye(C)[y.astype(int)]
    wanted = loss.loss(y, x)
    for targets in (y.astype(np.int16), one_hot, scipy.sparse.csr_array(one_hot), y.tolist()):
        assert same_bits(loss.loss(targets, x), wanted)


@sigmoid_objects
def test_a_single_column_is_a_vector(loss: Any, function: Any, _: Any) -> None:
    y, x, _weights = draw(loss)
    gradient_out = np.empty((N, 1))
    gradient = loss.gradient(y, x[:, None], gradient_out=gradient_out)
    assert gradient is gradient_out
    assert same_bits(gradient[:, 0], loss.gradient(y, x))
    assert same_bits(loss.loss(y[:, None], x[:, None]), loss.loss(y, x)[:, None])
    assert same_bits(loss.predict_proba(x[:, None]), loss.predict_proba(x))


def test_several_columns_of_independent_outcomes() -> None:
    rng = np.random.default_rng(0)
    y, x, weights = rng.integers(0, 2, (N, 3)), rng.standard_normal((N, 3)), rng.random(N)
    loss = losses.SigmoidCrossEntropy(pos_weight=[1.0, 2.0, 3.0])
    assert loss.loss(y, x, -weights).shape == (N, 3)
    np.testing.assert_allclose(loss.gradient(y, x, -weights), -loss.gradient(y, x, weights), rtol=0)
    assert same_bits(loss.predict_proba(x), fx.expit(x))
    assert loss.fit_intercept_only(y).shape == (3,)


# ---- probabilities and intercepts ------------------------------------------------------------------------------


@softmax_objects
def test_probabilities_are_those_of_the_loss(loss: Any, function: Any, _: Any) -> None:
    """The loss at label k of a cross-entropy with these options is -log of them."""
    _y, x, _weights = draw(loss)
    proba = loss.predict_proba(x)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-13)
    scored = {name: getattr(loss, name) for name in ("temperature", "softcap", "logit_bias", "class_mask")}
    for k in range(C):
        rows = fx.softmax_cross_entropy(x, np.full(N, k), reduction="none", **scored)
        np.testing.assert_allclose(proba[:, k], np.exp(-rows), rtol=1e-12)


def test_probabilities_of_masked_classes() -> None:
    loss = losses.SoftmaxCrossEntropy(class_mask=[False, True, False], softcap=5.0)
    proba = loss.predict_proba(np.array([[1.0, 90.0, -np.inf], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(proba, [[1, 0, 0], [0.5, 0, 0.5]])


def test_probabilities_of_two_outcomes_keep_their_digits() -> None:
    proba = losses.SigmoidCrossEntropy().predict_proba([-40.0, 40.0])
    np.testing.assert_allclose(proba, [[1, 4.248354255291589e-18], [4.248354255291589e-18, 1]], rtol=1e-15)


@softmax_objects
@pytest.mark.parametrize("weighted", [False, True])
def test_the_intercept_is_the_minimum(loss: Any, function: Any, _: Any, weighted: bool) -> None:
    y, _x, weights = draw(loss)
    given = weights if weighted else None
    intercept = dataclasses.replace(loss, n_classes=C).fit_intercept_only(y, given)
    assert intercept.shape == (C,) and intercept.dtype == np.float64
    gradient = loss.gradient(y, np.tile(intercept, (N, 1)), given)
    if loss.class_weight is None:
        np.testing.assert_allclose(gradient.sum(0), 0, atol=1e-6)
    at_the_minimum = loss(y, np.tile(intercept, (N, 1)), given)
    rng = np.random.default_rng(0)
    for _step in range(20):
        elsewhere = intercept + 0.01 * rng.standard_normal(C)
        assert loss(y, np.tile(elsewhere, (N, 1)), given) >= at_the_minimum
    one_hot = np.eye(C)[y.astype(int)]
    for targets in (one_hot, scipy.sparse.csr_array(one_hot)):
        np.testing.assert_allclose(loss.fit_intercept_only(targets, given), intercept, rtol=1e-6, atol=1e-9)


@sigmoid_objects
@pytest.mark.parametrize("weighted", [False, True])
def test_the_intercept_of_two_outcomes_is_the_minimum(loss: Any, function: Any, _: Any, weighted: bool) -> None:
    y, _x, weights = draw(loss)
    given = weights if weighted else None
    intercept = loss.fit_intercept_only(y, given)
    assert intercept.shape == () and intercept.dtype == np.float64
    np.testing.assert_allclose(loss.gradient(y, np.full(N, intercept), given).sum(), 0, atol=1e-11)
    many = np.stack([y, 1 - y], 1)
    np.testing.assert_allclose(loss.fit_intercept_only(many, given)[0], intercept, rtol=1e-12)


def test_intercepts_at_the_boundary_are_finite() -> None:
    for loss in (losses.SigmoidCrossEntropy(), losses.SigmoidFocalLoss()):
        for value in (0.0, 1.0):
            assert np.isfinite(loss.fit_intercept_only(np.full(5, value, np.float32)))
    for loss in (losses.SoftmaxCrossEntropy(n_classes=3), losses.SoftmaxFocalLoss(n_classes=3)):
        assert np.isfinite(loss.fit_intercept_only(np.ones(5))).all()
    masked = losses.SoftmaxCrossEntropy(class_mask=[True, False, False])
    np.testing.assert_allclose(masked.fit_intercept_only([1, 2, 2, 2]), [0, -np.log(3) / 2, np.log(3) / 2])


@pytest.mark.parametrize(
    "loss",
    [
        losses.SoftmaxCrossEntropy(label_smoothing=0.1),
        losses.SoftmaxFocalLoss(label_smoothing=0.1),
        losses.SoftmaxCrossEntropy(z_loss=0.1),
        losses.SoftmaxCrossEntropy(class_weight=[1.0, 2.0, 0.5], label_smoothing=0.2),
    ],
    ids=repr,
)
def test_the_intercept_for_targets_that_add_up_to_anything(loss: Any) -> None:
    rng = np.random.default_rng(1)
    y, weights = rng.random((30, 3)) * np.arange(1, 31)[:, None], rng.random(30)
    scores = loss.fit_intercept_only(y, weights)
    gradient = loss.gradient(y, np.tile(scores, (30, 1)), weights)
    if loss.class_weight is not None:
        gradient *= (y @ loss.class_weight / loss.class_weight.dot(y.T))[:, None]
    np.testing.assert_allclose(gradient.sum(0), 0, atol=1e-7 * abs(gradient).sum())
    np.testing.assert_allclose(loss.fit_intercept_only(scipy.sparse.csr_array(y), weights), scores, atol=1e-6)


@pytest.mark.parametrize(
    "loss, y, says",
    [
        (losses.SoftmaxCrossEntropy(class_mask=[False, True, False]), [0, 1, 2], "class_mask leaves out class 1"),
        (losses.SoftmaxCrossEntropy(logit_bias=[0, 0, -np.inf]), [0, 2], "logit_bias is -inf for class 2"),
        (losses.SoftmaxCrossEntropy(n_classes=4), np.ones((2, 3)), "y_true has 3 columns, but n_classes is 4"),
        (losses.SoftmaxCrossEntropy(), [[0.5, -0.5]], "y_true.0, 1. is -0.5"),
        (losses.SoftmaxCrossEntropy(), scipy.sparse.csr_array([[0.5, -0.5]]), "y_true.0, 1. is -0.5"),
        (losses.SigmoidCrossEntropy(), scipy.sparse.csr_array([[0.0, 5.0]]), "y_true has 5 in row 0"),
        (losses.SigmoidCrossEntropy(pos_weight=[1.0, 2.0]), [0, 1], "give .n, 2."),
        (losses.SigmoidFocalLoss(alpha=[0.1, 0.2]), np.ones((2, 3)), "give .n, 2."),
        (losses.SigmoidCrossEntropy(), np.zeros((2, 2, 2)), "y_true has shape .2, 2, 2."),
    ],
)
def test_targets_without_an_intercept(loss: Any, y: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loss.fit_intercept_only(y)


def test_ignored_labels_have_no_share() -> None:
    loss = losses.SoftmaxCrossEntropy(ignore_index=-1)
    np.testing.assert_array_equal(loss.fit_intercept_only([0, 1, 1, -1]), loss.fit_intercept_only([0, 1, 1]))


# ---- objects ---------------------------------------------------------------------------------------------------


@every_object
def test_objects_are_values(loss: Any, function: Any, _: Any) -> None:
    for other in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), dataclasses.replace(loss)):
        assert other == loss and hash(other) == hash(loss) and repr(other) == repr(loss)
    assert loss != dataclasses.replace(loss, label_smoothing=0.33)
    assert loss != "a loss"
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.label_smoothing = 0.5


def test_arrays_among_the_options_are_copied_and_frozen() -> None:
    weights = np.array([1.0, 2.0])
    loss = losses.SoftmaxCrossEntropy(class_weight=weights)
    before = loss([0, 1], [[0.0, 1.0], [0.0, 1.0]])
    weights[:] = 9
    assert loss([0, 1], [[0.0, 1.0], [0.0, 1.0]]) == before
    with pytest.raises(ValueError, match="read-only"):
        loss.class_weight[0] = 5
    assert loss != losses.SoftmaxCrossEntropy(class_weight=[1.0, 3.0])


def test_copies_are_frozen_too() -> None:
    loss = losses.SoftmaxCrossEntropy(class_weight=[1, 2])
    loss.loss([0], [[0.0, 1.0]])
    for other in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), copy.copy(loss)):
        assert other == loss and hash(other) == hash(loss)
        assert not other.class_weight.flags.writeable


@pytest.mark.parametrize(
    "one, other",
    [({"temperature": 2}, {"temperature": 2.0}), ({"class_weight": [1, 2]}, {"class_weight": np.array([1.0, 2.0])})],
)
def test_equal_options_have_equal_hashes(one: dict[str, Any], other: dict[str, Any]) -> None:
    a, b = losses.SoftmaxCrossEntropy(**one), losses.SoftmaxCrossEntropy(**other)
    assert a == b and hash(a) == hash(b) and len({a, b}) == 1


def test_new_arrays_for_the_buffers() -> None:
    for loss, shape in ((losses.SoftmaxCrossEntropy(n_classes=3), (5, 3)), (losses.SigmoidCrossEntropy(), (5,))):
        for array in loss.init_gradient_and_hessian(5, np.float32):
            assert array.shape == shape and array.dtype == np.float32 and array.flags.f_contiguous
    gradient, _ = losses.SigmoidFocalLoss(alpha=[0.1, 0.2]).init_gradient_and_hessian(5, order="C")
    assert gradient.shape == (5, 2) and gradient.flags.c_contiguous
    with pytest.raises(ValueError, match="n_classes is None"):
        losses.SoftmaxCrossEntropy().init_gradient_and_hessian(5)
    with pytest.raises(TypeError, match="float32 or float64"):
        losses.SigmoidCrossEntropy().init_gradient_and_hessian(5, np.float16)


def test_in_a_linear_model_of_scikit_learn() -> None:
    linear_loss = pytest.importorskip("sklearn.linear_model._linear_loss")
    peer = pytest.importorskip("sklearn._loss.loss")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    for ours, theirs, shape in (
        (losses.SigmoidCrossEntropy(), peer.HalfBinomialLoss(), (4,)),
        (losses.SoftmaxCrossEntropy(n_classes=3), peer.HalfMultinomialLoss(n_classes=3), (3, 4)),
    ):
        y, coef = rng.integers(0, 2, 40).astype(float), rng.standard_normal(shape)
        got, wanted = (
            linear_loss.LinearModelLoss(loss, True).loss_gradient(coef, X, y, l2_reg_strength=0.1)
            for loss in (ours, theirs)
        )
        np.testing.assert_allclose(got[0], wanted[0], rtol=1e-12)
        np.testing.assert_allclose(got[1], wanted[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "make, options, says",
    [
        (losses.SoftmaxCrossEntropy, {"label_smoothing": 1.5}, "label_smoothing is 1.5"),
        (losses.SoftmaxCrossEntropy, {"temperature": 0.0}, "temperature is 0"),
        (losses.SoftmaxCrossEntropy, {"n_classes": 1}, "SigmoidCrossEntropy"),
        (losses.SoftmaxCrossEntropy, {"class_weight": [1.0, -1.0]}, r"class_weight\[1\] is -1"),
        (losses.SoftmaxCrossEntropy, {"class_weight": [1.0, 1.0], "n_classes": 3}, "class_weight has shape"),
        (losses.SoftmaxFocalLoss, {"gamma": -1}, "gamma is -1"),
        (losses.GeneralizedCrossEntropy, {"q": 0.0}, "q is 0"),
        (losses.SigmoidFocalLoss, {"alpha": 1.5}, "alpha is 1.5"),
        (losses.SigmoidCrossEntropy, {"pos_weight": [1.0, np.nan]}, r"pos_weight\[1\] is nan"),
    ],
)
def test_options_are_checked_when_the_object_is_made(make: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        make(**options)


# ---- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y, says",
    [
        ([0.0, 1.5], r"y_true\[1\] is 1.5"),
        ([0.0, np.nan], r"y_true\[1\] is nan"),
        ([0.0, 5.0], r"y_true\[1\] is 5"),
        ([0.0, -1.0], r"y_true\[1\] is -1"),
        ([0.0, 1.0, 2.0], "y_true has shape"),
    ],
)
def test_labels_that_are_none(y: Any, says: str) -> None:
    x = np.zeros((2, 3))
    loss_out, gradient_out = np.full(2, 7.0), np.full((2, 3), 7.0)
    with pytest.raises(ValueError, match=says):
        losses.SoftmaxCrossEntropy().loss_gradient(y, x, loss_out=loss_out, gradient_out=gradient_out)
    assert (loss_out == 7).all() and (gradient_out == 7).all()


def test_buffers_that_do_not_fit() -> None:
    loss, y = losses.SoftmaxCrossEntropy(), np.array([0.0, 1.0])
    x = np.zeros((2, 3))
    read_only = np.zeros(2)
    read_only.flags.writeable = False
    shared = np.zeros(8)
    for says, call in [
        ("loss_out has shape", lambda: loss.loss(y, x, loss_out=np.zeros(3))),
        ("loss_out has dtype int64", lambda: loss.loss(y, x, loss_out=np.zeros(2, int))),
        ("loss_out is read-only", lambda: loss.loss(y, x, loss_out=read_only)),
        ("loss_out overlaps y_true", lambda: loss.loss(y, x, loss_out=y)),
        ("gradient_out has shape", lambda: loss.gradient(y, x, gradient_out=np.zeros((3, 2)))),
        ("gradient_out has dtype float16", lambda: loss.gradient(y, x, gradient_out=np.zeros((2, 3), np.float16))),
        (
            "loss_out overlaps gradient_out",
            lambda: loss.loss_gradient(y, x, loss_out=shared[:2], gradient_out=shared[:6].reshape(2, 3)),
        ),
        ("hessian_out", lambda: loss.gradient_hessian(y, x, gradient_out=x, hessian_out=x)),
        ("proba_out overlaps raw_prediction", lambda: loss.gradient_proba(y, x, proba_out=x)),
        ("raw_prediction has shape", lambda: loss.loss(y, np.zeros(3))),
        ("n_classes is 4", lambda: losses.SoftmaxCrossEntropy(n_classes=4).loss(y, x)),
        ("sample_weight has shape", lambda: loss.loss(y, x, [1.0, -1.0, 1.0])),
        (r"sample_weight\[1\] is nan", lambda: loss.loss(y, x, [-1.0, np.nan])),
        ("y_true has no row that counts", lambda: loss.fit_intercept_only(y, [0.0, 0.0])),
    ]:
        with pytest.raises((ValueError, TypeError), match=says):
            call()
    assert not x.any() and y.tolist() == [0.0, 1.0] and not shared.any()


# ---- scikit-learn ----------------------------------------------------------------------------------------------


def test_numbers_of_scikit_learn() -> None:
    """Its whole test module runs in `make test-peers`; here its numbers, where it has all digits."""
    peer = pytest.importorskip("sklearn._loss.loss")
    y, x, weights = draw(losses.SoftmaxCrossEntropy())
    theirs, ours = peer.HalfMultinomialLoss(n_classes=C), losses.SoftmaxCrossEntropy(n_classes=C)
    for a, b in zip(theirs.loss_gradient(y, x, weights), ours.loss_gradient(y, x, weights), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9)
    for a, b in zip(theirs.gradient_hessian(y, x, weights), ours.gradient_hessian(y, x, weights), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9)
    np.testing.assert_allclose(ours.fit_intercept_only(y, weights), theirs.fit_intercept_only(y, weights), rtol=1e-12)
    y, x, weights = draw(losses.SigmoidCrossEntropy())
    theirs, ours = peer.HalfBinomialLoss(), losses.SigmoidCrossEntropy()
    for a, b in zip(theirs.loss_gradient(y, x, weights), ours.loss_gradient(y, x, weights), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9)
    np.testing.assert_allclose(ours.fit_intercept_only(y, weights), theirs.fit_intercept_only(y, weights), rtol=1e-12)
    assert ours(y, x, weights) == pytest.approx(theirs(y, x, weights), rel=1e-14)
