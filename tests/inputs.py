"""Scores that are hard on an implementation of softmax and sigmoid."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

CLASSES = (2, 3, 10, 40, 41, 64, 80, 81, 1000, 150_000)


def _noise(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    """Of every spread, from nearly equal scores to a single one that counts."""
    return rng.standard_normal((n, classes)) * rng.choice([1e-3, 0.1, 1.0, 3.0, 10.0, 30.0], (n, 1))


def _margins(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    """One score stands above or below the others by -80 to 80."""
    scores = rng.standard_normal((n, classes)) * rng.choice([0.0, 1e-2, 1.0], (n, 1))
    at = rng.integers(0, classes, n)
    scores[np.arange(n), at] = 0
    scores[np.arange(n), at] = scores.max(1) + rng.uniform(-80, 80, n)
    return scores


def _ties(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    """Few different values, the largest of them often."""
    levels = rng.uniform(-20, 20, (n, 3))
    return np.take_along_axis(levels, rng.integers(0, 3, (n, classes)), 1)


def _powers(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    """Next to powers of two, where the spacing changes."""
    powers = 2.0 ** rng.integers(-6, 7, (n, classes)) * rng.choice([-1.0, 1.0], (n, classes))
    return powers * (1 + rng.choice([-1, 0, 1], (n, classes)) * 2.0**-23)


def _logarithms(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    """Next to multiples of log(2)/2, where exp reduces its argument to another power of two."""
    return rng.integers(-160, 160, (n, classes)) * (np.log(2) / 2) * (1 + rng.integers(-3, 4, (n, classes)) * 2.0**-23)


def _near_top(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    """Two largest scores that are equal or nearly so."""
    scores = rng.standard_normal((n, classes))
    scores[:, 0] = scores.max(1) + rng.uniform(0, 10, n)
    scores[:, -1] = scores[:, 0] - rng.choice([0.0, 1e-7, 1e-5, 1e-3, 0.3], n)
    return scores


FAMILIES = (_noise, _margins, _ties, _powers, _logarithms, _near_top)


@lru_cache(maxsize=4)
def hard_rows(classes: int, dtype: Any, elements: int = 600_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all families and integer labels, half of them the largest score; read-only."""
    rng = np.random.default_rng(classes)
    n = max(2, elements // classes // len(FAMILIES))
    scores = np.concatenate([family(rng, n, classes) for family in FAMILIES]).astype(dtype)
    # Offsets are added in the dtype: what is rounded is the input, not the result.
    offsets = rng.choice([0.0, 0.0, 0.0, 1e3, 1e6, -1e5], (len(scores), 1)).astype(dtype)
    scores += offsets
    scores[0] = 0.0
    scores[0, 0] = 20.0
    # Neighbours as the two largest, at any size.
    scores[1, -1] = np.nextafter(scores[1].max(), np.inf, dtype=dtype)
    labels = rng.integers(0, classes, len(scores))
    labels[::2] = scores[::2].argmax(1)
    labels[1::4] = scores[1::4].argmin(1)
    labels[0] = 0
    scores.flags.writeable = labels.flags.writeable = False
    return scores, labels


def margins_of_the_contract(scores: np.ndarray) -> np.ndarray:
    """Scores that are margins themselves: none between 80 and where every exponential is zero.

    There, weights above 1, in float64 also pos_weight and gamma, can lift to a normal number what was flushed to zero
    before.
    """
    size = np.abs(scores)
    return np.where((size > 80) & (size < 1000), np.copysign(scores.dtype.type(80), scores), scores)
