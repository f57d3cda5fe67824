"""Time an element from ten thousand to a billion of them: `python -m benchmarks.scaling [LARGEST]`.

Medians of `softmax_cross_entropy` with its gradient into a buffer, float32, on rows of 1,000 classes and on a single
row, by one thread and by two; beside them the floor of that size, the same bytes moved by two threads of `np.multiply`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

import fastxent as fx

ROUNDS, SECONDS = 5, 0.3


def measure(calls: list[Callable[[], object]]) -> list[float]:
    """Median seconds of each, in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    began = time.perf_counter()
    while len(times[0]) < ROUNDS or time.perf_counter() - began < SECONDS:
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [median(taken) for taken in times]


def nanoseconds(rows: int, classes: int, pool: ThreadPoolExecutor) -> list[float]:
    """Of an element: by one thread, by two, and the floor of two."""
    some = np.random.default_rng(0).standard_normal(10**4, np.float32)
    flat = np.tile(some, rows * classes // len(some))
    x, labels, grad = flat.reshape(rows, classes), np.zeros(rows, np.int64), np.empty((rows, classes), np.float32)
    halves = list(zip(np.array_split(flat, 2), np.array_split(grad.reshape(-1), 2), strict=True))

    def loss(threads: int) -> None:
        fx.softmax_cross_entropy(x, labels, grad=grad, n_threads=threads)

    def floor() -> None:
        list(pool.map(lambda half: np.multiply(half[0], 0.5, out=half[1]), halves))

    times = measure([lambda: loss(1), lambda: loss(2), floor])
    return [1e9 * seconds / flat.size for seconds in times]


def main() -> None:
    largest = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**9
    print(f"{'ns an element':29}{'one thread':>12}{'two':>8}{'times':>8}{'floor':>8}")
    with ThreadPoolExecutor(2) as pool:
        for single in (False, True):
            elements = 10**4
            while elements <= largest:
                rows, classes = (1, elements) if single else (elements // 1000, 1000)
                one, two, floor = nanoseconds(rows, classes, pool)
                print(f"{rows:11,} x {classes:<15,}{one:12.3f}{two:8.3f}{one / two:8.2f}{floor:8.3f}", flush=True)
                elements *= 10


if __name__ == "__main__":
    main()
