"""What a linear classifier minimises, as a function of its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastxent.linear import LinearLoss
from fastxent.linear_model._scores import scores_of


class Objective:
    """The mean loss of a linear layer with a penalty, ``mean(loss) + alpha / 2 * sum(coef**2)``.

    Its parameters are a float64 array of a row for each feature, a last one of intercepts if there are any, and a
    column for each output: that is how products with CSR take the weights, and both its parts are views. Losses and
    products are computed in the dtype of the inputs.

    Parameters
    ----------
    inputs : ndarray or CSR, shape (n, d)
    targets : labels (n,), ndarray or CSR, shape (n, K)
    loss : object of `fastxent.losses`
    outputs : int
        K, how many scores a row has.
    weights : ndarray, shape (n,), or None
    alpha : float
    intercept : bool
    n_threads : int or None
    """

    def __init__(
        self,
        inputs: Any,
        targets: Any,
        loss: Any,
        outputs: int,
        weights: np.ndarray | None,
        alpha: float,
        intercept: bool,
        n_threads: int | None,
    ) -> None:
        self.inputs, self.targets, self.loss, self.weights = inputs, targets, loss, weights
        self.alpha, self.intercept, self.n_threads = alpha, intercept, n_threads
        self.rows, self.features = inputs.shape
        self.shape = (self.features + intercept, outputs)
        self._pass = LinearLoss(inputs, targets, outputs, loss, weights, n_threads)
        # "mean" of independent outputs is over all of them: here each is a problem of its own.
        self._scale = 1 if loss.is_multiclass else outputs

    @property
    def weight(self) -> float:
        """Of all rows together."""
        return float(self.rows if self.weights is None else self.weights.sum())

    @property
    def centred(self) -> bool:
        """Whether, at the minimum, a parameter's mean over the outputs is 0: only the penalty depends on it."""
        return bool(self.loss.is_multiclass and self.loss.shift_invariant)

    @property
    def has_hessian_product(self) -> bool:
        return self._pass.has_hessian_product

    def part(self, rows: np.ndarray | slice) -> Objective:
        """The same of some of the rows."""
        weights = None if self.weights is None else self.weights[rows]
        return Objective(
            self.inputs[rows],
            self.targets[rows],
            self.loss,
            self.shape[1],
            weights,
            self.alpha,
            self.intercept,
            self.n_threads,
        )

    def gradient(self, params: np.ndarray) -> tuple[float, np.ndarray]:
        """The objective and its gradient."""
        single = self._as_inputs(params)
        out = np.empty_like(single)
        value = self._scale * self._pass.gradient(*self._layer_of(single), self._layer_of(out))
        # Not by the BLAS, whose threads would stay on our processors.
        value += self.alpha / 2 * float(np.square(params[: self.features]).sum())
        return value, self._finish(out, params)

    def hessian_product(self, params: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """The product of the Hessian and a vector of the shape of the parameters."""
        single, direction = self._as_inputs(params), self._as_inputs(vector)
        out = np.empty_like(single)
        layers = (self._layer_of(direction), self._layer_of(out))
        self._pass.hessian_product(*self._layer_of(single), *layers)
        return self._finish(out, vector)

    def curvature(self, params: np.ndarray) -> np.ndarray:
        """The second derivatives of the rows' losses by their own scores, (n, K), without signs."""
        weight, bias = self._layer_of(self._as_inputs(params))
        scores = scores_of(self.inputs, weight, bias, self.n_threads)
        if self.shape[1] == 1:
            scores = scores[:, 0]
        hessian = self.loss.gradient_hessian(self.targets, scores, n_threads=self.n_threads)[1]
        return np.asarray(np.abs(hessian.astype(np.float64)).reshape(-1, self.shape[1]))

    def _as_inputs(self, params: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(params, self.inputs.dtype)

    def _layer_of(self, params: np.ndarray) -> tuple[np.ndarray, Any]:
        """Weight and bias, views of the parameters."""
        return params[: self.features].T, params[self.features] if self.intercept else None

    def _finish(self, out: np.ndarray, penalised: np.ndarray) -> np.ndarray:
        found = out.astype(np.float64, copy=False)
        if self._scale != 1:
            found *= self._scale
        found[: self.features] += self.alpha * penalised[: self.features]
        return found
