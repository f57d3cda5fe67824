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

With a temperature T, all figures are those of ``logits / T``; the order of the logits, and so the
accuracies, are those of the logits as they are. `fit_files` finds the T of the smallest mean loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

import fastxent as fx
from fastxent import _validate
from fastxent._array_files import ArrayFile, CommandError, open_labels, open_logits, open_weights
from fastxent._temperature import Temperature, fit_temperature

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Accumulator", "Metrics", "ReliabilityBin", "evaluate_files", "fit_files"]

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
    temperature: float
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
    temperature : float
        Divides the logits.
    names : tuple of str
        What to call logits, labels and weights in a refusal.
    """

    def __init__(
        self,
        classes: int,
        *,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        temperature: float = 1.0,
        names: tuple[str, str, str] = ("logits", "labels", "weights"),
    ) -> None:
        self.rows = 0
        self._classes = classes
        self._label_smoothing = label_smoothing
        self._ignore_index = ignore_index
        self._temperature = temperature
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
        scores = logits if self._temperature == 1.0 else self._tempered(logits)

        error = self._get_scratch("error", logits.shape, logits.dtype)
        if targets.ndim == 1:
            label = targets.astype(np.intp)
            # The gradient of one row's loss is p - y, exact where p is near y.
            losses, _ = fx.softmax_cross_entropy(scores, label, grad=error, reduction="none")
            if self._label_smoothing:
                losses = self._smoothed_losses(scores, label)
            correct = top == label
            confidence = error[index, top] + correct.astype(np.float64)
        else:
            targets = np.ascontiguousarray(targets, logits.dtype)
            label = targets.argmax(axis=1)
            losses = self._smoothed_losses(scores, targets)
            correct = top == label
            fx.softmax(scores, axis=1, out=error)
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

    def _tempered(self, logits: NDArray[Any]) -> NDArray[Any]:
        scores = self._get_scratch("scores", logits.shape, logits.dtype)
        with np.errstate(over="ignore"):  # to an infinity, which has all the mass
            np.divide(logits, logits.dtype.type(self._temperature), out=scores)
        return scores

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
                f"{self._labels_name}: no row counts (every label is ignored or has weight 0); nothing to evaluate"
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
            temperature=self._temperature,
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
        # Squares and sums of larger ones leave the range of doubles.
        bad = ~((checked >= 0) & (checked <= 1e100))
        if bad.any():
            at = int(bad.argmax())
            raise CommandError(
                f"{self._weights_name}: row {first_row + at}: weight {weights[at]}; "
                "weights must be from 0 to 1e100; only their ratios matter"
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

    def _check_logits(self, logits: NDArray[Any], largest: NDArray[Any], row_numbers: NDArray[np.intp]) -> None:
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
            f"{where}, column {column}: logit {value}; logits must be finite, or -inf for a class that is ruled out"
        )


@dataclass(frozen=True)
class _Files:
    """Logits, labels and perhaps weights that go together, read side by side in blocks of rows."""

    logits: ArrayFile
    labels: ArrayFile
    weights: ArrayFile | None
    block_rows: int

    @classmethod
    def open(
        cls, logits: str, labels: str, weights: str | None, ignore_index: int | None, block_rows: int | None
    ) -> _Files:
        logits_file = open_logits(logits)
        labels_file = open_labels(labels, logits_file)
        weights_file = None if weights is None else open_weights(weights, logits_file)
        if ignore_index is not None and len(labels_file.shape) == 2:
            raise CommandError(f"{labels}: --ignore-index needs integer labels; this is a distribution")
        if block_rows is None:
            block_rows = max(1, BLOCK_BYTES // (logits_file.shape[1] * logits_file.dtype.itemsize))
        return cls(logits_file, labels_file, weights_file, block_rows)

    def blocks(self) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]]:
        """Yield the blocks of the three, the last one None without weights."""
        return zip(
            self.logits.blocks(self.block_rows),
            self.labels.blocks(self.block_rows),
            repeat(None) if self.weights is None else self.weights.blocks(self.block_rows),
            strict=False,
        )

    def refuse_probabilities(self, option: str) -> None:
        """Refuse logits whose first block is made of probabilities."""
        if _validate.look_like_probabilities(next(self.logits.blocks(self.block_rows))):
            raise CommandError(
                f"{self.logits.name}: holds probabilities (rows from 0 to 1 that add up to 1), but {option} "
                "divides logits; save the logits, or numpy.log of the probabilities"
            )


def evaluate_files(
    logits: str,
    labels: str,
    *,
    weights: str | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
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
    temperature : float, above 0
        Divides the logits.
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
    files = _Files.open(logits, labels, weights, ignore_index, block_rows)
    if temperature != 1.0:
        files.refuse_probabilities("--temperature")
    rows, classes = files.logits.shape
    accumulator = Accumulator(
        classes,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        temperature=temperature,
        names=(logits, labels, weights or "weights"),
    )
    for logit_block, label_block, weight_block in files.blocks():
        accumulator.update(logit_block, label_block, weight_block)
        if progress is not None:
            progress(accumulator.rows, rows)
    return accumulator.metrics()


def fit_files(
    logits: str,
    labels: str,
    *,
    weights: str | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    block_rows: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[Metrics, Temperature, Metrics]:
    """Find the temperature of the smallest mean loss, in some ten passes over the files.

    Parameters
    ----------
    logits, labels, weights, ignore_index, label_smoothing, block_rows, progress
        As `evaluate_files` takes them; the labels are integers. Every pass starts the progress anew.

    Returns
    -------
    before : Metrics
        Of the logits as they are.
    found : Temperature
    after : Metrics
        Of the logits divided by the temperature.

    Raises
    ------
    CommandError
        As `evaluate_files` does; if the labels are distributions, the logits are probabilities, or a
        label is at -inf, where the loss is infinite at every temperature.
    """
    files = _Files.open(logits, labels, weights, ignore_index, block_rows)
    if len(files.labels.shape) == 2:
        raise CommandError(f"{labels}: --fit-temperature needs integer labels; this is a distribution")
    files.refuse_probabilities("--fit-temperature")

    def evaluate(temperature: float) -> Metrics:
        return evaluate_files(
            logits,
            labels,
            weights=weights,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            temperature=temperature,
            block_rows=block_rows,
            progress=progress,
        )

    before = evaluate(1.0)
    if before.infinite_losses:
        raise CommandError(
            f"{logits}: {before.infinite_losses} row{'s have' if before.infinite_losses > 1 else ' has'} -inf at the "
            "label, an infinite loss at every temperature; correct the label, or give it weight 0"
        )
    # Weights as large as 1e100 may be given: on average they are 1 here.
    mean_weight = before.weight / before.counted_rows

    def loss_and_slope(temperature: float) -> tuple[float, float]:
        options: dict[str, Any] = {
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
            "temperature": temperature,
            "temperature_grad": True,
            "reduction": "sum",
        }
        done = 0
        loss = slope = 0.0
        for logit_block, label_block, weight_block in files.blocks():
            block_weights = None if weight_block is None else weight_block / mean_weight
            sums: Any = fx.softmax_cross_entropy(logit_block, label_block, sample_weight=block_weights, **options)
            loss += sums[0]
            slope += sums[1]
            done += len(logit_block)
            if progress is not None:
                progress(done, before.rows)
        return loss / before.counted_rows, slope / before.counted_rows

    found = fit_temperature(loss_and_slope)
    return before, found, evaluate(found.value)
