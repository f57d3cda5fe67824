"""The cross-entropies of `torch.nn.functional` on CPU tensors, with torch's names, arguments and autograd.

Losses and gradients come from one fused pass over the tensor's own memory, made when the loss is computed; `backward`
hands the gradient on. Different from torch:

* No digits are lost: the loss of scores [20, 0] at label 0 is 2.06e-9 in float32, not 0; binary losses keep their
  tails, and a score of -inf at target 0 has the loss 0, not NaN.
* Refused are labels that are out of range (with their row), negative targets, binary targets outside [0, 1], and
  smoothing outside [0, 1]; a softmax over a single class.
* Labels may be of any integer dtype. float16 and bfloat16 are computed with as float32 and rounded once.
* The gradient is that of the values at the time of the loss, whatever is done to the target before `backward`.
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

from torch.autograd import Function, forward_ad
from torch.autograd.function import once_differentiable
from torch.nn import _reduction
from torch.nn.functional import nll_loss as _nll_loss

from fastxent import _sigmoid as _sigmoid_kernels
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
    {"logits": "input", "probabilities": "input", "targets": "target", "class_weight": "weight"},
    {
        "astype(numpy.int64)": "long()",
        "numpy.clip(": "torch.clamp(",
        "use sigmoid_cross_entropy": "use binary_cross_entropy_with_logits",
        "ignore_index goes with integer labels: give rows to ignore a sample_weight of 0": "target has the shape of"
        " input, as class probabilities have, but is not floating: use target.to(input.dtype)",
        "softmax_cross_entropy for class labels": "cross_entropy for class labels",
        "categorical_cross_entropy for class labels": "nll_loss for class labels",
    },
)

_HALVES = (torch.float16, torch.bfloat16)

# What torch takes for p (1 - p) below it, a float that it calls 1e-12.
_SMALLEST_SPREAD = float(np.float32(1e-12))

# Allocators differ in what a fresh page costs: NumPy's asks for huge ones, torch's is quicker for small tensors.
_SMALL = 1 << 16


# ---- tensors and arrays --------------------------------------------------------------------------------------


def _array(tensor: torch.Tensor) -> np.ndarray:
    """The memory of a tensor as an array."""
    array: np.ndarray
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if tensor.dtype is torch.bfloat16:
        array = tensor.detach().view(torch.uint16).numpy().view(_bfloat16())
    else:
        array = tensor.detach().numpy() if tensor.requires_grad else tensor.numpy()
    if array.size and not tensor.data_ptr():
        raise ValueError(f"a tensor of shape {array.shape} has no memory: its storage has been resized to 0")
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


def _scores(input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Scores or probabilities, checked, of the dtype that torch computes in with such a target."""
    dtype = input.dtype
    if not input.is_floating_point():
        raise TypeError(
            f"input has dtype {dtype}, but is a floating tensor: use input.{'real' if dtype.is_complex else 'float()'}"
        )
    for name, tensor in (("input", input), ("target", target)):
        if not tensor.is_cpu:
            raise ValueError(f"{name} is on {tensor.device}, but this is computed on the CPU: use {name}.cpu()")
    if dtype in _HALVES and torch.is_autocast_enabled("cpu"):
        input = input.float()
    if target.is_floating_point() and target.dtype is not input.dtype:
        input = input.to(torch.promote_types(input.dtype, target.dtype))
    return input


def _wide(input: torch.Tensor) -> torch.Tensor:
    """What several steps are taken in, so that 16-bit numbers are rounded once."""
    return input.float() if input.dtype in _HALVES else input


def _check_constant(name: str, tensor: torch.Tensor | None) -> None:
    if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
        raise NotImplementedError(
            f"{name} requires a gradient, which torch does not give here either: use {name}.detach()"
        )


def _reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction, from torch's older arguments if they are given."""
    if size_average is not None or reduce is not None:
        return str(_reduction.legacy_get_string(size_average, reduce))
    return _validate.reduction_of(reduction)


def _reduced(rows: torch.Tensor, reduction: str, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Weighted losses reduced, their mean by the sum of the weights."""
    if reduction == "mean":
        return rows.mean() if weight is None else _by(rows.sum(), weight)
    return rows.sum() if reduction == "sum" else rows


def _by(total: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    divisor = weight.sum()
    nothing = divisor == 0
    return (total / divisor.masked_fill(nothing, 1)).masked_fill(nothing, torch.nan)


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


# A loss that has been computed with its gradient, if one is wanted.
_Known = tuple[torch.Tensor, torch.Tensor | None]

# Tensors to make others like, which is quicker than to describe them.
_SCALARS = {dtype: torch.empty((), dtype=dtype, device="cpu") for dtype in (torch.float32, torch.float64)}


class _Fused(Function):  # type: ignore[misc]
    """A loss with its gradient by the scores, both computed at once, unless they are known."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, others: tuple[torch.Tensor, _Loss, str, _Known | None]) -> torch.Tensor:
        # In a tuple, since each argument takes its time.
        target, loss, reduction, known = others
        gradient: torch.Tensor | None = None
        memory: Any = False
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(input, target)
            ctx.loss, ctx.reduction = loss, reduction
        if known is not None:
            # Not kept with the saved tensors: it is handed over, not copied.
            output, ctx.gradient = known
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
            ctx.gradient = gradient
        if reduction == "none":
            return torch.from_numpy(value).to(input.dtype)
        if value == 0.0 and reduction == "mean" and loss.weighs_nothing(target):
            value = np.nan
        return torch.scalar_tensor(value, dtype=input.dtype, device=input.device)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if torch.is_grad_enabled():
            input, target = ctx.saved_tensors
            return _FusedGradient.apply(input, target, upstream, ctx.loss, ctx.reduction), None
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:  # a second time
            input, target = ctx.saved_tensors
            gradient = _gradient(input, target, ctx.loss, ctx.reduction)
        try:
            if ctx.reduction == "none" or upstream.item() != 1.0:
                gradient.mul_(ctx.loss.spread(upstream))
        except RuntimeError:  # many gradients from above at once, in a tensor that takes part in neither
            gradient = gradient * ctx.loss.spread(upstream)
        return gradient, None


_apply: Callable[..., torch.Tensor] = super(Function, _Fused).apply


def _fused(
    input: torch.Tensor, target: torch.Tensor, loss: _Loss, reduction: str, known: _Known | None = None
) -> torch.Tensor:
    """`_Fused.apply` past what it does for `torch.func`, a twelfth of a small call; there it says that we cannot."""
    if known is not None and known[1] is None and forward_ad._current_level < 0:
        return known[0]
    apply = _Fused.apply if torch._C._are_functorch_transforms_active() else _apply
    return apply(input, (target, loss, reduction, known))


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


def _gradient(input: torch.Tensor, target: torch.Tensor, loss: _Loss, reduction: str) -> torch.Tensor:
    x = _array(input)
    gradient, memory = _empty_like(input, x)
    loss.function(
        x, _array(target), grad=memory, reduction=reduction, n_threads=torch.get_num_threads(), **loss.options
    )
    return gradient


def _has_address(tensor: torch.Tensor) -> bool:
    """Whether a tensor is nothing but numbers of the CPU's memory, in order."""
    kind = type(tensor)
    return (
        (kind is torch.Tensor or kind is torch.nn.Parameter)
        and tensor.is_cpu
        and tensor.is_contiguous()
        and not tensor.is_neg()
    )


def _by_address(
    kernel: Callable[..., bool],
    input: torch.Tensor,
    target: torch.Tensor,
    rows: tuple[int, ...],
    reduction: str,
    *options: Any,
) -> _Known | None:
    """What a kernel makes of small tensors by their addresses: arrays of them would take longer than the loss does.

    None if it refuses them; the way over arrays says why.
    """
    gradient = torch.empty_like(input) if input.requires_grad and torch.is_grad_enabled() else None
    output = input.new_empty(rows) if reduction == "none" else torch.empty_like(_SCALARS[input.dtype])
    known = kernel(
        input.data_ptr(),
        target.data_ptr(),
        0 if gradient is None else gradient.data_ptr(),
        output.data_ptr(),
        input.dtype is torch.float32,
        reduction,
        torch.get_num_threads(),
        *options,
    )
    return (output, gradient) if known else None


def _few_labels(
    input: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, ignore_index: int, reduction: str
) -> _Known | None:
    """The loss of few rows with labels, if it can be had by address."""
    dtype = input.dtype
    if not (
        (dtype is torch.float32 or dtype is torch.float64)
        and target.dtype is torch.int64
        and input.dim() == 2
        and target.dim() == 1
        and 0 < input.numel() < _SMALL
        and type(ignore_index) is int
        and -_MOST <= ignore_index < _MOST
        and _has_address(input)
        and _has_address(target)
        and not torch._C._are_functorch_transforms_active()
    ):
        return None
    n, classes = input.shape
    if target.shape[0] != n or classes < 2:
        return None
    weights = 0
    if weight is not None:
        if not (weight.dtype is dtype and weight.dim() == 1 and weight.shape[0] == classes and _has_address(weight)):
            return None
        weights = weight.data_ptr()
    return _by_address(_softmax_kernels.quick_at, input, target, (n,), reduction, n, classes, ignore_index, weights)


_MOST = 1 << 63


class _LogSoftmax(Function):  # type: ignore[misc]
    """Log-probabilities."""

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


class _OfTargets(Function):  # type: ignore[misc]
    """Losses of rows with targets of any sign, by which they are differentiated too; classes are along axis 1."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(input, target)
        return _signed(input, target, False)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        input, target = ctx.saved_tensors
        by_input = by_target = None
        if ctx.needs_input_grad[0]:
            by_input = _OfTargetsGradient.apply(input, target) * upstream.unsqueeze(1)
        if ctx.needs_input_grad[1]:
            by_target = -_LogSoftmax.apply(input, 1) * upstream.unsqueeze(1)
        return by_input, by_target


class _OfTargetsGradient(Function):  # type: ignore[misc]
    """The gradient of `_OfTargets` by the scores, sum(y) p - y."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(input, target)
        return _signed(input, target, True)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, v: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        input, target = ctx.saved_tensors
        p = _LogSoftmax.apply(input, 1).exp()
        mean = (p * v).sum(1, keepdim=True)
        return target.sum(1, keepdim=True) * p * (v - mean), mean - v


def _signed(input: torch.Tensor, target: torch.Tensor, gradient: bool) -> torch.Tensor:
    """Losses of rows, or their gradients, those of negative targets subtracted."""
    function: Callable[..., Any] = softmax_cross_entropy

    def part(y: torch.Tensor) -> torch.Tensor:
        with _WORDS:
            result = function(
                _array(input), _array(y), axis=1, reduction="none", grad=gradient, n_threads=torch.get_num_threads()
            )
        return _tensor(result[1] if gradient else result).to(input.dtype)

    whole = part(target.clamp(min=0))
    return whole - part((-target).clamp(min=0)) if bool((target < 0).any()) else whole


class _Probabilities(Function):  # type: ignore[misc]
    """Cross-entropy of probabilities with torch's bounds: logarithms of -100, a denominator of 1e-12."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, target: torch.Tensor, reduction: str) -> torch.Tensor:
        p, y = np.atleast_1d(_array(input), _array(target))
        wide = p.astype(_validate.output_dtypes(p)[0], copy=False)
        spread = (1 - wide) * wide
        function: Callable[..., Any] = _binary_cross_entropy
        bounded = p.size > 0 and not spread.min() >= _SMALLEST_SPREAD
        with _WORDS:
            value, gradient = function(
                p, y, reduction="none" if bounded else reduction, grad=True, n_threads=torch.get_num_threads()
            )
        scale = 1 / p.size if reduction == "mean" and p.size else 1.0
        if bounded:
            at = spread < _SMALLEST_SPREAD
            part, share = wide[at], y.astype(wide.dtype)[at]
            with np.errstate(divide="ignore"):
                yes, no = np.maximum(np.log(part), -100), np.maximum(np.log1p(-part), -100)
            value[at] = -(share * yes + (1 - share) * no)
            gradient[at] = (part - share) / wide.dtype.type(_SMALLEST_SPREAD)
            if reduction != "none":
                value = value.sum(dtype=np.float64) * scale
                gradient *= scale
        ctx.save_for_backward(input, target)
        ctx.scale = scale
        ctx.gradient = torch.from_numpy(gradient).to(input.dtype).reshape(input.shape)
        if reduction == "none":
            return torch.from_numpy(value).to(input.dtype).reshape(input.shape)
        if reduction == "mean" and not p.size:
            value = np.nan
        return torch.scalar_tensor(value, dtype=input.dtype, device=input.device)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        input, target = ctx.saved_tensors
        by_input = by_target = None
        if ctx.needs_input_grad[0]:
            if torch.is_grad_enabled():
                spread = ((1 - input) * input).clamp(min=_SMALLEST_SPREAD)
                by_input = upstream * ctx.scale * ((input - target) / spread)
            else:
                by_input = upstream * ctx.gradient
        if ctx.needs_input_grad[1]:
            logits = (1 - input).log().clamp(min=-100) - input.log().clamp(min=-100)
            by_target = upstream * ctx.scale * logits
        return by_input, by_target, None


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
    if label_smoothing == 0.0 and (weight is None or not weight.requires_grad):
        known = _few_labels(input, target, weight, ignore_index, reduction)
        if known is not None:
            return _fused(input, target, _labelled(ignore_index, weight), reduction, known)
    input = _scores(input, target)
    if input.dim() == 1:
        return _of_one_row(cross_entropy, input, target, weight, None, ignore_index, None, reduction, label_smoothing)
    with _WORDS:
        reduction = _validate.reduction_of(reduction)
        smoothing = _validate.number("label_smoothing", label_smoothing, 0.0, 1.0)
        ignored = _validate.ignored(ignore_index)
    if weight is not None:
        weight = _class_weight(weight, input)
    if target.is_floating_point():
        if ignored is not None and ignored >= 0:
            raise ValueError(f"ignore_index is {ignored}, but goes with labels: fill such rows of target with 0")
        return _of_distributions(input, target, weight, reduction, smoothing)
    if weight is None:
        return _fused(input, target, _softmax(ignore_index=ignored, label_smoothing=smoothing), reduction)
    _check_constant("weight", weight)
    if smoothing == 0.0 and not bool((weight < 0).any()):
        return _fused(input, target, _labelled(ignored, weight), reduction)
    return _of_weighted_labels(input, target, weight, ignored, reduction, smoothing)


def _of_one_row(
    function: Callable[..., torch.Tensor], input: torch.Tensor, target: torch.Tensor, *options: Any
) -> torch.Tensor:
    """The loss of a single row, whose scores have no other axis."""
    if target.shape != () and (target.shape != input.shape or not target.is_floating_point()):
        raise ValueError(
            f"target has shape {tuple(target.shape)}, input {tuple(input.shape)}: a single row has a label of shape ()"
        )
    loss = function(input.unsqueeze(0), target.unsqueeze(0), *options)
    return loss.squeeze(0) if loss.dim() else loss


def _softmax(**options: Any) -> _Loss:
    return _Loss(softmax_cross_entropy, softmax_cross_entropy_hvp, 1, {"axis": 1, **options})


def _labelled(ignore_index: int | None, weight: torch.Tensor | None) -> _Loss:
    if weight is None and ignore_index == -100:
        return _LABELS
    options = {"axis": 1, "ignore_index": ignore_index, "class_weight": weight}
    return _Loss(softmax_cross_entropy, softmax_cross_entropy_hvp, 1, options)


_LABELS = _softmax(ignore_index=-100)


def _of_weighted_labels(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    ignored: int | None,
    reduction: str,
    smoothing: float,
) -> torch.Tensor:
    """Labels with class weights and smoothing, or weights of any sign: as distributions."""
    wide = _wide(input)
    _check_labels(target, input, ignored)
    left_out = target == ignored
    labels = target.masked_fill(left_out, 0).long()
    row_weight = weight[labels].masked_fill(left_out, 0)
    mixed = _along_classes(weight * (smoothing / input.shape[1]), input).expand(input.shape)
    mixed = mixed.scatter_add(1, labels.unsqueeze(1), ((1 - smoothing) * row_weight).unsqueeze(1))
    mixed = mixed.masked_fill(left_out.unsqueeze(1), 0)
    if bool((weight < 0).any()):
        return _reduced(_OfTargets.apply(wide, mixed), reduction, row_weight).to(input.dtype)
    loss = _fused(wide, mixed, _softmax(), "none" if reduction == "none" else "sum")
    return (_by(loss, row_weight) if reduction == "mean" else loss).to(input.dtype)


def _of_distributions(
    input: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, reduction: str, smoothing: float
) -> torch.Tensor:
    """Distributions, class weights or none."""
    if target.shape != input.shape:
        raise ValueError(
            f"target has shape {tuple(target.shape)} and a floating dtype, input {tuple(input.shape)}: give a"
            " probability for each class, or target.long() for class labels"
        )
    if weight is not None:
        target, smoothing = _smoothed(_wide(target), smoothing) * _along_classes(weight, input), 0.0
    composed = target.requires_grad and torch.is_grad_enabled()
    if not composed and (weight is None or not bool((weight < 0).any())):
        return _fused(input, target, _softmax(label_smoothing=smoothing), reduction)
    if input.shape[1:2] == (1,):
        raise ValueError("input has 1 class: a softmax needs two, use binary_cross_entropy_with_logits")
    return _reduced(_OfTargets.apply(_wide(input), _smoothed(_wide(target), smoothing)), reduction).to(input.dtype)


def _smoothed(target: torch.Tensor, smoothing: float) -> torch.Tensor:
    return target * (1 - smoothing) + smoothing / target.shape[1] if smoothing else target


def _class_weight(weight: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
    """Weights of the classes, checked, in the dtype that is computed in."""
    if input.dim() == 0 or weight.shape != input.shape[1:2]:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, input {tuple(input.shape)}: give one for each class")
    _validate.check_finite("weight", _array(weight))
    return weight if weight.dtype in (torch.float32, torch.float64) else weight.to(_wide(input).dtype)


def _along_classes(weight: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
    return weight.to(_wide(input).dtype).reshape(1, -1, *(1,) * (input.dim() - 2))


def _check_labels(target: torch.Tensor, input: torch.Tensor, ignored: int | None) -> None:
    if input.dim() == 0 or target.shape != input.shape[:1] + input.shape[2:]:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, input {tuple(input.shape)}: labels have the shape of input"
            " without its classes, axis 1"
        )
    with _WORDS:
        labels = _array(target)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"target has dtype {target.dtype}, but labels are integers: use target.long()")
        _validate.labels_of(labels, input.shape[1], ignored)


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
    if target.is_floating_point():
        raise TypeError(f"target has dtype {target.dtype}, but labels are integers: use target.long()")
    input = _scores(input, target)
    if input.dim() == 1:
        return _of_one_row(nll_loss, input, target, weight, None, ignore_index, None, reduction)
    _check_labels(target, input, _validate.ignored(ignore_index))
    if weight is not None:
        _check_constant("weight", weight)
        weight = _class_weight(weight, input).to(_wide(input).dtype)
    # What is left is to look up, for which torch is good enough.
    loss = _nll_loss(_wide(input), target.long(), weight, ignore_index=ignore_index, reduction=reduction)
    return loss.to(input.dtype)


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
    factor = 1.0 if pos_weight is None else pos_weight
    if weight is None and (pos_weight is None or (pos_weight.numel() == 1 and not pos_weight.requires_grad)):
        factor = float(factor)
        known = _few_elements(input, target, factor, reduction)
        if known is not None:
            return _fused(input, target, _sigmoid(pos_weight=factor), reduction, known)
    input = _scores(input, target)
    _check_same_shape(input, target, "cross_entropy")
    _check_constant("pos_weight", pos_weight)
    if target.requires_grad and torch.is_grad_enabled():
        # Linear in the target, whose gradient torch then knows.
        absent, present = (
            _fused(_wide(input), torch.full_like(input, label), _sigmoid(), "none") for label in (0.0, 1.0)
        )
        with _WORDS:
            _validate.check_probabilities("targets", _array(target))
        rows = (1 - target) * absent + factor * target * present
        return _weighted(rows, weight, input, reduction)
    loss, whole = _sigmoid(), reduction
    if isinstance(factor, float) or factor.shape == input.shape[-1:]:
        loss = _sigmoid(pos_weight=factor if isinstance(factor, float) else _array(factor))
    else:
        with _WORDS:
            loss = _factored(positive_factors("pos_weight", _array(factor), _array(input)))
        whole = "none" if reduction == "mean" else reduction
    if weight is not None or whole != reduction:
        return _weighted(_fused(_wide(input), target, loss, "none"), weight, input, reduction)
    return _fused(input, target, loss, whole)


def _few_elements(input: torch.Tensor, target: torch.Tensor, pos_weight: float, reduction: str) -> _Known | None:
    """The loss of few elements, if it can be had by address."""
    dtype = input.dtype
    if not (
        (dtype is torch.float32 or dtype is torch.float64)
        and target.dtype is dtype
        and target.shape == input.shape
        and input.numel() < _SMALL
        and not target.requires_grad
        and _has_address(input)
        and _has_address(target)
        and not torch._C._are_functorch_transforms_active()
    ):
        return None
    return _by_address(
        _sigmoid_kernels.quick_at, input, target, tuple(input.shape), reduction, input.numel(), pos_weight
    )


def _check_same_shape(input: torch.Tensor, target: torch.Tensor, of_labels: str) -> None:
    if target.shape != input.shape:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, input {tuple(input.shape)}: they must be the same; for class"
            f" labels use {of_labels}"
        )


def _weighted(rows: torch.Tensor, weight: torch.Tensor | None, input: torch.Tensor, reduction: str) -> torch.Tensor:
    """Losses times their factors, if there are any, reduced, in the dtype of the input."""
    if weight is not None:
        _check_constant("weight", weight)
        if weight.dim() > rows.dim() or any(
            size not in (1, whole) for size, whole in zip(reversed(weight.shape), reversed(rows.shape), strict=False)
        ):
            raise ValueError(
                f"weight has shape {tuple(weight.shape)}, which cannot be broadcast to the input's {tuple(rows.shape)}"
            )
        rows = rows * weight
    return _reduced(rows, reduction).to(input.dtype)


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
    input = _scores(input, target)
    _check_same_shape(input, target, "nll_loss")
    if weight is None:
        return _Probabilities.apply(input, target, reduction)
    return _weighted(_Probabilities.apply(_wide(input), target, "none"), weight, input, reduction)


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
