"""Drawings of evaluations and of the demo's training. matplotlib is imported when something is drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastxent._evaluate import HISTOGRAM_DECADES, Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastxent._demo import Digits, Fit, Training

__all__ = ["demo_figure", "draw_loss_histogram", "draw_reliability", "metrics_figure"]

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


def metrics_figure(metrics: Metrics, fitted: Metrics | None = None) -> Figure:
    """Return reliability and losses side by side, with the reliability at a fitted temperature between them."""
    from matplotlib.figure import Figure

    sides = [metrics] if fitted is None else [metrics, fitted]
    figure = Figure(figsize=(5 + 5 * len(sides), 4.4), dpi=150, layout="constrained")
    *reliabilities, losses = figure.subplots(1, 1 + len(sides))
    for axes, side in zip(reliabilities, sides, strict=True):
        draw_reliability(axes, side)
        if fitted is not None:
            axes.set_title(f"{axes.get_title()} at temperature {side.temperature:.4g}")
    draw_loss_histogram(losses, sides[-1])
    if fitted is not None:
        losses.set_title(f"{losses.get_title()} at temperature {fitted.temperature:.4g}")
    return figure


def demo_figure(digits: Digits, training: Training, test: Metrics, reference: float) -> Figure:
    """Draw the loss over the iterations, the confusion matrix and the reliability diagram.

    `test` holds the figures of the trained classifier, `reference` is the objective scikit-learn
    reached, drawn as a line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.9), dpi=130, layout="constrained")
    curve, confusion, reliability = figure.subplots(1, 3)
    figure.suptitle(
        f"Softmax classifier on {len(digits.y_train)} digits, tested on {len(digits.y_test)}: "
        f"accuracy {100 * test.accuracy:.2f} %",
        fontweight="bold",
    )
    _draw_curve(curve, training, reference)
    _draw_confusion(confusion, digits, training.fit)
    draw_reliability(reliability, test)
    return figure


def _draw_curve(axes: Axes, training: Training, reference: float) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    count = len(training.objectives)
    iterations = range(1, count + 1)
    axes.plot(
        iterations,
        training.objectives,
        color=BLUE,
        linewidth=1.8,
        label="training objective (loss + penalty)",
    )
    axes.plot(iterations, training.test_losses, color=ORANGE, linewidth=1.8, label="test loss")
    axes.axhline(
        reference,
        color=GREY,
        linewidth=1,
        linestyle="--",
        label=f"scikit-learn's objective, {reference:.6f}",
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(1, count),
        xlabel="L-BFGS iteration",
        ylabel="nats per row",
        title=f"Loss: objective {training.objectives[-1]:.6f} after {count} iterations",
    )
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.legend(frameon=False, fontsize="small")
    axes.grid(alpha=0.25)


def _draw_confusion(axes: Axes, digits: Digits, fit: Fit) -> None:
    from matplotlib.colors import PowerNorm

    predicted = fit.logits(digits.x_test).argmax(axis=1)
    counts = np.zeros((digits.classes, digits.classes), np.int64)
    np.add.at(counts, (digits.y_test, predicted), 1)
    # Errors are few: the square root keeps a single one visible beside the diagonal.
    axes.imshow(counts, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=counts.max()))
    for (true, guess), count in np.ndenumerate(counts):
        if count:
            color: Any = "white" if count > 0.4 * counts.max() else "black"
            axes.text(guess, true, str(count), ha="center", va="center", color=color, size=9)
    wrong = int(counts.sum() - counts.trace())
    axes.set(
        xticks=range(digits.classes),
        yticks=range(digits.classes),
        xlabel="predicted digit",
        ylabel="true digit",
        title=f"Confusion on the test rows: {wrong} errors",
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
