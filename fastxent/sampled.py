"""Losses over millions of classes, of which each call looks at a sample."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypedDict, Unpack, overload

import numpy as np

from fastxent import _kernels, _memory, _sampled, _validate
from fastxent._blas import serial_blas
from fastxent._typing import Asked, Reduced
from fastxent.row_sparse import RowSparse
from fastxent.softmax import softmax_cross_entropy

# Rows whose scores are held at a time: the products need some hundred to be fast, and the memory is to stay in
# proportion to that of the rows of weights and inputs.
_MOST_ROWS, _LEAST_ROWS = 1024, 16


class SampledGradient(NamedTuple):
    """The gradient of a sampled loss.

    Parameters
    ----------
    inputs : ndarray, shape (n, d)
    weight : RowSparse, shape (n_classes, d)
        By the classes that were sampled or true, in rising order and each once.
    bias : RowSparse, shape (n_classes,), or None where there is no bias
        The same.
    """

    inputs: np.ndarray
    weight: RowSparse
    bias: RowSparse | None


class SampledOptions(TypedDict, total=False):
    """Options that do not change what a sampled loss returns."""

    sampler: Any
    sampled: Any
    num_sampled: int | None
    remove_accidental_hits: bool
    sample_weight: Any
    n_threads: int | None


class SampledSoftmaxOptions(SampledOptions, total=False):
    """The same of the sampled softmax."""

    label_smoothing: float


@overload
def sampled_softmax_loss(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    *,
    grad: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SampledSoftmaxOptions],
) -> float: ...


@overload
def sampled_softmax_loss(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    *,
    grad: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SampledSoftmaxOptions],
) -> np.ndarray: ...


@overload
def sampled_softmax_loss(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    *,
    grad: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SampledSoftmaxOptions],
) -> tuple[float, SampledGradient]: ...


@overload
def sampled_softmax_loss(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    *,
    grad: Asked,
    reduction: Literal["none"],
    **options: Unpack[SampledSoftmaxOptions],
) -> tuple[np.ndarray, SampledGradient]: ...
def sampled_softmax_loss(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    *,
    sampler: Any = None,
    sampled: Any = None,
    num_sampled: int | None = None,
    grad: Any = False,
    remove_accidental_hits: bool = True,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> Any:
    """Softmax cross-entropy over the true classes of a row and a sample of all others, for training.

    For the true classes T of a row with inputs x, sampled classes S, and expected counts q::

        z_c = weight_c . x + bias_c - log q_c,    c in T and in S
        loss = mean_{t in T} (logsumexp(z) - z_t)

    Subtracting log q makes up for the sampling: the weights that minimise the loss are those of the full softmax, and
    its gradient comes to that of the full softmax as the sample grows. What is sampled and true at once is left out
    among the sampled ones, wherever it stands.

    Parameters
    ----------
    weight : array_like, shape (n_classes, d)
        A row for each class; only those that are needed are read. float32 or float64; the wider of `weight` and
        `inputs` is computed with.
    bias : array_like of shape (n_classes,), or None
        Added to the scores.
    inputs : array_like, shape (n, d)
        What the scores are linear in, a row for each example.
    labels : array_like of integers, shape (n,) or (n, num_true)
        The true classes of each row, in [0, n_classes) and different ones.
    sampler : sampler of `fastxent.samplers`, or an object with a method ``sample(labels, num_sampled)``
        Draws `num_sampled` classes for the whole batch.
    sampled : tuple (ids, true_expected, sampled_expected)
        In place of a sampler: classes that were sampled, of shape (num_sampled,), with the expected counts of the true
        and the sampled ones, (n, num_true) and (num_sampled,); as from a sampler, here or in TensorFlow.
    num_sampled : int, at least 1
        How many classes to sample.
    grad : bool or ndarray, default False
        Whether to return the gradient of the reduced loss (with "none": of the sum of the losses); or the array to
        write that of the inputs to, of their shape and dtype, which may be `inputs` itself.
    remove_accidental_hits : bool, default True
        Whether to leave out sampled classes that are true ones of the row.
    sample_weight : array_like, shape (n,), optional
        Weight of each row, finite and not negative. Rows of weight 0 do not count, whatever their inputs.
    label_smoothing : float in [0, 1], default 0
        So much of the targets is spread over all classes in the row's softmax, evenly.
    reduction : {"mean", "sum", "none"}
        "mean" is the weighted average over rows (0.0 if there is none), "none" returns each row's loss.
    n_threads : int, optional
        How many threads to use at most; the result has the same bits for every number.

    Returns
    -------
    loss : float, or ndarray of shape (n,) with ``reduction="none"``
    grad : SampledGradient (inputs, weight, bias), if asked for
        That of the inputs is an array; those of weight and bias are `RowSparse`, never arrays of all classes.

    Raises
    ------
    TypeError
        Labels or ids that are not integers; both or neither of `sampler` and `sampled`.
    ValueError
        A class out of range, or with an expected count of 0; a true class twice in a row; more unique classes than
        there are; shapes that do not match; an option outside its domain; a buffer that is read-only or overlaps
        another argument. Nothing has been written then.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> from fastxent.samplers import LogUniformSampler
    >>> rng = np.random.default_rng(0)
    >>> weight, bias = 0.1 * rng.standard_normal((100_000, 8)), np.zeros(100_000)
    >>> inputs, labels = rng.standard_normal((4, 8)), [0, 17, 3, 99_999]
    >>> loss, grad = fx.sampled_softmax_loss(
    ...     weight, bias, inputs, labels, sampler=LogUniformSampler(100_000, rng=0), num_sampled=64, grad=True
    ... )
    >>> grad.inputs.shape, grad.weight.shape
    ((4, 8), (100000, 8))
    >>> grad.weight.sgd(weight, learning_rate=0.1)

    Sources: Jean, Cho, Memisevic and Bengio, "On using very large target vocabulary" (2015); TensorFlow, "Candidate
    sampling algorithms reference".
    """
    smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
    call = _checked(
        weight,
        bias,
        inputs,
        labels,
        sampler,
        sampled,
        num_sampled,
        grad,
        remove_accidental_hits,
        sample_weight,
        reduction,
        n_threads,
    )
    with serial_blas:
        return _loss(call, smoothing, remove_accidental_hits, reduction, n_threads)


@overload
def nce_loss(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    *,
    grad: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[SampledOptions],
) -> float: ...


@overload
def nce_loss(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    *,
    grad: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[SampledOptions],
) -> np.ndarray: ...


@overload
def nce_loss(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    *,
    grad: Asked,
    reduction: Reduced = "mean",
    **options: Unpack[SampledOptions],
) -> tuple[float, SampledGradient]: ...


@overload
def nce_loss(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    *,
    grad: Asked,
    reduction: Literal["none"],
    **options: Unpack[SampledOptions],
) -> tuple[np.ndarray, SampledGradient]: ...
def nce_loss(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    *,
    sampler: Any = None,
    sampled: Any = None,
    num_sampled: int | None = None,
    grad: Any = False,
    remove_accidental_hits: bool = False,
    sample_weight: Any = None,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> Any:
    """Noise-contrastive estimation: are these classes true ones or sampled ones, for training.

    For the true classes T of a row with inputs x, sampled classes S, and expected counts q::

        z_c = weight_c . x + bias_c - log q_c,    c in T and in S
        loss = sum_{t in T} (y softplus(-z_t) + (1 - y) softplus(z_t)) + sum_{s in S} softplus(z_s)

    with targets ``y = 1 / num_true``, as TensorFlow has it. Where each row has one true class, the scores that minimise
    it are the logarithms of the probabilities of the classes, normalised by themselves. With
    ``remove_accidental_hits=True`` it is the sampled logistic loss, in which what is true is no example of what is not.

    Parameters
    ----------
    weight, bias, inputs, labels, sampler, sampled, num_sampled, grad, sample_weight, reduction, n_threads
        As in `sampled_softmax_loss`.
    remove_accidental_hits : bool, default False
        Whether to leave out sampled classes that are true ones of the row.

    Returns
    -------
    loss : float, or ndarray of shape (n,) with ``reduction="none"``
    grad : SampledGradient (inputs, weight, bias), if asked for

    Raises
    ------
    TypeError, ValueError
        As `sampled_softmax_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> weight, bias, inputs = np.zeros((5, 2)), np.zeros(5), np.ones((1, 2))
    >>> sampled = ([1, 4, 4], [[1.0]], [1.0, 2.0, 2.0])  # ids, expected counts of true and sampled classes
    >>> loss, grad = fx.nce_loss(weight, bias, inputs, [0], sampled=sampled, grad=True)
    >>> round(loss, 6)  # 2 log(2) + 2 log(3/2)
    2.197225
    >>> grad.bias.ids.tolist(), grad.bias.values.round(4).tolist()
    ([0, 1, 4], [-0.5, 0.5, 0.6667])

    Sources: Gutmann and Hyvarinen, "Noise-contrastive estimation" (2010); Mnih and Teh, "A fast and simple algorithm
    for training neural probabilistic language models" (2012).
    """
    call = _checked(
        weight,
        bias,
        inputs,
        labels,
        sampler,
        sampled,
        num_sampled,
        grad,
        remove_accidental_hits,
        sample_weight,
        reduction,
        n_threads,
    )
    with serial_blas:
        return _loss(call, None, remove_accidental_hits, reduction, n_threads)


class _Call(NamedTuple):
    """What has been checked: arrays as they were given; classes and the logarithms of their expected counts; whether
    there is to be a gradient, and where that of the inputs goes if not into a new array."""

    weight: np.ndarray
    bias: np.ndarray | None
    inputs: np.ndarray
    true: np.ndarray
    true_log: np.ndarray
    ids: np.ndarray
    ids_log: np.ndarray
    row_weights: np.ndarray | None
    grad: bool
    out: np.ndarray | None


def _checked(
    weight: Any,
    bias: Any,
    inputs: Any,
    labels: Any,
    sampler: Any,
    sampled: Any,
    num_sampled: Any,
    grad: Any,
    remove: Any,
    sample_weight: Any,
    reduction: Any,
    n_threads: Any,
) -> _Call:
    """Check all that can be before anything is drawn; then draw."""
    w, b, x = _validate.linear_parts(weight, bias, inputs)
    true = _validate.candidate_labels(labels, len(w))
    if len(true) != len(x):
        raise ValueError(f"labels have shape {np.shape(labels)}, inputs {x.shape}: give the true classes of each row")
    _validate.check_different(true)
    _validate.flag("remove_accidental_hits", remove)
    _validate.reduction_of(reduction)
    row_weights = _validate.weights_of("sample_weight", sample_weight, (len(x),))
    _kernels.check_threads(n_threads)
    out = None
    if not isinstance(grad, (bool, np.bool_)):
        given = {"weight": w, "bias": b, "inputs": x, "labels": true, "sample_weight": row_weights}
        arrays = tuple((name, array) for name, array in given.items() if array is not None)
        out = _validate.buffer("grad", grad, x, _validate.output_dtypes(x), arrays, "inputs")
    parts = _validate.sampled_of(sampler, sampled, num_sampled, true, len(w))
    with np.errstate(divide="ignore"):
        logs = np.log(parts[1]), np.log(parts[2])
    return _Call(w, b, x, true, logs[0], parts[0], logs[1], row_weights, out is not None or bool(grad), out)


def _loss(call: _Call, smoothing: float | None, remove: bool, reduction: str, n_threads: int | None) -> Any:
    """The softmax loss, or NCE if `smoothing` is None: block by block of rows."""
    from fastxent import _linear  # half a second, for SciPy's linear algebra

    w, b, x, true, true_log, ids, ids_log, row_weights, grad, out = call
    dtype = np.result_type(_validate.output_dtypes(w)[0], _validate.output_dtypes(x)[0])
    n, d = x.shape
    scales, live = _scales(row_weights, n, reduction)
    if live is not None:
        x, true, true_log, scales = x[live], true[live], true_log[live], scales[live]
    rows, num_true, count = len(x), true.shape[1], len(ids)

    # A column more: offsets of the weights, ones of the inputs.
    inputs = np.empty((rows, d + 1), dtype)
    with np.errstate(over="ignore"):
        inputs[:, :d] = x
    inputs[:, d] = 1
    of_sampled = _with_offsets(w, b, ids, ids_log, dtype, n_threads)
    of_true = _with_offsets(w, b, true.reshape(-1), true_log.reshape(-1), dtype, n_threads)
    true_scores = np.empty((rows, num_true), dtype)
    _sampled.true_logits(inputs, of_true, true_scores)
    hit_rows, hit_places = accidental_hits(true, ids) if remove else (np.empty(0, np.int64),) * 2

    losses = np.zeros(rows)
    if smoothing is None:
        _sampled.sigmoid_rows(true_scores, 1 / num_true, scales, losses, grad, n_threads)
    direct = out is not None and live is None and out.dtype == dtype and out.flags.c_contiguous
    inputs_grad = (out if direct else np.empty((rows, d), dtype)) if grad else None
    sampled_grad = _room(count, d + 1, dtype) if grad else None
    total = 0.0
    step = _block_rows(rows, num_true, count, d)
    room = _room(min(step, rows), (count + num_true + 15) // 16 * 16, dtype)
    for first in range(0, rows, step):
        block = slice(first, min(first + step, rows))
        scores = room[: block.stop - first, :count]
        _linear.product(inputs[block], of_sampled.T, scores, False, None, n_threads)
        start, stop = np.searchsorted(hit_rows, (block.start, block.stop))
        scores[hit_rows[start:stop] - first, hit_places[start:stop]] = -np.inf
        if smoothing is None:
            _sampled.sigmoid_rows(scores, 0.0, scales[block], losses[block], grad, n_threads)
        else:
            both = room[: block.stop - first, : count + num_true]
            both[:, count:] = true_scores[block]
            total += _softmax(
                both, count, num_true, smoothing, scales[block], reduction, losses[block], grad, n_threads
            )
            true_scores[block] = both[:, count:]
        if inputs_grad is not None and sampled_grad is not None:
            _linear.product(scores, of_sampled[:, :d], inputs_grad[block], False, None, n_threads)
            _linear.product(scores.T, inputs[block], sampled_grad, first > 0, None, n_threads)

    with np.errstate(all="ignore"):
        if reduction == "none":
            loss: Any = np.zeros(n, dtype)
            loss[slice(None) if live is None else live] = losses * scales if smoothing is None else losses
        else:
            loss = float((losses * scales).sum()) if smoothing is None else total
    if inputs_grad is None or sampled_grad is None:
        return loss
    _sampled.add_true(true_scores, of_true[:, :d], inputs_grad)
    if live is not None:
        inputs_grad, part = np.zeros((n, d), dtype), inputs_grad
        inputs_grad[live] = part
    weight_grad, bias_grad = _by_class(call, true, sampled_grad, true_scores, inputs, n_threads)
    with np.errstate(over="ignore"):
        if out is None:
            out = _as_output(inputs_grad, call.inputs)
        elif not direct:
            out[...] = inputs_grad
        return loss, SampledGradient(out, weight_grad, bias_grad)


def _block_rows(rows: int, num_true: int, count: int, d: int) -> int:
    """Rows of a block; all blocks have about as many."""
    most = max(_LEAST_ROWS, min(_MOST_ROWS, 2 * (rows * num_true + count) * d // (count + num_true)))
    blocks = max(1, -(-rows // most))
    return max(1, -(-rows // blocks))


def _scales(row_weights: np.ndarray | None, n: int, reduction: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The factor of each row's loss; and the rows that count, None if all do."""
    if row_weights is None:
        return np.full(n, 1 / n if reduction == "mean" and n else 1.0), None
    weights = row_weights
    if reduction == "mean":
        moderate = _validate.moderate(row_weights)
        assert moderate is not None
        weights = moderate / (math.fsum(moderate) or 1.0)
    live = np.flatnonzero(row_weights)
    return weights, None if len(live) == n else live


def _with_offsets(
    weight: np.ndarray, bias: np.ndarray | None, ids: np.ndarray, logs: np.ndarray, dtype: Any, n_threads: int | None
) -> np.ndarray:
    """Rows of the weights, and behind each its bias without the logarithm of what is expected."""
    d = weight.shape[1]
    out = _room(len(ids), d + 1, dtype)
    with np.errstate(over="ignore"):
        if weight.dtype == dtype and weight.strides[0] % dtype.itemsize == 0 and weight.strides[1] == dtype.itemsize:
            _sampled.gather(weight, ids, out, n_threads)
        else:
            out[:, :d] = weight[ids]
        out[:, d] = -logs if bias is None else bias[ids].astype(np.float64) - logs
    return out


def _room(rows: int, width: int, dtype: Any) -> np.ndarray:
    return _memory.empty_like(np.empty((rows, width), dtype))


def _softmax(
    scores: np.ndarray,
    count: int,
    num_true: int,
    smoothing: float,
    scales: np.ndarray,
    reduction: str,
    losses: np.ndarray,
    grad: bool,
    n_threads: int | None,
) -> float:
    """The loss of a block of scores, the true ones last, which their gradient replaces; with "none" into `losses`."""
    targets: Any = np.full(len(scores), count)
    if num_true > 1:
        from scipy.sparse import csr_array

        places = np.tile(np.arange(count, count + num_true), len(scores))
        ends = np.arange(0, places.size + 1, num_true)
        targets = csr_array((np.full(places.size, 1 / num_true), places, ends), shape=scores.shape)
    options: Any = {"sample_weight": scales, "label_smoothing": smoothing, "n_threads": n_threads}
    result: Any = softmax_cross_entropy(
        scores, targets, grad=scores if grad else False, reduction="none" if reduction == "none" else "sum", **options
    )
    loss = result[0] if grad else result
    if reduction == "none":
        losses[:] = loss
        return 0.0
    return float(loss)


def _by_class(
    call: _Call,
    true: np.ndarray,
    sampled_grad: np.ndarray,
    true_grad: np.ndarray,
    inputs: np.ndarray,
    n_threads: int | None,
) -> tuple[RowSparse, RowSparse | None]:
    """The gradients of weight and bias, summed by class; of no rows, none."""
    d = call.weight.shape[1]
    places = np.concatenate((call.ids, true.reshape(-1))) if len(true) else np.empty(0, np.int64)
    order = np.argsort(places, kind="stable")
    places = places[order]
    first = np.ones(len(places), bool)
    np.not_equal(places[1:], places[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    ids = places[starts]
    values, biases = _room(len(ids), d, inputs.dtype), np.empty(len(ids), inputs.dtype)
    ends = np.append(starts, len(places))
    _sampled.sum_by_class(order, ends, sampled_grad, true_grad, inputs, values, biases, n_threads)
    with np.errstate(over="ignore"):
        weight_grad = RowSparse(ids, _as_output(values, call.weight), call.weight.shape)
        if call.bias is None:
            return weight_grad, None
        return weight_grad, RowSparse(ids, _as_output(biases, call.bias), call.bias.shape)


def _as_output(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    """In the dtype that gradients of such an array have."""
    return array.astype(_validate.output_dtypes(like)[0], copy=False)


def accidental_hits(true: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in rising order, and all places where a true class of theirs stands among the sampled ones."""
    order = np.argsort(ids, kind="stable")
    left = np.searchsorted(ids, true.reshape(-1), "left", order)
    counts = np.searchsorted(ids, true.reshape(-1), "right", order) - left
    rows = np.repeat(np.arange(true.size) // true.shape[1], counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, order[np.repeat(left, counts) + within]
