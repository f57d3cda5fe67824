"""NaN, infinities and extreme numbers, on every instruction set, and without a floating-point warning."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastxent as fx
import oracle
from fastxent import losses
from losses import Loss, both_dtypes, class_losses, every_form, make_inputs, make_logits, make_targets, same_bits

LENGTHS = (2, 3, 7, 10, 16, 31, 32, 33, 40, 64, 100, 200)
INF, NAN = np.inf, np.nan
SPECIAL = (fx.logsumexp, fx.softmax, fx.log_softmax)

# Quiet, negative, with a payload, signalling.
NANS = {
    np.float32: np.array([0x7FC00000, 0xFFC00000, 0x7FC12345, 0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32),
    np.float64: np.array(
        [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000012345, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF], np.uint64
    ).view(np.float64),
}


@pytest.fixture(autouse=True)
def no_floating_point_warning() -> Iterator[None]:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def approximately(actual: Any, wanted: Any) -> None:
    actual = np.asarray(actual)
    wanted = np.asarray(wanted, np.float64)
    eps = float(np.finfo(actual.dtype).eps)
    np.testing.assert_allclose(actual.astype(np.float64), wanted, rtol=4 * eps, atol=0, equal_nan=True)


# ---- NaN -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", LENGTHS)
@both_dtypes
@every_form
def test_nan_at_every_position_stays_in_its_row(loss: Loss, form: str, dtype: Any, classes: int, isa: str) -> None:
    rng = np.random.default_rng(classes)
    n = 2 * classes
    clean = make_inputs(loss, rng, n, classes, dtype)
    targets = make_targets(rng, form, loss, n, classes, dtype)
    for nan in NANS[dtype]:
        logits = clean.copy()
        # Rows 0, 2, ... have a NaN each, at position 0, 1, ...
        logits[np.arange(0, n, 2), np.arange(classes)] = nan
        for options in ({}, *loss.options):
            before = loss.function(clean, targets, grad=True, hess=True, reduction="none", **options)
            after = loss.function(logits, targets, grad=True, hess=True, reduction="none", **options)
            for name, was, now in zip(("loss", "grad", "hess"), before, after, strict=True):
                assert same_bits(was[1::2], now[1::2]), f"{name}: a NaN changed another row"
                if loss.outcomes == "elements":
                    assert same_bits(np.isnan(now), np.isnan(logits)), name
                else:
                    assert np.isnan(now[::2]).all(), f"{name}: a NaN was lost"
            assert np.isnan(loss.function(logits, targets, **options))


@pytest.mark.parametrize("classes", LENGTHS)
@both_dtypes
def test_nan_at_every_position_of_the_special_functions(dtype: Any, classes: int, isa: str) -> None:
    clean = make_logits(np.random.default_rng(classes), 2 * classes, classes, dtype)
    for nan in NANS[dtype]:
        x = clean.copy()
        x[np.arange(0, len(x), 2), np.arange(classes)] = nan
        for function in SPECIAL:
            result = function(x, axis=1)
            assert np.isnan(result[::2]).all()
            assert same_bits(result[1::2], function(clean, axis=1)[1::2])
        for function in (fx.expit, fx.log_expit):
            result = function(x)
            assert same_bits(np.isnan(result), np.isnan(x))
            assert same_bits(result[1::2], function(clean)[1::2])


@pytest.mark.parametrize("classes", [2, 10, 33, 100])
@pytest.mark.parametrize("companion", [INF, -INF])
@both_dtypes
def test_nan_beside_infinities(dtype: Any, companion: float, classes: int, isa: str) -> None:
    x = np.full((classes, classes), companion, dtype)
    np.fill_diagonal(x, NAN)
    for function in SPECIAL:
        assert np.isnan(function(x, axis=1)).all()
    for label in (0, classes - 1):
        loss, grad = fx.softmax_cross_entropy(x, np.full(classes, label), grad=True, reduction="none")
        assert np.isnan(loss).all()
        assert np.isnan(grad).all()


@both_dtypes
@every_form
def test_rows_that_do_not_count_may_hold_anything(loss: Loss, form: str, dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 10, 50):
        logits = make_inputs(loss, rng, 8, classes, dtype)
        targets = make_targets(rng, form, loss, 8, classes, dtype)
        weights = np.array([1.0, 0.0, 2.0, 0.0, 0.5, 0.0, 0.0, 3.0])
        clean = loss.function(logits, targets, sample_weight=weights, grad=True, hess=True)
        logits[1], logits[3], logits[5], logits[6] = NAN, -INF, INF, np.finfo(dtype).max
        dirty = loss.function(logits, targets, sample_weight=weights, grad=True, hess=True)
        for a, b in zip(clean, dirty, strict=True):
            assert same_bits(a, b)
        assert (dirty[1][1::4] == 0).all()


@class_losses
@both_dtypes
def test_ignored_rows_may_hold_anything(loss: Loss, dtype: Any, isa: str) -> None:
    for classes in (2, 10, 50):
        logits = make_inputs(loss, np.random.default_rng(0), 4, classes, dtype)
        logits[1], logits[3] = NAN, INF
        value, grad, hess = loss.function(logits, [0, -1, 1, -1], ignore_index=-1, grad=True, hess=True)
        exact = loss.oracle(logits[::2], np.array([0, 1]))
        approximately(dtype(value), exact.loss)
        assert not grad[1::2].any()
        assert not hess[1::2].any()


@pytest.mark.parametrize("classes", [5, 40, 64, 65, 200])
@pytest.mark.parametrize("big", [1e5, 300.0, -500.0])
@both_dtypes
def test_a_nan_after_the_largest_score(dtype: Any, big: float, classes: int, isa: str) -> None:
    """Wherever it stands, it makes its row NaN if the row counts, and nothing if it does not."""
    options: list[dict[str, Any]] = [{}, {"temperature": 2.0}, {"softcap": 30.0}, {"label_smoothing": 0.1}]
    options += [{"temperature": 2.0, "label_smoothing": 0.1}, {"z_loss": 0.1}, {"logit_bias": np.ones(classes)}]
    for at in range(0, classes, max(1, classes // 13)):
        logits = np.zeros((3, classes), dtype)
        logits[:, 0] = big
        logits[1, at] = NAN
        assert np.isnan(fx.logsumexp(logits, axis=1)[1])
        for function in (fx.softmax, fx.log_softmax):
            assert np.isnan(function(logits, axis=1)).any(axis=0).all()
        for some in options:
            asked = {"grad": True, "hess": True, "reduction": "none", **some}
            for of in fx.softmax_cross_entropy(logits, [1, 1, 1], **asked):
                assert np.isnan(of[1]).all() and np.isfinite(of[[0, 2]]).all()
            for of in fx.softmax_cross_entropy(logits, [1, -1, 1], ignore_index=-1, **asked):
                assert (of[1] == 0).all()


# ---- infinities ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", LENGTHS)
@both_dtypes
def test_minus_infinity_is_a_masked_class(dtype: Any, classes: int, isa: str) -> None:
    """At every position: as if the class were not there."""
    rng = np.random.default_rng(classes)
    row = make_logits(rng, 1, classes, dtype)[0]
    masked = np.tile(row, (classes, 1))
    np.fill_diagonal(masked, -INF)
    labels = (np.arange(classes) + 1) % classes
    loss, grad, hess = fx.softmax_cross_entropy(masked, labels, grad=True, hess=True, reduction="none")
    assert (np.diagonal(grad) == 0).all()
    assert (np.diagonal(hess) == 0).all()
    assert (np.diagonal(fx.softmax(masked, axis=1)) == 0).all()
    assert (np.diagonal(fx.log_softmax(masked, axis=1)) == -INF).all()
    exact = oracle.softmax_cross_entropy(masked, labels, reduction="none")
    assert oracle.ulp_error(loss, exact.loss).max() <= 2
    assert oracle.ulp_error(grad, exact.grad).max() <= 4
    if classes > 2:
        for i in range(classes):
            others = np.delete(row, i)
            rest = fx.softmax_cross_entropy(others[None], [int(labels[i] - (labels[i] > i))])
            approximately(loss[i], dtype(rest))


@pytest.mark.parametrize("form", ["labels", "dense", "csr"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@both_dtypes
def test_label_at_a_masked_class(dtype: Any, smoothing: float, form: str, isa: str) -> None:
    for classes in (2, 10, 33, 100):
        logits = make_logits(np.random.default_rng(1), 3, classes, dtype)
        logits[1, 1] = -INF
        labels = np.array([0, 1, 0])
        targets = forms(labels, classes)[form]
        loss, grad, hess = fx.softmax_cross_entropy(
            logits, targets, grad=True, hess=True, reduction="none", label_smoothing=smoothing
        )
        assert loss[1] == INF
        assert np.isfinite(loss[[0, 2]]).all()
        assert np.isfinite(grad).all()
        assert np.isfinite(hess).all()
        exact = oracle.softmax_cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        assert oracle.ulp_error(grad, exact.grad, exact.scale).max() <= 4
        assert grad[1, 1] == dtype(-(1 - smoothing))
        assert fx.softmax_cross_entropy(logits, targets, label_smoothing=smoothing) == INF


def forms(labels: np.ndarray, classes: int, dtype: Any = np.float64) -> dict[str, Any]:
    """One and the same labels in every form."""
    one_hot = oracle.one_hot(labels, classes, dtype)
    return {"labels": labels, "dense": one_hot, "csr": scipy.sparse.csr_array(one_hot)}


@both_dtypes
def test_zero_times_minus_infinity_is_zero(dtype: Any, isa: str) -> None:
    """In a dense target, and as an explicit zero in CSR; with one and with several other classes."""
    for classes in (3, 10, 33, 100):
        logits = make_logits(np.random.default_rng(2), 2, classes, dtype)
        logits[:, 1] = -INF
        dense = np.zeros((2, classes))
        dense[:, 0] = 0.75
        dense[1, 2] = 0.25
        indices = [1, 0, 2, 1, 0]
        csr = scipy.sparse.csr_array(([0.0, 0.75, 0.25, 0.0, 0.75], indices, [0, 2, 5]), shape=(2, classes))
        exact = oracle.softmax_cross_entropy(logits, dense, reduction="none")
        assert np.isfinite(exact.loss.astype(float)).all()
        for targets in (dense, dense.astype(np.float32), csr):
            for smoothing in (0.0, 0.3):
                loss, grad = fx.softmax_cross_entropy(
                    logits, targets, grad=True, reduction="none", label_smoothing=smoothing
                )
                exact = oracle.softmax_cross_entropy(logits, dense, reduction="none", label_smoothing=smoothing)
                approximately(loss, exact.loss)
                assert oracle.ulp_error(grad, exact.grad, exact.scale).max() <= 4
                assert (grad[:, 1] == 0).all()


@both_dtypes
def test_rows_of_minus_infinity_only(dtype: Any, isa: str) -> None:
    for classes in LENGTHS:
        logits = make_logits(np.random.default_rng(3), 3, classes, dtype)
        logits[1] = -INF
        loss, grad = fx.softmax_cross_entropy(logits, [0, 0, 1], grad=True, reduction="none")
        assert np.isnan(loss).tolist() == [False, True, False]
        assert np.isfinite(grad[[0, 2]]).all()
        assert np.isnan(grad[1]).all()
        assert fx.logsumexp(logits, axis=1)[1] == -INF
        assert np.isfinite(fx.logsumexp(logits, axis=1)[[0, 2]]).all()
        assert np.isnan(fx.softmax(logits, axis=1)[1]).all()


@both_dtypes
def test_plus_infinity_takes_all_mass(dtype: Any, isa: str) -> None:
    for classes in (3, 10, 33, 100):
        logits = make_logits(np.random.default_rng(4), 5, classes, dtype)
        logits[0, 1] = logits[1, 1] = logits[2, 1] = logits[2, 2] = logits[3, 1] = logits[3, 2] = INF
        logits[3, 0] = -INF
        labels = np.array([1, 0, 1, 0, 0])
        p = np.zeros((4, classes))
        p[[0, 1], 1] = 1
        p[2:, 1:3] = 0.5
        for targets in forms(labels, classes, dtype).values():
            loss, grad, hess = fx.softmax_cross_entropy(logits, targets, grad=True, hess=True, reduction="none")
            approximately(loss[:4], [0, INF, np.log(2), INF])
            approximately(grad[:4], p - oracle.one_hot(labels[:4], classes))
            approximately(hess[:4], p * (1 - p))
        assert (fx.logsumexp(logits, axis=1)[:4] == INF).all()
        approximately(fx.softmax(logits, axis=1)[:4], p)
        assert fx.softmax_cross_entropy(logits, labels) == INF


@both_dtypes
def test_sigmoid_at_infinity(dtype: Any, isa: str) -> None:
    x = np.array([-INF, -INF, -INF, INF, INF, INF], dtype)
    y = np.array([0, 1, 0.5, 0, 1, 0.5], dtype)
    # Enough copies for whole vectors and for a remainder.
    for copies in (1, 7, 40):
        loss, grad, hess = fx.sigmoid_cross_entropy(
            np.tile(x, copies), np.tile(y, copies), grad=True, hess=True, reduction="none"
        )
        assert same_bits(loss, np.tile(np.array([0, INF, INF, INF, 0, INF], dtype), copies))
        np.testing.assert_array_equal(grad, np.tile(np.array([0, -1, -0.5, 1, 0, 0.5], dtype), copies))
        np.testing.assert_array_equal(hess, np.zeros(6 * copies, dtype))
    np.testing.assert_array_equal(fx.expit(x), np.array([0, 0, 0, 1, 1, 1], dtype))
    np.testing.assert_array_equal(fx.log_expit(x), np.array([-INF, -INF, -INF, 0, 0, 0], dtype))
    assert fx.sigmoid_cross_entropy(x, [0, 0, 0, 1, 1, 1]) == 0.0


# ---- extreme numbers -----------------------------------------------------------------------------------------


@both_dtypes
def test_denormal_scores_are_all_equal(dtype: Any, isa: str) -> None:
    tiny = float(np.finfo(dtype).smallest_subnormal)
    for classes in (2, 10, 33, 100):
        logits = (np.arange(classes)[None] * tiny * np.array([[1], [-3]])).astype(dtype)
        loss, grad = fx.softmax_cross_entropy(logits, [0, classes - 1], grad=True, reduction="none")
        approximately(loss, np.full(2, np.log(classes)))
        approximately(grad[0, 1:], np.full(classes - 1, 1 / classes))
        approximately(fx.logsumexp(logits, axis=1), np.full(2, np.log(classes)))
    x = np.array([tiny, -tiny, 5 * tiny], dtype)
    approximately(fx.expit(x), [0.5] * 3)
    approximately(fx.sigmoid_cross_entropy(x, [0, 1, 1], reduction="none"), [np.log(2)] * 3)


@both_dtypes
def test_huge_scores(dtype: Any, isa: str) -> None:
    large = float(np.finfo(dtype).max)
    for classes in (2, 10, 33, 100):
        logits = np.full((4, classes), large, dtype)
        logits[1] = -large
        logits[2, 1:] = -large
        logits[3, 1:] = 0
        labels = [0, 1, 0, 1]
        loss, grad = fx.softmax_cross_entropy(logits, labels, grad=True, reduction="none")
        approximately(loss, [np.log(classes), np.log(classes), 0, large])
        assert np.isfinite(grad).all()
        approximately(grad[0, 1:], np.full(classes - 1, 1 / classes))
        approximately(grad[3], oracle.one_hot(0, classes) - oracle.one_hot(1, classes))
        approximately(fx.logsumexp(logits, axis=1), [large, -large, large, large])
        # Twice the largest number: infinite as a float of a row; as a double only if the scores are doubles.
        assert fx.softmax_cross_entropy(logits[2:3], [1], reduction="none")[0] == INF
        mean = fx.softmax_cross_entropy(logits[2:3], [1])
        assert mean == (INF if dtype is np.float64 else 2 * large)
    x = np.array([large, -large, large, -large], dtype)
    approximately(fx.sigmoid_cross_entropy(x, [1, 0, 0, 1], reduction="none"), [0, 0, large, large])


@pytest.mark.parametrize("weight", [5e-324, 1e-310, 1e-300, 1e-30, 1e30, 1e300, 1e308])
@both_dtypes
@every_form
def test_the_mean_does_not_depend_on_the_size_of_the_weights(
    loss: Loss, form: str, dtype: Any, weight: float, isa: str
) -> None:
    rng = np.random.default_rng(6)
    for classes in (3, 40):
        logits = make_inputs(loss, rng, 4, classes, dtype)
        targets = make_targets(rng, form, loss, 4, classes, dtype)
        plain = loss.function(logits, targets, grad=True, hess=True)
        weighted = loss.function(logits, targets, sample_weight=np.full(4, weight), grad=True, hess=True)
        for name, a, b in zip(("loss", "grad", "hess"), plain, weighted, strict=True):
            eps = float(np.finfo(dtype).eps)
            np.testing.assert_allclose(b, a, rtol=8 * eps, atol=8 * eps / classes, err_msg=name)


@both_dtypes
def test_weights_of_very_different_size(dtype: Any, isa: str) -> None:
    logits = make_logits(np.random.default_rng(7), 3, 5, dtype)
    labels = np.array([0, 1, 2])
    weights = np.array([1e-30, 1.0, 1e30])
    loss, grad = fx.softmax_cross_entropy(logits, labels, sample_weight=weights, grad=True, reduction="none")
    exact = oracle.softmax_cross_entropy(logits, labels, sample_weight=weights, reduction="none")
    assert oracle.ulp_error(loss, exact.loss).max() <= 2
    assert oracle.ulp_error(grad, exact.grad).max() <= 4


@both_dtypes
@pytest.mark.parametrize("classes", [2, 10, 100, 40_000])
def test_probabilities_are_at_most_one(isa: str, dtype: type, classes: int) -> None:
    """Also where all others together are less than rounding."""
    rng = np.random.default_rng(0)
    rows = max(4, 200_000 // classes)
    for low, high in ((0, 0), (-60, 20), (250, 300), (10_000, 10_001)):
        x = np.zeros((rows, classes), dtype)
        x[:, classes // 2] = rng.uniform(5, 60, rows)
        x += rng.uniform(low, high, (rows, 1)).astype(dtype)
        for given in (x, np.asfortranarray(x)):
            assert fx.softmax(given, axis=1).max() <= 1


# ---- scores at both ends of the range --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["labels", "dense", "csr"])
@pytest.mark.parametrize("classes", [3, 7, 20, 40, 70, 300])
@both_dtypes
def test_differences_of_scores_beyond_the_range(dtype: Any, classes: int, form: str, isa: str) -> None:
    """A share of such a difference is a finite loss."""
    largest = dtype(np.finfo(dtype).max)
    logits = np.zeros((2, classes), dtype)
    logits[0, :3] = largest, -largest, -largest / 2
    logits[1, :] = np.arange(classes)
    shares = np.full(logits.shape, 0.5 / classes)
    shares[:, 0] += 0.5
    targets: Any = {"labels": [0, 1], "dense": shares, "csr": scipy.sparse.csr_array(shares)}[form]
    for smoothing in (0.125, 0.0):
        value, grad = fx.softmax_cross_entropy(logits, targets, grad=True, reduction="none", label_smoothing=smoothing)
        exact = oracle.softmax_cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
        assert np.isfinite(value).all()
        assert oracle.ulp_error(value, exact.loss).max() <= 2
        assert oracle.ulp_error(grad, exact.grad, exact.scale).max() <= 4


@pytest.mark.parametrize("form", ["labels", "dense", "csr"])
@pytest.mark.parametrize("classes", [3, 20, 70])
@both_dtypes
def test_weighted_difference_beyond_the_range(dtype: Any, classes: int, form: str, isa: str) -> None:
    largest = dtype(np.finfo(dtype).max) * dtype(0.9)
    logits = np.zeros((1, classes), dtype)
    logits[0, :2] = largest, -largest
    hot = np.zeros(logits.shape)
    hot[0, 1] = 1
    targets: Any = {"labels": [1], "dense": hot, "csr": scipy.sparse.csr_array(hot)}[form]
    options = {"label_smoothing": 0.5, "sample_weight": [0.125], "reduction": "none"}
    value, grad = fx.softmax_cross_entropy(logits, targets, grad=True, **options)
    exact = oracle.softmax_cross_entropy(logits, targets, **options)
    assert oracle.ulp_error(value, exact.loss).max() <= 2
    assert oracle.ulp_error(grad, exact.grad, exact.scale).max() <= 4


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e200, 1e300])
def test_the_mean_does_not_depend_on_the_size_of_both_weights(size: float) -> None:
    scores, probabilities = np.array([[1.0, 2], [3, 5]]), np.array([[0.25, 0.75], [0.5, 0.5]])
    options: dict[str, Any] = {"sample_weight": [size, 3 * size], "class_weight": [size, 2 * size]}
    wanted: dict[str, Any] = {"sample_weight": [1, 3], "class_weight": [1, 2]}
    for function, given in ((fx.softmax_cross_entropy, scores), (fx.categorical_cross_entropy, probabilities)):
        assert function(given, [0, 1], **options) == pytest.approx(function(given, [0, 1], **wanted), rel=1e-15)
        absent = function(given, [0, 0], class_weight=[size, 1 / size])
        assert absent == pytest.approx(function(given, [0, 0]), rel=1e-15)


def test_no_warning_where_numbers_leave_a_type() -> None:
    assert fx.softmax(np.float32(INF)) == 1 and fx.log_softmax(np.float32(INF)) == 0 and fx.softmax(3.0) == 1
    tiny = fx.softmax_cross_entropy(np.zeros((1, 2), np.float32), [0], logit_bias=[1e-300, 0])
    assert tiny == pytest.approx(np.log(2))
    for options in ({"softcap": 30.0}, {"temperature": 0.5}, {"logit_bias": [0, -INF, 0]}):
        loss = losses.SoftmaxCrossEntropy(**options)
        probabilities = loss.predict_proba(np.float32([[1e-38, 1.0, 3.0], [3e38, 2.9e38, 0], [1, INF, 0]]))
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    assert loss.predict_proba(np.float32([[1, INF, 0]]))[0, 1] == 0
    for weighed in (losses.SoftmaxCrossEntropy(), losses.SigmoidCrossEntropy()):
        assert np.isfinite(weighed.fit_intercept_only([0, 1, 1], [1e308] * 3)).all()
    assert losses.SigmoidCrossEntropy(pos_weight=0.0).fit_intercept_only([0, 1, 1]) == -INF


@pytest.mark.parametrize("form", ["labels", "dense", "csr"])
@pytest.mark.parametrize("classes", [3, 10, 40, 41, 80, 81, 600])
@both_dtypes
def test_the_lowest_number_is_a_mask_after_a_temperature(dtype: Any, classes: int, form: str, isa: str) -> None:
    """Divided by a temperature, or with a bias, it is below all numbers."""
    rng = np.random.default_rng(classes)
    lowest = make_logits(rng, 8, classes, dtype)
    masked = rng.random(lowest.shape) < 0.5
    masked[:, :2] = False
    lowest[masked] = np.finfo(dtype).min
    infinite = np.where(masked, dtype(-INF), lowest)
    hot = oracle.one_hot(np.ones(8, int), classes).astype(dtype)
    hot[4:, :2] = 0.5
    targets: Any = {"labels": [1] * 8, "dense": hot, "csr": scipy.sparse.csr_array(hot)}[form]
    bias = np.full(classes, -np.finfo(dtype).max, dtype)
    bias[:2] = 1
    for options in (
        {"temperature": 0.7},
        {"temperature": 0.7, "z_loss": 1e-4},
        {"temperature": 0.7, "label_smoothing": 0.1},
        {"temperature": 0.7, "logit_bias": np.ones(classes)},
        {"logit_bias": bias},
    ):
        at = [
            fx.softmax_cross_entropy(x, targets, grad=True, hess=True, reduction="none", **options)
            for x in (lowest, infinite)
        ]
        for one, other in zip(*at, strict=True):
            assert same_bits(one, other)
    for loss in (fx.softmax_focal_loss, fx.poly_cross_entropy, fx.generalized_cross_entropy):
        at = [loss(x, targets, grad=True, hess=True, reduction="none", temperature=0.7) for x in (lowest, infinite)]
        for one, other in zip(*at, strict=True):
            assert same_bits(one, other)


@pytest.mark.parametrize("classes", [3, 10, 40, 41, 80, 81, 600])
@pytest.mark.parametrize("sign", [1, -1])
@both_dtypes
def test_scores_that_just_do_not_count(dtype: Any, sign: int, classes: int, isa: str) -> None:
    """So far below the largest that their exponentials leave the type, and where scores are many units apart."""
    rng = np.random.default_rng(classes)
    reach = 110 if dtype is np.float32 else 752
    left_out = 2 * classes * float(np.finfo(dtype).smallest_normal)
    for top in (1.5, 44.0, 300.0, 1e4, 1e8, 1e9) if dtype is np.float32 else (1.5, 3000.0, 1e10, 1e17, 1.2e18, 5e18):
        below = rng.integers(0, 3, (20, classes)) * reach * rng.uniform(0.7, 1.2, (20, classes))
        logits = (sign * top - below).astype(dtype)
        labels = rng.integers(0, classes, 20)
        logits[np.arange(20), rng.integers(0, classes, 20)] = sign * top
        mask = np.arange(classes) % 2 == 1
        mask[labels] = False
        bias = rng.integers(-2, 1, classes).astype(dtype)
        # Of scores this large, quotients by a temperature have fewer digits.
        temperature = {"temperature": 1.5} if top <= 1e4 else {}
        for options in ({}, {"class_mask": mask}, {"logit_bias": bias}, temperature):
            wanted = oracle.softmax_cross_entropy(logits, labels, reduction="none", **options)
            loss, grad = fx.softmax_cross_entropy(logits, labels, grad=True, reduction="none", **options)
            for actual, exact in ((loss, wanted.loss), (grad, wanted.grad)):
                error = np.abs(oracle.exact(actual) - exact)
                assert (error <= 4 * oracle.spacing(exact, dtype) + left_out).all()


@both_dtypes
def test_a_masked_label_that_is_smoothed_away(dtype: Any, isa: str) -> None:
    logits = np.array([[-INF, 0, 0]], dtype)
    for targets in ([0], np.array([[1.0, 0, 0]]), np.array([[0.5, 0.25, 0.25]])):
        value = fx.softmax_cross_entropy(logits, targets, label_smoothing=1.0)
        assert value == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("classes", [3, 20, 70, 81, 1000])
def test_tiny_weights_of_floats(classes: int, isa: str) -> None:
    logits = np.zeros((1, classes), np.float32)
    logits[0, 0] = 38.75
    for weight in (1e-30, 1e-36, 2e-38):
        options = {"sample_weight": [weight], "reduction": "sum"}
        value, grad = fx.softmax_cross_entropy(logits, [1], grad=True, **options)
        exact = oracle.softmax_cross_entropy(logits, [1], **options)
        assert oracle.ulp_error(np.float32(value), exact.loss).max() <= 2
        assert oracle.ulp_error(grad[:, :2], exact.grad[:, :2]).max() <= 4
        assert not grad[:, 2:].any()
        near = np.where(np.arange(classes) == 0, 40, 37).astype(np.float32)[np.newaxis]
        hess = fx.softmax_cross_entropy(near, [1], hess=True, **options)[1]
        wanted = oracle.softmax_cross_entropy(near, [1], **options).hess
        counts = np.abs(wanted) > 2.4e-38
        assert oracle.ulp_error(hess[counts], wanted[counts]).max(initial=0) <= 6


@pytest.mark.parametrize("classes", [3, 20, 70, 1000])
@pytest.mark.parametrize("others", [0.0, 125.0, 180.0])
def test_confident_focal_rows_of_doubles(others: float, classes: int, isa: str) -> None:
    """Gradients as small as 1e-250, the cube of the share that the others have, beside exponentials of 1e160."""
    logits = others + np.random.default_rng(0).standard_normal((3, classes))
    logits[:, 1] = others + 190.0
    _, grad = fx.softmax_focal_loss(logits, [1, 1, 1], grad=True)
    exact = oracle.softmax_focal_loss(logits, [1, 1, 1], reduction="mean").grad
    assert oracle.ulp_error(grad, exact).max() <= 4


@pytest.mark.parametrize("classes", [3, 7, 20, 40, 70, 300])
@both_dtypes
def test_nan_reaches_masked_classes_of_its_row(dtype: Any, classes: int, isa: str) -> None:
    for at in (0, classes - 1):
        logits = np.ones((1, classes), dtype)
        logits[0, 1], logits[0, at] = -INF, NAN
        for smoothing in (0.0, 0.1):
            value, grad = fx.softmax_cross_entropy(logits, [at], grad=True, label_smoothing=smoothing)
            assert np.isnan(value) and np.isnan(grad).all()
