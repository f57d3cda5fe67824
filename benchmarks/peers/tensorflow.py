"""TensorFlow: eager, and compiled by XLA, the fastest way it offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmarks.cases import Case, Inputs
from benchmarks.implementation import Implementation

VERSION = tf.__version__
NAME = "tensorflow"


def prepare(case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """``tf.nn`` losses under a gradient tape; sparse targets are made dense outside the timing."""
    x = tf.constant(inputs.logits)
    if case.operation == "logsumexp":
        return _both_ways(lambda x: tf.reduce_logsumexp(x, axis=1), "", x)
    note = ""
    if inputs.csr is not None:
        loss = tf.nn.softmax_cross_entropy_with_logits
        targets = tf.constant(inputs.csr.toarray())
        note = "dense targets, made dense outside the timing"
    elif case.operation == "sigmoid_cross_entropy":
        loss, targets = tf.nn.sigmoid_cross_entropy_with_logits, tf.constant(inputs.labels)
    else:
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits
        targets = tf.constant(inputs.labels)

    def step(x: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_mean(loss(labels=targets, logits=x))
        return value, tape.gradient(value, x)

    return _both_ways(step, note, x, targets)


def _both_ways(function: Callable[..., Any], note: str, *arguments: tf.Tensor) -> list[Implementation]:
    """``function`` as it is, and as XLA compiles it."""
    compiled = tf.function(function, jit_compile=True)
    return [
        Implementation(NAME, NAME, lambda: function(*arguments), note=note),
        Implementation("tensorflow xla", NAME, lambda: compiled(*arguments), note=note),
    ]
