"""The cross-entropies of Keras 3 for NumPy arrays, functions and classes, and the focal loss of tensorflow-addons.

``from fastxent.compat import keras`` lets ``keras.losses.BinaryCrossentropy()`` and its like run unchanged. Functions
return a loss for each row, classes reduce them. Different from Keras:

* float64 is kept, where Keras makes everything float32 unless told; 16-bit predictions and numbers without a dtype,
  lists among them, become float32 as there. Reduced losses are Python floats of float64 accuracy, or of the `dtype`
  that was asked for.
* Losses from logits are exact: nothing is clipped. Probabilities are clipped as Keras clips them, to [1e-7, 1 - 1e-7]
  rounded to the dtype of the loss.
* Refused are: scores given for probabilities, labels out of range or not whole, negative targets, a softmax over one
  class, for which Keras only warns.
* ``reduction="mean_with_sample_weight"`` divides by the sum of the weights as they are multiplied; Keras does not
  broadcast them before, so that a weight of 2.0 gives the sum.
* `epsilon_mode="tf2.1"` in the binary cross-entropy adds 1e-7 a second time inside the logarithm, as Keras did up to
  TensorFlow 2.1: the numbers in many tutorials.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastxent import _validate
from fastxent._words import Words
from fastxent.compat._elements import surprisal
from fastxent.probability import binary_cross_entropy, categorical_cross_entropy
from fastxent.sigmoid import sigmoid_cross_entropy, sigmoid_focal_loss
from fastxent.softmax import softmax_cross_entropy, softmax_focal_loss
from fastxent.special import expit

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "Loss",
    "SigmoidFocalCrossEntropy",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "losses",
    "sigmoid_focal_crossentropy",
    "sparse_categorical_crossentropy",
]

# What Keras calls `backend.epsilon()`.
EPSILON = 1e-7

losses = sys.modules[__name__]

_WORDS = Words(
    {"targets": "y_true", "logits": "y_pred", "probabilities": "y_pred"},
    {
        "ignore_index": "ignore_class",
        ", or give it a sample_weight of 0": "",
        "use sigmoid_cross_entropy for a single score": "use BinaryCrossentropy(from_logits=True) for a single score",
        "use binary_cross_entropy for a single probability": "use BinaryCrossentropy for a single probability",
        "use sigmoid_cross_entropy": "use from_logits=True",
        "use softmax_cross_entropy": "use from_logits=True",
        "use softmax_cross_entropy for class labels": "use SparseCategoricalCrossentropy for class labels",
        "use categorical_cross_entropy for class labels": "use SparseCategoricalCrossentropy for class labels",
    },
)


# ---- arrays --------------------------------------------------------------------------------------------------


def _floats(y_pred: Any) -> np.ndarray:
    """Predictions in their own floating dtype, float32 without one."""
    array = _validate.real_array("y_pred", y_pred)
    own = getattr(y_pred, "dtype", None) is not None and array.dtype.kind not in "iub"
    return array if own else array.astype(np.float32)


def _same_shape(y_true: Any, y_pred: np.ndarray) -> np.ndarray:
    targets = _validate.real_array("y_true", y_true)
    if targets.shape != y_pred.shape:
        raise ValueError(
            f"y_true has shape {targets.shape}, y_pred {y_pred.shape}: they must have the same shape; for class labels"
            " use SparseCategoricalCrossentropy"
        )
    return targets


def _bounds(p: np.ndarray) -> tuple[Any, Any]:
    """Where probabilities are clipped, in their dtype: next to 1 its rounding is seen."""
    kind = _validate.output_dtypes(p)[0].type
    return kind(EPSILON), kind(1) - kind(EPSILON)


def _clipped(p: np.ndarray) -> np.ndarray:
    """Probabilities within the bounds; refused if they are none."""
    p = p.astype(_validate.output_dtypes(p)[0], copy=False)
    if p.size and not (p.min() >= -1e-6 and p.max() <= 1 + 1e-6):  # a rounding is no mistake
        _validate.check_outcomes(p, None, None)
    return np.asarray(np.clip(p, *_bounds(p)))


def _class_labels(y_true: Any, y_pred: np.ndarray, axis: int) -> np.ndarray:
    """Labels of the rows of predictions, of an integer dtype; an axis of one is left out."""
    axis = _validate.class_axis(y_pred, axis, "y_pred")
    labels = _validate.whole_numbers("y_true", _validate.real_array("y_true", y_true))
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int8)
    if labels.ndim == y_pred.ndim and labels.shape[axis] == 1:
        labels = labels.squeeze(axis)
    if labels.ndim == y_pred.ndim:
        raise ValueError(
            f"y_true has shape {labels.shape}, y_pred {y_pred.shape}: give one label a row; for distributions use"
            " CategoricalCrossentropy"
        )
    return labels


def _cast(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Another dtype, whose range what is out of it leaves as infinity or 0."""
    with np.errstate(over="ignore", under="ignore"):
        return array.astype(dtype)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Averages along an axis, NaN where it is empty."""
    with np.errstate(all="ignore"):
        return np.asarray(values.sum(axis, dtype=np.float64) / values.shape[axis]).astype(values.dtype)


# ---- functions -----------------------------------------------------------------------------------------------


def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
    *,
    epsilon_mode: str = "keras3",
) -> np.ndarray:
    """Binary cross-entropy, averaged over an axis.

    For a probability ``p`` (or ``expit`` of a score) and a target ``y``::

        loss = -y log(p) - (1 - y) log(1 - p)

    Parameters
    ----------
    y_true : array_like, the shape of the predictions
        0 and 1, or probabilities.
    y_pred : array_like
        Probabilities, clipped to [1e-7, 1 - 1e-7]; or scores, used as they are.
    from_logits : bool, default False
        Whether the predictions are scores.
    label_smoothing : float in [0, 1], default 0
        Targets become ``(1 - label_smoothing) y + label_smoothing / 2``.
    axis : int, default -1
        The axis of which the mean is taken.
    epsilon_mode : {"keras3", "tf2.1"}
        "tf2.1": 1e-7 is added to both probabilities after clipping.

    Returns
    -------
    ndarray, the shape of the predictions without `axis`

    Raises
    ------
    TypeError, ValueError
        Shapes that differ; targets or probabilities outside [0, 1].

    Examples
    --------
    >>> from fastxent.compat import keras
    >>> keras.losses.binary_crossentropy([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]])
    array([0.91629076, 0.7135582 ], dtype=float32)

    Source: Keras 3, `keras/src/losses/losses.py`.
    """
    mode = _validate.choice_of("epsilon_mode", epsilon_mode, ("keras3", "tf2.1"))
    x = _floats(y_pred)
    axis = _validate.class_axis(x, axis, "y_pred")
    with _WORDS:
        y = _same_shape(y_true, x)
        if from_logits:
            values = sigmoid_cross_entropy(x, y, label_smoothing=label_smoothing, reduction="none")
        elif mode == "keras3":
            values = binary_cross_entropy(_clipped(x), y, label_smoothing=label_smoothing, reduction="none")
        else:
            _validate.check_probabilities("targets", y)
            smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
            values = surprisal((1 - smoothing) * y + smoothing / 2, _clipped(x), EPSILON)
    return _mean(values, axis)


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> np.ndarray:
    """Binary focal cross-entropy, averaged over an axis.

    For a probability ``p`` (or ``expit`` of a score) and a target ``y``::

        loss = (1 - y p - (1 - y) (1 - p))^gamma (-y log(p) - (1 - y) log(1 - p))

    times ``y alpha + (1 - y) (1 - alpha)`` with class balancing.

    Parameters
    ----------
    y_true, y_pred, from_logits, label_smoothing, axis
        As in `binary_crossentropy`.
    apply_class_balancing : bool, default False
        Whether to multiply by alpha.
    alpha : float in [0, 1], default 0.25
        Factor of class 1; that of class 0 is ``1 - alpha``.
    gamma : float, at least 0, default 2

    Returns
    -------
    ndarray, the shape of the predictions without `axis`

    Raises
    ------
    TypeError, ValueError
        As `binary_crossentropy`; an alpha or gamma outside its domain.

    Examples
    --------
    >>> from fastxent.compat import keras
    >>> keras.losses.binary_focal_crossentropy([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]], gamma=2)
    array([0.32986468, 0.2057984 ], dtype=float32)

    Source: Keras 3, `keras/src/losses/losses.py`; Lin et al., "Focal loss for dense object detection" (2017).
    """
    balance = _validate.number("alpha", alpha, 0.0, 1.0) if apply_class_balancing else None
    x = _floats(y_pred)
    axis = _validate.class_axis(x, axis, "y_pred")
    return _mean(_focal(y_true, x, from_logits, label_smoothing, gamma, balance), axis)


def sigmoid_focal_crossentropy(
    y_true: Any, y_pred: Any, alpha: float | None = 0.25, gamma: float = 2.0, from_logits: bool = False
) -> np.ndarray:
    """Focal loss of tensorflow-addons, summed over the last axis.

    As `binary_focal_crossentropy` with class balancing, but a sum instead of a mean.

    Parameters
    ----------
    y_true, y_pred, from_logits
        As in `binary_crossentropy`.
    alpha : float in [0, 1] or None, default 0.25
        Factor of class 1; that of class 0 is ``1 - alpha``. None or 0: none.
    gamma : float, at least 0, default 2

    Returns
    -------
    ndarray, the shape of the predictions without the last axis

    Raises
    ------
    TypeError, ValueError
        As `binary_focal_crossentropy`.

    Examples
    --------
    >>> from fastxent.compat import keras
    >>> keras.sigmoid_focal_crossentropy([[1.0], [1.0], [0.0]], [[0.97], [0.91], [0.03]])
    array([6.8533022e-06, 1.9097896e-04, 2.0559963e-05], dtype=float32)

    Source: tensorflow-addons, `tensorflow_addons/losses/focal_loss.py`.
    """
    balance = _validate.number("alpha", alpha, 0.0, 1.0) if alpha else None
    x = _floats(y_pred)
    _validate.class_axis(x, -1, "y_pred")
    values = _focal(y_true, x, from_logits, 0.0, gamma, balance)
    return np.asarray(values.sum(-1, dtype=np.float64)).astype(values.dtype)


def _focal(
    y_true: Any, x: np.ndarray, from_logits: bool, label_smoothing: float, gamma: float, alpha: float | None
) -> np.ndarray:
    """Binary focal loss of each element, the factor being that of the mixture where targets are soft."""
    exponent = _validate.exponent("gamma", gamma)
    smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
    with _WORDS:
        y = _same_shape(y_true, x)
        if from_logits and smoothing == 0.0 and ((y == 0) | (y == 1)).all():
            return sigmoid_focal_loss(x, y, gamma=exponent, alpha=alpha, reduction="none")
        _validate.check_probabilities("targets", y)
        y = (1 - smoothing) * y.astype(np.float64) + smoothing / 2
        if from_logits:
            entropy = sigmoid_cross_entropy(x, y, reduction="none")
            missing = y * expit(-x).astype(np.float64) + (1 - y) * expit(x)
        else:
            entropy = binary_cross_entropy(_clipped(x), y, reduction="none")
            p = x.astype(np.float64)
            missing = y * (1 - p) + (1 - y) * p
    with np.errstate(under="ignore"):
        values = np.clip(missing, 0, 1) ** exponent * entropy
        if alpha is not None:
            values = values * (y * alpha + (1 - y) * (1 - alpha))
        return np.asarray(values).astype(entropy.dtype)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> np.ndarray:
    """Categorical cross-entropy between distributions and probabilities or scores.

    For probabilities ``p`` (divided by their sum) or ``p = softmax(scores)``, and targets ``y``::

        loss = -sum_i y_i log(p_i)

    Parameters
    ----------
    y_true : array_like, the shape of the predictions
        A distribution for each row, not negative.
    y_pred : array_like
        Probabilities, divided by their sum and clipped to [1e-7, 1 - 1e-7]; or scores, used as they are.
    from_logits : bool, default False
        Whether the predictions are scores.
    label_smoothing : float in [0, 1], default 0
        Targets become ``(1 - label_smoothing) y + label_smoothing / C``.
    axis : int, default -1
        The axis of the classes.

    Returns
    -------
    ndarray, the shape of the predictions without `axis`

    Raises
    ------
    TypeError, ValueError
        Shapes that differ; negative targets or probabilities; a single class.

    Examples
    --------
    >>> from fastxent.compat import keras
    >>> keras.losses.categorical_crossentropy([[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    array([0.05129329, 2.3025851 ], dtype=float32)

    Source: Keras 3, `keras/src/losses/losses.py`.
    """
    x = _floats(y_pred)
    with _WORDS:
        y = _same_shape(y_true, x)
        options: dict[str, Any] = {"axis": axis, "label_smoothing": label_smoothing, "reduction": "none"}
        if from_logits:
            return np.asarray(softmax_cross_entropy(x, y, **options))
        values = categorical_cross_entropy(x, y, normalize=True, eps=EPSILON, **options)
    # The upper bound as it is rounded: for a single target it is the loss of a perfect prediction.
    least = -np.log1p(np.float64(_bounds(x)[1]) - 1) * y.sum(axis, dtype=np.float64)
    return np.asarray(np.maximum(values, least.astype(values.dtype)))


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> np.ndarray:
    """Categorical focal cross-entropy between distributions and probabilities or scores.

    For ``p`` and ``y`` as in `categorical_crossentropy`::

        loss = sum_i alpha_i (1 - p_i)^gamma (-y_i log(p_i))

    Parameters
    ----------
    y_true, y_pred, from_logits, label_smoothing, axis
        As in `categorical_crossentropy`.
    alpha : float or array_like of shape (C,), default 0.25
    gamma : float, at least 0, default 2

    Returns
    -------
    ndarray, the shape of the predictions without `axis`

    Raises
    ------
    TypeError, ValueError
        As `categorical_crossentropy`; an alpha or gamma outside its domain.

    Examples
    --------
    >>> from fastxent.compat import keras
    >>> keras.losses.categorical_focal_crossentropy([[0, 1, 0], [0, 0, 1]], [[0.05, 0.9, 0.05], [0.1, 0.85, 0.05]])
    array([2.634013e-04, 6.759121e-01], dtype=float32)

    Source: Keras 3, `keras/src/losses/losses.py`; Lin et al., "Focal loss for dense object detection" (2017).
    """
    x = _floats(y_pred)
    with _WORDS:
        y = _same_shape(y_true, x)
        options: dict[str, Any] = {"axis": axis, "label_smoothing": label_smoothing, "reduction": "none"}
        # Checks every argument, and is the loss of scores.
        scores = x if from_logits else np.zeros_like(x)
        values: np.ndarray = softmax_focal_loss(scores, y, gamma=gamma, alpha=alpha, **options)
        if from_logits:
            return values
        axis = _validate.class_axis(x, axis)
        _validate.check_distributions(x, axis, None, True)
    p = x.astype(np.float64)
    p = np.clip(p / p.sum(axis, keepdims=True), *_bounds(x))
    y = (1 - label_smoothing) * y.astype(np.float64) + label_smoothing / x.shape[axis]
    if np.ndim(alpha):
        alpha = np.reshape(alpha, (-1, *(1,) * (x.ndim - 1 - axis)))
    return np.asarray((alpha * (1 - p) ** gamma * -y * np.log(p)).sum(axis)).astype(values.dtype)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> np.ndarray:
    """Categorical cross-entropy between class labels and probabilities or scores.

    For probabilities ``p`` (clipped, then divided by their sum) or ``p = softmax(scores)``, and a label ``y``::

        loss = -log(p_y)

    Parameters
    ----------
    y_true : array_like, the shape of the predictions without `axis`, or with one of size 1
        Labels in [0, C): integers, or floats that are whole.
    y_pred : array_like
        Probabilities, clipped to [1e-7, 1 - 1e-7] and divided by their sum; or scores, used as they are.
    from_logits : bool, default False
        Whether the predictions are scores.
    ignore_class : int, optional
        Rows with this label have loss 0; the class does not count them in the mean.
    axis : int, default -1
        The axis of the classes.

    Returns
    -------
    ndarray, the shape of the predictions without `axis`

    Raises
    ------
    TypeError, ValueError
        A label out of range or not whole; probabilities outside [0, 1]; shapes that do not match; a single class.

    Examples
    --------
    >>> from fastxent.compat import keras
    >>> keras.losses.sparse_categorical_crossentropy([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    array([0.0512934, 2.3025851], dtype=float32)

    Source: Keras 3, `keras/src/losses/losses.py` and its TensorFlow backend.
    """
    x = _floats(y_pred)
    with _WORDS:
        labels = _class_labels(y_true, x, axis)
        options: dict[str, Any] = {"axis": axis, "ignore_index": ignore_class, "reduction": "none"}
        values: np.ndarray
        if from_logits:
            values = softmax_cross_entropy(x, labels, **options)
        else:
            values = categorical_cross_entropy(_clipped(x), labels, normalize=True, **options)
    return values


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> np.ndarray:
    """Generalised cross-entropy between class labels and probabilities.

    For the probability ``p`` of the label::

        loss = (1 - p^q) / q

    Parameters
    ----------
    y_true : array_like, the shape of the predictions without their last axis, or with one of size 1
        Labels in [0, C): integers, or floats that are whole.
    y_pred : array_like, shape (..., C)
        Probabilities.
    q : float in (0, 1)

    Returns
    -------
    ndarray, the shape of the predictions without their last axis

    Raises
    ------
    TypeError, ValueError
        A label out of range or not whole; probabilities outside [0, 1]; shapes that do not match; a q outside (0, 1).

    Examples
    --------
    >>> from fastxent.compat import keras
    >>> keras.losses.categorical_generalized_cross_entropy([0, 1], [[0.7, 0.3], [0.2, 0.8]], q=0.5)
    array([0.32667997, 0.21114561], dtype=float32)

    Source: Keras 3, `keras/src/losses/losses.py`; Zhang and Sabuncu, "Generalized cross entropy loss" (2018).
    """
    power = _exponent(q)
    x = _floats(y_pred)
    with _WORDS:
        labels = _class_labels(y_true, x, -1)
        # Checks labels and shapes.
        categorical_cross_entropy(np.full_like(x, 0.5), labels, reduction="none")
        _clipped(x)
    p = np.take_along_axis(x, labels[..., None].astype(np.intp), -1)[..., 0].astype(np.float64)
    with np.errstate(divide="ignore", under="ignore"):
        values = -np.expm1(power * np.log(p)) / power
        values = np.where(np.isnan(x).any(-1), np.nan, values)
        return values.astype(_validate.output_dtypes(x)[0])


def _exponent(q: float) -> float:
    power = _validate.number("q", q, 0.0, 1.0)
    if power in (0.0, 1.0):
        raise ValueError(f"q is {power:g}: q must be in the interval (0, 1)")
    return power


# ---- reductions ----------------------------------------------------------------------------------------------

_REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", "auto")


def _same_rank(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of which one may have an axis of size 1 at its end that the other lacks."""
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b[..., None]) if b.ndim == 1 else (a[..., 0], b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a[..., None], b) if a.ndim == 1 else (a, b[..., 0])
    return a, b


def _reduce(values: np.ndarray, sample_weight: Any, valid: np.ndarray | None, reduction: str | None) -> Any:
    """Weighted losses, reduced; where nothing is to divide by, 0.0."""
    weights = None
    if sample_weight is not None:
        weights = _validate.real_array("sample_weight", sample_weight).astype(np.float64)
        _validate.check_finite("sample_weight", weights)
        values, weights = _same_rank(values, weights)
        try:
            weights = np.broadcast_to(weights, values.shape)
        except ValueError:
            raise ValueError(
                f"sample_weight has shape {weights.shape}, which cannot be broadcast to the losses' {values.shape}"
            ) from None
    if valid is not None:
        valid = valid.reshape(values.shape)
        weights = np.where(valid, 1.0 if weights is None else weights, 0.0)
    dtype = values.dtype
    values = values.astype(np.float64)
    with np.errstate(all="ignore"):
        if weights is not None:
            values = np.where(weights == 0, 0.0, values * weights)
        if values.ndim == 0:
            return float(values)
        if reduction in (None, "none"):
            return values.astype(dtype)
        total = float(values.sum())
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weights is not None:
        divisor = float(weights.sum())
    else:
        divisor = float(values.size if valid is None else valid.sum())
    return total / divisor if divisor else 0.0


# ---- classes -------------------------------------------------------------------------------------------------


class Loss:
    """A loss with a reduction, to be subclassed: `call` returns losses that are weighted and reduced.

    Parameters
    ----------
    name : str, optional
    reduction : {"sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None}
        "sum_over_batch_size" and "mean", the same, divide the sum of the weighted losses by their number,
        "mean_with_sample_weight" by the sum of the weights.
    dtype : dtype or str, optional
        What predictions and the result are converted to; their own dtype by default.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.compat import keras
    >>> class MeanSquaredError(keras.losses.Loss):
    ...     def call(self, y_true, y_pred):
    ...         return np.mean(np.square(y_pred - y_true), axis=-1)
    >>> MeanSquaredError()(np.array([[1.0, 2.0]]), np.array([[2.0, 4.0]]), sample_weight=[2.0])
    5.0

    Source: Keras 3, `keras/src/losses/loss.py`.
    """

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        if reduction is not None:
            _validate.choice_of("reduction", reduction, _REDUCTIONS)
        self.name = name or type(self).__name__
        self.reduction = reduction
        self._dtype = None if dtype is None else _dtype_of(dtype)

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """What predictions and results are converted to."""
        return self._dtype

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The reduced loss.

        Parameters
        ----------
        y_true, y_pred
            As `call` takes them; an axis of size 1 at the end that only one of them has is added or left out.
        sample_weight : array_like, broadcast to the losses, optional
            Finite.

        Returns
        -------
        float; a NumPy scalar if a `dtype` was asked for; an ndarray without reduction
        """
        predictions = _floats(y_pred)
        if self._dtype is not None:
            predictions = _cast(predictions, self._dtype)
        targets, predictions = _same_rank(_validate.real_array("y_true", y_true), predictions)
        values = np.asarray(self.call(targets, predictions))
        result = _reduce(values, sample_weight, self._valid(targets, predictions), self.reduction)
        return result if self._dtype is None else _cast(np.asarray(result), self._dtype)[()]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses before weights and reduction."""
        raise NotImplementedError(f"{type(self).__name__} has no call(y_true, y_pred)")

    def _valid(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray | None:
        """Which losses count, if not all."""
        return None

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes this loss of."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """The loss that `get_config` described."""
        return cls(**config)


def _dtype_of(dtype: Any) -> Any:
    """A floating dtype by its name, or of a Keras dtype policy."""
    name: Any = getattr(dtype, "compute_dtype", dtype)
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ModuleNotFoundError:
            raise ImportError('dtype="bfloat16" needs ml_dtypes: pip install ml_dtypes') from None
        return np.dtype(ml_dtypes.bfloat16)
    own = np.dtype(name)
    if own.kind != "f":
        raise TypeError(f"dtype is {dtype!r}: give a floating dtype")
    return own


class _FunctionLoss(Loss):
    """One of the functions above with its options."""

    function: ClassVar[Callable[..., np.ndarray]]

    def __init__(self, name: str | None, reduction: str | None, dtype: Any, **options: Any) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._options = tuple(options)
        for option, value in options.items():
            setattr(self, option, value)

    def call(self, y_true: Any, y_pred: Any) -> np.ndarray:
        """The losses of `function`."""
        return type(self).function(y_true, y_pred, **{name: getattr(self, name) for name in self._options})

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes this loss of."""
        return super().get_config() | {name: getattr(self, name) for name in self._options}


class BinaryCrossentropy(_FunctionLoss):
    """Binary cross-entropy, reduced.

    Parameters
    ----------
    from_logits, label_smoothing, axis, epsilon_mode
        As in `binary_crossentropy`.
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.compat import keras
    >>> y_true, y_pred = np.array([[0, 1], [0, 0]]), np.array([[-18.6, 0.51], [2.94, -12.8]])
    >>> round(keras.losses.BinaryCrossentropy(from_logits=True)(y_true, y_pred), 4)
    0.8655
    >>> round(keras.losses.BinaryCrossentropy()([0, 0, 1, 1], [1, 1, 1, 0]), 6)
    12.000716
    >>> round(keras.losses.BinaryCrossentropy(epsilon_mode="tf2.1")([0, 0, 1, 1], [1, 1, 1, 0]), 6)
    11.522857

    Source: Keras 3, `keras/src/losses/losses.py`.
    """

    function = staticmethod(binary_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
        *,
        epsilon_mode: str = "keras3",
    ) -> None:
        super().__init__(
            name,
            reduction,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
            epsilon_mode=_validate.choice_of("epsilon_mode", epsilon_mode, ("keras3", "tf2.1")),
        )


class BinaryFocalCrossentropy(_FunctionLoss):
    """Binary focal cross-entropy, reduced.

    Parameters
    ----------
    apply_class_balancing, alpha, gamma, from_logits, label_smoothing, axis
        As in `binary_focal_crossentropy`.
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.compat import keras
    >>> y_true, y_pred = np.array([0, 1, 0, 0]), np.array([-18.6, 0.51, 2.94, -12.8])
    >>> round(keras.losses.BinaryFocalCrossentropy(gamma=2, from_logits=True)(y_true, y_pred), 3)
    0.691

    Source: Keras 3, `keras/src/losses/losses.py`.
    """

    function = staticmethod(binary_focal_crossentropy)

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            name,
            reduction,
            dtype,
            apply_class_balancing=apply_class_balancing,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalCrossentropy(_FunctionLoss):
    """Categorical cross-entropy between distributions and predictions, reduced.

    Parameters
    ----------
    from_logits, label_smoothing, axis
        As in `categorical_crossentropy`.
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.compat import keras
    >>> y_true, y_pred = np.array([[0, 1, 0], [0, 0, 1]]), np.array([[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    >>> round(keras.losses.CategoricalCrossentropy()(y_true, y_pred), 3)
    1.177
    >>> round(keras.losses.CategoricalCrossentropy()(y_true, y_pred, sample_weight=np.array([0.3, 0.7])), 3)
    0.814

    Source: Keras 3, `keras/src/losses/losses.py`.
    """

    function = staticmethod(categorical_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)


class CategoricalFocalCrossentropy(_FunctionLoss):
    """Categorical focal cross-entropy, reduced.

    Parameters
    ----------
    alpha, gamma, from_logits, label_smoothing, axis
        As in `categorical_focal_crossentropy`.
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> from fastxent.compat import keras
    >>> y_true, y_pred = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]
    >>> round(keras.losses.CategoricalFocalCrossentropy()(y_true, y_pred), 6)
    0.233153

    Source: Keras 3, `keras/src/losses/losses.py`.
    """

    function = staticmethod(categorical_focal_crossentropy)

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            name,
            reduction,
            dtype,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(_FunctionLoss):
    """Categorical cross-entropy between class labels and predictions, reduced.

    Parameters
    ----------
    from_logits, ignore_class, axis
        As in `sparse_categorical_crossentropy`; means are over the rows that are not ignored, 0.0 if all are.
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.compat import keras
    >>> y_true, y_pred = np.array([1, -1]), np.array([[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    >>> round(keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)(y_true, y_pred), 4)
    0.0513

    Source: Keras 3, `keras/src/losses/losses.py`.
    """

    function = staticmethod(sparse_categorical_crossentropy)
    ignore_class: int | None
    axis: int

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype, from_logits=from_logits, ignore_class=ignore_class, axis=axis)

    def _valid(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray | None:
        if self.ignore_class is None:
            return None
        return np.asarray(_class_labels(y_true, y_pred, self.axis) != self.ignore_class)


class CategoricalGeneralizedCrossEntropy(_FunctionLoss):
    """Generalised cross-entropy between class labels and probabilities, reduced.

    Parameters
    ----------
    q : float in (0, 1), default 0.5
    reduction, name, dtype
        As in `Loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.compat import keras
    >>> y_true, y_pred = np.array([0, 1, 0, 1]), np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6]])
    >>> round(keras.losses.CategoricalGeneralizedCrossEntropy()(y_true, y_pred), 7)
    0.3598597

    Source: Keras 3, `keras/src/losses/losses.py`.
    """

    function = staticmethod(categorical_generalized_cross_entropy)

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype, q=_exponent(q))


class SigmoidFocalCrossEntropy(_FunctionLoss):
    """Focal loss of tensorflow-addons; its default is no reduction.

    Parameters
    ----------
    from_logits, alpha, gamma
        As in `sigmoid_focal_crossentropy`.
    reduction, name
        As in `Loss`.

    Examples
    --------
    >>> from fastxent.compat import keras
    >>> keras.SigmoidFocalCrossEntropy()([[1.0], [1.0], [0.0]], [[0.97], [0.91], [0.03]])
    array([6.8533022e-06, 1.9097896e-04, 2.0559963e-05], dtype=float32)

    Source: tensorflow-addons, `tensorflow_addons/losses/focal_loss.py`.
    """

    function = staticmethod(sigmoid_focal_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        alpha: float | None = 0.25,
        gamma: float = 2.0,
        reduction: str | None = "none",
        name: str | None = "sigmoid_focal_crossentropy",
    ) -> None:
        super().__init__(name, reduction, None, from_logits=from_logits, alpha=alpha, gamma=gamma)
