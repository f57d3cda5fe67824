"""The same bits whatever the memory looks like: layouts, storage, buffers, threads, blocks of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastxent as fx
import oracle
from losses import (
    Loss,
    both_dtypes,
    class_losses,
    every_form,
    every_loss,
    make_inputs,
    make_logits,
    make_targets,
    same_bits,
)

ml_dtypes = pytest.importorskip("ml_dtypes")

# Few classes (rows in lanes) and many, and more elements than one piece of work.
SHAPES = ((37, 5), (130, 32), (19, 33), (7, 1000), (3, 5000))
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")


def strided(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((x.shape[0] * 2, x.shape[1] * 3), x.dtype)
    wide[::2, ::3] = x
    return wide[::2, ::3]


def padded(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((x.shape[0], x.shape[1] + 5), x.dtype)
    wide[:, 2:-3] = x
    return wide[:, 2:-3]


def misaligned(x: np.ndarray) -> np.ndarray:
    room = np.zeros(x.nbytes + 1, np.uint8)
    copy = room[1:].view(x.dtype).reshape(x.shape)
    copy[...] = x
    assert not copy.flags.aligned or x.itemsize == 1
    return copy


def read_only(x: np.ndarray) -> np.ndarray:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


def broadcast_axis(x: np.ndarray) -> np.ndarray:
    """A view with an axis of stride 0 in front, taken away again: the strides stay odd."""
    return np.broadcast_to(x, (2, *x.shape))[1]


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "fortran": np.asfortranarray,
    "strided": strided,
    "padded": padded,
    "rows reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "columns reversed": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "all reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "read-only": read_only,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder("S")),
    "misaligned": misaligned,
    "broadcast": broadcast_axis,
    "subclass": lambda x: x.view(np.recarray),
    "list": lambda x: x.tolist(),
}
every_layout = pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "list"])


def results(loss: Loss, logits: Any, targets: Any, **options: Any) -> list[np.ndarray]:
    """Loss, gradient and curvature of rows, and the mean."""
    rows = loss.function(logits, targets, grad=True, hess=True, reduction="none", **options)
    mean = loss.function(logits, targets, grad=True, **options)
    return [*rows, *mean]


def assert_same(got: list[Any], wanted: list[Any], what: Any = "") -> None:
    for which, (a, b) in enumerate(zip(got, wanted, strict=True)):
        assert same_bits(a, b), (what, which)


# ---- layouts of inputs ---------------------------------------------------------------------------------------


@every_layout
@every_shape
@both_dtypes
@every_form
def test_layouts_of_inputs(loss: Loss, form: str, dtype: Any, shape: tuple[int, int], layout: str) -> None:
    rng = np.random.default_rng(0)
    logits = make_inputs(loss, rng, *shape, dtype)
    targets = make_targets(rng, form, loss, *shape, dtype)
    wanted = results(loss, logits, targets)
    there = LAYOUTS[layout](logits)
    kept = np.array(there)
    assert_same(results(loss, there, targets), wanted, "logits")
    assert same_bits(np.array(there), kept)
    if form == "labels" and loss.outcomes == "classes":
        column = LAYOUTS[layout](targets[:, None])[:, 0]
        assert_same(results(loss, logits, column), wanted, "labels")
        weights = rng.random(len(logits))
        weighted = results(loss, logits, targets, sample_weight=weights)
        there = LAYOUTS[layout](weights[:, None])[:, 0]
        assert_same(results(loss, logits, targets, sample_weight=there), weighted, "weights")
    elif form != "csr":
        assert_same(results(loss, logits, LAYOUTS[layout](targets)), wanted, "targets")
    if loss.outcomes == "elements":
        weights = rng.random(shape).astype(dtype)
        weighted = results(loss, logits, targets, sample_weight=weights)
        assert_same(results(loss, logits, targets, sample_weight=LAYOUTS[layout](weights)), weighted, "weights")


@every_layout
@every_shape
@both_dtypes
def test_layouts_of_the_special_functions(dtype: Any, shape: tuple[int, int], layout: str) -> None:
    x = make_logits(np.random.default_rng(1), *shape, dtype)
    there = LAYOUTS[layout](x)
    for axis in (0, 1):
        # Along an axis: as the same numbers in contiguous rows.
        rows = np.ascontiguousarray(np.moveaxis(x, axis, -1))
        assert same_bits(fx.logsumexp(there, axis=axis), fx.logsumexp(rows, axis=1))
        for function in (fx.softmax, fx.log_softmax):
            assert same_bits(function(there, axis=axis), np.moveaxis(function(rows, axis=1), -1, axis))
    for function in (fx.expit, fx.log_expit):
        assert same_bits(function(there), function(x))


@every_loss
def test_lists_are_arrays_of_doubles(loss: Loss) -> None:
    rng = np.random.default_rng(2)
    logits = make_inputs(loss, rng, 6, 4, np.float64)
    targets = make_targets(rng, "labels", loss, 6, 4)
    assert_same(results(loss, logits.tolist(), targets.tolist()), results(loss, logits, targets))
    integers = np.rint(logits).astype(np.int32)
    assert_same(results(loss, integers, targets), results(loss, integers.astype(np.float64), targets))


@both_dtypes
@every_loss
def test_memory_maps(loss: Loss, dtype: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    logits = make_inputs(loss, rng, 50, 12, dtype)
    targets = make_targets(rng, "labels", loss, 50, 12)
    np.save(tmp_path / "logits.npy", logits)
    np.save(tmp_path / "targets.npy", targets)
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("logits", "targets")]
    got = results(loss, *maps)
    assert_same(got, results(loss, logits, targets))
    assert all(type(array) is np.ndarray for array in got[:3])
    out = np.memmap(tmp_path / "grad.npy", dtype, "w+", shape=logits.shape)
    loss.function(logits, targets, grad=out)
    out.flush()
    on_disk = np.fromfile(tmp_path / "grad.npy", dtype).reshape(logits.shape)
    assert same_bits(on_disk, loss.function(logits, targets, grad=True)[1])


@pytest.mark.parametrize("shape", [(4, 3, 5), (2, 40, 7), (3, 2, 4, 5), (1, 6, 1, 3)], ids=str)
@both_dtypes
@class_losses
def test_every_axis(loss: Loss, dtype: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    base = loss.inputs_of((rng.standard_normal(shape) * 3).astype(dtype))
    orders = {
        "C": base,
        "F": np.asfortranarray(base),
        "mixed": np.ascontiguousarray(np.swapaxes(base, 0, -1)).swapaxes(0, -1),
        "reversed": np.ascontiguousarray(base[::-1])[::-1],
        "strided": np.repeat(base, 2, axis=1)[:, ::2],
    }
    for axis in range(-len(shape), len(shape)):
        classes = shape[axis]
        if classes < 2:
            continue
        rows = np.ascontiguousarray(np.moveaxis(base, axis, -1))
        outer = rows.shape[:-1]
        labels = rng.integers(0, classes, outer)
        weights = rng.random(outer)
        dense = rng.random(shape).astype(dtype)
        flat = rows.reshape(-1, classes)
        for targets, flat_targets in (
            (labels, labels.ravel()),
            (dense, np.moveaxis(dense, axis, -1).reshape(-1, classes)),
        ):
            wanted = results(loss, flat, flat_targets, sample_weight=weights.ravel())
            shaped = [wanted[0].reshape(outer), *(np.moveaxis(a.reshape(rows.shape), -1, axis) for a in wanted[1:3])]
            shaped += [wanted[3], np.moveaxis(wanted[4].reshape(rows.shape), -1, axis)]
            for name, logits in orders.items():
                got = results(loss, logits, targets, axis=axis, sample_weight=weights)
                assert_same(got, shaped, (axis, name))


@pytest.mark.parametrize("shape", [(), (7,), (3, 4, 5), (2, 3, 4, 5)], ids=str)
@both_dtypes
def test_elementwise_shapes(dtype: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    x = np.asarray(rng.standard_normal(shape) * 3, dtype)
    y = np.asarray(rng.random(shape), dtype)
    loss, grad, hess = fx.sigmoid_cross_entropy(x, y, grad=True, hess=True, reduction="none")
    flat = fx.sigmoid_cross_entropy(x.ravel(), y.ravel(), grad=True, hess=True, reduction="none")
    for got, wanted in zip((loss, grad, hess), flat, strict=True):
        assert same_bits(got, wanted.reshape(shape))
    if len(shape) > 1:
        moved = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)
        assert same_bits(fx.sigmoid_cross_entropy(moved, y, grad=True, reduction="none")[1], grad)
        weights = rng.random(shape[0])
        whole = np.broadcast_to(weights.reshape(-1, *[1] * (len(shape) - 1)), shape)
        a = fx.sigmoid_cross_entropy(x, y, sample_weight=weights, reduction="none")
        b = fx.sigmoid_cross_entropy(x, y, sample_weight=whole, reduction="none")
        np.testing.assert_allclose(a, b, rtol=4 * np.finfo(dtype).eps)


# ---- storage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
@every_shape
@every_form
def test_sixteen_bit_logits_are_widened(loss: Loss, form: str, shape: tuple[int, int], storage: Any) -> None:
    rng = np.random.default_rng(6)
    half = make_inputs(loss, rng, *shape).astype(storage)
    wide = half.astype(np.float32)
    targets = make_targets(rng, form, loss, *shape)
    wanted = results(loss, wide, targets)
    for layout in ("fortran", "strided", "columns reversed", "misaligned", "read-only"):
        assert_same(results(loss, LAYOUTS[layout](half), targets), wanted, layout)
    assert_same(results(loss, half, targets), wanted)
    # Buffers: float32 or the storage itself, rounded once.
    for dtype in (np.float32, storage):
        grad, hess = np.zeros(shape, dtype), np.zeros(shape, dtype)
        loss.function(half, targets, grad=grad, hess=hess, reduction="none")
        with np.errstate(over="ignore"):
            assert same_bits(grad, wanted[1].astype(dtype))
            assert same_bits(hess, wanted[2].astype(dtype))
    grad = half.copy()
    loss.function(grad, targets, grad=grad, reduction="none")
    with np.errstate(over="ignore"):
        assert same_bits(grad, wanted[1].astype(storage)), "in place"


@pytest.mark.parametrize(
    "labels_dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "longlong", "ulonglong", ">i4", ">u2"]
)
@every_shape
@class_losses
def test_labels_of_every_width(loss: Loss, shape: tuple[int, int], labels_dtype: str) -> None:
    rng = np.random.default_rng(7)
    classes = min(shape[1], 127)
    logits = make_inputs(loss, rng, *shape)
    labels = rng.integers(0, classes, shape[0])
    wanted = results(loss, logits, labels)
    assert_same(results(loss, logits, labels.astype(labels_dtype)), wanted)
    assert_same(results(loss, logits, np.repeat(labels.astype(labels_dtype), 3)[::3]), wanted)


@pytest.mark.parametrize(
    "targets_dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">f4"]
)
@both_dtypes
@every_loss
def test_whole_targets_of_every_dtype(loss: Loss, dtype: Any, targets_dtype: str) -> None:
    """Numbers that every dtype holds give the same bits in each."""
    rng = np.random.default_rng(8)
    for shape in SHAPES[:4]:
        logits = make_inputs(loss, rng, *shape, dtype)
        targets = rng.integers(0, 2, shape)
        assert_same(results(loss, logits, targets.astype(targets_dtype)), results(loss, logits, targets.astype(dtype)))


# ---- forms of one and the same targets ---------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@every_shape
@both_dtypes
@class_losses
def test_labels_one_hot_and_csr_agree(
    loss: Loss, dtype: Any, shape: tuple[int, int], smoothing: float, isa: str
) -> None:
    rng = np.random.default_rng(9)
    logits = make_inputs(loss, rng, *shape, dtype)
    labels = rng.integers(0, shape[1], shape[0])
    logits[0, labels[0]] = logits[0].max() + (1 if loss.takes == "logits" else 0)
    logits[1] = 0.5
    one_hot = oracle.one_hot(labels, shape[1], dtype)
    for weights in (None, rng.choice([0.0, 0.3, 2.0], shape[0])):
        options = {"sample_weight": weights, "label_smoothing": smoothing}
        wanted = results(loss, logits, labels, **options)
        assert_same(results(loss, logits, one_hot, **options), wanted, "dense")
        assert_same(results(loss, logits, one_hot.astype(bool), **options), wanted, "bool")
        for index in (np.int32, np.int64):
            csr = scipy.sparse.csr_array(one_hot)
            csr.indices, csr.indptr = csr.indices.astype(index), csr.indptr.astype(index)
            assert_same(results(loss, logits, csr, **options), wanted, "csr")
        assert_same(
            results(loss, logits, scipy.sparse.csr_matrix(one_hot.astype(np.int8)), **options), wanted, "matrix"
        )
        # An explicit zero is no target.
        entries = np.column_stack([labels, (labels + 1) % shape[1]]).ravel()
        values = np.tile([1.0, 0.0], shape[0])
        csr = scipy.sparse.csr_array((values, entries, np.arange(shape[0] + 1) * 2), shape=shape)
        assert_same(results(loss, logits, csr, **options), wanted, "explicit zeros")


@every_shape
@both_dtypes
@class_losses
def test_csr_in_any_order(loss: Loss, dtype: Any, shape: tuple[int, int]) -> None:
    """Unsorted entries and duplicates mean what SciPy takes them for."""
    rng = np.random.default_rng(10)
    logits = make_inputs(loss, rng, *shape, dtype)
    per_row = 6
    columns = rng.integers(0, shape[1], (shape[0], per_row))
    # Quarters: sums of them are exact, in whatever order.
    values = rng.integers(0, 4, (shape[0], per_row)) / 4
    csr = scipy.sparse.csr_array((values.ravel(), columns.ravel(), np.arange(shape[0] + 1) * per_row), shape=shape)
    kept = csr.data.copy(), csr.indices.copy(), csr.indptr.copy()
    got = loss.function(logits, csr, grad=True, hess=True, reduction="none")
    for a, b in zip(kept, (csr.data, csr.indices, csr.indptr), strict=True):
        assert same_bits(a, b), "the matrix was changed"
    dense = csr.toarray()
    exact = loss.oracle(logits, dense, reduction="none")
    assert oracle.ulp_error(got[0], exact.loss).max() <= 2
    assert oracle.ulp_error(got[1], exact.grad, exact.scale).max() <= 4


@pytest.mark.parametrize("columns", [1, 5, 2047, 2048, 2049, 7000])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@both_dtypes
def test_outcomes_of_csr_rows_of_any_length(dtype: Any, index: Any, columns: int) -> None:
    """Whatever their order, the bits of dense ones; duplicates are added up."""
    rng = np.random.default_rng(columns)
    dense = np.where(rng.random((5, columns)) < 0.1, rng.integers(1, 5, (5, columns)) / 4, 0)
    dense[3] = 0
    csr = scipy.sparse.csr_array(dense)
    rows, at = np.repeat(np.arange(5), np.diff(csr.indptr)), csr.indices
    order = np.lexsort((rng.random(2 * len(at)), np.tile(rows, 2)))
    halves = scipy.sparse.csr_array(
        (np.tile(csr.data / 2, 2)[order], np.tile(at, 2)[order].astype(index), (2 * csr.indptr).astype(index)),
        shape=csr.shape,
    )
    kept = halves.data.copy(), halves.indices.copy(), halves.indptr.copy()
    scores = rng.standard_normal(dense.shape).astype(dtype)
    for function, given in ((fx.sigmoid_cross_entropy, scores), (fx.binary_cross_entropy, fx.expit(scores))):
        options: dict[str, Any] = {"grad": True, "hess": True, "reduction": "none"}
        for a, b in zip(function(given, halves, **options), function(given, dense, **options), strict=True):
            assert same_bits(a, b)
    for a, b in zip(kept, (halves.data, halves.indices, halves.indptr), strict=True):
        assert same_bits(a, b), "the matrix was changed"


def test_duplicates_that_add_up_to_one_in_their_own_dtype() -> None:
    for values in (np.float32([0.2, 0.8]), np.float16([0.4, 0.6]), np.array([True, True])):
        twice = scipy.sparse.csr_array((values, [1, 1], [0, 2]), shape=(1, 3))
        for function, given in ((fx.sigmoid_cross_entropy, 1.0), (fx.binary_cross_entropy, 0.25)):
            scores = np.full((1, 3), given, np.float32)
            got, wanted = (function(scores, targets, reduction="none") for targets in (twice, np.float32([[0, 1, 0]])))
            assert same_bits(got, wanted)


@every_loss
def test_csr_without_entries(loss: Loss) -> None:
    logits = make_inputs(loss, np.random.default_rng(11), 3, 4)
    empty = scipy.sparse.csr_array((3, 4))
    got = results(loss, logits, empty)
    assert_same(got, results(loss, logits, np.zeros((3, 4), np.float32)))
    if loss.outcomes == "classes":
        assert got[3] == 0.0
        assert not got[1].any()


# ---- buffers -------------------------------------------------------------------------------------------------

BUFFERS: dict[str, Callable[[tuple[int, int], Any], np.ndarray]] = {
    "contiguous": lambda shape, dtype: np.full(shape, np.nan, dtype),
    "fortran": lambda shape, dtype: np.full(shape, np.nan, dtype, order="F"),
    "strided": lambda shape, dtype: np.full((shape[0] * 2, shape[1] * 3), np.nan, dtype)[::2, ::3],
    "padded": lambda shape, dtype: np.full((shape[0], shape[1] + 5), np.nan, dtype)[:, 2:-3],
    "reversed": lambda shape, dtype: np.full(shape, np.nan, dtype)[::-1, ::-1],
}


@pytest.mark.parametrize("buffer", BUFFERS)
@every_shape
@both_dtypes
@every_form
def test_buffers(loss: Loss, form: str, dtype: Any, shape: tuple[int, int], buffer: str) -> None:
    rng = np.random.default_rng(12)
    logits = make_inputs(loss, rng, *shape, dtype)
    targets = make_targets(rng, form, loss, *shape, dtype)
    kept = logits.copy()
    for options in ({}, *loss.options):
        value, wanted_grad, wanted_hess = loss.function(logits, targets, grad=True, hess=True, **options)
        for source in (logits, np.asfortranarray(logits), strided(logits)):
            grad, hess = BUFFERS[buffer](shape, dtype), BUFFERS[buffer](shape, dtype)
            got = loss.function(source, targets, grad=grad, hess=hess, **options)
            assert got[0] == value
            assert got[1] is grad
            assert got[2] is hess
            assert same_bits(grad, wanted_grad)
            assert same_bits(hess, wanted_hess)
            for name in ("grad", "hess"):
                alone = BUFFERS[buffer](shape, dtype)
                got = loss.function(source, targets, **{name: alone}, **options)
                assert got[0] == value
                assert got[1] is alone
                assert same_bits(alone, wanted_grad if name == "grad" else wanted_hess)
            if buffer in ("strided", "padded"):
                rest = grad.base.copy()
                rest[(slice(None, None, 2), slice(None, None, 3)) if buffer == "strided" else np.s_[:, 2:-3]] = np.nan
                assert np.isnan(rest).all(), "written between the elements"
    assert same_bits(logits, kept)


@pytest.mark.parametrize("place", ["contiguous", "fortran", "strided", "padded", "columns reversed"])
@every_shape
@both_dtypes
@every_form
def test_in_place(loss: Loss, form: str, dtype: Any, shape: tuple[int, int], place: str, isa: str) -> None:
    rng = np.random.default_rng(13)
    logits = make_inputs(loss, rng, *shape, dtype)
    targets = make_targets(rng, form, loss, *shape, dtype)

    def fresh() -> np.ndarray:
        return logits.copy() if place == "contiguous" else LAYOUTS[place](logits.copy())

    for options in ({}, *loss.options):
        value, grad, hess = loss.function(logits, targets, grad=True, hess=True, **options)
        rows = loss.function(logits, targets, reduction="none", **options)
        x = fresh()
        got = loss.function(x, targets, grad=x, **options)
        assert got[0] == value
        assert got[1] is x
        assert same_bits(x, grad), "grad"
        x = fresh()
        assert loss.function(x, targets, hess=x, **options)[0] == value
        assert same_bits(x, hess), "hess"
        x, other = fresh(), np.full(shape, np.nan, dtype)
        loss.function(x, targets, grad=x, hess=other, **options)
        assert same_bits(x, grad), "grad beside hess"
        assert same_bits(other, hess), "hess beside grad"
        x, other = fresh(), np.full(shape, np.nan, dtype)
        loss.function(x, targets, grad=other, hess=x, **options)
        assert same_bits(x, hess), "hess in place beside grad"
        assert same_bits(other, grad), "grad beside hess in place"
        x = fresh()
        assert same_bits(loss.function(x, targets, grad=x, reduction="none", **options)[0], rows)


@pytest.mark.parametrize("place", ["contiguous", "fortran", "strided", "columns reversed"])
@every_shape
@both_dtypes
def test_special_functions_in_place(dtype: Any, shape: tuple[int, int], place: str, isa: str) -> None:
    x = make_logits(np.random.default_rng(14), *shape, dtype)

    def fresh() -> np.ndarray:
        return x.copy() if place == "contiguous" else LAYOUTS[place](x.copy())

    for function in (fx.softmax, fx.log_softmax):
        # All axes at once of what is not contiguous is SciPy's.
        for axis in (0, 1, None) if place == "contiguous" else (0, 1):
            there = fresh()
            assert function(there, axis=axis, out=there) is there
            assert same_bits(there, function(x, axis=axis))
    for function in (fx.expit, fx.log_expit):
        there = fresh()
        assert function(there, out=there) is there
        assert same_bits(there, function(x))


@class_losses
def test_in_place_along_every_axis(loss: Loss) -> None:
    """Where no view has rows, too: three separate strides before the classes."""
    rng = np.random.default_rng(15)
    base = loss.inputs_of(rng.standard_normal((3, 4, 5, 6)))
    for logits in (base, np.asfortranarray(base), base.transpose(2, 0, 3, 1), base[::2, ::-1, 1:, ::2]):
        for axis in range(4):
            classes = logits.shape[axis]
            labels = rng.integers(0, classes, np.delete(logits.shape, axis))
            value, grad, hess = loss.function(logits, labels, grad=True, hess=True, axis=axis)
            x = logits.copy(order="K")
            assert loss.function(x, labels, grad=x, axis=axis)[0] == value
            assert same_bits(x, grad)
            room = np.full((*logits.shape, 2), np.nan)
            buffer = room[..., 1]
            loss.function(logits, labels, grad=buffer, hess=room[..., 0], axis=axis)
            assert same_bits(buffer, grad)
            assert same_bits(room[..., 0], hess)


# ---- threads and blocks of rows ---------------------------------------------------------------------------------

# Enough for seven threads, which are only started for 16,384 elements each; an odd number of rows.
LARGE = ((60_001, 3), (7_001, 17), (3_001, 64), (151, 1_201), (13, 20_011))


@pytest.mark.parametrize("shape", LARGE, ids=lambda shape: f"{shape[0]}x{shape[1]}")
@both_dtypes
@every_form
def test_threads_and_blocks_of_rows(loss: Loss, form: str, dtype: Any, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(16)
    logits = make_inputs(loss, rng, *shape, dtype)
    targets = make_targets(rng, form, loss, *shape, dtype)
    weights = rng.random(shape[0])
    options: dict[str, Any] = {"label_smoothing": 0.1, "sample_weight": weights}
    wanted = results(loss, logits, targets, n_threads=1, **options)
    for threads in (2, 3, 7, None):
        assert_same(results(loss, logits, targets, n_threads=threads, **options), wanted, threads)
    assert_same(results(loss, logits, targets, **options), wanted, "again")
    x = logits.copy()
    loss.function(x, targets, grad=x, n_threads=3, **options)
    assert same_bits(x, wanted[4]), "in place, by three threads"
    total = loss.function(logits, targets, reduction="sum", n_threads=1)
    assert loss.function(logits, targets, reduction="sum", n_threads=7) == total

    cuts = [0, 1, 2, shape[0] // 3, shape[0] // 3 + 1, shape[0] - 1, shape[0]]
    for start, stop in itertools.pairwise(cuts):
        part = loss.function(
            logits[start:stop],
            targets[start:stop],
            grad=True,
            hess=True,
            reduction="none",
            label_smoothing=0.1,
            sample_weight=weights[start:stop],
        )
        assert_same(list(part), [array[start:stop] for array in wanted[:3]], (start, stop))


@pytest.mark.parametrize("shape", LARGE, ids=lambda shape: f"{shape[0]}x{shape[1]}")
@both_dtypes
def test_threads_of_the_special_functions(dtype: Any, shape: tuple[int, int]) -> None:
    x = make_logits(np.random.default_rng(17), *shape, dtype)
    for function in (fx.logsumexp, fx.softmax, fx.log_softmax):
        for axis in (0, 1):
            wanted = function(x, axis=axis, n_threads=1)
            for threads in (2, 3, 7):
                assert same_bits(function(x, axis=axis, n_threads=threads), wanted)
        assert same_bits(function(x[5:6], axis=1), function(x, axis=1)[5:6])
    for function in (fx.expit, fx.log_expit):
        wanted = function(x, n_threads=1)
        for threads in (2, 3, 7):
            assert same_bits(function(x, n_threads=threads), wanted)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("labels_dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
@both_dtypes
def test_the_quick_way_has_the_bits_of_the_long_one(isa: str, dtype: Any, labels_dtype: str, reduction: str) -> None:
    """Labels without options are checked and computed in one step; a smoothing of the integer 0 goes the long way."""
    rng = np.random.default_rng(11)
    for shape in [(0, 3), (1, 2), (32, 10), (300, 33), (70, 1000)]:
        logits = 5 * rng.standard_normal(shape).astype(dtype)
        labels = rng.integers(0, min(shape[1], 100), shape[0]).astype(labels_dtype)
        for ignore_index in (None, 1, -100):
            options = {"reduction": reduction, "ignore_index": ignore_index}
            wanted = fx.softmax_cross_entropy(logits, labels, grad=True, label_smoothing=0, **options)
            got = fx.softmax_cross_entropy(logits, labels, grad=True, **options)
            assert all(map(same_bits, got, wanted))
            buffer = np.full_like(logits, 7)
            loss, grad = fx.softmax_cross_entropy(logits, labels, grad=buffer, **options)
            assert grad is buffer and same_bits(grad, wanted[1]) and same_bits(loss, wanted[0])
            in_place = logits.copy()
            loss, grad = fx.softmax_cross_entropy(in_place, labels, grad=in_place, **options)
            assert grad is in_place and same_bits(grad, wanted[1]) and same_bits(loss, wanted[0])
            assert same_bits(fx.softmax_cross_entropy(logits, labels, **options), wanted[0])
