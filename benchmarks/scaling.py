"""Time an element from ten thousand to a billion of them: `python -m benchmarks.scaling [LARGEST]`.

`softmax_cross_entropy` with its gradient into a buffer, float32, on rows of 1,000 classes and on a single row, by one
thread and by two; beside them the memory floor of two threads. Medians of the rounds of the harness.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from benchmarks.cases import Case, make_inputs
from benchmarks.environment import leave_checkout
from benchmarks.harness import run_rounds

ROUNDS = 5


def nanoseconds(case: Case) -> list[float]:
    """Of an element: by one thread, by two, and the floor of two."""
    from benchmarks.peers import fastxent, floor  # the built one, once the checkout is left

    inputs = make_inputs(case)
    calls = [
        replace(call, name=f"{call.name}, {threads}")
        for threads, library in ((1, fastxent), (2, fastxent), (2, floor))
        for call in library.prepare(case, inputs, threads)
        if call.output == "buffer"
    ]
    measurements, _, _ = run_rounds(calls, ROUNDS, 0, lambda: None, force=True)
    return [1e9 * measurement.median / inputs.logits.size for measurement in measurements]


def main() -> None:
    leave_checkout()
    largest = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**9
    print(f"{'ns an element':29}{'one thread':>12}{'two':>8}{'times':>8}{'floor':>8}")
    for single in (False, True):
        elements = 10**4
        while elements <= largest:
            rows, classes = (1, elements) if single else (elements // 1000, 1000)
            one, two, least = nanoseconds(Case("softmax_cross_entropy", rows, classes, "float32"))
            print(f"{rows:11,} x {classes:<15,}{one:12.3f}{two:8.3f}{one / two:8.2f}{least:8.3f}", flush=True)
            elements *= 10


if __name__ == "__main__":
    main()
