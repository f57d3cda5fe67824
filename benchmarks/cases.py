"""What is measured: one small record for each case, and the arrays that belong to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
import scipy.sparse

Operation = Literal[
    "softmax_cross_entropy",
    "sigmoid_cross_entropy",
    "logsumexp",
    "focal_objective",
    "linear_cross_entropy",
    "sampled_softmax_loss",
    "nce_loss",
]
Targets = Literal["labels", "csr", "options", "none"]

BEST_PEER = "best peer"
CSR_PER_ROW = 8
QUICK_BYTES = 4 << 20
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Goal:
    """``ours`` takes at most ``factor`` times as long as ``against``."""

    against: str
    factor: float
    ours: str = "fastxent"


@dataclass(frozen=True)
class Case:
    """One operation on one array.

    The losses are means, computed with their gradient in one call; ``logsumexp`` reduces each row;
    ``focal_objective`` is what gradient boosting asks for, first and second derivative of each row.
    ``classes`` is 1 for the elementwise losses, whose array is one-dimensional. With the targets
    "options" fastxent alone is measured, with each loss and option beside the plain one.

    ``linear_cross_entropy`` is that of rows of so many ``features``, its gradients are by inputs, weights and biases.
    ``sampled_softmax_loss`` and ``nce_loss`` have one label a row and ``num_sampled`` classes, the same for all rows,
    drawn outside the timing; their gradients of weights and biases are by the rows that are not zero.
    """

    operation: Operation
    rows: int
    classes: int
    dtype: str
    targets: Targets = "labels"
    goals: tuple[Goal, ...] = ()
    limit_seconds: float | None = None
    features: int = 0
    num_sampled: int = 0

    @property
    def name(self) -> str:
        """Operation, shape and dtype in one word, such as ``softmax-60000x1000-f32``."""
        shape = f"{self.rows}x{self.classes}" if self.classes > 1 else f"{self.rows}"
        dtype = f"f{8 * np.dtype(self.dtype).itemsize}"
        kind = f"-{self.targets}" if self.targets in ("csr", "options") else ""
        return f"{self.operation.removesuffix('_cross_entropy').removesuffix('_loss')}-{shape}-{dtype}{kind}"

    @property
    def has_gradient(self) -> bool:
        """Whether a call returns ``(loss, gradient)``, or two derivatives, rather than one value for each row."""
        return self.operation != "logsumexp"

    @property
    def array_bytes(self) -> int:
        """Size of the logits, of sampled losses those of the sampled classes."""
        return self.rows * (self.num_sampled or self.classes) * np.dtype(self.dtype).itemsize

    @property
    def bytes_moved(self) -> int:
        """The least a call has to move: logits in, derivatives out (labels are not counted); of linear and sampled
        losses, inputs and rows of weights in, their gradients out."""
        if self.features:
            weights = self.rows + self.num_sampled if self.num_sampled else self.classes
            return 2 * (self.rows + weights) * self.features * np.dtype(self.dtype).itemsize
        return self.array_bytes * {"logsumexp": 1, "focal_objective": 3}.get(self.operation, 2)

    def with_dtype(self, dtype: str) -> Case:
        """The same shape in another dtype; the goals were set for the first one and go."""
        if dtype == self.dtype:
            return self
        return replace(self, dtype=dtype, goals=(), limit_seconds=None)

    def quick(self) -> Case:
        """The same case with few enough rows to take milliseconds."""
        rows = max(1, min(self.rows, self.rows * QUICK_BYTES // self.array_bytes))
        classes = max(self.num_sampled, self.classes // 100) if self.num_sampled else self.classes
        return replace(self, rows=rows, classes=classes)


@dataclass(frozen=True)
class Layer:
    """What linear and sampled losses have in place of logits: weights (classes, features) and biases, inputs (rows,
    features); and the sampled classes, with how often labels (rows, 1) and they were to be expected among them."""

    weight: np.ndarray
    bias: np.ndarray
    inputs: np.ndarray
    sampled: tuple[np.ndarray, np.ndarray, np.ndarray] | None


@dataclass(frozen=True)
class Inputs:
    """The arrays of one case, the same for every implementation.

    ``labels`` are the integer labels (for sigmoid: 0 or 1, in the dtype of the logits, which every
    peer asks for); ``csr`` is the sparse distribution of a CSR case. ``buffer`` is where those who
    can write their gradient into a given array write it, one after the other; its pages exist. For
    linear and sampled losses there are ``layer`` and ``labels`` alone.
    """

    logits: np.ndarray
    labels: np.ndarray
    buffer: np.ndarray
    csr: scipy.sparse.csr_array | None = None
    layer: Layer | None = None


def make_inputs(case: Case, seed: int = 0) -> Inputs:
    """Draw the arrays: normal logits of standard deviation 3, uniform targets."""
    rng = np.random.default_rng(seed)
    if case.features:
        return _layer_inputs(case, rng)
    elementwise = case.operation in ("sigmoid_cross_entropy", "focal_objective")
    shape = (case.rows,) if elementwise else (case.rows, case.classes)
    logits = rng.standard_normal(shape, dtype=np.dtype(case.dtype))
    logits *= 3
    buffer = np.full_like(logits, 0) if case.has_gradient else np.empty(0, case.dtype)
    if elementwise:
        return Inputs(logits, rng.integers(0, 2, case.rows).astype(case.dtype), buffer)
    labels = rng.integers(0, case.classes, case.rows)
    csr = _spread_targets(case, rng) if case.targets == "csr" else None
    return Inputs(logits, labels, buffer, csr)


def _layer_inputs(case: Case, rng: np.random.Generator) -> Inputs:
    """Scores of standard deviation 1; labels and different sampled classes, all alike."""
    dtype = np.dtype(case.dtype)
    weight = rng.standard_normal((case.classes, case.features), dtype=dtype)
    weight /= dtype.type(case.features**0.5)
    inputs = rng.standard_normal((case.rows, case.features), dtype=dtype)
    sampled = None
    if case.num_sampled:
        expected = case.num_sampled / case.classes
        ids = rng.choice(case.classes, case.num_sampled, replace=False)
        sampled = ids, np.full((case.rows, 1), expected, dtype), np.full(case.num_sampled, expected, dtype)
    none = np.empty(0, dtype)
    labels = rng.integers(0, case.classes, case.rows)
    return Inputs(none, labels, none, layer=Layer(weight, np.zeros(case.classes, dtype), inputs, sampled))


def _spread_targets(case: Case, rng: np.random.Generator) -> scipy.sparse.csr_array:
    """CSR_PER_ROW equal weights in each row, one column from each of as many equal strips."""
    strip = case.classes // CSR_PER_ROW
    columns = rng.integers(0, strip, (case.rows, CSR_PER_ROW)) + strip * np.arange(CSR_PER_ROW)
    values = np.full(columns.size, 1 / CSR_PER_ROW, dtype=case.dtype)
    indptr = np.arange(0, columns.size + 1, CSR_PER_ROW)
    return scipy.sparse.csr_array(
        (values, columns.ravel().astype(np.int32), indptr.astype(np.int32)),
        shape=(case.rows, case.classes),
    )


def _goals(peer: float, floor: float | None = None) -> tuple[Goal, ...]:
    """``peer`` times as fast as the best peer, and ``floor`` times the memory floor."""
    best = Goal(BEST_PEER, 1 / peer)
    if floor is None:
        return (best,)
    return (best, Goal("memory floor, into buffer", floor, ours="fastxent, into buffer"))


# The tensors of torch's users, through our functions with torch's names.
COMPAT_TORCH = "fastxent.compat.torch"

# Of the focal objective, which fastxent and NumPy are given alike.
FOCAL_GAMMA, FOCAL_ALPHA = 2.0, 0.25

# What each loss and option of `benchmarks.options` may cost, times plain cross-entropy with labels.
OPTION_COSTS = {
    "focal": 1.25,
    "poly-1": 1.25,
    "generalised": 1.25,
    "label smoothing": 1.1,
    "class weights": 1.1,
    "CSR targets": 1.05,
    "dense targets": 1.8,
    "temperature": 1.25,
    "temperature and its gradient": 1.25,
    "logit bias": 1.25,
    "soft cap": 1.25,
    "z-loss": 1.25,
    "class mask": 1.25,
    "class mask by row": 1.25,
}


# The loss and all gradients of a linear layer: what its three matrix products take, and little more.
LINEAR_GOALS = (Goal(BEST_PEER, 1.0), Goal("matrix products", 1.15))


# The rows of the design's table of speeds that have an implementation so far, with their goals.
CASES: tuple[Case, ...] = (
    Case(
        "softmax_cross_entropy",
        60_000,
        1_000,
        "float32",
        goals=(*_goals(6, 1.0), Goal("torch", 1 / 5, ours=COMPAT_TORCH)),
    ),
    Case("softmax_cross_entropy", 2_048, 32_000, "float32", goals=_goals(6, 1.0)),
    Case("softmax_cross_entropy", 1_024, 128_256, "float32", goals=_goals(6, 1.1)),
    Case("softmax_cross_entropy", 1_000_000, 10, "float32", goals=_goals(6)),
    Case("softmax_cross_entropy", 1_000_000, 3, "float64", goals=_goals(6)),
    Case("softmax_cross_entropy", 30_000, 1_000, "float64", goals=_goals(6, 1.2)),
    Case("sigmoid_cross_entropy", 10_000_000, 1, "float32", goals=_goals(8)),
    Case(
        "logsumexp",
        60_000,
        1_000,
        "float32",
        targets="none",
        goals=(*_goals(9), Goal("scipy", 1 / 30)),
    ),
    Case(
        "softmax_cross_entropy",
        32,
        10,
        "float32",
        goals=(Goal("torch", 1.0, ours=COMPAT_TORCH),),
        limit_seconds=3e-6,
    ),
    Case("focal_objective", 200_000, 1, "float64", goals=(Goal("numpy", 1 / 5),)),
    Case(
        "softmax_cross_entropy",
        4_096,
        50_000,
        "float32",
        targets="csr",
        goals=(Goal("fastxent, integer labels", 1.05),),
    ),
    Case("linear_cross_entropy", 2_048, 32_000, "float32", goals=LINEAR_GOALS, features=512),
    Case("linear_cross_entropy", 1_024, 128_256, "float32", goals=LINEAR_GOALS, features=512),
    Case("sampled_softmax_loss", 1_024, 1_000_000, "float32", goals=_goals(4), features=128, num_sampled=8_192),
    Case("nce_loss", 1_024, 1_000_000, "float32", goals=_goals(4), features=128, num_sampled=8_192),
    Case(
        "softmax_cross_entropy",
        60_000,
        1_000,
        "float32",
        targets="options",
        goals=tuple(Goal("fastxent, into buffer", cost, ours=name) for name, cost in OPTION_COSTS.items()),
    ),
)


def select(patterns: list[str], cases: tuple[Case, ...] = CASES) -> list[Case]:
    """The cases whose name matches one of the shell patterns, in their own order."""
    unused = [p for p in patterns if not any(fnmatchcase(case.name, p) for case in cases)]
    if unused:
        names = ", ".join(case.name for case in cases)
        raise ValueError(f"no case matches {', '.join(unused)}; there are: {names}")
    return [case for case in cases if any(fnmatchcase(case.name, p) for p in patterns)]
