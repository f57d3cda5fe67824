"""Losses of one outcome among several, exclusive ones, from scores."""

from __future__ import annotations

import math
from typing import Any, Literal, Unpack, overload

import numpy as np

from fastxent import _softmax, _validate
from fastxent._typing import Asked, Reduced, SoftmaxOptions

# What every softmax loss takes beside its own parameters.
_OPTIONS = frozenset(SoftmaxOptions.__annotations__) | {"grad", "hess", "reduction", "temperature_grad"}


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


@overload
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: bool | np.ndarray = False,
    hess: bool | np.ndarray = False,
    reduction: str = "mean",
    temperature_grad: Literal[True],
    **options: Unpack[SoftmaxOptions],
) -> tuple[Any, ...]: ...
def softmax_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    grad: Any = False,
    hess: Any = False,
    axis: int = -1,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    class_mask: Any = None,
    temperature: float = 1.0,
    temperature_grad: bool = False,
    softcap: float | None = None,
    logit_bias: Any = None,
    z_loss: float = 0.0,
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
        Weight of each row, finite and not negative. Rows of weight 0 do not count, whatever their scores.
    class_weight : array_like, shape (C,), optional
        Weight of each class, finite and not negative: the weight of a row is multiplied by ``sum_i y_i class_weight_i``
        of its targets before smoothing, and counts so in the divisor of "mean".
    label_smoothing : float in [0, 1], default 0
        Targets become ``(1 - label_smoothing) * y + label_smoothing / C``, where C counts the classes of the row that
        are not masked (by -inf or `class_mask`).
    ignore_index : int, optional
        Rows with this label do not count: loss and gradient 0.
    class_mask : array_like of bool, shape (C,) or that of the logits, optional
        Classes left out of the softmax where True, whatever their score: probability and gradient 0. A target may not
        be among them, and every row must keep a class.
    temperature : float above 0, default 1
        What scores are divided by, last of all: ``z = (softcap tanh(logits / softcap) + logit_bias) / temperature``.
        What is beyond the range of the computing dtype then is infinite: -inf masks its class.
    temperature_grad : bool, default False
        Whether to return the derivative of the reduced loss by the temperature.
    softcap : float above 0, optional
        Scores are bent to stay below it, before bias and temperature; -inf remains a mask.
    logit_bias : array_like, shape (C,), optional
        Added to the scores, for instance the logarithm of class priors; -inf leaves a class out.
    z_loss : float, at least 0, default 0
        ``z_loss * logsumexp(z)^2`` is added to the loss of each row.
    reduction : {"mean", "sum", "none"}
        "mean" is the weighted average over the rows that count (0.0 if none does), "none" returns each row's loss.
    n_threads : int, optional
        How many threads to use at most; the result has the same bits for every number.

    Returns
    -------
    loss : float, or ndarray of shape (n,) with ``reduction="none"``
    grad : ndarray, if asked for
    hess : ndarray, if asked for
    temperature_grad : float, or ndarray of shape (n,) with ``reduction="none"``, if asked for

    Raises
    ------
    TypeError
        Labels that are not integers; arrays of objects, complex numbers, dates; masked arrays; buffers of another
        dtype.
    ValueError
        A label out of range or at a masked class; a negative or non-finite target or weight; a single class; shapes
        that do not match; an option outside its domain; malformed CSR; a buffer that is read-only or overlaps an input.
        Nothing has been written then.

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
    # By position, which for small arrays is a tenth of the call.
    arguments = (
        logits,
        targets,
        grad,
        hess,
        axis,
        sample_weight,
        class_weight,
        label_smoothing,
        ignore_index,
        class_mask,
        temperature,
        temperature_grad,
        softcap,
        logit_bias,
        z_loss,
        reduction,
        n_threads,
    )
    result = _softmax.quick(*arguments)
    return _softmax_loss(*arguments) if result is None else result


@overload
def softmax_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> float: ...


@overload
def softmax_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> np.ndarray: ...


@overload
def softmax_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def softmax_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def softmax_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def softmax_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def softmax_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    grad: Asked,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray, np.ndarray]: ...


@overload
def softmax_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    grad: Asked,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


@overload
def softmax_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    grad: bool | np.ndarray = False,
    hess: bool | np.ndarray = False,
    reduction: str = "mean",
    temperature_grad: Literal[True],
    **options: Unpack[SoftmaxOptions],
) -> tuple[Any, ...]: ...
def softmax_focal_loss(
    logits: Any,
    targets: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    **options: Any,
) -> Any:
    """Focal loss of exclusive classes, from scores: cross-entropy with the easy rows played down.

    For scores ``z`` and targets ``y`` of a row::

        loss = sum_i alpha_i y_i (1 - p_i)^gamma (-log p_i),    p = softmax(z)

    computed in log space: finite and exact however near p comes to 1, for every gamma.

    Parameters
    ----------
    logits, targets
        As in `softmax_cross_entropy`.
    gamma : float, at least 0, default 2
        How much is played down what is already likely; 0 is cross-entropy.
    alpha : float or array_like of shape (C,), optional
        Factor of the targets' terms, for all classes or each, at least 0; unlike `class_weight` it does not count in
        the divisor of "mean".
    **options
        ``grad``, ``hess``, ``reduction`` and all other options of `softmax_cross_entropy`, with the same meaning.

    Returns
    -------
    loss, and grad, hess, temperature_grad if asked for, as from `softmax_cross_entropy`

    Raises
    ------
    TypeError, ValueError
        As `softmax_cross_entropy`; a negative gamma or alpha.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> logits = np.array([[40, 0], [1, 2]], dtype=np.float32)
    >>> loss, grad = fx.softmax_focal_loss(logits, [0, 0], gamma=0.5, grad=True, reduction="none")
    >>> loss
    array([8.7565109e-27, 1.1228645e+00], dtype=float32)
    >>> grad
    array([[-1.3134767e-26,  1.3134767e-26],
           [-7.7606183e-01,  7.7606183e-01]], dtype=float32)

    Source: Lin et al., "Focal loss for dense object detection" (2017).
    """
    _validate.options("softmax_focal_loss", options, _OPTIONS)
    exponent = _validate.exponent("gamma", gamma)
    if exponent == 0.0 and alpha is None:
        return _softmax_loss(logits, targets, **options)
    return _softmax_loss(logits, targets, head="focal", parameter=exponent, alpha=alpha, **options)


@overload
def poly_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    epsilon: float = 1.0,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> float: ...


@overload
def poly_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    epsilon: float = 1.0,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> np.ndarray: ...


@overload
def poly_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    epsilon: float = 1.0,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def poly_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    epsilon: float = 1.0,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def poly_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    epsilon: float = 1.0,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def poly_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    epsilon: float = 1.0,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def poly_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    epsilon: float = 1.0,
    grad: Asked,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray, np.ndarray]: ...


@overload
def poly_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    epsilon: float = 1.0,
    grad: Asked,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


@overload
def poly_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    epsilon: float = 1.0,
    grad: bool | np.ndarray = False,
    hess: bool | np.ndarray = False,
    reduction: str = "mean",
    temperature_grad: Literal[True],
    **options: Unpack[SoftmaxOptions],
) -> tuple[Any, ...]: ...
def poly_cross_entropy(logits: Any, targets: Any, *, epsilon: float = 1.0, **options: Any) -> Any:
    """Poly-1 loss of exclusive classes, from scores: cross-entropy and a multiple of the target's missing probability.

    For scores ``z`` and targets ``y`` of a row::

        loss = sum_i y_i (-log p_i + epsilon (1 - p_i)),    p = softmax(z)

    Parameters
    ----------
    logits, targets
        As in `softmax_cross_entropy`.
    epsilon : float, at least -1, default 1
        What the first term of the series of ``-log p`` in ``1 - p`` is raised by; 0 is cross-entropy.
    **options
        ``grad``, ``hess``, ``reduction`` and all other options of `softmax_cross_entropy`, with the same meaning.

    Returns
    -------
    loss, and grad, hess, temperature_grad if asked for, as from `softmax_cross_entropy`

    Raises
    ------
    TypeError, ValueError
        As `softmax_cross_entropy`; an epsilon below -1.

    Examples
    --------
    >>> import fastxent as fx
    >>> fx.poly_cross_entropy([[20.0, 0.0]], [0])
    4.122307238504584e-09

    Source: Leng et al., "PolyLoss: a polynomial expansion perspective of classification loss functions" (2022).
    """
    _validate.options("poly_cross_entropy", options, _OPTIONS)
    first = _validate.number("epsilon", epsilon, -1.0, math.inf)
    return _softmax_loss(logits, targets, head="poly", parameter=first, **options)


@overload
def generalized_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    q: float = 0.7,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> float: ...


@overload
def generalized_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    q: float = 0.7,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> np.ndarray: ...


@overload
def generalized_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    q: float = 0.7,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def generalized_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    q: float = 0.7,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def generalized_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    q: float = 0.7,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def generalized_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    q: float = 0.7,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def generalized_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    q: float = 0.7,
    grad: Asked,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SoftmaxOptions],
) -> tuple[float, np.ndarray, np.ndarray]: ...


@overload
def generalized_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    q: float = 0.7,
    grad: Asked,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[SoftmaxOptions],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


@overload
def generalized_cross_entropy(
    logits: Any,
    targets: Any,
    *,
    q: float = 0.7,
    grad: bool | np.ndarray = False,
    hess: bool | np.ndarray = False,
    reduction: str = "mean",
    temperature_grad: Literal[True],
    **options: Unpack[SoftmaxOptions],
) -> tuple[Any, ...]: ...
def generalized_cross_entropy(logits: Any, targets: Any, *, q: float = 0.7, **options: Any) -> Any:
    """Generalised cross-entropy of exclusive classes, from scores: bounded, so that wrong labels count less.

    For scores ``z`` and targets ``y`` of a row::

        loss = sum_i y_i (1 - p_i^q) / q,    p = softmax(z)

    Parameters
    ----------
    logits, targets
        As in `softmax_cross_entropy`.
    q : float in (0, 1], default 0.7
        Towards 0 the loss becomes cross-entropy; at 1 it is ``1 - p``, half the mean absolute error.
    **options
        ``grad``, ``hess``, ``reduction`` and all other options of `softmax_cross_entropy`, with the same meaning.

    Returns
    -------
    loss, and grad, hess, temperature_grad if asked for, as from `softmax_cross_entropy`

    Raises
    ------
    TypeError, ValueError
        As `softmax_cross_entropy`; a q that is not in (0, 1].

    Examples
    --------
    >>> import fastxent as fx
    >>> fx.generalized_cross_entropy([[20.0, 0.0], [-20.0, 0.0]], [0, 0], reduction="none")
    array([2.06115362e-09, 1.42857024e+00])

    Source: Zhang and Sabuncu, "Generalized cross entropy loss for training deep neural networks with noisy labels"
    (2018).
    """
    _validate.options("generalized_cross_entropy", options, _OPTIONS)
    power = _validate.number("q", q, 0.0, 1.0)
    if power == 0.0:
        raise ValueError("q is 0: give a number above 0, or use softmax_cross_entropy, which is the limit")
    return _softmax_loss(logits, targets, head="generalized", parameter=power, **options)


def softmax_cross_entropy_hvp(
    logits: Any,
    targets: Any,
    v: Any,
    *,
    out: Any = None,
    axis: int = -1,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    class_mask: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_bias: Any = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> np.ndarray:
    """Product of the Hessian of `softmax_cross_entropy` by the scores with a vector, in one pass.

    For scores ``z``, targets ``y`` and a vector ``v`` of a row::

        (H v)_i = (sum_j y_j) p_i (v_i - sum_j p_j v_j),    p = softmax(z)

    and accordingly with the options. The Hessian of the reduced loss has one block for each row; none is ever formed.

    Parameters
    ----------
    logits, targets
        As in `softmax_cross_entropy`.
    v : array_like, the shape of the logits
        Real numbers of any dtype, rounded to that of the logits.
    out : ndarray, optional
        The array to write to, of the shape and dtype of the logits; the logits themselves are allowed.
    axis, sample_weight, class_weight, label_smoothing, ignore_index, class_mask, temperature, softcap, logit_bias, \
    z_loss, reduction, n_threads
        As in `softmax_cross_entropy`; with ``reduction="none"`` every row's own Hessian.

    Returns
    -------
    ndarray of the shape of the logits

    Raises
    ------
    TypeError, ValueError
        As `softmax_cross_entropy`.

    Examples
    --------
    >>> import fastxent as fx
    >>> fx.softmax_cross_entropy_hvp([[20.0, 0.0]], [0], [[1.0, 0.0]])
    array([[ 2.06115361e-09, -2.06115361e-09]])

    Source: Pearlmutter, "Fast exact multiplication by the Hessian" (1994).
    """
    if isinstance(out, bool):
        raise TypeError(f"out is {out}: give an array to write into, or None for a new one")
    if v is None:
        raise TypeError("v is None: give a vector of the shape of the logits")
    results = _softmax_loss(
        logits,
        targets,
        vector=v,
        grad=True if out is None else out,
        axis=axis,
        sample_weight=sample_weight,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        class_mask=class_mask,
        temperature=temperature,
        softcap=softcap,
        logit_bias=logit_bias,
        z_loss=z_loss,
        reduction=reduction,
        n_threads=n_threads,
    )
    product: np.ndarray = results[1]
    return product


def _softmax_loss(
    logits: Any,
    targets: Any,
    grad: Any = False,
    hess: Any = False,
    axis: Any = -1,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: Any = 0.0,
    ignore_index: Any = None,
    class_mask: Any = None,
    temperature: Any = 1.0,
    temperature_grad: Any = False,
    softcap: Any = None,
    logit_bias: Any = None,
    z_loss: Any = 0.0,
    reduction: Any = "mean",
    n_threads: Any = None,
    head: str = "cross_entropy",
    parameter: float = 0.0,
    alpha: Any = None,
    vector: Any = None,
) -> Any:
    """Check, allocate, run the row loop, put the results together."""
    scores = _validate.float_array("logits", logits)
    axis = 1 if axis == -1 and scores.ndim == 2 else _validate.class_axis(scores, axis)
    shape = scores.shape
    rows = shape[:axis] + shape[axis + 1 :]
    classes = shape[axis]
    if classes < 2:
        raise _validate.too_few_classes(classes, axis)
    reduction = _validate.reduction_of(reduction)
    smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
    z_factor = _validate.number("z_loss", z_loss, 0.0, math.inf)
    ignored = None if ignore_index is None else _validate.ignored(ignore_index)
    labels, dense, sparse = checked = _validate.targets_of(targets, scores, axis, rows, ignored)
    weights = None if sample_weight is None else _validate.weights_of("sample_weight", sample_weight, rows)
    dtypes = _validate.output_dtypes(scores)
    single = dtypes[0].itemsize == 4
    alphas = None if alpha is None else _alpha_of(alpha, classes)

    mask = None if class_mask is None else _validate.mask_of(class_mask, scores, axis)
    transform = None
    if not (
        type(temperature) is float
        and temperature == 1.0
        and temperature_grad is False
        and softcap is None
        and logit_bias is None
        and mask is None
    ):
        transform = _transform(temperature, temperature_grad, softcap, logit_bias, mask, classes)

    in_place = False
    inputs: tuple[tuple[str, Any], ...] = ()
    if not ((grad is True or grad is False) and (hess is True or hess is False)):
        inputs = (("logits", scores), ("logits", logits), ("targets", targets), ("targets", labels))
        inputs += (("targets", dense), ("sample_weight", sample_weight), ("sample_weight", weights))
        inputs += (("class_mask", mask), ("class_weight", class_weight), ("logit_bias", logit_bias), ("v", vector))
        inputs = tuple(pair for pair in (*inputs, ("alpha", alpha)) if pair[1] is not None)
    # Before rounding may hide it. Without buffers nothing is lost if the row loop finds what must be refused.
    if sparse is not None and single:
        _validate.check_finite_floats(sparse, shape)
    if dense is not None and (
        dense.dtype != dtypes[0]
        or ((inputs or class_weight is not None) and _softmax.has_bad_dense(dense, single, n_threads))
    ):
        _validate.check_dense(dense, dtypes[0], shape, axis)
    if mask is not None and inputs and _softmax.has_masked_target(mask, *checked, ignored, n_threads):
        _validate.check_mask(mask, checked, ignored, rows)
    if vector is not None:
        vector = _validate.real_array("v", vector)
        if vector.shape != shape:
            raise ValueError(f"v has shape {vector.shape}, logits {shape}: give a vector of the same shape")
    if class_weight is not None:
        factors = _validate.per_class("class_weight", class_weight, classes, 0.0, math.inf, _validate.WEIGHTS)
        if reduction == "mean":
            factors = _validate.multipliable(weights, factors)
        weights = _softmax.class_weighted(
            math.prod(rows), classes, labels, dense, sparse, weights, ignored, single, factors, n_threads
        )
    if reduction == "mean":
        weights = _validate.moderate(weights)
    grad_out = _validate.output("grad" if vector is None else "out", grad, scores, dtypes, inputs, "logits")
    hess_out = _validate.output("hess", hess, scores, dtypes, inputs, "logits")
    if inputs:
        _validate.separate(grad_out, hess_out)
        in_place = _validate.is_any(scores, grad_out, hess_out)

    grad_rows = None if grad_out is None else _validate.as_rows(grad_out, axis)
    hess_rows = None if hess_out is None else _validate.as_rows(hess_out, axis)
    derivative = np.empty(math.prod(rows)) if temperature_grad else None
    loss = _softmax.loss(
        _validate.as_rows(scores, axis),
        labels,
        dense,
        sparse,
        weights,
        head,
        parameter,
        alphas,
        smoothing,
        z_factor,
        transform,
        ignored,
        reduction,
        grad_rows,
        hess_rows,
        None if vector is None else _validate.as_rows(vector, axis),
        in_place,
        derivative,
        n_threads,
    )
    if loss is None:
        if dense is not None:
            _validate.check_dense(dense, dtypes[0], shape, axis)
        assert mask is not None
        _validate.check_mask(mask, checked, ignored, rows)
    if reduction == "none":
        loss = loss.reshape(rows)
    if grad_out is None and hess_out is None and derivative is None:
        return loss
    results: tuple[Any, ...] = (loss,)
    if grad_out is not None:
        _validate.put_back(grad_out, grad_rows, axis)
        results += (grad_out,)
    if hess_out is not None:
        _validate.put_back(hess_out, hess_rows, axis)
        results += (hess_out,)
    if derivative is None:
        return results
    if reduction == "none":
        with np.errstate(over="ignore", under="ignore"):
            return (*results, derivative.astype(loss.dtype).reshape(rows))
    return (*results, float(derivative.sum()))


def _alpha_of(alpha: Any, classes: int) -> np.ndarray:
    """A factor for each class."""
    if np.ndim(alpha) == 0:
        return np.full(classes, _validate.number("alpha", alpha, 0.0, math.inf))
    return _validate.per_class("alpha", alpha, classes, 0.0, math.inf, "factors are finite and not negative")


def _transform(
    temperature: Any, temperature_grad: Any, softcap: Any, logit_bias: Any, mask: np.ndarray | None, classes: int
) -> tuple[float, float, float, np.ndarray | None, np.ndarray | None] | None:
    """What scores go through before the softmax, if anything; 1 / temperature as a sum of two."""
    _validate.flag("temperature_grad", temperature_grad)
    kelvin = _validate.above_zero("temperature", temperature)
    if kelvin == 1.0 and not temperature_grad and softcap is None and logit_bias is None and mask is None:
        return None
    cap = 0.0 if softcap is None else _validate.above_zero("softcap", softcap)
    bias = None
    if logit_bias is not None:
        rule = "a bias is finite, or -inf to leave a class out"
        bias = _validate.per_class("logit_bias", logit_bias, classes, -math.inf, math.inf, rule)
    inverse = 1.0 / kelvin
    # 1 / kelvin - inverse as a fraction of integers, whose division is rounded once.
    (a, b), (p, q) = inverse.as_integer_ratio(), kelvin.as_integer_ratio()
    return inverse, (q * b - a * p) / (p * b), cap, bias, mask
