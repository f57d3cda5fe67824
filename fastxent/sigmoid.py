"""Losses of two outcomes, or of many independent ones, from scores."""

from __future__ import annotations

import math
from typing import Any, Literal, Unpack, overload

import numpy as np

from fastxent import _memory, _probability, _sigmoid, _validate
from fastxent._typing import Asked, FocalOptions, Reduced, SigmoidOptions


@overload
def sigmoid_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SigmoidOptions],
) -> float: ...


@overload
def sigmoid_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SigmoidOptions],
) -> np.ndarray: ...


@overload
def sigmoid_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SigmoidOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def sigmoid_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SigmoidOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def sigmoid_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SigmoidOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def sigmoid_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[SigmoidOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def sigmoid_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SigmoidOptions],
) -> tuple[float, np.ndarray, np.ndarray]: ...


@overload
def sigmoid_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[SigmoidOptions],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def sigmoid_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Any = False,
    hess: Any = False,
    sample_weight: Any = None,
    pos_weight: Any = 1.0,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> Any:
    """Sigmoid (binary) cross-entropy between scores and targets, element by element, with its gradient in one pass.

    For a score ``x`` and a target ``y``, with ``softplus(x) = log(1 + exp(x))``::

        loss = (1 - y) softplus(x) + pos_weight y softplus(-x)
        d loss / dx = (1 - y) expit(x) - pos_weight y expit(-x)

    computed so that nothing cancels, whatever the sign of the score.

    Parameters
    ----------
    logits : array_like, any shape
        Scores (log-odds). float32 and float64 are used as they are; float16 and bfloat16 are widened piece by piece,
        integers converted to float64.
    targets : array_like or scipy.sparse CSR, the shape of the logits
        Labels 0 and 1 of any real dtype or bool, or probabilities in between, rounded to the dtype of the logits.
    grad : bool or ndarray, default False
        Whether to return the gradient of the reduced loss; or the array to write it to, of the shape and dtype of the
        logits (for 16-bit logits: float32 or their dtype). The logits themselves: in place.
    hess : bool or ndarray, default False
        The same for the second derivative, ``(1 - y + pos_weight y) expit(x) expit(-x)``.
    sample_weight : array_like, optional
        Weights, finite and not negative, of the shape of the logits or of its first axis (one for a row).
    pos_weight : float or array_like (C,), default 1
        Factor of the term of positive targets, at least 0; an array along the last axis of the logits.
    label_smoothing : float in [0, 1], default 0
        Targets become ``(1 - label_smoothing) * y + label_smoothing / 2``.
    reduction : {"mean", "sum", "none"}
        "mean" is the weighted average over elements (0.0 if all weights are 0), "none" returns each element's loss.
    n_threads : int, optional
        How many threads to use at most; the result has the same bits for every number.

    Returns
    -------
    loss : float, or ndarray of the shape of the logits with ``reduction="none"``
    grad : ndarray, if asked for
    hess : ndarray, if asked for

    Raises
    ------
    TypeError
        Arrays of objects, complex numbers, dates; masked arrays; buffers of another dtype.
    ValueError
        A target outside [0, 1]; shapes that differ; malformed CSR; a buffer that is read-only or overlaps an input.
        Nothing has been written then.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> logits = np.array([-40.0, 0.0, 40.0])
    >>> loss, grad = fx.sigmoid_cross_entropy(logits, [0, 1, 1], grad=True, reduction="none")
    >>> loss
    array([4.24835426e-18, 6.93147181e-01, 4.24835426e-18])
    >>> grad
    array([ 4.24835426e-18, -5.00000000e-01, -4.24835426e-18])

    Source: Cox, "The regression analysis of binary sequences" (1958).
    """
    return _loss(
        logits, targets, grad, hess, sample_weight, pos_weight, label_smoothing, reduction, n_threads, 0.0, None
    )


@overload
def sigmoid_focal_loss(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[FocalOptions],
) -> float: ...


@overload
def sigmoid_focal_loss(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[FocalOptions],
) -> np.ndarray: ...


@overload
def sigmoid_focal_loss(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[FocalOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def sigmoid_focal_loss(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[FocalOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def sigmoid_focal_loss(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[FocalOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def sigmoid_focal_loss(
    logits: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[FocalOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def sigmoid_focal_loss(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[FocalOptions],
) -> tuple[float, np.ndarray, np.ndarray]: ...


@overload
def sigmoid_focal_loss(
    logits: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[FocalOptions],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def sigmoid_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    grad: Any = False,
    hess: Any = False,
    sample_weight: Any = None,
    pos_weight: Any = 1.0,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> Any:
    """Sigmoid (binary) focal loss: cross-entropy that counts less the better the score already is.

    For a score ``x`` and a target ``y``, with ``f(x) = (1 - p) ** gamma * -log(p)``, ``p = expit(x)``::

        loss = alpha pos_weight y f(x) + (1 - alpha) (1 - y) f(-x)
        f'(x) = -(1 - p) ** gamma (1 - p - gamma p log(p))
        f''(x) = (1 - p) ** gamma p ((1 - p) (1 + 2 gamma) - gamma log(p) (gamma p - (1 - p)))

    computed so that nothing cancels but the two terms of a target between 0 and 1, whatever the sign of the score and
    ``gamma``; ``gamma=0`` without ``alpha`` is `sigmoid_cross_entropy`, to the bit.

    Parameters
    ----------
    logits : array_like, any shape
        Scores (log-odds). float32 and float64 are used as they are; float16 and bfloat16 are widened piece by piece,
        integers converted to float64.
    targets : array_like or scipy.sparse CSR, the shape of the logits
        Labels 0 and 1 of any real dtype or bool, or probabilities in between, rounded to the dtype of the logits.
    gamma : float, default 2
        Exponent of what is still missing, finite and at least 0. Whole numbers up to 5 are faster.
    alpha : float or array_like (C,) in [0, 1], optional
        Factor of the term of positive targets, ``1 - alpha`` being that of negative ones; an array along the last axis
        of the logits. None: both are 1.
    grad : bool or ndarray, default False
        Whether to return the gradient of the reduced loss; or the array to write it to, of the shape and dtype of the
        logits (for 16-bit logits: float32 or their dtype). The logits themselves: in place.
    hess : bool or ndarray, default False
        The same for the second derivative, which is negative where a score is far on the wrong side.
    sample_weight : array_like, optional
        Weights, finite and not negative, of the shape of the logits or of its first axis (one for a row).
    pos_weight : float or array_like (C,), default 1
        Factor of the term of positive targets, at least 0; an array along the last axis of the logits.
    label_smoothing : float in [0, 1], default 0
        Targets become ``(1 - label_smoothing) * y + label_smoothing / 2``.
    reduction : {"mean", "sum", "none"}
        "mean" is the weighted average over elements (0.0 if all weights are 0), "none" returns each element's loss.
    n_threads : int, optional
        How many threads to use at most; the result has the same bits for every number.

    Returns
    -------
    loss : float, or ndarray of the shape of the logits with ``reduction="none"``
    grad : ndarray, if asked for
    hess : ndarray, if asked for

    Raises
    ------
    TypeError
        Arrays of objects, complex numbers, dates; masked arrays; buffers of another dtype.
    ValueError
        A target or alpha outside [0, 1]; shapes that differ; malformed CSR; a buffer that is read-only or overlaps an
        input. Nothing has been written then.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> logits = np.array([-3.0, 0.0, 40.0])
    >>> loss, grad = fx.sigmoid_focal_loss(logits, [1, 1, 1], gamma=0.5, grad=True, reduction="none")
    >>> loss
    array([2.97541833e+00, 4.90129072e-01, 8.75651076e-27])
    >>> grad
    array([-1.00026734e+00, -4.76085659e-01, -1.31347661e-26])

    Source: Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object detection" (2017).
    """
    gamma = _validate.exponent("gamma", gamma)
    return _loss(
        logits, targets, grad, hess, sample_weight, pos_weight, label_smoothing, reduction, n_threads, gamma, alpha
    )


def sigmoid_cross_entropy_hvp(
    logits: Any,
    targets: Any,
    v: Any,
    *,
    sample_weight: Any = None,
    pos_weight: Any = 1.0,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    out: np.ndarray | None = None,
    n_threads: int | None = None,
) -> np.ndarray:
    """Product of the Hessian of `sigmoid_cross_entropy` with a vector, in one pass and without the Hessian.

    The Hessian is diagonal::

        out = (1 - y + pos_weight y) expit(x) expit(-x) v

    times the weight of the element, and divided by the sum of the weights with ``reduction="mean"``.

    Parameters
    ----------
    logits, targets, sample_weight, pos_weight, label_smoothing, n_threads
        As in `sigmoid_cross_entropy`.
    v : array_like, the shape of the logits
        Numbers of any real dtype, rounded to the dtype of the logits.
    reduction : {"mean", "sum", "none"}
        Of the loss whose Hessian it is; "sum" and "none" have the same one.
    out : ndarray, optional
        The array to write to, of the shape and dtype of the logits (for 16-bit logits: float32 or their dtype). `v`
        itself: in place.

    Returns
    -------
    ndarray of the shape of the logits

    Raises
    ------
    TypeError
        Arrays of objects, complex numbers, dates; masked arrays; a buffer of another dtype.
    ValueError
        A target outside [0, 1]; shapes that differ; malformed CSR; a buffer that is read-only or overlaps an input.
        Nothing has been written then.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> fx.sigmoid_cross_entropy_hvp(np.array([0.0, 2.0]), [0, 1], [4.0, -1.0], reduction="sum")
    array([ 1.        , -0.10499359])

    Source: Pearlmutter, "Fast exact multiplication by the Hessian" (1994).
    """
    if v is None:
        raise TypeError("v is None: give a vector of the shape of the logits")
    product: np.ndarray = _loss(
        logits, targets, False, out, sample_weight, pos_weight, label_smoothing, reduction, n_threads, 0.0, None, v
    )
    return product


def _loss(
    logits: Any,
    targets: Any,
    grad: Any,
    hess: Any,
    sample_weight: Any,
    pos_weight: Any,
    label_smoothing: Any,
    reduction: Any,
    n_threads: int | None,
    gamma: float,
    alpha: Any,
    vector: Any = None,
) -> Any:
    """A loss of this module, cross-entropy if `gamma` is 0; or the product of its Hessian with a `vector`, in `hess` if
    that is not None."""
    scores = _validate.float_array("logits", logits)
    reduction = _validate.reduction_of(reduction)
    smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
    positive = _validate.factors("pos_weight", pos_weight, scores.shape, 0.0, math.inf)
    negative: float | np.ndarray = 1.0
    if alpha is not None:
        share = _validate.factors("alpha", alpha, scores.shape, 0.0, 1.0)
        positive, negative = positive * share, 1.0 - share
    dense = sparse = None
    if _validate.is_sparse(targets):
        sparse = _validate.sparse_outcomes(targets, scores.shape)
    else:
        dense = _validate.real_array("targets", targets)
        if dense.shape != scores.shape:
            raise ValueError(
                f"targets have shape {dense.shape}, logits {scores.shape}: the sigmoid's targets go element by element,"
                " use softmax_cross_entropy for class labels; targets are never broadcast"
            )
    weights, row_weights = _validate.element_weights("sample_weight", sample_weight, scores.shape)
    factors = None
    if vector is not None:
        factors = _validate.real_array("v", vector)
        if factors.shape != scores.shape:
            raise ValueError(f"v has shape {factors.shape}, logits {scores.shape}: v has one entry for each score")

    inputs: tuple[tuple[str, Any], ...] = ()
    dtypes = _validate.output_dtypes(scores)
    if not ((grad is True or grad is False) and (hess is True or hess is False or hess is None)):
        inputs = (("logits", scores), ("logits", logits), ("targets", targets), ("targets", dense))
        inputs += (("sample_weight", sample_weight), ("sample_weight", weights), ("sample_weight", row_weights))
        inputs += (("pos_weight", pos_weight), ("alpha", alpha), ("v", vector))
        inputs = tuple(pair for pair in inputs if pair[1] is not None and type(pair[1]) is not float)
    # Without buffers nothing is lost if the row loop finds what must be refused, as it does in its own dtype.
    if (
        dense is not None
        and (inputs or dense.dtype != dtypes[0])
        and _probability.any_outside(_validate.as_elements(dense), True, n_threads)
    ):
        _validate.check_probabilities("targets", dense)
    grad_out = _validate.output("grad", grad, scores, dtypes, inputs, "logits")
    if vector is None:
        hess_out = _validate.output("hess", hess, scores, dtypes, inputs, "logits")
    elif hess is None:
        hess_out = _memory.empty_like(scores, dtypes[0])
    else:
        hess_out = _validate.buffer("out", hess, scores, dtypes, inputs, "v")
    _validate.separate(grad_out, hess_out)
    losses = _memory.empty_like(scores, dtypes[0]) if reduction == "none" and vector is None else None

    total_weight = 1.0
    if reduction == "mean":
        weights, row_weights = _validate.moderate(weights), _validate.moderate(row_weights)
        total_weight = float(scores.size)
        if weights is not None:
            total_weight = _sigmoid.total(_validate.as_elements(weights))
        elif row_weights is not None:
            total_weight = math.fsum(row_weights) * (scores.size / max(1, len(row_weights)))
    # CSR targets need the columns of the matrix.
    scores_rows = _validate.as_elements(scores) if sparse is None else _validate.as_rows(scores, 1)
    losses_rows, grad_rows, hess_rows = _elements(losses), _elements(grad_out), _elements(hess_out)
    loss = _sigmoid.loss(
        scores_rows,
        _elements(dense),
        sparse,
        _elements(weights),
        row_weights,
        total_weight,
        smoothing,
        gamma,
        positive,
        negative,
        losses_rows,
        grad_rows,
        hess_rows,
        _elements(factors),
        n_threads,
    )
    if loss is None:
        assert dense is not None
        _validate.check_probabilities("targets", dense)
    for out, rows in ((losses, losses_rows), (grad_out, grad_rows), (hess_out, hess_rows)):
        if out is not None:
            _validate.put_back(out, rows, out.ndim - 1)
    if vector is not None:
        return hess_out
    value = loss if losses is None else losses
    if grad_out is None:
        return value if hess_out is None else (value, hess_out)
    return (value, grad_out) if hess_out is None else (value, grad_out, hess_out)


def _elements(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else _validate.as_elements(array)
