"""TensorFlow's own tests of softmax cross-entropy, subclassed, with our functions in place of its operations.

`xent_op_test_base.py` and `sparse_xent_op_test_base.py` test loss, gradient and second derivative, in graphs as well as
eagerly: our functions become operations by `tf.numpy_function` and get TensorFlow's gradients by `tf.custom_gradient`.
Overridden is what the base classes expect children to override, the words of errors among it.
"""

from __future__ import annotations

import os
import sys
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import config
from tensorflow.python.kernel_tests.nn_ops import xent_op_test_base
from tensorflow.python.kernel_tests.sparse_ops import sparse_xent_op_test_base
from tensorflow.python.ops import nn_ops
from tensorflow.python.platform import test

import fastxent as fx
from fastxent.compat import tf_nn


def operation(function: Any, dtype: tf.DType, *inputs: tf.Tensor) -> tf.Tensor:
    """A function of arrays as an operation, with TensorFlow's kind of error."""

    def call(*arrays: np.ndarray) -> np.ndarray:
        return np.asarray(function(*arrays)).astype(dtype.as_numpy_dtype)

    try:
        return tf.numpy_function(call, inputs, dtype)
    except ValueError as error:  # as it comes eagerly; graphs turn it into theirs
        raise tf.errors.InvalidArgumentError(None, None, str(error)) from None


def product_with_hessian(logits: np.ndarray, v: np.ndarray, axis: int) -> np.ndarray:
    """Of p - y, whose derivative does not depend on y."""
    if logits.shape[axis] == 1:
        return np.zeros(logits.shape)
    labels = np.zeros(np.delete(logits.shape, axis), np.int64)
    return fx.softmax_cross_entropy_hvp(logits, labels, v, axis=axis, reduction="none")


def differentiable(loss_and_grad: Any, labels: tf.Tensor, logits: tf.Tensor, axis: int) -> tf.Tensor:
    """Losses whose derivatives by logits (twice) and by dense labels are ours."""
    dtype = logits.dtype

    @tf.custom_gradient
    def gradient(labels: tf.Tensor, logits: tf.Tensor) -> Any:
        value = operation(lambda y, z: loss_and_grad(y, z, grad=True)[1], dtype, labels, logits)
        value = tf.ensure_shape(value, logits.shape)

        def second(upstream: tf.Tensor) -> Any:
            return None, operation(lambda z, v: product_with_hessian(z, v, axis), dtype, logits, upstream)

        return value, second

    @tf.custom_gradient
    def loss(labels: tf.Tensor, logits: tf.Tensor) -> Any:
        value = operation(loss_and_grad, dtype, labels, logits)

        def first(upstream: tf.Tensor) -> Any:
            upstream = tf.expand_dims(upstream, axis)
            by_labels = None
            if labels.dtype.is_floating:
                by_labels = upstream * operation(lambda z: -fx.log_softmax(z, axis=axis), dtype, logits)
            return by_labels, upstream * gradient(labels, logits)

        return value, first

    return loss(labels, logits)


def softmax(labels: Any = None, logits: Any = None, dim: int = -1, name: Any = None, axis: Any = None) -> tf.Tensor:
    logits = tf.convert_to_tensor(logits)
    labels = tf.convert_to_tensor(labels)
    axis = dim if axis is None else axis
    # `tf.numpy_function` tells no shapes; what TensorFlow finds out before it runs is found out here.
    if logits.shape.rank is not None and labels.shape.rank is not None:
        tf.broadcast_static_shape(labels.shape, logits.shape)

    def loss_and_grad(y: np.ndarray, z: np.ndarray, grad: bool = False) -> Any:
        return tf_nn.softmax_cross_entropy_with_logits(y, z, axis, grad=grad)

    return differentiable(loss_and_grad, labels, logits, axis)


def sparse(labels: Any = None, logits: Any = None, name: Any = None) -> tf.Tensor:
    logits = tf.convert_to_tensor(logits)
    labels = tf.convert_to_tensor(labels)
    if logits.shape.rank is not None and labels.shape.rank is not None:
        # Shapes that are known are checked before anything runs: by the function itself.
        shapes = (np.zeros([size or 0 for size in tensor.shape], np.int64) for tensor in (labels, logits))
        tf_nn.sparse_softmax_cross_entropy_with_logits(*shapes)
    return differentiable(tf_nn.sparse_softmax_cross_entropy_with_logits, labels, logits, -1)


class SoftmaxTest(xent_op_test_base.XentOpTestBase):
    """All of TensorFlow's tests of `softmax_cross_entropy_with_logits`."""


class SparseSoftmaxTest(sparse_xent_op_test_base.SparseXentOpTestBase):
    """All of TensorFlow's tests of `sparse_softmax_cross_entropy_with_logits`."""

    def testInvalidLabelCPU(self) -> None:
        self._testInvalidLabelCPU(expected_regex=r"labels\[0\] is 4, but the classes are 0 to 3")

    def testLabelsPlaceholderScalar(self) -> None:
        self._testLabelsPlaceholderScalar(expected_error_message="labels have shape")

    def testScalarHandling(self) -> None:
        self._testScalarHandling(expected_regex="labels have shape")


if __name__ == "__main__":
    # The tests look into graphs for TensorFlow's own implementation of second derivatives, but not where operations
    # are to be deterministic.
    config.enable_op_determinism()
    tf.keras.utils.set_random_seed(0)
    patches = (
        mock.patch.object(nn_ops, "softmax_cross_entropy_with_logits", softmax),
        mock.patch.object(nn_ops, "softmax_cross_entropy_with_logits_v2", softmax),
        mock.patch.object(nn_ops, "sparse_softmax_cross_entropy_with_logits_v2", sparse),
    )
    for patch in patches:
        patch.start()
    sys.exit(test.main())
