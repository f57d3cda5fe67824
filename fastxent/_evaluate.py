"""Streaming evaluation of logits against labels: the figures behind ``fastxent evaluate``.

Files are read front to back in blocks of rows, so memory depends on the block, not on the file.
A row *counts* when its label is not the ignored one and its weight is positive; other rows take
part in no figure, and their logits are not looked at. Rows are numbered from 0 in the whole file.
With w the weight of a row (1 without weights) and W the sum of the weights:

* **mean loss**: ``sum(w * loss) / W``, the softmax cross-entropy in nats, label smoothing included.
* **standard error** of that mean: ``sqrt(n / (n - 1) * sum(w**2 * (loss - mean)**2)) / W`` over
  the n rows that count: the linearised ("sandwich") error of a ratio of sums. Weights are read as
  importances, so their scale cancels and a weight of 2 is not two observations. Equal weights
  give the textbook ``s / sqrt(n)``.
* **perplexity**: ``exp(mean loss)``.
* **accuracy**: share of rows whose largest logit is at the label; of equal logits the first one
  is taken, as ``numpy.argmax`` does. The label of a dense distribution is its most probable class.
* **top-k accuracy**, k = min(5, C): share of rows where fewer than k classes have a logit
  strictly larger than the label's. Ties count in favour of the label.
* **Brier score**: mean of ``sum_c (p_c - y_c)**2``, from 0 to 2. Labels are not smoothed here.
* **expected calibration error**: rows are put into 15 bins of equal width by their confidence
  (the largest probability; bin b holds ``b/15 < confidence <= (b+1)/15``), and
  ``sum_b W_b / W * |accuracy_b - confidence_b|`` is reported.

Logits must be finite or -inf (a class that is ruled out). A label at -inf has an infinite loss:
the mean is then infinite, and the number of such rows is reported beside it.
"""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import IO, TYPE_CHECKING, Any, NoReturn

import numpy as np

import fastxent as fx

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = [
    "Accumulator",
    "ArrayFile",
    "CommandError",
    "Metrics",
    "ReliabilityBin",
    "draw_loss_histogram",
    "draw_reliability",
    "evaluate_files",
    "metrics_figure",
]

CONFIDENCE_BINS = 15
TOP_K = 5

# One block of logits is about this large: a few blocks fit the last-level cache, and the fixed
# cost of a block (some 200 us in Python) stays a few percent of its time.
BLOCK_BYTES = 8 << 20

# How far the sum of a dense target may be from 1: room for float16 and rounded tables.
DISTRIBUTION_TOLERANCE = 1e-3

# Losses are counted in bins of equal width in log10(loss); what lies outside goes to the ends.
HISTOGRAM_PER_DECADE = 20
HISTOGRAM_DECADES = (-12, 4)
HISTOGRAM_BINS = HISTOGRAM_PER_DECADE * (HISTOGRAM_DECADES[1] - HISTOGRAM_DECADES[0])


class CommandError(ValueError):
    """A request that cannot be carried out; the message is one line for the user."""


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of the reliability diagram; the means are NaN where no row fell."""

    lower: float
    upper: float
    rows: int
    weight: float
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Metrics:
    """What `evaluate_files` reports; the module's docstring defines every figure."""

    rows: int
    counted_rows: int
    weight: float
    classes: int
    mean_loss: float
    standard_error: float
    perplexity: float
    infinite_losses: int
    accuracy: float
    top_k: int
    top_k_accuracy: float
    brier_score: float
    expected_calibration_error: float
    reliability: tuple[ReliabilityBin, ...]
    loss_histogram: tuple[float, ...]


# ---------------------------------------------------------------------------------------------
# Files


class ArrayFile:
    """One array in a ``.npy`` file or in a member of a ``.npz`` file, read in blocks of rows.

    Parameters
    ----------
    name : str
        Path of a ``.npy`` file, of a ``.npz`` file with one array in it, or ``file.npz:array``.

    Raises
    ------
    CommandError
        If the file is missing, damaged, of another format, or holds Python objects.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._path, member = _split_name(name)
        self._member: str | None = None
        try:
            with open(self._path, "rb") as stream:
                magic = stream.read(6)
                stream.seek(0)
                if magic == b"\x93NUMPY":
                    self._read_header(stream)
                    self._offset = stream.tell()
                    self._check_size(os.fstat(stream.fileno()).st_size)
                elif magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
                    with zipfile.ZipFile(stream) as archive:
                        self._member = self._pick_member(archive, member)
                        with archive.open(self._member) as content:
                            self._read_header(content)
                else:
                    self._refuse("is not a .npy or .npz file; write it with numpy.save")
        except (OSError, *_DAMAGED) as error:
            self._refuse_error(error)
        if self._member is None and member is not None:
            self._refuse(f"is a .npy file and has no array named {member!r}; leave out the name")

    @property
    def rows(self) -> int:
        """Length of the first axis."""
        return self.shape[0] if self.shape else 0

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Yield the array in blocks of `rows` rows, the last one shorter."""
        return self._mapped_blocks(rows) if self._member is None else self._zipped_blocks(rows)

    def _mapped_blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        for start in range(0, self.rows, rows):
            # A mapping for each block: dropping it lets go of the pages that were read.
            try:
                mapped = np.memmap(
                    self._path, self.dtype, "r", self._offset, self.shape, self._order
                )
            except (OSError, ValueError) as error:
                self._refuse_error(error)
            yield np.asarray(mapped[start : start + rows])

    def _zipped_blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        if self._order == "F":
            self._refuse(
                "is stored column by column and cannot be read by rows out of a .npz file; "
                "save numpy.ascontiguousarray(array), or use a .npy file"
            )
        assert self._member is not None
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(self._member) as stream:
                _parse_header(stream)
                for start in range(0, self.rows, rows):
                    size = min(rows, self.rows - start)
                    block = np.empty((size, *self.shape[1:]), self.dtype)
                    got = _fill(stream, block.reshape(-1).view(np.uint8).data)
                    if got < block.nbytes:
                        row = start + got * size // block.nbytes
                        self._refuse(f"ends in row {row} of {self.rows}; write the file again")
                    yield block
        except (OSError, *_DAMAGED) as error:
            self._refuse_error(error)

    def _read_header(self, stream: IO[bytes]) -> None:
        self.shape, fortran_order, self.dtype = _parse_header(stream)
        self._order: Any = "F" if fortran_order else "C"
        if self.dtype.hasobject:
            self._refuse("holds Python objects; save a plain numeric array")

    def _check_size(self, size: int) -> None:
        present = size - self._offset
        needed = math.prod(self.shape) * self.dtype.itemsize
        if present < needed:
            where = f"in row {present * self.rows // needed}" if self._order == "C" else "early"
            self._refuse(f"ends {where} of {self.rows}; write the file again")

    def _pick_member(self, archive: zipfile.ZipFile, wanted: str | None) -> str:
        arrays = [name.removesuffix(".npy") for name in archive.namelist() if name[-4:] == ".npy"]
        known = ", ".join(arrays[:5]) + (", ..." if len(arrays) > 5 else "")
        if not arrays:
            self._refuse("holds no array")
        if wanted is None and len(arrays) > 1:
            self._refuse(
                f"holds {len(arrays)} arrays ({known}); name one: {self._path}:{arrays[0]}"
            )
        if wanted is not None and wanted not in arrays:
            self._refuse(f"has no array named {wanted!r}; it holds {known}")
        return f"{arrays[0] if wanted is None else wanted}.npy"

    def _refuse(self, reason: str) -> NoReturn:
        raise CommandError(f"{self.name}: {reason}")

    def _refuse_error(self, error: BaseException) -> NoReturn:
        if isinstance(error, CommandError):
            raise error
        if isinstance(error, OSError) and error.strerror:
            raise CommandError(f"{self.name}: {error.strerror}") from error
        detail = " ".join(str(error).split()) or type(error).__name__
        raise CommandError(f"{self.name}: cannot be read ({detail})") from error


# What numpy.lib.format and zipfile raise on damaged, encrypted or unsupported content.
_DAMAGED = (
    ValueError,
    EOFError,
    SyntaxError,
    RuntimeError,  # includes NotImplementedError
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def _split_name(name: str) -> tuple[str, str | None]:
    path, colon, member = name.rpartition(":")
    if colon and path.endswith((".npz", ".npy")) and not os.path.exists(name):
        return path, member
    return name, None


def _parse_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"npy format {version[0]}.{version[1]} is for structured arrays only")


def _fill(stream: IO[bytes], target: memoryview) -> int:
    """Read until `target` is full or the stream ends; return the number of bytes read."""
    done = 0
    while done < len(target):
        piece = stream.read(min(len(target) - done, 1 << 20))
        if not piece:
            break
        target[done : done + len(piece)] = piece
        done += len(piece)
    return done


def _open_logits(name: str) -> ArrayFile:
    logits = ArrayFile(name)
    if logits.dtype.kind != "f" or logits.dtype.itemsize > 8:
        hints = dict.fromkeys("iu", "; are LOGITS and LABELS swapped?")
        hints["V"] = "; the format does not keep bfloat16, save it as float32"
        hint = hints.get(logits.dtype.kind, "")
        raise CommandError(
            f"{name}: logits must be float16, float32 or float64, got {logits.dtype}{hint}"
        )
    if len(logits.shape) != 2:
        hint = "; reshape it to (-1, classes)" if len(logits.shape) > 2 else ""
        raise CommandError(
            f"{name}: logits must be (rows, classes), got shape {logits.shape}{hint}"
        )
    if logits.rows < 1:
        raise CommandError(f"{name}: has no rows (shape {logits.shape}); nothing to evaluate")
    if logits.shape[1] < 2:
        raise CommandError(
            f"{name}: a softmax needs two classes or more, got shape {logits.shape}; for one "
            "score z per row save numpy.stack([0 * z, z], axis=1)"
        )
    return logits


def _open_labels(name: str, logits: ArrayFile) -> ArrayFile:
    labels = ArrayFile(name)
    rows, classes = logits.shape
    wanted = f"integer labels ({rows},) or a distribution ({rows}, {classes})"
    if labels.shape not in ((rows,), (rows, classes)):
        raise CommandError(
            f"{name}: shape {labels.shape} does not fit {logits.name} with shape {logits.shape}; "
            f"give {wanted}"
        )
    if labels.dtype.kind not in ("iu" if len(labels.shape) == 1 else "fiub"):
        raise CommandError(f"{name}: labels of dtype {labels.dtype}; give {wanted}")
    return labels


def _open_weights(name: str, logits: ArrayFile) -> ArrayFile:
    weights = ArrayFile(name)
    rows = logits.rows
    if weights.shape != (rows,):
        raise CommandError(
            f"{name}: shape {weights.shape} does not fit {logits.name}; give one weight for each "
            f"row, shape ({rows},)"
        )
    if weights.dtype.kind not in "fiub":
        raise CommandError(f"{name}: weights must be real numbers, got dtype {weights.dtype}")
    return weights


# ---------------------------------------------------------------------------------------------
# Figures


def _dot(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return sum(a * b), summed in pairs; BLAS would wake its threads for every block."""
    return float((a * b).sum())


class _WeightedMoments:
    """Running mean and standard error of a weighted mean, merged block by block.

    Keeps ``sum(w)`` with the mean it weighs, and ``sum(w**2)`` with the mean and the squared
    deviations it weighs. Two blocks merge by the pairwise update of Chan, Golub and LeVeque
    (1983), so nothing is squared before its mean is taken off.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.weight = 0.0
        self.mean = 0.0
        self._square_weight = 0.0
        self._square_mean = 0.0
        self._deviations = 0.0

    def add(self, values: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        """Take in one block."""
        if values.size == 0:
            return
        squares = weights * weights
        weight, square_weight = float(weights.sum()), float(squares.sum())
        mean = _dot(weights, values) / weight
        square_mean = _dot(squares, values) / square_weight
        deviations = _dot(squares, (values - square_mean) ** 2)

        self.rows += values.size
        self.weight += weight
        self.mean += (mean - self.mean) * (weight / self.weight)

        before = self._square_weight
        self._square_weight += square_weight
        share = square_weight / self._square_weight
        shift = square_mean - self._square_mean
        self._square_mean += shift * share
        self._deviations += deviations + shift * shift * before * share

    def standard_error(self) -> float:
        """Return the standard error of the mean; NaN for fewer than two rows."""
        if self.rows < 2:
            return math.nan
        about_mean = self._deviations + self._square_weight * (self._square_mean - self.mean) ** 2
        return math.sqrt(self.rows / (self.rows - 1) * about_mean) / self.weight


class Accumulator:
    """Takes in blocks of rows in order, and gives the `Metrics` of all of them.

    Parameters
    ----------
    classes : int
        Number of columns of the logits.
    label_smoothing : float
        Mixes the targets of the loss with the uniform distribution.
    ignore_index : int, optional
        Rows with this integer label do not count.
    names : tuple of str
        What to call logits, labels and weights in a refusal.
    """

    def __init__(
        self,
        classes: int,
        *,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        names: tuple[str, str, str] = ("logits", "labels", "weights"),
    ) -> None:
        self.rows = 0
        self._classes = classes
        self._label_smoothing = label_smoothing
        self._ignore_index = ignore_index
        self._logits_name, self._labels_name, self._weights_name = names
        self._top_k = min(TOP_K, classes)
        self._loss = _WeightedMoments()
        self._infinite_losses = 0
        self._infinite_weight = 0.0
        self._top_k_hits = 0.0
        self._brier = 0.0
        self._bin_rows = np.zeros(CONFIDENCE_BINS, np.int64)
        self._bin_weight = np.zeros(CONFIDENCE_BINS)
        self._bin_confidence = np.zeros(CONFIDENCE_BINS)
        self._bin_correct = np.zeros(CONFIDENCE_BINS)
        self._histogram = np.zeros(HISTOGRAM_BINS)
        self._scratch: dict[str, NDArray[Any]] = {}

    def update(
        self,
        logits: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None = None,
    ) -> None:
        """Take in one block.

        Parameters
        ----------
        logits : ndarray, shape (n, C), float16, float32 or float64
        targets : ndarray, shape (n,) integer labels, or (n, C) distribution
        weights : ndarray, shape (n,), optional

        Raises
        ------
        CommandError
            Names the input, the row (counted over all blocks) and the value.
        """
        first_row = self.rows
        self.rows += len(logits)
        counts = np.ones(len(logits), np.bool_)
        if weights is None:
            row_weights = np.ones(len(logits))
        else:
            row_weights = self._checked_weights(weights, first_row)
            counts &= row_weights > 0
        if targets.ndim == 1:
            if self._ignore_index is not None:
                counts &= targets != self._ignore_index
            self._check_labels(targets, first_row)
        else:
            self._check_distribution(targets, first_row)

        row_numbers = np.flatnonzero(counts)
        if row_numbers.size == 0:
            return
        if row_numbers.size < len(logits):
            logits, targets = logits[counts], targets[counts]
            row_weights = row_weights[counts]
        # NumPy handles half precision and foreign byte order element by element: widen first.
        dtype = np.float64 if logits.dtype.itemsize == 8 else np.float32
        logits = np.ascontiguousarray(logits, dtype)
        self._add(logits, targets, row_weights, first_row + row_numbers)

    def _add(
        self,
        logits: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[np.float64],
        row_numbers: NDArray[np.intp],
    ) -> None:
        index = np.arange(len(logits))
        top = logits.argmax(axis=1)  # NumPy's argmax stops at a NaN, so this finds those too
        self._check_logits(logits, logits[index, top], row_numbers)

        error = self._get_scratch("error", logits.shape, logits.dtype)
        if targets.ndim == 1:
            label = targets.astype(np.intp)
            # The gradient of one row's loss is p - y, exact where p is near y.
            losses, _ = fx.softmax_cross_entropy(logits, label, grad=error, reduction="none")
            if self._label_smoothing:
                losses = self._smoothed_losses(logits, label)
            correct = top == label
            confidence = error[index, top] + correct.astype(np.float64)
        else:
            targets = np.ascontiguousarray(targets, logits.dtype)
            label = targets.argmax(axis=1)
            losses = self._smoothed_losses(logits, targets)
            correct = top == label
            fx.softmax(logits, axis=1, out=error)
            confidence = error[index, top].astype(np.float64)
            error -= targets
        self._add_losses(losses.astype(np.float64), weights)
        self._brier += _dot(weights, np.einsum("ij,ij->i", error, error))

        above = self._get_scratch("above", logits.shape, np.dtype(np.bool_))
        np.greater(logits, logits[index, label][:, None], out=above)
        # The narrowest type that holds the count sums bytes fastest.
        rank = above.sum(axis=1, dtype=np.min_scalar_type(self._classes))
        self._top_k_hits += float(weights[rank < self._top_k].sum())

        bins = np.ceil(confidence * CONFIDENCE_BINS).astype(np.intp) - 1
        np.clip(bins, 0, CONFIDENCE_BINS - 1, out=bins)
        self._bin_rows += np.bincount(bins, minlength=CONFIDENCE_BINS)
        for total, values in (
            (self._bin_weight, weights),
            (self._bin_confidence, weights * confidence),
            (self._bin_correct, weights * correct),
        ):
            total += np.bincount(bins, values, minlength=CONFIDENCE_BINS)

    def _smoothed_losses(self, logits: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        losses: NDArray[Any] = fx.softmax_cross_entropy(
            logits, targets, label_smoothing=self._label_smoothing, reduction="none"
        )
        return losses

    def _add_losses(self, losses: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        finite = np.isfinite(losses)
        if not finite.all():
            self._infinite_losses += int(np.count_nonzero(~finite))
            self._infinite_weight += float(weights[~finite].sum())
            losses, weights = losses[finite], weights[finite]
        self._loss.add(losses, weights)
        low, high = HISTOGRAM_DECADES
        decades = np.log10(np.clip(losses, 10.0**low, 10.0**high)) - low
        bins = np.minimum((decades * HISTOGRAM_PER_DECADE).astype(np.intp), HISTOGRAM_BINS - 1)
        self._histogram += np.bincount(bins, weights, minlength=HISTOGRAM_BINS)

    def metrics(self) -> Metrics:
        """Return the figures of every block so far.

        Raises
        ------
        CommandError
            If no row counts.
        """
        weight = self._loss.weight + self._infinite_weight
        if weight == 0.0:
            raise CommandError(
                f"{self._labels_name}: no row counts (every label is ignored or has weight 0); "
                "nothing to evaluate"
            )
        finite = self._infinite_losses == 0
        mean_loss = self._loss.mean if finite else math.inf
        # exp overflows at 709.8; such a perplexity is infinite for every purpose.
        perplexity = math.exp(mean_loss) if mean_loss < 709.0 else math.inf
        gaps = np.abs(self._bin_correct - self._bin_confidence)
        return Metrics(
            rows=self.rows,
            counted_rows=self._loss.rows + self._infinite_losses,
            weight=weight,
            classes=self._classes,
            mean_loss=mean_loss,
            standard_error=self._loss.standard_error() if finite else math.nan,
            perplexity=perplexity,
            infinite_losses=self._infinite_losses,
            accuracy=float(self._bin_correct.sum()) / weight,
            top_k=self._top_k,
            top_k_accuracy=self._top_k_hits / weight,
            brier_score=self._brier / weight,
            expected_calibration_error=float(gaps.sum()) / weight,
            reliability=self._reliability(),
            loss_histogram=tuple(self._histogram.tolist()),
        )

    def _reliability(self) -> tuple[ReliabilityBin, ...]:
        def mean(total: NDArray[np.float64], b: int) -> float:
            return float(total[b] / self._bin_weight[b]) if self._bin_rows[b] else math.nan

        return tuple(
            ReliabilityBin(
                lower=b / CONFIDENCE_BINS,
                upper=(b + 1) / CONFIDENCE_BINS,
                rows=int(self._bin_rows[b]),
                weight=float(self._bin_weight[b]),
                confidence=mean(self._bin_confidence, b),
                accuracy=mean(self._bin_correct, b),
            )
            for b in range(CONFIDENCE_BINS)
        )

    def _get_scratch(self, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an uninitialised array of `shape` that is kept from block to block."""
        held = self._scratch.get(key)
        if held is None or len(held) < shape[0] or held.dtype != dtype:
            held = self._scratch[key] = np.empty(shape, dtype)
        return held[: shape[0]]

    def _checked_weights(self, weights: NDArray[Any], first_row: int) -> NDArray[np.float64]:
        checked = weights.astype(np.float64)
        bad = ~(np.isfinite(checked) & (checked >= 0))
        if bad.any():
            at = int(bad.argmax())
            raise CommandError(
                f"{self._weights_name}: row {first_row + at}: weight {weights[at]}; "
                "weights must be finite and not negative"
            )
        return checked

    def _check_labels(self, labels: NDArray[Any], first_row: int) -> None:
        bad = (labels < 0) | (labels >= self._classes)
        if self._ignore_index is not None:
            bad &= labels != self._ignore_index
        if bad.any():
            at = int(bad.argmax())
            label = int(labels[at])
            other = "" if self._ignore_index is None else f" besides {self._ignore_index}"
            advice = "correct the label" if other else f"correct it or use --ignore-index {label}"
            raise CommandError(
                f"{self._labels_name}: row {first_row + at}: label {label} is out of range; "
                f"{self._logits_name} has classes 0 to {self._classes - 1}{other}; {advice}"
            )

    def _check_distribution(self, targets: NDArray[Any], first_row: int) -> None:
        bad = ~(targets >= 0).all(axis=1)  # also true where a NaN is
        if bad.any():
            at = int(bad.argmax())
            column = int((~(targets[at] >= 0)).argmax())
            raise CommandError(
                f"{self._labels_name}: row {first_row + at}, column {column}: "
                f"{targets[at, column]} is not a probability; give values from 0 to 1"
            )
        sums = targets.sum(axis=1, dtype=np.float64)
        bad = ~(np.abs(sums - 1.0) <= DISTRIBUTION_TOLERANCE)
        if bad.any():
            at = int(bad.argmax())
            raise CommandError(
                f"{self._labels_name}: row {first_row + at}: the distribution adds up to "
                f"{sums[at]:.6g}; divide each row by its sum"
            )

    def _check_logits(
        self, logits: NDArray[Any], largest: NDArray[Any], row_numbers: NDArray[np.intp]
    ) -> None:
        bad = ~np.isfinite(largest)
        if not bad.any():
            return
        at = int(bad.argmax())
        value = largest[at]
        column = int(np.flatnonzero(np.isnan(logits[at]) | (logits[at] == value))[0])
        where = f"{self._logits_name}: row {row_numbers[at]}"
        if value == -np.inf:
            raise CommandError(f"{where}: every logit is -inf; leave one class possible")
        raise CommandError(
            f"{where}, column {column}: logit {value}; logits must be finite, "
            "or -inf for a class that is ruled out"
        )


def evaluate_files(
    logits: str,
    labels: str,
    *,
    weights: str | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    block_rows: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Metrics:
    """Evaluate logits in one file against labels in another, in bounded memory.

    Parameters
    ----------
    logits, labels, weights : str
        ``.npy`` or ``.npz`` files (``file.npz:array`` to name an array): logits (n, C), integer
        labels (n,) or distributions (n, C), weights (n,).
    ignore_index : int, optional
        Rows with this label do not count.
    label_smoothing : float, from 0 to 1
        Affects the loss and what follows from it, no other figure.
    block_rows : int, optional
        Rows in memory at a time; by default as many as make a block of 8 MB.
    progress : callable, optional
        Called as ``progress(rows_done, rows)`` after every block.

    Returns
    -------
    Metrics

    Raises
    ------
    CommandError
        If a file cannot be read, does not fit the others, or holds a value that is out of range.
        The message names file, row and value.
    """
    logits_file = _open_logits(logits)
    labels_file = _open_labels(labels, logits_file)
    weights_file = None if weights is None else _open_weights(weights, logits_file)
    if ignore_index is not None and len(labels_file.shape) == 2:
        raise CommandError(f"{labels}: --ignore-index needs integer labels; this is a distribution")

    rows, classes = logits_file.shape
    if block_rows is None:
        block_rows = max(1, BLOCK_BYTES // (classes * logits_file.dtype.itemsize))
    accumulator = Accumulator(
        classes,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        names=(logits, labels, weights or "weights"),
    )
    blocks = zip(
        logits_file.blocks(block_rows),
        labels_file.blocks(block_rows),
        repeat(None) if weights_file is None else weights_file.blocks(block_rows),
        strict=False,
    )
    for logit_block, label_block, weight_block in blocks:
        accumulator.update(logit_block, label_block, weight_block)
        if progress is not None:
            progress(accumulator.rows, rows)
    return accumulator.metrics()


# ---------------------------------------------------------------------------------------------
# Drawings

BLUE, ORANGE, GREY = "#2a6f97", "#e07a3f", "#8a8f98"


def draw_reliability(axes: Axes, metrics: Metrics) -> None:
    """Draw accuracy against confidence, with the share of rows in each bin below."""
    filled = [b for b in metrics.reliability if b.rows]
    width = 1.0 / len(metrics.reliability)
    left = [b.lower for b in filled]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfect calibration")
    axes.bar(
        left,
        [b.weight / metrics.weight for b in filled],
        width,
        align="edge",
        color=GREY,
        alpha=0.3,
        edgecolor="white",
        label="share of rows",
    )
    axes.plot(
        [b.confidence for b in filled],
        [b.accuracy for b in filled],
        color=BLUE,
        marker="o",
        markersize=5,
        clip_on=False,
        linewidth=1.5,
        label="accuracy in bin",
    )
    axes.vlines(
        [b.confidence for b in filled],
        [b.confidence for b in filled],
        [b.accuracy for b in filled],
        color=ORANGE,
        linewidth=2,
        label="gap",
    )
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1.02),
        xlabel="confidence (largest probability)",
        ylabel="accuracy",
        title=f"Reliability: ECE {100 * metrics.expected_calibration_error:.2f} %",
    )
    axes.legend(loc="upper left", frameon=False, fontsize="small")
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def draw_loss_histogram(axes: Axes, metrics: Metrics) -> None:
    """Draw the share of rows by their loss, on a logarithmic axis."""
    low, high = HISTOGRAM_DECADES
    bins_per_bar = 4
    weights = np.array(metrics.loss_histogram).reshape(-1, bins_per_bar).sum(axis=1)
    edges = np.logspace(low, high, len(weights) + 1)
    filled = np.flatnonzero(weights)
    guess = math.log(metrics.classes)
    # The uniform guess is always in sight, with room on both sides.
    axes.set_xscale("log")
    axes.set_xlim(min([guess / 20, *edges[filled]]), max([guess * 5, *edges[filled + 1]]))
    axes.bar(
        edges[filled],
        weights[filled] / metrics.weight,
        np.diff(edges)[filled],
        align="edge",
        color=BLUE,
        alpha=0.85,
        edgecolor="white",
        linewidth=0.4,
    )
    if math.isfinite(metrics.mean_loss):
        axes.axvline(
            max(metrics.mean_loss, 10.0**low),
            color=ORANGE,
            linewidth=1.8,
            label=f"mean {metrics.mean_loss:.4g}",
        )
    axes.axvline(guess, color=GREY, linewidth=1, linestyle="--", label=f"uniform guess {guess:.4g}")
    infinite = metrics.infinite_losses
    axes.set(
        xlabel="loss of a row (nats)",
        ylabel="share of rows",
        title="Loss of each row" + (f" ({infinite:,} infinite, not shown)" if infinite else ""),
    )
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", fontsize="small", edgecolor="none")
    axes.grid(alpha=0.25, axis="y")
    axes.set_axisbelow(True)


def metrics_figure(metrics: Metrics) -> Figure:
    """Return the two drawings side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_reliability(left, metrics)
    draw_loss_histogram(right, metrics)
    return figure
