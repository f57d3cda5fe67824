"""Fits of classifiers and scikit-learn's: `python -m benchmarks.fits`, with `--results` also written to FITS.md.

Both minimise the same objective, of LogisticRegression with C = 1. A solver's time is that of the loosest `tol` with
which it comes to within 1e-6 (relative) of the least objective that ours reach with the tightest; the median of rounds,
in which everyone has a turn.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy.sparse

from benchmarks import environment, machine, peers
from benchmarks.report import seconds

RESULTS = Path(__file__).with_name("FITS.md")
TOLERANCES = (1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 1e-6)
CLOSE = 1e-6
LIBRARIES = ("fastxent", "scikit-learn")
ENTRIES = [(library, solver) for library in LIBRARIES for solver in ("lbfgs", "newton-cg")]
Problem = tuple[Any, np.ndarray]


def dense(rows: int, features: int, classes: int, dtype: str) -> Problem:
    """Of scikit-learn's generator, three fifths of the features informative."""
    from sklearn.datasets import make_classification

    informative = features * 3 // 5
    X, y = make_classification(
        rows, features, n_informative=informative, n_classes=classes, n_clusters_per_class=1, random_state=0
    )
    return X.astype(dtype), y


def digits() -> Problem:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


def text(rows: int, features: int, words: int, classes: int) -> Problem:
    """Like documents by tf-idf: words as frequent as one over their rank, rows of length 1."""
    rng = np.random.default_rng(0)
    share = np.cumsum(1 / np.arange(1, features + 1))
    columns = np.searchsorted(share / share[-1], rng.random(rows * words))
    starts = np.arange(0, rows * words + 1, words)
    X = scipy.sparse.csr_array((np.ones(rows * words), columns, starts), (rows, features))
    X.sum_duplicates()
    X.data = (1 + np.log(X.data)) * np.log(rows / (1 + np.bincount(X.indices, minlength=features)))[X.indices]
    X.data /= np.repeat(np.sqrt(np.add.reduceat(X.data**2, X.indptr[:-1])), np.diff(X.indptr))
    scores = X @ (3 * rng.standard_normal((features, classes))) + 0.5 * rng.gumbel(size=(rows, classes))
    return X, scores.argmax(axis=1)


PROBLEMS: dict[str, tuple[Callable[[], Problem], float]] = {
    "200,000 x 50, 10 classes, float64": (lambda: dense(200_000, 50, 10, "float64"), 10),
    "50,000 x 200, 100 classes, float32": (lambda: dense(50_000, 200, 100, "float32"), 5),
    "digits, 1,797 x 64, 10 classes": (digits, 1),
    "text, CSR 100,000 x 50,000, 20 classes": (lambda: text(100_000, 50_000, 100, 20), 3),
}


def fit(library: str, solver: str, tol: float, X: Any, y: np.ndarray) -> tuple[float, float]:
    """Seconds, and the objective that was reached, computed in float64."""
    import fastxent as fx
    from fastxent.linear_model import CrossEntropyClassifier

    alpha = 1 / X.shape[0]
    model: Any
    if library == "fastxent":
        model = CrossEntropyClassifier(alpha=alpha, solver=solver, tol=tol, max_iter=2000)
    else:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(solver=solver, tol=tol, max_iter=2000)
    start = time.perf_counter()
    model.fit(X, y)
    taken = time.perf_counter() - start
    coef = model.coef_.astype(float)
    loss = fx.linear_cross_entropy(X.astype(float), coef, y, bias=model.intercept_)
    return taken, loss + alpha / 2 * float((coef**2).sum())


def row(name: str, problem: Problem, goal: float, rounds: int) -> str:
    """A line of the table: times to the same objective, and how much faster ours is than the faster of theirs."""
    X, y = problem
    best = min(fit(*entry, TOLERANCES[-1], X, y)[1] for entry in ENTRIES if entry[0] == "fastxent")
    chosen: dict[tuple[str, str], float] = {}
    for entry in ENTRIES:
        for tol in TOLERANCES:
            reached = fit(*entry, tol, X, y)[1]
            if reached < best * (1 - CLOSE):
                raise RuntimeError(f"{entry} reaches {reached}, less than {best}")
            if reached <= best * (1 + CLOSE):
                chosen[entry] = tol
                break
    times: dict[tuple[str, str], list[float]] = {entry: [] for entry in chosen}
    for _ in range(rounds):
        for entry, tol in chosen.items():
            times[entry].append(fit(*entry, tol, X, y)[0])
    medians = {entry: median(values) for entry, values in times.items()}
    fastest = {
        library: min((medians[entry] for entry in medians if entry[0] == library), default=float("inf"))
        for library in LIBRARIES
    }
    ratio = fastest["scikit-learn"] / fastest["fastxent"]
    shown = [
        f"{seconds(medians[entry])} ({chosen[entry]:g})" if entry in medians else "not reached" for entry in ENTRIES
    ]
    times_faster = f"{ratio:.1f} x" if ratio >= goal else f"**{ratio:.1f} x**"
    return f"| {name} | {' | '.join(shown)} | {times_faster} | {goal:g} x |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fits", description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS), help="parts of their names")
    parser.add_argument("--results", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="write FITS.md")
    arguments = parser.parse_args()
    environment.leave_checkout()
    warnings.simplefilter("ignore")
    about = machine.describe()
    versions = ", ".join(f"{name} {peers.version(name)}" for name in ("fastxent", "numpy", "scipy", "sklearn"))
    lines = [
        "# Fits of linear classifiers",
        "",
        "Written by `python -m benchmarks.fits --results`. Time to come to within 1e-6 of the least objective, with",
        "the loosest `tol` (in brackets) that does; the last columns compare the faster solver of each. What misses",
        "the goal is bold.",
        "",
        f"* {about['cpu']}, {about['cpus']} CPUs; {about['system']}; Python {about['python']}, {versions}",
        f"* {datetime.now().astimezone().isoformat(timespec='seconds')}; all threads; rounds: {arguments.rounds};"
        f" load average {os.getloadavg()[0]:.2f} before",
        "",
        f"| problem | {' | '.join(f'{library}, {solver}' for library, solver in ENTRIES)} | faster | goal |",
        "|---" + "|---:" * (len(ENTRIES) + 2) + "|",
    ]
    print("\n".join(lines), flush=True)
    for name, (make, goal) in PROBLEMS.items():
        if any(part in name for part in arguments.problems):
            lines.append(row(name, make(), goal, arguments.rounds))
            print(lines[-1], flush=True)
    if arguments.results:
        arguments.results.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
