"""Losses of two outcomes or several, from probabilities."""

from __future__ import annotations

import math
from typing import Any, Literal, Unpack, overload

import numpy as np

from fastxent import _memory, _probability, _sigmoid, _validate
from fastxent._typing import Asked, BinaryOptions, CategoricalOptions, Reduced


@overload
def binary_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[BinaryOptions],
) -> float: ...


@overload
def binary_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[BinaryOptions],
) -> np.ndarray: ...


@overload
def binary_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[BinaryOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def binary_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[BinaryOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def binary_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[BinaryOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def binary_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[BinaryOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def binary_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[BinaryOptions],
) -> tuple[float, np.ndarray, np.ndarray]: ...


@overload
def binary_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[BinaryOptions],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def binary_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Any = False,
    hess: Any = False,
    sample_weight: Any = None,
    pos_weight: Any = 1.0,
    label_smoothing: float = 0.0,
    eps: float = 0.0,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> Any:
    """Binary cross-entropy between probabilities and targets, element by element, with its gradient in one pass.

    For a probability ``p`` and a target ``y``::

        loss = -(pos_weight y log(p) + (1 - y) log(1 - p))
        d loss / dp = (1 - y) / (1 - p) - pos_weight y / p

    the logarithms being those of the very ``p`` that is given, next to 0 and to 1 too. Where there are scores,
    `sigmoid_cross_entropy` is more exact: in float32 no probability lies between 1 - 6e-8 and 1.

    Parameters
    ----------
    probabilities : array_like, any shape
        In [0, 1]. float32 and float64 are used as they are; float16 and bfloat16 are widened piece by piece, integers
        converted to float64. Nothing is clipped: 0 where the target is 1 has the loss inf and the gradient -inf.
    targets : array_like or scipy.sparse CSR, the shape of the probabilities
        Labels 0 and 1 of any real dtype or bool, or probabilities in between, rounded to the dtype of `probabilities`.
        What has weight zero does not count: ``0 log(0) = 0``.
    grad : bool or ndarray, default False
        Whether to return the gradient of the reduced loss, with respect to the probabilities; or the array to write it
        to, of their shape and dtype (for 16-bit ones: float32 or their dtype). The probabilities themselves: in place.
    hess : bool or ndarray, default False
        The same for the second derivative, ``(1 - y) / (1 - p)^2 + pos_weight y / p^2``.
    sample_weight : array_like, optional
        Weights, finite and not negative, of the shape of the probabilities or of its first axis (one for a row).
        Elements of weight 0 do not count, whatever they hold.
    pos_weight : float or array_like, shape (C,), default 1
        Factor of the term of positive targets, at least 0; an array has one for each place of the last axis.
    label_smoothing : float in [0, 1], default 0
        Targets become ``(1 - label_smoothing) * y + label_smoothing / 2``.
    eps : float in [0, 0.5], default 0
        Probabilities are clipped to [eps, 1 - eps] first. The gradient is that of the function computed: 0 where a
        probability is outside of that.
    reduction : {"mean", "sum", "none"}
        "mean" is the weighted average over elements (0.0 if all weights are 0), "none" returns each element's loss.
    n_threads : int, optional
        How many threads to use at most; the result has the same bits for every number.

    Returns
    -------
    loss : float, or ndarray of the shape of the probabilities with ``reduction="none"``
    grad : ndarray, if asked for
    hess : ndarray, if asked for

    Raises
    ------
    TypeError
        Arrays of objects, complex numbers, dates; masked arrays; buffers of another dtype.
    ValueError
        A probability or a target outside [0, 1]; shapes that differ; malformed CSR; a buffer that is read-only or
        overlaps an input. Nothing has been written then.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> p = np.array([0.5, 0.25, 1e-20, 1.0])
    >>> loss, grad = fx.binary_cross_entropy(p, [1, 0, 0, 1], grad=True, reduction="none")
    >>> loss
    array([6.93147181e-01, 2.87682072e-01, 1.00000000e-20, 0.00000000e+00])
    >>> grad
    array([-2.        ,  1.33333333,  1.        , -1.        ])
    >>> fx.binary_cross_entropy([1.0, 0.5], [0, 1])
    inf
    >>> round(fx.binary_cross_entropy([1.0, 0.5], [0, 1], eps=1e-7), 6)
    8.405621

    Source: Good, "Rational decisions" (1952), the logarithmic score.
    """
    p = _validate.float_array("probabilities", probabilities)
    reduction = _validate.reduction_of(reduction)
    smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
    bound = _validate.number("eps", eps, 0.0, 0.5)
    positive = _validate.factors("pos_weight", pos_weight, p.shape, 0.0, math.inf)
    dense = sparse = None
    if _validate.is_sparse(targets):
        sparse = _validate.sparse_outcomes(targets, p.shape, "probabilities")
    else:
        dense = _validate.real_array("targets", targets)
        if dense.shape != p.shape:
            raise ValueError(
                f"targets have shape {dense.shape}, probabilities {p.shape}: targets go element by element,"
                " use categorical_cross_entropy for class labels; targets are never broadcast"
            )
    weights, row_weights = _validate.element_weights("sample_weight", sample_weight, p.shape, "probabilities")

    inputs: tuple[tuple[str, Any], ...] = ()
    dtypes = _validate.output_dtypes(p)
    if not ((grad is True or grad is False) and (hess is True or hess is False)):
        inputs = (("probabilities", p), ("probabilities", probabilities), ("targets", targets), ("targets", dense))
        inputs += (("sample_weight", sample_weight), ("sample_weight", weights), ("sample_weight", row_weights))
        inputs += (("pos_weight", pos_weight), ("pos_weight", positive))
    # CSR targets need the columns of the matrix.
    p_rows = _validate.as_elements(p) if sparse is None else _validate.as_rows(p, 1)
    # Without buffers nothing is lost if the row loop finds what must be refused, as it does in its own dtype.
    if (
        dense is not None
        and (inputs or dense.dtype != dtypes[0])
        and _probability.any_outside(_validate.as_elements(dense), True, n_threads)
    ):
        _validate.check_probabilities("targets", dense)
    if inputs and _probability.any_outside(p_rows, False, n_threads):
        _validate.check_outcomes(p, weights, row_weights)
    grad_out = _validate.output("grad", grad, p, dtypes, inputs, "probabilities")
    hess_out = _validate.output("hess", hess, p, dtypes, inputs, "probabilities")
    _validate.separate(grad_out, hess_out)
    losses = _memory.empty_like(p, dtypes[0]) if reduction == "none" else None

    total_weight = 1.0
    if reduction == "mean":
        weights, row_weights = _validate.moderate(weights), _validate.moderate(row_weights)
        total_weight = float(p.size)
        if weights is not None:
            total_weight = _sigmoid.total(_validate.as_elements(weights))
        elif row_weights is not None:
            total_weight = math.fsum(row_weights) * (p.size / max(1, len(row_weights)))
    losses_rows, grad_rows, hess_rows = (_elements(array) for array in (losses, grad_out, hess_out))
    loss = _probability.binary(
        p_rows,
        _elements(dense),
        sparse,
        _elements(weights),
        row_weights,
        total_weight,
        smoothing,
        positive,
        bound,
        losses_rows,
        grad_rows,
        hess_rows,
        n_threads,
    )
    if loss is None:
        _validate.check_outcomes(p, weights, row_weights)
        assert dense is not None
        _validate.check_probabilities("targets", dense)
    for out, rows in ((losses, losses_rows), (grad_out, grad_rows), (hess_out, hess_rows)):
        if out is not None:
            _validate.put_back(out, rows, out.ndim - 1)
    results = tuple(out for out in (grad_out, hess_out) if out is not None)
    value = loss if losses is None else losses
    return (value, *results) if results else value


def _elements(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else _validate.as_elements(array)


@overload
def categorical_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[CategoricalOptions],
) -> float: ...


@overload
def categorical_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[CategoricalOptions],
) -> np.ndarray: ...


@overload
def categorical_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[CategoricalOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def categorical_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[CategoricalOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def categorical_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[CategoricalOptions],
) -> tuple[float, np.ndarray]: ...


@overload
def categorical_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[CategoricalOptions],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def categorical_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[CategoricalOptions],
) -> tuple[float, np.ndarray, np.ndarray]: ...


@overload
def categorical_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Asked,
    hess: Asked,
    reduction: Literal["none"],
    **options: Unpack[CategoricalOptions],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def categorical_cross_entropy(
    probabilities: Any,
    targets: Any,
    *,
    grad: Any = False,
    hess: Any = False,
    axis: int = -1,
    sample_weight: Any = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    eps: float = 0.0,
    normalize: bool = False,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> Any:
    """Cross-entropy between probabilities of classes and labels or distributions, with its gradient in one pass.

    For probabilities ``p`` and targets ``y`` of a row::

        loss = -sum_i y_i log(p_i)
        d loss / d p_i = -y_i / p_i

    or, with ``normalize=True``, for ``q = p / S`` with ``S = sum_i p_i``::

        loss = -sum_i y_i log(q_i)
        d loss / d p_i = (sum_j y_j) / S - y_i / p_i

    where nothing cancels: the loss at a label is ``log1p`` of the others' sum divided by ``p_i``. The gradient is with
    respect to the probabilities, each taken for itself. Where there are scores, use `softmax_cross_entropy`.

    Parameters
    ----------
    probabilities : array_like, shape (n, C), or any rank with `axis`
        In [0, 1]; with `normalize` any masses, finite and not negative. float32 and float64 are used as they are;
        float16 and bfloat16 are widened row by row, integers converted to float64. At least two classes. Nothing is
        clipped: 0 at the label has the loss inf and the gradient -inf.
    targets : array_like or scipy.sparse CSR
        Told apart by type: integer labels (n,) in [0, C); a dense distribution (n, C) of any real dtype, rounded
        to that of the probabilities; a CSR array (n, C). Rows of distributions need not sum to one. What has weight
        zero does not count: ``0 log(0) = 0``.
    grad : bool or ndarray, default False
        Whether to return the gradient of the reduced loss; or the array to write it to, of the shape and dtype of the
        probabilities (for 16-bit ones: float32 or their dtype). The probabilities themselves: in place.
    hess : bool or ndarray, default False
        The same for the diagonal of the Hessian, ``y_i / p_i^2``, with `normalize` less ``(sum_j y_j) / S^2``.
    axis : int, default -1
        The axis of the classes.
    sample_weight : array_like, shape (n,), optional
        Weight of each row, finite and not negative. Rows of weight 0 do not count, whatever they hold.
    class_weight : array_like, shape (C,), optional
        Weights of classes, finite and not negative. A row's weight is multiplied by ``sum_i y_i class_weight_i``, of
        the targets before smoothing, in the divisor of the mean too.
    label_smoothing : float in [0, 1], default 0
        Targets become ``(1 - label_smoothing) * y + label_smoothing / C``.
    ignore_index : int, optional
        Rows with this label do not count: loss and gradient 0.
    eps : float in [0, 0.5], default 0
        Probabilities, normalised if asked for, are clipped to [eps, 1 - eps]. The gradient is that of the function
        computed: no term of a class whose probability is outside of that.
    normalize : bool, default False
        Divide each row by its sum.
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
        A probability outside [0, 1]; a row to be normalised whose sum is 0; a label out of range; a negative or
        non-finite target or weight; a single class; shapes that do not match; malformed CSR; a buffer that is read-only
        or overlaps an input. Nothing has been written then.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> p = np.array([[0.25, 0.75], [1.0, 0.0]])
    >>> loss, grad = fx.categorical_cross_entropy(p, [0, 0], grad=True, reduction="none")
    >>> loss
    array([1.38629436, 0.        ])
    >>> grad
    array([[-4.,  0.],
           [-1.,  0.]])
    >>> fx.categorical_cross_entropy([[3, 1], [1, 1]], [0, 1], normalize=True, reduction="none")
    array([0.28768207, 0.69314718])

    Source: Good, "Rational decisions" (1952), the logarithmic score.
    """
    p = _validate.float_array("probabilities", probabilities)
    axis = 1 if axis == -1 and p.ndim == 2 else _validate.class_axis(p, axis, "probabilities")
    shape = p.shape
    rows = shape[:axis] + shape[axis + 1 :]
    if shape[axis] < 2:
        raise ValueError(
            f"probabilities have {shape[axis]} column(s) along axis {axis}: a distribution needs two classes or more,"
            " use binary_cross_entropy for a single probability"
        )
    reduction = _validate.reduction_of(reduction)
    smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
    bound = _validate.number("eps", eps, 0.0, 0.5)
    _validate.flag("normalize", normalize)
    ignored = None if ignore_index is None else _validate.ignored(ignore_index)
    labels, dense, sparse = _validate.targets_of(
        targets, p, axis, rows, ignored, "probabilities", "binary_cross_entropy"
    )
    given = None if sample_weight is None else _validate.weights_of("sample_weight", sample_weight, rows)
    by_class = None
    if class_weight is not None:
        by_class = _validate.per_class("class_weight", class_weight, shape[axis], 0.0, math.inf, _validate.WEIGHTS)

    inputs: tuple[tuple[str, Any], ...] = ()
    dtypes = _validate.output_dtypes(p)
    if not ((grad is True or grad is False) and (hess is True or hess is False)):
        inputs = (("probabilities", p), ("probabilities", probabilities), ("targets", targets), ("targets", labels))
        inputs += (("targets", dense), ("sample_weight", sample_weight), ("sample_weight", given))
        inputs += (("class_weight", class_weight), ("class_weight", by_class))
    # The row loop finds what must be refused, in its own dtype. Without buffers nothing is lost then; with buffers it
    # goes through all rows first.
    if dense is not None and (dense.dtype != dtypes[0] or by_class is not None):
        _validate.check_dense(dense, dtypes[0], shape, axis)
    if sparse is not None and dtypes[0].itemsize == 4:
        _validate.check_finite_floats(sparse, shape)
    if reduction == "mean" and by_class is not None:
        by_class = _validate.multipliable(given, by_class)
    weights = given
    if by_class is not None or ignored is not None:
        weights = _probability.row_weights(
            math.prod(rows), shape[axis], labels, dense, sparse, by_class, given, ignored
        )
    if reduction == "mean":
        weights = _validate.moderate(weights)

    # Fresh memory is zero, and most of a gradient stays so.
    zeros = p.flags.c_contiguous and not inputs
    grad_out, hess_out = (
        np.zeros(shape, dtypes[0])
        if asked is True and zeros
        else _validate.output(name, asked, p, dtypes, inputs, "probabilities")
        for name, asked in (("grad", grad), ("hess", hess))
    )
    _validate.separate(grad_out, hess_out)

    p_rows = _validate.as_rows(p, axis)
    grad_rows = None if grad_out is None else _validate.as_rows(grad_out, axis)
    hess_rows = None if hess_out is None else _validate.as_rows(hess_out, axis)

    def run(grad: np.ndarray | None, hess: np.ndarray | None, checking: bool, sound: bool) -> Any:
        loss = _probability.categorical(
            p_rows,
            labels,
            dense,
            sparse,
            weights,
            smoothing,
            bool(normalize),
            bound,
            reduction,
            grad,
            hess,
            zeros,
            checking,
            sound,
            n_threads,
        )
        if loss is None:
            if dense is not None:
                _validate.check_dense(dense, dtypes[0], shape, axis)
            _validate.check_distributions(p, axis, weights, bool(normalize))
        return loss

    sound = bool(inputs) and run(None, None, True, False)
    loss = run(grad_rows, hess_rows, False, sound)
    if reduction == "none":
        loss = loss.reshape(rows)
    results = []
    for out, written in ((grad_out, grad_rows), (hess_out, hess_rows)):
        if out is not None:
            _validate.put_back(out, written, axis)
            results.append(out)
    return (loss, *results) if results else loss
