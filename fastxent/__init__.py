"""Cross-entropy on the CPU for NumPy and SciPy: exact, and at memory speed."""

from typing import TYPE_CHECKING, Any

try:
    from fastxent._kernels import isa, set_isa, set_num_threads
except ModuleNotFoundError as error:  # pragma: no cover - only in a checkout that is not built
    if error.name != "fastxent._kernels":
        raise
    raise ImportError(
        "this folder holds fastxent's sources, not the built package: `make build` installs that in .venv; "
        "then use `.venv/bin/python -P`, or start Python in another folder"
    ) from None

from fastxent._info import __version__, info
from fastxent._memory import set_kept_memory
from fastxent.linear import linear_cross_entropy, linear_cross_entropy_hvp
from fastxent.probability import binary_cross_entropy, categorical_cross_entropy
from fastxent.row_sparse import RowSparse
from fastxent.sampled import nce_loss, sampled_softmax_loss
from fastxent.sigmoid import sigmoid_cross_entropy, sigmoid_cross_entropy_hvp, sigmoid_focal_loss
from fastxent.softmax import (
    generalized_cross_entropy,
    poly_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_hvp,
    softmax_focal_loss,
)
from fastxent.special import expit, log_expit, log_softmax, logsumexp, softmax

if TYPE_CHECKING:
    from fastxent import losses as losses
    from fastxent import samplers as samplers

__all__ = [
    "RowSparse",
    "__version__",
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "expit",
    "generalized_cross_entropy",
    "info",
    "isa",
    "linear_cross_entropy",
    "linear_cross_entropy_hvp",
    "log_expit",
    "log_softmax",
    "logsumexp",
    "losses",
    "nce_loss",
    "poly_cross_entropy",
    "sampled_softmax_loss",
    "set_isa",
    "set_kept_memory",
    "set_num_threads",
    "sigmoid_cross_entropy",
    "sigmoid_cross_entropy_hvp",
    "sigmoid_focal_loss",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_hvp",
    "softmax_focal_loss",
]


def __getattr__(name: str) -> Any:
    # Nine dataclasses take longer to import than all the rest, and SciPy's BLAS longer still.
    if name in ("losses", "samplers"):
        from importlib import import_module

        return import_module(f"fastxent.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
