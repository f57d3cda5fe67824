"""Candidate samplers: the laws of what they draw, what they expect, what they refuse."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fastxent.samplers import (
    FixedUnigramSampler,
    LearnedUnigramSampler,
    LogUniformSampler,
    Sampled,
    UniformSampler,
)

# A test statistic this unlikely would be a fault: seeds are fixed, so that a test that passes passes always.
LEVEL = 1e-3


def fixed(n: int, **options: Any) -> FixedUnigramSampler:
    """Classes of which the first and a later one are never drawn."""
    counts = 1.0 + np.arange(n - 1)
    if n > 3:
        counts[n // 2] = 0
    return FixedUnigramSampler(counts, distortion=0.75, num_reserved_ids=1, **options)


def learned(n: int, **options: Any) -> LearnedUnigramSampler:
    sampler = LearnedUnigramSampler(n, **options)
    sampler.update(np.repeat(np.arange(n), np.arange(n) % 7))
    return sampler


MAKERS: dict[str, Callable[..., Any]] = {
    "uniform": UniformSampler,
    "log uniform": LogUniformSampler,
    "fixed": fixed,
    "learned": learned,
}
every_sampler = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
weighted = pytest.mark.parametrize("make", [MAKERS[name] for name in list(MAKERS)[1:]], ids=list(MAKERS)[1:])
no_labels = np.zeros((0, 1), np.int64)


def exact_probabilities(sampler: Any) -> np.ndarray:
    """From the definitions."""
    n = sampler.n_classes
    classes = np.arange(n)
    if isinstance(sampler, UniformSampler):
        return np.full(n, 1 / n)
    if isinstance(sampler, LogUniformSampler):
        return np.log((classes + 2) / (classes + 1)) / np.log(n + 1)
    if isinstance(sampler, FixedUnigramSampler):
        weights = classes**0.75
        weights[[0, 1 + n // 2] if n > 3 else 0] = 0
    else:
        weights = 1.0 + classes % 7
    return weights / weights.sum()


# ---- the laws ------------------------------------------------------------------------------------------------


@every_sampler
@pytest.mark.parametrize("n", [2, 3, 50, 1000])
def test_independent_draws_have_their_distribution(make: Any, n: int) -> None:
    sampler = make(n, unique=False, rng=7)
    p = exact_probabilities(sampler)
    np.testing.assert_allclose(sampler.probabilities(np.arange(n)), p, rtol=1e-12, atol=0)
    sampled = sampler.sample(no_labels, 1_000_000)
    counts = np.bincount(sampled.ids, minlength=n)
    assert len(counts) == n and sampled.ids.dtype == np.int64
    assert not counts[p == 0].any()
    if np.count_nonzero(p) > 1:
        assert stats.chisquare(counts[p > 0], p[p > 0] / p.sum() * counts.sum()).pvalue > LEVEL
    np.testing.assert_allclose(sampled.sampled_expected, 1e6 * p[sampled.ids], rtol=1e-12)


def test_many_classes_by_ranges() -> None:
    """Where classes are too many to be counted one by one, their decades are."""
    n = 10**9
    ids = LogUniformSampler(n, unique=False, rng=3).sample(no_labels, 1_000_000).ids
    edges = np.unique(np.round(np.geomspace(1, n + 1, 50)))
    counts = np.histogram(ids + 1, edges)[0]
    assert ids.max() < n and counts.sum() == len(ids)
    assert stats.chisquare(counts, np.diff(np.log(edges)) / np.log(n + 1) * len(ids)).pvalue > LEVEL
    ids = fixed(300_000, unique=False, rng=3).sample(no_labels, 1_000_000).ids
    p = np.add.reduceat(exact_probabilities(fixed(300_000)), np.arange(0, 300_000, 1000))
    assert stats.chisquare(np.bincount(ids // 1000, minlength=300), p / p.sum() * 1e6).pvalue > LEVEL


def of_order(p: np.ndarray, ids: tuple[int, ...]) -> float:
    """The probability that these come, in this order, where what has come is rejected."""
    chance, left = 1.0, 1.0
    for i in ids:
        chance *= p[i] / left
        left -= p[i]
    return chance


def by_way(sampler: Any, count: int, way: str) -> Any:
    """By rejection or by waiting times, whichever it would choose."""
    if not isinstance(sampler, UniformSampler):
        sampler._few[count] = way == "rejection"
    return sampler


@every_sampler
@pytest.mark.parametrize("way", ["rejection", "waiting times"])
@pytest.mark.parametrize("count", [1, 3])
def test_unique_draws_and_what_is_expected(make: Any, way: str, count: int) -> None:
    """Orders have the law of rejection; expected counts have the probabilities to be sampled for their mean; and
    weights of one over them are unbiased."""
    n, rounds = 6, 20_000
    sampler = by_way(make(n, rng=5), count, way)
    p = exact_probabilities(sampler)
    orders = [order for order in permutations(range(n), count) if of_order(p, order) > 0]
    law = np.array([of_order(p, order) for order in orders])
    included = np.array([sum(c for c, order in zip(law, orders, strict=True) if i in order) for i in range(n)])
    seen = dict.fromkeys(orders, 0)
    expected = np.zeros((rounds, n))
    weights = np.zeros((rounds, n))
    sampler.update = lambda labels: None  # or it would learn
    for k in range(rounds):
        sampled = sampler.sample(np.arange(n), count)
        seen[tuple(sampled.ids.tolist())] += 1
        expected[k] = sampled.true_expected[:, 0]
        np.testing.assert_array_equal(expected[k][sampled.ids], sampled.sampled_expected)
        weights[k, sampled.ids] = 1 / sampled.sampled_expected
    assert stats.chisquare(list(seen.values()), law / law.sum() * rounds).pvalue > LEVEL
    deviation = expected.std(0) / np.sqrt(rounds) + 1e-12
    assert (np.abs(expected.mean(0) - included) < 5 * deviation).all()
    spread = weights.std(0) / np.sqrt(rounds) + 1e-12
    assert (np.abs(weights.mean(0) - (p > 0)) < 5 * spread).all()


@weighted
def test_both_ways_agree_where_either_is_taken(make: Any) -> None:
    n, count, rounds = 400, 60, 400
    p = exact_probabilities(make(n))
    totals = []
    for way in ("rejection", "waiting times"):
        sampler = by_way(make(n, rng=11), count, way)
        numbers = np.cos(np.arange(n)) + 2
        estimates = np.zeros(rounds)
        for k in range(rounds):
            sampled = by_way(sampler, count, way).sample(no_labels, count)
            assert len(np.unique(sampled.ids)) == count
            estimates[k] = (numbers[sampled.ids] / sampled.sampled_expected).sum()
        assert abs(estimates.mean() - numbers[p > 0].sum()) < 5 * estimates.std() / np.sqrt(rounds)
        totals.append(estimates.mean())
    assert totals[0] != totals[1]


@every_sampler
def test_all_that_can_be_drawn(make: Any) -> None:
    """Every class is certain then, and no draw is waited for in vain."""
    n = 1000
    sampler = make(n, rng=0)
    p = exact_probabilities(sampler)
    drawable = np.flatnonzero(p)
    sampled = sampler.sample(np.arange(n)[:, None], len(drawable))
    assert np.array_equal(np.sort(sampled.ids), drawable)
    assert np.array_equal(sampled.sampled_expected, np.ones(len(drawable)))
    assert np.array_equal(sampled.true_expected[:, 0], (p > 0).astype(float))
    says = f"num_sampled is {len(drawable) + 1}, but only {len(drawable)} classes"
    with pytest.raises(ValueError, match=says):
        sampler.sample(no_labels, len(drawable) + 1)
    again = make(n, rng=0, unique=False).sample(no_labels, 5 * n)
    assert len(again.ids) == 5 * n


@pytest.mark.parametrize("count", [2, 999, 1000])
def test_what_would_be_rejected_for_ever(count: int) -> None:
    counts = np.full(1000, 1e-290)
    counts[17] = 1.0
    sampled = FixedUnigramSampler(counts, rng=0).sample([17, 0], count)
    assert len(np.unique(sampled.ids)) == count and 17 in sampled.ids
    assert sampled.true_expected[0, 0] == 1.0
    assert (sampled.sampled_expected > 0).all() and (sampled.sampled_expected <= 1).all()


def test_alias_tables_hold_the_weights() -> None:
    """Column by column: what the tables give to each class is its probability."""
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 1000):
        counts = rng.random(n) ** 8
        counts[rng.random(n) < 0.3] = 0
        counts[n // 2] = 1
        sampler = FixedUnigramSampler(counts)
        share = np.minimum(sampler._thresholds, 1)
        given = (share + np.bincount(sampler._aliases, 1 - share, n)) / n
        np.testing.assert_allclose(given, counts / counts.sum(), rtol=1e-11, atol=1e-15)
        assert not given[counts == 0].any()


# ---- learning ------------------------------------------------------------------------------------------------


def test_what_is_learned() -> None:
    rng = np.random.default_rng(0)
    sampler = LearnedUnigramSampler(37, unique=False, rng=1)
    seen = np.zeros(37, np.int64)
    for size in ((5, 1), (8, 3), (0, 2)):
        labels = rng.integers(0, 37, size)
        before = sampler.probabilities(np.arange(37))
        sampled = sampler.sample(labels, 10)
        np.testing.assert_allclose(sampled.true_expected, 10 * before[labels], rtol=1e-14)
        seen += np.bincount(labels.ravel(), minlength=37)
        assert np.array_equal(sampler.counts, seen)
    stream = rng.integers(0, 37, 100_000) ** 2 // 37
    sampler.update(stream)
    seen += np.bincount(stream, minlength=37)
    weights = seen + 1
    assert np.array_equal(sampler.probabilities(np.arange(37)), weights / weights.sum())
    ids = sampler.sample(no_labels, 1_000_000).ids
    assert stats.chisquare(np.bincount(ids, minlength=37), weights / weights.sum() * 1e6).pvalue > LEVEL
    sampler.counts[:] = 0
    assert np.array_equal(sampler.counts, seen)


def test_a_decision_is_taken_again_when_much_was_learned() -> None:
    sampler = LearnedUnigramSampler(100, rng=0)
    sampler.sample(no_labels, 20)
    sampler.update(np.zeros(10**6, int))
    sampled = sampler.sample([[0], [1]], 20)
    assert sampled.true_expected[0, 0] > 0.999 and len(np.unique(sampled.ids)) == 20


# ---- seeds and arguments -------------------------------------------------------------------------------------

# These are the same on every machine; uniform draws are numpy's own.
GOLDEN = {
    "log uniform": [208, 19, 375, 122, 0, 844, 191, 227, 1, 21, 11, 602],
    "fixed": [773, 857, 93, 768, 128, 374, 642, 443, 554, 824, 758, 974],
    "learned": [494, 230, 713, 608, 683, 40, 12, 971, 68, 522, 719, 69],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_seeds_fix_the_draws(name: str) -> None:
    maker = MAKERS[name] if name != "fixed" else lambda n, **o: FixedUnigramSampler(np.arange(n) % 5, **o)
    assert maker(1000, rng=42).sample(no_labels, 12).ids.tolist() == GOLDEN[name]
    assert maker(1000, rng=np.random.default_rng(42)).sample(no_labels, 12).ids.tolist() == GOLDEN[name]


@every_sampler
@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_any_bit_generator(make: Any, bits: Any) -> None:
    a, b = (make(100, rng=np.random.Generator(bits(3))) for _ in range(2))
    first, second = a.sample([5], 10), b.sample([5], 10)
    assert all(np.array_equal(x, y) for x, y in zip(first, second, strict=True))
    assert not np.array_equal(first.ids, a.sample([5], 10).ids)
    # A copy goes on where the sampler was.
    copy = pickle.loads(pickle.dumps(a))
    assert np.array_equal(copy.sample([5], 10).ids, a.sample([5], 10).ids)


@every_sampler
def test_shapes_and_types(make: Any) -> None:
    sampler = make(20, rng=0)
    for labels, shape in (([1, 2, 3], (3, 1)), ([[1, 2, 3]], (1, 3)), (np.zeros((0, 2), np.uint8), (0, 2))):
        sampled = sampler.sample(labels, 4)
        assert isinstance(sampled, Sampled)
        assert sampled.ids.shape == sampled.sampled_expected.shape == (4,)
        assert sampled.true_expected.shape == shape
        assert sampled.true_expected.dtype == sampled.sampled_expected.dtype == np.float64
    assert make(20, rng=0).sample(np.uint64([3]), np.int8(2)).ids.shape == (2,)


@every_sampler
def test_refusals(make: Any) -> None:
    sampler = make(20, rng=0)
    state = sampler.rng.bit_generator.state
    for labels, count, error, says in (
        ([20], 4, ValueError, r"labels\[0\] is 20, but the classes are 0 to 19"),
        ([[0, 1], [2, -1]], 4, ValueError, r"labels\[1, 1\] is -1"),
        ([1.0], 4, TypeError, "labels have dtype float64"),
        (3, 4, ValueError, r"labels have shape \(\)"),
        (np.zeros((2, 2, 2), int), 4, ValueError, r"labels have shape \(2, 2, 2\)"),
        (np.zeros((2, 0), int), 4, ValueError, r"labels have shape \(2, 0\)"),
        ([1], 0, ValueError, "num_sampled is 0"),
        ([1], 2.0, TypeError, r"num_sampled is 2\.0"),
        ([1], 21, ValueError, "num_sampled is 21, but only"),
    ):
        with pytest.raises(error, match=says):
            sampler.sample(labels, count)
    assert sampler.rng.bit_generator.state == state
    with pytest.raises(ValueError, match=r"ids\[1\] is 20"):
        sampler.probabilities([0, 20])
    with pytest.raises(TypeError, match="unique is 1"):
        make(20, unique=1)
    for n, kind in ((0, ValueError), (2.5, TypeError), (True, TypeError), (2**63, ValueError)):
        if make not in (fixed, learned):
            with pytest.raises(kind, match="n_classes is"):
                make(n)


@pytest.mark.parametrize(
    "counts, options, error, says",
    [
        ([1, -1], {}, ValueError, r"counts\[1\] is -1"),
        ([1, np.nan], {}, ValueError, r"counts\[1\] is nan"),
        ([np.inf], {}, ValueError, r"counts\[0\] is inf"),
        ([0, 0], {}, ValueError, "counts are all 0"),
        ([], {}, ValueError, r"counts have shape \(0,\)"),
        ([[1]], {}, ValueError, r"counts have shape \(1, 1\)"),
        (["a"], {}, TypeError, "counts has dtype"),
        ([1], {"distortion": -1}, ValueError, "distortion is -1"),
        ([1], {"distortion": np.inf}, ValueError, "distortion is inf"),
        ([1], {"num_reserved_ids": -1}, ValueError, "num_reserved_ids is -1"),
        ([1], {"num_reserved_ids": 1.0}, TypeError, "num_reserved_ids is 1.0"),
    ],
)
def test_counts_that_are_refused(counts: Any, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        FixedUnigramSampler(counts, **options)


def test_counts_of_any_size() -> None:
    """No weight is lost or infinite."""
    sampler = FixedUnigramSampler([1e308, 1e308, 5e307], rng=0)
    np.testing.assert_allclose(sampler.probabilities([0, 1, 2]), [0.4, 0.4, 0.2], rtol=1e-15)
    sampler = FixedUnigramSampler([1e-310, 3e-310], rng=0)
    np.testing.assert_allclose(sampler.probabilities([0, 1]), [0.25, 0.75], rtol=1e-12)
    assert np.array_equal(FixedUnigramSampler([5, 0, 7], distortion=0).probabilities([0, 1, 2]), np.full(3, 1 / 3))
