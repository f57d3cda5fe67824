"""The oracle itself: against the definitions, in mpmath with many digits, and against central differences."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

import oracle
from losses import Loss, every_form, every_loss, make_inputs, make_targets

DIGITS = 1e-17  # far below half an ulp of a double


def relative(actual: Any, wanted: list[Any]) -> float:
    wide = np.array([oracle.exact(float(w)) + oracle.exact(float(w - mpmath.mpf(float(w)))) for w in wanted])
    return float(np.max(np.abs(actual - wide) / np.abs(wide)))


def rows() -> list[list[float]]:
    rng = np.random.default_rng(5)
    fixed = [[20.0, 0.0], [0.0, 20.0], [80.0, 0.0, 0.0], [1e6, 1e6 - 3.7, 1e6], [1.0, 1.0, 1.0]]
    return fixed + [(rng.standard_normal(7) * spread).tolist() for spread in (1e-3, 1.0, 30.0)]


def test_softmax_against_its_definition() -> None:
    with mpmath.workdps(80):
        for z in rows():
            e = [mpmath.exp(mpmath.mpf(v)) for v in z]
            total = mpmath.fsum(e)
            p = [v / total for v in e]
            nll = [-mpmath.log(v) for v in p]
            ours = oracle.rows_of([z])
            assert relative(ours.p[0], p) < DIGITS
            assert relative(ours.not_p[0], [1 - v for v in p]) < DIGITS
            assert relative(ours.nll[0], nll) < DIGITS
            assert relative(oracle.logsumexp([z]), [mpmath.log(total)]) < DIGITS
            for label in range(len(z)):
                exact = oracle.softmax_cross_entropy([z], np.array([label]))
                assert relative(exact.loss, [nll[label]]) < DIGITS
                assert relative(exact.grad[0], [v - (i == label) for i, v in enumerate(p)]) < DIGITS
                assert relative(exact.hess[0], [v * (1 - v) for v in p]) < DIGITS


def test_sigmoid_against_its_definition() -> None:
    x = [-700.0, -80.0, -20.0, -1.0, -1e-9, 0.0, 0.3, 5.0, 40.0, 700.0]
    with mpmath.workdps(700):
        p = [1 / (1 + mpmath.exp(-mpmath.mpf(v))) for v in x]
        assert relative(oracle.expit(x), p) < DIGITS
        assert relative(oracle.log_expit(x), [mpmath.log(v) for v in p]) < DIGITS
        for y in (0.0, 0.25, 1.0):
            exact = oracle.sigmoid_cross_entropy(x, [y] * len(x), pos_weight=2.5, reduction="none")
            loss = [-(1 - y) * mpmath.log(1 - v) - mpmath.mpf(2.5) * y * mpmath.log(v) for v in p]
            grad = [(1 - y) * v - mpmath.mpf(2.5) * y * (1 - v) for v in p]
            assert relative(exact.loss, loss) < DIGITS
            assert relative(exact.grad, grad) < 1e-15  # the difference cancels
            assert relative(exact.hess, [(1 + 1.5 * y) * v * (1 - v) for v in p]) < DIGITS


def test_binary_against_its_definition() -> None:
    p = [1e-300, 1e-9, 0.25, 0.3, 0.5, 0.9, 1 - 1e-12]
    with mpmath.workdps(400):
        wide = [mpmath.mpf(v) for v in p]
        for y, eps in ((0.0, 0.0), (0.25, 0.0), (1.0, 0.0), (0.25, 0.01)):
            exact = oracle.binary_cross_entropy(p, [y] * len(p), pos_weight=2.5, eps=eps, reduction="none")
            bound = mpmath.mpf(eps)
            q = [min(max(v, bound), 1 - bound) for v in wide]
            loss = [-(1 - y) * mpmath.log(1 - v) - mpmath.mpf(2.5) * y * mpmath.log(v) for v in q]
            assert relative(exact.loss, loss) < DIGITS
            grad = [(1 - y) / (1 - v) - mpmath.mpf(2.5) * y / v for v in q]
            hess = [(1 - y) / (1 - v) ** 2 + mpmath.mpf(2.5) * y / v**2 for v in q]
            inside = [i for i, (v, w) in enumerate(zip(q, wide, strict=True)) if v == w and v > 1e-200]
            assert relative(exact.grad[inside], [grad[i] for i in inside]) < 1e-15  # the difference cancels
            assert relative(exact.hess[inside], [hess[i] for i in inside]) < DIGITS


def test_categorical_against_its_definition() -> None:
    rows = [[0.25, 0.5, 0.125], [1e-12, 0.9999, 1e-9], [3e5, 1e-7, 2.0], [0.3, 0.3, 0.3], [1e-60, 2e-70, 1e-65]]
    y = [0.5, 0.25, 1.0]
    with mpmath.workdps(400):
        for p in rows:
            wide = [mpmath.mpf(v) for v in p]
            for normalize, eps in ((False, 0.0), (True, 0.0), (True, 0.001)):
                if max(p) > 1 and not normalize:
                    continue
                total = mpmath.fsum(wide) if normalize else mpmath.mpf(1)
                bound = mpmath.mpf(eps)
                options = {"normalize": normalize, "eps": eps, "reduction": "none"}
                for label in range(3):
                    q = [min(max(v / total, bound), 1 - bound) if eps else v / total for v in wide]
                    moves = [not eps or bound <= v / total <= 1 - bound for v in wide]
                    exact = oracle.categorical_cross_entropy([p], np.array([label]), **options)
                    assert relative(exact.loss, [-mpmath.log(q[label])]) < DIGITS
                    if moves[label]:
                        grad = normalize / total - 1 / wide[label]
                        hess = 1 / wide[label] ** 2 - normalize / total**2
                        assert relative(exact.grad[0, [label]], [grad]) < 1e-15
                        assert relative(exact.hess[0, [label]], [hess]) < 1e-15
                exact = oracle.categorical_cross_entropy([p], np.array([y]), **options)
                loss = mpmath.fsum(-mpmath.mpf(t) * mpmath.log(v) for t, v in zip(y, q, strict=True))
                assert relative(exact.loss, [loss]) < DIGITS
                inside = mpmath.fsum(t for t, m in zip(y, moves, strict=True) if m) if normalize else mpmath.mpf(0)
                grad = [inside / total - m * mpmath.mpf(t) / v for t, m, v in zip(y, moves, wide, strict=True)]
                difference = np.abs(exact.grad[0] - np.array([oracle.exact(float(g)) for g in grad]))
                assert (difference <= exact.scale[0] * 1e-15).all()


def smooth_inputs(loss: Loss, rng: np.random.Generator, n: int, classes: int) -> Any:
    """Where differences are good to many digits: probabilities away from 0 and 1."""
    inputs = make_inputs(loss, rng, n, classes, np.float64)
    return inputs if loss.takes == "logits" else 0.4 + inputs / 4


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@every_form
def test_gradients_are_central_differences(loss: Loss, form: str, reduction: str) -> None:
    rng = np.random.default_rng(3)
    logits = smooth_inputs(loss, rng, 5, 6)
    targets = make_targets(rng, form, loss, 5, 6, np.float64)
    weights = np.array([1.0, 0.5, 0.0, 3.0, 2.0])
    for options in ({}, *loss.options):

        def value(z: Any, options: dict[str, Any] = options) -> Any:
            return loss.oracle(z, targets, reduction=reduction, sample_weight=weights, **options).loss

        exact = loss.oracle(logits, targets, reduction=reduction, sample_weight=weights, **options)
        difference = oracle.central_difference(value, logits)
        assert np.max(np.abs(exact.grad - difference)) < 1e-8


@every_loss
def test_curvature_is_the_difference_of_gradients(loss: Loss) -> None:
    rng = np.random.default_rng(4)
    logits = smooth_inputs(loss, rng, 4, 5)
    targets = make_targets(rng, "labels", loss, 4, 5)
    for options in ({}, *loss.options):
        exact = loss.oracle(logits, targets, **options)
        for at in np.ndindex(logits.shape):

            def slope(step: float, at: Any = at, options: dict[str, Any] = options) -> Any:
                z = oracle.exact(logits).copy()
                z[at] += step
                return loss.oracle(z, targets, **options).grad[at]

            assert abs((slope(1e-5) - slope(-1e-5)) / oracle.exact(2e-5) - exact.hess[at]) < 1e-8


def test_ulps_are_counted_in_the_spacing_of_the_dtype() -> None:
    one = oracle.exact(1.0)
    for dtype in (np.float32, np.float64):
        eps = float(np.finfo(dtype).eps)
        assert oracle.ulp_error(np.array([1 + 3 * eps], dtype), [one])[0] == 3
        assert oracle.ulp_error(np.array([1 - eps / 2], dtype), [one])[0] == 0.5
        assert oracle.ulp_error(np.array([0.75], dtype), oracle.exact([0.75 - eps / 2]))[0] == 1
        assert oracle.ulp_error(np.array([1 + eps], dtype), [one], [4 * one])[0] == 0.25
        tiny = float(np.finfo(dtype).smallest_normal)
        assert oracle.ulp_error(np.array([0.0], dtype), [one * tiny / 2])[0] == 0
        assert oracle.ulp_error(np.array([0.0], dtype), [one * tiny])[0] == 1 / eps
        assert oracle.ulp_error(np.array([tiny / 2 * (1 + eps * 2)], dtype), [one * tiny / 2])[0] == 1
        assert oracle.ulp_error(np.array([np.nan], dtype), [one])[0] == np.inf
        assert oracle.ulp_error(np.array([np.inf], dtype), [one])[0] == np.inf
        assert oracle.ulp_error(np.array([np.inf], dtype), [one * np.inf])[0] == 0
        largest = float(np.finfo(dtype).max)
        assert oracle.ulp_error(np.array([np.inf], dtype), [one * largest * 2])[0] == 0
        assert oracle.ulp_error(np.array([-np.inf], dtype), [one * largest * 2])[0] == np.inf
