"""Options of the softmax losses: every pair of them against the oracle, what they mean, what they must not change."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastxent as fx
import oracle
from losses import LOSSES, Loss, both_dtypes, class_losses, make_logits, make_targets, same_bits
from measured import all_of_them

SOFTMAX = [loss for loss in LOSSES if loss.outcomes == "classes" and loss.takes == "logits"]
LOSS_ULPS, GRAD_ULPS = 2, 4
# The slope of a soft cap is two roundings more for a gradient in double, and the heads that raise 1 - p to a power
# magnify what the capped scores round off (some 60 bits); README says so.
CAPPED_ULPS = 3, 5
# The contract does not bound curvature. The chain rule of a soft cap takes two factors more than plain Hessians do,
# which test_accuracy holds to 5 and 7.
HESS_ULPS = {np.float32: 6, np.float64: 8}
PRODUCT_ULPS = {np.float32: 6, np.float64: 8}
ROWS = 60


def options_for(classes: int, form: str) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(classes)
    by_row = rng.random((ROWS, classes)) < 0.3
    options = {
        "sample_weight": {"sample_weight": rng.choice([0.0, 0.5, 3.0], ROWS)},
        "class_weight": {"class_weight": rng.random(classes) * 2},
        "label_smoothing": {"label_smoothing": 0.15},
        "class_mask": {"class_mask": rng.random(classes) < 0.25},
        "masked rows": {"class_mask": by_row},
        "temperature": {"temperature": 0.6},
        "softcap": {"softcap": 20.0},
        "logit_bias": {"logit_bias": rng.standard_normal(classes) * 2},
        "z_loss": {"z_loss": 0.03},
        "small z_loss": {"z_loss": 1e-3},
    }
    if form == "labels":
        options["ignore_index"] = {"ignore_index": 1}
    return options


HEADS: dict[str, tuple[dict[str, Any], ...]] = {
    "softmax_cross_entropy": ({},),
    "softmax_focal_loss": ({"gamma": 1.5, "alpha": 0.25}, {"gamma": 0.5}),
    "poly_cross_entropy": ({"epsilon": 1.5},),
    "generalized_cross_entropy": ({"q": 0.6},),
}


def case(loss: Loss, form: str, classes: int, dtype: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """Logits and targets that a mask among the options leaves alone."""
    rng = np.random.default_rng(7)
    logits = make_logits(rng, ROWS, classes, dtype, 8.0)
    mask = options.get("class_mask")
    targets = make_targets(rng, form, loss, ROWS, classes, dtype)
    if mask is None:
        return logits, targets
    mask = np.broadcast_to(mask, logits.shape)
    if form == "labels":
        return logits, np.argmin(np.where(mask, 2.0, rng.random(logits.shape)), axis=1)
    dense = (targets.toarray() if form == "csr" else targets) * ~mask
    return logits, scipy.sparse.csr_array(dense) if form == "csr" else dense


@pytest.mark.parametrize("classes", [2, 7, 40])
@pytest.mark.parametrize("form", ["labels", "dense", "csr"])
@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
@both_dtypes
def test_every_pair(loss: Loss, form: str, classes: int, dtype: Any, isa: str) -> None:
    named = options_for(classes, form)
    if classes == 2:
        del named["class_mask"], named["masked rows"]
    with all_of_them() as check:
        for head in HEADS[loss.name]:
            if "alpha" in head:
                head = {**head, "alpha": np.linspace(0.2, 1.5, classes)}
            for names in [*combinations(named, 2), *((name,) for name in named)]:
                if set(names) in ({"class_mask", "masked rows"}, {"z_loss", "small z_loss"}):
                    continue
                options = {**head, **{k: v for name in names for k, v in named[name].items()}}
                logits, targets = case(loss, form, classes, dtype, options)
                for reduction in ("none", "mean"):
                    value, grad, hess, slope = loss.function(
                        logits, targets, grad=True, hess=True, temperature_grad=True, reduction=reduction, **options
                    )
                    exact = loss.oracle(logits, targets, reduction=reduction, **options)
                    what = f"{loss.name}({form}, {reduction}, {', '.join(names)})"
                    capped = "softcap" in names and dtype == np.float64
                    loss_ulps, grad_ulps = CAPPED_ULPS if capped else (LOSS_ULPS, GRAD_ULPS)
                    check(loss_ulps, f"{what} loss", isa, dtype(value), exact.loss)
                    check(grad_ulps, f"{what} grad", isa, grad, exact.grad, exact.scale, inputs=logits)
                    check(HESS_ULPS[dtype], f"{what} hess", isa, hess, exact.hess, exact.hess_scale, inputs=logits)
                    wanted = exact.temperature, exact.temperature_scale
                    check(grad_ulps, f"{what} by temperature", isa, dtype(slope), *wanted)


@pytest.mark.parametrize("form", ["labels", "dense", "csr"])
@both_dtypes
def test_product_with_the_hessian(form: str, dtype: Any, isa: str) -> None:
    loss, classes = SOFTMAX[0], 7
    named = options_for(classes, form)
    v = np.random.default_rng(1).standard_normal((ROWS, classes)).astype(dtype)
    with all_of_them() as check:
        for names in [(), *((name,) for name in named), *combinations(named, 2)]:
            if set(names) in ({"class_mask", "masked rows"}, {"z_loss", "small z_loss"}):
                continue
            options = {k: v for name in names for k, v in named[name].items()}
            logits, targets = case(loss, form, classes, dtype, options)
            for reduction in ("none", "mean"):
                product = fx.softmax_cross_entropy_hvp(logits, targets, v, reduction=reduction, **options)
                exact = loss.oracle(logits, targets, reduction=reduction, v=v, **options)
                assert product.dtype == dtype
                what = f"hvp({form}, {reduction}, {', '.join(names)})"
                check(PRODUCT_ULPS[dtype], what, isa, product, exact.product, exact.product_scale, inputs=logits)


def test_product_with_the_hessian_does_not_cancel(isa: str) -> None:
    product = fx.softmax_cross_entropy_hvp(np.float32([[20, 0]]), [0], [[1, 0]])
    p = float(oracle.softmax(np.array([[20.0, 0.0]]))[0, 1])
    p *= 1 - p
    assert np.abs(product - [[p, -p]]).max() <= 4 * np.spacing(np.float32(p))
    shifted = fx.softmax_cross_entropy_hvp(np.float32([[20, 0]]), [0], [[5, 4]])
    assert same_bits(shifted, product)


@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
@both_dtypes
def test_nothing_is_lost_at_saturation(loss: Loss, dtype: Any, isa: str) -> None:
    exact = loss.oracle(np.array([[20.0, 0.0]]), [0], reduction="none")
    value, grad = loss.function(np.array([[20, 0]], dtype), [0], grad=True, reduction="none")
    assert oracle.ulp_error(value, exact.loss).max() <= LOSS_ULPS
    assert oracle.ulp_error(grad, exact.grad).max() <= GRAD_ULPS


@pytest.mark.parametrize("gamma", [0.01, 0.5, 1.0, 2.0, 5.0, 50.0])
@both_dtypes
def test_focal_loss_is_finite_wherever_p_goes(gamma: float, dtype: Any, isa: str) -> None:
    logits = np.array([[40, 0], [0, 40], [300, 0], [0, 300], [0, 0], [1e4, -1e4]], dtype)
    for form in (np.zeros(6, int), np.tile(np.array([0.9, 0.1], dtype), (6, 1))):
        for smoothing in (0.0, 0.1):
            options = {"gamma": gamma, "label_smoothing": smoothing}
            value, grad, hess = fx.softmax_focal_loss(logits, form, grad=True, hess=True, reduction="none", **options)
            exact = oracle.softmax_focal_loss(logits, form, reduction="none", **options)
            assert np.isfinite(value).all() and np.isfinite(grad).all() and np.isfinite(hess).all()
            # The contract's two ulps are for exponents of moderate size: a power magnifies its base's error.
            assert oracle.ulp_error(value, exact.loss).max() <= LOSS_ULPS + gamma / 10
            assert oracle.ulp_error(grad, exact.grad, exact.scale).max() <= GRAD_ULPS + gamma / 10


# ---- what options mean ------------------------------------------------------------------------------------------


@class_losses
def test_class_weight_is_a_weight_of_the_row(loss: Loss, isa: str) -> None:
    logits = make_logits(np.random.default_rng(0), 50, 6)
    labels = np.random.default_rng(1).integers(0, 6, 50)
    weights = np.linspace(0.1, 2, 6)
    if loss.name == "categorical_cross_entropy":
        logits = fx.softmax(logits, axis=1)
    for reduction in ("mean", "sum", "none"):
        a = loss.function(logits, labels, class_weight=weights, reduction=reduction, grad=True)
        b = loss.function(logits, labels, sample_weight=weights[labels], reduction=reduction, grad=True)
        assert same_bits(a[0], b[0]) and same_bits(a[1], b[1])


@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
@both_dtypes
def test_class_mask_is_as_if_the_class_were_not_there(loss: Loss, dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    logits = make_logits(rng, 30, 40, dtype)
    mask = rng.random(40) < 0.5
    labels = rng.choice(np.flatnonzero(~mask), 30)
    logits[:, np.flatnonzero(mask)[:3]] = [np.inf, np.nan, 1e6]
    renamed = (np.cumsum(~mask) - 1)[labels]
    value, grad, hess = loss.function(
        logits, labels, class_mask=mask, grad=True, hess=True, reduction="none", label_smoothing=0.1
    )
    exact = loss.oracle(logits[:, ~mask], renamed, reduction="none", label_smoothing=0.1)
    assert oracle.ulp_error(value, exact.loss).max() <= LOSS_ULPS
    assert oracle.ulp_error(grad[:, ~mask], exact.grad, exact.scale).max() <= GRAD_ULPS
    assert not grad[:, mask].any() and not hess[:, mask].any()
    by_row = np.tile(mask, (30, 1))
    again = loss.function(
        logits, labels, class_mask=by_row, grad=True, hess=True, reduction="none", label_smoothing=0.1
    )
    assert all(same_bits(a, b) for a, b in zip(again, (value, grad, hess), strict=True))


@both_dtypes
def test_scores_are_capped_then_biased_then_divided(dtype: Any, isa: str) -> None:
    logits = make_logits(np.random.default_rng(0), 20, 5, dtype, 30.0)
    bias = np.arange(5.0)
    z = (10 * np.tanh(logits.astype(np.longdouble) / 10) + bias) / 2
    exact = oracle.softmax_cross_entropy(z, np.zeros(20, int), reduction="none")
    value = fx.softmax_cross_entropy(
        logits, np.zeros(20, int), softcap=10, logit_bias=bias, temperature=2, reduction="none"
    )
    assert oracle.ulp_error(value, exact.loss).max() <= LOSS_ULPS


def test_z_loss_is_added(isa: str) -> None:
    logits = np.array([[3.0, 4.0]])
    both = fx.softmax_cross_entropy(logits, [0], z_loss=0.5)
    assert both == pytest.approx(fx.softmax_cross_entropy(logits, [0]) + 0.5 * fx.logsumexp(logits) ** 2, rel=1e-15)


def test_a_bias_of_minus_infinity_leaves_a_class_out(isa: str) -> None:
    logits = np.array([[3.0, 4.0, 5.0]])
    loss, grad = fx.softmax_cross_entropy(logits, [0], logit_bias=[0.0, 0.0, -np.inf], grad=True)
    wanted, part = fx.softmax_cross_entropy(logits[:, :2], [0], grad=True)
    assert loss == pytest.approx(wanted, rel=1e-15)
    assert grad[0, 2] == 0
    np.testing.assert_allclose(grad[:, :2], part, rtol=1e-14)


def test_focal_loss_without_gamma_is_cross_entropy(isa: str) -> None:
    logits, labels = make_logits(np.random.default_rng(0), 40, 40), np.arange(40)
    a = fx.softmax_focal_loss(logits, labels, gamma=0, grad=True)
    b = fx.softmax_cross_entropy(logits, labels, grad=True)
    assert a[0] == b[0] and same_bits(a[1], b[1])


@pytest.mark.parametrize("function", [fx.poly_cross_entropy, fx.generalized_cross_entropy])
def test_limits_are_cross_entropy(function: Any, isa: str) -> None:
    logits, labels = make_logits(np.random.default_rng(0), 40, 40, np.float64), np.arange(40)
    option = {"epsilon": 0.0} if function is fx.poly_cross_entropy else {"q": 1e-12}
    value, grad = function(logits, labels, grad=True, **option)
    wanted, wanted_grad = fx.softmax_cross_entropy(logits, labels, grad=True)
    assert value == pytest.approx(wanted, rel=1e-9)
    np.testing.assert_allclose(grad, wanted_grad, rtol=1e-9, atol=1e-18)


# ---- what options must not change -------------------------------------------------------------------------------

TOGETHER = (
    {"softcap": 20.0, "temperature": 0.7, "label_smoothing": 0.1, "z_loss": 0.01},
    {"logit_bias": np.linspace(-1, 1, 40), "class_mask": np.arange(40) % 5 == 3},
    {"class_weight": np.linspace(0.5, 2, 40), "temperature": 3.0},
)


@pytest.mark.parametrize("options", TOGETHER, ids=["cap", "mask", "weights"])
@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
@both_dtypes
def test_layouts_threads_and_splits(loss: Loss, options: dict[str, Any], dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(3)
    logits = make_logits(rng, 90, 40, dtype)
    labels = rng.integers(0, 8, 90) * 5

    def run(z: np.ndarray, y: np.ndarray, **more: Any) -> tuple[np.ndarray, ...]:
        return loss.function(z, y, grad=more.pop("grad", True), hess=True, temperature_grad=True, **options, **more)

    first = run(logits, labels, reduction="none")
    for other in (logits.copy(order="F"), logits[::-1][::-1], np.repeat(logits, 2, axis=1)[:, ::2]):
        assert all(same_bits(a, b) for a, b in zip(run(other, labels, reduction="none"), first, strict=True))
    for threads in (1, 2, 3):
        again = run(logits, labels, reduction="none", n_threads=threads)
        assert all(same_bits(a, b) for a, b in zip(again, first, strict=True))
    parts = [run(logits[i:j], labels[i:j], reduction="none") for i, j in ((0, 1), (1, 50), (50, 90))]
    for k in range(4):
        assert same_bits(np.concatenate([part[k] for part in parts]), first[k])
    mine = logits.copy()
    in_place = run(mine, labels, reduction="none", grad=mine)
    assert in_place[1] is mine
    assert all(same_bits(a, b) for a, b in zip(in_place, first, strict=True))
    cube = logits.reshape(9, 10, 40).transpose(0, 2, 1)
    turned = run(np.ascontiguousarray(cube), labels.reshape(9, 10), reduction="none", axis=1)
    assert same_bits(turned[1].transpose(0, 2, 1).reshape(90, 40), first[1])
    assert same_bits(turned[3].reshape(90), first[3])
    sums = [run(logits, labels, n_threads=threads)[0] for threads in (1, 2)]
    assert sums[0] == sums[1]


@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
def test_half_precision_is_widened_first(loss: Loss, isa: str) -> None:
    logits = make_logits(np.random.default_rng(3), 20, 40).astype(np.float16)
    options = {"softcap": 20.0, "temperature": 0.7, "logit_bias": np.linspace(-1, 1, 40)}
    a = loss.function(logits, np.arange(20), grad=True, **options)
    b = loss.function(logits.astype(np.float32), np.arange(20), grad=True, **options)
    assert a[0] == b[0] and same_bits(a[1], b[1])


# ---- refusals ---------------------------------------------------------------------------------------------------

REFUSED: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
    ({"temperature": 0}, ValueError, "temperature is 0"),
    ({"temperature": -1.0}, ValueError, "temperature is -1"),
    ({"temperature": np.nan}, ValueError, "temperature is nan"),
    ({"temperature": "hot"}, TypeError, "temperature is 'hot'"),
    ({"temperature": np.ones(3)}, TypeError, "temperature is array"),
    ({"temperature_grad": 1}, TypeError, "temperature_grad is 1"),
    ({"softcap": 0.0}, ValueError, "softcap is 0"),
    ({"softcap": -30}, ValueError, "softcap is -30"),
    ({"softcap": np.inf}, ValueError, "softcap is inf"),
    ({"z_loss": -1e-4}, ValueError, "z_loss is -0.0001"),
    ({"z_loss": np.inf}, ValueError, "z_loss is inf"),
    ({"label_smoothing": 1.5}, ValueError, "label_smoothing is 1.5"),
    ({"label_smoothing": -0.1}, ValueError, "label_smoothing is -0.1"),
    ({"logit_bias": [1.0, 2.0]}, ValueError, r"logit_bias has shape \(2,\)"),
    ({"logit_bias": [0.0, np.nan, 0.0]}, ValueError, r"logit_bias\[1\] is nan"),
    ({"logit_bias": [0.0, np.inf, 0.0]}, ValueError, r"logit_bias\[1\] is inf"),
    ({"class_weight": [1.0, -2.0, 0.0]}, ValueError, r"class_weight\[1\] is -2"),
    ({"class_weight": [1.0, 2.0]}, ValueError, r"class_weight has shape \(2,\)"),
    ({"class_weight": {0: 1.0}}, TypeError, "class_weight has dtype object"),
    ({"class_mask": [True, True, True]}, ValueError, "class_mask leaves row 0 no class"),
    ({"class_mask": [[False, False, True], [True, True, True]]}, ValueError, "class_mask leaves row 1 no class"),
    ({"class_mask": [False, True, False]}, ValueError, "class_mask leaves out class 1, which is a target of row 1"),
    ({"class_mask": [0, 0, 1]}, TypeError, "class_mask has dtype int"),
    ({"class_mask": [True, False]}, ValueError, r"class_mask has shape \(2,\)"),
    ({"class_mask": np.ma.masked_array([False, False, True])}, TypeError, "class_mask"),
)


@pytest.mark.parametrize("options, error, message", REFUSED, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
def test_options_outside_their_domain(loss: Loss, options: dict[str, Any], error: Any, message: str) -> None:
    logits = np.zeros((2, 3))
    dense = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    for targets in ([0, 1], dense, scipy.sparse.csr_array(dense)):
        for grad in (False, True):
            with pytest.raises(error, match=message):
                loss.function(logits, targets, grad=grad, **options)
        buffer = np.full((2, 3), 7.0)
        with pytest.raises(error, match=message):
            loss.function(logits, targets, grad=buffer, **options)
        assert (buffer == 7).all()


@pytest.mark.parametrize(
    "function, options, message",
    [
        (fx.softmax_focal_loss, {"gamma": -0.5}, "gamma is -0.5"),
        (fx.softmax_focal_loss, {"gamma": np.inf}, "gamma is inf"),
        (fx.softmax_focal_loss, {"alpha": -1.0}, "alpha is -1"),
        (fx.softmax_focal_loss, {"alpha": [1.0, np.nan, 1.0]}, r"alpha\[1\] is nan"),
        (fx.softmax_focal_loss, {"alpha": [1.0]}, r"alpha has shape \(1,\)"),
        (fx.poly_cross_entropy, {"epsilon": -1.5}, "epsilon is -1.5"),
        (fx.generalized_cross_entropy, {"q": 0.0}, "q is 0.*softmax_cross_entropy"),
        (fx.generalized_cross_entropy, {"q": 1.5}, "q is 1.5"),
    ],
)
def test_parameters_outside_their_domain(function: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(np.zeros((2, 3)), [0, 1], **options)


def test_masked_rows_that_do_not_count_are_let_pass() -> None:
    """An ignored row has no target to be masked and needs no class; a score of -inf is not a mask."""
    logits = np.array([[1.0, 2.0, 3.0], [1.0, -np.inf, 3.0]])
    mask = np.array([[True, True, True], [False, False, False]])
    for grad in (False, True, np.empty((2, 3))):
        result = fx.softmax_cross_entropy(logits, [-1, 1], ignore_index=-1, class_mask=mask, grad=grad)
        assert (result if grad is False else result[0]) == np.inf
    mask[0] = [False, True, False]
    dense = np.array([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
    assert fx.softmax_cross_entropy(logits, dense, class_mask=mask) == np.inf


@pytest.mark.parametrize("v", [np.zeros((2, 2)), np.zeros(3), np.zeros((2, 3), complex), None])
def test_product_with_the_hessian_refuses(v: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="v "):
        fx.softmax_cross_entropy_hvp(np.zeros((2, 3)), [0, 1], v)


def test_product_with_the_hessian_into_buffers(isa: str) -> None:
    logits, labels = make_logits(np.random.default_rng(0), 30, 40), np.arange(30)
    v = make_logits(np.random.default_rng(1), 30, 40)
    wanted = fx.softmax_cross_entropy_hvp(logits, labels, v)
    out = np.empty_like(logits)
    assert fx.softmax_cross_entropy_hvp(logits, labels, v, out=out) is out
    assert same_bits(out, wanted)
    mine = logits.copy()
    fx.softmax_cross_entropy_hvp(mine, labels, v, out=mine)
    assert same_bits(mine, wanted)
    assert same_bits(fx.softmax_cross_entropy_hvp(logits, labels, np.asfortranarray(v)), wanted)
    with pytest.raises(ValueError, match="out overlaps v"):
        fx.softmax_cross_entropy_hvp(logits, labels, v, out=v)


# ---- what a review found ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [1, np.float32(1), np.float64(1), np.int8(1)])
@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
def test_a_temperature_of_one_of_any_type(loss: Loss, one: Any, isa: str) -> None:
    for classes in (3, 100):
        logits = make_logits(np.random.default_rng(0), 4, classes)
        wanted = loss.function(logits, [0, 1, 2, 0], grad=True)
        value = loss.function(logits, [0, 1, 2, 0], grad=True, temperature=one)
        assert value[0] == wanted[0] and same_bits(value[1], wanted[1])


@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
def test_labels_at_minus_infinity_and_rows_of_nan(loss: Loss, isa: str) -> None:
    limit = np.inf if loss.name != "generalized_cross_entropy" else pytest.approx(1 / 0.7)
    for options in ({}, {"temperature": 2.0}, {"softcap": 9.0}, {"z_loss": 0.1}, {"logit_bias": np.ones(3)}):
        value, grad = loss.function(
            np.float32([[-np.inf, 1, 2]]), [0], grad=True, reduction="none", **{**options, "z_loss": 0.0}
        )
        assert value[0] == limit
        assert np.isfinite(grad).all()
        for row in ([np.nan, 1, 2], [-np.inf] * 3):
            for y in ([[0, 0, 0]], [[0.5, 0.5, 0]], [[0, 1, 0]]):
                for targets in (np.float32(y), scipy.sparse.csr_array(np.float32(y))):
                    value, grad = loss.function(np.float32([row]), targets, grad=True, reduction="none", **options)
                    assert np.isnan(value).all()
                    assert np.isnan(grad).all() or not np.any(y)


@pytest.mark.parametrize("classes", [2, 20, 100])
@pytest.mark.parametrize(
    ("size", "temperature"), [(1e8, 1.0), (1e7, 1.0), (1e6, 0.01), (1e5, 0.01), (1e5, 1.0), (3e4, 1e-3)]
)
@both_dtypes
def test_a_bias_that_takes_the_scores_back(dtype: Any, size: float, temperature: float, classes: int, isa: str) -> None:
    """What is left is of the size of a temperature, and all its digits are there."""
    rng = np.random.default_rng(classes)
    logits = np.round(rng.standard_normal((6, classes)) * size).astype(dtype)
    logits[:] = logits[0]
    bias = -logits[0].astype(np.float64) + 3 * temperature * rng.standard_normal(classes)
    options: dict[str, Any] = {"logit_bias": bias, "temperature": temperature, "reduction": "none"}
    labels = np.arange(6) % classes
    loss, grad = fx.softmax_cross_entropy(logits, labels, grad=True, **options)
    exact = oracle.softmax_cross_entropy(logits, labels, **options)
    assert oracle.ulp_error(loss, exact.loss).max() <= 2
    assert oracle.ulp_error(grad, exact.grad, exact.scale).max() <= 4


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 1e-9, 0.0])
@pytest.mark.parametrize("options", [{"z_loss": 1.0}, {"label_smoothing": 0.1}], ids=str)
@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
def test_the_temperature_gradient_of_small_scores(loss: Loss, options: Any, size: float, isa: str) -> None:
    """At a temperature of 1 it is the sum of gradients times scores, less."""
    x = np.random.default_rng(0).standard_normal((5, 7)) * size
    _, grad, slope = loss.function(x, [0, 1, 2, 3, 4], grad=True, temperature_grad=True, reduction="none", **options)
    wide = grad.astype(np.longdouble) * x
    assert np.abs(slope + wide.sum(1)).max() <= 8 * np.finfo(float).eps * np.abs(wide).max(initial=0)


@pytest.mark.parametrize("loss", SOFTMAX[1:], ids=lambda loss: loss.name)
@pytest.mark.parametrize("name", ["vector", "head", "parameter", "pos_weight", "tempreature"])
def test_unknown_options_are_refused_by_the_name_of_the_function(loss: Loss, name: str) -> None:
    with pytest.raises(TypeError, match=rf"{loss.name}\(\) got an unexpected keyword argument '{name}'"):
        loss.function(np.zeros((2, 3)), [0, 1], **{name: np.ones((2, 3))})


def test_no_warning_escapes_the_derivative_by_temperature() -> None:
    with np.errstate(all="raise"):
        for logits in ([[-3e38, 3e38]], [[3e38, 3e38]], [[1e-30, 2e-30]]):
            fx.softmax_cross_entropy(np.float32(logits), [0], temperature_grad=True, reduction="none", z_loss=0.1)


@pytest.mark.parametrize("loss", SOFTMAX, ids=lambda loss: loss.name)
@both_dtypes
def test_one_hot_targets_have_the_bits_of_labels_with_class_weights(loss: Loss, dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    logits, labels, weights = make_logits(rng, 37, 10, dtype), rng.integers(0, 10, 37), np.linspace(0.5, 2, 10)
    wanted = loss.function(logits, labels, class_weight=weights, grad=True)
    for dense in (np.eye(10, dtype=dtype)[labels], np.eye(10)[labels], np.eye(10, dtype=int)[labels]):
        for targets in (dense, scipy.sparse.csr_array(dense)):
            value = loss.function(logits, targets, class_weight=weights, grad=True)
            assert value[0] == wanted[0] and same_bits(value[1], wanted[1])


def test_sparse_targets_are_finite_in_the_dtype_of_the_logits() -> None:
    targets = scipy.sparse.csr_array(np.array([[1.0, 0, 0], [0, 1e39, 0]]))
    with pytest.raises(ValueError, match=r"targets\[1, 1\] is 1e\+39: .* finite as float32"):
        fx.softmax_cross_entropy(np.zeros((2, 3), np.float32), targets)
    assert np.isfinite(fx.softmax_cross_entropy(np.zeros((2, 3)), targets))


def test_a_bias_of_minus_infinity_outdoes_a_score_of_infinity(isa: str) -> None:
    logits = np.array([[1.0, np.inf, 2.0]])
    biased = fx.softmax_cross_entropy(logits, [0], logit_bias=[0.0, -np.inf, 0.0], grad=True)
    masked = fx.softmax_cross_entropy(logits, [0], class_mask=[False, True, False], grad=True)
    assert biased[0] == pytest.approx(masked[0], rel=1e-15)
    np.testing.assert_allclose(biased[1], masked[1], rtol=1e-14)


@pytest.mark.parametrize("function", [fx.softmax_cross_entropy_hvp, fx.sigmoid_cross_entropy_hvp])
def test_products_need_a_vector(function: Any) -> None:
    with pytest.raises(TypeError, match="v is None"):
        function(np.zeros((2, 3)), [0, 1] if function is fx.softmax_cross_entropy_hvp else np.zeros((2, 3)), None)


@pytest.mark.parametrize("classes", [65, 1_000, 40_000])
@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1}, {"z_loss": 0.01}], ids=["plain", "smoothed", "z-loss"]
)
@pytest.mark.parametrize("temperature", [1e-36, 0.03, 1.7, 300.0])
def test_temperature_has_the_bits_of_scores_transformed_first(
    temperature: float, options: dict[str, Any], classes: int, isa: str
) -> None:
    """A mask, even of no class, has the scaled scores stored; without one they are scaled as they are read."""
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((12, classes)) * rng.choice([1, 30], (12, 1))).astype(np.float32)
    logits[2] += 500
    logits[3, 5] = logits[4, 6] = np.inf
    logits[5, 7:] = -np.inf
    logits[6, 8] = np.nan
    logits[7] = -np.inf
    logits[9, 10] = -3e38
    logits[8, 9] += np.float32(60 * temperature)
    labels = rng.integers(0, 6, 12)
    none = np.zeros(classes, bool)
    for extra in ({}, {"hess": True}, {"sample_weight": np.arange(12.0)}):
        asked = {"grad": True, "temperature": temperature, "reduction": "none", "n_threads": 2, **options, **extra}
        if "sample_weight" in extra:
            asked["temperature_grad"] = True
        for some in (logits, logits[:1], np.asfortranarray(logits)):
            stored = fx.softmax_cross_entropy(some, labels[: len(some)], class_mask=none, **cut(asked, len(some)))
            read = fx.softmax_cross_entropy(some, labels[: len(some)], **cut(asked, len(some)))
            same(read, stored)
            over = some.copy(order="K")
            same(fx.softmax_cross_entropy(over, labels[: len(some)], **cut(asked, len(some)) | {"grad": over}), read)
        alone = fx.softmax_cross_entropy(logits, labels, **asked | {"grad": False, "hess": False})
        same((alone[0] if "temperature_grad" in asked else alone,), read[:1])


@pytest.mark.parametrize("classes", [65, 1_000, 40_000, 130_000])
@pytest.mark.parametrize(
    "options",
    [{}, {"label_smoothing": 0.1}, {"z_loss": 0.01}, {"hess": True}, {"sample_weight": np.arange(12.0)}],
    ids=["plain", "smoothed", "z-loss", "hess", "weights"],
)
def test_masked_scores_have_the_bits_of_infinite_ones(options: dict[str, Any], classes: int, isa: str) -> None:
    """Floats with labels are left out as they are read, others beforehand."""
    rng = np.random.default_rng(1)
    logits = (rng.standard_normal((12, classes)) * rng.choice([1, 30], (12, 1))).astype(np.float32)
    mask = rng.random((12, classes)) < 0.3
    labels = rng.integers(0, 6, 12)
    mask[:, :10] = False
    logits[2] += 500
    logits[3, 5] = logits[4, 6] = np.inf
    logits[5, 7:] = -np.inf
    logits[6, 8] = np.nan
    logits[7, ~mask[7]] = -np.inf
    logits[9, 10:][mask[9, 10:]] = np.nan
    logits[10, 10:][mask[10, 10:]] = np.inf
    logits[8, 9] = 60
    by_row = np.where(mask, np.float32(-np.inf), logits)
    for_all = np.where(mask[1], np.float32(-np.inf), logits)
    for given, masked in ((mask, by_row), (mask[1], for_all), (np.asfortranarray(mask), by_row)):
        for some, threads in ((logits, 2), (logits[:1], 2), (logits[:2], 1), (np.asfortranarray(logits), 2)):
            rows = len(some)
            left_out = given if given.ndim == 1 else given[:rows]
            asked = {"grad": True, "reduction": "none", "n_threads": threads, **cut(options, rows)}
            wanted = fx.softmax_cross_entropy(masked[:rows], labels[:rows], **asked)
            same(fx.softmax_cross_entropy(some, labels[:rows], class_mask=left_out, **asked), wanted)
            over = some.copy(order="K")
            same(fx.softmax_cross_entropy(over, labels[:rows], class_mask=left_out, **asked | {"grad": over}), wanted)
            alone = fx.softmax_cross_entropy(some, labels[:rows], class_mask=left_out, **asked | {"grad": False})
            same((alone[0] if "hess" in options else alone,), wanted[:1])
    with pytest.raises(ValueError, match=f"class_mask leaves out class {classes - 1}, which is a target of row 11"):
        mask[11, -1] = True
        fx.softmax_cross_entropy(logits, [*labels[:11], classes - 1], class_mask=mask)


@pytest.mark.parametrize("temperature", [1e30, 1e29, 1e-24, 1e-30, 1e-36])
@pytest.mark.parametrize("largest", [5.0, 0.0])
def test_temperature_gradient_at_extremes(temperature: float, largest: float, isa: str) -> None:
    """Scores of the size of the temperature, whose margins times an exponential leave the range of floats."""
    scaled = np.concatenate([[largest], np.linspace(largest - 40, largest - 1, 99)])
    logits = (scaled * temperature).astype(np.float32)[None]
    exact = logits[0].astype(np.float64) / temperature
    p = np.exp(exact - exact.max())
    p /= p.sum()
    wanted = ((exact[3] - p @ exact) / temperature,)
    options: dict[str, Any] = {"temperature": temperature, "temperature_grad": True, "n_threads": 1}
    for grad in (True, False):
        got = fx.softmax_cross_entropy(logits, [3], grad=grad, **options)[-1]
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("cap", [1e-3, 1e6, 1e9, 1e12, 1e30])
def test_soft_caps_far_from_their_scores(cap: float, isa: str) -> None:
    logits = np.random.default_rng(0).standard_normal((3, 100)).astype(np.float32)
    capped = cap * np.tanh(logits.astype(np.longdouble) / cap)
    loss, grad = fx.softmax_cross_entropy(logits, [1, 2, 3], softcap=cap, grad=True, reduction="none")
    wanted = np.log(np.exp(capped).sum(axis=1)) - capped[range(3), [1, 2, 3]]
    np.testing.assert_allclose(loss, wanted.astype(np.float64), rtol=3e-7)
    p = np.exp(capped) / np.exp(capped).sum(axis=1, keepdims=True)
    p[range(3), [1, 2, 3]] -= 1
    slope = 1 / np.cosh(np.minimum(np.abs(logits.astype(np.longdouble)) / cap, 5000)) ** 2
    np.testing.assert_allclose(grad, (p * slope).astype(np.float64), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_masked_nan_under_a_soft_cap(dtype: Any, classes: int, isa: str) -> None:
    logits = np.zeros((1, classes), dtype)
    mask = np.arange(classes) == 3
    options: dict[str, Any] = {"softcap": 30.0, "class_mask": mask, "grad": True, "hess": True}
    wanted = fx.softmax_cross_entropy(logits, [0], **options)
    logits[0, 3] = np.nan
    same(fx.softmax_cross_entropy(logits, [0], **options), wanted)


def test_margins_beyond_the_range_of_floats(isa: str) -> None:
    logits = np.zeros((1, 200), np.float32)
    logits[0, :] = -3e38
    logits[0, 0] = 3e38
    loss = fx.softmax_cross_entropy(logits, [0], label_smoothing=0.1)
    assert loss == pytest.approx(0.1 * 199 / 200 * 2 * float(np.float32(3e38)), rel=1e-6)


def same(got: Any, wanted: Any) -> None:
    """To the last bit, but for those of a NaN."""
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def cut(options: dict[str, Any], rows: int) -> dict[str, Any]:
    return {k: v[:rows] if isinstance(v, np.ndarray) else v for k, v in options.items()}
