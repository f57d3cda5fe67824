"""A softmax classifier on handwritten digits: the work behind ``fastxent demo``.

The model is ``logits = x @ weight.T + intercept``, the objective that of scikit-learn's
`LogisticRegression`: the mean cross-entropy over the n training rows, plus
``l2 / 2 * sum(weight**2)`` with ``l2 = 1 / (C * n)`` and the intercept left free. Both sides get
the same data, minimise by L-BFGS from zero, stop by the same tolerances, and run on one thread:
at this size threads cost more than they bring, and make times a matter of luck.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import OptimizeResult, minimize

import fastxent as fx
from fastxent._evaluate import Accumulator, Metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Comparison",
    "Digits",
    "Fit",
    "Training",
    "compare",
    "evaluate_fit",
    "fit_fastxent",
    "fit_sklearn",
    "load_digits",
    "objective",
    "train",
    "with_ones",
]

# progress(done, total, note)
Progress = Callable[[float, float, str], object]

REGULARISATION = 1.0  # scikit-learn's C, its default
GRADIENT_TOLERANCE = 1e-6
MAX_ITERATIONS = 1000
TIMED_FITS = 7


@dataclass(frozen=True)
class Digits:
    """Half of scikit-learn's digits to train on, half to test on; pixels from 0 to 1."""

    x_train: NDArray[np.float64]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float64]
    y_test: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """Number of digits."""
        return 10

    @property
    def l2(self) -> float:
        """Weight of the penalty beside the mean loss."""
        return 1.0 / (REGULARISATION * len(self.y_train))


@dataclass(frozen=True)
class Fit:
    """A trained classifier; `parameters` is (classes, features + 1), the intercept last."""

    parameters: NDArray[np.float64]
    iterations: int

    def logits(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scores of the rows of `x`."""
        return with_ones(x) @ self.parameters.T


@dataclass(frozen=True)
class Training:
    """A fit of our own, with the objective and the test loss after each iteration."""

    fit: Fit
    objectives: tuple[float, ...]
    test_losses: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """One line of the demo's table."""

    name: str
    fit: Fit
    objective: float
    test: Metrics
    seconds: float


def load_digits(seed: int = 0) -> Digits:
    """Return scikit-learn's 1,797 digits, split in half with the shares of the digits kept."""
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    x, y = sklearn_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16.0, y, test_size=0.5, stratify=y, random_state=seed)
    return Digits(x_train, y_train, x_test, y_test)


def with_ones(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `x` with a column of ones, which the intercept weighs."""
    return np.column_stack([x, np.ones(len(x))])


def objective(
    parameters: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.int64], l2: float
) -> tuple[float, NDArray[np.float64]]:
    """Return the penalised mean cross-entropy and its gradient.

    Parameters
    ----------
    parameters : ndarray, shape (classes, features + 1)
        The weights, with the intercept as last column.
    x : ndarray, shape (n, features + 1)
        The rows, with a last column of ones.
    y : ndarray, shape (n,)
    l2 : float
        The penalty is ``l2 / 2 * sum(weight**2)``.
    """
    weight = parameters[:, :-1]
    logits = x @ parameters.T
    loss, d_logits = fx.softmax_cross_entropy(logits, y, grad=logits)  # in place
    gradient = d_logits.T @ x
    gradient[:, :-1] += l2 * weight
    return loss + 0.5 * l2 * float(np.sum(weight * weight)), gradient


def fit_fastxent(
    digits: Digits,
    on_iteration: Callable[[NDArray[np.float64], float], object] | None = None,
) -> Fit:
    """Minimise `objective` with SciPy's L-BFGS-B.

    `on_iteration`, if given, is called with parameters and objective after each iteration.
    """
    x = with_ones(digits.x_train)
    shape = (digits.classes, x.shape[1])

    def flat_objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = objective(flat.reshape(shape), x, digits.y_train, digits.l2)
        return value, gradient.ravel()

    def callback(intermediate_result: OptimizeResult) -> None:
        if on_iteration is not None:
            on_iteration(intermediate_result.x.reshape(shape), float(intermediate_result.fun))

    result = minimize(
        flat_objective,
        np.zeros(shape[0] * shape[1]),
        jac=True,
        method="L-BFGS-B",
        callback=None if on_iteration is None else callback,
        # The settings LogisticRegression hands to the same function.
        options={
            "maxiter": MAX_ITERATIONS,
            "maxls": 50,
            "gtol": GRADIENT_TOLERANCE,
            "ftol": 64 * np.finfo(np.float64).eps,
        },
    )
    return Fit(result.x.reshape(shape), int(result.nit))


def train(digits: Digits, progress: Progress | None = None) -> Training:
    """Fit once with `fit_fastxent` and keep the two losses of every iteration.

    Progress is how far the gradient has come on its way to the tolerance, in powers of ten.
    """
    x_train, x_test = with_ones(digits.x_train), with_ones(digits.x_test)
    objectives: list[float] = []
    test_losses: list[float] = []
    largest: list[float] = []

    def on_iteration(parameters: NDArray[np.float64], value: float) -> None:
        objectives.append(value)
        test_losses.append(fx.softmax_cross_entropy(x_test @ parameters.T, digits.y_test))
        if progress is not None:
            gradient = objective(parameters, x_train, digits.y_train, digits.l2)[1]
            largest.append(float(np.abs(gradient).max()))
            way = np.log10(largest[0] / GRADIENT_TOLERANCE)
            done = np.log10(largest[0] / min(largest))
            progress(float(done), float(way), f"iteration {len(largest)}, loss {value:.6f}")

    with _one_thread():
        fit = fit_fastxent(digits, on_iteration)
    return Training(fit, tuple(objectives), tuple(test_losses))


def fit_sklearn(digits: Digits) -> Fit:
    """Fit scikit-learn's `LogisticRegression` on the same rows, objective and tolerances."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=REGULARISATION, solver="lbfgs", tol=GRADIENT_TOLERANCE, max_iter=MAX_ITERATIONS).fit(
        digits.x_train, digits.y_train
    )
    parameters = np.column_stack([model.coef_, model.intercept_])
    return Fit(parameters, int(model.n_iter_.max()))


def compare(digits: Digits, progress: Progress | None = None) -> tuple[Comparison, Comparison]:
    """Fit both classifiers several times in turn; return both with the median seconds of a fit.

    One fit of each goes before and is not timed.
    """
    fitters: tuple[tuple[str, Callable[[Digits], Fit]], ...] = (
        ("fastxent", fit_fastxent),
        ("scikit-learn", fit_sklearn),
    )
    seconds: list[list[float]] = [[], []]
    with _one_thread():
        fits = [fit(digits) for _, fit in fitters]
        for turn in range(TIMED_FITS):
            for (_, fit), times in zip(fitters, seconds, strict=True):
                start = time.perf_counter()
                fit(digits)
                times.append(time.perf_counter() - start)
            if progress is not None:
                progress(turn + 1, TIMED_FITS, f"fit {turn + 1} of {TIMED_FITS} each")
    x = with_ones(digits.x_train)
    ours, theirs = (
        Comparison(
            name=name,
            fit=fit,
            objective=objective(fit.parameters, x, digits.y_train, digits.l2)[0],
            test=evaluate_fit(fit, digits),
            seconds=statistics.median(times),
        )
        for (name, _), fit, times in zip(fitters, fits, seconds, strict=True)
    )
    return ours, theirs


def _one_thread() -> AbstractContextManager[Any]:
    """Hold BLAS and OpenMP to one thread."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def evaluate_fit(fit: Fit, digits: Digits) -> Metrics:
    """Return the figures of a classifier on the test rows."""
    accumulator = Accumulator(digits.classes)
    accumulator.update(fit.logits(digits.x_test), digits.y_test)
    return accumulator.metrics()
