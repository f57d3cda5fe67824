"""The cross-entropies of `torch.nn.functional` on CPU tensors, with torch's names, arguments and autograd.

Losses and gradients come from one fused pass over the tensor's own memory, made when the loss is computed; `backward`
hands the gradient on. Different from torch:

* No digits are lost: the loss of scores [20, 0] at label 0 is 2.06e-9 in float32, not 0; binary losses keep their
  tails, and a score of -inf at target 0 has the loss 0, not NaN.
* Refused are labels that are out of range (with their row), negative targets, binary targets outside [0, 1], and
  smoothing outside [0, 1]; a softmax over a single class.
* Labels may be of any integer dtype. float16 and bfloat16 are computed with as float32 and rounded once.
* Third derivatives, forward mode and `torch.func` are torch's own affair: use its functions there.

It takes as many threads as `torch.get_num_threads()`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError('fastxent.compat.torch needs torch: pip install "fastxent[torch]"') from None

from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import _reduction

from fastxent import _softmax as _softmax_kernels
from fastxent import _validate
from fastxent._words import Words
from fastxent.compat._elements import factored_cross_entropy, positive_factors
from fastxent.probability import binary_cross_entropy as _binary_cross_entropy
from fastxent.sigmoid import sigmoid_cross_entropy, sigmoid_cross_entropy_hvp
from fastxent.softmax import softmax_cross_entropy, softmax_cross_entropy_hvp
from fastxent.special import log_softmax

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "NLLLoss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "nll_loss",
]

_WORDS = Words(
    {
        "logits": "input",
        "probabilities": "input",
        "targets": "target",
        "class_weight": "weight",
        "astype(numpy.int64)": "long()",
        "use sigmoid_cross_entropy": "use binary_cross_entropy_with_logits",
        "ignore_index goes with integer labels: give rows to ignore a sample_weight of 0": "target has the shape of"
        " input, as class probabilities have, but is not floating: use target.to(input.dtype)",
        "softmax_cross_entropy for class labels": "cross_entropy for class labels",
        "categorical_cross_entropy for class labels": "nll_loss for class labels",
    }
)

# What torch takes for p (1 - p) below it, a float that it calls 1e-12.
_SMALLEST_SPREAD = float(np.float32(1e-12))

# Allocators differ in what a fresh page costs: NumPy's asks for huge ones, torch's is quicker for small tensors.
_SMALL = 1 << 16


# ---- tensors and arrays --------------------------------------------------------------------------------------


def _array(tensor: torch.Tensor) -> np.ndarray:
    """The memory of a tensor as an array."""
    array: np.ndarray
    if tensor.dtype is torch.bfloat16:
        array = tensor.detach().view(torch.uint16).numpy().view(_bfloat16())
    else:
        array = tensor.detach().numpy() if tensor.requires_grad else tensor.numpy()
    return array


def _tensor(array: np.ndarray) -> torch.Tensor:
    """The memory of an array as a tensor."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _bfloat16() -> Any:
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        raise ImportError("bfloat16 tensors need ml_dtypes: pip install ml_dtypes") from None
    return ml_dtypes.bfloat16


def _empty_like(tensor: torch.Tensor, array: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """A new tensor like one that has the memory of `array`, and its memory."""
    if array.size < _SMALL:
        new = torch.empty_like(tensor)
        return new, _array(new)
    memory = np.empty_like(array)
    return _tensor(memory), memory


def _reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction, from torch's older arguments if they are given."""
    if size_average is not None or reduce is not None:
        return str(_reduction.legacy_get_string(size_average, reduce))
    return _validate.reduction_of(reduction)


def _reduced(rows: torch.Tensor, reduction: str, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Weighted losses reduced, their mean by the sum of the weights."""
    if reduction == "mean":
        return rows.mean() if weight is None else rows.sum() / weight.sum()
    return rows.sum() if reduction == "sum" else rows


# ---- autograd ------------------------------------------------------------------------------------------------


class _Loss(NamedTuple):
    """A function of scores and targets with its options: what is differentiated."""

    function: Callable[..., Any]
    product: Callable[..., np.ndarray]  # of its Hessian with a vector
    axis: int | None  # of the classes
    options: dict[str, Any]

    def times_hessian(self, x: np.ndarray, y: np.ndarray, v: np.ndarray, reduction: str) -> np.ndarray:
        return self.product(x, y, v, reduction=reduction, n_threads=torch.get_num_threads(), **self.options)

    def spread(self, upstream: torch.Tensor) -> torch.Tensor:
        """The gradient of losses, over the elements of their rows."""
        return upstream if self.axis is None or upstream.dim() == 0 else upstream.unsqueeze(self.axis)

    def weighs_nothing(self, target: torch.Tensor) -> bool:
        """Whether a mean is one of nothing: torch has NaN there."""
        if self.axis is None or target.is_floating_point():
            return not target.numel()
        labels = _array(target).ravel()
        labels = labels[labels != self.options["ignore_index"]]
        weight = self.options.get("class_weight")
        return not (len(labels) if weight is None else float(weight[labels].sum()))


class _Fused(Function):  # type: ignore[misc]
    """A loss with its gradient by the scores, both computed at once."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, target: torch.Tensor, loss: _Loss, reduction: str) -> torch.Tensor:
        gradient: torch.Tensor | None = None
        memory: Any = False
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(input, target)
            ctx.loss, ctx.reduction = loss, reduction
            if loss is _LABELS:
                output, ctx.gradient = _of_few_labels(input, target, reduction)
                if output is not None:
                    return output
        x = _array(input)
        if ctx.needs_input_grad[0]:
            gradient, memory = _empty_like(input, x)
        try:
            value = loss.function(
                x,
                _array(target),
                grad=memory,
                reduction=reduction,
                n_threads=torch.get_num_threads(),
                **loss.options,
            )
        except (TypeError, ValueError) as error:
            raise _WORDS.put(error) from None
        if gradient is not None:
            value = value[0]
            # Not kept with the saved tensors: it is handed over, not copied.
            ctx.gradient = gradient
        if reduction == "none":
            return torch.from_numpy(value).to(input.dtype)
        if value == 0.0 and reduction == "mean" and loss.weighs_nothing(target):
            value = np.nan
        return torch.scalar_tensor(value, dtype=input.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if torch.is_grad_enabled():
            input, target = ctx.saved_tensors
            return _FusedGradient.apply(input, target, upstream, ctx.loss, ctx.reduction), None, None, None
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:  # a second time
            input, target = ctx.saved_tensors
            gradient = _gradient(input, target, ctx.loss, ctx.reduction)
        if ctx.reduction == "none" or upstream.item() != 1.0:
            gradient.mul_(ctx.loss.spread(upstream))
        return gradient, None, None, None


_apply: Callable[..., torch.Tensor] = super(Function, _Fused).apply


def _fused(input: torch.Tensor, target: torch.Tensor, loss: _Loss, reduction: str) -> torch.Tensor:
    """`_Fused.apply` past what it does for `torch.func`, a twelfth of a small call; there it says that we cannot."""
    apply = _Fused.apply if torch._C._are_functorch_transforms_active() else _apply
    return apply(input, target, loss, reduction)


class _FusedGradient(Function):  # type: ignore[misc]
    """The gradient of `_Fused` times what comes from above, to be differentiated once more."""

    @staticmethod
    def forward(
        ctx: Any, input: torch.Tensor, target: torch.Tensor, upstream: torch.Tensor, loss: _Loss, reduction: str
    ) -> torch.Tensor:
        ctx.save_for_backward(input, target, upstream)
        ctx.loss, ctx.reduction = loss, reduction
        return _gradient(input, target, loss, reduction).mul_(loss.spread(upstream))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, v: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        input, target, upstream = ctx.saved_tensors
        loss: _Loss = ctx.loss
        by_input = by_upstream = None
        if ctx.needs_input_grad[0]:
            product = loss.times_hessian(_array(input), _array(target), _array(v), ctx.reduction)
            by_input = _tensor(product).to(input.dtype).mul_(loss.spread(upstream))
        if ctx.needs_input_grad[2]:
            by_upstream = _gradient(input, target, loss, ctx.reduction).mul_(v)
            if upstream.dim() == 0 and ctx.reduction != "none":
                by_upstream = by_upstream.sum()
            elif loss.axis is not None:
                by_upstream = by_upstream.sum(loss.axis)
        return by_input, None, by_upstream, None, None


def _of_few_labels(
    input: torch.Tensor, target: torch.Tensor, reduction: str
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Loss and gradient of few rows with labels, by address: a tenth of the call would go into making arrays."""
    dtype = input.dtype
    if not (
        input.dim() == 2
        and target.dim() == 1
        and (dtype is torch.float32 or dtype is torch.float64)
        and target.dtype is torch.int64
        and input.numel() < _SMALL
        and input.is_contiguous()
        and target.is_contiguous()
        and input.is_cpu
        and target.is_cpu
        and reduction != "none"
    ):
        return None, None
    n, classes = input.shape
    if target.shape[0] != n or classes < 2 or n == 0:
        return None, None
    gradient, loss = torch.empty_like(input), torch.empty((), dtype=dtype)
    value = _softmax_kernels.quick_at(
        input.data_ptr(),
        target.data_ptr(),
        gradient.data_ptr(),
        loss.data_ptr(),
        n,
        classes,
        dtype is torch.float32,
        -100,
        _validate.reduction_of(reduction),
        torch.get_num_threads(),
    )
    # None for a bad label; 0 may stand for a mean of nothing.
    return (loss, gradient) if value else (None, None)


def _gradient(input: torch.Tensor, target: torch.Tensor, loss: _Loss, reduction: str) -> torch.Tensor:
    x = _array(input)
    gradient, memory = _empty_like(input, x)
    loss.function(
        x, _array(target), grad=memory, reduction=reduction, n_threads=torch.get_num_threads(), **loss.options
    )
    return gradient


class _LogSoftmax(Function):  # type: ignore[misc]
    """Log-probabilities, for what the fused loss does not take: negative weights, and targets that want a gradient."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, axis: int) -> torch.Tensor:
        x = _array(input)
        output, memory = _empty_like(input, x)
        memory[...] = log_softmax(x, axis, n_threads=torch.get_num_threads())
        ctx.save_for_backward(output)
        ctx.axis = axis
        return output

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (output,) = ctx.saved_tensors
        return upstream - output.exp() * upstream.sum(ctx.axis, keepdim=True), None


class _BinaryLosses(Function):  # type: ignore[misc]
    """Cross-entropies of probabilities, one each, with torch's bounds: logarithms of -100, a denominator of 1e-12."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        p, y = _array(input), _array(target)
        with _WORDS:
            value, gradient = _binary_cross_entropy(
                p, y, reduction="none", grad=True, n_threads=torch.get_num_threads()
            )
        wide, labels = p.astype(value.dtype, copy=False), y.astype(value.dtype, copy=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = (1 - wide) * wide
            if p.size and not spread.min() >= _SMALLEST_SPREAD:
                at = spread < _SMALLEST_SPREAD
                part, share = wide[at], labels[at]
                gradient[at] = (part - share) / value.dtype.type(_SMALLEST_SPREAD)
                yes, no = np.maximum(np.log(part), -100), np.maximum(np.log1p(-part), -100)
                value[at] = -(share * yes + (1 - share) * no)
        ctx.save_for_backward(input, target)
        ctx.gradient = torch.from_numpy(np.asarray(gradient)).to(input.dtype)
        return torch.from_numpy(np.asarray(value)).to(input.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        input, target = ctx.saved_tensors
        by_input = by_target = None
        if ctx.needs_input_grad[0]:
            if torch.is_grad_enabled():
                by_input = upstream * ((input - target) / ((1 - input) * input).clamp(min=_SMALLEST_SPREAD))
            else:
                by_input = upstream * ctx.gradient
        if ctx.needs_input_grad[1]:
            by_target = upstream * ((1 - input).log().clamp(min=-100) - input.log().clamp(min=-100))
        return by_input, by_target


# ---- functions -----------------------------------------------------------------------------------------------


def cross_entropy(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Softmax cross-entropy between scores and labels or distributions.

    For scores ``z`` and a label ``y``, or targets ``y_c``, with class weights ``w``::

        loss = -w_y log p_y    or    -sum_c w_c y_c log p_c,    p = softmax(z)

    Parameters
    ----------
    input : Tensor, shape (C,), (n, C) or (n, C, d1, ...)
        Scores, float32, float64, float16 or bfloat16.
    target : Tensor
        Labels of any integer dtype, the shape of the input without C; or a distribution, the shape of the input.
    weight : Tensor, shape (C,), optional
        Weights of the classes.
    size_average, reduce
        torch's older way to name the reduction.
    ignore_index : int, default -100
        Rows with this label do not count.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the sum of the labels' weights, for distributions by the number of rows; NaN if that is 0.
    label_smoothing : float in [0, 1], default 0
        ``(1 - e) w_y (-log p_y) + e / C sum_c w_c (-log p_c)``.

    Returns
    -------
    Tensor of the dtype of the input: a scalar, or with "none" the shape of the rows

    Raises
    ------
    TypeError, ValueError
        As `fastxent.softmax_cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> from fastxent.compat.torch import cross_entropy
    >>> input = torch.tensor([[20.0, 0.0], [1.0, 2.0]], requires_grad=True)
    >>> loss = cross_entropy(input, torch.tensor([0, 0]), reduction="sum")
    >>> loss.backward()
    >>> input.grad
    tensor([[-2.0612e-09,  2.0612e-09],
            [-7.3106e-01,  7.3106e-01]])

    Source: torch, `torch/nn/functional.py`.
    """
    if size_average is not None or reduce is not None:
        reduction = _reduction_of(size_average, reduce, reduction)
    if input.dim() == 1:
        rows = cross_entropy(
            input.unsqueeze(0), target.unsqueeze(0), weight, None, ignore_index, None, reduction, label_smoothing
        )
        return rows.squeeze(0) if reduction == "none" else rows
    if target.is_floating_point():
        return _of_distributions(input, target, weight, _validate.reduction_of(reduction), label_smoothing)
    if weight is not None:
        return _of_weighted_labels(input, target, weight, ignore_index, reduction, label_smoothing)
    if ignore_index == -100 and label_smoothing == 0.0:
        return _fused(input, target, _LABELS, reduction)
    return _fused(input, target, _softmax(ignore_index=ignore_index, label_smoothing=label_smoothing), reduction)


def _softmax(**options: Any) -> _Loss:
    return _Loss(softmax_cross_entropy, softmax_cross_entropy_hvp, 1, {"axis": 1, **options})


_LABELS = _softmax(ignore_index=-100)


def _of_weighted_labels(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> torch.Tensor:
    """Labels with class weights."""
    _check_weight(weight, input)
    with _WORDS:
        smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
    negative = bool((weight < 0).any())
    if smoothing == 0.0 and not negative:
        by_class = _array(weight).astype(np.float64)
        return _fused(input, target, _softmax(ignore_index=ignore_index, class_weight=by_class), reduction)
    labels, ignored = _labels(target, input.shape[1], ignore_index)
    row_weight = weight[labels].masked_fill(ignored, 0)
    if smoothing == 0.0:
        rows = _fused(input, target, _softmax(ignore_index=ignore_index), "none") * row_weight
    else:
        mixed = _along_classes(weight * (smoothing / input.shape[1]), input).expand(input.shape)
        mixed = mixed.scatter_add(1, labels.unsqueeze(1), ((1 - smoothing) * row_weight).unsqueeze(1))
        rows = _rows(input, mixed.masked_fill(ignored.unsqueeze(1), 0), negative)
    return _reduced(rows, _validate.reduction_of(reduction), row_weight)


def _of_distributions(
    input: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, reduction: str, label_smoothing: float
) -> torch.Tensor:
    """Distributions, class weights or none."""
    with _WORDS:
        smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
        if target.shape != input.shape:
            raise ValueError(
                f"target has shape {tuple(target.shape)} and a floating dtype, input {tuple(input.shape)}: give a"
                " probability for each class, or target.long() for class labels"
            )
    composed = target.requires_grad and torch.is_grad_enabled()
    if composed or weight is not None:
        if smoothing:
            target = target * (1 - smoothing) + smoothing / input.shape[1]
            smoothing = 0.0
        if weight is not None:
            _check_weight(weight, input)
            composed = composed or bool((weight < 0).any())
            target = target * _along_classes(weight, input)
    if composed:
        return _reduced(_rows(input, target, True), reduction)
    return _fused(input, target, _softmax(label_smoothing=smoothing), reduction)


def _rows(input: torch.Tensor, target: torch.Tensor, composed: bool) -> torch.Tensor:
    """Losses of rows, `composed` of log-probabilities if targets are negative or want a gradient."""
    if not composed:
        return _fused(input, target, _softmax(), "none")
    log_p = _LogSoftmax.apply(input, 1)
    return -torch.where(target == 0, 0, target * log_p).sum(1)


def _check_weight(weight: torch.Tensor, input: torch.Tensor) -> None:
    if weight.shape != input.shape[1:2]:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, but there are {input.shape[1]} classes")


def _along_classes(weight: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
    return weight.reshape(1, -1, *(1,) * (input.dim() - 2))


def _labels(target: torch.Tensor, classes: int, ignore_index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Checked labels for indexing, 0 for those that are ignored, and which are."""
    with _WORDS:
        _validate.labels_of(_array(target), classes, ignore_index)
    ignored = target == ignore_index
    return target.masked_fill(ignored, 0).long(), ignored


def nll_loss(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Negative log-likelihood: the log-probabilities at the labels, with their sign turned.

    For log-probabilities ``x`` and a label ``y``, with class weights ``w``::

        loss = -w_y x_y

    Parameters
    ----------
    input : Tensor, shape (C,), (n, C) or (n, C, d1, ...)
        Log-probabilities.
    target : Tensor of integers
        Labels, the shape of the input without C.
    weight, size_average, ignore_index, reduce, reduction
        As in `cross_entropy`.

    Returns
    -------
    Tensor of the dtype of the input: a scalar, or with "none" the shape of the target

    Raises
    ------
    TypeError, ValueError
        A label out of range or not an integer; shapes that do not match.

    Examples
    --------
    >>> import torch
    >>> from fastxent.compat.torch import nll_loss
    >>> nll_loss(torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]])), torch.tensor([0, 1]))
    tensor(1.0397)

    Source: torch, `torch/nn/functional.py`.
    """
    reduction = _reduction_of(size_average, reduce, reduction)
    if input.dim() == 1:
        rows = nll_loss(input.unsqueeze(0), target.unsqueeze(0), weight, None, ignore_index, None, reduction)
        return rows.squeeze(0) if reduction == "none" else rows
    if target.is_floating_point():
        raise TypeError(f"target has dtype {target.dtype}, but labels are integers: use target.long()")
    if input.dim() == 0 or target.shape != input.shape[:1] + input.shape[2:]:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, input {tuple(input.shape)}: labels have the shape of input"
            " without its classes, axis 1"
        )
    labels, ignored = _labels(target, input.shape[1], ignore_index)
    if weight is not None:
        _check_weight(weight, input)
    row_weight = torch.ones_like(labels, dtype=input.dtype) if weight is None else weight[labels]
    row_weight = row_weight.masked_fill(ignored, 0)
    picked = input.gather(1, labels.unsqueeze(1)).squeeze(1)
    rows = -torch.where(row_weight == 0, 0, picked * row_weight)
    return _reduced(rows, reduction, row_weight)


def binary_cross_entropy_with_logits(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sigmoid cross-entropy between scores and targets, element by element.

    For a score ``x`` and a target ``y``::

        loss = weight ((1 - y) softplus(x) + pos_weight y softplus(-x))

    Parameters
    ----------
    input : Tensor
        Scores, float32, float64, float16 or bfloat16.
    target : Tensor, the shape of the input
        0 and 1, or probabilities.
    weight : Tensor, broadcast with the input, optional
        Factors of the losses.
    size_average, reduce
        torch's older way to name the reduction.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of losses, whatever their weights.
    pos_weight : Tensor, broadcast to the input, optional
        Factors of the positive terms, at least 0.

    Returns
    -------
    Tensor of the dtype of the input: a scalar, or with "none" the shape of the input

    Raises
    ------
    TypeError, ValueError
        As `fastxent.sigmoid_cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> from fastxent.compat.torch import binary_cross_entropy_with_logits
    >>> binary_cross_entropy_with_logits(torch.tensor([-40.0, 0.0]), torch.tensor([0.0, 1.0]), reduction="none")
    tensor([4.2484e-18, 6.9315e-01])

    Source: torch, `torch/nn/functional.py`.
    """
    reduction = _reduction_of(size_average, reduce, reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, input {tuple(input.shape)}: they must be the same; for class"
            " labels use cross_entropy"
        )
    if target.requires_grad and torch.is_grad_enabled():
        # Linear in the target, whose gradient torch then knows.
        absent, present = (_fused(input, torch.full_like(input, label), _sigmoid(), "none") for label in (0.0, 1.0))
        with _WORDS:
            _validate.check_probabilities("targets", np.asarray(_array(target)))
        factor = 1 if pos_weight is None else pos_weight
        rows = (1 - target) * absent + factor * target * present
        return _reduced(rows if weight is None else rows * weight, reduction)
    loss, whole = _sigmoid(), reduction
    if pos_weight is not None:
        if pos_weight.numel() == 1:
            loss = _sigmoid(pos_weight=float(pos_weight))
        elif pos_weight.shape == input.shape[-1:]:
            loss = _sigmoid(pos_weight=_array(pos_weight))
        else:
            with _WORDS:
                loss = _factored(positive_factors("pos_weight", _array(pos_weight), _array(input)))
            whole = "none" if reduction == "mean" else reduction
    if weight is not None:
        return _reduced(_fused(input, target, loss, "none") * weight, reduction)
    value = _fused(input, target, loss, whole)
    return value.mean() if whole != reduction else value


def _sigmoid(**options: Any) -> _Loss:
    return _Loss(sigmoid_cross_entropy, sigmoid_cross_entropy_hvp, None, options)


def _factored(factors: np.ndarray) -> _Loss:
    """With a factor of the positive term for each element."""

    def product(x: np.ndarray, y: np.ndarray, v: np.ndarray, factors: np.ndarray, **options: Any) -> np.ndarray:
        return sigmoid_cross_entropy_hvp(x, y, v, sample_weight=1.0 - y + factors * y, **options)

    return _Loss(factored_cross_entropy, product, None, {"factors": factors})


def binary_cross_entropy(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Cross-entropy between probabilities and targets, element by element.

    For a probability ``p`` and a target ``y``::

        loss = -weight (y max(log(p), -100) + (1 - y) max(log(1 - p), -100))

    Parameters
    ----------
    input : Tensor
        Probabilities.
    target : Tensor, the shape of the input
        0 and 1, or probabilities.
    weight : Tensor, broadcast to the input, optional
        Factors of the losses.
    size_average, reduce, reduction
        As in `binary_cross_entropy_with_logits`.

    Returns
    -------
    Tensor of the dtype of the input: a scalar, or with "none" the shape of the input

    Raises
    ------
    TypeError, ValueError
        As `fastxent.binary_cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> from fastxent.compat.torch import binary_cross_entropy
    >>> binary_cross_entropy(torch.tensor([0.0, 0.5]), torch.tensor([1.0, 1.0]), reduction="none")
    tensor([100.0000,   0.6931])

    Source: torch, `torch/nn/functional.py`.
    """
    reduction = _reduction_of(size_average, reduce, reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, input {tuple(input.shape)}: they must be the same; for class"
            " labels use nll_loss"
        )
    rows = _BinaryLosses.apply(input, target)
    return _reduced(rows if weight is None else rows * weight, reduction)


# ---- modules -------------------------------------------------------------------------------------------------


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):  # type: ignore[misc]
    """`cross_entropy` as a module, with the options of `torch.nn.CrossEntropyLoss`.

    Examples
    --------
    >>> import torch
    >>> from fastxent.compat.torch import CrossEntropyLoss
    >>> CrossEntropyLoss(label_smoothing=0.1)(torch.tensor([[4.0, 0.0]]), torch.tensor([0]))
    tensor(0.2181)

    Source: torch, `torch/nn/modules/loss.py`.
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of `cross_entropy`."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(torch.nn.NLLLoss):  # type: ignore[misc]
    """`nll_loss` as a module, with the options of `torch.nn.NLLLoss`."""

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of `nll_loss`."""
        return nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):  # type: ignore[misc]
    """`binary_cross_entropy_with_logits` as a module, with the options of `torch.nn.BCEWithLogitsLoss`.

    Examples
    --------
    >>> import torch
    >>> from fastxent.compat.torch import BCEWithLogitsLoss
    >>> BCEWithLogitsLoss(pos_weight=torch.ones([64]))(torch.full([10, 64], 1.5), torch.ones([10, 64]))
    tensor(0.2014)

    Source: torch, `torch/nn/modules/loss.py`.
    """

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of `binary_cross_entropy_with_logits`."""
        return binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class BCELoss(torch.nn.BCELoss):  # type: ignore[misc]
    """`binary_cross_entropy` as a module, with the options of `torch.nn.BCELoss`."""

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of `binary_cross_entropy`."""
        return binary_cross_entropy(input, target, self.weight, reduction=self.reduction)
