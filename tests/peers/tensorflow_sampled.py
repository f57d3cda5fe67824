"""Our sampled losses against TensorFlow's, on larger arrays and its own samples; and its tests of candidate samplers.

TensorFlow's test files are not in its package: what they ask for is asked for here.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf

from fastxent.compat import tf_nn

N, D, V, COUNT = 64, 32, 5000, 300


@pytest.mark.parametrize("name", ["sampled_softmax_loss", "nce_loss"])
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_and_gradients(name: str, num_true: int, remove: bool, unique: bool, dtype: Any) -> None:
    rng = np.random.default_rng(num_true)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((V, D), (V,), (N, D))]
    labels = np.array([rng.choice(200, num_true, replace=False) for _ in range(N)])
    values: Any = tf.random.log_uniform_candidate_sampler(labels, num_true, COUNT, unique, V, seed=1)
    # TensorFlow finds only the last of several hits.
    if remove and not unique:
        last = {int(c): k for k, c in enumerate(values[0].numpy())}
        kept = np.array(sorted(last.values()))
        values = (tf.gather(values[0], kept), values[1], tf.gather(values[2], kept))
    values = [values[0], *(tf.cast(part, dtype) for part in values[1:])]
    count = len(values[0])
    weight, bias, inputs = map(tf.Variable, arrays)
    options: Any = {"num_true": num_true, "sampled_values": values, "remove_accidental_hits": remove}
    with tf.GradientTape() as tape:
        loss = getattr(tf.nn, name)(weight, bias, labels, inputs, count, V, **options)
    theirs = [loss, *(tf.convert_to_tensor(part) for part in tape.gradient(loss, [weight, bias, inputs]))]
    options["sampled_values"] = tuple(part.numpy() for part in values)
    ours, grad = getattr(tf_nn, name)(arrays[0], arrays[1], labels, arrays[2], count, V, grad=True, **options)
    rounding = 64 * np.finfo(dtype).eps
    for got, wanted in zip((ours, grad.weight.toarray(), grad.bias.toarray(), grad.inputs), theirs, strict=True):
        wanted = wanted.numpy()
        np.testing.assert_allclose(got, wanted, rtol=rounding, atol=rounding * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["uniform", "log_uniform", "learned_unigram"])
def test_expected_counts_of_independent_draws(name: str) -> None:
    arguments: Any = ([[0, 9], [3, 5]], 2, 20, False, 10)
    theirs = getattr(tf.random, f"{name}_candidate_sampler")(*arguments)
    ours = getattr(tf_nn, f"{name}_candidate_sampler")(*arguments)
    np.testing.assert_allclose(ours.true_expected, theirs[1].numpy(), rtol=1e-5)


@pytest.mark.parametrize("unique", [True, False])
def test_expected_counts_of_fixed_frequencies(unique: bool) -> None:
    options: Any = {"distortion": 0.75, "num_reserved_ids": 2, "unigrams": list(range(1, 5001))}
    arguments: Any = ([[0], [2], [5001]], 1, 50, unique, 5002)
    theirs = tf.random.fixed_unigram_candidate_sampler(*arguments, **options)
    ours = tf_nn.fixed_unigram_candidate_sampler(*arguments, **options)
    # Unique, both are random; a few of fifty draws are rejected.
    np.testing.assert_allclose(ours.true_expected, theirs[1].numpy(), rtol=0.15 if unique else 1e-4)


def test_accidental_hits() -> None:
    true, ids = np.array([[1, 2], [0, 4], [3, 3]]), np.array([4, 1, 6, 2])
    theirs = tf.nn.compute_accidental_hits(tf.constant(true), tf.constant(ids), 2)
    for ours, wanted in zip(tf_nn.compute_accidental_hits(true, ids, 2), theirs, strict=True):
        assert ours.dtype == wanted.numpy().dtype and np.array_equal(ours, wanted.numpy())


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "--noconftest", "-p", "no:cacheprovider"]))
