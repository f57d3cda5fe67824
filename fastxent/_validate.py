"""The only place that checks: array-likes into arrays that the row loops take, or an error that says what to do.

Every function either returns something valid or raises before anything was written. Messages name the argument,
the row, the value and the way out.
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fastxent import _memory, _softmax
from fastxent._arrays import overlap, same_memory

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_REDUCTIONS = frozenset(("mean", "sum", "none"))


class Sparse(NamedTuple):
    """The three arrays of a checked CSR matrix; values are float64."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray


WEIGHTS = "weights are finite and not negative"

# Labels, a dense distribution or CSR: exactly one is not None.
Targets = tuple[np.ndarray | None, np.ndarray | None, Sparse | None]


# ---- arrays --------------------------------------------------------------------------------------------------


def is_half(dtype: np.dtype[Any]) -> bool:
    """float16 or bfloat16: formats for storage, computed with as float32."""
    return dtype == np.float16 or dtype.name == "bfloat16"


def check_unmasked(name: str, value: Any) -> None:
    """Refuse a masked array, of which NumPy would take what is under the mask."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array: fill it, and leave rows out with sample_weight or ignore_index")


def real_array(name: str, value: Any) -> np.ndarray:
    """An aligned array of a real dtype in native byte order; a copy only of what is neither."""
    check_unmasked(name, value)
    if is_sparse(value):
        raise TypeError(f"{name} is a sparse matrix, which only targets can be: use {name}.toarray()")
    array = np.asarray(value)
    kind = array.dtype.kind
    if not (kind in "fiub" or is_half(array.dtype)):
        raise TypeError(f"{name} has dtype {array.dtype}: real numbers are needed, use {name}.astype(float)")
    if kind == "f" and array.dtype.itemsize > 8:
        raise TypeError(f"{name} has dtype {array.dtype}, wider than the kernels: use {name}.astype(numpy.float64)")
    return native(array)


def native(array: np.ndarray) -> np.ndarray:
    """The array, or a copy if it is not aligned or not in the byte order of this machine."""
    if array.flags.aligned and array.dtype.isnative:
        return array
    return array.astype(np.dtype(array.dtype.type))


def float_array(name: str, value: Any) -> np.ndarray:
    """As `real_array`, integers converted to float64."""
    if type(value) is np.ndarray and (value.dtype is _FLOAT32 or value.dtype is _FLOAT64) and value.flags.aligned:
        return value
    array = real_array(name, value)
    return array.astype(np.float64) if array.dtype.kind in "iub" else array


def is_sparse(value: Any) -> bool:
    """Whether a value is a scipy.sparse array or matrix, without importing scipy.sparse."""
    kind = type(value)
    # Of the type: to count the elements of a malformed one is an error.
    return kind is not np.ndarray and hasattr(kind, "tocsr") and hasattr(kind, "nnz")


def is_csr(value: Any) -> bool:
    """Whether a value is a scipy.sparse matrix in CSR format."""
    return is_sparse(value) and getattr(value, "format", None) == "csr"


def class_axis(logits: np.ndarray, axis: Any, name: str = "logits") -> int:
    """The axis as a number from 0."""
    if logits.ndim == 0:
        raise ValueError(f"{name} are a single number: give an array with an axis of classes")
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise TypeError(f"axis is {axis!r}: give one integer, the axis of the classes")
    number = int(axis.__index__())
    if not -logits.ndim <= number < logits.ndim:
        raise ValueError(f"axis is {number}, but {name} have {logits.ndim} dimensions")
    return number % logits.ndim


def too_few_classes(classes: int, axis: int) -> ValueError:
    """A softmax over one column is 1 whatever the score: surely not what was meant."""
    return ValueError(
        f"logits have {classes} column(s) along axis {axis}: a softmax needs two classes or more,"
        " use sigmoid_cross_entropy for a single score"
    )


def as_rows(array: np.ndarray, axis: int) -> np.ndarray:
    """A view (rows, n) or (outer, inner, n) with `axis` last, the others in order; a copy if no view has that shape."""
    if array.ndim == 2 and axis == 1:
        return array
    moved = np.moveaxis(array, axis, -1)
    if moved.ndim == 2:
        return moved
    width = moved.shape[-1]
    if array.size == 0 or moved.ndim == 1:
        return moved.reshape(-1 if width else 0, width)
    groups: list[list[int]] = []
    for size, stride in zip(moved.shape[:-1], moved.strides[:-1], strict=True):
        if size == 1:
            continue
        if groups and groups[-1][1] == size * stride:
            groups[-1] = [groups[-1][0] * size, stride]
        else:
            groups.append([size, stride])
    if len(groups) > 2:
        return np.ascontiguousarray(moved).reshape(-1, width)
    groups = [[1, 0]] * (1 - len(groups)) + groups
    return as_strided(
        moved,
        (*(size for size, _ in groups), width),
        (*(stride for _, stride in groups), moved.strides[-1]),
    )


def put_back(array: np.ndarray, rows: np.ndarray | None, axis: int) -> None:
    """Copy rows back into an array of which `as_rows` could make no view."""
    if rows is not None and array.ndim > 2 and array.size and not np.may_share_memory(array, rows):
        moved = np.moveaxis(array, axis, -1)
        moved[...] = rows.reshape(moved.shape)


def output_dtypes(scores: np.ndarray) -> tuple[np.dtype[Any], ...]:
    """What gradients of such scores may be stored as; the first is the default."""
    dtype = scores.dtype
    return (dtype,) if dtype is _FLOAT32 or dtype is _FLOAT64 else (_FLOAT32, dtype)


def output(
    name: str,
    asked: Any,
    like: np.ndarray,
    dtypes: tuple[np.dtype[Any], ...],
    inputs: tuple[tuple[str, Any], ...],
    itself: str,
) -> np.ndarray | None:
    """The array to write to: None for False, a new one of the first dtype for True, or a checked buffer.

    A buffer may be the input called `itself`, if there is one; any other overlap with one of the `inputs` is refused.
    """
    if asked is False or asked is None:
        return None
    if asked is True:
        # Keeps the layout of a transposed or Fortran-ordered input.
        return _memory.empty_like(like, dtypes[0])
    return buffer(name, asked, like, dtypes, inputs, itself)


def elements_overlap(array: np.ndarray) -> bool:
    """Whether elements may share memory: every stride must step over all that the smaller ones reach."""
    reach = array.itemsize
    for stride, size in sorted(zip(map(abs, array.strides), array.shape, strict=True)):
        if size > 1:
            if stride < reach:
                return True
            reach += stride * (size - 1)
    return False


def memory_of(given: Any) -> tuple[np.ndarray, ...]:
    """The arrays that an input is, or is read through: tensors and data frames may share theirs."""
    if isinstance(given, np.ndarray):
        return (given,)
    if is_csr(given):
        return given.data, given.indices, given.indptr
    if is_sparse(given) or isinstance(given, (int, float, list, tuple)):
        return ()
    return (np.asarray(given),)


def buffer(
    name: str,
    asked: Any,
    like: np.ndarray,
    dtypes: tuple[np.dtype[Any], ...],
    inputs: tuple[tuple[str, Any], ...],
    itself: str,
) -> np.ndarray:
    """A caller's array to write to, checked."""
    if type(asked) is not np.ndarray and type(asked) is not np.memmap:
        others = "" if name.endswith("out") else "True, False or "
        raise TypeError(f"{name} is {type(asked).__name__}: give {others}a numpy array to write into")
    if asked.dtype not in dtypes or not asked.dtype.isnative:
        wanted = " or ".join(str(dtype) for dtype in dtypes)
        raise TypeError(f"{name} has dtype {asked.dtype}, but {wanted} is written: use numpy.empty(shape, {dtypes[0]})")
    if asked.shape != like.shape:
        raise ValueError(f"{name} has shape {asked.shape}, but the result has shape {like.shape}")
    if not asked.flags.writeable:
        raise ValueError(f"{name} is read-only: give an array that can be written to")
    if not asked.flags.aligned:
        raise ValueError(f"{name} is not aligned to its dtype: give an array from numpy.empty")
    if not asked.flags.c_contiguous and elements_overlap(asked):
        raise ValueError(
            f"{name} is a broadcast or overlapping view, several of its elements share memory: use numpy.empty"
        )
    for other, given in inputs:
        shared = (part for part in memory_of(given) if overlap(asked, part))
        if any(other != itself or not same_memory(asked, part) for part in shared):
            in_place = f", or {itself} itself to work in place" if itself else ""
            raise ValueError(f"{name} overlaps {other}: give a separate array{in_place}")
    return asked


def separate(grad: np.ndarray | None, hess: np.ndarray | None) -> None:
    """Refuse one array for both results."""
    if grad is not None and hess is not None and overlap(grad, hess):
        raise ValueError("grad and hess share memory: give separate arrays")


def is_any(array: np.ndarray, *outputs: np.ndarray | None) -> bool:
    """Whether one of the outputs is the array itself."""
    for out in outputs:
        if out is not None and same_memory(array, out):
            return True
    return False


def as_elements(array: np.ndarray) -> np.ndarray:
    """An array as rows, in logical order: a single row if its memory is in that order."""
    return array.reshape(1, -1) if array.flags.c_contiguous else as_rows(array, array.ndim - 1)


# ---- options -------------------------------------------------------------------------------------------------


def number(name: str, value: Any, low: float, high: float) -> float:
    """A finite number in [low, high]."""
    if type(value) is not float:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise TypeError(f"{name} is {value!r}: give {_range(low, high)}")
        value = float(value)
    real: float = value
    if not (low <= real <= high and real < math.inf):
        raise ValueError(f"{name} is {real:g}: give {_range(low, high)}")
    return real


def _range(low: float, high: float) -> str:
    return f"a finite number of at least {low:g}" if high == math.inf else f"a number from {low:g} to {high:g}"


def above_zero(name: str, value: Any) -> float:
    """A finite number above 0 whose inverse is a finite one of either type of kernel."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} is {value!r}: give a number above 0")
    real = float(value)
    if not 2.0**-120 <= real <= 2.0**120:
        raise ValueError(f"{name} is {real:g}: give a number above 0, from 2^-120 to 2^120")
    return real


def exponent(name: str, value: Any) -> float:
    """A finite number of at least 0; beyond a thousand million a power of 1 - p says nothing any more."""
    return number(name, value, 0.0, 1e9)


def options(function: str, given: dict[str, Any], known: frozenset[str]) -> None:
    """Refuse keywords that a function does not have, by its own name."""
    for name in given:
        if name not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}: see help(fastxent.{function})")


def check_finite_floats(sparse: Sparse, shape: tuple[int, ...]) -> None:
    """Refuse CSR targets that are infinite as float32, duplicates added up."""
    most = float(np.finfo(np.float32).max)
    with np.errstate(over="ignore"):
        if not sparse.values.sum() > most:
            return
        row, column, value = largest_entry(summed(sparse, shape))
    if value > most:
        raise ValueError(f"targets[{row}, {column}] is {value:g}: targets are not negative, and finite as float32")


def per_class(name: str, value: Any, classes: int, low: float, high: float, rule: str) -> np.ndarray:
    """One number for each class, as float64, none NaN, below `low` or above `high`; -inf passes a `low` of -inf."""
    array = real_array(name, value)
    if array.shape != (classes,):
        raise ValueError(f"{name} has shape {array.shape}, but there are {classes} classes: give shape ({classes},)")
    array = np.ascontiguousarray(array, np.float64)
    check_range(name, array, low, high, rule)
    return array


def mask_of(value: Any, scores: np.ndarray, axis: int) -> np.ndarray:
    """A mask of classes as rows, a view: True where a class is left out."""
    array = np.asarray(value)
    if isinstance(value, np.ma.MaskedArray) or array.dtype != np.bool_:
        raise TypeError(f"class_mask has dtype {array.dtype}: give booleans, True for a class to leave out")
    classes = scores.shape[axis]
    if array.shape == (classes,):
        return np.broadcast_to(array, as_rows(scores, axis).shape)
    if array.shape != scores.shape:
        raise ValueError(f"class_mask has shape {array.shape}, logits {scores.shape}: give shape ({classes},) or that")
    return as_rows(array, axis)


def check_mask(mask: np.ndarray, targets: Targets, ignore_index: int | None, rows: tuple[int, ...]) -> None:
    """Refuse a mask that leaves a row no class, or that leaves out a class which is a target."""
    labels, dense, sparse = targets
    inner = mask.shape[-2]
    for first in range(0, math.prod(mask.shape[:-1]), 4096):
        block = _some_rows(mask, inner, first)
        empty = np.asarray(block.all(axis=1))
        if labels is not None and ignore_index is not None:
            empty &= labels[first : first + len(block)] != ignore_index
        if empty.any():
            row = _row_name(first + int(np.argmax(empty)), rows)
            raise ValueError(f"class_mask leaves row {row} no class: unmask one, or drop the row")
        at, column = _targets_in(block, labels, dense, sparse, first, inner, ignore_index)
        if at.size:
            row = _row_name(first + int(at[0]), rows)
            raise ValueError(
                f"class_mask leaves out class {int(column[0])}, which is a target of row {row}: unmask it, or drop the"
                " row (ignore_index)"
            )


def _some_rows(array: np.ndarray, inner: int, first: int) -> np.ndarray:
    """Up to 4096 rows of an array (rows, n) or (outer, inner, n)."""
    if array.ndim == 2:
        return array[first : first + 4096]
    last = min(first + 4096, array.shape[0] * inner)
    rows = np.arange(first, last)
    return np.asarray(array[rows // inner, rows % inner])


def _row_name(row: int, rows: tuple[int, ...]) -> str:
    return ", ".join(str(int(i)) for i in np.unravel_index(row, rows)) or "0"


def _targets_in(
    block: np.ndarray,
    labels: np.ndarray | None,
    dense: np.ndarray | None,
    sparse: Sparse | None,
    first: int,
    inner: int,
    ignore_index: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of targets where a block of a mask is True."""
    last = first + len(block)
    if labels is not None:
        column = labels[first:last]
        at = np.arange(len(column))
        if ignore_index is not None:
            at = at[column != ignore_index]
        at = at[block[at, column[at]]]
        return at, column[at]
    if dense is not None:
        at, column = np.nonzero(block & (_some_rows(dense, inner, first) != 0))
        return at, column
    assert sparse is not None
    start, stop = int(sparse.indptr[first]), int(sparse.indptr[last])
    at = np.repeat(np.arange(len(block)), np.diff(sparse.indptr[first : last + 1]).astype(np.intp))
    column = sparse.indices[start:stop]
    wrong = block[at, column] & (sparse.values[start:stop] != 0)
    return at[wrong], column[wrong]


def factors(name: str, value: Any, shape: tuple[int, ...], low: float, high: float) -> float | np.ndarray:
    """A finite number in [low, high], or float64 ones along the last axis of `shape`."""
    if type(value) is float and low <= value <= high and value < math.inf:
        return value
    if np.ndim(value) == 0:
        return number(name, value[()] if isinstance(value, np.ndarray) else value, low, high)
    array = real_array(name, value)
    if array.shape != shape[-1:]:
        wanted = f", or one for each element of the last axis, of shape {shape[-1:]}" if shape else ""
        raise ValueError(f"{name} has shape {array.shape}, logits {shape}: give one number{wanted}")
    check_range(name, array, low, high, f"give {_range(low, high)}")
    return np.ascontiguousarray(array, np.float64)


def reduction_of(reduction: Any) -> str:
    """One of "mean", "sum", "none"."""
    if not isinstance(reduction, str) or reduction not in _REDUCTIONS:
        raise ValueError(f'reduction is {reduction!r}: give "mean", "sum" or "none"')
    return str(reduction)


def weights_of(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Weights of rows, one-dimensional float64; finite and not negative."""
    if value is None:
        return None
    array = real_array(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, but there are rows of shape {shape}: give one weight a row")
    check_range(name, array, 0.0, math.inf, WEIGHTS)
    return np.ascontiguousarray(array, np.float64).reshape(-1)


def element_weights(
    name: str, value: Any, shape: tuple[int, ...], of: str = "logits"
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Weights of elements, or float64 weights of rows (along the first axis)."""
    if value is None:
        return None, None
    array = real_array(name, value)
    if array.shape == shape:
        check_range(name, array, 0.0, math.inf, WEIGHTS)
        return array, None
    if array.shape != shape[:1]:
        raise ValueError(f"{name} has shape {array.shape}, {of} {shape}: give shape {shape} or {shape[:1]}")
    return None, weights_of(name, array, shape[:1])


def moderate(weights: np.ndarray | None) -> np.ndarray | None:
    """Weights that only matter relative to each other, scaled by a power of two where their sum or its inverse would
    leave the range of the kernels' numbers."""
    if weights is None or weights.size == 0:
        return weights
    most = float(weights.max())
    if most == 0.0 or 2.0**-60 <= most <= 2.0**60:
        return weights
    with np.errstate(under="ignore"):
        return np.ldexp(weights.astype(np.float64), -math.frexp(most)[1])


def multipliable(weights: np.ndarray | None, factors: np.ndarray) -> np.ndarray:
    """Factors of weights that only matter relative to each other, scaled by a power of two where the largest product
    would leave the range of doubles."""
    if weights is None or weights.size == 0:
        return factors
    most, largest = float(weights.max()), float(factors.max())
    if most == 0.0 or largest == 0.0 or 2.0**-1000 <= most * largest <= 2.0**1000:
        return factors
    exponent = math.frexp(most)[1] + math.frexp(largest)[1]
    with np.errstate(under="ignore"):
        return np.asarray(np.ldexp(factors, (1000 if exponent > 0 else -1000) - exponent))


def check_range(name: str, array: np.ndarray, low: float, high: float, rule: str) -> None:
    """Refuse an element that is NaN, infinite, below `low` or above `high`."""
    if array.size == 0:
        return
    least, most = float(array.min()), float(array.max())
    if least >= low and most <= high and most < math.inf:
        return
    array = np.atleast_1d(array)
    for start in range(0, len(array), 4096):
        block = array[start : start + 4096]
        wide = block.astype(np.float64)
        good = (wide >= low) & (wide <= high) & (wide < math.inf)
        if not good.all():
            at = np.unravel_index(int(np.argmin(good)), block.shape)
            where = ", ".join(str(int(i) + (start if axis == 0 else 0)) for axis, i in enumerate(at))
            raise ValueError(f"{name}[{where}] is {block[at]}: {rule}")


def check_finite(name: str, array: np.ndarray) -> None:
    """Refuse an element that is NaN or infinite."""
    check_range(name, array, -sys.float_info.max, math.inf, "give finite numbers")


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}: give True or False")
    return bool(value)


# ---- calibration ---------------------------------------------------------------------------------------------


def _sum_tolerance(dtype: np.dtype[Any]) -> float:
    """How far the sum of a row of probabilities may be from 1: room for float16 and rounded tables, or for bfloat16."""
    return 1e-2 if dtype.name == "bfloat16" else 1e-3


def count_of(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least 1, or of another least one."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r}: give a whole number of at least {least}")
    count = int(value.__index__())
    if count < least:
        raise ValueError(f"{name} is {count}: give a whole number of at least {least}")
    return count


def choice_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}: give {', '.join(choices[:-1])} or {choices[-1]}")
    return value


def scores_to_fit(name: str, scores: np.ndarray, counts: np.ndarray | None = None) -> None:
    """Refuse NaN, +inf and rows of nothing but -inf, among the rows that count."""
    top = scores.max(axis=1)  # NaN where there is one
    bad = ~(np.abs(top) < np.inf)
    if counts is not None:
        bad &= counts
    if not bad.any():
        return
    row = int(bad.argmax())
    if top[row] == -np.inf:
        raise ValueError(f"{name}[{row}] is -inf in every column: leave one class possible")
    column = int(np.flatnonzero(np.isnan(scores[row]) | (scores[row] == np.inf))[0])
    raise ValueError(
        f"{name}[{row}, {column}] is {scores[row, column]}: scores are finite, or -inf for a class that is left out"
    )


def look_like_probabilities(scores: np.ndarray) -> bool:
    """Whether every row is in [0, 1] and adds up to 1, as no scores do."""
    if scores.size == 0 or not (scores.min() >= 0 and scores.max() <= 1):
        return False
    return bool((np.abs(scores.sum(axis=1, dtype=np.float64) - 1) <= _sum_tolerance(scores.dtype)).all())


def predictions_of(
    probabilities: Any, labels: Any, sample_weight: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Probabilities (n, C) or (n,), labels and weights of the rows that count; weights are None if all are 1."""
    p = float_array("probabilities", probabilities)
    if p.ndim not in (1, 2) or p.shape[1:] == (1,):
        raise ValueError(
            f"probabilities have shape {p.shape}: give (n, C) with a column for each class, or (n,) of class 1"
        )
    rows = p.shape[:1]
    classes = p.shape[1] if p.ndim == 2 else 2
    y = real_array("labels", labels)
    if y.shape != rows:
        raise ValueError(f"labels have shape {y.shape}, probabilities {p.shape}: give one label a row, {rows}")
    if y.dtype.kind not in ("iu" if p.ndim == 2 else "iub"):
        raise TypeError(f"labels have dtype {y.dtype}, but labels are integers: use labels.astype(numpy.int64)")
    weights = weights_of("sample_weight", sample_weight, rows)

    bad = (y < 0) | (y >= classes)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"labels[{row}] is {y[row]}, but the classes are 0 to {classes - 1}: mend the label")
    counts = np.ones(rows, np.bool_) if weights is None else weights > 0
    if not counts.any():
        raise ValueError("no row counts: there are no probabilities, or sample_weight is 0 in every row")

    bad = ~((p >= 0) & (p <= 1))  # also true where a NaN is
    bad_rows = (bad if p.ndim == 1 else bad.any(axis=1)) & counts
    if bad_rows.any():
        row = int(bad_rows.argmax())
        where = (row,) if p.ndim == 1 else (row, int(bad[row].argmax()))
        raise ValueError(
            f"probabilities[{', '.join(map(str, where))}] is {p[where]}, outside [0, 1]: these look like scores, use"
            f" fastxent.{'expit' if p.ndim == 1 else 'softmax'} first"
        )
    if p.ndim == 2:
        sums = p.sum(axis=1, dtype=np.float64)
        bad_rows = (np.abs(sums - 1) > _sum_tolerance(p.dtype)) & counts
        if bad_rows.any():
            row = int(bad_rows.argmax())
            raise ValueError(
                f"probabilities[{row}] adds up to {sums[row]:.6g}, not 1: divide each row by its sum, or measure"
                " independent outcomes a column at a time"
            )
    if counts.all():
        return p, y, weights
    return p[counts], y[counts], None if weights is None else weights[counts]


# ---- targets -------------------------------------------------------------------------------------------------


def targets_of(
    value: Any,
    logits: np.ndarray,
    axis: int,
    rows: tuple[int, ...],
    ignore_index: int | None,
    of: str = "logits",
    one_outcome: str = "sigmoid_cross_entropy",
) -> Targets:
    """Labels, a dense distribution or CSR, told apart by type and dtype; labels and CSR are checked whole.

    `rows` is the shape of the logits without their axis of classes, `of` what messages call the logits.
    """
    if type(value) is np.ndarray:
        array = value
    elif is_sparse(value):
        return None, None, sparse_targets(value, logits, axis, ignore_index, of)
    else:
        array = real_array("targets", value)
        if array.size == 0 and array.shape == rows:
            # Of an empty list NumPy makes floats.
            array = array.astype(np.int64)
    if array.shape == rows and array.dtype.kind in "iu":
        return labels_of(array, logits.shape[axis], ignore_index), None, None
    if array.shape == rows:
        real_array("targets", array)
        raise TypeError(
            f"targets have dtype {array.dtype} and one entry a row, but labels are integers:"
            f" use targets.astype(numpy.int64), or {one_outcome} for probabilities of one outcome"
        )
    if array.shape != logits.shape:
        raise ValueError(
            f"targets have shape {array.shape}, {of} {logits.shape} with classes along axis {axis}: give labels"
            f" of shape {rows} or a distribution of shape {logits.shape}; targets are never broadcast"
        )
    if ignore_index is not None:
        raise ValueError("ignore_index goes with integer labels: give rows to ignore a sample_weight of 0")
    return None, as_rows(real_array("targets", array), axis), None


def whole_numbers(name: str, array: np.ndarray) -> np.ndarray:
    """Labels that are floats as integers, if that is what they are; other dtypes as they are."""
    if array.dtype.kind != "f" and not is_half(array.dtype):
        return array
    with np.errstate(invalid="ignore"):
        labels = array.astype(np.int64)
    bad = labels != array
    if bad.any():
        at = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), array.shape))
        where = ", ".join(map(str, at))
        raise ValueError(f"{name}[{where}] is {array[at]}: labels are whole numbers; give a distribution for each row")
    return labels


def labels_of(array: np.ndarray, classes: int, ignore_index: int | None) -> np.ndarray:
    """Labels, one-dimensional, each a class or the ignored one."""
    array = native(array)
    labels = array if array.ndim == 1 else array.reshape(-1)
    bad = _softmax.first_bad_label(labels, classes, ignore_index)
    if bad >= 0:
        where = ", ".join(str(int(i)) for i in np.unravel_index(bad, array.shape))
        raise ValueError(
            f"targets[{where}] is {labels[bad]}, but the classes are 0 to {classes - 1}:"
            f" mend the label, or name it in ignore_index to leave such rows out"
        )
    return labels


def ignored(ignore_index: Any) -> int | None:
    """The label of rows to leave out."""
    if ignore_index is None:
        return None
    if isinstance(ignore_index, (bool, np.bool_)) or not hasattr(ignore_index, "__index__"):
        raise TypeError(f"ignore_index is {ignore_index!r}: give an integer or None")
    label = int(ignore_index.__index__())
    if not -(2**63) <= label < 2**63:
        raise ValueError(f"ignore_index is {label}: give an integer of 64 bits")
    return label


def csr_of(name: str, value: Any, shape: tuple[int, ...], of: str = "logits") -> Sparse:
    """The arrays of a CSR matrix of a given shape, checked; entries may be unsorted, duplicates add up."""
    if not is_csr(value):
        raise TypeError(f"{name} is a sparse matrix in {getattr(value, 'format', '?')} format: use {name}.tocsr()")
    if len(shape) != 2 or value.shape != shape:
        raise ValueError(f"{name} has shape {value.shape}, {of} {shape}: CSR needs the shape of two-dimensional {of}")
    indptr, indices = native(np.asarray(value.indptr)), native(np.asarray(value.indices))
    values = real_array(f"{name}.data", value.data)
    for part, array in (("indptr", indptr), ("indices", indices)):
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise TypeError(f"{name}.{part} has dtype {array.dtype}: it must be one-dimensional and of integers")
    if len(indptr) != shape[0] + 1 or values.ndim != 1:
        raise ValueError(f"{name} is malformed: {len(indptr)} row pointers for {shape[0]} rows")
    values = np.ascontiguousarray(values, np.float64)
    bad = _softmax.first_bad_csr(indptr, indices, values, shape[1])
    if bad is None:
        # What stands behind the last row's entries is none.
        count = int(indptr[-1])
        return Sparse(indptr, indices[:count], values[:count])
    row = bad[1]
    if bad[0] == "indptr":
        raise ValueError(
            f"{name} is malformed in row {row}: indptr goes from {indptr[row]} to {indptr[row + 1]}, but must start at"
            f" 0, not decrease and not pass the {min(len(indices), len(values))} entries"
        )
    entry = bad[2]
    if bad[0] == "indices":
        raise ValueError(f"{name} has column {indices[entry]} in row {row}, but the classes are 0 to {shape[1] - 1}")
    raise ValueError(f"{name}[{row}, {indices[entry]}] is {values[entry]:g}: targets are finite and not negative")


def sparse_targets(value: Any, logits: np.ndarray, axis: int, ignore_index: int | None, of: str = "logits") -> Sparse:
    """CSR targets of one distribution a row."""
    if axis != logits.ndim - 1:
        raise ValueError(f"CSR targets go with classes along the last axis, not axis {axis}: transpose the {of}")
    if ignore_index is not None:
        raise ValueError("ignore_index goes with integer labels: give rows to ignore a sample_weight of 0")
    return csr_of("targets", value, logits.shape, of)


def check_dense(dense: np.ndarray, dtype: np.dtype[Any], shape: tuple[int, ...], axis: int) -> None:
    """Refuse a dense target that is negative, or not finite once it is a `dtype`; `dense` are the rows, along `axis`,
    of an array of this shape."""
    given = np.moveaxis(dense.reshape(shape[:axis] + shape[axis + 1 :] + shape[axis : axis + 1]), -1, axis)
    most = float(np.finfo(dtype).max)
    check_range("targets", given, 0.0, most, f"targets are not negative, and finite as {dtype}")


def check_probabilities(name: str, dense: np.ndarray) -> None:
    """Refuse what is not in [0, 1]."""
    check_range(name, dense, 0.0, 1.0, "outside [0, 1]: one outcome has labels 0 and 1 or probabilities")


def summed(sparse: Sparse, shape: tuple[int, ...]) -> Sparse:
    """Entries in order, duplicates added up."""
    from scipy.sparse import csr_array  # which whoever has such targets has loaded

    # A new matrix: what the given one says of its order may be stale.
    matrix = csr_array((sparse.values, sparse.indices, sparse.indptr), shape=shape)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return Sparse(matrix.indptr, matrix.indices, matrix.data)


def largest_entry(sparse: Sparse) -> tuple[int, int, float]:
    """The row, column and value of the largest of some entries."""
    entry = int(np.argmax(sparse.values))
    row = int(np.searchsorted(sparse.indptr, entry, side="right")) - 1
    return row, int(sparse.indices[entry]), float(sparse.values[entry])


def sparse_outcomes(value: Any, shape: tuple[int, ...], of: str = "logits") -> Sparse:
    """CSR targets in [0, 1], each element stored once, in order."""
    sparse = summed(csr_of("targets", value, shape, of), shape)
    # Sums of floats, or truth values, that are 1 in their own dtype are 1.
    if value.dtype.kind in "bf":
        sparse = sparse._replace(values=sparse.values.astype(value.dtype).astype(np.float64))
    if sparse.values.max(initial=0.0) <= 1.0:
        return sparse
    row, column, value = largest_entry(sparse)
    raise ValueError(
        f"targets have {value:g} in row {row}, column {column}:"
        " it is outside [0, 1]; one outcome has labels 0 and 1 or probabilities"
    )


# ---- probabilities -------------------------------------------------------------------------------------------


def check_outcomes(array: np.ndarray, weights: np.ndarray | None, row_weights: np.ndarray | None) -> None:
    """Refuse a probability of one outcome outside [0, 1]; NaN is none, and what has no weight does not count."""
    if weights is None and row_weights is not None:
        weights = np.broadcast_to(row_weights.reshape(-1, *(1,) * (array.ndim - 1)), array.shape)
    columns = np.atleast_1d(array)
    for start in range(0, len(columns), 4096):
        block = columns[start : start + 4096].astype(np.float64)
        bad = (block < 0.0) | (block > 1.0)
        if weights is not None:
            bad &= np.atleast_1d(weights)[start : start + 4096] != 0
        if bad.any():
            at = [int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape)]
            raise _no_probability([start + at[0], *at[1:]], float(block[tuple(at)]), "sigmoid_cross_entropy", "")


def check_distributions(array: np.ndarray, axis: int, weights: np.ndarray | None, normalize: bool) -> None:
    """Refuse a probability outside [0, 1]; to be normalised, a number that is no mass, and rows without mass.

    NaN is none of these, and rows without weight do not count.
    """
    if array.size == 0:
        return
    rows = np.moveaxis(array, axis, -1)
    counts = np.ones(rows.shape[:-1], bool) if weights is None else (weights != 0).reshape(rows.shape[:-1])
    whole, counts = rows.reshape(-1, *rows.shape[-2:]), counts.reshape(-1, *rows.shape[-2:-1])
    most = (np.finfo(array.dtype if array.dtype == np.float64 else np.float32).max) if normalize else 1.0
    step = max(1, 65536 // max(1, whole[:1].size))
    for start in range(0, len(whole), step):
        block, live = whole[start : start + step].astype(np.float64), counts[start : start + step]
        with np.errstate(over="ignore", invalid="ignore"):
            bad = ((block < 0.0) | (block > most)) & live[..., None]
            total = block.sum(-1)
        lost = live & normalize & ((total == 0.0) | (total == math.inf))
        if not (bad.any() or lost.any()):
            continue
        first = int(np.argmax(bad.any(-1) | lost))
        row = [int(i) for i in np.unravel_index(start * live[0].size + first, rows.shape[:-1])]
        if not bad.reshape(-1, bad.shape[-1])[first].any():
            raise ValueError(
                f"probabilities of row {', '.join(map(str, row)) or '0'} sum to {total.reshape(-1)[first]:g}, which"
                " cannot be normalized: mend the row, or give it a sample_weight of 0"
            )
        column = int(np.argmax(bad.reshape(-1, bad.shape[-1])[first]))
        value = float(block.reshape(-1, block.shape[-1])[first, column])
        if normalize:
            where = ", ".join(map(str, [*row[:axis], column, *row[axis:]]))
            raise ValueError(
                f"probabilities[{where}] is {value:g}: what is normalized is finite and not negative;"
                " if these are scores, use softmax_cross_entropy"
            )
        raise _no_probability([*row[:axis], column, *row[axis:]], value, "softmax_cross_entropy", "normalize=True, or ")


def _no_probability(at: list[int], value: float, scores: str, or_else: str) -> ValueError:
    """Far from [0, 1] it is a score, next to it a rounding."""
    if -0.01 <= value <= 1.01:
        advice = f"if that is a rounding, use {or_else}numpy.clip(probabilities, 0, 1)"
    else:
        advice = f"these look like scores, use {scores}"
    return ValueError(f"probabilities[{', '.join(map(str, at))}] is {value!r}, outside [0, 1]: {advice}")


# ---- linear layers --------------------------------------------------------------------------------------------


class Csr(NamedTuple):
    """Checked CSR inputs: int64 row pointers, indices of 32 or 64 bits, values of the dtype of the weights."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray


def matrix(name: str, value: Any) -> np.ndarray:
    array = float_array(name, value)
    if is_half(array.dtype):
        raise TypeError(
            f"{name} has dtype {array.dtype}, which no matrix product takes: use {name}.astype(numpy.float32)"
        )
    if array.ndim != 2:
        wanted = "(C, d), a row for each class" if name == "weight" else "(n, d)"
        raise ValueError(f"{name} has shape {array.shape}: give {wanted}")
    return array


def like(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Real numbers of a given shape, rounded to a dtype."""
    array = real_array(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, but weight goes with {shape}: give that shape")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.ascontiguousarray(array, dtype) if len(shape) == 1 else np.asarray(array, dtype)


def csr_inputs(value: Any, dtype: np.dtype[Any]) -> Csr:
    if not is_csr(value):
        raise TypeError(f"inputs are a sparse matrix in {getattr(value, 'format', '?')} format: use inputs.tocsr()")
    if len(value.shape) != 2:
        raise ValueError(f"inputs have shape {value.shape}: give (n, d)")
    values = real_array("inputs.data", value.data)
    if values.dtype.kind not in "iub" and values.dtype != dtype:
        raise TypeError(
            f"weight has dtype {dtype}, inputs {values.dtype}: use weight.astype(inputs.dtype), or"
            " inputs.astype(weight.dtype)"
        )
    indptr, indices = native(np.asarray(value.indptr)), native(np.asarray(value.indices))
    for part, array in (("indptr", indptr), ("indices", indices)):
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise TypeError(f"inputs.{part} has dtype {array.dtype}: it must be one-dimensional and of integers")
    rows, features = value.shape
    if len(indptr) != rows + 1 or values.ndim != 1:
        raise ValueError(f"inputs are malformed: {len(indptr)} row pointers for {rows} rows")
    indptr = np.ascontiguousarray(indptr, np.int64)
    entries = min(len(indices), len(values))
    bad = (indptr[1:] < indptr[:-1]) | (indptr[1:] > entries)
    if indptr[0] != 0 or bad.any():
        row = 0 if indptr[0] != 0 else int(bad.argmax())
        raise ValueError(
            f"inputs are malformed in row {row}: indptr goes from {indptr[row]} to {indptr[min(row + 1, rows)]}, but"
            f" must start at 0, not decrease and not pass the {entries} entries"
        )
    indices = indices[: indptr[-1]]
    if len(indices) and not (indices.min() >= 0 and indices.max() < features):
        entry = int(np.argmax((indices < 0) | (indices >= features)))
        row = int(np.searchsorted(indptr, entry, side="right")) - 1
        raise ValueError(f"inputs have column {indices[entry]} in row {row}, but the features are 0 to {features - 1}")
    if indices.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
        indices = indices.astype(np.int64)
    return Csr(indptr, np.ascontiguousarray(indices), np.ascontiguousarray(values, dtype))


# ---- sampled classes -----------------------------------------------------------------------------------------


def candidate_labels(value: Any, classes: int) -> np.ndarray:
    """Labels (n,) or (n, num_true) in [0, classes) as int64 (n, num_true)."""
    labels = class_ids("labels", value, classes)
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] == 0):
        raise ValueError(
            f"labels have shape {labels.shape}: give (n,), or (n, num_true) for several true classes a row"
        )
    return labels if labels.ndim == 2 else labels[:, None]


def class_ids(name: str, value: Any, classes: int) -> np.ndarray:
    """Integers in [0, classes) as a contiguous int64 array."""
    array = real_array(name, value)
    if array.size == 0 and not isinstance(value, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        verb = "have" if name.endswith("s") else "has"
        raise TypeError(f"{name} {verb} dtype {array.dtype}, but classes are integers: use {name}.astype(numpy.int64)")
    bad = _softmax.first_bad_label(array.reshape(-1), classes, None)
    if bad >= 0:
        where = ", ".join(str(int(i)) for i in np.unravel_index(bad, array.shape))
        raise ValueError(f"{name}[{where}] is {array.reshape(-1)[bad]}, but the classes are 0 to {classes - 1}")
    return array.astype(np.int64, order="C", copy=False)


def check_different(labels: np.ndarray) -> None:
    """Refuse labels (n, num_true) that are repeated within a row."""
    if labels.shape[1] < 2:
        return
    inside = np.sort(labels, axis=1)
    again = inside[:, 1:] == inside[:, :-1]
    if again.any():
        row = int(np.argmax(again.any(axis=1)))
        label = int(inside[row, int(np.argmax(again[row]))])
        raise ValueError(
            f"labels of row {row} have {label} more than once: the true classes of a row are different ones"
        )


def linear_parts(weight: Any, bias: Any, inputs: Any) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Weights (n_classes, d), their biases if any, inputs (n, d)."""
    w, x = float_array("weight", weight), float_array("inputs", inputs)
    if w.ndim != 2 or 0 in w.shape:
        raise ValueError(f"weight has shape {w.shape}: give a row for each class, (n_classes, d)")
    if x.ndim != 2 or x.shape[1] != w.shape[1]:
        raise ValueError(f"inputs have shape {x.shape}, weight {w.shape}: give shape (n, {w.shape[1]})")
    if bias is None:
        return w, None, x
    b = float_array("bias", bias)
    if b.shape != w.shape[:1]:
        raise ValueError(f"bias has shape {b.shape}, weight {w.shape}: give one number for each class, {w.shape[:1]}")
    return w, b, x


def sampled_of(
    sampler: Any, sampled: Any, num_sampled: Any, true: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sampled classes, and how often the true ones and they are expected: as given, or drawn."""
    if (sampler is None) == (sampled is None):
        raise TypeError(
            f"{'neither sampler nor' if sampler is None else 'both sampler and'} sampled given: give a sampler of"
            " fastxent.samplers and num_sampled, or what was sampled"
        )
    count = None if num_sampled is None else count_of("num_sampled", num_sampled)
    if sampled is None:
        if isinstance(sampler, type) or not callable(getattr(sampler, "sample", None)):
            raise TypeError(f"sampler is {sampler!r}: give a sampler of fastxent.samplers")
        if getattr(sampler, "n_classes", classes) != classes:
            raise ValueError(
                f"sampler draws from {sampler.n_classes} classes, but weight has {classes}: give one for these"
            )
        if count is None:
            raise TypeError("num_sampled is None: give how many classes are to be sampled")
        of_draw = getattr(sampler, "_probabilities", None)
        if of_draw is not None:
            # Ours: refuse now what would be refused when numbers have been drawn.
            expected_counts("true_expected", of_draw(true), true.shape, true, "labels")
        sampled = sampler.sample(true, count)
    if not isinstance(sampled, (tuple, list)) or len(sampled) != 3:
        raise TypeError("sampled is no tuple of ids, expected counts of true classes, expected counts of sampled ones")
    ids = class_ids("sampled ids", sampled[0], classes)
    if ids.ndim != 1 or len(ids) == 0 or (count is not None and len(ids) != count):
        wanted = f"({count},)" if count is not None else "(num_sampled,)"
        raise ValueError(f"sampled ids have shape {ids.shape}: give shape {wanted}, of one class at least")
    return (
        ids,
        expected_counts("true_expected", sampled[1], true.shape, true, "labels"),
        expected_counts("sampled_expected", sampled[2], ids.shape, ids, "sampled ids"),
    )


def expected_counts(name: str, value: Any, shape: tuple[int, ...], of: np.ndarray, ids: str) -> np.ndarray:
    """How often the classes `of` (called `ids`) are expected among the sampled ones: float64, above 0, finite."""
    counts = real_array(name, value)
    if counts.shape != shape and not (len(shape) == 2 and shape[1] == 1 and counts.shape == shape[:1]):
        raise ValueError(
            f"{name} has shape {counts.shape}, but there are {ids} of shape {shape}: give one count for each"
        )
    counts = np.ascontiguousarray(counts, np.float64).reshape(shape)
    bad = ~((counts > 0) & (counts < math.inf))
    if bad.any():
        at = np.unravel_index(int(np.argmax(bad)), shape)
        where = ", ".join(str(int(i)) for i in at)
        raise ValueError(
            f"{ids}[{where}] is class {int(of[at])}, whose expected count {name}[{where}] is {counts[at]:g}: its"
            " logarithm is subtracted, so that a class must have a chance to be sampled; mend the label, or use a"
            " sampler that draws the class"
        )
    return counts


def row_sparse(ids: Any, values: Any, shape: Any) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """The parts of a row-sparse array: its shape, contiguous int64 ids that rise, values."""
    if not isinstance(shape, tuple) or len(shape) not in (1, 2):
        raise ValueError(f"shape is {shape!r}: give (n, d), or (n,) for one dimension")
    sizes = tuple(count_of("an element of shape", size, 0) for size in shape)
    rows = real_array("values", values)
    if rows.dtype not in (_FLOAT32, _FLOAT64):
        raise TypeError(f"values have dtype {rows.dtype}: give float32 or float64")
    which = class_ids("ids", ids, sizes[0])
    if which.ndim != 1 or rows.shape != (len(which), *sizes[1:]):
        raise ValueError(
            f"values have shape {rows.shape}, ids {which.shape}, the whole array {sizes}: give one row of values for"
            " each id"
        )
    wrong = which[1:] <= which[:-1]
    if wrong.any():
        at = int(np.argmax(wrong)) + 1
        raise ValueError(f"ids[{at}] is {which[at]} after {which[at - 1]}: give ids in rising order, each once")
    return sizes, which, rows


def rows_to_update(
    shape: tuple[int, ...], parts: tuple[np.ndarray, np.ndarray], arrays: dict[str, Any]
) -> np.dtype[Any]:
    """Check arrays whose rows are to be changed in place, by parts (ids, values) that they may not overlap."""
    first: str | None = None
    dtype = _FLOAT64
    like = np.broadcast_to(np.empty(()), shape)
    inputs: list[tuple[str, Any]] = [("ids", parts[0]), ("values", parts[1])]
    for name, array in arrays.items():
        if type(array) is not np.ndarray and type(array) is not np.memmap:
            raise TypeError(f"{name} is {type(array).__name__}: give a numpy array, whose rows are changed in place")
        if first is None:
            first, dtype = name, array.dtype
        elif array.dtype != dtype:
            raise TypeError(f"{name} has dtype {array.dtype}, but {first} {dtype}: give arrays of one dtype")
        buffer(name, array, like, (_FLOAT32, _FLOAT64), tuple(inputs), "")
        item = array.itemsize
        if (array.ndim == 2 and array.shape[1] > 1 and array.strides[1] != item) or array.strides[0] % item:
            raise ValueError(f"{name} has rows whose elements are apart: give a C-contiguous array")
        inputs.append((name, array))
    # Arrays inside a frozen object can be written to all the same.
    class_ids("ids", parts[0], shape[0])
    return dtype
