"""Losses of one outcome among several, exclusive ones, from scores."""

from __future__ import annotations

from typing import Any, Literal, Unpack, overload

import numpy as np

from fastxent import _softmax, _validate
from fastxent._typing import Asked, Reduced, SoftmaxOptions


@overload
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> float: ...


@overload
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> np.ndarray: ...


@overload
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray, np.ndarray]: ...


@overload
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Any = False,
    hess: Any = False,
    axis: int = -1,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> Any:
    """Softmax cross-entropy between scores and labels or distributions, with its gradient in one pass.

    For scores ``z`` and targets ``y`` of a row::

        loss = -sum_i y_i log p_i = sum_i y_i (logsumexp(z) - z_i),    p = softmax(z)
        d loss / d z_i = (sum_j y_j) p_i - y_i

    computed so that nothing cancels: the loss at the largest score is ``log1p`` of the others' sum.

    Parameters
    ----------
    logits : array_like, shape (n, C), or any rank with `axis`
        Scores (unnormalised log-probabilities). float32 and float64 are used as they are; float16 and bfloat16
        are widened row by row, integers converted to float64. -inf masks a class. At least two classes.
    targets : array_like or scipy.sparse CSR
        Told apart by type: integer labels (n,) in [0, C); a dense distribution (n, C) of any real dtype, rounded
        to that of the logits; a CSR array (n, C). Rows of distributions need not sum to one.
    grad : bool or ndarray, default False
        Whether to return the gradient of the reduced loss; or the array to write it to, of the shape and dtype of the
        logits (for 16-bit logits: float32 or their dtype). The logits themselves: in place.
    hess : bool or ndarray, default False
        The same for the diagonal of the Hessian, ``(sum_j y_j) p_i (1 - p_i)``.
    axis : int, default -1
        The axis of the classes.
    sample_weight : array_like, shape (n,), optional
        Weight of each row, finite and not negative. Rows of weight 0 do not count, whatever they hold.
    label_smoothing : float in [0, 1], default 0
        Targets become ``(1 - label_smoothing) * y + label_smoothing / C``, where C counts the classes of the row that
        are not masked by -inf.
    ignore_index : int, optional
        Rows with this label do not count: loss and gradient 0.
    reduction : {"mean", "sum", "none"}
        "mean" is the weighted average over the rows that count (0.0 if none does), "none" returns each row's loss.
    n_threads : int, optional
        How many threads to use at most; the result has the same bits for every number.

    Returns
    -------
    loss : float, or ndarray of shape (n,) with ``reduction="none"``
    grad : ndarray, if asked for
    hess : ndarray, if asked for

    Raises
    ------
    TypeError
        Labels that are not integers; arrays of objects, complex numbers, dates; masked arrays; buffers of another
        dtype.
    ValueError
        A label out of range; a negative or non-finite target or weight; a single class; shapes that do not match;
        malformed CSR; a buffer that is read-only or overlaps an input. Nothing has been written then.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> logits = np.array([[20, 0], [1, 2]], dtype=np.float32)
    >>> fx.softmax_cross_entropy(logits, [0, 0], reduction="none")
    array([2.0611537e-09, 1.3132616e+00], dtype=float32)
    >>> loss, grad = fx.softmax_cross_entropy(logits, [0, 0], grad=True)
    >>> grad
    array([[-1.0305768e-09,  1.0305768e-09],
           [-3.6552930e-01,  3.6552930e-01]], dtype=float32)

    Sources: Bridle, "Probabilistic interpretation of feedforward classification network outputs" (1990);
    Szegedy et al., "Rethinking the Inception architecture" (2016) for smoothing.
    """
    return _softmax_loss(
        logits, targets, grad, hess, axis, sample_weight, label_smoothing, ignore_index, reduction, n_threads
    )


def _softmax_loss(
    logits: Any,
    targets: Any,
    grad: Any,
    hess: Any,
    axis: Any,
    sample_weight: Any,
    label_smoothing: Any,
    ignore_index: Any,
    reduction: Any,
    n_threads: Any,
) -> Any:
    """Check, allocate, run the row loop, put the results together."""
    scores = _validate.float_array("logits", logits)
    axis = 1 if axis == -1 and scores.ndim == 2 else _validate.class_axis(scores, axis)
    shape = scores.shape
    rows = shape[:axis] + shape[axis + 1 :]
    if shape[axis] < 2:
        raise _validate.too_few_classes(shape[axis], axis)
    reduction = _validate.reduction_of(reduction)
    smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
    ignored = None if ignore_index is None else _validate.ignored(ignore_index)
    labels, dense, sparse = _validate.targets_of(targets, scores, axis, rows, ignored)
    weights = None if sample_weight is None else _validate.weights_of("sample_weight", sample_weight, rows)

    if reduction == "mean":
        weights = _validate.moderate(weights)

    in_place = False
    inputs: tuple[tuple[str, Any], ...] = ()
    dtypes = _validate.output_dtypes(scores)
    if not ((grad is True or grad is False) and (hess is True or hess is False)):
        inputs = (("logits", scores), ("logits", logits), ("targets", targets), ("targets", labels))
        inputs += (("targets", dense), ("sample_weight", sample_weight), ("sample_weight", weights))
    # Without buffers nothing is lost if the row loop finds what must be refused, as it does in its own dtype.
    if dense is not None and (inputs or dense.dtype != dtypes[0]):
        _validate.check_dense(dense, dtypes[0])
    grad_out = _validate.output("grad", grad, scores, dtypes, inputs, "logits")
    hess_out = _validate.output("hess", hess, scores, dtypes, inputs, "logits")
    if inputs:
        _validate.separate(grad_out, hess_out)
        in_place = _validate.is_any(scores, grad_out, hess_out)

    grad_rows = None if grad_out is None else _validate.as_rows(grad_out, axis)
    hess_rows = None if hess_out is None else _validate.as_rows(hess_out, axis)
    loss = _softmax.loss(
        _validate.as_rows(scores, axis),
        labels,
        dense,
        sparse,
        weights,
        smoothing,
        ignored,
        reduction,
        grad_rows,
        hess_rows,
        in_place,
        n_threads,
    )
    if loss is None:
        assert dense is not None
        _validate.check_dense(dense, dtypes[0])
    if reduction == "none":
        loss = loss.reshape(rows)
    if grad_out is None and hess_out is None:
        return loss
    if grad_out is not None:
        _validate.put_back(grad_out, grad_rows, axis)
    if hess_out is None:
        return loss, grad_out
    _validate.put_back(hess_out, hess_rows, axis)
    return (loss, hess_out) if grad_out is None else (loss, grad_out, hess_out)
