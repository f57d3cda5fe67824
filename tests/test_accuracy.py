"""The numerical contract: errors in ulps against the oracle, on every instruction set.

The bounds are the contract's (README, "Accuracy"), not what was measured: that stands in the table at the
end of the run. They are not to be widened.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest

import fastxent as fx
import oracle
from inputs import CLASSES, hard_rows, margins_of_the_contract
from losses import LOSSES, Loss, both_dtypes, make_targets
from measured import all_of_them, assert_within

LOSS_ULPS = 2
GRAD_ULPS = 4
# The contract does not bound curvature; with heads and a soft cap it has a factor or two more than p (1 - p).
HESS_ULPS = {np.float32: 5, np.float64: 7}

ISAS = fx.info()["isas"]
DTYPES = (np.float32, np.float64)
# The instruction set last: the oracle's results are kept from one to the next.
cases = pytest.mark.parametrize(
    "classes, dtype, isa",
    [pytest.param(c, d, i, id=f"{c}-{d.__name__}-{i}") for c, d, i in product(CLASSES, DTYPES, ISAS)],
    indirect=["isa"],
)


def classes_of(loss: Loss, form: str, options: int) -> tuple[int, ...]:
    """All numbers of classes; the longest rows, which take long in long double, once for each loss of the family."""
    if loss.outcomes == "elements":
        return (3, 1000)
    if loss is LOSSES[0] or (form == "labels" and options in (0, len(loss.options))):
        return CLASSES
    return CLASSES[:-1]


@lru_cache(maxsize=2)
def hard_case(loss: Loss, form: str, options: int, classes: int, dtype: Any) -> tuple[Any, Any, oracle.Exact]:
    elements = 400_000 if form == "labels" and options == 0 else 100_000
    logits, targets = hard_rows(classes, dtype, elements if loss is LOSSES[0] else elements // 4)
    if loss.outcomes == "elements":
        logits = margins_of_the_contract(logits)
    if loss.takes == "probabilities":
        # Zeros as well, but not in every row.
        logits = loss.inputs_of(logits)
        logits[1::2] = np.maximum(logits[1::2], np.finfo(dtype).smallest_normal)
    if form != "labels" or loss.outcomes == "elements":
        targets = make_targets(np.random.default_rng(classes), form, loss, *logits.shape, dtype)
    return logits, targets, loss.oracle(logits, targets, reduction="none", **({}, *loss.options)[options])


@pytest.mark.parametrize(
    "loss, form, options, classes, dtype, isa",
    [
        pytest.param(loss, form, options, c, d, i, id=f"{loss.name}-{form}-{options}-{c}-{d.__name__}-{i}")
        for loss in LOSSES
        for form, options in product(loss.forms, range(1 + len(loss.options)))
        for c, d, i in product(classes_of(loss, form, options), DTYPES, ISAS)
    ],
    indirect=["isa"],
)
def test_losses(loss: Loss, form: str, options: int, classes: int, dtype: Any, isa: str) -> None:
    logits, targets, exact = hard_case(loss, form, options, classes, dtype)
    chosen = ({}, *loss.options)[options]
    value, grad, hess = loss.function(logits, targets, grad=True, hess=True, reduction="none", **chosen)
    assert value.dtype == grad.dtype == hess.dtype == dtype
    name = ", ".join([f"{loss.name}({form}", *(f"{key}={value}" for key, value in chosen.items())]) + ")"
    capped = "softcap" in chosen and dtype == np.float64
    with all_of_them() as check:
        check(LOSS_ULPS, f"{name} loss", isa, value, exact.loss, inputs=logits)
        check(GRAD_ULPS + capped, f"{name} grad", isa, grad, exact.grad, exact.scale, inputs=logits)
        check(HESS_ULPS[dtype], f"{name} hess", isa, hess, exact.hess, exact.hess_scale, inputs=logits)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@both_dtypes
def test_reductions(loss: Loss, dtype: Any, reduction: str, weighted: bool, isa: str) -> None:
    logits, labels = hard_rows(10, dtype, 120_000)
    if loss.outcomes == "elements":
        logits = margins_of_the_contract(logits)
    if loss.takes == "probabilities":
        logits = np.maximum(loss.inputs_of(logits), np.finfo(dtype).smallest_normal)
    rng = np.random.default_rng(1)
    targets = labels if loss.outcomes == "classes" else make_targets(rng, "labels", loss, *logits.shape)
    weights = rng.choice([0.0, 1e-3, 1.0, 7.3], len(logits)) if weighted else None
    value, grad, hess = loss.function(logits, targets, grad=True, hess=True, reduction=reduction, sample_weight=weights)
    exact = loss.oracle(logits, targets, reduction=reduction, sample_weight=weights)
    # A reduced loss is a double, but its terms have the precision of the logits.
    assert isinstance(value, float)
    name = f"{loss.name}({reduction}{', weighted' * weighted})"
    with all_of_them() as check:
        check(LOSS_ULPS, f"{name} loss", isa, dtype(value), exact.loss)
        check(GRAD_ULPS, f"{name} grad", isa, grad, exact.grad, exact.scale, inputs=logits)
        check(HESS_ULPS[dtype], f"{name} hess", isa, hess, exact.hess, exact.hess_scale, inputs=logits)


@both_dtypes
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_weighted_losses_of_rows(classes: int, dtype: Any, isa: str) -> None:
    """A weight is one more factor of what is rounded once."""
    rng = np.random.default_rng(2)
    logits = (3 * rng.standard_normal((10_000, classes))).astype(dtype)
    labels = rng.integers(0, classes, len(logits))
    weights = rng.random(len(logits)) * 10.0 ** rng.uniform(-3, 3, len(logits))
    if classes == 2:
        # Products that are rounded one after the other miss this double by 2.2 ulp.
        logits[0], labels[0], weights[0] = (3.6294580734278448, -0.7265853619655638), 1, 0.45503472208881834
    loss = fx.softmax_cross_entropy(logits, labels, sample_weight=weights, reduction="none")
    exact = oracle.softmax_cross_entropy(logits, labels, sample_weight=weights, reduction="none").loss
    assert_within(LOSS_ULPS, "weighted softmax_cross_entropy loss", isa, loss, exact)


@both_dtypes
@pytest.mark.parametrize("classes", [2, 100])
def test_poly_of_a_large_epsilon(classes: int, dtype: Any, isa: str) -> None:
    logits, labels = hard_rows(classes, dtype, 50_000)
    for epsilon in (1e3, 1e6):
        value, grad = fx.poly_cross_entropy(logits, labels, epsilon=epsilon, grad=True, reduction="none")
        exact = oracle.poly_cross_entropy(logits, labels, epsilon=epsilon, reduction="none")
        assert_within(LOSS_ULPS, f"poly_cross_entropy({epsilon=}) loss", isa, value, exact.loss)
        assert_within(GRAD_ULPS, f"poly_cross_entropy({epsilon=}) grad", isa, grad, exact.grad, exact.scale)


@pytest.mark.parametrize("classes", [65, 1000, 1089, 20_000])
def test_sums_of_floats(classes: int, isa: str) -> None:
    """What floats lose where one is far larger than all others together, and these are equal, or fall off evenly."""
    rng = np.random.default_rng(3)
    rows = 20 if classes > 10_000 else 100
    equal = np.zeros((rows, classes))
    falling = -np.linspace(0, 1, classes) * rng.uniform(1, 80, (rows, 1))
    few = np.where(rng.random(equal.shape) < 0.02, -10, -25) * rng.random(equal.shape)
    logits = np.concatenate((equal, falling, few)) + rng.uniform(-50, 60, (3 * rows, 1))
    labels = rng.integers(0, classes, 3 * rows)
    logits[np.arange(3 * rows), labels] += rng.uniform(0, 30, 3 * rows)
    logits = logits.astype(np.float32)
    loss, grad = fx.softmax_cross_entropy(logits, labels, grad=True, reduction="none")
    exact = oracle.softmax_cross_entropy(logits, labels, reduction="none")
    with all_of_them() as check:
        check(LOSS_ULPS, "sums of floats loss", isa, loss, exact.loss, inputs=logits)
        check(GRAD_ULPS, "sums of floats grad", isa, grad, exact.grad, exact.scale, inputs=logits)


@pytest.mark.parametrize("levels", [2, 4])
def test_sums_of_what_comes_again_and_again(levels: int, isa: str) -> None:
    """The same few scores vector by vector: then what additions round off does not average out."""
    rng = np.random.default_rng(levels)
    rows, classes, lanes = 400, 1025, 16
    scores = np.tile(np.repeat(rng.normal(0, 2, (rows, levels)), lanes, 1), classes // levels // lanes + 1)[:, :classes]
    scores[:, -1] = scores.max(1) + rng.uniform(10, 20, rows)
    logits, labels = scores.astype(np.float32), np.full(rows, classes - 1)
    with all_of_them() as check:
        for loss, options in (
            (LOSSES[0], {}),
            (LOSSES[0], {"label_smoothing": 0.01}),
            (next(each for each in LOSSES if each.name == "softmax_focal_loss"), {"gamma": 5.0}),
        ):
            exact = loss.oracle(logits, labels, reduction="none", **options)
            value, grad = loss.function(logits, labels, grad=True, reduction="none", **options)
            check(LOSS_ULPS, f"{loss.name} {options} of repeated scores, loss", isa, value, exact.loss, inputs=logits)
            check(GRAD_ULPS, f"{loss.name} {options} of repeated scores, grad", isa, grad, exact.grad, exact.scale)


def test_gradients_of_a_weighted_mean(isa: str) -> None:
    """Weights, their sum and its inverse are rounded too."""
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((2_000, 70)), rng.integers(0, 70, 2_000)
    for weights in (rng.random(2_000), np.where(np.arange(2_000) == 7, 1e305, 0.0)):
        reduction = "mean" if weights[0] else "sum"
        options = {"sample_weight": weights, "reduction": reduction}
        _, grad = fx.softmax_cross_entropy(logits, labels, grad=True, **options)
        exact = oracle.softmax_cross_entropy(logits, labels, **options)
        assert_within(GRAD_ULPS, f"gradient of a weighted {reduction}", isa, grad, exact.grad, exact.scale)


def test_weighted_means(isa: str) -> None:
    """Losses, their sum, the sum of the weights and the quotient are rounded."""
    rng = np.random.default_rng(0)
    with all_of_them() as check:
        for rows in rng.integers(1, 400, 60):
            scores, labels, weights = rng.normal(0, 3, (rows, 5)), rng.integers(0, 5, rows), rng.random(rows)
            p, targets = rng.random(rows), rng.random(rows)
            for name, given in {
                "softmax_cross_entropy": (scores, labels),
                "softmax_focal_loss": (scores, labels),
                "sigmoid_cross_entropy": (scores[:, 0], targets),
                "binary_cross_entropy": (p, targets),
                "categorical_cross_entropy": (fx.softmax(scores, axis=1), labels),
            }.items():
                value = getattr(fx, name)(*given, sample_weight=weights)
                exact = getattr(oracle, name)(*given, sample_weight=weights).loss
                check(LOSS_ULPS, f"weighted mean of {name}", isa, np.float64(value), exact)


@cases
def test_logsumexp(classes: int, dtype: Any, isa: str) -> None:
    logits, _ = hard_rows(classes, dtype)
    exact = oracle.logsumexp(logits)
    scale = np.maximum(np.abs(exact), oracle.exact(np.abs(logits).max(1)))
    assert_within(LOSS_ULPS, "logsumexp", isa, fx.logsumexp(logits, axis=1), exact, scale, inputs=logits)


@cases
def test_softmax_and_its_logarithm(classes: int, dtype: Any, isa: str) -> None:
    logits, _ = hard_rows(classes, dtype)
    with all_of_them() as check:
        check(GRAD_ULPS, "softmax", isa, fx.softmax(logits, axis=1), oracle.softmax(logits), inputs=logits)
        check(LOSS_ULPS, "log_softmax", isa, fx.log_softmax(logits, axis=1), oracle.log_softmax(logits), inputs=logits)


@lru_cache(maxsize=4)
def elements(dtype: Any) -> np.ndarray:
    """Numbers of every size, dense where the functions bend, and the places where exp underflows."""
    rng = np.random.default_rng(0)
    bend = np.linspace(-110, 110, 400_001)
    far = np.linspace(-760, 760, 100_001)
    sizes = 10.0 ** rng.uniform(-40, 3, 100_000) * rng.choice([-1, 1], 100_000)
    halves = np.arange(-1100, 1100)[:, None] * np.log(2) / 2 * (1 + np.arange(-8, 9) * float(np.finfo(dtype).eps))
    return np.concatenate([bend, far, sizes, halves.ravel(), [0.0, -0.0]]).astype(dtype)


@both_dtypes
def test_expit_and_its_logarithm(dtype: Any, isa: str) -> None:
    x = elements(dtype)
    assert_within(GRAD_ULPS, "expit", isa, fx.expit(x), oracle.expit(x))
    assert_within(LOSS_ULPS, "log_expit", isa, fx.log_expit(x), oracle.log_expit(x))


@both_dtypes
def test_headline(dtype: Any, isa: str) -> None:
    """Where every peer loses all digits: [20, 0] with label 0."""
    with mpmath.workprec(120):
        loss = mpmath.log1p(mpmath.exp(-20))
        others = mpmath.exp(-20) / (1 + mpmath.exp(-20))
        loss, others = oracle.exact(float(loss)), oracle.exact(float(others))
    logits = np.array([[20, 0]], dtype)
    value, grad = fx.softmax_cross_entropy(logits, [0], grad=True, reduction="none")
    assert_within(LOSS_ULPS, "headline loss", isa, value, loss[None])
    assert_within(GRAD_ULPS, "headline grad", isa, grad, np.array([[-others, others]]))
    value, grad = fx.sigmoid_cross_entropy(np.array([20], dtype), [1], grad=True, reduction="none")
    assert_within(LOSS_ULPS, "headline loss", isa, value, loss[None])
    assert_within(GRAD_ULPS, "headline grad", isa, grad, np.array([-others]))
    assert f"{fx.softmax_cross_entropy(np.float32([[20, 0]]), [0]):.7e}" == "2.0611536e-09"
