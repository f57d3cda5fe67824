"""What is refused, with what words, and that a refused call has changed nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastxent as fx
from losses import LOSSES, Loss, class_losses, every_loss, make_targets, same_bits, sigmoid_losses

N, C = 5, 4


def logits(dtype: Any = np.float64, loss: Loss | None = None) -> np.ndarray:
    """Scores, or what a loss takes instead of them."""
    x = np.random.default_rng(0).standard_normal((N, C)).astype(dtype)
    return x if loss is None else loss.inputs_of(x)


def bytes_of(value: Any) -> Any:
    """What an argument holds, down to the bits."""
    if isinstance(value, np.ndarray):
        return np.asarray(value).tobytes() if value.dtype != object else repr(value)
    if scipy.sparse.issparse(value):
        return tuple(getattr(value, part).tobytes() for part in ("data", "indices", "indptr") if hasattr(value, part))
    return None


def refuse(
    function: Callable[..., Any], *args: Any, error: type[Exception], says: tuple[str, ...], **options: Any
) -> None:
    """The call raises, its message holds all of `says`, and no argument has changed a bit."""
    arguments = [*args, *options.values()]
    before = [bytes_of(value) for value in arguments]
    with pytest.raises(error) as caught:
        function(*args, **options)
    message = str(caught.value)
    for words in says:
        assert words in message, f"{words!r} is not in the message: {message}"
    assert [bytes_of(value) for value in arguments] == before, "a refused call changed an argument"


def refuse_with_buffers(loss: Loss, x: Any, targets: Any, error: type[Exception], *says: str, **options: Any) -> None:
    """With every way to ask for gradients; buffers are not written to, scores in place neither."""
    array = np.asarray(x)
    ways: list[dict[str, Any]] = [{}, {"grad": True}, {"hess": True}, {"grad": True, "hess": True}]
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.dtype.isnative and not np.ma.isMaskedArray(x):
        ways += [{"grad": x}, {"hess": x}, {"grad": x, "hess": np.full(array.shape, 7.0, x.dtype)}]
        ways += [{"grad": np.full(array.shape, 7.0, x.dtype), "hess": np.full(array.shape, 7.0, x.dtype)}]
    for way in ways:
        for reduction in ("mean", "none"):
            refuse(loss.function, x, targets, error=error, says=says, **({"reduction": reduction} | way | options))


# ---- labels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label, dtype", [(C, "i8"), (-1, "i8"), (-1, "i1"), (200, "u1"), (2**63 + 1, "u8"), (-(2**62), "i8")]
)
@class_losses
def test_label_out_of_range(loss: Loss, label: int, dtype: str) -> None:
    labels = np.array([0, 1, 0, 3, 2]).astype(dtype)
    labels[3] = label
    says = ("targets[3]", str(label), "0 to 3", "ignore_index")
    refuse_with_buffers(loss, logits(loss=loss), labels, ValueError, *says)
    refuse_with_buffers(loss, logits(loss=loss), labels, ValueError, *says, ignore_index=-100)
    # The last row of many, beyond the first piece of work.
    many = np.zeros(1001, np.int64)
    many[-1] = 7
    refuse(loss.function, np.zeros((1001, 3)), many, error=ValueError, says=("targets[1000]", "7", "0 to 2"))


@class_losses
def test_label_of_more_axes(loss: Loss) -> None:
    labels = np.zeros((2, 3), int)
    labels[1, 2] = 9
    refuse(loss.function, np.zeros((2, 4, 3)), labels, axis=1, error=ValueError, says=("targets[1, 2]", "9", "0 to 3"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.bool_])
@class_losses
def test_labels_that_are_not_integers(loss: Loss, dtype: Any) -> None:
    labels = np.array([0, 1, 0, 1, 1]).astype(dtype)
    refuse_with_buffers(
        loss,
        logits(loss=loss),
        labels,
        TypeError,
        "targets",
        np.dtype(dtype).name,
        "astype(numpy.int64)",
        loss.one_outcome,
    )


@pytest.mark.parametrize(
    "shape", [(N + 1,), (1,), (), (N, 1), (1, C), (N, C + 1), (C, N), (1, N), (N, C, 1), (0,)], ids=str
)
@class_losses
def test_targets_of_another_shape(loss: Loss, shape: tuple[int, ...]) -> None:
    for dtype in (np.int64, np.float64):
        targets = np.zeros(shape, dtype)
        refuse_with_buffers(
            loss, logits(loss=loss), targets, ValueError, "targets", str(shape), str((N, C)), "never broadcast"
        )


# ---- values of targets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-0.25, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@class_losses
def test_dense_targets_that_are_no_distribution(loss: Loss, dtype: Any, value: float) -> None:
    for classes in (3, 40):
        x = loss.inputs_of(np.random.default_rng(0).standard_normal((6, classes)).astype(dtype))
        for targets_dtype in (np.float32, np.float64, np.float16):
            targets = np.full((6, classes), 0.25, targets_dtype)
            targets[4, 1] = value
            refuse_with_buffers(loss, x, targets, ValueError, "targets[4, 1]", str(targets_dtype(value)), "negative")
            refuse_with_buffers(
                loss, x, np.asfortranarray(targets), ValueError, "targets[4, 1]", sample_weight=np.ones(6)
            )


@class_losses
def test_negative_integers_among_dense_targets(loss: Loss) -> None:
    targets = np.eye(N, C, dtype=np.int8)
    targets[2, 2] = -1
    refuse_with_buffers(loss, logits(loss=loss), targets, ValueError, "targets[2, 2]", "-1")


@pytest.mark.parametrize("value", [-0.25, 1.5, np.nan, np.inf, -np.inf, 2, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@sigmoid_losses
def test_sigmoid_targets_outside_zero_to_one(loss: Loss, dtype: Any, value: float) -> None:
    targets = np.full((N, C), 1, np.int8 if isinstance(value, int) else dtype)
    targets[4, 1] = value
    shown = str(targets[4, 1])
    for options in ({}, {"label_smoothing": 0.1}, {"sample_weight": np.ones(N)}):
        refuse_with_buffers(loss, logits(dtype), targets, ValueError, "targets[4, 1]", shown, "[0, 1]", **options)


@pytest.mark.parametrize("shape", [(N,), (C,), (N, 1), (1, C), (), (C, N), (N, C, 1)], ids=str)
@sigmoid_losses
def test_sigmoid_targets_of_another_shape(loss: Loss, shape: tuple[int, ...]) -> None:
    refuse_with_buffers(
        loss, logits(), np.zeros(shape), ValueError, "targets", str(shape), str((N, C)), "never broadcast", "softmax"
    )


# ---- CSR -----------------------------------------------------------------------------------------------------


def csr(n: int = N, classes: int = C) -> scipy.sparse.csr_array:
    """Two entries a row: 0.5 in columns 0 and 2."""
    return scipy.sparse.csr_array((np.full(2 * n, 0.5), np.tile([0, 2], n), np.arange(n + 1) * 2), shape=(n, classes))


@pytest.mark.parametrize("column", [C, -1, 2**31 - 1, -(2**31)])
@every_loss
def test_csr_columns_out_of_range(loss: Loss, column: int) -> None:
    targets = csr()
    targets.indices[7] = column
    refuse_with_buffers(loss, logits(loss=loss), targets, ValueError, "targets", f"column {column}", "row 3", "0 to 3")


@pytest.mark.parametrize(
    "indptr, row",
    [
        ([0, 2, 1, 6, 8, 10], 1),
        ([0, 2, 4, 6, 8, 11], 4),
        ([1, 2, 4, 6, 8, 10], 0),
        ([0, 2, 4, 2**30, 8, 10], 2),
        ([-1, 2, 4, 6, 8, 10], 0),
    ],
    ids=str,
)
@every_loss
def test_csr_row_pointers(loss: Loss, indptr: list[int], row: int) -> None:
    targets = csr()
    targets.indptr[:] = indptr
    refuse_with_buffers(loss, logits(loss=loss), targets, ValueError, "targets", f"row {row}", "indptr", "malformed")


@every_loss
def test_csr_arrays_of_the_wrong_length(loss: Loss) -> None:
    targets = csr()
    targets.data = targets.data[:-3]
    refuse_with_buffers(loss, logits(loss=loss), targets, ValueError, "targets", "indptr", "7 entries")
    targets = csr()
    targets.indices = targets.indices[:-1]
    refuse_with_buffers(loss, logits(loss=loss), targets, ValueError, "targets", "indptr", "9 entries")
    targets = csr()
    targets.indptr = targets.indptr[:-1]
    refuse_with_buffers(loss, logits(loss=loss), targets, ValueError, "targets", "malformed", "row pointers")


@pytest.mark.parametrize("value", [-0.5, np.nan, np.inf])
@every_loss
def test_csr_values(loss: Loss, value: float) -> None:
    for dtype in (np.float32, np.float64):
        targets = csr().astype(dtype)
        targets.data[7] = value
        refuse_with_buffers(loss, logits(loss=loss), targets, ValueError, "targets[3, 2]", f"{value:g}", "negative")


@sigmoid_losses
def test_sigmoid_csr_above_one(loss: Loss) -> None:
    targets = csr()
    targets.data[7] = 1.5
    refuse_with_buffers(loss, logits(), targets, ValueError, "targets", "1.5", "row 3", "[0, 1]")


@sigmoid_losses
def test_sigmoid_csr_whose_duplicates_sum_above_one(loss: Loss) -> None:
    targets = csr()
    targets.indices[7] = 0
    targets.data[6:8] = 0.75
    refuse_with_buffers(loss, logits(), targets, ValueError, "targets", "1.5", "row 3", "[0, 1]")


@pytest.mark.parametrize("form", ["csc", "coo", "lil", "dok", "bsr"])
@every_loss
def test_sparse_targets_that_are_not_csr(loss: Loss, form: str) -> None:
    refuse_with_buffers(loss, logits(loss=loss), csr().asformat(form), TypeError, "targets", form, "tocsr()")


@every_loss
def test_csr_of_another_shape(loss: Loss) -> None:
    for shape in ((N, C + 1), (N + 1, C), (1, C)):
        refuse_with_buffers(loss, logits(loss=loss), csr(*shape), ValueError, "targets", str(shape), str((N, C)))


@class_losses
def test_csr_goes_with_two_dimensions_and_the_last_axis(loss: Loss) -> None:
    refuse(loss.function, np.zeros((C, N)), csr(), axis=0, error=ValueError, says=("axis 0", "transpose"))
    refuse(loss.function, np.zeros((N, 2, C)), csr(), error=ValueError, says=("targets", "two-dimensional"))


# ---- scores --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [np.zeros((N, 1)), np.zeros((N, 0)), np.zeros(1)], ids=["column", "empty", "one"])
@class_losses
def test_a_softmax_over_one_column(loss: Loss, x: np.ndarray) -> None:
    targets = np.zeros(x.shape[:-1], int)
    refuse_with_buffers(loss, x, targets, ValueError, loss.takes, f"{x.shape[-1]} column", f"use {loss.one_outcome}")


@class_losses
def test_a_single_number(loss: Loss) -> None:
    refuse(loss.function, 3.0, 0, error=ValueError, says=(loss.takes, "single number", "axis of classes"))


STRANGE = {
    "object": (np.zeros((N, C), object), "object"),
    "complex": (np.zeros((N, C), complex), "complex128"),
    "datetime": (np.zeros((N, C), "datetime64[s]"), "datetime64"),
    "timedelta": (np.zeros((N, C), "timedelta64[s]"), "timedelta64"),
    "text": (np.zeros((N, C), "U1"), "U1"),
    "record": (np.zeros((N, C), [("a", "f8")]), "'a'"),
    "long double": (np.zeros((N, C), np.longdouble), "numpy.float64"),
    "masked": (np.ma.masked_array(np.zeros((N, C)), mask=np.eye(N, C)), "masked array"),
    "sparse": (scipy.sparse.csr_array(np.eye(N, C)), "toarray()"),
}
if np.dtype(np.longdouble).itemsize == 8:
    del STRANGE["long double"]


@pytest.mark.parametrize("kind", STRANGE)
@every_loss
def test_scores_of_strange_kinds(loss: Loss, kind: str) -> None:
    x, words = STRANGE[kind]
    targets = make_targets(np.random.default_rng(0), "labels", loss, N, C)
    refuse(loss.function, x, targets, error=TypeError, says=(loss.takes, words))


@pytest.mark.parametrize("kind", [kind for kind in STRANGE if kind != "sparse"])
@every_loss
def test_targets_of_strange_kinds(loss: Loss, kind: str) -> None:
    targets, words = STRANGE[kind]
    refuse_with_buffers(loss, logits(loss=loss), targets, TypeError, "targets", words)
    if loss.outcomes == "classes":
        labels = targets[:, 0]
        refuse_with_buffers(loss, logits(loss=loss), labels, TypeError, "targets", words)


@pytest.mark.parametrize("kind", STRANGE)
@every_loss
def test_weights_of_strange_kinds(loss: Loss, kind: str) -> None:
    weights, words = STRANGE[kind]
    targets = make_targets(np.random.default_rng(0), "labels", loss, N, C)
    if kind != "sparse":
        weights = weights[:, 0]
    refuse_with_buffers(loss, logits(loss=loss), targets, TypeError, "sample_weight", words, sample_weight=weights)


# ---- options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, -np.inf])
@every_loss
def test_weights_that_are_negative_or_not_finite(loss: Loss, value: float) -> None:
    targets = make_targets(np.random.default_rng(0), "labels", loss, N, C)
    weights = np.ones(N)
    weights[3] = value
    says = ("sample_weight[3]", str(np.float64(value)), "not negative")
    refuse_with_buffers(loss, logits(loss=loss), targets, ValueError, *says, sample_weight=weights)
    refuse_with_buffers(
        loss, logits(loss=loss), targets, ValueError, "sample_weight[3]", sample_weight=weights.astype("f4")
    )
    if loss.outcomes == "elements":
        whole = np.ones((N, C))
        whole[3, 1] = value
        refuse_with_buffers(loss, logits(loss=loss), targets, ValueError, "sample_weight[3, 1]", sample_weight=whole)


@pytest.mark.parametrize("shape", [(), (1,), (N + 1,), (N, 1), (1, C), (C,), (N, C, 1)], ids=str)
@every_loss
def test_weights_of_another_shape(loss: Loss, shape: tuple[int, ...]) -> None:
    targets = make_targets(np.random.default_rng(0), "labels", loss, N, C)
    refuse_with_buffers(
        loss,
        logits(loss=loss),
        targets,
        ValueError,
        "sample_weight",
        str(shape),
        str((N,)),
        sample_weight=np.ones(shape),
    )


@every_loss
def test_options_out_of_range(loss: Loss) -> None:
    targets = make_targets(np.random.default_rng(0), "labels", loss, N, C)
    cases: list[tuple[str, Any, type[Exception], str]] = [
        ("label_smoothing", -0.1, ValueError, "-0.1"),
        ("label_smoothing", 1.5, ValueError, "1.5"),
        ("label_smoothing", np.nan, ValueError, "nan"),
        ("label_smoothing", "0.1", TypeError, "0.1"),
        ("label_smoothing", None, TypeError, "None"),
        ("label_smoothing", True, TypeError, "True"),
        ("reduction", "average", ValueError, "average"),
        ("reduction", None, ValueError, "None"),
        ("reduction", "Mean", ValueError, "Mean"),
        ("n_threads", 0, ValueError, "0"),
        ("n_threads", -1, ValueError, "-1"),
        ("n_threads", 1.5, TypeError, "1.5"),
        ("n_threads", True, TypeError, "True"),
    ]
    if loss.outcomes == "classes":
        cases += [
            ("ignore_index", 1.0, TypeError, "1.0"),
            ("ignore_index", True, TypeError, "True"),
            ("ignore_index", 2**63, ValueError, str(2**63)),
            ("axis", 2, ValueError, "2"),
            ("axis", -3, ValueError, "-3"),
            ("axis", None, TypeError, "None"),
            ("axis", (0, 1), TypeError, "(0, 1)"),
            ("axis", 1.0, TypeError, "1.0"),
        ]
    else:
        cases += [("pos_weight", value, ValueError, f"{value:g}") for value in (-1.0, np.nan)]
        cases += [("pos_weight", "2", TypeError, "2")]
    for name, value, error, shown in cases:
        refuse_with_buffers(loss, logits(loss=loss), targets, error, name, shown, **{name: value})


@sigmoid_losses
def test_infinite_pos_weight(loss: Loss) -> None:
    refuse(loss.function, logits(), np.zeros((N, C)), pos_weight=np.inf, error=ValueError, says=("pos_weight",))


@sigmoid_losses
def test_pos_weights_of_the_last_axis(loss: Loss) -> None:
    targets = np.zeros((N, C))
    for value in (-1.0, np.nan, np.inf):
        factors = np.ones(C)
        factors[2] = value
        refuse_with_buffers(loss, logits(), targets, ValueError, "pos_weight[2]", f"{value:g}", pos_weight=factors)
    for shape in ((N,), (C + 1,), (1,), (N, C), (1, C), (C, 1)):
        says = ("pos_weight", str(shape), str((N, C)), str((C,)))
        refuse_with_buffers(loss, logits(), targets, ValueError, *says, pos_weight=np.ones(shape))
    refuse_with_buffers(loss, logits(), targets, TypeError, "pos_weight", "complex", pos_weight=np.ones(C, complex))
    refuse_with_buffers(loss, logits(), targets, TypeError, "pos_weight", "masked", pos_weight=np.ma.ones(C))
    refuse(loss.function, 0.5, 1.0, pos_weight=[1.0], error=ValueError, says=("pos_weight", "(1,)", "one number"))


def test_options_of_the_focal_loss() -> None:
    loss = next(loss for loss in LOSSES if loss.name == "sigmoid_focal_loss")
    targets = np.zeros((N, C))
    cases: list[tuple[str, Any, type[Exception], str]] = [
        ("gamma", -0.5, ValueError, "-0.5"),
        ("gamma", np.nan, ValueError, "nan"),
        ("gamma", np.inf, ValueError, "inf"),
        ("gamma", None, TypeError, "None"),
        ("gamma", True, TypeError, "True"),
        ("gamma", np.ones(C), TypeError, "array"),
        ("alpha", -0.5, ValueError, "-0.5"),
        ("alpha", 1.25, ValueError, "1.25"),
        ("alpha", np.nan, ValueError, "nan"),
        ("alpha", "balanced", TypeError, "balanced"),
        ("alpha", [0.5, 0.5, 0.5, 1.25], ValueError, "alpha[3]"),
        ("alpha", [0.5, -0.5, 0.5, 0.5], ValueError, "alpha[1]"),
        ("alpha", np.full(N, 0.5), ValueError, str((N,))),
    ]
    for name, value, error, shown in cases:
        refuse_with_buffers(loss, logits(), targets, error, name, shown, **{name: value})


def test_vectors_of_the_hessian() -> None:
    x, targets = logits(), np.zeros((N, C))
    hvp = fx.sigmoid_cross_entropy_hvp
    refuse(hvp, x, targets, np.ones(C), error=ValueError, says=("v has shape", str((C,)), str((N, C))))
    refuse(hvp, x, targets, np.ones((N, C), complex), error=TypeError, says=("v has dtype", "complex128"))
    refuse(hvp, x, targets + 2, np.ones((N, C)), error=ValueError, says=("targets[0, 0]", "2", "[0, 1]"))
    v = np.ones((N, C))
    for out, error, words in (
        (x, ValueError, "out overlaps logits"),
        (targets, ValueError, "out overlaps targets"),
        (v[::-1], ValueError, "out overlaps v"),
        (np.empty((N, C), np.float32), TypeError, "out has dtype float32"),
        (np.empty((C, N)), ValueError, "out has shape"),
        (True, TypeError, "out is bool"),
    ):
        refuse(hvp, x, targets, v, out=out, error=error, says=(words,))
    refuse(hvp, x, targets - 1, v, out=v, error=ValueError, says=("targets[0, 0]",))


@class_losses
def test_ignore_index_goes_with_labels(loss: Loss) -> None:
    for targets in (np.full((N, C), 0.25), csr()):
        refuse_with_buffers(
            loss, logits(loss=loss), targets, ValueError, "ignore_index", "sample_weight", ignore_index=-1
        )


@every_loss
def test_unknown_options(loss: Loss) -> None:
    refuse(loss.function, logits(loss=loss), np.zeros((N, C)), smoothing=0.1, error=TypeError, says=("smoothing",))


# ---- buffers -------------------------------------------------------------------------------------------------


def frozen() -> np.ndarray:
    array = np.full((N, C), 7.0)
    array.flags.writeable = False
    return array


def unaligned() -> np.ndarray:
    return np.zeros(N * C * 8 + 1, np.uint8)[1:].view(np.float64).reshape(N, C)


@pytest.mark.parametrize("name", ["grad", "hess"])
@every_loss
def test_buffers_that_cannot_be_written_to(loss: Loss, name: str) -> None:
    targets = make_targets(np.random.default_rng(0), "labels", loss, N, C)
    cases: list[tuple[Any, type[Exception], str]] = [
        (frozen(), ValueError, "read-only"),
        (np.full((N, C), 7.0, np.float32), TypeError, "float32"),
        (np.full((N, C), 7), TypeError, "int64"),
        (np.full((N, C), 7.0, ">f8"), TypeError, ">f8"),
        (np.full((N, C + 1), 7.0), ValueError, str((N, C + 1))),
        (np.full((C, N), 7.0), ValueError, str((C, N))),
        (np.full((1, C), 7.0), ValueError, str((1, C))),
        (np.full(N * C, 7.0), ValueError, str((N * C,))),
        (np.broadcast_to(np.full(C, 7.0), (N, C)), ValueError, "read-only"),
        (np.lib.stride_tricks.as_strided(np.full(C, 7.0), (N, C), (0, 8)), ValueError, "broadcast"),
        (unaligned(), ValueError, "aligned"),
        (np.ma.masked_array(np.full((N, C), 7.0)), TypeError, "MaskedArray"),
        ([[7.0] * C] * N, TypeError, "list"),
        (1, TypeError, "int"),
        ("yes", TypeError, "str"),
    ]
    for buffer, error, words in cases:
        x = logits(loss=loss)
        if isinstance(buffer, np.ndarray):
            kept = np.array(buffer)
        refuse(loss.function, x, targets, error=error, says=(name, words), **{name: buffer})
        if isinstance(buffer, np.ndarray):
            np.testing.assert_array_equal(buffer, kept)


@every_loss
def test_buffers_whose_elements_share_memory(loss: Loss) -> None:
    """Overlapping strides: no element has its own place."""
    targets = make_targets(np.random.default_rng(0), "labels", loss, N, C)
    buffer = np.lib.stride_tricks.as_strided(np.full(N + C, 7.0), (N, C), (8, 8))
    refuse(loss.function, logits(loss=loss), targets, grad=buffer, error=ValueError, says=("grad", "share"))


@pytest.mark.parametrize("name", ["grad", "hess"])
@every_loss
def test_buffers_that_overlap_an_input(loss: Loss, name: str) -> None:
    targets = make_targets(np.random.default_rng(0), "labels", loss, N, C)
    room = np.random.default_rng(0).random((N + 1, C))
    x = room[:-1]
    for buffer in (room[1:], room[:-1][::-1], room[:-1][:, ::-1]):
        refuse(
            loss.function,
            x,
            targets,
            error=ValueError,
            says=(name, f"overlaps {loss.takes}", "in place"),
            **{name: buffer},
        )
    weights = room[:, 0][:-1]
    refuse(
        loss.function,
        logits(loss=loss),
        targets,
        sample_weight=weights,
        error=ValueError,
        says=(name, "overlaps sample_weight"),
        **{name: room[:-1]},
    )
    dense = room[:-1] / 2
    refuse(loss.function, logits(loss=loss), dense, error=ValueError, says=(name, "overlaps targets"), **{name: dense})
    sparse = csr()
    values = np.full((N, C), 0.5)
    sparse.data = values.reshape(-1)[: 2 * N]
    refuse(
        loss.function, logits(loss=loss), sparse, error=ValueError, says=(name, "overlaps targets"), **{name: values}
    )
    both = np.full((N, C), 7.0)
    refuse(
        loss.function,
        logits(loss=loss),
        targets,
        grad=both,
        hess=both,
        error=ValueError,
        says=("grad", "hess", "share"),
    )
    pair = np.full((N + 1, C), 7.0)
    refuse(
        loss.function,
        logits(loss=loss),
        targets,
        grad=pair[1:],
        hess=pair[:-1],
        error=ValueError,
        says=("grad", "hess", "share"),
    )


@class_losses
def test_buffers_that_overlap_labels(loss: Loss) -> None:
    room = np.zeros((N, C))
    labels = room.view(np.int64)[:, 0]
    refuse(loss.function, logits(loss=loss), labels, grad=room, error=ValueError, says=("grad", "overlaps targets"))


@every_loss
def test_buffers_of_sixteen_bit_scores(loss: Loss) -> None:
    targets = make_targets(np.random.default_rng(0), "labels", loss, N, C)
    for dtype in (np.float64, np.int16):
        buffer = np.zeros((N, C), dtype)
        refuse(
            loss.function,
            logits(np.float16, loss),
            targets,
            grad=buffer,
            error=TypeError,
            says=("grad", "float32 or float16"),
        )


@every_loss
def test_an_input_is_never_written_to(loss: Loss) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        for form in loss.forms:
            for classes in (C, 50):
                x = loss.inputs_of(np.random.default_rng(0).standard_normal((N, classes)).astype(dtype))
                targets = make_targets(np.random.default_rng(0), form, loss, N, classes)
                weights = np.ones(N)
                before = [bytes_of(value) for value in (x, targets, weights)]
                loss.function(x, targets, sample_weight=weights, grad=True, hess=True)
                assert [bytes_of(value) for value in (x, targets, weights)] == before


# ---- special functions ---------------------------------------------------------------------------------------

FUNCTIONS = (fx.softmax, fx.log_softmax, fx.expit, fx.log_expit)
every_function = pytest.mark.parametrize("function", [fx.logsumexp, *FUNCTIONS], ids=lambda f: f.__name__)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_outputs_of_the_special_functions(function: Callable[..., Any]) -> None:
    cases: list[tuple[Any, type[Exception], str]] = [
        (frozen(), ValueError, "read-only"),
        (np.full((N, C), 7.0, np.float32), TypeError, "float32"),
        (np.full((N, C), 7), TypeError, "int64"),
        (np.full((N, C), 7.0, ">f8"), TypeError, ">f8"),
        (np.full((C, N), 7.0), ValueError, str((C, N))),
        (np.lib.stride_tricks.as_strided(np.full(C, 7.0), (N, C), (0, 8)), ValueError, "broadcast"),
        (unaligned(), ValueError, "aligned"),
        ([7.0], TypeError, "list"),
    ]
    options = {"axis": 1} if "softmax" in function.__name__ else {}
    for out, error, words in cases:
        refuse(function, logits(), out=out, error=error, says=("out", words), **options)
    room = np.random.default_rng(0).random((N + 1, C))
    for out in (room[1:], room[:-1][::-1]):
        refuse(function, room[:-1], out=out, error=ValueError, says=("out", "overlaps x"), **options)


def test_outputs_of_logsumexp() -> None:
    room = np.random.default_rng(0).random((N, C))
    read_only = np.full(N, 7.0)
    read_only.flags.writeable = False
    cases: list[tuple[Any, type[Exception], str]] = [
        (np.full(C, 7.0), ValueError, str((C,))),
        (np.full((N, 1), 7.0), ValueError, str((N, 1))),
        (np.full(N, 7.0, np.float32), TypeError, "float32"),
        (read_only, ValueError, "read-only"),
        (room[:, 0], ValueError, "overlaps"),
    ]
    for out, error, words in cases:
        refuse(fx.logsumexp, room, axis=1, out=out, error=error, says=("out", words))


@every_function
def test_masked_arrays_of_the_special_functions(function: Callable[..., Any]) -> None:
    x = np.ma.masked_array(np.zeros((2, 3)), mask=np.eye(2, 3))
    if function in (fx.expit, fx.log_expit):
        # Elementwise, so nothing of what is masked leaks: SciPy's ufunc.
        assert np.ma.isMaskedArray(function(x))
    else:
        refuse(function, x, error=TypeError, says=("masked array", "filled"))


@pytest.mark.parametrize("function", [fx.logsumexp, fx.softmax, fx.log_softmax], ids=lambda f: f.__name__)
def test_axes_that_do_not_exist(function: Callable[..., Any]) -> None:
    for axis in (2, -3, (0, 2)):
        refuse(function, np.zeros((2, 3)), axis=axis, error=np.exceptions.AxisError, says=("axis",))
    refuse(function, np.zeros((2, 3)), axis=(0, 0), error=ValueError, says=("axis",))


@every_function
def test_threads_of_the_special_functions(function: Callable[..., Any]) -> None:
    for n_threads, error in ((0, ValueError), (-2, ValueError), (1.5, TypeError)):
        refuse(function, np.zeros(5), n_threads=n_threads, error=error, says=("n_threads", str(n_threads)))


# ---- settings ------------------------------------------------------------------------------------------------


def test_settings() -> None:
    refuse(fx.set_isa, "sse2", error=ValueError, says=("sse2", *fx.info()["isas"]))
    refuse(fx.set_num_threads, 0, error=ValueError, says=("n_threads", "0"))
    refuse(fx.set_num_threads, 2.0, error=TypeError, says=("n_threads", "2.0"))


# ---- calls that almost got through ---


def test_targets_are_checked_before_they_are_rounded() -> None:
    scores = np.zeros((4, 3), np.float32)
    for value, loss in (
        (-1e-60, fx.softmax_cross_entropy),
        (1e39, fx.softmax_cross_entropy),
        (1 + 1e-12, fx.sigmoid_cross_entropy),
    ):
        for grad in (True, np.full((4, 3), 7, np.float32)):
            with pytest.raises(ValueError, match=r"targets\[0, 0\]"):
                loss(scores, np.full((4, 3), value), grad=grad)
            assert grad is True or (grad == 7).all()


def test_overlap_is_seen_through_other_kinds_of_arrays() -> None:
    base = np.zeros((9, 4))
    with pytest.raises(ValueError, match="grad overlaps logits"):
        fx.softmax_cross_entropy(memoryview(base)[:8], np.zeros(8, int), grad=base[1:])
    with pytest.raises(ValueError, match="out overlaps x"):
        fx.softmax(memoryview(base)[:8], axis=1, out=base[1:])


def test_elements_are_named_where_they_stand() -> None:
    dense = np.full((2, 3, 4), 0.25)
    dense[1, 2, 3] = -5
    for axis in (0, 1, 2):
        for function in (fx.softmax_cross_entropy, fx.categorical_cross_entropy):
            with pytest.raises(ValueError, match=r"targets\[1, 2, 3\] is -5"):
                function(np.full((2, 3, 4), 0.5), dense, axis=axis)
    weights = np.ones((2, 3))
    weights[1, 2] = -1
    for function in (fx.softmax_cross_entropy, fx.categorical_cross_entropy):
        with pytest.raises(ValueError, match=r"sample_weight\[1, 2\] is -1"):
            function(np.full((2, 3, 4), 0.25), np.zeros((2, 3), int), sample_weight=weights)


def test_what_stands_behind_the_entries_of_csr_targets_is_none() -> None:
    targets = scipy.sparse.csr_array((2, 3))
    targets.indptr, targets.indices = np.array([0, 1, 2]), np.array([0, 2, -1])
    targets.data = np.array([1.0, 1.0, -1e300])
    given = np.full((2, 3), 0.25, np.float32)
    for function in (fx.softmax_cross_entropy, fx.categorical_cross_entropy):
        assert function(given, targets, reduction="none").shape == (2,)
    for function in (fx.sigmoid_cross_entropy, fx.binary_cross_entropy):
        assert function(given, targets, reduction="none").shape == (2, 3)


def test_csr_duplicates_that_add_up_beyond_floats() -> None:
    targets = scipy.sparse.csr_array(([3e38, 3e38], [0, 0], [0, 2]), shape=(1, 2))
    for function in (fx.softmax_cross_entropy, fx.categorical_cross_entropy):
        with pytest.raises(ValueError, match=r"targets\[0, 0\] is 6e\+38"):
            function(np.full((1, 2), 0.5, np.float32), targets)
    apart = scipy.sparse.csr_array(([3e38, 3e38], [0, 1], [0, 2]), shape=(1, 2))
    assert np.isfinite(fx.softmax_cross_entropy(np.zeros((1, 2), np.float32), apart))


def test_an_empty_list_is_no_label() -> None:
    for function in (fx.softmax_cross_entropy, fx.categorical_cross_entropy):
        assert function(np.zeros((0, 3)), [], reduction="none").shape == (0,)
        with pytest.raises(ValueError, match="targets have shape"):
            function(np.full((2, 3), 0.5), [])


def test_an_axis_is_no_boolean() -> None:
    for function in (fx.softmax, fx.log_softmax, fx.logsumexp):
        with pytest.raises(TypeError, match="axis is True"):
            function(np.zeros((2, 2)), axis=True)


class Shared:
    """What is no array and shares the memory of one, as tensors and data frames do."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array


@pytest.mark.parametrize("share", [memoryview, Shared])
@pytest.mark.parametrize(
    ("function", "option"),
    [
        (fx.softmax_cross_entropy, "class_weight"),
        (fx.softmax_cross_entropy, "logit_bias"),
        (fx.softmax_focal_loss, "alpha"),
        (fx.sigmoid_cross_entropy, "pos_weight"),
        (fx.sigmoid_focal_loss, "alpha"),
        (fx.binary_cross_entropy, "pos_weight"),
    ],
)
def test_options_that_share_memory_with_a_buffer(function: Any, option: str, share: Any) -> None:
    room = np.full((5, 4), 0.5)
    given = np.full((5, 4), 0.25)
    targets = [0] * 5 if function in (fx.softmax_cross_entropy, fx.softmax_focal_loss) else np.zeros((5, 4))
    with pytest.raises(ValueError, match=f"grad overlaps {option}"):
        function(given, targets, grad=room, **{option: share(room[0])})
    assert (room == 0.5).all()


@pytest.mark.parametrize("share", [memoryview, Shared])
def test_vectors_and_layers_that_share_memory_with_a_buffer(share: Any) -> None:
    room = np.full(24, 0.5)
    vector, out = room[:20].reshape(5, 4), room[4:].reshape(5, 4)
    zeros = np.zeros((5, 4))
    for function, targets in ((fx.softmax_cross_entropy_hvp, [0] * 5), (fx.sigmoid_cross_entropy_hvp, zeros)):
        with pytest.raises(ValueError, match="out overlaps v"):
            function(zeros, targets, share(vector), out=out)
    weight, grad = np.ones((4, 2)), np.full((4, 2), 0.5)
    with pytest.raises(ValueError, match="overlaps class_weight"):
        fx.linear_cross_entropy(
            np.ones((5, 2)), weight, [0] * 5, class_weight=share(grad.reshape(-1)[:4]), grad=(False, grad, False)
        )
    assert (room == 0.5).all()
    assert (grad == 0.5).all()


@pytest.mark.parametrize("share", [memoryview, Shared])
def test_in_place_through_other_kinds_of_arrays(share: Any) -> None:
    room = np.full((5, 4), 0.25)
    for function, targets in ((fx.softmax_cross_entropy, [0] * 5), (fx.sigmoid_cross_entropy, np.zeros((5, 4)))):
        x = room.copy()
        wanted = function(x, targets, grad=True)[1]
        assert function(share(x), targets, grad=x)[1] is x
        assert same_bits(x, wanted)


def test_a_large_unsigned_label_is_no_negative_one() -> None:
    labels = np.array([0, 2**64 - 1], np.uint64)
    with pytest.raises(ValueError, match=r"targets\[1\] is 18446744073709551615"):
        fx.softmax_cross_entropy(np.zeros((2, 3)), labels, ignore_index=-1)


def test_csr_is_not_believed_to_be_canonical() -> None:
    targets = scipy.sparse.csr_array((np.array([0.7, 0.7]), [1, 1], [0, 2]), shape=(1, 3))
    targets.has_canonical_format = True
    with pytest.raises(ValueError, match="row 0, column 1"):
        fx.sigmoid_cross_entropy(np.zeros((1, 3)), targets)


def test_csr_in_another_byte_order() -> None:
    targets = scipy.sparse.csr_array(np.eye(3))
    scores = np.random.default_rng(0).standard_normal((3, 3))
    wanted = fx.softmax_cross_entropy(scores, targets)
    targets.indices, targets.indptr = targets.indices.astype(">i4"), targets.indptr.astype(">i4")
    assert fx.softmax_cross_entropy(scores, targets) == wanted


def test_extreme_weights_raise_no_floating_point_error() -> None:
    with np.errstate(all="raise"):
        assert fx.softmax_cross_entropy(np.zeros((2, 3)), [0, 1], sample_weight=[1e308, 1e-320]) == pytest.approx(
            np.log(3)
        )


def test_no_axes_are_as_in_scipy() -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert (fx.logsumexp(x, axis=()) == x).all()


def test_csr_duplicates_that_reach_one_only_after_rounding() -> None:
    targets = scipy.sparse.csr_array((np.full(10, 0.1), np.zeros(10, int), [0, 10]), shape=(1, 2))
    scores = np.array([[2, -3]], np.float32)
    buffer = np.empty_like(scores)
    loss, _ = fx.sigmoid_cross_entropy(scores, targets, grad=buffer)
    assert loss == pytest.approx(fx.sigmoid_cross_entropy(scores, [[1, 0]]), rel=1e-6)
