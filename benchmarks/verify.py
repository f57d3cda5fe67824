"""Whoever computes something else is not timed: an independent float64 reference, row by row.

The losses are checked over all rows, the gradient on a sample of rows with the first and the last.
The bounds only tell right from wrong; how exact each library is, the tests and docs say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.cases import FOCAL_ALPHA, FOCAL_GAMMA, Case, Inputs, Layer

SAMPLED_ROWS = 64
BLOCK_ELEMENTS = 1 << 20
# What is left of derivatives by differences.
DIFFERENCES = 1e-7
RTOL = {"float32": 1e-3, "float64": 1e-9}


@dataclass(frozen=True)
class Expected:
    """The mean loss and the gradient's ``rows``; for logsumexp and objectives no loss, and their ``values``."""

    loss: float
    rows: np.ndarray
    values: np.ndarray


def expect(case: Case, inputs: Inputs) -> Expected:
    """Compute what every implementation of the case should return."""
    sample = np.linspace(0, case.rows - 1, min(SAMPLED_ROWS, case.rows)).astype(int)
    if inputs.layer is not None:
        return (_expect_sampled if case.num_sampled else _expect_linear)(case, inputs.layer, inputs.labels, sample)
    step = max(1, BLOCK_ELEMENTS // case.classes)
    blocks = [slice(start, start + step) for start in range(0, case.rows, step)]
    if case.operation == "sigmoid_cross_entropy":
        loss = sum(_sigmoid_losses(inputs, rows).sum() for rows in blocks) / case.rows
        z = inputs.logits[sample].astype(float)
        gradient = (1 / (1 + np.exp(-z)) - inputs.labels[sample]) / case.rows
        return Expected(loss, sample, gradient)
    if case.operation == "focal_objective":
        return Expected(np.nan, sample, _focal_derivatives(inputs.logits[sample], inputs.labels[sample]))
    lse = np.concatenate([_logsumexp(inputs.logits[rows].astype(float)) for rows in blocks])
    if not case.has_gradient:
        return Expected(np.nan, np.arange(case.rows), lse)
    p = np.exp(inputs.logits[sample].astype(float) - lse[sample, None])
    if inputs.csr is not None:
        # Each block stays sparse: the weighted logits are picked, the mass of a row is one.
        picked = [inputs.csr[rows].multiply(inputs.logits[rows]).sum(dtype=float) for rows in blocks]
        loss = (lse.sum() - sum(picked)) / case.rows
        p -= inputs.csr[sample].toarray()
    else:
        loss = (lse - inputs.logits[np.arange(case.rows), inputs.labels]).mean()
        p[np.arange(len(sample)), inputs.labels[sample]] -= 1
    return Expected(float(loss), sample, p / case.rows)


def disagreement(case: Case, expected: Expected, returned: Any) -> str | None:
    """What is wrong with the result of a call, or None."""
    rtol = RTOL[case.dtype]
    if case.operation == "focal_objective":
        loss, gradient, shape = None, np.stack(returned, axis=1), (case.rows, 2)
    elif case.has_gradient:
        loss, gradient = returned
        loss, gradient = float(loss), np.asarray(gradient)
        shape = (case.rows, case.features or case.classes) if case.classes > 1 else (case.rows,)
    else:
        loss, gradient, shape = None, np.asarray(returned), (case.rows,)
    if gradient.dtype != case.dtype or gradient.shape != shape:
        return f"returned {gradient.dtype} {gradient.shape}, not {case.dtype} {shape}"
    if loss is not None and not np.isclose(loss, expected.loss, rtol=rtol, atol=0):
        return f"loss {loss:.9g}, not {expected.loss:.9g}"
    rows = gradient[expected.rows]
    scale = np.abs(expected.values).max()
    atol = (DIFFERENCES if case.operation == "focal_objective" else 8 * np.finfo(case.dtype).eps) * scale
    if not np.allclose(rows, expected.values, rtol=rtol, atol=atol):
        worst = np.abs(rows - expected.values).max() / scale
        return f"an element is off by {worst:.2g} of the largest"
    return None


def _expect_linear(case: Case, layer: Layer, labels: np.ndarray, sample: np.ndarray) -> Expected:
    """Of the gradients that by inputs, as below."""
    w, total = layer.weight.astype(float), 0.0
    step = max(1, BLOCK_ELEMENTS // case.classes)
    for first in range(0, case.rows, step):
        z = layer.inputs[first : first + step].astype(float) @ w.T + layer.bias
        total += (_logsumexp(z) - z[np.arange(len(z)), labels[first : first + step]]).sum()
    z = layer.inputs[sample].astype(float) @ w.T + layer.bias
    p = np.exp(z - _logsumexp(z)[:, None])
    p[np.arange(len(sample)), labels[sample]] -= 1
    return Expected(total / case.rows, sample, p @ w / case.rows)


def _expect_sampled(case: Case, layer: Layer, labels: np.ndarray, sample: np.ndarray) -> Expected:
    """Of the gradients that by inputs: what it sums up is in the others as well."""
    assert layer.sampled is not None
    ids, true_expected, sampled_expected = layer.sampled
    x, w, v = (array.astype(float) for array in (layer.inputs, layer.weight[ids], layer.weight[labels]))
    z = x @ w.T + layer.bias[ids] - np.log(sampled_expected)
    t = (x * v).sum(axis=1) + layer.bias[labels] - np.log(true_expected[:, 0])
    if case.operation == "sampled_softmax_loss":
        z[labels[:, None] == ids] = -np.inf
        lse = _logsumexp(np.column_stack((z, t)))
        losses = lse - t
        of_sampled, of_true = np.exp(z - lse[:, None]), np.exp(t - lse) - 1
    else:
        losses = np.logaddexp(0, -t) + np.logaddexp(0, z).sum(axis=1)
        of_sampled, of_true = 1 / (1 + np.exp(-z)), -1 / (1 + np.exp(t))
    gradient = of_sampled[sample] @ w + of_true[sample, None] * v[sample]
    return Expected(float(losses.mean()), sample, gradient / case.rows)


def _logsumexp(z: np.ndarray) -> np.ndarray:
    m = z.max(axis=1)
    return np.log(np.exp(z - m[:, None]).sum(axis=1)) + m


def _sigmoid_losses(inputs: Inputs, rows: slice) -> np.ndarray:
    z, y = inputs.logits[rows].astype(float), inputs.labels[rows].astype(float)
    return np.logaddexp(0, z) - y * z


def _focal_derivatives(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """By central differences of the loss in long double, of which half the digits are left."""

    def loss(z: np.ndarray) -> np.ndarray:
        q = 1 / (1 + np.exp(np.where(y == 1, z, -z)))  # of the wrong outcome
        return np.where(y == 1, FOCAL_ALPHA, 1 - FOCAL_ALPHA) * q**FOCAL_GAMMA * -np.log1p(-q)

    wide, step = z.astype(np.longdouble), np.longdouble(1e-4)
    low, middle, high = loss(wide - step), loss(wide), loss(wide + step)
    second = np.maximum((high - 2 * middle + low) / step**2, 1e-16)
    return np.stack([(high - low) / (2 * step), second], axis=1).astype(float)
