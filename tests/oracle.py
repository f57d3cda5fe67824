"""What the library computes, in long double, or in mpmath where long double is no wider than double.

Nothing here is shared with the library. The formulas avoid cancellation as well, but in another way: one largest score
is taken out of the sum by its position, and a gradient is ``p (mass - y) - y (1 - p)``. `test_oracle.py` holds them
against the definitions in mpmath and against central differences.

Scores may be finite or -inf; what comes of NaN and +inf is spelt out in `test_special_values.py`.
"""

from __future__ import annotations

import math
from functools import lru_cache
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
    """The scales are what ulps are those of: the larger of p and y where these are subtracted, and wherever else terms
    are added up that may cancel."""

    loss: Any
    grad: np.ndarray
    hess: np.ndarray
    scale: np.ndarray
    hess_scale: Any = None
    temperature: Any = None
    temperature_scale: Any = None
    product: Any = None
    product_scale: Any = None


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


def rows_of(logits: Any, temperature: Any = 1.0) -> Rows:
    """Of scores over temperature: differences come first, since a quotient rounds."""
    z, temperature = exact(logits), exact(temperature)
    at = np.argmax(z, axis=-1)[..., None]
    top = np.take_along_axis(z, at, -1)
    margin = top - z
    # What the subtraction rounded off (two-sum), so that exp gets an exact argument.
    with np.errstate(invalid="ignore"):
        back = margin - top
        lost = (top - (margin - back)) + (-z - back)
        lost = np.where(np.abs(margin) == np.inf, exact(0), lost) / temperature
        margin = margin / temperature
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
    return Rows(margin + (lost + log_total), p, not_p, top[..., 0] / temperature, log_total[..., 0])


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


class Head(NamedTuple):
    """A loss of -log p, and its first and second derivative by that."""

    value: np.ndarray
    first: np.ndarray
    second: np.ndarray


def _cross_entropy(rows: Rows, nothing: Any) -> Head:
    one = exact(np.ones(rows.p.shape))
    return Head(rows.nll, one, 0 * one)


def _focal(rows: Rows, gamma: Any) -> Head:
    """By the product rule, s = 1 - p and ds/dL = p; where s is 0, the limits."""
    p, s, nll = rows.p, rows.not_p, rows.nll
    g = exact(gamma)
    none = p == 0
    product = np.where(none, exact(0), p * np.where(none, exact(1), nll))
    safe = np.where(s == 0, exact(1), s)
    power = _power(s, g)
    first = power + g * product * _power(safe, g - 1)
    second = g * (g - 1) * p * product * _power(safe, g - 2) + g * (2 * p - product) * _power(safe, g - 1)
    return Head(power * nll, np.where(s == 0, power * (1 + g), first), np.where(s == 0, exact(0), second))


def _poly(rows: Rows, epsilon: Any) -> Head:
    """Below 0 as (1 + epsilon) nll - epsilon (nll - (1 - p)), the latter by its power series where it is small."""
    if epsilon > 0:
        e = exact(epsilon)
        return Head(rows.nll + e * rows.not_p, 1 + e * rows.p, -e * rows.p)
    e, small = exact(epsilon), np.where(rows.nll < 0.1, rows.nll, exact(0))
    with np.errstate(invalid="ignore", under="ignore"):
        series = sum((-1) ** k * small**k / exact(math.factorial(k)) for k in range(2, 20))
        excess = np.where(rows.nll < 0.1, series, rows.nll - rows.not_p)
        value = np.where(rows.nll == np.inf, rows.nll, (1 + e) * rows.nll - e * excess)
    return Head(value, (1 + e) - e * rows.not_p, -e * rows.p)


def _generalized(rows: Rows, q: Any) -> Head:
    q = exact(q)
    power = exp(-q * rows.nll)
    return Head(-expm1(-q * rows.nll) / q, power, -q * power)


def _power(base: np.ndarray, exponent: Any) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.where((base == 0) & (exponent == 0), exact(1), base**exponent)


def _others(values: np.ndarray) -> np.ndarray:
    """For each class the sum over all others, the largest one's without subtracting it again."""
    at = np.argmax(np.abs(values), axis=-1)[..., None]
    rest = values.copy()
    np.put_along_axis(rest, at, exact(0), -1)
    total = rest.sum(-1, keepdims=True)
    sums = total + np.take_along_axis(values, at, -1) - values
    np.put_along_axis(sums, at, total, -1)
    return sums


SMALL = 4000


@lru_cache(maxsize=16)
def _capped(data: bytes, shape: tuple[int, ...], softcap: float) -> np.ndarray:
    """softcap tanh(z / softcap) with a single rounding, of long doubles."""
    values = []
    for z in np.frombuffer(data, np.longdouble):
        high, low = float(z), float(z - np.longdouble(float(z)))
        exactly = softcap * _mp.tanh((_mp.mpf(high) + low) / softcap)
        first = float(exactly)
        second = float(exactly - first)
        values.append(np.longdouble(first) + np.longdouble(second))
    return np.array(values, np.longdouble).reshape(shape)


def transformed(
    logits: Any,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_bias: Any = None,
    class_mask: Any = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores as the softmax sees them, but for the temperature, and their two derivatives by the logits, temperature
    included; classes along the last axis."""
    z = exact(logits)
    slope, bend = exact(np.ones(z.shape)), exact(np.zeros(z.shape))
    if softcap is not None:
        cap = exact(softcap)
        with np.errstate(under="ignore"):
            e = exp(-2 * np.abs(z) / cap)
        bent = np.where(z < 0, -1, 1) * -expm1(-2 * np.abs(z) / cap) / (1 + e)
        slope = 4 * e / (1 + e) ** 2
        bend = -2 * bent * slope / cap
        if z.size <= SMALL:
            # Differences of scores that nearly agree need the last digit, too.
            capped = _capped(z.tobytes(), z.shape, float(softcap)) if WIDE else cap * bent
        else:
            capped = cap * bent
        z = np.where(z == -np.inf, z, capped)
    if logit_bias is not None:
        z = z + exact(logit_bias)
    if class_mask is not None:
        z = np.where(class_mask, exact(-np.inf), z)
    return z, slope / exact(temperature), bend / exact(temperature)


def _softmax_loss(
    head: Any,
    parameter: Any,
    logits: Any,
    targets: Any,
    *,
    alpha: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    class_mask: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_bias: Any = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
    axis: int = -1,
    v: Any = None,
) -> Exact:
    z = np.moveaxis(np.asarray(logits), axis, -1)
    classes = z.shape[-1]
    if class_mask is not None and np.ndim(class_mask) > 1:
        class_mask = np.moveaxis(np.asarray(class_mask), axis, -1)
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
    if class_weight is not None:
        weights = weights * (exact(targets) * exact(class_weight)).sum(-1)
    live = counts & (weights > 0)

    u, slope, bend = transformed(z, temperature, softcap, logit_bias, class_mask)
    rows = rows_of(u, temperature)
    p, not_p = rows.p, rows.not_p
    y, smoothing = exact(targets), exact(label_smoothing)
    unmasked = u > -np.inf
    with np.errstate(invalid="ignore", divide="ignore"):
        y = (1 - smoothing) * y + np.where(unmasked, smoothing / unmasked.sum(-1, keepdims=True), exact(0.0))
    if alpha is not None:
        y = y * exact(alpha)
    at = head(rows, parameter)
    with np.errstate(invalid="ignore"):
        loss = np.where(y == 0, exact(0.0), y * at.value).sum(-1)
    first = np.where(y == 0, exact(0.0), y * at.first)
    second = np.where(y == 0, exact(0.0), y * at.second)
    mass = first.sum(-1, keepdims=True)

    lam = exact(z_loss)
    log_partition = (rows.top + rows.log_total)[..., None]
    z_slope = 2 * lam * log_partition if z_loss else exact(0.0)
    if z_loss:
        loss = loss + lam * log_partition[..., 0] ** 2
    grad = p * (mass - first + z_slope) - first * not_p
    terms = [(mass - first + z_slope) * p * not_p + first * p * not_p]
    terms += [(_others(second) + 2 * lam) * p * p, second * not_p * not_p]
    hard = (y != 0).sum(-1, keepdims=True) <= 1
    size = np.maximum(np.maximum(mass, np.maximum(np.abs(z_slope), np.abs(mass + z_slope))) * p, first)
    at_label = np.maximum(np.abs(z_slope) * p, first * not_p)
    scale = np.where(hard & (lam == 0), np.abs(grad), np.where(hard & (first != 0), at_label, size))
    hess, hess_scale = sum(terms), sum(np.abs(term) for term in terms) + np.abs(z_slope) * p
    product = product_scale = None
    if v is not None:
        # Of cross-entropy, by all pairs of classes: p_i sum_j p_j (v_i - v_j), which does not cancel.
        v = exact(v)
        inner = slope * v
        pairs = p[..., None] * p[..., None, :] * (inner[..., None] - inner[..., None, :])
        mean = (p * inner).sum(-1, keepdims=True)
        terms = [(mass + z_slope) * pairs.sum(-1) * slope, 2 * lam * p * mean * slope, grad * bend * v]
        product = sum(terms)
        largest = np.abs(inner).max(-1, keepdims=True)
        product_scale = (np.abs(mass + z_slope) + 2 * lam) * p * largest * slope + scale * np.abs(bend * v)
    hess, hess_scale = hess * slope**2 + grad * bend, hess_scale * slope**2 + scale * np.abs(bend)

    with np.errstate(invalid="ignore"):
        margin = rows.nll - rows.log_total[..., None]
        finite = np.where(unmasked, margin, exact(0.0))
        margin = np.where(y == 0, exact(0.0), margin)
    spread, here = ((p * finite).sum(-1, keepdims=True), (first * margin).sum(-1, keepdims=True))
    parts = ((mass + z_slope) * spread, here, z_slope * rows.top[..., None])
    by_temperature = ((parts[0] - parts[1] - parts[2]) / exact(temperature))[..., 0]
    # Minus the gradient times the scores: of such terms' size are its ulps.
    with np.errstate(invalid="ignore"):
        products = np.where(unmasked, np.abs(grad * u) / exact(temperature), exact(0.0)).sum(-1)
    temperature_scale = (sum(np.abs(part) for part in parts)[..., 0] + products) / exact(temperature)

    loss = np.where(live, weights * loss, exact(0.0))
    loss, factor = _reduce(loss, weights, exact(counts), reduction)
    factor = np.where(live, weights * factor, exact(0.0))
    by_temperature, temperature_scale = factor * by_temperature, factor * temperature_scale
    if reduction != "none":
        by_temperature, temperature_scale = by_temperature.sum(), temperature_scale.sum()
    grad, hess, scale, hess_scale = (
        np.moveaxis(a * factor[..., None], -1, axis) for a in (grad * slope, hess, scale * slope, hess_scale)
    )
    if v is not None:
        product, product_scale = product * factor[..., None], product_scale * factor[..., None]
    return Exact(loss, grad, hess, scale, hess_scale, by_temperature, temperature_scale, product, product_scale)


def softmax_cross_entropy(logits: Any, targets: Any, **options: Any) -> Exact:
    return _softmax_loss(_cross_entropy, None, logits, targets, **options)


def softmax_focal_loss(logits: Any, targets: Any, gamma: float = 2.0, **options: Any) -> Exact:
    return _softmax_loss(_focal, gamma, logits, targets, **options)


def poly_cross_entropy(logits: Any, targets: Any, epsilon: float = 1.0, **options: Any) -> Exact:
    return _softmax_loss(_poly, epsilon, logits, targets, **options)


def generalized_cross_entropy(logits: Any, targets: Any, q: float = 0.7, **options: Any) -> Exact:
    return _softmax_loss(_generalized, q, logits, targets, **options)


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
