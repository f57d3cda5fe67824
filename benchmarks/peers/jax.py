"""JAX, jitted; the softmax loss is spelled as optax spells it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.cases import Case, Inputs
from benchmarks.implementation import Implementation

VERSION = jax.__version__
NAME = "jax"


def softmax_cross_entropy(x: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over the rows, integer labels."""
    x = x - jax.lax.stop_gradient(x.max(axis=1, keepdims=True))
    at_label = jnp.take_along_axis(x, labels[:, None], axis=1)[:, 0]
    return (jnp.log(jnp.exp(x).sum(axis=1)) - at_label).mean()


def softmax_cross_entropy_dense(x: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the rows, a distribution for each."""
    return -(targets * jax.nn.log_softmax(x, axis=1)).sum(axis=1).mean()


def sigmoid_cross_entropy(x: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the elements."""
    return -(targets * jax.nn.log_sigmoid(x) + (1 - targets) * jax.nn.log_sigmoid(-x)).mean()


def prepare(case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """``jit(value_and_grad(...))``; sparse targets are made dense before the clock starts."""
    jax.config.update("jax_enable_x64", case.dtype == "float64")
    x = jnp.asarray(inputs.logits)
    if case.operation == "logsumexp":
        reduce = jax.jit(lambda x: jax.nn.logsumexp(x, axis=1))
        return [Implementation(NAME, NAME, lambda: reduce(x).block_until_ready())]
    note = ""
    loss: Callable[..., jax.Array]
    if inputs.csr is not None:
        loss, targets = softmax_cross_entropy_dense, jnp.asarray(inputs.csr.toarray())
        note = "dense targets, made dense outside the timing"
    elif case.operation == "sigmoid_cross_entropy":
        loss, targets = sigmoid_cross_entropy, jnp.asarray(inputs.labels)
    else:
        loss, targets = softmax_cross_entropy, jnp.asarray(inputs.labels, dtype=jnp.int32)
    step = jax.jit(jax.value_and_grad(loss))
    return [Implementation(NAME, NAME, lambda: jax.block_until_ready(step(x, targets)), note=note)]
