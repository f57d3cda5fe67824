"""The temperature of the smallest cross-entropy: a root of the loss's derivative, kept in a bracket."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["LARGEST", "SMALLEST", "Temperature", "fit_temperature"]

# Where the search ends if the loss has no minimum. Scores of networks, margins of linear models and log-likelihoods
# of thousands of features have their temperatures well inside.
SMALLEST, LARGEST = 2.0**-20, 2.0**20

# The bracket grows from temperature 1 by factors of 4, which most classifiers reach in one or two steps. In powers of
# two the scores are divided without rounding.
STEP = 2.0


class Temperature(NamedTuple):
    """A fitted temperature, its loss, how often the loss was evaluated, and why it is no minimum (or nothing)."""

    value: float
    loss: float
    passes: int
    trouble: str


def fit_temperature(
    loss_and_slope: Callable[[float], tuple[float, float]], *, tol: float = 1e-6, max_iter: int = 100
) -> Temperature:
    """Minimise a cross-entropy over the temperature T that divides its scores.

    The loss is convex in 1/T, so its derivative changes sign at most once, and a bracket around that always closes:
    Brent's method finds the root on the scale of log2 T. What has no minimum is found out at the ends of the search.

    Parameters
    ----------
    loss_and_slope : callable
        Takes a temperature; returns the loss and its derivative with respect to the temperature, both finite.
    tol : float, default 1e-6
        Relative accuracy of the temperature.
    max_iter : int, default 100
        How often to evaluate the loss at most, 1 or more.

    Returns
    -------
    Temperature
    """
    from scipy.optimize import brentq  # a quarter of a second, for those who come this far

    seen: dict[float, tuple[float, float]] = {}

    def slope(log_temperature: float) -> float:
        """The derivative by 1/T with its sign turned: of the scalings tried, the one that takes the fewest passes."""
        if log_temperature not in seen:
            temperature = math.exp2(log_temperature)
            loss, derivative = loss_and_slope(temperature)
            if not (math.isfinite(loss) and math.isfinite(derivative)):
                raise ValueError(
                    f"the loss at temperature {temperature:g} is {loss:g}: the scores are too large for their dtype"
                    " there, divide them by a constant first"
                )
            seen[log_temperature] = loss, temperature * temperature * derivative
        return seen[log_temperature][1]

    def result(log_temperature: float, trouble: str = "") -> Temperature:
        return Temperature(math.exp2(log_temperature), seen[log_temperature][0], len(seen), trouble)

    def out_of_passes() -> Temperature:
        best = min(seen, key=lambda log_temperature: seen[log_temperature][0])
        return result(best, f"the fit was stopped after {len(seen)} evaluations of the loss: raise max_iter or tol")

    low, high = math.log2(SMALLEST), math.log2(LARGEST)
    here = before = 0.0
    # Above the minimum the slope is positive; with every label at the largest score it is so everywhere, until it
    # underflows to zero.
    down = slope(here) >= 0.0
    while (slope(here) >= 0.0) if down else (slope(here) < 0.0):
        if len(seen) >= max_iter:
            return out_of_passes()
        if here == high:
            return result(
                high,
                f"the loss falls up to the largest temperature of the search, {LARGEST:g}, as it does when the scores"
                " are worse than a uniform guess: check that columns and labels belong together",
            )
        if here == low and slope(0.0) == slope(low) == slope(high) == 0.0:
            return result(0.0, "the scores of each row are equal: the temperature has no effect and is left at 1")
        if here == low:
            return result(
                low,
                f"the loss falls down to the smallest temperature of the search, {SMALLEST:g}, as it does when every"
                " label has the largest score: fit on rows that hold mistakes, held out from training",
            )
        before, here = here, (max(here - STEP, low) if down else min(here + STEP, high))

    root, report = brentq(slope, here, before, xtol=tol, maxiter=max_iter - len(seen), full_output=True, disp=False)
    if not report.converged:
        return out_of_passes()
    slope(root)
    return result(root)
