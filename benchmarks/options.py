"""Every loss and option of the softmax family on the same logits, for their cost beside plain cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

import fastxent as fx
from benchmarks.cases import CSR_PER_ROW, Inputs


def calls(inputs: Inputs, threads: int, seed: int = 1) -> dict[str, Callable[[], Any]]:
    """A call for each name of `cases.OPTION_COSTS`, all with the gradient written to the buffer."""
    rng = np.random.default_rng(seed)
    x, labels, grad = inputs.logits, inputs.labels, inputs.buffer
    rows, classes = x.shape
    dense = rng.random(x.shape, dtype=x.dtype)
    dense /= dense.sum(axis=1, keepdims=True)
    values = np.full(rows * CSR_PER_ROW, 1 / CSR_PER_ROW, x.dtype)
    columns = rng.integers(0, classes, values.size).astype(np.int32)
    indptr = np.arange(0, values.size + 1, CSR_PER_ROW, dtype=np.int32)
    csr = scipy.sparse.csr_array((values, columns, indptr), shape=x.shape)
    vector = rng.random(classes)
    mask = np.arange(classes) % 10 == 0
    unmasked = labels - (labels % 10 == 0) + (labels == 0) * 2
    masks = rng.random(x.shape) < 0.1
    masks[np.arange(rows), labels] = False

    def loss(function: Callable[..., Any] = fx.softmax_cross_entropy, y: Any = labels, **options: Any) -> Any:
        return lambda: function(x, y, grad=grad, n_threads=threads, **options)

    return {
        "focal": loss(fx.softmax_focal_loss),
        "poly-1": loss(fx.poly_cross_entropy),
        "generalised": loss(fx.generalized_cross_entropy),
        "label smoothing": loss(label_smoothing=0.1),
        "class weights": loss(class_weight=vector),
        "CSR targets": loss(y=csr),
        "dense targets": loss(y=dense),
        "temperature": loss(temperature=1.7),
        "temperature and its gradient": loss(temperature=1.7, temperature_grad=True),
        "logit bias": loss(logit_bias=vector),
        "soft cap": loss(softcap=30.0),
        "z-loss": loss(z_loss=1e-4),
        "class mask": loss(y=unmasked, class_mask=mask),
        "class mask by row": loss(class_mask=masks),
    }
