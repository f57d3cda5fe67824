"""Minimising the objective of a linear classifier: scipy.optimize, in variables in which the curvature is nearly one.

Both solvers need as many passes over the data as the curvature is uneven. Second moments of the inputs, weighted by the
second derivatives of the losses, are nearly the Hessian's blocks; their Cholesky factors, from a sample of the rows,
even it out, or of sparse and very wide inputs the roots of their diagonals. Where there are far more rows than
parameters, the sample is fitted first: that comes near to the minimum, and knows the curvature there. Elsewhere the
curvature is taken anew when the search has taken long. What is minimised, and when it is done, is told in the
parameters themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import OptimizeResult, minimize

from fastxent.linear_model._objective import Objective

# Features that a change of variables mixes at most: its product with the parameters is to cost less than a pass.
_MIXED = 1024
# Rows for each mixed feature that second moments are taken from, and at least. With 16 they are some 25 % off.
_ROWS_FOR_MIXED, _LEAST_ROWS = 16, 4096
# What a first fit takes: one row in so many, with so many rows for each parameter. Fewer lead away from the minimum.
_SHARE, _ROWS_FOR_PARAMETER = 16, 20
# Where a first fit ends, as a gradient: what the sample knows no better than that is not worth passes.
_FIRST_TOL = 3e-3
# Iterations after which the curvature is taken anew, and then after twice as many; what its factors may take, in
# multiplications for each of a pass, which are some four times as fast.
_STAGE, _WORTH = 25, 40
# The part of the mean second derivative that is added to each, for outputs that are nearly settled.
_FLOOR = 1e-2
# What keeps factors of singular second moments from being infinite, relative to the diagonal.
_RIDGE = 1e-6


class Minimum(NamedTuple):
    """Parameters, the objective after each iteration, and what has gone wrong (nothing, if it is empty)."""

    params: np.ndarray
    losses: list[float]
    trouble: str


Report = Callable[[float, float], None]


def find_minimum(
    objective: Objective, start: np.ndarray | None, solver: str, tol: float, max_iter: int, report: Report
) -> Minimum:
    """The parameters at which the objective's gradient is nowhere beyond `tol`.

    Parameters
    ----------
    objective : Objective
    start : ndarray, or None for zeros
    solver : {"lbfgs", "newton-cg"}
    tol : float
    max_iter : int
    report : callable
        Is told the objective and the largest element of the gradient after each iteration.

    Returns
    -------
    Minimum
    """
    sample, first = _sample(objective)
    if first and start is None:
        found = _search(sample, sample, np.zeros(objective.shape), "lbfgs", max(tol, _FIRST_TOL), max_iter, _silent)
        start = found.params
    params = np.zeros(objective.shape) if start is None else start
    return _search(objective, sample, params, solver, tol, max_iter, report, first)


def _silent(loss: float, slope: float) -> None:
    pass


def _search(
    objective: Objective,
    sample: Objective,
    params: np.ndarray,
    solver: str,
    tol: float,
    max_iter: int,
    report: Report,
    near: bool = False,
) -> Minimum:
    """Stage by stage; if the start is `near` the minimum, with the curvature of each output from the beginning."""
    losses: list[float] = []
    stage = _STAGE if _is_worth(objective, sample) else max_iter
    while True:
        curvature = sample.curvature(params)
        metric = _metric(sample, curvature if near else curvature.mean(1, keepdims=True))
        most = min(stage, max_iter - len(losses))
        found = _Search(objective, params, metric).run(solver, tol, most, report)
        params = found.params
        losses += found.losses
        if len(found.losses) < most or len(losses) == max_iter or not found.trouble:
            return Minimum(params, losses, found.trouble)
        near = True
        stage *= 2


# ---- changes of variables ------------------------------------------------------------------------------------


def _sample(objective: Objective) -> tuple[Objective, bool]:
    """Rows from which the curvature is taken, and whether to fit these first."""
    size = int(np.prod(objective.shape))
    if not _is_mixed(objective):
        return objective, False
    first = objective.has_hessian_product and objective.rows >= 8 * _ROWS_FOR_PARAMETER * size
    count = max(_LEAST_ROWS, _ROWS_FOR_MIXED * objective.shape[0])
    if first:
        count = max(objective.rows // _SHARE, _ROWS_FOR_PARAMETER * size)
    if count >= objective.rows:
        return objective, False
    rows = np.random.default_rng(0).choice(objective.rows, count, replace=False)
    return objective.part(np.sort(rows)), first


def _is_mixed(objective: Objective) -> bool:
    """Whether the change of variables mixes features."""
    return isinstance(objective.inputs, np.ndarray) and objective.shape[0] <= _MIXED


def _is_worth(objective: Objective, sample: Objective) -> bool:
    """Whether taking each output's curvature anew costs no more than a few passes, and knows it well enough."""
    if not _is_mixed(objective):
        return True
    enough = sample is objective or sample.rows >= _ROWS_FOR_PARAMETER * int(np.prod(objective.shape))
    return bool(enough and sample.rows * objective.shape[0] <= 4 * _WORTH * objective.rows)


def _metric(sample: Objective, curvature: np.ndarray) -> np.ndarray:
    """A change of variables: for each column of the curvature (D, D), or for all of them factors (D, columns)."""
    shares = np.full(sample.rows, 1 / sample.rows) if sample.weights is None else sample.weights / sample.weight
    floor = _FLOOR * (shares @ curvature).mean() + np.finfo(np.float64).tiny
    curvature = (curvature + floor) * shares[:, None]
    return _factors(sample, curvature) if _is_mixed(sample) else _scales(sample, curvature)


def _scales(sample: Objective, curvature: np.ndarray) -> np.ndarray:
    """One over the root of the curvature of each parameter by itself."""
    x = sample.inputs
    moments = np.asarray((x * x if isinstance(x, np.ndarray) else x.multiply(x)).T @ curvature)
    whole = curvature.sum(0, keepdims=True)
    diagonal = np.concatenate((np.where(moments > 0, moments, whole) + sample.alpha, whole))
    return np.asarray(1 / np.sqrt(diagonal[: sample.shape[0]]))


def _factors(sample: Objective, curvature: np.ndarray) -> np.ndarray:
    """The inverse factors of the second moments that are weighted by a column of the curvature; one, or of each output
    its own (K, D, D)."""
    x = np.asarray(sample.inputs, np.float64)
    if sample.intercept:
        x = np.append(x, np.ones((len(x), 1)), 1)
    factors = np.empty((curvature.shape[1], x.shape[1], x.shape[1]))
    eye = np.eye(x.shape[1])
    penalty = sample.alpha * eye
    penalty[sample.features :] = 0
    for column, factor in zip(curvature.T, factors, strict=True):
        moments = x.T @ (x * column[:, None])
        # A feature that is zero in all of the sample: as if it were one there.
        unseen = np.flatnonzero(np.diag(moments) == 0)
        moments[unseen, unseen] = column.sum()
        moments += penalty
        scale = np.sqrt(np.diag(moments))
        root = np.linalg.cholesky(moments / scale / scale[:, None] + _RIDGE * eye)
        factor[...] = solve_triangular(root, eye / scale, lower=True).T
    return factors[0] if len(factors) == 1 else factors


# ---- the search ----------------------------------------------------------------------------------------------


class _Search:
    """An objective in other variables u, ``params = start + metric @ u``, both centred where the minimum is.

    Without that, metrics of each output by itself would lead into directions of which only the penalty knows.
    """

    def __init__(self, objective: Objective, start: np.ndarray, metric: np.ndarray) -> None:
        self.objective = objective
        self.metric = metric
        self.mixes = _is_mixed(objective)
        self.start = self.centre(start)
        self.params = self.start
        self.slope = np.inf

    def centre(self, params: np.ndarray) -> np.ndarray:
        return np.asarray(params - params.mean(1, keepdims=True)) if self.objective.centred else params

    def to_params(self, u: np.ndarray) -> np.ndarray:
        if self.metric.ndim == 3:
            return self.centre(np.matmul(self.metric, u.T[:, :, None])[:, :, 0].T)
        return self.centre(self.metric @ u if self.mixes else self.metric * u)

    def to_gradient(self, gradient: np.ndarray) -> np.ndarray:
        gradient = self.centre(gradient)
        if self.metric.ndim == 3:
            return np.asarray(np.matmul(gradient.T[:, None, :], self.metric)[:, 0, :].T)
        return np.asarray(self.metric.T @ gradient if self.mixes else self.metric * gradient)

    def value_and_gradient(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        self.params = self.start + self.to_params(u.reshape(self.start.shape))
        value, gradient = self.objective.gradient(self.params)
        self.slope = float(np.abs(gradient).max(initial=0.0))
        return value, self.to_gradient(gradient).ravel()

    def hessian_product(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        params = self.start + self.to_params(u.reshape(self.start.shape))
        vector = self.to_params(v.reshape(self.start.shape))
        return self.to_gradient(self.objective.hessian_product(params, vector)).ravel()

    def run(self, solver: str, tol: float, max_iter: int, report: Report) -> Minimum:
        losses: list[float] = []

        def after(intermediate_result: OptimizeResult) -> None:
            # The objective was last evaluated at this iterate: line searches end with the point they take.
            losses.append(float(intermediate_result.fun))
            report(losses[-1], self.slope)
            if self.slope <= tol:
                raise StopIteration

        options: dict[str, Any] = {"maxiter": max_iter}
        if solver == "lbfgs":
            # `tol` is looked at by `after`; where it is out of reach, the objective stays the same to the last bit.
            options |= {"gtol": 0.0, "ftol": float(np.finfo(np.float64).eps), "maxls": 50}
            arguments: dict[str, Any] = {"method": "L-BFGS-B"}
        else:
            options |= {"xtol": 0.0}
            arguments = {"method": "Newton-CG", "hessp": self.hessian_product}
        zeros = np.zeros(self.start.size)
        found = minimize(self.value_and_gradient, zeros, jac=True, callback=after, options=options, **arguments)
        trouble = "" if self.slope <= tol or found.success else str(found.message)
        return Minimum(self.start + self.to_params(found.x.reshape(self.start.shape)), losses, trouble)
