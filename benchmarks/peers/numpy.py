"""NumPy as a careful user writes it: in place where it can be, no one-hot array, no overflow.

NumPy itself uses one thread. With threads, each works through blocks of rows that fit its cache,
which is as far as NumPy goes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse
import scipy.special

from benchmarks.cases import FOCAL_ALPHA, FOCAL_GAMMA, Case, Inputs, Layer
from benchmarks.implementation import INTO_BUFFER, Implementation, Output

VERSION = np.__version__
NAME = "numpy"
FURTHER_OPERATIONS = ("focal_objective", "sampled_softmax_loss", "nce_loss")

# 256 rows of 1,000 float32: the fastest of 32, 64, 128 and 256, and half a common L2 cache.
BLOCK_BYTES = 1 << 20


def softmax_cross_entropy(
    x: np.ndarray, labels: np.ndarray, out: np.ndarray | None = None, n: int | None = None
) -> tuple[float, np.ndarray]:
    """Sum of the losses of the rows over ``n``, by default their number, and its gradient."""
    n = len(x) if n is None else n
    rows = np.arange(len(x))
    p = np.subtract(x, x.max(axis=1, keepdims=True), out=out)
    at_label = p[rows, labels]
    np.exp(p, out=p)
    total = p.sum(axis=1, keepdims=True)
    loss = (np.log(total[:, 0]) - at_label).sum() / n
    p /= total * n
    p[rows, labels] -= 1 / n
    return loss, p


def softmax_cross_entropy_csr(
    x: np.ndarray, targets: scipy.sparse.csr_array, out: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Mean loss and gradient for ``targets`` whose rows sum to one, without making them dense."""
    n = len(x)
    rows = np.repeat(np.arange(n), np.diff(targets.indptr))
    p = np.subtract(x, x.max(axis=1, keepdims=True), out=out)
    at_targets = p[rows, targets.indices]
    np.exp(p, out=p)
    total = p.sum(axis=1, keepdims=True)
    loss = (np.log(total).sum() - targets.data @ at_targets) / n
    p /= total * n
    p[rows, targets.indices] -= targets.data / n
    return loss, p


def sigmoid_cross_entropy(
    x: np.ndarray, targets: np.ndarray, out: np.ndarray | None = None, n: int | None = None
) -> tuple[float, np.ndarray]:
    """Sum of the losses over ``n``, by default their number, and its gradient.

    exp(-|x|) serves both.
    """
    n = x.size if n is None else n
    e = np.abs(x, out=out)
    np.negative(e, out=e)
    np.exp(e, out=e)
    loss = (np.maximum(x, 0) - x * targets + np.log1p(e)).sum() / n
    p = np.divide(np.where(x >= 0, 1, e), 1 + e, out=e)
    p -= targets
    p /= n
    return loss, p


def logsumexp(x: np.ndarray) -> np.ndarray:
    """Log of the sum of exponentials of each row."""
    m = x.max(axis=1, keepdims=True)
    p = x - m
    np.exp(p, out=p)
    return np.log(p.sum(axis=1)) + m[:, 0]


def focal_objective(x: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of the focal loss, as the objective for LightGBM that goes around has them.

    Written for scores that do not saturate, where it divides by 1 - p.
    """
    sign = 2 * targets - 1
    p = scipy.special.expit(x)
    p = np.clip(p, 1e-15, 1 - 1e-15)
    at, pt = np.where(targets, FOCAL_ALPHA, 1 - FOCAL_ALPHA), np.where(targets, p, 1 - p)
    u, du = at * sign * (1 - pt) ** FOCAL_GAMMA, -at * sign * FOCAL_GAMMA * (1 - pt) ** (FOCAL_GAMMA - 1)
    v, dv = FOCAL_GAMMA * pt * np.log(pt) + pt - 1, FOCAL_GAMMA * np.log(pt) + FOCAL_GAMMA + 1
    return u * v, np.maximum((du * v + u * dv) * sign * pt * (1 - pt), 1e-16)


def sampled_loss(layer: Layer, labels: np.ndarray, is_softmax: bool) -> tuple[float, np.ndarray, Any]:
    """Sampled softmax without accidental hits, or NCE: the mean, its gradient by inputs, and those of weights and
    biases as classes and rows, not summed by class."""
    ids, true_expected, sampled_expected = layer.sampled
    x, w, v, n = layer.inputs, layer.weight[ids], layer.weight[labels], len(labels)
    z = x @ w.T
    z += layer.bias[ids] - np.log(sampled_expected)
    t = np.einsum("ij,ij->i", x, v) + layer.bias[labels] - np.log(true_expected[:, 0])
    if is_softmax:
        z[labels[:, None] == ids] = -np.inf
        m = np.maximum(z.max(axis=1), t)
        z -= m[:, None]
        np.exp(z, out=z)
        e = np.exp(t - m)
        total = z.sum(axis=1) + e
        loss = (np.log(total) - t + m).mean()
        z /= (total * n)[:, None]
        of_true = (e / total - 1) / n
    else:
        loss = (np.logaddexp(0, -t) + np.logaddexp(0, z).sum(axis=1)).mean()
        scipy.special.expit(z, out=z)
        z /= n
        of_true = -scipy.special.expit(-t) / n
    of_weight = np.concatenate((z.T @ x, of_true[:, None] * x))
    of_bias = np.concatenate((z.sum(axis=0), of_true))
    return loss, z @ w + of_true[:, None] * v, (np.concatenate((ids, labels)), of_weight, of_bias)


def prepare(case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """NumPy, NumPy into a buffer, and where there is work for several, NumPy with threads."""
    if inputs.layer is not None:
        layer, is_softmax = inputs.layer, case.operation == "sampled_softmax_loss"
        note = "gradients of weights not summed by class"
        return [Implementation(NAME, NAME, lambda: sampled_loss(layer, inputs.labels, is_softmax)[:2], note=note)]
    x, buffer = inputs.logits, inputs.buffer
    if case.operation == "focal_objective":
        return [Implementation(NAME, NAME, lambda: focal_objective(x, inputs.labels))]
    step = max(1, BLOCK_BYTES * len(x) // x.nbytes)
    blocks = [slice(start, start + step) for start in range(0, len(x), step)]
    pool = ThreadPoolExecutor(threads) if len(blocks) > 1 and threads > 1 else None

    def named(name: str, call: Callable[[], Any], output: Output = "fresh") -> Implementation:
        return Implementation(name, NAME, call, output=output)

    if case.operation == "logsumexp":
        implementations = [named(NAME, lambda: logsumexp(x))]
        if pool is not None:
            parts = [x[block] for block in blocks]
            implementations.append(named(f"{NAME}, threads", lambda: np.concatenate([*pool.map(logsumexp, parts)])))
        return implementations
    if inputs.csr is not None:
        csr = inputs.csr
        return [
            named(NAME, lambda: softmax_cross_entropy_csr(x, csr)),
            named(NAME + INTO_BUFFER, lambda: softmax_cross_entropy_csr(x, csr, buffer), "buffer"),
        ]
    elementwise = case.operation == "sigmoid_cross_entropy"
    function = sigmoid_cross_entropy if elementwise else softmax_cross_entropy
    targets = inputs.labels

    def threaded(pool: ThreadPoolExecutor, out: np.ndarray) -> tuple[float, np.ndarray]:
        def part(block: slice) -> float:
            return function(x[block], targets[block], out[block], len(x))[0]

        return sum(pool.map(part, blocks)), out

    implementations = [
        named(NAME, lambda: function(x, targets)),
        named(NAME + INTO_BUFFER, lambda: function(x, targets, buffer), "buffer"),
    ]
    if pool is not None:
        name = f"{NAME}, threads"
        implementations += [
            named(name, lambda: threaded(pool, np.empty_like(x))),
            named(name + INTO_BUFFER, lambda: threaded(pool, buffer), "buffer"),
        ]
    return implementations
