"""Losses of a linear layer's scores, which never exist as a whole: products, loss and gradients by blocks of rows.

A block goes through the matrix product that makes its scores, the loss, whose gradient replaces the scores in place,
and the products that make of this the gradients of inputs and weights. Rows that do not count are left out of all of
it. How many rows a block has depends on the shapes alone, and with it every bit of the results.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, Unpack, overload

import numpy as np

from fastxent import _kernels, _memory, _sigmoid, _softmax, _validate
from fastxent._blas import serial_blas
from fastxent._typing import LinearAsked, LinearOptions, Reduced
from fastxent._words import Words
from fastxent.softmax import _alpha_of, _transform

# Bytes of scores that stay in the caches, for few classes. For more, rows with which matrix products keep their speed,
# in so many bytes; for many, still as many rows as leave them nine tenths of it, and what these may take at most.
_CACHED = 2 << 20
_ENOUGH_ROWS, _ENOUGH = 256, 28_500_000
_LEAST_ROWS, _MOST = 208, 128 << 20
# Multiplications up to which every product is one that the BLAS does on one thread by itself.
_SMALL = 1 << 18

_WORDS = Words({"logits": "inputs @ weight.T"})
# Entries of CSR inputs that are counted, for threads to share out the features.
_COUNTED = 1 << 16
# Name of the head, its parameter, factors of the targets.
_CROSS_ENTROPY: tuple[str, float, Any] = ("cross_entropy", 0.0, None)
# Options that one family has, with their defaults.
_SOFTMAX_ONLY = {
    "class_weight": None,
    "ignore_index": None,
    "class_mask": None,
    "temperature": 1.0,
    "softcap": None,
    "logit_bias": None,
    "z_loss": 0.0,
}
_SIGMOID_ONLY = {"pos_weight": 1.0}
_OPTIONS = {**_SOFTMAX_ONLY, **_SIGMOID_ONLY, "label_smoothing": 0.0}


@overload
def linear_cross_entropy(
    inputs: Any,
    weight: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    reduction: Reduced = "mean",
    **options: Unpack[LinearOptions],
) -> float: ...


@overload
def linear_cross_entropy(
    inputs: Any,
    weight: Any,
    targets: Any,
    *,
    grad: Literal[False] = False,
    reduction: Literal["none"],
    **options: Unpack[LinearOptions],
) -> np.ndarray: ...


@overload
def linear_cross_entropy(
    inputs: Any,
    weight: Any,
    targets: Any,
    *,
    grad: LinearAsked,
    reduction: Reduced = "mean",
    **options: Unpack[LinearOptions],
) -> tuple[float, tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]]: ...


@overload
def linear_cross_entropy(
    inputs: Any,
    weight: Any,
    targets: Any,
    *,
    grad: LinearAsked,
    reduction: Literal["none"],
    **options: Unpack[LinearOptions],
) -> tuple[np.ndarray, tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]]: ...
def linear_cross_entropy(
    inputs: Any,
    weight: Any,
    targets: Any,
    *,
    bias: Any = None,
    loss: Any = "softmax",
    grad: Any = False,
    sample_weight: Any = None,
    class_weight: Any = None,
    pos_weight: Any = 1.0,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    class_mask: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_bias: Any = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> Any:
    """Cross-entropy of a linear layer, with the gradients of its inputs, weights and bias, without its scores.

    For inputs ``x`` of a row, weights ``W``, a bias ``b`` and a loss ``l`` of scores and targets::

        loss = l(z, y),    z = W x + b
        d loss / d x = W' g,    d loss / d W = g x',    d loss / d b = g,    g = d l / d z

    computed by blocks of rows, in memory for some hundred rows of scores.

    Parameters
    ----------
    inputs : array_like, shape (n, d), or scipy.sparse CSR
        float32 or float64 (integers become float64), in C or Fortran order; of other strides, blocks are copied.
    weight : array_like, shape (C, d)
        Of the dtype of the inputs. At least two classes, but for independent outputs.
    targets : array_like or scipy.sparse CSR
        As in `softmax_cross_entropy`: labels (n,), a distribution (n, C), or CSR. For independent outputs as in
        `sigmoid_cross_entropy`: (n, C), or (n,) if C is 1.
    bias : array_like, shape (C,), optional
        Real numbers, rounded to the dtype of the weights.
    loss : {"softmax", "sigmoid"} or an object of `fastxent.losses`, default "softmax"
        Exclusive classes, or independent outputs; an object brings its own options, which then cannot be given here
        as well.
    grad : bool, or three of bool or ndarray, default False
        Whether to return the gradients of the reduced loss by inputs, weight and bias; or for each of them whether, or
        the array to write it to, of the same shape and dtype. ``True`` stands for those that there are: without that of
        the bias if there is none, and without that of CSR inputs, which is dense and has to be asked for by itself.
    sample_weight : array_like, shape (n,), optional
        Weight of each row, finite and not negative; for independent outputs also (n, C). Rows of weight 0 are left out
        of all products, whatever they hold.
    class_weight, ignore_index, class_mask, temperature, softcap, logit_bias, z_loss
        As in `softmax_cross_entropy`; not for independent outputs. Ignored rows are left out of all products. What the
        weights of classes hold that are masked in every row does not matter.
    pos_weight : float or array_like (C,), default 1
        As in `sigmoid_cross_entropy`, for independent outputs.
    label_smoothing : float in [0, 1], default 0
        Mixes the targets with ``1 / C``, for independent outputs with ``1 / 2``.
    reduction : {"mean", "sum", "none"}
        As in the function of the loss. With "none", which returns what that does, only the gradient of the inputs can
        be asked for: a row has one of its own.
    n_threads : int, optional
        How many threads to use at most, also of matrix products; the result has the same bits for every number.

    Returns
    -------
    loss : float, or ndarray with ``reduction="none"``
    grads : tuple (d_inputs, d_weight, d_bias), if asked for; None for what is left out

    Raises
    ------
    TypeError
        As `softmax_cross_entropy` and `sigmoid_cross_entropy`; inputs and weight of two dtypes, or of 16 bits; sparse
        inputs that are not CSR.
    ValueError
        As these; shapes that do not match; an option of the other family; a buffer that is read-only or overlaps
        another argument. Nothing has been written then.

    Examples
    --------
    >>> import numpy as np
    >>> import fastxent as fx
    >>> inputs = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> weight = np.array([[20.0, 0.0], [0.0, 1.0]])
    >>> targets = [0, 1, -1]
    >>> loss, grads = fx.linear_cross_entropy(inputs, weight, targets, ignore_index=-1, grad=True)
    >>> d_inputs, d_weight, d_bias = grads
    >>> round(loss, 12)
    0.063464006552
    >>> d_weight
    array([[-1.03057681e-09,  1.19202922e-01],
           [ 1.03057681e-09, -1.19202922e-01]])
    >>> d_inputs[2], d_bias
    (array([0., 0.]), None)

    Source: Wijmans et al., "Cut your losses in large-vocabulary language models" (2024).
    """
    options = {
        "class_weight": class_weight,
        "ignore_index": ignore_index,
        "class_mask": class_mask,
        "temperature": temperature,
        "softcap": softcap,
        "logit_bias": logit_bias,
        "z_loss": z_loss,
        "pos_weight": pos_weight,
        "label_smoothing": label_smoothing,
    }
    layer = _Layer(inputs, weight, bias, n_threads)
    head = _head(layer, targets, loss, options, sample_weight, reduction)
    asked = _asked(grad, layer)
    if reduction == "none" and (asked[1] is not False or asked[2] is not False):
        raise ValueError(
            'with reduction="none" every row has gradients of weight and bias of its own: give "sum", or'
            " grad=(True, False, False) for that of the inputs"
        )
    arguments = {"inputs": inputs, "weight": weight, "bias": bias, "targets": targets, "sample_weight": sample_weight}
    outs = _outputs(asked, layer, arguments | options, head.arrays)
    value = _run(layer, head, outs)
    return value if grad is False else (value, outs)


def linear_cross_entropy_hvp(
    inputs: Any,
    weight: Any,
    targets: Any,
    v: Any,
    *,
    bias: Any = None,
    loss: Any = "softmax",
    out: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    pos_weight: Any = 1.0,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    class_mask: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_bias: Any = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Product of the Hessian of `linear_cross_entropy` by weight and bias with a vector, without scores or Hessian.

    For inputs ``x`` of a row, and ``v`` of the shapes of weight and bias::

        h = H (V x + c),    product = (h x', h),    v = (V, c),    H = d^2 l / d z^2

    Parameters
    ----------
    inputs, weight, targets, bias
        As in `linear_cross_entropy`.
    v : tuple (v_weight, v_bias)
        Arrays of the shapes of weight and bias, rounded to their dtype; without a bias, None in its place.
    loss : {"softmax", "sigmoid"} or an object of `fastxent.losses`, default "softmax"
        As in `linear_cross_entropy`; of the softmax losses, cross-entropy alone.
    out : tuple (d_weight, d_bias), optional
        Arrays to write to, of the shape and dtype of weight and bias; None in place of one for a new one.
    sample_weight, class_weight, pos_weight, label_smoothing, ignore_index, class_mask, temperature, softcap, \
    logit_bias, z_loss, n_threads
        As in `linear_cross_entropy`.
    reduction : {"mean", "sum"}
        Of the loss whose Hessian it is.

    Returns
    -------
    product_weight : ndarray, shape (C, d)
    product_bias : ndarray, shape (C,), or None without a bias

    Raises
    ------
    TypeError, ValueError
        As `linear_cross_entropy`.

    Examples
    --------
    >>> import fastxent as fx
    >>> product, _ = fx.linear_cross_entropy_hvp([[1.0], [3.0]], [[0.0], [0.0]], [0, 1], ([[1.0], [0.0]], None))
    >>> product
    array([[ 1.25],
           [-1.25]])

    Source: Pearlmutter, "Fast exact multiplication by the Hessian" (1994).
    """
    options = {
        "class_weight": class_weight,
        "ignore_index": ignore_index,
        "class_mask": class_mask,
        "temperature": temperature,
        "softcap": softcap,
        "logit_bias": logit_bias,
        "z_loss": z_loss,
        "pos_weight": pos_weight,
        "label_smoothing": label_smoothing,
    }
    layer = _Layer(inputs, weight, bias, n_threads)
    head = _head(layer, targets, loss, options, sample_weight, reduction)
    if reduction == "none":
        raise ValueError('reduction is "none": rows have Hessians of their own, give "mean" or "sum"')
    if not head.has_hvp:
        raise ValueError(f"loss is {loss!r}: among the softmax losses, only cross-entropy has this product")
    vector = _vector_of(v, layer)
    buffers = (None, None) if out is None else _pair("out", out)
    for which, part in enumerate(buffers):
        if isinstance(part, bool):
            raise TypeError(f"out[{which}] is {part}: give a numpy array to write into, or None for a new one")
    asked = [False, *(True if part is None else part for part in buffers)]
    if layer.bias is None:
        if buffers[1] is not None:
            raise ValueError("out[1] is given, but there is no bias: give None in its place")
        asked[2] = False
    arguments = {"inputs": inputs, "weight": weight, "bias": bias, "targets": targets, "sample_weight": sample_weight}
    arrays = (*head.arrays, *(part for part in vector if part is not None))
    outs = _outputs(asked, layer, arguments | options, arrays, "out", 1)
    _run(layer, head, outs, vector)
    assert outs[1] is not None
    return outs[1], outs[2]


class LinearLoss:
    """The loss of a linear layer as a function of its weights: all the rest is checked once, for many of them.

    Parameters
    ----------
    inputs, targets, loss, sample_weight, n_threads
        As in `linear_cross_entropy`, with "mean".
    outputs : int
        The number of rows of the weights.
    """

    def __init__(self, inputs: Any, targets: Any, outputs: int, loss: Any, sample_weight: Any, n_threads: Any) -> None:
        weight = np.broadcast_to(np.zeros((), inputs.dtype), (outputs, inputs.shape[1]))
        self._layer = _Layer(inputs, weight, None, n_threads)
        self._head = _head(self._layer, targets, loss, dict(_OPTIONS), sample_weight, "mean")
        self.has_hessian_product = self._head.has_hvp

    def gradient(self, weight: np.ndarray, bias: np.ndarray | None, out: tuple[np.ndarray, np.ndarray | None]) -> float:
        """The loss; its gradients by weight and bias are written to `out`."""
        self._layer.weight, self._layer.bias = weight, bias
        value: float = _run(self._layer, self._head, (None, *out))
        # A second pass is worth a transposed copy of CSR inputs, as are those that may follow.
        if self._layer.columns is None:
            self._layer.columns = {}
        return value

    def hessian_product(
        self,
        weight: np.ndarray,
        bias: np.ndarray | None,
        vector: tuple[np.ndarray, np.ndarray | None],
        out: tuple[np.ndarray, np.ndarray | None],
    ) -> None:
        """The product of the Hessian and a vector of such arrays is written to `out`."""
        self._layer.weight, self._layer.bias = weight, bias
        _run(self._layer, self._head, (None, *out), vector)


# ---- checks --------------------------------------------------------------------------------------------------


class _Layer:
    """Inputs, weight and bias, checked."""

    def __init__(self, inputs: Any, weight: Any, bias: Any, n_threads: int | None) -> None:
        from fastxent import _linear  # half a second, for SciPy's linear algebra

        self.linear = _linear
        self.n_threads = n_threads
        _kernels.check_threads(n_threads)
        self.weight = _validate.matrix("weight", weight)
        self.dtype = self.weight.dtype
        self.dense: np.ndarray | None = None
        self.csr: _validate.Csr | None = None
        if _validate.is_sparse(inputs):
            self.csr = _validate.csr_inputs(inputs, self.dtype)
            shape = inputs.shape
        else:
            self.dense = _validate.matrix("inputs", inputs)
            shape = self.dense.shape
            if self.dense.dtype != self.dtype:
                raise TypeError(
                    f"weight has dtype {self.dtype}, inputs {self.dense.dtype}: use weight.astype(inputs.dtype), or"
                    " inputs.astype(weight.dtype)"
                )
        # Blocks of CSR inputs by columns, for those who come back to the same: `block_columns`.
        self.columns: dict[tuple[int, int], Any] | None = None
        self.rows, self.features = shape
        self.classes = self.weight.shape[0]
        if self.weight.shape[1] != self.features:
            raise ValueError(
                f"weight has shape {self.weight.shape}, inputs {shape}: both have a column for each feature, (C, d) and"
                " (n, d)"
            )
        self.bias = None if bias is None else _validate.like("bias", bias, (self.classes,), self.dtype)

    @functools.cached_property
    def entries_before(self) -> np.ndarray:
        """For each feature of CSR inputs, how many entries are of those before it, among a sample of the entries."""
        assert self.csr is not None
        indices = self.csr.indices[:: 1 + len(self.csr.indices) // _COUNTED]
        return np.append(0, np.cumsum(np.bincount(indices, minlength=self.features), dtype=np.int64))

    def block_columns(self, block: Any, span: tuple[int, int]) -> Any:
        """A block of CSR inputs, transposed: products with it are twice as fast. None if it has fewer entries than the
        features that would be gone through."""
        from scipy.sparse import csr_array  # which whoever has CSR inputs has loaded

        assert self.csr is not None and self.columns is not None
        if span not in self.columns:
            self.columns[span] = None
            starts, stops = block[:2]
            pointers = np.append(0, np.cumsum(stops - starts))
            if pointers[-1] >= self.features:
                # Rows follow each other, or some are left out.
                entries: Any = slice(starts[0], stops[-1])
                if pointers[-1] != stops[-1] - starts[0]:
                    entries = np.arange(pointers[-1]) + np.repeat(starts - pointers[:-1], stops - starts)
                indices = self.csr.indices[entries]
                # Of one dtype they are not copied.
                if pointers[-1] < 1 << 31:
                    pointers = pointers.astype(indices.dtype)
                whole = csr_array((self.csr.values[entries], indices, pointers), (len(starts), self.features))
                part = whole.T.tocsr()
                pointers = part.indptr.astype(np.int64)
                self.columns[span] = pointers[:-1], pointers[1:], part.indices.astype(np.int32), part.data
        return self.columns[span]

    @property
    def scores(self) -> np.ndarray:
        """What the checks of targets and options take for the scores: their shape and dtype, of a single element."""
        return np.broadcast_to(np.zeros((), self.dtype), (self.rows, self.classes))


def _asked(grad: Any, layer: _Layer) -> list[Any]:
    """What is asked for of the gradients by inputs, weight and bias: False, True or an array."""
    if grad is False:
        return [False, False, False]
    if grad is True:
        return [layer.csr is None, True, layer.bias is not None]
    if not isinstance(grad, (tuple, list)) or len(grad) != 3:
        raise TypeError(
            f"grad is {type(grad).__name__}: give True, False, or three of True, False or a numpy array, for inputs,"
            " weight and bias"
        )
    asked = [False if part is None else part for part in grad]
    if layer.bias is None:
        if asked[2] is not True and asked[2] is not False:
            raise ValueError("grad[2] is given, but there is no bias: give False in its place")
        asked[2] = False
    return asked


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} is {type(value).__name__}: give a tuple of two, for weight and bias")
    return value[0], value[1]


def _vector_of(v: Any, layer: _Layer) -> tuple[np.ndarray, np.ndarray | None]:
    of_weight, of_bias = _pair("v", v)
    if of_weight is None:
        raise TypeError("v[0] is None: give an array of the shape of the weight")
    if (of_bias is None) != (layer.bias is None):
        there = "is None, but there is a" if of_bias is None else "is an array, but there is no"
        raise ValueError(f"v[1] {there} bias: give one number for each element of the bias, or None without one")
    vector = _validate.like("v[0]", of_weight, layer.weight.shape, layer.dtype)
    return vector, None if of_bias is None else _validate.like("v[1]", of_bias, (layer.classes,), layer.dtype)


_Outputs = tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]


def _outputs(
    asked: list[Any], layer: _Layer, given: dict[str, Any], checked: tuple[Any, ...], name: str = "grad", skip: int = 0
) -> _Outputs:
    """New arrays, or the given ones, checked; `skip` is how many `name` does without at its beginning."""
    likes: list[Any] = [layer.dense, layer.weight, layer.bias]
    if likes[0] is None:
        likes[0] = np.broadcast_to(np.zeros((), layer.dtype), (layer.rows, layer.features))
    inputs: tuple[tuple[str, Any], ...] = ()
    if any(part is not True and part is not False for part in asked):
        own = (("inputs", layer.dense), ("weight", layer.weight), ("bias", layer.bias))
        pairs = (*given.items(), *own, *(("an argument", array) for array in checked))
        inputs = tuple(pair for pair in pairs if pair[1] is not None)
    outs: list[np.ndarray | None] = []
    # Buffers first: nothing is taken from memory before all of them are found to be right.
    for which, part in enumerate(asked):
        out = None
        if part is not True and part is not False:
            others = tuple(
                (f"{name}[{other - skip}]", asked[other])
                for other in range(which)
                if isinstance(asked[other], np.ndarray)
            )
            out = _validate.buffer(f"{name}[{which - skip}]", part, likes[which], (layer.dtype,), inputs + others, "")
        outs.append(out)
    for which, part in enumerate(asked):
        if part is True:
            like = likes[which]
            direct = which != 0 or layer.dense is not None
            outs[which] = _memory.empty_like(like) if direct else np.empty(like.shape, layer.dtype)
    return outs[0], outs[1], outs[2]


# ---- losses --------------------------------------------------------------------------------------------------


def _head(
    layer: _Layer, targets: Any, loss: Any, options: dict[str, Any], sample_weight: Any, reduction: str
) -> _Softmax | _Sigmoid:
    """The loss with its targets and options, checked."""
    reduction = _validate.reduction_of(reduction)
    if isinstance(loss, str):
        family = _validate.choice_of("loss", loss, ("softmax", "sigmoid"))
        form, gamma, alpha = _CROSS_ENTROPY, 0.0, None
    else:
        family, form, gamma, alpha = _of_object(loss, options, layer)
    for name in _SIGMOID_ONLY if family == "softmax" else _SOFTMAX_ONLY:
        if _is_given(name, options[name]):
            raise ValueError(f"{name} is no option of a {family} loss: leave it out")
    with _WORDS:
        if family == "softmax":
            return _Softmax(layer, targets, form, options, sample_weight, reduction)
        return _Sigmoid(layer, targets, gamma, alpha, options, sample_weight, reduction)


def _of_object(loss: Any, options: dict[str, Any], layer: _Layer) -> tuple[str, tuple[str, float, Any], float, Any]:
    """Family, form, gamma and alpha of an object of `fastxent.losses`, whose options go into the others."""
    from fastxent.losses import _SigmoidLoss, _SoftmaxLoss

    if not isinstance(loss, (_SigmoidLoss, _SoftmaxLoss)):
        raise TypeError(f'loss is {type(loss).__name__}: give "softmax", "sigmoid" or an object of fastxent.losses')
    own = loss._options
    for name in own.keys() & options.keys():
        if _is_given(name, options[name]):
            raise ValueError(f"{name} is an option of the loss already, {loss!r}: leave it out")
        options[name] = own[name]
    if isinstance(loss, _SigmoidLoss):
        return "sigmoid", _CROSS_ENTROPY, float(own.get("gamma", getattr(loss, "gamma", 0.0))), own.get("alpha")
    wanted = loss.n_classes
    if wanted is not None and wanted != layer.classes:
        raise ValueError(f"weight has {layer.classes} rows, but n_classes of the loss is {wanted}: give a row a class")
    return "softmax", loss._form(), 0.0, None


def _is_given(name: str, value: Any) -> bool:
    """Whether an option is not at its default."""
    default = _OPTIONS[name]
    return value is not default and not (np.ndim(value) == 0 and value == default)


class _Rows:
    """What both families share: which rows count, and their parts of arrays."""

    def __init__(self, layer: _Layer, reduction: str) -> None:
        self.layer = layer
        self.reduction = reduction
        self.live: np.ndarray | None = None
        self.mask: np.ndarray | None = None
        self.arrays: tuple[Any, ...] = ()

    def leave_out(self, counts: np.ndarray | None) -> None:
        """Keep the rows that count, all of them if there is no such array or nothing to leave out."""
        if counts is not None and not counts.all():
            self.live = np.flatnonzero(counts)

    @property
    def count(self) -> int:
        return self.layer.rows if self.live is None else len(self.live)

    def part(self, array: np.ndarray | None, first: int, last: int) -> np.ndarray | None:
        if array is None:
            return None
        return array[first:last] if self.live is None else array[self.live[first:last]]

    def csr_part(self, sparse: Any, first: int, last: int) -> Any:
        """Some rows of a CSR matrix."""
        if sparse is None:
            return None
        indptr, indices, values = sparse
        if self.live is None:
            return _validate.Sparse(indptr[first : last + 1], indices, values)
        rows = self.live[first:last]
        starts = indptr[rows].astype(np.int64)
        counts = indptr[rows + 1].astype(np.int64) - starts
        pointers = np.concatenate(([0], np.cumsum(counts)))
        entries = np.repeat(starts - pointers[:-1], counts) + np.arange(pointers[-1])
        return _validate.Sparse(pointers, indices[entries], values[entries])


class _Softmax(_Rows):
    """A loss of exclusive classes."""

    def __init__(
        self,
        layer: _Layer,
        targets: Any,
        form: tuple[str, float, Any],
        options: dict[str, Any],
        sample_weight: Any,
        reduction: str,
    ) -> None:
        super().__init__(layer, reduction)
        scores, classes, rows = layer.scores, layer.classes, (layer.rows,)
        single, n_threads = layer.dtype.itemsize == 4, layer.n_threads
        if classes < 2:
            raise ValueError(
                f"weight has {classes} row(s): a softmax needs two classes or more, use"
                ' loss="sigmoid" for a single score'
            )
        self.name, self.parameter, alpha = form
        self.has_hvp = self.name == "cross_entropy"
        self.smoothing = _validate.number("label_smoothing", options["label_smoothing"], 0.0, 1.0)
        self.z_loss = _validate.number("z_loss", options["z_loss"], 0.0, math.inf)
        ignored = options["ignore_index"]
        ignored = None if ignored is None else _validate.ignored(ignored)
        one_outcome = 'loss="sigmoid"'
        self.labels, self.dense, self.sparse = checked = _validate.targets_of(
            targets, scores, 1, rows, ignored, one_outcome=one_outcome
        )
        weights = None if sample_weight is None else _validate.weights_of("sample_weight", sample_weight, rows)
        self.alpha = None if alpha is None else _alpha_of(alpha, classes)
        mask = options["class_mask"]
        self.mask = None if mask is None else _validate.mask_of(mask, scores, 1)
        self.transform = _transform(
            options["temperature"], False, options["softcap"], options["logit_bias"], self.mask, classes
        )
        if self.sparse is not None and single:
            _validate.check_finite_floats(self.sparse, scores.shape)
        if self.dense is not None and (
            self.dense.dtype != layer.dtype or _softmax.has_bad_dense(self.dense, single, n_threads)
        ):
            _validate.check_dense(self.dense, layer.dtype, scores.shape, 1)
        if self.mask is not None and _softmax.has_masked_target(self.mask, *checked, ignored, n_threads):
            _validate.check_mask(self.mask, checked, ignored, rows)
        if options["class_weight"] is not None:
            factors = _validate.per_class(
                "class_weight", options["class_weight"], classes, 0.0, math.inf, _validate.WEIGHTS
            )
            if reduction == "mean":
                factors = _validate.multipliable(weights, factors)
            weights = _softmax.class_weighted(
                layer.rows, classes, *checked, weights, ignored, single, factors, n_threads
            )
        if reduction == "mean":
            weights = _validate.moderate(weights)
        self.weights = weights
        self.arrays = tuple(
            array for array in (self.labels, self.dense, weights, self.mask) if isinstance(array, np.ndarray)
        )
        counts = None if weights is None else weights != 0
        if ignored is not None:
            kept = self.labels != ignored
            counts = kept if counts is None else counts & kept
        self.leave_out(counts)
        self.divisor = 1.0
        if reduction == "mean":
            kept_weights = self.part(weights, 0, self.count)
            self.divisor = float(self.count if kept_weights is None else kept_weights.sum())

    def __call__(
        self, logits: np.ndarray, first: int, last: int, grad: np.ndarray | None, vector: np.ndarray | None
    ) -> Any:
        """The loss of some rows; their gradient, or with a vector the product of the Hessian and it, in `grad`."""
        transform = self.transform
        if transform is not None and self.mask is not None:
            transform = (*transform[:4], self.part(self.mask, first, last))
        return _softmax.loss(
            logits,
            self.part(self.labels, first, last),
            self.part(self.dense, first, last),
            self.csr_part(self.sparse, first, last),
            self.part(self.weights, first, last),
            self.name,
            self.parameter,
            self.alpha,
            self.smoothing,
            self.z_loss,
            transform,
            None,
            self.reduction,
            grad,
            None,
            vector,
            grad is not None,
            None,
            self.layer.n_threads,
            self.divisor,
        )

    @property
    def losses_shape(self) -> tuple[int, ...]:
        return (self.layer.rows,)


class _Sigmoid(_Rows):
    """A loss of independent outputs."""

    has_hvp = True

    def __init__(
        self,
        layer: _Layer,
        targets: Any,
        gamma: float,
        alpha: Any,
        options: dict[str, Any],
        sample_weight: Any,
        reduction: str,
    ) -> None:
        super().__init__(layer, reduction)
        shape = (layer.rows, layer.classes)
        self.gamma = gamma
        self.smoothing = _validate.number("label_smoothing", options["label_smoothing"], 0.0, 1.0)
        self.positive = _validate.factors("pos_weight", options["pos_weight"], shape, 0.0, math.inf)
        self.negative: float | np.ndarray = 1.0
        if alpha is not None:
            share = _validate.factors("alpha", alpha, shape, 0.0, 1.0)
            self.positive, self.negative = self.positive * share, 1.0 - share
        self.dense: np.ndarray | None = None
        self.sparse: _validate.Sparse | None = None
        if _validate.is_sparse(targets):
            self.sparse = _validate.sparse_outcomes(targets, shape)
        else:
            dense = _validate.real_array("targets", targets)
            if dense.shape == shape[:1] and shape[1] == 1:
                dense = dense.reshape(shape)
            if dense.shape != shape:
                raise ValueError(
                    f"targets have shape {dense.shape}, logits {shape}: independent outputs have a target each, use"
                    ' loss="softmax" for class labels; targets are never broadcast'
                )
            _validate.check_probabilities("targets", dense)
            self.dense = dense
        weights, row_weights = _validate.element_weights("sample_weight", sample_weight, shape)
        if reduction == "mean":
            weights, row_weights = _validate.moderate(weights), _validate.moderate(row_weights)
        self.weights, self.row_weights = weights, row_weights
        self.arrays = tuple(array for array in (self.dense, weights, row_weights) if array is not None)
        if weights is not None:
            self.leave_out(np.asarray(weights.any(axis=1)))
        elif row_weights is not None:
            self.leave_out(row_weights != 0)
        self.divisor = 1.0
        if reduction == "mean":
            if weights is not None:
                self.divisor = _sigmoid.total(_validate.as_elements(weights))
            else:
                rows = self.count if row_weights is None else math.fsum(row_weights)
                self.divisor = float(rows) * layer.classes

    def __call__(
        self, logits: np.ndarray, first: int, last: int, grad: np.ndarray | None, vector: np.ndarray | None
    ) -> Any:
        losses = np.empty_like(logits) if self.reduction == "none" else None
        dense, weights = self.part(self.dense, first, last), self.part(self.weights, first, last)
        value = _sigmoid.loss(
            logits if self.sparse is not None else logits.reshape(1, -1),
            None if dense is None else _validate.as_elements(dense),
            self.csr_part(self.sparse, first, last),
            None if weights is None else _validate.as_elements(weights),
            self.part(self.row_weights, first, last),
            self.divisor,
            self.smoothing,
            self.gamma,
            self.positive,
            self.negative,
            None if losses is None else losses.reshape(1, -1),
            None if grad is None or vector is not None else grad.reshape(1, -1),
            None if vector is None or grad is None else grad.reshape(1, -1),
            None if vector is None else vector.reshape(1, -1),
            self.layer.n_threads,
        )
        return value if losses is None else losses

    @property
    def losses_shape(self) -> tuple[int, ...]:
        return (self.layer.rows, self.layer.classes)


# ---- products ------------------------------------------------------------------------------------------------


def _block_rows(classes: int, itemsize: int) -> int:
    row = max(1, classes * itemsize)
    return max(1, _CACHED // row, min(_ENOUGH_ROWS, _ENOUGH // row), min(_LEAST_ROWS, _MOST // row))


def _spans(rows: int, block: int) -> list[tuple[int, int]]:
    """Blocks of nearly the same size: a small one would cost more than its share."""
    count = -(-rows // block)
    return [(rows * i // count, rows * (i + 1) // count) for i in range(count)]


class _Sum:
    """The gradient of the weight, or the product with its Hessian: added up block by block, where it has been asked for
    or, if no product can be written there, beside it."""

    def __init__(self, layer: _Layer, out: np.ndarray) -> None:
        self.layer = layer
        self.out = out
        direct = layer.linear.is_direct(out) if layer.csr is None else out.flags.f_contiguous
        if direct:
            self.total = out
        else:
            self.total = (
                _memory.empty_like(layer.weight) if layer.csr is None else np.empty(out.shape[::-1], out.dtype).T
            )
            if not layer.linear.is_direct(self.total):
                self.total = np.empty(out.shape, out.dtype)
        self.empty = True

    def add(self, grad: np.ndarray, block: Any, span: tuple[int, int]) -> None:
        layer = self.layer
        if layer.csr is None:
            layer.linear.product(grad.T, block, self.total, not self.empty, None, layer.n_threads)
        else:
            columns = None if layer.columns is None else layer.block_columns(block, span)
            if columns is not None:
                layer.linear.csr_product(columns, grad, self.total.T, not self.empty, None, layer.n_threads)
            else:
                if self.empty:
                    self.total[...] = 0
                layer.linear.csr_add_product(block, grad, self.total.T, layer.entries_before, layer.n_threads)
        self.empty = False

    def finish(self) -> None:
        if self.empty:
            self.out[...] = 0
        elif self.total is not self.out:
            self.out[...] = self.total


def _run(
    layer: _Layer, head: _Softmax | _Sigmoid, outs: _Outputs, vector: tuple[np.ndarray, np.ndarray | None] | None = None
) -> Any:
    """All blocks: the loss and what is asked for; with a vector, the product of the Hessian and it instead."""
    if layer.features * layer.classes * head.count <= _SMALL:
        return _blocks(layer, head, outs, vector)
    with serial_blas:
        return _blocks(layer, head, outs, vector)


def _blocks(
    layer: _Layer, head: _Softmax | _Sigmoid, outs: _Outputs, vector: tuple[np.ndarray, np.ndarray | None] | None
) -> Any:
    d_inputs, d_weight, d_bias = outs
    spans = _spans(head.count, _block_rows(layer.classes, layer.dtype.itemsize))
    block = max((last - first for first, last in spans), default=0)
    room = np.empty((block, layer.classes), layer.dtype)
    other = np.empty_like(room) if vector is not None else None
    losses = np.zeros(head.losses_shape, layer.dtype) if head.reduction == "none" else None
    weight = _factor(layer, layer.weight)
    v_weight = None if vector is None else _factor(layer, vector[0])
    total = None if d_weight is None else _Sum(layer, d_weight)
    bias_sums = None if d_bias is None else np.zeros(layer.classes)
    if d_inputs is not None and head.live is not None:
        d_inputs[...] = 0
    dense_weight = layer.weight
    if d_inputs is not None:
        if not layer.linear.is_direct(dense_weight):
            dense_weight = weight.T
        if head.mask is not None:
            dense_weight = _without(head.mask, dense_weight)
    wants_grad = any(out is not None for out in outs)
    sums: list[float] = []
    for first, last in spans:
        rows = _block_of(layer, head, first, last)
        logits = room[: last - first]
        _scores(layer, rows, weight, layer.bias, logits)
        direction = None
        if vector is not None and v_weight is not None and other is not None:
            direction = other[: last - first]
            _scores(layer, rows, v_weight, vector[1], direction)
        value = head(logits, first, last, logits if wants_grad else None, direction)
        if losses is None:
            sums.append(value)
        else:
            losses[slice(first, last) if head.live is None else head.live[first:last]] = value
        if d_inputs is not None:
            _input_gradient(layer, head, logits, dense_weight, d_inputs, first, last)
        if total is not None:
            total.add(logits, rows, (first, last))
        if bias_sums is not None:
            layer.linear.add_columns(logits, bias_sums, layer.n_threads)
    if total is not None:
        total.finish()
    if d_bias is not None:
        with np.errstate(over="ignore", under="ignore"):
            d_bias[...] = bias_sums
    return _total(sums) if losses is None else losses


def _total(sums: list[float]) -> float:
    """The sum, infinite and NaN ones included."""
    value = sum(sums)
    return math.fsum(sums) if math.isfinite(value) else float(value)


def _factor(layer: _Layer, weight: np.ndarray) -> np.ndarray:
    """The weight's transpose, as products with inputs take it: a row for each feature if these are sparse."""
    if layer.csr is not None:
        return np.ascontiguousarray(weight.T)
    return weight.T if layer.linear.is_direct(weight) else np.ascontiguousarray(weight).T


def _without(mask: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weight; with zeros in place of what is not finite in classes that are left out of all rows, whose gradients
    of 0 would make NaN of it."""
    out = np.asarray((mask if mask.strides[0] else mask[:1]).all(axis=0))
    return weight if np.isfinite(weight[out]).all() else np.where(out[:, None], 0, weight)


def _block_of(layer: _Layer, head: _Softmax | _Sigmoid, first: int, last: int) -> Any:
    """Some of the rows that count."""
    if layer.csr is not None:
        indptr, indices, values = layer.csr
        if head.live is None:
            return indptr[first:last], indptr[first + 1 : last + 1], indices, values
        live = head.live[first:last]
        return indptr[live], indptr[live + 1], indices, values
    rows = head.part(layer.dense, first, last)
    assert rows is not None
    return rows if layer.linear.is_direct(rows) else np.ascontiguousarray(rows)


def _scores(layer: _Layer, rows: Any, weight: np.ndarray, bias: np.ndarray | None, out: np.ndarray) -> None:
    if layer.csr is not None:
        layer.linear.csr_product(rows, weight, out, False, bias, layer.n_threads)
    else:
        layer.linear.product(rows, weight, out, False, bias, layer.n_threads)


def _input_gradient(
    layer: _Layer,
    head: _Softmax | _Sigmoid,
    grad: np.ndarray,
    weight: np.ndarray,
    d_inputs: np.ndarray,
    first: int,
    last: int,
) -> None:
    part = d_inputs[first:last]
    if head.live is None and layer.linear.is_direct(part):
        layer.linear.product(grad, weight, part, False, None, layer.n_threads)
        return
    found = np.empty((last - first, layer.features), layer.dtype)
    layer.linear.product(grad, weight, found, False, None, layer.n_threads)
    d_inputs[slice(first, last) if head.live is None else head.live[first:last]] = found
