"""torch, eager as most call it, and compiled, the fastest way it offers; and fastxent's functions of its names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from benchmarks.cases import COMPAT_TORCH, Case, Inputs, Layer
from benchmarks.implementation import Implementation

VERSION = torch.__version__
NAME = "torch"
FURTHER_OPERATIONS = ("linear_cross_entropy",)


def prepare(case: Case, inputs: Inputs, threads: int) -> list[Implementation]:
    """Autograd of the functional losses; sparse targets are made dense before the clock starts."""
    torch.set_num_threads(threads)
    torch.compiler.reset()  # or the shapes of the cases before make it compile for any shape
    if inputs.layer is not None:
        return _linear(inputs.layer, torch.from_numpy(inputs.labels))
    x = torch.from_numpy(inputs.logits)
    if case.operation == "logsumexp":
        reduce = _compile(torch.logsumexp)
        return [
            Implementation(NAME, NAME, lambda: torch.logsumexp(x, 1)),
            *([Implementation("torch.compile", NAME, lambda: reduce(x, 1))] if reduce else []),
        ]
    loss: Callable[..., torch.Tensor]
    if case.operation == "sigmoid_cross_entropy":
        loss = functional.binary_cross_entropy_with_logits
    else:
        loss = functional.cross_entropy
    note = ""
    if inputs.csr is None:
        targets = torch.from_numpy(inputs.labels)
    else:
        targets = torch.from_numpy(inputs.csr.toarray())
        note = "dense targets, made dense outside the timing"
    leaf = x.detach().requires_grad_()

    def eager(loss: Callable[..., torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        value = loss(leaf, targets)
        (gradient,) = torch.autograd.grad(value, leaf)
        return value.detach(), gradient

    implementations = [Implementation(NAME, NAME, lambda: eager(loss), note=note)]
    ours = _ours(loss)
    if ours is not None:
        implementations.append(Implementation(COMPAT_TORCH, NAME, lambda: eager(ours), role="ours", note=note))
    fused = _compile(torch.func.grad_and_value(loss))
    if fused:

        def compiled() -> tuple[torch.Tensor, torch.Tensor]:
            gradient, value = fused(x, targets)
            return value, gradient

        implementations.append(Implementation("torch.compile", NAME, compiled, note=note))
    return implementations


def _linear(layer: Layer, labels: torch.Tensor) -> list[Implementation]:
    """The scores of all rows and their loss, and the function that goes by chunks of rows."""
    leaves = [torch.from_numpy(array).requires_grad_() for array in (layer.inputs, layer.weight, layer.bias)]

    def step(loss: Callable[..., torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        value = loss(*leaves)
        return value.detach(), torch.autograd.grad(value, leaves)[0]

    def plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(functional.linear(x, weight, bias), labels)

    def chunked(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        options = torch.nn.LinearCrossEntropyOptions()
        return functional.linear_cross_entropy(x, weight, labels, linear_bias=bias, options=options)

    implementations = [Implementation(NAME, NAME, lambda: step(plain))]
    if hasattr(functional, "linear_cross_entropy"):
        implementations.append(Implementation("torch, chunked", NAME, lambda: step(chunked)))
    return implementations


def _ours(loss: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor] | None:
    """Our function of the same name."""
    try:
        from fastxent.compat import torch as compat
    except ImportError:
        return None
    return getattr(compat, loss.__name__)


def _compile(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """``function`` compiled for these very shapes, or None where there is no C++ compiler."""
    if not any(shutil.which(compiler) for compiler in ("g++", "clang++", "c++")):
        return None
    return torch.compile(function, dynamic=False)
