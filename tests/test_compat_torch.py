"""`fastxent.compat.torch`: bits of the core, torch's conventions, and what autograd may ask for.

torch's own reference functions and samples run in `make test-peers`, which installs torch; without it this is skipped.
"""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import fastxent as fx
from losses import same_bits

torch = pytest.importorskip("torch")
skin = pytest.importorskip("fastxent.compat.torch")
functional = torch.nn.functional

DTYPES = [torch.float32, torch.float64]
SHAPES = [(6, 4), (3, 5, 2), (2, 4, 3, 5)]
both = pytest.mark.parametrize("dtype", DTYPES, ids=str)
reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def scores(*shape: int, dtype: Any = torch.float32) -> Any:
    return (3 * torch.randn(shape, dtype=torch.float64)).to(dtype).requires_grad_()


def labels_of(shape: tuple[int, ...]) -> Any:
    return torch.randint(0, shape[1], (shape[0], *shape[2:]))


def derivatives(loss: Any, input: Any) -> tuple[np.ndarray, np.ndarray]:
    (gradient,) = torch.autograd.grad(loss.sum(), input)
    return loss.detach().numpy(), gradient.numpy()


# ---- the core's bits -------------------------------------------------------------------------------------------


@both
@reductions
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_labels_have_the_bits_of_the_core(dtype: Any, reduction: str, shape: tuple[int, ...]) -> None:
    input, labels = scores(*shape, dtype=dtype), labels_of(shape)
    labels[0] = -100
    for options in ({}, {"label_smoothing": 0.1}):
        loss, gradient = derivatives(skin.cross_entropy(input, labels, reduction=reduction, **options), input)
        wanted = fx.softmax_cross_entropy(
            input.detach().numpy(), labels.numpy(), axis=1, ignore_index=-100, reduction=reduction, grad=True, **options
        )
        assert same_bits(loss, np.asarray(wanted[0], gradient.dtype))
        assert same_bits(gradient, wanted[1])


@both
@reductions
def test_distributions_have_the_bits_of_the_core(dtype: Any, reduction: str) -> None:
    input, target = scores(6, 4, dtype=dtype), torch.rand(6, 4, dtype=dtype)
    loss, gradient = derivatives(skin.cross_entropy(input, target, reduction=reduction), input)
    wanted = fx.softmax_cross_entropy(input.detach().numpy(), target.numpy(), reduction=reduction, grad=True)
    assert same_bits(loss, np.asarray(wanted[0], gradient.dtype)) and same_bits(gradient, wanted[1])


@both
@reductions
@pytest.mark.parametrize("pos_weight", [None, 2.0, [0.5, 1.0, 2.0, 3.0]], ids=str)
def test_sigmoid_has_the_bits_of_the_core(dtype: Any, reduction: str, pos_weight: Any) -> None:
    input, target = scores(6, 4, dtype=dtype), torch.rand(6, 4, dtype=dtype)
    factor = None if pos_weight is None else torch.tensor(pos_weight, dtype=torch.float64)
    got = skin.binary_cross_entropy_with_logits(input, target, reduction=reduction, pos_weight=factor)
    loss, gradient = derivatives(got, input)
    options = {} if pos_weight is None else {"pos_weight": pos_weight}
    wanted = fx.sigmoid_cross_entropy(input.detach().numpy(), target.numpy(), reduction=reduction, grad=True, **options)
    assert same_bits(loss, np.asarray(wanted[0], gradient.dtype)) and same_bits(gradient, wanted[1])


@both
@reductions
def test_a_single_number_has_weights(dtype: Any, reduction: str) -> None:
    input, target, weight, factor = (torch.tensor(value, dtype=dtype) for value in (0.3, 1.0, 2.0, 3.0))
    for options in ({}, {"weight": weight}, {"pos_weight": factor}, {"weight": weight, "pos_weight": factor}):
        got = skin.binary_cross_entropy_with_logits(input, target, reduction=reduction, **options)
        wanted = functional.binary_cross_entropy_with_logits(input, target, reduction=reduction, **options)
        assert got.shape == () and got.item() == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.parametrize("n", [1, 32, 700])
@pytest.mark.parametrize("labels_dtype", [torch.int64, torch.int32, torch.uint8], ids=str)
def test_small_calls_by_address_and_large_ones_by_array_agree(n: int, labels_dtype: Any) -> None:
    """700 x 100 elements are past where gradients come from NumPy's allocator."""
    input = scores(n, 100)
    labels = labels_of((n, 100)).to(labels_dtype)
    wanted = fx.softmax_cross_entropy(input.detach().numpy(), labels.numpy(), grad=True)
    for x, y in ((input, labels), (input.t().contiguous().t(), labels), (input, labels.repeat_interleave(2)[::2])):
        x = x.detach().requires_grad_()
        loss, gradient = derivatives(skin.cross_entropy(x, y), x)
        assert loss == np.float32(wanted[0]) and same_bits(np.ascontiguousarray(gradient), wanted[1])


def test_all_digits() -> None:
    input = torch.tensor([[20.0, 0.0]], requires_grad=True)
    loss = skin.cross_entropy(input, torch.tensor([0]))
    loss.backward()
    np.testing.assert_allclose([loss.item(), -input.grad[0, 0], input.grad[0, 1]], 2.0611536e-9, rtol=1e-7)
    x = torch.tensor([-40.0, -torch.inf, 40.0], dtype=torch.float64)
    loss = skin.binary_cross_entropy_with_logits(
        x, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), reduction="none"
    )
    np.testing.assert_allclose(loss, [4.248354255291589e-18, 0, 4.248354255291589e-18], rtol=1e-15)


@both
def test_a_gradient_by_the_target_is_minus_the_log_probability(dtype: Any) -> None:
    input = torch.tensor([[20.0, 0.0, -torch.inf]], dtype=dtype, requires_grad=True)
    target = torch.tensor([[1.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    by_input, by_target = torch.autograd.grad(skin.cross_entropy(input, target), [input, target])
    np.testing.assert_allclose(by_target, [[2.0611536e-9, 20, np.inf]], rtol=1e-7)
    np.testing.assert_allclose(by_input, [[-2.0611536e-9, 2.0611536e-9, 0]], rtol=1e-7)


# ---- what stands behind a tensor -------------------------------------------------------------------------------


def test_small_calls_by_address_take_their_options() -> None:
    for dtype in DTYPES:
        input, labels, weight = scores(32, 10, dtype=dtype), labels_of((32, 10)), torch.rand(10, dtype=dtype)
        for options in ({"weight": weight}, {"ignore_index": 3}, {"weight": weight, "ignore_index": 3}):
            for reduction in ("mean", "sum", "none"):
                near, far = (
                    derivatives(skin.cross_entropy(input, y, reduction=reduction, **options), input)
                    for y in (labels, labels.int())
                )
                for a, b in zip(near, far, strict=True):
                    assert same_bits(a, b)
                theirs = derivatives(functional.cross_entropy(input, labels, reduction=reduction, **options), input)
                np.testing.assert_allclose(near[0], theirs[0], rtol=1e-5)
                assert skin.cross_entropy(input.detach(), labels, reduction=reduction, **options).equal(
                    torch.from_numpy(near[0])
                )


@reductions
def test_small_sigmoids_by_address_and_by_array_agree(reduction: str) -> None:
    for dtype in DTYPES:
        input, target = scores(7, 5, dtype=dtype), torch.rand(7, 5, dtype=dtype)
        for pos_weight in (None, torch.tensor(3.0)):
            near, far = (
                derivatives(
                    skin.binary_cross_entropy_with_logits(input, y, reduction=reduction, pos_weight=pos_weight), input
                )
                for y in (target, target.T.contiguous().T)
            )
            for a, b in zip(near, far, strict=True):
                assert same_bits(a, b)


def test_a_default_device_is_for_new_tensors() -> None:
    input, labels, target = scores(4, 5), labels_of((4, 5)), torch.rand(4, 5)
    torch.set_default_device("meta")
    try:
        for loss in (
            skin.cross_entropy(input, labels),
            skin.cross_entropy(input, labels, label_smoothing=0.1),
            skin.cross_entropy(input.detach(), labels.int()),
            skin.binary_cross_entropy_with_logits(input, target),
            skin.binary_cross_entropy(target, target),
        ):
            assert loss.device.type == "cpu" and loss.detach().item() > 0
    finally:
        torch.set_default_device(None)


def test_views_that_are_not_what_their_memory_is() -> None:
    input, labels = scores(4, 5).detach(), labels_of((4, 5))
    negative = torch._neg_view(input)
    for x in (negative, negative.clone().requires_grad_()):
        torch.testing.assert_close(skin.cross_entropy(x, labels), functional.cross_entropy(x, labels))
    memory = bytearray(4 * 20 + 1)
    askew = torch.frombuffer(memory, dtype=torch.float32, offset=1, count=20).reshape(4, 5)
    assert skin.cross_entropy(askew, labels).item() == pytest.approx(np.log(5))


@pytest.mark.parametrize("kind", ["wrapper", "zero", "resized", "resized target", "fake"])
def test_tensors_without_memory_are_refused(kind: str) -> None:
    input, labels = scores(4, 5).detach(), labels_of((4, 5))
    if kind == "wrapper":
        two_tensor = pytest.importorskip("torch.testing._internal.two_tensor")
        input = two_tensor.TwoTensor(input, input.clone())
    elif kind == "zero":
        input = torch._efficientzerotensor((4, 5))
    elif kind == "resized":
        input.untyped_storage().resize_(0)
    elif kind == "resized target":
        labels.untyped_storage().resize_(0)
    else:
        fake_tensor = pytest.importorskip("torch._subclasses.fake_tensor")
        with fake_tensor.FakeTensorMode():
            input, labels = torch.zeros(4, 5), torch.zeros(4, dtype=torch.long)
    with pytest.raises((RuntimeError, ValueError)):
        skin.cross_entropy(input.requires_grad_(), labels)


# ---- torch's conventions ---------------------------------------------------------------------------------------


@both
@reductions
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", ["positive", "any", "none"])
@pytest.mark.parametrize("form", ["labels", "distribution", "distribution with gradient"])
def test_as_in_torch(
    dtype: Any, reduction: str, shape: tuple[int, ...], smoothing: float, weights: str, form: str
) -> None:
    weight = None
    if weights != "none":
        weight = torch.rand(shape[1], dtype=dtype) - (0.5 if weights == "any" else 0.0)
    options = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
    target = labels_of(shape) if form == "labels" else torch.rand(shape, dtype=dtype)
    if form == "labels":
        target.view(-1)[1] = options["ignore_index"] = -7
    target.requires_grad_(form == "distribution with gradient")
    input = scores(*shape, dtype=dtype)
    ours, theirs = (derive(module, input, target, options) for module in (skin, functional))
    torch.testing.assert_close(ours, theirs)


def derive(module: Any, input: Any, target: Any, options: dict[str, Any]) -> Any:
    loss = module.cross_entropy(input, target, **options)
    upstream = torch.linspace(-1, 1, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    wanted = [input, target] if target.requires_grad else [input]
    return loss.detach(), torch.autograd.grad(loss, wanted, upstream)


@pytest.mark.parametrize("weight", [None, [0.0, 0.0]], ids=str)
def test_a_mean_of_nothing_is_nan(weight: Any) -> None:
    input = scores(3, 2)
    labels = torch.tensor([0, 1, 1]) if weight else torch.full((3,), -100)
    factors = None if weight is None else torch.tensor(weight)
    loss = skin.cross_entropy(input, labels, factors)
    loss.backward()
    assert loss.isnan() and not input.grad.any()
    assert skin.cross_entropy(input, labels, factors, reduction="sum") == 0
    assert skin.nll_loss(input, labels, factors).isnan()
    for empty in (torch.zeros(0, dtype=torch.long), torch.zeros(0, 2)):
        assert skin.cross_entropy(torch.zeros(0, 2), empty).isnan()
    assert skin.binary_cross_entropy_with_logits(torch.zeros(0), torch.zeros(0)).isnan()
    assert skin.cross_entropy(torch.tensor([[1000.0, 0.0]]), torch.tensor([0])) == 0


def test_a_smoothed_mean_of_nothing_is_nan() -> None:
    input, labels = scores(3, 2), torch.tensor([0, 0, 0])
    loss = skin.cross_entropy(input, labels, torch.tensor([0.0, 1.0]), label_smoothing=0.1)
    loss.backward()
    assert loss.isnan() and not input.grad.any()


def test_dtypes_of_results() -> None:
    pytest.importorskip("ml_dtypes")
    x, labels, y = torch.randn(4, 5), torch.tensor([0, 1, 2, 3]), torch.rand(4, 5)
    p = x.sigmoid()
    calls = [
        lambda m, d, e: m.cross_entropy(x.to(d), labels),
        lambda m, d, e: m.cross_entropy(x.to(d), y.to(e)),
        lambda m, d, e: m.nll_loss(x.to(d), labels),
        lambda m, d, e: m.binary_cross_entropy_with_logits(x.to(d), y.to(e)),
        lambda m, d, e: m.binary_cross_entropy(p.to(d), y.to(d)),
    ]
    dtypes = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    for call in calls:
        assert call(skin, torch.float32, torch.float64).dtype is call(functional, torch.float32, torch.float64).dtype
        for d in dtypes:
            assert call(skin, d, d).dtype is call(functional, d, d).dtype is d
            with torch.autocast("cpu", torch.bfloat16):
                assert call(skin, d, d).dtype is call(functional, d, d).dtype


def test_halves_are_not_added_up_as_halves() -> None:
    input, labels = torch.zeros(70_000, 3, dtype=torch.float16), torch.zeros(70_000, dtype=torch.long)
    weight = torch.tensor([1.0, 2.0, 3.0])
    for loss in (
        skin.cross_entropy(input, labels, weight, label_smoothing=0.1) - 1.2 * np.log(3) + 0.1 * np.log(3),
        skin.cross_entropy(input, labels, -weight) - np.log(3),
        skin.nll_loss(input - 1, labels) - 1,
        skin.binary_cross_entropy_with_logits(input, input, weight) - 2 * np.log(2),
        skin.binary_cross_entropy(input + 0.5, input, weight) - 2 * np.log(2),
    ):
        assert loss.dtype is torch.float16 and abs(loss.item()) < 2e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@reductions
def test_halves_are_computed_as_floats_and_rounded_once(dtype: Any, reduction: str) -> None:
    pytest.importorskip("ml_dtypes")
    input, labels = scores(40, 7, dtype=dtype), labels_of((40, 7))
    wide = input.detach().float().requires_grad_()
    loss, wanted = (skin.cross_entropy(x, labels, reduction=reduction) for x in (input, wide))
    assert loss.dtype is dtype
    torch.testing.assert_close(loss, wanted.to(dtype), rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(loss.sum(), input)
    (wanted_gradient,) = torch.autograd.grad(wanted.sum(), wide)
    assert gradient.dtype is dtype
    torch.testing.assert_close(gradient, wanted_gradient.to(dtype), rtol=0, atol=0)
    target = torch.rand(40, 7).to(dtype)
    sigmoid = skin.binary_cross_entropy_with_logits(input, target, reduction=reduction)
    torch.testing.assert_close(
        sigmoid,
        skin.binary_cross_entropy_with_logits(wide, target.float(), reduction=reduction).to(dtype),
        rtol=0,
        atol=0,
    )
    (second,) = torch.autograd.grad(sigmoid.sum(), input)
    assert second.dtype is dtype


def test_older_names_of_reductions() -> None:
    input, labels = scores(5, 3), labels_of((5, 3))
    with pytest.warns(UserWarning, match="deprecated"):
        rows = skin.cross_entropy(input, labels, None, None, -100, False)
    assert rows.shape == (5,)
    with pytest.warns(UserWarning, match="deprecated"):
        total = skin.nll_loss(input, labels, None, False)
    assert total == skin.nll_loss(input, labels, reduction="sum")


@both
def test_weights_that_are_broadcast(dtype: Any) -> None:
    input, target = scores(4, 3, 2, dtype=dtype), torch.rand(4, 3, 2, dtype=dtype)
    for weight in (torch.rand(3, 1, dtype=dtype) - 0.5, torch.rand(4, 3, 2, dtype=dtype), torch.tensor(-2.0)):
        for pos_weight in (None, torch.rand(3, 1, dtype=dtype), torch.rand(4, 3, 2, dtype=dtype)):
            for reduction in ("mean", "sum", "none"):
                options = {"weight": weight, "pos_weight": pos_weight, "reduction": reduction}
                ours, theirs = (
                    derivatives(module.binary_cross_entropy_with_logits(input, target, **options), input)
                    for module in (skin, functional)
                )
                for a, b in zip(ours, theirs, strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-4 if dtype is torch.float32 else 1e-10, atol=1e-6)


def test_binary_cross_entropy_at_its_bounds() -> None:
    p = torch.tensor([0.0, 1.0, 0.0, 1.0, 1e-30, 0.25], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1.0, 0.0, 0.5, 0.25, 1.0, 0.5], dtype=torch.float64)
    for a, b in zip(
        *(
            derivatives(f(p, y, reduction="none"), p)
            for f in (skin.binary_cross_entropy, functional.binary_cross_entropy)
        ),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12)


# ---- autograd --------------------------------------------------------------------------------------------------


def test_the_gradient_is_handed_over_and_not_copied(monkeypatch: Any) -> None:
    made: list[weakref.ref[Any]] = []
    empty_like = skin._empty_like

    def recorded(tensor: Any, array: Any) -> Any:
        gradient, memory = empty_like(tensor, array)
        made.append(weakref.ref(memory))
        return gradient, memory

    monkeypatch.setattr(skin, "_empty_like", recorded)
    input = scores(700, 100)
    skin.cross_entropy(input, labels_of((700, 100))).backward()
    assert input.grad.data_ptr() == made[0]().ctypes.data
    input.grad = None
    gc.collect()
    assert made[0]() is None


@both
@reductions
def test_backward_as_often_as_one_likes(dtype: Any, reduction: str) -> None:
    input, labels = scores(6, 4, dtype=dtype), labels_of((6, 4))
    loss = skin.cross_entropy(input, labels, reduction=reduction).sum() * 3
    first, second = (torch.autograd.grad(loss, input, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    loss.backward()
    torch.testing.assert_close(input.grad, first, rtol=0, atol=0)


def test_gradients_add_up() -> None:
    input, labels = scores(6, 4), labels_of((6, 4))
    for _ in range(2):
        skin.cross_entropy(input, labels).backward()
    once = fx.softmax_cross_entropy(input.detach().numpy(), labels.numpy(), grad=True)[1]
    np.testing.assert_array_equal(input.grad.numpy(), once + once)
    loss = skin.cross_entropy(input, labels) + skin.cross_entropy(2 * input, labels)
    torch.autograd.grad(loss, input)


@reductions
def test_second_derivatives(reduction: str) -> None:
    input, labels = scores(4, 3, 2, dtype=torch.float64), labels_of((4, 3, 2))
    weight = torch.rand(3, dtype=torch.float64)
    target = torch.rand(4, 3, 2, dtype=torch.float64)
    factor = torch.rand(3, 2, dtype=torch.float64)
    for function in (
        lambda x: skin.cross_entropy(x, labels, reduction=reduction),
        lambda x: skin.cross_entropy(x, labels, weight, reduction=reduction, label_smoothing=0.2),
        lambda x: skin.cross_entropy(x, target, reduction=reduction, label_smoothing=0.2),
        lambda x: skin.binary_cross_entropy_with_logits(x, target, reduction=reduction),
        lambda x: skin.binary_cross_entropy_with_logits(x, target, reduction=reduction, pos_weight=factor),
        lambda x: skin.binary_cross_entropy(x.sigmoid(), target, reduction=reduction),
        lambda x: skin.nll_loss(x, labels, weight, reduction=reduction),
    ):
        assert torch.autograd.gradcheck(function, input)
        assert torch.autograd.gradgradcheck(function, input)


def test_a_hessian() -> None:
    labels = torch.tensor([1])
    x = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    got = torch.autograd.functional.hessian(lambda x: skin.cross_entropy(x, labels), x)
    wanted = torch.autograd.functional.hessian(lambda x: functional.cross_entropy(x, labels), x)
    torch.testing.assert_close(got, wanted)


def test_batched_gradients() -> None:
    input, labels = scores(4, 5), labels_of((4, 5))
    rows = skin.cross_entropy(input, labels, reduction="none")
    (batched,) = torch.autograd.grad(rows, input, torch.eye(4), is_grads_batched=True, retain_graph=True)
    single = torch.stack([torch.autograd.grad(rows, input, v, retain_graph=True)[0] for v in torch.eye(4)])
    torch.testing.assert_close(batched, single, rtol=0, atol=0)
    (batched,) = torch.autograd.grad(
        skin.cross_entropy(input, labels), input, torch.tensor([1.0, 2.0]), is_grads_batched=True
    )
    torch.testing.assert_close(batched[1], 2 * batched[0], rtol=0, atol=0)


def test_gradients_by_weights_and_targets() -> None:
    input, target = scores(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, dtype=torch.float64, requires_grad=True)
    for function in (
        lambda x, y, w: skin.cross_entropy(x, y, w, label_smoothing=0.2),
        lambda x, y, w: skin.cross_entropy(x, y, w, reduction="none"),
    ):
        assert torch.autograd.gradcheck(function, (input, target, weight))
        assert torch.autograd.gradgradcheck(function, (input, target, weight))


def test_forward_mode_is_told_that_it_cannot_follow() -> None:
    from torch.autograd import forward_ad

    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.zeros(4, 5), torch.ones(4, 5))
        with pytest.raises(NotImplementedError, match="jvp"):
            skin.cross_entropy(dual, torch.tensor([0, 1, 2, 3]))


def test_without_gradient_nothing_is_kept() -> None:
    input = scores(4, 3).detach()
    loss = skin.cross_entropy(input, torch.tensor([0, 1, 2, 0]))
    assert not loss.requires_grad and loss.grad_fn is None
    with torch.no_grad():
        assert skin.cross_entropy(input.requires_grad_(), torch.tensor([0, 1, 2, 0])) == loss


def test_transforms_are_told_that_they_cannot_follow() -> None:
    labels = torch.tensor([0, 1])
    with pytest.raises(RuntimeError, match="functorch"):
        torch.func.grad(lambda x: skin.cross_entropy(x, labels))(torch.zeros(2, 3))


def test_modules_train() -> None:
    model = torch.nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x, y = torch.randn(60, 5), labels_of((60, 3))
    y = (x[:, :3].argmax(1)) % 3
    criterion = skin.CrossEntropyLoss(weight=torch.ones(3), label_smoothing=0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"])
def test_modules_are_torch_s(name: str) -> None:
    module = getattr(skin, name)(reduction="sum")
    assert isinstance(module, getattr(torch.nn, name))
    assert pickle.loads(pickle.dumps(module)).reduction == "sum"
    p = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    target = torch.tensor([0, 1]) if name in ("CrossEntropyLoss", "NLLLoss") else torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    torch.testing.assert_close(module(p, target), getattr(torch.nn, name)(reduction="sum")(p, target))


# ---- refusals --------------------------------------------------------------------------------------------------

ZEROS = torch.zeros(2, 3)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: skin.cross_entropy(ZEROS, torch.tensor([0, 3])), ("target[1] is 3", "0 to 2", "ignore_index")),
        (lambda: skin.cross_entropy(ZEROS.clone().requires_grad_(), torch.tensor([0, 3])), ("target[1] is 3",)),
        (lambda: skin.cross_entropy(ZEROS, torch.tensor([0, -1])), ("target[1] is -1",)),
        (lambda: skin.cross_entropy(ZEROS, torch.tensor([0, 1, 2])), ("target has shape (3,)", "input (2, 3)")),
        (lambda: skin.cross_entropy(ZEROS, torch.tensor([0.0, 1.0])), ("target has shape (2,)", "long()")),
        (lambda: skin.cross_entropy(ZEROS, torch.zeros(2, 3, dtype=torch.long)), ("floating", "to(input.dtype)")),
        (lambda: skin.cross_entropy(ZEROS, -torch.ones(2, 3)), ("target[0, 0] is -1",)),
        (lambda: skin.cross_entropy(ZEROS, torch.tensor([0, 1]), torch.ones(2)), ("weight has shape (2,)",)),
        (lambda: skin.cross_entropy(ZEROS, torch.tensor([0, 1]), label_smoothing=-0.1), ("label_smoothing is -0.1",)),
        (
            lambda: skin.cross_entropy(ZEROS, torch.tensor([0, 1]), torch.ones(3), label_smoothing=2.0),
            ("smoothing is 2",),
        ),
        (lambda: skin.cross_entropy(ZEROS.long(), torch.tensor([0, 1])), ("input has dtype torch.int64", "float()")),
        (lambda: skin.cross_entropy(ZEROS > 0, torch.tensor([0, 1])), ("input has dtype torch.bool", "float()")),
        (lambda: skin.cross_entropy(ZEROS + 0j, torch.tensor([0, 1])), ("input has dtype torch.complex64", "real")),
        (lambda: skin.nll_loss(ZEROS.long(), torch.tensor([0, 1])), ("input has dtype torch.int64",)),
        (lambda: skin.binary_cross_entropy_with_logits(ZEROS.long(), ZEROS), ("input has dtype torch.int64",)),
        (lambda: skin.binary_cross_entropy(ZEROS.long(), ZEROS), ("input has dtype torch.int64",)),
        (lambda: skin.cross_entropy(ZEROS, ZEROS, ignore_index=2), ("ignore_index is 2", "labels")),
        (lambda: skin.cross_entropy(ZEROS[0], torch.tensor([1])), ("target has shape (1,), input (3,)", "label")),
        (lambda: skin.nll_loss(ZEROS[0], torch.tensor([1])), ("target has shape (1,), input (3,)", "label")),
        (
            lambda: skin.cross_entropy(ZEROS, torch.tensor([0]), torch.ones(3), label_smoothing=0.1),
            ("target has shape (1,)", "input (2, 3)"),
        ),
        (
            lambda: skin.cross_entropy(
                ZEROS, torch.tensor([0, 1]), torch.tensor([1, torch.nan, 1]), label_smoothing=0.1
            ),
            ("weight[1] is nan",),
        ),
        (
            lambda: skin.cross_entropy(ZEROS, torch.tensor([0, 1]), torch.ones(3, requires_grad=True)),
            ("weight requires a gradient", "weight.detach()"),
        ),
        (
            lambda: skin.binary_cross_entropy_with_logits(ZEROS, ZEROS, pos_weight=torch.ones(3, requires_grad=True)),
            ("pos_weight requires a gradient", "pos_weight.detach()"),
        ),
        (lambda: skin.binary_cross_entropy_with_logits(ZEROS, ZEROS, torch.ones(4, 2, 3)), ("weight has shape (4, 2",)),
        (lambda: skin.binary_cross_entropy(ZEROS, ZEROS, torch.ones(2)), ("weight has shape (2,)", "(2, 3)")),
        (lambda: skin.cross_entropy(ZEROS, torch.tensor([0, 1]), reduction="average"), ("reduction is 'average'",)),
        (lambda: skin.cross_entropy(ZEROS[:, :1], torch.tensor([0, 0])), ("binary_cross_entropy_with_logits",)),
        (lambda: skin.cross_entropy(ZEROS.to("meta"), torch.tensor([0, 1])), ("meta",)),
        (lambda: skin.nll_loss(ZEROS, torch.tensor([0, 5])), ("target[1] is 5",)),
        (lambda: skin.nll_loss(ZEROS, torch.tensor([0])), ("target has shape (1,)",)),
        (lambda: skin.nll_loss(ZEROS, torch.tensor([0.0, 1.0])), ("target has dtype torch.float32", "long()")),
        (lambda: skin.binary_cross_entropy_with_logits(ZEROS, ZEROS - 1), ("target[0, 0] is -1",)),
        (lambda: skin.binary_cross_entropy_with_logits(ZEROS, ZEROS[0]), ("target has shape (3,)",)),
        (
            lambda: skin.binary_cross_entropy_with_logits(ZEROS, ZEROS, pos_weight=-torch.ones(2, 1)),
            ("pos_weight[0, 0] is -1",),
        ),
        (
            lambda: skin.binary_cross_entropy_with_logits(ZEROS, (ZEROS + 2).requires_grad_()),
            ("target[0, 0] is 2",),
        ),
        (lambda: skin.binary_cross_entropy(ZEROS + 2, ZEROS), ("input[0, 0] is 2", "binary_cross_entropy_with_logits")),
        (lambda: skin.binary_cross_entropy(ZEROS, ZEROS + 2), ("target[0, 0] is 2",)),
    ],
)
def test_refusals(call: Any, says: tuple[str, ...]) -> None:
    with pytest.raises((ValueError, TypeError, NotImplementedError)) as caught:
        call()
    for words in says:
        assert words in str(caught.value)
    for foreign in ("targets[", "targets have", "logits[", "or input"):
        assert foreign not in str(caught.value)
