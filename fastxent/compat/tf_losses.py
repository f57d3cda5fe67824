"""The cross-entropies of `tf.losses` (TensorFlow 1, `tf.compat.v1.losses`), for NumPy arrays.

`weights` is a number, or an array of the rank of the losses whose sizes are theirs or 1; a `reduction` turns the
weighted losses into one number. Different from TensorFlow: reduced losses are float64 and no digits are lost; a weight
of 0 leaves its loss out even if that is infinite; `scope` and `loss_collection` are ignored.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastxent import _validate
from fastxent._words import Words
from fastxent.compat._elements import surprisal
from fastxent.compat.tf_nn import softmax_cross_entropy_with_logits, sparse_softmax_cross_entropy_with_logits
from fastxent.sigmoid import sigmoid_cross_entropy as _sigmoid_cross_entropy
from fastxent.softmax import softmax_cross_entropy as _softmax_cross_entropy

__all__ = [
    "Reduction",
    "compute_weighted_loss",
    "log_loss",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "sparse_softmax_cross_entropy",
]


class Reduction:
    """The ways to reduce weighted losses.

    * `SUM_BY_NONZERO_WEIGHTS`, the default, and its older name `SUM_OVER_NONZERO_WEIGHTS`: their sum by the number of
      losses whose weight is not 0.
    * `SUM`: their sum.
    * `MEAN`: their sum by the sum of the weights, each counted for every loss it is multiplied with.
    * `SUM_OVER_BATCH_SIZE`: their sum by the number of losses.
    * `NONE`: the weighted losses themselves.

    Where nothing is to divide by, the result is 0.
    """

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """Every reduction."""
        return (cls.NONE, cls.SUM, cls.MEAN, cls.SUM_OVER_BATCH_SIZE, cls.SUM_BY_NONZERO_WEIGHTS)

    @classmethod
    def validate(cls, key: Any) -> None:
        """Refuse what is none of them."""
        _validate.choice_of("reduction", key, cls.all())


def compute_weighted_loss(
    losses: Any,
    weights: Any = 1.0,
    scope: Any = None,
    loss_collection: Any = None,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """Multiply losses with weights and reduce them.

    Parameters
    ----------
    losses : array_like
    weights : float or array_like
        A number, or as many axes as the losses, each of their size or 1; finite, of any sign.
    scope, loss_collection
        Ignored.
    reduction : str
        One of `Reduction`.

    Returns
    -------
    float, or ndarray with `Reduction.NONE`

    Raises
    ------
    TypeError, ValueError
        An unknown reduction; weights that are None, not finite, or cannot be broadcast to the losses.

    Examples
    --------
    >>> from fastxent.compat import tf_losses
    >>> tf_losses.compute_weighted_loss([2.0, 4.0, 6.0], [1.0, 0.5, 0.0])
    2.0
    >>> tf_losses.compute_weighted_loss([2.0, 4.0, 6.0], 0.5, reduction=tf_losses.Reduction.SUM)
    6.0

    Source: TensorFlow, `tensorflow/python/ops/losses/losses_impl.py`.
    """
    Reduction.validate(reduction)
    values = _validate.float_array("losses", losses)
    if weights is None:
        raise ValueError("weights is None: give numbers, 1.0 for all alike")
    factors = _validate.real_array("weights", weights)
    _validate.check_finite("weights", factors)
    if factors.ndim and (
        factors.ndim != values.ndim
        or any(size not in (1, whole) for size, whole in zip(factors.shape, values.shape, strict=True))
    ):
        raise ValueError(
            f"weights have shape {factors.shape}, losses {values.shape}: give a number, or as many axes as the losses,"
            " each of their size or 1"
        )
    factors = np.broadcast_to(factors.astype(np.float64), values.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        weighted = np.where(factors == 0, 0.0, values * factors)
        if reduction == Reduction.NONE:
            return weighted.astype(values.dtype)
        total = float(weighted.sum())
    if reduction == Reduction.SUM:
        return total
    if reduction == Reduction.MEAN:
        divisor = float(factors.sum())
    elif reduction == Reduction.SUM_OVER_BATCH_SIZE:
        divisor = float(values.size)
    else:
        divisor = float(np.count_nonzero(factors))
    return total / divisor if divisor else 0.0


def softmax_cross_entropy(
    onehot_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: Any = None,
    loss_collection: Any = None,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """Softmax cross-entropy between distributions and scores.

    For scores ``z`` and labels ``y`` of a row::

        loss = -sum_i ((1 - label_smoothing) y_i + label_smoothing / C) log p_i,    p = softmax(z)

    Parameters
    ----------
    onehot_labels : array_like, shape (n, C)
        A distribution for each row; finite, and of any sign and sum.
    logits : array_like, shape (n, C)
        Scores. A single class has the loss 0.
    weights, scope, loss_collection, reduction
        As in `compute_weighted_loss`; losses have shape (n,).
    label_smoothing : float in [0, 1], default 0

    Returns
    -------
    float, or ndarray of shape (n,) with `Reduction.NONE`

    Raises
    ------
    TypeError, ValueError
        As `fastxent.softmax_cross_entropy` and `compute_weighted_loss`.

    Examples
    --------
    >>> from fastxent.compat import tf_losses
    >>> logits = [[100.0, -100.0, -100.0]]
    >>> round(tf_losses.softmax_cross_entropy([[1, 0, 0]], logits, label_smoothing=0.1), 6)
    13.333333

    Source: TensorFlow, `tensorflow/python/ops/losses/losses_impl.py`.
    """
    _given(onehot_labels=onehot_labels, logits=logits)
    y = _validate.real_array("onehot_labels", onehot_labels)
    x = _validate.float_array("logits", logits)
    smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
    if y.shape != x.shape or y.ndim == 0:
        raise ValueError(
            f"onehot_labels have shape {y.shape}, logits {x.shape}: give one label for each class, or"
            " sparse_softmax_cross_entropy for class labels"
        )
    with _words("onehot_labels"):
        if smoothing and x.shape[-1] > 1 and not (y.size and y.min() < 0):
            losses = _softmax_cross_entropy(x, y, label_smoothing=smoothing, reduction="none")
        else:
            mixed = (1 - smoothing) * y.astype(np.float64) + smoothing / x.shape[-1] if smoothing else y
            losses = softmax_cross_entropy_with_logits(mixed, x)
    return compute_weighted_loss(losses, weights, reduction=reduction)


def sparse_softmax_cross_entropy(
    labels: Any,
    logits: Any,
    weights: Any = 1.0,
    scope: Any = None,
    loss_collection: Any = None,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """Softmax cross-entropy between class labels and scores.

    Parameters
    ----------
    labels : array_like of integers, the shape of the logits without its last axis, or with a last axis of 1
        In [0, C).
    logits : array_like, shape (..., C)
        Scores.
    weights, scope, loss_collection, reduction
        As in `compute_weighted_loss`; losses have the shape of the labels. A last axis of 1 too many is left out.

    Returns
    -------
    float, or ndarray of the shape of the labels with `Reduction.NONE`

    Raises
    ------
    TypeError, ValueError
        As `fastxent.softmax_cross_entropy` and `compute_weighted_loss`.

    Examples
    --------
    >>> from fastxent.compat import tf_losses
    >>> logits = [[0.0, 1.0], [2.0, 0.0]]
    >>> round(tf_losses.sparse_softmax_cross_entropy([[1], [1]], logits, weights=[1.0, 3.0]), 6)
    3.347023

    Source: TensorFlow, `tensorflow/python/ops/losses/losses_impl.py`.
    """
    _given(labels=labels, logits=logits)
    y = _validate.real_array("labels", labels)
    if y.ndim == np.ndim(logits) and y.shape[-1:] == (1,):
        y = y[..., 0]
    with _words("labels"):
        losses = sparse_softmax_cross_entropy_with_logits(y, logits)
    if np.ndim(weights) == y.ndim + 1 and np.shape(weights)[-1] == 1:
        weights = np.asarray(weights)[..., 0]
    return compute_weighted_loss(losses, weights, reduction=reduction)


def sigmoid_cross_entropy(
    multi_class_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: Any = None,
    loss_collection: Any = None,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """Sigmoid cross-entropy between labels and scores, element by element.

    Parameters
    ----------
    multi_class_labels : array_like, the shape of the logits
        0 and 1, or probabilities.
    logits : array_like
        Scores.
    weights, scope, loss_collection, reduction
        As in `compute_weighted_loss`; losses have the shape of the logits.
    label_smoothing : float in [0, 1], default 0
        Labels become ``(1 - label_smoothing) y + label_smoothing / 2``.

    Returns
    -------
    float, or ndarray of the shape of the logits with `Reduction.NONE`

    Raises
    ------
    TypeError, ValueError
        As `fastxent.sigmoid_cross_entropy` and `compute_weighted_loss`.

    Examples
    --------
    >>> from fastxent.compat import tf_losses
    >>> tf_losses.sigmoid_cross_entropy([[1, 0, 1]], [[100.0, -100.0, -100.0]], label_smoothing=0.1)
    35.0

    Source: TensorFlow, `tensorflow/python/ops/losses/losses_impl.py`.
    """
    _given(multi_class_labels=multi_class_labels, logits=logits)
    with Words({"targets": "multi_class_labels"}, {"softmax_cross_entropy": "sparse_softmax_cross_entropy"}):
        losses = _sigmoid_cross_entropy(logits, multi_class_labels, label_smoothing=label_smoothing, reduction="none")
    return compute_weighted_loss(losses, weights, reduction=reduction)


def log_loss(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    epsilon: float = 1e-7,
    scope: Any = None,
    loss_collection: Any = None,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Any:
    """Cross-entropy between labels and probabilities, element by element.

    For a probability ``p`` and a label ``y``::

        loss = -y log(p + epsilon) - (1 - y) log(1 - p + epsilon)

    Parameters
    ----------
    labels : array_like, the shape of the predictions
        0 and 1, or probabilities.
    predictions : array_like
        Probabilities.
    weights, scope, loss_collection, reduction
        As in `compute_weighted_loss`; losses have the shape of the predictions.
    epsilon : float, at least 0, default 1e-7

    Returns
    -------
    float, or ndarray of the shape of the predictions with `Reduction.NONE`

    Raises
    ------
    TypeError, ValueError
        Labels or predictions outside [0, 1]; shapes that differ; as `compute_weighted_loss`.

    Examples
    --------
    >>> from fastxent.compat import tf_losses
    >>> round(tf_losses.log_loss([1, 0], [0.9, 0.2]), 6)
    0.164252

    Source: TensorFlow, `tensorflow/python/ops/losses/losses_impl.py`.
    """
    _given(labels=labels, predictions=predictions)
    eps = _validate.number("epsilon", epsilon, 0.0, np.inf)
    p = _validate.float_array("predictions", predictions)
    y = _validate.real_array("labels", labels)
    if y.shape != p.shape:
        raise ValueError(f"labels have shape {y.shape}, predictions {p.shape}: they must have the same shape")
    _validate.check_probabilities("labels", y)
    with Words({"probabilities": "predictions"}):
        _validate.check_outcomes(p, None, None)
    return compute_weighted_loss(surprisal(y, p, eps), weights, reduction=reduction)


def _given(**arrays: Any) -> None:
    for name, value in arrays.items():
        if value is None:
            raise ValueError(f"{name} is None: give an array")


def _words(labels: str) -> Words:
    """Of this module, for what `tf_nn` says."""
    return Words(
        {"labels": labels, "targets": labels},
        {
            "sparse_softmax_cross_entropy_with_logits": "sparse_softmax_cross_entropy",
            "softmax_cross_entropy_with_logits": "softmax_cross_entropy",
            "sigmoid_cross_entropy_with_logits": "sigmoid_cross_entropy",
        },
    )
