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
    """`scale` is what the gradient's ulps are those of: the larger of p and y where these are subtracted.

    `hess_scale` is the same of the Hessian, None where nothing is subtracted.
    """

    loss: Any
    grad: np.ndarray
    hess: np.ndarray
    scale: np.ndarray
    hess_scale: Any = None


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
    pos_weight: float = 1.0,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Exact:
    x = exact(logits)
    if hasattr(targets, "toarray"):
        targets = targets.toarray()
    smoothing = exact(label_smoothing)
    y = (1 - smoothing) * exact(targets) + smoothing / 2
    weights = exact(np.ones(x.shape) if sample_weight is None else sample_weight)
    if weights.ndim < x.ndim:
        weights = weights.reshape(weights.shape + (1,) * (x.ndim - 1))
    weights = weights + exact(np.zeros(x.shape))

    p, q, soft, soft_neg = _halves(x)
    no, yes = 1 - y, exact(pos_weight) * y
    with np.errstate(invalid="ignore"):
        loss = np.where(no == 0, exact(0.0), no * soft) + np.where(yes == 0, exact(0.0), yes * soft_neg)
    grad = no * p - yes * q
    hess = (no + yes) * p * q
    scale = np.where((no == 0) | (yes == 0), np.abs(grad), np.maximum((no + yes) * p, yes))
    loss = np.where(weights == 0, exact(0.0), weights * loss)
    loss, factor = _reduce(loss, weights, exact(np.ones(x.shape)), reduction)
    factor = weights * factor
    return Exact(loss, grad * factor, hess * factor, scale * factor)


def _clipped(p: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-log of the clipped p and of one minus it, and which are clipped; the clipping bound is eps as a double."""
    bound = exact(float(eps))[()]
    low, high = p < bound, p > 1 - bound
    with np.errstate(divide="ignore"):
        far, near = -log(bound), -log1p(-bound)
        yes = np.where(low, far, np.where(high, near, -log(p)))
        no = np.where(low, near, np.where(high, far, -log1p(-p)))
    return yes, no, low | high


def binary_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    sample_weight: Any = None,
    pos_weight: Any = 1.0,
    label_smoothing: float = 0.0,
    eps: float = 0.0,
    reduction: str = "mean",
) -> Exact:
    p = exact(probabilities)
    if hasattr(targets, "toarray"):
        targets = targets.toarray()
    smoothing = exact(label_smoothing)
    y = (1 - smoothing) * exact(targets) + smoothing / 2
    weights = exact(np.ones(p.shape) if sample_weight is None else sample_weight)
    if weights.ndim < p.ndim:
        weights = weights.reshape(weights.shape + (1,) * (p.ndim - 1))
    weights = weights + exact(np.zeros(p.shape))

    nll, nll_not, clipped = _clipped(p, eps)
    zero = exact(0.0)[()]
    no, yes = 1 - y, exact(pos_weight) * y
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        up = np.where((no == 0) | clipped, zero, no / (1 - p))
        down = np.where((yes == 0) | clipped, zero, yes / p)
        loss = np.where(no == 0, zero, no * nll_not) + np.where(yes == 0, zero, yes * nll)
        curved = np.where(up == 0, zero, up / (1 - p)) + np.where(down == 0, zero, down / p)
        grad = up - down
        # Of p and a target as it is, the difference does not cancel.
        plain = (np.minimum(no, yes) > 0) & (label_smoothing == 0) & np.all(pos_weight == 1) & (eps == 0)
        grad = np.where(plain, (p - y) / (p * (1 - p)), grad)
        scale = np.where(plain, np.abs(grad), np.maximum(up, down))
    with np.errstate(invalid="ignore"):
        loss = np.where(weights == 0, zero, weights * loss)
        loss, factor = _reduce(loss, weights, exact(np.ones(p.shape)), reduction)
        factor = weights * factor
        results = [np.where(weights == 0, zero, a * factor) for a in (grad, curved, scale)]
    return Exact(loss, *results)


def categorical_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    eps: float = 0.0,
    normalize: bool = False,
    reduction: str = "mean",
    axis: int = -1,
) -> Exact:
    given = exact(np.moveaxis(np.asarray(probabilities), axis, -1))
    classes = given.shape[-1]
    if hasattr(targets, "toarray"):
        targets = targets.toarray()
    targets = np.asarray(targets)
    counts = np.ones(given.shape[:-1], bool)
    if targets.ndim < given.ndim:
        if ignore_index is not None:
            counts = targets != ignore_index
        targets = one_hot(targets, classes)
    else:
        targets = np.moveaxis(targets, axis, -1)
    weights = exact(np.ones(counts.shape) if sample_weight is None else sample_weight)
    y, smoothing, zero = exact(targets), exact(label_smoothing), exact(0.0)[()]
    if class_weight is not None:
        weights = weights * (y * exact(class_weight)).sum(-1)
    live = counts & (weights > 0)
    given = np.where(live[..., None], given, 1)
    y = (1 - smoothing) * y + smoothing / classes

    total = given.sum(-1, keepdims=True) if normalize else exact(np.ones((*counts.shape, 1)))
    # The sum of all others, added up anew: of the largest, that is not what is left of the sum.
    at = np.argmax(given, -1)[..., None]
    others = given.copy()
    np.put_along_axis(others, at, zero, -1)
    others = others.sum(-1, keepdims=True) if normalize else 1 - np.take_along_axis(given, at, -1)
    others = np.where(np.arange(classes) == at, others, total - given)
    nll, _, clipped = _clipped(given / total, eps)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if normalize:
            nll = np.where(clipped | (given <= others), nll, log1p(others / given))
        loss = np.where(y == 0, zero, y * nll).sum(-1)
        down = np.where((y == 0) | clipped, zero, y / given)
        inside = np.where(clipped, zero, y).sum(-1, keepdims=True)
        up = inside / total if normalize else exact(np.zeros(total.shape))
        hard = (y != 0).sum(-1, keepdims=True) <= 1
        at_label = hard & (down > 0) & normalize
        grad = np.where(at_label, -y * (others / total) / given, up - down)
        curved = np.where(down == 0, zero, down / given)
        hess = np.where(at_label, y * (others / total) / given * (1 / given + 1 / total), curved - up / total)
        scale = np.where(at_label, np.abs(grad), np.maximum(up, down))
        hess_scale = np.where(at_label, np.abs(hess), np.maximum(up / total, curved))

    with np.errstate(invalid="ignore"):
        loss = np.where(live, weights * loss, zero)
        loss, factor = _reduce(loss, weights, exact(counts), reduction)
        factor = np.where(live, weights * factor, zero)[..., None]
        results = [np.where(factor == 0, zero, a * factor) for a in (grad, hess, scale, hess_scale)]
    return Exact(loss, *(np.moveaxis(a, -1, axis) for a in results))


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
