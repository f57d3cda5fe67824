"""Whether probabilities can be taken at their word, and the temperature that makes scores so.

The measures need nothing but NumPy; `TemperatureScaling` is a scikit-learn estimator and asks for scikit-learn when it
is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastxent import _validate

if TYPE_CHECKING:
    from fastxent._temperature_scaling import TemperatureScaling

__all__ = ["ReliabilityCurve", "TemperatureScaling", "expected_calibration_error", "reliability_curve"]


def __getattr__(name: str) -> Any:
    if name == "TemperatureScaling":
        from fastxent._temperature_scaling import TemperatureScaling

        return TemperatureScaling
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class ReliabilityCurve(NamedTuple):
    """The bins that hold rows, lowest first, and the edges of all bins.

    Attributes
    ----------
    confidence : ndarray of float64, shape (m,)
        Mean probability of the rows of each bin.
    accuracy : ndarray of float64, shape (m,)
        Share of these rows whose prediction is right.
    weight : ndarray of float64, shape (m,)
        Sum of their weights; their number if there are no weights.
    edges : ndarray of float64, shape (n_bins + 1,)
        Bin b holds ``edges[b] < p <= edges[b + 1]``, the first bin ``edges[0]`` as well.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    weight: np.ndarray
    edges: np.ndarray


def reliability_curve(
    probabilities: Any, labels: Any, *, n_bins: int = 15, strategy: str = "uniform", sample_weight: Any = None
) -> ReliabilityCurve:
    """Accuracy against confidence, in bins of confidence.

    For the rows B of a bin, with weights w::

        confidence = sum_B w p / sum_B w,    accuracy = sum_B w [prediction = label] / sum_B w

    Parameters
    ----------
    probabilities : array_like of floats, shape (n, C) or (n,)
        (n, C): rows that add up to one; p is the largest of a row, the prediction its class (of equal ones the first).
        (n,): probabilities p of class 1, which is the prediction of every row, so that accuracy is how often class 1
        occurs. The two differ: a row of ``[0.8, 0.2]`` has confidence 0.8, its 0.2 alone is put into another bin.
    labels : array_like of integers, shape (n,)
        In [0, C); for (n,) probabilities 0 and 1, or bool.
    n_bins : int, default 15
    strategy : {"uniform", "quantile"}
        Bins of equal width, or of (nearly) equal weight with edges at values of p; equal values share a bin.
    sample_weight : array_like, shape (n,), optional
        Weight of each row, finite and not negative. Rows of weight 0 do not count, whatever they hold.

    Returns
    -------
    ReliabilityCurve
        Named tuple of confidence, accuracy and weight of the bins that hold rows, and the edges of all bins.

    Raises
    ------
    TypeError
        Labels that are not integers; arrays of objects, complex numbers, dates; masked arrays.
    ValueError
        A probability outside [0, 1]; a row that does not add up to one (to 0.001, 0.01 in bfloat16); a label out of
        range; shapes that do not match; no row that counts.

    Examples
    --------
    >>> from fastxent.calibration import reliability_curve
    >>> curve = reliability_curve([0.1, 0.2, 0.2, 0.9, 1.0], [0, 0, 1, 1, 1], n_bins=2)
    >>> curve.weight
    array([3., 2.])
    >>> for confidence, accuracy in zip(curve.confidence, curve.accuracy):
    ...     print(f"{confidence:.3f} {accuracy:.3f}")
    0.167 0.333
    0.950 1.000

    Source: Niculescu-Mizil and Caruana, "Predicting good probabilities with supervised learning" (2005).
    """
    p, y, weights = _validate.predictions_of(probabilities, labels, sample_weight)
    bins = _validate.count_of("n_bins", n_bins)
    strategy = _validate.choice_of("strategy", strategy, ("uniform", "quantile"))

    if p.ndim == 1:
        confidence, right = p.astype(np.float64), y == 1
    else:
        prediction = p.argmax(axis=1)
        confidence, right = p[np.arange(len(p)), prediction].astype(np.float64), y == prediction
    if strategy == "uniform":
        edges = np.linspace(0.0, 1.0, bins + 1)
    else:
        edges = _quantiles(confidence, weights, bins)
    at = np.searchsorted(edges[1:-1], confidence)

    weight = np.bincount(at, weights, minlength=bins).astype(np.float64)
    held = np.bincount(at, minlength=bins) > 0
    sums = (
        np.bincount(at, values if weights is None else weights * values, minlength=bins)
        for values in (confidence, right)
    )
    mean_confidence, accuracy = (total[held] / weight[held] for total in sums)
    return ReliabilityCurve(mean_confidence, accuracy, weight[held], edges)


def _quantiles(values: np.ndarray, weights: np.ndarray | None, bins: int) -> np.ndarray:
    """For k = 0 to `bins` the smallest value up to which k / bins of the weight lies.

    Compared without a division, so that nothing is rounded where weights are whole numbers: those are rows repeated.
    """
    order = np.argsort(values, kind="stable")
    up_to = np.arange(1.0, len(values) + 1) if weights is None else np.cumsum(weights[order])
    at = np.searchsorted(bins * up_to, np.arange(bins + 1) * up_to[-1])
    return np.asarray(values[order[np.minimum(at, len(values) - 1)]])


def expected_calibration_error(
    probabilities: Any,
    labels: Any,
    *,
    n_bins: int = 15,
    strategy: str = "uniform",
    norm: str = "l1",
    sample_weight: Any = None,
) -> float:
    """How far confidence is from accuracy, on average over bins of confidence.

    With W_b the weight of bin b and W that of all, and the gap of a bin ``|accuracy_b - confidence_b|``::

        l1:  sum_b W_b / W gap_b        l2:  sqrt(sum_b W_b / W gap_b^2)        max:  max_b gap_b

    It depends on the bins, and is not zero for perfect probabilities and few rows: compare values of the same `n_bins`,
    `strategy` and number of rows.

    Parameters
    ----------
    probabilities, labels, n_bins, strategy, sample_weight
        As `reliability_curve` takes them: (n, C) probabilities are judged by the largest of each row, (n,) ones as
        probabilities of class 1.
    norm : {"l1", "l2", "max"}
        "l1" is the expected, "max" the maximum calibration error of Guo et al.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        As `reliability_curve` does; an unknown norm.

    Examples
    --------
    >>> from fastxent.calibration import expected_calibration_error
    >>> probabilities = [[0.75, 0.25], [0.75, 0.25], [0.75, 0.25], [0.5, 0.5]]
    >>> error = expected_calibration_error(probabilities, [0, 0, 1, 1])    # 3/4 |2/3 - 3/4| + 1/4 |0 - 1/2|
    >>> round(error, 12)
    0.1875
    >>> expected_calibration_error(probabilities, [0, 0, 1, 1], norm="max")
    0.5

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks" (2017).
    """
    norm = _validate.choice_of("norm", norm, ("l1", "l2", "max"))
    curve = reliability_curve(probabilities, labels, n_bins=n_bins, strategy=strategy, sample_weight=sample_weight)
    gaps = np.abs(curve.accuracy - curve.confidence)
    if norm == "max":
        return float(gaps.max())
    shares = curve.weight / curve.weight.sum()
    if norm == "l1":
        return float((shares * gaps).sum())
    return float(np.sqrt((shares * gaps**2).sum()))
