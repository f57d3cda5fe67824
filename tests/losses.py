"""The table of losses: a new loss is one row here and one function in oracle.py, and all tests over LOSSES hold for it.

``outcomes`` says how targets are made and which forms they take:

* "classes": scores (n, C), classes along an axis; targets are labels, a dense distribution, or CSR;
* "elements": scores of any shape, each on its own; targets are labels 0 and 1, probabilities, or CSR.

``takes`` is the name of the first argument: "logits", or "probabilities" between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.special

import fastxent as fx
import oracle


@dataclass(frozen=True, eq=False)
class Loss:
    name: str
    function: Callable[..., Any]
    oracle: Callable[..., oracle.Exact]
    outcomes: str
    # Options under which the loss is held to its bounds, the empty set aside.
    options: tuple[dict[str, Any], ...] = field(default=())
    takes: str = "logits"

    @property
    def forms(self) -> tuple[str, ...]:
        return ("labels", "dense", "csr") if self.outcomes == "classes" else ("labels", "probabilities", "csr")

    @property
    def one_outcome(self) -> str:
        """Of the same family, the loss of a single outcome."""
        return "sigmoid_cross_entropy" if self.takes == "logits" else "binary_cross_entropy"

    def inputs_of(self, scores: np.ndarray) -> np.ndarray:
        """What the loss takes instead of scores: these themselves, or their probabilities."""
        if self.takes == "logits":
            return scores
        wide = scores.astype(np.float64)
        if self.outcomes == "elements":
            return scipy.special.expit(wide).astype(scores.dtype)
        return scipy.special.softmax(wide, axis=-1).astype(scores.dtype)


LOSSES = (
    Loss(
        "softmax_cross_entropy",
        fx.softmax_cross_entropy,
        oracle.softmax_cross_entropy,
        "classes",
        (
            {"label_smoothing": 0.1},
            {"label_smoothing": 1.0},
            {"temperature": 0.7},
            {"softcap": 30.0},
            {"z_loss": 0.01},
            {"softcap": 50.0, "temperature": 3.0, "label_smoothing": 0.2, "z_loss": 1e-3},
        ),
    ),
    Loss(
        "softmax_focal_loss",
        fx.softmax_focal_loss,
        oracle.softmax_focal_loss,
        "classes",
        ({"gamma": 0.5}, {"gamma": 5.0, "temperature": 1.7}, {"gamma": 1.0, "label_smoothing": 0.1}),
    ),
    Loss(
        "poly_cross_entropy",
        fx.poly_cross_entropy,
        oracle.poly_cross_entropy,
        "classes",
        ({"epsilon": -1.0}, {"epsilon": 2.5, "label_smoothing": 0.1}),
    ),
    Loss(
        "generalized_cross_entropy",
        fx.generalized_cross_entropy,
        oracle.generalized_cross_entropy,
        "classes",
        ({"q": 1.0}, {"q": 0.01}, {"q": 0.5, "label_smoothing": 0.1}),
    ),
    Loss(
        "sigmoid_cross_entropy",
        fx.sigmoid_cross_entropy,
        oracle.sigmoid_cross_entropy,
        "elements",
        ({"label_smoothing": 0.1}, {"pos_weight": 3.7}, {"pos_weight": 0.02, "label_smoothing": 0.5}),
    ),
    Loss(
        "sigmoid_focal_loss",
        fx.sigmoid_focal_loss,
        oracle.sigmoid_focal_loss,
        "elements",
        (
            {"gamma": 1.0, "alpha": 0.25},
            {"gamma": 0.5},
            {"gamma": 2.7, "alpha": 0.75, "pos_weight": 3.7},
            {"gamma": 50.0, "label_smoothing": 0.1},
            {"gamma": 5.0, "pos_weight": 0.02},
            {"gamma": 0.0, "alpha": 0.1},
        ),
    ),
    Loss(
        "binary_cross_entropy",
        fx.binary_cross_entropy,
        oracle.binary_cross_entropy,
        "elements",
        (
            {"label_smoothing": 0.1},
            {"pos_weight": 3.7},
            {"eps": 1e-3},
            {"pos_weight": 0.02, "label_smoothing": 0.5, "eps": 1e-7},
        ),
        "probabilities",
    ),
    Loss(
        "categorical_cross_entropy",
        fx.categorical_cross_entropy,
        oracle.categorical_cross_entropy,
        "classes",
        (
            {"label_smoothing": 0.1},
            {"normalize": True},
            {"eps": 1e-3},
            {"normalize": True, "label_smoothing": 0.5, "eps": 1e-7},
        ),
        "probabilities",
    ),
)

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
every_form = pytest.mark.parametrize(
    "loss, form", [pytest.param(loss, form, id=f"{loss.name}-{form}") for loss in LOSSES for form in loss.forms]
)
class_losses = pytest.mark.parametrize(
    "loss", [loss for loss in LOSSES if loss.outcomes == "classes"], ids=lambda loss: loss.name
)
sigmoid_losses = pytest.mark.parametrize(
    "loss",
    [loss for loss in LOSSES if loss.outcomes == "elements" and loss.takes == "logits"],
    ids=lambda loss: loss.name,
)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])


def make_logits(rng: np.random.Generator, n: int, classes: int, dtype: Any = np.float32, spread: float = 3.0) -> Any:
    return (rng.standard_normal((n, classes)) * spread).astype(dtype)


def make_inputs(
    loss: Loss, rng: np.random.Generator, n: int, classes: int, dtype: Any = np.float32, spread: float = 3.0
) -> Any:
    """What the loss takes, (n, classes): scores or probabilities."""
    return loss.inputs_of(make_logits(rng, n, classes, dtype, spread))


def make_targets(rng: np.random.Generator, form: str, loss: Loss, n: int, classes: int, dtype: Any = np.float32) -> Any:
    """Targets for scores (n, classes). Distributions and CSR rows of "classes" do not sum to one."""
    if loss.outcomes == "elements":
        if form == "labels":
            return rng.integers(0, 2, (n, classes)).astype(np.int8)
        if form == "probabilities":
            return rng.random((n, classes)).astype(dtype)
        dense = rng.random((n, classes)) * (rng.random((n, classes)) < 0.1)
        return scipy.sparse.csr_array(dense.astype(dtype))
    if form == "labels":
        return rng.integers(0, classes, n)
    if form == "dense":
        return (rng.random((n, classes)) ** 4 * 2 / classes).astype(dtype)
    per_row = min(classes, 4)
    indices = np.argsort(rng.random((n, classes)), axis=1)[:, :per_row]
    values = rng.random((n, per_row)).astype(dtype)
    indptr = np.arange(n + 1) * per_row
    return scipy.sparse.csr_array((values.ravel(), indices.ravel(), indptr), shape=(n, classes))


def some_rows(targets: Any, rows: Any) -> Any:
    """The targets of some rows, in the same form."""
    return targets[rows]


def same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays hold the same bits, NaNs and zeros' signs included, and are of one dtype and shape."""
    a, b = np.asarray(a), np.asarray(b)
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    )
