"""Fits that are done as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Whatever goes wrong, Ctrl-C included, the estimator has the attributes that it had, and NumPy the handling of
    floating-point errors: `np.errstate` does not restore it where Ctrl-C is heard as its block ends."""
    before, errors = dict(vars(estimator)), np.geterr()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        np.seterr(**errors)
        raise
