"""Sampled softmax and NCE: against their formulas in long double, TensorFlow's numbers, and their expectations."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest

import fastxent as fx
import oracle
from fastxent.compat import tf_nn
from fastxent.samplers import FixedUnigramSampler, LearnedUnigramSampler, LogUniformSampler, Sampled, UniformSampler
from losses import same_bits
from tensorflow_sampled import IDS, LABELS, TENSORFLOW, N, V, arrays, sampled_values

LOSSES = {"softmax": fx.sampled_softmax_loss, "nce": fx.nce_loss}
both_losses = pytest.mark.parametrize("kind", LOSSES)
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def problem(rng: Any, n: int, d: int, classes: int, count: int, num_true: int, dtype: Any = np.float64) -> list[Any]:
    """Weights, biases, inputs, labels, and a sample with repetitions and accidental hits."""
    weight, bias = rng.standard_normal((classes, d)).astype(dtype), rng.standard_normal(classes).astype(dtype)
    inputs = rng.standard_normal((n, d)).astype(dtype)
    labels = np.array([rng.choice(classes, num_true, replace=False) for _ in range(n)]).reshape(n, num_true)
    ids = rng.integers(0, classes, count)
    if n:
        ids[: min(3, count)] = labels[0, 0]
    return [weight, bias, inputs, labels, Sampled(ids, rng.random((n, num_true)) + 0.1, rng.random(count) + 0.1)]


def exact_loss(
    kind: str, arguments: list[Any], remove: bool, scales: np.ndarray, smoothing: float = 0.0
) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Losses of the rows; and the gradients of their sum, times the scales, by the rule for one row and one class."""
    weight, bias, inputs, labels, sampled = arguments
    w, x = oracle.exact(weight), oracle.exact(inputs)
    b = oracle.exact(np.zeros(len(w)) if bias is None else bias)
    losses, d_w, d_b, d_x = w[0, 0] * np.zeros(len(x)), 0 * w, 0 * b, 0 * x
    for i, true in enumerate(labels):
        pairs = list(zip(true, sampled.true_expected[i], strict=True))
        for c, q in zip(sampled.ids, sampled.sampled_expected, strict=True):
            if not (remove and c in true):
                pairs.append((c, q))
        classes = [int(c) for c, _ in pairs]
        z = np.array(
            [
                (w[c] * x[i]).sum() + b[c] - oracle.log(oracle.exact(q))[()]
                for c, (_, q) in zip(classes, pairs, strict=True)
            ]
        )
        k = len(true)
        if kind == "softmax":
            e = oracle.exp(z - z.max())
            nll = oracle.log(e.sum()) - (z - z.max())
            target = np.full(len(z), smoothing) / len(z)
            target[:k] += (1 - smoothing) / k
            target = oracle.exact(target)
            losses[i], gradient = (target * nll).sum(), e / e.sum() - target
        else:
            target = oracle.exact(np.where(np.arange(len(z)) < k, 1 / k, 0))
            positive, negative = (oracle.log1p(oracle.exp(sign * z)) for sign in (-1, 1))
            losses[i] = (target * positive + (1 - target) * negative).sum()
            gradient = 1 / (1 + oracle.exp(-z)) - target
        for c, g in zip(classes, gradient * oracle.exact(scales[i]), strict=True):
            d_w[c] += g * x[i]
            d_b[c] += g
            d_x[i] += g * w[c]
    return losses, d_w, d_b, d_x


def close(got: Any, wanted: Any, dtype: Any, terms: int) -> None:
    """Sums of so many terms of about the size of 1, each rounded a few times."""
    np.testing.assert_allclose(
        np.asarray(got, np.float64),
        np.asarray(wanted, np.float64),
        rtol=0,
        atol=8 * np.sqrt(terms) * np.finfo(dtype).eps,
    )


# ---- the oracle ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, smoothing", [("softmax", 0.0), ("softmax", 0.25), ("nce", 0.0)])
@both_types
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("remove", [True, False])
def test_against_the_formula(isa: str, kind: str, dtype: Any, num_true: int, remove: bool, smoothing: float) -> None:
    rng = np.random.default_rng(num_true)
    arguments = problem(rng, 9, 5, 30, 13, num_true, dtype)
    weights = rng.random(9) * (np.arange(9) != 4)
    more: Any = {"label_smoothing": smoothing} if smoothing else {}
    for reduction, scales in (("mean", weights / weights.sum()), ("sum", weights), ("none", weights)):
        losses, d_w, d_b, d_x = exact_loss(kind, arguments, remove, scales, smoothing)
        options: Any = {"sampled": arguments[4], "remove_accidental_hits": remove, "sample_weight": weights, **more}
        loss, grad = LOSSES[kind](*arguments[:4], reduction=reduction, grad=True, **options)
        again = LOSSES[kind](*arguments[:4], reduction=reduction, **options)
        if reduction == "none":
            close(loss, losses * scales, dtype, 100)
            assert loss.dtype == dtype and same_bits(loss, again)
        else:
            close(loss, (losses * scales).sum(), dtype, 1000)
            assert type(loss) is float and loss == again
        close(grad.weight.toarray(), d_w, dtype, 100)
        close(grad.bias.toarray(), d_b, dtype, 100)
        close(grad.inputs, d_x, dtype, 100)
        assert grad.inputs.dtype == grad.weight.values.dtype == grad.bias.values.dtype == dtype
        assert not grad.inputs[4].any()


@both_losses
def test_the_oracle_s_gradients_are_derivatives(kind: str) -> None:
    arguments = problem(np.random.default_rng(5), 3, 2, 8, 5, 2)
    scales = np.array([1.0, 0.5, 2.0])
    _, *gradients = exact_loss(kind, arguments, True, scales, 0.125)
    for which, gradient in enumerate(gradients):
        for at in np.ndindex(gradient.shape):
            ends = []
            for step in (2.0**-20, -(2.0**-20)):
                moved = [*arguments]
                moved[which] = arguments[which].copy()
                moved[which][at] += step
                ends.append((exact_loss(kind, moved, True, scales, 0.125)[0] * scales).sum())
            assert abs((ends[0] - ends[1]) * 2.0**19 - gradient[at]) < 1e-9


@both_losses
@pytest.mark.parametrize(
    "n, d, count, num_true", [(1, 1, 1, 1), (600, 3, 2100, 1), (37, 40, 700, 2), (300, 1, 5, 4), (2, 2049, 3, 1)]
)
def test_shapes_of_all_kinds(kind: str, n: int, d: int, count: int, num_true: int) -> None:
    """More rows than are taken at a time, more columns than a tile has, and so on."""
    rng = np.random.default_rng(n)
    arguments = problem(rng, n, d, 50, count, num_true)
    arguments[0] /= np.sqrt(d)
    few = np.unique(rng.integers(0, n, 4))
    scales = np.zeros(n)
    scales[few] = 1 / len(few)
    losses, d_w, d_b, d_x = exact_loss(kind, arguments, True, scales)
    options: Any = {"sampled": arguments[4], "remove_accidental_hits": True}
    every = LOSSES[kind](*arguments[:4], reduction="none", **options)
    np.testing.assert_allclose(every[few], losses[few].astype(float), rtol=1e-12)
    loss, grad = LOSSES[kind](*arguments[:4], grad=True, sample_weight=scales, **options)
    np.testing.assert_allclose(loss, float((losses * scales).sum()), rtol=1e-12)
    for got, wanted in zip((grad.weight.toarray(), grad.bias.toarray(), grad.inputs), (d_w, d_b, d_x), strict=True):
        np.testing.assert_allclose(got, wanted.astype(float), rtol=1e-10, atol=1e-12 * float(np.abs(wanted).max()))
    whole = LOSSES[kind](*arguments[:4], grad=True, **options)
    assert whole[0] == pytest.approx(every.mean(), rel=1e-12)
    np.testing.assert_array_equal(whole[1].weight.ids, np.unique(np.r_[arguments[3].ravel(), arguments[4].ids]))


@both_losses
def test_without_bias(kind: str) -> None:
    weight, _, inputs, labels, sampled = problem(np.random.default_rng(2), 5, 3, 20, 6, 1)
    with_zeros = LOSSES[kind](weight, np.zeros(20), inputs, labels, sampled=sampled, grad=True)
    without = LOSSES[kind](weight, None, inputs, labels[:, 0], sampled=sampled, grad=True)
    assert without[0] == with_zeros[0] and without[1].bias is None
    assert same_bits(without[1].weight.values, with_zeros[1].weight.values)


@both_losses
def test_dtypes_and_layouts(kind: str) -> None:
    weight, bias, inputs, labels, sampled = problem(np.random.default_rng(2), 5, 3, 20, 6, 1)
    wanted = LOSSES[kind](weight, bias, inputs, labels, sampled=sampled, grad=True)

    def check(*arguments: Any) -> None:
        loss, grad = LOSSES[kind](*arguments, sampled=sampled, grad=True)
        assert loss == wanted[0]
        assert same_bits(grad.inputs, wanted[1].inputs) and same_bits(grad.weight.values, wanted[1].weight.values)

    wide = np.zeros((20, 7))
    wide[:, 1:4] = weight
    check(np.asfortranarray(weight), bias, inputs[::-1][::-1], labels)
    check(wide[:, 1:4], bias.tolist(), inputs.tolist(), labels.astype(np.uint8))
    check(wide[::-1, 3:0:-1][::-1, ::-1], np.repeat(bias, 2)[::2], np.asfortranarray(inputs), labels.tolist())
    check(weight.astype(">f8"), bias, inputs, labels.astype(">i4"))
    for w, x, kinds in (
        (np.float32, np.float64, (np.float64, np.float32)),
        (np.float64, np.float32, (np.float32, np.float64)),
        (np.float16, np.float32, (np.float32, np.float32)),
        (np.float16, np.float16, (np.float32, np.float32)),
    ):
        loss, grad = LOSSES[kind](weight.astype(w), bias, inputs.astype(x), labels, sampled=sampled, grad=True)
        exact = LOSSES[kind](
            weight.astype(w).astype(np.float64), bias, inputs.astype(x).astype(np.float64), labels, sampled=sampled
        )
        assert loss == pytest.approx(exact, rel=1e-6)
        assert (grad.inputs.dtype, grad.weight.values.dtype, grad.bias.values.dtype) == (*kinds, np.float64)


@both_losses
def test_no_rows_or_none_that_counts(kind: str) -> None:
    weight, bias, inputs, labels, sampled = problem(np.random.default_rng(0), 4, 3, 20, 6, 2)
    empty = sampled._replace(true_expected=np.zeros((0, 2)))
    loss, grad = LOSSES[kind](weight, bias, inputs[:0], labels[:0], sampled=empty, grad=True)
    assert loss == 0.0 and grad.inputs.shape == (0, 3)
    assert grad.weight.ids.shape == (0,) and grad.weight.shape == (20, 3) and not grad.weight.toarray().any()
    assert LOSSES[kind](weight, bias, inputs[:0], labels[:0], sampled=empty, reduction="none").shape == (0,)
    inputs[:] = np.nan
    for reduction in ("mean", "sum"):
        loss, grad = LOSSES[kind](
            weight, bias, inputs, labels, sampled=sampled, sample_weight=np.zeros(4), grad=True, reduction=reduction
        )
        assert loss == 0.0 and not grad.inputs.any() and len(grad.bias.ids) == 0


@both_losses
@both_types
def test_nan_and_infinities_stay_in_their_rows(kind: str, dtype: Any) -> None:
    weight, bias, inputs, labels, sampled = problem(np.random.default_rng(0), 6, 3, 20, 6, 1, dtype)
    clean = LOSSES[kind](weight, bias, inputs, labels, sampled=sampled, reduction="none")
    inputs[2], inputs[3] = np.nan, np.inf
    losses = LOSSES[kind](weight, bias, inputs, labels, sampled=sampled, reduction="none")
    assert np.isnan(losses[2]) and not np.isfinite(losses[3])
    assert same_bits(np.delete(losses, (2, 3)), np.delete(clean, (2, 3)))
    weights = np.ones(6)
    weights[2:4] = 0
    loss, grad = LOSSES[kind](weight, bias, inputs, labels, sampled=sampled, sample_weight=weights, grad=True)
    assert np.isfinite(loss) and np.isfinite(grad.weight.values).all() and not grad.inputs[2:4].any()


@both_losses
def test_same_bits_for_any_number_of_threads(kind: str) -> None:
    arguments = problem(np.random.default_rng(0), 500, 40, 900, 700, 2, np.float32)
    results = [LOSSES[kind](*arguments[:4], sampled=arguments[4], grad=True, n_threads=k) for k in (1, 2, 5)]
    for loss, grad in results[1:]:
        assert loss == results[0][0] and same_bits(grad.inputs, results[0][1].inputs)
        assert same_bits(grad.weight.values, results[0][1].weight.values)
        assert same_bits(grad.bias.values, results[0][1].bias.values)


@both_losses
def test_inputs_are_not_written_to(kind: str) -> None:
    arguments = problem(np.random.default_rng(0), 5, 3, 20, 6, 2)
    given = [*arguments[:4], *arguments[4]]
    for array in given:
        array.setflags(write=False)
    LOSSES[kind](*arguments[:4], sampled=arguments[4], grad=True, sample_weight=np.ones(5))


def test_memory_is_that_of_the_rows() -> None:
    """Neither an array of all classes nor one of all scores."""
    n, d, count, classes = 2000, 16, 3000, 300_000
    weight, bias, inputs, labels, sampled = problem(np.random.default_rng(0), n, d, classes, count, 1, np.float32)
    for function in LOSSES.values():
        function(weight, bias, inputs, labels, sampled=sampled, grad=True)
        tracemalloc.start()
        function(weight, bias, inputs, labels, sampled=sampled, grad=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * (n + count) * d * 4 < n * count * 4 / 4 < classes * d * 4


@both_losses
@both_types
def test_gradient_of_the_inputs_into_a_buffer(kind: str, dtype: Any) -> None:
    weight, bias, inputs, labels, sampled = problem(np.random.default_rng(0), 40, 7, 50, 20, 2, dtype)
    weights = np.arange(40.0) % 3
    function, other = LOSSES[kind], np.float64 if dtype == np.float32 else np.float32
    for options in ({}, {"sample_weight": weights}, {"reduction": "none"}):
        options |= {"sampled": sampled}
        loss, grad = function(weight, bias, inputs, labels, grad=True, **options)
        for buffer in (np.empty_like(inputs), np.empty((40, 7), dtype, "F"), np.empty((40, 14), dtype)[:, ::-2]):
            buffer[...] = np.nan
            value, written = function(weight, bias, inputs, labels, grad=buffer, **options)
            assert written.inputs is buffer and same_bits(np.asarray(value), np.asarray(loss))
            assert same_bits(np.ascontiguousarray(buffer), grad.inputs)
            assert same_bits(written.weight.values, grad.weight.values)
        # In place; and computed in the other type.
        itself = inputs.copy()
        assert function(weight, bias, itself, labels, grad=itself, **options)[1].inputs is itself
        assert same_bits(itself, grad.inputs)
        wide, buffer = function(weight.astype(other), bias, inputs, labels, grad=True, **options), np.empty_like(inputs)
        function(weight.astype(other), bias, inputs, labels, grad=buffer, **options)
        assert same_bits(buffer, wide[1].inputs)


@both_losses
def test_buffers_that_are_refused(kind: str) -> None:
    weight, bias, inputs, labels, _ = problem(np.random.default_rng(0), 4, 7, 50, 20, 1)
    read_only = np.zeros((4, 7))
    read_only.setflags(write=False)
    sampler = LearnedUnigramSampler(50, rng=0)
    for grad, error, says in (
        (1, TypeError, "grad is int: give True, False or a numpy array"),
        (np.zeros((7, 4)), ValueError, r"grad has shape \(7, 4\)"),
        (np.zeros((4, 7), np.float32), TypeError, "grad has dtype float32, but float64 is written"),
        (read_only, ValueError, "grad is read-only"),
        (weight[:4], ValueError, "grad overlaps weight"),
    ):
        with pytest.raises(error, match=says):
            LOSSES[kind](weight, bias, inputs, labels, sampler=sampler, num_sampled=5, grad=grad)
    assert not sampler.counts.any() and not read_only.any()


# ---- accidental hits -----------------------------------------------------------------------------------------


@both_losses
def test_every_accidental_hit_is_left_out(kind: str) -> None:
    weight, bias, inputs, _, _ = problem(np.random.default_rng(0), 2, 3, 9, 1, 2)
    labels = np.array([[4, 7], [0, 4]])
    true_expected = np.array([[0.3, 0.2], [0.9, 0.5]])
    hits = Sampled(np.array([4, 4, 1, 7, 4, 0]), true_expected, np.array([0.5, 0.5, 0.7, 0.6, 0.5, 0.4]))
    for row, left in ((0, [2, 5]), (1, [2, 3])):
        expected = Sampled(hits.ids[left], true_expected[row : row + 1], hits.sampled_expected[left])
        options: Any = {"remove_accidental_hits": True, "grad": True}
        one = (weight, bias, inputs[row : row + 1], labels[row : row + 1])
        all_of_them = LOSSES[kind](*one, sampled=hits._replace(true_expected=true_expected[row : row + 1]), **options)
        without = LOSSES[kind](*one, sampled=expected, **options)
        assert all_of_them[0] == pytest.approx(without[0], rel=1e-14)
        np.testing.assert_allclose(all_of_them[1].inputs, without[1].inputs, rtol=1e-13)


def test_smoothing_spreads_over_what_is_left() -> None:
    """A row of which nothing else is left has one class: no loss; and no infinity comes of smoothing masked ones."""
    loss, grad = fx.sampled_softmax_loss(
        np.ones((4, 2)),
        np.ones(4),
        np.ones((1, 2)),
        [3],
        sampled=([3, 3], [1.0], [1.0, 1.0]),
        label_smoothing=0.5,
        grad=True,
    )
    assert loss == 0.0 and not grad.inputs.any() and not grad.weight.values.any()
    assert (
        0
        < fx.sampled_softmax_loss(
            np.ones((4, 2)), np.ones(4), np.ones((1, 2)), [3], sampled=([3, 1], [1.0], [1.0, 1.0]), label_smoothing=0.5
        )
        == pytest.approx(np.log(2), rel=1e-15)
    )


# ---- TensorFlow ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, num_true, remove", TENSORFLOW)
def test_tensorflow_s_numbers(name: str, num_true: int, remove: bool) -> None:
    weight, bias, inputs = arrays()
    wanted = TENSORFLOW[name, num_true, remove]
    values = sampled_values(num_true)
    labels = np.array(LABELS[num_true])
    loss, grad = getattr(tf_nn, name)(
        weight, bias, labels, inputs, len(IDS), V, num_true, values, remove_accidental_hits=remove, grad=True
    )
    got = (loss, grad.inputs, grad.weight.toarray(), grad.bias.toarray())
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=4e-7)
    core = LOSSES["nce" if name == "nce_loss" else "softmax"](
        weight, bias, inputs, labels, sampled=values, remove_accidental_hits=remove, reduction="none"
    )
    assert same_bits(core, loss)
    # Weights in parts, one below the other.
    parts = [weight[:5], weight[5:]]
    again = getattr(tf_nn, name)(
        parts, bias, labels, inputs, len(IDS), V, num_true, values, remove_accidental_hits=remove
    )
    assert same_bits(again, loss)


def test_tensorflow_s_defaults() -> None:
    weight, bias, inputs = arrays()
    labels = np.array(LABELS[1])
    values = tf_nn.log_uniform_candidate_sampler(labels, 1, 5, True, V, seed=3)
    softmax = tf_nn.sampled_softmax_loss(weight, bias, labels, inputs, 5, V, seed=3)
    assert same_bits(softmax, tf_nn.sampled_softmax_loss(weight, bias, labels, inputs, 5, V, 1, values, True))
    nce = tf_nn.nce_loss(weight, bias, labels, inputs, 5, V, seed=3)
    assert same_bits(nce, tf_nn.nce_loss(weight, bias, labels, inputs, 5, V, 1, values, False))
    assert tf_nn.nce_loss(weight, bias, labels, inputs, 5, V).shape == (N,)
    for labels_given, says in (([3, 0, 7, 11], "num_true = 1"), ([[3, 1]] * 4, "num_true = 1")):
        with pytest.raises(ValueError, match=says):
            tf_nn.nce_loss(weight, bias, labels_given, inputs, 5, V)
    with pytest.raises(ValueError, match="biases have shape"):
        tf_nn.nce_loss(weight, bias[1:], labels, inputs, 5, V)
    with pytest.raises(ValueError, match=r"sampled_candidates have shape \(6,\): give shape \(5,\)"):
        tf_nn.nce_loss(weight, bias, labels, inputs, 5, V, 1, sampled_values(1))


def test_tensorflow_s_samplers() -> None:
    true = [[0, 1], [3, 2]]
    all_of = tf_nn.all_candidate_sampler(true, 2, 4, True)
    assert all_of.ids.tolist() == [0, 1, 2, 3]
    assert (all_of.true_expected == 1).all() and all_of.true_expected.shape == (2, 2)
    for unique in (True, False):
        for function in (
            tf_nn.uniform_candidate_sampler,
            tf_nn.log_uniform_candidate_sampler,
            tf_nn.learned_unigram_candidate_sampler,
        ):
            first, again = (function(true, 2, 3, unique, 5, seed=7) for _ in range(2))
            assert first.ids.tolist() == again.ids.tolist() and len(first.ids) == 3
            assert not unique or len(set(first.ids.tolist())) == 3
            with pytest.raises(ValueError, match=r"true_classes\[1, 0\] is 3, but the classes are 0 to 2"):
                function(true, 2, 3, unique, 3)
            with pytest.raises(ValueError, match="true_classes have shape"):
                function(true, 1, 3, unique, 5)
    # What TensorFlow 2.21 expects of the same arguments.
    options: Any = {"unigrams": [1, 2, 4, 8, 16, 32, 64, 128], "num_shards": 2}
    for shard in (0, 1):
        fixed = tf_nn.fixed_unigram_candidate_sampler([[0], [1], [2], [3]], 1, 6, False, 4, shard=shard, **options)
        wanted = [0.07058824, 0.28235295, 1.1294118, 4.5176473]
        np.testing.assert_allclose(fixed.true_expected[:, 0], wanted, rtol=1e-6)
    for range_max in (5, 8):
        with pytest.raises(ValueError, match=f"range_max is {range_max}, but"):
            tf_nn.fixed_unigram_candidate_sampler([[0]], 1, 6, False, range_max, **options)
    reserved = tf_nn.fixed_unigram_candidate_sampler(
        [[0], [1], [2], [3]], 1, 6, False, 5, num_reserved_ids=2, unigrams=[1, 2, 4]
    )
    np.testing.assert_allclose(reserved.true_expected[:, 0], [0, 0, 0.8571429, 1.7142859], rtol=1e-6)
    for unigrams in ((), None):
        with pytest.raises(ValueError, match="both or neither"):
            tf_nn.fixed_unigram_candidate_sampler([[0]], 1, 6, False, 5, unigrams=unigrams)
    for change, error, says in (
        ({"unigrams": 3}, ValueError, r"unigrams have shape \(\)"),
        ({"unigrams": [[1, 2]]}, ValueError, r"unigrams have shape \(1, 2\)"),
        ({"num_reserved_ids": "1"}, TypeError, "num_reserved_ids is '1'"),
        ({"num_reserved_ids": -1}, ValueError, "num_reserved_ids is -1"),
        ({"shard": 0.5}, TypeError, r"shard is 0\.5"),
        ({"shard": 2}, ValueError, "shard is 2: give one from 0 to 1"),
    ):
        with pytest.raises(error, match=says):
            tf_nn.fixed_unigram_candidate_sampler([[0]], 1, 6, False, 4, **{**options, **change})


def test_a_vocabulary_in_a_file(tmp_path: Any) -> None:
    path = tmp_path / "words.csv"
    path.write_text("the,3\n\nof,5\n")
    sampled = tf_nn.fixed_unigram_candidate_sampler([[0], [1]], 1, 6, False, 2, vocab_file=str(path))
    np.testing.assert_allclose(sampled.true_expected[:, 0], [2.25, 3.75])


def test_compute_accidental_hits() -> None:
    indices, ids, weights = tf_nn.compute_accidental_hits([[3, 1], [5, 3]], [3, 3, 5], 2)
    assert list(zip(indices.tolist(), ids.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 2), (1, 0), (1, 1)]
    assert (indices.dtype, ids.dtype, weights.dtype) == (np.int32, np.int64, np.float32)
    assert (weights == -np.finfo(np.float32).max).all()


# ---- expectations --------------------------------------------------------------------------------------------


def test_all_classes_are_the_full_softmax() -> None:
    """Where everything is sampled, nothing is estimated."""
    weight, bias, inputs, labels, _ = problem(np.random.default_rng(1), 20, 4, 30, 1, 1)
    full, gradient = fx.softmax_cross_entropy(inputs @ weight.T + bias, labels[:, 0], grad=True)
    for sampler in (UniformSampler(30), LogUniformSampler(30), FixedUnigramSampler(np.arange(30.0) + 1)):
        loss, grad = fx.sampled_softmax_loss(weight, bias, inputs, labels, sampler=sampler, num_sampled=30, grad=True)
        assert loss == pytest.approx(full, rel=1e-13)
        np.testing.assert_allclose(grad.weight.toarray(), gradient.T @ inputs, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(grad.inputs, gradient @ weight, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("unique", [True, False])
def test_the_mean_gradient_comes_to_that_of_the_full_softmax(unique: bool) -> None:
    """Its bias falls as one over the size of the sample: sampling four times as much leaves less than half of it."""
    weight, bias, inputs, labels, _ = problem(np.random.default_rng(1), 6, 3, 400, 1, 1)
    weight, bias = weight / 2, bias / 2
    gradient = fx.softmax_cross_entropy(inputs @ weight.T + bias, labels[:, 0], grad=True)[1] @ weight
    distances = []
    for count, rounds in ((20, 4000), (80, 3000), (320, 1500)):
        sampler = LogUniformSampler(400, unique=unique, rng=2)
        total = np.zeros_like(gradient)
        for _ in range(rounds):
            total += fx.sampled_softmax_loss(
                weight, bias, inputs, labels, sampler=sampler, num_sampled=count, grad=True
            )[1].inputs
        distances.append(np.linalg.norm(total / rounds - gradient) / np.linalg.norm(gradient))
    assert distances[1] < distances[0] / 2 and distances[2] < distances[1] / 2 and distances[2] < 0.05


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("remove", [True, False])
def test_nce_s_expectation(unique: bool, remove: bool) -> None:
    """Of noise: sum over classes of the expected count times softplus(z - log(expected count))."""
    n, count, rounds = 12, 5, 6000
    weight, bias, inputs, labels, _ = problem(np.random.default_rng(1), 2, 3, n, 1, 1)
    sampler = UniformSampler(n, unique=unique, rng=4)
    losses = np.array(
        [
            fx.nce_loss(
                weight,
                bias,
                inputs,
                labels,
                sampler=sampler,
                num_sampled=count,
                remove_accidental_hits=remove,
                reduction="none",
            )
            for _ in range(rounds)
        ]
    )
    z = inputs @ weight.T + bias - np.log(count / n)
    noise = count / n * np.logaddexp(0, z)
    wanted = [
        np.logaddexp(0, -z[i, y]) + noise[i].sum() - (noise[i, y] if remove else 0) for i, y in enumerate(labels[:, 0])
    ]
    assert (np.abs(losses.mean(0) - wanted) < 5 * losses.std(0) / np.sqrt(rounds)).all()


def test_nce_learns_normalised_probabilities() -> None:
    """At the logarithms of the true probabilities the expected gradient is zero (Gutmann and Hyvarinen)."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(6))
    sampler = FixedUnigramSampler(np.arange(6) + 1.0, unique=False)
    q = 4 * sampler.probabilities(np.arange(6))
    d_bias = np.zeros(6)
    # Every label in turn and every class of noise, each with its probability.
    for label, noise in itertools.product(range(6), range(6)):
        sampled = Sampled(np.array([noise]), q[[[label]]], q[[noise]])
        _, grad = fx.nce_loss(np.zeros((6, 1)), np.log(p), np.zeros((1, 1)), [label], sampled=sampled, grad=True)
        whole = grad.bias.toarray()
        # Four draws of noise for each label: the gradient of a label alone, and four times that of the noise.
        positive = np.zeros(6)
        positive[label] = -1 / (1 + p[label] / q[label])
        d_bias += p[label] * q[noise] / 4 * (4 * (whole - positive) + positive)
    np.testing.assert_allclose(d_bias, 0, atol=1e-15)


@both_losses
def test_samplers_are_asked_for_the_batch(kind: str) -> None:
    weight, bias, inputs, labels, _ = problem(np.random.default_rng(0), 5, 3, 20, 1, 2)
    sampler, twin = (LearnedUnigramSampler(20, rng=1) for _ in range(2))
    sampled = twin.sample(labels, 7)
    loss = LOSSES[kind](weight, bias, inputs, labels, sampler=sampler, num_sampled=7)
    assert loss == LOSSES[kind](weight, bias, inputs, labels, sampled=sampled, num_sampled=7)
    assert np.array_equal(sampler.counts, np.bincount(labels.ravel(), minlength=20))


# ---- refusals ------------------------------------------------------------------------------------------------


@both_losses
def test_refusals(kind: str) -> None:
    weight, bias, inputs, labels, sampled = problem(np.random.default_rng(0), 4, 3, 20, 6, 2)
    good: Any = {"weight": weight, "bias": bias, "inputs": inputs, "labels": labels, "sampled": sampled}
    sampler = LearnedUnigramSampler(20, rng=0)
    drawn: Any = {"sampled": None, "sampler": sampler, "num_sampled": 6}

    def put(array: np.ndarray, at: Any, value: Any) -> np.ndarray:
        array = array.copy()
        array[at] = value
        return array

    ids, true_expected, sampled_expected = sampled
    for change, error, says in (
        ({"labels": put(labels, (2, 1), 20)}, ValueError, r"labels\[2, 1\] is 20, but the classes are 0 to 19"),
        ({"labels": put(labels, (0, 0), -1)}, ValueError, r"labels\[0, 0\] is -1"),
        ({"labels": put(labels, 3, 7)}, ValueError, "labels of row 3 have 7 more than once"),
        ({"labels": labels.astype(float)}, TypeError, "labels have dtype float64"),
        ({"labels": labels[:3]}, ValueError, "labels have shape"),
        ({"labels": labels[:, :0]}, ValueError, "labels have shape"),
        ({"weight": weight[0]}, ValueError, "weight has shape"),
        ({"weight": weight[:, :0], "inputs": inputs[:, :0]}, ValueError, "weight has shape"),
        ({"weight": weight.astype(complex)}, TypeError, "weight has dtype complex128"),
        ({"weight": np.ma.array(weight)}, TypeError, "weight is a masked array"),
        ({"bias": bias[1:]}, ValueError, "bias has shape"),
        ({"inputs": inputs[:, 1:]}, ValueError, "inputs have shape"),
        ({"inputs": inputs.astype(object)}, TypeError, "inputs has dtype object"),
        ({"sampled": (put(ids, 1, 20), true_expected, sampled_expected)}, ValueError, r"sampled ids\[1\] is 20"),
        ({"sampled": (ids[None], true_expected, sampled_expected)}, ValueError, "sampled ids have shape"),
        ({"sampled": (ids[:0], true_expected, sampled_expected[:0])}, ValueError, "sampled ids have shape"),
        ({"sampled": (ids, true_expected[:, 0], sampled_expected)}, ValueError, "true_expected has shape"),
        ({"sampled": (ids, true_expected, sampled_expected[1:])}, ValueError, "sampled_expected has shape"),
        ({"sampled": (ids, true_expected)}, TypeError, "sampled is no tuple"),
        (
            {"sampled": (ids, put(true_expected, (1, 0), 0), sampled_expected)},
            ValueError,
            rf"labels\[1, 0\] is class {labels[1, 0]}, whose expected count true_expected\[1, 0\] is 0",
        ),
        (
            {"sampled": (ids, true_expected, put(sampled_expected, 4, np.nan))},
            ValueError,
            rf"sampled ids\[4\] is class {ids[4]}, whose expected count",
        ),
        ({"sampled": None}, TypeError, "neither sampler nor sampled"),
        ({"sampler": sampler}, TypeError, "both sampler and sampled"),
        ({"num_sampled": 5}, ValueError, r"sampled ids have shape \(6,\)"),
        ({**drawn, "num_sampled": None}, TypeError, "num_sampled is None"),
        ({**drawn, "num_sampled": 21}, ValueError, "num_sampled is 21, but only 20"),
        ({**drawn, "num_sampled": 0}, ValueError, "num_sampled is 0"),
        ({**drawn, "sampler": LogUniformSampler(19)}, ValueError, "sampler draws from 19 classes"),
        ({**drawn, "sampler": 3}, TypeError, "sampler is 3"),
        ({**drawn, "sampler": LearnedUnigramSampler}, TypeError, "sampler is <class"),
        ({**drawn, "sample_weight": [1, 1, -1, 1]}, ValueError, r"sample_weight\[2\] is -1"),
        ({**drawn, "sample_weight": [1]}, ValueError, "sample_weight has shape"),
        ({**drawn, "reduction": "max"}, ValueError, "reduction is 'max'"),
        ({**drawn, "grad": "yes"}, TypeError, "grad is str"),
        ({**drawn, "remove_accidental_hits": None}, TypeError, "remove_accidental_hits is None"),
        ({**drawn, "n_threads": 0}, ValueError, "n_threads is 0"),
    ):
        with pytest.raises(error, match=says):
            LOSSES[kind](**{**good, **change})
    # None of these has drawn anything, nor learned.
    assert not sampler.counts.any()
    state = np.random.default_rng(0).bit_generator.state
    assert sampler.rng.bit_generator.state == state
    with pytest.raises(ValueError, match="label_smoothing is 2"):
        fx.sampled_softmax_loss(**good, label_smoothing=2)


def test_classes_that_are_never_sampled_are_refused_as_labels() -> None:
    sampler = FixedUnigramSampler([1, 0, 2], num_reserved_ids=1, rng=0)
    for label in (0, 2):
        with pytest.raises(ValueError, match=rf"labels\[1, 0\] is class {label}, whose expected count"):
            fx.sampled_softmax_loss(
                np.zeros((4, 1)), None, np.zeros((2, 1)), [1, label], sampler=sampler, num_sampled=2
            )
    assert sampler.rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


@pytest.mark.parametrize("name", ["sampled_softmax_loss", "nce_loss"])
def test_refused_calls_of_tensorflow_s_names_draw_nothing(name: str) -> None:
    rng = np.random.default_rng(0)
    weights, biases, inputs, labels, _ = problem(rng, 4, 3, 20, 6, 2)
    state = rng.bit_generator.state
    good: Any = {"weights": weights, "biases": biases, "labels": labels, "inputs": inputs}
    good |= {"num_sampled": 6, "num_classes": 20, "num_true": 2, "seed": rng}
    for change, says in (
        ({"inputs": inputs[:, 1:]}, "inputs have shape"),
        ({"biases": biases[1:]}, "biases have shape"),
        ({"labels": labels[1:]}, "labels have shape"),
        ({"labels": labels + 20}, r"labels\[0, 0\] is"),
        ({"num_sampled": 21}, "num_sampled is 21, but only 20"),
        ({"num_classes": 21}, "num_classes is 21, but weights have 20 rows"),
        ({"num_classes": 0}, "num_classes is 0"),
    ):
        with pytest.raises(ValueError, match=says):
            getattr(tf_nn, name)(**{**good, **change})
    with pytest.raises(TypeError, match="grad is int"):
        getattr(tf_nn, name)(**good, grad=2)
    assert rng.bit_generator.state == state
