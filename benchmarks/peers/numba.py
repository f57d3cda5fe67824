"""numba: the fused loop a user writes when NumPy is too slow, with every help numba offers."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from benchmarks.cases import Case, Inputs
from benchmarks.implementation import INTO_BUFFER, Implementation

VERSION = numba.__version__
NAME = "numba"

jit = numba.njit(parallel=True, fastmath=True, nogil=True)


@jit
def softmax_cross_entropy(x, labels, out):
    """Write the gradient of the mean loss into ``out``; return the loss."""
    n, classes = x.shape
    losses = np.empty(n)
    for i in numba.prange(n):
        m = x[i].max()
        total = x.dtype.type(0)
        for j in range(classes):
            e = math.exp(x[i, j] - m)
            out[i, j] = e
            total += e
        scale = x.dtype.type(1 / (total * n))
        for j in range(classes):
            out[i, j] *= scale
        out[i, labels[i]] -= x.dtype.type(1 / n)
        losses[i] = math.log(total) + m - x[i, labels[i]]
    return losses.mean()


@jit
def softmax_cross_entropy_csr(x, indptr, indices, values, out):
    """The same for CSR targets whose rows sum to one."""
    n, classes = x.shape
    losses = np.empty(n)
    for i in numba.prange(n):
        m = x[i].max()
        total = x.dtype.type(0)
        for j in range(classes):
            e = math.exp(x[i, j] - m)
            out[i, j] = e
            total += e
        scale = x.dtype.type(1 / (total * n))
        for j in range(classes):
            out[i, j] *= scale
        losses[i] = math.log(total) + m
        for k in range(indptr[i], indptr[i + 1]):
            out[i, indices[k]] -= values[k] / n
            losses[i] -= values[k] * x[i, indices[k]]
    return losses.mean()


@jit
def sigmoid_cross_entropy(x, targets, out):
    """Write the gradient of the mean loss into ``out``; return the loss."""
    n = x.size
    total = 0.0
    for i in numba.prange(n):
        e = math.exp(-abs(x[i]))
        p = (x.dtype.type(1) if x[i] >= 0 else e) / (1 + e)
        out[i] = (p - targets[i]) / n
        total += max(x[i], x.dtype.type(0)) - x[i] * targets[i] + math.log1p(e)
    return total / n


@jit
def logsumexp(x):
    """Log of the sum of exponentials of each row."""
    n, classes = x.shape
    out = np.empty(n, x.dtype)
    for i in numba.prange(n):
        m = x[i].max()
        total = x.dtype.type(0)
        for j in range(classes):
            total += math.exp(x[i, j] - m)
        out[i] = math.log(total) + m
    return out


def prepare(case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """The kernels with a fresh gradient, and into a buffer."""
    numba.set_num_threads(threads)
    x = inputs.logits
    if case.operation == "logsumexp":
        return [Implementation(NAME, NAME, lambda: logsumexp(x))]
    function: Any
    targets: tuple[Any, ...]
    if inputs.csr is not None:
        csr = inputs.csr
        function, targets = softmax_cross_entropy_csr, (csr.indptr, csr.indices, csr.data)
    elif case.operation == "sigmoid_cross_entropy":
        function, targets = sigmoid_cross_entropy, (inputs.labels,)
    else:
        function, targets = softmax_cross_entropy, (inputs.labels,)
    buffer = inputs.buffer

    def fresh() -> tuple[float, np.ndarray]:
        out = np.empty_like(x)
        return function(x, *targets, out), out

    return [
        Implementation(NAME, NAME, fresh),
        Implementation(
            NAME + INTO_BUFFER,
            NAME,
            lambda: (function(x, *targets, buffer), buffer),
            output="buffer",
        ),
    ]
