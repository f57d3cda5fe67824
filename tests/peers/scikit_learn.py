"""scikit-learn's own tests of its losses (`sklearn/_loss/tests/test_loss.py`), run on fastxent's loss objects.

The adapters keep of scikit-learn's classes what is not a loss: link functions, ranges, allocation. Left out are two
groups of tests: of scikit-learn's array API variants, which are other classes, and of a private function that its
Cython classes export for testing.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

import pytest
import sklearn._loss.loss as peer

from fastxent import losses

METHODS = (
    "loss",
    "gradient",
    "loss_gradient",
    "gradient_hessian",
    "__call__",
    "fit_intercept_only",
    "predict_proba",
)
FLAGS = (
    "is_multiclass",
    "n_classes",
    "differentiable",
    "approx_hessian",
    "constant_hessian",
)


def adapted(base: type, ours: Any, methods: tuple[str, ...] = METHODS) -> type:
    """scikit-learn's class, with the methods of one of our objects."""

    class Adapted(base):
        def __init__(self, sample_weight: Any = None, **options: Any) -> None:
            super().__init__(sample_weight=sample_weight, **options)
            self.closs = ours(self)
            for flag in FLAGS:
                assert getattr(self.closs, flag) == getattr(self, flag), flag

    def method(name: str) -> Any:
        return lambda self, *args, **kwargs: getattr(self.closs, name)(*args, **kwargs)

    for name in methods:
        setattr(Adapted, name, method(name))
    Adapted.__name__ = Adapted.__qualname__ = base.__name__
    Adapted.__module__ = base.__module__
    return Adapted


peer.HalfBinomialLoss = adapted(peer.HalfBinomialLoss, lambda _: losses.SigmoidCrossEntropy())
peer.HalfMultinomialLoss = adapted(
    peer.HalfMultinomialLoss,
    lambda loss: losses.SoftmaxCrossEntropy(n_classes=loss.n_classes),
    (*METHODS, "gradient_proba"),
)
peer._LOSSES["binomial_loss"] = peer.HalfBinomialLoss
peer._LOSSES["multinomial_loss"] = peer.HalfMultinomialLoss


if __name__ == "__main__":
    os.environ["SKLEARN_RUN_FLOAT32_TESTS"] = "1"
    os.chdir(tempfile.gettempdir())  # away from the conftest of our own tests
    sys.exit(
        pytest.main(
            [
                "--pyargs",
                "sklearn._loss.tests.test_loss",
                "-k",
                "inomial and not array_api and not cy_gradient",
                "-q",
                "-rs",
                "-p",
                "no:cacheprovider",
                "-c",
                "/dev/null",
            ]
        )
    )
