"""Ours: the gradient allocated by the call, as the peers do it, and into the caller's buffer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastxent as fx
from benchmarks import options
from benchmarks.cases import FOCAL_ALPHA, FOCAL_GAMMA, Case, Inputs, Layer
from benchmarks.implementation import INTO_BUFFER, Implementation
from fastxent.objectives import lightgbm_objective

VERSION = fx.__version__
NAME = "fastxent"
FURTHER_OPERATIONS = ("focal_objective", "linear_cross_entropy", "sampled_softmax_loss", "nce_loss")


def prepare(case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """fastxent, fastxent into a buffer, for CSR targets the same with integer labels, and the options."""
    x, labels = inputs.logits, inputs.labels
    if case.operation == "logsumexp":
        return [Implementation(NAME, NAME, lambda: fx.logsumexp(x, axis=1, n_threads=threads), role="ours")]
    if case.operation == "focal_objective":
        objective = lightgbm_objective(
            fx.losses.SigmoidFocalLoss(gamma=FOCAL_GAMMA, alpha=FOCAL_ALPHA), n_threads=threads
        )
        return [Implementation(NAME, NAME, lambda: objective(labels, x), role="ours")]
    if inputs.layer is not None:
        return [Implementation(NAME, NAME, _of_layer(case, inputs.layer, labels, threads), role="ours")]
    loss = fx.sigmoid_cross_entropy if case.operation == "sigmoid_cross_entropy" else fx.softmax_cross_entropy
    targets = labels if inputs.csr is None else inputs.csr
    buffer = inputs.buffer
    implementations = [
        Implementation(NAME, NAME, lambda: loss(x, targets, grad=True, n_threads=threads), role="ours"),
        Implementation(
            NAME + INTO_BUFFER,
            NAME,
            lambda: loss(x, targets, grad=buffer, n_threads=threads),
            role="ours",
            output="buffer",
        ),
    ]
    if case.targets == "options":
        for name, call in options.calls(inputs, threads).items():
            implementations.append(Implementation(name, NAME, call, role="yardstick", output="buffer"))
    if inputs.csr is not None:
        implementations.append(
            Implementation(
                f"{NAME}, integer labels",
                NAME,
                lambda: loss(x, labels, grad=True, n_threads=threads),
                role="yardstick",
                note="the same logits with one label a row",
            )
        )
    return implementations


def _of_layer(case: Case, layer: Layer, labels: np.ndarray, threads: int) -> Callable[[], tuple[float, np.ndarray]]:
    """The loss and its gradient by inputs, of all gradients that are computed."""
    weight, bias, x = layer.weight, layer.bias, layer.inputs

    def linear() -> tuple[float, np.ndarray]:
        loss, grads = fx.linear_cross_entropy(x, weight, labels, bias=bias, grad=True, n_threads=threads)
        return loss, grads[0]

    def sampled() -> tuple[float, np.ndarray]:
        function = getattr(fx, case.operation)
        loss, grad = function(weight, bias, x, labels, sampled=layer.sampled, grad=True, n_threads=threads)
        return loss, grad.inputs

    return sampled if case.num_sampled else linear
