"""torch's reference functions and sample inputs of its cross-entropies, from `torch/testing/_internal`, run on ours.

Cases are the module inputs of `common_modules.py`, the tests of functions and criteria in `common_nn.py`, and the
sample inputs of `common_methods_invocations.py`, in float32 and float64. Losses are compared with the reference
functions of `common_nn.py` and with torch; gradients, by targets too where these are floating, with torch, and in
float64 with differences, up to the second derivative.

Left out is one sample that draws targets of a binary cross-entropy outside [0, 1], which we refuse.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch.nn import functional
from torch.testing._internal import common_methods_invocations as invocations
from torch.testing._internal import common_nn
from torch.testing._internal.common_modules import module_db

import fastxent.compat.torch as skin

DTYPES = (torch.float32, torch.float64)
FUNCTIONS = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
MODULES = ("CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss")


class Case(NamedTuple):
    name: str
    ours: Callable[..., torch.Tensor]
    theirs: Callable[..., torch.Tensor]
    reference: Callable[..., torch.Tensor]
    tensors: tuple[torch.Tensor, ...]


def module_inputs() -> Iterator[Case]:
    for info in module_db:
        name = info.module_cls.__name__
        if name not in MODULES:
            continue
        for dtype in DTYPES:
            for case in info.module_inputs_func(info, "cpu", dtype, requires_grad=True, training=True):
                options = case.constructor_input.kwargs
                theirs = info.module_cls(**options)

                def reference(*tensors: torch.Tensor, case: Any = case, theirs: Any = theirs) -> torch.Tensor:
                    return case.reference_fn(theirs, *tensors)

                ours = getattr(skin, name)(**options)
                yield Case(f"{name} {case.desc} {dtype}", ours, theirs, reference, tuple(case.forward_input.args))


def sample_inputs() -> Iterator[Case]:
    for name in FUNCTIONS:
        for dtype in DTYPES:
            for sample in getattr(invocations, f"sample_inputs_{name}")(None, "cpu", dtype, requires_grad=True):

                def call(module: Any, name: str = name, options: Any = sample.kwargs) -> Any:
                    return lambda *tensors: getattr(module, name)(*tensors, **options)

                shape = tuple(sample.input.shape)
                title = f"{name} {shape} {', '.join(sorted(sample.kwargs))} {dtype}"
                theirs = call(functional)
                yield Case(title, call(skin), theirs, theirs, (sample.input, *sample.args))


def tests_of_functions() -> Iterator[Case]:
    """The tests of `common_nn.py` that call functions, with ours put in place of torch's."""
    for test in common_nn.get_new_module_tests():
        name = test.get("fullname", "")
        if name.startswith(("NLLLoss", "BCELoss", "BCEWithLogits")):
            tensor = test["input_fn"]() if "input_fn" in test else test["input"]
            module = test["constructor"]()

            def ours(x: torch.Tensor, module: Any = module) -> torch.Tensor:
                with mock.patch.multiple(functional, **{name: getattr(skin, name) for name in FUNCTIONS}):
                    return module(x)

            def reference(x: torch.Tensor, test: Any = test, module: Any = module) -> torch.Tensor:
                return test["reference_fn"](x, [], module)

            yield Case(name, ours, module, reference, (tensor.double().requires_grad_(),))


def tests_of_criteria() -> Iterator[Case]:
    """The tests of `common_nn.py` of rows without a batch."""
    for test in common_nn.criterion_tests:
        title = test["fullname"]
        name = title.partition("_no_batch_dim_")[0]
        if name not in MODULES or name == "BCEWithLogitsLoss":
            continue
        theirs = test["constructor"]()

        def reference(*tensors: torch.Tensor, test: Any = test, theirs: Any = theirs) -> torch.Tensor:
            return test["reference_fn"](*tensors, theirs)

        tensors = (test["input_fn"]().requires_grad_(), test["target_fn"]())
        # Not the one in the title: torch's loop over reductions leaves all of them with the last.
        yield Case(title, getattr(skin, name)(reduction=theirs.reduction), theirs, reference, tensors)


def derivatives(function: Callable[..., torch.Tensor], tensors: tuple[torch.Tensor, ...]) -> Any:
    """The loss and its gradients, weighted so that they tell losses apart."""
    leaves = [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in tensors]
    loss = function(*leaves)
    upstream = torch.linspace(0.5, 1.5, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    return loss.detach(), torch.autograd.grad(loss, [leaf for leaf in leaves if leaf.requires_grad], upstream)


def check(case: Case) -> None:
    loss, gradients = derivatives(case.ours, case.tensors)
    theirs, their_gradients = derivatives(case.theirs, case.tensors)
    torch.testing.assert_close(loss, theirs, equal_nan=True)
    torch.testing.assert_close(gradients, their_gradients, equal_nan=True)
    plain = [tensor.detach() for tensor in case.tensors]
    torch.testing.assert_close(loss, torch.as_tensor(case.reference(*plain), dtype=loss.dtype), equal_nan=True)
    if loss.dtype is torch.float64 and loss.isfinite().all():
        torch.autograd.gradcheck(case.ours, case.tensors)
        torch.autograd.gradgradcheck(case.ours, case.tensors)


def main() -> int:
    torch.manual_seed(0)
    failures, total = [], 0
    for case in (*module_inputs(), *sample_inputs(), *tests_of_functions(), *tests_of_criteria()):
        total += 1
        try:
            check(case)
        except Exception as error:  # noqa: BLE001 - reported with the case, whatever it is
            failures.append(f"{case.name}: {type(error).__name__}: {error}")
    print(*failures, f"{total - len(failures)} passed, {len(failures)} failed", sep="\n")
    return bool(failures) or total < 300


if __name__ == "__main__":
    sys.exit(main())
