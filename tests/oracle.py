"""What the library computes, in long double, or in mpmath where long double is no wider than double.

Nothing here is shared with the library. The formulas avoid cancellation as well, but in another way: one largest score
is taken out of the sum by its position, and a gradient is ``p (mass - y) - y (1 - p)``. `test_oracle.py` holds them
against the definitions in mpmath and against central differences.

Scores may be finite or -inf; what comes of NaN and +inf is spelt out in `test_special_values.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mpmath
import numpy as np

WIDE = np.finfo(np.longdouble).nmant >= 63
_mp = mpmath.MPContext()
_mp.prec = 120

if WIDE:
    exp, log, log1p, expm1 = np.exp, np.log, np.log1p, np.expm1
else:
    exp, log, log1p, expm1 = (np.frompyfunc(f, 1, 1) for f in (_mp.exp, _mp.log, _mp.log1p, _mp.expm1))


class Exact(NamedTuple):
    """`scale` is what the gradient's ulps are those of: the larger of p and y where these are subtracted. `hess_scale`
    is that of the Hessian, by default the Hessian itself."""

    loss: Any
    grad: np.ndarray
    hess: np.ndarray
    scale: np.ndarray
    hess_scale: np.ndarray | None = None


class Rows(NamedTuple):
    """Of every row of scores, classes along the last axis."""

    nll: np.ndarray
    p: np.ndarray
    not_p: np.ndarray
    top: np.ndarray
    log_total: np.ndarray


def exact(x: Any) -> np.ndarray:
    """The same numbers, as wide ones."""
    x = np.asarray(x)
    if x.dtype == (np.longdouble if WIDE else object):
        return x
    x = x.astype(np.float64)
    return x.astype(np.longdouble) if WIDE else np.asarray(np.frompyfunc(_mp.mpf, 1, 1)(x), object)


def rows_of(logits: Any) -> Rows:
    z = exact(logits)
    at = np.argmax(z, axis=-1)[..., None]
    top = np.take_along_axis(z, at, -1)
    margin = top - z
    # What the subtraction rounded off (two-sum), so that exp gets an exact argument.
    with np.errstate(invalid="ignore"):
        back = margin - top
        lost = (top - (margin - back)) + (-z - back)
        lost = np.where(np.abs(margin) == np.inf, exact(0), lost)
    with np.errstate(under="ignore"):
        e = exp(-margin) * (1 - lost)
    np.put_along_axis(e, at, exact(0), -1)
    others = e.sum(axis=-1, keepdims=True)
    np.put_along_axis(e, at, exact(1), -1)
    total = 1 + others
    p = e / total
    not_p = 1 - p
    np.put_along_axis(not_p, at, others / total, -1)
    log_total = log1p(others)
    return Rows(margin + (lost + log_total), p, not_p, top[..., 0], log_total[..., 0])


def logsumexp(x: Any) -> np.ndarray:
    rows = rows_of(x)
    return rows.top + rows.log_total


def softmax(x: Any) -> np.ndarray:
    return rows_of(x).p


def log_softmax(x: Any) -> np.ndarray:
    return -rows_of(x).nll


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """expit(x), expit(-x), log(1 + exp(x)), log(1 + exp(-x))."""
    with np.errstate(under="ignore"):
        e = exp(-np.abs(x))
    up, down = 1 / (1 + e), e / (1 + e)
    positive = x > 0
    soft = log1p(e)
    zero = exact(np.zeros(x.shape))
    return (
        np.where(positive, up, down),
        np.where(positive, down, up),
        np.where(positive, x, zero) + soft,
        np.where(positive, zero, -x) + soft,
    )


def expit(x: Any) -> np.ndarray:
    return _halves(exact(x))[0]


def log_expit(x: Any) -> np.ndarray:
    return -_halves(exact(x))[3]


def one_hot(labels: np.ndarray, classes: int, dtype: Any = np.float64) -> np.ndarray:
    """Rows of zeros for labels that are no class."""
    return (np.asarray(labels)[..., None] == np.arange(classes)).astype(dtype)


def _reduce(loss: np.ndarray, weights: np.ndarray, counts: np.ndarray, reduction: str) -> tuple[Any, Any]:
    """The reduced loss, and what the gradients are multiplied by beside their weights."""
    one = exact(1.0)[()]
    if reduction == "none":
        return loss, one
    total = loss.sum()
    if reduction == "sum":
        return total, one
    weight = (weights * counts).sum()
    return (total / weight, 1 / weight) if weight > 0 else (exact(0.0)[()], exact(0.0)[()])


def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    axis: int = -1,
) -> Exact:
    z = np.moveaxis(np.asarray(logits), axis, -1)
    classes = z.shape[-1]
    if hasattr(targets, "toarray"):
        targets = targets.toarray()
    targets = np.asarray(targets)
    counts = np.ones(z.shape[:-1], bool)
    if targets.ndim < z.ndim:
        if ignore_index is not None:
            counts = targets != ignore_index
        targets = one_hot(targets, classes)
    else:
        targets = np.moveaxis(targets, axis, -1)
    weights = exact(np.ones(counts.shape) if sample_weight is None else sample_weight)
    live = counts & (weights > 0)

    rows = rows_of(z)
    y, smoothing = exact(targets), exact(label_smoothing)
    unmasked = z > -np.inf
    y = (1 - smoothing) * y + np.where(unmasked, smoothing / unmasked.sum(-1, keepdims=True), exact(0.0))
    mass = y.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        loss = np.where(y == 0, exact(0.0), y * rows.nll).sum(-1)
    grad = rows.p * (mass - y) - y * rows.not_p
    hess = mass * rows.p * rows.not_p
    hard = (y != 0).sum(-1, keepdims=True) <= 1
    scale = np.where(hard, np.abs(grad), np.maximum(mass * rows.p, y))

    loss = np.where(live, weights * loss, exact(0.0))
    loss, factor = _reduce(loss, weights, exact(counts), reduction)
    factor = np.where(live, weights * factor, exact(0.0))[..., None]
    return Exact(loss, *(np.moveaxis(a * factor, -1, axis) for a in (grad, hess, scale)))


def sigmoid_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    sample_weight: Any = None,
    pos_weight: Any = 1.0,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Exact:
    x, no, yes, weights = _elements(logits, targets, sample_weight, label_smoothing)
    yes = exact(pos_weight) * yes
    p, q, soft, soft_neg = _halves(x)
    with np.errstate(invalid="ignore"):
        loss = np.where(no == 0, exact(0.0), no * soft) + np.where(yes == 0, exact(0.0), yes * soft_neg)
    grad = no * p - yes * q
    hess = (no + yes) * p * q
    scale = np.where((no == 0) | (yes == 0), np.abs(grad), np.maximum((no + yes) * p, yes))
    loss = np.where(weights == 0, exact(0.0), weights * loss)
    loss, factor = _reduce(loss, weights, exact(np.ones(x.shape)), reduction)
    factor = weights * factor
    return Exact(loss, grad * factor, hess * factor, scale * factor)


def _elements(
    logits: Any, targets: Any, sample_weight: Any, label_smoothing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, 1 - y and y with the smoothing in them, weights of the elements."""
    x = exact(logits)
    if hasattr(targets, "toarray"):
        targets = targets.toarray()
    smoothing = exact(label_smoothing)
    y = (1 - smoothing) * exact(targets) + smoothing / 2
    weights = exact(np.ones(x.shape) if sample_weight is None else sample_weight)
    if weights.ndim < x.ndim:
        weights = weights.reshape(weights.shape + (1,) * (x.ndim - 1))
    return x, 1 - y, y, weights + exact(np.zeros(x.shape))


def sigmoid_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    sample_weight: Any = None,
    pos_weight: Any = 1.0,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Exact:
    x, no, yes, weights = _elements(logits, targets, sample_weight, label_smoothing)
    if alpha is not None:
        no, yes = (1 - exact(alpha)) * no, exact(alpha) * yes
    yes = exact(pos_weight) * yes
    p, q, soft, soft_neg = _halves(x)
    gamma = exact(gamma)[()]

    def outcome(share: np.ndarray, p: np.ndarray, q: np.ndarray, nll: np.ndarray) -> tuple[np.ndarray, ...]:
        """What one of the two adds: loss, slope by its own score, and the positive and negative part of the slope's."""
        with np.errstate(under="ignore"):
            power = share * q**gamma
            return (
                np.where(share == 0, exact(0.0), power * nll),
                -power * (q + gamma * p * nll),
                power * p * (q + 2 * gamma * q + gamma**2 * p * nll),
                power * p * gamma * q * nll,
            )

    loss, slope, rises, falls = outcome(yes, p, q, soft_neg)
    other, other_slope, other_rises, other_falls = outcome(no, q, p, soft)
    loss = np.where(weights == 0, exact(0.0), weights * (loss + other))
    loss, factor = _reduce(loss, weights, exact(np.ones(x.shape)), reduction)
    factor = weights * factor
    up, down = rises + other_rises, falls + other_falls
    scale, hess_scale = np.maximum(np.abs(slope), np.abs(other_slope)), np.maximum(up, down)
    return Exact(loss, *(part * factor for part in (slope - other_slope, up - down, scale, hess_scale)))


def central_difference(loss: Any, logits: Any, step: float = 1e-5) -> np.ndarray:
    """The gradient of ``loss(logits)``, element by element; good to about nine digits."""
    z = exact(logits)
    grad = exact(np.zeros(z.shape))
    for at in np.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[at] += step
        down[at] -= step
        grad[at] = (loss(up) - loss(down)) / (up[at] - down[at])
    return grad


def _exponent(value: np.ndarray) -> np.ndarray:
    """e of value = f 2^e with f in [1/2, 1)."""
    if WIDE:
        return np.frexp(value)[1]
    return np.asarray(np.frompyfunc(lambda v: _mp.frexp(v)[1] if _mp.isfinite(v) else 0, 1, 1)(value), np.int64)


def spacing(value: Any, dtype: Any) -> np.ndarray:
    """The distance of neighbouring numbers of a dtype at a wide value (of subnormal ones below the normal ones)."""
    value = np.abs(exact(value))
    info = np.finfo(dtype)
    exponent = np.where((value == 0) | (value == np.inf), info.minexp + 1, _exponent(value))
    return np.ldexp(1.0, np.maximum(exponent, info.minexp + 1) - 1 - info.nmant)


def ulp_error(actual: Any, wanted: Any, scale: Any = None) -> np.ndarray:
    """|actual - wanted| in units of the spacing of actual's dtype at `scale`, by default at `wanted`.

    Zero is as good as any wanted value below the smallest normal number, and infinity as any beyond the largest.
    """
    actual, wanted = np.asarray(actual), exact(wanted)
    info = np.finfo(actual.dtype)
    assert actual.shape == wanted.shape, (actual.shape, wanted.shape)
    with np.errstate(all="ignore"):
        error = np.abs(exact(actual) - wanted) / spacing(wanted if scale is None else scale, actual.dtype)
    flushed = (actual == 0) & (np.abs(wanted) < info.smallest_normal)
    beyond = np.abs(wanted) >= float(info.max) * (1 + exact(info.eps) / 4)
    same = (actual == wanted) | flushed | (beyond & (actual == np.where(wanted > 0, np.inf, -np.inf)))
    error = np.where(same, 0.0, np.where((actual != actual) | np.isinf(actual), np.inf, error))
    return error.astype(np.float64)
