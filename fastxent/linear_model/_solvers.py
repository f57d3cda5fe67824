"""Minimising the objective of a linear classifier: scipy.optimize, in variables in which the curvature is nearly one.

Both solvers need as many passes over the data as the curvature is uneven. Second moments of the inputs, weighted by the
second derivatives of the losses, are nearly the Hessian's blocks; Cholesky factors of these, from a sample of the rows,
even it out, for the heaviest features together and for the rest of very many by themselves. Where there are far more
rows than parameters, the sample is fitted first: that comes near to the minimum, and knows the curvature there.
Elsewhere the curvature is taken anew when the search has taken long. What is minimised, and when it is done, is told in
the parameters themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import OptimizeResult, minimize
from scipy.sparse import csr_array

from fastxent.linear_model._objective import Objective

# Up to so many features are mixed by a change of variables, of more than these the heaviest: its product with the
# parameters is to cost less than a pass.
_MIXED, _HEAVIEST = 1024, 512
# Rows for each mixed feature that second moments are taken from, and at least. With 16 they are some 25 % off.
_ROWS_FOR_MIXED, _LEAST_ROWS = 16, 4096
# What a first fit takes: one row in so many, with so many rows for each parameter. Fewer lead away from the minimum.
_SHARE, _ROWS_FOR_PARAMETER = 16, 20
# Rows of so much less than the mean weight are in no sample.
_LIGHT = 1e-3
# Numbers that a sample has at most.
_MOST = 1 << 24
# Where a first fit ends, as a gradient: what the sample knows no better than that is not worth passes.
_FIRST_TOL = 3e-3
# Iterations after which the curvature is taken anew, and then after twice as many; what its factors may take, in
# multiplications for each of a pass, which are some four times as fast.
_STAGE, _WORTH = 25, 40
# The part of the mean second derivative that is added to each, for outputs that are nearly settled.
_FLOOR = 1e-2
# Past steps that L-BFGS keeps: ten, as SciPy does, or fewer where they are of so many numbers that going through them
# would take as long as a pass.
_STEPS, _FEW_STEPS, _LONG = 10, 5, 1 << 17
# Products with the Hessian in an iteration of Newton-CG at most, as in scikit-learn.
_PRODUCTS = 200
# What keeps factors of singular second moments from being infinite, relative to the diagonal.
_RIDGE = 1e-6
# Centred second moments that are nothing but rounding, relative to those about zero.
_ROUNDING = 1e-24


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
    worth = _is_worth(objective, sample)
    stage = _STAGE if worth else max_iter
    while True:
        before = losses[-1] if losses else np.inf
        curvature = sample.curvature(params)
        metric = _metric(objective, sample, curvature if near else curvature.mean(1, keepdims=True))
        most = min(stage, max_iter - len(losses))
        search = _Search(objective, params, metric)
        found = search.run(solver, tol, most, report)
        params = found.params
        losses += found.losses
        # Newton-CG takes curvature below some epsilons for none, and then its zero step for success.
        stopped = solver == "newton-cg" and not found.trouble and search.slope > tol
        stuck = stopped and len(found.losses) > 0 and losses[-1] < before
        done = len(found.losses) < most or not found.trouble
        if len(losses) == max_iter or (done and not stuck):
            return Minimum(params, losses, found.trouble)
        near = near or worth
        stage *= 2


# ---- changes of variables ------------------------------------------------------------------------------------


class Metric(NamedTuple):
    """A change of variables u, ``params = factors @ u``, for the parameters that it mixes, and factors of the others.

    Parameters
    ----------
    mixed : slice or ndarray
        Which parameters are mixed.
    factors : ndarray, shape (m, m), or (K, m, m) for each output its own
    scales : ndarray, shape (D, 1), or None if all are mixed
    """

    mixed: Any
    factors: np.ndarray
    scales: np.ndarray | None

    def to_params(self, u: np.ndarray) -> np.ndarray:
        if self.factors.ndim == 3:
            part = np.matmul(self.factors, u[self.mixed].T[:, :, None])[:, :, 0].T
        else:
            part = self.factors @ u[self.mixed]
        return self._with(part, u)

    def to_gradient(self, gradient: np.ndarray) -> np.ndarray:
        if self.factors.ndim == 3:
            part = np.matmul(gradient[self.mixed].T[:, None, :], self.factors)[:, 0, :].T
        else:
            part = self.factors.T @ gradient[self.mixed]
        return self._with(part, gradient)

    def _with(self, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        if self.scales is None:
            return part
        out = self.scales * whole
        out[self.mixed] = part
        return np.asarray(out)


def _sample(objective: Objective) -> tuple[Objective, bool]:
    """Rows from which the curvature is taken, and whether to fit these first."""
    mixed = objective.shape[0] if _is_mixed(objective) else _HEAVIEST
    count = max(_LEAST_ROWS, _ROWS_FOR_MIXED * mixed)
    size = int(np.prod(objective.shape))
    heavy = np.arange(objective.rows)
    if objective.weights is not None:
        weights = objective.weights / objective.weights.max()
        heavy = np.flatnonzero(weights > _LIGHT * weights.mean())
    first = max(len(heavy) // _SHARE, _ROWS_FOR_PARAMETER * size)
    pays = (
        _is_mixed(objective)
        and objective.has_hessian_product
        and 8 * _ROWS_FOR_PARAMETER * size <= len(heavy)
        and first * objective.shape[0] <= _MOST
    )
    if pays:
        count = first
    if count >= objective.rows:
        return objective, False
    if count < len(heavy):
        heavy = heavy[np.sort(np.random.default_rng(0).choice(len(heavy), count, replace=False))]
    return objective.part(heavy), pays


def _is_mixed(objective: Objective) -> bool:
    """Whether the change of variables mixes all features."""
    return bool(objective.shape[0] <= _MIXED)


def _is_worth(objective: Objective, sample: Objective) -> bool:
    """Whether taking each output's curvature anew costs no more than a few passes, and knows it well enough."""
    enough = sample is objective or sample.rows >= _ROWS_FOR_PARAMETER * int(np.prod(objective.shape))
    cheap = sample.rows * objective.shape[0] <= 4 * _WORTH * objective.rows
    return bool(_is_mixed(objective) and enough and cheap)


def _metric(objective: Objective, sample: Objective, curvature: np.ndarray) -> Metric:
    """The change of variables for second derivatives of the sample's losses: of each output, or one column for all."""
    shares = _shares(sample)
    floor = _FLOOR * (shares @ curvature).mean() + np.finfo(np.float64).tiny
    curvature = (curvature + floor) * shares[:, None]
    if _is_mixed(objective):
        return Metric(slice(None), _factors(sample, sample.inputs, curvature), None)
    moments = _second_moments(objective)
    heaviest = np.sort(np.argpartition(-moments, _HEAVIEST)[:_HEAVIEST])
    mean = float(curvature.sum(0).mean())
    diagonal = np.append(mean * moments + objective.alpha, [mean] * objective.intercept)
    scales = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    mixed = np.append(heaviest, [objective.features] * objective.intercept).astype(np.intp)
    return Metric(mixed, _factors(sample, sample.inputs[:, heaviest], curvature), scales[:, None])


def _shares(objective: Objective) -> np.ndarray:
    """The weight of each row among all."""
    if objective.weights is None:
        return np.full(objective.rows, 1 / objective.rows)
    return np.asarray(objective.weights / objective.weight)


def _second_moments(objective: Objective) -> np.ndarray:
    """Of each feature."""
    x, shares = objective.inputs, _shares(objective)
    if isinstance(x, np.ndarray):
        return np.asarray(np.einsum("ij,ij,i->j", x, x, shares))
    # Not `multiply`, which sorts out what is where in both.
    return np.asarray(csr_array((x.data * x.data, x.indices, x.indptr), shape=x.shape).T @ shares)


def _factors(sample: Objective, inputs: Any, curvature: np.ndarray) -> np.ndarray:
    """The inverse factors of second moments that are weighted by a column of the curvature: one, or of each output its
    own (K, m, m)."""
    x = np.asarray(inputs if isinstance(inputs, np.ndarray) else inputs.toarray(), np.float64)
    d = x.shape[1]
    eye = np.eye(d)
    factors = np.zeros((curvature.shape[1], d + sample.intercept, d + sample.intercept))
    for column, factor in zip(curvature.T, factors, strict=True):
        whole = column.sum()
        mean = column @ x / whole if sample.intercept else np.zeros(d)
        with np.errstate(over="ignore", invalid="ignore"):
            seen = column @ (x * x)
            centred = x - mean
            moments = centred.T @ (centred * column[:, None])
        if not np.isfinite(moments).all():
            raise ValueError("second moments of X are not finite, its elements are so large: scale X")
        # A feature that is the same in all of the sample; if it is zero, as if it were one there.
        same = np.flatnonzero(np.diag(moments) <= _ROUNDING * seen)
        moments[same] = moments[:, same] = 0
        moments[same, same] = np.where(seen[same] > 0, seen[same], whole)
        moments += sample.alpha * eye
        scale = np.sqrt(np.diag(moments))
        root = np.linalg.cholesky(moments / scale / scale[:, None] + _RIDGE * eye)
        factor[:d, :d] = solve_triangular(root, eye / scale, lower=True).T
        if sample.intercept:
            # Where features are mixed, the scores at their mean are to stay the same: that is the intercept's affair.
            factor[d, :d] = -mean @ factor[:d, :d]
            factor[d, d] = 1 / np.sqrt(whole)
    return factors[0] if len(factors) == 1 else factors


# ---- the search ----------------------------------------------------------------------------------------------


class _Search:
    """An objective in other variables u, ``params = start + metric @ u``, both centred where the minimum is.

    Without that, metrics of each output by itself would lead into directions of which only the penalty knows.
    """

    def __init__(self, objective: Objective, start: np.ndarray, metric: Metric) -> None:
        self.objective = objective
        self.metric = metric
        self.start = self.centre(start)
        self.slope = np.inf
        self.begun = False
        self.around: np.ndarray | None = None
        self.products = 0

    def centre(self, params: np.ndarray) -> np.ndarray:
        return np.asarray(params - params.mean(1, keepdims=True)) if self.objective.centred else params

    def to_params(self, u: np.ndarray) -> np.ndarray:
        return self.centre(self.metric.to_params(u.reshape(self.start.shape)))

    def to_gradient(self, gradient: np.ndarray) -> np.ndarray:
        return self.metric.to_gradient(self.centre(gradient)).ravel()

    def value_and_gradient(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.objective.gradient(self.start + self.to_params(u))
        self.slope = float(np.abs(gradient).max(initial=0.0))
        if not self.begun and not (np.isfinite(value) and np.isfinite(self.slope)):
            raise ValueError(
                f"the objective is {value} where the search starts, and its largest slope {self.slope}: scale X, or"
                " change options of the loss"
            )
        self.begun = True
        return value, self.to_gradient(gradient)

    def hessian_product(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        if self.around is None or not np.array_equal(u, self.around):
            self.around, self.products = u.copy(), 0
        self.products += 1
        if self.products > _PRODUCTS:
            # Where there is no curvature, Newton-CG takes the step that it has found by then.
            return np.zeros_like(v)
        params, vector = self.start + self.to_params(u), self.to_params(v)
        return self.to_gradient(self.objective.hessian_product(params, vector))

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
            steps = _FEW_STEPS if self.start.size > _LONG else _STEPS
            options |= {"gtol": 0.0, "ftol": float(np.finfo(np.float64).eps), "maxls": 50, "maxcor": steps}
            arguments: dict[str, Any] = {"method": "L-BFGS-B"}
        else:
            options |= {"xtol": 0.0}
            arguments = {"method": "Newton-CG", "hessp": self.hessian_product}
        zeros = np.zeros(self.start.size)
        found = minimize(self.value_and_gradient, zeros, jac=True, callback=after, options=options, **arguments)
        trouble = "" if self.slope <= tol or found.success else str(found.message)
        return Minimum(self.start + self.to_params(found.x), losses, trouble)
