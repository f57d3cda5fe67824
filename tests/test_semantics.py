"""What the options mean, what comes back, and identities that hold whatever the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastxent as fx
import oracle
from losses import (
    Loss,
    both_dtypes,
    class_losses,
    every_form,
    every_loss,
    make_inputs,
    make_logits,
    make_targets,
    same_bits,
)

EPS = {np.float32: float(np.finfo(np.float32).eps), np.float64: float(np.finfo(np.float64).eps)}


def close(actual: Any, wanted: Any, dtype: Any, ulps: float = 8, scale: float = 1.0) -> None:
    """Equal but for some roundings of a dtype, of numbers of size `scale`."""
    np.testing.assert_allclose(
        np.asarray(actual, np.float64),
        np.asarray(wanted, np.float64),
        rtol=ulps * EPS[dtype],
        atol=ulps * EPS[dtype] * scale,
    )


# ---- what comes back -----------------------------------------------------------------------------------------


@every_form
@both_dtypes
def test_return_types(loss: Loss, form: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    logits = make_inputs(loss, rng, 6, 4, dtype)
    targets = make_targets(rng, form, loss, 6, 4, dtype)
    shape = (6,) if loss.outcomes == "classes" else (6, 4)
    for reduction in ("mean", "sum"):
        assert type(loss.function(logits, targets, reduction=reduction)) is float
    rows = loss.function(logits, targets, reduction="none")
    assert type(rows) is np.ndarray
    assert (rows.shape, rows.dtype) == (shape, dtype)
    for grad, hess, count in ((True, False, 2), (False, True, 2), (True, True, 3)):
        result = loss.function(logits, targets, grad=grad, hess=hess)
        assert type(result) is tuple
        assert len(result) == count
        assert type(result[0]) is float
        for array in result[1:]:
            assert type(array) is np.ndarray
            assert (array.shape, array.dtype) == (logits.shape, dtype)
    value, grad, hess = loss.function(logits, targets, grad=True, hess=True)
    assert loss.function(logits, targets) == value
    assert same_bits(loss.function(logits, targets, grad=True)[1], grad)
    assert same_bits(loss.function(logits, targets, hess=True)[1], hess)


@every_loss
def test_float16_comes_back_as_float32(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    logits = make_inputs(loss, rng, 6, 4, np.float16)
    targets = make_targets(rng, "labels", loss, 6, 4)
    rows, grad = loss.function(logits, targets, grad=True, reduction="none")
    assert rows.dtype == grad.dtype == np.float32
    buffer = np.empty((6, 4), np.float16)
    assert loss.function(logits, targets, grad=buffer)[1] is buffer


@every_loss
def test_everything_after_the_arrays_is_by_keyword(loss: Loss) -> None:
    with pytest.raises(TypeError):
        loss.function(np.zeros((2, 2)), np.zeros((2, 2), int), True)


def test_special_functions_return_what_scipy_does() -> None:
    x = make_logits(np.random.default_rng(1), 3, 4)
    for dtype in (np.float16, np.float32, np.float64):
        assert fx.logsumexp(x.astype(dtype)).dtype == dtype
        assert np.ndim(fx.logsumexp(x.astype(dtype))) == 0
        assert fx.logsumexp(x.astype(dtype), axis=0).shape == (4,)
        assert fx.logsumexp(x.astype(dtype), axis=1, keepdims=True).shape == (3, 1)
        assert fx.softmax(x.astype(dtype), axis=1).dtype == dtype
    assert fx.logsumexp(np.arange(4)).dtype == np.float64
    assert isinstance(fx.expit(0.5), float)
    assert fx.expit(np.float32(0.5)).dtype == np.float32
    assert isinstance(fx.log_expit(-2), float)


@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_what_the_kernels_do_not_cover_is_scipys(name: str) -> None:
    ours, theirs = getattr(fx, name), getattr(__import__("scipy.special").special, name)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((3, 4, 5))
    cases: list[tuple[Any, dict[str, Any]]] = [
        (x.astype(np.longdouble), {"axis": 1}),
        (x, {"axis": (0, 2)}),
        (x, {"axis": None}),
        (x, {"axis": (1, 2)}),
        (x, {"axis": (0, 1)}),
        (x.transpose(2, 0, 1), {"axis": (0, 1)}),
        (3.5, {}),
    ]
    if name == "logsumexp":
        cases += [
            (x + 1j * x, {"axis": 0}),
            (x, {"axis": 1, "b": rng.random((3, 4, 5))}),
            (x, {"axis": 1, "b": -x, "return_sign": True}),
            (x, {"axis": (0, 2), "keepdims": True}),
        ]
    for array, options in cases:
        got, wanted = ours(array, **options), theirs(array, **options)
        for a, b in zip(*((r if type(r) is tuple else (r,)) for r in (got, wanted)), strict=True):
            assert np.shape(a) == np.shape(b)
            assert np.asarray(a).dtype == np.asarray(b).dtype
            np.testing.assert_allclose(a, b, rtol=1e-12)
    for axis in (0, -1, (1, 2)):
        out = np.full(theirs(x, axis=axis).shape, np.nan)
        assert ours(x, axis=axis, out=out) is out
        np.testing.assert_allclose(out, theirs(x, axis=axis), rtol=1e-12)


# ---- reductions and weights ----------------------------------------------------------------------------------


@every_form
@both_dtypes
def test_reductions(loss: Loss, form: str, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    logits = make_inputs(loss, rng, 50, 6, dtype)
    targets = make_targets(rng, form, loss, 50, 6, dtype)
    rows, rows_grad, rows_hess = loss.function(logits, targets, grad=True, hess=True, reduction="none")
    total, total_grad, total_hess = loss.function(logits, targets, grad=True, hess=True, reduction="sum")
    mean, mean_grad, mean_hess = loss.function(logits, targets, grad=True, hess=True)
    close(total, rows.astype(np.float64).sum(), dtype)
    close(mean, rows.astype(np.float64).mean(), dtype)
    assert same_bits(total_grad, rows_grad)
    assert same_bits(total_hess, rows_hess)
    close(mean_grad * rows.size, rows_grad, dtype)
    close(mean_hess * rows.size, rows_hess, dtype)


@every_form
@both_dtypes
def test_weights(loss: Loss, form: str, dtype: Any) -> None:
    rng = np.random.default_rng(4)
    logits = make_inputs(loss, rng, 30, 5, dtype)
    targets = make_targets(rng, form, loss, 30, 5, dtype)
    rows, rows_grad, rows_hess = loss.function(logits, targets, grad=True, hess=True, reduction="none")
    weights = rng.choice([0.0, 0.5, 1.0, 3.25], 30)
    column = weights[:, None]
    per_row = rows.size // 30
    factor = weights if rows.ndim == 1 else column
    got = loss.function(logits, targets, sample_weight=weights, grad=True, hess=True, reduction="none")
    close(got[0], rows * factor, dtype)
    close(got[1], rows_grad * column, dtype)
    close(got[2], rows_hess * column, dtype)
    assert (got[0][weights == 0] == 0).all()
    assert (got[1][weights == 0] == 0).all()
    mean, grad, hess = loss.function(logits, targets, sample_weight=weights, grad=True, hess=True)
    total = weights.sum() * per_row
    close(mean, (rows.astype(np.float64) * factor).sum() / total, dtype)
    close(grad * total, rows_grad * column, dtype)
    close(hess * total, rows_hess * column, dtype)
    # A whole weight counts a row several times.
    whole = rng.integers(0, 4, 30)
    repeated = np.repeat(np.arange(30), whole)
    a = loss.function(logits, targets, sample_weight=whole)
    close(a, loss.function(logits[repeated], targets[repeated]), dtype)
    # Of every real dtype, and a list.
    for other in (whole.tolist(), whole.astype(np.float32), whole.astype(np.uint8), whole > -1):
        expected = loss.function(logits, targets) if np.asarray(other).dtype == bool else a
        assert loss.function(logits, targets, sample_weight=other) == pytest.approx(expected, rel=1e-14)


@every_form
@both_dtypes
def test_no_row_counts(loss: Loss, form: str, dtype: Any) -> None:
    rng = np.random.default_rng(5)
    logits = make_inputs(loss, rng, 7, 40, dtype)
    targets = make_targets(rng, form, loss, 7, 40, dtype)
    for reduction in ("mean", "sum"):
        value, grad, hess = loss.function(
            logits, targets, sample_weight=np.zeros(7), grad=True, hess=True, reduction=reduction
        )
        assert value == 0.0
        assert same_bits(np.abs(grad), np.zeros_like(logits))
        assert same_bits(np.abs(hess), np.zeros_like(logits))


@class_losses
@both_dtypes
def test_ignore_index(loss: Loss, dtype: Any) -> None:
    rng = np.random.default_rng(6)
    for classes in (4, 40):
        logits = make_inputs(loss, rng, 20, classes, dtype)
        labels = rng.integers(0, classes, 20)
        weights = rng.random(20)
        away = rng.random(20) < 0.4
        for ignored in (-100, -1, classes, 0, 2**62):
            marked = labels.copy()
            if ignored == 0:
                away = marked == 0
            marked[away] = ignored
            for reduction in ("mean", "sum", "none"):
                options = {"reduction": reduction, "sample_weight": weights, "grad": True, "hess": True}
                got = loss.function(logits, marked, ignore_index=ignored, **options)
                kept = loss.function(logits[~away], marked[~away], **(options | {"sample_weight": weights[~away]}))
                value = got[0][~away] if reduction == "none" else got[0]
                close(value, kept[0], dtype)
                for a, b in zip(got[1:], kept[1:], strict=True):
                    close(a[~away], b, dtype)
                    assert not a[away].any()
                if reduction == "none":
                    assert not got[0][away].any()
        value, grad = loss.function(logits, np.full(20, -1), ignore_index=-1, grad=True)
        assert value == 0.0
        assert not grad.any()
        # uint8 labels, 255 the ignored one; NumPy integers as ignore_index.
        small = np.where(away, 255, labels).astype(np.uint8)
        a = loss.function(logits, small, ignore_index=np.int16(255))
        assert a == loss.function(logits, np.where(away, -7, labels), ignore_index=-7)


# ---- smoothing and other options -----------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.5, 1.0])
@both_dtypes
@class_losses
def test_smoothing_mixes_with_uniform_over_what_is_not_masked(loss: Loss, dtype: Any, smoothing: float) -> None:
    rng = np.random.default_rng(7)
    for classes in (3, 10, 33, 100):
        logits = make_inputs(loss, rng, 12, classes, dtype)
        if loss.takes == "logits":
            logits[5, 2] = -np.inf
        labels = rng.integers(0, 2, 12)
        open_classes = np.isfinite(logits)
        mixed = (1 - smoothing) * oracle.one_hot(labels, classes) + smoothing * open_classes / open_classes.sum(
            1, keepdims=True
        )
        a = loss.function(logits, labels, label_smoothing=smoothing, grad=True, reduction="none")
        b = loss.function(logits, mixed, grad=True, reduction="none")
        close(a[0], b[0], dtype, 16)
        close(a[1], b[1], dtype, 16)


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 1.0])
@both_dtypes
def test_sigmoid_smoothing_mixes_with_a_half(dtype: Any, smoothing: float) -> None:
    rng = np.random.default_rng(8)
    x = make_logits(rng, 9, 7, dtype)
    y = rng.random((9, 7)).astype(dtype)
    for pos_weight in (1.0, 4.0):
        a = fx.sigmoid_cross_entropy(x, y, label_smoothing=smoothing, pos_weight=pos_weight, grad=True)
        mixed = (1 - smoothing) * y + smoothing / 2
        b = fx.sigmoid_cross_entropy(x, mixed, pos_weight=pos_weight, grad=True)
        close(a[0], b[0], dtype, 16)
        close(a[1], b[1], dtype, 16)


@both_dtypes
def test_pos_weight_multiplies_the_positive_term(dtype: Any) -> None:
    rng = np.random.default_rng(9)
    x = make_logits(rng, 9, 7, dtype)
    y = rng.integers(0, 2, (9, 7))
    plain = fx.sigmoid_cross_entropy(x, y, grad=True, hess=True, reduction="none")
    weighted = fx.sigmoid_cross_entropy(x, y, pos_weight=2.5, grad=True, hess=True, reduction="none")
    for a, b in zip(plain, weighted, strict=True):
        close(b, a * np.where(y == 1, 2.5, 1.0), dtype)
    none = fx.sigmoid_cross_entropy(x, y, pos_weight=0, reduction="none")
    assert (none[y == 1] == 0).all()


def test_targets_that_do_not_sum_to_one() -> None:
    """The gradient is (sum y) p - y."""
    rng = np.random.default_rng(10)
    logits = make_logits(rng, 5, 6, np.float64)
    dense = rng.random((5, 6)) * 3
    p = fx.softmax(logits, axis=1)
    for targets in (dense, scipy.sparse.csr_array(dense)):
        _, grad, hess = fx.softmax_cross_entropy(logits, targets, grad=True, hess=True, reduction="sum")
        mass = dense.sum(1, keepdims=True)
        close(grad, mass * p - dense, np.float64, scale=3)
        close(hess, mass * p * (1 - p), np.float64, scale=3)


# ---- identities ------------------------------------------------------------------------------------------------


@st.composite
def scores(draw: st.DrawFn, low: float = -60, high: float = 60) -> np.ndarray:
    """Rows of float32 or float64 scores."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    shape = (draw(st.integers(1, 5)), draw(st.one_of(st.integers(2, 6), st.sampled_from([16, 31, 32, 33, 70]))))
    width = np.dtype(dtype).itemsize * 8
    element = st.floats(low, high, width=width, allow_subnormal=False)
    return draw(hnp.arrays(dtype, shape, elements=element))


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    x = draw(scores())
    return x, draw(hnp.arrays(np.int64, len(x), elements=st.integers(0, x.shape[1] - 1)))


@given(labelled(), st.floats(-1000, 1000, width=16))
def test_a_shift_changes_nothing(case: tuple[np.ndarray, np.ndarray], shift: float) -> None:
    """Exactly, where the shifted scores are exact; otherwise as the oracle of what they round to."""
    logits, labels = case
    shifted = logits + logits.dtype.type(shift)
    loss, grad = fx.softmax_cross_entropy(shifted, labels, grad=True, reduction="none")
    exact = oracle.softmax_cross_entropy(shifted, labels, reduction="none")
    assert oracle.ulp_error(loss, exact.loss).max() <= 2
    assert oracle.ulp_error(grad, exact.grad).max() <= 4
    if (oracle.exact(shifted) == oracle.exact(logits) + shift).all():
        plain, plain_grad = fx.softmax_cross_entropy(logits, labels, grad=True, reduction="none")
        assert oracle.ulp_error(loss, plain).max() <= 4
        assert oracle.ulp_error(grad, plain_grad).max() <= 8


@given(labelled(), st.sampled_from([0.0, 0.1]))
def test_the_gradient_of_a_row_sums_to_zero(case: tuple[np.ndarray, np.ndarray], smoothing: float) -> None:
    logits, labels = case
    _, grad, hess = fx.softmax_cross_entropy(
        logits, labels, grad=True, hess=True, reduction="none", label_smoothing=smoothing
    )
    size = np.abs(grad).sum(1, dtype=np.float64)
    assert (np.abs(grad.sum(1, dtype=np.float64)) <= 4 * np.finfo(grad.dtype).eps * (size + smoothing)).all()
    assert (hess >= 0).all()
    assert (hess <= 0.25 * (1 + 4 * np.finfo(grad.dtype).eps)).all()
    if smoothing == 0.0:
        at_label = np.take_along_axis(grad, labels[:, None], 1)
        assert (at_label <= 0).all()
        assert (grad.sum(1, where=grad > 0) >= 0).all()


@given(labelled(), st.randoms(use_true_random=False))
def test_classes_may_be_in_any_order(case: tuple[np.ndarray, np.ndarray], random: Any) -> None:
    logits, labels = case
    order = list(range(logits.shape[1]))
    random.shuffle(order)
    inverse = np.argsort(order)
    a = fx.softmax_cross_entropy(logits, labels, grad=True, reduction="none")
    b = fx.softmax_cross_entropy(logits[:, order], inverse[labels], grad=True, reduction="none")
    assert oracle.ulp_error(b[0], a[0]).max() <= 4
    assert oracle.ulp_error(b[1], a[1][:, order]).max() <= 8


@given(labelled(), st.randoms(use_true_random=False))
def test_rows_may_be_in_any_order(case: tuple[np.ndarray, np.ndarray], random: Any) -> None:
    logits, labels = case
    order = list(range(len(logits)))
    random.shuffle(order)
    a = fx.softmax_cross_entropy(logits, labels, grad=True, hess=True, reduction="none")
    b = fx.softmax_cross_entropy(logits[order], labels[order], grad=True, hess=True, reduction="none")
    for first, second in zip(a, b, strict=True):
        assert same_bits(first[order], second)


@given(labelled())
def test_the_loss_is_minus_log_softmax_at_the_label(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = case
    loss, grad = fx.softmax_cross_entropy(logits, labels, grad=True, reduction="none")
    at_label = np.take_along_axis(fx.log_softmax(logits, axis=1), labels[:, None], 1)[:, 0]
    assert oracle.ulp_error(loss, -at_label).max() <= 4
    assert (loss >= 0).all()
    p = fx.softmax(logits, axis=1)
    elsewhere = oracle.one_hot(labels, logits.shape[1]) == 0
    assert oracle.ulp_error(grad[elsewhere], p[elsewhere]).max() <= 8
    total = p.sum(1, dtype=np.float64)
    assert (np.abs(total - 1) <= 4 * np.finfo(p.dtype).eps).all()


@given(scores(-1000, 1000))
def test_logsumexp_is_at_least_the_maximum(x: np.ndarray) -> None:
    result = fx.logsumexp(x, axis=1)
    top = x.max(1)
    assert (result >= top).all()
    size = np.maximum(np.abs(top), np.log(x.shape[1]))
    limit = top + np.log(x.shape[1]) + 2 * np.finfo(x.dtype).eps * size
    assert (result <= limit).all()


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-100, 100)), st.data())
def test_two_classes_are_a_sigmoid_of_the_difference(x: np.ndarray, data: st.DataObject) -> None:
    labels = data.draw(hnp.arrays(np.int64, len(x), elements=st.integers(0, 1)))
    logits = np.zeros((len(x), 2))
    logits[:, 1] = x
    soft = fx.softmax_cross_entropy(logits, labels, grad=True, hess=True, reduction="none")
    sigmoid = fx.sigmoid_cross_entropy(x, labels, grad=True, hess=True, reduction="none")
    assert oracle.ulp_error(soft[0], sigmoid[0]).max() <= 4
    assert oracle.ulp_error(soft[1][:, 1], sigmoid[1]).max() <= 8
    assert oracle.ulp_error(soft[2][:, 1], sigmoid[2]).max() <= 12


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-700, 700)))
def test_sigmoid_is_symmetric(x: np.ndarray) -> None:
    """Bit for bit: nothing depends on the sign but the branch."""
    a = fx.sigmoid_cross_entropy(x, np.zeros(len(x)), grad=True, hess=True, reduction="none")
    b = fx.sigmoid_cross_entropy(-x, np.ones(len(x)), grad=True, hess=True, reduction="none")
    assert same_bits(a[0], b[0])
    assert same_bits(np.abs(a[1]), np.abs(b[1]))
    assert same_bits(a[2], b[2])
    close(fx.expit(x) + fx.expit(-x), np.ones(len(x)), np.float64)


@given(labelled(), st.floats(0, 1))
def test_the_loss_is_linear_in_the_targets(case: tuple[np.ndarray, np.ndarray], share: float) -> None:
    logits, labels = case
    assume(logits.dtype == np.float64)
    classes = logits.shape[1]
    first, second = oracle.one_hot(labels, classes), oracle.one_hot((labels + 1) % classes, classes)
    mixed = share * first + (1 - share) * second
    a, b, c = (fx.softmax_cross_entropy(logits, y, grad=True, reduction="none") for y in (first, second, mixed))
    close(c[0], share * a[0] + (1 - share) * b[0], np.float64, scale=100)
    close(c[1], share * a[1] + (1 - share) * b[1], np.float64)


@given(labelled())
def test_the_gradient_is_the_slope_of_the_loss(case: tuple[np.ndarray, np.ndarray]) -> None:
    """Central differences of the library's own loss, in float64."""
    logits, labels = case[0].astype(np.float64), case[1]
    assume(logits.size <= 40)
    _, grad = fx.softmax_cross_entropy(logits, labels, grad=True)
    step = 1e-4
    for at in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[at] += step
        down[at] -= step
        slope = (fx.softmax_cross_entropy(up, labels) - fx.softmax_cross_entropy(down, labels)) / (up[at] - down[at])
        assert abs(slope - grad[at]) < 1e-7
