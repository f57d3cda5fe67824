"""The memory floor: what the machine needs for moving the same bytes, by NumPy with threads.

Where a gradient is written, the floor is ``np.multiply(x, c, out=g)``; where rows are only reduced,
it is ``np.max(x)``. Each thread has one contiguous part. Of linear and sampled losses it is that of arithmetic, the
three matrix products of scores and gradients, by NumPy's BLAS, into arrays whose pages exist.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.cases import Case, Inputs
from benchmarks.implementation import INTO_BUFFER, Implementation, Output

NAME, PRODUCTS = "memory floor", "matrix products"
FURTHER_OPERATIONS = ("focal_objective", "linear_cross_entropy", "sampled_softmax_loss", "nce_loss")
CONSTANT = 0.5

# Below this, handing a part to a thread costs more than the part.
SERIAL_BYTES = 1 << 20


def prepare(case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """The floor with a fresh output, and into a buffer."""
    if inputs.layer is not None:
        x, w = inputs.layer.inputs, inputs.layer.weight
        if inputs.layer.sampled is not None:
            w = w[inputs.layer.sampled[0]]

        scores, of_inputs, of_weight = np.zeros((len(x), len(w)), x.dtype), np.zeros_like(x), np.zeros_like(w)

        def products() -> np.ndarray:
            np.matmul(x, w.T, out=scores)
            np.matmul(scores, w, out=of_inputs)
            return np.matmul(scores.T, x, out=of_weight)

        return [Implementation(PRODUCTS, "floor", products, role="yardstick")]
    flat = inputs.logits.reshape(-1)
    parts = np.array_split(flat, 1 if flat.nbytes <= SERIAL_BYTES else threads)
    pool = ThreadPoolExecutor(threads)

    def yardstick(name: str, call: Callable[[], Any], output: Output = "fresh") -> Implementation:
        return Implementation(name, "floor", call, role="yardstick", output=output)

    def read() -> float:
        if len(parts) == 1:
            return flat.max()
        return max(pool.map(np.max, parts))

    def write(out: np.ndarray) -> np.ndarray:
        if len(parts) == 1:
            return np.multiply(flat, CONSTANT, out=out)
        targets = np.array_split(out, len(parts))
        list(pool.map(lambda part, g: np.multiply(part, CONSTANT, out=g), parts, targets))
        return out

    if not case.has_gradient:
        return [yardstick(NAME, read)]
    fresh = yardstick(NAME, lambda: write(np.empty_like(flat)))
    if case.operation == "focal_objective":
        return [fresh]
    buffer = inputs.buffer.reshape(-1)
    return [fresh, yardstick(NAME + INTO_BUFFER, lambda: write(buffer), "buffer")]
