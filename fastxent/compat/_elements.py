"""What several of the skins need of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastxent import _validate


def weighted_targets(name: str, pos_weight: Any, targets: Any, logits: np.ndarray) -> tuple[Any, np.ndarray | None]:
    """Targets and weights that come to the same as a factor of the positive terms, broadcast to the logits.

    ``(1 - y) f(x) + w y f(-x) = W ((1 - t) f(x) + t f(-x))`` with ``W = 1 - y + w y`` and ``t = w y / W``; labels 0
    and 1 stay what they are.
    """
    factors = _validate.real_array(name, pos_weight)
    _validate.check_range(name, factors, 0.0, np.inf, "factors of positive targets are finite and not negative")
    y = _validate.real_array("targets", targets)
    _validate.check_probabilities("targets", y)
    y = y.astype(np.float64)
    try:
        factors = np.broadcast_to(factors, logits.shape)
    except ValueError:
        raise ValueError(
            f"{name} has shape {factors.shape}, which cannot be broadcast to the logits' {logits.shape}"
        ) from None
    weights = 1 - y + factors * y
    return np.divide(factors * y, weights, out=y, where=weights > 0), weights
