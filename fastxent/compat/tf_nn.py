"""The cross-entropies of `tf.nn`, for NumPy arrays: its names, the order of its arguments, a loss for each row.

With them the losses over a sample of the classes, and the candidate samplers of `tf.random`.

`grad=` is new, since there is no tape: it returns the gradient as well, or takes an array to write it to; it is each
row's own. Otherwise different from TensorFlow:

* No digits are lost: 2.06e-9 at scores [20, 0] and label 0, where TensorFlow returns 0; and
  `weighted_cross_entropy_with_logits` is right at labels 0 and negative scores.
* Labels that are out of range, NaN or infinite are refused on any machine, and so are labels of
  `sigmoid_cross_entropy_with_logits` outside [0, 1].
* Labels and logits need not be of one dtype. 16-bit logits give losses and gradients in float32.
* Accidental hits are left out wherever they stand, where TensorFlow misses all but the last of a class that was sampled
  several times. True classes that are never sampled, or stand twice in a row, are refused, and so are more unique
  candidates than can be drawn, which TensorFlow draws for ever.
* Candidate samplers give other candidates for the same seed, and as expected counts of unique candidates what is exact
  (see `fastxent.samplers`). They keep nothing from call to call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastxent import _validate
from fastxent._words import Words
from fastxent.compat._elements import factored_cross_entropy, positive_factors
from fastxent.compat._tf_sampled import (
    all_candidate_sampler,
    compute_accidental_hits,
    fixed_unigram_candidate_sampler,
    learned_unigram_candidate_sampler,
    log_uniform_candidate_sampler,
    nce_loss,
    sampled_softmax_loss,
    uniform_candidate_sampler,
)
from fastxent.sigmoid import sigmoid_cross_entropy
from fastxent.softmax import softmax_cross_entropy
from fastxent.special import softmax

__all__ = [
    "all_candidate_sampler",
    "compute_accidental_hits",
    "fixed_unigram_candidate_sampler",
    "learned_unigram_candidate_sampler",
    "log_uniform_candidate_sampler",
    "nce_loss",
    "sampled_softmax_loss",
    "sigmoid_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits",
    "sparse_softmax_cross_entropy_with_logits",
    "uniform_candidate_sampler",
    "weighted_cross_entropy_with_logits",
]

_WORDS = Words(
    {"targets": "labels"},
    {
        ", or name it in ignore_index to leave such rows out": "",
        "softmax_cross_entropy for class labels": "sparse_softmax_cross_entropy_with_logits for class labels",
        "sigmoid_cross_entropy": "sigmoid_cross_entropy_with_logits",
    },
)


def softmax_cross_entropy_with_logits(
    labels: Any, logits: Any, axis: int = -1, name: str | None = None, *, grad: Any = False
) -> Any:
    """Softmax cross-entropy of each row between distributions and scores, as `tf.nn` has it.

    For scores ``z`` and labels ``y`` of a row::

        loss = -sum_i y_i log p_i,    gradient = p - y,    p = softmax(z)

    The gradient is the loss's own where the labels of a row add up to one; TensorFlow's ``p - y`` everywhere.

    Parameters
    ----------
    labels : array_like, broadcast against the logits
        A distribution for each row, any real dtype; finite, and of any sign and sum, as in policy gradients.
    logits : array_like
        Scores, of any rank, as `fastxent.softmax_cross_entropy` takes them. A single class has the loss 0.
    axis : int, default -1
        The axis of the classes.
    name : str, optional
        Ignored.
    grad : bool or ndarray, default False
        Whether to return the gradient; or the array to write it to, the logits themselves: in place.

    Returns
    -------
    loss : ndarray of the shape of the logits without `axis`
    grad : ndarray of the shape of the logits, if asked for

    Raises
    ------
    TypeError, ValueError
        As `fastxent.softmax_cross_entropy`; labels that cannot be broadcast to the logits.

    Examples
    --------
    >>> from fastxent.compat import tf_nn
    >>> loss, grad = tf_nn.softmax_cross_entropy_with_logits(
    ...     labels=[[1.0, 0.0, 0.0], [0.0, 0.8, 0.2]], logits=[[4.0, 2.0, 1.0], [0.0, 5.0, 1.0]], grad=True
    ... )
    >>> loss
    array([0.16984602, 0.82474489])
    >>> grad.round(4)
    array([[-0.1562,  0.1142,  0.042 ],
           [ 0.0066,  0.1756, -0.1821]])

    Source: TensorFlow, `tensorflow/python/ops/nn_ops.py`.
    """
    with _WORDS:
        x = _validate.float_array("logits", logits)
        axis = _validate.class_axis(x, axis)
        y = _validate.real_array("labels", labels)
        try:
            y = np.broadcast_to(y, x.shape)
        except ValueError:
            raise ValueError(
                f"labels have shape {y.shape}, which cannot be broadcast to the logits' {x.shape}: give one label for"
                " each class, or sparse_softmax_cross_entropy_with_logits for class labels"
            ) from None
        _validate.check_finite("labels", y)
        _check_buffer(grad, x, logits=logits, labels=labels)
        if x.shape[axis] == 0:
            raise _validate.too_few_classes(0, axis)
        if x.shape[axis] == 1:
            return _single_class(x, axis, 1 - y, grad)
        negative = y.size > 0 and bool(y.min() < 0)
        # What may overwrite the logits comes last.
        unequal, difference = (None, None) if grad is False else _difference(y, x, axis)
        below = softmax_cross_entropy(x, np.maximum(-y, 0), axis=axis, reduction="none") if negative else None
        result = softmax_cross_entropy(x, np.maximum(y, 0) if negative else y, axis=axis, reduction="none", grad=grad)
        loss, gradient = (result, None) if grad is False else result
        if below is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                loss = loss - below
        if gradient is None:
            return loss
        np.moveaxis(gradient, axis, -1)[unequal] = difference
        return loss, gradient


def _difference(y: np.ndarray, x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose labels do not add up to one or have one below 0, and their p - y: the core's gradient is
    (sum y) p - y, of labels of at least 0."""
    dtype = _validate.output_dtypes(x)[0]
    with np.errstate(over="ignore"):
        unequal = np.asarray((y.sum(axis, dtype=np.float64) != 1) | (y < 0).any(axis))
        scores, labels = (np.moveaxis(rows, axis, -1)[unequal].astype(dtype, copy=False) for rows in (x, y))
        return unequal, np.asarray(softmax(scores, axis=-1)) - labels


def sparse_softmax_cross_entropy_with_logits(
    labels: Any, logits: Any, name: str | None = None, *, grad: Any = False
) -> Any:
    """Softmax cross-entropy of each row between class labels and scores, as `tf.nn` has it.

    For scores ``z`` and the label ``y`` of a row::

        loss = -log p_y,    gradient = p - onehot(y),    p = softmax(z)

    Parameters
    ----------
    labels : array_like of integers, any shape
        In [0, C).
    logits : array_like, the shape of the labels and an axis of classes
        Scores, as `fastxent.softmax_cross_entropy` takes them. A single class has the loss 0.
    name : str, optional
        Ignored.
    grad : bool or ndarray, default False
        Whether to return the gradient; or the array to write it to, the logits themselves: in place.

    Returns
    -------
    loss : ndarray of the shape of the labels
    grad : ndarray of the shape of the logits, if asked for

    Raises
    ------
    TypeError, ValueError
        As `fastxent.softmax_cross_entropy`.

    Examples
    --------
    >>> from fastxent.compat import tf_nn
    >>> tf_nn.sparse_softmax_cross_entropy_with_logits(labels=[3, 0], logits=[[1, 1, 1, 1], [1, 2, 3, 4]])
    array([1.38629436, 3.4401897 ])

    Source: TensorFlow, `tensorflow/python/ops/nn_ops.py`.
    """
    with _WORDS:
        x = _validate.float_array("logits", logits)
        if x.ndim == 0:
            raise ValueError(f"`logits` cannot be a scalar: they are {x}, give an axis of classes")
        y = _validate.real_array("labels", labels)
        if y.shape != x.shape[:-1]:
            raise ValueError(
                f"labels have shape {y.shape}, logits {x.shape}: `labels.shape.rank` must equal `logits.shape.rank - 1`"
                f" and the sizes agree, or use softmax_cross_entropy_with_logits for distributions"
            )
        if x.shape[-1] == 1:
            if y.dtype.kind not in "iu":
                raise TypeError(f"labels have dtype {y.dtype}, but labels are integers: use labels.astype(numpy.int64)")
            _validate.labels_of(y, 1, None)
            _check_buffer(grad, x, logits=logits, labels=labels)
            return _single_class(x, x.ndim - 1, np.zeros(x.shape), grad)
        return softmax_cross_entropy(x, y, reduction="none", grad=grad)


def sigmoid_cross_entropy_with_logits(
    labels: Any = None, logits: Any = None, name: str | None = None, *, grad: Any = False
) -> Any:
    """Sigmoid cross-entropy of each element between labels and scores, as `tf.nn` has it.

    For a score ``x`` and a label ``z``::

        loss = max(x, 0) - x z + log(1 + exp(-|x|)),    gradient = expit(x) - z

    Parameters
    ----------
    labels : array_like, the shape of the logits
        0 and 1, or probabilities.
    logits : array_like, any shape
        Scores, as `fastxent.sigmoid_cross_entropy` takes them.
    name : str, optional
        Ignored.
    grad : bool or ndarray, default False
        Whether to return the gradient; or the array to write it to, the logits themselves: in place.

    Returns
    -------
    loss : ndarray of the shape of the logits
    grad : ndarray of the shape of the logits, if asked for

    Raises
    ------
    TypeError, ValueError
        As `fastxent.sigmoid_cross_entropy`.

    Examples
    --------
    >>> from fastxent.compat import tf_nn
    >>> tf_nn.sigmoid_cross_entropy_with_logits(labels=[0.0, 1.0, 0.5], logits=[1.0, 1.0, 0.0])
    array([1.31326169, 0.31326169, 0.69314718])

    Source: TensorFlow, `tensorflow/python/ops/nn_impl.py`.
    """
    x, y = _both(labels, logits)
    with _WORDS:
        return sigmoid_cross_entropy(x, y, reduction="none", grad=grad)


def weighted_cross_entropy_with_logits(
    labels: Any = None, logits: Any = None, pos_weight: Any = None, name: str | None = None, *, grad: Any = False
) -> Any:
    """Sigmoid cross-entropy of each element whose positive term has a factor, as `tf.nn` has it.

    For a score ``x`` and a label ``z``::

        loss = (1 - z) softplus(x) + pos_weight z softplus(-x)
        gradient = (1 - z) expit(x) - pos_weight z expit(-x)

    Parameters
    ----------
    labels : array_like, the shape of the logits
        0 and 1, or probabilities.
    logits : array_like, any shape
        Scores, as `fastxent.sigmoid_cross_entropy` takes them.
    pos_weight : float or array_like, broadcast to the logits
        Factor of the positive term, at least 0.
    name : str, optional
        Ignored.
    grad : bool or ndarray, default False
        Whether to return the gradient; or the array to write it to, the logits themselves: in place.

    Returns
    -------
    loss : ndarray of the shape of the logits
    grad : ndarray of the shape of the logits, if asked for

    Raises
    ------
    TypeError, ValueError
        As `fastxent.sigmoid_cross_entropy`; a factor that cannot be broadcast.

    Examples
    --------
    >>> from fastxent.compat import tf_nn
    >>> tf_nn.weighted_cross_entropy_with_logits(
    ...     labels=[1.0, 0.5, 0.0], logits=[1.5, -0.1, -10.0], pos_weight=[1.0, 1.5, 0.3]
    ... )
    array([2.01413278e-01, 8.80495825e-01, 4.53988992e-05])

    Source: TensorFlow, `tensorflow/python/ops/nn_impl.py`.
    """
    x, y = _both(labels, logits)
    if pos_weight is None:
        raise TypeError("pos_weight is None: give the factor of the positive term")
    with _WORDS:
        if np.ndim(pos_weight) == 0:
            return sigmoid_cross_entropy(x, y, reduction="none", grad=grad, pos_weight=pos_weight)
        _check_buffer(grad, x, logits=logits, labels=labels, pos_weight=pos_weight)
        return factored_cross_entropy(x, y, factors=positive_factors("pos_weight", pos_weight, x), grad=grad)


def _both(labels: Any, logits: Any) -> tuple[np.ndarray, Any]:
    for name, value in (("labels", labels), ("logits", logits)):
        if value is None:
            raise TypeError(f"{name} is None: give both labels and logits")
    return _validate.float_array("logits", logits), labels


def _check_buffer(grad: Any, x: np.ndarray, **inputs: Any) -> None:
    """Refuse an array to write to that is one of the caller's inputs, of which the core may see copies only."""
    if grad is not True and grad is not False:
        _validate.buffer("grad", grad, x, _validate.output_dtypes(x), (("logits", x), *inputs.items()), "logits")


def _single_class(x: np.ndarray, axis: int, gradient: np.ndarray, grad: Any) -> Any:
    """A softmax of one class is 1, whatever its score: loss 0."""
    dtype = _validate.output_dtypes(x)[0]
    with np.errstate(invalid="ignore"):
        nothing = (x - x).astype(dtype)  # NaN stays NaN
    loss = nothing.squeeze(axis)
    out = _validate.output("grad", grad, x, _validate.output_dtypes(x), (("logits", x),), "logits")
    if out is None:
        return loss
    out[...] = gradient + nothing
    return loss, out
