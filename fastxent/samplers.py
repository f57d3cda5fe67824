"""Samplers of candidate classes, for `sampled_softmax_loss` and `nce_loss`.

A sampler draws `num_sampled` classes for a whole batch, and says how often each of them, and each true class, was to be
expected among them. With ``unique=False`` the draws are independent, and a class of probability p is expected
``num_sampled * p`` times. With ``unique=True`` classes are drawn until there are `num_sampled` different ones, as if
each had been rejected when it came again, and what is to be expected of a class is the probability to be among them:

* From a uniform distribution, ``num_sampled / n_classes``.
* From any other, the probability given all draws of *other* classes, ``1 - (1 - p)^m``: the class is sampled if it
  comes before the last of `num_sampled` different other ones, and `m` counts the draws of others up to there. That is a
  random number q whose mean is the probability to be sampled, and weights of 1 / q are exactly unbiased: for any
  numbers f, the mean of ``sum(f[i] / q[i] for i in ids)`` is the sum of f over all classes. (TensorFlow takes the
  number of all draws for `m`: nearly the same where few are rejected, but below 1 even where all classes are sampled.)
* Where so many of so uneven a distribution are asked for that nearly everything would be rejected, all classes are
  given exponential waiting times with rates p, and the first `num_sampled` are taken, which is the same law of ids and
  their order. Then q is ``1 - exp(-p t)``, with the time t at which `num_sampled` different others have come.

Draws come from a `numpy.random.Generator`. Those of `LogUniformSampler` and `LearnedUnigramSampler`, and the tables of
`FixedUnigramSampler` with a distortion of 0 or 1, need no function of the C library: they are the same on all machines.
"""

from __future__ import annotations

import decimal
import math
from typing import Any, NamedTuple

import numpy as np

from fastxent import _samplers, _validate

__all__ = ["FixedUnigramSampler", "LearnedUnigramSampler", "LogUniformSampler", "Sampled", "UniformSampler"]

# Unique classes are drawn by rejection where so many draws for each class are expected to be enough; waiting times for
# all classes take about as long as a tenth of their number in draws.
_DRAWS = 16
_PIECE = 1 << 16


class Sampled(NamedTuple):
    """Sampled classes and expected counts: a tuple in the order of TensorFlow's candidate samplers.

    Parameters
    ----------
    ids : ndarray of int64, shape (num_sampled,)
        The sampled classes.
    true_expected : ndarray of float64, shape (n, num_true)
        How often each true class was to be expected among the sampled ones.
    sampled_expected : ndarray of float64, shape (num_sampled,)
        The same of the sampled classes.
    """

    ids: np.ndarray
    true_expected: np.ndarray
    sampled_expected: np.ndarray


class UniformSampler:
    """All classes alike.

    Parameters
    ----------
    n_classes : int, at least 1
        How many classes there are.
    unique : bool, default True
        Whether the sampled classes are different ones.
    rng : numpy.random.Generator or what `numpy.random.default_rng` takes, optional
        Where random numbers come from.

    Raises
    ------
    TypeError, ValueError
        A number of classes that is not a whole number of at least 1; `unique` that is no bool.

    Examples
    --------
    >>> from fastxent.samplers import UniformSampler
    >>> sampled = UniformSampler(1000, rng=0).sample([[3], [999]], 4)
    >>> sampled.ids.shape, sampled.true_expected.tolist()
    ((4,), [[0.004], [0.004]])
    """

    def __init__(self, n_classes: int, *, unique: bool = True, rng: Any = None) -> None:
        self.n_classes = _validate.count_of("n_classes", n_classes)
        if self.n_classes >= 2**63:
            raise ValueError(f"n_classes is {n_classes}: give fewer than 2^63")
        self.unique = _validate.flag("unique", unique)
        self.rng = np.random.default_rng(rng)

    def probabilities(self, ids: Any) -> np.ndarray:
        """The probability of each of `ids` in a single draw, in their shape."""
        return np.full(_validate.class_ids("ids", ids, self.n_classes).shape, 1 / self.n_classes)

    def sample(self, labels: Any, num_sampled: int) -> Sampled:
        """Draw classes for a batch.

        Parameters
        ----------
        labels : array_like of integers, shape (n,) or (n, num_true)
            The true classes, which the sample does not depend on: only `true_expected` does.
        num_sampled : int, at least 1
            How many classes to draw.

        Returns
        -------
        Sampled

        Raises
        ------
        TypeError, ValueError
            Labels that are no integers or out of range; more unique classes than can be drawn.
        """
        true = _validate.candidate_labels(labels, self.n_classes)
        count = _validate.count_of("num_sampled", num_sampled)
        if self.unique:
            _check_enough(count, self.n_classes)
            ids = self.rng.choice(self.n_classes, count, replace=False)
        else:
            ids = self.rng.integers(self.n_classes, size=count)
        expected = count / self.n_classes
        return Sampled(ids.astype(np.int64, copy=False), np.full(true.shape, expected), np.full(count, expected))


class LogUniformSampler:
    """Zipf's distribution, for classes in the order of falling frequency: nothing to store, whatever their number.

    ::

        P(class) = log((class + 2) / (class + 1)) / log(n_classes + 1)

    Parameters
    ----------
    n_classes, unique, rng
        As of `UniformSampler`.

    Examples
    --------
    >>> from fastxent.samplers import LogUniformSampler
    >>> sampler = LogUniformSampler(3, unique=False, rng=0)
    >>> sampler.probabilities([0, 1, 2])
    array([0.5       , 0.29248125, 0.20751875])
    >>> sampler.sample([2], 100).true_expected
    array([[20.75187496]])
    """

    def __init__(self, n_classes: int, *, unique: bool = True, rng: Any = None) -> None:
        self.n_classes = _validate.count_of("n_classes", n_classes)
        if self.n_classes >= 2**52:
            raise ValueError(f"n_classes is {n_classes}: give fewer than 2^52")
        self.unique = _validate.flag("unique", unique)
        self.rng = np.random.default_rng(rng)
        # Rounded correctly, which the logarithm of a C library need not be.
        with decimal.localcontext(prec=40):
            self._log = float(decimal.Decimal(self.n_classes + 1).ln())
            self._log2 = float(decimal.Decimal(self.n_classes + 1).ln() / decimal.Decimal(2).ln())
        self._few: dict[int, bool] = {}

    def probabilities(self, ids: Any) -> np.ndarray:
        """The probability of each of `ids` in a single draw, in their shape."""
        return self._probabilities(_validate.class_ids("ids", ids, self.n_classes))

    def sample(self, labels: Any, num_sampled: int) -> Sampled:
        """Draw classes for a batch, see `UniformSampler.sample`."""
        true = _validate.candidate_labels(labels, self.n_classes)
        return _sample(self, true, num_sampled, self.n_classes, self._few)

    def _probabilities(self, ids: np.ndarray) -> np.ndarray:
        return np.asarray(np.log1p(1.0 / (ids + 1.0)) / self._log)

    def _draw(self, ids: np.ndarray, times: np.ndarray | None) -> tuple[int, int]:
        return _samplers.log_uniform(self.rng, self.n_classes, self._log2, ids, times)


class FixedUnigramSampler:
    """Given frequencies, such as those of words in a corpus; a draw takes the same time for any number of classes.

    The class ``num_reserved_ids + i`` is drawn with a probability in proportion to ``counts[i] ** distortion``.

    Parameters
    ----------
    counts : array_like, shape (n_classes - num_reserved_ids,)
        Frequencies, finite and not negative, not all 0.
    distortion : float, at least 0, default 1
        0 makes the distribution uniform; word2vec takes 0.75.
    num_reserved_ids : int, at least 0, default 0
        So many first classes are never drawn.
    unique, rng
        As of `UniformSampler`.

    Raises
    ------
    TypeError, ValueError
        Counts that are negative, not finite or all 0; an option outside its domain.

    Examples
    --------
    >>> from fastxent.samplers import FixedUnigramSampler
    >>> sampler = FixedUnigramSampler([1, 3], num_reserved_ids=1, unique=False, rng=0)
    >>> sampler.n_classes, sampler.probabilities([0, 1, 2])
    (3, array([0.  , 0.25, 0.75]))
    """

    def __init__(
        self, counts: Any, *, distortion: float = 1.0, num_reserved_ids: int = 0, unique: bool = True, rng: Any = None
    ) -> None:
        weights = _validate.real_array("counts", counts)
        if weights.ndim != 1 or len(weights) == 0:
            raise ValueError(f"counts have shape {weights.shape}: give one for each class, of shape (n,)")
        weights = np.ascontiguousarray(weights, np.float64)
        _validate.check_range("counts", weights, 0.0, math.inf, "counts are finite and not negative")
        power = _validate.number("distortion", distortion, 0.0, math.inf)
        reserved = _validate.count_of("num_reserved_ids", num_reserved_ids, 0)
        most = float(weights.max())
        if most == 0.0:
            raise ValueError("counts are all 0: there is nothing to draw, give one of them a count above 0")
        self.unique = _validate.flag("unique", unique)
        self.rng = np.random.default_rng(rng)
        self.n_classes = reserved + len(weights)
        if power != 1.0:
            with np.errstate(under="ignore"):
                weights = (weights / most) ** power
        # Scaled, so that no sum is infinite.
        weights = np.ldexp(weights, -math.frexp(float(weights.max()))[1])
        weights = np.concatenate((np.zeros(reserved), weights))
        self._p = weights / weights.sum()
        self._drawable = int(np.count_nonzero(self._p))
        self._thresholds = np.empty(self.n_classes)
        self._aliases = np.empty(self.n_classes, np.int64)
        _samplers.alias_tables(weights * (self.n_classes / weights.sum()), self._thresholds, self._aliases)
        self._few: dict[int, bool] = {}

    def probabilities(self, ids: Any) -> np.ndarray:
        """The probability of each of `ids` in a single draw, in their shape."""
        return self._probabilities(_validate.class_ids("ids", ids, self.n_classes))

    def sample(self, labels: Any, num_sampled: int) -> Sampled:
        """Draw classes for a batch, see `UniformSampler.sample`; classes that are never drawn are expected 0 times."""
        true = _validate.candidate_labels(labels, self.n_classes)
        return _sample(self, true, num_sampled, self._drawable, self._few)

    def _probabilities(self, ids: np.ndarray) -> np.ndarray:
        return np.asarray(self._p[ids])

    def _draw(self, ids: np.ndarray, times: np.ndarray | None) -> tuple[int, int]:
        return _samplers.from_alias(self.rng, self._thresholds, self._aliases, ids, times)


class LearnedUnigramSampler:
    """The frequencies of the labels seen so far, plus 1: learned from a stream, a draw takes O(log n_classes).

    Parameters
    ----------
    n_classes, unique, rng
        As of `UniformSampler`.

    Examples
    --------
    >>> from fastxent.samplers import LearnedUnigramSampler
    >>> sampler = LearnedUnigramSampler(4, unique=False, rng=0)
    >>> sampler.sample([1, 1, 1, 1], 8).true_expected[0]
    array([2.])
    >>> sampler.probabilities([0, 1])
    array([0.125, 0.625])
    """

    def __init__(self, n_classes: int, *, unique: bool = True, rng: Any = None) -> None:
        self.n_classes = _validate.count_of("n_classes", n_classes)
        self.unique = _validate.flag("unique", unique)
        self.rng = np.random.default_rng(rng)
        self._weights = np.ones(self.n_classes, np.int64)
        self._tree = np.empty(self.n_classes + 1, np.int64)
        _samplers.grow(self._tree, self._weights)
        self._total = self.n_classes
        self._few: dict[int, bool] = {}
        self._few_total = self._total

    @property
    def counts(self) -> np.ndarray:
        """How often each class was seen: a copy."""
        return self._weights - 1

    def probabilities(self, ids: Any) -> np.ndarray:
        """The probability of each of `ids` in a single draw, in their shape."""
        return self._probabilities(_validate.class_ids("ids", ids, self.n_classes))

    def update(self, labels: Any) -> None:
        """Count labels, an array of integers of any shape."""
        ids = _validate.class_ids("labels", labels, self.n_classes)
        _samplers.add(self._tree, self._weights, ids)
        self._total += ids.size

    def sample(self, labels: Any, num_sampled: int) -> Sampled:
        """Draw classes for a batch, see `UniformSampler.sample`; then count its labels, as `update` does."""
        true = _validate.candidate_labels(labels, self.n_classes)
        if self._total >= 2 * self._few_total:
            self._few, self._few_total = {}, self._total
        sampled = _sample(self, true, num_sampled, self.n_classes, self._few)
        self.update(true)
        return sampled

    def _probabilities(self, ids: np.ndarray) -> np.ndarray:
        return np.asarray(self._weights[ids] / self._total)

    def _draw(self, ids: np.ndarray, times: np.ndarray | None) -> tuple[int, int]:
        return _samplers.from_tree(self.rng, self._tree, self._total, ids, times)


_Weighted = LogUniformSampler | FixedUnigramSampler | LearnedUnigramSampler


def _check_enough(num_sampled: int, drawable: int) -> None:
    if num_sampled > drawable:
        raise ValueError(
            f"num_sampled is {num_sampled}, but only {drawable} classes can be drawn: sample that many at most, or with"
            " unique=False"
        )


def _sample(sampler: _Weighted, true: np.ndarray, num_sampled: Any, drawable: int, few: dict[int, bool]) -> Sampled:
    """Draw from classes of different weights, of which so many are `drawable`."""
    count = _validate.count_of("num_sampled", num_sampled)
    if not sampler.unique:
        ids = np.empty(count, np.int64)
        sampler._draw(ids, None)
        return Sampled(ids, count * sampler._probabilities(true), count * sampler._probabilities(ids))
    _check_enough(count, drawable)
    if count not in few:
        few[count] = count < drawable and _draws_suffice(sampler, count)
    if not few[count]:
        return _first_to_come(sampler, true, count)
    ids, times = np.empty(count, np.int64), np.empty(count, np.int64)
    tries, until = sampler._draw(ids, times)
    others = np.full(true.shape, tries)
    where, inside = _places(ids, true)
    others[inside] = until - times[where[inside]]
    with np.errstate(divide="ignore", under="ignore"):
        return Sampled(
            ids,
            -np.expm1(others * np.log1p(-sampler._probabilities(true))),
            -np.expm1((until - times) * np.log1p(-sampler._probabilities(ids))),
        )


def _draws_suffice(sampler: _Weighted, count: int) -> bool:
    """Whether `_DRAWS` times as many draws as are wanted are expected to find more different classes than that, with
    room for chance. What is drawn has no part in the decision, or the law of the sample would change."""
    draws, wanted, found = _DRAWS * (count + 1.0), count + 1 + 4 * math.sqrt(count + 1), 0.0
    for first in range(0, sampler.n_classes, _PIECE):
        ids = np.arange(first, min(first + _PIECE, sampler.n_classes))
        with np.errstate(under="ignore"):
            found -= float(np.expm1(-draws * sampler._probabilities(ids)).sum())
        if found >= wanted:
            return True
    return False


def _first_to_come(sampler: _Weighted, true: np.ndarray, count: int) -> Sampled:
    """Unique classes by exponential waiting times, in the order in which they come."""
    p = sampler._probabilities(np.arange(sampler.n_classes))
    with np.errstate(divide="ignore", over="ignore"):
        times = np.where(p > 0, sampler.rng.standard_exponential(len(p)) / p, math.inf)
    more = min(count + 1, len(p))
    first = np.argpartition(times, more - 1)[:more]
    first = first[np.argsort(times[first], kind="stable")]
    ids = first[:count].astype(np.int64)
    last, next_one = float(times[ids[-1]]), float(times[first[-1]]) if more > count else math.inf
    until = np.where(_places(ids, true)[1], next_one, last)
    with np.errstate(invalid="ignore", under="ignore"):
        # Of what has no weight, 0 even in infinite time.
        true_expected = np.where(p[true] > 0, -np.expm1(-p[true] * until), 0.0)
        return Sampled(ids, true_expected, -np.expm1(-p[ids] * next_one))


def _places(ids: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where among different `ids` each true class stands, and whether it does."""
    order = np.argsort(ids, kind="stable")
    where = order[np.minimum(np.searchsorted(ids, true, sorter=order), len(ids) - 1)]
    return where, ids[where] == true
