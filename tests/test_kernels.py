"""The kernels through the public functions: every length from 0 to 200, every alignment, nothing outside touched."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import fastxent as fx
import oracle
from losses import Loss, both_dtypes, same_bits, sigmoid_losses
from subprocesses import run

LENGTHS = range(201)
CANARY = {np.float32: np.float32(-7.25e22), np.float64: -7.25e222, np.float16: np.float16(-725.0)}
# Offsets in elements: every one within a cache line, for outputs another one than for inputs.
OFFSETS = {np.float32: range(16), np.float64: range(8)}


def at_offset(values: np.ndarray, offset: int) -> np.ndarray:
    """A copy of an array that starts `offset` elements after a 64-byte boundary."""
    itemsize = values.itemsize
    room = np.empty(values.nbytes + 64 + 64 + offset * itemsize, np.uint8)
    start = -room.ctypes.data % 64 + offset * itemsize
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


class Guarded:
    """An array to write to, `offset` elements after a 64-byte boundary, between zones that must not change."""

    ZONE = 64

    def __init__(self, shape: tuple[int, ...], dtype: Any, offset: int = 0) -> None:
        size = int(np.prod(shape))
        self.whole = at_offset(np.full(size + 2 * self.ZONE, CANARY[dtype], dtype), offset)
        self.array = self.whole[self.ZONE : self.ZONE + size].reshape(shape)
        self.size = size

    def check(self) -> np.ndarray:
        """The array, after a look at the zones."""
        canary = CANARY[self.whole.dtype.type]
        assert (self.whole[: self.ZONE] == canary).all(), "written before the array"
        assert (self.whole[self.ZONE + self.size :] == canary).all(), "written past the array"
        assert not (self.array == canary).any(), "not all of the array was written"
        return self.array


def scores(n: int, dtype: Any, rows: int | None = None) -> np.ndarray:
    shape = (n,) if rows is None else (rows, n)
    return (np.random.default_rng(n).standard_normal(shape) * 4).astype(dtype)


@both_dtypes
def test_elementwise(dtype: Any, isa: str) -> None:
    for function, exact, bound in ((fx.expit, oracle.expit, 4), (fx.log_expit, oracle.log_expit, 2)):
        for n in LENGTHS:
            x = at_offset(scores(n, dtype), 0)
            reference = function(x)
            if n:
                assert oracle.ulp_error(reference, exact(x)).max() <= bound
            for offset in OFFSETS[dtype]:
                out = Guarded((n,), dtype, (offset * 5 + 3) % 16)
                function(at_offset(x, offset), out=out.array)
                assert same_bits(out.check(), reference), (n, offset)


@both_dtypes
def test_rows(dtype: Any, isa: str) -> None:
    """Three rows, so that they start at different alignments; a row alone gives the same bits."""
    for name, bound in (("softmax", 4), ("log_softmax", 2)):
        function, exact = getattr(fx, name), getattr(oracle, name)
        for n in LENGTHS[1:]:
            x = at_offset(scores(n, dtype, 3), 0)
            reference = function(x, axis=1)
            assert oracle.ulp_error(reference, exact(x)).max() <= bound
            assert same_bits(function(x[1]), reference[1])
            for offset in OFFSETS[dtype]:
                out = Guarded((3, n), dtype, (offset * 5 + 3) % 16)
                function(at_offset(x, offset), axis=1, out=out.array)
                assert same_bits(out.check(), reference), (name, n, offset)


@both_dtypes
def test_logsumexp(dtype: Any, isa: str) -> None:
    for n in LENGTHS[1:]:
        x = at_offset(scores(n, dtype, 3), 0)
        reference = fx.logsumexp(x, axis=1)
        exact = oracle.logsumexp(x)
        assert oracle.ulp_error(reference, exact, np.maximum(np.abs(exact), np.abs(x).max(1))).max() <= 2
        for offset in OFFSETS[dtype]:
            out = Guarded((3,), dtype, offset)
            fx.logsumexp(at_offset(x, offset), axis=1, out=out.array)
            assert same_bits(out.check(), reference), (n, offset)


def test_nothing_to_sum() -> None:
    for dtype in (np.float32, np.float64):
        assert fx.logsumexp(np.empty(0, dtype)) == -np.inf
        assert fx.logsumexp(np.empty((0, 3), dtype), axis=1).shape == (0,)
        assert fx.softmax(np.empty((0, 3), dtype), axis=1).shape == (0, 3)
        assert fx.expit(np.empty(0, dtype)).shape == (0,)


@both_dtypes
@pytest.mark.parametrize("targets", ["labels", "dense"])
@pytest.mark.parametrize("rows", [1, 5, 37])
def test_softmax_cross_entropy(rows: int, targets: str, dtype: Any, isa: str) -> None:
    """Rows: fewer than a vector has lanes, and more."""
    rng = np.random.default_rng(rows)
    for n in LENGTHS[2:]:
        x = at_offset(scores(n, dtype, rows), 0)
        y = rng.integers(0, n, rows) if targets == "labels" else rng.random((rows, n)).astype(dtype)
        reference = fx.softmax_cross_entropy(x, y, grad=True, hess=True, reduction="none")
        exact = oracle.softmax_cross_entropy(x, y, reduction="none")
        if targets == "labels":
            assert oracle.ulp_error(reference[0], exact.loss).max() <= 2
        assert oracle.ulp_error(reference[1], exact.grad, exact.scale).max() <= 4
        for offset in OFFSETS[dtype][:: 1 if rows == 5 else 5]:
            grad, hess = (Guarded((rows, n), dtype, (offset * k + 3) % 16) for k in (5, 7))
            y_here = y if targets == "labels" else at_offset(y, (offset * 3 + 1) % 16)
            loss, _, _ = fx.softmax_cross_entropy(
                at_offset(x, offset), y_here, grad=grad.array, hess=hess.array, reduction="none"
            )
            for which, result in enumerate((loss, grad.check(), hess.check())):
                assert same_bits(result, reference[which]), (n, offset, which)


@pytest.mark.parametrize("options", [{}, {"pos_weight": 1.5}], ids=["plain", "pos_weight"])
@sigmoid_losses
@both_dtypes
def test_sigmoid(loss: Loss, options: dict[str, Any], dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    options = options | {"reduction": "none"}
    for n in LENGTHS:
        x, y = at_offset(scores(n, dtype), 0), at_offset(rng.random(n).astype(dtype), 0)
        weights = at_offset(rng.random(n).astype(dtype), 0)
        reference = loss.function(x, y, grad=True, hess=True, sample_weight=weights, **options)
        exact = loss.oracle(x, y, sample_weight=weights, **options)
        if n:
            assert oracle.ulp_error(reference[1], exact.grad, exact.scale).max() <= 4
        total = loss.function(x, y, reduction="sum")
        for offset in OFFSETS[dtype]:
            grad, hess = (Guarded((n,), dtype, (offset * k + 3) % 16) for k in (5, 7))
            moved = at_offset(x, offset), at_offset(y, (offset * 3 + 1) % 16)
            value, _, _ = loss.function(
                *moved, grad=grad.array, hess=hess.array, sample_weight=at_offset(weights, (offset + 5) % 16), **options
            )
            for which, result in enumerate((value, grad.check(), hess.check())):
                assert same_bits(result, reference[which]), (n, offset, which)
            assert loss.function(*moved, reduction="sum") == total, (n, offset)


def test_empty_losses(isa: str) -> None:
    for dtype in (np.float32, np.float64):
        loss, grad = fx.softmax_cross_entropy(np.empty((0, 3), dtype), np.empty(0, np.int64), grad=True)
        assert loss == 0.0
        assert grad.shape == (0, 3)
        loss, grad = fx.sigmoid_cross_entropy(np.empty((0, 3), dtype), np.empty((0, 3)), grad=True)
        assert loss == 0.0
        assert grad.shape == (0, 3)
        assert fx.sigmoid_cross_entropy(np.empty(0, dtype), np.empty(0), reduction="none").shape == (0,)


# ---- 16-bit formats --------------------------------------------------------------------------------------------

ALL_HALVES = np.arange(65536, dtype=np.uint16).view(np.float16)


def test_all_half_precision_numbers_are_read_right(isa: str) -> None:
    """logsumexp([x, -inf]) is x, in the dtype of x: what was widened comes back, whatever its place in a vector."""
    x = np.full((65536, 2), -np.inf, np.float16)
    x[:, 0] = ALL_HALVES
    for rows in (x, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        result = fx.logsumexp(rows, axis=1)
        assert result.dtype == np.float16
        np.testing.assert_array_equal(result, ALL_HALVES)
    # -0 is a zero.
    widened = x.astype(np.float32)
    loss, grad = fx.softmax_cross_entropy(x[:, ::-1], np.zeros(65536, int), grad=True, reduction="none")
    wide_loss, wide_grad = fx.softmax_cross_entropy(widened[:, ::-1], np.zeros(65536, int), grad=True, reduction="none")
    assert same_bits(loss, wide_loss)
    assert same_bits(grad, wide_grad)


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_sixteen_bits_are_written_right(storage: str, isa: str) -> None:
    """All numbers, what lies half-way between them and next to that: as NumPy rounds float32.

    The sigmoid's gradient at +inf for target 0 is the weight, exactly; at -inf for target 1 minus the weight.
    """
    dtype = np.dtype(np.float16) if storage == "float16" else np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    every = np.arange(65536, dtype=np.uint16).view(dtype).astype(np.float32)
    every = np.unique(every[np.isfinite(every) & (every > 0)])
    half_way = np.append((every[:-1].astype(np.float64) + every[1:]) / 2, float(every[-1]) * (1 + 2.0**-12))
    half_way = half_way.astype(np.float32)
    values = np.concatenate([every, half_way, np.nextafter(half_way, 0), np.nextafter(half_way, np.float32(np.inf))])
    values = values[values >= np.finfo(np.float32).smallest_normal]
    with np.errstate(over="ignore", under="ignore"):
        wanted = values.astype(dtype)
    x = np.full(len(values), np.inf, dtype)
    for sign, label in ((1, 0), (-1, 1)):
        for layout in (slice(None), slice(None, None, -1)):
            grad = np.zeros(len(values), dtype)[layout]
            fx.sigmoid_cross_entropy(sign * x, np.full(len(x), label), sample_weight=values, grad=grad, reduction="sum")
            assert same_bits(np.abs(grad), wanted)
            assert (np.signbit(grad) == (sign < 0)).all()


def test_half_precision_lengths(isa: str) -> None:
    for n in LENGTHS[2:]:
        x = scores(n, np.float16, 3)
        labels = np.array([0, n // 2, n - 1])
        wide_loss, wide_grad = fx.softmax_cross_entropy(x.astype(np.float32), labels, grad=True)
        for offset in (0, 1, 5, 31):
            grad = Guarded((3, n), np.float16, offset)
            loss, _ = fx.softmax_cross_entropy(at_offset(x, offset), labels, grad=grad.array)
            assert loss == wide_loss
            assert same_bits(grad.check(), wide_grad.astype(np.float16)), (n, offset)


# ---- reading stays inside ------------------------------------------------------------------------------------

INSIDE = """
import ctypes, mmap, sys
import numpy as np
import fastxent as fx

libc = ctypes.CDLL(None, use_errno=True)
page = mmap.PAGESIZE
room = mmap.mmap(-1, 3 * page)
base = ctypes.addressof(ctypes.c_char.from_buffer(room))
for outer in (base, base + 2 * page):
    if libc.mprotect(ctypes.c_void_p(outer), ctypes.c_size_t(page), 0):
        sys.exit("skip")
middle = np.frombuffer(room, np.uint8)[page : 2 * page]

def at_edge(values, last):
    place = middle[page - values.nbytes :] if last else middle[: values.nbytes]
    copy = place.view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy

rng = np.random.default_rng(0)
for isa in fx.info()["isas"]:
    fx.set_isa(isa)
    for dtype in (np.float16, np.float32, np.float64):
        for n in range(1, 201):
            for rows in (1, 2):
                values = rng.standard_normal((rows, n)).astype(dtype)
                for last in (False, True):
                    x = at_edge(values, last)
                    fx.softmax(x, axis=1)
                    fx.logsumexp(x, axis=1)
                    fx.sigmoid_cross_entropy(x, np.zeros((rows, n), dtype), grad=True)
                    if n > 1:
                        fx.softmax_cross_entropy(x, np.zeros(rows, int), grad=True)
                        fx.softmax_cross_entropy(x, np.zeros(rows, int), grad=x)
                    fx.softmax(at_edge(values, last), axis=1, out=x)
                    fx.expit(at_edge(values, last), out=x if dtype is not np.float16 else None)
print("done")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mprotect")
def test_nothing_outside_is_read_or_written() -> None:
    """Arrays that end, or start, where memory does."""
    child = run(INSIDE, timeout=120)
    if "skip" in child.stderr:
        pytest.skip("pages cannot be protected here")
    assert child.returncode == 0, f"exit status {child.returncode}: {child.stderr[-500:]}"
    assert child.stdout.strip() == "done"
