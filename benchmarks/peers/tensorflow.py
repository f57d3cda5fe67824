"""TensorFlow: eager, and compiled by XLA, the fastest way it offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.cases import Case, Inputs, Layer
from benchmarks.implementation import Implementation

VERSION = tf.__version__
NAME = "tensorflow"
FURTHER_OPERATIONS = ("sampled_softmax_loss", "nce_loss")


def prepare(case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """``tf.nn`` losses under a gradient tape; sparse targets are made dense outside the timing."""
    if inputs.layer is not None:
        return _sampled(case, inputs.layer, inputs.labels)
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


def _sampled(case: Case, layer: Layer, labels: np.ndarray) -> list[Implementation]:
    """Eager, and as a graph: XLA cannot compile the search for accidental hits."""
    weight, bias, x = (tf.constant(array) for array in (layer.weight, layer.bias, layer.inputs))
    values = tuple(tf.constant(array) for array in layer.sampled)
    targets = tf.constant(labels[:, None])

    def step() -> tuple[tf.Tensor, ...]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch((weight, bias, x))
            losses = getattr(tf.nn, case.operation)(
                weight, bias, targets, x, case.num_sampled, case.classes, sampled_values=values
            )
            value = tf.reduce_mean(losses)
        of_weight, of_bias, of_inputs = tape.gradient(value, (weight, bias, x))
        return value, of_inputs, of_weight.values, of_bias.values

    graph = tf.function(step)
    note = "gradients of weights not summed by class"
    return [
        Implementation(NAME, NAME, lambda: step()[:2], note=note),
        Implementation("tensorflow graph", NAME, lambda: graph()[:2], note=note),
    ]


def _both_ways(function: Callable[..., Any], note: str, *arguments: tf.Tensor) -> list[Implementation]:
    """``function`` as it is, and as XLA compiles it."""
    compiled = tf.function(function, jit_compile=True)
    return [
        Implementation(NAME, NAME, lambda: function(*arguments), note=note),
        Implementation("tensorflow xla", NAME, lambda: compiled(*arguments), note=note),
    ]
