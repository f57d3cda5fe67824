"""SciPy's special functions, put together as its users do."""

from __future__ import annotations

import numpy as np
import scipy
from scipy.special import expit, log_expit, log_softmax, logsumexp

from benchmarks.cases import Case, Inputs
from benchmarks.implementation import Implementation

VERSION = scipy.__version__
NAME = "scipy"


def softmax_cross_entropy(x: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean loss over the rows and its gradient."""
    n = len(x)
    rows = np.arange(n)
    p = log_softmax(x, axis=1)
    loss = -p[rows, labels].mean()
    np.exp(p, out=p)
    p[rows, labels] -= 1
    p /= n
    return loss, p


def sigmoid_cross_entropy(x: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean loss over the elements and its gradient: log(1 - expit(x)) = log_expit(x) - x."""
    loss = ((1 - targets) * x - log_expit(x)).mean()
    p = expit(x)
    p -= targets
    p /= x.size
    return loss, p


def prepare(case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """One way for each operation; SciPy has nothing for sparse targets."""
    x, labels = inputs.logits, inputs.labels
    if inputs.csr is not None:
        return []
    calls = {
        "logsumexp": lambda: logsumexp(x, axis=1),
        "softmax_cross_entropy": lambda: softmax_cross_entropy(x, labels),
        "sigmoid_cross_entropy": lambda: sigmoid_cross_entropy(x, labels),
    }
    return [Implementation(NAME, NAME, calls[case.operation])]
