"""Draw the losses of which_loss.md: against the probability of the label, and their gradients against its score.

``make docs-plots`` writes loss_of_probability.svg and gradient_of_score.svg beside this file, the same bytes from the
same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import fastxent as fx

FOLDER = Path(__file__).resolve().parent

# Name, colour, line, and the loss of scores x of an outcome that happened.
Curve = tuple[str, str, str, Callable[..., Any]]
CURVES: list[Curve] = [
    ("cross-entropy", "#1b1b1b", "-", fx.sigmoid_cross_entropy),
    ("focal, gamma 0.5", "#9cc5df", "-", lambda x, y, **ask: fx.sigmoid_focal_loss(x, y, gamma=0.5, **ask)),
    ("focal, gamma 2", "#2a6f97", "-", lambda x, y, **ask: fx.sigmoid_focal_loss(x, y, gamma=2.0, **ask)),
    ("focal, gamma 5", "#12354a", "-", lambda x, y, **ask: fx.sigmoid_focal_loss(x, y, gamma=5.0, **ask)),
    ("smoothing 0.2", "#e07a3f", "--", lambda x, y, **ask: fx.sigmoid_cross_entropy(x, y, label_smoothing=0.2, **ask)),
    ("pos_weight 2", "#8a8f98", ":", lambda x, y, **ask: fx.sigmoid_cross_entropy(x, y, pos_weight=2.0, **ask)),
]


def draw(name: str, across: np.ndarray, scores: np.ndarray, gradients: bool, **axes_settings: Any) -> None:
    """Write one picture."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    happened = np.ones(len(scores))
    for label, color, line, loss in CURVES:
        values, gradient = loss(scores, happened, grad=True, reduction="none")
        axes.plot(across, gradient if gradients else values, line, color=color, label=label)
    axes.set(**axes_settings)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(FOLDER / name, metadata={"Date": None, "Creator": None})
    print(f"wrote {FOLDER / name}")


def main() -> None:
    # Text stays text, and names of clip paths do not change from run to run.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fastxent"})
    p = np.linspace(0.01, 0.99, 71)
    draw(
        "loss_of_probability.svg",
        p,
        np.log(p) - np.log1p(-p),
        gradients=False,
        xlabel="probability of what happened",
        ylabel="loss (nats)",
        xlim=(0, 1),
        ylim=(0, 4),
    )
    x = np.linspace(-6, 6, 61)
    draw(
        "gradient_of_score.svg",
        x,
        x,
        gradients=True,
        xlabel="score of what happened (log-odds)",
        ylabel="d loss / d score",
        xlim=(-6, 6),
    )


if __name__ == "__main__":
    main()
