"""Measure the largest errors of fastxent and of its peers on the same inputs: the tables of accuracy.md.

The exact results are computed here in long double (64 bits of mantissa or more), with nothing of fastxent and without
cancellation: one largest score is taken out of the sum, and a gradient at the label is minus the sum of the other
probabilities. Errors are in ulps, the spacing of the result's dtype at the exact result. Peers that are not installed
are left out.

    python docs/measure_accuracy.py
"""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastxent as fx

CLASSES = (2, 10, 1000)
ELEMENTS = 400_000
KINDS = ("ordinary", "margins", "saturated")

# What fastxent promises, in ulps.
BOUNDS = {"loss": 2, "gradient": 4, "logsumexp": 2}

Results = dict[str, np.ndarray]
Exact = dict[str, tuple[np.ndarray, np.ndarray]]  # value, and what its ulps are those of


# ---- inputs ------------------------------------------------------------------------------------------------------


def softmax_inputs(kind: str, dtype: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores and labels, for each number of classes."""
    for classes in CLASSES:
        rng = np.random.default_rng(classes)
        n = ELEMENTS // classes
        scores = rng.standard_normal((n, classes)) * (3.0 if kind == "ordinary" else 1.0)
        labels = rng.integers(0, classes, n)
        rows = np.arange(n)
        if kind == "margins":
            one = rng.integers(0, classes, n)
            scores[rows, one] = -np.inf
            scores[rows, one] = scores.max(axis=1) + rng.uniform(-80, 80, n)
            labels[::2] = one[::2]
        if kind == "saturated":
            scores[rows, labels] = scores.max(axis=1) + rng.uniform(10, 80, n)
        yield scores.astype(dtype), labels


def sigmoid_inputs(kind: str, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels 0 and 1."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, ELEMENTS)
    if kind == "ordinary":
        scores = 3 * rng.standard_normal(ELEMENTS)
    elif kind == "margins":
        scores = rng.uniform(-80, 80, ELEMENTS)
    else:
        scores = rng.uniform(10, 80, ELEMENTS) * np.where(labels == 1, 1, -1)
    return scores.astype(dtype), labels


# ---- exact results -----------------------------------------------------------------------------------------------


def exact_softmax(scores: np.ndarray, labels: np.ndarray) -> Exact:
    z = scores.astype(np.longdouble)
    rows, top = np.arange(len(z)), z.argmax(axis=1)
    highest = z[rows, top]
    powers = np.exp(z - highest[:, None])
    powers[rows, top] = 0
    others = powers.sum(axis=1)
    powers[rows, top] = 1
    p = powers / (1 + others)[:, None]
    gradient = p.copy()
    p[rows, labels] = 0
    gradient[rows, labels] = -p.sum(axis=1)
    loss = (highest - z[rows, labels]) + np.log1p(others)
    total = highest + np.log1p(others)
    return {
        "loss": (loss, loss),
        "gradient": (gradient, gradient),
        "logsumexp": (total, np.maximum(np.abs(total), np.abs(highest))),
    }


def exact_sigmoid(scores: np.ndarray, labels: np.ndarray) -> Exact:
    away = scores.astype(np.longdouble) * np.where(labels == 1, -1, 1)  # from the label
    loss = np.maximum(away, 0) + np.log1p(np.exp(-np.abs(away)))
    gradient = np.where(labels == 1, -1, 1) / (1 + np.exp(-away))
    return {"loss": (loss, loss), "gradient": (gradient, gradient)}


def ulps(actual: np.ndarray, wanted: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Errors in ulps; zero stands for anything below the smallest normal number."""
    info = np.finfo(actual.dtype)
    exponent = np.maximum(np.frexp(np.abs(scale))[1] - 1, info.minexp)
    error = np.abs(actual.astype(np.longdouble) - wanted) / np.ldexp(np.longdouble(1), exponent - info.nmant)
    return np.where((actual == 0) & (np.abs(wanted) < info.smallest_normal), 0, error).astype(np.float64)


# ---- implementations ---------------------------------------------------------------------------------------------

Softmax = Callable[[np.ndarray, np.ndarray], Results]


def fastxent_softmax(scores: np.ndarray, labels: np.ndarray) -> Results:
    loss, gradient = fx.softmax_cross_entropy(scores, labels, grad=True, reduction="none")
    return {"loss": loss, "gradient": gradient, "logsumexp": fx.logsumexp(scores, axis=1)}


def fastxent_sigmoid(scores: np.ndarray, labels: np.ndarray) -> Results:
    loss, gradient = fx.sigmoid_cross_entropy(scores, labels, grad=True, reduction="none")
    return {"loss": loss, "gradient": gradient}


def torch_softmax(scores: np.ndarray, labels: np.ndarray) -> Results:
    import torch
    from torch.nn import functional

    x = torch.tensor(scores, requires_grad=True)
    loss = functional.cross_entropy(x, torch.from_numpy(labels), reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    total = torch.logsumexp(x.detach(), 1)
    return {"loss": loss.detach().numpy(), "gradient": gradient.numpy(), "logsumexp": total.numpy()}


def torch_sigmoid(scores: np.ndarray, labels: np.ndarray) -> Results:
    import torch
    from torch.nn import functional

    x = torch.tensor(scores, requires_grad=True)
    loss = functional.binary_cross_entropy_with_logits(x, torch.tensor(labels).to(x.dtype), reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    return {"loss": loss.detach().numpy(), "gradient": gradient.numpy()}


def scipy_softmax(scores: np.ndarray, labels: np.ndarray) -> Results:
    from scipy.special import log_softmax, logsumexp, softmax

    rows = np.arange(len(labels))
    gradient = softmax(scores, axis=1)
    gradient[rows, labels] -= 1
    loss = -log_softmax(scores, axis=1)[rows, labels]
    return {"loss": loss, "gradient": gradient, "logsumexp": logsumexp(scores, axis=1)}


def scipy_sigmoid(scores: np.ndarray, labels: np.ndarray) -> Results:
    from scipy.special import expit, log_expit

    return {
        "loss": -log_expit(np.where(labels == 1, scores, -scores)),
        "gradient": expit(scores) - labels.astype(scores.dtype),
    }


def sklearn_softmax(scores: np.ndarray, labels: np.ndarray) -> Results:
    from sklearn._loss.loss import HalfMultinomialLoss

    loss = HalfMultinomialLoss(n_classes=scores.shape[1])
    value, gradient = loss.loss_gradient(labels.astype(scores.dtype), scores)
    return {"loss": value, "gradient": gradient}


def sklearn_sigmoid(scores: np.ndarray, labels: np.ndarray) -> Results:
    from sklearn._loss.loss import HalfBinomialLoss

    value, gradient = HalfBinomialLoss().loss_gradient(labels.astype(scores.dtype), scores)
    return {"loss": value, "gradient": gradient}


IMPLEMENTATIONS: dict[str, tuple[Softmax, Softmax]] = {
    "fastxent": (fastxent_softmax, fastxent_sigmoid),
    "torch": (torch_softmax, torch_sigmoid),
    "scipy": (scipy_softmax, scipy_sigmoid),
    "sklearn": (sklearn_softmax, sklearn_sigmoid),
}

TITLES = {"scipy": "SciPy", "sklearn": "scikit-learn"}


# ---- the tables --------------------------------------------------------------------------------------------------


class Worst:
    """The largest error of many results, and how many are beyond a bound."""

    def __init__(self, bound: float) -> None:
        self.bound, self.largest, self.beyond, self.count = bound, 0.0, 0, 0

    def add(self, errors: np.ndarray) -> None:
        self.largest = max(self.largest, float(errors.max()))
        self.beyond += int((errors > self.bound).sum())
        self.count += errors.size

    def __str__(self) -> str:
        if not self.count:
            return "-"
        text = (
            f"{self.largest:.2f}" if self.largest < 100 else f"{self.largest:.1e}".replace("e+", "e").replace("e0", "e")
        )
        if not self.beyond:
            return text
        share = 100 * self.beyond / self.count
        return f"{text} ({share:.0f} %)" if share >= 1 else f"{text} (<1 %)"


def measure(names: list[str], dtype: Any) -> Iterator[str]:
    """The lines of a table: a row for each quantity and kind of input, a column for each implementation."""
    yield f"| {np.dtype(dtype).name} | input | {' | '.join(TITLES.get(name, name) for name in names)} |"
    yield f"|---|---|{'---:|' * len(names)}"
    for family, quantities in (("softmax", ("loss", "gradient", "logsumexp")), ("sigmoid", ("loss", "gradient"))):
        worst = {
            (quantity, kind, name): Worst(BOUNDS[quantity])
            for quantity in quantities
            for kind in KINDS
            for name in names
        }
        for kind in KINDS:
            for scores, labels in softmax_inputs(kind, dtype) if family == "softmax" else [sigmoid_inputs(kind, dtype)]:
                exact = (exact_softmax if family == "softmax" else exact_sigmoid)(scores, labels)
                for name in names:
                    compute = IMPLEMENTATIONS[name][0 if family == "softmax" else 1]
                    # Every instruction set of this machine; the others have no choice.
                    for isa in fx.info()["isas"] if name == "fastxent" else [fx.isa()]:
                        before = fx.set_isa(isa)
                        results = compute(scores, labels)
                        fx.set_isa(before)
                        for quantity, value in results.items():
                            assert value.dtype == dtype
                            worst[quantity, kind, name].add(ulps(value, *exact[quantity]))
        for quantity in quantities:
            for kind in KINDS:
                cells = " | ".join(str(worst[quantity, kind, name]) for name in names)
                title = quantity if quantity == "logsumexp" else f"{family} {quantity}"
                yield f"| {title} | {kind} | {cells} |"


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> int:
    if np.finfo(np.longdouble).nmant < 63:
        print("long double is no wider than double here: the exact results cannot be computed", file=sys.stderr)
        return 1
    names = [name for name in IMPLEMENTATIONS if importlib.util.find_spec(name)]
    versions = [f"{TITLES.get(name, name)} {importlib.import_module(name).__version__}" for name in names]
    print(
        f"{datetime.date.today()}: {processor()}, {', '.join(fx.info()['isas'])}; Python {platform.python_version()},"
    )
    print(f"NumPy {np.__version__}, {', '.join(versions)}.")
    for dtype in (np.float32, np.float64):
        print()
        print("\n".join(measure(names, dtype)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
