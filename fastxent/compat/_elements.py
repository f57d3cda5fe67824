"""What several of the skins need of elementwise losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastxent import _validate
from fastxent.sigmoid import sigmoid_cross_entropy


def positive_factors(name: str, pos_weight: Any, logits: np.ndarray) -> np.ndarray:
    """Factors of positive targets, broadcast to the logits."""
    factors = _validate.real_array(name, pos_weight)
    _validate.check_range(name, factors, 0.0, np.inf, "factors of positive targets are finite and not negative")
    try:
        return np.broadcast_to(factors.astype(np.float64), logits.shape)
    except ValueError:
        raise ValueError(
            f"{name} has shape {factors.shape}, which cannot be broadcast to the logits' {logits.shape}"
        ) from None


def factored_cross_entropy(
    logits: np.ndarray,
    targets: Any,
    *,
    factors: np.ndarray,
    reduction: str = "none",
    grad: Any = False,
    n_threads: int | None = None,
) -> Any:
    """`sigmoid_cross_entropy` with a factor of the positive term for each element; "sum" or "none"."""
    y = _validate.real_array("targets", targets)
    if y.shape != logits.shape:
        raise ValueError(f"targets have shape {y.shape}, logits {logits.shape}: they go element by element")
    _validate.check_probabilities("targets", y)
    options: dict[str, Any] = {"reduction": reduction, "n_threads": n_threads}
    if ((y == 0) | (y == 1)).all():
        weights = np.where(y == 1, factors, 1.0)
        return sigmoid_cross_entropy(logits, y, sample_weight=weights, grad=grad, **options)
    # One target between 0 and 1 for both terms would have to be rounded, and at large scores that shows.
    options["grad"] = grad is not False
    absent = sigmoid_cross_entropy(logits, np.zeros(y.shape), sample_weight=1.0 - y, **options)
    options["grad"] = grad
    present = sigmoid_cross_entropy(logits, np.ones(y.shape), sample_weight=factors * y, **options)
    if grad is False:
        return absent + present
    gradient = present[1]
    gradient += absent[1]
    return absent[0] + present[0], gradient


def surprisal(labels: np.ndarray, probabilities: np.ndarray, epsilon: float) -> np.ndarray:
    """``-y log(p + epsilon) - (1 - y) log(1 - p + epsilon)``, where 0 log(0) is 0; computed in float64."""
    y, p = labels.astype(np.float64), probabilities.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        yes, no = -np.log(p + epsilon), -np.log(1 - p + epsilon)
        terms = np.where(y > 0, y * yes, 0.0) + np.where(y < 1, (1 - y) * no, 0.0)
    return terms.astype(_validate.output_dtypes(probabilities)[0])
