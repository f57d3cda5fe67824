"""scikit-learn's own loss module, the fused Cython loops behind its estimators.

Its labels have the dtype of the logits. A weight of 1/n for every row makes its per-row loss and
gradient those of the mean in the same pass, which is faster than scaling afterwards.
"""

from __future__ import annotations

import numpy as np
import sklearn
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss

from benchmarks.cases import Case, Inputs
from benchmarks.implementation import INTO_BUFFER, Implementation

VERSION = sklearn.__version__
NAME = "scikit-learn"


def prepare(case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """``loss_gradient`` of the two losses; it has neither logsumexp nor sparse targets."""
    if case.operation == "logsumexp" or inputs.csr is not None:
        return []
    x = inputs.logits
    targets = inputs.labels.astype(case.dtype)
    weights = np.full(case.rows, 1 / case.rows, dtype=case.dtype)
    if case.operation == "softmax_cross_entropy":
        loss = HalfMultinomialLoss(n_classes=case.classes)
    else:
        loss = HalfBinomialLoss()
    buffer = inputs.buffer

    def run(out: np.ndarray | None) -> tuple[float, np.ndarray]:
        losses, gradient = loss.loss_gradient(targets, x, sample_weight=weights, gradient_out=out, n_threads=threads)
        return losses.sum(), gradient

    return [
        Implementation(NAME, "sklearn", lambda: run(None)),
        Implementation(NAME + INTO_BUFFER, "sklearn", lambda: run(buffer), output="buffer"),
    ]
