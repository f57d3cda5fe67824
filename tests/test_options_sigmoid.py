"""The sigmoid losses: pairs of options against the oracle, identities, saturation, the product with the Hessian."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.sparse

import fastxent as fx
import oracle
from inputs import hard_rows, margins_of_the_contract
from losses import Loss, both_dtypes, make_logits, make_targets, same_bits, sigmoid_losses
from measured import all_of_them
from test_accuracy import GRAD_ULPS, HESS_ULPS, LOSS_ULPS

CLASSES = 7
INF, NAN = np.inf, np.nan
gammas = pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0, 2.0, 3.0, 4.5, 50.0])


def choices(loss: Loss, rows: int) -> dict[str, list[Any]]:
    """Values of each option."""
    rng = np.random.default_rng(11)
    options: dict[str, list[Any]] = {
        "pos_weight": [0.0, 3.7, np.float32(0.3), rng.random(CLASSES) * 5],
        "label_smoothing": [0.1, 1.0],
        "sample_weight": [rng.choice([0.0, 0.25, 1.0, 4.0], rows), rng.choice([0.0, 0.5, 2.0], (rows, CLASSES))],
        "reduction": ["sum", "mean", "none"],
    }
    if loss.name == "sigmoid_focal_loss":
        options |= {"gamma": [0.0, 0.7, 1.0, 3.0, 12.5], "alpha": [0.25, 1.0, rng.random(CLASSES)]}
    return options


@sigmoid_losses
@both_dtypes
def test_every_pair_of_options(loss: Loss, dtype: Any, isa: str) -> None:
    logits = margins_of_the_contract(hard_rows(CLASSES, dtype, 12_000)[0])
    rng = np.random.default_rng(12)
    options = choices(loss, len(logits))
    with all_of_them() as check:
        for first, second in combinations(options, 2):
            for number, (a, b) in enumerate((a, b) for a in options[first] for b in options[second]):
                chosen = {"reduction": "none"} | {first: a, second: b}
                targets = make_targets(rng, loss.forms[number % 3], loss, *logits.shape, dtype)
                value, grad, hess = loss.function(logits, targets, grad=True, hess=True, **chosen)
                exact = loss.oracle(logits, targets, **chosen)
                value = value if chosen["reduction"] == "none" else dtype(value)
                name = f"{loss.name}, pairs of options"
                check(LOSS_ULPS, f"{name} loss", isa, value, exact.loss, inputs=logits)
                check(GRAD_ULPS, f"{name} grad", isa, grad, exact.grad, exact.scale, inputs=logits)
                check(HESS_ULPS[dtype], f"{name} hess", isa, hess, exact.hess, exact.hess_scale, inputs=logits)


@sigmoid_losses
def test_derivatives_are_differences_of_the_loss(loss: Loss) -> None:
    """Of the library's own, in float64, for every pair of options."""
    rng = np.random.default_rng(13)
    logits = make_logits(rng, 5, CLASSES, np.float64)
    targets = make_targets(rng, "probabilities", loss, 5, CLASSES, np.float64)
    options = choices(loss, 5)
    step = 1e-4
    for first, second in combinations(options, 2):
        for a, b in ((a, b) for a in options[first] for b in options[second]):
            chosen = {first: a, second: b}
            grad, hess = loss.function(logits, targets, grad=True, hess=True, **chosen)[1:]
            # Elements are independent: all of them are moved at once.
            up, down = (
                loss.function(z, targets, grad=True, **(chosen | {"reduction": "none"}))
                for z in (logits + step, logits - step)
            )
            scale = 1.0
            if chosen.get("reduction", "mean") == "mean":
                weights = np.asarray(chosen.get("sample_weight", 1.0))
                column = weights[:, None] if weights.ndim == 1 else weights
                scale = np.broadcast_to(column, logits.shape).sum()
            np.testing.assert_allclose(grad * scale, (up[0] - down[0]) / (2 * step), atol=1e-6)
            np.testing.assert_allclose(hess * scale, (up[1] - down[1]) / (2 * step), atol=1e-5)


# ---- identities ----------------------------------------------------------------------------------------------


@both_dtypes
def test_gamma_zero_is_cross_entropy_to_the_bit(dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(14)
    loss = Loss("", fx.sigmoid_focal_loss, oracle.sigmoid_focal_loss, "elements")
    for rows, classes in ((9, 7), (300, 33)):
        logits = make_logits(rng, rows, classes, dtype, 20)
        for form in loss.forms:
            targets = make_targets(rng, form, loss, rows, classes, dtype)
            for options in (
                {},
                {"pos_weight": 2.5},
                {"pos_weight": rng.random(classes)},
                {"label_smoothing": 0.2},
                {"sample_weight": rng.random(rows)},
            ):
                for reduction in ("mean", "sum", "none"):
                    asked = {"grad": True, "hess": True, "reduction": reduction} | options
                    plain = fx.sigmoid_cross_entropy(logits, targets, **asked)
                    focal = fx.sigmoid_focal_loss(logits, targets, gamma=0, **asked)
                    for a, b in zip(plain, focal, strict=True):
                        assert same_bits(a, b)


@both_dtypes
def test_alpha_of_a_half_halves(dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(15)
    logits, labels = make_logits(rng, 40, 9, dtype, 10), rng.integers(0, 2, (40, 9))
    asked = {"grad": True, "hess": True, "reduction": "none"}
    for gamma in (0.0, 0.5, 2.0):
        whole = fx.sigmoid_focal_loss(logits, labels, gamma=gamma, **asked)
        half = fx.sigmoid_focal_loss(logits, labels, gamma=gamma, alpha=0.5, **asked)
        for a, b in zip(whole, half, strict=True):
            # Cross-entropy without factors is computed in another way.
            assert oracle.ulp_error(2 * b, a).max() <= (4 if gamma == 0 else 0)


@gammas
@both_dtypes
def test_outcomes_are_symmetric(dtype: Any, gamma: float, isa: str) -> None:
    """Bit for bit: target 0 at -x is target 1 at x."""
    logits = make_logits(np.random.default_rng(16), 50, 5, dtype, 15)
    options = {"gamma": gamma, "grad": True, "hess": True, "reduction": "none"}
    ones = fx.sigmoid_focal_loss(logits, np.ones((50, 5)), pos_weight=2.0, **options)
    zeros = fx.sigmoid_focal_loss(-logits, np.zeros((50, 5)), sample_weight=np.full(50, 2.0), **options)
    assert same_bits(ones[0], zeros[0]) or gamma == 0
    for a, b in zip(ones, zeros, strict=True):
        assert oracle.ulp_error(np.abs(a), np.abs(b)).max() <= (4 if gamma == 0 else 0)


@gammas
@both_dtypes
def test_a_label_has_the_same_bits_beside_other_targets(dtype: Any, gamma: float, isa: str) -> None:
    """Vectors that hold nothing but labels take another way."""
    rng = np.random.default_rng(17)
    logits, labels = make_logits(rng, 40, 40, dtype, 10), rng.integers(0, 2, (40, 40)).astype(dtype)
    between = rng.random((40, 40)) < 0.1
    mixed = np.where(between, dtype(0.3), labels)
    options = {"gamma": gamma, "grad": True, "hess": True, "reduction": "none", "pos_weight": 1.7}
    alone = fx.sigmoid_focal_loss(logits, labels, **options)
    beside = fx.sigmoid_focal_loss(logits, mixed, **options)
    for a, b in zip(alone, beside, strict=True):
        assert same_bits(a[~between], b[~between])


@gammas
def test_the_formula_of_torchvision(gamma: float) -> None:
    """Of torchvision.ops.sigmoid_focal_loss, at moderate scores in float64."""
    rng = np.random.default_rng(18)
    x, y = rng.standard_normal((60, 5)) * 2, rng.integers(0, 2, (60, 5)).astype(float)
    for alpha in (-1, 0.25, 0.9):
        p = 1 / (1 + np.exp(-x))
        cross_entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p))
        p_t = p * y + (1 - p) * (1 - y)
        loss = cross_entropy * (1 - p_t) ** gamma
        if alpha >= 0:
            loss = (alpha * y + (1 - alpha) * (1 - y)) * loss
        ours = fx.sigmoid_focal_loss(x, y, gamma=gamma, alpha=alpha if alpha >= 0 else None, reduction="none")
        np.testing.assert_allclose(ours, loss, rtol=1e-12)


def test_the_loss_falls_with_gamma() -> None:
    x = make_logits(np.random.default_rng(19), 20, 4, np.float64)
    losses = [fx.sigmoid_focal_loss(x, np.ones((20, 4)), gamma=g, reduction="none") for g in (0, 0.5, 1, 1.5, 2, 5, 6)]
    for more, less in pairwise(losses):
        assert (less < more).all()


# ---- saturation ----------------------------------------------------------------------------------------------


def test_scores_that_are_right_by_far(isa: str) -> None:
    """Where 1 - p is 0 in float32 and 1 - expit(x) loses all digits."""
    loss, grad = fx.sigmoid_cross_entropy(np.float32([20]), [1], grad=True, reduction="none")
    assert f"{loss[0]:.7e} {grad[0]:.7e}" == "2.0611537e-09 -2.0611537e-09"
    with mpmath.workprec(120):
        for x, gamma in ((40.0, 0.5), (40.0, 0.01), (30.0, 1.5), (17.0, 2.0), (80.0, 0.05), (4.0, 15.0)):
            e = mpmath.exp(-mpmath.mpf(x))
            s, nll = e / (1 + e), mpmath.log1p(e)
            exact = s**gamma * nll
            slope = -(s**gamma) * (s + gamma * (1 - s) * nll)
            for dtype in (np.float32, np.float64):
                loss, grad = fx.sigmoid_focal_loss(np.array([x], dtype), [1], gamma=gamma, grad=True, reduction="none")
                assert oracle.ulp_error(loss, oracle.exact([float(exact)]))[0] <= LOSS_ULPS
                assert oracle.ulp_error(grad, oracle.exact([float(slope)]))[0] <= GRAD_ULPS


@gammas
@both_dtypes
def test_focal_loss_at_infinity_and_nan(dtype: Any, gamma: float, isa: str) -> None:
    x = np.array([-INF, -INF, -INF, INF, INF, INF, NAN], dtype)
    y = np.array([0, 1, 0.5, 0, 1, 0.5, 1], dtype)
    for copies in (1, 7, 40):
        with np.errstate(all="raise"):
            loss, grad, hess = fx.sigmoid_focal_loss(
                np.tile(x, copies), np.tile(y, copies), gamma=gamma, grad=True, hess=True, reduction="none"
            )
        np.testing.assert_array_equal(loss, np.tile(np.array([0, INF, INF, INF, 0, INF, NAN], dtype), copies))
        np.testing.assert_array_equal(grad, np.tile(np.array([0, -1, -0.5, 1, 0, 0.5, NAN], dtype), copies))
        np.testing.assert_array_equal(hess, np.tile(np.array([0, 0, 0, 0, 0, 0, NAN], dtype), copies))
    # A term with factor 0 does not count, even where it is infinite.
    assert fx.sigmoid_focal_loss(dtype([-INF]), [1], gamma=gamma, pos_weight=0) == 0
    assert fx.sigmoid_focal_loss(dtype([INF]), [0], gamma=gamma, alpha=1) == 0
    assert fx.sigmoid_focal_loss(dtype([-INF]), [1], gamma=gamma, alpha=[0.0]) == 0
    # NaN stays one; an element without weight may be anything.
    assert np.isnan(fx.sigmoid_focal_loss(dtype([NAN]), [1], gamma=gamma, pos_weight=0))
    for label in (0, 1, 0.5):
        weighted = fx.sigmoid_focal_loss(
            dtype([NAN, INF, -INF, 0]), [label] * 4, gamma=gamma, alpha=0.3, sample_weight=[0, 0, 0, 1], grad=True
        )
        assert np.isfinite(weighted[0])
        assert np.isfinite(weighted[1]).all()
        assert (weighted[1][:3] == 0).all()


@gammas
@both_dtypes
def test_far_scores_are_finite(dtype: Any, gamma: float, isa: str) -> None:
    """Beyond where exponentials underflow: zero, or |x|, and never NaN."""
    most = float(np.finfo(dtype).max)
    x = np.array([100, 700, 720, 760, 1e4, 1e30, most], dtype)
    for sign, label in ((1, 1), (-1, 0)):
        loss, grad, hess = fx.sigmoid_focal_loss(
            sign * x, np.full(len(x), label), gamma=gamma, grad=True, hess=True, reduction="none"
        )
        assert (np.abs(loss) < 1e-29).all()
        assert (np.abs(grad) < 1e-29).all()
        assert (np.abs(hess) < 1e-29).all()
        loss, grad, hess = fx.sigmoid_focal_loss(
            -sign * x, np.full(len(x), label), gamma=gamma, grad=True, hess=True, reduction="none"
        )
        np.testing.assert_array_equal(loss, x)
        np.testing.assert_array_equal(grad, np.full(len(x), -1.0 if label else 1.0))
        assert (np.abs(hess) < 1e-29).all()


def test_factors_lift_results_above_the_smallest_normal_float(isa: str) -> None:
    """Where exp(-|x|) is no normal number as a float, but its product is."""
    x = np.float32([88, 95, 100])
    for options in ({"pos_weight": 1e6}, {"pos_weight": [1e6]}, {"pos_weight": 2.0**20, "label_smoothing": 0.0}):
        x_rows = x[:, None]
        ones = np.ones((3, 1))
        exact = oracle.sigmoid_cross_entropy(x_rows, ones, reduction="none", **options)
        got = fx.sigmoid_cross_entropy(x_rows, ones, grad=True, hess=True, reduction="none", **options)
        for value, wanted in zip(got, (exact.loss, exact.grad, exact.hess), strict=True):
            assert oracle.ulp_error(value, wanted).max() <= LOSS_ULPS


# ---- factors along the last axis -----------------------------------------------------------------------------


@sigmoid_losses
@both_dtypes
def test_pos_weights_of_the_last_axis(loss: Loss, dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(20)
    # Pieces of work end within rows.
    for shape in ((700, 7), (3, 1000), (2, 5000), (5,), (20, 30, 11), (4100, 1)):
        logits = (rng.standard_normal(shape) * 4).astype(dtype)
        targets = rng.random(shape).astype(dtype)
        factors = rng.random(shape[-1]) * 3
        asked = {"grad": True, "hess": True, "reduction": "none"}
        whole = loss.function(logits, targets, pos_weight=factors, **asked)
        exact = loss.oracle(logits, targets, pos_weight=factors, reduction="none")
        assert oracle.ulp_error(whole[0], exact.loss).max() <= LOSS_ULPS
        assert oracle.ulp_error(whole[1], exact.grad, exact.scale).max() <= GRAD_ULPS
        constant = np.full(shape[-1], 1.5)
        for a, b in zip(
            loss.function(logits, targets, pos_weight=constant, **asked),
            loss.function(logits, targets, pos_weight=1.5, **asked),
            strict=True,
        ):
            assert same_bits(a, b)
        for given in (factors.tolist(), np.repeat(factors, 2)[::2]):
            assert same_bits(loss.function(logits, targets, pos_weight=given, **asked)[1], whole[1])
        for moved in (np.asfortranarray(logits), np.repeat(logits, 2, axis=-1)[..., ::2]):
            for a, b in zip(loss.function(moved, targets, pos_weight=factors, **asked), whole, strict=True):
                assert same_bits(np.ascontiguousarray(a), b)


@sigmoid_losses
@both_dtypes
def test_factors_are_the_same_for_every_form_and_thread(loss: Loss, dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(21)
    logits, labels = make_logits(rng, 900, 100, dtype), (rng.random((900, 100)) < 0.1).astype(np.int64)
    options: dict[str, Any] = {"pos_weight": rng.random(100) * 9, "grad": True}
    if loss.name == "sigmoid_focal_loss":
        options |= {"alpha": rng.random(100), "gamma": 1.3}
    value, grad = loss.function(logits, labels, n_threads=1, **options)
    for targets in (labels, labels.astype(dtype), labels == 1, scipy.sparse.csr_array(labels)):
        for threads in (1, 2):
            again, grad_again = loss.function(logits, targets, n_threads=threads, **options)
            assert again == value
            assert same_bits(grad_again, grad)
    options["reduction"] = "sum"
    halves = [loss.function(logits[part], labels[part], **options) for part in (slice(0, 77), slice(77, None))]
    whole = loss.function(logits, labels, **options)
    assert same_bits(np.concatenate([half[1] for half in halves]), whole[1])


@sigmoid_losses
def test_factors_are_not_written_to(loss: Loss) -> None:
    logits, targets = np.zeros((4, 4)), np.ones((4, 4))
    buffer = np.ones((4, 4))
    with pytest.raises(ValueError, match="overlaps pos_weight"):
        loss.function(logits, targets, pos_weight=buffer[0], grad=buffer)
    assert (buffer == 1).all()


# ---- the product with the Hessian ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["labels", "probabilities", "csr"])
@both_dtypes
def test_product_with_the_hessian(dtype: Any, form: str, isa: str) -> None:
    rng = np.random.default_rng(22)
    loss = Loss("", fx.sigmoid_cross_entropy, oracle.sigmoid_cross_entropy, "elements")
    logits = margins_of_the_contract(hard_rows(CLASSES, dtype, 12_000)[0])
    targets = make_targets(rng, form, loss, *logits.shape, dtype)
    v = rng.standard_normal(logits.shape).astype(dtype)
    for options in (
        {},
        {"reduction": "sum", "pos_weight": rng.random(CLASSES) * 3},
        {"reduction": "none", "label_smoothing": 0.3},
        {"sample_weight": rng.random(len(logits)), "pos_weight": 0.1},
    ):
        product = fx.sigmoid_cross_entropy_hvp(logits, targets, v, **options)
        assert (product.dtype, product.shape) == (dtype, logits.shape)
        hess = fx.sigmoid_cross_entropy(logits, targets, hess=True, **options)[1]
        assert same_bits(product, hess * v)
        exact = oracle.sigmoid_cross_entropy(logits, targets, **options).hess * oracle.exact(v)
        assert oracle.ulp_error(product, exact).max() <= HESS_ULPS[dtype]
        out = np.full_like(logits, NAN)
        assert fx.sigmoid_cross_entropy_hvp(logits, targets, v, out=out, **options) is out
        assert same_bits(out, product)
        # In place.
        same = v.copy()
        assert fx.sigmoid_cross_entropy_hvp(logits, targets, same, out=same, **options) is same
        assert same_bits(same, product)
        assert same_bits(fx.sigmoid_cross_entropy_hvp(logits, targets, v, n_threads=1, **options), product)


def test_vectors_of_every_kind() -> None:
    rng = np.random.default_rng(23)
    logits, targets = make_logits(rng, 6, 4), rng.integers(0, 2, (6, 4))
    v = rng.integers(-3, 4, (6, 4))
    product = fx.sigmoid_cross_entropy_hvp(logits, targets, v.astype(np.float32))
    for vector in (v, v.tolist(), v.astype(np.float64), v.astype(np.float16), np.asfortranarray(v), v.astype(">f4")):
        assert same_bits(fx.sigmoid_cross_entropy_hvp(logits, targets, vector), product)
    for x in (np.asfortranarray(logits), np.repeat(logits, 2, axis=0)[::2]):
        assert same_bits(np.ascontiguousarray(fx.sigmoid_cross_entropy_hvp(x, targets, v)), product)
    half = logits.astype(np.float16)
    assert fx.sigmoid_cross_entropy_hvp(half, targets, v).dtype == np.float32
    out = np.empty((6, 4), np.float16)
    assert fx.sigmoid_cross_entropy_hvp(half, targets, v, out=out) is out
    assert fx.sigmoid_cross_entropy_hvp(np.empty((0, 3)), np.empty((0, 3)), np.empty((0, 3))).shape == (0, 3)
    assert fx.sigmoid_cross_entropy_hvp(0.0, 1.0, -4.0).shape == ()
    assert fx.sigmoid_cross_entropy_hvp([0.0], [1], [-4.0])[0] == -1.0
    nan = fx.sigmoid_cross_entropy_hvp([NAN, 0.0, INF], [1, 1, 1], [0.0, NAN, 2.0])
    np.testing.assert_array_equal(nan, [NAN, NAN, 0.0])


def test_the_product_is_that_of_the_matrix() -> None:
    """Of differences of gradients along the vector."""
    rng = np.random.default_rng(24)
    x, y, v = rng.standard_normal((8, 3)), rng.random((8, 3)), rng.standard_normal((8, 3))
    options: dict[str, Any] = {"pos_weight": [1.0, 2.0, 0.5], "label_smoothing": 0.1, "sample_weight": rng.random(8)}
    step = 1e-5
    up, down = (fx.sigmoid_cross_entropy(x + h * v, y, grad=True, **options)[1] for h in (step, -step))
    product = fx.sigmoid_cross_entropy_hvp(x, y, v, **options)
    np.testing.assert_allclose(product, (up - down) / (2 * step), atol=1e-9)
    assert math.isclose((product * v).sum(), ((up - down) * v).sum() / (2 * step), rel_tol=1e-6)
